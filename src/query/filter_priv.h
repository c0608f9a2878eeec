/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_QUERY_FILTER_PRIV_H
#define BZ_QUERY_FILTER_PRIV_H

#include "query/query.h"

enum bz_condition {
    BZ_COND_AND, /* of all children */
    BZ_COND_OR,  /* of any child */
    BZ_COND_NOT, /* of its one child */
    BZ_COND_EQ,
    BZ_COND_NE,
    BZ_COND_LT,
    BZ_COND_LE,
    BZ_COND_GT,
    BZ_COND_GE,
    BZ_COND_IN,
    BZ_COND_CONTAINS,
    BZ_COND_STARTS,
    BZ_COND_EXISTS
};

struct bz_node {
    enum bz_condition condition;
    struct bz_node *next;  /* sibling */
    struct bz_node *child; /* first */
    uint32_t field;        /* of bz_filter.fields */
    blaze_value *values;   /* one; for `in` any number, ascending, no two equal */
    uint32_t value_count;
};

struct bz_filter {
    struct bz_arena arena; /* holds everything below */
    struct bz_node *root;
    struct bz_path *fields; /* no two equal */
    uint32_t field_count;
};

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_QUERY_RANGES_PRIV_H
#define BZ_QUERY_RANGES_PRIV_H

/* Sets of keys as ranges, and which keys of one source can satisfy a filter. */

#include "query/filter_priv.h"

struct bz_ranges {
    struct bz_key_range *items; /* ascending, disjoint, none empty */
    uint32_t count;
    bool exact; /* every record in them matches, not only every match is in them */
};

/* The keys under which records that match can lie: keys of an index on `path`, or ids if that is
 * the path of the id. BLAZE_ENOMEM. */
int bz_ranges_of(struct bz_arena *arena, const struct bz_filter *filter, const struct bz_path *path,
    struct bz_ranges *out);

/* How much the ranges narrow down, by their form alone. */
enum bz_narrowness {
    BZ_RANGES_ALL,    /* everything, or every value of some class */
    BZ_RANGES_HALF,   /* bounded on one side */
    BZ_RANGES_BOTH,   /* bounded on both */
    BZ_RANGES_POINTS, /* single keys, or nothing */
};
enum bz_narrowness bz_ranges_narrowness(const struct bz_ranges *ranges, bool ids);

#endif

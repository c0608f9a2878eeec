/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_QUERY_QUERY_H
#define BZ_QUERY_QUERY_H

/*
 * Filters, plans and sorting (docs/query.md), without a store: whoever executes a plan walks the
 * key ranges that it names, fetches the records, and asks here which match and how they sort.
 *
 * Threads: a filter and a plan are immutable once made and for any thread; a matcher and a sorter
 * belong to one thread at a time.
 */

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "codec/names.h"

#include <blazedb/id.h>
#include <blazedb/value.h>

#define BZ_FILTER_TEXT_MAX  (64u << 10) /* bytes of a filter */
#define BZ_FILTER_DEPTH_MAX 64u         /* parentheses and nots within each other */
#define BZ_FILTER_IN_MAX    4096u       /* values in one list */

/* ---- fields ---- */

/*
 * A field's path: names with dots between them, each in backquotes if it is not a plain word
 * (letters, digits, `_`, `-` and anything past ASCII, not beginning with a digit or `-`). `_id`
 * alone is the record's id. A path leads through maps only; where it leads nowhere the field is
 * absent.
 */
struct bz_path {
    const struct bz_bytes *names;
    size_t count; /* at most BLAZE_MAX_NESTING; 0: the record's id */
};

/* Reads a path that ends where the text ends; it lies in the arena. BLAZE_ESYNTAX with the
 * column, BLAZE_ELIMIT, BLAZE_ENOMEM. */
int bz_path_parse(
    struct bz_arena *arena, struct bz_bytes text, struct bz_path *out, blaze_error *error);
bool bz_path_equal(const struct bz_path *a, const struct bz_path *b);
void bz_path_to_text(const struct bz_path *path, struct bz_buf *out);

/* The value of the field in a document (a map of any names), which it borrows. BLAZE_ENOTFOUND.
 * The path of the id is answered from `id`. */
int bz_path_value(
    const struct bz_path *path, const blaze_id *id, const blaze_value *document, blaze_value *out);

/* The same of many documents: in those of the table `names` the field is found by its id, which the
 * binding (zeroes at first, always with the same path and table) remembers. */
struct bz_path_binding {
    bool bound;
    uint32_t id;
    uint32_t seen; /* the size of the table when it was last searched */
};
int bz_path_bound_value(const struct bz_path *path, const struct blaze_names *names,
    struct bz_path_binding *binding, const blaze_id *id, const blaze_value *document,
    blaze_value *out);

/* A record's top-level fields where no document of them lies at hand: get(context, id) gives the
 * value of one. BLAZE_ENOTFOUND. */
struct bz_fields {
    int (*get)(const void *context, uint32_t id, blaze_value *out);
    const void *context;
};
int bz_path_field_value(const struct bz_path *path, const struct blaze_names *names,
    struct bz_path_binding *binding, const blaze_id *id, const struct bz_fields *fields,
    blaze_value *out);

/* ---- the keys of indexes ---- */

/* Values are cut off in the keys of indexes after so many bytes. Escaped they may take twice that,
 * and an index's number and an id go with them into a key of the store. */
#define BZ_INDEX_KEY_MAX 160u

/* Appends the key under which an index holds a record whose field has this value, or, if `value` is
 * NULL, no such field: absent fields sort before all values and have entries too, so that an index
 * can give the order of all records. *cut as in codec/key.h. */
void bz_index_key_append(struct bz_buf *out, const blaze_value *value, bool *cut);

/* ---- filters ---- */

struct bz_filter;

/* BLAZE_ESYNTAX with the column and what was expected there; BLAZE_ERANGE for a number beyond its
 * type; BLAZE_ELIMIT, BLAZE_ENOMEM. */
int bz_filter_parse(struct bz_filter **out, struct bz_bytes text, blaze_error *error);
void bz_filter_free(struct bz_filter *filter); /* NULL is allowed */

/* Appends the normal form: it parses to an equal filter. */
void bz_filter_to_text(const struct bz_filter *filter, struct bz_buf *out);

/* Whether a record matches. By name, for the odd record; many records want a matcher. */
bool bz_filter_match(
    const struct bz_filter *filter, const blaze_id *id, const blaze_value *document);

/* A filter bound to a names table, so that fields are found by id in documents of that table (and
 * by name in all others). It borrows both. */
struct bz_matcher;
int bz_matcher_new(
    struct bz_matcher **out, const struct bz_filter *filter, const struct blaze_names *names);
void bz_matcher_free(struct bz_matcher *matcher);
bool bz_matcher_match(struct bz_matcher *matcher, const blaze_id *id, const blaze_value *document);
bool bz_matcher_match_fields(
    struct bz_matcher *matcher, const blaze_id *id, const struct bz_fields *fields);

/* ---- plans ---- */

/* Keys from `low` on and below `high`; an empty `high` is no bound. */
struct bz_key_range {
    struct bz_bytes low;
    struct bz_bytes high;
    bool point; /* all entries in it have one and the same key */
};

enum bz_plan_source {
    BZ_PLAN_RECORDS, /* walk records by id: ranges are of 16-byte ids */
    BZ_PLAN_INDEX    /* walk an index: ranges are of bz_index_key_append() keys */
};

struct bz_plan {
    enum bz_plan_source source;
    uint32_t index;              /* BZ_PLAN_INDEX: place in the list given */
    struct bz_key_range *ranges; /* ascending and disjoint; none: nothing can match */
    uint32_t range_count;
    /* The ranges hold just the records that match: they need not be checked, nor even fetched to
     * be counted. Otherwise each record is checked against the filter. */
    bool exact;
    /* The walk gives the order asked for, by (field, id); for descending it goes backwards, from
     * the last range to the first. Entries of an index whose key is cut are in order only up to
     * the cut: those with equal keys must be put through a sorter of their own. Otherwise all
     * matches go through a sorter. */
    bool ordered;
    bool descending;
};

struct bz_plan_index {
    const char *path;
    const char *name;
};

/* Plans a find: `filter` may be NULL (all), `sort` too (by id). The plan lies in the arena. An
 * index whose path does not parse is passed over. BLAZE_ENOMEM. */
int bz_plan_make(struct bz_arena *arena, const struct bz_filter *filter, const struct bz_path *sort,
    bool descending, const struct bz_plan_index *indexes, uint32_t index_count,
    struct bz_plan *out);

/* Appends one line on how it would run; the other arguments are those of bz_plan_make(), and the
 * limit. */
void bz_plan_explain(const struct bz_plan *plan, const struct bz_filter *filter,
    const struct bz_path *sort, const struct bz_plan_index *indexes, uint64_t limit,
    struct bz_buf *out);

/* ---- sorting ---- */

/* Collects ids and gives them by (value, id), ascending or exactly backwards, holding no more than
 * the first `keep` (0: all). */
struct bz_sorter;
int bz_sorter_new(struct bz_sorter **out, bool descending, uint64_t keep);
void bz_sorter_free(struct bz_sorter *sorter); /* NULL is allowed */

/* `value` is copied; NULL: absent. BLAZE_ENOMEM. */
int bz_sorter_add(struct bz_sorter *sorter, const blaze_value *value, const blaze_id *id);

/* The next in order; the first call ends the adding. BLAZE_END. */
int bz_sorter_next(struct bz_sorter *sorter, blaze_id *id);

/* Forgets everything, for the next run. */
void bz_sorter_clear(struct bz_sorter *sorter);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLAZEDB_PARTIAL_H
#define BLAZEDB_PARTIAL_H

/*
 * Partial copies: a copy that holds a part of the database only, some collections, each whole or
 * as far as a filter takes its records (docs/replication.md#partial-copies).
 *
 * What it holds is its *scope*, a setting of this copy alone. Only what the scope takes is fetched;
 * what leaves it, by a change here or elsewhere, goes from this copy, and from no other. A partial
 * copy may write anything, also outside of its scope: that goes from here once a full copy has it.
 *
 * Its peers are full copies: two partial ones do not sync with each other (BLAZE_EBUSY).
 */

#include <blazedb/database.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BLAZE_MAX_SCOPE        64   /* collections in a scope */
#define BLAZE_MAX_SCOPE_FILTER 4096 /* bytes of one filter in it */

/* One collection of a scope. */
typedef struct blaze_scope_item {
    const char *collection;
    const char *filter; /* docs/query.md; NULL or "": every record */
} blaze_scope_item;

/*
 * Sets what this copy is to hold: `count` items, each of another collection, in any order. With
 * none, the whole database. Durable when it returns. What the scope takes no longer goes at once,
 * but for what was written here and no full copy is known to have: that goes with the next sync.
 * What it takes newly comes with the next sync; open links begin anew by themselves. A copy whose
 * scope was taken away is a full one after a sync with a full copy.
 *
 * Any thread. BLAZE_EINVAL (a collection that cannot be, or twice; too many items; a filter too
 * long), BLAZE_ESYNTAX, BLAZE_ERANGE, BLAZE_ELIMIT (a filter; the error says which and where),
 * BLAZE_EREADONLY, BLAZE_EPERM for a hub's blind copy.
 */
BLAZE_API int blaze_set_scope(
    blaze_db *db, const blaze_scope_item *items, size_t count, blaze_error *error);

/*
 * Calls `each` (may be NULL) with every item of the scope, by collection, the filter "" where there
 * is none, until it returns non-zero, which is then returned. *partial (may be NULL) is 1 if the
 * copy is a partial one: so it is also without items, after its scope was taken away and before it
 * has everything. Any thread.
 */
BLAZE_API int blaze_get_scope(blaze_db *db, int *partial,
    int (*each)(void *context, const blaze_scope_item *item), void *context, blaze_error *error);

/*
 * Lets go of a record of a partial copy, to make room: it goes from here, and from no other copy.
 * It comes back when it is changed elsewhere, or all that were evicted do when the scope is set
 * again. BLAZE_EPERM in a full copy or one that is becoming that, BLAZE_EREADONLY,
 * BLAZE_ENOTFOUND, BLAZE_EBUSY if it holds a write made here that no full copy is known to have:
 * sync first. Any thread.
 */
BLAZE_API int blaze_evict(
    blaze_db *db, const char *collection, const blaze_id *id, blaze_error *error);

/*
 * The same of all records of a collection that a filter takes (docs/query.md; NULL or "": all of
 * them), some hundred in each commit. *evicted (may be NULL) is how many went, also where an error
 * came in between; *kept (may be NULL) how many were left, since they hold a write made here that
 * no full copy is known to have. BLAZE_EPERM as above, BLAZE_EREADONLY, BLAZE_ENOTFOUND
 * without such a collection, BLAZE_EINVAL (a filter of more than BLAZE_MAX_SCOPE_FILTER bytes),
 * BLAZE_ESYNTAX, BLAZE_ERANGE, BLAZE_ELIMIT (a filter). Any thread.
 */
BLAZE_API int blaze_evict_where(blaze_db *db, const char *collection, const char *filter,
    uint64_t *evicted, uint64_t *kept, blaze_error *error);

#ifdef __cplusplus
}
#endif

#endif

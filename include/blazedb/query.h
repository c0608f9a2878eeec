/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLAZEDB_QUERY_H
#define BLAZEDB_QUERY_H

/*
 * Finding records: a filter, an order, a limit.
 *
 *     country = "AD" and lat > 42.5 or name contains "Sant"
 *     status in ["open", "late"] and not (total < 10) and exists customer.email
 *
 * Operators: = != < <= > >= in contains starts exists and or not ( ). Strings stand in double
 * quotes with JSON's escapes. docs/query.md has the whole language.
 */

#include <blazedb/transaction.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct blaze_query {
    size_t size;        /* set by blaze_query_init() */
    const char *filter; /* NULL: all */
    const char *sort;   /* a field, or NULL: by id */
    int descending;
    uint64_t limit;  /* 0: none */
    uint64_t offset; /* rows to skip */
} blaze_query;

BLAZE_API void blaze_query_init(blaze_query *query);

typedef struct blaze_cursor blaze_cursor;

/* Opens a cursor over the rows that match, in one consistent state. `query` may be NULL; it is
 * copied. BLAZE_ESYNTAX names the column of a fault in the filter. */
BLAZE_API int blaze_find(blaze_db *db, const char *collection, const blaze_query *query,
    blaze_cursor **out, blaze_error *error);
BLAZE_API int blaze_snapshot_find(blaze_snapshot *snapshot, const char *collection,
    const blaze_query *query, blaze_cursor **out, blaze_error *error);
BLAZE_API int blaze_txn_find(blaze_txn *txn, const char *collection, const blaze_query *query,
    blaze_cursor **out, blaze_error *error);

/* The next row: *document borrows until the next call with this cursor. BLAZE_END after the last.
 * BLAZE_ECORRUPT names what is damaged; a further call goes on with the rows behind it. */
BLAZE_API int blaze_cursor_next(
    blaze_cursor *cursor, blaze_id *id, blaze_value *document, blaze_error *error);
BLAZE_API void blaze_cursor_close(blaze_cursor *cursor); /* NULL is allowed */

/* The number of rows that match. */
BLAZE_API int blaze_find_count(blaze_db *db, const char *collection, const blaze_query *query,
    uint64_t *out, blaze_error *error);

/* How the query would run, as one line of text; release with blaze_free(). */
BLAZE_API int blaze_explain(
    blaze_db *db, const char *collection, const blaze_query *query, char **out, blaze_error *error);

/* Ordered indexes on one field (a path with dots reaches into maps). They speed up =, <, <=, >, >=,
 * in, starts and sorting by that field, and are local to this copy. */
BLAZE_API int blaze_index_create(blaze_db *db, const char *collection, const char *field,
    const char *name, blaze_error *error); /* BLAZE_EEXIST; name NULL: the field's */
BLAZE_API int blaze_index_drop(
    blaze_db *db, const char *collection, const char *name, blaze_error *error);
BLAZE_API int blaze_index_list(blaze_db *db, const char *collection,
    int (*each)(void *context, const char *name, const char *field), void *context,
    blaze_error *error);

#ifdef __cplusplus
}
#endif

#endif

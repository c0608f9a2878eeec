/* SPDX-License-Identifier: Apache-2.0 */
#include "query/query.h"
#include "api_priv.h"
#include "base/alloc.h"

struct blaze_cursor {
    struct bz_read *read;
    bool owned; /* the read ends with the cursor */
    struct bz_filter *filter;
    struct bz_rows *rows;
    struct bz_owner owner;
};

void blaze_query_init(blaze_query *query)
{
    *query = (blaze_query){.size = sizeof *query};
}

/* A find from a query; the filter in it is to be freed. */
static int translate(struct bz_find *find, struct bz_filter **filter, const char *collection,
    const blaze_query *query, blaze_error *error)
{
    *find = (struct bz_find){.collection = bz_bytes_text(collection)};
    *filter = NULL;
    if (query == NULL)
        return BLAZE_OK;
    if (query->size != sizeof *query)
        return bz_error_set(
            error, BLAZE_EINVAL, "set up blaze_query with blaze_query_init() first");
    if (query->filter != NULL) {
        int rc = bz_filter_parse(filter, bz_bytes_text(query->filter), error);
        if (rc != BLAZE_OK)
            return rc;
    }
    find->filter = *filter;
    find->sort = query->sort;
    find->descending = query->descending != 0;
    find->limit = query->limit;
    find->offset = query->offset;
    return BLAZE_OK;
}

int bz_api_cursor_open(struct bz_read *read, bool owned, const char *collection,
    const blaze_query *query, blaze_cursor **out, blaze_error *error)
{
    struct bz_find find;
    struct bz_filter *filter;
    int rc = translate(&find, &filter, collection, query, error);
    if (rc != BLAZE_OK)
        return rc;
    find.alone = owned;
    blaze_cursor *cursor = bz_zalloc(sizeof *cursor);
    if (cursor == NULL) {
        bz_filter_free(filter);
        return bz_error_code(error, BLAZE_ENOMEM);
    }
    bz_owner_init(&cursor->owner);
    cursor->filter = filter;
    rc = bz_read_find(read, &find, &cursor->rows, error);
    if (rc != BLAZE_OK) {
        bz_filter_free(filter);
        bz_free(cursor);
        return rc;
    }
    cursor->read = read;
    cursor->owned = owned;
    *out = cursor;
    return BLAZE_OK;
}

int blaze_find(blaze_db *db, const char *collection, const blaze_query *query, blaze_cursor **out,
    blaze_error *error)
{
    if (db == NULL || collection == NULL || out == NULL)
        return bz_api_null(error, db == NULL           ? "the database"
                                  : collection == NULL ? "the collection"
                                                       : "out");
    struct bz_read *read;
    int rc = bz_read_begin(db->db, &read, error);
    if (rc != BLAZE_OK)
        return rc;
    rc = bz_api_cursor_open(read, true, collection, query, out, error);
    if (rc != BLAZE_OK)
        bz_read_end(read);
    return rc;
}

int blaze_snapshot_find(blaze_snapshot *snapshot, const char *collection, const blaze_query *query,
    blaze_cursor **out, blaze_error *error)
{
    if (snapshot == NULL || collection == NULL || out == NULL)
        return bz_api_null(error, snapshot == NULL     ? "the snapshot"
                                  : collection == NULL ? "the collection"
                                                       : "out");
    bz_owner_check(&snapshot->owner);
    return bz_api_cursor_open(snapshot->read, false, collection, query, out, error);
}

int blaze_txn_find(blaze_txn *txn, const char *collection, const blaze_query *query,
    blaze_cursor **out, blaze_error *error)
{
    if (txn == NULL || collection == NULL || out == NULL)
        return bz_api_null(error, txn == NULL          ? "the transaction"
                                  : collection == NULL ? "the collection"
                                                       : "out");
    bz_owner_check(&txn->owner);
    return bz_api_cursor_open(bz_db_txn_read(txn->txn), false, collection, query, out, error);
}

int blaze_cursor_next(blaze_cursor *cursor, blaze_id *id, blaze_value *document, blaze_error *error)
{
    if (cursor == NULL)
        return bz_api_null(error, "the cursor");
    bz_owner_check(&cursor->owner);
    return bz_rows_next(cursor->rows, id, document, error);
}

void blaze_cursor_close(blaze_cursor *cursor)
{
    if (cursor == NULL)
        return;
    bz_owner_check(&cursor->owner);
    bz_rows_close(cursor->rows);
    bz_filter_free(cursor->filter);
    if (cursor->owned)
        bz_read_end(cursor->read);
    bz_free(cursor);
}

int blaze_find_count(blaze_db *db, const char *collection, const blaze_query *query, uint64_t *out,
    blaze_error *error)
{
    if (db == NULL || collection == NULL || out == NULL)
        return bz_api_null(error, db == NULL           ? "the database"
                                  : collection == NULL ? "the collection"
                                                       : "out");
    struct bz_find find;
    struct bz_filter *filter;
    int rc = translate(&find, &filter, collection, query, error);
    if (rc != BLAZE_OK)
        return rc;
    struct bz_read *read;
    rc = bz_read_begin(db->db, &read, error);
    if (rc == BLAZE_OK) {
        rc = bz_read_find_count(read, &find, out, error);
        bz_read_end(read);
    }
    bz_filter_free(filter);
    return rc;
}

int blaze_explain(
    blaze_db *db, const char *collection, const blaze_query *query, char **out, blaze_error *error)
{
    if (db == NULL || collection == NULL || out == NULL)
        return bz_api_null(error, db == NULL           ? "the database"
                                  : collection == NULL ? "the collection"
                                                       : "out");
    struct bz_find find;
    struct bz_filter *filter;
    struct bz_read *read = NULL;
    struct bz_buf text;
    bz_buf_init(&text, 1 << 20);
    int rc = translate(&find, &filter, collection, query, error);
    if (rc != BLAZE_OK || (rc = bz_read_begin(db->db, &read, error)) != BLAZE_OK)
        goto done;
    rc = bz_read_explain(read, &find, &text, error);
    bz_read_end(read);
    bz_buf_append8(&text, '\0');
    if (rc == BLAZE_OK && text.error != BLAZE_OK)
        rc = bz_error_code(error, text.error);
done:
    bz_filter_free(filter);
    if (rc == BLAZE_OK)
        *out = (char *)text.data;
    else
        bz_buf_release(&text);
    return rc;
}

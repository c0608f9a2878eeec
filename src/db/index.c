/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Indexes. An index has one entry for each visible document of its collection: index number, the
 * key of the value at its path, the record's id. A document without the field has an entry too, so
 * that an index can give an order to all of them. Keys of long values
 * are cut off; the entry says so, for its place is then right only up to the cut.
 *
 * Arrays and maps are values like others: an entry for the whole, none for their elements.
 */

#include "db/db_priv.h"

#include "base/alloc.h"

/* The value that an index orders a record by, which lies in the field where the index's path
 * begins. BLAZE_ENOTFOUND if there is none. */
static int indexed_value(struct bz_arena *arena, const struct bz_index *index,
    const struct bz_rec *rec, struct bz_catalog *catalog, blaze_value *out)
{
    struct bz_nodes nodes = bz_catalog_nodes(catalog);
    struct bz_path path;
    int rc = bz_rec_field(rec, &nodes, index->field, bz_catalog_names(catalog), out);
    if (rc != 0 || !index->nested)
        return rc;
    rc = bz_path_parse(arena, bz_bytes_text(index->path), &path, NULL);
    if (rc != 0)
        return rc == BLAZE_ENOMEM ? rc : BLAZE_ECORRUPT; /* it parsed when the index was made */
    struct bz_path rest = {path.names + 1, path.count - 1};
    return bz_path_value(&rest, NULL, out, out);
}

int bz_index_key(struct bz_arena *arena, struct bz_buf *key, const struct bz_index *index,
    const struct bz_rec *rec, struct bz_catalog *catalog, const blaze_id *id, bool *cut)
{
    blaze_value value;
    int rc = indexed_value(arena, index, rec, catalog, &value);
    if (rc != 0 && rc != BLAZE_ENOTFOUND)
        return rc;
    bz_buf_clear(key);
    bz_buf_append32be(key, index->number);
    *cut = false;
    bz_index_key_append(key, rc == 0 ? &value : NULL, cut);
    bz_buf_append(key, id, sizeof *id);
    return key->error;
}

static int put_entry(struct bz_txn *txn, const struct bz_buf *key, bool cut, blaze_error *error)
{
    static const uint8_t mark = 1;
    return bz_txn_put(txn, BZ_MAP_INDEX, bz_buf_bytes(key), bz_bytes(&mark, cut ? 1 : 0), error);
}

/* One index: from the entry of one state of a record to that of the other. */
static int update_one(struct bz_db_txn *txn, const struct bz_index *index, const blaze_id *id,
    const struct bz_rec *before, const struct bz_rec *after, blaze_error *error)
{
    struct bz_catalog *catalog = txn->db->catalog;
    bool cut = false, unused;
    int rc = 0;
    if (before != NULL)
        rc = bz_index_key(&txn->arena, &txn->key_before, index, before, catalog, id, &unused);
    if (rc == 0 && after != NULL)
        rc = bz_index_key(&txn->arena, &txn->key_after, index, after, catalog, id, &cut);
    if (rc != 0)
        return bz_error_code(error, rc);
    struct bz_bytes key_before = bz_buf_bytes(&txn->key_before);
    struct bz_bytes key_after = bz_buf_bytes(&txn->key_after);
    if (before != NULL && after != NULL && bz_bytes_equal(key_before, key_after))
        return 0;
    if (before != NULL)
        rc = bz_txn_delete(txn->txn, BZ_MAP_INDEX, key_before, error);
    if (rc == 0 && after != NULL)
        rc = put_entry(txn->txn, &txn->key_after, cut, error);
    return rc;
}

int bz_index_update(struct bz_db_txn *txn, const struct bz_txn_collection *collection,
    const blaze_id *id, const struct bz_rec *before, const struct bz_rec *after, blaze_error *error)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < collection->indexes->count; i++)
        rc = update_one(txn, &collection->indexes->indexes[i], id, before, after, error);
    return rc;
}

/* ---- making and dropping ---- */

/* Adds the entry of the record under a cursor. */
static int fill_one(struct bz_db_txn *txn, const struct bz_index *index, struct bz_bytes key,
    struct bz_bytes value, blaze_error *error)
{
    struct bz_stored stored;
    struct bz_rec rec;
    blaze_id id;
    bool cut = false;
    struct bz_nodes nodes = bz_catalog_nodes(txn->db->catalog);
    memcpy(&id, key.data + 4, sizeof id);
    bz_arena_reset(&txn->arena);
    int rc = bz_stored_split(value, &stored, error);
    if (rc == 0)
        rc = bz_stored_decode(&txn->arena, &stored, &id, &rec, error);
    if (rc != 0 || !bz_rec_alive(&rec, &nodes))
        return rc;
    rc = bz_index_key(&txn->arena, &txn->key_after, index, &rec, txn->db->catalog, &id, &cut);
    return rc != 0 ? bz_error_code(error, rc) : put_entry(txn->txn, &txn->key_after, cut, error);
}

static int fill(struct bz_db_txn *txn, const struct bz_index *index, blaze_error *error)
{
    struct bz_cursor *cursor = NULL;
    uint8_t prefix[4];
    bz_store32be(prefix, index->collection);
    int rc = bz_cursor_open(txn->view, BZ_MAP_RECORDS, &cursor, error);
    if (rc == 0)
        rc = bz_cursor_seek(cursor, bz_bytes(prefix, sizeof prefix), error);
    while (rc == 0) {
        struct bz_bytes key = bz_cursor_key(cursor);
        if (key.size != BZ_RECORD_KEY_SIZE || memcmp(key.data, prefix, sizeof prefix) != 0)
            break;
        rc = fill_one(txn, index, key, bz_cursor_value(cursor), error);
        if (rc == 0)
            rc = bz_cursor_next(cursor, error);
    }
    bz_cursor_close(cursor);
    return rc == BLAZE_END ? 0 : rc;
}

static int empty(struct bz_db_txn *txn, const struct bz_index *index, blaze_error *error)
{
    struct bz_cursor *cursor = NULL;
    uint8_t prefix[4];
    bz_store32be(prefix, index->number);
    int rc = bz_cursor_open(txn->view, BZ_MAP_INDEX, &cursor, error);
    if (rc == 0)
        rc = bz_cursor_seek(cursor, bz_bytes(prefix, sizeof prefix), error);
    while (rc == 0) {
        struct bz_bytes key = bz_cursor_key(cursor);
        if (key.size < sizeof prefix || memcmp(key.data, prefix, sizeof prefix) != 0)
            break;
        /* The key may go with its entry: the delete is given a copy. */
        bz_buf_clear(&txn->key_before);
        bz_buf_append(&txn->key_before, key.data, key.size);
        rc = txn->key_before.error == 0
                 ? bz_txn_delete(txn->txn, BZ_MAP_INDEX, bz_buf_bytes(&txn->key_before), error)
                 : bz_error_code(error, txn->key_before.error);
        if (rc == 0)
            rc = bz_cursor_next(cursor, error);
    }
    bz_cursor_close(cursor);
    return rc == BLAZE_END ? 0 : rc;
}

/* Ends the transaction of a change of an index. */
static int finish(struct bz_db_txn *txn, int code, blaze_error *error)
{
    if (code != 0) {
        bz_db_abort(txn);
        return code;
    }
    txn->changed = true;
    return bz_db_commit(txn, BZ_DURABLE_FULL, error);
}

/* Reads what is to be indexed, adding the names that it needs. */
static int define(struct bz_db_txn *txn, struct bz_bytes collection, const char *field,
    const char *name, struct bz_index *index, blaze_error *error)
{
    struct bz_catalog *catalog = txn->db->catalog;
    struct bz_path path;
    if (strlen(field) > BLAZE_MAX_NAME || strlen(name) > BLAZE_MAX_NAME)
        return bz_error_set(error, BLAZE_EINVAL,
            "the field and the name of an index have at most %d bytes", BLAZE_MAX_NAME);
    int rc = bz_path_parse(&txn->arena, bz_bytes_text(field), &path, error);
    if (rc != 0)
        return rc;
    if (path.count == 0)
        return bz_error_set(error, BLAZE_EINVAL, "the id needs no index: records lie in its order");
    rc = bz_catalog_add_collection(catalog, collection, &index->collection, error);
    if (rc == 0)
        rc = bz_catalog_add_field(catalog, path.names[0], &index->field, error);
    if (rc != 0)
        return rc;
    index->nested = path.count > 1;
    memcpy(index->path, field, strlen(field) + 1);
    memcpy(index->name, name, strlen(name) + 1);
    return bz_catalog_add_index(catalog, index, error);
}

int bz_db_index_create(struct bz_db *db, struct bz_bytes collection, const char *field,
    const char *name, blaze_error *error)
{
    struct bz_db_txn *txn = NULL;
    struct bz_index index = {0};
    int rc = bz_db_readable(db, error);
    if (rc == 0)
        rc = bz_db_begin(db, &txn, error);
    if (rc != 0)
        return rc;
    rc = define(txn, collection, field, name, &index, error);
    if (rc == 0)
        rc = fill(txn, &index, error);
    return finish(txn, rc, error);
}

int bz_db_index_drop(
    struct bz_db *db, struct bz_bytes collection, const char *name, blaze_error *error)
{
    struct bz_db_txn *txn = NULL;
    struct bz_index index;
    uint32_t number = 0;
    int rc = bz_db_begin(db, &txn, error);
    if (rc != 0)
        return rc;
    if (bz_catalog_collection(db->catalog, collection, &number) != 0)
        rc = bz_error_set(error, BLAZE_ENOTFOUND, "there is no index '%s'", name);
    if (rc == 0)
        rc = bz_catalog_drop_index(db->catalog, number, name, &index, error);
    if (rc == 0)
        rc = empty(txn, &index, error);
    return finish(txn, rc, error);
}

int bz_db_index_list(struct bz_db *db, struct bz_bytes collection,
    int (*each)(void *context, const char *name, const char *field), void *context,
    blaze_error *error)
{
    uint32_t number = 0;
    struct bz_read *read = NULL; /* brings the catalog up to date */
    int rc = bz_read_begin(db, &read, error);
    if (rc != 0)
        return rc;
    bz_read_end(read);
    if (bz_catalog_collection(db->catalog, collection, &number) != 0)
        return 0;
    const struct bz_index_list *list = bz_catalog_indexes(db->catalog, number);
    for (uint32_t i = 0; rc == 0 && i < list->count; i++)
        rc = each(context, list->indexes[i].name, list->indexes[i].path);
    bz_catalog_indexes_release(db->catalog, list);
    return rc;
}

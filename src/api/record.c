/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Single records: each write is a transaction of its own, each read one read. Only what a call
 * needs is done here, for these are the paths that are called a million times.
 */
#include "api_priv.h"

static int check(const blaze_db *db, const char *collection, const blaze_id *id, blaze_error *error)
{
    if (db == NULL || collection == NULL || id == NULL)
        return bz_api_null(error, db == NULL           ? "the database"
                                  : collection == NULL ? "the collection"
                                                       : "the id");
    return BLAZE_OK;
}

typedef int write_call(blaze_txn *txn, const char *collection, const blaze_id *id,
    blaze_doc *document, blaze_error *error);

/* One write, one commit. */
static int write_one(blaze_db *db, write_call *call, const char *collection, const blaze_id *id,
    blaze_doc *document, blaze_error *error)
{
    int rc = check(db, collection, id, error);
    if (rc != BLAZE_OK)
        return rc;
    blaze_txn txn = {.db = db};
    bz_owner_init(&txn.owner);
    rc = bz_db_begin(db->db, &txn.txn, error);
    if (rc != BLAZE_OK)
        return rc;
    rc = call(&txn, collection, id, document, error);
    if (rc != BLAZE_OK) {
        bz_db_abort(txn.txn);
        return rc;
    }
    return bz_db_commit(txn.txn, db->durability, error);
}

static int call_insert(blaze_txn *txn, const char *collection, const blaze_id *id,
    blaze_doc *document, blaze_error *error)
{
    blaze_id copy = *id; /* never all zero here: it stays as it is */
    return blaze_txn_insert(txn, collection, &copy, document, error);
}

static int call_delete(blaze_txn *txn, const char *collection, const blaze_id *id,
    blaze_doc *document, blaze_error *error)
{
    (void)document;
    return blaze_txn_delete(txn, collection, id, error);
}

int blaze_insert(
    blaze_db *db, const char *collection, blaze_id *id, blaze_doc *document, blaze_error *error)
{
    static const blaze_id zero;
    int rc = check(db, collection, id, error);
    if (rc != BLAZE_OK)
        return rc;
    blaze_id chosen = *id;
    if (memcmp(id, &zero, sizeof zero) == 0 && (rc = blaze_id_new(&chosen)) != BLAZE_OK)
        return bz_error_code(error, rc);
    rc = write_one(db, call_insert, collection, &chosen, document, error);
    if (rc == BLAZE_OK)
        *id = chosen;
    return rc;
}

int blaze_put(blaze_db *db, const char *collection, const blaze_id *id, blaze_doc *document,
    blaze_error *error)
{
    return write_one(db, blaze_txn_put, collection, id, document, error);
}

int blaze_update(
    blaze_db *db, const char *collection, const blaze_id *id, blaze_doc *fields, blaze_error *error)
{
    return write_one(db, blaze_txn_update, collection, id, fields, error);
}

int blaze_upsert(
    blaze_db *db, const char *collection, const blaze_id *id, blaze_doc *fields, blaze_error *error)
{
    return write_one(db, blaze_txn_upsert, collection, id, fields, error);
}

int blaze_delete(blaze_db *db, const char *collection, const blaze_id *id, blaze_error *error)
{
    return write_one(db, call_delete, collection, id, NULL, error);
}

int blaze_delete_all(blaze_db *db, const char *collection, uint64_t *deleted, blaze_error *error)
{
    if (db == NULL || collection == NULL)
        return bz_api_null(error, db == NULL ? "the database" : "the collection");
    struct bz_db_txn *txn;
    int rc = bz_db_begin(db->db, &txn, error);
    if (rc != BLAZE_OK)
        return rc;
    uint64_t count = 0;
    rc = bz_db_delete_all(txn, bz_bytes_text(collection), &count, error);
    if (rc != BLAZE_OK) {
        bz_db_abort(txn);
        return rc;
    }
    rc = bz_db_commit(txn, db->durability, error);
    if (rc == BLAZE_OK && deleted != NULL)
        *deleted = count;
    return rc;
}

int blaze_get(
    blaze_db *db, const char *collection, const blaze_id *id, blaze_doc **out, blaze_error *error)
{
    int rc = check(db, collection, id, error);
    if (rc != BLAZE_OK)
        return rc;
    if (out == NULL)
        return bz_api_null(error, "out");
    struct bz_read *read;
    rc = bz_read_begin(db->db, &read, error);
    if (rc != BLAZE_OK)
        return rc;
    blaze_value value;
    rc = bz_read_get(read, bz_bytes_text(collection), id, &value, error);
    if (rc != BLAZE_OK)
        rc = bz_api_record_error(rc, collection, id, error);
    else if ((rc = bz_doc_copy(out, &value)) != BLAZE_OK)
        bz_error_code(error, rc);
    bz_read_end(read);
    return rc;
}

int blaze_exists(blaze_db *db, const char *collection, const blaze_id *id, blaze_error *error)
{
    int rc = check(db, collection, id, error);
    if (rc != BLAZE_OK)
        return rc;
    struct bz_read *read;
    rc = bz_read_begin(db->db, &read, error);
    if (rc != BLAZE_OK)
        return rc;
    rc = bz_read_exists(read, bz_bytes_text(collection), id, error);
    bz_read_end(read);
    return bz_api_record_error(rc, collection, id, error);
}

int blaze_count(blaze_db *db, const char *collection, uint64_t *out, blaze_error *error)
{
    if (db == NULL || collection == NULL || out == NULL)
        return bz_api_null(error, db == NULL           ? "the database"
                                  : collection == NULL ? "the collection"
                                                       : "out");
    struct bz_read *read;
    int rc = bz_read_begin(db->db, &read, error);
    if (rc != BLAZE_OK)
        return rc;
    rc = bz_read_count(read, bz_bytes_text(collection), out, error);
    bz_read_end(read);
    return rc;
}

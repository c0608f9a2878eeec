/* SPDX-License-Identifier: Apache-2.0 */
#include "api_priv.h"
#include "base/alloc.h"

int blaze_begin(blaze_db *db, blaze_txn **out, blaze_error *error)
{
    if (db == NULL || out == NULL)
        return bz_api_null(error, db == NULL ? "the database" : "out");
    blaze_txn *txn = bz_malloc(sizeof *txn);
    if (txn == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    txn->db = db;
    bz_owner_init(&txn->owner);
    int rc = bz_db_begin(db->db, &txn->txn, error);
    if (rc != BLAZE_OK) {
        bz_free(txn);
        return rc;
    }
    *out = txn;
    return BLAZE_OK;
}

static int check(
    const blaze_txn *txn, const char *collection, const blaze_id *id, blaze_error *error)
{
    if (txn == NULL || collection == NULL || id == NULL)
        return bz_api_null(error, txn == NULL          ? "the transaction"
                                  : collection == NULL ? "the collection"
                                                       : "the id");
    bz_owner_check(&txn->owner);
    return BLAZE_OK;
}

typedef int write_call(struct bz_db_txn *txn, struct bz_bytes collection, const blaze_id *id,
    blaze_doc *document, blaze_error *error);

static int write_document(blaze_txn *txn, write_call *call, const char *collection,
    const blaze_id *id, blaze_doc *document, blaze_error *error)
{
    int rc = check(txn, collection, id, error);
    if (rc == BLAZE_OK)
        rc = bz_api_document(document, error);
    if (rc != BLAZE_OK)
        return rc;
    rc = call(txn->txn, bz_bytes_text(collection), id, document, error);
    /* A name that comes twice shows only now. */
    return rc != BLAZE_OK && bz_doc_error(document) != BLAZE_OK
               ? bz_api_document(document, error)
               : bz_api_record_error(rc, collection, id, error);
}

int blaze_txn_insert(
    blaze_txn *txn, const char *collection, blaze_id *id, blaze_doc *document, blaze_error *error)
{
    static const blaze_id zero;
    int rc = check(txn, collection, id, error);
    if (rc != BLAZE_OK)
        return rc;
    blaze_id chosen = *id;
    if (memcmp(id, &zero, sizeof zero) == 0 && (rc = blaze_id_new(&chosen)) != BLAZE_OK)
        return bz_error_code(error, rc);
    rc = write_document(txn, bz_db_insert, collection, &chosen, document, error);
    if (rc == BLAZE_OK)
        *id = chosen;
    return rc;
}

int blaze_txn_put(blaze_txn *txn, const char *collection, const blaze_id *id, blaze_doc *document,
    blaze_error *error)
{
    return write_document(txn, bz_db_put, collection, id, document, error);
}

int blaze_txn_update(blaze_txn *txn, const char *collection, const blaze_id *id, blaze_doc *fields,
    blaze_error *error)
{
    return write_document(txn, bz_db_update, collection, id, fields, error);
}

int blaze_txn_upsert(blaze_txn *txn, const char *collection, const blaze_id *id, blaze_doc *fields,
    blaze_error *error)
{
    return write_document(txn, bz_db_upsert, collection, id, fields, error);
}

int blaze_txn_delete(blaze_txn *txn, const char *collection, const blaze_id *id, blaze_error *error)
{
    int rc = check(txn, collection, id, error);
    if (rc != BLAZE_OK)
        return rc;
    rc = bz_db_delete(txn->txn, bz_bytes_text(collection), id, error);
    return bz_api_record_error(rc, collection, id, error);
}

int blaze_txn_delete_all(
    blaze_txn *txn, const char *collection, uint64_t *deleted, blaze_error *error)
{
    static const blaze_id none;
    int rc = check(txn, collection, &none, error);
    if (rc != BLAZE_OK)
        return rc;
    uint64_t count = 0;
    rc = bz_db_delete_all(txn->txn, bz_bytes_text(collection), &count, error);
    if (rc == BLAZE_OK && deleted != NULL)
        *deleted = count;
    return rc;
}

int blaze_txn_get(blaze_txn *txn, const char *collection, const blaze_id *id, blaze_value *out,
    blaze_error *error)
{
    int rc = check(txn, collection, id, error);
    if (rc != BLAZE_OK)
        return rc;
    rc = bz_read_get(bz_db_txn_read(txn->txn), bz_bytes_text(collection), id, out, error);
    return bz_api_record_error(rc, collection, id, error);
}

blaze_savepoint blaze_txn_savepoint(blaze_txn *txn)
{
    bz_owner_check(&txn->owner);
    return bz_db_savepoint(txn->txn);
}

int blaze_txn_rollback_to(blaze_txn *txn, blaze_savepoint savepoint, blaze_error *error)
{
    if (txn == NULL)
        return bz_api_null(error, "the transaction");
    bz_owner_check(&txn->owner);
    return bz_db_rollback_to(txn->txn, savepoint, error);
}

static int commit(blaze_txn *txn, enum bz_durability durability, blaze_error *error)
{
    bz_owner_check(&txn->owner);
    int rc = bz_db_commit(txn->txn, durability, error);
    bz_free(txn);
    return rc;
}

int blaze_commit(blaze_txn *txn, blaze_error *error)
{
    return txn == NULL ? bz_api_null(error, "the transaction")
                       : commit(txn, txn->db->durability, error);
}

int blaze_commit_with(blaze_txn *txn, blaze_durability durability, blaze_error *error)
{
    return txn == NULL ? bz_api_null(error, "the transaction")
                       : commit(txn, bz_api_durability(durability), error);
}

void blaze_abort(blaze_txn *txn)
{
    if (txn == NULL)
        return;
    bz_owner_check(&txn->owner);
    bz_db_abort(txn->txn);
    bz_free(txn);
}

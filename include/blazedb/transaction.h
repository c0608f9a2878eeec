/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLAZEDB_TRANSACTION_H
#define BLAZEDB_TRANSACTION_H

/*
 * Transactions: several writes that are seen, kept and sent together or not at all; and snapshots:
 * several reads of one state. A database has one writer at a time, over all processes: beginning a
 * transaction waits for its turn. Transactions and snapshots belong to the thread that made them.
 *
 * A failed call leaves the transaction as it was, and it may go on, except after BLAZE_ENOMEM,
 * BLAZE_EIO and BLAZE_ECORRUPT: then it can only be aborted.
 */

#include <blazedb/record.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct blaze_txn blaze_txn;

BLAZE_API int blaze_begin(blaze_db *db, blaze_txn **out, blaze_error *error);

/* As the functions of record.h. */
BLAZE_API int blaze_txn_insert(
    blaze_txn *txn, const char *collection, blaze_id *id, blaze_doc *document, blaze_error *error);
BLAZE_API int blaze_txn_put(blaze_txn *txn, const char *collection, const blaze_id *id,
    blaze_doc *document, blaze_error *error);
BLAZE_API int blaze_txn_update(blaze_txn *txn, const char *collection, const blaze_id *id,
    blaze_doc *fields, blaze_error *error);
BLAZE_API int blaze_txn_upsert(blaze_txn *txn, const char *collection, const blaze_id *id,
    blaze_doc *fields, blaze_error *error);
BLAZE_API int blaze_txn_delete(
    blaze_txn *txn, const char *collection, const blaze_id *id, blaze_error *error);
BLAZE_API int blaze_txn_delete_all(
    blaze_txn *txn, const char *collection, uint64_t *deleted, blaze_error *error);

/* Reads the transaction's own state. *out borrows until the next call with this transaction. */
BLAZE_API int blaze_txn_get(blaze_txn *txn, const char *collection, const blaze_id *id,
    blaze_value *out, blaze_error *error);

/* A mark to go back to: what was written after it is undone. Marks nest. */
typedef unsigned blaze_savepoint;
BLAZE_API blaze_savepoint blaze_txn_savepoint(blaze_txn *txn);
BLAZE_API int blaze_txn_rollback_to(blaze_txn *txn, blaze_savepoint savepoint, blaze_error *error);

/* Both free the transaction, whatever is returned. A failed commit left nothing behind. */
BLAZE_API int blaze_commit(blaze_txn *txn, blaze_error *error);
BLAZE_API int blaze_commit_with(blaze_txn *txn, blaze_durability durability, blaze_error *error);
BLAZE_API void blaze_abort(blaze_txn *txn); /* NULL is allowed */

typedef struct blaze_snapshot blaze_snapshot;

BLAZE_API int blaze_snapshot_open(blaze_db *db, blaze_snapshot **out, blaze_error *error);
BLAZE_API void blaze_snapshot_close(blaze_snapshot *snapshot); /* NULL is allowed */

/* *out borrows until the next call with this snapshot. */
BLAZE_API int blaze_snapshot_get(blaze_snapshot *snapshot, const char *collection,
    const blaze_id *id, blaze_value *out, blaze_error *error);
BLAZE_API int blaze_snapshot_count(
    blaze_snapshot *snapshot, const char *collection, uint64_t *out, blaze_error *error);

#ifdef __cplusplus
}
#endif

#endif

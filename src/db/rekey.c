/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rewriting a database under another key.
 *
 *   1  Open it alone, for writing: a copied directory becomes a node of its own now (identity.c).
 *   2  Open it alone, to read. Whatever lies at PATH.rekey was left by a crash: away with it.
 *   3  Copy all maps to a new store at PATH.rekey, note there that this node now lives in that
 *      directory, close it, and see that it opens.
 *   4  Exchange the two directories. This is the moment: before it a crash leaves the old database
 *      at PATH, after it the new one.
 *   5  Make the names durable, and remove the old one, which is at PATH.rekey now.
 *
 * From 2 to 5 the old store is held alone, and only read: it does nothing to its files when it is
 * closed under the other name. Who comes at 4 finds that the directory has been replaced
 * (store/presence.h) and opens the new one.
 */

#include "db/db_priv.h"

#include "base/alloc.h"

#include <stdio.h>

#define SUFFIX      ".rekey"
#define BATCH_BYTES (8u << 20)

static struct bz_store_options store_options(const struct bz_vault_secret *secret)
{
    return (struct bz_store_options){
        .maps = bz_map_names, .map_count = BZ_MAP_COUNT, .secret = secret, .alone = true};
}

/* ---- copying ---- */

/* The transaction at hand, and what is in it. */
struct copy {
    struct bz_store *to;
    struct bz_txn *txn;
    size_t bytes;
};

static int put(
    struct copy *copy, uint32_t map, struct bz_bytes key, struct bz_bytes value, blaze_error *error)
{
    int rc = copy->txn == NULL ? bz_txn_begin(copy->to, &copy->txn, error) : 0;
    if (rc == 0)
        rc = bz_txn_put(copy->txn, map, key, value, error);
    copy->bytes += key.size + value.size;
    return rc;
}

static int flush(struct copy *copy, blaze_error *error)
{
    struct bz_txn *txn = copy->txn;
    copy->txn = NULL;
    copy->bytes = 0;
    return txn == NULL ? 0 : bz_txn_commit(txn, BZ_DURABLE_RELAXED, error);
}

static int copy_map(struct copy *copy, struct bz_view *from, uint32_t map, blaze_error *error)
{
    struct bz_cursor *cursor = NULL;
    int rc = bz_cursor_open(from, map, &cursor, error);
    if (rc != 0)
        return rc;
    while ((rc = bz_cursor_next(cursor, error)) == 0) {
        rc = put(copy, map, bz_cursor_key(cursor), bz_cursor_value(cursor), error);
        if (rc == 0 && copy->bytes >= BATCH_BYTES)
            rc = flush(copy, error);
        if (rc != 0)
            break;
    }
    bz_cursor_close(cursor);
    return rc == BLAZE_END ? 0 : rc;
}

static int copy_all(struct bz_store *from, struct bz_store *to, blaze_error *error)
{
    struct copy copy = {.to = to};
    struct bz_snapshot *snapshot = NULL;
    int rc = bz_snapshot_open(from, &snapshot, error);
    if (rc != 0)
        return rc;
    for (uint32_t map = 0; rc == 0 && map < BZ_MAP_COUNT; map++)
        rc = copy_map(&copy, bz_snapshot_view(snapshot), map, error);
    if (rc == 0)
        rc = flush(&copy, error);
    if (copy.txn != NULL)
        bz_txn_abort(copy.txn);
    bz_snapshot_close(snapshot);
    return rc;
}

static int move_identity(struct bz_store *store, const char *directory, blaze_error *error)
{
    struct bz_txn *txn = NULL;
    int rc = bz_txn_begin(store, &txn, error);
    if (rc != 0)
        return rc;
    rc = bz_identity_move(directory, txn, error);
    if (rc == 0)
        return bz_txn_commit(txn, BZ_DURABLE_FULL, error);
    bz_txn_abort(txn);
    return rc;
}

/* Opens the database and closes it. */
static int try_open(
    const char *path, const struct bz_vault_secret *secret, bool read_only, blaze_error *error)
{
    struct bz_db *db = NULL;
    struct bz_db_options options = {
        .read_only = read_only, .store = {.secret = secret, .alone = true}};
    int rc = bz_db_open(&db, path, &options, error);
    return rc != 0 ? rc : bz_db_close(db, error);
}

/* Makes the copy, durably. */
static int make_copy(struct bz_store *from, const char *beside,
    const struct bz_vault_secret *secret, blaze_error *error)
{
    struct bz_store *to = NULL;
    struct bz_store_options options = store_options(secret);
    options.create = true;
    int rc = bz_store_open(&to, beside, &options, error);
    if (rc != 0)
        return rc;
    rc = copy_all(from, to, error);
    if (rc == 0)
        rc = move_identity(to, beside, error);
    int closed = bz_store_close(to, rc == 0 ? error : NULL);
    if (rc == 0)
        rc = closed;
    return rc != 0 ? rc : try_open(beside, secret, true, error);
}

/* ---- the exchange ---- */

/* Of a directory that may not be read, the names are not of our making. */
static int sync_parent(const char *path, blaze_error *error)
{
    char *parent = bz_path_join(path, "..");
    if (parent == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = bz_dir_sync(parent, error);
    bz_free(parent);
    return rc == BLAZE_EPERM ? 0 : rc;
}

/* With the old store held alone. */
static int replace(struct bz_store *old, const char *path, const char *beside,
    const struct bz_vault_secret *to, blaze_error *error)
{
    struct bz_store_stats stats;
    bz_store_stats(old, &stats);
    if (stats.damaged != NULL)
        return bz_error_set(error, BLAZE_ECORRUPT, "%s", stats.damaged);
    bz_db_remove(beside);
    int rc = make_copy(old, beside, to, error);
    if (rc == 0)
        rc = sync_parent(beside, error);
    if (rc == 0)
        rc = bz_path_exchange(path, beside, error);
    if (rc != 0) {
        bz_db_remove(beside);
        return rc;
    }
    return sync_parent(path, error); /* if that fails, the old one stays where it is */
}

static int rekey(const char *path, const char *beside, const struct bz_vault_secret *from,
    const struct bz_vault_secret *to, blaze_error *error)
{
    struct bz_store *old = NULL;
    struct bz_store_options options = store_options(from);
    options.read_only = true;
    int rc = try_open(path, from, false, error);
    if (rc == 0)
        rc = bz_store_open(&old, path, &options, error);
    if (rc != 0)
        return rc;
    rc = replace(old, path, beside, to, error);
    bz_store_close(old, NULL);
    if (rc == 0)
        bz_db_remove(beside);
    return rc;
}

int bz_db_rekey(const char *path, const struct bz_vault_secret *from,
    const struct bz_vault_secret *to, blaze_error *error)
{
    char *real = NULL;
    if (!bz_path_is_dir(path))
        return bz_error_set(error, BLAZE_ENOTFOUND, "%s: no database there", path);
    int rc = bz_path_real(path, &real, error); /* a link to it stays, and links to the new one */
    if (rc != 0)
        return rc;
    size_t size = strlen(real) + sizeof SUFFIX;
    char *beside = bz_malloc(size);
    if (beside == NULL) {
        rc = bz_error_code(error, BLAZE_ENOMEM);
    } else {
        snprintf(beside, size, "%s" SUFFIX, real);
        rc = rekey(real, beside, from, to, error);
    }
    bz_free(beside);
    bz_free(real);
    return rc;
}

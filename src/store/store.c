/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store_priv.h"

#include <assert.h>
#include <string.h>

/* The face of the module: checks arguments and calls the implementation that the handle is of. */

int bz_store_not_found(blaze_error *error)
{
    if (error != NULL) {
        error->code = BLAZE_ENOTFOUND;
        memcpy(error->text, "not found", sizeof "not found");
    }
    return BLAZE_ENOTFOUND;
}

static int check_map(const struct bz_view *view, uint32_t map, blaze_error *error)
{
    if (map >= view->map_count)
        return bz_error_set(error, BLAZE_EINVAL, "no map %u: there are %u", map, view->map_count);
    return 0;
}

static int check_key(
    const struct bz_view *view, uint32_t map, struct bz_bytes key, blaze_error *error)
{
    if (key.size == 0)
        return bz_error_set(error, BLAZE_EINVAL, "an empty key");
    if (key.size > BZ_STORE_KEY_MAX)
        return bz_error_set(
            error, BLAZE_ELIMIT, "a key of %zu bytes: the limit is %u", key.size, BZ_STORE_KEY_MAX);
    return check_map(view, map, error);
}

int bz_store_close(struct bz_store *store, blaze_error *error)
{
    return store == NULL ? 0 : store->ops->close(store, error);
}

int bz_snapshot_open(struct bz_store *store, struct bz_snapshot **out, blaze_error *error)
{
    return store->ops->snapshot_open(store, out, error);
}

void bz_snapshot_close(struct bz_snapshot *snapshot)
{
    if (snapshot != NULL)
        snapshot->store->ops->snapshot_close(snapshot);
}

struct bz_view *bz_snapshot_view(struct bz_snapshot *snapshot)
{
    return snapshot->view;
}

uint64_t bz_snapshot_lsn(const struct bz_snapshot *snapshot)
{
    return snapshot->lsn;
}

int bz_view_get(struct bz_view *view, uint32_t map, struct bz_bytes key, struct bz_bytes *value,
    blaze_error *error)
{
    int rc = check_key(view, map, key, error);
    return rc != 0 ? rc : view->ops->get(view, map, key, value, error);
}

int bz_cursor_open(struct bz_view *view, uint32_t map, struct bz_cursor **out, blaze_error *error)
{
    int rc = check_map(view, map, error);
    return rc != 0 ? rc : view->ops->cursor_open(view, map, out, error);
}

void bz_cursor_close(struct bz_cursor *cursor)
{
    if (cursor != NULL)
        cursor->view->ops->cursor_close(cursor);
}

static int moved(struct bz_cursor *cursor, int rc)
{
    if (rc != 0) {
        cursor->positioned = false;
        cursor->key = cursor->value = bz_bytes(NULL, 0);
    }
    return rc;
}

int bz_cursor_seek(struct bz_cursor *cursor, struct bz_bytes key, blaze_error *error)
{
    int rc = key.size == 0 ? 0 : check_key(cursor->view, cursor->map, key, error);
    return moved(cursor, rc != 0 ? rc : cursor->view->ops->cursor_seek(cursor, key, error));
}

int bz_cursor_next(struct bz_cursor *cursor, blaze_error *error)
{
    return moved(cursor, cursor->view->ops->cursor_next(cursor, error));
}

int bz_cursor_prev(struct bz_cursor *cursor, blaze_error *error)
{
    return moved(cursor, cursor->view->ops->cursor_prev(cursor, error));
}

struct bz_bytes bz_cursor_key(const struct bz_cursor *cursor)
{
    return cursor->key;
}

struct bz_bytes bz_cursor_value(const struct bz_cursor *cursor)
{
    return cursor->value;
}

static int txn_begin(struct bz_store *store, bool now, struct bz_txn **out, blaze_error *error)
{
    if (store->read_only)
        return bz_error_set(error, BLAZE_EREADONLY, "the store is opened read-only");
    struct bz_txn *txn;
    int rc = store->ops->txn_begin(store, now, &txn, error);
    if (rc != 0)
        return rc;
    txn->store = store;
    txn->bytes = 0;
    txn->thread = pthread_self();
    *out = txn;
    return 0;
}

int bz_txn_begin(struct bz_store *store, struct bz_txn **out, blaze_error *error)
{
    return txn_begin(store, false, out, error);
}

int bz_txn_begin_now(struct bz_store *store, struct bz_txn **out, blaze_error *error)
{
    return txn_begin(store, true, out, error);
}

struct bz_view *bz_txn_view(struct bz_txn *txn)
{
    return txn->view;
}

/* Counts what a write adds to the commit. What is undone or written over stays counted. */
static int check_write(
    struct bz_txn *txn, uint32_t map, struct bz_bytes key, size_t value_size, blaze_error *error)
{
    assert(pthread_equal(txn->thread, pthread_self()));
    int rc = check_key(txn->view, map, key, error);
    if (rc != 0)
        return rc;
    if (value_size > BZ_STORE_VALUE_MAX)
        return bz_error_set(error, BLAZE_ELIMIT, "a value of %zu bytes: the limit is %u",
            value_size, BZ_STORE_VALUE_MAX);
    uint64_t bytes = txn->bytes + key.size + value_size + 2 * BZ_VARINT_MAX;
    if (bytes > BZ_STORE_COMMIT_MAX)
        return bz_error_set(
            error, BLAZE_ELIMIT, "a transaction of more than %u bytes", BZ_STORE_COMMIT_MAX);
    txn->bytes = bytes;
    return 0;
}

int bz_txn_put(struct bz_txn *txn, uint32_t map, struct bz_bytes key, struct bz_bytes value,
    blaze_error *error)
{
    int rc = check_write(txn, map, key, value.size, error);
    return rc != 0 ? rc : txn->store->ops->txn_put(txn, map, key, value, error);
}

int bz_txn_delete(struct bz_txn *txn, uint32_t map, struct bz_bytes key, blaze_error *error)
{
    int rc = check_write(txn, map, key, 0, error);
    return rc != 0 ? rc : txn->store->ops->txn_delete(txn, map, key, error);
}

uint32_t bz_txn_savepoint(struct bz_txn *txn)
{
    return txn->store->ops->txn_savepoint(txn);
}

int bz_txn_rollback_to(struct bz_txn *txn, uint32_t savepoint, blaze_error *error)
{
    return txn->store->ops->txn_rollback_to(txn, savepoint, error);
}

int bz_txn_commit(struct bz_txn *txn, enum bz_durability durability, blaze_error *error)
{
    assert(pthread_equal(txn->thread, pthread_self()));
    return txn->store->ops->txn_commit(txn, durability, error);
}

void bz_txn_abort(struct bz_txn *txn)
{
    if (txn != NULL)
        txn->store->ops->txn_abort(txn);
}

uint64_t bz_store_lsn(struct bz_store *store)
{
    return store->ops->lsn(store);
}

int bz_store_sync(struct bz_store *store, blaze_error *error)
{
    return store->ops->sync(store, error);
}

int bz_store_checkpoint(struct bz_store *store, blaze_error *error)
{
    return store->ops->checkpoint(store, error);
}

int bz_store_verify(struct bz_store *store, void (*each)(void *context, const char *problem),
    void *context, blaze_error *error)
{
    return store->ops->verify(store, each, context, error);
}

void bz_store_set_listener(struct bz_store *store, void (*notify)(void *context), void *context)
{
    store->ops->set_listener(store, notify, context);
}

void bz_store_set_size_listener(
    struct bz_store *store, void (*notify)(void *context), void *context)
{
    store->ops->set_size_listener(store, notify, context);
}

const char *bz_store_watch_path(struct bz_store *store)
{
    return store->ops->watch_path(store);
}

void bz_store_stats(struct bz_store *store, struct bz_store_stats *out)
{
    store->ops->stats(store, out);
}

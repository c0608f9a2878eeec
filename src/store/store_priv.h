/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_STORE_PRIV_H
#define BZ_STORE_STORE_PRIV_H

/*
 * What the two implementations fill in. store.c checks arguments, so that below it keys and values
 * are within their limits, maps exist, and a read-only store gets no transaction.
 *
 * The structs here are the first members of the implementations' own.
 */

#include "store/store.h"

#include <pthread.h>

struct bz_store {
    const struct bz_store_ops *ops;
    uint32_t map_count;
    bool read_only;
};

struct bz_view {
    const struct bz_store_ops *ops;
    uint32_t map_count;
};

struct bz_snapshot {
    struct bz_store *store;
    struct bz_view *view;
    uint64_t lsn;
};

struct bz_txn {
    struct bz_store *store;
    struct bz_view *view;
    uint64_t bytes;   /* of keys and values written, for BZ_STORE_COMMIT_MAX */
    pthread_t thread; /* that it belongs to */
};

struct bz_cursor {
    struct bz_view *view;
    uint32_t map;
    bool positioned;
    struct bz_bytes key; /* where it stands; empty when it is not positioned */
    struct bz_bytes value;
};

/* One per function of store.h, with its contract. Cursor movements set `key`, `value` and
 * `positioned`; store.c clears them for whatever is not success. */
struct bz_store_ops {
    int (*close)(struct bz_store *store, blaze_error *error);
    int (*snapshot_open)(struct bz_store *store, struct bz_snapshot **out, blaze_error *error);
    void (*snapshot_close)(struct bz_snapshot *snapshot);
    int (*get)(struct bz_view *view, uint32_t map, struct bz_bytes key, struct bz_bytes *value,
        blaze_error *error);
    int (*cursor_open)(
        struct bz_view *view, uint32_t map, struct bz_cursor **out, blaze_error *error);
    void (*cursor_close)(struct bz_cursor *cursor);
    int (*cursor_seek)(struct bz_cursor *cursor, struct bz_bytes key, blaze_error *error);
    int (*cursor_next)(struct bz_cursor *cursor, blaze_error *error);
    int (*cursor_prev)(struct bz_cursor *cursor, blaze_error *error);
    int (*txn_begin)(struct bz_store *store, bool now, struct bz_txn **out, blaze_error *error);
    int (*txn_put)(struct bz_txn *txn, uint32_t map, struct bz_bytes key, struct bz_bytes value,
        blaze_error *error);
    int (*txn_delete)(struct bz_txn *txn, uint32_t map, struct bz_bytes key, blaze_error *error);
    uint32_t (*txn_savepoint)(struct bz_txn *txn);
    int (*txn_rollback_to)(struct bz_txn *txn, uint32_t savepoint, blaze_error *error);
    int (*txn_commit)(struct bz_txn *txn, enum bz_durability durability, blaze_error *error);
    void (*txn_abort)(struct bz_txn *txn);
    uint64_t (*lsn)(struct bz_store *store);
    int (*sync)(struct bz_store *store, blaze_error *error);
    int (*checkpoint)(struct bz_store *store, blaze_error *error);
    int (*verify)(struct bz_store *store, void (*each)(void *context, const char *problem),
        void *context, blaze_error *error);
    void (*set_listener)(struct bz_store *store, void (*notify)(void *context), void *context);
    void (*set_size_listener)(struct bz_store *store, void (*notify)(void *context), void *context);
    const char *(*watch_path)(struct bz_store *store);
    void (*stats)(struct bz_store *store, struct bz_store_stats *out);
};

/* Says ENOTFOUND without formatting: misses are ordinary. */
int bz_store_not_found(blaze_error *error);

#endif

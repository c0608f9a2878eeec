/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_CONTRACT_TEST_UTIL_H
#define BZ_STORE_CONTRACT_TEST_UTIL_H

/* For tests of what every store must do: each runs on the durable one and on its twin in memory. */

#include "cmocka_all.h"
#include "store/testing.h"

static const char *const map_names[] = {"records", "index", "log"};

struct fixture {
    struct bz_store *store;
    struct bz_test_dir dir; /* path is empty for the store in memory */
};

static inline int open_store(struct fixture *f, bool durable)
{
    struct bz_store_options options = {
        .maps = map_names,
        .map_count = 3,
        .create = true,
        /* small, so that checkpoints and new segments happen all the time */
        .checkpoint_bytes = 1u << 20,
        .segment_bytes = 1u << 18,
    };
    blaze_error error = {0};
    int rc = durable ? bz_store_open(&f->store, f->dir.path, &options, &error)
                     : bz_store_open_memory(&f->store, &options, &error);
    if (rc != 0)
        fail_msg("open: %s", error.text);
    return rc;
}

static inline int setup_memory(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    *state = f;
    return open_store(f, false);
}

static inline int setup_durable(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    *state = f;
    bz_test_dir_make(&f->dir);
    return open_store(f, true);
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    int rc = bz_store_close(f->store, NULL);
    bz_test_dir_remove(&f->dir);
    free(f);
    return rc;
}

/* ---- shorthand ---- */

static inline struct bz_bytes text(const char *s)
{
    return bz_bytes_text(s);
}

static inline struct bz_txn *begin(struct bz_store *store)
{
    struct bz_txn *txn = NULL;
    assert_int_equal(bz_txn_begin(store, &txn, NULL), 0);
    return txn;
}

static inline struct bz_snapshot *snapshot_of(struct bz_store *store)
{
    struct bz_snapshot *snapshot = NULL;
    assert_int_equal(bz_snapshot_open(store, &snapshot, NULL), 0);
    return snapshot;
}

static inline void put(struct bz_txn *txn, uint32_t map, const char *key, const char *value)
{
    assert_int_equal(bz_txn_put(txn, map, text(key), text(value), NULL), 0);
}

static inline void put_one(struct bz_store *store, uint32_t map, const char *key, const char *value)
{
    struct bz_txn *txn = begin(store);
    put(txn, map, key, value);
    assert_int_equal(bz_txn_commit(txn, BZ_DURABLE_RELAXED, NULL), 0);
}

/* `want` NULL: the key must not be there. */
static inline void assert_value(
    struct bz_view *view, uint32_t map, const char *key, const char *want)
{
    struct bz_bytes value;
    int rc = bz_view_get(view, map, text(key), &value, NULL);
    if (want == NULL) {
        assert_int_equal(rc, BLAZE_ENOTFOUND);
    } else {
        assert_int_equal(rc, 0);
        assert_true(bz_bytes_equal(value, text(want)));
    }
}

static inline void assert_now(
    struct bz_store *store, uint32_t map, const char *key, const char *want)
{
    struct bz_snapshot *snapshot = snapshot_of(store);
    assert_value(bz_snapshot_view(snapshot), map, key, want);
    bz_snapshot_close(snapshot);
}

/* All keys of a map, joined, forwards or backwards. */
static inline char *keys_of(struct bz_view *view, uint32_t map, bool forward, char *out)
{
    struct bz_cursor *cursor;
    assert_int_equal(bz_cursor_open(view, map, &cursor, NULL), 0);
    char *p = out;
    int rc;
    while ((rc = forward ? bz_cursor_next(cursor, NULL) : bz_cursor_prev(cursor, NULL)) == 0) {
        struct bz_bytes key = bz_cursor_key(cursor);
        memcpy(p, key.data, key.size);
        p += key.size;
    }
    assert_int_equal(rc, BLAZE_END);
    *p = '\0';
    bz_cursor_close(cursor);
    return out;
}

#define BOTH(test)                                                                                 \
    {"memory: " #test, test, setup_memory, teardown, NULL},                                        \
    {                                                                                              \
        "durable: " #test, test, setup_durable, teardown, NULL                                     \
    }

#endif

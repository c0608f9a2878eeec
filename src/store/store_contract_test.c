/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What every store must do, run on the durable one and on its twin in memory.
 */

#include "base/alloc.h"
#include "os/os.h"
#include "store/store.h"
#include "store/testing.h"

#include "cmocka_all.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const map_names[] = {"records", "index", "log"};

struct fixture {
    struct bz_store *store;
    struct bz_test_dir dir; /* path is empty for the store in memory */
};

static int open_store(struct fixture *f, bool durable)
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

static int setup_memory(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    *state = f;
    return open_store(f, false);
}

static int setup_durable(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    *state = f;
    bz_test_dir_make(&f->dir);
    return open_store(f, true);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    int rc = bz_store_close(f->store, NULL);
    bz_test_dir_remove(&f->dir);
    free(f);
    return rc;
}

/* ---- shorthand ---- */

static struct bz_bytes text(const char *s)
{
    return bz_bytes_text(s);
}

static struct bz_txn *begin(struct bz_store *store)
{
    struct bz_txn *txn = NULL;
    assert_int_equal(bz_txn_begin(store, &txn, NULL), 0);
    return txn;
}

static struct bz_snapshot *snapshot_of(struct bz_store *store)
{
    struct bz_snapshot *snapshot = NULL;
    assert_int_equal(bz_snapshot_open(store, &snapshot, NULL), 0);
    return snapshot;
}

static void put(struct bz_txn *txn, uint32_t map, const char *key, const char *value)
{
    assert_int_equal(bz_txn_put(txn, map, text(key), text(value), NULL), 0);
}

static void put_one(struct bz_store *store, uint32_t map, const char *key, const char *value)
{
    struct bz_txn *txn = begin(store);
    put(txn, map, key, value);
    assert_int_equal(bz_txn_commit(txn, BZ_DURABLE_RELAXED, NULL), 0);
}

/* `want` NULL: the key must not be there. */
static void assert_value(struct bz_view *view, uint32_t map, const char *key, const char *want)
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

static void assert_now(struct bz_store *store, uint32_t map, const char *key, const char *want)
{
    struct bz_snapshot *snapshot = snapshot_of(store);
    assert_value(bz_snapshot_view(snapshot), map, key, want);
    bz_snapshot_close(snapshot);
}

/* All keys of a map, joined, forwards or backwards. */
static char *keys_of(struct bz_view *view, uint32_t map, bool forward, char *out)
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

/* ---- reading and writing ---- */

static void a_commit_is_seen_by_later_snapshots_only(void **state)
{
    struct fixture *f = *state;
    struct bz_snapshot *before = snapshot_of(f->store);
    put_one(f->store, 0, "a", "1");
    struct bz_snapshot *after = snapshot_of(f->store);
    put_one(f->store, 0, "a", "2");
    assert_value(bz_snapshot_view(before), 0, "a", NULL);
    assert_value(bz_snapshot_view(after), 0, "a", "1");
    assert_now(f->store, 0, "a", "2");
    assert_true(bz_snapshot_lsn(after) > bz_snapshot_lsn(before));
    bz_snapshot_close(before);
    bz_snapshot_close(after);
}

static void maps_are_apart(void **state)
{
    struct fixture *f = *state;
    put_one(f->store, 0, "a", "zero");
    put_one(f->store, 2, "a", "two");
    assert_now(f->store, 0, "a", "zero");
    assert_now(f->store, 1, "a", NULL);
    assert_now(f->store, 2, "a", "two");
}

static void a_transaction_sees_its_own_writes_and_nobody_else_does(void **state)
{
    struct fixture *f = *state;
    put_one(f->store, 0, "kept", "old");
    put_one(f->store, 0, "gone", "old");
    struct bz_txn *txn = begin(f->store);
    put(txn, 0, "kept", "new");
    put(txn, 0, "kept", "newer");
    assert_int_equal(bz_txn_delete(txn, 0, text("gone"), NULL), 0);
    assert_int_equal(bz_txn_delete(txn, 0, text("never"), NULL), 0);
    assert_value(bz_txn_view(txn), 0, "kept", "newer");
    assert_value(bz_txn_view(txn), 0, "gone", NULL);
    assert_now(f->store, 0, "kept", "old");
    assert_now(f->store, 0, "gone", "old");
    assert_int_equal(bz_txn_commit(txn, BZ_DURABLE_FULL, NULL), 0);
    assert_now(f->store, 0, "kept", "newer");
    assert_now(f->store, 0, "gone", NULL);
}

static void an_aborted_transaction_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t lsn = bz_store_lsn(f->store);
    struct bz_txn *txn = begin(f->store);
    put(txn, 0, "a", "1");
    bz_txn_abort(txn);
    assert_now(f->store, 0, "a", NULL);
    put_one(f->store, 0, "b", "2");
    assert_now(f->store, 0, "a", NULL);
    assert_now(f->store, 0, "b", "2");
    assert_true(bz_store_lsn(f->store) > lsn);
}

static void a_commit_without_writes_changes_nothing(void **state)
{
    struct fixture *f = *state;
    put_one(f->store, 0, "a", "1");
    uint64_t lsn = bz_store_lsn(f->store);
    assert_int_equal(bz_txn_commit(begin(f->store), BZ_DURABLE_FULL, NULL), 0);
    struct bz_txn *txn = begin(f->store);
    uint32_t mark = bz_txn_savepoint(txn);
    put(txn, 0, "a", "2");
    assert_int_equal(bz_txn_rollback_to(txn, mark, NULL), 0);
    assert_int_equal(bz_txn_commit(txn, BZ_DURABLE_FULL, NULL), 0);
    assert_true(bz_store_lsn(f->store) == lsn);
    assert_now(f->store, 0, "a", "1");
}

static void savepoints_nest(void **state)
{
    struct fixture *f = *state;
    put_one(f->store, 0, "a", "0");
    struct bz_txn *txn = begin(f->store);
    uint32_t first = bz_txn_savepoint(txn);
    put(txn, 0, "a", "1");
    put(txn, 0, "b", "1");
    uint32_t second = bz_txn_savepoint(txn);
    put(txn, 0, "a", "2");
    assert_int_equal(bz_txn_delete(txn, 0, text("b"), NULL), 0);
    assert_value(bz_txn_view(txn), 0, "b", NULL);

    assert_int_equal(bz_txn_rollback_to(txn, second, NULL), 0);
    assert_value(bz_txn_view(txn), 0, "a", "1");
    assert_value(bz_txn_view(txn), 0, "b", "1");
    put(txn, 0, "c", "3");
    assert_int_equal(bz_txn_rollback_to(txn, second, NULL), 0); /* it is still there */
    assert_value(bz_txn_view(txn), 0, "c", NULL);

    assert_int_equal(bz_txn_rollback_to(txn, first, NULL), 0);
    assert_value(bz_txn_view(txn), 0, "a", "0");
    assert_value(bz_txn_view(txn), 0, "b", NULL);
    assert_int_equal(bz_txn_rollback_to(txn, 1000, NULL), BLAZE_EINVAL);
    put(txn, 0, "d", "4");
    assert_int_equal(bz_txn_commit(txn, BZ_DURABLE_FULL, NULL), 0);
    char keys[16];
    struct bz_snapshot *snapshot = snapshot_of(f->store);
    assert_string_equal(keys_of(bz_snapshot_view(snapshot), 0, true, keys), "ad");
    bz_snapshot_close(snapshot);
}

static void keys_and_values_have_limits(void **state)
{
    struct fixture *f = *state;
    uint8_t *big = calloc(1, BZ_STORE_VALUE_MAX + 1);
    struct bz_txn *txn = begin(f->store);
    struct bz_bytes longest = bz_bytes(big, BZ_STORE_KEY_MAX);
    struct bz_bytes value;
    assert_int_equal(bz_txn_put(txn, 0, longest, bz_bytes(big, BZ_STORE_VALUE_MAX), NULL), 0);
    assert_int_equal(bz_txn_put(txn, 0, bz_bytes("e", 1), bz_bytes(NULL, 0), NULL), 0);
    assert_int_equal(bz_txn_put(txn, 0, bz_bytes(NULL, 0), longest, NULL), BLAZE_EINVAL);
    assert_int_equal(bz_txn_put(txn, 3, longest, longest, NULL), BLAZE_EINVAL);
    assert_int_equal(
        bz_txn_put(txn, 0, bz_bytes(big, BZ_STORE_KEY_MAX + 1), longest, NULL), BLAZE_ELIMIT);
    assert_int_equal(
        bz_txn_put(txn, 0, longest, bz_bytes(big, BZ_STORE_VALUE_MAX + 1), NULL), BLAZE_ELIMIT);
    assert_int_equal(bz_txn_commit(txn, BZ_DURABLE_FULL, NULL), 0);
    assert_int_equal(bz_store_checkpoint(f->store, NULL), 0);
    struct bz_snapshot *snapshot = snapshot_of(f->store);
    assert_int_equal(bz_view_get(bz_snapshot_view(snapshot), 0, longest, &value, NULL), 0);
    assert_true(bz_bytes_equal(value, bz_bytes(big, BZ_STORE_VALUE_MAX)));
    assert_int_equal(bz_view_get(bz_snapshot_view(snapshot), 0, text("e"), &value, NULL), 0);
    assert_int_equal(value.size, 0);
    bz_snapshot_close(snapshot);
    free(big);
}

/* ---- cursors ---- */

static void a_cursor_walks_both_ways_and_starts_again_after_the_end(void **state)
{
    struct fixture *f = *state;
    put_one(f->store, 0, "b", "1");
    assert_int_equal(bz_store_checkpoint(f->store, NULL), 0);
    put_one(f->store, 0, "d", "2");
    put_one(f->store, 0, "a", "3");
    put_one(f->store, 1, "c", "4");
    char keys[16];
    struct bz_snapshot *snapshot = snapshot_of(f->store);
    struct bz_view *view = bz_snapshot_view(snapshot);
    assert_string_equal(keys_of(view, 0, true, keys), "abd");
    assert_string_equal(keys_of(view, 0, false, keys), "dba");
    assert_string_equal(keys_of(view, 2, true, keys), "");
    assert_string_equal(keys_of(view, 2, false, keys), "");

    struct bz_cursor *cursor;
    assert_int_equal(bz_cursor_open(view, 0, &cursor, NULL), 0);
    assert_int_equal(bz_cursor_seek(cursor, text("c"), NULL), 0);
    assert_true(bz_bytes_equal(bz_cursor_key(cursor), text("d")));
    assert_true(bz_bytes_equal(bz_cursor_value(cursor), text("2")));
    assert_int_equal(bz_cursor_prev(cursor, NULL), 0);
    assert_true(bz_bytes_equal(bz_cursor_key(cursor), text("b")));
    assert_int_equal(bz_cursor_next(cursor, NULL), 0);
    assert_true(bz_bytes_equal(bz_cursor_key(cursor), text("d")));
    assert_int_equal(bz_cursor_next(cursor, NULL), BLAZE_END);
    assert_int_equal(bz_cursor_key(cursor).size, 0);
    assert_int_equal(bz_cursor_next(cursor, NULL), 0);
    assert_true(bz_bytes_equal(bz_cursor_key(cursor), text("a")));
    assert_int_equal(bz_cursor_prev(cursor, NULL), BLAZE_END);
    assert_int_equal(bz_cursor_prev(cursor, NULL), 0);
    assert_true(bz_bytes_equal(bz_cursor_key(cursor), text("d")));
    assert_int_equal(bz_cursor_seek(cursor, text("e"), NULL), BLAZE_END);
    assert_int_equal(bz_cursor_seek(cursor, bz_bytes(NULL, 0), NULL), 0);
    assert_true(bz_bytes_equal(bz_cursor_key(cursor), text("a")));
    bz_cursor_close(cursor);
    bz_snapshot_close(snapshot);
}

static void a_cursor_moves_over_what_its_transaction_wrote_meanwhile(void **state)
{
    struct fixture *f = *state;
    for (const char *key = "bdfh"; *key != '\0'; key++)
        put_one(f->store, 0, (char[]){*key, '\0'}, "old");
    struct bz_txn *txn = begin(f->store);
    struct bz_cursor *cursor;
    assert_int_equal(bz_cursor_open(bz_txn_view(txn), 0, &cursor, NULL), 0);
    assert_int_equal(bz_cursor_seek(cursor, text("d"), NULL), 0);
    put(txn, 0, "e", "new");
    put(txn, 0, "c", "new");
    assert_int_equal(bz_txn_delete(txn, 0, text("d"), NULL), 0);
    assert_int_equal(bz_cursor_next(cursor, NULL), 0);
    assert_true(bz_bytes_equal(bz_cursor_key(cursor), text("e")));
    assert_int_equal(bz_cursor_prev(cursor, NULL), 0);
    assert_true(bz_bytes_equal(bz_cursor_key(cursor), text("c")));
    uint32_t mark = bz_txn_savepoint(txn);
    put(txn, 0, "c", "newer");
    put(txn, 0, "ca", "newer");
    assert_int_equal(bz_cursor_next(cursor, NULL), 0);
    assert_true(bz_bytes_equal(bz_cursor_key(cursor), text("ca")));
    assert_int_equal(bz_txn_rollback_to(txn, mark, NULL), 0);
    assert_int_equal(bz_cursor_prev(cursor, NULL), 0);
    assert_true(bz_bytes_equal(bz_cursor_key(cursor), text("c")));
    assert_true(bz_bytes_equal(bz_cursor_value(cursor), text("new")));
    bz_cursor_close(cursor);
    bz_txn_abort(txn);
}

/* Deleting all that a cursor finds, while it walks. */
static void a_map_can_be_emptied_under_a_cursor(void **state)
{
    struct fixture *f = *state;
    struct bz_txn *txn = begin(f->store);
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof key, "%03d", i);
        put(txn, 0, key, "x");
    }
    assert_int_equal(bz_txn_commit(txn, BZ_DURABLE_RELAXED, NULL), 0);
    txn = begin(f->store);
    struct bz_cursor *cursor;
    assert_int_equal(bz_cursor_open(bz_txn_view(txn), 0, &cursor, NULL), 0);
    int count = 0;
    while (bz_cursor_next(cursor, NULL) == 0) {
        assert_int_equal(bz_txn_delete(txn, 0, bz_cursor_key(cursor), NULL), 0);
        count++;
    }
    assert_int_equal(count, 100);
    bz_cursor_close(cursor);
    assert_int_equal(bz_txn_commit(txn, BZ_DURABLE_RELAXED, NULL), 0);
    char keys[16];
    struct bz_snapshot *snapshot = snapshot_of(f->store);
    assert_string_equal(keys_of(bz_snapshot_view(snapshot), 0, true, keys), "");
    bz_snapshot_close(snapshot);
}

/* ---- listeners, snapshots, checkpoints ---- */

static void count_call(void *context)
{
    (*(int *)context)++;
}

static void a_listener_hears_of_commits_until_it_is_removed(void **state)
{
    struct fixture *f = *state;
    int calls = 0;
    bz_store_set_listener(f->store, count_call, &calls);
    put_one(f->store, 0, "a", "1");
    assert_int_equal(calls, 1);
    bz_txn_abort(begin(f->store));
    assert_int_equal(calls, 1);
    bz_store_set_listener(f->store, NULL, NULL);
    put_one(f->store, 0, "a", "2");
    assert_int_equal(calls, 1);
}

static void a_snapshot_outlives_checkpoints(void **state)
{
    struct fixture *f = *state;
    put_one(f->store, 0, "a", "1");
    put_one(f->store, 0, "b", "1");
    struct bz_snapshot *old = snapshot_of(f->store);
    for (int i = 0; i < 4; i++) {
        put_one(f->store, 0, "a", "2");
        struct bz_txn *txn = begin(f->store);
        assert_int_equal(bz_txn_delete(txn, 0, text("b"), NULL), 0);
        assert_int_equal(bz_txn_commit(txn, BZ_DURABLE_FULL, NULL), 0);
        assert_int_equal(bz_store_checkpoint(f->store, NULL), 0);
    }
    char keys[16];
    assert_value(bz_snapshot_view(old), 0, "a", "1");
    assert_string_equal(keys_of(bz_snapshot_view(old), 0, true, keys), "ab");
    assert_now(f->store, 0, "a", "2");
    assert_now(f->store, 0, "b", NULL);
    bz_snapshot_close(old);
}

static void many_snapshots_may_be_open(void **state)
{
    struct fixture *f = *state;
    struct bz_snapshot *all[300];
    char value[16];
    for (int i = 0; i < 300; i++) {
        snprintf(value, sizeof value, "%d", i);
        put_one(f->store, 0, "n", value);
        all[i] = snapshot_of(f->store);
    }
    for (int i = 0; i < 300; i++) {
        snprintf(value, sizeof value, "%d", i);
        assert_value(bz_snapshot_view(all[i]), 0, "n", value);
        bz_snapshot_close(all[i]);
    }
}

/* ---- against a model ---- */

enum { KEYS = 120, OLD = 4 };

/* What a map should hold: the value of key number i, or -1. */
struct model {
    int values[3][KEYS];
};

/* Keys of many lengths, so that prefixes of each other are among them; their order is that of i. */
static struct bz_bytes model_key(int i, uint8_t *storage)
{
    size_t size = 1 + (size_t)(i % 10) * 7;
    memset(storage, 0, size);
    storage[0] = (uint8_t)(i / 10);
    return bz_bytes(storage, size);
}

static struct bz_bytes model_value(int v, uint8_t *storage)
{
    size_t size = (size_t)(v % 13 == 0 ? 5000 : v % 40);
    memset(storage, v, size);
    if (size >= 4)
        bz_store32le(storage, (uint32_t)v);
    return bz_bytes(storage, size);
}

static void check_position(struct bz_cursor *cursor, int rc, const int *values, int at)
{
    if (at < 0 || at >= KEYS) {
        assert_int_equal(rc, BLAZE_END);
        return;
    }
    uint8_t key[128], value[5000];
    assert_int_equal(rc, 0);
    assert_true(bz_bytes_equal(bz_cursor_key(cursor), model_key(at, key)));
    assert_true(bz_bytes_equal(bz_cursor_value(cursor), model_value(values[at], value)));
}

/* From `at`, the next key number that is there. */
static int model_move(const int *values, int at, int step)
{
    do
        at += step;
    while (at >= 0 && at < KEYS && values[at] < 0);
    return at;
}

static void check_view(struct bz_view *view, const struct model *model, struct rng *random)
{
    uint32_t map = rng_below(random, 3);
    const int *values = model->values[map];
    uint8_t storage[5000];
    for (int n = 0; n < 5; n++) {
        int i = (int)rng_below(random, KEYS);
        struct bz_bytes value;
        int rc = bz_view_get(view, map, model_key(i, storage), &value, NULL);
        assert_int_equal(rc, values[i] < 0 ? BLAZE_ENOTFOUND : 0);
        if (rc == 0)
            assert_true(bz_bytes_equal(value, model_value(values[i], storage)));
    }
    struct bz_cursor *cursor;
    assert_int_equal(bz_cursor_open(view, map, &cursor, NULL), 0);
    int at = (int)rng_below(random, KEYS);
    int rc = bz_cursor_seek(cursor, model_key(at, storage), NULL);
    if (values[at] < 0)
        at = model_move(values, at, 1);
    check_position(cursor, rc, values, at);
    for (int n = 0; n < 30; n++) {
        bool forward = rng_below(random, 4) != 0;
        if (at < 0 || at >= KEYS)
            at = forward ? -1 : KEYS;
        at = model_move(values, at, forward ? 1 : -1);
        rc = forward ? bz_cursor_next(cursor, NULL) : bz_cursor_prev(cursor, NULL);
        check_position(cursor, rc, values, at);
    }
    bz_cursor_close(cursor);
}

static void random_write(struct bz_txn *txn, struct model *model, struct rng *random)
{
    uint8_t key_storage[128], value_storage[5000];
    uint32_t map = rng_below(random, 3);
    int i = (int)rng_below(random, KEYS);
    struct bz_bytes key = model_key(i, key_storage);
    if (rng_below(random, 3) == 0) {
        assert_int_equal(bz_txn_delete(txn, map, key, NULL), 0);
        model->values[map][i] = -1;
    } else {
        int v = (int)rng_below(random, 1000);
        assert_int_equal(bz_txn_put(txn, map, key, model_value(v, value_storage), NULL), 0);
        model->values[map][i] = v;
    }
}

/* One transaction with savepoints, checked as it goes; the model follows if it commits. */
static void random_txn(struct bz_store *store, struct model *model, struct rng *random)
{
    struct model now = *model, saved = *model;
    struct bz_txn *txn = begin(store);
    uint32_t mark = bz_txn_savepoint(txn);
    for (uint64_t n = rng_below(random, 12); n > 0; n--) {
        random_write(txn, &now, random);
        switch (rng_below(random, 8)) {
        case 0:
            mark = bz_txn_savepoint(txn);
            saved = now;
            break;
        case 1:
            assert_int_equal(bz_txn_rollback_to(txn, mark, NULL), 0);
            now = saved;
            break;
        case 2:
            check_view(bz_txn_view(txn), &now, random);
            break;
        default:
            break;
        }
    }
    if (rng_below(random, 5) == 0) {
        bz_txn_abort(txn);
    } else {
        bool full = rng_below(random, 20) == 0;
        enum bz_durability durability = full ? BZ_DURABLE_FULL : BZ_DURABLE_RELAXED;
        assert_int_equal(bz_txn_commit(txn, durability, NULL), 0);
        *model = now;
    }
}

static void random_histories_agree_with_a_plain_array(void **state)
{
    struct fixture *f = *state;
    struct rng random = {test_seed()};
    struct model model;
    struct model old_models[OLD];
    struct bz_snapshot *old[OLD] = {NULL};
    memset(&model, -1, sizeof model);
    for (uint64_t round = test_rounds(1500, 100000); round > 0; round--) {
        random_txn(f->store, &model, &random);
        size_t which = rng_below(&random, OLD);
        if (old[which] != NULL)
            check_view(bz_snapshot_view(old[which]), &old_models[which], &random);
        if (rng_below(&random, 10) == 0) {
            bz_snapshot_close(old[which]);
            old[which] = snapshot_of(f->store);
            old_models[which] = model;
        }
        if (rng_below(&random, 60) == 0)
            assert_int_equal(bz_store_checkpoint(f->store, NULL), 0);
        if (f->dir.path[0] != '\0' && rng_below(&random, 200) == 0) {
            for (size_t i = 0; i < OLD; i++) {
                bz_snapshot_close(old[i]);
                old[i] = NULL;
            }
            assert_int_equal(bz_store_close(f->store, NULL), 0);
            open_store(f, true);
        }
        struct bz_snapshot *snapshot = snapshot_of(f->store);
        check_view(bz_snapshot_view(snapshot), &model, &random);
        bz_snapshot_close(snapshot);
    }
    for (size_t i = 0; i < OLD; i++)
        bz_snapshot_close(old[i]);
}

/* ---- threads ---- */

enum { WRITERS = 2, READERS = 2, ROUNDS = 150 };

struct crowd {
    struct bz_store *store;
    atomic_int writing;
    atomic_int failures;
    atomic_uint seed;
};

/* Moves an amount from one account to another: the sum stays. */
static void transfer(struct bz_store *store, struct rng *random, atomic_int *failures)
{
    struct bz_txn *txn;
    if (bz_txn_begin(store, &txn, NULL) != 0) {
        atomic_fetch_add(failures, 1);
        return;
    }
    uint8_t from = (uint8_t)('a' + rng_below(random, 5));
    uint8_t to = (uint8_t)('f' + rng_below(random, 5));
    struct bz_bytes a, b;
    int rc = bz_view_get(bz_txn_view(txn), 0, bz_bytes(&from, 1), &a, NULL);
    if (rc == 0)
        rc = bz_view_get(bz_txn_view(txn), 0, bz_bytes(&to, 1), &b, NULL);
    if (rc == 0) {
        uint8_t less[400] = {0}, more[400] = {0};
        bz_store64le(less, bz_load64le(a.data) - 1);
        bz_store64le(more, bz_load64le(b.data) + 1);
        rc = bz_txn_put(txn, 0, bz_bytes(&from, 1), bz_bytes(less, sizeof less), NULL);
        if (rc == 0)
            rc = bz_txn_put(txn, 0, bz_bytes(&to, 1), bz_bytes(more, sizeof more), NULL);
    }
    if (rc != 0) {
        bz_txn_abort(txn);
        atomic_fetch_add(failures, 1);
        return;
    }
    bool full = rng_below(random, 2) == 0;
    if (bz_txn_commit(txn, full ? BZ_DURABLE_FULL : BZ_DURABLE_RELAXED, NULL) != 0)
        atomic_fetch_add(failures, 1);
}

static void *write_on(void *context)
{
    struct crowd *crowd = context;
    struct rng random = {atomic_fetch_add(&crowd->seed, 1)};
    for (int i = 0; i < ROUNDS; i++)
        transfer(crowd->store, &random, &crowd->failures);
    atomic_fetch_sub(&crowd->writing, 1);
    return NULL;
}

static void *read_on(void *context)
{
    struct crowd *crowd = context;
    uint64_t lsn = 0;
    while (atomic_load(&crowd->writing) > 0) {
        struct bz_snapshot *snapshot;
        struct bz_cursor *cursor;
        uint64_t sum = 0, count = 0;
        if (bz_snapshot_open(crowd->store, &snapshot, NULL) != 0 ||
            bz_cursor_open(bz_snapshot_view(snapshot), 0, &cursor, NULL) != 0) {
            atomic_fetch_add(&crowd->failures, 1);
            return NULL;
        }
        while (bz_cursor_next(cursor, NULL) == 0) {
            sum += bz_load64le(bz_cursor_value(cursor).data);
            count++;
        }
        if (sum != 10000 || count != 10 || bz_snapshot_lsn(snapshot) < lsn)
            atomic_fetch_add(&crowd->failures, 1);
        lsn = bz_snapshot_lsn(snapshot);
        bz_cursor_close(cursor);
        bz_snapshot_close(snapshot);
    }
    return NULL;
}

static void readers_and_writers_in_threads_see_whole_commits(void **state)
{
    struct fixture *f = *state;
    struct crowd crowd = {.store = f->store};
    struct bz_txn *txn = begin(f->store);
    for (uint8_t key = 'a'; key < 'k'; key++) {
        uint8_t value[400] = {0};
        bz_store64le(value, 1000);
        assert_int_equal(
            bz_txn_put(txn, 0, bz_bytes(&key, 1), bz_bytes(value, sizeof value), NULL), 0);
    }
    assert_int_equal(bz_txn_commit(txn, BZ_DURABLE_FULL, NULL), 0);
    pthread_t threads[WRITERS + READERS];
    atomic_store(&crowd.writing, WRITERS);
    for (int i = 0; i < WRITERS + READERS; i++)
        assert_int_equal(
            pthread_create(&threads[i], NULL, i < WRITERS ? write_on : read_on, &crowd), 0);
    while (atomic_load(&crowd.writing) > 0)
        assert_int_equal(bz_store_checkpoint(f->store, NULL), 0);
    for (int i = 0; i < WRITERS + READERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&crowd.failures), 0);
    assert_true(bz_store_lsn(f->store) == WRITERS * ROUNDS + 1);
}

/* ---- failing allocations ---- */

struct nth {
    int left;
};

static int fail_nth(void *context)
{
    struct nth *nth = context;
    return nth->left > 0 && --nth->left == 0;
}

/* A transaction of two keys; 0 or the first error. */
static int write_pair(struct bz_store *store, const char *value)
{
    struct bz_txn *txn;
    int rc = bz_txn_begin(store, &txn, NULL);
    if (rc != 0)
        return rc;
    rc = bz_txn_put(txn, 0, text("left"), text(value), NULL);
    if (rc == 0)
        rc = bz_txn_delete(txn, 1, text("nothing"), NULL);
    if (rc == 0)
        rc = bz_txn_put(txn, 0, text("right"), text(value), NULL);
    if (rc == 0)
        return bz_txn_commit(txn, BZ_DURABLE_RELAXED, NULL);
    bz_txn_abort(txn);
    return rc;
}

static int read_pair(struct bz_store *store, char *left, char *right)
{
    struct bz_snapshot *snapshot;
    struct bz_bytes a, b;
    int rc = bz_snapshot_open(store, &snapshot, NULL);
    if (rc != 0)
        return rc;
    struct bz_view *view = bz_snapshot_view(snapshot);
    rc = bz_view_get(view, 0, text("left"), &a, NULL);
    if (rc == 0)
        rc = bz_view_get(view, 0, text("right"), &b, NULL);
    if (rc == 0) {
        *left = (char)a.data[0];
        *right = (char)b.data[0];
    }
    bz_snapshot_close(snapshot);
    return rc;
}

static void a_failed_allocation_leaves_the_store_whole(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(write_pair(f->store, "A"), 0);
    char expect = 'A';
    for (int n = 1, failed = 1; failed; n++) {
        struct nth nth = {n};
        char next[2] = {(char)('A' + n % 26), '\0'};
        bz_alloc_set_fault(fail_nth, &nth);
        int written = write_pair(f->store, next);
        char left = 0, right = 0;
        int read = read_pair(f->store, &left, &right);
        bz_alloc_set_fault(NULL, NULL);
        failed = nth.left == 0;
        assert_true(written == 0 || written == BLAZE_ENOMEM);
        assert_true(read == 0 || read == BLAZE_ENOMEM);
        if (written == 0)
            expect = next[0];
        if (read == 0)
            assert_true(left == expect && right == expect);
        assert_int_equal(read_pair(f->store, &left, &right), 0);
        assert_true(left == expect && right == expect);
        assert_true(n < 1000);
    }
    assert_int_equal(write_pair(f->store, "!"), 0);
}

#define BOTH(test)                                                                                 \
    {"memory: " #test, test, setup_memory, teardown, NULL},                                        \
    {                                                                                              \
        "durable: " #test, test, setup_durable, teardown, NULL                                     \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_commit_is_seen_by_later_snapshots_only),
        BOTH(maps_are_apart),
        BOTH(a_transaction_sees_its_own_writes_and_nobody_else_does),
        BOTH(an_aborted_transaction_leaves_nothing),
        BOTH(a_commit_without_writes_changes_nothing),
        BOTH(savepoints_nest),
        BOTH(keys_and_values_have_limits),
        BOTH(a_cursor_walks_both_ways_and_starts_again_after_the_end),
        BOTH(a_cursor_moves_over_what_its_transaction_wrote_meanwhile),
        BOTH(a_map_can_be_emptied_under_a_cursor),
        BOTH(a_listener_hears_of_commits_until_it_is_removed),
        BOTH(a_snapshot_outlives_checkpoints),
        BOTH(many_snapshots_may_be_open),
        BOTH(random_histories_agree_with_a_plain_array),
        BOTH(readers_and_writers_in_threads_see_whole_commits),
        BOTH(a_failed_allocation_leaves_the_store_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Every store, durable or in memory, against a plain array, by random histories; and with readers
 * and writers in threads.
 */

#include "store/contract_test_util.h"

#include <pthread.h>
#include <stdatomic.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(random_histories_agree_with_a_plain_array),
        BOTH(readers_and_writers_in_threads_see_whole_commits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

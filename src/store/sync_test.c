/* SPDX-License-Identifier: Apache-2.0 */

/* When commits are durable, when they are seen, and what happens in the background. A gate in the
 * log's syncs makes the moments last as long as a test needs. */

#include "store/testing.h"

#include "cmocka_all.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

static struct bz_test_dir dir;
static struct bz_store *store;

/* ---- the gate ---- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool closed;
    int held;    /* how many syncs it stops while it is closed; 0: all */
    int number;  /* what syncs fail with */
    int arrived; /* syncs that came to the gate */
    bool tables_closed;
    int tables_arrived;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void pass_gate_of_tables(void)
{
    pthread_mutex_lock(&gate.lock);
    gate.tables_arrived++;
    pthread_cond_broadcast(&gate.changed);
    while (gate.tables_closed)
        pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
}

static int pass_gate(void *context, enum bz_os_op op, const char *path)
{
    (void)context;
    if (op == BZ_OS_SYNC && strstr(path, ".tbl") != NULL)
        pass_gate_of_tables();
    if (op != BZ_OS_SYNC || strstr(path, ".wal") == NULL)
        return 0;
    pthread_mutex_lock(&gate.lock);
    bool stops = gate.held == 0 || gate.arrived < gate.held;
    gate.arrived++;
    pthread_cond_broadcast(&gate.changed);
    while (gate.closed && stops)
        pthread_cond_wait(&gate.changed, &gate.lock);
    int number = gate.number;
    pthread_mutex_unlock(&gate.lock);
    return number;
}

static void set_gate(bool closed, int number)
{
    pthread_mutex_lock(&gate.lock);
    gate.closed = closed;
    gate.number = number;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

static void set_gate_of_tables(bool closed)
{
    pthread_mutex_lock(&gate.lock);
    gate.tables_closed = closed;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

static void wait_for_a_table(void)
{
    pthread_mutex_lock(&gate.lock);
    while (gate.tables_arrived == 0)
        pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
}

static int arrivals(void)
{
    pthread_mutex_lock(&gate.lock);
    int arrived = gate.arrived;
    pthread_mutex_unlock(&gate.lock);
    return arrived;
}

static void wait_for_arrivals(int count)
{
    pthread_mutex_lock(&gate.lock);
    while (gate.arrived < count)
        pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
}

/* ---- fixture ---- */

static int setup(void **state)
{
    (void)state;
    bz_test_dir_make(&dir);
    gate.closed = false;
    gate.held = 0;
    gate.number = 0;
    gate.arrived = 0;
    gate.tables_closed = false;
    gate.tables_arrived = 0;
    bz_os_set_fault(pass_gate, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bz_os_set_fault(NULL, NULL);
    bz_test_dir_remove(&dir);
    return 0;
}

static struct bz_store_options options_for(uint32_t relaxed_window_ms)
{
    return (struct bz_store_options){
        .maps = bz_test_maps,
        .map_count = 2,
        .create = true,
        .relaxed_window_ms = relaxed_window_ms,
    };
}

static void open_with(struct bz_store_options options)
{
    blaze_error error = {0};
    if (bz_store_open(&store, dir.path, &options, &error) != 0)
        fail_msg("open: %s", error.text);
    pthread_mutex_lock(&gate.lock);
    gate.arrived = 0; /* those of creating it */
    pthread_mutex_unlock(&gate.lock);
}

static void close_store(void)
{
    assert_int_equal(bz_store_close(store, NULL), 0);
}

/* What the next writer sees. */
static int64_t history_of_writer(void)
{
    struct bz_txn *txn;
    assert_int_equal(bz_txn_begin(store, &txn, NULL), 0);
    int64_t n = bz_test_history(bz_txn_view(txn));
    bz_txn_abort(txn);
    return n;
}

struct committer {
    pthread_t thread;
    uint64_t number;
    enum bz_durability durability;
    int rc;
};

static void *commit_one(void *context)
{
    struct committer *committer = context;
    committer->rc = bz_test_commit(store, committer->number, committer->durability, NULL);
    return NULL;
}

static void start(struct committer *committer, uint64_t number, enum bz_durability durability)
{
    *committer = (struct committer){.number = number, .durability = durability, .rc = 1};
    assert_int_equal(pthread_create(&committer->thread, NULL, commit_one, committer), 0);
}

static int finish(struct committer *committer)
{
    pthread_join(committer->thread, NULL);
    return committer->rc;
}

/* ---- visibility ---- */

static void a_full_commit_is_seen_when_it_is_durable_and_by_writers_before(void **state)
{
    (void)state;
    struct committer committer;
    open_with(options_for(0));
    assert_int_equal(bz_test_commit(store, 1, BZ_DURABLE_FULL, NULL), 0);
    set_gate(true, 0);
    start(&committer, 2, BZ_DURABLE_FULL);
    wait_for_arrivals(2);
    assert_int_equal(bz_test_history_now(store), 1);
    assert_int_equal(bz_store_lsn(store), 1);
    assert_int_equal(history_of_writer(), 2);
    set_gate(false, 0);
    assert_int_equal(finish(&committer), 0);
    assert_int_equal(bz_test_history_now(store), 2);
    close_store();
}

static void a_relaxed_commit_does_not_overtake_a_full_one(void **state)
{
    (void)state;
    struct committer full, relaxed;
    open_with(options_for(1000000));
    set_gate(true, 0);
    start(&full, 1, BZ_DURABLE_FULL);
    wait_for_arrivals(1);
    start(&relaxed, 2, BZ_DURABLE_RELAXED);
    while (history_of_writer() < 2)
        sched_yield();
    assert_int_equal(bz_test_history_now(store), 0);
    set_gate(false, 0);
    assert_int_equal(finish(&relaxed), 0);
    assert_int_equal(bz_test_history_now(store), 2);
    assert_int_equal(finish(&full), 0);
    close_store();
}

static int begin_now(void)
{
    struct bz_txn *txn;
    int rc = bz_txn_begin_now(store, &txn, NULL);
    if (rc == 0)
        bz_txn_abort(txn);
    return rc;
}

static void who_must_not_wait_is_turned_away_while_another_writes(void **state)
{
    (void)state;
    struct bz_txn *txn;
    open_with(options_for(1000000));
    assert_int_equal(begin_now(), 0);
    assert_int_equal(bz_txn_begin(store, &txn, NULL), 0);
    assert_int_equal(begin_now(), BLAZE_EBUSY);
    bz_txn_abort(txn);
    assert_int_equal(begin_now(), 0);
    close_store();
}

static void who_must_not_wait_is_turned_away_while_a_full_commit_holds_back_what_follows(
    void **state)
{
    (void)state;
    struct committer full;
    open_with(options_for(1000000));
    set_gate(true, 0);
    start(&full, 1, BZ_DURABLE_FULL);
    wait_for_arrivals(1);
    assert_int_equal(begin_now(), BLAZE_EBUSY);
    set_gate(false, 0);
    assert_int_equal(finish(&full), 0);
    assert_int_equal(begin_now(), 0);
    close_store();
}

/* Relaxed commits that are being synced in the background hold back nothing. */
static void who_must_not_wait_does_not_wait_for_a_sync_in_the_background(void **state)
{
    (void)state;
    open_with(options_for(1));
    set_gate(true, 0);
    assert_int_equal(bz_test_commit(store, 1, BZ_DURABLE_RELAXED, NULL), 0);
    wait_for_arrivals(1);
    assert_int_equal(begin_now(), 0);
    set_gate(false, 0);
    close_store();
}

static void who_must_not_wait_does_not_begin_a_segment_of_the_log(void **state)
{
    (void)state;
    uint64_t n = 1;
    open_with(options_for(1000000));
    for (; begin_now() == 0; n++)
        assert_int_equal(bz_test_commit(store, n, BZ_DURABLE_RELAXED, NULL), 0);
    assert_int_equal(arrivals(), 0); /* the next segment syncs the one before it */
    for (; begin_now() == BLAZE_EBUSY; n++)
        assert_int_equal(bz_test_commit(store, n, BZ_DURABLE_RELAXED, NULL), 0);
    assert_true(arrivals() > 0);
    close_store();
}

static void commits_that_wait_together_share_a_sync(void **state)
{
    (void)state;
    enum { THREADS = 12 };
    struct committer committers[THREADS];
    open_with(options_for(0));
    set_gate(true, 0);
    for (uint64_t i = 0; i < THREADS; i++) {
        start(&committers[i], i + 1, BZ_DURABLE_FULL);
        while (history_of_writer() < (int64_t)i + 1)
            sched_yield();
    }
    set_gate(false, 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(finish(&committers[i]), 0);
    assert_true(arrivals() <= 4); /* two that waited at the gate, and one or two for all the rest */
    assert_int_equal(bz_test_history_now(store), THREADS);
    close_store();
}

/* A full commit whose sync is held at the gate, and no other. */
static void begin_held(struct committer *committer)
{
    struct bz_store_options options = options_for(1000000);
    options.segment_bytes = 16u << 10;
    options.checkpoint_ms = 1000000;
    open_with(options);
    gate.held = 1;
    set_gate(true, 0);
    start(committer, 1, BZ_DURABLE_FULL);
    wait_for_arrivals(1);
}

/* It tells that a write has failed, as only one of two does; the other came after it. */
static void assert_fails_both(struct committer *held, struct committer *other)
{
    set_gate(false, EIO);
    assert_int_equal(finish(held), BLAZE_EIO);
    assert_int_equal(finish(other), BLAZE_EFAILED);
    assert_int_equal(bz_test_history_now(store), 0);
    assert_int_equal(bz_store_close(store, NULL), BLAZE_EFAILED);
}

static void a_sync_does_not_count_before_an_older_one_has_ended_well(void **state)
{
    (void)state;
    struct committer first, second;
    begin_held(&first);
    start(&second, 2, BZ_DURABLE_FULL);
    wait_for_arrivals(2);
    assert_fails_both(&first, &second);
}

static void *commit_large(void *context)
{
    struct committer *committer = context;
    static uint8_t large[20u << 10];
    struct bz_txn *txn;
    committer->rc = bz_txn_begin(store, &txn, NULL);
    if (committer->rc != 0)
        return NULL;
    committer->rc = bz_txn_put(txn, 0, bz_bytes_text("large"), bz_bytes(large, sizeof large), NULL);
    if (committer->rc == 0)
        committer->rc = bz_txn_commit(txn, committer->durability, NULL);
    else
        bz_txn_abort(txn);
    return NULL;
}

/* Nor does the end of a segment, which syncs it as well. */
static void a_segment_does_not_end_before_an_older_sync_of_it_has_ended_well(void **state)
{
    (void)state;
    struct committer first, second = {.durability = BZ_DURABLE_FULL, .rc = 1};
    begin_held(&first);
    assert_int_equal(pthread_create(&second.thread, NULL, commit_large, &second), 0);
    wait_for_arrivals(3); /* that of the next segment, and that of the one that ends */
    assert_fails_both(&first, &second);
}

static void a_failed_sync_fails_the_store_for_writers_and_readers_go_on(void **state)
{
    (void)state;
    blaze_error error = {0};
    open_with(options_for(0));
    assert_int_equal(bz_test_commit(store, 1, BZ_DURABLE_FULL, NULL), 0);
    set_gate(false, EIO);
    assert_int_equal(bz_test_commit(store, 2, BZ_DURABLE_FULL, &error), BLAZE_EIO);
    set_gate(false, 0);
    assert_int_equal(bz_test_commit(store, 2, BZ_DURABLE_FULL, &error), BLAZE_EFAILED);
    assert_int_equal(error.code, BLAZE_EFAILED);
    assert_int_equal(bz_test_commit(store, 2, BZ_DURABLE_RELAXED, NULL), BLAZE_EFAILED);
    assert_int_equal(bz_store_sync(store, NULL), BLAZE_EFAILED);
    assert_int_equal(bz_test_history_now(store), 1);
    assert_int_equal(bz_store_close(store, NULL), BLAZE_EFAILED);
    open_with(options_for(0));
    int64_t n = bz_test_history_now(store);
    assert_true(n == 1 || n == 2); /* it cannot be known */
    assert_int_equal(bz_test_commit(store, (uint64_t)n + 1, BZ_DURABLE_FULL, NULL), 0);
    close_store();
}

static void look_at_it(void *context)
{
    atomic_store((atomic_int *)context, (int)bz_test_history_now(store));
}

static void a_listener_may_read_what_it_hears_of(void **state)
{
    (void)state;
    atomic_int seen = 0;
    open_with(options_for(0));
    bz_store_set_listener(store, look_at_it, &seen);
    assert_int_equal(bz_test_commit(store, 1, BZ_DURABLE_FULL, NULL), 0);
    assert_int_equal(atomic_load(&seen), 1);
    assert_int_equal(bz_test_commit(store, 2, BZ_DURABLE_RELAXED, NULL), 0);
    assert_int_equal(atomic_load(&seen), 2);
    bz_store_set_listener(store, NULL, NULL);
    close_store();
}

/* ---- the background ---- */

static void relaxed_commits_are_synced_within_their_window(void **state)
{
    (void)state;
    open_with(options_for(1));
    for (uint64_t i = 1; i <= 3; i++) {
        int before = arrivals();
        assert_int_equal(bz_test_commit(store, i, BZ_DURABLE_RELAXED, NULL), 0);
        wait_for_arrivals(before + 1);
    }
    close_store();
}

static void relaxed_commits_are_synced_in_time_however_long_a_checkpoint_takes(void **state)
{
    (void)state;
    struct bz_store_options options = options_for(1);
    options.checkpoint_ms = 1;
    open_with(options);
    set_gate_of_tables(true);
    assert_int_equal(bz_test_commit(store, 1, BZ_DURABLE_FULL, NULL), 0);
    wait_for_a_table();
    int before = arrivals();
    assert_int_equal(bz_test_commit(store, 2, BZ_DURABLE_RELAXED, NULL), 0);
    wait_for_arrivals(before + 1);
    set_gate_of_tables(false);
    close_store();
}

static void relaxed_commits_do_not_wait_for_the_disk(void **state)
{
    (void)state;
    open_with(options_for(1));
    set_gate(true, 0);
    for (uint64_t i = 1; i <= 50; i++)
        assert_int_equal(bz_test_commit(store, i, BZ_DURABLE_RELAXED, NULL), 0);
    wait_for_arrivals(1);
    assert_int_equal(bz_test_commit(store, 51, BZ_DURABLE_RELAXED, NULL), 0);
    assert_int_equal(bz_test_history_now(store), 51);
    set_gate(false, 0);
    assert_int_equal(bz_store_sync(store, NULL), 0);
    close_store();
}

static void wait_for_a_checkpoint_of_all(void)
{
    struct bz_store_stats stats;
    do {
        sched_yield();
        bz_store_stats(store, &stats);
    } while (stats.checkpoint_lsn < stats.lsn);
}

static void an_old_memtable_moves_to_the_base(void **state)
{
    (void)state;
    struct bz_store_options options = options_for(0);
    options.checkpoint_ms = 1;
    open_with(options);
    for (uint64_t i = 1; i <= 3; i++) {
        assert_int_equal(bz_test_commit(store, i, BZ_DURABLE_RELAXED, NULL), 0);
        wait_for_a_checkpoint_of_all();
        assert_int_equal(bz_test_history_now(store), i);
    }
    close_store();
}

/* Its time comes when there is nothing to be moved. */
static void a_memtable_that_grows_old_after_a_full_one_moves_too(void **state)
{
    (void)state;
    struct committer large = {.durability = BZ_DURABLE_FULL};
    struct bz_store_options options = options_for(0);
    options.checkpoint_bytes = 16u << 10;
    options.checkpoint_ms = 1;
    open_with(options);
    for (uint64_t i = 1; i <= 20; i++) {
        commit_large(&large);
        assert_int_equal(large.rc, 0);
        wait_for_a_checkpoint_of_all();
        assert_int_equal(bz_test_commit(store, i, BZ_DURABLE_RELAXED, NULL), 0);
        wait_for_a_checkpoint_of_all();
    }
    close_store();
}

static void memory_and_log_stay_bounded_however_much_is_written(void **state)
{
    (void)state;
    struct bz_store_options options = options_for(0);
    options.checkpoint_bytes = 256u << 10;
    options.segment_bytes = 64u << 10;
    open_with(options);
    static uint8_t value[1000];
    struct bz_store_stats stats;
    for (uint64_t i = 0; i < 8000; i++) {
        struct bz_txn *txn;
        uint8_t key[8];
        bz_store64be(key, i * UINT64_C(0x9e3779b97f4a7c15));
        assert_int_equal(bz_txn_begin(store, &txn, NULL), 0);
        assert_int_equal(
            bz_txn_put(txn, 0, bz_bytes(key, 8), bz_bytes(value, sizeof value), NULL), 0);
        assert_int_equal(bz_txn_commit(txn, BZ_DURABLE_RELAXED, NULL), 0);
        if (i % 100 == 0) {
            bz_store_stats(store, &stats);
            assert_true(stats.memtable_bytes < 4u << 20);
            assert_true(stats.log_bytes < 6u << 20);
        }
    }
    bz_store_stats(store, &stats);
    assert_true(stats.checkpoints > 3 && stats.lsn == 8000);
    close_store();
}

/* The age of the memtable asks for a checkpoint at the moment when a writer waits for one: who
 * waits must not hold what a checkpoint needs. */
static void a_writer_that_waits_for_room_does_not_stop_who_makes_it(void **state)
{
    (void)state;
    struct bz_store_options options = options_for(0);
    options.checkpoint_bytes = 4096;
    options.checkpoint_ms = 1;
    open_with(options);
    for (uint64_t i = 1; i <= 4000; i++)
        assert_int_equal(bz_test_commit(store, i, BZ_DURABLE_RELAXED, NULL), 0);
    assert_int_equal(bz_test_history_now(store), 4000);
    close_store();
}

/* Whether the log was moved by the close, or before it by a checkpoint. */
static void a_closed_store_keeps_next_to_nothing_of_its_log(void **state)
{
    (void)state;
    for (int checkpoint = 0; checkpoint < 2; checkpoint++) {
        struct bz_store_stats stats;
        struct bz_store_options options = options_for(0);
        options.checkpoint_ms = 1000000; /* none by age comes between */
        open_with(options);
        uint64_t first = bz_store_lsn(store);
        for (uint64_t i = first + 1; i <= first + 6000; i++)
            assert_int_equal(bz_test_commit(store, i, BZ_DURABLE_RELAXED, NULL), 0);
        bz_store_stats(store, &stats);
        assert_true(stats.log_bytes > 1u << 20);
        if (checkpoint)
            assert_int_equal(bz_store_checkpoint(store, NULL), 0);
        assert_int_equal(bz_store_close(store, NULL), 0);
        open_with(options_for(0));
        bz_store_stats(store, &stats);
        assert_true(stats.log_bytes <= 64u << 10);
        assert_int_equal(bz_test_history_now(store), first + 6000);
        close_store();
    }
}

/* A reader that stays must not keep the log or the memtables from going. */
static void an_open_snapshot_does_not_stop_checkpoints(void **state)
{
    (void)state;
    struct bz_snapshot *snapshot;
    open_with(options_for(0));
    for (uint64_t i = 1; i <= 10; i++)
        assert_int_equal(bz_test_commit(store, i, BZ_DURABLE_RELAXED, NULL), 0);
    assert_int_equal(bz_snapshot_open(store, &snapshot, NULL), 0);
    for (uint64_t i = 11; i <= 100; i++) {
        assert_int_equal(bz_test_commit(store, i, BZ_DURABLE_RELAXED, NULL), 0);
        if (i % 10 == 0)
            assert_int_equal(bz_store_checkpoint(store, NULL), 0);
        assert_int_equal(bz_test_history(bz_snapshot_view(snapshot)), 10);
    }
    struct bz_store_stats stats;
    bz_store_stats(store, &stats);
    assert_true(stats.checkpoint_lsn == 100);
    bz_snapshot_close(snapshot);
    close_store();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_full_commit_is_seen_when_it_is_durable_and_by_writers_before),
        TEST(a_relaxed_commit_does_not_overtake_a_full_one),
        TEST(who_must_not_wait_is_turned_away_while_another_writes),
        TEST(who_must_not_wait_is_turned_away_while_a_full_commit_holds_back_what_follows),
        TEST(who_must_not_wait_does_not_wait_for_a_sync_in_the_background),
        TEST(who_must_not_wait_does_not_begin_a_segment_of_the_log),
        TEST(commits_that_wait_together_share_a_sync),
        TEST(a_sync_does_not_count_before_an_older_one_has_ended_well),
        TEST(a_segment_does_not_end_before_an_older_sync_of_it_has_ended_well),
        TEST(a_failed_sync_fails_the_store_for_writers_and_readers_go_on),
        TEST(a_listener_may_read_what_it_hears_of),
        TEST(relaxed_commits_are_synced_within_their_window),
        TEST(relaxed_commits_are_synced_in_time_however_long_a_checkpoint_takes),
        TEST(relaxed_commits_do_not_wait_for_the_disk),
        TEST(an_old_memtable_moves_to_the_base),
        TEST(a_memtable_that_grows_old_after_a_full_one_moves_too),
        TEST(a_writer_that_waits_for_room_does_not_stop_who_makes_it),
        TEST(a_closed_store_keeps_next_to_nothing_of_its_log),
        TEST(memory_and_log_stay_bounded_however_much_is_written),
        TEST(an_open_snapshot_does_not_stop_checkpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

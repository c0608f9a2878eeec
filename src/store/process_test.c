/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Several processes on one store, and processes that are killed.
 *
 * This process has the store open only while it has no children to make: a store does not go
 * through fork(). Children leave by _exit(): 0 if all went well.
 */

#include "store/testing.h"

#include "cmocka_all.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct bz_test_dir dir;

/* What the processes tell each other, in memory that they share. */
struct board {
    _Atomic uint64_t started;
    _Atomic uint64_t done[2];
    _Atomic uint64_t stop;
};

static struct board *board;

static int setup(void **state)
{
    (void)state;
    bz_test_dir_make(&dir);
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED;
}

static int teardown(void **state)
{
    (void)state;
    munmap(board, sizeof *board);
    bz_test_dir_remove(&dir);
    return 0;
}

static struct bz_store *open_store(bool read_only)
{
    struct bz_store_options options = {
        .maps = bz_test_maps,
        .map_count = 2,
        .create = true,
        .read_only = read_only,
        .segment_bytes = 32u << 10,
        .checkpoint_bytes = 128u << 10,
        .table_bytes = 16u << 10,
        .level_bytes = 64u << 10,
        .relaxed_window_ms = 5,
    };
    struct bz_store *store = NULL;
    blaze_error error = {0};
    if (bz_store_open(&store, dir.path, &options, &error) != 0)
        fprintf(stderr, "open: %s\n", error.text);
    return store;
}

static void make_store(void)
{
    struct bz_store *store = open_store(false);
    assert_non_null(store);
    assert_int_equal(bz_store_close(store, NULL), 0);
}

static pid_t start(void (*body)(int which), int which)
{
    pid_t pid = fork();
    if (pid == 0) {
        alarm(120);
        body(which);
        _exit(0);
    }
    assert_true(pid > 0);
    return pid;
}

static void assert_ends_well(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("a child ended with status %x", (unsigned)status);
}

/* What the last call that takes it said. */
static blaze_error told;

static void child_must(int line, bool ok)
{
    if (!ok) {
        fprintf(stderr, "child: line %d: %s\n", line, told.text);
        _exit(1);
    }
}

#define MUST(condition) child_must(__LINE__, condition)

/* ---- killing ---- */

/* The next commit of the history, whichever process made the last. */
static int commit_next(struct bz_store *store, enum bz_durability durability, uint64_t *number)
{
    struct bz_txn *txn;
    struct bz_bytes value;
    char key[32];
    uint8_t storage[300], count[8];
    int rc = bz_txn_begin(store, &txn, &told);
    if (rc != 0)
        return rc;
    struct bz_view *view = bz_txn_view(txn);
    uint64_t i = 1;
    if (bz_view_get(view, 0, bz_bytes_text("count"), &value, &told) == 0)
        i = bz_load64le(value.data) + 1;
    bz_store64le(count, i);
    rc = bz_test_history(view) == (int64_t)i - 1
             ? 0
             : bz_error_set(&told, BLAZE_ECORRUPT, "not the state after commit %d", (int)i - 1);
    if (rc == 0)
        rc = bz_txn_put(txn, 0, bz_bytes_text("count"), bz_bytes(count, 8), &told);
    if (rc == 0)
        rc = bz_txn_put(txn, 1, bz_test_key(i, key), bz_test_value(i, storage), &told);
    if (rc == 0 && i > 3)
        rc = bz_txn_delete(txn, 1, bz_test_key(i - 3, key), &told);
    *number = i;
    if (rc == 0)
        return bz_txn_commit(txn, durability, &told);
    bz_txn_abort(txn);
    return rc;
}

static void write_until_killed(int which)
{
    struct bz_store *store = open_store(false);
    MUST(store != NULL);
    struct rng random = {atomic_load(&board->done[which])};
    atomic_fetch_add(&board->started, 1);
    for (;;) {
        uint64_t number;
        bool full = rng_below(&random, 8) == 0;
        MUST(commit_next(store, full ? BZ_DURABLE_FULL : BZ_DURABLE_RELAXED, &number) == 0);
        atomic_store(&board->done[which], number);
        if (rng_below(&random, 50) == 0)
            MUST(bz_store_checkpoint(store, &told) == 0);
    }
}

/* Lets the children go on for a random number of further commits. */
static void wait_for_commits(struct rng *random, uint64_t writers)
{
    while (atomic_load(&board->started) < writers)
        assert_int_equal(waitpid(-1, NULL, WNOHANG), 0); /* none has failed */
    uint64_t until = atomic_load(&board->done[0]) + rng_below(random, 60);
    uint64_t spins = rng_below(random, 2000); /* so that it is not always after a commit */
    while (atomic_load(&board->done[0]) < until)
        sched_yield(); /* a child that has failed is waited for until ctest gives up: see its line
                        */
    for (volatile uint64_t i = 0; i < spins; i++)
        ;
}

static void check_after_kill(uint64_t done)
{
    struct bz_store *store = open_store(false);
    assert_non_null(store);
    int64_t n = bz_test_history_now(store);
    if (n < (int64_t)done)
        fail_msg("%d, but %d were acknowledged", (int)n, (int)done);
    uint64_t number;
    assert_int_equal(commit_next(store, BZ_DURABLE_FULL, &number), 0);
    assert_int_equal(number, n + 1);
    assert_int_equal(bz_store_close(store, NULL), 0);
    atomic_store(&board->done[0], number);
    atomic_store(&board->done[1], number);
}

static void tell_totals(uint64_t kills)
{
    test_total(kills, "kills");
    test_total(atomic_load(&board->done[0]), "commits verified"); /* numbered through */
}

static void a_killed_writer_loses_no_acknowledged_commit(void **state)
{
    (void)state;
    struct rng random = {test_seed()};
    make_store();
    for (uint64_t i = test_rounds(30, 500); i > 0; i--) {
        atomic_store(&board->started, 0);
        pid_t pid = start(write_until_killed, 0);
        wait_for_commits(&random, 1);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        check_after_kill(atomic_load(&board->done[0]));
    }
    tell_totals(test_rounds(30, 500));
}

static void a_killed_writer_leaves_nothing_locked_for_the_other(void **state)
{
    (void)state;
    struct rng random = {test_seed()};
    make_store();
    for (uint64_t i = test_rounds(10, 150); i > 0; i--) {
        atomic_store(&board->started, 0);
        pid_t first = start(write_until_killed, 0);
        pid_t second = start(write_until_killed, 1);
        wait_for_commits(&random, 2);
        kill(first, SIGKILL);
        waitpid(first, NULL, 0);
        uint64_t until = atomic_load(&board->done[1]) + 20;
        while (atomic_load(&board->done[1]) < until)
            assert_int_equal(waitpid(second, NULL, WNOHANG), 0); /* it goes on */
        kill(second, SIGKILL);
        waitpid(second, NULL, 0);
        uint64_t a = atomic_load(&board->done[0]), b = atomic_load(&board->done[1]);
        check_after_kill(a > b ? a : b);
    }
    tell_totals(2 * test_rounds(10, 150));
}

/* ---- together ---- */

enum { EACH = 400 };

static void write_a_share(int which)
{
    struct bz_store *store = open_store(false);
    MUST(store != NULL);
    for (int i = 0; i < EACH; i++) {
        uint64_t number, seen = bz_store_lsn(store);
        bool full = i % 16 == 0;
        MUST(commit_next(store, full ? BZ_DURABLE_FULL : BZ_DURABLE_RELAXED, &number) == 0);
        MUST(bz_test_history_now(store) >= (int64_t)number);
        MUST(bz_store_lsn(store) > seen);
        if (i % 100 == 50 + which)
            MUST(bz_store_checkpoint(store, &told) == 0);
    }
    atomic_store(&board->done[which], 1);
    MUST(bz_store_close(store, NULL) == 0);
}

/* Sees whole states only, each no older than the one before, until the writers are done. */
static void read_along(int read_only)
{
    struct bz_store *store = open_store(read_only);
    MUST(store != NULL);
    int64_t last = 0;
    uint64_t lsn = 0;
    bool done;
    do {
        done = atomic_load(&board->done[0]) != 0 && atomic_load(&board->done[1]) != 0;
        struct bz_snapshot *snapshot;
        MUST(bz_snapshot_open(store, &snapshot, NULL) == 0);
        int64_t n = bz_test_history(bz_snapshot_view(snapshot));
        MUST(n >= last && bz_snapshot_lsn(snapshot) >= lsn);
        last = n;
        lsn = bz_snapshot_lsn(snapshot);
        bz_snapshot_close(snapshot);
    } while (!done);
    MUST(last == 2 * EACH);
    MUST(bz_store_close(store, NULL) == 0);
}

static void write_between(int which)
{
    struct bz_store *store = open_store(false);
    uint64_t number;
    MUST(store != NULL);
    atomic_store(&board->started, 1);
    while (atomic_load(&board->started) < 2)
        sched_yield();
    for (int i = 0; i < 60; i++)
        MUST(commit_next(store, BZ_DURABLE_FULL, &number) == 0);
    atomic_store(&board->done[which], 1);
    while (atomic_load(&board->stop) == 0)
        sched_yield();
    MUST(bz_test_history_now(store) == 120);
    for (int i = 0; i < 60; i++)
        MUST(commit_next(store, BZ_DURABLE_FULL, &number) == 0);
    MUST(bz_store_close(store, NULL) == 0);
}

/* Each has the same segment open before the other writes to it. */
static void writers_take_turns_in_one_segment(void **state)
{
    (void)state;
    make_store();
    pid_t pid = start(write_between, 0);
    while (atomic_load(&board->started) == 0)
        sched_yield();
    struct bz_store *store = open_store(false);
    assert_non_null(store);
    atomic_store(&board->started, 2);
    while (atomic_load(&board->done[0]) == 0)
        sched_yield();
    for (int i = 0; i < 60; i++) {
        uint64_t number;
        assert_int_equal(commit_next(store, BZ_DURABLE_FULL, &number), 0);
    }
    atomic_store(&board->stop, 1);
    assert_ends_well(pid);
    assert_int_equal(bz_test_history_now(store), 180);
    assert_int_equal(bz_store_close(store, NULL), 0);
    store = open_store(false);
    assert_non_null(store);
    assert_int_equal(bz_test_history_now(store), 180);
    assert_int_equal(bz_store_close(store, NULL), 0);
}

static void write_and_checkpoint(int which)
{
    struct bz_store *store = open_store(false);
    uint64_t number;
    MUST(store != NULL);
    atomic_store(&board->started, 1);
    for (int i = 0; i < 10; i++)
        MUST(commit_next(store, BZ_DURABLE_FULL, &number) == 0);
    atomic_store(&board->done[which], 1);
    while (atomic_load(&board->stop) == 0)
        sched_yield();
    MUST(bz_store_checkpoint(store, &told) == 0);
    MUST(bz_store_close(store, NULL) == 0);
}

/* The commits of the other are in the memtable here, too, when the other has moved them: nothing is
 * left to be moved, and the next checkpoint finds room. */
static void what_another_process_has_moved_is_let_go_of(void **state)
{
    (void)state;
    uint64_t number;
    make_store();
    pid_t pid = start(write_and_checkpoint, 0);
    while (atomic_load(&board->started) == 0)
        sched_yield();
    struct bz_store *store = open_store(false);
    assert_non_null(store);
    while (atomic_load(&board->done[0]) == 0)
        sched_yield();
    assert_int_equal(bz_test_history_now(store), 10);
    atomic_store(&board->stop, 1);
    assert_ends_well(pid);
    assert_int_equal(bz_test_history_now(store), 10);
    assert_int_equal(bz_store_checkpoint(store, NULL), 0);
    assert_int_equal(bz_test_history_now(store), 10);
    assert_int_equal(commit_next(store, BZ_DURABLE_FULL, &number), 0);
    assert_int_equal(bz_store_checkpoint(store, NULL), 0);
    assert_int_equal(bz_test_history_now(store), 11);
    struct bz_store_stats stats;
    bz_store_stats(store, &stats);
    assert_int_equal(stats.checkpoint_lsn, stats.lsn);
    assert_int_equal(bz_store_close(store, NULL), 0);
}

/* Each close has the log go on in a new segment, while the other process stands in the old one. */
static void open_write_close(int which)
{
    for (int i = 0; i < 40; i++) {
        struct bz_store *store = open_store(false);
        uint64_t number;
        MUST(store != NULL);
        while (atomic_load(&board->stop) == (uint64_t)i)
            sched_yield();
        MUST(bz_test_history_now(store) >= 0);
        for (int j = 0; j < which; j++)
            MUST(commit_next(store, BZ_DURABLE_RELAXED, &number) == 0);
        MUST(bz_store_close(store, NULL) == 0);
        atomic_store(&board->done[0], (uint64_t)i + 1);
    }
}

static void write_beside_closing(int each)
{
    make_store();
    atomic_store(&board->stop, 0);
    atomic_store(&board->done[0], 0);
    pid_t pid = start(open_write_close, each);
    struct bz_store *store = open_store(false);
    assert_non_null(store);
    int64_t before = bz_test_history_now(store);
    uint64_t number;
    for (uint64_t i = 0; i < 40; i++) {
        for (int j = 0; j < 100; j++)
            assert_int_equal(commit_next(store, BZ_DURABLE_RELAXED, &number), 0);
        if (i % 3 == 0)
            assert_int_equal(bz_store_checkpoint(store, NULL), 0);
        atomic_store(&board->stop, i + 1);
        while (atomic_load(&board->done[0]) <= i)
            sched_yield();
    }
    assert_ends_well(pid);
    assert_int_equal(bz_test_history_now(store), before + 40 * (100 + each));
    assert_int_equal(bz_store_close(store, NULL), 0);
    store = open_store(true);
    assert_non_null(store);
    assert_int_equal(bz_test_history_now(store), before + 40 * (100 + each));
    assert_int_equal(bz_store_close(store, NULL), 0);
}

static void a_close_that_begins_a_new_segment_is_noticed_by_the_others(void **state)
{
    (void)state;
    write_beside_closing(0);
    write_beside_closing(3);
}

static void two_writers_and_two_readers_share_a_store(void **state)
{
    (void)state;
    make_store();
    pid_t pids[] = {
        start(write_a_share, 0),
        start(write_a_share, 1),
        start(read_along, 0),
        start(read_along, 1),
    };
    for (size_t i = 0; i < 4; i++)
        assert_ends_well(pids[i]);
    struct bz_store *store = open_store(false);
    assert_int_equal(bz_test_history_now(store), 2 * EACH);
    assert_int_equal(bz_store_close(store, NULL), 0);
}

static void create_at_once(int which)
{
    atomic_fetch_add(&board->started, 1);
    while (atomic_load(&board->started) < 2)
        sched_yield();
    write_a_share(which);
}

static void two_processes_may_create_it_at_once(void **state)
{
    (void)state;
    bz_test_remove_all(dir.path);
    pid_t pids[] = {start(create_at_once, 0), start(create_at_once, 1)};
    assert_ends_well(pids[0]);
    assert_ends_well(pids[1]);
    struct bz_store *store = open_store(true);
    assert_int_equal(bz_test_history_now(store), 2 * EACH);
    assert_int_equal(bz_store_close(store, NULL), 0);
}

/* ---- once a process, and reading only ---- */

static void a_process_opens_a_store_once(void **state)
{
    (void)state;
    struct bz_store *store = open_store(false), *again;
    struct bz_store_options options = {.maps = bz_test_maps, .map_count = 2};
    blaze_error error;
    char path[128], pid[32];
    snprintf(path, sizeof path, "%s/../%s", dir.path, strrchr(dir.path, '/') + 1);
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    assert_int_equal(bz_store_open(&again, path, &options, &error), BLAZE_EBUSY);
    assert_non_null(strstr(error.text, pid));
    assert_int_equal(bz_store_close(store, NULL), 0);
    assert_int_equal(bz_store_open(&again, path, &options, &error), 0);
    assert_int_equal(bz_store_close(again, NULL), 0);
}

static void reading_only_writes_nothing(void **state)
{
    (void)state;
    struct bz_store_options options = {
        .maps = bz_test_maps, .map_count = 2, .create = true, .read_only = true};
    struct bz_store *store;
    struct bz_txn *txn;
    bz_test_remove_all(dir.path);
    assert_int_equal(bz_store_open(&store, dir.path, &options, NULL), BLAZE_ENOTFOUND);
    assert_false(bz_path_exists(dir.path));
    store = open_store(false);
    for (uint64_t i = 1; i < 40; i++)
        assert_int_equal(bz_test_commit(store, i, BZ_DURABLE_RELAXED, NULL), 0);
    assert_int_equal(bz_store_close(store, NULL), 0);
    assert_int_equal(bz_store_open(&store, dir.path, &options, NULL), 0);
    assert_int_equal(bz_txn_begin(store, &txn, NULL), BLAZE_EREADONLY);
    assert_int_equal(bz_store_checkpoint(store, NULL), BLAZE_EREADONLY);
    assert_int_equal(bz_test_history_now(store), 39);
    assert_int_equal(bz_store_close(store, NULL), 0);
}

/* As a user who may read the files and write nothing: the exit status of a child. */
static int read_as_stranger(int commits)
{
    struct bz_store_options options = {.maps = bz_test_maps, .map_count = 2, .read_only = true};
    struct bz_store *store;
    blaze_error error;
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
        return 2;
    options.read_only = false;
    if (bz_store_open(&store, dir.path, &options, &error) != BLAZE_EPERM)
        return 3;
    options.read_only = true;
    if (bz_store_open(&store, dir.path, &options, &error) != 0) {
        fprintf(stderr, "%s\n", error.text);
        return 4;
    }
    int64_t n = bz_test_history_now(store);
    return bz_store_close(store, NULL) == 0 && n == commits ? 0 : 5;
}

static int stranger_status(int commits)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(read_as_stranger(commits));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int make_readable(void *folder, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", (const char *)folder, name);
    bool is_folder = bz_path_is_dir(path);
    assert_int_equal(chmod(path, is_folder ? 0555 : 0444), 0);
    return is_folder ? bz_dir_list(path, make_readable, path, NULL) : 0;
}

static void who_may_not_write_reads(void **state)
{
    (void)state;
    char lock[128];
    struct bz_store *store = open_store(false);
    for (uint64_t i = 1; i < 40; i++)
        assert_int_equal(bz_test_commit(store, i, BZ_DURABLE_FULL, NULL), 0);
    assert_int_equal(bz_store_checkpoint(store, NULL), 0);
    assert_int_equal(bz_test_commit(store, 40, BZ_DURABLE_FULL, NULL), 0);
    assert_int_equal(bz_store_close(store, NULL), 0);
    snprintf(lock, sizeof lock, "%s/lock", dir.path);
    assert_int_equal(bz_dir_list(dir.path, make_readable, dir.path, NULL), 0);
    assert_int_equal(chmod(dir.path, 0555), 0);
    assert_int_equal(stranger_status(40), 0);
    assert_int_equal(chmod(dir.path, 0755), 0);
    assert_int_equal(bz_path_remove(lock, NULL), 0);
    assert_int_equal(chmod(dir.path, 0555), 0);
    assert_int_equal(stranger_status(40), 0);
    assert_int_equal(chmod(dir.path, 0755), 0);
}

static void maps_may_be_added_but_not_changed(void **state)
{
    (void)state;
    static const char *const more[] = {"one", "two", "three"};
    static const char *const other[] = {"one", "zwei"};
    struct bz_store_options options = {.maps = bz_test_maps, .map_count = 2, .create = true};
    struct bz_store *store;
    assert_int_equal(bz_store_open(&store, dir.path, &options, NULL), 0);
    assert_int_equal(bz_test_commit(store, 1, BZ_DURABLE_FULL, NULL), 0);
    assert_int_equal(bz_store_close(store, NULL), 0);
    options.maps = other;
    assert_int_equal(bz_store_open(&store, dir.path, &options, NULL), BLAZE_EVERSION);
    options.maps = more;
    options.map_count = 3;
    assert_int_equal(bz_store_open(&store, dir.path, &options, NULL), 0);
    assert_int_equal(bz_test_history_now(store), 1);
    struct bz_txn *txn;
    assert_int_equal(bz_txn_begin(store, &txn, NULL), 0);
    assert_int_equal(bz_txn_put(txn, 2, bz_bytes_text("k"), bz_bytes_text("v"), NULL), 0);
    assert_int_equal(bz_txn_commit(txn, BZ_DURABLE_FULL, NULL), 0);
    assert_int_equal(bz_store_close(store, NULL), 0);
    options.maps = bz_test_maps;
    options.map_count = 2;
    assert_int_equal(bz_store_open(&store, dir.path, &options, NULL), BLAZE_EVERSION);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_killed_writer_loses_no_acknowledged_commit),
        TEST(a_killed_writer_leaves_nothing_locked_for_the_other),
        TEST(writers_take_turns_in_one_segment),
        TEST(what_another_process_has_moved_is_let_go_of),
        TEST(a_close_that_begins_a_new_segment_is_noticed_by_the_others),
        TEST(two_writers_and_two_readers_share_a_store),
        TEST(two_processes_may_create_it_at_once),
        TEST(a_process_opens_a_store_once),
        TEST(reading_only_writes_nothing),
        TEST(who_may_not_write_reads),
        TEST(maps_may_be_added_but_not_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

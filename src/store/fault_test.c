/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Everything that the system may refuse, refused at every place: a store is made, written to, moved
 * to the base several times, closed and opened again while one call fails, or all from one on, or
 * the disk is full after so many bytes. Whatever comes of it is told with a code and a text; and
 * when the fault is over, the store opens with all that was acknowledged and nothing half.
 */

#include "store/fault_test_util.h"
#include "store/testing.h"

#include "cmocka_all.h"

#include <dirent.h>

#define COMMITS 30 /* in each opening */
#define OPENING 3

static struct bz_test_dir dir;

static struct bz_store_options small_options(void)
{
    return (struct bz_store_options){
        .maps = bz_test_maps,
        .map_count = 2,
        .create = true,
        .segment_bytes = 16u << 10,
        .checkpoint_bytes = 6u << 10,
        .table_bytes = 4u << 10,
        .level_bytes = 8u << 10,
        .relaxed_window_ms = 1,
    };
}

/* What a run was told. */
struct account {
    const struct bz_fault *fault;
    uint64_t acknowledged, attempted;
    bool failed; /* the handle: only opening again helps */
};

/* A failure comes with a code, and with the same code and a sentence in the error. */
static int judge(const struct account *account, int rc, const blaze_error *error)
{
    if (rc == 0)
        return rc;
    if (rc > 0 || error->code != rc || error->text[0] == '\0')
        fail_msg("%s: code %d, in the error %d \"%s\"", bz_fault_name(account->fault), rc,
            error->code, error->text);
    if (!atomic_load(&account->fault->hit))
        fail_msg("%s: it has not failed yet, but: %s", bz_fault_name(account->fault), error->text);
    return rc;
}

static void commit_one(struct bz_store *store, struct account *account, bool full)
{
    blaze_error error = {0};
    account->attempted = account->acknowledged + 1;
    int rc = judge(account,
        bz_test_commit(
            store, account->attempted, full ? BZ_DURABLE_FULL : BZ_DURABLE_RELAXED, &error),
        &error);
    if (rc == 0 && account->failed)
        fail_msg("%s: a failed handle went on", bz_fault_name(account->fault));
    if (rc == BLAZE_EFAILED)
        account->failed = true;
    if (rc == 0)
        account->acknowledged++;
}

/* Readers go on, or say why not; what they show was committed, in part at most not acknowledged. */
static void read_once(struct bz_store *store, const struct account *account)
{
    struct bz_snapshot *snapshot;
    blaze_error error = {0};
    if (judge(account, bz_snapshot_open(store, &snapshot, &error), &error) != 0)
        return;
    int64_t n = bz_test_history(bz_snapshot_view(snapshot));
    bz_snapshot_close(snapshot);
    bool whole = n >= (int64_t)account->acknowledged && n <= (int64_t)account->attempted;
    if (!whole && !(n == -1 && atomic_load(&account->fault->hit))) /* -1: it could not be read */
        fail_msg("%s: %d is shown of %d to %d", bz_fault_name(account->fault), (int)n,
            (int)account->acknowledged, (int)account->attempted);
}

static void write_and_move(struct bz_store *store, struct account *account)
{
    blaze_error error = {0};
    for (unsigned i = 1; i <= COMMITS && !account->failed; i++) {
        commit_one(store, account, i % 5 == 0);
        if (i % 10 == 0)
            judge(account, bz_store_checkpoint(store, &error), &error);
        if (i % 15 == 0)
            judge(account, bz_store_sync(store, &error), &error);
        if (i % 3 == 0)
            read_once(store, account);
    }
    if (account->failed) { /* it stays so */
        commit_one(store, account, true);
        read_once(store, account);
    }
}

/* Relaxed commits may be lost where closing says so. */
static void work(struct account *account)
{
    struct bz_store_options options = small_options();
    for (unsigned opening = 0; opening < OPENING; opening++) {
        struct bz_store *store = NULL;
        blaze_error error = {0};
        if (judge(account, bz_store_open(&store, dir.path, &options, &error), &error) != 0) {
            assert_null(store);
            continue;
        }
        account->failed = false;
        int64_t n = bz_test_history_now(store);
        if (n > (int64_t)account->acknowledged) /* a commit that failed may be there */
            account->acknowledged = account->attempted = (uint64_t)n;
        write_and_move(store, account);
        judge(account, bz_store_close(store, &error), &error);
    }
}

static unsigned open_files(void)
{
    unsigned count = 0;
    DIR *fds = opendir("/proc/self/fd");
    while (fds != NULL && readdir(fds) != NULL)
        count++;
    if (fds != NULL)
        closedir(fds);
    return count;
}

static void judge_what_is_left(const struct account *account)
{
    struct bz_store_options options = small_options();
    struct bz_store *store;
    blaze_error error = {0};
    if (bz_store_open(&store, dir.path, &options, &error) != 0)
        fail_msg("%s: afterwards: %s", bz_fault_name(account->fault), error.text);
    int64_t n = bz_test_history_now(store);
    if (n < (int64_t)account->acknowledged || n > (int64_t)account->attempted)
        fail_msg("%s: %d is left of %d to %d", bz_fault_name(account->fault), (int)n,
            (int)account->acknowledged, (int)account->attempted);
    assert_int_equal(bz_test_commit(store, (uint64_t)n + 1, BZ_DURABLE_FULL, NULL), 0);
    assert_int_equal(bz_store_checkpoint(store, NULL), 0);
    assert_int_equal(bz_test_history_now(store), n + 1);
    assert_int_equal(bz_store_verify(store, NULL, NULL, &error), 0);
    assert_int_equal(bz_store_close(store, NULL), 0);
}

static void run(struct bz_fault *fault)
{
    struct account account = {.fault = fault};
    unsigned files = open_files();
    bz_fault_begin(fault);
    work(&account);
    bz_fault_end();
    judge_what_is_left(&account);
    if (open_files() != files)
        fail_msg("%s: %u files are left open", bz_fault_name(fault), open_files() - files);
    bz_test_remove_all(dir.path);
}

static void whatever_fails_all_that_was_acknowledged_is_left_and_nothing_half(void **state)
{
    (void)state;
    bz_fault_each(test_step(6, 1), run);
}

static int setup(void **state)
{
    (void)state;
    bz_test_dir_make(&dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bz_fault_end();
    bz_test_dir_remove(&dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            whatever_fails_all_that_was_acknowledged_is_left_and_nothing_half, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

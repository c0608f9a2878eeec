/* SPDX-License-Identifier: Apache-2.0 */

/* What every store must do, run on the durable one and on its twin in memory. */

#include "store/contract_test_util.h"

#include "base/alloc.h"

#include <stdatomic.h>

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
    /* The first sync allocates, later ones do not: it must not come in the background. */
    assert_int_equal(bz_store_sync(f->store, NULL), 0);
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
        BOTH(a_failed_allocation_leaves_the_store_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

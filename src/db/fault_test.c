/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A short scenario through everything, once for each allocation that it makes, which then fails:
 * nothing leaks, nothing half-done is seen, and the database goes on. On a disk, everything that
 * the system may refuse: what was committed is there, what was not is not, and nothing is half.
 */

#include "db/test_util.h"

#include "alloc_plan.h"

#include "query/query.h"
#include "store/fault_test_util.h"
#include "store/testing.h"

/* try_write() of a document that is there already. */
static int write_one(struct bz_db_txn *txn, enum verb verb, uint32_t n, blaze_doc *doc)
{
    static int (*const verbs[])(struct bz_db_txn *, struct bz_bytes, const blaze_id *, blaze_doc *,
        blaze_error *) = {bz_db_insert, bz_db_put, bz_db_update, bz_db_upsert};
    blaze_id id = id_of(n);
    return verbs[verb](txn, bz_bytes_text("c"), &id, doc, NULL);
}

static int write_some(struct bz_db *db, blaze_doc *docs[2])
{
    struct bz_db_txn *txn = NULL;
    blaze_id id = id_of(1);
    int rc = bz_db_begin(db, &txn, NULL);
    if (rc != 0)
        return rc;
    rc = write_one(txn, INSERT, 5, docs[0]);
    if (rc == 0)
        rc = write_one(txn, UPDATE, 2, docs[1]);
    uint32_t mark = bz_db_savepoint(txn);
    if (rc == 0)
        rc = bz_db_delete(txn, bz_bytes_text("c"), &id, NULL);
    if (rc == 0)
        rc = bz_db_rollback_to(txn, mark, NULL);
    if (rc == 0)
        rc = write_one(txn, PUT, 3, docs[0]);
    if (rc != 0) {
        bz_db_abort(txn);
        return rc;
    }
    return bz_db_commit(txn, BZ_DURABLE_FULL, NULL);
}

static int find_some(struct bz_db *db)
{
    struct bz_read *read = NULL;
    struct bz_rows *rows = NULL;
    struct bz_filter *filter = NULL;
    blaze_id id;
    blaze_value value;
    int rc = bz_read_begin(db, &read, NULL);
    if (rc != 0)
        return rc;
    rc = bz_filter_parse(&filter, bz_bytes_text("n >= 0"), NULL);
    struct bz_find find = {.collection = bz_bytes_text("c"), .filter = filter, .sort = "t"};
    if (rc == 0)
        rc = bz_read_find(read, &find, &rows, NULL);
    while (rc == 0)
        rc = bz_rows_next(rows, &id, &value, NULL);
    bz_rows_close(rows);
    bz_filter_free(filter);
    bz_read_end(read);
    return rc == BLAZE_END ? 0 : rc;
}

static int exchange_some(struct bz_db *from, struct bz_db *to, struct alloc_plan *plan)
{
    struct exchange e = {.chunk = 3};
    plan->armed = false;
    must(bz_db_replica_open(from, &e.from, error));
    must(bz_db_replica_open(to, &e.to, error));
    plan->armed = true;
    struct bz_changes *changes = NULL;
    struct bz_receiver receiver = {0};
    struct bz_peer_state known = {0};
    int rc = e.from.ops->changes_open(e.from.context, &receiver, 0, &changes, NULL);
    while (rc == 0 && !e.reached)
        rc = exchange_chunk(&e, changes, &known, NULL);
    e.from.ops->changes_close(changes);
    plan->armed = false;
    bz_db_replica_close(&e.from);
    bz_db_replica_close(&e.to);
    plan->armed = true;
    return rc;
}

static void prepare(struct bz_db *db)
{
    for (uint32_t i = 0; i < 5; i++)
        write_json(db, INSERT, "c", i, "{\"n\":1,\"t\":\"x\"}");
    must(bz_db_index_create(db, bz_bytes_text("c"), "n", "by_n", error));
}

/* Runs the scenario with one failure. Returns what came of it. */
static int run(struct alloc_plan *plan)
{
    struct world world[2] = {{{1}, 1700000000000u}, {{2}, 1700000000000u}};
    struct bz_db *db = open_memory(&world[0], BZ_ROLE_CLIENT);
    struct bz_db *peer = open_memory(&world[1], BZ_ROLE_CLIENT), *extra = NULL;
    struct bz_db_options options = world_options(&world[0]);
    prepare(db);
    blaze_doc *docs[] = {doc_of("{\"n\":2,\"new\":[1]}"), doc_of("{\"n\":3,\"t\":\"y\",\"u\":1}")};
    struct bz_db_state before = state_of(db), peer_before = state_of(peer);

    alloc_plan_begin(plan);
    int rc = write_some(db, docs);
    bool written = rc == 0;
    if (rc == 0)
        rc = find_some(db);
    if (rc == 0)
        rc = bz_db_index_create(db, bz_bytes_text("c"), "t", "by_t", NULL);
    if (rc == 0)
        rc = exchange_some(db, peer, plan);
    if (rc == 0)
        rc = bz_db_check(db, NULL, NULL, NULL);
    if (rc == 0)
        rc = bz_db_open(&extra, "extra", &options, NULL);
    alloc_plan_end();

    struct bz_db_state after = state_of(db), peer_after = state_of(peer);
    assert_int_equal(after.position, written ? before.position + 3 : before.position);
    assert_true(peer_after.position >= peer_before.position);
    check_all(db);
    check_all(peer);
    /* It goes on as if nothing had been. */
    if (!written)
        assert_int_equal(write_some(db, docs), 0);
    sync_both(db, peer);
    expect_equal(db, peer);
    check_all(peer);
    if (extra != NULL)
        must(bz_db_close(extra, error));
    blaze_doc_free(docs[0]);
    blaze_doc_free(docs[1]);
    must(bz_db_close(db, error));
    must(bz_db_close(peer, error));
    return rc;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    uint64_t failures = 0;
    for (uint64_t at = 1;; at++) {
        struct alloc_plan plan = {.at = at};
        int rc = run(&plan);
        if (!plan.hit) {
            assert_int_equal(rc, 0);
            break;
        }
        assert_true(rc == 0 || rc == BLAZE_ENOMEM || rc == BLAZE_EFAILED);
        failures += rc != 0;
    }
    assert_true(failures > 100);
}

/* ---- on a disk ---- */

#define COMMITS 9 /* in each of two openings */

static struct bz_test_dir dir;
static char path[100];

/* What a run was told. */
struct account {
    const struct bz_fault *fault;
    bool begun[2 * COMMITS], done[2 * COMMITS];
};

static int judge(const struct account *account, int rc, const blaze_error *error)
{
    if (rc != 0 && (rc > 0 || error->code != rc || error->text[0] == '\0'))
        fail_msg("%s: code %d, in the error %d \"%s\"", bz_fault_name(account->fault), rc,
            error->code, error->text);
    if (rc != 0 && !atomic_load(&account->fault->hit))
        fail_msg("%s: it has not failed yet, but: %s", bz_fault_name(account->fault), error->text);
    return rc;
}

/* The document of commit i, twice: as record i of "a" and of "b". Every other one has a new name.
 */
static int write_pair(struct bz_db_txn *txn, uint32_t i, blaze_doc *doc, blaze_error *error)
{
    blaze_id id = id_of(i);
    int rc = bz_db_put(txn, bz_bytes_text("a"), &id, doc, error);
    return rc != 0 ? rc : bz_db_insert(txn, bz_bytes_text("b"), &id, doc, error);
}

static void pair_json(uint32_t i, char json[48])
{
    snprintf(json, 48, "{\"f%u\":%u,\"n\":%u}", i / 2, i, i % 4);
}

/* The documents are made beforehand: it is not their memory that is to fail. */
static void commit_pair(struct bz_db *db, struct account *account, uint32_t i, blaze_doc *doc)
{
    struct bz_db_txn *txn = NULL;
    blaze_error error = {0};
    if (judge(account, bz_db_begin(db, &txn, &error), &error) != 0)
        return;
    if (judge(account, write_pair(txn, i, doc, &error), &error) != 0) {
        bz_db_abort(txn);
        return;
    }
    account->begun[i] = true;
    enum bz_durability durability = i % 3 == 0 ? BZ_DURABLE_FULL : BZ_DURABLE_RELAXED;
    account->done[i] = judge(account, bz_db_commit(txn, durability, &error), &error) == 0;
}

static int open_on_disk(struct bz_db **db, bool create, blaze_error *error)
{
    struct bz_db_options options = {
        .create = create,
        .store = {.segment_bytes = 16u << 10, .relaxed_window_ms = 1},
    };
    return bz_db_open(db, path, &options, error);
}

static void work(struct account *account, blaze_doc *docs[2 * COMMITS])
{
    for (uint32_t opening = 0; opening < 2; opening++) {
        struct bz_db *db = NULL;
        blaze_error error = {0};
        if (judge(account, open_on_disk(&db, opening == 0, &error), &error) != 0)
            continue;
        int rc = bz_db_index_create(db, bz_bytes_text("a"), "n", "by_n", &error);
        if (rc != BLAZE_EEXIST)
            judge(account, rc, &error);
        for (uint32_t i = opening * COMMITS; i < (opening + 1) * COMMITS; i++) {
            commit_pair(db, account, i, docs[i]);
            if (i % 4 == 3)
                judge(account, bz_store_checkpoint(bz_db_store(db), &error), &error);
        }
        judge(account, bz_db_close(db, &error), &error);
    }
}

static bool is_there(struct bz_db *db, const char *collection, uint32_t i)
{
    struct bz_read *read = NULL;
    blaze_id id = id_of(i);
    must(bz_read_begin(db, &read, error));
    int rc = bz_read_exists(read, bz_bytes_text(collection), &id, NULL);
    bz_read_end(read);
    assert_true(rc == 0 || rc == BLAZE_ENOTFOUND);
    return rc == 0;
}

static void judge_what_is_left(const struct account *account)
{
    struct bz_db *db = NULL;
    blaze_error failure = {0};
    if (open_on_disk(&db, false, &failure) != 0 && open_on_disk(&db, true, &failure) != 0)
        fail_msg("%s: afterwards: %s", bz_fault_name(account->fault), failure.text);
    for (uint32_t i = 0; i < 2 * COMMITS; i++) {
        char json[48];
        bool there = is_there(db, "a", i);
        if (there != is_there(db, "b", i))
            fail_msg("%s: half of commit %u is there", bz_fault_name(account->fault), i);
        if (there ? !account->begun[i] : account->done[i])
            fail_msg(
                "%s: commit %u is %sthere", bz_fault_name(account->fault), i, there ? "" : "not ");
        pair_json(i, json);
        expect_json(db, "a", i, there ? json : NULL);
        expect_json(db, "b", i, there ? json : NULL);
    }
    check_all(db);
    write_json(db, PUT, "a", 100, "{\"more\":1}");
    check_all(db);
    must(bz_db_close(db, error));
}

static void run_on_disk(struct bz_fault *fault)
{
    struct account account = {.fault = fault};
    blaze_doc *docs[2 * COMMITS];
    for (uint32_t i = 0; i < 2 * COMMITS; i++) {
        char json[48];
        pair_json(i, json);
        docs[i] = doc_of(json);
    }
    bz_fault_begin(fault);
    work(&account, docs);
    bz_fault_end();
    judge_what_is_left(&account);
    for (uint32_t i = 0; i < 2 * COMMITS; i++)
        blaze_doc_free(docs[i]);
    bz_test_remove_all(path);
}

static void whatever_the_system_refuses_commits_are_whole_or_not_there(void **state)
{
    (void)state;
    bz_test_dir_make(&dir);
    snprintf(path, sizeof path, "%s/db", dir.path);
    bz_fault_each(test_step(9, 1), run_on_disk);
    bz_test_dir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(whatever_the_system_refuses_commits_are_whole_or_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

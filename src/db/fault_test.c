/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A short scenario through everything, once for each allocation that it makes, which then fails:
 * nothing leaks, nothing half-done is seen, and the database goes on. The same on a disk for each
 * call of the system that writes: what was committed stays, what was not is not there.
 */

#include "db/test_util.h"

#include "os/os.h"
#include "query/query.h"
#include "store/testing.h"

#include <errno.h>

struct plan {
    uint64_t at;    /* the allocation that fails, from 1 */
    uint64_t count; /* so far */
    bool hit;
};

static int fail_at(void *context)
{
    struct plan *plan = context;
    if (++plan->count != plan->at)
        return 0;
    plan->hit = true;
    return 1;
}

static void switch_fault(struct plan *plan)
{
    bz_alloc_set_fault(plan == NULL ? NULL : fail_at, plan);
}

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

static int exchange_some(struct bz_db *from, struct bz_db *to, struct plan *plan)
{
    struct exchange e = {.chunk = 3};
    switch_fault(NULL);
    must(bz_db_replica_open(from, &e.from, error));
    must(bz_db_replica_open(to, &e.to, error));
    switch_fault(plan);
    struct bz_changes *changes = NULL;
    struct bz_receiver receiver = {0};
    struct bz_peer_state known = {0};
    int rc = e.from.ops->changes_open(e.from.context, &receiver, 0, &changes, NULL);
    while (rc == 0 && !e.reached)
        rc = exchange_chunk(&e, changes, &known, NULL);
    e.from.ops->changes_close(changes);
    switch_fault(NULL);
    bz_db_replica_close(&e.from);
    bz_db_replica_close(&e.to);
    switch_fault(plan);
    return rc;
}

static void prepare(struct bz_db *db)
{
    for (uint32_t i = 0; i < 5; i++)
        write_json(db, INSERT, "c", i, "{\"n\":1,\"t\":\"x\"}");
    must(bz_db_index_create(db, bz_bytes_text("c"), "n", "by_n", error));
}

/* Runs the scenario with one failure. Returns what came of it. */
static int run(struct plan *plan)
{
    struct world world[2] = {{{1}, 1700000000000u}, {{2}, 1700000000000u}};
    struct bz_db *db = open_memory(&world[0], BZ_ROLE_CLIENT);
    struct bz_db *peer = open_memory(&world[1], BZ_ROLE_CLIENT), *extra = NULL;
    struct bz_db_options options = world_options(&world[0]);
    prepare(db);
    blaze_doc *docs[] = {doc_of("{\"n\":2,\"new\":[1]}"), doc_of("{\"n\":3,\"t\":\"y\",\"u\":1}")};
    struct bz_db_state before = state_of(db), peer_before = state_of(peer);

    switch_fault(plan);
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
    switch_fault(NULL);

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
        struct plan plan = {.at = at};
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

/* ---- the disk ---- */

struct disk_plan {
    uint64_t at, count;
    int number; /* the errno to fail with */
    bool hit, lasting;
};

static int fail_disk(void *context, enum bz_os_op op, const char *path)
{
    struct disk_plan *plan = context;
    (void)path;
    if (op == BZ_OS_READ)
        return 0;
    plan->count++;
    if (plan->count < plan->at || (plan->count > plan->at && !plan->lasting))
        return 0;
    plan->hit = true;
    return plan->number;
}

#define COMMITS 7

/* Commits with and without new names; says which came back as done. */
static void commit_some(struct bz_db *db, bool done[COMMITS])
{
    for (uint32_t i = 0; i < COMMITS; i++) {
        struct bz_db_txn *txn = NULL;
        char json[40];
        snprintf(json, sizeof json, "{\"f%u\":%u}", i / 2, i);
        int rc = bz_db_begin(db, &txn, NULL);
        if (rc == 0) {
            rc = try_write(txn, PUT, i % 3 == 0 ? "a" : "b", i, json, NULL);
            if (rc == 0)
                rc = bz_db_commit(txn, BZ_DURABLE_FULL, NULL);
            else
                bz_db_abort(txn);
        }
        done[i] = rc == 0;
        if (done[i])
            expect_json(db, i % 3 == 0 ? "a" : "b", i, json);
    }
}

/* Runs commits with a failing disk, then opens what is left of it. */
static bool run_on_disk(struct disk_plan *plan)
{
    struct bz_test_dir dir;
    struct bz_db *db = NULL;
    bool done[COMMITS];
    bz_test_dir_make(&dir);
    char path[100];
    snprintf(path, sizeof path, "%s/db", dir.path);
    struct bz_db_options options = {.create = true, .store = {.segment_bytes = 64u << 10}};
    must(bz_db_open(&db, path, &options, error));
    bz_os_set_fault(fail_disk, plan);
    commit_some(db, done);
    bz_os_set_fault(NULL, NULL);
    check_all(db);
    bz_db_close(db, NULL);
    options.create = false;
    must(bz_db_open(&db, path, &options, error));
    check_all(db);
    for (uint32_t i = 0; i < COMMITS; i++) {
        char json[40];
        snprintf(json, sizeof json, "{\"f%u\":%u}", i / 2, i);
        if (done[i])
            expect_json(db, i % 3 == 0 ? "a" : "b", i, json);
    }
    write_json(db, PUT, "a", 100, "{\"more\":1}");
    check_all(db);
    must(bz_db_close(db, error));
    bz_test_dir_remove(&dir);
    bool all = true;
    for (unsigned i = 0; i < COMMITS; i++)
        all = all && done[i];
    return all;
}

static void every_write_to_the_disk_may_fail(void **state)
{
    (void)state;
    unsigned failures = 0;
    for (unsigned lasting = 0; lasting < 2; lasting++) {
        for (uint64_t at = 1;; at++) {
            struct disk_plan plan = {.at = at, .number = at % 2 == 0 ? EIO : ENOSPC};
            plan.lasting = lasting;
            bool all = run_on_disk(&plan);
            failures += !all;
            if (!plan.hit) {
                assert_true(all);
                break;
            }
        }
    }
    assert_true(failures > COMMITS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(every_write_to_the_disk_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

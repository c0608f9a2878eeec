/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Settling, once for each allocation that it makes, which then fails: nothing leaks, nothing is
 * half settled, and the next pass settles what this one has left. The same for who watches.
 */

#include "db/test_util.h"

#include "alloc_plan.h"

#include <pthread.h>

struct pair {
    struct world world[2];
    struct bz_db *a, *b;
};

static void pair_open(struct pair *p)
{
    p->world[0] = (struct world){{1}, 1700000000000u};
    p->world[1] = (struct world){{2}, 1700000000000u};
    struct bz_db_options options = world_options(&p->world[0]);
    options.database = (blaze_id){{1}};
    options.settles_by_hand = true;
    must(bz_db_open(&p->a, "a", &options, error));
    p->b = open_memory(&p->world[1], BZ_ROLE_SERVER);
}

static void pair_close(struct pair *p)
{
    check_all(p->a);
    check_all(p->b);
    must(bz_db_close(p->a, error));
    must(bz_db_close(p->b, error));
}

/* Records 1 to 3 of "c" and 4 of "d" are in conflict, and the life of 5. */
static void part(struct pair *p)
{
    write_json(p->a, INSERT, "c", 5, "{\"n\":1}");
    sync_both(p->a, p->b);
    p->world[0].ms += 1000;
    delete_one_of(p->a, "c", 5);
    write_json(p->b, UPDATE, "c", 5, "{\"n\":2}");
    for (uint32_t i = 1; i < 5; i++) {
        const char *collection = i < 4 ? "c" : "d";
        write_json(p->a, UPSERT, collection, i, "{\"m\":[1,{\"x\":2}],\"n\":1,\"o\":\"a\"}");
        write_json(p->b, UPSERT, collection, i, "{\"m\":[0],\"n\":2}");
    }
    sync_both(p->a, p->b);
    assert_int_equal(state_of(p->a).conflicts, 5);
}

static int take_first(
    void *context, const struct bz_conflict *fields, uint32_t count, blaze_doc *values)
{
    ++*(unsigned *)context;
    int rc = 0;
    for (uint32_t i = 0; i < count && rc == 0; i++) {
        char name[16] = "";
        memcpy(name, fields[i].field.data, fields[i].field.size);
        rc = fields[i].siblings[0].present
                 ? blaze_doc_add_value(values, name, &fields[i].siblings[0].value)
                 : blaze_doc_add_unset(values, name);
    }
    return rc;
}

static int list_one(void *context, const struct bz_conflict *conflict)
{
    (void)conflict;
    ++*(unsigned *)context;
    return 0;
}

static int list_policy(
    void *context, struct bz_bytes collection, struct bz_bytes field, enum bz_policy policy)
{
    (void)collection;
    (void)field;
    (void)policy;
    ++*(unsigned *)context;
    return 0;
}

static int list_all(struct bz_db *db, unsigned *conflicts)
{
    struct bz_read *read = NULL;
    unsigned policies = 0;
    int rc = bz_read_begin(db, &read, NULL);
    if (rc != 0)
        return rc;
    rc = bz_read_conflicts(read, bz_bytes(NULL, 0), NULL, list_one, conflicts, NULL);
    if (rc == 0)
        rc = bz_read_policies(read, list_policy, &policies, NULL);
    bz_read_end(read);
    return rc;
}

static int settle_life(struct bz_db *db)
{
    struct bz_db_txn *txn = NULL;
    blaze_id id = id_of(5);
    int rc = bz_db_begin(db, &txn, NULL);
    if (rc != 0)
        return rc;
    rc = bz_db_settle_life(txn, bz_bytes_text("c"), &id, true, NULL);
    if (rc == 0)
        return bz_db_commit(txn, BZ_DURABLE_FULL, NULL);
    bz_db_abort(txn);
    return rc;
}

static int set_rules(struct bz_db *db, unsigned *calls)
{
    struct bz_bytes c = bz_bytes_text("c"), d = bz_bytes_text("d"), all = bz_bytes(NULL, 0);
    int rc = bz_db_policy_put(db, c, all, BZ_POLICY_LIST, NULL);
    if (rc == 0)
        rc = bz_db_policy_put(db, c, bz_bytes_text("n"), BZ_POLICY_LAST, NULL);
    if (rc == 0)
        rc = bz_db_set_resolver(db, d, take_first, calls, NULL, NULL);
    return rc;
}

/* Runs the scenario with one failure. Returns what came of it. */
static int run(struct alloc_plan *plan)
{
    struct pair p;
    unsigned calls = 0, conflicts = 0;
    uint64_t settled = 0;
    pair_open(&p);
    part(&p);
    struct bz_db_state before = state_of(p.a);

    alloc_plan_begin(plan);
    int rc = set_rules(p.a, &calls);
    if (rc == 0)
        rc = list_all(p.a, &conflicts);
    int listed = rc;
    if (rc == 0)
        rc = bz_db_settle_pass(p.a, &settled, NULL);
    if (rc == 0)
        rc = settle_life(p.a);
    alloc_plan_end();

    if (listed == 0)
        assert_int_equal(conflicts, 13);
    if (settled == 0)
        assert_int_equal(state_of(p.a).position, before.position);
    check_all(p.a);
    /* It goes on as if nothing had been. */
    must(set_rules(p.a, &calls));
    must(bz_db_settle_pass(p.a, &settled, error));
    if (state_of(p.a).conflicts > 0)
        must(settle_life(p.a));
    sync_both(p.a, p.b);
    expect_equal(p.a, p.b);
    assert_int_equal(state_of(p.b).conflicts, 0);
    assert_true(calls >= 1);
    expect_json(p.b, "c", 2, "{\"m\":[0,1,{\"x\":2}],\"n\":1,\"o\":\"a\"}");
    pair_close(&p);
    return rc;
}

static void every_allocation_of_settling_may_fail(void **state)
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
    assert_true(failures > 50);
}

/* ---- watching ---- */

struct heard {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t there; /* records in conflict, as told, a bit each */
};

static void on_conflict(void *context, const struct bz_conflict_event *event)
{
    struct heard *heard = context;
    uint64_t bit = (uint64_t)1 << bz_load32be(event->id.bytes + 12);
    pthread_mutex_lock(&heard->lock);
    heard->there = event->count > 0 || event->life ? heard->there | bit : heard->there & ~bit;
    pthread_cond_broadcast(&heard->changed);
    pthread_mutex_unlock(&heard->lock);
}

static void await(struct heard *heard, uint64_t there)
{
    pthread_mutex_lock(&heard->lock);
    while (heard->there != there)
        pthread_cond_wait(&heard->changed, &heard->lock);
    pthread_mutex_unlock(&heard->lock);
}

/* Whatever fails while it is told, after one more commit it knows everything. */
static bool watch(struct alloc_plan *plan)
{
    struct pair p;
    struct heard heard = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    struct bz_conflict_watch *handle = NULL;
    pair_open(&p);
    part(&p);
    blaze_doc *doc = doc_of("{\"m\":1,\"n\":1,\"o\":1}");
    blaze_id id = id_of(1);
    struct bz_db_txn *txn = NULL;
    must(bz_db_begin(p.a, &txn, error));
    must(bz_db_put(txn, bz_bytes_text("c"), &id, doc, error));

    alloc_plan_begin(plan);
    int rc = bz_db_watch_conflicts(p.a, bz_bytes(NULL, 0), on_conflict, &heard, &handle, NULL);
    int committed = bz_db_commit(txn, BZ_DURABLE_FULL, NULL);
    alloc_plan_end();
    assert_true(rc == 0 || rc == BLAZE_ENOMEM);
    if (rc != 0)
        must(bz_db_watch_conflicts(p.a, bz_bytes(NULL, 0), on_conflict, &heard, &handle, error));
    if (committed != 0)
        write_json(p.a, PUT, "c", 1, "{}");
    write_json(p.a, PUT, "c", 2, "{}");
    await(&heard, 1 << 3 | 1 << 4 | 1 << 5);
    bz_db_unwatch_conflicts(handle);
    blaze_doc_free(doc);
    pair_close(&p);
    return plan->hit;
}

static void whoever_watches_learns_everything_though_an_allocation_failed(void **state)
{
    (void)state;
    /* How many there are varies with the threads. */
    for (uint64_t at = 1, missed = 0; missed < 5; at++) {
        struct alloc_plan plan = {.at = at};
        missed = watch(&plan) ? 0 : missed + 1;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_of_settling_may_fail),
        cmocka_unit_test(whoever_watches_learns_everything_though_an_allocation_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Deleted records through the public functions: when what is left of them goes, and for whom it
 * waits. A copy may collect by itself while it syncs, so what is looked at is what is there then.
 */
#include "api/api_test_util.h"

#include "wait.h"

#include <blazedb.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DAY_MS  86400000u
#define RECORDS 300

/* ---- a directory of a test, and databases in it ---- */

static int begin_directory(void **state)
{
    char *dir = strdup("/tmp/blazedb-collect-XXXXXX");
    *state = dir;
    return dir == NULL || mkdtemp(dir) == NULL ? -1 : chdir(dir);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

static int end_directory(void **state)
{
    int rc = chdir("/");
    nftw(*state, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return rc;
}

static blaze_db *open_db(const char *path, int create, int read_only)
{
    blaze_db *db;
    blaze_open_options options;
    blaze_open_options_init(&options);
    options.create = create;
    options.read_only = read_only;
    options.durability = BLAZE_RELAXED;
    OK(blaze_open(&db, path, &options, &error));
    return db;
}

static blaze_db *reopen(blaze_db *db, const char *path)
{
    OK(blaze_close(db, &error)); /* what was in the log is in the base then */
    return open_db(path, 0, 0);
}

static blaze_id nth(int n)
{
    return (blaze_id){{(uint8_t)(n >> 8), (uint8_t)n, 1}};
}

static void put(blaze_db *db, int n, const char *json)
{
    blaze_doc *doc;
    blaze_id id = nth(n);
    OK(blaze_doc_from_json(&doc, json, strlen(json), &error));
    OK(blaze_put(db, "c", &id, doc, &error));
    blaze_doc_free(doc);
}

static void put_many(blaze_db *db)
{
    for (int n = 0; n < RECORDS; n++)
        put(db, n, "{\"text\":\"a record\",\"n\":1}");
}

static void delete_some(blaze_db *db, int first, int count)
{
    for (int n = first; n < first + count; n++) {
        blaze_id id = nth(n);
        OK(blaze_delete(db, "c", &id, &error));
    }
}

static bool has(blaze_db *db, int n)
{
    blaze_id id = nth(n);
    int rc = blaze_exists(db, "c", &id, &error);
    assert_true(rc == BLAZE_OK || rc == BLAZE_ENOTFOUND);
    return rc == BLAZE_OK;
}

/* ---- what status says of deleted records ---- */

struct deleted {
    int64_t waiting, collected, retention_days;
    size_t replicas;
};

static int64_t number(const blaze_value *map, const char *name)
{
    blaze_value value;
    assert_int_equal(blaze_value_field(map, name, &value), BLAZE_OK);
    assert_int_equal(value.type, BLAZE_INT);
    return value.as.integer;
}

static struct deleted deleted_of(blaze_db *db)
{
    char *json;
    blaze_doc *doc;
    blaze_value status, deleted, replicas;
    OK(blaze_status(db, &json, &error));
    OK(blaze_doc_from_json(&doc, json, strlen(json), &error));
    OK(blaze_doc_value(doc, &status));
    OK(blaze_value_field(&status, "deleted", &deleted));
    OK(blaze_value_field(&status, "replicas", &replicas));
    struct deleted out = {number(&deleted, "waiting"), number(&deleted, "collected"),
        number(&deleted, "retention_days"), blaze_value_count(&replicas)};
    blaze_doc_free(doc);
    blaze_free(json);
    return out;
}

static void assert_deleted(blaze_db *db, int64_t waiting, int64_t collected)
{
    struct deleted now = deleted_of(db);
    assert_int_equal(now.waiting, waiting);
    assert_int_equal(now.collected, collected);
}

static uint64_t collect(blaze_db *db)
{
    uint64_t collected = 0;
    OK(blaze_collect(db, &collected, &error));
    return collected;
}

/* ---- a database that was never shared ---- */

static void a_database_that_was_never_shared_collects_at_once(void **state)
{
    (void)state;
    blaze_db *db = open_db("a.blz", 1, 0);
    uint64_t collected = 99;
    OK(blaze_collect(db, &collected, &error));
    assert_int_equal(collected, 0);

    put_many(db);
    delete_some(db, 0, 100);
    assert_deleted(db, 100, 0);
    assert_int_equal(collect(db), 100);
    assert_int_equal(collect(db), 0);
    assert_deleted(db, 0, 100);
    OK(blaze_check(db, NULL, NULL, &error));

    /* Some that were deleted in the log, in the base, and one in each of them. */
    delete_some(db, 100, 50);
    db = reopen(db, "a.blz");
    assert_deleted(db, 50, 100);
    delete_some(db, 150, 50);
    OK(blaze_collect(db, NULL, &error));
    assert_deleted(db, 0, 200);
    OK(blaze_check(db, NULL, NULL, &error));

    db = reopen(db, "a.blz");
    assert_deleted(db, 0, 200);
    for (int n = 0; n < RECORDS; n++)
        assert_int_equal(has(db, n), n >= 200);
    OK(blaze_check(db, NULL, NULL, &error));
    OK(blaze_close(db, &error));
}

static void a_record_that_was_collected_can_be_made_anew(void **state)
{
    (void)state;
    blaze_db *db = open_db("a.blz", 1, 0);
    for (int turn = 1; turn <= 3; turn++) {
        put(db, 1, "{\"turn\":1,\"old\":true}");
        delete_some(db, 1, 1);
        assert_int_equal(collect(db), 1);
        blaze_id id = nth(1);
        blaze_doc *doc;
        blaze_value value, field;
        put(db, 1, "{\"turn\":2}");
        OK(blaze_get(db, "c", &id, &doc, &error));
        OK(blaze_doc_value(doc, &value));
        assert_int_equal(number(&value, "turn"), 2);
        assert_int_equal(blaze_value_field(&value, "old", &field), BLAZE_ENOTFOUND);
        blaze_doc_free(doc);
        OK(blaze_check(db, NULL, NULL, &error));
        db = reopen(db, "a.blz");
        assert_true(has(db, 1));
        delete_some(db, 1, 1);
        assert_int_equal(collect(db), 1);
        assert_deleted(db, 0, 2 * turn);
    }
    OK(blaze_close(db, &error));
}

static void a_record_in_use_while_it_is_collected_stays_as_it_was_seen(void **state)
{
    (void)state;
    blaze_db *db = open_db("a.blz", 1, 0);
    blaze_snapshot *snapshot;
    blaze_value value;
    blaze_id id = nth(1);
    put(db, 1, "{\"n\":1}");
    OK(blaze_snapshot_open(db, &snapshot, &error));
    delete_some(db, 1, 1);
    assert_int_equal(collect(db), 1);
    OK(blaze_snapshot_get(snapshot, "c", &id, &value, &error));
    assert_int_equal(number(&value, "n"), 1);
    blaze_snapshot_close(snapshot);
    assert_false(has(db, 1));
    OK(blaze_close(db, &error));
}

struct told {
    int calls, deleted;
    blaze_id last;
};

static void on_change(void *context, const blaze_event *changes, size_t count)
{
    struct told *told = context;
    for (size_t i = 0; i < count; i++)
        NOTE(told->calls++; told->deleted += changes[i].deleted; told->last = changes[i].id);
}

static void observers_are_told_of_deletes_and_not_of_collecting(void **state)
{
    (void)state;
    blaze_db *db = open_db("a.blz", 1, 0);
    struct told told = {0};
    blaze_observer *observer;
    blaze_id last = nth(5);
    put(db, 1, "{\"n\":1}");
    OK(blaze_observe(db, NULL, on_change, &told, &observer, &error));
    delete_some(db, 1, 1);
    WAIT_UNTIL(told.deleted == 1);
    assert_int_equal(collect(db), 1);
    put(db, 5, "{\"n\":1}");
    WAIT_UNTIL(memcmp(&told.last, &last, sizeof last) == 0);
    blaze_unobserve(observer);
    assert_int_equal(told.calls, 2);
    OK(blaze_close(db, &error));
}

/* ---- the retention ---- */

static void the_retention_is_thirty_days_until_it_is_set_and_is_kept(void **state)
{
    (void)state;
    blaze_db *db = open_db("a.blz", 1, 0);
    static const uint64_t days[] = {7, 0, 36500};
    uint64_t ms = 0;
    OK(blaze_retention(db, &ms, &error));
    assert_int_equal(ms, 30ull * DAY_MS);
    for (size_t i = 0; i < sizeof days / sizeof *days; i++) {
        OK(blaze_set_retention(db, days[i] * DAY_MS, &error));
        db = reopen(db, "a.blz");
        OK(blaze_retention(db, &ms, &error));
        assert_int_equal(ms, days[i] * DAY_MS);
        assert_int_equal(deleted_of(db).retention_days, days[i]);
    }
    OK(blaze_set_retention(db, UINT64_MAX, &error));
    OK(blaze_retention(db, &ms, &error));
    assert_true(ms == UINT64_MAX);
    OK(blaze_close(db, &error));
}

static void what_cannot_be_done_says_why(void **state)
{
    (void)state;
    blaze_db *db = open_db("a.blz", 1, 0);
    blaze_id nobody = {{9, 9}}, self;
    uint64_t n = 7;
    assert_int_equal(blaze_collect(NULL, &n, &error), BLAZE_EINVAL);
    assert_int_equal(blaze_retention(NULL, &n, &error), BLAZE_EINVAL);
    assert_int_equal(blaze_retention(db, NULL, &error), BLAZE_EINVAL);
    assert_int_equal(blaze_set_retention(NULL, 1, &error), BLAZE_EINVAL);
    assert_int_equal(blaze_forget(NULL, &nobody, &error), BLAZE_EINVAL);
    assert_int_equal(blaze_forget(db, NULL, &error), BLAZE_EINVAL);
    assert_int_equal(blaze_forget(db, &nobody, &error), BLAZE_ENOTFOUND);
    assert_non_null(strstr(error.text, "blazedb status"));
    blaze_node_id(db, &self);
    assert_int_equal(blaze_forget(db, &self, &error), BLAZE_ENOTFOUND);
    put_many(db);
    delete_some(db, 0, 2);
    OK(blaze_set_retention(db, DAY_MS, &error));
    OK(blaze_close(db, &error));

    db = open_db("a.blz", 0, 1);
    assert_int_equal(blaze_collect(db, &n, &error), BLAZE_EREADONLY);
    assert_int_equal(blaze_set_retention(db, 1, &error), BLAZE_EREADONLY);
    assert_int_equal(blaze_forget(db, &nobody, &error), BLAZE_EREADONLY);
    assert_int_equal(n, 7);
    OK(blaze_retention(db, &n, &error));
    assert_int_equal(n, DAY_MS);
    assert_deleted(db, 2, 0);
    OK(blaze_close(db, &error));
}

/* ---- copies ---- */

struct place {
    blaze_hub *hub;
    blaze_db *a, *b;
};

static struct place open_place(int trusted)
{
    struct place p = {.a = open_db("a.blz", 1, 0)};
    blaze_hub_options hub;
    blaze_sync_options sync;
    const char *url = "mem:hub";
    char *code;
    blaze_hub_options_init(&hub);
    hub.listen = &url;
    hub.listen_count = 1;
    hub.trusted = trusted;
    OK(blaze_hub_open(&p.hub, "hub", &hub, &error));
    blaze_sync_options_init(&sync);
    sync.trust_hub = trusted;
    put_many(p.a);
    OK(blaze_share(p.a, url, &sync, &code, &error));
    OK(blaze_join(&p.b, "b.blz", code, NULL, NULL, &error));
    blaze_free(code);
    return p;
}

static void close_place(struct place *p)
{
    OK(blaze_check(p->a, NULL, NULL, &error));
    OK(blaze_check(p->b, NULL, NULL, &error));
    OK(blaze_close(p->a, &error));
    OK(blaze_close(p->b, &error));
    OK(blaze_hub_close(p->hub, &error));
}

static void sync_db(blaze_db *db)
{
    OK(blaze_sync(db, NULL, NULL, &error));
}

/* Whatever one of them knows, all know then. */
static void sync_both(struct place *p)
{
    for (int i = 0; i < 3; i++) {
        sync_db(p->a);
        sync_db(p->b);
    }
    for (int n = 0; n <= RECORDS; n++)
        assert_int_equal(has(p->a, n), has(p->b, n));
}

static void copies_collect_what_all_of_them_know_to_be_deleted(struct place *p)
{
    sync_both(p);
    delete_some(p->a, 0, 100);
    assert_int_equal(collect(p->a), 0);
    sync_db(p->a);
    assert_int_equal(collect(p->a), 0); /* the other one does not know */
    assert_deleted(p->a, 100, 0);
    sync_both(p);
    collect(p->a);
    collect(p->b);
    assert_deleted(p->a, 0, 100);
    assert_deleted(p->b, 0, 100);

    /* Nothing of it comes back, and what is written goes on to travel. */
    put(p->b, 50, "{\"made\":\"anew\"}");
    sync_both(p);
    for (int n = 0; n < RECORDS; n++) {
        assert_int_equal(has(p->a, n), n >= 100 || n == 50);
        assert_int_equal(has(p->b, n), n >= 100 || n == 50);
    }
}

static void copies_with_a_blind_hub_collect_what_all_know_to_be_deleted(void **state)
{
    (void)state;
    struct place p = open_place(0);
    copies_collect_what_all_of_them_know_to_be_deleted(&p);
    close_place(&p);
}

static void copies_with_a_trusted_hub_collect_what_all_know_to_be_deleted(void **state)
{
    (void)state;
    struct place p = open_place(1);
    copies_collect_what_all_of_them_know_to_be_deleted(&p);
    close_place(&p);
}

/* Has the clock go on, by which the silence of the other copy is measured. */
static void let_a_millisecond_pass(void)
{
    struct timespec begun, now;
    clock_gettime(CLOCK_REALTIME, &begun);
    do
        clock_gettime(CLOCK_REALTIME, &now);
    while ((now.tv_sec - begun.tv_sec) * 1000 + (now.tv_nsec - begun.tv_nsec) / 1000000 < 3);
}

/* b has all records and is not there while some are deleted. */
static void delete_without_the_other(struct place *p)
{
    sync_both(p);
    delete_some(p->a, 0, 100);
    sync_db(p->a);
    sync_db(p->a);
    let_a_millisecond_pass();
}

static void with_peers_that_can_read_a_silent_copy_is_waited_for_as_long_as_the_retention(
    void **state)
{
    (void)state;
    struct place p = open_place(1);
    delete_without_the_other(&p);
    assert_int_equal(collect(p.a), 0);
    OK(blaze_set_retention(p.a, 0, &error));
    assert_int_equal(collect(p.a), 100);

    /* It does not bring back what it had, and what it wrote alone is not lost. */
    put(p.b, 50, "{\"changed\":\"while away\"}");
    put(p.b, RECORDS, "{\"made\":\"while away\"}");
    sync_both(&p);
    for (int n = 0; n <= RECORDS; n++) {
        assert_int_equal(has(p.a, n), n >= 100 || n == 50);
        assert_int_equal(has(p.b, n), n >= 100 || n == 50);
    }
    close_place(&p);
}

static void with_a_blind_hub_a_silent_copy_is_waited_for_until_it_is_forgotten(void **state)
{
    (void)state;
    struct place p = open_place(0);
    blaze_id away;
    delete_without_the_other(&p);
    OK(blaze_set_retention(p.a, 0, &error));
    assert_int_equal(collect(p.a), 0);
    assert_deleted(p.a, 100, 0);
    size_t known = deleted_of(p.a).replicas;
    blaze_node_id(p.b, &away);
    OK(blaze_forget(p.a, &away, &error));
    assert_int_equal(deleted_of(p.a).replicas, known - 1);
    assert_int_equal(collect(p.a), 100);

    /* Who comes back counts again, and brings back what it has: nobody's word is taken that it was
     * deleted. */
    sync_both(&p);
    assert_int_equal(deleted_of(p.a).replicas, known);
    delete_some(p.a, 200, 10);
    sync_db(p.a);
    assert_int_equal(collect(p.a), 0);
    close_place(&p);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_directory, end_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_database_that_was_never_shared_collects_at_once),
        TEST(a_record_that_was_collected_can_be_made_anew),
        TEST(a_record_in_use_while_it_is_collected_stays_as_it_was_seen),
        TEST(observers_are_told_of_deletes_and_not_of_collecting),
        TEST(the_retention_is_thirty_days_until_it_is_set_and_is_kept),
        TEST(what_cannot_be_done_says_why),
        TEST(copies_with_a_blind_hub_collect_what_all_know_to_be_deleted),
        TEST(copies_with_a_trusted_hub_collect_what_all_know_to_be_deleted),
        TEST(with_peers_that_can_read_a_silent_copy_is_waited_for_as_long_as_the_retention),
        TEST(with_a_blind_hub_a_silent_copy_is_waited_for_until_it_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

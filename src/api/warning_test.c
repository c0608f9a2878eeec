/* SPDX-License-Identifier: Apache-2.0 */

/* Thresholds that warn: in the status, and by callback. How full the disk is, the test says. */

#include "api_priv.h"
#include "os/os.h"

#include "cmocka_all.h"
#include "wait.h"

#include <blazedb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB ((uint64_t)1 << 20)

static char scratch[100], path[128];

/* The disk of the tests; the lock guards it. */
static uint64_t disk_size, disk_free;

static void pretend(void *context, struct bz_file_system *found)
{
    (void)context;
    pthread_mutex_lock(&test_lock);
    found->size_bytes = disk_size;
    found->free_bytes = disk_free;
    pthread_mutex_unlock(&test_lock);
}

static int setup(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(scratch, sizeof scratch, "%s/warning-XXXXXX", base != NULL ? base : "/tmp");
    disk_size = 1000 * MIB;
    disk_free = 500 * MIB;
    bz_os_set_file_system(pretend, NULL);
    if (mkdtemp(scratch) == NULL)
        return 1;
    snprintf(path, sizeof path, "%s/a.blz", scratch);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    bz_os_set_file_system(NULL, NULL);
    bz_os_set_fault(NULL, NULL);
    snprintf(command, sizeof command, "rm -rf %s", scratch);
    return system(command);
}

static blaze_open_options silent(void)
{
    blaze_open_options options;
    blaze_open_options_init(&options);
    options.durability = BLAZE_RELAXED;
    options.warn_database_bytes = options.warn_log_bytes = options.warn_free_bytes = 0;
    options.warn_free_percent = 0;
    return options;
}

static blaze_db *open_with(blaze_open_options options)
{
    blaze_db *db;
    blaze_error error;
    if (blaze_open(&db, path, &options, &error) != BLAZE_OK)
        fail_msg("%s", error.text);
    return db;
}

static blaze_db *open_new(blaze_open_options options)
{
    options.create = 1;
    return open_with(options);
}

static void close_db(blaze_db *db)
{
    blaze_error error;
    if (blaze_close(db, &error) != BLAZE_OK)
        fail_msg("%s", error.text);
}

/* Bytes that no compression makes less. */
static void write_mib(blaze_db *db, unsigned count)
{
    blaze_error error;
    blaze_doc *doc;
    uint8_t *data = malloc(MIB);
    assert_non_null(data);
    for (unsigned i = 0; i < count; i++) {
        blaze_id id = {{0}};
        assert_int_equal(bz_os_entropy(data, MIB), 0);
        assert_int_equal(blaze_doc_new(&doc), BLAZE_OK);
        blaze_doc_add_bytes(doc, "data", data, MIB);
        if (blaze_insert(db, "c", &id, doc, &error) != BLAZE_OK)
            fail_msg("%s", error.text);
        blaze_doc_free(doc);
    }
    free(data);
}

/* What the status says of a kind of warning: its value, or -1 if it does not warn of that. */
static int64_t warned(blaze_db *db, const char *kind, int64_t threshold)
{
    char *json;
    blaze_doc *doc;
    blaze_value all, warnings, warning, field;
    blaze_iter iter;
    blaze_error error;
    int64_t found = -1;
    assert_int_equal(blaze_status(db, &json, &error), BLAZE_OK);
    assert_int_equal(blaze_doc_from_json(&doc, json, strlen(json), &error), BLAZE_OK);
    assert_int_equal(blaze_doc_value(doc, &all), BLAZE_OK);
    assert_int_equal(blaze_value_field(&all, "warnings", &warnings), BLAZE_OK);
    assert_int_equal(blaze_iter_init(&iter, &warnings), BLAZE_OK);
    while (blaze_iter_next(&iter, NULL, &warning) == BLAZE_OK) {
        assert_int_equal(blaze_value_field(&warning, "kind", &field), BLAZE_OK);
        if (field.as.text.size != strlen(kind) ||
            memcmp(field.as.text.data, kind, field.as.text.size) != 0)
            continue;
        assert_int_equal(blaze_value_field(&warning, "threshold", &field), BLAZE_OK);
        assert_int_equal(field.as.integer, threshold);
        assert_int_equal(blaze_value_field(&warning, "text", &field), BLAZE_OK);
        assert_true(field.as.text.size > 20);
        assert_int_equal(blaze_value_field(&warning, "value", &field), BLAZE_OK);
        found = field.as.integer;
    }
    blaze_doc_free(doc);
    blaze_free(json);
    return found;
}

/* ---- the status ---- */

static void a_database_warns_of_nothing_as_it_begins(void **state)
{
    (void)state;
    blaze_open_options options;
    blaze_open_options_init(&options);
    blaze_db *db = open_new(options);
    assert_int_equal(warned(db, "database_size", 0), -1);
    assert_int_equal(warned(db, "log_size", 0), -1);
    assert_int_equal(warned(db, "free_disk", 0), -1);
    close_db(db);
}

static void the_status_warns_of_a_disk_that_fills_up_by_bytes_or_by_part(void **state)
{
    (void)state;
    blaze_open_options options = silent();
    options.warn_free_bytes = 100 * MIB;
    options.warn_free_percent = 5; /* 50 MiB */
    blaze_db *db = open_new(options);
    disk_free = 100 * MIB;
    assert_int_equal(warned(db, "free_disk", 0), -1);
    disk_free--;
    assert_int_equal(warned(db, "free_disk", (int64_t)(100 * MIB)), (int64_t)(100 * MIB) - 1);
    disk_size = 10000 * MIB;
    disk_free = 450 * MIB;
    assert_int_equal(warned(db, "free_disk", (int64_t)(500 * MIB)), (int64_t)(450 * MIB));
    disk_free = 0;
    assert_int_equal(warned(db, "free_disk", (int64_t)(500 * MIB)), 0);
    close_db(db);
}

static void the_status_warns_of_a_database_and_of_a_log_that_grow(void **state)
{
    (void)state;
    blaze_open_options options = silent();
    options.warn_database_bytes = options.warn_log_bytes = 4 * MIB;
    blaze_db *db = open_new(options);
    assert_int_equal(warned(db, "database_size", 0), -1);
    assert_int_equal(warned(db, "log_size", 0), -1);
    write_mib(db, 5);
    assert_true(warned(db, "log_size", (int64_t)(4 * MIB)) >= (int64_t)(5 * MIB));
    assert_true(warned(db, "database_size", (int64_t)(4 * MIB)) >= (int64_t)(5 * MIB));
    close_db(db);
    options.read_only = 1;
    blaze_error error;
    assert_int_equal(blaze_open(&db, path, &options, &error), BLAZE_OK);
    assert_int_equal(warned(db, "log_size", 0), -1); /* closing has moved it */
    assert_true(warned(db, "database_size", (int64_t)(4 * MIB)) >= (int64_t)(5 * MIB));
    close_db(db);
}

static void a_threshold_of_more_than_all_is_refused(void **state)
{
    (void)state;
    blaze_db *db;
    blaze_error error;
    blaze_open_options options = silent();
    options.warn_free_percent = 101;
    options.create = 1;
    assert_int_equal(blaze_open(&db, path, &options, &error), BLAZE_EINVAL);
}

/* ---- the callback ---- */

struct told {
    blaze_db *db;
    unsigned calls;
    blaze_warning_kind kind;
    uint64_t value, threshold;
    bool removes, writes, asks;
};

static void on_warning(void *context, const blaze_warning *warning)
{
    struct told *told = context;
    blaze_error error;
    assert_true(strlen(warning->text) > 20);
    if (told->writes)
        write_mib(told->db, 1);
    if (told->asks)
        assert_true(warned(told->db, "free_disk", (int64_t)warning->threshold) >= 0);
    if (told->removes)
        assert_int_equal(blaze_set_warning_callback(told->db, NULL, NULL, &error), BLAZE_OK);
    NOTE(told->calls++; told->kind = warning->kind; told->value = warning->value;
         told->threshold = warning->threshold);
}

static void set_callback(blaze_db *db, struct told *told)
{
    blaze_error error;
    told->db = db;
    assert_int_equal(blaze_set_warning_callback(db, on_warning, told, &error), BLAZE_OK);
}

static void set_free(uint64_t bytes)
{
    NOTE(disk_free = bytes);
}

/* Commits until the callback has come so often: looking is begun by the log's growing. */
static void write_until(blaze_db *db, struct told *told, unsigned calls)
{
    for (unsigned i = 0; i < 500; i++) {
        pthread_mutex_lock(&test_lock);
        bool done = told->calls >= calls;
        pthread_mutex_unlock(&test_lock);
        if (done)
            return;
        write_mib(db, 1);
    }
    WAIT_UNTIL(told->calls >= calls);
}

static void what_holds_already_is_told_at_once(void **state)
{
    (void)state;
    struct told told = {0};
    blaze_open_options options = silent();
    options.warn_free_bytes = 600 * MIB;
    blaze_db *db = open_new(options);
    set_callback(db, &told);
    WAIT_UNTIL(told.calls == 1);
    assert_int_equal(told.kind, BLAZE_WARNING_FREE_DISK);
    assert_int_equal(told.value, 500 * MIB);
    assert_int_equal(told.threshold, 600 * MIB);
    close_db(db);
    assert_int_equal(told.calls, 1);
}

static void a_growing_log_calls_without_anybody_asking(void **state)
{
    (void)state;
    struct told told = {0};
    blaze_open_options options = silent();
    options.warn_log_bytes = 6 * MIB;
    blaze_db *db = open_new(options);
    set_callback(db, &told);
    write_until(db, &told, 1);
    assert_int_equal(told.kind, BLAZE_WARNING_LOG_SIZE);
    assert_true(told.value > 6 * MIB);
    close_db(db);
}

static void it_calls_once_and_again_only_after_it_was_well_clear(void **state)
{
    (void)state;
    struct told told = {0};
    blaze_open_options options = silent();
    options.warn_free_bytes = 100 * MIB;
    blaze_db *db = open_new(options);
    set_callback(db, &told);
    set_free(90 * MIB);
    write_until(db, &told, 1);
    /* The status asks, so that each of these is looked at; what is told is told in order, so the
     * last call tells how many there were before it. */
    set_free(80 * MIB);
    warned(db, "free_disk", (int64_t)(100 * MIB));
    write_mib(db, 5);
    set_free(105 * MIB); /* clear, but not well */
    warned(db, "free_disk", (int64_t)(100 * MIB));
    write_mib(db, 5);
    set_free(70 * MIB);
    write_mib(db, 10);
    assert_int_equal(told.calls, 1);
    set_callback(db, &told); /* begins anew: what holds is told */
    WAIT_UNTIL(told.calls == 2);
    assert_int_equal(told.value, 70 * MIB);
    close_db(db);
}

/* Looks on its own thread, so it cannot be missed that it was well clear: this waits for a look. */
static uint64_t looks;

static void pretend_and_count(void *context, struct bz_file_system *found)
{
    pretend(context, found);
    NOTE(looks++);
}

static void look_again(blaze_db *db)
{
    char *json;
    blaze_error error;
    pthread_mutex_lock(&test_lock);
    uint64_t before = looks;
    pthread_mutex_unlock(&test_lock);
    assert_int_equal(blaze_status(db, &json, &error), BLAZE_OK);
    blaze_free(json);
    WAIT_UNTIL(looks >= before + 2); /* the status itself, and the thread that it woke */
}

static void after_recovery_it_calls_again(void **state)
{
    (void)state;
    struct told told = {0};
    blaze_open_options options = silent();
    options.warn_free_bytes = 100 * MIB;
    bz_os_set_file_system(pretend_and_count, NULL);
    blaze_db *db = open_new(options);
    set_callback(db, &told);
    for (unsigned round = 1; round <= 3; round++) {
        set_free(90 * MIB);
        look_again(db);
        WAIT_UNTIL(told.calls == round);
        set_free(200 * MIB);
        look_again(db);
        look_again(db); /* the first of its looks may have been the one of the crossing */
    }
    close_db(db);
    assert_int_equal(told.calls, 3);
}

static void a_callback_may_write_ask_and_end_itself(void **state)
{
    (void)state;
    struct told told = {.writes = true, .asks = true, .removes = true};
    blaze_open_options options = silent();
    options.warn_free_bytes = 600 * MIB;
    blaze_db *db = open_new(options);
    set_callback(db, &told);
    WAIT_UNTIL(told.calls == 1);
    write_mib(db, 10);
    close_db(db);
    assert_int_equal(told.calls, 1);
}

static void a_database_in_memory_never_warns(void **state)
{
    (void)state;
    struct told told = {0};
    blaze_open_options options = silent();
    options.memory = 1;
    options.warn_free_bytes = UINT64_MAX;
    blaze_db *db = open_new(options);
    set_callback(db, &told);
    assert_int_equal(warned(db, "free_disk", 0), -1);
    close_db(db);
    assert_int_equal(told.calls, 0);
}

/* What a session does with a record that nobody can read, written by another node. */
static void leave_out(blaze_db *db, uint64_t seq, const blaze_id *id)
{
    static const blaze_id peer = {{1}}, writer = {{2}};
    struct bz_replica replica;
    struct bz_apply *apply;
    struct bz_identity identity;
    struct bz_peer_state state = {.cursor = seq, .as_of = seq};
    struct bz_dot dot = {.seq = seq};
    struct bz_change change = {.id = *id};
    bool changed = false;
    blaze_error error;
    bz_db_identity(db->db, &identity);
    assert_int_equal(bz_db_replica_open(db->db, &replica, &error), 0);
    assert_int_equal(replica.ops->apply_begin(replica.context, &peer, &apply, &error), 0);
    assert_int_equal(replica.ops->resolve(
                         apply, BZ_TERM_COLLECTION, bz_bytes_text("c"), &change.collection, &error),
        0);
    assert_int_equal(replica.ops->resolve(
                         apply, BZ_TERM_NODE, bz_bytes(&writer, sizeof writer), &dot.node, &error),
        0);
    change.rec.rvv = change.illegible = (struct bz_vv){&dot, 1};
    assert_int_equal(replica.ops->apply_change(apply, &change, &changed, &error), 0);
    assert_true(changed);
    assert_int_equal(replica.ops->node_number(replica.context, &identity.node, &state.self), 0);
    assert_int_equal(replica.ops->apply_commit(apply, &state, NULL, NULL, &error), 0);
    bz_db_replica_close(&replica);
}

static void write_whole(blaze_db *db, const blaze_id *id)
{
    blaze_doc *doc;
    blaze_error error;
    assert_int_equal(blaze_doc_new(&doc), BLAZE_OK);
    assert_int_equal(blaze_put(db, "c", id, doc, &error), BLAZE_OK);
    blaze_doc_free(doc);
}

static void that_records_were_left_out_is_told_once_until_they_are_there(void **state)
{
    (void)state;
    struct told told = {0};
    const blaze_id ids[] = {{{7}}, {{8}}, {{9}}};
    blaze_db *db = open_new(silent());
    set_callback(db, &told);
    assert_int_equal(warned(db, "unreadable", 0), -1);
    leave_out(db, 1, &ids[0]);
    WAIT_UNTIL(told.calls == 1);
    assert_int_equal(told.kind, BLAZE_WARNING_UNREADABLE);
    assert_int_equal(told.value, 1);
    leave_out(db, 2, &ids[1]);
    assert_int_equal(warned(db, "unreadable", 1), 2);
    close_db(db);
    assert_int_equal(told.calls, 1);

    /* It is kept with the database. */
    told.calls = 0;
    db = open_with(silent());
    set_callback(db, &told);
    WAIT_UNTIL(told.calls == 1);
    assert_int_equal(told.value, 2);
    write_whole(db, &ids[0]);
    assert_int_equal(warned(db, "unreadable", 1), 1);
    write_whole(db, &ids[1]);
    assert_int_equal(warned(db, "unreadable", 1), -1);
    leave_out(db, 3, &ids[2]);
    assert_int_equal(warned(db, "unreadable", 1), 1);
    close_db(db);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_database_warns_of_nothing_as_it_begins),
        TEST(the_status_warns_of_a_disk_that_fills_up_by_bytes_or_by_part),
        TEST(the_status_warns_of_a_database_and_of_a_log_that_grow),
        TEST(a_threshold_of_more_than_all_is_refused),
        TEST(what_holds_already_is_told_at_once),
        TEST(a_growing_log_calls_without_anybody_asking),
        TEST(it_calls_once_and_again_only_after_it_was_well_clear),
        TEST(after_recovery_it_calls_again),
        TEST(a_callback_may_write_ask_and_end_itself),
        TEST(that_records_were_left_out_is_told_once_until_they_are_there),
        TEST(a_database_in_memory_never_warns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

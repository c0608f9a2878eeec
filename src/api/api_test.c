/* SPDX-License-Identifier: Apache-2.0 */
/* The public functions, on databases in memory. */
#include "api/api_test_util.h"
#include "base/alloc.h"

#include <blazedb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static blaze_db *open_memory(void)
{
    blaze_open_options options;
    blaze_open_options_init(&options);
    options.create = 1;
    options.memory = 1;
    blaze_db *db;
    OK(blaze_open(&db, "memory", &options, &error));
    return db;
}

static blaze_doc *document(const char *json)
{
    blaze_doc *doc;
    OK(blaze_doc_from_json(&doc, json, strlen(json), &error));
    return doc;
}

static blaze_id insert(blaze_db *db, const char *json)
{
    blaze_id id = {{0}};
    blaze_doc *doc = document(json);
    OK(blaze_insert(db, "c", &id, doc, &error));
    blaze_doc_free(doc);
    return id;
}

static int64_t number(const blaze_value *map, const char *name)
{
    blaze_value value;
    assert_int_equal(blaze_value_field(map, name, &value), BLAZE_OK);
    assert_int_equal(value.type, BLAZE_INT);
    return value.as.integer;
}

/* ---- ids ---- */

static void new_ids_ascend_and_are_of_version_7(void **state)
{
    (void)state;
    blaze_id last = {{0}}, id;
    for (int i = 0; i < 100000; i++) {
        assert_int_equal(blaze_id_new(&id), BLAZE_OK);
        assert_true(memcmp(&last, &id, sizeof id) < 0);
        last = id;
    }
    assert_int_equal(id.bytes[6] >> 4, 7);
    assert_int_equal(id.bytes[8] >> 6, 2);
}

#define PER_THREAD 2000

static void *draw_ids(void *context)
{
    blaze_id *ids = context;
    for (int i = 0; i < PER_THREAD; i++)
        blaze_id_new(&ids[i]);
    return NULL;
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(blaze_id));
}

static void threads_and_forked_processes_never_draw_the_same_id(void **state)
{
    (void)state;
    static blaze_id ids[5 * PER_THREAD];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, draw_ids, &ids[i * PER_THREAD]);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);

    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        draw_ids(ids);
        _exit(write(ends[1], ids, PER_THREAD * sizeof *ids) < 0);
    }
    draw_ids(ids);
    size_t got = 0;
    while (got < PER_THREAD * sizeof *ids) {
        ssize_t more =
            read(ends[0], (char *)&ids[4 * PER_THREAD] + got, PER_THREAD * sizeof *ids - got);
        assert_true(more > 0);
        got += (size_t)more;
    }
    waitpid(child, NULL, 0);
    close(ends[0]);
    close(ends[1]);
    qsort(ids, 5 * PER_THREAD, sizeof *ids, compare_ids);
    for (int i = 1; i < 5 * PER_THREAD; i++)
        assert_true(memcmp(&ids[i - 1], &ids[i], sizeof *ids) != 0);
}

static void a_derived_id_is_the_one_of_rfc_9562(void **state)
{
    (void)state;
    blaze_id space, id;
    char text[BLAZE_ID_TEXT_SIZE];
    assert_int_equal(blaze_id_parse(&space, "6ba7b810-9dad-11d1-80b4-00c04fd430c8"), BLAZE_OK);
    assert_int_equal(blaze_id_derive(&id, &space, "www.example.com", 15), BLAZE_OK);
    assert_string_equal(blaze_id_format(&id, text), "2ed6657d-e927-568b-95e1-2665a8aea6a2");
}

/* ---- databases and records ---- */

/* A directory of its own for a test. */
static void make_scratch(char *path, size_t size)
{
    const char *base = getenv("TMPDIR");
    snprintf(path, size, "%s/api-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(path));
}

static void make_file(const char *directory, const char *name, char *path, size_t size)
{
    snprintf(path, size, "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
}

static int create_at(const char *path)
{
    blaze_db *db;
    blaze_open_options options;
    blaze_open_options_init(&options);
    options.create = 1;
    int rc = blaze_open(&db, path, &options, &error);
    if (rc == BLAZE_OK)
        OK(blaze_close(db, &error));
    return rc;
}

static void a_database_is_not_made_where_other_things_are(void **state)
{
    (void)state;
    char directory[200], file[240], missing[240];
    blaze_db *db;
    make_scratch(directory, sizeof directory);
    make_file(directory, "letter.txt", file, sizeof file);
    assert_int_equal(create_at(directory), BLAZE_EEXIST);
    assert_non_null(strstr(error.text, "other files"));
    assert_int_equal(create_at(file), BLAZE_EINVAL);
    assert_non_null(strstr(error.text, "not a directory"));
    assert_int_equal(blaze_open(&db, file, NULL, &error), BLAZE_EINVAL);
    snprintf(missing, sizeof missing, "%s/not/there.blz", directory);
    assert_int_equal(create_at(missing), BLAZE_ENOTFOUND);
    assert_null(strstr(error.text, "create it"));
    assert_int_equal(remove(file), 0);
    assert_int_equal(create_at(directory), BLAZE_OK); /* an empty one will do */
    assert_int_equal(create_at(directory), BLAZE_EEXIST);
    char command[240];
    snprintf(command, sizeof command, "rm -r %s", directory);
    assert_int_equal(system(command), 0);
}

/* Nobody listens at port 1. */
static void a_join_that_comes_to_nothing_leaves_nothing_and_takes_nothing_away(void **state)
{
    (void)state;
    static const char code[] = "blaze://127.0.0.1:1/a19db123-b750-4c63-8060-66a36505e889"
                               "#ASTHGS4iv8-TDjdtT95YZXMd50Y8IWj66rdun2cur4q3v389gw";
    char directory[200], file[240], copy[240];
    blaze_db *db;
    make_scratch(directory, sizeof directory);
    make_file(directory, "letter.txt", file, sizeof file);
    assert_int_equal(blaze_join(&db, directory, code, NULL, NULL, &error), BLAZE_EEXIST);
    assert_int_equal(access(file, F_OK), 0);
    snprintf(copy, sizeof copy, "%s/copy.blz", directory);
    assert_int_equal(blaze_join(&db, copy, code, NULL, NULL, &error), BLAZE_ECONNECT);
    assert_int_not_equal(access(copy, F_OK), 0);
    assert_int_equal(remove(file), 0);
    assert_int_equal(rmdir(directory), 0);
}

static void wrong_arguments_are_named(void **state)
{
    (void)state;
    blaze_db *db;
    assert_int_equal(blaze_open(NULL, "x", NULL, &error), BLAZE_EINVAL);
    assert_int_equal(blaze_open(&db, NULL, NULL, &error), BLAZE_EINVAL);
    assert_string_equal(error.text, "the path must not be NULL");
    assert_int_equal(blaze_open(&db, "", NULL, &error), BLAZE_EINVAL);
    blaze_open_options options = {0};
    assert_int_equal(blaze_open(&db, "x", &options, &error), BLAZE_EINVAL);
    assert_non_null(strstr(error.text, "blaze_open_options_init()"));
    assert_int_equal(blaze_open(&db, "/nowhere/at/all.blz", NULL, &error), BLAZE_ENOTFOUND);
    assert_string_equal(
        error.text, "no database at /nowhere/at/all.blz: create it with blaze_open_options.create");
    assert_int_equal(error.code, BLAZE_ENOTFOUND);

    db = open_memory();
    blaze_id id = {{0}};
    blaze_doc *doc = document("{\"n\":1}");
    assert_int_equal(blaze_insert(NULL, "c", &id, doc, &error), BLAZE_EINVAL);
    assert_int_equal(blaze_insert(db, NULL, &id, doc, &error), BLAZE_EINVAL);
    assert_int_equal(blaze_insert(db, "c", NULL, doc, &error), BLAZE_EINVAL);
    assert_int_equal(blaze_insert(db, "c", &id, NULL, &error), BLAZE_EINVAL);
    assert_int_equal(blaze_insert(db, "", &id, doc, &error), BLAZE_EINVAL);
    assert_int_equal(blaze_insert(db, "a\tb", &id, doc, &error), BLAZE_EINVAL);
    assert_int_equal(blaze_get(db, "c", &id, NULL, NULL), BLAZE_EINVAL);
    static const blaze_id zero;
    assert_memory_equal(&id, &zero, sizeof id); /* out parameters are written on success only */
    blaze_doc_free(doc);
    OK(blaze_close(db, &error));
}

static void the_reserved_field_and_unset_are_refused_where_they_mean_nothing(void **state)
{
    (void)state;
    blaze_db *db = open_memory();
    blaze_id id = insert(db, "{\"n\":1}");
    blaze_doc *reserved = document("{\"_id\":\"mine\"}");
    assert_int_equal(blaze_put(db, "c", &id, reserved, &error), BLAZE_EINVAL);
    assert_non_null(strstr(error.text, "\"_id\" is reserved"));
    assert_int_equal(blaze_update(db, "c", &id, reserved, &error), BLAZE_EINVAL);
    blaze_doc_free(reserved);

    blaze_doc *unset;
    assert_int_equal(blaze_doc_new(&unset), BLAZE_OK);
    blaze_doc_add_unset(unset, "n");
    assert_int_not_equal(blaze_put(db, "c", &id, unset, &error), BLAZE_OK);
    blaze_id other = {{0}};
    assert_int_not_equal(blaze_insert(db, "c", &other, unset, &error), BLAZE_OK);
    OK(blaze_update(db, "c", &id, unset, &error));
    blaze_doc_free(unset);

    blaze_doc *open;
    assert_int_equal(blaze_doc_new(&open), BLAZE_OK);
    blaze_doc_begin_map(open, "half");
    assert_int_equal(blaze_put(db, "c", &id, open, &error), BLAZE_EINVAL);
    assert_non_null(strstr(error.text, "not whole"));
    blaze_doc_free(open);
    OK(blaze_close(db, &error));
}

/* Nobody looks for a name that comes twice until the document is written. */
static void a_name_given_twice_is_told_by_the_write(void **state)
{
    (void)state;
    blaze_db *db = open_memory();
    blaze_id id = {{1}};
    blaze_doc *doc;
    assert_int_equal(blaze_doc_new(&doc), BLAZE_OK);
    assert_int_equal(blaze_doc_add_int(doc, "n", 1), BLAZE_OK);
    assert_int_equal(blaze_doc_add_int(doc, "m", 1), BLAZE_OK);
    assert_int_equal(blaze_doc_add_int(doc, "n", 2), BLAZE_OK);
    assert_int_equal(blaze_put(db, "c", &id, doc, &error), BLAZE_EEXIST);
    assert_non_null(strstr(error.text, "not whole"));
    assert_int_equal(blaze_doc_check(doc), BLAZE_EEXIST);
    assert_int_equal(blaze_exists(db, "c", &id, &error), BLAZE_ENOTFOUND);
    blaze_doc_free(doc);
    OK(blaze_close(db, &error));
}

static void a_record_is_written_read_and_deleted(void **state)
{
    (void)state;
    blaze_db *db = open_memory();
    blaze_id id = insert(db, "{\"n\":1,\"m\":2}");
    blaze_doc *fields = document("{\"n\":3}"), *got;
    OK(blaze_update(db, "c", &id, fields, &error));
    OK(blaze_get(db, "c", &id, &got, &error));
    blaze_value value;
    assert_int_equal(blaze_doc_value(got, &value), BLAZE_OK);
    assert_int_equal(number(&value, "n"), 3);
    assert_int_equal(number(&value, "m"), 2);
    blaze_doc_free(got);
    OK(blaze_exists(db, "c", &id, &error));

    assert_int_equal(blaze_insert(db, "c", &id, fields, &error), BLAZE_EEXIST);
    blaze_id other;
    assert_int_equal(blaze_id_new(&other), BLAZE_OK);
    assert_int_equal(blaze_update(db, "c", &other, fields, &error), BLAZE_ENOTFOUND);
    assert_non_null(strstr(error.text, "in c"));
    OK(blaze_upsert(db, "c", &other, fields, &error));
    OK(blaze_upsert(db, "c", &id, fields, &error));
    uint64_t count;
    OK(blaze_count(db, "c", &count, &error));
    assert_int_equal(count, 2);
    OK(blaze_count(db, "none", &count, &error));
    assert_int_equal(count, 0);

    OK(blaze_delete(db, "c", &id, &error));
    assert_int_equal(blaze_delete(db, "c", &id, &error), BLAZE_ENOTFOUND);
    assert_int_equal(blaze_get(db, "c", &id, &got, &error), BLAZE_ENOTFOUND);
    assert_int_equal(blaze_exists(db, "none", &id, &error), BLAZE_ENOTFOUND);
    uint64_t deleted;
    OK(blaze_delete_all(db, "c", &deleted, &error));
    assert_int_equal(deleted, 1);
    blaze_doc_free(fields);
    OK(blaze_close(db, &error));
}

/* ---- transactions and snapshots ---- */

static void a_transaction_is_seen_whole_or_not_at_all(void **state)
{
    (void)state;
    blaze_db *db = open_memory();
    blaze_txn *txn;
    blaze_snapshot *before;
    blaze_value value;
    blaze_doc *doc = document("{\"n\":1}");
    blaze_id first = {{0}}, second = {{0}};

    OK(blaze_begin(db, &txn, &error));
    OK(blaze_txn_insert(txn, "c", &first, doc, &error));
    OK(blaze_txn_get(txn, "c", &first, &value, &error));
    assert_int_equal(number(&value, "n"), 1);
    blaze_savepoint mark = blaze_txn_savepoint(txn);
    OK(blaze_txn_insert(txn, "c", &second, doc, &error));
    OK(blaze_txn_rollback_to(txn, mark, &error));
    OK(blaze_snapshot_open(db, &before, &error));
    OK(blaze_commit(txn, &error));

    assert_int_equal(blaze_snapshot_get(before, "c", &first, &value, NULL), BLAZE_ENOTFOUND);
    uint64_t count;
    OK(blaze_snapshot_count(before, "c", &count, &error));
    assert_int_equal(count, 0);
    blaze_snapshot_close(before);
    OK(blaze_exists(db, "c", &first, &error));
    assert_int_equal(blaze_exists(db, "c", &second, NULL), BLAZE_ENOTFOUND);

    OK(blaze_begin(db, &txn, &error));
    OK(blaze_txn_delete_all(txn, "c", NULL, &error));
    OK(blaze_txn_put(txn, "c", &second, doc, &error));
    blaze_abort(txn);
    OK(blaze_exists(db, "c", &first, &error));
    assert_int_equal(blaze_exists(db, "c", &second, NULL), BLAZE_ENOTFOUND);
    blaze_doc_free(doc);
    OK(blaze_close(db, &error));
}

/* ---- queries ---- */

static int take_index(void *context, const char *name, const char *field)
{
    strcat(strcat(strcat(context, name), "="), field);
    return 0;
}

static void a_query_finds_sorts_counts_and_explains_itself(void **state)
{
    (void)state;
    blaze_db *db = open_memory();
    for (int i = 0; i < 20; i++) {
        char json[64];
        snprintf(json, sizeof json, "{\"n\":%d,\"odd\":%s}", i, i % 2 == 1 ? "true" : "false");
        insert(db, json);
    }
    OK(blaze_index_create(db, "c", "n", NULL, &error));
    assert_int_equal(blaze_index_create(db, "c", "n", NULL, NULL), BLAZE_EEXIST);
    char indexes[64] = "";
    OK(blaze_index_list(db, "c", take_index, indexes, &error));
    assert_string_equal(indexes, "n=n");

    blaze_query query;
    blaze_query_init(&query);
    char filter[] = "n >= 10 and odd = true", sort[] = "n";
    query.filter = filter;
    query.sort = sort;
    query.descending = 1;
    query.offset = 1;
    query.limit = 3;
    blaze_cursor *cursor;
    OK(blaze_find(db, "c", &query, &cursor, &error));
    memset(filter, 'x', sizeof filter - 1); /* the cursor has a copy */
    memset(sort, 'x', sizeof sort - 1);
    static const int expected[] = {17, 15, 13};
    blaze_id id;
    blaze_value row;
    for (int i = 0; i < 3; i++) {
        OK(blaze_cursor_next(cursor, &id, &row, &error));
        assert_int_equal(number(&row, "n"), expected[i]);
    }
    assert_int_equal(blaze_cursor_next(cursor, &id, &row, NULL), BLAZE_END);
    blaze_cursor_close(cursor);

    blaze_query_init(&query);
    query.filter = "n >= 10 and odd = true";
    uint64_t count;
    OK(blaze_find_count(db, "c", &query, &count, &error));
    assert_int_equal(count, 5);
    OK(blaze_find_count(db, "c", NULL, &count, &error));
    assert_int_equal(count, 20);
    char *plan;
    OK(blaze_explain(db, "c", &query, &plan, &error));
    assert_non_null(strstr(plan, "index n"));
    blaze_free(plan);
    OK(blaze_index_drop(db, "c", "n", &error));
    assert_int_equal(blaze_index_drop(db, "c", "n", NULL), BLAZE_ENOTFOUND);

    query.filter = "n >=";
    assert_int_equal(blaze_find(db, "c", &query, &cursor, &error), BLAZE_ESYNTAX);
    assert_non_null(strstr(error.text, "column"));
    query = (blaze_query){0};
    assert_int_equal(blaze_find(db, "c", &query, &cursor, &error), BLAZE_EINVAL);
    OK(blaze_close(db, &error));
}

static void a_find_within_a_transaction_sees_its_writes(void **state)
{
    (void)state;
    blaze_db *db = open_memory();
    insert(db, "{\"n\":1}");
    blaze_txn *txn;
    blaze_doc *doc = document("{\"n\":2}");
    blaze_id id = {{0}};
    OK(blaze_begin(db, &txn, &error));
    OK(blaze_txn_insert(txn, "c", &id, doc, &error));
    blaze_cursor *cursor;
    OK(blaze_txn_find(txn, "c", NULL, &cursor, &error));
    int rows = 0;
    blaze_value row;
    while (blaze_cursor_next(cursor, &id, &row, NULL) == BLAZE_OK)
        rows++;
    assert_int_equal(rows, 2);
    blaze_cursor_close(cursor);
    blaze_abort(txn);
    blaze_doc_free(doc);
    OK(blaze_close(db, &error));
}

/* ---- observers ---- */

struct seen {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t events;
    blaze_event last;
    blaze_observer *observer;
    bool end_itself;
};

static void on_events(void *context, const blaze_event *events, size_t count)
{
    struct seen *seen = context;
    pthread_mutex_lock(&seen->lock);
    seen->events += count;
    seen->last = events[count - 1];
    if (seen->end_itself)
        blaze_unobserve(seen->observer);
    pthread_cond_signal(&seen->changed);
    pthread_mutex_unlock(&seen->lock);
}

static void await_events(struct seen *seen, size_t count)
{
    while (seen->events < count)
        pthread_cond_wait(&seen->changed, &seen->lock);
}

static void an_observer_is_told_of_every_record_and_may_end_itself(void **state)
{
    (void)state;
    blaze_db *db = open_memory();
    struct seen seen = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    OK(blaze_observe(db, "c", on_events, &seen, &seen.observer, &error));

    blaze_txn *txn;
    blaze_doc *doc = document("{\"n\":1}");
    OK(blaze_begin(db, &txn, &error));
    for (int i = 0; i < 1000; i++) {
        blaze_id id = {{0}};
        OK(blaze_txn_insert(txn, "c", &id, doc, &error));
        OK(blaze_txn_insert(txn, "not watched", &id, doc, &error));
    }
    OK(blaze_commit(txn, &error));
    pthread_mutex_lock(&seen.lock);
    await_events(&seen, 1000);
    assert_int_equal(seen.events, 1000);
    assert_false(seen.last.remote);
    blaze_id self;
    blaze_node_id(db, &self);
    assert_memory_equal(&seen.last.node, &self, sizeof self);
    seen.end_itself = true;
    pthread_mutex_unlock(&seen.lock);

    blaze_id id = insert(db, "{\"n\":2}");
    pthread_mutex_lock(&seen.lock);
    await_events(&seen, 1001);
    assert_memory_equal(&seen.last.id, &id, sizeof id);
    pthread_mutex_unlock(&seen.lock);
    blaze_doc_free(doc);
    OK(blaze_close(db, &error));
}

/* ---- status ---- */

static int add_records(void *context, const char *name, uint64_t records)
{
    (void)name;
    *(uint64_t *)context += records;
    return 0;
}

static void status_is_one_json_object(void **state)
{
    (void)state;
    blaze_db *db = open_memory();
    insert(db, "{\"n\":1}");
    char *json, digest[BLAZE_DIGEST_TEXT_SIZE];
    OK(blaze_status(db, &json, &error));
    OK(blaze_digest(db, digest, &error));
    blaze_doc *doc = document(json);
    blaze_value all, value;
    assert_int_equal(blaze_doc_value(doc, &all), BLAZE_OK);
    assert_int_equal(number(&all, "records"), 1);
    assert_int_equal(number(&all, "conflicts"), 0);
    assert_int_equal(blaze_value_field(&all, "digest", &value), BLAZE_OK);
    assert_memory_equal(value.as.text.data, digest, 32);
    assert_int_equal(blaze_value_field(&all, "collections", &value), BLAZE_OK);
    assert_int_equal(number(&value, "c"), 1);
    blaze_doc_free(doc);
    blaze_free(json);

    uint64_t records = 0;
    OK(blaze_collections(db, add_records, &records, &error));
    assert_int_equal(records, 1);
    OK(blaze_check(db, NULL, NULL, &error));
    OK(blaze_flush(db, &error));
    OK(blaze_close(db, &error));
}

/* ---- out of memory ---- */

struct fault {
    unsigned left; /* allocations that still succeed */
    bool failed;
};

static int fail_in_time(void *context)
{
    struct fault *fault = context;
    if (fault->left-- > 0)
        return 0;
    fault->left = 0;
    fault->failed = true;
    return 1;
}

/* Some of everything; 0 or the first error. Whatever was opened is closed. */
static int do_everything(void)
{
    blaze_open_options options;
    blaze_open_options_init(&options);
    options.create = 1;
    options.memory = 1;
    blaze_db *db = NULL;
    blaze_doc *doc = NULL, *got = NULL;
    blaze_txn *txn = NULL;
    blaze_cursor *cursor = NULL;
    blaze_snapshot *snapshot = NULL;
    char *text = NULL;
    blaze_id id = {{0}}, row_id;
    blaze_value row;
    blaze_query query;
    blaze_query_init(&query);
    query.filter = "n in [1, 2] and name contains \"a\"";
    query.sort = "n";
    static const char json[] = "{\"n\":1,\"name\":\"a\",\"deep\":{\"list\":[1,2,3]}}";

    int rc = blaze_doc_from_json(&doc, json, sizeof json - 1, &error);
    if (rc == 0)
        rc = blaze_open(&db, "memory", &options, &error);
    if (rc == 0)
        rc = blaze_index_create(db, "c", "n", NULL, &error);
    if (rc == 0)
        rc = blaze_insert(db, "c", &id, doc, &error);
    if (rc == 0)
        rc = blaze_begin(db, &txn, &error);
    if (rc == 0)
        rc = blaze_txn_update(txn, "c", &id, doc, &error);
    if (rc == 0) {
        rc = blaze_commit(txn, &error);
        txn = NULL;
    }
    if (rc == 0)
        rc = blaze_get(db, "c", &id, &got, &error);
    if (rc == 0)
        rc = blaze_snapshot_open(db, &snapshot, &error);
    if (rc == 0)
        rc = blaze_snapshot_find(snapshot, "c", &query, &cursor, &error);
    if (rc == 0)
        rc = blaze_cursor_next(cursor, &row_id, &row, &error);
    if (rc == 0)
        rc = blaze_value_to_json(&text, &row, true);
    blaze_free(text);
    text = NULL;
    if (rc == 0)
        rc = blaze_explain(db, "c", &query, &text, &error);
    blaze_free(text);
    text = NULL;
    if (rc == 0)
        rc = blaze_status(db, &text, &error);
    blaze_free(text);
    if (rc == 0)
        rc = blaze_delete(db, "c", &id, &error);
    blaze_cursor_close(cursor);
    blaze_snapshot_close(snapshot);
    blaze_abort(txn);
    blaze_doc_free(doc);
    blaze_doc_free(got);
    blaze_close(db, NULL);
    return rc;
}

static void a_failed_allocation_is_an_error_and_nothing_worse(void **state)
{
    (void)state;
    struct fault fault;
    unsigned n = 0;
    int rc;
    do {
        fault = (struct fault){.left = n++};
        bz_alloc_set_fault(fail_in_time, &fault);
        rc = do_everything();
        bz_alloc_set_fault(NULL, NULL);
        if (rc != BLAZE_OK && rc != BLAZE_ENOMEM)
            fail_msg("allocation %u: %s: %s", n - 1, blaze_error_name(rc), error.text);
    } while (fault.failed);
    assert_int_equal(rc, BLAZE_OK);
    assert_true(n > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_ids_ascend_and_are_of_version_7),
        cmocka_unit_test(threads_and_forked_processes_never_draw_the_same_id),
        cmocka_unit_test(a_derived_id_is_the_one_of_rfc_9562),
        cmocka_unit_test(a_database_is_not_made_where_other_things_are),
        cmocka_unit_test(a_join_that_comes_to_nothing_leaves_nothing_and_takes_nothing_away),
        cmocka_unit_test(wrong_arguments_are_named),
        cmocka_unit_test(the_reserved_field_and_unset_are_refused_where_they_mean_nothing),
        cmocka_unit_test(a_name_given_twice_is_told_by_the_write),
        cmocka_unit_test(a_record_is_written_read_and_deleted),
        cmocka_unit_test(a_transaction_is_seen_whole_or_not_at_all),
        cmocka_unit_test(a_query_finds_sorts_counts_and_explains_itself),
        cmocka_unit_test(a_find_within_a_transaction_sees_its_writes),
        cmocka_unit_test(an_observer_is_told_of_every_record_and_may_end_itself),
        cmocka_unit_test(status_is_one_json_object),
        cmocka_unit_test(a_failed_allocation_is_an_error_and_nothing_worse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

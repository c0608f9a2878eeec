/* SPDX-License-Identifier: Apache-2.0 */
/* Partial copies: opened read-only, one tells what it is, can be read, and lets nothing go; nor
 * does one whose scope was taken away. */
#include "api/api_test_util.h"

#include <blazedb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char dir[64], path[80];
static blaze_doc *doc; /* {"n":1} */
static const blaze_id id = {{1}};

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/blazedb-scope-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return 1;
    snprintf(path, sizeof path, "%s/a.blz", dir);
    return blaze_doc_from_json(&doc, "{\"n\":1}", 7, &error);
}

static int teardown(void **state)
{
    (void)state;
    char command[96];
    blaze_doc_free(doc);
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

static int remember(void *context, const blaze_scope_item *item)
{
    char *said = context;
    snprintf(said, 64, "%s: %s", item->collection, item->filter);
    return 0;
}

static blaze_db *open_it(int create, int read_only)
{
    blaze_db *db;
    blaze_open_options options;
    blaze_open_options_init(&options);
    options.create = create;
    options.read_only = read_only;
    OK(blaze_open(&db, path, &options, &error));
    return db;
}

/* A new partial copy, in which the record is. */
static blaze_db *open_new(const blaze_scope_item *item)
{
    blaze_db *db = open_it(1, 0);
    OK(blaze_set_scope(db, item, 1, &error));
    OK(blaze_put(db, "c", &id, doc, &error));
    return db;
}

static void expect_refused(int rc)
{
    assert_int_equal(rc, BLAZE_EREADONLY);
    assert_int_equal(error.code, BLAZE_EREADONLY);
    assert_non_null(strstr(error.text, "read-only"));
}

static void expect_as_it_was(blaze_db *db)
{
    char said[64] = "";
    int partial = 0;
    OK(blaze_get_scope(db, &partial, remember, said, &error));
    assert_true(partial);
    assert_string_equal(said, "c: n > 0");
    OK(blaze_exists(db, "c", &id, &error));
    OK(blaze_check(db, NULL, NULL, &error));
}

static void a_partial_copy_opened_read_only_refuses_what_would_change_it(void **state)
{
    (void)state;
    const blaze_scope_item item = {"c", "n > 0"}, other = {"d", NULL};
    uint64_t evicted = 77, kept = 77;
    blaze_db *db = open_new(&item);
    OK(blaze_close(db, &error));

    db = open_it(0, 1);
    expect_as_it_was(db);
    expect_refused(blaze_put(db, "c", &id, doc, &error));
    expect_refused(blaze_set_scope(db, &other, 1, &error));
    expect_refused(blaze_set_scope(db, &item, 1, &error));
    expect_refused(blaze_set_scope(db, NULL, 0, &error));
    expect_refused(blaze_evict(db, "c", &id, &error));
    expect_refused(blaze_evict_where(db, "c", "n = 1", &evicted, &kept, &error));
    expect_refused(blaze_evict_where(db, "c", "", &evicted, &kept, &error));
    expect_as_it_was(db);
    OK(blaze_close(db, &error));

    /* What was refused has left nothing behind. */
    db = open_it(0, 0);
    expect_as_it_was(db);
    OK(blaze_close(db, &error));
}

/* Or the full copy that it is to become would lack it. */
static void a_copy_whose_scope_was_taken_away_evicts_nothing(void **state)
{
    (void)state;
    const blaze_scope_item item = {"c", NULL};
    uint64_t evicted = 77, kept = 77;
    blaze_db *db = open_new(&item);
    assert_int_equal(blaze_evict(db, "c", &id, &error), BLAZE_EBUSY); /* nobody else has it */
    OK(blaze_set_scope(db, NULL, 0, &error));
    assert_int_equal(blaze_evict(db, "c", &id, &error), BLAZE_EPERM);
    assert_int_equal(blaze_evict_where(db, "c", "", &evicted, &kept, &error), BLAZE_EPERM);
    assert_true(evicted == 0 && kept == 0);
    OK(blaze_exists(db, "c", &id, &error));
    OK(blaze_close(db, &error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_partial_copy_opened_read_only_refuses_what_would_change_it),
        TEST(a_copy_whose_scope_was_taken_away_evicts_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The limits of a document bind those who write, and never those who merge: copies that are each
 * within them may come to more together, and must stay in step, readable and mendable.
 */

#include "db/test_util.h"

#include <stdlib.h>

/* {"<prefix>0":1,"<prefix>1":1,...} */
static char *many_fields(const char *prefix, unsigned count)
{
    char *json = malloc((size_t)count * 16 + 3), *p = json;
    *p++ = '{';
    for (unsigned i = 0; i < count; i++)
        p += sprintf(p, "%s\"%s%u\":1", i == 0 ? "" : ",", prefix, i);
    memcpy(p, "}", 2);
    return json;
}

static char *long_text(const char *field, size_t size)
{
    char *json = malloc(size + 64);
    size_t n = (size_t)sprintf(json, "{\"%s\":\"", field);
    memset(json + n, 'x', size);
    memcpy(json + n + size, "\"}", 3);
    return json;
}

static void write_and_free(struct bz_db *db, enum verb verb, char *json)
{
    write_json(db, verb, "c", 1, json);
    free(json);
}

static void expect_refused(struct bz_db *db, enum verb verb, const char *json)
{
    struct bz_db_txn *txn = NULL;
    blaze_error refusal = {0};
    uint64_t position = state_of(db).position;
    must(bz_db_begin(db, &txn, error));
    assert_int_equal(try_write(txn, verb, "c", 1, json, &refusal), BLAZE_ELIMIT);
    assert_int_equal(refusal.code, BLAZE_ELIMIT);
    /* The transaction goes on. */
    must(try_write(txn, PUT, "other", 1, "{}", error));
    must(bz_db_commit(txn, BZ_DURABLE_RELAXED, error));
    assert_int_equal(state_of(db).position, position + 1);
}

/* Of the document; 0 if there is none. */
static size_t fields_of(struct bz_db *db, size_t *bytes)
{
    struct bz_read *read = NULL;
    blaze_id id = id_of(1);
    blaze_value value;
    must(bz_read_begin(db, &read, error));
    must(bz_read_get(read, bz_bytes_text("c"), &id, &value, error));
    size_t count = blaze_value_count(&value);
    *bytes = value.as.nested.size;
    bz_read_end(read);
    return count;
}

static void open_copies(struct bz_db **dbs, struct world *worlds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        worlds[i] = (struct world){{i + 1}, 1700000000000u};
        dbs[i] = open_memory(&worlds[i], BZ_ROLE_CLIENT);
    }
    write_json(dbs[0], INSERT, "c", 1, "{\"k\":1}");
    for (unsigned i = 1; i < count; i++)
        send_changes(dbs[0], dbs[i], 10, 0);
    /* An index needs the whole document at each change. */
    for (unsigned i = 0; i < count; i++)
        must(bz_db_index_create(dbs[i], bz_bytes_text("c"), "k", "k", error));
}

static void close_copies(struct bz_db **dbs, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        check_all(dbs[i]);
        must(bz_db_close(dbs[i], error));
    }
}

static void an_update_cannot_take_a_record_past_the_limit_of_fields(void **state)
{
    (void)state;
    struct world world;
    struct bz_db *db;
    size_t bytes;
    open_copies(&db, &world, 1);
    write_and_free(db, PUT, many_fields("f", BLAZE_MAX_FIELDS - 1));
    write_json(db, UPDATE, "c", 1, "{\"last\":1}");
    expect_refused(db, UPDATE, "{\"more\":1}");
    expect_refused(db, UPSERT, "{\"more\":1}");
    assert_int_equal(fields_of(db, &bytes), BLAZE_MAX_FIELDS);
    write_json(db, UPDATE, "c", 1, "{\"last\":{\"$unset\":true},\"more\":1}");
    assert_int_equal(fields_of(db, &bytes), BLAZE_MAX_FIELDS);
    close_copies(&db, 1);
}

static void an_update_cannot_take_a_record_past_the_limit_of_size(void **state)
{
    (void)state;
    struct world world;
    struct bz_db *db;
    size_t bytes;
    open_copies(&db, &world, 1);
    write_and_free(db, PUT, long_text("x", 9u << 20));
    char *more = long_text("y", 9u << 20);
    expect_refused(db, UPDATE, more);
    free(more);
    assert_int_equal(fields_of(db, &bytes), 1);
    close_copies(&db, 1);
}

static void copies_merge_past_the_limit_of_fields(void **state)
{
    (void)state;
    struct world worlds[2];
    struct bz_db *dbs[2];
    size_t bytes;
    open_copies(dbs, worlds, 2);
    write_and_free(dbs[0], UPDATE, many_fields("a", 3000));
    write_and_free(dbs[1], UPDATE, many_fields("b", 3000));
    sync_both(dbs[0], dbs[1]);
    expect_equal(dbs[0], dbs[1]);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(fields_of(dbs[i], &bytes), 6001);

    /* It can be made smaller in steps, not larger, and be written whole. */
    expect_refused(dbs[0], UPDATE, "{\"new\":1}");
    expect_refused(dbs[0], UPDATE, "{\"a0\":2}");
    write_json(dbs[0], UPDATE, "c", 1, "{\"a0\":{\"$unset\":true}}");
    assert_int_equal(fields_of(dbs[0], &bytes), 6000);
    write_json(dbs[1], PUT, "c", 1, "{\"k\":2}");
    sync_both(dbs[0], dbs[1]);
    expect_equal(dbs[0], dbs[1]);
    close_copies(dbs, 2);
}

static void copies_merge_past_the_limit_of_size(void **state)
{
    (void)state;
    static const char *const names[] = {"x", "y", "z"};
    struct world worlds[3];
    struct bz_db *dbs[3];
    size_t bytes;
    open_copies(dbs, worlds, 3);
    for (unsigned i = 0; i < 3; i++)
        write_and_free(dbs[i], UPDATE, long_text(names[i], 9u << 20));
    for (unsigned round = 0; round < 2; round++) {
        sync_both(dbs[0], dbs[1]);
        sync_both(dbs[0], dbs[2]);
    }
    sync_both(dbs[0], dbs[1]);
    for (unsigned i = 0; i < 3; i++) {
        expect_equal(dbs[0], dbs[i]);
        assert_int_equal(fields_of(dbs[i], &bytes), 4);
        assert_true(bytes > 27u << 20);
    }
    expect_refused(dbs[1], UPDATE, "{\"k\":22}");
    write_json(dbs[1], UPDATE, "c", 1, "{\"x\":{\"$unset\":true}}");
    write_json(dbs[1], UPDATE, "c", 1, "{\"y\":{\"$unset\":true},\"k\":2}");
    sync_both(dbs[0], dbs[1]);
    assert_int_equal(fields_of(dbs[0], &bytes), 2);
    close_copies(dbs, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_update_cannot_take_a_record_past_the_limit_of_fields),
        cmocka_unit_test(an_update_cannot_take_a_record_past_the_limit_of_size),
        cmocka_unit_test(copies_merge_past_the_limit_of_fields),
        cmocka_unit_test(copies_merge_past_the_limit_of_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

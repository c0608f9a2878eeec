/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Databases that earlier versions have written, kept under tests/fixtures/: every later version
 * must open them, find in them what was there, and go on with them.
 *
 * Each folder is a database with its expected digest beside it. To make those of a new format
 * version (never over old ones): BLAZEDB_FIXTURE=DIR test/fixture_test writes plain.blz and
 * sealed.blz, with their digests, to DIR.
 */

#include "cmocka_all.h"
#include "store/testing.h"

#include <blazedb.h>

#define PASSPHRASE "correct horse battery staple"
#define RECORDS    1500u
#define LATER      40u

static void expect(int rc, const blaze_error *error)
{
    if (rc != BLAZE_OK)
        fail_msg("%s: %s", blaze_error_name(rc), error->text);
}

static blaze_db *open_database(const char *path, bool sealed, bool create)
{
    blaze_open_options options;
    blaze_error error;
    blaze_db *db;
    blaze_open_options_init(&options);
    options.create = create;
    if (sealed) {
        options.seal.passphrase = PASSPHRASE;
        options.seal.kdf_memory_kib = 64;
        options.seal.kdf_passes = 1;
    }
    expect(blaze_open(&db, path, &options, &error), &error);
    return db;
}

/* ---- what is in it ---- */

static blaze_id id_of(unsigned i)
{
    blaze_id id = {{0}};
    bz_store32be(id.bytes + 12, i * 2654435761u);
    bz_store32be(id.bytes + 8, i);
    return id;
}

static blaze_doc *document(unsigned i, bool updated)
{
    char json[512];
    int size = snprintf(json, sizeof json,
        "{\"number\":%u,\"name\":\"place "
        "%u\",\"kind\":\"%s\",\"updated\":%s,\"tags\":[%u,\"t\",null],"
        "\"where\":{\"lat\":%u.25,\"lon\":-%u.5},\"text\":\"%.*s\"}",
        i, i, i % 3 == 0 ? "city" : "village", updated ? "true" : "false", i % 7, i % 90, i % 180,
        (int)(i % 200),
        "....................................................................................."
        "....................................................................................."
        "..............................");
    blaze_doc *doc;
    blaze_error error;
    expect(blaze_doc_from_json(&doc, json, (size_t)size, &error), &error);
    return doc;
}

static bool is_deleted(unsigned i)
{
    return i % 10 == 4 && i < RECORDS;
}

static bool is_updated(unsigned i)
{
    return i % 10 == 7;
}

static void put(blaze_db *db, unsigned i, bool updated)
{
    blaze_error error;
    blaze_id id = id_of(i);
    blaze_doc *doc = document(i, updated);
    expect(blaze_put(db, "places", &id, doc, &error), &error);
    blaze_doc_free(doc);
}

static void make(const char *path, bool sealed)
{
    blaze_error error;
    blaze_db *db = open_database(path, sealed, true);
    expect(blaze_index_create(db, "places", "name", "by_name", &error), &error);
    for (unsigned i = 0; i < RECORDS; i++)
        put(db, i, false);
    expect(blaze_close(db, &error), &error); /* moves it to the base */
    db = open_database(path, sealed, false);
    for (unsigned i = 0; i < RECORDS; i++) {
        blaze_id id = id_of(i);
        if (is_updated(i))
            put(db, i, true);
        if (is_deleted(i))
            expect(blaze_delete(db, "places", &id, &error), &error);
    }
    expect(blaze_close(db, &error), &error);
    db = open_database(path, sealed, false);
    for (unsigned i = RECORDS; i < RECORDS + LATER; i++)
        put(db, i, false);
    expect(blaze_close(db, &error), &error); /* these stay in the log */
}

static void check(blaze_db *db, unsigned later)
{
    blaze_error error;
    uint64_t count = 0, expected = 0;
    for (unsigned i = 0; i < RECORDS + later; i++) {
        blaze_id id = id_of(i);
        blaze_doc *got, *want = document(i, is_updated(i) && i < RECORDS);
        int rc = blaze_get(db, "places", &id, &got, &error);
        if (is_deleted(i)) {
            assert_int_equal(rc, BLAZE_ENOTFOUND);
        } else {
            char *a, *b;
            expect(rc, &error);
            expected++;
            blaze_value one, two;
            assert_int_equal(blaze_doc_value(got, &one), BLAZE_OK);
            assert_int_equal(blaze_doc_value(want, &two), BLAZE_OK);
            assert_int_equal(blaze_value_to_json(&a, &one, false), BLAZE_OK);
            assert_int_equal(blaze_value_to_json(&b, &two, false), BLAZE_OK);
            assert_string_equal(a, b);
            blaze_free(a);
            blaze_free(b);
            blaze_doc_free(got);
        }
        blaze_doc_free(want);
    }
    blaze_query query;
    blaze_query_init(&query);
    query.filter = "name >= \"place\" and name < \"placf\"";
    expect(blaze_find_count(db, "places", &query, &count, &error), &error);
    assert_int_equal(count, expected);
    expect(blaze_check(db, NULL, NULL, &error), &error);
}

/* ---- copies ---- */

static int copy_entry(void *context, const char *name);

struct copying {
    const char *from, *to;
};

static void copy_all(const char *from, const char *to)
{
    struct copying copying = {from, to};
    assert_int_equal(bz_dir_create(to, NULL), 0);
    assert_int_equal(bz_dir_list(from, copy_entry, &copying, NULL), 0);
}

static int copy_entry(void *context, const char *name)
{
    const struct copying *copying = context;
    char from[1024], to[1024];
    struct bz_file source, target;
    uint64_t size;
    size_t got;
    snprintf(from, sizeof from, "%s/%s", copying->from, name);
    snprintf(to, sizeof to, "%s/%s", copying->to, name);
    if (bz_path_is_dir(from)) {
        copy_all(from, to);
        return 0;
    }
    assert_int_equal(bz_file_open(&source, from, BZ_OPEN_READ, NULL), 0);
    assert_int_equal(bz_file_open(&target, to, BZ_OPEN_WRITE | BZ_OPEN_CREATE, NULL), 0);
    assert_int_equal(bz_file_size(&source, &size, NULL), 0);
    uint8_t *bytes = malloc((size_t)size + 1);
    assert_non_null(bytes);
    assert_int_equal(bz_file_read(&source, 0, bytes, (size_t)size, &got, NULL), 0);
    assert_int_equal(bz_file_write(&target, 0, bytes, got, NULL), 0);
    free(bytes);
    bz_file_close(&source);
    bz_file_close(&target);
    return 0;
}

/* ---- tests ---- */

static void digest_of(const char *path, bool sealed, char out[BLAZE_DIGEST_TEXT_SIZE])
{
    blaze_error error;
    blaze_db *db = open_database(path, sealed, false);
    expect(blaze_digest(db, out, &error), &error);
    expect(blaze_close(db, &error), &error);
}

static void opens_as_it_was(const char *name, bool sealed)
{
    struct bz_test_dir dir;
    char from[512], to[128], digest[BLAZE_DIGEST_TEXT_SIZE], line[BLAZE_DIGEST_TEXT_SIZE + 1];
    blaze_error error;
    bz_test_dir_make(&dir);
    snprintf(from, sizeof from, "%s/tests/fixtures/%s", BZ_SOURCE_DIR, name);
    snprintf(to, sizeof to, "%s/db", dir.path);
    copy_all(from, to);
    blaze_db *db = open_database(to, sealed, false);
    check(db, LATER);
    expect(blaze_digest(db, digest, &error), &error);
    snprintf(from, sizeof from, "%s/tests/fixtures/%s.digest", BZ_SOURCE_DIR, name);
    FILE *file = fopen(from, "r");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));
    fclose(file);
    assert_memory_equal(line, digest, BLAZE_DIGEST_TEXT_SIZE - 1);
    put(db, RECORDS + LATER, false); /* it goes on */
    expect(blaze_close(db, &error), &error);
    db = open_database(to, sealed, false);
    check(db, LATER + 1);
    expect(blaze_close(db, &error), &error);
    bz_test_dir_remove(&dir);
}

static void a_database_of_format_1_opens(void **state)
{
    (void)state;
    opens_as_it_was("store-1/plain.blz", false);
}

static void a_sealed_database_of_format_1_opens(void **state)
{
    (void)state;
    opens_as_it_was("store-1/sealed.blz", true);
}

static int make_fixtures(const char *dir)
{
    for (int sealed = 0; sealed < 2; sealed++) {
        char path[512], digest[BLAZE_DIGEST_TEXT_SIZE];
        snprintf(path, sizeof path, "%s/%s", dir, sealed ? "sealed.blz" : "plain.blz");
        make(path, sealed != 0);
        digest_of(path, sealed != 0, digest);
        strcat(path, ".digest");
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        fprintf(file, "%s\n", digest);
        fclose(file);
    }
    return 0;
}

int main(void)
{
    const char *dir = getenv("BLAZEDB_FIXTURE");
    if (dir != NULL)
        return make_fixtures(dir);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_database_of_format_1_opens),
        cmocka_unit_test(a_sealed_database_of_format_1_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

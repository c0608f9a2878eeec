/* SPDX-License-Identifier: Apache-2.0 */
/* Damaged tables of the base, sealed or not: named, and no worse than they are. */
#include "world.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORDS   20000u
#define FIRST_ID  "00000000-0000-4000-8000-000000000000"
#define MOST_LOST 400u /* records of one block, and then some */

struct table {
    char path[256];
    char away[256];
    long size;
};

static void write_lines(const char *name)
{
    FILE *file = fopen(name, "wb");
    assert_non_null(file);
    for (unsigned i = 0; i < RECORDS; i++)
        fprintf(file, "{\"_id\":\"00000000-0000-4000-8000-%012x\",\"n\":%u,\"text\":\"line %u\"}\n",
            i, i, i * 7919u);
    assert_int_equal(fclose(file), 0);
}

/* The largest table: the one with the records. */
static struct table largest(const char *db)
{
    struct table found = {.size = -1};
    char folder[128];
    snprintf(folder, sizeof folder, "%s/tables", db);
    DIR *dir = opendir(folder);
    struct dirent *entry;
    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        struct stat st;
        char path[256];
        snprintf(path, sizeof path, "%s/%.60s", folder, entry->d_name);
        if (strstr(entry->d_name, ".tbl") == NULL || stat(path, &st) != 0 ||
            st.st_size <= found.size)
            continue;
        strcpy(found.path, path);
        snprintf(found.away, sizeof found.away, "%s-away", db);
        found.size = (long)st.st_size;
    }
    closedir(dir);
    assert_true(found.size > 0);
    return found;
}

static void flip_byte(const char *path, long at)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    fseek(file, at, SEEK_SET);
    int byte = fgetc(file);
    fseek(file, at, SEEK_SET);
    fputc(byte ^ 0x55, file);
    assert_int_equal(fclose(file), 0);
}

static unsigned lines_of(const char *out)
{
    unsigned lines = 0;
    for (; *out != '\0'; out++)
        lines += *out == '\n';
    return lines;
}

static struct table make(struct world *w, bool sealed)
{
    write_lines("in.jsonl");
    if (sealed) {
        write_file("key", "0123456789abcdef0123456789abcdef", 32);
        assert_int_equal(chmod("key", 0600), 0);
        assert_int_equal(setenv("BLAZEDB_KEY_FILE", "key", 1), 0);
    }
    must(w, "create", "a.blz", NULL);
    must(w, "import", "a.blz", "c", "in.jsonl", NULL);
    must(w, "check", "a.blz", NULL);
    return largest("a.blz");
}

static void expect_damage_in_a_block(struct world *w, bool sealed)
{
    struct table table = make(w, sealed);
    flip_byte(table.path, table.size / 3);

    struct outcome outcome = run(w, "check", "a.blz", NULL);
    assert_int_equal(outcome.code, 7);
    assert_non_null(strstr(outcome.out, table.path));
    assert_non_null(strstr(outcome.out, "the block at offset"));
    assert_non_null(strstr(outcome.out, sealed ? "does not authenticate" : "is damaged"));

    /* All but those in the block, and a word on it. */
    outcome = run(w, "export", "a.blz", "c", NULL);
    assert_int_equal(outcome.code, 7);
    assert_non_null(strstr(outcome.err, table.path));
    assert_in_range(lines_of(outcome.out), RECORDS - MOST_LOST, RECORDS - 1);
    must(w, "get", "a.blz", "c", FIRST_ID, NULL);

    /* What is not in it can be written, too. */
    must(w, "put", "a.blz", "c", FIRST_ID, "{\"n\":-1}", NULL);
    assert_non_null(strstr(must(w, "get", "a.blz", "c", FIRST_ID, NULL), "-1"));

    flip_byte(table.path, table.size / 3);
    must(w, "check", "a.blz", NULL);
    assert_int_equal(lines_of(must(w, "export", "a.blz", "c", NULL)), RECORDS);
}

static void a_damaged_block_costs_the_records_in_it(void **state)
{
    expect_damage_in_a_block(*state, false);
}

static void so_does_one_that_is_sealed(void **state)
{
    expect_damage_in_a_block(*state, true);
}

static void a_table_without_its_index_is_refused_for_writing(void **state)
{
    struct world *w = *state;
    struct table table = make(w, false);
    flip_byte(table.path, table.size - 200);
    refuse(w, 7, table.path, "insert", "a.blz", "c", "{}", NULL);
    refuse(w, 7, table.path, "status", "a.blz", NULL); /* it had all there is */
    flip_byte(table.path, table.size - 200);
    must(w, "check", "a.blz", NULL);
}

static void a_missing_table_is_named(void **state)
{
    struct world *w = *state;
    struct table table = make(w, false);
    assert_int_equal(rename(table.path, table.away), 0);
    refuse(w, 7, "is missing", "insert", "a.blz", "c", "{}", NULL);
    refuse(w, 7, table.path, "status", "a.blz", NULL);
    assert_int_equal(rename(table.away, table.path), 0);
    must(w, "check", "a.blz", NULL);
}

static void the_key_of_a_sealed_database_is_missed(void **state)
{
    struct world *w = *state;
    make(w, true);
    assert_int_equal(unlink("a.blz/key"), 0);
    unsetenv("BLAZEDB_KEY_FILE");
    struct outcome outcome = run(w, "status", "a.blz", NULL);
    assert_int_equal(outcome.code, 7);
    assert_non_null(strstr(outcome.err, "its file `key` is missing"));
}

static int teardown(void **state)
{
    unsetenv("BLAZEDB_KEY_FILE");
    return world_end(state);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_begin, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_damaged_block_costs_the_records_in_it),
        TEST(so_does_one_that_is_sealed),
        TEST(a_table_without_its_index_is_refused_for_writing),
        TEST(a_missing_table_is_named),
        TEST(the_key_of_a_sealed_database_is_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

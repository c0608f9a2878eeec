/* SPDX-License-Identifier: Apache-2.0 */

/* What a hub says at its start of databases that it will refuse. */

#include "hub/hub.h"

#include "cmocka_all.h"
#include "wait.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct told {
    unsigned count;
    char line[512];
};

static void on_warning(void *context, const char *line)
{
    struct told *told = context;
    NOTE(told->count++; snprintf(told->line, sizeof told->line, "%s", line));
}

static blaze_id make_database(const char *dir, uint8_t number, bool blind)
{
    char text[BLAZE_ID_TEXT_SIZE];
    char path[128];
    struct bz_db *db;
    blaze_error error;
    struct bz_db_options options = {.create = true, .role = BZ_ROLE_SERVER, .blind = blind};
    options.database.bytes[15] = number;
    snprintf(path, sizeof path, "%s/%s.blz", dir, blaze_id_format(&options.database, text));
    if (bz_db_open(&db, path, &options, &error) != 0)
        fail_msg("%s", error.text);
    assert_int_equal(bz_db_close(db, NULL), 0);
    return options.database;
}

/* As a version that did not say it wrote the file. */
static void forget_kind(const char *dir, const blaze_id *id)
{
    char text[BLAZE_ID_TEXT_SIZE];
    char path[128];
    snprintf(path, sizeof path, "%s/%s.blz/identity", dir, blaze_id_format(id, text));
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(ftruncate(fileno(file), 57), 0);
    assert_int_equal(fclose(file), 0);
}

static void start_and_stop(const char *dir, bool trusted, struct told *told, unsigned count)
{
    struct bz_hub *hub;
    struct bz_hub_options options;
    const char *url = "mem:survey";
    blaze_error error;
    bz_hub_options_init(&options);
    options.listen = &url;
    options.listen_count = 1;
    options.trusted = trusted;
    options.on_warning = on_warning;
    options.context = told;
    if (bz_hub_open(&hub, dir, &options, &error) != 0)
        fail_msg("%s", error.text);
    WAIT_UNTIL(told->count >= count);
    assert_int_equal(bz_hub_close(hub, &error), 0);
}

static void a_blind_hub_says_at_once_what_it_will_refuse(void **state)
{
    (void)state;
    char dir[] = "/tmp/bz-survey-XXXXXX";
    char command[64];
    struct told told = {0};
    assert_non_null(mkdtemp(dir));
    for (uint8_t i = 0; i < 3; i++)
        make_database(dir, (uint8_t)(1 + i), false);
    make_database(dir, 11, true);
    blaze_id silent = make_database(dir, 12, false);
    forget_kind(dir, &silent);
    snprintf(command, sizeof command, "mkdir %s/notes.blz && touch %s/a", dir, dir);
    assert_int_equal(system(command), 0);

    start_and_stop(dir, false, &told, 1);
    assert_non_null(strstr(told.line, "3 of the databases here"));
    assert_non_null(strstr(told.line, "00000000-0000-0000-0000-00000000000"));
    assert_non_null(strstr(told.line, "and others"));

    /* A trusted hub refuses none; and a hub may be closed while it looks. */
    start_and_stop(dir, true, &told, 0);
    assert_int_equal(told.count, 1);
    for (int i = 0; i < 20; i++)
        start_and_stop(dir, false, &told, 0);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

static void a_database_says_what_kind_of_copy_it_is_without_being_opened(void **state)
{
    (void)state;
    char dir[] = "/tmp/bz-survey-XXXXXX";
    char path[2][96];
    char command[256];
    bool blind;
    blaze_error error;
    struct bz_db *db;
    assert_non_null(mkdtemp(dir));
    for (uint8_t i = 0; i < 2; i++) {
        char text[BLAZE_ID_TEXT_SIZE];
        blaze_id id = make_database(dir, i, i == 1);
        snprintf(path[i], sizeof path[i], "%s/%s.blz", dir, blaze_id_format(&id, text));
        blind = i == 0;
        assert_int_equal(bz_db_peek_blind(path[i], &blind, &error), 0);
        assert_int_equal(blind, i == 1);
    }

    /* A copied directory becomes a node of its own, whose file is made anew and says the same. */
    snprintf(command, sizeof command, "cp -r %s %s/copy && rm %s/copy/identity", path[1], dir, dir);
    assert_int_equal(system(command), 0);
    snprintf(path[0], sizeof path[0], "%s/copy", dir);
    assert_int_equal(bz_db_peek_blind(path[0], &blind, &error), BLAZE_ENOTFOUND);
    assert_int_equal(bz_db_open(&db, path[0], &(struct bz_db_options){0}, &error), 0);
    assert_int_equal(bz_db_close(db, NULL), 0);
    blind = false;
    assert_int_equal(bz_db_peek_blind(path[0], &blind, &error), 0);
    assert_true(blind);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_blind_hub_says_at_once_what_it_will_refuse),
        cmocka_unit_test(a_database_says_what_kind_of_copy_it_is_without_being_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

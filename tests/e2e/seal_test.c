/* SPDX-License-Identifier: Apache-2.0 */
/* Sealed databases, as the users of the command meet them. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* As cheap as can be. */
#define CHEAP "--kdf-memory", "8", "--kdf-passes", "1"

static void write_secret(const char *name, const char *content)
{
    write_file(name, content, strlen(content));
    assert_int_equal(chmod(name, 0600), 0);
}

static int setup(void **state)
{
    world_begin(state);
    write_secret("pass", "correct horse\nsecond line\n");
    write_secret("wrong", "wrong horse\n");
    write_secret("new", "battery staple");
    write_secret("key", "0123456789abcdef0123456789abcdef");
    return 0;
}

static int teardown(void **state)
{
    unsetenv("BLAZEDB_PASSPHRASE_FILE");
    unsetenv("BLAZEDB_KEY_FILE");
    return world_end(state);
}

static void make(struct world *w, const char *db, const char *option, const char *file)
{
    must(w, "create", db, option, file, CHEAP, NULL);
    must(w, "insert", db, "c", "{\"n\":1}", option, file, NULL);
}

static void assert_opens(struct world *w, const char *db, const char *option, const char *file)
{
    const char *out = must(w, "find", db, "c", option, file, NULL);
    assert_string_equal(json_at(w, out, "n"), "1");
    assert_string_equal(json_at(w, must(w, "status", db, option, file, NULL), "sealed"), "true");
}

/* ---- files and variables ---- */

static void a_passphrase_file_seals_and_opens(void **state)
{
    struct world *w = *state;
    make(w, "a.blz", "--passphrase-file", "pass");
    assert_opens(w, "a.blz", "--passphrase-file", "pass");
    write_secret("bare", "correct horse"); /* the first line counts, without its newline */
    assert_opens(w, "a.blz", "--passphrase-file", "bare");

    refuse(w, 9, "a.blz: the passphrase is wrong", "find", "a.blz", "c", "--passphrase-file",
        "wrong", NULL);
    refuse(w, 9, "give --passphrase-file FILE or --key-file FILE, or set BLAZEDB_PASSPHRASE_FILE",
        "find", "a.blz", "c", NULL);
    refuse(w, 9, "with a passphrase, not with a key file", "find", "a.blz", "c", "--key-file",
        "key", NULL);
    refuse(w, 5, "already", "create", "a.blz", NULL);
}

static void a_key_file_seals_and_opens(void **state)
{
    struct world *w = *state;
    make(w, "a.blz", "--key-file", "key");
    assert_opens(w, "a.blz", "--key-file", "key");
    write_secret("other", "0123456789abcdef0123456789abcdeF");
    refuse(w, 9, "the key file is not the one", "check", "a.blz", "--key-file", "other", NULL);
    refuse(w, 4, "absent: No such file", "check", "a.blz", "--key-file", "absent", NULL);
    refuse(w, 3, "32 to 65536 bytes", "check", "a.blz", "--key-file", "new", NULL);
    refuse(
        w, 2, "not both", "check", "a.blz", "--key-file", "key", "--passphrase-file", "pass", NULL);
}

static void variables_do_what_the_options_do(void **state)
{
    struct world *w = *state;
    setenv("BLAZEDB_PASSPHRASE_FILE", "pass", 1);
    must(w, "create", "a.blz", CHEAP, NULL);
    must(w, "insert", "a.blz", "c", "{\"n\":1}", NULL);
    assert_string_equal(json_at(w, must(w, "status", "a.blz", NULL), "sealed"), "true");
    refuse(w, 9, "is wrong", "status", "a.blz", "--passphrase-file", "wrong", NULL);
    assert_opens(w, "a.blz", "--passphrase-file", "pass");
    make(w, "b.blz", "--key-file", "key"); /* an option wins */
    unsetenv("BLAZEDB_PASSPHRASE_FILE");
    refuse(w, 9, "is sealed", "status", "a.blz", NULL);
    setenv("BLAZEDB_KEY_FILE", "key", 1);
    must(w, "check", "b.blz", NULL);
    refuse(w, 9, "not with a key file", "status", "a.blz", NULL);
}

static void what_is_not_sealed_is_told_so(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);
    assert_string_equal(json_at(w, must(w, "status", "a.blz", NULL), "sealed"), "false");
    refuse(w, 3, "is not sealed", "status", "a.blz", "--passphrase-file", "pass", NULL);
    refuse(w, 3, "is not sealed", "passphrase", "a.blz", "--new-passphrase-file", "new", NULL);
}

static void a_bad_passphrase_file_is_named(void **state)
{
    struct world *w = *state;
    char many[1100];
    memset(many, 'x', sizeof many);
    write_secret("empty", "");
    write_secret("blank", "\nsecond\n");
    write_file("long", many, sizeof many);
    write_file("nul", "a\0b", 3);
    chmod("long", 0600);
    chmod("nul", 0600);
    refuse(w, 4, "absent: No such file", "create", "a.blz", "--passphrase-file", "absent", NULL);
    refuse(w, 3, "empty: the passphrase", "create", "a.blz", "--passphrase-file", "empty", NULL);
    refuse(w, 3, "blank: the passphrase", "create", "a.blz", "--passphrase-file", "blank", NULL);
    refuse(w, 3, "at most 1024 bytes", "create", "a.blz", "--passphrase-file", "long", NULL);
    refuse(w, 3, "a NUL", "create", "a.blz", "--passphrase-file", "nul", NULL);
    refuse(w, 3, "1 to 64 passes", "create", "a.blz", "--passphrase-file", "pass", "--kdf-passes",
        "65", NULL);
    refuse(w, 2, "--kdf-memory wants", "create", "a.blz", "--kdf-memory", "much", NULL);
    refuse(w, 4, "no database", "status", "a.blz", NULL);
}

static void a_file_that_others_can_read_is_warned_of(void **state)
{
    struct world *w = *state;
    assert_int_equal(chmod("pass", 0644), 0);
    struct outcome made = run(w, "create", "a.blz", "--passphrase-file", "pass", CHEAP, NULL);
    assert_int_equal(made.code, 0);
    assert_non_null(strstr(made.err, "pass: warning: others than its owner can read it"));
    assert_int_equal(chmod("key", 0640), 0);
    made = run(w, "create", "b.blz", "--key-file", "key", NULL);
    assert_int_equal(made.code, 0);
    assert_non_null(strstr(made.err, "key: warning: others than its owner can read it"));
}

/* ---- changing ---- */

static void a_passphrase_is_changed(void **state)
{
    struct world *w = *state;
    make(w, "a.blz", "--passphrase-file", "pass");
    refuse(w, 9, "is wrong", "passphrase", "a.blz", "--passphrase-file", "wrong",
        "--new-passphrase-file", "new", NULL);
    refuse(w, 2, "give --new-passphrase-file FILE", "passphrase", "a.blz", "--passphrase-file",
        "pass", NULL);
    refuse(w, 4, "no database", "passphrase", "b.blz", NULL);

    const char *out = must(w, "passphrase", "a.blz", "--passphrase-file", "pass",
        "--new-passphrase-file", "new", CHEAP, NULL);
    assert_string_equal(json_at(w, out, "opens_with"), "passphrase");
    assert_opens(w, "a.blz", "--passphrase-file", "new");
    refuse(w, 9, "is wrong", "status", "a.blz", "--passphrase-file", "pass", NULL);

    out = must(w, "passphrase", "a.blz", "--passphrase-file", "new", "--new-key-file", "key", NULL);
    assert_string_equal(json_at(w, out, "opens_with"), "key file");
    assert_opens(w, "a.blz", "--key-file", "key");
}

static void a_damaged_key_is_told_from_a_wrong_passphrase(void **state)
{
    struct world *w = *state;
    make(w, "a.blz", "--passphrase-file", "pass");
    FILE *file = fopen("a.blz/key", "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, 60, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, 60, SEEK_SET), 0);
    fputc(byte ^ 1, file);
    assert_int_equal(fclose(file), 0);
    refuse(w, 7, "a.blz/key: damaged", "status", "a.blz", "--passphrase-file", "pass", NULL);
}

static void a_database_is_rewritten_under_another_key(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);
    must(w, "insert", "a.blz", "c", "{\"n\":1}", NULL);
    const char *before = must(w, "status", "a.blz", NULL);
    refuse(w, 2, "is not sealed: to seal it give", "rekey", "a.blz", NULL);

    const char *out = must(w, "rekey", "a.blz", "--new-passphrase-file", "pass", CHEAP, NULL);
    assert_string_equal(json_at(w, out, "opens_with"), "passphrase");
    assert_opens(w, "a.blz", "--passphrase-file", "pass");
    must(w, "rekey", "a.blz", "--passphrase-file", "pass", CHEAP, NULL);
    assert_opens(w, "a.blz", "--passphrase-file", "pass");
    out = must(w, "rekey", "a.blz", "--passphrase-file", "pass", "--new-key-file", "key", NULL);
    assert_string_equal(json_at(w, out, "opens_with"), "key file");
    must(w, "rekey", "a.blz", "--key-file", "key", NULL);
    assert_opens(w, "a.blz", "--key-file", "key");

    refuse(w, 9, "is sealed", "rekey", "a.blz", "--unseal", NULL);
    refuse(w, 2, "--unseal wants no new", "rekey", "a.blz", "--key-file", "key", "--unseal",
        "--new-passphrase-file", "new", NULL);
    out = must(w, "rekey", "a.blz", "--key-file", "key", "--unseal", NULL);
    assert_string_equal(json_at(w, out, "opens_with"), "nothing");
    const char *after = must(w, "status", "a.blz", NULL);
    static const char *const kept[] = {"database", "node", "digest", "records", "writes", "vv"};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        assert_string_equal(json_at(w, before, kept[i]), json_at(w, after, kept[i]));
    must(w, "check", "a.blz", NULL);
}

static void what_is_in_use_is_not_rewritten(void **state)
{
    struct world *w = *state;
    make(w, "a.blz", "--passphrase-file", "pass");
    struct process *watch = start(w, "watch", "a.blz", "--passphrase-file", "pass", NULL);
    await_line(watch, "watching");
    refuse(w, 6, "in use by another", "rekey", "a.blz", "--passphrase-file", "pass", NULL);
    must(w, "passphrase", "a.blz", "--passphrase-file", "pass", "--new-passphrase-file", "new",
        CHEAP, NULL); /* which does not mind */
    must(w, "insert", "a.blz", "c", "{}", "--passphrase-file", "new", NULL);
    await_line(watch, "_id");
    send_signal(watch, 15);
    assert_int_equal(await_end(watch), 0);
    must(w, "rekey", "a.blz", "--passphrase-file", "new", CHEAP, NULL);
}

/* ---- on a terminal ---- */

static void a_terminal_is_asked(void **state)
{
    struct world *w = *state;
    struct process *p = start_on_terminal(w, "create", "a.blz", "--passphrase", CHEAP, NULL);
    await_text(p, "new passphrase of a.blz: ");
    type_line(p, "correct horse");
    await_text(p, "the same again: ");
    type_line(p, "correct horse");
    struct outcome made = finish(w, p);
    assert_int_equal(made.code, 0);
    assert_null(strstr(made.out, "horse")); /* not shown */
    must(w, "insert", "a.blz", "c", "{\"n\":1}", "--passphrase-file", "pass", NULL);

    p = start_on_terminal(w, "find", "a.blz", "c", "--json", NULL);
    await_text(p, "passphrase of a.blz: ");
    type_line(p, "correct horse");
    struct outcome found = finish(w, p);
    assert_int_equal(found.code, 0);
    assert_non_null(strstr(found.out, "\"n\":1"));

    p = start_on_terminal(w, "find", "a.blz", "c", NULL);
    await_text(p, "passphrase of a.blz: ");
    type_line(p, "wrong horse");
    assert_int_equal(await_end(p), 9);

    p = start_on_terminal(w, "passphrase", "a.blz", CHEAP, NULL);
    await_text(p, "passphrase of a.blz: ");
    type_line(p, "correct horse");
    await_text(p, "new passphrase of a.blz: ");
    type_line(p, "battery staple");
    await_text(p, "the same again: ");
    type_line(p, "battery staple");
    assert_int_equal(await_end(p), 0);
    assert_opens(w, "a.blz", "--passphrase-file", "new");
}

static void a_passphrase_typed_wrongly_makes_nothing(void **state)
{
    struct world *w = *state;
    struct process *p = start_on_terminal(w, "create", "a.blz", "--passphrase", CHEAP, NULL);
    await_text(p, "new passphrase of a.blz: ");
    type_line(p, "correct horse");
    await_text(p, "the same again: ");
    type_line(p, "correct house");
    struct outcome made = finish(w, p);
    assert_int_equal(made.code, 3);
    assert_non_null(strstr(made.out, "two different ones"));

    p = start_on_terminal(w, "create", "a.blz", "--passphrase", NULL);
    await_text(p, "new passphrase of a.blz: ");
    type_line(p, "");
    assert_int_equal(await_end(p), 3);
    refuse(w, 4, "no database", "status", "a.blz", NULL);
    refuse(w, 2, "there is no terminal", "create", "a.blz", "--passphrase", NULL);
}

/* ---- copies ---- */

static void copies_and_hubs_are_sealed_each_by_its_own(void **state)
{
    struct world *w = *state;
    struct hub hub = {.directory = "hub"};
    hub.process = start(
        w, "serve", "hub", "--listen", "tcp://127.0.0.1:0", "--trusted", "--key-file", "key", NULL);
    hub.url = json_at(w, next_line(hub.process), "listening");
    make(w, "a.blz", "--passphrase-file", "pass");
    const char *code = json_at(w,
        must(w, "share", "a.blz", hub.url, "--trusted", "--passphrase-file", "pass", NULL), "code");
    must(w, "join", "b.blz", code, "--passphrase-file", "new", CHEAP, NULL);
    assert_opens(w, "b.blz", "--passphrase-file", "new");
    must(w, "join", "c.blz", code, NULL);
    assert_string_equal(json_at(w, must(w, "status", "c.blz", NULL), "sealed"), "false");
    must(w, "sync", "b.blz", "--passphrase-file", "new", NULL);
    stop_hub(&hub);

    const char *id = json_at(w, must(w, "status", "c.blz", NULL), "database");
    const char *hosted = text(w, "hub/%s.blz", id);
    refuse(w, 9, "is sealed", "status", hosted, NULL);
    assert_opens(w, hosted, "--key-file", "key");

    struct hub bare = start_hub(w, "hub", "tcp://127.0.0.1:0");
    struct outcome synced = run(w, "share", "c.blz", bare.url, NULL);
    assert_int_not_equal(synced.code, 0);
    stop_hub(&bare);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_passphrase_file_seals_and_opens),
        TEST(a_key_file_seals_and_opens),
        TEST(variables_do_what_the_options_do),
        TEST(what_is_not_sealed_is_told_so),
        TEST(a_bad_passphrase_file_is_named),
        TEST(a_file_that_others_can_read_is_warned_of),
        TEST(a_passphrase_is_changed),
        TEST(a_damaged_key_is_told_from_a_wrong_passphrase),
        TEST(a_database_is_rewritten_under_another_key),
        TEST(what_is_in_use_is_not_rewritten),
        TEST(a_terminal_is_asked),
        TEST(a_passphrase_typed_wrongly_makes_nothing),
        TEST(copies_and_hubs_are_sealed_each_by_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The command as its users meet it: what it prints, and how it refuses. */
#include "world.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID_1 "0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a01"
#define ID_2 "0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a02"
#define ID_3 "0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a03"

static void write_text(const char *name, const char *content)
{
    write_file(name, content, strlen(content));
}

static uint64_t count(struct world *w, const char *db, const char *filter)
{
    return json_number(w, must(w, "find", db, "c", filter, "--count", NULL), "count");
}

/* `open` and `close` around `n` of `middle`. */
static void write_repeated(
    const char *name, const char *open, const char *middle, size_t n, const char *close)
{
    FILE *file = fopen(name, "wb");
    assert_non_null(file);
    fputs(open, file);
    for (size_t i = 0; i < n; i++)
        fprintf(file, middle, (unsigned)i);
    fputs(close, file);
    assert_int_equal(fclose(file), 0);
}

/* ---- what it does ---- */

static void a_record_goes_through_its_whole_life(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);
    const char *out = must(w, "insert", "a.blz", "c", "{\"name\":\"Vila\",\"n\":1}", NULL);
    const char *id = json_at(w, out, "_id");
    const char *record = must(w, "get", "a.blz", "c", id, NULL);
    assert_string_equal(record, text(w, "{\"_id\":\"%s\",\"n\":1,\"name\":\"Vila\"}\n", id));

    must(w, "update", "a.blz", "c", id, "{\"n\":2,\"new\":[1,{}]}", NULL);
    record = must(w, "get", "a.blz", "c", id, NULL);
    assert_string_equal(json_at(w, record, "n"), "2");
    assert_string_equal(json_at(w, record, "name"), "Vila");
    assert_string_equal(json_at(w, record, "new"), "[1,{}]");

    must(w, "update", "a.blz", "c", id, "{\"new\":{\"$unset\":true}}", NULL);
    assert_null(strstr(must(w, "get", "a.blz", "c", id, NULL), "new"));

    must(w, "put", "a.blz", "c", id, "{}", NULL);
    assert_string_equal(must(w, "get", "a.blz", "c", id, NULL), text(w, "{\"_id\":\"%s\"}\n", id));

    must(w, "delete", "a.blz", "c", id, NULL);
    refuse(w, 1, "no record", "get", "a.blz", "c", id, NULL);
    refuse(w, 1, "no record", "update", "a.blz", "c", id, "{}", NULL);
    refuse(w, 1, "no record", "delete", "a.blz", "c", id, NULL);
    must(w, "check", "a.blz", NULL);
}

static void what_get_prints_is_what_put_and_insert_take(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);
    must(w, "insert", "a.blz", "c", "{\"n\":1}", "--id", ID_1, NULL);
    const char *record = must(w, "get", "a.blz", "c", ID_1, NULL);
    write_text("record.json", record);
    w->input = "record.json";
    must(w, "put", "a.blz", "c", ID_1, "-", NULL);
    assert_string_equal(must(w, "get", "a.blz", "c", ID_1, NULL), record);
    refuse(w, 2, "_id", "put", "a.blz", "c", ID_2, "-", NULL);
    refuse(w, 5, "", "insert", "a.blz", "c", "-", NULL);
    assert_string_equal(
        json_at(w, must(w, "insert", "a.blz", "c", "-", "--id", ID_2, NULL), "_id"), ID_2);
    assert_string_equal(json_at(w, must(w, "insert", "a.blz", "d", record, NULL), "_id"), ID_1);
    assert_string_equal(must(w, "get", "a.blz", "d", ID_1, NULL), record);
    refuse(w, 2, "_id", "insert", "a.blz", "c", "{\"_id\":\"no\"}", NULL);
}

static void every_kind_of_value_comes_back_as_it_went_in(void **state)
{
    struct world *w = *state;
    static const char values[] =
        "{\"null\":null,\"yes\":true,\"least\":-9223372036854775808,"
        "\"most\":9223372036854775807,\"half\":0.5,\"text\":\"a\\u0000b \\u00e9 \\ud83d\\ude00\","
        "\"bytes\":{\"$bytes\":\"AAEC/w==\"},\"date\":{\"$date\":\"2024-02-29T12:34:56.789Z\"},"
        "\"uuid\":{\"$uuid\":\"" ID_2 "\"},\"list\":[1,[],{}],\"map\":{\"a\":{\"b\":1}}}";
    must(w, "create", "a.blz", NULL);
    must(w, "insert", "a.blz", "c", values, "--id", ID_1, NULL);
    const char *once = must(w, "get", "a.blz", "c", ID_1, NULL);
    assert_string_equal(json_at(w, once, "least"), "-9223372036854775808");
    assert_string_equal(json_at(w, once, "most"), "9223372036854775807");
    assert_string_equal(json_at(w, once, "half"), "0.5");
    assert_non_null(strstr(once, "{\"$bytes\":\"AAEC/w==\"}"));
    assert_non_null(strstr(once, "{\"$date\":\"2024-02-29T12:34:56.789Z\"}"));
    assert_non_null(strstr(once, "{\"$uuid\":\"" ID_2 "\"}"));

    /* Out by export and in by import, everything is the same again. */
    write_text("out.jsonl", must(w, "export", "a.blz", "c", NULL));
    must(w, "create", "b.blz", NULL);
    must(w, "import", "b.blz", "c", "out.jsonl", NULL);
    assert_string_equal(must(w, "get", "b.blz", "c", ID_1, NULL), once);
}

static void find_filters_sorts_limits_and_counts(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);
    write_text(
        "in.jsonl", "{\"k\":\"a\",\"n\":3}\n{\"k\":\"b\",\"n\":1}\n\n{\"k\":\"b\",\"n\":2}\n");
    assert_int_equal(
        json_number(w, must(w, "import", "a.blz", "c", "in.jsonl", NULL), "imported"), 3);
    assert_int_equal(count(w, "a.blz", "k = \"b\""), 2);
    assert_int_equal(count(w, "a.blz", "not (k = \"b\") or n in [1, 7]"), 2);

    const char *found = must(w, "find", "a.blz", "c", "n > 1", "--sort", "n:desc", NULL);
    assert_string_equal(json_at(w, found, "n"), "3");
    assert_string_equal(json_at(w, strchr(found, '\n') + 1, "n"), "2");
    found = must(w, "find", "a.blz", "c", "--sort=n", "--limit", "1", NULL);
    assert_string_equal(json_at(w, found, "n"), "1");
    assert_string_equal(strchr(found, '\n'), "\n");
    assert_string_equal(must(w, "find", "a.blz", "c", "n > 100", NULL), "");

    /* An index changes how it is done and not what is found. */
    must(w, "index", "a.blz", "c", "k", "--name", "by k", NULL);
    assert_non_null(strstr(must(w, "explain", "a.blz", "c", "k = \"b\"", NULL), "by k"));
    assert_int_equal(count(w, "a.blz", "k = \"b\""), 2);
    assert_string_equal(
        must(w, "indexes", "a.blz", "c", NULL), "{\"name\":\"by k\",\"field\":\"k\"}\n");
    refuse(w, 5, "already", "index", "a.blz", "c", "k", "--name", "by k", NULL);
    must(w, "index", "a.blz", "c", "by k", "--drop", NULL);
    refuse(w, 4, "no index", "index", "a.blz", "c", "by k", "--drop", NULL);
    assert_string_equal(must(w, "indexes", "a.blz", "c", NULL), "");
}

static void an_import_by_a_field_may_be_repeated(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);
    write_text("in.json", "[ {\"k\":\"x\",\"n\":1},\n {\"k\":\"y\",\"n\":2},\n{\"k\":7} ]\n");
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            json_number(w,
                must(w, "import", "a.blz", "c", "in.json", "--format", "json", "--id", "k", NULL),
                "imported"),
            3);
    assert_int_equal(json_number(w, must(w, "status", "a.blz", NULL), "records"), 3);

    /* The ids are UUIDv5 of the value in a space named after the collection: they are the same on
     * every machine and for every program. */
    const char *x = must(w, "find", "a.blz", "c", "k = \"x\"", NULL);
    assert_string_equal(json_at(w, x, "_id"), "96976a2f-8b48-59c4-bd2c-f257931ea552");

    /* An "_id" in the object goes before. */
    write_text("one.json", "{\"_id\":\"" ID_1 "\",\"k\":\"x\",\"n\":9}");
    w->input = "one.json";
    must(w, "import", "a.blz", "c", "-", "--format", "json", "--id", "k", NULL);
    assert_string_equal(json_at(w, must(w, "get", "a.blz", "c", ID_1, NULL), "n"), "9");
    assert_int_equal(count(w, "a.blz", "k = \"x\""), 2);
}

static void a_document_may_come_from_the_standard_input(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);
    write_text("in.json", "{\"n\":\n1}\n");
    w->input = "in.json";
    must(w, "insert", "a.blz", "c", "-", "--id", ID_1, NULL);
    assert_string_equal(json_at(w, must(w, "get", "a.blz", "c", ID_1, NULL), "n"), "1");
}

static void status_tells_what_there_is(void **state)
{
    struct world *w = *state;
    const char *made = must(w, "create", "a.blz", "--role", "server", NULL);
    const char *before = must(w, "status", "a.blz", NULL);
    assert_int_equal(json_number(w, before, "records"), 0);
    must(w, "insert", "a.blz", "c", "{\"n\":1}", NULL);
    must(w, "insert", "a.blz", "quoted \"c\"", "{\"n\":1}", NULL);
    const char *status = must(w, "status", "a.blz", NULL);
    assert_string_equal(json_at(w, status, "role"), "server");
    assert_string_equal(json_at(w, status, "database"), json_at(w, made, "database"));
    assert_string_equal(json_at(w, status, "node"), json_at(w, made, "node"));
    assert_int_equal(json_number(w, status, "records"), 2);
    assert_int_equal(json_number(w, status, "collections.c"), 1);
    assert_int_equal(json_number(w, status, "collections.quoted \"c\""), 1);
    assert_int_equal(json_number(w, status, text(w, "vv.%s", json_at(w, made, "node"))), 2);
    assert_int_equal(json_number(w, status, "conflicts"), 0);
    assert_int_equal(strlen(json_at(w, status, "digest")), 32);
    assert_string_not_equal(json_at(w, status, "digest"), json_at(w, before, "digest"));
    assert_string_equal(json_at(w, status, "peers"), "[]");
    assert_string_equal(must(w, "conflicts", "a.blz", "c", NULL), "");
}

static void what_is_left_of_deleted_records_is_collected(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);
    must(w, "insert", "a.blz", "c", "{\"n\":1}", "--id", ID_1, NULL);
    must(w, "insert", "a.blz", "c", "{\"n\":2}", "--id", ID_2, NULL);
    must(w, "insert", "a.blz", "c", "{\"n\":3}", "--id", ID_3, NULL);
    must(w, "delete", "a.blz", "c", ID_1, NULL);
    must(w, "delete", "a.blz", "c", ID_2, NULL);
    const char *status = must(w, "status", "a.blz", NULL);
    assert_int_equal(json_number(w, status, "deleted.waiting"), 2);
    assert_int_equal(json_number(w, status, "deleted.collected"), 0);
    assert_string_equal(must(w, "collect", "a.blz", NULL), "{\"collected\":2}\n");
    assert_string_equal(must(w, "collect", "a.blz", NULL), "{\"collected\":0}\n");
    must(w, "insert", "a.blz", "c", "{\"anew\":2}", "--id", ID_2, NULL);
    assert_string_equal(
        must(w, "get", "a.blz", "c", ID_2, NULL), "{\"_id\":\"" ID_2 "\",\"anew\":2}\n");
    must(w, "delete", "a.blz", "c", ID_3, NULL);
    assert_string_equal(must(w, "collect", "a.blz", NULL), "{\"collected\":1}\n");
    status = must(w, "status", "a.blz", NULL);
    assert_int_equal(json_number(w, status, "deleted.waiting"), 0);
    assert_int_equal(json_number(w, status, "deleted.collected"), 3);
    assert_int_equal(json_number(w, status, "records"), 1);
    must(w, "check", "a.blz", NULL);
}

static void the_retention_is_in_days_and_parts_of_them(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);
    assert_string_equal(must(w, "retention", "a.blz", NULL), "{\"days\":30}\n");
    assert_string_equal(must(w, "retention", "a.blz", "0.0005", NULL), "{\"days\":0.0005}\n");
    assert_string_equal(must(w, "retention", "a.blz", NULL), "{\"days\":0.0005}\n");
    const char *status = must(w, "status", "a.blz", NULL);
    assert_string_equal(json_at(w, status, "deleted.retention_days"), "0.0005");
    must(w, "retention", "a.blz", "36500", NULL);
    static const char *const bad[] = {"36501", "x", "1d", "", "nan"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuse(w, 2, "0 to 36500", "retention", "a.blz", bad[i], NULL);
    assert_string_equal(must(w, "retention", "a.blz", NULL), "{\"days\":36500}\n");
}

static void tables_are_for_people(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);
    must(w, "insert", "a.blz", "c", "{\"name\":\"Sofia\",\"n\":1}", "--id", ID_1, NULL);
    must(w, "insert", "a.blz", "c", "{\"name\":\"Ob\"}", "--id", ID_2, NULL);
    const char *table = must(w, "find", "a.blz", "c", "--table", NULL);
    assert_string_equal(table,
        "_id                                   n  name\n"
        "------------------------------------  -  -----\n" ID_1 "  1  Sofia\n" ID_2 "     Ob\n");
    assert_non_null(strstr(must(w, "status", "a.blz", "--table", NULL), "records      2\n"));
    assert_non_null(strstr(must(w, "find", "a.blz", "c", "--count", "--table", NULL), "count  2"));
}

static void on_a_terminal_there_are_tables_and_bars(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);
    write_repeated("in.jsonl", "", "{\"n\":%u}\n", 60000, "");
    const char *shown = on_terminal(w, "import", "a.blz", "c", "in.jsonl", NULL);
    assert_non_null(strstr(shown, "imported  60000"));
    assert_non_null(strstr(shown, "] "));
    assert_non_null(strstr(shown, " records  "));
    shown = on_terminal(w, "import", "a.blz", "d", "in.jsonl", "--no-progress", "--json", NULL);
    assert_null(strstr(shown, "] "));
    assert_non_null(strstr(shown, "{\"imported\":60000,"));
    shown = on_terminal(w, "find", "a.blz", "c", "n = 7", NULL);
    assert_non_null(strstr(shown, "_id"));
    assert_non_null(strstr(shown, "---"));
}

static void a_watcher_sees_the_writes_of_other_processes(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);
    struct process *watcher = start(w, "watch", "a.blz", "c", NULL);
    await_line(watcher, "watching");
    must(w, "insert", "a.blz", "other", "{}", NULL);
    must(w, "insert", "a.blz", "c", "{}", "--id", ID_1, NULL);
    const char *line = next_line(watcher);
    assert_string_equal(json_at(w, line, "_id"), ID_1);
    assert_string_equal(json_at(w, line, "remote"), "false");
    must(w, "delete", "a.blz", "c", ID_1, NULL);
    do
        line = next_line(watcher);
    while (strcmp(json_at(w, line, "deleted"), "true") != 0);
    send_signal(watcher, SIGINT);
    assert_int_equal(await_end(watcher), 0);
}

/* ---- how it refuses ---- */

static void a_wrong_command_line_says_what_is_wrong_with_it(void **state)
{
    struct world *w = *state;
    refuse(w, 2, "no such command", "frobnicate", NULL);
    refuse(w, 2, "it wants DB", "create", NULL);
    refuse(w, 2, "one argument too many: b", "create", "a.blz", "b", NULL);
    refuse(w, 2, "there is no option --rule", "create", "a.blz", "--rule", "x", NULL);
    refuse(w, 2, "--role wants a value", "create", "a.blz", "--role", NULL);
    refuse(w, 2, "client or server", "create", "a.blz", "--role", "boss", NULL);
    must(w, "create", "a.blz", NULL);
    refuse(w, 2, "not an id", "get", "a.blz", "c", "17", NULL);
    refuse(w, 2, "--limit wants a whole number", "find", "a.blz", "c", "--limit", "ten", NULL);
    refuse(w, 2, "FIELD:desc", "find", "a.blz", "c", "--sort", "n:down", NULL);
    refuse(w, 2, "--format wants", "import", "a.blz", "c", "-", "--format", "csv", NULL);
    refuse(w, 2, "where to listen", "serve", "hub", NULL);
    struct outcome bare = run(w, NULL);
    assert_int_equal(bare.code, 2);
    assert_non_null(strstr(bare.out, "usage:"));
    assert_non_null(strstr(must(w, "--version", NULL), "blazedb 0."));
    assert_non_null(strstr(must(w, "help", NULL), "conflicts"));
    assert_non_null(strstr(must(w, "import", "--help", NULL), "example:"));
    assert_string_equal(must(w, "help", "sync", NULL), must(w, "sync", "--help", NULL));
}

static void what_is_not_there_is_named(void **state)
{
    struct world *w = *state;
    refuse(w, 4, "blazedb create none.blz", "status", "none.blz", NULL);
    refuse(w, 4, "no database here", "insert", "none.blz", "c", "{}", NULL);
    must(w, "create", "a.blz", NULL);
    refuse(w, 5, "already", "create", "a.blz", NULL);
    refuse(w, 4, "the database is empty", "find", "a.blz", "c", NULL);
    must(w, "insert", "a.blz", "towns", "{}", NULL);
    refuse(w, 4, "none.blz", "collect", "none.blz", NULL);
    refuse(w, 4, "none.blz", "retention", "none.blz", "1", NULL);
    refuse(w, 4, "blazedb status", "forget", "a.blz", ID_1, NULL);
    refuse(w, 2, "id", "forget", "a.blz", "x", NULL);
    refuse(w, 4, "no collection c: there are towns", "find", "a.blz", "c", NULL);
    refuse(w, 4, "no collection", "export", "a.blz", "c", NULL);
    refuse(w, 4, "no collection", "indexes", "a.blz", "c", NULL);
    refuse(w, 1, "no collection", "get", "a.blz", "c", ID_1, NULL);
    refuse(w, 1, "no record", "get", "a.blz", "towns", ID_1, NULL);
    refuse(w, 4, "none.jsonl", "import", "a.blz", "c", "none.jsonl", NULL);
    refuse(w, 5, "already", "insert", "a.blz", "towns", "{}", "--id",
        json_at(w, must(w, "find", "a.blz", "towns", NULL), "_id"), NULL);
}

static void a_document_that_cannot_be_kept_is_refused_and_harms_nothing(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);
    must(w, "insert", "a.blz", "c", "{\"n\":1}", "--id", ID_1, NULL);
    const char *digest = json_at(w, must(w, "status", "a.blz", NULL), "digest");

    static const char *const bad[] = {
        "",
        "{\"n\":1",
        "{\"n\":1}}",
        "[1]",
        "17",
        "{\"n\":9223372036854775808}",
        "{\"n\":-9223372036854775809}",
        "{\"n\":NaN}",
        "{\"n\":1e999}",
        "{\"n\":\"\xff\"}",
        "{\"n\":\"\\ud800\"}",
        "{\"n\":1,\"n\":2}",
        "{\"\":1}",
        "{\"n\":{\"$date\":\"yesterday\"}}",
        "{\"n\":{\"$uuid\":\"7\"}}",
        "{\"n\":{\"$bytes\":\"?\"}}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuse(w, 3, "", "put", "a.blz", "c", ID_1, bad[i], NULL);
    refuse(w, 3, "", "insert", "a.blz", "c", "{\"n\":{\"$unset\":true}}", NULL);
    refuse(w, 3, "", "insert", "a.blz", "", "{}", NULL);
    refuse(w, 3, "", "insert", "a.blz", "line\nbreak", "{}", NULL);
    assert_string_equal(json_at(w, must(w, "status", "a.blz", NULL), "digest"), digest);
}

static void a_document_at_a_limit_is_kept_and_one_over_it_is_not(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);

    w->input = "fields.json";
    write_repeated("fields.json", "{", "\"f%u\":0,", 4095, "\"last\":0}");
    must(w, "insert", "a.blz", "c", "-", NULL);
    write_repeated("fields.json", "{", "\"f%u\":0,", 4096, "\"last\":0}");
    refuse(w, 3, "4096", "insert", "a.blz", "c", "-", NULL);

    w->input = "deep.json";
    write_repeated("deep.json", "{\"a\":", "[", 63, "");
    FILE *file = fopen("deep.json", "ab");
    for (int i = 0; i < 63; i++)
        fputc(']', file);
    fputc('}', file);
    fclose(file);
    must(w, "insert", "a.blz", "c", "-", NULL);
    write_repeated("deep.json", "{\"a\":", "[", 64, "");
    file = fopen("deep.json", "ab");
    for (int i = 0; i < 64; i++)
        fputc(']', file);
    fputc('}', file);
    fclose(file);
    refuse(w, 3, "64", "insert", "a.blz", "c", "-", NULL);

    w->input = "long.json";
    write_repeated("long.json", "{\"", "n", 255, "\":1}");
    must(w, "insert", "a.blz", "c", "-", NULL);
    write_repeated("long.json", "{\"", "n", 256, "\":1}");
    refuse(w, 3, "255", "insert", "a.blz", "c", "-", NULL);

    write_repeated("long.json", "{\"t\":\"", "0123456789abcdef", (1u << 20) - 64, "\"}");
    must(w, "insert", "a.blz", "c", "-", NULL);
    write_repeated("long.json", "{\"t\":\"", "0123456789abcdef", 1u << 20, "\"}");
    refuse(w, 3, "16 MiB", "insert", "a.blz", "c", "-", NULL);
    assert_int_equal(json_number(w, must(w, "status", "a.blz", NULL), "records"), 4);
    must(w, "check", "a.blz", NULL);
}

static void an_import_commits_what_stood_before_the_bad_line_and_names_it(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);
    write_text("in.jsonl", "{\"n\":1}\n{\"n\":2}\n\n{\"n\":3,}\n{\"n\":4}\n");
    struct outcome outcome = run(w, "import", "a.blz", "c", "in.jsonl", NULL);
    assert_int_equal(outcome.code, 3);
    assert_non_null(strstr(outcome.err, "blazedb: in.jsonl: line 4"));
    assert_int_equal(json_number(w, outcome.out, "imported"), 2);
    assert_int_equal(count(w, "a.blz", "n > 0"), 2);

    write_text("in.jsonl", "{\"k\":1}\n{\"n\":18446744073709551616}\n");
    refuse(w, 3, "line 2", "import", "a.blz", "d", "in.jsonl", NULL);
    write_text("in.jsonl", "{\"k\":1}\n{\"n\":1}\n");
    refuse(w, 3, "line 2", "import", "a.blz", "d", "in.jsonl", "--id", "k", NULL);
    write_text("in.jsonl", "{\"_id\":\"seven\"}\n");
    refuse(w, 3, "line 1", "import", "a.blz", "d", "in.jsonl", NULL);
    write_text("in.json", "[{\"n\":1},\n{\"n\":2},\n7]");
    refuse(w, 3, "line 3: expected an object", "import", "a.blz", "d", "in.json", "--format",
        "json", NULL);
    write_text("in.json", "[{\"n\":1},\n{\"n\":\n2");
    refuse(w, 3, "line 2: the file ends within", "import", "a.blz", "d", "in.json", "--format",
        "json", NULL);
    write_text("in.json", "[{\"n\":1},]");
    refuse(w, 3, "line 1: expected an object", "import", "a.blz", "d", "in.json", "--format",
        "json", NULL);
    must(w, "check", "a.blz", NULL);
}

static void a_file_that_was_cut_off_is_told_of_in_one_line(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);
    assert_int_equal(truncate("a.blz/manifest", 20), 0);
    struct outcome outcome = run(w, "status", "a.blz", NULL);
    assert_int_equal(outcome.code, 7);
    assert_memory_equal(outcome.err, "blazedb: ", 9);
    assert_ptr_equal(strchr(outcome.err, '\n') + 1, outcome.err + strlen(outcome.err));
}

static void a_filter_that_cannot_be_read_names_the_column(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);
    must(w, "insert", "a.blz", "c", "{\"n\":1}", NULL);
    refuse(w, 3, "column", "find", "a.blz", "c", "n = ", NULL);
    refuse(w, 3, "column", "find", "a.blz", "c", "(n = 1", NULL);
    refuse(w, 3, "column", "find", "a.blz", "c", "n = 1 n", NULL);
    refuse(w, 3, "column", "find", "a.blz", "c", "n = \"open", NULL);
    refuse(w, 3, "", "find", "a.blz", "c", "n = 99999999999999999999", NULL);
    refuse(w, 3, "column", "explain", "a.blz", "c", "and", NULL);
}

/* The newest segment of a database's log, and where its last byte that is not zero stands. */
static const char *newest_segment(struct world *w, const char *db, long *end)
{
    char newest[256] = "";
    const char *directory = text(w, "%s/log", db);
    DIR *dir = opendir(directory);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, newest) > 0)
            snprintf(newest, sizeof newest, "%s", entry->d_name);
    closedir(dir);
    const char *path = text(w, "%s/%s", directory, newest);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char bytes[65536];
    size_t got, before = 0;
    *end = 0;
    while ((got = fread(bytes, 1, sizeof bytes, file)) > 0) {
        for (size_t i = 0; i < got; i++)
            if (bytes[i] != 0)
                *end = (long)(before + i + 1);
        before += got;
    }
    fclose(file);
    return path;
}

static void flip_byte(const char *path, long at)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    int c = fgetc(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    fputc(c ^ 0x40, file);
    assert_int_equal(fclose(file), 0);
}

/* Commits two transactions and is killed: nobody has moved them from the log into the base. */
static void commit_and_die(struct world *w, const char *db)
{
    assert_int_equal(mkfifo("in.jsonl", 0600), 0);
    struct process *import = start(w, "import", db, "c", "in.jsonl", NULL);
    FILE *in = fopen("in.jsonl", "w");
    assert_non_null(in);
    for (int i = 0; i < 10000; i++) /* just two transactions */
        fprintf(in, "{\"n\":%d}\n", i);
    /* A pipe does not hold this much: when it has been written, the import has come back to read
     * on, and so has committed what stands before. */
    for (int i = 0; i < 1 << 20; i++)
        fputc(' ', in);
    fflush(in);
    send_signal(import, SIGKILL);
    await_end(import);
    fclose(in);
}

static void damage_is_named_and_a_torn_end_is_not_damage(void **state)
{
    struct world *w = *state;
    long end;
    must(w, "create", "a.blz", NULL);
    commit_and_die(w, "a.blz");
    const char *segment = newest_segment(w, "a.blz", &end);

    const char *whole = must(w, "export", "a.blz", "c", NULL);

    /* A commit that does not verify: what was before it is read, and nothing is written. */
    flip_byte(segment, end / 4);
    struct outcome outcome = run(w, "export", "a.blz", "c", NULL);
    assert_int_equal(outcome.code, 0);
    assert_non_null(strstr(outcome.err, segment));
    assert_ptr_equal(strchr(outcome.err, '\n') + 1, outcome.err + strlen(outcome.err));
    assert_true(strlen(outcome.out) < strlen(whole));
    uint64_t lines = 0;
    for (const char *at = outcome.out; *at != '\0'; at++)
        lines += *at == '\n';
    outcome = run(w, "status", "a.blz", NULL);
    assert_int_equal(outcome.code, 0);
    assert_int_equal(json_number(w, outcome.out, "records"), lines);
    assert_true(lines % 5000 == 0);
    assert_non_null(strstr(json_at(w, outcome.out, "damaged"), segment));
    outcome = run(w, "check", "a.blz", NULL);
    assert_int_equal(outcome.code, 7);
    assert_non_null(strstr(outcome.out, segment));
    refuse(w, 7, "read-only", "insert", "a.blz", "c", "{}", NULL);
    refuse(w, 7, segment, "put", "a.blz", "c", ID_1, "{}", NULL);
    flip_byte(segment, end / 4);
    assert_string_equal(must(w, "export", "a.blz", "c", NULL), whole);

    /* The last commit is damaged: it is known that it was there. */
    flip_byte(segment, end - 1);
    refuse(w, 7, "was on the disk", "insert", "a.blz", "c", "{}", NULL);

    /* Were that not known, it would be a torn end, as a power cut may leave it: it never was. */
    assert_int_equal(unlink("a.blz/lock"), 0);
    assert_int_equal(json_number(w, must(w, "status", "a.blz", NULL), "records"), 5000);
    must(w, "check", "a.blz", NULL);
}

static void a_damaged_identity_is_named(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);
    must(w, "insert", "a.blz", "c", "{}", NULL);
    write_text("a.blz/manifest", "this is no database");
    struct outcome outcome = run(w, "status", "a.blz", NULL);
    assert_int_equal(outcome.code, 7);
    assert_non_null(strstr(outcome.err, "manifest"));
}

static void a_full_disk_stops_an_import_and_what_was_committed_stays(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);
    must(w, "insert", "a.blz", "c", "{\"n\":\"kept\"}", "--id", ID_1, NULL);
    write_repeated("in.jsonl", "",
        "{\"n\":%u,\"text\":\"0123456789012345678901234567890123456789\"}\n", 400000, "");
    w->file_limit = 4u << 20;
    struct outcome outcome = run(w, "import", "a.blz", "c", "in.jsonl", NULL);
    w->file_limit = 0;
    assert_int_equal(outcome.code, 10);
    assert_non_null(strstr(outcome.err, "blazedb: "));
    uint64_t imported = json_number(w, outcome.out, "imported");
    assert_in_range(imported, 0, 399999);
    assert_int_equal(json_number(w, must(w, "status", "a.blz", NULL), "records"), imported + 1);
    must(w, "get", "a.blz", "c", ID_1, NULL);
    must(w, "check", "a.blz", NULL);
    must(w, "insert", "a.blz", "c", "{\"n\":\"again\"}", NULL);
}

static void a_stopped_import_has_committed_whole_transactions(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);
    assert_int_equal(mkfifo("in.jsonl", 0600), 0);
    struct process *import = start(w, "import", "a.blz", "c", "in.jsonl", NULL);
    FILE *in = fopen("in.jsonl", "w");
    assert_non_null(in);
    for (int i = 0; i < 12000; i++)
        fprintf(in, "{\"n\":%d}\n", i);
    fputs("{\"half\":", in);
    fflush(in);
    while (json_number(w, must(w, "status", "a.blz", NULL), "records") == 0)
        assert_true(running(import));
    send_signal(import, SIGINT);
    uint64_t imported = json_number(w, next_line(import), "imported");
    assert_int_equal(await_end(import), 130);
    fclose(in);
    assert_int_equal(json_number(w, must(w, "status", "a.blz", NULL), "records"), imported);
    must(w, "check", "a.blz", NULL);
}

/* An import that waits for more, so that the test says when it commits. */
struct feed {
    struct process *import;
    FILE *in;
};

static struct feed start_feed(struct world *w, const char *name)
{
    assert_int_equal(mkfifo(name, 0600), 0);
    struct feed feed = {.import = start(w, "import", "a.blz", "c", name, NULL)};
    feed.in = fopen(name, "w");
    assert_non_null(feed.in);
    return feed;
}

/* Has it commit 5,000 records, which is one transaction, and waits until they are there. */
static void feed_some(struct world *w, struct feed *feed, uint64_t records)
{
    for (int i = 0; i < 5000; i++)
        fprintf(feed->in, "{\"n\":%d,\"name\":\"01234567890123456789\"}\n", i);
    fflush(feed->in);
    while (json_number(w, must(w, "status", "a.blz", NULL), "records") < records)
        assert_true(running(feed->import));
}

static void two_writers_take_turns_in_one_log(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);
    struct feed feeds[] = {start_feed(w, "one.jsonl"), start_feed(w, "two.jsonl")};
    for (unsigned turn = 0; turn < 6; turn++)
        feed_some(w, &feeds[turn % 2], (turn + 1) * 5000);
    for (int i = 0; i < 2; i++) { /* what they wrote is then read from the log alone */
        send_signal(feeds[i].import, SIGKILL);
        await_end(feeds[i].import);
        fclose(feeds[i].in);
    }
    must(w, "check", "a.blz", NULL);
    assert_int_equal(json_number(w, must(w, "status", "a.blz", NULL), "records"), 30000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_record_goes_through_its_whole_life),
        TEST(what_get_prints_is_what_put_and_insert_take),
        TEST(every_kind_of_value_comes_back_as_it_went_in),
        TEST(find_filters_sorts_limits_and_counts),
        TEST(an_import_by_a_field_may_be_repeated),
        TEST(a_document_may_come_from_the_standard_input),
        TEST(status_tells_what_there_is),
        TEST(what_is_left_of_deleted_records_is_collected),
        TEST(the_retention_is_in_days_and_parts_of_them),
        TEST(tables_are_for_people),
        TEST(a_watcher_sees_the_writes_of_other_processes),
        TEST(a_wrong_command_line_says_what_is_wrong_with_it),
        TEST(what_is_not_there_is_named),
        TEST(a_document_that_cannot_be_kept_is_refused_and_harms_nothing),
        TEST(a_document_at_a_limit_is_kept_and_one_over_it_is_not),
        TEST(an_import_commits_what_stood_before_the_bad_line_and_names_it),
        TEST(a_file_that_was_cut_off_is_told_of_in_one_line),
        TEST(a_filter_that_cannot_be_read_names_the_column),
        TEST(damage_is_named_and_a_torn_end_is_not_damage),
        TEST(a_damaged_identity_is_named),
        TEST(on_a_terminal_there_are_tables_and_bars),
        TEST(a_full_disk_stops_an_import_and_what_was_committed_stays),
        TEST(a_stopped_import_has_committed_whole_transactions),
        TEST(two_writers_take_turns_in_one_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* status, check, watch: what is known of a database, and what happens in it. */
#include "cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- status ---- */

/* A field of the status as a line; objects and arrays line by line below their name. */
static void print_status_field(blaze_text name, const blaze_value *value)
{
    if (value->type == BLAZE_STRING) {
        printf("%-12.*s %.*s\n", (int)name.size, name.data, (int)value->as.text.size,
            value->as.text.data);
        return;
    }
    blaze_iter iter;
    blaze_text inner_name;
    blaze_value inner;
    char *json;
    if (blaze_iter_init(&iter, value) != BLAZE_OK) {
        if (blaze_value_to_json(&json, value, false) == BLAZE_OK) {
            printf("%-12.*s %s\n", (int)name.size, name.data, json);
            blaze_free(json);
        }
        return;
    }
    if (blaze_value_count(value) == 0)
        return;
    printf("%.*s\n", (int)name.size, name.data);
    while (blaze_iter_next(&iter, &inner_name, &inner) == BLAZE_OK)
        if (blaze_value_to_json(&json, &inner, false) == BLAZE_OK) {
            printf("  %-36.*s %s\n", (int)inner_name.size,
                inner_name.data != NULL ? inner_name.data : "", json);
            blaze_free(json);
        }
}

/* What each says is to be done. */
static void print_warnings(const blaze_value *warnings)
{
    blaze_iter iter;
    blaze_value warning, text;
    if (blaze_iter_init(&iter, warnings) != BLAZE_OK)
        return;
    while (blaze_iter_next(&iter, NULL, &warning) == BLAZE_OK)
        if (blaze_value_field(&warning, "text", &text) == BLAZE_OK)
            printf("%-12s %.*s\n", "warning", (int)text.as.text.size, text.as.text.data);
}

/* What people look for comes first; the rest as it comes. */
static int print_status_table(const char *json)
{
    static const char *const order[] = {"database", "node", "role", "records", "conflicts",
        "digest", "blind", "partial", "scope", "sealed", "unreadable", "collections", "vv", "peers",
        "links", "storage"};
    blaze_doc *doc;
    blaze_value all, value;
    int rc = blaze_doc_from_json(&doc, json, strlen(json), NULL);
    if (rc != BLAZE_OK)
        return rc;
    rc = blaze_doc_value(doc, &all);
    for (size_t i = 0; rc == BLAZE_OK && i < sizeof order / sizeof *order; i++)
        if (blaze_value_field(&all, order[i], &value) == BLAZE_OK)
            print_status_field((blaze_text){order[i], strlen(order[i])}, &value);
    if (rc == BLAZE_OK && blaze_value_field(&all, "partial", &value) == BLAZE_OK &&
        value.type == BLAZE_BOOL && value.as.boolean)
        puts("partial copy holds what its scope takes; it syncs with full copies only");
    if (rc == BLAZE_OK && blaze_value_field(&all, "caught_up", &value) == BLAZE_OK &&
        value.type == BLAZE_BOOL && !value.as.boolean)
        puts("catching up  some of what a peer has is not here yet: run blazedb sync");
    if (rc == BLAZE_OK && blaze_value_field(&all, "warnings", &value) == BLAZE_OK)
        print_warnings(&value);
    blaze_doc_free(doc);
    return rc;
}

int cmd_status(struct cli *cli)
{
    blaze_db *db;
    int code = cli_open_reading(cli, &db);
    if (code != EXIT_DONE)
        return code;
    blaze_error error;
    char *json;
    int rc = blaze_status(db, &json, &error);
    if (rc != BLAZE_OK)
        return cli_close(cli, db, cli_fail_error(cli->words[0], rc, &error));
    if (cli->json)
        puts(json);
    else if ((rc = print_status_table(json)) != BLAZE_OK)
        code = cli_fail_error(cli->words[0], rc, NULL);
    blaze_free(json);
    if (code == EXIT_DONE)
        code = cli_flush();
    return cli_close(cli, db, code);
}

/* ---- check ---- */

static void print_problem(void *context, const char *problem)
{
    const struct cli *cli = context;
    if (cli->json) {
        printf("{\"problem\":");
        cli_json_text(problem, strlen(problem));
        puts("}");
    } else {
        puts(problem);
    }
}

int cmd_check(struct cli *cli)
{
    blaze_db *db;
    int code = cli_open_reading(cli, &db);
    if (code != EXIT_DONE)
        return code;
    double started = cli_seconds();
    blaze_error error;
    int rc = blaze_check(db, print_problem, cli, &error);
    if (rc != BLAZE_OK) {
        cli_flush();
        code = cli_fail_error(cli->words[0], rc, &error);
    }
    code = cli_close(cli, db, code);
    if (code != EXIT_DONE)
        return code;
    struct cli_result *result = cli_result_new();
    cli_result_bool(result, "ok", true);
    cli_result_seconds(result, "seconds", cli_seconds() - started);
    return cli_result_print(cli, result);
}

/* ---- watch ---- */

static void print_events(void *context, const blaze_event *events, size_t count)
{
    (void)context;
    flockfile(stdout);
    for (size_t i = 0; i < count; i++) {
        char id[BLAZE_ID_TEXT_SIZE], node[BLAZE_ID_TEXT_SIZE];
        printf("{\"collection\":");
        cli_json_text(events[i].collection.data, events[i].collection.size);
        printf(",\"_id\":\"%s\",\"deleted\":%s,\"remote\":%s,\"node\":\"%s\",\"position\":%" PRIu64
               "}\n",
            blaze_id_format(&events[i].id, id), events[i].deleted ? "true" : "false",
            events[i].remote ? "true" : "false", blaze_id_format(&events[i].node, node),
            events[i].position);
    }
    fflush(stdout);
    funlockfile(stdout);
}

int cmd_watch(struct cli *cli)
{
    blaze_db *db;
    int code = cli_open(cli, &db);
    if (code != EXIT_DONE)
        return code;
    cli_stop_watch();
    blaze_error error;
    blaze_observer *observer;
    int rc = blaze_observe(db, cli->words[1], print_events, NULL, &observer, &error);
    if (rc != BLAZE_OK)
        return cli_close(cli, db, cli_fail_error(cli->words[0], rc, &error));
    flockfile(stdout);
    printf("{\"watching\":");
    cli_json_text(cli->words[0], strlen(cli->words[0]));
    puts("}");
    fflush(stdout);
    funlockfile(stdout);
    cli_stop_wait();
    blaze_unobserve(observer);
    return cli_close(cli, db, EXIT_DONE);
}

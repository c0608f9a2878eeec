/* SPDX-License-Identifier: Apache-2.0 */
/* conflicts, resolve, policy: what copies wrote apart, and what becomes of it. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- listing ---- */

static void print_time(int64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm utc;
    char text[32] = "";
    if (gmtime_r(&seconds, &utc) != NULL)
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    printf("%s.%03dZ", text, (int)(ms % 1000));
}

/* One sibling as an object: "present":false stands for a side that has not the field, or has
 * deleted the record. */
static int print_sibling(const blaze_sibling *sibling)
{
    char node[BLAZE_ID_TEXT_SIZE];
    if (sibling->present) {
        char *json;
        int rc = blaze_value_to_json(&json, &sibling->value, false);
        if (rc != BLAZE_OK)
            return rc;
        printf("{\"value\":%s", json);
        blaze_free(json);
    } else {
        printf("{\"present\":false");
    }
    printf(",\"node\":\"%s\",\"role\":\"%s\",\"time\":\"", blaze_id_format(&sibling->node, node),
        sibling->role == BLAZE_SERVER ? "server" : "client");
    print_time(sibling->time_ms);
    printf("\"%s}", sibling->settled ? ",\"settled\":true" : "");
    return BLAZE_OK;
}

static int print_conflict(void *context, const blaze_conflict *conflict)
{
    (void)context;
    char id[BLAZE_ID_TEXT_SIZE];
    printf("{\"collection\":");
    cli_json_text(conflict->collection.data, conflict->collection.size);
    printf(",\"_id\":\"%s\",", blaze_id_format(&conflict->id, id));
    if (conflict->life) {
        printf("\"life\":true");
    } else {
        printf("\"field\":");
        cli_json_text(conflict->field.data, conflict->field.size);
    }
    printf(",\"winner\":");
    int rc = print_sibling(&conflict->siblings[0]);
    printf(",\"losers\":[");
    for (size_t i = 1; rc == BLAZE_OK && i < conflict->count; i++) {
        if (i > 1)
            putchar(',');
        rc = print_sibling(&conflict->siblings[i]);
    }
    puts("]}");
    return rc;
}

static int tabulate_conflict(void *context, const blaze_conflict *conflict)
{
    struct cli_table *table = context;
    const char *absent = conflict->life ? "(deleted)" : "(absent)";
    for (size_t i = 0; i < conflict->count; i++) {
        const blaze_sibling *sibling = &conflict->siblings[i];
        char id[BLAZE_ID_TEXT_SIZE];
        cli_table_cell(table, "_id", blaze_id_format(&conflict->id, id), sizeof id - 1);
        cli_table_cell(table, "field", conflict->field.data, conflict->field.size);
        cli_table_cell(table, "", i == 0 ? "seen" : "lost", 4);
        if (sibling->present)
            cli_table_value(table, "value", &sibling->value);
        else
            cli_table_cell(table, "value", absent, strlen(absent));
        cli_table_cell(table, "written by", blaze_id_format(&sibling->node, id), sizeof id - 1);
        cli_table_end_row(table);
    }
    return 0;
}

static int print_count(struct cli *cli, blaze_db *db)
{
    blaze_error error;
    uint64_t count;
    int rc = blaze_conflict_count(db, cli->words[1], &count, &error);
    if (rc != BLAZE_OK)
        return cli_fail_error(cli->words[0], rc, &error);
    struct cli_result *result = cli_result_new();
    cli_result_number(result, "count", count);
    return cli_result_print(cli, result);
}

int cmd_conflicts(struct cli *cli)
{
    blaze_id id;
    if (cli->words[2] != NULL && cli_id(cli->words[2], &id) != EXIT_DONE)
        return EXIT_USAGE;
    blaze_db *db;
    int code = cli_open_reading(cli, &db);
    if (code != EXIT_DONE)
        return code;
    if (cli->words[1] != NULL)
        code = cli_need_collection(cli, db, cli->words[1]);
    if (code == EXIT_DONE && cli_option(cli, "count") != NULL) {
        code = print_count(cli, db);
    } else if (code == EXIT_DONE) {
        struct cli_table *table = cli->json ? NULL : cli_table_new();
        blaze_error error = {0};
        int rc = blaze_conflicts(db, cli->words[1], cli->words[2] != NULL ? &id : NULL,
            table != NULL ? tabulate_conflict : print_conflict, table, &error);
        if (table != NULL)
            cli_table_finish(table);
        if (rc == BLAZE_ENOTFOUND)
            code = cli_fail(EXIT_NO_RECORD, cli->words[0], "%s", error.text);
        else
            code = rc == BLAZE_OK ? cli_flush() : cli_fail_error(cli->words[0], rc, &error);
    }
    return cli_close(cli, db, code);
}

/* ---- resolving ---- */

static int finish(struct cli *cli, blaze_db *db, int rc, uint64_t resolved, blaze_error *error)
{
    if (rc == BLAZE_ENOTFOUND)
        return cli_close(cli, db, cli_fail(EXIT_NO_RECORD, cli->words[0], "%s", error->text));
    if (rc != BLAZE_OK)
        return cli_close(cli, db, cli_fail_error(cli->words[0], rc, error));
    struct cli_result *result = cli_result_new();
    cli_result_number(result, "resolved", resolved);
    return cli_close(cli, db, cli_result_print(cli, result));
}

/* One sibling of one field, copied into an update. */
struct taking {
    const char *field;
    uint64_t number;
    size_t count; /* of the siblings that there are */
    blaze_doc *update;
};

static int take(void *context, const blaze_conflict *conflict)
{
    struct taking *taking = context;
    if (conflict->life || strlen(taking->field) != conflict->field.size ||
        memcmp(taking->field, conflict->field.data, conflict->field.size) != 0)
        return 0;
    taking->count = conflict->count;
    if (taking->number >= conflict->count)
        return 0;
    const blaze_sibling *sibling = &conflict->siblings[taking->number];
    return sibling->present ? blaze_doc_add_value(taking->update, taking->field, &sibling->value)
                            : blaze_doc_add_unset(taking->update, taking->field);
}

/* The value that --value gives, in a document of its own. */
static int parse_value(const char *text, blaze_doc **out)
{
    size_t size = strlen(text) + 16;
    char *json = malloc(size);
    blaze_error error;
    if (json == NULL)
        return cli_fail(EXIT_SYSTEM, "--value", "out of memory");
    int n = snprintf(json, size, "{\"v\":%s}", text);
    int rc = blaze_doc_from_json(out, json, (size_t)n, &error);
    free(json);
    blaze_value map;
    if (rc == BLAZE_OK && blaze_doc_value(*out, &map) == BLAZE_OK && blaze_value_count(&map) != 1) {
        blaze_doc_free(*out);
        *out = NULL;
        rc = BLAZE_ESYNTAX; /* it closed the object and went on */
        snprintf(error.text, sizeof error.text, "it is not one JSON value");
    }
    return rc == BLAZE_OK ? EXIT_DONE : cli_fail(EXIT_INPUT, "--value", "%s", error.text);
}

/* Writes one field in a transaction: nobody writes between looking at its siblings and that. */
static int write_field(struct cli *cli, blaze_db *db, const blaze_id *id, blaze_doc *given)
{
    struct taking taking = {.field = cli->words[3]};
    blaze_error error = {0};
    blaze_txn *txn = NULL;
    blaze_value map, value;
    if (given == NULL && cli_number(cli, "take", UINT64_MAX, 0, &taking.number) != EXIT_DONE)
        return cli_close(cli, db, EXIT_USAGE);
    int rc = blaze_doc_new(&taking.update);
    if (rc == BLAZE_OK)
        rc = blaze_begin(db, &txn, &error);
    if (rc == BLAZE_OK && given == NULL)
        rc = blaze_conflicts(db, cli->words[1], id, take, &taking, &error);
    if (rc == BLAZE_OK && given != NULL && (rc = blaze_doc_value(given, &map)) == BLAZE_OK &&
        (rc = blaze_value_field(&map, "v", &value)) == BLAZE_OK)
        rc = blaze_doc_add_value(taking.update, taking.field, &value);
    if (rc == BLAZE_OK && given == NULL && taking.number >= taking.count) {
        blaze_abort(txn);
        blaze_doc_free(taking.update);
        return cli_close(cli, db,
            taking.count == 0
                ? cli_fail(EXIT_NO_RECORD, cli->words[3], "the field is not in conflict")
                : cli_fail(EXIT_USAGE, "--take", "the field has %zu values, from 0", taking.count));
    }
    if (rc == BLAZE_OK)
        rc = blaze_txn_update(txn, cli->words[1], id, taking.update, &error);
    if (rc == BLAZE_OK)
        rc = blaze_commit(txn, &error);
    else
        blaze_abort(txn);
    blaze_doc_free(taking.update);
    return finish(cli, db, rc, 1, &error);
}

/* Ends a conflict of life. */
static int resolve_life(struct cli *cli, blaze_db *db, const blaze_id *id, bool keep)
{
    blaze_error error;
    int rc = blaze_settle_life(db, cli->words[1], id, keep, &error);
    return finish(cli, db, rc, 1, &error);
}

static int resolve_by_policy(struct cli *cli, blaze_db *db, const blaze_id *id)
{
    blaze_policy policy = BLAZE_POLICY_UNSET;
    const char *name = cli_option(cli, "policy");
    if (name != NULL &&
        (blaze_policy_from_name(name, &policy) != BLAZE_OK || policy == BLAZE_POLICY_NONE))
        return cli_close(cli, db,
            cli_fail(EXIT_USAGE, "--policy",
                "it is last, server, list, greatest or least, not \"%s\"", name));
    blaze_error error;
    uint64_t resolved;
    int rc = blaze_settle(db, cli->words[1], id, cli->words[3], policy, &resolved, &error);
    return finish(cli, db, rc, resolved, &error);
}

int cmd_resolve(struct cli *cli)
{
    bool takes = cli_option(cli, "take") != NULL, keeps = cli_option(cli, "keep") != NULL;
    bool life = keeps || cli_option(cli, "delete") != NULL;
    const char *value = cli_option(cli, "value");
    blaze_doc *given = NULL;
    blaze_db *db;
    blaze_id id;
    if (takes + (value != NULL) + (cli_option(cli, "policy") != NULL) + keeps +
            (cli_option(cli, "delete") != NULL) >
        1)
        return cli_fail(
            EXIT_USAGE, "resolve", "give one of --take, --value, --policy, --keep and --delete");
    if (life && (cli->words[2] == NULL || cli->words[3] != NULL))
        return cli_fail(EXIT_USAGE, "resolve", "--keep and --delete want COLLECTION ID");
    if ((takes || value != NULL) && cli->words[3] == NULL)
        return cli_fail(EXIT_USAGE, "resolve", "--take and --value want COLLECTION ID FIELD");
    if (cli->words[2] != NULL && cli_id(cli->words[2], &id) != EXIT_DONE)
        return EXIT_USAGE;
    int code = value != NULL ? parse_value(value, &given) : EXIT_DONE;
    if (code == EXIT_DONE)
        code = cli_open(cli, &db);
    if (code == EXIT_DONE && cli->words[1] != NULL &&
        (code = cli_need_collection(cli, db, cli->words[1])) != EXIT_DONE)
        cli_close(cli, db, code);
    if (code == EXIT_DONE)
        code = life ? resolve_life(cli, db, &id, keeps)
               : takes || given != NULL
                   ? write_field(cli, db, &id, given)
                   : resolve_by_policy(cli, db, cli->words[2] != NULL ? &id : NULL);
    blaze_doc_free(given);
    return code;
}

/* ---- policies ---- */

struct showing {
    const struct cli *cli;
    struct cli_table *table;
};

static int show_policy(void *context, blaze_text collection, blaze_text field, blaze_policy policy)
{
    const struct showing *showing = context;
    const char *only = showing->cli->words[1], *name = blaze_policy_name(policy);
    if (only != NULL &&
        (strlen(only) != collection.size || memcmp(only, collection.data, collection.size) != 0))
        return 0;
    if (showing->table != NULL) {
        cli_table_cell(showing->table, "collection", collection.data, collection.size);
        cli_table_cell(showing->table, "field", field.data, field.size);
        cli_table_cell(showing->table, "policy", name, strlen(name));
        cli_table_end_row(showing->table);
        return 0;
    }
    printf("{\"collection\":");
    cli_json_text(collection.data, collection.size);
    if (field.size > 0) {
        printf(",\"field\":");
        cli_json_text(field.data, field.size);
    }
    printf(",\"policy\":\"%s\"}\n", name);
    return 0;
}

static int show_policies(struct cli *cli)
{
    blaze_db *db;
    int code = cli_open_reading(cli, &db);
    if (code != EXIT_DONE)
        return code;
    struct showing showing = {cli, cli->json ? NULL : cli_table_new()};
    blaze_error error;
    int rc = blaze_policies(db, show_policy, &showing, &error);
    if (showing.table != NULL)
        cli_table_finish(showing.table);
    code = rc == BLAZE_OK ? cli_flush() : cli_fail_error(cli->words[0], rc, &error);
    return cli_close(cli, db, code);
}

int cmd_policy(struct cli *cli)
{
    const char *name = cli->words[2], *field = cli_option(cli, "field");
    blaze_policy policy = BLAZE_POLICY_UNSET;
    if (name == NULL)
        return show_policies(cli);
    if (strcmp(name, "unset") != 0 && blaze_policy_from_name(name, &policy) != BLAZE_OK)
        return cli_fail(
            EXIT_USAGE, name, "a policy is last, server, list, greatest, least, none or unset");
    blaze_db *db;
    int code = cli_open(cli, &db);
    if (code != EXIT_DONE)
        return code;
    blaze_error error;
    uint64_t resolved = 0;
    int rc = blaze_set_policy(db, cli->words[1], field, policy, &error);
    if (rc == BLAZE_OK)
        rc = blaze_settle(db, cli->words[1], NULL, NULL, BLAZE_POLICY_UNSET, &resolved, &error);
    return finish(cli, db, rc, resolved, &error);
}

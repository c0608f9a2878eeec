/* SPDX-License-Identifier: Apache-2.0 */
/* scope, evict: which part of a database a copy holds. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the options ---- */

void cli_scope_release(struct cli_scope *scope)
{
    for (size_t i = 0; i < scope->count; i++)
        free(scope->names[i]);
    scope->count = 0;
}

/* The collection of "COLLECTION: FILTER", which ends at the first colon; NULL without one. */
static char *collection_of(const char *text, const char **filter)
{
    const char *colon = strchr(text, ':');
    size_t size = colon != NULL ? (size_t)(colon - text) : 0;
    while (size > 0 && text[size - 1] == ' ')
        size--;
    if (size == 0)
        return NULL;
    for (*filter = colon + 1; **filter == ' '; ++*filter)
        ;
    return strndup(text, size);
}

static int add(const struct cli *cli, struct cli_scope *out, bool where, const char *text)
{
    const char *filter = NULL;
    char *name = where ? collection_of(text, &filter) : strdup(text);
    if (name == NULL || (where && filter[0] == '\0')) {
        free(name);
        return cli_fail(EXIT_USAGE, cli->command->name,
            "--where wants 'COLLECTION: FILTER', such as 'cities: country = \"DE\"', not \"%s\"",
            text);
    }
    for (size_t i = 0; i < out->count; i++) {
        blaze_scope_item *item = &out->items[i];
        if (strcmp(item->collection, name) != 0)
            continue;
        free(name);
        if (item->filter != NULL && where)
            return cli_fail(EXIT_USAGE, cli->command->name,
                "two filters for %s: join them with 'and' or 'or'", item->collection);
        item->filter = where ? filter : item->filter;
        return EXIT_DONE;
    }
    if (out->count == BLAZE_MAX_SCOPE) {
        free(name);
        return cli_fail(EXIT_INPUT, cli->command->name,
            "a copy may hold at most %d collections by name", BLAZE_MAX_SCOPE);
    }
    out->names[out->count] = name;
    out->items[out->count++] = (blaze_scope_item){name, filter};
    return EXIT_DONE;
}

int cli_scope_read(const struct cli *cli, struct cli_scope *out)
{
    int code = EXIT_DONE;
    *out = (struct cli_scope){.count = 0};
    for (int i = 0; code == EXIT_DONE && i < cli->option_count; i++) {
        bool where = strcmp(cli->options[i].name, "where") == 0;
        if (where || strcmp(cli->options[i].name, "only") == 0)
            code = add(cli, out, where, cli->options[i].value);
    }
    if (code != EXIT_DONE)
        cli_scope_release(out);
    return code;
}

/* ---- scope ---- */

struct printing {
    const struct cli *cli;
    bool any;
};

static int print_item(void *context, const blaze_scope_item *item)
{
    struct printing *printing = context;
    printing->any = true;
    if (!printing->cli->json) {
        printf("%s%s%s\n", item->collection, item->filter[0] != '\0' ? ": " : "", item->filter);
        return 0;
    }
    printf("{\"collection\":");
    cli_json_text(item->collection, strlen(item->collection));
    printf(",\"filter\":");
    cli_json_text(item->filter, strlen(item->filter));
    puts("}");
    return 0;
}

static int show(struct cli *cli, blaze_db *db)
{
    blaze_error error;
    struct printing printing = {.cli = cli};
    int partial = 0;
    int rc = blaze_get_scope(db, &partial, print_item, &printing, &error);
    if (rc != BLAZE_OK)
        return cli_fail_error(cli->words[0], rc, &error);
    if (printing.any)
        return cli_flush();
    struct cli_result *result = cli_result_new();
    cli_result_bool(result, "partial", partial != 0);
    if (partial)
        cli_result_text(result, "text", "everything is wanted: sync to make this a full copy");
    return cli_result_print(cli, result);
}

static int set(struct cli *cli, blaze_db *db, const struct cli_scope *scope)
{
    blaze_error error;
    int rc = blaze_set_scope(db, scope->items, scope->count, &error);
    return rc == BLAZE_OK ? show(cli, db) : cli_fail_error(cli->words[0], rc, &error);
}

int cmd_scope(struct cli *cli)
{
    struct cli_scope scope;
    blaze_db *db;
    bool all = cli_option(cli, "all") != NULL;
    int code = cli_scope_read(cli, &scope);
    if (code != EXIT_DONE)
        return code;
    bool setting = all || scope.count > 0;
    if (all && scope.count > 0)
        code = cli_fail(EXIT_USAGE, cli->command->name, "--all goes without --only and --where");
    else
        code = setting ? cli_open(cli, &db) : cli_open_reading(cli, &db);
    if (code == EXIT_DONE)
        code = cli_close(cli, db, setting ? set(cli, db, &scope) : show(cli, db));
    cli_scope_release(&scope);
    return code;
}

/* ---- evict ---- */

static int evict_one(struct cli *cli, blaze_db *db, const blaze_id *id)
{
    blaze_error error;
    int rc = blaze_evict(db, cli->words[1], id, &error);
    if (rc == BLAZE_ENOTFOUND)
        return cli_fail(EXIT_NO_RECORD, cli->words[0], "%s", error.text);
    if (rc != BLAZE_OK)
        return cli_fail_error(cli->words[0], rc, &error);
    struct cli_result *result = cli_result_new();
    cli_result_id(result, "evicted", id);
    return cli_result_print(cli, result);
}

static int evict_where(struct cli *cli, blaze_db *db, const char *filter)
{
    blaze_error error;
    uint64_t evicted, kept;
    int rc = blaze_evict_where(db, cli->words[1], filter, &evicted, &kept, &error);
    if (rc != BLAZE_OK)
        return cli_fail_error(cli->words[0], rc, &error);
    struct cli_result *result = cli_result_new();
    cli_result_number(result, "evicted", evicted);
    cli_result_number(result, "kept", kept);
    return cli_result_print(cli, result);
}

int cmd_evict(struct cli *cli)
{
    blaze_id id;
    blaze_db *db;
    const char *filter = cli_option(cli, "where");
    if ((filter != NULL) == (cli->words[2] != NULL))
        return cli_fail(EXIT_USAGE, cli->command->name, "wants either an id or --where FILTER");
    if (filter == NULL && cli_id(cli->words[2], &id) != EXIT_DONE)
        return EXIT_USAGE;
    int code = cli_open(cli, &db);
    if (code != EXIT_DONE)
        return code;
    code = cli_need_collection(cli, db, cli->words[1]);
    if (code == EXIT_DONE)
        code = filter != NULL ? evict_where(cli, db, filter) : evict_one(cli, db, &id);
    return cli_close(cli, db, code);
}

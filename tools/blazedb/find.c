/* SPDX-License-Identifier: Apache-2.0 */
/* find, export, explain, index, indexes: many records, and what finds them fast. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a find command line says. `sort` is a copy to be freed. */
struct wish {
    blaze_query query;
    char *sort;
};

/* FIELD, FIELD:asc or FIELD:desc. */
static int read_sort(const char *text, struct wish *wish)
{
    wish->sort = strdup(text);
    if (wish->sort == NULL)
        return cli_fail(EXIT_SYSTEM, "find", "out of memory");
    wish->query.sort = wish->sort;
    char *colon = strrchr(wish->sort, ':');
    if (colon == NULL)
        return EXIT_DONE;
    wish->query.descending = strcmp(colon, ":desc") == 0;
    if (!wish->query.descending && strcmp(colon, ":asc") != 0)
        return cli_fail(
            EXIT_USAGE, "find", "--sort wants FIELD, FIELD:asc or FIELD:desc, not \"%s\"", text);
    *colon = '\0';
    return EXIT_DONE;
}

static int read_wish(const struct cli *cli, struct wish *wish)
{
    *wish = (struct wish){0};
    blaze_query_init(&wish->query);
    wish->query.filter = cli->words[2];
    const char *sort = cli_option(cli, "sort");
    int code = cli_number(cli, "limit", UINT64_MAX, 0, &wish->query.limit);
    if (code == EXIT_DONE)
        code = cli_number(cli, "offset", UINT64_MAX, 0, &wish->query.offset);
    if (code == EXIT_DONE && cli_option(cli, "limit") != NULL && wish->query.limit == 0)
        code = cli_fail(EXIT_USAGE, "find", "--limit wants at least 1");
    if (code == EXIT_DONE && sort != NULL)
        code = read_sort(sort, wish);
    return code;
}

static void print_table_row(struct cli_table *table, const blaze_id *id, const blaze_value *row)
{
    char text[BLAZE_ID_TEXT_SIZE];
    cli_table_cell(table, "_id", blaze_id_format(id, text), BLAZE_ID_TEXT_SIZE - 1);
    blaze_iter iter;
    blaze_text name;
    blaze_value value;
    if (blaze_iter_init(&iter, row) == BLAZE_OK)
        while (blaze_iter_next(&iter, &name, &value) == BLAZE_OK) {
            char column[BLAZE_MAX_NAME + 1];
            snprintf(column, sizeof column, "%.*s", (int)name.size, name.data);
            cli_table_value(table, column, &value);
        }
    cli_table_end_row(table);
}

/* The next row behind what is damaged, which is told of, each once in a row; *code remembers. */
static int next_sound(const struct cli *cli, blaze_cursor *cursor, blaze_id *id, blaze_value *row,
    blaze_error *error, int *code)
{
    char told[BLAZE_ERROR_TEXT_SIZE] = "";
    int rc;
    while ((rc = blaze_cursor_next(cursor, id, row, error)) == BLAZE_ECORRUPT) {
        if (strcmp(told, error->text) == 0)
            return rc; /* it stays where it is */
        *code = cli_fail_error(cli->words[0], rc, error);
        strcpy(told, error->text);
    }
    return rc;
}

/* Prints the rows; ends early when the output is gone or the command is stopped. What is damaged is
 * left out, and the exit code says so. */
static int print_rows(const struct cli *cli, blaze_cursor *cursor)
{
    struct cli_table *table = cli->json ? NULL : cli_table_new();
    blaze_error error = {0};
    blaze_id id;
    blaze_value row;
    int rc, code = EXIT_DONE;
    while ((rc = next_sound(cli, cursor, &id, &row, &error, &code)) == BLAZE_OK) {
        if (table != NULL)
            print_table_row(table, &id, &row);
        else if ((rc = cli_json_document(&id, &row, false)) != BLAZE_OK)
            break;
        if (ferror(stdout))
            break;
    }
    if (table != NULL)
        cli_table_finish(table);
    if (rc != BLAZE_OK && rc != BLAZE_END) {
        cli_flush();
        return cli_fail_error(cli->words[0], rc, rc == error.code ? &error : NULL);
    }
    int flushed = cli_flush();
    return code != EXIT_DONE ? code : flushed;
}

static int find(const struct cli *cli, blaze_db *db, const blaze_query *query)
{
    int code = cli_need_collection(cli, db, cli->words[1]);
    if (code != EXIT_DONE)
        return code;
    blaze_error error;
    if (cli_option(cli, "count") != NULL) {
        uint64_t count;
        int rc = blaze_find_count(db, cli->words[1], query, &count, &error);
        if (rc != BLAZE_OK)
            return cli_fail_error(cli->words[0], rc, &error);
        struct cli_result *result = cli_result_new();
        cli_result_number(result, "count", count);
        return cli_result_print(cli, result);
    }
    blaze_cursor *cursor;
    int rc = blaze_find(db, cli->words[1], query, &cursor, &error);
    if (rc != BLAZE_OK)
        return cli_fail_error(cli->words[0], rc, &error);
    code = print_rows(cli, cursor);
    blaze_cursor_close(cursor);
    return code;
}

int cmd_find(struct cli *cli)
{
    struct wish wish;
    blaze_db *db;
    int code = read_wish(cli, &wish);
    if (code == EXIT_DONE && (code = cli_open_reading(cli, &db)) == EXIT_DONE)
        code = cli_close(cli, db, find(cli, db, &wish.query));
    free(wish.sort);
    return code;
}

int cmd_export(struct cli *cli)
{
    cli->json = true;
    return cmd_find(cli);
}

int cmd_explain(struct cli *cli)
{
    struct wish wish;
    blaze_db *db;
    int code = read_wish(cli, &wish);
    if (code != EXIT_DONE || (code = cli_open_reading(cli, &db)) != EXIT_DONE)
        goto done;
    code = cli_need_collection(cli, db, cli->words[1]);
    if (code == EXIT_DONE) {
        blaze_error error;
        char *plan;
        int rc = blaze_explain(db, cli->words[1], &wish.query, &plan, &error);
        if (rc != BLAZE_OK) {
            code = cli_fail_error(cli->words[0], rc, &error);
        } else {
            struct cli_result *result = cli_result_new();
            cli_result_text(result, "plan", plan);
            blaze_free(plan);
            code = cli_result_print(cli, result);
        }
    }
    code = cli_close(cli, db, code);
done:
    free(wish.sort);
    return code;
}

int cmd_index(struct cli *cli)
{
    const char *collection = cli->words[1], *field = cli->words[2];
    const char *name = cli_option(cli, "name");
    bool drop = cli_option(cli, "drop") != NULL;
    blaze_db *db;
    int code = cli_open(cli, &db);
    if (code != EXIT_DONE)
        return code;
    if (name == NULL)
        name = field;
    double started = cli_seconds();
    blaze_error error;
    int rc = drop ? blaze_index_drop(db, collection, name, &error)
                  : blaze_index_create(db, collection, field, name, &error);
    if (rc == BLAZE_ENOTFOUND && drop)
        code = cli_fail(EXIT_MISSING, cli->words[0], "no index %s on %s", name, collection);
    else if (rc == BLAZE_EEXIST)
        code = cli_fail(EXIT_EXISTS, cli->words[0], "%s has an index %s already", collection, name);
    else if (rc != BLAZE_OK)
        code = cli_fail_error(cli->words[0], rc, &error);
    code = cli_close(cli, db, code);
    if (code != EXIT_DONE)
        return code;
    struct cli_result *result = cli_result_new();
    cli_result_text(result, drop ? "dropped" : "index", name);
    cli_result_seconds(result, "seconds", cli_seconds() - started);
    return cli_result_print(cli, result);
}

static int print_index(void *context, const char *name, const char *field)
{
    struct cli_table *table = context;
    if (table != NULL) {
        cli_table_cell(table, "name", name, strlen(name));
        cli_table_cell(table, "field", field, strlen(field));
        cli_table_end_row(table);
        return 0;
    }
    printf("{\"name\":");
    cli_json_text(name, strlen(name));
    printf(",\"field\":");
    cli_json_text(field, strlen(field));
    puts("}");
    return 0;
}

int cmd_indexes(struct cli *cli)
{
    blaze_db *db;
    int code = cli_open_reading(cli, &db);
    if (code != EXIT_DONE)
        return code;
    code = cli_need_collection(cli, db, cli->words[1]);
    if (code == EXIT_DONE) {
        struct cli_table *table = cli->json ? NULL : cli_table_new();
        blaze_error error;
        int rc = blaze_index_list(db, cli->words[1], print_index, table, &error);
        if (table != NULL)
            cli_table_finish(table);
        code = rc == BLAZE_OK ? cli_flush() : cli_fail_error(cli->words[0], rc, &error);
    }
    return cli_close(cli, db, code);
}

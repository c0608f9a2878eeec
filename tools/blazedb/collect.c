/* SPDX-License-Identifier: Apache-2.0 */

/* Deleted records: collecting them, and for whom that waits. */

#include "cli.h"

#include <errno.h>
#include <stdlib.h>

#define DAY_MS   86400000.0
#define DAYS_MAX 36500.0

int cmd_collect(struct cli *cli)
{
    blaze_db *db;
    int code = cli_open(cli, &db);
    if (code != EXIT_DONE)
        return code;
    blaze_error error;
    uint64_t collected = 0;
    int rc = blaze_collect(db, &collected, &error);
    if (rc != BLAZE_OK)
        code = cli_fail_error(cli->words[0], rc, &error);
    code = cli_close(cli, db, code);
    if (code != EXIT_DONE)
        return code;
    struct cli_result *result = cli_result_new();
    cli_result_number(result, "collected", collected);
    return cli_result_print(cli, result);
}

/* Days, of which there may be parts. */
static int parse_days(const char *text, uint64_t *ms)
{
    char *end;
    errno = 0;
    double days = strtod(text, &end);
    if (end == text || *end != '\0' || errno != 0 || !(days >= 0 && days <= DAYS_MAX))
        return cli_fail(EXIT_USAGE, text, "a number of days, 0 to %.0f, is wanted", DAYS_MAX);
    *ms = (uint64_t)(days * DAY_MS);
    return EXIT_DONE;
}

int cmd_retention(struct cli *cli)
{
    blaze_db *db;
    uint64_t ms = 0;
    bool set = cli->word_count > 1;
    int code = set ? parse_days(cli->words[1], &ms) : EXIT_DONE;
    if (code == EXIT_DONE)
        code = set ? cli_open(cli, &db) : cli_open_reading(cli, &db);
    if (code != EXIT_DONE)
        return code;
    blaze_error error;
    int rc = set ? blaze_set_retention(db, ms, &error) : blaze_retention(db, &ms, &error);
    if (rc != BLAZE_OK)
        code = cli_fail_error(cli->words[0], rc, &error);
    code = cli_close(cli, db, code);
    if (code != EXIT_DONE)
        return code;
    struct cli_result *result = cli_result_new();
    cli_result_days(result, "days", (double)ms / DAY_MS);
    return cli_result_print(cli, result);
}

int cmd_forget(struct cli *cli)
{
    blaze_id node;
    blaze_db *db;
    int code = cli_id(cli->words[1], &node);
    if (code == EXIT_DONE)
        code = cli_open(cli, &db);
    if (code != EXIT_DONE)
        return code;
    blaze_error error;
    int rc = blaze_forget(db, &node, &error);
    if (rc != BLAZE_OK)
        code = cli_fail_error(cli->words[0], rc, &error);
    code = cli_close(cli, db, code);
    if (code != EXIT_DONE)
        return code;
    struct cli_result *result = cli_result_new();
    cli_result_id(result, "forgotten", &node);
    return cli_result_print(cli, result);
}

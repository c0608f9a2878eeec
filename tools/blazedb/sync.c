/* SPDX-License-Identifier: Apache-2.0 */
/* share, join, sync: keeping a database in step through a hub. */
#include "cli.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a sync call reports to while it runs; its callback comes on a thread of the library. */
struct watcher {
    const struct cli *cli;
    struct cli_progress progress;
    pthread_mutex_t lock;
    bool lines; /* --live: state lines on the standard output */
    int last_state;
    uint64_t last_sent, last_received;
};

const char *cli_link_state(blaze_link_state state)
{
    switch (state) {
    case BLAZE_LINK_CONNECTING:
        return "connecting";
    case BLAZE_LINK_CATCHING_UP:
        return "catching up";
    case BLAZE_LINK_LIVE:
        return "live";
    case BLAZE_LINK_WAITING:
        return "waiting";
    case BLAZE_LINK_STOPPED:
        return "stopped";
    }
    return "?";
}

static void show_bar(struct watcher *watcher, const blaze_link_status *status)
{
    uint64_t done = status->sent_records + status->received_records;
    uint64_t left = status->to_send + status->to_receive;
    double part = -1;
    if (status->state == BLAZE_LINK_CATCHING_UP && done + left > 0)
        part = (double)done / (double)(done + left);
    cli_progress_show(&watcher->progress, part, done, "records");
}

/* A line for each change of state, and for each exchange while live. */
static void show_line(struct watcher *watcher, const blaze_link_status *status)
{
    bool news = (int)status->state != watcher->last_state;
    bool moved = status->sent_records != watcher->last_sent ||
                 status->received_records != watcher->last_received;
    if (!news && !(moved && status->state == BLAZE_LINK_LIVE))
        return;
    watcher->last_state = (int)status->state;
    watcher->last_sent = status->sent_records;
    watcher->last_received = status->received_records;
    printf("{\"state\":\"%s\",\"text\":", cli_link_state(status->state));
    cli_json_text(status->text, strlen(status->text));
    printf(",\"sent\":%" PRIu64 ",\"received\":%" PRIu64 ",\"sent_bytes\":%" PRIu64
           ",\"received_bytes\":%" PRIu64 "}\n",
        status->sent_records, status->received_records, status->sent_bytes, status->received_bytes);
    fflush(stdout);
}

static void on_progress(void *context, const blaze_link_status *status)
{
    struct watcher *watcher = context;
    pthread_mutex_lock(&watcher->lock);
    if (watcher->lines)
        show_line(watcher, status);
    else
        show_bar(watcher, status);
    if (watcher->lines && status->state == BLAZE_LINK_STOPPED)
        cli_stop_wake();
    pthread_mutex_unlock(&watcher->lock);
}

static int canceled(void *context)
{
    (void)context;
    return cli_stopped();
}

/* Options that report to `watcher`. EXIT_USAGE for a bad --timeout. */
static int begin(
    const struct cli *cli, struct watcher *watcher, blaze_sync_options *options, const char *label)
{
    uint64_t seconds;
    blaze_sync_options_init(options);
    int code = cli_number(cli, "timeout", 1000000, options->timeout_ms / 1000, &seconds);
    if (code != EXIT_DONE)
        return code;
    options->timeout_ms = (unsigned)seconds * 1000;
    options->on_progress = on_progress;
    options->canceled = canceled;
    options->context = watcher;
    *watcher = (struct watcher){.cli = cli, .last_state = -1, .lock = PTHREAD_MUTEX_INITIALIZER};
    cli_progress_begin(&watcher->progress, cli, label);
    cli_stop_watch();
    return EXIT_DONE;
}

/* The exit code of a call that ended with `rc`, its error printed. */
static int finish(struct watcher *watcher, const char *what, int rc, const blaze_error *error)
{
    cli_progress_end(&watcher->progress);
    if (rc == BLAZE_OK)
        return EXIT_DONE;
    if (rc == BLAZE_ECANCELED && cli_stopped())
        return cli_fail(EXIT_SIGNAL + cli_stopped(), what, "stopped; what was exchanged stays");
    return cli_fail_error(what, rc, error);
}

static int add_records(void *context, const char *name, uint64_t records)
{
    (void)name;
    *(uint64_t *)context += records;
    return 0;
}

/* Adds the records and the digest of the database to a result. */
static int add_state(struct cli_result *result, blaze_db *db, blaze_error *error)
{
    char digest[BLAZE_DIGEST_TEXT_SIZE];
    uint64_t records = 0;
    int rc = blaze_collections(db, add_records, &records, error);
    if (rc == BLAZE_OK)
        rc = blaze_digest(db, digest, error);
    if (rc == BLAZE_OK) {
        cli_result_number(result, "records", records);
        cli_result_text(result, "digest", digest);
    }
    return rc;
}

int cmd_share(struct cli *cli)
{
    struct watcher watcher;
    blaze_sync_options options;
    blaze_db *db;
    int code = begin(cli, &watcher, &options, "share");
    if (code != EXIT_DONE || (code = cli_open(cli, &db)) != EXIT_DONE)
        return code;
    options.trust_hub = cli_option(cli, "trusted") != NULL;
    blaze_error error;
    char *join_code;
    int rc = blaze_share(db, cli->words[1], &options, &join_code, &error);
    code = finish(&watcher, cli->words[1], rc, &error);
    code = cli_close(cli, db, code);
    if (rc == BLAZE_OK) {
        if (code == EXIT_DONE) {
            struct cli_result *result = cli_result_new();
            cli_result_text(result, "code", join_code);
            code = cli_result_print(cli, result);
        }
        blaze_free(join_code);
    }
    return code;
}

int cmd_join(struct cli *cli)
{
    struct watcher watcher;
    blaze_sync_options options;
    blaze_open_options open;
    struct cli_seal seal;
    struct cli_scope scope;
    cli_open_options(cli, &open);
    int code = cli_scope_read(cli, &scope);
    if (code != EXIT_DONE || (code = cli_seal_create(cli, &seal)) != EXIT_DONE ||
        (code = begin(cli, &watcher, &options, "join")) != EXIT_DONE)
        return code;
    open.seal = seal.seal;
    options.scope = scope.items;
    options.scope_count = scope.count;
    const char *path = cli->words[0];
    blaze_error error;
    blaze_db *db;
    int rc = blaze_join(&db, path, cli->words[1], &open, &options, &error);
    cli_seal_wipe(&seal);
    cli_scope_release(&scope);
    code = finish(&watcher, path, rc, &error);
    if (rc != BLAZE_OK)
        return code;

    blaze_id database;
    blaze_database_id(db, &database);
    struct cli_result *result = cli_result_new();
    cli_result_text(result, "path", path);
    cli_result_id(result, "database", &database);
    if ((rc = add_state(result, db, &error)) != BLAZE_OK)
        code = cli_fail_error(path, rc, &error);
    cli_result_seconds(result, "seconds", cli_seconds() - watcher.progress.started);
    int printed = cli_result_print(cli, result);
    return cli_close(cli, db, code != EXIT_DONE ? code : printed);
}

static int sync_once(
    struct cli *cli, blaze_db *db, struct watcher *watcher, const blaze_sync_options *options)
{
    blaze_link_status status = {0};
    blaze_error error;
    int rc = blaze_sync(db, options, &status, &error);
    int code = finish(watcher, cli->words[0], rc, &error);
    if (code != EXIT_DONE)
        return code;
    struct cli_result *result = cli_result_new();
    cli_result_number(result, "sent", status.sent_records);
    cli_result_number(result, "received", status.received_records);
    cli_result_number(result, "sent_bytes", status.sent_bytes);
    cli_result_number(result, "received_bytes", status.received_bytes);
    if ((rc = add_state(result, db, &error)) != BLAZE_OK)
        code = cli_fail_error(cli->words[0], rc, &error);
    cli_result_seconds(result, "seconds", cli_seconds() - watcher->progress.started);
    int printed = cli_result_print(cli, result);
    return code != EXIT_DONE ? code : printed;
}

/* Stays in step until a signal, or until the other side refuses for good. */
static int sync_live(
    struct cli *cli, blaze_db *db, struct watcher *watcher, const blaze_sync_options *options)
{
    blaze_error error;
    blaze_link *link;
    watcher->lines = true;
    int rc = blaze_link_open(db, options, &link, &error);
    if (rc != BLAZE_OK)
        return cli_fail_error(cli->words[0], rc, &error);
    blaze_link_status status;
    cli_stop_wait();
    blaze_link_get_status(link, &status);
    blaze_link_close(link);
    if (cli_stopped())
        return EXIT_DONE;
    return cli_fail(cli_exit_code(status.code), cli->words[0], "%s", status.text);
}

int cmd_sync(struct cli *cli)
{
    struct watcher watcher;
    blaze_sync_options options;
    blaze_db *db;
    int code = begin(cli, &watcher, &options, "sync");
    if (code != EXIT_DONE || (code = cli_open(cli, &db)) != EXIT_DONE)
        return code;
    bool live = cli_option(cli, "live") != NULL;
    code = live ? sync_live(cli, db, &watcher, &options) : sync_once(cli, db, &watcher, &options);
    return cli_close(cli, db, code);
}

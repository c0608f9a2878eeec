/* SPDX-License-Identifier: Apache-2.0 */
/* peer: a database that listens and connects, until a signal ends it. */
#include "cli.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct peering {
    size_t connections; /* that were asked for */
    size_t stopped;     /* of them, for good */
    bool listens;
    int code; /* of the last that stopped */
    char text[160];
};

/* Comes on threads of the library, one call at a time. */
static void on_log(void *context, const char *line)
{
    (void)context;
    cli_log(line);
}

static void on_status(void *context, const blaze_peer_link *link)
{
    struct peering *peering = context;
    const blaze_link_status *status = &link->status;
    flockfile(stdout);
    printf("{\"peer\":");
    cli_json_text(link->url, strlen(link->url));
    printf(",\"incoming\":%s", link->incoming ? "true" : "false");
    if (link->known) {
        char node[BLAZE_ID_TEXT_SIZE];
        printf(",\"node\":\"%s\"", blaze_id_format(&link->node, node));
    }
    printf(",\"state\":\"%s\",\"text\":", cli_link_state(status->state));
    cli_json_text(status->text, strlen(status->text));
    printf(",\"sent\":%" PRIu64 ",\"received\":%" PRIu64 ",\"sent_bytes\":%" PRIu64
           ",\"received_bytes\":%" PRIu64 "}\n",
        status->sent_records, status->received_records, status->sent_bytes, status->received_bytes);
    fflush(stdout);
    funlockfile(stdout);
    if (link->incoming || status->state != BLAZE_LINK_STOPPED)
        return;
    peering->stopped++;
    peering->code = status->code;
    memcpy(peering->text, status->text, sizeof peering->text);
    if (!peering->listens && peering->stopped == peering->connections)
        cli_stop_wake();
}

static int announce(blaze_peer *peer)
{
    const char *url;
    flockfile(stdout);
    for (size_t i = 0; (url = blaze_peer_url(peer, i)) != NULL; i++) {
        printf("{\"listening\":");
        cli_json_text(url, strlen(url));
        puts("}");
    }
    int code = cli_flush();
    funlockfile(stdout);
    return code;
}

static int run(
    struct cli *cli, blaze_db *db, const blaze_peer_options *options, const struct peering *peering)
{
    blaze_error error;
    blaze_peer *peer;
    int rc = blaze_peer_open(&peer, db, options, &error);
    if (rc != BLAZE_OK)
        return cli_fail_error(cli->words[0], rc, &error);
    int code = announce(peer);
    if (code == EXIT_DONE)
        cli_stop_wait();
    bool stopped = cli_stopped();
    blaze_peer_close(peer);
    if (code == EXIT_DONE && !stopped)
        return cli_fail(cli_exit_code(peering->code), cli->words[0], "%s", peering->text);
    return code;
}

int cmd_peer(struct cli *cli)
{
    const char *listen[CLI_REPEAT_MAX];
    const char *connect[CLI_REPEAT_MAX];
    struct peering peering = {0};
    blaze_peer_options options;
    blaze_peer_options_init(&options);
    for (int i = 0; i < cli->option_count; i++)
        if (strcmp(cli->options[i].name, "listen") == 0)
            listen[options.listen_count++] = cli->options[i].value;
        else if (strcmp(cli->options[i].name, "connect") == 0)
            connect[options.connect_count++] = cli->options[i].value;
    if (options.listen_count + options.connect_count == 0)
        return cli_fail(EXIT_USAGE, "peer",
            "say where to listen or to connect, such as --listen tcp://0.0.0.0:7668");
    options.listen = listen;
    options.connect = connect;
    options.on_status = on_status;
    options.on_log = cli_option(cli, "log") != NULL ? on_log : NULL;
    options.context = &peering;
    peering.connections = options.connect_count;
    peering.listens = options.listen_count > 0;
    blaze_db *db;
    int code = cli_open(cli, &db);
    if (code != EXIT_DONE)
        return code;
    cli_stop_watch();
    return cli_close(cli, db, run(cli, db, &options, &peering));
}

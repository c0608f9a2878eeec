/* SPDX-License-Identifier: Apache-2.0 */
/* serve: a hub, until a signal ends it. */
#include "cli.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

void cli_log(const char *line)
{
    char now[32] = "";
    time_t seconds = time(NULL);
    struct tm local;
    if (localtime_r(&seconds, &local) != NULL)
        strftime(now, sizeof now, "%H:%M:%S", &local);
    fprintf(stderr, "%s %s\n", now, line);
}

/* Comes on threads of the library. */
static void on_log(void *context, const char *line)
{
    (void)context;
    cli_log(line);
}

static void on_warning(void *context, const char *line)
{
    (void)context;
    fprintf(stderr, "blazedb: serve: %s\n", line);
}

static int announce(blaze_hub *hub)
{
    const char *url;
    for (size_t i = 0; (url = blaze_hub_url(hub, i)) != NULL; i++) {
        printf("{\"listening\":");
        cli_json_text(url, strlen(url));
        puts("}");
    }
    return cli_flush();
}

int cmd_serve(struct cli *cli)
{
    const char *listen[CLI_REPEAT_MAX];
    blaze_hub_options options;
    blaze_hub_options_init(&options);
    for (int i = 0; i < cli->option_count; i++)
        if (strcmp(cli->options[i].name, "listen") == 0)
            listen[options.listen_count++] = cli->options[i].value;
    if (options.listen_count == 0)
        return cli_fail(
            EXIT_USAGE, "serve", "say where to listen, such as --listen tcp://127.0.0.1:7667");
    options.listen = listen;
    options.trusted = cli_option(cli, "trusted") != NULL;
    options.closed = cli_option(cli, "closed") != NULL;
    options.allow_network_fs = cli_option(cli, "allow-network-fs") != NULL;
    if (cli_option(cli, "log") != NULL)
        options.on_log = on_log;
    options.on_warning = on_warning;
    uint64_t databases_max;
    int code = cli_number(cli, "max-databases", UINT32_MAX, 0, &databases_max);
    if (code != EXIT_DONE)
        return code;
    options.databases_max = (unsigned)databases_max;
    struct cli_seal seal;
    code = cli_seal_create(cli, &seal);
    if (code != EXIT_DONE)
        return code;
    options.seal = seal.seal;

    cli_stop_watch();
    blaze_error error;
    blaze_hub *hub;
    int rc = blaze_hub_open(&hub, cli->words[0], &options, &error);
    cli_seal_wipe(&seal);
    if (rc != BLAZE_OK)
        return cli_fail_error(cli->words[0], rc, &error);
    fprintf(stderr,
        options.trusted
            ? "blazedb: serve: a trusted hub: it can read databases whose secret it is given\n"
            : "blazedb: serve: a blind hub: it carries what it cannot read\n");
    code = announce(hub);
    if (code == EXIT_DONE)
        cli_stop_wait();
    rc = blaze_hub_close(hub, &error);
    if (rc != BLAZE_OK && code == EXIT_DONE)
        code = cli_fail_error(cli->words[0], rc, &error);
    return code;
}

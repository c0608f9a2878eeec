/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct cli_option common[] = {
    {"json", NULL, "JSON lines, also on a terminal"},
    {"table", NULL, "tables, also when the output is not a terminal"},
    {"no-progress", NULL, "no progress bars"},
    {"passphrase-file", "FILE", "what the database is sealed with: the first line of a file"},
    {"key-file", "FILE", "what the database is sealed with: a file of 32 or more random bytes"},
    {"allow-network-fs", NULL, "open a database on a network file system"},
    {NULL},
};

static const struct cli_option *lookup(
    const struct cli_option *options, const char *name, size_t size)
{
    for (; options->name != NULL; options++)
        if (strlen(options->name) == size && memcmp(options->name, name, size) == 0)
            return options;
    return NULL;
}

static int usage(const struct cli *cli, const char *what, const char *why)
{
    return cli_fail(EXIT_USAGE, cli->command->name, "%s%s (see: blazedb %s --help)", what, why,
        cli->command->name);
}

/* Takes the option in argv[*at], and its value, which may be the next argument. */
static int take_option(struct cli *cli, int argc, char **argv, int *at)
{
    const char *given = argv[*at], *name = given + 2;
    const char *equals = strchr(name, '=');
    size_t size = equals != NULL ? (size_t)(equals - name) : strlen(name);
    const struct cli_option *option = NULL;
    if (strncmp(given, "--", 2) == 0) {
        option = lookup(cli->command->options, name, size);
        if (option == NULL)
            option = lookup(common, name, size);
    }
    if (option == NULL)
        return usage(cli, "there is no option ", given);
    if (cli->option_count == CLI_REPEAT_MAX)
        return usage(cli, "too many options", "");

    const char *value = "";
    if (option->value != NULL) {
        if (equals != NULL)
            value = equals + 1;
        else if (*at + 1 < argc)
            value = argv[++*at];
        else
            return usage(cli, given, " wants a value");
    } else if (equals != NULL) {
        return usage(cli, given, ": this option has no value");
    }
    cli->options[cli->option_count].name = option->name;
    cli->options[cli->option_count++].value = value;
    return EXIT_DONE;
}

int cli_parse(struct cli *cli, int argc, char **argv)
{
    bool only_words = false;
    for (int i = 0; i < argc; i++) {
        if (!only_words && strcmp(argv[i], "--") == 0) {
            only_words = true;
        } else if (!only_words && argv[i][0] == '-' && argv[i][1] != '\0') {
            int code = take_option(cli, argc, argv, &i);
            if (code != EXIT_DONE)
                return code;
        } else if (cli->word_count == cli->command->words_max) {
            return usage(cli, "one argument too many: ", argv[i]);
        } else {
            cli->words[cli->word_count++] = argv[i];
        }
    }
    if (cli->word_count < cli->command->words_min)
        return usage(cli, "it wants ", cli->command->words);
    return EXIT_DONE;
}

const char *cli_option(const struct cli *cli, const char *name)
{
    for (int i = cli->option_count; i-- > 0;)
        if (strcmp(cli->options[i].name, name) == 0)
            return cli->options[i].value;
    return NULL;
}

int cli_number(
    const struct cli *cli, const char *name, uint64_t max, uint64_t otherwise, uint64_t *out)
{
    const char *text = cli_option(cli, name);
    if (text == NULL) {
        *out = otherwise;
        return EXIT_DONE;
    }
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value > max)
        return cli_fail(EXIT_USAGE, cli->command->name,
            "--%s wants a whole number from 0 to %llu, not \"%s\"", name, (unsigned long long)max,
            text);
    *out = value;
    return EXIT_DONE;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The command: finds what was asked for, and says what can be asked. */
#include "cli.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int print_overview(void)
{
    printf("usage: blazedb COMMAND ARGUMENT... [OPTION...]\n\n");
    for (const struct cli_command *c = cli_commands; c->name != NULL; c++)
        printf("  %-10s %s\n", c->name, c->summary);
    printf(
        "\n"
        "blazedb COMMAND --help tells more of each. A database DB is a directory. Results are\n"
        "JSON lines when piped and tables on a terminal (--json and --table choose); an error\n"
        "is one line on the standard error, and the exit code says its kind:\n\n"
        "  0 done         3 input refused      6 busy or not permitted   9 refused, wrong secret\n"
        "  1 no record    4 not there          7 damaged or too new     10 disk, memory\n"
        "  2 usage        5 there already      8 no connection         130 stopped\n\n"
        "A sealed database is opened with --passphrase-file FILE (its first line) or --key-file\n"
        "FILE, or with what BLAZEDB_PASSPHRASE_FILE or BLAZEDB_KEY_FILE name. Without, a\n"
        "terminal is asked.\n");
    return cli_flush();
}

static int print_command(const struct cli_command *c)
{
    printf("usage: blazedb %s %s%s\n\n%s\n", c->name, c->words,
        c->options[0].name != NULL ? " [OPTION...]" : "", c->summary);
    if (c->options[0].name != NULL)
        printf("\n");
    for (const struct cli_option *o = c->options; o->name != NULL; o++) {
        char left[48];
        snprintf(
            left, sizeof left, "--%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
        printf("  %-26s %s\n", left, o->help);
    }
    printf("\n%s\n", c->more);
    return cli_flush();
}

static const struct cli_command *lookup(const char *name)
{
    for (const struct cli_command *c = cli_commands; c->name != NULL; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

/* Whether --help stands anywhere before a "--". */
static bool wants_help(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct cli cli = {.command = command};
    if (wants_help(argc, argv))
        return print_command(command);
    int code = cli_parse(&cli, argc, argv);
    if (code != EXIT_DONE)
        return code;
    cli.json = cli_option(&cli, "json") != NULL ||
               (!isatty(STDOUT_FILENO) && cli_option(&cli, "table") == NULL);
    cli.progress = isatty(STDERR_FILENO) && cli_option(&cli, "no-progress") == NULL;
    return command->run(&cli);
}

/* The files of a database are read through mappings: where one was cut off, or the disk cannot be
 * read, the system has no other way to say so. */
static void on_bus_error(int number)
{
    static const char text[] = "blazedb: database: a file of it was cut off or cannot be read\n";
    (void)number;
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(EXIT_CORRUPT);
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_bus_error};
    sigaction(SIGBUS, &action, NULL);
    const char *name = argc > 1 ? argv[1] : NULL;
    if (name == NULL) {
        print_overview();
        return EXIT_USAGE;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
        printf("blazedb %s\n", blaze_version());
        return cli_flush();
    }
    bool help = strcmp(name, "help") == 0;
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || (help && argc == 2))
        return print_overview();
    if (help)
        name = argv[2];
    const struct cli_command *command = lookup(name);
    if (command == NULL)
        return cli_fail(EXIT_USAGE, name, "no such command (see: blazedb help)");
    return help ? print_command(command) : run(command, argc - 2, argv + 2);
}

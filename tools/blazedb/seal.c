/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Passphrases and key files: from options, from the environment, from the terminal. What stands on
 * the command line itself is seen by every user of the machine, so no option takes a passphrase.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define PASSPHRASE_VARIABLE "BLAZEDB_PASSPHRASE_FILE"
#define KEY_VARIABLE        "BLAZEDB_KEY_FILE"

void cli_seal_init(struct cli_seal *out)
{
    blaze_seal_init(&out->seal);
    out->passphrase[0] = '\0';
}

void cli_seal_wipe(struct cli_seal *seal)
{
    explicit_bzero(seal->passphrase, sizeof seal->passphrase);
}

bool cli_seal_given(const struct cli_seal *seal)
{
    return seal->seal.passphrase != NULL || seal->seal.key_file != NULL;
}

/* ---- files ---- */

static void warn_if_open(const char *path, int fd)
{
    struct stat info;
    int rc = fd >= 0 ? fstat(fd, &info) : stat(path, &info);
    if (rc == 0 && S_ISREG(info.st_mode) && (info.st_mode & (S_IRGRP | S_IROTH)) != 0)
        cli_fail(
            EXIT_DONE, path, "warning: others than its owner can read it (chmod 600 %s)", path);
}

enum line { LINE_DONE, LINE_FAILED, LINE_EMPTY, LINE_LONG, LINE_NUL };

/* Reads a line, byte by byte so that nothing is taken of what follows it. */
static enum line read_line(int fd, char out[CLI_PASSPHRASE_MAX + 1])
{
    size_t size = 0;
    for (;;) {
        char c = '\n';
        ssize_t got = read(fd, &c, 1);
        if (got < 0)
            return LINE_FAILED;
        if (got == 0 || c == '\n')
            break;
        if (c == '\0')
            return LINE_NUL;
        if (size == CLI_PASSPHRASE_MAX)
            return LINE_LONG;
        out[size++] = c;
    }
    out[size] = '\0';
    return size == 0 ? LINE_EMPTY : LINE_DONE;
}

/* A bad line, said of what it was read from. */
static int bad_line(const char *what, enum line line)
{
    switch (line) {
    case LINE_EMPTY:
        return cli_fail(EXIT_INPUT, what, "the passphrase is empty");
    case LINE_LONG:
        return cli_fail(EXIT_INPUT, what, "a passphrase has at most %d bytes", CLI_PASSPHRASE_MAX);
    case LINE_NUL:
        return cli_fail(EXIT_INPUT, what,
            "there is a NUL in the passphrase: use a file of random bytes as a key file");
    case LINE_DONE:
    case LINE_FAILED:
        break;
    }
    return cli_fail(EXIT_SYSTEM, what, "%s", strerror(errno));
}

static int file_error(const char *path)
{
    int code = errno == ENOENT ? EXIT_MISSING : errno == EACCES ? EXIT_BUSY : EXIT_SYSTEM;
    return cli_fail(code, path, "%s", strerror(errno));
}

static int from_passphrase_file(const char *path, struct cli_seal *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return file_error(path);
    warn_if_open(path, fd);
    enum line line = read_line(fd, out->passphrase);
    int code = line == LINE_DONE ? EXIT_DONE : bad_line(path, line);
    close(fd);
    out->seal.passphrase = out->passphrase;
    return code;
}

static int from_key_file(const char *path, struct cli_seal *out)
{
    if (access(path, R_OK) != 0)
        return file_error(path);
    warn_if_open(path, -1);
    out->seal.key_file = path;
    return EXIT_DONE;
}

static int from_files(
    const struct cli *cli, const char *passphrase_file, const char *key_file, struct cli_seal *out)
{
    if (passphrase_file != NULL && key_file != NULL)
        return cli_fail(
            EXIT_USAGE, cli->command->name, "give a passphrase file or a key file, not both");
    if (passphrase_file != NULL)
        return from_passphrase_file(passphrase_file, out);
    return key_file != NULL ? from_key_file(key_file, out) : EXIT_DONE;
}

int cli_seal_read(const struct cli *cli, struct cli_seal *out)
{
    const char *passphrase_file = cli_option(cli, "passphrase-file");
    const char *key_file = cli_option(cli, "key-file");
    cli_seal_init(out);
    if (passphrase_file == NULL && key_file == NULL && cli_option(cli, "passphrase") == NULL) {
        passphrase_file = getenv(PASSPHRASE_VARIABLE);
        key_file = getenv(KEY_VARIABLE);
    }
    return from_files(cli, passphrase_file, key_file, out);
}

int cli_seal_read_new(const struct cli *cli, struct cli_seal *out)
{
    cli_seal_init(out);
    return from_files(
        cli, cli_option(cli, "new-passphrase-file"), cli_option(cli, "new-key-file"), out);
}

int cli_seal_costs(const struct cli *cli, struct cli_seal *out)
{
    uint64_t memory, passes;
    int code = cli_number(cli, "kdf-memory", UINT32_MAX, 0, &memory);
    if (code == EXIT_DONE)
        code = cli_number(cli, "kdf-passes", UINT32_MAX, 0, &passes);
    if (code != EXIT_DONE)
        return code;
    out->seal.kdf_memory_kib = (unsigned)memory;
    out->seal.kdf_passes = (unsigned)passes;
    return EXIT_DONE;
}

/* ---- the terminal ---- */

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = number;
}

static void say(const char *text)
{
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written;
}

/* Reads a line without showing it. A signal that would end the command ends it after the terminal
 * shows again what is typed. */
static int read_hidden(const char *prompt, char out[CLI_PASSPHRASE_MAX + 1])
{
    struct termios before, hidden;
    struct sigaction catch = {.sa_handler = on_signal}, of_int, of_term;
    if (tcgetattr(STDIN_FILENO, &before) != 0)
        return cli_fail(EXIT_SYSTEM, "passphrase", "%s", strerror(errno));
    interrupted = 0;
    sigaction(SIGINT, &catch, &of_int);
    sigaction(SIGTERM, &catch, &of_term);
    hidden = before;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
    say(prompt);
    enum line line = read_line(STDIN_FILENO, out);
    say("\n");
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    sigaction(SIGINT, &of_int, NULL);
    sigaction(SIGTERM, &of_term, NULL);
    if (interrupted != 0) {
        raise(interrupted);
        return cli_fail(EXIT_SIGNAL + interrupted, "passphrase", "stopped");
    }
    return line == LINE_DONE ? EXIT_DONE : bad_line("passphrase", line);
}

static bool can_ask(void)
{
    return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

int cli_seal_ask(const char *what, struct cli_seal *out)
{
    char prompt[512];
    if (!can_ask())
        return cli_fail(EXIT_REFUSED, what,
            "is sealed: give --passphrase-file FILE or --key-file FILE, or set " PASSPHRASE_VARIABLE
            " or " KEY_VARIABLE);
    snprintf(prompt, sizeof prompt, "passphrase of %s: ", what);
    int code = read_hidden(prompt, out->passphrase);
    out->seal.passphrase = out->passphrase;
    return code;
}

int cli_seal_ask_new(const struct cli *cli, const char *instead, struct cli_seal *out)
{
    char prompt[512], again[CLI_PASSPHRASE_MAX + 1];
    if (!can_ask())
        return cli_fail(EXIT_USAGE, cli->command->name,
            "there is no terminal to ask for a passphrase on: give %s", instead);
    snprintf(prompt, sizeof prompt, "new passphrase of %s: ", cli->words[0]);
    int code = read_hidden(prompt, out->passphrase);
    if (code == EXIT_DONE)
        code = read_hidden("the same again: ", again);
    if (code == EXIT_DONE && strcmp(out->passphrase, again) != 0)
        code = cli_fail(EXIT_INPUT, "passphrase", "these are two different ones");
    explicit_bzero(again, sizeof again);
    out->seal.passphrase = out->passphrase;
    return code;
}

int cli_seal_create(const struct cli *cli, struct cli_seal *out)
{
    int code = cli_seal_read(cli, out);
    if (code == EXIT_DONE)
        code = cli_seal_costs(cli, out);
    if (code == EXIT_DONE && cli_option(cli, "passphrase") != NULL && !cli_seal_given(out)) {
        bool there = access(cli->words[0], F_OK) == 0 && strcmp(cli->command->name, "create") != 0;
        code = there ? cli_seal_ask(cli->words[0], out)
                     : cli_seal_ask_new(cli, "--passphrase-file FILE or --key-file FILE", out);
    }
    return code;
}

/* ---- the commands ---- */

/* The seal of the database as it is: what is given, else asked for if it has one. */
static int current(const struct cli *cli, struct cli_seal *out)
{
    const char *path = cli->words[0];
    int code = cli_seal_read(cli, out);
    if (code != EXIT_DONE || cli_seal_given(out))
        return code;
    blaze_open_options options;
    blaze_error error;
    blaze_db *db;
    cli_open_options(cli, &options);
    options.read_only = 1;
    int rc = blaze_open(&db, path, &options, &error);
    if (rc == BLAZE_EAUTH)
        return cli_seal_ask(path, out);
    if (rc == BLAZE_ENOTFOUND)
        return cli_fail(EXIT_MISSING, path, "no database here");
    return rc != BLAZE_OK ? cli_fail_error(path, rc, &error) : cli_close(cli, db, EXIT_DONE);
}

/* What a database opens with from now on, in words. */
static const char *opens_with(const struct cli_seal *seal)
{
    return seal->seal.key_file != NULL     ? "key file"
           : seal->seal.passphrase != NULL ? "passphrase"
                                           : "nothing";
}

/* Wipes both, and says what the database opens with now, if all went well. */
static int finish_change(
    const struct cli *cli, int code, struct cli_seal *from, struct cli_seal *to)
{
    const char *with = opens_with(to);
    cli_seal_wipe(from);
    cli_seal_wipe(to);
    if (code != EXIT_DONE)
        return code;
    struct cli_result *result = cli_result_new();
    cli_result_text(result, "path", cli->words[0]);
    cli_result_text(result, "opens_with", with);
    return cli_result_print(cli, result);
}

int cmd_passphrase(struct cli *cli)
{
    static const char instead[] = "--new-passphrase-file FILE or --new-key-file FILE";
    struct cli_seal from, to;
    blaze_error error;
    cli_seal_init(&to);
    int code = current(cli, &from);
    if (code == EXIT_DONE && !cli_seal_given(&from))
        code = cli_fail(EXIT_INPUT, cli->words[0],
            "is not sealed: blazedb rekey %s seals it, and rewrites it for that", cli->words[0]);
    if (code == EXIT_DONE)
        code = cli_seal_read_new(cli, &to);
    if (code == EXIT_DONE && !cli_seal_given(&to))
        code = cli_seal_ask_new(cli, instead, &to);
    if (code == EXIT_DONE)
        code = cli_seal_costs(cli, &to);
    if (code == EXIT_DONE) {
        int rc = blaze_change_passphrase(cli->words[0], &from.seal, &to.seal, &error);
        if (rc != BLAZE_OK)
            code = cli_fail_error(cli->words[0], rc, &error);
    }
    return finish_change(cli, code, &from, &to);
}

/* What a rewritten database is to open with: what is given as new, nothing with --unseal, else what
 * it opens with now. */
static int wanted(const struct cli *cli, const struct cli_seal *from, struct cli_seal *to)
{
    static const char instead[] = "--new-passphrase-file FILE or --new-key-file FILE";
    bool ask = cli_option(cli, "new-passphrase") != NULL;
    int code = cli_seal_read_new(cli, to);
    if (code != EXIT_DONE)
        return code;
    if (cli_option(cli, "unseal") != NULL)
        return cli_seal_given(to) || ask
                   ? cli_fail(EXIT_USAGE, "rekey", "--unseal wants no new passphrase or key file")
                   : EXIT_DONE;
    if (!cli_seal_given(to) && ask)
        code = cli_seal_ask_new(cli, instead, to);
    else if (!cli_seal_given(to) && !cli_seal_given(from))
        return cli_fail(EXIT_USAGE, cli->words[0],
            "is not sealed: to seal it give --new-passphrase, %s", instead);
    if (!cli_seal_given(to) && code == EXIT_DONE) {
        memcpy(to->passphrase, from->passphrase, sizeof to->passphrase);
        to->seal = from->seal;
        if (from->seal.passphrase != NULL)
            to->seal.passphrase = to->passphrase;
    }
    return code == EXIT_DONE ? cli_seal_costs(cli, to) : code;
}

int cmd_rekey(struct cli *cli)
{
    struct cli_seal from, to;
    blaze_error error;
    cli_seal_init(&to);
    int code = current(cli, &from);
    if (code == EXIT_DONE)
        code = wanted(cli, &from, &to);
    if (code == EXIT_DONE) {
        int rc = blaze_rekey(cli->words[0], &from.seal, &to.seal, &error);
        if (rc != BLAZE_OK)
            code = cli_fail_error(cli->words[0], rc, &error);
    }
    return finish_change(cli, code, &from, &to);
}

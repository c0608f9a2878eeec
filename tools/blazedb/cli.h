/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLAZEDB_CLI_H
#define BLAZEDB_CLI_H

/*
 * The parts that the commands share: what stood on the command line, how results, errors and
 * progress are shown, and how a running command is stopped. docs/cli.md is the user's side of it.
 */

#include <blazedb.h>
#include <stdbool.h>
#include <stdint.h>

/* Exit codes; docs/cli.md has the table. */
enum {
    EXIT_DONE = 0,
    EXIT_NO_RECORD = 1,
    EXIT_USAGE = 2,
    EXIT_INPUT = 3,      /* malformed, out of range, over a limit */
    EXIT_MISSING = 4,    /* no such database, collection, index or file */
    EXIT_EXISTS = 5,     /* it is there already */
    EXIT_BUSY = 6,       /* in use by another, not permitted, opened read-only */
    EXIT_CORRUPT = 7,    /* damaged, or of a version that this program does not know */
    EXIT_CONNECTION = 8, /* no connection, lost, timed out */
    EXIT_REFUSED = 9,    /* wrong passphrase; the other side says no: wrong code, wrong database */
    EXIT_SYSTEM = 10,    /* disk full, out of memory, input/output */
    EXIT_SIGNAL = 128,   /* plus the signal's number: stopped before the work was done */
};

/* ---- the command line (args.c) ---- */

struct cli_option {
    const char *name;  /* without the dashes */
    const char *value; /* what its value is called, NULL: it has none */
    const char *help;
};

#define CLI_WORDS_MAX   5
#define CLI_OPTIONS_MAX 10
#define CLI_REPEAT_MAX  160

struct cli;

struct cli_command {
    const char *name;
    const char *words; /* the synopsis of what follows the name */
    int words_min, words_max;
    const char *summary;
    struct cli_option options[CLI_OPTIONS_MAX]; /* up to the first without a name */
    const char *more;                           /* details and examples, for --help */
    int (*run)(struct cli *cli);
};

extern const struct cli_command cli_commands[]; /* up to the first without a name */

struct cli {
    const struct cli_command *command;
    const char *words[CLI_WORDS_MAX]; /* those not given are NULL */
    int word_count;
    struct {
        const char *name;
        const char *value; /* "" for a flag */
    } options[CLI_REPEAT_MAX];
    int option_count;
    bool json;     /* JSON lines; otherwise tables for people */
    bool progress; /* bars on stderr */
};

/* Reads what follows the command's name. EXIT_DONE, or EXIT_USAGE with the error printed. */
int cli_parse(struct cli *cli, int argc, char **argv);

/* The value of an option, NULL if it was not given; the newest if given several times. */
const char *cli_option(const struct cli *cli, const char *name);

/* The value as a whole number up to `max`; `otherwise` if it was not given. EXIT_USAGE. */
int cli_number(
    const struct cli *cli, const char *name, uint64_t max, uint64_t otherwise, uint64_t *out);

/* ---- errors (error.c) ---- */

/* Prints "blazedb: WHAT: WHY" and returns `exit_code`. */
int cli_fail(int exit_code, const char *what, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for an error of the library, with the exit code of its kind. */
int cli_fail_error(const char *what, int code, const blaze_error *error);

int cli_exit_code(int code);

/* ---- passphrases and key files (seal.c) ---- */

#define CLI_PASSPHRASE_MAX 1024

/* What a database is sealed with. Stays where it is: `seal` points into it. */
struct cli_seal {
    blaze_seal seal;
    char passphrase[CLI_PASSPHRASE_MAX + 1];
};

void cli_seal_init(struct cli_seal *out); /* nothing given */
void cli_seal_wipe(struct cli_seal *seal);
bool cli_seal_given(const struct cli_seal *seal);

/* What the options --passphrase-file and --key-file say, else the environment, else nothing. An
 * exit code, with the error printed, as with all that follow. */
int cli_seal_read(const struct cli *cli, struct cli_seal *out);

/* The same of --new-passphrase-file and --new-key-file. */
int cli_seal_read_new(const struct cli *cli, struct cli_seal *out);

/* Adds what --kdf-memory and --kdf-passes say. */
int cli_seal_costs(const struct cli *cli, struct cli_seal *out);

/* Asks for the passphrase of `what` on the terminal. EXIT_REFUSED, saying what to give instead, if
 * there is none. */
int cli_seal_ask(const char *what, struct cli_seal *out);

/* Asks for a new one, twice. EXIT_USAGE without a terminal, with what to give instead. */
int cli_seal_ask_new(const struct cli *cli, const char *instead, struct cli_seal *out);

/* For commands that may make databases: as cli_seal_read(), or asked for with --passphrase. */
int cli_seal_create(const struct cli *cli, struct cli_seal *out);

/* ---- databases and arguments (open.c) ---- */

/* The defaults, with what the options that all commands share say of opening. */
void cli_open_options(const struct cli *cli, blaze_open_options *out);

/* Opens the database named by the first word. EXIT_DONE, or a code with the error printed. */
int cli_open(const struct cli *cli, blaze_db **out);

/* The same for commands that only read. Of a damaged database they get what came before the damage,
 * and a line on the standard error. */
int cli_open_reading(const struct cli *cli, blaze_db **out);

/* Closes, and gives `exit_code` back unless closing fails after a success. */
int cli_close(const struct cli *cli, blaze_db *db, int exit_code);

/* Whether the database has (or had) records in `collection`. */
bool cli_has_collection(blaze_db *db, const char *collection);

/* Fails for a collection that is not there, saying which are. */
int cli_need_collection(const struct cli *cli, blaze_db *db, const char *collection);

/* Reads a record's id. EXIT_USAGE. */
int cli_id(const char *text, blaze_id *out);

/* Reads a document from an argument, or from the standard input if it is "-". */
int cli_document(const char *text, blaze_doc **out);

/* The id that an "_id" says: text or a UUID value. A code of the library. */
int cli_id_of_value(const blaze_value *value, blaze_id *out);

/* Copies a document without its "_id". A code of the library. */
int cli_without_id(const blaze_value *from, blaze_doc *to);

/* Takes "_id" out of a document that has one, into *id; *named says whether it had. */
int cli_take_id(blaze_doc **document, blaze_id *id, bool *named);

/* ---- scopes (scope.c) ---- */

struct cli_scope {
    blaze_scope_item items[BLAZE_MAX_SCOPE];
    char *names[BLAZE_MAX_SCOPE]; /* those that are ours to free */
    size_t count;
};

/* What --only and --where say; nothing if there are none. An exit code, with the error printed. */
int cli_scope_read(const struct cli *cli, struct cli_scope *out);
void cli_scope_release(struct cli_scope *scope);

/* ---- results (output.c) ---- */

/* A small object, printed as one line of JSON or as lines of "name  value". */
struct cli_result;
struct cli_result *cli_result_new(void);
void cli_result_text(struct cli_result *result, const char *name, const char *value);
void cli_result_id(struct cli_result *result, const char *name, const blaze_id *value);
void cli_result_number(struct cli_result *result, const char *name, uint64_t value);
void cli_result_seconds(struct cli_result *result, const char *name, double value);
void cli_result_days(struct cli_result *result, const char *name, double value);
void cli_result_bool(struct cli_result *result, const char *name, bool value);
/* Prints, flushes and frees. EXIT_DONE, or EXIT_SYSTEM if the output cannot be written. */
int cli_result_print(const struct cli *cli, struct cli_result *result);

/* Flushes the standard output: EXIT_DONE, or EXIT_SYSTEM with the error printed. */
int cli_flush(void);

/* Writes `text` as a JSON string. */
void cli_json_text(const char *text, size_t size);

/* Writes the document as one line of JSON with "_id" first; indented with `pretty`. */
int cli_json_document(const blaze_id *id, const blaze_value *document, bool pretty);

/* ---- tables (table.c) ---- */

/* Rows of text in columns that are as wide as their widest cell, up to what the terminal has. Rows
 * are printed once enough of them are known to choose the widths, the rest as they come. */
struct cli_table;
struct cli_table *cli_table_new(void);
/* Sets the cell of the row at hand, adding the column if it is new. Cells are copied. */
void cli_table_cell(struct cli_table *table, const char *column, const char *text, size_t size);
void cli_table_value(struct cli_table *table, const char *column, const blaze_value *value);
void cli_table_number(struct cli_table *table, const char *column, uint64_t value);
void cli_table_end_row(struct cli_table *table);
void cli_table_finish(struct cli_table *table); /* prints what is left and frees */

/* ---- progress (progress.c) ---- */

struct cli_progress {
    const char *label; /* NULL: nothing is shown */
    double started, shown;
    bool visible;
};

double cli_seconds(void); /* on a clock that only goes forward */

void cli_progress_begin(struct cli_progress *progress, const struct cli *cli, const char *label);
/* `part` of the work is done, 0 to 1, or below 0 if it is not known; `count` things so far. Shown
 * at most ten times a second. */
void cli_progress_show(
    struct cli_progress *progress, double part, uint64_t count, const char *things);
/* Takes the bar away. */
void cli_progress_end(struct cli_progress *progress);

/* Digits in groups of three, in `out`. */
const char *cli_grouped(uint64_t value, char out[32]);

/* ---- being stopped (stop.c) ---- */

/* From now on SIGINT and SIGTERM ask the command to stop instead of ending it. A second one ends
 * it at once. */
void cli_stop_watch(void);
int cli_stopped(void);             /* the signal's number, or 0 */
void cli_stop_wait(void);          /* until a signal or a wake */
bool cli_stop_or_readable(int fd); /* waits; false: stopped */
void cli_stop_wake(void);          /* any thread */

/* ---- the commands ---- */

/* Writes a line of a log to the standard error, with the time. Any thread. */
void cli_log(const char *line);

/* The name of a link's state in results. */
const char *cli_link_state(blaze_link_state state);

int cmd_create(struct cli *cli);
int cmd_insert(struct cli *cli);
int cmd_put(struct cli *cli);
int cmd_update(struct cli *cli);
int cmd_delete(struct cli *cli);
int cmd_get(struct cli *cli);
int cmd_import(struct cli *cli);
int cmd_export(struct cli *cli);
int cmd_find(struct cli *cli);
int cmd_explain(struct cli *cli);
int cmd_index(struct cli *cli);
int cmd_indexes(struct cli *cli);
int cmd_status(struct cli *cli);
int cmd_conflicts(struct cli *cli);
int cmd_resolve(struct cli *cli);
int cmd_policy(struct cli *cli);
int cmd_check(struct cli *cli);
int cmd_collect(struct cli *cli);
int cmd_retention(struct cli *cli);
int cmd_forget(struct cli *cli);
int cmd_watch(struct cli *cli);
int cmd_passphrase(struct cli *cli);
int cmd_rekey(struct cli *cli);
int cmd_peer(struct cli *cli);
int cmd_serve(struct cli *cli);
int cmd_share(struct cli *cli);
int cmd_join(struct cli *cli);
int cmd_sync(struct cli *cli);
int cmd_scope(struct cli *cli);
int cmd_evict(struct cli *cli);

#endif

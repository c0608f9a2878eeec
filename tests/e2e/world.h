/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_TESTS_E2E_WORLD_H
#define BZ_TESTS_E2E_WORLD_H

/*
 * A world for one test: a directory of its own, in which commands run as processes. Everything that
 * waits has a deadline, DEADLINE_MS, at which the test fails and says what it was waiting for.
 * world_end() kills what still runs and removes the directory.
 *
 * The command is the one that was built, or what the variable BLAZEDB names. BLAZEDB_KEEP keeps the
 * directory.
 */

#include "cmocka_all.h"
#include "random.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define DEADLINE_MS 240000

struct process;

struct world {
    char dir[64]; /* the current directory too */
    struct process *processes;
    struct text *texts;
    struct rng rng;
    const char *input; /* the file that the next commands read as standard input; NULL: nothing */
    uint64_t
        file_limit; /* bytes that their files may have, as if the disk were full; 0: no limit */
};

/* As cmocka's setup and teardown: *state is the world. */
int world_begin(void **state);
int world_end(void **state);

/* The next number below `bound` of the world's random sequence. */
uint64_t world_random(struct world *world, uint64_t bound);

/* Writes a file in the world. */
void write_file(const char *name, const char *content, size_t size);

/* printf() into text that lives as long as the world. */
char *text(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- commands that end by themselves: arguments up to a NULL ---- */

struct outcome {
    int code;        /* exit code; 128 + signal if one ended it */
    const char *out; /* standard output and error, living as long as the world */
    const char *err;
};

struct outcome run(struct world *world, ...) __attribute__((sentinel));

/* Must succeed; gives the standard output. */
const char *must(struct world *world, ...) __attribute__((sentinel));

/* Must end with `code` and one line "blazedb: ..." on the standard error that holds `words`. */
void refuse(struct world *world, int code, const char *words, ...) __attribute__((sentinel));

/* Must succeed; gives what it shows on a terminal of 80 columns, both outputs in one. */
const char *on_terminal(struct world *world, ...) __attribute__((sentinel));

/* ---- commands that run beside the test ---- */

struct process *start(struct world *world, ...) __attribute__((sentinel));

/* On a terminal for input and both outputs. */
struct process *start_on_terminal(struct world *world, ...) __attribute__((sentinel));

/* Reads until `words` have come on the terminal; types a line there. */
void await_text(struct process *process, const char *words);
void type_line(struct process *process, const char *line);

/* The next line of its standard output; fails at the deadline or if it ends first. Valid until the
 * next call. */
const char *next_line(struct process *process);

/* Reads lines until one holds `words`. */
const char *await_line(struct process *process, const char *words);

bool running(struct process *process);
pid_t pid_of(const struct process *process);
void send_signal(struct process *process, int number);

/* Waits for its end; the exit code as in struct outcome. */
int await_end(struct process *process);
struct outcome finish(struct world *world, struct process *process); /* the same, with outputs */
const char *errors_of(struct world *world, struct process *process); /* its standard error so far */

/* ---- reading results ---- */

/* The text of the value at `path` ("storage.log_bytes") in the JSON object of the first line:
 * strings without quotes, all else as JSON; fails if there is none. Lives as long as the world. */
const char *json_at(struct world *world, const char *json, const char *path);
uint64_t json_number(struct world *world, const char *json, const char *path);

/* Whether the whole status of two databases says that they are equal: digest, records, counts. */
void assert_same(struct world *world, const char *a, const char *b);

/* ---- hubs ---- */

struct hub {
    struct process *process;
    const char *directory;
    const char *url; /* where it listens */
};

/* Starts a hub that keeps its databases in `directory`, at `url` (port 0: any): a blind one, or one
 * that takes secrets. */
struct hub start_hub(struct world *world, const char *directory, const char *url);
struct hub start_trusted_hub(struct world *world, const char *directory, const char *url);
/* One that says what happens on its standard error; `trusted` is "--trusted" or NULL. */
struct hub start_logging_hub(
    struct world *world, const char *directory, const char *url, const char *trusted);
void stop_hub(struct hub *hub);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_FILES_H
#define BENCH_FILES_H

/* Folders of databases, what the kernel counts of this process, and processes of our own. */

#include <stdint.h>
#include <sys/types.h>

/* "DIR/NAME" in new memory (free). */
char *bench_path(const char *dir, const char *name);

/* Makes an empty folder, removing what was there. */
void bench_dir_fresh(const char *path);
void bench_dir_remove(const char *path);

/* Bytes on disk of `path` and all files and folders below it, as `du` counts them: blocks that are
 * allocated, not the length that files claim to have. Writes back first, as blocks are given out
 * only then; the second does not, and may be asked while files come and go. */
uint64_t bench_dir_bytes(const char *path);
uint64_t bench_dir_blocks(const char *path);

/* The number after `key` in /proc/self/io: what this process has read and written so far. */
uint64_t bench_io_number(const char *key);

/* Of this process, in bytes: the most memory it ever held, and its own (not of files) now. */
uint64_t bench_memory_peak(void);
uint64_t bench_memory_own(void);

/*
 * Runs this program again as `bench --child ARGUMENTS...`, so that what it does has memory of its
 * own. The child's standard output comes back one JSON object a line.
 */
struct bench_child {
    pid_t pid;
    int out; /* the child's standard output, to read */
    int in;  /* its standard input, to write */
};
void bench_child_start(struct bench_child *child, const char *const *arguments);

/* Waits for its end; dies if it failed, unless `killed` says that it was to be killed. */
void bench_child_wait(struct bench_child *child, int killed);

/* Starts a child whose answer is one line, reads it, and waits for its end. */
void bench_child_run(const char *const *arguments, char *line, size_t room);

/* Ends the child's standard input. */
void bench_child_end_input(struct bench_child *child);

/* Reads one line of the child's into `line`, without its newline. Dies at its end. */
void bench_child_line(struct bench_child *child, char *line, size_t room);

/* The number called `name` in a line that the child printed. */
double bench_child_number(const char *line, const char *name);

/* The text called `name`, in new memory (free). */
char *bench_child_text(const char *line, const char *name);

/* What `bench --child` does: in child.c. */
int bench_child_main(int count, char **arguments);

#endif

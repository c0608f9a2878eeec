/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_SYNC_SQLITE_H
#define BENCH_SYNC_SQLITE_H

/* Rows taken from one SQLite database to another by its session extension. */

#include "files.h"

#include <stdint.h>

/* Why it is not built in, or NULL. */
extern const char *const bench_session_missing;

struct bench_session_copy {
    double seconds; /* making, sending and applying durably, all at once */
    uint64_t bytes; /* sent */
    uint64_t peak;  /* memory of the process that applied */
};

struct bench_source;

/* A database of n orders in an empty folder. */
struct bench_source *bench_source_open(const char *dir, uint64_t n);
void bench_source_close(struct bench_source *source); /* NULL is allowed */

/* Copies all rows into an empty folder. Dies unless the copy holds the same. */
void bench_source_copy(struct bench_source *source, const char *to, struct bench_session_copy *out);

/* Updates every step-th order, which is not timed, and brings the changes to the copy. */
void bench_source_change(struct bench_source *source, uint64_t step, uint64_t round, const char *to,
    struct bench_session_copy *out);

#endif

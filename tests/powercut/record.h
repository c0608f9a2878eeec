/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_TESTS_POWERCUT_RECORD_H
#define BZ_TESTS_POWERCUT_RECORD_H

/*
 * The layer below the store: the C library's file functions, standing in front of the real ones for
 * everything in the process. It does what is asked, and writes it into a trace.
 */

#include "trace.h"

/* From now on what happens in the directory `root` is appended to the file `trace`. Once. */
void record_start(const char *root, const char *trace);

/* Adds a record of what only the workload knows. */
void record_mark(enum trace_kind kind, uint64_t a, uint64_t b);

/* Kills the process, as kill -9 does, when that many more calls have been recorded. */
void record_die_after(uint64_t calls);

/* Waits until all that has been written to the log by now has been synced, by whomever. */
void record_await_log_sync(void);

#endif

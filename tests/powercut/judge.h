/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_TESTS_POWERCUT_JUDGE_H
#define BZ_TESTS_POWERCUT_JUDGE_H

/* What must be true of a database at some point of a trace, and whether it is. */

#include "plan.h"
#include "trace.h"

/* What is known at a point of a trace. */
struct history {
    struct plan plan;
    bool settled;   /* the trace's beginning is over */
    bool found;     /* the first process has found what the beginning held */
    bool created;   /* the database must be there */
    uint64_t least; /* this commit was acknowledged as durable */
    uint64_t seen;  /* this one was acknowledged */
    uint64_t most;  /* this one may be there */
};

/* Takes the next record into account. False if it says that a promise to a running process was
 * broken: what was acknowledged is gone after a kill, say. */
bool history_apply(struct history *history, const struct trace_record *record);

/*
 * Opens the database in ROOT/db with what is in the image, and looks at everything; then writes,
 * closes, and opens it again. In a process of its own, so that a crash is an answer, too. True if
 * all is well; otherwise `why` (of 512 bytes) says what is not.
 */
bool judge(const struct history *history, const char *root, char *why);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLAZEDB_SOURCE_H
#define BLAZEDB_SOURCE_H

/*
 * A file of JSON objects, read piece by piece: one object a line, or the elements of one array.
 * Only where a piece begins and ends is found here; whether it is well-formed is for its reader.
 * Memory is bounded by the longest piece, and that by a limit.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct source {
    const char *name; /* for errors */
    int fd;
    bool own; /* the descriptor is closed in the end */
    bool array;
    bool ended; /* no more to read */
    char *data;
    size_t capacity, size; /* of the window in memory */
    size_t at;             /* in the window: what comes next */
    uint64_t line;         /* of what comes next, from 1 */
    uint64_t passed;       /* bytes before the window */
    uint64_t total;        /* of the file; 0 if it is not known */
    enum source_place {
        SOURCE_BEFORE, /* the array */
        SOURCE_FIRST,  /* its first element or its end */
        SOURCE_BEHIND_ELEMENT,
        SOURCE_BEHIND_COMMA,
        SOURCE_AFTER,
    } place;
};

struct piece {
    const char *data; /* until the next call */
    size_t size;
    uint64_t line; /* where it begins */
};

/* "-" is the standard input. An exit code, with the error printed. */
int source_open(struct source *source, const char *name, bool array);
void source_close(struct source *source);

/* The next piece: EXIT_DONE with *end false, or true after the last; else an exit code, with the
 * error printed. A signal to stop counts as an error. */
int source_next(struct source *source, struct piece *out, bool *end);

/* The part of the file that has been read, 0 to 1; below 0 if it is not known. */
double source_part(const struct source *source);

#endif

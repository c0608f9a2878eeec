/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_TESTS_VECTOR_FILE_H
#define BZ_TESTS_VECTOR_FILE_H

/* tests/vectors/wire.txt, line by line. */

#include "cmocka_all.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define LINE_MAX_SIZE 20000
#define PARTS_MAX     6

struct vectors {
    FILE *file;
    char line[LINE_MAX_SIZE];
    char *parts[PARTS_MAX];
    int count;
};

static inline void vectors_open(struct vectors *v)
{
    v->file = fopen(BZ_SOURCE_DIR "/tests/vectors/wire.txt", "r");
    assert_non_null(v->file);
}

/* The next line of this kind, split at its bars. */
static inline bool vectors_next(struct vectors *v, const char *kind)
{
    while (fgets(v->line, sizeof v->line, v->file) != NULL) {
        if (v->line[0] == '#' || v->line[0] == '\n')
            continue;
        v->line[strcspn(v->line, "\n")] = '\0';
        v->count = 0;
        char *rest = v->line;
        for (char *part; v->count < PARTS_MAX && (part = strsep(&rest, "|")) != NULL;) {
            while (*part == ' ')
                part++;
            char *end = part + strlen(part);
            while (end > part && end[-1] == ' ')
                *--end = '\0';
            v->parts[v->count++] = part;
        }
        if (strcmp(v->parts[0], kind) == 0)
            return true;
    }
    fclose(v->file);
    return false;
}

#endif

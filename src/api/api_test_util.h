/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_API_API_TEST_UTIL_H
#define BZ_API_API_TEST_UTIL_H

/* Calls of public functions that must succeed. */

#include "cmocka_all.h"

#include <blazedb.h>

static blaze_error error; /* of the call that failed last */

#define OK(call)                                                                                   \
    do {                                                                                           \
        int rc_ = call;                                                                            \
        if (rc_ != BLAZE_OK)                                                                       \
            fail_msg(#call ": %s: %s", blaze_error_name(rc_), error.text);                         \
    } while (0)

/* A new database that is kept in memory only. */
static inline blaze_db *memory_db(const char *name)
{
    blaze_db *db;
    blaze_open_options options;
    blaze_open_options_init(&options);
    options.create = 1;
    options.memory = 1;
    OK(blaze_open(&db, name, &options, &error));
    return db;
}

#endif

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

#endif

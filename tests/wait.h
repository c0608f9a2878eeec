/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_TESTS_WAIT_H
#define BZ_TESTS_WAIT_H

/* What callbacks on other threads note, under one lock, and how a test waits for it. */

#include "cmocka_all.h"

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

static pthread_mutex_t test_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t test_changed = PTHREAD_COND_INITIALIZER;

/* Waits under test_lock until `condition`; a test that waits for four minutes, on however busy a
 * machine, has failed. */
#define WAIT_UNTIL(condition)                                                                      \
    do {                                                                                           \
        struct timespec until;                                                                     \
        clock_gettime(CLOCK_MONOTONIC, &until);                                                    \
        until.tv_sec += 240;                                                                       \
        bool in_time = true;                                                                       \
        pthread_mutex_lock(&test_lock);                                                            \
        while (!(condition) && in_time)                                                            \
            in_time =                                                                              \
                pthread_cond_clockwait(&test_changed, &test_lock, CLOCK_MONOTONIC, &until) == 0;   \
        in_time = in_time || (condition);                                                          \
        pthread_mutex_unlock(&test_lock);                                                          \
        if (!in_time)                                                                              \
            fail_msg("waited four minutes in vain for: %s", #condition);                           \
    } while (0)

#define NOTE(statement)                                                                            \
    do {                                                                                           \
        pthread_mutex_lock(&test_lock);                                                            \
        statement;                                                                                 \
        pthread_cond_broadcast(&test_changed);                                                     \
        pthread_mutex_unlock(&test_lock);                                                          \
    } while (0)

#endif

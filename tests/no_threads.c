/* SPDX-License-Identifier: Apache-2.0 */

/* In every test that has no label: it starts no thread, and so need not run under the thread
 * sanitizer. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

int pthread_create(
    pthread_t *out, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
    (void)out;
    (void)attributes;
    (void)run;
    (void)argument;
    fputs(
        "this test starts a thread: it wants the label `threads` (cmake/modules.cmake)\n", stderr);
    abort();
}

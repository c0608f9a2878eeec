/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_BASE_ALLOC_H
#define BZ_BASE_ALLOC_H

/*
 * All memory of the library comes through here, so that tests can make the N-th allocation fail.
 * Any thread.
 */

#include <stddef.h>

/* As malloc(), calloc(1, size), realloc(), free(); NULL when out of memory. */
void *bz_malloc(size_t size);
void *bz_zalloc(size_t size);
void *bz_realloc(void *memory, size_t size);
void bz_free(void *memory);

/* Tests only: every allocation first asks `fail(context)`, and fails where that returns non-zero.
 * NULL switches it off. Not while other threads allocate. */
void bz_alloc_set_fault(int (*fail)(void *context), void *context);

#endif

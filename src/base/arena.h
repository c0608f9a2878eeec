/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_BASE_ARENA_H
#define BZ_BASE_ARENA_H

/*
 * Many small allocations released together. Alignment is that of max_align_t. One thread at a time.
 */

#include "base/bytes.h"

struct bz_arena_block;

struct bz_arena {
    struct bz_arena_block *blocks; /* newest first */
    size_t used;                   /* bytes taken of the newest block */
    size_t total;                  /* bytes of all blocks: the memory held */
};

void bz_arena_init(struct bz_arena *arena);
void bz_arena_release(struct bz_arena *arena);

/* Forgets all allocations but keeps one block, for reuse. */
void bz_arena_reset(struct bz_arena *arena);

/* NULL when out of memory. The memory is not cleared. */
void *bz_arena_alloc(struct bz_arena *arena, size_t size);
void *bz_arena_zalloc(struct bz_arena *arena, size_t size);

/* A copy of `b` in the arena; its data is NULL when out of memory and b is not empty. */
struct bz_bytes bz_arena_copy(struct bz_arena *arena, struct bz_bytes b);

#endif

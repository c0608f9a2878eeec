/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_BASE_ARENA_H
#define BZ_BASE_ARENA_H

/*
 * Many small allocations released together. Alignment is that of max_align_t. One thread at a time.
 */

#include "base/bytes.h"

#include <stdalign.h>

struct bz_arena_block;

struct bz_arena {
    struct bz_arena_block *blocks; /* newest first */
    uint8_t *free;                 /* what is left of the newest */
    size_t left;
    size_t total; /* bytes of all blocks: the memory held */
};

void bz_arena_init(struct bz_arena *arena);
void bz_arena_release(struct bz_arena *arena);

/* Forgets all allocations but keeps one block, for reuse. */
void bz_arena_reset(struct bz_arena *arena);

/* From a new block. */
void *bz_arena_alloc_slow(struct bz_arena *arena, size_t size);

/* NULL when out of memory. The memory is not cleared. */
static inline void *bz_arena_alloc(struct bz_arena *arena, size_t size)
{
    const size_t align = alignof(max_align_t);
    size_t rounded = (size + align - 1) & ~(align - 1);
    if (rounded - 1 >= arena->left) /* of 0 bytes, too */
        return bz_arena_alloc_slow(arena, rounded);
    void *p = arena->free;
    arena->free += rounded;
    arena->left -= rounded;
    return p;
}

void *bz_arena_zalloc(struct bz_arena *arena, size_t size);

/* A copy of `b` in the arena; its data is NULL when out of memory and b is not empty. */
struct bz_bytes bz_arena_copy(struct bz_arena *arena, struct bz_bytes b);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include "base/alloc.h"

#include <stdalign.h>

#define FIRST_BLOCK 4096u
#define BLOCK_MAX   (1u << 20)

struct bz_arena_block {
    struct bz_arena_block *next;
    size_t size;
    alignas(max_align_t) uint8_t data[];
};

void bz_arena_init(struct bz_arena *arena)
{
    *arena = (struct bz_arena){0};
}

void bz_arena_release(struct bz_arena *arena)
{
    struct bz_arena_block *block = arena->blocks;
    while (block != NULL) {
        struct bz_arena_block *next = block->next;
        bz_free(block);
        block = next;
    }
    bz_arena_init(arena);
}

void bz_arena_reset(struct bz_arena *arena)
{
    struct bz_arena_block *keep = arena->blocks;
    if (keep == NULL)
        return;
    arena->blocks = keep->next;
    bz_arena_release(arena);
    keep->next = NULL;
    arena->blocks = keep;
    arena->total = keep->size;
}

void *bz_arena_alloc(struct bz_arena *arena, size_t size)
{
    const size_t align = alignof(max_align_t);
    size = (size + align - 1) & ~(align - 1);
    struct bz_arena_block *block = arena->blocks;
    if (block == NULL || size > block->size - arena->used) {
        size_t wanted = block == NULL ? FIRST_BLOCK : block->size * 2;
        if (wanted > BLOCK_MAX)
            wanted = BLOCK_MAX;
        if (wanted < size)
            wanted = size;
        block = bz_malloc(sizeof *block + wanted);
        if (block == NULL)
            return NULL;
        block->next = arena->blocks;
        block->size = wanted;
        arena->blocks = block;
        arena->used = 0;
        arena->total += wanted;
    }
    void *p = block->data + arena->used;
    arena->used += size;
    return p;
}

void *bz_arena_zalloc(struct bz_arena *arena, size_t size)
{
    void *p = bz_arena_alloc(arena, size);
    return p == NULL ? NULL : memset(p, 0, size);
}

struct bz_bytes bz_arena_copy(struct bz_arena *arena, struct bz_bytes b)
{
    if (b.size == 0)
        return bz_bytes(NULL, 0);
    void *p = bz_arena_alloc(arena, b.size);
    if (p == NULL)
        return bz_bytes(NULL, b.size);
    memcpy(p, b.data, b.size);
    return bz_bytes(p, b.size);
}

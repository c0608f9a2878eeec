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

static void take_block(struct bz_arena *arena, struct bz_arena_block *block)
{
    arena->blocks = block;
    arena->free = block->data;
    arena->left = block->size;
    arena->total += block->size;
}

void bz_arena_reset(struct bz_arena *arena)
{
    struct bz_arena_block *keep = arena->blocks;
    if (keep == NULL)
        return;
    arena->blocks = keep->next;
    bz_arena_release(arena);
    keep->next = NULL;
    take_block(arena, keep);
}

void *bz_arena_alloc_slow(struct bz_arena *arena, size_t size)
{
    struct bz_arena_block *block = arena->blocks;
    if (size > arena->left || block == NULL) {
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
        take_block(arena, block);
    }
    void *p = arena->free;
    arena->free += size;
    arena->left -= size;
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

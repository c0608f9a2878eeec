/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_BLOCK_CACHE_H
#define BZ_STORE_BLOCK_CACHE_H

/*
 * Opened blocks of sealed tables, kept within a number of bytes: what was not used for longest goes
 * first (CLOCK). A table has a slot for each of its blocks; the cache finds a block only through
 * its slot. A pinned block stays in memory, also when the cache has let go of it.
 *
 * Any thread.
 */

#include "base/bytes.h"
#include "base/error.h"

struct bz_block_cache;

/* A block's bytes, counted by who holds it. */
struct bz_block;

/* NULL when out of memory. */
struct bz_block_cache *bz_block_cache_new(uint64_t most_bytes);
void bz_block_cache_free(struct bz_block_cache *cache); /* all slots are empty; NULL does nothing */

/* New memory for a block that nobody else knows yet, pinned once; NULL when out of memory. */
struct bz_block *bz_block_new(size_t size);
uint8_t *bz_block_data(struct bz_block *block);
size_t bz_block_size(const struct bz_block *block);
void bz_block_pin(struct bz_block *block);
void bz_block_unpin(struct bz_block *block); /* NULL does nothing */

/* Where a table keeps one of its blocks; all zero when empty. */
struct bz_block_slot {
    struct bz_block *block;
};

/* The block in the slot, pinned once more, or NULL. */
struct bz_block *bz_block_cache_find(struct bz_block_cache *cache, struct bz_block_slot *slot);

/* Puts a block into the slot, unless another thread was first: then that one's block is given
 * back, and `block` unpinned. Pinned for the caller either way. What has to go to make room goes.
 */
struct bz_block *bz_block_cache_add(
    struct bz_block_cache *cache, struct bz_block_slot *slot, struct bz_block *block);

/* Empties the slot: before the table that owns it is freed. */
void bz_block_cache_drop(struct bz_block_cache *cache, struct bz_block_slot *slot);

#endif

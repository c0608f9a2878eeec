/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The blocks stand in a ring; a hand goes round. A block that was used since the hand last passed
 * is spared once, the next that was not goes. A slot is read and changed under one of a number of
 * locks, which its address chooses; the ring has a lock of its own, taken first.
 */

#include "store/block_cache.h"

#include "base/alloc.h"

#include <pthread.h>
#include <stdatomic.h>

#define STRIPES 64u

struct bz_block {
    atomic_size_t pins; /* one of them the cache's, as long as it is in there */
    size_t size;
    atomic_bool used;
    struct bz_block_slot *slot; /* that it is in, or NULL */
    struct bz_block *next;      /* in the ring */
    struct bz_block *before;
    uint8_t data[];
};

struct bz_block_cache {
    pthread_mutex_t ring_lock;
    struct bz_block *hand;
    uint64_t bytes;
    uint64_t most;
    pthread_mutex_t stripes[STRIPES];
};

/* ---- blocks ---- */

struct bz_block *bz_block_new(size_t size)
{
    struct bz_block *block = bz_malloc(sizeof *block + size);
    if (block == NULL)
        return NULL;
    atomic_init(&block->pins, 1);
    atomic_init(&block->used, false);
    block->size = size;
    block->slot = NULL;
    block->next = block->before = NULL;
    return block;
}

uint8_t *bz_block_data(struct bz_block *block)
{
    return block->data;
}

size_t bz_block_size(const struct bz_block *block)
{
    return block->size;
}

void bz_block_pin(struct bz_block *block)
{
    atomic_fetch_add_explicit(&block->pins, 1, memory_order_relaxed);
}

void bz_block_unpin(struct bz_block *block)
{
    if (block != NULL && atomic_fetch_sub_explicit(&block->pins, 1, memory_order_acq_rel) == 1)
        bz_free(block);
}

/* ---- the ring; with its lock held ---- */

static uint64_t weight(const struct bz_block *block)
{
    return sizeof *block + block->size;
}

static void enter_ring(struct bz_block_cache *cache, struct bz_block *block)
{
    if (cache->hand == NULL) {
        block->next = block->before = block;
        cache->hand = block;
    } else {
        block->next = cache->hand;
        block->before = cache->hand->before;
        block->before->next = block;
        cache->hand->before = block;
    }
    cache->bytes += weight(block);
}

static void leave_ring(struct bz_block_cache *cache, struct bz_block *block)
{
    if (cache->hand == block)
        cache->hand = block->next == block ? NULL : block->next;
    block->next->before = block->before;
    block->before->next = block->next;
    cache->bytes -= weight(block);
}

/* ---- the cache ---- */

struct bz_block_cache *bz_block_cache_new(uint64_t most_bytes)
{
    struct bz_block_cache *cache = bz_zalloc(sizeof *cache);
    if (cache == NULL)
        return NULL;
    cache->most = most_bytes;
    pthread_mutex_init(&cache->ring_lock, NULL);
    for (size_t i = 0; i < STRIPES; i++)
        pthread_mutex_init(&cache->stripes[i], NULL);
    return cache;
}

void bz_block_cache_free(struct bz_block_cache *cache)
{
    if (cache == NULL)
        return;
    for (size_t i = 0; i < STRIPES; i++)
        pthread_mutex_destroy(&cache->stripes[i]);
    pthread_mutex_destroy(&cache->ring_lock);
    bz_free(cache);
}

static pthread_mutex_t *stripe_of(struct bz_block_cache *cache, const struct bz_block_slot *slot)
{
    uintptr_t address = (uintptr_t)slot / sizeof *slot;
    return &cache->stripes[(address ^ address >> 6) % STRIPES];
}

struct bz_block *bz_block_cache_find(struct bz_block_cache *cache, struct bz_block_slot *slot)
{
    pthread_mutex_t *stripe = stripe_of(cache, slot);
    pthread_mutex_lock(stripe);
    struct bz_block *block = slot->block;
    if (block != NULL)
        bz_block_pin(block);
    pthread_mutex_unlock(stripe);
    if (block != NULL && !atomic_load_explicit(&block->used, memory_order_relaxed))
        atomic_store_explicit(&block->used, true, memory_order_relaxed);
    return block;
}

/* With the ring's lock held: takes a block that is in the ring out of it and out of its slot. */
static void evict(struct bz_block_cache *cache, struct bz_block *block)
{
    pthread_mutex_t *stripe = stripe_of(cache, block->slot);
    leave_ring(cache, block);
    pthread_mutex_lock(stripe);
    block->slot->block = NULL;
    pthread_mutex_unlock(stripe);
    bz_block_unpin(block);
}

/* With the ring's lock held. */
static void make_room(struct bz_block_cache *cache)
{
    while (cache->hand != NULL && cache->bytes > cache->most) {
        struct bz_block *block = cache->hand;
        if (atomic_exchange_explicit(&block->used, false, memory_order_relaxed))
            cache->hand = block->next;
        else
            evict(cache, block);
    }
}

struct bz_block *bz_block_cache_add(
    struct bz_block_cache *cache, struct bz_block_slot *slot, struct bz_block *block)
{
    pthread_mutex_t *stripe = stripe_of(cache, slot);
    pthread_mutex_lock(&cache->ring_lock);
    pthread_mutex_lock(stripe);
    struct bz_block *first = slot->block;
    if (first == NULL) {
        slot->block = block;
        block->slot = slot;
        bz_block_pin(block);
    } else {
        bz_block_pin(first);
    }
    pthread_mutex_unlock(stripe);
    if (first == NULL) {
        enter_ring(cache, block);
        make_room(cache);
    }
    pthread_mutex_unlock(&cache->ring_lock);
    if (first == NULL)
        return block;
    bz_block_unpin(block);
    return first;
}

void bz_block_cache_drop(struct bz_block_cache *cache, struct bz_block_slot *slot)
{
    pthread_mutex_lock(&cache->ring_lock);
    if (slot->block != NULL) /* nobody else changes it without the ring's lock */
        evict(cache, slot->block);
    pthread_mutex_unlock(&cache->ring_lock);
}

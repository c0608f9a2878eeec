/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The blocks stand in a ring. What is found gets its `used` mark; when room is needed a hand goes
 * round, takes marks away, and takes out what had none: first what nobody pins, and only if that is
 * not enough the rest. So the cache itself never holds more than it may, and what it has let go of
 * is freed when the last pin goes.
 *
 * A slot is read and written under one of STRIPES locks, chosen by its address; the ring under its
 * own. Whoever needs both takes that of the ring first. Finding only takes the stripe's: a block
 * that is in a slot has the cache's count, so it cannot go while it gets one more.
 */

#include "store/block_cache.h"

#include "base/alloc.h"

#include <pthread.h>
#include <stdatomic.h>

#define STRIPES 64u
#define TURNS   3u /* of the hand: marks go, then what is not pinned, then what is */

struct bz_block {
    atomic_size_t pins; /* with the cache's */
    size_t size;
    struct bz_block_slot *slot; /* this and the next two: under the lock of the ring */
    struct bz_block *next;
    struct bz_block *prev;
    atomic_bool used;
    _Alignas(16) uint8_t data[];
};

struct bz_block_cache {
    uint64_t most;
    pthread_mutex_t lock;  /* of the ring */
    struct bz_block *hand; /* NULL when the ring is empty */
    size_t count;
    uint64_t bytes;
    pthread_mutex_t stripes[STRIPES];
};

/* ---- blocks ---- */

struct bz_block *bz_block_new(size_t size)
{
    struct bz_block *block = bz_malloc(sizeof *block + size);
    if (block == NULL)
        return NULL;
    *block = (struct bz_block){.size = size};
    atomic_init(&block->pins, 1);
    atomic_init(&block->used, false);
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

static uint64_t footprint(const struct bz_block *block)
{
    return sizeof *block + block->size;
}

/* ---- the cache ---- */

struct bz_block_cache *bz_block_cache_new(uint64_t most_bytes)
{
    struct bz_block_cache *cache = bz_zalloc(sizeof *cache);
    if (cache == NULL)
        return NULL;
    cache->most = most_bytes;
    pthread_mutex_init(&cache->lock, NULL);
    for (unsigned i = 0; i < STRIPES; i++)
        pthread_mutex_init(&cache->stripes[i], NULL);
    return cache;
}

void bz_block_cache_free(struct bz_block_cache *cache)
{
    if (cache == NULL)
        return;
    for (unsigned i = 0; i < STRIPES; i++)
        pthread_mutex_destroy(&cache->stripes[i]);
    pthread_mutex_destroy(&cache->lock);
    bz_free(cache);
}

static pthread_mutex_t *stripe_of(struct bz_block_cache *cache, const struct bz_block_slot *slot)
{
    return &cache->stripes[(uintptr_t)slot / sizeof *slot % STRIPES];
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

/* ---- the ring, under its lock ---- */

/* Just behind the hand: last in turn. */
static void link_block(struct bz_block_cache *cache, struct bz_block *block)
{
    struct bz_block *hand = cache->hand;
    if (hand == NULL) {
        block->next = block->prev = block;
        cache->hand = block;
    } else {
        block->next = hand;
        block->prev = hand->prev;
        hand->prev->next = block;
        hand->prev = block;
    }
    cache->count++;
    cache->bytes += footprint(block);
}

static void unlink_block(struct bz_block_cache *cache, struct bz_block *block)
{
    block->prev->next = block->next;
    block->next->prev = block->prev;
    if (cache->hand == block)
        cache->hand = block->next == block ? NULL : block->next;
    cache->count--;
    cache->bytes -= footprint(block);
}

/* Takes a block out of its slot and the ring, unless it is pinned and must not be. */
static void take_out(struct bz_block_cache *cache, struct bz_block *block, bool pinned_too)
{
    pthread_mutex_t *stripe = stripe_of(cache, block->slot);
    pthread_mutex_lock(stripe);
    bool goes = pinned_too || atomic_load_explicit(&block->pins, memory_order_relaxed) == 1;
    if (goes)
        block->slot->block = NULL;
    pthread_mutex_unlock(stripe);
    if (goes) {
        unlink_block(cache, block);
        bz_block_unpin(block);
    }
}

static void make_room(struct bz_block_cache *cache)
{
    for (unsigned turn = 0; turn < TURNS; turn++) {
        for (size_t left = cache->count; left > 0 && cache->bytes > cache->most; left--) {
            struct bz_block *block = cache->hand;
            cache->hand = block->next;
            if (atomic_exchange_explicit(&block->used, false, memory_order_relaxed) && turn == 0)
                continue;
            take_out(cache, block, turn == TURNS - 1);
        }
    }
}

struct bz_block *bz_block_cache_add(
    struct bz_block_cache *cache, struct bz_block_slot *slot, struct bz_block *block)
{
    if (footprint(block) > cache->most)
        return block; /* would only drive out all others */
    pthread_mutex_t *stripe = stripe_of(cache, slot);
    pthread_mutex_lock(&cache->lock);
    pthread_mutex_lock(stripe);
    struct bz_block *first = slot->block;
    bz_block_pin(first != NULL ? first : block);
    if (first == NULL)
        slot->block = block;
    pthread_mutex_unlock(stripe);
    if (first == NULL) {
        block->slot = slot;
        link_block(cache, block);
        make_room(cache);
    }
    pthread_mutex_unlock(&cache->lock);
    if (first == NULL)
        return block;
    bz_block_unpin(block);
    return first;
}

void bz_block_cache_drop(struct bz_block_cache *cache, struct bz_block_slot *slot)
{
    pthread_mutex_lock(&cache->lock);
    if (slot->block != NULL) /* written only with this lock too */
        take_out(cache, slot->block, true);
    pthread_mutex_unlock(&cache->lock);
}

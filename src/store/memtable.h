/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_MEMTABLE_H
#define BZ_STORE_MEMTABLE_H

/*
 * Ordered versions in memory: skip lists whose nodes lie in an arena.
 *
 * A node is one version of a key: a value, or the mark that the key was deleted, at an LSN. Lists
 * order by (map, key, LSN descending), so that the newest version of a key comes first. One thread
 * at a time links nodes; any number reads meanwhile without locks, each up to the LSN that it knows
 * to be whole.
 *
 * A transaction keeps its writes in a list of its own, with its write numbers in place of LSNs, in
 * nodes from the arena of the memtable that they will move to: committing links the same nodes
 * there and can no longer run out of memory.
 */

#include "base/arena.h"

#include <stdatomic.h>

#define BZ_MEM_HEIGHT_MAX 12
#define BZ_MEM_MAPS_MAX   32

struct bz_mem_node;
typedef _Atomic(struct bz_mem_node *) bz_mem_link;

struct bz_mem_node {
    uint64_t
        prefix; /* map and first bytes of the key: orders most nodes without a look at the key */
    uint64_t lsn;
    struct bz_mem_node *chain; /* for whoever makes nodes: undo order, or the order of a frame */
    uint32_t value_size;
    uint16_t key_size;
    uint8_t map;
    uint8_t height;
    bool deleted;
    bz_mem_link next[]; /* `height` of them, then the key, then the value */
};

struct bz_mem_list {
    bz_mem_link head[BZ_MEM_HEIGHT_MAX];
    atomic_uint height;
    atomic_size_t count;
};

/* Where a node was linked: makes linking one that comes soon behind it cheap. */
struct bz_mem_finger {
    const struct bz_mem_node *node;
    bz_mem_link *before[BZ_MEM_HEIGHT_MAX]; /* whose next, on each level, is behind the node */
};

struct bz_memtable {
    atomic_size_t refs;
    struct bz_mem_list list;
    struct bz_mem_finger fingers[BZ_MEM_MAPS_MAX]; /* the writer's, like the arena */
    struct bz_arena arena;
    atomic_size_t bytes; /* of the arena */
    uint64_t random;
    uint64_t filter_mask;     /* bits of the filter, less one */
    _Atomic uint64_t *filter; /* a Bloom filter of the keys; NULL: no memory for one */
};

static inline struct bz_bytes bz_mem_key(const struct bz_mem_node *node)
{
    return bz_bytes(node->next + node->height, node->key_size);
}

static inline struct bz_bytes bz_mem_value(const struct bz_mem_node *node)
{
    return bz_bytes(
        (const uint8_t *)(node->next + node->height) + node->key_size, node->value_size);
}

/* The node behind in the list's order: another version of the key, or another key. */
static inline struct bz_mem_node *bz_mem_next(const struct bz_mem_node *node)
{
    return atomic_load_explicit(&node->next[0], memory_order_acquire);
}

static inline bool bz_mem_same_key(const struct bz_mem_node *a, const struct bz_mem_node *b)
{
    return a->map == b->map && bz_bytes_equal(bz_mem_key(a), bz_mem_key(b));
}

/* In the order of a list: its first key, and the one behind that of `node`; the newest version. */
static inline struct bz_mem_node *bz_mem_first(const struct bz_mem_list *list)
{
    return atomic_load_explicit(&list->head[0], memory_order_acquire);
}

static inline struct bz_mem_node *bz_mem_next_key(const struct bz_mem_node *node)
{
    struct bz_mem_node *next = bz_mem_next(node);
    while (next != NULL && bz_mem_same_key(next, node))
        next = bz_mem_next(next);
    return next;
}

/* `expected`: the bytes that it is to hold, for the size of the filter. */
struct bz_memtable *bz_memtable_new(uint64_t expected);
struct bz_memtable *bz_memtable_retain(struct bz_memtable *table);
void bz_memtable_release(struct bz_memtable *table);

static inline bool bz_memtable_empty(const struct bz_memtable *table)
{
    return atomic_load_explicit(&table->list.count, memory_order_acquire) == 0;
}

/* A node that is in no list yet, with copies of key and value; NULL when out of memory. `deleted`
 * nodes have no value. */
struct bz_mem_node *bz_memtable_node(struct bz_memtable *table, uint32_t map, struct bz_bytes key,
    struct bz_bytes value, bool deleted);

/* Links a node of the table into it, at `lsn`. */
void bz_memtable_link(struct bz_memtable *table, struct bz_mem_node *node, uint64_t lsn);

/* As bz_mem_get(), and quick to tell that the key is not there. */
const struct bz_mem_node *bz_memtable_get(
    const struct bz_memtable *table, uint32_t map, struct bz_bytes key, uint64_t lsn);

void bz_mem_list_init(struct bz_mem_list *list);

/* Links `node` at `lsn`. */
void bz_mem_link_node(struct bz_mem_list *list, struct bz_mem_node *node, uint64_t lsn);

/* Takes a node out again. Only from a list that no other thread reads. */
void bz_mem_unlink(struct bz_mem_list *list, struct bz_mem_node *node);

/*
 * Reading at an LSN. All give the newest version up to `lsn`, deletions included, or NULL:
 * of `key`; of the first key >= `key`; of the key after that of `node`; of the last key < `key`;
 * of the last key of the map.
 */
const struct bz_mem_node *bz_mem_get(
    const struct bz_mem_list *list, uint32_t map, struct bz_bytes key, uint64_t lsn);
const struct bz_mem_node *bz_mem_seek(
    const struct bz_mem_list *list, uint32_t map, struct bz_bytes key, uint64_t lsn);
const struct bz_mem_node *bz_mem_after(const struct bz_mem_node *node, uint64_t lsn);
const struct bz_mem_node *bz_mem_before(
    const struct bz_mem_list *list, uint32_t map, struct bz_bytes key, uint64_t lsn);
const struct bz_mem_node *bz_mem_last(const struct bz_mem_list *list, uint32_t map, uint64_t lsn);

#endif

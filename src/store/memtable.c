/* SPDX-License-Identifier: Apache-2.0 */
#include "store/memtable.h"

#include "base/alloc.h"
#include "base/hash.h"

#include <string.h>

#define NEAR 5 /* levels that a finger climbs: some thousand nodes */

static struct bz_mem_node *load(const bz_mem_link *link)
{
    return atomic_load_explicit(link, memory_order_acquire);
}

/* What is searched for. */
struct target {
    uint64_t prefix;
    uint64_t lsn;
    struct bz_bytes key;
};

static uint64_t prefix_of(uint32_t map, struct bz_bytes key)
{
    uint64_t prefix = (uint64_t)map << 56;
    if (key.size >= 8)
        return prefix | bz_load64be(key.data) >> 8;
    for (size_t i = 0; i < key.size && i < 7; i++)
        prefix |= (uint64_t)key.data[i] << (48 - 8 * i);
    return prefix;
}

static struct target target_at(uint32_t map, struct bz_bytes key, uint64_t lsn)
{
    return (struct target){prefix_of(map, key), lsn, key};
}

static int compare_key(const struct bz_mem_node *node, const struct target *target)
{
    if (node->prefix != target->prefix)
        return node->prefix < target->prefix ? -1 : 1;
    return bz_bytes_compare(bz_mem_key(node), target->key);
}

/* In the order of lists: a newer version comes before an older one. */
static int compare(const struct bz_mem_node *node, const struct target *target)
{
    int order = compare_key(node, target);
    return order != 0 ? order : (node->lsn < target->lsn) - (node->lsn > target->lsn);
}

/* ---- the filter ---- */

/*
 * Most keys that are asked for are in the base alone, and a skip list is slow to say no. Two bits a
 * key, from the two halves of a hash. Bits are set before the LSN that makes the key visible is
 * published, so whoever may see the key sees its bits.
 */
#define BYTES_A_BIT     16u /* a node has about a hundred bytes: six bits for it */
#define FILTER_BITS_MIN ((uint64_t)1 << 12)
#define FILTER_BITS_MAX ((uint64_t)1 << 26)

static uint64_t filter_hash(uint32_t map, struct bz_bytes key)
{
    return bz_hash64(key.data, key.size, map);
}

static void filter_set(struct bz_memtable *table, uint64_t bit)
{
    _Atomic uint64_t *word = &table->filter[(bit & table->filter_mask) / 64];
    uint64_t old = atomic_load_explicit(word, memory_order_relaxed);
    atomic_store_explicit(word, old | (uint64_t)1 << (bit % 64), memory_order_relaxed);
}

static bool filter_has(const struct bz_memtable *table, uint64_t bit)
{
    uint64_t word =
        atomic_load_explicit(&table->filter[(bit & table->filter_mask) / 64], memory_order_relaxed);
    return (word >> (bit % 64) & 1) != 0;
}

/* ---- tables and nodes ---- */

struct bz_memtable *bz_memtable_new(uint64_t expected)
{
    struct bz_memtable *table = bz_zalloc(sizeof *table);
    if (table == NULL)
        return NULL;
    atomic_init(&table->refs, 1);
    bz_mem_list_init(&table->list);
    bz_arena_init(&table->arena);
    table->random = 0x9e3779b97f4a7c15u;
    uint64_t bits = FILTER_BITS_MIN;
    while (bits < expected / BYTES_A_BIT && bits < FILTER_BITS_MAX)
        bits *= 2;
    table->filter_mask = bits - 1;
    table->filter = bz_zalloc(bits / 8); /* doing without is slower, not wrong */
    return table;
}

struct bz_memtable *bz_memtable_retain(struct bz_memtable *table)
{
    if (table != NULL)
        atomic_fetch_add_explicit(&table->refs, 1, memory_order_relaxed);
    return table;
}

void bz_memtable_release(struct bz_memtable *table)
{
    if (table == NULL || atomic_fetch_sub_explicit(&table->refs, 1, memory_order_acq_rel) != 1)
        return;
    bz_arena_release(&table->arena);
    bz_free(table->filter);
    bz_free(table);
}

/* 1 with a probability of 3/4, 2 of 3/16, and so on. */
static uint8_t random_height(struct bz_memtable *table)
{
    uint64_t x = table->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    table->random = x;
    uint8_t height = 1;
    while (height < BZ_MEM_HEIGHT_MAX && (x & 3) == 0) {
        height++;
        x >>= 2;
    }
    return height;
}

struct bz_mem_node *bz_memtable_node(struct bz_memtable *table, uint32_t map, struct bz_bytes key,
    struct bz_bytes value, bool deleted)
{
    uint8_t height = random_height(table);
    struct bz_mem_node *node;
    size_t size = sizeof *node + height * sizeof node->next[0] + key.size + value.size;
    node = bz_arena_alloc(&table->arena, size);
    if (node == NULL)
        return NULL;
    atomic_store_explicit(&table->bytes, table->arena.total, memory_order_relaxed);
    node->prefix = prefix_of(map, key);
    node->lsn = 0;
    node->chain = NULL;
    node->value_size = (uint32_t)value.size;
    node->key_size = (uint16_t)key.size;
    node->map = (uint8_t)map;
    node->height = height;
    node->deleted = deleted;
    uint8_t *data = (uint8_t *)(node->next + height);
    memcpy(data, key.data, key.size);
    if (value.size > 0)
        memcpy(data + key.size, value.data, value.size);
    return node;
}

/* ---- linking ---- */

void bz_mem_list_init(struct bz_mem_list *list)
{
    for (size_t i = 0; i < BZ_MEM_HEIGHT_MAX; i++)
        atomic_init(&list->head[i], NULL);
    atomic_init(&list->height, 1);
    atomic_init(&list->count, 0);
}

/* The node below is likely to be the next that is looked at: it comes from memory while the one on
 * this level does. */
static void fetch_below(const bz_mem_link *links, unsigned level)
{
    if (level > 0)
        __builtin_prefetch(load(&links[level - 1]));
}

/* From `links` on, goes along `level` while nodes come before the target. *past, which is known not
 * to, is moved to the node where it ends. */
static bz_mem_link *walk(bz_mem_link *links, unsigned level, const struct target *target,
    const struct bz_mem_node **past)
{
    struct bz_mem_node *node;
    fetch_below(links, level);
    while ((node = load(&links[level])) != *past && node != NULL && compare(node, target) < 0) {
        links = node->next;
        fetch_below(links, level);
    }
    *past = node;
    return links;
}

/* Sets before[level] to the links after which the target belongs, on all levels. */
static void find_place(struct bz_mem_list *list, const struct target *target, bz_mem_link **before)
{
    bz_mem_link *links = list->head;
    const struct bz_mem_node *past = NULL;
    unsigned height = atomic_load_explicit(&list->height, memory_order_relaxed);
    for (unsigned level = BZ_MEM_HEIGHT_MAX; level-- > 0;) {
        if (level < height)
            links = walk(links, level, target, &past);
        before[level] = links;
    }
}

static bool short_of(bz_mem_link *links, unsigned level, const struct target *target)
{
    const struct bz_mem_node *next = load(&links[level]);
    return next != NULL && compare(next, target) < 0;
}

/* The same, as far as a node of `height` needs it, for a target behind the place that `before` has,
 * if it is near: climbs only as far as the distance asks for. Another finger may have linked nodes
 * in between that show on an upper level only, so no level is taken on trust. */
static bool find_place_near(const struct target *target, unsigned height, bz_mem_link **before)
{
    if (short_of(before[NEAR], NEAR, target))
        return false;
    for (unsigned level = NEAR + 1; level < height; level++) {
        if (short_of(before[level], level, target))
            return false;
    }
    unsigned top = 0; /* all levels from here on are right */
    for (unsigned level = 0; level < NEAR && (level == top || level < height); level++) {
        if (short_of(before[level], level, target))
            top = level + 1;
    }
    if (top == 0)
        return true;
    /* Levels below may fall short too, so each may start where the one above has come to. */
    bz_mem_link *links = before[top - 1];
    const struct bz_mem_node *past = NULL;
    for (unsigned level = top; level-- > 0;)
        before[level] = links = walk(links, level, target, &past);
    return true;
}

/* Links the node at the place found; `before` is then behind it. */
static void link_at(struct bz_mem_list *list, struct bz_mem_node *node, bz_mem_link **before)
{
    for (unsigned level = 0; level < node->height; level++) {
        bz_mem_link *link = &before[level][level];
        atomic_init(&node->next[level], atomic_load_explicit(link, memory_order_relaxed));
        atomic_store_explicit(link, node, memory_order_release);
        before[level] = node->next;
    }
    if (node->height > atomic_load_explicit(&list->height, memory_order_relaxed))
        atomic_store_explicit(&list->height, node->height, memory_order_relaxed);
    size_t count = atomic_load_explicit(&list->count, memory_order_relaxed);
    atomic_store_explicit(&list->count, count + 1, memory_order_release);
}

void bz_mem_link_node(struct bz_mem_list *list, struct bz_mem_node *node, uint64_t lsn)
{
    bz_mem_link *before[BZ_MEM_HEIGHT_MAX];
    node->lsn = lsn;
    struct target target = {node->prefix, lsn, bz_mem_key(node)};
    find_place(list, &target, before);
    link_at(list, node, before);
}

void bz_mem_unlink(struct bz_mem_list *list, struct bz_mem_node *node)
{
    bz_mem_link *before[BZ_MEM_HEIGHT_MAX];
    struct target target = {node->prefix, node->lsn, bz_mem_key(node)};
    find_place(list, &target, before);
    for (unsigned level = 0; level < node->height; level++)
        atomic_store_explicit(
            &before[level][level], load(&node->next[level]), memory_order_relaxed);
    size_t count = atomic_load_explicit(&list->count, memory_order_relaxed);
    atomic_store_explicit(&list->count, count - 1, memory_order_relaxed);
}

/* ---- reading ---- */

/* The first node at or behind the target. */
static const struct bz_mem_node *find(const struct bz_mem_list *list, const struct target *target)
{
    const bz_mem_link *links = list->head;
    const struct bz_mem_node *past = NULL; /* known to be at or behind */
    unsigned level = atomic_load_explicit(&list->height, memory_order_relaxed);
    while (level-- > 0) {
        const struct bz_mem_node *node;
        fetch_below(links, level);
        while ((node = load(&links[level])) != past && node != NULL && compare(node, target) < 0) {
            links = node->next;
            fetch_below(links, level);
        }
        past = node;
    }
    return past;
}

/* From `node`, the first of its versions of its key on, to one that `lsn` sees, in `map`. */
static const struct bz_mem_node *visible(const struct bz_mem_node *node, uint32_t map, uint64_t lsn)
{
    while (node != NULL && node->map == map && node->lsn > lsn)
        node = bz_mem_next(node);
    return node != NULL && node->map == map ? node : NULL;
}

const struct bz_mem_node *bz_mem_get(
    const struct bz_mem_list *list, uint32_t map, struct bz_bytes key, uint64_t lsn)
{
    struct target target = target_at(map, key, lsn);
    const struct bz_mem_node *node = find(list, &target);
    return node != NULL && compare_key(node, &target) == 0 ? node : NULL;
}

const struct bz_mem_node *bz_mem_seek(
    const struct bz_mem_list *list, uint32_t map, struct bz_bytes key, uint64_t lsn)
{
    struct target target = target_at(map, key, lsn);
    return visible(find(list, &target), map, lsn);
}

/* The oldest version of the key of `node`. A key that is written again and again has many: towers
 * on the way make the steps longer and, near the end, shorter again. */
static const struct bz_mem_node *oldest(const struct bz_mem_node *node)
{
    const struct bz_mem_node *next = bz_mem_next(node);
    unsigned level = 1;
    while (next != NULL && bz_mem_same_key(next, node)) {
        node = next;
        level = node->height;
        next = load(&node->next[level - 1]);
        while (level > 1 && (next == NULL || !bz_mem_same_key(next, node)))
            next = load(&node->next[--level - 1]);
    }
    return node;
}

const struct bz_mem_node *bz_mem_after(const struct bz_mem_node *node, uint64_t lsn)
{
    return visible(bz_mem_next(oldest(node)), node->map, lsn);
}

/* The last node whose key is before (map, key): its oldest version. */
static const struct bz_mem_node *find_before(
    const struct bz_mem_list *list, uint32_t map, struct bz_bytes key)
{
    const bz_mem_link *links = list->head;
    const struct bz_mem_node *last = NULL;
    struct target target = target_at(map, key, 0);
    unsigned level = atomic_load_explicit(&list->height, memory_order_relaxed);
    while (level-- > 0) {
        const struct bz_mem_node *node;
        while ((node = load(&links[level])) != NULL && compare_key(node, &target) < 0) {
            last = node;
            links = node->next;
        }
    }
    return last;
}

/* The version that `lsn` sees of the key of `node`, or of the nearest key before that has one. */
static const struct bz_mem_node *visible_before(
    const struct bz_mem_list *list, const struct bz_mem_node *node, uint32_t map, uint64_t lsn)
{
    while (node != NULL && node->map == map) {
        const struct bz_mem_node *found = bz_mem_get(list, map, bz_mem_key(node), lsn);
        if (found != NULL)
            return found;
        node = find_before(list, map, bz_mem_key(node));
    }
    return NULL;
}

const struct bz_mem_node *bz_mem_before(
    const struct bz_mem_list *list, uint32_t map, struct bz_bytes key, uint64_t lsn)
{
    return visible_before(list, find_before(list, map, key), map, lsn);
}

const struct bz_mem_node *bz_mem_last(const struct bz_mem_list *list, uint32_t map, uint64_t lsn)
{
    return visible_before(list, find_before(list, map + 1, bz_bytes(NULL, 0)), map, lsn);
}

/* ---- with filter and fingers ---- */

/* Commits often go on where the one before in their map left off, or close behind: new records by
 * time, the change log, sorted batches. */
static void link_by_finger(struct bz_memtable *table, struct bz_mem_node *node)
{
    struct bz_mem_finger *finger = &table->fingers[node->map % BZ_MEM_MAPS_MAX];
    struct target target = {node->prefix, node->lsn, bz_mem_key(node)};
    if (finger->node == NULL || compare(finger->node, &target) >= 0 ||
        !find_place_near(&target, node->height, finger->before))
        find_place(&table->list, &target, finger->before);
    link_at(&table->list, node, finger->before);
    finger->node = node;
}

void bz_memtable_link(struct bz_memtable *table, struct bz_mem_node *node, uint64_t lsn)
{
    if (table->filter != NULL) {
        uint64_t hash = filter_hash(node->map, bz_mem_key(node));
        filter_set(table, hash);
        filter_set(table, hash >> 32);
    }
    node->lsn = lsn;
    link_by_finger(table, node);
}

const struct bz_mem_node *bz_memtable_get(
    const struct bz_memtable *table, uint32_t map, struct bz_bytes key, uint64_t lsn)
{
    if (table->filter != NULL) {
        uint64_t hash = filter_hash(map, key);
        if (!filter_has(table, hash) || !filter_has(table, hash >> 32))
            return NULL;
    }
    return bz_mem_get(&table->list, map, key, lsn);
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A block of entries:
 *
 *   0  4  n: number of entries
 *   4  4  size of the keys
 *   8  4  skip: how many bytes the first and the last key have in common
 *   12    restarts: for each eighth entry but the first
 *           2 bytes  where its key begins, counted from the first key
 *           2 bytes  where its value begins, counted from the first value
 *           4 bytes  what follows the skipped bytes of its key, as a number (its prefix)
 *   ...   keys: of each entry
 *           varint  how many bytes it shares with the key before; 0 at a restart
 *           varint  how many follow
 *           varint  size of the value x 2, + 1 for a delete, which has no value
 *           bytes   of the key
 *   ...   values
 *
 * What is shared is always all that can be, except at a restart. That lets a search compare without
 * putting keys together (below).
 *
 * Blocks are checked as a whole when they are read from the file. Still every read here stays
 * within the block by itself: what is mapped may change behind a check.
 */

#include "store/table_format.h"

#include <assert.h>

#define FIXED        12u
#define RESTART_SIZE 8u

/* ---- reading ---- */

static uint64_t restart_count(uint32_t entries)
{
    return (entries - 1) / BZ_TABLE_RESTART; /* without the first */
}

bool bz_table_block_decode(struct bz_bytes in, struct bz_table_block *out)
{
    if (in.size < FIXED)
        return false;
    uint32_t count = bz_load32le(in.data);
    uint32_t keys_size = bz_load32le(in.data + 4);
    uint64_t restarts = count == 0 ? 0 : restart_count(count) * RESTART_SIZE;
    if (count == 0 || bz_load32le(in.data + 8) > BZ_TABLE_KEY_MAX ||
        restarts + keys_size > in.size - FIXED || (count > 1 && in.size > UINT16_MAX))
        return false;
    out->skip = bz_load32le(in.data + 8);
    out->restarts = in.data + FIXED;
    out->keys = out->restarts + restarts;
    out->values = out->keys + keys_size;
    out->end = in.data + in.size;
    out->count = count;
    return true;
}

/* A varint of up to 32 bits; NULL where there is none. */
static const uint8_t *read_varint(const uint8_t *p, const uint8_t *end, uint32_t *out)
{
    struct bz_reader reader = {p, end, true};
    uint64_t v = bz_read_varint(&reader);
    if (!reader.ok || v > UINT32_MAX)
        return NULL;
    *out = (uint32_t)v;
    return reader.p;
}

const uint8_t *bz_table_block_read_slowly(
    const uint8_t *p, const uint8_t *end, struct bz_table_block_entry *out)
{
    uint32_t tag;
    if ((p = read_varint(p, end, &out->shared)) == NULL ||
        (p = read_varint(p, end, &out->rest)) == NULL || (p = read_varint(p, end, &tag)) == NULL ||
        out->rest > (size_t)(end - p))
        return NULL;
    out->value_size = tag >> 1;
    out->deleted = (tag & 1) != 0;
    return p;
}

bool bz_table_block_restart(
    const struct bz_table_block *block, uint32_t i, const uint8_t **key, const uint8_t **value)
{
    *key = block->keys;
    *value = block->values;
    if (i == 0)
        return true;
    const uint8_t *restart = block->restarts + RESTART_SIZE * (size_t)(i - 1);
    uint16_t key_at = bz_load16le(restart);
    uint16_t value_at = bz_load16le(restart + 2);
    if (key_at > block->values - block->keys || value_at > block->end - block->values)
        return false;
    *key += key_at;
    *value += value_at;
    return true;
}

/* The key of the entry at `p`, which is a whole one; no bytes where it is malformed. */
static struct bz_bytes key_at(const uint8_t *p, const uint8_t *end)
{
    struct bz_table_block_entry entry;
    p = bz_table_block_read(p, end, &entry);
    return p != NULL && entry.shared == 0 ? bz_bytes(p, entry.rest) : bz_bytes(NULL, 0);
}

static struct bz_bytes restart_key(const struct bz_table_block *block, uint32_t i)
{
    const uint8_t *p, *value;
    if (!bz_table_block_restart(block, i, &p, &value))
        return bz_bytes(NULL, 0);
    return key_at(p, block->values);
}

/* 4 bytes of a key behind those skipped, as if zeroes followed it. */
static uint32_t prefix_of(struct bz_bytes key, uint32_t skip)
{
    uint8_t bytes[4] = {0};
    size_t left = key.size > skip ? key.size - skip : 0;
    memcpy(bytes, key.data + (left > 0 ? skip : 0), left < 4 ? left : 4);
    return bz_load32be(bytes);
}

/* How many restarts behind the first have a prefix that is less than this one. */
static uint32_t count_below(const struct bz_table_block *block, uint64_t prefix)
{
    uint32_t low = 0, high = (uint32_t)restart_count(block->count);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (bz_load32le(block->restarts + RESTART_SIZE * (size_t)middle + 4) < prefix)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Of the restarts from `low` to before `high` the last one at or before the target, as `low` is. */
static int search_among(const struct bz_table_block *block, const struct bz_table_target *target,
    uint32_t low, uint32_t high, uint32_t *out)
{
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        struct bz_bytes key = restart_key(block, middle);
        if (key.size == 0)
            return BLAZE_ECORRUPT;
        if (bz_table_target_compare(target, key) < 0)
            high = middle;
        else
            low = middle;
    }
    *out = low;
    return 0;
}

int bz_table_block_search(
    const struct bz_table_block *block, const struct bz_table_target *target, uint32_t *out)
{
    *out = 0;
    if (block->count <= BZ_TABLE_RESTART)
        return 0;
    struct bz_bytes first = restart_key(block, 0);
    if (first.size == 0 || first.size < block->skip)
        return BLAZE_ECORRUPT;
    first.size = block->skip;
    size_t size = target->size < block->skip ? target->size : block->skip;
    int order = bz_bytes_compare(bz_bytes(target->bytes, size), first);
    if (order < 0)
        return 0;
    if (order > 0) {
        *out = (uint32_t)restart_count(block->count);
        return 0;
    }
    uint32_t prefix = bz_load32be(target->bytes + block->skip);
    uint32_t low = count_below(block, prefix);
    uint32_t high = count_below(block, (uint64_t)prefix + 1);
    return search_among(block, target, low, high + 1, out);
}

/*
 * Goes along the keys from a restart on. `matched` is how much of the target the key before has,
 * and that key is before the target. A key that shares more with it than that differs from the
 * target in the same byte, so it is before the target too; one that shares less is behind it.
 */
static int walk_to(const struct bz_table_block *block, uint32_t restart,
    const struct bz_table_target *target, struct bz_table_block_entry *entry, const uint8_t **value)
{
    const uint8_t *p;
    uint32_t left = block->count - restart * BZ_TABLE_RESTART;
    size_t matched = 0;
    if (left > BZ_TABLE_RESTART)
        left = BZ_TABLE_RESTART;
    if (!bz_table_block_restart(block, restart, &p, value))
        return BLAZE_ECORRUPT;
    for (; left > 0; left--) {
        p = bz_table_block_read(p, block->values, entry);
        if (p == NULL)
            return BLAZE_ECORRUPT;
        if (entry->shared < matched)
            return BLAZE_ENOTFOUND;
        if (entry->shared == matched) {
            size_t most =
                target->size - matched < entry->rest ? target->size - matched : entry->rest;
            const uint8_t *want = target->bytes + matched;
            size_t i = 0;
            while (i < most && p[i] == want[i])
                i++;
            matched += i;
            if (i == entry->rest && matched == target->size)
                return 0;
            if (i < entry->rest && (matched == target->size || p[i] > want[i]))
                return BLAZE_ENOTFOUND;
        }
        p += entry->rest;
        if (entry->value_size > (size_t)(block->end - *value))
            return BLAZE_ECORRUPT;
        *value += entry->value_size;
    }
    return BLAZE_ENOTFOUND;
}

int bz_table_block_get(
    struct bz_bytes in, const struct bz_table_target *target, bool *deleted, struct bz_bytes *value)
{
    struct bz_table_block block;
    struct bz_table_block_entry entry;
    const uint8_t *at;
    uint32_t restart;
    if (!bz_table_block_decode(in, &block))
        return BLAZE_ECORRUPT;
    int rc = bz_table_block_search(&block, target, &restart);
    if (rc == 0)
        rc = walk_to(&block, restart, target, &entry, &at);
    if (rc != 0)
        return rc;
    if (entry.value_size > (size_t)(block.end - at))
        return BLAZE_ECORRUPT;
    *deleted = entry.deleted;
    *value = bz_bytes(at, entry.value_size);
    return 0;
}

/* ---- checking ---- */

/* Where a check of a whole block has come to. */
struct check {
    const uint8_t *p;
    const uint8_t *value;
    size_t size;
    uint8_t key[BZ_TABLE_KEY_MAX];
};

/* Whether the entry at hand follows the key before. */
static bool follows(const struct check *check, uint32_t number,
    const struct bz_table_block_entry *entry, const uint8_t *rest)
{
    if (number % BZ_TABLE_RESTART == 0)
        return entry->shared == 0 && entry->rest >= 2 &&
               (number == 0 || bz_bytes_compare(bz_bytes(check->key, check->size),
                                   bz_bytes(rest, entry->rest)) < 0);
    return entry->shared <= check->size && entry->rest > 0 &&
           (entry->shared == check->size || rest[0] > check->key[entry->shared]);
}

static bool check_prefix(const struct bz_table_block *block, uint32_t restart)
{
    struct bz_bytes key = restart_key(block, restart);
    if (restart == 0 || key.size == 0)
        return restart == 0;
    uint32_t prefix = bz_load32le(block->restarts + RESTART_SIZE * (size_t)(restart - 1) + 4);
    return prefix == prefix_of(key, block->skip);
}

static bool check_entry(const struct bz_table_block *block, uint32_t number, struct check *check,
    struct bz_table_block_counts *counts)
{
    struct bz_table_block_entry entry;
    if (number % BZ_TABLE_RESTART == 0) {
        const uint8_t *p, *value;
        if (!bz_table_block_restart(block, number / BZ_TABLE_RESTART, &p, &value) ||
            p != check->p || value != check->value ||
            !check_prefix(block, number / BZ_TABLE_RESTART))
            return false;
    }
    const uint8_t *rest = bz_table_block_read(check->p, block->values, &entry);
    if (rest == NULL || !follows(check, number, &entry, rest) ||
        entry.shared + entry.rest > BZ_TABLE_KEY_MAX || (entry.deleted && entry.value_size > 0) ||
        entry.value_size > BZ_TABLE_VALUE_MAX ||
        entry.value_size > (size_t)(block->end - check->value))
        return false;
    memcpy(check->key + entry.shared, rest, entry.rest);
    check->size = entry.shared + entry.rest;
    check->p = rest + entry.rest;
    check->value += entry.value_size;
    counts->deletes += entry.deleted;
    return true;
}

/* Whether a key may come first in block `i`, ... */
static bool may_be_first(const struct bz_table_index *index, uint32_t i, struct bz_bytes key)
{
    struct bz_bytes separator = bz_table_index_key(index, i);
    return key.size >= separator.size && memcmp(key.data, separator.data, separator.size) == 0 &&
           (i > 0 || key.size == separator.size);
}

/* ... or last. */
static bool may_be_last(const struct bz_table_index *index, uint32_t i, struct bz_bytes key)
{
    int order = bz_bytes_compare(key, bz_table_index_key(index, i + 1));
    return i + 1 < index->count ? order < 0 : order == 0;
}

bool bz_table_block_check(const struct bz_table_index *index, uint32_t i, struct bz_bytes in,
    struct bz_table_block_counts *counts)
{
    struct bz_table_block block;
    struct bz_table_block_counts unused = {0};
    if (!bz_table_block_decode(in, &block))
        return false;
    struct check check = {.p = block.keys, .value = block.values};
    if (counts == NULL)
        counts = &unused;
    for (uint32_t number = 0; number < block.count; number++) {
        if (!check_entry(&block, number, &check, counts))
            return false;
        if (number == 0 && !may_be_first(index, i, bz_bytes(check.key, check.size)))
            return false;
    }
    counts->entries += block.count;
    struct bz_bytes last = bz_bytes(check.key, check.size);
    return check.p == block.values && check.value == block.end &&
           bz_table_shared(restart_key(&block, 0), last) == block.skip &&
           may_be_last(index, i, last);
}

/* ---- making ---- */

void bz_table_builder_init(struct bz_table_builder *builder)
{
    *builder = (struct bz_table_builder){0};
    bz_buf_init(&builder->restarts, BZ_TABLE_BLOCK);
    bz_buf_init(&builder->keys, 2 * BZ_TABLE_BLOCK);
    bz_buf_init(&builder->values, BZ_TABLE_BLOCK);
}

void bz_table_builder_release(struct bz_table_builder *builder)
{
    bz_buf_release(&builder->restarts);
    bz_buf_release(&builder->keys);
    bz_buf_release(&builder->values);
}

uint64_t bz_table_builder_size(
    const struct bz_table_builder *builder, size_t key_size, size_t value_size)
{
    size_t numbers = 2 + 2 + bz_varint_size((uint64_t)value_size << 1);
    return FIXED + builder->restarts.size + RESTART_SIZE + builder->keys.size +
           builder->values.size + numbers + key_size + value_size;
}

int bz_table_builder_add(
    struct bz_table_builder *builder, struct bz_bytes key, size_t value_size, bool deleted)
{
    size_t shared = 0;
    assert(key.size >= 2 && key.size <= BZ_TABLE_KEY_MAX);
    if (builder->count % BZ_TABLE_RESTART != 0) {
        shared = bz_table_shared(bz_bytes(builder->last, builder->last_size), key);
    } else if (builder->count > 0) {
        uint8_t restart[RESTART_SIZE] = {0}; /* without the prefix, which depends on the last key */
        bz_store16le(restart, (uint16_t)builder->keys.size);
        bz_store16le(restart + 2, (uint16_t)builder->values.size);
        bz_buf_append(&builder->restarts, restart, sizeof restart);
    }
    uint8_t *start = bz_buf_reserve(&builder->keys, 3 * (size_t)BZ_VARINT_MAX + key.size);
    if (start == NULL || builder->restarts.error != 0)
        return BLAZE_ENOMEM;
    uint8_t *p = bz_varint_put(start, shared);
    p = bz_varint_put(p, key.size - shared);
    p = bz_varint_put(p, (uint64_t)value_size << 1 | (deleted ? 1u : 0u));
    memcpy(p, key.data + shared, key.size - shared);
    bz_buf_advance(&builder->keys, (size_t)(p - start) + key.size - shared);
    memcpy(builder->last + shared, key.data + shared, key.size - shared);
    builder->last_size = key.size;
    builder->count++;
    return 0;
}

/* Completes the list of restarts. How many bytes first and last key have in common. */
static uint32_t set_prefixes(struct bz_table_builder *builder)
{
    const uint8_t *keys = builder->keys.data, *end = keys + builder->keys.size;
    struct bz_bytes last = bz_bytes(builder->last, builder->last_size);
    uint32_t skip = (uint32_t)bz_table_shared(key_at(keys, end), last);
    for (size_t i = 0; i < builder->restarts.size; i += RESTART_SIZE) {
        uint8_t *restart = builder->restarts.data + i;
        struct bz_bytes key = key_at(keys + bz_load16le(restart), end);
        bz_store32le(restart + 4, prefix_of(key, skip));
    }
    return skip;
}

void bz_table_builder_end(
    struct bz_table_builder *builder, struct bz_bytes values, struct bz_buf *out)
{
    uint32_t skip = set_prefixes(builder);
    bz_buf_append32le(out, builder->count);
    bz_buf_append32le(out, (uint32_t)builder->keys.size);
    bz_buf_append32le(out, skip);
    bz_buf_append(out, builder->restarts.data, builder->restarts.size);
    bz_buf_append(out, builder->keys.data, builder->keys.size);
    bz_buf_append(out, values.data, values.size);
    bz_buf_clear(&builder->restarts);
    bz_buf_clear(&builder->keys);
    bz_buf_clear(&builder->values);
    builder->count = 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "store/table_format.h"

#include "base/hash.h"

#include <string.h>

#define FLAG_SEALED 1u

#define FILTER_BITS   10u /* a key */
#define FILTER_PROBES 6u

static const char header_magic[8] = {'B', 'l', 'a', 'z', 'e', 'T', 'b', 'l'};
static const char footer_magic[8] = {'B', 'l', 'a', 'z', 'e', 'E', 'n', 'd'};

/* ---- header and footer ---- */

void bz_table_header_encode(const struct bz_table_header *header, uint8_t out[BZ_TABLE_HEADER])
{
    memset(out, 0, BZ_TABLE_HEADER);
    memcpy(out, header_magic, sizeof header_magic);
    bz_store32le(out + 8, BZ_TABLE_VERSION);
    bz_store32le(out + 12, header->sealed ? FLAG_SEALED : 0);
    memcpy(out + 16, header->salt, BZ_TABLE_SALT);
    bz_store64le(out + 56, bz_hash64(out, 56, 0));
}

int bz_table_header_decode(const uint8_t in[BZ_TABLE_HEADER], struct bz_table_header *out)
{
    if (memcmp(in, header_magic, sizeof header_magic) != 0 ||
        bz_load64le(in + 56) != bz_hash64(in, 56, 0))
        return BLAZE_ECORRUPT;
    if (bz_load32le(in + 8) != BZ_TABLE_VERSION || bz_load32le(in + 12) > FLAG_SEALED)
        return BLAZE_EVERSION;
    out->sealed = bz_load32le(in + 12) == FLAG_SEALED;
    memcpy(out->salt, in + 16, BZ_TABLE_SALT);
    return 0;
}

void bz_table_footer_encode(const struct bz_table_footer *footer, uint8_t out[BZ_TABLE_FOOTER])
{
    bz_store32le(out, footer->filter_at);
    bz_store32le(out + 4, footer->filter_size);
    bz_store32le(out + 8, footer->index_at);
    bz_store32le(out + 12, footer->index_size);
    bz_store64le(out + 16, footer->entries);
    bz_store64le(out + 24, footer->deletes);
    bz_store32le(out + 32, BZ_TABLE_VERSION);
    bz_store32le(out + 36, 0);
    memcpy(out + 40, footer_magic, sizeof footer_magic);
}

bool bz_table_footer_decode(
    const uint8_t in[BZ_TABLE_FOOTER], uint64_t size, uint32_t guard, struct bz_table_footer *out)
{
    struct bz_table_footer footer = {
        .filter_at = bz_load32le(in),
        .filter_size = bz_load32le(in + 4),
        .index_at = bz_load32le(in + 8),
        .index_size = bz_load32le(in + 12),
        .entries = bz_load64le(in + 16),
        .deletes = bz_load64le(in + 24),
    };
    uint64_t filter_end = (uint64_t)footer.filter_at + footer.filter_size + guard;
    uint64_t index_end = (uint64_t)footer.index_at + footer.index_size + guard;
    if (memcmp(in + 40, footer_magic, sizeof footer_magic) != 0 ||
        bz_load32le(in + 32) != BZ_TABLE_VERSION || bz_load32le(in + 36) != 0 ||
        footer.filter_at % BZ_TABLE_LINE != 0 || footer.filter_at < BZ_TABLE_HEADER ||
        filter_end != footer.index_at || index_end + BZ_TABLE_FOOTER + guard != size ||
        footer.entries == 0 || footer.deletes > footer.entries)
        return false;
    *out = footer;
    return true;
}

/* ---- filter ---- */

uint64_t bz_table_filter_hash(const uint8_t *key, size_t size)
{
    return bz_hash64(key, size, 0);
}

size_t bz_table_filter_size(uint64_t entries)
{
    uint64_t bits = 8 * BZ_TABLE_LINE;
    return (size_t)((entries * FILTER_BITS + bits - 1) / bits * BZ_TABLE_LINE);
}

/* The upper half of the hash chooses the line, ... */
static uint32_t line_of(uint64_t hash, uint32_t count)
{
    return (uint32_t)(((hash >> 32) * count) >> 32);
}

/* ... and six times 9 bits of this the bits in it. */
static uint64_t probes_of(uint64_t hash)
{
    return (hash * 0x9e3779b97f4a7c15u) >> 10;
}

void bz_table_filter_add(uint8_t *lines, size_t size, uint64_t hash)
{
    uint8_t *line = lines + BZ_TABLE_LINE * (size_t)line_of(hash, (uint32_t)(size / BZ_TABLE_LINE));
    uint64_t probes = probes_of(hash);
    for (unsigned i = 0; i < FILTER_PROBES; i++, probes >>= 9)
        line[(probes & 511) >> 3] |= (uint8_t)(1u << (probes & 7));
}

bool bz_table_filter_decode(struct bz_bytes in, struct bz_table_filter *out)
{
    if (in.size == 0 || in.size % BZ_TABLE_LINE != 0)
        return false;
    *out = (struct bz_table_filter){in.data, (uint32_t)(in.size / BZ_TABLE_LINE)};
    return true;
}

static const uint8_t *line_at(const struct bz_table_filter *filter, uint64_t hash)
{
    return filter->lines + BZ_TABLE_LINE * (size_t)line_of(hash, filter->count);
}

void bz_table_filter_expect(const struct bz_table_filter *filter, uint64_t hash)
{
    __builtin_prefetch(line_at(filter, hash));
}

bool bz_table_filter_has(const struct bz_table_filter *filter, uint64_t hash)
{
    const uint8_t *line = line_at(filter, hash);
    uint64_t probes = probes_of(hash);
    unsigned found = 1;
    for (unsigned i = 0; i < FILTER_PROBES; i++, probes >>= 9)
        found &= (unsigned)line[(probes & 511) >> 3] >> (probes & 7);
    return found != 0;
}

/* ---- index ---- */

size_t bz_table_shared(struct bz_bytes a, struct bz_bytes b)
{
    size_t most = a.size < b.size ? a.size : b.size;
    size_t i = 0;
    while (i < most && a.data[i] == b.data[i])
        i++;
    return i;
}

/* The first 8 bytes behind those skipped, as if zeroes followed the key. */
static uint64_t prefix_of(struct bz_bytes key, uint32_t skip)
{
    uint8_t bytes[8] = {0};
    size_t left = key.size > skip ? key.size - skip : 0;
    memcpy(bytes, key.data + (left > 0 ? skip : 0), left < 8 ? left : 8);
    return bz_load64be(bytes);
}

static struct bz_bytes part_key(const struct bz_table_index_parts *parts, uint32_t i)
{
    uint32_t start = i == 0 ? 0 : bz_load32le(parts->ends.data + 4 * (size_t)(i - 1));
    uint32_t end = bz_load32le(parts->ends.data + 4 * (size_t)i);
    return bz_bytes(parts->keys.data + start, end - start);
}

void bz_table_index_encode(struct bz_buf *out, const struct bz_table_index_parts *parts,
    uint32_t blocks_end, struct bz_bytes last)
{
    uint32_t skip = (uint32_t)bz_table_shared(part_key(parts, 0), last);
    bz_buf_append32le(out, parts->count);
    bz_buf_append32le(out, skip);
    for (uint32_t i = 0; i < parts->count; i++)
        bz_buf_append64le(out, prefix_of(part_key(parts, i), skip));
    bz_buf_append(out, parts->blocks.data, parts->blocks.size);
    bz_buf_append32le(out, blocks_end);
    bz_buf_append(out, parts->ends.data, parts->ends.size);
    bz_buf_append32le(out, (uint32_t)(parts->keys.size + last.size));
    bz_buf_append(out, parts->keys.data, parts->keys.size);
    bz_buf_append(out, last.data, last.size);
}

/* Whether the offsets of blocks and of keys rise as they must. */
static bool check_offsets(const struct bz_table_index *index, uint32_t least, size_t keys_size)
{
    uint32_t end = 0;
    for (uint32_t i = 0; i <= index->count; i++) {
        uint32_t key_end = bz_load32le(index->ends + 4 * (size_t)i);
        if (key_end <= end || key_end - end > BZ_TABLE_KEY_MAX)
            return false;
        end = key_end;
    }
    uint64_t at = BZ_TABLE_HEADER;
    for (uint32_t i = 0; i <= index->count; i++) {
        uint32_t block = bz_table_index_block(index, i);
        if (i == 0 ? block != at : block < at + least)
            return false;
        at = block;
    }
    return end == keys_size;
}

/* Whether the separators are in order and their prefixes theirs. */
static bool check_keys(const struct bz_table_index *index)
{
    struct bz_bytes first = bz_table_index_key(index, 0);
    struct bz_bytes last = bz_table_index_key(index, index->count);
    struct bz_bytes before = first;
    if (first.size < 2 || last.size < 2 || bz_table_shared(first, last) != index->skip)
        return false;
    for (uint32_t i = 0; i < index->count; i++) {
        struct bz_bytes key = bz_table_index_key(index, i);
        if (i > 0 && bz_bytes_compare(before, key) >= 0)
            return false;
        if (bz_load64le(index->prefixes + 8 * (size_t)i) != prefix_of(key, index->skip))
            return false;
        before = key;
    }
    return bz_bytes_compare(before, last) <= 0;
}

bool bz_table_index_decode(struct bz_bytes in, uint32_t least, struct bz_table_index *out)
{
    struct bz_reader reader = bz_reader(in);
    struct bz_table_index index = {.count = bz_read32le(&reader), .skip = bz_read32le(&reader)};
    size_t count = index.count;
    index.prefixes = bz_read_bytes(&reader, 8 * count).data;
    index.blocks = bz_read_bytes(&reader, 4 * (count + 1)).data;
    index.ends = bz_read_bytes(&reader, 4 * (count + 1)).data;
    if (!reader.ok || count == 0)
        return false;
    index.keys = reader.p;
    if (!check_offsets(&index, least, bz_reader_left(&reader)) || !check_keys(&index))
        return false;
    *out = index;
    return true;
}

static uint64_t prefix_at(const struct bz_table_index *index, uint32_t i)
{
    return bz_load64le(index->prefixes + 8 * (size_t)i);
}

/* How many prefixes are less. Without a branch that depends on what is compared. */
static uint32_t count_below(const struct bz_table_index *index, uint64_t prefix)
{
    uint32_t base = 0;
    for (uint32_t left = index->count; left > 1;) {
        uint32_t half = left / 2;
        base += half & -(uint32_t)(prefix_at(index, base + half - 1) < prefix);
        left -= half;
    }
    return base + (prefix_at(index, base) < prefix);
}

/* How many of the separators before `high` are at or before the target, which those before `low`
 * are. */
static uint32_t count_among(const struct bz_table_index *index,
    const struct bz_table_target *target, uint32_t low, uint32_t high)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (bz_table_target_compare(target, bz_table_index_key(index, middle)) < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

uint32_t bz_table_index_find(
    const struct bz_table_index *index, const struct bz_table_target *target)
{
    size_t skip = index->skip < target->size ? index->skip : target->size;
    int order = memcmp(target->bytes, index->keys, skip);
    if (order != 0)
        return order < 0 ? 0 : index->count;
    if (target->size < index->skip)
        return 0;
    uint64_t prefix = bz_load64be(target->bytes + index->skip);
    uint32_t low = count_below(index, prefix);
    if (low == index->count || prefix_at(index, low) != prefix)
        return low;
    uint32_t high = prefix == UINT64_MAX ? index->count : count_below(index, prefix + 1);
    return count_among(index, target, low, high);
}

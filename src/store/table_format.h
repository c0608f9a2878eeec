/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_TABLE_FORMAT_H
#define BZ_STORE_TABLE_FORMAT_H

/*
 * The bytes of a sorted table: header, footer, index and filter (table_format.c) and blocks of
 * entries (table_block.c). docs/format/table.md has the tables. No I/O, and nothing about checksums
 * and sealing but where they lie; what is decoded may be garbage.
 *
 * A key is here always a whole one: the byte of its map, then the key, so that whole keys order as
 * memcmp() does.
 */

#include "base/buf.h"
#include "base/error.h"

#define BZ_TABLE_VERSION   1u
#define BZ_TABLE_HEADER    64u
#define BZ_TABLE_SALT      16u
#define BZ_TABLE_FOOTER    48u  /* without its checksum or tag */
#define BZ_TABLE_KEY_MAX   512u /* of a whole key */
#define BZ_TABLE_VALUE_MAX (128u << 20)
#define BZ_TABLE_BLOCK     4096u /* no block with more than one entry is larger */
#define BZ_TABLE_RESTART   8u    /* entries from one whole key to the next */
#define BZ_TABLE_LINE      64u   /* of the filter */

/* ---- header and footer ---- */

struct bz_table_header {
    bool sealed;
    uint8_t salt[BZ_TABLE_SALT];
};

void bz_table_header_encode(const struct bz_table_header *header, uint8_t out[BZ_TABLE_HEADER]);

/* 0; BLAZE_ECORRUPT, or BLAZE_EVERSION for a version that is not ours, without error text. */
int bz_table_header_decode(const uint8_t in[BZ_TABLE_HEADER], struct bz_table_header *out);

/* Positions in the file, and sizes without checksum or tag. */
struct bz_table_footer {
    uint32_t filter_at;
    uint32_t filter_size;
    uint32_t index_at;
    uint32_t index_size;
    uint64_t entries;
    uint64_t deletes; /* of these */
};

void bz_table_footer_encode(const struct bz_table_footer *footer, uint8_t out[BZ_TABLE_FOOTER]);

/* Whether it can be that of a file with `size` bytes and checksums or tags of `guard` bytes. */
bool bz_table_footer_decode(
    const uint8_t in[BZ_TABLE_FOOTER], uint64_t size, uint32_t guard, struct bz_table_footer *out);

/* ---- what is looked for ---- */

/* A whole key in memory of its own, with zeroes behind it. */
struct bz_table_target {
    size_t size;
    uint8_t bytes[BZ_TABLE_KEY_MAX + 16];
};

/* A key too long to be in a table is cut to a length that orders the same among those that are. */
static inline void bz_table_target_set(
    struct bz_table_target *target, uint32_t map, struct bz_bytes key)
{
    size_t size = key.size < BZ_TABLE_KEY_MAX ? key.size : BZ_TABLE_KEY_MAX;
    target->size = 1 + size;
    target->bytes[0] = (uint8_t)map;
    if (size > 0)
        memcpy(target->bytes + 1, key.data, size);
    memset(target->bytes + target->size, 0, 8);
}

/* As bz_bytes_compare(). */
static inline int bz_table_target_compare(const struct bz_table_target *target, struct bz_bytes key)
{
    return bz_bytes_compare(bz_bytes(target->bytes, target->size), key);
}

/* ---- filter ---- */

/* A Bloom filter in lines of 64 bytes: all bits of a key lie in one line. */
struct bz_table_filter {
    const uint8_t *lines;
    uint32_t count;
};

uint64_t bz_table_filter_hash(const uint8_t *key, size_t size);
size_t bz_table_filter_size(uint64_t entries);
void bz_table_filter_add(uint8_t *lines, size_t size, uint64_t hash);
bool bz_table_filter_decode(struct bz_bytes in, struct bz_table_filter *out);
bool bz_table_filter_has(const struct bz_table_filter *filter, uint64_t hash);

/* Begins to fetch from memory what bz_table_filter_has() is going to look at. */
void bz_table_filter_expect(const struct bz_table_filter *filter, uint64_t hash);

/* ---- index ---- */

/*
 * Which block a key is in. A block's separator is the shortest beginning of its first key that is
 * behind the last key of the block before; that of the first block is its whole first key. The
 * prefix of a separator is the number that its 8 bytes behind the first `skip` make, which all keys
 * of the table have in common.
 */
struct bz_table_index {
    uint32_t count; /* of blocks */
    uint32_t skip;
    const uint8_t *prefixes;
    const uint8_t *blocks; /* their offsets in the file, and the end of the last */
    const uint8_t *ends;   /* of the separators and the last key, in `keys` */
    const uint8_t *keys;
};

/* What the index of a file is made from. */
struct bz_table_index_parts {
    uint32_t count;
    struct bz_buf blocks; /* 4 bytes each, without the end of the last */
    struct bz_buf ends;   /* 4 bytes each, of the separators only */
    struct bz_buf keys;
};

/* The failure, if any, is in out->error. */
void bz_table_index_encode(struct bz_buf *out, const struct bz_table_index_parts *parts,
    uint32_t blocks_end, struct bz_bytes last);

/* Whether it is an index with blocks of `least` bytes or more; later reads trust it. */
bool bz_table_index_decode(struct bz_bytes in, uint32_t least, struct bz_table_index *out);

/* Separator `i`, or the last key for i == count. */
static inline struct bz_bytes bz_table_index_key(const struct bz_table_index *index, uint32_t i)
{
    uint32_t start = i == 0 ? 0 : bz_load32le(index->ends + 4 * (size_t)(i - 1));
    return bz_bytes(index->keys + start, bz_load32le(index->ends + 4 * (size_t)i) - start);
}

/* Where block `i` begins, or where the last one ends for i == count. */
static inline uint32_t bz_table_index_block(const struct bz_table_index *index, uint32_t i)
{
    return bz_load32le(index->blocks + 4 * (size_t)i);
}

/* How many separators are at or before the target: it can only be in the last of these blocks. */
uint32_t bz_table_index_find(
    const struct bz_table_index *index, const struct bz_table_target *target);

/* ---- blocks ---- */

/*
 * A block holds keys, each without what it shares with the one before, and then the values in the
 * same order, so that a search reads few bytes. Every eighth key is whole: a restart.
 */
struct bz_table_block {
    const uint8_t *restarts;
    const uint8_t *keys;
    const uint8_t *values;
    const uint8_t *end;
    uint32_t count; /* of entries, at least 1 */
    uint32_t skip;  /* bytes that all keys have in common */
};

struct bz_table_block_entry {
    uint32_t shared;
    uint32_t rest; /* bytes of the key behind those shared */
    uint32_t value_size;
    bool deleted;
};

bool bz_table_block_decode(struct bz_bytes in, struct bz_table_block *out);

/* Reads an entry's numbers at `p`; returns where the rest of the key is, all of which lies before
 * `end`, or NULL where that is malformed. */
const uint8_t *bz_table_block_read_slowly(
    const uint8_t *p, const uint8_t *end, struct bz_table_block_entry *out);

static inline const uint8_t *bz_table_block_read(
    const uint8_t *p, const uint8_t *end, struct bz_table_block_entry *out)
{
    /* Nearly always the first two take one byte each, and the third one or two. */
    if (end - p < 4 || ((p[0] | p[1] | (p[2] & p[3])) & 0x80) != 0)
        return bz_table_block_read_slowly(p, end, out);
    uint32_t tag = p[2];
    out->shared = p[0];
    out->rest = p[1];
    p += 3;
    if (tag >= 0x80) {
        tag = (tag & 0x7f) | (uint32_t)*p++ << 7;
        if (tag < 0x80)
            return NULL; /* not canonical */
    }
    out->value_size = tag >> 1;
    out->deleted = (tag & 1) != 0;
    return out->rest <= (size_t)(end - p) ? p : NULL;
}

/* Where restart `i` has its key and its value; false if that is not in the block. */
bool bz_table_block_restart(
    const struct bz_table_block *block, uint32_t i, const uint8_t **key, const uint8_t **value);

/* The last restart at or before the target, or 0; BLAZE_ECORRUPT. */
int bz_table_block_search(
    const struct bz_table_block *block, const struct bz_table_target *target, uint32_t *out);

/* The target's own entry: 0, BLAZE_ENOTFOUND or BLAZE_ECORRUPT. */
int bz_table_block_get(struct bz_bytes in, const struct bz_table_target *target, bool *deleted,
    struct bz_bytes *value);

/* What a check has counted. */
struct bz_table_block_counts {
    uint64_t entries;
    uint64_t deletes;
};

/* Whether it is block `i` of the table: whole, in order, and between its neighbours. Adds to
 * *counts (may be NULL). */
bool bz_table_block_check(const struct bz_table_index *index, uint32_t i, struct bz_bytes in,
    struct bz_table_block_counts *counts);

/* ---- making blocks ---- */

struct bz_table_builder {
    uint32_t count;
    struct bz_buf restarts;
    struct bz_buf keys;
    struct bz_buf values;
    size_t last_size; /* of the last entry's key; stays from block to block */
    uint8_t last[BZ_TABLE_KEY_MAX];
};

void bz_table_builder_init(struct bz_table_builder *builder);
void bz_table_builder_release(struct bz_table_builder *builder);

/* What the block would take with this entry in it. */
uint64_t bz_table_builder_size(
    const struct bz_table_builder *builder, size_t key_size, size_t value_size);

/* Adds an entry without its value, which the caller appends to builder->values or passes to
 * bz_table_builder_end(). BLAZE_ENOMEM. */
int bz_table_builder_add(
    struct bz_table_builder *builder, struct bz_bytes key, size_t value_size, bool deleted);

/* Appends the block to `out` and begins the next; out->error says whether that went well. */
void bz_table_builder_end(
    struct bz_table_builder *builder, struct bz_bytes values, struct bz_buf *out);

/* How many bytes two keys have in common. */
size_t bz_table_shared(struct bz_bytes a, struct bz_bytes b);

#endif

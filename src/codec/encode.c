/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/encode_priv.h"

#include "codec/doc.h"
#include "codec/number_priv.h"

#include <stdlib.h>

/* Up to here a plain insertion sort beats qsort(), above all when most is in order already. */
#define SMALL_SORT 24

static void small_int(struct bz_part *part, unsigned nibble, int64_t v)
{
    part->size = bz_int_size(v);
    part->tag = bz_tag(nibble, part->size);
    bz_store64le(part->small, (uint64_t)v);
}

static void small_double(struct bz_part *part, double number)
{
    int64_t packed;
    if (bz_decimal_pack(number, &packed)) {
        small_int(part, BZ_NIBBLE_DECIMAL, packed);
        return;
    }
    part->tag = BZ_TAG_RAW_DOUBLE;
    part->size = sizeof number;
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    bz_store64le(part->small, bits);
}

static void sized(struct bz_part *part, unsigned nibble, const void *data, size_t size)
{
    part->tag = bz_tag(nibble, size);
    part->size = (uint32_t)size;
    part->data = data;
}

void bz_part_value(struct bz_part *part, const blaze_value *value)
{
    part->data = NULL;
    part->size = 0;
    switch (value->type) {
    case BLAZE_NULL:
        part->tag = BZ_TAG_NULL;
        break;
    case BLAZE_BOOL:
        part->tag = value->as.boolean ? BZ_TAG_TRUE : BZ_TAG_FALSE;
        break;
    case BLAZE_INT:
    case BLAZE_TIMESTAMP:
        small_int(part, value->type, value->as.integer);
        break;
    case BLAZE_DOUBLE:
        small_double(part, value->as.number);
        break;
    case BLAZE_STRING:
    case BLAZE_BYTES:
        sized(part, value->type, value->as.text.data, value->as.text.size);
        break;
    case BLAZE_UUID:
        part->tag = BZ_TAG_UUID;
        part->size = sizeof value->as.uuid.bytes;
        memcpy(part->small, value->as.uuid.bytes, sizeof value->as.uuid.bytes);
        break;
    case BLAZE_ARRAY:
    case BLAZE_MAP:
        sized(part, value->type, value->as.nested.data, value->as.nested.size);
        break;
    default:
        part->tag = BZ_TAG_UNSET;
        break;
    }
}

/* Ids first, ascending; then names, ascending as bytes. */
static inline int compare_keys(const struct bz_part *a, const struct bz_part *b)
{
    if (a->name == NULL || b->name == NULL) {
        if (a->name == NULL && b->name == NULL)
            return (a->key > b->key) - (a->key < b->key);
        return a->name == NULL ? -1 : 1;
    }
    return bz_bytes_compare(bz_bytes(a->name, a->key), bz_bytes(b->name, b->key));
}

static int compare_parts(const void *a, const void *b)
{
    return compare_keys(a, b);
}

/* Whether no two keys are equal: equal ones meet on the way. */
static bool insertion_sort(struct bz_part *parts, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        int order = compare_keys(&parts[i - 1], &parts[i]);
        if (order < 0)
            continue;
        struct bz_part part = parts[i];
        size_t j = i;
        do {
            if (order == 0)
                return false;
            parts[j] = parts[j - 1];
            j--;
        } while (j > 0 && (order = compare_keys(&parts[j - 1], &part)) >= 0);
        parts[j] = part;
    }
    return true;
}

int bz_parts_sort(struct bz_part *parts, size_t count)
{
    if (count <= SMALL_SORT)
        return insertion_sort(parts, count) ? 0 : BLAZE_EEXIST;
    qsort(parts, count, sizeof *parts, compare_parts);
    for (size_t i = 1; i < count; i++) {
        if (compare_keys(&parts[i - 1], &parts[i]) == 0)
            return BLAZE_EEXIST;
    }
    return 0;
}

static bool is_long(const struct bz_part *part)
{
    return bz_tag_size[part->tag] == BZ_TAG_SIZE_LONG;
}

/* The keys of a map, one part after the other. */
struct keys {
    const struct bz_part *part;
    const struct bz_part *end;
    uint64_t next_id;
    unsigned run; /* parts to come that need no key */
};

/* Whether the next part has a key of its own; *number is what stands for it. */
static inline bool next_key(struct keys *k, uint64_t *number)
{
    const struct bz_part *part = k->part++;
    if (k->run > 0) {
        k->run--;
        k->next_id++;
        return false;
    }
    if (part->name != NULL) {
        *number = (uint64_t)part->key << 1 | 1;
        return true;
    }
    uint64_t delta = part->key - k->next_id;
    k->next_id = (uint64_t)part->key + 1;
    while (k->run < BZ_RUN_MAX - 1 && k->part + k->run < k->end && k->part[k->run].name == NULL &&
           k->part[k->run].key == k->next_id + k->run)
        k->run++;
    *number = delta << 4 | (uint64_t)k->run << 1;
    return true;
}

size_t bz_parts_size(const struct bz_part *parts, size_t count, bool map, size_t *directory)
{
    size_t entries = 0, payloads = 0;
    struct keys keys = {.part = parts, .end = count > 0 ? parts + count : parts};
    uint64_t number;
    for (size_t i = 0; i < count; i++) {
        const struct bz_part *part = &parts[i];
        if (map && next_key(&keys, &number))
            entries += bz_varint_size(number) + (part->name != NULL ? part->key : 0);
        entries += 1 + (is_long(part) ? bz_varint_size(part->size - BZ_SIZE_LONG) : 0);
        payloads += part->size;
    }
    *directory = entries;
    return bz_varint_size(entries) + entries + payloads;
}

static inline uint8_t *put_bytes(uint8_t *p, const uint8_t *data, size_t size)
{
    memcpy(p, data, size);
    return p + size;
}

uint8_t *bz_parts_put(
    uint8_t *p, const struct bz_part *parts, size_t count, bool map, size_t directory)
{
    struct keys keys = {.part = parts, .end = count > 0 ? parts + count : parts};
    uint64_t number;
    p = bz_varint_put(p, directory);
    for (size_t i = 0; i < count; i++) {
        const struct bz_part *part = &parts[i];
        if (map && next_key(&keys, &number)) {
            p = bz_varint_put(p, number);
            if (part->name != NULL)
                p = put_bytes(p, part->name, part->key);
        }
        *p++ = part->tag;
        if (is_long(part))
            p = bz_varint_put(p, part->size - BZ_SIZE_LONG);
    }
    for (size_t i = 0; i < count; i++) {
        const struct bz_part *part = &parts[i];
        if (part->size > 0)
            p = put_bytes(p, part->data != NULL ? part->data : part->small, part->size);
    }
    return p;
}

int bz_parts_append(struct bz_buf *out, struct bz_part *parts, size_t count, size_t max)
{
    int rc = bz_parts_sort(parts, count);
    if (rc != 0)
        return rc;
    size_t directory;
    size_t size = bz_parts_size(parts, count, true, &directory);
    if (size > max)
        return BLAZE_ELIMIT;
    uint8_t *p = bz_buf_reserve(out, size);
    if (p == NULL)
        return out->error;
    bz_parts_put(p, parts, count, true, directory);
    bz_buf_advance(out, size);
    return 0;
}

int bz_parts_nest(struct bz_arena *arena, struct bz_part *part, const struct bz_part *parts,
    size_t count, bool map)
{
    size_t directory;
    size_t size = bz_parts_size(parts, count, map, &directory);
    if (size > BZ_DOC_MAX)
        return BLAZE_ELIMIT;
    uint8_t *p = bz_arena_alloc(arena, size);
    if (p == NULL)
        return BLAZE_ENOMEM;
    bz_parts_put(p, parts, count, map, directory);
    sized(part, map ? BLAZE_MAP : BLAZE_ARRAY, p, size);
    return 0;
}

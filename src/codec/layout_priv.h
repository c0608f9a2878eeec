/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_CODEC_LAYOUT_PRIV_H
#define BZ_CODEC_LAYOUT_PRIV_H

/*
 * The layout of BlazeBinary (docs/format/blazebinary.md), and the cursor that all readers share.
 *
 *   container  varint d | directory, d bytes | payloads, in the order of the directory
 *   entry      key (maps only) | tag | varint(size - 15) if the tag's low nibble is 15
 *   key        varint(delta << 4 | (run - 1) << 1): an interned id, delta past the one before plus
 *              one; the next run - 1 entries have the ids that follow it, and no keys. A run is as
 *              long as can be, up to 8.
 *              varint(n << 1 | 1), n bytes of name; after all ids, ascending as bytes
 *
 * A tag's high nibble is the type; its low nibble is the payload's size, except that a bool's is
 * its value and that a UUID, always 16 bytes, has 0.
 */

#include "base/bytes.h"

#include <blazedb/value.h>

#define BZ_RUN_MAX 8u

enum {
    BZ_NIBBLE_DECIMAL = 10, /* a double as mantissa * 16 + scale */
    BZ_NIBBLE_UNSET = 15,
    BZ_SIZE_LONG = 15, /* low nibble: the size is in the directory */
    BZ_TAG_NULL = 0x00,
    BZ_TAG_FALSE = 0x10,
    BZ_TAG_TRUE = 0x11,
    BZ_TAG_RAW_DOUBLE = 0x38,
    BZ_TAG_UUID = 0x70,
    BZ_TAG_UNSET = 0xf0
};

/* What a tag says of its payload's size: 0 to 16, or one of these. */
enum { BZ_TAG_SIZE_LONG = 0xfe, BZ_TAG_SIZE_BAD = 0xff };
extern const uint8_t bz_tag_size[256];

/* The tag of a type whose low nibble is the size. */
static inline uint8_t bz_tag(unsigned nibble, size_t size)
{
    return (uint8_t)(nibble << 4 | (size < BZ_SIZE_LONG ? size : BZ_SIZE_LONG));
}

static inline bool bz_tag_is_container(uint8_t tag)
{
    return (tag >> 4) == BLAZE_ARRAY || (tag >> 4) == BLAZE_MAP;
}

/* One field or element as it lies in a container. */
struct bz_field {
    const uint8_t *name; /* NULL: `key` is an id (or this is an element) */
    uint32_t key;        /* id, or the size of the name */
    uint8_t tag;
    const uint8_t *data;
    size_t size;
    size_t readable; /* bytes from `data` to the end of the container: at least `size` */
};

/* Walks a container. Nothing is trusted: every step stays within the bytes. */
struct bz_cursor {
    struct bz_reader directory;
    const uint8_t *data;
    const uint8_t *end;
    uint64_t next_id;
    unsigned run; /* entries to come without a key */
};

static inline uint64_t bz_cursor_varint(struct bz_reader *r)
{
    if (r->p < r->end && *r->p < 0x80)
        return *r->p++;
    return bz_read_varint(r);
}

/* BLAZE_ECORRUPT if the directory does not fit. */
static inline int bz_cursor_init(struct bz_cursor *c, struct bz_bytes container)
{
    struct bz_reader r = bz_reader(container);
    uint64_t size = bz_cursor_varint(&r);
    if (!r.ok || size > bz_reader_left(&r))
        return BLAZE_ECORRUPT;
    c->directory = bz_reader(bz_bytes(r.p, (size_t)size));
    c->data = r.p + size;
    c->end = r.end;
    c->next_id = 0;
    c->run = 0;
    return 0;
}

/* Reads a map entry's key. */
static inline bool bz_cursor_key(struct bz_cursor *c, struct bz_field *out)
{
    if (c->run > 0) {
        c->run--;
        out->name = NULL;
        out->key = (uint32_t)c->next_id++;
        return true;
    }
    uint64_t key = bz_cursor_varint(&c->directory);
    if (key & 1) {
        struct bz_bytes name = bz_read_bytes(&c->directory, (size_t)(key >> 1));
        out->name = name.data;
        out->key = (uint32_t)name.size;
        return c->directory.ok && name.size > 0 && name.size <= BLAZE_MAX_NAME;
    }
    uint64_t id = c->next_id + (key >> 4);
    if (!c->directory.ok || id > UINT32_MAX - BZ_RUN_MAX)
        return false;
    c->next_id = id + 1;
    c->run = (unsigned)(key >> 1) & (BZ_RUN_MAX - 1);
    out->name = NULL;
    out->key = (uint32_t)id;
    return true;
}

/* Reads what follows an entry's key: tag, size and where the payload lies. */
static inline int bz_cursor_payload(struct bz_cursor *c, struct bz_field *out)
{
    if (c->directory.p == c->directory.end)
        return BLAZE_ECORRUPT;
    out->tag = *c->directory.p++;
    uint64_t size = bz_tag_size[out->tag];
    if (size > 16) {
        if (size == BZ_TAG_SIZE_BAD)
            return BLAZE_ECORRUPT;
        size = bz_cursor_varint(&c->directory);
        if (!c->directory.ok || size > BLAZE_MAX_DOCUMENT * (uint64_t)2)
            return BLAZE_ECORRUPT;
        size += BZ_SIZE_LONG;
    }
    out->data = c->data;
    out->readable = (size_t)(c->end - c->data);
    out->size = (size_t)size;
    if (size > out->readable)
        return BLAZE_ECORRUPT;
    c->data += size;
    return 0;
}

/* 0, BLAZE_END, or BLAZE_ECORRUPT. */
static inline int bz_cursor_next(struct bz_cursor *c, bool map, struct bz_field *out)
{
    if (c->directory.p == c->directory.end)
        return BLAZE_END;
    if (map) {
        if (!bz_cursor_key(c, out))
            return BLAZE_ECORRUPT;
    } else {
        out->name = NULL;
        out->key = 0;
    }
    return bz_cursor_payload(c, out);
}

/* The value of a field; it borrows the container's bytes and `names`. */
void bz_field_value(
    const struct bz_field *field, const struct blaze_names *names, blaze_value *out);

/* The field's name, from the container or the table; data is NULL if the table lacks it. */
struct bz_bytes bz_field_name(const struct bz_field *field, const struct blaze_names *names);

static inline struct bz_bytes bz_nested_bytes(const blaze_value *container)
{
    return bz_bytes(container->as.nested.data, container->as.nested.size);
}

/* The number of entries, up to the first that does not fit. */
size_t bz_container_count(struct bz_bytes container, bool map);

/*
 * Walks a map by ascending name, whatever its encoding orders it by, without memory: a map of
 * interned names costs one pass a step.
 */
struct bz_sorted {
    const blaze_value *map;
    struct bz_cursor cursor;
    struct bz_bytes last;
};
int bz_sorted_init(struct bz_sorted *s, const blaze_value *map);
int bz_sorted_next(struct bz_sorted *s, struct bz_bytes *name, blaze_value *out);

#endif

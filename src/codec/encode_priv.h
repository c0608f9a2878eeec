/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_CODEC_ENCODE_PRIV_H
#define BZ_CODEC_ENCODE_PRIV_H

/* Writing a container from its parts: what the builder, interning, renaming and the document
 * writer share. */

#include "base/arena.h"
#include "base/buf.h"
#include "codec/layout_priv.h"

/* So many fields of a document need no memory. */
#define BZ_FLAT_PARTS 48

/* A field or element about to be written. Its payload is borrowed, or, if short, within it. */
struct bz_part {
    const uint8_t *name; /* NULL: `key` is an id (or this is an element) */
    const uint8_t *data; /* NULL: the payload is in `small` */
    uint8_t small[16];
    uint32_t key; /* id, or the size of the name */
    uint32_t size;
    uint8_t tag;
};

/* The canonical tag and payload of a scalar. Nothing is copied but what fits in `small`. Nested
 * values and unset are taken as they are. */
void bz_part_value(struct bz_part *part, const blaze_value *value);

/* Sorts a map's parts as the format wants them. BLAZE_EEXIST if two have the same key, in
 * no order then. */
int bz_parts_sort(struct bz_part *parts, size_t count);

/* The encoded size of a container of sorted parts; that of the directory in *directory. */
size_t bz_parts_size(const struct bz_part *parts, size_t count, bool map, size_t *directory);

/* Writes the container at `p`, which has room for it; returns the byte after it. */
uint8_t *bz_parts_put(
    uint8_t *p, const struct bz_part *parts, size_t count, bool map, size_t directory);

/* Appends the document of these parts, sorting them. BLAZE_EEXIST; BLAZE_ELIMIT past `max` bytes;
 * BLAZE_ENOMEM. */
int bz_parts_append(struct bz_buf *out, struct bz_part *parts, size_t count, size_t max);

/* Appends the document of these parts, whose names, and those within them, are text, with names of
 * the table instead, which are added as needed. BLAZE_EEXIST, BLAZE_ELIMIT, BLAZE_ENOMEM. */
int bz_parts_intern(
    struct bz_buf *out, const struct bz_part *parts, size_t count, struct blaze_names *names);

/* Makes *part the container of `count` sorted parts, encoded in the arena. BLAZE_ENOMEM,
 * BLAZE_ELIMIT. */
int bz_parts_nest(struct bz_arena *arena, struct bz_part *part, const struct bz_part *parts,
    size_t count, bool map);

#endif

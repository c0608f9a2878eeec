/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_BASE_BYTES_H
#define BZ_BASE_BYTES_H

/*
 * Borrowed byte strings, fixed-width integers and varints.
 *
 * A varint is unsigned LEB128: seven bits a byte, least significant first, at most 10 bytes, and
 * canonical: a decoder refuses one that a shorter encoding could have said.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes that somebody else owns. */
struct bz_bytes {
    const uint8_t *data;
    size_t size;
};

static inline struct bz_bytes bz_bytes(const void *data, size_t size)
{
    return (struct bz_bytes){(const uint8_t *)data, size};
}

static inline struct bz_bytes bz_bytes_text(const char *text)
{
    return bz_bytes(text, strlen(text));
}

/* Orders as memcmp() does, a prefix before what it begins. */
static inline int bz_bytes_compare(struct bz_bytes a, struct bz_bytes b)
{
    size_t n = a.size < b.size ? a.size : b.size;
    int order = n == 0 ? 0 : memcmp(a.data, b.data, n);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

static inline bool bz_bytes_equal(struct bz_bytes a, struct bz_bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline uint16_t bz_load16le(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t bz_load32le(const uint8_t *p)
{
    return (uint32_t)bz_load16le(p) | (uint32_t)bz_load16le(p + 2) << 16;
}

static inline uint64_t bz_load64le(const uint8_t *p)
{
    return (uint64_t)bz_load32le(p) | (uint64_t)bz_load32le(p + 4) << 32;
}

static inline void bz_store16le(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void bz_store32le(uint8_t *p, uint32_t v)
{
    bz_store16le(p, (uint16_t)v);
    bz_store16le(p + 2, (uint16_t)(v >> 16));
}

static inline void bz_store64le(uint8_t *p, uint64_t v)
{
    bz_store32le(p, (uint32_t)v);
    bz_store32le(p + 4, (uint32_t)(v >> 32));
}

/* Big-endian: for keys, whose bytes must order as the numbers do. */
static inline uint32_t bz_load32be(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t bz_load64be(const uint8_t *p)
{
    return (uint64_t)bz_load32be(p) << 32 | bz_load32be(p + 4);
}

static inline void bz_store32be(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

static inline void bz_store64be(uint8_t *p, uint64_t v)
{
    bz_store32be(p, (uint32_t)(v >> 32));
    bz_store32be(p + 4, (uint32_t)v);
}

#define BZ_VARINT_MAX 10

/* Signed to unsigned with small magnitudes staying small, and back. */
static inline uint64_t bz_zigzag(int64_t v)
{
    return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}

static inline int64_t bz_unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

/* Writes `v` at `p`, which has room for BZ_VARINT_MAX bytes; returns the byte after it. */
static inline uint8_t *bz_varint_put(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

static inline size_t bz_varint_size(uint64_t v)
{
    size_t n = 1;
    while (v >= 0x80) {
        v >>= 7;
        n++;
    }
    return n;
}

/*
 * Reading hostile bytes: a reader walks a byte string and fails for good at the first read that
 * does not fit; `ok` is looked at once, at the end or wherever a value is about to be used as a
 * size. Reads after a failure give 0 or empty.
 */
struct bz_reader {
    const uint8_t *p;
    const uint8_t *end;
    bool ok;
};

static inline struct bz_reader bz_reader(struct bz_bytes b)
{
    /* Without bytes `data` may be NULL, to which nothing can be added, not even 0. */
    return (struct bz_reader){b.data, b.size > 0 ? b.data + b.size : b.data, true};
}

static inline size_t bz_reader_left(const struct bz_reader *r)
{
    return (size_t)(r->end - r->p);
}

/* Borrows the next `size` bytes. */
static inline struct bz_bytes bz_read_bytes(struct bz_reader *r, size_t size)
{
    if (!r->ok || size > bz_reader_left(r)) {
        r->ok = false;
        return bz_bytes(NULL, 0);
    }
    struct bz_bytes b = bz_bytes(r->p, size);
    r->p += size;
    return b;
}

/* Copies the next `size` bytes; what is not there leaves *out as it is. */
static inline void bz_read_into(struct bz_reader *r, void *out, size_t size)
{
    struct bz_bytes b = bz_read_bytes(r, size);
    if (r->ok)
        memcpy(out, b.data, size);
}

static inline uint8_t bz_read8(struct bz_reader *r)
{
    struct bz_bytes b = bz_read_bytes(r, 1);
    return r->ok ? b.data[0] : 0;
}

static inline uint32_t bz_read32le(struct bz_reader *r)
{
    struct bz_bytes b = bz_read_bytes(r, 4);
    return r->ok ? bz_load32le(b.data) : 0;
}

static inline uint64_t bz_read64le(struct bz_reader *r)
{
    struct bz_bytes b = bz_read_bytes(r, 8);
    return r->ok ? bz_load64le(b.data) : 0;
}

static inline uint64_t bz_read_varint(struct bz_reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; r->ok && r->p < r->end; shift += 7) {
        uint8_t byte = *r->p++;
        if (shift == 63 && byte > 1)
            break; /* past 64 bits */
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            if (byte == 0 && shift > 0)
                break; /* not canonical */
            return v;
        }
    }
    r->ok = false;
    return 0;
}

/* A varint size, then that many bytes. */
static inline struct bz_bytes bz_read_sized(struct bz_reader *r)
{
    uint64_t size = bz_read_varint(r);
    if (size > bz_reader_left(r))
        r->ok = false;
    return bz_read_bytes(r, r->ok ? (size_t)size : 0);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_BASE_BUF_H
#define BZ_BASE_BUF_H

/*
 * A growing byte buffer with a maximum. The first failure (out of memory, past the maximum) sticks
 * in `error`; further appends do nothing, so that a writer may append everything and check once.
 * The storage of the struct is the caller's: bz_buf_init() or {0} with a maximum set, then
 * bz_buf_release().
 */

#include "base/bytes.h"

struct bz_buf {
    uint8_t *data;
    size_t size;
    size_t capacity;
    size_t max;
    int error; /* 0, BLAZE_ENOMEM or BLAZE_ELIMIT */
};

void bz_buf_init(struct bz_buf *buf, size_t max);
void bz_buf_release(struct bz_buf *buf);

/* Empties the buffer and forgets its error, keeping the memory. */
void bz_buf_clear(struct bz_buf *buf);

/* As bz_buf_reserve(), for a buffer that has to grow first. */
uint8_t *bz_buf_grow(struct bz_buf *buf, size_t size);

/* Room for `size` more bytes at the end, or NULL (and `error` set). The bytes count as appended
 * only after bz_buf_advance(). */
static inline uint8_t *bz_buf_reserve(struct bz_buf *buf, size_t size)
{
    bool fits = buf->error == 0 && size < buf->capacity - buf->size;
    return fits ? buf->data + buf->size : bz_buf_grow(buf, size);
}

static inline void bz_buf_advance(struct bz_buf *buf, size_t size)
{
    buf->size += size;
}

static inline void bz_buf_append(struct bz_buf *buf, const void *data, size_t size)
{
    uint8_t *p = size > 0 ? bz_buf_reserve(buf, size) : NULL;
    if (p == NULL)
        return;
    memcpy(p, data, size);
    buf->size += size;
}

static inline void bz_buf_append8(struct bz_buf *buf, uint8_t v)
{
    bz_buf_append(buf, &v, 1);
}

void bz_buf_append32le(struct bz_buf *buf, uint32_t v);
void bz_buf_append64le(struct bz_buf *buf, uint64_t v);
void bz_buf_append32be(struct bz_buf *buf, uint32_t v);
void bz_buf_append64be(struct bz_buf *buf, uint64_t v);
void bz_buf_append_varint(struct bz_buf *buf, uint64_t v);
void bz_buf_append_sized(struct bz_buf *buf, struct bz_bytes b); /* varint size, then bytes */

/* printf() at the end, without the NUL. */
void bz_buf_printf(struct bz_buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Drops the first `size` bytes. */
void bz_buf_consume(struct bz_buf *buf, size_t size);

static inline struct bz_bytes bz_buf_bytes(const struct bz_buf *buf)
{
    return bz_bytes(buf->data, buf->size);
}

#endif

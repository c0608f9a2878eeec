/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include "base/alloc.h"

#include <blazedb/error.h>
#include <stdarg.h>
#include <stdio.h>

void bz_buf_init(struct bz_buf *buf, size_t max)
{
    *buf = (struct bz_buf){.max = max};
}

void bz_buf_release(struct bz_buf *buf)
{
    bz_free(buf->data);
    *buf = (struct bz_buf){.max = buf->max};
}

void bz_buf_clear(struct bz_buf *buf)
{
    buf->size = 0;
    buf->error = 0;
}

uint8_t *bz_buf_grow(struct bz_buf *buf, size_t size)
{
    if (buf->error != 0)
        return NULL;
    if (size <= buf->capacity - buf->size)
        return buf->data + buf->size;
    if (size > buf->max - buf->size) {
        buf->error = BLAZE_ELIMIT;
        return NULL;
    }
    size_t wanted = buf->capacity < 64 ? 64 : buf->capacity;
    while (wanted - buf->size < size)
        wanted += wanted / 2 + 1;
    if (wanted > buf->max)
        wanted = buf->max;
    uint8_t *data = bz_realloc(buf->data, wanted);
    if (data == NULL) {
        buf->error = BLAZE_ENOMEM;
        return NULL;
    }
    buf->data = data;
    buf->capacity = wanted;
    return data + buf->size;
}

void bz_buf_append32le(struct bz_buf *buf, uint32_t v)
{
    uint8_t p[4];
    bz_store32le(p, v);
    bz_buf_append(buf, p, sizeof p);
}

void bz_buf_append64le(struct bz_buf *buf, uint64_t v)
{
    uint8_t p[8];
    bz_store64le(p, v);
    bz_buf_append(buf, p, sizeof p);
}

void bz_buf_append32be(struct bz_buf *buf, uint32_t v)
{
    uint8_t p[4];
    bz_store32be(p, v);
    bz_buf_append(buf, p, sizeof p);
}

void bz_buf_append64be(struct bz_buf *buf, uint64_t v)
{
    uint8_t p[8];
    bz_store64be(p, v);
    bz_buf_append(buf, p, sizeof p);
}

void bz_buf_append_varint(struct bz_buf *buf, uint64_t v)
{
    if (v < 0x80) {
        bz_buf_append8(buf, (uint8_t)v);
        return;
    }
    uint8_t p[BZ_VARINT_MAX];
    bz_buf_append(buf, p, (size_t)(bz_varint_put(p, v) - p));
}

void bz_buf_append_sized(struct bz_buf *buf, struct bz_bytes b)
{
    bz_buf_append_varint(buf, b.size);
    bz_buf_append(buf, b.data, b.size);
}

void bz_buf_printf(struct bz_buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    uint8_t *p = size < 0 ? NULL : bz_buf_reserve(buf, (size_t)size + 1);
    if (p == NULL)
        return;
    va_start(args, format);
    vsnprintf((char *)p, (size_t)size + 1, format, args);
    va_end(args);
    buf->size += (size_t)size;
}

void bz_buf_consume(struct bz_buf *buf, size_t size)
{
    if (size < buf->size)
        memmove(buf->data, buf->data + size, buf->size - size);
    buf->size -= size;
}

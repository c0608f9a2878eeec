/* SPDX-License-Identifier: Apache-2.0 */

/* CBOR by libcbor's streaming calls, which build no tree: its fastest way in both directions. */

#include "bench.h"
#include "codec.h"

#ifdef BENCH_HAVE_CBOR

#include <cbor.h>

/* The items of a map come one by one: a name, its value, a name ... */
struct walk {
    uint64_t sum;
    size_t items;
    const char *wanted; /* NULL: all */
    size_t wanted_size;
    bool hit; /* the value that comes next is the one wanted */
    bool done;
};

static void *open_codec(const struct bench_schema *schema)
{
    return (void *)(uintptr_t)schema;
}

static void close_codec(void *codec)
{
    (void)codec;
}

static uint8_t *put_text(uint8_t *at, const char *data, size_t size)
{
    at += cbor_encode_string_start(size, at, 9);
    memcpy(at, data, size);
    return at + size;
}

static void encode(void *codec, const struct bench_record *record, struct bz_buf *out)
{
    const struct bench_schema *schema = codec;
    uint8_t *begin = bz_buf_reserve(out, 1024);
    if (begin == NULL)
        bench_die("out of memory");
    uint8_t *at = begin + cbor_encode_map_start(schema->count, begin, 9);
    for (size_t f = 0; f < schema->count; f++) {
        const struct bench_value *v = &record->values[f];
        at = put_text(at, schema->fields[f].name, strlen(schema->fields[f].name));
        switch (schema->fields[f].type) {
        case BENCH_TEXT:
            at = put_text(at, v->as.text.data, v->as.text.size);
            break;
        case BENCH_INT:
            at += v->as.integer >= 0 ? cbor_encode_uint((uint64_t)v->as.integer, at, 9)
                                     : cbor_encode_negint((uint64_t)(-1 - v->as.integer), at, 9);
            break;
        case BENCH_DOUBLE:
            at += cbor_encode_double(v->as.number, at, 9);
            break;
        case BENCH_BOOL:
            at += cbor_encode_bool(v->as.boolean, at, 9);
            break;
        }
    }
    bz_buf_advance(out, (size_t)(at - begin));
}

static void add(struct walk *w, uint64_t folded)
{
    if (w->wanted == NULL || w->hit)
        w->sum += folded;
    w->done = w->hit;
    w->items++;
}

static void on_uint8(void *walk, uint8_t v)
{
    add(walk, v);
}

static void on_uint16(void *walk, uint16_t v)
{
    add(walk, v);
}

static void on_uint32(void *walk, uint32_t v)
{
    add(walk, v);
}

static void on_uint64(void *walk, uint64_t v)
{
    add(walk, v);
}

static void on_double(void *walk, double v)
{
    add(walk, bench_fold_double(v));
}

static void on_bool(void *walk, bool v)
{
    add(walk, bench_fold_bool(v));
}

static void on_text(void *walk, cbor_data data, size_t size)
{
    struct walk *w = walk;
    if (w->items % 2 == 1) {
        add(w, bench_fold_text((const char *)data, size));
    } else {
        w->hit = w->wanted != NULL && size == w->wanted_size && memcmp(data, w->wanted, size) == 0;
        w->sum += w->wanted == NULL ? size : 0;
        w->items++;
    }
}

static uint64_t walk(struct bz_bytes bytes, const char *wanted)
{
    struct cbor_callbacks callbacks = cbor_empty_callbacks;
    callbacks.uint8 = on_uint8;
    callbacks.uint16 = on_uint16;
    callbacks.uint32 = on_uint32;
    callbacks.uint64 = on_uint64;
    callbacks.float8 = on_double;
    callbacks.boolean = on_bool;
    callbacks.string = on_text;
    struct walk w = {.wanted = wanted, .wanted_size = wanted != NULL ? strlen(wanted) : 0};
    for (size_t at = 0; at < bytes.size && !w.done;) {
        struct cbor_decoder_result r =
            cbor_stream_decode(bytes.data + at, bytes.size - at, &callbacks, &w);
        if (r.status != CBOR_DECODER_FINISHED)
            bench_die("cbor: a record could not be decoded");
        at += r.read;
    }
    return w.sum;
}

static uint64_t decode(void *codec, struct bz_bytes bytes)
{
    (void)codec;
    return walk(bytes, NULL);
}

static uint64_t field(void *codec, struct bz_bytes bytes, size_t index)
{
    const struct bench_schema *schema = codec;
    return walk(bytes, schema->fields[index].name);
}

const struct bench_codec bench_codec_cbor = {
    "cbor", NULL, open_codec, close_codec, encode, decode, field};

#else

const struct bench_codec bench_codec_cbor = {
    .name = "cbor", .missing = "built without libcbor (libcbor-dev)"};

#endif

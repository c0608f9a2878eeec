/* SPDX-License-Identifier: Apache-2.0 */

/* BSON by libbson: one bson_t is reused for writing; reading is in place, as the format allows. */

#include "bench.h"
#include "codec.h"

#ifdef BENCH_HAVE_BSON

#include <bson/bson.h>
#include <stdlib.h>

struct bson_codec {
    const struct bench_schema *schema;
    bson_t doc;
};

static void *open_codec(const struct bench_schema *schema)
{
    struct bson_codec *c = calloc(1, sizeof *c);
    if (c == NULL)
        bench_die("out of memory");
    c->schema = schema;
    bson_init(&c->doc);
    return c;
}

static void close_codec(void *codec)
{
    struct bson_codec *c = codec;
    bson_destroy(&c->doc);
    free(c);
}

static void encode(void *codec, const struct bench_record *record, struct bz_buf *out)
{
    struct bson_codec *c = codec;
    bson_reinit(&c->doc);
    for (size_t f = 0; f < c->schema->count; f++) {
        const struct bench_value *v = &record->values[f];
        const char *name = c->schema->fields[f].name;
        int size = (int)strlen(name);
        switch (c->schema->fields[f].type) {
        case BENCH_TEXT:
            bson_append_utf8(&c->doc, name, size, v->as.text.data, (int)v->as.text.size);
            break;
        case BENCH_INT:
            if (v->as.integer >= INT32_MIN && v->as.integer <= INT32_MAX)
                bson_append_int32(&c->doc, name, size, (int32_t)v->as.integer);
            else
                bson_append_int64(&c->doc, name, size, v->as.integer);
            break;
        case BENCH_DOUBLE:
            bson_append_double(&c->doc, name, size, v->as.number);
            break;
        case BENCH_BOOL:
            bson_append_bool(&c->doc, name, size, v->as.boolean);
            break;
        }
    }
    bz_buf_append(out, bson_get_data(&c->doc), c->doc.len);
}

static uint64_t fold(const bson_iter_t *iter)
{
    uint32_t size;
    const char *text;
    switch (bson_iter_type(iter)) {
    case BSON_TYPE_UTF8:
        text = bson_iter_utf8(iter, &size);
        return bench_fold_text(text, size);
    case BSON_TYPE_INT32:
    case BSON_TYPE_INT64:
        return bench_fold_int(bson_iter_as_int64(iter));
    case BSON_TYPE_DOUBLE:
        return bench_fold_double(bson_iter_double(iter));
    default:
        return bench_fold_bool(bson_iter_bool(iter));
    }
}

static void parse(struct bz_bytes bytes, bson_t *doc)
{
    if (!bson_init_static(doc, bytes.data, bytes.size))
        bench_die("bson: a record could not be decoded");
}

static uint64_t decode(void *codec, struct bz_bytes bytes)
{
    (void)codec;
    bson_t doc;
    bson_iter_t iter;
    uint64_t sum = 0;
    parse(bytes, &doc);
    bson_iter_init(&iter, &doc);
    while (bson_iter_next(&iter))
        sum += fold(&iter) + bson_iter_key_len(&iter);
    return sum;
}

static uint64_t field(void *codec, struct bz_bytes bytes, size_t index)
{
    const struct bson_codec *c = codec;
    bson_t doc;
    bson_iter_t iter;
    parse(bytes, &doc);
    if (!bson_iter_init_find(&iter, &doc, c->schema->fields[index].name))
        bench_die("bson: a field is not there");
    return fold(&iter);
}

const struct bench_codec bench_codec_bson = {
    "bson", NULL, open_codec, close_codec, encode, decode, field};

#else

const struct bench_codec bench_codec_bson = {
    .name = "bson", .missing = "built without libbson (libbson-dev)"};

#endif

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * BlazeBinary as a database stores it: names interned in the table of the database. Encoding goes
 * the whole way of a write: the public document, then its interned form. Decoding checks every byte
 * first, as is done with what comes from outside.
 */

#include "bench.h"
#include "codec.h"

#include "codec/doc.h"
#include "codec/names.h"

#include <blazedb/value.h>
#include <stdlib.h>

struct blaze_codec {
    const struct bench_schema *schema;
    struct blaze_names *names;
    blaze_doc *doc;
};

static void *open_codec(const struct bench_schema *schema)
{
    struct blaze_codec *c = calloc(1, sizeof *c);
    if (c == NULL || bz_names_new(&c->names) != 0 || blaze_doc_new(&c->doc) != 0)
        bench_die("out of memory");
    c->schema = schema;
    return c;
}

static void close_codec(void *codec)
{
    struct blaze_codec *c = codec;
    blaze_doc_free(c->doc);
    bz_names_unref(c->names);
    free(c);
}

static void encode(void *codec, const struct bench_record *record, struct bz_buf *out)
{
    struct blaze_codec *c = codec;
    bench_document(c->doc, c->schema, record);
    blaze_value value;
    if (blaze_doc_value(c->doc, &value) != 0 || bz_doc_intern(out, &value, c->names) != 0)
        bench_die("blazebinary: a record could not be encoded");
}

static uint64_t fold(const blaze_value *v)
{
    switch (v->type) {
    case BLAZE_STRING:
        return bench_fold_text(v->as.text.data, v->as.text.size);
    case BLAZE_INT:
        return bench_fold_int(v->as.integer);
    case BLAZE_DOUBLE:
        return bench_fold_double(v->as.number);
    case BLAZE_BOOL:
        return bench_fold_bool(v->as.boolean);
    default:
        bench_die("blazebinary: a value of a type that no record has");
    }
}

static uint64_t decode(void *codec, struct bz_bytes bytes)
{
    struct blaze_codec *c = codec;
    if (bz_doc_check(bytes, bz_names_count(c->names)) != 0)
        bench_die("blazebinary: a record does not check");
    blaze_value map, value;
    blaze_iter iter;
    blaze_text name;
    uint64_t sum = 0;
    bz_doc_value(bytes, c->names, &map);
    blaze_iter_init(&iter, &map);
    while (blaze_iter_next(&iter, &name, &value) == 0)
        sum += fold(&value) + name.size;
    return sum;
}

static uint64_t field(void *codec, struct bz_bytes bytes, size_t index)
{
    struct blaze_codec *c = codec;
    blaze_value map, value;
    bz_doc_value(bytes, c->names, &map);
    if (blaze_value_field(&map, c->schema->fields[index].name, &value) != 0)
        bench_die("blazebinary: a field is not there");
    return fold(&value);
}

const struct bench_codec bench_codec_blaze = {
    "blazebinary", NULL, open_codec, close_codec, encode, decode, field};

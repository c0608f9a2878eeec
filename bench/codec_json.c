/* SPDX-License-Identifier: Apache-2.0 */

/* Minified JSON by jansson; doubles with the 15 digits that the records need, not the usual 17. */

#include "bench.h"
#include "codec.h"

#include <jansson.h>

static void *open_codec(const struct bench_schema *schema)
{
    return (void *)(uintptr_t)schema;
}

static void close_codec(void *codec)
{
    (void)codec;
}

static json_t *value_new(enum bench_type type, const struct bench_value *v)
{
    switch (type) {
    case BENCH_TEXT:
        return json_stringn(v->as.text.data, v->as.text.size);
    case BENCH_INT:
        return json_integer(v->as.integer);
    case BENCH_DOUBLE:
        return json_real(v->as.number);
    case BENCH_BOOL:
        return json_boolean(v->as.boolean);
    }
    return NULL;
}

static void encode(void *codec, const struct bench_record *record, struct bz_buf *out)
{
    const struct bench_schema *schema = codec;
    const size_t flags = JSON_COMPACT | JSON_REAL_PRECISION(15);
    json_t *object = json_object();
    for (size_t f = 0; f < schema->count; f++)
        json_object_set_new_nocheck(
            object, schema->fields[f].name, value_new(schema->fields[f].type, &record->values[f]));
    size_t room = 512;
    uint8_t *at = bz_buf_reserve(out, room);
    size_t size = at != NULL ? json_dumpb(object, (char *)at, room, flags) : 0;
    if (size == 0 || size > room)
        bench_die("json: a record could not be encoded");
    bz_buf_advance(out, size);
    json_decref(object);
}

static uint64_t fold(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        return bench_fold_text(json_string_value(value), json_string_length(value));
    case JSON_INTEGER:
        return bench_fold_int(json_integer_value(value));
    case JSON_REAL:
        return bench_fold_double(json_real_value(value));
    default:
        return bench_fold_bool(json_is_true(value));
    }
}

static json_t *parse(struct bz_bytes bytes)
{
    json_error_t error;
    json_t *object = json_loadb((const char *)bytes.data, bytes.size, 0, &error);
    if (object == NULL)
        bench_die("json: %s", error.text);
    return object;
}

static uint64_t decode(void *codec, struct bz_bytes bytes)
{
    (void)codec;
    json_t *object = parse(bytes);
    uint64_t sum = 0;
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value) sum += fold(value) + strlen(name);
    json_decref(object);
    return sum;
}

static uint64_t field(void *codec, struct bz_bytes bytes, size_t index)
{
    const struct bench_schema *schema = codec;
    json_t *object = parse(bytes);
    uint64_t sum = fold(json_object_get(object, schema->fields[index].name));
    json_decref(object);
    return sum;
}

const struct bench_codec bench_codec_json = {
    "json", NULL, open_codec, close_codec, encode, decode, field};

/* SPDX-License-Identifier: Apache-2.0 */

/* MessagePack by msgpack-c: packed straight into the output, unpacked into a zone that is reused.
 */

#include "bench.h"
#include "codec.h"

#ifdef BENCH_HAVE_MSGPACK

#include <msgpack.h>
#include <stdlib.h>

struct msgpack_codec {
    const struct bench_schema *schema;
    msgpack_zone zone;
};

static void *open_codec(const struct bench_schema *schema)
{
    struct msgpack_codec *c = calloc(1, sizeof *c);
    if (c == NULL || !msgpack_zone_init(&c->zone, 4096))
        bench_die("out of memory");
    c->schema = schema;
    return c;
}

static void close_codec(void *codec)
{
    struct msgpack_codec *c = codec;
    msgpack_zone_destroy(&c->zone);
    free(c);
}

static int append(void *buf, const char *data, size_t size)
{
    bz_buf_append(buf, data, size);
    return 0;
}

static void encode(void *codec, const struct bench_record *record, struct bz_buf *out)
{
    struct msgpack_codec *c = codec;
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, append);
    msgpack_pack_map(&packer, c->schema->count);
    for (size_t f = 0; f < c->schema->count; f++) {
        const struct bench_value *v = &record->values[f];
        const char *name = c->schema->fields[f].name;
        msgpack_pack_str_with_body(&packer, name, strlen(name));
        switch (c->schema->fields[f].type) {
        case BENCH_TEXT:
            msgpack_pack_str_with_body(&packer, v->as.text.data, v->as.text.size);
            break;
        case BENCH_INT:
            msgpack_pack_int64(&packer, v->as.integer);
            break;
        case BENCH_DOUBLE:
            msgpack_pack_double(&packer, v->as.number);
            break;
        case BENCH_BOOL:
            if (v->as.boolean)
                msgpack_pack_true(&packer);
            else
                msgpack_pack_false(&packer);
            break;
        }
    }
}

static uint64_t fold(const msgpack_object *v)
{
    switch (v->type) {
    case MSGPACK_OBJECT_STR:
        return bench_fold_text(v->via.str.ptr, v->via.str.size);
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        return v->via.u64;
    case MSGPACK_OBJECT_FLOAT:
        return bench_fold_double(v->via.f64);
    default:
        return bench_fold_bool(v->via.boolean);
    }
}

static const msgpack_object_map *parse(
    struct msgpack_codec *c, struct bz_bytes bytes, msgpack_object *object)
{
    msgpack_zone_clear(&c->zone);
    if (msgpack_unpack((const char *)bytes.data, bytes.size, NULL, &c->zone, object) !=
            MSGPACK_UNPACK_SUCCESS ||
        object->type != MSGPACK_OBJECT_MAP)
        bench_die("msgpack: a record could not be decoded");
    return &object->via.map;
}

static uint64_t decode(void *codec, struct bz_bytes bytes)
{
    msgpack_object object;
    const msgpack_object_map *map = parse(codec, bytes, &object);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < map->size; i++)
        sum += fold(&map->ptr[i].val) + map->ptr[i].key.via.str.size;
    return sum;
}

static uint64_t field(void *codec, struct bz_bytes bytes, size_t index)
{
    struct msgpack_codec *c = codec;
    msgpack_object object;
    const msgpack_object_map *map = parse(c, bytes, &object);
    const char *name = c->schema->fields[index].name;
    size_t size = strlen(name);
    for (uint32_t i = 0; i < map->size; i++) {
        const msgpack_object_str *key = &map->ptr[i].key.via.str;
        if (key->size == size && memcmp(key->ptr, name, size) == 0)
            return fold(&map->ptr[i].val);
    }
    bench_die("msgpack: a field is not there");
}

const struct bench_codec bench_codec_msgpack = {
    "msgpack", NULL, open_codec, close_codec, encode, decode, field};

#else

const struct bench_codec bench_codec_msgpack = {
    .name = "msgpack", .missing = "built without msgpack-c (libmsgpack-dev)"};

#endif

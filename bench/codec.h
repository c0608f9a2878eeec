/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_CODEC_H
#define BENCH_CODEC_H

/*
 * A way to write a record as bytes. Equal work: `encode` starts from the record's values in memory;
 * `decode` checks what the format checks and reads every value with its field's name; `field` reads
 * one value by name. What was read is folded into a sum, which must come out the same for all.
 */

#include "records.h"

#include <string.h>

struct bench_codec {
    const char *name;
    const char *missing; /* why it is not built in, or NULL */
    void *(*open)(const struct bench_schema *schema);
    void (*close)(void *codec);
    void (*encode)(void *codec, const struct bench_record *record, struct bz_buf *out);
    uint64_t (*decode)(void *codec, struct bz_bytes bytes);
    uint64_t (*field)(void *codec, struct bz_bytes bytes, size_t index);
};

extern const struct bench_codec bench_codec_blaze;
extern const struct bench_codec bench_codec_json;
extern const struct bench_codec bench_codec_msgpack;
extern const struct bench_codec bench_codec_cbor;
extern const struct bench_codec bench_codec_bson;

/* What a value adds to the sum. */
static inline uint64_t bench_fold_text(const char *data, size_t size)
{
    return size == 0 ? 3 : size * 31 + (uint8_t)data[0] + (uint64_t)(uint8_t)data[size - 1] * 7;
}

static inline uint64_t bench_fold_int(int64_t value)
{
    return (uint64_t)value;
}

static inline uint64_t bench_fold_double(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline uint64_t bench_fold_bool(bool value)
{
    return value ? 5 : 11;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_RECORDS_H
#define BENCH_RECORDS_H

/*
 * The records of the benchmarks: the cities, read from a file, and orders, generated: record i is
 * the same in every run and on every machine. A record is flat: its fields are those of its schema,
 * in order.
 */

#include "base/buf.h"

#include <blazedb/id.h>
#include <blazedb/value.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_FIELDS_MAX 12
#define BENCH_TEXT_MAX   256 /* of one order's texts together */

enum bench_type { BENCH_TEXT, BENCH_INT, BENCH_DOUBLE, BENCH_BOOL };

struct bench_field {
    const char *name;
    enum bench_type type;
};

struct bench_schema {
    const char *name;
    const struct bench_field *fields;
    size_t count;
};

struct bench_value {
    union {
        struct {
            const char *data;
            size_t size;
        } text;
        int64_t integer;
        double number;
        bool boolean;
    } as;
};

struct bench_record {
    struct bench_value values[BENCH_FIELDS_MAX];
};

/* The fields of an order. */
enum {
    ORDER_NUMBER,
    ORDER_CUSTOMER_ID,
    ORDER_CUSTOMER_NAME,
    ORDER_CUSTOMER_EMAIL,
    ORDER_STATUS,
    ORDER_PLACED,
    ORDER_TOTAL, /* the field that every engine keeps an index on */
    ORDER_CURRENCY,
    ORDER_ITEMS,
    ORDER_WEIGHT,
    ORDER_PAID,
    ORDER_ADDRESS,
    ORDER_FIELDS
};

extern const struct bench_schema bench_orders;
extern const struct bench_schema bench_cities;

/* Makes `doc` what the record is. Errors of the adds stick in the document and come out of its next
 * use. */
void bench_document(
    blaze_doc *doc, const struct bench_schema *schema, const struct bench_record *record);

/* Order `i`; its texts lie in `text`, which the caller keeps as long as the record. */
void bench_order(uint64_t i, struct bench_record *out, char text[BENCH_TEXT_MAX]);

/* The same with an address of 8,000 letters, which hardly compress. */
void bench_order_large(uint64_t i, struct bench_record *out, char text[BENCH_TEXT_MAX]);

/* What update number `round` of order `i` writes: a new status and a new total. */
void bench_order_change(uint64_t i, uint64_t round, const char **status, int64_t *total);

/* A well-mixed number: the source of all that looks random here. */
uint64_t bench_mix(uint64_t x);

enum bench_id_order { BENCH_RANDOM_IDS, BENCH_ASCENDING_IDS };

/* The id of record `i`: any 16 bytes, or as UUIDv7 is, each after the one before. */
void bench_id(enum bench_id_order order, uint64_t i, blaze_id *out);

/* Records held in memory, made before anything is timed. */
struct bench_records {
    const struct bench_schema *schema;
    struct bench_record *items;
    size_t count;
    char *text;
};

void bench_records_orders(struct bench_records *out, size_t count);

/* Up to `most` cities from `path`, or, if it is NULL, from where the checkout has them. False if
 * there is no such file. */
bool bench_records_cities(struct bench_records *out, const char *path, size_t most);
void bench_records_release(struct bench_records *records);

/* Appends an order as minified JSON, as fast as an application that knows its records can. */
void bench_json_append(struct bz_buf *out, const struct bench_record *order);

/*
 * The packed form, which the key-value engines store: the values alone, in the order of the schema,
 * as an application that knows its schema would write them. Integers are zigzag varints, texts a
 * varint size and the bytes, doubles eight bytes, booleans one.
 */
void bench_pack(
    struct bz_buf *out, const struct bench_schema *schema, const struct bench_record *record);

/* Reads field `index` of a packed record, or all of them; texts borrow. False if it is damaged. */
bool bench_unpack_field(struct bz_bytes packed, const struct bench_schema *schema, size_t index,
    struct bench_value *out);
bool bench_unpack(
    struct bz_bytes packed, const struct bench_schema *schema, struct bench_record *out);

#endif

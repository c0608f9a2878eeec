/* SPDX-License-Identifier: Apache-2.0 */
#include "records.h"

#include "bench.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct bench_field order_fields[ORDER_FIELDS] = {
    {"order_number", BENCH_TEXT},
    {"customer_id", BENCH_INT},
    {"customer_name", BENCH_TEXT},
    {"customer_email", BENCH_TEXT},
    {"status", BENCH_TEXT},
    {"placed_at", BENCH_INT},
    {"total_cents", BENCH_INT},
    {"currency", BENCH_TEXT},
    {"item_count", BENCH_INT},
    {"weight_kg", BENCH_DOUBLE},
    {"paid", BENCH_BOOL},
    {"delivery_address", BENCH_TEXT},
};
const struct bench_schema bench_orders = {"orders", order_fields, ORDER_FIELDS};

enum { CITY_NAME, CITY_LAT, CITY_LNG, CITY_COUNTRY, CITY_ADMIN1, CITY_ADMIN2, CITY_FIELDS };

static const struct bench_field city_fields[CITY_FIELDS] = {
    {"name", BENCH_TEXT},
    {"lat", BENCH_DOUBLE},
    {"lng", BENCH_DOUBLE},
    {"country", BENCH_TEXT},
    {"admin1", BENCH_TEXT},
    {"admin2", BENCH_TEXT},
};
const struct bench_schema bench_cities = {"cities", city_fields, CITY_FIELDS};

static const char *const first_names[] = {"Olivia", "Noah", "Amelia", "Liam", "Sofia", "Mateo",
    "Ingrid", "Jürgen", "Aiko", "Rahul", "Fatima", "Pavel", "Chloé", "Kwame", "Lucía", "Hans"};
static const char *const last_names[] = {"Larsson", "García", "Schmidt", "Tanaka", "Okafor",
    "Novák", "Rossi", "Dubois", "Kowalski", "Sharma", "Jensen", "Murphy", "Almeida", "Virtanen",
    "Haddad", "Nguyen"};
static const char *const mail_names[] = {"olivia", "noah", "amelia", "liam", "sofia", "mateo",
    "ingrid", "juergen", "aiko", "rahul", "fatima", "pavel", "chloe", "kwame", "lucia", "hans"};
static const char *const streets[] = {"Main Street", "Storgatan", "Bahnhofstrasse", "Rue de Rivoli",
    "Calle Mayor", "Via Roma", "High Street", "Karl Johans gate"};
static const char *const towns[] = {
    "Gothenburg", "Zürich", "Lyon", "Madrid", "Bologna", "Leeds", "Oslo", "Kraków"};
static const char *const statuses[] = {"open", "paid", "packed", "shipped", "returned"};
static const char *const currencies[] = {"EUR", "SEK", "CHF", "GBP", "USD", "PLN"};

uint64_t bench_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Text written piece by piece into the record's own storage. */
struct scribe {
    char *at;
    char *begin;
};

static void put_text(struct scribe *s, const char *text)
{
    size_t size = strlen(text);
    memcpy(s->at, text, size);
    s->at += size;
}

static void put_digits(struct scribe *s, uint64_t value, unsigned width)
{
    for (unsigned i = width; i-- > 0; value /= 10)
        s->at[i] = (char)('0' + value % 10);
    s->at += width;
}

static struct bench_value finish_text(struct scribe *s)
{
    struct bench_value v = {.as.text = {s->begin, (size_t)(s->at - s->begin)}};
    s->begin = s->at;
    return v;
}

static struct bench_value fixed_text(const char *text)
{
    return (struct bench_value){.as.text = {text, strlen(text)}};
}

void bench_document(
    blaze_doc *doc, const struct bench_schema *schema, const struct bench_record *record)
{
    blaze_doc_clear(doc);
    for (size_t f = 0; f < schema->count; f++) {
        const struct bench_value *v = &record->values[f];
        const char *name = schema->fields[f].name;
        switch (schema->fields[f].type) {
        case BENCH_TEXT:
            blaze_doc_add_text(doc, name, v->as.text.data, v->as.text.size);
            break;
        case BENCH_INT:
            blaze_doc_add_int(doc, name, v->as.integer);
            break;
        case BENCH_DOUBLE:
            blaze_doc_add_double(doc, name, v->as.number);
            break;
        case BENCH_BOOL:
            blaze_doc_add_bool(doc, name, v->as.boolean);
            break;
        }
    }
}

void bench_order(uint64_t i, struct bench_record *out, char text[BENCH_TEXT_MAX])
{
    struct scribe s = {text, text};
    uint64_t a = bench_mix(i * 4);
    uint64_t b = bench_mix(i * 4 + 1);
    uint64_t c = bench_mix(i * 4 + 2);
    size_t person = a % COUNT(first_names);

    put_text(&s, "SO-");
    put_digits(&s, i, 9);
    out->values[ORDER_NUMBER] = finish_text(&s);
    out->values[ORDER_CUSTOMER_ID].as.integer = (int64_t)((a >> 16) % 1000000);
    put_text(&s, first_names[person]);
    put_text(&s, " ");
    put_text(&s, last_names[a >> 8 & 15]);
    out->values[ORDER_CUSTOMER_NAME] = finish_text(&s);
    put_text(&s, mail_names[person]);
    put_digits(&s, (a >> 16) % 10000, 4);
    put_text(&s, "@example.com");
    out->values[ORDER_CUSTOMER_EMAIL] = finish_text(&s);
    out->values[ORDER_STATUS] = fixed_text(statuses[(a >> 32) % COUNT(statuses)]);
    out->values[ORDER_PLACED].as.integer =
        INT64_C(1700000000000) + (int64_t)(i * 37) + (int64_t)(a >> 40) % 1000;
    out->values[ORDER_TOTAL].as.integer = (int64_t)(b % 100000000);
    out->values[ORDER_CURRENCY] = fixed_text(currencies[(b >> 32) % COUNT(currencies)]);
    out->values[ORDER_ITEMS].as.integer = (int64_t)(b >> 40) % 50 + 1;
    out->values[ORDER_WEIGHT].as.number = (double)(c % 50000) / 1000;
    out->values[ORDER_PAID].as.boolean = (c >> 20 & 1) != 0;
    put_text(&s, streets[c >> 24 & 7]);
    put_text(&s, " ");
    put_digits(&s, (c >> 28) % 200, 3);
    put_text(&s, ", ");
    put_digits(&s, (c >> 36) % 90000 + 10000, 5);
    put_text(&s, " ");
    put_text(&s, towns[c >> 56 & 7]);
    out->values[ORDER_ADDRESS] = finish_text(&s);
}

#define LETTERS      ((size_t)1 << 20)
#define LARGE_LETTER 8000

void bench_order_large(uint64_t i, struct bench_record *out, char text[BENCH_TEXT_MAX])
{
    static char letters[LETTERS];
    if (letters[0] == '\0')
        for (size_t at = 0; at < LETTERS; at++)
            letters[at] = (char)('0' + bench_mix(at) % 64); /* all printable */
    bench_order(i, out, text);
    out->values[ORDER_ADDRESS] = (struct bench_value){
        .as.text = {letters + bench_mix(i) % (LETTERS - LARGE_LETTER), LARGE_LETTER}};
}

void bench_order_change(uint64_t i, uint64_t round, const char **status, int64_t *total)
{
    uint64_t x = bench_mix(i * 0x100000001b3u + round);
    *status = statuses[(x >> 32) % COUNT(statuses)];
    *total = (int64_t)(x % 100000000);
}

void bench_id(enum bench_id_order order, uint64_t i, blaze_id *out)
{
    uint64_t high = bench_mix(i ^ 0x5bd1e995u);
    uint64_t low = bench_mix(high);
    if (order == BENCH_ASCENDING_IDS) {
        uint64_t ms = UINT64_C(1700000000000) + i / 16;
        high = ms << 16 | 0x7000 | (i % 16) << 8 | (high & 0xff);
    }
    bz_store64be(out->bytes, high);
    bz_store64be(out->bytes + 8, low);
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count > 0 ? count : 1, size);
    if (memory == NULL)
        bench_die("out of memory");
    return memory;
}

void bench_records_orders(struct bench_records *out, size_t count)
{
    *out = (struct bench_records){
        &bench_orders, allocate(count, sizeof *out->items), count, allocate(count, BENCH_TEXT_MAX)};
    for (size_t i = 0; i < count; i++)
        bench_order(i, &out->items[i], out->text + i * BENCH_TEXT_MAX);
}

/* Opens JSON lines, through gzip where the name says so. */
static FILE *open_lines(const char *path, bool *piped)
{
    size_t size = strlen(path);
    *piped = size > 3 && strcmp(path + size - 3, ".gz") == 0;
    if (access(path, R_OK) != 0)
        return NULL;
    if (!*piped)
        return fopen(path, "r");
    char command[4200];
    snprintf(command, sizeof command, "gzip -dc '%s'", path);
    return popen(command, "r");
}

/* The texts of a city are copied behind one another into `pool`. */
static void read_city(const char *line, struct bench_record *out, struct scribe *pool)
{
    json_error_t error;
    json_t *city = json_loads(line, 0, &error);
    if (city == NULL)
        bench_die("cities: %s", error.text);
    for (size_t f = 0; f < CITY_FIELDS; f++) {
        json_t *value = json_object_get(city, city_fields[f].name);
        if (city_fields[f].type == BENCH_DOUBLE) {
            out->values[f].as.number = json_number_value(value);
        } else {
            const char *text = json_string_value(value);
            put_text(pool, text != NULL ? text : "");
            out->values[f] = finish_text(pool);
        }
    }
    json_decref(city);
}

bool bench_records_cities(struct bench_records *out, const char *path, size_t most)
{
    static const char *const places[] = {BZ_SOURCE_DIR "/../shared/data/cities.jsonl.gz",
        BZ_SOURCE_DIR "/examples/data/cities.jsonl",
        BZ_SOURCE_DIR "/examples/data/cities.jsonl.gz"};
    bool piped = false;
    FILE *in = path != NULL ? open_lines(path, &piped) : NULL;
    for (size_t i = 0; in == NULL && path == NULL && i < COUNT(places); i++)
        in = open_lines(places[i], &piped);
    if (in == NULL)
        return false;

    *out = (struct bench_records){
        &bench_cities, allocate(most, sizeof *out->items), 0, allocate(most, BENCH_TEXT_MAX)};
    struct scribe pool = {out->text, out->text};
    char line[BENCH_TEXT_MAX * 4];
    while (out->count < most && fgets(line, sizeof line, in) != NULL)
        read_city(line, &out->items[out->count++], &pool);
    if (piped)
        pclose(in);
    else
        fclose(in);
    return out->count > 0;
}

void bench_records_release(struct bench_records *records)
{
    free(records->items);
    free(records->text);
    *records = (struct bench_records){0};
}

/* The texts of orders hold no quote, backslash or control character. */
static void json_text(struct bz_buf *out, const char *text, size_t size)
{
    bz_buf_append8(out, '"');
    bz_buf_append(out, text, size);
    bz_buf_append8(out, '"');
}

static void json_integer_append(struct bz_buf *out, int64_t value)
{
    char digits[24];
    size_t at = sizeof digits;
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do
        digits[--at] = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    if (value < 0)
        digits[--at] = '-';
    bz_buf_append(out, digits + at, sizeof digits - at);
}

/* The shortest text that reads back as the same number; the records need at most 15 digits. */
static void json_double(struct bz_buf *out, double value)
{
    char text[40];
    int size = snprintf(text, sizeof text, "%.15g", value);
    bz_buf_append(out, text, (size_t)size);
    if (strpbrk(text, ".e") == NULL)
        bz_buf_append(out, ".0", 2);
}

void bench_json_append(struct bz_buf *out, const struct bench_record *order)
{
    for (size_t f = 0; f < ORDER_FIELDS; f++) {
        const struct bench_value *v = &order->values[f];
        bz_buf_append8(out, f == 0 ? '{' : ',');
        json_text(out, order_fields[f].name, strlen(order_fields[f].name));
        bz_buf_append8(out, ':');
        switch (order_fields[f].type) {
        case BENCH_TEXT:
            json_text(out, v->as.text.data, v->as.text.size);
            break;
        case BENCH_INT:
            json_integer_append(out, v->as.integer);
            break;
        case BENCH_DOUBLE:
            json_double(out, v->as.number);
            break;
        case BENCH_BOOL:
            bz_buf_append(out, v->as.boolean ? "true" : "false", v->as.boolean ? 4 : 5);
            break;
        }
    }
    bz_buf_append8(out, '}');
}

void bench_pack(
    struct bz_buf *out, const struct bench_schema *schema, const struct bench_record *record)
{
    for (size_t f = 0; f < schema->count; f++) {
        const struct bench_value *v = &record->values[f];
        switch (schema->fields[f].type) {
        case BENCH_TEXT:
            bz_buf_append_sized(out, bz_bytes(v->as.text.data, v->as.text.size));
            break;
        case BENCH_INT:
            bz_buf_append_varint(out, bz_zigzag(v->as.integer));
            break;
        case BENCH_DOUBLE:
            bz_buf_append(out, &v->as.number, 8);
            break;
        case BENCH_BOOL:
            bz_buf_append8(out, v->as.boolean);
            break;
        }
    }
}

static void unpack_value(struct bz_reader *r, enum bench_type type, struct bench_value *out)
{
    struct bz_bytes b;
    switch (type) {
    case BENCH_TEXT:
        b = bz_read_sized(r);
        out->as.text.data = (const char *)b.data;
        out->as.text.size = b.size;
        break;
    case BENCH_INT:
        out->as.integer = bz_unzigzag(bz_read_varint(r));
        break;
    case BENCH_DOUBLE:
        b = bz_read_bytes(r, 8);
        if (r->ok)
            memcpy(&out->as.number, b.data, 8);
        break;
    case BENCH_BOOL:
        out->as.boolean = bz_read8(r) != 0;
        break;
    }
}

bool bench_unpack_field(struct bz_bytes packed, const struct bench_schema *schema, size_t index,
    struct bench_value *out)
{
    struct bz_reader r = bz_reader(packed);
    for (size_t f = 0; f <= index; f++)
        unpack_value(&r, schema->fields[f].type, out);
    return r.ok;
}

bool bench_unpack(
    struct bz_bytes packed, const struct bench_schema *schema, struct bench_record *out)
{
    struct bz_reader r = bz_reader(packed);
    for (size_t f = 0; f < schema->count; f++)
        unpack_value(&r, schema->fields[f].type, &out->values[f]);
    return r.ok;
}

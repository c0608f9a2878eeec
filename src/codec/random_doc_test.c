/* SPDX-License-Identifier: Apache-2.0 */
/* Random documents through every form, damaged ones through every reader, and faults of memory. */
#include "codec/doc.h"

#include "base/alloc.h"
#include "cmocka_all.h"
#include "random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static struct rng rng;

static struct bz_bytes bytes_of(const blaze_value *map)
{
    return bz_bytes(map->as.nested.data, map->as.nested.size);
}

/* ---- making ---- */

static void random_name(char out[4])
{
    size_t size = 1 + rng_below(&rng, 3);
    for (size_t i = 0; i < size; i++)
        out[i] = (char)('a' + rng_below(&rng, 3));
    out[size] = '\0';
}

static void add_random(blaze_doc *doc, const char *name, int depth);

static void add_fields(blaze_doc *doc, int depth)
{
    bool used[64] = {false};
    for (uint32_t n = rng_below(&rng, 14); n > 0; n--) {
        char name[4];
        unsigned mark = 0;
        random_name(name);
        for (const char *p = name; *p != '\0'; p++)
            mark = mark * 4 + (unsigned)(*p - 'a' + 1);
        if (!used[mark])
            add_random(doc, name, depth);
        used[mark] = true;
    }
}

static void add_random(blaze_doc *doc, const char *name, int depth)
{
    char text[48];
    size_t size = rng_below(&rng, rng_below(&rng, 4) ? 16 : 48);
    blaze_id id;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)rng_below(&rng, 128);
    memcpy(id.bytes, text, sizeof id.bytes);
    switch (rng_below(&rng, depth > 0 ? 13 : 10)) {
    case 0:
        blaze_doc_add_null(doc, name);
        break;
    case 1:
        blaze_doc_add_bool(doc, name, rng_below(&rng, 2));
        break;
    case 2:
    case 3:
        blaze_doc_add_int(doc, name, (int64_t)rng_next(&rng) >> rng_below(&rng, 64));
        break;
    case 4:
        blaze_doc_add_double(
            doc, name, rng_fraction(&rng) * pow(10, (int)rng_below(&rng, 20) - 10));
        break;
    case 5:
        blaze_doc_add_double(
            doc, name, (double)(int32_t)rng_next(&rng) / pow(10, rng_below(&rng, 12)));
        break;
    case 6:
        blaze_doc_add_timestamp(doc, name, (int64_t)(int32_t)rng_next(&rng) * 1000);
        break;
    case 7:
        blaze_doc_add_text(doc, name, text, size);
        break;
    case 8:
        blaze_doc_add_bytes(doc, name, text, size);
        break;
    case 9:
        blaze_doc_add_uuid(doc, name, &id);
        break;
    case 10:
        blaze_doc_begin_array(doc, name);
        for (uint32_t n = rng_below(&rng, 20); n > 0; n--)
            add_random(doc, NULL, depth - 1);
        blaze_doc_end(doc);
        break;
    default:
        blaze_doc_begin_map(doc, name);
        add_fields(doc, depth - 1);
        blaze_doc_end(doc);
        break;
    }
}

static blaze_doc *random_doc(blaze_value *map)
{
    blaze_doc *doc;
    assert_int_equal(blaze_doc_new(&doc), 0);
    add_fields(doc, 3);
    assert_int_equal(blaze_doc_value(doc, map), 0);
    return doc;
}

static void assert_text_form(const blaze_value *value, struct bz_bytes expected)
{
    blaze_doc *doc;
    blaze_iter iter;
    blaze_text name;
    blaze_value item, map;
    assert_int_equal(blaze_doc_new(&doc), 0);
    assert_int_equal(blaze_iter_init(&iter, value), 0);
    while (blaze_iter_next(&iter, &name, &item) == 0) {
        char text[BLAZE_MAX_NAME + 1] = "";
        memcpy(text, name.data, name.size);
        assert_int_equal(blaze_doc_add_value(doc, text, &item), 0);
    }
    assert_int_equal(blaze_doc_value(doc, &map), 0);
    assert_true(bz_bytes_equal(bytes_of(&map), expected));
    blaze_doc_free(doc);
}

/* ---- round trips ---- */

struct ids {
    uint32_t count;
    uint32_t calls;
};

static int count_id(void *context, uint32_t id)
{
    struct ids *ids = context;
    assert_true(id < ids->count);
    ids->calls++;
    return 0;
}

/* A renaming that turns the order around, and back. */
static int64_t reverse(void *context, uint32_t id)
{
    const struct ids *ids = context;
    return (int64_t)ids->count - 1 - id;
}

static int64_t all_the_same(void *context, uint32_t id)
{
    (void)context;
    (void)id;
    return 7;
}

static int64_t refuse(void *context, uint32_t id)
{
    (void)context;
    (void)id;
    return BLAZE_EPROTO;
}

static bool is_odd(void *context, const struct bz_raw_field *field)
{
    *(size_t *)context += field->id % 2;
    return field->id % 2 == 1;
}

/* What is built is interned as its value is; and of that some fields are taken. */
static void check_parts(blaze_doc *doc, struct blaze_names *names, struct bz_bytes stored)
{
    struct bz_buf built;
    struct bz_arena arena;
    struct bz_bytes some;
    struct bz_doc_iter it;
    struct bz_raw_field field;
    size_t odd = 0, kept, seen = 0;
    bool unset;
    bz_buf_init(&built, BZ_DOC_MAX);
    bz_arena_init(&arena);
    assert_int_equal(bz_doc_error(doc), 0);
    assert_int_equal(bz_doc_intern_built(&built, doc, names, &unset), 0);
    assert_true(!unset && bz_bytes_equal(bz_buf_bytes(&built), stored));
    assert_int_equal(bz_doc_select(&arena, stored, is_odd, &odd, &some, &kept), 0);
    assert_int_equal(kept, odd);
    assert_int_equal(bz_doc_check(some, bz_names_count(names)), 0);
    bz_doc_iter_init(&it, stored, names);
    while (bz_doc_iter_raw(&it, &field) == 0) {
        blaze_value value, wanted;
        bz_raw_value(&field, names, &wanted);
        int rc = bz_doc_field(some, names, field.id, &value);
        assert_int_equal(rc, field.id % 2 == 1 ? 0 : BLAZE_ENOTFOUND);
        assert_true(rc != 0 || blaze_value_compare(&value, &wanted) == 0);
        seen += rc == 0;
    }
    assert_int_equal(seen, kept);
    bz_arena_release(&arena);
    bz_buf_release(&built);
}

static void random_documents_survive_every_form(void **state)
{
    (void)state;
    struct bz_buf stored, renamed, back;
    bz_buf_init(&stored, BZ_DOC_MAX);
    bz_buf_init(&renamed, BZ_DOC_MAX);
    bz_buf_init(&back, BZ_DOC_MAX);
    rng.state = test_seed();
    size_t smaller = 0;
    uint64_t rounds = test_rounds(1500, 100000);
    for (uint64_t round = rounds; round > 0; round--) {
        struct blaze_names *names;
        blaze_value text, map, other;
        struct ids ids = {0};
        blaze_doc *doc = random_doc(&text);
        assert_int_equal(bz_names_new(&names), 0);
        assert_int_equal(bz_doc_check(bytes_of(&text), 0), 0);

        bz_buf_clear(&stored);
        assert_int_equal(bz_doc_intern(&stored, &text, names), 0);
        ids.count = bz_names_count(names);
        assert_int_equal(bz_doc_check(bz_buf_bytes(&stored), ids.count), 0);
        assert_true(stored.size <= bytes_of(&text).size);
        smaller += stored.size < bytes_of(&text).size;
        bz_doc_value(bz_buf_bytes(&stored), names, &map);
        assert_text_form(&map, bytes_of(&text));
        assert_int_equal(blaze_value_compare(&map, &text), 0);
        assert_int_equal(bz_doc_each_name(bz_buf_bytes(&stored), count_id, &ids), 0);
        assert_true(ids.calls >= blaze_value_count(&text));
        if (ids.count > 0)
            assert_int_equal(bz_doc_check(bz_buf_bytes(&stored), ids.count - 1), BLAZE_ECORRUPT);
        check_parts(doc, names, bz_buf_bytes(&stored));

        bz_buf_clear(&renamed);
        bz_buf_clear(&back);
        assert_int_equal(bz_doc_rename(&renamed, bz_buf_bytes(&stored), reverse, &ids), 0);
        assert_int_equal(bz_doc_check(bz_buf_bytes(&renamed), ids.count), 0);
        assert_int_equal(bz_doc_rename(&back, bz_buf_bytes(&renamed), reverse, &ids), 0);
        assert_true(bz_bytes_equal(bz_buf_bytes(&back), bz_buf_bytes(&stored)));
        if (blaze_value_count(&text) > 1) {
            size_t before = back.size;
            assert_int_equal(
                bz_doc_rename(&back, bz_buf_bytes(&stored), all_the_same, NULL), BLAZE_ECORRUPT);
            assert_int_equal(
                bz_doc_rename(&back, bz_buf_bytes(&stored), refuse, NULL), BLAZE_EPROTO);
            assert_int_equal(back.size, before);
        }

        char *json;
        blaze_doc *again;
        assert_int_equal(blaze_value_to_json(&json, &map, round % 2), 0);
        assert_int_equal(blaze_doc_from_json(&again, json, strlen(json), NULL), 0);
        assert_int_equal(blaze_doc_value(again, &other), 0);
        assert_true(bz_bytes_equal(bytes_of(&other), bytes_of(&text)));
        blaze_free(json);
        blaze_doc_free(again);
        blaze_doc_free(doc);
        bz_names_unref(names);
    }
    assert_true(smaller > rounds / 5 * 4);
    bz_buf_release(&stored);
    bz_buf_release(&renamed);
    bz_buf_release(&back);
}

static void interning_puts_top_level_names_before_all_limits(void **state)
{
    (void)state;
    struct blaze_names *names;
    struct bz_buf stored;
    blaze_value map, inner;
    blaze_doc *doc;
    uint32_t id;
    bz_buf_init(&stored, BZ_DOC_MAX);
    assert_int_equal(bz_names_new(&names), 0);
    for (unsigned i = 0; i < BZ_NAMES_NESTED_MAX; i++) {
        char name[16];
        int size = snprintf(name, sizeof name, "name%u", i);
        assert_int_equal(bz_names_add(names, bz_bytes(name, (size_t)size), &id), 0);
    }
    assert_int_equal(bz_names_add(names, bz_bytes_text("past"), &id), 0);
    assert_int_equal(blaze_doc_new(&doc), 0);
    blaze_doc_add_int(doc, "new", 1);
    blaze_doc_begin_map(doc, "map");
    blaze_doc_add_int(doc, "name7", 2); /* known */
    blaze_doc_add_int(doc, "past", 3);  /* known, but past the limit */
    blaze_doc_add_int(doc, "other", 4); /* unknown */
    blaze_doc_end(doc);
    assert_int_equal(blaze_doc_value(doc, &map), 0);
    assert_int_equal(bz_doc_intern(&stored, &map, names), 0);
    assert_int_equal(bz_names_count(names), BZ_NAMES_NESTED_MAX + 3);
    assert_int_equal(bz_doc_check(bz_buf_bytes(&stored), bz_names_count(names)), 0);
    struct ids ids = {.count = bz_names_count(names)};
    assert_int_equal(bz_doc_each_name(bz_buf_bytes(&stored), count_id, &ids), 0);
    assert_int_equal(ids.calls, 3);
    bz_doc_value(bz_buf_bytes(&stored), names, &map);
    assert_int_equal(blaze_value_field(&map, "map", &map), 0);
    static const char *const fields[] = {"name7", "past", "other"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(blaze_value_field(&map, fields[i], &inner), 0);
        assert_int_equal(inner.as.integer, i + 2);
    }
    blaze_doc_free(doc);
    bz_buf_release(&stored);
    bz_names_unref(names);
}

/* ---- damage ---- */

/* Reads everything that a reader can reach, of bytes that nothing has checked. */
static void read_all(const blaze_value *value, int depth)
{
    blaze_iter iter;
    blaze_text name;
    blaze_value item;
    size_t count = 0;
    if (depth > BLAZE_MAX_NESTING)
        return;
    if (value->type == BLAZE_STRING || value->type == BLAZE_BYTES) {
        for (size_t i = 0; i < value->as.text.size; i++)
            count += (uint8_t)value->as.text.data[i];
        assert_true(count <= value->as.text.size * 255);
    }
    if (blaze_iter_init(&iter, value) != 0)
        return;
    while (blaze_iter_next(&iter, &name, &item) == 0) {
        read_all(&item, depth + 1);
        count++;
    }
    assert_true(count <= blaze_value_count(value));
}

static void read_damaged(struct bz_bytes doc, struct blaze_names *names)
{
    blaze_value map, item;
    struct bz_doc_iter it;
    struct bz_buf out;
    char *json;
    uint32_t id;
    bz_buf_init(&out, BZ_DOC_MAX);
    bz_doc_value(doc, names, &map);
    read_all(&map, 0);
    for (uint32_t i = 0; i < 12; i++)
        (void)bz_doc_field(doc, names, i, &item);
    (void)blaze_value_field(&map, "a", &item);
    assert_int_equal(blaze_value_compare(&map, &map), 0);
    bz_doc_iter_init(&it, doc, names);
    while (bz_doc_iter_next(&it, &id, &item) == 0)
        ;
    if (blaze_value_to_json(&json, &map, false) == 0)
        blaze_free(json);
    struct ids ids = {.count = UINT32_MAX};
    (void)bz_doc_each_name(doc, count_id, &ids);
    (void)bz_doc_rename(&out, doc, reverse, &ids);
    bz_buf_release(&out);
}

static int64_t itself(void *context, uint32_t id)
{
    (void)context;
    return id;
}

static size_t count_fields(const blaze_value *value)
{
    blaze_iter iter;
    blaze_value item;
    size_t count = value->type == BLAZE_MAP ? blaze_value_count(value) : 0;
    if (blaze_iter_init(&iter, value) != 0)
        return 0;
    while (blaze_iter_next(&iter, NULL, &item) == 0)
        count += count_fields(&item);
    return count;
}

/* Of what the check lets pass there is one encoding only: reading and writing it gives the same
 * bytes. Where a name is text, interning would make it an id; then only the keys are compared. */
static void assert_canonical(struct bz_bytes doc, struct blaze_names *names)
{
    blaze_value map;
    blaze_doc *text;
    struct bz_buf again;
    struct ids ids = {.count = bz_names_count(names)};
    bz_buf_init(&again, BZ_DOC_MAX);
    bz_doc_value(doc, names, &map);
    assert_int_equal(bz_doc_rename(&again, doc, itself, NULL), 0);
    assert_true(bz_bytes_equal(bz_buf_bytes(&again), doc));
    assert_int_equal(bz_doc_each_name(doc, count_id, &ids), 0);
    if (ids.calls == count_fields(&map)) {
        bz_buf_clear(&again);
        assert_int_equal(blaze_doc_new(&text), 0);
        assert_int_equal(blaze_doc_add_value(text, "doc", &map), 0);
        assert_int_equal(blaze_doc_value(text, &map), 0);
        assert_int_equal(blaze_value_field(&map, "doc", &map), 0);
        assert_int_equal(bz_doc_intern(&again, &map, names), 0);
        assert_true(bz_bytes_equal(bz_buf_bytes(&again), doc));
        blaze_doc_free(text);
    }
    bz_buf_release(&again);
}

static const char sample[] =
    "{\"a\":1,\"b\":-300,\"c\":1.5,\"d\":0.1,\"e\":1e300,\"f\":\"text\",\"g\":"
    "\"a text that is longer than fifteen bytes\",\"h\":{\"$bytes\":\"AAEC\"},\"i\":[1,true,null,"
    "[],{}],\"j\":{\"k\":{\"a\":false},\"l\":[{\"m\":0}],\"zz\":\"\"},\"o\":{\"$date\":12345},"
    "\"p\":{\"$uuid\":\"017f22e2-79b0-7cc3-98c4-dc0c0c07398f\"}}";

/* The sample, its nested names partly text. */
static void make_sample(struct bz_buf *out, struct blaze_names **names)
{
    blaze_doc *doc;
    blaze_value map;
    assert_int_equal(bz_names_new(names), 0);
    assert_int_equal(blaze_doc_from_json(&doc, sample, strlen(sample), NULL), 0);
    assert_int_equal(blaze_doc_value(doc, &map), 0);
    bz_buf_init(out, BZ_DOC_MAX);
    assert_int_equal(bz_doc_intern(out, &map, *names), 0);
    blaze_doc_free(doc);
}

static void every_damaged_byte_is_refused_or_another_whole_document(void **state)
{
    (void)state;
    struct blaze_names *names;
    struct bz_buf stored;
    make_sample(&stored, &names);
    size_t passed = 0;
    uint8_t *bytes = malloc(stored.size); /* exactly, so that a byte past the end is seen */
    assert_non_null(bytes);
    memcpy(bytes, stored.data, stored.size);
    struct bz_bytes doc = bz_bytes(bytes, stored.size);
    for (size_t at = 0; at < stored.size; at++) {
        for (unsigned flip = 1; flip < 256; flip++) {
            bytes[at] = (uint8_t)(stored.data[at] ^ flip);
            int rc = bz_doc_check(doc, bz_names_count(names));
            assert_true(rc == 0 || rc == BLAZE_ECORRUPT || rc == BLAZE_ELIMIT);
            if (rc == 0)
                assert_canonical(doc, names);
            passed += rc == 0;
            read_damaged(doc, names);
        }
        bytes[at] = stored.data[at];
    }
    assert_true(passed > 1000);
    free(bytes);
    bz_buf_release(&stored);
    bz_names_unref(names);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    struct blaze_names *names;
    struct bz_buf stored;
    make_sample(&stored, &names);
    assert_int_equal(bz_doc_check(bz_buf_bytes(&stored), bz_names_count(names)), 0);
    for (size_t size = 0; size < stored.size; size++) {
        uint8_t *bytes = malloc(size + 1);
        assert_non_null(bytes);
        memcpy(bytes, stored.data, size);
        struct bz_bytes doc = bz_bytes(size > 0 ? bytes : NULL, size);
        assert_int_equal(bz_doc_check(doc, bz_names_count(names)), BLAZE_ECORRUPT);
        read_damaged(doc, names);
        free(bytes);
    }
    bz_buf_append8(&stored, 0);
    assert_int_equal(bz_doc_check(bz_buf_bytes(&stored), bz_names_count(names)), BLAZE_ECORRUPT);
    bz_buf_release(&stored);
    bz_names_unref(names);
}

static void random_bytes_are_read_within_their_bounds(void **state)
{
    (void)state;
    struct blaze_names *names;
    struct bz_buf stored;
    make_sample(&stored, &names);
    rng.state = test_seed();
    for (uint64_t round = test_rounds(20000, 500000); round > 0; round--) {
        size_t size = rng_below(&rng, 40);
        uint8_t *bytes = malloc(size + 1);
        assert_non_null(bytes);
        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)rng_below(&rng, i < 12 ? 32 : 256);
        struct bz_bytes doc = bz_bytes(bytes, size);
        if (bz_doc_check(doc, bz_names_count(names)) == 0)
            assert_canonical(doc, names);
        read_damaged(doc, names);
        free(bytes);
    }
    bz_buf_release(&stored);
    bz_names_unref(names);
}

/* Deeper than any document, to be met by readers that recurse. */
static void endless_nesting_ends_in_every_reader(void **state)
{
    (void)state;
    enum { LEVELS = 100000 };
    struct bz_buf doc;
    struct blaze_names *names;
    size_t size = 1, room = LEVELS * 12;
    uint8_t *end = malloc(room), *p = end + room;
    assert_non_null(end);
    *--p = 0; /* from the inside out: an empty array, each in an array of its own */
    for (int i = 0; i < LEVELS; i++) {
        uint8_t head[16], *h = head + 1;
        *h++ = (uint8_t)(BLAZE_ARRAY << 4 | (size < 15 ? size : 15));
        if (size >= 15)
            h = bz_varint_put(h, size - 15);
        head[0] = (uint8_t)(h - head - 1);
        p -= h - head;
        memcpy(p, head, (size_t)(h - head));
        size += (size_t)(h - head);
    }
    bz_buf_init(&doc, 1 << 24);
    uint8_t directory[16], *d = directory;
    *d++ = 0; /* id 0 */
    *d++ = (uint8_t)(BLAZE_ARRAY << 4 | 15);
    d = bz_varint_put(d, size - 15);
    bz_buf_append8(&doc, (uint8_t)(d - directory));
    bz_buf_append(&doc, directory, (size_t)(d - directory));
    bz_buf_append(&doc, p, size);
    assert_int_equal(bz_names_new(&names), 0);
    uint32_t id;
    assert_int_equal(bz_names_add(names, bz_bytes_text("a"), &id), 0);
    assert_int_equal(bz_doc_check(bz_buf_bytes(&doc), 1), BLAZE_ELIMIT);
    read_damaged(bz_buf_bytes(&doc), names);
    free(end);
    bz_buf_release(&doc);
    bz_names_unref(names);
}

/* ---- memory ---- */

static int countdown(void *context)
{
    int *left = context;
    return (*left)-- == 0;
}

/* Everything once, stopping at the first error. */
static int use_all(const blaze_value *source, struct blaze_names **names, blaze_doc **doc,
    struct bz_doc_writer **w, struct bz_buf *out, char **json)
{
    blaze_value map, value;
    blaze_doc *copy = NULL;
    int rc = bz_names_new(names);
    if (rc == 0)
        rc = blaze_doc_new(doc);
    if (rc == 0) {
        blaze_doc_add_value(*doc, "value", source);
        blaze_doc_add_string(*doc, "a name", "a text that is long enough to need memory");
        rc = blaze_doc_value(*doc, &map);
    }
    if (rc == 0)
        rc = bz_doc_intern(out, &map, *names);
    if (rc == 0)
        rc = bz_doc_copy(&copy, &map);
    if (rc == 0)
        rc = blaze_doc_add_int(copy, "more", 1);
    if (rc == 0)
        rc = blaze_doc_check(copy);
    blaze_doc_free(copy);
    if (rc == 0)
        rc = bz_doc_writer_new(w);
    for (uint32_t i = 0; rc == 0 && i < 40; i++)
        rc = bz_doc_writer_add(*w, i, &map);
    if (rc == 0)
        rc = bz_doc_writer_finish(*w, out);
    if (rc == 0)
        rc = blaze_value_field(&map, "value", &value);
    return rc == 0 ? blaze_value_to_json(json, &value, true) : rc;
}

static void every_failing_allocation_is_survived(void **state)
{
    (void)state;
    blaze_doc *source;
    blaze_value map;
    assert_int_equal(blaze_doc_from_json(&source, sample, strlen(sample), NULL), 0);
    assert_int_equal(blaze_doc_value(source, &map), 0);
    int rc = BLAZE_ENOMEM;
    for (int n = 0; rc != 0; n++) {
        struct blaze_names *names = NULL;
        blaze_doc *doc = NULL, *read = NULL;
        struct bz_doc_writer *w = NULL;
        struct bz_buf out;
        char *json = NULL;
        int left = n;
        bz_buf_init(&out, BZ_DOC_MAX);
        bz_alloc_set_fault(countdown, &left);
        rc = use_all(&map, &names, &doc, &w, &out, &json);
        if (rc == 0)
            rc = blaze_doc_from_json(&read, sample, strlen(sample), NULL);
        bz_alloc_set_fault(NULL, NULL);
        assert_true(rc == 0 || rc == BLAZE_ENOMEM);
        blaze_free(json);
        bz_buf_release(&out);
        bz_doc_writer_free(w);
        blaze_doc_free(doc);
        blaze_doc_free(read);
        bz_names_unref(names);
        assert_true(n < 1000);
    }
    blaze_doc_free(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_documents_survive_every_form),
        cmocka_unit_test(interning_puts_top_level_names_before_all_limits),
        cmocka_unit_test(every_damaged_byte_is_refused_or_another_whole_document),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(random_bytes_are_read_within_their_bounds),
        cmocka_unit_test(endless_nesting_ends_in_every_reader),
        cmocka_unit_test(every_failing_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

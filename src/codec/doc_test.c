/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/doc.h"

#include "base/alloc.h"
#include "cmocka_all.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

static const size_t boundary_sizes[] = {
    0, 1, 7, 8, 9, 14, 15, 127, 128, 142, 143, 255, 256, 16383, 16384, 16398, 16399, 65535, 65536};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static blaze_value int_value(int64_t v)
{
    return (blaze_value){.type = BLAZE_INT, .as.integer = v};
}

static blaze_value double_value(double v)
{
    return (blaze_value){.type = BLAZE_DOUBLE, .as.number = v};
}

static void assert_same(const blaze_value *a, const blaze_value *b)
{
    assert_int_equal(a->type, b->type);
    switch (a->type) {
    case BLAZE_BOOL:
        assert_int_equal(a->as.boolean, b->as.boolean);
        break;
    case BLAZE_INT:
    case BLAZE_TIMESTAMP:
        assert_true(a->as.integer == b->as.integer);
        break;
    case BLAZE_DOUBLE:
        assert_memory_equal(&a->as.number, &b->as.number, sizeof(double));
        break;
    case BLAZE_STRING:
    case BLAZE_BYTES:
        assert_int_equal(a->as.text.size, b->as.text.size);
        if (a->as.text.size > 0)
            assert_memory_equal(a->as.text.data, b->as.text.data, a->as.text.size);
        break;
    case BLAZE_UUID:
        assert_memory_equal(&a->as.uuid, &b->as.uuid, 16);
        break;
    default:
        break;
    }
}

static struct bz_bytes bytes_of(const blaze_value *map)
{
    return bz_bytes(map->as.nested.data, map->as.nested.size);
}

/* Sends one value through a document as text, through interning, and through the check. */
static void round_trip(const blaze_value *value)
{
    blaze_doc *doc;
    blaze_value map, back;
    struct blaze_names *names;
    struct bz_buf stored;
    bz_buf_init(&stored, BZ_DOC_MAX);
    assert_int_equal(blaze_doc_new(&doc), 0);
    assert_int_equal(bz_names_new(&names), 0);
    blaze_doc_add_int(doc, "zz", 1);
    blaze_doc_add_value(doc, "value", value);
    blaze_doc_begin_array(doc, "list");
    blaze_doc_add_value(doc, NULL, value);
    blaze_doc_add_value(doc, NULL, value);
    blaze_doc_end(doc);
    assert_int_equal(blaze_doc_value(doc, &map), 0);
    assert_int_equal(bz_doc_check(bytes_of(&map), 0), 0);
    assert_int_equal(blaze_value_count(&map), 3);
    assert_int_equal(blaze_value_field(&map, "value", &back), 0);
    assert_same(value, &back);

    assert_int_equal(bz_doc_intern(&stored, &map, names), 0);
    assert_int_equal(bz_doc_check(bz_buf_bytes(&stored), bz_names_count(names)), 0);
    bz_doc_value(bz_buf_bytes(&stored), names, &map);
    assert_int_equal(blaze_value_field(&map, "value", &back), 0);
    assert_same(value, &back);
    blaze_value list;
    assert_int_equal(blaze_value_field(&map, "list", &list), 0);
    assert_int_equal(blaze_value_count(&list), 2);
    assert_int_equal(blaze_value_element(&list, 1, &back), 0);
    assert_same(value, &back);
    assert_int_equal(blaze_value_element(&list, 2, &back), BLAZE_ENOTFOUND);
    bz_buf_release(&stored);
    blaze_doc_free(doc);
    bz_names_unref(names);
}

static void integers_round_trip_at_every_size(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        for (int delta = -2; delta <= 2; delta++) {
            int64_t v = (int64_t)(((uint64_t)1 << bit) + (uint64_t)(int64_t)delta);
            blaze_value value = int_value(v);
            round_trip(&value);
            value = int_value((int64_t)(0 - (uint64_t)v));
            round_trip(&value);
            value.type = BLAZE_TIMESTAMP;
            round_trip(&value);
        }
    }
}

static void doubles_keep_every_bit(void **state)
{
    (void)state;
    static const double doubles[] = {0.0, -0.0, 1.0, -1.0, 0.1, 42.53176, -1.56654, 1e15, 1e16,
        1e100, DBL_MAX, -DBL_MAX, DBL_MIN, DBL_TRUE_MIN, 1.0 / 3, 2251799813685247.0,
        2251799813685248.0, -2251799813685247.0, -2251799813685248.0, 0.1 + 0.2, 1e-15, 1e-16,
        123456789.125, 9007199254740993.0, 5e-324, 0.30000000000000004};
    for (size_t i = 0; i < COUNT(doubles); i++) {
        blaze_value value = double_value(doubles[i]);
        round_trip(&value);
    }
    srand48(7);
    for (int i = 0; i < 2000; i++) {
        blaze_value value = double_value(drand48() * pow(10, (double)(lrand48() % 30 - 15)));
        round_trip(&value);
        value.as.number = (double)(lrand48() - lrand48()) / pow(10, (double)(lrand48() % 16));
        round_trip(&value);
    }
}

static void text_and_bytes_round_trip_at_every_boundary(void **state)
{
    (void)state;
    char *text = malloc(65536);
    assert_non_null(text);
    for (size_t i = 0; i < 65536; i++)
        text[i] = (char)('a' + i % 26);
    for (size_t i = 0; i < COUNT(boundary_sizes); i++) {
        blaze_value value = {
            .type = BLAZE_STRING, .as.text = {.data = text, .size = boundary_sizes[i]}};
        round_trip(&value);
        value.type = BLAZE_BYTES;
        round_trip(&value);
    }
    free(text);
}

static void the_small_types_round_trip(void **state)
{
    (void)state;
    blaze_value value = {.type = BLAZE_NULL};
    round_trip(&value);
    value.type = BLAZE_BOOL;
    value.as.boolean = false;
    round_trip(&value);
    value.as.boolean = true;
    round_trip(&value);
    value.type = BLAZE_UUID;
    for (int i = 0; i < 16; i++)
        value.as.uuid.bytes[i] = (uint8_t)(i * 16);
    round_trip(&value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_round_trip_at_every_size),
        cmocka_unit_test(doubles_keep_every_bit),
        cmocka_unit_test(text_and_bytes_round_trip_at_every_boundary),
        cmocka_unit_test(the_small_types_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

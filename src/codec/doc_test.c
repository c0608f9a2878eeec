/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/doc.h"

#include "cmocka_all.h"
#include "random.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const size_t boundary_sizes[] = {
    0, 1, 7, 8, 9, 14, 15, 127, 128, 142, 143, 255, 256, 16383, 16384, 16398, 16399, 65535, 65536};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct rng rng;

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
    rng.state = test_seed();
    for (int i = 0; i < 2000; i++) {
        blaze_value value =
            double_value(rng_fraction(&rng) * pow(10, (int)rng_below(&rng, 30) - 15));
        round_trip(&value);
        value.as.number = (double)(int32_t)rng_next(&rng) / pow(10, rng_below(&rng, 16));
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

static void containers_round_trip_at_every_boundary_count(void **state)
{
    (void)state;
    static const size_t counts[] = {
        0, 1, 7, 8, 9, 14, 15, 16, 127, 128, 255, 256, 4096, 16383, 16384, 65535, 65536};
    for (size_t i = 0; i < COUNT(counts); i++) {
        blaze_doc *doc;
        blaze_value map, list, item;
        blaze_iter iter;
        assert_int_equal(blaze_doc_new(&doc), 0);
        blaze_doc_begin_array(doc, "list");
        for (size_t n = 0; n < counts[i]; n++)
            blaze_doc_add_int(doc, NULL, (int64_t)n);
        blaze_doc_end(doc);
        assert_int_equal(blaze_doc_value(doc, &map), 0);
        assert_int_equal(bz_doc_check(bytes_of(&map), 0), 0);
        assert_int_equal(blaze_value_field(&map, "list", &list), 0);
        assert_int_equal(blaze_value_count(&list), counts[i]);
        assert_int_equal(blaze_iter_init(&iter, &list), 0);
        for (size_t n = 0; n < counts[i]; n++) {
            assert_int_equal(blaze_iter_next(&iter, NULL, &item), 0);
            assert_true(item.type == BLAZE_INT && item.as.integer == (int64_t)n);
        }
        assert_int_equal(blaze_iter_next(&iter, NULL, &item), BLAZE_END);
        blaze_doc_free(doc);
    }
}

/* Interned maps of every size about the length of a run, with gaps, by name and by id. */
static void fields_are_found_whatever_runs_their_ids_form(void **state)
{
    (void)state;
    rng.state = test_seed();
    for (int round = 0; round < 400; round++) {
        struct blaze_names *names;
        struct bz_doc_writer *w;
        struct bz_buf out;
        bool there[64] = {false};
        char name[16];
        uint32_t id, limit = 1 + rng_below(&rng, 64);
        blaze_value map, value;
        bz_buf_init(&out, BZ_DOC_MAX);
        assert_int_equal(bz_names_new(&names), 0);
        assert_int_equal(bz_doc_writer_new(&w), 0);
        for (uint32_t i = 0; i < limit; i++) {
            snprintf(name, sizeof name, "n%u", i);
            assert_int_equal(bz_names_add(names, bz_bytes_text(name), &id), 0);
        }
        size_t count = 0;
        for (uint32_t i = limit; i-- > 0;) {
            there[i] = round % 3 == 0 || rng_below(&rng, 4) != 0;
            value = int_value(i * 1000);
            if (there[i])
                assert_int_equal(bz_doc_writer_add(w, i, &value), 0);
            count += there[i];
        }
        assert_int_equal(bz_doc_writer_finish(w, &out), 0);
        struct bz_bytes doc = bz_buf_bytes(&out);
        assert_int_equal(bz_doc_check(doc, limit), 0);
        bz_doc_value(doc, names, &map);
        assert_int_equal(blaze_value_count(&map), count);
        struct bz_doc_iter it;
        bz_doc_iter_init(&it, doc, names);
        for (uint32_t i = 0; i < limit; i++) {
            int expected = there[i] ? 0 : BLAZE_ENOTFOUND;
            snprintf(name, sizeof name, "n%u", i);
            assert_int_equal(blaze_value_field(&map, name, &value), expected);
            assert_true(!there[i] || value.as.integer == i * 1000);
            assert_int_equal(bz_doc_field(doc, names, i, &value), expected);
            assert_true(!there[i] || value.as.integer == i * 1000);
            if (there[i]) {
                assert_int_equal(bz_doc_iter_next(&it, &id, &value), 0);
                assert_int_equal(id, i);
            }
        }
        assert_int_equal(bz_doc_iter_next(&it, &id, &value), BLAZE_END);
        bz_doc_writer_free(w);
        bz_buf_release(&out);
        bz_names_unref(names);
    }
}

static void a_writer_replaces_a_repeated_id(void **state)
{
    (void)state;
    struct bz_doc_writer *w;
    struct bz_buf out;
    blaze_value value;
    bz_buf_init(&out, 1000);
    assert_int_equal(bz_doc_writer_new(&w), 0);
    for (int round = 0; round < 2; round++) {
        bz_buf_clear(&out);
        for (int64_t i = 0; i < 100; i++) {
            value = int_value(i);
            assert_int_equal(bz_doc_writer_add(w, (uint32_t)(i * 7 % 10), &value), 0);
        }
        assert_int_equal(bz_doc_writer_finish(w, &out), 0);
        for (uint32_t id = 0; id < 10; id++) {
            assert_int_equal(bz_doc_field(bz_buf_bytes(&out), NULL, id, &value), 0);
            assert_true(value.as.integer >= 90 && value.as.integer * 7 % 10 == id);
        }
    }
    bz_doc_writer_free(w);
    bz_buf_release(&out);
}

static void what_does_not_fit_the_builder_sticks_as_an_error(void **state)
{
    (void)state;
    blaze_doc *doc;
    blaze_value value;
    char name[BLAZE_MAX_NAME + 2];
    assert_int_equal(blaze_doc_new(&doc), 0);
#define REFUSED(call, code)                                                                        \
    do {                                                                                           \
        blaze_doc_clear(doc);                                                                      \
        assert_int_equal(call, code);                                                              \
        assert_int_equal(blaze_doc_add_int(doc, "fine", 1), code);                                 \
        assert_int_equal(blaze_doc_check(doc), code);                                              \
        assert_int_equal(blaze_doc_value(doc, &value), code);                                      \
    } while (0)
    memset(name, 'n', sizeof name);
    name[BLAZE_MAX_NAME + 1] = '\0';
    REFUSED(blaze_doc_add_int(doc, name, 1), BLAZE_ELIMIT);
    REFUSED(blaze_doc_add_int(doc, "", 1), BLAZE_ELIMIT);
    REFUSED(blaze_doc_add_int(doc, NULL, 1), BLAZE_EINVAL);
    REFUSED(blaze_doc_add_int(doc, "\xff", 1), BLAZE_ESYNTAX);
    REFUSED(blaze_doc_add_string(doc, "a", "\xc0\xaf"), BLAZE_ESYNTAX);
    REFUSED(blaze_doc_add_double(doc, "a", NAN), BLAZE_ERANGE);
    REFUSED(blaze_doc_add_double(doc, "a", -INFINITY), BLAZE_ERANGE);
    REFUSED(blaze_doc_end(doc), BLAZE_EINVAL);
    REFUSED((blaze_doc_begin_array(doc, "a"), blaze_doc_add_int(doc, "b", 1)), BLAZE_EINVAL);
    REFUSED((blaze_doc_begin_array(doc, "a"), blaze_doc_add_unset(doc, NULL)), BLAZE_EINVAL);
    REFUSED((blaze_doc_begin_map(doc, "a"), blaze_doc_add_unset(doc, "b")), BLAZE_EINVAL);
    REFUSED((blaze_doc_begin_map(doc, "a"), blaze_doc_add_int(doc, "b", 1),
                blaze_doc_add_int(doc, "b", 2), blaze_doc_end(doc)),
        BLAZE_EEXIST);
    REFUSED((blaze_doc_add_int(doc, "b", 1), blaze_doc_add_int(doc, "a", 1),
                blaze_doc_add_int(doc, "b", 2), blaze_doc_check(doc)),
        BLAZE_EEXIST);
    REFUSED((value = (blaze_value){.type = (blaze_type)12}, blaze_doc_add_value(doc, "a", &value)),
        BLAZE_EINVAL);
#undef REFUSED
    /* An open container is no lasting fault. */
    blaze_doc_clear(doc);
    blaze_doc_begin_map(doc, "a");
    assert_int_equal(blaze_doc_check(doc), BLAZE_EINVAL);
    blaze_doc_end(doc);
    assert_int_equal(blaze_doc_check(doc), 0);
    blaze_doc_free(doc);
}

static void the_limits_of_a_document_hold_to_the_last_byte(void **state)
{
    (void)state;
    blaze_doc *doc;
    blaze_value map;
    char name[BLAZE_MAX_NAME + 1];
    assert_int_equal(blaze_doc_new(&doc), 0);
    memset(name, 'n', sizeof name);
    name[BLAZE_MAX_NAME] = '\0';
    assert_int_equal(blaze_doc_add_int(doc, name, 1), 0);
    assert_int_equal(blaze_doc_value(doc, &map), 0);
    assert_int_equal(bz_doc_check(bytes_of(&map), 0), 0);

    for (size_t levels = BLAZE_MAX_NESTING; levels <= BLAZE_MAX_NESTING + 1; levels++) {
        int rc = 0;
        blaze_doc_clear(doc);
        for (size_t i = 1; rc == 0 && i < levels; i++)
            rc = i % 2 ? blaze_doc_begin_array(doc, "a") : blaze_doc_begin_map(doc, NULL);
        for (size_t i = 1; rc == 0 && i < levels; i++)
            rc = blaze_doc_end(doc);
        assert_int_equal(rc, levels == BLAZE_MAX_NESTING ? 0 : BLAZE_ELIMIT);
        assert_int_equal(blaze_doc_check(doc), rc);
    }
    for (int fields = BLAZE_MAX_FIELDS; fields <= BLAZE_MAX_FIELDS + 1; fields++) {
        blaze_doc_clear(doc);
        for (int i = 0; i < fields; i++) {
            snprintf(name, sizeof name, "f%d", i);
            blaze_doc_add_null(doc, name);
        }
        assert_int_equal(blaze_doc_check(doc), fields == BLAZE_MAX_FIELDS ? 0 : BLAZE_ELIMIT);
    }
    /* 1 + directory of (1 + 1 + 1 + 4) + payload */
    char *bytes = calloc(1, BLAZE_MAX_DOCUMENT);
    assert_non_null(bytes);
    for (size_t over = 0; over <= 1; over++) {
        blaze_doc_clear(doc);
        blaze_doc_add_bytes(doc, "b", bytes, BLAZE_MAX_DOCUMENT - 8 + over);
        assert_int_equal(blaze_doc_value(doc, &map), over == 0 ? 0 : BLAZE_ELIMIT);
    }
    blaze_doc_clear(doc);
    blaze_doc_add_bytes(doc, "b", bytes, BLAZE_MAX_DOCUMENT - 8);
    assert_int_equal(blaze_doc_value(doc, &map), 0);
    assert_int_equal(map.as.nested.size, BLAZE_MAX_DOCUMENT);
    assert_int_equal(bz_doc_check(bytes_of(&map), 0), 0);
    free(bytes);
    blaze_doc_free(doc);
}

static void more_may_be_added_after_a_document_was_read(void **state)
{
    (void)state;
    blaze_doc *doc;
    blaze_value map, value;
    assert_int_equal(blaze_doc_new(&doc), 0);
    for (int i = 9; i > 0; i--) {
        char name[2] = {(char)('0' + i), 0};
        blaze_doc_add_int(doc, name, i);
        assert_int_equal(blaze_doc_value(doc, &map), 0);
        assert_int_equal(blaze_value_count(&map), 10 - i);
        assert_int_equal(blaze_value_field(&map, name, &value), 0);
        assert_int_equal(value.as.integer, i);
    }
    blaze_doc_free(doc);
}

static void a_copy_keeps_names_and_takes_more_fields(void **state)
{
    (void)state;
    static const char json[] = "{\"a\":{\"b\":[{\"c\":1}]},\"d\":\"a text of some length\"}";
    blaze_doc *doc, *copy;
    blaze_value map, value;
    struct blaze_names *names;
    struct bz_buf stored;
    char *text;
    bz_buf_init(&stored, BZ_DOC_MAX);
    assert_int_equal(bz_names_new(&names), 0);
    assert_int_equal(blaze_doc_from_json(&doc, json, strlen(json), NULL), 0);
    assert_int_equal(blaze_doc_value(doc, &map), 0);
    assert_int_equal(bz_doc_intern(&stored, &map, names), 0);
    bz_doc_value(bz_buf_bytes(&stored), names, &map);
    assert_int_equal(bz_doc_copy(&copy, &map), 0);
    bz_buf_release(&stored); /* the copy lives on, and keeps the names */
    bz_names_unref(names);
    assert_int_equal(blaze_doc_value(copy, &map), 0);
    assert_int_equal(blaze_value_to_json(&text, &map, false), 0);
    assert_string_equal(text, json);
    blaze_free(text);
    assert_int_equal(blaze_doc_add_bool(copy, "e", true), 0);
    assert_int_equal(blaze_doc_value(copy, &map), 0);
    assert_int_equal(blaze_value_to_json(&text, &map, false), 0);
    assert_string_equal(
        text, "{\"a\":{\"b\":[{\"c\":1}]},\"d\":\"a text of some length\",\"e\":true}");
    blaze_free(text);
    assert_int_equal(blaze_doc_add_bool(copy, "d", true), 0);
    assert_int_equal(blaze_doc_check(copy), BLAZE_EEXIST);
    value = int_value(1);
    blaze_doc *none = NULL;
    assert_int_equal(bz_doc_copy(&none, &value), BLAZE_ETYPE);
    blaze_doc_free(copy);
    blaze_doc_free(doc);
}

static void reading_what_is_no_container_is_told(void **state)
{
    (void)state;
    blaze_value value = int_value(1), out;
    blaze_iter iter;
    struct bz_buf buf;
    struct blaze_names *names;
    bz_buf_init(&buf, 100);
    assert_int_equal(bz_names_new(&names), 0);
    assert_int_equal(blaze_value_field(&value, "a", &out), BLAZE_ETYPE);
    assert_int_equal(blaze_value_element(&value, 0, &out), BLAZE_ETYPE);
    assert_int_equal(blaze_iter_init(&iter, &value), BLAZE_ETYPE);
    assert_int_equal(blaze_value_count(&value), 0);
    assert_int_equal(bz_doc_intern(&buf, &value, names), BLAZE_ETYPE);
    bz_names_unref(names);
    bz_buf_release(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_round_trip_at_every_size),
        cmocka_unit_test(doubles_keep_every_bit),
        cmocka_unit_test(text_and_bytes_round_trip_at_every_boundary),
        cmocka_unit_test(the_small_types_round_trip),
        cmocka_unit_test(containers_round_trip_at_every_boundary_count),
        cmocka_unit_test(fields_are_found_whatever_runs_their_ids_form),
        cmocka_unit_test(a_writer_replaces_a_repeated_id),
        cmocka_unit_test(what_does_not_fit_the_builder_sticks_as_an_error),
        cmocka_unit_test(the_limits_of_a_document_hold_to_the_last_byte),
        cmocka_unit_test(more_may_be_added_after_a_document_was_read),
        cmocka_unit_test(a_copy_keeps_names_and_takes_more_fields),
        cmocka_unit_test(reading_what_is_no_container_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

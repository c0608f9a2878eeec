/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"
#include "base/dict.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/text.h"
#include "base/utf8.h"

#include "cmocka_all.h"
#include "random.h"

#include <blazedb/id.h>
#include <stdio.h>

static void varints_round_trip_at_every_boundary(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        for (int delta = -1; delta <= 1; delta++) {
            uint64_t v = ((uint64_t)1 << bit) + (uint64_t)(int64_t)delta;
            uint8_t bytes[BZ_VARINT_MAX];
            size_t size = (size_t)(bz_varint_put(bytes, v) - bytes);
            assert_int_equal(size, bz_varint_size(v));
            struct bz_reader r = bz_reader(bz_bytes(bytes, size));
            assert_true(bz_read_varint(&r) == v && r.ok && bz_reader_left(&r) == 0);
            r = bz_reader(bz_bytes(bytes, size - 1));
            bz_read_varint(&r);
            assert_false(r.ok);
        }
    }
}

static void a_varint_longer_than_it_need_be_is_refused(void **state)
{
    (void)state;
    static const char *bad[] = {"\x80", "\x80\x01\x80", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"};
    static const uint8_t padded[] = {0x81, 0x00};
    struct bz_reader r = bz_reader(bz_bytes(padded, 2));
    bz_read_varint(&r);
    assert_false(r.ok);
    r = bz_reader(bz_bytes_text(bad[0]));
    bz_read_varint(&r);
    assert_false(r.ok);
    r = bz_reader(bz_bytes_text(bad[2]));
    bz_read_varint(&r);
    assert_false(r.ok);
}

static void a_sized_read_past_the_end_fails_and_stays_failed(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {5, 'a', 'b'};
    struct bz_reader r = bz_reader(bz_bytes(bytes, sizeof bytes));
    assert_int_equal(bz_read_sized(&r).size, 0);
    assert_false(r.ok);
    assert_int_equal(bz_read8(&r), 0);
}

static void utf8_takes_only_well_formed_text(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t size;
        bool valid;
    } cases[] = {
        {"", 0, true},
        {"plain ascii text", 16, true},
        {"a\0b", 3, true},
        {"Sant Juli\xc3\xa0 de L\xc3\xb2ria", 21, true},
        {"\xf0\x9f\x98\x80", 4, true},
        {"\xc0\xaf", 2, false},         /* overlong */
        {"\xe0\x80\x80", 3, false},     /* overlong */
        {"\xed\xa0\x80", 3, false},     /* surrogate */
        {"\xf4\x90\x80\x80", 4, false}, /* past U+10FFFF */
        {"\xe2\x82", 2, false},         /* cut */
        {"12345678\xff", 9, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(bz_utf8_valid(bz_bytes(cases[i].text, cases[i].size)), cases[i].valid);
}

static void base64_round_trips_and_refuses_what_is_not_canonical(void **state)
{
    (void)state;
    struct bz_buf text, back;
    bz_buf_init(&text, 1000);
    bz_buf_init(&back, 1000);
    uint8_t bytes[64];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37 + 251);
    for (size_t size = 0; size <= sizeof bytes; size++) {
        for (int url = 0; url < 2; url++) {
            bz_buf_clear(&text);
            bz_buf_clear(&back);
            bz_base64_append(&text, bz_bytes(bytes, size), url);
            assert_int_equal(bz_base64_decode(&back, bz_buf_bytes(&text), url), 0);
            assert_true(bz_bytes_equal(bz_buf_bytes(&back), bz_bytes(bytes, size)));
        }
    }
    static const char *bad[] = {"A", "AA", "AAA", "AB==", "A===", "AA=A", "????", "AA-_"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(bz_base64_decode(&back, bz_bytes_text(bad[i]), false), BLAZE_ESYNTAX);
    bz_buf_release(&text);
    bz_buf_release(&back);
}

static void ids_print_and_parse(void **state)
{
    (void)state;
    const char *text = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
    blaze_id id;
    char back[BLAZE_ID_TEXT_SIZE];
    assert_int_equal(blaze_id_parse(&id, text), 0);
    assert_string_equal(blaze_id_format(&id, back), text);
    assert_int_equal(blaze_id_parse(&id, "017F22E2-79B0-7CC3-98C4-DC0C0C07398F"), 0);
    assert_string_equal(blaze_id_format(&id, back), text);
    static const char *bad[] = {"", "017f22e2", "017f22e2-79b0-7cc3-98c4-dc0c0c07398",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398f0", "017f22e279b07cc398c4dc0c0c07398f",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398g"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(blaze_id_parse(&id, bad[i]), BLAZE_ESYNTAX);
}

static void a_dictionary_agrees_with_a_plain_array_through_puts_and_removes(void **state)
{
    (void)state;
    enum { KEYS = 500, STEPS = 20000 };
    static char names[KEYS][8];
    bool there[KEYS] = {false};
    uint64_t value[KEYS] = {0};
    size_t count = 0;
    struct bz_dict dict;
    bz_dict_init(&dict);
    struct rng rng = {test_seed()};
    for (int i = 0; i < KEYS; i++)
        snprintf(names[i], sizeof names[i], "k%d", i);
    for (int step = 0; step < STEPS; step++) {
        uint64_t random = rng_next(&rng);
        int k = (int)(random % KEYS);
        struct bz_bytes key = bz_bytes_text(names[k]);
        if (random >> 32 & 1) {
            assert_int_equal(bz_dict_put(&dict, key, random), 0);
            count += !there[k];
            there[k] = true;
            value[k] = random;
        } else {
            assert_int_equal(bz_dict_remove(&dict, key), there[k]);
            count -= there[k];
            there[k] = false;
        }
        assert_int_equal(dict.count, count);
    }
    for (int i = 0; i < KEYS; i++) {
        uint64_t got = 0;
        assert_int_equal(bz_dict_get(&dict, bz_bytes_text(names[i]), &got), there[i]);
        assert_true(!there[i] || got == value[i]);
    }
    bz_dict_release(&dict);
}

static void a_buffer_stops_at_its_maximum_and_remembers_why(void **state)
{
    (void)state;
    struct bz_buf buf;
    bz_buf_init(&buf, 100);
    for (int i = 0; i < 30; i++)
        bz_buf_append32le(&buf, (uint32_t)i);
    assert_int_equal(buf.error, BLAZE_ELIMIT);
    assert_int_equal(buf.size, 100);
    bz_buf_clear(&buf);
    bz_buf_printf(&buf, "%d-%s", 7, "x");
    assert_true(bz_bytes_equal(bz_buf_bytes(&buf), bz_bytes_text("7-x")));
    bz_buf_release(&buf);
}

static void a_digest_does_not_depend_on_order(void **state)
{
    (void)state;
    struct bz_hash128 a = bz_hash128("a", 1, 0), b = bz_hash128("b", 1, 0);
    struct bz_hash128 ab = a, ba = b;
    bz_hash128_add(&ab, b);
    bz_hash128_add(&ba, a);
    assert_memory_equal(&ab, &ba, sizeof ab);
    bz_hash128_sub(&ab, a);
    assert_memory_equal(&ab, &b, sizeof ab);
}

static void every_error_has_a_name_and_a_sentence(void **state)
{
    (void)state;
#define CHECK(name, number, text)                                                                  \
    assert_string_equal(blaze_error_name(BLAZE_##name), "BLAZE_" #name);                           \
    assert_string_equal(blaze_error_string(number), text);
    BLAZE_ERRORS(CHECK)
#undef CHECK
    assert_string_equal(blaze_error_name(-9999), "BLAZE_E?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(varints_round_trip_at_every_boundary),
        cmocka_unit_test(a_varint_longer_than_it_need_be_is_refused),
        cmocka_unit_test(a_sized_read_past_the_end_fails_and_stays_failed),
        cmocka_unit_test(utf8_takes_only_well_formed_text),
        cmocka_unit_test(base64_round_trips_and_refuses_what_is_not_canonical),
        cmocka_unit_test(ids_print_and_parse),
        cmocka_unit_test(a_dictionary_agrees_with_a_plain_array_through_puts_and_removes),
        cmocka_unit_test(a_buffer_stops_at_its_maximum_and_remembers_why),
        cmocka_unit_test(a_digest_does_not_depend_on_order),
        cmocka_unit_test(every_error_has_a_name_and_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

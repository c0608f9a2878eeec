/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/key.h"

#include "base/alloc.h"
#include "cmocka_all.h"
#include "codec/doc.h"
#include "random.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct rng rng;

static int sign(int order)
{
    return (order > 0) - (order < 0);
}

/* A value of each kind from a small pool, with many neighbours and ties; nested up to `depth`. */
static void add_random(blaze_doc *doc, const char *name, int depth)
{
    static const int64_t ints[] = {0, 1, -1, 2, 255, 256, 1 << 20, INT64_MAX, INT64_MAX - 1,
        INT64_MIN, INT64_MIN + 1, INT64_MAX - 512, INT64_MAX - 513, (int64_t)1 << 53,
        ((int64_t)1 << 53) + 1, ((int64_t)1 << 53) - 1, -((int64_t)1 << 53) - 1,
        ((int64_t)1 << 62) + 3};
    static const double doubles[] = {0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 255.0, 256.5, 0x1p53, 0x1p62,
        0x1p63, -0x1p63, 0x1p64, DBL_MAX, -DBL_MAX, DBL_TRUE_MIN, -DBL_MIN, 1e-9};
    static const char letters[] = {0, 1, 2, 'a', 'b', 127};
    char text[8];
    size_t size = rng_below(&rng, 6);
    blaze_id id = {{(uint8_t)rng_below(&rng, 3), 0, (uint8_t)rng_below(&rng, 2)}};
    for (size_t i = 0; i < size; i++)
        text[i] = letters[rng_below(&rng, sizeof letters)];
    switch (rng_below(&rng, depth > 0 ? 12 : 9)) {
    case 0:
        blaze_doc_add_null(doc, name);
        break;
    case 1:
        blaze_doc_add_bool(doc, name, rng_below(&rng, 2));
        break;
    case 2:
        blaze_doc_add_int(doc, name, ints[rng_below(&rng, COUNT(ints))]);
        break;
    case 3:
        blaze_doc_add_double(doc, name, doubles[rng_below(&rng, COUNT(doubles))]);
        break;
    case 4:
        blaze_doc_add_timestamp(doc, name, ints[rng_below(&rng, COUNT(ints))]);
        break;
    case 5:
    case 6:
        blaze_doc_add_text(doc, name, text, size);
        break;
    case 7:
        blaze_doc_add_bytes(doc, name, text, size);
        break;
    case 8:
        blaze_doc_add_uuid(doc, name, &id);
        break;
    case 9:
    case 10:
        blaze_doc_begin_array(doc, name);
        for (uint32_t n = rng_below(&rng, 4); n > 0; n--)
            add_random(doc, NULL, depth - 1);
        blaze_doc_end(doc);
        break;
    default:
        blaze_doc_begin_map(doc, name);
        for (int n = 0; n < 3; n++) {
            static const char *const names[] = {"a", "b", "aa"};
            if (rng_below(&rng, 2))
                add_random(doc, names[n], depth - 1);
        }
        blaze_doc_end(doc);
        break;
    }
}

static struct bz_bytes key(struct bz_buf *out, const blaze_value *value, size_t max, bool *cut)
{
    *cut = false;
    bz_buf_clear(out);
    bz_key_append(out, value, max, cut);
    assert_int_equal(out->error, 0);
    return bz_buf_bytes(out);
}

static bool is_prefix(struct bz_bytes a, struct bz_bytes b)
{
    return a.size < b.size && memcmp(a.data, b.data, a.size) == 0;
}

/* A pair in documents of different forms: one of text, one interned in a shuffled table. */
struct pair {
    blaze_doc *a, *b;
    struct blaze_names *names;
    struct bz_buf stored;
    blaze_value va, vb;
};

static void pair_make(struct pair *p)
{
    static const char *const order[] = {"b", "v", "aa", "a"};
    uint32_t id;
    blaze_value map;
    assert_int_equal(blaze_doc_new(&p->a), 0);
    assert_int_equal(blaze_doc_new(&p->b), 0);
    assert_int_equal(bz_names_new(&p->names), 0);
    bz_buf_init(&p->stored, BZ_DOC_MAX);
    for (size_t i = 0; i < COUNT(order); i++)
        bz_names_add(p->names, bz_bytes_text(order[i]), &id);
    add_random(p->a, "v", 3);
    if (rng_below(&rng, 8) == 0) { /* the same again, in the other form */
        assert_int_equal(blaze_doc_value(p->a, &map), 0);
        assert_int_equal(blaze_value_field(&map, "v", &map), 0);
        blaze_doc_add_value(p->b, "v", &map);
    } else {
        add_random(p->b, "v", 3);
    }
    assert_int_equal(blaze_doc_value(p->a, &map), 0);
    assert_int_equal(blaze_value_field(&map, "v", &p->va), 0);
    assert_int_equal(blaze_doc_value(p->b, &map), 0);
    assert_int_equal(bz_doc_intern(&p->stored, &map, p->names), 0);
    bz_doc_value(bz_buf_bytes(&p->stored), p->names, &map);
    assert_int_equal(blaze_value_field(&map, "v", &p->vb), 0);
}

static void pair_free(struct pair *p)
{
    blaze_doc_free(p->a);
    blaze_doc_free(p->b);
    bz_names_unref(p->names);
    bz_buf_release(&p->stored);
}

static void keys_order_as_their_values_do(void **state)
{
    (void)state;
    struct bz_buf ka, kb;
    bz_buf_init(&ka, 4096);
    bz_buf_init(&kb, 4096);
    size_t equal = 0, cut = 0, cut_equal = 0;
    uint64_t rounds = test_rounds(60000, 2000000);
    rng.state = test_seed();
    for (uint64_t i = 0; i < rounds; i++) {
        struct pair p;
        bool cut_a, cut_b;
        pair_make(&p);
        int order = sign(blaze_value_compare(&p.va, &p.vb));
        assert_int_equal(order, -sign(blaze_value_compare(&p.vb, &p.va)));
        struct bz_bytes a = key(&ka, &p.va, SIZE_MAX, &cut_a);
        struct bz_bytes b = key(&kb, &p.vb, SIZE_MAX, &cut_b);
        assert_false(cut_a || cut_b);
        assert_int_equal(sign(bz_bytes_compare(a, b)), order);
        assert_false(is_prefix(a, b) || is_prefix(b, a));
        equal += order == 0;

        size_t max = rng_below(&rng, 8);
        a = key(&ka, &p.va, max, &cut_a);
        b = key(&kb, &p.vb, max, &cut_b);
        int cut_order = sign(bz_bytes_compare(a, b));
        assert_true(cut_order == order || (cut_order == 0 && cut_a && cut_b));
        assert_false(is_prefix(a, b) || is_prefix(b, a));
        cut += cut_a;
        cut_equal += cut_order == 0 && order != 0;
        pair_free(&p);
    }
    assert_true(equal > rounds / 12 && cut > rounds / 12 && cut_equal > rounds / 300);
    bz_buf_release(&ka);
    bz_buf_release(&kb);
}

static void integers_and_doubles_order_together_exactly(void **state)
{
    (void)state;
    struct bz_buf ka, kb;
    bz_buf_init(&ka, 64);
    bz_buf_init(&kb, 64);
    rng.state = test_seed();
    for (int i = 0; i < 200000; i++) {
        /* An integer of any size against a double at most a few steps away. */
        uint64_t bits = rng_next(&rng);
        int64_t v = (int64_t)bits >> rng_below(&rng, 64);
        double d = (double)v;
        for (uint32_t step = rng_below(&rng, 4); step > 0; step--)
            d = nextafter(d, rng_below(&rng, 2) ? INFINITY : -INFINITY);
        blaze_value a = {.type = BLAZE_INT, .as.integer = v};
        blaze_value b = {.type = BLAZE_DOUBLE, .as.number = d};
        bool cut;
        int order = sign(blaze_value_compare(&a, &b));
        /* long double holds all of both. */
        long double difference = (long double)v - (long double)d;
        assert_int_equal(order, (difference > 0) - (difference < 0));
        assert_int_equal(
            sign(bz_bytes_compare(key(&ka, &a, 8, &cut), key(&kb, &b, 8, &cut))), order);
    }
    bz_buf_release(&ka);
    bz_buf_release(&kb);
}

static void the_classes_order_as_promised(void **state)
{
    (void)state;
    static const char json[] =
        "{\"v\":[null,false,true,-1e300,-9223372036854775808,-1,-0.5,0,5e-324,0.5,1,"
        "9007199254740992,9007199254740993,9223372036854775807,9223372036854775808.0,1e300,"
        "{\"$date\":-1},{\"$date\":0},\"\",\"\\u0000\",\"\\u0001\",\"a\",\"a\\u0000\",\"aa\","
        "\"\xc3\xa4\",{\"$bytes\":\"\"},{\"$bytes\":\"AA==\"},{\"$bytes\":\"/w==\"},"
        "{\"$uuid\":\"00000000-0000-0000-0000-000000000000\"},"
        "{\"$uuid\":\"ffffffff-ffff-ffff-ffff-ffffffffffff\"},[],[null],[[]],[[],null],"
        "{},{\"a\":1},{\"a\":1,\"b\":0},{\"a\":2},{\"aa\":0},{\"b\":0}]}";
    blaze_doc *doc;
    blaze_value map, list, last, next;
    blaze_iter iter;
    struct bz_buf kl, kn;
    bz_buf_init(&kl, 4096);
    bz_buf_init(&kn, 4096);
    assert_int_equal(blaze_doc_from_json(&doc, json, strlen(json), NULL), 0);
    assert_int_equal(blaze_doc_value(doc, &map), 0);
    assert_int_equal(blaze_value_field(&map, "v", &list), 0);
    assert_int_equal(blaze_iter_init(&iter, &list), 0);
    assert_int_equal(blaze_iter_next(&iter, NULL, &last), 0);
    while (blaze_iter_next(&iter, NULL, &next) == 0) {
        bool cut;
        assert_true(blaze_value_compare(&last, &next) < 0);
        assert_true(bz_bytes_compare(key(&kl, &last, 99, &cut), key(&kn, &next, 99, &cut)) < 0);
        last = next;
    }
    bz_buf_release(&kl);
    bz_buf_release(&kn);
    blaze_doc_free(doc);
}

static void a_prefix_is_what_the_keys_of_longer_texts_begin_with(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "a", "ab", "a\x01", "a\x01z", "\xff", "b"};
    struct bz_buf prefix, k, end;
    bz_buf_init(&prefix, 64);
    bz_buf_init(&k, 64);
    bz_buf_init(&end, 64);
    for (size_t i = 0; i < COUNT(texts); i++) {
        for (size_t j = 0; j < COUNT(texts); j++) {
            bool cut = false;
            blaze_value start = {.type = BLAZE_BYTES, .as.text = {texts[i], strlen(texts[i])}};
            blaze_value value = {.type = BLAZE_BYTES, .as.text = {texts[j], strlen(texts[j])}};
            bz_buf_clear(&prefix);
            bz_buf_clear(&end);
            bz_buf_append8(&end, 0xff);
            bz_key_append_prefix(&prefix, &start, 8, &cut);
            bz_key_append_prefix(&end, &start, 8, &cut);
            assert_true(bz_key_successor(&end, 1));
            struct bz_bytes low = bz_buf_bytes(&prefix);
            struct bz_bytes high = bz_bytes(end.data + 1, end.size - 1);
            struct bz_bytes at = key(&k, &value, 8, &cut);
            bool within = bz_bytes_compare(at, low) >= 0 && bz_bytes_compare(at, high) < 0;
            bool starts = strncmp(texts[j], texts[i], strlen(texts[i])) == 0;
            assert_int_equal(within, starts);
        }
    }
    bz_buf_release(&prefix);
    bz_buf_release(&k);
    bz_buf_release(&end);
}

static void a_class_bounds_the_keys_of_all_its_values(void **state)
{
    (void)state;
    struct bz_buf low, high, k;
    bz_buf_init(&low, 64);
    bz_buf_init(&high, 64);
    bz_buf_init(&k, 4096);
    rng.state = test_seed();
    for (int i = 0; i < 5000; i++) {
        struct pair p;
        bool cut;
        pair_make(&p);
        bz_buf_clear(&low);
        bz_buf_clear(&high);
        bz_key_append_class(&low, &p.va, false);
        bz_key_append_class(&high, &p.va, true);
        struct bz_bytes at = key(&k, &p.vb, 64, &cut);
        bool within = bz_bytes_compare(at, bz_buf_bytes(&low)) >= 0 &&
                      bz_bytes_compare(at, bz_buf_bytes(&high)) < 0;
        bool numbers = (p.va.type == BLAZE_INT || p.va.type == BLAZE_DOUBLE) &&
                       (p.vb.type == BLAZE_INT || p.vb.type == BLAZE_DOUBLE);
        assert_int_equal(within, numbers || p.va.type == p.vb.type);
        pair_free(&p);
    }
    bz_buf_release(&low);
    bz_buf_release(&high);
    bz_buf_release(&k);
}

/* The shapes that cost most for what they spend. */
static void a_cut_key_stays_within_its_bound(void **state)
{
    (void)state;
    char zeros[300] = {0};
    for (size_t max = 0; max < 200; max += 7) {
        for (int shape = 0; shape < 7; shape++) {
            blaze_doc *doc;
            blaze_value value;
            struct bz_buf k;
            bool cut = false;
            bz_buf_init(&k, 1 << 20);
            assert_int_equal(blaze_doc_new(&doc), 0);
            for (int level = 0; level < BLAZE_MAX_NESTING - 2; level++) {
                static const char name[] = {1, 0};
                bool map = shape == 0 || (shape == 1 && level % 2 == 0);
                bool in_map = level == 0 || shape == 0 || (shape == 1 && level % 2 == 1);
                if (map)
                    blaze_doc_begin_map(doc, in_map ? (level == 0 ? "v" : name) : NULL);
                else
                    blaze_doc_begin_array(doc, in_map ? (level == 0 ? "v" : name) : NULL);
            }
            for (int i = 0; i < 200 && shape > 1; i++) {
                if (shape == 2)
                    blaze_doc_add_double(doc, NULL, 1e300);
                else if (shape == 3)
                    blaze_doc_add_text(doc, NULL, zeros, sizeof zeros);
                else if (shape == 4)
                    blaze_doc_add_text(doc, NULL, zeros, 1);
                else if (shape == 5)
                    blaze_doc_add_timestamp(doc, NULL, 1);
                else
                    blaze_doc_add_uuid(doc, NULL, &(blaze_id){{0}});
            }
            for (int level = 0; level < BLAZE_MAX_NESTING - 2; level++)
                blaze_doc_end(doc);
            assert_int_equal(blaze_doc_value(doc, &value), 0);
            assert_int_equal(blaze_value_field(&value, "v", &value), 0);
            bz_key_append(&k, &value, max, &cut);
            assert_int_equal(k.error, 0);
            assert_true(k.size <= BZ_KEY_SIZE_MAX(max));
            bz_buf_release(&k);
            blaze_doc_free(doc);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_order_as_their_values_do),
        cmocka_unit_test(integers_and_doubles_order_together_exactly),
        cmocka_unit_test(the_classes_order_as_promised),
        cmocka_unit_test(a_prefix_is_what_the_keys_of_longer_texts_begin_with),
        cmocka_unit_test(a_class_bounds_the_keys_of_all_its_values),
        cmocka_unit_test(a_cut_key_stays_within_its_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

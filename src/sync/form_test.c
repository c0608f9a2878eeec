/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/form.h"

#include "base/alloc.h"
#include "cmocka_all.h"
#include "codec/doc.h"
#include "random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One table of names on each side, in another order. */
struct sides {
    struct blaze_names *here, *there;
    struct bz_form out, in;
    struct bz_buf form;
    unsigned asked; /* names that the reader had to look up */
};

static void setup(struct sides *s)
{
    *s = (struct sides){0};
    assert_int_equal(bz_names_new(&s->here), 0);
    assert_int_equal(bz_names_new(&s->there), 0);
    bz_form_init(&s->out);
    bz_form_init(&s->in);
    bz_buf_init(&s->form, 1u << 26);
}

static void teardown(struct sides *s)
{
    bz_names_unref(s->here);
    bz_names_unref(s->there);
    bz_form_release(&s->out);
    bz_form_release(&s->in);
    bz_buf_release(&s->form);
}

static int name_here(void *context, uint32_t number, struct bz_bytes *out)
{
    struct sides *s = context;
    *out = bz_names_get(s->here, number);
    return out->data != NULL ? 0 : BLAZE_ENOTFOUND;
}

static int number_there(void *context, struct bz_bytes name, uint32_t *out)
{
    struct sides *s = context;
    s->asked++;
    return bz_names_add(s->there, name, out);
}

static void body_of(struct sides *s, blaze_doc *doc, struct bz_buf *out)
{
    blaze_value value;
    assert_int_equal(blaze_doc_value(doc, &value), 0);
    bz_buf_init(out, 1u << 26);
    assert_int_equal(bz_doc_intern(out, &value, s->here), 0);
}

/* There and back, and the same to a reader of names. */
static void travel(struct sides *s, struct bz_bytes body)
{
    struct bz_bytes back;
    blaze_value before, after;
    assert_int_equal(bz_form_write(&s->out, body, name_here, s, &s->form), 0);
    assert_int_equal(s->form.size, bz_form_padded(s->form.size));
    assert_int_equal(bz_form_read(&s->in, bz_buf_bytes(&s->form), number_there, s, &back), 0);
    if (body.size == 0) {
        assert_int_equal(back.size, 0);
        return;
    }
    bz_doc_value(body, s->here, &before);
    bz_doc_value(back, s->there, &after);
    assert_int_equal(blaze_value_compare(&before, &after), 0);
}

static blaze_doc *document(uint64_t seed, unsigned fields, unsigned text)
{
    struct rng rng = {seed};
    blaze_doc *doc;
    assert_int_equal(blaze_doc_new(&doc), 0);
    for (unsigned i = 0; i < fields; i++) {
        char name[20], value[4096];
        snprintf(name, sizeof name, "field %u", (unsigned)(seed * 7 + i));
        for (unsigned k = 0; k < text; k++)
            value[k] = (char)('a' + rng_next(&rng) % 26);
        value[text] = 0;
        blaze_doc_add_string(doc, name, value);
    }
    blaze_doc_begin_map(doc, "inner");
    blaze_doc_add_int(doc, "field 1", 1);
    blaze_doc_end(doc);
    return doc;
}

static void bodies_arrive_as_they_were_whatever_the_numbers(void **state)
{
    (void)state;
    struct sides s;
    uint32_t unused;
    setup(&s);
    assert_int_equal(bz_names_add(s.there, bz_bytes_text("inner"), &unused), 0);
    travel(&s, bz_bytes(NULL, 0));
    for (unsigned i = 0; i < 60; i++) {
        blaze_doc *doc = document(i % 7, 1 + i % 9, i * i);
        struct bz_buf body;
        body_of(&s, doc, &body);
        travel(&s, bz_buf_bytes(&body));
        travel(&s, bz_bytes(NULL, 0));
        bz_buf_release(&body);
        blaze_doc_free(doc);
    }
    teardown(&s);
}

static void names_are_looked_up_once_for_bodies_of_one_kind(void **state)
{
    (void)state;
    struct sides s;
    setup(&s);
    for (unsigned i = 0; i < 10; i++) {
        blaze_doc *doc = document(3, 5, i);
        struct bz_buf body;
        body_of(&s, doc, &body);
        travel(&s, bz_buf_bytes(&body));
        bz_buf_release(&body);
        blaze_doc_free(doc);
    }
    assert_int_equal(s.asked, 7); /* five, "inner", and the one in it */
    teardown(&s);
}

static void what_repeats_shrinks_and_sizes_come_in_steps(void **state)
{
    (void)state;
    struct sides s;
    blaze_doc *doc;
    struct bz_buf body;
    setup(&s);
    assert_int_equal(blaze_doc_new(&doc), 0);
    char text[3001];
    memset(text, 'r', sizeof text - 1);
    text[3000] = 0;
    blaze_doc_add_string(doc, "text", text);
    body_of(&s, doc, &body);
    travel(&s, bz_buf_bytes(&body));
    assert_true(s.form.size < 100);
    bz_buf_release(&body);
    blaze_doc_free(doc);
    /* Of a thousand sizes few can be told apart. */
    size_t sizes = 0, last = 0;
    for (size_t size = 1000; size < 2000; size++) {
        assert_true(bz_form_padded(size) >= size && bz_form_padded(size) <= size + size / 8);
        sizes += bz_form_padded(size) != last;
        last = bz_form_padded(size);
    }
    assert_true(sizes <= 32);
    teardown(&s);
}

static void the_steps_are_those_of_the_vectors(void **state)
{
    (void)state;
    FILE *file = fopen(BZ_SOURCE_DIR "/tests/vectors/sealed.txt", "r");
    assert_non_null(file);
    char line[4096];
    size_t size, padded;
    int count = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "padded | %zu | %zu", &size, &padded) != 2)
            continue;
        assert_int_equal(bz_form_padded(size), padded);
        count++;
    }
    fclose(file);
    assert_true(count >= 10);
}

/* What a member of ill will may have sealed. */
static void malformed_forms_are_refused(void **state)
{
    (void)state;
    struct sides s;
    struct bz_buf body;
    struct bz_bytes back;
    blaze_doc *doc = document(1, 4, 200);
    setup(&s);
    body_of(&s, doc, &body);
    assert_int_equal(bz_form_write(&s.out, bz_buf_bytes(&body), name_here, &s, &s.form), 0);
    struct rng rng = {test_seed()};
    for (unsigned i = 0; i < 4000; i++) {
        uint8_t copy[4096];
        size_t size = s.form.size;
        assert_true(size <= sizeof copy);
        memcpy(copy, s.form.data, size);
        for (uint64_t n = 1 + rng_next(&rng) % 3; n > 0; n--)
            copy[rng_next(&rng) % size] ^= (uint8_t)(1u << rng_next(&rng) % 8);
        if (rng_next(&rng) % 4 == 0)
            size = rng_next(&rng) % size;
        int rc = bz_form_read(&s.in, bz_bytes(copy, size), number_there, &s, &back);
        assert_true(rc == 0 || rc == BLAZE_EPROTO);
        if (rc == 0 && back.size > 0)
            assert_int_equal(bz_doc_check(back, bz_names_count(s.there)), 0);
    }
    static const uint8_t empty_compressed[] = {0x81}, padded[] = {0x80, 0, 0, 0},
                         unknown[] = {0x82}, nothing[] = {0};
    struct bz_bytes bad[] = {bz_bytes(empty_compressed, 1), bz_bytes(padded, 4),
        bz_bytes(unknown, 1), bz_bytes(nothing, 1), bz_bytes(NULL, 0)};
    /* Of the padded sizes 4 is one, but not of one byte. */
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(bz_form_read(&s.in, bad[i], number_there, &s, &back), BLAZE_EPROTO);
    bz_buf_release(&body);
    blaze_doc_free(doc);
    teardown(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_arrive_as_they_were_whatever_the_numbers),
        cmocka_unit_test(names_are_looked_up_once_for_bodies_of_one_kind),
        cmocka_unit_test(what_repeats_shrinks_and_sizes_come_in_steps),
        cmocka_unit_test(the_steps_are_those_of_the_vectors),
        cmocka_unit_test(malformed_forms_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

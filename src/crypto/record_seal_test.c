/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/record_seal.h"

#include "base/text.h"
#include "cmocka_all.h"
#include "hex.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const blaze_id node_a = {{1, 2, 3}}, node_b = {{1, 2, 4}};

static struct bz_record_sealer *sealer_of(uint8_t first, uint8_t last_of_database)
{
    struct bz_secret secret;
    blaze_id database;
    struct bz_key content, name;
    struct bz_record_sealer *sealer;
    for (size_t i = 0; i < sizeof secret.bytes; i++)
        secret.bytes[i] = (uint8_t)i;
    secret.bytes[0] = first;
    for (size_t i = 0; i < sizeof database.bytes; i++)
        database.bytes[i] = (uint8_t)(16 + i);
    database.bytes[15] = last_of_database;
    assert_int_equal(bz_key_derive(&content, &secret, &database, BZ_KEY_CONTENT), 0);
    assert_int_equal(bz_key_derive(&name, &secret, &database, BZ_KEY_NAME), 0);
    assert_int_equal(bz_record_sealer_new(&sealer, &content, &name, &database), 0);
    return sealer;
}

static struct bz_record_sealer *the_sealer(void)
{
    return sealer_of(0, 31);
}

static struct bz_buf buffer(void)
{
    struct bz_buf buf;
    bz_buf_init(&buf, 1u << 20);
    return buf;
}

/* ---- the vectors ---- */

static void check_name_vector(struct bz_record_sealer *sealer, char *fields[5])
{
    uint8_t bytes[1024];
    struct bz_bytes sealed = from_hex(fields[3], bytes);
    struct bz_buf buf = buffer();
    assert_int_equal(bz_name_seal(sealer, fields[1][0], bz_bytes_text(fields[2]), &buf), 0);
    assert_true(bz_bytes_equal(bz_buf_bytes(&buf), sealed));
    bz_buf_clear(&buf);
    assert_int_equal(bz_name_open(sealer, fields[1][0], sealed, &buf), 0);
    assert_true(bz_bytes_equal(bz_buf_bytes(&buf), bz_bytes_text(fields[2])));
    bz_buf_release(&buf);
}

static void check_body_vector(struct bz_record_sealer *sealer, char *fields[5])
{
    uint8_t bytes[4][1024];
    struct bz_bytes part[4];
    blaze_id node;
    struct bz_buf buf = buffer();
    for (int i = 0; i < 4; i++)
        part[i] = from_hex(fields[i + 1], bytes[i]);
    memcpy(&node, part[0].data, sizeof node);
    assert_int_equal(bz_body_open(sealer, &node, part[1], part[3], &buf), 0);
    assert_true(bz_bytes_equal(bz_buf_bytes(&buf), part[2]));
    bz_buf_release(&buf);
}

static void the_vectors_are_sealed_and_opened_as_written(void **state)
{
    (void)state;
    struct bz_record_sealer *sealer = the_sealer();
    FILE *file = fopen(BZ_SOURCE_DIR "/tests/vectors/sealed.txt", "r");
    assert_non_null(file);
    char line[4096];
    int names = 0, bodies = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        char *fields[5] = {0}, *at = line;
        line[strcspn(line, "\n")] = 0;
        for (int i = 0; i < 5 && at != NULL; i++) {
            fields[i] = at;
            at = strstr(at, " | ");
            if (at != NULL) {
                *at = 0;
                at += 3;
            }
        }
        if (strcmp(fields[0], "name") == 0) {
            check_name_vector(sealer, fields);
            names++;
        } else if (strcmp(fields[0], "body") == 0) {
            check_body_vector(sealer, fields);
            bodies++;
        }
    }
    fclose(file);
    assert_true(names >= 6 && bodies >= 3);
    bz_record_sealer_free(sealer);
}

/* ---- names ---- */

static void a_name_is_sealed_the_same_each_time_and_says_little_of_its_length(void **state)
{
    (void)state;
    struct bz_record_sealer *sealer = the_sealer();
    struct bz_buf a = buffer(), b = buffer();
    char text[256];
    size_t last = 0, sizes = 0;
    memset(text, 'n', sizeof text);
    for (size_t size = 1; size <= 255; size++) {
        bz_buf_clear(&a);
        bz_buf_clear(&b);
        assert_int_equal(bz_name_seal(sealer, 'f', bz_bytes(text, size), &a), 0);
        assert_int_equal(bz_name_seal(sealer, 'f', bz_bytes(text, size), &b), 0);
        assert_true(bz_bytes_equal(bz_buf_bytes(&a), bz_buf_bytes(&b)));
        assert_true(a.size <= BZ_SEALED_NAME_MAX && a.size % BZ_SEALED_NAME_STEP == 0);
        sizes += a.size != last;
        last = a.size;
        bz_buf_clear(&b);
        assert_int_equal(bz_name_open(sealer, 'f', bz_buf_bytes(&a), &b), 0);
        assert_true(bz_bytes_equal(bz_buf_bytes(&b), bz_bytes(text, size)));
    }
    assert_int_equal(sizes, 16);
    assert_int_equal(bz_name_seal(sealer, 'f', bz_bytes(text, 0), &a), BLAZE_EINVAL);
    bz_buf_release(&a);
    bz_buf_release(&b);
    bz_record_sealer_free(sealer);
}

static void a_name_of_another_kind_key_or_database_or_with_a_changed_byte_does_not_open(
    void **state)
{
    (void)state;
    struct bz_record_sealer *sealer = the_sealer(), *others[] = {sealer_of(1, 31), sealer_of(0, 1)};
    struct bz_buf a = buffer(), b = buffer();
    assert_int_equal(bz_name_seal(sealer, 'f', bz_bytes_text("population"), &a), 0);
    assert_int_equal(bz_name_open(sealer, 'c', bz_buf_bytes(&a), &b), BLAZE_ECORRUPT);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(bz_name_open(others[i], 'f', bz_buf_bytes(&a), &b), BLAZE_ECORRUPT);
        bz_record_sealer_free(others[i]);
    }
    for (size_t i = 0; i < a.size; i++) {
        a.data[i] ^= 1;
        assert_int_equal(bz_name_open(sealer, 'f', bz_buf_bytes(&a), &b), BLAZE_ECORRUPT);
        a.data[i] ^= 1;
        assert_int_equal(bz_name_open(sealer, 'f', bz_bytes(a.data, i), &b), BLAZE_ECORRUPT);
    }
    assert_int_equal(b.size, 0);
    bz_buf_release(&a);
    bz_buf_release(&b);
    bz_record_sealer_free(sealer);
}

/* ---- bodies ---- */

static void a_body_opens_for_its_writer_and_place_only(void **state)
{
    (void)state;
    struct bz_record_sealer *sealer = the_sealer(), *other = sealer_of(1, 31);
    struct bz_bytes more = bz_bytes_text("where it stands"), plain = bz_bytes_text("a body");
    struct bz_bytes elsewhere = bz_bytes_text("where it stood.");
    struct bz_buf a = buffer(), b = buffer();
    assert_int_equal(bz_body_seal(sealer, &node_a, more, plain, &a), 0);
    assert_int_equal(a.size, plain.size + BZ_BODY_SEAL);
    assert_int_equal(bz_body_open(sealer, &node_a, more, bz_buf_bytes(&a), &b), 0);
    assert_true(bz_bytes_equal(bz_buf_bytes(&b), plain));
    bz_buf_clear(&b);
    assert_int_equal(bz_body_open(sealer, &node_b, more, bz_buf_bytes(&a), &b), BLAZE_ECORRUPT);
    assert_int_equal(
        bz_body_open(sealer, &node_a, elsewhere, bz_buf_bytes(&a), &b), BLAZE_ECORRUPT);
    assert_int_equal(bz_body_open(other, &node_a, more, bz_buf_bytes(&a), &b), BLAZE_ECORRUPT);
    assert_int_equal(b.size, 0);
    bz_buf_release(&a);
    bz_buf_release(&b);
    bz_record_sealer_free(sealer);
    bz_record_sealer_free(other);
}

static void a_body_with_any_byte_changed_or_missing_does_not_open(void **state)
{
    (void)state;
    struct bz_record_sealer *sealer = the_sealer();
    struct bz_bytes more = bz_bytes_text("m"), plain = bz_bytes_text("some forty bytes of a body");
    struct bz_buf a = buffer(), b = buffer();
    assert_int_equal(bz_body_seal(sealer, &node_a, more, plain, &a), 0);
    for (size_t i = 0; i < a.size; i++) {
        a.data[i] ^= 0x10;
        int rc = bz_body_open(sealer, &node_a, more, bz_buf_bytes(&a), &b);
        assert_int_equal(rc, i == 0 ? BLAZE_EVERSION : BLAZE_ECORRUPT); /* the key epoch */
        a.data[i] ^= 0x10;
        assert_int_equal(
            bz_body_open(sealer, &node_a, more, bz_bytes(a.data, i), &b), BLAZE_ECORRUPT);
    }
    bz_buf_release(&a);
    bz_buf_release(&b);
    bz_record_sealer_free(sealer);
}

static void no_two_seals_are_the_same_and_many_writers_take_turns(void **state)
{
    (void)state;
    struct bz_record_sealer *sealer = the_sealer();
    struct bz_bytes more = bz_bytes_text("m"), plain = bz_bytes_text("the same each time");
    struct bz_buf all = buffer(), b = buffer();
    enum { WRITES = 500 };
    for (unsigned i = 0; i < WRITES; i++) {
        blaze_id node = {{(uint8_t)(i % 199)}};
        assert_int_equal(bz_body_seal(sealer, &node, more, plain, &all), 0);
    }
    size_t size = plain.size + BZ_BODY_SEAL;
    for (unsigned i = 0; i < WRITES; i++) {
        blaze_id node = {{(uint8_t)(i % 199)}};
        for (unsigned k = 0; k < i; k++)
            assert_memory_not_equal(all.data + i * size, all.data + k * size, size);
        bz_buf_clear(&b);
        assert_int_equal(
            bz_body_open(sealer, &node, more, bz_bytes(all.data + i * size, size), &b), 0);
        assert_true(bz_bytes_equal(bz_buf_bytes(&b), plain));
    }
    bz_buf_release(&all);
    bz_buf_release(&b);
    bz_record_sealer_free(sealer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_are_sealed_and_opened_as_written),
        cmocka_unit_test(a_name_is_sealed_the_same_each_time_and_says_little_of_its_length),
        cmocka_unit_test(
            a_name_of_another_kind_key_or_database_or_with_a_changed_byte_does_not_open),
        cmocka_unit_test(a_body_opens_for_its_writer_and_place_only),
        cmocka_unit_test(a_body_with_any_byte_changed_or_missing_does_not_open),
        cmocka_unit_test(no_two_seals_are_the_same_and_many_writers_take_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

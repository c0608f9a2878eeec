/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"
#include "crypto/keys.h"

#include "cmocka_all.h"

#include <stdio.h>

/* The expected values below were computed with Python's hmac and hashlib. */

static struct bz_secret secret_0_to_31(void)
{
    struct bz_secret secret;
    for (size_t i = 0; i < sizeof secret.bytes; i++)
        secret.bytes[i] = (uint8_t)i;
    return secret;
}

static blaze_id database_16_to_31(void)
{
    blaze_id id;
    for (size_t i = 0; i < sizeof id.bytes; i++)
        id.bytes[i] = (uint8_t)(16 + i);
    return id;
}

static void assert_hex(const uint8_t bytes[32], const char *expected)
{
    char text[65];
    for (size_t i = 0; i < 32; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    assert_string_equal(text, expected);
}

static void derived_keys_are_the_known_ones(void **state)
{
    (void)state;
    static const char *const expected[] = {
        [BZ_KEY_ACCESS] = "9e89167876660d9402446af0ddb750e4b273c6cbf00691af12bd38bea9f23abd",
        [BZ_KEY_MEMBER] = "671a1b54d914663232d4ca640a874dad945e3d16ca82a9bd3b90140c723cb58a",
        [BZ_KEY_CONTENT] = "cb912ca7ea516bd7fafaa6638e657d41165e783f2163ac1eadfc67f8bc615f26",
        [BZ_KEY_NAME] = "8dac5bef105357820a70be58eceb5253b38887f6457bb1abd9e200c1c0bb865e",
    };
    struct bz_secret secret = secret_0_to_31();
    blaze_id database = database_16_to_31();
    for (enum bz_key_kind kind = BZ_KEY_ACCESS; kind <= BZ_KEY_NAME; kind++) {
        struct bz_key key;
        assert_int_equal(bz_key_derive(&key, &secret, &database, kind), 0);
        assert_hex(key.bytes, expected[kind]);
    }
}

static void another_database_or_secret_gives_other_keys(void **state)
{
    (void)state;
    struct bz_secret secret = secret_0_to_31();
    blaze_id database = database_16_to_31();
    struct bz_key a, b, c;
    assert_int_equal(bz_key_derive(&a, &secret, &database, BZ_KEY_ACCESS), 0);
    database.bytes[15] ^= 1;
    assert_int_equal(bz_key_derive(&b, &secret, &database, BZ_KEY_ACCESS), 0);
    database.bytes[15] ^= 1;
    secret.bytes[31] ^= 1;
    assert_int_equal(bz_key_derive(&c, &secret, &database, BZ_KEY_ACCESS), 0);
    assert_memory_not_equal(&a, &b, sizeof a);
    assert_memory_not_equal(&a, &c, sizeof a);
}

static void new_secrets_differ(void **state)
{
    (void)state;
    struct bz_secret a, b;
    assert_int_equal(bz_secret_new(&a), 0);
    assert_int_equal(bz_secret_new(&b), 0);
    assert_memory_not_equal(&a, &b, sizeof a);
}

static void a_proof_holds_for_its_key_and_transcript_only(void **state)
{
    (void)state;
    struct bz_secret secret = secret_0_to_31();
    blaze_id database = database_16_to_31();
    struct bz_key key, other;
    assert_int_equal(bz_key_derive(&key, &secret, &database, BZ_KEY_ACCESS), 0);
    assert_int_equal(bz_key_derive(&other, &secret, &database, BZ_KEY_MEMBER), 0);

    uint8_t proof[BZ_PROOF_SIZE];
    struct bz_bytes transcript = bz_bytes_text("who, where, when");
    assert_int_equal(bz_key_prove(proof, &key, transcript), 0);
    assert_hex(proof, "c9f7dcd470dcedb19a3e5174e40ef1afbb53dd814a5ac114f5ddde59a1234d0a");
    assert_true(bz_key_verify(proof, &key, transcript));
    assert_false(bz_key_verify(proof, &other, transcript));
    assert_false(bz_key_verify(proof, &key, bz_bytes_text("who, where, whem")));
    assert_false(bz_key_verify(proof, &key, bz_bytes(NULL, 0)));
    for (size_t i = 0; i < sizeof proof; i++) {
        proof[i] ^= 0x80;
        assert_false(bz_key_verify(proof, &key, transcript));
        proof[i] ^= 0x80;
    }
}

static void wiped_memory_is_zero(void **state)
{
    (void)state;
    struct bz_secret secret = secret_0_to_31();
    static const struct bz_secret zero;
    bz_wipe(&secret, sizeof secret);
    assert_memory_equal(&secret, &zero, sizeof zero);
}

/* ---- Join codes ---- */

#define DATABASE "10111213-1415-1617-1819-1a1b1c1d1e1f"
#define CODE     "AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fpZvbSw"

static void assert_formats(const char *url, const char *expected)
{
    struct bz_join join = {.database = database_16_to_31(), .secret = secret_0_to_31()};
    snprintf(join.url, sizeof join.url, "%s", url);
    struct bz_buf out;
    bz_buf_init(&out, 4096);
    assert_int_equal(bz_join_format(&out, &join, NULL), 0);
    bz_buf_append8(&out, 0);
    assert_int_equal(out.error, 0);
    assert_string_equal((const char *)out.data, expected);

    struct bz_join back;
    assert_int_equal(bz_join_parse(&back, (const char *)out.data, NULL), 0);
    assert_string_equal(back.url, url);
    assert_memory_equal(&back.database, &join.database, sizeof back.database);
    assert_memory_equal(&back.secret, &join.secret, sizeof back.secret);
    bz_buf_release(&out);
}

static void a_join_code_reads_back_for_each_kind_of_address(void **state)
{
    (void)state;
    assert_formats("tcp://hub.example:7667", "blaze://hub.example:7667/" DATABASE "#" CODE);
    assert_formats("tcp://[2001:db8::1]:7667", "blaze://[2001:db8::1]:7667/" DATABASE "#" CODE);
    assert_formats("unix:/run/a b/%41#x?.sock",
        "blaze+unix:///run/a%20b/%2541%23x%3F.sock/" DATABASE "#" CODE);
    assert_formats("unix:hub.sock", "blaze+unix://hub.sock/" DATABASE "#" CODE);
    assert_formats("mem:hub", "blaze+mem://hub/" DATABASE "#" CODE);
}

static void a_code_for_no_stream_is_not_made(void **state)
{
    (void)state;
    struct bz_join join = {.url = "http://example"};
    struct bz_buf out;
    blaze_error error;
    bz_buf_init(&out, 4096);
    assert_int_equal(bz_join_format(&out, &join, &error), BLAZE_EINVAL);
    assert_non_null(strstr(error.text, "http://example"));
    bz_buf_release(&out);
}

static void assert_refused(const char *code, int rc, const char *words)
{
    struct bz_join join;
    blaze_error error;
    int got = bz_join_parse(&join, code, &error);
    if (got != rc || strstr(error.text, words) == NULL)
        fail_msg("%s: %d %s", code, got, got == 0 ? "" : error.text);
}

static void what_is_no_join_code_is_told_so(void **state)
{
    (void)state;
    assert_refused("", BLAZE_ESYNTAX, "not a join code");
    assert_refused("http://example/", BLAZE_ESYNTAX, "not a join code");
    assert_refused("blaze://", BLAZE_ESYNTAX, "not a join code");
    assert_refused("blaze://#", BLAZE_ESYNTAX, "names no address");
    assert_refused("blaze:///" DATABASE "#" CODE, BLAZE_ESYNTAX, "names no address");
    assert_refused("blaze://host:1/" DATABASE, BLAZE_ESYNTAX, "no #CODE");
    assert_refused("blaze://host:1/" DATABASE "0#" CODE, BLAZE_ESYNTAX, "no database id");
    assert_refused("blaze://host:1/database#" CODE, BLAZE_ESYNTAX, "no database id");
    assert_refused("blaze+unix://a%4/" DATABASE "#" CODE, BLAZE_ESYNTAX, "address");
    assert_refused("blaze+unix://a%/" DATABASE "#" CODE, BLAZE_ESYNTAX, "address");
    assert_refused("blaze+unix://a%00b/" DATABASE "#" CODE, BLAZE_ESYNTAX, "address");

    char longer[1024];
    snprintf(longer, sizeof longer, "blaze://%0400d/" DATABASE "#" CODE, 0);
    assert_refused(longer, BLAZE_ESYNTAX, "address");
}

static void a_join_code_damaged_anywhere_is_noticed(void **state)
{
    (void)state;
    const char *good = "blaze://host:1/" DATABASE "#" CODE;
    size_t size = strlen(good);
    char code[256];
    for (size_t i = strlen("blaze://host:1/"); i < size; i++) {
        if (good[i] == '-' || good[i] == '#')
            continue;
        strcpy(code, good);
        code[i] = code[i] == '2' ? '3' : '2';
        struct bz_join join;
        assert_int_equal(bz_join_parse(&join, code, NULL), BLAZE_ESYNTAX);
    }
    for (size_t i = 1; i <= strlen(CODE); i++) {
        strcpy(code, good);
        code[size - i] = '\0';
        assert_refused(code, BLAZE_ESYNTAX, "damaged");
    }
    assert_refused("blaze://host:1/" DATABASE "#" CODE "AA", BLAZE_ESYNTAX, "damaged");
    assert_refused("blaze://host:1/" DATABASE "#not base64", BLAZE_ESYNTAX, "damaged");
}

static void a_join_code_of_a_later_version_is_told_so(void **state)
{
    (void)state;
    assert_refused("blaze://host:1/" DATABASE "#AgABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fkHXQCA",
        BLAZE_EVERSION, "version 2");
    assert_refused("blaze://host:1/" DATABASE
                   "#AgABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fkHXQCAAA",
        BLAZE_EVERSION, "version 2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(derived_keys_are_the_known_ones),
        cmocka_unit_test(another_database_or_secret_gives_other_keys),
        cmocka_unit_test(new_secrets_differ),
        cmocka_unit_test(a_proof_holds_for_its_key_and_transcript_only),
        cmocka_unit_test(wiped_memory_is_zero),
        cmocka_unit_test(a_join_code_reads_back_for_each_kind_of_address),
        cmocka_unit_test(a_code_for_no_stream_is_not_made),
        cmocka_unit_test(what_is_no_join_code_is_told_so),
        cmocka_unit_test(a_join_code_damaged_anywhere_is_noticed),
        cmocka_unit_test(a_join_code_of_a_later_version_is_told_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

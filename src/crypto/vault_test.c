/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/vault.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "cmocka_all.h"

#include <stdio.h>

/* As cheap as can be. */
static struct bz_vault_secret passphrase(const char *text)
{
    return (struct bz_vault_secret){
        BZ_VAULT_PASSPHRASE, bz_bytes_text(text), BZ_ARGON2_MEMORY_KIB_MIN, 1};
}

static struct bz_vault_secret key_file(const void *data, size_t size)
{
    return (struct bz_vault_secret){.kind = BZ_VAULT_KEY_FILE, .bytes = bz_bytes(data, size)};
}

static struct bz_bytes whole(const uint8_t vault[BZ_VAULT_SIZE])
{
    return bz_bytes(vault, BZ_VAULT_SIZE);
}

static void assert_opens(const uint8_t *vault, struct bz_vault_secret secret, const void *key)
{
    struct bz_data_key opened;
    assert_int_equal(bz_vault_open(&opened, whole(vault), &secret, NULL), 0);
    assert_memory_equal(opened.bytes, key, sizeof opened);
}

static void assert_refused(
    struct bz_bytes vault, struct bz_vault_secret secret, int code, const char *words)
{
    struct bz_data_key opened, before;
    blaze_error error;
    memset(&opened, 0x5a, sizeof opened);
    before = opened;
    int rc = bz_vault_open(&opened, vault, &secret, &error);
    if (rc != code || strstr(error.text, words) == NULL)
        fail_msg("expected %d and \"%s\": %d, %s", code, words, rc, rc == 0 ? "" : error.text);
    assert_memory_equal(&opened, &before, sizeof opened);
}

/* ---- the vectors of docs/format/key.md, computed with other implementations ---- */

static const uint8_t of_passphrase[BZ_VAULT_SIZE] = {
    0x42,
    0x6c,
    0x61,
    0x7a,
    0x65,
    0x4b,
    0x65,
    0x79,
    0x01,
    0x01,
    0x00,
    0x00,
    0x40,
    0x00,
    0x00,
    0x00,
    0x02,
    0x00,
    0x00,
    0x00,
    0x01,
    0x00,
    0x00,
    0x00,
    0x00,
    0x01,
    0x02,
    0x03,
    0x04,
    0x05,
    0x06,
    0x07,
    0x08,
    0x09,
    0x0a,
    0x0b,
    0x0c,
    0x0d,
    0x0e,
    0x0f,
    0x10,
    0x11,
    0x12,
    0x13,
    0x14,
    0x15,
    0x16,
    0x17,
    0x18,
    0x19,
    0x1a,
    0x1b,
    0x74,
    0x91,
    0x48,
    0x69,
    0x04,
    0x50,
    0x13,
    0x94,
    0xf7,
    0xd8,
    0x60,
    0xa6,
    0x1a,
    0x46,
    0xac,
    0xb2,
    0x9d,
    0x46,
    0xbb,
    0x1d,
    0x7c,
    0x15,
    0x02,
    0x9f,
    0xe3,
    0x01,
    0x8e,
    0x35,
    0xb8,
    0x6d,
    0x3e,
    0x2d,
    0x5e,
    0x1b,
    0xb0,
    0x32,
    0x25,
    0x67,
    0x13,
    0xa5,
    0x79,
    0xa9,
    0xf8,
    0xab,
    0x17,
    0x9a,
    0x43,
    0x5c,
    0x2c,
    0x2c,
    0x06,
    0x46,
    0xb6,
    0xd3,
    0xdc,
    0xc0,
};

static const uint8_t of_key_file[BZ_VAULT_SIZE] = {
    0x42,
    0x6c,
    0x61,
    0x7a,
    0x65,
    0x4b,
    0x65,
    0x79,
    0x01,
    0x02,
    0x00,
    0x00,
    0x00,
    0x00,
    0x00,
    0x00,
    0x00,
    0x00,
    0x00,
    0x00,
    0x00,
    0x00,
    0x00,
    0x00,
    0x00,
    0x01,
    0x02,
    0x03,
    0x04,
    0x05,
    0x06,
    0x07,
    0x08,
    0x09,
    0x0a,
    0x0b,
    0x0c,
    0x0d,
    0x0e,
    0x0f,
    0x10,
    0x11,
    0x12,
    0x13,
    0x14,
    0x15,
    0x16,
    0x17,
    0x18,
    0x19,
    0x1a,
    0x1b,
    0xb5,
    0xa7,
    0x08,
    0x99,
    0x44,
    0xc2,
    0x7c,
    0xfc,
    0x4b,
    0xc3,
    0x9c,
    0x60,
    0x03,
    0x2e,
    0x31,
    0x11,
    0x4d,
    0x1a,
    0xcf,
    0xc4,
    0x4c,
    0x8d,
    0x57,
    0x8d,
    0x6e,
    0x72,
    0x2e,
    0x46,
    0x03,
    0x3a,
    0x7f,
    0xa0,
    0x1b,
    0x12,
    0x14,
    0x55,
    0x60,
    0x41,
    0x45,
    0x9e,
    0x13,
    0x40,
    0xfa,
    0x36,
    0xa6,
    0x7f,
    0x83,
    0xa0,
    0x30,
    0x31,
    0xa6,
    0xbb,
    0x49,
    0x4f,
    0x60,
    0x7a,
};

static void the_documented_vaults_open(void **state)
{
    (void)state;
    uint8_t key[BZ_DATA_KEY_SIZE], file[32];
    for (size_t i = 0; i < sizeof key; i++) {
        key[i] = (uint8_t)(0x40 + i);
        file[i] = (uint8_t)i;
    }
    assert_opens(of_passphrase, passphrase("correct horse battery staple"), key);
    assert_opens(of_key_file, key_file(file, sizeof file), key);

    struct bz_vault_info info;
    assert_int_equal(bz_vault_check(whole(of_passphrase), &info, NULL), 0);
    assert_int_equal(info.kind, BZ_VAULT_PASSPHRASE);
    assert_int_equal(info.memory_kib, 64);
    assert_int_equal(info.passes, 2);
    assert_int_equal(bz_vault_check(whole(of_key_file), &info, NULL), 0);
    assert_int_equal(info.kind, BZ_VAULT_KEY_FILE);
    assert_int_equal(info.memory_kib, 0);
    assert_int_equal(info.passes, 0);
}

/* ---- making and opening ---- */

static void a_vault_opens_with_its_secret_only(void **state)
{
    (void)state;
    uint8_t vault[BZ_VAULT_SIZE], file[40] = {1, 2, 3};
    struct bz_data_key key;
    struct bz_vault_secret secret = passphrase("open sesame");
    assert_int_equal(bz_vault_create(vault, &key, &secret, NULL), 0);
    assert_opens(vault, secret, key.bytes);
    assert_refused(whole(vault), passphrase("open sesamf"), BLAZE_EAUTH, "the passphrase is wrong");
    assert_refused(whole(vault), passphrase("open sesame "), BLAZE_EAUTH, "passphrase is wrong");
    assert_refused(whole(vault), key_file(file, sizeof file), BLAZE_EAUTH,
        "with a passphrase, not with a key");

    secret = key_file(file, sizeof file);
    assert_int_equal(bz_vault_create(vault, &key, &secret, NULL), 0);
    assert_opens(vault, secret, key.bytes);
    assert_refused(whole(vault), key_file(file, sizeof file - 1), BLAZE_EAUTH, "key file is not");
    assert_refused(
        whole(vault), passphrase("open sesame"), BLAZE_EAUTH, "with a key file, not with a pass");
}

static void every_vault_has_a_key_a_salt_and_a_nonce_of_its_own(void **state)
{
    (void)state;
    uint8_t a[BZ_VAULT_SIZE], b[BZ_VAULT_SIZE];
    struct bz_data_key key_a, key_b;
    struct bz_vault_secret secret = passphrase("the same");
    assert_int_equal(bz_vault_create(a, &key_a, &secret, NULL), 0);
    assert_int_equal(bz_vault_create(b, &key_b, &secret, NULL), 0);
    assert_memory_not_equal(&key_a, &key_b, sizeof key_a);
    assert_memory_not_equal(a + 24, b + 24, 16);
    assert_memory_not_equal(a + 40, b + 40, 12);
}

static void costs_not_given_are_the_documented_ones(void **state)
{
    (void)state;
    uint8_t vault[BZ_VAULT_SIZE];
    struct bz_data_key key;
    struct bz_vault_info info;
    struct bz_vault_secret secret = {BZ_VAULT_PASSPHRASE, bz_bytes_text("slow"), 0, 0};
    assert_int_equal(bz_vault_create(vault, &key, &secret, NULL), 0);
    assert_int_equal(bz_vault_check(whole(vault), &info, NULL), 0);
    assert_int_equal(info.memory_kib, 65536);
    assert_int_equal(info.passes, 3);
}

static void a_change_keeps_the_data_key(void **state)
{
    (void)state;
    uint8_t vault[BZ_VAULT_SIZE], kept[BZ_VAULT_SIZE];
    struct bz_data_key key;
    struct bz_vault_secret old = passphrase("old"), new = passphrase("new");
    new.memory_kib = 16;
    new.passes = 2;
    assert_int_equal(bz_vault_create(vault, &key, &old, NULL), 0);
    assert_int_equal(bz_vault_change(vault, whole(vault), &old, &new, NULL), 0);
    assert_opens(vault, passphrase("new"), key.bytes);
    assert_refused(whole(vault), old, BLAZE_EAUTH, "wrong");

    struct bz_vault_info info;
    assert_int_equal(bz_vault_check(whole(vault), &info, NULL), 0);
    assert_int_equal(info.memory_kib, 16);
    assert_int_equal(info.passes, 2);

    memcpy(kept, vault, sizeof kept);
    blaze_error error;
    assert_int_equal(bz_vault_change(vault, whole(vault), &old, &new, &error), BLAZE_EAUTH);
    assert_memory_equal(vault, kept, sizeof kept);
}

static void what_is_no_secret_is_refused(void **state)
{
    (void)state;
    static uint8_t many[BZ_KEY_FILE_MAX + 1];
    const struct bad {
        struct bz_vault_secret secret;
        int code;
        const char *words;
    } bads[] = {
        {passphrase(""), BLAZE_EINVAL, "1 to 1024 bytes"},
        {{BZ_VAULT_PASSPHRASE, bz_bytes(many, BZ_PASSPHRASE_MAX + 1)}, BLAZE_EINVAL, "not 1025"},
        {key_file(many, 31), BLAZE_EINVAL, "not 31"},
        {key_file(many, sizeof many), BLAZE_EINVAL, "not 65537"},
        {{BZ_VAULT_PASSPHRASE, bz_bytes_text("x"), 7, 1}, BLAZE_ERANGE, "8 to 4194304 KiB"},
        {{BZ_VAULT_PASSPHRASE, bz_bytes_text("x"), (4u << 20) + 1, 1}, BLAZE_ERANGE, "passes"},
        {{BZ_VAULT_PASSPHRASE, bz_bytes_text("x"), 8, 65}, BLAZE_ERANGE, "1 to 64 passes"},
    };
    for (size_t i = 0; i < sizeof bads / sizeof bads[0]; i++) {
        uint8_t vault[BZ_VAULT_SIZE];
        struct bz_data_key key;
        blaze_error error;
        int rc = bz_vault_create(vault, &key, &bads[i].secret, &error);
        if (rc != bads[i].code || strstr(error.text, bads[i].words) == NULL)
            fail_msg("%zu: %d %s", i, rc, rc == 0 ? "" : error.text);
    }
}

/* ---- hostile bytes ---- */

static void damage_is_told_from_a_wrong_secret(void **state)
{
    (void)state;
    uint8_t vault[BZ_VAULT_SIZE + 1] = {0};
    struct bz_vault_secret secret = passphrase("correct horse battery staple");
    memcpy(vault, of_passphrase, sizeof of_passphrase);
    for (size_t i = 0; i < BZ_VAULT_SIZE; i++) {
        vault[i] ^= 4;
        assert_refused(whole(vault), secret, BLAZE_ECORRUPT, "damaged");
        vault[i] ^= 4;
    }
    for (size_t size = 0; size < BZ_VAULT_SIZE; size++)
        assert_refused(bz_bytes(vault, size), secret, BLAZE_ECORRUPT, "damaged");
    assert_refused(bz_bytes(vault, sizeof vault), secret, BLAZE_ECORRUPT, "damaged");
}

static void fix_checksum(uint8_t vault[BZ_VAULT_SIZE])
{
    bz_store64le(vault + 100, bz_hash64(vault, 100, 0));
}

/* Who changes the file and puts its checksum right cannot have another key taken for the right one,
 * nor cheaper costs. */
static void a_forged_vault_does_not_open(void **state)
{
    (void)state;
    struct bz_vault_secret secret = passphrase("correct horse battery staple");
    static const struct {
        size_t at;
        uint8_t value;
        int code;
    } forged[] = {
        {8, 2, BLAZE_EVERSION},
        {9, 0, BLAZE_ECORRUPT},
        {9, 2, BLAZE_ECORRUPT}, /* a key file with costs */
        {9, 3, BLAZE_ECORRUPT},
        {10, 1, BLAZE_ECORRUPT},
        {12, 7, BLAZE_ECORRUPT},  /* KiB */
        {12, 63, BLAZE_EAUTH},    /* cheaper than it was */
        {15, 1, BLAZE_ECORRUPT},  /* 16 GiB */
        {16, 0, BLAZE_ECORRUPT},  /* passes */
        {16, 1, BLAZE_EAUTH},     /* cheaper */
        {16, 65, BLAZE_ECORRUPT}, /* dearer than allowed */
        {20, 2, BLAZE_ECORRUPT},
        {24, 1, BLAZE_EAUTH},
        {40, 1, BLAZE_EAUTH},
        {52, 1, BLAZE_EAUTH},
        {99, 1, BLAZE_EAUTH},
    };
    for (size_t i = 0; i < sizeof forged / sizeof forged[0]; i++) {
        uint8_t vault[BZ_VAULT_SIZE];
        memcpy(vault, of_passphrase, sizeof vault);
        vault[forged[i].at] = forged[i].value;
        if (forged[i].at == 12 && forged[i].value == 7)
            vault[13] = 0;
        fix_checksum(vault);
        assert_refused(whole(vault), secret, forged[i].code, "");
    }
}

static int fail_at(void *context)
{
    int *left = context;
    return (*left)-- == 0;
}

static void running_out_of_memory_is_told(void **state)
{
    (void)state;
    struct bz_vault_secret secret = passphrase("correct horse battery staple");
    int left = 0;
    bz_alloc_set_fault(fail_at, &left);
    assert_refused(whole(of_passphrase), secret, BLAZE_ENOMEM, "out of memory");
    bz_alloc_set_fault(NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_documented_vaults_open),
        cmocka_unit_test(a_vault_opens_with_its_secret_only),
        cmocka_unit_test(every_vault_has_a_key_a_salt_and_a_nonce_of_its_own),
        cmocka_unit_test(costs_not_given_are_the_documented_ones),
        cmocka_unit_test(a_change_keeps_the_data_key),
        cmocka_unit_test(what_is_no_secret_is_refused),
        cmocka_unit_test(damage_is_told_from_a_wrong_secret),
        cmocka_unit_test(a_forged_vault_does_not_open),
        cmocka_unit_test(running_out_of_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

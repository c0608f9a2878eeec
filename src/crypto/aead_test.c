/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/aead.h"

#include "base/alloc.h"
#include "cmocka_all.h"
#include "hex.h"

#include <stdio.h>

#define TEXT_MAX 64u

/* Test cases 13 to 16 of McGrew and Viega's submission of GCM to NIST, those of 256-bit keys. */
static const struct vector {
    const char *key, *nonce, *more, *plain, *sealed;
} vectors[] = {
    {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000",
        "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
    {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000",
        "", "00000000000000000000000000000000",
        "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"},
    {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
        "",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
        "b094dac5d93471bdec1a502270e3cc6c"},
    {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
        "76fc6ece0f4e1768cddf8853bb2d551b"},
};

static struct bz_aead *aead_of(const char *key)
{
    uint8_t bytes[BZ_AEAD_KEY];
    struct bz_aead *aead;
    from_hex(key, bytes);
    assert_int_equal(bz_aead_new(&aead, bytes), 0);
    return aead;
}

static void check_vector(const struct vector *vector)
{
    uint8_t nonce[BZ_AEAD_NONCE], more_bytes[TEXT_MAX], plain_bytes[TEXT_MAX];
    uint8_t sealed_bytes[TEXT_MAX + BZ_AEAD_TAG], out[TEXT_MAX + BZ_AEAD_TAG];
    from_hex(vector->nonce, nonce);
    struct bz_bytes more = from_hex(vector->more, more_bytes);
    struct bz_bytes plain = from_hex(vector->plain, plain_bytes);
    struct bz_bytes sealed = from_hex(vector->sealed, sealed_bytes);
    assert_int_equal(sealed.size, plain.size + BZ_AEAD_TAG);

    struct bz_aead *aead = aead_of(vector->key);
    for (int round = 0; round < 2; round++) { /* one object, used again */
        assert_int_equal(bz_aead_seal(aead, nonce, more, plain, out), 0);
        assert_memory_equal(out, sealed.data, sealed.size);
        assert_int_equal(bz_aead_open(aead, nonce, more, sealed, out), 0);
        assert_memory_equal(out, plain.data, plain.size);
    }
    bz_aead_free(aead);
}

static void the_published_vectors_hold(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
        check_vector(&vectors[i]);
}

static void sealing_and_opening_work_in_place(void **state)
{
    (void)state;
    const struct vector *vector = &vectors[3];
    uint8_t nonce[BZ_AEAD_NONCE], more_bytes[TEXT_MAX];
    uint8_t plain[TEXT_MAX], sealed[TEXT_MAX + BZ_AEAD_TAG], text[TEXT_MAX + BZ_AEAD_TAG];
    from_hex(vector->nonce, nonce);
    struct bz_bytes more = from_hex(vector->more, more_bytes);
    size_t size = from_hex(vector->plain, plain).size;
    from_hex(vector->sealed, sealed);

    struct bz_aead *aead = aead_of(vector->key);
    memcpy(text, plain, size);
    assert_int_equal(bz_aead_seal(aead, nonce, more, bz_bytes(text, size), text), 0);
    assert_memory_equal(text, sealed, size + BZ_AEAD_TAG);
    assert_int_equal(bz_aead_open(aead, nonce, more, bz_bytes(text, size + BZ_AEAD_TAG), text), 0);
    assert_memory_equal(text, plain, size);
    bz_aead_free(aead);
}

static int opens(
    struct bz_aead *aead, const uint8_t *nonce, struct bz_bytes more, const void *data, size_t size)
{
    uint8_t out[TEXT_MAX + BZ_AEAD_TAG];
    return bz_aead_open(aead, nonce, more, bz_bytes(data, size), out);
}

static void a_change_anywhere_is_noticed(void **state)
{
    (void)state;
    const struct vector *vector = &vectors[3];
    uint8_t nonce[BZ_AEAD_NONCE], more_bytes[TEXT_MAX], sealed[TEXT_MAX + BZ_AEAD_TAG];
    from_hex(vector->nonce, nonce);
    struct bz_bytes more = from_hex(vector->more, more_bytes);
    size_t size = from_hex(vector->sealed, sealed).size;
    struct bz_aead *aead = aead_of(vector->key);

    for (size_t i = 0; i < size; i++) {
        sealed[i] ^= 1;
        assert_int_equal(opens(aead, nonce, more, sealed, size), BLAZE_ECORRUPT);
        sealed[i] ^= 1;
    }
    for (size_t i = 0; i < sizeof nonce; i++) {
        nonce[i] ^= 0x80;
        assert_int_equal(opens(aead, nonce, more, sealed, size), BLAZE_ECORRUPT);
        nonce[i] ^= 0x80;
    }
    for (size_t i = 0; i < more.size; i++) {
        more_bytes[i] ^= 0x10;
        assert_int_equal(opens(aead, nonce, more, sealed, size), BLAZE_ECORRUPT);
        more_bytes[i] ^= 0x10;
    }
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(opens(aead, nonce, more, sealed, cut), BLAZE_ECORRUPT);
    assert_int_equal(opens(aead, nonce, bz_bytes(NULL, 0), sealed, size), BLAZE_ECORRUPT);
    assert_int_equal(opens(aead, nonce, more, sealed, size), 0); /* after all that */

    struct bz_aead *other = aead_of(vectors[0].key);
    assert_int_equal(opens(other, nonce, more, sealed, size), BLAZE_ECORRUPT);
    bz_aead_free(other);
    bz_aead_free(aead);
}

static void long_texts_come_back(void **state)
{
    (void)state;
    const size_t size = (1u << 20) + 5;
    uint8_t *text = bz_malloc(size + BZ_AEAD_TAG);
    uint8_t nonce[BZ_AEAD_NONCE] = {1};
    assert_non_null(text);
    for (size_t i = 0; i < size; i++)
        text[i] = (uint8_t)(i * 31 >> 3);
    struct bz_aead *aead = aead_of(vectors[2].key);
    struct bz_bytes none = bz_bytes(NULL, 0);
    assert_int_equal(bz_aead_seal(aead, nonce, none, bz_bytes(text, size), text), 0);
    assert_int_equal(bz_aead_open(aead, nonce, none, bz_bytes(text, size + BZ_AEAD_TAG), text), 0);
    for (size_t i = 0; i < size; i++)
        assert_int_equal(text[i], (uint8_t)(i * 31 >> 3));
    bz_aead_free(aead);
    bz_free(text);
}

static void freeing_none_does_nothing(void **state)
{
    (void)state;
    bz_aead_free(NULL);
}

/* The expected values were computed with Python's hmac and hashlib. */
static void derived_keys_are_the_known_ones(void **state)
{
    (void)state;
    uint8_t secret[32], out[32], expected[32];
    for (size_t i = 0; i < sizeof secret; i++)
        secret[i] = (uint8_t)i;
    from_hex("7ec3d0c6448676ba9bb7955497a22613579552e3d90028d6733a41ad38001e4f", expected);
    assert_int_equal(bz_kdf(out, secret, bz_bytes(NULL, 0), "a label"), 0);
    assert_memory_equal(out, expected, sizeof out);
    from_hex("a758af8df1689f024549f30adbb793d2be9528410e3be7af45f999dfebbf8631", expected);
    assert_int_equal(bz_kdf(out, secret, bz_bytes_text("salt"), "a label"), 0);
    assert_memory_equal(out, expected, sizeof out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_vectors_hold),
        cmocka_unit_test(sealing_and_opening_work_in_place),
        cmocka_unit_test(a_change_anywhere_is_noticed),
        cmocka_unit_test(long_texts_come_back),
        cmocka_unit_test(freeing_none_does_nothing),
        cmocka_unit_test(derived_keys_are_the_known_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/keys.h"

#include "crypto/aead.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

static const char *const labels[] = {
    [BZ_KEY_ACCESS] = "blazedb v1 access",
    [BZ_KEY_MEMBER] = "blazedb v1 member",
    [BZ_KEY_CONTENT] = "blazedb v1 content",
    [BZ_KEY_NAME] = "blazedb v1 name",
};

int bz_secret_new(struct bz_secret *out)
{
    struct bz_secret secret;
    if (RAND_priv_bytes(secret.bytes, sizeof secret.bytes) != 1)
        return BLAZE_EIO;
    *out = secret;
    bz_wipe(&secret, sizeof secret);
    return 0;
}

static OSSL_PARAM octets(const char *name, const void *data, size_t size)
{
    /* OpenSSL takes parameters as non-const and only reads them. */
    return OSSL_PARAM_construct_octet_string(name, (void *)(uintptr_t)data, size);
}

int bz_kdf(uint8_t out[32], const uint8_t secret[32], struct bz_bytes salt, const char *info)
{
    static const uint8_t zero[32]; /* means what no salt does, which OpenSSL refuses */
    if (salt.size == 0)
        salt = bz_bytes(zero, sizeof zero);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char[]){"SHA256"}, 0),
        octets(OSSL_KDF_PARAM_KEY, secret, 32),
        octets(OSSL_KDF_PARAM_SALT, salt.data, salt.size),
        octets(OSSL_KDF_PARAM_INFO, info, strlen(info)),
        OSSL_PARAM_construct_end(),
    };
    uint8_t key[32];
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = kdf == NULL ? NULL : EVP_KDF_CTX_new(kdf);
    int rc = BLAZE_ENOMEM;
    if (ctx != NULL && EVP_KDF_derive(ctx, key, sizeof key, params) == 1) {
        memcpy(out, key, sizeof key);
        rc = 0;
    }
    bz_wipe(key, sizeof key);
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    return rc;
}

int bz_key_derive(struct bz_key *out, const struct bz_secret *secret, const blaze_id *database,
    enum bz_key_kind kind)
{
    return bz_kdf(
        out->bytes, secret->bytes, bz_bytes(database->bytes, sizeof database->bytes), labels[kind]);
}

int bz_key_prove(uint8_t out[BZ_PROOF_SIZE], const struct bz_key *key, struct bz_bytes transcript)
{
    uint8_t proof[BZ_PROOF_SIZE];
    size_t size = 0;
    if (EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key->bytes, sizeof key->bytes,
            transcript.data, transcript.size, proof, sizeof proof, &size) == NULL ||
        size != sizeof proof)
        return BLAZE_ENOMEM;
    memcpy(out, proof, sizeof proof);
    return 0;
}

bool bz_key_verify(
    const uint8_t proof[BZ_PROOF_SIZE], const struct bz_key *key, struct bz_bytes transcript)
{
    uint8_t expected[BZ_PROOF_SIZE];
    return bz_key_prove(expected, key, transcript) == 0 &&
           bz_secret_equal(expected, proof, sizeof expected);
}

bool bz_secret_equal(const void *a, const void *b, size_t size)
{
    return CRYPTO_memcmp(a, b, size) == 0;
}

void bz_wipe(void *memory, size_t size)
{
    OPENSSL_cleanse(memory, size);
}

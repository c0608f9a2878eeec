/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One OpenSSL context a direction, with the key's schedule in it from the start, so that a call
 * only sets the nonce.
 */

#include "crypto/aead.h"

#include "base/alloc.h"
#include "crypto/keys.h"

#include <assert.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

struct bz_aead {
    EVP_CIPHER_CTX *seal;
    EVP_CIPHER_CTX *open;
};

static EVP_CIPHER_CTX *context_new(const uint8_t key[BZ_AEAD_KEY], int sealing)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    if (context != NULL &&
        EVP_CipherInit_ex(context, EVP_aes_256_gcm(), NULL, key, NULL, sealing) == 1)
        return context;
    EVP_CIPHER_CTX_free(context);
    return NULL;
}

int bz_aead_new(struct bz_aead **out, const uint8_t key[BZ_AEAD_KEY])
{
    struct bz_aead *aead = bz_zalloc(sizeof *aead);
    if (aead == NULL)
        return BLAZE_ENOMEM;
    aead->seal = context_new(key, 1);
    aead->open = context_new(key, 0);
    if (aead->seal == NULL || aead->open == NULL) {
        bz_aead_free(aead);
        return BLAZE_ENOMEM;
    }
    *out = aead;
    return 0;
}

void bz_aead_free(struct bz_aead *aead)
{
    if (aead == NULL)
        return;
    EVP_CIPHER_CTX_free(aead->seal); /* which wipes */
    EVP_CIPHER_CTX_free(aead->open);
    bz_free(aead);
}

/* Feeds `in` through; `out` NULL for what is only authenticated. */
static bool update(EVP_CIPHER_CTX *context, uint8_t *out, struct bz_bytes in)
{
    int size = 0;
    assert(in.size <= INT_MAX);
    return in.size == 0 || (EVP_CipherUpdate(context, out, &size, in.data, (int)in.size) == 1 &&
                               size == (int)in.size);
}

static bool restart(EVP_CIPHER_CTX *context, const uint8_t nonce[BZ_AEAD_NONCE])
{
    return EVP_CipherInit_ex(context, NULL, NULL, NULL, nonce, -1) == 1;
}

int bz_aead_new_for(
    struct bz_aead **out, const uint8_t secret[32], struct bz_bytes salt, const char *purpose)
{
    uint8_t key[BZ_AEAD_KEY];
    int rc = bz_kdf(key, secret, salt, purpose);
    if (rc == 0)
        rc = bz_aead_new(out, key);
    OPENSSL_cleanse(key, sizeof key);
    return rc;
}

int bz_aead_seal(struct bz_aead *aead, const uint8_t nonce[BZ_AEAD_NONCE], struct bz_bytes more,
    struct bz_bytes plain, uint8_t *out)
{
    EVP_CIPHER_CTX *context = aead->seal;
    uint8_t *tag = out + plain.size;
    int size = 0;
    bool ok = restart(context, nonce) && update(context, NULL, more) &&
              update(context, out, plain) && EVP_CipherFinal_ex(context, tag, &size) == 1 &&
              EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, BZ_AEAD_TAG, tag) == 1;
    return ok ? 0 : BLAZE_ENOMEM;
}

int bz_aead_open(struct bz_aead *aead, const uint8_t nonce[BZ_AEAD_NONCE], struct bz_bytes more,
    struct bz_bytes sealed, uint8_t *out)
{
    if (sealed.size < BZ_AEAD_TAG)
        return BLAZE_ECORRUPT;
    EVP_CIPHER_CTX *context = aead->open;
    struct bz_bytes text = bz_bytes(sealed.data, sealed.size - BZ_AEAD_TAG);
    uint8_t tag[BZ_AEAD_TAG];
    uint8_t none[BZ_AEAD_TAG]; /* nothing comes at the end, but OpenSSL wants somewhere to put it */
    int size = 0;
    memcpy(tag, sealed.data + text.size, sizeof tag);
    if (!restart(context, nonce) || !update(context, NULL, more) || !update(context, out, text) ||
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, BZ_AEAD_TAG, tag) != 1)
        return BLAZE_ENOMEM;
    return EVP_CipherFinal_ex(context, none, &size) == 1 ? 0 : BLAZE_ECORRUPT;
}

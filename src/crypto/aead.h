/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_CRYPTO_AEAD_H
#define BZ_CRYPTO_AEAD_H

/*
 * Sealing: AES-256-GCM. A key must never see the same nonce twice; who calls says how that is kept.
 * One thread at a time for each object.
 */

#include "base/bytes.h"
#include "base/error.h"

#define BZ_AEAD_KEY   32u
#define BZ_AEAD_NONCE 12u
#define BZ_AEAD_TAG   16u

struct bz_aead;

/* BLAZE_ENOMEM. */
int bz_aead_new(struct bz_aead **out, const uint8_t key[BZ_AEAD_KEY]);

/* The same, under a key of its own for one purpose: bz_kdf() of `secret`. BLAZE_ENOMEM. */
int bz_aead_new_for(
    struct bz_aead **out, const uint8_t secret[32], struct bz_bytes salt, const char *purpose);
void bz_aead_free(struct bz_aead *aead); /* wipes; NULL does nothing */

/* Writes plain.size + BZ_AEAD_TAG bytes: ciphertext, then tag. `out` may be plain.data. `more` is
 * authenticated, not sealed. BLAZE_ENOMEM. */
int bz_aead_seal(struct bz_aead *aead, const uint8_t nonce[BZ_AEAD_NONCE], struct bz_bytes more,
    struct bz_bytes plain, uint8_t *out);

/* Writes sealed.size - BZ_AEAD_TAG bytes. `out` may be sealed.data. BLAZE_ECORRUPT if it is not
 * what was sealed under this key, nonce and `more`: then what `out` holds means nothing. */
int bz_aead_open(struct bz_aead *aead, const uint8_t nonce[BZ_AEAD_NONCE], struct bz_bytes more,
    struct bz_bytes sealed, uint8_t *out);

/* HKDF-SHA256 (RFC 5869) of a 32-byte secret: `out` has 32 bytes. BLAZE_ENOMEM. */
int bz_kdf(uint8_t out[32], const uint8_t secret[32], struct bz_bytes salt, const char *info);

#endif

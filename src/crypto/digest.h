/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_CRYPTO_DIGEST_H
#define BZ_CRYPTO_DIGEST_H

/* Digests that are not about secrets. Any thread. */

#include "base/bytes.h"

/* SHA-1 of `a` followed by `b`: what RFC 9562 derives a UUIDv5 with; no security rests on it.
 * BLAZE_ENOMEM. */
#define BZ_SHA1_SIZE 20
int bz_sha1(uint8_t out[BZ_SHA1_SIZE], struct bz_bytes a, struct bz_bytes b);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_BASE_HASH_H
#define BZ_BASE_HASH_H

/* Checksums and hashes (xxHash, XXH3). Not cryptographic. */

#include "base/bytes.h"

struct bz_hash128 {
    uint64_t low;
    uint64_t high;
};

uint64_t bz_hash64(const void *data, size_t size, uint64_t seed);
struct bz_hash128 bz_hash128(const void *data, size_t size, uint64_t seed);

/* Addition and subtraction modulo 2^128: an order-independent digest of a set of hashes. */
static inline void bz_hash128_add(struct bz_hash128 *sum, struct bz_hash128 h)
{
    sum->low += h.low;
    sum->high += h.high + (sum->low < h.low);
}

static inline void bz_hash128_sub(struct bz_hash128 *sum, struct bz_hash128 h)
{
    sum->high -= h.high + (sum->low < h.low);
    sum->low -= h.low;
}

#endif

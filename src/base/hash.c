/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

/* Compiled in: most of what is hashed is a name of a few bytes, for which the call costs more. */
#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t bz_hash64(const void *data, size_t size, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, size, seed);
}

struct bz_hash128 bz_hash128(const void *data, size_t size, uint64_t seed)
{
    XXH128_hash_t h = XXH3_128bits_withSeed(data, size, seed);
    return (struct bz_hash128){h.low64, h.high64};
}

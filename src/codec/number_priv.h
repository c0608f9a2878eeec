/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_CODEC_NUMBER_PRIV_H
#define BZ_CODEC_NUMBER_PRIV_H

/* Integers in as few bytes as hold them, and doubles that are short decimals. */

#include "base/bytes.h"

/* The bytes of the shortest little-endian two's complement form; 0 for 0. */
static inline unsigned bz_int_size(int64_t v)
{
    if (v == 0)
        return 0;
    uint64_t magnitude = (uint64_t)(v ^ (v >> 63));
    return magnitude == 0 ? 1 : (unsigned)(72 - __builtin_clzll(magnitude)) / 8;
}

/* Reads such a form of `size` <= 8 bytes where `readable` >= `size` may be touched. */
static inline int64_t bz_int_load(const uint8_t *p, size_t size, size_t readable)
{
    if (size == 0)
        return 0;
    uint64_t v = 0;
    if (readable >= 8)
        v = bz_load64le(p);
    else
        for (size_t i = 0; i < size; i++)
            v |= (uint64_t)p[i] << (8 * i);
    unsigned shift = (unsigned)(64 - 8 * size);
    return (int64_t)(v << shift) >> shift;
}

/*
 * Whether some scale s of 0 to 15 and integer m, |m| < 2^51, give m / 10^s = x, correctly rounded;
 * then *packed is m * 16 + s for the least such s. (No two m of that size give the same double for
 * one s, so the form is unique.) Never for -0.0, whose sign it could not keep.
 */
bool bz_decimal_pack(double x, int64_t *packed);

extern const double bz_powers_of_ten[16];

static inline double bz_decimal_unpack(int64_t packed)
{
    return (double)(packed >> 4) / bz_powers_of_ten[packed & 15];
}

#endif

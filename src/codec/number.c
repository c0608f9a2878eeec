/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/number_priv.h"

#include <math.h>

/* All are exact, so that m / 10^s is rounded just once. */
const double bz_powers_of_ten[16] = {
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};

#define MANTISSA_LIMIT 0x1p51

/* The nearest integer of |x| < 2^51: past 2^52 the spacing of doubles is one. */
static double nearest(double x)
{
    return (x + 0x1.8p52) - 0x1.8p52;
}

bool bz_decimal_pack(double x, int64_t *packed)
{
    if (x == 0) {
        *packed = 0;
        return !signbit(x);
    }
    for (int s = 0; s < 16; s++) {
        /* If m exists, x * 10^s is off by at most m * 2^-52 < 1/2, so that rounding finds it. */
        double scaled = x * bz_powers_of_ten[s];
        if (!(fabs(scaled) < MANTISSA_LIMIT))
            return false;
        double m = nearest(scaled);
        if (m / bz_powers_of_ten[s] == x && fabs(m) < MANTISSA_LIMIT) {
            *packed = (int64_t)m * 16 + s;
            return true;
        }
    }
    return false;
}

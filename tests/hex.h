/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_TESTS_HEX_H
#define BZ_TESTS_HEX_H

/* Bytes as vectors have them. */

#include "base/bytes.h"

#include "cmocka_all.h"

#include <stdio.h>
#include <string.h>

/* The bytes, in `out`, which has room for half as many as there are digits. */
static inline struct bz_bytes from_hex(const char *text, uint8_t *out)
{
    size_t size = strlen(text) / 2;
    for (size_t i = 0; i < size; i++) {
        unsigned byte;
        assert_int_equal(sscanf(text + 2 * i, "%2x", &byte), 1);
        out[i] = (uint8_t)byte;
    }
    return bz_bytes(out, size);
}

#endif

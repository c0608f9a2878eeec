/* SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"

/* The length of the well-formed sequence at p, 0 if there is none. */
static size_t sequence(const uint8_t *p, const uint8_t *end)
{
    uint8_t lead = p[0];
    if (lead < 0x80)
        return 1;
    size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || (size_t)(end - p) < size)
        return 0;
    /* Only the second byte's range depends on the lead. */
    uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < size; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    return size;
}

/* The first byte that is not of ASCII, or the end. */
static const uint8_t *pass_ascii(const uint8_t *p, const uint8_t *end)
{
    while (end - p >= 8 && (bz_load64le(p) & 0x8080808080808080u) == 0)
        p += 8;
    while (p < end && *p < 0x80)
        p++;
    return p;
}

bool bz_utf8_valid(struct bz_bytes text)
{
    if (text.size == 0)
        return true;
    const uint8_t *end = text.data + text.size;
    const uint8_t *p = pass_ascii(text.data, end);
    while (p < end) {
        size_t size = sequence(p, end);
        if (size == 0)
            return false;
        p = pass_ascii(p + size, end);
    }
    return true;
}

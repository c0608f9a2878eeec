/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <blazedb/error.h>
#include <blazedb/id.h>

static const char hex_digits[] = "0123456789abcdef";
static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

void bz_hex_append(struct bz_buf *out, struct bz_bytes b)
{
    uint8_t *p = bz_buf_reserve(out, b.size * 2);
    if (p == NULL)
        return;
    for (size_t i = 0; i < b.size; i++) {
        *p++ = (uint8_t)hex_digits[b.data[i] >> 4];
        *p++ = (uint8_t)hex_digits[b.data[i] & 15];
    }
    bz_buf_advance(out, b.size * 2);
}

static uint8_t digit(uint32_t v, bool url)
{
    if (v < 62)
        return (uint8_t)alphabet[v];
    return (uint8_t)(v == 62 ? (url ? '-' : '+') : (url ? '_' : '/'));
}

void bz_base64_append(struct bz_buf *out, struct bz_bytes b, bool url)
{
    for (size_t i = 0; i < b.size; i += 3) {
        size_t n = b.size - i < 3 ? b.size - i : 3;
        uint32_t v = (uint32_t)b.data[i] << 16;
        v |= n > 1 ? (uint32_t)b.data[i + 1] << 8 : 0;
        v |= n > 2 ? b.data[i + 2] : 0;
        uint8_t four[4] = {digit(v >> 18, url), digit(v >> 12 & 63, url), digit(v >> 6 & 63, url),
            digit(v & 63, url)};
        if (n < 3 && !url)
            memset(four + n + 1, '=', 3 - n);
        bz_buf_append(out, four, url ? n + 1 : 4);
    }
}

static int value_of(uint8_t c, bool url)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == (url ? '-' : '+'))
        return 62;
    return c == (url ? '_' : '/') ? 63 : -1;
}

int bz_base64_decode(struct bz_buf *out, struct bz_bytes text, bool url)
{
    if (!url) {
        if (text.size % 4 != 0)
            return BLAZE_ESYNTAX;
        for (int pad = 0; pad < 2 && text.size > 0 && text.data[text.size - 1] == '='; pad++)
            text.size--;
    }
    if (text.size % 4 == 1)
        return BLAZE_ESYNTAX;
    uint32_t bits = 0;
    unsigned held = 0;
    for (size_t i = 0; i < text.size; i++) {
        int v = value_of(text.data[i], url);
        if (v < 0)
            return BLAZE_ESYNTAX;
        bits = bits << 6 | (uint32_t)v;
        held += 6;
        if (held >= 8) {
            held -= 8;
            bz_buf_append8(out, (uint8_t)(bits >> held));
        }
        bits &= (1u << held) - 1;
    }
    if (bits != 0)
        return BLAZE_ESYNTAX;
    return out->error;
}

char *blaze_id_format(const blaze_id *id, char out[BLAZE_ID_TEXT_SIZE])
{
    char *p = out;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        *p++ = hex_digits[id->bytes[i] >> 4];
        *p++ = hex_digits[id->bytes[i] & 15];
    }
    *p = '\0';
    return out;
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int blaze_id_parse(blaze_id *out, const char *text)
{
    blaze_id id;
    const char *p = text;
    for (int i = 0; i < 16; i++) {
        if ((i == 4 || i == 6 || i == 8 || i == 10) && *p++ != '-')
            return BLAZE_ESYNTAX;
        int high = nibble(p[0]);
        int low = high < 0 ? -1 : nibble(p[1]);
        if (low < 0)
            return BLAZE_ESYNTAX;
        id.bytes[i] = (uint8_t)(high << 4 | low);
        p += 2;
    }
    if (*p != '\0')
        return BLAZE_ESYNTAX;
    *out = id;
    return 0;
}

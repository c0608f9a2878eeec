/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key is a byte for the class of its value, then:
 *
 *   null, false, true   nothing (false and true are classes of their own)
 *   number              the nearest double, 8 bytes, big-endian, with the sign bit turned over if
 *                       it is positive and all bits if it is negative; past 2^53, where doubles
 *                       lie up to 2,048 apart and integers between them, also 2 bytes: how far
 *                       the number is from that double, plus 0x8000
 *   timestamp           8 bytes, big-endian, the sign bit turned over
 *   string, bytes       the bytes, 00 as 01 01 and 01 as 01 02; then END, or CUT if more follow
 *   uuid                16 bytes
 *   array               the keys of the elements; then END, or CUT if more follow
 *   map                 by ascending name: the name as a string without class, the key of the
 *                       value; then END, or CUT if more follow
 *
 * END is 00 and CUT is 01, both less than any class. Where one value is cut, no value with the same
 * bytes before goes on; so CUT can be confused with nothing, what is cut comes after what ends, and
 * only keys that are cut can be equal for values that are not. No key is a prefix of another: each
 * form has a fixed length or ends at a mark that nothing else in its place can be.
 */
#include "codec/key.h"

#include "codec/layout_priv.h"

enum {
    CLASS_NULL = 0x10,
    CLASS_FALSE = 0x20,
    CLASS_TRUE = 0x21,
    CLASS_NUMBER = 0x30,
    CLASS_TIMESTAMP = 0x40,
    CLASS_STRING = 0x50,
    CLASS_BYTES = 0x60,
    CLASS_UUID = 0x70,
    CLASS_ARRAY = 0x80,
    CLASS_MAP = 0x90,
    CLASS_UNSET = 0xf0
};

#define END    0x00
#define ESCAPE 0x01
#define CUT    0x01

struct keying {
    struct bz_buf *out;
    size_t left; /* payload bytes until the cut */
    bool cut;
};

static void append(struct keying *k, const blaze_value *value, size_t depth);

static void spend(struct keying *k, size_t size)
{
    k->left -= size < k->left ? size : k->left;
}

/* The bits of a double so that they order, as unsigned ones, as it does. */
static uint64_t ordered_bits(double d)
{
    d = d == 0 ? 0.0 : d; /* -0.0 equals 0.0 */
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    return bits ^ (bits >> 63 ? UINT64_MAX : (uint64_t)1 << 63);
}

bool bz_key_number(struct bz_bytes key, double *nearest)
{
    if (key.size < 9 || key.data[0] != CLASS_NUMBER)
        return false;
    uint64_t bits = bz_load64be(key.data + 1);
    bits ^= bits >> 63 ? (uint64_t)1 << 63 : UINT64_MAX;
    memcpy(nearest, &bits, sizeof bits);
    return true;
}

static void append_number(struct keying *k, double nearest, int distance)
{
    uint8_t key[1 + 8 + 2] = {CLASS_NUMBER};
    bool exact = nearest < 0x1p53 && nearest > -0x1p53;
    unsigned biased = (unsigned)(distance + 0x8000);
    bz_store64be(key + 1, ordered_bits(nearest));
    key[9] = (uint8_t)(biased >> 8);
    key[10] = (uint8_t)biased;
    bz_buf_append(k->out, key, exact ? 9 : sizeof key);
    spend(k, 8);
}

static void append_int(struct keying *k, int64_t v)
{
    double nearest = (double)v;
    /* 2^63, which the largest integers round to, is no int64_t; the difference is, modulo 2^64. */
    uint64_t whole = nearest >= 0x1p63 ? (uint64_t)1 << 63 : (uint64_t)(int64_t)nearest;
    append_number(k, nearest, (int)(int64_t)((uint64_t)v - whole));
}

/* The bytes up to the cut, without an end; whether it was cut. */
static bool append_escaped(struct keying *k, struct bz_bytes text)
{
    bool cut = text.size > k->left;
    if (cut)
        text.size = k->left;
    k->cut = k->cut || cut;
    spend(k, text.size);
    size_t from = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] > 1)
            continue;
        bz_buf_append(k->out, text.data + from, i - from);
        bz_buf_append8(k->out, ESCAPE);
        bz_buf_append8(k->out, (uint8_t)(text.data[i] + 1));
        from = i + 1;
    }
    if (from < text.size)
        bz_buf_append(k->out, text.data + from, text.size - from);
    return cut;
}

static void append_text(struct keying *k, struct bz_bytes text)
{
    bool cut = append_escaped(k, text);
    bz_buf_append8(k->out, cut ? CUT : END);
}

static struct bz_bytes text_of(const blaze_value *value)
{
    return bz_bytes(value->as.text.data, value->as.text.size);
}

/* Whether there is room for more of a container; if not, the key is cut there. */
static bool goes_on(struct keying *k)
{
    if (k->left == 0)
        k->cut = true;
    return k->left > 0;
}

static void append_array(struct keying *k, const blaze_value *value, size_t depth)
{
    blaze_iter iter;
    blaze_value element;
    bz_buf_append8(k->out, CLASS_ARRAY);
    if (blaze_iter_init(&iter, value) == 0) {
        while (blaze_iter_next(&iter, NULL, &element) == 0 && goes_on(k))
            append(k, &element, depth + 1);
    }
    bz_buf_append8(k->out, k->cut ? CUT : END);
}

static void append_map(struct keying *k, const blaze_value *value, size_t depth)
{
    struct bz_sorted sorted;
    struct bz_bytes name;
    blaze_value field;
    bz_buf_append8(k->out, CLASS_MAP);
    if (bz_sorted_init(&sorted, value) == 0) {
        while (bz_sorted_next(&sorted, &name, &field) == 0 && goes_on(k)) {
            append_text(k, name);
            spend(k, 1);
            if (!goes_on(k))
                break;
            append(k, &field, depth + 1);
        }
    }
    bz_buf_append8(k->out, k->cut ? CUT : END);
}

static void append(struct keying *k, const blaze_value *value, size_t depth)
{
    spend(k, 1);
    switch (value->type) {
    case BLAZE_NULL:
        bz_buf_append8(k->out, CLASS_NULL);
        break;
    case BLAZE_BOOL:
        bz_buf_append8(k->out, value->as.boolean ? CLASS_TRUE : CLASS_FALSE);
        break;
    case BLAZE_INT:
        append_int(k, value->as.integer);
        break;
    case BLAZE_DOUBLE:
        append_number(k, value->as.number, 0);
        break;
    case BLAZE_TIMESTAMP:
        bz_buf_append8(k->out, CLASS_TIMESTAMP);
        bz_buf_append64be(k->out, (uint64_t)value->as.timestamp ^ (uint64_t)1 << 63);
        spend(k, 8);
        break;
    case BLAZE_STRING:
        bz_buf_append8(k->out, CLASS_STRING);
        append_text(k, text_of(value));
        break;
    case BLAZE_BYTES:
        bz_buf_append8(k->out, CLASS_BYTES);
        append_text(k, text_of(value));
        break;
    case BLAZE_UUID:
        bz_buf_append8(k->out, CLASS_UUID);
        bz_buf_append(k->out, value->as.uuid.bytes, sizeof value->as.uuid.bytes);
        spend(k, sizeof value->as.uuid.bytes);
        break;
    case BLAZE_ARRAY:
    case BLAZE_MAP:
        if (depth > BLAZE_MAX_NESTING) {
            bz_buf_append8(k->out, value->type == BLAZE_MAP ? CLASS_MAP : CLASS_ARRAY);
            bz_buf_append8(k->out, END);
        } else if (value->type == BLAZE_MAP) {
            append_map(k, value, depth);
        } else {
            append_array(k, value, depth);
        }
        break;
    default:
        bz_buf_append8(k->out, CLASS_UNSET);
        break;
    }
}

void bz_key_append(struct bz_buf *out, const blaze_value *value, size_t max, bool *cut)
{
    struct keying k = {.out = out, .left = max < SIZE_MAX ? max + 1 : max}; /* the class is free */
    append(&k, value, 1);
    *cut = *cut || k.cut;
}

void bz_key_append_prefix(struct bz_buf *out, const blaze_value *value, size_t max, bool *cut)
{
    struct keying k = {.out = out, .left = max};
    bz_buf_append8(out, value->type == BLAZE_STRING ? CLASS_STRING : CLASS_BYTES);
    append_escaped(&k, text_of(value));
    *cut = *cut || k.cut;
}

void bz_key_append_class(struct bz_buf *out, const blaze_value *value, bool end)
{
    static const uint8_t classes[] = {CLASS_NULL, CLASS_FALSE, CLASS_NUMBER, CLASS_NUMBER,
        CLASS_STRING, CLASS_BYTES, CLASS_TIMESTAMP, CLASS_UUID, CLASS_ARRAY, CLASS_MAP};
    uint8_t class = value->type <= BLAZE_MAP ? classes[value->type] : CLASS_UNSET;
    /* Classes lie 16 apart. */
    bz_buf_append8(out, (uint8_t)(end ? class + 0x10 : class));
}

bool bz_key_successor(struct bz_buf *key, size_t from)
{
    while (key->size > from && key->data[key->size - 1] == 0xff)
        key->size--;
    if (key->size == from)
        return false;
    key->data[key->size - 1]++;
    return true;
}

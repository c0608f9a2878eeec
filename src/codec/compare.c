/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/doc.h"
#include "codec/layout_priv.h"

static int compare(const blaze_value *a, const blaze_value *b, size_t depth);

/* The classes in their order; int and double share one. */
static int class_of(blaze_type type)
{
    switch (type) {
    case BLAZE_NULL:
        return 0;
    case BLAZE_BOOL:
        return 1;
    case BLAZE_INT:
    case BLAZE_DOUBLE:
        return 2;
    case BLAZE_TIMESTAMP:
        return 3;
    case BLAZE_STRING:
        return 4;
    case BLAZE_BYTES:
        return 5;
    case BLAZE_UUID:
        return 6;
    case BLAZE_ARRAY:
        return 7;
    case BLAZE_MAP:
        return 8;
    }
    return 9; /* unset */
}

static int compare_ints(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int compare_doubles(double a, double b)
{
    return (a > b) - (a < b);
}

/* Exact: the double is compared by its whole part, which fits, and then by its fraction. */
static int compare_int_double(int64_t i, double d)
{
    if (d >= 0x1p63)
        return -1;
    if (d < -0x1p63)
        return 1;
    int64_t whole = (int64_t)d;
    if (i != whole)
        return compare_ints(i, whole);
    return compare_doubles((double)whole, d);
}

static int compare_numbers(const blaze_value *a, const blaze_value *b)
{
    if (a->type == b->type)
        return a->type == BLAZE_INT ? compare_ints(a->as.integer, b->as.integer)
                                    : compare_doubles(a->as.number, b->as.number);
    return a->type == BLAZE_INT ? compare_int_double(a->as.integer, b->as.number)
                                : -compare_int_double(b->as.integer, a->as.number);
}

static struct bz_bytes text_bytes(const blaze_value *v)
{
    return bz_bytes(v->as.text.data, v->as.text.size);
}

static int compare_arrays(const blaze_value *a, const blaze_value *b, size_t depth)
{
    blaze_iter ia, ib;
    if (blaze_iter_init(&ia, a) != 0 || blaze_iter_init(&ib, b) != 0)
        return 0;
    for (;;) {
        blaze_value va, vb;
        bool more_a = blaze_iter_next(&ia, NULL, &va) == 0;
        bool more_b = blaze_iter_next(&ib, NULL, &vb) == 0;
        if (!more_a || !more_b)
            return more_a - more_b;
        int order = compare(&va, &vb, depth + 1);
        if (order != 0)
            return order;
    }
}

static int compare_maps(const blaze_value *a, const blaze_value *b, size_t depth)
{
    struct bz_sorted sa, sb;
    if (bz_sorted_init(&sa, a) != 0 || bz_sorted_init(&sb, b) != 0)
        return 0;
    for (;;) {
        blaze_value va, vb;
        struct bz_bytes na, nb;
        bool more_a = bz_sorted_next(&sa, &na, &va) == 0;
        bool more_b = bz_sorted_next(&sb, &nb, &vb) == 0;
        if (!more_a || !more_b)
            return more_a - more_b;
        int order = bz_bytes_compare(na, nb);
        if (order == 0)
            order = compare(&va, &vb, depth + 1);
        if (order != 0)
            return order;
    }
}

static int compare(const blaze_value *a, const blaze_value *b, size_t depth)
{
    int order = a->type == b->type ? 0 : class_of(a->type) - class_of(b->type);
    if (order != 0 || depth > BLAZE_MAX_NESTING)
        return order;
    switch (a->type) {
    case BLAZE_BOOL:
        return a->as.boolean - b->as.boolean;
    case BLAZE_INT:
    case BLAZE_DOUBLE:
        return compare_numbers(a, b);
    case BLAZE_TIMESTAMP:
        return compare_ints(a->as.timestamp, b->as.timestamp);
    case BLAZE_STRING:
    case BLAZE_BYTES:
        return bz_bytes_compare(text_bytes(a), text_bytes(b));
    case BLAZE_UUID:
        return memcmp(a->as.uuid.bytes, b->as.uuid.bytes, sizeof a->as.uuid.bytes);
    case BLAZE_ARRAY:
        return compare_arrays(a, b, depth);
    case BLAZE_MAP:
        return compare_maps(a, b, depth);
    default:
        return 0;
    }
}

int blaze_value_compare(const blaze_value *a, const blaze_value *b)
{
    return compare(a, b, 1);
}

/* ---- maps by name ---- */

int bz_sorted_init(struct bz_sorted *s, const blaze_value *map)
{
    s->map = map;
    s->last = bz_bytes(NULL, 0);
    return bz_cursor_init(&s->cursor, bz_nested_bytes(map));
}

/* The field with the least name past the last one. */
static int next_by_name(struct bz_sorted *s, struct bz_bytes *name, struct bz_field *out)
{
    struct bz_cursor c = s->cursor;
    struct bz_field field;
    bool found = false;
    while (bz_cursor_next(&c, true, &field) == 0) {
        struct bz_bytes text = bz_field_name(&field, s->map->as.nested.names);
        if (text.data == NULL || bz_bytes_compare(text, s->last) <= 0)
            continue;
        if (!found || bz_bytes_compare(text, *name) < 0) {
            *name = text;
            *out = field;
            found = true;
        }
    }
    return found ? 0 : BLAZE_END;
}

int bz_sorted_next(struct bz_sorted *s, struct bz_bytes *name, blaze_value *out)
{
    struct bz_field field = {0};
    int rc;
    if (s->map->as.nested.names == NULL) { /* all names are text, and in order */
        rc = bz_cursor_next(&s->cursor, true, &field);
        *name = bz_field_name(&field, NULL);
    } else {
        rc = next_by_name(s, name, &field);
        s->last = *name;
    }
    if (rc == 0)
        bz_field_value(&field, s->map->as.nested.names, out);
    return rc;
}

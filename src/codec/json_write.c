/* SPDX-License-Identifier: Apache-2.0 */
/* JSON out. Nothing here depends on the locale. */
#include "base/alloc.h"
#include "base/buf.h"
#include "base/text.h"
#include "codec/date.h"
#include "codec/doc.h"
#include "codec/json_priv.h"
#include "codec/number_priv.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MEMBERS_FEW 16 /* a map of so many needs no memory to be put in order */

struct writing {
    struct bz_buf out;
    bool pretty;
    size_t depth;
};

static int put_value(struct writing *w, const blaze_value *value);

static void put(struct writing *w, const char *text)
{
    bz_buf_append(&w->out, text, strlen(text));
}

static void put_string(struct writing *w, struct bz_bytes text)
{
    static const char short_escapes[] = "btnvfr"; /* of 8 to 13; there is none of 11 */
    size_t from = 0;
    bz_buf_append8(&w->out, '"');
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        bz_buf_append(&w->out, text.data + from, i - from);
        from = i + 1;
        if (c >= 0x20)
            bz_buf_printf(&w->out, "\\%c", c);
        else if (c >= 8 && c <= 13 && c != 11)
            bz_buf_printf(&w->out, "\\%c", short_escapes[c - 8]);
        else
            bz_buf_printf(&w->out, "\\u%04x", c);
    }
    if (from < text.size)
        bz_buf_append(&w->out, text.data + from, text.size - from);
    bz_buf_append8(&w->out, '"');
}

/* m / 10^scale, with all `scale` digits after the point and at least one before it. */
static void put_decimal(struct writing *w, int64_t m, unsigned scale)
{
    char digits[24];
    char *p = digits + sizeof digits;
    uint64_t left = m < 0 ? 0 - (uint64_t)m : (uint64_t)m;
    for (unsigned used = 0; left > 0 || used <= scale; used++) {
        if (scale > 0 && used == scale)
            *--p = '.';
        *--p = (char)('0' + left % 10);
        left /= 10;
    }
    if (m < 0)
        *--p = '-';
    bz_buf_append(&w->out, p, (size_t)(digits + sizeof digits - p));
}

/* The fewest digits that give the same double again. The decimal point of printf() may be another
 * character, or several. */
static void put_long_double(struct writing *w, double number)
{
    char text[48];
    /* Fifteen digits always survive, in full precision; %g drops the zeros that they end in. */
    for (int precision = fabs(number) < DBL_MIN ? 1 : 15; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, number);
        if (strtod(text, NULL) == number)
            break;
    }
    bool real = false;
    for (const char *p = text; *p != '\0'; p++) {
        if (strchr("0123456789+-eE", *p) != NULL) {
            real |= *p == 'e';
            bz_buf_append8(&w->out, (uint8_t)*p);
        } else if (!real) {
            real = true;
            bz_buf_append8(&w->out, '.');
        }
    }
    if (!real)
        put(w, ".0");
}

static int put_double(struct writing *w, double number)
{
    int64_t packed;
    if (!isfinite(number))
        return BLAZE_ERANGE;
    if (!bz_decimal_pack(number, &packed)) {
        put_long_double(w, number);
        return 0;
    }
    put_decimal(w, packed >> 4, (unsigned)(packed & 15));
    if ((packed & 15) == 0)
        put(w, ".0");
    return 0;
}

/* An object of one member: {"NAME":TEXT}. */
static void open_form(struct writing *w, const char *name)
{
    put(w, "{\"");
    put(w, name);
    put(w, w->pretty ? "\": " : "\":");
}

static void put_bytes(struct writing *w, struct bz_bytes bytes)
{
    open_form(w, "$bytes");
    put(w, "\"");
    bz_base64_append(&w->out, bytes, false);
    put(w, "\"}");
}

static void put_date(struct writing *w, int64_t ms)
{
    char text[BZ_DATE_SIZE];
    open_form(w, "$date");
    if (bz_date_format(ms, text)) {
        put_string(w, bz_bytes_text(text));
    } else {
        put_decimal(w, ms, 0);
    }
    put(w, "}");
}

static void put_uuid(struct writing *w, const blaze_id *id)
{
    char text[BLAZE_ID_TEXT_SIZE];
    open_form(w, "$uuid");
    bz_buf_printf(&w->out, "\"%s\"}", blaze_id_format(id, text));
}

static void new_line(struct writing *w)
{
    if (!w->pretty)
        return;
    put(w, "\n");
    for (size_t i = 0; i < w->depth; i++)
        put(w, "  ");
}

static void put_name(struct writing *w, struct bz_bytes name, bool single)
{
    if (single && bz_json_form(name) != BZ_JSON_PLAIN) {
        /* It would read as something else: see json_priv.h. */
        put(w, "\"$");
        bz_buf_append(&w->out, name.data, name.size);
        put(w, "\"");
    } else {
        put_string(w, name);
    }
    put(w, w->pretty ? ": " : ":");
}

static int put_array(struct writing *w, const blaze_value *array)
{
    blaze_iter iter;
    blaze_value item;
    size_t count = 0;
    int rc = blaze_iter_init(&iter, array);
    while (rc == 0 && (rc = blaze_iter_next(&iter, NULL, &item)) == 0) {
        if (count++ > 0)
            put(w, ",");
        new_line(w);
        rc = put_value(w, &item);
    }
    return rc == BLAZE_END ? 0 : rc;
}

struct member {
    blaze_text name;
    blaze_value value;
};

static int compare_members(const void *a, const void *b)
{
    const blaze_text *x = &((const struct member *)a)->name, *y = &((const struct member *)b)->name;
    return bz_bytes_compare(bz_bytes(x->data, x->size), bz_bytes(y->data, y->size));
}

/* The members come by name, so that equal documents of different databases, where the same fields
 * have different ids, look the same. */
static int put_map(struct writing *w, const blaze_value *map)
{
    struct member few[MEMBERS_FEW], *members = few;
    size_t count = blaze_value_count(map), at = 0;
    blaze_iter iter;
    if (count > MEMBERS_FEW && (members = bz_malloc(count * sizeof *members)) == NULL)
        return BLAZE_ENOMEM;
    int rc = blaze_iter_init(&iter, map);
    while (rc == 0 && at < count)
        if ((rc = blaze_iter_next(&iter, &members[at].name, &members[at].value)) == 0)
            at++;
    if (rc == 0)
        qsort(members, count, sizeof *members, compare_members);
    for (size_t i = 0; i < count && rc == 0; i++) {
        if (i > 0)
            put(w, ",");
        new_line(w);
        put_name(w, bz_bytes(members[i].name.data, members[i].name.size), count == 1);
        rc = put_value(w, &members[i].value);
    }
    if (members != few)
        bz_free(members);
    return rc == BLAZE_END ? BLAZE_ECORRUPT : rc;
}

static int put_container(struct writing *w, const blaze_value *value)
{
    if (w->depth >= BLAZE_MAX_NESTING)
        return BLAZE_ECORRUPT;
    bool map = value->type == BLAZE_MAP;
    put(w, map ? "{" : "[");
    w->depth++;
    int rc = map ? put_map(w, value) : put_array(w, value);
    w->depth--;
    if (blaze_value_count(value) > 0)
        new_line(w);
    put(w, map ? "}" : "]");
    return rc;
}

static int put_value(struct writing *w, const blaze_value *value)
{
    switch (value->type) {
    case BLAZE_NULL:
        put(w, "null");
        break;
    case BLAZE_BOOL:
        put(w, value->as.boolean ? "true" : "false");
        break;
    case BLAZE_INT:
        put_decimal(w, value->as.integer, 0);
        break;
    case BLAZE_DOUBLE:
        return put_double(w, value->as.number);
    case BLAZE_STRING:
        put_string(w, bz_bytes(value->as.text.data, value->as.text.size));
        break;
    case BLAZE_BYTES:
        put_bytes(w, bz_bytes(value->as.text.data, value->as.text.size));
        break;
    case BLAZE_TIMESTAMP:
        put_date(w, value->as.timestamp);
        break;
    case BLAZE_UUID:
        put_uuid(w, &value->as.uuid);
        break;
    case BLAZE_ARRAY:
    case BLAZE_MAP:
        return put_container(w, value);
    default:
        open_form(w, "$unset");
        put(w, "true}");
        break;
    }
    return w->out.error;
}

int blaze_value_to_json(char **out, const blaze_value *value, bool pretty)
{
    struct writing w = {.pretty = pretty};
    bz_buf_init(&w.out, SIZE_MAX);
    int rc = put_value(&w, value);
    bz_buf_append8(&w.out, '\0');
    if (rc == 0)
        rc = w.out.error;
    if (rc != 0) {
        bz_buf_release(&w.out);
        return rc;
    }
    *out = (char *)w.out.data;
    return 0;
}

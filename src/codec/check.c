/* SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"
#include "codec/doc.h"
#include "codec/layout_priv.h"
#include "codec/number_priv.h"

#include <math.h>

static int check_container(struct bz_bytes container, bool map, uint32_t names, size_t depth);

bool bz_name_valid(struct bz_bytes name)
{
    return name.size > 0 && name.size <= BLAZE_MAX_NAME && bz_utf8_valid(name) &&
           memchr(name.data, 0, name.size) == NULL;
}

/* A raw double is finite and no decimal. */
static bool raw_is_canonical(const uint8_t *p)
{
    uint64_t bits = bz_load64le(p);
    double number;
    int64_t packed;
    memcpy(&number, &bits, sizeof number);
    return isfinite(number) && !bz_decimal_pack(number, &packed);
}

static bool decimal_is_canonical(int64_t packed)
{
    int64_t again;
    return bz_decimal_pack(bz_decimal_unpack(packed), &again) && again == packed;
}

static int check_payload(const struct bz_field *f, uint32_t names, size_t depth)
{
    bool canonical = true;
    switch (f->tag >> 4) {
    case BLAZE_INT:
    case BLAZE_TIMESTAMP:
        canonical = bz_int_size(bz_int_load(f->data, f->size, f->readable)) == f->size;
        break;
    case BZ_NIBBLE_DECIMAL: {
        int64_t packed = bz_int_load(f->data, f->size, f->readable);
        canonical = bz_int_size(packed) == f->size && decimal_is_canonical(packed);
        break;
    }
    case BLAZE_DOUBLE:
        canonical = raw_is_canonical(f->data);
        break;
    case BLAZE_STRING:
        canonical = bz_utf8_valid(bz_bytes(f->data, f->size));
        break;
    case BLAZE_ARRAY:
    case BLAZE_MAP:
        return check_container(
            bz_bytes(f->data, f->size), f->tag >> 4 == BLAZE_MAP, names, depth + 1);
    case BZ_NIBBLE_UNSET:
        canonical = false;
        break;
    default:
        break;
    }
    return canonical ? 0 : BLAZE_ECORRUPT;
}

/* What the keys of a map so far say about the next. */
struct keys_seen {
    struct bz_bytes name; /* the last, if any */
    uint64_t next_id;
    unsigned length; /* of the run of ids */
    unsigned left;   /* of it, to come */
};

/* A new run begins only past a gap or after a full one. */
static bool id_is_canonical(struct keys_seen *seen, uint32_t id, unsigned left)
{
    bool goes_on = seen->left > 0;
    if (!goes_on && id == seen->next_id && seen->length > 0 && seen->length < BZ_RUN_MAX)
        return false;
    seen->length = goes_on ? seen->length + 1 : 1;
    seen->next_id = (uint64_t)id + 1;
    seen->left = left;
    return true;
}

/* Ids ascend by their encoding; names must, after all ids. */
static bool key_is_canonical(
    struct keys_seen *seen, const struct bz_field *f, unsigned left, uint32_t names)
{
    if (f->name == NULL)
        return f->key < names && seen->name.data == NULL && id_is_canonical(seen, f->key, left);
    struct bz_bytes name = bz_bytes(f->name, f->key);
    if (!bz_name_valid(name) ||
        (seen->name.data != NULL && bz_bytes_compare(seen->name, name) >= 0))
        return false;
    seen->name = name;
    return true;
}

static int check_container(struct bz_bytes container, bool map, uint32_t names, size_t depth)
{
    struct bz_cursor c;
    struct bz_field field;
    struct keys_seen seen = {.length = 0};
    size_t count = 0;
    if (depth > BLAZE_MAX_NESTING)
        return BLAZE_ELIMIT;
    int rc = bz_cursor_init(&c, container);
    while (rc == 0 && (rc = bz_cursor_next(&c, map, &field)) == 0) {
        if (map && ++count > BLAZE_MAX_FIELDS)
            return BLAZE_ELIMIT;
        if (map && !key_is_canonical(&seen, &field, c.run, names))
            return BLAZE_ECORRUPT;
        rc = check_payload(&field, names, depth);
    }
    if (rc != BLAZE_END)
        return rc;
    return c.data == c.end && c.run == 0 ? 0 : BLAZE_ECORRUPT;
}

int bz_doc_check(struct bz_bytes doc, uint32_t names)
{
    if (doc.size > BZ_DOC_MAX)
        return BLAZE_ELIMIT;
    return check_container(doc, true, names, 1);
}

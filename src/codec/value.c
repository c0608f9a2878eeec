/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"
#include "codec/doc.h"
#include "codec/layout_priv.h"
#include "codec/number_priv.h"

#define L BZ_TAG_SIZE_LONG
#define X BZ_TAG_SIZE_BAD

/* clang-format off */
const uint8_t bz_tag_size[256] = {
    /* null      */ 0, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    /* bool      */ 0, 0, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    /* int       */ 0, 1, 2, 3, 4, 5, 6, 7, 8, X, X, X, X, X, X, X,
    /* double    */ X, X, X, X, X, X, X, X, 8, X, X, X, X, X, X, X,
    /* string    */ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, L,
    /* bytes     */ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, L,
    /* timestamp */ 0, 1, 2, 3, 4, 5, 6, 7, 8, X, X, X, X, X, X, X,
    /* uuid      */ 16, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    /* array     */ X, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, L,
    /* map       */ X, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, L,
    /* decimal   */ 0, 1, 2, 3, 4, 5, 6, 7, X, X, X, X, X, X, X, X,
    /* 11        */ X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    /* 12        */ X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    /* 13        */ X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    /* 14        */ X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    /* unset     */ 0, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
};
/* clang-format on */

#undef L
#undef X

static double load_double(const uint8_t *p)
{
    uint64_t bits = bz_load64le(p);
    double number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

/* Inlined into the iterator, where every branch counts. */
static inline void decode(
    const struct bz_field *field, const struct blaze_names *names, blaze_value *out)
{
    unsigned nibble = field->tag >> 4;
    out->type = (blaze_type)nibble;
    switch (nibble) {
    case BLAZE_BOOL:
        out->as.boolean = field->tag & 1;
        break;
    case BLAZE_INT:
    case BLAZE_TIMESTAMP:
        out->as.integer = bz_int_load(field->data, field->size, field->readable);
        break;
    case BLAZE_DOUBLE:
        out->as.number = load_double(field->data);
        break;
    case BZ_NIBBLE_DECIMAL:
        out->type = BLAZE_DOUBLE;
        out->as.number = bz_decimal_unpack(bz_int_load(field->data, field->size, field->readable));
        break;
    case BLAZE_STRING:
    case BLAZE_BYTES:
        out->as.text.data = (const char *)field->data;
        out->as.text.size = field->size;
        break;
    case BLAZE_UUID:
        memcpy(out->as.uuid.bytes, field->data, sizeof out->as.uuid.bytes);
        break;
    case BLAZE_ARRAY:
    case BLAZE_MAP:
        out->as.nested.data = field->data;
        out->as.nested.size = field->size;
        out->as.nested.names = names;
        break;
    default: /* null and unset have no payload */
        break;
    }
}

void bz_field_value(const struct bz_field *field, const struct blaze_names *names, blaze_value *out)
{
    decode(field, names, out);
}

struct bz_bytes bz_field_name(const struct bz_field *field, const struct blaze_names *names)
{
    if (field->name != NULL)
        return bz_bytes(field->name, field->key);
    return names == NULL ? bz_bytes(NULL, 0) : bz_names_get(names, field->key);
}

size_t bz_container_count(struct bz_bytes container, bool map)
{
    struct bz_cursor c;
    struct bz_field field;
    size_t count = 0;
    if (bz_cursor_init(&c, container) != 0)
        return 0;
    while (bz_cursor_next(&c, map, &field) == 0)
        count++;
    return count;
}

/* Passes over `count` entries without keys: tags, one after the other but for the sizes of long
 * payloads. */
static inline bool pass_over(struct bz_cursor *c, unsigned count)
{
    struct bz_reader *r = &c->directory;
    uint64_t passed = 0;
    for (; count > 0 && r->p < r->end; count--) {
        uint64_t size = bz_tag_size[*r->p++];
        if (size > 16) {
            if (size == BZ_TAG_SIZE_BAD)
                return false;
            size = BZ_SIZE_LONG + (bz_cursor_varint(r) & UINT32_MAX);
        }
        passed += size;
    }
    if (count > 0 || !r->ok || passed > (uint64_t)(c->end - c->data))
        return false;
    c->data += passed;
    return true;
}

/* The field with an id. Passing over a field costs little more than its tag, so that this is how to
 * get at one field. */
static inline int find_id(struct bz_bytes map, uint32_t id, struct bz_field *out)
{
    struct bz_cursor c;
    int rc = bz_cursor_init(&c, map);
    if (rc != 0)
        return rc;
    while (c.directory.p < c.directory.end) {
        uint64_t key = bz_cursor_varint(&c.directory);
        uint64_t first = c.next_id + (key >> 4);
        unsigned run = ((unsigned)(key >> 1) & (BZ_RUN_MAX - 1)) + 1;
        if (!c.directory.ok)
            return BLAZE_ECORRUPT;
        if ((key & 1) != 0 || first > id)
            return BLAZE_ENOTFOUND;
        bool here = id - first < run;
        if (!pass_over(&c, here ? (unsigned)(id - first) : run))
            return BLAZE_ECORRUPT;
        if (here) {
            out->name = NULL;
            out->key = id;
            return bz_cursor_payload(&c, out);
        }
        c.next_id = first + run;
    }
    return BLAZE_ENOTFOUND;
}

int bz_doc_field(
    struct bz_bytes doc, const struct blaze_names *names, uint32_t id, blaze_value *out)
{
    struct bz_field field;
    int rc = find_id(doc, id, &field);
    if (rc == 0)
        decode(&field, names, out);
    return rc;
}

/* The field whose name stands in the map as text. */
static int find_text(const blaze_value *map, struct bz_bytes wanted, struct bz_field *out)
{
    struct bz_cursor c;
    int rc = bz_cursor_init(&c, bz_nested_bytes(map));
    while (rc == 0 && (rc = bz_cursor_next(&c, true, out)) == 0) {
        if (out->name != NULL && bz_bytes_equal(bz_bytes(out->name, out->key), wanted))
            return 0;
    }
    return rc == BLAZE_END ? BLAZE_ENOTFOUND : rc;
}

int bz_value_field(const blaze_value *map, struct bz_bytes wanted, blaze_value *out)
{
    if (map->type != BLAZE_MAP)
        return BLAZE_ETYPE;
    const struct blaze_names *names = map->as.nested.names;
    struct bz_field field;
    uint32_t id = 0;
    int rc = BLAZE_ENOTFOUND;
    if (names != NULL && bz_names_find(names, wanted, &id) == 0)
        rc = bz_doc_field(bz_nested_bytes(map), names, id, out);
    if (rc != BLAZE_ENOTFOUND)
        return rc;
    rc = find_text(map, wanted, &field);
    if (rc == 0)
        decode(&field, names, out);
    return rc;
}

int blaze_value_field(const blaze_value *map, const char *name, blaze_value *out)
{
    return bz_value_field(map, bz_bytes_text(name), out);
}

int blaze_value_element(const blaze_value *array, size_t index, blaze_value *out)
{
    if (array->type != BLAZE_ARRAY)
        return BLAZE_ETYPE;
    struct bz_cursor c;
    struct bz_field field;
    int rc = bz_cursor_init(&c, bz_nested_bytes(array));
    for (size_t i = 0; rc == 0 && (rc = bz_cursor_next(&c, false, &field)) == 0; i++) {
        if (i == index) {
            decode(&field, array->as.nested.names, out);
            return 0;
        }
    }
    return rc == BLAZE_END ? BLAZE_ENOTFOUND : rc;
}

size_t blaze_value_count(const blaze_value *container)
{
    if (container->type != BLAZE_MAP && container->type != BLAZE_ARRAY)
        return 0;
    return bz_container_count(bz_nested_bytes(container), container->type == BLAZE_MAP);
}

int blaze_iter_init(blaze_iter *iter, const blaze_value *container)
{
    if (container->type != BLAZE_MAP && container->type != BLAZE_ARRAY)
        return BLAZE_ETYPE;
    struct bz_cursor c;
    int rc = bz_cursor_init(&c, bz_nested_bytes(container));
    if (rc != 0)
        return rc;
    iter->container = *container;
    iter->left = bz_reader_left(&c.directory);
    iter->entry = c.directory.p;
    iter->data = c.data;
    iter->key = 0;
    return 0;
}

int blaze_iter_next(blaze_iter *iter, blaze_text *name, blaze_value *out)
{
    const blaze_value *container = &iter->container;
    struct bz_cursor c = {
        .directory = {iter->entry, iter->entry + iter->left, true},
        .data = iter->data,
        .end = container->as.nested.data + container->as.nested.size,
        .next_id = iter->key & UINT32_MAX,
        .run = (unsigned)(iter->key >> 32),
    };
    struct bz_field field;
    int rc = bz_cursor_next(&c, container->type == BLAZE_MAP, &field);
    if (rc != 0)
        return rc;
    iter->left = bz_reader_left(&c.directory);
    iter->entry = c.directory.p;
    iter->data = c.data;
    iter->key = c.next_id | (uint64_t)c.run << 32;
    if (name != NULL) {
        struct bz_bytes text = {NULL, 0};
        if (container->type == BLAZE_MAP)
            text = bz_field_name(&field, container->as.nested.names);
        name->data = (const char *)text.data;
        name->size = text.size;
    }
    decode(&field, container->as.nested.names, out);
    return 0;
}

void blaze_free(void *memory)
{
    bz_free(memory);
}

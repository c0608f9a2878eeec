/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same document with other keys: names become ids, or ids other ids. Scalars, and arrays of
 * nothing but scalars, are taken over as they lie; only containers that hold keys are written anew,
 * from the inside out, in an arena that a flat document never touches.
 */
#include "codec/doc.h"
#include "codec/encode_priv.h"

struct recoding {
    struct bz_arena arena;
    size_t max;                      /* bytes of the result */
    const struct blaze_names *names; /* what the source's ids mean; may be NULL */
    /* Gives the part its new key. */
    int (*rekey)(struct recoding *r, const struct bz_field *field, bool top, struct bz_part *part);
    struct blaze_names *target;                 /* interning */
    int64_t (*map)(void *context, uint32_t id); /* renaming */
    void *context;
};

static int recode_parts(struct recoding *r, struct bz_bytes container, bool map, size_t depth,
    struct bz_part *parts, size_t room, size_t *count);

static bool holds_containers(struct bz_bytes container, bool map)
{
    struct bz_cursor c;
    struct bz_field field;
    if (bz_cursor_init(&c, container) != 0)
        return false;
    while (bz_cursor_next(&c, map, &field) == 0) {
        if (bz_tag_is_container(field.tag))
            return true;
    }
    return false;
}

static int recode_nested(
    struct recoding *r, const struct bz_field *field, size_t depth, struct bz_part *part)
{
    bool map = field->tag >> 4 == BLAZE_MAP;
    struct bz_bytes container = bz_bytes(field->data, field->size);
    if (!map && !holds_containers(container, false))
        return 0;
    if (depth >= BLAZE_MAX_NESTING)
        return BLAZE_ECORRUPT;
    size_t room = bz_container_count(container, map);
    size_t count;
    struct bz_part *parts = bz_arena_alloc(&r->arena, room * sizeof *parts);
    if (parts == NULL)
        return BLAZE_ENOMEM;
    int rc = recode_parts(r, container, map, depth + 1, parts, room, &count);
    return rc != 0 ? rc : bz_parts_nest(&r->arena, part, parts, count, map);
}

/* One field or element of a container at `depth`, with its new key, if it has any, and new contents
 * where those have keys. */
static int recode_field(
    struct recoding *r, const struct bz_field *field, bool map, size_t depth, struct bz_part *part)
{
    part->name = NULL;
    part->key = 0;
    part->tag = field->tag;
    part->size = (uint32_t)field->size;
    part->data = field->data;
    int rc = map ? r->rekey(r, field, depth == 1, part) : 0;
    if (rc == 0 && bz_tag_is_container(field->tag))
        rc = recode_nested(r, field, depth, part);
    return rc;
}

static int recode_parts(struct recoding *r, struct bz_bytes container, bool map, size_t depth,
    struct bz_part *parts, size_t room, size_t *count)
{
    struct bz_cursor c;
    struct bz_field field;
    size_t n = 0;
    int rc = bz_cursor_init(&c, container);
    while (rc == 0 && (rc = bz_cursor_next(&c, map, &field)) == 0) {
        if (n == room)
            return BLAZE_ECORRUPT;
        rc = recode_field(r, &field, map, depth, &parts[n++]);
    }
    if (rc != BLAZE_END)
        return rc;
    rc = map ? bz_parts_sort(parts, n) : 0;
    *count = n;
    return rc == BLAZE_EEXIST ? BLAZE_ECORRUPT : rc;
}

static int recode(struct recoding *r, struct bz_bytes doc, struct bz_buf *out)
{
    struct bz_part flat[BZ_FLAT_PARTS];
    struct bz_part *parts = flat;
    bz_arena_init(&r->arena);
    size_t room = bz_container_count(doc, true);
    size_t count;
    int rc = room > BLAZE_MAX_FIELDS ? BLAZE_ELIMIT : 0;
    if (rc == 0 && room > BZ_FLAT_PARTS) {
        parts = bz_arena_alloc(&r->arena, room * sizeof *parts);
        rc = parts == NULL ? BLAZE_ENOMEM : 0;
    }
    if (rc == 0)
        rc = recode_parts(r, doc, true, 1, parts, room, &count);
    if (rc == 0)
        rc = bz_parts_append(out, parts, count, r->max);
    bz_arena_release(&r->arena);
    return rc;
}

/* A nested name is an id only below BZ_NAMES_NESTED_MAX, so that the rule does not depend on what
 * came first. */
static int intern_key(
    struct recoding *r, const struct bz_field *field, bool top, struct bz_part *part)
{
    struct bz_bytes name = bz_field_name(field, r->names);
    if (name.data == NULL || name.size == 0)
        return BLAZE_ECORRUPT;
    uint32_t id;
    int rc = BLAZE_ENOTFOUND;
    if (top || bz_names_count(r->target) < BZ_NAMES_NESTED_MAX)
        rc = bz_names_add(r->target, name, &id);
    else
        rc = bz_names_find(r->target, name, &id);
    if (rc == BLAZE_ENOMEM)
        return rc;
    if (rc == 0 && (top || id < BZ_NAMES_NESTED_MAX)) {
        part->key = id;
        return 0;
    }
    part->name = name.data;
    part->key = (uint32_t)name.size;
    return 0;
}

int bz_doc_intern(struct bz_buf *out, const blaze_value *value, struct blaze_names *names)
{
    if (value->type != BLAZE_MAP)
        return BLAZE_ETYPE;
    struct recoding r = {
        .max = BZ_DOC_WRITTEN_MAX,
        .names = value->as.nested.names,
        .rekey = intern_key,
        .target = names,
    };
    return recode(&r, bz_nested_bytes(value), out);
}

int bz_parts_intern(
    struct bz_buf *out, const struct bz_part *parts, size_t count, struct blaze_names *names)
{
    struct recoding r = {.max = BZ_DOC_WRITTEN_MAX, .rekey = intern_key, .target = names};
    struct bz_part flat[BZ_FLAT_PARTS];
    bz_arena_init(&r.arena);
    struct bz_part *interned =
        count <= BZ_FLAT_PARTS ? flat : bz_arena_alloc(&r.arena, count * sizeof *interned);
    int rc = interned == NULL ? BLAZE_ENOMEM : 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const struct bz_part *part = &parts[i];
        struct bz_field field = {.name = part->name,
            .key = part->key,
            .tag = part->tag,
            .data = part->data,
            .size = part->size};
        memcpy(interned[i].small, part->small, sizeof part->small);
        rc = recode_field(&r, &field, true, 1, &interned[i]);
    }
    if (rc == 0)
        rc = bz_parts_append(out, interned, count, r.max);
    bz_arena_release(&r.arena);
    return rc;
}

static int rename_key(
    struct recoding *r, const struct bz_field *field, bool top, struct bz_part *part)
{
    (void)top;
    if (field->name != NULL) {
        part->name = field->name;
        part->key = field->key;
        return 0;
    }
    int64_t id = r->map(r->context, field->key);
    if (id < 0)
        return (int)id;
    if (id > UINT32_MAX)
        return BLAZE_ELIMIT;
    part->key = (uint32_t)id;
    return 0;
}

int bz_doc_rename(struct bz_buf *out, struct bz_bytes doc,
    int64_t (*map)(void *context, uint32_t id), void *context)
{
    struct recoding r = {.max = BZ_DOC_MAX, .rekey = rename_key, .map = map, .context = context};
    return recode(&r, doc, out);
}

static int each_name(struct bz_bytes container, bool map, size_t depth,
    int (*each)(void *context, uint32_t id), void *context)
{
    struct bz_cursor c;
    struct bz_field field;
    int rc = depth > BLAZE_MAX_NESTING ? BLAZE_ECORRUPT : bz_cursor_init(&c, container);
    while (rc == 0 && (rc = bz_cursor_next(&c, map, &field)) == 0) {
        if (map && field.name == NULL)
            rc = each(context, field.key);
        if (rc == 0 && bz_tag_is_container(field.tag))
            rc = each_name(bz_bytes(field.data, field.size), field.tag >> 4 == BLAZE_MAP, depth + 1,
                each, context);
    }
    return rc == BLAZE_END ? 0 : rc;
}

int bz_doc_each_name(struct bz_bytes doc, int (*each)(void *context, uint32_t id), void *context)
{
    return each_name(doc, true, 1, each, context);
}

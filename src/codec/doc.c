/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/doc.h"

#include "base/alloc.h"
#include "codec/encode_priv.h"

void bz_doc_value(struct bz_bytes doc, const struct blaze_names *names, blaze_value *out)
{
    *out = (blaze_value){.type = BLAZE_MAP, .as.nested = {doc.data, doc.size, names}};
}

void bz_doc_iter_init(struct bz_doc_iter *it, struct bz_bytes doc, const struct blaze_names *names)
{
    struct bz_cursor c;
    if (bz_cursor_init(&c, doc) != 0)
        c = (struct bz_cursor){.directory = bz_reader(bz_bytes(NULL, 0))}; /* nothing left */
    *it = (struct bz_doc_iter){names, c.directory, c.data, c.end, c.next_id, c.run};
}

static inline int next_field(struct bz_doc_iter *it, struct bz_field *out)
{
    struct bz_cursor c = {it->directory, it->data, it->end, it->next_id, it->run};
    int rc = bz_cursor_next(&c, true, out);
    if (rc != 0)
        return rc;
    if (out->name != NULL)
        return BLAZE_END; /* ids come first */
    it->directory = c.directory;
    it->data = c.data;
    it->next_id = c.next_id;
    it->run = c.run;
    return 0;
}

int bz_doc_iter_raw(struct bz_doc_iter *it, struct bz_raw_field *out)
{
    struct bz_field field;
    int rc = next_field(it, &field);
    if (rc == 0)
        *out = (struct bz_raw_field){field.key, field.tag, bz_bytes(field.data, field.size)};
    return rc;
}

int bz_doc_iter_next(struct bz_doc_iter *it, uint32_t *id, blaze_value *out)
{
    struct bz_field field;
    int rc = next_field(it, &field);
    if (rc == 0) {
        *id = field.key;
        bz_field_value(&field, it->names, out);
    }
    return rc;
}

void bz_raw_value(
    const struct bz_raw_field *field, const struct blaze_names *names, blaze_value *out)
{
    bz_field_value(&(struct bz_field){.key = field->id,
                       .tag = field->tag,
                       .data = field->payload.data,
                       .size = field->payload.size,
                       .readable = field->payload.size},
        names, out);
}

static struct bz_part part_of_raw(const struct bz_raw_field *field)
{
    return (struct bz_part){.key = field->id,
        .tag = field->tag,
        .data = field->payload.data,
        .size = (uint32_t)field->payload.size};
}

int bz_doc_select(struct bz_arena *arena, struct bz_bytes doc,
    bool (*keep)(void *context, const struct bz_raw_field *field), void *context,
    struct bz_bytes *out, size_t *kept)
{
    struct bz_doc_iter it;
    struct bz_raw_field field;
    struct bz_part flat[BZ_FLAT_PARTS], nested;
    bz_doc_iter_init(&it, doc, NULL);
    size_t most = bz_reader_left(&it.directory); /* an entry has at least a tag */
    struct bz_part *parts =
        most <= BZ_FLAT_PARTS ? flat : bz_arena_alloc(arena, most * sizeof *parts);
    if (parts == NULL)
        return BLAZE_ENOMEM;
    size_t count = 0, all = 0;
    int rc;
    for (; (rc = bz_doc_iter_raw(&it, &field)) == 0; all++) {
        if (keep(context, &field))
            parts[count++] = part_of_raw(&field);
    }
    if (rc != BLAZE_END)
        return rc;
    rc = 0;
    nested = (struct bz_part){.data = doc.data, .size = (uint32_t)doc.size};
    if (count < all)
        rc = bz_parts_nest(arena, &nested, parts, count, true);
    if (rc != 0)
        return rc;
    *out = bz_bytes(nested.data, nested.size);
    if (kept != NULL)
        *kept = count;
    return 0;
}

/* ---- the writer ---- */

struct bz_doc_writer {
    struct bz_part *parts; /* `flat`, or more that are its own */
    size_t count;
    size_t capacity;
    uint32_t greatest; /* of the ids */
    struct bz_part flat[16];
};

int bz_doc_writer_new(struct bz_doc_writer **out)
{
    struct bz_doc_writer *w = bz_malloc(sizeof *w);
    if (w == NULL)
        return BLAZE_ENOMEM;
    w->parts = w->flat;
    w->capacity = sizeof w->flat / sizeof w->flat[0];
    bz_doc_writer_clear(w);
    *out = w;
    return 0;
}

void bz_doc_writer_free(struct bz_doc_writer *w)
{
    if (w != NULL && w->parts != w->flat)
        bz_free(w->parts);
    bz_free(w);
}

void bz_doc_writer_clear(struct bz_doc_writer *w)
{
    w->count = 0;
    w->greatest = 0;
}

static int grow(struct bz_doc_writer *w)
{
    bool is_flat = w->parts == w->flat;
    struct bz_part *parts = bz_realloc(is_flat ? NULL : w->parts, w->capacity * 2 * sizeof *parts);
    if (parts == NULL)
        return BLAZE_ENOMEM;
    if (is_flat)
        memcpy(parts, w->flat, sizeof w->flat);
    w->parts = parts;
    w->capacity *= 2;
    return 0;
}

/* The part of an id, new or the one to replace; NULL when out of memory. Callers mostly add in
 * ascending order, which costs no search. */
static struct bz_part *part_of(struct bz_doc_writer *w, uint32_t id)
{
    for (size_t i = id <= w->greatest ? w->count : 0; i > 0; i--) {
        if (w->parts[i - 1].key == id)
            return &w->parts[i - 1];
    }
    if (w->count == w->capacity && grow(w) != 0)
        return NULL;
    if (id > w->greatest)
        w->greatest = id;
    return &w->parts[w->count++];
}

int bz_doc_writer_add(struct bz_doc_writer *w, uint32_t id, const blaze_value *value)
{
    struct bz_part *part = part_of(w, id);
    if (part == NULL)
        return BLAZE_ENOMEM;
    *part = (struct bz_part){.key = id};
    bz_part_value(part, value);
    return 0;
}

int bz_doc_writer_add_raw(struct bz_doc_writer *w, const struct bz_raw_field *field)
{
    struct bz_part *part = part_of(w, field->id);
    if (part == NULL)
        return BLAZE_ENOMEM;
    *part = part_of_raw(field);
    return 0;
}

int bz_doc_writer_finish(struct bz_doc_writer *w, struct bz_buf *out)
{
    int rc = bz_parts_append(out, w->parts, w->count, BZ_DOC_MERGED_MAX);
    bz_doc_writer_clear(w);
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/doc.h"

#include "base/alloc.h"
#include "codec/encode_priv.h"

void bz_doc_value(struct bz_bytes doc, const struct blaze_names *names, blaze_value *out)
{
    *out = (blaze_value){.type = BLAZE_MAP, .as.nested = {doc.data, doc.size, names}};
}

int bz_doc_field(
    struct bz_bytes doc, const struct blaze_names *names, uint32_t id, blaze_value *out)
{
    struct bz_field field;
    int rc = bz_map_find(doc, id, &field);
    if (rc == 0)
        bz_field_value(&field, names, out);
    return rc;
}

void bz_doc_iter_init(struct bz_doc_iter *it, struct bz_bytes doc, const struct blaze_names *names)
{
    blaze_value map;
    bz_doc_value(doc, names, &map);
    if (blaze_iter_init(&it->iter, &map) != 0)
        it->iter = (blaze_iter){.container = map}; /* nothing left */
}

int bz_doc_iter_next(struct bz_doc_iter *it, uint32_t *id, blaze_value *out)
{
    /* Ids come first; where a key is to be read, its low bit tells whether it is a name. */
    bool in_run = it->iter.key > UINT32_MAX;
    if (it->iter.left == 0 || (!in_run && (it->iter.entry[0] & 1) != 0))
        return BLAZE_END;
    int rc = blaze_iter_next(&it->iter, NULL, out);
    if (rc == 0)
        *id = (uint32_t)it->iter.key - 1;
    return rc;
}

/* ---- the writer ---- */

struct bz_doc_writer {
    struct bz_arena arena;
    struct bz_part *parts;
    size_t count;
    size_t capacity;
    uint32_t greatest; /* of the ids */
};

int bz_doc_writer_new(struct bz_doc_writer **out)
{
    struct bz_doc_writer *w = bz_zalloc(sizeof *w);
    if (w == NULL)
        return BLAZE_ENOMEM;
    bz_arena_init(&w->arena);
    *out = w;
    return 0;
}

void bz_doc_writer_free(struct bz_doc_writer *w)
{
    if (w == NULL)
        return;
    bz_arena_release(&w->arena);
    bz_free(w->parts);
    bz_free(w);
}

void bz_doc_writer_clear(struct bz_doc_writer *w)
{
    bz_arena_reset(&w->arena);
    w->count = 0;
    w->greatest = 0;
}

/* The part of an id, new or the one to replace; NULL when out of memory. Callers mostly add in
 * ascending order, which costs no search. */
static struct bz_part *part_of(struct bz_doc_writer *w, uint32_t id)
{
    for (size_t i = id <= w->greatest ? w->count : 0; i > 0; i--) {
        if (w->parts[i - 1].key == id)
            return &w->parts[i - 1];
    }
    if (w->count == w->capacity) {
        size_t wanted = w->capacity == 0 ? 16 : w->capacity * 2;
        struct bz_part *parts = bz_realloc(w->parts, wanted * sizeof *parts);
        if (parts == NULL)
            return NULL;
        w->parts = parts;
        w->capacity = wanted;
    }
    return &w->parts[w->count];
}

int bz_doc_writer_add(struct bz_doc_writer *w, uint32_t id, const blaze_value *value)
{
    struct bz_part *part = part_of(w, id);
    if (part == NULL)
        return BLAZE_ENOMEM;
    struct bz_part added = {.key = id};
    bz_part_value(&added, value);
    if (added.data != NULL && added.size > 0) {
        added.data = bz_arena_copy(&w->arena, bz_bytes(added.data, added.size)).data;
        if (added.data == NULL)
            return BLAZE_ENOMEM;
    }
    *part = added;
    if (part == &w->parts[w->count])
        w->count++;
    if (id > w->greatest)
        w->greatest = id;
    return 0;
}

int bz_doc_writer_finish(struct bz_doc_writer *w, struct bz_buf *out)
{
    int rc = bz_parts_append(out, w->parts, w->count, BZ_DOC_MERGED_MAX);
    bz_doc_writer_clear(w);
    return rc;
}

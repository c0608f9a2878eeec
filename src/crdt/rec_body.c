/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What looks into bodies. A write's body is a document of the fields that it wrote; of these, some
 * may have been superseded since: a field of a write is *held* where the cell that speaks for the
 * field has the write among its members.
 *
 * Fields come out of a body in ascending order and cells stand in that order too, so a cursor for
 * each write, which only goes forward, finds all that is wanted in one pass over the bodies.
 */

#include "base/alloc.h"
#include "codec/doc.h"
#include "crdt/rec_priv.h"

#include <blazedb/error.h>
#include <stdlib.h>

#define FEW_WRITES 4 /* whose cursors need no memory */

struct cursor {
    struct bz_doc_iter iter;
    struct bz_raw_field field; /* while `rc` is 0 */
    int rc;
};

static void cursor_next(struct cursor *c)
{
    c->rc = bz_doc_iter_raw(&c->iter, &c->field);
}

static void cursor_init(struct cursor *c, struct bz_bytes body)
{
    bz_doc_iter_init(&c->iter, body, NULL);
    cursor_next(c);
}

/* Goes forward to the first field that is not below `field`; whether it is that one. */
static bool cursor_seek(struct cursor *c, uint32_t field)
{
    while (c->rc == 0 && c->field.id < field)
        cursor_next(c);
    return c->rc == 0 && c->field.id == field;
}

static int check_cursors(const struct cursor *cursors, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (cursors[i].rc < 0)
            return cursors[i].rc;
    }
    return 0;
}

/* A document whose top-level fields all have ids: one that stands in it as text has no cell. */
static int check_body(struct bz_bytes body, uint32_t names)
{
    int rc = bz_doc_check(body, names);
    if (rc != 0)
        return rc;
    blaze_value map;
    struct cursor c;
    size_t with_ids = 0;
    bz_doc_value(body, NULL, &map);
    for (cursor_init(&c, body); c.rc == 0; cursor_next(&c))
        with_ids++;
    return with_ids == blaze_value_count(&map) ? 0 : BLAZE_ECORRUPT;
}

int bz_rec_check_bodies(const struct bz_rec *rec, uint32_t names)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < rec->write_count; i++) {
        if (rec->writes[i].body.size > 0)
            rc = check_body(rec->writes[i].body, names);
    }
    return rc;
}

/* ---- the document that a reader sees ---- */

int bz_rec_field(const struct bz_rec *rec, const struct bz_nodes *nodes, uint32_t field,
    const struct blaze_names *names, blaze_value *out)
{
    struct bz_bytes body = bz_rec_winner(rec, bz_rec_cell(rec, field), nodes)->body;
    return body.size == 0 ? BLAZE_ENOTFOUND : bz_doc_field(body, names, field, out);
}

/* Adds the fields of rest's winner that have no cell, and of each cell what its winner says. */
static int add_visible(struct bz_doc_writer *w, const struct bz_rec *rec,
    const struct bz_nodes *nodes, struct cursor *cursors)
{
    for (uint32_t i = 0; i < rec->write_count; i++)
        cursor_init(&cursors[i], rec->writes[i].body);
    struct cursor *rest = &cursors[bz_rec_winner(rec, &rec->rest, nodes) - rec->writes];
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i <= rec->cell_count; i++) {
        const struct bz_cell *cell = i < rec->cell_count ? &rec->cells[i] : NULL;
        for (; rc == 0 && rest->rc == 0 && (cell == NULL || rest->field.id < cell->field);
             cursor_next(rest))
            rc = bz_doc_writer_add_raw(w, &rest->field);
        if (rc != 0 || cell == NULL)
            break;
        struct cursor *c = &cursors[bz_rec_winner(rec, cell, nodes) - rec->writes];
        if (cursor_seek(c, cell->field))
            rc = bz_doc_writer_add_raw(w, &c->field);
        if (cursor_seek(rest, cell->field))
            cursor_next(rest);
    }
    return rc != 0 ? rc : check_cursors(cursors, rec->write_count);
}

static int assemble(struct bz_buf *out, const struct bz_rec *rec, const struct bz_nodes *nodes)
{
    struct bz_doc_writer *w = NULL;
    struct cursor few[FEW_WRITES], *cursors = few;
    size_t size = out->size;
    int rc = BLAZE_ENOMEM;
    if (rec->write_count > FEW_WRITES)
        cursors = bz_malloc(rec->write_count * sizeof *cursors);
    if (cursors == NULL)
        goto done;
    rc = bz_doc_writer_new(&w);
    if (rc == 0)
        rc = add_visible(w, rec, nodes, cursors);
    if (rc == 0)
        rc = bz_doc_writer_finish(w, out);
    if (rc == 0)
        rc = out->error;
    if (rc != 0)
        out->size = size;
done:
    bz_doc_writer_free(w);
    if (cursors != few)
        bz_free(cursors);
    return rc;
}

int bz_rec_document(struct bz_buf *out, const struct bz_rec *rec, const struct bz_nodes *nodes)
{
    struct bz_bytes body = bz_rec_winner(rec, &rec->rest, nodes)->body;
    if (rec->cell_count > 0 || body.size == 0)
        return assemble(out, rec, nodes);
    bz_buf_append(out, body.data, body.size);
    return out->error;
}

/* ---- what is held ---- */

static bool has_member(const struct bz_cell *cell, uint32_t write)
{
    uint32_t low = 0, high = cell->count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (cell->members[mid] < write)
            low = mid + 1;
        else
            high = mid;
    }
    return low < cell->count && cell->members[low] == write;
}

/* Goes forward to the next field of the write that is held. */
static const struct bz_cell *next_held(struct cursor *c, const struct bz_rec *rec, uint32_t write)
{
    for (; c->rc == 0; cursor_next(c)) {
        const struct bz_cell *cell = bz_rec_cell(rec, c->field.id);
        if (has_member(cell, write))
            return cell;
    }
    return NULL;
}

/* ---- trimming ---- */

struct holder {
    const struct bz_rec *rec;
    uint32_t write;
    bool holds_rest; /* it is a member of rest */
    uint32_t cell;   /* the first that is not below the field at hand */
};

/* Whether the write holds the field; fields ascend. */
static bool holds(void *context, const struct bz_raw_field *field)
{
    struct holder *h = context;
    const struct bz_rec *rec = h->rec;
    while (h->cell < rec->cell_count && rec->cells[h->cell].field < field->id)
        h->cell++;
    bool own = h->cell < rec->cell_count && rec->cells[h->cell].field == field->id;
    return own ? has_member(&rec->cells[h->cell], h->write) : h->holds_rest;
}

int bz_rec_trim(struct bz_arena *arena, struct bz_rec *rec)
{
    if (rec->write_count == 1 && rec->cell_count == 0)
        return 0;
    struct bz_write *writes = NULL; /* a copy, once something changes: the old ones are borrowed */
    for (uint32_t i = 0; i < rec->write_count; i++) {
        struct bz_bytes body = rec->writes[i].body;
        struct holder holder = {rec, i, has_member(&rec->rest, i), 0};
        size_t kept;
        if (holder.holds_rest && rec->cell_count == 0)
            continue; /* as a delete leaves it: rest is all that there is */
        int rc = bz_doc_select(arena, body, holds, &holder, &body, &kept);
        if (rc != 0)
            return rc;
        if (body.data == rec->writes[i].body.data)
            continue;
        if (writes == NULL) {
            writes = bz_arena_alloc(arena, rec->write_count * sizeof *writes);
            if (writes == NULL)
                return BLAZE_ENOMEM;
            memcpy(writes, rec->writes, rec->write_count * sizeof *writes);
        }
        writes[i].body = kept > 0 ? body : bz_bytes(NULL, 0);
    }
    if (writes != NULL)
        rec->writes = writes;
    return 0;
}

/* ---- conflicts ---- */

/* A field that a write holds and other writes hold too. */
struct shared {
    blaze_value value;
    uint32_t field;
    uint32_t siblings; /* in its cell */
};

static int compare_shared(const void *a, const void *b)
{
    uint32_t x = ((const struct shared *)a)->field, y = ((const struct shared *)b)->field;
    return (x > y) - (x < y);
}

/* Within one table of names a value has one encoding, but for names that came before the table was
 * full; then two that are the same count as different. */
static bool same_value(const blaze_value *a, const blaze_value *b)
{
    if (a->type != b->type)
        return false;
    if (a->type == BLAZE_ARRAY || a->type == BLAZE_MAP)
        return bz_bytes_equal(bz_bytes(a->as.nested.data, a->as.nested.size),
            bz_bytes(b->as.nested.data, b->as.nested.size));
    return blaze_value_compare(a, b) == 0;
}

static bool has_siblings(const struct bz_rec *rec)
{
    bool some = rec->rest.count > 1;
    for (uint32_t i = 0; !some && i < rec->cell_count; i++)
        some = rec->cells[i].count > 1;
    return some;
}

/* Counts the shared fields, and lists them unless `list` is NULL. */
static int find_shared(const struct bz_rec *rec, struct shared *list, size_t *count)
{
    size_t n = 0;
    for (uint32_t i = 0; i < rec->write_count; i++) {
        struct cursor c;
        const struct bz_cell *cell;
        for (cursor_init(&c, rec->writes[i].body); (cell = next_held(&c, rec, i)) != NULL;
             cursor_next(&c)) {
            if (cell->count < 2)
                continue;
            if (list != NULL) {
                list[n] = (struct shared){.field = c.field.id, .siblings = cell->count};
                bz_raw_value(&c.field, NULL, &list[n].value);
            }
            n++;
        }
        if (c.rc < 0)
            return c.rc;
    }
    *count = n;
    return 0;
}

int bz_rec_conflicts(
    struct bz_arena *arena, const struct bz_rec *rec, const uint32_t **out, uint32_t *count)
{
    size_t n = 0;
    int rc = has_siblings(rec) ? find_shared(rec, NULL, &n) : 0;
    if (rc != 0)
        return rc;
    struct shared *list = NULL;
    uint32_t *fields = NULL;
    if (n > 0) {
        list = bz_arena_alloc(arena, n * sizeof *list);
        fields = bz_arena_alloc(arena, n * sizeof *fields);
        if (list == NULL || fields == NULL)
            return BLAZE_ENOMEM;
        find_shared(rec, list, &n);
        qsort(list, n, sizeof *list, compare_shared);
    }
    uint32_t found = 0;
    for (size_t i = 0, end; i < n; i = end) {
        bool differ = false;
        for (end = i + 1; end < n && list[end].field == list[i].field; end++)
            differ |= !same_value(&list[i].value, &list[end].value);
        if (differ || end - i < list[i].siblings)
            fields[found++] = list[i].field;
    }
    if (out != NULL)
        *out = fields;
    *count = found;
    return 0;
}

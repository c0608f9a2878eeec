/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A record that outlives its deletion: others have deleted it and collected what was left of it,
 * and here it has writes that none of them had seen.
 *
 * Those *new* writes stay as they are, dots, stamps and bodies, as any writes that are concurrent
 * with a delete. The *old* ones, which the others have had and let go of, were superseded. Where a
 * new write speaks for the whole record they are left out (*pruned*). Where all that is new stands
 * on old ones, these cannot be sent again under dots that others take for settled: so the document
 * of the old ones alone is written once more, as one write, the *base*.
 */
#include "crdt/rec_priv.h"

#include <blazedb/error.h>

static bool is_old(const struct bz_rec *rec, uint16_t member, const struct bz_vv *gone)
{
    return bz_vv_covers(gone, rec->writes[member].dot);
}

static uint32_t count_new(
    const struct bz_rec *rec, const struct bz_cell *cell, const struct bz_vv *gone)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < cell->count; i++)
        n += !is_old(rec, cell->members[i], gone);
    return n;
}

static bool has_old(const struct bz_rec *rec, const struct bz_cell *cell, const struct bz_vv *gone)
{
    return count_new(rec, cell, gone) < cell->count;
}

enum bz_rec_outliving bz_rec_outlives(const struct bz_rec *rec, const struct bz_vv *gone)
{
    if (count_new(rec, &rec->life, gone) == 0)
        return BZ_REC_GONE;
    if (count_new(rec, &rec->rest, gone) == 0)
        return BZ_REC_WANTS_BASE;
    bool old = has_old(rec, &rec->life, gone) || has_old(rec, &rec->rest, gone);
    for (uint32_t i = 0; !old && i < rec->cell_count; i++)
        old = has_old(rec, &rec->cells[i], gone);
    return old ? BZ_REC_WANTS_PRUNING : BZ_REC_STAYS;
}

static uint64_t latest(const struct bz_rec *rec, const struct bz_cell *cell, uint64_t stamp)
{
    for (uint32_t i = 0; i < cell->count; i++) {
        const struct bz_write *write = &rec->writes[cell->members[i]];
        stamp = write->stamp > stamp ? write->stamp : stamp;
    }
    return stamp;
}

int bz_rec_base(struct bz_arena *arena, const struct bz_rec *rec, const struct bz_vv *gone,
    const struct bz_nodes *nodes, struct bz_buf *body, uint64_t *stamp)
{
    struct bz_rec old = *rec;
    old.cells = bz_arena_alloc(arena, rec->cell_count * sizeof *old.cells);
    old.cell_count = 0;
    if (old.cells == NULL && rec->cell_count > 0)
        return BLAZE_ENOMEM;
    *stamp = latest(rec, &rec->rest, 0);
    for (uint32_t i = 0; i < rec->cell_count; i++) {
        if (count_new(rec, &rec->cells[i], gone) > 0)
            continue;
        old.cells[old.cell_count++] = rec->cells[i];
        *stamp = latest(rec, &rec->cells[i], *stamp);
    }
    return bz_rec_document(body, &old, nodes);
}

static void push_new(struct bz_rec_builder *b, const struct bz_rec *rec, const struct bz_cell *cell,
    const struct bz_vv *gone, uint32_t base)
{
    for (uint32_t i = 0; i < cell->count; i++) {
        if (!is_old(rec, cell->members[i], gone))
            bz_rec_builder_push(b, (uint16_t)(cell->members[i] + (cell->members[i] >= base)));
    }
}

/* The candidates: the old record's writes and the base, if there is one, at *at. All count as
 * arrived now, so that they are sent whole. */
static int take_writes(struct bz_rec_builder *b, const struct bz_rec *rec,
    const struct bz_write *base, uint64_t arrived, uint32_t *at)
{
    int rc = 0;
    *at = UINT32_MAX;
    if (base == NULL) {
        memcpy(b->rec.writes, rec->writes, rec->write_count * sizeof *rec->writes);
        b->rec.write_count = rec->write_count;
    } else {
        uint16_t place;
        rc = bz_rec_take_dot(b->arena, &b->rec.rvv, base->dot, &b->rec.rvv);
        bz_rec_builder_add(b, rec, base, &place);
        *at = place;
    }
    for (uint32_t i = 0; i < b->rec.write_count; i++)
        b->rec.writes[i].arrived = arrived;
    return rc;
}

int bz_rec_outlive(struct bz_arena *arena, const struct bz_rec *rec, const struct bz_vv *gone,
    const struct bz_vv *seen, const struct bz_write *base, uint64_t arrived, struct bz_rec *out)
{
    struct bz_rec_builder b;
    size_t members = (size_t)rec->life.count + rec->rest.count + 1;
    for (uint32_t i = 0; i < rec->cell_count; i++)
        members += rec->cells[i].count;
    if (rec->write_count == BZ_REC_MAX_WRITES)
        return BLAZE_ELIMIT;
    int rc = bz_rec_builder_init(&b, arena, (size_t)rec->write_count + 1, members, rec->cell_count);
    uint32_t at = 0;
    if (rc == 0)
        rc = bz_vv_max(arena, &rec->rvv, seen, &b.rec.rvv);
    if (rc == 0)
        rc = take_writes(&b, rec, base, arrived, &at);
    if (rc != 0)
        return rc;
    b.rec.has_life = b.rec.has_rest = true;
    push_new(&b, rec, &rec->life, gone, at);
    b.rec.life = bz_rec_builder_cell(&b);
    if (base != NULL)
        bz_rec_builder_push(&b, (uint16_t)at);
    else
        push_new(&b, rec, &rec->rest, gone, at);
    b.rec.rest = bz_rec_builder_cell(&b);
    for (uint32_t i = 0; i < rec->cell_count; i++) {
        if (count_new(rec, &rec->cells[i], gone) == 0)
            continue;
        push_new(&b, rec, &rec->cells[i], gone, at);
        bz_rec_builder_field(&b, rec->cells[i].field);
    }
    return bz_rec_builder_finish(&b, out);
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Local writes. A write supersedes exactly what its node has seen: the cells that it writes become
 * {its dot}, and rvv, which covers all that was in them, takes in the new dot.
 */

#include "crdt/rec_priv.h"

#include <assert.h>
#include <blazedb/error.h>

int bz_rec_take_dot(
    struct bz_arena *arena, const struct bz_vv *rvv, struct bz_dot dot, struct bz_vv *out)
{
    if (bz_vv_covers(rvv, dot))
        return BLAZE_EINVAL;
    if (rvv->count == BZ_REC_MAX_NODES && bz_vv_get(rvv, dot.node) == 0)
        return BLAZE_ELIMIT;
    return bz_vv_with(arena, rvv, dot, out);
}

int bz_rec_put(struct bz_arena *arena, const struct bz_rec *old, const struct bz_write *write,
    struct bz_rec *out)
{
    static const struct bz_vv none = {0};
    struct bz_vv rvv;
    int rc = bz_rec_take_dot(arena, old == NULL ? &none : &old->rvv, write->dot, &rvv);
    return rc != 0 ? rc : bz_rec_whole(arena, write, &rvv, out);
}

void bz_rec_builder_add(
    struct bz_rec_builder *b, const struct bz_rec *old, const struct bz_write *write, uint16_t *at)
{
    uint32_t before = 0;
    while (before < old->write_count && bz_dot_compare(old->writes[before].dot, write->dot) < 0)
        before++;
    memcpy(b->rec.writes, old->writes, before * sizeof *old->writes);
    b->rec.writes[before] = *write;
    memcpy(b->rec.writes + before + 1, old->writes + before,
        (old->write_count - before) * sizeof *old->writes);
    b->rec.write_count = old->write_count + 1;
    *at = (uint16_t)before;
}

static void push_old(struct bz_rec_builder *b, const struct bz_cell *cell, uint16_t at)
{
    for (uint32_t i = 0; i < cell->count; i++)
        bz_rec_builder_push(b, (uint16_t)(cell->members[i] + (cell->members[i] >= at)));
}

static size_t member_count(const struct bz_rec *rec)
{
    size_t n = rec->rest.count;
    for (uint32_t i = 0; i < rec->cell_count; i++)
        n += rec->cells[i].count;
    return n;
}

/* How many of `fields` have no cell yet. */
static uint32_t new_fields(const struct bz_rec *rec, const uint32_t *fields, uint32_t count)
{
    uint32_t n = 0, j = 0;
    for (uint32_t i = 0; i < count; i++) {
        while (j < rec->cell_count && rec->cells[j].field < fields[i])
            j++;
        n += j == rec->cell_count || rec->cells[j].field != fields[i];
    }
    return n;
}

/* The fields named become {write}, and life too unless the write only settles; all else stays. */
static int write_cells(struct bz_arena *arena, const struct bz_rec *old,
    const struct bz_write *write, const uint32_t *fields, uint32_t field_count, struct bz_rec *out)
{
    uint32_t added = new_fields(old, fields, field_count);
    if ((added > 0 && old->cell_count + added > BZ_REC_MAX_FIELDS) ||
        old->write_count == BZ_REC_MAX_WRITES)
        return BLAZE_ELIMIT;
    struct bz_rec_builder b;
    int rc = bz_rec_builder_init(&b, arena, (size_t)old->write_count + 1,
        old->life.count + member_count(old) + field_count + 1, (size_t)old->cell_count + added);
    if (rc == 0)
        rc = bz_rec_take_dot(arena, &old->rvv, write->dot, &b.rec.rvv);
    if (rc != 0)
        return rc;
    uint16_t at;
    bz_rec_builder_add(&b, old, write, &at);
    b.rec.has_life = b.rec.has_rest = true;
    if ((write->resolved && !BZ_MUTANT(SETTLING_TAKES_LIFE)) ||
        (BZ_MUTANT(UPDATE_WITHOUT_LIFE) && write->alive))
        push_old(&b, &old->life, at);
    else
        bz_rec_builder_push(&b, at);
    b.rec.life = bz_rec_builder_cell(&b);
    push_old(&b, &old->rest, at);
    b.rec.rest = bz_rec_builder_cell(&b);
    uint32_t i = 0, j = 0;
    while (i < old->cell_count || j < field_count) {
        bool named = j < field_count && (i == old->cell_count || fields[j] <= old->cells[i].field);
        uint32_t field = named ? fields[j] : old->cells[i].field;
        bool there = i < old->cell_count && old->cells[i].field == field;
        if (named && BZ_MUTANT(ROLE_OVER_SEEN) && there && write->role == BZ_ROLE_CLIENT &&
            old->writes[old->cells[i].members[0]].role == BZ_ROLE_SERVER)
            push_old(&b, &old->cells[i], at);
        else if (named)
            bz_rec_builder_push(&b, at);
        else
            push_old(&b, &old->cells[i], at);
        bz_rec_builder_field(&b, field);
        i += there;
        j += named;
    }
    return bz_rec_builder_finish(&b, out);
}

int bz_rec_update(struct bz_arena *arena, const struct bz_rec *old, const struct bz_write *write,
    const uint32_t *fields, uint32_t field_count, struct bz_rec *out)
{
    if (old == NULL)
        return bz_rec_put(arena, old, write, out);
    return write_cells(arena, old, write, fields, field_count, out);
}

int bz_rec_resolve(struct bz_arena *arena, const struct bz_rec *old, const struct bz_write *write,
    const uint32_t *fields, uint32_t field_count, struct bz_rec *out)
{
    assert(write->resolved && write->alive && field_count > 0);
    return write_cells(arena, old, write, fields, field_count, out);
}

int bz_rec_delete(struct bz_arena *arena, const struct bz_rec *old, const struct bz_write *write,
    struct bz_rec *out)
{
    if (old == NULL || BZ_MUTANT(DELETE_DROPS_HIDDEN))
        return bz_rec_put(arena, old, write, out);
    return write_cells(arena, old, write, NULL, 0, out);
}

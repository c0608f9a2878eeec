/* SPDX-License-Identifier: Apache-2.0 */
/* What a copy has written since it was put back to an older state, under its new name. */
#include "crdt/rec_priv.h"

struct reissue {
    struct bz_arena *arena;
    const struct bz_rec *rec;
    uint32_t node, to;
    uint64_t seq;
    uint16_t *places; /* of the writes: where each goes */
};

static bool moves(const struct reissue *r, const struct bz_write *write)
{
    return write->dot.node == r->node && write->dot.seq > r->seq;
}

/* Those that move go behind all others, in their order. */
static int move_writes(struct reissue *r, uint64_t arrived, struct bz_rec *out)
{
    const struct bz_rec *rec = r->rec;
    uint32_t stay = 0, next = 0;
    out->writes = bz_arena_alloc(r->arena, rec->write_count * sizeof *out->writes);
    r->places = bz_arena_alloc(r->arena, rec->write_count * sizeof *r->places);
    if (out->writes == NULL || r->places == NULL)
        return BLAZE_ENOMEM;
    for (uint32_t i = 0; i < rec->write_count; i++)
        stay += !moves(r, &rec->writes[i]);
    for (uint32_t i = 0, last = stay; i < rec->write_count; i++) {
        bool moved = moves(r, &rec->writes[i]);
        uint32_t at = moved ? last++ : next++;
        r->places[i] = (uint16_t)at;
        out->writes[at] = rec->writes[i];
        if (moved) {
            out->writes[at].dot.node = r->to;
            out->writes[at].arrived = arrived;
        }
    }
    return 0;
}

/* A cell has one write of a node at most: only its last member may not be the last any more. */
static int move_cell(const struct reissue *r, const struct bz_cell *cell, struct bz_cell *out)
{
    uint16_t *members = bz_arena_alloc(r->arena, cell->count * sizeof *members);
    *out = *cell;
    if (members == NULL && cell->count > 0)
        return BLAZE_ENOMEM;
    uint32_t count = 0;
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < cell->count; i++) {
            if (moves(r, &r->rec->writes[cell->members[i]]) == (pass == 1))
                members[count++] = r->places[cell->members[i]];
        }
    }
    out->members = members;
    return 0;
}

static int move_seen(const struct reissue *r, struct bz_vv *out)
{
    const struct bz_vv *vv = &r->rec->rvv;
    out->entries = bz_arena_alloc(r->arena, (vv->count + 1) * sizeof *out->entries);
    out->count = 0;
    if (out->entries == NULL)
        return BLAZE_ENOMEM;
    for (uint32_t i = 0; i < vv->count; i++) {
        struct bz_dot entry = vv->entries[i];
        if (entry.node == r->node && entry.seq > r->seq)
            entry.seq = r->seq;
        if (entry.seq > 0)
            out->entries[out->count++] = entry;
    }
    out->entries[out->count++] = (struct bz_dot){r->to, bz_vv_get(vv, r->node)};
    return 0;
}

int bz_rec_reissue(struct bz_arena *arena, const struct bz_rec *rec, uint32_t node, uint64_t seq,
    uint32_t to, uint64_t arrived, struct bz_rec *out, bool *changed)
{
    struct reissue r = {.arena = arena, .rec = rec, .node = node, .to = to, .seq = seq};
    struct bz_rec moved = *rec;
    *changed = false;
    for (uint32_t i = 0; i < rec->write_count; i++)
        *changed |= moves(&r, &rec->writes[i]);
    if (!*changed)
        return 0;
    int rc = move_writes(&r, arrived, &moved);
    if (rc == 0)
        rc = move_seen(&r, &moved.rvv);
    if (rc == 0)
        rc = move_cell(&r, &rec->life, &moved.life);
    if (rc == 0)
        rc = move_cell(&r, &rec->rest, &moved.rest);
    if (rc == 0 && rec->cell_count > 0) {
        moved.cells = bz_arena_alloc(arena, rec->cell_count * sizeof *moved.cells);
        rc = moved.cells == NULL ? BLAZE_ENOMEM : 0;
    }
    for (uint32_t i = 0; rc == 0 && i < rec->cell_count; i++)
        rc = move_cell(&r, &rec->cells[i], &moved.cells[i]);
    if (rc == 0)
        *out = moved;
    return rc;
}

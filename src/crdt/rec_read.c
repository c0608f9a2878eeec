/* SPDX-License-Identifier: Apache-2.0 */
#include "crdt/rec_priv.h"

#include <blazedb/error.h>

/* Of a node that the caller's table does not know: it sorts below all. */
static const blaze_id no_id;

static const blaze_id *node_id(const struct bz_nodes *nodes, uint32_t node)
{
    return node < nodes->count ? &nodes->ids[node] : &no_id;
}

/* Whether a goes before b: server before client, then last write wins. */
static bool beats(const struct bz_write *a, const struct bz_write *b, const struct bz_nodes *nodes)
{
    if (a->role != b->role)
        return a->role > b->role;
    if (a->stamp != b->stamp)
        return a->stamp > b->stamp;
    int order = memcmp(node_id(nodes, a->dot.node), node_id(nodes, b->dot.node), sizeof(blaze_id));
    return order != 0 ? order > 0 : a->dot.seq > b->dot.seq;
}

const struct bz_write *bz_rec_winner(
    const struct bz_rec *rec, const struct bz_cell *cell, const struct bz_nodes *nodes)
{
    const struct bz_write *best = &rec->writes[cell->members[0]];
    for (uint32_t i = 1; i < cell->count; i++) {
        const struct bz_write *w = &rec->writes[cell->members[i]];
        if (beats(w, best, nodes))
            best = w;
    }
    return best;
}

int bz_rec_check_kinds(const struct bz_rec *rec)
{
    for (uint32_t i = 0; i < rec->write_count; i++) {
        if (rec->writes[i].kind != 0)
            return BLAZE_EVERSION;
    }
    return 0;
}

bool bz_rec_alive(const struct bz_rec *rec, const struct bz_nodes *nodes)
{
    return bz_rec_winner(rec, &rec->life, nodes)->alive;
}

bool bz_rec_life_differs(const struct bz_rec *rec)
{
    uint32_t alive = 0;
    for (uint32_t i = 0; i < rec->life.count; i++)
        alive += rec->writes[rec->life.members[i]].alive;
    return alive > 0 && alive < rec->life.count;
}

bool bz_rec_torn(const struct bz_rec *rec)
{
    bool dead = false;
    for (uint32_t i = 0; rec->life.count > 1 && i < rec->life.count; i++)
        dead |= !rec->writes[rec->life.members[i]].alive;
    return dead;
}

bool bz_rec_holds(const struct bz_rec *rec, struct bz_dot dot)
{
    uint32_t low = 0, high = rec->write_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (bz_dot_compare(rec->writes[mid].dot, dot) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < rec->write_count && bz_dot_compare(rec->writes[low].dot, dot) == 0;
}

bool bz_rec_contradicts(const struct bz_rec *rec, const struct bz_vv *before,
    const struct bz_rec *remote, const struct bz_vv *gone)
{
    bool knows_all = bz_vv_includes(&remote->rvv, &rec->rvv), does = false;
    for (uint32_t i = 0; !does && i < remote->write_count; i++) {
        struct bz_dot dot = remote->writes[i].dot;
        does = (knows_all || (bz_vv_covers(gone, dot) && !bz_vv_covers(before, dot))) &&
               bz_vv_covers(&rec->rvv, dot) && !bz_rec_holds(rec, dot);
    }
    return does;
}

static bool doubtful(const struct bz_rec *rec, const struct bz_cell *cell, const struct bz_vv *gone)
{
    bool old = false;
    for (uint32_t i = 0; cell->count > 1 && i < cell->count; i++)
        old |= bz_vv_covers(gone, rec->writes[cell->members[i]].dot);
    return old;
}

bool bz_rec_doubtful(const struct bz_rec *rec, const struct bz_vv *gone)
{
    bool is = doubtful(rec, &rec->life, gone) || doubtful(rec, &rec->rest, gone);
    for (uint32_t i = 0; !is && i < rec->cell_count; i++)
        is = doubtful(rec, &rec->cells[i], gone);
    return is;
}

const struct bz_cell *bz_rec_cell(const struct bz_rec *rec, uint32_t field)
{
    uint32_t low = 0, high = rec->cell_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (rec->cells[mid].field < field)
            low = mid + 1;
        else
            high = mid;
    }
    return low < rec->cell_count && rec->cells[low].field == field ? &rec->cells[low] : &rec->rest;
}

struct bz_hash128 bz_rec_digest(
    const struct bz_rec *rec, const blaze_id *id, const struct bz_nodes *nodes)
{
    struct bz_hash128 dots = {0};
    if (!bz_rec_alive(rec, nodes))
        return dots;
    /* A sum, so that it does not matter how this replica numbers, and thus sorts, its nodes. */
    for (uint32_t i = BZ_MUTANT(DIGEST_FORGETS_SIBLING) && rec->write_count > 2;
         i < rec->write_count; i++) {
        uint8_t dot[24];
        memcpy(dot, node_id(nodes, rec->writes[i].dot.node), 16);
        bz_store64le(dot + 16, rec->writes[i].dot.seq);
        bz_hash128_add(&dots, bz_hash128(dot, sizeof dot, 0));
    }
    uint8_t all[32];
    memcpy(all, id->bytes, 16);
    bz_store64le(all + 16, dots.low);
    bz_store64le(all + 24, dots.high);
    return bz_hash128(all, sizeof all, 0);
}

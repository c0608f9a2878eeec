/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_CRDT_REC_PRIV_H
#define BZ_CRDT_REC_PRIV_H

#include "base/mutant.h"
#include "crdt/rec.h"

/* A record of one write: by R2 and R5 that write is all of life and all of rest. */
static inline bool bz_rec_is_whole(const struct bz_rec *rec)
{
    return rec->write_count == 1 && rec->cell_count == 0 && bz_rec_complete(rec);
}

static inline int bz_dot_compare(struct bz_dot a, struct bz_dot b)
{
    if (a.node != b.node)
        return a.node < b.node ? -1 : 1;
    return (a.seq > b.seq) - (a.seq < b.seq);
}

static inline bool bz_cell_equal(const struct bz_cell *a, const struct bz_cell *b)
{
    return a->count == b->count &&
           memcmp(a->members, b->members, a->count * sizeof *a->members) == 0;
}

/* Whether a write is still in the record. */
bool bz_rec_holds(const struct bz_rec *rec, struct bz_dot dot);

/* The whole record of one write. The rvv is the caller's. */
int bz_rec_whole(struct bz_arena *arena, const struct bz_write *write, const struct bz_vv *rvv,
    struct bz_rec *out);

/* rvv with a new dot. BLAZE_EINVAL if that is known already: another replica has written under our
 * node's id, in a copied database. BLAZE_ELIMIT, BLAZE_ENOMEM. */
int bz_rec_take_dot(
    struct bz_arena *arena, const struct bz_vv *rvv, struct bz_dot dot, struct bz_vv *out);

/* *out := vv with dot.seq for dot.node, in the arena. BLAZE_ENOMEM. */
int bz_vv_with(
    struct bz_arena *arena, const struct bz_vv *vv, struct bz_dot dot, struct bz_vv *out);

/*
 * Building a record from cells: the builder holds sorted candidates for `writes`; cells are pushed
 * as indexes of candidates; finish() drops the candidates that no cell took, so that R2 holds.
 */
struct bz_rec_builder {
    struct bz_arena *arena;
    struct bz_rec rec; /* writes: the candidates, filled in by the caller */
    uint16_t *pool;    /* the members of all cells so far */
    size_t used;       /* of the pool */
    size_t start;      /* where the cell that is being pushed begins */
};

/* Room for so many candidates, members in all, and cells. BLAZE_ELIMIT, BLAZE_ENOMEM. No more than
 * BZ_REC_MAX_WRITES candidates may be filled in. */
int bz_rec_builder_init(
    struct bz_rec_builder *b, struct bz_arena *arena, size_t writes, size_t members, size_t cells);

/* Takes old's writes and the new one as candidates; old's index i is then i + (i >= *at). */
void bz_rec_builder_add(
    struct bz_rec_builder *b, const struct bz_rec *old, const struct bz_write *write, uint16_t *at);

static inline void bz_rec_builder_push(struct bz_rec_builder *b, uint16_t candidate)
{
    b->pool[b->used++] = candidate;
}

/* What was pushed since the last call, as a cell. */
struct bz_cell bz_rec_builder_cell(struct bz_rec_builder *b);

/* Adds the cell of a field, unless it says the same as rest, which must be set (R4). */
void bz_rec_builder_field(struct bz_rec_builder *b, uint32_t field);

int bz_rec_builder_finish(struct bz_rec_builder *b, struct bz_rec *out);

#endif

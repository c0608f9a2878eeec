/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Merging two states of a record.
 *
 * The rule, for one cell with S1, RVV1 here and S2, RVV2 there: a dot in both stays; a dot on one
 * side stays exactly when the other side's RVV does not cover it. A field without a cell takes part
 * as rest. Whether a lone dot stays depends on the dot alone, not on the cell, so it is worked out
 * once for each write ("fresh"); a dot that both records hold is covered on both sides (R1) and
 * never fresh.
 *
 * Every state that arises from writes and merges is causally closed: if its rvv covers a write, it
 * covers all that the writer had seen of the record, and has superseded what that write did. From
 * this follows
 *
 *   M1  If rvv of one side includes the other's, the other side has nothing to add. (A dot here
 *       that the other's rvv covers without holding it was superseded there by a chain of writes
 *       that ends in a dot which is held there; we cover that one too, so we no longer hold the
 *       first.)
 *   M2  A cell never loses a dot without gaining one: what superseded it, or supersedes that, comes
 *       along.
 *   M3  A cell that a partial record leaves out, because the receiver has all its writes, is as it
 *       should be: by the argument of M1, for one cell.
 *   M4  The sender cannot have dropped, since then, a field's cell that is still here: it would
 *       have become equal to rest, by M2 through a new dot in rest; but then rest is sent, and all
 *       cells with it.
 *   M5  A write's body holds what is wanted of it: a cell that holds its dot here has the value in
 *       our body (bodies are trimmed only of what no cell holds), a cell that does not hold it,
 * once rvv covers it, never will again; and a write that is new here comes with all of its cells.
 *
 * States made up by a hostile peer may break closure. They can then lose that record's data, as an
 * honest delete could, but never an invariant: no cell becomes empty.
 */

#include "crdt/rec_priv.h"

#include <blazedb/error.h>

struct merge {
    struct bz_rec_builder b;
    const struct bz_rec *local;
    const struct bz_rec *remote;
    const struct bz_vv *gone; /* NULL, or what local has seen besides */
    uint16_t *from_local;     /* index of its writes -> candidate */
    uint16_t *from_remote;
    bool *fresh;   /* by candidate */
    bool shrunk;   /* a cell has lost a dot of ours and gained none */
    bool disputed; /* keep_last() was needed */
};

struct candidate {
    uint32_t at; /* in the result */
    bool ours, theirs;
};

/* The distinct writes of both, sorted; ours where both have one (its arrival and body are ours). */
static int take_writes(struct merge *m, uint64_t arrived)
{
    const struct bz_rec *local = m->local, *remote = m->remote;
    uint32_t i = 0, j = 0, n = 0;
    while (i < local->write_count || j < remote->write_count) {
        if (n == BZ_REC_MAX_WRITES)
            return BLAZE_ELIMIT;
        int order = i == local->write_count ? 1
                    : j == remote->write_count
                        ? -1
                        : bz_dot_compare(local->writes[i].dot, remote->writes[j].dot);
        struct bz_write *write = &m->b.rec.writes[n];
        if (order <= 0) {
            *write = local->writes[i];
            m->fresh[n] = order < 0 &&
                          (!bz_vv_covers(&remote->rvv, write->dot) || BZ_MUTANT(KEEPS_SUPERSEDED));
            m->from_local[i++] = (uint16_t)n;
        } else {
            *write = remote->writes[j];
            write->arrived = arrived;
            m->fresh[n] = !bz_vv_covers(&local->rvv, write->dot) &&
                          (m->gone == NULL || !bz_vv_covers(m->gone, write->dot));
        }
        if (order >= 0)
            m->from_remote[j++] = (uint16_t)n;
        n++;
    }
    m->b.rec.write_count = n;
    return 0;
}

static uint32_t candidate(const uint16_t *from, const struct bz_cell *cell, uint32_t member)
{
    return member < cell->count ? from[cell->members[member]] : UINT32_MAX;
}

/* Steps through the candidates of a local and a remote cell, in order: whether in either or both.
 */
static bool next_candidate(const struct merge *m, const struct bz_cell *a, const struct bz_cell *b,
    uint32_t *i, uint32_t *j, struct candidate *out)
{
    uint32_t x = candidate(m->from_local, a, *i), y = candidate(m->from_remote, b, *j);
    if (x == UINT32_MAX && y == UINT32_MAX)
        return false;
    out->at = x < y ? x : y;
    out->ours = x == out->at;
    out->theirs = y == out->at;
    *i += out->ours;
    *j += out->theirs;
    return true;
}

/* By M1 a cell never becomes empty. If each side has seen and let go of what the other holds, then
 * since something was collected where the other did not know. What was written last stays: it was
 * not seen by any of the others. A node writes once at a time, if it is honest: else of the two at
 * most that it then has, one a side, the later stays (R6). */
static void keep_last(struct merge *m, const struct bz_cell *a, const struct bz_cell *b)
{
    struct candidate c, next;
    const struct bz_write *writes = m->b.rec.writes;
    uint64_t last = 0;
    m->disputed = true;
    for (uint32_t i = 0, j = 0; next_candidate(m, a, b, &i, &j, &c);)
        last = writes[c.at].stamp > last ? writes[c.at].stamp : last;
    for (uint32_t i = 0, j = 0; next_candidate(m, a, b, &i, &j, &c);) {
        uint32_t k = i, l = j;
        bool again = next_candidate(m, a, b, &k, &l, &next) && writes[next.at].stamp == last &&
                     writes[next.at].dot.node == writes[c.at].dot.node;
        bool stays = writes[c.at].stamp == last && !again;
        if (stays)
            bz_rec_builder_push(&m->b, (uint16_t)c.at);
        m->shrunk |= stays != c.ours;
    }
}

/* Pushes what stays of a local and a remote cell. */
static void merge_cell(struct merge *m, const struct bz_cell *a, const struct bz_cell *b)
{
    size_t before = m->b.used;
    struct candidate c;
    bool lost = false, gained = false;
    for (uint32_t i = 0, j = 0; next_candidate(m, a, b, &i, &j, &c);) {
        if (BZ_MUTANT(DROPS_CONCURRENT) && m->b.used > before && !(c.ours && c.theirs))
            m->fresh[c.at] = false;
        bool stays = (c.ours && c.theirs) || m->fresh[c.at];
        if (stays)
            bz_rec_builder_push(&m->b, (uint16_t)c.at);
        lost |= c.ours && !stays;
        gained |= !c.ours && stays;
    }
    if (m->b.used == before)
        keep_last(m, a, b);
    else
        m->shrunk |= lost && !gained;
}

static void keep_cell(struct merge *m, const struct bz_cell *a)
{
    for (uint32_t i = 0; i < a->count; i++)
        bz_rec_builder_push(&m->b, m->from_local[a->members[i]]);
}

static void merge_or_keep(struct merge *m, const struct bz_cell *a, const struct bz_cell *b)
{
    if (b != NULL)
        merge_cell(m, a, b);
    else
        keep_cell(m, a);
}

/* One step through the fields that have a cell here or there; a side without one is NULL. */
static bool next_field(const struct bz_rec *local, const struct bz_rec *remote, uint32_t *i,
    uint32_t *j, const struct bz_cell **a, const struct bz_cell **b)
{
    *a = *i < local->cell_count ? &local->cells[*i] : NULL;
    *b = *j < remote->cell_count ? &remote->cells[*j] : NULL;
    if (*a != NULL && *b != NULL && (*a)->field != (*b)->field)
        *((*a)->field < (*b)->field ? b : a) = NULL;
    *i += *a != NULL;
    *j += *b != NULL;
    return *a != NULL || *b != NULL;
}

/* How many fields and members a merge has to look at: bounded before anything is allocated, since
 * each of many cells on one side may meet a large rest on the other. */
static int measure(
    const struct bz_rec *local, const struct bz_rec *remote, size_t *cells, size_t *members)
{
    const struct bz_cell *a, *b;
    *cells = 0;
    *members =
        (size_t)local->life.count + local->rest.count + remote->life.count + remote->rest.count;
    for (uint32_t i = 0, j = 0; next_field(local, remote, &i, &j, &a, &b); ++*cells) {
        *members += a != NULL ? a->count : local->rest.count;
        *members += b != NULL ? b->count : remote->has_rest ? remote->rest.count : 0;
        if (*members > BZ_REC_MAX_MEMBERS)
            return BLAZE_ELIMIT;
    }
    return 0;
}

static int merge_init(struct merge *m, struct bz_arena *arena, const struct bz_rec *local,
    const struct bz_rec *remote)
{
    size_t cells, members, writes = (size_t)local->write_count + remote->write_count;
    int rc = measure(local, remote, &cells, &members);
    if (rc == 0)
        rc = bz_rec_builder_init(&m->b, arena, writes, members, cells);
    if (rc == 0)
        rc = bz_vv_max(arena, &local->rvv, &remote->rvv, &m->b.rec.rvv);
    if (rc == 0 && BZ_MUTANT(RVV_NOT_RAISED) && local->rvv.count >= remote->rvv.count)
        m->b.rec.rvv = local->rvv;
    if (rc == 0 && m->b.rec.rvv.count > BZ_REC_MAX_NODES)
        rc = BLAZE_ELIMIT;
    if (rc != 0)
        return rc;
    m->local = local;
    m->remote = remote;
    m->from_local = bz_arena_alloc(arena, local->write_count * sizeof *m->from_local);
    m->from_remote = bz_arena_alloc(arena, remote->write_count * sizeof *m->from_remote);
    m->fresh = bz_arena_alloc(arena, writes * sizeof *m->fresh);
    return m->from_local == NULL || m->from_remote == NULL || m->fresh == NULL ? BLAZE_ENOMEM : 0;
}

static void merge_cells(struct merge *m)
{
    const struct bz_rec *local = m->local, *remote = m->remote;
    const struct bz_cell *a, *b;
    struct bz_rec *rec = &m->b.rec;
    merge_or_keep(m, &local->life, remote->has_life ? &remote->life : NULL);
    rec->life = bz_rec_builder_cell(&m->b);
    merge_or_keep(m, &local->rest, remote->has_rest ? &remote->rest : NULL);
    rec->rest = bz_rec_builder_cell(&m->b);
    rec->has_life = rec->has_rest = true;
    for (uint32_t i = 0, j = 0; next_field(local, remote, &i, &j, &a, &b);) {
        uint32_t field = a != NULL ? a->field : b->field;
        if (a == NULL)
            a = &local->rest;
        if (b == NULL && remote->has_rest)
            b = &remote->rest;
        merge_or_keep(m, a, b);
        bz_rec_builder_field(&m->b, field);
    }
}

/* A record that is new here, or that supersedes all that is: a copy with its arrival. */
static int take(
    struct bz_arena *arena, const struct bz_rec *remote, uint64_t arrived, struct bz_rec *out)
{
    struct bz_write *writes = bz_arena_alloc(arena, remote->write_count * sizeof *writes);
    if (writes == NULL)
        return BLAZE_ENOMEM;
    for (uint32_t i = 0; i < remote->write_count; i++) {
        writes[i] = remote->writes[i];
        writes[i].arrived = arrived;
    }
    *out = *remote;
    out->writes = writes;
    return 0;
}

/* By M2 the cells with a write that is new are those that have changed. Where the other side has
 * let go of what was collected that is not so, and all counts as new. */
static void renew(struct merge *m, uint64_t arrived)
{
    for (uint32_t i = 0; i < m->b.rec.write_count; i++)
        m->b.rec.writes[i].arrived = arrived;
}

static int merge_as_far(struct bz_arena *arena, const struct bz_rec *local,
    const struct bz_rec *remote, const struct bz_vv *gone, uint64_t arrived, struct merge *m)
{
    *m = (struct merge){.gone = gone};
    int rc = merge_init(m, arena, local, remote);
    if (rc == 0)
        rc = take_writes(m, arrived);
    if (rc == 0)
        merge_cells(m);
    return rc;
}

static int merge_all(struct bz_arena *arena, const struct bz_rec *local,
    const struct bz_rec *remote, const struct bz_vv *gone, uint64_t arrived, struct bz_rec *out,
    bool *shrunk)
{
    struct merge m;
    int rc = merge_as_far(arena, local, remote, gone, arrived, &m);
    if (rc == 0 && m.disputed && gone != NULL)
        rc = merge_as_far(arena, local, remote, NULL, arrived, &m);
    if (rc != 0)
        return rc;
    *shrunk = m.shrunk;
    if (m.shrunk)
        renew(&m, arrived);
    return bz_rec_builder_finish(&m.b, out);
}

/* Whether a complete record lets go of something in another, though it knows no more: M1 does not
 * hold of one from which bz_rec_merge_past() has taken what was collected. */
static bool takes_away(const struct bz_rec *from, const struct bz_rec *rec)
{
    bool does = false;
    for (uint32_t i = 0; !does && from->has_rest && i < rec->write_count; i++) {
        struct bz_dot dot = rec->writes[i].dot;
        does = bz_vv_covers(&from->rvv, dot) && !bz_rec_holds(from, dot);
    }
    return does;
}

static bool brings_a_write(const struct bz_rec *remote, const struct bz_rec *local)
{
    bool does = false;
    for (uint32_t i = 0; !does && i < remote->write_count; i++)
        does = !bz_vv_covers(&local->rvv, remote->writes[i].dot);
    return does;
}

int bz_rec_merge_past(struct bz_arena *arena, const struct bz_rec *local,
    const struct bz_rec *remote, const struct bz_vv *gone, uint64_t arrived, struct bz_rec *out,
    struct bz_rec_merged *merged)
{
    *merged = (struct bz_rec_merged){0};
    if (local == NULL && !bz_rec_complete(remote))
        return BLAZE_EPROTO;
    bool nothing_new = local != NULL && bz_vv_includes(&local->rvv, &remote->rvv);
    bool knows_all = local == NULL || bz_vv_includes(&remote->rvv, &local->rvv);
    bool replaces = local == NULL ||
                    ((knows_all || BZ_MUTANT(REPLACES_CONCURRENT)) && bz_rec_is_whole(remote) &&
                        !bz_vv_covers(&local->rvv, remote->writes[0].dot));
    int rc = 0;
    merged->changed = !nothing_new;
    merged->raised = !nothing_new && local != NULL && !brings_a_write(remote, local);
    merged->subsumed = knows_all || BZ_MUTANT(SUBSUMED_WRONGLY);
    if (replaces && !nothing_new) {
        rc = take(arena, remote, arrived, out);
    } else if (!nothing_new || takes_away(remote, local) ||
               (knows_all && remote->has_rest && takes_away(local, remote))) {
        rc = merge_all(arena, local, remote, gone, arrived, out, &merged->shrunk);
        merged->changed |= merged->shrunk;
    }
    if (rc == 0 && !merged->changed) /* M1 */
        *out = *local;
    return rc;
}

int bz_rec_merge(struct bz_arena *arena, const struct bz_rec *local, const struct bz_rec *remote,
    uint64_t arrived, struct bz_rec *out, bool *changed, bool *subsumed)
{
    struct bz_rec_merged merged;
    int rc = bz_rec_merge_past(arena, local, remote, NULL, arrived, out, &merged);
    *changed = merged.changed;
    if (rc == 0)
        *subsumed = merged.subsumed;
    return rc;
}

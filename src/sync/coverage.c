/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Telling what replicas have, so that deleted records can be collected (db/coverage.c).
 *
 * COVERED goes out once in the beginning, before any changes, so that a peer learns what was
 * collected while it was away and what we have; again when both sides have come to the head; and
 * from then on when something has changed, not oftener than every gossip_ms. What has not changed
 * is not told again, except once an hour, to say that we are still there.
 */
#include "sync/session_priv.h"

#define GOSSIP_MS   5000u
#define HOUR_MS     3600000u
#define ROWS_MAX    65u
#define ENTRIES_MAX 16384u

enum { ROW_FORGOTTEN = 1, ROW_FLOOR = 2 };

/* ---- bytes ---- */

static void append_vv(struct bz_buf *out, const struct bz_told_vv *vv)
{
    bz_buf_append_varint(out, vv->count);
    for (uint32_t i = 0; i < vv->count; i++)
        bz_summary_append(out, &vv->entries[i].node, vv->entries[i].seq);
}

void bz_covered_encode(struct bz_buf *out, const struct bz_coverage *coverage, bool ages)
{
    append_vv(out, &coverage->purged);
    bz_buf_append64le(out, coverage->purged_stamp);
    bz_buf_append_varint(out, coverage->count);
    for (uint32_t i = 0; i < coverage->count; i++) {
        const struct bz_coverage_row *row = &coverage->rows[i];
        bz_buf_append(out, &row->node, sizeof row->node);
        bz_buf_append8(
            out, (uint8_t)((row->forgotten ? ROW_FORGOTTEN : 0) | (row->floor ? ROW_FLOOR : 0)));
        bz_buf_append_varint(out, ages ? row->age_ms : 0);
        append_vv(out, &row->vv);
    }
}

static int read_vv(
    struct bz_reader *r, struct bz_arena *arena, uint32_t *budget, struct bz_told_vv *out)
{
    uint64_t count = bz_read_varint(r);
    if (!r->ok || count > bz_reader_left(r) / (sizeof(blaze_id) + 1) || count > *budget)
        return BLAZE_EPROTO;
    *budget -= (uint32_t)count;
    struct bz_told_vv vv = {
        bz_arena_alloc(arena, (count + 1) * sizeof *vv.entries), (uint32_t)count};
    if (vv.entries == NULL)
        return BLAZE_ENOMEM;
    for (uint32_t i = 0; i < vv.count; i++) {
        struct bz_bytes id = bz_read_bytes(r, sizeof(blaze_id));
        vv.entries[i].seq = bz_read_varint(r);
        if (!r->ok || vv.entries[i].seq == 0)
            return BLAZE_EPROTO;
        memcpy(&vv.entries[i].node, id.data, sizeof(blaze_id));
    }
    *out = vv;
    return 0;
}

int bz_covered_decode(struct bz_bytes payload, struct bz_arena *arena, struct bz_coverage *out)
{
    struct bz_reader r = bz_reader(payload);
    uint32_t budget = ENTRIES_MAX;
    int rc = read_vv(&r, arena, &budget, &out->purged);
    out->purged_stamp = bz_read64le(&r);
    uint64_t count = bz_read_varint(&r);
    if (rc != 0)
        return rc;
    if (!r.ok || count > ROWS_MAX)
        return BLAZE_EPROTO;
    out->count = (uint32_t)count;
    out->rows = bz_arena_alloc(arena, (count + 1) * sizeof *out->rows);
    if (out->rows == NULL)
        return BLAZE_ENOMEM;
    for (uint32_t i = 0; rc == 0 && i < out->count; i++) {
        struct bz_coverage_row *row = &out->rows[i];
        struct bz_bytes id = bz_read_bytes(&r, sizeof row->node);
        uint8_t flags = bz_read8(&r);
        *row = (struct bz_coverage_row){.forgotten = (flags & ROW_FORGOTTEN) != 0,
            .floor = (flags & ROW_FLOOR) != 0,
            .age_ms = bz_read_varint(&r)};
        if (!r.ok)
            return BLAZE_EPROTO;
        memcpy(&row->node, id.data, sizeof row->node);
        rc = read_vv(&r, arena, &budget, &row->vv);
    }
    return rc;
}

/* ---- telling ---- */

static uint32_t gossip_ms(const struct bz_session *s)
{
    return s->options.gossip_ms != 0 ? s->options.gossip_ms : GOSSIP_MS;
}

/* Moves whenever there may be something new to tell. */
static uint64_t mark_of(const struct bz_session *s)
{
    return s->in.chunks + s->out.chunks_acked + s->status.position_head +
           s->replica.ops->coverage_mark(s->replica.context);
}

static int send(struct bz_session *s, bool anyway, blaze_error *error)
{
    struct bz_covering *c = &s->covering;
    struct bz_coverage coverage;
    bz_arena_reset(&s->in.arena);
    int rc =
        s->replica.ops->coverage_tell(s->replica.context, &s->status.peer, &s->in.arena, &coverage);
    if (rc != 0)
        return bz_error_code(error, rc);
    bz_covered_encode(&s->scratch, &coverage, false);
    struct bz_hash128 digest = bz_hash128(s->scratch.data, s->scratch.size, 0);
    bool same = c->begun && digest.low == c->digest.low && digest.high == c->digest.high;
    bz_buf_clear(&s->scratch);
    if (same && !anyway)
        return 0;
    bz_covered_encode(&s->scratch, &coverage, true);
    if (s->scratch.error != 0)
        return bz_error_code(error, s->scratch.error);
    bz_session_send(s, BZ_FRAME_COVERED);
    c->digest = digest;
    c->sent_ms = s->now_ms;
    return 0;
}

static bool is_live(const struct bz_session *s)
{
    return bz_outgoing_done(s) && bz_incoming_done(s);
}

static bool is_due(const struct bz_session *s)
{
    const struct bz_covering *c = &s->covering;
    if (!c->begun)
        return true;
    if (!is_live(s) || c->mark == mark_of(s))
        return false;
    return !c->was_live || s->now_ms - c->looked_ms >= gossip_ms(s);
}

int bz_coverage_run(struct bz_session *s, bool *more, blaze_error *error)
{
    struct bz_covering *c = &s->covering;
    bool hourly = c->begun && s->now_ms - c->sent_ms >= HOUR_MS;
    if (!s->reconciles)
        return 0;
    if (is_due(s) || hourly) {
        int rc = send(s, hourly, error);
        if (rc != 0)
            return rc;
        c->was_live |= is_live(s);
        c->begun = true;
        c->collect = true;
        c->looked_ms = s->now_ms;
        c->mark = mark_of(s);
    }
    if (!c->collect)
        return 0;
    int rc = s->replica.ops->collect(s->replica.context, &c->collect, error);
    *more |= c->collect;
    return rc;
}

uint64_t bz_coverage_deadline(const struct bz_session *s)
{
    if (!s->reconciles || !s->covering.begun || !is_live(s) || s->covering.mark == mark_of(s))
        return UINT64_MAX;
    return s->covering.looked_ms + gossip_ms(s);
}

/* ---- hearing ---- */

int bz_coverage_heard(struct bz_session *s, struct bz_bytes payload, blaze_error *error)
{
    struct bz_coverage coverage = {0};
    bool stale = false;
    bz_arena_reset(&s->in.arena);
    int rc = bz_covered_decode(payload, &s->in.arena, &coverage);
    if (rc == BLAZE_EPROTO)
        return bz_error_set(error, rc, "what the peer tells of other replicas is malformed");
    if (rc != 0)
        return bz_error_code(error, rc);
    rc = s->replica.ops->coverage_learn(s->replica.context, &coverage, &stale, error);
    s->covering.collect |= rc == 0;
    if (rc == 0 && stale)
        bz_reconcile_ask(s);
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Telling what replicas have, so that deleted records can be collected (db/coverage.c).
 *
 * COVERED goes out once in the beginning, with the request, so that a peer learns what was
 * collected while it was away, and what we have, before it sends or takes over anything; both sides
 * wait for it. It goes again before a head or an answer to RANGES where more was collected
 * meanwhile; again when both sides have come to the head; and from then on when something has
 * changed. Collecting is never urgent, so that is not oftener than every gossip_ms, nor, where
 * there is much to tell, than comes to BYTES_A_SECOND. A lazy direction tells nothing meanwhile: it
 * comes round by the tree (lazy.c). What has not changed is not told again, except once an hour, to
 * say that we are still there.
 */
#include "sync/session_priv.h"

#define GOSSIP_MS      60000u
#define HOUR_MS        3600000u
#define BYTES_A_SECOND 20u

/* ---- telling ---- */

static uint64_t gossip_ms(const struct bz_session *s)
{
    if (s->options.gossip_ms != 0)
        return s->options.gossip_ms;
    uint64_t dear = s->covering.size * 1000u / BYTES_A_SECOND;
    return dear > GOSSIP_MS ? dear : GOSSIP_MS;
}

/* Moves whenever there may be something new to tell. */
static uint64_t mark_of(const struct bz_session *s)
{
    return s->in.chunks + s->out.chunks_acked + s->status.position_head +
           s->replica.ops->coverage_mark(s->replica.context);
}

static int send(struct bz_session *s, bool anyway, bool *told, blaze_error *error)
{
    struct bz_covering *c = &s->covering;
    struct bz_coverage coverage;
    *told = false;
    bz_arena_reset(&s->in.arena);
    int rc =
        s->replica.ops->coverage_tell(s->replica.context, &s->status.peer, &s->in.arena, &coverage);
    if (rc != 0)
        return bz_error_code(error, rc);
    rc = bz_covered_encode(&s->scratch, &s->in.arena, &coverage, false);
    struct bz_hash128 digest = bz_hash128(s->scratch.data, s->scratch.size, 0);
    bool same = c->begun && digest.low == c->digest.low && digest.high == c->digest.high;
    bz_buf_clear(&s->scratch);
    if (rc == 0 && same && !anyway)
        return 0;
    if (rc == BLAZE_ELIMIT) { /* who is not told what we have waits with collecting */
        if (c->begun)
            return 0;
        coverage = (struct bz_coverage){.blind = coverage.blind};
        rc = 0;
    }
    if (rc == 0)
        rc = bz_covered_encode(&s->scratch, &s->in.arena, &coverage, true);
    if (rc != 0)
        return bz_error_code(error, rc);
    c->size = s->scratch.size;
    bz_session_send(s, BZ_FRAME_COVERED);
    c->digest = digest;
    c->sent_ms = s->now_ms;
    *told = true;
    return 0;
}

int bz_coverage_begin(struct bz_session *s, blaze_error *error)
{
    struct bz_covering *c = &s->covering;
    bool told;
    if (!s->reconciles)
        return 0;
    int rc = send(s, true, &told, error);
    c->begun = true;
    c->collect = true;
    c->looked_ms = s->now_ms;
    c->mark = mark_of(s);
    return rc;
}

bool bz_coverage_waits(const struct bz_session *s)
{
    return s->reconciles && !s->covering.heard;
}

int bz_coverage_update(struct bz_session *s, bool *told, blaze_error *error)
{
    return send(s, false, told, error);
}

static bool is_live(const struct bz_session *s)
{
    return bz_outgoing_done(s) && bz_incoming_done(s);
}

static bool is_due(const struct bz_session *s)
{
    const struct bz_covering *c = &s->covering;
    if (!is_live(s) || c->mark == mark_of(s))
        return false;
    return !c->was_live || (!s->lazy.asked && s->now_ms - c->looked_ms >= gossip_ms(s));
}

/* Once an hour in any case. */
static bool is_hourly(const struct bz_session *s)
{
    return s->now_ms - s->covering.sent_ms >= HOUR_MS;
}

bool bz_coverage_has_work(const struct bz_session *s)
{
    return s->reconciles && (is_due(s) || is_hourly(s) || s->covering.collect);
}

int bz_coverage_run(struct bz_session *s, bool *more, blaze_error *error)
{
    struct bz_covering *c = &s->covering;
    bool told;
    if (!s->reconciles)
        return 0;
    if (is_due(s) || is_hourly(s)) {
        int rc = send(s, is_hourly(s), &told, error);
        if (rc != 0)
            return rc;
        c->was_live |= is_live(s);
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

/* A walk passes over what was collected while it went on, and its head covers it. So the peer has
 * to hear of it first: else it would take itself to have had all of it. */
int bz_coverage_before_head(struct bz_session *s, const struct bz_head *head, blaze_error *error)
{
    struct bz_covering *c = &s->covering;
    bool told;
    if (!s->reconciles || c->purged == head->purged)
        return 0;
    c->purged = head->purged;
    return send(s, false, &told, error);
}

void bz_coverage_rests(struct bz_session *s)
{
    s->covering.looked_ms = s->now_ms;
}

uint64_t bz_coverage_deadline(const struct bz_session *s)
{
    if (!s->reconciles || s->lazy.asked || !is_live(s) || s->covering.mark == mark_of(s))
        return UINT64_MAX;
    return s->covering.looked_ms + gossip_ms(s);
}

/* ---- hearing ---- */

int bz_coverage_warn(struct bz_session *s, blaze_error *error)
{
    const struct bz_replica *replica = &s->replica;
    const struct bz_coverage coverage = {.blind = true};
    struct bz_standing standing;
    if (!s->opaque.active || replica->ops->coverage_learn == NULL)
        return 0;
    bz_arena_reset(&s->in.arena);
    return replica->ops->coverage_learn(
        replica->context, &coverage, &s->in.arena, &standing, error);
}

int bz_coverage_heard(struct bz_session *s, struct bz_bytes payload, blaze_error *error)
{
    struct bz_coverage coverage = {0};
    struct bz_standing standing = {0};
    bz_arena_reset(&s->in.arena);
    int rc = bz_covered_decode(payload, &s->in.arena, &coverage);
    if (rc == BLAZE_EPROTO)
        return bz_error_set(error, rc, "what the peer tells of other replicas is malformed");
    if (rc != 0)
        return bz_error_code(error, rc);
    rc = s->replica.ops->coverage_learn(
        s->replica.context, &coverage, &s->in.arena, &standing, error);
    if (rc != 0)
        return rc;
    s->covering.hearsay |= coverage.blind;
    s->covering.collect = true;
    rc = bz_reconcile_heard(s, &standing);
    s->covering.heard = true;
    return rc != 0 ? bz_error_code(error, rc) : 0;
}

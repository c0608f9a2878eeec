/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Partial replicas (crdt/scope.h, docs/replication.md), as a session deals with them.
 *
 * What a partial replica has cannot be told from a version vector and two positions alone: it may
 * have let go of a record, or never been sent one that now comes into its scope. So
 *
 *   - if its scope has filters, or it has let something go by hand, or the sender is blind and does
 *     not know the scope, it is sent complete records only, and nothing is left out because its
 *     version vector covers it (`whole`);
 *   - until it has reached a head under its present scope, it is sent even what came from itself,
 *     for it may have let go of that;
 *   - its head is not taken over: only its own writes count, and only if it claims them.
 *
 * Two partial replicas do not talk to each other: what one has let go of, or was never sent, the
 * other would have to count as missing.
 *
 * A change of our own scope ends the session; the next one begins with the new one.
 */
#include "sync/session_priv.h"

void bz_scope_release(struct bz_session *s)
{
    bz_buf_release(&s->out.scope);
    bz_buf_release(&s->out.before);
}

bool bz_scope_whole(const struct bz_session *s)
{
    return s->in.scope == 0 && !s->out.scoped;
}

/* ---- what we ask for ---- */

static int changed(blaze_error *error)
{
    return bz_error_set(error, BLAZE_EBUSY,
        "what this copy is to hold, or its name, has changed meanwhile: the exchange begins anew");
}

int bz_scope_ask(
    struct bz_session *s, struct bz_arena *arena, struct bz_resume *resume, blaze_error *error)
{
    struct bz_scope_state scope = {0};
    if (s->replica.ops->scope == NULL)
        return 0;
    int rc = s->replica.ops->scope(s->replica.context, arena, &scope);
    if (rc != 0)
        return bz_error_code(error, rc);
    if (scope.generation != s->in.scope)
        return changed(error);
    s->in.looked = s->replica.ops->position(s->replica.context);
    if (scope.scope.size == 0)
        return 0;
    if ((s->features & BZ_FEATURE_FILTERS) == 0)
        return bz_error_set(
            error, BLAZE_EVERSION, "the other end does not serve copies of a part of the database");
    static const uint8_t every[2] = {0, 0};
    s->features &= ~(uint64_t)BZ_FEATURE_LAZY; /* a part is not learnt from others */
    resume->whole = scope.whole || s->status.peer_is_blind;
    resume->empty = scope.empty;
    if (s->status.peer_is_blind) {
        /* It could not tell, and is not to learn, what we want: it sends everything, and does not
         * know what of that has stayed here. */
        resume->scope = bz_bytes(every, sizeof every);
        return 0;
    }
    resume->held = s->in.held;
    resume->scope = scope.scope;
    resume->before = scope.before;
    return 0;
}

int bz_scope_run(struct bz_session *s, bool *more, blaze_error *error)
{
    const struct bz_replica_ops *ops = s->replica.ops;
    struct bz_outgoing *o = &s->out;
    if (ops->scope == NULL)
        return 0;
    if (s->in.scope != 0) {
        struct bz_identity self;
        int rc = ops->identity(s->replica.context, &self);
        if (rc != 0)
            return bz_error_code(error, rc);
        if (memcmp(&self.node, &s->self.node, sizeof self.node) != 0)
            return changed(error);
    }
    uint64_t position = ops->position(s->replica.context);
    if (position != s->in.looked) {
        struct bz_scope_state scope;
        bz_arena_reset(&s->in.arena);
        int rc = ops->scope(s->replica.context, &s->in.arena, &scope);
        if (rc != 0)
            return bz_error_code(error, rc);
        if (scope.generation != s->in.scope)
            return changed(error);
        s->in.looked = position;
    }
    if (s->in.scope == 0 || o->scoped || (o->known.safe == o->swept && !o->sweeping))
        return 0;
    o->swept = o->known.safe;
    o->sweeping = false;
    int rc = ops->acknowledged(s->replica.context, o->known, &o->sweeping, error);
    *more |= rc == 0 && o->sweeping;
    return rc;
}

/* ---- what the peer asks for ---- */

static int keep(struct bz_buf *buf, struct bz_bytes bytes)
{
    bz_buf_init(buf, BZ_SCOPE_BYTES_MAX);
    bz_buf_append(buf, bytes.data, bytes.size);
    return buf->error;
}

int bz_scope_asked(
    struct bz_session *s, const struct bz_resume *resume, bool usable, blaze_error *error)
{
    struct bz_outgoing *o = &s->out;
    uint64_t position = s->replica.ops->position(s->replica.context);
    bz_scope_release(s);
    o->scoped = resume->scope.size > 0;
    if (o->scoped)
        s->features &= ~(uint64_t)BZ_FEATURE_LAZY;
    o->whole = resume->whole;
    o->held = usable && resume->held <= position ? resume->held : 0;
    o->fresh = resume->empty ? position : 0;
    /* Neither could tell the other what is missing, nor be counted on for anything. */
    if (o->scoped && s->in.scope != 0)
        return bz_error_set(error, BLAZE_EBUSY,
            "both ends hold a part of the database only: one must be a full copy");
    int rc = keep(&o->scope, resume->scope);
    if (rc == 0)
        rc = keep(&o->before, resume->before);
    if (rc != 0)
        return bz_error_code(error, rc);
    return s->in.scope == 0 ? 0
                            : s->replica.ops->resumed(s->replica.context, &s->self.node,
                                  &s->status.peer, o->resumed, error);
}

void bz_scope_receive(const struct bz_session *s, struct bz_receiver *receiver)
{
    const struct bz_outgoing *o = &s->out;
    if (!o->scoped)
        return;
    if (o->reached == 0)
        receiver->node = (blaze_id){{0}};
    if (o->whole) {
        receiver->reached = 0;
        receiver->vv = (struct bz_vv){0};
    }
    receiver->scope = bz_buf_bytes(&o->scope);
    receiver->before = bz_buf_bytes(&o->before);
    receiver->held = o->held;
    receiver->fresh = o->fresh;
}

/* ---- what the peer sends ---- */

static int apply_marker(struct bz_session *s, struct bz_apply *apply,
    const struct bz_marker *marker, blaze_error *error)
{
    const struct bz_terms_learnt *terms = &s->in.terms;
    struct bz_change change = {.kind = BZ_CHANGE_MARKER, .id = marker->id};
    struct bz_rec as_rec = {.rvv = marker->rvv};
    int64_t collection = bz_terms_ours(terms, BZ_TERM_COLLECTION, marker->collection);
    bool sound = collection >= 0;
    struct bz_vector rvv = {0};
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && sound && i < as_rec.rvv.count; i++) {
        int64_t node = bz_terms_ours(terms, BZ_TERM_NODE, as_rec.rvv.entries[i].node);
        sound = node >= 0;
        if (sound)
            rc = bz_vector_raise(&rvv, (struct bz_dot){(uint32_t)node, as_rec.rvv.entries[i].seq});
    }
    if (rc == 0 && !sound)
        rc = bz_error_set(error, BLAZE_EPROTO, "the peer sent a malformed marker");
    else if (rc != 0)
        bz_error_code(error, rc);
    if (rc == 0) {
        bool gone = false;
        change.collection = (uint32_t)collection;
        change.rec.rvv = rvv.vv;
        rc = s->replica.ops->apply_marker(apply, &change, &gone, error);
        s->status.received_records++;
        s->status.applied_records += rc == 0 && gone;
    }
    bz_vector_release(&rvv);
    return rc;
}

int bz_scope_markers(
    struct bz_session *s, struct bz_apply *apply, struct bz_body_reader *body, blaze_error *error)
{
    struct bz_marker marker;
    if (s->in.scope == 0)
        return bz_error_set(
            error, BLAZE_EPROTO, "the peer takes this copy for one of a part of the database");
    int rc = bz_body_markers(body);
    while (rc == 0) {
        bz_arena_reset(&s->in.arena);
        rc = bz_body_next_marker(body, &s->in.arena, &marker);
        if (rc != 0)
            break;
        rc = apply_marker(s, apply, &marker, error);
        if (rc != 0)
            return rc;
    }
    if (rc == BLAZE_END)
        return 0;
    if (rc == BLAZE_ENOMEM)
        return bz_error_code(error, rc);
    return bz_error_set(error, BLAZE_EPROTO, "the peer sent a malformed chunk");
}

uint64_t bz_scope_acked(const struct bz_session *s)
{
    const struct bz_outgoing *o = &s->out;
    return o->position_acked > o->resumed ? o->position_acked : o->resumed;
}

void bz_scope_claim_again(struct bz_session *s)
{
    struct bz_outgoing *o = &s->out;
    uint64_t known = bz_vv_get(&o->has.vv, s->in.self);
    if (o->unclaimed && known > o->claimable) {
        o->claimable = known;
        o->head_due = true;
    }
}

int bz_scope_head(struct bz_session *s, const struct bz_body_head *fixed, struct bz_head *head)
{
    struct bz_incoming *in = &s->in;
    bz_scope_claim_again(s);
    head->scoped = fixed->scoped || s->out.scoped;
    if (!head->scoped || BZ_MUTANT(PART_TAKEN_FOR_FULL))
        return 0;
    head->claims = fixed->claims;
    head->vv = (struct bz_vv){0};
    uint32_t peer;
    int rc = s->replica.ops->node_number(s->replica.context, &s->status.peer, &peer);
    if (rc != 0)
        return rc == BLAZE_ENOTFOUND ? 0 : rc;
    in->claim = (struct bz_dot){peer, bz_vv_get(&in->vv.vv, peer)};
    if (fixed->claims && in->claim.seq > 0)
        head->vv = (struct bz_vv){&in->claim, 1};
    return 0;
}

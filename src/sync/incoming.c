/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The peer's changes, from its chunks into our database. A chunk is applied as a whole: its
 * records, the cursor that it leads to and, if it carries the head, what the head says. It must go
 * on exactly where the one before it ended, so that nothing can be left out, repeated or reordered
 * on the way without ending the session.
 *
 * Chunks that have come already while others were being applied are gathered into one commit, as
 * far as BZ_GATHER_CHUNKS go: so a new copy waits for fewer syncs, and its store gets more keys at
 * a time, in their order. What they lead to is part of the session's state at once, and goes back
 * to what is committed (`before`) where all is asked for anew.
 *
 * Whatever is wrong with a chunk leaves the database as it was before the commit that it was to be
 * in.
 */
#include "sync/session_priv.h"

#include "codec/doc.h"

#define PROMPT_BYTES (8u << 10) /* of a chunk, unpacked, that is applied at once */

void bz_incoming_init(struct bz_session *s)
{
    bz_buf_init(&s->in.raw, BZ_FRAME_MAX);
    bz_buf_init(&s->in.renamed, 2 * (size_t)BZ_FRAME_MAX);
    bz_arena_init(&s->in.arena);
}

void bz_incoming_release(struct bz_session *s)
{
    bz_vector_release(&s->in.vv);
    bz_vector_release(&s->in.had);
    bz_terms_learnt_release(&s->in.terms);
    bz_buf_release(&s->in.raw);
    bz_buf_release(&s->in.renamed);
    bz_arena_release(&s->in.arena);
}

static void rest(struct bz_session *s)
{
    if (s->in.raw.capacity > BZ_KEEP_BYTES)
        bz_buf_release(&s->in.raw);
    if (s->in.renamed.capacity > BZ_KEEP_BYTES)
        bz_buf_release(&s->in.renamed);
    if (s->in.arena.total > BZ_KEEP_BYTES)
        bz_arena_release(&s->in.arena);
    if (!s->packer.reading)
        bz_packer_rest_decompressor(&s->packer);
    if (s->out.walk == NULL) /* else it is sealing, and may be learning */
        bz_opaque_rest(s);
}

/* Names and bodies are sealed: one of the two sides is blind. */
static bool is_opaque(const struct bz_session *s)
{
    return s->opaque.active || s->self.blind;
}

/* ---- from the peer's numbers to ours ---- */

static int64_t our_node(void *context, uint32_t theirs)
{
    return bz_terms_ours(context, BZ_TERM_NODE, theirs);
}

static int64_t our_field(void *context, uint32_t theirs)
{
    return bz_terms_ours(context, BZ_TERM_FIELD, theirs);
}

struct names {
    const struct bz_terms_learnt *terms;
    bool renamed; /* some name has another number here */
};

static int check_field(void *context, uint32_t theirs)
{
    struct names *names = context;
    int64_t ours = bz_terms_ours(names->terms, BZ_TERM_FIELD, theirs);
    if (ours < 0)
        return (int)ours;
    names->renamed |= ours != theirs;
    return 0;
}

/* A body in our numbers: as it is if they are the same, else anew in the arena. */
static int rename_body(struct bz_incoming *in, struct bz_bytes *body)
{
    if (body->size == 0)
        return 0;
    struct names names = {&in->terms, false};
    int rc = bz_doc_check(*body, BZ_TERMS_DEFINED_MAX);
    if (rc == 0)
        rc = bz_doc_each_name(*body, check_field, &names);
    if (rc != 0 || !names.renamed)
        return rc;
    bz_buf_clear(&in->renamed);
    rc = bz_doc_rename(&in->renamed, *body, our_field, &in->terms);
    if (rc != 0)
        return rc;
    *body = bz_arena_copy(&in->arena, bz_buf_bytes(&in->renamed));
    return body->data == NULL ? BLAZE_ENOMEM : 0;
}

static int localize(struct bz_session *s, struct bz_rec *rec)
{
    struct bz_incoming *in = &s->in;
    struct bz_renaming to = {our_node, our_field, &in->terms};
    int rc = bz_rec_rename(&in->arena, rec, &to, rec);
    if (is_opaque(s))
        return rc;
    for (uint32_t i = 0; rc == 0 && i < rec->write_count; i++)
        rc = rename_body(in, &rec->writes[i].body);
    return rc;
}

/* ---- a chunk ---- */

static int define(struct bz_session *s, struct bz_apply *apply,
    const struct bz_definition *definition, blaze_error *error)
{
    uint32_t ours;
    struct bz_bytes meaning = definition->meaning;
    if (definition->term == BZ_TERM_DICTIONARY && s->opaque.active)
        return bz_opaque_learn(s, apply, meaning, error);
    int rc = s->opaque.active ? bz_opaque_name(s, definition->term, meaning, &meaning) : 0;
    if (rc == 0)
        rc = s->replica.ops->resolve(apply, definition->term, meaning, &ours, error);
    else if (!bz_opaque_illegible(rc))
        bz_error_code(error, rc);
    bool illegible =
        s->opaque.active && definition->term != BZ_TERM_NODE && bz_opaque_illegible(rc);
    if (rc != 0 && !illegible)
        return rc;
    if (definition->term == BZ_TERM_DICTIONARY)
        bz_opaque_there(s, bz_bytes(meaning.data, BZ_DICTIONARY_NAME));
    rc = illegible ? bz_terms_learn_illegible(&s->in.terms, definition->term, definition->number)
                   : bz_terms_learn(&s->in.terms, definition->term, definition->number, ours);
    return rc != 0 ? bz_error_set(error, rc, "the peer defines a number twice") : 0;
}

/* A record of which no more can be told than that it is there: some name in it is illegible. */
static int hide(struct bz_session *s, struct bz_change *change)
{
    struct bz_renaming to = {our_node, our_field, &s->in.terms};
    struct bz_rec rec = {.rvv = change->rec.rvv};
    int rc = bz_rec_rename(&s->in.arena, &rec, &to, &change->rec);
    change->illegible = change->rec.rvv;
    change->forged = true;
    return rc;
}

/* A record in our numbers. */
static int read_record(
    struct bz_session *s, const struct bz_record *record, struct bz_change *change)
{
    struct bz_incoming *in = &s->in;
    int64_t collection = bz_terms_ours(&in->terms, BZ_TERM_COLLECTION, record->collection);
    bool hidden = collection == BLAZE_EAUTH;
    if (collection < 0 && !hidden)
        return (int)collection;
    change->collection = hidden ? BZ_COLLECTION_NONE : (uint32_t)collection;
    int rc = bz_rec_decode(&in->arena, record->rec, 0, &change->rec);
    if (rc != 0)
        return rc;
    rc = hidden ? 0 : localize(s, &change->rec);
    hidden |= s->opaque.active && bz_opaque_illegible(rc);
    return hidden ? hide(s, change) : rc;
}

static int apply_record(struct bz_session *s, struct bz_apply *apply, uint64_t position,
    const struct bz_record *record, blaze_error *error)
{
    struct bz_incoming *in = &s->in;
    struct bz_change change = {
        .position = position, .id = record->id, .anew = in->anew, .untold = record->untold};
    bz_arena_reset(&in->arena);
    int rc = read_record(s, record, &change);
    if (rc == BLAZE_ENOMEM)
        return bz_error_code(error, rc);
    if (rc != 0)
        return bz_error_set(error, BLAZE_EPROTO, "the peer sent a malformed record");
    if (s->opaque.active && !change.forged) /* else all of it is hidden */
        rc = bz_opaque_open(s, &in->arena, apply, &change, error);
    if (rc != 0)
        return rc;
    bool changed = false;
    rc = s->replica.ops->apply_change(apply, &change, &changed, error);
    s->status.applied_records += rc == 0 && changed;
    s->status.received_records++;
    return rc;
}

/* The reason why a chunk could not be read: its fault, unless memory is short. */
static int unreadable(int code, blaze_error *error)
{
    if (code == BLAZE_ENOMEM)
        return bz_error_code(error, code);
    return bz_error_set(error, BLAZE_EPROTO, "the peer sent a malformed chunk");
}

static int apply_body(struct bz_session *s, struct bz_apply *apply, const struct bz_chunk *chunk,
    struct bz_body_reader *body, struct bz_bytes bytes, blaze_error *error)
{
    struct bz_definition definition;
    struct bz_record record;
    int rc = bz_body_definitions(body, bytes, is_opaque(s));
    while (rc == 0 && (rc = bz_body_next_definition(body, &definition)) == 0) {
        rc = define(s, apply, &definition, error);
        if (rc != 0)
            return rc;
    }
    if (rc == BLAZE_END)
        rc = bz_body_records(body);
    while (rc == 0 && (rc = bz_body_next_record(body, &record)) == 0) {
        rc = apply_record(s, apply, chunk->to, &record, error);
        if (rc != 0)
            return rc;
    }
    return rc == BLAZE_END ? 0 : unreadable(rc, error);
}

static int read_head(struct bz_session *s, struct bz_body_reader *body, struct bz_head *head)
{
    struct bz_body_head fixed;
    struct bz_dot entry;
    int rc = bz_body_head(body, &fixed);
    uint64_t last = 0;
    uint32_t peer;
    if (s->replica.ops->node_number(s->replica.context, &s->status.peer, &peer) != 0)
        peer = UINT32_MAX;
    for (bool first = true; rc == 0 && (rc = bz_body_next_entry(body, &entry)) == 0;
         first = false) {
        int64_t ours = our_node(&s->in.terms, entry.node);
        if (ours < 0 || (!first && entry.node <= last))
            return BLAZE_EPROTO;
        last = entry.node;
        entry.node = (uint32_t)ours;
        rc = bz_vector_raise(&s->in.vv, entry);
        /* It need not be sent those writes either, unless it has asked for everything; a partial
         * replica may have let go of its own. */
        entry.seq += BZ_MUTANT(VECTOR_SKIPS_ONE);
        if (rc == 0 && s->out.round == 0 && !(fixed.scoped && entry.node == peer))
            rc = bz_vector_raise(&s->out.has, entry);
    }
    if (rc != BLAZE_END)
        return rc;
    head->vv = s->in.vv.vv;
    head->digest = fixed.digest;
    head->records = fixed.records;
    head->partial = fixed.partial;
    head->opaque = s->opaque.active;
    return bz_scope_head(s, &fixed, head);
}

struct bz_peer_state bz_incoming_peer(const struct bz_session *s)
{
    return (struct bz_peer_state){
        .epoch = s->peer_epoch,
        .cursor = s->in.cursor,
        .as_of = s->in.as_of,
        .reached = s->in.reached,
        .seen_ms = s->wall_ms,
        .trail = s->in.trail,
        .scoped = s->out.scoped,
        .held = s->in.held,
        .awaits = s->in.awaits,
        .scope = s->in.scope,
        .self = s->in.self,
    };
}

/* Whether something that the peer has sent is missing here, so that no head of it is reached in
 * full: of what it believes to be here it leaves parts out. */
static int find_lacks(struct bz_session *s, struct bz_apply *apply, bool *lacks, blaze_error *error)
{
    const struct bz_replica_ops *ops = s->replica.ops;
    bool asks = s->opaque.active && ops->apply_lacks != NULL;
    return asks ? ops->apply_lacks(apply, lacks, error) : 0;
}

/* What should be equal is not: everything anew, once, from the start of its log. Where there are
 * blind copies it may be so: see db/coverage.c. */
static bool on_diverged(struct bz_session *s)
{
    bool first = !s->in.anew;
    s->status.diverged |= !s->covering.hearsay && !is_opaque(s);
    s->in.anew = true;
    return first;
}

/* A head has come to a partial replica: whether something was not taken in since the peer might not
 * have had what it calls for, and it does by now: writes of ours that belong to it, which it has
 * collected, then; or all that we have been shown. */
static int find_missed(struct bz_session *s, const struct bz_vv *had, bool *out)
{
    struct bz_incoming *in = &s->in;
    struct bz_vv ours;
    int rc = bz_vector_raise_all(&in->had, had);
    if (rc != 0)
        return rc;
    *out = in->awaits.own != 0 && in->awaits.own <= bz_vv_get(&in->had.vv, in->self);
    if (*out || !in->awaits.all)
        return 0;
    bz_arena_reset(&in->arena);
    rc = s->replica.ops->version(s->replica.context, &in->arena, &ours);
    *out = rc == 0;
    for (uint32_t i = 0; *out && i < ours.count; i++)
        *out = ours.entries[i].node == in->self || bz_vv_covers(&in->had.vv, ours.entries[i]);
    return rc;
}

/* Commits what is applied; with the head, if what was gathered leads to the peer's. *again, only
 * with a head: what should be here is not, so that its log is to be read from the start. */
static int commit(struct bz_session *s, const struct bz_head *head, bool *again, blaze_error *error)
{
    struct bz_incoming *in = &s->in;
    struct bz_peer_state state = bz_incoming_peer(s);
    struct bz_apply *apply = in->ahead;
    bool missed = false, lacks = false, diverged = false;
    int rc = 0;
    in->ahead = NULL;
    in->gathered = 0;
    if (head != NULL && in->scope != 0 && (rc = find_missed(s, &head->vv, &missed)) != 0)
        bz_error_code(error, rc);
    if (missed) {
        head = NULL;
        *again = true;
    }
    if (rc == 0)
        rc = find_lacks(s, apply, &lacks, error);
    if (rc != 0) {
        s->replica.ops->apply_abort(apply);
        return rc;
    }
    if (head != NULL) {
        state.reached = lacks ? state.reached : state.cursor;
        state.held = 0;
    }
    rc = s->replica.ops->apply_commit(apply, &state, head, &diverged, error);
    if (rc != 0)
        return rc;
    in->lacks = lacks;
    in->reached = state.reached;
    in->held = state.held;
    in->at_head = head != NULL;
    if (head != NULL)
        in->digest = head->digest;
    if (diverged)
        *again = on_diverged(s);
    return 0;
}

/* A new round: what follows `cursor`, as for one who has reached no head. The peer bears with some.
 */
static int ask_from(struct bz_session *s, uint64_t cursor, blaze_error *error)
{
    if (s->in.round + 1 >= BZ_ROUNDS_MAX)
        return bz_error_set(error, BLAZE_ECLOSED,
            "the peer is to send once more what it left out: it is asked with the next connection");
    s->in.round++;
    s->in.begun = s->in.at_head = s->in.withheld = false;
    s->in.cursor = cursor;
    s->in.reached = 0;
    if (cursor == 0) /* what is before it comes once more */
        s->in.awaits = (struct bz_awaited){0};
    bz_terms_learnt_release(&s->in.terms);
    bz_vector_release(&s->in.vv);
    bz_lazy_reset(s);
    /* With its log it begins its stream anew: chunks of the old one need not be unpacked. */
    bz_packer_rest_decompressor(&s->packer);
    return bz_handshake_ask(s, error);
}

/* From here on there is an apply in `ahead`, for this and what is gathered with it. */
static int begin_apply(struct bz_session *s, blaze_error *error)
{
    struct bz_incoming *in = &s->in;
    int rc = in->ahead != NULL ? 0
                               : s->replica.ops->apply_begin(
                                     s->replica.context, &s->status.peer, &in->ahead, error);
    if (rc != 0 || in->gathered > 0)
        return rc;
    in->before = (struct bz_gathered_from){in->cursor, in->as_of, in->trail};
    if (s->replica.ops->apply_from != NULL)
        s->replica.ops->apply_from(in->ahead, &(struct bz_sender){s->out.scoped, bz_scope_acked(s),
                                                  &in->had.vv, &s->reconcile.collected.vv});
    return 0;
}

/* What was begun, and perhaps gathered, is not to be. */
static void drop(struct bz_session *s)
{
    struct bz_incoming *in = &s->in;
    if (in->ahead != NULL)
        s->replica.ops->apply_abort(in->ahead);
    in->ahead = NULL;
    if (in->gathered == 0)
        return;
    in->gathered = 0;
    in->cursor = in->before.cursor;
    in->as_of = in->before.as_of;
    in->trail = in->before.trail;
}

static void add_awaited(struct bz_awaited *sum, struct bz_awaited more)
{
    if (more.own != 0 && (sum->own == 0 || more.own < sum->own))
        sum->own = more.own;
    sum->all |= more.all;
}

/* A chunk is applied. If it is not the last, the commit is left to who knows whether another has
 * come. */
static void gather(struct bz_session *s, const struct bz_chunk *chunk)
{
    struct bz_incoming *in = &s->in;
    if (in->scope != 0)
        add_awaited(&in->awaits, s->replica.ops->apply_awaits(in->ahead));
    in->gathered++;
    in->cursor = chunk->to;
    in->as_of = chunk->as_of;
    in->at_head = false;
    bz_trail_add(&in->trail, &chunk->openings);
}

int bz_incoming_commit(struct bz_session *s, blaze_error *error)
{
    if (s->in.gathered > 0)
        return commit(s, NULL, NULL, error);
    drop(s); /* nothing was to be applied */
    return 0;
}

int bz_incoming_release_head(struct bz_session *s, blaze_error *error)
{
    struct bz_head head = s->in.withheld_head;
    bool again = false, wait = false;
    if (!s->in.withheld)
        return 0;
    head.vv = s->in.vv.vv;
    int rc = bz_reconcile_head(s, &head, &wait, error);
    if (rc != 0 || wait)
        return rc;
    s->in.withheld = false;
    rc = begin_apply(s, error);
    if (rc == 0)
        rc = commit(s, &head, &again, error);
    return rc == 0 && again ? ask_from(s, 0, error) : rc;
}

/* Where it fails, what was begun is the caller's to drop. */
static int apply_chunk(
    struct bz_session *s, const struct bz_chunk *chunk, struct bz_bytes bytes, blaze_error *error)
{
    struct bz_body_reader body;
    struct bz_head head = {.position = chunk->to};
    bool again = false, wait = false;
    uint64_t received = s->status.received_records, applied = s->status.applied_records;
    int rc = begin_apply(s, error);
    if (rc != 0)
        return rc;
    rc = apply_body(s, s->in.ahead, chunk, &body, bytes, error);
    if (rc == BLAZE_ENOTFOUND) {
        /* It leaves out what it thinks we have, and we have collected it. */
        drop(s);
        return ask_from(s, s->in.cursor, error);
    }
    if (rc == 0 && chunk->markers)
        rc = bz_scope_markers(s, s->in.ahead, &body, error);
    if (rc == 0) {
        rc = chunk->more ? 0 : read_head(s, &body, &head);
        rc = rc == 0 ? bz_body_end(&body) : rc;
        rc = rc == 0 ? 0 : unreadable(rc, error);
    }
    if (rc == 0 && !chunk->more)
        rc = bz_reconcile_head(s, &head, &wait, error);
    if (rc != 0)
        return rc;
    gather(s, chunk);
    if (!chunk->more)
        rc = commit(s, wait ? NULL : &head, &again, error);
    if (rc != 0)
        return rc;
    s->in.begun = true;
    s->in.withheld = wait;
    s->in.withheld_head = head;
    bz_lazy_judge(s, s->status.received_records - received, s->status.applied_records - applied);
    return again ? ask_from(s, 0, error) : 0;
}

/* The first of a round may start at 0, because we asked for that or since our position was of no
 * use to the peer. All openings are then told anew. */
static bool is_anew(const struct bz_incoming *in, const struct bz_chunk *chunk)
{
    return !in->begun && chunk->from == 0;
}

/* Whether the chunk goes on where the last one ended, and its log where that was. */
static bool follows(const struct bz_incoming *in, const struct bz_chunk *chunk)
{
    return is_anew(in, chunk) || (chunk->from == in->cursor && chunk->as_of >= in->as_of);
}

static int take_chunk(struct bz_session *s, struct bz_bytes payload, blaze_error *error)
{
    struct bz_incoming *in = &s->in;
    struct bz_chunk chunk;
    if (bz_chunk_decode(payload, &chunk) != 0)
        return unreadable(BLAZE_EPROTO, error);
    in->chunks++;
    in->ack_due = true;
    if (chunk.round < in->round)
        return 0; /* was on its way when we asked anew */
    if (chunk.round > in->round || !follows(in, &chunk))
        return bz_error_set(
            error, BLAZE_EPROTO, "the peer's changes do not go on where they ended");
    if (chunk.from < in->cursor)
        in->reached = in->held = 0;
    if (is_anew(in, &chunk))
        in->trail = (struct bz_trail){0};
    struct bz_trail trail = in->trail;
    if (!bz_trail_add(&trail, &chunk.openings))
        return bz_error_set(error, BLAZE_EPROTO, "the peer's openings do not follow each other");
    if (in->head < chunk.to)
        in->head = chunk.to;
    struct bz_bytes bytes = chunk.body;
    if (chunk.packing != BZ_PACKING_NONE) {
        bz_buf_clear(&in->raw);
        int rc = bz_unpack(&s->packer, chunk.packing, chunk.body, (size_t)chunk.raw_size, &in->raw);
        if (rc != 0)
            return unreadable(rc, error);
        bytes = bz_buf_bytes(&in->raw);
    }
    int rc = apply_chunk(s, &chunk, bytes, error);
    if (rc == 0 && in->at_head)
        rest(s);
    return rc;
}

int bz_incoming_chunk(struct bz_session *s, struct bz_bytes payload, blaze_error *error)
{
    int rc = take_chunk(s, payload, error);
    if (rc != 0)
        drop(s);
    return rc;
}

bool bz_incoming_prompt(struct bz_session *s, struct bz_bytes payload)
{
    const struct bz_replica_ops *ops = s->replica.ops;
    struct bz_chunk chunk;
    return ops->apply_begin_now != NULL && bz_chunk_decode(payload, &chunk) == 0 &&
           chunk.raw_size <= PROMPT_BYTES &&
           ops->apply_begin_now(s->replica.context, &s->status.peer, &s->in.ahead, NULL) == 0;
}

void bz_incoming_ack(struct bz_session *s)
{
    struct bz_incoming *in = &s->in;
    if (!in->ack_due)
        return;
    in->ack_due = false;
    struct bz_ack ack = {.chunks = in->chunks,
        .position = in->cursor,
        .window = in->window,
        .waiting = in->waiting + (s->input.size - s->input_scanned),
        .lacks = in->lacks};
    bz_ack_encode(&s->scratch, &ack);
    bz_session_send(s, BZ_FRAME_ACK);
}

int bz_incoming_rest(struct bz_session *s, blaze_error *error)
{
    if ((s->features & BZ_FEATURE_ZSTD) == 0)
        return bz_error_set(error, BLAZE_EPROTO, "the peer ends a stream that it may not have");
    bz_packer_rest_decompressor(&s->packer);
    return 0;
}

bool bz_incoming_done(const struct bz_session *s)
{
    return s->in.at_head && s->in.waiting == 0 && !bz_reconcile_busy(s);
}

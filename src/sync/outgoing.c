/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our changes, from the log to the peer.
 *
 * A walk over the log gives the changed records; they are gathered into a chunk of about
 * chunk_bytes, which waits in `ready` until the peer's credit has room for it. The chunk that
 * reaches the walk's end carries the head: our version vector (what is new of it), digest and
 * count. So a chunk either says that there is more or says where it all led.
 *
 * A chunk may be sent while the bytes in flight and its own fit the peer's window, or when nothing
 * is in flight, so that a record larger than the window gets through. At most BZ_CHUNKS_IN_FLIGHT
 * chunks are in flight: a commit on an idle link leaves at once and alone, and what is committed
 * while acknowledgements are awaited leaves together.
 *
 * Not every walk ends in a frame. What we learnt from the peer itself the walk passes over, and if
 * nothing else has happened, there is nothing to say: our position has moved, that is all. It is
 * told with the next head, or once the peer's cursor would lag by BZ_QUIET_POSITIONS.
 *
 * A walk holds a snapshot, so a slow peer must not keep it: after WALK_MS it is closed and opened
 * anew where it stood. Every chunk tells the state of its records, so that makes no difference.
 */
#include "sync/session_priv.h"

#include "codec/doc.h"

#define WALK_MS     1000u
#define FIRST_BYTES ((uint64_t)32 << 10) /* of a session's first chunk; each is twice as large */

void bz_outgoing_init(struct bz_session *s)
{
    struct bz_outgoing *o = &s->out;
    bz_buf_init(&o->defined, BZ_FRAME_MAX);
    bz_buf_init(&o->recorded, 2 * (size_t)BZ_FRAME_MAX); /* a chunk, and a record too much */
    bz_buf_init(&o->marked, BZ_FRAME_MAX);
    bz_buf_init(&o->carry, BZ_FRAME_MAX);
    bz_buf_init(&o->body, BZ_FRAME_MAX);
    bz_buf_init(&o->packed, BZ_FRAME_MAX);
    bz_buf_init(&o->ready, BZ_FRAME_MAX);
}

static void close_walk(struct bz_session *s)
{
    if (s->out.walk != NULL)
        s->replica.ops->changes_close(s->out.walk);
    s->out.walk = NULL;
    bz_buf_clear(&s->out.carry);
}

void bz_outgoing_release(struct bz_session *s)
{
    struct bz_outgoing *o = &s->out;
    close_walk(s);
    bz_vector_release(&o->has);
    bz_vector_release(&o->heads);
    bz_terms_told_release(&o->terms);
    struct bz_buf *buffers[] = {
        &o->defined, &o->recorded, &o->marked, &o->carry, &o->body, &o->packed, &o->ready};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        bz_buf_release(buffers[i]);
    bz_scope_release(s);
}

void bz_outgoing_adapt(struct bz_session *s)
{
    s->out.adapt.lz4 = (s->features & BZ_FEATURE_LZ4) != 0;
    s->out.adapt.zstd = (s->features & BZ_FEATURE_ZSTD) != 0;
    s->out.adapt.near = s->options.near;
}

/* When the stream of compression is given up, unless it goes on; a chunk of it that waits for
 * credit comes first. */
static uint64_t stream_deadline(const struct bz_session *s)
{
    bool idle = s->packer.writing && s->out.ready.size == 0;
    return idle ? s->out.adapt.last_ms + BZ_ADAPT_REST_MS : UINT64_MAX;
}

static void rest_stream(struct bz_session *s)
{
    if (s->now_ms < stream_deadline(s))
        return;
    bz_packer_rest_compressor(&s->packer);
    bz_session_send(s, BZ_FRAME_REST);
}

static void rest(struct bz_session *s)
{
    struct bz_outgoing *o = &s->out;
    struct bz_buf *buffers[] = {
        &o->defined, &o->recorded, &o->marked, &o->carry, &o->body, &o->packed};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        if (buffers[i]->capacity > BZ_KEEP_BYTES)
            bz_buf_release(buffers[i]);
    }
    if (o->ready.size == 0 && o->ready.capacity > BZ_KEEP_BYTES)
        bz_buf_release(&o->ready);
    if (!s->packer.writing)
        bz_packer_rest_compressor(&s->packer);
    bz_opaque_rest(s);
}

/* ---- what the peer says of it ---- */

static int take_summary(struct bz_session *s, struct bz_bytes summary)
{
    blaze_id node;
    uint64_t seq;
    int rc;
    while ((rc = bz_summary_next(&summary, &node, &seq)) == 0) {
        uint32_t number;
        rc = s->replica.ops->node_number(s->replica.context, &node, &number);
        if (rc == 0 && seq > 0)
            rc = bz_vector_raise(&s->out.has, (struct bz_dot){number, seq});
        if (rc != 0 && rc != BLAZE_ENOTFOUND)
            return rc;
    }
    return rc == BLAZE_END ? 0 : rc;
}

/* The peer knows a log of ours that is no more. */
static int outlived(struct bz_session *s, const struct bz_trail *trail, blaze_error *error)
{
    int rc = s->replica.ops->outlived(s->replica.context, &s->self.node, trail, error);
    return rc != 0 ? rc
                   : bz_error_set(error, BLAZE_ECLOSED,
                         "this copy was put back to an older state: it goes on as another node, "
                         "and fetches with the next connection what it has lost");
}

/* Whether the cursor is of our log on its way to what it is. */
static int recognize(struct bz_session *s, const struct bz_resume *resume, enum bz_recognition *out)
{
    if (s->replica.ops->recognize != NULL)
        return s->replica.ops->recognize(s->replica.context, resume->as_of, &resume->trail, out);
    bool beyond = resume->as_of > s->replica.ops->position(s->replica.context);
    *out = beyond ? BZ_CURSOR_OUTLIVED : BZ_CURSOR_GOOD;
    return 0;
}

int bz_outgoing_resume(struct bz_session *s, const struct bz_resume *resume, blaze_error *error)
{
    struct bz_outgoing *o = &s->out;
    if (resume->round != (o->asked ? o->round + 1 : 0) || resume->round >= BZ_ROUNDS_MAX)
        return bz_error_set(error, BLAZE_EPROTO, "the peer asks for everything again and again");
    close_walk(s);
    bz_buf_clear(&o->ready);
    bz_packer_rest_compressor(&s->packer);
    bz_terms_told_release(&o->terms);
    o->dictionaries = 0;
    s->opaque.told = false;
    bz_vector_release(&o->has);
    bz_vector_release(&o->heads);
    bool usable = memcmp(&resume->epoch, &s->self.epoch, sizeof resume->epoch) == 0;
    enum bz_recognition as = BZ_CURSOR_GOOD;
    int rc = usable ? recognize(s, resume, &as) : 0;
    if (rc != 0)
        return bz_error_code(error, rc);
    if (as == BZ_CURSOR_OUTLIVED && s->replica.ops->outlived != NULL)
        return outlived(s, &resume->trail, error);
    usable &= as == BZ_CURSOR_GOOD;
    uint64_t acked = bz_scope_acked(s);
    o->asked = true;
    o->round = resume->round;
    o->told = o->walked = o->position_acked = usable ? resume->position : 0;
    o->reached = usable ? resume->reached : 0;
    o->opening = o->told > 0 && resume->trail.count > 0 ? resume->trail.marks[0]
                                                        : (struct bz_opening_mark){0};
    o->head_due = true;
    o->unclaimed = false;
    o->claimable = 0;
    /* What it asks for once more it has had. */
    o->resumed = resume->round == 0 ? o->position_acked : acked;
    o->asked_at = s->replica.ops->position(s->replica.context);
    o->known = (struct bz_acknowledged){0};
    o->swept = 0;
    bz_lazy_reset(s);
    rc = take_summary(s, resume->summary);
    return rc != 0 ? bz_error_code(error, rc) : bz_scope_asked(s, resume, usable, error);
}

/* The peer has taken over what a head of ours claims of our own writes. */
static int take_claim(struct bz_session *s, const struct bz_sent_chunk *chunk)
{
    s->out.known = (struct bz_acknowledged){s->status.peer, chunk->to, chunk->claimed, s->in.self};
    struct bz_dot claim = {s->in.self, chunk->claimed};
    return claim.seq == 0 ? 0 : bz_vector_raise(&s->out.has, claim);
}

int bz_outgoing_ack(struct bz_session *s, const struct bz_ack *ack, blaze_error *error)
{
    struct bz_outgoing *o = &s->out;
    if (ack->chunks < o->chunks_acked || ack->chunks > o->chunks_sent)
        return bz_error_set(error, BLAZE_EPROTO, "the peer acknowledges what was not sent");
    uint32_t count = (uint32_t)(ack->chunks - o->chunks_acked);
    for (uint32_t i = 0; i < count; i++) {
        const struct bz_sent_chunk *chunk = &o->flight[i];
        o->bytes_in_flight -= chunk->size;
        if (chunk->round != o->round)
            continue;
        o->position_acked = chunk->to;
        if ((chunk->head && !ack->lacks) || BZ_MUTANT(FIELDS_BY_CURSOR))
            o->reached = chunk->to;
        int rc = chunk->claims ? take_claim(s, chunk) : 0;
        if (rc != 0)
            return bz_error_code(error, rc);
        if (i + 1 == count && ack->position != chunk->to)
            return bz_error_set(
                error, BLAZE_EPROTO, "the peer acknowledges a position that was not sent");
    }
    o->in_flight -= count;
    memmove(o->flight, o->flight + count, o->in_flight * sizeof *o->flight);
    o->chunks_acked = ack->chunks;
    o->window = ack->window;
    if (count > 0 && (o->walk != NULL || o->ready.size > 0))
        bz_adapt_vote(&o->adapt, o->bytes_in_flight, ack->waiting);
    return 0;
}

/* ---- terms ---- */

/* Has the peer told what a number of ours means, if it was not yet. */
static int tell(struct bz_session *s, enum bz_term term, uint32_t number)
{
    bool first;
    int rc = bz_terms_tell(&s->out.terms, term, number, &first);
    if (rc != 0 || !first)
        return rc;
    struct bz_definition definition = {.term = term, .number = number};
    rc = s->replica.ops->meaning(s->replica.context, term, number, &definition.meaning);
    if (rc == 0 && s->opaque.active)
        rc = bz_opaque_meaning(s, term, definition.meaning, &definition.meaning);
    if (rc != 0)
        return rc == BLAZE_ENOTFOUND ? BLAZE_ECORRUPT : rc;
    bz_definition_append(&s->out.defined, &definition);
    s->out.definitions++;
    return s->out.defined.error;
}

/* What a blind replica keeps for others it tells before any record, for it cannot know in which
 * they are used. */
static int tell_kept_dictionaries(struct bz_session *s)
{
    struct bz_outgoing *o = &s->out;
    for (; s->self.blind; o->dictionaries++) {
        struct bz_bytes sealed;
        int rc = s->replica.ops->meaning(
            s->replica.context, BZ_TERM_DICTIONARY, o->dictionaries, &sealed);
        if (rc == 0 && !bz_opaque_is_there(s, sealed.data))
            rc = tell(s, BZ_TERM_DICTIONARY, o->dictionaries);
        if (rc != 0)
            return rc == BLAZE_ENOTFOUND ? 0 : rc;
    }
    return 0;
}

/* It stands before the records that it is used in. */
static int tell_used_dictionary(struct bz_session *s)
{
    struct bz_outgoing *o = &s->out;
    struct bz_bytes used = bz_opaque_to_tell(s);
    if (used.size == 0)
        return 0;
    struct bz_definition definition = {.term = BZ_TERM_DICTIONARY};
    int rc = bz_opaque_meaning(s, BZ_TERM_DICTIONARY, used, &definition.meaning);
    if (rc != 0)
        return rc;
    bz_definition_append(&o->defined, &definition);
    o->definitions++;
    s->opaque.told = true;
    return o->defined.error;
}

static int tell_field(void *context, uint32_t number)
{
    return tell(context, BZ_TERM_FIELD, number);
}

static int tell_record(struct bz_session *s, const struct bz_change *change)
{
    const struct bz_rec *rec = &change->rec;
    int rc = tell(s, BZ_TERM_COLLECTION, change->collection);
    for (uint32_t i = 0; rc == 0 && i < rec->rvv.count; i++)
        rc = tell(s, BZ_TERM_NODE, rec->rvv.entries[i].node);
    for (uint32_t i = 0; rc == 0 && i < rec->cell_count; i++)
        rc = tell(s, BZ_TERM_FIELD, rec->cells[i].field);
    if (s->opaque.active || s->self.blind)
        return rc; /* bodies bring their names with them */
    for (uint32_t i = 0; rc == 0 && i < rec->write_count; i++) {
        if (rec->writes[i].body.size > 0)
            rc = bz_doc_each_name(rec->writes[i].body, tell_field, s);
    }
    return rc;
}

/* ---- building a chunk ---- */

static int add_record(struct bz_session *s, const struct bz_change *change)
{
    struct bz_outgoing *o = &s->out;
    struct bz_rec rec = change->rec;
    int rc = tell_record(s, change);
    if (rc == 0 && s->opaque.active) {
        bz_arena_reset(&s->in.arena);
        rc = bz_opaque_seal(s, &s->in.arena, change, &rec);
        if (rc == 0)
            rc = tell_used_dictionary(s);
    }
    if (rc != 0)
        return rc;
    bz_buf_clear(&o->body);
    bz_rec_encode(&o->body, &rec, 0);
    struct bz_record record = {
        change->collection, change->untold, change->id, bz_buf_bytes(&o->body)};
    bz_record_append(&o->recorded, &record);
    return o->body.error != 0 ? o->body.error : o->recorded.error;
}

static int add_marker(struct bz_session *s, const struct bz_change *change)
{
    struct bz_marker marker = {change->collection, change->id, change->rec.rvv};
    int rc = tell(s, BZ_TERM_COLLECTION, marker.collection);
    for (uint32_t i = 0; rc == 0 && i < marker.rvv.count; i++)
        rc = tell(s, BZ_TERM_NODE, marker.rvv.entries[i].node);
    if (rc != 0)
        return rc;
    bz_marker_append(&s->out.marked, &marker);
    s->out.markers++;
    return s->out.marked.error;
}

static size_t gathered(const struct bz_outgoing *o)
{
    return o->defined.size + o->recorded.size + o->marked.size;
}

/* The record that starts at `mark` does not fit any more: it opens the next chunk. */
static int carry_over(struct bz_outgoing *o, size_t mark)
{
    bz_buf_clear(&o->carry);
    bz_buf_append(&o->carry, o->recorded.data + mark, o->recorded.size - mark);
    o->recorded.size = mark;
    return o->carry.error;
}

/* The first ones are small, so that a peer that has nothing to do yet can begin. */
static size_t chunk_size(const struct bz_outgoing *o)
{
    uint64_t size = o->chunks_sent < 4 ? FIRST_BYTES << o->chunks_sent : o->chunk_bytes;
    return (size_t)(size < o->chunk_bytes ? size : o->chunk_bytes);
}

/* Gathers records until the chunk is full or the walk is at its end (*at_end). */
static int gather(struct bz_session *s, bool *at_end, blaze_error *error)
{
    struct bz_outgoing *o = &s->out;
    size_t full = chunk_size(o);
    bz_buf_clear(&o->defined);
    bz_buf_clear(&o->recorded);
    bz_buf_clear(&o->marked);
    o->definitions = o->records = o->markers = 0;
    int told = tell_kept_dictionaries(s);
    if (told != 0)
        return bz_error_code(error, told);
    if (o->carry.size > 0) {
        bz_buf_append(&o->recorded, o->carry.data, o->carry.size);
        bz_buf_clear(&o->carry);
        o->records = 1;
        o->walked = o->carry_to;
    }
    while (gathered(o) < full) {
        struct bz_change change;
        size_t mark = o->recorded.size;
        int rc = s->replica.ops->changes_next(o->walk, &change, error);
        if (rc == BLAZE_END) {
            *at_end = true;
            return o->recorded.error != 0 ? bz_error_code(error, o->recorded.error) : 0;
        }
        if (rc != 0)
            return rc;
        uint64_t position = s->replica.ops->changes_position(o->walk);
        if (position > o->limit)
            return 0;
        o->limit = UINT64_MAX; /* what the peer lacks is sent with all that follows */
        if (change.kind != BZ_CHANGE_RECORD) {
            rc = change.kind == BZ_CHANGE_MARKER ? add_marker(s, &change) : 0;
            if (rc != 0)
                return bz_error_code(error, rc);
            o->walked = position;
            if (change.kind == BZ_CHANGE_NONE)
                return 0; /* a chunk that only says how far it goes, so that the walk can rest */
            continue;
        }
        rc = add_record(s, &change);
        if (rc == 0 && o->records + o->markers > 0 && gathered(o) > full) {
            o->carry_to = position;
            rc = carry_over(o, mark);
            return rc != 0 ? bz_error_code(error, rc) : 0;
        }
        if (rc != 0)
            return bz_error_code(error, rc);
        o->records++;
        o->walked = position;
    }
    return 0;
}

/* Whether the version vector says something that the peer has not been told, nor has told us. */
static bool has_news(const struct bz_session *s, const struct bz_vv *vv)
{
    for (uint32_t i = 0; i < vv->count; i++) {
        if (!bz_vv_covers(&s->out.heads.vv, vv->entries[i]) && !bz_lazy_peer_has(s, vv->entries[i]))
            return true;
    }
    return false;
}

/* Appends the head; its entries are those that no head of ours has told. */
static int append_head(struct bz_session *s, const struct bz_head *head)
{
    struct bz_outgoing *o = &s->out;
    struct bz_body_head body = {.records = head->records,
        .digest = head->digest,
        .partial = head->partial,
        .scoped = head->scoped,
        .claims = head->claims};
    uint64_t entries = 0;
    for (uint32_t i = 0; i < head->vv.count; i++)
        entries += !bz_vv_covers(&o->heads.vv, head->vv.entries[i]);
    bz_head_append(&o->body, &body, entries);
    for (uint32_t i = 0; i < head->vv.count; i++) {
        struct bz_dot entry = head->vv.entries[i];
        if (bz_vv_covers(&o->heads.vv, entry))
            continue;
        bz_head_append_entry(&o->body, entry);
        int rc = bz_vector_raise(&o->heads, entry);
        /* It will have all that before it sees a later chunk: so no need to say it again. Not so
         * where either is a partial replica. */
        if (rc == 0 && o->round == 0 && !head->scoped && !o->scoped)
            rc = bz_vector_raise(&o->has, entry);
        if (rc != 0)
            return rc;
    }
    return o->body.error;
}

static int tell_head(struct bz_session *s, const struct bz_head *head)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < head->vv.count; i++) {
        if (!bz_vv_covers(&s->out.heads.vv, head->vv.entries[i]))
            rc = tell(s, BZ_TERM_NODE, head->vv.entries[i].node);
    }
    return rc;
}

/* The openings up to that of the head that the chunk is read from, where they are news. */
static int find_openings(struct bz_session *s, uint64_t as_of, struct bz_trail *out)
{
    struct bz_outgoing *o = &s->out;
    out->count = 0;
    if (s->replica.ops->changes_openings == NULL)
        return 0;
    int rc = s->replica.ops->changes_openings(o->walk, &o->opening, as_of, out);
    if (rc == 0 && out->count > 0)
        o->opening = out->marks[0];
    return rc;
}

/* Makes the frame of what was gathered, in `ready`. `head` is NULL if there is more. */
static int make_frame(struct bz_session *s, const struct bz_head *head)
{
    struct bz_outgoing *o = &s->out;
    struct bz_trail openings;
    uint64_t as_of =
        head != NULL || BZ_MUTANT(AS_OF_CURSOR) ? o->walked : s->replica.ops->changes_end(o->walk);
    int rc = head != NULL ? tell_head(s, head) : 0;
    if (rc == 0)
        rc = find_openings(s, as_of, &openings);
    if (rc != 0)
        return rc;
    bz_buf_clear(&o->body);
    bz_buf_clear(&o->packed);
    bz_buf_clear(&o->ready);
    bz_body_encode(&o->body, o->definitions, bz_buf_bytes(&o->defined), o->records,
        bz_buf_bytes(&o->recorded));
    if (o->markers > 0) {
        bz_buf_append_varint(&o->body, o->markers);
        bz_buf_append(&o->body, o->marked.data, o->marked.size);
    }
    if (head != NULL)
        rc = append_head(s, head);
    struct bz_bytes raw = bz_buf_bytes(&o->body);
    bool on = bz_adapt_keeps(&o->adapt, raw.size, s->now_ms) || head == NULL;
    struct bz_chunk chunk = {
        .packing = bz_pack(&s->packer, bz_adapt_method(&o->adapt), !on, raw, &o->packed),
        .more = head == NULL,
        .markers = o->markers > 0,
        .round = o->round,
        .from = o->told,
        .to = o->walked,
        .as_of = as_of,
        .raw_size = raw.size,
        .openings = openings,
    };
    bz_buf_clear(&s->scratch);
    bz_chunk_encode(&s->scratch, &chunk); /* without the body, which follows as it is */
    bz_frame_append_parts(&o->ready, BZ_FRAME_CHANGES, bz_buf_bytes(&s->scratch),
        chunk.packing != BZ_PACKING_NONE ? bz_buf_bytes(&o->packed) : raw);
    bz_buf_clear(&s->scratch);
    if (rc == 0)
        rc = o->body.error != 0 ? o->body.error : o->ready.error;
    o->ready_records = o->records;
    o->ready_chunk = (struct bz_sent_chunk){
        .round = o->round,
        .to = o->walked,
        .size = o->ready.size,
        .head = head != NULL,
        .claims = head != NULL && head->claims,
        .claimed = head != NULL && head->claims ? bz_vv_get(&head->vv, head->self) : 0,
    };
    o->head_due = head == NULL;
    o->unclaimed = head != NULL && head->scoped && !head->claims;
    bz_scope_claim_again(s);
    return rc;
}

/* The walk is at its end: says so if there is anything to say. */
static int finish_walk(struct bz_session *s, blaze_error *error)
{
    struct bz_outgoing *o = &s->out;
    struct bz_head head;
    int rc = s->replica.ops->changes_head(o->walk, &head);
    if (rc != 0)
        return bz_error_code(error, rc);
    if (head.self != s->in.self && !BZ_MUTANT(FORMER_NODE_GOES_ON))
        return bz_error_set(error, BLAZE_ECLOSED,
            "this copy goes on as another node, also to this peer, with the next connection");
    if (o->walked < head.position)
        o->walked = head.position;
    bool news = o->limit == UINT64_MAX ? has_news(s, &head.vv) : bz_lazy_news(s);
    if (o->head_due || o->records + o->markers > 0 || news ||
        o->walked - o->told >= BZ_QUIET_POSITIONS) {
        rc = bz_coverage_before_head(s, &head, error);
        if (rc != 0)
            return rc;
        rc = make_frame(s, &head);
    } else if (o->walked > o->limit) {
        o->walked = o->limit; /* beyond it the peer has not heard that we have what it has */
    }
    if (rc != 0)
        return bz_error_code(error, rc);
    close_walk(s);
    bz_lazy_walked(s);
    return 0;
}

/* What our HAVE told the peer has said that it has too; what came since waits for the next. */
static void end_at_limit(struct bz_session *s)
{
    close_walk(s);
    s->out.walked = s->out.limit;
    bz_lazy_walked(s);
}

static int open_walk(struct bz_session *s, blaze_error *error)
{
    struct bz_receiver receiver = {
        .reached = s->out.reached, .vv = s->out.has.vv, .collected = s->reconcile.collected.vv};
    if (s->out.round == 0)
        receiver.node = s->status.peer; /* else it wants even what it once sent us itself */
    if (s->out.reached == 0) /* it may have been a partial replica, which lets go of that, too */
        receiver.lost = s->out.asked_at;
    bz_scope_receive(s, &receiver);
    if (s->in.scope != 0) {
        receiver.peer = s->status.peer;
        receiver.acked = bz_scope_acked(s);
        s->out.claimable = bz_vv_get(&s->out.has.vv, s->in.self);
    }
    s->out.walk_since_ms = s->now_ms;
    s->out.limit = bz_lazy_limit(s);
    receiver.lazy = s->out.limit != UINT64_MAX;
    return s->replica.ops->changes_open(
        s->replica.context, &receiver, s->out.walked, &s->out.walk, error);
}

static int build(struct bz_session *s, blaze_error *error)
{
    bool at_end = false;
    int rc = s->out.walk == NULL ? open_walk(s, error) : 0;
    if (rc == 0)
        rc = gather(s, &at_end, error);
    if (rc != 0)
        return rc;
    if (at_end)
        return finish_walk(s, error);
    if (s->out.records == 0 && s->out.limit != UINT64_MAX) {
        end_at_limit(s);
        return 0;
    }
    if (BZ_MUTANT(VECTOR_EARLY)) {
        struct bz_head head;
        rc = s->replica.ops->changes_head(s->out.walk, &head);
        return rc == 0 ? make_frame(s, &head) : rc;
    }
    rc = make_frame(s, NULL);
    return rc != 0 ? bz_error_code(error, rc) : 0;
}

/* ---- sending ---- */

static bool flight_is_full(const struct bz_outgoing *o)
{
    return o->in_flight == BZ_CHUNKS_IN_FLIGHT ||
           (o->in_flight > 0 && o->bytes_in_flight >= o->window);
}

/* Sends the frame that is ready, if credit allows. */
static void flush(struct bz_session *s)
{
    struct bz_outgoing *o = &s->out;
    if (o->ready.size == 0 || flight_is_full(o))
        return;
    if (o->in_flight > 0 && o->bytes_in_flight + o->ready.size > o->window)
        return;
    bz_buf_append(&s->output, o->ready.data, o->ready.size);
    o->flight[o->in_flight++] = o->ready_chunk;
    o->bytes_in_flight += o->ready.size;
    o->chunks_sent++;
    o->told = o->ready_chunk.to;
    s->status.sent_records += o->ready_records;
    bz_buf_clear(&o->ready);
}

/* Whether the log, or what we know of others, has moved since the last walk. */
static int look(struct bz_session *s, bool *due)
{
    struct bz_outgoing *o = &s->out;
    s->status.position_head = s->replica.ops->position(s->replica.context);
    *due = o->walk != NULL || o->head_due || s->status.position_head > o->walked;
    if (*due)
        return 0;
    struct bz_vv vv;
    bz_arena_reset(&s->in.arena);
    int rc = s->replica.ops->version(s->replica.context, &s->in.arena, &vv);
    if (rc == 0)
        *due = has_news(s, &vv);
    return rc;
}

/* Whether a walk is to begin, or to go on, now. */
static int is_due(struct bz_session *s, bool *due)
{
    int rc = look(s, due);
    return rc != 0 ? rc : bz_lazy_hold(s, due);
}

/* What was built before has not been taken yet: what changes until then gathers into one chunk. */
static bool output_waits(struct bz_session *s)
{
    return bz_session_output(s).size > 0;
}

static uint64_t walk_deadline(const struct bz_session *s)
{
    return s->out.walk == NULL ? UINT64_MAX : s->out.walk_since_ms + WALK_MS;
}

uint64_t bz_outgoing_wait(struct bz_session *s)
{
    if (s->now_ms >= walk_deadline(s))
        close_walk(s);
    return walk_deadline(s);
}

int bz_outgoing_run(struct bz_session *s, bool *more, blaze_error *error)
{
    struct bz_outgoing *o = &s->out;
    flush(s);
    bz_outgoing_wait(s);
    rest_stream(s);
    bool due;
    int rc = is_due(s, &due);
    if (rc != 0)
        return bz_error_code(error, rc);
    if (!due) {
        rest(s);
        return 0;
    }
    if (o->ready.size > 0 || flight_is_full(o))
        return 0; /* an acknowledgement comes first */
    if (bz_opaque_waits(s))
        return 0; /* the peer's first chunk comes first */
    if (bz_coverage_waits(s) || bz_reconcile_busy(s))
        return 0; /* what is here may not be what it should be */
    if (output_waits(s))
        return 0; /* it is called again when that was taken */
    rc = build(s, error);
    if (rc != 0)
        return rc;
    flush(s);
    if (o->walk == NULL) {
        rc = is_due(s, &due);
        *more |= due;
        return rc != 0 ? bz_error_code(error, rc) : 0;
    }
    *more |= o->ready.size == 0 && !flight_is_full(o);
    return 0;
}

bool bz_outgoing_done(const struct bz_session *s)
{
    const struct bz_outgoing *o = &s->out;
    return o->asked && o->walk == NULL && o->ready.size == 0 && o->in_flight == 0 && !o->head_due &&
           o->walked >= s->status.position_head;
}

uint64_t bz_outgoing_deadline(const struct bz_session *s)
{
    uint64_t walk = walk_deadline(s);
    uint64_t stream = stream_deadline(s);
    return walk < stream ? walk : stream;
}

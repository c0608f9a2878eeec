/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many links and no storm: which links carry changes at once, and how the others learn that there
 * is nothing to carry.
 *
 * Each direction of a link is *eager* or *lazy*. Eager ones send what is new at once; all begin so.
 * Whoever gets chunks of which nothing was new had it from elsewhere, and asks that the direction
 * be lazy. So the eager directions thin out to a tree. On a lazy one what is new waits:
 *
 *     idle --news--> taken --half a delay--> HAVE sent --all confirmed--> walk --> idle, or taken
 *
 * HAVE says how far our version vector had come when the news were taken: what is told has had the
 * time to come by the tree. As the other side says the same, it is confirmed, the walk over our log
 * up to there finds nothing left to send, and nothing is sent.
 *
 * Who is told what is not there waits for a moment, each node and each link in its turn, so that
 * not all neighbours ask for the same. If it has not come by then, the tree is broken or slow
 * there: a HAVE of its own says what need not be sent, and PACE makes the link eager, in both
 * directions. That is how the tree is mended. Who does not ask (a partial replica does not know
 * what it lacks) is walked for and sent it some delays later, confirmed or not.
 *
 * HAVE serves to leave out and to ask for: no version vector is taken over from it. Catching up is
 * never lazy, nor is anything before the session has been live once.
 */
#include "sync/session_priv.h"

#include "base/alloc.h"

#define NEVER       UINT64_MAX
#define NOT_HERE    UINT32_MAX
#define NAMES_FIRST 16u

/* Two chunks in a row that bring nothing new, or about two of five, and the direction becomes lazy.
 * One is no reason: where writes from two sides meet in a circle, it would be cut at both places.
 */
#define ECHO    3u
#define NO_ECHO 2u
#define ECHOES  6u

/* A walk without confirmation comes so many delays after HAVE. */
#define WALK_DELAYS 4u

struct bz_lazy_name {
    blaze_id id;
    uint64_t seq;  /* told so far */
    uint64_t due;  /* of that, what is to be here by ask_ms */
    uint64_t here; /* is here, as far as was looked */
};

void bz_lazy_init(struct bz_session *s)
{
    s->lazy.take_ms = s->lazy.have_ms = s->lazy.walk_ms = s->lazy.ask_ms = NEVER;
}

void bz_lazy_release(struct bz_session *s)
{
    struct bz_lazy *l = &s->lazy;
    bz_vector_release(&l->news);
    bz_vector_release(&l->told);
    bz_vector_release(&l->has);
    bz_terms_learnt_release(&l->indexes);
    bz_free(l->names);
    l->names = NULL;
    l->name_count = l->name_room = 0;
}

static bool spoken(const struct bz_session *s)
{
    return (s->features & BZ_FEATURE_LAZY) != 0;
}

static bool is_lazy(const struct bz_session *s)
{
    return s->lazy.asked && s->lazy.settled && s->out.round == 0;
}

static void go_idle(struct bz_lazy *l)
{
    l->take_ms = l->have_ms = l->walk_ms = NEVER;
}

void bz_lazy_reset(struct bz_session *s)
{
    s->lazy.asked = s->lazy.wished = s->lazy.mending = false;
    s->lazy.echoes = 0;
    s->lazy.ask_ms = NEVER;
    go_idle(&s->lazy);
}

/* ---- our news, on a lazy direction ---- */

/* The number of a node of ours in our HAVEs; *first if it must be named. NOT_HERE: no more room. */
static int index_of(struct bz_lazy *l, uint32_t node, uint32_t *out, bool *first)
{
    int64_t index = bz_terms_ours(&l->indexes, BZ_TERM_NODE, node);
    *first = index < 0;
    *out = index < 0 ? l->index_count : (uint32_t)index;
    if (index >= 0)
        return 0;
    if (l->index_count == BZ_HAVE_MAX) {
        *out = NOT_HERE;
        return 0;
    }
    return bz_terms_learn(&l->indexes, BZ_TERM_NODE, node, l->index_count++);
}

static int tell_entry(struct bz_session *s, struct bz_dot entry)
{
    struct bz_lazy *l = &s->lazy;
    struct bz_have have = {.advance = entry.seq - bz_vv_get(&l->told.vv, entry.node)};
    int rc = index_of(l, entry.node, &have.index, &have.named);
    if (rc != 0 || have.index == NOT_HERE)
        return rc;
    if (have.named) {
        struct bz_bytes meaning;
        rc = s->replica.ops->meaning(s->replica.context, BZ_TERM_NODE, entry.node, &meaning);
        if (rc != 0 || meaning.size != sizeof have.node)
            return rc == 0 || rc == BLAZE_ENOTFOUND ? BLAZE_ECORRUPT : rc;
        memcpy(&have.node, meaning.data, sizeof have.node);
    }
    bz_have_append(&s->scratch, &have);
    rc = bz_vector_raise(&l->told, entry);
    return rc != 0 ? rc : s->scratch.error;
}

/* Whether the peer knows that we have this: we said so, or it gave it to us. */
static bool known(const struct bz_session *s, struct bz_dot entry)
{
    return bz_vv_covers(&s->lazy.told.vv, entry) || bz_vv_covers(&s->out.heads.vv, entry) ||
           bz_vv_covers(&s->in.vv.vv, entry);
}

static int take_news(struct bz_session *s)
{
    struct bz_lazy *l = &s->lazy;
    struct bz_vv vv;
    bz_arena_reset(&s->in.arena);
    int rc = s->replica.ops->version(s->replica.context, &s->in.arena, &vv);
    bz_vector_release(&l->news);
    for (uint32_t i = 0; rc == 0 && i < vv.count; i++) {
        if (!known(s, vv.entries[i]))
            rc = bz_vector_raise(&l->news, vv.entries[i]);
    }
    l->news_position = s->status.position_head;
    return rc;
}

static int tell_have(struct bz_session *s)
{
    const struct bz_vv *news = &s->lazy.news.vv;
    int rc = 0;
    bz_buf_clear(&s->scratch);
    for (uint32_t i = 0; rc == 0 && i < news->count; i++) {
        if (!known(s, news->entries[i]))
            rc = tell_entry(s, news->entries[i]);
    }
    if (rc == 0 && s->scratch.size > 0)
        bz_session_send(s, BZ_FRAME_HAVE);
    bz_buf_clear(&s->scratch);
    return rc;
}

/* The walk may go as far as the last HAVE told. */
static void promise_walk(struct bz_session *s)
{
    struct bz_lazy *l = &s->lazy;
    l->mark = l->told_position;
    /* Each pair in its turn: if all neighbours found something, they would all send it. */
    uint32_t turn = (s->self.node.bytes[15] ^ s->status.peer.bytes[15]) % 16;
    l->walk_ms = l->told_ms + (uint64_t)s->options.lazy_ms * (16 * WALK_DELAYS + turn) / 16;
}

static int offer(struct bz_session *s)
{
    struct bz_lazy *l = &s->lazy;
    l->told_position = l->news_position;
    l->told_ms = s->now_ms;
    l->have_ms = NEVER;
    if (l->walk_ms == NEVER)
        promise_walk(s);
    return tell_have(s);
}

/* One HAVE a delay, of what half a delay ago was here. */
static int prepare(struct bz_session *s)
{
    struct bz_lazy *l = &s->lazy;
    uint64_t half = s->options.lazy_ms / 2;
    if (l->have_ms != NEVER)
        return s->now_ms >= l->have_ms ? offer(s) : 0;
    if (l->take_ms == NEVER)
        l->take_ms = s->now_ms > l->told_ms + half ? s->now_ms : l->told_ms + half;
    if (s->now_ms < l->take_ms)
        return 0;
    l->take_ms = NEVER;
    l->have_ms = s->now_ms + half;
    return take_news(s);
}

int bz_lazy_hold(struct bz_session *s, bool *due)
{
    struct bz_lazy *l = &s->lazy;
    struct bz_outgoing *o = &s->out;
    if (!*due || !is_lazy(s)) {
        go_idle(l);
        return 0;
    }
    if (o->walk != NULL || o->head_due || o->ready.size > 0)
        return 0;
    if (l->walk_ms != NEVER && !bz_lazy_news(s)) {
        l->mark = l->told_position;
        l->walk_ms = s->now_ms;
    }
    *due = s->now_ms >= l->walk_ms;
    return prepare(s);
}

uint64_t bz_lazy_limit(const struct bz_session *s)
{
    bool far = s->lazy.mark - s->out.told >= BZ_FAR_POSITIONS; /* then go on to the head */
    return is_lazy(s) && s->lazy.walk_ms != NEVER && !s->out.head_due && !far ? s->lazy.mark
                                                                              : NEVER;
}

bool bz_lazy_news(const struct bz_session *s)
{
    const struct bz_vv *told = &s->lazy.told.vv;
    for (uint32_t i = 0; i < told->count; i++) {
        if (!bz_vv_covers(&s->out.heads.vv, told->entries[i]) &&
            !bz_lazy_peer_has(s, told->entries[i]))
            return true;
    }
    return false;
}

void bz_lazy_walked(struct bz_session *s)
{
    struct bz_lazy *l = &s->lazy;
    if (l->walk_ms == NEVER)
        return;
    if (l->told_position > s->out.walked)
        promise_walk(s);
    else
        l->walk_ms = NEVER;
}

/* What is overdue waits for an acknowledgement, not for the clock. */
static uint64_t later(uint64_t ms, uint64_t now_ms)
{
    return ms > now_ms ? ms : NEVER;
}

uint64_t bz_lazy_deadline(const struct bz_session *s)
{
    const struct bz_lazy *l = &s->lazy;
    uint64_t first = l->ask_ms, times[] = {l->take_ms, l->have_ms, l->walk_ms};
    for (int i = 0; i < 3; i++) {
        uint64_t ms = later(times[i], s->now_ms);
        first = ms < first ? ms : first;
    }
    return first;
}

/* ---- what the peer says ---- */

static void wish(struct bz_session *s, bool lazy)
{
    s->lazy.wished = lazy;
    s->lazy.wished_ms = s->now_ms;
    s->lazy.echoes = 0;
    bz_pace_encode(&s->scratch, lazy);
    bz_session_send(s, BZ_FRAME_PACE);
}

bool bz_lazy_peer_has(const struct bz_session *s, struct bz_dot entry)
{
    return bz_vv_covers(&s->in.vv.vv, entry) || bz_vv_covers(&s->lazy.has.vv, entry);
}

static int learn_name(struct bz_lazy *l, const blaze_id *id)
{
    if (l->name_count == l->name_room) {
        uint32_t room = l->name_room == 0 ? NAMES_FIRST : l->name_room * 2;
        struct bz_lazy_name *names = bz_realloc(l->names, room * sizeof *names);
        if (names == NULL)
            return BLAZE_ENOMEM;
        l->names = names;
        l->name_room = room;
    }
    l->names[l->name_count++] = (struct bz_lazy_name){.id = *id};
    return 0;
}

static int take_entry(struct bz_session *s, const struct bz_have *have)
{
    struct bz_lazy *l = &s->lazy;
    int rc = have->named ? learn_name(l, &have->node) : 0;
    if (rc != 0)
        return rc;
    struct bz_lazy_name *name = &l->names[have->index];
    if (have->advance > UINT64_MAX - name->seq)
        return BLAZE_EPROTO;
    name->seq += have->advance;
    struct bz_dot entry = {.seq = name->seq};
    rc = s->replica.ops->node_number(s->replica.context, &name->id, &entry.node);
    if (rc != 0)
        return rc == BLAZE_ENOTFOUND ? 0 : rc; /* nothing of that node is here to be left out */
    rc = bz_vector_raise(&l->has, entry);
    if (rc == 0 && s->out.round == 0)
        rc = bz_vector_raise(&s->out.has, entry);
    return rc;
}

/* Our version vector, and what was left out on the way, of which it says nothing. */
static int load_version(struct bz_session *s, struct bz_vv *vv, struct bz_vv *left_out)
{
    const struct bz_replica_ops *ops = s->replica.ops;
    *left_out = (struct bz_vv){0};
    bz_arena_reset(&s->in.arena);
    int rc = ops->version(s->replica.context, &s->in.arena, vv);
    return rc == 0 && ops->left_out != NULL
               ? ops->left_out(s->replica.context, &s->in.arena, left_out)
               : rc;
}

/* Whether something is not here that is due. Of a node whose entry stands still that is not known,
 * and what comes again and again would not be here either. */
static int lacks(struct bz_session *s, bool *out)
{
    struct bz_lazy *l = &s->lazy;
    struct bz_vv vv, left_out;
    int rc = load_version(s, &vv, &left_out);
    *out = false;
    for (uint32_t i = 0; rc == 0 && !*out && i < l->name_count; i++) {
        struct bz_lazy_name *name = &l->names[i];
        struct bz_dot due = {.seq = name->due};
        if (due.seq <= name->here)
            continue;
        rc = s->replica.ops->node_number(s->replica.context, &name->id, &due.node);
        bool stands = rc == 0 && bz_vv_get(&left_out, due.node) > bz_vv_get(&vv, due.node);
        if (stands)
            continue;
        *out = rc == BLAZE_ENOTFOUND || (rc == 0 && !bz_vv_covers(&vv, due));
        rc = rc == BLAZE_ENOTFOUND ? 0 : rc;
        if (rc == 0 && !*out)
            name->here = due.seq;
    }
    return rc;
}

/* What the peer has told and is not here may be on its way from elsewhere: it has until our turn.
 */
static int expect(struct bz_session *s)
{
    struct bz_lazy *l = &s->lazy;
    bool lacking;
    for (uint32_t i = 0; i < l->name_count; i++)
        l->names[i].due = l->names[i].seq;
    int rc = lacks(s, &lacking);
    uint32_t turn = s->self.node.bytes[15] % 16u * 16u + s->status.peer.bytes[15] % 16u;
    if (rc == 0 && lacking)
        l->ask_ms = s->now_ms + (uint64_t)s->options.lazy_ms * (1 + turn) / 256;
    return rc;
}

int bz_lazy_run(struct bz_session *s, blaze_error *error)
{
    struct bz_lazy *l = &s->lazy;
    bool lacking;
    if (s->now_ms < l->ask_ms)
        return 0;
    l->ask_ms = NEVER;
    int rc = lacks(s, &lacking);
    if (rc == 0 && !lacking) {
        rc = expect(s); /* what was told meanwhile */
        return rc != 0 ? bz_error_code(error, rc) : 0;
    }
    if (rc == 0)
        rc = take_news(s);
    if (rc == 0)
        rc = tell_have(s);
    if (rc != 0)
        return bz_error_code(error, rc);
    wish(s, false);
    l->mending = true;
    return 0;
}

int bz_lazy_have(struct bz_session *s, struct bz_bytes payload, blaze_error *error)
{
    struct bz_have have;
    int rc = spoken(s) ? 0 : BLAZE_EPROTO;
    while (rc == 0 && (rc = bz_have_next(&payload, s->lazy.name_count, &have)) == 0)
        rc = take_entry(s, &have);
    if (rc == BLAZE_END)
        rc = s->lazy.ask_ms == NEVER && s->in.round == 0 && bz_scope_whole(s) ? expect(s) : 0;
    if (rc == 0)
        return 0;
    return rc == BLAZE_EPROTO
               ? bz_error_set(error, rc, "the peer's word of what it has is malformed")
               : bz_error_code(error, rc);
}

int bz_lazy_pace(struct bz_session *s, struct bz_bytes payload, blaze_error *error)
{
    bool lazy;
    if (!spoken(s) || bz_pace_decode(payload, &lazy) != 0)
        return bz_error_set(error, BLAZE_EPROTO, "the peer's wish of a pace is malformed");
    s->lazy.asked = lazy;
    if (!lazy) { /* both directions are eager then */
        s->lazy.wished = false;
        s->lazy.echoes = 0;
        bz_coverage_rests(s);
    }
    go_idle(&s->lazy);
    return 0;
}

/* ---- which links are eager ---- */

void bz_lazy_judge(struct bz_session *s, uint64_t records, uint64_t changed)
{
    struct bz_lazy *l = &s->lazy;
    if (l->mending) { /* what the peer has its head has told: no more than that is sent it */
        l->mending = l->asked = false;
        bz_coverage_rests(s);
    }
    if (records == 0 || !l->settled || s->in.round != 0 || !spoken(s))
        return;
    if (l->wished) {
        /* What was on its way when we asked says nothing. */
        if (changed > 0 && s->now_ms >= l->wished_ms + s->options.lazy_ms) {
            wish(s, false);
            l->asked = false;
        }
        return;
    }
    if (changed < records - changed)
        l->echoes += ECHO;
    else
        l->echoes -= l->echoes < NO_ECHO ? l->echoes : NO_ECHO;
    if (l->echoes >= ECHOES)
        wish(s, true);
}

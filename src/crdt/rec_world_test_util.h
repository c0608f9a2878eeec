/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_CRDT_REC_WORLD_TEST_UTIL_H
#define BZ_CRDT_REC_WORLD_TEST_UTIL_H

/*
 * A small database on up to five replicas, and the network between them.
 *
 * Every replica numbers nodes and fields as it meets them, keeps its records encoded, and has a log
 * position. Replicas write, and send each other chunks of their logs: cut off anywhere, resumed,
 * delayed, lost, doubled and out of order; whole and changed-fields-only. What a receiver has is
 * judged by the last head of the sender's log that it reached.
 *
 * Beside this the world keeps, for each write, the set of writes that its writer had seen, and for
 * each record of a replica the set that has come there: what an oracle needs, and the code under
 * test never sees.
 */

#include "codec/doc.h"
#include "crdt/rec.h"

#include "cmocka_all.h"
#include "random.h"

#include <blazedb/error.h>
#include <stdarg.h>
#include <stdio.h>

enum {
    MAX_NODES = 5,
    MAX_RECORDS = 3,
    FIELDS = 4,
    MAX_WRITES = 40, /* in a history: sets of writes are bits of a word */
    MAX_MESSAGES = 24,
    LIFE = 1 << (FIELDS + 1), /* bits of what a write writes: the fields, then these */
    REST = 1 << FIELDS,       /* any field that is never named */
    ALL_CELLS = LIFE | REST | (REST - 1),
};

/* How an exchange judges what the receiver has. Only the first is right; a test shows that each of
 * the others is found out. */
enum rule {
    RIGHT,
    BY_CURSOR,     /* the receiver has all up to its cursor */
    VECTOR_EARLY,  /* the sender's version vector is taken over with every chunk */
    VECTOR_IGNORED /* the merge sees no more of the sender's rvv than the dots that came */
};

struct write {
    uint8_t node, record;
    uint64_t seq;
    unsigned cells; /* what it writes */
    unsigned sets;  /* the fields that its body has */
    uint8_t values[FIELDS];
    bool alive;
    uint8_t role;
    uint64_t stamp;
    uint64_t seen; /* the writes of its record that its writer had seen */
};

struct numbering {
    uint32_t count;
    uint8_t global[MAX_NODES > FIELDS ? MAX_NODES : FIELDS];
    int local[MAX_NODES > FIELDS ? MAX_NODES : FIELDS]; /* -1: not met */
};

struct stored {
    struct bz_buf bytes; /* empty: no such record here */
    uint64_t position;
    uint64_t seen;
    int subsumed_by; /* the node that has seen all that is here, -1 if none is known */
};

struct replica {
    uint8_t role;
    uint64_t position, seq;
    uint64_t vv[MAX_NODES];
    struct numbering nodes, fields;
    blaze_id ids[MAX_NODES]; /* by local number */
    struct stored records[MAX_RECORDS];
};

/* One direction between two replicas. */
struct link {
    unsigned session;
    uint64_t sent;    /* the sender has passed this position */
    uint64_t cursor;  /* the receiver has applied up to this position */
    uint64_t reached; /* the last head that the receiver fully reached */
};

struct message {
    uint8_t from, to;
    unsigned session;
    uint64_t after, upto;
    bool head;
    uint64_t vv[MAX_NODES];
    unsigned count;
    struct {
        uint8_t record;
        uint64_t seen;
        struct bz_buf bytes;
    } changes[MAX_RECORDS];
};

struct world {
    enum rule rule;
    struct rng rng;
    struct bz_arena arena;
    bool documents;    /* bodies are documents, and are trimmed */
    bool check_always; /* after each step, not only at the end */
    unsigned node_count, record_count, write_count, message_count;
    blaze_id ids[MAX_NODES];
    struct write writes[MAX_WRITES];
    uint8_t write_at[MAX_NODES][MAX_WRITES + 1]; /* by node and seq */
    struct replica replicas[MAX_NODES];
    struct link links[MAX_NODES][MAX_NODES];
    struct message *messages[MAX_MESSAGES];
    struct message pool[MAX_MESSAGES];
    struct bz_doc_writer *writer;
    struct bz_buf scratch;
    char failure[200]; /* empty: none yet */
};

static inline unsigned pick(struct world *w, unsigned n)
{
    return rng_below(&w->rng, n);
}

__attribute__((format(printf, 2, 3))) static inline void fail_with(
    struct world *w, const char *format, ...)
{
    if (w->failure[0] != 0)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(w->failure, sizeof w->failure, format, args);
    va_end(args);
}

/* ---- numbers ---- */

static inline uint32_t number_of(struct numbering *n, unsigned global)
{
    if (n->local[global] < 0) {
        n->local[global] = (int)n->count;
        n->global[n->count++] = (uint8_t)global;
    }
    return (uint32_t)n->local[global];
}

static inline uint32_t node_number(struct world *w, struct replica *r, unsigned global)
{
    uint32_t number = number_of(&r->nodes, global);
    r->ids[number] = w->ids[global];
    return number;
}

struct translation {
    struct world *world;
    const struct replica *from;
    struct replica *to; /* NULL: the oracle, whose numbers are the global ones */
};

static inline int64_t translate_node(void *context, uint32_t number)
{
    struct translation *t = context;
    unsigned global = t->from->nodes.global[number];
    return t->to == NULL ? global : node_number(t->world, t->to, global);
}

static inline int64_t translate_field(void *context, uint32_t number)
{
    struct translation *t = context;
    unsigned global = t->from->fields.global[number];
    return t->to == NULL ? global : number_of(&t->to->fields, global);
}

static inline void rename_bodies(struct world *w, struct bz_rec *rec, struct translation *t)
{
    for (uint32_t i = 0; w->documents && i < rec->write_count; i++) {
        struct bz_write *write = &rec->writes[i];
        if (write->body.size == 0)
            continue;
        bz_buf_clear(&w->scratch);
        assert_int_equal(bz_doc_rename(&w->scratch, write->body, translate_field, t), 0);
        write->body = bz_arena_copy(&w->arena, bz_buf_bytes(&w->scratch));
    }
}

static inline struct bz_rec translated(
    struct world *w, const struct bz_rec *rec, const struct replica *from, struct replica *to)
{
    struct translation t = {w, from, to};
    struct bz_renaming renaming = {translate_node, translate_field, &t};
    struct bz_rec out;
    assert_int_equal(bz_rec_rename(&w->arena, rec, &renaming, &out), 0);
    rename_bodies(w, &out, &t);
    return out;
}

/* ---- a replica's records ---- */

static inline bool load(
    struct world *w, const struct replica *r, unsigned record, struct bz_rec *out)
{
    const struct stored *s = &r->records[record];
    if (s->bytes.size == 0)
        return false;
    assert_int_equal(bz_rec_decode(&w->arena, bz_buf_bytes(&s->bytes), s->position, out), 0);
    return true;
}

static inline void save(struct world *w, struct replica *r, unsigned record, struct bz_rec *rec)
{
    struct stored *s = &r->records[record];
    if (w->documents && pick(w, 4) != 0)
        assert_int_equal(bz_rec_trim(&w->arena, rec), 0);
    s->position = ++r->position;
    bz_buf_clear(&w->scratch); /* the record borrows from the bytes that it replaces */
    bz_rec_encode(&w->scratch, rec, s->position);
    bz_buf_clear(&s->bytes);
    bz_buf_append(&s->bytes, w->scratch.data, w->scratch.size);
    assert_int_equal(s->bytes.error, 0);
}

/* ---- writing ---- */

/* Bodies are documents, or opaque bytes that tell whose they are. */
static inline struct bz_bytes body_of(struct world *w, struct replica *r, unsigned index)
{
    const struct write *write = &w->writes[index];
    if (!w->documents) {
        uint8_t opaque = (uint8_t)index;
        return bz_arena_copy(&w->arena, bz_bytes(&opaque, 1));
    }
    if (!write->alive)
        return bz_bytes(NULL, 0);
    bz_buf_clear(&w->scratch);
    for (unsigned f = 0; f < FIELDS; f++) {
        blaze_value value = {.type = BLAZE_INT, .as.integer = write->values[f]};
        if (write->sets >> f & 1)
            bz_doc_writer_add(w->writer, number_of(&r->fields, f), &value);
    }
    assert_int_equal(bz_doc_writer_finish(w->writer, &w->scratch), 0);
    return bz_arena_copy(&w->arena, bz_buf_bytes(&w->scratch));
}

static inline uint32_t named_fields(struct replica *r, unsigned cells, uint32_t fields[FIELDS])
{
    uint32_t count = 0;
    for (unsigned f = 0; f < FIELDS; f++) {
        if ((cells >> f & 1) == 0)
            continue;
        uint32_t number = number_of(&r->fields, f), at = count++;
        for (; at > 0 && fields[at - 1] > number; at--)
            fields[at] = fields[at - 1];
        fields[at] = number;
    }
    return count;
}

static inline unsigned random_cells(struct world *w, bool exists)
{
    unsigned kind = exists ? pick(w, 12) : 0;
    if (kind < 3)
        return ALL_CELLS;
    if (kind >= 10)
        return 1 + pick(w, (1 << FIELDS) - 1); /* settles */
    return kind < 8 ? LIFE | (1 + pick(w, (1 << FIELDS) - 1)) : LIFE;
}

static inline void write_something(struct world *w)
{
    unsigned node = pick(w, w->node_count), record = pick(w, w->record_count);
    struct replica *r = &w->replicas[node];
    struct stored *s = &r->records[record];
    struct bz_rec old, now;
    bool exists = load(w, r, record, &old);
    unsigned index = w->write_count++;
    struct write *write = &w->writes[index];
    *write = (struct write){.node = (uint8_t)node,
        .record = (uint8_t)record,
        .seq = ++r->seq,
        .cells = random_cells(w, exists),
        .role = r->role,
        .stamp = pick(w, 8),
        .seen = s->seen};
    write->alive = write->cells != LIFE;
    write->sets = write->alive ? write->cells & pick(w, 1 << FIELDS) : 0;
    for (unsigned f = 0; f < FIELDS; f++)
        write->values[f] = (uint8_t)pick(w, 3);
    w->write_at[node][r->seq] = (uint8_t)index;
    struct bz_write made = {.dot = {node_number(w, r, node), r->seq},
        .stamp = write->stamp,
        .arrived = r->position + 1,
        .role = write->role,
        .alive = write->alive,
        .resolved = (write->cells & LIFE) == 0,
        .body = body_of(w, r, index)};
    uint32_t fields[FIELDS], count = named_fields(r, write->cells, fields);
    const struct bz_rec *before = exists ? &old : NULL;
    int rc = write->cells == ALL_CELLS ? bz_rec_put(&w->arena, before, &made, &now)
             : made.resolved ? bz_rec_resolve(&w->arena, before, &made, fields, count, &now)
             : write->alive  ? bz_rec_update(&w->arena, before, &made, fields, count, &now)
                             : bz_rec_delete(&w->arena, before, &made, &now);
    assert_int_equal(rc, 0);
    save(w, r, record, &now);
    s->seen |= (uint64_t)1 << index;
    s->subsumed_by = -1;
    r->vv[node] = r->seq;
}

/* ---- sending ---- */

/* Whether the receiver is known to have seen all that is in the record. */
static inline bool is_known(const struct replica *sender, const struct stored *s,
    const struct bz_rec *rec, unsigned to, const uint64_t vv[MAX_NODES])
{
    if (s->subsumed_by == (int)to)
        return true;
    for (uint32_t i = 0; i < rec->rvv.count; i++) {
        struct bz_dot d = rec->rvv.entries[i];
        if (vv[sender->nodes.global[d.node]] < d.seq)
            return false;
    }
    return true;
}

/* The next record of the log after a position, or -1. */
static inline int next_in_log(const struct world *w, const struct replica *r, uint64_t after)
{
    int best = -1;
    for (unsigned i = 0; i < w->record_count; i++) {
        const struct stored *s = &r->records[i];
        if (s->position > after && (best < 0 || s->position < r->records[best].position))
            best = (int)i;
    }
    return best;
}

static inline void add_change(struct world *w, struct message *m, unsigned record, uint64_t has)
{
    const struct replica *r = &w->replicas[m->from];
    struct bz_rec rec, part;
    load(w, r, record, &rec);
    if (is_known(r, &r->records[record], &rec, m->to, w->replicas[m->to].vv))
        return;
    assert_int_equal(bz_rec_since(&w->arena, &rec, has, &part), 0);
    m->changes[m->count].record = (uint8_t)record;
    m->changes[m->count].seen = r->records[record].seen;
    struct bz_buf *bytes = &m->changes[m->count++].bytes;
    bz_buf_clear(bytes);
    bz_rec_encode(bytes, &part, 0);
    assert_int_equal(bytes->error, 0);
}

/* Puts a chunk of at most `limit` records of the log into the network. */
static inline void send_chunk(struct world *w, unsigned from, unsigned to, unsigned limit)
{
    struct link *link = &w->links[from][to];
    const struct replica *r = &w->replicas[from];
    struct message *m = w->messages[w->message_count++];
    m->from = (uint8_t)from;
    m->to = (uint8_t)to;
    m->session = link->session;
    m->after = m->upto = link->sent;
    m->count = 0;
    memcpy(m->vv, r->vv, sizeof m->vv);
    uint64_t has = w->rule == BY_CURSOR ? link->cursor : link->reached;
    if (pick(w, 4) == 0 && w->rule == RIGHT)
        has = 0; /* a sender may always send all */
    int record = next_in_log(w, r, m->upto);
    for (; record >= 0 && limit > 0; limit--) {
        add_change(w, m, (unsigned)record, has);
        m->upto = r->records[record].position;
        record = next_in_log(w, r, m->upto);
    }
    m->head = record < 0;
    if (m->head)
        m->upto = r->position;
    link->sent = m->upto;
}

/* A session breaks off; the next goes on from what was applied. */
static inline void reconnect(struct world *w, unsigned from, unsigned to)
{
    struct link *link = &w->links[from][to];
    link->session++;
    link->sent = link->cursor;
}

/* ---- receiving ---- */

/* A wrong rule: as if rvv were no more than the dots that came. */
static inline void forget_rvv(struct world *w, struct bz_rec *rec)
{
    struct bz_vv vv = {bz_arena_alloc(&w->arena, rec->rvv.count * sizeof *vv.entries), 0};
    assert_non_null(vv.entries);
    for (uint32_t i = 0; i < rec->write_count; i++) {
        if (vv.count == 0 || vv.entries[vv.count - 1].node != rec->writes[i].dot.node)
            vv.count++;
        vv.entries[vv.count - 1] = rec->writes[i].dot;
    }
    rec->rvv = vv;
}

static inline void apply_change(struct world *w, const struct message *m, unsigned i)
{
    struct replica *r = &w->replicas[m->to];
    struct stored *s = &r->records[m->changes[i].record];
    struct bz_rec local, remote, merged;
    bool changed, subsumed, exists = load(w, r, m->changes[i].record, &local);
    assert_int_equal(bz_rec_decode(&w->arena, bz_buf_bytes(&m->changes[i].bytes), 0, &remote), 0);
    remote = translated(w, &remote, &w->replicas[m->from], r);
    if (w->rule == VECTOR_IGNORED)
        forget_rvv(w, &remote);
    int rc = bz_rec_merge(
        &w->arena, exists ? &local : NULL, &remote, r->position + 1, &merged, &changed, &subsumed);
    if (rc != 0) {
        fail_with(w, "merge gave %d", rc);
        return;
    }
    s->seen |= m->changes[i].seen;
    if (subsumed)
        s->subsumed_by = m->from;
    else if (changed)
        s->subsumed_by = -1;
    if (changed)
        save(w, r, m->changes[i].record, &merged);
}

static inline void take_vector(struct replica *r, const struct message *m)
{
    for (unsigned i = 0; i < MAX_NODES; i++)
        r->vv[i] = m->vv[i] > r->vv[i] ? m->vv[i] : r->vv[i];
}

static inline void deliver(struct world *w, const struct message *m)
{
    struct link *link = &w->links[m->from][m->to];
    for (unsigned i = 0; i < m->count; i++)
        apply_change(w, m, i);
    if (w->rule == VECTOR_EARLY)
        take_vector(&w->replicas[m->to], m);
    /* Only what comes in order, within its session, moves the cursor. */
    if (m->session != link->session || m->after != link->cursor)
        return;
    link->cursor = m->upto;
    if (m->head) {
        link->reached = m->upto;
        take_vector(&w->replicas[m->to], m);
    }
}

/* ---- what may happen ---- */

static inline void numbering_init(struct numbering *n)
{
    n->count = 0;
    for (unsigned i = 0; i < sizeof n->local / sizeof *n->local; i++)
        n->local[i] = -1;
}

static inline void world_reset(struct world *w, uint64_t seed, enum rule rule)
{
    w->rule = rule;
    w->rng.state = seed;
    w->failure[0] = 0;
    w->write_count = w->message_count = 0;
    w->node_count = 2 + pick(w, MAX_NODES - 1);
    w->record_count = 1 + pick(w, MAX_RECORDS);
    w->documents = pick(w, 8) == 0;
    w->check_always = pick(w, 8) == 0;
    memset(w->links, 0, sizeof w->links);
    for (unsigned n = 0; n < w->node_count; n++) {
        struct replica *r = &w->replicas[n];
        for (unsigned i = 0; i < 16; i++)
            w->ids[n].bytes[i] = (uint8_t)pick(w, 256);
        r->role = pick(w, 4) == 0 ? BZ_ROLE_SERVER : BZ_ROLE_CLIENT;
        r->position = r->seq = 0;
        memset(r->vv, 0, sizeof r->vv);
        numbering_init(&r->nodes);
        numbering_init(&r->fields);
        for (unsigned i = 0; i < MAX_RECORDS; i++) {
            struct stored *s = &r->records[i];
            bz_buf_clear(&s->bytes);
            *s = (struct stored){.bytes = s->bytes, .subsumed_by = -1};
        }
    }
}

/* Delivers a message, mostly the oldest; now and then keeps it for another time, or loses it. */
static inline void network_step(struct world *w)
{
    unsigned i = pick(w, 4) == 0 ? pick(w, w->message_count) : 0;
    struct message *m = w->messages[i];
    if (pick(w, 8) != 0)
        deliver(w, m);
    if (pick(w, 6) == 0)
        return;
    w->message_count--;
    for (; i < w->message_count; i++)
        w->messages[i] = w->messages[i + 1];
    w->messages[w->message_count] = m;
}

static inline void step(struct world *w)
{
    unsigned from = pick(w, w->node_count);
    unsigned to = (from + 1 + pick(w, w->node_count - 1)) % w->node_count;
    unsigned what = pick(w, 12);
    if (what < 3 && w->write_count < MAX_WRITES)
        write_something(w);
    else if (what < 7 && w->message_count < MAX_MESSAGES)
        send_chunk(w, from, to, 1 + pick(w, MAX_RECORDS));
    else if (what == 7)
        reconnect(w, from, to);
    else if (w->message_count > 0)
        network_step(w);
}

/* Everybody sends everybody all, until nothing more changes anywhere. */
static inline void exchange_fully(struct world *w)
{
    w->message_count = 0;
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned from = 0; from < w->node_count; from++) {
            for (unsigned to = 0; to < w->node_count; to++) {
                if (from == to)
                    continue;
                reconnect(w, from, to);
                send_chunk(w, from, to, MAX_RECORDS);
                deliver(w, w->messages[--w->message_count]);
                bz_arena_reset(&w->arena);
            }
        }
    }
}

static inline int world_init(struct world *w)
{
    bz_arena_init(&w->arena);
    bz_buf_init(&w->scratch, 1 << 20);
    for (unsigned i = 0; i < MAX_MESSAGES; i++) {
        w->messages[i] = &w->pool[i];
        for (unsigned j = 0; j < MAX_RECORDS; j++)
            bz_buf_init(&w->pool[i].changes[j].bytes, 1 << 20);
    }
    for (unsigned n = 0; n < MAX_NODES; n++) {
        for (unsigned i = 0; i < MAX_RECORDS; i++)
            bz_buf_init(&w->replicas[n].records[i].bytes, 1 << 20);
    }
    return bz_doc_writer_new(&w->writer);
}

static inline void world_release(struct world *w)
{
    bz_arena_release(&w->arena);
    bz_buf_release(&w->scratch);
    for (unsigned i = 0; i < MAX_MESSAGES; i++) {
        for (unsigned j = 0; j < MAX_RECORDS; j++)
            bz_buf_release(&w->pool[i].changes[j].bytes);
    }
    for (unsigned n = 0; n < MAX_NODES; n++) {
        for (unsigned i = 0; i < MAX_RECORDS; i++)
            bz_buf_release(&w->replicas[n].records[i].bytes);
    }
    bz_doc_writer_free(w->writer);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Random histories of one small database on up to five replicas, against an oracle.
 *
 * Every replica numbers nodes and fields as it meets them, keeps its records encoded, and has a log
 * position. Replicas write, and send each other chunks of their logs: cut off anywhere, resumed,
 * delayed, lost, doubled and out of order; whole and changed-fields-only. What a receiver has is
 * judged by the last head of the sender's log that it reached.
 *
 * The oracle knows nothing of dots and vectors. It keeps, for each write, the set of writes that
 * its writer had seen, and says of a cell: a write is in it if it wrote it and no write that has
 * seen it wrote it too. Each replica's state must be that of the set of writes that it has seen, at
 * the end of a history and in some all along; and after a full exchange each has seen all.
 *
 * BLAZEDB_HISTORIES says how many, BLAZEDB_SEED where to begin; a failure prints the seed that with
 * BLAZEDB_HISTORIES=1 repeats it alone.
 */

#include "codec/doc.h"
#include "crdt/rec.h"

#include "cmocka_all.h"

#include <blazedb/error.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    MAX_NODES = 5,
    MAX_RECORDS = 3,
    FIELDS = 4,
    MAX_WRITES = 40, /* in a history: sets of writes are bits of a word */
    MAX_MESSAGES = 24,
    FOUND_WITHIN = 3000,      /* histories in which a wrong rule must fail; about 80 are enough */
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
    uint64_t random;
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

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static unsigned pick(struct world *w, unsigned n)
{
    w->random += 0x9e3779b97f4a7c15;
    return (unsigned)(mix(w->random) % n);
}

__attribute__((format(printf, 2, 3))) static void fail_with(
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

static uint32_t number_of(struct numbering *n, unsigned global)
{
    if (n->local[global] < 0) {
        n->local[global] = (int)n->count;
        n->global[n->count++] = (uint8_t)global;
    }
    return (uint32_t)n->local[global];
}

static uint32_t node_number(struct world *w, struct replica *r, unsigned global)
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

static int64_t translate_node(void *context, uint32_t number)
{
    struct translation *t = context;
    unsigned global = t->from->nodes.global[number];
    return t->to == NULL ? global : node_number(t->world, t->to, global);
}

static int64_t translate_field(void *context, uint32_t number)
{
    struct translation *t = context;
    unsigned global = t->from->fields.global[number];
    return t->to == NULL ? global : number_of(&t->to->fields, global);
}

static void rename_bodies(struct world *w, struct bz_rec *rec, struct translation *t)
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

static struct bz_rec translated(
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

static bool load(struct world *w, const struct replica *r, unsigned record, struct bz_rec *out)
{
    const struct stored *s = &r->records[record];
    if (s->bytes.size == 0)
        return false;
    assert_int_equal(bz_rec_decode(&w->arena, bz_buf_bytes(&s->bytes), s->position, out), 0);
    return true;
}

static void save(struct world *w, struct replica *r, unsigned record, struct bz_rec *rec)
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
static struct bz_bytes body_of(struct world *w, struct replica *r, unsigned index)
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

static uint32_t named_fields(struct replica *r, unsigned cells, uint32_t fields[FIELDS])
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

static unsigned random_cells(struct world *w, bool exists)
{
    unsigned kind = exists ? pick(w, 10) : 0;
    if (kind < 3)
        return ALL_CELLS;
    return kind < 8 ? LIFE | (1 + pick(w, (1 << FIELDS) - 1)) : LIFE;
}

static void write_something(struct world *w)
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
        .body = body_of(w, r, index)};
    uint32_t fields[FIELDS], count = named_fields(r, write->cells, fields);
    const struct bz_rec *before = exists ? &old : NULL;
    int rc = write->cells == ALL_CELLS ? bz_rec_put(&w->arena, before, &made, &now)
             : write->alive ? bz_rec_update(&w->arena, before, &made, fields, count, &now)
                            : bz_rec_delete(&w->arena, before, &made, &now);
    assert_int_equal(rc, 0);
    save(w, r, record, &now);
    s->seen |= (uint64_t)1 << index;
    s->subsumed_by = -1;
    r->vv[node] = r->seq;
}

/* ---- sending ---- */

/* Whether the receiver is known to have seen all that is in the record. */
static bool is_known(const struct replica *sender, const struct stored *s, const struct bz_rec *rec,
    unsigned to, const uint64_t vv[MAX_NODES])
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
static int next_in_log(const struct world *w, const struct replica *r, uint64_t after)
{
    int best = -1;
    for (unsigned i = 0; i < w->record_count; i++) {
        const struct stored *s = &r->records[i];
        if (s->position > after && (best < 0 || s->position < r->records[best].position))
            best = (int)i;
    }
    return best;
}

static void add_change(struct world *w, struct message *m, unsigned record, uint64_t has)
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
static void send_chunk(struct world *w, unsigned from, unsigned to, unsigned limit)
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
static void reconnect(struct world *w, unsigned from, unsigned to)
{
    struct link *link = &w->links[from][to];
    link->session++;
    link->sent = link->cursor;
}

/* ---- receiving ---- */

/* A wrong rule: as if rvv were no more than the dots that came. */
static void forget_rvv(struct world *w, struct bz_rec *rec)
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

static void apply_change(struct world *w, const struct message *m, unsigned i)
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

static void take_vector(struct replica *r, const struct message *m)
{
    for (unsigned i = 0; i < MAX_NODES; i++)
        r->vv[i] = m->vv[i] > r->vv[i] ? m->vv[i] : r->vv[i];
}

static void deliver(struct world *w, const struct message *m)
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

/* ---- the oracle ---- */

static uint64_t writes_in_cell(const struct world *w, unsigned record, unsigned cell, uint64_t seen)
{
    uint64_t present = 0, superseded = 0;
    for (unsigned i = 0; i < w->write_count; i++) {
        const struct write *write = &w->writes[i];
        if ((seen >> i & 1) && write->record == record && (write->cells & cell)) {
            present |= (uint64_t)1 << i;
            superseded |= write->seen;
        }
    }
    return present & ~superseded;
}

static unsigned winner_of(const struct world *w, uint64_t set)
{
    unsigned best = MAX_WRITES;
    for (unsigned i = 0; i < w->write_count; i++) {
        const struct write *a = &w->writes[i], *b = &w->writes[best % MAX_WRITES];
        if ((set >> i & 1) == 0)
            continue;
        int order = best == MAX_WRITES     ? 1
                    : a->role != b->role   ? (int)a->role - (int)b->role
                    : a->stamp != b->stamp ? (a->stamp > b->stamp ? 1 : -1)
                                           : memcmp(&w->ids[a->node], &w->ids[b->node], 16);
        if (order > 0)
            best = i;
    }
    return best;
}

/* ---- comparing ---- */

static unsigned index_of(const struct world *w, const struct replica *r, struct bz_dot dot)
{
    return w->write_at[r->nodes.global[dot.node]][dot.seq];
}

static void check_cell(struct world *w, const struct replica *r, unsigned record,
    const struct bz_rec *rec, const struct bz_cell *cell, unsigned bit)
{
    struct bz_nodes nodes = {r->ids, r->nodes.count};
    uint64_t expected = writes_in_cell(w, record, bit, r->records[record].seen), found = 0;
    for (uint32_t i = 0; i < cell->count; i++)
        found |= (uint64_t)1 << index_of(w, r, rec->writes[cell->members[i]].dot);
    if (found != expected) {
        fail_with(w, "node %u record %u cell %#x has %#" PRIx64 ", not %#" PRIx64,
            (unsigned)(r - w->replicas), record, bit, found, expected);
        return;
    }
    unsigned winner = index_of(w, r, bz_rec_winner(rec, cell, &nodes)->dot);
    if (winner != winner_of(w, expected))
        fail_with(w, "cell %#x of record %u is won by %u", bit, record, winner);
    if (bit == LIFE && bz_rec_alive(rec, &nodes) != w->writes[winner].alive)
        fail_with(w, "record %u is not as alive as its winner", record);
}

static void check_writes(struct world *w, const struct replica *r, const struct bz_rec *rec)
{
    for (uint32_t i = 0; i < rec->write_count; i++) {
        const struct bz_write *got = &rec->writes[i];
        unsigned index = index_of(w, r, got->dot);
        const struct write *made = &w->writes[index];
        if (got->stamp != made->stamp || got->role != made->role || got->alive != made->alive)
            fail_with(w, "write %u is not as it was made", index);
        if (!w->documents && (got->body.size != 1 || got->body.data[0] != index))
            fail_with(w, "write %u has another's body", index);
    }
}

static void check_rvv(
    struct world *w, const struct replica *r, unsigned record, const struct bz_rec *rec)
{
    uint64_t highest[MAX_NODES] = {0};
    for (unsigned i = 0; i < w->write_count; i++) {
        if (r->records[record].seen >> i & 1)
            highest[w->writes[i].node] = w->writes[i].seq;
    }
    for (unsigned n = 0; n < w->node_count; n++) {
        int local = r->nodes.local[n];
        if ((local < 0 ? 0 : bz_vv_get(&rec->rvv, (uint32_t)local)) != highest[n])
            fail_with(w, "rvv of record %u is wrong for node %u", record, n);
    }
}

/* The document is made of the winners' values, and fields whose siblings differ are in conflict. */
static void check_document(
    struct world *w, const struct replica *r, unsigned record, const struct bz_rec *rec)
{
    struct bz_nodes nodes = {r->ids, r->nodes.count};
    const uint32_t *fields;
    uint32_t conflicts, expected_conflicts = 0;
    bz_buf_clear(&w->scratch);
    assert_int_equal(bz_rec_document(&w->scratch, rec, &nodes), 0);
    assert_int_equal(bz_rec_conflicts(&w->arena, rec, &fields, &conflicts), 0);
    struct bz_bytes doc = bz_buf_bytes(&w->scratch);
    assert_int_equal(bz_doc_check(doc, FIELDS), 0);
    for (unsigned f = 0; f < FIELDS; f++) {
        uint64_t set = writes_in_cell(w, record, 1u << f, r->records[record].seen);
        const struct write *won = &w->writes[winner_of(w, set)];
        int local = r->fields.local[f];
        blaze_value value;
        bool there = local >= 0 && bz_doc_field(doc, NULL, (uint32_t)local, &value) == 0;
        bool wanted = won->sets >> f & 1;
        if (there != wanted || (there && value.as.integer != won->values[f]))
            fail_with(w, "field %u of record %u does not read as written", f, record);
        bool differ = false;
        for (unsigned i = 0; i < w->write_count; i++) {
            bool has = w->writes[i].sets >> f & 1;
            differ |= (set >> i & 1) &&
                      (has != wanted || (has && w->writes[i].values[f] != won->values[f]));
        }
        if (differ && (conflicts <= expected_conflicts))
            fail_with(w, "field %u of record %u is in conflict", f, record);
        expected_conflicts += differ;
    }
    if (conflicts != expected_conflicts)
        fail_with(w, "record %u has %u conflicts, not %u", record, conflicts, expected_conflicts);
}

static void check_record(struct world *w, const struct replica *r, unsigned record)
{
    struct bz_rec rec;
    if (!load(w, r, record, &rec)) {
        if (r->records[record].seen != 0)
            fail_with(w, "record %u is missing", record);
        return;
    }
    for (unsigned f = 0; f < FIELDS; f++) {
        int local = r->fields.local[f];
        check_cell(w, r, record, &rec, local < 0 ? &rec.rest : bz_rec_cell(&rec, (uint32_t)local),
            1u << f);
    }
    check_cell(w, r, record, &rec, &rec.rest, REST);
    check_cell(w, r, record, &rec, &rec.life, LIFE);
    check_writes(w, r, &rec);
    check_rvv(w, r, record, &rec);
    if (w->documents && w->failure[0] == 0)
        check_document(w, r, record, &rec);
}

static void check_replica(struct world *w, const struct replica *r)
{
    for (unsigned i = 0; i < w->record_count && w->failure[0] == 0; i++)
        check_record(w, r, i);
}

static struct bz_hash128 digest_of(struct world *w, const struct replica *r)
{
    static const blaze_id id = {{1, 2, 3}};
    struct bz_nodes nodes = {r->ids, r->nodes.count};
    struct bz_hash128 sum = {0};
    struct bz_rec rec;
    for (unsigned i = 0; i < w->record_count; i++) {
        if (load(w, r, i, &rec))
            bz_hash128_add(&sum, bz_rec_digest(&rec, bz_bytes_text("things"), &id, &nodes));
    }
    return sum;
}

static void check_all_equal(struct world *w)
{
    uint64_t all = ((uint64_t)1 << w->write_count) - 1;
    struct bz_hash128 first = digest_of(w, &w->replicas[0]);
    for (unsigned n = 0; n < w->node_count; n++) {
        struct replica *r = &w->replicas[n];
        uint64_t seen = 0;
        for (unsigned i = 0; i < w->record_count; i++)
            seen |= r->records[i].seen;
        if (seen != all)
            fail_with(w, "node %u has not seen %#" PRIx64, n, all & ~seen);
        check_replica(w, r);
        struct bz_hash128 digest = digest_of(w, r);
        if (memcmp(&digest, &first, sizeof digest) != 0)
            fail_with(w, "node %u has another digest", n);
    }
}

/* ---- the laws of merge, on the states of one record at three replicas ---- */

static struct bz_rec merge(struct world *w, const struct bz_rec *a, const struct bz_rec *b)
{
    struct bz_rec out;
    bool changed, subsumed;
    assert_int_equal(bz_rec_merge(&w->arena, a, b, 1, &out, &changed, &subsumed), 0);
    return out;
}

static bool same(struct world *w, const struct bz_rec *a, const struct bz_rec *b)
{
    struct bz_buf x, y;
    bz_buf_init(&x, 1 << 20);
    bz_buf_init(&y, 1 << 20);
    bz_rec_encode(&x, a, 0);
    bz_rec_encode(&y, b, 0);
    bool equal = bz_bytes_equal(bz_buf_bytes(&x), bz_buf_bytes(&y));
    bz_buf_release(&x);
    bz_buf_release(&y);
    (void)w;
    return equal;
}

static void check_laws(struct world *w)
{
    struct bz_rec s[3];
    unsigned record = pick(w, w->record_count);
    for (unsigned i = 0; i < 3; i++) {
        const struct replica *r = &w->replicas[pick(w, w->node_count)];
        if (!load(w, r, record, &s[i]))
            return;
        s[i] = translated(w, &s[i], r, NULL);
    }
    struct bz_rec ab = merge(w, &s[0], &s[1]), ba = merge(w, &s[1], &s[0]);
    struct bz_rec bc = merge(w, &s[1], &s[2]);
    struct bz_rec left = merge(w, &ab, &s[2]), right = merge(w, &s[0], &bc);
    struct bz_rec again = merge(w, &ab, &s[1]), self = merge(w, &s[0], &s[0]);
    if (!same(w, &ab, &ba))
        fail_with(w, "merge does not commute");
    if (!same(w, &left, &right))
        fail_with(w, "merge does not associate");
    if (!same(w, &ab, &again) || !same(w, &s[0], &self))
        fail_with(w, "merge is not idempotent");
}

/* ---- a history ---- */

static void numbering_init(struct numbering *n)
{
    n->count = 0;
    for (unsigned i = 0; i < sizeof n->local / sizeof *n->local; i++)
        n->local[i] = -1;
}

static void world_reset(struct world *w, uint64_t seed, enum rule rule)
{
    w->rule = rule;
    w->random = seed;
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
static void network_step(struct world *w)
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

static void step(struct world *w)
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
static void exchange_fully(struct world *w)
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

static bool run_history(struct world *w, uint64_t seed, enum rule rule)
{
    world_reset(w, seed, rule);
    unsigned steps = 10 + pick(w, 110), laws = pick(w, steps);
    for (unsigned i = 0; i < steps && w->failure[0] == 0; i++) {
        step(w);
        if (i == laws && rule == RIGHT && !w->documents)
            check_laws(w);
        for (unsigned n = 0; w->check_always && n < w->node_count; n++)
            check_replica(w, &w->replicas[n]);
        bz_arena_reset(&w->arena);
    }
    if (w->failure[0] == 0)
        exchange_fully(w);
    if (w->failure[0] == 0)
        check_all_equal(w);
    bz_arena_reset(&w->arena);
    return w->failure[0] == 0;
}

/* ---- the tests ---- */

static struct world world;

static int world_init(void **state)
{
    (void)state;
    bz_arena_init(&world.arena);
    bz_buf_init(&world.scratch, 1 << 20);
    for (unsigned i = 0; i < MAX_MESSAGES; i++) {
        world.messages[i] = &world.pool[i];
        for (unsigned j = 0; j < MAX_RECORDS; j++)
            bz_buf_init(&world.pool[i].changes[j].bytes, 1 << 20);
    }
    for (unsigned n = 0; n < MAX_NODES; n++) {
        for (unsigned i = 0; i < MAX_RECORDS; i++)
            bz_buf_init(&world.replicas[n].records[i].bytes, 1 << 20);
    }
    return bz_doc_writer_new(&world.writer);
}

static int world_release(void **state)
{
    (void)state;
    bz_arena_release(&world.arena);
    bz_buf_release(&world.scratch);
    for (unsigned i = 0; i < MAX_MESSAGES; i++) {
        for (unsigned j = 0; j < MAX_RECORDS; j++)
            bz_buf_release(&world.pool[i].changes[j].bytes);
    }
    for (unsigned n = 0; n < MAX_NODES; n++) {
        for (unsigned i = 0; i < MAX_RECORDS; i++)
            bz_buf_release(&world.replicas[n].records[i].bytes);
    }
    bz_doc_writer_free(world.writer);
    return 0;
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL || *text == 0 ? otherwise : strtoull(text, NULL, 0);
}

/* The first history of a run has the run's own seed. */
static uint64_t seed_of(uint64_t base, uint64_t history)
{
    return history == 0 ? base : mix(mix(base) + history);
}

static void all_replicas_of_any_history_come_to_the_state_that_the_oracle_says(void **state)
{
    (void)state;
    uint64_t histories = from_environment("BLAZEDB_HISTORIES", 100000);
    uint64_t base = from_environment("BLAZEDB_SEED", 1);
    for (uint64_t i = 0; i < histories; i++) {
        uint64_t seed = seed_of(base, i);
        if (!run_history(&world, seed, RIGHT))
            fail_msg("%s (BLAZEDB_HISTORIES=1 BLAZEDB_SEED=%" PRIu64 ")", world.failure, seed);
    }
    print_message("%" PRIu64 " histories from seed %" PRIu64 "\n", histories, base);
}

/* How many histories it takes to find a wrong rule out. */
static unsigned histories_until_failure(enum rule rule)
{
    uint64_t base = from_environment("BLAZEDB_SEED", 1);
    unsigned n = 1;
    while (n < FOUND_WITHIN && run_history(&world, seed_of(base, n), rule))
        n++;
    print_message("found after %u histories: %s\n", n, world.failure);
    return n;
}

static void judging_the_receiver_by_its_cursor_is_found_out(void **state)
{
    (void)state;
    assert_in_range(histories_until_failure(BY_CURSOR), 1, FOUND_WITHIN - 1);
}

static void taking_over_the_version_vector_before_the_head_is_found_out(void **state)
{
    (void)state;
    assert_in_range(histories_until_failure(VECTOR_EARLY), 1, FOUND_WITHIN - 1);
}

static void merging_without_the_records_version_vector_is_found_out(void **state)
{
    (void)state;
    assert_in_range(histories_until_failure(VECTOR_IGNORED), 1, FOUND_WITHIN - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_replicas_of_any_history_come_to_the_state_that_the_oracle_says),
        cmocka_unit_test(judging_the_receiver_by_its_cursor_is_found_out),
        cmocka_unit_test(taking_over_the_version_vector_before_the_head_is_found_out),
        cmocka_unit_test(merging_without_the_records_version_vector_is_found_out),
    };
    return cmocka_run_group_tests(tests, world_init, world_release);
}

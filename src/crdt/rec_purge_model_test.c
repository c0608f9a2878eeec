/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One record at three replicas that collect what is left of it once it is deleted: every order of
 * up to three writes, of exchanges, whole or cut off before the head, and of collecting, on the
 * real code of the record.
 *
 * A replica has the record or nothing of it, its version vector, and the greatest dots that were
 * ever collected, here or where it heard of it ("purged"). At any time it may hear which version
 * vector another one had at any time before, its *row*. It collects a deleted record if
 *
 *   a row of each replica covers all that the record has seen, and
 *   it has itself every write that this replica had made by then: so none that is concurrent with
 *   the delete is on its way.
 *
 * Nothing is left of the record then but that "purged" covers it; a write that makes it anew has
 * seen what was collected. What comes of a record that is not here, and that the version vector
 * covers, is ignored.
 *
 * Of each state that can be reached this is shown: what was purged anywhere everybody has had; and
 * when all have exchanged with all, everybody shows what the rule alone defines, the writes that
 * none of the others had seen, or, where a delete wins among them, nothing. Rules that do not wait
 * for all, or forget too much, are found out.
 */
#include "crdt/rec.h"

#include "base/hash.h"
#include "cmocka_all.h"
#include "random.h"

#include <stdlib.h>

enum { REPLICAS = 3, WRITES = 3, RECORD_MAX = 100 };
enum { PUT, UPDATE, DELETE, KINDS };
enum { FIELD = 1, REST = 2, LIFE = 4 };

enum rule {
    STABLE,
    AT_ONCE,        /* wrong: what is deleted here goes */
    WITHOUT_ONE,    /* wrong: the last replica is not waited for */
    NOTHING_IS_SEEN /* wrong: who makes it anew has not seen what was collected */
};

struct versions {
    uint8_t of[REPLICAS];
};

struct replica {
    struct versions vv, purged;
    struct versions had[WRITES]; /* its version vectors so far, but for the first: nothing */
    uint8_t size;                /* of the record; 0: nothing of it */
    uint8_t record[RECORD_MAX];
};

struct state {
    uint8_t count;
    struct {
        uint8_t node, seq, kind, seen; /* seen: a bit for each write */
    } writes[WRITES];
    struct replica replicas[REPLICAS];
};

static struct model {
    enum rule rule;
    unsigned write_max;
    struct bz_arena arena; /* of a step */
    struct state *waiting;
    size_t waiting_count, waiting_room;
    struct bz_hash128 *known; /* hashes of states; a place that is zero is free */
    size_t known_count, known_room;
    uint64_t collected, healed;
    bool wrong; /* something is not as it should be */
} model;

static blaze_id ids[REPLICAS] = {{{1}}, {{2}}, {{3}}};
static const struct bz_nodes nodes = {ids, REPLICAS};

/* ---- versions ---- */

static bool includes(const struct versions *a, const struct versions *b)
{
    for (int n = 0; n < REPLICAS; n++) {
        if (a->of[n] < b->of[n])
            return false;
    }
    return true;
}

static void raise_to(struct versions *v, const struct versions *by)
{
    for (int n = 0; n < REPLICAS; n++)
        v->of[n] = v->of[n] < by->of[n] ? by->of[n] : v->of[n];
}

static struct versions versions_of(const struct bz_vv *vv)
{
    struct versions out = {{0}};
    for (uint32_t i = 0; i < vv->count; i++)
        out.of[vv->entries[i].node] = (uint8_t)vv->entries[i].seq;
    return out;
}

/* A version vector has at least one more write than the one before. */
static void note_version(struct replica *r)
{
    int i = 0;
    while (i < WRITES && !includes(&r->had[i], &r->vv) &&
           r->had[i].of[0] + r->had[i].of[1] + r->had[i].of[2] > 0)
        i++;
    assert_true(i < WRITES);
    r->had[i] = r->vv;
}

/* As what writes there are. */
static uint8_t set_of(const struct state *s, const struct versions *v)
{
    unsigned set = 0;
    for (unsigned i = 0; i < s->count; i++) {
        if (s->writes[i].seq <= v->of[s->writes[i].node])
            set |= 1u << i;
    }
    return (uint8_t)set;
}

/* ---- the record of a replica ---- */

static void load(const struct replica *r, struct bz_rec *rec)
{
    assert_int_equal(bz_rec_decode(&model.arena, bz_bytes(r->record, r->size), 0, rec), 0);
}

static void store(struct replica *r, const struct bz_rec *rec)
{
    struct bz_buf buf;
    bz_buf_init(&buf, RECORD_MAX);
    bz_rec_encode(&buf, rec, 0);
    assert_int_equal(buf.error, 0);
    memset(r->record, 0, sizeof r->record);
    memcpy(r->record, buf.data, buf.size);
    r->size = (uint8_t)buf.size;
    bz_buf_release(&buf);
}

/* ---- what happens ---- */

static bool is_alive(const struct replica *r)
{
    struct bz_rec rec;
    if (r->size == 0)
        return false;
    load(r, &rec);
    return bz_rec_alive(&rec, &nodes);
}

/* What a write makes of a record; `seen`: what the replica knows to have been of it. */
static void apply_write(
    struct replica *r, const struct bz_write *write, unsigned kind, const struct versions *seen)
{
    struct bz_rec old, rec;
    static const uint32_t field = 0;
    bool found = r->size > 0;
    if (found)
        load(r, &old);
    int rc = kind == PUT      ? bz_rec_put(&model.arena, found ? &old : NULL, write, &rec)
             : kind == UPDATE ? bz_rec_update(&model.arena, &old, write, &field, 1, &rec)
                              : bz_rec_delete(&model.arena, &old, write, &rec);
    assert_int_equal(rc, 0);
    struct bz_dot entries[REPLICAS];
    struct bz_vv more = {entries, 0};
    for (uint32_t n = 0; !found && n < REPLICAS; n++) {
        if (seen->of[n] > 0)
            entries[more.count++] = (struct bz_dot){n, seen->of[n]};
    }
    assert_int_equal(bz_vv_max(&model.arena, &rec.rvv, &more, &rec.rvv), 0);
    store(r, &rec);
}

static void write_at(struct state *s, uint8_t node, uint8_t kind)
{
    static const uint8_t bodies[WRITES] = {10, 11, 12};
    struct replica *r = &s->replicas[node];
    struct versions seen = r->purged;
    uint8_t i = s->count;
    if (r->size > 0) {
        struct bz_rec rec;
        load(r, &rec);
        seen = versions_of(&rec.rvv);
    }
    s->writes[i].seen = set_of(s, &seen);
    s->writes[i].node = node;
    s->writes[i].kind = kind;
    s->writes[i].seq = ++r->vv.of[node];
    s->count++;
    note_version(r);
    if (model.rule == NOTHING_IS_SEEN)
        seen = (struct versions){{0}};
    struct bz_write write = {.dot = {node, r->vv.of[node]},
        .stamp = (uint64_t)(i + 1) << 16,
        .role = node == 1,
        .alive = kind != DELETE,
        .body = kind == DELETE ? bz_bytes(NULL, 0) : bz_bytes(&bodies[i], 1)};
    apply_write(r, &write, kind, &seen);
}

/* What is sent of it to who has `had`: one that is torn goes whole. */
static void part_for(const struct bz_rec *whole, const struct versions *had, struct bz_rec *part)
{
    struct bz_rec marked = *whole;
    if (bz_rec_life_differs(whole)) {
        *part = *whole;
        return;
    }
    for (uint32_t i = 0; i < marked.write_count; i++) {
        struct bz_write *write = &marked.writes[i];
        write->arrived = write->dot.seq <= had->of[write->dot.node] ? 1 : 2;
    }
    assert_int_equal(bz_rec_since(&model.arena, &marked, 1, part), 0);
}

static void send_record(const struct replica *from, struct replica *to)
{
    struct bz_rec whole, part, local, merged;
    bool changed, subsumed;
    load(from, &whole);
    struct versions rvv = versions_of(&whole.rvv);
    bool covered = includes(&to->vv, &rvv);
    if (to->size == 0) {
        if (!covered)
            store(to, &whole); /* what is not complete is asked for anew */
        return;
    }
    if (covered && !bz_rec_life_differs(&whole))
        return;
    part_for(&whole, &to->vv, &part);
    load(to, &local);
    int rc = bz_rec_merge(&model.arena, &local, &part, 3, &merged, &changed, &subsumed);
    if (rc != 0) {
        model.wrong = true; /* the sender took it to have what it has not */
        return;
    }
    store(to, &merged);
}

/* One direction of a session; it may be cut off before the head. */
static void exchange(struct state *s, int a, int b, bool to_head)
{
    const struct replica *from = &s->replicas[a];
    struct replica *to = &s->replicas[b];
    if (from->size > 0)
        send_record(from, to);
    if (!to_head)
        return;
    raise_to(&to->purged, &from->purged);
    if (includes(&to->vv, &from->vv))
        return;
    raise_to(&to->vv, &from->vv);
    note_version(to);
}

/* Whether there is a row of replica n by which it may go. */
static bool has_row(
    const struct state *s, int n, const struct versions *own, const struct versions *rvv)
{
    const struct replica *r = &s->replicas[n];
    for (int i = 0; i < WRITES; i++) {
        if (r->had[i].of[n] <= own->of[n] && includes(&r->had[i], rvv))
            return true;
    }
    return false;
}

static bool may_go(const struct state *s, int self, const struct versions *rvv)
{
    const struct versions *own = &s->replicas[self].vv;
    bool may = includes(own, rvv);
    int waited = model.rule == AT_ONCE ? 0 : model.rule == WITHOUT_ONE ? REPLICAS - 1 : REPLICAS;
    for (int n = 0; n < waited; n++)
        may = may && has_row(s, n, own, rvv);
    return may;
}

static bool collect(struct state *s, int self)
{
    struct replica *r = &s->replicas[self];
    struct bz_rec rec;
    if (r->size == 0 || is_alive(r))
        return false;
    load(r, &rec);
    struct versions rvv = versions_of(&rec.rvv);
    if (!may_go(s, self, &rvv))
        return false;
    raise_to(&r->purged, &rvv);
    memset(r->record, 0, sizeof r->record);
    r->size = 0;
    model.collected++;
    return true;
}

/* ---- what should be ---- */

static unsigned cells_of(unsigned kind)
{
    return kind == PUT ? FIELD | REST | LIFE : kind == UPDATE ? FIELD | LIFE : LIFE;
}

/* Of all writes, those to a cell that none of the others had seen. */
static unsigned standing(const struct state *s, unsigned cell)
{
    unsigned present = 0, superseded = 0;
    for (unsigned i = 0; i < s->count; i++) {
        if ((cells_of(s->writes[i].kind) & cell) == 0)
            continue;
        present |= 1u << i;
        superseded |= s->writes[i].seen;
    }
    return present & ~superseded;
}

static unsigned held(const struct state *s, const struct bz_rec *rec, const struct bz_cell *cell)
{
    unsigned set = 0;
    for (uint32_t m = 0; m < cell->count; m++) {
        struct bz_dot dot = rec->writes[cell->members[m]].dot;
        for (unsigned i = 0; i < s->count; i++) {
            if (s->writes[i].node == dot.node && s->writes[i].seq == dot.seq)
                set |= 1u << i;
        }
    }
    return set;
}

/* Servers first, then the later. */
static bool should_be_alive(const struct state *s)
{
    unsigned life = standing(s, LIFE);
    int winner = -1;
    for (int i = 0; i < s->count; i++) {
        bool server = s->writes[i].node == 1;
        if ((life >> i & 1) && (winner < 0 || server >= (s->writes[winner].node == 1)))
            winner = i;
    }
    return winner >= 0 && s->writes[winner].kind != DELETE;
}

static bool is_right(const struct state *s, const struct replica *r)
{
    struct bz_rec rec;
    bool alive = should_be_alive(s);
    if (is_alive(r) != alive)
        return false;
    if (!alive)
        return true;
    load(r, &rec);
    return held(s, &rec, &rec.life) == standing(s, LIFE) &&
           held(s, &rec, &rec.rest) == standing(s, REST) &&
           held(s, &rec, bz_rec_cell(&rec, 0)) == standing(s, FIELD);
}

static void check_state(const struct state *state)
{
    struct state s = *state;
    for (int a = 0; a < REPLICAS; a++) {
        for (int b = 0; b < REPLICAS; b++)
            model.wrong |= !includes(&s.replicas[b].vv, &s.replicas[a].purged);
    }
    for (int turn = 0; turn < 2; turn++) {
        for (int a = 0; a < REPLICAS; a++) {
            for (int b = 0; b < REPLICAS; b++) {
                if (a != b)
                    exchange(&s, a, b, true);
            }
        }
    }
    for (int n = 0; n < REPLICAS; n++)
        model.wrong |= !is_right(&s, &s.replicas[n]);
    model.healed++;
}

/* ---- all states ---- */

static void *grown(void *memory, size_t count, size_t size)
{
    void *larger = realloc(memory, count * size);
    assert_non_null(larger);
    return larger;
}

/* The place of a hash, or the free one that it should have. */
static struct bz_hash128 *place(struct bz_hash128 hash)
{
    size_t at = hash.low & (model.known_room - 1);
    while ((model.known[at].low | model.known[at].high) != 0 &&
           (model.known[at].low != hash.low || model.known[at].high != hash.high))
        at = (at + 1) & (model.known_room - 1);
    return &model.known[at];
}

static void know_more(void)
{
    struct bz_hash128 *before = model.known;
    size_t room = model.known_room;
    model.known_room = room == 0 ? 1u << 16 : room * 2;
    model.known = calloc(model.known_room, sizeof *model.known);
    assert_non_null(model.known);
    for (size_t i = 0; i < room; i++) {
        if ((before[i].low | before[i].high) != 0)
            *place(before[i]) = before[i];
    }
    free(before);
}

static void reach(const struct state *s)
{
    struct bz_hash128 hash = bz_hash128(s, sizeof *s, 0), *at;
    if (model.known_count * 2 >= model.known_room)
        know_more();
    at = place(hash);
    if ((at->low | at->high) != 0)
        return;
    *at = hash;
    model.known_count++;
    if (model.waiting_count == model.waiting_room) {
        model.waiting_room = model.waiting_room == 0 ? 1024 : model.waiting_room * 2;
        model.waiting = grown(model.waiting, model.waiting_room, sizeof *model.waiting);
    }
    model.waiting[model.waiting_count++] = *s;
}

static void write_from(const struct state *s)
{
    if (s->count == model.write_max)
        return;
    /* Two of them differ in nothing; the first write is not the last one's, then. */
    for (uint8_t node = 0; node < (s->count == 0 ? REPLICAS - 1 : REPLICAS); node++) {
        bool alive = is_alive(&s->replicas[node]);
        for (uint8_t kind = PUT; kind < KINDS; kind++) {
            struct state next = *s;
            if (kind != PUT && !alive)
                continue; /* what is not there can only be put */
            write_at(&next, node, kind);
            reach(&next);
        }
    }
}

static void exchange_from(const struct state *s)
{
    for (int a = 0; a < REPLICAS; a++) {
        for (int b = 0; b < REPLICAS; b++) {
            for (int to_head = 0; a != b && to_head < 2; to_head++) {
                struct state next = *s;
                exchange(&next, a, b, to_head == 1);
                reach(&next);
            }
        }
    }
}

static void collect_from(const struct state *s)
{
    for (int n = 0; n < REPLICAS; n++) {
        struct state next = *s;
        if (collect(&next, n))
            reach(&next);
    }
}

/* Whether all is right in all states that can be reached by this rule. */
static bool explore(enum rule rule, unsigned writes)
{
    struct state first;
    memset(&first, 0, sizeof first);
    model = (struct model){.rule = rule, .write_max = writes};
    bz_arena_init(&model.arena);
    reach(&first);
    while (model.waiting_count > 0 && !model.wrong) {
        struct state s = model.waiting[--model.waiting_count];
        bz_arena_reset(&model.arena);
        check_state(&s);
        write_from(&s);
        exchange_from(&s);
        collect_from(&s);
    }
    print_message("%u writes: %zu states, collected %llu times%s\n", writes, model.known_count,
        (unsigned long long)model.collected, model.wrong ? ": found out" : "");
    free(model.waiting);
    free(model.known);
    bz_arena_release(&model.arena);
    return !model.wrong;
}

static void what_all_have_had_may_go(void **state)
{
    (void)state;
    for (unsigned writes = 1; writes <= (TEST_SANITIZED ? 2 : WRITES); writes++) {
        assert_true(explore(STABLE, writes));
        test_total(model.known_count, "states of a record that is collected");
        assert_true(writes == 1 || model.collected > 0);
    }
}

static void wrong_rules_are_found_out(void **state)
{
    (void)state;
    for (enum rule rule = AT_ONCE; rule <= NOTHING_IS_SEEN; rule++) {
        bool right = true;
        for (unsigned writes = 1; right && writes <= WRITES; writes++)
            right = explore(rule, writes);
        if (right)
            print_message("rule %d\n", (int)rule);
        assert_false(right);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_all_have_had_may_go),
        cmocka_unit_test(wrong_rules_are_found_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

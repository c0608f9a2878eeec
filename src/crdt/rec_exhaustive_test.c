/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Every history there is of one record on three replicas with at most three writes: each write of
 * any kind at any replica, and between them any exchanges between any two, in whole or
 * changed-fields form. In every state that can be reached, what each replica holds must be what the
 * writes that it has seen say, and merging any two of them must give the same from either side.
 * With changed fields there are over a million states; unless BLAZEDB_LONG is set, the only writes
 * there are whole ones and updates of one field.
 */

#include "base/dict.h"
#include "base/hash.h"
#include "crdt/rec.h"

#include "cmocka_all.h"
#include "random.h"

#include <blazedb/error.h>
#include <stdlib.h>

enum { REPLICAS = 3, WRITES = 3, RECORD_MAX = 100 };

/* What a kind of write writes: bits of the fields 0 and 1, rest and life. */
enum { FIELD_0 = 1, FIELD_1 = 2, REST = 4, LIFE = 8 };
static const uint8_t kinds[] = {FIELD_0 | FIELD_1 | REST | LIFE, FIELD_0 | LIFE, FIELD_1 | LIFE,
    FIELD_0 | FIELD_1 | LIFE, LIFE};

/* All of it, without padding: states are told apart by their bytes. */
struct state {
    uint8_t write_count;
    struct {
        uint8_t node, cells, seen, seq;
    } writes[WRITES];
    struct {
        uint8_t seen, seq, position, size;
        uint8_t bytes[RECORD_MAX];
    } replicas[REPLICAS];
    uint8_t reached[REPLICAS][REPLICAS]; /* position of the first when the second last had it all */
};

static struct model {
    struct bz_arena arena; /* of one step */
    struct bz_arena keys;
    struct bz_dict known; /* hashes of states */
    struct state *stack;  /* known, but not gone on from yet */
    size_t count, capacity;
    bool partial; /* send changed fields too; then log positions are part of a state */
    unsigned kind_count;
} model;

static void reach(const struct state *s)
{
    struct bz_hash128 hash = bz_hash128(s, sizeof *s, 0);
    struct bz_bytes key = bz_bytes(&hash, sizeof hash);
    if (bz_dict_get(&model.known, key, NULL))
        return;
    assert_int_equal(bz_dict_put(&model.known, bz_arena_copy(&model.keys, key), 1), 0);
    if (model.count == model.capacity) {
        model.capacity = model.capacity == 0 ? 1024 : model.capacity * 2;
        model.stack = realloc(model.stack, model.capacity * sizeof *model.stack);
        assert_non_null(model.stack);
    }
    model.stack[model.count++] = *s;
}

static bool load(const struct state *s, unsigned replica, struct bz_rec *out)
{
    if (s->replicas[replica].size == 0)
        return false;
    struct bz_bytes bytes = bz_bytes(s->replicas[replica].bytes, s->replicas[replica].size);
    uint64_t position = model.partial ? s->replicas[replica].position : 0;
    assert_int_equal(bz_rec_decode(&model.arena, bytes, position, out), 0);
    return true;
}

static void save(struct state *s, unsigned replica, const struct bz_rec *rec)
{
    struct bz_buf buf;
    bz_buf_init(&buf, RECORD_MAX);
    if (model.partial)
        s->replicas[replica].position++;
    bz_rec_encode(&buf, rec, s->replicas[replica].position);
    assert_int_equal(buf.error, 0);
    memset(s->replicas[replica].bytes, 0, RECORD_MAX);
    memcpy(s->replicas[replica].bytes, buf.data, buf.size);
    s->replicas[replica].size = (uint8_t)buf.size;
    bz_buf_release(&buf);
}

/* ---- what may happen next ---- */

static void write_at(const struct state *before, unsigned replica, uint8_t cells)
{
    struct state s = *before;
    struct bz_rec old, rec;
    bool exists = load(&s, replica, &old);
    bool put = cells == kinds[0], alive = cells != LIFE;
    if (!exists && !put)
        return;
    unsigned index = s.write_count++;
    s.writes[index].node = (uint8_t)replica;
    s.writes[index].cells = cells;
    s.writes[index].seen = s.replicas[replica].seen;
    s.writes[index].seq = ++s.replicas[replica].seq;
    s.replicas[replica].seen |= (uint8_t)(1u << index);
    struct bz_write w = {.dot = {replica, s.replicas[replica].seq},
        .stamp = index,
        .arrived = s.replicas[replica].position + 1u,
        .alive = alive};
    uint32_t fields[2], count = 0;
    for (uint32_t f = 0; f < 2; f++) {
        if (cells >> f & 1)
            fields[count++] = f;
    }
    int rc = put     ? bz_rec_put(&model.arena, exists ? &old : NULL, &w, &rec)
             : alive ? bz_rec_update(&model.arena, &old, &w, fields, count, &rec)
                     : bz_rec_delete(&model.arena, &old, &w, &rec);
    assert_int_equal(rc, 0);
    save(&s, replica, &rec);
    reach(&s);
}

static void exchange(const struct state *before, unsigned from, unsigned to, bool whole)
{
    struct state s = *before;
    struct bz_rec local, remote, sent, merged;
    bool changed, subsumed, exists = load(&s, to, &local);
    if (!load(&s, from, &remote))
        return;
    uint64_t has = whole ? 0 : s.reached[from][to];
    assert_int_equal(bz_rec_since(&model.arena, &remote, has, &sent), 0);
    assert_int_equal(bz_rec_merge(&model.arena, exists ? &local : NULL, &sent,
                         s.replicas[to].position + 1u, &merged, &changed, &subsumed),
        0);
    s.replicas[to].seen |= s.replicas[from].seen;
    s.reached[from][to] = s.replicas[from].position;
    if (changed)
        save(&s, to, &merged);
    reach(&s);
}

/* ---- what must be so ---- */

static unsigned writes_in_cell(const struct state *s, unsigned cell, unsigned seen)
{
    unsigned present = 0, superseded = 0;
    for (unsigned i = 0; i < s->write_count; i++) {
        if ((seen >> i & 1) && (s->writes[i].cells & cell)) {
            present |= 1u << i;
            superseded |= s->writes[i].seen;
        }
    }
    return present & ~superseded;
}

static void check_cell(const struct state *s, unsigned replica, const struct bz_rec *rec,
    const struct bz_cell *cell, unsigned bit)
{
    unsigned found = 0;
    for (uint32_t i = 0; i < cell->count; i++) {
        struct bz_dot dot = rec->writes[cell->members[i]].dot;
        for (unsigned w = 0; w < s->write_count; w++) {
            if (s->writes[w].node == dot.node && s->writes[w].seq == dot.seq)
                found |= 1u << w;
        }
    }
    assert_int_equal(found, writes_in_cell(s, bit, s->replicas[replica].seen));
}

static bool check_replica(const struct state *s, unsigned replica, struct bz_rec *rec)
{
    if (!load(s, replica, rec))
        return false;
    check_cell(s, replica, rec, bz_rec_cell(rec, 0), FIELD_0);
    check_cell(s, replica, rec, bz_rec_cell(rec, 1), FIELD_1);
    check_cell(s, replica, rec, &rec->rest, REST);
    check_cell(s, replica, rec, &rec->life, LIFE);
    return true;
}

static void check_merge(const struct bz_rec *a, const struct bz_rec *b)
{
    struct bz_rec ab, ba;
    struct bz_buf x, y;
    bool changed, subsumed;
    bz_buf_init(&x, RECORD_MAX);
    bz_buf_init(&y, RECORD_MAX);
    assert_int_equal(bz_rec_merge(&model.arena, a, b, 9, &ab, &changed, &subsumed), 0);
    assert_int_equal(bz_rec_merge(&model.arena, b, a, 9, &ba, &changed, &subsumed), 0);
    bz_rec_encode(&x, &ab, 0);
    bz_rec_encode(&y, &ba, 0);
    assert_true(bz_bytes_equal(bz_buf_bytes(&x), bz_buf_bytes(&y)));
    bz_buf_release(&x);
    bz_buf_release(&y);
}

static void check(const struct state *s)
{
    struct bz_rec recs[REPLICAS];
    bool there[REPLICAS];
    for (unsigned i = 0; i < REPLICAS; i++)
        there[i] = check_replica(s, i, &recs[i]);
    for (unsigned i = 0; i < REPLICAS; i++) {
        unsigned j = (i + 1) % REPLICAS;
        if (!model.partial && there[i] && there[j])
            check_merge(&recs[i], &recs[j]);
    }
}

/* ---- all of it ---- */

static void go_on_from(const struct state *s)
{
    check(s);
    for (unsigned i = 0; i < REPLICAS; i++) {
        /* Where the first write is does not matter. */
        bool may_write = s->write_count < WRITES && (s->write_count > 0 || i == 0);
        for (unsigned k = 0; may_write && k < model.kind_count; k++)
            write_at(s, i, kinds[k]);
        for (unsigned j = 0; j < REPLICAS; j++) {
            if (i == j)
                continue;
            exchange(s, i, j, true);
            if (model.partial)
                exchange(s, i, j, false);
        }
    }
    bz_arena_reset(&model.arena);
}

static void explore(bool partial, unsigned kind_count)
{
    struct state start;
    memset(&start, 0, sizeof start);
    model = (struct model){.partial = partial, .kind_count = kind_count};
    bz_arena_init(&model.arena);
    bz_arena_init(&model.keys);
    bz_dict_init(&model.known);
    reach(&start);
    while (model.count > 0) {
        struct state s = model.stack[--model.count];
        go_on_from(&s);
    }
    print_message("%zu states\n", model.known.count);
    bz_dict_release(&model.known);
    bz_arena_release(&model.keys);
    bz_arena_release(&model.arena);
    free(model.stack);
}

static void in_all_histories_of_three_writes_every_replica_has_what_it_has_seen(void **state)
{
    (void)state;
    explore(false, sizeof kinds);
}

static void in_all_histories_with_changed_fields_every_replica_has_what_it_has_seen(void **state)
{
    (void)state;
    explore(true, test_is_long() ? sizeof kinds : 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_all_histories_of_three_writes_every_replica_has_what_it_has_seen),
        cmocka_unit_test(in_all_histories_with_changed_fields_every_replica_has_what_it_has_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

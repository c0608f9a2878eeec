/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Random histories of a small database (rec_world_test_util.h) against an oracle.
 *
 * The oracle knows nothing of dots and vectors. It says of a cell: a write is in it if it wrote it
 * and no write that has seen it wrote it too. Each replica's state must be that of the set of
 * writes that it has seen, at the end of a history and in some all along; and after a full exchange
 * each has seen all.
 *
 * A failure prints the seed that begins with its history.
 */

#include "crdt/rec_world_test_util.h"

#include <inttypes.h>
#include <stdlib.h>

/* Histories in which a wrong rule must fail; about 80 are enough. */
enum { FOUND_WITHIN = 3000 };

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
        if (got->stamp != made->stamp || got->role != made->role || got->alive != made->alive ||
            got->resolved != ((made->cells & LIFE) == 0))
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
            bz_hash128_add(&sum, bz_rec_digest(&rec, &id, &nodes));
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

static bool same(const struct bz_rec *a, const struct bz_rec *b)
{
    struct bz_buf x, y;
    bz_buf_init(&x, 1 << 20);
    bz_buf_init(&y, 1 << 20);
    bz_rec_encode(&x, a, 0);
    bz_rec_encode(&y, b, 0);
    bool equal = bz_bytes_equal(bz_buf_bytes(&x), bz_buf_bytes(&y));
    bz_buf_release(&x);
    bz_buf_release(&y);
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
    if (!same(&ab, &ba))
        fail_with(w, "merge does not commute");
    if (!same(&left, &right))
        fail_with(w, "merge does not associate");
    if (!same(&ab, &again) || !same(&s[0], &self))
        fail_with(w, "merge is not idempotent");
}

/* ---- a history ---- */

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

static int setup(void **state)
{
    (void)state;
    return world_init(&world);
}

static int teardown(void **state)
{
    (void)state;
    world_release(&world);
    return 0;
}

static void all_replicas_of_any_history_come_to_the_state_that_the_oracle_says(void **state)
{
    (void)state;
    uint64_t first = test_seed(), histories = test_rounds(100000, 300000);
    for (uint64_t i = 0; i < histories; i++) {
        if (!run_history(&world, first + i, RIGHT))
            fail_msg("%s (BLAZEDB_SEED=%" PRIu64 ")", world.failure, first + i);
    }
}

/* How many histories it takes to find a wrong rule out. */
static unsigned histories_until_failure(enum rule rule)
{
    uint64_t first = test_seed();
    unsigned n = 1;
    while (n < FOUND_WITHIN && run_history(&world, first + n, rule))
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
    return cmocka_run_group_tests(tests, setup, teardown);
}

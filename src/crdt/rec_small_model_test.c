/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All there is of one record written up to four times at up to three replicas (BLAZEDB_LONG: up to
 * five times), on the real code.
 *
 * A history is who wrote how often, what each write had seen, and what it wrote. What a replica can
 * have seen is a set of writes that holds with each write what that had seen. What it should then
 * hold is defined by the rule alone: in each cell, the writes that none of the others had seen.
 * Call that F(set). For each history this is shown, of encoded bytes:
 *
 *   write     a write at F(what it had seen) gives F(that and itself);
 *   exchange  F(R) merged with what a replica with F(S) sends gives F(R and S), for all R and S and
 *             for every T, part of both, that the receiver may be known to have had when the sender
 *             last reached its end: then only the cells with a write outside of T are sent.
 *
 * A replica begins with F(nothing), and writes and exchanges are all that happens to it. So by
 * induction every replica holds F(what it has seen), whatever the order of writes and exchanges;
 * in particular those who have seen the same hold the same. (That what is sent depends on T alone:
 * a write that is still held has arrived before T's moment if and only if it is in T.)
 */
#include "crdt/rec.h"

#include "cmocka_all.h"
#include "random.h"

#include <blazedb/error.h>

enum { REPLICAS = 3, WRITES = 5, SETS = 1 << WRITES, RECORD_MAX = 256 };

/* What a kind of write writes: bits of the fields 0 and 1, rest and life. */
enum { FIELD_0 = 1, FIELD_1 = 2, REST = 4, LIFE = 8 };
static const uint8_t kinds[] = {FIELD_0 | FIELD_1 | REST | LIFE, FIELD_0 | LIFE, FIELD_1 | LIFE,
    FIELD_0 | FIELD_1 | LIFE, LIFE};
enum { KINDS = sizeof kinds };

static struct model {
    struct bz_arena arena;
    uint8_t counts[REPLICAS];
    unsigned write_count;
    struct {
        uint8_t node, seq, cells;
        uint8_t seen; /* a set: a bit for each write */
    } writes[WRITES];
    bool possible[SETS];
    struct bz_rec recs[SETS]; /* F */
    struct bz_bytes bytes[SETS];
    uint64_t histories, merges;
} model;

/* ---- what should be ---- */

static unsigned standing(unsigned set, unsigned cell)
{
    unsigned present = 0, superseded = 0;
    for (unsigned i = 0; i < model.write_count; i++) {
        if ((set >> i & 1) && (model.writes[i].cells & cell)) {
            present |= 1u << i;
            superseded |= model.writes[i].seen;
        }
    }
    return present & ~superseded;
}

static bool is_possible(unsigned set)
{
    for (unsigned i = 0; i < model.write_count; i++) {
        if ((set >> i & 1) && (model.writes[i].seen & ~set) != 0)
            return false;
    }
    return true;
}

static struct bz_write write_of(unsigned i)
{
    static const uint8_t bodies[WRITES] = {10, 11, 12, 13, 14};
    bool alive = model.writes[i].cells != LIFE;
    return (struct bz_write){.dot = {model.writes[i].node, model.writes[i].seq},
        .stamp = (uint64_t)(i + 1) << 16,
        .role = model.writes[i].node == 1,
        .alive = alive,
        .body = alive ? bz_bytes(&bodies[i], 1) : bz_bytes(NULL, 0)};
}

static void *take(size_t size)
{
    void *memory = bz_arena_alloc(&model.arena, size);
    assert_non_null(memory);
    return memory;
}

static struct bz_cell cell_of(uint32_t field, unsigned members, unsigned held)
{
    uint16_t *list = take(WRITES * sizeof *list);
    struct bz_cell cell = {.field = field, .members = list};
    uint16_t index = 0;
    for (unsigned i = 0; i < model.write_count; i++) {
        if (members >> i & 1)
            list[cell.count++] = index;
        index = (uint16_t)(index + (held >> i & 1));
    }
    return cell;
}

static struct bz_bytes encoded(const struct bz_rec *rec)
{
    struct bz_buf buf;
    bz_buf_init(&buf, RECORD_MAX);
    bz_rec_encode(&buf, rec, 0);
    assert_int_equal(buf.error, 0);
    struct bz_bytes copy = bz_arena_copy(&model.arena, bz_buf_bytes(&buf));
    bz_buf_release(&buf);
    return copy;
}

/* F, from the definition. */
static struct bz_rec record_of(unsigned set)
{
    unsigned rest = standing(set, REST), life = standing(set, LIFE);
    unsigned fields[2] = {standing(set, FIELD_0), standing(set, FIELD_1)};
    unsigned held = rest | life | fields[0] | fields[1];
    struct bz_rec rec = {.has_life = true, .has_rest = true};
    rec.rvv.entries = take(REPLICAS * sizeof *rec.rvv.entries);
    rec.writes = take(WRITES * sizeof *rec.writes);
    rec.cells = take(2 * sizeof *rec.cells);
    for (unsigned i = 0; i < model.write_count; i++) {
        struct bz_write write = write_of(i);
        if (held >> i & 1)
            rec.writes[rec.write_count++] = write;
        if ((set >> i & 1) == 0)
            continue;
        if (rec.rvv.count == 0 || rec.rvv.entries[rec.rvv.count - 1].node != write.dot.node)
            rec.rvv.count++;
        rec.rvv.entries[rec.rvv.count - 1] = write.dot;
    }
    rec.life = cell_of(0, life, held);
    rec.rest = cell_of(0, rest, held);
    for (uint32_t f = 0; f < 2; f++) {
        if (fields[f] != rest)
            rec.cells[rec.cell_count++] = cell_of(f, fields[f], held);
    }
    return rec;
}

/* ---- what is ---- */

static void check_write(unsigned i)
{
    unsigned before = model.writes[i].seen, cells = model.writes[i].cells;
    struct bz_write write = write_of(i);
    const struct bz_rec *old = before == 0 ? NULL : &model.recs[before];
    struct bz_rec rec;
    uint32_t fields[2], count = 0;
    for (uint32_t f = 0; f < 2; f++) {
        if (cells >> f & 1)
            fields[count++] = f;
    }
    int rc = cells == kinds[0] ? bz_rec_put(&model.arena, old, &write, &rec)
             : write.alive     ? bz_rec_update(&model.arena, old, &write, fields, count, &rec)
                               : bz_rec_delete(&model.arena, old, &write, &rec);
    assert_int_equal(rc, 0);
    assert_true(bz_bytes_equal(encoded(&rec), model.bytes[before | 1u << i]));
}

/* What goes over the wire from F(set) to who is known to have had `had`. */
static struct bz_rec sent(unsigned set, unsigned had)
{
    struct bz_rec whole = model.recs[set], part, got;
    struct bz_write *writes = take(WRITES * sizeof *writes);
    for (uint32_t k = 0; k < whole.write_count; k++) {
        writes[k] = whole.writes[k];
        for (unsigned i = 0; i < model.write_count; i++) {
            struct bz_dot dot = writes[k].dot;
            if (model.writes[i].node == dot.node && model.writes[i].seq == dot.seq)
                writes[k].arrived = (had >> i & 1) ? 1 : 2;
        }
    }
    whole.writes = writes;
    assert_int_equal(bz_rec_since(&model.arena, &whole, had != 0, &part), 0);
    assert_int_equal(bz_rec_decode(&model.arena, encoded(&part), 0, &got), 0);
    return got;
}

static void check_exchange(unsigned local, unsigned remote, unsigned had)
{
    struct bz_rec got = sent(remote, had), merged;
    bool changed, subsumed;
    model.merges++;
    assert_int_equal(bz_rec_merge(&model.arena, local == 0 ? NULL : &model.recs[local], &got, 3,
                         &merged, &changed, &subsumed),
        0);
    assert_true(bz_bytes_equal(encoded(&merged), model.bytes[local | remote]));
    assert_int_equal(changed, (remote & ~local) != 0);
    assert_int_equal(subsumed, (local & ~remote) == 0);
}

static void check_history(void)
{
    unsigned all = (1u << model.write_count) - 1;
    model.histories++;
    for (unsigned set = 1; set <= all; set++) {
        model.possible[set] = is_possible(set);
        if (!model.possible[set])
            continue;
        model.recs[set] = record_of(set);
        model.bytes[set] = encoded(&model.recs[set]);
    }
    model.possible[0] = true;
    for (unsigned i = 0; i < model.write_count; i++)
        check_write(i);
    for (unsigned remote = 1; remote <= all; remote++) {
        for (unsigned local = 0; model.possible[remote] && local <= all; local++) {
            for (unsigned had = 0; model.possible[local] && had <= (local & remote); had++) {
                if (model.possible[had] && (had & ~(local & remote)) == 0)
                    check_exchange(local, remote, had);
            }
        }
    }
    bz_arena_reset(&model.arena);
}

/* ---- all histories ---- */

static void each_kind(unsigned i)
{
    if (i == model.write_count || i == WRITES) {
        check_history();
        return;
    }
    /* What is not there can only be put. */
    for (unsigned k = 0; k < (model.writes[i].seen == 0 ? 1 : KINDS); k++) {
        model.writes[i].cells = kinds[k];
        each_kind(i + 1);
    }
}

/* With each write, what that had seen. */
static bool is_causal(void)
{
    for (unsigned i = 0; i < model.write_count; i++) {
        if (!is_possible(model.writes[i].seen))
            return false;
    }
    return true;
}

/* A write has seen what its node wrote before, and not itself. */
static void each_seen(unsigned i)
{
    if (i == model.write_count || i == WRITES) {
        if (is_causal())
            each_kind(0);
        return;
    }
    for (unsigned seen = 0; seen < 1u << model.write_count; seen++) {
        model.writes[i].seen = (uint8_t)seen;
        bool first = i == 0 || model.writes[i - 1].node != model.writes[i].node;
        if ((seen >> i & 1) == 0 && (first || (seen >> (i - 1) & 1) != 0))
            each_seen(i + 1);
    }
}

static void each_writer(unsigned write_count)
{
    for (unsigned a = 0; a <= write_count; a++) {
        for (unsigned b = 0; a + b <= write_count; b++) {
            uint8_t counts[REPLICAS] = {(uint8_t)a, (uint8_t)b, (uint8_t)(write_count - a - b)};
            model.write_count = 0;
            for (uint8_t n = 0; n < REPLICAS; n++) {
                for (uint8_t k = 1; k <= counts[n] && model.write_count < WRITES; k++) {
                    model.writes[model.write_count].node = n;
                    model.writes[model.write_count++].seq = k;
                }
            }
            each_seen(0);
        }
    }
}

static void explore(unsigned write_count)
{
    model = (struct model){0};
    bz_arena_init(&model.arena);
    each_writer(write_count);
    print_message("%u writes: %llu histories, %llu merges\n", write_count,
        (unsigned long long)model.histories, (unsigned long long)model.merges);
    assert_true(model.merges > 0);
    test_total(model.histories, "histories of one record");
    test_total(model.merges, "merges of one record");
    bz_arena_release(&model.arena);
}

static void in_every_history_every_replica_holds_what_it_has_seen(void **state)
{
    (void)state;
    unsigned most = test_is_long() ? 5 : TEST_SANITIZED ? 3 : 4;
    for (unsigned writes = 1; writes <= most; writes++)
        explore(writes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_every_history_every_replica_holds_what_it_has_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

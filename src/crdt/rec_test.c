/* SPDX-License-Identifier: Apache-2.0 */
#include "crdt/rec_test_util.h"

#include "base/alloc.h"

#include "random.h"

#include <blazedb/error.h>
#include <stdlib.h>

/* ---- version vectors ---- */

static struct bz_vv random_vv(struct rng *rng, uint64_t plain[8])
{
    struct bz_vv vv = {bz_arena_alloc(&arena, 8 * sizeof *vv.entries), 0};
    assert_non_null(vv.entries);
    for (uint32_t node = 0; node < 8; node++) {
        plain[node] = rng_below(rng, 4);
        if (plain[node] != 0)
            vv.entries[vv.count++] = (struct bz_dot){node, plain[node]};
    }
    return vv;
}

static void version_vectors_agree_with_plain_arrays(void **state)
{
    (void)state;
    struct rng rng = {test_seed()};
    uint64_t x[8], y[8];
    for (int i = 0; i < 2000; i++) {
        struct bz_vv a = random_vv(&rng, x), b = random_vv(&rng, y), max;
        bool includes = true;
        assert_int_equal(bz_vv_max(&arena, &a, &b, &max), 0);
        for (uint32_t node = 0; node < 8; node++) {
            assert_true(bz_vv_get(&a, node) == x[node]);
            assert_true(bz_vv_get(&max, node) == (x[node] > y[node] ? x[node] : y[node]));
            assert_int_equal(bz_vv_covers(&a, (struct bz_dot){node, 2}), x[node] >= 2);
            includes &= x[node] >= y[node];
        }
        for (uint32_t j = 1; j < max.count; j++)
            assert_true(max.entries[j - 1].node < max.entries[j].node);
        assert_int_equal(bz_vv_includes(&a, &b), includes);
        bz_arena_reset(&arena);
    }
}

/* ---- writing ---- */

static void a_put_takes_the_place_of_all_that_was(void **state)
{
    (void)state;
    struct bz_rec rec = put(NULL, write_of(A, 1, DOC(1, 10, 2, 20)));
    rec = update(&rec, write_of(B, 1, DOC(2, 21)));
    rec = put(&rec, write_of(A, 2, DOC(3, 30)));
    assert_int_equal(rec.write_count, 1);
    assert_int_equal(rec.cell_count, 0);
    assert_true(bz_vv_get(&rec.rvv, A) == 2 && bz_vv_get(&rec.rvv, B) == 1);
    assert_reads(&rec, DOC(3, 30));
}

static void an_update_changes_the_fields_that_it_names(void **state)
{
    (void)state;
    struct bz_rec rec = put(NULL, write_of(A, 1, DOC(1, 10, 2, 20, 3, 30)));
    rec = update(&rec, write_of(B, 1, DOC(0, 1, 2, 22, 9, 90)));
    assert_reads(&rec, DOC(0, 1, 1, 10, 2, 22, 3, 30, 9, 90));
    rec = update(&rec, write_of(A, 2, DOC(3, 33)));
    assert_reads(&rec, DOC(0, 1, 1, 10, 2, 22, 3, 33, 9, 90));
    assert_int_equal(rec.write_count, 3);
}

static void a_field_that_is_unset_is_gone(void **state)
{
    (void)state;
    struct bz_rec rec = put(NULL, write_of(A, 1, DOC(1, 10, 2, 20))), unset;
    struct bz_write w = write_of(A, 2, DOC(3, 30));
    uint32_t fields[] = {1, 3};
    assert_int_equal(bz_rec_update(&arena, &rec, &w, fields, 2, &unset), 0);
    assert_reads(&unset, DOC(2, 20, 3, 30));
}

static void a_write_of_what_is_not_there_makes_a_whole_record(void **state)
{
    (void)state;
    struct bz_rec rec = update(NULL, write_of(A, 1, DOC(1, 10)));
    assert_true(rec.write_count == 1 && rec.cell_count == 0);
    assert_reads(&rec, DOC(1, 10));
    rec = removed(NULL, A, 1);
    assert_false(bz_rec_alive(&rec, &nodes));
    assert_reads(&rec, DOC(-1));
}

static void a_dot_that_was_seen_before_is_refused(void **state)
{
    (void)state;
    struct bz_rec rec = put(NULL, write_of(A, 5, DOC(1, 10))), out;
    struct bz_write w = write_of(A, 5, DOC(1, 11));
    uint32_t field = 1;
    assert_int_equal(bz_rec_put(&arena, &rec, &w, &out), BLAZE_EINVAL);
    assert_int_equal(bz_rec_update(&arena, &rec, &w, &field, 1, &out), BLAZE_EINVAL);
    assert_int_equal(bz_rec_delete(&arena, &rec, &w, &out), BLAZE_EINVAL);
}

static void more_fields_than_the_limit_are_refused(void **state)
{
    (void)state;
    static uint32_t fields[BZ_REC_MAX_FIELDS];
    for (uint32_t i = 0; i < BZ_REC_MAX_FIELDS; i++)
        fields[i] = 2 * i;
    struct bz_rec rec = put(NULL, write_of(A, 1, DOC(1, 10))), full, out;
    struct bz_write w = write_of(A, 2, DOC(2, 2));
    assert_int_equal(bz_rec_update(&arena, &rec, &w, fields, BZ_REC_MAX_FIELDS, &full), 0);
    w.dot.seq = 3;
    assert_int_equal(bz_rec_update(&arena, &full, &w, fields + 7, 5, &out), 0);
    assert_int_equal(out.cell_count, BZ_REC_MAX_FIELDS);
    uint32_t another = 3;
    assert_int_equal(bz_rec_update(&arena, &full, &w, &another, 1, &out), BLAZE_ELIMIT);
    assert_int_equal(bz_rec_delete(&arena, &full, &w, &out), 0);
    assert_int_equal(bz_rec_put(&arena, &full, &w, &out), 0);
}

/* ---- merging ---- */

static void updates_apart_of_different_fields_both_stay(void **state)
{
    (void)state;
    struct bz_rec base = put(NULL, write_of(A, 1, DOC(1, 10, 2, 20)));
    struct bz_rec a = update(&base, write_of(A, 2, DOC(1, 11)));
    struct bz_rec b = update(&base, write_of(B, 1, DOC(2, 22)));
    struct bz_rec rec = merge(&a, &b);
    assert_reads(&rec, DOC(1, 11, 2, 22));
    assert_int_equal(conflicts(&rec), 0);
}

static void updates_apart_of_one_field_are_siblings(void **state)
{
    (void)state;
    struct bz_rec base = put(NULL, write_of(A, 1, DOC(1, 10)));
    struct bz_rec a = update(&base, write_of(A, 2, DOC(1, 11)));
    struct bz_rec b = update(&base, write_of(B, 1, DOC(1, 12)));
    struct bz_rec rec = merge(&a, &b);
    assert_int_equal(bz_rec_cell(&rec, 1)->count, 2);
    assert_int_equal(conflicts(&rec), 1);
    struct bz_rec resolved = update(&rec, write_of(C, 1, DOC(1, 13)));
    assert_int_equal(conflicts(&resolved), 0);
    rec = merge(&rec, &resolved);
    assert_reads(&rec, DOC(1, 13));
}

static struct bz_rec siblings(struct bz_write a, struct bz_write b)
{
    struct bz_rec base = put(NULL, write_of(C, 1, DOC(1, 0)));
    a.body = DOC(1, 1);
    b.body = DOC(1, 2);
    struct bz_rec x = update(&base, a), y = update(&base, b);
    return merge(&x, &y);
}

static void the_winner_is_the_server_then_the_last_then_the_greater_node(void **state)
{
    (void)state;
    struct bz_write a = write_of(A, 1, DOC(-1)), b = write_of(B, 1, DOC(-1));
    struct bz_rec rec = siblings(a, b);
    assert_reads(&rec, DOC(1, 2));
    a.stamp++;
    rec = siblings(a, b);
    assert_reads(&rec, DOC(1, 1));
    b.role = BZ_ROLE_SERVER;
    rec = siblings(a, b);
    assert_reads(&rec, DOC(1, 2));
}

static void a_later_write_wins_over_what_it_has_seen_whoever_made_it(void **state)
{
    (void)state;
    struct bz_write server = write_of(B, 1, DOC(1, 1)), client = write_of(A, 1, DOC(1, 2));
    server.role = BZ_ROLE_SERVER;
    server.stamp = 1000;
    client.stamp = 1; /* its clock is far behind */
    struct bz_rec base = put(NULL, server), rec = update(&base, client);
    assert_reads(&rec, DOC(1, 2));
    rec = merge(&base, &rec);
    assert_reads(&rec, DOC(1, 2));
}

static void an_update_that_wins_over_a_delete_brings_the_whole_record_back(void **state)
{
    (void)state;
    struct bz_rec base = put(NULL, write_of(A, 1, DOC(1, 10, 2, 20)));
    struct bz_rec deleted = removed(&base, A, 2);
    assert_false(bz_rec_alive(&deleted, &nodes));
    struct bz_rec updated = update(&base, write_of(B, 1, DOC(2, 22)));
    struct bz_rec rec = merge(&deleted, &updated);
    assert_true(bz_rec_alive(&rec, &nodes)); /* B's id is the greater */
    assert_reads(&rec, DOC(1, 10, 2, 22));
    struct bz_write early = write_of(B, 1, DOC(2, 22));
    early.stamp--;
    updated = update(&base, early);
    rec = merge(&deleted, &updated);
    assert_false(bz_rec_alive(&rec, &nodes));
}

static void a_merge_says_whether_anything_changed_and_whether_the_sender_knows_all(void **state)
{
    (void)state;
    struct bz_rec base = put(NULL, write_of(A, 1, DOC(1, 10))), out;
    struct bz_rec a = update(&base, write_of(A, 2, DOC(1, 11)));
    struct bz_rec b = update(&base, write_of(B, 1, DOC(1, 12)));
    const struct {
        const struct bz_rec *local, *remote;
        bool changed, subsumed;
    } cases[] = {
        {NULL, &a, true, true},
        {&base, &a, true, true},
        {&a, &a, false, true},
        {&a, &base, false, false},
        {&a, &b, true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool changed, subsumed;
        assert_int_equal(
            bz_rec_merge(&arena, cases[i].local, cases[i].remote, 50, &out, &changed, &subsumed),
            0);
        assert_int_equal(changed, cases[i].changed);
        assert_int_equal(subsumed, cases[i].subsumed);
    }
}

static void new_writes_arrive_now_and_known_ones_have_arrived_before(void **state)
{
    (void)state;
    struct bz_rec base = put(NULL, write_of(A, 1, DOC(1, 10)));
    struct bz_rec rec = update(&base, write_of(B, 1, DOC(2, 12)));
    rec = merge(&base, &rec);
    assert_int_equal(rec.writes[0].arrived, 1);
    assert_int_equal(rec.writes[1].arrived, 50);
}

static void a_partial_record_where_nothing_is_breaks_the_protocol(void **state)
{
    (void)state;
    struct bz_rec rec = put(NULL, write_of(A, 1, DOC(1, 10))), part, out;
    bool changed, subsumed;
    assert_int_equal(bz_rec_since(&arena, &rec, 1, &part), 0);
    assert_int_equal(
        bz_rec_merge(&arena, NULL, &part, 50, &out, &changed, &subsumed), BLAZE_EPROTO);
}

/* Each says that it has superseded the other: both end with what was written last. */
static void of_states_that_contradict_each_other_the_last_write_stays(void **state)
{
    (void)state;
    struct bz_rec a = put(NULL, write_at(7, A, 1, DOC(1, 1))), out;
    struct bz_rec b = put(NULL, write_at(8, B, 1, DOC(1, 2)));
    struct bz_dot both[] = {{A, 1}, {B, 1}}, more[] = {{A, 1}, {B, 1}, {C, 1}};
    struct bz_rec_merged merged;
    for (uint32_t i = 2; i <= 3; i++) {
        a.rvv = (struct bz_vv){both, 2};
        b.rvv = (struct bz_vv){more, i};
        assert_int_equal(bz_rec_merge_past(&arena, &a, &b, NULL, 50, &out, &merged), 0);
        assert_true(merged.changed && merged.shrunk);
        assert_int_equal(out.write_count, 1);
        assert_int_equal(out.writes[0].dot.node, B);
        assert_int_equal(bz_rec_merge_past(&arena, &b, &a, NULL, 50, &out, &merged), 0);
        assert_false(merged.changed);
    }
}

/* One node's, with one stamp, as only a forger makes them. */
static void of_two_last_writes_of_one_node_the_later_stays(void **state)
{
    (void)state;
    struct bz_rec a = put(NULL, write_at(7, A, 1, DOC(1, 1))), out;
    struct bz_rec b = put(NULL, write_at(7, A, 2, DOC(1, 1)));
    struct bz_dot both[] = {{A, 2}}, more[] = {{A, 2}, {C, 1}};
    struct bz_rec_merged merged;
    a.rvv = (struct bz_vv){both, 1};
    b.rvv = (struct bz_vv){more, 2};
    assert_int_equal(bz_rec_merge_past(&arena, &a, &b, NULL, 50, &out, &merged), 0);
    assert_true(merged.changed && merged.shrunk);
    assert_int_equal(out.write_count, 1);
    assert_int_equal(out.writes[0].dot.seq, 2);
    assert_int_equal(bz_rec_merge_past(&arena, &b, &a, NULL, 50, &out, &merged), 0);
    assert_false(merged.changed);
}

/* Many cells here, each of which meets a large rest from there. */
static void a_merge_that_would_blow_up_is_refused(void **state)
{
    (void)state;
    enum { MANY = 2000 };
    struct bz_buf buf;
    struct bz_rec wide, deep, out;
    bool changed, subsumed;
    bz_buf_init(&buf, 1 << 20);
    bz_buf_append(&buf, "\x01\x01\0\1\x01\0\0\0\0\0\0\0\0\0\0", 15);
    bz_buf_append_varint(&buf, MANY);
    for (unsigned i = 0; i < MANY; i++)
        bz_buf_append(&buf, "\0\1\0", 3);
    struct bz_bytes bytes = bz_arena_copy(&arena, bz_buf_bytes(&buf));
    assert_int_equal(bz_rec_decode(&arena, bytes, 0, &wide), 0);
    bz_buf_clear(&buf);
    bz_buf_append8(&buf, 0xc1);
    bz_buf_append_varint(&buf, MANY);
    for (unsigned i = 0; i < MANY; i++)
        bz_buf_append(&buf, i == 0 ? "\1\1" : "\0\1", 2);
    bz_buf_append_varint(&buf, MANY);
    for (unsigned i = 0; i < MANY; i++)
        bz_buf_append(&buf, i == 0 ? "\0\0\0\0\0\0\0\0\0\0" : "\0\1\0\0\0\0\0\0\0\0", 10);
    for (unsigned set = 0; set < 2; set++) {
        bz_buf_append_varint(&buf, MANY);
        for (unsigned i = 0; i < MANY; i++)
            bz_buf_append8(&buf, 0);
    }
    bz_buf_append8(&buf, 0);
    assert_int_equal(bz_rec_decode(&arena, bz_buf_bytes(&buf), 0, &deep), 0);
    assert_int_equal(
        bz_rec_merge(&arena, &deep, &wide, 50, &out, &changed, &subsumed), BLAZE_ELIMIT);
    bz_buf_release(&buf);
}

/* ---- settling ---- */

static struct bz_rec settle(const struct bz_rec *old, struct bz_write w, uint32_t field)
{
    struct bz_rec rec;
    w.resolved = true;
    assert_int_equal(bz_rec_resolve(&arena, old, &w, &field, 1, &rec), 0);
    return rec;
}

static void settling_replaces_the_siblings_and_leaves_life_alone(void **state)
{
    (void)state;
    struct bz_rec rec = siblings(write_of(A, 1, DOC(-1)), write_of(B, 1, DOC(-1)));
    struct bz_rec settled = settle(&rec, write_of(C, 2, DOC(1, 7)), 1);
    assert_int_equal(conflicts(&settled), 0);
    assert_reads(&settled, DOC(1, 7));
    assert_int_equal(settled.life.count, rec.life.count);
    rec = merge(&rec, &settled);
    assert_int_equal(conflicts(&rec), 0);
    assert_reads(&rec, DOC(1, 7));
    assert_true(rec.writes[bz_rec_cell(&rec, 1)->members[0]].resolved);
}

/* The delete won over nothing that its node had not seen: settling is no reason to come back. */
static void settling_does_not_bring_back_what_was_deleted_meanwhile(void **state)
{
    (void)state;
    struct bz_rec rec = siblings(write_of(A, 1, DOC(-1)), write_of(B, 1, DOC(-1)));
    struct bz_write late = write_of(C, 2, DOC(1, 7));
    late.stamp += 100;
    struct bz_rec settled = settle(&rec, late, 1), deleted = removed(&rec, A, 2);
    rec = merge(&settled, &deleted);
    assert_false(bz_rec_alive(&rec, &nodes));
    assert_reads(&rec, DOC(1, 7));
}

static void values_of_a_type_that_merges_are_carried_and_known_to_be_unreadable(void **state)
{
    (void)state;
    struct bz_rec base = put(NULL, write_of(A, 1, DOC(1, 10)));
    struct bz_write w = write_of(B, 1, DOC(2, 20));
    w.kind = 3;
    struct bz_rec rec = update(&base, w);
    assert_int_equal(bz_rec_check_kinds(&base), 0);
    assert_int_equal(bz_rec_check_kinds(&rec), BLAZE_EVERSION);
    rec = merge(&base, &rec);
    assert_int_equal(rec.writes[1].kind, 3);
}

/* ---- the partial form ---- */

static void only_the_cells_with_something_new_are_sent(void **state)
{
    (void)state;
    struct bz_rec base = put(NULL, write_of(A, 1, DOC(1, 10, 2, 20))), part;
    struct bz_rec rec = update(&base, write_of(A, 2, DOC(1, 11)));
    rec = update(&rec, write_of(A, 3, DOC(2, 22)));
    assert_int_equal(bz_rec_since(&arena, &rec, 2, &part), 0);
    assert_true(part.has_life && !part.has_rest);
    assert_int_equal(part.cell_count, 1);
    assert_int_equal(part.cells[0].field, 2);
    assert_int_equal(part.write_count, 1);
    struct bz_rec behind = update(&base, write_of(A, 2, DOC(1, 11)));
    behind = merge(&behind, &part);
    assert_reads(&behind, DOC(1, 11, 2, 22));
    assert_int_equal(bz_rec_since(&arena, &rec, 3, &part), 0);
    assert_true(!part.has_life && !part.has_rest && part.cell_count == 0 && part.write_count == 0);
}

/* A delete that was collected goes with nothing in its place. */
static void a_record_that_shrinks_is_sent_as_a_whole(void **state)
{
    (void)state;
    struct bz_rec base = put(NULL, write_of(A, 1, DOC(1, 10))), part, out;
    struct bz_rec deleted = removed(&base, A, 2),
                  updated = update(&base, write_of(B, 1, DOC(1, 12)));
    struct bz_rec torn = merge(&deleted, &updated), pruned;
    struct bz_rec_merged merged;
    struct bz_vv gone = {(struct bz_dot[]){{A, 2}}, 1};
    assert_int_equal(torn.life.count, 2);
    assert_int_equal(
        bz_rec_outlive(&arena, &torn, &gone, &gone,
            &(struct bz_write){.dot = {B, 2}, .alive = true, .body = DOC(1, 10)}, 60, &pruned),
        0);
    assert_int_equal(bz_rec_merge_past(&arena, &torn, &pruned, NULL, 70, &out, &merged), 0);
    assert_true(merged.changed && merged.shrunk);
    assert_int_equal(out.life.count, 1);
    assert_int_equal(bz_rec_since(&arena, &out, 69, &part), 0);
    assert_true(part.has_life && part.has_rest);
    assert_int_equal(bz_rec_merge_past(&arena, &base, &updated, NULL, 70, &out, &merged), 0);
    assert_false(merged.shrunk);
}

static void everything_is_sent_if_rest_is_new_or_nothing_is_known(void **state)
{
    (void)state;
    struct bz_rec rec = put(NULL, write_of(A, 5, DOC(1, 10))), part;
    rec = update(&rec, write_of(A, 6, DOC(2, 20)));
    const uint64_t has[] = {0, 4};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(bz_rec_since(&arena, &rec, has[i], &part), 0);
        assert_true(part.has_life && part.has_rest);
        assert_int_equal(part.write_count, 2);
    }
}

/* ---- renaming ---- */

static int64_t swap_a_and_c(void *context, uint32_t number)
{
    (void)context;
    return number == A ? C : number == C ? A : number;
}

static int64_t all_the_same(void *context, uint32_t number)
{
    (void)number;
    return *(int *)context;
}

static struct bz_rec of_three_nodes(void)
{
    struct bz_rec rec = put(NULL, write_of(A, 1, DOC(0, 0, 1, 1)));
    struct bz_rec b = update(&rec, write_of(B, 1, DOC(0, 2)));
    rec = update(&rec, write_of(C, 4, DOC(0, 3, 2, 3)));
    return merge(&rec, &b);
}

static void a_renamed_record_is_sorted_by_its_new_numbers(void **state)
{
    (void)state;
    struct bz_rec rec = of_three_nodes(), there, back;
    struct bz_renaming to = {swap_a_and_c, swap_a_and_c, NULL};
    assert_int_equal(bz_rec_rename(&arena, &rec, &to, &there), 0);
    assert_int_equal(there.cells[0].field, 0); /* was 2 */
    assert_int_equal(there.cells[1].field, 2); /* was 0 */
    assert_int_equal(there.cells[1].count, 2);
    assert_int_equal(there.writes[there.rest.members[0]].dot.node, C);
    assert_int_equal(bz_rec_rename(&arena, &there, &to, &back), 0);
    struct bz_buf x, y;
    bz_buf_init(&x, 1000);
    bz_buf_init(&y, 1000);
    bz_rec_encode(&x, &rec, 0);
    bz_rec_encode(&y, &back, 0);
    assert_true(bz_bytes_equal(bz_buf_bytes(&x), bz_buf_bytes(&y)));
    bz_buf_release(&x);
    bz_buf_release(&y);
}

static void names_that_become_one_break_the_protocol(void **state)
{
    (void)state;
    int number = 5, error = BLAZE_ELIMIT;
    struct bz_rec rec = of_three_nodes(), out;
    struct bz_renaming nodes_same = {all_the_same, swap_a_and_c, &number};
    struct bz_renaming fields_same = {swap_a_and_c, all_the_same, &number};
    assert_int_equal(bz_rec_rename(&arena, &rec, &nodes_same, &out), BLAZE_EPROTO);
    assert_int_equal(bz_rec_rename(&arena, &rec, &fields_same, &out), BLAZE_EPROTO);
    nodes_same.context = fields_same.context = &error;
    assert_int_equal(bz_rec_rename(&arena, &rec, &nodes_same, &out), BLAZE_ELIMIT);
    assert_int_equal(bz_rec_rename(&arena, &rec, &fields_same, &out), BLAZE_ELIMIT);
}

/* ---- bodies ---- */

static void values_that_nobody_can_read_any_more_are_trimmed(void **state)
{
    (void)state;
    struct bz_rec base = put(NULL, write_of(A, 1, DOC(1, 10, 2, 20)));
    struct bz_rec rec = update(&base, write_of(A, 2, DOC(2, 22, 3, 33)));
    rec = update(&rec, write_of(B, 1, DOC(3, 34)));
    struct bz_rec before = rec;
    assert_int_equal(bz_rec_trim(&arena, &rec), 0);
    assert_true(bz_bytes_equal(rec.writes[0].body, DOC(1, 10)));
    assert_true(bz_bytes_equal(rec.writes[1].body, DOC(2, 22)));
    assert_true(bz_bytes_equal(rec.writes[2].body, DOC(3, 34)));
    assert_true(bz_bytes_equal(before.writes[0].body, DOC(1, 10, 2, 20)));
    assert_reads(&rec, DOC(1, 10, 2, 22, 3, 34));
    struct bz_rec deleted = removed(&rec, A, 3);
    deleted = update(&deleted, write_of(A, 4, DOC(1, 11)));
    assert_int_equal(bz_rec_trim(&arena, &deleted), 0);
    assert_int_equal(deleted.writes[0].body.size, 0);
    assert_reads(&deleted, DOC(1, 11, 2, 22, 3, 34));
}

static void whole_writes_apart_conflict_in_the_fields_that_differ(void **state)
{
    (void)state;
    struct bz_rec a = put(NULL, write_of(A, 1, DOC(1, 10, 2, 20, 3, 30)));
    struct bz_rec b = put(NULL, write_of(B, 1, DOC(1, 10, 2, 21, 4, 40)));
    struct bz_rec rec = merge(&a, &b);
    const uint32_t *fields;
    uint32_t count;
    assert_reads(&rec, DOC(1, 10, 2, 21, 4, 40));
    assert_int_equal(bz_rec_conflicts(&arena, &rec, &fields, &count), 0);
    assert_int_equal(count, 3);
    assert_true(fields[0] == 2 && fields[1] == 3 && fields[2] == 4);
    struct bz_rec same = put(NULL, write_of(C, 1, DOC(1, 10, 2, 20, 3, 30)));
    rec = merge(&a, &same);
    assert_int_equal(rec.rest.count, 2);
    assert_int_equal(conflicts(&rec), 0);
}

static void nested_values_and_types_that_differ_are_in_conflict(void **state)
{
    (void)state;
    static const char *json[] = {"{\"n\":[1,2],\"m\":{\"k\":\"v\"},\"t\":1}",
        "{\"n\":[1,3],\"m\":{\"k\":\"v\"},\"t\":\"1\"}"};
    struct blaze_names *names;
    assert_int_equal(bz_names_new(&names), 0);
    struct bz_rec sides[2];
    for (uint32_t i = 0; i < 2; i++) {
        blaze_doc *parsed;
        blaze_value value;
        struct bz_buf buf;
        bz_buf_init(&buf, 1000);
        assert_int_equal(blaze_doc_from_json(&parsed, json[i], strlen(json[i]), NULL), 0);
        assert_int_equal(blaze_doc_value(parsed, &value), 0);
        assert_int_equal(bz_doc_intern(&buf, &value, names), 0);
        sides[i] = put(NULL, write_of(i, 1, bz_arena_copy(&arena, bz_buf_bytes(&buf))));
        assert_int_equal(bz_rec_check_bodies(&sides[i], bz_names_count(names)), 0);
        assert_int_equal(bz_rec_check_bodies(&sides[i], 1), BLAZE_ECORRUPT);
        blaze_doc_free(parsed);
        bz_buf_release(&buf);
    }
    struct bz_rec rec = merge(&sides[0], &sides[1]);
    assert_int_equal(conflicts(&rec), 2);
    bz_names_unref(names);
}

static void a_body_with_a_name_that_has_no_id_is_refused(void **state)
{
    (void)state;
    blaze_doc *text;
    blaze_value value;
    assert_int_equal(blaze_doc_new(&text), 0);
    assert_int_equal(blaze_doc_add_int(text, "name", 1), 0);
    assert_int_equal(blaze_doc_value(text, &value), 0);
    struct bz_bytes body = bz_bytes(value.as.nested.data, value.as.nested.size);
    assert_int_equal(bz_doc_check(body, 0), 0);
    struct bz_rec rec = put(NULL, write_of(A, 1, body));
    assert_int_equal(bz_rec_check_bodies(&rec, 0), BLAZE_ECORRUPT);
    rec = put(NULL, write_of(A, 1, bz_bytes("\xff", 1)));
    assert_int_equal(bz_rec_check_bodies(&rec, 10), BLAZE_ECORRUPT);
    rec = put(NULL, write_of(A, 1, bz_bytes(NULL, 0)));
    assert_int_equal(bz_rec_check_bodies(&rec, 0), 0);
    blaze_doc_free(text);
}

/* ---- the digest ---- */

static bool equal(struct bz_hash128 a, struct bz_hash128 b)
{
    return a.low == b.low && a.high == b.high;
}

static void the_digest_is_of_key_and_dots_and_of_nothing_else(void **state)
{
    (void)state;
    static const blaze_id key = {{7}}, other_key = {{8}};
    static const blaze_id swapped[NODES] = {{{3}}, {{2}}, {{1}}};
    struct bz_nodes other_nodes = {swapped, NODES};
    struct bz_renaming to = {swap_a_and_c, swap_a_and_c, NULL};
    struct bz_rec rec = of_three_nodes(), there, more, dead;
    struct bz_hash128 digest = bz_rec_digest(&rec, &key, &nodes);
    assert_int_equal(bz_rec_rename(&arena, &rec, &to, &there), 0);
    assert_true(equal(bz_rec_digest(&there, &key, &other_nodes), digest));
    assert_false(equal(bz_rec_digest(&rec, &key, &other_nodes), digest));
    assert_false(equal(bz_rec_digest(&rec, &other_key, &nodes), digest));
    more = update(&rec, write_of(A, 2, DOC(9, 9)));
    assert_false(equal(bz_rec_digest(&more, &key, &nodes), digest));
    dead = removed(&rec, A, 2);
    assert_true(equal(bz_rec_digest(&dead, &key, &nodes), (struct bz_hash128){0}));
}

static void the_digest_is_what_the_format_says(void **state)
{
    (void)state;
    static const blaze_id key = {{7}};
    struct bz_rec rec = put(NULL, write_of(B, 258, DOC(1, 1)));
    struct bz_hash128 digest = bz_rec_digest(&rec, &key, &nodes);
    uint8_t dot[24] = {2, [16] = 2, 1}, all[32] = {7};
    struct bz_hash128 dots = bz_hash128(dot, sizeof dot, 0);
    bz_store64le(all + 16, dots.low);
    bz_store64le(all + 24, dots.high);
    assert_true(equal(digest, bz_hash128(all, sizeof all, 0)));
}

/* ---- out of memory ---- */

static int always(void *context)
{
    (void)context;
    return 1;
}

static int after_some(void *context)
{
    size_t *left = context;
    return *left == 0 ? 1 : (--*left, 0);
}

struct operands {
    struct bz_rec base, a, b;
    struct bz_write write;
    struct bz_bytes encoded;
};

static int run(unsigned operation, const struct operands *o, struct bz_arena *in,
    struct bz_rec *out, bool flags[2])
{
    static const uint32_t fields[] = {0, 2, 7};
    const struct bz_renaming to = {swap_a_and_c, swap_a_and_c, NULL};
    switch (operation) {
    case 0:
        return bz_rec_decode(in, o->encoded, 50, out);
    case 1:
        return bz_rec_rename(in, &o->a, &to, out);
    case 2:
        return bz_rec_put(in, &o->a, &o->write, out);
    case 3:
        return bz_rec_update(in, &o->a, &o->write, fields, 3, out);
    case 4:
        return bz_rec_delete(in, &o->a, &o->write, out);
    case 5:
        return bz_rec_merge(in, &o->a, &o->b, 50, out, &flags[0], &flags[1]);
    case 6:
        return bz_rec_merge(in, NULL, &o->b, 50, out, &flags[0], &flags[1]);
    case 7:
        return bz_rec_since(in, &o->a, 2, out);
    default:
        return BLAZE_END;
    }
}

/* The arena has `room` bytes left and gets no more. */
static int run_within(size_t room, unsigned operation, const struct operands *o)
{
    struct bz_arena tight;
    struct bz_rec out, untouched;
    bool flags[2];
    memset(&out, 0x5a, sizeof out);
    memset(flags, 1, sizeof flags);
    memcpy(&untouched, &out, sizeof out);
    bz_arena_init(&tight);
    assert_non_null(bz_arena_alloc(&tight, 4096 - room));
    bz_alloc_set_fault(always, NULL);
    int rc = run(operation, o, &tight, &out, flags);
    bz_alloc_set_fault(NULL, NULL);
    if (rc != 0) {
        assert_memory_equal(&out, &untouched, sizeof out);
        assert_true(flags[0] && flags[1]);
    }
    bz_arena_release(&tight);
    return rc;
}

static void without_memory_every_operation_says_so_and_gives_nothing(void **state)
{
    (void)state;
    struct operands o = {.base = put(NULL, write_of(B, 1, DOC(1, 1)))};
    o.a = update(&o.base, write_of(A, 2, DOC(0, 0, 2, 2)));
    o.a = update(&o.a, write_of(A, 3, DOC(5, 5)));
    o.b = update(&o.base, write_of(C, 1, DOC(0, 0, 5, 5)));
    o.write = write_of(A, 4, DOC(0, 1));
    struct bz_buf buf;
    bz_buf_init(&buf, 1000);
    bz_rec_encode(&buf, &o.a, 50);
    o.encoded = bz_buf_bytes(&buf);
    for (unsigned operation = 0; operation < 8; operation++) {
        size_t room = 0, failed = 0;
        int rc;
        while ((rc = run_within(room, operation, &o)) != 0) {
            assert_int_equal(rc, BLAZE_ENOMEM);
            room += 16;
            failed++;
        }
        assert_true(failed > 1);
    }
    bz_buf_release(&buf);
}

/* Looking into bodies takes memory of its own. */
static void without_memory_no_document_is_given(void **state)
{
    (void)state;
    struct bz_rec base = put(NULL, write_of(B, 1, DOC(1, 1, 2, 2)));
    struct bz_rec a = put(NULL, write_of(A, 1, DOC(1, 2)));
    struct bz_rec both = merge(&a, &base), rec = update(&base, write_of(A, 2, DOC(2, 3)));
    for (unsigned operation = 0; operation < 3; operation++) {
        int rc = BLAZE_ENOMEM;
        for (size_t n = 0; rc != 0; n++) {
            struct bz_arena own;
            struct bz_buf buf;
            struct bz_rec result = rec;
            size_t left = n;
            uint32_t count = 77;
            bz_arena_init(&own);
            bz_buf_init(&buf, 1000);
            bz_alloc_set_fault(after_some, &left);
            rc = operation == 0   ? bz_rec_document(&buf, &rec, &nodes)
                 : operation == 1 ? bz_rec_trim(&own, &result)
                                  : bz_rec_conflicts(&own, &both, NULL, &count);
            bz_alloc_set_fault(NULL, NULL);
            if (rc != 0) {
                assert_int_equal(rc, BLAZE_ENOMEM);
                assert_true(buf.size == 0 && count == 77);
                assert_memory_equal(&result, &rec, sizeof rec);
            }
            assert_true(rc == 0 || n < 20);
            assert_true(rc != 0 || n > 0);
            bz_arena_release(&own);
            bz_buf_release(&buf);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_vectors_agree_with_plain_arrays),
        cmocka_unit_test(a_put_takes_the_place_of_all_that_was),
        cmocka_unit_test(an_update_changes_the_fields_that_it_names),
        cmocka_unit_test(a_field_that_is_unset_is_gone),
        cmocka_unit_test(a_write_of_what_is_not_there_makes_a_whole_record),
        cmocka_unit_test(a_dot_that_was_seen_before_is_refused),
        cmocka_unit_test(more_fields_than_the_limit_are_refused),
        cmocka_unit_test(updates_apart_of_different_fields_both_stay),
        cmocka_unit_test(updates_apart_of_one_field_are_siblings),
        cmocka_unit_test(the_winner_is_the_server_then_the_last_then_the_greater_node),
        cmocka_unit_test(a_later_write_wins_over_what_it_has_seen_whoever_made_it),
        cmocka_unit_test(an_update_that_wins_over_a_delete_brings_the_whole_record_back),
        cmocka_unit_test(a_merge_says_whether_anything_changed_and_whether_the_sender_knows_all),
        cmocka_unit_test(new_writes_arrive_now_and_known_ones_have_arrived_before),
        cmocka_unit_test(a_partial_record_where_nothing_is_breaks_the_protocol),
        cmocka_unit_test(of_states_that_contradict_each_other_the_last_write_stays),
        cmocka_unit_test(of_two_last_writes_of_one_node_the_later_stays),
        cmocka_unit_test(a_merge_that_would_blow_up_is_refused),
        cmocka_unit_test(settling_replaces_the_siblings_and_leaves_life_alone),
        cmocka_unit_test(settling_does_not_bring_back_what_was_deleted_meanwhile),
        cmocka_unit_test(values_of_a_type_that_merges_are_carried_and_known_to_be_unreadable),
        cmocka_unit_test(only_the_cells_with_something_new_are_sent),
        cmocka_unit_test(a_record_that_shrinks_is_sent_as_a_whole),
        cmocka_unit_test(everything_is_sent_if_rest_is_new_or_nothing_is_known),
        cmocka_unit_test(a_renamed_record_is_sorted_by_its_new_numbers),
        cmocka_unit_test(names_that_become_one_break_the_protocol),
        cmocka_unit_test(values_that_nobody_can_read_any_more_are_trimmed),
        cmocka_unit_test(whole_writes_apart_conflict_in_the_fields_that_differ),
        cmocka_unit_test(nested_values_and_types_that_differ_are_in_conflict),
        cmocka_unit_test(a_body_with_a_name_that_has_no_id_is_refused),
        cmocka_unit_test(the_digest_is_of_key_and_dots_and_of_nothing_else),
        cmocka_unit_test(the_digest_is_what_the_format_says),
        cmocka_unit_test(without_memory_every_operation_says_so_and_gives_nothing),
        cmocka_unit_test(without_memory_no_document_is_given),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records whose deletion was collected elsewhere: what becomes of one that is still here, and of
 * what comes of it later. A and C are others; B writes what is new to them.
 */
#include "crdt/rec_test_util.h"

#include <blazedb/error.h>

#define VV(...) vv_of((const struct bz_dot[]){__VA_ARGS__, {NODES, 0}})

static struct bz_vv vv_of(const struct bz_dot *dots)
{
    struct bz_vv vv = {bz_arena_alloc(&arena, NODES * sizeof *vv.entries), 0};
    assert_non_null(vv.entries);
    while (dots[vv.count].node < NODES) {
        vv.entries[vv.count] = dots[vv.count];
        vv.count++;
    }
    return vv;
}

static struct bz_write stamped(struct bz_write write, uint64_t stamp)
{
    write.stamp = stamp;
    return write;
}

static bool holds(const struct bz_rec *rec, uint32_t node, uint64_t seq)
{
    for (uint32_t i = 0; i < rec->write_count; i++)
        if (rec->writes[i].dot.node == node && rec->writes[i].dot.seq == seq)
            return true;
    return false;
}

static enum bz_rec_outliving outlives(const struct bz_rec *rec, struct bz_vv gone)
{
    return bz_rec_outlives(rec, &gone);
}

/* ---- what becomes of it ---- */

static void what_has_nothing_new_in_its_life_is_gone(void **state)
{
    (void)state;
    struct bz_rec rec = put(NULL, write_of(A, 1, DOC(1, 10, 2, 20))), settled;
    assert_int_equal(outlives(&rec, VV({A, 1})), BZ_REC_GONE);
    assert_int_equal(outlives(&rec, VV({A, 7})), BZ_REC_GONE);
    struct bz_rec more = update(&rec, write_of(B, 1, DOC(2, 21)));
    assert_int_equal(outlives(&more, VV({A, 1}, {B, 1})), BZ_REC_GONE);

    /* Siblings that a rule has settled: that says nothing of whether the record lives. */
    struct bz_write write = write_of(B, 1, DOC(2, 22));
    uint32_t field = 2;
    write.resolved = true;
    assert_int_equal(bz_rec_resolve(&arena, &rec, &write, &field, 1, &settled), 0);
    assert_true(holds(&settled, B, 1));
    assert_int_equal(outlives(&settled, VV({A, 1})), BZ_REC_GONE);
}

static void what_has_new_writes_only_stays(void **state)
{
    (void)state;
    struct bz_rec alone = put(NULL, write_of(B, 1, DOC(1, 10)));
    assert_int_equal(outlives(&alone, VV({A, 9})), BZ_REC_STAYS);
    struct bz_rec old = put(NULL, write_of(A, 1, DOC(1, 10)));
    struct bz_rec anew = put(&old, write_of(B, 1, DOC(1, 11)));
    assert_int_equal(outlives(&anew, VV({A, 1})), BZ_REC_STAYS);
    anew = update(&anew, write_of(B, 2, DOC(2, 20)));
    assert_int_equal(outlives(&anew, VV({A, 1})), BZ_REC_STAYS);
}

/* put() by A and by B, which have not seen each other. */
static struct bz_rec two_puts(void)
{
    struct bz_rec a = put(NULL, write_of(A, 1, DOC(1, 10, 2, 20)));
    struct bz_rec b = put(NULL, write_of(B, 1, DOC(1, 11)));
    return merge(&b, &a);
}

static void old_siblings_of_a_new_whole_write_can_go(void **state)
{
    (void)state;
    struct bz_rec rec = two_puts();
    assert_int_equal(outlives(&rec, VV({A, 1})), BZ_REC_WANTS_PRUNING);
    assert_int_equal(outlives(&rec, VV({C, 1})), BZ_REC_STAYS);

    /* In rest alone. */
    rec = update(&rec, write_of(C, 1, DOC(3, 30)));
    assert_int_equal(rec.life.count, 1);
    assert_int_equal(outlives(&rec, VV({A, 1})), BZ_REC_WANTS_PRUNING);

    /* In the cell of one field alone. */
    struct bz_rec first = put(NULL, write_of(A, 1, DOC(1, 10)));
    struct bz_rec a = update(&first, write_of(A, 2, DOC(2, 20)));
    struct bz_rec b = put(&first, write_of(B, 1, DOC(1, 11)));
    rec = merge(&b, &a);
    rec = update(&rec, write_of(C, 1, DOC(3, 30)));
    assert_int_equal(rec.life.count, 1);
    assert_int_equal(rec.rest.count, 1);
    assert_int_equal(outlives(&rec, VV({A, 2})), BZ_REC_WANTS_PRUNING);
}

static void new_updates_of_an_old_whole_want_a_base(void **state)
{
    (void)state;
    struct bz_rec old = put(NULL, write_of(A, 1, DOC(1, 10, 2, 20)));
    struct bz_rec rec = update(&old, write_of(B, 1, DOC(2, 21)));
    assert_int_equal(outlives(&rec, VV({A, 1})), BZ_REC_WANTS_BASE);
    rec = removed(&old, B, 1);
    assert_int_equal(outlives(&rec, VV({A, 1})), BZ_REC_WANTS_BASE);
}

/* ---- what stays of it ---- */

static void assert_arrived(const struct bz_rec *rec, uint64_t at)
{
    for (uint32_t i = 0; i < rec->write_count; i++)
        assert_true(rec->writes[i].arrived == at);
}

static void pruning_leaves_the_new_writes_as_they_are(void **state)
{
    (void)state;
    struct bz_rec rec = two_puts(), out;
    struct bz_vv gone = VV({A, 1}), seen = VV({A, 5}, {C, 3});
    assert_int_equal(bz_rec_outlive(&arena, &rec, &gone, &seen, NULL, 77, &out), 0);
    assert_int_equal(out.write_count, 1);
    assert_true(holds(&out, B, 1));
    assert_int_equal(out.writes[0].stamp, 100);
    assert_arrived(&out, 77);
    assert_reads(&out, DOC(1, 11));
    assert_true(
        bz_vv_get(&out.rvv, A) == 5 && bz_vv_get(&out.rvv, B) == 1 && bz_vv_get(&out.rvv, C) == 3);

    /* Who still has the old one lets it go, and gives it to nobody. */
    struct bz_rec left = merge(&rec, &out), right = merge(&out, &rec);
    assert_reads(&left, DOC(1, 11));
    assert_reads(&right, DOC(1, 11));
    assert_int_equal(left.write_count + right.write_count, 2);
}

static void pruning_goes_through_the_cells_of_fields(void **state)
{
    (void)state;
    struct bz_rec first = put(NULL, write_of(A, 1, DOC(1, 10, 2, 1))), out;
    struct bz_rec a = update(&first, write_of(A, 2, DOC(2, 20, 4, 40)));
    struct bz_rec b = put(&first, write_of(B, 1, DOC(1, 11, 2, 21)));
    b = update(&b, write_of(B, 2, DOC(3, 31)));
    struct bz_rec rec = merge(&b, &a);
    struct bz_vv gone = VV({A, 2});
    assert_int_equal(conflicts(&rec), 2);
    assert_int_equal(bz_rec_outlive(&arena, &rec, &gone, &gone, NULL, 9, &out), 0);
    assert_int_equal(conflicts(&out), 0);
    assert_false(holds(&out, A, 2));
    assert_reads(&out, DOC(1, 11, 2, 21, 3, 31));
    assert_true(bz_rec_alive(&out, &nodes));
}

/* A's record, whose field 2 A has updated, and field 3 B, which is new. */
static struct bz_rec updated_apart(void)
{
    struct bz_rec rec = put(NULL, stamped(write_of(A, 1, DOC(1, 10, 2, 20, 3, 30)), 100));
    rec = update(&rec, stamped(write_of(A, 2, DOC(2, 21)), 150));
    return update(&rec, stamped(write_of(B, 1, DOC(3, 31)), 200));
}

static struct bz_bytes base_of(const struct bz_rec *rec, struct bz_vv gone, uint64_t *stamp)
{
    struct bz_buf body;
    bz_buf_init(&body, 1 << 20);
    assert_int_equal(bz_rec_base(&arena, rec, &gone, &nodes, &body, stamp), 0);
    struct bz_bytes copy = bz_arena_copy(&arena, bz_buf_bytes(&body));
    bz_buf_release(&body);
    return copy;
}

static void a_base_is_what_the_old_writes_show_and_as_late_as_they(void **state)
{
    (void)state;
    struct bz_rec rec = updated_apart();
    uint64_t stamp = 0;
    assert_true(bz_bytes_equal(base_of(&rec, VV({A, 2}), &stamp), DOC(1, 10, 2, 21, 3, 30)));
    assert_int_equal(stamp, 150);

    /* A field that has an old and a new sibling is the new one's. */
    struct bz_rec old = put(NULL, stamped(write_of(A, 1, DOC(1, 10)), 100));
    struct bz_rec a = update(&old, stamped(write_of(A, 2, DOC(2, 20)), 300));
    struct bz_rec b = update(&old, stamped(write_of(B, 1, DOC(2, 21)), 200));
    rec = merge(&b, &a);
    assert_true(bz_bytes_equal(base_of(&rec, VV({A, 2}), &stamp), DOC(1, 10)));
    assert_int_equal(stamp, 100);
}

static void new_writes_stand_on_the_base_as_they_stood_on_the_old_ones(void **state)
{
    (void)state;
    static const struct bz_dot dots[] = {{A, 9}, {B, 2}, {C, 4}};
    for (size_t i = 0; i < sizeof dots / sizeof *dots; i++) {
        struct bz_rec rec = updated_apart(), out;
        struct bz_vv gone = VV({A, 2}), seen = VV({A, 2}, {C, 3});
        uint64_t stamp;
        struct bz_write base = {.dot = dots[i], .alive = true};
        base.body = base_of(&rec, gone, &stamp);
        base.stamp = stamp;
        assert_int_equal(bz_rec_outlive(&arena, &rec, &gone, &seen, &base, 77, &out), 0);
        assert_int_equal(out.write_count, 2);
        assert_true(holds(&out, B, 1) && holds(&out, dots[i].node, dots[i].seq));
        assert_reads(&out, DOC(1, 10, 2, 21, 3, 31));
        assert_arrived(&out, 77);
        assert_true(bz_rec_alive(&out, &nodes));
        assert_int_equal(out.life.count, 1);
        assert_true(out.writes[out.life.members[0]].dot.node == B &&
                    out.writes[out.life.members[0]].dot.seq == 1);
        assert_true(bz_vv_covers(&out.rvv, dots[i]) && bz_vv_get(&out.rvv, C) >= 3);
        assert_int_equal(outlives(&out, gone), BZ_REC_STAYS);
    }
}

static void a_delete_that_is_new_stays_one_on_its_base(void **state)
{
    (void)state;
    struct bz_rec rec = put(NULL, write_of(A, 1, DOC(1, 10))), out;
    rec = removed(&rec, B, 1);
    struct bz_vv gone = VV({A, 1});
    uint64_t stamp;
    struct bz_write base = {.dot = {B, 2}, .alive = true, .body = base_of(&rec, gone, &stamp)};
    assert_int_equal(bz_rec_outlive(&arena, &rec, &gone, &gone, &base, 9, &out), 0);
    assert_false(bz_rec_alive(&out, &nodes));
    assert_reads(&out, DOC(1, 10));
}

static void a_base_whose_dot_was_seen_is_refused(void **state)
{
    (void)state;
    struct bz_rec rec = updated_apart(), out;
    struct bz_vv gone = VV({A, 2}), seen = VV({C, 3});
    struct bz_write base = {.dot = {B, 1}, .alive = true};
    assert_int_equal(bz_rec_outlive(&arena, &rec, &gone, &gone, &base, 9, &out), BLAZE_EINVAL);
    base.dot = (struct bz_dot){C, 3};
    assert_int_equal(bz_rec_outlive(&arena, &rec, &gone, &seen, &base, 9, &out), BLAZE_EINVAL);
}

/* ---- what comes of it later ---- */

static struct bz_rec merge_past(const struct bz_rec *local, const struct bz_rec *remote,
    struct bz_vv gone, struct bz_rec_merged *merged)
{
    struct bz_rec out;
    assert_int_equal(bz_rec_merge_past(&arena, local, remote, &gone, 50, &out, merged), 0);
    return out;
}

static void what_was_collected_does_not_come_back_into_a_record_made_anew(void **state)
{
    (void)state;
    struct bz_rec_merged merged;
    struct bz_rec anew = put(NULL, write_of(B, 1, DOC(1, 11)));
    struct bz_rec old = put(NULL, write_of(A, 2, DOC(1, 10, 2, 20)));
    struct bz_rec both = merge(&anew, &old);
    assert_int_equal(both.write_count, 2); /* else there would be nothing to see */

    struct bz_rec out = merge_past(&anew, &old, VV({A, 2}), &merged);
    assert_true(merged.changed && !merged.subsumed && !merged.shrunk);
    assert_int_equal(out.write_count, 1);
    assert_reads(&out, DOC(1, 11));
    assert_true(bz_vv_get(&out.rvv, A) == 2);

    /* What is later than what was collected does. */
    out = merge_past(&anew, &old, VV({A, 1}), &merged);
    assert_true(merged.changed);
    assert_true(holds(&out, A, 2) && holds(&out, B, 1));
}

static void what_is_here_stays_though_it_was_collected_elsewhere(void **state)
{
    (void)state;
    struct bz_rec_merged merged;
    struct bz_rec both = two_puts();
    struct bz_rec old = put(NULL, write_of(A, 1, DOC(1, 10, 2, 20)));
    struct bz_rec out = merge_past(&both, &old, VV({A, 1}), &merged);
    assert_false(merged.changed);
    assert_true(holds(&out, A, 1) && holds(&out, B, 1));

    old = update(&old, write_of(C, 1, DOC(2, 22)));
    out = merge_past(&both, &old, VV({A, 1}), &merged);
    assert_true(merged.changed);
    assert_true(holds(&out, A, 1) && holds(&out, B, 1) && holds(&out, C, 1));
}

/* The other has seen ours, and what it wrote then was collected here: somebody has to be right. */
static void where_both_cannot_be_what_the_other_had_seen_decides(void **state)
{
    (void)state;
    struct bz_rec_merged merged;
    struct bz_rec ours = put(NULL, write_of(B, 1, DOC(1, 11)));
    struct bz_rec theirs = put(&ours, write_at(101, A, 1, DOC(1, 10)));
    theirs = update(&theirs, write_at(102, C, 1, DOC(2, 20)));
    struct bz_rec out = merge_past(&ours, &theirs, VV({A, 1}, {C, 1}), &merged);
    assert_true(merged.changed && merged.subsumed);
    assert_false(holds(&out, B, 1));
    assert_reads(&out, DOC(1, 10, 2, 20));
}

static void a_record_that_was_pruned_prunes_where_it_comes(void **state)
{
    (void)state;
    struct bz_rec_merged merged;
    struct bz_rec both = two_puts(), pruned;
    struct bz_vv gone = VV({A, 1});
    assert_int_equal(bz_rec_outlive(&arena, &both, &gone, &gone, NULL, 9, &pruned), 0);
    assert_true(bz_vv_includes(&both.rvv, &pruned.rvv)); /* so that its rvv brings nothing new */
    struct bz_rec out = merge_past(&both, &pruned, VV({NODES - 1, 9}), &merged);
    assert_true(merged.changed && merged.shrunk);
    assert_int_equal(out.write_count, 1);
    assert_true(holds(&out, B, 1));
}

/* A peer whose record outlived its deletion says that it has seen the delete, and has no write that
 * would say so to others. */
static void what_only_claims_to_have_seen_more_is_raised(void **state)
{
    (void)state;
    struct bz_rec_merged merged;
    struct bz_rec anew = put(NULL, write_of(B, 1, DOC(1, 11))), outlived;
    struct bz_vv gone = VV({A, 2});
    assert_int_equal(bz_rec_outlive(&arena, &anew, &gone, &gone, NULL, 9, &outlived), 0);
    struct bz_rec out = merge_past(&anew, &outlived, VV({A, 0}), &merged);
    assert_true(merged.changed && merged.raised && !merged.shrunk);
    assert_true(bz_vv_get(&out.rvv, A) == 2);
    merge_past(&out, &outlived, VV({A, 0}), &merged);
    assert_false(merged.changed || merged.raised);

    struct bz_rec later = update(&outlived, write_of(B, 2, DOC(1, 12)));
    merge_past(&anew, &later, VV({A, 0}), &merged);
    assert_true(merged.changed && !merged.raised);
    bz_rec_merge_past(&arena, NULL, &outlived, NULL, 50, &out, &merged);
    assert_true(merged.changed && !merged.raised);
}

/* Only a peer that makes states up can say so. */
static void a_claim_that_would_leave_nothing_changes_nothing(void **state)
{
    (void)state;
    struct bz_rec_merged merged;
    struct bz_rec old = put(NULL, write_of(A, 1, DOC(1, 10)));
    struct bz_rec ours = put(&old, write_at(101, B, 1, DOC(1, 11)));
    struct bz_rec lie = old;
    lie.rvv = ours.rvv;
    struct bz_rec out = merge_past(&ours, &lie, VV({A, 1}), &merged);
    assert_false(merged.changed);
    assert_true(holds(&out, B, 1) && out.write_count == 1);
}

/* ---- what is to be told again ---- */

static void what_was_dropped_unseen_contradicts_its_sender(void **state)
{
    (void)state;
    struct bz_rec_merged merged;
    struct bz_vv gone = VV({A, 1}), none = VV({C, 9});
    struct bz_rec anew = put(NULL, write_of(B, 1, DOC(1, 11)));
    struct bz_rec old = put(NULL, write_of(A, 1, DOC(1, 10)));
    struct bz_rec out = merge_past(&anew, &old, gone, &merged);
    assert_true(bz_rec_contradicts(&out, &anew.rvv, &old, &gone));

    /* Not what version vectors say by themselves: superseded here before. */
    struct bz_rec later = put(&old, write_of(B, 1, DOC(1, 11)));
    assert_false(bz_rec_contradicts(&later, &later.rvv, &old, &gone));
    assert_false(bz_rec_contradicts(&out, &anew.rvv, &old, &none));

    /* Nor what is still there. */
    struct bz_rec both = two_puts();
    assert_false(bz_rec_contradicts(&both, &anew.rvv, &old, &gone));

    /* Who has seen all that is here, and holds what is not, cannot tell by itself. */
    struct bz_rec knows = old;
    knows.rvv = later.rvv;
    assert_true(bz_rec_contradicts(&later, &later.rvv, &knows, &none));
}

static void a_delete_beside_other_writes_is_torn(void **state)
{
    (void)state;
    struct bz_rec first = put(NULL, write_of(A, 1, DOC(1, 10)));
    struct bz_rec dead = removed(&first, A, 2), dead_too = removed(&first, B, 1);
    struct bz_rec alive = update(&first, write_of(B, 1, DOC(1, 11)));
    struct bz_rec alive_too = update(&first, write_of(C, 1, DOC(1, 12)));
    assert_false(bz_rec_torn(&first));
    assert_false(bz_rec_torn(&dead));
    struct bz_rec both = merge(&dead, &alive);
    assert_true(bz_rec_torn(&both) && bz_rec_life_differs(&both));
    both = merge(&dead, &dead_too);
    assert_true(bz_rec_torn(&both) && !bz_rec_life_differs(&both));
    both = merge(&alive, &alive_too);
    assert_int_equal(both.life.count, 2);
    assert_false(bz_rec_torn(&both));
    struct bz_rec torn = merge(&dead, &alive);
    torn = update(&torn, write_of(C, 1, DOC(1, 13)));
    assert_false(bz_rec_torn(&torn)); /* its writer has seen both */
}

static bool doubtful(const struct bz_rec *rec, struct bz_vv gone)
{
    return bz_rec_doubtful(rec, &gone);
}

static void siblings_older_than_what_was_collected_are_doubtful(void **state)
{
    (void)state;
    struct bz_rec rec = two_puts();
    assert_true(doubtful(&rec, VV({A, 1})));
    assert_true(doubtful(&rec, VV({B, 1})));
    assert_false(doubtful(&rec, VV({C, 1})));

    /* What stands alone is not in doubt, however old; nor what is later. */
    struct bz_rec old = put(NULL, write_of(A, 1, DOC(1, 10)));
    assert_false(doubtful(&old, VV({A, 9})));
    struct bz_rec a = update(&old, write_of(A, 2, DOC(2, 20)));
    assert_false(doubtful(&a, VV({A, 9})));

    /* In rest alone, in a field alone, in life alone. */
    rec = update(&rec, write_of(C, 1, DOC(3, 30)));
    assert_int_equal(rec.life.count, 1);
    assert_true(doubtful(&rec, VV({A, 1})));
    struct bz_rec b = update(&old, write_of(B, 1, DOC(2, 21)));
    rec = merge(&a, &b);
    rec = update(&rec, write_of(C, 1, DOC(1, 11)));
    assert_int_equal(rec.life.count, 1);
    assert_true(doubtful(&rec, VV({A, 2})));
    assert_false(doubtful(&rec, VV({A, 1})));
    b = update(&old, write_of(B, 1, DOC(3, 30)));
    rec = merge(&a, &b);
    assert_int_equal(conflicts(&rec), 0);
    assert_true(doubtful(&rec, VV({A, 2})));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_has_nothing_new_in_its_life_is_gone),
        TEST(what_has_new_writes_only_stays),
        TEST(old_siblings_of_a_new_whole_write_can_go),
        TEST(new_updates_of_an_old_whole_want_a_base),
        TEST(pruning_leaves_the_new_writes_as_they_are),
        TEST(pruning_goes_through_the_cells_of_fields),
        TEST(a_base_is_what_the_old_writes_show_and_as_late_as_they),
        TEST(new_writes_stand_on_the_base_as_they_stood_on_the_old_ones),
        TEST(a_delete_that_is_new_stays_one_on_its_base),
        TEST(a_base_whose_dot_was_seen_is_refused),
        TEST(what_was_collected_does_not_come_back_into_a_record_made_anew),
        TEST(what_is_here_stays_though_it_was_collected_elsewhere),
        TEST(where_both_cannot_be_what_the_other_had_seen_decides),
        TEST(a_record_that_was_pruned_prunes_where_it_comes),
        TEST(what_only_claims_to_have_seen_more_is_raised),
        TEST(a_claim_that_would_leave_nothing_changes_nothing),
        TEST(what_was_dropped_unseen_contradicts_its_sender),
        TEST(a_delete_beside_other_writes_is_torn),
        TEST(siblings_older_than_what_was_collected_are_doubtful),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

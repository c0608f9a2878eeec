/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of nodes: deleted records go once all replicas know of them; who was away for too long
 * does not bring them back, and what it wrote alone is there; a copy that was put back to an older
 * state goes on as another node.
 */
#include "sync_world.h"

#include "db/db_priv.h"

#define MINUTE 60000u
#define GOSSIP 5000u /* links pass a tenth of a minute in one, so as not to fall silent */
#define DAY    86400000u

/* What a database's owner has done now and then. */
static void maintain(struct site *s)
{
    uint64_t collected = 0;
    for (bool more = true; more;)
        assert_int_equal(bz_db_collect(s->db, &collected, &more, NULL), 0);
}

/* Gossip that is quick enough for what follows. */
static void prepare(struct world *w)
{
    w->gossip_ms = GOSSIP;
}

/* Time goes by: enough for sessions to tell what they tell now and then, too little for one to be
 * given up. */
static void pass(struct world *w, uint64_t ms)
{
    settle(w);
    w->wall_ms += ms;
    for (uint32_t i = 0; i < w->links; i++) {
        w->link[i].pipe.now_ms += 6000;
        w->link[i].pipe.wall_ms = w->wall_ms;
    }
    settle(w);
    for (uint32_t i = 0; ms >= DAY && i < w->sites; i++)
        maintain(&w->site[i]);
}

static void pass_often(struct world *w, int times, uint64_t ms)
{
    for (int i = 0; i < times; i++)
        pass(w, ms);
}

static void delete_some(struct site *s, uint32_t first, uint32_t count)
{
    struct bz_db_txn *txn;
    assert_int_equal(bz_db_begin(s->db, &txn, NULL), 0);
    for (uint32_t i = first; i < first + count; i++) {
        blaze_id id = fake_id(i);
        assert_int_equal(bz_db_delete(txn, NOTES, &id, NULL), 0);
    }
    assert_int_equal(bz_db_commit(txn, BZ_DURABLE_RELAXED, NULL), 0);
}

static void cut_off(struct world *w, uint32_t site)
{
    for (uint32_t i = 0; i < w->links; i++) {
        if (w->link[i].ends[0] == &w->site[site] || w->link[i].ends[1] == &w->site[site])
            link_down(&w->link[i]);
    }
}

static void deleted_records_go_when_all_replicas_know(void **state)
{
    (void)state;
    for (uint32_t shape = CHAIN; shape <= MESH; shape++) {
        struct world w;
        world_open(&w, 3 + shape, (enum shape)shape, 4);
        prepare(&w);
        all_links(&w);
        insert_many(&w.site[0], 700);
        settle(&w);
        pass(&w, MINUTE);
        cut_off(&w, 3);
        delete_some(&w.site[1], 100, 500);
        pass_often(&w, 6, MINUTE);
        /* The one that is away does not know. */
        for (uint32_t i = 0; i < 3; i++)
            assert_int_equal(state_at(&w, i).purged, 0);
        all_links(&w);
        pass_often(&w, 8, MINUTE);
        for (uint32_t i = 0; i < w.sites; i++) {
            assert_int_equal(state_at(&w, i).purged, 500);
            assert_int_equal(state_at(&w, i).dead, 0);
            assert_int_equal(state_at(&w, i).records, 200);
        }
        assert_equal(&w);
        world_close(&w);
    }
}

/* The last site is away for longer than the retention, while records that it has are deleted. */
static void a_stale_replica_brings_nothing_back_and_loses_nothing(void **state)
{
    (void)state;
    for (uint32_t shape = CHAIN; shape <= MESH; shape++) {
        struct world w;
        world_open(&w, 20 + shape, (enum shape)shape, 4);
        prepare(&w);
        all_links(&w);
        insert_many(&w.site[0], 3000);
        settle(&w);
        pass(&w, MINUTE);
        cut_off(&w, 3);
        delete_some(&w.site[0], 1000, 1000);
        write_note(&w.site[3], 5000, "made while away", BZ_DURABLE_RELAXED);
        write_note(&w.site[3], 10, "changed while away", BZ_DURABLE_RELAXED);
        write_note(&w.site[3], 1500, "changed while away, and deleted elsewhere before",
            BZ_DURABLE_RELAXED);
        pass_often(&w, 12, 5 * DAY);
        for (uint32_t i = 0; i < 3; i++)
            assert_int_equal(state_at(&w, i).purged, 1000);
        write_note(&w.site[1], 1600, "made anew with an id that was deleted", BZ_DURABLE_RELAXED);
        all_links(&w);
        pass_often(&w, 8, MINUTE);
        for (uint32_t i = 0; i < w.sites; i++) {
            assert_true(has_note(&w.site[i], 5000));
            assert_true(has_note(&w.site[i], 1500));
            assert_true(has_note(&w.site[i], 1600));
            assert_false(has_note(&w.site[i], 1000));
            assert_int_equal(state_at(&w, i).records, 2003);
        }
        assert_equal(&w);
        world_close(&w);
    }
}

/* The only full copy is away for longer than the retention, and could not compare with a part. */
static void what_a_part_deletes_is_not_collected_before_a_full_one_has_it(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 40, CHAIN, 2);
    prepare(&w);
    set_scope(&w.site[1], (const char *const[]){"notes", "", NULL});
    all_links(&w);
    insert_many(&w.site[0], 20);
    pass_often(&w, 3, MINUTE);
    assert_true(has_note(&w.site[1], 7));
    cut_off(&w, 1);
    delete_some(&w.site[1], 7, 1);
    pass_often(&w, 12, 5 * DAY);
    assert_int_equal(state_at(&w, 1).purged, 0);
    all_links(&w);
    pass_often(&w, 8, MINUTE);
    assert_false(has_note(&w.site[0], 7));
    pass(&w, DAY);
    assert_int_equal(state_at(&w, 1).purged, 1);
    assert_int_equal(state_at(&w, 0).records, 19);
    world_close(&w);
}

/* A comparison with a peer that knows as much has begun where our log stood at `began`, and ends;
 * whether doubts are left. */
static bool doubts_after_comparing(struct site *s, uint64_t began)
{
    struct bz_read *read = NULL;
    struct bz_purged purged;
    bool doubts = false;
    assert_int_equal(bz_read_begin(s->db, &read, NULL), 0);
    assert_int_equal(bz_purged_load(read->view, &read->arena, &purged, NULL), 0);
    assert_int_equal(bz_scope_compared(s->db, began, &purged.vv, NULL), 0);
    assert_int_equal(bz_scope_doubts(s->db, &purged.vv, &doubts, NULL), 0);
    bz_read_end(read);
    return doubts;
}

/* Who was away for too long, and is another node since, meets a part first, which it cannot compare
 * with. */
static void what_a_stale_replica_brings_to_a_part_goes_once_it_is_compared(void **state)
{
    (void)state;
    struct world w;
    struct bz_identity stale;
    world_open(&w, 42, MESH, 3);
    prepare(&w);
    set_scope(&w.site[2], (const char *const[]){"notes", "", NULL});
    all_links(&w);
    insert_many(&w.site[0], 20);
    write_note(&w.site[2], 700, "of the part", BZ_DURABLE_RELAXED);
    pass_often(&w, 3, MINUTE);
    cut_off(&w, 1);
    delete_some(&w.site[0], 700, 1);
    pass_often(&w, 14, 5 * DAY);
    assert_int_equal(state_at(&w, 0).purged, 1);
    assert_int_equal(state_at(&w, 2).purged, 1);
    cut_off(&w, 2);
    bz_db_identity(w.site[1].db, &stale);
    assert_int_equal(bz_identity_outlived(w.site[1].db, &stale.node, NULL, NULL), 0);
    uint64_t before = state_at(&w, 2).position;
    link_up(&w, &w.link[2]); /* of 1 and 2 */
    pass(&w, MINUTE);
    assert_true(has_note(&w.site[2], 700));
    assert_true(doubts_after_comparing(&w.site[2], before)); /* it came meanwhile */
    link_up(&w, &w.link[1]);                                 /* of 0 and 2 */
    pass_often(&w, 3, MINUTE);
    assert_false(has_note(&w.site[2], 700));
    assert_int_equal(state_at(&w, 2).records, 20);
    assert_false(doubts_after_comparing(&w.site[2], before)); /* it was compared in earnest */
    all_links(&w);
    pass_often(&w, 3, MINUTE);
    assert_false(has_note(&w.site[1], 700));
    assert_false(has_note(&w.site[2], 700));
    world_close(&w);
}

/* A new copy reads from one that was away for too long, and learns of that half-way. */
static void what_a_sender_gives_up_meanwhile_is_not_kept_by_a_new_copy(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 31, CHAIN, 3);
    prepare(&w);
    w.chunk_bytes = 4096;
    link_up(&w, &w.link[0]);
    insert_many(&w.site[0], 3000);
    delete_some(&w.site[0], 2990, 10);
    pass_often(&w, 6, MINUTE);
    assert_int_equal(state_at(&w, 1).purged, 10);
    cut_off(&w, 1);
    delete_some(&w.site[0], 0, 1000);
    pass_often(&w, 12, 5 * DAY);
    assert_int_equal(state_at(&w, 0).purged, 1010);

    link_up(&w, &w.link[1]);
    while (state_at(&w, 2).records < 1500)
        assert_true(step(&w));
    assert_true(has_note(&w.site[2], 500) && has_note(&w.site[1], 500));
    link_up(&w, &w.link[0]);
    while (has_note(&w.site[1], 500))
        assert_true(step(&w));
    assert_true(state_at(&w, 2).records < 2990); /* else it was not half-way */
    pass_often(&w, 4, MINUTE);
    assert_int_equal(state_at(&w, 2).records, 1990);
    assert_equal(&w);
    world_close(&w);
}

static void a_comparison_moves_little(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 7, CHAIN, 2);
    prepare(&w);
    all_links(&w);
    insert_many(&w.site[0], 100000);
    settle(&w);
    pass(&w, MINUTE);
    cut_off(&w, 1);
    for (uint32_t i = 0; i < 10; i++)
        delete_some(&w.site[0], i * 9973, 1);
    pass_often(&w, 10, 5 * DAY);
    assert_int_equal(state_at(&w, 0).purged, 10);
    all_links(&w);
    settle(&w);
    assert_int_equal(state_at(&w, 1).records, 99990);
    assert_equal(&w);
    struct bz_session_status a = pipe_status(&w.link[0].pipe, 0);
    struct bz_session_status b = pipe_status(&w.link[0].pipe, 1);
    /* 98 ranges of 40 bytes, and for 10 of them 1,024 ids. */
    assert_true(a.sent_bytes + b.sent_bytes < 200000);
    world_close(&w);
}

static void a_forgotten_replica_is_not_waited_for(void **state)
{
    (void)state;
    struct world w;
    struct bz_identity lost;
    blaze_error error;
    world_open(&w, 9, STAR, 3);
    prepare(&w);
    all_links(&w);
    insert_many(&w.site[0], 50);
    settle(&w);
    pass(&w, MINUTE);
    cut_off(&w, 2);
    delete_some(&w.site[1], 0, 20);
    pass_often(&w, 4, MINUTE);
    assert_int_equal(state_at(&w, 0).purged, 0);
    bz_db_identity(w.site[2].db, &lost);
    blaze_id nobody = fake_id(99);
    assert_int_equal(bz_db_forget(w.site[0].db, &nobody, &error), BLAZE_ENOTFOUND);
    assert_int_equal(bz_db_forget(w.site[0].db, &lost.node, NULL), 0);
    write_note(&w.site[0], 70, "something to tell", BZ_DURABLE_RELAXED);
    pass_often(&w, 4, MINUTE);
    /* The other one has heard of it. */
    assert_int_equal(state_at(&w, 0).purged, 20);
    assert_int_equal(state_at(&w, 1).purged, 20);
    all_links(&w);
    pass_often(&w, 4, MINUTE);
    assert_equal(&w);
    assert_int_equal(state_at(&w, 2).records, 31);
    world_close(&w);
}

static void a_shorter_retention_is_kept_to(void **state)
{
    (void)state;
    struct world w;
    uint64_t ms = 0;
    world_open(&w, 10, CHAIN, 3);
    prepare(&w);
    assert_int_equal(bz_db_retention(w.site[0].db, &ms, NULL), 0);
    assert_int_equal(ms, 30ull * DAY);
    assert_int_equal(bz_db_set_retention(w.site[0].db, DAY, NULL), 0);
    assert_int_equal(bz_db_retention(w.site[0].db, &ms, NULL), 0);
    assert_int_equal(ms, DAY);
    all_links(&w);
    insert_many(&w.site[0], 50);
    settle(&w);
    pass(&w, MINUTE);
    cut_off(&w, 2);
    delete_some(&w.site[1], 0, 20);
    pass(&w, MINUTE);
    pass(&w, 2 * DAY);
    write_note(&w.site[0], 70, "something to tell", BZ_DURABLE_RELAXED);
    pass(&w, MINUTE);
    pass(&w, MINUTE);
    assert_int_equal(state_at(&w, 0).purged, 20);
    assert_int_equal(state_at(&w, 1).purged, 0);
    world_close(&w);
}

/* A copy that was put back claims less than it knows to have been collected: of what it has lost it
 * cannot say that it is gone. */
static void what_was_collected_counts_as_far_as_the_teller_has_it(void **state)
{
    (void)state;
    struct world w;
    struct bz_replica replica;
    struct bz_identity one;
    struct bz_arena arena;
    struct bz_standing standing;
    world_open(&w, 43, CHAIN, 2);
    insert_many(&w.site[0], 40);
    all_links(&w);
    settle(&w);
    bz_db_identity(w.site[0].db, &one);
    struct bz_told collected = {one.node, 50}, has = {one.node, 20};
    struct bz_coverage_row row = {.node = fake_id(77), .vv = {&has, 1}};
    struct bz_coverage told = {.rows = &row, .count = 1, .purged = {&collected, 1}};
    bz_arena_init(&arena);
    assert_int_equal(bz_db_replica_open(w.site[1].db, &replica, NULL), 0);
    for (has.seq = 20; has.seq <= 50; has.seq += 30) {
        assert_int_equal(
            replica.ops->coverage_learn(replica.context, &told, &arena, &standing, NULL), 0);
        assert_int_equal(standing.collected.entries[0].seq, has.seq);
        assert_true(standing.behind == (has.seq > 40));
    }
    bz_db_replica_close(&replica);
    bz_arena_release(&arena);
    world_close(&w);
}

/* ---- where there are blind copies ---- */

/* The peer says that all was collected, and has nothing. What is believed of that. */
static uint64_t removed_by_word(struct site *s, bool from_blind)
{
    struct bz_replica replica;
    struct bz_coverage_row row = {.node = fake_id(77)};
    struct bz_coverage told = {.rows = &row, .count = 1, .blind = from_blind};
    struct bz_range range = {.collection = NOTES, .whole = true};
    struct bz_standing standing;
    struct bz_arena arena;
    struct bz_vv all;
    struct bz_identity self;
    uint64_t removed = 0;
    bz_db_identity(s->db, &self);
    bz_arena_init(&arena);
    assert_int_equal(bz_db_replica_open(s->db, &replica, NULL), 0);
    assert_int_equal(replica.ops->version(replica.context, &arena, &all), 0);
    struct bz_told *entries = calloc(all.count, sizeof *entries);
    for (uint32_t i = 0; i < all.count; i++) {
        struct bz_bytes id;
        assert_int_equal(
            replica.ops->meaning(replica.context, BZ_TERM_NODE, all.entries[i].node, &id), 0);
        memcpy(&entries[i].node, id.data, sizeof entries[i].node);
        bool own = memcmp(&self.node, &entries[i].node, sizeof self.node) == 0;
        entries[i].seq = all.entries[i].seq + !own;
    }
    told.purged = row.vv = (struct bz_told_vv){entries, all.count};
    told.purged_stamp = UINT64_MAX;
    memset(&range.last, 0xff, sizeof range.last);
    assert_int_equal(
        replica.ops->coverage_learn(replica.context, &told, &arena, &standing, NULL), 0);
    bool behind = standing.behind;
    standing.has = all;
    assert_int_equal(
        replica.ops->range_compare(replica.context, &range, NULL, 0, &standing, &removed, NULL), 0);
    assert_int_equal(behind, removed > 0);
    bz_db_replica_close(&replica);
    bz_arena_release(&arena);
    free(entries);
    return removed;
}

static void nobody_is_believed_that_records_are_gone_where_there_are_blind_copies(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 31, CHAIN, 3);
    prepare(&w);
    all_links(&w);
    insert_many(&w.site[0], 40);
    settle(&w);
    assert_int_equal(removed_by_word(&w.site[2], false), 40); /* a member may delete all */
    world_close(&w);

    world_open_with(&w, 32, CHAIN, 4, 1);
    prepare(&w);
    all_links(&w);
    insert_many(&w.site[1], 40);
    settle(&w);
    pass(&w, MINUTE);
    /* 0 is blind; 3 has never met it, and knows that there is one. */
    for (uint32_t i = 1; i < w.sites; i++) {
        assert_int_equal(removed_by_word(&w.site[i], true), 0);
        assert_int_equal(removed_by_word(&w.site[i], false), 0);
        assert_int_equal(state_at(&w, i).records, 40);
    }
    write_note(&w.site[3], 10, "goes on", BZ_DURABLE_RELAXED);
    settle(&w);
    assert_equal(&w);
    world_close(&w);
}

/* New sessions, whatever alarm there is in them. */
static void renew_links(struct world *w)
{
    for (uint32_t k = 0; k < w->links; k++)
        link_down(&w->link[k]);
    all_links(w);
    for (int i = 0; i < 2; i++) {
        wake_all(w);
        while (step(w))
            ;
        for (uint32_t k = 0; k < w->links; k++)
            w->link[k].pipe.now_ms += 6000;
    }
}

static void blind_copies_have_silent_replicas_waited_for(void **state)
{
    (void)state;
    struct world w;
    struct bz_identity lost;
    world_open_with(&w, 34, STAR, 4, 1);
    prepare(&w);
    all_links(&w);
    insert_many(&w.site[1], 300);
    settle(&w);
    pass(&w, MINUTE);
    cut_off(&w, 3);
    delete_some(&w.site[2], 0, 100);
    pass_often(&w, 12, 5 * DAY);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(state_at(&w, i).purged, 0);
    bz_db_identity(w.site[3].db, &lost);
    assert_int_equal(bz_db_forget(w.site[1].db, &lost.node, NULL), 0);
    pass_often(&w, 20, MINUTE);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(state_at(&w, i).purged, 100);
    /* It was forgotten and is back: what it has is there again, everywhere. */
    for (int i = 0; i < 4; i++)
        renew_links(&w);
    assert_equal(&w);
    for (uint32_t i = 0; i < w.sites; i++)
        assert_int_equal(state_at(&w, i).records, 300);
    world_close(&w);
}

static void what_was_never_shared_goes_at_once(void **state)
{
    (void)state;
    struct world w;
    uint64_t collected = 0;
    bool more = true;
    world_open(&w, 11, CHAIN, 1);
    prepare(&w);
    insert_many(&w.site[0], 3000);
    delete_some(&w.site[0], 0, 2000);
    uint32_t steps = 0;
    while (more) {
        uint64_t before = collected;
        assert_int_equal(bz_db_collect(w.site[0].db, &collected, &more, NULL), 0);
        assert_true(collected - before <= 256);
        steps++;
    }
    assert_int_equal(collected, 2000);
    assert_true(steps >= 8);
    assert_int_equal(state_at(&w, 0).dead, 0);
    assert_equal(&w);
    world_close(&w);
}

/* Random edits, with deletes, links that break and a clock that runs: some sites become stale. */
static void one_history(uint64_t seed, uint32_t blind)
{
    struct world w;
    world_open_with(&w, seed, (enum shape)(seed % 4), 3 + (uint32_t)(seed / 4 % 3), blind);
    prepare(&w);
    for (uint32_t i = 0; i < w.sites; i++)
        assert_int_equal(bz_db_set_retention(w.site[i].db, 10 * MINUTE, NULL), 0);
    for (int turn = 0; turn < 200; turn++) {
        struct link *l = &w.link[chance(&w, w.links)];
        w.wall_ms += chance(&w, MINUTE);
        switch (chance(&w, 10)) {
        case 0:
        case 1:
            link_down(l);
            break;
        case 2:
        case 3:
            if (!l->up)
                link_up(&w, l);
            break;
        case 4:
            for (uint32_t i = 0; i < w.links; i++) {
                w.link[i].pipe.now_ms += 6000;
                w.link[i].pipe.wall_ms = w.wall_ms;
            }
            wake_all(&w);
            break;
        default:
            edit(&w, &w.site[chance(&w, w.sites)]);
            wake_all(&w);
        }
        for (uint64_t n = chance(&w, 20) * chance(&w, 20); n > 0 && step(&w); n--)
            ;
    }
    /* Whatever alarm there was, in new sessions all is well. */
    for (int i = 0; i < 6; i++)
        renew_links(&w);
    /* What is in conflict in deleted records goes with them, and not everywhere at once. */
    w.wall_ms += 11 * MINUTE;
    for (int i = 0; i < 4; i++)
        renew_links(&w);
    for (uint32_t i = 0; i < w.sites; i++)
        maintain(&w.site[i]);
    assert_equal(&w);
    world_close(&w);
}

static void all_are_equal_in_the_end_whoever_was_stale(void **state)
{
    (void)state;
    uint64_t first = test_seed(), histories = test_rounds(60, 2000);
    for (uint64_t i = 0; i < histories; i++)
        one_history(first + i, (first + i) % 3 == 0 ? 1 : 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deleted_records_go_when_all_replicas_know),
        cmocka_unit_test(a_stale_replica_brings_nothing_back_and_loses_nothing),
        cmocka_unit_test(what_a_part_deletes_is_not_collected_before_a_full_one_has_it),
        cmocka_unit_test(what_a_stale_replica_brings_to_a_part_goes_once_it_is_compared),
        cmocka_unit_test(what_a_sender_gives_up_meanwhile_is_not_kept_by_a_new_copy),
        cmocka_unit_test(a_comparison_moves_little),
        cmocka_unit_test(a_forgotten_replica_is_not_waited_for),
        cmocka_unit_test(a_shorter_retention_is_kept_to),
        cmocka_unit_test(what_was_collected_counts_as_far_as_the_teller_has_it),
        cmocka_unit_test(nobody_is_believed_that_records_are_gone_where_there_are_blind_copies),
        cmocka_unit_test(blind_copies_have_silent_replicas_waited_for),
        cmocka_unit_test(what_was_never_shared_goes_at_once),
        cmocka_unit_test(all_are_equal_in_the_end_whoever_was_stale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

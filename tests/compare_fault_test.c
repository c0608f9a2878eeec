/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Out of memory while deleted records are collected, and while a copy that was away compares itself
 * with its peer: each allocation fails once, or that one and all that follow. Nothing is lost, what
 * was deleted does not come back, and when there is memory again it is all done.
 */
#include "sync_world.h"

#include "session_turns.h"

#define DAY    86400000u
#define GOSSIP 5000u
#define NOTED  12u /* records in the beginning */

/* ---- a session that is short of memory ---- */

static struct alloc_plan plan;

static void turns(struct session_pipe *p)
{
    session_turns(&plan, p->ends[0].session, p->ends[1].session, p->now_ms, p->wall_ms);
}

/* Long enough for both to tell what they have, and to collect what both know to be deleted. */
static void stay_together(struct session_pipe *p)
{
    turns(p);
    for (int i = 0; i < 4; i++) {
        p->now_ms += GOSSIP + 1;
        turns(p);
    }
}

/* If it has ended, one end says why. (The other may never have heard of it.) */
static void assert_said(const struct session_pipe *p)
{
    struct bz_session_status a = pipe_status(p, 0), b = pipe_status(p, 1);
    bool ended = a.phase == BZ_SESSION_CLOSED || b.phase == BZ_SESSION_CLOSED;
    if (ended && a.code != BLAZE_ENOMEM && b.code != BLAZE_ENOMEM)
        fail_msg("%s: %s; %s: %s", blaze_error_name(a.code), a.reason, blaze_error_name(b.code),
            b.reason);
    assert_true(!ended || plan.hit);
}

/* ---- the world: site 1 was away, and site 0 has deleted and collected meanwhile ---- */

static void delete_note(struct site *s, uint32_t number)
{
    struct bz_db_txn *txn;
    blaze_id id = fake_id(number);
    assert_int_equal(bz_db_begin(s->db, &txn, NULL), 0);
    assert_int_equal(bz_db_delete(txn, NOTES, &id, NULL), 0);
    assert_int_equal(bz_db_commit(txn, BZ_DURABLE_RELAXED, NULL), 0);
}

static uint64_t collect(struct site *s)
{
    uint64_t collected = 0;
    for (bool more = true; more;)
        assert_int_equal(bz_db_collect(s->db, &collected, &more, NULL), 0);
    return collected;
}

/* Adds a field to a record, on top of what it has. */
static void annotate(struct site *s, uint32_t number)
{
    struct bz_db_txn *txn;
    blaze_doc *doc;
    blaze_id id = fake_id(number);
    assert_int_equal(blaze_doc_new(&doc), 0);
    blaze_doc_add_int(doc, "annotated", 1);
    assert_int_equal(bz_db_begin(s->db, &txn, NULL), 0);
    assert_int_equal(bz_db_update(txn, NOTES, &id, doc, NULL), 0);
    assert_int_equal(bz_db_commit(txn, BZ_DURABLE_RELAXED, NULL), 0);
    blaze_doc_free(doc);
}

/* 1 and 2 are deleted and collected at site 0; so is 3, which site 1 changes meanwhile, and 4,
 * which it writes anew. 5 is deleted there too, and not collected. 6 has siblings that are older
 * than what was collected. */
static void prepare(struct world *w)
{
    world_open(w, 1, CHAIN, 2);
    w->gossip_ms = GOSSIP;
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(bz_db_set_retention(w->site[i].db, DAY, NULL), 0);
    for (uint32_t i = 0; i < NOTED; i++)
        write_note(&w->site[0], i, "from the beginning", BZ_DURABLE_RELAXED);
    all_links(w);
    settle(w);
    link_down(&w->link[0]);
    annotate(&w->site[0], 6);
    annotate(&w->site[1], 6);
    link_up(w, &w->link[0]);
    settle(w);
    link_down(&w->link[0]);
    for (uint32_t i = 1; i <= 4; i++)
        delete_note(&w->site[0], i);
    w->wall_ms += 10ull * DAY;
    assert_int_equal(collect(&w->site[0]), 4);
    annotate(&w->site[1], 3);
    write_note(&w->site[1], 4, "written anew while away", BZ_DURABLE_RELAXED);
    write_note(&w->site[1], 20, "made while away", BZ_DURABLE_RELAXED);
    delete_note(&w->site[0], 5);
}

/* What nobody has deleted is there, whatever has failed so far. */
static void assert_nothing_lost(struct world *w)
{
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(bz_db_check(w->site[i].db, NULL, NULL, NULL), 0);
        assert_true(has_note(&w->site[i], 0));
        for (uint32_t k = 6; k < NOTED; k++)
            assert_true(has_note(&w->site[i], k));
    }
    assert_true(has_note(&w->site[1], 3) && has_note(&w->site[1], 4) && has_note(&w->site[1], 20));
    assert_false(has_note(&w->site[0], 1) || has_note(&w->site[0], 2));
}

static void assert_all_done(struct world *w)
{
    assert_nothing_lost(w);
    assert_equal(w);
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(has_note(&w->site[i], 3) && has_note(&w->site[i], 4));
        assert_false(has_note(&w->site[i], 1) || has_note(&w->site[i], 2));
        assert_false(has_note(&w->site[i], 5));
        assert_int_equal(state_at(w, i).records, NOTED - 2); /* without 1, 2, 5, with 20 */
        assert_int_equal(state_at(w, i).dead, 0);
    }
}

/* Whether the allocation was reached. */
static bool meet_short_of_memory(uint64_t at, bool all_that_follow)
{
    struct world w;
    prepare(&w);
    link_up(&w, &w.link[0]);
    plan = (struct alloc_plan){.at = at, .lasting = all_that_follow};
    stay_together(&w.link[0].pipe);
    bool reached = plan.hit;
    assert_said(&w.link[0].pipe);
    if (!reached)
        assert_true(pipe_live(&w.link[0].pipe));
    link_down(&w.link[0]);
    assert_nothing_lost(&w);

    /* Again, with enough of it. */
    plan = (struct alloc_plan){0};
    link_up(&w, &w.link[0]);
    stay_together(&w.link[0].pipe);
    assert_true(pipe_live(&w.link[0].pipe));
    link_down(&w.link[0]);
    assert_all_done(&w);
    world_close(&w);
    return reached;
}

/* One allocation fails, and then that one with all that follow, until no more are reached. */
static void fail_each(bool (*scenario)(uint64_t at, bool all_that_follow), uint64_t least)
{
    bz_alloc_set_fault(alloc_plan_ask, &plan);
    for (int all = 0; all < 2; all++) {
        uint64_t n = 0;
        while (scenario(n + 1, all))
            n++;
        assert_true(n > least);
    }
    bz_alloc_set_fault(NULL, NULL);
}

static void whatever_fails_while_comparing_and_telling_nothing_is_lost(void **state)
{
    (void)state;
    fail_each(meet_short_of_memory, 300);
}

/* ---- collecting by itself ---- */

static bool collect_short_of_memory(uint64_t at, bool all_that_follow)
{
    struct world w;
    blaze_error error = {0};
    uint64_t collected = 0;
    bool more = true;
    world_open(&w, 1, CHAIN, 1);
    for (uint32_t i = 0; i < NOTED; i++)
        write_note(&w.site[0], i, "from the beginning", BZ_DURABLE_RELAXED);
    for (uint32_t i = 1; i <= 5; i++)
        delete_note(&w.site[0], i);
    plan = (struct alloc_plan){.at = at, .lasting = all_that_follow};
    int rc = 0;
    plan.armed = true;
    while (rc == 0 && more)
        rc = bz_db_collect(w.site[0].db, &collected, &more, &error);
    plan.armed = false;
    bool reached = plan.hit;
    assert_true(rc == 0 || (plan.hit && rc == BLAZE_ENOMEM && error.code == rc));
    assert_true(rc == 0 || error.text[0] != '\0');
    assert_int_equal(bz_db_check(w.site[0].db, NULL, NULL, NULL), 0);
    assert_int_equal(state_at(&w, 0).dead, 5 - collected);
    plan = (struct alloc_plan){0};
    assert_int_equal(collected + collect(&w.site[0]), 5);
    assert_int_equal(state_at(&w, 0).records, NOTED - 5);
    assert_int_equal(state_at(&w, 0).purged, 5);
    assert_int_equal(bz_db_check(w.site[0].db, NULL, NULL, NULL), 0);
    world_close(&w);
    return reached;
}

static void whatever_fails_while_collecting_nothing_is_lost(void **state)
{
    (void)state;
    fail_each(collect_short_of_memory, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_fails_while_collecting_nothing_is_lost),
        cmocka_unit_test(whatever_fails_while_comparing_and_telling_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

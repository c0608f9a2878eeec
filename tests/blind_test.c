/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members and a blind database between them, on the store in memory, sealed by what members really
 * seal with: what travels, and what is left of it where it cannot be read.
 */
#include "blind_world.h"

#include "session_turns.h"

static uint32_t dictionaries_of(struct node *node)
{
    struct bz_replica replica;
    struct bz_bytes sealed;
    uint32_t count = 0;
    assert_int_equal(bz_db_replica_open(node->db, &replica, NULL), 0);
    while (replica.ops->meaning(replica.context, BZ_TERM_DICTIONARY, count, &sealed) == 0)
        count++;
    bz_db_replica_close(&replica);
    return count;
}

/* Bytes of all records as they lie in the store. */
static uint64_t stored_bytes(struct node *node)
{
    struct bz_replica replica;
    struct bz_changes *walk;
    struct bz_change change;
    struct bz_receiver receiver = {0};
    uint64_t bytes = 0;
    assert_int_equal(bz_db_replica_open(node->db, &replica, NULL), 0);
    assert_int_equal(replica.ops->changes_open(replica.context, &receiver, 0, &walk, NULL), 0);
    while (replica.ops->changes_next(walk, &change, NULL) == 0)
        bytes += change.rec.writes[0].body.size;
    replica.ops->changes_close(walk);
    bz_db_replica_close(&replica);
    return bytes;
}

/* ---- tests ---- */

static void a_dictionary_is_trained_once_kept_by_the_blind_and_opens_for_all(void **state)
{
    (void)state;
    struct node a, b, c, blind;
    open_node(&a, "a", false, 1);
    open_node(&b, "b", false, 1);
    open_node(&c, "c", false, 1);
    open_node(&blind, "blind", true, 1);
    write_orders(&a, 0, 3000);
    must_meet(&a, &blind);
    assert_int_equal(dictionaries_of(&blind), 1);
    assert_int_equal(dictionaries_of(&a), 1);
    must_meet(&b, &blind);
    assert_orders(&b, 3000);
    uint64_t before = stored_bytes(&blind), clear_before = stored_bytes(&a);
    write_orders(&b, 3000, 2000);
    must_meet(&b, &blind);
    assert_int_equal(dictionaries_of(&blind), 1); /* b has used that one */
    must_meet(&c, &blind);
    must_meet(&a, &blind);
    assert_orders(&c, 5000);
    assert_orders(&a, 5000);
    /* With a dictionary, bodies are sealed and padded at little more than sealing alone adds. */
    uint64_t sealed = stored_bytes(&blind) - before, clear = stored_bytes(&a) - clear_before;
    assert_true(sealed < clear + 2000 * 40);
    close_node(&a);
    close_node(&b);
    close_node(&c);
    close_node(&blind);
}

static void a_session_with_one_record_is_told_no_dictionary_that_is_there(void **state)
{
    (void)state;
    struct node a, b, blind;
    open_node(&a, "a", false, 1);
    open_node(&b, "b", false, 1);
    open_node(&blind, "blind", true, 1);
    write_orders(&a, 0, 3000);
    must_meet(&a, &blind);
    must_meet(&b, &blind);
    for (uint64_t i = 0; i < 4; i++) {
        struct node *from = i % 2 ? &b : &a, *to = i % 2 ? &a : &b;
        uint64_t idle = must_meet(from, &blind);
        write_orders(from, 3000 + i, 1);
        assert_in_range(must_meet(from, &blind), idle, 1000);
        assert_in_range(must_meet(to, &blind), idle, 1100); /* and what others have */
        assert_in_range(idle, 0, 800);
    }
    assert_orders(&a, 3004);
    assert_orders(&b, 3004);
    close_node(&a);
    close_node(&b);
    close_node(&blind);
}

static void a_new_blind_hub_is_told_the_dictionary_that_a_member_has(void **state)
{
    (void)state;
    struct node a, b, blind[2];
    open_node(&a, "a", false, 1);
    open_node(&b, "b", false, 1);
    open_node(&blind[0], "blind 0", true, 1);
    open_node(&blind[1], "blind 1", true, 1);
    write_orders(&a, 0, 3000);
    must_meet(&a, &blind[0]);
    must_meet(&a, &blind[1]);
    assert_int_equal(dictionaries_of(&a), 1);
    assert_int_equal(dictionaries_of(&blind[1]), 1);
    must_meet(&b, &blind[1]);
    must_meet(&b, &blind[0]);
    assert_int_equal(dictionaries_of(&b), 1);
    assert_int_equal(dictionaries_of(&blind[0]), 1);
    assert_orders(&b, 3000);
    close_node(&a);
    close_node(&b);
    close_node(&blind[0]);
    close_node(&blind[1]);
}

static void one_blind_hub_feeds_another(void **state)
{
    (void)state;
    struct node a, b, blind[2];
    open_node(&a, "a", false, 1);
    open_node(&b, "b", false, 1);
    open_node(&blind[0], "blind 0", true, 1);
    open_node(&blind[1], "blind 1", true, 1);
    write_orders(&a, 0, 2000);
    must_meet(&a, &blind[0]);
    must_meet(&blind[0], &blind[1]);
    assert_int_equal(dictionaries_of(&blind[1]), 1);
    must_meet(&blind[1], &b);
    assert_orders(&b, 2000);
    close_node(&a);
    close_node(&b);
    close_node(&blind[0]);
    close_node(&blind[1]);
}

static void who_has_another_secret_is_let_in_nowhere(void **state)
{
    (void)state;
    struct node a, other, blind;
    struct meeting m = {0};
    int codes[2];
    open_node(&a, "a", false, 1);
    open_node(&other, "other", false, 2);
    open_node(&blind, "blind", true, 1);
    write_orders(&a, 0, 10);
    write_orders(&other, 0, 10);
    meet(&m, &other, &blind, codes);
    assert_int_equal(codes[0], BLAZE_EAUTH);
    assert_int_equal(codes[1], BLAZE_EAUTH);
    assert_int_equal(bz_db_position(blind.db), 0);
    must_meet(&a, &blind);
    assert_int_equal(bz_db_position(blind.db), 10);
    close_node(&a);
    close_node(&other);
    close_node(&blind);
}

/* ---- out of memory ---- */

static struct alloc_plan plan;

/* A session in which an allocation fails; whether there were as many. */
static bool meet_short_of_memory(struct node *a, struct node *b, uint64_t at)
{
    struct meeting m = {.ends = {a, b}};
    struct bz_session *sessions[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(bz_db_replica_open(m.ends[i]->db, &m.replicas[i], NULL), 0);
        m.auths[i] = bz_keys_auth(&m.ends[i]->keys);
    }
    struct bz_session_host host = {host_open, NULL, &m};
    struct bz_session_options options[2] = {
        {.connecting = true, .replica = &m.replicas[0], .auth = &m.auths[0]}, {.host = &host}};
    plan = (struct alloc_plan){.at = at};
    int rc = 0;
    for (int i = 0; rc == 0 && i < 2; i++) {
        plan.armed = true;
        rc = bz_session_new(&sessions[i], &options[i], 1000, NULL);
        plan.armed = false;
    }
    assert_true(rc == 0 || rc == BLAZE_ENOMEM);
    if (rc == 0)
        session_turns(&plan, sessions[0], sessions[1], 1000, 1800000000000u);
    for (int i = 0; i < 2; i++) {
        bz_session_free(sessions[i]);
        bz_db_replica_close(&m.replicas[i]);
    }
    return plan.hit;
}

/* With the first allocation that fails, with the second, and so on, until none is reached. */
static void fail_each(bool (*scenario)(struct trio *t, uint64_t at))
{
    bz_alloc_set_fault(alloc_plan_ask, &plan);
    bool reached = true;
    for (uint64_t n = 0; reached; n++) {
        struct trio t;
        open_trio(&t);
        reached = scenario(&t, n + 1);
        close_trio(&t);
        assert_true(n < 20000);
    }
    bz_alloc_set_fault(NULL, NULL);
}

static bool pass_on(struct trio *t, uint64_t at)
{
    write_orders(&t->a, 0, 3);
    bool reached = meet_short_of_memory(&t->a, &t->blind, at);
    must_meet(&t->a, &t->blind);
    reached |= meet_short_of_memory(&t->b, &t->blind, at);
    must_meet(&t->b, &t->blind);
    assert_orders(&t->b, 3);
    return reached;
}

static void each_allocation_that_fails_harms_nothing(void **state)
{
    (void)state;
    fail_each(pass_on);
}

static bool leave_out(struct trio *t, uint64_t at)
{
    blaze_id bad = id_of(1);
    struct bz_seal_ops seal = bad_seal(&t->a, &bad, seal_rubbish);
    write_orders(&t->a, 0, 3);
    meet_sealing(&t->a, &t->blind, &seal);
    bool reached = meet_short_of_memory(&t->b, &t->blind, at);
    must_meet(&t->b, &t->blind);
    assert_int_equal(count_left_out(&t->b), 1);
    write_orders(&t->a, 1, 1);
    must_meet(&t->a, &t->blind);
    reached |= meet_short_of_memory(&t->b, &t->blind, at);
    must_meet(&t->b, &t->blind);
    assert_int_equal(count_left_out(&t->b), 0);
    assert_orders(&t->b, 3);
    return reached;
}

static void each_allocation_that_fails_leaves_out_what_must_be(void **state)
{
    (void)state;
    fail_each(leave_out);
}

static void each_allocation_that_fails_leaves_dictionaries_as_they_are(void **state)
{
    (void)state;
    struct node a, b, blind;
    bool reached = true;
    open_node(&a, "a", false, 1);
    open_node(&blind, "blind", true, 1);
    write_orders(&a, 0, 1000);
    must_meet(&a, &blind);
    bz_alloc_set_fault(alloc_plan_ask, &plan);
    for (uint64_t n = 0; reached; n++) {
        write_orders(&a, 1000 + n, 1);
        reached = meet_short_of_memory(&a, &blind, n + 1);
        must_meet(&a, &blind);
        open_node(&b, "b", false, 1);
        assert_true(meet_short_of_memory(&b, &blind, n + 1) || !reached);
        must_meet(&b, &blind);
        assert_int_equal(dictionaries_of(&b), 1);
        close_node(&b);
        assert_true(n < 2000);
    }
    bz_alloc_set_fault(NULL, NULL);
    assert_int_equal(dictionaries_of(&a), 1);
    assert_int_equal(dictionaries_of(&blind), 1);
    close_node(&a);
    close_node(&blind);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dictionary_is_trained_once_kept_by_the_blind_and_opens_for_all),
        cmocka_unit_test(a_session_with_one_record_is_told_no_dictionary_that_is_there),
        cmocka_unit_test(a_new_blind_hub_is_told_the_dictionary_that_a_member_has),
        cmocka_unit_test(one_blind_hub_feeds_another),
        cmocka_unit_test(who_has_another_secret_is_let_in_nowhere),
        cmocka_unit_test(each_allocation_that_fails_harms_nothing),
        cmocka_unit_test(each_allocation_that_fails_leaves_out_what_must_be),
        cmocka_unit_test(each_allocation_that_fails_leaves_dictionaries_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What sessions between real databases cost and do not cost.
 */
#include "sync_world.h"

static void a_chain_hands_on_what_it_learns_and_a_second_round_moves_nothing(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 5, CHAIN, 4);
    for (int i = 0; i < 50; i++)
        edit(&w, &w.site[(unsigned)i % 4]);
    all_links(&w);
    settle(&w);
    assert_equal(&w);
    for (uint32_t i = 0; i < w.links; i++)
        link_down(&w.link[i]);
    all_links(&w);
    settle(&w);
    for (uint32_t i = 0; i < w.links; i++) {
        assert_int_equal(pipe_status(&w.link[i].pipe, 0).sent_records, 0);
        assert_int_equal(pipe_status(&w.link[i].pipe, 1).sent_records, 0);
    }
    world_close(&w);
}

static void in_a_mesh_nothing_goes_round_in_circles(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 8, MESH, 6);
    all_links(&w);
    settle(&w);
    for (int i = 0; i < 60; i++) {
        edit(&w, &w.site[(unsigned)i % 6]);
        settle(&w);
    }
    assert_equal(&w);
    /* Every record crosses a link at most once in each direction. */
    uint64_t sent = 0, useful = 0;
    for (uint32_t i = 0; i < w.links; i++) {
        for (int k = 0; k < 2; k++) {
            sent += pipe_status(&w.link[i].pipe, k).sent_records;
            useful += pipe_status(&w.link[i].pipe, k).applied_records;
        }
    }
    assert_true(sent <= useful / 5 * 2 * w.links);
    world_close(&w);
}

static void one_changed_field_costs_a_few_dozen_bytes(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 6, CHAIN, 2);
    blaze_doc *doc;
    struct bz_db_txn *txn;
    blaze_id id = fake_id(1);
    char text[5000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(blaze_doc_new(&doc), 0);
    blaze_doc_add_string(doc, "text", text);
    assert_int_equal(bz_db_begin(w.site[0].db, &txn, NULL), 0);
    assert_int_equal(bz_db_insert(txn, bz_bytes_text("notes"), &id, doc, NULL), 0);
    assert_int_equal(bz_db_commit(txn, BZ_DURABLE_FULL, NULL), 0);
    all_links(&w);
    settle(&w);
    uint64_t before = w.link[0].pipe.ends[0].delivered + w.link[0].pipe.ends[1].delivered;
    for (int i = 0; i < 10; i++) {
        blaze_doc_clear(doc);
        blaze_doc_add_int(doc, "count", i);
        assert_int_equal(bz_db_begin(w.site[0].db, &txn, NULL), 0);
        assert_int_equal(bz_db_update(txn, bz_bytes_text("notes"), &id, doc, NULL), 0);
        assert_int_equal(bz_db_commit(txn, BZ_DURABLE_FULL, NULL), 0);
        settle(&w);
    }
    uint64_t after = w.link[0].pipe.ends[0].delivered + w.link[0].pipe.ends[1].delivered;
    assert_in_range(after - before, 10 * 40, 10 * 130);
    assert_equal(&w);
    blaze_doc_free(doc);
    world_close(&w);
}

static void a_bootstrap_survives_a_cut_at_every_chunk_and_repeats_at_most_a_window(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 7, CHAIN, 3);
    w.chunk_bytes = 1000;
    insert_many(&w.site[0], 500);
    /* Site 1 gets it in one go, which tells what it takes. */
    link_up(&w, &w.link[0]);
    struct link *l = &w.link[0];
    while (step(&w))
        ;
    assert_true(pipe_live(&l->pipe));
    uint64_t whole = l->pipe.ends[0].delivered;
    /* Site 2 gets it from site 1, cut after every other chunk. */
    uint64_t sent = 0, cuts = 0;
    l = &w.link[1];
    for (bool live = false; !live; cuts++) {
        assert_true(cuts < 200);
        link_up(&w, l);
        l->pipe.piece_max = 300;
        while (l->pipe.ends[0].delivered < 2500 && pipe_step(&l->pipe))
            ;
        live = pipe_live(&l->pipe);
        sent += l->pipe.ends[0].delivered + l->pipe.ends[0].wire.size;
        link_down(l);
    }
    assert_true(cuts > 10);
    assert_true(sent <= whole + cuts * (4000 + 500));
    all_links(&w);
    settle(&w);
    assert_equal(&w);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_hands_on_what_it_learns_and_a_second_round_moves_nothing),
        cmocka_unit_test(in_a_mesh_nothing_goes_round_in_circles),
        cmocka_unit_test(one_changed_field_costs_a_few_dozen_bytes),
        cmocka_unit_test(a_bootstrap_survives_a_cut_at_every_chunk_and_repeats_at_most_a_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy whose whole file system is put back to an older state, which nothing shows when it is
 * opened, and which writes at once. Whoever knows its former log shows it; then nothing is missing:
 * neither what it had lost, nor what it has written since, even where both have the same dots.
 */
#include "sync_world.h"

#include "crdt/scope.h"
#include "store/memory_image.h"
#include "sync/frame.h"

struct fixture {
    struct world w;
    struct bz_memory_image *image[4];
    uint32_t images;
};

static void open_world(struct fixture *f, uint64_t seed, enum shape shape, uint32_t sites)
{
    *f = (struct fixture){0};
    world_open(&f->w, seed, shape, sites);
}

static void close_world(struct fixture *f)
{
    world_close(&f->w);
    for (uint32_t i = 0; i < f->images; i++)
        bz_memory_image_free(f->image[i]);
}

static uint64_t conflicts_of(struct site *s)
{
    struct bz_db_state state;
    struct version version;
    load(s, &state, &version);
    return state.conflicts;
}

static blaze_id node_of(struct site *s)
{
    struct bz_identity identity;
    bz_db_identity(s->db, &identity);
    return identity.node;
}

/* Everybody is down, and the site is opened from the image; NULL: just anew. */
static void reopen(struct fixture *f, uint32_t i, struct bz_memory_image *image)
{
    struct world *w = &f->w;
    struct site *s = &w->site[i];
    struct bz_memory_image *now = bz_memory_image_take(bz_db_store(s->db), false);
    for (uint32_t k = 0; k < w->links; k++) {
        struct link *l = &w->link[k];
        link_down(l);
        for (int e = 0; e < 2; e++) {
            if (l->ends[e] == s)
                bz_db_replica_close(&l->replicas[e]);
        }
    }
    assert_int_equal(bz_db_close(s->db, NULL), 0);
    struct bz_db_options options = {.memory = true,
        .apply_durability = BZ_DURABLE_FULL,
        .store = {.image = image == NULL ? now : image},
        .wall_ms = site_wall,
        .entropy = site_entropy,
        .context = s};
    assert_int_equal(bz_db_open(&s->db, "again", &options, NULL), 0);
    for (uint32_t k = 0; k < w->links; k++) {
        struct link *l = &w->link[k];
        for (int e = 0; e < 2; e++) {
            if (l->ends[e] == s)
                assert_int_equal(bz_db_replica_open(s->db, &l->replicas[e], NULL), 0);
        }
    }
    bz_memory_image_free(now);
}

static struct bz_memory_image *take(struct fixture *f, uint32_t i)
{
    f->image[f->images] = bz_memory_image_take(bz_db_store(f->w.site[i].db), false);
    return f->image[f->images++];
}

/* One link, until it has nothing to do. Whether its session ended because of what it showed. */
static bool meet_once(struct fixture *f, uint32_t link)
{
    struct link *l = &f->w.link[link];
    if (!l->up)
        link_up(&f->w, l);
    pipe_wake(&l->pipe);
    for (int i = 0; i < 10000 && pipe_step(&l->pipe); i++)
        ;
    bool ended = false;
    for (int k = 0; k < 2; k++) {
        struct bz_session_status status = pipe_status(&l->pipe, k);
        if (status.phase == BZ_SESSION_CLOSED) {
            assert_int_equal(status.code, BLAZE_ECLOSED);
            ended = true;
        }
    }
    if (ended)
        link_down(l);
    return ended;
}

/* All links, for as long as sessions end. */
static void meet_all(struct fixture *f)
{
    bool ended = true;
    for (int turn = 0; ended && turn < 4; turn++) {
        ended = false;
        for (uint32_t i = 0; i < f->w.links; i++)
            ended |= meet_once(f, i);
    }
    assert_false(ended);
    settle(&f->w);
    assert_equal(&f->w);
}

static void write_notes(struct site *s, uint32_t first, uint32_t count, const char *text)
{
    for (uint32_t i = 0; i < count; i++)
        write_note(s, first + i, text, BZ_DURABLE_FULL);
}

static void assert_notes(struct fixture *f, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < f->w.sites; i++) {
        for (uint32_t n = 0; n < count; n++)
            assert_true(has_note(&f->w.site[i], first + n));
    }
}

static void a_hub_whose_log_has_grown_past_what_its_peers_know_loses_nothing(void **state)
{
    (void)state;
    for (uint32_t after = 0; after <= 12; after += 3) {
        struct fixture f;
        open_world(&f, 10 + after, STAR, 4);
        all_links(&f.w);
        write_notes(&f.w.site[0], 0, 3, "before");
        write_notes(&f.w.site[1], 10, 3, "before");
        settle(&f.w);
        struct bz_memory_image *image = take(&f, 0);
        blaze_id node = node_of(&f.w.site[0]);
        write_notes(&f.w.site[0], 20, 6, "lost");
        write_notes(&f.w.site[2], 30, 2, "lost at the hub");
        settle(&f.w);
        reopen(&f, 0, image);
        write_notes(&f.w.site[0], 40, after, "after");
        write_notes(&f.w.site[3], 60, 2, "meanwhile");
        assert_true(meet_once(&f, 1));
        blaze_id renewed = node_of(&f.w.site[0]);
        assert_memory_not_equal(&node, &renewed, sizeof node);
        meet_all(&f);
        assert_notes(&f, 0, 3);
        assert_notes(&f, 20, 6);
        assert_notes(&f, 30, 2);
        assert_notes(&f, 40, after);
        assert_notes(&f, 60, 2);
        assert_int_equal(conflicts_of(&f.w.site[0]), 0);
        /* Once is enough. */
        reopen(&f, 0, NULL);
        write_notes(&f.w.site[0], 70, 2, "later");
        meet_all(&f);
        blaze_id again = node_of(&f.w.site[0]);
        assert_memory_equal(&renewed, &again, sizeof again);
        close_world(&f);
    }
}

static void writes_under_the_dots_of_lost_ones_are_siblings_of_them(void **state)
{
    (void)state;
    for (uint32_t openings = 1; openings <= 3; openings++) {
        struct fixture f;
        open_world(&f, 30 + openings, CHAIN, 2);
        all_links(&f.w);
        write_notes(&f.w.site[0], 0, 6, "before");
        settle(&f.w);
        struct bz_memory_image *image = take(&f, 0);
        /* Both sides of the story have as many writes, in as many openings. */
        for (uint32_t i = 0; i < openings; i++) {
            reopen(&f, 0, NULL);
            write_note(&f.w.site[0], i, "lost", BZ_DURABLE_FULL);
            write_note(&f.w.site[0], 10 + i, "lost", BZ_DURABLE_FULL);
            meet_all(&f);
        }
        reopen(&f, 0, image);
        for (uint32_t i = 0; i < openings; i++) {
            reopen(&f, 0, NULL);
            write_note(&f.w.site[0], i, "after", BZ_DURABLE_FULL);
            write_note(&f.w.site[0], 20 + i, "after", BZ_DURABLE_FULL);
        }
        assert_true(meet_once(&f, 0));
        meet_all(&f);
        assert_notes(&f, 0, 6);
        assert_notes(&f, 10, openings);
        assert_notes(&f, 20, openings);
        assert_int_equal(conflicts_of(&f.w.site[0]), openings);
        assert_int_equal(conflicts_of(&f.w.site[1]), openings);
        assert_int_equal(bz_db_check(f.w.site[0].db, NULL, NULL, NULL), 0);
        close_world(&f);
    }
}

/* It lost nothing of its own, so that nobody who has not seen more of its log can tell. */
static void who_was_given_what_is_then_reissued_gives_it_back(void **state)
{
    (void)state;
    struct fixture f;
    open_world(&f, 40, STAR, 4);
    all_links(&f.w);
    write_notes(&f.w.site[0], 0, 3, "before");
    settle(&f.w);
    struct bz_memory_image *image = take(&f, 0);
    link_down(&f.w.link[2]);
    write_notes(&f.w.site[1], 10, 3, "relayed");
    settle(&f.w);
    reopen(&f, 0, image);
    write_notes(&f.w.site[0], 0, 2, "after");
    assert_false(meet_once(&f, 2));
    assert_true(meet_once(&f, 1));
    /* The session with the former node ends, too. */
    write_notes(&f.w.site[0], 20, 1, "later");
    assert_true(meet_once(&f, 2));
    meet_all(&f);
    assert_notes(&f, 0, 3);
    assert_notes(&f, 10, 3);
    assert_notes(&f, 20, 1);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(conflicts_of(&f.w.site[i]), 0);
        assert_int_equal(bz_db_check(f.w.site[i].db, NULL, NULL, NULL), 0);
    }
    close_world(&f);
}

/* What it lost had come from elsewhere, so that only the position of its log tells; and who knows
 * that is about to read the log from its start, for another reason. */
static void it_is_found_out_by_who_wants_another_part_now(void **state)
{
    (void)state;
    struct fixture f;
    open_world(&f, 50, STAR, 3);
    struct site *hub = &f.w.site[0], *part = &f.w.site[2];
    set_scope(part, (const char *const[]){"notes", "exists text", NULL});
    all_links(&f.w);
    write_notes(hub, 0, 1, "before");
    settle_now(&f.w);
    struct bz_memory_image *image = take(&f, 0);
    write_notes(&f.w.site[1], 10, 1, "relayed");
    settle_now(&f.w);
    assert_true(has_note(part, 10));
    reopen(&f, 0, image);
    blaze_id former = node_of(hub);
    set_scope(part, (const char *const[]){"notes", "", NULL});
    assert_false(has_note(hub, 10));
    assert_true(meet_once(&f, 1));
    blaze_id now = node_of(hub);
    assert_memory_not_equal(&former, &now, sizeof now);
    assert_false(meet_once(&f, 1));
    assert_true(has_note(hub, 10));
    assert_int_equal(bz_db_check(hub->db, NULL, NULL, NULL), 0);
    close_world(&f);
}

static void a_process_that_ends_and_begins_anew_is_the_same_node(void **state)
{
    (void)state;
    struct fixture f;
    open_world(&f, 50, STAR, 3);
    blaze_id nodes[3];
    for (uint32_t i = 0; i < 3; i++)
        nodes[i] = node_of(&f.w.site[i]);
    for (uint32_t i = 0; i < 40; i++) {
        if (chance(&f.w, 2))
            reopen(&f, i % 3, NULL);
        write_notes(&f.w.site[i % 3], i, 1 + (uint32_t)chance(&f.w, 3), "some");
        if (chance(&f.w, 2))
            meet_all(&f);
        else if (f.w.link[i % 2].up || chance(&f.w, 2))
            assert_false(meet_once(&f, i % 2));
    }
    meet_all(&f);
    for (uint32_t i = 0; i < 3; i++) {
        blaze_id node = node_of(&f.w.site[i]);
        assert_memory_equal(&node, &nodes[i], sizeof node);
        assert_int_equal(bz_db_check(f.w.site[i].db, NULL, NULL, NULL), 0);
    }
    close_world(&f);
}

/* Has site 0 tell site 1 what it does not have: of its own, of site 2, and what was collected. */
static void tell(struct fixture *f, const struct bz_coverage *told)
{
    struct session_pipe *pipe = &f->w.link[0].pipe;
    struct bz_arena arena;
    struct bz_buf payload;
    bz_arena_init(&arena);
    bz_buf_init(&payload, 10000);
    assert_int_equal(bz_covered_encode(&payload, &arena, told, true), 0);
    bz_frame_append(&pipe->ends[0].wire, BZ_FRAME_COVERED, bz_buf_bytes(&payload));
    bz_buf_release(&payload);
    bz_arena_release(&arena);
}

/* A member says that writes of a copy are elsewhere, or were collected, which it never made. True
 * or not, it makes no more under this name: else those to come would be taken for the others. */
static void writes_that_were_never_made_are_told_of(void **state)
{
    (void)state;
    for (int which = 0; which < 6; which++) {
        struct fixture f;
        open_world(&f, 70 + (uint64_t)which, CHAIN, 3);
        all_links(&f.w);
        write_notes(&f.w.site[0], 0, 3, "before");
        write_notes(&f.w.site[1], 10, 3, "before");
        settle(&f.w);
        link_down(&f.w.link[1]); /* site 2 does not hear of what follows */
        write_notes(&f.w.site[1], 20, 3, "not yet everywhere");
        settle(&f.w);
        blaze_id victim = node_of(&f.w.site[1]), liar = node_of(&f.w.site[0]);
        struct bz_told claim = {victim, 500}, true_one = {victim, 6};
        struct bz_coverage_row rows[2] = {{.node = liar}, {.node = node_of(&f.w.site[2])}};
        struct bz_coverage told = {.rows = rows, .count = 2, .purged_stamp = UINT64_MAX};
        struct bz_told_vv *where[] = {&rows[0].vv, &rows[1].vv, &told.purged};
        if (which % 3 > 0)
            rows[0].vv = (struct bz_told_vv){&true_one, 1};
        *where[which % 3] = (struct bz_told_vv){&claim, 1};
        tell(&f, &told);
        assert_true(meet_once(&f, 0));
        blaze_id renewed = node_of(&f.w.site[1]);
        assert_memory_not_equal(&victim, &renewed, sizeof victim);
        write_notes(&f.w.site[1], 30, 3, "after");
        meet_all(&f);
        write_notes(&f.w.site[1], 20, 1, "changed after");
        settle(&f.w);
        assert_equal(&f.w);
        assert_notes(&f, 0, 3);
        assert_notes(&f, 10, 3);
        assert_notes(&f, 20, 3);
        assert_notes(&f, 30, 3);
        for (uint32_t i = 0; i < 3; i++) {
            assert_int_equal(conflicts_of(&f.w.site[i]), 0);
            assert_int_equal(bz_db_check(f.w.site[i].db, NULL, NULL, NULL), 0);
        }
        close_world(&f);
    }
}

/* ---- who had come only part of the way ---- */

/* A record that changes leaves its place in the log, and who has come past that does not have it
 * yet; put back, it stands there again. */
static void read_a_part(struct fixture *f, struct link *l)
{
    f->w.chunk_bytes = 200;
    link_up(&f->w, l);
    while (bz_db_position(l->ends[1]->db) < 8)
        assert_true(pipe_step(&l->pipe));
    link_down(l);
    assert_true(bz_db_position(l->ends[1]->db) < 16);
    assert_false(has_note(l->ends[1], 3));
}

static void who_had_come_a_part_of_the_way_misses_nothing(bool blind, uint32_t after)
{
    struct fixture f = {0};
    world_open_with(&f.w, 90 + after, STAR, 3, blind ? 1 : 0);
    struct link *writes = &f.w.link[0], *reads = &f.w.link[1];
    write_notes(&f.w.site[1], 0, 20, "before");
    assert_false(meet_once(&f, 0));
    struct bz_memory_image *image = take(&f, 0);
    blaze_id node = node_of(&f.w.site[0]);
    write_notes(&f.w.site[1], 3, 1, "changed");
    assert_false(meet_once(&f, 0));
    link_down(writes);
    read_a_part(&f, reads);
    reopen(&f, 0, image);
    if (!blind)
        write_notes(&f.w.site[0], 40, after, "after");
    /* As long as the writer is away, nobody else has what the reader missed. */
    assert_true(meet_once(&f, 1));
    blaze_id renewed = node_of(&f.w.site[0]);
    assert_memory_not_equal(&node, &renewed, sizeof node);
    assert_false(meet_once(&f, 1));
    for (uint32_t n = 0; n < 20; n++)
        assert_true(has_note(&f.w.site[2], n));
    meet_all(&f);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(bz_db_check(f.w.site[i].db, NULL, NULL, NULL), 0);
    close_world(&f);
}

static void who_was_reading_a_log_that_is_put_back_misses_nothing(void **state)
{
    (void)state;
    who_had_come_a_part_of_the_way_misses_nothing(false, 0);
    who_had_come_a_part_of_the_way_misses_nothing(false, 8);
    who_had_come_a_part_of_the_way_misses_nothing(true, 0);
}

/* Not so if the log is what it was: who has come a part of the way goes on there. */
static void who_was_reading_the_log_of_a_process_that_ends_goes_on(void **state)
{
    (void)state;
    struct fixture f;
    open_world(&f, 99, CHAIN, 2);
    struct link *l = &f.w.link[0];
    write_notes(&f.w.site[0], 0, 20, "before");
    write_notes(&f.w.site[0], 3, 1, "changed");
    blaze_id node = node_of(&f.w.site[0]);
    for (uint32_t turn = 0; turn < 3; turn++) {
        if (turn == 0)
            read_a_part(&f, l);
        reopen(&f, 0, NULL);
        write_notes(&f.w.site[0], 5 + turn, 1, "changed by another process");
    }
    uint64_t had = bz_db_position(f.w.site[1].db);
    assert_false(meet_once(&f, 0));
    assert_int_equal(pipe_status(&l->pipe, 0).sent_records, 20 - had + 3);
    blaze_id same = node_of(&f.w.site[0]);
    assert_memory_equal(&node, &same, sizeof node);
    meet_all(&f);
    close_world(&f);
}

/* What it has under the scope before it need not be sent again; unless the log has others there. */
static void a_partial_copy_that_takes_more_misses_nothing_of_a_log_that_is_put_back(void **state)
{
    (void)state;
    struct fixture f;
    open_world(&f, 95, CHAIN, 2);
    set_scope(&f.w.site[1], (const char *const[]){"notes", "", NULL});
    write_notes(&f.w.site[0], 0, 10, "before");
    assert_false(meet_once(&f, 0));
    struct bz_memory_image *image = take(&f, 0);
    write_notes(&f.w.site[0], 20, 6, "lost");
    assert_false(meet_once(&f, 0));
    link_down(&f.w.link[0]);
    set_scope(&f.w.site[1], (const char *const[]){"notes", "", "people", "", NULL});
    reopen(&f, 0, image);
    write_notes(&f.w.site[0], 40, 6, "after");
    while (meet_once(&f, 0))
        ;
    assert_notes(&f, 0, 10);
    assert_notes(&f, 40, 6);
    close_world(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hub_whose_log_has_grown_past_what_its_peers_know_loses_nothing),
        cmocka_unit_test(writes_under_the_dots_of_lost_ones_are_siblings_of_them),
        cmocka_unit_test(who_was_given_what_is_then_reissued_gives_it_back),
        cmocka_unit_test(it_is_found_out_by_who_wants_another_part_now),
        cmocka_unit_test(writes_that_were_never_made_are_told_of),
        cmocka_unit_test(a_process_that_ends_and_begins_anew_is_the_same_node),
        cmocka_unit_test(who_was_reading_a_log_that_is_put_back_misses_nothing),
        cmocka_unit_test(who_was_reading_the_log_of_a_process_that_ends_goes_on),
        cmocka_unit_test(a_partial_copy_that_takes_more_misses_nothing_of_a_log_that_is_put_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The course of sessions: what moves, what interrupts it, what time does. */
#include "sync/pair_test_util.h"

#include "sync/frame.h"

/* ---- the usual course ---- */

static void two_empty_databases_are_live_at_once(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 1);
    pair_connect(&p);
    settle(&p);
    assert_live_and_same(&p);
    assert_int_equal(pipe_status(&p.pipe, 0).sent_records, 0);
    pair_release(&p);
}

static void what_each_has_alone_is_on_both_however_the_stream_is_cut(void **state)
{
    (void)state;
    uint64_t first = test_seed(), rounds = test_rounds(40, 1000);
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct pair p;
        pair_init(&p, seed);
        p.pipe.piece_max = (size_t[]){1, 3, 17, 300, 5000, 0}[seed % 6];
        p.options[0].chunk_bytes = (uint32_t[]){64, 700, 20000}[seed % 3];
        p.options[1].chunk_bytes = (uint32_t[]){5000, 100}[seed % 2];
        write_many(p.fakes[0], 0, 40, 30, &p.pipe.rng);
        write_many(p.fakes[1], 20, 40, 50, &p.pipe.rng);
        fake_write(p.fakes[0], "other", 5, "title", bz_bytes_text("x"));
        fake_write(p.fakes[1], "notes", 3, NULL, bz_bytes_text(""));
        pair_connect(&p);
        settle(&p);
        assert_live_and_same(&p);
        assert_int_equal(p.fakes[0]->count, p.fakes[1]->count);
        pair_release(&p);
    }
}

static void a_write_on_a_live_link_crosses_it_once_and_does_not_come_back(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 3);
    write_many(p.fakes[0], 0, 10, 30, &p.pipe.rng);
    pair_connect(&p);
    settle(&p);
    assert_live_and_same(&p);
    for (int i = 0; i < 20; i++) {
        uint64_t before[2] = {p.pipe.ends[0].delivered, p.pipe.ends[1].delivered};
        uint64_t commits = p.fakes[0]->commits;
        write_text(p.fakes[0], 100 + (uint64_t)i, "text", "hello");
        settle(&p);
        assert_live_and_same(&p);
        /* One chunk there, one acknowledgement back. */
        assert_in_range(p.pipe.ends[0].delivered - before[0], 40, 110);
        assert_in_range(p.pipe.ends[1].delivered - before[1], 3, 12);
        assert_int_equal(p.fakes[0]->commits, commits);
    }
    assert_int_equal(pipe_status(&p.pipe, 0).sent_records, 30);
    assert_int_equal(pipe_status(&p.pipe, 1).sent_records, 0);
    pair_release(&p);
}

static bool push(struct pair *p, int end)
{
    return bz_session_push(p->pipe.ends[end].session, p->pipe.now_ms, p->pipe.wall_ms);
}

static void a_few_writes_on_a_live_link_are_pushed_and_many_are_left_to_a_run(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 3);
    pair_connect(&p);
    assert_true(push(&p, 0)); /* there is more to do than that */
    settle(&p);
    struct bz_session *session = p.pipe.ends[0].session;
    for (uint64_t i = 0; i < 3; i++) {
        write_text(p.fakes[0], i, "text", "hello");
        assert_false(push(&p, 0));
        assert_true(bz_session_output(session).size > 0);
        assert_true(push(&p, 0)); /* that has to go first */
        pipe_step(&p.pipe);
        settle(&p);
        assert_live_and_same(&p);
        assert_int_equal(pipe_status(&p.pipe, 0).sent_records, i + 1);
    }
    write_many(p.fakes[0], 100, 40, 30, &p.pipe.rng);
    assert_true(push(&p, 0));
    assert_int_equal(bz_session_output(session).size, 0);
    settle(&p);
    assert_live_and_same(&p);
    pair_release(&p);
}

/* Brings what one end has written to the other, which has not dealt with it. */
static void hand_over(struct pair *p)
{
    struct session_end *ends = p->pipe.ends;
    assert_false(push(p, 0));
    assert_true(pipe_take(&p->pipe, 0));
    bz_session_receive(ends[1].session, bz_buf_bytes(&ends[0].wire), p->pipe.now_ms);
    bz_buf_clear(&ends[0].wire);
}

static void a_small_chunk_is_applied_by_a_push_where_nobody_else_writes(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 6);
    pair_connect(&p);
    settle(&p);
    struct bz_session *to = p.pipe.ends[1].session;
    write_text(p.fakes[0], 1, "text", "hello");
    hand_over(&p);
    assert_false(push(&p, 1));
    assert_int_equal(p.fakes[1]->count, 1);
    assert_true(bz_session_output(to).size > 0); /* the acknowledgement */
    settle(&p);
    assert_live_and_same(&p);

    write_text(p.fakes[0], 2, "text", "hello");
    hand_over(&p);
    p.fakes[1]->busy = true;
    assert_true(push(&p, 1));
    assert_true(push(&p, 1));
    assert_int_equal(p.fakes[1]->count, 1);
    assert_int_equal(bz_session_output(to).size, 0);
    p.fakes[1]->busy = false;
    settle(&p);
    assert_live_and_same(&p);
    assert_int_equal(p.fakes[1]->count, 2);
    pair_release(&p);
}

static void a_large_chunk_is_left_to_a_run(void **state)
{
    (void)state;
    struct pair p;
    static char text[10000];
    memset(text, 'a', sizeof text - 1); /* it packs well */
    pair_init(&p, 7);
    pair_connect(&p);
    settle(&p);
    write_text(p.fakes[0], 1, "text", text);
    hand_over(&p);
    assert_true(push(&p, 1));
    assert_int_equal(p.fakes[1]->count, 0);
    assert_int_equal(p.fakes[1]->open_applies, 0);
    settle(&p);
    assert_live_and_same(&p);
    assert_int_equal(p.fakes[1]->count, 1);
    pair_release(&p);
}

static void concurrent_updates_of_one_record_meet_on_both_sides(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 4);
    write_text(p.fakes[0], 1, "title", "first");
    pair_connect(&p);
    settle(&p);
    for (int i = 0; i < 10; i++) {
        write_text(p.fakes[0], 1, "title", i % 2 ? "a" : "b");
        write_text(p.fakes[1], 1, i % 3 ? "title" : "text", "c");
        settle(&p);
        assert_live_and_same(&p);
    }
    pair_release(&p);
}

static void a_second_session_sends_only_what_is_new(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 5);
    write_many(p.fakes[0], 0, 200, 100, &p.pipe.rng);
    pair_connect(&p);
    settle(&p);
    pipe_close(&p.pipe);
    write_text(p.fakes[0], 500, "text", "new here");
    write_text(p.fakes[1], 501, "text", "new there");
    pair_connect(&p);
    settle(&p);
    assert_live_and_same(&p);
    assert_int_equal(pipe_status(&p.pipe, 0).sent_records, 1);
    assert_int_equal(pipe_status(&p.pipe, 1).sent_records, 1);
    pair_release(&p);
}

static void a_new_log_epoch_is_met_with_a_summary_and_nothing_is_sent_twice(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 6);
    write_many(p.fakes[0], 0, 200, 100, &p.pipe.rng);
    pair_connect(&p);
    settle(&p);
    pipe_close(&p.pipe);
    p.fakes[0]->identity.epoch = fake_id(77);
    write_text(p.fakes[0], 500, "text", "new here");
    pair_connect(&p);
    settle(&p);
    assert_live_and_same(&p);
    assert_int_equal(pipe_status(&p.pipe, 0).sent_records, 1);
    pair_release(&p);
}

static void a_cursor_past_the_end_of_a_rolled_back_log_starts_it_over(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 7);
    write_many(p.fakes[0], 0, 20, 100, &p.pipe.rng);
    pair_connect(&p);
    settle(&p);
    pipe_close(&p.pipe);
    p.fakes[1]->peers[0].state.cursor = 1000;
    p.fakes[1]->peers[0].state.reached = 1000;
    write_text(p.fakes[0], 500, "text", "new here");
    pair_connect(&p);
    settle(&p);
    assert_live_and_same(&p);
    assert_false(pipe_status(&p.pipe, 1).diverged);
    pair_release(&p);
}

static void records_larger_than_chunk_and_window_get_through(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 8);
    p.options[0].chunk_bytes = p.options[1].chunk_bytes = 1000;
    p.options[1].window_bytes = 2000;
    write_many(p.fakes[0], 0, 5, 100, &p.pipe.rng);
    write_many(p.fakes[0], 50, 2, 3 << 20, &p.pipe.rng);
    write_many(p.fakes[0], 60, 5, 900, &p.pipe.rng);
    pair_connect(&p);
    settle(&p);
    assert_live_and_same(&p);
    pair_release(&p);
}

/* ---- live means live ---- */

static void live_is_never_said_before_all_of_the_start_is_on_both_sides(void **state)
{
    (void)state;
    uint64_t first = test_seed(), rounds = test_rounds(30, 300);
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct pair p;
        pair_init(&p, seed);
        p.pipe.piece_max = 200;
        p.options[0].chunk_bytes = p.options[1].chunk_bytes = 500;
        write_many(p.fakes[0], 0, 60, 30, &p.pipe.rng);
        write_many(p.fakes[1], 1000, 60, 30, &p.pipe.rng);
        pair_connect(&p);
        uint64_t id = 2000;
        bool was_live = false;
        for (uint64_t n = 0; n < STEPS && !was_live; n++) {
            if (n % 40 == 0 && id < 2020) {
                write_text(p.fakes[id % 2], id, "text", "meanwhile");
                id++;
                pipe_wake(&p.pipe);
            }
            if (!pipe_step(&p.pipe))
                pipe_wake(&p.pipe);
            for (int i = 0; i < 2; i++) {
                if (pipe_status(&p.pipe, i).phase != BZ_SESSION_LIVE)
                    continue;
                was_live = true;
                uint32_t c = 0;
                for (uint64_t k = 0; k < 60; k++) {
                    blaze_id x = fake_id(k), y = fake_id(1000 + k);
                    assert_non_null(fake_find(p.fakes[1], c, &x));
                    assert_non_null(fake_find(p.fakes[0], c, &y));
                }
            }
        }
        assert_true(was_live);
        pair_release(&p);
    }
}

static void a_link_that_has_nothing_to_do_rests(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 10);
    write_many(p.fakes[0], 0, 50, 30, &p.pipe.rng);
    pair_connect(&p);
    settle(&p);
    uint64_t sent = p.pipe.ends[0].delivered + p.pipe.ends[1].delivered;
    for (int i = 0; i < 100; i++) {
        pipe_wake(&p.pipe);
        /* Two runs that find nothing, and no more. */
        assert_int_equal(pipe_settle(&p.pipe, 100), 2);
    }
    assert_int_equal(p.pipe.ends[0].delivered + p.pipe.ends[1].delivered, sent);
    assert_int_equal(p.fakes[0]->open_walks + p.fakes[1]->open_walks, 0);
    pair_release(&p);
}

/* ---- interruptions ---- */

static uint64_t changes_delivered(const struct pair *p)
{
    return p->pipe.ends[0].delivered;
}

static void an_interrupted_bootstrap_goes_on_and_repeats_at_most_a_window(void **state)
{
    (void)state;
    const uint32_t chunk = 2000, window = 8000;
    uint64_t first = test_seed(), rounds = test_rounds(12, 60);
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct pair p;
        pair_init(&p, seed);
        p.options[0].chunk_bytes = p.options[1].chunk_bytes = chunk;
        p.options[1].window_bytes = window;
        p.pipe.piece_max = 1000;
        write_many(p.fakes[0], 0, 1500, 60, &p.pipe.rng);
        pair_connect(&p);
        settle(&p);
        assert_live_and_same(&p);
        uint64_t whole = changes_delivered(&p);
        pipe_close(&p.pipe);

        /* The same again into an empty database, cut after every so many bytes. */
        fake_free(p.fakes[1]);
        p.fakes[1] = fake_new(7, 2);
        p.replicas[1].context = p.fakes[1];
        p.fakes[0]->peer_count = 0;
        uint64_t sent = 0, cuts = 0;
        bool live = false;
        while (!live) {
            assert_true(++cuts < 100);
            pair_connect(&p);
            uint64_t until = 3000 + rng_next(&p.pipe.rng) % 10000;
            while (pipe_step(&p.pipe) && p.pipe.ends[0].delivered < until)
                ;
            live = pipe_live(&p.pipe);
            sent += p.pipe.ends[0].delivered + p.pipe.ends[0].wire.size;
            pipe_cut(&p.pipe);
            pipe_close(&p.pipe);
        }
        assert_true(same(&p));
        /* Each cut costs a window, a handshake, and the definitions once more. */
        assert_true(sent <= whole + cuts * (window + 700));
        assert_true(cuts > 5);
        pair_release(&p);
    }
}

static void a_cut_at_any_byte_leaves_both_databases_able_to_go_on(void **state)
{
    (void)state;
    for (uint64_t at = 1; at < 3000; at += 7) {
        struct pair p;
        pair_init(&p, at);
        p.options[0].chunk_bytes = p.options[1].chunk_bytes = 300;
        p.pipe.piece_max = 64;
        write_many(p.fakes[0], 0, 20, 40, &p.pipe.rng);
        write_many(p.fakes[1], 10, 20, 40, &p.pipe.rng);
        pair_connect(&p);
        while (p.pipe.ends[0].delivered + p.pipe.ends[1].delivered < at && pipe_step(&p.pipe))
            ;
        pipe_cut(&p.pipe);
        assert_closed(&p, 0, BLAZE_ECLOSED, false);
        pipe_close(&p.pipe);
        pair_connect(&p);
        settle(&p);
        assert_live_and_same(&p);
        pair_release(&p);
    }
}

static void a_commit_that_fails_ends_the_session_and_the_next_one_goes_on(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 11);
    p.options[0].chunk_bytes = 300;
    write_many(p.fakes[0], 0, 40, 40, &p.pipe.rng);
    pair_connect(&p);
    while (p.fakes[1]->commits < 3 && pipe_step(&p.pipe))
        ;
    p.fakes[1]->fail_commit = BLAZE_ENOSPC;
    settle(&p);
    assert_closed(&p, 1, BLAZE_ENOSPC, false);
    assert_closed(&p, 0, BLAZE_ENOSPC, false);
    pipe_close(&p.pipe);
    assert_true(p.fakes[1]->count < 40);
    pair_connect(&p);
    settle(&p);
    assert_live_and_same(&p);
    pair_release(&p);
}

static void a_copy_that_must_not_go_on_is_not_tried_again(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 11);
    write_many(p.fakes[0], 0, 4, 40, &p.pipe.rng);
    p.fakes[1]->fail_commit = BLAZE_EFAILED;
    pair_connect(&p);
    settle(&p);
    assert_closed(&p, 1, BLAZE_EFAILED, true);
    assert_closed(&p, 0, BLAZE_EFAILED, true);
    pair_release(&p);
}

static void databases_that_should_be_equal_and_are_not_exchange_everything_once(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 12);
    p.options[0].chunk_bytes = 500;
    write_text(p.fakes[1], 100, "text", "its own");
    write_many(p.fakes[0], 0, 40, 40, &p.pipe.rng);
    pair_connect(&p);
    settle(&p);
    pipe_close(&p.pipe);
    /* Two records are lost, one of them its own, as a bug or a broken disk would have it. */
    for (uint32_t lost = 0; lost < 14; lost += 7) {
        bz_free((void *)p.fakes[1]->records[lost].rec.data);
        p.fakes[1]->records[lost] = p.fakes[1]->records[--p.fakes[1]->count];
    }
    assert_false(same(&p));
    pair_connect(&p);
    settle(&p);
    assert_live_and_same(&p);
    assert_true(pipe_status(&p.pipe, 1).diverged);
    pipe_close(&p.pipe);

    /* What cannot be healed is told, and not tried for ever. */
    p.fakes[1]->lie_digest = true;
    pair_connect(&p);
    settle(&p);
    assert_true(pipe_live(&p.pipe));
    assert_true(pipe_status(&p.pipe, 1).diverged);
    assert_true(pipe_status(&p.pipe, 0).sent_records <= 41);
    pair_release(&p);
}

static void a_slow_reader_does_not_pin_the_senders_snapshot(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 13);
    p.options[0].chunk_bytes = p.options[1].chunk_bytes = 500;
    p.pipe.wire_max = 700; /* the stream is full and nobody reads */
    write_many(p.fakes[0], 0, 100, 40, &p.pipe.rng);
    pair_connect(&p);
    while (p.fakes[0]->open_walks == 0 && pipe_step(&p.pipe))
        ;
    assert_int_equal(p.fakes[0]->open_walks, 1);
    for (int i = 0; i < 20; i++) {
        pipe_take(&p.pipe, 0);
        pipe_run(&p.pipe, 0);
    }
    assert_true(bz_session_deadline(p.pipe.ends[0].session) <= p.pipe.now_ms + 1000);
    p.pipe.now_ms += 1000;
    pipe_run(&p.pipe, 0);
    assert_int_equal(p.fakes[0]->open_walks, 0);
    settle(&p);
    assert_live_and_same(&p);
    pair_release(&p);
}

/* ---- time ---- */

static void a_peer_that_says_nothing_is_given_up(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 14);
    pair_connect(&p);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(bz_session_deadline(p.pipe.ends[i].session), 1000 + 10000);
        assert_false(bz_session_run(p.pipe.ends[i].session, 11000, p.pipe.wall_ms));
        assert_closed(&p, i, BLAZE_ETIMEOUT, false);
        assert_int_equal(bz_session_deadline(p.pipe.ends[i].session), UINT64_MAX);
    }
    pair_release(&p);
}

/* The connecting side is open when the accepting one, which has not heard of it, gives up. */
static void a_handshake_given_up_by_the_other_end_is_no_breach(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 14);
    pair_connect(&p);
    /* HELLO there and back, PROOF there, PROOF WELCOME RESUME back. */
    for (int i = 0; i < 4; i++) {
        pipe_take(&p.pipe, i % 2);
        pipe_deliver(&p.pipe, i % 2);
    }
    pipe_run(&p.pipe, 0);
    assert_int_equal(pipe_status(&p.pipe, 0).phase, BZ_SESSION_CATCHING_UP);
    assert_false(bz_session_run(p.pipe.ends[1].session, 11000, p.pipe.wall_ms));
    assert_closed(&p, 1, BLAZE_ETIMEOUT, false);
    pipe_take(&p.pipe, 1);
    pipe_deliver(&p.pipe, 1);
    pipe_run(&p.pipe, 0);
    assert_closed(&p, 0, BLAZE_ETIMEOUT, false);
    pair_release(&p);
}

/* The first frame of what an end has sent; what follows stays on its way. */
static void deliver_frame(struct session_pipe *pipe, int from)
{
    struct bz_buf *wire = &pipe->ends[from].wire;
    uint8_t type;
    struct bz_bytes payload;
    size_t size;
    assert_int_equal(bz_frame_peek(bz_buf_bytes(wire), &type, &payload, &size), 0);
    bz_session_receive(pipe->ends[!from].session, bz_bytes(wire->data, size), pipe->now_ms);
    bz_buf_consume(wire, size);
}

/* The accepting side is open, and may have sent changes, when the connecting one gives up, to which
 * the frames after PROOF never came. */
static void nor_is_one_given_up_by_the_end_that_connects(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 14);
    write_text(p.fakes[1], 1, "title", "some");
    pair_connect(&p);
    for (int i = 0; i < 3; i++) {
        pipe_take(&p.pipe, i % 2);
        pipe_deliver(&p.pipe, i % 2);
    }
    pipe_take(&p.pipe, 1);
    deliver_frame(&p.pipe, 1);
    pipe_take(&p.pipe, 0);
    pipe_deliver(&p.pipe, 0);
    pipe_run(&p.pipe, 1);
    assert_int_equal(pipe_status(&p.pipe, 1).phase, BZ_SESSION_CATCHING_UP);
    assert_int_equal(pipe_status(&p.pipe, 1).sent_records, 1);
    assert_false(bz_session_run(p.pipe.ends[0].session, 11000, p.pipe.wall_ms));
    assert_closed(&p, 0, BLAZE_ETIMEOUT, false);
    pipe_take(&p.pipe, 0);
    pipe_deliver(&p.pipe, 0);
    pipe_run(&p.pipe, 1);
    assert_closed(&p, 1, BLAZE_ETIMEOUT, false);
    pair_release(&p);
}

static void silence_is_met_with_a_ping_and_then_with_the_end(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 15);
    pair_connect(&p);
    settle(&p);
    for (int i = 0; i < 10; i++) {
        pipe_sleep(&p.pipe);
        settle(&p);
        assert_true(pipe_live(&p.pipe));
    }
    assert_true(p.pipe.now_ms >= 1000 + 10 * 30000);
    /* Now the wire is dead: pings go nowhere. */
    uint64_t last = p.pipe.now_ms;
    while (pipe_status(&p.pipe, 0).phase != BZ_SESSION_CLOSED) {
        pipe_sleep(&p.pipe);
        for (int i = 0; i < 2; i++) {
            pipe_run(&p.pipe, i);
            pipe_take(&p.pipe, i);
            bz_buf_clear(&p.pipe.ends[i].wire);
        }
        assert_true(p.pipe.now_ms <= last + 60000);
    }
    assert_closed(&p, 0, BLAZE_ETIMEOUT, false);
    pair_release(&p);
}

static void a_farewell_is_understood(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 16);
    pair_connect(&p);
    settle(&p);
    bz_session_close(p.pipe.ends[0].session, BLAZE_OK, NULL);
    settle(&p);
    assert_closed(&p, 0, BLAZE_OK, false);
    assert_closed(&p, 1, BLAZE_OK, false);
    pipe_close(&p.pipe);
    pair_connect(&p);
    settle(&p);
    bz_session_close(p.pipe.ends[1].session, BLAZE_EBUSY, "going down for an hour");
    settle(&p);
    assert_closed(&p, 0, BLAZE_EBUSY, false);
    assert_string_equal(pipe_status(&p.pipe, 0).reason, "going down for an hour");
    pipe_close(&p.pipe);
    pair_connect(&p);
    settle(&p);
    char reason[300] = "x";
    while (strlen(reason) < 200)
        strcat(reason, "\xe2\x82\xac"); /* the limit falls within a character */
    bz_session_close(p.pipe.ends[1].session, BLAZE_EBUSY, reason);
    settle(&p);
    assert_closed(&p, 0, BLAZE_EBUSY, false);
    assert_int_equal(strlen(pipe_status(&p.pipe, 0).reason), 157);
    pair_release(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_empty_databases_are_live_at_once),
        cmocka_unit_test(what_each_has_alone_is_on_both_however_the_stream_is_cut),
        cmocka_unit_test(a_write_on_a_live_link_crosses_it_once_and_does_not_come_back),
        cmocka_unit_test(a_few_writes_on_a_live_link_are_pushed_and_many_are_left_to_a_run),
        cmocka_unit_test(a_small_chunk_is_applied_by_a_push_where_nobody_else_writes),
        cmocka_unit_test(a_large_chunk_is_left_to_a_run),
        cmocka_unit_test(concurrent_updates_of_one_record_meet_on_both_sides),
        cmocka_unit_test(a_second_session_sends_only_what_is_new),
        cmocka_unit_test(a_new_log_epoch_is_met_with_a_summary_and_nothing_is_sent_twice),
        cmocka_unit_test(a_cursor_past_the_end_of_a_rolled_back_log_starts_it_over),
        cmocka_unit_test(records_larger_than_chunk_and_window_get_through),
        cmocka_unit_test(live_is_never_said_before_all_of_the_start_is_on_both_sides),
        cmocka_unit_test(a_link_that_has_nothing_to_do_rests),
        cmocka_unit_test(an_interrupted_bootstrap_goes_on_and_repeats_at_most_a_window),
        cmocka_unit_test(a_cut_at_any_byte_leaves_both_databases_able_to_go_on),
        cmocka_unit_test(a_commit_that_fails_ends_the_session_and_the_next_one_goes_on),
        cmocka_unit_test(a_copy_that_must_not_go_on_is_not_tried_again),
        cmocka_unit_test(databases_that_should_be_equal_and_are_not_exchange_everything_once),
        cmocka_unit_test(a_slow_reader_does_not_pin_the_senders_snapshot),
        cmocka_unit_test(a_peer_that_says_nothing_is_given_up),
        cmocka_unit_test(a_handshake_given_up_by_the_other_end_is_no_breach),
        cmocka_unit_test(nor_is_one_given_up_by_the_end_that_connects),
        cmocka_unit_test(silence_is_met_with_a_ping_and_then_with_the_end),
        cmocka_unit_test(a_farewell_is_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

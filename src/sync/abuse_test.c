/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session against a peer that is let in and then misbehaves in every way that the frames allow.
 */
#include "puppet_test_util.h"
#include "sync/pack.h"

static const struct bz_chunk usual = {.more = true, .from = 0, .to = 10};

static void expect_ack(struct scene *s, uint64_t chunks, uint64_t position)
{
    struct bz_buf payload;
    struct bz_ack ack;
    bz_buf_init(&payload, 1000);
    expect_frame(s, BZ_FRAME_ACK, &payload);
    assert_int_equal(bz_ack_decode(bz_buf_bytes(&payload), &ack), 0);
    assert_int_equal(ack.chunks, chunks);
    assert_int_equal(ack.position, position);
    bz_buf_release(&payload);
}

static void an_honest_chunk_is_taken(void **state)
{
    (void)state;
    struct scene s;
    begin_scene(&s);
    shake_hands(&s, BZ_FRAME_CHANGES);
    define_usual(&s);
    add_record(&s, 1, 6, 5, 7);
    send_chunk(&s, usual);
    expect_ack(&s, 1, 10);
    assert_int_equal(s.fake->count, 2);
    assert_int_equal(status_of(&s).applied_records, 1);
    assert_int_equal(s.fake->peers[0].state.cursor, 10);
    assert_int_equal(s.fake->peers[0].state.reached, 0);
    end_scene(&s);
}

/* ---- chunks that have come together ---- */

/* Adds a chunk of one record, which is the peer's only write at its position, to `wire`. */
static void append_chunk(struct scene *s, struct bz_buf *wire, uint64_t from, uint64_t id)
{
    struct bz_buf body;
    bz_buf_init(&body, 10000);
    if (from == 0)
        define_usual(s);
    add_record(s, id, 6, 5, 7);
    body_into(s, &body);
    struct bz_chunk chunk = {.more = true,
        .from = from,
        .to = from + 10,
        .as_of = from + 10,
        .body = bz_buf_bytes(&body)};
    bz_chunk_encode(&s->out, &chunk);
    bz_frame_append(wire, BZ_FRAME_CHANGES, bz_buf_bytes(&s->out));
    bz_buf_clear(&s->out);
    bz_buf_release(&body);
}

static void begin_together(struct scene *s, struct bz_buf *wire, uint64_t count)
{
    begin_scene(s);
    shake_hands(s, BZ_FRAME_CHANGES);
    bz_buf_init(wire, 100000);
    for (uint64_t i = 0; i < count; i++)
        append_chunk(s, wire, i * 10, i + 2);
}

static void chunks_that_have_come_together_are_a_few_commits_and_acknowledged_after_each(
    void **state)
{
    (void)state;
    struct scene s;
    struct bz_buf wire;
    begin_together(&s, &wire, 6);
    deliver(&s, bz_buf_bytes(&wire));
    expect_ack(&s, 4, 40);
    expect_ack(&s, 6, 60);
    assert_int_equal(s.fake->commits, 2);
    assert_int_equal(s.fake->count, 7);
    assert_int_equal(s.fake->peers[0].state.cursor, 60);
    assert_int_equal(s.fake->open_applies, 0);
    bz_buf_release(&wire);
    end_scene(&s);
}

static void none_of_them_is_taken_if_a_later_one_is_malformed(void **state)
{
    (void)state;
    for (int how = 0; how < 2; how++) {
        struct scene s;
        struct bz_buf wire;
        begin_together(&s, &wire, 2);
        if (how == 0)
            append_chunk(&s, &wire, 30, 9); /* leaves something out */
        else
            bz_frame_append(&wire, BZ_FRAME_CHANGES, bz_bytes_text("rubbish"));
        deliver(&s, bz_buf_bytes(&wire));
        assert_ended(&s, BLAZE_EPROTO);
        assert_int_equal(s.fake->commits, 0);
        bz_buf_release(&wire);
        end_scene(&s);
    }
}

static void what_is_dropped_with_one_that_builds_on_what_is_gone_is_asked_for_again(void **state)
{
    (void)state;
    struct scene s;
    struct bz_buf wire, payload;
    struct bz_resume resume;
    begin_together(&s, &wire, 3);
    s.fake->torn = 4; /* in the last of them */
    deliver(&s, bz_buf_bytes(&wire));
    bz_buf_init(&payload, 1000);
    expect_frame(&s, BZ_FRAME_RESUME, &payload);
    assert_int_equal(bz_resume_decode(bz_buf_bytes(&payload), &resume), 0);
    assert_int_equal(resume.round, 1);
    assert_int_equal(resume.position, 0);
    assert_int_equal(s.fake->commits, 0);
    assert_int_equal(s.fake->open_applies, 0);
    assert_int_equal(status_of(&s).phase, BZ_SESSION_CATCHING_UP);
    bz_buf_release(&payload);
    bz_buf_release(&wire);
    end_scene(&s);
}

static void positions_that_do_not_follow_end_the_session(void **state)
{
    (void)state;
    static const struct bz_chunk bad[] = {
        {.more = true, .from = 5, .to = 10},            /* leaves something out */
        {.more = true, .from = 5, .to = 4},             /* backwards */
        {.more = true, .round = 1, .from = 0, .to = 4}, /* of a round never asked for */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct scene s;
        begin_scene(&s);
        shake_hands(&s, BZ_FRAME_CHANGES);
        define_usual(&s);
        add_record(&s, 1, 6, 5, 7);
        send_chunk(&s, bad[i]);
        assert_ended(&s, BLAZE_EPROTO);
        end_scene(&s);
    }
}

static void a_chunk_told_twice_ends_the_session(void **state)
{
    (void)state;
    struct scene s;
    begin_scene(&s);
    shake_hands(&s, BZ_FRAME_CHANGES);
    send_chunk(&s, usual);
    assert_int_equal(status_of(&s).phase, BZ_SESSION_CATCHING_UP);
    send_chunk(&s, usual);
    assert_ended(&s, BLAZE_EPROTO);
    end_scene(&s);
}

/* A log has no head that is older than one that it had. */
static void a_log_that_goes_back_ends_the_session(void **state)
{
    (void)state;
    for (uint64_t later = 19; later <= 20; later++) {
        struct scene s;
        begin_scene(&s);
        shake_hands(&s, BZ_FRAME_CHANGES);
        send_chunk(&s, (struct bz_chunk){.more = true, .to = 10, .as_of = 20});
        send_chunk(&s, (struct bz_chunk){.more = true, .from = 10, .to = 12, .as_of = later});
        if (later < 20)
            assert_ended(&s, BLAZE_EPROTO);
        else
            assert_int_equal(status_of(&s).phase, BZ_SESSION_CATCHING_UP);
        assert_int_equal(s.fake->peers[0].state.as_of, 20);
        end_scene(&s);
    }
}

static void numbers_without_a_definition_end_the_session(void **state)
{
    (void)state;
    static const uint32_t numbers[][3] = {{9, 5, 7}, {6, 9, 7}, {6, 5, 9}, {6, 5, 1u << 21}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct scene s;
        begin_scene(&s);
        shake_hands(&s, BZ_FRAME_CHANGES);
        define_usual(&s);
        add_record(&s, 1, numbers[i][0], numbers[i][1], numbers[i][2]);
        send_chunk(&s, usual);
        assert_ended(&s, BLAZE_EPROTO);
        end_scene(&s);
    }
}

static void definitions_that_cannot_be_end_the_session(void **state)
{
    (void)state;
    blaze_id node = fake_id(1);
    char longer[300];
    memset(longer, 'x', sizeof longer);
    const struct {
        enum bz_term term;
        uint32_t number;
        struct bz_bytes meaning;
    } bad[] = {
        {BZ_TERM_FIELD, 7, bz_bytes_text("again")}, /* defined by define_usual() */
        {BZ_TERM_FIELD, 8, bz_bytes_text("")},
        {BZ_TERM_FIELD, 8, bz_bytes(longer, 256)},
        {BZ_TERM_FIELD, 8, bz_bytes_text("\xff\xfe")},
        {BZ_TERM_COLLECTION, 8, bz_bytes("a\0b", 3)},
        {BZ_TERM_NODE, 8, bz_bytes(&node, 15)},
        {(enum bz_term)3, 8, bz_bytes_text("what")},
        {BZ_TERM_FIELD, BZ_TERMS_DEFINED_MAX, bz_bytes_text("far")},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct scene s;
        begin_scene(&s);
        shake_hands(&s, BZ_FRAME_CHANGES);
        define_usual(&s);
        define(&s, bad[i].term, bad[i].number, bad[i].meaning);
        send_chunk(&s, usual);
        assert_ended(&s, BLAZE_EPROTO);
        end_scene(&s);
    }
}

static void two_numbers_for_one_node_in_a_record_end_the_session(void **state)
{
    (void)state;
    struct scene s;
    begin_scene(&s);
    shake_hands(&s, BZ_FRAME_CHANGES);
    define_usual(&s);
    blaze_id node = fake_id(1);
    define(&s, BZ_TERM_NODE, 8, bz_bytes(&node, 16));
    struct bz_arena arena;
    bz_arena_init(&arena);
    struct bz_rec rec;
    struct bz_write write = {.dot = {8, 3}, .stamp = 9, .alive = true};
    struct bz_dot seen = {5, 1};
    assert_int_equal(bz_rec_put(&arena, NULL, &write, &rec), 0);
    struct bz_dot both[2] = {seen, write.dot};
    rec.rvv = (struct bz_vv){both, 2};
    struct bz_buf bytes;
    bz_buf_init(&bytes, 1000);
    bz_rec_encode(&bytes, &rec, 0);
    struct bz_record record = {6, false, fake_id(1), bz_buf_bytes(&bytes)};
    bz_record_append(&s.recorded, &record);
    s.records++;
    send_chunk(&s, usual);
    assert_ended(&s, BLAZE_EPROTO);
    bz_buf_release(&bytes);
    bz_arena_release(&arena);
    end_scene(&s);
}

static void counts_and_sizes_that_lie_end_the_session(void **state)
{
    (void)state;
    for (int lie = 0; lie < 6; lie++) {
        struct scene s;
        begin_scene(&s);
        shake_hands(&s, BZ_FRAME_CHANGES);
        define_usual(&s);
        add_record(&s, 1, 6, 5, 7);
        struct bz_chunk chunk = usual;
        switch (lie) {
        case 0:
            s.records = 2;
            break;
        case 1:
            s.records = UINT64_MAX;
            break;
        case 2:
            s.definitions++;
            break;
        case 3: /* bytes after the end */
            bz_buf_append(&s.recorded, "more", 4);
            break;
        case 4: /* a head is promised and not there */
            chunk.more = false;
            break;
        case 5:
            s.recorded.data[s.recorded.size - 5] ^= 0x40; /* within the document */
            break;
        }
        send_chunk(&s, chunk);
        assert_ended(&s, BLAZE_EPROTO);
        end_scene(&s);
    }
}

static void a_head_with_entries_out_of_order_ends_the_session(void **state)
{
    (void)state;
    static const struct bz_dot bad[][2] = {{{8, 1}, {5, 1}}, {{5, 1}, {5, 2}}, {{5, 1}, {9, 1}}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct scene s;
        begin_scene(&s);
        shake_hands(&s, BZ_FRAME_CHANGES);
        define_usual(&s);
        blaze_id node = fake_id(4);
        define(&s, BZ_TERM_NODE, 8, bz_bytes(&node, 16));
        struct bz_buf body;
        bz_buf_init(&body, 1000);
        body_into(&s, &body);
        bz_head_append(&body, &(struct bz_body_head){0}, 2);
        bz_head_append_entry(&body, bad[i][0]);
        bz_head_append_entry(&body, bad[i][1]);
        send_chunk(&s, (struct bz_chunk){.to = 10, .body = bz_buf_bytes(&body)});
        assert_ended(&s, BLAZE_EPROTO);
        bz_buf_release(&body);
        end_scene(&s);
    }
}

static void decompressed_sizes_that_lie_end_the_session(void **state)
{
    (void)state;
    for (int lie = 0; lie < 5; lie++) {
        struct scene s;
        begin_scene(&s);
        shake_hands(&s, BZ_FRAME_CHANGES);
        define_usual(&s);
        for (uint64_t i = 1; i < 50; i++)
            add_record(&s, i, 6, 5, 7);
        struct bz_buf body, packed;
        struct bz_packer packer = {0};
        bz_buf_init(&body, 1u << 20);
        bz_buf_init(&packed, 1u << 20);
        body_into(&s, &body);
        assert_true(bz_pack(&packer, BZ_PACKING_ZSTD, true, bz_buf_bytes(&body), &packed) ==
                    BZ_PACKING_ZSTD);
        struct bz_chunk chunk = {.packing = BZ_PACKING_ZSTD, .more = true, .to = 10};
        chunk.raw_size = (uint64_t[]){
            body.size - 1, body.size + 1, 0, (uint64_t)BZ_FRAME_MAX + 1, UINT64_MAX}[lie];
        chunk.body = bz_buf_bytes(&packed);
        send_chunk(&s, chunk);
        assert_ended(&s, BLAZE_EPROTO);
        bz_packer_release(&packer);
        bz_buf_release(&body);
        bz_buf_release(&packed);
        end_scene(&s);
    }
}

static void a_chunk_that_is_not_packed_as_it_says_ends_the_session(void **state)
{
    (void)state;
    for (int packing = BZ_PACKING_LZ4; packing <= BZ_PACKING_ZSTD_ON; packing++) {
        struct scene s;
        begin_scene(&s);
        shake_hands(&s, BZ_FRAME_CHANGES);
        send_chunk(&s, (struct bz_chunk){.packing = (enum bz_packing)packing,
                           .more = true,
                           .to = 10,
                           .raw_size = 1000,
                           .body = bz_bytes_text("nothing that ever was compressed")});
        assert_ended(&s, BLAZE_EPROTO);
        end_scene(&s);
    }
}

/* Sends what was gathered, as part of a stream. */
static void send_packed(struct scene *s, struct bz_packer *packer, uint64_t from)
{
    struct bz_buf body, packed;
    bz_buf_init(&body, 1u << 20);
    bz_buf_init(&packed, 1u << 20);
    body_into(s, &body);
    struct bz_chunk chunk = {
        .packing = bz_pack(packer, BZ_PACKING_ZSTD, false, bz_buf_bytes(&body), &packed),
        .more = true,
        .from = from,
        .to = from + 10,
        .raw_size = body.size,
        .body = bz_buf_bytes(&packed)};
    assert_int_not_equal(chunk.packing, BZ_PACKING_NONE);
    send_chunk(s, chunk);
    bz_buf_release(&body);
    bz_buf_release(&packed);
}

static void a_stream_does_not_go_on_after_it_was_given_up(void **state)
{
    (void)state;
    for (int rest = 0; rest < 2; rest++) {
        struct scene s;
        struct bz_packer packer = {0};
        begin_scene(&s);
        shake_hands(&s, BZ_FRAME_CHANGES);
        define_usual(&s);
        for (uint64_t i = 1; i < 20; i++)
            add_record(&s, i, 6, 5, 7);
        send_packed(&s, &packer, 0);
        assert_int_not_equal(status_of(&s).phase, BZ_SESSION_CLOSED);
        if (rest)
            send_frame(&s, BZ_FRAME_REST);
        for (uint64_t i = 1; i < 20; i++)
            add_record(&s, i + 50, 6, 5, 7);
        send_packed(&s, &packer, 10);
        assert_int_equal(status_of(&s).code, rest ? BLAZE_EPROTO : 0);
        bz_packer_release(&packer);
        end_scene(&s);
    }
}

static void sending_beyond_the_credit_ends_the_session(void **state)
{
    (void)state;
    struct scene s;
    begin_scene(&s);
    shake_hands(&s, BZ_FRAME_CHANGES);
    struct bz_buf wire, body;
    bz_buf_init(&wire, 1u << 20);
    bz_buf_init(&body, 1u << 20);
    body_into(&s, &body);
    /* Many chunks in one go, without waiting for a single acknowledgement. */
    for (uint64_t i = 0; wire.size <= 4100; i++) {
        bz_buf_clear(&s.out);
        struct bz_chunk chunk = {
            .more = true, .from = i, .to = i + 1, .as_of = i + 1, .body = bz_buf_bytes(&body)};
        bz_chunk_encode(&s.out, &chunk);
        bz_frame_append(&wire, BZ_FRAME_CHANGES, bz_buf_bytes(&s.out));
    }
    deliver(&s, bz_buf_bytes(&wire));
    assert_ended(&s, BLAZE_EPROTO);
    bz_buf_release(&wire);
    bz_buf_release(&body);
    end_scene(&s);
}

static void lengths_beyond_the_limits_end_the_session_at_the_header(void **state)
{
    (void)state;
    static const struct {
        enum bz_frame_type until;
        uint64_t length;
        uint8_t type;
    } bad[] = {
        {BZ_FRAME_HELLO, 4097, BZ_FRAME_HELLO},
        {BZ_FRAME_HELLO, 4097, 0xff},
        {BZ_FRAME_PROOF, 5000, BZ_FRAME_CHANGES},
        {BZ_FRAME_WELCOME, 300 << 10, BZ_FRAME_RESUME},
        {BZ_FRAME_CHANGES, BZ_FRAME_MAX + 1, BZ_FRAME_CHANGES},
        {BZ_FRAME_CHANGES, 300 << 10, BZ_FRAME_ACK},
        {BZ_FRAME_CHANGES, 300 << 10, 0x80},
        {BZ_FRAME_CHANGES, (uint64_t)1 << 40, BZ_FRAME_CHANGES},
        {BZ_FRAME_CHANGES, 0, 0},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct scene s;
        begin_scene(&s);
        shake_hands(&s, bad[i].until);
        struct bz_buf header;
        bz_buf_init(&header, 20);
        bz_buf_append_varint(&header, bad[i].length);
        bz_buf_append8(&header, bad[i].type);
        deliver(&s, bz_buf_bytes(&header));
        assert_ended(&s, BLAZE_EPROTO);
        bz_buf_release(&header);
        end_scene(&s);
    }
}

static void a_length_that_is_not_canonical_ends_the_session(void **state)
{
    (void)state;
    struct scene s;
    begin_scene(&s);
    shake_hands(&s, BZ_FRAME_CHANGES);
    deliver(&s, bz_bytes("\x82\x00\x09\x01", 4));
    assert_ended(&s, BLAZE_EPROTO);
    end_scene(&s);
}

static void an_unknown_frame_is_skipped_if_it_may_be(void **state)
{
    (void)state;
    static const enum bz_frame_type moments[] = {
        BZ_FRAME_HELLO, BZ_FRAME_PROOF, BZ_FRAME_WELCOME, BZ_FRAME_RESUME, BZ_FRAME_CHANGES};
    for (size_t i = 0; i < sizeof moments / sizeof *moments; i++) {
        struct scene s;
        begin_scene(&s);
        shake_hands(&s, moments[i]);
        bz_buf_append(&s.out, "from the future", 15);
        send_frame(&s, BZ_FRAME_OPTIONAL | 42);
        assert_int_not_equal(status_of(&s).phase, BZ_SESSION_CLOSED);
        bz_buf_append(&s.out, "from the future", 15);
        send_frame(&s, 42);
        assert_ended(&s, BLAZE_EPROTO);
        end_scene(&s);
    }
}

static void frames_out_of_turn_end_the_session(void **state)
{
    (void)state;
    static const enum bz_frame_type steps[] = {
        BZ_FRAME_HELLO, BZ_FRAME_PROOF, BZ_FRAME_WELCOME, BZ_FRAME_RESUME, BZ_FRAME_CHANGES};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        for (uint8_t type = BZ_FRAME_HELLO; type <= BZ_FRAME_PONG; type++) {
            bool open = steps[i] == BZ_FRAME_CHANGES;
            if (type == steps[i] || type == BZ_FRAME_REFUSE || (open && type >= BZ_FRAME_RESUME))
                continue;
            struct scene s;
            begin_scene(&s);
            shake_hands(&s, steps[i]);
            send_frame(&s, type);
            assert_ended(&s, BLAZE_EPROTO);
            end_scene(&s);
        }
    }
}

static void acknowledging_what_was_not_sent_ends_the_session(void **state)
{
    (void)state;
    static const struct bz_ack bad[] = {{5, 1, 1000}, {1, 9, 1000}, {UINT64_MAX, 1, 1000}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct scene s;
        begin_scene(&s);
        shake_hands(&s, BZ_FRAME_CHANGES); /* one chunk was sent, up to position 1 */
        bz_ack_encode(&s.out, &bad[i]);
        send_frame(&s, BZ_FRAME_ACK);
        assert_ended(&s, BLAZE_EPROTO);
        end_scene(&s);
    }
}

static void asking_again_and_again_ends_the_session(void **state)
{
    (void)state;
    struct scene s;
    begin_scene(&s);
    shake_hands(&s, BZ_FRAME_CHANGES);
    for (uint64_t round = 1; round < 10; round++) {
        struct bz_resume resume = {.round = round, .epoch = s.fake->identity.epoch};
        bz_resume_encode(&s.out, &resume);
        send_frame(&s, BZ_FRAME_RESUME);
        bz_session_sent(s.session, bz_session_output(s.session).size);
        if (status_of(&s).phase == BZ_SESSION_CLOSED)
            break;
    }
    assert_int_equal(status_of(&s).code, BLAZE_EPROTO);
    end_scene(&s);
}

static void a_farewell_in_other_words_is_understood(void **state)
{
    (void)state;
    struct scene s;
    begin_scene(&s);
    shake_hands(&s, BZ_FRAME_CHANGES);
    bz_buf_append_varint(&s.out, 777); /* a code that this version does not know */
    bz_buf_append8(&s.out, 0xff);
    bz_buf_append_sized(&s.out, bz_bytes_text("so\nlong"));
    bz_buf_append(&s.out, "later fields", 12);
    send_frame(&s, BZ_FRAME_BYE);
    struct bz_session_status status = status_of(&s);
    assert_int_equal(status.phase, BZ_SESSION_CLOSED);
    assert_int_equal(status.code, BLAZE_EPROTO);
    assert_string_equal(status.reason, "so long");
    assert_int_equal(bz_session_output(s.session).size, 0);
    end_scene(&s);
}

static void rubbish_from_a_stranger_ends_before_it_costs_memory(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int i = 0; i < 2000; i++) {
        struct scene s;
        begin_scene(&s);
        uint8_t noise[3000];
        fake_random(&(struct fake_keys){.random = seed++}, noise, sizeof noise);
        for (int k = 0; k < 10; k++)
            deliver(&s, bz_bytes(noise + 300 * k, 300));
        struct bz_session_status status = status_of(&s);
        /* Some lengths within the limit are waited for: then the deadline ends it. */
        if (status.phase != BZ_SESSION_CLOSED)
            bz_session_run(s.session, 11000, 1700000000000u);
        status = status_of(&s);
        assert_int_equal(status.phase, BZ_SESSION_CLOSED);
        assert_false(status.peer_is_member);
        assert_int_equal(s.fake->open_walks + s.fake->open_applies, 0);
        end_scene(&s);
    }
}

/* Its walk is at the peer's door, with more than one chunk to come. */
static void begin_long_walk(struct scene *s)
{
    begin_scene(s);
    for (uint64_t id = 2; id < 100; id++)
        fake_write(s->fake, "notes", id, "text", bz_bytes_text("one of many, in several chunks"));
    shake_hands(s, BZ_FRAME_CHANGES);
}

/* The database could not be cleaned up behind a snapshot that a peer holds by not reading; and who
 * waits must not be called again and again in vain. */
static void a_peer_that_does_not_read_holds_nothing_and_is_given_up_in_time(void **state)
{
    (void)state;
    struct scene s;
    begin_long_walk(&s);
    bz_session_run(s.session, 1000, 1700000000000u);
    assert_true(bz_session_output(s.session).size > 0);
    assert_int_equal(s.fake->open_walks, 1);

    uint64_t now = 1000, next = bz_session_wait(s.session, now);
    for (unsigned calls = 0; next != UINT64_MAX; calls++) {
        assert_true(next > now && calls < 5);
        assert_int_equal(status_of(&s).phase, BZ_SESSION_CATCHING_UP);
        now = next;
        next = bz_session_wait(s.session, now);
        assert_int_equal(s.fake->open_walks, 0);
    }
    assert_int_equal(status_of(&s).phase, BZ_SESSION_CLOSED);
    assert_int_equal(status_of(&s).code, BLAZE_ETIMEOUT);
    end_scene(&s);
}

static void who_is_waited_for_goes_on_where_it_stood(void **state)
{
    (void)state;
    struct scene s;
    begin_long_walk(&s);
    bz_session_run(s.session, 1000, 1700000000000u);
    bz_session_wait(s.session, bz_session_wait(s.session, 1000));
    assert_int_equal(s.fake->open_walks, 0);
    do
        bz_session_sent(s.session, bz_session_output(s.session).size);
    while (bz_session_run(s.session, 3000, 1700000000000u));
    assert_true(status_of(&s).sent_records > 10);
    assert_int_equal(status_of(&s).phase, BZ_SESSION_CATCHING_UP);
    end_scene(&s);
}

static void who_reads_slowly_is_not_taken_for_silent(void **state)
{
    (void)state;
    struct scene s;
    begin_long_walk(&s);
    for (uint64_t now = 1000; now < 300000; now += 40000) {
        bz_session_run(s.session, now, 1700000000000u);
        assert_true(bz_session_output(s.session).size > 0);
        bz_session_wait(s.session, now);
        bz_session_wait(s.session, now + 30000);
        bz_session_sent(s.session, 1);
        assert_int_equal(status_of(&s).phase, BZ_SESSION_CATCHING_UP);
    }
    end_scene(&s);
}

/* As a driver does that cannot give output away. */
static void more_control_frames_than_are_dealt_with_end_the_session(void **state)
{
    (void)state;
    static const uint8_t ping[] = {2, BZ_FRAME_PING, 1};
    struct scene s;
    begin_scene(&s);
    shake_hands(&s, BZ_FRAME_CHANGES);
    uint32_t fit = (512u << 10) / sizeof ping;
    for (uint32_t i = 0; i < fit; i++)
        bz_session_receive(s.session, bz_bytes(ping, sizeof ping), 1000);
    assert_int_not_equal(status_of(&s).phase, BZ_SESSION_CLOSED);

    /* Those that were dealt with make room. */
    bz_session_run(s.session, 1000, 1700000000000u);
    bz_session_receive(s.session, bz_bytes(ping, sizeof ping), 1000);
    assert_int_not_equal(status_of(&s).phase, BZ_SESSION_CLOSED);
    for (uint32_t i = 0; i < 100; i++)
        bz_session_receive(s.session, bz_bytes(ping, sizeof ping), 1000);
    assert_ended(&s, BLAZE_EPROTO);
    end_scene(&s);
}

static const uint8_t somebody[] = "\0an id of a node.\5"; /* HAVE of a new node 0 by 5 */

static void words_of_lazy_links_that_cannot_be_end_the_session(void **state)
{
    (void)state;
    static const struct {
        uint8_t type;
        struct bz_bytes payload;
        int code;
    } words[] = {
        {BZ_FRAME_HAVE, {somebody, 18}, 0},
        {BZ_FRAME_HAVE, {NULL, 0}, 0},
        {BZ_FRAME_HAVE, {somebody, 17}, BLAZE_EPROTO},
        {BZ_FRAME_HAVE, {somebody, 1}, BLAZE_EPROTO},
        {BZ_FRAME_HAVE, {(const uint8_t *)"\3\5", 2}, BLAZE_EPROTO},
        {BZ_FRAME_HAVE, {(const uint8_t *)"\0an id of a node.\0", 18}, BLAZE_EPROTO},
        {BZ_FRAME_HAVE,
            {(const uint8_t *)"\0an id of a node.\1\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 29},
            BLAZE_EPROTO},
        {BZ_FRAME_PACE, {(const uint8_t *)"\1", 1}, 0},
        {BZ_FRAME_PACE, {(const uint8_t *)"\xfelater", 6}, 0},
        {BZ_FRAME_PACE, {NULL, 0}, BLAZE_EPROTO},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        for (int spoken = 0; spoken < 2; spoken++) {
            struct scene s;
            begin_scene(&s);
            if (!spoken)
                s.features &= ~(uint64_t)BZ_FEATURE_LAZY;
            shake_hands(&s, BZ_FRAME_CHANGES);
            bz_buf_append(&s.out, words[i].payload.data, words[i].payload.size);
            send_frame(&s, words[i].type);
            if (spoken && words[i].code == 0)
                assert_int_not_equal(status_of(&s).phase, BZ_SESSION_CLOSED);
            else
                assert_ended(&s, BLAZE_EPROTO);
            end_scene(&s);
        }
    }
}

static void no_more_nodes_are_named_than_there_is_room_for(void **state)
{
    (void)state;
    struct scene s;
    begin_scene(&s);
    shake_hands(&s, BZ_FRAME_CHANGES);
    for (uint32_t i = 0; i <= BZ_HAVE_MAX; i++) {
        assert_int_not_equal(status_of(&s).phase, BZ_SESSION_CLOSED);
        bz_buf_append_varint(&s.out, i);
        bz_buf_append(&s.out, &(blaze_id){{(uint8_t)i, (uint8_t)(i >> 8)}}, 16);
        bz_buf_append8(&s.out, 1);
        send_frame(&s, BZ_FRAME_HAVE);
    }
    assert_ended(&s, BLAZE_EPROTO);
    end_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_honest_chunk_is_taken),
        cmocka_unit_test(
            chunks_that_have_come_together_are_a_few_commits_and_acknowledged_after_each),
        cmocka_unit_test(none_of_them_is_taken_if_a_later_one_is_malformed),
        cmocka_unit_test(what_is_dropped_with_one_that_builds_on_what_is_gone_is_asked_for_again),
        cmocka_unit_test(positions_that_do_not_follow_end_the_session),
        cmocka_unit_test(a_chunk_told_twice_ends_the_session),
        cmocka_unit_test(a_log_that_goes_back_ends_the_session),
        cmocka_unit_test(numbers_without_a_definition_end_the_session),
        cmocka_unit_test(definitions_that_cannot_be_end_the_session),
        cmocka_unit_test(two_numbers_for_one_node_in_a_record_end_the_session),
        cmocka_unit_test(counts_and_sizes_that_lie_end_the_session),
        cmocka_unit_test(a_head_with_entries_out_of_order_ends_the_session),
        cmocka_unit_test(decompressed_sizes_that_lie_end_the_session),
        cmocka_unit_test(a_chunk_that_is_not_packed_as_it_says_ends_the_session),
        cmocka_unit_test(a_stream_does_not_go_on_after_it_was_given_up),
        cmocka_unit_test(sending_beyond_the_credit_ends_the_session),
        cmocka_unit_test(lengths_beyond_the_limits_end_the_session_at_the_header),
        cmocka_unit_test(a_length_that_is_not_canonical_ends_the_session),
        cmocka_unit_test(an_unknown_frame_is_skipped_if_it_may_be),
        cmocka_unit_test(frames_out_of_turn_end_the_session),
        cmocka_unit_test(acknowledging_what_was_not_sent_ends_the_session),
        cmocka_unit_test(asking_again_and_again_ends_the_session),
        cmocka_unit_test(a_farewell_in_other_words_is_understood),
        cmocka_unit_test(words_of_lazy_links_that_cannot_be_end_the_session),
        cmocka_unit_test(no_more_nodes_are_named_than_there_is_room_for),
        cmocka_unit_test(a_peer_that_does_not_read_holds_nothing_and_is_given_up_in_time),
        cmocka_unit_test(who_is_waited_for_goes_on_where_it_stood),
        cmocka_unit_test(who_reads_slowly_is_not_taken_for_silent),
        cmocka_unit_test(more_control_frames_than_are_dealt_with_end_the_session),
        cmocka_unit_test(rubbish_from_a_stranger_ends_before_it_costs_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

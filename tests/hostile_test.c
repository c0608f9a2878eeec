/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hub on a real database, an honest peer, and one that is let in and then does what it should
 * not: its session ends with a reason, the hub's database is as it was, and the honest one does not
 * notice.
 */
#include "sync_world.h"

#include "sync/frame.h"

#define FOREVER 1000

struct attack {
    const char *what;
    int code; /* what the hub's session ends with */
    void (*act)(struct world *w, struct link *l);
};

static void tell_hub(struct link *l, struct bz_bytes bytes)
{
    struct session_end *hub = &l->pipe.ends[0];
    uint8_t *copy = malloc(bytes.size + 1); /* so that reading past the end is seen */
    if (bytes.size > 0)
        memcpy(copy, bytes.data, bytes.size);
    bz_session_receive(hub->session, bz_bytes(copy, bytes.size), l->pipe.now_ms);
    free(copy);
    while (bz_session_run(hub->session, l->pipe.now_ms, l->pipe.wall_ms))
        ;
}

static void send_payload(struct link *l, uint8_t type, struct bz_buf *payload)
{
    struct bz_buf frame;
    bz_buf_init(&frame, 1u << 20);
    bz_frame_append(&frame, type, bz_buf_bytes(payload));
    tell_hub(l, bz_buf_bytes(&frame));
    bz_buf_release(&frame);
    bz_buf_release(payload);
}

static void an_empty_frame(struct world *w, struct link *l)
{
    (void)w;
    tell_hub(l, bz_bytes("\0", 1));
}

static void a_length_beyond_any(struct world *w, struct link *l)
{
    (void)w;
    tell_hub(l, bz_bytes("\xff\xff\xff\x7f\x07", 5));
}

static void a_frame_cut_short_by_the_next(struct world *w, struct link *l)
{
    (void)w;
    tell_hub(l, bz_bytes("\x08\x08\x01", 3));
    tell_hub(l, bz_bytes("\x02\x09\x01\x02\x09\x02\x00\x00\x00", 9));
}

static void the_handshake_again(struct world *w, struct link *l)
{
    struct bz_buf payload;
    (void)w;
    bz_buf_init(&payload, 1000);
    bz_hello_encode(&payload,
        &(struct bz_hello){
            .version_min = 1, .version_max = 1, .database = fake_id(7), .node = fake_id(77)});
    send_payload(l, BZ_FRAME_HELLO, &payload);
}

static void a_frame_of_a_later_version(struct world *w, struct link *l)
{
    (void)w;
    tell_hub(l, bz_bytes("\x03\x7e??", 4));
}

static void an_acknowledgement_of_nothing(struct world *w, struct link *l)
{
    struct bz_buf payload;
    (void)w;
    bz_buf_init(&payload, 1000);
    bz_ack_encode(&payload, &(struct bz_ack){.chunks = 1u << 20, .position = 1, .window = 1});
    send_payload(l, BZ_FRAME_ACK, &payload);
}

static void changes_from_elsewhere(struct world *w, struct link *l)
{
    struct bz_buf payload;
    (void)w;
    bz_buf_init(&payload, 1000);
    bz_chunk_encode(&payload, &(struct bz_chunk){.more = true,
                                  .from = 1u << 20,
                                  .to = 1u << 21,
                                  .as_of = 1u << 21,
                                  .body = bz_bytes("\0", 2)});
    send_payload(l, BZ_FRAME_CHANGES, &payload);
}

static void counts_that_lie(struct world *w, struct link *l)
{
    struct bz_buf payload;
    (void)w;
    bz_buf_init(&payload, 1000);
    struct bz_chunk chunk = {.more = true,
        .from = pipe_status(&l->pipe, 1).position_acked,
        .body = bz_bytes("\xff\xff\xff\xff\x0f\0", 6)};
    chunk.to = chunk.as_of = chunk.from + 1;
    bz_chunk_encode(&payload, &chunk);
    send_payload(l, BZ_FRAME_CHANGES, &payload);
}

static void a_claim_to_have_nobodys_writes(struct world *w, struct link *l)
{
    (void)w;
    tell_hub(l, bz_bytes("\x03\x10\x05\x01", 4));
}

/* Edits until one has an effect: deletes may find nothing. */
static void write_something(struct world *w, struct site *site)
{
    uint64_t before = bz_db_position(site->db);
    while (bz_db_position(site->db) == before)
        edit(w, site);
}

static void the_same_chunk_again(struct world *w, struct link *l)
{
    static struct bz_buf sent;
    bz_buf_init(&sent, 1u << 20);
    write_something(w, l->ends[1]);
    pipe_wake(&l->pipe);
    pipe_run(&l->pipe, 1);
    struct bz_bytes out = bz_session_output(l->pipe.ends[1].session);
    bz_buf_append(&sent, out.data, out.size);
    bz_session_sent(l->pipe.ends[1].session, out.size);
    tell_hub(l, bz_buf_bytes(&sent));
    assert_int_not_equal(pipe_status(&l->pipe, 0).phase, BZ_SESSION_CLOSED);
    tell_hub(l, bz_buf_bytes(&sent));
    bz_buf_release(&sent);
}

static void rubbish_for_ever(struct world *w, struct link *l)
{
    uint8_t noise[4096];
    for (int i = 0; i < FOREVER && pipe_status(&l->pipe, 0).phase != BZ_SESSION_CLOSED; i++) {
        rng_fill(&w->rng, noise, sizeof noise);
        noise[0] |= 0x80; /* not a frame to be skipped at the very start */
        tell_hub(l, bz_bytes(noise, sizeof noise));
    }
}

static void nothing_for_ever(struct world *w, struct link *l)
{
    (void)w;
    for (int i = 0; i < 4; i++) {
        l->pipe.now_ms = bz_session_deadline(l->pipe.ends[0].session);
        bz_session_run(l->pipe.ends[0].session, l->pipe.now_ms, l->pipe.wall_ms);
        if (pipe_status(&l->pipe, 0).phase == BZ_SESSION_CLOSED)
            break;
    }
}

static void a_byte_a_second_of_a_frame_without_end(struct world *w, struct link *l)
{
    (void)w;
    tell_hub(l, bz_bytes("\xff\xff\x3f\x07", 4)); /* CHANGES of a mebibyte */
    for (int i = 0; i < FOREVER && pipe_status(&l->pipe, 0).phase != BZ_SESSION_CLOSED; i++) {
        l->pipe.now_ms += 1000;
        tell_hub(l, bz_bytes("x", 1));
    }
}

static void writes_of_the_next_century(struct world *w, struct link *l)
{
    static uint64_t ahead;
    ahead = w->wall_ms + 80ull * 365 * 24 * 3600 * 1000;
    l->ends[1]->wall_ms = &ahead;
    write_something(w, l->ends[1]);
    pipe_wake(&l->pipe);
    pipe_settle(&l->pipe, STEPS);
}

static const struct attack attacks[] = {
    {"an empty frame", BLAZE_EPROTO, an_empty_frame},
    {"a length beyond any", BLAZE_EPROTO, a_length_beyond_any},
    {"a frame cut short by the next", BLAZE_EPROTO, a_frame_cut_short_by_the_next},
    {"the handshake again", BLAZE_EPROTO, the_handshake_again},
    {"a frame of a later version", BLAZE_EPROTO, a_frame_of_a_later_version},
    {"an acknowledgement of nothing", BLAZE_EPROTO, an_acknowledgement_of_nothing},
    {"changes from elsewhere", BLAZE_EPROTO, changes_from_elsewhere},
    {"counts that lie", BLAZE_EPROTO, counts_that_lie},
    {"a claim to have nobody's writes", BLAZE_EPROTO, a_claim_to_have_nobodys_writes},
    {"the same chunk again", BLAZE_EPROTO, the_same_chunk_again},
    {"rubbish for ever", BLAZE_EPROTO, rubbish_for_ever},
    {"nothing for ever", BLAZE_ETIMEOUT, nothing_for_ever},
    {"a byte a second", BLAZE_ETIMEOUT, a_byte_a_second_of_a_frame_without_end},
    {"writes of the next century", BLAZE_ECLOCK, writes_of_the_next_century},
};

static void one_attack(const struct attack *attack, uint64_t seed)
{
    struct world *w = malloc(sizeof *w);
    struct bz_db_state before, after;
    struct version version;
    world_open(w, seed, STAR, 3);
    struct link *honest = &w->link[0], *hostile = &w->link[1];
    for (uint32_t i = 0; i < 3; i++)
        edit(w, &w->site[i]);
    all_links(w);
    settle(w);
    bool writes = attack->act == the_same_chunk_again;
    load(&w->site[0], &before, &version);
    attack->act(w, hostile);
    struct bz_session_status status = pipe_status(&hostile->pipe, 0);
    if (status.phase != BZ_SESSION_CLOSED || status.code != attack->code)
        print_message("%s: %s: %s\n", attack->what, blaze_error_name(status.code), status.reason);
    assert_int_equal(status.phase, BZ_SESSION_CLOSED);
    assert_int_equal(status.code, attack->code);
    assert_true(status.reason[0] != '\0');
    load(&w->site[0], &after, &version);
    assert_true(writes || (before.digest.low == after.digest.low && before.seq == after.seq));
    assert_int_equal(bz_db_check(w->site[0].db, NULL, NULL, NULL), 0);
    link_down(hostile);
    /* The honest one goes on. */
    for (int i = 0; i < 5; i++) {
        edit(w, &w->site[(unsigned)i % 2]);
        pipe_wake(&honest->pipe);
        assert_true(pipe_settle(&honest->pipe, STEPS) < STEPS);
    }
    assert_true(pipe_live(&honest->pipe));
    load(&w->site[0], &before, &version);
    load(&w->site[1], &after, &version);
    assert_true(before.digest.low == after.digest.low && before.digest.high == after.digest.high);
    /* And so may the other, once it behaves; what it wrote under a false clock stays its own. */
    if (attack->act != writes_of_the_next_century) {
        all_links(w);
        settle(w);
        assert_equal(w);
    }
    world_close(w);
    free(w);
}

static void whatever_a_peer_does_ends_its_session_and_no_other(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++)
        one_attack(&attacks[i], seed + i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_a_peer_does_ends_its_session_and_no_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

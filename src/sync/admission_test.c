/* SPDX-License-Identifier: Apache-2.0 */
/* Who is let in, and what becomes of a wire that somebody disturbs. */
#include "sync/pair_test_util.h"

/* ---- who may in ---- */

static void another_key_is_refused_at_once_and_for_good(void **state)
{
    (void)state;
    for (int member = 0; member < 2; member++) {
        struct pair p;
        pair_init(&p, 17);
        write_text(p.fakes[0], 1, "text", "planted");
        write_text(p.fakes[1], 2, "text", "planted");
        if (member)
            p.keys[0].member = 99;
        else
            p.keys[0].access = 99;
        pair_connect(&p);
        settle(&p);
        assert_closed(&p, 0, BLAZE_EAUTH, true);
        assert_closed(&p, 1, BLAZE_EAUTH, true);
        assert_int_equal(p.fakes[0]->commits + p.fakes[1]->commits, 0);
        pair_release(&p);
    }
}

static void a_peer_with_the_access_key_alone_that_does_not_say_so_is_refused(void **state)
{
    (void)state;
    for (int end = 0; end < 2; end++) {
        struct pair p;
        pair_init(&p, 18);
        p.keys[end].member = 0;
        write_text(p.fakes[!end], 1, "text", "planted");
        pair_connect(&p);
        settle(&p);
        assert_closed(&p, 0, BLAZE_EAUTH, true);
        assert_closed(&p, 1, BLAZE_EAUTH, true);
        assert_int_equal(p.fakes[0]->commits + p.fakes[1]->commits, 0);
        pair_release(&p);
    }
}

static void a_blind_peer_that_claims_to_be_a_member_is_refused(void **state)
{
    (void)state;
    for (int end = 0; end < 2; end++) {
        struct pair p;
        pair_init(&p, 18);
        p.fakes[end]->identity.blind = true; /* and has the member key, or says so */
        write_text(p.fakes[!end], 1, "text", "planted");
        pair_connect(&p);
        settle(&p);
        assert_closed(&p, 0, BLAZE_EPROTO, false);
        assert_closed(&p, 1, BLAZE_EPROTO, false);
        assert_int_equal(p.fakes[0]->commits + p.fakes[1]->commits, 0);
        pair_release(&p);
    }
}

static void the_connecting_side_too_wants_proof(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 19);
    write_text(p.fakes[0], 1, "text", "planted");
    /* It cannot check the other's proof, nor make one that holds, but says yes to all. */
    p.options[1].binding[3] = 1;
    pair_connect(&p);
    settle(&p);
    assert_closed(&p, 0, BLAZE_EAUTH, true);
    assert_closed(&p, 1, BLAZE_EAUTH, true);
    pair_release(&p);
}

static void a_database_that_is_not_here_or_another_or_oneself_is_refused(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 20);
    p.fakes[1]->identity.database = fake_id(8);
    pair_connect(&p);
    settle(&p);
    assert_closed(&p, 0, BLAZE_ENOTFOUND, true);
    assert_closed(&p, 1, BLAZE_ENOTFOUND, true);
    assert_string_equal(
        pipe_status(&p.pipe, 0).reason, "the other end does not have this database");
    pair_release(&p);

    pair_init(&p, 21);
    p.fakes[1]->identity.node = p.fakes[0]->identity.node;
    pair_connect(&p);
    settle(&p);
    assert_closed(&p, 0, BLAZE_EEXIST, true);
    pair_release(&p);
}

static void an_enrolment_brings_the_database_in(void **state)
{
    (void)state;
    struct pair p;
    uint8_t secret[32] = "secret";
    pair_init(&p, 22);
    p.fakes[1]->identity.database = fake_id(0);
    p.keys[1].access = p.keys[1].member = 0;
    p.options[0].enrol_key = secret;
    p.options[0].enrol_secret = true;
    p.pipe.piece_max = 5;
    write_many(p.fakes[0], 0, 30, 40, &p.pipe.rng);
    pair_connect(&p);
    settle(&p);
    assert_int_equal(p.enrolled, 1);
    assert_live_and_same(&p);
    pair_release(&p);
}

static void an_enrolment_may_be_refused(void **state)
{
    (void)state;
    struct pair p;
    uint8_t secret[32] = "other";
    pair_init(&p, 23);
    p.options[0].enrol_key = secret;
    p.options[0].enrol_secret = true;
    pair_connect(&p);
    settle(&p);
    assert_closed(&p, 0, BLAZE_EAUTH, true);
    pipe_close(&p.pipe);
    p.host.enrol = NULL;
    pair_connect(&p);
    settle(&p);
    assert_closed(&p, 0, BLAZE_EPERM, true);
    pair_release(&p);
}

static void what_a_stranger_learns_is_a_code(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 24);
    p.fakes[1]->identity.database = fake_id(8);
    pair_connect(&p);
    settle(&p);
    /* The host's own words stay at home. */
    assert_string_equal(pipe_status(&p.pipe, 1).reason, "no such database in this test");
    assert_null(strstr(pipe_status(&p.pipe, 0).reason, "test"));
    pair_release(&p);
}

/* ---- the wire disturbed ---- */

struct recorder {
    struct bz_buf sent[2];
    int end;      /* whose byte is changed */
    size_t at;    /* which */
    uint8_t mask; /* how; 0: not at all */
};

static void record_wire(void *context, int from, uint8_t *data, size_t size)
{
    struct recorder *r = context;
    size_t before = r->sent[from].size;
    bz_buf_append(&r->sent[from], data, size);
    if (r->mask != 0 && from == r->end && r->at >= before && r->at < before + size)
        data[r->at - before] ^= r->mask;
}

static void recorder_init(struct recorder *r, struct pair *p)
{
    *r = (struct recorder){0};
    bz_buf_init(&r->sent[0], 1u << 24);
    bz_buf_init(&r->sent[1], 1u << 24);
    p->pipe.on_wire = record_wire;
    p->pipe.context = r;
}

static void recorder_release(struct recorder *r)
{
    bz_buf_release(&r->sent[0]);
    bz_buf_release(&r->sent[1]);
}

static void a_recorded_proof_is_worth_nothing_in_another_handshake(void **state)
{
    (void)state;
    struct pair p;
    struct recorder r;
    pair_init(&p, 25);
    recorder_init(&r, &p);
    write_text(p.fakes[1], 2, "text", "planted");
    pair_connect(&p);
    settle(&p);
    assert_true(pipe_live(&p.pipe));
    pipe_close(&p.pipe);
    /* The very same bytes again, to an end that has a new nonce, on the same binding and on
     * another one. */
    for (int other = 0; other < 2; other++) {
        p.options[1].binding[0] = (uint8_t)other;
        struct bz_session *session;
        assert_int_equal(bz_session_new(&session, &p.options[1], 5000, NULL), 0);
        bz_session_receive(session, bz_buf_bytes(&r.sent[0]), 5000);
        struct bz_session_status st;
        bz_session_status(session, &st);
        assert_int_equal(st.code, BLAZE_EAUTH);
        assert_true(st.refused && !st.peer_is_member);
        assert_true(bz_session_output(session).size < 200); /* HELLO and REFUSE */
        bz_session_free(session);
    }
    recorder_release(&r);
    pair_release(&p);
}

static void any_damaged_byte_ends_in_a_clean_refusal_or_does_no_harm(void **state)
{
    (void)state;
    struct pair p;
    struct recorder r;
    pair_init(&p, 26);
    recorder_init(&r, &p);
    write_many(p.fakes[0], 0, 3, 40, &p.pipe.rng);
    write_many(p.fakes[1], 10, 3, 40, &p.pipe.rng);
    pair_connect(&p);
    settle(&p);
    size_t sizes[2] = {r.sent[0].size, r.sent[1].size};
    recorder_release(&r);
    pair_release(&p);
    unsigned refused = 0, passed = 0;
    for (int end = 0; end < 2; end++) {
        for (size_t at = 0; at < sizes[end]; at++) {
            pair_init(&p, 26);
            recorder_init(&r, &p);
            r.end = end;
            r.at = at;
            r.mask = (uint8_t)(1u << rng_next(&p.pipe.rng) % 8);
            write_many(p.fakes[0], 0, 3, 40, &p.pipe.rng);
            write_many(p.fakes[1], 10, 3, 40, &p.pipe.rng);
            pair_connect(&p);
            settle(&p);
            for (int tries = 0; tries < 5 && !pipe_live(&p.pipe) &&
                                pipe_status(&p.pipe, 0).phase != BZ_SESSION_CLOSED;
                 tries++) {
                pipe_sleep(&p.pipe); /* a length may have become larger: waits for more */
                settle(&p);
            }
            bool live = pipe_live(&p.pipe);
            if (!live) {
                if (pipe_status(&p.pipe, 0).phase != BZ_SESSION_CLOSED)
                    print_message("byte %zu of end %d, mask %02x\n", at, end, r.mask);
                assert_int_equal(pipe_status(&p.pipe, 0).phase, BZ_SESSION_CLOSED);
                assert_int_not_equal(pipe_status(&p.pipe, 0).code, 0);
                assert_true(pipe_status(&p.pipe, 0).reason[0] != '\0' ||
                            pipe_status(&p.pipe, 1).reason[0] != '\0');
            }
            *(live ? &passed : &refused) += 1;
            recorder_release(&r);
            pair_release(&p);
        }
    }
    assert_true(refused > passed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_key_is_refused_at_once_and_for_good),
        cmocka_unit_test(a_peer_with_the_access_key_alone_that_does_not_say_so_is_refused),
        cmocka_unit_test(a_blind_peer_that_claims_to_be_a_member_is_refused),
        cmocka_unit_test(the_connecting_side_too_wants_proof),
        cmocka_unit_test(a_database_that_is_not_here_or_another_or_oneself_is_refused),
        cmocka_unit_test(an_enrolment_brings_the_database_in),
        cmocka_unit_test(an_enrolment_may_be_refused),
        cmocka_unit_test(what_a_stranger_learns_is_a_code),
        cmocka_unit_test(a_recorded_proof_is_worth_nothing_in_another_handshake),
        cmocka_unit_test(any_damaged_byte_ends_in_a_clean_refusal_or_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a HELLO of another version may say: it is changed on its way. Proofs, which cover it, are
 * constants here.
 */
#include "cmocka_all.h"

#include "fake_replica.h"
#include "session_pipe.h"
#include "sync/frame.h"

struct scene {
    struct fake *fakes[2];
    struct fake_keys keys;
    struct bz_replica replicas[2];
    struct bz_session_auth auth;
    struct bz_session_host host;
    struct session_pipe pipe;
    int changed; /* the side whose HELLO is changed */
    size_t at;   /* from this byte of its payload on */
    const uint8_t *bytes;
    size_t count;
    bool seen;
};

static int host_open(void *context, const blaze_id *database, struct bz_replica *replica,
    struct bz_session_auth *auth, blaze_error *error)
{
    (void)database;
    (void)error;
    struct scene *s = context;
    *replica = s->replicas[1];
    *auth = s->auth;
    return 0;
}

static void change_hello(void *context, int from, uint8_t *data, size_t size)
{
    struct scene *s = context;
    if (from != s->changed || s->seen)
        return;
    assert_true(size > 2 + s->at + s->count);
    memcpy(data + 2 + s->at, s->bytes, s->count); /* after length and type */
    s->seen = true;
}

/* The code with which the side that gets the HELLO ends, 0 if both become live. */
static int meet(int changed, size_t at, const uint8_t *bytes, size_t count)
{
    struct scene s = {
        .keys = {1, 2, 3}, .changed = changed, .at = at, .bytes = bytes, .count = count};
    s.auth = (struct bz_session_auth){fake_constant_mac, fake_random, &s.keys};
    s.host = (struct bz_session_host){host_open, NULL, &s};
    for (int i = 0; i < 2; i++) {
        s.fakes[i] = fake_new(7, (uint64_t)i + 1);
        s.replicas[i] = (struct bz_replica){&fake_ops, s.fakes[i]};
        fake_write(s.fakes[i], "notes", (uint64_t)i, "text", bz_bytes_text("words"));
    }
    struct bz_session_options connecting = {
        .connecting = true, .replica = &s.replicas[0], .auth = &s.auth};
    struct bz_session_options accepting = {.host = &s.host};
    s.pipe = (struct session_pipe){.rng = {1},
        .now_ms = 1000,
        .wall_ms = 1700000000000u,
        .on_wire = change_hello,
        .context = &s};
    assert_int_equal(pipe_open(&s.pipe, &connecting, &accepting), 0);
    pipe_wake(&s.pipe);
    assert_true(pipe_settle(&s.pipe, 10000) < 10000);
    struct bz_session_status status = pipe_status(&s.pipe, !changed);
    int code = status.code;
    assert_true(s.seen && pipe_live(&s.pipe) == (code == 0));
    assert_true(code == 0 || (status.phase == BZ_SESSION_CLOSED && status.reason[0] != '\0'));
    assert_true(code != BLAZE_EVERSION || status.refused);
    for (int i = 0; i < 2; i++)
        assert_int_equal(s.fakes[i]->count, code == 0 ? 2 : 1);
    pipe_close(&s.pipe);
    for (int i = 0; i < 2; i++)
        fake_free(s.fakes[i]);
    return code;
}

static void the_highest_version_that_both_speak_is_used(void **state)
{
    (void)state;
    static const struct {
        uint8_t range[2];
        int code;
    } peers[] = {
        {{1, 1}, 0},
        {{1, 9}, 0},
        {{0, 1}, 0},
        {{2, 9}, BLAZE_EVERSION},
        {{0, 0}, BLAZE_EVERSION},
        {{9, 1}, BLAZE_EPROTO},
    };
    for (size_t i = 0; i < sizeof peers / sizeof *peers; i++) {
        for (int side = 0; side < 2; side++)
            assert_int_equal(meet(side, 4, peers[i].range, 2), peers[i].code);
    }
}

static void features_and_flags_of_later_versions_are_ignored(void **state)
{
    (void)state;
    static const uint8_t none = 0, later_features = 0x40, later_flags = 0xc0;
    for (int side = 0; side < 2; side++) {
        assert_int_equal(meet(side, 6, &none, 1), 0);
        assert_int_equal(meet(side, 6, &later_features, 1), 0);
        assert_int_equal(meet(side, 9, &later_flags, 1), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_highest_version_that_both_speak_is_used),
        cmocka_unit_test(features_and_flags_of_later_versions_are_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

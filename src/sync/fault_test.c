/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every allocation of a session fails once, at every place where it can: the session ends with
 * BLAZE_ENOMEM or goes on, nothing leaks, and another session finishes the work. The fakes below
 * and the wire between are not part of it.
 */
#include "cmocka_all.h"

#include "fake_replica.h"
#include "session_turns.h"
#include "sync/frame.h"
#include "sync/session.h"

static struct alloc_plan plan; /* armed within a call of a session */

/* The fake's operations, out of the faults' reach. */
#define GUARDED(name, parameters, arguments)                                                       \
    static int guarded_##name parameters                                                           \
    {                                                                                              \
        alloc_plan_spared = true;                                                                  \
        int rc = fake_##name arguments;                                                            \
        alloc_plan_spared = false;                                                                 \
        return rc;                                                                                 \
    }
#define GUARDED_VOID(name, parameters, arguments)                                                  \
    static void guarded_##name parameters                                                          \
    {                                                                                              \
        alloc_plan_spared = true;                                                                  \
        fake_##name arguments;                                                                     \
        alloc_plan_spared = false;                                                                 \
    }

GUARDED(version, (void *c, struct bz_arena *arena, struct bz_vv *out), (c, arena, out))
GUARDED(changes_open,
    (void *c, const struct bz_receiver *receiver, uint64_t from, struct bz_changes **out,
        blaze_error *error),
    (c, receiver, from, out, error))
GUARDED(changes_next, (struct bz_changes * w, struct bz_change *out, blaze_error *error),
    (w, out, error))
GUARDED_VOID(changes_close, (struct bz_changes * w), (w))
GUARDED(apply_begin, (void *c, const blaze_id *peer, struct bz_apply **out, blaze_error *error),
    (c, peer, out, error))
GUARDED(apply_change,
    (struct bz_apply * a, const struct bz_change *change, bool *changed, blaze_error *error),
    (a, change, changed, error))
GUARDED(apply_commit,
    (struct bz_apply * a, const struct bz_peer_state *peer, const struct bz_head *head,
        bool *diverged, blaze_error *error),
    (a, peer, head, diverged, error))
GUARDED_VOID(apply_abort, (struct bz_apply * a), (a))

struct scene {
    struct fake *fakes[2];
    struct bz_replica_ops ops;
    struct bz_replica replicas[2];
    struct fake_keys keys;
    struct bz_session_auth auth;
    struct bz_session_host host;
    struct bz_session *sessions[2];
    uint64_t now_ms;
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

static void scene_init(struct scene *s)
{
    *s = (struct scene){.ops = fake_ops, .keys = {1, 2, 3}};
    s->ops.version = guarded_version;
    s->ops.changes_open = guarded_changes_open;
    s->ops.changes_next = guarded_changes_next;
    s->ops.changes_close = guarded_changes_close;
    s->ops.apply_begin = guarded_apply_begin;
    s->ops.apply_change = guarded_apply_change;
    s->ops.apply_commit = guarded_apply_commit;
    s->ops.apply_abort = guarded_apply_abort;
    s->auth = (struct bz_session_auth){fake_mac, fake_random, &s->keys};
    s->host = (struct bz_session_host){host_open, NULL, s};
    for (int i = 0; i < 2; i++) {
        s->fakes[i] = fake_new(7, (uint64_t)i + 1);
        s->replicas[i] = (struct bz_replica){&s->ops, s->fakes[i]};
        for (uint64_t k = 0; k < 20; k++)
            fake_write(s->fakes[i], "notes", k + (uint64_t)i * 15, i ? "text" : "title",
                bz_bytes_text("words words words words words words words words words words"));
    }
}

static void scene_release(struct scene *s)
{
    fake_free(s->fakes[0]);
    fake_free(s->fakes[1]);
}

static void turns(struct scene *s)
{
    session_turns(&plan, s->sessions[0], s->sessions[1], s->now_ms, 1700000000000u);
}

/* Both are asked to wait with what is new, and tell it in the time that they then take. */
static void be_lazy(struct scene *s)
{
    static const uint8_t pace[] = {2, BZ_FRAME_PACE, 1};
    for (int i = 0; i < 2; i++) {
        plan.armed = true;
        bz_session_receive(s->sessions[i], bz_bytes(pace, sizeof pace), s->now_ms);
        plan.armed = false;
        fake_write(s->fakes[i], "notes", 200 + (uint64_t)i, "text", bz_bytes_text("later"));
    }
    for (int i = 0; i < 10; i++) {
        turns(s);
        s->now_ms += 250;
    }
    turns(s);
}

/* A session in which an allocation fails. 0 if it could not begin. */
static bool hold(struct scene *s, uint64_t at, struct bz_session_status status[2])
{
    struct bz_session_options connecting = {
        .connecting = true, .replica = &s->replicas[0], .auth = &s->auth, .chunk_bytes = 700};
    struct bz_session_options accepting = {.host = &s->host, .chunk_bytes = 700};
    const struct bz_session_options *options[2] = {&connecting, &accepting};
    plan = (struct alloc_plan){.at = at};
    s->now_ms = 1000;
    s->sessions[0] = s->sessions[1] = NULL;
    int rc = 0;
    for (int i = 0; rc == 0 && i < 2; i++) {
        plan.armed = true;
        rc = bz_session_new(&s->sessions[i], options[i], 1000, NULL);
        plan.armed = false;
    }
    if (rc == 0) {
        turns(s);
        be_lazy(s);
        bz_session_status(s->sessions[0], &status[0]);
        bz_session_status(s->sessions[1], &status[1]);
    } else {
        assert_int_equal(rc, BLAZE_ENOMEM);
    }
    bz_session_free(s->sessions[0]);
    bz_session_free(s->sessions[1]);
    return rc == 0;
}

static void each_allocation_that_fails_ends_the_session_and_harms_nothing(void **state)
{
    (void)state;
    uint64_t ended = 0, n = 0;
    bz_alloc_set_fault(alloc_plan_ask, &plan);
    for (bool reached = true; reached; n++) {
        struct scene s;
        struct bz_session_status status[2];
        scene_init(&s);
        if (hold(&s, n + 1, status) && plan.hit) {
            for (int i = 0; i < 2; i++) {
                if (status[i].phase == BZ_SESSION_LIVE)
                    continue; /* it could do without, as compression can */
                /* Told by its own farewell, or that was lost too and the stream just ends. */
                assert_true(status[i].code == BLAZE_ENOMEM || status[!i].code == BLAZE_ENOMEM);
                ended++;
            }
        }
        reached = plan.hit;
        hold(&s, 0, status);
        assert_int_equal(status[0].phase, BZ_SESSION_LIVE);
        assert_int_equal(status[1].phase, BZ_SESSION_LIVE);
        uint64_t a, b;
        struct bz_hash128 x = fake_digest(s.fakes[0], &a), y = fake_digest(s.fakes[1], &b);
        assert_true(a == b && x.low == y.low && x.high == y.high);
        scene_release(&s);
    }
    bz_alloc_set_fault(NULL, NULL);
    assert_true(n > 50 && ended > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_that_fails_ends_the_session_and_harms_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

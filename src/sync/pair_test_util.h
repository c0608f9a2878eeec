/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_SYNC_PAIR_TEST_UTIL_H
#define BZ_SYNC_PAIR_TEST_UTIL_H

#include "cmocka_all.h"

#include "fake_replica.h"
#include "session_pipe.h"

#define STEPS 200000u

/* Two fakes, their keys, and what it takes to connect them. */
struct pair {
    struct fake *fakes[2];
    struct fake_keys keys[2];
    struct bz_replica replicas[2];
    struct bz_session_auth auths[2];
    struct bz_session_host host;
    struct bz_session_options options[2];
    struct session_pipe pipe;
    int enrolled;
};

static inline int host_open(void *context, const blaze_id *database, struct bz_replica *replica,
    struct bz_session_auth *auth, blaze_error *error)
{
    struct pair *p = context;
    if (memcmp(database, &p->fakes[1]->identity.database, sizeof *database) != 0)
        return bz_error_set(error, BLAZE_ENOTFOUND, "no such database in this test");
    *replica = p->replicas[1];
    *auth = p->auths[1];
    return 0;
}

static inline int host_enrol(void *context, const blaze_id *database, bool trusted,
    const uint8_t key[32], struct bz_replica *replica, struct bz_session_auth *auth,
    blaze_error *error)
{
    struct pair *p = context;
    if (key[0] != (trusted ? 's' : 'a'))
        return bz_error_set(error, BLAZE_EAUTH, "another secret");
    p->enrolled++;
    p->fakes[1]->identity.database = *database;
    p->keys[1] = (struct fake_keys){11, 22, 5};
    return host_open(p, database, replica, auth, error);
}

static inline void pair_init(struct pair *p, uint64_t seed)
{
    *p = (struct pair){
        .pipe = {.rng = {seed}, .now_ms = 1000, .wall_ms = 1700000000000u, .prompt = true}};
    for (int i = 0; i < 2; i++) {
        p->fakes[i] = fake_new(7, (uint64_t)i + 1);
        p->keys[i] = (struct fake_keys){11, 22, seed + (uint64_t)i};
        p->replicas[i] = (struct bz_replica){&fake_ops, p->fakes[i]};
        p->auths[i] = (struct bz_session_auth){
            .mac = fake_mac, .random = fake_random, .context = &p->keys[i]};
    }
    p->host = (struct bz_session_host){host_open, host_enrol, p};
    p->options[0] = (struct bz_session_options){
        .connecting = true, .replica = &p->replicas[0], .auth = &p->auths[0]};
    p->options[1] = (struct bz_session_options){.host = &p->host};
}

static inline void pair_connect(struct pair *p)
{
    assert_int_equal(pipe_open(&p->pipe, &p->options[0], &p->options[1]), 0);
    p->pipe.ends[0].again = true;
}

static inline void pair_release(struct pair *p)
{
    pipe_close(&p->pipe);
    fake_free(p->fakes[0]);
    fake_free(p->fakes[1]);
}

static inline void write_text(struct fake *f, uint64_t id, const char *field, const char *text)
{
    fake_write(f, "notes", id, field, bz_bytes_text(text));
}

static inline void write_many(
    struct fake *f, uint64_t from, uint64_t count, size_t size, struct rng *rng)
{
    uint8_t *text = malloc(size);
    for (uint64_t i = 0; i < count; i++) {
        for (size_t k = 0; k < size; k++)
            text[k] = (uint8_t)('a' + rng_next(rng) % 26);
        fake_write(f, "notes", from + i, "text", bz_bytes(text, size));
    }
    free(text);
}

static inline bool same(const struct pair *p)
{
    uint64_t a, b;
    struct bz_hash128 x = fake_digest(p->fakes[0], &a), y = fake_digest(p->fakes[1], &b);
    return a == b && x.low == y.low && x.high == y.high;
}

static inline void settle(struct pair *p)
{
    pipe_wake(&p->pipe);
    assert_true(pipe_settle(&p->pipe, STEPS) < STEPS);
}

static inline void assert_live_and_same(struct pair *p)
{
    struct bz_session_status a = pipe_status(&p->pipe, 0), b = pipe_status(&p->pipe, 1);
    if (a.phase != BZ_SESSION_LIVE || b.phase != BZ_SESSION_LIVE)
        print_message("phases %d %d: %s / %s\n", a.phase, b.phase, a.reason, b.reason);
    assert_true(pipe_live(&p->pipe));
    assert_true(same(p));
}

static inline void assert_closed(struct pair *p, int end, int code, bool refused)
{
    struct bz_session_status st = pipe_status(&p->pipe, end);
    if (st.code != code)
        print_message("end %d: %s, %s\n", end, blaze_error_name(st.code), st.reason);
    assert_int_equal(st.phase, BZ_SESSION_CLOSED);
    assert_int_equal(st.code, code);
    assert_int_equal(st.refused, refused);
}

#endif

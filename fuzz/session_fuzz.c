/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole session against arbitrary bytes. The first byte says how:
 *
 *   0  a stranger: the rest is what it sends, from the first byte on
 *   1  a member that is let in: the rest is what it sends once the session is open
 *   2  two honest sessions, and the rest is what happens to the bytes between them: records of four
 *      bytes, direction and offset (3) and what is flipped there (1)
 *
 * The second byte says how the stream is cut. Whatever comes, the session must end or go on, come
 * to rest, leave nothing open in the database, and leave it readable. Proofs here are constants:
 * what they protect is not what is tested.
 */
#include "fake_replica.h"
#include "require.h"
#include "session_pipe.h"
#include "sync/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RUNS_MAX 100000

struct scene {
    struct fake *fakes[2];
    struct fake_keys keys;
    struct bz_replica replicas[2];
    struct bz_session_auth auth;
    struct bz_session_host host;
    struct bz_session_options options[2];
};

static int host_open(void *context, const blaze_id *database, struct bz_replica *replica,
    struct bz_session_auth *auth, blaze_error *error)
{
    struct scene *s = context;
    if (memcmp(database, &s->fakes[1]->identity.database, sizeof *database) != 0)
        return bz_error_code(error, BLAZE_ENOTFOUND);
    *replica = s->replicas[1];
    *auth = s->auth;
    return 0;
}

static int host_enrol(void *context, const blaze_id *database, bool trusted, const uint8_t key[32],
    struct bz_replica *replica, struct bz_session_auth *auth, blaze_error *error)
{
    return key[0] != (trusted ? 's' : 'a') ? bz_error_code(error, BLAZE_EAUTH)
                                           : host_open(context, database, replica, auth, error);
}

static void scene_init(struct scene *s)
{
    *s = (struct scene){.keys = {1, 2, 3}};
    for (int i = 0; i < 2; i++) {
        s->fakes[i] = fake_new(7, (uint64_t)i + 1);
        s->replicas[i] = (struct bz_replica){&fake_ops, s->fakes[i]};
        for (uint64_t k = 0; k < 6; k++)
            fake_write(s->fakes[i], k % 2 ? "notes" : "letters", k + (uint64_t)i * 3,
                k % 3 ? "title" : "text", bz_bytes_text("some words of the one or the other"));
    }
    fake_write(s->fakes[0], "notes", 3, NULL, bz_bytes_text(""));
    s->auth = (struct bz_session_auth){fake_constant_mac, fake_random, &s->keys};
    s->host = (struct bz_session_host){host_open, host_enrol, s};
    s->options[0] = (struct bz_session_options){
        .connecting = true, .replica = &s->replicas[0], .auth = &s->auth, .chunk_bytes = 200};
    s->options[1] = (struct bz_session_options){.host = &s->host, .chunk_bytes = 300};
}

static void scene_release(struct scene *s)
{
    for (int i = 0; i < 2; i++) {
        uint64_t alive;
        REQUIRE(s->fakes[i]->open_applies == 0 && s->fakes[i]->open_walks == 0);
        fake_digest(s->fakes[i], &alive); /* decodes every record */
        fake_free(s->fakes[i]);
    }
}

static void run(struct bz_session *session, uint64_t now_ms)
{
    unsigned runs = 0;
    while (bz_session_run(session, now_ms, 1700000000000u)) {
        REQUIRE(++runs < RUNS_MAX);
        bz_session_sent(session, bz_session_output(session).size);
    }
    bz_session_sent(session, bz_session_output(session).size);
}

static void feed(struct bz_session *session, struct bz_bytes bytes, size_t piece)
{
    for (size_t at = 0; at < bytes.size; at += piece) {
        size_t size = bytes.size - at < piece ? bytes.size - at : piece;
        uint8_t *copy = malloc(size);
        memcpy(copy, bytes.data + at, size);
        bz_session_receive(session, bz_bytes(copy, size), 1000);
        free(copy);
        run(session, 1000);
    }
}

/* What an honest member says until the session is open. */
static void let_in(struct bz_session *session)
{
    struct bz_buf payload, wire;
    bz_buf_init(&payload, 4096);
    bz_buf_init(&wire, 4096);
    bz_hello_encode(&payload, &(struct bz_hello){.version_min = 1,
                                  .version_max = 1,
                                  .database = fake_id(7),
                                  .node = fake_id(9),
                                  .epoch = fake_id(99)});
    bz_frame_append(&wire, BZ_FRAME_HELLO, bz_buf_bytes(&payload));
    bz_buf_clear(&payload);
    struct bz_proof proof = {.member = true};
    memset(proof.access_mac, 'a', 32);
    memset(proof.member_mac, 'm', 32);
    bz_proof_encode(&payload, &proof);
    bz_frame_append(&wire, BZ_FRAME_PROOF, bz_buf_bytes(&payload));
    bz_buf_clear(&payload);
    bz_welcome_encode(&payload, &(struct bz_welcome){100, 1000, 2000});
    bz_frame_append(&wire, BZ_FRAME_WELCOME, bz_buf_bytes(&payload));
    bz_buf_clear(&payload);
    bz_resume_encode(&payload, &(struct bz_resume){0});
    bz_frame_append(&wire, BZ_FRAME_RESUME, bz_buf_bytes(&payload));
    feed(session, bz_buf_bytes(&wire), wire.size);
    struct bz_session_status status;
    bz_session_status(session, &status);
    REQUIRE(status.phase == BZ_SESSION_CATCHING_UP);
    bz_buf_release(&payload);
    bz_buf_release(&wire);
}

static void one_session(struct bz_bytes bytes, size_t piece, bool member)
{
    struct scene s;
    struct bz_session *session;
    scene_init(&s);
    REQUIRE(bz_session_new(&session, &s.options[1], 1000, NULL) == 0);
    if (member)
        let_in(session);
    feed(session, bytes, piece);
    for (int i = 0; i < 4; i++) {
        uint64_t deadline = bz_session_deadline(session);
        if (deadline != UINT64_MAX)
            run(session, deadline);
    }
    struct bz_session_status status;
    bz_session_status(session, &status);
    REQUIRE(status.phase == BZ_SESSION_CLOSED); /* in the end silence closes it */
    bz_session_free(session);
    scene_release(&s);
}

struct damage {
    struct bz_bytes list;
    uint64_t sent[2];
};

static void damage_wire(void *context, int from, uint8_t *bytes, size_t size)
{
    struct damage *d = context;
    for (size_t i = 0; i + 4 <= d->list.size; i += 4) {
        uint32_t where = bz_load32le(d->list.data + i) & 0xffffff;
        uint64_t at = where >> 1;
        if ((int)(where & 1) == from && at >= d->sent[from] && at < d->sent[from] + size)
            bytes[at - d->sent[from]] ^= d->list.data[i + 3];
    }
    d->sent[from] += size;
}

static void two_sessions(struct bz_bytes bytes, size_t piece)
{
    struct scene s;
    scene_init(&s);
    struct damage damage = {.list = bytes};
    struct session_pipe pipe = {.rng = {bytes.size},
        .now_ms = 1000,
        .wall_ms = 1700000000000u,
        .piece_max = piece,
        .on_wire = damage_wire,
        .context = &damage};
    REQUIRE(pipe_open(&pipe, &s.options[0], &s.options[1]) == 0);
    pipe_wake(&pipe);
    for (int i = 0; i < 5; i++) {
        REQUIRE(pipe_settle(&pipe, RUNS_MAX) < RUNS_MAX);
        pipe_sleep(&pipe);
    }
    bool whole = true;
    for (size_t i = 3; i < bytes.size; i += 4)
        whole &= bytes.data[i] == 0;
    REQUIRE(!whole || pipe_live(&pipe));
    pipe_close(&pipe);
    scene_release(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct bz_bytes rest = bz_bytes(data + 2, size - 2);
    size_t piece = (size_t)data[1] + 1;
    if (data[0] % 3 == 2)
        two_sessions(rest, piece);
    else
        one_session(rest, piece, data[0] % 3 == 1);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_SYNC_PUPPET_TEST_UTIL_H
#define BZ_SYNC_PUPPET_TEST_UTIL_H

/*
 * A puppet in the place of a peer: it knows the key, builds its frames by hand, and makes its own
 * transcript, so that the handshake is checked by a second hand too.
 */

#include "cmocka_all.h"

#include "fake_replica.h"
#include "sync/frame.h"
#include "sync/session.h"

struct scene {
    struct fake *fake;
    struct fake_keys keys;
    struct bz_replica replica;
    struct bz_session_auth auth;
    struct bz_session_host host;
    struct bz_session_options options;
    struct bz_session *session;
    struct bz_hash128 digest; /* of the fake before */
    struct bz_buf out;        /* the payload being built */
    struct bz_buf defined, recorded;
    uint64_t definitions, records;
    uint64_t features;
};

static inline int open_scene(void *context, const blaze_id *database, struct bz_replica *replica,
    struct bz_session_auth *auth, blaze_error *error)
{
    (void)database;
    (void)error;
    struct scene *s = context;
    *replica = s->replica;
    *auth = s->auth;
    return 0;
}

static inline void deliver(struct scene *s, struct bz_bytes bytes)
{
    uint8_t *copy = malloc(bytes.size + 1);
    memcpy(copy, bytes.data, bytes.size);
    bz_session_receive(s->session, bz_bytes(copy, bytes.size), 1000);
    free(copy);
    for (int i = 0; i < 1000 && bz_session_run(s->session, 1000, 1700000000000u); i++)
        ;
}

static inline void send_frame(struct scene *s, uint8_t type)
{
    struct bz_buf frame;
    bz_buf_init(&frame, 64u << 20);
    bz_frame_append(&frame, type, bz_buf_bytes(&s->out));
    bz_buf_clear(&s->out);
    deliver(s, bz_buf_bytes(&frame));
    bz_buf_release(&frame);
}

/* The payload of the next frame that the session has sent, which must be of this type. */
static inline void expect_frame(struct scene *s, uint8_t type, struct bz_buf *payload)
{
    uint8_t got = 0;
    struct bz_bytes bytes = {0};
    size_t size;
    assert_int_equal(bz_frame_peek(bz_session_output(s->session), &got, &bytes, &size), 0);
    assert_int_equal(got, type);
    bz_buf_clear(payload);
    bz_buf_append(payload, bytes.data, bytes.size);
    bz_session_sent(s->session, size);
}

static inline struct bz_session_status status_of(const struct scene *s)
{
    struct bz_session_status status;
    bz_session_status(s->session, &status);
    return status;
}

static inline void prove(
    struct scene *s, bool member, struct bz_bytes ours, struct bz_bytes theirs, uint8_t out[32])
{
    struct bz_buf t;
    bz_buf_init(&t, 10000);
    bz_buf_append(&t, "blazedb proof v1", 16);
    bz_buf_append8(&t, member);
    bz_buf_append8(&t, 0);
    bz_buf_append(&t, s->options.binding, 32);
    bz_buf_append_sized(&t, ours);
    bz_buf_append_sized(&t, theirs);
    fake_mac(&s->keys, member, bz_buf_bytes(&t), out);
    bz_buf_release(&t);
}

static inline void begin_scene(struct scene *s)
{
    *s = (struct scene){.keys = {11, 22, 1}, .features = 1u << 20 | BZ_FEATURE_LAZY};
    s->fake = fake_new(7, 2);
    fake_write(s->fake, "notes", 1, "text", bz_bytes_text("what was here before"));
    uint64_t alive;
    s->digest = fake_digest(s->fake, &alive);
    s->replica = (struct bz_replica){&fake_ops, s->fake};
    s->auth = (struct bz_session_auth){.mac = fake_mac, .random = fake_random, .context = &s->keys};
    s->host = (struct bz_session_host){open_scene, NULL, s};
    s->options = (struct bz_session_options){.host = &s->host, .chunk_bytes = 1000};
    bz_buf_init(&s->out, 64u << 20);
    bz_buf_init(&s->defined, 64u << 20);
    bz_buf_init(&s->recorded, 64u << 20);
    assert_int_equal(bz_session_new(&s->session, &s->options, 1000, NULL), 0);
}

/* As far as the frame that `until` says, which is then the next to send. */
static inline void shake_hands(struct scene *s, enum bz_frame_type until)
{
    struct bz_buf ours, theirs;
    bz_buf_init(&ours, 4096);
    bz_buf_init(&theirs, 4096);
    struct bz_hello hello = {.version_min = 1,
        .version_max = 9,
        .features = s->features,
        .database = fake_id(7),
        .node = fake_id(1),
        .epoch = fake_id(1001)};
    bz_hello_encode(&ours, &hello);
    bz_buf_append(&ours, "later fields", 12);
    if (until > BZ_FRAME_HELLO) {
        bz_buf_append(&s->out, ours.data, ours.size);
        send_frame(s, BZ_FRAME_HELLO);
        expect_frame(s, BZ_FRAME_HELLO, &theirs);
    }
    if (until > BZ_FRAME_PROOF) {
        struct bz_proof proof = {.member = true};
        prove(s, false, bz_buf_bytes(&ours), bz_buf_bytes(&theirs), proof.access_mac);
        prove(s, true, bz_buf_bytes(&ours), bz_buf_bytes(&theirs), proof.member_mac);
        bz_proof_encode(&s->out, &proof);
        bz_buf_append(&s->out, "later", 5);
        send_frame(s, BZ_FRAME_PROOF);
        expect_frame(s, BZ_FRAME_PROOF, &theirs);
        expect_frame(s, BZ_FRAME_WELCOME, &theirs);
        expect_frame(s, BZ_FRAME_RESUME, &theirs);
        if ((s->features & BZ_FEATURE_RECONCILE) != 0)
            expect_frame(s, BZ_FRAME_COVERED, &theirs);
    }
    if (until > BZ_FRAME_WELCOME) {
        bz_welcome_encode(
            &s->out, &(struct bz_welcome){.position = 500, .chunk = 100000, .window = 1000000});
        bz_buf_append(&s->out, "later", 5);
        send_frame(s, BZ_FRAME_WELCOME);
    }
    if (until > BZ_FRAME_RESUME) {
        struct bz_resume resume = {.epoch = s->fake->identity.epoch};
        bz_resume_encode(&s->out, &resume);
        bz_buf_append(&s->out, "later", 5);
        send_frame(s, BZ_FRAME_RESUME);
        if ((s->features & BZ_FEATURE_RECONCILE) != 0) { /* nothing is known, of nobody */
            bz_buf_append(&s->out, "\0\0\0\0\0\0\0\0\0\0\0\0", 12);
            send_frame(s, BZ_FRAME_COVERED);
        }
        expect_frame(s, BZ_FRAME_CHANGES, &theirs);
        assert_int_equal(bz_session_output(s->session).size, 0);
        assert_int_equal(status_of(s).phase, BZ_SESSION_CATCHING_UP);
    }
    bz_buf_release(&ours);
    bz_buf_release(&theirs);
}

static inline void end_scene(struct scene *s)
{
    bz_session_free(s->session);
    bz_buf_release(&s->out);
    bz_buf_release(&s->defined);
    bz_buf_release(&s->recorded);
    fake_free(s->fake);
}

/* The session has ended with this code and has said so, and the database is as it was. */
static inline void assert_ended(struct scene *s, int code)
{
    struct bz_session_status status = status_of(s);
    if (status.code != code || status.phase != BZ_SESSION_CLOSED)
        print_message(
            "phase %d, %s: %s\n", status.phase, blaze_error_name(status.code), status.reason);
    assert_int_equal(status.phase, BZ_SESSION_CLOSED);
    assert_int_equal(status.code, code);
    assert_true(status.reason[0] != '\0');
    uint8_t type = 0, last = 0;
    struct bz_bytes payload;
    size_t size;
    while (bz_frame_peek(bz_session_output(s->session), &type, &payload, &size) == 0) {
        if (type == BZ_FRAME_BYE || type == BZ_FRAME_REFUSE) {
            struct bz_goodbye goodbye;
            assert_int_equal(bz_goodbye_decode(payload, &goodbye), 0);
            assert_int_equal(goodbye.code, code);
        }
        bz_session_sent(s->session, size);
        last = type;
    }
    assert_true(last == BZ_FRAME_BYE || last == BZ_FRAME_REFUSE);
    uint64_t alive;
    struct bz_hash128 digest = fake_digest(s->fake, &alive);
    assert_true(digest.low == s->digest.low && digest.high == s->digest.high);
    assert_int_equal(s->fake->open_applies + s->fake->open_walks, 0);
}

/* ---- building chunks ---- */

static inline void define(
    struct scene *s, enum bz_term term, uint32_t number, struct bz_bytes meaning)
{
    struct bz_definition definition = {term, number, meaning};
    bz_definition_append(&s->defined, &definition);
    s->definitions++;
}

static inline void define_usual(struct scene *s)
{
    blaze_id node = fake_id(1);
    define(s, BZ_TERM_NODE, 5, bz_bytes(&node, 16));
    define(s, BZ_TERM_COLLECTION, 6, bz_bytes_text("letters"));
    define(s, BZ_TERM_FIELD, 7, bz_bytes_text("title"));
}

/* A record of one write by the peer's node 5, in its collection 6 and field 7. */
static inline void add_record(
    struct scene *s, uint64_t id, uint32_t collection, uint32_t node, uint32_t field)
{
    struct bz_arena arena;
    struct bz_buf body, bytes;
    struct bz_rec rec;
    bz_arena_init(&arena);
    bz_buf_init(&body, 1000);
    bz_buf_init(&bytes, 1000);
    struct bz_doc_writer *w;
    blaze_value value = {.type = BLAZE_STRING, .as.text = {"dear", 4}};
    assert_int_equal(bz_doc_writer_new(&w), 0);
    bz_doc_writer_add(w, field, &value);
    assert_int_equal(bz_doc_writer_finish(w, &body), 0);
    bz_doc_writer_free(w);
    struct bz_write write = {
        .dot = {node, id}, .stamp = 99, .alive = true, .body = bz_buf_bytes(&body)};
    assert_int_equal(bz_rec_put(&arena, NULL, &write, &rec), 0);
    bz_rec_encode(&bytes, &rec, 0);
    struct bz_record record = {collection, false, fake_id(id), bz_buf_bytes(&bytes)};
    bz_record_append(&s->recorded, &record);
    s->records++;
    bz_buf_release(&body);
    bz_buf_release(&bytes);
    bz_arena_release(&arena);
}

static inline void body_into(struct scene *s, struct bz_buf *body)
{
    bz_body_encode(
        body, s->definitions, bz_buf_bytes(&s->defined), s->records, bz_buf_bytes(&s->recorded));
    bz_buf_clear(&s->defined);
    bz_buf_clear(&s->recorded);
    s->definitions = s->records = 0;
}

/* Read from a head that it leads to, if it does not say how far the log goes. */
static inline void send_chunk(struct scene *s, struct bz_chunk chunk)
{
    struct bz_buf body;
    bz_buf_init(&body, 64u << 20);
    if (chunk.as_of == 0)
        chunk.as_of = chunk.to;
    if (chunk.body.data == NULL) {
        body_into(s, &body);
        chunk.body = bz_buf_bytes(&body);
    }
    bz_chunk_encode(&s->out, &chunk);
    send_frame(s, BZ_FRAME_CHANGES);
    bz_buf_release(&body);
}

#endif

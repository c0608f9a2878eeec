/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The examples of tests/vectors/wire.txt: what each frame says and how it is written, what is
 * refused, and a session in full with the keys that it was held under. With BLAZEDB_VECTORS set,
 * the lines of the session as it is now go to stderr.
 */
#include "cmocka_all.h"
#include "hex.h"
#include "vector_file.h"

#include "base/text.h"
#include "crypto/keys.h"
#include "fake_replica.h"
#include "session_pipe.h"
#include "sync/frame.h"

#include <ctype.h>

static const char *const frame_names[] = {"", "HELLO", "ENROL", "PROOF", "WELCOME", "REFUSE",
    "RESUME", "CHANGES", "ACK", "PING", "PONG",
    "BYE", [BZ_FRAME_RANGES] = "RANGES", [BZ_FRAME_ITEMS] = "ITEMS", [BZ_FRAME_COVERED] = "COVERED",
    [BZ_FRAME_HAVE] = "HAVE", [BZ_FRAME_PACE] = "PACE", [BZ_FRAME_REST] = "REST"};

/* ---- frames in words ---- */

static void say_hex(struct bz_buf *out, const char *name, const void *data, size_t size)
{
    bz_buf_printf(out, " %s ", name);
    bz_hex_append(out, bz_bytes(data, size));
}

#define NUMBER(n) (unsigned long long)(n)

static int describe_hello(struct bz_bytes payload, struct bz_buf *text, struct bz_buf *again)
{
    struct bz_hello h;
    int rc = bz_hello_decode(payload, &h);
    if (rc != 0)
        return rc;
    bz_buf_printf(text, "versions %llu to %llu features %llu challenge %llu %s%s role %u",
        NUMBER(h.version_min), NUMBER(h.version_max), NUMBER(h.features), NUMBER(h.challenge),
        h.enrols ? "enrols" : "no enrolment", h.blind ? " blind" : "", h.role);
    say_hex(text, "database", &h.database, 16);
    say_hex(text, "node", &h.node, 16);
    say_hex(text, "epoch", &h.epoch, 16);
    say_hex(text, "nonce", h.nonce, 32);
    bz_hello_encode(again, &h);
    return 0;
}

static int describe_enrol(struct bz_bytes payload, struct bz_buf *text, struct bz_buf *again)
{
    struct bz_enrol e;
    int rc = bz_enrol_decode(payload, &e);
    if (rc != 0)
        return rc;
    say_hex(text, "database", &e.database, 16);
    say_hex(text, e.secret ? "secret" : "access", e.key, 32);
    bz_enrol_encode(again, &e);
    return 0;
}

static int describe_proof(struct bz_bytes payload, struct bz_buf *text, struct bz_buf *again)
{
    struct bz_proof p;
    int rc = bz_proof_decode(payload, &p);
    if (rc != 0)
        return rc;
    say_hex(text, "access", p.access_mac, 32);
    if (p.member)
        say_hex(text, "member", p.member_mac, 32);
    bz_proof_encode(again, &p);
    return 0;
}

static int describe_welcome(struct bz_bytes payload, struct bz_buf *text, struct bz_buf *again)
{
    struct bz_welcome w;
    int rc = bz_welcome_decode(payload, &w);
    if (rc != 0)
        return rc;
    bz_buf_printf(text, "position %llu chunk %llu window %llu", NUMBER(w.position), NUMBER(w.chunk),
        NUMBER(w.window));
    if (w.dictionaries.size > 0)
        say_hex(text, "dictionaries", w.dictionaries.data, w.dictionaries.size);
    bz_welcome_encode(again, &w);
    return 0;
}

static int describe_goodbye(struct bz_bytes payload, struct bz_buf *text, struct bz_buf *again)
{
    struct bz_goodbye g;
    int rc = bz_goodbye_decode(payload, &g);
    if (rc != 0)
        return rc;
    bz_buf_printf(text, "code %d %s \"%s\"", g.code, g.final ? "final" : "try again", g.reason);
    bz_goodbye_encode(again, &g);
    return 0;
}

static void say_trail(struct bz_buf *text, const struct bz_trail *trail)
{
    for (uint32_t i = 0; i < trail->count; i++)
        bz_buf_printf(text, " opening %016llx after %llu", NUMBER(trail->marks[i].id),
            NUMBER(trail->marks[i].start));
}

static int describe_resume(struct bz_bytes payload, struct bz_buf *text, struct bz_buf *again)
{
    struct bz_resume r;
    blaze_id node;
    uint64_t seq;
    int rc = bz_resume_decode(payload, &r);
    if (rc != 0)
        return rc;
    bz_buf_printf(text, "round %llu", NUMBER(r.round));
    say_hex(text, "epoch", &r.epoch, 16);
    bz_buf_printf(text, " position %llu as of %llu reached %llu", NUMBER(r.position),
        NUMBER(r.as_of), NUMBER(r.reached));
    say_trail(text, &r.trail);
    bz_resume_encode(again, &r);
    while (bz_summary_next(&r.summary, &node, &seq) == 0) {
        say_hex(text, "has", &node, 16);
        bz_buf_printf(text, " up to %llu", NUMBER(seq));
    }
    struct bz_scope_item item;
    if (r.scope.size > 0)
        bz_buf_printf(text, " %s %s of", r.whole ? "complete records" : "changed fields",
            r.empty ? "to nothing" : "to what is there");
    while (bz_scope_next(&r.scope, &item) == 0)
        bz_buf_printf(text, " \"%.*s\" where \"%.*s\"", (int)item.collection.size,
            (const char *)item.collection.data, (int)item.filter.size,
            (const char *)item.filter.data);
    if (r.held > 0)
        bz_buf_printf(text, " held %llu of", NUMBER(r.held));
    while (bz_scope_next(&r.before, &item) == 0)
        bz_buf_printf(text, " \"%.*s\" where \"%.*s\"", (int)item.collection.size,
            (const char *)item.collection.data, (int)item.filter.size,
            (const char *)item.filter.data);
    return 0;
}

static int describe_ack(struct bz_bytes payload, struct bz_buf *text, struct bz_buf *again)
{
    struct bz_ack a;
    int rc = bz_ack_decode(payload, &a);
    if (rc != 0)
        return rc;
    bz_buf_printf(text, "chunks %llu position %llu window %llu waiting %llu", NUMBER(a.chunks),
        NUMBER(a.position), NUMBER(a.window), NUMBER(a.waiting));
    bz_buf_printf(text, "%s", a.lacks ? " lacks" : "");
    bz_ack_encode(again, &a);
    return 0;
}

static int describe_ping(struct bz_bytes payload, struct bz_buf *text, struct bz_buf *again)
{
    uint64_t number;
    int rc = bz_ping_decode(payload, &number);
    if (rc != 0)
        return rc;
    bz_buf_printf(text, "number %llu", NUMBER(number));
    bz_ping_encode(again, number);
    return 0;
}

static int describe_markers(struct bz_body_reader *body, struct bz_buf *text)
{
    struct bz_arena arena;
    struct bz_marker m;
    bz_arena_init(&arena);
    int rc = bz_body_markers(body);
    while (rc == 0 && (rc = bz_body_next_marker(body, &arena, &m)) == 0) {
        bz_buf_printf(text, "; in collection %u", m.collection);
        say_hex(text, "not", &m.id, 16);
        for (uint32_t i = 0; i < m.rvv.count; i++)
            bz_buf_printf(
                text, " node %u up to %llu", m.rvv.entries[i].node, NUMBER(m.rvv.entries[i].seq));
    }
    bz_arena_release(&arena);
    return rc;
}

static int describe_body(struct bz_bytes bytes, bool more, bool markers, struct bz_buf *text)
{
    static const char *const terms[] = {"node", "collection", "field"};
    struct bz_body_reader body;
    struct bz_definition d;
    struct bz_record r;
    struct bz_body_head h;
    struct bz_dot e;
    int rc = bz_body_definitions(&body, bytes, false);
    while (rc == 0 && (rc = bz_body_next_definition(&body, &d)) == 0) {
        bz_buf_printf(text, "; %s %u is", terms[d.term], d.number);
        if (d.term == BZ_TERM_NODE)
            say_hex(text, "", d.meaning.data, d.meaning.size);
        else
            bz_buf_printf(text, " \"%.*s\"", (int)d.meaning.size, (const char *)d.meaning.data);
    }
    rc = rc == BLAZE_END ? bz_body_records(&body) : rc;
    while (rc == 0 && (rc = bz_body_next_record(&body, &r)) == 0) {
        bz_buf_printf(text, "; in collection %u%s", r.collection, r.untold ? " untold" : "");
        say_hex(text, "id", &r.id, 16);
        say_hex(text, "record", r.rec.data, r.rec.size);
    }
    if (rc == BLAZE_END && markers)
        rc = describe_markers(&body, text);
    if (rc == BLAZE_END && !more) {
        rc = bz_body_head(&body, &h);
        bz_buf_printf(text, "; head %s%s records %llu digest %016llx%016llx",
            h.partial ? "partial" : "whole",
            !h.scoped  ? ""
            : h.claims ? " scoped, claims"
                       : " scoped",
            NUMBER(h.records), NUMBER(h.digest.high), NUMBER(h.digest.low));
        while (rc == 0 && (rc = bz_body_next_entry(&body, &e)) == 0)
            bz_buf_printf(text, " node %u up to %llu", e.node, NUMBER(e.seq));
    }
    return rc == BLAZE_END ? bz_body_end(&body) : rc;
}

static int describe_changes(struct bz_bytes payload, struct bz_buf *text, struct bz_buf *again)
{
    struct bz_chunk c;
    int rc = bz_chunk_decode(payload, &c);
    if (rc != 0)
        return rc;
    bz_buf_printf(text, "round %llu from %llu to %llu %s", NUMBER(c.round), NUMBER(c.from),
        NUMBER(c.to), c.more ? "more" : "to the head");
    if (c.more)
        bz_buf_printf(text, " of %llu", NUMBER(c.as_of));
    say_trail(text, &c.openings);
    bz_chunk_encode(again, &c);
    static const char *const packings[] = {"", "LZ4", "zstd", "zstd going on"};
    if (c.packing == BZ_PACKING_NONE)
        return describe_body(c.body, c.more, c.markers, text);
    bz_buf_printf(text, " %s from %llu", packings[c.packing], NUMBER(c.raw_size));
    return 0;
}

static int describe_rest(struct bz_bytes payload, struct bz_buf *text, struct bz_buf *again)
{
    (void)payload;
    (void)again;
    bz_buf_printf(text, "the stream is given up");
    return 0;
}

static int describe_have(struct bz_bytes payload, struct bz_buf *text, struct bz_buf *again)
{
    struct bz_have h;
    uint32_t known = 0;
    int rc;
    while ((rc = bz_have_next(&payload, known, &h)) == 0) {
        known += h.named;
        bz_buf_printf(text, " node %u", h.index);
        if (h.named)
            say_hex(text, "is", &h.node, 16);
        bz_buf_printf(text, " by %llu", NUMBER(h.advance));
        bz_have_append(again, &h);
    }
    return rc == BLAZE_END ? 0 : rc;
}

static void say_vv(struct bz_buf *text, const struct bz_told_vv *vv)
{
    for (uint32_t i = 0; i < vv->count; i++) {
        say_hex(text, "of", &vv->entries[i].node, 16);
        bz_buf_printf(text, " up to %llu", NUMBER(vv->entries[i].seq));
    }
}

static int describe_covered(struct bz_bytes payload, struct bz_buf *text, struct bz_buf *again)
{
    struct bz_coverage c;
    struct bz_arena arena;
    bz_arena_init(&arena);
    int rc = bz_covered_decode(payload, &arena, &c);
    if (rc == 0) {
        bz_buf_printf(
            text, "%scollected to %llu", c.blind ? "blind copies " : "", NUMBER(c.purged_stamp));
        say_vv(text, &c.purged);
        for (uint32_t i = 0; i < c.count; i++) {
            say_hex(text, "row", &c.rows[i].node, 16);
            bz_buf_printf(text, "%s%s age %llu", c.rows[i].forgotten ? " forgotten" : "",
                c.rows[i].floor ? " floor" : "", NUMBER(c.rows[i].age_ms));
            say_vv(text, &c.rows[i].vv);
        }
        assert_int_equal(bz_covered_encode(again, &arena, &c, true), 0);
    }
    bz_arena_release(&arena);
    return rc;
}

/* An id of the reader; `after`, if not NULL, is one that it must follow. */
static bool say_next_id(
    struct bz_reader *r, struct bz_buf *text, const char *name, const uint8_t *after)
{
    struct bz_bytes id = bz_read_bytes(r, 16);
    if (!r->ok || (after != NULL && memcmp(id.data, after, 16) <= 0))
        return false;
    say_hex(text, name, id.data, 16);
    return true;
}

/* The session reads these two where it has their ids at hand, so they are read here as the page
 * says; compare_vector_test.c has the session's own answers. */
static int describe_ranges(struct bz_bytes payload, struct bz_buf *text, struct bz_buf *again)
{
    struct bz_reader r = bz_reader(payload);
    struct bz_bytes name = bz_read_sized(&r);
    bool whole = bz_read8(&r) & 1;
    const uint8_t *after = whole ? NULL : r.p;
    if (!r.ok || name.size == 0)
        return BLAZE_EPROTO;
    bz_buf_printf(text, "of \"%.*s\"%s", (int)name.size, (const char *)name.data,
        whole ? " from the first on" : "");
    if (whole)
        bz_read_bytes(&r, 16);
    else if (!say_next_id(&r, text, "after", NULL))
        return BLAZE_EPROTO;
    uint64_t count = bz_read_varint(&r);
    if (!r.ok || count == 0 || count > 64)
        return BLAZE_EPROTO;
    for (uint64_t i = 0; i < count; i++) {
        const uint8_t *last = r.p;
        if (!say_next_id(&r, text, "up to", after))
            return BLAZE_EPROTO;
        uint64_t records = bz_read_varint(&r);
        uint64_t low = bz_read64le(&r), high = bz_read64le(&r);
        if (!r.ok || records > 1024)
            return BLAZE_EPROTO;
        bz_buf_printf(text, " records %llu digest %016llx%016llx", NUMBER(records), NUMBER(high),
            NUMBER(low));
        after = last;
    }
    bz_buf_append(again, payload.data, payload.size - bz_reader_left(&r));
    return 0;
}

static int describe_items(struct bz_bytes payload, struct bz_buf *text, struct bz_buf *again)
{
    struct bz_reader r = bz_reader(payload);
    uint64_t count = bz_read_varint(&r), listed = 0;
    if (!r.ok || count == 0 || count > 64)
        return BLAZE_EPROTO;
    for (uint64_t i = 0; i < count; i++) {
        const uint8_t *before = NULL;
        uint8_t kind = bz_read8(&r);
        if (!r.ok || kind > 2 || (kind == 2 && i + 1 < count))
            return BLAZE_EPROTO;
        bz_buf_printf(text, "%s", kind == 0 ? " the same" : kind == 1 ? " list" : " part");
        if (kind == 2 && !say_next_id(&r, text, "up to", NULL))
            return BLAZE_EPROTO;
        uint64_t ids = kind == 0 ? 0 : bz_read_varint(&r);
        if (ids > 8192 || (listed += ids) > 8192)
            return BLAZE_EPROTO;
        for (uint64_t k = 0; k < ids; k++) {
            const uint8_t *id = r.p;
            if (!say_next_id(&r, text, "id", before))
                return BLAZE_EPROTO;
            before = id;
        }
    }
    bz_buf_append(again, payload.data, payload.size - bz_reader_left(&r));
    return r.ok ? 0 : BLAZE_EPROTO;
}

static int describe_pace(struct bz_bytes payload, struct bz_buf *text, struct bz_buf *again)
{
    bool lazy;
    int rc = bz_pace_decode(payload, &lazy);
    if (rc == 0)
        bz_buf_printf(text, "%s", lazy ? "lazy" : "eager");
    if (rc == 0)
        bz_pace_encode(again, lazy);
    return rc;
}

static int describe(
    uint8_t type, struct bz_bytes payload, struct bz_buf *text, struct bz_buf *again)
{
    static int (*const by_type[])(struct bz_bytes, struct bz_buf *, struct bz_buf *) = {NULL,
        describe_hello, describe_enrol, describe_proof, describe_welcome, describe_goodbye,
        describe_resume, describe_changes, describe_ack, describe_ping, describe_ping,
        describe_goodbye, [BZ_FRAME_RANGES] = describe_ranges, [BZ_FRAME_ITEMS] = describe_items,
        [BZ_FRAME_COVERED] = describe_covered, [BZ_FRAME_HAVE] = describe_have,
        [BZ_FRAME_PACE] = describe_pace, [BZ_FRAME_REST] = describe_rest};
    assert_true(type < sizeof by_type / sizeof *by_type && by_type[type] != NULL);
    return by_type[type](payload, text, again);
}

static uint8_t type_of(const char *name)
{
    for (uint8_t i = 1; i < sizeof frame_names / sizeof *frame_names; i++) {
        if (frame_names[i] != NULL && strcmp(frame_names[i], name) == 0)
            return i;
    }
    fail_msg("no frame is called %s", name);
    return 0;
}

static void frames_say_what_they_say(void **state)
{
    (void)state;
    struct vectors v;
    unsigned count = 0;
    vectors_open(&v);
    for (; vectors_next(&v, "frame"); count++) {
        uint8_t bytes[LINE_MAX_SIZE], type;
        struct bz_bytes payload, wire = from_hex(v.parts[3], bytes);
        struct bz_buf text, again, frame;
        size_t size;
        bz_buf_init(&text, 100000);
        bz_buf_init(&again, 100000);
        bz_buf_init(&frame, 100000);
        assert_int_equal(bz_frame_peek(wire, &type, &payload, &size), 0);
        assert_int_equal(size, wire.size);
        assert_string_equal(frame_names[type], v.parts[1]);
        assert_int_equal(describe(type, payload, &text, &again), 0);
        bz_buf_append8(&text, 0);
        const char *said = (const char *)text.data + (text.data[0] == ' ');
        assert_string_equal(said, v.parts[4]);
        bz_frame_append(&frame, type, bz_buf_bytes(&again));
        assert_int_equal(frame.size, wire.size);
        assert_memory_equal(frame.data, wire.data, wire.size);
        bz_buf_release(&text);
        bz_buf_release(&again);
        bz_buf_release(&frame);
    }
    assert_true(count > 10);
}

static void payloads_that_cannot_be_are_refused(void **state)
{
    (void)state;
    struct vectors v;
    unsigned count = 0;
    vectors_open(&v);
    for (; vectors_next(&v, "bad"); count++) {
        uint8_t bytes[LINE_MAX_SIZE];
        struct bz_buf text, again;
        bz_buf_init(&text, 100000);
        bz_buf_init(&again, 100000);
        int rc = describe(type_of(v.parts[1]), from_hex(v.parts[3], bytes), &text, &again);
        if (rc != BLAZE_EPROTO)
            print_message("%s\n", v.parts[2]);
        assert_int_equal(rc, BLAZE_EPROTO);
        bz_buf_release(&text);
        bz_buf_release(&again);
    }
    assert_true(count > 10);
}

/* ---- a session in full ---- */

struct keyring {
    struct bz_key access, member;
};

static int real_mac(void *context, bool member, struct bz_bytes transcript, uint8_t out[32])
{
    const struct keyring *keys = context;
    return bz_key_prove(out, member ? &keys->member : &keys->access, transcript);
}

static struct keyring keyring;
static struct fake_keys noise;

static int counted_random(void *context, void *data, size_t size)
{
    (void)context;
    return fake_random(&noise, data, size);
}

static const struct bz_session_auth auth = {real_mac, counted_random, &keyring};

struct recording {
    struct fake *fakes[2];
    struct bz_replica replicas[2];
    struct bz_session_host host;
    struct session_pipe pipe;
    struct bz_buf sent[2];
};

static int host_open(void *context, const blaze_id *database, struct bz_replica *replica,
    struct bz_session_auth *out, blaze_error *error)
{
    (void)database;
    (void)error;
    *replica = ((struct recording *)context)->replicas[1];
    *out = auth;
    return 0;
}

static void record_wire(void *context, int from, uint8_t *data, size_t size)
{
    bz_buf_append(&((struct recording *)context)->sent[from], data, size);
}

/* The session of the vectors: a record on either side, one in conflict, one write while live. */
static void hold(struct recording *r)
{
    struct bz_secret secret;
    blaze_id database = fake_id(7);
    for (uint8_t i = 0; i < 32; i++)
        secret.bytes[i] = i;
    noise = (struct fake_keys){.random = 1};
    assert_int_equal(bz_key_derive(&keyring.access, &secret, &database, BZ_KEY_ACCESS), 0);
    assert_int_equal(bz_key_derive(&keyring.member, &secret, &database, BZ_KEY_MEMBER), 0);
    *r = (struct recording){.pipe = {.rng = {1}, .now_ms = 1000, .wall_ms = 1700000000000u}};
    r->pipe.on_wire = record_wire;
    r->pipe.context = r;
    r->host = (struct bz_session_host){host_open, NULL, r};
    for (int i = 0; i < 2; i++) {
        r->fakes[i] = fake_new(7, (uint64_t)i + 1);
        r->replicas[i] = (struct bz_replica){&fake_ops, r->fakes[i]};
        bz_buf_init(&r->sent[i], 1u << 20);
    }
    fake_write(r->fakes[0], "notes", 1, "title", bz_bytes_text("from the one"));
    fake_write(r->fakes[0], "notes", 2, "title", bz_bytes_text("of both"));
    fake_write(r->fakes[1], "notes", 2, "title", bz_bytes_text("of both, too"));
    fake_write(r->fakes[1], "notes", 3, "text", bz_bytes_text("from the other"));
    fake_write(r->fakes[1], "notes", 3, NULL, bz_bytes_text(""));
    struct bz_session_options connecting = {
        .connecting = true, .replica = &r->replicas[0], .auth = &auth};
    struct bz_session_options accepting = {.host = &r->host};
    for (uint8_t i = 0; i < 32; i++)
        connecting.binding[i] = accepting.binding[i] = (uint8_t)(0xe0 + i);
    assert_int_equal(pipe_open(&r->pipe, &connecting, &accepting), 0);
    pipe_wake(&r->pipe);
    pipe_settle(&r->pipe, 10000);
    assert_true(pipe_live(&r->pipe));
    fake_write(r->fakes[0], "notes", 1, "text", bz_bytes_text("later"));
    pipe_wake(&r->pipe);
    pipe_settle(&r->pipe, 10000);
    assert_true(pipe_live(&r->pipe));
    bz_session_close(r->pipe.ends[0].session, BLAZE_OK, "done");
    pipe_wake(&r->pipe);
    pipe_settle(&r->pipe, 10000);
}

static void recording_release(struct recording *r)
{
    pipe_close(&r->pipe);
    for (int i = 0; i < 2; i++) {
        fake_free(r->fakes[i]);
        bz_buf_release(&r->sent[i]);
    }
}

/* Appends a stream as lines of the file. */
static void list_stream(struct bz_buf *out, const char *who, struct bz_bytes stream)
{
    uint8_t type;
    struct bz_bytes payload;
    size_t size;
    while (bz_frame_peek(stream, &type, &payload, &size) == 0) {
        bz_buf_printf(out, "session | %s | %s | ", who, frame_names[type]);
        bz_hex_append(out, bz_bytes(stream.data, size));
        bz_buf_printf(out, "\n");
        stream = bz_bytes(stream.data + size, stream.size - size);
    }
    assert_int_equal(stream.size, 0);
}

static void a_session_is_written_as_recorded(void **state)
{
    (void)state;
    struct recording r;
    struct vectors v;
    struct bz_buf listed, wanted;
    hold(&r);
    bz_buf_init(&listed, 1u << 20);
    bz_buf_init(&wanted, 1u << 20);
    list_stream(&listed, "connecting", bz_buf_bytes(&r.sent[0]));
    list_stream(&listed, "accepting", bz_buf_bytes(&r.sent[1]));
    bz_buf_append8(&listed, 0);
    if (getenv("BLAZEDB_VECTORS") != NULL) /* after a change of the format, to put in the file */
        fputs((const char *)listed.data, stderr);
    vectors_open(&v);
    while (vectors_next(&v, "session"))
        bz_buf_printf(&wanted, "session | %s | %s | %s\n", v.parts[1], v.parts[2], v.parts[3]);
    bz_buf_append8(&wanted, 0);
    assert_string_equal((const char *)listed.data, (const char *)wanted.data);
    bz_buf_release(&listed);
    bz_buf_release(&wanted);
    recording_release(&r);
}

static void a_recorded_session_is_understood(void **state)
{
    (void)state;
    struct recording r;
    struct vectors v;
    hold(&r);
    /* The accepting side anew, with the same nonce, against what was once recorded. */
    fake_free(r.fakes[1]);
    r.fakes[1] = fake_new(7, 2);
    r.replicas[1].context = r.fakes[1];
    struct bz_session_options accepting = {.host = &r.host};
    for (uint8_t i = 0; i < 32; i++)
        accepting.binding[i] = (uint8_t)(0xe0 + i);
    uint8_t nonce[32];
    noise = (struct fake_keys){.random = 1};
    fake_random(&noise, nonce, sizeof nonce); /* the connecting side's */
    struct bz_session *session;
    assert_int_equal(bz_session_new(&session, &accepting, 1000, NULL), 0);
    vectors_open(&v);
    while (vectors_next(&v, "session")) {
        uint8_t bytes[LINE_MAX_SIZE];
        if (strcmp(v.parts[1], "connecting") != 0 || strcmp(v.parts[2], "ACK") == 0)
            continue; /* what it acknowledged was another database's */
        bz_session_receive(session, from_hex(v.parts[3], bytes), 1000);
        while (bz_session_run(session, 1000, 1700000000000u))
            ;
    }
    struct bz_session_status status;
    bz_session_status(session, &status);
    assert_int_equal(status.phase, BZ_SESSION_CLOSED);
    assert_int_equal(status.code, BLAZE_OK);
    assert_string_equal(status.reason, "done");
    assert_int_equal(status.received_records, 3);
    assert_int_equal(r.fakes[1]->count, 2);
    bz_session_free(session);
    recording_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_say_what_they_say),
        cmocka_unit_test(payloads_that_cannot_be_are_refused),
        cmocka_unit_test(a_session_is_written_as_recorded),
        cmocka_unit_test(a_recorded_session_is_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A member that knows the secret, is let in by a hub that runs, and then does what it should not:
 * its session ends with its reason, or is held within bounds; those who sync meanwhile do not
 * notice, and the databases are unharmed. Or it keeps to the protocol, and seals what nobody can
 * read: they are told so, and go on.
 *
 * The member is a session of the library until it is let in. From then on frames are made by hand.
 */
#include "world.h"

#include "net/net.h"
#include "os/os.h"
#include "peer/member.h"
#include "sync/frame.h"
#include "wait.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMBER  "hostile.blz"
#define RECORDS 12000 /* more than the buffers of a socket hold */

/* How much more memory the hub may have needed at most than before; what is freed stays with the
 * address sanitizer for a while. */
#ifdef __SANITIZE_ADDRESS__
#define GROWTH_KB (640u << 10)
#else
#define GROWTH_KB (96u << 10)
#endif

struct member {
    const struct deed *deed;
    const char *url;
    struct bz_loop *loop;
    struct bz_stream *stream;
    struct bz_session *session;
    struct bz_db *db;
    struct bz_replica replica;
    struct bz_keys keys;
    struct bz_session_auth auth;
    struct bz_buf input; /* the start of a frame */
    struct rng rng;
    uint64_t pings;
    uint64_t byte; /* of a ping: the next one */

    bool in; /* these under the lock */
    uint64_t pongs;
    bool over;
};

struct deed {
    const char *what;
    const char *reason; /* with which the hub ends it; NULL: not at all */
    void (*act)(struct member *m);
    void (*go_on)(struct member *m);    /* when there is room to write again, or NULL */
    void (*answered)(struct member *m); /* a PONG has come, or NULL */
    bool seals; /* it keeps to all rules but that of how to seal: it syncs */
};

/* ---- on the loop ---- */

/* False if it is hung up on. */
static bool write_bytes(struct member *m, const void *data, size_t size)
{
    return bz_stream_write(m->stream, bz_bytes(data, size)) == 0;
}

static void write_frame(struct member *m, uint8_t type, struct bz_buf *payload)
{
    struct bz_buf frame;
    bz_buf_init(&frame, 1u << 20);
    bz_frame_append(&frame, type, bz_buf_bytes(payload));
    write_bytes(m, frame.data, frame.size);
    bz_buf_release(&frame);
    bz_buf_release(payload);
}

static struct bz_buf payload_of(const char *data, size_t size)
{
    struct bz_buf payload;
    bz_buf_init(&payload, 1u << 20);
    bz_buf_append(&payload, data, size);
    return payload;
}

static void do_nothing(struct member *m)
{
    (void)m;
}

/* All that it holds is what the system's buffers take. */
static void never_read(struct member *m)
{
    bz_stream_pause(m->stream);
}

static const uint8_t ping[] = {2, BZ_FRAME_PING, 0};
#define TRICKLED_PINGS 100

static void trickle_a_byte(struct bz_task *task);
static struct bz_task trickling = {.run = trickle_a_byte};
static struct member *trickler;

/* Each byte by itself, in a turn of the loop of its own. */
static void trickle_a_byte(struct bz_task *task)
{
    struct member *m = trickler;
    if (m->stream == NULL || m->pings == TRICKLED_PINGS)
        return;
    write_bytes(m, &ping[m->byte], 1);
    m->byte = (m->byte + 1) % sizeof ping;
    m->pings += m->byte == 0;
    bz_loop_post(m->loop, task);
}

static void trickle(struct member *m)
{
    trickler = m;
    bz_loop_post(m->loop, &trickling);
}

static void write_rubbish(struct member *m)
{
    uint8_t noise[16384];
    do {
        rng_fill(&m->rng, noise, sizeof noise);
        memset(noise, 0xff, 12); /* no frame that could be skipped or waited for */
    } while (write_bytes(m, noise, sizeof noise) && !bz_stream_full(m->stream));
}

static void write_pings(struct member *m)
{
    uint8_t many[10922 * sizeof ping];
    for (size_t i = 0; i < sizeof many; i += sizeof ping)
        memcpy(many + i, ping, sizeof ping);
    while (write_bytes(m, many, sizeof many) && !bz_stream_full(m->stream))
        ;
}

static void write_pings_and_never_read(struct member *m)
{
    never_read(m);
    write_pings(m);
}

static void ping_once_more(struct member *m)
{
    write_bytes(m, ping, sizeof ping);
}

static void say_hello_again(struct member *m)
{
    struct bz_buf payload = payload_of("", 0);
    bz_hello_encode(&payload, &(struct bz_hello){.version_min = 1, .version_max = 1});
    write_frame(m, BZ_FRAME_HELLO, &payload);
}

static void prove_again(struct member *m)
{
    struct bz_buf payload = payload_of("", 0);
    bz_proof_encode(&payload, &(struct bz_proof){.member = true});
    write_frame(m, BZ_FRAME_PROOF, &payload);
}

static void ask_again_and_again(struct member *m)
{
    for (uint64_t round = 1; round < 10; round++) {
        struct bz_buf payload = payload_of("", 0);
        bz_resume_encode(&payload, &(struct bz_resume){.round = round});
        write_frame(m, BZ_FRAME_RESUME, &payload);
    }
}

static void acknowledge_nothing(struct member *m)
{
    struct bz_buf payload = payload_of("", 0);
    bz_ack_encode(&payload, &(struct bz_ack){.chunks = 1u << 20, .position = 1, .window = 1});
    write_frame(m, BZ_FRAME_ACK, &payload);
}

static void send_changes_from_elsewhere(struct member *m)
{
    struct bz_buf payload = payload_of("", 0);
    struct bz_chunk chunk = {.more = true,
        .from = 1u << 20,
        .to = 1u << 21,
        .as_of = 1u << 21,
        .body = bz_bytes("\0", 2)};
    bz_chunk_encode(&payload, &chunk);
    write_frame(m, BZ_FRAME_CHANGES, &payload);
}

static void answer_what_was_not_asked(struct member *m)
{
    struct bz_buf payload = payload_of("\0", 1);
    write_frame(m, BZ_FRAME_ITEMS, &payload);
}

static void tell_of_nobody(struct member *m)
{
    struct bz_buf payload = payload_of("\xff\xff\xff\xff\xff\xff", 6);
    write_frame(m, BZ_FRAME_COVERED, &payload);
}

static void send_a_frame_of_a_later_version(struct member *m)
{
    struct bz_buf payload = payload_of("??", 2);
    write_frame(m, 0x7e, &payload);
}

static void send_a_frame_larger_than_any(struct member *m)
{
    write_bytes(m, "\xff\xff\xff\xff\x07\x07", 6);
}

static const struct deed deeds[] = {
    {"says nothing", NULL, do_nothing, NULL, NULL},
    {"never reads", NULL, never_read, NULL, NULL},
    {"trickles", NULL, trickle, NULL, NULL},
    {"asks for a sign of life for ever", NULL, ping_once_more, NULL, ping_once_more},
    {"floods with rubbish", "malformed frame", write_rubbish, write_rubbish, NULL},
    {"floods with pings, and never reads", "more than is dealt with", write_pings_and_never_read,
        write_pings, NULL},
    {"says hello again", "means nothing here", say_hello_again, NULL, NULL},
    {"proves itself again", "means nothing here", prove_again, NULL, NULL},
    {"asks again and again", "again and again", ask_again_and_again, NULL, NULL},
    {"acknowledges nothing", "acknowledges what was not sent", acknowledge_nothing, NULL, NULL},
    {"sends changes from elsewhere", "do not go on where they ended", send_changes_from_elsewhere,
        NULL, NULL},
    {"answers what was not asked", "malformed way", answer_what_was_not_asked, NULL, NULL},
    {"tells of nobody", "of other replicas is malformed", tell_of_nobody, NULL, NULL},
    {"sends a frame of a later version", "means nothing here", send_a_frame_of_a_later_version,
        NULL, NULL},
    {"sends a frame larger than any", "a frame of 2147483652 bytes", send_a_frame_larger_than_any,
        NULL, NULL},
};

static uint64_t now_ms(void)
{
    return bz_os_mono_ns() / 1000000u;
}

/* Once it is let in. */
static void turn_hostile(struct member *m)
{
    bz_session_free(m->session);
    m->session = NULL;
    NOTE(m->in = true);
    m->deed->act(m);
}

/* ---- what it seals is authentic, for it has the keys, and nobody can read it ---- */

static const struct bz_seal_ops *honest_seal;

static int seal_rubbish(void *sealer, const blaze_id *node, struct bz_bytes more,
    struct bz_bytes body, struct bz_buf *out)
{
    (void)body;
    return honest_seal->seal_body(sealer, node, more, bz_bytes_text("\xff no form of a body"), out);
}

static int seal_no_dictionary(
    void *sealer, enum bz_term term, struct bz_bytes name, struct bz_buf *out)
{
    return honest_seal->seal_name(sealer, term,
        term == BZ_TERM_DICTIONARY ? bz_bytes_text("no dictionary of any kind") : name, out);
}

static struct bz_seal_ops bad_seal;

static void seal_badly(struct member *m)
{
    honest_seal = m->auth.seal;
    bad_seal = *honest_seal;
    bad_seal.seal_body = seal_rubbish;
    bad_seal.seal_name = seal_no_dictionary;
    m->auth.seal = &bad_seal;
}

static const struct deed bad_sealing = {.what = "seals badly", .seals = true};

static void drive(struct member *m)
{
    struct bz_session_status status;
    bool more;
    do {
        more = bz_session_run(m->session, now_ms(), bz_os_wall_ms());
        struct bz_bytes output = bz_session_output(m->session);
        write_bytes(m, output.data, output.size);
        bz_session_sent(m->session, output.size);
        bz_session_status(m->session, &status);
    } while (more && (m->deed->seals || status.phase == BZ_SESSION_HANDSHAKE));
    if (m->deed->seals && status.phase == BZ_SESSION_LIVE)
        NOTE(m->in = true);
    else if (!m->deed->seals && status.phase != BZ_SESSION_HANDSHAKE &&
             status.phase != BZ_SESSION_CLOSED)
        turn_hostile(m);
}

static void on_open(void *context, struct bz_stream *stream)
{
    struct member *m = context;
    struct bz_session_options options = {
        .connecting = true, .replica = &m->replica, .auth = &m->auth};
    if (bz_stream_binding(stream, options.binding) != 0 ||
        bz_session_new(&m->session, &options, now_ms(), NULL) != 0)
        abort();
    drive(m);
}

/* Cuts what comes into frames. */
static void listen_for_pongs(struct member *m, struct bz_bytes data)
{
    uint8_t type;
    struct bz_bytes payload;
    size_t size;
    bz_buf_append(&m->input, data.data, data.size);
    while (bz_frame_peek(bz_buf_bytes(&m->input), &type, &payload, &size) == 0) {
        bz_buf_consume(&m->input, size);
        if (type != BZ_FRAME_PONG)
            continue;
        NOTE(m->pongs++);
        if (m->deed->answered != NULL)
            m->deed->answered(m);
    }
}

static void on_data(void *context, struct bz_stream *stream, struct bz_bytes data)
{
    struct member *m = context;
    (void)stream;
    listen_for_pongs(m, data);
    if (m->session == NULL)
        return;
    bz_session_receive(m->session, data, now_ms());
    drive(m);
}

static void on_writable(void *context, struct bz_stream *stream)
{
    struct member *m = context;
    (void)stream;
    if (m->deed->go_on != NULL && m->in)
        m->deed->go_on(m);
}

static void on_close(void *context, struct bz_stream *stream, const blaze_error *reason)
{
    struct member *m = context;
    (void)stream;
    (void)reason;
    m->stream = NULL;
    bz_session_free(m->session);
    m->session = NULL;
    NOTE(m->over = true);
}

static void connect_on_loop(void *context)
{
    static const struct bz_stream_callbacks callbacks = {
        .on_open = on_open, .on_data = on_data, .on_writable = on_writable, .on_close = on_close};
    struct member *m = context;
    if (bz_stream_connect(&m->stream, m->loop, m->url, NULL, &callbacks, m, NULL) != 0)
        abort();
}

/* ---- the member, from outside ---- */

static void member_begin(struct member *m, const struct deed *deed, const char *url)
{
    struct bz_db_options options = {0};
    blaze_error error;
    *m = (struct member){.deed = deed, .url = url, .rng.state = test_seed()};
    bz_buf_init(&m->input, 4u << 20);
    if (bz_db_open(&m->db, MEMBER, &options, &error) != 0 ||
        bz_keys_load(m->db, &m->keys, &error) != 0 ||
        bz_db_replica_open(m->db, &m->replica, &error) != 0 || bz_loop_open(&m->loop, &error) != 0)
        fail_msg("%s", error.text);
    m->auth = bz_keys_auth(&m->keys);
    if (deed->seals)
        seal_badly(m);
    bz_loop_call(m->loop, connect_on_loop, m);
    WAIT_UNTIL(m->in || m->over);
    pthread_mutex_lock(&test_lock);
    assert_true(m->in);
    pthread_mutex_unlock(&test_lock);
}

static void member_end(struct member *m)
{
    bz_loop_close(m->loop);
    bz_db_replica_close(&m->replica);
    assert_int_equal(bz_db_close(m->db, NULL), 0);
    bz_buf_release(&m->input);
}

/* ---- those who keep to the rules ---- */

static uint64_t most_memory_kb(struct world *w, pid_t pid)
{
    FILE *file = fopen(text(w, "/proc/%ld/status", (long)pid), "r");
    char line[256];
    uint64_t kb = 0;
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "VmHWM:", 6) == 0)
            kb = strtoull(line + 6, NULL, 10);
    fclose(file);
    assert_true(kb > 0);
    return kb;
}

static void write_many(const char *name)
{
    FILE *file = fopen(name, "wb");
    struct rng rng = {.state = test_seed()};
    uint8_t noise[512];
    assert_non_null(file);
    for (unsigned i = 0; i < RECORDS; i++) {
        rng_fill(&rng, noise, sizeof noise);
        fprintf(file, "{\"n\":%u,\"noise\":\"", i);
        for (size_t k = 0; k < sizeof noise; k++)
            fprintf(file, "%02x", noise[k]);
        fprintf(file, "\"}\n");
    }
    assert_int_equal(fclose(file), 0);
}

static void write_and_sync(struct world *w)
{
    must(w, "insert", "a.blz", "c", "{\"from\":\"a\"}", NULL);
    must(w, "insert", "b.blz", "c", "{\"from\":\"b\"}", NULL);
    must(w, "sync", "a.blz", NULL);
    must(w, "sync", "b.blz", NULL);
    must(w, "sync", "a.blz", NULL);
    assert_same(w, "a.blz", "b.blz");
}

static void do_one_deed(struct world *w, struct hub *hub, const struct deed *deed)
{
    struct member m;
    member_begin(&m, deed, hub->url);
    write_and_sync(w);
    if (deed->reason != NULL)
        WAIT_UNTIL(m.over);
    else if (deed->act == trickle)
        WAIT_UNTIL(m.pongs == TRICKLED_PINGS);
    else if (deed->answered != NULL)
        WAIT_UNTIL(m.pongs > 100);
    pthread_mutex_lock(&test_lock);
    assert_true(m.over == (deed->reason != NULL));
    pthread_mutex_unlock(&test_lock);
    member_end(&m);
}

/* The hub has said why, in the order of the deeds. */
static void assert_reasons(struct world *w, const struct hub *hub)
{
    const char *at = errors_of(w, hub->process);
    for (size_t i = 0; i < sizeof deeds / sizeof *deeds; i++) {
        if (deeds[i].reason == NULL)
            continue;
        const char *found = strstr(at, deeds[i].reason);
        if (found == NULL)
            fail_msg("who %s was not told \"%s\": %s", deeds[i].what, deeds[i].reason, at);
        at = found + 1;
    }
}

static void misbehave(struct world *w, const char *url, const char *trusted)
{
    struct hub hub = start_logging_hub(w, "hub", url, trusted);
    must(w, "create", "a.blz", NULL);
    const char *code = json_at(w, must(w, "share", "a.blz", hub.url, trusted, NULL), "code");
    must(w, "join", "b.blz", code, NULL);
    must(w, "join", MEMBER, code, NULL);
    write_many("many.jsonl");
    must(w, "import", "a.blz", "c", "many.jsonl", NULL);
    write_and_sync(w);
    uint64_t before = most_memory_kb(w, pid_of(hub.process));

    for (size_t i = 0; i < sizeof deeds / sizeof *deeds; i++)
        do_one_deed(w, &hub, &deeds[i]);
    uint64_t after = most_memory_kb(w, pid_of(hub.process));
    if (after > before + GROWTH_KB)
        fail_msg("the hub took %llu KiB, and %llu before", (unsigned long long)after,
            (unsigned long long)before);

    /* It is served again as soon as it behaves. */
    must(w, "sync", MEMBER, NULL);
    assert_same(w, "a.blz", MEMBER);
    const char *hosted = text(
        w, "%s/%s.blz", hub.directory, json_at(w, must(w, "status", "a.blz", NULL), "database"));

    /* And the hub can be closed while somebody does not read. */
    struct member m;
    member_begin(&m, &deeds[1], hub.url);
    stop_hub(&hub);
    member_end(&m);
    must(w, "check", hosted, NULL);
    must(w, "check", "b.blz", NULL);
    assert_reasons(w, &hub);
}

static void whatever_a_member_does_to_a_blind_hub_by_tcp_nobody_else_notices(void **state)
{
    struct world *w = *state;
    misbehave(w, "tcp://127.0.0.1:0", NULL);
}

static void whatever_a_member_does_to_a_trusted_hub_by_unix_nobody_else_notices(void **state)
{
    struct world *w = *state;
    misbehave(w, text(w, "unix:%s/hub.sock", w->dir), "--trusted");
}

/* What status says of the one record that was left out. */
static void assert_left_out(struct world *w, const char *name, const char *record)
{
    const char *node = json_at(w, must(w, "status", MEMBER, NULL), "node");
    const char *status = must(w, "status", name, NULL);
    assert_string_equal(json_at(w, status, "unreadable.count"), "1");
    assert_non_null(strstr(status, text(w, "\"record\":\"%s\"", record)));
    assert_non_null(strstr(status, text(w, "\"collection\":\"c\",\"writer\":\"%s\"", node)));
    assert_non_null(strstr(status, "\"kind\":\"unreadable\",\"value\":1"));
    assert_non_null(strstr(status, "write it anew"));
}

static void what_a_member_seals_badly_stops_nobody_else(void **state)
{
    struct world *w = *state;
    struct member m;
    struct hub hub = start_logging_hub(w, "hub", "tcp://127.0.0.1:0", NULL);
    must(w, "create", "a.blz", NULL);
    const char *code = json_at(w, must(w, "share", "a.blz", hub.url, NULL), "code");
    must(w, "join", "b.blz", code, NULL);
    must(w, "join", MEMBER, code, NULL);
    const char *bad = json_at(w, must(w, "insert", MEMBER, "c", "{\"from\":\"it\"}", NULL), "_id");
    member_begin(&m, &bad_sealing, hub.url);
    member_end(&m);

    /* Twice, since who met it once met it each time. */
    for (int i = 0; i < 2; i++) {
        write_and_sync(w);
        assert_left_out(w, "a.blz", bad);
        assert_left_out(w, "b.blz", bad);
    }
    must(w, "join", "late.blz", code, NULL);
    assert_same(w, "a.blz", "late.blz");
    assert_left_out(w, "late.blz", bad);

    /* Somebody writes it whole, and all have it. */
    must(w, "put", "b.blz", "c", bad, "{\"from\":\"b\"}", NULL);
    const char *all[] = {"b.blz", "a.blz", "late.blz", MEMBER};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        must(w, "sync", all[i], NULL);
        assert_same(w, "b.blz", all[i]);
        assert_null(strstr(must(w, "status", all[i], NULL), "unreadable"));
        must(w, "check", all[i], NULL);
    }
    stop_hub(&hub);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_a_member_seals_badly_stops_nobody_else),
        TEST(whatever_a_member_does_to_a_blind_hub_by_tcp_nobody_else_notices),
        TEST(whatever_a_member_does_to_a_trusted_hub_by_unix_nobody_else_notices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

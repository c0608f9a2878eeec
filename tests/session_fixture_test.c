/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions as an earlier version held them, kept under tests/fixtures/: one between two members,
 * one between a member and a blind hub, to which another member brings what it writes. Every later
 * version must understand both sides of each.
 *
 * A session has phases: what one side writes, then what the two sides say to each other. Each
 * side's bytes are given to today's code on a database that is made as the other side's was; what
 * today's code answers may differ, so the acknowledgements of its answers are made here and those
 * recorded are only read. Proofs are constants: they cover what today's side says. What the hub
 * gets is sealed as it is outside of tests, with keys that are constants, and packed with a
 * dictionary.
 *
 * To record the sessions of a new version (never over old ones): BLAZEDB_FIXTURE=DIR
 * test/session_fixture_test writes connecting, accepting and phases to DIR/members and DIR/hub.
 */
#include "sync_world.h"

#include "crypto/record_seal.h"
#include "peer/member.h"
#include "peer/seal.h"
#include "sync/dictionary.h"
#include "sync/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#define PHASES 5
#define FIRST  BZ_SOURCE_DIR "/tests/fixtures/session-1"
#define HUB    BZ_SOURCE_DIR "/tests/fixtures/session-hub-1"

struct side {
    struct bz_db *db;
    struct bz_replica replica;
    int number;
    uint64_t wall_ms;
};

struct mark {
    uint64_t sent[2]; /* bytes of each side, by the end of the phase */
};

struct story {
    struct bz_buf sent[2];
    struct mark marks[PHASES];
    struct {
        uint64_t records, low, high;
    } end[2];
};

/* Connecting, accepting; and where the accepting one is a blind hub, the other member. */
static struct side sides[3];
static bool hub;

/* The same for whatever it is asked for: so ids do not depend on what is asked for first. */
static int constant(void *context, void *data, size_t size)
{
    memset(data, 0x11 * (((struct side *)context)->number + 1), size);
    return 0;
}

static uint64_t wall(void *context)
{
    return ((struct side *)context)->wall_ms++;
}

/* A blind hub does not have the members' key. */
static int hub_mac(void *context, bool member, struct bz_bytes transcript, uint8_t out[32])
{
    return member ? BLAZE_ENOTFOUND : fake_constant_mac(context, member, transcript, out);
}

static int host_opens(void *context, const blaze_id *database, struct bz_replica *replica,
    struct bz_session_auth *auth, blaze_error *error)
{
    (void)context;
    (void)database;
    (void)error;
    *replica = sides[1].replica;
    *auth = (struct bz_session_auth){hub ? hub_mac : fake_constant_mac, constant, &sides[1]};
    return 0;
}

static int begin_sealing(void *context, const blaze_id *database, void **sealer)
{
    struct bz_keys keys = {0};
    (void)context;
    memset(&keys.content, 0xc0, sizeof keys.content);
    memset(&keys.name, 0x4e, sizeof keys.name);
    return bz_seal_ops.begin(&keys, database, sealer);
}

/* What a member connects with. */
static struct bz_session_auth auth_of(int side)
{
    static struct bz_seal_ops sealing;
    sealing = bz_seal_ops;
    sealing.begin = begin_sealing;
    return (struct bz_session_auth){fake_constant_mac, constant, &sides[side], &sealing};
}

static const struct bz_session_host fixture_host = {host_opens, NULL, NULL};

static void side_open(int i)
{
    struct side *s = &sides[i];
    *s = (struct side){.number = i, .wall_ms = 1700000000000u + (uint64_t)i};
    struct bz_db_options options = {.create = true,
        .memory = true,
        .role = i == 1 ? BZ_ROLE_SERVER : BZ_ROLE_CLIENT,
        .blind = hub && i == 1,
        .database = fake_id(7),
        .apply_durability = BZ_DURABLE_RELAXED,
        .wall_ms = wall,
        .entropy = constant,
        .context = s};
    static const char *const called[] = {"connecting", "accepting", "another"};
    assert_int_equal(bz_db_open(&s->db, called[i], &options, NULL), 0);
    assert_int_equal(bz_db_replica_open(s->db, &s->replica, NULL), 0);
}

static void side_close(int i)
{
    bz_db_replica_close(&sides[i].replica);
    assert_int_equal(bz_db_close(sides[i].db, NULL), 0);
}

/* ---- what is written ---- */

static void put(struct bz_db_txn *txn, uint64_t id, const char *field, const char *text, bool whole)
{
    blaze_doc *doc;
    blaze_id key = fake_id(id);
    assert_int_equal(blaze_doc_new(&doc), 0);
    blaze_doc_add_string(doc, field, text);
    blaze_doc_add_int(doc, "number", (int64_t)id);
    int rc = whole ? bz_db_put(txn, bz_bytes_text("notes"), &key, doc, NULL)
                   : bz_db_upsert(txn, bz_bytes_text("notes"), &key, doc, NULL);
    assert_int_equal(rc, 0);
    blaze_doc_free(doc);
}

static void write_to(struct side *s, int side, int phase)
{
    struct bz_db_txn *txn;
    blaze_id gone = fake_id(3);
    assert_int_equal(bz_db_begin(s->db, &txn, NULL), 0);
    switch (phase * 2 + side) {
    case 0: /* what there is before they meet; 100 is in conflict */
        for (uint64_t i = 1; i <= 60; i++)
            put(txn, i, "text", "a note of the connecting side, one of sixty", true);
        put(txn, 100, "title", "from the one", true);
        break;
    case 1:
        put(txn, 100, "title", "from the other", true);
        put(txn, 101, "text", "a note of the accepting side", true);
        break;
    case 2: /* live: one field */
        put(txn, 1, "title", "a title", false);
        break;
    case 3:
        break;
    case 4: /* live: both the same field at once */
        put(txn, 2, "title", "of the one", false);
        break;
    case 5:
        put(txn, 2, "title", "of the other", false);
        break;
    case 7: /* a delete, and the conflict of the beginning is resolved */
        assert_int_equal(bz_db_delete(txn, bz_bytes_text("notes"), &gone, NULL), 0);
        put(txn, 100, "title", "resolved", false);
        break;
    default: /* the last phase is the farewell */
        break;
    }
    assert_int_equal(bz_db_commit(txn, BZ_DURABLE_RELAXED, NULL), 0);
}

/* The other member brings to the hub what it has written, and takes what is there. */
static void carry(void)
{
    struct bz_session_auth auth = auth_of(2);
    struct bz_session_options connecting = {
        .connecting = true, .replica = &sides[2].replica, .auth = &auth};
    struct bz_session_options accepting = {.host = &fixture_host};
    struct session_pipe pipe = {.rng = {2}, .now_ms = 1000, .wall_ms = 1700000000000u};
    assert_int_equal(pipe_open(&pipe, &connecting, &accepting), 0);
    pipe_wake(&pipe);
    assert_true(pipe_settle(&pipe, 10000) < 10000 && pipe_live(&pipe));
    pipe_close(&pipe);
}

static void write_phase(int side, int phase)
{
    bool other = hub && side == 1;
    write_to(&sides[other ? 2 : side], side, phase);
    if (other)
        carry();
}

/* A hub has a dictionary, which a member has made of what it had then. */
static void keep_dictionary(struct side *s)
{
    struct bz_dictionaries dictionaries;
    struct bz_dictionary *made = NULL;
    struct bz_session_auth auth = auth_of(2);
    blaze_id member = fake_id(99), database = fake_id(7);
    void *sealer;
    struct bz_buf sealed;
    struct bz_apply *apply;
    uint32_t number;
    bz_dictionaries_init(&dictionaries);
    bz_buf_init(&sealed, BZ_DICTIONARY_SEALED);
    for (unsigned i = 0; made == NULL; i++) {
        char text[80];
        int size = snprintf(text, sizeof text, "%c text number%c a note of the %s side, one of %u",
            (char)i, (char)(i >> 8), i % 2 ? "connecting" : "accepting", i % 61);
        assert_int_equal(
            bz_dictionaries_sample(&dictionaries, bz_bytes(text, (size_t)size), &made), 0);
        assert_true(i < 2000);
    }
    assert_int_equal(auth.seal->begin(NULL, &database, &sealer), 0);
    assert_int_equal(auth.seal->seal_name(sealer, BZ_TERM_DICTIONARY, made->bytes, &sealed), 0);
    assert_int_equal(s->replica.ops->apply_begin(s->replica.context, &member, &apply, NULL), 0);
    assert_int_equal(
        s->replica.ops->resolve(apply, BZ_TERM_DICTIONARY, bz_buf_bytes(&sealed), &number, NULL),
        0);
    assert_int_equal(
        s->replica.ops->apply_commit(apply, &(struct bz_peer_state){0}, NULL, NULL, NULL), 0);
    auth.seal->end(sealer);
    bz_buf_release(&sealed);
    bz_dictionaries_release(&dictionaries);
}

/* All that has part in what one side goes through. */
static void open_with(int side)
{
    side_open(side);
    if (hub && side == 1) {
        side_open(2);
        keep_dictionary(&sides[1]);
    }
}

static void close_with(int side)
{
    side_close(side);
    if (hub && side == 1)
        side_close(2);
}

static struct bz_session_options options_of(int side)
{
    static struct bz_session_auth auth;
    auth = auth_of(0);
    return side == 0 ? (struct bz_session_options){.connecting = true,
                           .replica = &sides[0].replica,
                           .auth = &auth,
                           .chunk_bytes = 2000}
                     : (struct bz_session_options){.host = &fixture_host, .chunk_bytes = 2000};
}

static void note_end(int side, struct story *story)
{
    struct bz_db_state state;
    struct bz_read *read;
    assert_int_equal(bz_read_begin(sides[side].db, &read, NULL), 0);
    assert_int_equal(bz_read_state(read, &state, NULL), 0);
    bz_read_end(read);
    story->end[side].records = state.records;
    story->end[side].low = state.digest.low;
    story->end[side].high = state.digest.high;
    assert_int_equal(bz_db_check(sides[side].db, NULL, NULL, NULL), 0);
}

/* ---- recording ---- */

static void keep(void *context, int from, uint8_t *data, size_t size)
{
    bz_buf_append(&((struct story *)context)->sent[from], data, size);
}

static void hold(struct story *story)
{
    struct session_pipe pipe = {
        .rng = {1}, .now_ms = 1000, .wall_ms = 1700000000000u, .on_wire = keep, .context = story};
    for (int i = 0; i < 2; i++)
        open_with(i);
    struct bz_session_options connecting = options_of(0), accepting = options_of(1);
    for (int phase = 0; phase < PHASES; phase++) {
        write_phase(0, phase);
        write_phase(1, phase);
        if (phase == 0)
            assert_int_equal(pipe_open(&pipe, &connecting, &accepting), 0);
        if (phase == PHASES - 1)
            bz_session_close(pipe.ends[0].session, BLAZE_OK, "done");
        pipe_wake(&pipe);
        assert_true(pipe_settle(&pipe, 10000) < 10000);
        assert_true(phase == PHASES - 1 || pipe_live(&pipe));
        for (int i = 0; i < 2; i++)
            story->marks[phase].sent[i] = story->sent[i].size;
    }
    assert_int_equal(pipe_status(&pipe, 1).code, BLAZE_OK);
    pipe_close(&pipe);
    for (int i = 0; i < 2; i++) {
        note_end(i, story);
        close_with(i);
    }
    assert_memory_equal(&story->end[0], &story->end[1], sizeof story->end[0]);
}

static void story_init(struct story *story)
{
    *story = (struct story){0};
    for (int i = 0; i < 2; i++)
        bz_buf_init(&story->sent[i], 1u << 20);
}

static void story_release(struct story *story)
{
    for (int i = 0; i < 2; i++)
        bz_buf_release(&story->sent[i]);
}

static FILE *fixture(const char *folder, const char *name, const char *mode)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, mode);
    if (file == NULL)
        fail_msg("%s cannot be opened", path);
    return file;
}

static const char *const names[] = {"connecting", "accepting"};

static void record_to(const char *folder)
{
    struct story story;
    story_init(&story);
    hold(&story);
    for (int i = 0; i < 2; i++) {
        FILE *file = fixture(folder, names[i], "wb");
        assert_int_equal(
            fwrite(story.sent[i].data, 1, story.sent[i].size, file), story.sent[i].size);
        assert_int_equal(fclose(file), 0);
    }
    FILE *file = fixture(folder, "phases", "w");
    for (int phase = 0; phase < PHASES; phase++)
        fprintf(file, "%llu %llu\n", (unsigned long long)story.marks[phase].sent[0],
            (unsigned long long)story.marks[phase].sent[1]);
    fprintf(file, "%llu %016llx %016llx\n", (unsigned long long)story.end[0].records,
        (unsigned long long)story.end[0].high, (unsigned long long)story.end[0].low);
    assert_int_equal(fclose(file), 0);
    story_release(&story);
}

/* ---- understanding ---- */

static void read_story(struct story *story, const char *folder)
{
    story_init(story);
    for (int i = 0; i < 2; i++) {
        uint8_t bytes[4096];
        size_t size;
        FILE *file = fixture(folder, names[i], "rb");
        while ((size = fread(bytes, 1, sizeof bytes, file)) > 0)
            bz_buf_append(&story->sent[i], bytes, size);
        fclose(file);
    }
    FILE *file = fixture(folder, "phases", "r");
    unsigned long long a, b, c;
    for (int phase = 0; phase < PHASES; phase++) {
        assert_int_equal(fscanf(file, "%llu %llu", &a, &b), 2);
        assert_true(a <= story->sent[0].size && b <= story->sent[1].size);
        story->marks[phase] = (struct mark){{a, b}};
    }
    assert_int_equal(fscanf(file, "%llu %llx %llx", &a, &b, &c), 3);
    story->end[0].records = a;
    story->end[0].high = b;
    story->end[0].low = c;
    fclose(file);
}

struct listener {
    struct bz_session *session;
    uint64_t chunks, position; /* what today's side has sent */
};

static void hear(struct listener *l, struct bz_bytes bytes)
{
    bz_session_receive(l->session, bytes, 1000);
    for (int i = 0; i < 1000 && bz_session_run(l->session, 1000, 1700000000000u); i++)
        ;
}

/* Acknowledges what today's side has sent, until it has no more to send. */
static void acknowledge(struct listener *l)
{
    for (bool more = true; more;) {
        struct bz_bytes out = bz_session_output(l->session), payload;
        uint8_t type;
        size_t size, taken = 0;
        more = false;
        while (bz_frame_peek(
                   bz_bytes(out.data + taken, out.size - taken), &type, &payload, &size) == 0) {
            struct bz_chunk chunk;
            taken += size;
            if (type != BZ_FRAME_CHANGES)
                continue;
            assert_int_equal(bz_chunk_decode(payload, &chunk), 0);
            l->chunks++;
            l->position = chunk.to;
            more = true;
        }
        bz_session_sent(l->session, taken);
        if (!more)
            continue;
        struct bz_buf ack, frame;
        bz_buf_init(&ack, 100);
        bz_buf_init(&frame, 100);
        bz_ack_encode(&ack, &(struct bz_ack){l->chunks, l->position, 1u << 20});
        bz_frame_append(&frame, BZ_FRAME_ACK, bz_buf_bytes(&ack));
        hear(l, bz_buf_bytes(&frame));
        bz_buf_release(&ack);
        bz_buf_release(&frame);
    }
}

/* What `speaker` once said, to the other side as it is today. */
static void understand(const struct story *story, int speaker)
{
    int side = !speaker;
    struct listener l = {0};
    struct story now = {0};
    size_t at = 0;
    open_with(side);
    struct bz_session_options options = options_of(side);
    for (int phase = 0; phase < PHASES; phase++) {
        write_phase(side, phase);
        if (phase == 0)
            assert_int_equal(bz_session_new(&l.session, &options, 1000, NULL), 0);
        hear(&l, bz_bytes(NULL, 0));
        acknowledge(&l);
        if (phase == PHASES - 1 && side == 0)
            bz_session_close(l.session, BLAZE_OK, "done");
        while (at < story->marks[phase].sent[speaker]) {
            struct bz_bytes payload,
                left = bz_bytes(story->sent[speaker].data + at, story->sent[speaker].size - at);
            struct bz_ack ack;
            uint8_t type;
            size_t size;
            assert_int_equal(bz_frame_peek(left, &type, &payload, &size), 0);
            if (type == BZ_FRAME_ACK)
                assert_int_equal(bz_ack_decode(payload, &ack), 0);
            else
                hear(&l, bz_bytes(left.data, size));
            acknowledge(&l);
            at += size;
            struct bz_session_status status;
            bz_session_status(l.session, &status);
            if (status.code != 0)
                print_message("%s: %s\n", blaze_error_name(status.code), status.reason);
            assert_int_equal(status.code, 0);
            assert_false(status.diverged);
        }
    }
    struct bz_session_status status;
    bz_session_status(l.session, &status);
    assert_int_equal(status.phase, BZ_SESSION_CLOSED);
    assert_int_equal(status.code, BLAZE_OK);
    if (speaker == 0)
        assert_string_equal(status.reason, "done");
    bz_session_free(l.session);
    note_end(side, &now);
    assert_memory_equal(&now.end[side], &story->end[0], sizeof now.end[side]);
    close_with(side);
}

static void understand_both(const struct story *story)
{
    for (int speaker = 0; speaker < 2; speaker++)
        understand(story, speaker);
}

static void a_session_of_the_first_version_is_understood(void **state)
{
    (void)state;
    struct story story;
    hub = false;
    read_story(&story, FIRST);
    understand_both(&story);
    story_release(&story);
}

static void a_session_with_a_hub_of_the_first_version_is_understood(void **state)
{
    (void)state;
    struct story story;
    hub = true;
    read_story(&story, HUB);
    understand_both(&story);
    story_release(&story);
}

static void what_is_recorded_now_is_understood(void **state)
{
    (void)state;
    for (int with = 0; with < 2; with++) {
        struct story story;
        hub = with == 1;
        story_init(&story);
        hold(&story);
        understand_both(&story);
        story_release(&story);
    }
}

int main(void)
{
    const char *folder = getenv("BLAZEDB_FIXTURE");
    if (folder != NULL) {
        char path[500];
        for (int with = 0; with < 2; with++) {
            hub = with == 1;
            snprintf(path, sizeof path, "%s/%s", folder, hub ? "hub" : "members");
            if (mkdir(path, 0777) != 0 && errno != EEXIST)
                return 1;
            record_to(path);
        }
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_of_the_first_version_is_understood),
        cmocka_unit_test(a_session_with_a_hub_of_the_first_version_is_understood),
        cmocka_unit_test(what_is_recorded_now_is_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two databases, the sessions between them, and a story of what happens on the wire: each step is
 * two bytes, what and how much, some with more to follow.
 *
 *   0  a write at either side              6  a small frame that nobody sent
 *   1  the sessions go on for a while      7  a byte is changed
 *   2  the link is cut and made anew       8  CHANGES that nobody sent
 *   3  time passes                         9  bytes are lost
 *   4  a frame is lost                    10  bytes come from nowhere
 *   5  a frame comes twice
 *
 * Whatever happens, the sessions come to rest or end, and both databases are sound. As long as no
 * foreign change got in (up to 6), clean sessions then make them equal.
 */
#include "sync_world.h"

#include "require.h"
#include "sync/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STORY_MAX 400
#define TURNS_MAX 20000
#define TRIES     8

struct story {
    struct world w;
    struct link *link;
    struct bz_reader left;
    bool foreign; /* something may have got in that neither database said */
};

static void write_one(struct story *s, uint8_t how)
{
    struct bz_db *db = s->w.site[how & 1].db;
    struct bz_db_txn *txn;
    blaze_doc *doc;
    blaze_id id = fake_id(how >> 1 & 7);
    REQUIRE(blaze_doc_new(&doc) == 0);
    blaze_doc_add_int(doc, how & 0x10 ? "count" : "text", how);
    REQUIRE(bz_db_begin(db, &txn, NULL) == 0);
    int rc;
    if (how >> 5 == 0)
        rc = bz_db_delete(txn, bz_bytes_text("notes"), &id, NULL);
    else if (how >> 5 < 4)
        rc = bz_db_upsert(txn, bz_bytes_text("notes"), &id, doc, NULL);
    else
        rc = bz_db_put(txn, bz_bytes_text("notes"), &id, doc, NULL);
    REQUIRE(rc == 0 || rc == BLAZE_ENOTFOUND);
    REQUIRE(bz_db_commit(txn, BZ_DURABLE_RELAXED, NULL) == 0);
    blaze_doc_free(doc);
    pipe_wake(&s->link->pipe);
}

static struct bz_buf *wire(struct story *s, uint8_t how)
{
    return &s->link->pipe.ends[how & 1].wire;
}

static size_t first_frame(const struct bz_buf *wire)
{
    uint8_t type;
    struct bz_bytes payload;
    size_t size;
    return bz_frame_peek(bz_buf_bytes(wire), &type, &payload, &size) == 0 ? size : 0;
}

static void lose(struct bz_buf *wire, size_t size)
{
    if (size > 0 && size <= wire->size)
        bz_buf_consume(wire, size);
}

static void repeat_frame(struct bz_buf *wire)
{
    size_t size = first_frame(wire);
    uint8_t *copy = malloc(wire->size + 1);
    size_t all = wire->size;
    if (size > 0) {
        memcpy(copy, wire->data, all);
        wire->size = size;
        bz_buf_append(wire, copy, all);
    }
    free(copy);
}

/* A frame without changes: numbers as the story has them. */
static void make_frame(struct story *s, uint8_t how)
{
    struct bz_buf payload;
    uint64_t a = bz_read8(&s->left), b = bz_read8(&s->left), c = bz_read8(&s->left);
    uint8_t type = BZ_FRAME_PING;
    bz_buf_init(&payload, 1000);
    switch (how >> 1 & 7) {
    case 0:
        type = BZ_FRAME_ACK;
        bz_ack_encode(&payload, &(struct bz_ack){a, b, c + 1});
        break;
    case 1:
        type = BZ_FRAME_RESUME;
        bz_resume_encode(&payload, &(struct bz_resume){.round = a & 3,
                                       .epoch = b & 1 ? fake_id(b) : (blaze_id){{0}},
                                       .position = c,
                                       .reached = c / 2});
        break;
    case 2:
        type = BZ_FRAME_HAVE;
        bz_have_append(&payload,
            &(struct bz_have){
                .index = (uint32_t)a & 1, .named = b & 1, .node = fake_id(c), .advance = c + 1});
        break;
    case 3:
    case 4:
        type = BZ_FRAME_PACE;
        bz_pace_encode(&payload, a & 1);
        break;
    case 5:
        type = BZ_FRAME_OPTIONAL | 40;
        break;
    default:
        bz_ping_encode(&payload, a);
    }
    bz_frame_append(wire(s, how), type, bz_buf_bytes(&payload));
    bz_buf_release(&payload);
}

static void make_changes(struct story *s, uint8_t how)
{
    struct bz_buf payload;
    uint8_t flags = bz_read8(&s->left);
    size_t size = bz_read8(&s->left);
    struct bz_chunk chunk = {
        .packing = (enum bz_packing)(flags >> 3 & 3), .more = flags & 2, .round = flags >> 2 & 1};
    chunk.from = bz_read8(&s->left);
    chunk.to = chunk.from + bz_read8(&s->left);
    chunk.raw_size = bz_read8(&s->left);
    size = size < bz_reader_left(&s->left) ? size : bz_reader_left(&s->left);
    chunk.body = bz_read_bytes(&s->left, size);
    bz_buf_init(&payload, 1000);
    bz_chunk_encode(&payload, &chunk);
    bz_frame_append(wire(s, how), BZ_FRAME_CHANGES, bz_buf_bytes(&payload));
    bz_buf_release(&payload);
}

static void nowhere(struct story *s, uint8_t how)
{
    size_t size = (size_t)how >> 1;
    size = size < bz_reader_left(&s->left) ? size : bz_reader_left(&s->left);
    struct bz_bytes bytes = bz_read_bytes(&s->left, size);
    bz_buf_append(wire(s, how), bytes.data, bytes.size);
}

static void time_passes(struct story *s, uint64_t ms)
{
    s->link->pipe.now_ms += ms;
    s->link->pipe.wall_ms += ms;
    s->w.wall_ms += ms;
    pipe_wake(&s->link->pipe);
}

static void one_step(struct story *s, uint8_t what, uint8_t how)
{
    struct bz_buf *bytes = wire(s, how);
    s->foreign |= what % 11 > 6;
    switch (what % 11) {
    case 0:
        write_one(s, how);
        break;
    case 1:
        for (int i = 0; i < how && pipe_step(&s->link->pipe); i++)
            ;
        break;
    case 2:
        link_down(s->link);
        link_up(&s->w, s->link);
        break;
    case 3:
        time_passes(s, how * 40u);
        break;
    case 4:
        lose(bytes, first_frame(bytes));
        break;
    case 5:
        repeat_frame(bytes);
        break;
    case 6:
        make_frame(s, how);
        break;
    case 7:
        if (bytes->size > 0)
            bytes->data[(how >> 1) * bytes->size / 128] ^=
                (uint8_t)(1u << (bz_read8(&s->left) % 8));
        break;
    case 8:
        make_changes(s, how);
        break;
    case 9:
        lose(bytes, (size_t)how >> 1);
        break;
    default:
        nowhere(s, how);
    }
}

static bool equal(struct story *s)
{
    struct bz_db_state a, b;
    struct version version;
    load(&s->w.site[0], &a, &version);
    load(&s->w.site[1], &b, &version);
    return a.records == b.records && a.digest.low == b.digest.low && a.digest.high == b.digest.high;
}

/* Until it rests, with time for all that waits. */
static void come_to_rest(struct story *s)
{
    for (int i = 0; i < 8; i++) {
        pipe_wake(&s->link->pipe);
        REQUIRE(pipe_settle(&s->link->pipe, TURNS_MAX) < TURNS_MAX);
        time_passes(s, 200);
    }
}

static void check_sound(struct story *s)
{
    for (int i = 0; i < 2; i++)
        REQUIRE(bz_db_check(s->w.site[i].db, NULL, NULL, NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > STORY_MAX)
        return 0;
    struct story *s = calloc(1, sizeof *s);
    world_open(&s->w, 1, CHAIN, 2);
    s->w.chunk_bytes = 300;
    s->link = &s->w.link[0];
    s->left = bz_reader(bz_bytes(data, size));
    link_up(&s->w, s->link);
    while (bz_reader_left(&s->left) >= 2) {
        uint8_t what = bz_read8(&s->left), how = bz_read8(&s->left);
        one_step(s, what, how);
    }
    come_to_rest(s);
    link_down(s->link);
    check_sound(s);
    bool met = false;
    for (int i = 0; i < TRIES && !met; i++) {
        link_up(&s->w, s->link);
        come_to_rest(s);
        met = pipe_live(&s->link->pipe) && equal(s);
        link_down(s->link);
    }
    REQUIRE(met || s->foreign);
    check_sound(s);
    world_close(&s->w);
    free(s);
    return 0;
}

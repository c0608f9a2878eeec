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
 *   5  a frame comes twice                11  COVERED, RANGES or ITEMS that nobody sent
 *  12  the link is down for longer than the retention; one side collects what is deleted there, and
 *      the other may hold it
 *
 * Whatever happens, the sessions come to rest or end, and both databases are sound. As long as no
 * foreign change got in (up to 6, and 12), clean sessions then make them equal.
 */
#include "sync_world.h"

#include "require.h"
#include "sync/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STORY_MAX 400
#define TURNS_MAX 20000
#define TRIES     8
#define STEPS_OF  13
#define AWAY_MS   (31ull * 86400000)

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
                                       .as_of = c + (a >> 2),
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
    chunk.as_of = chunk.to + (flags >> 5);
    chunk.raw_size = bz_read8(&s->left);
    size = size < bz_reader_left(&s->left) ? size : bz_reader_left(&s->left);
    chunk.body = bz_read_bytes(&s->left, size);
    bz_buf_init(&payload, 1000);
    bz_chunk_encode(&payload, &chunk);
    bz_frame_append(wire(s, how), BZ_FRAME_CHANGES, bz_buf_bytes(&payload));
    bz_buf_release(&payload);
}

static void time_passes(struct story *s, uint64_t ms)
{
    s->link->pipe.now_ms += ms;
    s->link->pipe.wall_ms += ms;
    s->w.wall_ms += ms;
    if (s->link->up)
        pipe_wake(&s->link->pipe);
}

/* ---- what is told of collecting, and compared ---- */

static blaze_id node_at(struct story *s, int site)
{
    struct bz_identity identity;
    bz_db_identity(s->w.site[site].db, &identity);
    return identity.node;
}

/* What is said to be there of both sides' writes; 0: nothing is said. */
static void make_vv(struct story *s, struct bz_told_vv *vv)
{
    vv->count = 0;
    for (int i = 0; i < 2; i++) {
        uint64_t seq = bz_read8(&s->left);
        if (seq > 0)
            vv->entries[vv->count++] = (struct bz_told){node_at(s, i), seq};
    }
}

static void make_covered(struct story *s, struct bz_buf *payload)
{
    struct bz_told told[4][2];
    struct bz_arena arena;
    struct bz_coverage_row rows[3] = {
        {.node = node_at(s, 0)}, {.node = node_at(s, 1)}, {.node = fake_id(bz_read8(&s->left))}};
    uint8_t flags = bz_read8(&s->left);
    struct bz_coverage coverage = {.purged = {told[3], 0},
        .purged_stamp = flags & 1 ? UINT64_MAX : s->w.wall_ms << 16,
        .rows = rows,
        .count = 1u + (flags >> 1 & 1u) + (flags >> 2 & 1u),
        .blind = (flags & 0x70) == 0x70};
    make_vv(s, &coverage.purged);
    for (int i = 0; i < 3; i++) {
        rows[i].vv.entries = told[i];
        rows[i].forgotten = i > 0 && flags & 8;
        rows[i].floor = i > 0 && flags & 0x80;
        make_vv(s, &rows[i].vv);
    }
    bz_arena_init(&arena);
    REQUIRE(bz_covered_encode(payload, &arena, &coverage, true) == 0);
    bz_arena_release(&arena);
}

static void append_id(struct bz_buf *out, uint8_t which)
{
    blaze_id id = fake_id(which & 7);
    if (which > 0xf0)
        memset(&id, 0xff, sizeof id);
    bz_buf_append(out, &id, sizeof id);
}

static void make_ranges(struct story *s, struct bz_buf *payload)
{
    uint8_t flags = bz_read8(&s->left);
    size_t count = (flags >> 1 & 3) + 1;
    bz_buf_append_sized(payload, bz_bytes_text(flags & 0x80 ? "letters" : "notes"));
    bz_buf_append8(payload, flags & 1);
    append_id(payload, bz_read8(&s->left));
    bz_buf_append_varint(payload, flags & 0x40 ? count + 1 : count);
    for (size_t i = 0; i < count; i++) {
        append_id(payload, bz_read8(&s->left));
        bz_buf_append_varint(payload, bz_read8(&s->left));
        bz_buf_append64le(payload, 0);
        bz_buf_append64le(payload, flags >> 3 & 1);
    }
}

static void make_items(struct story *s, struct bz_buf *payload)
{
    uint8_t count = bz_read8(&s->left);
    bz_buf_append_varint(payload, count >> 4);
    for (int i = 0; i < (count & 3); i++) {
        uint8_t kind = bz_read8(&s->left), ids = bz_read8(&s->left);
        bz_buf_append8(payload, kind & 3);
        if ((kind & 3) == 2)
            append_id(payload, kind >> 2);
        if ((kind & 3) == 0)
            continue;
        bz_buf_append_varint(payload, ids & 7);
        for (int k = 0; k < (ids & 7); k++)
            append_id(payload, bz_read8(&s->left));
    }
}

static void make_comparison(struct story *s, uint8_t how)
{
    static const uint8_t types[] = {BZ_FRAME_COVERED, BZ_FRAME_RANGES, BZ_FRAME_ITEMS};
    static void (*const make[])(struct story * s, struct bz_buf * payload) = {
        make_covered, make_ranges, make_items};
    struct bz_buf payload;
    size_t which = (how >> 1) % 3u;
    bz_buf_init(&payload, 10000);
    make[which](s, &payload);
    bz_frame_append(wire(s, how), types[which], bz_buf_bytes(&payload));
    bz_buf_release(&payload);
}

static void be_away(struct story *s, uint8_t how)
{
    uint64_t collected = 0;
    link_down(s->link);
    time_passes(s, AWAY_MS);
    for (int i = 0; i < 2; i++) {
        for (bool more = how >> i & 1; more;)
            REQUIRE(bz_db_collect(s->w.site[i].db, &collected, &more, NULL) == 0);
    }
    link_up(&s->w, s->link);
}

static void nowhere(struct story *s, uint8_t how)
{
    size_t size = (size_t)how >> 1;
    size = size < bz_reader_left(&s->left) ? size : bz_reader_left(&s->left);
    struct bz_bytes bytes = bz_read_bytes(&s->left, size);
    bz_buf_append(wire(s, how), bytes.data, bytes.size);
}

static void one_step(struct story *s, uint8_t what, uint8_t how)
{
    struct bz_buf *bytes = wire(s, how);
    what %= STEPS_OF;
    s->foreign |= what > 6 && what < 12;
    switch (what) {
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
    case 10:
        nowhere(s, how);
        break;
    case 11:
        make_comparison(s, how);
        break;
    default:
        be_away(s, how);
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

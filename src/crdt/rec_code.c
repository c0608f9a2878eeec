/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The encoding of a record: docs/format/record.md. Two forms:
 *
 *   whole    one live write that is life and rest, with rvv as far as its own dot for its node:
 *            flags, node, seq, stamp, [counter,] [age,] [the rest of rvv,] body to the end
 *   general  flags, rvv, writes with sized bodies, [life,] [rest,] cells
 *
 * Most invariants hold by what can be said at all: nodes, fields and members are written as
 * distances that cannot be zero, and a write names its node by its place in rvv and its seq by the
 * distance from rvv's (R1, R3). The rest is checked. What the whole form can say must be said in
 * it.
 */

#include "crdt/rec_priv.h"

#include <assert.h>
#include <blazedb/error.h>

/* Flags of a record, and of a write in the general form. Bits not named are zero. */
enum {
    GENERAL = 0x01,  /* record: the general form */
    SERVER = 0x02,   /* whole record, or write: role */
    COUNTER = 0x04,  /* likewise: the stamp's counter is not 0 and given */
    AGE = 0x08,      /* likewise: arrived so many positions before the record's */
    OTHERS = 0x10,   /* whole record: rvv has other nodes too */
    RESOLVED = 0x10, /* write: it settles siblings */
    DEAD = 0x20,     /* write */
    KIND = 0x40,     /* write: its values are of a type that merges, which is given */
    HAS_LIFE = 0x40, /* general record */
    HAS_REST = 0x80, /* likewise; only with HAS_LIFE */
};

#define WHOLE_FLAGS (SERVER | COUNTER | AGE | OTHERS)
#define WRITE_FLAGS (SERVER | COUNTER | AGE | RESOLVED | DEAD | KIND)
#define MAIN_FLAGS  (GENERAL | HAS_LIFE | HAS_REST)

/* The fewest bytes that a thing takes: they bound its count by the bytes at hand. */
enum { DOT_MIN = 2, WRITE_MIN = 10, CELL_MIN = 3 };

#define STAMP_MS_SIZE  6
#define WHOLE_HEAD_MAX (1 + 4 * BZ_VARINT_MAX + STAMP_MS_SIZE)
#define NO_NODE        UINT64_MAX

/* ---- encoding ---- */

static uint8_t write_flags(const struct bz_write *w, uint64_t position)
{
    assert(position == 0 || (w->arrived > 0 && w->arrived <= position));
    return (
        uint8_t)((w->role == BZ_ROLE_SERVER ? SERVER : 0) | (w->alive ? 0 : DEAD) |
                 (w->resolved && (position != 0 || !BZ_MUTANT(SETTLED_UNMARKED)) ? RESOLVED : 0) |
                 (w->kind != 0 ? KIND : 0) | ((w->stamp & 0xffff) != 0 ? COUNTER : 0) |
                 (position != 0 && w->arrived != position ? AGE : 0));
}

/* Stamp, counter, age: what both forms share. */
static uint8_t *put_stamp(uint8_t *p, const struct bz_write *w, uint8_t flags, uint64_t position)
{
    uint64_t ms = w->stamp >> 16;
    bz_store32le(p, (uint32_t)ms);
    bz_store16le(p + 4, (uint16_t)(ms >> 32));
    p += STAMP_MS_SIZE;
    if (flags & COUNTER)
        p = bz_varint_put(p, w->stamp & 0xffff);
    if (flags & AGE)
        p = bz_varint_put(p, position - w->arrived);
    return p;
}

static void append_dots(struct bz_buf *out, const struct bz_vv *vv, uint64_t without)
{
    bz_buf_append_varint(out, vv->count - (without != NO_NODE));
    uint64_t next = 0;
    for (uint32_t i = 0; i < vv->count; i++) {
        if (vv->entries[i].node == without)
            continue;
        bz_buf_append_varint(out, vv->entries[i].node - next);
        bz_buf_append_varint(out, vv->entries[i].seq);
        next = (uint64_t)vv->entries[i].node + 1;
    }
}

static void append_members(struct bz_buf *out, const struct bz_cell *cell)
{
    uint32_t next = 0;
    bz_buf_append_varint(out, cell->count);
    for (uint32_t i = 0; i < cell->count; i++) {
        bz_buf_append_varint(out, cell->members[i] - next);
        next = cell->members[i] + 1u;
    }
}

static bool fits_whole(const struct bz_rec *rec)
{
    const struct bz_write *w = rec->writes;
    return bz_rec_is_whole(rec) && w->alive && !w->resolved && w->kind == 0 &&
           bz_vv_get(&rec->rvv, w->dot.node) == w->dot.seq;
}

static void encode_whole(struct bz_buf *out, const struct bz_rec *rec, uint64_t position)
{
    const struct bz_write *w = rec->writes;
    uint8_t head[WHOLE_HEAD_MAX], *p = head;
    uint8_t flags = (uint8_t)(write_flags(w, position) | (rec->rvv.count > 1 ? OTHERS : 0));
    *p++ = flags;
    p = bz_varint_put(p, w->dot.node);
    p = bz_varint_put(p, w->dot.seq);
    p = put_stamp(p, w, flags, position);
    bz_buf_append(out, head, (size_t)(p - head));
    if (flags & OTHERS)
        append_dots(out, &rec->rvv, w->dot.node);
    bz_buf_append(out, w->body.data, w->body.size);
}

static void encode_write(struct bz_buf *out, const struct bz_write *w, uint64_t position)
{
    uint8_t bytes[STAMP_MS_SIZE + 3 * BZ_VARINT_MAX];
    uint8_t *p = put_stamp(bytes, w, write_flags(w, position), position);
    if (w->kind != 0)
        p = bz_varint_put(p, w->kind);
    bz_buf_append(out, bytes, (size_t)(p - bytes));
    bz_buf_append_sized(out, w->body);
}

static void encode_general(struct bz_buf *out, const struct bz_rec *rec, uint64_t position)
{
    assert(position == 0 || bz_rec_complete(rec));
    bz_buf_append8(
        out, (uint8_t)(GENERAL | (rec->has_life ? HAS_LIFE : 0) | (rec->has_rest ? HAS_REST : 0)));
    append_dots(out, &rec->rvv, NO_NODE);
    bz_buf_append_varint(out, rec->write_count);
    uint32_t at = 0, from = 0;
    for (uint32_t i = 0; i < rec->write_count; i++) {
        const struct bz_write *w = &rec->writes[i];
        while (rec->rvv.entries[at].node < w->dot.node)
            at++;
        bz_buf_append8(out, write_flags(w, position));
        bz_buf_append_varint(out, at - from);
        bz_buf_append_varint(out, rec->rvv.entries[at].seq - w->dot.seq);
        encode_write(out, w, position);
        from = at;
    }
    if (rec->has_life)
        append_members(out, &rec->life);
    if (rec->has_rest)
        append_members(out, &rec->rest);
    bz_buf_append_varint(out, rec->cell_count);
    uint64_t next = 0;
    for (uint32_t i = 0; i < rec->cell_count; i++) {
        bz_buf_append_varint(out, rec->cells[i].field - next);
        append_members(out, &rec->cells[i]);
        next = (uint64_t)rec->cells[i].field + 1;
    }
}

void bz_rec_encode(struct bz_buf *out, const struct bz_rec *rec, uint64_t position)
{
    if (fits_whole(rec))
        encode_whole(out, rec, position);
    else
        encode_general(out, rec, position);
}

/* ---- decoding ---- */

struct decoder {
    struct bz_arena *arena;
    struct bz_reader r;
    uint64_t position;
    struct bz_rec rec;
    uint16_t *pool; /* for the members of the cells to come */
    size_t room;    /* in the pool */
    bool *held;     /* by write: it is in some cell */
};

static bool read_stamp(struct bz_reader *r, uint8_t flags, uint64_t position, struct bz_write *w)
{
    struct bz_bytes ms = bz_read_bytes(r, STAMP_MS_SIZE);
    uint64_t counter = flags & COUNTER ? bz_read_varint(r) : 0;
    uint64_t age = flags & AGE ? bz_read_varint(r) : 0;
    if (!r->ok || counter > 0xffff || ((flags & COUNTER) && counter == 0) ||
        ((flags & AGE) && (age == 0 || age >= position)))
        return false;
    w->stamp =
        (uint64_t)bz_load32le(ms.data) << 16 | (uint64_t)bz_load16le(ms.data + 4) << 48 | counter;
    w->arrived = position - age;
    w->role = flags & SERVER ? BZ_ROLE_SERVER : BZ_ROLE_CLIENT;
    w->alive = !(flags & DEAD);
    return true;
}

static bool read_kind(struct bz_reader *r, uint8_t flags, uint32_t *out)
{
    uint64_t kind = flags & KIND ? bz_read_varint(r) : 0;
    *out = (uint32_t)kind;
    return r->ok && kind <= UINT32_MAX && (kind != 0) == ((flags & KIND) != 0);
}

/* A number that lies at least `next`, given by its distance from it. */
static bool read_after(struct bz_reader *r, uint64_t next, uint64_t max, uint64_t *out)
{
    uint64_t distance = bz_read_varint(r);
    if (!r->ok || next > max || distance > max - next)
        return false;
    *out = next + distance;
    return true;
}

/* A count of things that take at least `size` bytes each. */
static int read_count(struct bz_reader *r, size_t size, uint32_t max, uint32_t *out)
{
    uint64_t count = bz_read_varint(r);
    if (!r->ok || count > bz_reader_left(r) / size)
        return BLAZE_ECORRUPT;
    if (count > max)
        return BLAZE_ELIMIT;
    *out = (uint32_t)count;
    return 0;
}

/* A version vector without `own`, which if its seq is not 0 is then put in its place. */
static int read_vv(struct decoder *d, struct bz_dot own)
{
    uint32_t count;
    int rc = read_count(&d->r, DOT_MIN, BZ_REC_MAX_NODES - (own.seq != 0), &count);
    if (rc != 0)
        return rc;
    if (count == 0)
        return BLAZE_ECORRUPT;
    struct bz_dot *entries = bz_arena_alloc(d->arena, ((size_t)count + 1) * sizeof *entries);
    if (entries == NULL)
        return BLAZE_ENOMEM;
    uint32_t n = 0;
    uint64_t node, next = 0;
    bool placed = own.seq == 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!read_after(&d->r, next, UINT32_MAX, &node) || (own.seq != 0 && node == own.node))
            return BLAZE_ECORRUPT;
        if (!placed && own.node < node) {
            entries[n++] = own;
            placed = true;
        }
        entries[n] = (struct bz_dot){(uint32_t)node, bz_read_varint(&d->r)};
        if (entries[n++].seq == 0)
            return BLAZE_ECORRUPT;
        next = node + 1;
    }
    if (!placed)
        entries[n++] = own;
    d->rec.rvv = (struct bz_vv){entries, n};
    return 0;
}

static int decode_whole(struct decoder *d, uint8_t flags)
{
    struct bz_write w = {0};
    uint64_t node = bz_read_varint(&d->r);
    w.dot.node = (uint32_t)node;
    w.dot.seq = bz_read_varint(&d->r);
    if ((flags & ~WHOLE_FLAGS) != 0 || node > UINT32_MAX || w.dot.seq == 0 ||
        !read_stamp(&d->r, flags, d->position, &w))
        return BLAZE_ECORRUPT;
    struct bz_vv rvv;
    if (flags & OTHERS) {
        int rc = read_vv(d, w.dot);
        if (rc != 0)
            return rc;
        rvv = d->rec.rvv;
    } else {
        struct bz_dot *own = bz_arena_alloc(d->arena, sizeof *own);
        if (own == NULL)
            return BLAZE_ENOMEM;
        *own = w.dot;
        rvv = (struct bz_vv){own, 1};
    }
    w.body = bz_read_bytes(&d->r, bz_reader_left(&d->r));
    return bz_rec_whole(d->arena, &w, &rvv, &d->rec);
}

static int read_writes(struct decoder *d)
{
    const struct bz_vv *rvv = &d->rec.rvv;
    int rc = read_count(&d->r, WRITE_MIN, BZ_REC_MAX_WRITES, &d->rec.write_count);
    if (rc != 0)
        return rc;
    struct bz_write *writes = bz_arena_alloc(d->arena, d->rec.write_count * sizeof *writes);
    if (writes == NULL)
        return BLAZE_ENOMEM;
    uint64_t at = 0;
    for (uint32_t i = 0; i < d->rec.write_count; i++) {
        struct bz_write *w = &writes[i];
        uint8_t flags = bz_read8(&d->r);
        if (!read_after(&d->r, at, rvv->count - 1, &at))
            return BLAZE_ECORRUPT;
        struct bz_dot seen = rvv->entries[at];
        uint64_t back = bz_read_varint(&d->r);
        if (!d->r.ok || (flags & ~WRITE_FLAGS) != 0 || back >= seen.seq)
            return BLAZE_ECORRUPT;
        w->dot = (struct bz_dot){seen.node, seen.seq - back};
        if (i > 0 && bz_dot_compare(writes[i - 1].dot, w->dot) >= 0)
            return BLAZE_ECORRUPT;
        if (!read_stamp(&d->r, flags, d->position, w) || !read_kind(&d->r, flags, &w->kind))
            return BLAZE_ECORRUPT;
        w->resolved = (flags & RESOLVED) != 0;
        w->body = bz_read_sized(&d->r);
    }
    d->rec.writes = writes;
    return 0;
}

static int read_members(struct decoder *d, struct bz_cell *cell)
{
    uint32_t count, max = d->rec.write_count;
    int rc = read_count(&d->r, 1, (uint32_t)d->room, &count);
    if (rc != 0)
        return rc;
    if (count == 0 || count > max)
        return BLAZE_ECORRUPT;
    cell->count = count;
    cell->members = d->pool;
    uint64_t member, next = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!read_after(&d->r, next, max - 1, &member))
            return BLAZE_ECORRUPT;
        if (i > 0 && d->rec.writes[member].dot.node == d->rec.writes[next - 1].dot.node)
            return BLAZE_ECORRUPT; /* R6 */
        *d->pool++ = (uint16_t)member;
        d->held[member] = true;
        next = member + 1;
    }
    d->room -= count;
    return 0;
}

static int read_fields(struct decoder *d)
{
    struct bz_rec *rec = &d->rec;
    int rc = read_count(&d->r, CELL_MIN, BZ_REC_MAX_CELLS, &rec->cell_count);
    if (rc != 0)
        return rc;
    rec->cells = bz_arena_alloc(d->arena, rec->cell_count * sizeof *rec->cells);
    if (rec->cells == NULL)
        return BLAZE_ENOMEM;
    uint64_t field, next = 0;
    for (uint32_t i = 0; i < rec->cell_count; i++) {
        struct bz_cell *cell = &rec->cells[i];
        if (!read_after(&d->r, next, UINT32_MAX, &field))
            return BLAZE_ECORRUPT;
        rc = read_members(d, cell);
        if (rc != 0)
            return rc;
        if (rec->has_rest && bz_cell_equal(cell, &rec->rest))
            return BLAZE_ECORRUPT; /* R4 */
        cell->field = (uint32_t)field;
        next = field + 1;
    }
    return 0;
}

static int read_cells(struct decoder *d)
{
    struct bz_rec *rec = &d->rec;
    size_t left = bz_reader_left(&d->r); /* and a member takes at least a byte */
    d->room = left < BZ_REC_MAX_MEMBERS ? left : BZ_REC_MAX_MEMBERS;
    d->pool = bz_arena_alloc(d->arena, d->room * sizeof *d->pool);
    d->held = bz_arena_zalloc(d->arena, rec->write_count * sizeof *d->held);
    if (d->pool == NULL || d->held == NULL)
        return BLAZE_ENOMEM;
    int rc = rec->has_life ? read_members(d, &rec->life) : 0;
    if (rc == 0 && rec->has_rest)
        rc = read_members(d, &rec->rest);
    if (rc == 0)
        rc = read_fields(d);
    for (uint32_t i = 0; rc == 0 && i < rec->write_count; i++) {
        if (!d->held[i])
            rc = BLAZE_ECORRUPT; /* R2 */
    }
    return rc;
}

static int decode_general(struct decoder *d, uint8_t flags)
{
    d->rec.has_life = (flags & HAS_LIFE) != 0;
    d->rec.has_rest = (flags & HAS_REST) != 0;
    /* Only what is sent may be partial; with rest goes all. */
    if ((flags & ~MAIN_FLAGS) != 0 || (d->rec.has_rest && !d->rec.has_life) ||
        (d->position != 0 && !d->rec.has_rest))
        return BLAZE_ECORRUPT;
    int rc = read_vv(d, (struct bz_dot){0});
    if (rc == 0)
        rc = read_writes(d);
    if (rc == 0)
        rc = read_cells(d);
    if (rc == 0 && (!d->r.ok || bz_reader_left(&d->r) != 0 || fits_whole(&d->rec)))
        rc = BLAZE_ECORRUPT;
    return rc;
}

int bz_rec_decode(
    struct bz_arena *arena, struct bz_bytes bytes, uint64_t position, struct bz_rec *out)
{
    struct decoder d = {.arena = arena, .r = bz_reader(bytes), .position = position};
    uint8_t flags = bz_read8(&d.r);
    int rc = !d.r.ok           ? BLAZE_ECORRUPT
             : flags & GENERAL ? decode_general(&d, flags)
                               : decode_whole(&d, flags);
    if (rc == 0)
        *out = d.rec;
    return rc;
}

/* Passes over `count` varints, whatever they say; NULL past the end. */
static const uint8_t *pass_varints(const uint8_t *p, const uint8_t *end, uint64_t count)
{
    for (; count > 0; count--) {
        while (p < end && *p >= 0x80)
            p++;
        if (p == end)
            return NULL;
        p++;
    }
    return p;
}

bool bz_rec_simple_body(struct bz_bytes bytes, struct bz_bytes *body)
{
    if (bytes.size == 0 || (bytes.data[0] & ~WHOLE_FLAGS) != 0)
        return false;
    uint8_t flags = bytes.data[0];
    const uint8_t *end = bytes.data + bytes.size;
    const uint8_t *p = pass_varints(bytes.data + 1, end, 2); /* node, seq */
    if (p == NULL || (size_t)(end - p) <= STAMP_MS_SIZE)
        return false;
    p += STAMP_MS_SIZE;
    if (flags & (COUNTER | AGE))
        p = pass_varints(p, end, (flags & COUNTER ? 1 : 0) + (flags & AGE ? 1 : 0));
    if (p != NULL && (flags & OTHERS)) {
        struct bz_reader r = bz_reader(bz_bytes(p, (size_t)(end - p)));
        uint64_t others = bz_read_varint(&r);
        p = r.ok && others <= bytes.size ? pass_varints(r.p, end, 2 * others) : NULL;
    }
    if (p == NULL || p == end)
        return false;
    *body = bz_bytes(p, (size_t)(end - p));
    return true;
}

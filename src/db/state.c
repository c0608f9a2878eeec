/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The values of the small maps, and the change log's entries. docs/format/database.md has them byte
 * by byte.
 */

#include "db/db_priv.h"

#define STATE_FORMAT  1u
#define PEER_FORMAT   1u
#define STATE_MAX     128u
#define PEER_MAX      320u
#define ENTRY_MAX     64u
#define PEER_SCOPED   1u
#define PEER_HELD     2u /* held is not 0 and is given */
#define PEER_OWN      4u /* so is awaits.own */
#define PEER_ALL      8u
#define FLAG_SUBSUMED 1u
#define FLAG_DEAD     2u
#define ORIGIN_SHIFT  2u
#define UNTOLD        1u

static uint8_t *put_hash(uint8_t *p, struct bz_hash128 h)
{
    bz_store64le(p, h.low);
    bz_store64le(p + 8, h.high);
    return p + 16;
}

static uint8_t *put_id(uint8_t *p, const blaze_id *id)
{
    memcpy(p, id, sizeof *id);
    return p + sizeof *id;
}

static blaze_id read_id(struct bz_reader *r)
{
    blaze_id id = {{0}};
    bz_read_into(r, &id, sizeof id);
    return id;
}

static bool read_all(const struct bz_reader *r)
{
    return r->ok && bz_reader_left(r) == 0;
}

/* ---- state ---- */

static struct bz_bytes state_key(void)
{
    return bz_bytes("state", 5);
}

int bz_state_load(struct bz_view *view, struct bz_state *out, blaze_error *error)
{
    struct bz_bytes value;
    int rc = bz_view_get(view, BZ_MAP_META, state_key(), &value, error);
    if (rc == BLAZE_ENOTFOUND)
        return bz_error_set(error, BLAZE_ECORRUPT, "the state of the database is missing");
    if (rc != 0)
        return rc;
    struct bz_reader r = bz_reader(value);
    uint8_t format = bz_read8(&r);
    struct bz_state state;
    state.position = bz_read_varint(&r);
    state.seq = bz_read_varint(&r);
    uint64_t self = bz_read_varint(&r);
    state.self = (uint32_t)self;
    state.stamp = bz_read64le(&r);
    state.records = bz_read_varint(&r);
    state.dead = bz_read_varint(&r);
    state.conflicts = bz_read_varint(&r);
    state.generation = bz_read_varint(&r);
    state.digest.low = bz_read64le(&r);
    state.digest.high = bz_read64le(&r);
    uint8_t loose = bz_read8(&r);
    state.loose = loose != 0;
    if (!read_all(&r) || format != STATE_FORMAT || loose > 1 || self > UINT32_MAX)
        return bz_error_set(error, BLAZE_ECORRUPT, "the state of the database is corrupt");
    *out = state;
    return 0;
}

int bz_state_store(struct bz_txn *txn, const struct bz_state *state, blaze_error *error)
{
    uint8_t value[STATE_MAX];
    uint8_t *p = value;
    *p++ = STATE_FORMAT;
    p = bz_varint_put(p, state->position);
    p = bz_varint_put(p, state->seq);
    p = bz_varint_put(p, state->self);
    bz_store64le(p, state->stamp);
    p = bz_varint_put(p + 8, state->records);
    p = bz_varint_put(p, state->dead);
    p = bz_varint_put(p, state->conflicts);
    p = bz_varint_put(p, state->generation);
    p = put_hash(p, state->digest);
    *p++ = state->loose;
    return bz_txn_put(txn, BZ_MAP_META, state_key(), bz_bytes(value, (size_t)(p - value)), error);
}

/* ---- numbers under numbers: counts and the version vector ---- */

/* 0 if it is not there. */
static int number_load(
    struct bz_view *view, enum bz_map map, uint32_t number, uint64_t *out, blaze_error *error)
{
    uint8_t key[4];
    bz_store32be(key, number);
    struct bz_bytes value;
    int rc = bz_view_get(view, map, bz_bytes(key, sizeof key), &value, error);
    if (rc == BLAZE_ENOTFOUND) {
        *out = 0;
        return 0;
    }
    if (rc != 0)
        return rc;
    struct bz_reader r = bz_reader(value);
    uint64_t v = bz_read_varint(&r);
    if (!read_all(&r))
        return bz_error_set(error, BLAZE_ECORRUPT, "entry %u of the map %s is corrupt",
            (unsigned)number, bz_map_names[map]);
    *out = v;
    return 0;
}

static int number_store(
    struct bz_txn *txn, enum bz_map map, uint32_t number, uint64_t v, blaze_error *error)
{
    uint8_t key[4], value[BZ_VARINT_MAX];
    bz_store32be(key, number);
    size_t size = (size_t)(bz_varint_put(value, v) - value);
    return bz_txn_put(txn, map, bz_bytes(key, sizeof key), bz_bytes(value, size), error);
}

int bz_count_load(struct bz_view *view, uint32_t collection, uint64_t *out, blaze_error *error)
{
    return number_load(view, BZ_MAP_COUNTS, collection, out, error);
}

int bz_count_store(struct bz_txn *txn, uint32_t collection, uint64_t count, blaze_error *error)
{
    return number_store(txn, BZ_MAP_COUNTS, collection, count, error);
}

int bz_version_load(struct bz_view *view, uint32_t node, uint64_t *seq, blaze_error *error)
{
    return number_load(view, BZ_MAP_VERSION, node, seq, error);
}

int bz_version_store(struct bz_txn *txn, uint32_t node, uint64_t seq, blaze_error *error)
{
    return number_store(txn, BZ_MAP_VERSION, node, seq, error);
}

int bz_version_erase(struct bz_txn *txn, uint32_t node, blaze_error *error)
{
    uint8_t key[4];
    bz_store32be(key, node);
    return bz_txn_delete(txn, BZ_MAP_VERSION, bz_bytes(key, sizeof key), error);
}

/* Appends to an arena-backed vector that doubles. */
static int vv_append(
    struct bz_arena *arena, struct bz_vv *vv, uint32_t *capacity, struct bz_dot entry)
{
    if (vv->count == *capacity) {
        uint32_t larger = *capacity == 0 ? 8 : *capacity * 2;
        struct bz_dot *entries = bz_arena_alloc(arena, larger * sizeof *entries);
        if (entries == NULL)
            return BLAZE_ENOMEM;
        if (vv->count > 0)
            memcpy(entries, vv->entries, vv->count * sizeof *entries);
        vv->entries = entries;
        *capacity = larger;
    }
    vv->entries[vv->count++] = entry;
    return 0;
}

static int version_entry(const struct bz_cursor *cursor, struct bz_dot *out, blaze_error *error)
{
    struct bz_bytes key = bz_cursor_key(cursor);
    struct bz_reader r = bz_reader(bz_cursor_value(cursor));
    uint64_t seq = bz_read_varint(&r);
    if (key.size != 4 || !read_all(&r) || seq == 0)
        return bz_error_set(error, BLAZE_ECORRUPT, "the version vector is corrupt");
    *out = (struct bz_dot){bz_load32be(key.data), seq};
    return 0;
}

int bz_version_vector(struct bz_view *view, uint32_t self, uint64_t seq, struct bz_arena *arena,
    struct bz_vv *out, blaze_error *error)
{
    struct bz_vv vv = {0};
    uint32_t capacity = 0;
    bool own = seq == 0; /* placed, or nothing to place */
    struct bz_cursor *cursor = NULL;
    int rc = bz_cursor_open(view, BZ_MAP_VERSION, &cursor, error);
    if (rc != 0)
        return rc;
    while ((rc = bz_cursor_next(cursor, error)) == 0) {
        struct bz_dot entry;
        rc = version_entry(cursor, &entry, error);
        if (rc == 0 && !own && entry.node > self) {
            own = true;
            rc = vv_append(arena, &vv, &capacity, (struct bz_dot){self, seq});
        }
        if (rc == 0)
            rc = vv_append(arena, &vv, &capacity, entry);
        if (rc != 0)
            break;
    }
    bz_cursor_close(cursor);
    if (rc == BLAZE_END)
        rc = own ? 0 : vv_append(arena, &vv, &capacity, (struct bz_dot){self, seq});
    if (rc == 0)
        *out = vv;
    return rc == BLAZE_ENOMEM ? bz_error_code(error, rc) : rc;
}

void bz_vv_append(struct bz_buf *out, const struct bz_vv *vv)
{
    bz_buf_append_varint(out, vv->count);
    for (uint32_t i = 0; i < vv->count; i++) {
        bz_buf_append_varint(out, vv->entries[i].node);
        bz_buf_append_varint(out, vv->entries[i].seq);
    }
}

int bz_vv_read(struct bz_reader *r, struct bz_arena *arena, struct bz_vv *out)
{
    uint64_t count = bz_read_varint(r);
    if (!r->ok || count > bz_reader_left(r) / 2)
        return BLAZE_ECORRUPT;
    struct bz_vv vv = {bz_arena_alloc(arena, (count + 1) * sizeof *vv.entries), (uint32_t)count};
    if (vv.entries == NULL)
        return BLAZE_ENOMEM;
    for (uint32_t i = 0; i < vv.count; i++) {
        uint64_t node = bz_read_varint(r), seq = bz_read_varint(r);
        if (!r->ok || node > UINT32_MAX || seq == 0 || (i > 0 && node <= vv.entries[i - 1].node))
            return BLAZE_ECORRUPT;
        vv.entries[i] = (struct bz_dot){(uint32_t)node, seq};
    }
    *out = vv;
    return 0;
}

/* ---- peers ---- */

static uint8_t *put_trail(uint8_t *p, const struct bz_trail *trail)
{
    *p++ = (uint8_t)trail->count;
    for (uint32_t i = 0; i < trail->count; i++) {
        p = bz_varint_put(p, trail->marks[i].start);
        bz_store64le(p, trail->marks[i].id);
        p += 8;
    }
    return p;
}

static uint8_t peer_flags(const struct bz_peer_state *peer)
{
    return (uint8_t)((peer->scoped ? PEER_SCOPED : 0) | (peer->held > 0 ? PEER_HELD : 0) |
                     (peer->awaits.own > 0 ? PEER_OWN : 0) | (peer->awaits.all ? PEER_ALL : 0));
}

static int peer_decode(struct bz_bytes value, struct bz_peer_state *out, blaze_error *error)
{
    struct bz_reader r = bz_reader(value);
    uint8_t format = bz_read8(&r);
    struct bz_peer_state peer = {0};
    peer.epoch = read_id(&r);
    peer.cursor = bz_read_varint(&r);
    peer.as_of = bz_read_varint(&r);
    peer.reached = bz_read_varint(&r);
    peer.seen_ms = bz_read_varint(&r);
    uint8_t flags = bz_read8(&r);
    peer.scoped = (flags & PEER_SCOPED) != 0;
    peer.database = read_id(&r);
    if ((flags & PEER_HELD) != 0)
        peer.held = bz_read_varint(&r);
    if ((flags & PEER_OWN) != 0)
        peer.awaits.own = bz_read_varint(&r);
    peer.awaits.all = (flags & PEER_ALL) != 0;
    bool sound = bz_trail_read(&r, peer.as_of, &peer.trail) && peer.cursor <= peer.as_of &&
                 flags == peer_flags(&peer);
    if (!read_all(&r) || format != PEER_FORMAT || !sound)
        return bz_error_set(error, BLAZE_ECORRUPT, "what is known of a peer is corrupt");
    *out = peer;
    return 0;
}

int bz_peer_load(
    struct bz_view *view, const blaze_id *node, struct bz_peer_state *out, blaze_error *error)
{
    struct bz_bytes value;
    int rc = bz_view_get(view, BZ_MAP_PEERS, bz_bytes(node, sizeof *node), &value, error);
    if (rc == BLAZE_ENOTFOUND) {
        *out = (struct bz_peer_state){0};
        return 0;
    }
    return rc != 0 ? rc : peer_decode(value, out, error);
}

int bz_peer_store(
    struct bz_txn *txn, const blaze_id *node, const struct bz_peer_state *peer, blaze_error *error)
{
    uint8_t value[PEER_MAX];
    uint8_t *p = value;
    *p++ = PEER_FORMAT;
    p = put_id(p, &peer->epoch);
    p = bz_varint_put(p, peer->cursor);
    p = bz_varint_put(p, peer->as_of);
    p = bz_varint_put(p, peer->reached);
    p = bz_varint_put(p, peer->seen_ms);
    *p++ = peer_flags(peer);
    p = put_id(p, &peer->database);
    if (peer->held > 0)
        p = bz_varint_put(p, peer->held);
    if (peer->awaits.own > 0)
        p = bz_varint_put(p, peer->awaits.own);
    p = put_trail(p, &peer->trail);
    return bz_txn_put(txn, BZ_MAP_PEERS, bz_bytes(node, sizeof *node),
        bz_bytes(value, (size_t)(p - value)), error);
}

int bz_peer_each(struct bz_view *view,
    int (*each)(void *context, const blaze_id *node, const struct bz_peer_state *peer),
    void *context, blaze_error *error)
{
    struct bz_cursor *cursor = NULL;
    int rc = bz_cursor_open(view, BZ_MAP_PEERS, &cursor, error);
    if (rc != 0)
        return rc;
    while ((rc = bz_cursor_next(cursor, error)) == 0) {
        struct bz_peer_state peer;
        blaze_id node;
        struct bz_bytes key = bz_cursor_key(cursor);
        rc = key.size == sizeof node ? peer_decode(bz_cursor_value(cursor), &peer, error)
                                     : bz_error_code(error, BLAZE_ECORRUPT);
        if (rc == 0) {
            memcpy(&node, key.data, sizeof node);
            rc = each(context, &node, &peer);
        }
        if (rc != 0)
            break;
    }
    bz_cursor_close(cursor);
    return rc == BLAZE_END ? 0 : rc;
}

/* ---- the change log ---- */

static struct bz_bytes log_key(uint8_t out[BZ_LOG_KEY_SIZE], uint64_t position)
{
    bz_store64be(out, position);
    return bz_bytes(out, BZ_LOG_KEY_SIZE);
}

int bz_log_store(struct bz_txn *txn, const struct bz_log_entry *entry, blaze_error *error)
{
    uint8_t key[BZ_LOG_KEY_SIZE], value[ENTRY_MAX];
    uint64_t flags = (entry->subsumed ? FLAG_SUBSUMED : 0) | (entry->dead ? FLAG_DEAD : 0);
    uint8_t *p = bz_varint_put(value, entry->collection);
    p = put_id(p, &entry->id);
    p = bz_varint_put(p, (uint64_t)entry->origin << ORIGIN_SHIFT | flags);
    if (entry->untold)
        *p++ = UNTOLD;
    return bz_txn_put(txn, BZ_MAP_LOG, log_key(key, entry->position),
        bz_bytes(value, (size_t)(p - value)), error);
}

int bz_log_erase(struct bz_txn *txn, uint64_t position, blaze_error *error)
{
    uint8_t key[BZ_LOG_KEY_SIZE];
    return bz_txn_delete(txn, BZ_MAP_LOG, log_key(key, position), error);
}

int bz_dead_store(struct bz_txn *txn, uint64_t position, bool dead, blaze_error *error)
{
    uint8_t key[BZ_LOG_KEY_SIZE];
    if (dead)
        return bz_txn_put(txn, BZ_MAP_DEAD, log_key(key, position), bz_bytes(NULL, 0), error);
    return bz_txn_delete(txn, BZ_MAP_DEAD, log_key(key, position), error);
}

int bz_log_decode(const struct bz_cursor *cursor, struct bz_log_entry *out, blaze_error *error)
{
    struct bz_bytes key = bz_cursor_key(cursor);
    struct bz_reader r = bz_reader(bz_cursor_value(cursor));
    uint64_t collection = bz_read_varint(&r);
    blaze_id id = read_id(&r);
    uint64_t origin = bz_read_varint(&r);
    bool untold = bz_reader_left(&r) > 0;
    if ((untold && bz_read8(&r) != UNTOLD) || key.size != BZ_LOG_KEY_SIZE || !read_all(&r) ||
        collection > UINT32_MAX || origin >> ORIGIN_SHIFT > UINT32_MAX)
        return bz_error_set(error, BLAZE_ECORRUPT, "an entry of the change log is corrupt");
    *out = (struct bz_log_entry){
        .position = bz_load64be(key.data),
        .collection = (uint32_t)collection,
        .id = id,
        .origin = (uint32_t)(origin >> ORIGIN_SHIFT),
        .subsumed = (origin & FLAG_SUBSUMED) != 0,
        .dead = (origin & FLAG_DEAD) != 0,
        .untold = untold,
    };
    return 0;
}

int bz_log_seek(struct bz_cursor *cursor, uint64_t position, blaze_error *error)
{
    uint8_t key[BZ_LOG_KEY_SIZE];
    if (position == UINT64_MAX)
        return BLAZE_END;
    return bz_cursor_seek(cursor, log_key(key, position + 1), error);
}

/* ---- what there is once ---- */

int bz_meta_is_there(struct bz_view *view, struct bz_bytes key, bool *out, blaze_error *error)
{
    struct bz_bytes value;
    int rc = bz_view_get(view, BZ_MAP_META, key, &value, error);
    *out = rc == 0;
    return rc == BLAZE_ENOTFOUND ? 0 : rc;
}

int bz_meta_note_now(struct bz_db *db, struct bz_txn *txn, struct bz_bytes key, blaze_error *error)
{
    uint8_t ms[8];
    bz_store64le(ms, db->wall_ms(db->context));
    return bz_txn_put(txn, BZ_MAP_META, key, bz_bytes(ms, sizeof ms), error);
}

int bz_meta_each(struct bz_view *view, struct bz_bytes prefix,
    int (*each)(void *context, struct bz_bytes key, struct bz_bytes value), void *context,
    blaze_error *error)
{
    struct bz_cursor *cursor = NULL;
    int rc = bz_cursor_open(view, BZ_MAP_META, &cursor, error);
    if (rc == 0)
        rc = bz_cursor_seek(cursor, prefix, error);
    while (rc == 0) {
        struct bz_bytes key = bz_cursor_key(cursor);
        if (key.size <= prefix.size || memcmp(key.data, prefix.data, prefix.size) != 0)
            break;
        rc = each(context, key, bz_cursor_value(cursor));
        if (rc == 0)
            rc = bz_cursor_next(cursor, error);
    }
    bz_cursor_close(cursor);
    return rc == BLAZE_END ? 0 : rc;
}

/* ---- records ---- */

struct bz_bytes bz_record_key(
    uint8_t out[BZ_RECORD_KEY_SIZE], uint32_t collection, const blaze_id *id)
{
    bz_store32be(out, collection);
    memcpy(out + 4, id, sizeof *id);
    return bz_bytes(out, BZ_RECORD_KEY_SIZE);
}

int bz_stored_split(struct bz_bytes value, struct bz_stored *out, blaze_error *error)
{
    struct bz_reader r = bz_reader(value);
    uint64_t position = bz_read_varint(&r);
    if (!r.ok || position == 0)
        return bz_error_set(error, BLAZE_ECORRUPT, "a record without a position");
    *out = (struct bz_stored){position, bz_bytes(r.p, bz_reader_left(&r))};
    return 0;
}

int bz_stored_load(struct bz_view *view, uint32_t collection, const blaze_id *id,
    struct bz_stored *out, blaze_error *error)
{
    uint8_t key[BZ_RECORD_KEY_SIZE];
    struct bz_bytes value;
    int rc = bz_view_get(view, BZ_MAP_RECORDS, bz_record_key(key, collection, id), &value, error);
    return rc != 0 ? rc : bz_stored_split(value, out, error);
}

int bz_stored_decode(struct bz_arena *arena, const struct bz_stored *stored, const blaze_id *id,
    struct bz_rec *out, blaze_error *error)
{
    int rc = bz_rec_decode(arena, stored->record, stored->position, out);
    if (rc == BLAZE_ENOMEM)
        return bz_error_code(error, rc);
    return rc == 0 ? 0 : bz_record_corrupt(error, id);
}

int bz_record_corrupt(blaze_error *error, const blaze_id *id)
{
    char text[BLAZE_ID_TEXT_SIZE];
    return bz_error_set(error, BLAZE_ECORRUPT, "record %s is corrupt", blaze_id_format(id, text));
}

int bz_kind_unknown(blaze_error *error)
{
    return bz_error_set(error, BLAZE_EVERSION,
        "a record has values of a type that this version does not know: use a newer one");
}

bool bz_rec_is_simple(const struct bz_rec *rec)
{
    return rec->write_count == 1 && rec->cell_count == 0 && bz_rec_complete(rec) &&
           rec->writes[0].alive;
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What is known of what every replica has.
 *
 * A row for each: its version vector as far as it has come here, from itself or from others, and
 * when it was last heard of. The least of all rows, the *floor*, is what everybody has: a deleted
 * record all of whose writes lie below it may go (collect.c). But only if we have, for our part,
 * all that each replica had written when its row was told: else a write that had not seen the
 * delete may be on its way. A replica that has been silent for longer than the retention does not
 * count, nor one that somebody has had forgotten; both count again once they are heard of.
 *
 * Past ROWS_TOLD rows a node tells one in their place, the floor of all, under its own id. Such a
 * row may fall when a replica joins, so it is replaced where others only grow.
 *
 *   purged  the greatest dots of all records that were ever collected, here or by whoever we had
 *           them from; our version vector includes them. Who has less than this in its own, and
 *           holds records, may hold some that everybody else has collected: it is *behind*, and
 *           does not take over the other's version vector before it has compared (reconcile.c). A
 *           write that makes a record whose id may once have been collected supersedes all of this
 *           that was here, so that what is left of it elsewhere does not become its sibling.
 *
 * So where a version vector covers a write of a record that is not here, that write was superseded.
 *
 * Most of this is hearsay, and who carries it may be blind, and of ill will: it could say of any
 * record that it was collected, and has it deleted by those who believe that, or of any replica
 * that it has what it never got. So where blind copies are known of, by meeting one or from whoever
 * has met one, and from then on for ever:
 *
 *   nobody is believed what was collected, so nobody is behind, and nothing is compared;
 *   a replica is waited for however long it is silent, unless it is forgotten;
 *   who has been forgotten and comes back brings back what the others have deleted meanwhile: if
 *   what two replicas show differs, what was collected is taken in again (apply.c). Nothing is
 *   collected for the retention then: a record that some show and others still hold as deleted
 *   would come and go for ever.
 */

#include "db/db_priv.h"

#define ROW_FORMAT   1u
#define ROW_MAX      (1u << 20)
#define ROWS_TOLD    64u
#define ENTRIES_TOLD 8192u
#define CELLS_TOLD   131072u /* rows times entries of the own one */
#define ENTRIES_MAX  65536u  /* of one row that is stored */
#define HOUR_MS      3600000u
#define RETENTION_MS (30ull * 24 * HOUR_MS)

enum { ROW_FORGOTTEN = 1, ROW_FLOOR = 2 };

struct row {
    blaze_id node;
    bool forgotten;
    bool floor;
    uint64_t seen_ms;
    struct bz_vv vv;
};

/* ---- values ---- */

static int row_decode(
    struct bz_bytes key, struct bz_bytes value, struct bz_arena *arena, struct row *out)
{
    struct bz_reader r = bz_reader(value);
    uint8_t format = bz_read8(&r), flags = bz_read8(&r);
    if (!r.ok || format != ROW_FORMAT || flags > (ROW_FORGOTTEN | ROW_FLOOR) ||
        key.size != sizeof out->node + ((flags & ROW_FLOOR) != 0))
        return BLAZE_ECORRUPT;
    memcpy(&out->node, key.data, sizeof out->node);
    out->forgotten = (flags & ROW_FORGOTTEN) != 0;
    out->floor = (flags & ROW_FLOOR) != 0;
    out->seen_ms = bz_read_varint(&r);
    int rc = bz_vv_read(&r, arena, &out->vv);
    return rc != 0 ? rc : r.ok && bz_reader_left(&r) == 0 ? 0 : BLAZE_ECORRUPT;
}

static struct bz_bytes row_key(uint8_t out[17], const blaze_id *node, bool floor)
{
    memcpy(out, node, sizeof *node);
    out[16] = 1;
    return bz_bytes(out, floor ? 17 : 16);
}

static int row_store(struct bz_txn *txn, const struct row *row, blaze_error *error)
{
    uint8_t key[17];
    struct bz_buf value;
    bz_buf_init(&value, ROW_MAX);
    bz_buf_append8(&value, ROW_FORMAT);
    bz_buf_append8(
        &value, (uint8_t)((row->forgotten ? ROW_FORGOTTEN : 0) | (row->floor ? ROW_FLOOR : 0)));
    bz_buf_append_varint(&value, row->seen_ms);
    bz_vv_append(&value, &row->vv);
    int rc = value.error != 0
                 ? bz_error_code(error, value.error)
                 : bz_txn_put(txn, BZ_MAP_COVERAGE, row_key(key, &row->node, row->floor),
                       bz_buf_bytes(&value), error);
    bz_buf_release(&value);
    return rc;
}

static int row_error(int rc, blaze_error *error)
{
    if (rc == BLAZE_ECORRUPT)
        return bz_error_set(error, rc, "what is known of other replicas is corrupt");
    return rc == BLAZE_ENOMEM ? bz_error_code(error, rc) : rc;
}

static int row_load(struct bz_view *view, const blaze_id *node, bool floor, struct bz_arena *arena,
    struct row *out, bool *found, blaze_error *error)
{
    uint8_t key[17];
    struct bz_bytes value;
    int rc = bz_view_get(view, BZ_MAP_COVERAGE, row_key(key, node, floor), &value, error);
    *found = rc == 0;
    if (rc != 0)
        return rc == BLAZE_ENOTFOUND ? 0 : rc;
    return row_error(row_decode(row_key(key, node, floor), value, arena, out), error);
}

static int each_row(struct bz_view *view, struct bz_arena *arena,
    int (*each)(void *context, const struct row *row), void *context, blaze_error *error)
{
    struct bz_cursor *cursor = NULL;
    int rc = bz_cursor_open(view, BZ_MAP_COVERAGE, &cursor, error);
    while (rc == 0 && (rc = bz_cursor_next(cursor, error)) == 0) {
        struct row row;
        rc = row_error(
            row_decode(bz_cursor_key(cursor), bz_cursor_value(cursor), arena, &row), error);
        if (rc == 0)
            rc = each(context, &row);
    }
    bz_cursor_close(cursor);
    return rc == BLAZE_END ? 0 : row_error(rc, error);
}

int bz_coverage_note(
    struct bz_db *db, struct bz_txn *txn, const blaze_id *node, bool forgotten, blaze_error *error)
{
    struct row row = {.node = *node, .forgotten = forgotten, .seen_ms = db->wall_ms(db->context)};
    return row_store(txn, &row, error);
}

/* ---- what is kept once ---- */

static struct bz_bytes purged_key(void)
{
    return bz_bytes("purged", 6);
}

static struct bz_bytes blind_key(void)
{
    return bz_bytes("blind", 5);
}

static struct bz_bytes returned_key(void)
{
    return bz_bytes("returned", 8);
}

static struct bz_bytes retention_key(void)
{
    return bz_bytes_text("setting/retention");
}

int bz_purged_load(
    struct bz_view *view, struct bz_arena *arena, struct bz_purged *out, blaze_error *error)
{
    struct bz_bytes value;
    *out = (struct bz_purged){0};
    int rc = bz_view_get(view, BZ_MAP_META, purged_key(), &value, error);
    if (rc != 0)
        return rc == BLAZE_ENOTFOUND ? 0 : rc;
    struct bz_reader r = bz_reader(value);
    out->count = bz_read_varint(&r);
    out->stamp = bz_read64le(&r);
    out->mark = bz_hash128(value.data, value.size, 0).low | 1;
    return row_error(bz_vv_read(&r, arena, &out->vv), error);
}

int bz_purged_raise(struct bz_db_txn *txn, const struct bz_vv *vv, uint64_t stamp, uint64_t more,
    blaze_error *error)
{
    struct bz_purged purged;
    struct bz_buf value;
    int rc = bz_purged_load(txn->view, &txn->arena, &purged, error);
    if (rc != 0 || (more == 0 && stamp <= purged.stamp && bz_vv_includes(&purged.vv, vv)))
        return rc;
    bz_buf_init(&value, ROW_MAX);
    rc = bz_vv_max(&txn->arena, &purged.vv, vv, &purged.vv);
    if (rc == 0) {
        bz_buf_append_varint(&value, purged.count + more);
        bz_buf_append64le(&value, stamp > purged.stamp ? stamp : purged.stamp);
        bz_vv_append(&value, &purged.vv);
        rc = value.error;
    }
    rc = rc != 0 ? bz_error_code(error, rc)
                 : bz_txn_put(txn->txn, BZ_MAP_META, purged_key(), bz_buf_bytes(&value), error);
    bz_buf_release(&value);
    if (rc == 0)
        txn->changed = true;
    return rc;
}

int bz_purged_had(struct bz_db_txn *txn, const struct bz_vv *vv, bool *all, blaze_error *error)
{
    struct bz_vv own, had;
    int rc =
        bz_version_vector(txn->view, txn->state.self, txn->state.seq, &txn->arena, &own, error);
    if (rc != 0)
        return rc;
    *all = bz_vv_includes(&own, vv);
    rc = bz_vv_copy(&txn->arena, vv, &had);
    if (rc != 0)
        return bz_error_code(error, rc);
    bz_vv_lower(&had, &own);
    return bz_purged_raise(txn, &had, txn->state.stamp, 1, error);
}

int bz_collected_here(struct bz_view *view, struct bz_arena *arena, const struct bz_vv *own,
    struct bz_purged *out, blaze_error *error)
{
    bool part = false;
    int rc = bz_purged_load(view, arena, out, error);
    if (rc == 0 && out->vv.count > 0)
        rc = bz_scope_is_set(view, &part, error);
    if (part)
        out->vv.count = 0; /* what is not here may be anywhere else */
    if (rc == 0)
        bz_vv_lower(&out->vv, own);
    return rc;
}

/* ---- hearsay ---- */

int bz_hearsay_load(struct bz_db *db, struct bz_view *view, bool *out, blaze_error *error)
{
    *out = true;
    return db->identity.blind ? 0 : bz_meta_is_there(view, blind_key(), out, error);
}

int bz_returned_note(struct bz_db_txn *txn, blaze_error *error)
{
    txn->changed = true;
    return bz_meta_note_now(txn->db, txn->txn, returned_key(), error);
}

/* A number of ms, which stays as it is if there is none. */
static int ms_load(struct bz_view *view, struct bz_bytes key, const char *corrupt, uint64_t *ms,
    blaze_error *error)
{
    struct bz_bytes value;
    int rc = bz_view_get(view, BZ_MAP_META, key, &value, error);
    if (rc != 0)
        return rc == BLAZE_ENOTFOUND ? 0 : rc;
    if (value.size != 8)
        return bz_error_set(error, BLAZE_ECORRUPT, "%s", corrupt);
    *ms = bz_load64le(value.data);
    return 0;
}

int bz_returned_is(
    struct bz_db *db, struct bz_view *view, uint64_t within_ms, bool *out, blaze_error *error)
{
    uint64_t now = db->wall_ms(db->context), then = UINT64_MAX;
    int rc = ms_load(view, returned_key(), "when records came back is corrupt", &then, error);
    /* Of a clock that has been put back, the time tells nothing. */
    *out = rc == 0 && now >= then && now - then <= within_ms;
    return rc;
}

/* ---- the retention ---- */

int bz_retention_load(struct bz_view *view, uint64_t *ms, blaze_error *error)
{
    *ms = RETENTION_MS;
    return ms_load(view, retention_key(), "the retention is corrupt: set it anew", ms, error);
}

int bz_read_retention(struct bz_read *read, uint64_t *ms, blaze_error *error)
{
    return bz_retention_load(read->view, ms, error);
}

int bz_db_retention(struct bz_db *db, uint64_t *ms, blaze_error *error)
{
    struct bz_read *read = NULL;
    int rc = bz_read_begin(db, &read, error);
    if (rc != 0)
        return rc;
    rc = bz_retention_load(read->view, ms, error);
    bz_read_end(read);
    return rc;
}

int bz_db_set_retention(struct bz_db *db, uint64_t ms, blaze_error *error)
{
    uint8_t value[8];
    bz_store64le(value, ms);
    return bz_db_setting_put(db, "retention", bz_bytes(value, sizeof value), error);
}

/* ---- the floor ---- */

struct lowest {
    struct bz_db *db;
    struct bz_view *view;
    struct bz_arena *arena;
    struct bz_vv *vv;
    struct bz_vv own;    /* our version vector */
    const blaze_id *but; /* NULL, or whose rows do not count */
    uint64_t now_ms, retention_ms;
    bool patient; /* silent ones count too */
};

static bool counts(const struct lowest *l, const struct row *row)
{
    if (row->forgotten || (l->but != NULL && memcmp(&row->node, l->but, sizeof row->node) == 0))
        return false;
    return l->patient || l->now_ms < row->seen_ms || l->now_ms - row->seen_ms <= l->retention_ms;
}

/* Whether we have all that a replica had written when it had what its row says; of all replicas
 * that a node tells one row for, that is what the node itself had. */
static int is_stable(const struct lowest *l, const struct row *row, bool *out)
{
    struct row node;
    uint32_t number;
    *out = true;
    if (row->floor) {
        int rc = row_load(l->view, &row->node, false, l->arena, &node, out, NULL);
        *out = rc == 0 && *out && bz_vv_includes(&l->own, &node.vv);
        return rc;
    }
    if (bz_catalog_node(l->db->catalog, &row->node, &number) == 0)
        *out = bz_vv_get(&l->own, number) >= bz_vv_get(&row->vv, number);
    return 0;
}

static int lower(void *context, const struct row *row)
{
    const struct lowest *l = context;
    bool stable = false;
    if (!counts(l, row) || BZ_MUTANT(COLLECTS_EARLY))
        return 0;
    int rc = is_stable(l, row, &stable);
    stable |= BZ_MUTANT(COLLECTS_UNSTABLE);
    if (rc == 0 && stable)
        bz_vv_lower(l->vv, &row->vv);
    else
        l->vv->count = 0;
    return rc;
}

/* A peer that has not yet told what it has may have nothing. */
static int lower_silent(void *context, const blaze_id *node, const struct bz_peer_state *peer)
{
    const struct lowest *l = context;
    struct row row = {.node = *node, .seen_ms = peer->seen_ms}, known;
    bool found = false;
    int rc = row_load(l->view, node, false, l->arena, &known, &found, NULL);
    return rc != 0 || found ? rc : lower(context, &row);
}

/* Whoever has written is a replica, though nobody has told yet what it has. */
static int each_unknown(struct bz_db *db, struct bz_view *view, const struct bz_state *state,
    struct bz_arena *arena, int (*each)(void *context, const blaze_id *node), void *context,
    blaze_error *error)
{
    struct bz_vv own;
    int rc = bz_version_vector(view, state->self, state->seq, arena, &own, error);
    for (uint32_t i = 0; rc == 0 && i < own.count; i++) {
        struct row row;
        blaze_id node;
        bool found = false;
        if (own.entries[i].node == state->self)
            continue;
        rc = bz_catalog_node_id(db->catalog, own.entries[i].node, &node);
        if (rc == 0)
            rc = row_load(view, &node, false, arena, &row, &found, error);
        if (rc == 0 && !found)
            rc = each(context, &node);
    }
    return rc;
}

static int lower_all(void *context, const blaze_id *node)
{
    (void)node;
    ((struct bz_vv *)context)->count = 0;
    return 0;
}

static int lower_unknown(struct bz_db *db, struct bz_view *view, const struct bz_state *state,
    struct bz_arena *arena, struct bz_vv *out, blaze_error *error)
{
    return out->count == 0 ? 0 : each_unknown(db, view, state, arena, lower_all, out, error);
}

static int floor_but(struct bz_db *db, struct bz_view *view, const struct bz_state *state,
    const blaze_id *but, struct bz_arena *arena, struct bz_vv *out, blaze_error *error)
{
    struct lowest l = {.db = db,
        .view = view,
        .arena = arena,
        .vv = out,
        .but = but,
        .now_ms = db->wall_ms(db->context)};
    int rc = bz_version_vector(view, state->self, state->seq, arena, &l.own, error);
    if (rc == 0 && (rc = bz_vv_copy(arena, &l.own, out)) != 0)
        bz_error_code(error, rc);
    if (rc == 0)
        rc = bz_retention_load(view, &l.retention_ms, error);
    if (rc == 0)
        rc = bz_hearsay_load(db, view, &l.patient, error);
    if (rc == 0)
        rc = each_row(view, arena, lower, &l, error);
    if (rc == 0)
        rc = bz_peer_each(view, lower_silent, &l, error);
    return rc != 0 ? rc : lower_unknown(db, view, state, arena, out, error);
}

int bz_coverage_floor(struct bz_db *db, struct bz_view *view, const struct bz_state *state,
    struct bz_arena *arena, struct bz_vv *out, blaze_error *error)
{
    return floor_but(db, view, state, NULL, arena, out, error);
}

/* ---- telling ---- */

struct telling {
    struct bz_db *db;
    struct bz_arena *arena;
    const blaze_id *receiver;
    const blaze_id *self;
    uint64_t now_ms;
    struct bz_coverage *out;
    uint32_t entries;
    bool full;
};

static int tell_vv(struct telling *t, const struct bz_vv *vv, struct bz_told_vv *out)
{
    struct bz_told_vv told = {
        bz_arena_alloc(t->arena, (vv->count + 1) * sizeof *told.entries), vv->count};
    if (told.entries == NULL)
        return BLAZE_ENOMEM;
    for (uint32_t i = 0; i < vv->count; i++) {
        told.entries[i].seq = vv->entries[i].seq;
        if (bz_catalog_node_id(t->db->catalog, vv->entries[i].node, &told.entries[i].node) != 0)
            return BLAZE_ECORRUPT;
    }
    *out = told;
    return 0;
}

static int tell_row(void *context, const struct row *row)
{
    struct telling *t = context;
    if (memcmp(&row->node, t->receiver, sizeof row->node) == 0 ||
        memcmp(&row->node, t->self, sizeof row->node) == 0)
        return 0;
    t->entries += row->vv.count;
    if (t->out->count == ROWS_TOLD || t->entries > ENTRIES_TOLD ||
        t->out->count * t->out->rows[0].vv.count > CELLS_TOLD) {
        t->full = true;
        return 0;
    }
    struct bz_coverage_row *told = &t->out->rows[t->out->count++];
    told->node = row->node;
    told->forgotten = row->forgotten;
    told->floor = row->floor;
    told->age_ms = t->now_ms > row->seen_ms ? t->now_ms - row->seen_ms : 0;
    return tell_vv(t, &row->vv, &told->vv);
}

/* The floor of all that there is in place of rows that are too many. */
static int tell_floor(struct telling *t, struct bz_read *read, const struct bz_state *state)
{
    struct bz_vv floor;
    int rc = floor_but(t->db, read->view, state, t->receiver, t->arena, &floor, NULL);
    t->out->count = 2;
    t->out->rows[1] = (struct bz_coverage_row){.node = *t->self, .floor = true};
    return rc != 0 ? rc : tell_vv(t, &floor, &t->out->rows[1].vv);
}

static int tell_all(struct telling *t, struct bz_read *read, const struct bz_state *state)
{
    struct bz_vv own;
    struct bz_purged purged;
    int rc = bz_version_vector(read->view, state->self, state->seq, t->arena, &own, NULL);
    if (rc == 0)
        rc = bz_purged_load(read->view, t->arena, &purged, NULL);
    if (rc == 0)
        rc = bz_hearsay_load(t->db, read->view, &t->out->blind, NULL);
    if (rc == 0)
        rc = tell_vv(t, &purged.vv, &t->out->purged);
    t->out->purged_stamp = purged.stamp;
    if (rc != 0)
        return rc;
    t->out->rows[0] = (struct bz_coverage_row){.node = *t->self};
    t->out->count = 1;
    t->entries = own.count;
    rc = tell_vv(t, &own, &t->out->rows[0].vv);
    if (rc == 0)
        rc = each_row(read->view, t->arena, tell_row, t, NULL);
    return rc == 0 && t->full ? tell_floor(t, read, state) : rc;
}

int bz_coverage_tell(
    void *context, const blaze_id *receiver, struct bz_arena *arena, struct bz_coverage *out)
{
    struct bz_db *db = context;
    struct bz_read *read = NULL;
    const struct bz_state *state = NULL;
    struct bz_identity self;
    struct telling t = {.db = db, .arena = arena, .receiver = receiver, .self = &self.node};
    int rc = bz_read_begin_state(db, &read, &state, NULL);
    if (rc != 0)
        return rc;
    *out = (struct bz_coverage){.rows = bz_arena_alloc(arena, ROWS_TOLD * sizeof *out->rows)};
    t.out = out;
    t.now_ms = db->wall_ms(db->context);
    rc =
        out->rows == NULL ? BLAZE_ENOMEM : bz_catalog_node_id(db->catalog, state->self, &self.node);
    if (rc == 0)
        rc = tell_all(&t, read, state);
    bz_read_end(read);
    return rc;
}

/* ---- learning ---- */

/* In our numbers; nodes that are new get one. */
static int learn_vv(
    struct bz_db_txn *txn, const struct bz_told_vv *told, struct bz_vv *out, blaze_error *error)
{
    struct bz_vv vv = {bz_arena_alloc(&txn->arena, (told->count + 1) * sizeof *vv.entries), 0};
    if (vv.entries == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    for (uint32_t i = 0; i < told->count; i++) {
        struct bz_dot entry = {0, told->entries[i].seq};
        uint32_t known = bz_catalog_nodes(txn->db->catalog).count;
        int rc = bz_catalog_add_node(txn->db->catalog, &told->entries[i].node, &entry.node, error);
        txn->changed |= rc == 0 && entry.node >= known; /* others go by that number from now on */
        if (rc == 0)
            rc = bz_txn_check_seen(txn, entry, error);
        if (rc != 0)
            return rc;
        uint32_t at = vv.count++;
        for (; at > 0 && vv.entries[at - 1].node > entry.node; at--)
            vv.entries[at] = vv.entries[at - 1];
        if (at > 0 && vv.entries[at - 1].node == entry.node)
            return bz_error_set(error, BLAZE_EPROTO, "a version vector names a node twice");
        vv.entries[at] = entry;
    }
    *out = vv;
    return 0;
}

/* What is known grows; who was heard of later decides whether the replica is forgotten. */
static int merge_row(struct bz_db_txn *txn, const struct row *known, uint64_t quiet_max,
    struct row *row, bool *changed)
{
    *changed = true;
    if (row->floor) {
        *changed = row->seen_ms >= known->seen_ms;
        return 0;
    }
    uint64_t quiet = row->seen_ms > known->seen_ms ? row->seen_ms - known->seen_ms : 0;
    bool same = bz_vv_includes(&known->vv, &row->vv);
    if (row->seen_ms < known->seen_ms || (row->seen_ms == known->seen_ms && known->forgotten)) {
        row->forgotten = known->forgotten;
        row->seen_ms = known->seen_ms;
    }
    /* A time alone is worth a write only now and then. */
    *changed = !same || row->forgotten != known->forgotten || quiet > quiet_max;
    return bz_vv_max(&txn->arena, &known->vv, &row->vv, &row->vv);
}

static int learn_row(struct bz_db_txn *txn, const struct bz_coverage_row *told, uint64_t quiet_max,
    blaze_error *error)
{
    uint64_t now = txn->db->wall_ms(txn->db->context);
    struct row known,
        row = {.node = told->node, .forgotten = told->forgotten, .floor = told->floor};
    bool found = false, changed = true;
    uint32_t number;
    if (bz_catalog_node(txn->db->catalog, &told->node, &number) == 0 && number == txn->state.self)
        return 0;
    row.seen_ms = now > told->age_ms ? now - told->age_ms : 0;
    bz_arena_reset(&txn->arena);
    int rc = learn_vv(txn, &told->vv, &row.vv, error);
    if (rc == 0)
        rc = row_load(txn->view, &row.node, row.floor, &txn->arena, &known, &found, error);
    if (rc == 0 && found)
        rc = row_error(merge_row(txn, &known, quiet_max, &row, &changed), error);
    if (rc != 0 || !changed)
        return rc;
    txn->changed = true;
    return row_store(txn->txn, &row, error);
}

/* How we stand to who tells this: see the top. */
static int learn_standing(struct bz_db_txn *txn, const struct bz_coverage *told,
    struct bz_arena *arena, struct bz_standing *out, blaze_error *error)
{
    struct bz_vv collected, has = {0}, own;
    bz_arena_reset(&txn->arena);
    int rc = learn_vv(txn, &told->purged, &collected, error);
    if (rc == 0 && told->count > 0)
        rc = learn_vv(txn, &told->rows[0].vv, &has, error);
    if (rc == 0)
        rc =
            bz_version_vector(txn->view, txn->state.self, txn->state.seq, &txn->arena, &own, error);
    if (rc == 0 && bz_vv_copy(arena, &collected, &out->purged) != 0)
        rc = bz_error_code(error, BLAZE_ENOMEM);
    if (rc != 0)
        return rc;
    /* Of more the teller may have lost the records, with what it claimed, and not its note of what
     * was collected: that they are not there says nothing. Until it has them again: the session
     * sees to that (sync/reconcile.c). */
    bz_vv_lower(&collected, &has);
    bool all = bz_vv_includes(&own, &collected), none = txn->state.records + txn->state.dead == 0;
    out->collected_stamp = told->purged_stamp;
    out->behind = !all && !none && !BZ_MUTANT(NOT_COMPARED);
    out->fresh = !all && none;
    rc = bz_vv_copy(arena, &collected, &out->collected);
    if (rc == 0)
        rc = bz_vv_copy(arena, &has, &out->has);
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

/* From now on it is waited for, as for any that falls silent. */
static int note_unknown(void *context, const blaze_id *node)
{
    struct bz_db_txn *txn = context;
    txn->changed = true;
    return bz_coverage_note(txn->db, txn->txn, node, false, NULL);
}

/* Whether there are blind copies. */
static int learn_blind(struct bz_db_txn *txn, bool told, bool *known, blaze_error *error)
{
    int rc = bz_hearsay_load(txn->db, txn->view, known, error);
    if (rc != 0 || *known || !told)
        return rc;
    *known = true;
    txn->changed = true;
    return bz_txn_put(txn->txn, BZ_MAP_META, blind_key(), bz_bytes("", 0), error);
}

static int learn_all(struct bz_db_txn *txn, const struct bz_coverage *told, struct bz_arena *arena,
    struct bz_standing *out, blaze_error *error)
{
    bool hearsay = false;
    uint64_t retention = 0;
    int rc = bz_retention_load(txn->view, &retention, error);
    if (rc == 0)
        rc = learn_blind(txn, told->blind, &hearsay, error);
    /* Who is heard of must not count as silent. */
    uint64_t quiet_max = retention / 4 < HOUR_MS ? retention / 4 : HOUR_MS;
    if (rc == 0 && !hearsay)
        rc = learn_standing(txn, told, arena, out, error);
    for (uint32_t i = 0; rc == 0 && i < told->count; i++)
        rc = learn_row(txn, &told->rows[i], quiet_max, error);
    bz_arena_reset(&txn->arena);
    return rc != 0 ? rc
                   : each_unknown(
                         txn->db, txn->view, &txn->state, &txn->arena, note_unknown, txn, error);
}

int bz_coverage_learn(void *context, const struct bz_coverage *told, struct bz_arena *arena,
    struct bz_standing *out, blaze_error *error)
{
    struct bz_db_txn *txn = NULL;
    struct bz_standing standing = {0};
    int rc = bz_db_begin(context, &txn, error);
    if (rc != 0)
        return rc;
    rc = learn_all(txn, told, arena, &standing, error);
    if (rc != 0) {
        bz_txn_abort_outlived(txn);
        return rc;
    }
    bool news = txn->changed;
    struct bz_db *db = context;
    rc = bz_db_commit(txn, BZ_DURABLE_RELAXED, error);
    if (rc == 0 && news)
        atomic_fetch_add(&db->coverage_mark, 1);
    if (rc == 0)
        *out = standing;
    return rc;
}

/* ---- looking and forgetting ---- */

struct listing {
    const struct lowest *lowest;
    int (*each)(void *context, const struct bz_replica_known *known);
    void *context;
};

static int list_row(void *context, const struct row *row)
{
    const struct listing *l = context;
    if (row->floor || row->forgotten)
        return 0;
    return l->each(
        l->context, &(struct bz_replica_known){row->node, row->seen_ms, !counts(l->lowest, row)});
}

int bz_read_replicas(struct bz_read *read,
    int (*each)(void *context, const struct bz_replica_known *known), void *context,
    blaze_error *error)
{
    struct lowest lowest = {.now_ms = read->db->wall_ms(read->db->context)};
    struct listing listing = {&lowest, each, context};
    bz_arena_reset(&read->arena);
    int rc = bz_retention_load(read->view, &lowest.retention_ms, error);
    if (rc == 0)
        rc = bz_hearsay_load(read->db, read->view, &lowest.patient, error);
    return rc != 0 ? rc : each_row(read->view, &read->arena, list_row, &listing, error);
}

int bz_db_forget(struct bz_db *db, const blaze_id *node, blaze_error *error)
{
    struct bz_db_txn *txn = NULL;
    struct row row;
    bool found = false, floor = false;
    int rc = bz_db_begin(db, &txn, error);
    if (rc != 0)
        return rc;
    bz_arena_reset(&txn->arena);
    rc = row_load(txn->view, node, false, &txn->arena, &row, &found, error);
    if (rc == 0 && !found)
        rc = bz_error_set(error, BLAZE_ENOTFOUND,
            "no such replica is known: blazedb status lists those that are");
    if (rc == 0) {
        row.forgotten = true;
        row.seen_ms = db->wall_ms(db->context);
        txn->changed = true;
        rc = row_store(txn->txn, &row, error);
    }
    if (rc == 0)
        rc = row_load(txn->view, node, true, &txn->arena, &row, &floor, error);
    if (rc == 0 && floor) {
        uint8_t key[17];
        rc = bz_txn_delete(txn->txn, BZ_MAP_COVERAGE, row_key(key, node, true), error);
    }
    if (rc == 0)
        rc = bz_db_commit(txn, BZ_DURABLE_FULL, error);
    else
        bz_db_abort(txn);
    if (rc == 0)
        atomic_fetch_add(&db->coverage_mark, 1);
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Comparing with a peer which records there is any trace of, range by range of ids.
 *
 * A replica that was away for long may hold records that all others have deleted and collected: no
 * trace of them is left that could be sent. So it compares with one of them. If the peer has no
 * trace of a record, all writes that it has had of it were superseded by the delete; so the record
 * goes, or what of it the peer has not had stays (crdt/rec_outlive.c). Nothing of this is a write
 * that others would get: who holds such a record compares for itself. Any other difference is none
 * of this file's: it goes by the change log.
 */

#include "db/db_priv.h"

#define CHANGED_A_COMMIT 256u
#define LOOKED_AT        4096u /* a commit */

/* The first key of a range, behind what all of them begin with. */
static struct bz_bytes start_key(
    uint8_t out[BZ_RECORD_KEY_SIZE + 1], uint32_t collection, const struct bz_range *range)
{
    static const blaze_id first;
    struct bz_bytes key = bz_record_key(out, collection, range->whole ? &first : &range->after);
    if (!range->whole)
        out[key.size++] = 0; /* the next key that there can be */
    return key;
}

static bool key_in_range(
    struct bz_bytes key, uint32_t collection, const struct bz_range *range, blaze_id *id)
{
    if (key.size != BZ_RECORD_KEY_SIZE || bz_load32be(key.data) != collection)
        return false;
    memcpy(id, key.data + 4, sizeof *id);
    return memcmp(id, &range->last, sizeof *id) <= 0;
}

/* The id under a cursor, if it is in the range. */
static bool in_range(
    const struct bz_cursor *cursor, uint32_t collection, const struct bz_range *range, blaze_id *id)
{
    return key_in_range(bz_cursor_key(cursor), collection, range, id);
}

static int decode(
    const struct bz_cursor *cursor, struct bz_arena *arena, const blaze_id *id, struct bz_rec *out)
{
    struct bz_stored stored;
    bz_arena_reset(arena);
    int rc = bz_stored_split(bz_cursor_value(cursor), &stored, NULL);
    return rc != 0 ? rc : bz_stored_decode(arena, &stored, id, out, NULL);
}

/* ---- what is here ---- */

/* One of the two things that are listed: records, and what a comparison took away of which our
 * version vector does not tell yet. Who compares with us would take that for gone without our ever
 * having had it. */
struct listed {
    struct bz_cursor *cursor; /* NULL: there is nothing */
    struct bz_bytes prefix;
    bool there;
    blaze_id id;
};

static int listed_at(struct listed *l, int rc, uint32_t collection, const struct bz_range *range)
{
    l->there = false;
    if (rc != 0)
        return rc == BLAZE_END ? 0 : rc;
    struct bz_bytes key = bz_cursor_key(l->cursor);
    if (key.size >= l->prefix.size && memcmp(key.data, l->prefix.data, l->prefix.size) == 0)
        l->there = key_in_range(bz_bytes(key.data + l->prefix.size, key.size - l->prefix.size),
            collection, range, &l->id);
    return 0;
}

static int listed_open(struct listed *l, struct bz_view *view, enum bz_map map,
    struct bz_bytes prefix, uint32_t collection, const struct bz_range *range)
{
    uint8_t key[16 + BZ_RECORD_KEY_SIZE + 1];
    int rc = bz_cursor_open(view, map, &l->cursor, NULL);
    if (rc != 0)
        return rc;
    l->prefix = prefix;
    memcpy(key, prefix.data, prefix.size);
    struct bz_bytes start = start_key(key + prefix.size, collection, range);
    rc = bz_cursor_seek(l->cursor, bz_bytes(key, prefix.size + start.size), NULL);
    return listed_at(l, rc, collection, range);
}

static int sum_up(struct listed both[2], uint32_t collection, const struct bz_range *range,
    struct bz_range_sum *out)
{
    int rc = 0;
    while (rc == 0 && (both[0].there || both[1].there)) {
        bool second = !both[0].there ||
                      (both[1].there && memcmp(&both[1].id, &both[0].id, sizeof(blaze_id)) < 0);
        blaze_id id = both[second].id;
        if (out->count == out->max) {
            out->more = true;
            return 0;
        }
        if (out->ids != NULL)
            out->ids[out->count] = id;
        out->count++;
        out->last = id;
        bz_hash128_add(&out->digest, bz_hash128(&id, sizeof id, 0));
        for (int i = 0; rc == 0 && i < 2; i++) {
            if (both[i].there && memcmp(&both[i].id, &id, sizeof id) == 0)
                rc = listed_at(&both[i], bz_cursor_next(both[i].cursor, NULL), collection, range);
        }
    }
    return rc;
}

static int list_range(struct bz_view *view, uint32_t collection, const struct bz_range *range,
    struct bz_range_sum *out)
{
    struct listed both[2] = {{0}};
    bool compared = false;
    int rc = bz_compared_is(view, &compared, NULL);
    if (rc == 0)
        rc = listed_open(&both[0], view, BZ_MAP_RECORDS, bz_bytes("", 0), collection, range);
    if (rc == 0 && compared)
        rc = listed_open(&both[1], view, BZ_MAP_META, bz_left_prefix(), collection, range);
    if (rc == 0)
        rc = sum_up(both, collection, range, out);
    bz_cursor_close(both[0].cursor);
    bz_cursor_close(both[1].cursor);
    return rc;
}

int bz_range_list(void *context, const struct bz_range *range, struct bz_range_sum *out)
{
    struct bz_db *db = context;
    struct bz_read *read = NULL;
    uint32_t collection;
    out->count = 0;
    out->digest = (struct bz_hash128){0};
    out->more = false;
    int rc = bz_read_begin(db, &read, NULL);
    if (rc != 0)
        return rc;
    if (bz_catalog_collection(db->catalog, range->collection, &collection) == 0)
        rc = list_range(read->view, collection, range, out);
    bz_read_end(read);
    return rc;
}

/* ---- what the peer has no trace of ---- */

struct comparison {
    const blaze_id *there;
    uint32_t count, next;
    const struct bz_standing *standing;
    struct bz_arena arena;
    struct found {
        blaze_id id;
        enum bz_rec_outliving as;
    } found[CHANGED_A_COMMIT];
    uint32_t found_count;
    blaze_id reached;
    bool at_end;
};

static bool is_there(struct comparison *c, const blaze_id *id)
{
    while (c->next < c->count && memcmp(&c->there[c->next], id, sizeof *id) < 0)
        c->next++;
    return c->next < c->count && memcmp(&c->there[c->next], id, sizeof *id) == 0;
}

/* What becomes of the record under a cursor. One that this version cannot read stays. */
static int judge(struct comparison *c, const struct bz_cursor *cursor, const blaze_id *id,
    enum bz_rec_outliving *out)
{
    const struct bz_vv *gone = &c->standing->has;
    struct bz_rec rec;
    int rc = decode(cursor, &c->arena, id, &rec);
    if (rc != 0)
        return rc;
    *out = bz_vv_includes(gone, &rec.rvv) || BZ_MUTANT(COMPARES_AWAY) ? BZ_REC_GONE
                                                                      : bz_rec_outlives(&rec, gone);
    /* One that holds no old write may still have been made anew, unless its id is too young. */
    if (*out == BZ_REC_STAYS && bz_id_made_at(id) <= c->standing->collected_stamp &&
        !bz_vv_includes(&rec.rvv, &c->standing->collected))
        *out = BZ_REC_WANTS_PRUNING;
    if (*out != BZ_REC_GONE && bz_rec_check_kinds(&rec) != 0)
        *out = BZ_REC_STAYS;
    return 0;
}

/* Finds some that are to change. */
static int look(struct comparison *c, struct bz_db_txn *txn, uint32_t collection,
    const struct bz_range *from, blaze_error *error)
{
    uint8_t key[BZ_RECORD_KEY_SIZE + 1];
    struct bz_cursor *cursor = NULL;
    blaze_id id;
    int rc = bz_cursor_open(txn->view, BZ_MAP_RECORDS, &cursor, error);
    if (rc == 0)
        rc = bz_cursor_seek(cursor, start_key(key, collection, from), error);
    while (
        rc == 0 && c->found_count < CHANGED_A_COMMIT && in_range(cursor, collection, from, &id)) {
        enum bz_rec_outliving as = BZ_REC_STAYS;
        c->reached = id;
        if (!is_there(c, &id))
            rc = judge(c, cursor, &id, &as);
        if (rc == 0 && as != BZ_REC_STAYS)
            c->found[c->found_count++] = (struct found){id, as};
        if (rc == 0)
            rc = bz_cursor_next(cursor, error);
    }
    bz_cursor_close(cursor);
    c->at_end = c->found_count < CHANGED_A_COMMIT;
    if (rc == BLAZE_ENOMEM || rc == BLAZE_ECORRUPT)
        bz_error_code(error, rc);
    return rc == BLAZE_END ? 0 : rc;
}

static int remove_one(
    struct bz_db_txn *txn, uint32_t number, const blaze_id *id, blaze_error *error)
{
    struct bz_txn_collection *collection = NULL;
    struct bz_stored stored;
    struct bz_rec rec;
    bool there = false, all = false;
    int rc = bz_txn_load(txn, number, id, &collection, &stored, &rec, &there, error);
    if (rc == 0)
        rc = bz_drop_record(txn, collection, id, &stored, &rec, error);
    /* What else the peer has collected is ours once its version vector is. Until then it is noted
     * for who writes the record anew. */
    if (rc == 0)
        rc = bz_purged_had(txn, &rec.rvv, &all, error);
    return rc == 0 && !all ? bz_left_note(txn, number, id, &rec.rvv, error) : rc;
}

static int change_found(struct comparison *c, struct bz_db_txn *txn, uint32_t collection,
    uint64_t *removed, blaze_error *error)
{
    const struct bz_standing *standing = c->standing;
    int rc = c->found_count > 0 ? bz_compared_raise(txn, &standing->has, error) : 0;
    for (uint32_t i = 0; rc == 0 && i < c->found_count; i++) {
        const struct found *found = &c->found[i];
        rc = found->as == BZ_REC_GONE
                 ? remove_one(txn, collection, &found->id, error)
                 : bz_write_outlived(txn, collection, &found->id, found->as, standing, error);
        *removed += rc == 0 && found->as == BZ_REC_GONE;
        if (rc == 0 && found->as == BZ_REC_WANTS_PRUNING)
            rc = bz_untold_note(txn->db, txn->txn, error);
    }
    return rc == 0 && c->found_count > 0 ? bz_scope_moved(txn, error) : rc;
}

static int compare_some(struct comparison *c, struct bz_db *db, const struct bz_range *from,
    uint64_t *removed, blaze_error *error)
{
    struct bz_db_txn *txn = NULL;
    uint32_t collection;
    uint64_t gone = 0;
    bool hearsay = false;
    c->found_count = 0;
    c->at_end = true;
    int rc = bz_db_begin(db, &txn, error);
    if (rc != 0)
        return rc;
    bz_arena_reset(&txn->arena);
    rc = bz_hearsay_load(db, txn->view, &hearsay, error);
    if (rc == 0 && !hearsay &&
        bz_catalog_collection(db->catalog, from->collection, &collection) == 0) {
        rc = look(c, txn, collection, from, error);
        if (rc == 0)
            rc = change_found(c, txn, collection, &gone, error);
    }
    if (rc != 0) {
        bz_db_abort(txn);
        return rc;
    }
    rc = bz_db_commit(txn, db->apply_durability, error);
    if (rc == 0)
        *removed += gone;
    return rc;
}

int bz_range_compare(void *context, const struct bz_range *range, const blaze_id *there,
    uint32_t count, const struct bz_standing *standing, uint64_t *removed, blaze_error *error)
{
    struct comparison c = {.there = there, .count = count, .standing = standing};
    struct bz_range from = *range;
    int rc;
    bz_arena_init(&c.arena);
    do {
        rc = compare_some(&c, context, &from, removed, error);
        from.whole = false;
        from.after = c.reached;
    } while (rc == 0 && !c.at_end);
    bz_arena_release(&c.arena);
    return rc;
}

/* ---- what is told anew ---- */

/* A record that became doubtful (collect.c) before we knew what was collected may have been told
 * before that too. */
struct retelling {
    const struct bz_vv *gone;
    struct bz_arena arena;
    uint8_t from[BZ_RECORD_KEY_SIZE + 1]; /* the key to go on with */
    size_t from_size;
    struct told {
        uint32_t collection;
        blaze_id id;
    } found[CHANGED_A_COMMIT];
    uint32_t found_count;
    bool at_end;
};

static int find_doubtful(struct retelling *r, struct bz_db_txn *txn, blaze_error *error)
{
    struct bz_cursor *cursor = NULL;
    int rc = bz_cursor_open(txn->view, BZ_MAP_RECORDS, &cursor, error);
    if (rc == 0)
        rc = bz_cursor_seek(cursor, bz_bytes(r->from, r->from_size), error);
    for (uint32_t n = 0; rc == 0 && n < LOOKED_AT && r->found_count < CHANGED_A_COMMIT; n++) {
        struct bz_bytes key = bz_cursor_key(cursor);
        struct told told;
        struct bz_rec rec;
        if (key.size != BZ_RECORD_KEY_SIZE) {
            rc = BLAZE_ECORRUPT;
            break;
        }
        told.collection = bz_load32be(key.data);
        memcpy(&told.id, key.data + 4, sizeof told.id);
        rc = decode(cursor, &r->arena, &told.id, &rec);
        if (rc == 0 && bz_rec_doubtful(&rec, r->gone))
            r->found[r->found_count++] = told;
        memcpy(r->from, key.data, key.size);
        r->from[key.size] = 0;
        r->from_size = key.size + 1;
        if (rc == 0)
            rc = bz_cursor_next(cursor, error);
    }
    bz_cursor_close(cursor);
    r->at_end = rc == BLAZE_END;
    if (rc == BLAZE_ENOMEM || rc == BLAZE_ECORRUPT)
        bz_error_code(error, rc);
    return rc == BLAZE_END ? 0 : rc;
}

/* The record as it is, at the end of the log. */
static int retell(struct bz_db_txn *txn, const struct told *told, blaze_error *error)
{
    struct bz_txn_collection *collection = NULL;
    struct bz_stored stored;
    struct bz_rec rec, same;
    bool there = false;
    int rc =
        bz_txn_load(txn, told->collection, &told->id, &collection, &stored, &rec, &there, error);
    if (rc != 0)
        return rc;
    same = rec;
    return bz_write_record(txn, collection, &told->id, &stored, &rec, &same,
        (struct bz_origin){.node = txn->state.self, .untold = true}, error);
}

static int retell_some(struct retelling *r, struct bz_db *db, blaze_error *error)
{
    struct bz_db_txn *txn = NULL;
    r->found_count = 0;
    int rc = bz_db_begin(db, &txn, error);
    if (rc != 0)
        return rc;
    rc = find_doubtful(r, txn, error);
    for (uint32_t i = 0; rc == 0 && i < r->found_count; i++)
        rc = retell(txn, &r->found[i], error);
    if (rc == 0 && r->found_count > 0)
        rc = bz_untold_note(db, txn->txn, error); /* until it has got about */
    if (rc == 0 && r->found_count > 0)
        rc = bz_scope_moved(txn, error);
    if (rc == 0)
        return bz_db_commit(txn, BZ_DURABLE_RELAXED, error);
    bz_db_abort(txn);
    return rc;
}

int bz_range_compared(
    void *context, uint64_t began, const struct bz_standing *standing, blaze_error *error)
{
    struct retelling r = {.gone = &standing->collected};
    int rc = 0;
    bz_arena_init(&r.arena);
    while (rc == 0 && !r.at_end)
        rc = retell_some(&r, context, error);
    bz_arena_release(&r.arena);
    return rc == 0 ? bz_scope_compared(context, began, &standing->collected, error) : rc;
}

struct only {
    const blaze_id *peer;
    bool is;
};

static int is_other(void *context, const blaze_id *node, const struct bz_peer_state *peer)
{
    struct only *only = context;
    only->is &= peer->cursor == 0 || memcmp(node, only->peer, sizeof *node) == 0;
    return 0;
}

int bz_only_from(void *context, const blaze_id *peer, bool *out, blaze_error *error)
{
    struct only only = {peer, true};
    struct bz_read *read = NULL;
    int rc = bz_read_begin(context, &read, error);
    if (rc != 0)
        return rc;
    rc = bz_peer_each(read->view, is_other, &only, error);
    bz_read_end(read);
    *out = only.is;
    return rc;
}

/* The record of a log entry is one that may have been collected. */
static int is_collected(struct bz_read *read, const struct bz_log_entry *entry,
    const struct bz_vv *collected, bool *out, blaze_error *error)
{
    struct bz_stored stored;
    struct bz_rec rec;
    bz_arena_reset(&read->arena);
    int rc = bz_stored_load(read->view, entry->collection, &entry->id, &stored, error);
    if (rc == 0)
        rc = bz_stored_decode(&read->arena, &stored, &entry->id, &rec, error);
    if (rc == 0)
        *out = bz_vv_includes(collected, &rec.rvv);
    return rc;
}

static int look_since(struct bz_read *read, struct bz_cursor *log, uint64_t position,
    const uint32_t but[2], const struct bz_vv *collected, bool *out, blaze_error *error)
{
    int rc = bz_log_seek(log, position, error);
    while (rc == 0 && !*out) {
        struct bz_log_entry entry;
        rc = bz_log_decode(log, &entry, error);
        if (rc == 0 && entry.origin != but[0] && entry.origin != but[1])
            rc = is_collected(read, &entry, collected, out, error);
        if (rc == 0)
            rc = bz_cursor_next(log, error);
    }
    return rc == BLAZE_END ? 0 : rc;
}

int bz_came_since(void *context, uint64_t position, const blaze_id *peer,
    const struct bz_vv *collected, bool *out, blaze_error *error)
{
    struct bz_db *db = context;
    struct bz_read *read = NULL;
    struct bz_cursor *log = NULL;
    const struct bz_state *state = NULL;
    *out = false;
    int rc = bz_read_begin_state(db, &read, &state, error);
    if (rc != 0)
        return rc;
    if (state->position > position) {
        uint32_t but[2] = {state->self, state->self};
        bz_catalog_node(db->catalog, peer, &but[1]); /* it may have sent nothing yet */
        rc = bz_cursor_open(read->view, BZ_MAP_LOG, &log, error);
        if (rc == 0)
            rc = look_since(read, log, position, but, collected, out, error);
        bz_cursor_close(log);
    }
    bz_read_end(read);
    return rc;
}

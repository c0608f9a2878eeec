/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Comparing what two replicas show, range by range of ids.
 *
 * A replica that was away for long may hold records that all others have deleted and collected: no
 * trace of them is left that could be sent. So it compares, and where it finds a record that its
 * peer does not show, all of whose writes the peer has had, and that can have been collected, it
 * deletes it. Any other difference is none of this file's: it goes by the change log. Where there
 * are blind copies nothing is deleted (coverage.c).
 */

#include "db/db_priv.h"

#define REMOVED_A_COMMIT 256u

/* The first key of a range. */
static struct bz_bytes start_key(
    uint8_t out[BZ_RECORD_KEY_SIZE + 1], uint32_t collection, const struct bz_range *range)
{
    static const blaze_id first;
    struct bz_bytes key = bz_record_key(out, collection, range->whole ? &first : &range->after);
    if (!range->whole)
        out[key.size++] = 0; /* the next key that there can be */
    return key;
}

/* The id under a cursor, if it is in the range. */
static bool in_range(
    const struct bz_cursor *cursor, uint32_t collection, const struct bz_range *range, blaze_id *id)
{
    struct bz_bytes key = bz_cursor_key(cursor);
    if (key.size != BZ_RECORD_KEY_SIZE || bz_load32be(key.data) != collection)
        return false;
    memcpy(id, key.data + 4, sizeof *id);
    return memcmp(id, &range->last, sizeof *id) <= 0;
}

static int decode(
    const struct bz_cursor *cursor, struct bz_arena *arena, const blaze_id *id, struct bz_rec *out)
{
    struct bz_stored stored;
    bz_arena_reset(arena);
    int rc = bz_stored_split(bz_cursor_value(cursor), &stored, NULL);
    return rc != 0 ? rc : bz_stored_decode(arena, &stored, id, out, NULL);
}

static int sum_up(struct bz_read *read, struct bz_cursor *cursor, uint32_t collection,
    const struct bz_range *range, struct bz_range_sum *out)
{
    uint8_t key[BZ_RECORD_KEY_SIZE + 1];
    struct bz_nodes nodes = bz_catalog_nodes(read->db->catalog);
    blaze_id id;
    int rc = bz_cursor_seek(cursor, start_key(key, collection, range), NULL);
    for (; rc == 0 && in_range(cursor, collection, range, &id); rc = bz_cursor_next(cursor, NULL)) {
        struct bz_rec rec;
        rc = decode(cursor, &read->arena, &id, &rec);
        if (rc != 0)
            return rc;
        if (!bz_rec_alive(&rec, &nodes))
            continue;
        if (out->count == out->max) {
            out->more = true;
            return 0;
        }
        if (out->ids != NULL)
            out->ids[out->count] = id;
        out->count++;
        out->last = id;
        bz_hash128_add(&out->digest, bz_rec_digest(&rec, &id, &nodes));
    }
    return rc == BLAZE_END ? 0 : rc;
}

int bz_range_list(void *context, const struct bz_range *range, struct bz_range_sum *out)
{
    struct bz_db *db = context;
    struct bz_read *read = NULL;
    struct bz_cursor *cursor = NULL;
    uint32_t collection;
    out->count = 0;
    out->digest = (struct bz_hash128){0};
    out->more = false;
    int rc = bz_read_begin(db, &read, NULL);
    if (rc != 0)
        return rc;
    if (bz_catalog_collection(db->catalog, range->collection, &collection) == 0) {
        rc = bz_cursor_open(read->view, BZ_MAP_RECORDS, &cursor, NULL);
        if (rc == 0)
            rc = sum_up(read, cursor, collection, range, out);
        bz_cursor_close(cursor);
    }
    bz_read_end(read);
    return rc;
}

/* ---- removing ---- */

struct removal {
    const blaze_id *there;
    uint32_t count, next;
    const struct bz_vv *covered;
    struct bz_purged purged; /* what may have been collected */
    struct bz_arena arena;
    blaze_id found[REMOVED_A_COMMIT];
    uint32_t found_count;
    blaze_id reached;
    bool at_end;
};

static bool is_there(struct removal *r, const blaze_id *id)
{
    while (r->next < r->count && memcmp(&r->there[r->next], id, sizeof *id) < 0)
        r->next++;
    return r->next < r->count && memcmp(&r->there[r->next], id, sizeof *id) == 0;
}

/* Finds some that are to go. */
static int look(struct removal *r, struct bz_db_txn *txn, uint32_t collection,
    const struct bz_range *from, blaze_error *error)
{
    uint8_t key[BZ_RECORD_KEY_SIZE + 1];
    struct bz_nodes nodes = bz_catalog_nodes(txn->db->catalog);
    struct bz_cursor *cursor = NULL;
    blaze_id id;
    int rc = bz_cursor_open(txn->view, BZ_MAP_RECORDS, &cursor, error);
    if (rc == 0)
        rc = bz_cursor_seek(cursor, start_key(key, collection, from), error);
    while (
        rc == 0 && r->found_count < REMOVED_A_COMMIT && in_range(cursor, collection, from, &id)) {
        struct bz_rec rec;
        r->reached = id;
        if (!is_there(r, &id)) {
            rc = decode(cursor, &r->arena, &id, &rec);
            if (rc == 0 && bz_rec_alive(&rec, &nodes) && bz_vv_includes(r->covered, &rec.rvv) &&
                bz_vv_includes(&r->purged.vv, &rec.rvv))
                r->found[r->found_count++] = id;
        }
        if (rc == 0)
            rc = bz_cursor_next(cursor, error);
    }
    bz_cursor_close(cursor);
    r->at_end = r->found_count < REMOVED_A_COMMIT;
    if (rc == BLAZE_ENOMEM || rc == BLAZE_ECORRUPT)
        bz_error_code(error, rc);
    return rc == BLAZE_END ? 0 : rc;
}

static int remove_some(struct removal *r, struct bz_db *db, const struct bz_range *from,
    uint64_t *removed, blaze_error *error)
{
    struct bz_db_txn *txn = NULL;
    uint32_t collection;
    r->found_count = 0;
    r->at_end = true;
    int rc = bz_db_begin(db, &txn, error);
    if (rc != 0)
        return rc;
    bz_arena_reset(&txn->arena);
    bool hearsay = false;
    rc = bz_purged_load(txn->view, &txn->arena, &r->purged, error);
    if (rc == 0)
        rc = bz_hearsay_load(db, txn->view, &hearsay, error);
    if (rc == 0 && !hearsay &&
        bz_catalog_collection(db->catalog, from->collection, &collection) == 0)
        rc = look(r, txn, collection, from, error);
    for (uint32_t i = 0; rc == 0 && i < r->found_count; i++)
        rc = bz_write_collected(txn, collection, &r->found[i], error);
    if (rc != 0) {
        bz_db_abort(txn);
        return rc;
    }
    rc = bz_db_commit(txn, db->apply_durability, error);
    if (rc == 0)
        *removed += r->found_count;
    return rc;
}

int bz_range_remove(void *context, const struct bz_range *range, const blaze_id *there,
    uint32_t count, const struct bz_vv *covered, uint64_t *removed, blaze_error *error)
{
    struct removal r = {.there = there, .count = count, .covered = covered};
    struct bz_range from = *range;
    int rc;
    bz_arena_init(&r.arena);
    do {
        rc = remove_some(&r, context, &from, removed, error);
        from.whole = false;
        from.after = r.reached;
    } while (rc == 0 && !r.at_end);
    bz_arena_release(&r.arena);
    return rc;
}

int bz_range_done(void *context, blaze_error *error)
{
    struct bz_db_txn *txn = NULL;
    bool stale = false;
    int rc = bz_db_begin(context, &txn, error);
    if (rc != 0)
        return rc;
    rc = bz_stale_load(txn->view, &stale, error);
    if (rc == 0 && stale)
        rc = bz_stale_store(txn, false, error);
    if (rc == 0)
        return bz_db_commit(txn, BZ_DURABLE_RELAXED, error);
    bz_db_abort(txn);
    return rc;
}

int bz_range_differs(void *context, const struct bz_head *head, bool *out, blaze_error *error)
{
    struct bz_read *read = NULL;
    const struct bz_state *state = NULL;
    struct bz_purged purged;
    struct bz_vv ours;
    int rc = bz_read_begin(context, &read, error);
    if (rc != 0)
        return rc;
    bz_arena_reset(&read->arena);
    rc = bz_read_load_state(read, &state, error);
    if (rc == 0)
        rc = bz_purged_load(read->view, &read->arena, &purged, error);
    if (rc == 0)
        rc = bz_version_vector(read->view, state->self, state->seq, &read->arena, &ours, error);
    if (rc == 0)
        *out = purged.vv.count > 0 && bz_vv_includes(&ours, &head->vv) &&
               bz_vv_includes(&head->vv, &ours) &&
               (state->digest.low != head->digest.low || state->digest.high != head->digest.high);
    bz_read_end(read);
    return rc;
}

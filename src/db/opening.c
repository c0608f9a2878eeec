/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Openings: by them a copy finds out that its whole file system was put back to an older state,
 * which nothing shows when it is opened (identity.c has what does).
 *
 * The first commit that moves the log in each opening of the database for writing notes a random
 * id, under the position after which it begins. A copy that is put back is opened anew, so from
 * there on its log has openings that the former one has not. Who takes our changes keeps, with its
 * cursor, as of which head of our log it was given what lies before that, and in which opening the
 * head was, and gives both back: where our log ends before, or has another opening there, the
 * cursor is of a log that is no more. The opening of the cursor itself would not do: what had
 * changed by then beyond the cursor was not given before it, and may stand there again.
 *
 * Then this copy goes on as another node (bz_identity_renew()). What it has written since it was
 * put back may stand under dots that the former one has given to other writes. Nobody has been sent
 * them, unless somebody came first who did not know that there was more. So they are written again
 * by the new node (*reissued*): same stamps, same bodies, as writes that have not seen what was
 * lost. Both then meet as any concurrent writes do.
 */

#include "db/db_priv.h"

#define VALUE_MAX (8u + 2 * BZ_VARINT_MAX)

static struct bz_bytes opening_key(uint8_t out[8], uint64_t start)
{
    bz_store64be(out, start);
    return bz_bytes(out, 8);
}

static int decode(
    struct bz_bytes key, struct bz_bytes value, struct bz_opening *out, blaze_error *error)
{
    struct bz_reader r = bz_reader(value);
    struct bz_opening opening = {0};
    opening.mark.id = bz_read64le(&r);
    opening.seq = bz_read_varint(&r);
    opening.number = bz_read_varint(&r);
    if (key.size != 8 || !r.ok || bz_reader_left(&r) != 0 || opening.mark.id == 0)
        return bz_error_set(error, BLAZE_ECORRUPT, "a note of an opening is corrupt");
    opening.mark.start = bz_load64be(key.data);
    *out = opening;
    return 0;
}

int bz_opening_decode(const struct bz_cursor *cursor, struct bz_opening *out, blaze_error *error)
{
    return decode(bz_cursor_key(cursor), bz_cursor_value(cursor), out, error);
}

static int store(struct bz_txn *txn, const struct bz_opening *opening, blaze_error *error)
{
    uint8_t key[8], value[VALUE_MAX];
    bz_store64le(value, opening->mark.id);
    uint8_t *p = bz_varint_put(value + 8, opening->seq);
    p = bz_varint_put(p, opening->number);
    return bz_txn_put(txn, BZ_MAP_OPENINGS, opening_key(key, opening->mark.start),
        bz_bytes(value, (size_t)(p - value)), error);
}

/* The first one that starts at `start` or later; all zero: none. */
static int find_from(
    struct bz_view *view, uint64_t start, struct bz_opening *out, blaze_error *error)
{
    uint8_t key[8];
    struct bz_cursor *cursor = NULL;
    *out = (struct bz_opening){0};
    int rc = bz_cursor_open(view, BZ_MAP_OPENINGS, &cursor, error);
    if (rc == 0)
        rc = bz_cursor_seek(cursor, opening_key(key, start), error);
    if (rc == 0)
        rc = bz_opening_decode(cursor, out, error);
    bz_cursor_close(cursor);
    return rc == BLAZE_END ? 0 : rc;
}

/* Stands on that of a position; BLAZE_END. */
static int seek_at(struct bz_cursor *cursor, uint64_t position, blaze_error *error)
{
    uint8_t key[8];
    int rc = bz_cursor_seek(cursor, opening_key(key, position), error);
    /* Past it; or past all, and then to the last. */
    return rc == 0 || rc == BLAZE_END ? bz_cursor_prev(cursor, error) : rc;
}

int bz_openings_since(struct bz_view *view, const struct bz_opening_mark *told, uint64_t position,
    struct bz_trail *out, blaze_error *error)
{
    struct bz_cursor *cursor = NULL;
    out->count = 0;
    int rc = bz_cursor_open(view, BZ_MAP_OPENINGS, &cursor, error);
    if (rc == 0)
        rc = seek_at(cursor, position, error);
    while (rc == 0 && out->count < BZ_TRAIL_MAX) {
        struct bz_opening opening;
        rc = bz_opening_decode(cursor, &opening, error);
        if (rc != 0 || (told->id != 0 && opening.mark.start <= told->start))
            break;
        out->marks[out->count++] = opening.mark;
        rc = bz_cursor_prev(cursor, error);
    }
    bz_cursor_close(cursor);
    return rc == BLAZE_END ? 0 : rc;
}

int bz_opening_at(
    struct bz_view *view, uint64_t position, struct bz_opening *out, blaze_error *error)
{
    struct bz_cursor *cursor = NULL;
    *out = (struct bz_opening){0};
    int rc = bz_cursor_open(view, BZ_MAP_OPENINGS, &cursor, error);
    if (rc == 0)
        rc = seek_at(cursor, position, error);
    if (rc == 0)
        rc = bz_opening_decode(cursor, out, error);
    bz_cursor_close(cursor);
    return rc == BLAZE_END ? 0 : rc;
}

/* ---- noting ---- */

/* Random and not 0. */
static int draw(struct bz_db *db, uint64_t *out, blaze_error *error)
{
    uint8_t bytes[8];
    int rc = db->entropy(db->context, bytes, sizeof bytes);
    if (rc != 0)
        return bz_error_set(error, rc, "no random bytes for a new id");
    *out = bz_load64le(bytes) | 1;
    return 0;
}

/* The oldest goes where there are too many; a cursor that is as old is then void. */
static int prune(struct bz_txn *txn, uint64_t number, blaze_error *error)
{
    uint8_t key[8];
    struct bz_opening first;
    int rc = find_from(bz_txn_view(txn), 0, &first, error);
    if (rc != 0 || first.mark.id == 0 || number - first.number < BZ_OPENINGS_MAX)
        return rc;
    return bz_txn_delete(txn, BZ_MAP_OPENINGS, opening_key(key, first.mark.start), error);
}

static int note(
    struct bz_db *db, struct bz_txn *txn, uint64_t start, uint64_t seq, blaze_error *error)
{
    struct bz_opening last, opening = {.mark.start = start, .seq = seq};
    int rc = bz_opening_at(bz_txn_view(txn), UINT64_MAX, &last, error);
    if (rc == 0)
        rc = draw(db, &opening.mark.id, error);
    opening.number = last.number + 1;
    if (rc == 0)
        rc = prune(txn, opening.number, error);
    return rc != 0 ? rc : store(txn, &opening, error);
}

int bz_opening_note(struct bz_db_txn *txn, blaze_error *error)
{
    struct bz_db *db = txn->db;
    if (txn->state.position == txn->begun || atomic_load(&db->opening_noted) ||
        BZ_MUTANT(OPENING_NOT_NOTED))
        return 0;
    txn->notes_opening = true;
    return note(db, txn->txn, txn->begun, txn->begun_seq, error);
}

int bz_openings_renew(struct bz_db *db, struct bz_txn *txn, uint64_t position, blaze_error *error)
{
    struct bz_cursor *cursor = NULL;
    int rc = bz_cursor_open(bz_txn_view(txn), BZ_MAP_OPENINGS, &cursor, error);
    while (rc == 0 && (rc = bz_cursor_next(cursor, error)) == 0) {
        uint8_t key[8];
        struct bz_opening opening;
        rc = bz_opening_decode(cursor, &opening, error);
        if (rc == 0)
            rc = bz_txn_delete(txn, BZ_MAP_OPENINGS, opening_key(key, opening.mark.start), error);
    }
    bz_cursor_close(cursor);
    /* For the processes that have noted theirs already. */
    return rc != BLAZE_END ? rc : note(db, txn, position, 0, error);
}

/* ---- recognizing ---- */

int bz_opening_recognize(struct bz_view *view, uint64_t position, uint64_t as_of,
    const struct bz_trail *trail, enum bz_recognition *out, blaze_error *error)
{
    struct bz_opening here;
    *out = as_of > position ? BZ_CURSOR_OUTLIVED : BZ_CURSOR_GOOD;
    if (as_of == 0 || as_of > position)
        return 0;
    int rc = bz_opening_at(view, as_of, &here, error);
    if (rc != 0)
        return rc;
    if (here.mark.id == 0 || trail->count == 0)
        *out = here.mark.id == 0 && trail->count == 0 ? BZ_CURSOR_GOOD : BZ_CURSOR_VOID;
    else if (here.mark.id != trail->marks[0].id || here.mark.start != trail->marks[0].start)
        *out = BZ_CURSOR_OUTLIVED;
    return 0;
}

/* The newest mark that is ours too; *found. */
static int find_common(struct bz_view *view, const struct bz_trail *trail,
    struct bz_opening_mark *out, bool *found, blaze_error *error)
{
    *found = false;
    for (uint32_t i = 0; i < trail->count && !*found; i++) {
        uint8_t key[8];
        struct bz_bytes value;
        struct bz_opening opening;
        struct bz_bytes at = opening_key(key, trail->marks[i].start);
        int rc = bz_view_get(view, BZ_MAP_OPENINGS, at, &value, error);
        if (rc == BLAZE_ENOTFOUND)
            continue;
        if (rc == 0)
            rc = decode(at, value, &opening, error);
        if (rc != 0)
            return rc;
        *found = opening.mark.id == trail->marks[i].id;
        *out = trail->marks[i];
    }
    return 0;
}

/*
 * Where our log left the one that the peer knows: at the start of one of our openings. If they have
 * one in common, at that of the next. If the trail does not go back as far, no later than at its
 * oldest mark. Without a trail nothing is known but that the present opening is ours, if this
 * process has written.
 */
static int find_fork(
    struct bz_db_txn *txn, const struct bz_trail *trail, struct bz_opening *out, blaze_error *error)
{
    struct bz_opening_mark common = {0};
    struct bz_view *view = txn->view;
    bool found = false;
    *out = (struct bz_opening){0};
    if (trail == NULL || trail->count == 0)
        return atomic_load(&txn->db->opening_noted) ? bz_opening_at(view, UINT64_MAX, out, error)
                                                    : 0;
    int rc = find_common(view, trail, &common, &found, error);
    if (rc != 0)
        return rc;
    return found ? find_from(view, common.start + 1, out, error)
                 : bz_opening_at(view, trail->marks[trail->count - 1].start + 1, out, error);
}

int bz_opening_fork(
    struct bz_db_txn *txn, const struct bz_trail *trail, struct bz_fork *out, blaze_error *error)
{
    struct bz_opening at;
    int rc = find_fork(txn, trail, &at, error);
    if (rc != 0)
        return rc;
    *out = (struct bz_fork){.node = txn->state.self,
        .position = at.mark.id != 0 ? at.mark.start : txn->state.position,
        .seq = at.mark.id != 0 ? at.seq : txn->state.seq,
        .last_seq = txn->state.seq};
    if (out->seq > out->last_seq || out->position > txn->state.position)
        return bz_error_set(error, BLAZE_ECORRUPT, "a note of an opening is corrupt");
    return 0;
}

/* ---- reissuing ---- */

static int reissue_one(struct bz_db_txn *txn, const struct bz_fork *fork,
    const struct bz_log_entry *entry, blaze_error *error)
{
    struct bz_txn_collection *collection = NULL;
    struct bz_stored stored;
    struct bz_rec old, rec;
    bool found = false, changed = false;
    int rc =
        bz_txn_load(txn, entry->collection, &entry->id, &collection, &stored, &old, &found, error);
    if (rc != 0)
        return rc;
    if (!found)
        return bz_record_corrupt(error, &entry->id);
    rc = bz_rec_reissue(&txn->arena, &old, fork->node, fork->seq, txn->state.self,
        txn->state.position + 1, &rec, &changed);
    if (rc != 0)
        return bz_error_code(error, rc);
    /* As if from the former node: merging may have made it larger than a writer may. */
    return !changed ? 0
                    : bz_write_record(txn, collection, &entry->id, &stored, &old, &rec,
                          (struct bz_origin){fork->node, false}, error);
}

int bz_opening_reissue(struct bz_db_txn *txn, const struct bz_fork *fork, blaze_error *error)
{
    struct bz_cursor *cursor = NULL;
    uint64_t end = txn->state.position;
    if (fork->seq == fork->last_seq || BZ_MUTANT(NOT_REISSUED))
        return 0;
    /* Same seqs under the new node: those below are nobody's. */
    txn->state.seq = fork->last_seq;
    int rc = bz_cursor_open(txn->view, BZ_MAP_LOG, &cursor, error);
    if (rc == 0)
        rc = bz_log_seek(cursor, fork->position, error);
    while (rc == 0) {
        struct bz_log_entry entry;
        rc = bz_log_decode(cursor, &entry, error);
        if (rc != 0 || entry.position > end)
            break;
        rc = reissue_one(txn, fork, &entry, error);
        if (rc == 0)
            rc = bz_cursor_next(cursor, error);
    }
    bz_cursor_close(cursor);
    return rc == BLAZE_END ? 0 : rc;
}

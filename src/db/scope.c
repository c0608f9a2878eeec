/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A partial replica: what it notes of itself, how its scope is set, and how it lets go of records.
 *
 * Letting go removes a record here, and is no write: nobody else learns of it. It happens only to
 * what a full peer is known to have, or holds nothing that was written here. Three things cause it:
 * a change that takes the record out of the scope (scoped.c), a scope that has been narrowed or a
 * record written here outside of it (the sweep below, once a full peer has acknowledged our head),
 * and the user (evict.c).
 *
 *   S1  our version vector says up to where we were shown what is in our scope. A scope that takes
 *       more than before makes it void, and the positions in the peers' logs too.
 *   S2  `gave` is the newest write of ours that we have let go of. We claim our own writes only to
 *       peers whose version vector covers it, and to one that has all that we let go of, the
 *       keeper: others would take over a claim to what we cannot send them any more. The keeper
 *       is who last acknowledged a head of ours that claims our writes, and only what such a head
 *       covers is let go of; so the keeper has it, and from there the claim spreads. If it forgets
 *       what it claimed, it is told again; if it has lost what it had, or is not seen any more, we
 *       go on as another node, which has let go of nothing. It has lost it if it goes on reading
 *       our log before where it was when we let go.
 *   S3  a copy whose scope has been taken away is a full one once it has reached the head of a
 *       full peer that is the keeper or covers `gave`; at another's it goes on as another node
 *       first.
 */

#include "db/db_priv.h"

#include "base/alloc.h"
#include "crdt/scope.h"

#define KEPT_FORMAT   3u
#define KEPT_MAX      (2 * BZ_SCOPE_BYTES_MAX + 256u)
#define KEPT_EVICTED  1u
#define KEPT_WHOLE    2u
#define SWEEP_ENTRIES 4096u /* looked at in one go */
#define SWEEP_RECORDS 512u  /* let go of in one commit */
#define SWEPT_LAG     1024u /* positions that are swept again after a restart, at most about */

/* ---- what is kept ---- */

static struct bz_bytes kept_key(void)
{
    return bz_bytes("setting/filter", 14);
}

int bz_scope_load(
    struct bz_view *view, struct bz_arena *arena, struct bz_scope_kept *out, blaze_error *error)
{
    struct bz_bytes value;
    int rc = bz_view_get(view, BZ_MAP_META, kept_key(), &value, error);
    *out = (struct bz_scope_kept){0};
    if (rc == BLAZE_ENOTFOUND)
        return 0;
    if (rc != 0)
        return rc;
    value = bz_arena_copy(arena, value);
    if (value.data == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    struct bz_reader r = bz_reader(value);
    struct bz_scope_kept kept = {0};
    uint8_t format = bz_read8(&r);
    kept.generation = bz_read_varint(&r);
    kept.swept = bz_read_varint(&r);
    struct bz_bytes keeper = bz_read_bytes(&r, sizeof kept.keeper);
    kept.safe = bz_read_varint(&r);
    kept.claimed = bz_read_varint(&r);
    kept.gave = bz_read_varint(&r);
    kept.gave_at = bz_read_varint(&r);
    kept.unsure = bz_read_varint(&r);
    kept.doubted = bz_read_varint(&r);
    uint8_t flags = bz_read8(&r);
    kept.evicted = (flags & KEPT_EVICTED) != 0;
    kept.whole = (flags & KEPT_WHOLE) != 0;
    kept.scope = bz_read_sized(&r);
    kept.before = bz_read_sized(&r);
    if (!r.ok || bz_reader_left(&r) > 0 || format != KEPT_FORMAT || kept.generation == 0 ||
        flags > (KEPT_EVICTED | KEPT_WHOLE) || kept.scope.size == 0 ||
        bz_scope_check(kept.scope) != 0 || bz_scope_check(kept.before) != 0)
        return bz_error_set(
            error, BLAZE_ECORRUPT, "what is noted of the scope of this copy is corrupt");
    memcpy(&kept.keeper, keeper.data, sizeof kept.keeper);
    *out = kept;
    return 0;
}

int bz_scope_is_set(struct bz_view *view, bool *out, blaze_error *error)
{
    return bz_meta_is_there(view, kept_key(), out, error);
}

int bz_scope_store(struct bz_txn *txn, const struct bz_scope_kept *kept, blaze_error *error)
{
    struct bz_buf value;
    if (kept->generation == 0)
        return bz_txn_delete(txn, BZ_MAP_META, kept_key(), error);
    bz_buf_init(&value, KEPT_MAX);
    bz_buf_append8(&value, KEPT_FORMAT);
    bz_buf_append_varint(&value, kept->generation);
    bz_buf_append_varint(&value, kept->swept);
    bz_buf_append(&value, &kept->keeper, sizeof kept->keeper);
    bz_buf_append_varint(&value, kept->safe);
    bz_buf_append_varint(&value, kept->claimed);
    bz_buf_append_varint(&value, kept->gave);
    bz_buf_append_varint(&value, kept->gave_at);
    bz_buf_append_varint(&value, kept->unsure);
    bz_buf_append_varint(&value, kept->doubted);
    bz_buf_append8(
        &value, (uint8_t)((kept->evicted ? KEPT_EVICTED : 0) | (kept->whole ? KEPT_WHOLE : 0)));
    bz_buf_append_sized(&value, kept->scope);
    bz_buf_append_sized(&value, kept->before);
    int rc = value.error != 0
                 ? bz_error_code(error, value.error)
                 : bz_txn_put(txn, BZ_MAP_META, kept_key(), bz_buf_bytes(&value), error);
    bz_buf_release(&value);
    return rc;
}

/* ---- what was shown ---- */

static int add_node(void *context, const blaze_id *node, const struct bz_peer_state *peer)
{
    (void)peer;
    struct bz_buf *nodes = context;
    bz_buf_append(nodes, node, sizeof *node);
    return nodes->error;
}

int bz_peers_void(struct bz_txn *txn, bool held, blaze_error *error)
{
    struct bz_buf nodes;
    bz_buf_init(&nodes, (size_t)1 << 30);
    int rc = bz_peer_each(bz_txn_view(txn), add_node, &nodes, error);
    if (rc == BLAZE_ENOMEM)
        bz_error_code(error, rc);
    for (size_t at = 0; rc == 0 && at < nodes.size; at += sizeof(blaze_id)) {
        blaze_id node;
        struct bz_peer_state peer;
        memcpy(&node, nodes.data + at, sizeof node);
        rc = bz_peer_load(bz_txn_view(txn), &node, &peer, error);
        peer.held = held ? peer.cursor : 0;
        peer.cursor = peer.reached = 0; /* what its log is recognized by stays */
        peer.awaits = (struct bz_awaited){0};
        if (rc == 0)
            rc = bz_peer_store(txn, &node, &peer, error);
    }
    bz_buf_release(&nodes);
    return rc;
}

/* What it covered lies beyond it now. */
static int void_version(struct bz_db *db, struct bz_txn *txn, blaze_error *error)
{
    struct bz_arena arena;
    struct bz_vv vv;
    bz_arena_init(&arena);
    int rc = bz_version_vector(bz_txn_view(txn), 0, 0, &arena, &vv, error);
    if (rc == 0)
        rc = bz_beyond_raise(db, txn, &arena, &vv, error);
    for (uint32_t i = 0; rc == 0 && i < vv.count; i++)
        rc = bz_version_erase(txn, vv.entries[i].node, error);
    bz_arena_release(&arena);
    return rc;
}

/* What we were shown says nothing any more; `held`: what was read of the logs is still here. */
static int forget_shown(struct bz_db *db, struct bz_txn *txn, bool held, blaze_error *error)
{
    int rc = BZ_MUTANT(WIDER_NOT_REREAD) ? 0 : bz_peers_void(txn, held, error);
    if (rc == 0)
        rc = void_version(db, txn, error);
    return rc == 0 ? bz_gone_clear(txn, error) : rc;
}

int bz_scope_renew(
    struct bz_db *db, struct bz_txn *txn, uint64_t position, bool *gave, blaze_error *error)
{
    struct bz_scope_kept kept;
    struct bz_arena arena;
    bz_arena_init(&arena);
    int rc = bz_scope_load(bz_txn_view(txn), &arena, &kept, error);
    /* As a part we would not claim its writes to anybody, and G2 compares with what others do. */
    *gave = rc == 0 && kept.generation != 0;
    /* What lacked one of them was refused (G5 in scoped.c): it may be all that there is. */
    if (rc == 0 && kept.gave > 0)
        rc = forget_shown(db, txn, false, error);
    if (rc == 0 && kept.gave > 0)
        rc = bz_left_clear(txn, error);
    if (rc == 0 && kept.generation != 0) {
        kept.gave = kept.gave_at = kept.claimed = 0;
        kept.unsure = position;
        rc = bz_scope_store(txn, &kept, error);
    }
    bz_arena_release(&arena);
    return rc;
}

static void raise_to(uint64_t *value, uint64_t to)
{
    if (*value < to)
        *value = to;
}

/* What one peer has says nothing of another: of two, the one that has more of our log counts. */
static bool is_more(const struct bz_acknowledged *known, uint64_t safe)
{
    return known->safe > 0 && known->safe >= safe;
}

static void take_known(
    struct bz_scope_kept *kept, const struct bz_acknowledged *known, uint32_t self)
{
    if (known->self != self || !is_more(known, kept->safe))
        return;
    kept->keeper = known->peer;
    kept->safe = known->safe;
    kept->claimed = known->claimed;
}

void bz_scope_add_unwritten(struct bz_db *db, uint32_t self, struct bz_scope_kept *kept)
{
    pthread_mutex_lock(&db->lock);
    if (kept->generation != 0 && db->scope.generation == kept->generation) {
        take_known(kept, &db->scope.known, self);
        raise_to(&kept->swept, db->scope.swept);
    }
    pthread_mutex_unlock(&db->lock);
}

int bz_db_scope(struct bz_db *db, struct bz_buf *out, blaze_error *error)
{
    struct bz_read *read = NULL;
    struct bz_scope_kept kept;
    int rc = bz_read_begin(db, &read, error);
    if (rc != 0)
        return rc;
    rc = bz_read_scope(read, &kept.scope, error);
    if (rc == 0) {
        bz_buf_append(out, kept.scope.data, kept.scope.size);
        rc = out->error == 0 ? 0 : bz_error_code(error, out->error);
    }
    bz_read_end(read);
    return rc;
}

int bz_read_scope(struct bz_read *read, struct bz_bytes *out, blaze_error *error)
{
    struct bz_scope_kept kept;
    bz_arena_reset(&read->arena);
    int rc = bz_scope_load(read->view, &read->arena, &kept, error);
    if (rc == 0)
        *out = kept.scope;
    return rc;
}

int bz_db_is_partial(struct bz_db *db, bool *out, blaze_error *error)
{
    struct bz_read *read = NULL;
    struct bz_bytes scope;
    int rc = bz_read_begin(db, &read, error);
    if (rc != 0)
        return rc;
    rc = bz_read_scope(read, &scope, error);
    if (rc == 0)
        *out = scope.size > 0;
    bz_read_end(read);
    return rc;
}

/* ---- letting go ---- */

int bz_scope_outgrown(blaze_error *error)
{
    return bz_error_set(error, BLAZE_ECLOSED,
        "writes of this node that this copy has let go of may have been lost: it goes on as "
        "another node with the next connection");
}

bool bz_scope_keeps(const struct bz_scope_kept *kept, const blaze_id *peer, uint64_t acked)
{
    return memcmp(&kept->keeper, peer, sizeof *peer) == 0 && acked >= kept->gave_at;
}

bool bz_scope_expendable(uint32_t self, const struct bz_scope_kept *kept,
    const struct bz_stored *stored, const struct bz_rec *rec)
{
    if (BZ_MUTANT(LET_GO_UNCLAIMED))
        return true;
    return bz_vv_get(&rec->rvv, self) <= kept->claimed &&
           (stored->position > kept->unsure || stored->position <= kept->safe);
}

int bz_scope_moved(struct bz_db_txn *txn, blaze_error *error)
{
    struct bz_scope_kept kept;
    int rc = bz_scope_load(txn->view, &txn->arena, &kept, error);
    if (rc != 0 || kept.unsure <= kept.safe)
        return rc;
    kept.unsure = txn->state.position;
    return bz_scope_store(txn->txn, &kept, error);
}

int bz_scope_let_go(struct bz_db_txn *txn, struct bz_scope_kept *kept,
    struct bz_txn_collection *collection, const blaze_id *id, const struct bz_stored *stored,
    const struct bz_rec *rec, blaze_error *error)
{
    uint64_t own = bz_vv_get(&rec->rvv, txn->state.self);
    int rc = bz_drop_record(txn, collection, id, stored, rec, error);
    if (rc != 0)
        return rc;
    if (own > 0) {
        raise_to(&kept->gave_at, kept->safe);
        raise_to(&kept->gave, own);
        rc = bz_left_note(txn, collection->number, id, &rec->rvv, error);
    }
    return rc != 0 ? rc : bz_gone_note(txn, collection->number, id, &rec->rvv, error);
}

/* ---- the sweep ---- */

struct candidate {
    uint32_t collection;
    blaze_id id;
};

struct sweep {
    struct bz_db *db;
    uint32_t self;
    struct bz_acknowledged known; /* as far as it is not written yet */
    struct bz_scope_kept kept;
    struct bz_arena arena;
    struct bz_selection *selection;
    struct candidate found[SWEEP_RECORDS];
    uint32_t count;
    uint64_t scanned; /* looked at up to here */
    uint64_t stays;   /* the first that must stay yet; UINT64_MAX: none */
    uint64_t end;     /* of the log */
};

/* Whether a record is in scope, as it is here and as peers have told of it since. */
static int is_wanted(struct sweep *sweep, struct bz_view *view, struct bz_arena *arena,
    uint32_t collection, const blaze_id *id, const struct bz_rec *rec, bool *out,
    blaze_error *error)
{
    bool gone = false;
    *out = bz_selection_takes(sweep->selection, collection, id, rec);
    int rc = !*out ? 0 : bz_gone_since(view, arena, collection, id, &rec->rvv, false, &gone, error);
    *out &= !gone;
    return rc;
}

/* Whether what stands at a log entry is out of scope, and whether it can go. */
static int look(
    struct sweep *sweep, struct bz_read *read, const struct bz_log_entry *entry, blaze_error *error)
{
    struct bz_stored stored;
    struct bz_rec rec;
    bool filtered, wanted = false;
    /* What came since the scope was set was looked at as it came. */
    if (entry->position > sweep->kept.generation && entry->origin != sweep->self && entry->subsumed)
        return 0;
    if (bz_selection_collection(sweep->selection, entry->collection, &filtered) && !filtered)
        return 0;
    int rc = bz_stored_load(read->view, entry->collection, &entry->id, &stored, error);
    bz_arena_reset(&read->arena);
    if (rc == 0)
        rc = bz_stored_decode(&read->arena, &stored, &entry->id, &rec, error);
    if (rc == 0)
        rc = is_wanted(
            sweep, read->view, &read->arena, entry->collection, &entry->id, &rec, &wanted, error);
    if (rc != 0 || wanted)
        return rc;
    if (!bz_scope_expendable(sweep->self, &sweep->kept, &stored, &rec)) {
        if (sweep->stays == UINT64_MAX)
            sweep->stays = entry->position;
        return 0;
    }
    sweep->found[sweep->count++] = (struct candidate){entry->collection, entry->id};
    return 0;
}

static int scan(struct sweep *sweep, struct bz_read *read, blaze_error *error)
{
    struct bz_cursor *cursor = NULL;
    struct bz_log_entry entry;
    int rc = bz_cursor_open(read->view, BZ_MAP_LOG, &cursor, error);
    if (rc == 0)
        rc = bz_log_seek(cursor, sweep->kept.swept, error);
    for (uint32_t n = 0; rc == 0 && n < SWEEP_ENTRIES && sweep->count < SWEEP_RECORDS; n++) {
        rc = bz_log_decode(cursor, &entry, error);
        if (rc == 0)
            rc = look(sweep, read, &entry, error);
        if (rc != 0)
            break;
        sweep->scanned = entry.position;
        rc = bz_cursor_next(cursor, error);
    }
    if (rc == BLAZE_END)
        sweep->scanned = sweep->end;
    bz_cursor_close(cursor);
    return rc == BLAZE_END ? 0 : rc;
}

/* Lets go of one that was found, if it is still so. */
static int remove_one(
    struct sweep *sweep, struct bz_db_txn *txn, const struct candidate *found, blaze_error *error)
{
    struct bz_txn_collection *collection;
    struct bz_stored stored;
    struct bz_rec rec;
    bool there = false, wanted = false;
    int rc =
        bz_txn_load(txn, found->collection, &found->id, &collection, &stored, &rec, &there, error);
    if (rc == 0 && there)
        rc = is_wanted(
            sweep, txn->view, &txn->arena, found->collection, &found->id, &rec, &wanted, error);
    if (rc != 0 || !there || wanted ||
        !bz_scope_expendable(txn->state.self, &sweep->kept, &stored, &rec))
        return rc;
    struct bz_bytes name;
    if (BZ_MUTANT(LET_GO_DELETES) &&
        bz_catalog_collection_name(txn->db->catalog, found->collection, &name) == 0)
        return bz_db_delete(txn, name, &found->id, error);
    return bz_scope_let_go(txn, &sweep->kept, collection, &found->id, &stored, &rec, error);
}

/* Removes what was found, and writes down how far the sweep has come. */
static int remove_found(struct sweep *sweep, uint64_t swept, blaze_error *error)
{
    struct bz_db_txn *txn = NULL;
    struct bz_scope_kept kept;
    int rc = bz_db_begin(sweep->db, &txn, error);
    if (rc != 0)
        return rc;
    rc = bz_scope_load(txn->view, &sweep->arena, &kept, error);
    if (rc == 0 && kept.generation != sweep->kept.generation) {
        bz_db_abort(txn); /* the scope is another one by now: nothing of this is true any more */
        return 0;
    }
    if (rc == 0 && sweep->count == 0 && sweep->kept.safe <= kept.safe && swept <= kept.swept) {
        bz_db_abort(txn);
        return 0;
    }
    take_known(&kept, &sweep->known, txn->state.self);
    sweep->kept = kept;
    for (uint32_t i = 0; rc == 0 && i < sweep->count; i++)
        rc = remove_one(sweep, txn, &sweep->found[i], error);
    if (rc == 0) {
        raise_to(&sweep->kept.swept, swept);
        rc = bz_scope_store(txn->txn, &sweep->kept, error);
        txn->changed = true;
    }
    if (rc != 0) {
        bz_db_abort(txn);
        return rc;
    }
    return bz_db_commit(txn, sweep->db->apply_durability, error);
}

static void note_swept(
    struct bz_db *db, uint64_t generation, struct bz_acknowledged known, uint64_t swept)
{
    pthread_mutex_lock(&db->lock);
    if (db->scope.generation != generation) {
        db->scope.generation = generation;
        db->scope.known = (struct bz_acknowledged){0};
        db->scope.swept = 0;
    }
    if (is_more(&known, db->scope.known.self == known.self ? db->scope.known.safe : 0))
        db->scope.known = known;
    raise_to(&db->scope.swept, swept);
    pthread_mutex_unlock(&db->lock);
}

static int load_sweep(struct sweep *sweep, struct bz_read *read, blaze_error *error)
{
    const struct bz_state *state = NULL;
    int rc = bz_read_load_state(read, &state, error);
    if (rc != 0)
        return rc;
    sweep->end = state->position;
    sweep->self = state->self;
    return bz_scope_load(read->view, &sweep->arena, &sweep->kept, error);
}

static int run_sweep(
    struct sweep *sweep, struct bz_acknowledged known, bool *more, blaze_error *error)
{
    struct bz_db *db = sweep->db;
    struct bz_read *read = NULL;
    int rc = bz_read_begin(db, &read, error);
    if (rc != 0)
        return rc;
    rc = load_sweep(sweep, read, error);
    uint64_t written = sweep->kept.swept;
    if (rc == 0 && sweep->kept.generation != 0) {
        note_swept(db, sweep->kept.generation, known, 0);
        bz_scope_add_unwritten(db, sweep->self, &sweep->kept);
        sweep->scanned = sweep->kept.swept;
        rc = bz_selection_new(&sweep->selection, db->catalog, sweep->kept.scope, error);
        if (rc == 0)
            rc = scan(sweep, read, error);
    }
    bz_read_end(read);
    if (rc != 0 || sweep->kept.generation == 0)
        return rc;
    uint64_t swept = sweep->stays <= sweep->scanned ? sweep->stays - 1 : sweep->scanned;
    uint64_t generation = sweep->kept.generation;
    *more = sweep->scanned < sweep->end && swept == sweep->scanned;
    known = sweep->known = (struct bz_acknowledged){
        sweep->kept.keeper, sweep->kept.safe, sweep->kept.claimed, sweep->self};
    if (sweep->count > 0 || swept >= written + SWEPT_LAG)
        rc = remove_found(sweep, swept, error);
    if (rc == 0)
        note_swept(db, generation, known, swept);
    return rc;
}

void bz_scope_close(struct bz_db *db)
{
    struct sweep *sweep = db->scope.known.safe > 0 ? bz_zalloc(sizeof *sweep) : NULL;
    if (sweep == NULL)
        return;
    sweep->db = db;
    sweep->kept.generation = db->scope.generation;
    sweep->known = db->scope.known;
    sweep->kept.safe = db->scope.known.safe;
    bz_arena_init(&sweep->arena);
    remove_found(sweep, db->scope.swept, NULL);
    bz_arena_release(&sweep->arena);
    bz_free(sweep);
}

int bz_scope_sweep(struct bz_db *db, struct bz_acknowledged known, bool *more, blaze_error *error)
{
    struct sweep *sweep = bz_zalloc(sizeof *sweep);
    *more = false;
    if (sweep == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    sweep->db = db;
    sweep->stays = UINT64_MAX;
    bz_arena_init(&sweep->arena);
    int rc = run_sweep(sweep, known, more, error);
    bz_selection_free(sweep->selection);
    bz_arena_release(&sweep->arena);
    bz_free(sweep);
    return rc;
}

/* ---- setting it ---- */

/* More than before, or not surely less: what was known no longer says anything of it. What peers
 * sent under the former scope they need not send again, if it is here for sure: filters let go of
 * records at one peer's word that another still counts as sent, so from there on only complete
 * records will do. */
static int widen(
    struct bz_db_txn *txn, struct bz_scope_kept *kept, struct bz_bytes scope, blaze_error *error)
{
    bool loose = bz_scope_filtered(kept->scope) || kept->whole;
    bool held = !kept->evicted && (!loose || bz_scope_filtered(scope));
    kept->before = held ? kept->scope : bz_bytes(NULL, 0);
    kept->whole = held && loose;
    return forget_shown(txn->db, txn->txn, held, error);
}

static int set_scope(
    struct bz_db_txn *txn, struct bz_arena *arena, struct bz_bytes scope, blaze_error *error)
{
    struct bz_scope_kept kept;
    int rc = bz_scope_load(txn->view, arena, &kept, error);
    if (rc != 0 || (bz_bytes_equal(kept.scope, scope) && !kept.evicted))
        return rc;
    if (kept.evicted || !bz_scope_includes(kept.scope, scope))
        rc = widen(txn, &kept, scope, error);
    if (rc != 0)
        return rc;
    if (kept.generation == 0)
        kept.unsure = txn->state.position;
    kept.scope = scope;
    kept.evicted = false;
    kept.swept = 0;
    /* A position of its own, so that whoever follows the log comes to see it. */
    kept.generation = ++txn->state.position;
    txn->changed = true;
    return bz_scope_store(txn->txn, &kept, error);
}

/* Takes away the scope: at first it is one that takes everything (S3). */
static int clear_scope(struct bz_db_txn *txn, struct bz_arena *arena, blaze_error *error)
{
    static const uint8_t every[2] = {0, 0};
    struct bz_scope_kept kept;
    int rc = bz_scope_load(txn->view, arena, &kept, error);
    if (rc != 0 || kept.generation == 0)
        return rc;
    return set_scope(txn, arena, bz_bytes(every, sizeof every), error);
}

static int check_scope(struct bz_db *db, struct bz_bytes scope, blaze_error *error)
{
    struct bz_selection *selection = NULL;
    struct bz_bytes rest = scope;
    struct bz_scope_item item;
    if (bz_scope_check(scope) != 0)
        return bz_error_set(error, BLAZE_EINVAL,
            "a scope names at most %u collections, once each, and has filters of at most %u bytes",
            BZ_SCOPE_COLLECTIONS_MAX, BZ_SCOPE_FILTER_MAX);
    while (bz_scope_next(&rest, &item) == 0) {
        if (item.collection.size > 0 && !bz_catalog_name_valid(item.collection))
            return bz_error_set(error, BLAZE_EINVAL, "a scope names what cannot be a collection");
    }
    int rc = bz_selection_new(&selection, db->catalog, scope, error);
    bz_selection_free(selection);
    return rc;
}

int bz_db_scope_set(struct bz_db *db, struct bz_bytes scope, blaze_error *error)
{
    struct bz_db_txn *txn = NULL;
    struct bz_arena arena;
    int rc = bz_db_readable(db, error);
    if (rc == 0)
        rc = check_scope(db, scope, error);
    if (rc == 0)
        rc = bz_db_begin(db, &txn, error);
    if (rc != 0)
        return rc;
    bz_arena_init(&arena);
    rc = scope.size > 0 ? set_scope(txn, &arena, scope, error) : clear_scope(txn, &arena, error);
    if (rc == 0)
        rc = bz_db_commit(txn, BZ_DURABLE_FULL, error);
    else
        bz_db_abort(txn);
    bz_arena_release(&arena);
    bool more = rc == 0;
    while (more && rc == 0)
        rc = bz_scope_sweep(db, (struct bz_acknowledged){0}, &more, error);
    return rc;
}

/* ---- the replica's operations ---- */

static int log_is_empty(struct bz_view *view, bool *out)
{
    struct bz_cursor *cursor = NULL;
    int rc = bz_cursor_open(view, BZ_MAP_LOG, &cursor, NULL);
    if (rc == 0)
        rc = bz_cursor_next(cursor, NULL);
    *out = rc == BLAZE_END;
    bz_cursor_close(cursor);
    return rc == BLAZE_END ? 0 : rc;
}

int bz_replica_scope(void *context, struct bz_arena *arena, struct bz_scope_state *out)
{
    struct bz_read *read = NULL;
    struct bz_scope_kept kept;
    struct bz_scope_state scope = {0};
    int rc = bz_read_begin(context, &read, NULL);
    if (rc != 0)
        return rc;
    rc = bz_scope_load(read->view, arena, &kept, NULL);
    if (rc == 0 && kept.generation != 0) {
        scope = (struct bz_scope_state){
            .generation = kept.generation,
            .scope = kept.scope,
            .before = kept.before,
            .whole = kept.evicted || kept.whole || bz_scope_filtered(kept.scope),
        };
        rc = log_is_empty(read->view, &scope.empty);
    }
    bz_read_end(read);
    if (rc == 0)
        *out = scope;
    return rc;
}

/* What is kept of our scope, with what is not written yet. */
static int load_present(
    struct bz_db *db, struct bz_arena *arena, struct bz_scope_kept *out, blaze_error *error)
{
    struct bz_read *read = NULL;
    const struct bz_state *state = NULL;
    int rc = bz_read_begin_state(db, &read, &state, error);
    if (rc != 0)
        return rc;
    rc = bz_scope_load(read->view, arena, out, error);
    if (rc == 0)
        bz_scope_add_unwritten(db, state->self, out);
    bz_read_end(read);
    return rc;
}

/* Whether a scope has doubts that a peer which tells of so much would settle. */
static int doubts_in(struct bz_view *view, struct bz_arena *arena, const struct bz_vv *collected,
    struct bz_scope_kept *kept, bool *out, blaze_error *error)
{
    struct bz_purged purged = {0};
    int rc = bz_scope_load(view, arena, kept, error);
    if (rc == 0 && kept->doubted > 0)
        rc = bz_purged_load(view, arena, &purged, error);
    *out = rc == 0 && kept->doubted > 0 && bz_vv_includes(collected, &purged.vv);
    return rc;
}

int bz_scope_doubts(void *context, const struct bz_vv *collected, bool *out, blaze_error *error)
{
    struct bz_read *read = NULL;
    struct bz_scope_kept kept;
    int rc = bz_read_begin(context, &read, error);
    if (rc != 0)
        return rc;
    rc = doubts_in(read->view, &read->arena, collected, &kept, out, error);
    bz_read_end(read);
    return rc;
}

int bz_scope_compared(
    struct bz_db *db, uint64_t began, const struct bz_vv *collected, blaze_error *error)
{
    struct bz_db_txn *txn = NULL;
    struct bz_scope_kept kept;
    bool settled = false;
    int rc = bz_scope_doubts(db, collected, &settled, error);
    if (rc != 0 || !settled)
        return rc;
    rc = bz_db_begin(db, &txn, error);
    if (rc != 0)
        return rc;
    rc = doubts_in(txn->view, &txn->arena, collected, &kept, &settled, error);
    if (rc == 0 && settled && kept.doubted <= began) {
        kept.doubted = 0;
        txn->changed = true;
        rc = bz_scope_store(txn->txn, &kept, error);
    }
    if (rc == 0)
        return bz_db_commit(txn, BZ_DURABLE_RELAXED, error);
    bz_db_abort(txn);
    return rc;
}

int bz_replica_resumed(void *context, const blaze_id *former, const blaze_id *peer,
    uint64_t position, blaze_error *error)
{
    struct bz_scope_kept kept;
    struct bz_arena arena;
    bz_arena_init(&arena);
    int rc = load_present(context, &arena, &kept, error);
    bool lost = rc == 0 && memcmp(&kept.keeper, peer, sizeof *peer) == 0 && position < kept.gave_at;
    if (lost)
        rc = bz_identity_outgrown(context, former, error);
    bz_arena_release(&arena);
    return rc == 0 && lost ? bz_scope_outgrown(error) : rc;
}

int bz_replica_acknowledged(
    void *context, struct bz_acknowledged known, bool *more, blaze_error *error)
{
    return bz_scope_sweep(context, known, more, error);
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Taking in changes where not all are wanted, or where the sender is a partial replica.
 *
 * A record that is out of scope once it is merged is not kept: if it was here it goes, unless it
 * holds writes of ours that no full peer is known to have; the sweep (scope.c) finds it later.
 *
 * What has gone must not come back in an older state, from a peer that does not know better yet:
 * for the newer one may never be told again. So a record that is not here is taken in only if it
 * says something that we have not been shown.
 *
 *   G1  What we have been shown is states, not writes: two that are out of scope may merge to one
 *       that is in it. So a record is known only if its rvv is covered by that of one state alone.
 *   G2  Where filters may have refused something, our version vector is that of one full peer at
 *       its head, and no sum of several: it covers what that peer has shown or passed over.
 *   G3  States that it does not cover are noted in `meta` under "gone/" as they go: their rvv, none
 *       of them covered by another. The notes go when the version vector covers them.
 *   G4  Our own writes do not count as shown: what we have let go of may be brought back by a wider
 *       scope. So notes with some stay until then.
 *   G5  A write says that its node's earlier ones are known, and so must be what these had seen
 *       (crdt/rec_merge.c). So what is let go of with writes of ours is noted, too, under "left/",
 *       whatever the scope becomes, until it is here again: who writes it anew has seen that, and
 *       it is not taken in from a peer that does not have all writes of ours yet.
 */

#include "db/db_priv.h"

#include "crdt/scope.h"

#define NOTE_PREFIX_SIZE 5u
#define NOTE_KEY_SIZE    (NOTE_PREFIX_SIZE + BZ_RECORD_KEY_SIZE)
#define GONE_A_COMMIT    4096u /* notes that one commit takes away */

/* ---- what has gone ---- */

static const uint8_t gone_prefix[NOTE_PREFIX_SIZE] = {'g', 'o', 'n', 'e', '/'};
static const uint8_t left_prefix[NOTE_PREFIX_SIZE] = {'l', 'e', 'f', 't', '/'};

static struct bz_bytes note_key(uint8_t out[NOTE_KEY_SIZE], const uint8_t prefix[NOTE_PREFIX_SIZE],
    uint32_t collection, const blaze_id *id)
{
    memcpy(out, prefix, NOTE_PREFIX_SIZE);
    bz_record_key(out + NOTE_PREFIX_SIZE, collection, id);
    return bz_bytes(out, NOTE_KEY_SIZE);
}

/* Takes the next state off a note; BLAZE_END after the last. */
static int note_next(
    struct bz_reader *r, struct bz_arena *arena, struct bz_vv *out, blaze_error *error)
{
    if (r->ok && bz_reader_left(r) == 0)
        return BLAZE_END;
    uint64_t count = bz_read_varint(r);
    bool sound = r->ok && count <= bz_reader_left(r) / 2;
    struct bz_dot *entries = sound ? bz_arena_alloc(arena, (count + 1) * sizeof *entries) : NULL;
    if (sound && entries == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    for (uint64_t i = 0; sound && i < count; i++) {
        uint64_t node = bz_read_varint(r);
        entries[i] = (struct bz_dot){(uint32_t)node, bz_read_varint(r)};
        sound = r->ok && node <= UINT32_MAX && (i == 0 || entries[i - 1].node < node);
    }
    if (!sound)
        return bz_error_set(error, BLAZE_ECORRUPT, "a note of what has gone is corrupt");
    *out = (struct bz_vv){entries, (uint32_t)count};
    return 0;
}

/* What is noted of a record, to be read by note_next(). */
static int note_load(struct bz_view *view, const uint8_t prefix[NOTE_PREFIX_SIZE],
    uint32_t collection, const blaze_id *id, struct bz_reader *out, blaze_error *error)
{
    uint8_t key[NOTE_KEY_SIZE];
    struct bz_bytes value;
    int rc = bz_view_get(view, BZ_MAP_META, note_key(key, prefix, collection, id), &value, error);
    *out = bz_reader(rc == 0 ? value : bz_bytes(NULL, 0));
    return rc == BLAZE_ENOTFOUND ? 0 : rc;
}

static void note_append(struct bz_buf *out, const struct bz_vv *rvv)
{
    bz_buf_append_varint(out, rvv->count);
    for (uint32_t i = 0; i < rvv->count; i++) {
        bz_buf_append_varint(out, rvv->entries[i].node);
        bz_buf_append_varint(out, rvv->entries[i].seq);
    }
}

/* Whether our version vector covers all of a state (G2, G4). */
static int covered(struct bz_db_txn *txn, const struct bz_vv *rvv, bool *out, blaze_error *error)
{
    *out = true;
    for (uint32_t i = 0; *out && i < rvv->count; i++) {
        struct bz_dot entry = rvv->entries[i];
        uint64_t seq = 0;
        int rc =
            entry.node == txn->state.self ? 0 : bz_version_load(txn->view, entry.node, &seq, error);
        if (rc != 0)
            return rc;
        *out = seq >= entry.seq;
    }
    return 0;
}

int bz_gone_note(struct bz_db_txn *txn, uint32_t collection, const blaze_id *id,
    const struct bz_vv *rvv, blaze_error *error)
{
    uint8_t key[NOTE_KEY_SIZE];
    struct bz_reader noted;
    struct bz_vv state;
    struct bz_arena arena;
    struct bz_buf value;
    bool known = false;
    int rc = covered(txn, rvv, &known, error);
    if (rc != 0 || known)
        return rc;
    bz_arena_init(&arena);
    bz_buf_init(&value, BZ_STORE_VALUE_MAX);
    note_append(&value, rvv);
    rc = note_load(txn->view, gone_prefix, collection, id, &noted, error);
    while (rc == 0 && (rc = note_next(&noted, &arena, &state, error)) == 0) {
        known |= bz_vv_includes(&state, rvv);
        if (!bz_vv_includes(rvv, &state))
            note_append(&value, &state);
    }
    rc = rc == BLAZE_END ? 0 : rc;
    if (rc == 0 && value.error != 0)
        rc = bz_error_code(error, value.error);
    if (rc == 0 && !known)
        rc = bz_txn_put(txn->txn, BZ_MAP_META, note_key(key, gone_prefix, collection, id),
            bz_buf_bytes(&value), error);
    txn->changed |= rc == 0 && !known;
    bz_buf_release(&value);
    bz_arena_release(&arena);
    return rc;
}

int bz_gone_since(struct bz_view *view, struct bz_arena *arena, uint32_t collection,
    const blaze_id *id, const struct bz_vv *rvv, bool *out, blaze_error *error)
{
    struct bz_reader noted;
    struct bz_vv state;
    int rc = note_load(view, gone_prefix, collection, id, &noted, error);
    *out = false;
    while (rc == 0 && !*out && (rc = note_next(&noted, arena, &state, error)) == 0)
        *out = bz_vv_includes(&state, rvv);
    return rc == BLAZE_END ? 0 : rc;
}

/* The same of what a peer brought. */
static int note_brought(struct bz_scoped *scoped, struct bz_db_txn *txn,
    const struct bz_change *change, const struct bz_vv *rvv, blaze_error *error)
{
    /* Nobody else can bring it back, and all that comes is looked at for the first time. */
    if (scoped->peer_alone && scoped->peer.reached == 0 && bz_vv_get(rvv, txn->state.self) == 0)
        return 0;
    return bz_gone_note(txn, change->collection, &change->id, rvv, error);
}

/* Whether a record that is not here is known, or cannot be the newest (G1, G5). */
static int is_known(struct bz_scoped *scoped, struct bz_db_txn *txn, const struct bz_change *change,
    bool *out, blaze_error *error)
{
    const struct bz_vv *rvv = &change->rec.rvv;
    uint32_t self = txn->state.self;
    struct bz_reader noted;
    struct bz_vv state;
    int rc = covered(txn, rvv, out, error);
    if (rc == 0 && !*out)
        rc =
            bz_left_load(txn->view, &scoped->arena, change->collection, &change->id, &state, error);
    if (rc == 0 && !*out) {
        scoped->left = state.count > 0;
        *out = bz_vv_get(&state, self) > bz_vv_get(rvv, self);
    }
    if (rc == 0 && !*out)
        rc = note_load(txn->view, gone_prefix, change->collection, &change->id, &noted, error);
    while (rc == 0 && !*out && (rc = note_next(&noted, &scoped->arena, &state, error)) == 0)
        *out = bz_vv_includes(&state, rvv);
    return rc == BLAZE_END ? 0 : rc;
}

/* Whether our version vector covers all states of a note. */
static int note_covered(struct bz_db_txn *txn, struct bz_arena *arena, struct bz_bytes value,
    bool *out, blaze_error *error)
{
    struct bz_reader noted = bz_reader(value);
    struct bz_vv state;
    int rc = 0;
    *out = true;
    while (*out && rc == 0 && (rc = note_next(&noted, arena, &state, error)) == 0)
        rc = covered(txn, &state, out, error);
    return rc == BLAZE_END ? 0 : rc;
}

/* Takes away notes: some of those that the version vector covers, or all of them without `txn`. */
static int notes_prune(struct bz_txn *store, struct bz_db_txn *txn,
    const uint8_t prefix[NOTE_PREFIX_SIZE], uint32_t limit, blaze_error *error)
{
    struct bz_cursor *cursor = NULL;
    struct bz_arena arena;
    bz_arena_init(&arena);
    int rc = bz_cursor_open(bz_txn_view(store), BZ_MAP_META, &cursor, error);
    if (rc == 0)
        rc = bz_cursor_seek(cursor, bz_bytes(prefix, NOTE_PREFIX_SIZE), error);
    for (uint32_t n = 0; rc == 0 && n < limit; n++) {
        uint8_t key[NOTE_KEY_SIZE];
        struct bz_bytes found = bz_cursor_key(cursor);
        bool go = true;
        if (found.size != sizeof key || memcmp(found.data, prefix, NOTE_PREFIX_SIZE) != 0)
            break;
        memcpy(key, found.data, sizeof key);
        bz_arena_reset(&arena);
        if (txn != NULL)
            rc = note_covered(txn, &arena, bz_cursor_value(cursor), &go, error);
        if (rc == 0 && go)
            rc = bz_txn_delete(store, BZ_MAP_META, bz_bytes(key, sizeof key), error);
        if (rc == 0)
            rc = bz_cursor_next(cursor, error);
    }
    bz_cursor_close(cursor);
    bz_arena_release(&arena);
    return rc == BLAZE_END ? 0 : rc;
}

int bz_gone_clear(struct bz_txn *txn, blaze_error *error)
{
    return notes_prune(txn, NULL, gone_prefix, UINT32_MAX, error);
}

/* ---- what has gone with writes of ours ---- */

struct bz_bytes bz_left_prefix(void)
{
    return bz_bytes(left_prefix, sizeof left_prefix);
}

int bz_left_load(struct bz_view *view, struct bz_arena *arena, uint32_t collection,
    const blaze_id *id, struct bz_vv *out, blaze_error *error)
{
    struct bz_reader noted;
    *out = (struct bz_vv){0};
    int rc = note_load(view, left_prefix, collection, id, &noted, error);
    if (rc == 0)
        rc = note_next(&noted, arena, out, error);
    return rc == BLAZE_END ? 0 : rc;
}

int bz_left_note(struct bz_db_txn *txn, uint32_t collection, const blaze_id *id,
    const struct bz_vv *rvv, blaze_error *error)
{
    uint8_t key[NOTE_KEY_SIZE];
    struct bz_buf value;
    bz_buf_init(&value, BZ_STORE_VALUE_MAX);
    note_append(&value, rvv);
    int rc = value.error != 0
                 ? bz_error_code(error, value.error)
                 : bz_txn_put(txn->txn, BZ_MAP_META, note_key(key, left_prefix, collection, id),
                       bz_buf_bytes(&value), error);
    bz_buf_release(&value);
    return rc;
}

int bz_left_erase(
    struct bz_db_txn *txn, uint32_t collection, const blaze_id *id, blaze_error *error)
{
    uint8_t key[NOTE_KEY_SIZE];
    return bz_txn_delete(txn->txn, BZ_MAP_META, note_key(key, left_prefix, collection, id), error);
}

int bz_left_clear(struct bz_txn *txn, blaze_error *error)
{
    return notes_prune(txn, NULL, left_prefix, UINT32_MAX, error);
}

/* Sums up what all notes say; for a full copy, where each is of one state. */
static int left_sum(struct bz_view *view, struct bz_vector *out, blaze_error *error)
{
    struct bz_cursor *cursor = NULL;
    struct bz_arena arena;
    bz_arena_init(&arena);
    int rc = bz_cursor_open(view, BZ_MAP_META, &cursor, error);
    if (rc == 0)
        rc = bz_cursor_seek(cursor, bz_left_prefix(), error);
    while (rc == 0) {
        struct bz_bytes found = bz_cursor_key(cursor);
        struct bz_reader noted = bz_reader(bz_cursor_value(cursor));
        struct bz_vv state = {0};
        if (found.size != NOTE_KEY_SIZE || memcmp(found.data, left_prefix, NOTE_PREFIX_SIZE) != 0)
            break;
        bz_arena_reset(&arena);
        rc = note_next(&noted, &arena, &state, error);
        for (uint32_t i = 0; rc == 0 && i < state.count; i++) {
            rc = bz_vector_raise(out, state.entries[i]);
            if (rc != 0)
                bz_error_code(error, rc);
        }
        if (rc == 0)
            rc = bz_cursor_next(cursor, error);
    }
    bz_cursor_close(cursor);
    bz_arena_release(&arena);
    return rc == BLAZE_END ? 0 : rc;
}

int bz_left_collect(struct bz_db_txn *txn, blaze_error *error)
{
    struct bz_vector seen = {0};
    int rc = left_sum(txn->view, &seen, error);
    if (rc == 0 && seen.vv.count > 0)
        rc = bz_purged_raise(txn, &seen.vv, txn->state.stamp, 0, error);
    bz_vector_release(&seen);
    return rc == 0 ? bz_left_clear(txn->txn, error) : rc;
}

/* ---- one commit ---- */

struct count_context {
    const blaze_id *peer;
    bool others;
};

static int count_other(void *context, const blaze_id *node, const struct bz_peer_state *peer)
{
    struct count_context *count = context;
    (void)peer;
    count->others |= memcmp(node, count->peer, sizeof *node) != 0;
    return 0;
}

int bz_scoped_begin(
    struct bz_scoped *scoped, struct bz_db_txn *txn, const blaze_id *peer, blaze_error *error)
{
    struct count_context count = {peer, false};
    *scoped = (struct bz_scoped){.peer_id = peer};
    bz_arena_init(&scoped->arena);
    int rc = bz_peer_load(txn->view, peer, &scoped->peer, error);
    if (rc == 0)
        rc = bz_scope_load(txn->view, &scoped->arena, &scoped->kept, error);
    bz_scope_add_unwritten(txn->db, txn->state.self, &scoped->kept);
    if (rc == 0 && scoped->kept.generation != 0)
        rc = bz_selection_new(&scoped->selection, txn->db->catalog, scoped->kept.scope, error);
    if (rc == 0 && scoped->selection != NULL)
        rc = bz_peer_each(txn->view, count_other, &count, error);
    if (rc != 0)
        bz_scoped_release(scoped);
    scoped->peer_alone = !count.others;
    return rc;
}

void bz_scoped_release(struct bz_scoped *scoped)
{
    bz_selection_free(scoped->selection);
    bz_arena_release(&scoped->arena);
    scoped->selection = NULL;
}

int bz_scoped_before(struct bz_scoped *scoped, struct bz_db_txn *txn,
    const struct bz_change *change, const struct bz_rec *local, bool *drop, blaze_error *error)
{
    bool filtered;
    *drop = scoped->left = false;
    if (scoped->selection == NULL || local != NULL)
        return 0;
    if (!bz_selection_collection(scoped->selection, change->collection, &filtered)) {
        *drop = true;
        return 0;
    }
    return is_known(scoped, txn, change, drop, error);
}

int bz_scoped_takes_version(struct bz_scoped *scoped, struct bz_db_txn *txn, const struct bz_vv *vv,
    bool *out, blaze_error *error)
{
    struct bz_vv ours;
    *out = true;
    if (scoped->selection == NULL || !bz_scope_filtered(scoped->kept.scope) ||
        BZ_MUTANT(STATES_SUMMED))
        return 0;
    int rc = bz_version_vector(txn->view, txn->state.self, 0, &scoped->arena, &ours, error);
    *out = rc == 0 && bz_vv_includes(vv, &ours);
    return rc;
}

/* Lets go of a record that is here, if it can go: *out. */
static int remove_here(struct bz_scoped *scoped, struct bz_db_txn *txn,
    struct bz_txn_collection *collection, const struct bz_change *change,
    const struct bz_stored *stored, const struct bz_rec *local, bool *out, blaze_error *error)
{
    /* One that holds writes of ours waits for a peer to claim those, too (S2). */
    bool with_peer = scoped->peer_full && bz_vv_includes(&change->rec.rvv, &local->rvv) &&
                     bz_vv_get(&local->rvv, txn->state.self) <= scoped->kept.claimed;
    *out = with_peer || bz_scope_expendable(txn->state.self, &scoped->kept, stored, local);
    if (!*out)
        return 0;
    scoped->kept_changed = true;
    return bz_scope_let_go(txn, &scoped->kept, collection, &change->id, stored, local, error);
}

/* What was here and may be nowhere else is still in what it has been merged to, unless the sender
 * had all of that. */
static void stay_unsure(struct bz_scoped *scoped, const struct bz_db_txn *txn,
    const struct bz_stored *stored, bool subsumed)
{
    struct bz_scope_kept *kept = &scoped->kept;
    if (subsumed || stored->position > kept->unsure || stored->position <= kept->safe)
        return;
    kept->unsure = txn->state.position + 1;
    scoped->kept_changed = true;
}

int bz_scoped_after(struct bz_scoped *scoped, struct bz_db_txn *txn,
    struct bz_txn_collection *collection, const struct bz_change *change,
    const struct bz_stored *stored, const struct bz_rec *local, const struct bz_rec *merged,
    bool subsumed, bool *drop, bool *changed, blaze_error *error)
{
    *drop = false;
    scoped->stays = false;
    bool takes = scoped->selection == NULL ||
                 bz_selection_takes(scoped->selection, change->collection, &change->id, merged);
    if (takes && scoped->selection != NULL && local != NULL)
        stay_unsure(scoped, txn, stored, subsumed);
    if (takes)
        return scoped->left ? bz_left_erase(txn, change->collection, &change->id, error) : 0;
    *drop = true;
    *changed = false;
    int rc = local == NULL
                 ? 0
                 : remove_here(scoped, txn, collection, change, stored, local, drop, error);
    if (rc != 0)
        return rc;
    *changed = local != NULL; /* it has gone, or goes on as merged */
    scoped->stays = !*drop;
    if (scoped->stays && local != NULL)
        stay_unsure(scoped, txn, stored, subsumed);
    return *drop ? note_brought(scoped, txn, change, &merged->rvv, error) : 0;
}

static int changed_meanwhile(blaze_error *error)
{
    return bz_error_set(error, BLAZE_EBUSY,
        "what this copy is to hold has changed meanwhile: the exchange begins anew");
}

int bz_scoped_marker(struct bz_scoped *scoped, struct bz_db_txn *txn,
    const struct bz_change *change, uint32_t peer, bool *changed, blaze_error *error)
{
    struct bz_txn_collection *collection = NULL;
    struct bz_stored stored;
    struct bz_rec local;
    bool found = false, gone = true;
    *changed = false;
    if (scoped->selection == NULL)
        return changed_meanwhile(error);
    int rc = bz_txn_load(
        txn, change->collection, &change->id, &collection, &stored, &local, &found, error);
    if (rc != 0)
        return rc;
    if (BZ_MUTANT(MARKER_IGNORED) || (found && !bz_vv_includes(&change->rec.rvv, &local.rvv)))
        return 0; /* it is more than that here, and the peer is to be told */
    if (found)
        rc = remove_here(scoped, txn, collection, change, &stored, &local, &gone, error);
    if (rc != 0)
        return rc;
    if (!gone) { /* it goes with the sweep, which comes by at the end of the log */
        rc = bz_gone_note(txn, change->collection, &change->id, &change->rec.rvv, error);
        return rc != 0 ? rc
                       : bz_write_record(txn, collection, &change->id, &stored, &local, &local,
                             (struct bz_origin){peer, false}, error);
    }
    *changed = found;
    return note_brought(scoped, txn, change, &change->rec.rvv, error);
}

/* A scope that takes everything, and all of a full peer: the copy is full. */
static bool completes(
    const struct bz_scoped *scoped, const struct bz_peer_state *peer, const struct bz_head *head)
{
    return head != NULL && !head->scoped && !peer->scoped && bz_scope_takes_all(scoped->kept.scope);
}

/* Whether nobody will claim our writes any more, after some that we let go of: a full peer does
 * not, and the keeper is that one and has lost them, or is not seen any more (S2, S3). */
static int is_outgrown(const struct bz_scoped *scoped, struct bz_db_txn *txn,
    const struct bz_head *head, bool *out, blaze_error *error)
{
    const struct bz_scope_kept *kept = &scoped->kept;
    struct bz_peer_state keeper;
    *out = false;
    if (head == NULL || head->scoped || bz_vv_get(&head->vv, txn->state.self) >= kept->gave ||
        bz_scope_keeps(kept, scoped->peer_id, scoped->peer_acked))
        return 0;
    *out = bz_scope_takes_all(kept->scope) ||
           memcmp(&kept->keeper, scoped->peer_id, sizeof kept->keeper) == 0;
    if (*out)
        return 0;
    int rc = bz_peer_load(txn->view, &kept->keeper, &keeper, error);
    uint64_t now = txn->db->wall_ms(txn->db->context);
    *out = rc == 0 && now > keeper.seen_ms && now - keeper.seen_ms > BZ_UNSEEN_MS;
    return rc;
}

/* What it wrote as a node that it is no more goes beyond its version vector until it has got about
 * (bz_identity_renew()). */
static int become_full(struct bz_db_txn *txn, const struct bz_scope_kept *was, blaze_error *error)
{
    txn->state.position++; /* as setting a scope does */
    int rc = bz_gone_clear(txn->txn, error);
    if (rc == 0)
        rc = bz_left_clear(txn->txn, error);
    if (rc == 0 && was->gave > 0) /* what G5 refused is to come again */
        rc = bz_peers_void(txn->txn, false, error);
    return rc == 0 ? bz_untold_note(txn->db, txn->txn, error) : rc;
}

int bz_scoped_end(struct bz_scoped *scoped, struct bz_db_txn *txn, struct bz_peer_state *peer,
    const struct bz_head *head, blaze_error *error)
{
    if (peer->scope != scoped->kept.generation)
        return changed_meanwhile(error);
    if (scoped->selection == NULL)
        return 0;
    bool outgrown = false;
    int rc = is_outgrown(scoped, txn, head, &outgrown, error);
    scoped->outgrown = outgrown;
    if (rc != 0 || outgrown)
        return rc != 0 ? rc : bz_scope_outgrown(error);
    if (completes(scoped, peer, head)) {
        scoped->kept.generation = 0;
        scoped->kept_changed = true;
        rc = become_full(txn, &scoped->kept, error);
    } else if (head != NULL) {
        rc = notes_prune(txn->txn, txn, gone_prefix, GONE_A_COMMIT, error);
    }
    if (rc == 0 && scoped->kept_changed)
        rc = bz_scope_store(txn->txn, &scoped->kept, error);
    return rc;
}

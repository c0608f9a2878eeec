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
 *       it is not taken in from a peer that does not have all writes of ours yet. One that had them
 *       and sends the record without has collected them (sync/incoming.c finds that out, and reads
 *       its log again). Until then the version vector of that peer is not ours: it covers the
 *       record.
 *   G6  What is untold (collect.c) is another state of writes that may have been shown. It is known
 *       only if a state that was noted covers more, and by the version vector only if the peer may
 *       not have had all of that: then what we were shown may be newer (sync/incoming.c asks for it
 *       once more when it does).
 */

#include "db/db_priv.h"

#include "crdt/scope.h"

/* ---- what is known ---- */

/* Notes what has gone that a peer brought. */
static int note_brought(struct bz_scoped *scoped, struct bz_db_txn *txn,
    const struct bz_change *change, const struct bz_vv *rvv, blaze_error *error)
{
    /* Nobody else can bring it back, and all that comes is looked at for the first time. */
    if (scoped->peer_alone && scoped->peer.reached == 0 && bz_vv_get(rvv, txn->state.self) == 0)
        return 0;
    return bz_gone_note(txn, change->collection, &change->id, rvv, error);
}

/* Whether a peer that had this has had all that we have been shown (G2, G4). */
static int has_all_shown(struct bz_scoped *scoped, struct bz_db_txn *txn, const struct bz_vv *had,
    bool *out, blaze_error *error)
{
    struct bz_vv ours;
    int rc = bz_version_vector(txn->view, txn->state.self, 0, &scoped->arena, &ours, error);
    *out = rc == 0 && bz_vv_includes(had, &ours);
    return rc;
}

/* Whether our version vector says that a record has been shown (G2, G6). */
static int is_covered(struct bz_scoped *scoped, struct bz_db_txn *txn,
    const struct bz_change *change, bool *out, blaze_error *error)
{
    bool newest = false;
    int rc = bz_shown_covers(txn, &change->rec.rvv, out, error);
    if (rc != 0 || !*out || !change->untold || !scoped->peer_full)
        return rc;
    rc = has_all_shown(scoped, txn, scoped->peer_had, &newest, error);
    scoped->awaited.all |= !newest;
    *out = !newest;
    return rc;
}

/* Whether a record that is not here is known, or cannot be the newest (G1, G5). */
static int is_known(struct bz_scoped *scoped, struct bz_db_txn *txn, const struct bz_change *change,
    bool *out, blaze_error *error)
{
    const struct bz_vv *rvv = &change->rec.rvv;
    struct bz_arena *arena = &scoped->arena;
    uint32_t self = txn->state.self;
    struct bz_vv left;
    int rc = is_covered(scoped, txn, change, out, error);
    if (rc != 0 || *out)
        return rc;
    rc = bz_left_load(txn->view, arena, change->collection, &change->id, &left, error);
    if (rc != 0)
        return rc;
    scoped->left = left.count > 0;
    uint64_t own = bz_vv_get(&left, self);
    bool lacks = own > bz_vv_get(rvv, self);
    if (lacks && own > bz_vv_get(scoped->peer_had, self)) {
        struct bz_awaited *awaited = &scoped->awaited;
        awaited->own = awaited->own == 0 || own < awaited->own ? own : awaited->own;
        *out = true;
        return 0;
    }
    if (lacks) { /* it has been collected */
        scoped->left = false;
        rc = bz_left_erase(txn, change->collection, &change->id, error);
        if (rc != 0)
            return rc;
    }
    return bz_gone_since(
        txn->view, arena, change->collection, &change->id, rvv, change->untold, out, error);
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
    if (rc == 0 && count.others)
        rc = bz_purged_load(txn->view, &scoped->arena, &scoped->purged, error);
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

int bz_scoped_takes_version(struct bz_scoped *scoped, struct bz_db_txn *txn,
    const struct bz_peer_state *peer, const struct bz_vv *vv, bool *out, blaze_error *error)
{
    bool part = scoped->selection != NULL;
    bool sums = !part || !bz_scope_filtered(scoped->kept.scope) || BZ_MUTANT(STATES_SUMMED);
    *out = !part || peer->awaits.own == 0;
    return sums || !*out ? 0 : has_all_shown(scoped, txn, vv, out, error);
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

/* What comes where nothing was may come from a peer that was away for too long, and have been
 * collected: it is to be compared with another. */
static void doubt(struct bz_scoped *scoped, const struct bz_db_txn *txn, const struct bz_rec *rec)
{
    if (scoped->purged.vv.count == 0 || !bz_vv_includes(&scoped->purged.vv, &rec->rvv))
        return;
    scoped->kept.doubted = txn->state.position + 1;
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
    if (takes && scoped->selection != NULL) {
        if (local != NULL)
            stay_unsure(scoped, txn, stored, subsumed);
        else
            doubt(scoped, txn, merged);
    }
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

/* What a marker says of a record that is here: the state that is out of scope. What is here and not
 * in that the sender may have collected before the record was made anew; then it is in it, too. */
static int read_marker(const struct bz_scoped *scoped, struct bz_db_txn *txn,
    const struct bz_rec *local, struct bz_vv *rvv, blaze_error *error)
{
    const struct bz_vv *collected = scoped->peer_collected;
    bool all = collected != NULL;
    for (uint32_t i = 0; all && i < local->rvv.count; i++)
        all = bz_vv_covers(rvv, local->rvv.entries[i]) ||
              bz_vv_covers(collected, local->rvv.entries[i]);
    int rc = all ? bz_vv_max(&txn->arena, rvv, &local->rvv, rvv) : 0;
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

int bz_scoped_marker(struct bz_scoped *scoped, struct bz_db_txn *txn,
    const struct bz_change *marker, uint32_t peer, bool *changed, blaze_error *error)
{
    struct bz_change change = *marker;
    struct bz_txn_collection *collection = NULL;
    struct bz_stored stored;
    struct bz_rec local;
    bool found = false, gone = true;
    *changed = false;
    if (scoped->selection == NULL)
        return changed_meanwhile(error);
    int rc = bz_txn_load(
        txn, change.collection, &change.id, &collection, &stored, &local, &found, error);
    if (rc == 0 && found)
        rc = read_marker(scoped, txn, &local, &change.rec.rvv, error);
    if (rc != 0)
        return rc;
    if (BZ_MUTANT(MARKER_IGNORED) || (found && !bz_vv_includes(&change.rec.rvv, &local.rvv)))
        return 0; /* it is more than that here, and the peer is to be told */
    if (found)
        rc = remove_here(scoped, txn, collection, &change, &stored, &local, &gone, error);
    if (rc != 0)
        return rc;
    if (!gone) { /* it goes with the sweep, which comes by at the end of the log */
        stay_unsure(scoped, txn, &stored, false);
        rc = bz_gone_note(txn, change.collection, &change.id, &change.rec.rvv, error);
        return rc != 0 ? rc
                       : bz_write_record(txn, collection, &change.id, &stored, &local, &local,
                             (struct bz_origin){peer, false}, error);
    }
    *changed = found;
    return note_brought(scoped, txn, &change, &change.rec.rvv, error);
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
        rc = bz_gone_prune(txn, error);
    }
    if (rc == 0 && scoped->kept_changed)
        rc = bz_scope_store(txn->txn, &scoped->kept, error);
    return rc;
}

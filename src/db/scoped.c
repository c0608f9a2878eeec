/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Taking in changes where not all are wanted, or where the sender is a partial replica.
 *
 * A record that is out of scope once it is merged is not kept: if it was here it goes, unless it
 * holds writes of ours that no full peer is known to have; the sweep (scope.c) finds it later.
 *
 * What has gone must not come back in an older state, from a peer that does not know better yet:
 * for the newer one may never be told again. So a record that is not here is taken in only if it
 * says something that we have not been shown: its rvv is not covered by our version vector, nor by
 * what the record was when it went. The latter is noted in `meta` under "gone/" until the version
 * vector covers it. Our own writes do not count as shown: what we have let go of may be brought
 * back by a wider scope. So the notes of records that hold some stay until then.
 */

#include "db/db_priv.h"

#include "crdt/scope.h"

#define GONE_KEY_SIZE (5u + BZ_RECORD_KEY_SIZE)
#define GONE_A_COMMIT 4096u /* notes that one commit takes away */

/* ---- what has gone ---- */

static const uint8_t gone_prefix[5] = {'g', 'o', 'n', 'e', '/'};

static struct bz_bytes gone_key(uint8_t out[GONE_KEY_SIZE], uint32_t collection, const blaze_id *id)
{
    memcpy(out, gone_prefix, sizeof gone_prefix);
    bz_record_key(out + sizeof gone_prefix, collection, id);
    return bz_bytes(out, GONE_KEY_SIZE);
}

static int gone_decode(
    struct bz_arena *arena, struct bz_bytes value, struct bz_vv *out, blaze_error *error)
{
    struct bz_reader r = bz_reader(value);
    uint64_t count = bz_read_varint(&r);
    bool sound = r.ok && count <= bz_reader_left(&r) / 2;
    struct bz_dot *entries = sound ? bz_arena_alloc(arena, (count + 1) * sizeof *entries) : NULL;
    if (sound && entries == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    for (uint64_t i = 0; sound && i < count; i++) {
        uint64_t node = bz_read_varint(&r);
        entries[i] = (struct bz_dot){(uint32_t)node, bz_read_varint(&r)};
        sound = r.ok && node <= UINT32_MAX && (i == 0 || entries[i - 1].node < node);
    }
    if (!sound || bz_reader_left(&r) > 0)
        return bz_error_set(error, BLAZE_ECORRUPT, "a note of what has gone is corrupt");
    *out = (struct bz_vv){entries, (uint32_t)count};
    return 0;
}

/* What the record was when it went; nothing if that is not noted. */
static int gone_load(struct bz_db_txn *txn, struct bz_arena *arena, uint32_t collection,
    const blaze_id *id, struct bz_vv *out, blaze_error *error)
{
    uint8_t key[GONE_KEY_SIZE];
    struct bz_bytes value;
    *out = (struct bz_vv){0};
    int rc = bz_view_get(txn->view, BZ_MAP_META, gone_key(key, collection, id), &value, error);
    if (rc == BLAZE_ENOTFOUND)
        return 0;
    return rc != 0 ? rc : gone_decode(arena, value, out, error);
}

int bz_gone_note(struct bz_db_txn *txn, uint32_t collection, const blaze_id *id,
    const struct bz_vv *rvv, blaze_error *error)
{
    uint8_t key[GONE_KEY_SIZE];
    struct bz_vv before, all;
    struct bz_arena arena;
    struct bz_buf value;
    bz_arena_init(&arena);
    bz_buf_init(&value, BZ_STORE_VALUE_MAX);
    int rc = gone_load(txn, &arena, collection, id, &before, error);
    if (rc == 0 && bz_vv_max(&arena, &before, rvv, &all) != 0)
        rc = bz_error_code(error, BLAZE_ENOMEM);
    if (rc == 0) {
        bz_buf_append_varint(&value, all.count);
        for (uint32_t i = 0; i < all.count; i++) {
            bz_buf_append_varint(&value, all.entries[i].node);
            bz_buf_append_varint(&value, all.entries[i].seq);
        }
        rc = value.error != 0 ? bz_error_code(error, value.error)
                              : bz_txn_put(txn->txn, BZ_MAP_META, gone_key(key, collection, id),
                                    bz_buf_bytes(&value), error);
        txn->changed = true;
    }
    bz_buf_release(&value);
    bz_arena_release(&arena);
    return rc;
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

/* Whether we were shown all of a record: by our version vector or, unless NULL, by a note. */
static int covered(struct bz_db_txn *txn, const struct bz_vv *rvv, const struct bz_vv *gone,
    bool *out, blaze_error *error)
{
    for (uint32_t i = 0; i < rvv->count; i++) {
        struct bz_dot entry = rvv->entries[i];
        uint64_t seq = 0;
        if (gone != NULL && bz_vv_covers(gone, entry))
            continue;
        if (entry.node != txn->state.self) {
            int rc = bz_version_load(txn->view, entry.node, &seq, error);
            if (rc != 0)
                return rc;
        }
        if (seq < entry.seq) {
            *out = false;
            return 0;
        }
    }
    *out = true;
    return 0;
}

/* Takes away the notes that `all` says, or that the version vector covers: some of them. */
static int gone_prune(
    struct bz_txn *store, struct bz_db_txn *txn, uint32_t limit, blaze_error *error)
{
    struct bz_cursor *cursor = NULL;
    struct bz_arena arena;
    bz_arena_init(&arena);
    int rc = bz_cursor_open(bz_txn_view(store), BZ_MAP_META, &cursor, error);
    if (rc == 0)
        rc = bz_cursor_seek(cursor, bz_bytes(gone_prefix, sizeof gone_prefix), error);
    for (uint32_t n = 0; rc == 0 && n < limit; n++) {
        uint8_t key[GONE_KEY_SIZE];
        struct bz_bytes found = bz_cursor_key(cursor);
        struct bz_vv rvv;
        bool go = true;
        if (found.size != sizeof key || memcmp(found.data, gone_prefix, sizeof gone_prefix) != 0)
            break;
        memcpy(key, found.data, sizeof key);
        bz_arena_reset(&arena);
        if (txn != NULL) {
            rc = gone_decode(&arena, bz_cursor_value(cursor), &rvv, error);
            if (rc == 0)
                rc = covered(txn, &rvv, NULL, &go, error);
        }
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
    return gone_prune(txn, NULL, UINT32_MAX, error);
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
    *scoped = (struct bz_scoped){0};
    bz_arena_init(&scoped->arena);
    int rc = bz_peer_load(txn->view, peer, &scoped->peer, error);
    if (rc == 0)
        rc = bz_scope_load(txn->view, &scoped->arena, &scoped->kept, error);
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
    struct bz_vv gone;
    bool filtered;
    *drop = false;
    if (scoped->selection == NULL || local != NULL)
        return 0;
    if (!bz_selection_collection(scoped->selection, change->collection, &filtered)) {
        *drop = true;
        return 0;
    }
    int rc = gone_load(txn, &scoped->arena, change->collection, &change->id, &gone, error);
    return rc != 0 ? rc : covered(txn, &change->rec.rvv, &gone, drop, error);
}

/* Lets go of a record that is here, if it can go: *out. */
static int remove_here(struct bz_scoped *scoped, struct bz_db_txn *txn,
    struct bz_txn_collection *collection, const struct bz_change *change,
    const struct bz_stored *stored, const struct bz_rec *local, bool *out, blaze_error *error)
{
    bool with_peer = scoped->peer_full && bz_vv_includes(&change->rec.rvv, &local->rvv);
    *out = with_peer || bz_scope_expendable(txn->state.self, &scoped->kept, stored, local);
    if (!*out)
        return 0;
    scoped->kept_changed = true;
    return bz_scope_let_go(txn, &scoped->kept, collection, &change->id, stored, local, error);
}

int bz_scoped_after(struct bz_scoped *scoped, struct bz_db_txn *txn,
    struct bz_txn_collection *collection, const struct bz_change *change,
    const struct bz_stored *stored, const struct bz_rec *local, const struct bz_rec *merged,
    bool *drop, bool *changed, blaze_error *error)
{
    *drop = false;
    if (scoped->selection == NULL ||
        bz_selection_takes(scoped->selection, change->collection, &change->id, merged))
        return 0;
    *drop = true;
    *changed = false;
    int rc = local == NULL
                 ? 0
                 : remove_here(scoped, txn, collection, change, stored, local, drop, error);
    if (rc != 0)
        return rc;
    *changed = local != NULL; /* it has gone, or goes on as merged */
    return *drop ? note_brought(scoped, txn, change, &merged->rvv, error) : 0;
}

int bz_scoped_marker(struct bz_scoped *scoped, struct bz_db_txn *txn,
    const struct bz_change *change, bool *changed, blaze_error *error)
{
    struct bz_txn_collection *collection = NULL;
    struct bz_stored stored;
    struct bz_rec local;
    bool found = false, gone = true;
    *changed = false;
    if (scoped->selection == NULL)
        return bz_error_set(
            error, BLAZE_EPROTO, "the peer takes this copy for one of a part of the database");
    bz_arena_reset(&txn->arena);
    int rc = bz_txn_collection_load(txn, change->collection, &collection, error);
    if (rc == 0)
        rc = bz_txn_record_load(
            txn, change->collection, &change->id, &stored, &local, &found, error);
    if (rc != 0)
        return rc;
    if (found && !bz_vv_includes(&change->rec.rvv, &local.rvv))
        return 0; /* it is more than that here, and the peer is to be told */
    if (found)
        rc = remove_here(scoped, txn, collection, change, &stored, &local, &gone, error);
    if (rc != 0 || !gone)
        return rc;
    *changed = found;
    return note_brought(scoped, txn, change, &change->rec.rvv, error);
}

int bz_scoped_note(struct bz_scoped *scoped, struct bz_db_txn *txn, const struct bz_change *change,
    uint32_t peer, blaze_error *error)
{
    const struct bz_vv *rvv = &change->rec.rvv;
    for (uint32_t i = 0; i < rvv->count && !(scoped->relays && scoped->ahead); i++) {
        struct bz_dot entry = rvv->entries[i];
        uint64_t seq = txn->state.seq;
        if (entry.node != txn->state.self) {
            int rc = bz_version_load(txn->view, entry.node, &seq, error);
            if (rc != 0)
                return rc;
        }
        if (seq < entry.seq) {
            scoped->ahead |= entry.node == peer;
            scoped->relays |= entry.node != peer;
        }
    }
    return 0;
}

/* What is known of a partial peer: see bz_head. */
static void note_peer(
    struct bz_scoped *scoped, struct bz_peer_state *peer, const struct bz_head *head)
{
    peer->relayed = scoped->peer.relayed || scoped->relays;
    bool ahead = scoped->peer.partial || scoped->ahead;
    peer->partial = peer->relayed || (ahead && !(head != NULL && head->claims));
}

/* A scope that takes everything and a full peer that has all that we let go of: the copy is full.
 */
static bool completes(const struct bz_scoped *scoped, const struct bz_db_txn *txn,
    const struct bz_peer_state *peer, const struct bz_head *head)
{
    return head != NULL && !head->scoped && !peer->scoped &&
           bz_scope_takes_all(scoped->kept.scope) &&
           (scoped->kept.gave == 0 || bz_vv_get(&head->vv, txn->state.self) >= scoped->kept.gave);
}

int bz_scoped_end(struct bz_scoped *scoped, struct bz_db_txn *txn, struct bz_peer_state *peer,
    const struct bz_head *head, blaze_error *error)
{
    int rc = 0;
    if (peer->scoped || (head != NULL && head->scoped))
        note_peer(scoped, peer, head);
    if (peer->scope != scoped->kept.generation)
        return bz_error_set(error, BLAZE_EBUSY,
            "what this copy is to hold has changed meanwhile: the exchange begins anew");
    if (scoped->selection == NULL)
        return 0;
    if (completes(scoped, txn, peer, head)) {
        scoped->kept.generation = 0;
        scoped->kept_changed = true;
        txn->state.position++; /* as setting a scope does */
        rc = bz_gone_clear(txn->txn, error);
    } else if (head != NULL) {
        rc = gone_prune(txn->txn, txn, GONE_A_COMMIT, error);
    }
    if (rc == 0 && scoped->kept_changed)
        rc = bz_scope_store(txn->txn, &scoped->kept, error);
    return rc;
}

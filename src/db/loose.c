/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Relaxed commits and power cuts.
 *
 * A relaxed commit is seen by readers, and may be sent to a peer, before it is on the disk. If the
 * power then goes, this copy comes back without it and would give its dots, and its positions in
 * the change log, to other writes: the peer would take them for what it has. So a copy that may
 * have lost such commits goes on as another node, with a new log epoch (identity.c); what the peer
 * has of the former node comes back as any node's writes do.
 *
 *   begin   The first relaxed commit is made a full one. It notes `loose` in the state, and the
 * boot during which this was, so the note is on the disk before anything that may be lost. end
 * Closing takes the note back in a full commit, after which nothing can be lost. lost    A note of
 * an earlier boot: the system went down in between. One of this boot: only a process ended, and
 * what it wrote is safe with the system.
 *
 * What a copy has committed in full, or has taken from a peer, is on the disk before others see it.
 */

#include "db/db_priv.h"

static struct bz_bytes boot_key(void)
{
    return bz_bytes("boot", 4);
}

int bz_loose_begin(struct bz_db_txn *txn, enum bz_durability *durability, blaze_error *error)
{
    /* Without a new position there is nothing to send. */
    if (*durability == BZ_DURABLE_FULL || txn->state.loose || txn->state.position == txn->begun)
        return 0;
    uint8_t boot[8];
    bz_store64le(boot, txn->db->boot);
    txn->state.loose = true;
    *durability = BZ_DURABLE_FULL;
    return bz_txn_put(txn->txn, BZ_MAP_META, boot_key(), bz_bytes(boot, sizeof boot), error);
}

int bz_loose_lost(const struct bz_db *db, struct bz_view *view, bool *lost, blaze_error *error)
{
    struct bz_state state;
    struct bz_bytes boot;
    *lost = false;
    int rc = bz_state_load(view, &state, error);
    if (rc != 0 || !state.loose)
        return rc;
    rc = bz_view_get(view, BZ_MAP_META, boot_key(), &boot, error);
    if (rc == BLAZE_ENOTFOUND || (rc == 0 && boot.size != 8))
        return bz_error_set(error, BLAZE_ECORRUPT, "the note of relaxed commits is corrupt");
    if (rc == 0)
        *lost = bz_load64le(boot.data) != db->boot && !BZ_MUTANT(ROLLBACK_UNNOTICED);
    return rc;
}

static bool is_loose(struct bz_db *db)
{
    struct bz_snapshot *snapshot = NULL;
    struct bz_state state = {0};
    if (bz_snapshot_open(db->store, &snapshot, NULL) != 0)
        return false;
    int rc = bz_state_load(bz_snapshot_view(snapshot), &state, NULL);
    bz_snapshot_close(snapshot);
    return rc == 0 && state.loose;
}

/* A failure leaves the note, which costs a new identity and nothing else. */
void bz_loose_end(struct bz_db *db)
{
    struct bz_txn *txn = NULL;
    struct bz_state state;
    if (db->read_only || !is_loose(db) || bz_txn_begin(db->store, &txn, NULL) != 0)
        return;
    int rc = bz_state_load(bz_txn_view(txn), &state, NULL);
    state.loose = false;
    if (rc == 0)
        rc = bz_state_store(txn, &state, NULL);
    if (rc == 0)
        rc = bz_txn_delete(txn, BZ_MAP_META, boot_key(), NULL);
    if (rc == 0)
        bz_txn_commit(txn, BZ_DURABLE_FULL, NULL);
    else
        bz_txn_abort(txn);
}

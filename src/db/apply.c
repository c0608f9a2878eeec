/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The receiving side of a replica: a chunk of a peer's changes, merged in one transaction together
 * with how far in the peer's log that brings us.
 *
 * The session has read the records and put our numbers in them; what they hold is still a
 * stranger's. Whatever is wrong fails the whole chunk, which leaves the database as it was.
 */

#include "db/db_priv.h"

#include "base/alloc.h"

struct bz_apply {
    struct bz_db_txn *txn;
    blaze_id peer;
    bool peer_numbered;
    uint32_t peer_number;
    uint64_t begin;          /* position of our log at the start */
    bool untold;             /* a change is (collect.c), or differs from what others may have */
    bool returned;           /* a change came in because what peers show differs */
    bool left_out;           /* a record was (illegible.c) */
    bool begun;              /* a record has come: the next three are loaded */
    struct bz_vv own;        /* our version vector, which only the head changes */
    struct bz_purged past;   /* of the writes of what was collected, those that have been here */
    bool comparing;          /* we gave up records of which the peer had more than we have yet */
    struct bz_vector beyond; /* greatest dots of what came and `own` does not cover */
    struct bz_scoped scoped;
};

static int begin(
    struct bz_db *db, bool now, const blaze_id *peer, struct bz_apply **out, blaze_error *error)
{
    struct bz_apply *apply = bz_zalloc(sizeof *apply);
    if (apply == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = now ? bz_db_begin_now(db, &apply->txn, error) : bz_db_begin(db, &apply->txn, error);
    if (rc != 0) {
        bz_free(apply);
        return rc;
    }
    apply->peer = *peer;
    rc = bz_scoped_begin(&apply->scoped, apply->txn, &apply->peer, error);
    if (rc != 0) {
        bz_db_abort(apply->txn);
        bz_free(apply);
        return rc;
    }
    apply->begin = apply->txn->state.position;
    *out = apply;
    return 0;
}

int bz_apply_begin(void *context, const blaze_id *peer, struct bz_apply **out, blaze_error *error)
{
    return begin(context, false, peer, out, error);
}

int bz_apply_begin_now(
    void *context, const blaze_id *peer, struct bz_apply **out, blaze_error *error)
{
    return begin(context, true, peer, out, error);
}

void bz_apply_abort(struct bz_apply *apply)
{
    struct bz_db *db = apply->txn->db;
    blaze_id former;
    bool outgrown = apply->scoped.outgrown &&
                    bz_catalog_node_id(db->catalog, apply->txn->state.self, &former) == 0;
    bz_vector_release(&apply->beyond);
    bz_scoped_release(&apply->scoped);
    bz_txn_abort_outlived(apply->txn);
    if (outgrown) /* if this fails, the next exchange shows it again */
        bz_identity_outgrown(db, &former, NULL);
    bz_free(apply);
}

int bz_apply_resolve(struct bz_apply *apply, enum bz_term term, struct bz_bytes meaning,
    uint32_t *number, blaze_error *error)
{
    struct bz_catalog *catalog = apply->txn->db->catalog;
    blaze_id id;
    switch (term) {
    case BZ_TERM_COLLECTION:
        return bz_catalog_add_collection(catalog, meaning, number, error);
    case BZ_TERM_FIELD:
        return bz_catalog_add_field(catalog, meaning, number, error);
    case BZ_TERM_DICTIONARY:
        return bz_catalog_add_dictionary(catalog, meaning, number, error);
    case BZ_TERM_NODE:
        if (meaning.size != sizeof id)
            break;
        memcpy(&id, meaning.data, sizeof id);
        return bz_catalog_add_node(catalog, &id, number, error);
    }
    return bz_error_set(error, BLAZE_EPROTO, "not a name of anything");
}

/* ---- checks ---- */

static int check_seen(struct bz_apply *apply, const struct bz_vv *vv, blaze_error *error)
{
    uint32_t nodes = bz_catalog_nodes(apply->txn->db->catalog).count;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < vv->count; i++) {
        if (vv->entries[i].node >= nodes)
            return bz_error_set(error, BLAZE_EPROTO, "a write of an unknown node");
        rc = bz_txn_check_seen(apply->txn, vv->entries[i], error);
    }
    return rc;
}

static int check_stamp(
    const struct bz_db_txn *txn, const struct bz_write *write, uint64_t *stamp, blaze_error *error)
{
    struct bz_db *db = txn->db;
    if (bz_clock_observe(stamp, write->stamp, db->wall_ms(db->context)) == 0)
        return 0;
    return bz_error_set(error, BLAZE_ECLOCK,
        "a write is stamped years ahead of this clock: set the clock right on either side");
}

static int check_bodies(const struct bz_rec *rec, uint32_t fields, blaze_error *error)
{
    if (bz_rec_check_kinds(rec) != 0)
        return bz_kind_unknown(error);
    int rc = bz_rec_check_bodies(rec, fields);
    return rc == 0 ? 0 : bz_error_set(error, rc, "a peer sent a document that is not sound");
}

/* *stamp becomes what the clock then has seen. */
static int check_change(
    struct bz_apply *apply, const struct bz_change *change, uint64_t *stamp, blaze_error *error)
{
    const struct bz_db_txn *txn = apply->txn;
    const struct bz_rec *rec = &change->rec;
    uint32_t fields = bz_names_count(bz_catalog_names(txn->db->catalog));
    int rc = check_seen(apply, &rec->rvv, error);
    for (uint32_t i = 0; rc == 0 && i < rec->write_count; i++)
        rc = check_stamp(txn, &rec->writes[i], stamp, error);
    if (rc == 0 && !txn->db->identity.blind)
        rc = check_bodies(rec, fields, error);
    for (uint32_t i = 0; rc == 0 && i < rec->cell_count; i++) {
        if (rec->cells[i].field >= fields)
            rc = bz_error_set(error, BLAZE_EPROTO, "a write of an unknown field");
    }
    return rc;
}

/* ---- changes ---- */

static int load_past(struct bz_apply *apply, blaze_error *error)
{
    const struct bz_db_txn *txn = apply->txn;
    struct bz_arena *arena = &apply->scoped.arena;
    if (apply->begun)
        return 0;
    int rc =
        bz_version_vector(txn->view, txn->state.self, txn->state.seq, arena, &apply->own, error);
    if (rc == 0)
        rc = bz_collected_here(txn->view, arena, &apply->own, &apply->past, error);
    if (rc == 0)
        rc = bz_compared_is(txn->view, &apply->comparing, error);
    apply->begun = rc == 0;
    return rc;
}

static int number_peer(struct bz_apply *apply, blaze_error *error)
{
    if (apply->peer_numbered)
        return 0;
    int rc = bz_catalog_add_node(apply->txn->db->catalog, &apply->peer, &apply->peer_number, error);
    apply->peer_numbered = rc == 0;
    return rc;
}

static int part_of_what_is_not_here(blaze_error *error)
{
    return bz_error_set(error, BLAZE_ENOTFOUND, "a part of a record that is not here");
}

static bool was_collected(const struct bz_apply *apply, const struct bz_change *change)
{
    const struct bz_vv *past = &apply->past.vv;
    return !change->anew && past->count > 0 && bz_vv_includes(past, &change->rec.rvv);
}

/*
 * A record that is not here, and all of whose writes have been here, was deleted and collected: it
 * does not come back. One that holds a write that is new comes in whole; if the sender has left
 * out what it thinks we have, it is asked again: BLAZE_ENOTFOUND.
 *
 * Where a peer that has the same writes shows something else, all is told anew, and then whatever
 * comes is taken in: where blind copies may have told what has been here, such a record may be one
 * that was withheld.
 */
static int check_absent(const struct bz_apply *apply, const struct bz_change *change,
    bool *collected, blaze_error *error)
{
    const struct bz_rec *rec = &change->rec;
    *collected = was_collected(apply, change);
    return *collected || bz_rec_complete(rec) ? 0 : part_of_what_is_not_here(error);
}

/* The same where a record is here that is younger than one that was collected: what the sender has
 * left out was in that one. */
static int check_present(const struct bz_apply *apply, const struct bz_change *change,
    const struct bz_rec *local, blaze_error *error)
{
    const struct bz_vv *seen = &change->rec.rvv;
    bool lacks = false;
    if (apply->past.vv.count == 0 || bz_rec_complete(&change->rec))
        return 0;
    for (uint32_t i = 0; !lacks && i < seen->count; i++)
        lacks = bz_vv_covers(&apply->own, seen->entries[i]) &&
                !bz_vv_covers(&local->rvv, seen->entries[i]);
    return lacks ? part_of_what_is_not_here(error) : 0;
}

/*
 * Of such a record that comes in, what was superseded here stays away, as where it outlives its
 * deletion at who holds it (reconcile.c), and the sender is told. One that is torn comes as it is:
 * its sender knows of the delete. If it may be the record that was collected, whoever still holds
 * that shows something else with the same writes for a while.
 */
static int take_absent(struct bz_apply *apply, const struct bz_change *change,
    struct bz_rec *pruned, const struct bz_rec **out, blaze_error *error)
{
    const struct bz_vv *past = &apply->past.vv;
    *out = &change->rec;
    if (change->anew || past->count == 0)
        return 0;
    apply->untold |=
        bz_id_made_at(&change->id) <= apply->past.stamp && !bz_vv_includes(&change->rec.rvv, past);
    if (apply->comparing || bz_rec_torn(&change->rec) ||
        bz_rec_outlives(&change->rec, past) != BZ_REC_WANTS_PRUNING)
        return 0;
    int rc = bz_rec_outlive(&apply->txn->arena, &change->rec, past, past, NULL, 0, pruned);
    *out = pruned;
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

/* Whether it is to be told whatever version vectors say: see collect.c. What the sender so tells is
 * news to no one where nothing was before. */
static bool is_untold(const struct bz_apply *apply, const struct bz_change *change,
    const struct bz_rec *local, const struct bz_rec *merged, const struct bz_rec_merged *result)
{
    const struct bz_rec *remote = &change->rec;
    bool told = change->untold && (local != NULL || apply->past.vv.count > 0);
    return result->shrunk || result->raised || (told && result->changed) ||
           (result->changed && bz_vv_includes(&apply->own, &remote->rvv)) ||
           (local != NULL && bz_rec_contradicts(merged, &local->rvv, remote, &apply->past.vv));
}

/* Whether a delete in it stands beside other writes though the sender has collected it. All are
 * told of that, whatever version vectors say (collect.c). */
static bool is_torn_anew(const struct bz_apply *apply, const struct bz_rec *rec)
{
    const struct bz_vv *collected = apply->scoped.peer_collected;
    bool is = false;
    if (collected == NULL || !bz_rec_torn(rec))
        return false;
    for (uint32_t i = 0; !is && i < rec->life.count; i++) {
        const struct bz_write *write = &rec->writes[rec->life.members[i]];
        is = !write->alive && bz_vv_covers(collected, write->dot);
    }
    return is;
}

static int note_beyond(struct bz_apply *apply, const struct bz_vv *vv, blaze_error *error)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < vv->count; i++) {
        if (!bz_vv_covers(&apply->own, vv->entries[i]))
            rc = bz_vector_raise(&apply->beyond, vv->entries[i]);
    }
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

/* Whether it holds more than is here, and some of that cannot be read. What is illegible of what is
 * here already does not matter: of that, what is here stays. */
static bool is_illegible(const struct bz_change *change, const struct bz_rec *local)
{
    return change->illegible.count > 0 &&
           !(local != NULL && bz_vv_includes(&local->rvv, &change->illegible));
}

static int leave_out(struct bz_apply *apply, const struct bz_change *change, bool found,
    bool *changed, blaze_error *error)
{
    if (!found && was_collected(apply, change))
        return 0;
    int rc = bz_illegible_note(apply->txn, change, changed, error);
    apply->left_out |= *changed;
    return rc;
}

/* Nobody can tell what it is called that the record is in. */
static int apply_nowhere(
    struct bz_apply *apply, const struct bz_change *change, bool *changed, blaze_error *error)
{
    bz_arena_reset(&apply->txn->arena);
    int rc = check_seen(apply, &change->rec.rvv, error);
    if (rc == 0)
        rc = load_past(apply, error);
    bool wanted = apply->scoped.selection == NULL;
    return rc == 0 && wanted ? leave_out(apply, change, false, changed, error) : rc;
}

/* A change on its way into the record that is here. */
struct merging {
    const struct bz_change *change;
    struct bz_txn_collection *collection;
    struct bz_stored stored;
    struct bz_rec local, merged, pruned;
    const struct bz_rec *was; /* `local`; NULL: there is none */
    struct bz_origin origin;
    uint64_t stamp; /* what the clock has seen then */
    bool done;      /* nothing is to be stored */
};

static int look(struct bz_apply *apply, struct merging *m, blaze_error *error)
{
    struct bz_db_txn *txn = apply->txn;
    const struct bz_change *change = m->change;
    bool found = false;
    bz_arena_reset(&txn->arena);
    int rc = bz_txn_collection_load(txn, change->collection, &m->collection, error);
    if (rc == 0)
        rc = check_change(apply, change, &m->stamp, error);
    if (rc == 0)
        rc = bz_txn_record_load(
            txn, change->collection, &change->id, &m->stored, &m->local, &found, error);
    m->was = found ? &m->local : NULL;
    if (rc == 0)
        rc = bz_scoped_before(&apply->scoped, txn, change, m->was, &m->done, error);
    return rc != 0 || m->done ? rc : load_past(apply, error);
}

static int merge(struct bz_apply *apply, struct merging *m, bool *changed, blaze_error *error)
{
    struct bz_db_txn *txn = apply->txn;
    const struct bz_change *change = m->change;
    const struct bz_rec *remote = &change->rec;
    struct bz_rec_merged result;
    int rc = m->was != NULL ? check_present(apply, change, m->was, error)
                            : check_absent(apply, change, &m->done, error);
    if (rc == 0 && m->was == NULL && !m->done)
        rc = take_absent(apply, change, &m->pruned, &remote, error);
    if (rc != 0 || m->done)
        return rc;
    rc = bz_rec_merge_past(&txn->arena, m->was, remote, change->anew ? NULL : &apply->past.vv,
        txn->state.position + 1, &m->merged, &result);
    if (rc != 0)
        return bz_error_set(
            error, rc, "a peer's change cannot be merged: %s", blaze_error_string(rc));
    *changed = result.changed;
    m->origin.subsumed = result.subsumed;
    m->origin.untold =
        remote == &m->pruned || is_untold(apply, change, m->was, &m->merged, &result);
    m->done = (!*changed && !m->origin.untold) ||
              (BZ_MUTANT(CURSOR_WITHOUT_DATA) && txn->state.position % 8 == 7);
    return 0;
}

static int store(struct bz_apply *apply, struct merging *m, bool *changed, blaze_error *error)
{
    struct bz_db_txn *txn = apply->txn;
    const struct bz_change *change = m->change;
    bool drop = false;
    int rc = number_peer(apply, error);
    m->origin.node = apply->peer_number;
    if (rc == 0)
        rc = bz_scoped_after(&apply->scoped, txn, m->collection, change, &m->stored, m->was,
            &m->merged, m->origin.subsumed, &drop, changed, error);
    m->origin.subsumed &= !apply->scoped.stays;
    if (rc == 0 && !drop)
        rc = bz_write_record(
            txn, m->collection, &change->id, &m->stored, m->was, &m->merged, m->origin, error);
    if (rc == 0 && !drop)
        rc = note_beyond(apply, &change->rec.rvv, error);
    if (rc == 0)
        txn->state.stamp = BZ_MUTANT(STAMP_NOT_OBSERVED) ? txn->state.stamp : m->stamp;
    /* What comes anew goes on from copy to copy. */
    apply->untold |= !change->anew && (m->origin.untold || is_torn_anew(apply, &m->merged));
    apply->returned |= change->anew;
    return rc;
}

static int apply_one(
    struct bz_apply *apply, const struct bz_change *change, bool *changed, blaze_error *error)
{
    struct merging m = {.change = change, .stamp = apply->txn->state.stamp};
    int rc = look(apply, &m, error);
    if (rc == 0 && !m.done && is_illegible(change, m.was))
        return leave_out(apply, change, m.was != NULL, changed, error);
    if (rc == 0 && !m.done)
        rc = merge(apply, &m, changed, error);
    return rc == 0 && !m.done ? store(apply, &m, changed, error) : rc;
}

int bz_apply_change(
    struct bz_apply *apply, const struct bz_change *change, bool *changed, blaze_error *error)
{
    bool different = false;
    int rc = bz_txn_usable(apply->txn, error);
    if (rc == 0)
        rc = bz_txn_result(apply->txn, change->collection == BZ_COLLECTION_NONE
                                           ? apply_nowhere(apply, change, &different, error)
                                           : apply_one(apply, change, &different, error));
    if (rc == 0)
        *changed = different;
    return rc;
}

int bz_apply_lacks(struct bz_apply *apply, bool *out, blaze_error *error)
{
    return bz_illegible_any(apply->txn->view, out, error);
}

void bz_apply_from(struct bz_apply *apply, const struct bz_sender *sender)
{
    apply->scoped.peer_full = !sender->scoped;
    apply->scoped.peer_acked = sender->acked;
    apply->scoped.peer_had = sender->had;
    apply->scoped.peer_collected = sender->collected;
}

struct bz_awaited bz_apply_awaits(const struct bz_apply *apply)
{
    return apply->scoped.awaited;
}

int bz_apply_marker(
    struct bz_apply *apply, const struct bz_change *change, bool *changed, blaze_error *error)
{
    int rc = bz_txn_usable(apply->txn, error);
    if (rc == 0)
        rc = check_seen(apply, &change->rec.rvv, error);
    if (rc == 0)
        rc = number_peer(apply, error);
    if (rc == 0)
        rc = bz_txn_result(apply->txn, bz_scoped_marker(&apply->scoped, apply->txn, change,
                                           apply->peer_number, changed, error));
    return rc;
}

/* ---- commit ---- */

/* What the peer knows to have been collected we have had too, now that we have what it has. Where
 * we knew of nothing before, what we have written ourselves may be to ids that were in it. */
static int take_collected(struct bz_apply *apply, const struct bz_head *head, blaze_error *error)
{
    struct bz_db_txn *txn = apply->txn;
    struct bz_purged known;
    if (head->collected.count == 0 || !bz_vv_includes(&apply->own, &head->collected))
        return 0;
    int rc = bz_purged_load(txn->view, &txn->arena, &known, error);
    if (rc != 0)
        return rc;
    apply->untold |= known.vv.count == 0 && txn->state.seq > 0;
    /* A write that supersedes it is later. */
    uint64_t now = txn->db->wall_ms(txn->db->context);
    if (bz_clock_observe(&txn->state.stamp, head->collected_stamp, now) != 0)
        return bz_error_set(error, BLAZE_ECLOCK,
            "what the peer has collected is stamped years ahead of this clock: set the clock right "
            "on either side");
    return bz_purged_raise(txn, &head->collected, head->collected_stamp, 0, error);
}

/* Takes over an entry of a version vector, unless one of the records that were left out had seen
 * more of its node than we have: then we may not have all up to there. */
static int take_entry(struct bz_db_txn *txn, struct bz_dot entry,
    const struct bz_illegible *illegible, blaze_error *error)
{
    uint64_t have = 0;
    int rc = bz_version_load(txn->view, entry.node, &have, error);
    bool stands = bz_vv_get(&illegible->seen, entry.node) > have;
    if (rc != 0 || have >= entry.seq || stands)
        return rc;
    return bz_version_store(txn->txn, entry.node, entry.seq, error);
}

/* Takes over the version vector of a head that we have reached; `own` is what it is then. */
static int take_version(struct bz_apply *apply, const struct bz_peer_state *peer,
    const struct bz_head *head, blaze_error *error)
{
    struct bz_db_txn *txn = apply->txn;
    const struct bz_vv *vv = &head->vv;
    struct bz_illegible illegible = {0};
    bool takes = false;
    bz_arena_reset(&txn->arena);
    int rc = check_seen(apply, vv, error);
    if (rc == 0)
        rc = bz_scoped_takes_version(&apply->scoped, txn, peer, vv, &takes, error);
    if (rc == 0 && head->opaque)
        rc = bz_illegible_load(txn->view, &txn->arena, &illegible, error);
    for (uint32_t i = 0; rc == 0 && takes && i < vv->count; i++) {
        if (vv->entries[i].node != txn->state.self)
            rc = take_entry(txn, vv->entries[i], &illegible, error);
    }
    if (rc == 0)
        rc = bz_version_vector(
            txn->view, txn->state.self, txn->state.seq, &apply->scoped.arena, &apply->own, error);
    bz_arena_reset(&txn->arena);
    if (rc == 0 && !head->opaque)
        rc = bz_illegible_covered(txn, &apply->own, error);
    return rc == 0 ? take_collected(apply, head, error) : rc;
}

/* What came of a walk that goes on lies beyond our version vector; with the head that ends.
 * *compared: so does a comparison. */
static int settle_beyond(struct bz_apply *apply, bool head, bool *compared, blaze_error *error)
{
    struct bz_db_txn *txn = apply->txn;
    int rc = 0;
    *compared = false;
    if (!head && apply->beyond.vv.count == 0)
        return 0;
    bz_arena_reset(&txn->arena);
    if (!bz_vv_includes(&apply->own, &apply->beyond.vv))
        rc = bz_beyond_raise(txn->db, txn->txn, &txn->arena, &apply->beyond.vv, error);
    return rc != 0 ? rc : bz_beyond_covered(txn, &apply->own, compared, error);
}

/* Until it has got about, this copy shows something else than others with the same writes. With
 * blind copies it is such differences that bring back what was collected. */
static int note_untold(struct bz_apply *apply, blaze_error *error)
{
    struct bz_db_txn *txn = apply->txn;
    bool hearsay = false;
    int rc = apply->untold ? bz_hearsay_load(txn->db, txn->view, &hearsay, error) : 0;
    return rc != 0 || !apply->untold || hearsay ? rc : bz_untold_note(txn->db, txn->txn, error);
}

/* Whether both sides have the same writes, none beyond them, and yet differ in what they show. */
static int compare(
    struct bz_apply *apply, const struct bz_head *head, bool *diverged, blaze_error *error)
{
    struct bz_db_txn *txn = apply->txn;
    const struct bz_vv *ours = &apply->own;
    bool partial = false;
    bz_arena_reset(&txn->arena);
    int rc = bz_beyond_is(txn->db, txn->view, &txn->arena, false, &partial, error);
    if (rc != 0)
        return rc;
    bool equal = bz_vv_includes(ours, &head->vv) && bz_vv_includes(&head->vv, ours);
    *diverged =
        equal && !partial && !head->partial &&
        (txn->state.digest.low != head->digest.low || txn->state.digest.high != head->digest.high);
    return 0;
}

int bz_apply_commit(struct bz_apply *apply, const struct bz_peer_state *peer,
    const struct bz_head *head, bool *diverged, blaze_error *error)
{
    struct bz_db_txn *txn = apply->txn;
    struct bz_peer_state kept = *peer;
    bool differ = false, compared = false;
    int rc = bz_txn_usable(txn, error);
    if (rc == 0 && peer->self != txn->state.self && !BZ_MUTANT(FORMER_NODE_GOES_ON))
        rc = bz_error_set(error, BLAZE_ECLOSED,
            "this copy goes on as another node: what peers have is read anew, with the next "
            "connection");
    if (rc == 0 && head != NULL)
        rc = take_version(apply, peer, head, error);
    if (rc == 0)
        rc = note_untold(apply, error);
    if (rc == 0 && apply->returned)
        rc = bz_returned_note(txn, error);
    if (rc == 0)
        rc = settle_beyond(apply, head != NULL, &compared, error);
    if (rc == 0 && compared && apply->scoped.selection == NULL)
        rc = bz_left_collect(txn, error);
    if (rc == 0)
        rc = bz_scoped_end(&apply->scoped, txn, &kept, head, error);
    if (rc == 0)
        rc = bz_peer_store(txn->txn, &apply->peer, &kept, error);
    /* A copy of a part shows something else, whatever it was shown. */
    if (rc == 0 && head != NULL && !head->scoped && apply->scoped.selection == NULL)
        rc = compare(apply, head, &differ, error);
    if (rc != 0) {
        bz_apply_abort(apply);
        return rc;
    }
    /* A cursor alone may be lost: the peer then sends again what has no effect. But records that a
     * comparison took away are remembered by the version vector at its end. */
    enum bz_durability durability = txn->state.position == apply->begin && !compared
                                        ? BZ_DURABLE_RELAXED
                                        : txn->db->apply_durability;
    txn->changed = true;
    bz_vector_release(&apply->beyond);
    bz_scoped_release(&apply->scoped);
    struct bz_db *db = txn->db;
    rc = bz_db_commit(txn, durability, error);
    if (rc == 0 && apply->left_out)
        bz_health_ask(db);
    bz_free(apply);
    if (rc == 0 && diverged != NULL)
        *diverged = differ;
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Collecting deleted records: those all of whose writes every known replica has (coverage.c) go,
 * with their hidden fields and their entry in the change log.
 *
 * The map `dead` lists them. A pass goes over it once, some at a time, each step in a short
 * transaction of its own, so that writers hardly wait; after a whole pass there is nothing to do
 * until the floor has risen or something else was deleted.
 *
 * What was collected may still come from replicas that nobody had known of, or that have been away
 * for too long, and by way of those also to such as have something of it; and meanwhile a record of
 * that id may have been made anew. Then version vectors do not say who has seen what. So a record
 * is sent, and whole, though the receiver's version vector covers it, if it is *torn*: a delete in
 * it is concurrent with other writes; it is *doubtful*: a write in it that has siblings is older
 * than what was collected; or it is *untold* (in its log entry): it changed here though our own
 * version vector covered it, or lost a sibling with nothing in its place, or came to know of more
 * without a write that says so, or a peer has shown that it does not know how it changed. And who
 * merges takes of its own side all for superseded that is older than what was collected and not
 * here (bz_rec_merge_past()); where nothing is here, what of a record that comes was superseded
 * stays away (apply.c). Torn ones are kept for the retention, so that somebody can look at what has
 * lost.
 *
 * A partial replica keeps all deleted records for that long, and those with writes of its own until
 * a full one claims these: who has been away for too long compares with a full one, and could not
 * be told of them otherwise. It does not know what once was and now is somewhere else from what has
 * been collected; so a record that it makes anew where it has nothing supersedes nothing
 * (bz_collected_here).
 */

#include "db/db_priv.h"

#define LOOKED_AT 1024u /* a step */
#define COLLECTED 256u

struct found {
    uint64_t position;
    uint32_t collection;
    blaze_id id;
};

struct step {
    struct bz_db *db;
    struct bz_read *read;
    const struct bz_state *state;
    struct bz_arena arena; /* of the floor and the scope, which outlive the records */
    struct bz_vv floor;
    uint64_t retention_ms;
    uint64_t now_ms;
    uint64_t again_ms;          /* see struct bz_collecting */
    struct bz_scope_kept scope; /* zero: we are no partial replica */
    struct found found[COLLECTED];
    uint32_t count;
    uint64_t reached; /* looked at up to this position */
    bool at_end;
};

/* ---- looking, in a snapshot ---- */

/* Loads the record that the log has at a position. */
static int load(struct step *s, struct bz_cursor *log, uint64_t position, struct found *found,
    struct bz_rec *rec, blaze_error *error)
{
    struct bz_log_entry entry;
    struct bz_stored stored;
    int rc = bz_log_seek(log, position - 1, error);
    if (rc == 0)
        rc = bz_log_decode(log, &entry, error);
    if (rc == BLAZE_END || (rc == 0 && (entry.position != position || !entry.dead)))
        return bz_error_set(error, BLAZE_ECORRUPT, "the list of deleted records is corrupt");
    if (rc == 0)
        rc = bz_stored_load(s->read->view, entry.collection, &entry.id, &stored, error);
    if (rc != 0)
        return rc == BLAZE_ENOTFOUND ? bz_record_corrupt(error, &entry.id) : rc;
    *found = (struct found){position, entry.collection, entry.id};
    bz_arena_reset(&s->read->arena);
    return bz_stored_decode(&s->read->arena, &stored, &entry.id, rec, error);
}

static bool is_part(const struct step *s)
{
    return s->scope.generation != 0;
}

static bool is_kept(struct step *s, const struct bz_rec *rec)
{
    uint64_t last = 0;
    if (is_part(s)) {
        bool claimed = bz_vv_get(&rec->rvv, s->state->self) <= s->scope.claimed;
        if (!claimed && !BZ_MUTANT(COLLECTS_UNCLAIMED))
            return true;
    } else if (!bz_rec_torn(rec)) {
        return false;
    }
    for (uint32_t i = 0; i < rec->write_count; i++)
        last = rec->writes[i].stamp > last ? rec->writes[i].stamp : last;
    uint64_t until = (last >> 16) + s->retention_ms;
    if (until < s->now_ms)
        return false;
    if (s->again_ms == 0 || s->again_ms > until)
        s->again_ms = until;
    return true;
}

static int look(struct step *s, struct bz_cursor *dead, struct bz_cursor *log, blaze_error *error)
{
    uint8_t key[BZ_LOG_KEY_SIZE];
    bz_store64be(key, s->reached + 1);
    int rc = bz_cursor_seek(dead, bz_bytes(key, sizeof key), error);
    for (uint32_t n = 0; rc == 0 && n < LOOKED_AT && s->count < COLLECTED; n++) {
        struct bz_bytes at = bz_cursor_key(dead);
        struct bz_rec rec;
        if (at.size != BZ_LOG_KEY_SIZE || bz_load64be(at.data) == 0)
            return bz_error_set(error, BLAZE_ECORRUPT, "the list of deleted records is corrupt");
        uint64_t position = bz_load64be(at.data);
        rc = load(s, log, position, &s->found[s->count], &rec, error);
        if (rc != 0)
            return rc;
        s->count += bz_vv_includes(&s->floor, &rec.rvv) && !is_kept(s, &rec);
        s->reached = position;
        rc = bz_cursor_next(dead, error);
    }
    s->at_end = rc == BLAZE_END;
    return rc == BLAZE_END ? 0 : rc;
}

static int look_from(struct step *s, blaze_error *error)
{
    struct bz_cursor *dead = NULL, *log = NULL;
    int rc = bz_cursor_open(s->read->view, BZ_MAP_DEAD, &dead, error);
    if (rc == 0)
        rc = bz_cursor_open(s->read->view, BZ_MAP_LOG, &log, error);
    if (rc == 0)
        rc = look(s, dead, log, error);
    bz_cursor_close(dead);
    bz_cursor_close(log);
    return rc;
}

/* ---- removing, in a transaction ---- */

/* A record that has changed since it was looked at stays. */
static int erase(struct bz_db_txn *txn, const struct found *found, bool *erased, blaze_error *error)
{
    struct bz_txn_collection *collection = NULL;
    struct bz_stored stored;
    struct bz_rec rec;
    bool there = false;
    int rc =
        bz_txn_load(txn, found->collection, &found->id, &collection, &stored, &rec, &there, error);
    if (rc != 0 || !there || stored.position != found->position)
        return rc;
    *erased = true;
    return bz_erase_record(txn, collection, &found->id, &stored, &rec, error);
}

static int erase_found(struct step *s, uint64_t *collected, blaze_error *error)
{
    struct bz_db_txn *txn = NULL;
    uint64_t erased = 0;
    int rc = bz_db_begin(s->db, &txn, error);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; rc == 0 && i < s->count; i++) {
        bool one = false;
        rc = erase(txn, &s->found[i], &one, error);
        erased += one;
    }
    if (rc != 0) {
        bz_db_abort(txn);
        return rc;
    }
    rc = bz_db_commit(txn, BZ_DURABLE_RELAXED, error);
    if (rc == 0) {
        *collected += erased;
        atomic_fetch_add(&s->db->coverage_mark, erased > 0);
    }
    return rc;
}

/* ---- a step ---- */

/* Of what it depends on, the time excepted, whether deleted records can go. */
static struct bz_hash128 bounds_of(const struct step *s)
{
    struct bz_hash128 sum = {s->scope.claimed, is_part(s)};
    for (uint32_t i = 0; i < s->floor.count; i++) {
        uint64_t entry[2] = {s->floor.entries[i].node, s->floor.entries[i].seq};
        bz_hash128_add(&sum, bz_hash128(entry, sizeof entry, 0));
    }
    return sum;
}

/* Where the last pass stopped; from the start where what it depends on has changed. */
static bool begin_at(struct step *s)
{
    struct bz_collecting *c = &s->db->collecting;
    struct bz_hash128 bounds = bounds_of(s);
    pthread_mutex_lock(&s->db->lock);
    bool same = c->begun && c->bounds.low == bounds.low && c->bounds.high == bounds.high;
    same &= !c->whole || c->again_ms == 0 || s->now_ms <= c->again_ms;
    if (!same || (c->whole && c->position != s->state->position))
        *c =
            (struct bz_collecting){.begun = true, .bounds = bounds, .position = s->state->position};
    bool due = !c->whole;
    s->reached = c->reached;
    s->again_ms = c->again_ms;
    pthread_mutex_unlock(&s->db->lock);
    return due;
}

static void note(struct step *s)
{
    pthread_mutex_lock(&s->db->lock);
    s->db->collecting.reached = s->reached;
    s->db->collecting.whole = s->at_end;
    s->db->collecting.again_ms = s->again_ms;
    pthread_mutex_unlock(&s->db->lock);
}

static int run(struct step *s, uint64_t *collected, bool *more, blaze_error *error)
{
    bool returned = false;
    int rc = bz_read_load_state(s->read, &s->state, error);
    if (rc != 0 || s->state->dead == 0)
        return rc;
    rc = bz_retention_load(s->read->view, &s->retention_ms, error);
    if (rc == 0)
        rc = bz_returned_is(s->db, s->read->view, s->retention_ms, &returned, error);
    if (rc != 0 || returned) /* see coverage.c */
        return rc;
    rc = bz_scope_load(s->read->view, &s->arena, &s->scope, error);
    bz_scope_add_unwritten(s->db, s->state->self, &s->scope);
    if (rc == 0)
        rc = bz_coverage_floor(s->db, s->read->view, s->state, &s->arena, &s->floor, error);
    if (rc != 0 || !begin_at(s))
        return rc;
    rc = look_from(s, error);
    bz_read_end(s->read);
    s->read = NULL;
    if (rc == 0 && s->count > 0)
        rc = erase_found(s, collected, error);
    if (rc == 0) {
        note(s);
        *more = !s->at_end;
    }
    return rc;
}

int bz_db_collect(struct bz_db *db, uint64_t *collected, bool *more, blaze_error *error)
{
    struct step s = {.db = db, .now_ms = db->wall_ms(db->context)};
    *more = false;
    bz_arena_init(&s.arena);
    int rc = bz_read_begin(db, &s.read, error);
    if (rc == 0)
        rc = run(&s, collected, more, error);
    if (s.read != NULL)
        bz_read_end(s.read);
    bz_arena_release(&s.arena);
    return rc;
}

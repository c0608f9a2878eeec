/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The replica interface of a database, and its sending side: a walk over the change log in one
 * snapshot.
 *
 * What the receiver has already is left out: a record that it sent itself, unless something was
 * here that it had not seen (`subsumed` in the log tells); a record whose writes its version vector
 * covers; and of the rest the cells that had all arrived here at the last head that it reached.
 */

#include "db/db_priv.h"

#include "base/alloc.h"

struct bz_changes {
    struct bz_db *db;
    struct bz_read *read;
    struct bz_cursor *cursor;
    const struct bz_state *state;
    struct bz_receiver receiver; /* its vv is in `arena` */
    bool receiver_known;
    uint32_t receiver_number;
    uint64_t from;
    uint64_t position; /* passed up to here */
    bool started;
    /* Of a partial receiver; NULL otherwise. */
    struct bz_selection *wants, *wanted;
    struct bz_scope_kept scope; /* ours */
    struct bz_purged purged;
    struct bz_vv gone;     /* what was collected here, or by the receiver */
    struct bz_arena arena; /* for the life of the walk; the read's is for one change */
};

/* Log entries that may be passed over before the walk says where it is. */
#define LOOK_MAX 4096u

/* ---- what is asked of a replica at any time ---- */

static int identity(void *context, struct bz_identity *out)
{
    bz_db_identity(context, out);
    return 0;
}

static int meaning(void *context, enum bz_term term, uint32_t number, struct bz_bytes *out)
{
    struct bz_catalog *catalog = ((struct bz_db *)context)->catalog;
    struct bz_bytes found = {0};
    if (term == BZ_TERM_COLLECTION)
        return bz_catalog_collection_name(catalog, number, out);
    if (term == BZ_TERM_DICTIONARY)
        return bz_catalog_dictionary(catalog, number, out);
    if (term == BZ_TERM_FIELD) {
        found = bz_names_get(bz_catalog_names(catalog), number);
    } else {
        struct bz_nodes nodes = bz_catalog_nodes(catalog);
        if (number < nodes.count)
            found = bz_bytes(&nodes.ids[number], sizeof nodes.ids[number]);
    }
    if (found.data == NULL)
        return BLAZE_ENOTFOUND;
    *out = found;
    return 0;
}

static int peer_load(void *context, const blaze_id *node, struct bz_peer_state *out)
{
    struct bz_read *read = NULL;
    int rc = bz_read_begin(context, &read, NULL);
    if (rc != 0)
        return rc;
    struct bz_scope_kept scope;
    rc = bz_peer_load(read->view, node, out, NULL);
    if (rc == 0)
        rc = bz_scope_load(read->view, &read->arena, &scope, NULL);
    if (rc == 0)
        out->scope = scope.generation;
    bz_read_end(read);
    return rc;
}

static uint64_t position(void *context)
{
    return bz_db_position(context);
}

static int version(void *context, struct bz_arena *arena, struct bz_vv *out)
{
    struct bz_read *read = NULL;
    const struct bz_state *state = NULL;
    int rc = bz_read_begin_state(context, &read, &state, NULL);
    if (rc != 0)
        return rc;
    rc = bz_version_vector(read->view, state->self, state->seq, arena, out, NULL);
    bz_read_end(read);
    return rc;
}

static int left_out(void *context, struct bz_arena *arena, struct bz_vv *out)
{
    struct bz_illegible illegible;
    struct bz_read *read = NULL;
    int rc = bz_read_begin(context, &read, NULL);
    if (rc != 0)
        return rc;
    rc = bz_illegible_load(read->view, arena, &illegible, NULL);
    bz_read_end(read);
    if (rc == 0)
        *out = illegible.seen;
    return rc;
}

static int node_number(void *context, const blaze_id *node, uint32_t *out)
{
    return bz_catalog_node(((struct bz_db *)context)->catalog, node, out);
}

static int outlived(
    void *context, const blaze_id *former, const struct bz_trail *trail, blaze_error *error)
{
    return bz_identity_outlived(context, former, trail, error);
}

static int recognize(
    void *context, uint64_t as_of, const struct bz_trail *trail, enum bz_recognition *out)
{
    struct bz_read *read = NULL;
    const struct bz_state *state = NULL;
    int rc = bz_read_begin_state(context, &read, &state, NULL);
    if (rc != 0)
        return rc;
    rc = bz_opening_recognize(read->view, state->position, as_of, trail, out, NULL);
    bz_read_end(read);
    if (BZ_MUTANT(FORK_UNNOTICED) && as_of <= bz_db_position(context))
        *out = BZ_CURSOR_GOOD;
    return rc;
}

static uint64_t coverage_mark(void *context)
{
    return atomic_load(&((struct bz_db *)context)->coverage_mark);
}

static int collect(void *context, bool *more, blaze_error *error)
{
    uint64_t collected = 0;
    return bz_db_collect(context, &collected, more, error);
}

/* ---- sending ---- */

static void changes_close(struct bz_changes *changes)
{
    if (changes == NULL)
        return;
    bz_selection_free(changes->wants);
    bz_selection_free(changes->wanted);
    bz_cursor_close(changes->cursor);
    if (changes->read != NULL)
        bz_read_end(changes->read);
    bz_arena_release(&changes->arena);
    bz_free(changes);
}

/* What a partial receiver wants. A blind replica cannot tell, and sends everything. */
static int load_wishes(struct bz_changes *changes, blaze_error *error)
{
    struct bz_catalog *catalog = changes->db->catalog;
    if (changes->receiver.scope.size == 0 || changes->db->identity.blind)
        return 0;
    int rc = bz_selection_new(&changes->wants, catalog, changes->receiver.scope, error);
    if (rc == 0 && changes->receiver.held > 0)
        rc = bz_selection_new(&changes->wanted, catalog, changes->receiver.before, error);
    return rc;
}

static int changes_open(void *context, const struct bz_receiver *receiver, uint64_t from,
    struct bz_changes **out, blaze_error *error)
{
    struct bz_changes *changes = bz_zalloc(sizeof *changes);
    if (changes == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    changes->db = context;
    changes->receiver = *receiver;
    changes->from = from;
    changes->position = from;
    bz_arena_init(&changes->arena);
    changes->receiver_known =
        bz_catalog_node(changes->db->catalog, &receiver->node, &changes->receiver_number) == 0;
    int rc = bz_vv_copy(&changes->arena, &receiver->vv, &changes->receiver.vv);
    if (rc != 0)
        bz_error_code(error, rc);
    if (rc == 0)
        rc = bz_read_begin_state(changes->db, &changes->read, &changes->state, error);
    if (rc == 0)
        rc = bz_cursor_open(changes->read->view, BZ_MAP_LOG, &changes->cursor, error);
    if (rc == 0)
        rc = bz_scope_load(changes->read->view, &changes->arena, &changes->scope, error);
    if (rc == 0)
        rc = load_wishes(changes, error);
    if (rc == 0)
        rc = bz_purged_load(changes->read->view, &changes->arena, &changes->purged, error);
    if (rc == 0 && (rc = bz_vv_max(&changes->arena, &changes->purged.vv, &receiver->collected,
                        &changes->gone)) != 0)
        bz_error_code(error, rc);
    if (rc != 0)
        changes_close(changes);
    else
        *out = changes;
    return rc;
}

static int next_entry(struct bz_changes *changes, struct bz_log_entry *entry, blaze_error *error)
{
    int rc = changes->started ? bz_cursor_next(changes->cursor, error)
                              : bz_log_seek(changes->cursor, changes->from, error);
    changes->started = true;
    return rc != 0 ? rc : bz_log_decode(changes->cursor, entry, error);
}

/* Loads the record of a log entry into the read's arena. */
static int load_record(struct bz_changes *changes, const struct bz_log_entry *entry,
    struct bz_rec *out, blaze_error *error)
{
    struct bz_stored stored;
    int rc = bz_stored_load(changes->read->view, entry->collection, &entry->id, &stored, error);
    if (rc == BLAZE_ENOTFOUND || (rc == 0 && stored.position != entry->position))
        return bz_error_set(error, BLAZE_ECORRUPT,
            "position %llu of the change log names a record that is not there",
            (unsigned long long)entry->position);
    if (rc != 0)
        return rc;
    bz_arena_reset(&changes->read->arena);
    return bz_stored_decode(&changes->read->arena, &stored, &entry->id, out, error);
}

/* Whether the receiver had this record when it was sent all up to `held`. */
static bool is_held(
    struct bz_changes *changes, const struct bz_log_entry *entry, const struct bz_rec *rec)
{
    return changes->wanted != NULL && entry->position <= changes->receiver.held &&
           bz_selection_takes(changes->wanted, entry->collection, &entry->id, rec);
}

/* Whether version vectors say nothing of a record: see collect.c. Who gets it from others too lacks
 * nothing that was never collected. */
static bool is_whole(
    const struct bz_changes *changes, const struct bz_log_entry *entry, const struct bz_rec *rec)
{
    if (BZ_MUTANT(TORN_BY_VECTOR))
        return false;
    return entry->untold || (bz_rec_torn(rec) && !changes->receiver.lazy) ||
           bz_rec_doubtful(rec, &changes->gone);
}

/* Whether the receiver sent a record itself, and still has it. */
static bool is_its_own(const struct bz_changes *changes, const struct bz_log_entry *entry)
{
    return !entry->untold && entry->subsumed && changes->receiver_known &&
           entry->origin == changes->receiver_number && entry->position > changes->receiver.lost;
}

/* What is to be said of a log entry, whose record is then in *rec: BZ_CHANGE_NONE for nothing;
 * *whole: without leaving anything out. */
static int look_at(struct bz_changes *changes, const struct bz_log_entry *entry, struct bz_rec *rec,
    enum bz_change_kind *kind, bool *whole, blaze_error *error)
{
    bool filtered;
    *kind = BZ_CHANGE_NONE;
    if (is_its_own(changes, entry))
        return 0;
    if (changes->wants != NULL &&
        !bz_selection_collection(changes->wants, entry->collection, &filtered))
        return 0;
    int rc = load_record(changes, entry, rec, error);
    if (rc != 0)
        return rc;
    *whole = is_whole(changes, entry, rec);
    if (!*whole && bz_vv_includes(&changes->receiver.vv, &rec->rvv))
        return 0;
    if (changes->wants != NULL &&
        !bz_selection_takes(changes->wants, entry->collection, &entry->id, rec))
        *kind = entry->position > changes->receiver.fresh ? BZ_CHANGE_MARKER : BZ_CHANGE_NONE;
    else if (!is_held(changes, entry, rec))
        *kind = BZ_CHANGE_RECORD;
    return 0;
}

static int changes_next(struct bz_changes *changes, struct bz_change *out, blaze_error *error)
{
    struct bz_log_entry entry;
    struct bz_rec rec;
    enum bz_change_kind kind = BZ_CHANGE_NONE;
    bool whole = false;
    int rc = 0;
    uint32_t left = changes->wants != NULL ? LOOK_MAX : UINT32_MAX;
    for (; kind == BZ_CHANGE_NONE && left > 0; left--) {
        rc = next_entry(changes, &entry, error);
        if (rc != 0)
            break;
        changes->position = entry.position;
        if (BZ_MUTANT(DELETE_NOT_SENT) && entry.dead)
            continue;
        rc = look_at(changes, &entry, &rec, &kind, &whole, error);
        if (rc != 0)
            return rc;
    }
    if (rc == BLAZE_END)
        changes->position = changes->state->position;
    if (rc != 0)
        return rc;
    struct bz_change change = {.position = entry.position,
        .collection = entry.collection,
        .id = entry.id,
        .kind = kind,
        .untold = entry.untold};
    if (kind == BZ_CHANGE_MARKER)
        change.rec.rvv = rec.rvv;
    else if (kind == BZ_CHANGE_RECORD)
        rc = bz_rec_since(
            &changes->read->arena, &rec, whole ? 0 : changes->receiver.reached, &change.rec);
    if (rc != 0)
        return bz_error_code(error, rc);
    *out = change;
    return 0;
}

static uint64_t changes_position(struct bz_changes *changes)
{
    return changes->position;
}

static int changes_head(struct bz_changes *changes, struct bz_head *out)
{
    const struct bz_state *state = changes->state;
    struct bz_head head = {.position = state->position,
        .digest = state->digest,
        .records = state->records,
        .self = state->self};
    int rc = bz_version_vector(
        changes->read->view, state->self, state->seq, &changes->arena, &head.vv, NULL);
    head.scoped = changes->scope.generation != 0;
    head.claims =
        head.scoped &&
        (BZ_MUTANT(CLAIMS_WHAT_WENT) ||
            bz_vv_get(&changes->receiver.vv, state->self) >= changes->scope.gave ||
            bz_scope_keeps(&changes->scope, &changes->receiver.peer, changes->receiver.acked));
    head.self = state->self;
    head.purged = changes->purged.mark;
    if (rc == 0 && !head.scoped)
        rc = bz_beyond_is(
            changes->db, changes->read->view, &changes->arena, false, &head.partial, NULL);
    if (rc == 0)
        *out = head;
    return rc;
}

static uint64_t changes_end(struct bz_changes *changes)
{
    return changes->state->position;
}

static int changes_openings(struct bz_changes *changes, const struct bz_opening_mark *told,
    uint64_t position, struct bz_trail *out)
{
    return bz_openings_since(changes->read->view, told, position, out, NULL);
}

static const struct bz_replica_ops replica_ops = {
    .identity = identity,
    .meaning = meaning,
    .peer_load = peer_load,
    .position = position,
    .changes_open = changes_open,
    .changes_next = changes_next,
    .changes_position = changes_position,
    .changes_head = changes_head,
    .changes_end = changes_end,
    .changes_openings = changes_openings,
    .changes_close = changes_close,
    .apply_begin = bz_apply_begin,
    .apply_begin_now = bz_apply_begin_now,
    .resolve = bz_apply_resolve,
    .apply_change = bz_apply_change,
    .apply_lacks = bz_apply_lacks,
    .apply_commit = bz_apply_commit,
    .apply_abort = bz_apply_abort,
    .outlived = outlived,
    .recognize = recognize,
    .coverage_tell = bz_coverage_tell,
    .coverage_mark = coverage_mark,
    .coverage_learn = bz_coverage_learn,
    .collect = collect,
    .range_list = bz_range_list,
    .range_compare = bz_range_compare,
    .range_compared = bz_range_compared,
    .only_from = bz_only_from,
    .came_since = bz_came_since,
    .version = version,
    .left_out = left_out,
    .left_out_again = bz_illegible_again,
    .node_number = node_number,
    .scope = bz_replica_scope,
    .apply_from = bz_apply_from,
    .apply_awaits = bz_apply_awaits,
    .doubts = bz_scope_doubts,
    .apply_marker = bz_apply_marker,
    .resumed = bz_replica_resumed,
    .acknowledged = bz_replica_acknowledged,
};

int bz_db_replica_open(struct bz_db *db, struct bz_replica *out, blaze_error *error)
{
    (void)error;
    pthread_mutex_lock(&db->lock);
    db->open++;
    pthread_mutex_unlock(&db->lock);
    *out = (struct bz_replica){&replica_ops, db};
    return 0;
}

void bz_db_replica_close(struct bz_replica *replica)
{
    struct bz_db *db = replica->context;
    pthread_mutex_lock(&db->lock);
    db->open--;
    pthread_mutex_unlock(&db->lock);
    *replica = (struct bz_replica){0};
}

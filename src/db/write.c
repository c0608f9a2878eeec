/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The one write path. Whatever changes a record, a local verb or a merge, ends in
 * bz_write_record(), which replaces the old state of the record by the new one together with all
 * that depends on it:
 *
 *   indexes     entries of what was visible before against those of what is visible after
 *   records     the record, with the position of its log entry
 *   log         a new entry at the next position; the record's former entry goes
 *   dead        whether that entry is of a record that is not visible
 *   conflicts   whether the record is listed
 *   state       digest, counts, position
 *
 * A new record is the cheap case: one lookup that finds nothing, no decoding, and three puts (plus
 * one for each index), with what is written once a commit on top.
 */

#include "db/db_priv.h"

#include <assert.h>

/* What the rest of the database shows of a state of a record. */
struct face {
    bool dead;
    bool alive;
    bool conflict;
    struct bz_hash128 digest;
};

static int face_of(
    struct bz_db_txn *txn, const blaze_id *id, const struct bz_rec *rec, struct face *face)
{
    struct bz_nodes nodes = bz_catalog_nodes(txn->db->catalog);
    bool simple = bz_rec_is_simple(rec);
    const uint32_t *fields = NULL;
    uint32_t conflicts = 0;
    bool readable = !txn->db->identity.blind;
    *face = (struct face){.alive = simple || bz_rec_alive(rec, &nodes)};
    face->dead = !face->alive;
    face->conflict = readable && !simple && bz_rec_life_differs(rec) && !BZ_MUTANT(LIFE_UNLISTED);
    if (!face->alive)
        return 0;
    face->digest = bz_rec_digest(rec, id, &nodes);
    int rc = simple || !readable ? 0 : bz_rec_conflicts(&txn->arena, rec, &fields, &conflicts);
    face->conflict |= conflicts > 0;
    return rc;
}

static int write_conflict(struct bz_db_txn *txn, struct bz_bytes key, const struct face *before,
    const struct face *after, blaze_error *error)
{
    if (before->conflict == after->conflict)
        return 0;
    if (after->conflict) {
        txn->state.conflicts++;
        return bz_txn_put(txn->txn, BZ_MAP_CONFLICTS, key, bz_bytes(NULL, 0), error);
    }
    txn->state.conflicts--;
    return bz_txn_delete(txn->txn, BZ_MAP_CONFLICTS, key, error);
}

static void count(struct bz_db_txn *txn, struct bz_txn_collection *collection,
    const struct face *before, const struct face *after)
{
    bz_hash128_sub(&txn->state.digest, before->digest);
    bz_hash128_add(&txn->state.digest, after->digest);
    txn->state.dead += (uint64_t)after->dead - (uint64_t)before->dead;
    if (before->alive == after->alive)
        return;
    uint64_t one = after->alive ? 1 : (uint64_t)-1;
    txn->state.records += one;
    collection->count += one;
    collection->touched = true;
}

/* All the other writes of a change of one record; the new state is encoded in txn->record. */
static int write_all(struct bz_db_txn *txn, const struct face *before, const struct face *after,
    const struct bz_log_entry *entry, uint64_t old_position, blaze_error *error)
{
    uint8_t key_bytes[BZ_RECORD_KEY_SIZE];
    struct bz_bytes key = bz_record_key(key_bytes, entry->collection, &entry->id);
    int rc = bz_txn_put(txn->txn, BZ_MAP_RECORDS, key, bz_buf_bytes(&txn->record), error);
    if (rc == 0 && old_position != 0)
        rc = bz_log_erase(txn->txn, old_position, error);
    if (rc == 0)
        rc = bz_log_store(txn->txn, entry, error);
    if (rc == 0 && before->dead)
        rc = bz_dead_store(txn->txn, old_position, false, error);
    if (rc == 0 && after->dead)
        rc = bz_dead_store(txn->txn, entry->position, true, error);
    if (rc == 0)
        rc = write_conflict(txn, key, before, after, error);
    return rc;
}

/* Encodes the record into txn->record. */
static int encode(struct bz_db_txn *txn, const struct bz_rec *rec, uint64_t position)
{
    bz_buf_clear(&txn->record);
    bz_buf_append_varint(&txn->record, position);
    bz_rec_encode(&txn->record, rec, position);
    return txn->record.error;
}

/* How large the document of a record is. */
struct extent {
    size_t bytes;
    size_t fields;
};

static size_t field_count(const struct bz_db_txn *txn, struct bz_bytes document)
{
    blaze_value map;
    bz_doc_value(document, bz_catalog_names(txn->db->catalog), &map);
    return document.size == 0 ? 0 : blaze_value_count(&map);
}

static int measure(struct bz_db_txn *txn, const struct bz_rec *rec, struct extent *out)
{
    struct bz_nodes nodes = bz_catalog_nodes(txn->db->catalog);
    bz_buf_clear(&txn->document);
    int rc = bz_rec_document(&txn->document, rec, &nodes);
    if (rc == 0)
        *out = (struct extent){txn->document.size, field_count(txn, bz_buf_bytes(&txn->document))};
    return rc;
}

/* Whether a look at what is in the record, superseded or not, is enough to say that its document is
 * within the limits. */
static bool plainly_within(const struct bz_db_txn *txn, const struct bz_rec *rec)
{
    if (bz_rec_is_simple(rec) || txn->record.size <= BLAZE_MAX_FIELDS) /* a field has a byte */
        return true;
    size_t fields = 0;
    for (uint32_t i = 0; i < rec->write_count; i++)
        fields += field_count(txn, rec->writes[i].body);
    return fields <= BLAZE_MAX_FIELDS && txn->record.size <= BLAZE_MAX_DOCUMENT;
}

/* An update may make a document too large that is not in itself: that is refused, unless it makes
 * one smaller that merging had made too large. What merging makes is always kept. */
static int check_extent(
    struct bz_db_txn *txn, const struct bz_rec *old, const struct bz_rec *rec, blaze_error *error)
{
    struct extent before = {0}, after;
    if (plainly_within(txn, rec))
        return 0;
    int rc = old == NULL ? 0 : measure(txn, old, &before);
    if (rc == 0)
        rc = measure(txn, rec, &after);
    if (rc != 0)
        return bz_error_code(error, bz_txn_result(txn, rc));
    if (after.fields > BLAZE_MAX_FIELDS && after.fields >= before.fields)
        return bz_error_set(error, BLAZE_ELIMIT,
            "the record would have %zu fields: the limit is %d", after.fields, BLAZE_MAX_FIELDS);
    if (after.bytes > BLAZE_MAX_DOCUMENT && after.bytes >= before.bytes)
        return bz_error_set(error, BLAZE_ELIMIT,
            "the record would have %zu bytes: the limit is 16 MiB", after.bytes);
    return 0;
}

int bz_write_record(struct bz_db_txn *txn, struct bz_txn_collection *collection, const blaze_id *id,
    const struct bz_stored *old_stored, const struct bz_rec *old, struct bz_rec *rec,
    struct bz_origin origin, blaze_error *error)
{
    struct face before = {0}, after;
    uint64_t position = txn->state.position + 1;
    int rc = old == NULL ? 0 : face_of(txn, id, old, &before);
    if (rc == 0 && !bz_rec_is_simple(rec) && !txn->db->identity.blind)
        rc = bz_rec_trim(&txn->arena, rec);
    if (rc == 0)
        rc = encode(txn, rec, position);
    if (rc != 0)
        return bz_error_code(error, bz_txn_result(txn, rc));
    if (origin.node == txn->state.self) {
        rc = check_extent(txn, old, rec, error);
        if (rc != 0)
            return rc;
    }
    rc = face_of(txn, id, rec, &after);
    if (rc != 0)
        return bz_error_code(error, bz_txn_result(txn, rc));

    struct bz_log_entry entry = {
        .position = position,
        .collection = collection->number,
        .id = *id,
        .origin = origin.node,
        .subsumed = origin.subsumed,
        .untold = origin.untold,
        .dead = !after.alive,
    };
    /* The indexes first: the old state may lie in the value that the next put replaces. */
    rc = bz_index_update(
        txn, collection, id, before.alive ? old : NULL, after.alive ? rec : NULL, error);
    if (rc == 0)
        rc = write_all(txn, &before, &after, &entry, old == NULL ? 0 : old_stored->position, error);
    if (rc == 0)
        rc = bz_illegible_settle(txn, collection->number, id, &rec->rvv, error);
    if (rc != 0) {
        txn->failed = true; /* half a change is in the transaction */
        return rc;
    }
    count(txn, collection, &before, &after);
    txn->state.position = position;
    txn->changed = true;
    return 0;
}

int bz_drop_record(struct bz_db_txn *txn, struct bz_txn_collection *collection, const blaze_id *id,
    const struct bz_stored *stored, const struct bz_rec *rec, blaze_error *error)
{
    struct face before, after = {0};
    uint8_t key_bytes[BZ_RECORD_KEY_SIZE];
    struct bz_bytes key = bz_record_key(key_bytes, collection->number, id);
    uint64_t position = stored->position;
    int rc = face_of(txn, id, rec, &before);
    if (rc != 0)
        return bz_error_code(error, bz_txn_result(txn, rc));
    rc = bz_index_update(txn, collection, id, before.alive ? rec : NULL, NULL, error);
    if (rc == 0)
        rc = write_conflict(txn, key, &before, &after, error);
    if (rc == 0)
        rc = bz_txn_delete(txn->txn, BZ_MAP_RECORDS, key, error);
    if (rc == 0)
        rc = bz_log_erase(txn->txn, position, error);
    if (rc == 0 && before.dead)
        rc = bz_dead_store(txn->txn, position, false, error);
    if (rc != 0) {
        txn->failed = true;
        return rc;
    }
    count(txn, collection, &before, &after);
    txn->changed = true;
    return 0;
}

/* ---- the local verbs ---- */

/* A record that a verb is about to change. */
struct target {
    struct bz_txn_collection *collection;
    const blaze_id *id;
    bool found;
    bool alive;
    struct bz_stored stored;
    struct bz_rec rec; /* decoded if found */
};

/* Finds the record; *number is the collection's, or there is none yet. */
static int target_load(struct bz_db_txn *txn, uint32_t number, const blaze_id *id,
    struct target *target, blaze_error *error)
{
    *target = (struct target){.id = id};
    int rc = bz_txn_load(
        txn, number, id, &target->collection, &target->stored, &target->rec, &target->found, error);
    if (rc != 0 || !target->found)
        return rc;
    if (bz_rec_check_kinds(&target->rec) != 0)
        return bz_kind_unknown(error);
    struct bz_nodes nodes = bz_catalog_nodes(txn->db->catalog);
    target->alive = bz_rec_is_simple(&target->rec) || bz_rec_alive(&target->rec, &nodes);
    return 0;
}

static int no_record(const blaze_id *id, blaze_error *error)
{
    char text[BLAZE_ID_TEXT_SIZE];
    return bz_error_set(error, BLAZE_ENOTFOUND, "there is no record %s", blaze_id_format(id, text));
}

/* The next write of this node; it counts once it is stored. */
static struct bz_write next_write(struct bz_db_txn *txn, bool alive, struct bz_bytes body)
{
    struct bz_db *db = txn->db;
    uint64_t stamp = txn->state.stamp;
    return (struct bz_write){
        .dot = {txn->state.self, txn->state.seq + 1},
        .stamp = bz_clock_tick(&stamp, db->wall_ms(db->context)),
        .arrived = txn->state.position + 1,
        .role = db->identity.role,
        .alive = alive,
        .body = body,
    };
}

static int store_write(struct bz_db_txn *txn, const struct target *target,
    const struct bz_write *write, struct bz_rec *rec, blaze_error *error)
{
    int rc = bz_write_record(txn, target->collection, target->id, &target->stored,
        target->found ? &target->rec : NULL, rec, (struct bz_origin){.node = txn->state.self},
        error);
    if (rc == 0) {
        txn->state.seq = write->dot.seq;
        if (txn->state.stamp < write->stamp)
            txn->state.stamp = write->stamp;
    }
    return rc;
}

/* Encodes a document for this database into txn->body. */
static int intern(struct bz_db_txn *txn, blaze_doc *document, bool *unset, blaze_error *error)
{
    bz_buf_clear(&txn->body);
    int rc = bz_doc_intern_built(&txn->body, document, bz_catalog_names(txn->db->catalog), unset);
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

/* Encodes a whole document: it has nothing to unset. */
static int intern_whole(struct bz_db_txn *txn, blaze_doc *document, blaze_error *error)
{
    bool unset = false;
    int rc = intern(txn, document, &unset, error);
    if (rc == 0 && unset)
        return bz_error_set(
            error, BLAZE_EINVAL, "a field can be unset in an update only, not in a whole document");
    return rc;
}

/* Whether a field of an update sets a value. */
static bool is_set(void *context, const struct bz_raw_field *field)
{
    (void)context;
    return !bz_raw_is_unset(field);
}

/* Splits an update into the fields that it names and the document of those that it sets, both in
 * the arena or in txn->body. */
static int split_update(struct bz_db_txn *txn, blaze_doc *document, uint32_t **fields,
    uint32_t *count, struct bz_bytes *body, blaze_error *error)
{
    bool unset = false;
    int rc = intern(txn, document, &unset, error);
    if (rc != 0)
        return rc;
    *body = bz_buf_bytes(&txn->body);
    *count = 0;
    *fields = bz_arena_alloc(&txn->arena, (field_count(txn, *body) + 1) * sizeof **fields);
    if (*fields == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    struct bz_doc_iter it;
    struct bz_raw_field field;
    bz_doc_iter_init(&it, *body, NULL);
    while (bz_doc_iter_raw(&it, &field) == 0)
        (*fields)[(*count)++] = field.id;
    if (unset)
        rc = bz_doc_select(&txn->arena, *body, is_set, NULL, body, NULL);
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

uint64_t bz_id_made_at(const blaze_id *id)
{
    return (id->bytes[6] & 0xf0) == 0x70 ? bz_load64be(id->bytes) & ~(uint64_t)0xffff : 0;
}

/* A record of this id may have been collected here, while others still have it: they must not take
 * for a sibling what this write has replaced. An id that is younger than all that was ever
 * collected is spared that. *any: something was collected at all. */
static int supersede_collected(
    struct bz_db_txn *txn, const blaze_id *id, struct bz_rec *rec, bool *any, blaze_error *error)
{
    struct bz_purged purged;
    struct bz_vv own;
    int rc = bz_purged_load(txn->view, &txn->arena, &purged, error);
    *any = rc == 0 && purged.count > 0;
    if (rc != 0 || purged.vv.count == 0 || bz_id_made_at(id) > purged.stamp)
        return rc;
    rc = bz_version_vector(txn->view, txn->state.self, txn->state.seq, &txn->arena, &own, error);
    if (rc == 0)
        rc = bz_collected_here(txn->view, &txn->arena, &own, &purged, error);
    if (rc == 0)
        rc = bz_vv_max(&txn->arena, &rec->rvv, &purged.vv, &rec->rvv);
    return rc == BLAZE_ENOMEM ? bz_error_code(error, rc) : rc;
}

static int may_be_left(struct bz_db_txn *txn, bool collected, bool *out, blaze_error *error)
{
    int rc = txn->looked_left ? 0 : bz_scope_is_set(txn->view, &txn->left, error);
    if (rc == 0 && !txn->looked_left && !txn->left && collected)
        rc = bz_compared_is(txn->view, &txn->left, error);
    txn->looked_left = rc == 0;
    *out = txn->left;
    return rc;
}

/* What was here of the same id, and was let go of with writes of this node (G5 in scoped.c), or of
 * which our version vector does not tell yet (reconcile.c). */
static int supersede_left(struct bz_db_txn *txn, const struct target *target, bool collected,
    struct bz_rec *rec, bool *left, blaze_error *error)
{
    struct bz_vv had;
    bool may = false;
    int rc = may_be_left(txn, collected, &may, error);
    *left = false;
    if (rc != 0 || !may)
        return rc;
    rc = bz_left_load(txn->view, &txn->arena, target->collection->number, target->id, &had, error);
    if (rc != 0 || had.count == 0 || BZ_MUTANT(LEFT_UNSEEN))
        return rc;
    *left = true;
    rc = bz_vv_max(&txn->arena, &rec->rvv, &had, &rec->rvv);
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

/* What came of it and nobody can read: see illegible.c. */
static int supersede_illegible(
    struct bz_db_txn *txn, const struct target *target, struct bz_rec *rec, blaze_error *error)
{
    struct bz_vv dots;
    int rc = bz_illegible_dots(txn, target->collection->number, target->id, &dots, error);
    if (rc != 0 || dots.count == 0)
        return rc;
    rc = bz_vv_max(&txn->arena, &rec->rvv, &dots, &rec->rvv);
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

static int put_whole(
    struct bz_db_txn *txn, struct target *target, struct bz_bytes body, blaze_error *error)
{
    bool left = false, collected = false;
    struct bz_write write = next_write(txn, true, body);
    struct bz_rec rec;
    int rc = bz_rec_put(&txn->arena, target->found ? &target->rec : NULL, &write, &rec);
    if (rc != 0)
        return bz_error_code(error, rc);
    if (!target->found)
        rc = supersede_collected(txn, target->id, &rec, &collected, error);
    if (rc == 0 && !target->found)
        rc = supersede_left(txn, target, collected, &rec, &left, error);
    if (rc == 0)
        rc = supersede_illegible(txn, target, &rec, error);
    if (rc == 0)
        rc = store_write(txn, target, &write, &rec, error);
    return rc == 0 && left ? bz_left_erase(txn, target->collection->number, target->id, error) : rc;
}

/* insert and put: the collection is made where there is none. */
static int write_whole(struct bz_db_txn *txn, struct bz_bytes collection, const blaze_id *id,
    blaze_doc *document, bool insert, blaze_error *error)
{
    struct target target;
    uint32_t number = 0;
    int rc = bz_db_readable(txn->db, error);
    if (rc == 0)
        rc = intern_whole(txn, document, error);
    if (rc == 0)
        rc = bz_catalog_add_collection(txn->db->catalog, collection, &number, error);
    if (rc == 0)
        rc = target_load(txn, number, id, &target, error);
    if (rc != 0)
        return rc;
    if (insert && target.alive) {
        char text[BLAZE_ID_TEXT_SIZE];
        return bz_error_set(
            error, BLAZE_EEXIST, "there is a record %s already", blaze_id_format(id, text));
    }
    return put_whole(txn, &target, bz_buf_bytes(&txn->body), error);
}

int bz_db_insert(struct bz_db_txn *txn, struct bz_bytes collection, const blaze_id *id,
    blaze_doc *document, blaze_error *error)
{
    int rc = bz_txn_usable(txn, error);
    return rc != 0 ? rc
                   : bz_txn_result(txn, write_whole(txn, collection, id, document, true, error));
}

int bz_db_put(struct bz_db_txn *txn, struct bz_bytes collection, const blaze_id *id,
    blaze_doc *document, blaze_error *error)
{
    int rc = bz_txn_usable(txn, error);
    return rc != 0 ? rc
                   : bz_txn_result(txn, write_whole(txn, collection, id, document, false, error));
}

static int update_fields(struct bz_db_txn *txn, struct bz_bytes collection, const blaze_id *id,
    blaze_doc *document, bool insert, blaze_error *error)
{
    struct target target = {0};
    uint32_t number = 0, *fields = NULL, field_count = 0;
    struct bz_bytes body;
    bool known = bz_catalog_collection(txn->db->catalog, collection, &number) == 0;
    int rc = bz_db_readable(txn->db, error);
    if (rc == 0 && known)
        rc = target_load(txn, number, id, &target, error);
    if (rc != 0)
        return rc;
    if (!target.alive && !insert)
        return no_record(id, error);
    rc = split_update(txn, document, &fields, &field_count, &body, error);
    if (rc == 0 && !known) {
        rc = bz_catalog_add_collection(txn->db->catalog, collection, &number, error);
        if (rc == 0)
            rc = bz_txn_collection_load(txn, number, &target.collection, error);
        target.id = id;
    }
    if (rc != 0 || (target.alive && field_count == 0))
        return rc;
    if (!target.alive)
        return put_whole(txn, &target, body, error);

    struct bz_write write = next_write(txn, true, body);
    struct bz_rec rec;
    rc = bz_rec_update(&txn->arena, &target.rec, &write, fields, field_count, &rec);
    if (rc == BLAZE_ELIMIT)
        return bz_error_set(error, rc,
            "the record has had too many different fields since it was last written whole: put it");
    if (rc != 0)
        return bz_error_code(error, rc);
    return store_write(txn, &target, &write, &rec, error);
}

int bz_db_update(struct bz_db_txn *txn, struct bz_bytes collection, const blaze_id *id,
    blaze_doc *fields, blaze_error *error)
{
    int rc = bz_txn_usable(txn, error);
    return rc != 0 ? rc
                   : bz_txn_result(txn, update_fields(txn, collection, id, fields, false, error));
}

int bz_db_upsert(struct bz_db_txn *txn, struct bz_bytes collection, const blaze_id *id,
    blaze_doc *fields, blaze_error *error)
{
    int rc = bz_txn_usable(txn, error);
    return rc != 0 ? rc
                   : bz_txn_result(txn, update_fields(txn, collection, id, fields, true, error));
}

int bz_write_settled(struct bz_db_txn *txn, uint32_t collection, const blaze_id *id,
    blaze_doc *values, struct bz_claim claim, blaze_error *error)
{
    struct target target;
    uint32_t *fields = NULL, field_count = 0;
    struct bz_bytes body;
    struct bz_rec rec;
    int rc = target_load(txn, collection, id, &target, error);
    if (rc == 0 && !target.alive)
        return BLAZE_ENOTFOUND;
    if (rc == 0)
        rc = split_update(txn, values, &fields, &field_count, &body, error);
    if (rc != 0)
        return bz_txn_result(txn, rc);
    struct bz_write write = next_write(txn, true, body);
    write.resolved = true;
    if (!BZ_MUTANT(SETTLED_NOW)) {
        write.stamp = claim.stamp;
        write.role = claim.role;
    }
    rc = bz_rec_resolve(&txn->arena, &target.rec, &write, fields, field_count, &rec);
    if (rc != 0)
        return bz_txn_result(txn, bz_error_code(error, rc));
    return bz_txn_result(txn, store_write(txn, &target, &write, &rec, error));
}

/* BLAZE_ENOTFOUND, without words, for one that is not visible. */
static int delete_one(
    struct bz_db_txn *txn, uint32_t collection, const blaze_id *id, blaze_error *error)
{
    struct target target;
    int rc = target_load(txn, collection, id, &target, error);
    if (rc != 0)
        return rc;
    if (!target.alive)
        return BLAZE_ENOTFOUND;
    struct bz_write write = next_write(txn, false, bz_bytes(NULL, 0));
    struct bz_rec rec;
    rc = bz_rec_delete(&txn->arena, &target.rec, &write, &rec);
    if (rc != 0)
        return bz_error_code(error, rc);
    return store_write(txn, &target, &write, &rec, error);
}

/* *known: there is such a conflict. */
static int settle_life(struct bz_db_txn *txn, uint32_t collection, const blaze_id *id, bool keep,
    bool *known, blaze_error *error)
{
    struct target target;
    struct bz_rec rec;
    int rc = target_load(txn, collection, id, &target, error);
    *known = rc == 0 && target.found && bz_rec_life_differs(&target.rec);
    if (rc != 0 || !*known)
        return rc;
    struct bz_write write = next_write(txn, keep, bz_bytes(NULL, 0));
    rc = keep ? bz_rec_update(&txn->arena, &target.rec, &write, NULL, 0, &rec)
              : bz_rec_delete(&txn->arena, &target.rec, &write, &rec);
    if (rc != 0)
        return bz_error_code(error, rc);
    return store_write(txn, &target, &write, &rec, error);
}

int bz_db_settle_life(struct bz_db_txn *txn, struct bz_bytes collection, const blaze_id *id,
    bool keep, blaze_error *error)
{
    uint32_t number = 0;
    bool known = false;
    int rc = bz_txn_usable(txn, error);
    if (rc == 0)
        rc = bz_db_readable(txn->db, error);
    if (rc != 0)
        return rc;
    if (bz_catalog_collection(txn->db->catalog, collection, &number) == 0)
        rc = settle_life(txn, number, id, keep, &known, error);
    if (rc == 0 && !known)
        return bz_error_set(error, BLAZE_ENOTFOUND,
            "nobody has deleted the record while somebody else wrote to it");
    return bz_txn_result(txn, rc);
}

int bz_erase_record(struct bz_db_txn *txn, struct bz_txn_collection *collection, const blaze_id *id,
    const struct bz_stored *stored, const struct bz_rec *rec, blaze_error *error)
{
    uint64_t stamp = 0;
    for (uint32_t i = 0; i < rec->write_count; i++)
        stamp = rec->writes[i].stamp > stamp ? rec->writes[i].stamp : stamp;
    int rc = bz_drop_record(txn, collection, id, stored, rec, error);
    if (rc == 0)
        rc = bz_purged_raise(txn, &rec->rvv, stamp, 1, error);
    txn->failed |= rc != 0;
    return rc;
}

/* The base of a record that wants one; its body is in txn->body. */
static int make_base(struct bz_db_txn *txn, const struct bz_rec *rec, const struct bz_vv *gone,
    struct bz_write *base, blaze_error *error)
{
    struct bz_nodes nodes = bz_catalog_nodes(txn->db->catalog);
    *base = next_write(txn, true, bz_bytes(NULL, 0));
    base->role = BZ_ROLE_CLIENT;
    bz_buf_clear(&txn->body);
    int rc = bz_rec_base(&txn->arena, rec, gone, &nodes, &txn->body, &base->stamp);
    base->body = bz_buf_bytes(&txn->body);
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

int bz_write_outlived(struct bz_db_txn *txn, uint32_t collection, const blaze_id *id,
    enum bz_rec_outliving as, const struct bz_standing *standing, blaze_error *error)
{
    struct target target;
    struct bz_write base;
    struct bz_rec rec;
    bool based = as == BZ_REC_WANTS_BASE;
    int rc = target_load(txn, collection, id, &target, error);
    if (rc == 0 && based)
        rc = make_base(txn, &target.rec, &standing->has, &base, error);
    if (rc != 0)
        return rc;
    rc = bz_rec_outlive(&txn->arena, &target.rec, &standing->has, &standing->collected,
        based ? &base : NULL, txn->state.position + 1, &rec);
    if (rc != 0)
        return bz_error_code(error, rc);
    rc = bz_write_record(txn, target.collection, id, &target.stored, &target.rec, &rec,
        (struct bz_origin){.node = txn->state.self, .untold = true}, error);
    if (rc == 0 && based)
        txn->state.seq = base.dot.seq;
    return rc;
}

int bz_db_delete(
    struct bz_db_txn *txn, struct bz_bytes collection, const blaze_id *id, blaze_error *error)
{
    uint32_t number = 0;
    int rc = bz_txn_usable(txn, error);
    if (rc == 0)
        rc = bz_db_readable(txn->db, error);
    if (rc != 0)
        return rc;
    rc = bz_catalog_collection(txn->db->catalog, collection, &number);
    if (rc == 0)
        rc = delete_one(txn, number, id, error);
    return rc == BLAZE_ENOTFOUND ? no_record(id, error) : bz_txn_result(txn, rc);
}

/* Deletes the records under a cursor until it leaves the collection. */
static int delete_from(struct bz_db_txn *txn, uint32_t collection, struct bz_cursor *cursor,
    uint64_t *deleted, blaze_error *error)
{
    static const blaze_id first;
    uint8_t key[BZ_RECORD_KEY_SIZE];
    int rc = bz_cursor_seek(cursor, bz_record_key(key, collection, &first), error);
    while (rc == 0) {
        struct bz_bytes found = bz_cursor_key(cursor);
        blaze_id id;
        if (found.size != BZ_RECORD_KEY_SIZE || bz_load32be(found.data) != collection)
            return 0;
        memcpy(&id, found.data + 4, sizeof id);
        rc = delete_one(txn, collection, &id, error);
        if (rc == 0)
            ++*deleted;
        if (rc == 0 || rc == BLAZE_ENOTFOUND)
            rc = bz_cursor_next(cursor, error);
    }
    return rc == BLAZE_END ? 0 : rc;
}

int bz_db_delete_all(
    struct bz_db_txn *txn, struct bz_bytes collection, uint64_t *deleted, blaze_error *error)
{
    struct bz_cursor *cursor = NULL;
    uint32_t number = 0;
    uint64_t n = 0;
    int rc = bz_txn_usable(txn, error);
    if (rc == 0)
        rc = bz_db_readable(txn->db, error);
    if (rc != 0)
        return rc;
    if (bz_catalog_collection(txn->db->catalog, collection, &number) == 0) {
        rc = bz_cursor_open(txn->view, BZ_MAP_RECORDS, &cursor, error);
        if (rc == 0)
            rc = delete_from(txn, number, cursor, &n, error);
        bz_cursor_close(cursor);
        if (rc != 0)
            txn->failed = true; /* some are deleted, some are not */
    }
    if (rc == 0 && deleted != NULL)
        *deleted = n;
    return rc;
}

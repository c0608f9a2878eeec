/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Settling conflicts: by the resolver of their collection, or else by its policy.
 *
 * It is done by writing, never in a merge: a settled value is a write of this node that has seen
 * the siblings, and travels as any write. A batch of records is read, with no lock held while a
 * resolver thinks about it; then all is written in one transaction, except to records that have
 * changed meanwhile: whatever changed them has an entry in the change log and comes up again.
 *
 * That several nodes settle at the same time ends, whatever they choose:
 *
 *   S1  a node settles a write that a user made at most once, since it has then seen it;
 *   S2  a conflict among settled writes alone is settled by the one of their writers with the
 *       least id, and by nobody else.
 *
 * By S1 there are only so many settled writes that took part of users' writes away. Of the others,
 * by S2, the node with the greatest id makes none; the next makes at most one for each of that
 * node's, which are finite in number; and so on down to the least. What is asked for expressly
 * (bz_db_settle()) does not heed S2: it is one pass.
 */

#include "db/db_priv.h"

#include "base/alloc.h"

#include <assert.h>

#define BATCH_RECORDS 64u
#define BATCH_BYTES   (4u << 20) /* of records, as they are stored */

/* One write to come. Those of a record follow each other. */
struct settled {
    uint32_t collection;
    blaze_id id;
    uint64_t position;
    bool first; /* of its record */
    struct bz_claim claim;
    blaze_doc *values;
};

struct batch {
    struct bz_db *db;
    const struct bz_settle *expressly; /* asked for: S2 does not bind; NULL: the standing settler */
    struct settled *list;
    size_t count, capacity;
    size_t records, bytes;
    uint64_t settled; /* records written to, in all batches */
    uint64_t unreadable;
    int failure; /* of the first that cannot be read, if it is asked for expressly; 0: none */
    blaze_error first;
};

static void batch_clear(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        blaze_doc_free(batch->list[i].values);
    batch->count = batch->records = batch->bytes = 0;
}

static void batch_release(struct batch *batch)
{
    batch_clear(batch);
    bz_free(batch->list);
}

static int push(struct batch *batch, const struct settled *settled)
{
    if (batch->count == batch->capacity) {
        size_t capacity = batch->capacity == 0 ? 16 : batch->capacity * 2;
        struct settled *grown = bz_realloc(batch->list, capacity * sizeof *grown);
        if (grown == NULL)
            return BLAZE_ENOMEM;
        batch->list = grown;
        batch->capacity = capacity;
    }
    batch->list[batch->count++] = *settled;
    return 0;
}

/* ---- deciding ---- */

/* S2. */
static bool is_ours(const struct batch *batch, const struct bz_conflict *conflict)
{
    const blaze_id *self = &batch->db->identity.node, *least = &conflict->siblings[0].node;
    for (uint32_t i = 0; i < conflict->count; i++) {
        if (!conflict->siblings[i].resolved || batch->expressly || BZ_MUTANT(SETTLES_OTHERS))
            return true;
        if (memcmp(&conflict->siblings[i].node, least, sizeof *least) < 0)
            least = &conflict->siblings[i].node;
    }
    return memcmp(self, least, sizeof *self) == 0;
}

static bool is_wanted(const struct batch *batch, const struct bz_conflict *conflict)
{
    return batch->expressly == NULL || batch->expressly->field.size == 0 ||
           bz_bytes_equal(batch->expressly->field, conflict->field);
}

/* A field that has been decided on. */
struct decision {
    char name[BLAZE_MAX_NAME + 1];
    struct bz_claim claim;
    bool made;
};

static void name_of(const struct bz_conflict *conflict, char out[BLAZE_MAX_NAME + 1])
{
    assert(conflict->field.size <= BLAZE_MAX_NAME);
    memcpy(out, conflict->field.data, conflict->field.size);
    out[conflict->field.size] = '\0';
}

static int decide_by_policy(struct bz_read *read, enum bz_policy given,
    const struct bz_conflict *conflict, struct decision *decision, blaze_doc *values,
    blaze_error *error)
{
    enum bz_policy policy;
    int rc = 0;
    if (given != BZ_POLICY_UNSET)
        policy = given;
    else
        rc = bz_policy_load(read->view, conflict->collection, conflict->field, &policy, error);
    if (rc != 0 || policy == BZ_POLICY_UNSET || policy == BZ_POLICY_NONE)
        return rc;
    rc = bz_policy_choose(policy, conflict, decision->name, values, &decision->claim);
    decision->made = rc == 0;
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

static int decide_by_call(const struct bz_resolver *resolver, const struct bz_conflict *fields,
    uint32_t count, struct decision *decisions, blaze_doc *values, blaze_error *error)
{
    int rc = bz_resolver_call(resolver, fields, count, values);
    if (rc != 0) {
        blaze_doc_clear(values);
        return rc == BLAZE_ENOMEM ? bz_error_code(error, rc) : 0;
    }
    rc = blaze_doc_check(values);
    if (rc != 0) {
        blaze_doc_clear(values); /* not a document: as if it had given nothing */
        return rc == BLAZE_ENOMEM ? bz_error_code(error, rc) : 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        decisions[i].made = bz_doc_has(values, fields[i].field);
        decisions[i].claim = bz_claim_of(&fields[i]);
    }
    return 0;
}

static int decide(struct batch *batch, struct bz_read *read, const struct bz_conflict *fields,
    uint32_t count, struct decision *decisions, blaze_doc *values, blaze_error *error)
{
    enum bz_policy given = batch->expressly != NULL ? batch->expressly->policy : BZ_POLICY_UNSET;
    struct bz_resolver *resolver =
        given == BZ_POLICY_UNSET ? bz_resolver_take(batch->db, fields[0].collection) : NULL;
    if (resolver != NULL) {
        int rc = batch->expressly
                     ? 0 /* it is called on the observers' thread only */
                     : decide_by_call(resolver, fields, count, decisions, values, error);
        bz_resolver_give(batch->db, resolver);
        return rc;
    }
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < count; i++)
        rc = decide_by_policy(read, given, &fields[i], &decisions[i], values, error);
    return rc;
}

/* Moves the decisions with the claim of the first into a document of their own. */
static int take_group(const blaze_value *values, struct decision *decisions, uint32_t first,
    uint32_t count, blaze_doc **out)
{
    const struct bz_claim claim = decisions[first].claim;
    blaze_doc *doc = NULL;
    int rc = blaze_doc_new(&doc);
    for (uint32_t i = first; rc == 0 && i < count; i++) {
        struct decision *d = &decisions[i];
        blaze_value value;
        if (!d->made || d->claim.stamp != claim.stamp || d->claim.role != claim.role)
            continue;
        d->made = false;
        rc = blaze_value_field(values, d->name, &value);
        if (rc == 0)
            rc = value.type == BZ_TYPE_UNSET ? blaze_doc_add_unset(doc, d->name)
                                             : blaze_doc_add_value(doc, d->name, &value);
    }
    if (rc != 0)
        blaze_doc_free(doc);
    else
        *out = doc;
    return rc;
}

/* One write for each claim: fields of one winner stay together. */
static int plan(struct batch *batch, const struct bz_record_conflicts *record,
    struct decision *decisions, uint32_t count, blaze_doc *values, blaze_error *error)
{
    blaze_value map;
    int rc = blaze_doc_value(values, &map);
    bool first = true;
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        if (!decisions[i].made)
            continue;
        struct settled settled = {.collection = record->collection,
            .id = record->id,
            .position = record->position,
            .first = first,
            .claim = decisions[i].claim};
        rc = take_group(&map, decisions, i, count, &settled.values);
        if (rc == 0 && (rc = push(batch, &settled)) != 0)
            blaze_doc_free(settled.values);
        first = false;
    }
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

/* Looks at a record that is in conflict. */
static int consider(struct batch *batch, struct bz_read *read, uint32_t collection,
    const blaze_id *id, blaze_error *error)
{
    struct bz_record_conflicts record;
    int rc = bz_conflicts_load(read, collection, id, &record, error);
    if (rc != 0 || record.count == 0)
        return rc;
    struct bz_conflict *fields = bz_arena_alloc(&read->arena, record.count * sizeof *fields);
    struct decision *decisions = bz_malloc(record.count * sizeof *decisions);
    blaze_doc *values = NULL;
    uint32_t count = 0;
    rc = fields == NULL || decisions == NULL ? BLAZE_ENOMEM : blaze_doc_new(&values);
    if (rc != 0) {
        bz_free(decisions);
        return bz_error_code(error, rc);
    }
    for (uint32_t i = 0; i < record.count; i++) {
        if (!is_wanted(batch, &record.fields[i]) || !is_ours(batch, &record.fields[i]))
            continue;
        decisions[count].made = false;
        name_of(&record.fields[i], decisions[count].name);
        fields[count++] = record.fields[i];
    }
    if (count > 0)
        rc = decide(batch, read, fields, count, decisions, values, error);
    if (rc == 0)
        rc = plan(batch, &record, decisions, count, values, error);
    batch->records++;
    batch->bytes += record.size;
    blaze_doc_free(values);
    bz_free(decisions);
    return rc;
}

/* A record that cannot be read stays in conflict and holds up no other: whoever asked expressly is
 * told of it in the end, and the standing settler counts it. */
static int consider_or_skip(struct batch *batch, struct bz_read *read, uint32_t collection,
    const blaze_id *id, blaze_error *error)
{
    blaze_error why = {0};
    int rc = consider(batch, read, collection, id, &why);
    if (bz_is_unreadable(rc)) {
        if (batch->unreadable++ == 0) {
            batch->failure = rc;
            batch->first = why;
        }
        return 0;
    }
    if (rc != 0 && error != NULL)
        *error = why;
    return rc;
}

/* ---- writing ---- */

static int write_planned(struct batch *batch, struct bz_db_txn *txn, blaze_error *error)
{
    bool same = false, counted = false;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < batch->count; i++) {
        const struct settled *s = &batch->list[i];
        if (s->first) {
            struct bz_stored stored;
            rc = bz_stored_load(txn->view, s->collection, &s->id, &stored, error);
            same = rc == 0 && (stored.position == s->position || BZ_MUTANT(SETTLES_UNSEEN));
            counted = false;
        }
        if (rc == 0 && same)
            rc = bz_write_settled(txn, s->collection, &s->id, s->values, s->claim, error);
        if (rc == 0 && same && !counted) {
            batch->settled++;
            counted = true;
        }
        if ((rc == BLAZE_ELIMIT || rc == BLAZE_ENOTFOUND) && !txn->failed)
            rc = 0; /* it stays in conflict */
    }
    return rc;
}

/* Writes what is planned, and begins anew. */
static int flush(struct batch *batch, blaze_error *error)
{
    struct bz_db_txn *txn = NULL;
    uint64_t settled = batch->settled;
    int rc = batch->count == 0 ? 0 : bz_db_begin(batch->db, &txn, error);
    if (rc == 0 && txn != NULL) {
        rc = write_planned(batch, txn, error);
        if (rc == 0)
            rc = bz_db_commit(txn, batch->db->apply_durability, error);
        else
            bz_db_abort(txn);
    }
    if (rc != 0)
        batch->settled = settled;
    batch_clear(batch);
    return rc;
}

/* ---- passes ---- */

static bool is_full(const struct batch *batch)
{
    return batch->records >= BATCH_RECORDS || batch->bytes >= BATCH_BYTES;
}

/* Considers the records that are listed from `key` on, of one collection or of all, until the batch
 * is full; the next is then to begin at *key. BLAZE_END: there are no more. */
static int fill(struct batch *batch, const uint32_t *collection,
    uint8_t key[BZ_RECORD_KEY_SIZE + 1], size_t *key_size, blaze_error *error)
{
    struct bz_read *read = NULL;
    struct bz_cursor *cursor = NULL;
    int rc = bz_read_begin(batch->db, &read, error);
    if (rc != 0)
        return rc;
    rc = bz_cursor_open(read->view, BZ_MAP_CONFLICTS, &cursor, error);
    if (rc == 0)
        rc = bz_cursor_seek(cursor, bz_bytes(key, *key_size), error);
    while (rc == 0 && !is_full(batch)) {
        struct bz_bytes at = bz_cursor_key(cursor);
        blaze_id id;
        if (at.size != BZ_RECORD_KEY_SIZE) {
            rc = bz_error_set(error, BLAZE_ECORRUPT, "the list of conflicts is corrupt");
            break;
        }
        uint32_t number = bz_load32be(at.data);
        if (collection != NULL && number != *collection) {
            rc = BLAZE_END;
            break;
        }
        memcpy(&id, at.data + 4, sizeof id);
        memcpy(key, at.data, BZ_RECORD_KEY_SIZE);
        key[BZ_RECORD_KEY_SIZE] = 0; /* just after it */
        *key_size = BZ_RECORD_KEY_SIZE + 1;
        rc = consider_or_skip(batch, read, number, &id, error);
        if (rc == 0)
            rc = bz_cursor_next(cursor, error);
    }
    bz_cursor_close(cursor);
    bz_read_end(read);
    return rc;
}

static int settle_listed(struct batch *batch, const uint32_t *collection, blaze_error *error)
{
    uint8_t key[BZ_RECORD_KEY_SIZE + 1] = {0};
    size_t size = 4;
    int rc = 0;
    if (collection != NULL)
        bz_store32be(key, *collection);
    while (rc == 0) {
        rc = fill(batch, collection, key, &size, error);
        int written = rc == 0 || rc == BLAZE_END ? flush(batch, error) : 0;
        rc = written != 0 ? written : rc;
    }
    return rc == BLAZE_END ? 0 : rc;
}

int bz_db_may_settle(const struct bz_db *db, blaze_error *error)
{
    if (db->read_only)
        return bz_error_set(error, BLAZE_EREADONLY, "the database is opened read-only");
    return bz_db_readable(db, error);
}

/* One record, if it is in conflict. */
static int settle_record(
    struct batch *batch, uint32_t collection, const blaze_id *id, blaze_error *error)
{
    struct bz_read *read = NULL;
    int rc = bz_read_begin(batch->db, &read, error);
    if (rc != 0)
        return rc;
    rc = bz_conflicts_listed(read, collection, id, error);
    if (rc == 0)
        rc = consider(batch, read, collection, id, error);
    bz_read_end(read);
    return rc == 0 ? flush(batch, error) : rc == BLAZE_ENOTFOUND ? 0 : rc;
}

int bz_db_settle(
    struct bz_db *db, const struct bz_settle *what, uint64_t *settled, blaze_error *error)
{
    struct batch batch = {.db = db, .expressly = what};
    struct bz_read *read = NULL;
    uint32_t number = 0;
    bool all = what->collection.size == 0;
    int rc = bz_db_may_settle(db, error);
    if (rc == 0)
        rc = bz_read_begin(db, &read, error); /* makes the catalog fresh */
    if (rc != 0)
        return rc;
    bool known = all || bz_catalog_collection(db->catalog, what->collection, &number) == 0;
    bz_read_end(read);
    if (known && what->id != NULL && !all)
        rc = settle_record(&batch, number, what->id, error);
    else if (known)
        rc = settle_listed(&batch, all ? NULL : &number, error);
    if (rc == 0 && batch.failure != 0) {
        rc = batch.failure;
        if (error != NULL)
            *error = batch.first;
    }
    *settled = batch.settled;
    batch_release(&batch);
    return rc;
}

/* ---- for the standing settler ---- */

static int settle_changed(struct batch *batch, const struct bz_event *events, size_t count)
{
    struct bz_read *read = NULL;
    int rc = bz_read_begin(batch->db, &read, NULL);
    if (rc != 0)
        return rc;
    for (size_t i = 0; rc == 0 && i < count && !is_full(batch); i++) {
        uint32_t number;
        rc = bz_catalog_collection(batch->db->catalog, events[i].collection, &number);
        if (rc == 0)
            rc = bz_conflicts_listed(read, number, &events[i].id, NULL);
        rc = rc == 0                 ? consider_or_skip(batch, read, number, &events[i].id, NULL)
             : rc == BLAZE_ENOTFOUND ? 0
                                     : rc;
    }
    bz_read_end(read);
    if (rc == 0 && is_full(batch))
        return settle_listed(batch, NULL, NULL); /* many: all in order */
    return rc == 0 ? flush(batch, NULL) : rc;
}

int bz_db_settle_pass(struct bz_db *db, uint64_t *settled, blaze_error *error)
{
    struct batch batch = {.db = db};
    int rc = settle_listed(&batch, NULL, error);
    if (rc == 0)
        atomic_store(&db->settler.unreadable, batch.unreadable);
    if (settled != NULL)
        *settled = batch.settled;
    batch_release(&batch);
    return rc;
}

uint64_t bz_db_unsettled(const struct bz_db *db)
{
    return atomic_load(&db->settler.unreadable);
}

int bz_settle_changed(struct bz_db *db, const struct bz_event *events, size_t count)
{
    struct batch batch = {.db = db};
    int rc = settle_changed(&batch, events, count);
    if (batch.unreadable > atomic_load(&db->settler.unreadable))
        atomic_store(&db->settler.unreadable, batch.unreadable);
    batch_release(&batch);
    return rc;
}

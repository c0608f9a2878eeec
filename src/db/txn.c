/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Transactions: a transaction of the store, plus what is written once at its end (the state, the
 * counts, what is new in the catalog), which savepoints have to bring back as well.
 *
 * The catalog is shared by all threads, and a transaction adds to it before it is committed. While
 * that goes on (`writing`), and until the outcome of a commit that adds to it is known
 * (`settling`), no reader refreshes it; the next transaction waits for the latter, which costs it
 * the sharing of a sync only where new names were made.
 */

#include "db/db_priv.h"

#include "base/alloc.h"

#include <assert.h>

#define KEEP_MAX (256u << 10) /* bytes of a buffer that is kept for the next transaction */

/* ---- the object ---- */

static void txn_free(struct bz_db_txn *txn)
{
    bz_arena_release(&txn->arena);
    struct bz_buf *bufs[] = {
        &txn->body, &txn->record, &txn->document, &txn->key_before, &txn->key_after};
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++)
        bz_buf_release(bufs[i]);
    bz_read_release(&txn->read);
    bz_free(txn->collections);
    bz_free(txn->marks);
    bz_free(txn->mark_counts);
    bz_free(txn);
}

void bz_txns_free(struct bz_db_txn *txns)
{
    while (txns != NULL) {
        struct bz_db_txn *next = txns->next;
        txn_free(txns);
        txns = next;
    }
}

static struct bz_db_txn *txn_new(struct bz_db *db)
{
    struct bz_db_txn *txn = bz_zalloc(sizeof *txn);
    if (txn == NULL)
        return NULL;
    txn->db = db;
    bz_buf_init(&txn->body, BZ_DOC_MAX);
    bz_buf_init(&txn->record, BZ_STORE_VALUE_MAX);
    bz_buf_init(&txn->document, BZ_DOCUMENT_MAX);
    bz_buf_init(&txn->key_before, BZ_STORE_KEY_MAX);
    bz_buf_init(&txn->key_after, BZ_STORE_KEY_MAX);
    bz_read_init(&txn->read, db);
    txn->read.txn = txn;
    return txn;
}

static struct bz_db_txn *txn_take(struct bz_db *db)
{
    pthread_mutex_lock(&db->lock);
    struct bz_db_txn *txn = db->idle_txns;
    if (txn != NULL)
        db->idle_txns = txn->next;
    pthread_mutex_unlock(&db->lock);
    return txn != NULL ? txn : txn_new(db);
}

static void shrink(struct bz_buf *buf)
{
    if (buf->capacity > KEEP_MAX)
        bz_buf_release(buf);
}

static void collections_drop(struct bz_db_txn *txn, uint32_t from)
{
    for (uint32_t i = from; i < txn->collection_count; i++)
        bz_catalog_indexes_release(txn->db->catalog, txn->collections[i].indexes);
    txn->collection_count = from;
    txn->current = 0;
}

/* Back to the idle ones. The store's transaction is gone. */
static void txn_give(struct bz_db_txn *txn)
{
    struct bz_db *db = txn->db;
    assert(txn->read.rows == 0);
    collections_drop(txn, 0);
    txn->mark_count = 0;
    txn->mark_counts_used = 0;
    bz_arena_reset(&txn->arena);
    struct bz_buf *bufs[] = {&txn->body, &txn->record, &txn->document, &txn->read.document};
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++)
        shrink(bufs[i]);
    txn->txn = NULL;
    txn->view = NULL;
    txn->read.view = NULL;
    txn->read.name = bz_bytes(NULL, 0); /* the catalog may forget it */
    pthread_mutex_lock(&db->lock);
    txn->next = db->idle_txns;
    db->idle_txns = txn;
    db->open--;
    pthread_mutex_unlock(&db->lock);
}

/* ---- beginning ---- */

/* Brings the catalog to where the transaction begins, and keeps readers from refreshing it. */
static int claim_catalog(struct bz_db_txn *txn, bool now, blaze_error *error)
{
    struct bz_db *db = txn->db;
    int rc = 0;
    pthread_mutex_lock(&db->lock);
    while (db->settling && !now)
        pthread_cond_wait(&db->settled, &db->lock);
    if (db->settling)
        rc = bz_error_code(error, BLAZE_EBUSY);
    else if (txn->state.generation != bz_catalog_generation(db->catalog)) {
        rc = bz_catalog_refresh(db->catalog, txn->view, txn->state.generation, error);
        if (rc == 0)
            rc = bz_identity_refresh(db, txn->view, error);
    }
    if (rc == 0) {
        db->writing = true;
        db->open++;
    }
    pthread_mutex_unlock(&db->lock);
    return rc;
}

/* Whether the commit of what a peer has sent needs no sync; see loose.c for the first of those. */
static bool is_loose(const struct bz_db_txn *txn)
{
    return txn->db->apply_durability == BZ_DURABLE_RELAXED && txn->state.loose;
}

static int begin(struct bz_db *db, bool now, struct bz_db_txn **out, blaze_error *error)
{
    if (db->read_only)
        return bz_error_set(error, BLAZE_EREADONLY, "the database is opened read-only");
    struct bz_db_txn *txn = txn_take(db);
    if (txn == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = now ? bz_txn_begin_now(db->store, &txn->txn, error)
                 : bz_txn_begin(db->store, &txn->txn, error);
    if (rc != 0) {
        txn_free(txn);
        return rc;
    }
    txn->view = bz_txn_view(txn->txn);
    rc = bz_state_load(txn->view, &txn->state, error);
    if (rc == 0 && now && !is_loose(txn))
        rc = bz_error_code(error, BLAZE_EBUSY);
    if (rc == 0)
        rc = claim_catalog(txn, now, error);
    if (rc != 0) {
        bz_txn_abort(txn->txn);
        txn_free(txn);
        return rc;
    }
    txn->read.view = txn->view;
    txn->begun = txn->state.position;
    txn->begun_seq = txn->state.seq;
    txn->notes_opening = txn->looked_left = txn->looked_illegible = false;
    txn->changed = false;
    txn->failed = txn->outlived = false;
    *out = txn;
    return 0;
}

int bz_db_begin(struct bz_db *db, struct bz_db_txn **out, blaze_error *error)
{
    return begin(db, false, out, error);
}

int bz_db_begin_now(struct bz_db *db, struct bz_db_txn **out, blaze_error *error)
{
    return begin(db, true, out, error);
}

struct bz_read *bz_db_txn_read(struct bz_db_txn *txn)
{
    return &txn->read;
}

int bz_txn_usable(const struct bz_db_txn *txn, blaze_error *error)
{
    return !txn->failed ? 0
                        : bz_error_set(error, BLAZE_EFAILED,
                              "the transaction failed earlier and can only be aborted");
}

int bz_txn_result(struct bz_db_txn *txn, int code)
{
    if (code == BLAZE_ENOMEM || code == BLAZE_EIO || code == BLAZE_ECORRUPT || code == BLAZE_ENOSPC)
        txn->failed = true;
    return code;
}

/* ---- collections ---- */

static int collections_reserve(struct bz_db_txn *txn)
{
    if (txn->collection_count < txn->collection_capacity)
        return 0;
    uint32_t capacity = txn->collection_capacity == 0 ? 8 : txn->collection_capacity * 2;
    struct bz_txn_collection *grown =
        bz_realloc(txn->collections, capacity * sizeof *txn->collections);
    if (grown == NULL)
        return BLAZE_ENOMEM;
    txn->collections = grown;
    txn->collection_capacity = capacity;
    return 0;
}

int bz_txn_collection_load(
    struct bz_db_txn *txn, uint32_t number, struct bz_txn_collection **out, blaze_error *error)
{
    if (txn->current < txn->collection_count && txn->collections[txn->current].number == number) {
        *out = &txn->collections[txn->current];
        return 0;
    }
    for (uint32_t i = 0; i < txn->collection_count; i++) {
        if (txn->collections[i].number == number) {
            txn->current = i;
            *out = &txn->collections[i];
            return 0;
        }
    }
    struct bz_txn_collection c = {.number = number};
    if (bz_catalog_collection_name(txn->db->catalog, number, &c.name) != 0)
        return bz_error_set(error, BLAZE_EPROTO, "there is no collection %u", (unsigned)number);
    int rc = bz_count_load(txn->view, number, &c.count, error);
    if (rc != 0)
        return rc;
    if (collections_reserve(txn) != 0)
        return bz_error_code(error, BLAZE_ENOMEM);
    c.indexes = bz_catalog_indexes(txn->db->catalog, number);
    txn->current = txn->collection_count++;
    txn->collections[txn->current] = c;
    *out = &txn->collections[txn->current];
    return 0;
}

/* ---- records ---- */

int bz_txn_record_load(struct bz_db_txn *txn, uint32_t collection, const blaze_id *id,
    struct bz_stored *stored, struct bz_rec *rec, bool *found, blaze_error *error)
{
    int rc = bz_stored_load(txn->view, collection, id, stored, error);
    *found = rc == 0;
    if (rc != 0)
        return rc == BLAZE_ENOTFOUND ? 0 : rc;
    /* What is ahead of the log would be ahead of its own next state. */
    if (stored->position > txn->state.position)
        return bz_record_corrupt(error, id);
    return bz_stored_decode(&txn->arena, stored, id, rec, error);
}

int bz_txn_load(struct bz_db_txn *txn, uint32_t collection, const blaze_id *id,
    struct bz_txn_collection **out, struct bz_stored *stored, struct bz_rec *rec, bool *found,
    blaze_error *error)
{
    bz_arena_reset(&txn->arena);
    int rc = bz_txn_collection_load(txn, collection, out, error);
    return rc == 0 ? bz_txn_record_load(txn, collection, id, stored, rec, found, error) : rc;
}

/* ---- savepoints ---- */

static int mark_reserve(struct bz_db_txn *txn)
{
    if (txn->mark_count == txn->mark_capacity) {
        uint32_t capacity = txn->mark_capacity == 0 ? 8 : txn->mark_capacity * 2;
        struct bz_txn_mark *grown = bz_realloc(txn->marks, capacity * sizeof *grown);
        if (grown == NULL)
            return BLAZE_ENOMEM;
        txn->marks = grown;
        txn->mark_capacity = capacity;
    }
    size_t wanted = txn->mark_counts_used + txn->collection_count;
    if (wanted > txn->mark_counts_capacity) {
        uint64_t *grown = bz_realloc(txn->mark_counts, wanted * 2 * sizeof *grown);
        if (grown == NULL)
            return BLAZE_ENOMEM;
        txn->mark_counts = grown;
        txn->mark_counts_capacity = wanted * 2;
    }
    return 0;
}

uint32_t bz_db_savepoint(struct bz_db_txn *txn)
{
    if (mark_reserve(txn) != 0) {
        txn->failed = true;
        return UINT32_MAX;
    }
    txn->marks[txn->mark_count] = (struct bz_txn_mark){
        .store_mark = bz_txn_savepoint(txn->txn),
        .state = txn->state,
        .changed = txn->changed,
        .collection_count = txn->collection_count,
        .counts = txn->mark_counts_used,
    };
    for (uint32_t i = 0; i < txn->collection_count; i++)
        txn->mark_counts[txn->mark_counts_used++] = txn->collections[i].count;
    return txn->mark_count++;
}

int bz_db_rollback_to(struct bz_db_txn *txn, uint32_t savepoint, blaze_error *error)
{
    int rc = bz_txn_usable(txn, error);
    if (rc != 0)
        return rc;
    if (savepoint >= txn->mark_count)
        return bz_error_set(
            error, BLAZE_EINVAL, "there is no savepoint %u any more", (unsigned)savepoint);
    const struct bz_txn_mark *mark = &txn->marks[savepoint];
    rc = bz_txn_rollback_to(txn->txn, mark->store_mark, error);
    if (rc != 0) {
        txn->failed = true;
        return rc;
    }
    txn->state = mark->state;
    txn->changed = mark->changed;
    collections_drop(txn, mark->collection_count);
    for (uint32_t i = 0; i < mark->collection_count; i++)
        txn->collections[i].count = txn->mark_counts[mark->counts + i];
    /* The mark itself stays: one may go back to it again. */
    txn->mark_count = savepoint + 1;
    txn->mark_counts_used = mark->counts + mark->collection_count;
    return 0;
}

/* ---- the end ---- */

void bz_db_abort(struct bz_db_txn *txn)
{
    struct bz_db *db = txn->db;
    /* Before the writer's place is given up: the next one must find the catalog as it is stored. */
    pthread_mutex_lock(&db->lock);
    bz_catalog_rollback(db->catalog);
    db->writing = false;
    pthread_mutex_unlock(&db->lock);
    bz_txn_abort(txn->txn);
    txn_give(txn);
}

/* Writes what a commit writes once. *named: the catalog has something new. */
static int write_end(
    struct bz_db_txn *txn, enum bz_durability *durability, bool *named, blaze_error *error)
{
    uint64_t generation = txn->state.generation;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < txn->collection_count; i++) {
        const struct bz_txn_collection *c = &txn->collections[i];
        if (c->touched)
            rc = bz_count_store(txn->txn, c->number, c->count, error);
    }
    if (rc == 0)
        rc = bz_catalog_flush(txn->db->catalog, txn->txn, &txn->state.generation, error);
    if (rc == 0)
        rc = bz_opening_note(txn, error);
    if (rc == 0)
        rc = bz_loose_begin(txn, durability, error);
    if (rc == 0)
        rc = bz_state_store(txn->txn, &txn->state, error);
    *named = txn->state.generation != generation;
    return rc;
}

/* From here on readers may refresh the catalog again, unless this commit adds to it. */
static void commit_starts(struct bz_db *db, bool named)
{
    pthread_mutex_lock(&db->lock);
    db->settling = named;
    db->writing = false;
    pthread_mutex_unlock(&db->lock);
}

static void commit_ended(struct bz_db *db, bool named, int code)
{
    if (!named)
        return;
    pthread_mutex_lock(&db->lock);
    if (code == 0)
        bz_catalog_committed(db->catalog);
    else
        bz_catalog_rollback(db->catalog);
    db->settling = false;
    pthread_cond_broadcast(&db->settled);
    pthread_mutex_unlock(&db->lock);
}

int bz_db_commit(struct bz_db_txn *txn, enum bz_durability durability, blaze_error *error)
{
    struct bz_db *db = txn->db;
    bool named = false;
    int rc = bz_txn_usable(txn, error);
    if (rc == 0 && txn->changed)
        rc = write_end(txn, &durability, &named, error);
    if (rc != 0 || !txn->changed) {
        bz_db_abort(txn);
        return rc;
    }
    uint64_t position = txn->state.position;
    bool noted = txn->notes_opening;
    commit_starts(db, named);
    rc = bz_txn_commit(txn->txn, durability, error);
    commit_ended(db, named, rc);
    txn_give(txn);
    if (rc == 0 && noted)
        atomic_store(&db->opening_noted, true);
    if (rc == 0)
        bz_db_advance(db, position);
    return rc;
}

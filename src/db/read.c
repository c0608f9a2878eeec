/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reading one consistent state: a snapshot of the store, or a transaction's own.
 *
 * A read is kept for reuse when it ends, with its memory: in the common case, a visible record that
 * one write made, getting it costs the store's lookup and no allocation, and the document is read
 * in place.
 */

#include "db/db_priv.h"

#include "base/alloc.h"

#include <assert.h>

#define KEEP_MAX (256u << 10)

void bz_read_init(struct bz_read *read, struct bz_db *db)
{
    *read = (struct bz_read){.db = db};
    bz_arena_init(&read->arena);
    bz_buf_init(&read->document, BZ_DOCUMENT_MAX);
}

void bz_read_release(struct bz_read *read)
{
    bz_arena_release(&read->arena);
    bz_buf_release(&read->document);
}

/* Where this thread begins to look for an idle read. */
static unsigned home(void)
{
    static atomic_uint threads;
    static _Thread_local unsigned mine;
    if (mine == 0)
        mine = atomic_fetch_add(&threads, 1) + 1;
    return mine;
}

static struct bz_read *read_new(struct bz_db *db)
{
    struct bz_read *read = bz_malloc(sizeof *read);
    if (read != NULL) {
        bz_read_init(read, db);
        atomic_fetch_add(&db->reads, 1);
    }
    return read;
}

static void read_free(struct bz_read *read)
{
    atomic_fetch_sub(&read->db->reads, 1);
    bz_read_release(read);
    bz_free(read);
}

static struct bz_read *read_take(struct bz_db *db)
{
    unsigned first = home();
    for (unsigned i = 0; i < BZ_IDLE_READS; i++) {
        struct bz_idle_read *place = &db->idle_reads[(first + i) % BZ_IDLE_READS];
        struct bz_read *read = atomic_load_explicit(&place->read, memory_order_relaxed);
        if (read != NULL)
            read = atomic_exchange_explicit(&place->read, NULL, memory_order_acquire);
        if (read != NULL)
            return read;
    }
    return read_new(db);
}

static void read_give(struct bz_read *read)
{
    struct bz_db *db = read->db;
    unsigned first = home();
    read->snapshot = NULL;
    read->view = NULL;
    read->state_loaded = false;
    read->name = bz_bytes(NULL, 0);
    bz_arena_reset(&read->arena);
    if (read->document.capacity > KEEP_MAX)
        bz_buf_release(&read->document);
    for (unsigned i = 0; i < BZ_IDLE_READS; i++) {
        struct bz_idle_read *place = &db->idle_reads[(first + i) % BZ_IDLE_READS];
        struct bz_read *none = NULL;
        if (atomic_compare_exchange_strong_explicit(
                &place->read, &none, read, memory_order_release, memory_order_relaxed))
            return;
    }
    read_free(read);
}

void bz_reads_free(struct bz_db *db)
{
    for (unsigned i = 0; i < BZ_IDLE_READS; i++) {
        struct bz_read *read = atomic_exchange(&db->idle_reads[i].read, NULL);
        if (read != NULL)
            read_free(read);
    }
    assert(atomic_load(&db->reads) == 0);
}

static void raise(_Atomic(uint64_t) *to, uint64_t value)
{
    uint64_t now = atomic_load(to);
    while (now < value && !atomic_compare_exchange_weak(to, &now, value))
        ;
}

/* Takes over what other processes added to the catalog, if the snapshot may need it. While a
 * transaction of this process is open the catalog is no older than any snapshot. */
static int freshen(struct bz_read *read, blaze_error *error)
{
    struct bz_db *db = read->db;
    uint64_t lsn = bz_snapshot_lsn(read->snapshot);
    if (lsn <= atomic_load(&db->fresh_lsn))
        return 0;
    const struct bz_state *state = NULL;
    int rc = bz_read_load_state(read, &state, error);
    if (rc != 0)
        return rc;
    if (state->generation > bz_catalog_generation(db->catalog)) {
        pthread_mutex_lock(&db->lock);
        if (!db->writing && !db->settling &&
            state->generation > bz_catalog_generation(db->catalog)) {
            rc = bz_catalog_refresh(db->catalog, read->view, state->generation, error);
            if (rc == 0)
                rc = bz_identity_refresh(db, read->view, error);
        }
        pthread_mutex_unlock(&db->lock);
    }
    if (rc == 0)
        raise(&db->fresh_lsn, lsn);
    return rc;
}

int bz_read_begin(struct bz_db *db, struct bz_read **out, blaze_error *error)
{
    struct bz_read *read = read_take(db);
    if (read == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = bz_snapshot_open(db->store, &read->snapshot, error);
    if (rc != 0) {
        read_give(read);
        return rc;
    }
    read->view = bz_snapshot_view(read->snapshot);
    rc = freshen(read, error);
    if (rc != 0)
        bz_read_end(read);
    else
        *out = read;
    return rc;
}

void bz_read_end(struct bz_read *read)
{
    assert(read->txn == NULL && read->rows == 0);
    bz_snapshot_close(read->snapshot);
    read_give(read);
}

int bz_read_load_state(struct bz_read *read, const struct bz_state **out, blaze_error *error)
{
    if (read->txn != NULL) {
        *out = &read->txn->state;
        return 0;
    }
    if (!read->state_loaded) {
        int rc = bz_state_load(read->view, &read->state, error);
        if (rc != 0)
            return rc;
        read->state_loaded = true;
    }
    *out = &read->state;
    return 0;
}

int bz_read_begin_state(
    struct bz_db *db, struct bz_read **out, const struct bz_state **state, blaze_error *error)
{
    struct bz_read *read = NULL;
    int rc = bz_read_begin(db, &read, error);
    if (rc != 0)
        return rc;
    rc = bz_read_load_state(read, state, error);
    if (rc != 0)
        bz_read_end(read);
    else
        *out = read;
    return rc;
}

/* ---- records ---- */

int bz_read_visible(struct bz_read *read, const struct bz_stored *stored, const blaze_id *id,
    struct bz_visible *out, blaze_error *error)
{
    if (bz_rec_simple_body(stored->record, &out->document))
        return 0;
    struct bz_nodes nodes = bz_catalog_nodes(read->db->catalog);
    out->document = bz_bytes(NULL, 0);
    bz_arena_reset(&read->arena);
    int rc = bz_stored_decode(&read->arena, stored, id, &out->rec, error);
    if (rc == 0 && bz_rec_check_kinds(&out->rec) != 0)
        return bz_kind_unknown(error);
    return rc == 0 && !bz_rec_alive(&out->rec, &nodes) ? BLAZE_ENOTFOUND : rc;
}

int bz_visible_document(
    const struct bz_read *read, struct bz_visible *visible, struct bz_buf *out, blaze_error *error)
{
    struct bz_nodes nodes = bz_catalog_nodes(read->db->catalog);
    if (visible->document.data != NULL)
        return 0;
    bz_buf_clear(out);
    int rc = bz_rec_document(out, &visible->rec, &nodes);
    if (rc != 0)
        return bz_error_code(error, rc);
    visible->document = bz_buf_bytes(out);
    return 0;
}

/* The number of a collection: mostly that of the time before. BLAZE_ENOTFOUND. */
static int find_collection(struct bz_read *read, struct bz_bytes name, uint32_t *number)
{
    if (read->name.data == NULL || !bz_bytes_equal(read->name, name)) {
        int rc = bz_catalog_collection(read->db->catalog, name, &read->collection);
        if (rc == 0)
            rc = bz_catalog_collection_name(read->db->catalog, read->collection, &read->name);
        if (rc != 0) {
            read->name = bz_bytes(NULL, 0);
            return rc;
        }
    }
    *number = read->collection;
    return 0;
}

/* BLAZE_ENOTFOUND, in few words: it is often the answer. */
static int find_record(struct bz_read *read, struct bz_bytes collection, const blaze_id *id,
    struct bz_visible *out, blaze_error *error)
{
    uint32_t number;
    struct bz_stored stored;
    int rc = find_collection(read, collection, &number);
    if (rc == 0)
        rc = bz_stored_load(read->view, number, id, &stored, error);
    if (rc == 0)
        rc = bz_read_visible(read, &stored, id, out, error);
    if (rc == BLAZE_ENOTFOUND && error != NULL) {
        char text[BLAZE_ID_TEXT_SIZE];
        return bz_error_set(error, rc, "there is no record %s", blaze_id_format(id, text));
    }
    return rc;
}

int bz_read_get(struct bz_read *read, struct bz_bytes collection, const blaze_id *id,
    blaze_value *out, blaze_error *error)
{
    struct bz_visible visible;
    int rc = bz_db_readable(read->db, error);
    if (rc == 0)
        rc = find_record(read, collection, id, &visible, error);
    if (rc == 0)
        rc = bz_visible_document(read, &visible, &read->document, error);
    if (rc == 0)
        bz_doc_value(visible.document, bz_catalog_names(read->db->catalog), out);
    return rc;
}

int bz_read_exists(
    struct bz_read *read, struct bz_bytes collection, const blaze_id *id, blaze_error *error)
{
    struct bz_visible visible;
    int rc = bz_db_readable(read->db, error);
    return rc != 0 ? rc : find_record(read, collection, id, &visible, error);
}

static int load_count(struct bz_read *read, uint32_t number, uint64_t *out, blaze_error *error)
{
    for (uint32_t i = 0; read->txn != NULL && i < read->txn->collection_count; i++) {
        if (read->txn->collections[i].number == number) {
            *out = read->txn->collections[i].count;
            return 0;
        }
    }
    return bz_count_load(read->view, number, out, error);
}

int bz_read_count(
    struct bz_read *read, struct bz_bytes collection, uint64_t *out, blaze_error *error)
{
    uint32_t number;
    int rc = bz_db_readable(read->db, error);
    if (rc != 0)
        return rc;
    if (bz_catalog_collection(read->db->catalog, collection, &number) == 0)
        return load_count(read, number, out, error);
    *out = 0;
    return 0;
}

/* Whether a collection has or had records: its number is the first part of a record's key. */
static int has_records(struct bz_cursor *cursor, uint32_t number, blaze_error *error)
{
    uint8_t prefix[4];
    bz_store32be(prefix, number);
    int rc = bz_cursor_seek(cursor, bz_bytes(prefix, sizeof prefix), error);
    if (rc != 0)
        return rc == BLAZE_END ? BLAZE_ENOTFOUND : rc;
    struct bz_bytes key = bz_cursor_key(cursor);
    return memcmp(key.data, prefix, sizeof prefix) == 0 ? 0 : BLAZE_ENOTFOUND;
}

int bz_read_collections(struct bz_read *read,
    int (*each)(void *context, struct bz_bytes name, uint64_t records), void *context,
    blaze_error *error)
{
    struct bz_cursor *cursor = NULL;
    int rc = bz_db_readable(read->db, error);
    if (rc == 0)
        rc = bz_cursor_open(read->view, BZ_MAP_RECORDS, &cursor, error);
    if (rc != 0)
        return rc;
    uint32_t collections = bz_catalog_collections(read->db->catalog);
    for (uint32_t i = 0; rc == 0 && i < collections; i++) {
        struct bz_bytes name;
        uint64_t records = 0;
        if (bz_catalog_collection_name(read->db->catalog, i, &name) != 0)
            break; /* a transaction that added it has just been undone */
        rc = has_records(cursor, i, error);
        if (rc == 0)
            rc = load_count(read, i, &records, error);
        if (rc == 0)
            rc = each(context, name, records);
        else if (rc == BLAZE_ENOTFOUND)
            rc = 0;
    }
    bz_cursor_close(cursor);
    return rc;
}

/* ---- what is kept about them ---- */

int bz_read_state(struct bz_read *read, struct bz_db_state *out, blaze_error *error)
{
    const struct bz_state *state = NULL;
    struct bz_purged purged;
    bz_arena_reset(&read->arena);
    int rc = bz_read_load_state(read, &state, error);
    if (rc == 0)
        rc = bz_purged_load(read->view, &read->arena, &purged, error);
    if (rc != 0)
        return rc;
    *out = (struct bz_db_state){
        .position = state->position,
        .seq = state->seq,
        .records = state->records,
        .dead = state->dead,
        .purged = purged.count,
        .conflicts = state->conflicts,
        .digest = state->digest,
    };
    return 0;
}

int bz_read_beyond(struct bz_read *read, bool *out, blaze_error *error)
{
    bz_arena_reset(&read->arena);
    return bz_beyond_is(read->db, read->view, &read->arena, true, out, error);
}

int bz_read_version(struct bz_read *read,
    int (*each)(void *context, const blaze_id *node, uint64_t seq), void *context,
    blaze_error *error)
{
    const struct bz_state *state = NULL;
    struct bz_vv vv;
    bz_arena_reset(&read->arena);
    int rc = bz_read_load_state(read, &state, error);
    if (rc == 0)
        rc = bz_version_vector(read->view, state->self, state->seq, &read->arena, &vv, error);
    for (uint32_t i = 0; rc == 0 && i < vv.count; i++) {
        blaze_id node;
        if (bz_catalog_node_id(read->db->catalog, vv.entries[i].node, &node) != 0)
            return bz_error_set(error, BLAZE_ECORRUPT, "the version vector has an unknown node");
        rc = each(context, &node, vv.entries[i].seq);
    }
    return rc;
}

int bz_read_peers(struct bz_read *read,
    int (*each)(void *context, const blaze_id *node, const struct bz_peer_state *state),
    void *context, blaze_error *error)
{
    return bz_peer_each(read->view, each, context, error);
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Letting go of records by hand, by their ids or by a filter: see scope.c for what that means. By a
 * filter it goes in steps, each a commit that looks at some records and lets go of those that can
 * go, so that neither memory nor the writer's place is held for all of a collection.
 */

#include "db/db_priv.h"

#include "base/alloc.h"
#include "crdt/scope.h"

#define STEP_ENTRIES 4096u /* looked at in one step */
#define STEP_RECORDS 512u  /* let go of in one */

/* ---- one transaction ---- */

struct evicting {
    struct bz_db_txn *txn;
    struct bz_arena arena; /* of `kept` */
    struct bz_scope_kept kept;
    uint32_t collection;
};

static int begin(
    struct evicting *e, struct bz_db *db, struct bz_bytes collection, blaze_error *error)
{
    int rc = bz_db_readable(db, error);
    if (rc == 0)
        rc = bz_db_begin(db, &e->txn, error);
    if (rc != 0)
        return rc;
    bz_arena_init(&e->arena);
    rc = bz_scope_load(e->txn->view, &e->arena, &e->kept, error);
    if (rc == 0 && (e->kept.generation == 0 || bz_scope_takes_all(e->kept.scope)))
        rc = bz_error_set(error, BLAZE_EPERM,
            "this copy is, or is becoming, one of the whole database: give it a scope before "
            "anything is evicted");
    if (rc == 0 && bz_catalog_collection(db->catalog, collection, &e->collection) != 0)
        rc = bz_error_set(error, BLAZE_ENOTFOUND, "there is no such collection");
    if (rc == 0)
        bz_scope_add_unwritten(db, e->txn->state.self, &e->kept);
    if (rc != 0) {
        bz_db_abort(e->txn);
        bz_arena_release(&e->arena);
    }
    return rc;
}

/* Commits, if nothing failed and something went. */
static int end(struct evicting *e, bool any, int rc, blaze_error *error)
{
    if (rc == 0 && any) {
        /* From now on peers must send complete records, which sessions say when they begin. */
        if (!e->kept.evicted && !bz_scope_filtered(e->kept.scope))
            e->kept.generation = ++e->txn->state.position;
        e->kept.evicted = true;
        rc = bz_scope_store(e->txn->txn, &e->kept, error);
    }
    if (rc == 0 && any)
        rc = bz_db_commit(e->txn, BZ_DURABLE_FULL, error);
    else
        bz_db_abort(e->txn);
    bz_arena_release(&e->arena);
    return rc;
}

static int evict(struct evicting *e, const blaze_id *id, blaze_error *error)
{
    struct bz_db_txn *txn = e->txn;
    struct bz_txn_collection *collection;
    struct bz_stored stored;
    struct bz_rec rec;
    bool there = false;
    char text[BLAZE_ID_TEXT_SIZE];
    int rc = bz_txn_load(txn, e->collection, id, &collection, &stored, &rec, &there, error);
    if (rc != 0)
        return rc;
    if (!there)
        return bz_error_set(
            error, BLAZE_ENOTFOUND, "there is no record %s", blaze_id_format(id, text));
    if (!bz_scope_expendable(txn->state.self, &e->kept, &stored, &rec))
        return bz_error_set(error, BLAZE_EBUSY,
            "record %s was written here and is not known to be anywhere else: sync first",
            blaze_id_format(id, text));
    return bz_scope_let_go(txn, &e->kept, collection, id, &stored, &rec, error);
}

int bz_db_evict(struct bz_db *db, struct bz_bytes collection, const blaze_id *ids, size_t count,
    blaze_error *error)
{
    struct evicting e = {0};
    int rc = begin(&e, db, collection, error);
    if (rc != 0)
        return rc;
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = evict(&e, &ids[i], error);
    return end(&e, count > 0, rc, error);
}

/* ---- by a filter ---- */

struct search {
    struct bz_selection *selection;
    blaze_id from; /* the next to look at */
    bool done;
    blaze_id found[STEP_RECORDS];
    uint32_t count;
    uint64_t kept;
};

/* What stands at the cursor: found, kept, or not meant. */
static int look(
    struct search *search, struct evicting *e, struct bz_cursor *cursor, blaze_error *error)
{
    struct bz_db_txn *txn = e->txn;
    struct bz_nodes nodes = bz_catalog_nodes(txn->db->catalog);
    struct bz_stored stored;
    struct bz_rec rec;
    bz_arena_reset(&txn->arena);
    int rc = bz_stored_split(bz_cursor_value(cursor), &stored, error);
    if (rc == 0)
        rc = bz_stored_decode(&txn->arena, &stored, &search->from, &rec, error);
    if (rc != 0 || !bz_rec_alive(&rec, &nodes) ||
        !bz_selection_takes(search->selection, e->collection, &search->from, &rec))
        return rc;
    if (bz_scope_expendable(txn->state.self, &e->kept, &stored, &rec))
        search->found[search->count++] = search->from;
    else
        search->kept++;
    return 0;
}

static int look_on(struct search *search, struct evicting *e, blaze_error *error)
{
    struct bz_cursor *cursor = NULL;
    uint8_t key[BZ_RECORD_KEY_SIZE];
    int rc = bz_cursor_open(e->txn->view, BZ_MAP_RECORDS, &cursor, error);
    if (rc == 0)
        rc = bz_cursor_seek(cursor, bz_record_key(key, e->collection, &search->from), error);
    for (uint32_t n = 0; rc == 0; n++) {
        struct bz_bytes at = bz_cursor_key(cursor);
        search->done = at.size != sizeof key || bz_load32be(at.data) != e->collection;
        if (search->done)
            break;
        memcpy(&search->from, at.data + 4, sizeof search->from);
        if (n == STEP_ENTRIES || search->count == STEP_RECORDS)
            break;
        rc = look(search, e, cursor, error);
        if (rc == 0)
            rc = bz_cursor_next(cursor, error);
    }
    search->done |= rc == BLAZE_END;
    bz_cursor_close(cursor);
    return rc == BLAZE_END ? 0 : rc;
}

static int step(
    struct search *search, struct bz_db *db, struct bz_bytes collection, blaze_error *error)
{
    struct evicting e = {0};
    int rc = begin(&e, db, collection, error);
    if (rc != 0)
        return rc;
    search->count = 0;
    rc = look_on(search, &e, error);
    for (uint32_t i = 0; rc == 0 && i < search->count; i++)
        rc = evict(&e, &search->found[i], error);
    return end(&e, search->count > 0, rc, error);
}

int bz_db_evict_where(struct bz_db *db, struct bz_bytes collection, struct bz_bytes filter,
    uint64_t *evicted, uint64_t *kept, blaze_error *error)
{
    struct search *search = bz_zalloc(sizeof *search);
    struct bz_buf scope;
    *evicted = *kept = 0;
    if (search == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    bz_buf_init(&scope, BZ_SCOPE_BYTES_MAX);
    bz_scope_append(&scope, &(struct bz_scope_item){collection, filter});
    int rc = scope.error != 0
                 ? bz_error_code(error, scope.error)
                 : bz_selection_new(&search->selection, db->catalog, bz_buf_bytes(&scope), error);
    while (rc == 0 && !search->done) {
        rc = step(search, db, collection, error);
        *evicted += rc == 0 ? search->count : 0;
    }
    *kept = search->kept;
    bz_selection_free(search->selection);
    bz_buf_release(&scope);
    bz_free(search);
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A cursor over a view walks its sources at once: the writes of the transaction, the active and the
 * frozen memtable, and the base, newer before older. Each source stands at its first key at or
 * behind the current one (at or before it, going backwards); the current key is the nearest of
 * these, and of equal ones the newest counts. Deleted keys are stepped over.
 */

#include "store/disk.h"

#include "base/alloc.h"

#define TABLES 3

enum direction { NOWHERE, FORWARD, BACKWARD };

struct disk_cursor {
    struct bz_cursor base;
    const struct bz_mem_list *lists[TABLES]; /* newest first; NULL if there is none */
    const struct bz_mem_node *at[TABLES];
    uint64_t lsns[TABLES];
    MDB_cursor *mdb; /* NULL if the base does not have the map */
    bool in_base;    /* it stands at a key: */
    struct bz_bytes base_key;
    struct bz_bytes base_value;
    enum direction direction; /* that the sources are arranged for */
    uint64_t changes;         /* of the transaction, when they were */
};

static struct bz_disk_view *view_of(const struct disk_cursor *cursor)
{
    return (struct bz_disk_view *)cursor->base.view;
}

static void set_list(
    struct disk_cursor *cursor, size_t i, const struct bz_mem_list *list, uint64_t lsn)
{
    bool empty = list == NULL || atomic_load_explicit(&list->count, memory_order_acquire) == 0;
    cursor->lists[i] = empty && i > 0 ? NULL : list;
    cursor->lsns[i] = lsn;
}

int bz_disk_cursor_open(
    struct bz_view *base, uint32_t map, struct bz_cursor **out, blaze_error *error)
{
    struct bz_disk_view *view = (struct bz_disk_view *)base;
    struct bz_base *kv = &view->disk->kv;
    struct disk_cursor *cursor = bz_zalloc(sizeof *cursor);
    if (cursor == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    cursor->base.view = base;
    cursor->base.map = map;
    const struct bz_layers *layers = view->layers;
    set_list(cursor, 0, view->writes, UINT64_MAX);
    set_list(cursor, 1, &layers->active->list, view->lsn);
    set_list(cursor, 2, layers->frozen == NULL ? NULL : &layers->frozen->list, view->lsn);
    int rc = kv->present[map] ? mdb_cursor_open(view->mdb, kv->maps[map], &cursor->mdb) : 0;
    if (rc != 0) {
        bz_free(cursor);
        return bz_base_error(kv, rc, "read", error);
    }
    *out = &cursor->base;
    return 0;
}

void bz_disk_cursor_close(struct bz_cursor *base)
{
    struct disk_cursor *cursor = (struct disk_cursor *)base;
    if (cursor->mdb != NULL)
        mdb_cursor_close(cursor->mdb);
    bz_free(cursor);
}

/* ---- the base ---- */

static int move_in_base(
    struct disk_cursor *cursor, MDB_cursor_op op, const struct bz_bytes *key, blaze_error *error)
{
    cursor->in_base = false;
    if (cursor->mdb == NULL)
        return 0;
    MDB_val k = {0}, v;
    if (key != NULL)
        k = (MDB_val){key->size, (void *)(uintptr_t)key->data};
    int rc = mdb_cursor_get(cursor->mdb, &k, &v, op);
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc != 0)
        return bz_base_error(&view_of(cursor)->disk->kv, rc, "read", error);
    cursor->in_base = true;
    cursor->base_key = bz_bytes(k.mv_data, k.mv_size);
    cursor->base_value = bz_bytes(v.mv_data, v.mv_size);
    return 0;
}

/* To the first key >= `key`, or the first of all. */
static int base_from(struct disk_cursor *cursor, const struct bz_bytes *key, blaze_error *error)
{
    return move_in_base(cursor, key == NULL ? MDB_FIRST : MDB_SET_RANGE, key, error);
}

/* To the last key <= `key`, or the last of all. */
static int base_down_from(
    struct disk_cursor *cursor, const struct bz_bytes *key, blaze_error *error)
{
    if (key == NULL)
        return move_in_base(cursor, MDB_LAST, NULL, error);
    int rc = move_in_base(cursor, MDB_SET_RANGE, key, error);
    if (rc != 0)
        return rc;
    if (!cursor->in_base)
        return move_in_base(cursor, MDB_LAST, NULL, error);
    if (bz_bytes_equal(cursor->base_key, *key))
        return 0;
    return move_in_base(cursor, MDB_PREV, NULL, error);
}

/* ---- arranging the sources ---- */

/* List i to the first key >= `key` (the last <= `key`), or the first (last) of all. */
static void arrange_list(
    struct disk_cursor *cursor, size_t i, const struct bz_bytes *key, enum direction direction)
{
    const struct bz_mem_list *list = cursor->lists[i];
    uint32_t map = cursor->base.map;
    uint64_t lsn = cursor->lsns[i];
    if (list == NULL)
        cursor->at[i] = NULL;
    else if (direction == FORWARD)
        cursor->at[i] = bz_mem_seek(list, map, key == NULL ? bz_bytes(NULL, 0) : *key, lsn);
    else if (key == NULL)
        cursor->at[i] = bz_mem_last(list, map, lsn);
    else if ((cursor->at[i] = bz_mem_get(list, map, *key, lsn)) == NULL)
        cursor->at[i] = bz_mem_before(list, map, *key, lsn);
}

static int arrange(struct disk_cursor *cursor, const struct bz_bytes *key, enum direction direction,
    blaze_error *error)
{
    for (size_t i = 0; i < TABLES; i++)
        arrange_list(cursor, i, key, direction);
    cursor->direction = direction;
    cursor->changes = view_of(cursor)->changes;
    return direction == FORWARD ? base_from(cursor, key, error)
                                : base_down_from(cursor, key, error);
}

/* Makes the sources fit `direction` and what the transaction wrote since. */
static int rearrange(struct disk_cursor *cursor, enum direction direction, blaze_error *error)
{
    if (cursor->direction != direction)
        return arrange(cursor, &cursor->base.key, direction, error);
    if (cursor->changes != view_of(cursor)->changes) {
        arrange_list(cursor, 0, &cursor->base.key, direction);
        cursor->changes = view_of(cursor)->changes;
    }
    return 0;
}

/* ---- stepping ---- */

/* Moves the sources that stand at `key` past it. */
static int step_over(struct disk_cursor *cursor, struct bz_bytes key, blaze_error *error)
{
    bool forward = cursor->direction == FORWARD;
    for (size_t i = 0; i < TABLES; i++) {
        const struct bz_mem_node *node = cursor->at[i];
        if (node == NULL || !bz_bytes_equal(bz_mem_key(node), key))
            continue;
        cursor->at[i] = forward ? bz_mem_after(node, cursor->lsns[i])
                                : bz_mem_before(cursor->lists[i], node->map, key, cursor->lsns[i]);
    }
    if (cursor->in_base && bz_bytes_equal(cursor->base_key, key))
        return move_in_base(cursor, forward ? MDB_NEXT : MDB_PREV, NULL, error);
    return 0;
}

/* The source that counts: a table's node, or NULL and *base_wins. */
static const struct bz_mem_node *nearest(const struct disk_cursor *cursor, bool *base_wins)
{
    int sign = cursor->direction == FORWARD ? 1 : -1;
    const struct bz_mem_node *best = NULL;
    for (size_t i = 0; i < TABLES; i++) {
        const struct bz_mem_node *node = cursor->at[i];
        if (node != NULL &&
            (best == NULL || sign * bz_bytes_compare(bz_mem_key(node), bz_mem_key(best)) < 0))
            best = node;
    }
    *base_wins = cursor->in_base &&
                 (best == NULL || sign * bz_bytes_compare(cursor->base_key, bz_mem_key(best)) < 0);
    return *base_wins ? NULL : best;
}

/* Stands at the nearest key that is not deleted. */
static int settle(struct disk_cursor *cursor, blaze_error *error)
{
    struct bz_cursor *base = &cursor->base;
    for (;;) {
        bool base_wins;
        const struct bz_mem_node *node = nearest(cursor, &base_wins);
        if (node == NULL && !base_wins)
            return BLAZE_END;
        if (node == NULL || !node->deleted) {
            base->positioned = true;
            base->key = node == NULL ? cursor->base_key : bz_mem_key(node);
            base->value = node == NULL ? cursor->base_value : bz_mem_value(node);
            return 0;
        }
        int rc = step_over(cursor, bz_mem_key(node), error);
        if (rc != 0)
            return rc;
    }
}

int bz_disk_cursor_seek(struct bz_cursor *base, struct bz_bytes key, blaze_error *error)
{
    struct disk_cursor *cursor = (struct disk_cursor *)base;
    int rc = arrange(cursor, key.size == 0 ? NULL : &key, FORWARD, error);
    return rc != 0 ? rc : settle(cursor, error);
}

static int move(struct bz_cursor *base, enum direction direction, blaze_error *error)
{
    struct disk_cursor *cursor = (struct disk_cursor *)base;
    int rc;
    if (!base->positioned) {
        rc = arrange(cursor, NULL, direction, error);
    } else {
        struct bz_bytes key = base->key;
        rc = rearrange(cursor, direction, error);
        if (rc == 0)
            rc = step_over(cursor, key, error);
    }
    return rc != 0 ? rc : settle(cursor, error);
}

int bz_disk_cursor_next(struct bz_cursor *cursor, blaze_error *error)
{
    return move(cursor, FORWARD, error);
}

int bz_disk_cursor_prev(struct bz_cursor *cursor, blaze_error *error)
{
    return move(cursor, BACKWARD, error);
}

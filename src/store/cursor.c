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
    struct bz_tree_iter tree;
    bool in_base; /* it stands at a key: */
    struct bz_bytes base_key;
    struct bz_bytes base_value;
    bool at_damage;           /* the base's last movement met it: the next one goes on behind */
    enum direction direction; /* that the sources are arranged for */
    uint8_t here[BZ_STORE_KEY_MAX]; /* a key that is sought, which may be one of ours */
    uint64_t changes;               /* of the transaction, when they were */
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
    struct disk_cursor *cursor = bz_zalloc(sizeof *cursor);
    if (cursor == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    cursor->base.view = base;
    cursor->base.map = map;
    const struct bz_layers *layers = view->layers;
    set_list(cursor, 0, view->writes, UINT64_MAX);
    set_list(cursor, 1, &layers->active->list, view->lsn);
    set_list(cursor, 2, layers->frozen == NULL ? NULL : &layers->frozen->list, view->lsn);
    int rc = bz_tree_iter_init_map(&cursor->tree, layers->tree, map);
    if (rc != 0) {
        bz_free(cursor);
        return bz_error_code(error, rc);
    }
    *out = &cursor->base;
    return 0;
}

void bz_disk_cursor_close(struct bz_cursor *base)
{
    struct disk_cursor *cursor = (struct disk_cursor *)base;
    bz_tree_iter_release(&cursor->tree);
    bz_free(cursor);
}

/* ---- the base ---- */

/* Takes what a movement of the tree's iterator came to. */
static int take_base(struct disk_cursor *cursor, int rc)
{
    cursor->in_base = rc == 0;
    if (rc == BLAZE_END)
        return 0;
    if (rc == 0) {
        const struct bz_write *entry = bz_tree_iter_entry(&cursor->tree);
        cursor->base_key = entry->key;
        cursor->base_value = entry->value;
    }
    return rc;
}

/* To the first key >= `key`, or the first of all. */
static int base_from(struct disk_cursor *cursor, const struct bz_bytes *key, blaze_error *error)
{
    struct bz_table_key from = {cursor->base.map, key == NULL ? bz_bytes("", 0) : *key};
    return take_base(cursor, bz_tree_iter_seek(&cursor->tree, from, error));
}

/* To the last key <= `key`, or the last of all: before the first of the next map. */
static int base_down_from(
    struct disk_cursor *cursor, const struct bz_bytes *key, blaze_error *error)
{
    struct bz_table_key from = {cursor->base.map + 1, bz_bytes("", 0)};
    if (key != NULL)
        from = (struct bz_table_key){cursor->base.map, *key};
    return take_base(cursor, bz_tree_iter_seek_back(&cursor->tree, from, error));
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

/* The key in memory that no movement changes. */
static struct bz_bytes keep_key(struct disk_cursor *cursor, struct bz_bytes key)
{
    if (key.size > 0)
        memcpy(cursor->here, key.data, key.size);
    return bz_bytes(cursor->here, key.size);
}

/* Makes the sources fit `direction` and what the transaction wrote since. */
static int rearrange(struct disk_cursor *cursor, const struct bz_bytes *key,
    enum direction direction, blaze_error *error)
{
    if (cursor->direction != direction)
        return arrange(cursor, key, direction, error);
    if (cursor->changes != view_of(cursor)->changes) {
        arrange_list(cursor, 0, key, direction);
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
        return take_base(cursor, bz_tree_iter_move(&cursor->tree, error));
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

/* Says where a movement ended, for the next one. */
static int moved(struct disk_cursor *cursor, int rc)
{
    cursor->at_damage = rc == BLAZE_ECORRUPT;
    return rc;
}

int bz_disk_cursor_seek(struct bz_cursor *base, struct bz_bytes key, blaze_error *error)
{
    struct disk_cursor *cursor = (struct disk_cursor *)base;
    struct bz_bytes target = keep_key(cursor, key);
    int rc = arrange(cursor, key.size == 0 ? NULL : &target, FORWARD, error);
    return moved(cursor, rc != 0 ? rc : settle(cursor, error));
}

static int move(struct bz_cursor *base, enum direction direction, blaze_error *error)
{
    struct disk_cursor *cursor = (struct disk_cursor *)base;
    int rc;
    if (cursor->at_damage && cursor->direction == direction) {
        rc = take_base(cursor, bz_tree_iter_move(&cursor->tree, error));
    } else if (!base->positioned) {
        rc = arrange(cursor, NULL, direction, error);
    } else {
        struct bz_bytes key = base->key;
        if (cursor->direction != direction)
            key = keep_key(cursor, key);
        rc = rearrange(cursor, &key, direction, error);
        if (rc == 0)
            rc = step_over(cursor, key, error);
    }
    return moved(cursor, rc != 0 ? rc : settle(cursor, error));
}

int bz_disk_cursor_next(struct bz_cursor *cursor, blaze_error *error)
{
    return move(cursor, FORWARD, error);
}

int bz_disk_cursor_prev(struct bz_cursor *cursor, blaze_error *error)
{
    return move(cursor, BACKWARD, error);
}

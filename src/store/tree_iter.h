/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_TREE_ITER_H
#define BZ_STORE_TREE_ITER_H

/*
 * Walks several runs of tables as one ordered sequence, either way, giving the newest entry of each
 * key. A run is a row of tables that follow each other without overlapping: a level, or one table.
 *
 * One thread at a time. The tables must live as long as the iterator.
 */

#include "store/tree.h"

struct bz_run {
    const struct bz_tree_file *files;
    uint32_t count;
};

struct bz_tree_iter_run;

struct bz_tree_iter {
    struct bz_tree_iter_run *runs; /* newest first */
    uint32_t count;
    uint32_t live;   /* runs that stand at an entry */
    uint32_t *order; /* these, the nearest first */
    bool backward;
    bool damaged; /* a run stands at damage: moving on moves it past */
    bool one_map; /* only `map`, and no deletes; else all entries */
    uint32_t map;
};

/* All entries of the runs, deletes included. BLAZE_ENOMEM. */
int bz_tree_iter_init(struct bz_tree_iter *iter, const struct bz_run *runs, uint32_t count);

/* The puts of one map of a tree. BLAZE_ENOMEM. */
int bz_tree_iter_init_map(struct bz_tree_iter *iter, const struct bz_tree *tree, uint32_t map);

void bz_tree_iter_release(struct bz_tree_iter *iter);

/* To the first entry at or behind `key`, or the last one at or before it. Movements give 0,
 * BLAZE_END or a code. After BLAZE_ECORRUPT the next movement goes on behind the damage. */
int bz_tree_iter_seek(struct bz_tree_iter *iter, struct bz_table_key key, blaze_error *error);
int bz_tree_iter_seek_back(struct bz_tree_iter *iter, struct bz_table_key key, blaze_error *error);

/* From where it stands, in the direction that it was sought in. */
int bz_tree_iter_move(struct bz_tree_iter *iter, blaze_error *error);

/* Where it stands, after a movement that gave 0; valid until the next. */
const struct bz_write *bz_tree_iter_entry(const struct bz_tree_iter *iter);

#endif

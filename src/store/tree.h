/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_TREE_H
#define BZ_STORE_TREE_H

/*
 * The tree: the tables of one manifest, held open. It never changes; a checkpoint or a compaction
 * makes a new one, and who reads keeps the one that he has. A table's file may be removed
 * meanwhile: it stays readable as long as it is open.
 *
 * Of two entries of a key the one in the smaller level is newer, and in level 0 the one in the
 * earlier table. From level 1 on the tables of a level do not overlap.
 */

#include "store/manifest.h"
#include "store/table.h"

struct bz_tree_file {
    uint64_t id;
    uint64_t size;
    struct bz_table *table;
    struct bz_table_key first; /* borrowed from the table */
    struct bz_table_key last;
};

struct bz_level {
    struct bz_tree_file *files;
    uint32_t count;
    uint64_t bytes;
};

struct bz_tree {
    atomic_size_t refs;
    uint64_t sequence; /* of the manifest */
    struct bz_log_position log;
    struct bz_level levels[BZ_LEVELS];
    blaze_error damage; /* a table that could not be opened and was left out, if `code` is set */
};

/* A table that goes into a tree, and where. */
struct bz_tree_addition {
    struct bz_tree_file file;
    uint32_t level;
};

/*
 * What `tree` becomes without the tables `gone` and with `added`, which are the newest of level 0
 * where they go there, in any order, not overlapping each other. Its sequence is the next.
 * BLAZE_EBUSY if one of `gone` is not there, or one of `added` overlaps another of its level.
 */
int bz_tree_change(struct bz_tree **out, const struct bz_tree *tree,
    const struct bz_tree_file *const *gone, uint32_t gone_count,
    const struct bz_tree_addition *added, uint32_t added_count, blaze_error *error);

/* Opens the tables that `manifest` names, in the folder `dir`; those that `known` has (may be NULL)
 * are shared with it. `tolerant` leaves out what is damaged or missing, and says so in `damage`. */
int bz_tree_open(struct bz_tree **out, const struct bz_manifest *manifest, const char *dir,
    const uint8_t *key, struct bz_block_cache *cache, const struct bz_tree *known, bool tolerant,
    blaze_error *error);
struct bz_tree *bz_tree_retain(struct bz_tree *tree);
void bz_tree_release(struct bz_tree *tree); /* NULL does nothing */

/* The manifest of the tree, its map names left out, appended to an empty one. BLAZE_ENOMEM. */
int bz_tree_manifest(const struct bz_tree *tree, struct bz_manifest *out);

/* The table with that id, or NULL. */
struct bz_table *bz_tree_find(const struct bz_tree *tree, uint64_t id);

uint64_t bz_tree_bytes(const struct bz_tree *tree);

/* As bz_table_get(), of the newest entry; BLAZE_ENOTFOUND without text for none or a delete. */
int bz_tree_get(const struct bz_tree *tree, uint32_t map, struct bz_bytes key,
    struct bz_bytes *value, struct bz_block **pin, blaze_error *error);

/* As bz_table_verify(), for all tables. */
int bz_tree_verify(const struct bz_tree *tree, void (*each)(void *context, const char *problem),
    void *context, blaze_error *error);

/* Keys from `first` to `last`, both within. */
struct bz_key_range {
    struct bz_table_key first;
    struct bz_table_key last;
};

static inline bool bz_tree_file_meets(
    const struct bz_tree_file *file, const struct bz_key_range *range)
{
    return bz_table_key_compare(file->first, range->last) <= 0 &&
           bz_table_key_compare(file->last, range->first) >= 0;
}

/* Whether a table of the level overlaps the range. */
bool bz_level_meets(const struct bz_level *level, const struct bz_key_range *range);

/* Whether a table of a level from `level` on overlaps the range. */
bool bz_tree_has(const struct bz_tree *tree, uint32_t level, const struct bz_key_range *range);

/* In a row of tables that do not overlap: the number of tables that end before `key`. */
uint32_t bz_level_find(const struct bz_level *level, struct bz_table_key key);

/* The path of the table `id`, in new memory; NULL when out of memory. */
char *bz_tree_table_path(const char *dir, uint64_t id);

/* Whether a file's name is that of a table. */
bool bz_tree_is_table_name(const char *name, uint64_t *id);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_BASE_H
#define BZ_STORE_BASE_H

/*
 * The base: what checkpoints have moved out of the log, as a log-structured merge tree of sorted
 * tables (tree.h). Its files: `manifest`, and the tables in the folder `tables`.
 *
 * Who changes it holds the file lock `checkpoint` (checkpoint.c), among processes and threads:
 * reading the manifest, adding tables and replacing the manifest are one step for all others. A
 * compaction reads and writes its tables without it; so it holds the lock `compaction` from its
 * beginning to its end, and `checkpoint` while it puts its tables in place of the old ones.
 */

#include "store/memtable.h"
#include "store/store.h"
#include "store/tree.h"

struct bz_base {
    char *dir;
    char *manifest_path;
    char *tables_path;
    const uint8_t *key; /* of a sealed store; borrowed */
    struct bz_block_cache *cache;
    struct bz_buf maps;   /* names, as in the manifest */
    uint64_t cache_bytes; /* of opened blocks */
    uint64_t table_bytes; /* of a table, about */
    uint64_t level_bytes; /* of level 1; each further one may have ten times as much */
};

/* Sets it up; opens nothing. BLAZE_ENOMEM. */
int bz_base_init(struct bz_base *base, const char *dir, const struct bz_store_options *options,
    blaze_error *error);

/* It is sealed, or is to be, under `key` of 32 bytes, which is borrowed. BLAZE_ENOMEM. */
int bz_base_seal(struct bz_base *base, const uint8_t *key, blaze_error *error);

void bz_base_release(struct bz_base *base);

/* Whether there is a base: then there is a store. */
bool bz_base_exists(const struct bz_base *base);

/* Makes an empty one, whose log goes on at `start`: all but its name, and then, once all else of
 * the store is durable but for the names in its directory, that. The name is durable when the
 * directory is synced again. */
int bz_base_prepare(struct bz_base *base, const struct bz_log_position *start, blaze_error *error);
int bz_base_create(struct bz_base *base, blaze_error *error);

/* The tree as the manifest now has it; `known` (may be NULL) lends the tables that it has, and is
 * retained if it is still the current one. A table that another process has just removed is no
 * damage: only what is missing of one manifest twice is. `tolerant` as in bz_tree_open().
 * BLAZE_ECORRUPT, BLAZE_EVERSION. */
int bz_base_load(struct bz_base *base, struct bz_tree *known, bool tolerant, struct bz_tree **out,
    blaze_error *error);

/* The sequence of the manifest as it now is. */
int bz_base_sequence(const struct bz_base *base, uint64_t *out, blaze_error *error);

/*
 * Moves the newest versions of `table`, which has all commits after those of the tree up to `end`,
 * into tables, durably, unless the manifest has them already; *out is what the base then is. With
 * the lock `checkpoint`. `known` as above.
 */
int bz_base_flush(struct bz_base *base, struct bz_tree *known, const struct bz_memtable *table,
    const struct bz_log_position *end, struct bz_tree **out, blaze_error *error);

/* Replaces the manifest by that of `tree`. BLAZE_EFAILED: either may be there. */
int bz_base_commit(struct bz_base *base, const struct bz_tree *tree, blaze_error *error);

/* Whether the manifest knows all maps. */
int bz_base_has_maps(const struct bz_base *base, bool *out, blaze_error *error);

/* Writes the names of maps that the manifest does not have yet; *out is what the base then is. With
 * the lock `checkpoint`. `known` as above. */
int bz_base_add_maps(
    struct bz_base *base, struct bz_tree *known, struct bz_tree **out, blaze_error *error);

/* Removes what a crash left: tables that are not in `tree`, which is current. With the locks
 * `checkpoint` and `compaction`. */
void bz_base_sweep(struct bz_base *base, const struct bz_tree *tree);

#endif

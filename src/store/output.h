/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_OUTPUT_H
#define BZ_STORE_OUTPUT_H

/*
 * A row of new tables, from entries in order: what a checkpoint or a compaction writes. One thread
 * at a time.
 */

#include "store/tree.h"

struct bz_output {
    const char *dir;
    const uint8_t *key;
    struct bz_block_cache *cache;
    uint64_t most;                  /* bytes of a table, about */
    uint64_t least;                 /* a table smaller than this goes on when another map begins */
    struct bz_table_writer *writer; /* of the last one, or NULL */
    uint32_t map;                   /* of its last entry */
    struct bz_manifest made;        /* the files, all of level 0 */
    uint64_t written;               /* bytes of the finished ones */
};

void bz_output_init(struct bz_output *output, const char *dir, const uint8_t *key,
    struct bz_block_cache *cache, uint64_t most, uint64_t least);

/* The next entry, behind the one before. */
int bz_output_add(struct bz_output *output, const struct bz_write *entry, blaze_error *error);

/* Ends the last table and opens all as the level 0 of *out, in key order; NULL if there are none.
 * Durable, with their names. */
int bz_output_finish(struct bz_output *output, struct bz_tree **out, blaze_error *error);

/* Removes the files, unless they are to stay, and frees what `output` holds. */
void bz_output_release(struct bz_output *output, bool keep);

#endif

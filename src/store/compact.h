/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_COMPACT_H
#define BZ_STORE_COMPACT_H

/*
 * Compactions: tables of one level are merged with those of the next that they overlap, so that
 * there are few places to look for a key, and what was written over or deleted gives its room back.
 */

#include "store/base.h"

struct bz_compaction {
    struct bz_tree *tree;              /* whose tables these are */
    uint32_t level;                    /* that the upper ones come from; all goes to the next */
    const struct bz_tree_file **files; /* the upper ones, newest first, then the lower ones */
    uint32_t upper;
    uint32_t lower;
    uint64_t bytes; /* of all */
    struct bz_tree *made;
};

/* What to look for. */
enum bz_compaction_need {
    BZ_COMPACT_NEEDED,   /* what keeps the tree in shape */
    BZ_COMPACT_WORTH_IT, /* also what gives back a fair part of a small tree */
};

/* Chooses a compaction of `tree`, which it retains. BLAZE_END if none is due; BLAZE_ENOMEM. */
int bz_compaction_pick(struct bz_compaction *out, const struct bz_base *base, struct bz_tree *tree,
    enum bz_compaction_need need);
void bz_compaction_release(struct bz_compaction *compaction);

/* Writes the new tables, if any have to be written. Takes a while; BLAZE_ECANCELED once *stop is
 * set. With the lock `compaction`. On failure nothing is left of them. */
int bz_compaction_run(struct bz_compaction *compaction, struct bz_base *base,
    const atomic_bool *stop, blaze_error *error);

/* Puts them in place of the old ones in the base as it now is, and removes those; *out is what it
 * then is. With both locks. BLAZE_EBUSY if a checkpoint has put a table in the way: then nothing
 * has changed. `known` as in bz_base_load(). */
int bz_compaction_commit(struct bz_compaction *compaction, struct bz_base *base,
    struct bz_tree *known, struct bz_tree **out, blaze_error *error);

/* How many tables of level 0 lie over each other at most: what a read may have to look at. */
uint32_t bz_compaction_depth(const struct bz_tree *tree);

#endif

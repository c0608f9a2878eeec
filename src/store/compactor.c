/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The thread that compacts. It is begun when a checkpoint leaves something to be merged, and ends
 * when nothing is left. Of all processes one compacts at a time; one that finds another at it
 * leaves it to that one, which goes on until nothing is due, and looks once more when it has let
 * others in.
 *
 * A compaction that fails leaves all as it was: the tree is deeper than it should be, which costs
 * time and room and nothing else. It is tried again after the next checkpoint.
 */

#include "store/disk.h"

#define DEPTH_MOST 16u /* of level 0: beyond it checkpoints wait */

/* With both locks of the process and the file `compaction`. */
static int commit(struct bz_disk *disk, struct bz_compaction *compaction, blaze_error *error)
{
    pthread_mutex_lock(&disk->checkpointing);
    struct bz_tree *known = bz_disk_tree(disk), *tree;
    int rc = bz_file_lock(&disk->checkpoint_file, true, true, NULL, error);
    if (rc == 0) {
        rc = bz_compaction_commit(compaction, &disk->tables, known, &tree, error);
        if (rc == 0) {
            rc = bz_disk_switch(disk, tree, error);
            bz_tree_release(tree);
        }
        bz_file_unlock(&disk->checkpoint_file, NULL);
    }
    bz_tree_release(known);
    pthread_mutex_unlock(&disk->checkpointing);
    return rc;
}

/* The tree as all processes have left it. */
static int current_tree(struct bz_disk *disk, struct bz_tree **out, blaze_error *error)
{
    struct bz_tree *known = bz_disk_tree(disk);
    int rc = bz_base_load(&disk->tables, known, false, out, error);
    bz_tree_release(known);
    return rc;
}

/* One compaction; BLAZE_END if none is due. */
static int compact_once(struct bz_disk *disk, enum bz_compaction_need need, blaze_error *error)
{
    struct bz_compaction compaction = {0};
    struct bz_tree *tree;
    int rc = current_tree(disk, &tree, error);
    if (rc != 0)
        return rc;
    rc = bz_compaction_pick(&compaction, &disk->tables, tree, need);
    bz_tree_release(tree);
    if (rc != 0)
        return rc == BLAZE_END ? rc : bz_error_code(error, rc);
    rc = bz_compaction_run(&compaction, &disk->tables, &disk->compactor_stop, error);
    if (rc == 0)
        rc = commit(disk, &compaction, error);
    if (rc == 0)
        atomic_fetch_add(&disk->compactions, 1);
    bz_compaction_release(&compaction);
    if (rc == 0)
        bz_seats_sweep(disk);
    return rc;
}

/* Whether something is due in a tree, which is let go of. */
static bool is_due(struct bz_disk *disk, struct bz_tree *tree, enum bz_compaction_need need)
{
    struct bz_compaction compaction;
    int rc = bz_compaction_pick(&compaction, &disk->tables, tree, need);
    if (rc == 0)
        bz_compaction_release(&compaction);
    bz_tree_release(tree);
    return rc == 0;
}

/* All that is due; BLAZE_END at the end of it. */
static int compact_all(struct bz_disk *disk, enum bz_compaction_need need, blaze_error *error)
{
    int rc = bz_file_lock(&disk->compaction_file, true, false, NULL, error);
    if (rc != 0)
        return rc;
    do {
        rc = compact_once(disk, need, error);
    } while (rc == 0);
    bz_file_unlock(&disk->compaction_file, NULL);
    return rc;
}

/* Whether another process has added something that is due after we had looked, and was turned away
 * from it. */
static bool is_left(struct bz_disk *disk, enum bz_compaction_need need)
{
    struct bz_tree *tree;
    return current_tree(disk, &tree, NULL) == 0 && is_due(disk, tree, need);
}

int bz_disk_compact(struct bz_disk *disk, enum bz_compaction_need need, blaze_error *error)
{
    int rc;
    pthread_mutex_lock(&disk->compacting);
    do {
        rc = compact_all(disk, need, error);
    } while (rc == BLAZE_END && is_left(disk, need));
    pthread_mutex_unlock(&disk->compacting);
    /* Busy: another process is at it, or a checkpoint was in the way. */
    return rc == BLAZE_END || rc == BLAZE_EBUSY ? 0 : rc;
}

/* ---- the thread ---- */

static void *run(void *context)
{
    struct bz_disk *disk = context;
    int rc;
    pthread_mutex_lock(&disk->compactor_lock);
    do {
        disk->compactor_again = false;
        pthread_mutex_unlock(&disk->compactor_lock);
        rc = bz_disk_compact(disk, BZ_COMPACT_NEEDED, NULL);
        pthread_mutex_lock(&disk->compactor_lock);
    } while (rc == 0 && disk->compactor_again && !atomic_load(&disk->compactor_stop));
    atomic_store(&disk->compaction_error, rc);
    disk->compactor_runs = false;
    pthread_cond_broadcast(&disk->compacted);
    pthread_mutex_unlock(&disk->compactor_lock);
    return NULL;
}

void bz_compactor_wake(struct bz_disk *disk)
{
    if (!is_due(disk, bz_disk_tree(disk), BZ_COMPACT_NEEDED))
        return;
    pthread_mutex_lock(&disk->compactor_lock);
    disk->compactor_again = true; /* it may be about to end */
    if (!disk->compactor_runs && !atomic_load(&disk->compactor_stop)) {
        if (disk->compactor_began)
            pthread_join(disk->compactor, NULL);
        disk->compactor_runs = pthread_create(&disk->compactor, NULL, run, disk) == 0;
        disk->compactor_began = disk->compactor_runs;
    }
    pthread_mutex_unlock(&disk->compactor_lock);
}

void bz_compactor_stop(struct bz_disk *disk)
{
    atomic_store(&disk->compactor_stop, true);
    pthread_mutex_lock(&disk->compactor_lock);
    pthread_cond_broadcast(&disk->compacted);
    bool began = disk->compactor_began;
    disk->compactor_began = false;
    pthread_mutex_unlock(&disk->compactor_lock);
    if (began)
        pthread_join(disk->compactor, NULL);
}

void bz_compactor_wait(struct bz_disk *disk)
{
    for (;;) {
        struct bz_tree *tree = bz_disk_tree(disk);
        bool deep = bz_compaction_depth(tree) > DEPTH_MOST;
        bz_tree_release(tree);
        if (!deep)
            return;
        pthread_mutex_lock(&disk->compactor_lock);
        bool runs = disk->compactor_runs && !atomic_load(&disk->compactor_stop);
        if (runs)
            pthread_cond_wait(&disk->compacted, &disk->compactor_lock);
        pthread_mutex_unlock(&disk->compactor_lock);
        if (!runs)
            return;
    }
}

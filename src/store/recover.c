/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a store that is opened makes of the files that it finds: the tables of the manifest, and the
 * commits of the log behind them.
 *
 * A log that is damaged, or shorter than what is known to have been synced, is refused for writing:
 * to go on from there would give the numbers of commits that others may have seen to new ones.
 * Opened read-only it shows the commits before the damage, and nothing of the log after opening.
 */

#include "store/disk.h"

#include <inttypes.h>

/* While the machine was not restarted, the lock file tells how far the log goes. */
static bool known_end(const struct bz_disk *disk)
{
    return disk->boot != 0 && atomic_load(&disk->shared->boot) == disk->boot &&
           atomic_load(&disk->shared->announced) == disk->log.tail.lsn && !disk->log.stuck;
}

/* What is known to have reached the disk is still there, or something was cut off: this is told
 * only after the sync, so no power cut or kill can be the reason. */
static int check_synced(struct bz_disk *disk, uint64_t synced, blaze_error *error)
{
    const struct bz_log *log = &disk->log;
    if (synced > log->tail.lsn)
        return bz_error_set(error, BLAZE_ECORRUPT,
            "%s: ends at offset %" PRIu64 " with commit %" PRIu64 ", but commit %" PRIu64
            " was on the disk",
            log->segment->file.path, log->tail.offset, log->tail.lsn, synced);
    bz_sync_known(disk, synced);
    return 0;
}

/* Reads the log from where the tree says on. */
static int replay(struct bz_disk *disk, struct bz_tree *tree, blaze_error *error)
{
    uint64_t announced = atomic_load(&disk->shared->announced);
    uint64_t synced = bz_shared_synced(disk->shared); /* first: others may write meanwhile */
    int rc = bz_disk_restart(disk, tree, error);
    if (rc != 0)
        return rc;
    atomic_store(&disk->seen, announced);
    bz_sync_known(disk, tree->log.lsn);
    rc = known_end(disk) ? 0 : bz_log_check_end(&disk->log, error);
    uint64_t lsn = disk->log.tail.lsn;
    if (rc == BLAZE_ECORRUPT) {
        /* Unless it was another process writing just now. */
        int again = bz_disk_catch_up(disk, error);
        if (again != 0 || disk->log.tail.lsn > lsn)
            rc = again;
    }
    return rc != 0 ? rc : check_synced(disk, synced, error);
}

/* The log is damaged, as `damage` says: makes a state of what comes before that, and refuses it to
 * who wants to write. */
static int salvage(
    struct bz_disk *disk, struct bz_tree *tree, const blaze_error *damage, blaze_error *error)
{
    disk->damage = *damage;
    int rc = bz_disk_restart(disk, tree, error);
    if (rc != 0)
        return rc;
    bz_sync_known(disk, tree->log.lsn);
    if (disk->base.read_only)
        return 0;
    return bz_error_set(
        error, BLAZE_ECORRUPT, "%s; open read-only to read what came before it", damage->text);
}

/* One attempt. If the manifest is still that of sequence `final`, what is damaged is taken as such,
 * and not as what another process has just changed. */
static int recover_once(struct bz_disk *disk, uint64_t final, blaze_error *error)
{
    struct bz_tree *tree;
    blaze_error detail = {0};
    atomic_store(&disk->sequence, atomic_load(&disk->shared->sequence));
    bz_path_mark(disk->tables.manifest_path, &disk->manifest, NULL);
    int rc = bz_base_load(&disk->tables, NULL, disk->base.read_only, &tree, error);
    if (rc != 0)
        return rc;
    rc = replay(disk, tree, &detail);
    if (rc == BLAZE_ECORRUPT && tree->sequence == final)
        rc = salvage(disk, tree, &detail, error);
    else if (rc != 0)
        bz_error_set(error, rc, "%s", detail.text);
    if (rc == 0 && disk->damage.code == 0)
        disk->damage = tree->damage;
    bz_tree_release(tree);
    return rc;
}

/* What is missing may be so because another process has just done a checkpoint or a compaction:
 * only what two attempts at one manifest find missing is damage. */
int bz_disk_recover(struct bz_disk *disk, blaze_error *error)
{
    uint64_t tried = 0, now;
    for (;;) {
        int rc = bz_base_sequence(&disk->tables, &now, error);
        if (rc != 0)
            return rc;
        bool again = now == tried;
        rc = recover_once(disk, again ? now : 0, error);
        if (rc != BLAZE_ECORRUPT || again)
            return rc;
        tried = now;
    }
}

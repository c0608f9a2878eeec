/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Durability and visibility.
 *
 * A `full` commit that is in the log becomes a waiter. Whoever waits and finds less than SYNCS_MAX
 * syncs under way starts one, for all that is appended by then; the others sleep until a sync has
 * covered them, or until they are woken to start the next. So commits that come while a sync runs
 * share the one after it.
 *
 * The system tells of a write that failed to one sync of a file alone, whichever comes first. So a
 * sync counts once all that were begun before it have ended well.
 *
 * The first sync of a store that may be new also makes its names durable, before any commit in it
 * is said to be: until then nobody was told that there is a store.
 *
 * What snapshots see is always a prefix of the commits: all, or those before the first waiter that
 * holds them back.
 */

#include "store/disk.h"

#include "base/alloc.h"
#include "base/hash.h"

#define SYNCS_MAX 2u
#define SEAL_SEED 0x73796e636564u /* "synced" */

int bz_disk_failed(const struct bz_disk *disk, blaze_error *error)
{
    return bz_error_set(error, BLAZE_EFAILED,
        "%s: writing failed earlier, and what reached the disk is not known; reopen it",
        disk->path);
}

/* With sync_lock held. */
static void fail_locked(struct bz_disk *disk)
{
    atomic_store(&disk->failed, 1);
    for (struct bz_waiter *waiter = disk->waiters; waiter != NULL; waiter = waiter->next)
        pthread_cond_signal(&waiter->wake);
    for (struct bz_sync *sync = disk->syncs_begun; sync != NULL; sync = sync->next)
        pthread_cond_signal(&sync->heard);
}

void bz_disk_fail(struct bz_disk *disk)
{
    pthread_mutex_lock(&disk->sync_lock);
    fail_locked(disk);
    pthread_mutex_unlock(&disk->sync_lock);
}

/* With sync_lock held: sets what snapshots see; whether that is more than before. */
static bool publish(struct bz_disk *disk)
{
    uint64_t lsn = atomic_load(&disk->appended);
    for (struct bz_waiter *waiter = disk->waiters; waiter != NULL; waiter = waiter->next) {
        if (waiter->holds) {
            lsn = waiter->lsn - 1;
            break;
        }
    }
    uint64_t durable = atomic_load(&disk->durable);
    if (atomic_load(&disk->failed) || lsn < durable)
        lsn = durable;
    if (lsn <= atomic_load(&disk->visible))
        return false;
    atomic_store_explicit(&disk->visible, lsn, memory_order_release);
    return true;
}

bool bz_sync_holds(struct bz_disk *disk)
{
    bool holds = false;
    pthread_mutex_lock(&disk->sync_lock);
    for (struct bz_waiter *waiter = disk->waiters; waiter != NULL; waiter = waiter->next)
        holds |= waiter->holds;
    pthread_mutex_unlock(&disk->sync_lock);
    return holds;
}

/* In the order of LSNs. */
static void add_waiter(struct bz_disk *disk, struct bz_waiter *waiter, uint64_t lsn, bool holds)
{
    struct bz_waiter **link = &disk->waiters;
    while (*link != NULL && (*link)->lsn <= lsn)
        link = &(*link)->next;
    *waiter = (struct bz_waiter){.lsn = lsn, .holds = holds, .next = *link};
    pthread_cond_init(&waiter->wake, NULL);
    *link = waiter;
}

static void remove_waiter(struct bz_disk *disk, const struct bz_waiter *waiter)
{
    struct bz_waiter **link = &disk->waiters;
    while (*link != NULL && *link != waiter)
        link = &(*link)->next;
    if (*link != NULL)
        *link = waiter->next;
}

/* With sync_lock held: lets those go whose commits are durable, and another one start a sync. */
static void wake_waiters(struct bz_disk *disk)
{
    uint64_t durable = atomic_load(&disk->durable);
    while (disk->waiters != NULL && disk->waiters->lsn <= durable) {
        struct bz_waiter *waiter = disk->waiters;
        remove_waiter(disk, waiter);
        waiter->done = true;
        pthread_cond_signal(&waiter->wake);
    }
    struct bz_waiter *next = disk->waiters;
    while (next != NULL && disk->syncing > 0 && next->lsn <= disk->sync_target)
        next = next->next;
    if (next != NULL)
        pthread_cond_signal(&next->wake);
}

static uint64_t seal_of(uint64_t synced)
{
    uint8_t bytes[8];
    bz_store64le(bytes, synced);
    return bz_hash64(bytes, sizeof bytes, SEAL_SEED);
}

uint64_t bz_shared_synced(struct bz_shared *shared)
{
    uint64_t synced = atomic_load(&shared->synced);
    return atomic_load(&shared->seal) == seal_of(synced) ? synced : 0;
}

/* For those who write after us, in other processes too, and for those who find the log one day:
 * these commits are on the disk. Where processes meet here, the word may fall back to the older of
 * their commits, which is true as well; and the last of them leaves the seal that fits. */
static void tell_synced(struct bz_disk *disk, uint64_t lsn)
{
    struct bz_shared *shared = disk->shared;
    uint64_t synced = atomic_load(&shared->synced);
    if (disk->base.read_only)
        return;
    do {
        if (synced >= lsn && atomic_load(&shared->seal) == seal_of(synced))
            return;
    } while (!atomic_compare_exchange_weak(&shared->synced, &synced, lsn));
    do {
        synced = atomic_load(&shared->synced);
        atomic_store(&shared->seal, seal_of(synced));
    } while (atomic_load(&shared->synced) != synced);
}

/* With sync_lock held. */
static bool reached(struct bz_disk *disk, uint64_t lsn)
{
    if (lsn <= atomic_load(&disk->durable))
        return false;
    atomic_store(&disk->durable, lsn);
    tell_synced(disk, lsn);
    wake_waiters(disk);
    return publish(disk);
}

void bz_sync_known(struct bz_disk *disk, uint64_t lsn)
{
    pthread_mutex_lock(&disk->sync_lock);
    bool more = reached(disk, lsn);
    pthread_mutex_unlock(&disk->sync_lock);
    (void)more; /* whoever waits for these commits tells of them */
}

bool bz_sync_appended(struct bz_disk *disk, uint64_t lsn, struct bz_waiter *waiter)
{
    pthread_mutex_lock(&disk->sync_lock);
    atomic_store_explicit(&disk->appended, lsn, memory_order_release);
    if (disk->sync_segment != disk->log.segment && disk->log.segment != NULL) {
        if (disk->sync_segment != NULL)
            bz_segment_release(disk->sync_segment);
        disk->sync_segment = bz_segment_retain(disk->log.segment);
    }
    if (waiter != NULL)
        add_waiter(disk, waiter, lsn, true);
    publish(disk);
    bool visible = atomic_load(&disk->visible) >= lsn;
    pthread_mutex_unlock(&disk->sync_lock);
    return visible;
}

int bz_sync_names(struct bz_disk *disk, blaze_error *error)
{
    if (!atomic_load(&disk->names_due))
        return 0;
    char *parent = bz_path_join(disk->path, "..");
    int rc = parent == NULL ? bz_error_code(error, BLAZE_ENOMEM) : bz_dir_sync(disk->path, error);
    if (rc == 0)
        rc = bz_dir_sync(parent, error);
    bz_free(parent);
    if (rc == BLAZE_EPERM)
        rc = 0; /* a parent that may not be read: not of our making */
    if (rc == 0)
        atomic_store(&disk->names_due, false);
    return rc;
}

/* ---- syncs under way ---- */

/* With sync_lock held. */
static void begin_sync(struct bz_disk *disk, struct bz_sync *sync, uint64_t target)
{
    struct bz_sync **link = &disk->syncs_begun;
    while (*link != NULL)
        link = &(*link)->next;
    *sync = (struct bz_sync){.target = target};
    pthread_cond_init(&sync->heard, NULL);
    *link = sync;
}

/* With sync_lock held: those that have ended, from the oldest on, count. */
static void count_ended(struct bz_disk *disk)
{
    struct bz_sync *sync;
    while (!atomic_load(&disk->failed) && (sync = disk->syncs_begun) != NULL && sync->ended) {
        disk->syncs_begun = sync->next;
        sync->counts = true;
        pthread_cond_signal(&sync->heard);
        reached(disk, sync->target);
    }
}

/* With sync_lock held, which is let go of while older ones are under way. False if the store has
 * failed: then the sync does not count. */
static bool end_sync(struct bz_disk *disk, struct bz_sync *sync, bool well)
{
    sync->ended = true;
    if (!well)
        fail_locked(disk);
    count_ended(disk);
    wake_waiters(disk); /* there is a place for the next, whether or not this one adds anything */
    while (!sync->counts && !atomic_load(&disk->failed))
        pthread_cond_wait(&sync->heard, &disk->sync_lock);
    struct bz_sync **link = &disk->syncs_begun;
    while (*link != NULL && *link != sync)
        link = &(*link)->next;
    if (*link != NULL)
        *link = sync->next;
    pthread_cond_destroy(&sync->heard);
    return sync->counts;
}

void bz_sync_begin(struct bz_disk *disk, struct bz_sync *sync)
{
    pthread_mutex_lock(&disk->sync_lock);
    begin_sync(disk, sync, 0);
    pthread_mutex_unlock(&disk->sync_lock);
}

bool bz_sync_end(struct bz_disk *disk, struct bz_sync *sync, bool well)
{
    pthread_mutex_lock(&disk->sync_lock);
    bool counts = end_sync(disk, sync, well);
    pthread_mutex_unlock(&disk->sync_lock);
    return counts;
}

/* With sync_lock held, which is let go of meanwhile: one sync of all that is appended. */
static int sync_now(struct bz_disk *disk, blaze_error *error)
{
    uint64_t target = atomic_load(&disk->appended);
    struct bz_segment *segment = bz_segment_retain(disk->sync_segment);
    struct bz_sync sync;
    disk->syncing++;
    disk->sync_target = target;
    begin_sync(disk, &sync, target);
    pthread_mutex_unlock(&disk->sync_lock);
    int rc = bz_sync_names(disk, error);
    if (rc == 0)
        rc = bz_file_sync(&segment->file, error);
    bz_segment_release(segment);
    atomic_fetch_add(&disk->syncs, 1);
    pthread_mutex_lock(&disk->sync_lock);
    disk->syncing--;
    end_sync(disk, &sync, rc == 0); /* who waits sees what came of it */
    return rc;
}

int bz_sync_wait(struct bz_disk *disk, struct bz_waiter *waiter, blaze_error *error)
{
    int rc = 0;
    pthread_mutex_lock(&disk->sync_lock);
    while (!waiter->done && rc == 0) {
        if (atomic_load(&disk->failed))
            rc = bz_disk_failed(disk, error);
        else if (disk->syncing < SYNCS_MAX &&
                 (disk->syncing == 0 || disk->sync_target < waiter->lsn))
            rc = sync_now(disk, error);
        else
            pthread_cond_wait(&waiter->wake, &disk->sync_lock);
    }
    /* What failed stays hidden: the store has failed, and nothing is published any more. */
    if (waiter->done)
        rc = 0;
    else
        remove_waiter(disk, waiter);
    pthread_mutex_unlock(&disk->sync_lock);
    pthread_cond_destroy(&waiter->wake);
    return rc;
}

int bz_sync_up_to(struct bz_disk *disk, uint64_t lsn, blaze_error *error)
{
    struct bz_waiter waiter;
    pthread_mutex_lock(&disk->sync_lock);
    bool wait = lsn > atomic_load(&disk->durable);
    if (wait)
        add_waiter(disk, &waiter, lsn, false);
    pthread_mutex_unlock(&disk->sync_lock);
    return wait ? bz_sync_wait(disk, &waiter, error) : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Checkpoints, and the threads that do in the background what has a time: the syncer syncs relaxed
 * commits within their window; the mover moves the memtable to the base when it is full or old,
 * which may take longer than that window.
 *
 * A checkpoint freezes the active memtable (a new one takes over, at once), makes its commits
 * durable in the log, writes it out as tables, replaces the manifest by one that names them and
 * says where the log goes on, lets go of it, and recycles the segments that nobody needs any more.
 * Writers go on meanwhile, until the new memtable has twice its size and the frozen one is still
 * there.
 *
 * A crash before the manifest is replaced leaves tables that nobody names; they are removed when
 * the store is next opened alone.
 */

#include "store/disk.h"

#include "base/alloc.h"

#include <time.h>

#define RETRY_NS 1000000000u /* after a checkpoint that failed */

/* ---- asking for it ---- */

void bz_background_relaxed(struct bz_disk *disk)
{
    if (atomic_load_explicit(&disk->relaxed_armed, memory_order_relaxed) ||
        atomic_exchange(&disk->relaxed_armed, true))
        return;
    pthread_mutex_lock(&disk->wake_lock);
    disk->relaxed_due = bz_os_mono_ns() + (uint64_t)disk->relaxed_ms * 1000000u;
    pthread_cond_signal(&disk->syncer.wake);
    pthread_mutex_unlock(&disk->wake_lock);
}

void bz_background_aged(struct bz_disk *disk, bool soon)
{
    if (!soon && (atomic_load_explicit(&disk->aged_armed, memory_order_relaxed) ||
                     atomic_exchange(&disk->aged_armed, true)))
        return;
    pthread_mutex_lock(&disk->wake_lock);
    disk->aged_due = bz_os_mono_ns();
    if (!soon)
        disk->aged_due += (uint64_t)disk->checkpoint_ms * 1000000u;
    pthread_cond_signal(&disk->mover.wake);
    pthread_mutex_unlock(&disk->wake_lock);
}

static void ask_for_checkpoint(struct bz_disk *disk)
{
    pthread_mutex_lock(&disk->wake_lock);
    disk->full_due = true;
    pthread_cond_signal(&disk->mover.wake);
    pthread_mutex_unlock(&disk->wake_lock);
}

void bz_background_resized(struct bz_disk *disk)
{
    pthread_mutex_lock(&disk->wake_lock);
    disk->resized = true;
    pthread_cond_signal(&disk->syncer.wake);
    pthread_mutex_unlock(&disk->wake_lock);
}

/* ---- freezing ---- */

static size_t table_bytes(const struct bz_memtable *table)
{
    return table == NULL ? 0 : atomic_load_explicit(&table->bytes, memory_order_relaxed);
}

/* With `tail` held. */
static int freeze(struct bz_disk *disk, const struct bz_layers *old)
{
    struct bz_layers *layers = bz_layers_new(bz_memtable_new(disk->checkpoint_bytes),
        bz_memtable_retain(old->active), bz_tree_retain(old->tree));
    if (layers == NULL)
        return BLAZE_ENOMEM;
    layers->frozen_end = disk->log.tail;
    bz_layers_replace(disk, layers);
    atomic_store(&disk->aged_armed, false);
    return 0;
}

int bz_disk_freeze(struct bz_disk *disk)
{
    pthread_mutex_lock(&disk->tail);
    const struct bz_layers *old = atomic_load(&disk->layers); /* replaced under `tail` only */
    bool empty = bz_memtable_empty(old->active);
    int rc = old->frozen != NULL ? BLAZE_EBUSY : empty ? 0 : freeze(disk, old);
    pthread_mutex_unlock(&disk->tail);
    if (rc == 0 && !empty)
        ask_for_checkpoint(disk);
    return rc;
}

/* Twice the limit, and the last one not yet gone. */
bool bz_disk_crowded(struct bz_disk *disk)
{
    pthread_mutex_lock(&disk->layers_lock);
    const struct bz_layers *layers = atomic_load(&disk->layers);
    bool crowded =
        layers->frozen != NULL && table_bytes(layers->active) >= 2 * disk->checkpoint_bytes;
    pthread_mutex_unlock(&disk->layers_lock);
    return crowded;
}

int bz_disk_wait_for_room(struct bz_disk *disk, blaze_error *error)
{
    int rc = 0;
    pthread_mutex_lock(&disk->wake_lock);
    while (rc == 0 && bz_disk_crowded(disk)) {
        int failed = atomic_exchange(&disk->checkpoint_error, 0);
        disk->full_due = true;
        pthread_cond_signal(&disk->mover.wake);
        if (failed != 0)
            rc = bz_error_set(error, failed, "%s: the log cannot be moved into the base: %s",
                disk->path, blaze_error_string(failed));
        else
            pthread_cond_wait(&disk->room, &disk->wake_lock);
    }
    pthread_mutex_unlock(&disk->wake_lock);
    return rc;
}

/* ---- moving ---- */

struct bz_tree *bz_disk_tree(struct bz_disk *disk)
{
    pthread_mutex_lock(&disk->layers_lock);
    struct bz_tree *tree = bz_tree_retain(atomic_load(&disk->layers)->tree);
    pthread_mutex_unlock(&disk->layers_lock);
    return tree;
}

int bz_disk_switch(struct bz_disk *disk, struct bz_tree *tree, blaze_error *error)
{
    pthread_mutex_lock(&disk->tail);
    int rc = bz_disk_adopt(disk, tree, error);
    atomic_store(&disk->shared->sequence, tree->sequence);
    if (rc == 0)
        atomic_store(&disk->sequence, tree->sequence);
    pthread_mutex_unlock(&disk->tail);
    return rc;
}

/* Makes `tree` that of the base, where another process may have gone further already. */
static int flush(struct bz_disk *disk, const struct bz_memtable *frozen,
    const struct bz_log_position *end, struct bz_tree **tree, blaze_error *error)
{
    struct bz_tree *known = bz_disk_tree(disk);
    int rc = bz_file_lock(&disk->checkpoint_file, true, true, NULL, error);
    if (rc == 0) {
        rc = bz_base_flush(&disk->tables, known, frozen, end, tree, error);
        if (rc == 0) {
            rc = bz_disk_switch(disk, *tree, error);
            if (rc != 0)
                bz_tree_release(*tree);
        }
        bz_file_unlock(&disk->checkpoint_file, NULL);
    }
    bz_tree_release(known);
    return rc;
}

static int move_frozen(struct bz_disk *disk, const struct bz_memtable *frozen,
    const struct bz_log_position *end, blaze_error *error)
{
    struct bz_tree *tree = NULL;
    int rc = bz_sync_up_to(disk, end->lsn, error);
    if (rc == 0)
        rc = flush(disk, frozen, end, &tree, error);
    if (rc != 0)
        return rc;
    bz_seats_sweep(disk);
    bz_log_recycle(&disk->log, tree->log.segment);
    bz_tree_release(tree);
    atomic_fetch_add(&disk->checkpoints, 1);
    bz_compactor_wake(disk);
    return 0;
}

/* Moves what is frozen, if anything. */
static int checkpoint_frozen(struct bz_disk *disk, blaze_error *error)
{
    pthread_mutex_lock(&disk->checkpointing);
    pthread_mutex_lock(&disk->layers_lock);
    const struct bz_layers *layers = atomic_load(&disk->layers);
    struct bz_memtable *frozen = bz_memtable_retain(layers->frozen);
    struct bz_log_position end = layers->frozen_end;
    pthread_mutex_unlock(&disk->layers_lock);
    int rc = frozen == NULL ? 0 : move_frozen(disk, frozen, &end, error);
    bz_memtable_release(frozen);
    pthread_mutex_unlock(&disk->checkpointing);

    pthread_mutex_lock(&disk->wake_lock);
    atomic_store(&disk->checkpoint_error, rc);
    disk->resized = true;
    pthread_cond_signal(&disk->syncer.wake);
    pthread_cond_broadcast(&disk->room);
    pthread_mutex_unlock(&disk->wake_lock);
    return rc;
}

int bz_disk_checkpoint(struct bz_disk *disk, blaze_error *error)
{
    for (;;) {
        pthread_mutex_lock(&disk->writer);
        int frozen = bz_disk_freeze(disk);
        pthread_mutex_unlock(&disk->writer);
        int rc = checkpoint_frozen(disk, error);
        if (rc != 0 || frozen == 0)
            return rc;
        if (frozen != BLAZE_EBUSY)
            return bz_error_code(error, frozen);
    }
}

int bz_disk_settle(struct bz_disk *disk, blaze_error *error)
{
    int rc = bz_disk_checkpoint(disk, error);
    if (rc != 0)
        return rc;
    pthread_mutex_lock(&disk->checkpointing);
    pthread_mutex_lock(&disk->tail);
    struct bz_layers *layers = atomic_load(&disk->layers);
    struct bz_log_position end = disk->log.tail;
    struct bz_memtable *nothing = bz_memtable_retain(layers->active);
    bool settled = layers->frozen == NULL && bz_memtable_empty(nothing);
    pthread_mutex_unlock(&disk->tail);
    if (settled)
        rc = move_frozen(disk, nothing, &end, error);
    bz_memtable_release(nothing);
    pthread_mutex_unlock(&disk->checkpointing);
    return rc;
}

/* ---- the threads ---- */

static bool due(uint64_t when, uint64_t now)
{
    return when != 0 && when <= now;
}

/* With wake_lock held: until a time (0: none), or until there is something else to do. */
static void sleep_until(struct bz_disk *disk, struct bz_background *background, uint64_t when)
{
    if (when == 0) {
        pthread_cond_wait(&background->wake, &disk->wake_lock);
        return;
    }
    struct timespec at = {(time_t)(when / 1000000000u), (long)(when % 1000000000u)};
    pthread_cond_timedwait(&background->wake, &disk->wake_lock, &at);
}

static void *run_syncer(void *context)
{
    struct bz_disk *disk = context;
    pthread_mutex_lock(&disk->wake_lock);
    while (!disk->stop) {
        bool sync = due(disk->relaxed_due, bz_os_mono_ns());
        bool resized = disk->resized;
        if (!sync && !resized) {
            sleep_until(disk, &disk->syncer, disk->relaxed_due);
            continue;
        }
        if (sync)
            disk->relaxed_due = 0;
        disk->resized = false;
        pthread_mutex_unlock(&disk->wake_lock);
        if (sync) {
            atomic_store(&disk->relaxed_armed, false); /* first: what comes now wants a new one */
            bz_sync_up_to(disk, atomic_load(&disk->appended), NULL);
        }
        if (resized)
            bz_listener_call(&disk->size_listener);
        pthread_mutex_lock(&disk->wake_lock);
    }
    pthread_mutex_unlock(&disk->wake_lock);
    return NULL;
}

/* Moves what is frozen, and, if it is old, what is not. */
static int move(struct bz_disk *disk, bool aged)
{
    if (aged)
        atomic_store(&disk->aged_armed, false); /* also if there is nothing to be frozen */
    bz_compactor_wait(disk);
    return aged ? bz_disk_checkpoint(disk, NULL) : checkpoint_frozen(disk, NULL);
}

static void *run_mover(void *context)
{
    struct bz_disk *disk = context;
    pthread_mutex_lock(&disk->wake_lock);
    while (!disk->stop) {
        bool aged = due(disk->aged_due, bz_os_mono_ns());
        if (!aged && !disk->full_due) {
            sleep_until(disk, &disk->mover, disk->aged_due);
            continue;
        }
        if (aged)
            disk->aged_due = 0;
        disk->full_due = false;
        pthread_mutex_unlock(&disk->wake_lock);
        int rc = move(disk, aged);
        pthread_mutex_lock(&disk->wake_lock);
        if (rc != 0 && !atomic_load(&disk->failed)) {
            atomic_store(&disk->aged_armed, true);
            disk->aged_due = bz_os_mono_ns() + RETRY_NS;
        }
    }
    pthread_mutex_unlock(&disk->wake_lock);
    return NULL;
}

static int start(struct bz_disk *disk, struct bz_background *background,
    void *(*run)(void *context), blaze_error *error)
{
    int number = pthread_create(&background->thread, NULL, run, disk);
    if (number != 0)
        return bz_error_errno(error, number, "start a thread");
    background->runs = true;
    return 0;
}

int bz_background_start(struct bz_disk *disk, blaze_error *error)
{
    int rc = start(disk, &disk->syncer, run_syncer, error);
    return rc != 0 ? rc : start(disk, &disk->mover, run_mover, error);
}

static void join(struct bz_background *background)
{
    if (background->runs)
        pthread_join(background->thread, NULL);
    background->runs = false;
}

void bz_background_stop(struct bz_disk *disk)
{
    pthread_mutex_lock(&disk->wake_lock);
    disk->stop = true;
    pthread_cond_signal(&disk->syncer.wake);
    pthread_cond_signal(&disk->mover.wake);
    pthread_mutex_unlock(&disk->wake_lock);
    bz_compactor_stop(disk);
    join(&disk->mover);
    join(&disk->syncer);
}

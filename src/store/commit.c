/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Transactions.
 *
 * All that can fail for want of memory is done before the frame is written: the nodes of the writes
 * are in the memtable's arena from the beginning, and are only linked when the commit is in the
 * log. They cannot be seen yet, because no snapshot reads up to their LSN before sync.c says so.
 */

#include "store/disk.h"

#include "base/alloc.h"

#include <assert.h>
#include <unistd.h>

#define FRAME_KEEP (1u << 20)  /* a larger frame buffer is given back */
#define NOW_ROOM   (32u << 10) /* in the log's segment, for who must not wait for another */

static struct bz_disk *disk_of(const struct bz_txn *txn)
{
    return (struct bz_disk *)txn->store;
}

static struct bz_memtable *table_of(const struct bz_disk_txn *txn)
{
    return txn->seat->view.layers->active;
}

/* ---- the writer's place ---- */

/* With `tail` and the lock file held: whether the log may have more than we have read. */
static bool is_behind(struct bz_disk *disk)
{
    struct bz_shared *shared = disk->shared;
    return atomic_load(&shared->announced) != atomic_load(&disk->seen) ||
           atomic_load(&shared->segment) != disk->log.tail.segment ||
           atomic_load(&shared->appending) != 0 || atomic_load(&shared->boot) != disk->boot;
}

/* With the lock file held: all that is in the log, and the lock file's word on it put right. */
static int catch_up(struct bz_disk *disk, blaze_error *error)
{
    pthread_mutex_lock(&disk->tail);
    int rc = is_behind(disk) ? bz_disk_catch_up(disk, error) : 0;
    pthread_mutex_unlock(&disk->tail);
    return rc;
}

/* The same for who must not wait: BLAZE_EBUSY if there is anything to be read, or if another is at
 * it. */
static int catch_up_now(struct bz_disk *disk, blaze_error *error)
{
    if (pthread_mutex_trylock(&disk->tail) != 0)
        return bz_error_code(error, BLAZE_EBUSY);
    bool behind = is_behind(disk) || bz_disk_base_moved(disk);
    pthread_mutex_unlock(&disk->tail);
    return behind ? bz_error_code(error, BLAZE_EBUSY) : 0;
}

static int settle_in(struct bz_disk *disk, blaze_error *error)
{
    struct bz_shared *shared = disk->shared;
    pthread_mutex_lock(&disk->tail);
    int rc = disk->log.stuck ? bz_log_check_end(&disk->log, error) : 0;
    uint64_t lsn = disk->log.tail.lsn;
    if (rc == 0) {
        atomic_store(&disk->writing, true);
        atomic_store(&disk->seen, lsn);
        atomic_store(&shared->announced, lsn);
        atomic_store(&shared->segment, disk->log.tail.segment);
        atomic_store(&shared->appending, 0);
        atomic_store(&shared->boot, disk->boot);
        atomic_store(&shared->pid, (uint64_t)getpid());
    }
    pthread_mutex_unlock(&disk->tail);
    return rc;
}

static int take_place(struct bz_disk *disk, bool now, struct bz_seat **seat, blaze_error *error)
{
    int rc = bz_file_lock(&disk->lock_file, true, !now, NULL, error);
    if (rc != 0)
        return rc;
    rc = now ? catch_up_now(disk, error) : catch_up(disk, error);
    if (rc == 0)
        rc = bz_seat_take(disk, seat, error);
    if (rc == 0) {
        rc = settle_in(disk, error);
        if (rc != 0)
            bz_seat_give(disk, *seat);
    }
    if (rc != 0)
        bz_file_unlock(&disk->lock_file, NULL);
    return rc;
}

/* The writer's place in this process, once there is room for what it writes. It is not kept while
 * waiting for that: whoever makes room has to freeze memtables, which takes it, too. */
static int enter(struct bz_disk *disk, blaze_error *error)
{
    for (;;) {
        pthread_mutex_lock(&disk->writer);
        if (!bz_disk_crowded(disk) && !atomic_load(&disk->failed))
            return 0;
        pthread_mutex_unlock(&disk->writer);
        int rc = atomic_load(&disk->failed) ? bz_disk_failed(disk, error)
                                            : bz_disk_wait_for_room(disk, error);
        if (rc != 0)
            return rc;
    }
}

/* Whether a small relaxed commit need not wait for the disk, nor for a commit that does. */
static bool flows(struct bz_disk *disk)
{
    if (bz_disk_crowded(disk) || atomic_load(&disk->failed))
        return false;
    if (bz_sync_holds(disk) || pthread_mutex_trylock(&disk->tail) != 0)
        return false;
    bool room = bz_log_room(&disk->log) >= NOW_ROOM;
    pthread_mutex_unlock(&disk->tail);
    return room;
}

/* The writer's place in this process, if it can be had, and used, without waiting. */
static int enter_now(struct bz_disk *disk, blaze_error *error)
{
    if (pthread_mutex_trylock(&disk->writer) != 0)
        return bz_error_code(error, BLAZE_EBUSY);
    if (flows(disk))
        return 0;
    pthread_mutex_unlock(&disk->writer);
    return bz_error_code(error, BLAZE_EBUSY);
}

int bz_disk_txn_begin(struct bz_store *store, bool now, struct bz_txn **out, blaze_error *error)
{
    struct bz_disk *disk = (struct bz_disk *)store;
    struct bz_disk_txn *txn = &disk->txn;
    struct bz_seat *seat;
    int rc = now ? enter_now(disk, error) : enter(disk, error);
    if (rc != 0)
        return rc;
    rc = take_place(disk, now, &seat, error);
    if (rc != 0) {
        pthread_mutex_unlock(&disk->writer);
        return rc;
    }
    *txn = (struct bz_disk_txn){.base = {.view = &seat->view.base}, .seat = seat};
    bz_mem_list_init(&txn->writes);
    seat->view.lsn = atomic_load(&disk->appended);
    seat->view.writes = &txn->writes;
    atomic_fetch_add(&disk->open_handles, 1);
    *out = &txn->base;
    return 0;
}

static void leave_place(struct bz_disk *disk)
{
    struct bz_disk_txn *txn = &disk->txn;
    bool full = atomic_load(&table_of(txn)->bytes) >= disk->checkpoint_bytes;
    txn->seat->view.writes = NULL;
    bz_seat_give(disk, txn->seat);
    if (full)
        bz_disk_freeze(disk);
    atomic_store(&disk->writing, false);
    bz_file_unlock(&disk->lock_file, NULL);
    pthread_mutex_unlock(&disk->writer);
}

static void close_handle(struct bz_disk *disk)
{
    atomic_fetch_sub(&disk->open_handles, 1);
}

void bz_disk_txn_abort(struct bz_txn *txn)
{
    struct bz_disk *disk = disk_of(txn);
    leave_place(disk);
    close_handle(disk);
}

/* ---- writing ---- */

static int add_write(struct bz_txn *base, uint32_t map, struct bz_bytes key, struct bz_bytes value,
    bool deleted, blaze_error *error)
{
    struct bz_disk_txn *txn = (struct bz_disk_txn *)base;
    struct bz_mem_node *node = bz_memtable_node(table_of(txn), map, key, value, deleted);
    if (node == NULL || txn->count == UINT32_MAX)
        return bz_error_code(error, node == NULL ? BLAZE_ENOMEM : BLAZE_ELIMIT);
    node->chain = txn->last;
    txn->last = node;
    bz_mem_link_node(&txn->writes, node, ++txn->count);
    txn->seat->view.changes++;
    return 0;
}

int bz_disk_txn_put(struct bz_txn *txn, uint32_t map, struct bz_bytes key, struct bz_bytes value,
    blaze_error *error)
{
    return add_write(txn, map, key, value, false, error);
}

int bz_disk_txn_delete(struct bz_txn *txn, uint32_t map, struct bz_bytes key, blaze_error *error)
{
    return add_write(txn, map, key, bz_bytes(NULL, 0), true, error);
}

/* A savepoint is the number of writes before it. */
uint32_t bz_disk_txn_savepoint(struct bz_txn *txn)
{
    return ((struct bz_disk_txn *)txn)->count;
}

int bz_disk_txn_rollback_to(struct bz_txn *base, uint32_t savepoint, blaze_error *error)
{
    struct bz_disk_txn *txn = (struct bz_disk_txn *)base;
    if (savepoint > txn->count)
        return bz_error_set(error, BLAZE_EINVAL, "no savepoint %u", savepoint);
    while (txn->count > savepoint) {
        bz_mem_unlink(&txn->writes, txn->last);
        txn->last = txn->last->chain;
        txn->count--;
    }
    txn->seat->view.changes++;
    return 0;
}

/* ---- committing ---- */

static struct bz_mem_node *first_write(const struct bz_disk_txn *txn)
{
    return atomic_load_explicit(&txn->writes.head[0], memory_order_relaxed);
}

/* The newest write of the next key. */
static struct bz_mem_node *next_write(const struct bz_mem_node *node)
{
    struct bz_mem_node *next = bz_mem_next(node);
    while (next != NULL && bz_mem_same_key(next, node))
        next = bz_mem_next(next);
    return next;
}

static void leave_room(struct bz_buf *frame, size_t size)
{
    if (bz_buf_reserve(frame, size) != NULL)
        bz_buf_advance(frame, size);
}

/* The frame of the transaction in disk->frame, its header still to be filled in. */
static int encode(struct bz_disk *disk, blaze_error *error)
{
    struct bz_buf *frame = &disk->frame;
    bool sealed = disk->log.key != NULL;
    bz_buf_clear(frame);
    leave_room(frame, BZ_FRAME_HEADER + (sealed ? BZ_LOG_SEAL_LEAD : 0));
    for (struct bz_mem_node *node = first_write(&disk->txn); node != NULL;
         node = next_write(node)) {
        struct bz_write one = {node->map, node->deleted, bz_mem_key(node), bz_mem_value(node)};
        bz_write_append(frame, &one);
    }
    if (sealed)
        leave_room(frame, BZ_LOG_SEAL_TRAIL);
    return frame->error == 0 ? 0 : bz_error_code(error, frame->error);
}

static void link_writes(struct bz_disk *disk, uint64_t lsn)
{
    struct bz_memtable *table = table_of(&disk->txn);

    struct bz_mem_node *node = first_write(&disk->txn);
    while (node != NULL) {
        struct bz_mem_node *next = next_write(node);
        bz_memtable_link(table, node, lsn);
        node = next;
    }
}

/* How many of the commits so far may not be on the disk. */
static uint32_t unsynced_commits(const struct bz_disk *disk)
{
    uint64_t lsn = disk->log.tail.lsn;
    uint64_t ours = atomic_load(&disk->durable), others = bz_shared_synced(disk->shared);
    uint64_t behind = lsn - (others > ours && others <= lsn ? others : ours);
    return behind > UINT32_MAX ? UINT32_MAX : (uint32_t)behind;
}

/* All commits so far are in a segment that was synced, and none in the one that has begun. */
static int ended_segment(struct bz_disk *disk, blaze_error *error)
{
    if (bz_sync_names(disk, error) != 0)
        return bz_error_set(error, BLAZE_EFAILED, "%s: the sync of its names failed", disk->path);
    bz_sync_known(disk, disk->log.tail.lsn);
    return 0;
}

/* Makes room for a frame, which may end a segment and sync it. */
static int make_room(
    struct bz_disk *disk, uint32_t payload, uint32_t unsynced, bool *synced, blaze_error *error)
{
    struct bz_log *log = &disk->log;
    struct bz_sync sync;
    if (bz_log_fits(log, payload))
        return bz_log_make_room(log, payload, unsynced, synced, error);
    bz_sync_begin(disk, &sync);
    int rc = bz_log_make_room(log, payload, unsynced, synced, error);
    bool counts = bz_sync_end(disk, &sync, rc != BLAZE_EFAILED);
    return rc != 0 || counts ? rc : bz_disk_failed(disk, error);
}

/* Writes the frame to the log; with `tail` held. */
static int append(struct bz_disk *disk, blaze_error *error)
{
    struct bz_log *log = &disk->log;
    uint32_t payload = (uint32_t)(disk->frame.size - BZ_FRAME_HEADER);
    uint32_t unsynced = unsynced_commits(disk);
    uint64_t segment = log->tail.segment;
    bool synced;
    atomic_store(&disk->shared->appending, 1);
    int rc = make_room(disk, payload, unsynced, &synced, error);
    atomic_store(&disk->shared->segment, log->tail.segment); /* also if the commit fails */
    if (log->tail.segment != segment)
        bz_background_resized(disk);
    if (rc == 0 && synced)
        rc = ended_segment(disk, error);
    if (rc == 0)
        rc = bz_log_append(log, disk->frame.data, payload, synced ? 0 : unsynced, error);
    if (rc == BLAZE_EFAILED)
        bz_disk_fail(disk);
    return rc;
}

/* Appends, links and announces. *visible says whether snapshots see it already. */
static int commit(struct bz_disk *disk, struct bz_waiter *waiter, uint64_t *lsn, bool *visible,
    blaze_error *error)
{
    int rc = atomic_load(&disk->failed) ? bz_disk_failed(disk, error) : encode(disk, error);
    if (rc != 0)
        return rc;
    pthread_mutex_lock(&disk->tail);
    rc = append(disk, error);
    if (rc == 0) {
        *lsn = disk->log.tail.lsn;
        link_writes(disk, *lsn);
        *visible = bz_sync_appended(disk, *lsn, waiter);
        atomic_store(&disk->seen, *lsn);
        atomic_store(&disk->shared->announced, *lsn);
        atomic_fetch_add(&disk->written, disk->frame.size);
    }
    /* Not before the commit is announced: whoever comes after a killed writer must look for it. */
    if (rc != BLAZE_EFAILED)
        atomic_store(&disk->shared->appending, 0);
    pthread_mutex_unlock(&disk->tail);
    if (disk->frame.capacity > FRAME_KEEP)
        bz_buf_release(&disk->frame);
    return rc;
}

int bz_disk_txn_commit(struct bz_txn *base, enum bz_durability durability, blaze_error *error)
{
    struct bz_disk *disk = disk_of(base);
    struct bz_waiter waiter;
    bool full = durability == BZ_DURABLE_FULL;
    bool empty = disk->txn.count == 0;
    bool visible = false;
    uint64_t lsn = 0;
    int rc = empty ? 0 : commit(disk, full ? &waiter : NULL, &lsn, &visible, error);
    leave_place(disk);
    if (rc == 0 && !empty) {
        bz_background_aged(disk, false);
        if (full)
            rc = bz_sync_wait(disk, &waiter, error);
        else if (!visible)
            rc = bz_sync_up_to(disk, lsn, error); /* it must not be seen before a full one is */
        else
            bz_background_relaxed(disk);
        if (rc == 0)
            bz_listener_call(&disk->listener);
    }
    close_handle(disk);
    return rc;
}

/* ---- the log's size ---- */

int bz_disk_start_over(struct bz_disk *disk, blaze_error *error)
{
    struct bz_txn *txn;
    struct bz_sync sync;
    int rc = bz_txn_begin(&disk->base, &txn, error);
    if (rc != 0)
        return rc;
    pthread_mutex_lock(&disk->tail);
    atomic_store(&disk->shared->appending, 1);
    bz_sync_begin(disk, &sync);
    rc = bz_log_start_over(&disk->log, unsynced_commits(disk), error);
    if (!bz_sync_end(disk, &sync, rc != BLAZE_EFAILED) && rc == 0)
        rc = bz_disk_failed(disk, error);
    atomic_store(&disk->shared->segment, disk->log.tail.segment);
    if (rc == 0)
        rc = ended_segment(disk, error);
    if (rc == BLAZE_EFAILED)
        bz_disk_fail(disk);
    else
        atomic_store(&disk->shared->appending, 0);
    pthread_mutex_unlock(&disk->tail);
    bz_txn_abort(txn);
    return rc;
}

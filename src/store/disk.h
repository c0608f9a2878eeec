/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_DISK_H
#define BZ_STORE_DISK_H

/*
 * The durable store, between its source files:
 *
 *   disk.c        opening and closing; the registry of what this process has open
 *   recover.c     what is found when it is opened
 *   view.c        snapshots: the pairing of base and memtables; catching up with other processes
 *   cursor.c      walking over both at once
 *   commit.c      transactions
 *   sync.c        durability and visibility: who syncs, who waits, what snapshots see
 *   checkpoint.c  the two background threads
 *   compactor.c   the thread that merges tables, while there is something to merge
 *
 * STATE. The commits up to LSN x are in the base; those after x are in the memtables of `layers`
 * (and some before, which does no harm: they say the same). The log has all commits after x.
 *
 *     base x  <=  durable  <=  visible  <=  appended      (visible <= durable without relaxed ones)
 *
 * A snapshot is the layers, which are memtables and the tree of the base, and an LSN y >= x up to
 * which they are whole. Other processes may have moved more to their tables, and removed ours: ours
 * stay readable as long as they are open, and a log that goes on from them is as good.
 *
 * LOCKS, in the order in which they may be taken:
 *   compacting      one compaction of this process at a time; then the file `compaction`, for the
 *                   other processes
 *   checkpointing   one change of the manifest of this process at a time; then the file
 *                   `checkpoint`, for the other processes. Never together with `writer`.
 *   writer          the writer's place in this process, from begin to commit or abort; then the
 *                   lock file, for the other processes
 *   tail            the log, the active memtable's links, replacing the layers
 *   sync_lock       durable, visible, appended, failed, the waiters
 *   wake_lock       what the background threads wait for
 *   layers_lock     only to swap the pointer, or to take a reference of what it points at
 * No reader takes `writer`, and `tail` only when another process has committed.
 */

#include "store/base.h"
#include "store/compact.h"
#include "store/listener.h"
#include "store/presence.h"
#include "store/store_priv.h"
#include "store/tree_iter.h"

#define BZ_SEATS 64u

/* What is current together. Never changes; replaced as a whole. */
struct bz_layers {
    atomic_size_t refs;
    struct bz_memtable *active;
    struct bz_memtable *frozen; /* on its way to the base, or NULL */
    struct bz_log_position frozen_end;
    struct bz_tree *tree; /* has all commits that the memtables do not have */
};

struct bz_disk_view {
    struct bz_view base;
    struct bz_disk *disk;
    struct bz_layers *layers;
    uint64_t lsn;
    const struct bz_mem_list *writes;         /* of the transaction, or NULL */
    uint64_t changes;                         /* counts them and their undoing */
    struct bz_block *pins[BZ_STORE_MAPS_MAX]; /* what the last value got of each map is in */
};

/* A snapshot, kept for reuse with its layers. A transaction reads through one, too. */
struct bz_seat {
    atomic_bool busy;
    bool heap;
    struct bz_snapshot snapshot;
    struct bz_disk_view view;
    char apart[64]; /* keeps the seats of two threads out of each other's cache lines */
};

/* The lock file, mapped by all processes that have the store open. */
struct bz_shared {
    _Atomic uint64_t boot;      /* when this was written; what another boot left means nothing */
    _Atomic uint64_t announced; /* the newest commit in the log */
    _Atomic uint64_t appending; /* a writer died if this is set while nobody writes */
    _Atomic uint64_t pid;       /* of the last writer */
    _Atomic uint64_t synced;    /* the newest commit that is known to be on the disk, of any boot */
    _Atomic uint64_t segment;   /* of the log that the next commit goes to, or a later one */
    _Atomic uint64_t seal;      /* proves that `synced` is not what a power cut has left there */
    _Atomic uint64_t sequence;  /* of the manifest; where it changes, it is to be read again */
};

struct bz_waiter {
    uint64_t lsn;
    bool holds; /* what is at or behind lsn must not be seen before it is durable */
    bool done;
    pthread_cond_t wake;
    struct bz_waiter *next;
};

/* A sync that was begun. */
struct bz_sync {
    uint64_t
        target; /* the commits up to here are durable once it counts; 0: that is not known yet */
    bool ended;
    bool counts;
    pthread_cond_t heard;
    struct bz_sync *next;
};

struct bz_disk_txn {
    struct bz_txn base;
    struct bz_seat *seat;
    struct bz_mem_list writes;
    struct bz_mem_node *last; /* newest first, through `chain` */
    uint32_t count;
};

/* A thread for what has a time. */
struct bz_background {
    pthread_t thread;
    bool runs;
    pthread_cond_t wake;
};

struct bz_disk {
    struct bz_store base;
    char *path;
    uint32_t relaxed_ms;
    uint64_t checkpoint_bytes;
    uint32_t checkpoint_ms;

    struct bz_base tables;
    struct bz_file presence; /* see presence.h */
    struct bz_file lock_file;
    struct bz_shared *shared;
    struct bz_disk *next_open; /* in the registry */
    struct bz_file_mark identity;
    char *log_path;
    uint64_t boot;
    bool shared_private; /* there is no lock file, nor can there be one: `shared` is our own */
    blaze_error damage;  /* of the log; opened read-only all the same, for what is before it */
    bool sealed;
    struct bz_data_key data_key; /* of a sealed store */

    pthread_mutex_t writer;
    struct bz_disk_txn txn;
    struct bz_buf frame;
    atomic_bool writing; /* the place is ours in all processes, and we have caught up */

    pthread_mutex_t tail;
    struct bz_log log;
    atomic_uint_fast64_t seen; /* what was announced when we last looked */

    pthread_mutex_t sync_lock;
    atomic_uint_fast64_t appended;
    atomic_uint_fast64_t durable;
    atomic_uint_fast64_t visible;
    struct bz_segment *sync_segment; /* that the commit `appended` is in */
    struct bz_waiter *waiters;       /* by LSN */
    uint64_t sync_target;            /* of the newest sync that was begun */
    unsigned syncing;
    struct bz_sync *syncs_begun; /* and have not ended, or do not count yet; oldest first */
    atomic_int failed;
    atomic_bool names_due; /* nobody is known to have synced the names of the store */

    pthread_mutex_t layers_lock;
    _Atomic(struct bz_layers *) layers;
    atomic_uint_fast64_t sequence; /* what the lock file said when we last read the manifest */
    struct bz_file_mark manifest;  /* where there is no lock file: the one that we have read */

    pthread_mutex_t checkpointing;
    struct bz_file checkpoint_file; /* its lock: the same among processes */
    pthread_mutex_t wake_lock;
    pthread_cond_t room; /* a checkpoint has ended */
    bool stop;
    struct bz_background syncer;
    uint64_t relaxed_due; /* when to sync, 0: nothing to sync */
    bool resized;         /* the size listener is to be called */
    struct bz_background mover;
    uint64_t aged_due; /* when to checkpoint */
    bool full_due;     /* the memtable is full */
    atomic_bool relaxed_armed;
    atomic_bool aged_armed;
    atomic_int checkpoint_error; /* of the last attempt */

    pthread_mutex_t compacting;
    struct bz_file compaction_file; /* its lock: the same among processes */
    pthread_mutex_t compactor_lock;
    pthread_cond_t compacted; /* a compaction has ended */
    pthread_t compactor;
    bool compactor_began; /* there is a thread to be joined, */
    bool compactor_runs;  /* and it has not come to its end */
    bool compactor_again; /* something has become due since it began to look */
    atomic_bool compactor_stop;
    atomic_int compaction_error; /* of the last one */

    struct bz_listener listener;
    struct bz_listener size_listener; /* called by the syncer */
    atomic_size_t open_handles;
    atomic_uint_fast64_t checkpoints, compactions, syncs, written;

    struct bz_seat seats[BZ_SEATS];
};

extern const struct bz_store_ops bz_disk_ops;

/* ---- recover.c ---- */

/* Sets up the layers from the manifest and the log. BLAZE_ECORRUPT, for who only reads only if
 * there is no whole state. */
int bz_disk_recover(struct bz_disk *disk, blaze_error *error);

/* ---- view.c ---- */

/* Takes over the references; NULL when out of memory, which is also what `active` NULL means. */
struct bz_layers *bz_layers_new(
    struct bz_memtable *active, struct bz_memtable *frozen, struct bz_tree *tree);
void bz_layers_release(struct bz_layers *layers);

/* Takes over the reference. */
void bz_layers_replace(struct bz_disk *disk, struct bz_layers *layers);

/* With `tail` held: reads on in the log what other processes appended. */
int bz_disk_catch_up(struct bz_disk *disk, blaze_error *error);

/* With `tail` held, and no transaction open here: replaces the layers by `tree` and what the log
 * has behind it. On failure all is as it was. If damage is known, what is before it will do, even
 * if that is nothing: then the log has no segment. */
int bz_disk_restart(struct bz_disk *disk, struct bz_tree *tree, blaze_error *error);

/* Whether there is another manifest than the one that we have read. */
bool bz_disk_base_moved(struct bz_disk *disk);

/* With `tail` held: takes `tree`, which may be that of another process, in place of the one that
 * the layers have, and lets go of what it has moved. */
int bz_disk_adopt(struct bz_disk *disk, struct bz_tree *tree, blaze_error *error);

/* A seat with a consistent view of the newest visible commit, to be given back. */
int bz_seat_take(struct bz_disk *disk, struct bz_seat **out, blaze_error *error);
void bz_seat_give(struct bz_disk *disk, struct bz_seat *seat);

/* Lets go of what idle seats keep for reuse. */
void bz_seats_sweep(struct bz_disk *disk);
void bz_seats_close(struct bz_disk *disk);

int bz_disk_snapshot_open(struct bz_store *store, struct bz_snapshot **out, blaze_error *error);
void bz_disk_snapshot_close(struct bz_snapshot *snapshot);
uint64_t bz_disk_lsn(struct bz_store *store);
int bz_disk_get(struct bz_view *view, uint32_t map, struct bz_bytes key, struct bz_bytes *value,
    blaze_error *error);

/* ---- cursor.c ---- */

int bz_disk_cursor_open(
    struct bz_view *view, uint32_t map, struct bz_cursor **out, blaze_error *error);
void bz_disk_cursor_close(struct bz_cursor *cursor);
int bz_disk_cursor_seek(struct bz_cursor *cursor, struct bz_bytes key, blaze_error *error);
int bz_disk_cursor_next(struct bz_cursor *cursor, blaze_error *error);
int bz_disk_cursor_prev(struct bz_cursor *cursor, blaze_error *error);

/* ---- commit.c ---- */

int bz_disk_txn_begin(struct bz_store *store, bool now, struct bz_txn **out, blaze_error *error);
int bz_disk_txn_put(struct bz_txn *txn, uint32_t map, struct bz_bytes key, struct bz_bytes value,
    blaze_error *error);
int bz_disk_txn_delete(struct bz_txn *txn, uint32_t map, struct bz_bytes key, blaze_error *error);
uint32_t bz_disk_txn_savepoint(struct bz_txn *txn);
int bz_disk_txn_rollback_to(struct bz_txn *txn, uint32_t savepoint, blaze_error *error);
int bz_disk_txn_commit(struct bz_txn *txn, enum bz_durability durability, blaze_error *error);
void bz_disk_txn_abort(struct bz_txn *txn);

/* Has the log go on in a new, small segment. Not while the base is too far behind. */
int bz_disk_start_over(struct bz_disk *disk, blaze_error *error);

/* ---- sync.c ---- */

/* Says that the writers' side has failed, for good; returns BLAZE_EFAILED. */
int bz_disk_failed(const struct bz_disk *disk, blaze_error *error);
void bz_disk_fail(struct bz_disk *disk);

/* Tells of a commit that is in the log and linked: with `waiter` NULL it may be seen at once,
 * unless something before it must not (false). With `tail` held. */
bool bz_sync_appended(struct bz_disk *disk, uint64_t lsn, struct bz_waiter *waiter);

/* Whether a commit would have to wait for the sync of one before it. */
bool bz_sync_holds(struct bz_disk *disk);

/* The newest commit that the lock file knows to be on the disk; 0 if it does not know. */
uint64_t bz_shared_synced(struct bz_shared *shared);

/* Makes the names of the store, and of what it consists of, durable if they may not be. */
int bz_sync_names(struct bz_disk *disk, blaze_error *error);

/* All commits up to `lsn` are durable: so the base or a finished segment says. */
void bz_sync_known(struct bz_disk *disk, uint64_t lsn);

/* Around a sync of the log that is done elsewhere. The latter waits for the older ones: false if
 * it, or one of them, has failed. */
void bz_sync_begin(struct bz_disk *disk, struct bz_sync *sync);
bool bz_sync_end(struct bz_disk *disk, struct bz_sync *sync, bool well);

/* Waits for, or does, the sync that makes the waiter's commit durable. */
int bz_sync_wait(struct bz_disk *disk, struct bz_waiter *waiter, blaze_error *error);

/* Makes the commits up to `lsn`, which are appended, durable. */
int bz_sync_up_to(struct bz_disk *disk, uint64_t lsn, blaze_error *error);

/* ---- checkpoint.c ---- */

int bz_background_start(struct bz_disk *disk, blaze_error *error);
void bz_background_stop(struct bz_disk *disk);

/* Has relaxed commits synced in time. */
void bz_background_relaxed(struct bz_disk *disk);

/* Has the memtable moved to the base when it is old enough, or soon. */
void bz_background_aged(struct bz_disk *disk, bool soon);

/* Has the size listener called. */
void bz_background_resized(struct bz_disk *disk);

/* With `writer` held and no transaction open: freezes the active memtable, unless it is empty, and
 * has it moved. BLAZE_EBUSY if one is frozen already, BLAZE_ENOMEM. */
int bz_disk_freeze(struct bz_disk *disk);

/* Whether the base is too far behind for another commit. */
bool bz_disk_crowded(struct bz_disk *disk);

/* Without `writer`: waits while it is; the error that keeps it there. */
int bz_disk_wait_for_room(struct bz_disk *disk, blaze_error *error);

/* Moves all that is appended into the base. */
int bz_disk_checkpoint(struct bz_disk *disk, blaze_error *error);

/* The same, while nobody here commits; and moves the base's place in the log even if there is no
 * commit to be moved, so that finished segments can go. */
int bz_disk_settle(struct bz_disk *disk, blaze_error *error);

/* The tree that is current, retained. */
struct bz_tree *bz_disk_tree(struct bz_disk *disk);

/* With the lock `checkpoint`: tells everybody of a manifest that is on the disk. */
int bz_disk_switch(struct bz_disk *disk, struct bz_tree *tree, blaze_error *error);

/* ---- compactor.c ---- */

/* Has the tables merged that are due, in a thread that ends with the work. */
void bz_compactor_wake(struct bz_disk *disk);
void bz_compactor_stop(struct bz_disk *disk);

/* Waits while level 0 is far too deep, unless compactions fail or the store is being closed. */
void bz_compactor_wait(struct bz_disk *disk);

/* Merges what is worth it, in the calling thread. */
int bz_disk_compact(struct bz_disk *disk, enum bz_compaction_need need, blaze_error *error);

#endif

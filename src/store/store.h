/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_STORE_H
#define BZ_STORE_STORE_H

/*
 * Named maps of ordered byte keys, with atomic commits and snapshots. Two implementations, one
 * contract (store_contract_test.c, store_model_test.c): the durable store in a directory
 * (docs/format/store.md) and a plain twin in memory.
 *
 *   view      a consistent state to read: that of a snapshot, or of a transaction (which sees its
 *             own writes).
 *   snapshot  a view of what was committed when it was opened. Any number, any thread; each belongs
 *             to one thread at a time. They never wait for writers.
 *   txn       the writer: one at a time for the whole database, in all processes. Belongs to the
 *             thread that began it.
 *
 * Keys have 1 to BZ_STORE_KEY_MAX bytes, values 0 to BZ_STORE_VALUE_MAX, a commit
 * BZ_STORE_COMMIT_MAX in all (BLAZE_ELIMIT).
 *
 * A failed commit leaves nothing of itself visible; if it cannot be known what reached the disk,
 * the store is failed (BLAZE_EFAILED from then on for writers; readers go on).
 */

#include "base/bytes.h"
#include "base/error.h"
#include "crypto/vault.h"

#define BZ_STORE_KEY_MAX    511u
#define BZ_STORE_VALUE_MAX  (128u << 20)
#define BZ_STORE_COMMIT_MAX (1u << 30)
#define BZ_STORE_MAPS_MAX   32u

enum bz_durability {
    /* On disk when commit returns; snapshots of this process see it from then on, other processes
     * and the next writer as soon as it is in the log. */
    BZ_DURABLE_FULL,
    /* In the log and seen by snapshots when commit returns; on disk within the window. */
    BZ_DURABLE_RELAXED,
};

struct bz_store;
struct bz_view;
struct bz_snapshot;
struct bz_txn;
struct bz_cursor;
struct bz_memory_image;

struct bz_store_options {
    const char *const *maps; /* names; a map is then known by its index here */
    uint32_t map_count;
    bool create;                /* make the directory if it is not there; else BLAZE_ENOTFOUND */
    bool alone;                 /* BLAZE_EBUSY if another has it open; nobody else can open it */
    bool read_only;             /* needs no right to write; see bz_store_open() */
    bool allow_network;         /* also on a file system that other machines share */
    uint32_t relaxed_window_ms; /* 0: the default, 100 */
    uint64_t checkpoint_bytes;  /* memtable size that starts a checkpoint; 0: 64 MiB */
    uint32_t checkpoint_ms;     /* age that starts one; 0: 30,000 */
    uint64_t segment_bytes;     /* of the log, at most; 0: 16 MiB */
    uint64_t table_bytes;       /* of a table of the base, about; 0: 32 MiB */
    uint64_t level_bytes;       /* of the base's level 1; 0: 256 MiB */
    uint64_t cache_bytes;       /* of opened blocks, in a sealed store, at most; 0: see limits.md */
    const struct bz_vault_secret *secret; /* of a sealed store; borrowed until it is open */
    /* In memory, for tests (memory_image.h): what the store holds to begin with, and whether what
     * a power cut would leave of it is kept. */
    const struct bz_memory_image *image;
    bool keeps_durable;
};

/*
 * Opens the store in directory `path`, recovering what a crash left. BLAZE_EBUSY (naming the pid
 * where known) if this process has it open already; BLAZE_ECORRUPT naming file and offset;
 * BLAZE_EINVAL if `path` is no directory; BLAZE_EEXIST if a store is to be created where other
 * things are; BLAZE_EPERM on a network file system.
 *
 * With a secret a new store is sealed, and a sealed one opened: BLAZE_EAUTH if it is another one or
 * none is given, BLAZE_EINVAL for a store that is not sealed. BLAZE_EEXIST instead of both if it
 * was to be created.
 *
 * Read-only, it writes nothing but the lock file, if that is lost and can be made. A log that is
 * damaged or cut short then shows the commits before the damage, a table that cannot be opened is
 * left out, and stats say so.
 */
int bz_store_open(struct bz_store **out, const char *path, const struct bz_store_options *options,
    blaze_error *error);
int bz_store_open_memory(
    struct bz_store **out, const struct bz_store_options *options, blaze_error *error);

/* Closes: all snapshots and transactions must be closed (asserted). Relaxed commits are synced
 * first; the error of that, if any, is returned, and the store is closed all the same. */
int bz_store_close(struct bz_store *store, blaze_error *error);

/* Removes the files of a store that nobody has open, and nothing else: the directory stays. */
void bz_store_remove(const char *path);

/* Has the sealed store at `path` open with another secret from now on, or with the same one and
 * other costs. The data stays as it is, and so do those who have the store open. A crash leaves the
 * one or the other. BLAZE_EAUTH, BLAZE_EINVAL if it is not sealed, BLAZE_ENOTFOUND, BLAZE_ECORRUPT;
 * BLAZE_EBUSY if another does the same at this moment, or has the store alone. */
int bz_store_change_secret(const char *path, const struct bz_vault_secret *from,
    const struct bz_vault_secret *to, blaze_error *error);

/* ---- reading ---- */

int bz_snapshot_open(struct bz_store *store, struct bz_snapshot **out, blaze_error *error);
void bz_snapshot_close(struct bz_snapshot *snapshot);
struct bz_view *bz_snapshot_view(struct bz_snapshot *snapshot);
uint64_t bz_snapshot_lsn(const struct bz_snapshot *snapshot);

/* *value is borrowed until the next get of the same map through this view, or until it closes; in a
 * transaction also until the next write of the key. BLAZE_ENOTFOUND. */
int bz_view_get(struct bz_view *view, uint32_t map, struct bz_bytes key, struct bz_bytes *value,
    blaze_error *error);

/*
 * A cursor walks one map in key order, either way. It starts before the first key. seek() goes to
 * the first key >= `key` (an empty one: to the first); next() and prev() move by one (from the
 * start, to the first or last key). All give BLAZE_END, and the unpositioned state, when there is
 * none. Key and value borrow until the cursor moves. A transaction may write while a cursor over it
 * is open: the cursor then stands where it stood and moves over the new state.
 *
 * After BLAZE_ECORRUPT the next movement in the same direction goes on behind the damage.
 */
int bz_cursor_open(struct bz_view *view, uint32_t map, struct bz_cursor **out, blaze_error *error);
void bz_cursor_close(struct bz_cursor *cursor);
int bz_cursor_seek(struct bz_cursor *cursor, struct bz_bytes key, blaze_error *error);
int bz_cursor_next(struct bz_cursor *cursor, blaze_error *error);
int bz_cursor_prev(struct bz_cursor *cursor, blaze_error *error);
struct bz_bytes bz_cursor_key(const struct bz_cursor *cursor);
struct bz_bytes bz_cursor_value(const struct bz_cursor *cursor);

/* ---- writing ---- */

/* Waits for the writer's place, then catches up with what other processes committed. */
int bz_txn_begin(struct bz_store *store, struct bz_txn **out, blaze_error *error);
/* The same, for a relaxed commit by a thread that must not wait: BLAZE_EBUSY if it would have to
 * wait for anyone, or for the disk; unless it writes tens of kilobytes, which may begin a segment
 * of the log. */
int bz_txn_begin_now(struct bz_store *store, struct bz_txn **out, blaze_error *error);
struct bz_view *bz_txn_view(struct bz_txn *txn);
int bz_txn_put(struct bz_txn *txn, uint32_t map, struct bz_bytes key, struct bz_bytes value,
    blaze_error *error);

/* Deleting a key that is not there is no error. */
int bz_txn_delete(struct bz_txn *txn, uint32_t map, struct bz_bytes key, blaze_error *error);

/* A mark to go back to: writes after it are undone. Marks nest; going back drops the later ones and
 * keeps this one. BLAZE_EINVAL for a mark that is not there. */
uint32_t bz_txn_savepoint(struct bz_txn *txn);
int bz_txn_rollback_to(struct bz_txn *txn, uint32_t savepoint, blaze_error *error);

/* Commits and frees `txn`, whatever is returned. With no writes it does nothing. The writer's place
 * is given up before the disk's sync is waited for, so that commits share it. */
int bz_txn_commit(struct bz_txn *txn, enum bz_durability durability, blaze_error *error);
void bz_txn_abort(struct bz_txn *txn);

/* ---- the rest ---- */

/* The newest commit that snapshots see: grows with every commit, of other processes too. */
uint64_t bz_store_lsn(struct bz_store *store);

/* Makes all earlier commits durable; snapshots see them then. */
int bz_store_sync(struct bz_store *store, blaze_error *error);

/* Moves all earlier commits into the base now. */
int bz_store_checkpoint(struct bz_store *store, blaze_error *error);

/* Reads all of the base from the disk anew and checks it, telling each damage to `each` (may be
 * NULL). BLAZE_ECORRUPT if there was one. */
int bz_store_verify(struct bz_store *store, void (*each)(void *context, const char *problem),
    void *context, blaze_error *error);

/* Calls notify(context) after commits of this handle become visible (those of other processes: see
 * bz_store_watch_path()), from the committing thread, without locks held; several commits may share
 * a call. One listener; set it before use, NULL to remove (then no call is running any more when
 * this returns; so not from within one). */
void bz_store_set_listener(struct bz_store *store, void (*notify)(void *context), void *context);

/* Calls notify(context) when the store may take more or less of the disk than before: after a
 * checkpoint, done or failed, and when the log has got another segment. On a thread of the store,
 * without locks held; do not write, nor wait, in it. One; NULL to remove, as above. */
void bz_store_set_size_listener(
    struct bz_store *store, void (*notify)(void *context), void *context);

/* The folder whose files change when another process commits (to be watched), or NULL. */
const char *bz_store_watch_path(struct bz_store *store);

struct bz_store_stats {
    uint64_t lsn;
    uint64_t checkpoint_lsn;
    uint64_t log_bytes;
    uint64_t base_bytes;
    uint64_t memtable_bytes;
    uint64_t checkpoints;
    uint64_t compactions;
    int checkpoint_error; /* of the last one that was tried; 0 if it went well */
    uint64_t syncs;
    uint64_t written_bytes; /* by this handle, log only */
    bool sealed;
    const char *damaged; /* what is wrong with the log, so that this is only what came before; */
                         /* NULL if nothing is. Lives as long as the store */
};
void bz_store_stats(struct bz_store *store, struct bz_store_stats *out);

#endif

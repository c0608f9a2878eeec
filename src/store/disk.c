/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Opening and closing the durable store. In its directory (docs/format/store.md):
 *
 *   manifest        which tables the base consists of; tables/ has them
 *   log/            the segments of the log
 *   lock            whose lock is the writer's place; holds struct bz_shared
 *   checkpoint      whose lock is held while the manifest is changed
 *   compaction      whose lock is held for a compaction
 *   open            whose lock is held by all who have it open; see presence.h
 *   key             of a sealed store; see keyfile.h
 */

#include "store/disk.h"

#include "base/alloc.h"
#include "crypto/keys.h"
#include "store/keyfile.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define RELAXED_MS       100u
#define CHECKPOINT_BYTES (64u << 20)
#define CHECKPOINT_MS    30000u
#define SEGMENT_BYTES    (16u << 20)
#define SEGMENT_LEAST    (16u << 10)
#define SPARES_MAX       8u
#define CLOSED_LOG_BYTES (256u << 10) /* a larger log is moved to the base when closing */
#define SHARED_SIZE      4096u

/* ---- what this process has open ---- */

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct bz_disk *registry;

static int registry_add(struct bz_disk *disk, blaze_error *error)
{
    int rc = bz_path_mark(disk->path, &disk->identity, error);
    if (rc != 0)
        return rc;
    pthread_mutex_lock(&registry_lock);
    for (struct bz_disk *other = registry; other != NULL && rc == 0; other = other->next_open) {
        if (other->identity.device == disk->identity.device &&
            other->identity.inode == disk->identity.inode)
            rc = bz_error_set(error, BLAZE_EBUSY, "%s: already open in this process (pid %ld)",
                disk->path, (long)getpid());
    }
    if (rc == 0) {
        disk->next_open = registry;
        registry = disk;
    }
    pthread_mutex_unlock(&registry_lock);
    return rc;
}

static void registry_remove(struct bz_disk *disk)
{
    pthread_mutex_lock(&registry_lock);
    struct bz_disk **link = &registry;
    while (*link != NULL && *link != disk)
        link = &(*link)->next_open;
    if (*link != NULL)
        *link = disk->next_open;
    pthread_mutex_unlock(&registry_lock);
}

/* ---- files ---- */

static int open_in(
    const struct bz_disk *disk, const char *name, int how, struct bz_file *out, blaze_error *error)
{
    char *path = bz_path_join(disk->path, name);
    if (path == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = bz_file_open(out, path, how, error);
    bz_free(path);
    return rc;
}

static int open_shared(struct bz_disk *disk, int how, bool writable, blaze_error *error)
{
    uint64_t size = 0;
    void *memory = NULL;
    int rc = open_in(disk, "lock", how, &disk->lock_file, error);
    if (rc == 0)
        rc = bz_file_size(&disk->lock_file, &size, error);
    if (rc == 0 && size < SHARED_SIZE)
        rc = how == BZ_OPEN_READ ? BLAZE_ENOTFOUND
                                 : bz_file_truncate(&disk->lock_file, SHARED_SIZE, error);
    if (rc == 0)
        rc = bz_file_map(&disk->lock_file, SHARED_SIZE, writable, &memory, error);
    if (rc == 0)
        disk->shared = memory;
    else
        bz_file_close(&disk->lock_file);
    return rc;
}

/* Who only reads makes the lock file if it is lost, so as to hear of later writers; and goes on
 * without one where it cannot be made. */
static int open_shared_reading(struct bz_disk *disk, blaze_error *error)
{
    int rc = open_shared(disk, BZ_OPEN_READ, false, error);
    if (rc == BLAZE_ENOTFOUND)
        rc = open_shared(disk, BZ_OPEN_WRITE | BZ_OPEN_CREATE, false, error);
    if (rc != BLAZE_EPERM && rc != BLAZE_EREADONLY)
        return rc;
    disk->shared = bz_zalloc(sizeof *disk->shared);
    disk->shared_private = true;
    return disk->shared != NULL ? 0 : bz_error_code(error, BLAZE_ENOMEM);
}

static int open_lock_files(struct bz_disk *disk, blaze_error *error)
{
    const int how = BZ_OPEN_WRITE | BZ_OPEN_CREATE;
    if (disk->base.read_only)
        return open_shared_reading(disk, error);
    int rc = open_shared(disk, how, true, error);
    if (rc == 0)
        rc = open_in(disk, "checkpoint", how, &disk->checkpoint_file, error);
    return rc != 0 ? rc : open_in(disk, "compaction", how, &disk->compaction_file, error);
}

/* What the lock file says of another store that was here must not outlive it. */
static int forget_synced(struct bz_disk *disk, blaze_error *error)
{
    if (bz_shared_synced(disk->shared) == 0)
        return 0;
    atomic_store(&disk->shared->synced, 0);
    atomic_store(&disk->shared->seal, 0);
    return bz_file_sync(&disk->lock_file, error);
}

/* With the lock file locked: makes the key, the log, then the base, whose name says that all is
 * there. What can be is written before the first sync, so that a file system with a journal needs
 * one commit of that for all. */
static int create_files(struct bz_disk *disk, const struct bz_store_options *options,
    uint64_t segment_bytes, blaze_error *error)
{
    if (bz_base_exists(&disk->tables))
        return 0; /* another process was first */
    struct bz_log_position start;
    int rc = forget_synced(disk, error);
    if (rc == 0)
        rc = bz_keyfile_create(disk->path, options->secret, &disk->data_key, error);
    if (rc == 0)
        disk->sealed = options->secret != NULL;
    if (rc == 0 && disk->sealed)
        rc = bz_base_seal(&disk->tables, disk->data_key.bytes, error);
    if (rc == 0)
        rc = bz_log_create(disk->log_path, segment_bytes, &start, error);
    if (rc == 0)
        rc = bz_base_prepare(&disk->tables, &start, error);
    if (rc == 0)
        rc = bz_log_sync_created(disk->log_path, error);
    return rc != 0 ? rc : bz_base_create(&disk->tables, error);
}

static int create(struct bz_disk *disk, const struct bz_store_options *options,
    uint64_t segment_bytes, blaze_error *error)
{
    int rc = bz_file_lock(&disk->lock_file, true, true, NULL, error);
    if (rc != 0)
        return rc;
    rc = create_files(disk, options, segment_bytes, error);
    bz_file_unlock(&disk->lock_file, NULL);
    return rc;
}

/* Puts right what the lock file says, if nobody writes who does it himself. */
static void refresh_shared(struct bz_disk *disk)
{
    struct bz_shared *shared = disk->shared;
    if (atomic_load(&shared->boot) == disk->boot &&
        atomic_load(&shared->announced) == disk->log.tail.lsn &&
        atomic_load(&shared->segment) == disk->log.tail.segment)
        return;
    if (bz_file_lock(&disk->lock_file, true, false, NULL, NULL) != 0)
        return;
    if (bz_disk_catch_up(disk, NULL) == 0) {
        atomic_store(&disk->seen, disk->log.tail.lsn);
        atomic_store(&shared->announced, disk->log.tail.lsn);
        atomic_store(&shared->segment, disk->log.tail.segment);
        atomic_store(&shared->boot, disk->boot);
    }
    bz_file_unlock(&disk->lock_file, NULL);
}

/* ---- opening ---- */

static void init_conds(struct bz_disk *disk)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&disk->syncer.wake, &attributes);
    pthread_cond_init(&disk->mover.wake, &attributes);
    pthread_cond_init(&disk->room, &attributes);
    pthread_condattr_destroy(&attributes);
}

static struct bz_disk *disk_new(const char *path, const struct bz_store_options *options)
{
    struct bz_disk *disk = bz_zalloc(sizeof *disk);
    if (disk == NULL)
        return NULL;
    disk->base = (struct bz_store){&bz_disk_ops, options->map_count, options->read_only};
    disk->relaxed_ms = options->relaxed_window_ms ? options->relaxed_window_ms : RELAXED_MS;
    disk->checkpoint_bytes =
        options->checkpoint_bytes ? options->checkpoint_bytes : CHECKPOINT_BYTES;
    disk->checkpoint_ms = options->checkpoint_ms ? options->checkpoint_ms : CHECKPOINT_MS;
    disk->boot = bz_os_boot_id();
    disk->lock_file.fd = disk->checkpoint_file.fd = disk->compaction_file.fd = -1;
    disk->presence.fd = -1;
    pthread_mutex_init(&disk->writer, NULL);
    pthread_mutex_init(&disk->tail, NULL);
    pthread_mutex_init(&disk->sync_lock, NULL);
    pthread_mutex_init(&disk->layers_lock, NULL);
    pthread_mutex_init(&disk->checkpointing, NULL);
    pthread_mutex_init(&disk->compacting, NULL);
    pthread_mutex_init(&disk->compactor_lock, NULL);
    pthread_cond_init(&disk->compacted, NULL);
    pthread_mutex_init(&disk->wake_lock, NULL);
    init_conds(disk);
    bz_listener_init(&disk->listener);
    bz_listener_init(&disk->size_listener);
    bz_buf_init(&disk->frame, 2u * BZ_STORE_COMMIT_MAX);
    for (unsigned i = 0; i < BZ_SEATS; i++) {
        struct bz_seat *seat = &disk->seats[i];
        seat->view.base = (struct bz_view){&bz_disk_ops, options->map_count};
        seat->view.disk = disk;
        seat->snapshot = (struct bz_snapshot){&disk->base, &seat->view.base, 0};
    }
    disk->path = bz_path_join(path, ".");
    disk->log_path = bz_path_join(path, "log");
    if (disk->path != NULL)
        disk->path[strlen(path)] = '\0';
    return disk;
}

static void disk_free(struct bz_disk *disk)
{
    bz_background_stop(disk);
    bz_seats_close(disk);
    bz_layers_release(atomic_load(&disk->layers));
    if (disk->sync_segment != NULL)
        bz_segment_release(disk->sync_segment);
    bz_log_close(&disk->log);
    bz_base_release(&disk->tables);
    if (disk->shared_private)
        bz_free(disk->shared);
    else if (disk->shared != NULL)
        bz_file_unmap(disk->shared, SHARED_SIZE);
    bz_file_close(&disk->lock_file);
    bz_file_close(&disk->checkpoint_file);
    bz_file_close(&disk->compaction_file);
    bz_file_close(&disk->presence);
    registry_remove(disk);
    bz_buf_release(&disk->frame);
    bz_listener_release(&disk->listener);
    bz_listener_release(&disk->size_listener);
    pthread_cond_destroy(&disk->room);
    pthread_cond_destroy(&disk->mover.wake);
    pthread_cond_destroy(&disk->syncer.wake);
    pthread_mutex_destroy(&disk->wake_lock);
    pthread_cond_destroy(&disk->compacted);
    pthread_mutex_destroy(&disk->compactor_lock);
    pthread_mutex_destroy(&disk->compacting);
    pthread_mutex_destroy(&disk->checkpointing);
    pthread_mutex_destroy(&disk->layers_lock);
    pthread_mutex_destroy(&disk->sync_lock);
    pthread_mutex_destroy(&disk->tail);
    pthread_mutex_destroy(&disk->writer);
    bz_free(disk->path);
    bz_free(disk->log_path);
    bz_wipe(&disk->data_key, sizeof disk->data_key);
    bz_free(disk);
}

/* A database of a version before the first release. */
static int refuse_lmdb(const struct bz_disk *disk, blaze_error *error)
{
    char *path = bz_path_join(disk->path, "base.mdb");
    int rc = 0;
    if (path == NULL)
        rc = bz_error_code(error, BLAZE_ENOMEM);
    else if (bz_path_exists(path))
        rc = bz_error_set(error, BLAZE_EVERSION,
            "%s: of a version before the first release: export it with that one", disk->path);
    bz_free(path);
    return rc;
}

static int open_files(
    struct bz_disk *disk, const struct bz_store_options *options, blaze_error *error)
{
    uint64_t segment_bytes = options->segment_bytes ? options->segment_bytes : SEGMENT_BYTES;
    if (segment_bytes < SEGMENT_LEAST)
        segment_bytes = SEGMENT_LEAST;
    bool create_it = options->create && !options->read_only;
    int rc = bz_base_init(&disk->tables, disk->path, options, error);
    if (rc != 0)
        return rc;
    bool there = bz_base_exists(&disk->tables);
    if (!there && (rc = refuse_lmdb(disk, error)) != 0)
        return rc;
    if (!there && !create_it)
        return bz_error_set(error, BLAZE_ENOTFOUND, "%s: no database there", disk->path);
    rc = bz_presence_take(
        &disk->presence, disk->path, &disk->identity, options->alone, options->read_only, error);
    if (rc == 0)
        rc = open_lock_files(disk, error);
    if (rc == 0 && !there)
        rc = create(disk, options, segment_bytes, error);
    if (rc == 0 && !disk->sealed) { /* unless it was just made */
        rc = bz_keyfile_open(disk->path, options, &disk->data_key, &disk->sealed, error);
        if (rc == 0 && disk->sealed)
            rc = bz_base_seal(&disk->tables, disk->data_key.bytes, error);
    }
    if (rc == 0)
        rc = bz_log_open(
            &disk->log, disk->log_path, segment_bytes, options->read_only, disk->tables.key, error);
    disk->log.spares_max = SPARES_MAX;
    return rc;
}

/* What may be in the directory of a store. */
static const char *const entries[] = {
    "manifest", "manifest.new", "tables", "log", "lock", "checkpoint", "compaction", "open"};

/* What a store that was not made to the end may have left, or another process is making. */
static int is_foreign(void *context, const char *name)
{
    (void)context;
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        if (strcmp(name, entries[i]) == 0)
            return 0;
    return !bz_keyfile_is(name) && strcmp(name, "base.mdb") != 0; /* that is told of elsewhere */
}

/* A new store does not go where other things are: they may be removed with it one day. */
static int check_directory(
    const struct bz_disk *disk, const struct bz_store_options *options, blaze_error *error)
{
    if (!bz_path_is_dir(disk->path))
        return bz_error_set(
            error, BLAZE_EINVAL, "%s: not a directory, as a database is", disk->path);
    if (!options->create)
        return 0;
    char *base = bz_path_join(disk->path, "manifest");
    if (base == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = bz_path_exists(base) ? 0 : bz_dir_list(disk->path, is_foreign, NULL, error);
    bz_free(base);
    if (rc > 0)
        return bz_error_set(error, BLAZE_EEXIST,
            "%s: there are other files in it: a database wants a directory of its own", disk->path);
    return rc;
}

static int make_directory(
    struct bz_disk *disk, const struct bz_store_options *options, blaze_error *error)
{
    if (bz_path_exists(disk->path))
        return check_directory(disk, options, error);
    if (!options->create || options->read_only)
        return bz_error_set(error, BLAZE_ENOTFOUND, "%s: no database there", disk->path);
    int rc = bz_dir_create(disk->path, error);
    return rc == BLAZE_EEXIST ? 0 : rc;
}

/* A program that knows fewer maps must not open what has entries of the new ones: so their names
 * come first. */
static int add_maps(struct bz_disk *disk, blaze_error *error)
{
    struct bz_tree *tree;
    bool there;
    int rc = bz_base_has_maps(&disk->tables, &there, error);
    if (rc != 0 || there)
        return rc;
    rc = bz_file_lock(&disk->checkpoint_file, true, true, NULL, error);
    if (rc != 0)
        return rc;
    rc = bz_base_add_maps(&disk->tables, atomic_load(&disk->layers)->tree, &tree, error);
    if (rc == 0) {
        rc = bz_disk_switch(disk, tree, error);
        bz_tree_release(tree);
    }
    bz_file_unlock(&disk->checkpoint_file, NULL);
    return rc;
}

/* Removes what a crash left of tables, unless somebody may be writing some. */
static void sweep(struct bz_disk *disk)
{
    if (bz_file_lock(&disk->compaction_file, true, false, NULL, NULL) != 0)
        return;
    if (bz_file_lock(&disk->checkpoint_file, true, false, NULL, NULL) == 0) {
        struct bz_tree *tree;
        if (bz_base_load(&disk->tables, atomic_load(&disk->layers)->tree, false, &tree, NULL) ==
            0) {
            bz_base_sweep(&disk->tables, tree);
            bz_tree_release(tree);
        }
        bz_file_unlock(&disk->checkpoint_file, NULL);
    }
    bz_file_unlock(&disk->compaction_file, NULL);
}

static int open_disk(
    struct bz_disk *disk, const struct bz_store_options *options, blaze_error *error)
{
    if (disk->path == NULL || disk->log_path == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = make_directory(disk, options, error);
    if (rc == 0)
        rc = registry_add(disk, error);
    if (rc != 0)
        return rc;
    rc = open_files(disk, options, error);
    if (rc == 0)
        rc = bz_disk_recover(disk, error);
    if (rc != 0 || options->read_only)
        return rc;
    /* Who made it, now or before he was killed, may have synced no commit. Whoever went as far as a
     * checkpoint has. */
    atomic_store(&disk->names_due, atomic_load(&disk->layers)->tree->log.lsn == 0);
    rc = add_maps(disk, error);
    if (rc != 0)
        return rc;
    refresh_shared(disk);
    sweep(disk);
    if (atomic_load(&disk->appended) > atomic_load(&disk->durable))
        bz_background_relaxed(disk); /* a process that was killed may not have synced it */
    return bz_background_start(disk, error);
}

static int remove_entry(void *directory, const char *name)
{
    char *path = bz_path_join(directory, name);
    if (path != NULL)
        bz_path_remove(path, NULL);
    bz_free(path);
    return 0;
}

static int remove_key(void *directory, const char *name)
{
    return bz_keyfile_is(name) ? remove_entry(directory, name) : 0;
}

void bz_store_remove(const char *path)
{
    static const char *const folders[] = {"log", "tables"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char *folder = bz_path_join(path, folders[i]);
        if (folder != NULL)
            bz_dir_list(folder, remove_entry, folder, NULL);
        bz_free(folder);
    }
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        remove_entry((void *)path, entries[i]);
    bz_dir_list(path, remove_key, (void *)path, NULL);
}

int bz_store_open(struct bz_store **out, const char *path, const struct bz_store_options *options,
    blaze_error *error)
{
    if (options->map_count == 0 || options->map_count > BZ_STORE_MAPS_MAX)
        return bz_error_set(error, BLAZE_EINVAL, "a store has 1 to %u maps", BZ_STORE_MAPS_MAX);
    int rc = options->allow_network ? 0 : bz_path_check_local(path, error);
    if (rc != 0)
        return rc;
    struct bz_disk *disk = disk_new(path, options);
    if (disk == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    rc = open_disk(disk, options, error);
    if (rc != 0) {
        disk_free(disk);
        return rc;
    }
    *out = &disk->base;
    return 0;
}

/* ---- closing, and the rest ---- */

/* Leaves little to be replayed, and little beside it. */
static void tidy(struct bz_disk *disk)
{
    int rc = 0;
    bz_log_drop_spares(&disk->log);
    uint64_t limit = disk->log.segment_bytes;
    if (limit > CLOSED_LOG_BYTES)
        limit = CLOSED_LOG_BYTES;
    if (bz_log_bytes(&disk->log) <= limit)
        return;
    if (atomic_load(&disk->layers)->frozen != NULL)
        rc = bz_disk_checkpoint(disk, NULL);
    if (rc == 0)
        rc = bz_disk_start_over(disk, NULL);
    if (rc == 0)
        rc = bz_disk_settle(disk, NULL); /* if it fails, the log is replayed */
    bz_log_drop_spares(&disk->log);
    atomic_store(&disk->compactor_stop, false);
    if (rc == 0)
        bz_disk_compact(disk, BZ_COMPACT_WORTH_IT, NULL);
}

static int disk_close(struct bz_store *store, blaze_error *error)
{
    struct bz_disk *disk = (struct bz_disk *)store;
    assert(atomic_load(&disk->open_handles) == 0);
    int rc = 0;
    if (!store->read_only) {
        bz_background_stop(disk);
        rc = bz_sync_up_to(disk, atomic_load(&disk->appended), error);
        if (rc == 0)
            tidy(disk);
    }
    disk_free(disk);
    return rc;
}

static int disk_sync(struct bz_store *store, blaze_error *error)
{
    struct bz_disk *disk = (struct bz_disk *)store;
    if (store->read_only)
        return 0;
    bz_disk_lsn(store); /* what others have committed counts, too */
    int rc = bz_sync_up_to(disk, atomic_load(&disk->appended), error);
    if (rc == 0)
        bz_listener_call(&disk->listener);
    return rc;
}

static int disk_checkpoint(struct bz_store *store, blaze_error *error)
{
    if (store->read_only)
        return bz_error_set(error, BLAZE_EREADONLY, "the store is opened read-only");
    bz_disk_lsn(store); /* what others have committed counts, too */
    return bz_disk_checkpoint((struct bz_disk *)store, error);
}

static int disk_verify(struct bz_store *store, void (*each)(void *context, const char *problem),
    void *context, blaze_error *error)
{
    struct bz_tree *tree = bz_disk_tree((struct bz_disk *)store);
    int rc = bz_tree_verify(tree, each, context, error);
    bz_tree_release(tree);
    return rc;
}

static void disk_set_listener(struct bz_store *store, void (*notify)(void *context), void *context)
{
    bz_listener_set(&((struct bz_disk *)store)->listener, notify, context);
}

static void disk_set_size_listener(
    struct bz_store *store, void (*notify)(void *context), void *context)
{
    bz_listener_set(&((struct bz_disk *)store)->size_listener, notify, context);
}

static const char *disk_watch_path(struct bz_store *store)
{
    return ((struct bz_disk *)store)->log_path;
}

static void disk_stats(struct bz_store *store, struct bz_store_stats *out)
{
    struct bz_disk *disk = (struct bz_disk *)store;
    pthread_mutex_lock(&disk->layers_lock);
    const struct bz_layers *layers = atomic_load(&disk->layers);
    uint64_t bytes = atomic_load(&layers->active->bytes);
    if (layers->frozen != NULL)
        bytes += atomic_load(&layers->frozen->bytes);
    uint64_t base_lsn = layers->tree->log.lsn, base_bytes = bz_tree_bytes(layers->tree);
    pthread_mutex_unlock(&disk->layers_lock);
    *out = (struct bz_store_stats){
        .lsn = bz_disk_lsn(store),
        .checkpoint_lsn = base_lsn,
        .log_bytes = bz_log_bytes(&disk->log),
        .base_bytes = base_bytes,
        .memtable_bytes = bytes,
        .checkpoints = atomic_load(&disk->checkpoints),
        .compactions = atomic_load(&disk->compactions),
        .checkpoint_error = atomic_load(&disk->checkpoint_error),
        .syncs = atomic_load(&disk->syncs),
        .written_bytes = atomic_load(&disk->written),
        .sealed = disk->sealed,
        .damaged = disk->damage.code != 0 ? disk->damage.text : NULL,
    };
}

const struct bz_store_ops bz_disk_ops = {
    .close = disk_close,
    .snapshot_open = bz_disk_snapshot_open,
    .snapshot_close = bz_disk_snapshot_close,
    .get = bz_disk_get,
    .cursor_open = bz_disk_cursor_open,
    .cursor_close = bz_disk_cursor_close,
    .cursor_seek = bz_disk_cursor_seek,
    .cursor_next = bz_disk_cursor_next,
    .cursor_prev = bz_disk_cursor_prev,
    .txn_begin = bz_disk_txn_begin,
    .txn_put = bz_disk_txn_put,
    .txn_delete = bz_disk_txn_delete,
    .txn_savepoint = bz_disk_txn_savepoint,
    .txn_rollback_to = bz_disk_txn_rollback_to,
    .txn_commit = bz_disk_txn_commit,
    .txn_abort = bz_disk_txn_abort,
    .lsn = bz_disk_lsn,
    .sync = disk_sync,
    .checkpoint = disk_checkpoint,
    .verify = disk_verify,
    .set_listener = disk_set_listener,
    .set_size_listener = disk_set_size_listener,
    .watch_path = disk_watch_path,
    .stats = disk_stats,
};

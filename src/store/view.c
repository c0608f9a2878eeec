/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Views: what a snapshot or a transaction reads.
 *
 * Opening one allocates nothing as a rule: seats stand in a row, each with a reference to the
 * layers that it had last; a thread takes the one that it likes, if it is idle, and finds there
 * what it needs, unless a checkpoint has moved things meanwhile.
 *
 * The order in which enter() collects its parts makes them fit, without a lock: first the layers,
 * then the visible LSN y; if the layers are still the current ones, they have all up to y.
 */

#include "store/disk.h"

#include "base/alloc.h"

#include <stddef.h>

#define FORGET_BYTES (1u << 20)

/* ---- layers ---- */

struct bz_layers *bz_layers_new(
    struct bz_memtable *active, struct bz_memtable *frozen, struct bz_tree *tree)
{
    struct bz_layers *layers = active == NULL ? NULL : bz_zalloc(sizeof *layers);
    if (layers == NULL) {
        bz_memtable_release(active);
        bz_memtable_release(frozen);
        bz_tree_release(tree);
        return NULL;
    }
    atomic_init(&layers->refs, 1);
    layers->active = active;
    layers->frozen = frozen;
    layers->tree = tree;
    return layers;
}

void bz_layers_release(struct bz_layers *layers)
{
    if (layers == NULL || atomic_fetch_sub_explicit(&layers->refs, 1, memory_order_acq_rel) != 1)
        return;
    bz_memtable_release(layers->active);
    bz_memtable_release(layers->frozen);
    bz_tree_release(layers->tree);
    bz_free(layers);
}

static struct bz_layers *layers_current(struct bz_disk *disk)
{
    pthread_mutex_lock(&disk->layers_lock);
    struct bz_layers *layers = atomic_load(&disk->layers);
    atomic_fetch_add_explicit(&layers->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&disk->layers_lock);
    return layers;
}

void bz_layers_replace(struct bz_disk *disk, struct bz_layers *layers)
{
    pthread_mutex_lock(&disk->layers_lock);
    struct bz_layers *old = atomic_exchange(&disk->layers, layers);
    pthread_mutex_unlock(&disk->layers_lock);
    bz_layers_release(old);
}

/* ---- catching up ---- */

/* Makes the nodes of a commit, chained in its order. */
static int read_commit(struct bz_disk *disk, struct bz_bytes payload, struct bz_memtable *table,
    struct bz_mem_node **out, blaze_error *error)
{
    struct bz_reader reader = bz_reader(payload);
    struct bz_mem_node *first = NULL, **end = &first;
    struct bz_write write;
    while (bz_write_read(&reader, &write)) {
        if (write.map >= disk->base.map_count || write.key.size == 0 ||
            write.key.size > BZ_STORE_KEY_MAX || write.value.size > BZ_STORE_VALUE_MAX) {
            reader.ok = false;
            break;
        }
        struct bz_mem_node *node =
            bz_memtable_node(table, write.map, write.key, write.value, write.deleted);
        if (node == NULL)
            return bz_error_code(error, BLAZE_ENOMEM);
        *end = node;
        end = &node->chain;
    }
    if (!reader.ok)
        return bz_error_set(error, BLAZE_ECORRUPT,
            "%s: the commit at offset %llu has a sound checksum but is malformed",
            disk->log.segment->file.path, (unsigned long long)disk->log.tail.offset);
    *out = first;
    return 0;
}

/* Where the commits of the log go. */
struct follower {
    struct bz_disk *disk;
    struct bz_memtable *table;
};

static int apply(void *context, uint64_t lsn, struct bz_bytes payload, blaze_error *error)
{
    struct follower *follower = context;
    struct bz_mem_node *node = NULL;
    int rc = read_commit(follower->disk, payload, follower->table, &node, error);
    if (rc != 0)
        return rc;

    for (; node != NULL; node = node->chain)
        bz_memtable_link(follower->table, node, lsn);
    return 0;
}

int bz_disk_catch_up(struct bz_disk *disk, blaze_error *error)
{
    uint64_t announced = atomic_load(&disk->shared->announced);
    uint64_t before = disk->log.tail.lsn;
    if (disk->damage.code != 0) { /* nothing behind it counts */
        atomic_store(&disk->seen, announced);
        return 0;
    }
    struct bz_memtable *table = atomic_load(&disk->layers)->active; /* `tail` keeps it there */
    struct follower follower = {disk, table};
    int rc = bz_log_follow(&disk->log, apply, &follower, error);
    if (rc == BLAZE_EFAILED)
        bz_disk_fail(disk);
    if (disk->log.tail.lsn > before) {
        bz_sync_appended(disk, disk->log.tail.lsn, NULL);
        bz_background_aged(disk, atomic_load(&table->bytes) >= disk->checkpoint_bytes);
    }
    if (rc == 0)
        atomic_store(&disk->seen, announced);
    return rc;
}

/* ---- restarting and adopting ---- */

/* Fills a new memtable from `position` on, the log's tail moving along. */
static int refill(struct bz_disk *disk, const struct bz_log_position *position,
    struct bz_memtable *table, blaze_error *error)
{
    struct bz_log *log = &disk->log;
    struct follower follower = {disk, table};
    uint64_t had = log->tail.lsn;
    bool damaged = disk->damage.code != 0;
    int rc = bz_log_move(log, position, error);
    if (rc == BLAZE_ECORRUPT && damaged) {
        bz_log_detach(log, position);
        return 0;
    }
    if (rc == 0)
        rc = bz_log_follow(log, apply, &follower, error);
    if (rc == BLAZE_ECORRUPT && damaged)
        return 0;
    if (rc == BLAZE_EFAILED)
        bz_disk_fail(disk);
    if (rc == 0 && log->tail.lsn < had && !damaged)
        rc = bz_error_set(error, BLAZE_ECORRUPT, "%s: its commits after %llu are gone",
            log->segment->file.path, (unsigned long long)log->tail.lsn);
    return rc;
}

int bz_disk_restart(struct bz_disk *disk, struct bz_tree *tree, blaze_error *error)
{
    struct bz_log *log = &disk->log;
    struct bz_log_position old_tail = log->tail;
    struct bz_segment *old = log->segment == NULL ? NULL : bz_segment_retain(log->segment);
    struct bz_layers *layers =
        bz_layers_new(bz_memtable_new(disk->checkpoint_bytes), NULL, bz_tree_retain(tree));
    int rc = layers == NULL ? bz_error_code(error, BLAZE_ENOMEM)
                            : refill(disk, &tree->log, layers->active, error);
    if (rc != 0) {
        bz_layers_release(layers);
        bz_log_detach(log, &old_tail);
        log->segment = old;
        return rc;
    }
    if (old != NULL)
        bz_segment_release(old);
    bz_layers_replace(disk, layers);
    if (log->tail.lsn > atomic_load(&disk->appended))
        bz_sync_appended(disk, log->tail.lsn, NULL);
    return 0;
}

/* Whether our place in the log is behind the tree's, or before a segment that may be gone. */
static bool is_ahead(const struct bz_disk *disk, const struct bz_tree *tree)
{
    const struct bz_log_position *tail = &disk->log.tail;
    return tree->log.lsn > tail->lsn || tree->log.segment > tail->segment;
}

int bz_disk_adopt(struct bz_disk *disk, struct bz_tree *tree, blaze_error *error)
{
    struct bz_layers *old = atomic_load(&disk->layers); /* replaced under `tail` only */
    bool forget = disk->base.read_only && atomic_load(&old->active->bytes) > FORGET_BYTES;
    bool moved = old->frozen != NULL && old->frozen_end.lsn <= tree->log.lsn;
    int rc = 0;
    /* What another process had moved before it was frozen here needs no further tree to be let go
     * of. */
    if (tree->sequence < old->tree->sequence || (tree->sequence == old->tree->sequence && !moved))
        return 0;
    if (is_ahead(disk, tree) || (forget && tree->log.lsn > old->tree->log.lsn)) {
        rc = bz_disk_restart(disk, tree, error);
    } else {
        struct bz_layers *layers = bz_layers_new(bz_memtable_retain(old->active),
            moved ? NULL : bz_memtable_retain(old->frozen), bz_tree_retain(tree));
        if (layers == NULL)
            return bz_error_code(error, BLAZE_ENOMEM);
        layers->frozen_end = old->frozen_end;
        bz_layers_replace(disk, layers);
    }
    if (rc == 0)
        bz_sync_known(disk, tree->log.lsn);
    return rc;
}

/* ---- entering a view ---- */

/* Whether another process has said that it committed. Not while we hold the writer's place: then
 * none has, and what is being announced is our own. */
static bool behind(struct bz_disk *disk)
{
    return atomic_load(&disk->shared->announced) != atomic_load(&disk->seen) &&
           !atomic_load(&disk->writing);
}

bool bz_disk_base_moved(struct bz_disk *disk)
{
    return atomic_load_explicit(&disk->shared->sequence, memory_order_acquire) !=
               atomic_load_explicit(&disk->sequence, memory_order_relaxed) &&
           disk->damage.code == 0;
}

static int catch_up(struct bz_disk *disk, blaze_error *error)
{
    pthread_mutex_lock(&disk->tail);
    int rc = behind(disk) ? bz_disk_catch_up(disk, error) : 0;
    pthread_mutex_unlock(&disk->tail);
    return rc;
}

/* Takes what the manifest names. If the part of the log that it goes on with is gone, because the
 * next checkpoint of another process was faster, there is a further manifest to be read: whoever
 * makes one says so before he lets go of the log. */
static int adopt(struct bz_disk *disk, struct bz_tree *tree, bool *again, blaze_error *error)
{
    blaze_error detail;
    int rc = bz_disk_adopt(disk, tree, &detail);
    *again = rc == BLAZE_ECORRUPT && atomic_load(&disk->shared->sequence) > tree->sequence;
    if (*again)
        return 0;
    return rc == 0 ? 0 : bz_error_set(error, rc, "%s", detail.text);
}

/* Reads the manifest, and takes what it names. */
static int follow_base(struct bz_disk *disk, blaze_error *error)
{
    pthread_mutex_lock(&disk->tail);
    uint64_t sequence = atomic_load(&disk->shared->sequence);
    struct bz_tree *tree;
    bool again = false;
    int rc = bz_base_load(&disk->tables, atomic_load(&disk->layers)->tree, false, &tree, error);
    if (rc == 0) {
        rc = adopt(disk, tree, &again, error);
        bz_tree_release(tree);
    }
    if (rc == 0 && !again)
        atomic_store(&disk->sequence, sequence);
    pthread_mutex_unlock(&disk->tail);
    return rc;
}

static int enter(struct bz_disk_view *view, blaze_error *error)
{
    struct bz_disk *disk = view->disk;
    for (;;) {
        int rc = behind(disk) ? catch_up(disk, error) : 0;
        while (rc == 0 && bz_disk_base_moved(disk))
            rc = follow_base(disk, error);
        if (rc != 0)
            return rc;
        if (view->layers != atomic_load(&disk->layers)) {
            bz_layers_release(view->layers);
            view->layers = layers_current(disk);
        }
        view->lsn = atomic_load_explicit(&disk->visible, memory_order_acquire);
        if (view->layers == atomic_load(&disk->layers))
            return 0;
    }
}

static void unpin(struct bz_disk_view *view)
{
    for (uint32_t i = 0; i < view->base.map_count; i++) {
        bz_block_unpin(view->pins[i]);
        view->pins[i] = NULL;
    }
}

static void leave(struct bz_disk_view *view)
{
    if (view->disk->tables.key != NULL)
        unpin(view);
}

/* ---- seats ---- */

static bool occupy(struct bz_seat *seat)
{
    return !atomic_load_explicit(&seat->busy, memory_order_relaxed) &&
           !atomic_exchange_explicit(&seat->busy, true, memory_order_acquire);
}

static void vacate(struct bz_seat *seat)
{
    atomic_store_explicit(&seat->busy, false, memory_order_release);
}

/* An idle seat, each thread beginning to look at a place of its own; a new one if there is none. */
static struct bz_seat *find_seat(struct bz_disk *disk)
{
    static atomic_uint threads;
    static _Thread_local unsigned home;
    if (home == 0)
        home = atomic_fetch_add(&threads, 1) + 1;
    for (unsigned i = 0; i < BZ_SEATS; i++) {
        struct bz_seat *seat = &disk->seats[(home + i) % BZ_SEATS];
        if (occupy(seat))
            return seat;
    }
    struct bz_seat *seat = bz_malloc(sizeof *seat);
    if (seat != NULL) {
        *seat = (struct bz_seat){.busy = true, .heap = true};
        seat->view.base = disk->seats[0].view.base;
        seat->view.disk = disk;
        seat->snapshot = (struct bz_snapshot){&disk->base, &seat->view.base, 0};
    }
    return seat;
}

static void drop(struct bz_disk_view *view)
{
    leave(view);
    bz_layers_release(view->layers);
    view->layers = NULL;
}

int bz_seat_take(struct bz_disk *disk, struct bz_seat **out, blaze_error *error)
{
    struct bz_seat *seat = find_seat(disk);
    if (seat == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = enter(&seat->view, error);
    if (rc != 0) {
        drop(&seat->view);
        if (seat->heap)
            bz_free(seat);
        else
            vacate(seat);
        return rc;
    }
    *out = seat;
    return 0;
}

void bz_seat_give(struct bz_disk *disk, struct bz_seat *seat)
{
    (void)disk;
    if (seat->heap) {
        drop(&seat->view);
        bz_free(seat);
        return;
    }
    leave(&seat->view);
    vacate(seat);
}

void bz_seats_sweep(struct bz_disk *disk)
{
    for (unsigned i = 0; i < BZ_SEATS; i++) {
        struct bz_seat *seat = &disk->seats[i];
        if (!occupy(seat))
            continue;
        bz_layers_release(seat->view.layers);
        seat->view.layers = NULL;
        vacate(seat);
    }
}

void bz_seats_close(struct bz_disk *disk)
{
    for (unsigned i = 0; i < BZ_SEATS; i++)
        drop(&disk->seats[i].view);
}

/* ---- snapshots ---- */

int bz_disk_snapshot_open(struct bz_store *store, struct bz_snapshot **out, blaze_error *error)
{
    struct bz_disk *disk = (struct bz_disk *)store;
    struct bz_seat *seat;
    int rc = bz_seat_take(disk, &seat, error);
    if (rc != 0)
        return rc;
    seat->snapshot.lsn = seat->view.lsn;
    *out = &seat->snapshot;
    return 0;
}

void bz_disk_snapshot_close(struct bz_snapshot *snapshot)
{
    struct bz_disk *disk = (struct bz_disk *)snapshot->store;
    struct bz_seat *seat =
        (struct bz_seat *)((char *)snapshot - offsetof(struct bz_seat, snapshot));
    bz_seat_give(disk, seat);
}

/* Where there is no lock file to say so, the manifest itself tells that it was replaced. */
static void look_at_manifest(struct bz_disk *disk)
{
    struct bz_file_mark mark;
    struct bz_tree *tree;
    if (!disk->shared_private || disk->damage.code != 0 ||
        bz_path_mark(disk->tables.manifest_path, &mark, NULL) != 0 ||
        (mark.inode == disk->manifest.inode && mark.birth_ns == disk->manifest.birth_ns) ||
        bz_base_load(&disk->tables, atomic_load(&disk->layers)->tree, false, &tree, NULL) != 0)
        return;
    if (bz_disk_adopt(disk, tree, NULL) == 0)
        disk->manifest = mark;
    bz_tree_release(tree);
}

uint64_t bz_disk_lsn(struct bz_store *store)
{
    struct bz_disk *disk = (struct bz_disk *)store;
    /* The log itself is looked at: whoever watches its files may come between a commit's writing
     * and its announcement, and is not called again after that. What fails here fails, and says
     * so, in the next snapshot. */
    pthread_mutex_lock(&disk->tail);
    if (!atomic_load(&disk->writing)) {
        look_at_manifest(disk);
        bz_disk_catch_up(disk, NULL);
    }
    pthread_mutex_unlock(&disk->tail);
    if (bz_disk_base_moved(disk))
        follow_base(disk, NULL);
    return atomic_load_explicit(&disk->visible, memory_order_acquire);
}

static const struct bz_mem_node *get_in(
    const struct bz_memtable *table, uint32_t map, struct bz_bytes key, uint64_t lsn)
{
    if (table == NULL || bz_memtable_empty(table))
        return NULL;
    return bz_memtable_get(table, map, key, lsn);
}

static int get_from_base(struct bz_disk_view *view, uint32_t map, struct bz_bytes key,
    struct bz_bytes *value, blaze_error *error)
{
    struct bz_block *pin = NULL;
    int rc = bz_tree_get(view->layers->tree, map, key, value, &pin, error);
    if (rc == BLAZE_ENOTFOUND)
        return bz_store_not_found(error);
    if (pin != NULL) {
        bz_block_unpin(view->pins[map]);
        view->pins[map] = pin;
    }
    return rc;
}

int bz_disk_get(struct bz_view *base, uint32_t map, struct bz_bytes key, struct bz_bytes *value,
    blaze_error *error)
{
    struct bz_disk_view *view = (struct bz_disk_view *)base;
    const struct bz_mem_node *node = NULL;
    if (view->writes != NULL && view->changes > 0)
        node = bz_mem_get(view->writes, map, key, UINT64_MAX);
    if (node == NULL)
        node = get_in(view->layers->active, map, key, view->lsn);
    if (node == NULL)
        node = get_in(view->layers->frozen, map, key, view->lsn);
    if (node == NULL)
        return get_from_base(view, map, key, value, error);
    if (node->deleted)
        return bz_store_not_found(error);
    *value = bz_mem_value(node);
    return 0;
}

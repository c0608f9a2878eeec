/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Views: what a snapshot or a transaction reads.
 *
 * Opening one allocates nothing as a rule: seats stand in a row, each with a read transaction and a
 * reference to the layers that it had last; a thread takes the one that it likes, if it is idle,
 * and finds there what it needs, unless a checkpoint has moved things meanwhile.
 *
 * The order in which enter() collects its parts makes them fit, without a lock:
 *   1. the layers: they hold all commits after some LSN z, which the base has reached
 *   2. the base, at x >= z, since the base only grows
 *   3. the visible LSN y; if the layers are still the current ones, they have all up to y
 * Then the layers have all of (x, y]. And x <= y: base_txn names the newest transaction of the base
 * of which that is known, because what it moved was made visible before; if the base is further,
 * by a checkpoint of another process, base_moved() sees to it.
 */

#include "store/disk.h"

#include "base/alloc.h"

#include <stddef.h>

#define FORGET_BYTES (1u << 20)

/* ---- layers ---- */

/* Takes over the references. */
struct bz_layers *bz_layers_new(struct bz_memtable *active, struct bz_memtable *frozen)
{
    struct bz_layers *layers = active == NULL ? NULL : bz_zalloc(sizeof *layers);
    if (layers == NULL) {
        bz_memtable_release(active);
        bz_memtable_release(frozen);
        return NULL;
    }
    atomic_init(&layers->refs, 1);
    layers->active = active;
    layers->frozen = frozen;
    return layers;
}

void bz_layers_release(struct bz_layers *layers)
{
    if (layers == NULL || atomic_fetch_sub_explicit(&layers->refs, 1, memory_order_acq_rel) != 1)
        return;
    bz_memtable_release(layers->active);
    bz_memtable_release(layers->frozen);
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

int bz_disk_restart(
    struct bz_disk *disk, const struct bz_log_position *position, blaze_error *error)
{
    struct bz_log *log = &disk->log;
    struct bz_log_position old_tail = log->tail;
    struct bz_segment *old = log->segment == NULL ? NULL : bz_segment_retain(log->segment);
    struct bz_layers *layers = bz_layers_new(bz_memtable_new(disk->checkpoint_bytes), NULL);
    int rc = layers == NULL ? bz_error_code(error, BLAZE_ENOMEM)
                            : refill(disk, position, layers->active, error);
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

/* Whether another process has said that it committed. Not while we hold the writer's place: then
 * none has, and what is being announced is our own. */
static bool behind(struct bz_disk *disk)
{
    return atomic_load(&disk->shared->announced) != atomic_load(&disk->seen) &&
           !atomic_load(&disk->writing);
}

/* Makes what we have of the log reach as far as the base needs. With `tail` held. */
static int reach(struct bz_disk *disk, const struct bz_base_state *state, blaze_error *error)
{
    const struct bz_log *log = &disk->log;
    int rc = 0;
    if (state->log.lsn > log->tail.lsn || state->log.segment > log->tail.segment)
        rc = bz_disk_restart(disk, &state->log, error); /* what we would read next may be gone */
    else if (state->ahead > log->tail.lsn)
        rc = bz_disk_catch_up(disk, error);
    if (rc == 0 && log->tail.lsn < state->ahead)
        rc = bz_error_set(error, BLAZE_ECORRUPT,
            "%s: ends at commit %llu, but the base has some up to %llu", disk->log_path,
            (unsigned long long)log->tail.lsn, (unsigned long long)state->ahead);
    return rc;
}

/* The base is at a transaction that we had not looked at. */
static int base_moved(struct bz_disk *disk, MDB_txn *txn, blaze_error *error)
{
    struct bz_base_state state;
    int rc = bz_base_state(&disk->kv, txn, &state, error);
    if (rc != 0)
        return rc;
    pthread_mutex_lock(&disk->tail);
    rc = reach(disk, &state, error);
    if (rc == 0 && mdb_txn_id(txn) > atomic_load(&disk->base_txn)) {
        bz_sync_known(disk, state.ahead);
        atomic_store(&disk->base_lsn, state.log.lsn);
        atomic_store(&disk->base_txn, mdb_txn_id(txn));
        /* Who cannot do checkpoints forgets here what others have moved. */
        if (disk->base.read_only && atomic_load(&disk->layers)->active->bytes > FORGET_BYTES)
            bz_disk_restart(disk, &state.log, NULL);
    }
    pthread_mutex_unlock(&disk->tail);
    return rc;
}

/* ---- entering a view ---- */

static int catch_up(struct bz_disk *disk, blaze_error *error)
{
    pthread_mutex_lock(&disk->tail);
    int rc = behind(disk) ? bz_disk_catch_up(disk, error) : 0;
    pthread_mutex_unlock(&disk->tail);
    return rc;
}

static void leave(struct bz_disk_view *view)
{
    mdb_txn_reset(view->mdb);
}

/* One attempt; *moved is the base's transaction if the parts do not fit, else 0. */
static int try_enter(struct bz_disk_view *view, size_t *moved, blaze_error *error)
{
    struct bz_disk *disk = view->disk;
    int rc = behind(disk) ? catch_up(disk, error) : 0;
    *moved = 0;
    if (rc != 0)
        return rc;
    if (view->layers != atomic_load(&disk->layers)) {
        bz_layers_release(view->layers);
        view->layers = layers_current(disk);
    }
    rc = bz_base_read(&disk->kv, &view->mdb, error);
    if (rc != 0)
        return rc;
    size_t id = mdb_txn_id(view->mdb);
    bool fits = id <= atomic_load(&disk->base_txn);
    if (fits) {
        view->lsn = atomic_load_explicit(&disk->visible, memory_order_acquire);
        fits = view->layers == atomic_load(&disk->layers);
    } else {
        rc = base_moved(disk, view->mdb, error);
    }
    if (!fits)
        leave(view);
    *moved = fits ? 0 : id;
    return rc;
}

static int enter(struct bz_disk_view *view, blaze_error *error)
{
    size_t before = 0, moved = 0;
    for (;;) {
        int rc = try_enter(view, &moved, error);
        /* A segment may be missing because yet another checkpoint has passed; but only then. */
        if (rc != 0 && (rc != BLAZE_ECORRUPT || moved == before))
            return rc;
        if (moved == 0)
            return 0;
        before = rc == 0 ? 0 : moved;
    }
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
    if (view->mdb != NULL)
        mdb_txn_abort(view->mdb);
    view->mdb = NULL;
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

uint64_t bz_disk_lsn(struct bz_store *store)
{
    struct bz_disk *disk = (struct bz_disk *)store;
    /* The log itself is looked at: whoever watches its files may come between a commit's writing
     * and its announcement, and is not called again after that. What fails here fails, and says
     * so, in the next snapshot. */
    pthread_mutex_lock(&disk->tail);
    if (!atomic_load(&disk->writing))
        bz_disk_catch_up(disk, NULL);
    pthread_mutex_unlock(&disk->tail);
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
    struct bz_base *kv = &view->disk->kv;
    if (!kv->present[map])
        return bz_store_not_found(error);
    MDB_val k = {key.size, (void *)(uintptr_t)key.data}, v;
    int rc = mdb_get(view->mdb, kv->maps[map], &k, &v);
    if (rc == MDB_NOTFOUND)
        return bz_store_not_found(error);
    if (rc != 0)
        return bz_base_error(kv, rc, "read", error);
    *value = bz_bytes(v.mv_data, v.mv_size);
    return 0;
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

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Being told of commits.
 *
 * A listener is called by the committing thread. An observer is a reader of the change log with a
 * position of its own: one thread for the whole database, started with the first observer, takes
 * for each in turn what came after its position and calls it. So a slow observer delays other
 * observers but no writer, and finds the changes that it missed merged: the log has a record once.
 *
 * Nothing is called with a lock held. Who is about to be called is marked as running; taking an
 * observer or listener away waits for that to end, except from within the observer's own call.
 */

#include "db/db_priv.h"

#include "base/alloc.h"

#include <assert.h>

#define EVENTS_MAX 512u /* told in one call */

struct bz_observer {
    struct bz_observer *next;
    struct bz_db *db;
    bool all;
    struct bz_bytes name; /* of the only collection that interests, if not all; owned */
    void (*on_events)(void *context, const struct bz_event *events, size_t count);
    void *context;
    uint64_t position; /* told up to here; only the thread looks */
    bool woken;        /* to be called in any case */
    bool running;
    bool removed;
    bool orphan; /* removed from within its own call: the thread frees it */
};

void bz_watch_init(struct bz_watch *watch)
{
    *watch = (struct bz_watch){0};
    pthread_mutex_init(&watch->lock, NULL);
    pthread_cond_init(&watch->work, NULL);
    pthread_cond_init(&watch->ended, NULL);
}

void bz_watch_release(struct bz_watch *watch)
{
    pthread_mutex_lock(&watch->lock);
    watch->stop = true;
    pthread_cond_signal(&watch->work);
    pthread_mutex_unlock(&watch->lock);
    if (watch->thread_runs)
        pthread_join(watch->thread, NULL);
    /* Only now: an observer that ended itself is freed by the thread, after its call. */
    assert(watch->observers == NULL && watch->listeners == NULL);
    bz_free(watch->events);
    pthread_cond_destroy(&watch->ended);
    pthread_cond_destroy(&watch->work);
    pthread_mutex_destroy(&watch->lock);
}

/* ---- noticing ---- */

/* Calls every listener, each outside of the lock. */
static void tell_listeners(struct bz_watch *watch)
{
    pthread_mutex_lock(&watch->lock);
    struct bz_listener_handle *handle = watch->listeners;
    while (handle != NULL) {
        if (handle->removed) {
            handle = handle->next;
            continue;
        }
        handle->running++; /* keeps it in the list */
        pthread_mutex_unlock(&watch->lock);
        handle->notify(handle->context);
        pthread_mutex_lock(&watch->lock);
        handle->running--;
        struct bz_listener_handle *next = handle->next;
        pthread_cond_broadcast(&watch->ended);
        handle = next;
    }
    pthread_mutex_unlock(&watch->lock);
}

void bz_db_advance(struct bz_db *db, uint64_t position)
{
    struct bz_watch *watch = &db->watch;
    uint64_t now = atomic_load(&db->position);
    do {
        if (now >= position)
            return; /* whoever made it grow past this tells of it */
    } while (!atomic_compare_exchange_weak(&db->position, &now, position));
    if (atomic_load(&watch->interested) == 0)
        return;
    pthread_mutex_lock(&watch->lock);
    bool listeners = watch->listeners != NULL;
    pthread_mutex_unlock(&watch->lock);
    pthread_cond_signal(&watch->work); /* without the lock, which the thread wants first of all */
    if (listeners)
        tell_listeners(watch);
}

void bz_db_poll(struct bz_db *db)
{
    struct bz_read *read = NULL;
    const struct bz_state *state = NULL;
    if (bz_store_lsn(db->store) == atomic_load(&db->polled_lsn))
        return;
    if (bz_read_begin_state(db, &read, &state, NULL) != 0)
        return; /* the next commit or poll sees it */
    uint64_t lsn = bz_snapshot_lsn(read->snapshot), position = state->position;
    bz_read_end(read);
    atomic_store(&db->polled_lsn, lsn);
    bz_db_advance(db, position);
    bz_settler_poll(db);
}

uint64_t bz_db_position(struct bz_db *db)
{
    return atomic_load(&db->position);
}

/* ---- listeners ---- */

int bz_db_listen(
    struct bz_db *db, void (*notify)(void *context), void *context, struct bz_listener_handle **out)
{
    struct bz_listener_handle *handle = bz_malloc(sizeof *handle);
    if (handle == NULL)
        return BLAZE_ENOMEM;
    *handle = (struct bz_listener_handle){.db = db, .notify = notify, .context = context};
    pthread_mutex_lock(&db->watch.lock);
    handle->next = db->watch.listeners;
    db->watch.listeners = handle;
    pthread_mutex_unlock(&db->watch.lock);
    atomic_fetch_add(&db->watch.interested, 1);
    *out = handle;
    return 0;
}

void bz_db_unlisten(struct bz_listener_handle *handle)
{
    if (handle == NULL)
        return;
    struct bz_watch *watch = &handle->db->watch;
    atomic_fetch_sub(&watch->interested, 1);
    pthread_mutex_lock(&watch->lock);
    handle->removed = true;
    while (handle->running > 0)
        pthread_cond_wait(&watch->ended, &watch->lock);
    struct bz_listener_handle **at = &watch->listeners;
    while (*at != handle)
        at = &(*at)->next;
    *at = handle->next;
    pthread_mutex_unlock(&watch->lock);
    bz_free(handle);
}

/* ---- observers: the thread ---- */

static bool wanted(const struct bz_observer *observer, struct bz_bytes collection)
{
    return observer->all || bz_bytes_equal(observer->name, collection);
}

static int event_of(const struct bz_db *db, uint32_t self, const struct bz_log_entry *entry,
    struct bz_bytes collection, struct bz_event *out, blaze_error *error)
{
    *out = (struct bz_event){
        .position = entry->position,
        .collection = collection,
        .id = entry->id,
        .deleted = entry->dead,
        .remote = entry->origin != self,
    };
    int rc = bz_catalog_node_id(db->catalog, entry->origin, &out->node);
    return rc == 0 ? 0 : bz_error_set(error, BLAZE_ECORRUPT, "the change log has an unknown node");
}

/* Takes the next events for an observer. *position is where it then stands. */
static int collect(struct bz_read *read, const struct bz_observer *observer,
    struct bz_event *events, size_t *count, uint64_t *position, blaze_error *error)
{
    const struct bz_db *db = read->db;
    const struct bz_state *state = NULL;
    struct bz_cursor *cursor = NULL;
    size_t n = 0;
    int rc = bz_read_load_state(read, &state, error);
    if (rc == 0)
        rc = bz_cursor_open(read->view, BZ_MAP_LOG, &cursor, error);
    if (rc == 0)
        rc = bz_log_seek(cursor, observer->position, error);
    while (rc == 0 && n < EVENTS_MAX) {
        struct bz_log_entry entry;
        struct bz_bytes collection;
        rc = bz_log_decode(cursor, &entry, error);
        if (rc == 0)
            rc = bz_catalog_collection_name(db->catalog, entry.collection, &collection);
        if (rc == 0 && wanted(observer, collection))
            rc = event_of(db, state->self, &entry, collection, &events[n++], error);
        if (rc != 0)
            break;
        *position = entry.position;
        rc = bz_cursor_next(cursor, error);
    }
    bz_cursor_close(cursor);
    if (rc == BLAZE_END) {
        *position = state->position;
        rc = 0;
    }
    *count = n;
    return rc;
}

/* Tells one observer what there is for it, or, if woken, nothing: what there is comes next. */
static int serve(struct bz_observer *observer, bool woken, struct bz_event *events)
{
    if (woken) {
        observer->on_events(observer->context, events, 0);
        return 0;
    }
    struct bz_read *read = NULL;
    size_t count = 0;
    uint64_t position = observer->position;
    int rc = bz_read_begin(observer->db, &read, NULL);
    if (rc != 0)
        return rc;
    rc = collect(read, observer, events, &count, &position, NULL);
    bz_read_end(read);
    if (rc != 0)
        return rc;
    if (count > 0)
        observer->on_events(observer->context, events, count);
    observer->position = position;
    return 0;
}

static void observer_free(struct bz_watch *watch, struct bz_observer *observer)
{
    struct bz_observer **at = &watch->observers;
    while (*at != observer)
        at = &(*at)->next;
    *at = observer->next;
    bz_free((void *)observer->name.data);
    bz_free(observer);
}

/* The observer that is furthest behind, if any is. */
static struct bz_observer *next_behind(struct bz_watch *watch, uint64_t position)
{
    struct bz_observer *least = NULL;
    for (struct bz_observer *o = watch->observers; o != NULL; o = o->next) {
        if (!o->removed && (o->woken || o->position < position) &&
            (least == NULL || o->position < least->position))
            least = o;
    }
    return least;
}

static void *observe_loop(void *context)
{
    struct bz_db *db = context;
    struct bz_watch *watch = &db->watch;
    pthread_mutex_lock(&watch->lock);
    while (!watch->stop) {
        if (db->health.due) {
            bz_health_tell(db);
            continue;
        }
        struct bz_observer *observer = next_behind(watch, atomic_load(&db->position));
        if (observer == NULL) {
            pthread_cond_wait(&watch->work, &watch->lock);
            continue;
        }
        bool woken = observer->woken;
        observer->woken = false;
        observer->running = true;
        pthread_mutex_unlock(&watch->lock);
        int rc = serve(observer, woken, watch->events);
        pthread_mutex_lock(&watch->lock);
        observer->running = false;
        if (observer->orphan)
            observer_free(watch, observer);
        pthread_cond_broadcast(&watch->ended);
        if (rc != 0 && !watch->stop) /* out of memory, most likely: not in a hot loop */
            pthread_cond_wait(&watch->work, &watch->lock);
    }
    pthread_mutex_unlock(&watch->lock);
    return NULL;
}

int bz_watch_start(struct bz_db *db, blaze_error *error)
{
    struct bz_watch *watch = &db->watch;
    if (watch->thread_runs)
        return 0;
    if (watch->events == NULL)
        watch->events = bz_malloc(EVENTS_MAX * sizeof *watch->events);
    if (watch->events == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int number = pthread_create(&watch->thread, NULL, observe_loop, db);
    if (number != 0)
        return bz_error_errno(error, number, "start the observers' thread");
    watch->thread_runs = true;
    return 0;
}

/* ---- observers: the face ---- */

static int observer_new(struct bz_observer **out, struct bz_bytes collection)
{
    struct bz_observer *observer = bz_zalloc(sizeof *observer);
    if (observer == NULL)
        return BLAZE_ENOMEM;
    observer->all = collection.size == 0;
    if (!observer->all) {
        uint8_t *name = bz_malloc(collection.size);
        if (name == NULL) {
            bz_free(observer);
            return BLAZE_ENOMEM;
        }
        memcpy(name, collection.data, collection.size);
        observer->name = bz_bytes(name, collection.size);
    }
    *out = observer;
    return 0;
}

/* The newest position that there is, of whichever process. */
static int newest(struct bz_db *db, uint64_t *position, blaze_error *error)
{
    struct bz_read *read = NULL;
    const struct bz_state *state = NULL;
    int rc = bz_read_begin_state(db, &read, &state, error);
    if (rc != 0)
        return rc;
    *position = state->position;
    bz_read_end(read);
    return 0;
}

int bz_db_observe(struct bz_db *db, struct bz_bytes collection,
    void (*on_events)(void *context, const struct bz_event *events, size_t count), void *context,
    struct bz_observer **out, blaze_error *error)
{
    struct bz_watch *watch = &db->watch;
    struct bz_observer *observer = NULL;
    int readable = bz_db_readable(db, error);
    if (readable != 0)
        return readable;
    if (observer_new(&observer, collection) != 0)
        return bz_error_code(error, BLAZE_ENOMEM);
    observer->db = db;
    observer->on_events = on_events;
    observer->context = context;
    atomic_fetch_add(&watch->interested, 1);
    uint64_t position = 0;
    int rc = newest(db, &position, error);
    observer->position = position;
    pthread_mutex_lock(&watch->lock);
    if (rc == 0)
        rc = bz_watch_start(db, error);
    if (rc == 0) {
        observer->next = watch->observers;
        watch->observers = observer;
    }
    pthread_mutex_unlock(&watch->lock);
    if (rc == 0) {
        bz_db_advance(db, position);
        *out = observer;
        return 0;
    }
    atomic_fetch_sub(&watch->interested, 1);
    bz_free((void *)observer->name.data);
    bz_free(observer);
    return rc;
}

void bz_watch_wake(struct bz_observer *observer)
{
    struct bz_watch *watch = &observer->db->watch;
    pthread_mutex_lock(&watch->lock);
    observer->woken = true;
    pthread_cond_signal(&watch->work);
    pthread_mutex_unlock(&watch->lock);
}

void bz_db_unobserve(struct bz_observer *observer)
{
    if (observer == NULL)
        return;
    struct bz_watch *watch = &observer->db->watch;
    atomic_fetch_sub(&watch->interested, 1);
    pthread_mutex_lock(&watch->lock);
    observer->removed = true;
    if (observer->running && pthread_equal(pthread_self(), watch->thread)) {
        observer->orphan = true;
    } else {
        while (observer->running)
            pthread_cond_wait(&watch->ended, &watch->lock);
        observer_free(watch, observer);
    }
    pthread_mutex_unlock(&watch->lock);
}

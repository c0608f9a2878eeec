/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An observer may be ended from within its own call: `calling` is set during a call, so that
 * blaze_unobserve() then leaves the memory to the call, which frees it when the callback is back.
 * Only the database's observer thread writes it; bz_db_unobserve() returns to any other thread
 * after the last call. The first call may come before blaze_observe() has the handle that it ends
 * the observer by; it waits at `start` for that.
 */
#include "api_priv.h"
#include "base/alloc.h"

#define BATCH 256

struct blaze_observer {
    struct bz_observer *inner;
    void (*on_events)(void *context, const blaze_event *events, size_t count);
    void *context;
    pthread_mutex_t start; /* held while blaze_observe() is at work */
    bool calling;
    bool ended; /* from within a call */
    blaze_event events[BATCH];
};

static void translate(blaze_event *out, const struct bz_event *in)
{
    *out = (blaze_event){
        .collection = {(const char *)in->collection.data, in->collection.size},
        .id = in->id,
        .deleted = in->deleted,
        .remote = in->remote,
        .node = in->node,
        .position = in->position,
    };
}

static void release(blaze_observer *observer)
{
    pthread_mutex_destroy(&observer->start);
    bz_free(observer);
}

static void on_events(void *context, const struct bz_event *events, size_t count)
{
    blaze_observer *observer = context;
    pthread_mutex_lock(&observer->start);
    pthread_mutex_unlock(&observer->start);
    observer->calling = true;
    for (size_t done = 0; done < count && !observer->ended;) {
        size_t n = count - done < BATCH ? count - done : BATCH;
        for (size_t i = 0; i < n; i++)
            translate(&observer->events[i], &events[done + i]);
        observer->on_events(observer->context, observer->events, n);
        done += n;
    }
    observer->calling = false;
    if (observer->ended)
        release(observer);
}

int blaze_observe(blaze_db *db, const char *collection,
    void (*callback)(void *context, const blaze_event *events, size_t count), void *context,
    blaze_observer **out, blaze_error *error)
{
    if (db == NULL || callback == NULL || out == NULL)
        return bz_api_null(error, db == NULL         ? "the database"
                                  : callback == NULL ? "on_events"
                                                     : "out");
    struct bz_peer *peer;
    bool shared = bz_store_watch_path(bz_db_store(db->db)) != NULL;
    int rc = shared ? bz_api_peer(db, &peer, error) : BLAZE_OK; /* for other processes' commits */
    if (rc != BLAZE_OK)
        return rc;
    blaze_observer *observer = bz_zalloc(sizeof *observer);
    if (observer == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    observer->on_events = callback;
    observer->context = context;
    pthread_mutex_init(&observer->start, NULL);
    pthread_mutex_lock(&observer->start);
    rc = bz_db_observe(db->db, collection == NULL ? bz_bytes(NULL, 0) : bz_bytes_text(collection),
        on_events, observer, &observer->inner, error);
    if (rc == BLAZE_OK)
        *out = observer;
    pthread_mutex_unlock(&observer->start);
    if (rc != BLAZE_OK)
        release(observer);
    return rc;
}

void blaze_unobserve(blaze_observer *observer)
{
    if (observer == NULL)
        return;
    bz_db_unobserve(observer->inner);
    if (observer->calling)
        observer->ended = true;
    else
        release(observer);
}

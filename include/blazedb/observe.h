/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLAZEDB_OBSERVE_H
#define BLAZEDB_OBSERVE_H

/* Being told of changes, local and remote. */

#include <blazedb/database.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct blaze_event {
    blaze_text collection; /* borrowed during the call */
    blaze_id id;
    int deleted;       /* the record is gone, or was gone when this was told */
    int remote;        /* it came by sync from another node */
    blaze_id node;     /* whose write it is, or from whom it came */
    uint64_t position; /* in this copy's change log; grows */
} blaze_event;

typedef struct blaze_observer blaze_observer;

/*
 * Calls `on_events` after each commit with the records that it changed, in the order of the change
 * log, on a thread of the database, with no lock held: it may read and write. Changes that come
 * faster than the callback returns are told together, up to 256 at a time, a record changed twice
 * only once. Nothing is missed, and no writer waits. What other processes commit is told a few
 * milliseconds later, by way of a file watch, or of a look twice a second where the system has no
 * watches left; nothing runs while nothing changes. `collection` NULL: all.
 */
BLAZE_API int blaze_observe(blaze_db *db, const char *collection,
    void (*on_events)(void *context, const blaze_event *events, size_t count), void *context,
    blaze_observer **out, blaze_error *error);

/* After this returns no call is running and none will come, unless it is called from within one. */
BLAZE_API void blaze_unobserve(blaze_observer *observer); /* NULL is allowed */

#ifdef __cplusplus
}
#endif

#endif

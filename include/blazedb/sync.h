/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLAZEDB_SYNC_H
#define BLAZEDB_SYNC_H

/*
 * Keeping a database in step with others through a hub.
 *
 * A database becomes shared by blaze_share(), which enrols it at a hub and gives a join code. The
 * code holds the database's secret: whoever has it can read and write the database, so treat it as
 * a password. blaze_join() makes another copy from the code. After that blaze_sync() brings a copy
 * and its hub to the same state, and blaze_link_open() keeps them there.
 *
 * Hubs are named by URL: tcp://host:port (TLS 1.3), unix:/path/to/socket, mem:name (same process).
 */

#include <blazedb/database.h>
#include <blazedb/partial.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum blaze_link_state {
    BLAZE_LINK_CONNECTING = 0,
    BLAZE_LINK_CATCHING_UP = 1,
    BLAZE_LINK_LIVE = 2,    /* all that either side has is on both */
    BLAZE_LINK_WAITING = 3, /* lost; tries again in wait_ms */
    BLAZE_LINK_STOPPED = 4  /* done, closed, or refused for a reason that does not heal */
} blaze_link_state;

typedef struct blaze_link_status {
    size_t size; /* of the struct as the library knows it */
    blaze_link_state state;
    int code;         /* of the last failure, 0 if none since it was last live */
    char text[160];   /* the state in words: "waiting 12 s: connection refused" */
    uint64_t wait_ms; /* while waiting */
    uint64_t sent_records, sent_bytes;
    uint64_t received_records, received_bytes;
    uint64_t to_send, to_receive; /* records left, as far as known */
    double seconds;               /* since this attempt began */
} blaze_link_status;

typedef struct blaze_sync_options {
    size_t size;         /* set by blaze_sync_options_init() */
    const char *url;     /* the hub; NULL: the one that the database was shared at or joined from */
    unsigned timeout_ms; /* blaze_sync, _share, _join: give up when nothing has moved for so long */
    /* Called on a thread of the library whenever there is something new, at most every 50 ms. */
    void (*on_progress)(void *context, const blaze_link_status *status);
    /* Asked now and then by the blocking calls: non-zero gives up with BLAZE_ECANCELED. */
    int (*canceled)(void *context);
    void *context;
    int trust_hub; /* blaze_share: give the hub the secret too, so that it can read and write the
                      database; only a hub that is opened with `trusted` takes it */
    const blaze_scope_item *scope; /* blaze_join: makes a partial copy (blazedb/partial.h), and only
                                      what this takes is fetched; NULL: the whole database */
    size_t scope_count;
} blaze_sync_options;

/* Defaults: the remembered hub, 10 s. */
BLAZE_API void blaze_sync_options_init(blaze_sync_options *options);

/* Enrols the database at the hub `url`, brings both to the same state, and gives the join code in
 * *code (blaze_free). The hub gets the access key, not the secret, and carries what it cannot read,
 * unless options->trust_hub says otherwise. Sharing again gives the same code. BLAZE_ECONNECT,
 * BLAZE_EAUTH, BLAZE_ETIMEOUT; BLAZE_EPERM from a hub that takes in no databases, or no secrets. */
BLAZE_API int blaze_share(blaze_db *db, const char *url, const blaze_sync_options *options,
    char **code, blaze_error *error);

/*
 * Makes a copy at `path` from a join code and opens it, filled from the hub. If the way is cut
 * half-way, the copy stays and is completed by joining again with the same code, or by
 * blaze_sync(). BLAZE_ESYNTAX (damaged code), BLAZE_EAUTH (wrong code), BLAZE_EDATABASE (`path` is
 * another database), BLAZE_ENOTFOUND (the hub has no such database), BLAZE_ECONNECT; with
 * options->scope, what blaze_set_scope() gives. A failure before anything came leaves nothing at
 * `path`. A copy that is completed keeps its scope unless another is given.
 */
BLAZE_API int blaze_join(blaze_db **out, const char *path, const char *code,
    const blaze_open_options *open, const blaze_sync_options *options, blaze_error *error);

/* Brings this copy and the hub to the same state once. BLAZE_ENOTFOUND if it is not shared,
 * BLAZE_ECONNECT, BLAZE_EAUTH, BLAZE_ETIMEOUT, BLAZE_ECANCELED. What policies settle of what came
 * is sent as well. *status (may be NULL) is written also on failure. What was exchanged before a
 * failure stays. */
BLAZE_API int blaze_sync(
    blaze_db *db, const blaze_sync_options *options, blaze_link_status *status, blaze_error *error);

/* A link keeps the copy in step until it is closed, and connects again when it is lost. */
typedef struct blaze_link blaze_link;
BLAZE_API int blaze_link_open(
    blaze_db *db, const blaze_sync_options *options, blaze_link **out, blaze_error *error);
BLAZE_API void blaze_link_get_status(blaze_link *link, blaze_link_status *out);
/* Has a link that waits try again at once. One also does by itself when the machine gets a network,
 * and when a Unix socket comes to be where it awaits one. */
BLAZE_API void blaze_link_retry(blaze_link *link);

/* Waits until the link is live: this copy and the other end have all that either has.
 * BLAZE_ETIMEOUT after `timeout_ms`, which changes nothing; BLAZE_ECANCELED when the link, or the
 * database, is closed by another thread meanwhile; the code that the link has stopped for. Any
 * thread, but not from within a callback. */
BLAZE_API int blaze_link_wait(blaze_link *link, unsigned timeout_ms, blaze_error *error);

/* The position of this copy's newest change: after a commit, one that covers it. Of this handle's
 * change log, and growing; not comparable with another copy's. */
BLAZE_API uint64_t blaze_position(blaze_db *db);

/* The same for a write: waits until the other end has applied everything here up to `position`, as
 * durably as it does. */
BLAZE_API int blaze_link_wait_write(
    blaze_link *link, uint64_t position, unsigned timeout_ms, blaze_error *error);

/* Ends the link in good order; no callback is running when this returns. NULL is allowed. */
BLAZE_API void blaze_link_close(blaze_link *link);

#ifdef __cplusplus
}
#endif

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_PEER_PEER_H
#define BZ_PEER_PEER_H

/*
 * A database's connections to others. A bz_peer belongs to one open database and has a loop thread
 * and a few session threads; links are opened in it, each to one URL.
 *
 * A link connects, syncs, and when it is lost tries again: after a random time between 0 and a
 * ceiling that doubles from 100 ms to 60 s and falls back once a session has come to be live. A
 * refusal that does not heal by trying again (wrong secret, unknown database, a protocol that this
 * version does not speak) stops it. When the machine gets a network, or a Unix socket comes to be
 * where one is awaited, links that wait try at once.
 *
 * A peer may listen too. Two nodes that connect to each other keep one connection, the one that the
 * smaller node id has opened; the other's link stands aside, and tells of that one.
 *
 *   CONNECTING -> CATCHING_UP -> LIVE          BZ_LINK_ONCE stops at the first LIVE
 *       ^  |            |         |
 *       |  v            v         v
 *     WAITING <---------+---------+            a lost or failed session
 *
 *   any -> STOPPED                             done, closed, refused
 *
 * Commits of this process and of others (seen through a watch on the store's folder) wake the
 * sessions.
 *
 * Threads: any, holding no lock that a callback takes, and not from within a callback.
 */

#include "db/db.h"
#include "peer/server.h"
#include "sync/session.h"

struct bz_peer;
struct bz_link;

/* `db` stays open until bz_peer_close(). BLAZE_ENOMEM, BLAZE_EIO. */
int bz_peer_open(struct bz_peer **out, struct bz_db *db, blaze_error *error);

/* Listens, and serves the database to whoever proves its key; it must have a secret
 * (BLAZE_ENOTFOUND). Once only. `options` says where, how many, and where to log; the rest is
 * filled in here. Errors as bz_server_open(). */
int bz_peer_listen(
    struct bz_peer *peer, const struct bz_server_options *options, blaze_error *error);
struct bz_server *bz_peer_server(struct bz_peer *peer); /* NULL if it does not listen */
void bz_peer_unlisten(struct bz_peer *peer);

/* Closes the links that are left, and everything else. NULL is allowed. */
void bz_peer_close(struct bz_peer *peer);

enum bz_link_state {
    BZ_LINK_CONNECTING,
    BZ_LINK_CATCHING_UP,
    BZ_LINK_LIVE, /* all that either side has is on both */
    BZ_LINK_WAITING,
    BZ_LINK_STOPPED,
};

struct bz_link_status {
    enum bz_link_state state;
    int code;                         /* of the last failure, 0 if none since it was last live */
    char text[160];                   /* the state in words: "waiting 12 s: connection refused" */
    uint64_t wait_ms;                 /* while waiting, when it began */
    double seconds;                   /* since this attempt began */
    bool reached;                     /* it has been live at least once */
    struct bz_session_status session; /* of the present session, or of the last; sums over all
                                         sessions in its counters of records and bytes */
};

enum bz_link_mode {
    BZ_LINK_LIVE_MODE, /* until closed */
    BZ_LINK_ONCE,      /* until both sides are at the head; not getting through to a peer that
                          proves itself ends it, a session that is lost after that is tried again */
};

struct bz_link_options {
    const char *url;
    enum bz_link_mode mode;
    bool enrol; /* offer the hub the access key, in case it does not have the database yet */
    bool trust; /* with enrol: offer it the secret instead, so that it can read the database */
    uint32_t pause_ms; /* the ceiling of the first pause; 0: 100 */
    /* Called on a session thread, one call at a time: at each change of state, and at most every
     * 50 ms when only counters have changed. May be NULL. */
    void (*on_status)(void *context, const struct bz_link_status *status);
    void *context;
};

/* Begins to connect. The database must have a secret (member.h): BLAZE_ENOTFOUND. BLAZE_EINVAL for
 * a malformed URL, BLAZE_ENOMEM. */
int bz_link_open(struct bz_link **out, struct bz_peer *peer, const struct bz_link_options *options,
    blaze_error *error);

void bz_link_get_status(struct bz_link *link, struct bz_link_status *out);
const char *bz_link_url(const struct bz_link *link); /* borrowed while it is open */

/* Waits until the link has stopped, or (in live mode) is live. Returns 0 once it was live, the code
 * it stopped for, or BLAZE_ETIMEOUT after `timeout_ms` without either, which changes nothing. */
int bz_link_wait(struct bz_link *link, uint64_t timeout_ms, blaze_error *error);

/* The same for one thing: that the link is live now, with all that is here as this is called
 * (caught up with the peer), or that the peer has applied our log up to `position` (written),
 * durably as it is set up to. A link that stops gives its code, one that is closed BLAZE_ECANCELED.
 * Any thread, not from within a callback. */
enum bz_link_goal { BZ_LINK_CAUGHT_UP, BZ_LINK_WRITTEN };
int bz_link_wait_for(struct bz_link *link, enum bz_link_goal goal, uint64_t position,
    uint64_t timeout_ms, blaze_error *error);

/* Threads that wait for the link now. Tests only. */
unsigned bz_link_waiters(struct bz_link *link);

/* Has a link that waits try again at once, and begin its pauses anew. Any thread. */
void bz_link_retry(struct bz_link *link);

/* Ends the session in good order. No callback runs any more when this returns. NULL is allowed. */
void bz_link_close(struct bz_link *link);

#endif

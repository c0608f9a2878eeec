/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_PEER_LINK_PRIV_H
#define BZ_PEER_LINK_PRIV_H

/*
 * A link's parts: link.c lives its life, wakeup.c has it try again when that may help, link_wait.c
 * has others wait for it, twin.c has it stand aside for the peer's own connection.
 */

#include "peer/exchange.h"
#include "peer/member.h"
#include "peer/peer_priv.h"
#include "peer/wakeup.h"

#define BZ_LINK_STOPPED_TEXT "stopped: " /* begins the text of a link that stopped for an error */

struct bz_link {
    struct bz_peer *peer;
    struct bz_link *next;
    struct bz_link *previous;
    char *url;
    enum bz_link_mode mode;
    bool enrol;
    uint64_t pause_ms;
    bool trust;
    void (*on_status)(void *context, const struct bz_link_status *status);
    void *context;
    struct bz_keys keys;
    struct bz_secret secret;

    pthread_mutex_t lock; /* over these */
    pthread_cond_t changed;
    struct bz_link_status status;
    struct bz_session_status sums; /* of earlier sessions: only counters */
    uint64_t attempt_ns;           /* when it began */
    bool met;                      /* the peer has proven itself in this attempt */
    bool live;                     /* and both sides were at the head */
    bool stopping;
    bool finished;    /* the loop side is done */
    unsigned waiters; /* threads in bz_link_wait() and the like */

    struct bz_stream *stream; /* while connecting */
    /* Set before its strand begins and cleared after it has ended: so whoever is called by it, or
     * listens for it, may read it. */
    struct bz_exchange *exchange;
    struct bz_timer *timer;
    unsigned failures;        /* in a row */
    bool pausing;             /* waits to try again: the timer is set */
    bool yielded;             /* the session ends because the peer's own connection is kept */
    bool aside;               /* has none: the peer's own connection stands in (twin.c) */
    struct bz_wakeup *wakeup; /* of a Unix socket */
    struct bz_task retry;
    struct bz_task review; /* has twin.c look at it */
    int rc;                /* of start() */

    struct bz_replica replica; /* these are the exchange's strand's */
    struct bz_session_auth auth;
    struct bz_listener_handle *listener;

    struct bz_strand report;
    struct bz_task later; /* has the loop set `late`: what is not told now is told then */
    struct bz_timer *late;
    uint64_t reported_ns;
    enum bz_link_state reported;
    bool ever_reported;
};

/* link.c: under the lock. */
void bz_link_set_state(struct bz_link *link, enum bz_link_state state, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* link.c: on the loop thread. */
void bz_link_attempt(struct bz_link *link);

/* twin.c: on the loop thread; the session with the peer is open, or the link stands aside, or the
 * peer's own connections have changed. */
void bz_link_review(struct bz_link *link);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_PEER_SERVER_H
#define BZ_PEER_SERVER_H

/*
 * The accepting side: listeners, and the sessions of those who come. Which databases are served is
 * the owner's to say: a hub has many, a peer has one.
 *
 * Threads: any, but not from within a callback; holding no lock that a callback takes.
 */

#include "net/net.h"
#include "peer/member.h"
#include "peer/pool.h"
#include "sync/session.h"

struct bz_server;

/* What a visitor enrols a database with. */
struct bz_enrolment {
    bool secret; /* the key is the database's secret, else its access key */
    uint8_t key[32];
};

/* A database that one visitor is served with. */
struct bz_served {
    struct bz_db *db;
    struct bz_keys *keys;
    void *visit; /* the owner's */
};

/* bz_server_options_init() sets the defaults in brackets; the functions but open and close may be
 * NULL. */
struct bz_server_options {
    const char *const *listen; /* URLs, 1 to BZ_SERVER_LISTENERS_MAX */
    size_t listen_count;
    uint32_t connections_max; /* [20,000] */
    uint32_t handshake_ms;    /* for TLS, and then for the proof of the key [10,000] */
    /* Of one address (gate.h), 0: no limit: connections at a time [5,000], and failures to prove
     * oneself [60], one of which is forgiven every [2,000] ms. Whoever is over it is hung up on. */
    uint32_t address_connections_max;
    uint32_t address_failures_max;
    uint32_t address_forgive_ms;
    const char *goodbye; /* what is told to those who are there at the end; stays */

    /* Whether enrolments are listened to. */
    bool enrols;

    /* Gives the database for one more visitor, who has proven nothing yet. On a pool's thread: it
     * may wait. BLAZE_ENOTFOUND; with an enrolment also BLAZE_EAUTH, BLAZE_EPERM. */
    int (*open)(void *context, const blaze_id *database, const struct bz_enrolment *enrolment,
        struct bz_served *out, blaze_error *error);
    void (*close)(void *context, struct bz_served *served);

    /* A visitor's session has come further, or is gone. On a thread of the pool or the
     * loop. */
    void (*on_change)(void *context);
    void *owner; /* the context of these */

    /* One line of what happens, on a thread of the pool; not one call at a time. */
    void (*on_log)(void *context, const char *line);

    /* One who has proven itself: at each change of phase, the last of which is CLOSED, and when
     * records have gone to and fro. On a thread of the pool; not one call at a time. */
    void (*on_session)(
        void *context, const char *url, const struct bz_session_status *session, double seconds);
    void *context;
};

#define BZ_SERVER_LISTENERS_MAX 16

void bz_server_options_init(struct bz_server_options *options);

/* Listens at every URL or fails: BLAZE_EADDRINUSE, BLAZE_EINVAL, BLAZE_EPERM, BLAZE_EIO,
 * BLAZE_ENOMEM. Loop and pool stay until it is closed. */
int bz_server_open(struct bz_server **out, struct bz_loop *loop, struct bz_pool *pool,
    const struct bz_server_options *options, blaze_error *error);

/* The URL of listener `index` with its real port; borrowed. NULL past the last. */
const char *bz_server_url(const struct bz_server *server, size_t index);

struct bz_server_status {
    uint64_t connections; /* now */
    uint64_t accepted;    /* since the start */
    uint64_t refused;     /* of these, those that never proved themselves */
    uint64_t shut_out;    /* hung up on at once, because of their address */
    uint64_t received_bytes;
    uint64_t sent_bytes;
};
void bz_server_get_status(struct bz_server *server, struct bz_server_status *out);

/* Calls each(context, url, session, seconds) for those who have proven themselves and are there,
 * until it returns non-zero, which is then returned. Nothing of the server may be called within. */
int bz_server_each(struct bz_server *server,
    int (*each)(
        void *context, const char *url, const struct bz_session_status *session, double seconds),
    void *context);

/* The session by which `node` is here, the one that has come furthest; false, and *out as it was,
 * if by none. */
bool bz_server_find(struct bz_server *server, const blaze_id *node, struct bz_session_status *out);

/* Says goodbye to all, and waits until they are gone. NULL is allowed. */
void bz_server_close(struct bz_server *server);

#endif

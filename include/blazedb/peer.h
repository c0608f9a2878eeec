/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLAZEDB_PEER_H
#define BLAZEDB_PEER_H

/*
 * A peer: one open database that listens, connects to others, or both, without a hub. Whatever
 * graph the connections make, each node hands on what it learns. Two nodes that connect to each
 * other keep one connection.
 *
 * Other processes may read and write the database meanwhile.
 *
 * Any thread; not from within a callback, but for blaze_peer_links().
 */

#include <blazedb/sync.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct blaze_peer blaze_peer;

/* A connection of a peer, from here (one for each URL, connected or not) or from another node. */
typedef struct blaze_peer_link {
    size_t size; /* of the struct as the library knows it */
    int incoming;
    char url[288]; /* where it goes to or comes from */
    int known;     /* whether the node at the other end has proven itself */
    blaze_id node;
    blaze_link_status
        status; /* of one that has come: catching up, live, or stopped, which is last */
} blaze_peer_link;

typedef struct blaze_peer_options {
    size_t size;               /* set by blaze_peer_options_init() */
    const char *const *listen; /* URLs: tcp://host:port (port 0: any free), unix:/path, mem:name */
    size_t listen_count;       /* up to 16 */
    const char *const *connect;
    size_t connect_count;
    unsigned connections_max; /* that come; 0: 20,000 */
    unsigned handshake_ms;    /* a stranger's time to prove itself; 0: 10,000 */
    /* At each change of a connection's state, and when records have gone to and fro; on a thread of
     * the library, one call at a time. */
    void (*on_status)(void *context, const blaze_peer_link *link);
    /* One line of who comes, goes or is turned away; likewise. */
    void (*on_log)(void *context, const char *line);
    void *context;
} blaze_peer_options;

BLAZE_API void blaze_peer_options_init(blaze_peer_options *options);

/* Listens and begins to connect. A database that was never shared gets its secret now; where others
 * are copies of it they must have come from it by blaze_join(). One peer a handle: BLAZE_EBUSY.
 * BLAZE_EADDRINUSE, BLAZE_EINVAL, BLAZE_EPERM, BLAZE_EREADONLY, BLAZE_EIO, BLAZE_ENOMEM. */
BLAZE_API int blaze_peer_open(
    blaze_peer **out, blaze_db *db, const blaze_peer_options *options, blaze_error *error);

/* The URL of listener `index` with its real port, borrowed; NULL past the last. */
BLAZE_API const char *blaze_peer_url(blaze_peer *peer, size_t index);

/* The join code (blaze_free) for copies that are to be filled from here, at the URL that they can
 * reach. It holds the secret: treat it as a password. */
BLAZE_API int blaze_peer_code(blaze_peer *peer, const char *url, char **code, blaze_error *error);

/* The link to `options.connect[index]`, to wait for; borrowed. NULL past the last. */
BLAZE_API blaze_link *blaze_peer_connection(blaze_peer *peer, size_t index);

/* Calls each() for all connections there are, until it returns non-zero, which is then returned. */
BLAZE_API int blaze_peer_links(blaze_peer *peer,
    int (*each)(void *context, const blaze_peer_link *link), void *context, blaze_error *error);

/* Says goodbye to all; no callback is running when this returns. Before blaze_close(). NULL is
 * allowed. */
BLAZE_API void blaze_peer_close(blaze_peer *peer);

#ifdef __cplusplus
}
#endif

#endif

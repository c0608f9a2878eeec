/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLAZEDB_HUB_H
#define BLAZEDB_HUB_H

/*
 * A hub: a server that keeps many databases, each in `DIR/<database id>.blz`, and brings their
 * copies together.
 *
 * A hub is *blind*: it has the key that lets members in and none to what they write, carries sealed
 * records, and merges, keeps and hands them on as any other node does. A database that is shared
 * with `trust_hub` (blazedb/sync.h) gives its secret to the hub, which is then a full member with
 * the role `server` and can read and write it; a hub takes such only if it is opened with
 * `trusted`. What a database is at a hub, it stays.
 */

#include <blazedb/database.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct blaze_hub blaze_hub;

typedef struct blaze_hub_options {
    size_t size;               /* set by blaze_hub_options_init() */
    const char *const *listen; /* URLs: tcp://host:port (port 0: any free), unix:/path, mem:name */
    size_t listen_count;
    unsigned connections_max; /* in all; 0: 20,000 */
    unsigned handshake_ms;    /* a stranger's time to prove itself; 0: 10,000 */
    int closed;               /* take in no new databases */
    int trusted;              /* take the secrets of databases whose members offer them, and serve
                                 databases that were given so: see above */
    blaze_seal seal;          /* of all its databases: those that it has must be sealed by it */
    /* One line of what happens (a peer came, went, was refused), on a thread of the library. */
    void (*on_log)(void *context, const char *line);
    void *context;
    int allow_network_fs; /* as in blaze_open_options */
    /* Of what peers bring. Full: what a hub has acknowledged or handed on is on its disk. Relaxed:
     * faster to hand on; what a power cut takes from the hub, the peers that sent it send again. */
    blaze_durability durability;
    unsigned databases_max; /* that it keeps: if it has so many, none is taken in; 0: no limit */
    /* One line of what whoever runs the hub should know, soon after the start: that databases which
     * are here will be refused, since the hub is not `trusted`. Threads as on_log. */
    void (*on_warning)(void *context, const char *line);
} blaze_hub_options;

BLAZE_API void blaze_hub_options_init(blaze_hub_options *options);

/* Starts serving the directory (made if it is not there). BLAZE_EADDRINUSE, BLAZE_EBUSY if another
 * hub serves the directory, BLAZE_EPERM also on a network file system. */
BLAZE_API int blaze_hub_open(
    blaze_hub **out, const char *directory, const blaze_hub_options *options, blaze_error *error);

/* The URL of listener `index` with its real port, borrowed; NULL past the last. */
BLAZE_API const char *blaze_hub_url(blaze_hub *hub, size_t index);

typedef struct blaze_hub_status {
    size_t size;
    uint64_t connections, databases, refused;
    uint64_t received_bytes, sent_bytes;
} blaze_hub_status;
BLAZE_API void blaze_hub_get_status(blaze_hub *hub, blaze_hub_status *out);

/* Says goodbye to all peers and closes everything in good order. */
BLAZE_API int blaze_hub_close(blaze_hub *hub, blaze_error *error);

#ifdef __cplusplus
}
#endif

#endif

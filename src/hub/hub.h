/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_HUB_HUB_H
#define BZ_HUB_HUB_H

/*
 * A hub: databases in a directory, each as DIR/<database id>.blz, served to whoever proves a
 * database's key. A database is opened when its first client comes and closed some time after its
 * last has gone. A new one is taken in by enrolment: the client sends the database's access key,
 * and the hub makes a blind copy, which it cannot read; or, to a trusting hub, the secret, and it
 * makes a full copy with the role `server`. What a copy is at first it stays.
 *
 * One process serves a directory at a time (a lock on DIR/hub.lock).
 *
 * Threads: any; not from within on_log.
 */

#include "base/error.h"
#include "crypto/vault.h"
#include "db/db.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bz_hub;

/* bz_hub_options_init() sets the defaults in brackets. */
struct bz_hub_options {
    const char *const *listen; /* URLs */
    size_t listen_count;
    uint32_t connections_max; /* [20,000] */
    uint32_t handshake_ms;    /* for TLS, and then for the proof of the key [10,000] */
    uint32_t idle_ms;         /* how long a database without clients stays open [10,000] */
    unsigned threads;         /* for sessions [2] */
    uint32_t databases_max;   /* in the directory: past it none is taken in [0: no limit] */
    bool closed;              /* take in no new databases */
    bool trusted;             /* take secrets, and serve databases that were given with them */
    const struct bz_vault_secret *secret; /* that seals all of its databases, or NULL; copied */
    bool allow_network_fs;                /* also where other machines may write to the files */
    enum bz_durability durability;        /* of what peers bring [full] */
    /* One line, without a newline, of what happens; on a thread of the hub, one call at a time. May
     * be NULL. */
    void (*on_log)(void *context, const char *line);
    /* The same of what whoever runs the hub should know. */
    void (*on_warning)(void *context, const char *line);
    void *context;
};

void bz_hub_options_init(struct bz_hub_options *options);

/* Makes the directory if it is not there, and listens at every URL or fails. BLAZE_EADDRINUSE,
 * BLAZE_EBUSY if another hub serves the directory, BLAZE_EINVAL, BLAZE_EPERM (on a network file
 * system, too), BLAZE_EIO, BLAZE_ENOMEM. */
int bz_hub_open(struct bz_hub **out, const char *directory, const struct bz_hub_options *options,
    blaze_error *error);

/* The URL of listener `index` with its real port; borrowed. NULL past the last. */
const char *bz_hub_url(struct bz_hub *hub, size_t index);

struct bz_hub_status {
    uint64_t connections; /* now */
    uint64_t databases;   /* open now */
    uint64_t accepted;    /* connections since the start */
    uint64_t refused;     /* of these, those whose session ended with a refusal */
    uint64_t received_bytes;
    uint64_t sent_bytes;
};
void bz_hub_get_status(struct bz_hub *hub, struct bz_hub_status *out);

/* Says goodbye to all clients, closes databases and listeners. The first error of a database's
 * closing is returned; the hub is gone in any case. NULL is allowed. */
int bz_hub_close(struct bz_hub *hub, blaze_error *error);

#endif

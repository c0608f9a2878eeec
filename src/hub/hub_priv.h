/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_HUB_HUB_PRIV_H
#define BZ_HUB_HUB_PRIV_H

/*
 * hub.c has the server and what is given to its clients, hosted.c the databases, survey.c what is
 * to be said of them at the start.
 *
 * Locks: one over the list of databases; nothing is done under it that waits but for its own
 * condition. `intake` is never held together with it. The log has a lock of its own, taken last.
 */

#include "db/db.h"
#include "hub/hub.h"
#include "net/net.h"
#include "os/os.h"
#include "peer/member.h"
#include "peer/poller.h"
#include "peer/pool.h"
#include "peer/server.h"

#include <pthread.h>
#include <stdatomic.h>

/* A database that is open, or on its way to be or not to be. */
struct hosted {
    struct hosted *next;
    blaze_id id;
    enum { HOSTED_OPENING, HOSTED_READY, HOSTED_CLOSING } state;
    unsigned clients;
    uint64_t idle_since_ms; /* meaningful without clients */
    struct bz_db *db;       /* these three when ready */
    struct bz_keys keys;
    struct bz_poller *poller;
};

struct bz_hub {
    struct bz_hub_options options;
    struct bz_vault_secret secret; /* that options.secret points at, its bytes our own */
    char *directory;
    struct bz_file lock_file;
    struct bz_loop *loop;
    struct bz_pool *pool;
    struct bz_timer *timer; /* posts the janitor */
    struct bz_strand janitor;
    struct bz_strand survey;
    _Atomic(bool) closing; /* the survey need not go on */
    struct bz_server *server;

    pthread_mutex_t lock; /* over these */
    pthread_cond_t changed;
    struct hosted *hosted;
    uint64_t databases; /* open */

    pthread_mutex_t intake; /* held while a database is made, so that they can be counted */
    pthread_mutex_t log_lock;
};

void bz_hub_log(struct bz_hub *hub, const char *format, ...) __attribute__((format(printf, 2, 3)));
void bz_hub_warn(struct bz_hub *hub, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Begins to look, beside what else happens, for databases that are refused by a hub of this kind,
 * and warns of them. */
void bz_hub_survey(struct bz_hub *hub);

/* Whether an entry of the directory is a database, and which. */
bool bz_hosted_is_name(const char *name, blaze_id *id);

/* Gives the database for one more client, opening it if it is not; with an enrolment, takes it in
 * if it is new. On a pool's thread: it may wait. BLAZE_ENOTFOUND, BLAZE_EAUTH (another key),
 * BLAZE_EPERM (of a secret, where none are taken), BLAZE_ELIMIT (no room for a new one), and what
 * opening a database fails with. */
int bz_hosted_acquire(struct bz_hub *hub, const blaze_id *id, const struct bz_enrolment *enrolment,
    struct hosted **out, blaze_error *error);
void bz_hosted_release(struct bz_hub *hub, struct hosted *hosted);

/* Closes the databases that have been without clients for idle_ms; with `all`, every one, of which
 * none may have clients. The first failure to close is returned. */
int bz_hosted_sweep(struct bz_hub *hub, bool all, blaze_error *error);

#endif

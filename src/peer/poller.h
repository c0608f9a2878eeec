/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_PEER_POLLER_H
#define BZ_PEER_POLLER_H

/*
 * Has a database notice the commits of other processes: watches the folder that they write to, and
 * calls bz_db_poll() on the pool when it has changed, at once if that was not our own doing, and a
 * millisecond later. While this process commits, whose commits bring those of others with them, it
 * looks now and then only. Where the system has no watches left it looks twice a second.
 */

#include "db/db.h"
#include "net/net.h"
#include "peer/pool.h"

struct bz_poller;

/* Any thread. BLAZE_ENOMEM. */
int bz_poller_open(
    struct bz_poller **out, struct bz_loop *loop, struct bz_pool *pool, struct bz_db *db);

/* The database is not touched any more when this returns. Any thread but the loop's. NULL is
 * allowed. */
void bz_poller_close(struct bz_poller *poller);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_PEER_PEER_PRIV_H
#define BZ_PEER_PEER_PRIV_H

#include "net/net.h"
#include "peer/peer.h"
#include "peer/poller.h"
#include "peer/pool.h"

#include <pthread.h>

struct bz_peer {
    struct bz_db *db;
    struct bz_loop *loop;
    struct bz_pool *pool;
    struct bz_poller *poller;
    pthread_mutex_t lock; /* over the list */
    struct bz_link *links;
};

#endif

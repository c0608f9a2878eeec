/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_PEER_PEER_PRIV_H
#define BZ_PEER_PEER_PRIV_H

#include "net/net.h"
#include "peer/member.h"
#include "peer/peer.h"
#include "peer/poller.h"
#include "peer/pool.h"
#include "peer/server.h"

#include <pthread.h>

struct bz_peer {
    struct bz_db *db;
    struct bz_loop *loop;
    struct bz_pool *pool;
    struct bz_poller *poller;
    struct bz_network_watch *network; /* NULL: the system tells nothing */
    struct bz_timer *settle;          /* until waiting links are told of a change of networks */
    bool settling;
    uint64_t settled_ns;
    pthread_mutex_t lock; /* over these */
    struct bz_link *links;
    struct bz_server *server; /* NULL: it does not listen */
    struct bz_keys keys;      /* the server's */
};

#endif

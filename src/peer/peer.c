/* SPDX-License-Identifier: Apache-2.0 */
#include "peer/peer.h"

#include "base/alloc.h"
#include "peer/peer_priv.h"

/* A session waits for the disk most of its time; more threads than that gain nothing. */
enum { SESSION_THREADS = 2 };

int bz_peer_open(struct bz_peer **out, struct bz_db *db, blaze_error *error)
{
    struct bz_peer *peer = bz_zalloc(sizeof *peer);
    if (peer == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    peer->db = db;
    pthread_mutex_init(&peer->lock, NULL);
    int rc = bz_loop_open(&peer->loop, error);
    if (rc == 0)
        rc = bz_pool_open(&peer->pool, SESSION_THREADS, error);
    if (rc == 0) {
        rc = bz_poller_open(&peer->poller, peer->loop, peer->pool, db);
        if (rc != 0)
            bz_error_code(error, rc);
    }
    if (rc == 0)
        rc = bz_db_keep_policies(db, error); /* what comes is settled where it comes in */
    if (rc == 0)
        *out = peer;
    else
        bz_peer_close(peer);
    return rc;
}

void bz_peer_close(struct bz_peer *peer)
{
    if (peer == NULL)
        return;
    while (peer->links != NULL)
        bz_link_close(peer->links);
    bz_poller_close(peer->poller);
    bz_loop_close(peer->loop);
    bz_pool_close(peer->pool);
    pthread_mutex_destroy(&peer->lock);
    bz_free(peer);
}

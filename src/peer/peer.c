/* SPDX-License-Identifier: Apache-2.0 */
#include "peer/peer.h"

#include "base/alloc.h"
#include "os/os.h"
#include "peer/link_priv.h"

/* A session waits for the disk most of its time; more threads than that gain nothing. */
enum { SESSION_THREADS = 2 };

/* A network that comes tells of it in several pieces; one that flaps is not followed faster. */
#define SETTLE_MS 20u
#define PAUSE_MS  1000u

/* ---- Networks ---- */

static void on_settled(void *context)
{
    struct bz_peer *peer = context;
    peer->settling = false;
    peer->settled_ns = bz_os_mono_ns();
    pthread_mutex_lock(&peer->lock);
    for (struct bz_link *link = peer->links; link != NULL; link = link->next)
        bz_link_retry(link);
    pthread_mutex_unlock(&peer->lock);
}

static void on_network(void *context)
{
    struct bz_peer *peer = context;
    if (peer->settling)
        return;
    uint64_t since_ms = (bz_os_mono_ns() - peer->settled_ns) / 1000000u;
    peer->settling = true;
    bz_timer_set(peer->settle, since_ms < PAUSE_MS ? PAUSE_MS - since_ms : SETTLE_MS);
}

static void open_network(void *context)
{
    struct bz_peer *peer = context;
    if (bz_timer_open(&peer->settle, peer->loop, on_settled, peer) != 0)
        return;
    /* Without it links wait out their pauses. */
    bz_network_watch_open(&peer->network, peer->loop, on_network, peer, NULL);
}

static void close_network(void *context)
{
    struct bz_peer *peer = context;
    bz_network_watch_close(peer->network);
    bz_timer_close(peer->settle);
}

/* ---- Serving the database ---- */

/* Whether the key leads to what we have. */
static int check_enrolment(struct bz_peer *peer, const blaze_id *database,
    const struct bz_enrolment *enrolment, blaze_error *error)
{
    struct bz_secret secret;
    struct bz_key access;
    int rc = 0;
    if (enrolment->secret) {
        memcpy(secret.bytes, enrolment->key, sizeof secret.bytes);
        rc = bz_key_derive(&access, &secret, database, BZ_KEY_ACCESS);
        bz_wipe(&secret, sizeof secret);
    } else {
        memcpy(access.bytes, enrolment->key, sizeof access.bytes);
    }
    if (rc != 0)
        bz_error_code(error, rc);
    else if (!bz_secret_equal(&access, &peer->keys.access, sizeof access))
        rc = bz_error_set(error, BLAZE_EAUTH, "the database has another secret");
    bz_wipe(&access, sizeof access);
    return rc;
}

static int open_database(void *context, const blaze_id *database,
    const struct bz_enrolment *enrolment, struct bz_served *out, blaze_error *error)
{
    struct bz_peer *peer = context;
    struct bz_identity identity;
    bz_db_identity(peer->db, &identity);
    if (memcmp(database, &identity.database, sizeof *database) != 0)
        return enrolment == NULL
                   ? bz_error_set(error, BLAZE_ENOTFOUND, "this peer does not have the database")
                   : bz_error_set(error, BLAZE_EPERM, "a peer takes no databases in");
    int rc = enrolment == NULL ? 0 : check_enrolment(peer, database, enrolment, error);
    if (rc == 0)
        *out = (struct bz_served){.db = peer->db, .keys = &peer->keys};
    return rc;
}

static void close_database(void *context, struct bz_served *served)
{
    (void)context;
    (void)served;
}

static void on_visitors(void *context)
{
    struct bz_peer *peer = context;
    pthread_mutex_lock(&peer->lock);
    for (struct bz_link *link = peer->links; link != NULL; link = link->next)
        bz_loop_post(peer->loop, &link->review);
    pthread_mutex_unlock(&peer->lock);
}

int bz_peer_listen(
    struct bz_peer *peer, const struct bz_server_options *options, blaze_error *error)
{
    struct bz_server_options ours = *options;
    struct bz_server *server;
    int rc = bz_keys_load(peer->db, &peer->keys, error);
    if (rc != 0)
        return rc;
    ours.enrols = true;
    ours.goodbye = "the peer is closing";
    ours.open = open_database;
    ours.close = close_database;
    ours.on_change = on_visitors;
    ours.owner = peer;
    rc = bz_server_open(&server, peer->loop, peer->pool, &ours, error);
    if (rc != 0)
        return rc;
    pthread_mutex_lock(&peer->lock);
    peer->server = server;
    pthread_mutex_unlock(&peer->lock);
    return 0;
}

struct bz_server *bz_peer_server(struct bz_peer *peer)
{
    return peer->server;
}

void bz_peer_unlisten(struct bz_peer *peer)
{
    pthread_mutex_lock(&peer->lock);
    struct bz_server *server = peer->server;
    peer->server = NULL;
    pthread_mutex_unlock(&peer->lock);
    bz_server_close(server);
}

/* ---- Opening and closing ---- */

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
    if (rc == 0) {
        bz_loop_call(peer->loop, open_network, peer);
        if (peer->settle == NULL)
            rc = bz_error_code(error, BLAZE_ENOMEM);
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
    bz_peer_unlisten(peer);
    if (peer->loop != NULL)
        bz_loop_call(peer->loop, close_network, peer);
    bz_poller_close(peer->poller);
    bz_loop_close(peer->loop);
    bz_pool_close(peer->pool);
    bz_wipe(&peer->keys, sizeof peer->keys);
    pthread_mutex_destroy(&peer->lock);
    bz_free(peer);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer: the listeners of a handle's connections, and a link for each URL that it connects to.
 */
#include "api_priv.h"
#include "base/alloc.h"
#include "link_priv.h"

#include <stdio.h>

struct connection {
    blaze_peer *peer;
    char url[288];
    blaze_link *link;
};

struct blaze_peer {
    blaze_db *db; /* NULL once that is closed */
    struct bz_peer *inner;
    void (*on_status)(void *context, const blaze_peer_link *link);
    void (*on_log)(void *context, const char *line);
    void *context;
    pthread_mutex_t tell; /* one callback at a time */
    bool listens;
    struct connection *connections;
    size_t count;
};

void blaze_peer_options_init(blaze_peer_options *options)
{
    *options = (blaze_peer_options){.size = sizeof *options};
}

/* ---- What is told of connections ---- */

static void tell(blaze_peer *peer, const blaze_peer_link *link)
{
    pthread_mutex_lock(&peer->tell);
    peer->on_status(peer->context, link);
    pthread_mutex_unlock(&peer->tell);
}

static blaze_peer_link outgoing(
    const struct connection *connection, const blaze_link_status *status)
{
    blaze_peer_link out = {.size = sizeof out, .status = *status};
    snprintf(out.url, sizeof out.url, "%s", connection->url);
    return out;
}

static void on_progress(void *context, const blaze_link_status *status)
{
    const struct connection *connection = context;
    blaze_peer_link out = outgoing(connection, status);
    tell(connection->peer, &out);
}

static blaze_peer_link incoming(
    const char *url, const struct bz_session_status *session, double seconds)
{
    blaze_peer_link out = {.size = sizeof out, .incoming = 1, .known = 1, .node = session->peer};
    struct bz_link_status status = {
        .state = BZ_LINK_STOPPED, .code = session->code, .seconds = seconds, .session = *session};
    snprintf(out.url, sizeof out.url, "%s", url);
    if (session->phase == BZ_SESSION_LIVE)
        status.state = BZ_LINK_LIVE;
    else if (session->phase == BZ_SESSION_CATCHING_UP)
        status.state = BZ_LINK_CATCHING_UP;
    if (status.state == BZ_LINK_STOPPED)
        snprintf(status.text, sizeof status.text, "left: %.140s", session->reason);
    else
        strcpy(status.text, status.state == BZ_LINK_LIVE ? "live" : "catching up");
    bz_api_link_status(&out.status, &status);
    return out;
}

static void on_session(
    void *context, const char *url, const struct bz_session_status *session, double seconds)
{
    blaze_peer *peer = context;
    blaze_peer_link out = incoming(url, session, seconds);
    tell(peer, &out);
}

static void on_log(void *context, const char *line)
{
    blaze_peer *peer = context;
    pthread_mutex_lock(&peer->tell);
    peer->on_log(peer->context, line);
    pthread_mutex_unlock(&peer->tell);
}

/* ---- Opening and closing ---- */

static int listen_at(blaze_peer *peer, const blaze_peer_options *options, blaze_error *error)
{
    struct bz_server_options how;
    bz_server_options_init(&how);
    how.listen = options->listen;
    how.listen_count = options->listen_count;
    if (options->connections_max != 0)
        how.connections_max = options->connections_max;
    if (options->handshake_ms != 0)
        how.handshake_ms = options->handshake_ms;
    how.on_log = options->on_log != NULL ? on_log : NULL;
    how.on_session = options->on_status != NULL ? on_session : NULL;
    how.context = peer;
    int rc = bz_peer_listen(peer->inner, &how, error);
    peer->listens = rc == BLAZE_OK;
    return rc;
}

static int connect_to(blaze_peer *peer, const char *url, blaze_error *error)
{
    struct connection *connection = &peer->connections[peer->count];
    blaze_sync_options options;
    blaze_sync_options_init(&options);
    options.url = url;
    options.on_progress = peer->on_status != NULL ? on_progress : NULL;
    options.context = connection;
    connection->peer = peer;
    snprintf(connection->url, sizeof connection->url, "%s", url);
    int rc = blaze_link_open(peer->db, &options, &connection->link, error);
    if (rc == BLAZE_OK)
        peer->count++;
    return rc;
}

static void end(blaze_peer *peer)
{
    for (size_t i = 0; i < peer->count; i++)
        blaze_link_close(peer->connections[i].link);
    peer->count = 0;
    if (peer->listens)
        bz_peer_unlisten(peer->inner);
    peer->listens = false;
    peer->db = NULL;
}

static void free_peer(blaze_peer *peer)
{
    pthread_mutex_destroy(&peer->tell);
    bz_free(peer->connections);
    bz_free(peer);
}

/* One that is shared already keeps its keys; what cannot read has none to make. */
static int ensure_keys(blaze_db *db, blaze_error *error)
{
    struct bz_keys keys;
    struct bz_secret secret;
    int rc = bz_keys_load(db->db, &keys, error);
    if (rc == BLAZE_ENOTFOUND)
        rc = bz_member_ensure_secret(db->db, &secret, error);
    bz_wipe(&keys, sizeof keys);
    bz_wipe(&secret, sizeof secret);
    return rc;
}

static int start(blaze_peer *peer, const blaze_peer_options *options, blaze_error *error)
{
    int rc = ensure_keys(peer->db, error);
    if (rc == BLAZE_OK)
        rc = bz_api_peer(peer->db, &peer->inner, error);
    if (rc == BLAZE_OK && options->listen_count > 0)
        rc = listen_at(peer, options, error);
    for (size_t i = 0; rc == BLAZE_OK && i < options->connect_count; i++)
        rc = connect_to(peer, options->connect[i], error);
    if (rc != BLAZE_OK)
        end(peer);
    return rc;
}

/* Only one of a handle's peers is open at a time. */
static int claim(blaze_db *db, blaze_peer *peer, blaze_error *error)
{
    pthread_mutex_lock(&db->lock);
    bool busy = db->node != NULL;
    if (!busy)
        db->node = peer;
    pthread_mutex_unlock(&db->lock);
    return busy ? bz_error_set(error, BLAZE_EBUSY, "a peer of this database is open already")
                : BLAZE_OK;
}

static void disclaim(blaze_db *db)
{
    pthread_mutex_lock(&db->lock);
    db->node = NULL;
    pthread_mutex_unlock(&db->lock);
}

static int check(const blaze_db *db, const blaze_peer_options *options, blaze_error *error)
{
    if (options->size != sizeof *options)
        return bz_error_set(
            error, BLAZE_EINVAL, "set up blaze_peer_options with blaze_peer_options_init() first");
    if (options->listen_count == 0 && options->connect_count == 0)
        return bz_error_set(
            error, BLAZE_EINVAL, "a peer needs a URL to listen at or to connect to");
    if (db->read_only)
        return bz_error_set(error, BLAZE_EREADONLY,
            "the database is opened read-only: open it for writing to sync");
    return BLAZE_OK;
}

int blaze_peer_open(
    blaze_peer **out, blaze_db *db, const blaze_peer_options *options, blaze_error *error)
{
    if (out == NULL || db == NULL || options == NULL)
        return bz_api_null(error, out == NULL  ? "out"
                                  : db == NULL ? "the database"
                                               : "the options");
    int rc = check(db, options, error);
    if (rc != BLAZE_OK)
        return rc;
    blaze_peer *peer = bz_zalloc(sizeof *peer);
    struct connection *connections = bz_zalloc((options->connect_count + 1) * sizeof *connections);
    if (peer == NULL || connections == NULL) {
        bz_free(peer);
        bz_free(connections);
        return bz_error_code(error, BLAZE_ENOMEM);
    }
    peer->db = db;
    peer->connections = connections;
    peer->on_status = options->on_status;
    peer->on_log = options->on_log;
    peer->context = options->context;
    pthread_mutex_init(&peer->tell, NULL);
    rc = claim(db, peer, error);
    if (rc == BLAZE_OK && (rc = start(peer, options, error)) != BLAZE_OK)
        disclaim(db);
    if (rc == BLAZE_OK)
        *out = peer;
    else
        free_peer(peer);
    return rc;
}

void bz_api_node_close(blaze_db *db)
{
    blaze_peer *peer = db->node;
    if (peer == NULL)
        return;
    end(peer);
    disclaim(db);
}

void blaze_peer_close(blaze_peer *peer)
{
    if (peer == NULL)
        return;
    if (peer->db != NULL)
        bz_api_node_close(peer->db);
    free_peer(peer);
}

/* ---- What it is ---- */

const char *blaze_peer_url(blaze_peer *peer, size_t index)
{
    return peer->listens ? bz_server_url(bz_peer_server(peer->inner), index) : NULL;
}

int blaze_peer_code(blaze_peer *peer, const char *url, char **code, blaze_error *error)
{
    if (url == NULL || code == NULL)
        return bz_api_null(error, url == NULL ? "the URL" : "code");
    if (peer->db == NULL)
        return bz_error_set(error, BLAZE_EFAILED, "the database was closed");
    return bz_api_code(peer->db, url, code, error);
}

blaze_link *blaze_peer_connection(blaze_peer *peer, size_t index)
{
    return index < peer->count ? peer->connections[index].link : NULL;
}

static int collect(
    void *context, const char *url, const struct bz_session_status *session, double seconds)
{
    struct bz_buf *list = context;
    blaze_peer_link link = incoming(url, session, seconds);
    bz_buf_append(list, &link, sizeof link);
    return list->error;
}

int blaze_peer_links(blaze_peer *peer, int (*each)(void *context, const blaze_peer_link *link),
    void *context, blaze_error *error)
{
    if (each == NULL)
        return bz_api_null(error, "each");
    struct bz_buf list; /* no lock is held while the caller's code runs */
    bz_buf_init(&list, SIZE_MAX);
    for (size_t i = 0; i < peer->count; i++) {
        blaze_link_status status;
        bool known;
        blaze_link_get_status(peer->connections[i].link, &status);
        blaze_peer_link link = outgoing(&peer->connections[i], &status);
        bz_api_link_peer(peer->connections[i].link, &link.node, &known);
        link.known = known;
        bz_buf_append(&list, &link, sizeof link);
    }
    if (peer->listens)
        bz_server_each(bz_peer_server(peer->inner), collect, &list);
    int rc = list.error != 0 ? bz_error_code(error, list.error) : BLAZE_OK;
    for (size_t at = 0; rc == BLAZE_OK && at < list.size; at += sizeof(blaze_peer_link)) {
        blaze_peer_link link;
        memcpy(&link, list.data + at, sizeof link);
        rc = each(context, &link);
    }
    bz_buf_release(&list);
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The listeners and the clients of a hub.
 *
 * The loop accepts; each client is an exchange, whose session asks, once it has read the first
 * frame, for the database that the client wants. The database's commits, whoever makes them, wake
 * the sessions of all its clients.
 *
 * Closing: listeners first, then every session is told to say goodbye, and when the last has gone
 * the databases are closed.
 */

#include "hub/hub.h"

#include "base/alloc.h"
#include "hub/hub_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

struct client {
    struct bz_hub *hub;
    struct client *next;
    struct client *previous;
    struct bz_exchange *exchange;
    char peer[BZ_URL_SIZE];

    struct bz_session_host host; /* from here on the strand's */
    struct hosted *hosted;
    struct bz_replica replica;
    struct bz_listener_handle *listener;
    bool met;
    uint64_t received_bytes; /* already in the hub's sums */
    uint64_t sent_bytes;
};

void bz_hub_options_init(struct bz_hub_options *options)
{
    *options = (struct bz_hub_options){
        .connections_max = 20000, .handshake_ms = 10000, .idle_ms = 10000, .threads = 2};
}

void bz_hub_log(struct bz_hub *hub, const char *format, ...)
{
    if (hub->options.on_log == NULL)
        return;
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    pthread_mutex_lock(&hub->log_lock);
    hub->options.on_log(hub->options.context, line);
    pthread_mutex_unlock(&hub->log_lock);
}

/* ---- A client's session: on its strand ---- */

static void on_commit(void *context)
{
    struct client *client = context;
    bz_exchange_wake(client->exchange);
}

/* Opens a replica of the database that the client wants. */
static int serve(struct client *client, const blaze_id *database, const struct enrolment *enrolment,
    struct bz_replica *replica, struct bz_session_auth *auth, blaze_error *error)
{
    struct bz_hub *hub = client->hub;
    int rc = bz_hosted_acquire(hub, database, enrolment, &client->hosted, error);
    if (rc == 0)
        rc = bz_db_replica_open(client->hosted->db, &client->replica, error);
    if (rc == 0) {
        rc = bz_db_listen(client->hosted->db, on_commit, client, &client->listener);
        if (rc != 0)
            bz_error_code(error, rc);
    }
    if (rc != 0) {
        char text[BLAZE_ID_TEXT_SIZE];
        bz_hub_log(
            hub, "%s: database %s: %s", client->peer, blaze_id_format(database, text), error->text);
        return rc;
    }
    *replica = client->replica;
    *auth = bz_keys_auth(&client->hosted->keys);
    return 0;
}

static int host_open(void *context, const blaze_id *database, struct bz_replica *replica,
    struct bz_session_auth *auth, blaze_error *error)
{
    return serve(context, database, NULL, replica, auth, error);
}

static int host_enrol(void *context, const blaze_id *database, bool secret, const uint8_t key[32],
    struct bz_replica *replica, struct bz_session_auth *auth, blaze_error *error)
{
    struct client *client = context;
    struct enrolment enrolment = {.secret = secret};
    if (secret && !client->hub->options.trusted)
        return bz_error_set(error, BLAZE_EPERM,
            "a client offered a database's secret: this hub takes none, unless it is started with "
            "--trusted");
    memcpy(enrolment.key, key, sizeof enrolment.key);
    int rc = serve(client, database, &enrolment, replica, auth, error);
    bz_wipe(&enrolment, sizeof enrolment);
    return rc;
}

static int client_begin(void *context, struct bz_session_options *options, blaze_error *error)
{
    struct client *client = context;
    (void)error;
    client->host = (struct bz_session_host){.open = host_open,
        .enrol = client->hub->options.closed ? NULL : host_enrol,
        .context = client};
    options->host = &client->host;
    options->handshake_ms = client->hub->options.handshake_ms;
    return 0;
}

static void client_on_status(void *context, const struct bz_session_status *session)
{
    struct client *client = context;
    struct bz_hub *hub = client->hub;
    pthread_mutex_lock(&hub->lock);
    hub->status.received_bytes += session->received_bytes - client->received_bytes;
    hub->status.sent_bytes += session->sent_bytes - client->sent_bytes;
    pthread_mutex_unlock(&hub->lock);
    client->received_bytes = session->received_bytes;
    client->sent_bytes = session->sent_bytes;
    if (client->met || session->phase == BZ_SESSION_HANDSHAKE ||
        session->phase == BZ_SESSION_CLOSED)
        return;
    client->met = true;
    char node[BLAZE_ID_TEXT_SIZE];
    char database[BLAZE_ID_TEXT_SIZE];
    bz_hub_log(hub, "%s: node %s came to database %s", client->peer,
        blaze_id_format(&session->peer, node), blaze_id_format(&client->hosted->id, database));
}

static void client_end(void *context, const struct bz_session_status *session)
{
    struct client *client = context;
    struct bz_hub *hub = client->hub;
    char node[BLAZE_ID_TEXT_SIZE];
    client_on_status(client, session);
    if (client->met) {
        bz_hub_log(hub, "%s: node %s left: %s", client->peer, blaze_id_format(&session->peer, node),
            session->reason);
    } else {
        pthread_mutex_lock(&hub->lock);
        hub->status.refused++;
        pthread_mutex_unlock(&hub->lock);
        bz_hub_log(hub, "%s: turned away: %s", client->peer, session->reason);
    }
    bz_db_unlisten(client->listener);
    if (client->replica.ops != NULL)
        bz_db_replica_close(&client->replica);
    if (client->hosted != NULL)
        bz_hosted_release(hub, client->hosted);
}

/* ---- Clients: on the loop ---- */

static void client_on_done(void *context, const struct bz_session_status *session)
{
    struct client *client = context;
    struct bz_hub *hub = client->hub;
    (void)session;
    pthread_mutex_lock(&hub->lock);
    if (client->previous != NULL)
        client->previous->next = client->next;
    else
        hub->clients = client->next;
    if (client->next != NULL)
        client->next->previous = client->previous;
    hub->status.connections--;
    pthread_cond_broadcast(&hub->changed);
    pthread_mutex_unlock(&hub->lock);
    bz_free(client);
}

static const struct bz_exchange_callbacks client_callbacks = {.begin = client_begin,
    .on_status = client_on_status,
    .end = client_end,
    .on_done = client_on_done};

/* A stream that is not taken over here is hung up on by the listener. */
static void on_accept(void *context, struct bz_listener *listener, struct bz_stream *stream)
{
    struct bz_hub *hub = context;
    (void)listener;
    if (hub->closing || hub->status.connections >= hub->options.connections_max)
        return;
    struct client *client = bz_zalloc(sizeof *client);
    if (client == NULL)
        return;
    client->hub = hub;
    snprintf(client->peer, sizeof client->peer, "%s", bz_stream_peer(stream));
    if (bz_exchange_open(
            &client->exchange, hub->loop, hub->pool, stream, &client_callbacks, client) != 0) {
        bz_free(client);
        return;
    }
    pthread_mutex_lock(&hub->lock);
    client->next = hub->clients;
    if (client->next != NULL)
        client->next->previous = client;
    hub->clients = client;
    hub->status.connections++;
    hub->status.accepted++;
    pthread_mutex_unlock(&hub->lock);
}

static const struct bz_listener_callbacks listener_callbacks = {.on_accept = on_accept};

/* ---- Opening ---- */

static void run_janitor(struct bz_strand *strand)
{
    struct bz_hub *hub = (struct bz_hub *)((char *)strand - offsetof(struct bz_hub, janitor));
    bz_hosted_sweep(hub, false, NULL);
}

static void on_time(void *context)
{
    struct bz_hub *hub = context;
    bz_strand_post(hub->pool, &hub->janitor);
    bz_timer_set(hub->timer, hub->options.idle_ms / 2 + 1);
}

struct opening {
    struct bz_hub *hub;
    int rc;
    blaze_error *error;
};

static int open_listener(struct bz_hub *hub, const char *url, blaze_error *error)
{
    struct bz_listener_options options;
    size_t i = hub->listener_count;
    bz_listener_options_init(&options);
    options.max_streams = hub->options.connections_max;
    options.stream.open_ms = hub->options.handshake_ms;
    int rc = bz_listener_open(
        &hub->listeners[i], hub->loop, url, &options, &listener_callbacks, hub, error);
    if (rc != 0)
        return rc;
    hub->listener_count++;
    const char *actual = bz_listener_url(hub->listeners[i]);
    hub->urls[i] = bz_malloc(strlen(actual) + 1);
    if (hub->urls[i] == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    strcpy(hub->urls[i], actual);
    return 0;
}

static void open_on_loop(void *context)
{
    struct opening *opening = context;
    struct bz_hub *hub = opening->hub;
    opening->rc = bz_timer_open(&hub->timer, hub->loop, on_time, hub);
    if (opening->rc != 0) {
        bz_error_code(opening->error, opening->rc);
        return;
    }
    bz_timer_set(hub->timer, hub->options.idle_ms / 2 + 1);
    for (size_t i = 0; opening->rc == 0 && i < hub->options.listen_count; i++)
        opening->rc = open_listener(hub, hub->options.listen[i], opening->error);
}

#define PID_SIZE 16

/* Such locks do not tell who holds them: the file does. */
static int note_process(struct bz_hub *hub, blaze_error *error)
{
    char pid[PID_SIZE];
    int size = snprintf(pid, sizeof pid, "%ld", (long)getpid());
    int rc = bz_file_truncate(&hub->lock_file, 0, error);
    return rc != 0 ? rc : bz_file_write(&hub->lock_file, 0, pid, (size_t)size, error);
}

/* Keeps other hubs away from the directory. */
static int lock_directory(struct bz_hub *hub, blaze_error *error)
{
    int rc = bz_dir_create(hub->directory, error);
    if (rc != 0 && rc != BLAZE_EEXIST)
        return rc;
    char *path = bz_path_join(hub->directory, "hub.lock");
    if (path == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    rc = bz_file_open(&hub->lock_file, path, BZ_OPEN_WRITE | BZ_OPEN_CREATE, error);
    bz_free(path);
    if (rc != 0)
        return rc;
    rc = bz_file_lock(&hub->lock_file, true, false, NULL, error);
    if (rc == BLAZE_EBUSY) {
        char holder[PID_SIZE] = "?";
        size_t got = 0;
        if (bz_file_read(&hub->lock_file, 0, holder, sizeof holder - 1, &got, NULL) == 0)
            holder[got] = '\0';
        return bz_error_set(
            error, rc, "%s: another hub serves it (process %s)", hub->directory, holder);
    }
    return rc == 0 ? note_process(hub, error) : rc;
}

/* Databases are opened as long as the hub runs. */
static bool keep_secret(struct bz_hub *hub)
{
    const struct bz_vault_secret *given = hub->options.secret;
    if (given == NULL)
        return true;
    uint8_t *copy = bz_malloc(given->bytes.size + 1);
    if (copy == NULL)
        return false;
    if (given->bytes.size > 0)
        memcpy(copy, given->bytes.data, given->bytes.size);
    hub->secret = *given;
    hub->secret.bytes.data = copy;
    hub->options.secret = &hub->secret;
    return true;
}

static void forget_secret(struct bz_hub *hub)
{
    if (hub->options.secret == NULL)
        return;
    uint8_t *copy = (uint8_t *)(uintptr_t)hub->secret.bytes.data;
    bz_wipe(copy, hub->secret.bytes.size);
    bz_free(copy);
}

static struct bz_hub *new_hub(const char *directory, const struct bz_hub_options *options)
{
    struct bz_hub *hub = bz_zalloc(sizeof *hub);
    size_t size = strlen(directory) + 1;
    char *copy = bz_malloc(size);
    if (hub == NULL || copy == NULL) {
        bz_free(hub);
        bz_free(copy);
        return NULL;
    }
    hub->directory = memcpy(copy, directory, size);
    hub->options = *options;
    if (!keep_secret(hub)) {
        bz_free(copy);
        bz_free(hub);
        return NULL;
    }
    hub->lock_file.fd = -1;
    hub->janitor.run = run_janitor;
    pthread_mutex_init(&hub->lock, NULL);
    pthread_cond_init(&hub->changed, NULL);
    pthread_mutex_init(&hub->log_lock, NULL);
    return hub;
}

int bz_hub_open(struct bz_hub **out, const char *directory, const struct bz_hub_options *options,
    blaze_error *error)
{
    if (options->listen_count == 0 || options->listen_count > MAX_LISTENERS)
        return bz_error_set(
            error, BLAZE_EINVAL, "a hub listens at 1 to %d addresses", MAX_LISTENERS);
    struct bz_hub *hub = new_hub(directory, options);
    if (hub == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = options->allow_network_fs ? 0 : bz_path_check_local(directory, error);
    if (rc == 0)
        rc = lock_directory(hub, error);
    if (rc == 0)
        rc = bz_loop_open(&hub->loop, error);
    if (rc == 0)
        rc = bz_pool_open(&hub->pool, options->threads > 0 ? options->threads : 1, error);
    if (rc == 0) {
        struct opening opening = {.hub = hub, .error = error};
        bz_loop_call(hub->loop, open_on_loop, &opening);
        rc = opening.rc;
    }
    if (rc == 0)
        *out = hub;
    else
        bz_hub_close(hub, NULL);
    return rc;
}

/* ---- Closing ---- */

static void close_on_loop(void *context)
{
    struct bz_hub *hub = context;
    for (size_t i = 0; i < hub->listener_count; i++)
        bz_listener_close(hub->listeners[i]);
    bz_timer_close(hub->timer);
    pthread_mutex_lock(&hub->lock);
    hub->closing = true;
    /* Clients leave the list on this thread only. */
    for (struct client *client = hub->clients; client != NULL; client = client->next)
        bz_exchange_stop(client->exchange, BLAZE_ECLOSED, "the hub is closing");
    pthread_mutex_unlock(&hub->lock);
}

static int close_all(struct bz_hub *hub, blaze_error *error)
{
    bz_loop_call(hub->loop, close_on_loop, hub);
    pthread_mutex_lock(&hub->lock);
    while (hub->clients != NULL)
        pthread_cond_wait(&hub->changed, &hub->lock);
    pthread_mutex_unlock(&hub->lock);
    if (hub->pool == NULL)
        return 0;
    bz_strand_cancel(hub->pool, &hub->janitor);
    return bz_hosted_sweep(hub, true, error);
}

int bz_hub_close(struct bz_hub *hub, blaze_error *error)
{
    if (hub == NULL)
        return 0;
    int rc = hub->loop == NULL ? 0 : close_all(hub, error);
    bz_loop_close(hub->loop);
    bz_pool_close(hub->pool);
    bz_file_close(&hub->lock_file);
    for (size_t i = 0; i < hub->listener_count; i++)
        bz_free(hub->urls[i]);
    pthread_mutex_destroy(&hub->log_lock);
    pthread_cond_destroy(&hub->changed);
    pthread_mutex_destroy(&hub->lock);
    forget_secret(hub);
    bz_free(hub->directory);
    bz_free(hub);
    return rc;
}

/* ---- What it is ---- */

const char *bz_hub_url(struct bz_hub *hub, size_t index)
{
    return index < hub->listener_count ? hub->urls[index] : NULL;
}

void bz_hub_get_status(struct bz_hub *hub, struct bz_hub_status *out)
{
    pthread_mutex_lock(&hub->lock);
    *out = hub->status;
    pthread_mutex_unlock(&hub->lock);
}

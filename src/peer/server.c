/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The loop accepts; each visitor is an exchange, whose session asks, once it has read the first
 * frame, for the database that the visitor wants. The database's commits, whoever makes them, wake
 * the sessions of all its visitors.
 *
 * Closing: listeners first, then every session is told to say goodbye, and when the last has gone
 * nothing is left.
 *
 * Lock: one, over the list and the counters; nothing is done under it that waits but for its own
 * condition.
 */

#include "peer/server.h"

#include "base/alloc.h"
#include "os/os.h"
#include "peer/exchange.h"
#include "peer/gate.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#define FEW 3u

struct visitor;

struct bz_server {
    struct bz_server_options options;
    struct bz_loop *loop;
    struct bz_pool *pool;
    struct bz_listener *listeners[BZ_SERVER_LISTENERS_MAX]; /* the loop's */
    char *urls[BZ_SERVER_LISTENERS_MAX];
    size_t listener_count;

    pthread_mutex_t lock; /* over these */
    pthread_cond_t changed;
    struct visitor *visitors;
    bool closing;
    struct bz_gate *gate;
    struct bz_server_status status;
};

struct visitor {
    struct bz_server *server;
    struct visitor *next;
    struct visitor *previous;
    struct bz_exchange *exchange;
    char url[BZ_URL_SIZE];
    uint64_t since_ns;
    size_t place;                     /* at the gate */
    struct bz_session_status session; /* under the lock */

    struct bz_session_host host; /* from here on the strand's */
    struct bz_served served;
    struct bz_replica replica;
    struct bz_listener_handle *listener;
    bool met;
};

void bz_server_options_init(struct bz_server_options *options)
{
    *options = (struct bz_server_options){.connections_max = 20000,
        .handshake_ms = 10000,
        .address_connections_max = 5000,
        .address_failures_max = 60,
        .address_forgive_ms = 2000,
        .goodbye = "closing"};
}

static void log_line(struct bz_server *server, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void log_line(struct bz_server *server, const char *format, ...)
{
    if (server->options.on_log == NULL)
        return;
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    server->options.on_log(server->options.context, line);
}

static uint64_t now_ms(void)
{
    return bz_os_mono_ns() / 1000000u;
}

static void tell_change(struct bz_server *server)
{
    if (server->options.on_change != NULL)
        server->options.on_change(server->options.owner);
}

/* ---- A visitor's session: on its strand ---- */

/* Whether whoever commits may serve every visitor by itself, and the loop whoever sends something:
 * not if somebody is called with what comes of it, who may want a lock that is held there, or have
 * the loop do something. */
static bool may_push(struct bz_server *server)
{
    if (server->options.on_session != NULL)
        return false;
    pthread_mutex_lock(&server->lock);
    bool few = server->status.connections <= FEW;
    pthread_mutex_unlock(&server->lock);
    return few;
}

static void on_commit(void *context)
{
    struct visitor *visitor = context;
    if (may_push(visitor->server))
        bz_exchange_push(visitor->exchange);
    else
        bz_exchange_wake(visitor->exchange);
}

static bool is_prompt(void *context)
{
    return may_push(((struct visitor *)context)->server);
}

/* Opens a replica of the database that the visitor wants. */
static int serve(struct visitor *visitor, const blaze_id *database,
    const struct bz_enrolment *enrolment, struct bz_replica *replica, struct bz_session_auth *auth,
    blaze_error *error)
{
    struct bz_server *server = visitor->server;
    struct bz_served served = {0};
    int rc = server->options.open(server->options.owner, database, enrolment, &served, error);
    if (rc == 0) {
        visitor->served = served;
        rc = bz_db_replica_open(served.db, &visitor->replica, error);
    }
    if (rc == 0) {
        rc = bz_db_listen(served.db, on_commit, visitor, &visitor->listener);
        if (rc != 0)
            bz_error_code(error, rc);
    }
    if (rc != 0) {
        char text[BLAZE_ID_TEXT_SIZE];
        log_line(server, "%s: database %s: %s", visitor->url, blaze_id_format(database, text),
            error->text);
        return rc;
    }
    *replica = visitor->replica;
    *auth = bz_keys_auth(served.keys);
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
    struct bz_enrolment enrolment = {.secret = secret};
    memcpy(enrolment.key, key, sizeof enrolment.key);
    int rc = serve(context, database, &enrolment, replica, auth, error);
    bz_wipe(&enrolment, sizeof enrolment);
    return rc;
}

static int on_begin(void *context, struct bz_session_options *options, blaze_error *error)
{
    struct visitor *visitor = context;
    const struct bz_server_options *ours = &visitor->server->options;
    (void)error;
    visitor->host = (struct bz_session_host){
        .open = host_open, .enrol = ours->enrols ? host_enrol : NULL, .context = visitor};
    options->host = &visitor->host;
    options->handshake_ms = ours->handshake_ms;
    return 0;
}

static void log_arrival(struct visitor *visitor, const struct bz_session_status *session)
{
    struct bz_identity identity;
    char node[BLAZE_ID_TEXT_SIZE];
    char database[BLAZE_ID_TEXT_SIZE];
    bz_db_identity(visitor->served.db, &identity);
    log_line(visitor->server, "%s: node %s came to database %s", visitor->url,
        blaze_id_format(&session->peer, node), blaze_id_format(&identity.database, database));
}

static void on_status(void *context, const struct bz_session_status *session)
{
    struct visitor *visitor = context;
    struct bz_server *server = visitor->server;
    pthread_mutex_lock(&server->lock);
    struct bz_session_status before = visitor->session;
    visitor->session = *session;
    server->status.received_bytes += session->received_bytes - before.received_bytes;
    server->status.sent_bytes += session->sent_bytes - before.sent_bytes;
    pthread_mutex_unlock(&server->lock);
    if (!visitor->met && session->phase != BZ_SESSION_HANDSHAKE &&
        session->phase != BZ_SESSION_CLOSED) {
        visitor->met = true;
        log_arrival(visitor, session);
    }
    if (visitor->met &&
        (session->phase != before.phase || session->position_acked != before.position_acked ||
            session->position_head != before.position_head))
        tell_change(server);
    if (visitor->met && server->options.on_session != NULL &&
        (session->phase != before.phase || session->sent_records != before.sent_records ||
            session->received_records != before.received_records))
        server->options.on_session(server->options.context, visitor->url, session,
            (double)(bz_os_mono_ns() - visitor->since_ns) / 1e9);
}

/* Whether this is what whoever tries keys, or fills places, comes to. */
static bool is_strangers_failure(int code)
{
    return code == BLAZE_EAUTH || code == BLAZE_ENOTFOUND || code == BLAZE_EPERM ||
           code == BLAZE_EPROTO || code == BLAZE_ETIMEOUT;
}

static void on_end(void *context, const struct bz_session_status *session)
{
    struct visitor *visitor = context;
    struct bz_server *server = visitor->server;
    char node[BLAZE_ID_TEXT_SIZE];
    on_status(visitor, session);
    if (session->peer_is_proven) { /* also where it ended in the turn in which it was let in */
        log_line(server, "%s: node %s left: %s", visitor->url,
            blaze_id_format(&session->peer, node), session->reason);
    } else {
        pthread_mutex_lock(&server->lock);
        server->status.refused++;
        if (is_strangers_failure(session->code))
            bz_gate_fail(server->gate, visitor->place, now_ms());
        pthread_mutex_unlock(&server->lock);
        log_line(server, "%s: turned away: %s", visitor->url, session->reason);
    }
    bz_db_unlisten(visitor->listener);
    if (visitor->replica.ops != NULL)
        bz_db_replica_close(&visitor->replica);
    if (visitor->served.db != NULL)
        server->options.close(server->options.owner, &visitor->served);
}

/* ---- Visitors: on the loop ---- */

static void on_done(void *context, const struct bz_session_status *session)
{
    struct visitor *visitor = context;
    struct bz_server *server = visitor->server;
    (void)session;
    pthread_mutex_lock(&server->lock);
    if (visitor->previous != NULL)
        visitor->previous->next = visitor->next;
    else
        server->visitors = visitor->next;
    if (visitor->next != NULL)
        visitor->next->previous = visitor->previous;
    server->status.connections--;
    bz_gate_leave(server->gate, visitor->place);
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
    bz_free(visitor);
}

static const struct bz_exchange_callbacks visitor_callbacks = {.begin = on_begin,
    .is_prompt = is_prompt,
    .on_status = on_status,
    .end = on_end,
    .on_done = on_done};

static bool let_in(struct bz_server *server, size_t place)
{
    pthread_mutex_lock(&server->lock);
    bool in = bz_gate_enter(server->gate, place, now_ms());
    server->status.shut_out += !in;
    pthread_mutex_unlock(&server->lock);
    return in;
}

static void let_out(struct bz_server *server, size_t place)
{
    pthread_mutex_lock(&server->lock);
    bz_gate_leave(server->gate, place);
    pthread_mutex_unlock(&server->lock);
}

/* A stream that is not taken over here is hung up on by the listener. */
static void on_accept(void *context, struct bz_listener *listener, struct bz_stream *stream)
{
    struct bz_server *server = context;
    (void)listener;
    if (server->closing || server->status.connections >= server->options.connections_max)
        return;
    size_t place = bz_gate_place(server->gate, bz_stream_peer(stream));
    if (!let_in(server, place))
        return;
    struct visitor *visitor = bz_zalloc(sizeof *visitor);
    if (visitor == NULL) {
        let_out(server, place);
        return;
    }
    visitor->server = server;
    visitor->place = place;
    visitor->since_ns = bz_os_mono_ns();
    snprintf(visitor->url, sizeof visitor->url, "%s", bz_stream_peer(stream));
    if (bz_exchange_open(&visitor->exchange, server->loop, server->pool, stream, &visitor_callbacks,
            visitor) != 0) {
        let_out(server, place);
        bz_free(visitor);
        return;
    }
    pthread_mutex_lock(&server->lock);
    visitor->next = server->visitors;
    if (visitor->next != NULL)
        visitor->next->previous = visitor;
    server->visitors = visitor;
    server->status.connections++;
    server->status.accepted++;
    pthread_mutex_unlock(&server->lock);
}

static const struct bz_listener_callbacks listener_callbacks = {.on_accept = on_accept};

/* ---- Opening ---- */

struct opening {
    struct bz_server *server;
    int rc;
    blaze_error *error;
};

static int open_listener(struct bz_server *server, const char *url, blaze_error *error)
{
    struct bz_listener_options options;
    size_t i = server->listener_count;
    bz_listener_options_init(&options);
    options.max_streams = server->options.connections_max;
    options.stream.open_ms = server->options.handshake_ms;
    int rc = bz_listener_open(
        &server->listeners[i], server->loop, url, &options, &listener_callbacks, server, error);
    if (rc != 0)
        return rc;
    server->listener_count++;
    const char *actual = bz_listener_url(server->listeners[i]);
    server->urls[i] = bz_malloc(strlen(actual) + 1);
    if (server->urls[i] == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    strcpy(server->urls[i], actual);
    return 0;
}

static void open_on_loop(void *context)
{
    struct opening *opening = context;
    struct bz_server *server = opening->server;
    for (size_t i = 0; opening->rc == 0 && i < server->options.listen_count; i++)
        opening->rc = open_listener(server, server->options.listen[i], opening->error);
}

int bz_server_open(struct bz_server **out, struct bz_loop *loop, struct bz_pool *pool,
    const struct bz_server_options *options, blaze_error *error)
{
    if (options->listen_count == 0 || options->listen_count > BZ_SERVER_LISTENERS_MAX)
        return bz_error_set(error, BLAZE_EINVAL, "listen at 1 to %d addresses, not at %zu",
            BZ_SERVER_LISTENERS_MAX, options->listen_count);
    struct bz_server *server = bz_zalloc(sizeof *server);
    if (server == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = bz_gate_new(&server->gate, options->address_connections_max,
        options->address_failures_max, options->address_forgive_ms);
    if (rc != 0) {
        bz_free(server);
        return bz_error_code(error, rc);
    }
    server->options = *options;
    server->loop = loop;
    server->pool = pool;
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->changed, NULL);
    struct opening opening = {.server = server, .error = error};
    bz_loop_call(loop, open_on_loop, &opening);
    server->options.listen = NULL; /* borrowed */
    if (opening.rc == 0)
        *out = server;
    else
        bz_server_close(server);
    return opening.rc;
}

/* ---- Closing ---- */

static void close_on_loop(void *context)
{
    struct bz_server *server = context;
    for (size_t i = 0; i < server->listener_count; i++)
        bz_listener_close(server->listeners[i]);
    pthread_mutex_lock(&server->lock);
    server->closing = true;
    /* Visitors leave the list on this thread only. */
    for (struct visitor *visitor = server->visitors; visitor != NULL; visitor = visitor->next)
        bz_exchange_stop(visitor->exchange, BLAZE_ECLOSED, server->options.goodbye);
    pthread_mutex_unlock(&server->lock);
}

void bz_server_close(struct bz_server *server)
{
    if (server == NULL)
        return;
    bz_loop_call(server->loop, close_on_loop, server);
    pthread_mutex_lock(&server->lock);
    while (server->visitors != NULL)
        pthread_cond_wait(&server->changed, &server->lock);
    pthread_mutex_unlock(&server->lock);
    for (size_t i = 0; i < server->listener_count; i++)
        bz_free(server->urls[i]);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->lock);
    bz_gate_free(server->gate);
    bz_free(server);
}

/* ---- What it is ---- */

const char *bz_server_url(const struct bz_server *server, size_t index)
{
    return index < server->listener_count ? server->urls[index] : NULL;
}

void bz_server_get_status(struct bz_server *server, struct bz_server_status *out)
{
    pthread_mutex_lock(&server->lock);
    *out = server->status;
    pthread_mutex_unlock(&server->lock);
}

/* Under the lock. */
static bool is_here(const struct visitor *visitor)
{
    return visitor->session.phase == BZ_SESSION_CATCHING_UP ||
           visitor->session.phase == BZ_SESSION_LIVE;
}

int bz_server_each(struct bz_server *server,
    int (*each)(
        void *context, const char *url, const struct bz_session_status *session, double seconds),
    void *context)
{
    int rc = 0;
    uint64_t now = bz_os_mono_ns();
    pthread_mutex_lock(&server->lock);
    for (struct visitor *visitor = server->visitors; rc == 0 && visitor != NULL;
         visitor = visitor->next)
        if (is_here(visitor))
            rc = each(
                context, visitor->url, &visitor->session, (double)(now - visitor->since_ns) / 1e9);
    pthread_mutex_unlock(&server->lock);
    return rc;
}

bool bz_server_find(struct bz_server *server, const blaze_id *node, struct bz_session_status *out)
{
    const struct visitor *found = NULL;
    pthread_mutex_lock(&server->lock);
    for (const struct visitor *visitor = server->visitors; visitor != NULL; visitor = visitor->next)
        if (is_here(visitor) && memcmp(&visitor->session.peer, node, sizeof *node) == 0 &&
            (found == NULL || visitor->session.phase > found->session.phase))
            found = visitor;
    if (found != NULL)
        *out = found->session;
    pthread_mutex_unlock(&server->lock);
    return found != NULL;
}

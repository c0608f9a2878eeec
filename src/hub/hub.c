/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A hub is a server (peer/server.h) over a directory of databases. When its last client has gone
 * the databases are closed.
 */

#include "hub/hub.h"

#include "base/alloc.h"
#include "hub/hub_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

void bz_hub_options_init(struct bz_hub_options *options)
{
    *options = (struct bz_hub_options){
        .connections_max = 20000, .handshake_ms = 10000, .idle_ms = 10000, .threads = 2};
}

static void say(struct bz_hub *hub, void (*to)(void *context, const char *line), const char *format,
    va_list args)
{
    char line[512];
    if (to == NULL)
        return;
    vsnprintf(line, sizeof line, format, args);
    pthread_mutex_lock(&hub->log_lock);
    to(hub->options.context, line);
    pthread_mutex_unlock(&hub->log_lock);
}

void bz_hub_log(struct bz_hub *hub, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(hub, hub->options.on_log, format, args);
    va_end(args);
}

void bz_hub_warn(struct bz_hub *hub, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(hub, hub->options.on_warning, format, args);
    va_end(args);
}

static void on_log(void *context, const char *line)
{
    bz_hub_log(context, "%s", line);
}

/* ---- Clients ---- */

static int open_database(void *context, const blaze_id *database,
    const struct bz_enrolment *enrolment, struct bz_served *out, blaze_error *error)
{
    struct bz_hub *hub = context;
    struct hosted *hosted = NULL;
    if (enrolment != NULL && enrolment->secret && !hub->options.trusted)
        return bz_error_set(error, BLAZE_EPERM,
            "a client offered a database's secret: this hub takes none, unless it is started with "
            "--trusted");
    int rc = bz_hosted_acquire(hub, database, enrolment, &hosted, error);
    if (rc == 0)
        *out = (struct bz_served){.db = hosted->db, .keys = &hosted->keys, .visit = hosted};
    return rc;
}

static void close_database(void *context, struct bz_served *served)
{
    bz_hosted_release(context, served->visit);
}

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

static void open_timer(void *context)
{
    struct bz_hub *hub = context;
    if (bz_timer_open(&hub->timer, hub->loop, on_time, hub) == 0)
        bz_timer_set(hub->timer, hub->options.idle_ms / 2 + 1);
}

static int open_server(struct bz_hub *hub, blaze_error *error)
{
    struct bz_server_options options;
    bz_server_options_init(&options);
    options.listen = hub->options.listen;
    options.listen_count = hub->options.listen_count;
    options.connections_max = hub->options.connections_max;
    options.handshake_ms = hub->options.handshake_ms;
    options.goodbye = "the hub is closing";
    options.enrols = !hub->options.closed;
    options.open = open_database;
    options.close = close_database;
    options.on_log = on_log;
    options.owner = options.context = hub;
    return bz_server_open(&hub->server, hub->loop, hub->pool, &options, error);
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
    pthread_mutex_init(&hub->intake, NULL);
    pthread_mutex_init(&hub->log_lock, NULL);
    return hub;
}

int bz_hub_open(struct bz_hub **out, const char *directory, const struct bz_hub_options *options,
    blaze_error *error)
{
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
        bz_loop_call(hub->loop, open_timer, hub);
        rc = hub->timer != NULL ? open_server(hub, error) : bz_error_code(error, BLAZE_ENOMEM);
    }
    if (rc != 0) {
        bz_hub_close(hub, NULL);
        return rc;
    }
    bz_hub_survey(hub);
    *out = hub;
    return 0;
}

/* ---- Closing ---- */

static void close_timer(void *context)
{
    struct bz_hub *hub = context;
    bz_timer_close(hub->timer);
}

static int close_all(struct bz_hub *hub, blaze_error *error)
{
    bz_server_close(hub->server);
    bz_loop_call(hub->loop, close_timer, hub);
    if (hub->pool == NULL)
        return 0;
    atomic_store(&hub->closing, true);
    bz_strand_cancel(hub->pool, &hub->survey);
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
    pthread_mutex_destroy(&hub->log_lock);
    pthread_mutex_destroy(&hub->intake);
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
    return bz_server_url(hub->server, index);
}

void bz_hub_get_status(struct bz_hub *hub, struct bz_hub_status *out)
{
    struct bz_server_status server;
    bz_server_get_status(hub->server, &server);
    *out = (struct bz_hub_status){.connections = server.connections,
        .accepted = server.accepted,
        .refused = server.refused,
        .received_bytes = server.received_bytes,
        .sent_bytes = server.sent_bytes};
    pthread_mutex_lock(&hub->lock);
    out->databases = hub->databases;
    pthread_mutex_unlock(&hub->lock);
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Listeners on TCP and Unix sockets.
 *
 * A Unix socket's file outlives a killed process. Whether somebody still listens is asked by
 * connecting to it; a file that refuses is replaced. That is done under a lock on the directory,
 * so that two processes starting at once cannot take each other's new socket for a stale one. At
 * close the file is removed if it is still the one that was made here.
 *
 * At the limit of descriptors nobody can be accepted, and libuv reports it over and over without
 * going on with the loop. Its own way out is a descriptor in reserve, which is gone once another
 * thread was quicker to take it; so we have a spare one of our own, and at worst a stream's. Who
 * gets in by it is hung up on, so that it can be had again.
 */

#include "base/alloc.h"
#include "net/net_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

/* Apart from the listener, because libuv lets go of it only later, also when opening fails. */
union socket {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
};

struct sock_listener {
    struct bz_listener base;
    union socket *socket;
    union socket *refusal;      /* for callers that are hung up on, which must not need memory */
    bool refusing;              /* it is closing */
    bool waiting;               /* and another caller waits for it */
    struct sockaddr_un address; /* of a Unix socket, with its file's identity */
    dev_t device;
    ino_t inode;
};

/* ---- Sockets ---- */

static int init_socket(union socket *socket, uv_loop_t *uv, bool tcp)
{
    return tcp ? uv_tcp_init(uv, &socket->tcp) : uv_pipe_init(uv, &socket->pipe, 0);
}

/* Whether there is a spare descriptor, now if not before. */
static bool has_spare(struct sock_listener *listener)
{
    struct bz_listener *base = &listener->base;
    if (base->spare < 0)
        base->spare = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return base->spare >= 0;
}

static int new_sockets(struct sock_listener *listener, bool tcp)
{
    union socket *socket = bz_zalloc(sizeof *socket);
    union socket *refusal = bz_zalloc(sizeof *refusal);
    int rc = socket == NULL || refusal == NULL ? UV_ENOMEM : 0;
    if (rc == 0)
        rc = init_socket(socket, &listener->base.handle.loop->uv, tcp);
    if (rc != 0) {
        bz_free(socket);
        bz_free(refusal);
        return rc;
    }
    socket->handle.data = refusal->handle.data = listener;
    listener->socket = socket;
    listener->refusal = refusal;
    has_spare(listener);
    return 0;
}

static void free_refusal(struct sock_listener *listener)
{
    if (listener->refusing)
        listener->refusal->handle.data = NULL; /* on_refused() frees it */
    else
        bz_free(listener->refusal);
}

static void on_socket_closed(uv_handle_t *handle)
{
    bz_free(handle);
}

/* When opening has failed. */
static void close_sockets(struct sock_listener *listener)
{
    free_refusal(listener);
    uv_close(&listener->socket->handle, on_socket_closed);
}

/* ---- Hanging up ---- */

/* Makes room for one descriptor more: libuv accepts again, which tells it at last that there is
 * nobody else. If there is not even a stream to end, whoever has them all must give one back. */
static void make_room(struct bz_listener *listener)
{
    if (listener->spare < 0) {
        bz_listener_shed(listener);
    } else {
        close(listener->spare);
        listener->spare = -1;
    }
}

static void on_connection(uv_stream_t *server, int status);

static void on_refused(uv_handle_t *handle)
{
    struct sock_listener *listener = handle->data;
    if (listener == NULL) {
        bz_free(handle);
        return;
    }
    bool waiting = listener->waiting;
    listener->refusing = listener->waiting = false;
    if (waiting)
        on_connection(&listener->socket->stream, 0);
    else
        has_spare(listener);
}

/* Hangs up on a caller: libuv wants it accepted before it takes the next. */
static void refuse(struct sock_listener *listener)
{
    uv_handle_t *server = &listener->socket->handle;
    union socket *caller = listener->refusal;
    listener->waiting = listener->refusing;
    if (listener->waiting || init_socket(caller, server->loop, server->type == UV_TCP) != 0)
        return;
    listener->refusing = true;
    uv_accept(&listener->socket->stream, &caller->stream);
    uv_close(&caller->handle, on_refused);
}

/* ---- Accepting ---- */

static void on_connection(uv_stream_t *server, int status)
{
    struct sock_listener *listener = server->data;
    if (status == UV_EMFILE || status == UV_ENFILE)
        make_room(&listener->base);
    if (status != 0)
        return; /* libuv tries again */
    bool tcp = server->type == UV_TCP;
    struct bz_stream *stream;
    if (!has_spare(listener) ||
        bz_listener_stream(&stream, &listener->base, tcp ? &bz_tcp_transport : &bz_unix_transport,
            listener->base.url) != 0)
        refuse(listener);
    else if (bz_sock_accept(stream, server) == 0)
        bz_stream_connected(stream, listener->base.tls);
}

/* ---- Closing ---- */

static void remove_file(struct sock_listener *listener)
{
    struct stat st;
    const char *path = listener->address.sun_path;
    if (stat(path, &st) == 0 && st.st_dev == listener->device && st.st_ino == listener->inode)
        unlink(path);
}

static void on_closed(uv_handle_t *handle)
{
    struct bz_listener *listener = handle->data;
    bz_free(handle);
    bz_listener_released(listener);
}

static void sock_release(struct bz_listener *base)
{
    struct sock_listener *listener = (struct sock_listener *)base;
    if (listener->socket->handle.type == UV_NAMED_PIPE)
        remove_file(listener);
    free_refusal(listener);
    uv_close(&listener->socket->handle, on_closed);
}

/* ---- TCP ---- */

static int fail(blaze_error *error, int uv_error, const char *url)
{
    return bz_error_set(
        error, bz_net_code(uv_error), "listen at %s: %s", url, uv_strerror(uv_error));
}

/* Looks a name up, waiting for it; an address in digits needs no waiting. */
static int resolve(uv_loop_t *uv, const struct bz_url *url, struct sockaddr_storage *out)
{
    if (uv_ip4_addr(url->host, url->port, (struct sockaddr_in *)out) == 0 ||
        uv_ip6_addr(url->host, url->port, (struct sockaddr_in6 *)out) == 0)
        return 0;
    char port[8];
    snprintf(port, sizeof port, "%u", url->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    uv_getaddrinfo_t request;
    int rc = uv_getaddrinfo(uv, &request, NULL, url->host, port, &hints);
    if (rc != 0)
        return rc;
    memcpy(out, request.addrinfo->ai_addr, request.addrinfo->ai_addrlen);
    uv_freeaddrinfo(request.addrinfo);
    return 0;
}

/* The port that the system picked, into the listener's URL. */
static int find_port(struct sock_listener *listener, struct bz_url *url)
{
    struct sockaddr_storage address;
    int size = sizeof address;
    int rc = uv_tcp_getsockname(&listener->socket->tcp, (struct sockaddr *)&address, &size);
    if (rc != 0)
        return rc;
    url->port = ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                                    : ((struct sockaddr_in *)&address)->sin_port);
    bz_url_format(url, listener->base.url);
    return 0;
}

static int tcp_open(struct bz_listener *base, const struct bz_url *url, blaze_error *error)
{
    struct sock_listener *listener = (struct sock_listener *)base;
    uv_loop_t *uv = &base->handle.loop->uv;
    struct sockaddr_storage address;
    struct bz_url actual = *url;
    int rc = bz_tls_server(&base->tls, base->options.certificate, base->options.private_key, error);
    if (rc != 0)
        return rc;
    rc = resolve(uv, url, &address);
    if (rc == 0)
        rc = new_sockets(listener, true);
    if (rc != 0)
        return fail(error, rc, base->url);

    rc = uv_tcp_bind(&listener->socket->tcp, (struct sockaddr *)&address, 0);
    if (rc == 0)
        rc = uv_listen(&listener->socket->stream, BACKLOG, on_connection);
    if (rc == 0)
        rc = find_port(listener, &actual);
    if (rc != 0) {
        close_sockets(listener);
        return fail(error, rc, base->url);
    }
    return 0;
}

/* ---- Unix ---- */

/* Whether somebody listens at the socket file. */
static bool is_alive(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return true;
    int rc = connect(fd, (const struct sockaddr *)address, sizeof *address);
    bool alive = rc == 0 || (errno != ECONNREFUSED && errno != ENOENT);
    close(fd);
    return alive;
}

static int remove_stale(const struct sockaddr_un *address, blaze_error *error)
{
    const char *path = address->sun_path;
    struct stat st;
    if (lstat(path, &st) != 0)
        return 0;
    if (!S_ISSOCK(st.st_mode))
        return bz_error_set(error, BLAZE_EADDRINUSE,
            "listen at unix:%s: a file that is no socket is in the way", path);
    if (is_alive(address))
        return bz_error_set(
            error, BLAZE_EADDRINUSE, "listen at unix:%s: another process listens there", path);
    unlink(path);
    return 0;
}

/* A bound socket whose file only its owner may use from the first moment, into *out. */
static int bind_socket(const struct sockaddr_un *address, int *out, blaze_error *error)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* Linux gives the file the mode of the socket, and bind() no chance to set it later. */
    if (fd < 0 || fchmod(fd, 0600) != 0 ||
        bind(fd, (const struct sockaddr *)address, sizeof *address) != 0) {
        int number = errno;
        if (fd >= 0)
            close(fd);
        if (number == EADDRINUSE)
            return bz_error_set(error, BLAZE_EADDRINUSE,
                "listen at unix:%s: another process listens there", address->sun_path);
        return bz_error_errno(error, number, "listen at unix:%s", address->sun_path);
    }
    *out = fd;
    return 0;
}

/* An exclusive lock on the directory of `path`, as a descriptor to close. */
static int lock_directory(const char *path, int *out, blaze_error *error)
{
    char copy[sizeof((struct sockaddr_un *)NULL)->sun_path];
    strcpy(copy, path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 ? -1 : 0;
    while (rc == 0 && flock(fd, LOCK_EX) != 0) {
        if (errno != EINTR)
            rc = -1;
    }
    if (rc != 0) {
        int number = errno;
        if (fd >= 0)
            close(fd);
        return bz_error_errno(error, number, "listen at unix:%s", path);
    }
    *out = fd;
    return 0;
}

static int listen_unix(struct sock_listener *listener, blaze_error *error)
{
    const char *path = listener->address.sun_path;
    struct stat st;
    int fd = -1;
    int rc = remove_stale(&listener->address, error);
    if (rc == 0)
        rc = bind_socket(&listener->address, &fd, error);
    if (rc != 0)
        return rc;
    if (stat(path, &st) == 0) {
        listener->device = st.st_dev;
        listener->inode = st.st_ino;
    }
    rc = uv_pipe_open(&listener->socket->pipe, fd);
    if (rc != 0)
        close(fd);
    else
        rc = uv_listen(&listener->socket->stream, BACKLOG, on_connection);
    if (rc != 0) {
        remove_file(listener);
        return fail(error, rc, listener->base.url);
    }
    return 0;
}

static int unix_open(struct bz_listener *base, const struct bz_url *url, blaze_error *error)
{
    struct sock_listener *listener = (struct sock_listener *)base;
    listener->address.sun_family = AF_UNIX;
    strcpy(listener->address.sun_path, url->host); /* bz_url_parse() knows its size */
    int rc = new_sockets(listener, false);
    if (rc != 0)
        return fail(error, rc, base->url);

    int lock = -1;
    rc = lock_directory(url->host, &lock, error);
    if (rc == 0) {
        rc = listen_unix(listener, error);
        close(lock);
    }
    if (rc != 0)
        close_sockets(listener);
    return rc;
}

const struct bz_listener_kind bz_tcp_listener = {
    .size = sizeof(struct sock_listener), .open = tcp_open, .release = sock_release};

const struct bz_listener_kind bz_unix_listener = {
    .size = sizeof(struct sock_listener), .open = unix_open, .release = sock_release};

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Streams over libuv's TCP and Unix sockets.
 *
 * A name may have several addresses; they are tried one after another, within the stream's open_ms,
 * of which each gets its part: one that does not answer at all leaves the others theirs. libuv
 * cannot connect a handle twice, so each failed attempt closes its handle before the next.
 *
 * Sending tries the socket directly, then has libuv wait for room. What waits is given to libuv in
 * pieces, so that the queue shrinks, and the writer goes on, piece by piece.
 */

#include "base/alloc.h"
#include "net/net_priv.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* What is handed to the system at once. */
enum { WRITE_BUFS = 16 };
#define WRITE_SIZE (128u << 10)

/* What connecting needs and an open stream does not. */
struct connecting {
    struct sock *sock; /* NULL once it is gone: the lookup outlives it */
    uv_getaddrinfo_t lookup;
    uv_connect_t connect;
    struct addrinfo *addresses;
    struct addrinfo *next;
    struct sockaddr_storage numeric;
    bool numeric_next;
    bool looking;
    int error; /* of the last attempt */
};

struct sock {
    struct bz_stream base;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    union {
        uv_write_t write;
        uv_shutdown_t shutdown;
    } request;
    bool live;      /* uv is initialised and not closing */
    bool closing;   /* uv is closing */
    size_t writing; /* bytes at the queue's front that libuv is sending, or 0 */
    struct connecting *connecting;
};

static uv_loop_t *uv_of(struct sock *sock)
{
    return &sock->base.handle.loop->uv;
}

static void free_connecting(struct connecting *connecting)
{
    if (connecting == NULL)
        return;
    uv_freeaddrinfo(connecting->addresses);
    bz_free(connecting);
}

/* ---- The end ---- */

static void try_next(struct sock *sock);

static void on_handle_closed(uv_handle_t *handle)
{
    struct sock *sock = handle->data;
    sock->closing = false;
    if (sock->base.state != BZ_STREAM_CLOSED) {
        try_next(sock);
        return;
    }
    free_connecting(sock->connecting);
    bz_stream_released(&sock->base);
}

static void close_handle(struct sock *sock)
{
    sock->live = false;
    sock->closing = true;
    uv_close(&sock->uv.handle, on_handle_closed);
}

static void sock_release(struct bz_stream *stream)
{
    struct sock *sock = (struct sock *)stream;
    struct connecting *connecting = sock->connecting;
    if (connecting != NULL && connecting->looking) {
        connecting->sock = NULL;
        sock->connecting = NULL;
        uv_cancel((uv_req_t *)&connecting->lookup);
    }
    if (sock->live) {
        close_handle(sock);
    } else if (!sock->closing) {
        free_connecting(sock->connecting);
        bz_stream_released(stream);
    }
}

/* ---- Connecting ---- */

static void fail_connect(struct sock *sock, int uv_error)
{
    int code = BLAZE_ECONNECT;
    if (uv_error == UV_ENOMEM)
        code = BLAZE_ENOMEM;
    else if (uv_error == UV_EACCES || uv_error == UV_EPERM)
        code = BLAZE_EPERM;
    bz_stream_fail(&sock->base, code, "connect %s: %s", sock->base.peer, uv_strerror(uv_error));
}

static bool new_connecting(struct sock *sock)
{
    struct connecting *connecting = bz_zalloc(sizeof *connecting);
    if (connecting == NULL) {
        fail_connect(sock, UV_ENOMEM);
        return false;
    }
    connecting->sock = sock;
    connecting->connect.data = sock;
    connecting->lookup.data = connecting;
    sock->connecting = connecting;
    return true;
}

static struct bz_tls_context *client_tls(struct sock *sock)
{
    struct bz_loop *loop = sock->base.handle.loop;
    blaze_error error;
    int rc = loop->client != NULL ? 0 : bz_tls_client(&loop->client, &error);
    if (rc != 0)
        bz_stream_fail(&sock->base, rc, "connect %s: %s", sock->base.peer, error.text);
    return loop->client;
}

static void on_tcp_connect(uv_connect_t *request, int status)
{
    struct sock *sock = request->data;
    if (sock->base.state == BZ_STREAM_CLOSED || sock->closing)
        return;
    if (status != 0) {
        sock->connecting->error = status;
        close_handle(sock);
        return;
    }
    free_connecting(sock->connecting);
    sock->connecting = NULL;
    uv_tcp_nodelay(&sock->uv.tcp, 1);
    struct bz_tls_context *tls = client_tls(sock);
    if (tls != NULL)
        bz_stream_connected(&sock->base, tls);
}

static const struct sockaddr *next_address(struct connecting *connecting)
{
    if (connecting->numeric_next) {
        connecting->numeric_next = false;
        return (const struct sockaddr *)&connecting->numeric;
    }
    if (connecting->next == NULL)
        return NULL;
    const struct sockaddr *address = connecting->next->ai_addr;
    connecting->next = connecting->next->ai_next;
    return address;
}

static uint32_t addresses_left(const struct connecting *connecting)
{
    uint32_t count = connecting->numeric_next;
    for (const struct addrinfo *next = connecting->next; next != NULL; next = next->ai_next)
        count++;
    return count;
}

static void try_next(struct sock *sock)
{
    struct connecting *connecting = sock->connecting;
    uint32_t left = addresses_left(connecting);
    const struct sockaddr *address = next_address(connecting);
    if (address == NULL) {
        fail_connect(sock, connecting->error);
        return;
    }
    int rc = uv_tcp_init(uv_of(sock), &sock->uv.tcp);
    if (rc != 0) {
        fail_connect(sock, rc);
        return;
    }
    sock->uv.handle.data = sock;
    sock->live = true;
    bz_stream_share_time(&sock->base, left);
    rc = uv_tcp_connect(&connecting->connect, &sock->uv.tcp, address, on_tcp_connect);
    if (rc != 0) {
        connecting->error = rc;
        close_handle(sock);
    }
}

static bool tcp_another(struct bz_stream *stream)
{
    struct sock *sock = (struct sock *)stream;
    struct connecting *connecting = sock->connecting;
    if (connecting == NULL || addresses_left(connecting) == 0)
        return false;
    if (sock->live)
        close_handle(sock); /* else it is closing already */
    return true;
}

static void on_lookup(uv_getaddrinfo_t *request, int status, struct addrinfo *addresses)
{
    struct connecting *connecting = request->data;
    struct sock *sock = connecting->sock;
    connecting->addresses = connecting->next = addresses;
    connecting->looking = false;
    if (sock == NULL)
        free_connecting(connecting);
    else if (status != 0)
        fail_connect(sock, status);
    else
        try_next(sock);
}

static void tcp_connect(struct bz_stream *stream, const struct bz_url *url)
{
    struct sock *sock = (struct sock *)stream;
    if (!new_connecting(sock))
        return;
    struct connecting *connecting = sock->connecting;
    connecting->error = UV_EAI_NONAME;
    if (uv_ip4_addr(url->host, url->port, (struct sockaddr_in *)&connecting->numeric) == 0 ||
        uv_ip6_addr(url->host, url->port, (struct sockaddr_in6 *)&connecting->numeric) == 0) {
        connecting->numeric_next = true;
        try_next(sock);
        return;
    }
    char port[8];
    snprintf(port, sizeof port, "%u", url->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    int rc = uv_getaddrinfo(uv_of(sock), &connecting->lookup, on_lookup, url->host, port, &hints);
    if (rc != 0)
        fail_connect(sock, rc);
    else
        connecting->looking = true;
}

/* Whether the process at the other end of a Unix socket is ours or root's. */
static bool peer_is_ours(struct sock *sock)
{
    uv_os_fd_t fd;
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (uv_fileno(&sock->uv.handle, &fd) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
        bz_stream_fail(&sock->base, BLAZE_EPERM,
            "%s: cannot tell whose process is at the other end", sock->base.peer);
        return false;
    }
    if (peer.uid != geteuid() && peer.uid != 0) {
        bz_stream_fail(&sock->base, BLAZE_EPERM, "%s: the other end belongs to user %u",
            sock->base.peer, (unsigned)peer.uid);
        return false;
    }
    return true;
}

static void on_unix_connect(uv_connect_t *request, int status)
{
    struct sock *sock = request->data;
    if (sock->base.state == BZ_STREAM_CLOSED)
        return;
    if (status != 0) {
        fail_connect(sock, status);
        return;
    }
    free_connecting(sock->connecting);
    sock->connecting = NULL;
    if (peer_is_ours(sock))
        bz_stream_connected(&sock->base, NULL);
}

static void unix_connect(struct bz_stream *stream, const struct bz_url *url)
{
    struct sock *sock = (struct sock *)stream;
    if (!new_connecting(sock))
        return;
    int rc = uv_pipe_init(uv_of(sock), &sock->uv.pipe, 0);
    if (rc != 0) {
        fail_connect(sock, rc);
        return;
    }
    sock->uv.handle.data = sock;
    sock->live = true;
    uv_pipe_connect(&sock->connecting->connect, &sock->uv.pipe, url->host, on_unix_connect);
}

/* ---- Accepting ---- */

/* Names the caller by its address rather than by ours. */
static void name_caller(struct sock *sock)
{
    struct sockaddr_storage address;
    int size = sizeof address;
    struct bz_url url = {.kind = BZ_URL_TCP};
    char text[BZ_URL_SIZE];
    if (uv_tcp_getpeername(&sock->uv.tcp, (struct sockaddr *)&address, &size) != 0)
        return;
    if (address.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address;
        uv_ip6_name(in6, url.host, sizeof url.host);
        url.port = ntohs(in6->sin6_port);
    } else {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&address;
        uv_ip4_name(in, url.host, sizeof url.host);
        url.port = ntohs(in->sin_port);
    }
    bz_url_format(&url, text);
    char *name = bz_realloc(sock->base.peer, strlen(text) + 1);
    if (name != NULL)
        sock->base.peer = strcpy(name, text);
}

int bz_sock_accept(struct bz_stream *stream, uv_stream_t *server)
{
    struct sock *sock = (struct sock *)stream;
    bool tcp = server->type == UV_TCP;
    int rc = tcp ? uv_tcp_init(uv_of(sock), &sock->uv.tcp)
                 : uv_pipe_init(uv_of(sock), &sock->uv.pipe, 0);
    if (rc == 0) {
        sock->uv.handle.data = sock;
        sock->live = true;
        rc = uv_accept(server, &sock->uv.stream);
    }
    if (rc != 0) {
        bz_stream_fail(stream, bz_net_code(rc), "accept: %s", uv_strerror(rc));
        return stream->reason.code;
    }
    if (tcp) {
        uv_tcp_nodelay(&sock->uv.tcp, 1);
        name_caller(sock);
        return 0;
    }
    return peer_is_ours(sock) ? 0 : BLAZE_EPERM;
}

/* ---- Moving bytes ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct sock *sock = handle->data;
    *buf = uv_buf_init((char *)sock->base.handle.loop->received, BZ_READ_SIZE);
}

static void on_read(uv_stream_t *uv, ssize_t size, const uv_buf_t *buf)
{
    struct sock *sock = uv->data;
    if (size > 0)
        bz_stream_input(&sock->base, bz_bytes(buf->base, (size_t)size));
    else if (size == UV_EOF && (sock->base.tls == NULL || sock->base.state != BZ_STREAM_OPEN))
        bz_stream_ended(&sock->base);
    else if (size < 0)
        bz_stream_lost(&sock->base, (int)size); /* also the end of TCP without that of TLS */
}

static void sock_read(struct bz_stream *stream, bool on)
{
    struct sock *sock = (struct sock *)stream;
    if (on)
        uv_read_start(&sock->uv.stream, on_alloc, on_read);
    else
        uv_read_stop(&sock->uv.stream);
}

/* The first pieces of the queue; returns how many. */
static unsigned gather(const struct bz_queue *queue, uv_buf_t bufs[WRITE_BUFS])
{
    unsigned count = 0;
    size_t room = WRITE_SIZE;
    for (struct bz_chunk *c = queue->first; c != NULL && count < WRITE_BUFS && room > 0;
         c = c->next) {
        size_t size = c->size - c->start < room ? c->size - c->start : room;
        bufs[count++] = uv_buf_init((char *)c->data + c->start, (unsigned)size);
        room -= size;
    }
    return count;
}

static size_t total(const uv_buf_t *bufs, unsigned count)
{
    size_t size = 0;
    for (unsigned i = 0; i < count; i++)
        size += bufs[i].len;
    return size;
}

static void on_written(uv_write_t *request, int status)
{
    struct sock *sock = request->data;
    size_t size = sock->writing;
    sock->writing = 0;
    if (sock->base.state == BZ_STREAM_CLOSED)
        return;
    if (status != 0) {
        bz_stream_lost(&sock->base, status);
        return;
    }
    pthread_mutex_lock(&sock->base.door);
    bz_queue_consume(&sock->base.out, size);
    sock->base.transport->flush(&sock->base);
    pthread_mutex_unlock(&sock->base.door);
    bz_stream_drained(&sock->base);
}

static void sock_flush(struct bz_stream *stream)
{
    struct sock *sock = (struct sock *)stream;
    uv_buf_t bufs[WRITE_BUFS];
    while (sock->live && sock->writing == 0 && stream->out.size > 0) {
        unsigned count = gather(&stream->out, bufs);
        size_t size = total(bufs, count);
        int rc = uv_try_write(&sock->uv.stream, bufs, count);
        if (rc > 0)
            bz_queue_consume(&stream->out, (size_t)rc);
        if (rc >= 0 && (size_t)rc == size)
            continue;
        if (rc >= 0 || rc == UV_EAGAIN) {
            count = gather(&stream->out, bufs);
            sock->request.write.data = sock;
            sock->writing = total(bufs, count);
            rc = uv_write(&sock->request.write, &sock->uv.stream, bufs, count, on_written);
        }
        if (rc < 0) {
            sock->writing = 0;
            bz_stream_lost(stream, rc);
        }
    }
}

/* The socket is the transport's until its release, which waits at the door. */
static size_t sock_send(struct bz_stream *stream, struct bz_bytes data)
{
    struct sock *sock = (struct sock *)stream;
    uv_os_fd_t fd;
    if (uv_fileno(&sock->uv.handle, &fd) != 0)
        return 0;
    size_t sent = 0;
    while (sent < data.size) {
        ssize_t size = send(fd, data.data + sent, data.size - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (size < 0 && errno == EINTR)
            continue;
        if (size <= 0)
            break;
        sent += (size_t)size;
    }
    return sent;
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
    struct sock *sock = request->data;
    if (status != 0 && sock->base.state != BZ_STREAM_CLOSED)
        bz_stream_lost(&sock->base, status);
}

static void sock_end(struct bz_stream *stream)
{
    struct sock *sock = (struct sock *)stream;
    sock->request.shutdown.data = sock;
    int rc = uv_shutdown(&sock->request.shutdown, &sock->uv.stream, on_shutdown);
    if (rc != 0)
        bz_stream_lost(stream, rc);
}

const struct bz_transport bz_unix_transport = {
    .size = sizeof(struct sock),
    .connect = unix_connect,
    .flush = sock_flush,
    .send = sock_send,
    .read = sock_read,
    .end = sock_end,
    .release = sock_release,
};

const struct bz_transport bz_tcp_transport = {
    .size = sizeof(struct sock),
    .connect = tcp_connect,
    .another = tcp_another,
    .flush = sock_flush,
    .send = sock_send,
    .read = sock_read,
    .end = sock_end,
    .release = sock_release,
};

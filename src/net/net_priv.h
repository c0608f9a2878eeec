/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_NET_NET_PRIV_H
#define BZ_NET_NET_PRIV_H

/*
 * How the parts of net fit together:
 *
 *   stream.c     what all streams share: states, limits, pausing, flushing at close, the TLS filter
 *   sock.c       transport over libuv's TCP and Unix sockets
 *   mem.c        transport within the process, and its listener
 *   listener.c   what all listeners share
 *   sock_listener.c
 *   tls.c        TLS 1.3 as a filter from bytes to bytes
 *   queue.c      bytes waiting to be sent
 *
 * A transport moves bytes for a stream and reports through the bz_stream_ functions below. Nothing
 * frees a stream while a frame of its callbacks can be on the stack: only bz_stream_released()'s
 * last step does, which the loop calls.
 */

#include "net/net.h"

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

/* ---- Handles: what a loop closes when it is closed ---- */

struct bz_handle {
    struct bz_loop *loop;
    struct bz_handle *next;
    struct bz_handle *previous;
    void (*shut)(struct bz_handle *handle); /* begins to close it, calling nobody */
    bool shutting;
};

/* BLAZE_ECANCELED once the loop is closing. */
int bz_handle_add(struct bz_handle *handle, struct bz_loop *loop, void (*shut)(struct bz_handle *));
void bz_handle_remove(struct bz_handle *handle);

#define BZ_READ_SIZE (64u << 10)

struct bz_loop {
    uv_loop_t uv;
    uv_poll_t wake;
    int bell;
    atomic_uint ringing; /* threads that are about to ring */
    pthread_t thread;

    pthread_mutex_t lock; /* over the tasks */
    struct bz_task *first;
    struct bz_task *last;
    size_t waiting;
    bool rung; /* whoever set it rings, others need not */

    struct bz_handle *handles;
    bool closing;
    struct bz_tls_context *client; /* made when first needed */

    /* One for all streams, so that an idle one holds no buffers. */
    uint8_t received[BZ_READ_SIZE];
    uint8_t plain[BZ_READ_SIZE];
};

/* bz_loop_post() in two: true if bz_loop_ring() must follow, for which no lock is needed any more
 * that the tasks take, too. The loop is there until then. */
bool bz_loop_queue(struct bz_loop *loop, struct bz_task *task);
void bz_loop_ring(struct bz_loop *loop);

/* The code for a libuv error. */
int bz_net_code(int uv_error);

/* ---- Bytes waiting to be sent ---- */

struct bz_chunk {
    struct bz_chunk *next;
    uint8_t *data; /* behind the struct, or taken over */
    size_t start;  /* sent so far */
    size_t size;   /* end of the bytes */
    size_t capacity;
    bool taken_over;
};

struct bz_queue {
    struct bz_chunk *first;
    struct bz_chunk *last;
    size_t size;
};

int bz_queue_append(struct bz_queue *queue, struct bz_bytes data); /* all or nothing */
int bz_queue_take(struct bz_queue *queue, struct bz_buf *buf);     /* leaves `buf` empty */
struct bz_bytes bz_queue_front(const struct bz_queue *queue);      /* of one that is not empty */
void bz_queue_consume(struct bz_queue *queue, size_t size);
void bz_queue_clear(struct bz_queue *queue);

/* Moves the first chunk of `from` to the end of `to`; returns its bytes. */
size_t bz_queue_move(struct bz_queue *to, struct bz_queue *from);

/* ---- TLS 1.3 as a filter ---- */

struct bz_tls_context; /* one side's settings and certificate */
struct bz_tls;

/* For the accepting side, with PEM files or (NULL) an ephemeral certificate. */
int bz_tls_server(struct bz_tls_context **out, const char *certificate, const char *private_key,
    blaze_error *error);
int bz_tls_client(struct bz_tls_context **out, blaze_error *error);
void bz_tls_context_free(struct bz_tls_context *context);

/* What it wants sent goes to the end of `out`. */
int bz_tls_new(struct bz_tls **out, struct bz_tls_context *context, struct bz_queue *queue);
void bz_tls_free(struct bz_tls *tls);

/* Gives it bytes that came, borrowed until the next feed, and tells what it has not used yet. */
void bz_tls_feed(struct bz_tls *tls, struct bz_bytes bytes);
struct bz_bytes bz_tls_left(const struct bz_tls *tls);

/* 0 when done, BLAZE_END when more must come first, BLAZE_EPROTO, BLAZE_ENOMEM. */
int bz_tls_handshake(struct bz_tls *tls, blaze_error *error);

/* Decrypts up to `size` bytes; *got 0: more must come first. BLAZE_ECLOSED after the other end's
 * last; BLAZE_EPROTO; BLAZE_ENOMEM. */
int bz_tls_read(struct bz_tls *tls, void *data, size_t size, size_t *got, blaze_error *error);

/* After a failure the filter is of no more use. */
int bz_tls_write(struct bz_tls *tls, struct bz_bytes data);
void bz_tls_shutdown(struct bz_tls *tls);
int bz_tls_binding(struct bz_tls *tls, uint8_t out[BZ_STREAM_BINDING_SIZE]);

/* The size that TLS adds at most to a write of `size` bytes. */
size_t bz_tls_overhead(size_t size);

/* ---- Streams ---- */

enum bz_stream_state {
    BZ_STREAM_CONNECTING, /* the transport is */
    BZ_STREAM_HANDSHAKE,  /* TLS is */
    BZ_STREAM_OPEN,
    BZ_STREAM_FLUSHING, /* close was called: sending what is left */
    BZ_STREAM_ENDING,   /* everything sent, waiting for the other end to see it */
    BZ_STREAM_CLOSED,   /* giving back the transport; on_close follows */
};

struct bz_transport {
    size_t size; /* of the struct that begins with the bz_stream */

    /* Begins to connect; leads to bz_stream_connected() or bz_stream_fail(). */
    void (*connect)(struct bz_stream *stream, const struct bz_url *url);

    /* The time of bz_stream_share_time() is over: whether it goes on to connect in another way.
     * NULL if there is never one. */
    bool (*another)(struct bz_stream *stream);

    /* Sends from stream->out what can be sent now, silently, and the rest as room comes, each time
     * with bz_stream_drained(). */
    void (*flush)(struct bz_stream *stream);

    /* Sends what can be sent now, with the stream's `door` held, on any thread. */
    size_t (*send)(struct bz_stream *stream, struct bz_bytes data);

    /* Has bytes come, or not. */
    void (*read)(struct bz_stream *stream, bool on);

    /* Tells the other end that nothing more comes. */
    void (*end)(struct bz_stream *stream);

    /* Gives back what the transport holds, then calls bz_stream_released(). */
    void (*release)(struct bz_stream *stream);
};

struct bz_stream {
    struct bz_handle handle;
    const struct bz_transport *transport;
    const struct bz_stream_callbacks *callbacks; /* NULL until an accepted stream is given some */
    void *context;
    enum bz_stream_state state;
    bool paused;
    bool reading; /* what the transport was last told */
    bool full;
    bool ended;    /* the other end sends no more, and we are still flushing */
    bool accepted; /* the listener has handed it on */
    uint8_t held;  /* parts not yet released; 0 frees the stream */
    struct bz_stream_options options;
    char *peer;
    struct bz_queue out;
    pthread_mutex_t door; /* over these, `out` and `tls`, while it is passable; recursive */
    bool passable;        /* another thread may send */
    bool broken;          /* and TLS failed when it did */
    uint64_t passed;      /* bytes that it sent */
    struct bz_task rest;  /* goes on with what it could not send */
    struct bz_tls *tls;
    struct bz_buf stash;    /* what came while paused and is not decrypted yet */
    struct bz_task restart; /* goes on with the stash */
    uv_timer_t timer;
    uint64_t open_until; /* by the loop's clock; meaningful before it is open */
    uint64_t received;
    uint64_t sent;
    struct bz_listener *listener; /* that accepted it, while that lives */
    struct bz_stream *next;       /* in the listener's list */
    struct bz_stream *previous;
    blaze_error reason;
};

/* A stream in BZ_STREAM_CONNECTING, on the loop thread. `peer` is copied. */
int bz_stream_new(struct bz_stream **out, struct bz_loop *loop,
    const struct bz_transport *transport, const struct bz_stream_options *options,
    const char *peer);

/* What a transport reports, from the loop and never from within one of its functions above, but
 * for fail, lost and released, which call nobody at once. */
void bz_stream_connected(struct bz_stream *stream, struct bz_tls_context *tls); /* NULL: no TLS */
void bz_stream_input(struct bz_stream *stream, struct bz_bytes bytes);
void bz_stream_drained(struct bz_stream *stream);
void bz_stream_ended(struct bz_stream *stream); /* the other end sends no more */
void bz_stream_fail(struct bz_stream *stream, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void bz_stream_lost(struct bz_stream *stream, int uv_error); /* an open stream's system error */
void bz_stream_released(struct bz_stream *stream);

/* Leaves to what the transport tries now an equal part of the time until it must be open, as to one
 * of so many ways to connect. */
void bz_stream_share_time(struct bz_stream *stream, uint32_t ways);

extern const struct bz_transport bz_mem_transport;
extern const struct bz_transport bz_unix_transport;
extern const struct bz_transport bz_tcp_transport;

/* ---- Listeners ---- */

struct bz_listener_kind {
    size_t size; /* of the struct that begins with the bz_listener */
    int (*open)(struct bz_listener *listener, const struct bz_url *url, blaze_error *error);
    /* Gives back what it holds, then calls bz_listener_released(). Not called if open failed. */
    void (*release)(struct bz_listener *listener);
};

struct bz_listener {
    struct bz_handle handle;
    const struct bz_listener_kind *kind;
    const struct bz_listener_callbacks *callbacks;
    void *context;
    struct bz_listener_options options;
    struct bz_tls_context *tls;
    struct bz_stream *streams;
    uint32_t stream_count;
    uint32_t handshake_count;
    int spare; /* a descriptor to let a caller in when there is no other; negative: none */
    bool closed;
    char url[BZ_URL_SIZE];
};

/* Makes a stream for a caller; BLAZE_ELIMIT when there are too many. */
int bz_listener_stream(struct bz_stream **out, struct bz_listener *listener,
    const struct bz_transport *transport, const char *peer);
void bz_listener_opened(struct bz_listener *listener, struct bz_stream *stream);
void bz_listener_forget(struct bz_listener *listener, struct bz_stream *stream);
void bz_listener_released(struct bz_listener *listener);

/* Ends a stream, so that its descriptor is free; false if there is none. */
bool bz_listener_shed(struct bz_listener *listener);

extern const struct bz_listener_kind bz_mem_listener;
extern const struct bz_listener_kind bz_unix_listener;
extern const struct bz_listener_kind bz_tcp_listener;

/* Takes over the connection that waits at `server`; on failure the stream has failed. */
int bz_sock_accept(struct bz_stream *stream, uv_stream_t *server);

#endif

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What all streams share, whatever carries their bytes.
 *
 *   CONNECTING -> HANDSHAKE -> OPEN -> FLUSHING -> ENDING -> CLOSED -> on_close, freed
 *        |            |         |          |          |         ^
 *        +------------+---------+----------+----------+---------+   failure, abort, time-out
 *
 * FLUSHING sends what was written; ENDING has told the other end that nothing more comes and waits
 * until it closes too, because closing a socket with unread bytes in it would take from the other
 * end what it has not read yet. Both drop what comes in, and share the time of close_ms.
 *
 * With TLS, `out` holds ciphertext: what is written is encrypted at once, so that there is one
 * queue and one bound. What comes is decrypted only as far as it can be delivered; the rest waits
 * in `stash`, which is at most one read's worth because reading stops meanwhile.
 *
 * One other thread may send past the loop (bz_stream_send_now). The door, a lock, is over what that
 * touches: the queue and TLS, except while nobody may pass.
 *
 * A stream goes away in two steps. close_now() gives back the timer and the transport; when both
 * are back, which the loop tells, released() calls on_close and frees it. So no function here
 * loses its stream under its feet, whatever a callback does.
 */

#include "base/alloc.h"
#include "net/net_priv.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

/* With TLS, what is sent past the loop at once: more is not urgent. */
#define PASS_MAX (64u << 10)

void bz_stream_options_init(struct bz_stream_options *options)
{
    *options = (struct bz_stream_options){
        .open_ms = 10000, .close_ms = 2000, .write_high = 256u << 10, .write_max = 256u << 20};
}

/* ---- The end ---- */

static void free_stream(struct bz_stream *stream)
{
    bz_tls_free(stream->tls);
    bz_queue_clear(&stream->out);
    bz_buf_release(&stream->stash);
    pthread_mutex_destroy(&stream->door);
    bz_free(stream->peer);
    bz_free(stream);
}

void bz_stream_released(struct bz_stream *stream)
{
    assert(stream->state == BZ_STREAM_CLOSED && stream->held > 0);
    if (--stream->held > 0)
        return;
    if (stream->listener != NULL)
        bz_listener_forget(stream->listener, stream);
    if (stream->callbacks != NULL)
        stream->callbacks->on_close(stream->context, stream, &stream->reason);
    bz_handle_remove(&stream->handle);
    free_stream(stream);
}

static void on_timer_closed(uv_handle_t *timer)
{
    bz_stream_released(timer->data);
}

/* From when this returns on no other thread is sending. */
static void set_passable(struct bz_stream *stream, bool on)
{
    pthread_mutex_lock(&stream->door);
    stream->passable = on;
    pthread_mutex_unlock(&stream->door);
}

/* Begins the last step; stream->reason says why. */
static void close_now(struct bz_stream *stream)
{
    assert(stream->state != BZ_STREAM_CLOSED);
    stream->state = BZ_STREAM_CLOSED;
    set_passable(stream, false);
    bz_loop_cancel(stream->handle.loop, &stream->restart);
    bz_loop_cancel(stream->handle.loop, &stream->rest);
    stream->held = 2;
    uv_close((uv_handle_t *)&stream->timer, on_timer_closed);
    stream->transport->release(stream);
}

void bz_stream_fail(struct bz_stream *stream, int code, const char *format, ...)
{
    if (stream->state == BZ_STREAM_CLOSED)
        return;
    stream->reason.code = code;
    va_list args;
    va_start(args, format);
    vsnprintf(stream->reason.text, sizeof stream->reason.text, format, args);
    va_end(args);
    close_now(stream);
}

void bz_stream_lost(struct bz_stream *stream, int uv_error)
{
    /* While closing, the other end's going away is what we wait for. */
    if (stream->state == BZ_STREAM_ENDING)
        close_now(stream);
    else
        bz_stream_fail(stream, uv_error == UV_ENOMEM ? BLAZE_ENOMEM : BLAZE_ECLOSED,
            "%s: connection lost: %s", stream->peer, uv_strerror(uv_error));
}

static void shut_stream(struct bz_handle *handle)
{
    bz_stream_abort((struct bz_stream *)handle);
}

/* ---- The beginning ---- */

static bool goes_on_connecting(struct bz_stream *stream)
{
    return stream->transport->another != NULL && stream->transport->another(stream);
}

static void on_time(uv_timer_t *timer)
{
    struct bz_stream *stream = timer->data;
    switch (stream->state) {
    case BZ_STREAM_CONNECTING:
        if (goes_on_connecting(stream))
            break;
        bz_stream_fail(stream, BLAZE_ETIMEOUT, "connect %s: no answer within %u ms", stream->peer,
            stream->options.open_ms);
        break;
    case BZ_STREAM_HANDSHAKE:
        bz_stream_fail(stream, BLAZE_ETIMEOUT, "%s: TLS handshake not done within %u ms",
            stream->peer, stream->options.open_ms);
        break;
    case BZ_STREAM_FLUSHING:
        bz_stream_fail(stream, BLAZE_ETIMEOUT, "%s: %zu bytes could not be sent within %u ms",
            stream->peer, stream->out.size, stream->options.close_ms);
        break;
    case BZ_STREAM_ENDING:
        close_now(stream);
        break;
    case BZ_STREAM_OPEN:
    case BZ_STREAM_CLOSED:
        assert(false && "no timer runs here");
    }
}

static void start_timer(struct bz_stream *stream, uint64_t ms)
{
    uv_update_time(&stream->handle.loop->uv);
    uv_timer_start(&stream->timer, on_time, ms, 0);
}

void bz_stream_share_time(struct bz_stream *stream, uint32_t ways)
{
    uv_loop_t *uv = &stream->handle.loop->uv;
    uv_update_time(uv);
    uint64_t now = uv_now(uv);
    uint64_t left = stream->open_until > now ? stream->open_until - now : 0;
    start_timer(stream, left / ways);
}

static void run_restart(struct bz_task *task);
static void run_rest(struct bz_task *task);

/* Sending may end in closing, which shuts the door as well. */
static void init_door(struct bz_stream *stream)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&stream->door, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

int bz_stream_new(struct bz_stream **out, struct bz_loop *loop,
    const struct bz_transport *transport, const struct bz_stream_options *options, const char *peer)
{
    struct bz_stream *stream = bz_zalloc(transport->size);
    size_t peer_size = strlen(peer) + 1;
    char *name = bz_malloc(peer_size);
    int rc = stream == NULL || name == NULL ? BLAZE_ENOMEM : 0;
    if (rc == 0)
        rc = bz_handle_add(&stream->handle, loop, shut_stream);
    if (rc != 0) {
        bz_free(stream);
        bz_free(name);
        return rc;
    }
    stream->transport = transport;
    stream->state = BZ_STREAM_CONNECTING;
    stream->peer = memcpy(name, peer, peer_size);
    stream->restart.run = run_restart;
    init_door(stream);
    stream->rest.run = run_rest;
    bz_buf_init(&stream->stash, BZ_READ_SIZE);
    if (options != NULL)
        stream->options = *options;
    else
        bz_stream_options_init(&stream->options);
    uv_timer_init(&loop->uv, &stream->timer);
    stream->timer.data = stream;
    start_timer(stream, stream->options.open_ms);
    stream->open_until = uv_now(&loop->uv) + stream->options.open_ms;
    *out = stream;
    return 0;
}

int bz_stream_connect(struct bz_stream **out, struct bz_loop *loop, const char *url,
    const struct bz_stream_options *options, const struct bz_stream_callbacks *callbacks,
    void *context, blaze_error *error)
{
    static const struct bz_transport *const transports[] = {
        [BZ_URL_MEM] = &bz_mem_transport,
        [BZ_URL_UNIX] = &bz_unix_transport,
        [BZ_URL_TCP] = &bz_tcp_transport,
    };
    struct bz_url parsed;
    int rc = bz_url_parse(&parsed, url, error);
    if (rc != 0)
        return rc;
    struct bz_stream *stream;
    rc = bz_stream_new(&stream, loop, transports[parsed.kind], options, url);
    if (rc != 0)
        return bz_error_code(error, rc);
    bz_stream_set_callbacks(stream, callbacks, context);
    *out = stream;
    stream->transport->connect(stream, &parsed);
    return 0;
}

void bz_stream_set_callbacks(
    struct bz_stream *stream, const struct bz_stream_callbacks *callbacks, void *context)
{
    stream->callbacks = callbacks;
    stream->context = context;
}

/* ---- Opening ---- */

/* Has the transport read just when somebody wants what comes. */
static void update_reading(struct bz_stream *stream)
{
    bool on = false;
    switch (stream->state) {
    case BZ_STREAM_HANDSHAKE:
    case BZ_STREAM_FLUSHING:
    case BZ_STREAM_ENDING:
        on = true;
        break;
    case BZ_STREAM_OPEN:
        on = !stream->paused && stream->stash.size == 0;
        break;
    case BZ_STREAM_CONNECTING:
    case BZ_STREAM_CLOSED:
        return;
    }
    if (on != stream->reading) {
        stream->reading = on;
        stream->transport->read(stream, on);
    }
}

static void opened(struct bz_stream *stream)
{
    stream->state = BZ_STREAM_OPEN;
    set_passable(stream, true);
    uv_timer_stop(&stream->timer);
    if (stream->listener != NULL)
        bz_listener_opened(stream->listener, stream);
    else if (stream->callbacks->on_open != NULL)
        stream->callbacks->on_open(stream->context, stream);
}

/* Goes on with the handshake; whether the stream is open now. */
static bool handshake(struct bz_stream *stream)
{
    blaze_error error;
    int rc = bz_tls_handshake(stream->tls, &error);
    if (rc != 0 && rc != BLAZE_END) {
        stream->transport->flush(stream); /* the alert, if there is room for it */
        bz_stream_fail(stream, rc, "%s: %s", stream->peer, error.text);
        return false;
    }
    stream->transport->flush(stream);
    if (rc == 0 && stream->state == BZ_STREAM_HANDSHAKE)
        opened(stream);
    return stream->state == BZ_STREAM_OPEN;
}

void bz_stream_connected(struct bz_stream *stream, struct bz_tls_context *tls)
{
    assert(stream->state == BZ_STREAM_CONNECTING);
    if (tls == NULL) {
        opened(stream);
        update_reading(stream);
        return;
    }
    int rc = bz_tls_new(&stream->tls, tls, &stream->out);
    if (rc != 0) {
        bz_stream_fail(stream, rc, "%s: %s", stream->peer, blaze_error_string(rc));
        return;
    }
    stream->state = BZ_STREAM_HANDSHAKE;
    bz_stream_share_time(stream, 1);
    handshake(stream);
    update_reading(stream);
}

/* ---- What comes in ---- */

static void deliver(struct bz_stream *stream, struct bz_bytes bytes)
{
    stream->received += bytes.size;
    if (stream->callbacks->on_data != NULL)
        stream->callbacks->on_data(stream->context, stream, bytes);
}

/* Fills the loop's buffer with records while a whole one fits. */
static int decrypt(struct bz_stream *stream, struct bz_bytes *out, blaze_error *error)
{
    enum { RECORD = 16384 };
    uint8_t *plain = stream->handle.loop->plain;
    size_t size = 0;
    int rc = 0;
    while (rc == 0 && size + RECORD <= BZ_READ_SIZE) {
        size_t got = 0;
        rc = bz_tls_read(stream->tls, plain + size, BZ_READ_SIZE - size, &got, error);
        if (rc != 0 || got == 0)
            break;
        size += got;
    }
    *out = bz_bytes(plain, size);
    return rc;
}

static void input_tls(struct bz_stream *stream)
{
    if (stream->state == BZ_STREAM_HANDSHAKE && !handshake(stream))
        return;
    while (stream->state == BZ_STREAM_OPEN && !stream->paused) {
        struct bz_bytes plain;
        blaze_error error;
        pthread_mutex_lock(&stream->door);
        int rc = decrypt(stream, &plain, &error);
        if (stream->out.size > 0)
            stream->transport->flush(stream); /* an answer of TLS's own */
        pthread_mutex_unlock(&stream->door);
        if (plain.size > 0)
            deliver(stream, plain);
        if (rc == BLAZE_ECLOSED)
            bz_stream_ended(stream);
        else if (rc != 0 && stream->state == BZ_STREAM_OPEN)
            bz_stream_fail(stream, rc, "%s: %s", stream->peer, error.text);
        if (rc != 0 || plain.size == 0)
            break;
    }
}

/* Keeps what TLS has not used for when reading goes on. */
static void stash_rest(struct bz_stream *stream)
{
    struct bz_bytes left = bz_tls_left(stream->tls);
    bz_tls_feed(stream->tls, bz_bytes(NULL, 0));
    if (stream->state != BZ_STREAM_OPEN || left.size == 0)
        return;
    bz_buf_append(&stream->stash, left.data, left.size);
    if (stream->stash.error != 0)
        bz_stream_fail(stream, BLAZE_ENOMEM, "%s: out of memory", stream->peer);
}

void bz_stream_input(struct bz_stream *stream, struct bz_bytes bytes)
{
    if (stream->state != BZ_STREAM_HANDSHAKE && stream->state != BZ_STREAM_OPEN)
        return;
    if (stream->tls == NULL) {
        deliver(stream, bytes);
    } else {
        bz_tls_feed(stream->tls, bytes);
        input_tls(stream);
        stash_rest(stream);
    }
    update_reading(stream);
}

static void run_restart(struct bz_task *task)
{
    struct bz_stream *stream =
        (struct bz_stream *)((char *)task - offsetof(struct bz_stream, restart));
    if (stream->state == BZ_STREAM_OPEN && !stream->paused && stream->tls != NULL) {
        /* What was stashed is fed once more; what is left of it is stashed anew. */
        struct bz_buf stash = stream->stash;
        bz_buf_init(&stream->stash, BZ_READ_SIZE);
        bz_tls_feed(stream->tls, bz_buf_bytes(&stash));
        input_tls(stream);
        stash_rest(stream);
        bz_buf_release(&stash);
    }
    update_reading(stream);
}

void bz_stream_ended(struct bz_stream *stream)
{
    if (stream->state == BZ_STREAM_ENDING)
        close_now(stream); /* both ends are done */
    else if (stream->state == BZ_STREAM_FLUSHING)
        stream->ended = true;
    else if (stream->state == BZ_STREAM_HANDSHAKE)
        bz_stream_fail(stream, BLAZE_ECLOSED, "%s: hung up during the TLS handshake", stream->peer);
    else if (stream->state != BZ_STREAM_CLOSED)
        bz_stream_fail(stream, BLAZE_ECLOSED, "%s: closed by the other end", stream->peer);
}

void bz_stream_pause(struct bz_stream *stream)
{
    stream->paused = true;
    update_reading(stream);
}

void bz_stream_resume(struct bz_stream *stream)
{
    if (!stream->paused)
        return;
    stream->paused = false;
    if (stream->state == BZ_STREAM_OPEN)
        bz_loop_post(stream->handle.loop, &stream->restart);
}

/* ---- What goes out ---- */

/* Everything is sent: tells the other end and waits for it. */
static void end_if_flushed(struct bz_stream *stream)
{
    if (stream->state != BZ_STREAM_FLUSHING || stream->out.size > 0)
        return;
    stream->state = BZ_STREAM_ENDING;
    if (stream->ended)
        close_now(stream);
    else
        stream->transport->end(stream);
}

void bz_stream_drained(struct bz_stream *stream)
{
    end_if_flushed(stream);
    if (stream->state == BZ_STREAM_OPEN && stream->full &&
        bz_stream_pending(stream) <= stream->options.write_high / 2) {
        stream->full = false;
        if (stream->callbacks != NULL && stream->callbacks->on_writable != NULL)
            stream->callbacks->on_writable(stream->context, stream);
    }
}

static int check_write(struct bz_stream *stream, size_t size)
{
    if (stream->state < BZ_STREAM_OPEN)
        return BLAZE_EINVAL;
    if (stream->state > BZ_STREAM_OPEN)
        return BLAZE_ECLOSED;
    size_t room = stream->options.write_max - stream->out.size;
    if (stream->out.size > stream->options.write_max || size > room ||
        (stream->tls != NULL && bz_tls_overhead(size) > room - size))
        return BLAZE_ELIMIT;
    return 0;
}

/* Begins to send what was just queued. */
static int written(struct bz_stream *stream, size_t size)
{
    stream->sent += size;
    stream->transport->flush(stream);
    if (stream->out.size >= stream->options.write_high)
        stream->full = true;
    return 0;
}

static int write_tls(struct bz_stream *stream, struct bz_bytes data)
{
    int rc = bz_tls_write(stream->tls, data);
    if (rc == 0)
        return written(stream, data.size);
    /* Part of a record may be lost: the stream is of no more use. */
    bz_stream_fail(stream, rc, "%s: %s", stream->peer, blaze_error_string(rc));
    return rc;
}

static int write_bytes(struct bz_stream *stream, struct bz_bytes data)
{
    int rc = check_write(stream, data.size);
    if (rc != 0 || data.size == 0)
        return rc;
    if (stream->tls != NULL)
        return write_tls(stream, data);
    rc = bz_queue_append(&stream->out, data);
    return rc != 0 ? rc : written(stream, data.size);
}

int bz_stream_write(struct bz_stream *stream, struct bz_bytes data)
{
    pthread_mutex_lock(&stream->door);
    int rc = write_bytes(stream, data);
    pthread_mutex_unlock(&stream->door);
    return rc;
}

static int write_buf(struct bz_stream *stream, struct bz_buf *buf)
{
    size_t size = buf->size;
    int rc = check_write(stream, size);
    if (rc != 0 || size == 0)
        return rc;
    if (stream->tls != NULL) {
        rc = write_tls(stream, bz_buf_bytes(buf));
        if (rc == 0)
            bz_buf_release(buf);
        return rc;
    }
    rc = bz_queue_take(&stream->out, buf);
    return rc != 0 ? rc : written(stream, size);
}

int bz_stream_write_buf(struct bz_stream *stream, struct bz_buf *buf)
{
    pthread_mutex_lock(&stream->door);
    int rc = write_buf(stream, buf);
    pthread_mutex_unlock(&stream->door);
    return rc;
}

/* ---- Sending past the loop ---- */

/* Encrypts and sends; what the system does not take at once is the loop's to send. */
static size_t pass_tls(struct bz_stream *stream, struct bz_bytes data)
{
    struct bz_queue *out = &stream->out;
    if (data.size > PASS_MAX)
        return 0;
    /* Part of a record may be lost: the stream is of no more use, and what follows is neither. */
    stream->broken = bz_tls_write(stream->tls, data) != 0;
    bool stuck = stream->broken;
    while (!stuck && out->size > 0) {
        struct bz_bytes front = bz_queue_front(out);
        size_t sent = stream->transport->send(stream, front);
        bz_queue_consume(out, sent);
        stuck = sent < front.size;
    }
    if (stuck)
        bz_loop_post(stream->handle.loop, &stream->rest);
    return data.size;
}

static void run_rest(struct bz_task *task)
{
    struct bz_stream *stream =
        (struct bz_stream *)((char *)task - offsetof(struct bz_stream, rest));
    pthread_mutex_lock(&stream->door);
    if (stream->broken)
        bz_stream_fail(stream, BLAZE_ENOMEM, "%s: out of memory", stream->peer);
    else
        stream->transport->flush(stream);
    pthread_mutex_unlock(&stream->door);
}

size_t bz_stream_send_now(struct bz_stream *stream, struct bz_bytes data)
{
    size_t size = 0;
    pthread_mutex_lock(&stream->door);
    if (stream->passable && !stream->broken && stream->out.size == 0 && data.size > 0)
        size = stream->tls == NULL ? stream->transport->send(stream, data) : pass_tls(stream, data);
    stream->passed += size;
    pthread_mutex_unlock(&stream->door);
    return size;
}

bool bz_stream_full(const struct bz_stream *stream)
{
    return stream->full;
}

size_t bz_stream_pending(struct bz_stream *stream)
{
    pthread_mutex_lock(&stream->door);
    size_t size = stream->out.size;
    pthread_mutex_unlock(&stream->door);
    return size;
}

/* ---- Closing ---- */

void bz_stream_close(struct bz_stream *stream)
{
    if (stream->state > BZ_STREAM_OPEN)
        return;
    if (stream->state < BZ_STREAM_OPEN) {
        close_now(stream);
        return;
    }
    stream->state = BZ_STREAM_FLUSHING;
    set_passable(stream, false);
    bz_buf_release(&stream->stash);
    bz_loop_cancel(stream->handle.loop, &stream->restart);
    start_timer(stream, stream->options.close_ms);
    if (stream->tls != NULL)
        bz_tls_shutdown(stream->tls);
    update_reading(stream);
    stream->transport->flush(stream);
    end_if_flushed(stream);
}

void bz_stream_abort(struct bz_stream *stream)
{
    bz_stream_fail(stream, BLAZE_ECANCELED, "%s: aborted at this end", stream->peer);
}

/* ---- What it is ---- */

int bz_stream_binding(struct bz_stream *stream, uint8_t out[BZ_STREAM_BINDING_SIZE])
{
    static const char local[BZ_STREAM_BINDING_SIZE] = "blazedb local stream, no TLS";
    if (stream->state != BZ_STREAM_OPEN)
        return BLAZE_EINVAL;
    if (stream->tls != NULL)
        return bz_tls_binding(stream->tls, out);
    memcpy(out, local, BZ_STREAM_BINDING_SIZE);
    return 0;
}

const char *bz_stream_peer(const struct bz_stream *stream)
{
    return stream->peer;
}

uint64_t bz_stream_received(const struct bz_stream *stream)
{
    return stream->received;
}

uint64_t bz_stream_sent(struct bz_stream *stream)
{
    pthread_mutex_lock(&stream->door);
    uint64_t passed = stream->passed;
    pthread_mutex_unlock(&stream->door);
    return stream->sent + passed;
}

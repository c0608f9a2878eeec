/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_NET_TEST_PAIR_H
#define BZ_NET_TEST_PAIR_H

/*
 * For tests: a listener and a client on loops of their own, each end of the stream with a record of
 * what happened to it. Callbacks run on the loops' threads, where cmocka cannot fail a test: they
 * note what they see under one lock, and the test waits for it and judges.
 */

#include "base/alloc.h"
#include "net/net.h"

#include "cmocka_all.h"
#include "random.h"
#include "wait.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* What every test sends: noise that repeats after a prime number of bytes, so that no byte that is
 * lost, doubled or moved goes unnoticed. */
enum { NOISE_SIZE = 65521 };
static uint8_t noise[NOISE_SIZE];
static pthread_once_t noise_once = PTHREAD_ONCE_INIT;

static inline void make_noise(void)
{
    rng_fill(&(struct rng){1}, noise, NOISE_SIZE);
}

/* The noise at `offset`, and how much of up to `size` bytes is there in one piece. */
static inline const uint8_t *noise_at(uint64_t offset, size_t size, size_t *piece)
{
    size_t at = (size_t)(offset % NOISE_SIZE);
    pthread_once(&noise_once, make_noise);
    *piece = size < NOISE_SIZE - at ? size : NOISE_SIZE - at;
    return noise + at;
}

static inline void fill(uint8_t *data, uint64_t offset, size_t size)
{
    for (size_t piece; size > 0; data += piece, offset += piece, size -= piece) {
        const uint8_t *p = noise_at(offset, size, &piece);
        memcpy(data, p, piece);
    }
}

static inline bool is_noise(const uint8_t *data, uint64_t offset, size_t size)
{
    bool equal = true;
    for (size_t piece; size > 0; data += piece, offset += piece, size -= piece) {
        const uint8_t *p = noise_at(offset, size, &piece);
        equal = equal && memcmp(data, p, piece) == 0;
    }
    return equal;
}

/* One end of a stream and what happened to it. */
struct end {
    struct bz_loop *loop;
    struct bz_stream *stream;
    unsigned opened;
    unsigned closed;
    unsigned writable;
    unsigned after_close; /* callbacks that came too late */
    uint64_t received;
    uint64_t wrong; /* things that should not have happened */
    uint64_t sent;
    uint64_t goal;     /* bytes to send by keep_sending() */
    uint64_t most;     /* pending at once */
    uint64_t pause_at; /* on_data pauses when so much was received; 0: never */
    bool echo;
    bool close_when_sent;
    void (*hook)(struct end *end, char event); /* 'o'pen, 'd'ata, 'w'ritable; may be NULL */
    struct rng rng;
    blaze_error reason;
};

/* Sends up to the goal in pieces of random sizes, as long as the stream takes them gladly. */
static inline void keep_sending(struct end *end)
{
    static const size_t sizes[] = {1, 2, 100, 4095, 65536, 300000, 3u << 20};
    while (end->sent < end->goal && !bz_stream_full(end->stream)) {
        uint64_t r = rng_next(&end->rng);
        size_t size = (size_t)(r >> 8) % sizes[r % 7] + 1;
        if (size > end->goal - end->sent)
            size = (size_t)(end->goal - end->sent);
        struct bz_buf buf;
        bz_buf_init(&buf, size);
        uint8_t *data = bz_buf_reserve(&buf, size);
        if (data == NULL)
            continue; /* one allocation failed: the next will not */
        fill(data, end->sent, size);
        bz_buf_advance(&buf, size);
        int rc = r & 0x80 ? bz_stream_write_buf(end->stream, &buf)
                          : bz_stream_write(end->stream, bz_buf_bytes(&buf));
        bz_buf_release(&buf);
        if (rc == BLAZE_ENOMEM)
            continue; /* and took nothing, or has closed the stream */
        if (rc != 0)
            break;
        end->sent += size;
        if (bz_stream_pending(end->stream) > end->most)
            end->most = bz_stream_pending(end->stream);
    }
    if (end->close_when_sent && end->sent == end->goal)
        bz_stream_close(end->stream);
}

static inline void end_on_open(void *context, struct bz_stream *stream)
{
    struct end *end = context;
    NOTE(end->opened++; end->stream = stream; end->after_close += end->closed);
    if (end->hook != NULL)
        end->hook(end, 'o');
    keep_sending(end);
}

static inline void end_on_data(void *context, struct bz_stream *stream, struct bz_bytes data)
{
    struct end *end = context;
    uint64_t wrong = data.size == 0 || !is_noise(data.data, end->received, data.size);
    if (end->echo) {
        int rc = bz_stream_write(stream, data);
        if (rc == BLAZE_ENOMEM)
            bz_stream_abort(stream);
        else
            wrong += rc != 0;
        if (bz_stream_full(stream))
            bz_stream_pause(stream);
    }
    bool pause = end->pause_at > 0 && end->received + data.size >= end->pause_at;
    if (pause)
        bz_stream_pause(stream);
    NOTE(end->received += data.size; end->wrong += wrong; end->after_close += end->closed;
         if (pause) end->pause_at = 0);
    if (end->hook != NULL)
        end->hook(end, 'd');
}

static inline void end_on_writable(void *context, struct bz_stream *stream)
{
    struct end *end = context;
    NOTE(end->writable++; end->after_close += end->closed);
    if (end->hook != NULL)
        end->hook(end, 'w');
    if (end->echo)
        bz_stream_resume(stream);
    keep_sending(end);
}

static inline void end_on_close(void *context, struct bz_stream *stream, const blaze_error *reason)
{
    (void)stream;
    struct end *end = context;
    NOTE(end->closed++; end->reason = *reason; end->stream = NULL);
}

static const struct bz_stream_callbacks end_callbacks = {
    end_on_open, end_on_data, end_on_writable, end_on_close};

/* A listener that gives what it accepts to `ends`, in turn. */
struct host {
    struct bz_loop *loop;
    struct bz_listener *listener;
    struct bz_listener_options options;
    struct bz_stream_options client_options;
    struct end *ends;
    unsigned room;
    unsigned accepted;
    unsigned closed;
    bool refuse; /* accept nobody */
    char url[BZ_URL_SIZE];
    char wanted[BZ_URL_SIZE];
    int rc;
    blaze_error error;
};

static inline void host_on_accept(
    void *context, struct bz_listener *listener, struct bz_stream *stream)
{
    (void)listener;
    struct host *host = context;
    if (host->refuse || host->accepted == host->room)
        return;
    struct end *end = &host->ends[host->accepted];
    bz_stream_set_callbacks(stream, &end_callbacks, end);
    NOTE(host->accepted++);
    end_on_open(end, stream);
}

static inline void host_on_close(void *context, struct bz_listener *listener)
{
    (void)listener;
    struct host *host = context;
    NOTE(host->closed++);
}

static const struct bz_listener_callbacks host_callbacks = {host_on_accept, host_on_close};

static inline void listen_now(void *context)
{
    struct host *host = context;
    host->rc = bz_listener_open(&host->listener, host->loop, host->wanted, &host->options,
        &host_callbacks, host, &host->error);
    if (host->rc == 0)
        snprintf(host->url, sizeof host->url, "%s", bz_listener_url(host->listener));
}

static inline void unlisten_now(void *context)
{
    struct host *host = context;
    bz_listener_close(host->listener);
}

/* A fresh address of a kind ("mem", "unix", "tcp"). */
static inline void pick_url(char out[BZ_URL_SIZE], const char *kind)
{
    static unsigned number;
    number++;
    if (strcmp(kind, "tcp") == 0)
        snprintf(out, BZ_URL_SIZE, "tcp://127.0.0.1:0");
    else if (strcmp(kind, "unix") == 0)
        snprintf(out, BZ_URL_SIZE, "unix:/tmp/bz-%d-%u.sock", (int)getpid(), number);
    else
        snprintf(out, BZ_URL_SIZE, "mem:test-%u", number);
}

static inline void host_init(struct host *host, struct end *ends, unsigned room, const char *kind)
{
    *host = (struct host){.ends = ends, .room = room};
    bz_listener_options_init(&host->options);
    bz_stream_options_init(&host->client_options);
    pick_url(host->wanted, kind);
}

static inline void host_open(struct host *host)
{
    assert_int_equal(bz_loop_open(&host->loop, NULL), 0);
    for (unsigned i = 0; i < host->room; i++)
        host->ends[i].loop = host->loop;
    bz_loop_call(host->loop, listen_now, host);
    if (host->rc != 0)
        fail_msg("%s", host->error.text);
}

struct connecting {
    struct end *end;
    const char *url;
    const struct bz_stream_options *options;
    int rc;
    blaze_error error;
};

static inline void connect_now(void *context)
{
    struct connecting *c = context;
    c->rc = bz_stream_connect(
        &c->end->stream, c->end->loop, c->url, c->options, &end_callbacks, c->end, &c->error);
}

static inline void end_connect(
    struct end *end, struct bz_loop *loop, const char *url, const struct bz_stream_options *options)
{
    struct connecting c = {.end = end, .url = url, .options = options};
    end->loop = loop;
    bz_loop_call(loop, connect_now, &c);
    if (c.rc != 0)
        fail_msg("%s", c.error.text);
}

static inline void resume_now(void *context)
{
    struct end *end = context;
    if (end->stream != NULL)
        bz_stream_resume(end->stream);
}

static inline void close_now(void *context)
{
    struct end *end = context;
    if (end->stream != NULL)
        bz_stream_close(end->stream);
}

static inline void abort_now(void *context)
{
    struct end *end = context;
    if (end->stream != NULL)
        bz_stream_abort(end->stream);
}

static inline void send_now(void *context)
{
    struct end *end = context;
    if (end->stream != NULL)
        keep_sending(end);
}

struct look {
    struct end *end;
    struct end seen;
};

static inline void look_now(void *context)
{
    struct look *look = context;
    look->seen = *look->end;
}

/* What has happened to an end, as its loop's thread knows it. */
static inline struct end look_at(struct end *end)
{
    struct look look = {.end = end};
    bz_loop_call(end->loop, look_now, &look);
    return look.seen;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Streams within the process. Two streams, on one loop or two, share a channel: for each end a
 * queue of what is on its way there, bounded as a socket's buffer is. Chunks move from the
 * writer's queue to the channel and on to the reader without being copied.
 *
 * An end is told by posting its `pump`, under the channel's lock and only while the end is still
 * there; an end that goes takes itself out under that lock first, so no pump is posted to a stream
 * that is gone.
 *
 * Lock order: the registry of names, a channel, a loop's tasks. No callback runs under any.
 */

#include "base/alloc.h"
#include "net/net_priv.h"

/* What the channel holds for each end before its writer has to wait; a chunk may overshoot. */
#define CHANNEL_SIZE (256u << 10)

enum { CLIENT, SERVER };
enum answer { WAITING, ACCEPTED, REFUSED };

struct mem;

struct channel {
    pthread_mutex_t lock;
    unsigned holders; /* its two ends, and the listener until it has answered */
    enum answer answer;
    struct end {
        struct mem *stream; /* NULL: not there yet, or gone */
        struct bz_loop *loop;
        struct bz_queue in; /* on its way to this end */
        bool ended;         /* this end sends no more */
        bool waiting;       /* this end has more to send than there is room for */
    } ends[2];
    struct channel *next; /* among those that wait for the listener */
};

struct mem {
    struct bz_stream base;
    struct channel *channel;
    unsigned side;
    bool reading;
    bool delivering;
    struct bz_queue in; /* taken from the channel and not delivered yet: one chunk at most */
    struct bz_task pump;
};

struct mem_listener {
    struct bz_listener base;
    struct mem_listener *next;
    struct channel *callers;
    struct bz_task wake;
};

/* The listeners of this process, by name. */
static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static struct mem_listener *listeners;

/* ---- Channels ---- */

static void release_channel(struct channel *channel)
{
    pthread_mutex_lock(&channel->lock);
    unsigned left = --channel->holders;
    pthread_mutex_unlock(&channel->lock);
    if (left > 0)
        return;
    bz_queue_clear(&channel->ends[CLIENT].in);
    bz_queue_clear(&channel->ends[SERVER].in);
    pthread_mutex_destroy(&channel->lock);
    bz_free(channel);
}

/* Lets go of the lock before the end's thread, which will want it at once, is woken, if there is
 * something for it. */
static void unlock_and_wake(struct channel *channel, unsigned side, bool something)
{
    const struct end *end = &channel->ends[side];
    struct bz_loop *loop = end->loop;
    bool ring = something && end->stream != NULL && bz_loop_queue(loop, &end->stream->pump);
    pthread_mutex_unlock(&channel->lock);
    if (ring)
        bz_loop_ring(loop);
}

static void answer(struct channel *channel, enum answer what)
{
    pthread_mutex_lock(&channel->lock);
    channel->answer = what;
    unlock_and_wake(channel, CLIENT, true);
}

/* ---- Moving bytes ---- */

static void mem_flush(struct bz_stream *stream)
{
    struct mem *mem = (struct mem *)stream;
    if (mem->channel == NULL)
        return;
    struct channel *channel = mem->channel;
    struct end *mine = &channel->ends[mem->side];
    struct end *other = &channel->ends[!mem->side];
    bool moved = false;
    pthread_mutex_lock(&channel->lock);
    bool gone = other->stream == NULL && channel->answer == ACCEPTED;
    while (!gone && stream->out.size > 0 && other->in.size < CHANNEL_SIZE) {
        bz_queue_move(&other->in, &stream->out);
        moved = true;
    }
    mine->waiting = stream->out.size > 0;
    unlock_and_wake(channel, !mem->side, moved);
    if (gone && stream->out.size > 0)
        bz_stream_lost(stream, UV_EPIPE);
}

/* The channel is ours until the release, which waits at the door. All or nothing. */
static size_t mem_send(struct bz_stream *stream, struct bz_bytes data)
{
    struct mem *mem = (struct mem *)stream;
    struct channel *channel = mem->channel;
    struct end *other = &channel->ends[!mem->side];
    pthread_mutex_lock(&channel->lock);
    bool moved = other->stream != NULL && other->in.size < CHANNEL_SIZE &&
                 bz_queue_append(&other->in, data) == 0;
    unlock_and_wake(channel, !mem->side, moved);
    return moved ? data.size : 0;
}

/* Takes the next chunk from the channel and makes room for the writer. */
static bool take_chunk(struct mem *mem)
{
    struct channel *channel = mem->channel;
    struct end *mine = &channel->ends[mem->side];
    pthread_mutex_lock(&channel->lock);
    bool some = mine->in.size > 0;
    if (some)
        bz_queue_move(&mem->in, &mine->in);
    bool room = some && channel->ends[!mem->side].waiting && mine->in.size <= CHANNEL_SIZE / 2;
    unlock_and_wake(channel, !mem->side, room);
    return some;
}

static bool other_has_ended(struct mem *mem)
{
    struct channel *channel = mem->channel;
    pthread_mutex_lock(&channel->lock);
    bool ended = channel->ends[!mem->side].ended && channel->ends[mem->side].in.size == 0;
    pthread_mutex_unlock(&channel->lock);
    return ended;
}

/* Delivers what has come, in pieces, and not for ever: other streams want their turn. */
static void receive(struct mem *mem)
{
    size_t budget = CHANNEL_SIZE;
    mem->delivering = true;
    while (mem->reading && budget > 0 && (mem->in.size > 0 || take_chunk(mem))) {
        struct bz_chunk *chunk = mem->in.first;
        size_t size = chunk->size - chunk->start;
        if (size > BZ_READ_SIZE)
            size = BZ_READ_SIZE;
        bz_stream_input(&mem->base, bz_bytes(chunk->data + chunk->start, size));
        bz_queue_consume(&mem->in, size);
        budget -= size < budget ? size : budget;
    }
    mem->delivering = false;
    if (mem->base.state == BZ_STREAM_CLOSED)
        bz_queue_clear(&mem->in);
    if (!mem->reading)
        return;
    if (budget == 0)
        bz_loop_post(mem->base.handle.loop, &mem->pump);
    else if (other_has_ended(mem))
        bz_stream_ended(&mem->base);
}

static void hear_answer(struct mem *mem)
{
    pthread_mutex_lock(&mem->channel->lock);
    enum answer what = mem->channel->answer;
    pthread_mutex_unlock(&mem->channel->lock);
    if (what == ACCEPTED)
        bz_stream_connected(&mem->base, NULL);
    else if (what == REFUSED)
        bz_stream_fail(
            &mem->base, BLAZE_ECONNECT, "connect %s: the listener refused", mem->base.peer);
}

static void run_pump(struct bz_task *task)
{
    struct mem *mem = (struct mem *)((char *)task - offsetof(struct mem, pump));
    struct bz_stream *stream = &mem->base;
    if (stream->state == BZ_STREAM_CONNECTING)
        hear_answer(mem);
    if (stream->state == BZ_STREAM_CONNECTING || stream->state == BZ_STREAM_CLOSED)
        return;
    pthread_mutex_lock(&stream->door);
    mem_flush(stream);
    pthread_mutex_unlock(&stream->door);
    bz_stream_drained(stream);
    if (stream->state != BZ_STREAM_CLOSED)
        receive(mem);
}

static void mem_read(struct bz_stream *stream, bool on)
{
    struct mem *mem = (struct mem *)stream;
    mem->reading = on;
    if (on)
        bz_loop_post(stream->handle.loop, &mem->pump);
}

static void mem_end(struct bz_stream *stream)
{
    struct mem *mem = (struct mem *)stream;
    pthread_mutex_lock(&mem->channel->lock);
    mem->channel->ends[mem->side].ended = true;
    unlock_and_wake(mem->channel, !mem->side, true);
}

static void mem_release(struct bz_stream *stream)
{
    struct mem *mem = (struct mem *)stream;
    struct channel *channel = mem->channel;
    mem->reading = false;
    if (!mem->delivering)
        bz_queue_clear(&mem->in);
    if (channel != NULL) {
        struct end *mine = &channel->ends[mem->side];
        pthread_mutex_lock(&channel->lock);
        mine->stream = NULL;
        mine->ended = true;
        bz_queue_clear(&mine->in);
        unlock_and_wake(channel, !mem->side, true);
        bz_loop_cancel(stream->handle.loop, &mem->pump);
        mem->channel = NULL;
        release_channel(channel);
    }
    bz_stream_released(stream);
}

/* ---- Connecting and accepting ---- */

static void attach(struct mem *mem, struct channel *channel, unsigned side)
{
    mem->pump.run = run_pump;
    mem->channel = channel;
    mem->side = side;
    channel->ends[side].stream = mem;
    channel->ends[side].loop = mem->base.handle.loop;
}

static struct mem_listener *find_listener(const char *url)
{
    struct mem_listener *listener = listeners;
    while (listener != NULL && strcmp(listener->base.url, url) != 0)
        listener = listener->next;
    return listener;
}

static void mem_connect(struct bz_stream *stream, const struct bz_url *url)
{
    (void)url;
    struct mem *mem = (struct mem *)stream;
    struct channel *channel = bz_zalloc(sizeof *channel);
    if (channel == NULL) {
        bz_stream_fail(stream, BLAZE_ENOMEM, "connect %s: out of memory", stream->peer);
        return;
    }
    pthread_mutex_init(&channel->lock, NULL);
    channel->holders = 2;
    attach(mem, channel, CLIENT);

    pthread_mutex_lock(&registry);
    struct mem_listener *listener = find_listener(stream->peer);
    if (listener != NULL) {
        struct channel **last = &listener->callers;
        while (*last != NULL)
            last = &(*last)->next;
        *last = channel;
        bz_loop_post(listener->base.handle.loop, &listener->wake);
    }
    pthread_mutex_unlock(&registry);
    if (listener == NULL) {
        release_channel(channel);
        bz_stream_fail(stream, BLAZE_ECONNECT, "connect %s: nobody listens there in this process",
            stream->peer);
    }
}

static void accept_caller(struct mem_listener *listener, struct channel *channel)
{
    struct bz_stream *stream;
    int rc = bz_listener_stream(&stream, &listener->base, &bz_mem_transport, listener->base.url);
    if (rc != 0) {
        answer(channel, REFUSED);
        release_channel(channel);
        return;
    }
    /* What the listener held of the channel, the new stream holds now. */
    pthread_mutex_lock(&channel->lock);
    attach((struct mem *)stream, channel, SERVER);
    pthread_mutex_unlock(&channel->lock);
    answer(channel, ACCEPTED);
    bz_stream_connected(stream, NULL);
}

static struct channel *next_caller(struct mem_listener *listener)
{
    pthread_mutex_lock(&registry);
    struct channel *channel = listener->callers;
    if (channel != NULL)
        listener->callers = channel->next;
    pthread_mutex_unlock(&registry);
    return channel;
}

static void run_listener(struct bz_task *task)
{
    struct mem_listener *listener =
        (struct mem_listener *)((char *)task - offsetof(struct mem_listener, wake));
    struct channel *channel;
    while (!listener->base.closed && (channel = next_caller(listener)) != NULL)
        accept_caller(listener, channel);
    if (listener->base.closed)
        bz_listener_released(&listener->base);
}

static int open_listener(struct bz_listener *base, const struct bz_url *url, blaze_error *error)
{
    (void)url;
    struct mem_listener *listener = (struct mem_listener *)base;
    listener->wake.run = run_listener;
    pthread_mutex_lock(&registry);
    bool taken = find_listener(base->url) != NULL;
    if (!taken) {
        listener->next = listeners;
        listeners = listener;
    }
    pthread_mutex_unlock(&registry);
    if (taken)
        return bz_error_set(
            error, BLAZE_EADDRINUSE, "listen at %s: the name is taken in this process", base->url);
    return 0;
}

static void release_listener(struct bz_listener *base)
{
    struct mem_listener *listener = (struct mem_listener *)base;
    pthread_mutex_lock(&registry);
    struct mem_listener **place = &listeners;
    while (*place != listener)
        place = &(*place)->next;
    *place = listener->next;
    pthread_mutex_unlock(&registry);

    struct channel *channel;
    while ((channel = next_caller(listener)) != NULL) {
        answer(channel, REFUSED);
        release_channel(channel);
    }
    bz_loop_post(base->handle.loop, &listener->wake);
}

const struct bz_transport bz_mem_transport = {
    .size = sizeof(struct mem),
    .connect = mem_connect,
    .flush = mem_flush,
    .send = mem_send,
    .read = mem_read,
    .end = mem_end,
    .release = mem_release,
};

const struct bz_listener_kind bz_mem_listener = {
    .size = sizeof(struct mem_listener), .open = open_listener, .release = release_listener};

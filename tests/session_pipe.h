/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_TESTS_SESSION_PIPE_H
#define BZ_TESTS_SESSION_PIPE_H

/*
 * Two sessions and the stream between them, in virtual time and from one seed: bytes are cut where
 * chance has it, wait on the way, and may be looked at, changed or lost. Each end is driven as a
 * real driver would: receive, run, take the output.
 */

#include "base/alloc.h"
#include "sync/session.h"

#include "random.h"

#include <assert.h>

struct session_end {
    struct bz_session *session;
    struct bz_buf wire; /* sent by this end, not yet delivered */
    uint64_t delivered; /* bytes that came out at the other end */
    uint64_t runs;      /* calls of run() */
    bool again;         /* run() has more to do */
};

struct session_pipe {
    struct session_end ends[2]; /* 0 connects, 1 accepts */
    struct rng rng;
    uint64_t now_ms, wall_ms;
    bool prompt; /* every other delivery is dealt with at once, by who may not wait */
    uint64_t deliveries;
    size_t piece_max; /* bytes delivered at a time, at most; 0: all that there is */
    size_t wire_max;  /* bytes on the way in one direction, at most */
    /* Sees, and may change, what end `from` sends, as it goes onto the wire. */
    void (*on_wire)(void *context, int from, uint8_t *data, size_t size);
    void *context;
};

/* Between a connecting and an accepting session, both made here. */
static inline int pipe_open(struct session_pipe *p, const struct bz_session_options *connecting,
    const struct bz_session_options *accepting)
{
    for (int i = 0; i < 2; i++) {
        bz_buf_init(&p->ends[i].wire, (size_t)1 << 30);
        p->ends[i].delivered = p->ends[i].runs = 0;
        p->ends[i].again = false;
        p->ends[i].session = NULL;
    }
    if (p->wire_max == 0)
        p->wire_max = 1u << 20;
    int rc = bz_session_new(&p->ends[0].session, connecting, p->now_ms, NULL);
    return rc != 0 ? rc : bz_session_new(&p->ends[1].session, accepting, p->now_ms, NULL);
}

static inline void pipe_close(struct session_pipe *p)
{
    for (int i = 0; i < 2; i++) {
        bz_session_free(p->ends[i].session);
        p->ends[i].session = NULL;
        bz_buf_release(&p->ends[i].wire);
    }
}

static inline struct bz_session_status pipe_status(const struct session_pipe *p, int end)
{
    struct bz_session_status status;
    bz_session_status(p->ends[end].session, &status);
    return status;
}

/* Moves output of an end onto the wire, as far as there is room: the rest waits, as in a stream
 * that is full. */
static inline bool pipe_take(struct session_pipe *p, int i)
{
    struct session_end *end = &p->ends[i];
    struct bz_bytes out = bz_session_output(end->session);
    size_t room = end->wire.size < p->wire_max ? p->wire_max - end->wire.size : 0;
    size_t size = out.size < room ? out.size : room;
    if (size == 0)
        return false;
    size_t at = end->wire.size;
    bz_buf_append(&end->wire, out.data, size);
    if (p->on_wire != NULL)
        p->on_wire(p->context, i, end->wire.data + at, size);
    bz_session_sent(end->session, size);
    return true;
}

/* Delivers a piece of what end `i` has sent. */
static inline bool pipe_deliver(struct session_pipe *p, int i)
{
    struct session_end *end = &p->ends[i];
    size_t size = end->wire.size;
    if (size == 0)
        return false;
    if (p->piece_max > 0) {
        size_t piece = (size_t)(rng_next(&p->rng) % p->piece_max) + 1;
        size = piece < size ? piece : size;
    }
    /* On the heap and no longer than it is, so that reading past the end is seen. */
    uint8_t *copy = bz_malloc(size);
    if (copy == NULL)
        return false;
    memcpy(copy, end->wire.data, size);
    bz_buf_consume(&end->wire, size);
    end->delivered += size;
    bz_session_receive(p->ends[!i].session, bz_bytes(copy, size), p->now_ms);
    bz_free(copy);
    bool prompt = p->prompt && !p->ends[!i].again && p->deliveries++ % 2 == 0;
    p->ends[!i].again = !prompt || bz_session_push(p->ends[!i].session, p->now_ms, p->wall_ms);
    return true;
}

static inline void pipe_run(struct session_pipe *p, int i)
{
    struct session_end *end = &p->ends[i];
    end->again = bz_session_run(end->session, p->now_ms, p->wall_ms);
    end->runs++;
}

/* The databases have changed: both sessions look. */
static inline void pipe_wake(struct session_pipe *p)
{
    p->ends[0].again = p->ends[1].again = true;
}

/* One turn of one end, chosen by chance. False if neither end has anything to do. */
static inline bool pipe_step(struct session_pipe *p)
{
    int first = (int)(rng_next(&p->rng) & 1);
    for (int turn = 0; turn < 2; turn++) {
        int i = first ^ turn;
        bool delivered = pipe_deliver(p, !i);
        bool ran = p->ends[i].again;
        if (ran)
            pipe_run(p, i);
        bool taken = pipe_take(p, i);
        if (taken)
            p->ends[i].again = true;
        if (delivered || ran || taken)
            return true;
    }
    return false;
}

/* Lets time pass to the earliest deadline. */
static inline void pipe_sleep(struct session_pipe *p)
{
    uint64_t a = bz_session_deadline(p->ends[0].session);
    uint64_t b = bz_session_deadline(p->ends[1].session);
    uint64_t next = a < b ? a : b;
    if (next != UINT64_MAX && next > p->now_ms) {
        p->wall_ms += next - p->now_ms;
        p->now_ms = next;
    }
    pipe_wake(p);
}

/* Steps until nothing is left to do, at most `steps` of them: how many it took. A session that
 * never comes to rest takes them all. */
static inline uint64_t pipe_settle(struct session_pipe *p, uint64_t steps)
{
    uint64_t n = 0;
    while (n < steps && pipe_step(p))
        n++;
    return n;
}

static inline bool pipe_live(const struct session_pipe *p)
{
    return pipe_status(p, 0).phase == BZ_SESSION_LIVE && pipe_status(p, 1).phase == BZ_SESSION_LIVE;
}

/* The connection is lost with all that is on the way. */
static inline void pipe_cut(struct session_pipe *p)
{
    for (int i = 0; i < 2; i++) {
        bz_session_disconnected(p->ends[i].session);
        bz_buf_clear(&p->ends[i].wire);
    }
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_PEER_EXCHANGE_H
#define BZ_PEER_EXCHANGE_H

/*
 * One session over one stream. The stream lives on the loop thread, the session on a strand of the
 * pool, and the exchange carries bytes, wake-ups and deadlines between them (exchange.c).
 */

#include "net/net.h"
#include "peer/pool.h"
#include "sync/session.h"

struct bz_exchange;

struct bz_exchange_callbacks {
    /* On the strand, first of all: completes the session's options (replica, auth or host, and what
     * else differs from zero; the binding is there). An error ends the exchange. */
    int (*begin)(void *context, struct bz_session_options *options, blaze_error *error);

    /* On the loop thread: whether what comes may be dealt with there, where it takes no waiting.
     * The strand is that thread then. */
    bool (*is_prompt)(void *context);

    /* On the strand, after each run that may have changed something. */
    void (*on_status)(void *context, const struct bz_session_status *status);

    /* On the strand, when the session is gone: gives back what begin, or the session's host, took.
     * Called just if begin was. */
    void (*end)(void *context, const struct bz_session_status *status);

    /* On the loop thread: the last call; the exchange and its stream are gone. */
    void (*on_done)(void *context, const struct bz_session_status *status);
};

/* Takes over an open stream, on its loop's thread. on_done follows, unless this fails with
 * BLAZE_ENOMEM, and then the stream is the caller's still. *out is written before any callback. */
int bz_exchange_open(struct bz_exchange **out, struct bz_loop *loop, struct bz_pool *pool,
    struct bz_stream *stream, const struct bz_exchange_callbacks *callbacks, void *context);

/* Has the session look for something to do: the database has new changes. Any thread. */
void bz_exchange_wake(struct bz_exchange *exchange);

/* The same, from the thread that has committed: what is little, over a link that is idle, it sends
 * by itself, and deals with a small chunk that has come, before this returns, which spares waking
 * another. It waits for no lock that is held while waiting. */
void bz_exchange_push(struct bz_exchange *exchange);

/* Ends the session in good order: BYE with `code` and `reason`. Any thread. */
void bz_exchange_stop(struct bz_exchange *exchange, int code, const char *reason);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_PEER_POOL_H
#define BZ_PEER_POOL_H

/*
 * A few threads for work that may wait (for the writer lock, for a disk), which the loop thread
 * must not. Work comes as strands: a strand's runs never overlap, and strands take turns.
 */

#include "base/error.h"

#include <stdbool.h>

struct bz_pool;

/* Starts `threads` threads, in which all signals are blocked. BLAZE_ENOMEM. */
int bz_pool_open(struct bz_pool **out, unsigned threads, blaze_error *error);

/* Waits for what runs; what is queued is dropped. Nobody may post any more. NULL is allowed. */
void bz_pool_close(struct bz_pool *pool);

/* The storage is the poster's, zeroed but for `run`. */
struct bz_strand {
    void (*run)(struct bz_strand *strand);
    struct bz_strand *next; /* these are the pool's */
    bool queued;
    bool running;
    bool again; /* posted while running */
};

/* Has the strand run once more, on a thread of the pool, after its present run if there is one. A
 * strand that waits already is not queued twice. Any thread. */
void bz_strand_post(struct bz_pool *pool, struct bz_strand *strand);

/* The same, from within the run of another strand of the pool that is about to end: that thread
 * goes on with it, and none is woken to do so. If the run goes on after all, bz_pool_share() gives
 * what waits to others. */
void bz_strand_post_next(struct bz_pool *pool, struct bz_strand *strand);
void bz_pool_share(struct bz_pool *pool);

/* Makes the caller's thread run the strand, by itself, until it leaves it: false if that would mean
 * to wait, for it runs or is queued. What is done then must not wait. On leaving, the strand is
 * queued if it was posted meanwhile or `again` says so. Any thread. */
bool bz_strand_enter(struct bz_pool *pool, struct bz_strand *strand);
void bz_strand_leave(struct bz_pool *pool, struct bz_strand *strand, bool again);

/* Takes a waiting strand back and waits until it is not running. Then its storage may go, if nobody
 * posts it any more. Any thread but from within its own run. */
void bz_strand_cancel(struct bz_pool *pool, struct bz_strand *strand);

#endif

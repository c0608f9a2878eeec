/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_SYNC_ADAPT_H
#define BZ_SYNC_ADAPT_H

/*
 * Which compression a session uses, by what it sees of its own chunks; no clock is asked for that.
 *
 * While there is a backlog, every acknowledgement is a vote. If other chunks are on their way and
 * hardly any waits at the peer, the bytes are what takes the time: zstd makes them fewer. If they
 * wait there, or none are on their way because we did not build them fast enough, a processor is
 * what is short: LZ4 takes less of it.
 *
 * And whether a stream is worth keeping when there is nothing more to send: its memory is, while
 * changes come so fast that another is likely within moments.
 */

#include "sync/pack.h"

#include <stdbool.h>

/* A stream is given up after so long without a chunk. */
#define BZ_ADAPT_REST_MS 1000u

struct bz_adapt {
    bool lz4, zstd; /* what both sides know */
    bool near;      /* the stream has no network in it: LZ4 until the votes say otherwise */
    int score;      /* above 0: the network is short */
    uint64_t level; /* bytes of late, see bz_adapt_keeps() */
    uint64_t last_ms;
};

/* An acknowledgement has come while there is more to send: `under_way` bytes of chunks are not
 * acknowledged yet, of which `waiting` are known to be with the peer. */
void bz_adapt_vote(struct bz_adapt *adapt, uint64_t under_way, uint64_t waiting);

/* What the next chunk is to be packed by. */
enum bz_packing bz_adapt_method(const struct bz_adapt *adapt);

/* A chunk of so many bytes is sent; whether the stream should outlive it though nothing follows at
 * once. */
bool bz_adapt_keeps(struct bz_adapt *adapt, size_t size, uint64_t now_ms);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_CRDT_CLOCK_H
#define BZ_CRDT_CLOCK_H

/*
 * The hybrid logical clock (Kulkarni et al., 2014): a stamp is 48 bits of milliseconds since 1970
 * and a 16-bit counter, in one integer that orders as time does. It is a Lamport clock that never
 * falls behind the wall clock.
 */

#include <stdint.h>

#define BZ_STAMP(ms, counter) ((uint64_t)(ms) << 16 | (uint64_t)(counter))
#define BZ_STAMP_MS(stamp)    ((stamp) >> 16)

/* Stamps this far ahead of the wall clock are refused: one node must not exhaust the clock. */
#define BZ_STAMP_AHEAD_MAX_MS (10ull * 366 * 24 * 3600 * 1000)

/* The stamp of a new event: greater than *last and not before wall_ms. Becomes *last. */
uint64_t bz_clock_tick(uint64_t *last, uint64_t wall_ms);

/* Takes note of a stamp from elsewhere: *last becomes at least that. BLAZE_ECLOCK, and *last as it
 * was, if the stamp is too far ahead. */
int bz_clock_observe(uint64_t *last, uint64_t stamp, uint64_t wall_ms);

#endif

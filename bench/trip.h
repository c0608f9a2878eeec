/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_TRIP_H
#define BENCH_TRIP_H

/* The bare round trip: a few bytes over a stream of the kind that links use, sent back at once. */

#include <stdint.h>

/* Makes `count` round trips between two threads over a stream to a listener at `url`, one after the
 * other; the seconds of each go to `seconds`. */
void bench_trips(const char *url, double *seconds, unsigned count);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "crdt/clock.h"

#include <blazedb/error.h>

#define MS_MAX (((uint64_t)1 << 48) - 1)

uint64_t bz_clock_tick(uint64_t *last, uint64_t wall_ms)
{
    uint64_t wall = BZ_STAMP(wall_ms < MS_MAX ? wall_ms : MS_MAX, 0);
    /* A full counter carries into the milliseconds: the clock then runs ahead until the wall clock
     * has caught up. */
    uint64_t next = *last == UINT64_MAX ? *last : *last + 1;
    *last = next > wall ? next : wall;
    return *last;
}

int bz_clock_observe(uint64_t *last, uint64_t stamp, uint64_t wall_ms)
{
    uint64_t ms = BZ_STAMP_MS(stamp);
    if (ms > wall_ms && ms - wall_ms > BZ_STAMP_AHEAD_MAX_MS)
        return BLAZE_ECLOCK;
    if (stamp > *last)
        *last = stamp;
    return 0;
}

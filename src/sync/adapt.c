/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/adapt.h"

#define SCORE_MAX 4

/* A stream is kept from 32 KiB a second on: ten thousand links that change now and then must not
 * have one each. */
#define KEEP_LEVEL   (32u << 10)
#define LEVEL_MAX    (4 * KEEP_LEVEL)
#define DRAIN_PER_MS (KEEP_LEVEL / 1000)

void bz_adapt_vote(struct bz_adapt *adapt, uint64_t under_way, uint64_t waiting)
{
    bool network = waiting * 4 < under_way;
    if (network && adapt->score < SCORE_MAX)
        adapt->score++;
    else if (!network && adapt->score > -SCORE_MAX)
        adapt->score--;
}

enum bz_packing bz_adapt_method(const struct bz_adapt *adapt)
{
    bool network = adapt->score > 0 || (adapt->score == 0 && !adapt->near);
    if (adapt->zstd && (network || !adapt->lz4))
        return BZ_PACKING_ZSTD;
    return adapt->lz4 ? BZ_PACKING_LZ4 : BZ_PACKING_NONE;
}

bool bz_adapt_keeps(struct bz_adapt *adapt, size_t size, uint64_t now_ms)
{
    uint64_t drained = (now_ms - adapt->last_ms) * DRAIN_PER_MS;
    adapt->level -= drained < adapt->level ? drained : adapt->level;
    adapt->level += size;
    if (adapt->level > LEVEL_MAX)
        adapt->level = LEVEL_MAX;
    adapt->last_ms = now_ms;
    return adapt->level >= KEEP_LEVEL;
}

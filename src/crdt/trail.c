/* SPDX-License-Identifier: Apache-2.0 */
#include "crdt/replica.h"

/* How near two of three marks lie, against how far back they are: the nearest gives way. */
static bool is_denser(const struct bz_trail *trail, uint32_t a, uint32_t b)
{
    const struct bz_opening_mark *m = trail->marks;
    double near_a = (double)(m[a - 1].start - m[a + 1].start);
    double near_b = (double)(m[b - 1].start - m[b + 1].start);
    double back_a = (double)(m[0].start - m[a + 1].start);
    double back_b = (double)(m[0].start - m[b + 1].start);
    return near_a * back_b < near_b * back_a;
}

/* Takes out one that is neither the newest nor the oldest. */
static void thin(struct bz_trail *trail)
{
    uint32_t least = 1;
    for (uint32_t i = 2; i + 1 < trail->count; i++) {
        if (is_denser(trail, i, least))
            least = i;
    }
    trail->count--;
    memmove(&trail->marks[least], &trail->marks[least + 1],
        (trail->count - least) * sizeof *trail->marks);
}

static void push(struct bz_trail *trail, struct bz_opening_mark mark)
{
    if (trail->count == BZ_TRAIL_MAX)
        thin(trail);
    memmove(&trail->marks[1], trail->marks, trail->count * sizeof *trail->marks);
    trail->marks[0] = mark;
    trail->count++;
}

bool bz_trail_add(struct bz_trail *trail, const struct bz_trail *newer)
{
    if (newer->count > 0 && trail->count > 0 &&
        newer->marks[newer->count - 1].start <= trail->marks[0].start)
        return false;
    for (uint32_t i = newer->count; i > 0; i--)
        push(trail, newer->marks[i - 1]);
    return true;
}

bool bz_trail_read(struct bz_reader *r, uint64_t position, struct bz_trail *trail)
{
    trail->count = bz_read8(r);
    bool sound = r->ok && trail->count <= BZ_TRAIL_MAX;
    for (uint32_t i = 0; sound && i < trail->count; i++) {
        struct bz_opening_mark *mark = &trail->marks[i];
        mark->start = bz_read_varint(r);
        mark->id = bz_read64le(r);
        sound = r->ok && mark->id != 0 && mark->start < (i == 0 ? position : mark[-1].start);
    }
    return sound;
}

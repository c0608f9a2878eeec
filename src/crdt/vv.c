/* SPDX-License-Identifier: Apache-2.0 */
#include "crdt/rec_priv.h"

#include "base/alloc.h"

#include <blazedb/error.h>

/* The first entry whose node is not below `node`. */
static uint32_t lower_bound(const struct bz_vv *vv, uint32_t node)
{
    uint32_t low = 0, high = vv->count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (vv->entries[mid].node < node)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

uint64_t bz_vv_get(const struct bz_vv *vv, uint32_t node)
{
    uint32_t at = lower_bound(vv, node);
    return at < vv->count && vv->entries[at].node == node ? vv->entries[at].seq : 0;
}

bool bz_vv_covers(const struct bz_vv *vv, struct bz_dot dot)
{
    return dot.seq <= bz_vv_get(vv, dot.node);
}

bool bz_vv_includes(const struct bz_vv *a, const struct bz_vv *b)
{
    uint32_t i = 0;
    for (uint32_t j = 0; j < b->count; j++) {
        while (i < a->count && a->entries[i].node < b->entries[j].node)
            i++;
        if (i == a->count || a->entries[i].node != b->entries[j].node ||
            a->entries[i].seq < b->entries[j].seq)
            return false;
    }
    return true;
}

int bz_vv_max(
    struct bz_arena *arena, const struct bz_vv *a, const struct bz_vv *b, struct bz_vv *out)
{
    struct bz_dot *entries = bz_arena_alloc(arena, ((size_t)a->count + b->count) * sizeof *entries);
    if (entries == NULL)
        return BLAZE_ENOMEM;
    uint32_t i = 0, j = 0, n = 0;
    while (i < a->count || j < b->count) {
        const struct bz_dot *x = i < a->count ? &a->entries[i] : NULL;
        const struct bz_dot *y = j < b->count ? &b->entries[j] : NULL;
        i += x != NULL && (y == NULL || x->node <= y->node);
        j += y != NULL && (x == NULL || y->node <= x->node);
        bool first = y == NULL ||
                     (x != NULL && (x->node < y->node || (x->node == y->node && x->seq >= y->seq)));
        entries[n++] = first ? *x : *y;
    }
    *out = (struct bz_vv){entries, n};
    return 0;
}

int bz_vv_copy(struct bz_arena *arena, const struct bz_vv *vv, struct bz_vv *out)
{
    static const struct bz_vv none = {0};
    return bz_vv_max(arena, vv, &none, out);
}

int bz_vv_with(struct bz_arena *arena, const struct bz_vv *vv, struct bz_dot dot, struct bz_vv *out)
{
    struct bz_dot *entries = bz_arena_alloc(arena, ((size_t)vv->count + 1) * sizeof *entries);
    if (entries == NULL)
        return BLAZE_ENOMEM;
    uint32_t at = lower_bound(vv, dot.node);
    bool there = at < vv->count && vv->entries[at].node == dot.node;
    uint32_t after = at + there;
    if (at > 0)
        memcpy(entries, vv->entries, at * sizeof *entries);
    entries[at] = dot;
    if (after < vv->count)
        memcpy(entries + at + 1, vv->entries + after, (vv->count - after) * sizeof *entries);
    *out = (struct bz_vv){entries, vv->count + !there};
    return 0;
}

void bz_vv_lower(struct bz_vv *vv, const struct bz_vv *other)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < vv->count; i++) {
        struct bz_dot entry = vv->entries[i];
        uint64_t seq = bz_vv_get(other, entry.node);
        entry.seq = seq < entry.seq ? seq : entry.seq;
        if (entry.seq > 0)
            vv->entries[kept++] = entry;
    }
    vv->count = kept;
}

void bz_vector_release(struct bz_vector *vector)
{
    bz_free(vector->vv.entries);
    *vector = (struct bz_vector){0};
}

int bz_vector_raise(struct bz_vector *vector, struct bz_dot dot)
{
    struct bz_vv *vv = &vector->vv;
    uint32_t at = lower_bound(vv, dot.node);
    if (at < vv->count && vv->entries[at].node == dot.node) {
        if (vv->entries[at].seq < dot.seq)
            vv->entries[at].seq = dot.seq;
        return 0;
    }
    if (vv->count == vector->capacity) {
        uint32_t wanted = vector->capacity < 8 ? 8 : vector->capacity * 2;
        struct bz_dot *entries = bz_realloc(vv->entries, wanted * sizeof *entries);
        if (entries == NULL)
            return BLAZE_ENOMEM;
        vv->entries = entries;
        vector->capacity = wanted;
    }
    memmove(&vv->entries[at + 1], &vv->entries[at], (vv->count - at) * sizeof *vv->entries);
    vv->entries[at] = dot;
    vv->count++;
    return 0;
}

int bz_vector_raise_all(struct bz_vector *vector, const struct bz_vv *vv)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < vv->count; i++)
        rc = bz_vector_raise(vector, vv->entries[i]);
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each condition on the field at hand gives the set of keys that can satisfy it; `and` intersects
 * the sets, `or` unites them, and all that says nothing about the field is the set of all keys.
 * Exactness goes along: it is lost by conditions on other fields, by `not`, and where the key of a
 * value is cut off, which all longer texts share that begin as it does.
 */
#include "query/ranges_priv.h"

#include "base/alloc.h"
#include "codec/key.h"

#include <stdlib.h>

struct ranging {
    struct bz_arena *arena;
    uint32_t field; /* of the filter; field_count if it does not speak of the path */
    bool ids;
    struct bz_buf scratch;
};

static int ranges_of(struct ranging *g, const struct bz_node *node, struct bz_ranges *out);

static const struct bz_bytes unbounded = {NULL, 0};

/* ---- sets ---- */

static int set_new(struct ranging *g, uint32_t room, struct bz_ranges *out)
{
    *out = (struct bz_ranges){.exact = true};
    out->items = bz_arena_alloc(g->arena, room * sizeof *out->items);
    return out->items == NULL ? BLAZE_ENOMEM : 0;
}

static int set_all(struct ranging *g, struct bz_ranges *out)
{
    int rc = set_new(g, 1, out);
    if (rc != 0)
        return rc;
    out->items[out->count++] = (struct bz_key_range){unbounded, unbounded, false};
    out->exact = false;
    return 0;
}

static bool is_empty(const struct bz_key_range *range)
{
    return range->high.size > 0 && bz_bytes_compare(range->low, range->high) >= 0;
}

/* Orders upper bounds: none is above all. */
static int compare_high(struct bz_bytes a, struct bz_bytes b)
{
    if (a.size == 0 || b.size == 0)
        return (a.size == 0) - (b.size == 0);
    return bz_bytes_compare(a, b);
}

static int compare_ranges(const void *a, const void *b)
{
    const struct bz_key_range *ra = a, *rb = b;
    return bz_bytes_compare(ra->low, rb->low);
}

/* Sorts, drops what is empty, joins what overlaps or touches. */
static void set_normalize(struct bz_ranges *set)
{
    uint32_t kept = 0;
    if (set->count > 0)
        qsort(set->items, set->count, sizeof *set->items, compare_ranges);
    for (uint32_t i = 0; i < set->count; i++) {
        struct bz_key_range range = set->items[i];
        if (is_empty(&range))
            continue;
        struct bz_key_range *last = kept > 0 ? &set->items[kept - 1] : NULL;
        if (last != NULL &&
            (last->high.size == 0 || bz_bytes_compare(range.low, last->high) <= 0)) {
            last->point = last->point && range.point && bz_bytes_equal(range.low, last->low);
            if (compare_high(range.high, last->high) > 0)
                last->high = range.high;
        } else {
            set->items[kept++] = range;
        }
    }
    set->count = kept;
}

static int set_intersect(
    struct ranging *g, const struct bz_ranges *a, const struct bz_ranges *b, struct bz_ranges *out)
{
    int rc = set_new(g, a->count + b->count, out);
    if (rc != 0)
        return rc;
    out->exact = a->exact && b->exact;
    for (uint32_t i = 0, j = 0; i < a->count && j < b->count;) {
        const struct bz_key_range *ra = &a->items[i], *rb = &b->items[j];
        bool a_ends_first = compare_high(ra->high, rb->high) < 0;
        struct bz_key_range both = {
            bz_bytes_compare(ra->low, rb->low) >= 0 ? ra->low : rb->low,
            a_ends_first ? ra->high : rb->high,
            ra->point || rb->point,
        };
        if (!is_empty(&both))
            out->items[out->count++] = both;
        if (a_ends_first)
            i++;
        else
            j++;
    }
    return 0;
}

/* ---- single conditions ---- */

/* Copies the key in `scratch`. */
static int take_key(struct ranging *g, struct bz_bytes *out)
{
    if (g->scratch.error != 0)
        return g->scratch.error;
    *out = bz_arena_copy(g->arena, bz_buf_bytes(&g->scratch));
    return out->data == NULL && g->scratch.size > 0 ? BLAZE_ENOMEM : 0;
}

/* The key of a value; sets *cut if others share it. */
static int key_of(struct ranging *g, const blaze_value *value, bool *cut, struct bz_bytes *out)
{
    bz_buf_clear(&g->scratch);
    if (g->ids)
        bz_buf_append(&g->scratch, value->as.uuid.bytes, sizeof value->as.uuid.bytes);
    else
        bz_index_key_append(&g->scratch, value, cut);
    return take_key(g, out);
}

/* The least key past those that begin with what is in `scratch`; unbounded if there is none. */
static int key_after(struct ranging *g, struct bz_bytes *out)
{
    if (g->scratch.error == 0 && !bz_key_successor(&g->scratch, 0)) {
        *out = unbounded;
        return 0;
    }
    return take_key(g, out);
}

/* All keys of values that compare with this one. */
static int class_of(struct ranging *g, const blaze_value *value, struct bz_key_range *out)
{
    *out = (struct bz_key_range){unbounded, unbounded, false};
    if (g->ids)
        return 0;
    bz_buf_clear(&g->scratch);
    bz_key_append_class(&g->scratch, value, false);
    int rc = take_key(g, &out->low);
    bz_buf_clear(&g->scratch);
    bz_key_append_class(&g->scratch, value, true);
    return rc == 0 ? take_key(g, &out->high) : rc;
}

/* [low, high) of the values equal to this one. */
static int point_of(
    struct ranging *g, const blaze_value *value, bool *cut, struct bz_key_range *out)
{
    out->point = true;
    int rc = key_of(g, value, cut, &out->low);
    return rc == 0 ? key_after(g, &out->high) : rc;
}

static int points(struct ranging *g, const struct bz_node *node, struct bz_ranges *out)
{
    bool cut = false;
    int rc = set_new(g, node->value_count + 1, out);
    for (uint32_t i = 0; rc == 0 && i < node->value_count; i++)
        rc = point_of(g, &node->values[i], &cut, &out->items[out->count++]);
    if (rc != 0)
        return rc;
    set_normalize(out);
    out->exact = !cut;
    return 0;
}

static int one_sided(struct ranging *g, const struct bz_node *node, struct bz_ranges *out)
{
    const blaze_value *value = node->values;
    struct bz_key_range point, range;
    bool cut = false;
    int rc = set_new(g, 1, out);
    if (rc == 0)
        rc = point_of(g, value, &cut, &point);
    if (rc == 0)
        rc = class_of(g, value, &range);
    if (rc != 0)
        return rc;
    switch (node->condition) {
    case BZ_COND_LT:
        range.high = cut ? point.high : point.low;
        break;
    case BZ_COND_LE:
        range.high = point.high;
        break;
    case BZ_COND_GT:
        range.low = cut ? point.low : point.high;
        break;
    default:
        range.low = point.low;
        break;
    }
    out->exact = !cut;
    /* Nothing is greater than the id of all ones, which has no successor. */
    if (node->condition != BZ_COND_GT || range.low.size > 0)
        out->items[out->count++] = range;
    set_normalize(out);
    return 0;
}

static int prefixed(struct ranging *g, const struct bz_node *node, struct bz_ranges *out)
{
    bool cut = false;
    int rc = set_new(g, 1, out);
    bz_buf_clear(&g->scratch);
    bz_key_append_prefix(&g->scratch, node->values, BZ_INDEX_KEY_MAX, &cut);
    struct bz_key_range range = {unbounded, unbounded, false};
    if (rc == 0)
        rc = take_key(g, &range.low);
    if (rc == 0)
        rc = key_after(g, &range.high);
    if (rc == 0)
        out->items[out->count++] = range;
    out->exact = !cut;
    return rc;
}

/* All keys but that of absent fields. */
static int existing(struct ranging *g, struct bz_ranges *out)
{
    int rc = set_all(g, out);
    out->exact = true;
    if (rc != 0 || g->ids)
        return rc;
    bz_buf_clear(&g->scratch);
    bz_key_append_class(&g->scratch, &(blaze_value){.type = BLAZE_NULL}, false);
    return take_key(g, &out->items[0].low);
}

/* ---- trees ---- */

static int all_of(struct ranging *g, const struct bz_node *node, struct bz_ranges *out)
{
    int rc = ranges_of(g, node->child, out);
    for (const struct bz_node *n = node->child->next; rc == 0 && n != NULL; n = n->next) {
        struct bz_ranges left = *out, right;
        rc = ranges_of(g, n, &right);
        if (rc == 0)
            rc = set_intersect(g, &left, &right, out);
    }
    return rc;
}

/* All children's ranges are collected before they are joined, so that a long chain stays linear. */
static int any_of(struct ranging *g, const struct bz_node *node, struct bz_ranges *out)
{
    struct bz_ranges joined = {.exact = true};
    uint32_t room = 0;
    for (const struct bz_node *n = node->child; n != NULL; n = n->next) {
        struct bz_ranges one;
        int rc = ranges_of(g, n, &one);
        if (rc != 0)
            return rc;
        joined.exact = joined.exact && one.exact;
        if (joined.count + one.count > room) {
            room = (joined.count + one.count) * 2;
            struct bz_key_range *items = bz_arena_alloc(g->arena, room * sizeof *items);
            if (items == NULL)
                return BLAZE_ENOMEM;
            if (joined.count > 0)
                memcpy(items, joined.items, joined.count * sizeof *items);
            joined.items = items;
        }
        if (one.count > 0)
            memcpy(joined.items + joined.count, one.items, one.count * sizeof *one.items);
        joined.count += one.count;
    }
    set_normalize(&joined);
    *out = joined;
    return 0;
}

static int ranges_of(struct ranging *g, const struct bz_node *node, struct bz_ranges *out)
{
    if (node->condition == BZ_COND_AND)
        return all_of(g, node, out);
    if (node->condition == BZ_COND_OR)
        return any_of(g, node, out);
    if (node->condition == BZ_COND_NOT || node->field != g->field)
        return set_all(g, out);
    switch (node->condition) {
    case BZ_COND_EQ:
    case BZ_COND_IN:
        return points(g, node, out);
    case BZ_COND_LT:
    case BZ_COND_LE:
    case BZ_COND_GT:
    case BZ_COND_GE:
        return one_sided(g, node, out);
    case BZ_COND_STARTS:
        return prefixed(g, node, out);
    case BZ_COND_EXISTS:
        return existing(g, out);
    default:
        return set_all(g, out);
    }
}

int bz_ranges_of(struct bz_arena *arena, const struct bz_filter *filter, const struct bz_path *path,
    struct bz_ranges *out)
{
    struct ranging g = {.arena = arena, .ids = path->count == 0};
    while (g.field < filter->field_count && !bz_path_equal(&filter->fields[g.field], path))
        g.field++;
    bz_buf_init(&g.scratch, BZ_FILTER_TEXT_MAX * 4);
    int rc = ranges_of(&g, filter->root, out);
    bz_buf_release(&g.scratch);
    return rc;
}

/* ---- what they are worth ---- */

enum bz_narrowness bz_ranges_narrowness(const struct bz_ranges *ranges, bool ids)
{
    enum bz_narrowness worst = BZ_RANGES_POINTS;
    size_t class_size = ids ? 0 : 1; /* of a bound that is only that of a class */
    for (uint32_t i = 0; i < ranges->count; i++) {
        const struct bz_key_range *range = &ranges->items[i];
        bool low = range->low.size > class_size, high = range->high.size > class_size;
        enum bz_narrowness one = low && high   ? BZ_RANGES_BOTH
                                 : low || high ? BZ_RANGES_HALF
                                               : BZ_RANGES_ALL;
        if (range->point)
            one = BZ_RANGES_POINTS;
        worst = one < worst ? one : worst;
    }
    return worst;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Choosing how to walk. There are no statistics: the form of the key ranges that the filter leaves
 * of a source tells how much it narrows down, and single keys beat two bounds, which beat one.
 * Between equals the one that gives the order wins, then records over an index, whose entries lead
 * to records that must be fetched one by one. If nothing narrows, an index that gives the order is
 * walked whole: it needs no memory and stops at the limit.
 */
#include "query/ranges_priv.h"

#include "codec/key.h"

/* Below the class of any value (codec/key.c). */
#define KEY_ABSENT 0x08

void bz_index_key_append(struct bz_buf *out, const blaze_value *value, bool *cut)
{
    if (value == NULL)
        bz_buf_append8(out, KEY_ABSENT);
    else
        bz_key_append(out, value, BZ_INDEX_KEY_MAX, cut);
}

static const struct bz_path id_path = {NULL, 0};

/* All that a choice looks at. */
struct choice {
    struct bz_plan plan;
    enum bz_narrowness narrowness;
};

static int all_ranges(struct bz_arena *arena, struct bz_ranges *out)
{
    out->items = bz_arena_zalloc(arena, sizeof *out->items);
    out->count = 1;
    out->exact = true;
    return out->items == NULL ? BLAZE_ENOMEM : 0;
}

/* Whether walking these ranges of a source gives the order of `sort`. Entries of one key are in the
 * order of their ids. */
static bool gives_order(
    const struct bz_path *source, const struct bz_ranges *ranges, const struct bz_path *sort)
{
    if (bz_path_equal(source, sort) || ranges->count == 0)
        return true;
    return sort->count == 0 && ranges->count == 1 && ranges->items[0].point;
}

static int consider(struct bz_arena *arena, const struct bz_filter *filter,
    const struct bz_path *source, const struct bz_path *sort, struct choice *out)
{
    struct bz_ranges ranges;
    int rc =
        filter == NULL ? all_ranges(arena, &ranges) : bz_ranges_of(arena, filter, source, &ranges);
    if (rc != 0)
        return rc;
    out->narrowness = bz_ranges_narrowness(&ranges, source->count == 0);
    out->plan.ranges = ranges.items;
    out->plan.range_count = ranges.count;
    out->plan.exact = ranges.exact;
    out->plan.ordered = gives_order(source, &ranges, sort);
    return 0;
}

static bool is_better(const struct choice *a, const struct choice *b)
{
    if (a->narrowness != b->narrowness)
        return a->narrowness > b->narrowness;
    if (a->plan.ordered != b->plan.ordered)
        return a->plan.ordered;
    if (a->plan.source != b->plan.source)
        return a->plan.source == BZ_PLAN_RECORDS;
    return a->plan.range_count < b->plan.range_count;
}

int bz_plan_make(struct bz_arena *arena, const struct bz_filter *filter, const struct bz_path *sort,
    bool descending, const struct bz_plan_index *indexes, uint32_t index_count, struct bz_plan *out)
{
    struct choice best = {.plan.source = BZ_PLAN_RECORDS};
    if (sort == NULL)
        sort = &id_path;
    int rc = consider(arena, filter, &id_path, sort, &best);
    for (uint32_t i = 0; rc == 0 && i < index_count; i++) {
        struct choice choice = {.plan = {.source = BZ_PLAN_INDEX, .index = i}};
        struct bz_path path;
        rc = bz_path_parse(arena, bz_bytes_text(indexes[i].path), &path, NULL);
        if (rc == BLAZE_ESYNTAX || rc == BLAZE_ELIMIT) {
            rc = 0;
            continue;
        }
        if (rc == 0)
            rc = consider(arena, filter, &path, sort, &choice);
        if (rc == 0 && is_better(&choice, &best))
            best = choice;
    }
    if (rc != 0)
        return rc;
    best.plan.descending = descending;
    *out = best.plan;
    return 0;
}

static void put(struct bz_buf *out, const char *text)
{
    bz_buf_append(out, text, strlen(text));
}

static void explain_source(
    const struct bz_plan *plan, const struct bz_plan_index *indexes, struct bz_buf *out)
{
    bool all =
        plan->range_count == 1 && plan->ranges[0].low.size == 0 && plan->ranges[0].high.size == 0;
    bool points = plan->range_count > 0;
    for (uint32_t i = 0; i < plan->range_count; i++)
        points = points && plan->ranges[i].point;
    if (plan->source == BZ_PLAN_INDEX)
        bz_buf_printf(out, "index %s on %s", indexes[plan->index].name, indexes[plan->index].path);
    else
        put(out, "records");
    if (all)
        put(out, ", all");
    else
        bz_buf_printf(out, ", %lu %s%s", (unsigned long)plan->range_count, points ? "key" : "range",
            plan->range_count == 1 ? "" : "s");
    if (plan->ordered && plan->descending)
        put(out, ", backwards");
}

void bz_plan_explain(const struct bz_plan *plan, const struct bz_filter *filter,
    const struct bz_path *sort, const struct bz_plan_index *indexes, uint64_t limit,
    struct bz_buf *out)
{
    explain_source(plan, indexes, out);
    if (filter != NULL && !plan->exact) {
        put(out, "; check ");
        bz_filter_to_text(filter, out);
    }
    if (!plan->ordered) {
        put(out, "; sort by ");
        bz_path_to_text(sort != NULL ? sort : &id_path, out);
        put(out, plan->descending ? " descending" : "");
    }
    if (limit > 0)
        bz_buf_printf(out, "; first %llu", (unsigned long long)limit);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The frames with which replicas compare records: RANGES and ITEMS. */
#include "sync/frame.h"

#define NAME_MAX 4096u

enum { RANGES_WHOLE = 1 };

/* Whether `id` is behind all that came before. */
static bool goes_on(const struct bz_span *span, const blaze_id *id)
{
    return span->whole || memcmp(id, &span->after, sizeof *id) > 0;
}

static void move_on(struct bz_span *span, const blaze_id *id)
{
    span->whole = false;
    span->after = *id;
}

/* ---- RANGES ---- */

void bz_asked_ranges_encode(struct bz_buf *out, const struct bz_asked_ranges *ranges)
{
    bz_buf_append_sized(out, ranges->collection);
    bz_buf_append8(out, ranges->span.whole ? RANGES_WHOLE : 0);
    bz_buf_append(out, &ranges->span.after, sizeof ranges->span.after);
    bz_buf_append_varint(out, ranges->count);
}

void bz_range_append(struct bz_buf *out, const struct bz_asked_range *range)
{
    bz_buf_append(out, &range->last, sizeof range->last);
    bz_buf_append_varint(out, range->records);
    bz_buf_append64le(out, range->digest.low);
    bz_buf_append64le(out, range->digest.high);
}

int bz_asked_ranges_decode(struct bz_bytes payload, struct bz_asked_ranges *out)
{
    struct bz_asked_ranges ranges = {.rest = bz_reader(payload)};
    ranges.collection = bz_read_sized(&ranges.rest);
    ranges.span.whole = (bz_read8(&ranges.rest) & RANGES_WHOLE) != 0;
    bz_read_into(&ranges.rest, &ranges.span.after, sizeof(blaze_id));
    ranges.count = bz_read_varint(&ranges.rest);
    if (!ranges.rest.ok || ranges.collection.size == 0 || ranges.collection.size > NAME_MAX ||
        ranges.count == 0 || ranges.count > BZ_RANGES_MAX)
        return BLAZE_EPROTO;
    *out = ranges;
    return 0;
}

int bz_asked_ranges_next(struct bz_asked_ranges *ranges, struct bz_asked_range *out)
{
    if (ranges->count == 0)
        return BLAZE_END;
    struct bz_asked_range range;
    bz_read_into(&ranges->rest, &range.last, sizeof(blaze_id));
    range.records = bz_read_varint(&ranges->rest);
    range.digest.low = bz_read64le(&ranges->rest);
    range.digest.high = bz_read64le(&ranges->rest);
    if (!ranges->rest.ok || range.records > BZ_RANGE_RECORDS_MAX ||
        !goes_on(&ranges->span, &range.last))
        return BLAZE_EPROTO;
    ranges->count--;
    move_on(&ranges->span, &range.last);
    *out = range;
    return 0;
}

/* ---- ITEMS ---- */

void bz_item_append(struct bz_buf *out, const struct bz_item *item)
{
    bz_buf_append8(out, (uint8_t)item->kind);
    if (item->kind == BZ_ITEM_EQUAL)
        return;
    if (item->kind == BZ_ITEM_PART)
        bz_buf_append(out, &item->last, sizeof item->last);
    bz_buf_append_varint(out, item->count);
    bz_buf_append(out, item->ids, item->count * sizeof *item->ids);
}

int bz_items_decode(struct bz_bytes payload, struct bz_items *out)
{
    struct bz_items items = {.rest = bz_reader(payload)};
    items.count = bz_read_varint(&items.rest);
    if (!items.rest.ok || items.count == 0 || items.count > BZ_RANGES_MAX)
        return BLAZE_EPROTO;
    *out = items;
    return 0;
}

/* A list of ids, ascending, in the span and up to item->last. */
static int read_ids(struct bz_reader *r, const struct bz_span *span, struct bz_item *item)
{
    uint64_t n = bz_read_varint(r);
    if (!r->ok || n > BZ_ITEM_IDS_MAX || n > bz_reader_left(r) / sizeof *item->ids)
        return BLAZE_EPROTO;
    item->count = (uint32_t)n;
    item->ids = (const blaze_id *)(const void *)bz_read_bytes(r, n * sizeof *item->ids).data;
    for (uint32_t i = 0; i < item->count; i++) {
        const blaze_id *id = &item->ids[i];
        bool follows = i > 0 ? memcmp(id, id - 1, sizeof *id) > 0 : goes_on(span, id);
        if (!follows || memcmp(id, &item->last, sizeof *id) > 0)
            return BLAZE_EPROTO;
    }
    return 0;
}

int bz_items_next(
    struct bz_items *items, struct bz_span *span, const blaze_id *asked, struct bz_item *out)
{
    if (items->count == 0)
        return BLAZE_END;
    struct bz_item item = {.last = *asked};
    uint8_t kind = bz_read8(&items->rest);
    if (!items->rest.ok || kind > BZ_ITEM_PART || (kind == BZ_ITEM_PART && items->count > 1))
        return BLAZE_EPROTO;
    item.kind = (enum bz_item_kind)kind;
    if (kind == BZ_ITEM_PART) {
        bz_read_into(&items->rest, &item.last, sizeof(blaze_id));
        if (!items->rest.ok || memcmp(&item.last, asked, sizeof *asked) > 0 ||
            !goes_on(span, &item.last))
            return BLAZE_EPROTO;
    }
    int rc = kind == BZ_ITEM_EQUAL ? 0 : read_ids(&items->rest, span, &item);
    if (rc != 0)
        return rc;
    items->count--;
    move_on(span, &item.last);
    *out = item;
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every decoder of the wire: the first byte picks one, the rest is its payload. What decodes must
 * encode to something that decodes to the same.
 */
#include "require.h"
#include "sync/frame.h"
#include "sync/pack.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Decodes, encodes, decodes, encodes: both encodings must be the same. */
#define ROUND_TRIP(type, name)                                                                     \
    static void check_##name(struct bz_bytes payload)                                              \
    {                                                                                              \
        struct type first, second;                                                                 \
        struct bz_buf a, b;                                                                        \
        memset(&first, 0, sizeof first);                                                           \
        memset(&second, 0, sizeof second);                                                         \
        if (name##_decode(payload, &first) != 0)                                                   \
            return;                                                                                \
        bz_buf_init(&a, 1u << 24);                                                                 \
        bz_buf_init(&b, 1u << 24);                                                                 \
        name##_encode(&a, &first);                                                                 \
        REQUIRE(a.error == 0);                                                                     \
        REQUIRE(name##_decode(bz_buf_bytes(&a), &second) == 0);                                    \
        name##_encode(&b, &second);                                                                \
        REQUIRE(bz_bytes_equal(bz_buf_bytes(&a), bz_buf_bytes(&b)));                               \
        bz_buf_release(&a);                                                                        \
        bz_buf_release(&b);                                                                        \
    }

ROUND_TRIP(bz_hello, bz_hello)
ROUND_TRIP(bz_enrol, bz_enrol)
ROUND_TRIP(bz_proof, bz_proof)
ROUND_TRIP(bz_welcome, bz_welcome)
ROUND_TRIP(bz_goodbye, bz_goodbye)
ROUND_TRIP(bz_resume, bz_resume)
ROUND_TRIP(bz_ack, bz_ack)
ROUND_TRIP(bz_chunk, bz_chunk)

static void check_frames(struct bz_bytes input)
{
    uint8_t type;
    struct bz_bytes payload;
    size_t size;
    int rc;
    while ((rc = bz_frame_peek(input, &type, &payload, &size)) == 0) {
        REQUIRE(size > 0 && size <= input.size && payload.size < size);
        struct bz_buf again;
        bz_buf_init(&again, 1u << 24);
        bz_frame_append(&again, type, payload);
        REQUIRE(bz_bytes_equal(bz_buf_bytes(&again), bz_bytes(input.data, size)));
        bz_buf_release(&again);
        input = bz_bytes(input.data + size, input.size - size);
    }
    REQUIRE(rc == BLAZE_END || rc == BLAZE_EPROTO);
    REQUIRE(rc != BLAZE_END || size == 0 || size > input.size);
}

/* Whatever is given out can be read. */
static void touch(struct bz_bytes bytes)
{
    static volatile uint8_t last;
    for (size_t i = 0; i < bytes.size; i++)
        last = bytes.data[i];
    (void)last;
}

static void check_body(struct bz_bytes bytes, bool head)
{
    struct bz_body_reader body;
    struct bz_definition definition;
    struct bz_record record;
    struct bz_body_head fixed;
    struct bz_dot entry;
    int rc = bz_body_definitions(&body, bytes, false);
    while (rc == 0 && (rc = bz_body_next_definition(&body, &definition)) == 0) {
        REQUIRE(definition.number < BZ_TERMS_DEFINED_MAX);
        touch(definition.meaning);
    }
    if (rc == BLAZE_END)
        rc = bz_body_records(&body);
    while (rc == 0 && (rc = bz_body_next_record(&body, &record)) == 0)
        touch(record.rec);
    if (rc == BLAZE_END && head)
        rc = bz_body_head(&body, &fixed);
    while (rc == 0 && (rc = bz_body_next_entry(&body, &entry)) == 0)
        REQUIRE(entry.seq > 0);
    if (rc == BLAZE_END)
        rc = bz_body_end(&body);
    REQUIRE(rc == 0 || rc == BLAZE_EPROTO);
}

static void check_have(struct bz_bytes bytes)
{
    struct bz_have have;
    struct bz_buf again;
    struct bz_bytes left = bytes;
    uint32_t known = 0;
    int rc;
    bz_buf_init(&again, 1u << 24);
    while ((rc = bz_have_next(&left, known, &have)) == 0) {
        REQUIRE(have.index <= known && have.named == (have.index == known) && have.advance > 0);
        known += have.named;
        bz_have_append(&again, &have);
    }
    REQUIRE(known <= BZ_HAVE_MAX && (rc == BLAZE_END || rc == BLAZE_EPROTO));
    REQUIRE(rc != BLAZE_END || bz_bytes_equal(bz_buf_bytes(&again), bytes));
    bz_buf_release(&again);
}

static void check_covered(struct bz_bytes bytes)
{
    struct bz_coverage first = {0}, second = {0};
    struct bz_arena arena;
    struct bz_buf a, b;
    bz_arena_init(&arena);
    bz_buf_init(&a, 1u << 24);
    bz_buf_init(&b, 1u << 24);
    int rc = bz_covered_decode(bytes, &arena, &first);
    REQUIRE(rc == 0 || rc == BLAZE_EPROTO);
    if (rc == 0 && first.count > 0) {
        REQUIRE(bz_covered_encode(&a, &arena, &first, true) == 0);
        REQUIRE(bz_covered_decode(bz_buf_bytes(&a), &arena, &second) == 0);
        REQUIRE(bz_covered_encode(&b, &arena, &second, true) == 0);
        REQUIRE(bz_bytes_equal(bz_buf_bytes(&a), bz_buf_bytes(&b)));
    }
    bz_buf_release(&a);
    bz_buf_release(&b);
    bz_arena_release(&arena);
}

static int read_ranges(struct bz_bytes bytes, struct bz_asked_ranges *fixed, struct bz_buf *again)
{
    struct bz_asked_range range;
    struct bz_span before;
    int rc = bz_asked_ranges_decode(bytes, fixed);
    if (rc != 0)
        return rc;
    struct bz_asked_ranges ranges = *fixed;
    bz_asked_ranges_encode(again, fixed);
    touch(ranges.collection);
    for (before = ranges.span; (rc = bz_asked_ranges_next(&ranges, &range)) == 0;
         before = ranges.span) {
        REQUIRE(range.records <= BZ_RANGE_RECORDS_MAX);
        REQUIRE(before.whole || memcmp(&range.last, &before.after, sizeof range.last) > 0);
        REQUIRE(
            !ranges.span.whole && memcmp(&range.last, &ranges.span.after, sizeof range.last) == 0);
        bz_range_append(again, &range);
    }
    return rc;
}

static void check_ranges(struct bz_bytes bytes)
{
    struct bz_asked_ranges fixed, second;
    struct bz_buf a, b;
    bz_buf_init(&a, 1u << 24);
    bz_buf_init(&b, 1u << 24);
    int rc = read_ranges(bytes, &fixed, &a);
    REQUIRE(rc == BLAZE_END || rc == BLAZE_EPROTO);
    if (rc == BLAZE_END) {
        REQUIRE(read_ranges(bz_buf_bytes(&a), &second, &b) == BLAZE_END);
        REQUIRE(bz_bytes_equal(bz_buf_bytes(&a), bz_buf_bytes(&b)));
        REQUIRE(second.count == fixed.count && second.span.whole == fixed.span.whole);
    }
    bz_buf_release(&a);
    bz_buf_release(&b);
}

/* Asked for were ranges that end at 10..., 20... and so on. */
static int read_items(struct bz_bytes bytes, struct bz_buf *again)
{
    struct bz_items items;
    struct bz_item item;
    struct bz_span span = {.whole = true};
    blaze_id asked = {{0}};
    int rc = bz_items_decode(bytes, &items);
    if (rc != 0)
        return rc;
    bz_buf_append_varint(again, items.count);
    for (uint8_t i = 1; rc == 0; i++) {
        struct bz_span before = span;
        asked.bytes[0] = (uint8_t)(i < 16 ? i << 4 : 0xff);
        asked.bytes[1] = i;
        rc = bz_items_next(&items, &span, &asked, &item);
        if (rc != 0)
            break;
        REQUIRE(memcmp(&item.last, &asked, sizeof asked) <= 0);
        REQUIRE(!span.whole && memcmp(&span.after, &item.last, sizeof asked) == 0);
        REQUIRE(item.kind == BZ_ITEM_PART || memcmp(&item.last, &asked, sizeof asked) == 0);
        for (uint32_t k = 0; item.kind != BZ_ITEM_EQUAL && k < item.count; k++) {
            const blaze_id *floor = k > 0 ? &item.ids[k - 1] : &before.after;
            REQUIRE((k == 0 && before.whole) || memcmp(floor, &item.ids[k], sizeof asked) < 0);
            REQUIRE(memcmp(&item.ids[k], &item.last, sizeof asked) <= 0);
        }
        bz_item_append(again, &item);
    }
    return rc;
}

static void check_items(struct bz_bytes bytes)
{
    struct bz_buf a, b;
    bz_buf_init(&a, 1u << 24);
    bz_buf_init(&b, 1u << 24);
    int rc = read_items(bytes, &a);
    REQUIRE(rc == BLAZE_END || rc == BLAZE_EPROTO);
    if (rc == BLAZE_END) {
        REQUIRE(read_items(bz_buf_bytes(&a), &b) == BLAZE_END);
        REQUIRE(bz_bytes_equal(bz_buf_bytes(&a), bz_buf_bytes(&b)));
    }
    bz_buf_release(&a);
    bz_buf_release(&b);
}

static void check_packed(struct bz_bytes bytes)
{
    if (bytes.size < 2)
        return;
    struct bz_packer packer = {0};
    struct bz_buf raw;
    size_t size = bz_load16le(bytes.data);
    bz_buf_init(&raw, 1u << 16);
    bytes = bz_bytes(bytes.data + 2, bytes.size - 2);
    for (int packing = BZ_PACKING_LZ4; packing <= BZ_PACKING_ZSTD_ON; packing++) {
        bz_buf_clear(&raw);
        int rc = bz_unpack(&packer, (enum bz_packing)packing, bytes, size, &raw);
        REQUIRE(rc == 0 ? raw.size == size : rc == BLAZE_EPROTO);
    }
    bz_buf_release(&raw);
    bz_packer_release(&packer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct bz_bytes payload = bz_bytes(data + 1, size - 1);
    /* The corpus was made when there were fourteen of the others. */
    switch (data[0] < 0xf0 ? data[0] % 14 : data[0]) {
    case 0xf0:
        check_ranges(payload);
        break;
    case 0xf1:
        check_items(payload);
        break;
    case 0:
        check_frames(payload);
        break;
    case 1:
        check_bz_hello(payload);
        break;
    case 2:
        check_bz_enrol(payload);
        break;
    case 3:
        check_bz_proof(payload);
        break;
    case 4:
        check_bz_welcome(payload);
        break;
    case 5:
        check_bz_goodbye(payload);
        break;
    case 6:
        check_bz_resume(payload);
        break;
    case 7:
        check_bz_chunk(payload);
        break;
    case 8:
        check_bz_ack(payload);
        break;
    case 9:
        check_body(payload, false);
        break;
    case 10:
        check_body(payload, true);
        break;
    case 11:
        check_have(payload);
        break;
    case 12:
        check_packed(payload);
        break;
    default:
        check_covered(payload);
    }
    return 0;
}

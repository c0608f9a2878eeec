/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include "random.h"
#include "sync/adapt.h"
#include "sync/pack.h"

#include <stdlib.h>
#include <string.h>

#define SIZE_MAX_HERE ((size_t)64 << 20)

static void fill_words(struct bz_buf *out, size_t size, struct rng *rng)
{
    bz_buf_clear(out);
    while (out->size < size)
        bz_buf_printf(out, "{\"name\":\"item %u\",\"kind\":\"thing\",\"place\":\"shelf %u\"},",
            (unsigned)(rng_next(rng) % 1000), (unsigned)(rng_next(rng) % 50));
    out->size = size;
}

static void fill_noise(struct bz_buf *out, size_t size, struct rng *rng)
{
    bz_buf_clear(out);
    while (out->size < size)
        bz_buf_append8(out, (uint8_t)rng_next(rng));
}

struct bench {
    struct bz_packer there, here;
    struct bz_buf raw, packed, back;
    struct rng rng;
};

static void setup(struct bench *b, uint64_t seed)
{
    *b = (struct bench){.rng = {seed}};
    bz_buf_init(&b->raw, SIZE_MAX_HERE);
    bz_buf_init(&b->packed, SIZE_MAX_HERE);
    bz_buf_init(&b->back, SIZE_MAX_HERE);
}

static void teardown(struct bench *b)
{
    bz_packer_release(&b->there);
    bz_packer_release(&b->here);
    bz_buf_release(&b->raw);
    bz_buf_release(&b->packed);
    bz_buf_release(&b->back);
}

/* Packs what is in `raw`, and unless it stays as it is unpacks and compares it. */
static enum bz_packing send(struct bench *b, enum bz_packing method, bool last)
{
    bz_buf_clear(&b->packed);
    bz_buf_clear(&b->back);
    enum bz_packing packing = bz_pack(&b->there, method, last, bz_buf_bytes(&b->raw), &b->packed);
    if (packing == BZ_PACKING_NONE) {
        assert_int_equal(b->packed.size, 0);
        return packing;
    }
    assert_true(b->packed.size < b->raw.size);
    assert_int_equal(
        bz_unpack(&b->here, packing, bz_buf_bytes(&b->packed), b->raw.size, &b->back), 0);
    assert_int_equal(b->back.size, b->raw.size);
    assert_memory_equal(b->back.data, b->raw.data, b->raw.size);
    return packing;
}

static void what_is_packed_comes_out_again_in_any_mix(void **state)
{
    (void)state;
    uint64_t first = test_seed(), rounds = test_rounds(20, 200);
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct bench b;
        setup(&b, seed);
        unsigned seen[4] = {0};
        for (int i = 0; i < 60; i++) {
            size_t size = (size_t)1 << rng_next(&b.rng) % 19;
            size += rng_next(&b.rng) % size;
            if (rng_next(&b.rng) % 8 == 0)
                fill_noise(&b.raw, size, &b.rng);
            else
                fill_words(&b.raw, size, &b.rng);
            seen[send(&b, 1 + rng_next(&b.rng) % 2, rng_next(&b.rng) % 5 == 0)]++;
        }
        assert_true(seen[BZ_PACKING_NONE] > 0 && seen[BZ_PACKING_LZ4] > 0);
        assert_true(seen[BZ_PACKING_ZSTD] > 0 && seen[BZ_PACKING_ZSTD_ON] > 0);
        teardown(&b);
    }
}

static void small_chunks_of_a_stream_shrink_by_what_came_before(void **state)
{
    (void)state;
    struct bench b;
    size_t alone = 0, streamed = 0;
    setup(&b, 1);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < 50; i++) {
            fill_words(&b.raw, 300, &b.rng);
            send(&b, BZ_PACKING_ZSTD, pass == 0);
            *(pass == 0 ? &alone : &streamed) += b.packed.size;
        }
    }
    assert_true(streamed * 3 < alone * 2);
    teardown(&b);
}

static void noise_is_left_as_it_is_and_not_tried_every_time(void **state)
{
    (void)state;
    struct bench b;
    unsigned tried = 0;
    setup(&b, 2);
    fill_noise(&b.raw, 100000, &b.rng);
    for (int i = 0; i < 160; i++) {
        tried += b.there.skip == 0;
        assert_int_equal(send(&b, BZ_PACKING_ZSTD, false), BZ_PACKING_NONE);
        assert_null(b.there.compressor); /* a look at a sample was enough */
    }
    assert_in_range(tried, 4, 16);
    /* Words again are found out soon, and from then on packed at once. */
    fill_words(&b.raw, 100000, &b.rng);
    unsigned as_they_are = 0;
    while (send(&b, BZ_PACKING_ZSTD, false) == BZ_PACKING_NONE)
        as_they_are++;
    assert_true(as_they_are <= 15);
    for (int i = 0; i < 20; i++)
        assert_int_equal(send(&b, BZ_PACKING_ZSTD, false), BZ_PACKING_ZSTD_ON);
    teardown(&b);
}

static void noise_within_a_stream_does_not_break_it(void **state)
{
    (void)state;
    struct bench b;
    setup(&b, 3);
    for (int i = 0; i < 100; i++) {
        /* Too small for the sample, so that the stream has to find out itself. */
        if (i % 10 == 9)
            fill_noise(&b.raw, 2000, &b.rng);
        else
            fill_words(&b.raw, 2000, &b.rng);
        send(&b, BZ_PACKING_ZSTD, false);
    }
    teardown(&b);
}

static void a_stream_that_is_ended_or_given_up_costs_nothing_more(void **state)
{
    (void)state;
    struct bench b;
    setup(&b, 4);
    fill_words(&b.raw, 5000, &b.rng);
    assert_int_equal(send(&b, BZ_PACKING_ZSTD, false), BZ_PACKING_ZSTD);
    assert_true(b.there.writing && b.here.reading);
    assert_int_equal(send(&b, BZ_PACKING_ZSTD, true), BZ_PACKING_ZSTD_ON);
    assert_false(b.there.writing || b.here.reading);
    assert_int_equal(send(&b, BZ_PACKING_ZSTD, false), BZ_PACKING_ZSTD);
    bz_packer_release(&b.there);
    bz_packer_release(&b.here);
    assert_false(b.there.writing || b.here.reading);
    assert_null(b.there.compressor);
    assert_null(b.here.decompressor);
    teardown(&b);
}

/* ---- hostile ---- */

static void any_changed_byte_is_refused_or_makes_as_many_bytes(void **state)
{
    (void)state;
    struct bench b;
    unsigned refused = 0;
    setup(&b, 5);
    fill_words(&b.raw, 600, &b.rng);
    for (int method = BZ_PACKING_LZ4; method <= BZ_PACKING_ZSTD; method++) {
        bz_buf_clear(&b.packed);
        enum bz_packing packing =
            bz_pack(&b.there, (enum bz_packing)method, false, bz_buf_bytes(&b.raw), &b.packed);
        assert_int_equal(packing, method);
        for (size_t bit = 0; bit < b.packed.size * 8; bit++) {
            uint8_t *copy = malloc(b.packed.size); /* so that reading past it is seen */
            memcpy(copy, b.packed.data, b.packed.size);
            copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
            bz_buf_clear(&b.back);
            int rc =
                bz_unpack(&b.here, packing, bz_bytes(copy, b.packed.size), b.raw.size, &b.back);
            assert_true(rc == 0 || rc == BLAZE_EPROTO);
            assert_int_equal(b.back.size, rc == 0 ? b.raw.size : 0);
            refused += rc != 0;
            free(copy);
        }
    }
    assert_true(refused > 100);
    teardown(&b);
}

static void a_stream_cannot_go_on_before_it_began_or_after_it_was_broken(void **state)
{
    (void)state;
    struct bench b;
    setup(&b, 6);
    fill_words(&b.raw, 1000, &b.rng);
    send(&b, BZ_PACKING_ZSTD, false);
    bz_packer_rest_decompressor(&b.here);
    bz_buf_clear(&b.packed);
    bz_buf_clear(&b.back);
    assert_int_equal(bz_pack(&b.there, BZ_PACKING_ZSTD, false, bz_buf_bytes(&b.raw), &b.packed),
        BZ_PACKING_ZSTD_ON);
    struct bz_bytes packed = bz_buf_bytes(&b.packed);
    assert_int_equal(
        bz_unpack(&b.here, BZ_PACKING_ZSTD_ON, packed, b.raw.size, &b.back), BLAZE_EPROTO);
    /* What goes on is no beginning. */
    assert_int_equal(
        bz_unpack(&b.here, BZ_PACKING_ZSTD, packed, b.raw.size, &b.back), BLAZE_EPROTO);
    assert_false(b.here.reading);
    assert_int_equal(b.back.size, 0);
    teardown(&b);
}

static void windows_that_are_too_large_are_refused(void **state)
{
    (void)state;
    struct bench b;
    setup(&b, 7);
    /* A frame header: magic, no flags, a window of 2^(10 + n); then a last raw block of 1 byte. */
    for (unsigned n = 0; n < 31; n++) {
        uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd, 0, (uint8_t)(n << 3), 0x09, 0, 0, 'x'};
        bz_buf_clear(&b.back);
        int rc = bz_unpack(&b.here, BZ_PACKING_ZSTD, bz_bytes(frame, sizeof frame), 1, &b.back);
        assert_int_equal(rc, n <= 10 ? 0 : BLAZE_EPROTO);
    }
    teardown(&b);
}

static void a_size_beyond_the_room_is_refused_before_anything_is_allocated(void **state)
{
    (void)state;
    struct bench b;
    setup(&b, 8);
    assert_int_equal(
        bz_unpack(&b.here, BZ_PACKING_ZSTD, bz_bytes_text("anything"), SIZE_MAX_HERE + 1, &b.back),
        BLAZE_ELIMIT);
    assert_int_equal(b.back.capacity, 0);
    assert_null(b.here.decompressor);
    teardown(&b);
}

/* ---- which one ---- */

static void the_votes_decide_and_one_alone_does_not_turn_them(void **state)
{
    (void)state;
    struct bz_adapt a = {.lz4 = true, .zstd = true};
    assert_int_equal(bz_adapt_method(&a), BZ_PACKING_ZSTD);
    for (int i = 0; i < 10; i++)
        bz_adapt_vote(&a, 500000, 200000); /* the peer has enough to do */
    assert_int_equal(bz_adapt_method(&a), BZ_PACKING_LZ4);
    bz_adapt_vote(&a, 500000, 0); /* the network has it all */
    assert_int_equal(bz_adapt_method(&a), BZ_PACKING_LZ4);
    for (int i = 0; i < 10; i++)
        bz_adapt_vote(&a, 500000, 0);
    assert_int_equal(bz_adapt_method(&a), BZ_PACKING_ZSTD);
    bz_adapt_vote(&a, 0, 0); /* nothing under way: we were too slow */
    assert_int_equal(bz_adapt_method(&a), BZ_PACKING_ZSTD);
    for (int i = 0; i < 10; i++)
        bz_adapt_vote(&a, 0, 0);
    assert_int_equal(bz_adapt_method(&a), BZ_PACKING_LZ4);
}

static void nothing_is_used_that_the_peer_does_not_know(void **state)
{
    (void)state;
    for (int near = 0; near < 2; near++) {
        struct bz_adapt none = {.near = near};
        struct bz_adapt lz4 = {.near = near, .lz4 = true};
        struct bz_adapt zstd = {.near = near, .zstd = true};
        struct bz_adapt both = {.near = near, .lz4 = true, .zstd = true};
        assert_int_equal(bz_adapt_method(&none), BZ_PACKING_NONE);
        assert_int_equal(bz_adapt_method(&lz4), BZ_PACKING_LZ4);
        assert_int_equal(bz_adapt_method(&zstd), BZ_PACKING_ZSTD);
        assert_int_equal(bz_adapt_method(&both), near ? BZ_PACKING_LZ4 : BZ_PACKING_ZSTD);
    }
}

static void a_stream_outlives_the_head_only_while_much_is_changing(void **state)
{
    (void)state;
    struct bz_adapt a = {0};
    uint64_t now = 1000;
    for (int i = 0; i < 1000; i++, now += 100)
        assert_false(bz_adapt_keeps(&a, 300, now)); /* ten small changes a second */
    bool kept = false;
    for (int i = 0; i < 300; i++, now += 1)
        kept = bz_adapt_keeps(&a, 300, now); /* a thousand */
    assert_true(kept);
    now += 10000;
    assert_false(bz_adapt_keeps(&a, 300, now));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_packed_comes_out_again_in_any_mix),
        cmocka_unit_test(small_chunks_of_a_stream_shrink_by_what_came_before),
        cmocka_unit_test(noise_is_left_as_it_is_and_not_tried_every_time),
        cmocka_unit_test(noise_within_a_stream_does_not_break_it),
        cmocka_unit_test(a_stream_that_is_ended_or_given_up_costs_nothing_more),
        cmocka_unit_test(any_changed_byte_is_refused_or_makes_as_many_bytes),
        cmocka_unit_test(a_stream_cannot_go_on_before_it_began_or_after_it_was_broken),
        cmocka_unit_test(windows_that_are_too_large_are_refused),
        cmocka_unit_test(a_size_beyond_the_room_is_refused_before_anything_is_allocated),
        cmocka_unit_test(the_votes_decide_and_one_alone_does_not_turn_them),
        cmocka_unit_test(nothing_is_used_that_the_peer_does_not_know),
        cmocka_unit_test(a_stream_outlives_the_head_only_while_much_is_changing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

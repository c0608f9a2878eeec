/* SPDX-License-Identifier: Apache-2.0 */

/* The cache stays within its bytes, keeps what is used, and never takes a pinned block away. */

#include "store/block_cache.h"

#include "cmocka_all.h"
#include "random.h"

#include <pthread.h>
#include <string.h>

#define SLOTS 64u

static struct bz_block_cache *cache;
static struct bz_block_slot slots[SLOTS];

static int make_cache(void **state)
{
    (void)state;
    cache = bz_block_cache_new(16u << 10);
    return cache == NULL;
}

static int free_cache(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < SLOTS; i++)
        bz_block_cache_drop(cache, &slots[i]);
    bz_block_cache_free(cache);
    return 0;
}

/* A block whose bytes say which slot's it is. */
static struct bz_block *block_of(uint32_t slot, size_t size)
{
    struct bz_block *block = bz_block_new(size);
    assert_non_null(block);
    assert_int_equal(bz_block_size(block), size);
    memset(bz_block_data(block), (int)slot, size);
    return block;
}

static void add(uint32_t slot, size_t size)
{
    bz_block_unpin(bz_block_cache_add(cache, &slots[slot], block_of(slot, size)));
}

static bool there(uint32_t slot)
{
    struct bz_block *block = bz_block_cache_find(cache, &slots[slot]);
    if (block != NULL)
        assert_int_equal(bz_block_data(block)[0], slot);
    bz_block_unpin(block);
    return block != NULL;
}

static void what_was_added_is_found_until_it_is_dropped(void **state)
{
    (void)state;
    assert_false(there(1));
    add(1, 100);
    assert_true(there(1));
    assert_false(there(2));
    bz_block_cache_drop(cache, &slots[1]);
    assert_false(there(1));
    bz_block_cache_drop(cache, &slots[1]);
}

static void who_comes_second_gets_the_first_one_s_block(void **state)
{
    (void)state;
    struct bz_block *first = bz_block_cache_add(cache, &slots[3], block_of(3, 10));
    struct bz_block *second = bz_block_cache_add(cache, &slots[3], block_of(3, 10));
    assert_ptr_equal(first, second);
    bz_block_unpin(first);
    bz_block_unpin(second);
    assert_true(there(3));
}

static void the_cache_holds_no_more_than_its_bytes(void **state)
{
    (void)state;
    struct rng rng = {test_seed()};
    size_t sizes[SLOTS] = {0};
    for (int i = 0; i < 2000; i++) {
        uint32_t slot = rng_below(&rng, SLOTS);
        if (!there(slot)) {
            sizes[slot] = 1 + rng_below(&rng, 3000);
            add(slot, sizes[slot]);
        }
        size_t held = 0;
        for (uint32_t k = 0; k < SLOTS; k++)
            held += slots[k].block != NULL ? sizes[k] : 0;
        assert_in_range(held, sizes[slot], 16u << 10);
    }
}

static void what_is_used_stays(void **state)
{
    (void)state;
    add(0, 3000);
    for (uint32_t i = 1; i < SLOTS; i++) {
        assert_true(there(0));
        add(i, 3000);
    }
    assert_true(there(0));
    assert_false(there(1));
}

static void a_pinned_block_stays_in_memory_when_the_cache_lets_go_of_it(void **state)
{
    (void)state;
    struct bz_block *pinned[SLOTS];
    for (uint32_t i = 0; i < SLOTS; i++) /* more than the cache may hold */
        pinned[i] = bz_block_cache_add(cache, &slots[i], block_of(i, 2000));
    uint32_t held = 0;
    for (uint32_t i = 0; i < SLOTS; i++)
        held += there(i);
    assert_in_range(held, 1, (16u << 10) / 2000);
    for (uint32_t i = 0; i < SLOTS; i++) {
        bz_block_pin(pinned[i]);
        bz_block_unpin(pinned[i]);
        assert_int_equal(bz_block_data(pinned[i])[1999], i);
        bz_block_unpin(pinned[i]);
    }
}

static void a_block_that_is_larger_than_the_cache_drives_nothing_out(void **state)
{
    (void)state;
    add(1, 1000);
    struct bz_block *large = bz_block_cache_add(cache, &slots[2], block_of(2, 100000));
    assert_int_equal(bz_block_data(large)[99999], 2);
    bz_block_unpin(large);
    assert_false(there(2));
    assert_true(there(1));
}

static void *use(void *context)
{
    struct rng rng = {(uintptr_t)context};
    for (int i = 0; i < 20000; i++) {
        uint32_t slot = rng_below(&rng, SLOTS);
        struct bz_block *block = bz_block_cache_find(cache, &slots[slot]);
        if (block == NULL) {
            block = bz_block_new(1500);
            if (block == NULL)
                return context;
            memset(bz_block_data(block), (int)slot, 1500);
            block = bz_block_cache_add(cache, &slots[slot], block);
        }
        if (bz_block_data(block)[i % 1500] != slot)
            return context;
        bz_block_unpin(block);
        if (rng_below(&rng, 50) == 0)
            bz_block_cache_drop(cache, &slots[rng_below(&rng, SLOTS)]);
    }
    return NULL;
}

static void threads_find_add_and_drop_together(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (uintptr_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use, (void *)(i + 1)), 0);
    for (size_t i = 0; i < 4; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            what_was_added_is_found_until_it_is_dropped, make_cache, free_cache),
        cmocka_unit_test_setup_teardown(
            who_comes_second_gets_the_first_one_s_block, make_cache, free_cache),
        cmocka_unit_test_setup_teardown(
            the_cache_holds_no_more_than_its_bytes, make_cache, free_cache),
        cmocka_unit_test_setup_teardown(what_is_used_stays, make_cache, free_cache),
        cmocka_unit_test_setup_teardown(
            a_pinned_block_stays_in_memory_when_the_cache_lets_go_of_it, make_cache, free_cache),
        cmocka_unit_test_setup_teardown(
            a_block_that_is_larger_than_the_cache_drives_nothing_out, make_cache, free_cache),
        cmocka_unit_test_setup_teardown(threads_find_add_and_drop_together, make_cache, free_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "crdt/clock.h"

#include "cmocka_all.h"

#include <blazedb/error.h>

static void a_tick_follows_the_wall_clock(void **state)
{
    (void)state;
    uint64_t last = 0;
    assert_true(bz_clock_tick(&last, 1000) == BZ_STAMP(1000, 0));
    assert_true(bz_clock_tick(&last, 5000) == BZ_STAMP(5000, 0));
    assert_true(last == BZ_STAMP(5000, 0));
}

static void ticks_within_a_millisecond_count_up(void **state)
{
    (void)state;
    uint64_t last = 0;
    for (uint64_t i = 0; i < 1000; i++)
        assert_true(bz_clock_tick(&last, 7) == BZ_STAMP(7, i));
}

static void a_tick_never_goes_back_with_the_wall_clock(void **state)
{
    (void)state;
    uint64_t last = BZ_STAMP(9000, 3);
    assert_true(bz_clock_tick(&last, 100) == BZ_STAMP(9000, 4));
    assert_true(bz_clock_tick(&last, 8999) == BZ_STAMP(9000, 5));
}

static void a_full_counter_carries_into_the_milliseconds(void **state)
{
    (void)state;
    uint64_t last = BZ_STAMP(9000, 0xffff);
    assert_true(bz_clock_tick(&last, 9000) == BZ_STAMP(9001, 0));
}

static void a_stamp_from_elsewhere_is_followed_but_never_pulls_back(void **state)
{
    (void)state;
    uint64_t last = BZ_STAMP(1000, 1);
    assert_int_equal(bz_clock_observe(&last, BZ_STAMP(4000, 9), 1000), 0);
    assert_true(last == BZ_STAMP(4000, 9));
    assert_true(bz_clock_tick(&last, 1000) == BZ_STAMP(4000, 10));
    assert_int_equal(bz_clock_observe(&last, BZ_STAMP(2000, 0), 1000), 0);
    assert_true(last == BZ_STAMP(4000, 10));
}

static void a_stamp_more_than_ten_years_ahead_is_refused(void **state)
{
    (void)state;
    uint64_t last = 5, wall = 1700000000000;
    uint64_t limit = wall + BZ_STAMP_AHEAD_MAX_MS;
    assert_int_equal(bz_clock_observe(&last, BZ_STAMP(limit + 1, 0), wall), BLAZE_ECLOCK);
    assert_true(last == 5);
    assert_int_equal(bz_clock_observe(&last, UINT64_MAX, wall), BLAZE_ECLOCK);
    assert_int_equal(bz_clock_observe(&last, BZ_STAMP(limit, 0xffff), wall), 0);
    assert_true(last == BZ_STAMP(limit, 0xffff));
}

static void the_clock_stops_rather_than_wraps_at_its_end(void **state)
{
    (void)state;
    uint64_t last = UINT64_MAX;
    assert_true(bz_clock_tick(&last, 1) == UINT64_MAX);
    last = 0;
    assert_true(bz_clock_tick(&last, UINT64_MAX) == BZ_STAMP(((uint64_t)1 << 48) - 1, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tick_follows_the_wall_clock),
        cmocka_unit_test(ticks_within_a_millisecond_count_up),
        cmocka_unit_test(a_tick_never_goes_back_with_the_wall_clock),
        cmocka_unit_test(a_full_counter_carries_into_the_milliseconds),
        cmocka_unit_test(a_stamp_from_elsewhere_is_followed_but_never_pulls_back),
        cmocka_unit_test(a_stamp_more_than_ten_years_ahead_is_refused),
        cmocka_unit_test(the_clock_stops_rather_than_wraps_at_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "peer/gate.h"

#include "cmocka_all.h"

#include <stdio.h>

static struct bz_gate *new_gate(uint32_t connections, uint32_t failures, uint32_t forgive_ms)
{
    struct bz_gate *gate;
    assert_int_equal(bz_gate_new(&gate, connections, failures, forgive_ms), 0);
    return gate;
}

static void an_address_has_so_many_connections_at_a_time(void **state)
{
    (void)state;
    struct bz_gate *gate = new_gate(2, 0, 0);
    size_t place = bz_gate_place(gate, "tcp://192.0.2.1:1000");
    assert_true(place == bz_gate_place(gate, "tcp://192.0.2.1:2000")); /* whatever the port */
    assert_true(bz_gate_enter(gate, place, 1));
    assert_true(bz_gate_enter(gate, place, 1));
    assert_false(bz_gate_enter(gate, place, 1));
    bz_gate_leave(gate, place);
    assert_true(bz_gate_enter(gate, place, 1));
    bz_gate_free(gate);
}

static void failures_shut_the_gate_and_time_opens_it(void **state)
{
    (void)state;
    struct bz_gate *gate = new_gate(0, 3, 100);
    size_t place = bz_gate_place(gate, "tcp://192.0.2.1:1000");
    uint64_t now = 1000000;
    for (unsigned i = 0; i < 3; i++) {
        assert_true(bz_gate_enter(gate, place, now));
        bz_gate_fail(gate, place, now);
        bz_gate_leave(gate, place);
    }
    assert_false(bz_gate_enter(gate, place, now));
    assert_false(bz_gate_enter(gate, place, now + 99));
    assert_true(bz_gate_enter(gate, place, now + 100));
    bz_gate_fail(gate, place, now + 150);
    assert_false(bz_gate_enter(gate, place, now + 199)); /* looking does not push it off */
    assert_true(bz_gate_enter(gate, place, now + 200));
    for (unsigned i = 0; i < 50; i++)
        bz_gate_fail(gate, place, now + 200);
    assert_false(bz_gate_enter(gate, place, now + 1000));
    assert_true(bz_gate_enter(gate, place, now + 200 + 53 * 100));
    bz_gate_free(gate);
}

static void networks_of_64_bits_count_as_one_and_local_ends_not_at_all(void **state)
{
    (void)state;
    struct bz_gate *gate = new_gate(1, 1, 1);
    size_t place = bz_gate_place(gate, "tcp://[2001:db8:1:2::1]:1");
    assert_true(place == bz_gate_place(gate, "tcp://[2001:db8:1:2:ffff::9]:7"));
    unsigned apart = 0; /* some may share a place, by chance */
    for (unsigned i = 0; i < 64; i++) {
        char url[64];
        snprintf(url, sizeof url, "tcp://[2001:db8:1:%x::1]:1", 100 + i);
        apart += bz_gate_place(gate, url) != place;
        snprintf(url, sizeof url, "tcp://[::ffff:192.0.2.%u]:1", 100 + i);
        apart += bz_gate_place(gate, url) != place;
    }
    assert_true(apart >= 120);
    static const char *const local[] = {"unix:/tmp/socket", "mem:name"};
    for (unsigned i = 0; i < 2; i++) {
        place = bz_gate_place(gate, local[i]);
        assert_true(place == BZ_GATE_OPEN);
        bz_gate_fail(gate, place, 1);
        assert_true(bz_gate_enter(gate, place, 1));
        assert_true(bz_gate_enter(gate, place, 1));
        bz_gate_leave(gate, place);
    }
    bz_gate_free(gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_has_so_many_connections_at_a_time),
        cmocka_unit_test(failures_shut_the_gate_and_time_opens_it),
        cmocka_unit_test(networks_of_64_bits_count_as_one_and_local_ends_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

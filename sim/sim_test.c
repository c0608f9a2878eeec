/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ordinary part of the simulator's runs; `./dev sim` does the rest. A thousand seeds in a build
 * without sanitizers, and some on directories.
 */
#include "cmocka_all.h"

#include "random.h"
#include "sim.h"

#include <string.h>

#define SEEDS (TEST_SANITIZED ? 100u : 1000u)

static struct sim_counts counts;

static void run(struct sim_options options, struct sim_result *result)
{
    sim_run(&options, &counts, result);
    if (result->failed)
        print_message("seed %llu: %s\nto repeat: ./sim --seed %llu --steps %u%s --trace\n",
            (unsigned long long)options.seed, result->why, (unsigned long long)options.seed,
            options.steps, options.disk ? " --disk" : "");
    assert_false(result->failed);
}

static void whatever_goes_wrong_all_copies_meet_and_nothing_is_lost(void **state)
{
    (void)state;
    struct sim_result result;
    uint64_t first = test_seed(), seeds = test_is_long() ? 5 * SEEDS : SEEDS;
    for (uint64_t i = 0; i < seeds; i++)
        run((struct sim_options){.seed = first + i, .shape = -1, .steps = 300}, &result);
    for (uint32_t i = 0; sim_action_name(i) != NULL; i++)
        assert_true(counts.actions[i] > 0);
    test_total(counts.seeds, "seeds");
    test_total(counts.steps, "steps");
}

static void a_seed_always_gives_the_same_trace(void **state)
{
    (void)state;
    struct sim_result once, again, other;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        run((struct sim_options){.seed = seed, .shape = -1}, &once);
        run((struct sim_options){.seed = seed + 1, .shape = -1}, &other);
        run((struct sim_options){.seed = seed, .shape = -1}, &again);
        assert_true(once.trace == again.trace);
        assert_true(once.trace != other.trace);
    }
}

static void on_directories_it_is_the_same(void **state)
{
    (void)state;
    struct sim_result result;
    uint64_t first = test_seed(), seeds = test_rounds(10, 200);
    for (uint64_t i = 0; i < seeds; i++)
        run((struct sim_options){.seed = first + i, .shape = -1, .steps = 200, .disk = true},
            &result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_goes_wrong_all_copies_meet_and_nothing_is_lost),
        cmocka_unit_test(a_seed_always_gives_the_same_trace),
        cmocka_unit_test(on_directories_it_is_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_TESTS_RANDOM_H
#define BZ_TESTS_RANDOM_H

/*
 * Chance for tests, that can be had again. Two variables of the environment steer every random
 * test:
 *
 *   BLAZEDB_SEED=n   where its randomness begins; 1 unless given. Every test prints its own, so
 *                    that a failure can be repeated.
 *   BLAZEDB_LONG=1   some seconds of rounds instead of the few that the suite has time for.
 *
 * A test of many rounds gives round i the seed test_seed() + i.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* splitmix64: any state is a good one. */
struct rng {
    uint64_t state;
};

static inline uint64_t rng_next(struct rng *rng)
{
    uint64_t z = rng->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* From 0 to n - 1. */
static inline uint32_t rng_below(struct rng *rng, uint32_t n)
{
    return (uint32_t)(rng_next(rng) % n);
}

/* From 0 to 1, without the 1. */
static inline double rng_fraction(struct rng *rng)
{
    return (double)(rng_next(rng) >> 11) * 0x1p-53;
}

static inline void rng_fill(struct rng *rng, void *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)data)[i] = (uint8_t)rng_next(rng);
}

static inline uint64_t test_seed(void)
{
    const char *given = getenv("BLAZEDB_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : 1;
    printf("             BLAZEDB_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    return seed;
}

/* Tells how much was done, in a line that tests/long.sh adds up. */
static inline void test_total(uint64_t n, const char *what)
{
    printf("             total: %llu %s\n", (unsigned long long)n, what);
    fflush(stdout);
}

static inline bool test_is_long(void)
{
    return getenv("BLAZEDB_LONG") != NULL;
}

/* A sanitizer sees what is wrong with any step, not only with the rounds in which it does harm: it
 * runs a quarter of them. All are for the release build, which is many times as fast. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { TEST_SANITIZED = 1 };
#else
enum { TEST_SANITIZED = 0 };
#endif

static inline uint64_t test_rounds(uint64_t quick, uint64_t many)
{
    if (test_is_long())
        return many;
    return TEST_SANITIZED ? (quick + 3) / 4 : quick;
}

/* How far apart faults are of which a test has one in each run. To the thread sanitizer a fault is
 * one more way through the same threads: it gets every fifth of them. */
static inline uint64_t test_step(uint64_t quick, uint64_t fine)
{
    uint64_t step = test_is_long() ? fine : quick;
#ifdef __SANITIZE_THREAD__
    step *= 5;
#endif
    return step;
}

#endif

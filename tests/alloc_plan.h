/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_TESTS_ALLOC_PLAN_H
#define BZ_TESTS_ALLOC_PLAN_H

/*
 * One allocation that fails: the `at`-th of those that any thread makes while the plan is armed; or
 * that one and all that follow. A test runs its scenario with at = 1, 2 and so on until none is hit
 * any more.
 */

#include "base/alloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct alloc_plan {
    uint64_t at;  /* from 1; 0: none */
    bool lasting; /* all that follow fail, too */
    _Atomic uint64_t count;
    atomic_bool armed, hit;
    void (*on_hit)(void); /* on the thread that is hit; NULL is allowed */
};

static _Thread_local bool alloc_plan_spared; /* this thread's allocations do not count */

static inline int alloc_plan_ask(void *context)
{
    struct alloc_plan *plan = context;
    if (!plan->armed || alloc_plan_spared || plan->at == 0)
        return 0;
    uint64_t n = atomic_fetch_add(&plan->count, 1) + 1;
    if (plan->lasting ? n < plan->at : n != plan->at)
        return 0;
    plan->hit = true;
    if (plan->on_hit != NULL)
        plan->on_hit();
    return 1;
}

/* In force and armed; while no other thread allocates. */
static inline void alloc_plan_begin(struct alloc_plan *plan)
{
    plan->armed = true;
    bz_alloc_set_fault(alloc_plan_ask, plan);
}

/* Likewise while no other thread does. */
static inline void alloc_plan_end(void)
{
    bz_alloc_set_fault(NULL, NULL);
}

#endif

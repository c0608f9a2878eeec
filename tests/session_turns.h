/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_TESTS_SESSION_TURNS_H
#define BZ_TESTS_SESSION_TURNS_H

/*
 * Two sessions, each of which takes at once what the other has said, while allocations fail: the
 * plan is armed within what the sessions do, and not for what lies between them.
 */

#include "cmocka_all.h"

#include "alloc_plan.h"
#include "sync/session.h"

#include <stdlib.h>
#include <string.h>

/* Takes what the other has said, and goes on; whether anything moved. */
static inline bool session_turn(struct alloc_plan *plan, struct bz_session *self,
    struct bz_session *other, uint64_t now, uint64_t wall)
{
    struct bz_bytes out = bz_session_output(other);
    uint8_t *copy = malloc(out.size + 1);
    assert_non_null(copy);
    if (out.size > 0)
        memcpy(copy, out.data, out.size);
    bz_session_sent(other, out.size);
    plan->armed = true;
    bz_session_receive(self, bz_bytes(copy, out.size), now);
    bool more = bz_session_run(self, now, wall);
    plan->armed = false;
    free(copy);
    return out.size > 0 || more;
}

/* Until nothing moves. */
static inline void session_turns(struct alloc_plan *plan, struct bz_session *a,
    struct bz_session *b, uint64_t now, uint64_t wall)
{
    unsigned count = 0;
    for (bool moves = true; moves;) {
        moves = session_turn(plan, a, b, now, wall);
        moves |= session_turn(plan, b, a, now, wall);
        assert_true(++count < 10000);
    }
}

#endif

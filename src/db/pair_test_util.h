/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_DB_PAIR_TEST_UTIL_H
#define BZ_DB_PAIR_TEST_UTIL_H

/* Two clients' copies of one database, each with a clock of its own. */

#include "db/test_util.h"

struct pair {
    struct world world[2];
    struct bz_db *a, *b;
};

static inline void pair_open(struct pair *p)
{
    p->world[0] = (struct world){{1}, 1700000000000u};
    p->world[1] = (struct world){{2}, 1700000000000u};
    p->a = open_memory(&p->world[0], BZ_ROLE_CLIENT);
    p->b = open_memory(&p->world[1], BZ_ROLE_CLIENT);
}

static inline void pair_close(struct pair *p)
{
    must(bz_db_close(p->a, error));
    must(bz_db_close(p->b, error));
}

/* The same where both must be sound to the end. */
static inline void pair_close_checked(struct pair *p)
{
    check_all(p->a);
    check_all(p->b);
    pair_close(p);
}

#endif

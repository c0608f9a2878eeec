/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_TESTS_POWERCUT_PLAN_H
#define BZ_TESTS_POWERCUT_PLAN_H

/*
 * What the commits of a workload do. Commit n of a life (the time between two openings) is known
 * from the seed, the life and n alone, given those before it; so whichever thread comes next does
 * it, and whoever finds n commits in a database knows what must be there.
 */

#include "db/db.h"

#define PLAN_COLLECTIONS 3u
#define PLAN_KEYS        20u /* of each collection */
#define PLAN_LIVES       24u
#define PLAN_GROUPS      8u

extern const char *const plan_collections[PLAN_COLLECTIONS];
#define PLAN_INDEXED 0u /* the collection with an index on "group" */

struct plan_document {
    bool exists;
    uint64_t commit; /* of the last whole write */
    uint64_t life;
    uint64_t touched; /* the last update, or 0 */
    uint32_t group;
    uint32_t size; /* of the text */
};

struct plan_state {
    uint64_t commit;
    struct plan_document documents[PLAN_COLLECTIONS][PLAN_KEYS];
};

struct plan {
    uint64_t seed;
    bool large; /* large values: checkpoints in several transactions */
    /* Commits after lives[i].after are of life i, up to those of the next. */
    size_t life_count;
    struct plan_life {
        uint64_t after;
        uint64_t life;
    } lives[PLAN_LIVES];
};

/* A new life, which found `after` commits there. */
void plan_add_life(struct plan *plan, uint64_t after, uint64_t life);

/* splitmix64 of two numbers: how everything is chosen here. */
uint64_t plan_mix(uint64_t a, uint64_t b);

/* What seals the database of the plan: of one with an odd seed; else NULL. */
const struct bz_vault_secret *plan_secret(const struct plan *plan);

/* The documents after n commits. */
void plan_replay(const struct plan *plan, uint64_t n, struct plan_state *out);

enum bz_durability plan_durability(const struct plan *plan, uint64_t n);

/* Does commit n in `txn`, whose state is that after n - 1. */
int plan_write(const struct plan *plan, uint64_t n, struct bz_db_txn *txn, blaze_error *error);

/* The number of commits there. */
int plan_read_commit(struct bz_read *read, uint64_t *out, blaze_error *error);

/* Compares everything with `state`. The first difference is put into `error`. */
int plan_compare(const struct plan_state *state, struct bz_read *read, blaze_error *error);

#endif

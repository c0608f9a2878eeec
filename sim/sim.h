/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_SIM_SIM_H
#define BZ_SIM_SIM_H

/*
 * The simulator: databases, the sessions between them and a network that fails, on one thread, in
 * virtual time, from one seed. The code that runs is the real one: db, crdt, sync and the store in
 * memory (or, with `disk`, real directories). The same seed gives the same run, bit for bit.
 *
 * A run is some rounds: things go wrong, then everything heals, and then all copies must be equal
 * and be what an oracle says that they are. The oracle follows which writes each copy has seen, by
 * what went where and not by what the records say of themselves.
 *
 *   world.h    what there is; the life of nodes
 *   oracle.c   histories: which copy had seen which writes when
 *   part.c     nodes that hold a part of the database
 *   watch.c    the wrapped replica that tells the oracle what sessions bring
 *   net.c      connections, delays, cuts
 *   actions.c  the table of what may be done to a world: work and faults
 *   conflicts.c  what is in conflict, and what is told of it
 *   rules.c    what rules make of that
 *   settle.c   settling
 *   collect.c  deleted records that go, and what is left of them elsewhere
 *   check.c    what must be so
 *   run.c      one run
 */

#include <stdbool.h>
#include <stdint.h>

enum sim_shape { SIM_STAR, SIM_CHAIN, SIM_RING, SIM_MESH, SIM_TWO_HUBS, SIM_SHAPES };

#define SIM_FAVOURED_MAX 4

struct sim_options {
    uint64_t seed;
    uint32_t nodes; /* 0: by the seed */
    int shape;      /* enum sim_shape; -1: by the seed */
    uint32_t steps; /* 0: by the seed */
    bool trace;     /* tell everything that happens, on stdout */
    bool disk;      /* on real directories below the working directory */
    /* Names of actions that are in every run, and done more often; NULL: no more. */
    const char *favoured[SIM_FAVOURED_MAX];
};

#define SIM_ACTIONS_MAX 64

struct sim_counts {
    uint64_t seeds, steps, writes, commits, sessions, records, bytes, checks, virtual_ms;
    uint64_t settled;                   /* writes of rules */
    uint64_t collected, given_up, anew; /* records: see collect.c */
    uint64_t actions[SIM_ACTIONS_MAX];  /* as in the table */
};

struct sim_result {
    bool failed;
    char why[400];
    uint64_t trace; /* a hash of all that happened */
};

/* Adds to *counts. What failed is told on stderr, with the last events. */
void sim_run(
    const struct sim_options *options, struct sim_counts *counts, struct sim_result *result);

const char *sim_action_name(uint32_t action); /* NULL past the last */
const char *sim_shape_name(int shape);
int sim_shape_find(const char *name); /* -1: none */

#endif

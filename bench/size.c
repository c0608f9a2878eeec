/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Group `size`: the disk, opening, memory. Everything runs in processes of its own. Sizes are taken
 * after the engine has settled and closed, and count the blocks that the files occupy.
 */

#include "bench.h"
#include "child.h"
#include "files.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define PLAYERS 6

struct player {
    const struct bench_engine *engine;
    const char *name;
    const char *variant;
    char *dir;
    char n[24];
    const char *order;
    double peak; /* of the loading process */
};

/* A child's work on the player's database; one figure of its answer. */
static double run_child(const struct player *p, const char *verb, const char *figure)
{
    const char *const arguments[] = {
        verb, p->engine->name, p->variant, p->dir, p->n, p->order, NULL};
    char line[256];
    bench_child_run(arguments, line, sizeof line);
    return bench_child_number(line, figure);
}

static double megabytes(double bytes)
{
    return bytes / 1e6;
}

static double run_load(void *context)
{
    struct player *p = context;
    bench_dir_fresh(p->dir);
    p->peak = run_child(p, "load", "peak");
    return megabytes((double)bench_dir_bytes(p->dir));
}

static double run_update(void *context)
{
    struct player *p = context;
    run_child(p, "update", "seconds");
    return megabytes((double)bench_dir_bytes(p->dir));
}

static double run_peak(void *context)
{
    const struct player *p = context;
    return megabytes(p->peak);
}

static double run_gets(void *context)
{
    return megabytes(run_child(context, "gets", "own"));
}

static double run_open(void *context)
{
    return run_child(context, "open", "seconds") * 1e3;
}

static double run_open_killed(void *context)
{
    struct player *p = context;
    const char *const arguments[] = {
        "die", p->engine->name, p->variant, p->dir, p->n, p->order, NULL};
    struct bench_child child;
    char line[256];
    bench_child_start(&child, arguments);
    bench_child_line(&child, line, sizeof line);
    kill(child.pid, SIGKILL);
    bench_child_wait(&child, 1);
    return run_open(p);
}

struct measurement {
    const char *name;
    const char *unit;
    enum { TIMED, COUNTED, ONCE } how; /* once: it cannot be done again, or was measured already */
    double (*run)(void *context);
    struct bench_goal goal;
    double sealed_goal; /* none where a key is derived, which is slow and large on purpose */
};

static void measure(
    struct bench *bench, uint64_t n, struct player *players, const struct measurement *m)
{
    struct bench_row row = {.group = "size",
        .name = m->name,
        .unit = m->unit,
        .n = n,
        .less_is_better = true,
        .once = m->how == ONCE,
        .counted = m->how == COUNTED,
        .goals = {m->goal},
        .sealed_goal = m->sealed_goal};
    struct bench_contestant contestants[PLAYERS];
    for (size_t i = 0; i < PLAYERS; i++) {
        contestants[i] = bench_contestant(players[i].engine, &players[i]);
        contestants[i].name = players[i].name;
        contestants[i].run = m->run;
    }
    bench_measure(bench, &row, contestants, PLAYERS);
}

static void round_size(struct bench *bench, uint64_t n)
{
    static const struct measurement ascending = {"on disk after load, ascending ids", "MB", COUNTED,
        run_load, {"sqlite", 1, 0}, BENCH_SEALED_GOAL};
    static const struct measurement random_order[] = {
        {"on disk after load, random ids", "MB", COUNTED, run_load, {"sqlite", 1, 0},
            BENCH_SEALED_GOAL},
        {"peak memory of that load", "MB", ONCE, run_peak, {0}},
        {"own memory after 10,000 gets", "MB", COUNTED, run_gets, {0}},
        {"open after a clean close, with one get", "ms", TIMED, run_open, {"10 ms", 1, 10}},
        {"open after a kill with n/10 updates in the log", "ms", TIMED, run_open_killed, {0}},
        {"on disk after an update of every record", "MB", ONCE, run_update, {"sqlite", 1, 0},
            BENCH_SEALED_GOAL},
    };
    struct player players[PLAYERS] = {{&bench_engine_blaze, "blazedb", "plain"},
        {&bench_engine_sealed, "blazedb-sealed", "sealed"}, {&bench_engine_sqlite, "sqlite", "-"},
        {&bench_engine_lmdb, "lmdb", "-"}, {&bench_engine_rocksdb, "rocksdb", "lz4"},
        {&bench_engine_rocksdb, "rocksdb-zstd", "zstd"}};
    for (size_t i = 0; i < PLAYERS; i++) {
        players[i].dir = bench_path(bench->dir, players[i].name);
        snprintf(players[i].n, sizeof players[i].n, "%llu", (unsigned long long)n);
        players[i].order = "ascending";
    }
    measure(bench, n, players, &ascending);
    for (size_t i = 0; i < PLAYERS; i++)
        players[i].order = "random";
    for (size_t i = 0; i < sizeof random_order / sizeof random_order[0]; i++)
        measure(bench, n, players, &random_order[i]);
    for (size_t i = 0; i < PLAYERS; i++) {
        bench_dir_remove(players[i].dir);
        free(players[i].dir);
    }
}

void bench_size(struct bench *bench)
{
    bench_rounds(bench, "size", UINT64_MAX, round_size);
}

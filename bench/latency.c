/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Group `latency`: how long single commits take while checkpoints and compactions go on. Records of
 * about 8 KB go into a new database, one a commit, under random ids, after a quarter as many in
 * bulk: 40,000 of them are almost five memtables of 64 MiB, with default settings. Each repetition
 * is a process of its own; commits are timed one by one, and the slowest are what is looked for.
 */

#include "bench.h"
#include "child.h"
#include "files.h"

#include <stdlib.h>
#include <string.h>

enum { OURS, SQLITE, ROCKSDB, APPEND, PLAYERS };
enum { P50, P99, P999, MAX, RATE, FIGURES };

#define COMMITS 40000

static const struct bench_engine *const engines[PLAYERS] = {
    &bench_engine_blaze, &bench_engine_sqlite, &bench_engine_rocksdb, &bench_engine_append};

struct player {
    const struct bench_engine *engine;
    char *dir;
    uint64_t commits;
    const char *durability;
    double checkpoints; /* the fewest of a repetition */
};

static void run(void *context, double *values)
{
    static const char *const figures[FIGURES] = {"p50", "p99", "p999", "max", "rate"};
    struct player *p = context;
    char number[24], line[256];
    bench_dir_fresh(p->dir);
    snprintf(number, sizeof number, "%llu", (unsigned long long)p->commits);
    const char *variant = p->engine->variant != NULL ? p->engine->variant : "-";
    const char *const arguments[] = {
        "latency", p->engine->name, variant, p->dir, number, p->durability, NULL};
    bench_child_run(arguments, line, sizeof line);
    for (int i = 0; i < FIGURES; i++)
        values[i] = bench_child_number(line, figures[i]) * (i == RATE ? 1 : 1e6);
    double made = bench_child_number(line, "checkpoints");
    p->checkpoints = p->checkpoints < 0 || made < p->checkpoints ? made : p->checkpoints;
    bench_dir_remove(p->dir);
}

static void measure(struct bench *bench, struct player *players, bool full)
{
    static const char *const what[FIGURES] = {"p50", "p99", "p99.9", "the slowest", "commits/s"};
    struct bench_row rows[FIGURES];
    char names[FIGURES][80];
    bool wanted = false;
    for (int i = 0; i < FIGURES; i++) {
        snprintf(names[i], sizeof names[i], "%s commits of 8 KB through checkpoints, %s",
            full ? "durable" : "relaxed", what[i]);
        rows[i] = (struct bench_row){.group = "latency",
            .name = names[i],
            .unit = i == RATE ? "commits/s" : "us",
            .n = players[OURS].commits,
            .less_is_better = i != RATE,
            .counted = true}; /* each repetition makes its database anew: none needs a warm-up */
        wanted = wanted || bench_wants(bench, names[i]);
    }
    if (!wanted)
        return;
    struct bench_contestant contestants[PLAYERS];
    for (size_t i = 0; i < PLAYERS; i++) {
        players[i].durability = full ? "full" : "relaxed";
        players[i].checkpoints = -1;
        contestants[i] = bench_contestant(engines[i], &players[i]);
        contestants[i].run_rows = run;
    }
    bench_measure_rows(bench, rows, FIGURES, contestants, full ? PLAYERS : APPEND);
    printf("    ours made at least %.0f checkpoints in each turn\n", players[OURS].checkpoints);
    fflush(stdout);
}

void bench_latency(struct bench *bench)
{
    struct player players[PLAYERS];
    uint64_t commits = bench->n < COMMITS ? bench->n : COMMITS;
    for (size_t i = 0; i < PLAYERS; i++)
        players[i] = (struct player){.engine = engines[i],
            .dir = bench_path(bench->dir, engines[i]->name),
            .commits = commits};
    bench_report_round("latency", commits);
    printf("    n is the commits of each turn\n");
    measure(bench, players, true);
    measure(bench, players, false);
    for (size_t i = 0; i < PLAYERS; i++)
        free(players[i].dir);
}

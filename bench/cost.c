/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Group `cost`: what the write path asks of the disk. Each contestant works in a process of its
 * own, in which disk.c counts, so that all are counted from outside and in the same way. "Written"
 * are the bytes passed to the system, "to disk" those that the disk was given, in whole blocks and
 * with the file system's journal.
 */

#include "bench.h"
#include "child.h"
#include "disk.h"
#include "files.h"

#include <stdlib.h>
#include <time.h>

enum { OURS, SEALED, SQLITE, LMDB, ROCKSDB, APPEND, PLAYERS };

#define COMMITS 2000

static const struct bench_engine *const engines[PLAYERS] = {&bench_engine_blaze,
    &bench_engine_sealed, &bench_engine_sqlite, &bench_engine_lmdb, &bench_engine_rocksdb,
    &bench_engine_append};

struct player {
    const struct bench_engine *engine;
    const char *variant;
    char *dir;
    uint64_t n;
    uint64_t next;    /* the number of the next record to be inserted */
    uint64_t commits; /* of a repetition */
};

/* Lets a child work on the player's database, and reads what it counted. */
static void run_child(struct player *p, const char *verb, uint64_t first, const char *last,
    const char *const *figures, double *values, size_t count)
{
    char number[24], line[256];
    snprintf(number, sizeof number, "%llu", (unsigned long long)first);
    const char *const arguments[] = {verb, p->engine->name, p->variant, p->dir, number, last, NULL};
    bench_child_run(arguments, line, sizeof line);
    for (size_t i = 0; i < count; i++)
        values[i] = bench_child_number(line, figures[i]);
}

/* Of each run the figures that this process counts come first, then those of the disk, which may
 * not count. */
enum { COMMIT_SYNCS, COMMIT_GIVEN, COMMIT_WRITTEN, COMMIT_ALL_WRITTEN, COMMIT_ROWS };

static void run_commits(void *context, double *values)
{
    static const char *const figures[COMMIT_ROWS] = {"syncs", "given", "written", "all_written"};
    struct player *p = context;
    char commits[24];
    snprintf(commits, sizeof commits, "%llu", (unsigned long long)p->commits);
    run_child(p, "cost-commits", p->next, commits, figures, values, COMMIT_ROWS);
    p->next += p->commits;
    for (size_t i = 0; i < COMMIT_ROWS; i++)
        values[i] /= (double)p->commits;
}

/* How much more is written than the data have. */
static void amplify(
    struct player *p, const char *verb, const char *order, double *given, double *written)
{
    static const char *const figures[] = {"all_given", "all_written", "user"};
    double values[3];
    run_child(p, verb, p->n, order, figures, values, 3);
    *given = values[0] / values[2];
    *written = values[1] / values[2];
}

static void run_ascending(void *context, double *values)
{
    struct player *p = context;
    bench_dir_fresh(p->dir);
    amplify(p, "cost-load", "ascending", &values[0], &values[1]);
}

static void run_random(void *context, double *values)
{
    struct player *p = context;
    bench_dir_fresh(p->dir);
    amplify(p, "cost-load", "random", &values[0], &values[2]);
    amplify(p, "cost-update", "random", &values[1], &values[3]);
    p->next = p->n; /* the commits that follow come to a database that has been in use */
}

/* `with_limit`: with the file that is only appended to. */
static size_t fill_contestants(
    struct player *players, struct bench_contestant *contestants, bool with_limit)
{
    size_t count = with_limit ? PLAYERS : APPEND;
    for (size_t i = 0; i < count; i++)
        contestants[i] = bench_contestant(engines[i], &players[i]);
    return count;
}

static struct bench_row named(const char *name, const char *unit, uint64_t n)
{
    return (struct bench_row){.group = "cost",
        .name = name,
        .unit = unit,
        .n = n,
        .less_is_better = true,
        .counted = true};
}

static void measure_amplification(struct bench *bench, uint64_t n, struct player *players)
{
    const struct bench_row ascending[] = {
        named("bulk load, ascending ids: written a byte of data", "bytes", n),
        named("bulk load, ascending ids: to disk a byte of data", "bytes", n)};
    const struct bench_row random_order[] = {
        named("bulk load, random ids: written a byte of data", "bytes", n),
        named("every record updated, batches of 100: written a byte", "bytes", n),
        named("bulk load, random ids: to disk a byte of data", "bytes", n),
        named("every record updated, batches of 100: to disk a byte", "bytes", n)};
    size_t share = bench_disk_counts(bench->dir) ? 1 : 2;
    struct bench_contestant contestants[PLAYERS];
    size_t count = fill_contestants(players, contestants, false);
    for (size_t i = 0; i < count; i++)
        contestants[i].run_rows = run_ascending;
    bench_measure_rows(bench, ascending, 2 / share, contestants, count);
    for (size_t i = 0; i < count; i++)
        contestants[i].run_rows = run_random;
    bench_measure_rows(bench, random_order, 4 / share, contestants, count);
}

/* Where the rows before were not wanted, there is nothing to commit into yet. */
static void load_missing(const struct bench *bench, struct player *players)
{
    for (size_t i = 0; i < APPEND; i++) {
        bool left_out = engines[i]->missing != NULL || (bench->without_peers && i > SEALED);
        double given, written;
        if (left_out || players[i].next > 0)
            continue;
        bench_dir_fresh(players[i].dir);
        amplify(&players[i], "cost-load", "random", &given, &written);
        players[i].next = players[i].n;
    }
}

static void measure_commits(struct bench *bench, uint64_t n, struct player *players)
{
    const struct bench_row rows[COMMIT_ROWS] = {
        [COMMIT_SYNCS] = named("syncs a durable commit", "syncs", n),
        [COMMIT_GIVEN] = named("written a durable commit", "bytes", n),
        [COMMIT_WRITTEN] = named("to disk a durable commit, when it returns", "bytes", n),
        [COMMIT_ALL_WRITTEN] = named("to disk a durable commit, until all is closed", "bytes", n)};
    bool wanted = false;
    for (size_t i = 0; i < COMMIT_ROWS; i++)
        wanted = wanted || bench_wants(bench, rows[i].name);
    if (!wanted)
        return;
    load_missing(bench, players);
    struct bench_contestant contestants[PLAYERS];
    size_t count = fill_contestants(players, contestants, true);
    for (size_t i = 0; i < count; i++)
        contestants[i].run_rows = run_commits;
    size_t share = bench_disk_counts(bench->dir) ? 1 : 2;
    bench_measure_rows(bench, rows, COMMIT_ROWS / share, contestants, count);
}

/* What others write meanwhile is in the rows of the disk, so it should be said. */
static void print_noise(const struct bench *bench)
{
    struct bench_disk before, after;
    if (!bench_disk_counts(bench->dir)) {
        printf("    the disk of %s does not count: its rows are left out\n", bench->dir);
        return;
    }
    bench_disk_write_back(bench->dir);
    bench_disk_now(bench->dir, &before);
    nanosleep(&(struct timespec){.tv_sec = 2}, NULL);
    bench_disk_now(bench->dir, &after);
    printf("    others wrote %.2f MB/s to this disk just now; the rows \"to disk\" hold that too\n",
        (double)(after.written - before.written) / 2e6);
}

static void round_cost(struct bench *bench, uint64_t n)
{
    struct player players[PLAYERS];
    for (size_t i = 0; i < PLAYERS; i++) {
        players[i] = (struct player){.engine = engines[i],
            .variant = engines[i]->variant != NULL ? engines[i]->variant : "-",
            .dir = bench_path(bench->dir, engines[i]->name),
            .n = n,
            .commits = n < COMMITS ? n : COMMITS};
        bench_dir_fresh(players[i].dir);
    }
    print_noise(bench);
    measure_amplification(bench, n, players);
    measure_commits(bench, n, players);
    for (size_t i = 0; i < PLAYERS; i++) {
        bench_dir_remove(players[i].dir);
        free(players[i].dir);
    }
}

void bench_cost(struct bench *bench)
{
    bench_rounds(bench, "cost", UINT64_MAX, round_cost);
}

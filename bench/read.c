/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Group `read`. Every engine holds the same n records, loaded in random order of ids and settled;
 * nothing is written while it is read. Each row checks that all engines answered the same.
 */

#include "bench.h"
#include "engine.h"
#include "files.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define PLAYERS     6
#define THREADS_MAX 2

static const struct bench_engine *const engines[PLAYERS] = {&bench_engine_blaze,
    &bench_engine_sealed, &bench_engine_sqlite, &bench_engine_sqlite_json, &bench_engine_lmdb,
    &bench_engine_rocksdb};

struct player {
    const struct bench_engine *engine;
    char *dir;
    struct bench_db *db;
    const struct bench_records *records;
    struct bench_answer answer; /* of the repetition before */

    /* The row at hand. */
    unsigned threads;
    uint64_t operations; /* a thread's, at most */
    bool held;
    void (*read)(struct bench_session *, const struct player *, uint64_t, struct bench_answer *);
};

static void read_get(struct bench_session *session, const struct player *p, uint64_t number,
    struct bench_answer *out)
{
    blaze_id id;
    bench_id(BENCH_RANDOM_IDS, bench_mix(number) % p->records->count, &id);
    p->engine->get(session, &id, out);
}

/* Not so close to the top that a range would be short. */
static void read_range(struct bench_session *session, const struct player *p, uint64_t number,
    struct bench_answer *out)
{
    p->engine->range(session, (int64_t)(bench_mix(number) % 50000000), 100, out);
}

static void read_filter(struct bench_session *session, const struct player *p, uint64_t number,
    struct bench_answer *out)
{
    (void)number;
    p->engine->filter(session, out);
}

static void read_top(struct bench_session *session, const struct player *p, uint64_t number,
    struct bench_answer *out)
{
    (void)number;
    p->engine->top(session, out);
}

static void read_count(struct bench_session *session, const struct player *p, uint64_t number,
    struct bench_answer *out)
{
    (void)number;
    p->engine->count(session, out);
}

struct worker {
    struct player *player;
    pthread_barrier_t *barrier;
    uint64_t first;
    struct bench_answer answer;
    double seconds;
    pthread_t thread;
};

static void *work(void *context)
{
    struct worker *w = context;
    const struct player *p = w->player;
    struct bench_session *session = p->engine->session(p->db);
    pthread_barrier_wait(w->barrier);
    double start = bench_now();
    if (p->held)
        p->engine->hold(session);
    for (uint64_t i = 0; i < p->operations; i++) {
        struct bench_answer answer;
        p->read(session, p, w->first + i, &answer);
        w->answer.rows += answer.rows;
        w->answer.sum += answer.sum;
    }
    if (p->held)
        p->engine->release(session);
    w->seconds = bench_now() - start;
    p->engine->end(session);
    return NULL;
}

/* Returns operations a second, or, where an operation gives many rows, rows a second. */
static double run_reads(void *context)
{
    struct player *p = context;
    struct worker workers[THREADS_MAX];
    pthread_barrier_t barrier;
    double seconds = 0;
    p->answer = (struct bench_answer){0, 0};
    pthread_barrier_init(&barrier, NULL, p->threads);
    for (unsigned i = 0; i < p->threads; i++) {
        workers[i] = (struct worker){.player = p, .barrier = &barrier, .first = i * p->operations};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            bench_die("a thread could not be made");
    }
    for (unsigned i = 0; i < p->threads; i++) {
        pthread_join(workers[i].thread, NULL);
        p->answer.rows += workers[i].answer.rows;
        p->answer.sum += workers[i].answer.sum;
        seconds = workers[i].seconds > seconds ? workers[i].seconds : seconds;
    }
    pthread_barrier_destroy(&barrier);
    return (double)(p->operations * p->threads) / seconds;
}

static double run_ranges(void *context)
{
    struct player *p = context;
    return run_reads(p) * (double)p->answer.rows / (double)(p->operations * p->threads);
}

/* Each operation looks at every record. */
static double run_scans(void *context)
{
    struct player *p = context;
    return run_reads(p) * (double)p->records->count;
}

struct reads {
    const char *name;
    const char *unit;
    unsigned threads;
    uint64_t operations;
    bool held;
    void (*read)(struct bench_session *, const struct player *, uint64_t, struct bench_answer *);
    double (*run)(void *context);
    struct bench_goal goals[BENCH_GOALS_MAX];
};

static void check_answers(const struct player *players, const char *row)
{
    const struct player *first = NULL;
    for (size_t i = 0; i < PLAYERS; i++) {
        const struct player *p = &players[i];
        if (p->db == NULL)
            continue;
        if (first == NULL)
            first = p;
        if (p->answer.rows != first->answer.rows || p->answer.sum != first->answer.sum)
            bench_die("%s: %s answers %llu rows, sum %llu, and %s %llu rows, sum %llu", row,
                first->engine->name, (unsigned long long)first->answer.rows,
                (unsigned long long)first->answer.sum, p->engine->name,
                (unsigned long long)p->answer.rows, (unsigned long long)p->answer.sum);
    }
}

static void measure(
    struct bench *bench, uint64_t n, struct player *players, const struct reads *reads)
{
    struct bench_row row = {.group = "read",
        .name = reads->name,
        .unit = reads->unit,
        .n = n,
        .sealed_goal = BENCH_SEALED_GOAL};
    memcpy(row.goals, reads->goals, sizeof row.goals);
    struct bench_contestant contestants[PLAYERS];
    for (size_t i = 0; i < PLAYERS; i++) {
        players[i].threads = reads->threads;
        players[i].operations = reads->operations;
        players[i].held = reads->held;
        players[i].read = reads->read;
        contestants[i] = bench_contestant(engines[i], &players[i]);
        contestants[i].run = reads->run;
    }
    bench_measure(bench, &row, contestants, PLAYERS);
    if (bench_wants(bench, reads->name))
        check_answers(players, reads->name);
}

static void measure_all(struct bench *bench, uint64_t n, struct player *players)
{
    uint64_t gets = bench->quick ? 20000 : 100000;
    uint64_t ranges = bench->quick ? 200 : 1000;
    uint64_t scans = n >= 100000 ? 1 : 100000 / n;
#define THAN_SQLITE                                                                                \
    {                                                                                              \
        {"sqlite-json", 2, 0},                                                                     \
        {                                                                                          \
            "sqlite", 1, 0                                                                         \
        }                                                                                          \
    }
    const struct reads rows[] = {
        {"get by id, each its own snapshot, 1 thread", "gets/s", 1, gets, false, read_get,
            run_reads, {{"sqlite", 2, 0}, {"lmdb", 0.7, 0}}},
        {"get by id, one snapshot, 1 thread", "gets/s", 1, gets, true, read_get, run_reads,
            {{"sqlite", 2, 0}, {"lmdb", 0.7, 0}}},
        {"get by id, each its own snapshot, 2 threads", "gets/s", 2, gets, false, read_get,
            run_reads, {{"sqlite", 2, 0}, {"lmdb", 0.7, 0}}},
        {"index range of 100", "records/s", 1, ranges, false, read_range, run_ranges, THAN_SQLITE},
        {"filter scan", "records/s", 1, scans, false, read_filter, run_scans, THAN_SQLITE},
        {"top 10 by a field", "records/s", 1, scans, false, read_top, run_scans, THAN_SQLITE},
        {"count", "counts/s", 1, 10 * scans, false, read_count, run_reads, THAN_SQLITE},
    };
#undef THAN_SQLITE
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        measure(bench, n, players, &rows[i]);
}

static void round_read(struct bench *bench, uint64_t n)
{
    struct player players[PLAYERS];
    struct bench_records records;
    bench_records_orders(&records, n);
    for (size_t i = 0; i < PLAYERS; i++) {
        struct player *p = &players[i];
        const struct bench_engine *engine = engines[i];
        *p = (struct player){.engine = engine, .records = &records};
        p->dir = bench_path(bench->dir, engine->name);
        bench_dir_fresh(p->dir);
        if (engine->missing != NULL || (bench->without_peers && i > 1))
            continue;
        struct bench_db *db = engine->open(p->dir, BENCH_LOAD, engine->variant);
        bench_load(engine, db, &records, BENCH_RANDOM_IDS, BENCH_BATCH);
        engine->settle(db);
        engine->close(db);
        p->db = engine->open(p->dir, BENCH_QUERY, engine->variant);
    }
    measure_all(bench, n, players);
    for (size_t i = 0; i < PLAYERS; i++) {
        if (players[i].db != NULL)
            engines[i]->close(players[i].db);
        bench_dir_remove(players[i].dir);
        free(players[i].dir);
    }
    bench_records_release(&records);
}

void bench_read(struct bench *bench)
{
    bench_rounds(bench, "read", UINT64_MAX, round_read);
}

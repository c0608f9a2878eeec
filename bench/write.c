/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Group `write`. First the bulk loads, each into a new database; then single commits into databases
 * that hold n records already. Every repetition opens its database, warms up, writes, and closes it
 * again, so that no engine's background work falls into another's time, and none has caches that
 * another had no time to fill.
 */

#include "bench.h"
#include "engine.h"
#include "files.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MAX 8
#define WARM_SHARE  10   /* of the commits, made untimed before a repetition: caches start cold */
#define FRESH       4096 /* records that inserts take in turn, under ever new ids */

enum { OURS, SEALED, SQLITE, LMDB, ROCKSDB, APPEND, PLAYERS };

static const struct bench_engine *const engines[PLAYERS] = {&bench_engine_blaze,
    &bench_engine_sealed, &bench_engine_sqlite, &bench_engine_lmdb, &bench_engine_rocksdb,
    &bench_engine_append};

/* What one contestant of a row works on. */
struct player {
    const struct bench_engine *engine;
    char *dir;
    const char *variant;
    const struct bench_records *records;
    const struct bench_records *fresh;
    uint64_t next; /* every insert and update has a number of its own */
    size_t alive;  /* loaded records that are not deleted yet: [0, alive) */

    /* The row at hand. */
    enum bench_id_order order;
    enum bench_profile profile;
    enum bench_verb verb;
    unsigned threads;
    uint64_t commits; /* at most, by all threads */
    double seconds;   /* at most */
};

/* ---- bulk load ---- */

static double run_load(void *context)
{
    struct player *p = context;
    bench_dir_fresh(p->dir);
    struct bench_db *db = p->engine->open(p->dir, p->profile, p->variant);
    size_t batch = p->profile == BENCH_LOAD ? BENCH_BATCH : p->engine->load_batch;
    double start = bench_now();
    bench_load(p->engine, db, p->records, p->order, batch);
    double seconds = bench_now() - start;
    p->engine->close(db);
    p->alive = p->records->count;
    return (double)p->records->count / seconds;
}

/* ---- commits ---- */

struct worker {
    struct player *player;
    struct bench_db *db;
    struct bench_queue *queue;
    pthread_barrier_t *barrier;
    uint64_t first; /* this thread's numbers are first, first + threads ... */
    size_t done;    /* the first of them to warm up */
    size_t timed;
    double seconds;
    pthread_t thread;
};

static void make_write(const struct player *p, uint64_t number, struct bench_write *w)
{
    *w = (struct bench_write){.verb = p->verb};
    if (p->verb == BENCH_INSERT) {
        w->record = &p->fresh->items[number % p->fresh->count];
        bench_id(BENCH_RANDOM_IDS, number, &w->id);
    } else if (p->verb == BENCH_UPDATE) {
        uint64_t record = bench_mix(number) % p->alive;
        bench_id(BENCH_RANDOM_IDS, record, &w->id);
        bench_order_change(record, number, &w->status, &w->total);
    } else {
        bench_id(BENCH_RANDOM_IDS, p->alive - 1 - number, &w->id);
    }
}

static void write_next(struct worker *w, struct bench_session *session)
{
    const struct player *p = w->player;
    struct bench_write write;
    make_write(p, w->first + w->done * p->threads, &write);
    if (w->queue != NULL)
        bench_queue_write(w->queue, &write);
    else
        p->engine->write(session, &write);
    w->done++;
}

static void *work(void *context)
{
    struct worker *w = context;
    const struct player *p = w->player;
    struct bench_session *session = p->engine->session(w->db);
    uint64_t warm = p->commits / p->threads / WARM_SHARE;
    uint64_t most = warm + p->commits / p->threads;
    while (w->done < warm)
        write_next(w, session);
    pthread_barrier_wait(w->barrier);
    double start = bench_now();
    double now = start;
    for (; w->done < most && now - start < p->seconds; now = bench_now())
        write_next(w, session);
    w->seconds = now - start;
    w->timed = w->done - warm;
    p->engine->end(session);
    return NULL;
}

/* Runs the threads; returns all commits done. *rate is of those that were timed, by the longest
 * time of a thread. */
static size_t run_threads(struct player *p, struct bench_db *db, uint64_t first, double *rate)
{
    struct worker workers[THREADS_MAX];
    pthread_barrier_t barrier;
    bool queued = p->threads > 1 && !p->engine->shares_syncs;
    struct bench_queue *queue = queued ? bench_queue_new(p->engine, db) : NULL;
    size_t done = 0, timed = 0;
    double seconds = 0;
    pthread_barrier_init(&barrier, NULL, p->threads);
    for (unsigned i = 0; i < p->threads; i++) {
        workers[i] = (struct worker){
            .player = p, .db = db, .queue = queue, .barrier = &barrier, .first = first + i};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            bench_die("a thread could not be made");
    }
    for (unsigned i = 0; i < p->threads; i++) {
        pthread_join(workers[i].thread, NULL);
        done += workers[i].done;
        timed += workers[i].timed;
        seconds = workers[i].seconds > seconds ? workers[i].seconds : seconds;
    }
    *rate = (double)timed / seconds;
    pthread_barrier_destroy(&barrier);
    if (queue != NULL)
        bench_queue_free(queue);
    return done;
}

static double run_commits(void *context)
{
    struct player *p = context;
    struct bench_db *db = p->engine->open(p->dir, p->profile, p->variant);
    double rate;
    size_t done = run_threads(p, db, p->verb == BENCH_DELETE ? 0 : p->next, &rate);
    p->engine->close(db);
    p->next += 2 * p->commits; /* threads may stop at different counts: no number is used twice */
    if (p->verb == BENCH_DELETE)
        p->alive -= done;
    return rate;
}

/* ---- rows ---- */

struct round {
    struct bench *bench;
    uint64_t n;
    struct player players[PLAYERS];
};

static double measure(struct round *round, const char *name, const char *unit,
    double (*run)(void *context), bool with_limit, const struct bench_goal *goals)
{
    struct bench_row row = {.group = "write",
        .name = name,
        .unit = unit,
        .n = round->n,
        .sealed_goal = BENCH_SEALED_GOAL};
    for (size_t i = 0; goals != NULL && i < BENCH_GOALS_MAX && goals[i].against != NULL; i++)
        row.goals[i] = goals[i];
    struct bench_contestant contestants[PLAYERS];
    size_t count = with_limit ? PLAYERS : APPEND;
    for (size_t i = 0; i < count; i++) {
        contestants[i] = bench_contestant(engines[i], &round->players[i]);
        contestants[i].run = run;
    }
    return bench_measure(round->bench, &row, contestants, count);
}

static bool takes_part(const struct bench *bench, size_t player)
{
    return engines[player]->missing == NULL &&
           (player == OURS || player == SEALED || !bench->without_peers);
}

static void measure_load(struct round *round, const char *name, enum bench_profile profile,
    enum bench_id_order order, const struct bench_goal *goals)
{
    for (size_t i = 0; i < PLAYERS; i++) {
        round->players[i].profile = profile;
        round->players[i].order = order;
    }
    measure(round, name, "records/s", run_load, false, goals);
}

static void measure_all_loads(struct round *round)
{
    static const struct bench_goal goals[] = {{"rocksdb", 2, 0}, {NULL}};
    measure_load(round, "empty start, durable at its end, ascending ids", BENCH_LOAD_ONCE,
        BENCH_ASCENDING_IDS, NULL);
    measure_load(round, "empty start, durable at its end, random ids", BENCH_LOAD_ONCE,
        BENCH_RANDOM_IDS, NULL);
    measure_load(round, "bulk load, durable batches of 10,000, ascending ids", BENCH_LOAD,
        BENCH_ASCENDING_IDS, goals);
    measure_load(round, "bulk load, durable batches of 10,000, random ids", BENCH_LOAD,
        BENCH_RANDOM_IDS, goals);
    for (size_t i = 0; i < APPEND; i++) /* for the commits, where that row was not wanted */
        if (takes_part(round->bench, i) && round->players[i].alive == 0)
            run_load(&round->players[i]);
}

struct commits {
    const char *name;
    enum bench_profile profile;
    enum bench_verb verb;
    unsigned threads;
    uint64_t most;
    bool with_limit;
};

static double measure_commits(
    struct round *round, const struct commits *row, const struct bench_goal *goals)
{
    const struct bench *bench = round->bench;
    bool deletes = row->verb == BENCH_DELETE; /* and never more than there are, in all turns */
    uint64_t turns = deletes ? (bench->repetitions + 1) * (WARM_SHARE + 1) / WARM_SHARE + 1 : 10;
    uint64_t most = row->most < round->n / turns ? row->most : round->n / turns;
    if (most < 32 && !deletes)
        most = 32;
    for (size_t i = 0; i < PLAYERS; i++) {
        struct player *p = &round->players[i];
        p->profile = row->profile;
        p->verb = row->verb;
        p->threads = row->threads;
        p->commits = most / row->threads * row->threads;
        p->seconds = bench->quick ? 0.2 : 1;
    }
    return measure(round, row->name, "commits/s", run_commits, row->with_limit, goals);
}

static void measure_all_commits(struct round *round)
{
    static const struct commits durable_1 = {
        "durable commits, 1 thread", BENCH_FULL, BENCH_INSERT, 1, 5000, true};
    static const struct commits durable_8 = {
        "durable commits, 8 threads", BENCH_FULL, BENCH_INSERT, 8, 20000, true};
    static const struct commits relaxed = {
        "relaxed commits", BENCH_RELAXED, BENCH_INSERT, 1, 50000, false};
    static const struct commits update = {
        "update, durable", BENCH_FULL, BENCH_UPDATE, 1, 5000, false};
    static const struct commits update_relaxed = {
        "update, relaxed", BENCH_RELAXED, BENCH_UPDATE, 1, 50000, false};
    static const struct commits delete_relaxed = {
        "delete, relaxed", BENCH_RELAXED, BENCH_DELETE, 1, 50000, false};

    const struct bench_goal one[] = {{engines[APPEND]->name, 0.8, 0}, {"sqlite", 2, 0}, {NULL}};
    double single = measure_commits(round, &durable_1, one);
    const struct bench_goal eight[] = {{"one thread", 3, single}, {"rocksdb", 1, 0}, {NULL}};
    measure_commits(round, &durable_8, single > 0 ? eight : eight + 1);
    const struct bench_goal loose[] = {{"rocksdb", 1.5, 0}, {"sqlite", 10, 0}, {NULL}};
    measure_commits(round, &relaxed, loose);
    measure_commits(round, &update, NULL);
    measure_commits(round, &update_relaxed, NULL);
    measure_commits(round, &delete_relaxed, NULL);
}

/* Gives a player the variant of its settings with which it loads best here. */
static void choose_variant(struct round *round, size_t player, const char *const *variants)
{
    struct player *p = &round->players[player];
    const char *best = NULL;
    double best_rate = 0;
    if (!takes_part(round->bench, player))
        return;
    p->profile = BENCH_LOAD;
    for (; *variants != NULL; variants++) {
        p->variant = *variants;
        double first = run_load(p);
        double second = run_load(p);
        double rate = first > second ? first : second;
        if (rate > best_rate) {
            best = p->variant;
            best_rate = rate;
        }
    }
    p->variant = best != NULL ? best : p->engine->variant;
    printf("    %s loads best with its setting \"%s\" here\n", p->engine->name, p->variant);
}

static void round_write(struct bench *bench, uint64_t n)
{
    struct round round = {bench, n, {{0}}};
    struct bench_records records, fresh;
    bench_records_orders(&records, n);
    bench_records_orders(&fresh, FRESH);
    for (size_t i = 0; i < PLAYERS; i++) {
        struct player *p = &round.players[i];
        *p = (struct player){.engine = engines[i], .records = &records, .fresh = &fresh, .next = n};
        p->dir = bench_path(bench->dir, engines[i]->name);
        p->variant = engines[i]->variant;
        bench_dir_fresh(p->dir);
    }
    choose_variant(&round, ROCKSDB, (const char *const[]){"none", "lz4", "zstd", NULL});
    choose_variant(&round, LMDB, (const char *const[]){"plain", "writemap", NULL});
    measure_all_loads(&round);
    round.players[LMDB].variant =
        engines[LMDB]->variant; /* a map written to is no good at commits */
    measure_all_commits(&round);
    for (size_t i = 0; i < PLAYERS; i++) {
        bench_dir_remove(round.players[i].dir);
        free(round.players[i].dir);
    }
    bench_records_release(&records);
    bench_records_release(&fresh);
}

void bench_write(struct bench *bench)
{
    bench_rounds(bench, "write", UINT64_MAX, round_write);
}

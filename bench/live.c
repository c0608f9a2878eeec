/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Group `live`: a commit on A until an observer on B is told of it, through a hub. All three are in
 * this process, each with threads of its own, since one clock is then right for all and mem: is
 * possible at all; between processes nothing else would happen over unix: and tcp:. One commit is
 * under way at a time, so that every thread has gone to sleep and is woken: a bare round trip,
 * which is measured in the same turn, sleeps and wakes as well, on two threads.
 *
 * And the same without a hub: a commit of another process in a database that this one has open.
 *
 * One turn gives all percentiles of a setting.
 */

#include "bench.h"
#include "child.h"
#include "files.h"
#include "records.h"
#include "trip.h"

#include <blazedb.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define COLLECTION "orders"
#define RECORDS    1000
#define WARM_UP    50
#define BATCH      100 /* records a transaction, of the sustained row */
#define PATIENCE_S 60
#define SAMPLES    1000
#define PACE       100000 /* records/s, of the row about lag */

/* What an observer on B has seen. */
struct seen {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t events;
    double at; /* when the last came */

    const double *begun; /* when each transaction was, or NULL: see run_lag() */
    uint64_t before;     /* events of earlier */
    double lag;          /* the greatest so far */
};

/* Two copies at one hub, both linked. */
struct scene {
    blaze_db *a, *b;
    blaze_link *link_a, *link_b;
    blaze_observer *observer;
    struct seen seen;
    uint64_t expected; /* events that B has to have seen */
    uint64_t next;     /* every write has a number of its own */
    char *path_a, *path_b;
};

static void check(int code, const blaze_error *error)
{
    if (code < 0)
        bench_die("blazedb: %s: %s", blaze_error_name(code), error->text);
}

static void on_events(void *context, const blaze_event *events, size_t count)
{
    struct seen *seen = context;
    double now = bench_now();
    (void)events;
    pthread_mutex_lock(&seen->lock);
    /* The oldest of the transactions that are there in full with this call. */
    uint64_t oldest = (seen->events - seen->before) / BATCH;
    seen->events += count;
    seen->at = now;
    if (seen->begun != NULL && (seen->events - seen->before) / BATCH > oldest &&
        now - seen->begun[oldest] > seen->lag)
        seen->lag = now - seen->begun[oldest];
    pthread_cond_signal(&seen->changed);
    pthread_mutex_unlock(&seen->lock);
}

/* Waits until B has seen all that A wrote; returns when that was. */
static double await(struct scene *scene)
{
    struct seen *seen = &scene->seen;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&seen->lock);
    while (seen->events < scene->expected)
        if (pthread_cond_timedwait(&seen->changed, &seen->lock, &until) == ETIMEDOUT)
            bench_die("blazedb: a write did not arrive within %d s", PATIENCE_S);
    double at = seen->at;
    if (seen->events > scene->expected)
        bench_die("blazedb: an observer was told of more than was written");
    pthread_mutex_unlock(&seen->lock);
    return at;
}

static void fill(blaze_doc *doc, uint64_t number)
{
    const char *status;
    int64_t total;
    bench_order_change(number % RECORDS, number, &status, &total);
    blaze_doc_clear(doc);
    blaze_doc_add_string(doc, "status", status);
    blaze_doc_add_int(doc, "total_cents", total);
}

/* One write on A; returns the seconds until B's observer was told. */
static double sample(struct scene *scene, blaze_doc *doc)
{
    blaze_id id;
    blaze_error error;
    bench_id(BENCH_RANDOM_IDS, scene->next % RECORDS, &id);
    fill(doc, scene->next++);
    scene->expected++;
    double start = bench_now();
    check(blaze_upsert(scene->a, COLLECTION, &id, doc, &error), &error);
    return await(scene) - start;
}

enum { MEM, UNIX, TCP, KINDS };

#define DURABILITIES 2 /* BLAZE_FULL and BLAZE_RELAXED: a hub of each */

struct live {
    struct bench *bench;
    blaze_hub *hubs[DURABILITIES];
    char *hub_dirs[DURABILITIES];
    char *bare_url[KINDS];
    double sync; /* p50 of the disk's own, in microseconds */

    /* The rows at hand. */
    int kind;
    blaze_durability durability;
    unsigned samples;
    uint64_t records;
};

static void scene_open(struct scene *scene, const struct live *live, int kind)
{
    const char *dir = live->bench->dir;
    const char *url = blaze_hub_url(live->hubs[live->durability], (size_t)kind);
    blaze_open_options open;
    blaze_sync_options sync;
    blaze_error error;
    char *code;
    *scene = (struct scene){
        .seen = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER}};
    scene->path_a = bench_path(dir, "a.blz");
    scene->path_b = bench_path(dir, "b.blz");
    bench_dir_remove(scene->path_a);
    bench_dir_remove(scene->path_b);
    blaze_sync_options_init(&sync);
    blaze_open_options_init(&open);
    sync.trust_hub = 1; /* what a blind one costs is in `sync` and `crypto` */
    open.durability = live->durability;
    open.create = 1;
    check(blaze_open(&scene->a, scene->path_a, &open, &error), &error);
    check(blaze_share(scene->a, url, &sync, &code, &error), &error);
    open.create = 0;
    check(blaze_join(&scene->b, scene->path_b, code, &open, &sync, &error), &error);
    blaze_free(code);
    check(blaze_observe(scene->b, COLLECTION, on_events, &scene->seen, &scene->observer, &error),
        &error);
    check(blaze_link_open(scene->a, &sync, &scene->link_a, &error), &error);
    check(blaze_link_open(scene->b, &sync, &scene->link_b, &error), &error);
}

static void scene_close(struct scene *scene)
{
    char of_a[BLAZE_DIGEST_TEXT_SIZE], of_b[BLAZE_DIGEST_TEXT_SIZE];
    blaze_error error;
    check(blaze_digest(scene->a, of_a, &error), &error);
    check(blaze_digest(scene->b, of_b, &error), &error);
    if (strcmp(of_a, of_b) != 0)
        bench_die("blazedb: the copies differ");
    blaze_link_close(scene->link_a);
    blaze_link_close(scene->link_b);
    blaze_unobserve(scene->observer);
    check(blaze_close(scene->a, &error), &error);
    check(blaze_close(scene->b, &error), &error);
    bench_dir_remove(scene->path_a);
    bench_dir_remove(scene->path_b);
    free(scene->path_a);
    free(scene->path_b);
}

/* In microseconds; sorts the values. */
static double percentile(double *seconds, unsigned count, unsigned percent)
{
    return bench_percentile(seconds, count, percent / 100.0) * 1e6;
}

/* ---- rows ---- */

/* What a row says of the times of one turn. */
static const unsigned percents[] = {50, 99};
#define PERCENTS (sizeof percents / sizeof percents[0])

static void take_percentiles(double *seconds, unsigned count, double *values)
{
    for (size_t i = 0; i < PERCENTS; i++)
        values[i] = percentile(seconds, count, percents[i]);
}

static void run_live(void *context, double *values)
{
    struct live *live = context;
    struct scene scene;
    double seconds[SAMPLES];
    blaze_doc *doc;
    if (blaze_doc_new(&doc) != BLAZE_OK)
        bench_die("out of memory");
    scene_open(&scene, live, live->kind);
    for (unsigned i = 0; i < WARM_UP; i++)
        sample(&scene, doc);
    for (unsigned i = 0; i < live->samples; i++)
        seconds[i] = sample(&scene, doc);
    scene_close(&scene);
    blaze_doc_free(doc);
    take_percentiles(seconds, live->samples, values);
}

/* Another process writes into the database that this one observes. */
static void run_beside(void *context, double *values)
{
    struct live *live = context;
    struct seen seen = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct scene scene = {.seen = seen};
    struct bench_child writer;
    double seconds[SAMPLES];
    char line[256], number[24];
    blaze_open_options open;
    blaze_error error;
    bool full = live->durability == BLAZE_FULL;
    scene.path_a = bench_path(live->bench->dir, "beside.blz");
    bench_dir_remove(scene.path_a);
    blaze_open_options_init(&open);
    open.create = 1;
    check(blaze_open(&scene.a, scene.path_a, &open, &error), &error);
    check(blaze_observe(scene.a, COLLECTION, on_events, &scene.seen, &scene.observer, &error),
        &error);
    snprintf(number, sizeof number, "%d", RECORDS);
    bench_child_start(&writer,
        (const char *const[]){"write-on", scene.path_a, number, full ? "full" : "relaxed", NULL});
    for (unsigned i = 0; i < WARM_UP + live->samples; i++) {
        if (write(writer.in, "\n", 1) != 1)
            bench_die("the writer does not listen");
        scene.expected++;
        double at = await(&scene);
        bench_child_line(&writer, line, sizeof line);
        if (i >= WARM_UP)
            seconds[i - WARM_UP] = at - bench_child_number(line, "start");
    }
    bench_child_end_input(&writer);
    bench_child_wait(&writer, 0);
    blaze_unobserve(scene.observer);
    check(blaze_close(scene.a, &error), &error);
    bench_dir_remove(scene.path_a);
    free(scene.path_a);
    take_percentiles(seconds, live->samples, values);
}

static void run_trips(void *context, double *values)
{
    struct live *live = context;
    double seconds[SAMPLES];
    bench_trips(live->bare_url[live->kind], seconds, live->samples);
    take_percentiles(seconds, live->samples, values);
}

/* One transaction of the sustained rows. */
static void insert_batch(struct scene *scene, blaze_doc *doc, uint64_t first)
{
    blaze_txn *txn;
    blaze_error error;
    check(blaze_begin(scene->a, &txn, &error), &error);
    for (uint64_t i = first; i < first + BATCH; i++) {
        blaze_id id;
        bench_id(BENCH_RANDOM_IDS, RECORDS + i, &id);
        fill(doc, i);
        check(blaze_txn_insert(txn, COLLECTION, &id, doc, &error), &error);
    }
    check(blaze_commit(txn, &error), &error);
}

/* Records/s as fast as A writes. */
static double run_sustained(void *context)
{
    struct live *live = context;
    struct scene scene;
    blaze_doc *doc;
    if (blaze_doc_new(&doc) != BLAZE_OK)
        bench_die("out of memory");
    scene_open(&scene, live, live->kind);
    sample(&scene, doc);
    double start = bench_now();
    for (uint64_t i = 0; i < live->records; i += BATCH)
        insert_batch(&scene, doc, i);
    scene.expected += live->records;
    double seconds = await(&scene) - start;
    scene_close(&scene);
    blaze_doc_free(doc);
    return (double)live->records / seconds;
}

/* The greatest lag in ms, while A writes PACE records a second: how old a transaction is, from its
 * beginning, when B's observer is told of its last record. */
static double run_lag(void *context)
{
    struct live *live = context;
    struct scene scene;
    blaze_doc *doc;
    uint64_t count = live->records / BATCH;
    double *begun = calloc(count + 1, sizeof *begun);
    if (begun == NULL || blaze_doc_new(&doc) != BLAZE_OK)
        bench_die("out of memory");
    scene_open(&scene, live, live->kind);
    sample(&scene, doc);
    pthread_mutex_lock(&scene.seen.lock);
    scene.seen.begun = begun;
    scene.seen.before = scene.expected;
    pthread_mutex_unlock(&scene.seen.lock);
    double start = bench_now();
    for (uint64_t i = 0; i < count; i++) {
        while (bench_now() < start + (double)(i * BATCH) / PACE)
            sched_yield();
        pthread_mutex_lock(&scene.seen.lock);
        begun[i] = bench_now();
        pthread_mutex_unlock(&scene.seen.lock);
        insert_batch(&scene, doc, i * BATCH);
    }
    scene.expected += count * BATCH;
    await(&scene);
    double lag = scene.seen.lag;
    scene_close(&scene);
    blaze_doc_free(doc);
    free(begun);
    return lag * 1e3;
}

/* The disk's own sync: 512 bytes written over, p50. */
static double measure_sync(const char *dir)
{
    enum { COUNT = 200 };
    static const uint8_t block[512];
    double seconds[COUNT];
    char *path = bench_path(dir, "synced");
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    for (int i = 0; i < COUNT; i++) {
        double start = bench_now();
        if (fd < 0 || pwrite(fd, block, sizeof block, 0) != sizeof block || fdatasync(fd) != 0)
            bench_die("%s: %s", path, strerror(errno));
        seconds[i] = bench_now() - start;
    }
    close(fd);
    unlink(path);
    free(path);
    return percentile(seconds, COUNT, 50);
}

#define BARE_TRIP "bare round trip"

struct wish {
    const char *name;
    int kind; /* of the bare trip, and of the link if there is one */
    void (*run)(void *context, double *values);
    double micros[PERCENTS]; /* relaxed; 0: none set */
};

/* Where the bare trip alone takes most of a goal, the goal is three times the bare trip. */
static void set_goal(struct bench_row *row, double wished, double bare, double syncs, char goal[80])
{
    bool slow = bare > wished / 2;
    if (slow && wished > 0 && syncs == 0) {
        row->goals[0] = (struct bench_goal){BARE_TRIP, 3, 0};
        return;
    }
    double least = (slow ? 3 * bare : wished) + syncs;
    snprintf(goal, 80, "%.0f us (%s%s)", least, slow ? "3 bare trips" : "set",
        syncs > 0 ? " + 2 syncs" : "");
    if (wished > 0)
        row->goals[0] = (struct bench_goal){goal, 1, least};
}

static void measure_latency(struct live *live, const struct wish *wish, blaze_durability durability)
{
    struct bench_row rows[PERCENTS];
    char names[PERCENTS][80], goals[PERCENTS][80];
    double bare[PERCENTS];
    live->kind = wish->kind;
    live->durability = durability;
    bool full = durability == BLAZE_FULL;
    run_trips(live, bare);
    for (size_t i = 0; i < PERCENTS; i++) {
        snprintf(names[i], sizeof names[i], "%s, %s, p%u", full ? "durable" : "relaxed", wish->name,
            percents[i]);
        rows[i] = (struct bench_row){"live", names[i], "us", live->samples, .less_is_better = true};
        set_goal(&rows[i], wish->micros[i], bare[i], full ? 2 * live->sync : 0, goals[i]);
    }
    const struct bench_contestant contestants[] = {
        {"blazedb", BENCH_OURS, NULL, NULL, live, wish->run},
        {BARE_TRIP, BENCH_LIMIT, NULL, NULL, live, run_trips}};
    bench_measure_rows(live->bench, rows, PERCENTS, contestants, 2);
}

static void measure_sustained(struct live *live)
{
    live->kind = UNIX;
    live->durability = BLAZE_RELAXED;
    live->records = live->bench->n < 500000 ? live->bench->n : 500000;
    live->records -= live->records % BATCH;
    struct bench_row row = {"live", "sustained, relaxed, transactions of 100, unix:", "records/s",
        live->records, .goals = {{"100,000 records/s", 1, 100000}}};
    const struct bench_contestant rate[] = {{"blazedb", BENCH_OURS, NULL, run_sustained, live}};
    bench_measure(live->bench, &row, rate, 1);

    struct bench_row lag = {"live", "greatest lag at 100,000 records/s, relaxed, unix:", "ms",
        live->records, .less_is_better = true, .goals = {{"250 ms", 1, 250}}};
    const struct bench_contestant lagging[] = {{"blazedb", BENCH_OURS, NULL, run_lag, live}};
    bench_measure(live->bench, &lag, lagging, 1);
}

static void hub_open(struct live *live, blaze_durability durability)
{
    char *mem_url, *unix_url, *name;
    if (asprintf(&name, "hub-%d", (int)durability) < 0 ||
        asprintf(&mem_url, "mem:bench-%s", name) < 0 ||
        asprintf(&unix_url, "unix:%s/%s.sock", live->bench->dir, name) < 0)
        bench_die("out of memory");
    live->hub_dirs[durability] = bench_path(live->bench->dir, name);
    const char *const listen[KINDS] = {mem_url, unix_url, "tcp://127.0.0.1:0"};
    blaze_hub_options options;
    blaze_error error;
    blaze_hub_options_init(&options);
    options.listen = listen;
    options.listen_count = KINDS;
    options.durability = durability;
    options.trusted = 1;
    check(blaze_hub_open(&live->hubs[durability], live->hub_dirs[durability], &options, &error),
        &error);
    free(unix_url);
    free(mem_url);
    free(name);
}

static void hub_close(struct live *live, blaze_durability durability)
{
    blaze_error error;
    check(blaze_hub_close(live->hubs[durability], &error), &error);
    bench_dir_remove(live->hub_dirs[durability]);
    free(live->hub_dirs[durability]);
}

void bench_live(struct bench *bench)
{
    static const struct wish wishes[] = {
        {"mem:", MEM, run_live, {50, 0}},
        {"unix:", UNIX, run_live, {100, 500}},
        {"tcp: with TLS", TCP, run_live, {150, 1000}},
        {"another process", UNIX, run_beside, {0, 0}},
    };
    struct live live = {.bench = bench, .samples = bench->quick ? 200 : SAMPLES};
    if (asprintf(&live.bare_url[UNIX], "unix:%s/bare.sock", bench->dir) < 0)
        bench_die("out of memory");
    live.bare_url[MEM] = strdup("mem:bench-bare");
    live.bare_url[TCP] = strdup("tcp://127.0.0.1:0");
    hub_open(&live, BLAZE_FULL);
    hub_open(&live, BLAZE_RELAXED);
    live.sync = measure_sync(bench->dir);
    bench_report_round("live", live.samples);
    printf(
        "    n is the commits of each turn; the disk's own sync takes %.0f us here\n", live.sync);
    for (size_t i = 0; i < sizeof wishes / sizeof wishes[0]; i++) {
        measure_latency(&live, &wishes[i], BLAZE_RELAXED);
        measure_latency(&live, &wishes[i], BLAZE_FULL);
    }
    measure_sustained(&live);
    hub_close(&live, BLAZE_FULL);
    hub_close(&live, BLAZE_RELAXED);
    for (int i = 0; i < KINDS; i++)
        free(live.bare_url[i]);
}

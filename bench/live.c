/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Group `live`: a commit on A until an observer on B is told of it, through a hub. All three are in
 * this process, each with threads of its own, since one clock is then right for all and mem: is
 * possible at all; between processes nothing else would happen over unix: and tcp:. One commit is
 * under way at a time, so that every thread has gone to sleep and is woken: a bare round trip,
 * which is measured in the same turn, sleeps and wakes as well, on two threads.
 */

#include "bench.h"
#include "files.h"
#include "records.h"
#include "trip.h"

#include <blazedb.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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

/* What an observer on B has seen. */
struct seen {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t events;
    double at; /* when the last came */
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
    seen->events += count;
    seen->at = now;
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

static void scene_open(
    struct scene *scene, const char *dir, const char *url, blaze_durability durability)
{
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
    open.durability = durability;
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

enum { MEM, UNIX, TCP, KINDS };

struct live {
    struct bench *bench;
    blaze_hub *hub;
    char *hub_dir;
    char *bare_url[KINDS];
    double sync; /* p50 of the disk's own, in microseconds */

    /* The row at hand. */
    int kind;
    blaze_durability durability;
    unsigned percent;
    unsigned samples;
    uint64_t records;
};

static double run_live(void *context)
{
    struct live *live = context;
    struct scene scene;
    double seconds[SAMPLES];
    blaze_doc *doc;
    if (blaze_doc_new(&doc) != BLAZE_OK)
        bench_die("out of memory");
    scene_open(
        &scene, live->bench->dir, blaze_hub_url(live->hub, (size_t)live->kind), live->durability);
    for (unsigned i = 0; i < WARM_UP; i++)
        sample(&scene, doc);
    for (unsigned i = 0; i < live->samples; i++)
        seconds[i] = sample(&scene, doc);
    scene_close(&scene);
    blaze_doc_free(doc);
    return percentile(seconds, live->samples, live->percent);
}

static double run_trips(void *context)
{
    struct live *live = context;
    double seconds[SAMPLES];
    bench_trips(live->bare_url[live->kind], seconds, live->samples);
    return percentile(seconds, live->samples, live->percent);
}

static double run_sustained(void *context)
{
    struct live *live = context;
    struct scene scene;
    blaze_doc *doc;
    blaze_error error;
    if (blaze_doc_new(&doc) != BLAZE_OK)
        bench_die("out of memory");
    scene_open(
        &scene, live->bench->dir, blaze_hub_url(live->hub, (size_t)live->kind), live->durability);
    sample(&scene, doc);
    double start = bench_now();
    for (uint64_t i = 0; i < live->records;) {
        blaze_txn *txn;
        check(blaze_begin(scene.a, &txn, &error), &error);
        for (unsigned b = 0; b < BATCH && i < live->records; b++, i++) {
            blaze_id id;
            bench_id(BENCH_RANDOM_IDS, RECORDS + i, &id);
            fill(doc, i);
            check(blaze_txn_insert(txn, COLLECTION, &id, doc, &error), &error);
        }
        check(blaze_commit(txn, &error), &error);
    }
    scene.expected += live->records;
    double seconds = await(&scene) - start;
    scene_close(&scene);
    blaze_doc_free(doc);
    return (double)live->records / seconds;
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

struct wish {
    int kind;
    unsigned percent;
    double micros; /* relaxed */
};

/* Where the bare trip alone takes most of a goal, the goal is three times the bare trip. */
static void measure_latency(struct live *live, const struct wish *wish, blaze_durability durability)
{
    static const char *const kinds[KINDS] = {"mem:", "unix:", "tcp: with TLS"};
    char name[80], goal[80];
    live->kind = wish->kind;
    live->percent = wish->percent;
    live->durability = durability;
    bool full = durability == BLAZE_FULL;
    snprintf(name, sizeof name, "%s, %s, p%u", full ? "durable" : "relaxed", kinds[wish->kind],
        wish->percent);
    if (!bench_wants(live->bench, name))
        return;

    double bare = run_trips(live);
    bool slow = bare > wish->micros / 2;
    double least = slow ? 3 * bare : wish->micros;
    snprintf(goal, sizeof goal, "%.0f us (%s%s)", least + (full ? 2 * live->sync : 0),
        slow ? "3 bare trips" : "set", full ? " + 2 syncs" : "");
    struct bench_row row = {"live", name, "us", live->samples, .less_is_better = true};
    if (wish->micros > 0)
        row.goals[0] = (struct bench_goal){goal, 1, least + (full ? 2 * live->sync : 0)};
    const struct bench_contestant contestants[] = {{"blazedb", BENCH_OURS, NULL, run_live, live},
        {"bare round trip", BENCH_LIMIT, NULL, run_trips, live}};
    bench_measure(live->bench, &row, contestants, 2);
}

static void measure_sustained(struct live *live)
{
    live->kind = UNIX;
    live->durability = BLAZE_RELAXED;
    live->records = live->bench->n < 500000 ? live->bench->n : 500000;
    struct bench_row row = {"live", "sustained, relaxed, transactions of 100, unix:", "records/s",
        live->records, .goals = {{"100,000 records/s", 1, 100000}}};
    const struct bench_contestant contestants[] = {
        {"blazedb", BENCH_OURS, NULL, run_sustained, live}};
    bench_measure(live->bench, &row, contestants, 1);
}

static void hub_open(struct live *live)
{
    char *unix_url;
    if (asprintf(&unix_url, "unix:%s/live.sock", live->bench->dir) < 0 ||
        asprintf(&live->bare_url[UNIX], "unix:%s/bare.sock", live->bench->dir) < 0)
        bench_die("out of memory");
    live->bare_url[MEM] = strdup("mem:bench-bare");
    live->bare_url[TCP] = strdup("tcp://127.0.0.1:0");
    live->hub_dir = bench_path(live->bench->dir, "hub");
    const char *const listen[KINDS] = {"mem:bench-hub", unix_url, "tcp://127.0.0.1:0"};
    blaze_hub_options options;
    blaze_error error;
    blaze_hub_options_init(&options);
    options.listen = listen;
    options.listen_count = KINDS;
    check(blaze_hub_open(&live->hub, live->hub_dir, &options, &error), &error);
    free(unix_url);
}

void bench_live(struct bench *bench)
{
    static const struct wish wishes[] = {{MEM, 50, 50}, {MEM, 99, 0}, {UNIX, 50, 100},
        {UNIX, 99, 500}, {TCP, 50, 150}, {TCP, 99, 1000}};
    struct live live = {.bench = bench, .samples = bench->quick ? 200 : SAMPLES};
    blaze_error error;
    hub_open(&live);
    live.sync = measure_sync(bench->dir);
    bench_report_round("live", live.samples);
    printf(
        "    n is the commits of each turn; the disk's own sync takes %.0f us here\n", live.sync);
    for (size_t i = 0; i < sizeof wishes / sizeof wishes[0]; i++) {
        measure_latency(&live, &wishes[i], BLAZE_RELAXED);
        measure_latency(&live, &wishes[i], BLAZE_FULL);
    }
    measure_sustained(&live);
    check(blaze_hub_close(live.hub, &error), &error);
    bench_dir_remove(live.hub_dir);
    free(live.hub_dir);
    for (int i = 0; i < KINDS; i++)
        free(live.bare_url[i]);
}

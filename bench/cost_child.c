/* SPDX-License-Identifier: Apache-2.0 */

/* Groups `cost` and `latency`: what a process on one engine does and counts. */

#include "bench.h"
#include "child.h"
#include "disk.h"

#include <stdlib.h>
#include <string.h>

#define UPDATE_BATCH  100
#define LATENCY_BATCH 1000

/* The id and the packed values: what every engine has to keep of a record at least. */
static uint64_t user_bytes(uint64_t n)
{
    struct bz_buf packed;
    uint64_t bytes = 0;
    bz_buf_init(&packed, 65536);
    for (uint64_t i = 0; i < n; i++) {
        struct bench_record record;
        char text[BENCH_TEXT_MAX];
        bench_order(i, &record, text);
        bz_buf_clear(&packed);
        bench_pack(&packed, &bench_orders, &record);
        bytes += sizeof(blaze_id) + packed.size;
    }
    bz_buf_release(&packed);
    return bytes;
}

static void begin(const char *dir, struct bench_disk *before)
{
    bench_disk_write_back(dir);
    bench_disk_count_syncs();
    bench_disk_now(dir, before);
}

/* Moves all to where it stays, closes, and answers what was counted since `before`. */
static int finish(const struct bench_engine *engine, struct bench_db *db, const char *dir,
    const struct bench_disk *before, uint64_t user)
{
    struct bench_disk worked, closed;
    bench_disk_now(dir, &worked);
    engine->flush(db);
    bench_disk_quiet();
    engine->close(db);
    bench_disk_write_back(dir);
    bench_disk_now(dir, &closed);
    printf("{\"syncs\":%llu,\"given\":%llu,\"written\":%llu,\"all_given\":%llu,"
           "\"all_written\":%llu,\"user\":%llu}\n",
        (unsigned long long)(worked.syncs - before->syncs),
        (unsigned long long)(worked.given - before->given),
        (unsigned long long)(worked.written - before->written),
        (unsigned long long)(closed.given - before->given),
        (unsigned long long)(closed.written - before->written), (unsigned long long)user);
    return 0;
}

int bench_child_cost_commits(char **arguments)
{
    const struct bench_engine *engine = bench_engine_named(arguments[0]);
    const char *dir = arguments[2];
    uint64_t first = strtoull(arguments[3], NULL, 10);
    uint64_t count = strtoull(arguments[4], NULL, 10);
    struct bench_db *db = engine->open(dir, BENCH_FULL, arguments[1]);
    struct bench_session *session = engine->session(db);
    struct bench_disk before;
    begin(dir, &before);
    for (uint64_t i = first; i < first + count; i++) {
        struct bench_record record;
        char text[BENCH_TEXT_MAX];
        struct bench_write w = {.verb = BENCH_INSERT, .record = &record};
        bench_order(i, &record, text);
        bench_id(BENCH_RANDOM_IDS, i, &w.id);
        engine->write(session, &w);
    }
    engine->end(session);
    return finish(engine, db, dir, &before, 0);
}

int bench_child_cost_load(char **arguments)
{
    struct bench_job job = bench_job_parse(arguments);
    struct bench_disk before;
    begin(job.dir, &before); /* making the database is a part of it */
    struct bench_db *db = bench_job_open(&job, BENCH_LOAD);
    bench_job_load(&job, db, BENCH_BATCH);
    return finish(job.engine, db, job.dir, &before, user_bytes(job.n));
}

/* An update writes a record of the same size; which of its fields changed is the engine's to use.
 */
int bench_child_cost_update(char **arguments)
{
    struct bench_job job = bench_job_parse(arguments);
    struct bench_disk before;
    struct bench_db *db = bench_job_open(&job, BENCH_LOAD);
    begin(job.dir, &before);
    bench_job_update(&job, db, job.n, UPDATE_BATCH);
    return finish(job.engine, db, job.dir, &before, user_bytes(job.n));
}

/* Writes large record `i` by one of an engine's functions; returns how long that took. */
static double write_large(struct bench_session *session, uint64_t i,
    void (*write)(struct bench_session *session, const struct bench_write *w))
{
    struct bench_record record;
    char text[BENCH_TEXT_MAX];
    struct bench_write w = {.verb = BENCH_INSERT, .record = &record};
    bench_order_large(i, &record, text);
    bench_id(BENCH_RANDOM_IDS, i, &w.id);
    double start = bench_now();
    write(session, &w);
    return bench_now() - start;
}

int bench_child_latency(char **arguments)
{
    const struct bench_engine *engine = bench_engine_named(arguments[0]);
    uint64_t count = strtoull(arguments[3], NULL, 10);
    bool full = strcmp(arguments[4], "full") == 0;
    struct bench_db *db =
        engine->open(arguments[2], full ? BENCH_FULL : BENCH_RELAXED, arguments[1]);
    struct bench_session *session = engine->session(db);
    double *seconds = calloc(count, sizeof *seconds);
    if (seconds == NULL)
        bench_die("out of memory");
    uint64_t loaded = 0;
    while (loaded < count / 4) {
        engine->begin(session);
        for (unsigned b = 0; b < LATENCY_BATCH && loaded < count / 4; b++)
            write_large(session, loaded++, engine->add);
        engine->commit(session);
    }
    uint64_t checkpoints = engine->checkpoints != NULL ? engine->checkpoints(db) : 0;
    double start = bench_now();
    for (uint64_t i = 0; i < count; i++)
        seconds[i] = write_large(session, loaded + i, engine->write);
    double rate = (double)count / (bench_now() - start);
    checkpoints = engine->checkpoints != NULL ? engine->checkpoints(db) - checkpoints : 0;
    engine->end(session);
    engine->close(db);
    static const double shares[] = {0.5, 0.99, 0.999, 1};
    double at[4];
    for (size_t i = 0; i < 4; i++)
        at[i] = bench_percentile(seconds, count, shares[i]);
    printf("{\"p50\":%.9f,\"p99\":%.9f,\"p999\":%.9f,\"max\":%.9f,\"rate\":%.9g,"
           "\"checkpoints\":%llu}\n",
        at[0], at[1], at[2], at[3], rate, (unsigned long long)checkpoints);
    free(seconds);
    return 0;
}

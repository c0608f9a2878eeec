/* SPDX-License-Identifier: Apache-2.0 */
#include "child.h"

#include "bench.h"
#include "files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENGINE_ARGUMENTS 5
#define GETS             10000

static const struct {
    const char *name;
    int arguments;
    int (*run)(char **arguments);
} verbs[] = {
    {"load", ENGINE_ARGUMENTS, bench_child_load},
    {"update", ENGINE_ARGUMENTS, bench_child_update},
    {"open", ENGINE_ARGUMENTS, bench_child_open},
    {"gets", ENGINE_ARGUMENTS, bench_child_gets},
    {"die", ENGINE_ARGUMENTS, bench_child_die},
    {"cost-commits", ENGINE_ARGUMENTS, bench_child_cost_commits},
    {"cost-load", ENGINE_ARGUMENTS, bench_child_cost_load},
    {"cost-update", ENGINE_ARGUMENTS, bench_child_cost_update},
    {"latency", ENGINE_ARGUMENTS, bench_child_latency},
    {"large-load", 2, bench_child_large_load},
    {"large-open", 2, bench_child_large_open},
    {"large-work", 4, bench_child_large_work},
    {"hub", 2, bench_child_hub},
    {"share", 6, bench_child_share},
    {"bulk", 2, bench_child_bulk},
    {"join", 2, bench_child_join},
    {"change", 5, bench_child_change},
    {"sync", 2, bench_child_sync},
    {"scan", 1, bench_child_scan},
    {"replay", 5, bench_child_replay},
    {"write-on", 3, bench_child_write_on},
    {"apply", 1, bench_child_apply},
};

int bench_child_main(int count, char **arguments)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (count > 0 && strcmp(arguments[0], verbs[i].name) == 0 &&
            count - 1 == verbs[i].arguments)
            return verbs[i].run(arguments + 1);
    bench_die("no such work for a child process");
}

const struct bench_engine *bench_engine_named(const char *name)
{
    static const struct bench_engine *const engines[] = {&bench_engine_blaze, &bench_engine_sealed,
        &bench_engine_sqlite, &bench_engine_sqlite_json, &bench_engine_lmdb, &bench_engine_rocksdb,
        &bench_engine_append};
    for (size_t i = 0; i < sizeof engines / sizeof engines[0]; i++)
        if (strcmp(engines[i]->name, name) == 0)
            return engines[i];
    bench_die("no such engine: %s", name);
}

void bench_child_answer(double seconds)
{
    printf("{\"seconds\":%.9f,\"peak\":%llu,\"own\":%llu}\n", seconds,
        (unsigned long long)bench_memory_peak(), (unsigned long long)bench_memory_own());
    fflush(stdout);
}

struct bench_job bench_job_parse(char **arguments)
{
    return (struct bench_job){bench_engine_named(arguments[0]), arguments[1], arguments[2],
        strtoull(arguments[3], NULL, 10),
        strcmp(arguments[4], "ascending") == 0 ? BENCH_ASCENDING_IDS : BENCH_RANDOM_IDS};
}

struct bench_db *bench_job_open(const struct bench_job *job, enum bench_profile profile)
{
    return job->engine->open(job->dir, profile, job->variant);
}

void bench_job_load(const struct bench_job *job, struct bench_db *db, unsigned batch)
{
    struct bench_session *session = job->engine->session(db);
    for (uint64_t i = 0; i < job->n;) {
        job->engine->begin(session);
        for (unsigned b = 0; b < batch && i < job->n; b++, i++) {
            struct bench_record record;
            char text[BENCH_TEXT_MAX];
            struct bench_write w = {.verb = BENCH_INSERT, .record = &record};
            bench_order(i, &record, text);
            bench_id(job->order, i, &w.id);
            job->engine->add(session, &w);
        }
        job->engine->commit(session);
    }
    job->engine->end(session);
}

/* A step without a common factor with n visits every record once. */
static uint64_t step_through(uint64_t n)
{
    for (uint64_t step = n * 5 / 8 | 1;; step += 2) {
        uint64_t a = step, b = n;
        while (b != 0) {
            uint64_t rest = a % b;
            a = b;
            b = rest;
        }
        if (a == 1)
            return step;
    }
}

void bench_job_update(
    const struct bench_job *job, struct bench_db *db, uint64_t count, unsigned batch)
{
    struct bench_session *session = job->engine->session(db);
    uint64_t step = step_through(job->n);
    uint64_t record = 0;
    for (uint64_t i = 0; i < count;) {
        job->engine->begin(session);
        for (unsigned b = 0; b < batch && i < count; b++, i++) {
            struct bench_write w = {.verb = BENCH_UPDATE};
            record = (record + step) % job->n;
            bench_id(job->order, record, &w.id);
            bench_order_change(record, i, &w.status, &w.total);
            job->engine->add(session, &w);
        }
        job->engine->commit(session);
    }
    job->engine->end(session);
}

int bench_child_load(char **arguments)
{
    struct bench_job job = bench_job_parse(arguments);
    struct bench_db *db = bench_job_open(&job, BENCH_LOAD);
    double start = bench_now();
    bench_job_load(&job, db, BENCH_BATCH);
    job.engine->flush(db);
    bench_child_answer(bench_now() - start);
    job.engine->settle(db);
    job.engine->close(db);
    return 0;
}

int bench_child_update(char **arguments)
{
    struct bench_job job = bench_job_parse(arguments);
    struct bench_db *db = bench_job_open(&job, BENCH_LOAD);
    double start = bench_now();
    bench_job_update(&job, db, job.n, BENCH_BATCH);
    job.engine->flush(db);
    bench_child_answer(bench_now() - start);
    job.engine->settle(db);
    job.engine->close(db);
    return 0;
}

static int open_and_get(char **arguments, uint64_t gets)
{
    struct bench_job job = bench_job_parse(arguments);
    double start = bench_now();
    struct bench_db *db = bench_job_open(&job, BENCH_FULL);
    struct bench_session *session = job.engine->session(db);
    for (uint64_t i = 0; i < gets; i++) {
        blaze_id id;
        struct bench_answer answer;
        bench_id(job.order, bench_mix(i) % job.n, &id);
        job.engine->get(session, &id, &answer);
    }
    bench_child_answer(bench_now() - start);
    job.engine->end(session);
    job.engine->close(db);
    return 0;
}

int bench_child_open(char **arguments)
{
    return open_and_get(arguments, 1);
}

int bench_child_gets(char **arguments)
{
    return open_and_get(arguments, GETS);
}

int bench_child_die(char **arguments)
{
    struct bench_job job = bench_job_parse(arguments);
    struct bench_db *db = bench_job_open(&job, BENCH_LOAD);
    double start = bench_now();
    bench_job_update(&job, db, job.n / 10, BENCH_BATCH);
    bench_child_answer(bench_now() - start);
    for (;;)
        pause();
}

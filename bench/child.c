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
    {"hub", 2, bench_child_hub},
    {"share", 5, bench_child_share},
    {"bulk", 2, bench_child_bulk},
    {"join", 2, bench_child_join},
    {"change", 5, bench_child_change},
    {"sync", 2, bench_child_sync},
    {"scan", 1, bench_child_scan},
    {"replay", 5, bench_child_replay},
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
    static const struct bench_engine *const engines[] = {&bench_engine_blaze, &bench_engine_sqlite,
        &bench_engine_sqlite_json, &bench_engine_lmdb, &bench_engine_rocksdb};
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

struct job {
    const struct bench_engine *engine;
    const char *variant;
    const char *dir;
    uint64_t n;
    enum bench_id_order order;
};

static struct job parse(char **arguments)
{
    return (struct job){bench_engine_named(arguments[0]), arguments[1], arguments[2],
        strtoull(arguments[3], NULL, 10),
        strcmp(arguments[4], "ascending") == 0 ? BENCH_ASCENDING_IDS : BENCH_RANDOM_IDS};
}

static struct bench_db *open_job(const struct job *job, enum bench_profile profile)
{
    return job->engine->open(job->dir, profile, job->variant);
}

int bench_child_load(char **arguments)
{
    struct job job = parse(arguments);
    struct bench_db *db = open_job(&job, BENCH_LOAD);
    struct bench_session *session = job.engine->session(db);
    double start = bench_now();
    for (uint64_t i = 0; i < job.n;) {
        job.engine->begin(session);
        for (unsigned b = 0; b < BENCH_BATCH && i < job.n; b++, i++) {
            struct bench_record record;
            char text[BENCH_TEXT_MAX];
            struct bench_write w = {.verb = BENCH_INSERT, .record = &record};
            bench_order(i, &record, text);
            bench_id(job.order, i, &w.id);
            job.engine->add(session, &w);
        }
        job.engine->commit(session);
    }
    job.engine->flush(db);
    bench_child_answer(bench_now() - start);
    job.engine->end(session);
    job.engine->settle(db);
    job.engine->close(db);
    return 0;
}

/* Updates `count` records, spread over all n, in batches. */
static void update(const struct job *job, struct bench_db *db, uint64_t count, uint64_t step)
{
    struct bench_session *session = job->engine->session(db);
    uint64_t record = 0;
    for (uint64_t i = 0; i < count;) {
        job->engine->begin(session);
        for (unsigned b = 0; b < BENCH_BATCH && i < count; b++, i++) {
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

int bench_child_update(char **arguments)
{
    struct job job = parse(arguments);
    struct bench_db *db = open_job(&job, BENCH_LOAD);
    double start = bench_now();
    update(&job, db, job.n, step_through(job.n));
    job.engine->flush(db);
    bench_child_answer(bench_now() - start);
    job.engine->settle(db);
    job.engine->close(db);
    return 0;
}

static int open_and_get(char **arguments, uint64_t gets)
{
    struct job job = parse(arguments);
    double start = bench_now();
    struct bench_db *db = open_job(&job, BENCH_FULL);
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
    struct job job = parse(arguments);
    struct bench_db *db = open_job(&job, BENCH_LOAD);
    double start = bench_now();
    update(&job, db, job.n / 10, step_through(job.n));
    bench_child_answer(bench_now() - start);
    for (;;)
        pause();
}

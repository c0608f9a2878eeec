/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The parts of `bench large`, each in a process of its own. A reading is one of 1,000,000 sensors,
 * which is the index, a time, a value and a state: 40 bytes, under ids as UUIDv7 has them. Which
 * sensor it is looks random, so that the index is written to and read all over.
 */

#include "bench.h"
#include "child.h"
#include "files.h"
#include "large.h"
#include "records.h"

#include <blazedb.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define COLLECTION   "readings"
#define SENSORS      1000000
#define LOAD_BATCH   10000
#define UPDATE_BATCH 100
#define RANGE        100
#define LEAST_ROOM   ((uint64_t)1 << 30) /* of the disk, under which a load gives up */

static void check(int code, const blaze_error *error)
{
    if (code < 0)
        bench_die("blazedb: %s: %s", blaze_error_name(code), error->text);
}

static blaze_db *open_db(const char *path, int create)
{
    blaze_db *db;
    blaze_open_options options;
    blaze_error error;
    blaze_open_options_init(&options);
    options.create = create;
    check(blaze_open(&db, path, &options, &error), &error);
    if (create)
        check(blaze_index_create(db, COLLECTION, "sensor", NULL, &error), &error);
    return db;
}

static blaze_doc *new_doc(void)
{
    blaze_doc *doc;
    if (blaze_doc_new(&doc) != BLAZE_OK)
        bench_die("out of memory");
    return doc;
}

static int64_t sensor_of(uint64_t i)
{
    return (int64_t)(bench_mix(i) % SENSORS);
}

static void fill(blaze_doc *doc, uint64_t i)
{
    static const char *const states[] = {
        "running normally", "stopped for care", "waiting for load", "power saving on "};
    uint64_t random = bench_mix(i + ((uint64_t)1 << 40));
    blaze_doc_clear(doc);
    blaze_doc_add_int(doc, "sensor", sensor_of(i));
    blaze_doc_add_int(doc, "at", INT64_C(1700000000000) + (int64_t)(i * 3));
    blaze_doc_add_double(doc, "value", (double)(random % 1000000) / 1000);
    blaze_doc_add_string(doc, "state", states[random >> 32 & 3]);
}

/* ---- the load ---- */

struct progress {
    const char *path;
    uint64_t n;
    double start, shown;
    bool terminal;
};

/* Once a second on a terminal, else once a minute. */
static void show_progress(struct progress *p, uint64_t done)
{
    struct statvfs disk;
    double now = bench_now();
    if (now - p->shown < (p->terminal ? 1 : 60))
        return;
    p->shown = now;
    double rate = (double)done / (now - p->start);
    fprintf(stderr, "%s%5.1f %%, %.0f records/s, %.0f s to go%s", p->terminal ? "\r" : "",
        100 * (double)done / (double)p->n, rate, (double)(p->n - done) / rate,
        p->terminal ? "  \033[K" : "\n");
    if (statvfs(p->path, &disk) == 0 && disk.f_bavail * disk.f_frsize < LEAST_ROOM)
        bench_die("the disk of %s is almost full after %llu records: stopped", p->path,
            (unsigned long long)done);
}

static void load_batch(blaze_db *db, blaze_doc *doc, uint64_t first, uint64_t end)
{
    blaze_txn *txn;
    blaze_error error;
    check(blaze_begin(db, &txn, &error), &error);
    for (uint64_t i = first; i < end; i++) {
        blaze_id id;
        bench_id(BENCH_ASCENDING_IDS, i, &id);
        fill(doc, i);
        check(blaze_txn_insert(txn, COLLECTION, &id, doc, &error), &error);
    }
    check(blaze_commit(txn, &error), &error);
}

int bench_child_large_load(char **arguments)
{
    struct progress progress = {arguments[0], strtoull(arguments[1], NULL, 10), bench_now(),
        bench_now(), isatty(STDERR_FILENO) != 0};
    blaze_db *db = open_db(arguments[0], 1);
    blaze_doc *doc = new_doc();
    blaze_error error;
    uint64_t done = 0;
    for (uint64_t step = 1; step <= LARGE_STEPS; step++) {
        uint64_t begin = done;
        uint64_t end = progress.n * step / LARGE_STEPS;
        double start = bench_now();
        while (done < end) {
            uint64_t batch_end = end - done < LOAD_BATCH ? end : done + LOAD_BATCH;
            load_batch(db, doc, done, batch_end);
            done = batch_end;
            show_progress(&progress, done);
        }
        double seconds = bench_now() - start;
        if (progress.terminal)
            fprintf(stderr, "\r\033[K");
        printf("{\"records\":%llu,\"step\":%llu,\"seconds\":%.9f,\"peak\":%llu,\"own\":%llu}\n",
            (unsigned long long)done, (unsigned long long)(done - begin), seconds,
            (unsigned long long)bench_memory_peak(), (unsigned long long)bench_memory_own());
        fflush(stdout);
    }
    uint64_t count;
    check(blaze_count(db, COLLECTION, &count, &error), &error);
    if (count != progress.n)
        bench_die("blazedb: %llu records were written, and %llu are there",
            (unsigned long long)progress.n, (unsigned long long)count);
    blaze_doc_free(doc);
    double start = bench_now();
    check(blaze_close(db, &error), &error);
    bench_child_answer(bench_now() - start);
    return 0;
}

/* ---- on what is there ---- */

/* Gets record `i` and holds it against what was written. */
static uint64_t get(blaze_db *db, uint64_t i)
{
    blaze_id id;
    blaze_doc *doc;
    blaze_value document, sensor;
    blaze_error error;
    bench_id(BENCH_ASCENDING_IDS, i, &id);
    check(blaze_get(db, COLLECTION, &id, &doc, &error), &error);
    check(blaze_doc_value(doc, &document), &error);
    if (blaze_value_field(&document, "sensor", &sensor) != BLAZE_OK ||
        sensor.as.integer != sensor_of(i))
        bench_die("blazedb: record %llu is not as it was written", (unsigned long long)i);
    blaze_doc_free(doc);
    return 1;
}

static uint64_t range(blaze_db *db, uint64_t random)
{
    char filter[64];
    blaze_query query;
    blaze_cursor *cursor;
    blaze_error error;
    blaze_id id;
    blaze_value document;
    uint64_t rows = 0;
    int code;
    snprintf(filter, sizeof filter, "sensor >= %llu", (unsigned long long)(random % SENSORS));
    blaze_query_init(&query);
    query.filter = filter;
    query.sort = "sensor";
    query.limit = RANGE;
    check(blaze_find(db, COLLECTION, &query, &cursor, &error), &error);
    while ((code = blaze_cursor_next(cursor, &id, &document, &error)) == BLAZE_OK)
        rows++;
    check(code, &error);
    blaze_cursor_close(cursor);
    return rows;
}

/* Values change, and sensors not: the gets know what to expect. */
static uint64_t update(blaze_db *db, uint64_t random, uint64_t n)
{
    blaze_txn *txn;
    blaze_doc *doc = new_doc();
    blaze_error error;
    check(blaze_begin(db, &txn, &error), &error);
    for (unsigned i = 0; i < UPDATE_BATCH; i++) {
        blaze_id id;
        bench_id(BENCH_ASCENDING_IDS, bench_mix(random + i) % n, &id);
        blaze_doc_clear(doc);
        blaze_doc_add_double(doc, "value", (double)i);
        check(blaze_txn_update(txn, COLLECTION, &id, doc, &error), &error);
    }
    check(blaze_commit(txn, &error), &error);
    blaze_doc_free(doc);
    return UPDATE_BATCH;
}

int bench_child_large_open(char **arguments)
{
    blaze_error error;
    double start = bench_now();
    blaze_db *db = open_db(arguments[0], 0);
    get(db, strtoull(arguments[1], NULL, 10) / 2);
    bench_child_answer(bench_now() - start);
    check(blaze_close(db, &error), &error);
    return 0;
}

int bench_child_large_work(char **arguments)
{
    blaze_error error;
    blaze_db *db = open_db(arguments[0], 0);
    uint64_t n = strtoull(arguments[1], NULL, 10);
    const char *what = arguments[2];
    double seconds = strtod(arguments[3], NULL);
    uint64_t rows = 0;
    double start = bench_now();
    double now = start;
    for (uint64_t i = 0; now - start < seconds; i++, now = bench_now()) {
        uint64_t random = bench_mix(i * 1000);
        if (strcmp(what, "gets") == 0)
            rows += get(db, random % n);
        else if (strcmp(what, "ranges") == 0)
            rows += range(db, random);
        else
            rows += update(db, random, n);
    }
    printf("{\"rate\":%.9g,\"peak\":%llu,\"own\":%llu}\n", (double)rows / (now - start),
        (unsigned long long)bench_memory_peak(), (unsigned long long)bench_memory_own());
    fflush(stdout);
    check(blaze_close(db, &error), &error);
    return 0;
}

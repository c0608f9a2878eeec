/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REPETITIONS_MAX 101

void bench_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fputs("bench: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static void summarise(struct bench_figure *figure, double *values, unsigned count)
{
    qsort(values, count, sizeof *values, compare_doubles);
    unsigned middle = count / 2;
    figure->median = count % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
    figure->least = values[0];
    figure->greatest = values[count - 1];
}

static void remember(
    struct bench *bench, const struct bench_row *row, double ours, double best, char *markdown)
{
    size_t size = (bench->result_count + 1) * sizeof *bench->results;
    struct bench_result *grown = realloc(bench->results, size);
    if (grown == NULL)
        bench_die("out of memory");
    bench->results = grown;
    struct bench_result *result = &grown[bench->result_count++];
    *result = (struct bench_result){*row, ours, best, markdown};
    result->row.name = strdup(row->name); /* lives as long as the program */
}

bool bench_wants(const struct bench *bench, const char *row)
{
    return bench->row == NULL || strstr(row, bench->row) != NULL;
}

static const char *why_missing(const struct bench *bench, const struct bench_contestant *c)
{
    return bench->without_peers && c->kind == BENCH_PEER ? "left out by --ours" : c->missing;
}

double bench_measure(struct bench *bench, const struct bench_row *row,
    const struct bench_contestant *contestants, size_t count)
{
    static double values[BENCH_CONTESTANTS_MAX][REPETITIONS_MAX];
    if (!bench_wants(bench, row->name))
        return 0;
    unsigned repetitions = row->once ? 1 : bench->repetitions;
    unsigned warm_ups = row->once ? 0 : 1;
    if (count > BENCH_CONTESTANTS_MAX || repetitions > REPETITIONS_MAX)
        bench_die("too many contestants or repetitions");

    double start = bench_now();
    unsigned done = 0;
    for (; done < warm_ups + repetitions; done++) {
        if (done > warm_ups && bench_now() - start > bench->row_seconds)
            break;
        for (size_t c = 0; c < count; c++) {
            if (why_missing(bench, &contestants[c]) != NULL)
                continue;
            double value = contestants[c].run(contestants[c].context);
            if (done >= warm_ups)
                values[c][done - warm_ups] = value;
        }
    }
    repetitions = done - warm_ups;

    struct bench_figure figures[BENCH_CONTESTANTS_MAX];
    double ours = 0;
    for (size_t c = 0; c < count; c++) {
        figures[c] = (struct bench_figure){
            contestants[c].name, contestants[c].kind, why_missing(bench, &contestants[c]), 0, 0, 0};
        if (figures[c].missing != NULL)
            continue;
        summarise(&figures[c], values[c], repetitions);
        if (contestants[c].kind == BENCH_OURS)
            ours = figures[c].median;
    }
    char *markdown;
    bench_report_row(bench, row, repetitions, figures, count, &markdown);
    const struct bench_figure *best = bench_best_peer(row, figures, count);
    remember(bench, row, ours, best != NULL ? best->median : 0, markdown);
    return ours;
}

void bench_rounds(struct bench *bench, const char *group, uint64_t most,
    void (*round)(struct bench *bench, uint64_t n))
{
    uint64_t n = bench->n < most ? bench->n : most;
    uint64_t done = 0;
    for (uint64_t divisor = 100; divisor >= 1; divisor /= 10) {
        uint64_t records = n / divisor < 100 ? 100 : n / divisor;
        if (records == done)
            continue;
        done = records;
        bench_report_round(group, records);
        round(bench, records);
    }
    bench_report_growth(bench, group);
}

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

double bench_percentile(double *values, size_t count, double share)
{
    qsort(values, count, sizeof *values, compare_doubles);
    return values[(size_t)((double)(count - 1) * share)];
}

static void summarise(struct bench_figure *figure, double *values, unsigned count)
{
    qsort(values, count, sizeof *values, compare_doubles);
    unsigned middle = count / 2;
    figure->median = count % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
    figure->least = values[0];
    figure->greatest = values[count - 1];
}

static void remember(struct bench *bench, const struct bench_result *result)
{
    size_t size = (bench->result_count + 1) * sizeof *bench->results;
    struct bench_result *grown = realloc(bench->results, size);
    if (grown == NULL)
        bench_die("out of memory");
    bench->results = grown;
    grown[bench->result_count++] = *result;
}

bool bench_wants(const struct bench *bench, const char *row)
{
    return bench->row == NULL || strstr(row, bench->row) != NULL;
}

static const char *why_missing(const struct bench *bench, const struct bench_contestant *c)
{
    return bench->without_peers && c->kind == BENCH_PEER ? "left out by --ours" : c->missing;
}

/* The repetitions' values: of each row and contestant. */
struct values {
    double of[BENCH_ROWS_MAX][BENCH_CONTESTANTS_MAX][REPETITIONS_MAX];
};

/* One repetition of one contestant; `values` gets one value a row. */
static void run_once(const struct bench_contestant *contestant, double *values)
{
    if (contestant->run_rows != NULL)
        contestant->run_rows(contestant->context, values);
    else
        values[0] = contestant->run(contestant->context);
}

/* Lets the contestants take turns; returns the number of repetitions that were measured. */
static unsigned take_turns(const struct bench *bench, const struct bench_row *row, size_t row_count,
    const struct bench_contestant *contestants, size_t count, struct values *values)
{
    unsigned repetitions = row->once ? 1 : bench->repetitions;
    unsigned warm_ups = row->once || row->counted ? 0 : 1;
    if (count > BENCH_CONTESTANTS_MAX || row_count > BENCH_ROWS_MAX ||
        repetitions > REPETITIONS_MAX)
        bench_die("too many contestants, rows or repetitions");
    double start = bench_now();
    unsigned done = 0;
    for (; done < warm_ups + repetitions; done++) {
        if (done > warm_ups && bench_now() - start > bench->row_seconds)
            break;
        for (size_t c = 0; c < count; c++) {
            double turn[BENCH_ROWS_MAX];
            if (why_missing(bench, &contestants[c]) != NULL)
                continue;
            run_once(&contestants[c], turn);
            for (size_t r = 0; done >= warm_ups && r < row_count; r++)
                values->of[r][c][done - warm_ups] = turn[r];
        }
    }
    return done - warm_ups;
}

static void report(struct bench *bench, const struct bench_row *row, unsigned repetitions,
    const struct bench_figure *figures, size_t count)
{
    struct bench_result result = {.row = *row};
    const struct bench_figure *best = bench_best_peer(row, figures, count);
    for (size_t i = 0; i < count; i++)
        if (figures[i].kind == BENCH_OURS && figures[i].missing == NULL)
            result.ours = figures[i].median;
    result.best = best != NULL ? best->median : 0;
    result.verdict = bench_report_row(bench, row, repetitions, figures, count, &result.markdown);
    result.row.name = strdup(row->name); /* lives as long as the program */
    if (result.row.name == NULL)
        bench_die("out of memory");
    remember(bench, &result);
}

/* What sealing costs: the variant beside ours, which is the limit of what it could reach. */
static void report_variant(struct bench *bench, const struct bench_row *row, unsigned repetitions,
    const struct bench_figure *variant, const struct bench_figure *ours)
{
    char name[160];
    struct bench_row sealed = *row;
    snprintf(name, sizeof name, "%s, sealed", row->name);
    sealed.name = name;
    memset(sealed.goals, 0, sizeof sealed.goals);
    double share = row->sealed_goal;
    if (share > 0)
        sealed.goals[0] = (struct bench_goal){"unsealed", row->less_is_better ? 1 / share : share};
    struct bench_figure figures[2] = {*variant, *ours};
    figures[0].kind = BENCH_OURS;
    figures[1].kind = BENCH_LIMIT;
    figures[1].name = "unsealed";
    report(bench, &sealed, repetitions, figures, 2);
}

void bench_measure_rows(struct bench *bench, const struct bench_row *rows, size_t row_count,
    const struct bench_contestant *contestants, size_t count)
{
    static struct values values;
    bool wanted = false;
    for (size_t r = 0; r < row_count; r++)
        wanted = wanted || bench_wants(bench, rows[r].name);
    if (!wanted)
        return;
    unsigned repetitions = take_turns(bench, rows, row_count, contestants, count, &values);

    for (size_t r = 0; r < row_count; r++) {
        struct bench_figure figures[BENCH_CONTESTANTS_MAX];
        struct bench_figure ours = {0}, variant = {.missing = "none"};
        size_t shown = 0;
        for (size_t c = 0; c < count; c++) {
            struct bench_figure figure = {
                contestants[c].name, contestants[c].kind, why_missing(bench, &contestants[c])};
            if (figure.missing == NULL)
                summarise(&figure, values.of[r][c], repetitions);
            if (figure.kind == BENCH_VARIANT)
                variant = figure;
            else
                figures[shown++] = figure;
            if (figure.kind == BENCH_OURS)
                ours = figure;
        }
        if (!bench_wants(bench, rows[r].name))
            continue;
        report(bench, &rows[r], repetitions, figures, shown);
        if (variant.missing == NULL)
            report_variant(bench, &rows[r], repetitions, &variant, &ours);
    }
}

double bench_measure(struct bench *bench, const struct bench_row *row,
    const struct bench_contestant *contestants, size_t count)
{
    size_t before = bench->result_count;
    bench_measure_rows(bench, row, 1, contestants, count);
    return bench->result_count > before ? bench->results[before].ours : 0;
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

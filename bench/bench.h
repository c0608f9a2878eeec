/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

/*
 * The harness. A group measures rows; a row lets contestants (ours, the peers, a limit) do the same
 * work, one repetition of each in turn, so that a slow minute of the machine hits all of them. What
 * is reported of each is the median, with the least and the greatest.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define BENCH_CONTESTANTS_MAX 8
#define BENCH_GOALS_MAX       3
#define BENCH_ROWS_MAX        8 /* measured by one run */

struct bench_result;

struct bench {
    uint64_t n;   /* records of the largest round */
    bool n_given; /* by whoever started the program */
    unsigned repetitions;
    double row_seconds; /* once a row has taken so long, no further repetition is begun */
    bool quick;
    const char *dir;    /* where databases are made; emptied afterwards */
    const char *cities; /* JSON lines, plain or .gz; NULL: where the checkout has them */
    FILE *json;         /* NULL: none */
    FILE *markdown;     /* NULL: none */
    const char *row;    /* only rows whose names hold this; NULL: all */
    bool without_peers;
    struct bench_result *results;
    size_t result_count;
};

/* A variant is ours with a setting that costs something: see bench_row.sealed_goal. */
enum bench_kind { BENCH_OURS, BENCH_VARIANT, BENCH_PEER, BENCH_LIMIT };

/* One repetition is `run`, which returns the value in the row's unit, or, where several rows are
 * measured together, `run_rows`, which writes the value of each. */
struct bench_contestant {
    const char *name;
    enum bench_kind kind;
    const char *missing; /* why it does not take part, or NULL */
    double (*run)(void *context);
    void *context;
    void (*run_rows)(void *context, double *values);
};

#define BENCH_BEST_PEER "best peer"

/* Ours is to be at least (or, where less is better, at most) factor times what a contestant, or the
 * figure `value` called `against`, is. */
struct bench_goal {
    const char *against;
    double factor;
    double value; /* 0: that of the contestant named */
};

struct bench_row {
    const char *group;
    const char *name;
    const char *unit;
    uint64_t n;
    bool less_is_better;
    bool once; /* a figure that does not vary: no warm-up, one repetition */
    struct bench_goal goals[BENCH_GOALS_MAX];
    bool counted;       /* counts, not times: no warm-up */
    double sealed_goal; /* what share of the speed of ours the sealed variant keeps; 0: not set */
};

/* Whether a row of this name is to be measured. */
bool bench_wants(const struct bench *bench, const char *row);

/* Measures, prints and records a row, if it is wanted. Returns the median of ours, else 0. A
 * variant among the contestants gets a row of its own, "NAME, sealed", beside ours. */
double bench_measure(struct bench *bench, const struct bench_row *row,
    const struct bench_contestant *contestants, size_t count);

/* The same for rows that one run measures together, if one of them is wanted. All have the `once`
 * and `counted` of the first. */
void bench_measure_rows(struct bench *bench, const struct bench_row *rows, size_t row_count,
    const struct bench_contestant *contestants, size_t count);

/* Runs `round` at n/100, n/10 and n, then prints how the cost of each row grew. `most` bounds n. */
void bench_rounds(struct bench *bench, const char *group, uint64_t most,
    void (*round)(struct bench *bench, uint64_t n));

/* The groups. */
void bench_codec(struct bench *bench);
void bench_crypto(struct bench *bench);
void bench_write(struct bench *bench);
void bench_cost(struct bench *bench);
void bench_latency(struct bench *bench);
void bench_read(struct bench *bench);
void bench_size(struct bench *bench);
void bench_sync(struct bench *bench);
void bench_large(struct bench *bench);
void bench_live(struct bench *bench);

/* Says why on stderr and ends the program: a benchmark that cannot do its work has no figure. */
void bench_die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* The value which `share` of the values do not exceed; sorts them. */
double bench_percentile(double *values, size_t count, double share);

/* Seconds that only go forward. */
double bench_now(void);

/* ---- report.c ---- */

struct bench_figure {
    const char *name;
    enum bench_kind kind;
    const char *missing;
    double median, least, greatest;
};

struct bench_result {
    struct bench_row row;
    double ours;
    double best;    /* of the peers; 0: none */
    char *markdown; /* the row as a line of a table */
    int verdict;    /* 1: all goals met, 0: not, -1: none that can be judged */
};

void bench_report_round(const char *group, uint64_t n);
/* `repetitions` are those that were made; *markdown is the row as a line of a table (free). Returns
 * the verdict, as in struct bench_result. */
int bench_report_row(struct bench *bench, const struct bench_row *row, unsigned repetitions,
    const struct bench_figure *figures, size_t count, char **markdown);

/* Writes a table for each group: its rows, each from the round with the most records. */
void bench_report_markdown(const struct bench *bench);

/* Prints how many goals were met, and the rows whose goals were not. */
void bench_report_goals(const struct bench *bench);
void bench_report_growth(const struct bench *bench, const char *group);

/* The best of the peers; NULL if there is none. */
const struct bench_figure *bench_best_peer(
    const struct bench_row *row, const struct bench_figure *figures, size_t count);

#endif

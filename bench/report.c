/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A row as text is one line and, under it, one line for each contestant:
 *
 *     durable commits, 1 thread                 1.10 x rocksdb   goal met (>= 0.8 x limit: met)
 *         ours              4,012 commits/s   (3,950 .. 4,100)
 *         rocksdb           3,669
 *
 * and as JSON one object on one line.
 */

#include "base/buf.h"
#include "bench.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* 1234567.8 as "1,234,568"; small numbers keep three significant digits. */
static const char *number(char out[32], double value)
{
    if (fabs(value) < 100) {
        int decimals = fabs(value) < 1 ? 3 : fabs(value) < 10 ? 2 : 1;
        snprintf(out, 32, "%.*f", decimals, value);
        return out;
    }
    char digits[32];
    int size = snprintf(digits, sizeof digits, "%.0f", value);
    int at = 0;
    for (int i = 0; i < size && at < 30; i++) {
        if (i > 0 && digits[i - 1] != '-' && (size - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

const struct bench_figure *bench_best_peer(
    const struct bench_row *row, const struct bench_figure *figures, size_t count)
{
    const struct bench_figure *best = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct bench_figure *f = &figures[i];
        if (f->kind != BENCH_PEER || f->missing != NULL)
            continue;
        if (best == NULL ||
            (row->less_is_better ? f->median < best->median : f->median > best->median))
            best = f;
    }
    return best;
}

static const struct bench_figure *find_kind(
    const struct bench_figure *figures, size_t count, enum bench_kind kind)
{
    for (size_t i = 0; i < count; i++)
        if (figures[i].kind == kind && figures[i].missing == NULL)
            return &figures[i];
    return NULL;
}

static const struct bench_figure *find_name(
    const struct bench_figure *figures, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(figures[i].name, name) == 0 && figures[i].missing == NULL)
            return &figures[i];
    return NULL;
}

/* What ours is held against: the best peer, and where there are no peers the limit. */
static const struct bench_figure *find_reference(
    const struct bench_row *row, const struct bench_figure *figures, size_t count)
{
    const struct bench_figure *best = bench_best_peer(row, figures, count);
    const struct bench_figure *found = best != NULL ? best : find_kind(figures, count, BENCH_LIMIT);
    return found != NULL && found->median > 0 ? found : NULL;
}

static const char *verdict_word(int verdict)
{
    return verdict < 0 ? "not judged" : verdict ? "met" : "missed";
}

/* What a goal asks for, in the row's unit; 0 if it cannot be said because the peer is missing. */
static double goal_target(const struct bench_row *row, const struct bench_goal *goal,
    const struct bench_figure *figures, size_t count)
{
    if (goal->value > 0)
        return goal->factor * goal->value;
    const struct bench_figure *f = strcmp(goal->against, BENCH_BEST_PEER) == 0
                                       ? bench_best_peer(row, figures, count)
                                       : find_name(figures, count, goal->against);
    return f != NULL ? goal->factor * f->median : 0;
}

/* Writes the goals in words; returns -1 if there are none that can be judged, else whether all are
 * met. */
static int judge(char *out, size_t room, const struct bench_row *row,
    const struct bench_figure *figures, size_t count)
{
    const struct bench_figure *ours = find_kind(figures, count, BENCH_OURS);
    int verdict = -1;
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < BENCH_GOALS_MAX && row->goals[i].against != NULL; i++) {
        const struct bench_goal *goal = &row->goals[i];
        double target = goal_target(row, goal, figures, count);
        const char *word = "cannot be judged";
        if (target > 0 && ours != NULL) {
            bool met = row->less_is_better ? ours->median <= target : ours->median >= target;
            verdict = verdict == 0 ? 0 : met;
            word = met ? "met" : "missed";
        }
        int n = snprintf(out + used, room - used, "%s%s %.3g x %s: %s", used > 0 ? ", " : "",
            row->less_is_better ? "<=" : ">=", goal->factor, goal->against, word);
        used += n > 0 && (size_t)n < room - used ? (size_t)n : 0;
    }
    return verdict;
}

static json_t *value_or_null(const struct bench_figure *f, double value)
{
    return f == NULL || f->missing != NULL ? json_null() : json_real(value);
}

static json_t *peers_as_json(const struct bench_figure *figures, size_t count)
{
    json_t *peers = json_object();
    for (size_t i = 0; i < count; i++)
        if (figures[i].kind == BENCH_PEER)
            json_object_set_new(
                peers, figures[i].name, value_or_null(&figures[i], figures[i].median));
    return peers;
}

static void write_json(FILE *out, const struct bench_row *row, const struct bench_figure *figures,
    size_t count, const char *goals, int verdict)
{
    const struct bench_figure *ours = find_kind(figures, count, BENCH_OURS);
    const struct bench_figure *limit = find_kind(figures, count, BENCH_LIMIT);
    const struct bench_figure *reference = find_reference(row, figures, count);
    json_t *object = json_object();
    json_object_set_new(object, "group", json_string(row->group));
    json_object_set_new(object, "row", json_string(row->name));
    json_object_set_new(object, "n", json_integer((json_int_t)row->n));
    json_object_set_new(object, "unit", json_string(row->unit));
    json_object_set_new(object, "ours", value_or_null(ours, ours != NULL ? ours->median : 0));
    json_object_set_new(object, "peers", peers_as_json(figures, count));
    json_object_set_new(object, "limit", value_or_null(limit, limit != NULL ? limit->median : 0));
    json_object_set_new(object, "ratio",
        ours != NULL && reference != NULL ? json_real(ours->median / reference->median)
                                          : json_null());
    json_object_set_new(object, "goal", goals[0] != '\0' ? json_string(goals) : json_null());
    json_object_set_new(object, "met", verdict < 0 ? json_null() : json_boolean(verdict));
    json_dumpf(object, out, JSON_COMPACT | JSON_REAL_PRECISION(9));
    fputc('\n', out);
    fflush(out);
    json_decref(object);
}

static void print_figure(const struct bench_row *row, const struct bench_figure *f)
{
    char median[32], least[32], greatest[32];
    if (f->missing != NULL) {
        printf("        %-22s missing: %s\n", f->name, f->missing);
        return;
    }
    printf("        %-22s %12s %-11s", f->name, number(median, f->median), row->unit);
    if (!row->once)
        printf(" (%s .. %s)", number(least, f->least), number(greatest, f->greatest));
    putchar('\n');
}

static void append_figures(struct bz_buf *out, const struct bench_figure *figures, size_t count,
    enum bench_kind kind, bool named)
{
    char text[32];
    bool first = true;
    for (size_t i = 0; i < count; i++) {
        const struct bench_figure *f = &figures[i];
        if (f->kind != kind || f->missing != NULL)
            continue;
        bz_buf_printf(out, "%s%s%s%s", first ? "" : ", ", named ? f->name : "", named ? " " : "",
            number(text, f->median));
        first = false;
    }
    bz_buf_printf(out, first ? "– | " : " | ");
}

/* The row as "| row | n | unit | ours | limits | peers | ratio | goal | met |", to be freed. */
static char *as_markdown(const struct bench_row *row, const struct bench_figure *figures,
    size_t count, const char *goals, int verdict)
{
    const struct bench_figure *ours = find_kind(figures, count, BENCH_OURS);
    const struct bench_figure *reference = find_reference(row, figures, count);
    struct bz_buf out;
    char n[32];
    bz_buf_init(&out, 65536);
    bz_buf_printf(&out, "| %s | %s | %s | ", row->name, number(n, (double)row->n), row->unit);
    append_figures(&out, figures, count, BENCH_OURS, false);
    append_figures(&out, figures, count, BENCH_LIMIT, true);
    append_figures(&out, figures, count, BENCH_PEER, true);
    if (ours != NULL && reference != NULL)
        bz_buf_printf(&out, "%.2f × %s | ", ours->median / reference->median, reference->name);
    else
        bz_buf_printf(&out, "– | ");
    bz_buf_printf(&out, "%s | %s |", goals[0] != '\0' ? goals : "–",
        goals[0] != '\0' ? verdict_word(verdict) : "–");
    char *line = out.error == 0 ? strndup((const char *)out.data, out.size) : NULL;
    bz_buf_release(&out);
    if (line == NULL)
        bench_die("out of memory");
    return line;
}

int bench_report_row(struct bench *bench, const struct bench_row *row, unsigned repetitions,
    const struct bench_figure *figures, size_t count, char **markdown)
{
    char goals[256];
    int verdict = judge(goals, sizeof goals, row, figures, count);
    const struct bench_figure *ours = find_kind(figures, count, BENCH_OURS);
    const struct bench_figure *reference = find_reference(row, figures, count);
    printf("    %-46s", row->name);
    if (ours != NULL && reference != NULL)
        printf(" %.2f x %s", ours->median / reference->median, reference->name);
    if (goals[0] != '\0')
        printf("   goal %s (%s)", verdict_word(verdict), goals);
    if (!row->once && repetitions < bench->repetitions)
        printf("   (%u repetition%s)", repetitions, repetitions == 1 ? "" : "s");
    putchar('\n');
    for (size_t i = 0; i < count; i++)
        print_figure(row, &figures[i]);
    fflush(stdout);
    if (bench->json != NULL)
        write_json(bench->json, row, figures, count, goals, verdict);
    *markdown = as_markdown(row, figures, count, goals, verdict);
    return verdict;
}

void bench_report_round(const char *group, uint64_t n)
{
    char text[32];
    printf("\n%s, n = %s\n", group, number(text, (double)n));
    fflush(stdout);
}

/* The figure of the same row in the round before the last; NULL if it was measured once. */
static const struct bench_result *earlier(
    const struct bench *bench, const struct bench_result *last, uint64_t below)
{
    const struct bench_result *found = NULL;
    for (size_t i = 0; i < bench->result_count; i++) {
        const struct bench_result *r = &bench->results[i];
        if (strcmp(r->row.group, last->row.group) == 0 &&
            strcmp(r->row.name, last->row.name) == 0 && r->row.n < below &&
            (found == NULL || r->row.n > found->row.n))
            found = r;
    }
    return found;
}

/* Cost is time, bytes or memory: where more is better, the figure is a rate and cost its inverse.
 */
static double growth(const struct bench_result *from, double before, double after)
{
    if (before <= 0 || after <= 0)
        return 0;
    return from->row.less_is_better ? after / before : before / after;
}

static void print_growth(const struct bench *bench, const struct bench_result *last)
{
    const struct bench_result *middle = earlier(bench, last, last->row.n);
    if (middle == NULL)
        return;
    const struct bench_result *first = earlier(bench, last, middle->row.n);
    printf("    %-46s", last->row.name);
    if (first != NULL)
        printf(" ours x %.2f, x %.2f", growth(first, first->ours, middle->ours),
            growth(middle, middle->ours, last->ours));
    else
        printf(" ours x %.2f", growth(middle, middle->ours, last->ours));
    if (last->best > 0 && first != NULL)
        printf("   best peer x %.2f, x %.2f", growth(first, first->best, middle->best),
            growth(middle, middle->best, last->best));
    putchar('\n');
}

/* The records of the group's largest round. */
static uint64_t most_records(const struct bench *bench, const char *group)
{
    uint64_t n = 0;
    for (size_t i = 0; i < bench->result_count; i++) {
        const struct bench_row *row = &bench->results[i].row;
        if (strcmp(row->group, group) == 0 && row->n > n)
            n = row->n;
    }
    return n;
}

void bench_report_growth(const struct bench *bench, const char *group)
{
    uint64_t n = most_records(bench, group);
    printf("\n%s: how the cost (of one record or commit; of the whole where that is the row) grows"
           " with ten times the records, twice\n",
        group);
    for (size_t i = 0; i < bench->result_count; i++) {
        const struct bench_result *r = &bench->results[i];
        if (strcmp(r->row.group, group) == 0 && r->row.n == n)
            print_growth(bench, r);
    }
    fflush(stdout);
}

/* Whether no other round measured this row with more records. */
static bool is_largest(const struct bench *bench, const struct bench_result *result)
{
    for (size_t i = 0; i < bench->result_count; i++) {
        const struct bench_row *row = &bench->results[i].row;
        if (strcmp(row->group, result->row.group) == 0 &&
            strcmp(row->name, result->row.name) == 0 && row->n > result->row.n)
            return false;
    }
    return true;
}

static void write_table(const struct bench *bench, const char *group)
{
    fprintf(bench->markdown,
        "### %s\n\n"
        "| row | n | unit | ours | limit | peers | ours / best peer, or limit | goal | |\n"
        "|---|---|---|---|---|---|---|---|---|\n",
        group);
    for (size_t i = 0; i < bench->result_count; i++) {
        const struct bench_result *r = &bench->results[i];
        if (strcmp(r->row.group, group) == 0 && is_largest(bench, r))
            fprintf(bench->markdown, "%s\n", r->markdown);
    }
    fputc('\n', bench->markdown);
}

void bench_report_markdown(const struct bench *bench)
{
    for (size_t i = 0; i < bench->result_count; i++) /* groups follow one another */
        if (i == 0 || strcmp(bench->results[i].row.group, bench->results[i - 1].row.group) != 0)
            write_table(bench, bench->results[i].row.group);
}

void bench_report_goals(const struct bench *bench)
{
    size_t met = 0, missed = 0;
    for (size_t i = 0; i < bench->result_count; i++) {
        met += bench->results[i].verdict == 1;
        missed += bench->results[i].verdict == 0;
    }
    printf("\ngoals, in all rounds: %zu rows met theirs, %zu missed\n", met, missed);
    for (size_t i = 0; i < bench->result_count; i++) {
        const struct bench_result *r = &bench->results[i];
        char n[32];
        if (r->verdict == 0)
            printf("    missed: %s: %s, n = %s\n", r->row.group, r->row.name,
                number(n, (double)r->row.n));
    }
}

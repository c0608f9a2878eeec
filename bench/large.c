/* SPDX-License-Identifier: Apache-2.0 */

/*
 * `bench large`: how ours behaves when it becomes large, 100,000,000 records unless said otherwise.
 * It is not one of the groups that run by themselves, as it takes long and much of the disk. Every
 * part runs in a process of its own: the load, which tells how it fares twenty times, and then on
 * what it left opening, random gets, range reads and random updates.
 */

#include "large.h"
#include "bench.h"
#include "child.h"
#include "files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#define RECORDS       100000000
#define QUICK_RECORDS 200000
#define DISK_SPARE    ((uint64_t)2 << 30)

struct large {
    struct bench *bench;
    char *path;
    char n[24];
    char seconds[8]; /* of each part after the load */
};

/* A row whose figure is there already. */
struct fact {
    const char *name;
    const char *unit;
    bool less_is_better;
    double value;
    struct bench_goal goal;
};

static double known(void *context)
{
    const struct fact *fact = context;
    return fact->value;
}

static void report(struct large *large, struct fact fact)
{
    const struct bench_row row = {.group = "large",
        .name = fact.name,
        .unit = fact.unit,
        .n = large->bench->n,
        .less_is_better = fact.less_is_better,
        .once = true,
        .goals = {fact.goal}};
    const struct bench_contestant ours = {
        .name = "blazedb", .kind = BENCH_OURS, .run = known, .context = &fact};
    bench_measure(large->bench, &row, &ours, 1);
}

static void check_space(const struct bench *bench)
{
    struct statvfs disk;
    if (statvfs(bench->dir, &disk) != 0)
        bench_die("%s: %s", bench->dir, strerror(errno));
    double room = (double)disk.f_bavail * (double)disk.f_frsize;
    double needed = (double)bench->n * LARGE_DISK_BYTES + (double)DISK_SPARE;
    if (room < needed)
        bench_die("%llu records may need %.1f GB of disk, and the disk of %s has %.1f GB free: give"
                  " a smaller -n, or another --dir",
            (unsigned long long)bench->n, needed / 1e9, bench->dir, room / 1e9);
    printf("    may take up to %.1f GB of %.1f GB that are free; Ctrl-C removes it\n", needed / 1e9,
        room / 1e9);
}

static void load(struct large *large)
{
    const char *const arguments[] = {"large-load", large->path, large->n, NULL};
    struct bench_child child;
    char line[256];
    double first = 0, last = 0, seconds = 0, own = 0, peak = 0;
    bench_child_start(&child, arguments);
    for (int i = 0; i < LARGE_STEPS; i++) {
        bench_child_line(&child, line, sizeof line);
        double records = bench_child_number(line, "records");
        double took = bench_child_number(line, "seconds");
        last = bench_child_number(line, "step") / took;
        first = i == 0 ? last : first;
        seconds += took;
        own = bench_child_number(line, "own");
        peak = bench_child_number(line, "peak");
        printf("    %12.0f records  %9.0f records/s  %8.1f MB on disk  memory %.0f MB, own %.0f\n",
            records, last, (double)bench_dir_blocks(large->path) / 1e6, peak / 1e6, own / 1e6);
        fflush(stdout);
    }
    bench_child_line(&child, line, sizeof line);
    bench_child_wait(&child, 0);

    double n = (double)large->bench->n;
    double bytes = (double)bench_dir_bytes(large->path);
    report(
        large, (struct fact){"load, durable batches of 10,000", "records/s", false, n / seconds});
    report(large, (struct fact){"load: its last twentieth", "records/s", false, last});
    report(large,
        (struct fact){"load: cost of a record, last twentieth to first", "x", true, first / last});
    report(large,
        (struct fact){"close after the load", "s", true, bench_child_number(line, "seconds")});
    report(large, (struct fact){"peak memory of the load", "MB", true, peak / 1e6});
    report(large, (struct fact){"own memory at the end of the load", "MB", true, own / 1e6});
    report(large, (struct fact){"on disk after the load", "MB", true, bytes / 1e6});
    report(large, (struct fact){"on disk after the load, a record", "bytes", true, bytes / n});
}

static void open_clean(struct large *large)
{
    const char *const arguments[] = {"large-open", large->path, large->n, NULL};
    char line[256];
    bench_child_run(arguments, line, sizeof line);
    report(large, (struct fact){"open after a clean close, with one get", "ms", true,
                      bench_child_number(line, "seconds") * 1e3, {"10 ms", 1, 10}});
}

static void work(struct large *large, const char *what, const char *name, const char *unit)
{
    const char *const arguments[] = {
        "large-work", large->path, large->n, what, large->seconds, NULL};
    char line[256], memory[80];
    bench_child_run(arguments, line, sizeof line);
    report(large, (struct fact){name, unit, false, bench_child_number(line, "rate")});
    snprintf(memory, sizeof memory, "own memory after the %s", what);
    report(large, (struct fact){memory, "MB", true, bench_child_number(line, "own") / 1e6});
}

void bench_large(struct bench *bench)
{
    struct large large = {.bench = bench, .path = bench_path(bench->dir, "large.blz")};
    if (!bench->n_given)
        bench->n = bench->quick ? QUICK_RECORDS : RECORDS;
    snprintf(large.n, sizeof large.n, "%llu", (unsigned long long)bench->n);
    snprintf(large.seconds, sizeof large.seconds, "%d", bench->quick ? 1 : 20);
    bench_report_round("large", bench->n);
    check_space(bench);
    load(&large);
    open_clean(&large);
    work(&large, "gets", "random gets, each its own snapshot", "gets/s");
    work(&large, "ranges", "index ranges of 100, from anywhere", "records/s");
    work(&large, "updates", "random updates, durable batches of 100", "records/s");
    report(&large, (struct fact){"on disk after the updates", "MB", true,
                       (double)bench_dir_bytes(large.path) / 1e6});
    bench_dir_remove(large.path);
    free(large.path);
}

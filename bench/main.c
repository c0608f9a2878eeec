/* SPDX-License-Identifier: Apache-2.0 */

/* The command line of the benchmarks. docs/benchmarks.md says what they measure and how. */

#include "bench.h"
#include "files.h"
#include "guard.h"

#include <blazedb/version.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define GROUPS (sizeof groups / sizeof groups[0])

static const struct {
    const char *name;
    void (*run)(struct bench *bench);
    const char *about;
    bool on_request; /* only where it is named */
} groups[] = {
    {"codec", bench_codec, "bytes a record, encoding, decoding, one field"},
    {"crypto", bench_crypto, "sealing and opening records for a blind hub"},
    {"write", bench_write, "commits, bulk load, update, delete"},
    {"cost", bench_cost, "bytes to the disk and syncs a commit, write amplification"},
    {"latency", bench_latency, "single commits while checkpoints and compactions go on"},
    {"read", bench_read, "get, range, filter, top ten, count"},
    {"size", bench_size, "disk, opening, memory"},
    {"sync", bench_sync, "new copies, changes, the wire, memory of both ends"},
    {"live", bench_live, "a commit until an observer elsewhere sees it"},
    {"large", bench_large, "only if named: 100,000,000 small records, ours alone", true},
};

static void usage(FILE *out)
{
    fputs("usage: bench [GROUP...] [OPTION...]\n\ngroups (default: all):\n", out);
    for (size_t i = 0; i < GROUPS; i++)
        fprintf(out, "  %-8s %s\n", groups[i].name, groups[i].about);
    fputs("\noptions:\n"
          "  -n N               records of the largest round (default 1000000); the rounds before\n"
          "                     have N/100 and N/10\n"
          "  --repetitions R    measured repetitions of each contestant in each row (default 5)\n"
          "  --json FILE        one JSON object a row, - for standard output\n"
          "  --markdown FILE    a table of the largest round of each group, - for standard output\n"
          "  --dir DIR          where databases are made and removed again (default: the folder\n"
          "                     for temporary files); its disk is what is measured\n"
          "  --cities FILE      the cities as JSON lines, plain or .gz\n"
          "  --row TEXT         only the rows whose names hold the text\n"
          "  --ours             without the peers\n"
          "  --quick            N = 20000 and 3 repetitions: a look, not a result\n\n"
          "A row that has taken 10 minutes (--quick: 10 s) begins no further repetition.\n",
        out);
}

static uint64_t parse_count(const char *text, const char *what, uint64_t least, uint64_t most)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || end == text || value < least || value > most) {
        fprintf(stderr, "bench: %s: not a number from %llu to %llu: %s\n", what,
            (unsigned long long)least, (unsigned long long)most, text);
        exit(2);
    }
    return value;
}

static FILE *open_output(const char *path)
{
    FILE *file = strcmp(path, "-") == 0 ? stdout : fopen(path, "w");
    if (file == NULL)
        bench_die("%s: %s", path, strerror(errno));
    return file;
}

static void close_output(FILE *file)
{
    if (file != NULL && file != stdout && fclose(file) != 0)
        bench_die("a file of results could not be written");
}

static void parse_options(struct bench *bench, int argc, char **argv)
{
    static const struct option options[] = {{"json", required_argument, NULL, 'j'},
        {"repetitions", required_argument, NULL, 'r'}, {"dir", required_argument, NULL, 'd'},
        {"cities", required_argument, NULL, 'c'}, {"quick", no_argument, NULL, 'q'},
        {"row", required_argument, NULL, 'w'}, {"ours", no_argument, NULL, 'o'},
        {"markdown", required_argument, NULL, 'm'}, {"help", no_argument, NULL, 'h'}, {0}};
    uint64_t n = 0;
    uint64_t repetitions = 0;
    int option;
    while ((option = getopt_long(argc, argv, "n:h", options, NULL)) != -1)
        switch (option) {
        case 'n':
            n = parse_count(optarg, "-n", 100, 10000000000);
            bench->n_given = true;
            break;
        case 'r':
            repetitions = parse_count(optarg, "--repetitions", 1, 101);
            break;
        case 'j':
            bench->json = open_output(optarg);
            break;
        case 'm':
            bench->markdown = open_output(optarg);
            break;
        case 'd':
            bench->dir = optarg;
            break;
        case 'c':
            bench->cities = optarg;
            break;
        case 'w':
            bench->row = optarg;
            break;
        case 'o':
            bench->without_peers = true;
            break;
        case 'q':
            bench->quick = true;
            break;
        case 'h':
            usage(stdout);
            exit(0);
        default:
            usage(stderr);
            exit(2);
        }
    bench->n = n > 0 ? n : bench->quick ? 20000 : 1000000;
    bench->repetitions = repetitions > 0 ? (unsigned)repetitions : bench->quick ? 3 : 5;
    bench->row_seconds = bench->quick ? 10 : 600;
}

static size_t find_group(const char *name)
{
    for (size_t i = 0; i < GROUPS; i++)
        if (strcmp(groups[i].name, name) == 0)
            return i;
    fprintf(stderr, "bench: no such group: %s\n", name);
    usage(stderr);
    exit(2);
}

static void print_head(const struct bench *bench)
{
    struct utsname system;
    char date[32];
    time_t now = time(NULL);
    struct tm utc;
    uname(&system);
    strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", gmtime_r(&now, &utc));
    printf("BlazeDB %s, %s, %s %s, %ld processors, databases in %s\n", BLAZEDB_VERSION, date,
        system.sysname, system.release, sysconf(_SC_NPROCESSORS_ONLN), bench->dir);
    printf("medians of %u interleaved repetitions (least .. greatest)\n", bench->repetitions);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--child") == 0)
        return bench_child_main(argc - 2, argv + 2);

    struct bench bench = {0};
    const char *temporary = getenv("TMPDIR");
    bench.dir = temporary != NULL ? temporary : "/tmp";
    parse_options(&bench, argc, argv);

    bool wanted[GROUPS] = {false};
    for (int i = optind; i < argc; i++)
        wanted[find_group(argv[i])] = true;

    char *dir;
    if (asprintf(&dir, "%s/blazedb-bench-%ld", bench.dir, (long)getpid()) < 0)
        bench_die("out of memory");
    bench.dir = dir;
    bench_guard(dir);
    print_head(&bench);
    for (size_t i = 0; i < GROUPS; i++)
        if (wanted[i] || (optind == argc && !groups[i].on_request))
            groups[i].run(&bench);
    free(dir);
    bench_report_goals(&bench);
    if (bench.markdown != NULL)
        bench_report_markdown(&bench);
    close_output(bench.json);
    close_output(bench.markdown);
    return 0;
}

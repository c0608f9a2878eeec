/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Group `sync`. A hub, a writer and each copy are processes of their own; a writer fills a database
 * and shares it at the hub, and what is measured is what a copy then has to do to be equal, which
 * is verified each time by count and digest. Times are taken within the copy, from the call of
 * blaze_join() or blaze_sync() to its return, when all is durable there.
 *
 * The hub has been running for all rows but that of its memory, for which it is started anew.
 */

#include "bench.h"
#include "child.h"
#include "files.h"
#include "packing.h"
#include "sync_sqlite.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_SIZE 2048
#define INCREMENTAL   100 /* every so many records one is changed */
#define ROUNDS        10  /* of updates, in the database that has many */
#define MEMORY_OVER   (64.0 * 1048576)

/* One shared database: the writer's copy and how others come by one. */
struct origin {
    char *path;
    char *unix_code, *tcp_code;
    char *database, *digest;
};

struct round {
    struct bench *bench;
    uint64_t n;
    char text_n[24];

    struct bench_child hub;
    char *hub_dir;
    char *unix_url, *tcp_url;

    struct origin plain, updated;
    struct origin blind; /* the same as plain, whose secret the hub has not */
    char *copy;          /* what is joined and thrown away */
    char *kept;          /* a copy that is kept in step */
    char *bulk;          /* a database that no one else has */
    char *session;       /* SQLite's copy */
    char *session_source;
    char *replayed;
    struct bench_source *source;
    uint64_t changes; /* every round of updates has a number of its own */
    bool session_filled;

    double wire, wire_changes, wire_blind;     /* bytes a record */
    double session_wire, session_wire_changes; /* SQLite's */
    double join_peak, bulk_peak, session_peak; /* bytes */
};

/* Runs a child to its end and keeps its one line. */
static void run_child(const char *const *arguments, char line[LINE_MAX_SIZE])
{
    struct bench_child child;
    bench_child_start(&child, arguments);
    bench_child_line(&child, line, LINE_MAX_SIZE);
    bench_child_wait(&child, 0);
}

static void expect(const char *line, uint64_t records, const char *digest)
{
    char *have = bench_child_text(line, "digest");
    if ((uint64_t)bench_child_number(line, "records") != records || strcmp(have, digest) != 0)
        bench_die("blazedb: the copy differs: %s, but %llu records and digest %s", line,
            (unsigned long long)records, digest);
    free(have);
}

/* ---- the hub ---- */

static void start_hub(struct round *round)
{
    const char *const arguments[] = {"hub", round->hub_dir, round->unix_url, NULL};
    char line[LINE_MAX_SIZE];
    bench_child_start(&round->hub, arguments);
    bench_child_line(&round->hub, line, sizeof line);
    free(round->tcp_url);
    round->tcp_url = bench_child_text(line, "tcp");
}

/* Asks the hub until all who came have gone and are counted. Returns the number called `name`. */
static double ask_hub(struct round *round, const char *name)
{
    static const struct timespec pause = {0, 1000000};
    char line[LINE_MAX_SIZE];
    for (;;) {
        if (write(round->hub.in, "\n", 1) != 1)
            bench_die("the hub does not listen");
        bench_child_line(&round->hub, line, sizeof line);
        if (bench_child_number(line, "connections") == 0)
            return bench_child_number(line, name);
        nanosleep(&pause, NULL);
    }
}

static void stop_hub(struct round *round)
{
    bench_child_end_input(&round->hub);
    bench_child_wait(&round->hub, 0);
}

static void share(struct round *round, struct origin *origin, unsigned rounds, bool trusting)
{
    char text[16];
    char line[LINE_MAX_SIZE];
    snprintf(text, sizeof text, "%u", rounds);
    const char *const arguments[] = {"share", origin->path, round->text_n, text, round->unix_url,
        round->tcp_url, trusting ? "trusted" : "blind", NULL};
    run_child(arguments, line);
    origin->unix_code = bench_child_text(line, "unix");
    origin->tcp_code = bench_child_text(line, "tcp");
    origin->database = bench_child_text(line, "database");
    origin->digest = bench_child_text(line, "digest");
}

static void origin_release(struct origin *origin)
{
    bench_dir_remove(origin->path);
    free(origin->path);
    free(origin->unix_code);
    free(origin->tcp_code);
    free(origin->database);
    free(origin->digest);
}

/* ---- bootstrap ---- */

static double join(struct round *round, const struct origin *origin, const char *code,
    const char *path, char line[LINE_MAX_SIZE])
{
    const char *const arguments[] = {"join", path, code, NULL};
    bench_dir_remove(path);
    run_child(arguments, line);
    expect(line, round->n, origin->digest);
    return bench_child_number(line, "seconds");
}

static double run_join_blind(void *context)
{
    struct round *round = context;
    char line[LINE_MAX_SIZE];
    double before = ask_hub(round, "bytes");
    double seconds = join(round, &round->blind, round->blind.unix_code, round->copy, line);
    round->wire_blind = (ask_hub(round, "bytes") - before) / (double)round->n;
    return (double)round->n / seconds;
}

static double join_rate(struct round *round, const char *code)
{
    char line[LINE_MAX_SIZE];
    double before = ask_hub(round, "bytes");
    double seconds = join(round, &round->plain, code, round->copy, line);
    round->wire = (ask_hub(round, "bytes") - before) / (double)round->n;
    round->join_peak = bench_child_number(line, "peak");
    return (double)round->n / seconds;
}

static double run_join_unix(void *context)
{
    struct round *round = context;
    return join_rate(round, round->plain.unix_code);
}

static double run_join_tcp(void *context)
{
    struct round *round = context;
    return join_rate(round, round->plain.tcp_code);
}

static double run_bulk(void *context)
{
    struct round *round = context;
    char line[LINE_MAX_SIZE];
    const char *const arguments[] = {"bulk", round->bulk, round->text_n, NULL};
    bench_dir_remove(round->bulk);
    run_child(arguments, line);
    if ((uint64_t)bench_child_number(line, "records") != round->n)
        bench_die("blazedb: the load left another number of records: %s", line);
    round->bulk_peak = bench_child_number(line, "peak");
    return (double)round->n / bench_child_number(line, "seconds");
}

static double run_session_copy(void *context)
{
    struct round *round = context;
    struct bench_session_copy copy;
    bench_dir_fresh(round->session);
    bench_source_copy(round->source, round->session, &copy);
    round->session_filled = true;
    round->session_wire = (double)copy.bytes / (double)round->n;
    round->session_peak = (double)copy.peak;
    return (double)round->n / copy.seconds;
}

/* ---- incremental ---- */

static uint64_t changed_count(const struct round *round)
{
    return (round->n + INCREMENTAL - 1) / INCREMENTAL;
}

/* Updates one record in a hundred of the database at `path`; the answer is in `line`. */
static void change(struct round *round, const char *path, const char *url, char *line)
{
    char step[16], number[24];
    snprintf(step, sizeof step, "%d", INCREMENTAL);
    snprintf(number, sizeof number, "%llu", (unsigned long long)++round->changes + ROUNDS);
    const char *const arguments[] = {"change", path, round->text_n, step, number, url, NULL};
    run_child(arguments, line);
}

static double run_sync(void *context)
{
    struct round *round = context;
    char line[LINE_MAX_SIZE];
    change(round, round->plain.path, round->unix_url, line);
    free(round->plain.digest);
    round->plain.digest = bench_child_text(line, "digest");

    const char *const arguments[] = {"sync", round->kept, round->unix_url, NULL};
    run_child(arguments, line);
    expect(line, round->n, round->plain.digest);
    if ((uint64_t)bench_child_number(line, "received") != changed_count(round))
        bench_die("blazedb: other records came than were changed: %s", line);
    round->wire_changes = bench_child_number(line, "bytes") / (double)changed_count(round);
    return (double)changed_count(round) / bench_child_number(line, "seconds");
}

static double run_own_change(void *context)
{
    struct round *round = context;
    char line[LINE_MAX_SIZE];
    change(round, round->bulk, "-", line);
    return (double)changed_count(round) / bench_child_number(line, "seconds");
}

static double run_session_change(void *context)
{
    struct round *round = context;
    struct bench_session_copy copy;
    bench_source_change(
        round->source, INCREMENTAL, ++round->changes + ROUNDS, round->session, &copy);
    round->session_wire_changes = (double)copy.bytes / (double)changed_count(round);
    return (double)changed_count(round) / copy.seconds;
}

/* ---- figures that the rows before have left ---- */

static double run_figure(void *context)
{
    return *(const double *)context;
}

static double run_json(void *context)
{
    struct round *round = context;
    struct bz_buf json;
    uint64_t bytes = 0;
    bz_buf_init(&json, 65536);
    for (uint64_t i = 0; i < round->n; i++) {
        struct bench_record record;
        char text[BENCH_TEXT_MAX];
        bench_order(i, &record, text);
        bz_buf_clear(&json);
        bench_json_append(&json, &record);
        bytes += json.size;
    }
    bz_buf_release(&json);
    return (double)bytes / (double)round->n;
}

/* ---- many updates ---- */

static double operations(const struct round *round)
{
    return (double)round->n * (ROUNDS + 1);
}

static double run_join_updated(void *context)
{
    struct round *round = context;
    char line[LINE_MAX_SIZE];
    double seconds = join(round, &round->updated, round->updated.unix_code, round->copy, line);
    return operations(round) / seconds;
}

static double run_replay(struct round *round, const char *durability)
{
    char line[LINE_MAX_SIZE];
    char rounds[16];
    snprintf(rounds, sizeof rounds, "%d", ROUNDS);
    const char *const arguments[] = {"replay", round->replayed, round->text_n, rounds,
        round->bench->quick ? "1" : "10", durability, NULL};
    bench_dir_remove(round->replayed);
    run_child(arguments, line);
    return bench_child_number(line, "operations") / bench_child_number(line, "seconds");
}

static double run_replay_full(void *context)
{
    return run_replay(context, "full");
}

static double run_replay_relaxed(void *context)
{
    return run_replay(context, "relaxed");
}

/* ---- memory ---- */

static double megabytes(double bytes)
{
    return bytes / 1e6;
}

static double run_join_peak(void *context)
{
    const struct round *round = context;
    return megabytes(round->join_peak);
}

static double run_bulk_peak(void *context)
{
    const struct round *round = context;
    return megabytes(round->bulk_peak);
}

static double run_session_peak(void *context)
{
    const struct round *round = context;
    return megabytes(round->session_peak);
}

/* Reads the hub's own copy of the database while no hub runs; returns the peak in MB. */
static double scan_hub_copy(struct round *round)
{
    char line[LINE_MAX_SIZE];
    char *name, *path;
    if (asprintf(&name, "%s.blz", round->plain.database) < 0)
        bench_die("out of memory");
    path = bench_path(round->hub_dir, name);
    const char *const arguments[] = {"scan", path, NULL};
    run_child(arguments, line);
    expect(line, round->n, round->plain.digest);
    free(path);
    free(name);
    return megabytes(bench_child_number(line, "peak"));
}

/* The peak of a hub that was started for one bootstrap, in MB. */
static double fresh_hub_peak(struct round *round)
{
    char line[LINE_MAX_SIZE];
    join(round, &round->plain, round->plain.unix_code, round->copy, line);
    return megabytes(ask_hub(round, "peak"));
}

/* ---- the rows ---- */

static struct bench_contestant ours(double (*run)(void *context), void *context)
{
    return (struct bench_contestant){"blazedb", BENCH_OURS, NULL, run, context};
}

static struct bench_contestant session_peer(double (*run)(void *context), void *context)
{
    return (struct bench_contestant){
        "sqlite-session", BENCH_PEER, bench_session_missing, run, context};
}

static struct bench_contestant limit(const char *name, double (*run)(void *context), void *context)
{
    return (struct bench_contestant){name, BENCH_LIMIT, NULL, run, context};
}

static bool with_session(const struct round *round)
{
    return bench_session_missing == NULL && !round->bench->without_peers;
}

#define OWN_LOAD   "own bulk load"
#define OWN_UPDATE "own bulk update"

static void measure_bootstrap(struct round *round)
{
    struct bench *bench = round->bench;
    struct bench_row row = {
        "sync", "bootstrap by join, unix:", "records/s", round->n, .goals = {{OWN_LOAD, 0.7, 0}}};
    const struct bench_contestant over_unix[] = {ours(run_join_unix, round),
        session_peer(run_session_copy, round), limit(OWN_LOAD, run_bulk, round)};
    bench_measure(bench, &row, over_unix, 3);

    row.name = "bootstrap by join, tcp: with TLS 1.3";
    const struct bench_contestant over_tcp[] = {
        ours(run_join_tcp, round), limit(OWN_LOAD, run_bulk, round)};
    bench_measure(bench, &row, over_tcp, 2);
}

/* Its copy and the writer's are made for this row alone. */
static void measure_blind(struct round *round)
{
    static const char name[] = "bootstrap through a blind hub, unix:";
    static const char trusted[] = "a trusted hub";
    if (!bench_wants(round->bench, name))
        return;
    share(round, &round->blind, 0, false);
    struct bench_row row = {"sync", name, "records/s", round->n, .goals = {{trusted, 0.6, 0}}};
    const struct bench_contestant contestants[] = {
        ours(run_join_blind, round), limit(trusted, run_join_unix, round)};
    bench_measure(round->bench, &row, contestants, 2);
    row = (struct bench_row){"sync", "bytes on the wire, bootstrap through a blind hub",
        "bytes/rec", round->n, .less_is_better = true, .once = true};
    const struct bench_contestant wire[] = {ours(run_figure, &round->wire_blind),
        limit(trusted, run_figure, &round->wire), limit("json", run_json, round)};
    bench_measure(round->bench, &row, wire, 3);
}

/* What the later rows need, whichever of the earlier ones were wanted. */
static void make_copies(struct round *round)
{
    char line[LINE_MAX_SIZE];
    join(round, &round->plain, round->plain.unix_code, round->kept, line);
    if (round->wire == 0)
        join_rate(round, round->plain.unix_code);
    if (round->bulk_peak == 0)
        run_bulk(round);
    if (with_session(round) && !round->session_filled)
        run_session_copy(round);
}

static void measure_incremental(struct round *round)
{
    struct bench_row row = {
        "sync", "incremental, 1 % changed, unix:", "records/s", round->n, .goals = {{0}}};
    const struct bench_contestant contestants[] = {ours(run_sync, round),
        session_peer(run_session_change, round), limit(OWN_UPDATE, run_own_change, round)};
    bench_measure(round->bench, &row, contestants, 3);
}

static void measure_wire(struct round *round)
{
    struct bench_row row = {"sync", "bytes on the wire, bootstrap", "bytes/rec", round->n,
        .less_is_better = true, .once = true, .goals = {{"json", 0.35, 0}}};
    const struct bench_contestant all[] = {ours(run_figure, &round->wire),
        session_peer(run_figure, &round->session_wire), limit("json", run_json, round)};
    bench_measure(round->bench, &row, all, 3);

    if (round->wire_changes == 0)
        return; /* the row that counts them was not wanted */
    row.name = "bytes on the wire, incremental";
    row.goals[0] = (struct bench_goal){0};
    const struct bench_contestant changes[] = {ours(run_figure, &round->wire_changes),
        session_peer(run_figure, &round->session_wire_changes)};
    bench_measure(round->bench, &row, changes, 2);
}

static void measure_memory(struct round *round)
{
    static const char over[] = "the limit + 64 MiB";
    double bulk = megabytes(round->bulk_peak);
    struct bench_row row = {"sync", "peak memory, receiver of a bootstrap", "MB", round->n,
        .less_is_better = true, .once = true, .goals = {{over, 1, bulk + megabytes(MEMORY_OVER)}}};
    const struct bench_contestant receiver[] = {ours(run_join_peak, round),
        session_peer(run_session_peak, round), limit(OWN_LOAD, run_bulk_peak, round)};
    bench_measure(round->bench, &row, receiver, 3);

    stop_hub(round);
    double scan = scan_hub_copy(round);
    start_hub(round);
    double hub = fresh_hub_peak(round);
    row.name = "peak memory, hub that gives a bootstrap";
    row.goals[0] = (struct bench_goal){over, 1, scan + megabytes(MEMORY_OVER)};
    const struct bench_contestant sender[] = {
        ours(run_figure, &hub), limit("reading all of it", run_figure, &scan)};
    bench_measure(round->bench, &row, sender, 2);
}

static void measure_updated(struct round *round)
{
    static const char name[] = "new copy after 10 updates a record, against replay";
    if (!bench_wants(round->bench, name))
        return;
    share(round, &round->updated, ROUNDS, true);
    struct bench_row row = {"sync", name, "ops/s", round->n,
        .goals = {{"replay-durable", 20, 0}, {"replay-relaxed", 20, 0}}};
    const struct bench_contestant contestants[] = {ours(run_join_updated, round),
        limit("replay-durable", run_replay_full, round),
        limit("replay-relaxed", run_replay_relaxed, round)};
    bench_measure(round->bench, &row, contestants, 3);
}

static void round_sync(struct bench *bench, uint64_t n)
{
    struct round round = {.bench = bench, .n = n};
    const char *dir = bench->dir;
    snprintf(round.text_n, sizeof round.text_n, "%llu", (unsigned long long)n);
    round.hub_dir = bench_path(dir, "hub");
    round.plain.path = bench_path(dir, "plain.blz");
    round.blind.path = bench_path(dir, "blind.blz");
    round.updated.path = bench_path(dir, "updated.blz");
    round.copy = bench_path(dir, "copy.blz");
    round.kept = bench_path(dir, "kept.blz");
    round.bulk = bench_path(dir, "bulk.blz");
    round.replayed = bench_path(dir, "replayed.blz");
    round.session = bench_path(dir, "session");
    round.session_source = bench_path(dir, "session-source");
    if (asprintf(&round.unix_url, "unix:%s/hub.sock", dir) < 0)
        bench_die("out of memory");

    start_hub(&round);
    share(&round, &round.plain, 0, true);
    if (with_session(&round)) {
        bench_dir_fresh(round.session_source);
        round.source = bench_source_open(round.session_source, n);
    }
    measure_bootstrap(&round);
    measure_blind(&round);
    make_copies(&round);
    measure_incremental(&round);
    measure_wire(&round);
    measure_memory(&round);
    measure_updated(&round);
    bench_source_close(round.source);
    stop_hub(&round);

    char *const paths[] = {round.hub_dir, round.copy, round.kept, round.bulk, round.replayed,
        round.session, round.session_source};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        bench_dir_remove(paths[i]);
        free(paths[i]);
    }
    origin_release(&round.plain);
    origin_release(&round.blind);
    origin_release(&round.updated);
    free(round.unix_url);
    free(round.tcp_url);
}

void bench_sync(struct bench *bench)
{
    bench_packing(bench);
    bench_rounds(bench, "sync", UINT64_MAX, round_sync);
}

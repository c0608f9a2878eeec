/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the processes of the group `sync` do: a hub, a writer, and copies. No copy has an index:
 * indexes are local to a copy and a join ends before one could be made, so that a load and a replay
 * to compare it with have none either.
 */

#include "bench.h"
#include "child.h"
#include "files.h"

#include <blazedb.h>
#include <stdlib.h>
#include <string.h>

#define COLLECTION   "orders"
#define REPLAY_BLOCK 1000
#define PATIENCE_MS  120000

static void check(int code, const blaze_error *error)
{
    if (code < 0)
        bench_die("blazedb: %s: %s", blaze_error_name(code), error->text);
}

static uint64_t count_of(const char *argument)
{
    return strtoull(argument, NULL, 10);
}

/* ---- the hub ---- */

static void answer_hub(blaze_hub *hub)
{
    blaze_hub_status status = {0};
    blaze_hub_get_status(hub, &status);
    printf("{\"peak\":%llu,\"bytes\":%llu,\"connections\":%llu}\n",
        (unsigned long long)bench_memory_peak(),
        (unsigned long long)(status.sent_bytes + status.received_bytes),
        (unsigned long long)status.connections);
    fflush(stdout);
}

int bench_child_hub(char **arguments)
{
    const char *const listen[] = {arguments[1], "tcp://127.0.0.1:0"};
    blaze_hub_options options;
    blaze_hub *hub;
    blaze_error error;
    blaze_hub_options_init(&options);
    options.listen = listen;
    options.listen_count = 2;
    options.trusted = 1;
    check(blaze_hub_open(&hub, arguments[0], &options, &error), &error);
    printf("{\"unix\":\"%s\",\"tcp\":\"%s\"}\n", blaze_hub_url(hub, 0), blaze_hub_url(hub, 1));
    fflush(stdout);
    for (int c; (c = getchar()) != EOF;)
        if (c == '\n')
            answer_hub(hub);
    check(blaze_hub_close(hub, &error), &error);
    return 0;
}

/* ---- databases ---- */

static blaze_db *open_db(const char *path, bool create, blaze_durability durability)
{
    blaze_db *db;
    blaze_error error;
    blaze_open_options options;
    blaze_open_options_init(&options);
    options.create = create;
    options.durability = durability;
    check(blaze_open(&db, path, &options, &error), &error);
    return db;
}

static void close_db(blaze_db *db)
{
    blaze_error error;
    check(blaze_close(db, &error), &error);
}

static blaze_doc *new_doc(void)
{
    blaze_doc *doc;
    if (blaze_doc_new(&doc) != BLAZE_OK)
        bench_die("out of memory");
    return doc;
}

static void fill_change(blaze_doc *doc, uint64_t record, uint64_t round)
{
    const char *status;
    int64_t total;
    bench_order_change(record, round, &status, &total);
    blaze_doc_clear(doc);
    blaze_doc_add_string(doc, "status", status);
    blaze_doc_add_int(doc, "total_cents", total);
}

/* Loads orders in durable batches. Returns the seconds without those of making the records, which
 * are made a batch at a time, so that they need no memory to speak of. */
static double load(blaze_db *db, uint64_t n)
{
    static struct bench_record records[BENCH_BATCH];
    static char texts[BENCH_BATCH][BENCH_TEXT_MAX];
    blaze_doc *doc = new_doc();
    blaze_error error;
    double seconds = 0;
    for (uint64_t first = 0; first < n; first += BENCH_BATCH) {
        uint64_t count = n - first < BENCH_BATCH ? n - first : BENCH_BATCH;
        for (uint64_t i = 0; i < count; i++)
            bench_order(first + i, &records[i], texts[i]);
        double start = bench_now();
        blaze_txn *txn;
        check(blaze_begin(db, &txn, &error), &error);
        for (uint64_t i = 0; i < count; i++) {
            blaze_id id;
            bench_id(BENCH_RANDOM_IDS, first + i, &id);
            bench_document(doc, &bench_orders, &records[i]);
            check(blaze_txn_insert(txn, COLLECTION, &id, doc, &error), &error);
        }
        check(blaze_commit_with(txn, BLAZE_FULL, &error), &error);
        seconds += bench_now() - start;
    }
    blaze_doc_free(doc);
    return seconds;
}

/* Updates every step-th record in durable batches; returns the seconds. */
static double update(blaze_db *db, uint64_t n, uint64_t step, uint64_t round)
{
    blaze_doc *doc = new_doc();
    blaze_error error;
    double start = bench_now();
    for (uint64_t i = 0; i < n;) {
        blaze_txn *txn;
        check(blaze_begin(db, &txn, &error), &error);
        for (unsigned b = 0; b < BENCH_BATCH && i < n; b++, i += step) {
            blaze_id id;
            bench_id(BENCH_RANDOM_IDS, i, &id);
            fill_change(doc, i, round);
            check(blaze_txn_update(txn, COLLECTION, &id, doc, &error), &error);
        }
        check(blaze_commit_with(txn, BLAZE_FULL, &error), &error);
    }
    double seconds = bench_now() - start;
    blaze_doc_free(doc);
    return seconds;
}

static uint64_t count_records(blaze_db *db)
{
    uint64_t count;
    blaze_error error;
    check(blaze_count(db, COLLECTION, &count, &error), &error);
    return count;
}

/* `peak` is asked for before the digest is. */
static void print_state(blaze_db *db, double seconds, uint64_t peak)
{
    char digest[BLAZE_DIGEST_TEXT_SIZE];
    blaze_error error;
    check(blaze_digest(db, digest, &error), &error);
    printf("{\"seconds\":%.9f,\"peak\":%llu,\"records\":%llu,\"digest\":\"%s\"", seconds,
        (unsigned long long)peak, (unsigned long long)count_records(db), digest);
}

static void print_end(void)
{
    puts("}");
    fflush(stdout);
}

int bench_child_bulk(char **arguments)
{
    double start = bench_now();
    blaze_db *db = open_db(arguments[0], true, BLAZE_FULL);
    double seconds = bench_now() - start; /* a join makes its database, too */
    seconds += load(db, count_of(arguments[1]));
    print_state(db, seconds, bench_memory_peak());
    print_end();
    close_db(db);
    return 0;
}

int bench_child_share(char **arguments)
{
    blaze_db *db = open_db(arguments[0], true, BLAZE_FULL);
    uint64_t n = count_of(arguments[1]);
    uint64_t rounds = count_of(arguments[2]);
    load(db, n);
    for (uint64_t round = 1; round <= rounds; round++)
        update(db, n, 1, round);

    char *codes[2];
    char database[BLAZE_ID_TEXT_SIZE];
    blaze_id id;
    blaze_error error;
    blaze_sync_options options;
    blaze_sync_options_init(&options);
    options.timeout_ms = PATIENCE_MS;
    options.trust_hub = strcmp(arguments[5], "trusted") == 0;
    for (int i = 0; i < 2; i++)
        check(blaze_share(db, arguments[3 + i], &options, &codes[i], &error), &error);
    blaze_database_id(db, &id);
    print_state(db, 0, bench_memory_peak());
    printf(",\"unix\":\"%s\",\"tcp\":\"%s\",\"database\":\"%s\"", codes[0], codes[1],
        blaze_id_format(&id, database));
    print_end();
    blaze_free(codes[0]);
    blaze_free(codes[1]);
    close_db(db);
    return 0;
}

int bench_child_join(char **arguments)
{
    blaze_db *db;
    blaze_error error;
    blaze_open_options open;
    blaze_sync_options options;
    blaze_open_options_init(&open);
    open.durability = BLAZE_FULL;
    blaze_sync_options_init(&options);
    options.timeout_ms = PATIENCE_MS;
    double start = bench_now();
    check(blaze_join(&db, arguments[0], arguments[1], &open, &options, &error), &error);
    double seconds = bench_now() - start;
    print_state(db, seconds, bench_memory_peak());
    print_end();
    close_db(db);
    return 0;
}

int bench_child_change(char **arguments)
{
    blaze_db *db = open_db(arguments[0], false, BLAZE_FULL);
    double seconds =
        update(db, count_of(arguments[1]), count_of(arguments[2]), count_of(arguments[3]));
    if (strcmp(arguments[4], "-") != 0) {
        blaze_sync_options options;
        blaze_error error;
        blaze_sync_options_init(&options);
        options.timeout_ms = PATIENCE_MS;
        options.url = arguments[4];
        check(blaze_sync(db, &options, NULL, &error), &error);
    }
    print_state(db, seconds, bench_memory_peak());
    print_end();
    close_db(db);
    return 0;
}

int bench_child_sync(char **arguments)
{
    blaze_db *db = open_db(arguments[0], false, BLAZE_FULL);
    blaze_sync_options options;
    blaze_link_status status = {0};
    blaze_error error;
    blaze_sync_options_init(&options);
    options.timeout_ms = PATIENCE_MS;
    options.url = arguments[1];
    double start = bench_now();
    check(blaze_sync(db, &options, &status, &error), &error);
    double seconds = bench_now() - start;
    print_state(db, seconds, bench_memory_peak());
    printf(",\"bytes\":%llu,\"received\":%llu",
        (unsigned long long)(status.received_bytes + status.sent_bytes),
        (unsigned long long)status.received_records);
    print_end();
    close_db(db);
    return 0;
}

int bench_child_scan(char **arguments)
{
    blaze_db *db = open_db(arguments[0], false, BLAZE_FULL);
    blaze_cursor *cursor;
    blaze_error error;
    blaze_id id;
    blaze_value document;
    int code;
    double start = bench_now();
    check(blaze_find(db, COLLECTION, NULL, &cursor, &error), &error);
    while ((code = blaze_cursor_next(cursor, &id, &document, &error)) == BLAZE_OK)
        ;
    check(code, &error);
    blaze_cursor_close(cursor);
    print_state(db, bench_now() - start, bench_memory_peak());
    print_end();
    close_db(db);
    return 0;
}

/* ---- replay ---- */

/* Each operation is a commit of its own, for at most so many seconds. Block by block, each first
 * inserted and then updated round after round; returns the operations done. */
static uint64_t replay(blaze_db *db, uint64_t n, uint64_t rounds, double seconds)
{
    blaze_doc *doc = new_doc();
    blaze_error error;
    double start = bench_now();
    uint64_t done = 0;
    for (uint64_t first = 0; first < n && bench_now() - start < seconds; first += REPLAY_BLOCK) {
        uint64_t end = n - first < REPLAY_BLOCK ? n : first + REPLAY_BLOCK;
        for (uint64_t round = 0; round <= rounds; round++)
            for (uint64_t i = first; i < end && bench_now() - start < seconds; i++, done++) {
                struct bench_record record;
                char text[BENCH_TEXT_MAX];
                blaze_id id;
                bench_id(BENCH_RANDOM_IDS, i, &id);
                if (round > 0) {
                    fill_change(doc, i, round);
                    check(blaze_update(db, COLLECTION, &id, doc, &error), &error);
                } else {
                    bench_order(i, &record, text);
                    bench_document(doc, &bench_orders, &record);
                    check(blaze_insert(db, COLLECTION, &id, doc, &error), &error);
                }
            }
    }
    blaze_doc_free(doc);
    return done;
}

/* What was written last is what is there, in each record of the blocks that are complete. */
static void check_replay(blaze_db *db, uint64_t records, uint64_t rounds)
{
    blaze_error error;
    for (uint64_t i = 0; i < records; i++) {
        const char *status;
        int64_t total;
        blaze_id id;
        blaze_doc *doc;
        blaze_value document, value;
        bench_id(BENCH_RANDOM_IDS, i, &id);
        bench_order_change(i, rounds, &status, &total);
        check(blaze_get(db, COLLECTION, &id, &doc, &error), &error);
        if (blaze_doc_value(doc, &document) != BLAZE_OK ||
            blaze_value_field(&document, "total_cents", &value) != BLAZE_OK ||
            value.as.integer != total)
            bench_die("blazedb: a replayed record is not as it was written last");
        blaze_doc_free(doc);
    }
}

int bench_child_replay(char **arguments)
{
    uint64_t n = count_of(arguments[1]);
    uint64_t rounds = count_of(arguments[2]);
    bool full = strcmp(arguments[4], "full") == 0;
    blaze_db *db = open_db(arguments[0], true, full ? BLAZE_FULL : BLAZE_RELAXED);
    blaze_error error;
    double start = bench_now();
    uint64_t done = replay(db, n, rounds, strtod(arguments[3], NULL));
    check(blaze_flush(db, &error), &error);
    double seconds = bench_now() - start;
    uint64_t blocks = done / ((rounds + 1) * REPLAY_BLOCK);
    check_replay(db, done == n * (rounds + 1) ? n : blocks * REPLAY_BLOCK, rounds);
    print_state(db, seconds, bench_memory_peak());
    printf(",\"operations\":%llu", (unsigned long long)done);
    print_end();
    close_db(db);
    return 0;
}

/* ---- a writer beside an observer ---- */

int bench_child_write_on(char **arguments)
{
    uint64_t n = count_of(arguments[1]);
    bool full = strcmp(arguments[2], "full") == 0;
    blaze_db *db = open_db(arguments[0], false, full ? BLAZE_FULL : BLAZE_RELAXED);
    blaze_doc *doc = new_doc();
    blaze_error error;
    uint64_t done = 0;
    for (int c; (c = getchar()) != EOF;) {
        blaze_id id;
        if (c != '\n')
            continue;
        bench_id(BENCH_RANDOM_IDS, done % n, &id);
        fill_change(doc, done % n, done);
        done++;
        double start = bench_now();
        check(blaze_upsert(db, COLLECTION, &id, doc, &error), &error);
        printf("{\"start\":%.9f}\n", start);
        fflush(stdout);
    }
    blaze_doc_free(doc);
    close_db(db);
    return 0;
}

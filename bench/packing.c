/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rows of group `sync`: what each kind of compression makes of a bootstrap, over real sessions
 * between real databases in memory, with nothing between the two: all the time is that of building,
 * packing, unpacking and applying, on one thread.
 */

#include "packing.h"
#include "bench.h"
#include "db/db.h"
#include "records.h"
#include "sync/frame.h"
#include "sync/session.h"

#include <string.h>

#define COLLECTION "records"
#define RECORDS    20000u
#define BATCH      1000u

struct packing {
    const struct bench_records *records;
    struct bz_db *from;
    uint64_t without; /* features */
};

static void must(int code, const char *what)
{
    if (code != 0)
        bench_die("a session in memory: %s: %s", what, blaze_error_name(code));
}

/* No key: these two trust each other. */
static int no_mac(void *context, bool member, struct bz_bytes transcript, uint8_t out[32])
{
    (void)context;
    (void)member;
    (void)transcript;
    memset(out, 1, 32);
    return 0;
}

static int no_nonce(void *context, void *data, size_t size)
{
    (void)context;
    memset(data, 1, size);
    return 0;
}

static const struct bz_session_auth auth = {.mac = no_mac, .random = no_nonce};

static int open_host(void *context, const blaze_id *database, struct bz_replica *replica,
    struct bz_session_auth *out, blaze_error *error)
{
    (void)database;
    (void)error;
    *replica = *(struct bz_replica *)context;
    *out = auth;
    return 0;
}

static struct bz_db *open_memory(const char *name)
{
    struct bz_db *db;
    struct bz_db_options options = {
        .create = true, .memory = true, .apply_durability = BZ_DURABLE_RELAXED};
    options.database.bytes[0] = 1;
    must(bz_db_open(&db, name, &options, NULL), "opening");
    return db;
}

static void load(struct bz_db *db, const struct bench_records *records)
{
    blaze_doc *doc;
    must(blaze_doc_new(&doc), "a document");
    for (size_t i = 0; i < records->count;) {
        struct bz_db_txn *txn;
        must(bz_db_begin(db, &txn, NULL), "a transaction");
        for (unsigned b = 0; b < BATCH && i < records->count; b++, i++) {
            blaze_id id;
            bench_id(BENCH_RANDOM_IDS, i, &id);
            bench_document(doc, records->schema, &records->items[i]);
            must(bz_db_insert(txn, bz_bytes_text(COLLECTION), &id, doc, NULL), "inserting");
        }
        must(bz_db_commit(txn, BZ_DURABLE_RELAXED, NULL), "committing");
    }
    blaze_doc_free(doc);
}

/* Hands on what a session has to say; whether that was anything. */
static bool hand_on(struct bz_session *from, struct bz_session *to, uint64_t now_ms)
{
    struct bz_bytes out = bz_session_output(from);
    if (out.size == 0)
        return false;
    bz_session_receive(to, out, now_ms);
    bz_session_sent(from, out.size);
    return true;
}

static void exchange(struct bz_session *a, struct bz_session *b)
{
    for (bool any = true; any;) {
        uint64_t now_ms = (uint64_t)(bench_now() * 1e3);
        any = hand_on(a, b, now_ms);
        any |= bz_session_run(b, now_ms, 1700000000000u);
        any |= hand_on(b, a, now_ms);
        any |= bz_session_run(a, now_ms, 1700000000000u);
    }
}

/* Values: records a second; bytes a record on the wire. */
static void run_bootstrap(void *context, double *values)
{
    struct packing *packing = context;
    struct bz_db *to = open_memory("to");
    struct bz_replica ends[2];
    struct bz_session *a, *b;
    must(bz_db_replica_open(packing->from, &ends[0], NULL), "a replica");
    must(bz_db_replica_open(to, &ends[1], NULL), "a replica");
    struct bz_session_host host = {.open = open_host, .context = &ends[1]};
    struct bz_session_options connecting = {
        .connecting = true, .replica = &ends[0], .auth = &auth, .without = packing->without};
    struct bz_session_options accepting = {.host = &host};
    double start = bench_now();
    uint64_t now_ms = (uint64_t)(start * 1e3);
    must(bz_session_new(&a, &connecting, now_ms, NULL), "a session");
    must(bz_session_new(&b, &accepting, now_ms, NULL), "a session");
    exchange(a, b);
    double seconds = bench_now() - start;
    struct bz_session_status status;
    bz_session_status(a, &status);
    if (status.phase != BZ_SESSION_LIVE || status.sent_records != packing->records->count)
        bench_die("a session in memory did not get to its end: %s", status.reason);
    values[0] = (double)status.sent_records / seconds;
    values[1] = (double)status.sent_bytes / (double)status.sent_records;
    bz_session_free(a);
    bz_session_free(b);
    bz_db_replica_close(&ends[0]);
    bz_db_replica_close(&ends[1]);
    must(bz_db_close(to, NULL), "closing");
}

static void measure(struct bench *bench, const struct bench_records *records)
{
    char names[2][80];
    struct packing packings[] = {
        {.records = records, .without = BZ_FEATURE_LZ4},
        {.records = records, .without = BZ_FEATURE_ZSTD},
        {.records = records, .without = BZ_FEATURE_LZ4 | BZ_FEATURE_ZSTD},
    };
    snprintf(names[0], sizeof names[0], "bootstrap of %s in memory, packed", records->schema->name);
    snprintf(names[1], sizeof names[1], "bytes on the wire, %s, packed", records->schema->name);
    if (!bench_wants(bench, names[0]) && !bench_wants(bench, names[1]))
        return;
    struct bz_db *from = open_memory("from");
    load(from, records);
    for (size_t i = 0; i < 3; i++)
        packings[i].from = from;
    const struct bench_contestant contestants[] = {
        {"zstd", BENCH_OURS, NULL, NULL, &packings[0], run_bootstrap},
        {"lz4", BENCH_LIMIT, NULL, NULL, &packings[1], run_bootstrap},
        {"not packed", BENCH_LIMIT, NULL, NULL, &packings[2], run_bootstrap}};
    const struct bench_row rows[] = {{"sync", names[0], "records/s", records->count},
        {"sync", names[1], "bytes/rec", records->count, .less_is_better = true}};
    bench_measure_rows(bench, rows, 2, contestants, 3);
    must(bz_db_close(from, NULL), "closing");
}

void bench_packing(struct bench *bench)
{
    struct bench_records records;
    size_t count = bench->n < RECORDS ? (size_t)bench->n : RECORDS;
    bench_report_round("sync, packing", count);
    bench_records_orders(&records, count);
    measure(bench, &records);
    bench_records_release(&records);
    if (!bench_records_cities(&records, bench->cities, count)) {
        printf("    no cities: their rows are left out\n");
        return;
    }
    measure(bench, &records);
    bench_records_release(&records);
}

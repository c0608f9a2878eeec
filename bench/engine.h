/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_ENGINE_H
#define BENCH_ENGINE_H

/*
 * A database engine that keeps orders. All of them do equal work:
 *
 *   - a record under its 16-byte id, all twelve fields;
 *   - one index entry, on the field `total_cents`;
 *   - one entry in a change log: the newest position at which each record changed, in order, so
 *     that a copy could ask for what changed since; a deletion leaves an entry too.
 *
 * A write moves the record's log entry and, where the indexed field changes, its index entry, in
 * the same atomic commit. Opening, writing and reading end the program when they fail.
 */

#include "bench.h"
#include "records.h"

struct bench_db;      /* one database, any thread */
struct bench_session; /* one thread's way to it */

enum bench_profile {
    BENCH_FULL,      /* a commit is on disk when it returns */
    BENCH_RELAXED,   /* a commit survives the process, and soon the machine */
    BENCH_LOAD,      /* as full, tuned for large commits; readers and writers may be about */
    BENCH_LOAD_ONCE, /* only bench_engine.flush makes anything last: the best for an empty start */
    BENCH_QUERY,     /* nothing is written: caches as large as they should be */
};

enum bench_verb { BENCH_INSERT, BENCH_UPDATE, BENCH_DELETE };

/* One write. `record` is the whole of an insert; an update changes the status and the total. */
struct bench_write {
    enum bench_verb verb;
    blaze_id id;
    const struct bench_record *record;
    const char *status;
    int64_t total;
};

/* What a read gave, to hold against the answers of the others. */
struct bench_answer {
    uint64_t rows;
    uint64_t sum;
};

struct bench_engine {
    const char *name;
    const char *missing; /* why it is not built in, or NULL */
    const char *variant; /* of its settings, where it has several */
    bool shares_syncs;   /* commits of several threads wait for one sync together by themselves */
    size_t load_batch;   /* records a commit under BENCH_LOAD_ONCE: the best for this engine */

    struct bench_db *(*open)(const char *dir, enum bench_profile profile, const char *variant);
    void (*close)(struct bench_db *db);
    void (*flush)(struct bench_db *db);  /* all that was written is on disk */
    void (*settle)(struct bench_db *db); /* and is where it will stay: checkpoint, compaction */
    uint64_t (*checkpoints)(struct bench_db *db); /* made so far; NULL: the engine does not tell */

    struct bench_session *(*session)(struct bench_db *db);
    void (*end)(struct bench_session *session);

    /* One write as a commit of its own. */
    void (*write)(struct bench_session *session, const struct bench_write *write);

    /* Several in one. */
    void (*begin)(struct bench_session *session);
    void (*add)(struct bench_session *session, const struct bench_write *write);
    void (*commit)(struct bench_session *session);

    /* Reads see one state from hold to release, or each its own. */
    void (*hold)(struct bench_session *session);
    void (*release)(struct bench_session *session);

    /* The whole record; sum is its total. */
    void (*get)(struct bench_session *session, const blaze_id *id, struct bench_answer *out);
    /* The first `limit` records from total >= low on, by index; the sum of their totals. */
    void (*range)(
        struct bench_session *session, int64_t low, uint64_t limit, struct bench_answer *out);
    /* Records with items > 45 and status "shipped", by a look at each; the sum of their totals. */
    void (*filter)(struct bench_session *session, struct bench_answer *out);
    /* The ten heaviest, without an index; the sum of their weights in grams. */
    void (*top)(struct bench_session *session, struct bench_answer *out);
    /* The number of records, exactly. */
    void (*count)(struct bench_session *session, struct bench_answer *out);
};

#define BENCH_FILTER_ITEMS  45
#define BENCH_FILTER_STATUS "shipped"
#define BENCH_TOP           10

extern const struct bench_engine bench_engine_blaze;
extern const struct bench_engine bench_engine_sealed;      /* ours, by a passphrase */
extern const struct bench_engine bench_engine_sqlite;      /* a column for each field */
extern const struct bench_engine bench_engine_sqlite_json; /* one column of JSON text */
extern const struct bench_engine bench_engine_lmdb;
extern const struct bench_engine bench_engine_rocksdb;

/* The limit of writing: a file to which 512 bytes a commit are appended, and fdatasync. */
extern const struct bench_engine bench_engine_append;

/* A contestant of this engine: ours, its variant, a limit or a peer, without its work. */
struct bench_contestant bench_contestant(const struct bench_engine *engine, void *context);

/* What a sealed database is to keep of the speed of one that is not; in bytes, its inverse. */
#define BENCH_SEALED_GOAL 0.6

/* Writes all records in commits of `batch` each, then flushes. */
#define BENCH_BATCH 10000
void bench_load(const struct bench_engine *engine, struct bench_db *db,
    const struct bench_records *records, enum bench_id_order order, size_t batch);

/*
 * A commit queue, for engines whose commits do not share syncs: whoever comes first writes for all
 * who wait, in one transaction. It is what an application with many threads would put before them.
 */
struct bench_queue;
struct bench_queue *bench_queue_new(const struct bench_engine *engine, struct bench_db *db);
void bench_queue_free(struct bench_queue *queue);
void bench_queue_write(struct bench_queue *queue, const struct bench_write *write);

/*
 * Keeps the heaviest of what it is given: for engines that have no sorting of their own.
 */
struct bench_heap {
    size_t count;
    double weights[BENCH_TOP]; /* a heap, the least on top */
};
void bench_heap_add(struct bench_heap *heap, double weight);
void bench_heap_answer(const struct bench_heap *heap, struct bench_answer *out);

uint64_t bench_grams(double weight);

#endif

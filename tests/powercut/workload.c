/* SPDX-License-Identifier: Apache-2.0 */

/*
 * powercut_workload ROOT TRACE KILL: goes on with the database in ROOT/db (makes it if it is not
 * there) and records what it does in TRACE, which says in its beginning with which plan. Dies in
 * the middle after KILL recorded calls, if that is not 0.
 *
 * Several threads commit; besides, one in a while syncs, moves all into the base, or waits until a
 * relaxed commit has become durable by itself.
 */

#include "plan.h"
#include "record.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS       3
#define COMMITS       70 /* of one run */
#define COMMITS_LARGE 90

struct work {
    struct plan plan;
    struct bz_db *db;
    uint64_t last; /* the commit to end with */
};

static void must(const char *what, int rc, const blaze_error *error)
{
    if (rc == 0)
        return;
    fprintf(stderr, "powercut_workload: %s: %s\n", what, error->text);
    exit(1);
}

/* ---- the plan ---- */

static struct plan read_plan(const char *trace, uint64_t *lives)
{
    struct plan plan = {0};
    struct trace_record head;
    FILE *file = fopen(trace, "rb");
    if (file == NULL) {
        perror(trace);
        exit(1);
    }
    while (fread(&head, sizeof head, 1, file) == 1) {
        if (head.kind == TRACE_SEED) {
            plan.seed = head.a;
            plan.large = head.b != 0;
        } else if (head.kind == TRACE_LIFE) {
            plan_add_life(&plan, head.a, head.b);
            *lives = head.b + 1;
        }
        if (fseek(file, head.size, SEEK_CUR) != 0)
            break;
    }
    fclose(file);
    return plan;
}

/* ---- opening ---- */

static struct bz_db_options options_of(const struct plan *plan)
{
    return (struct bz_db_options){
        .apply_durability = BZ_DURABLE_FULL,
        .store =
            {
                .segment_bytes = plan->large ? 512u << 10 : 16u << 10,
                .checkpoint_bytes = plan->large ? 6u << 20 : 96u << 10,
                .table_bytes = plan->large ? 512u << 10 : 16u << 10,
                .level_bytes = plan->large ? 2u << 20 : 48u << 10,
                .relaxed_window_ms = 3,
                .secret = plan_secret(plan),
            },
    };
}

/* Who finds a database knows of no promise that it stays, nor does who has made it unsynced. */
static void open_db(struct work *work, const char *path)
{
    blaze_error error = {0};
    struct bz_db_options options = options_of(&work->plan);
    int rc = bz_db_open(&work->db, path, &options, &error);
    bool promised = rc == BLAZE_ENOTFOUND && work->plan.seed % 4 < 2;
    if (rc == BLAZE_ENOTFOUND) {
        options.create = true;
        options.unsynced = !promised;
        rc = bz_db_open(&work->db, path, &options, &error);
    }
    must("open", rc, &error);
    if (!promised)
        must("sync", bz_store_sync(bz_db_store(work->db), &error), &error);
    record_mark(TRACE_CREATED, 0, 0);
    rc = bz_db_index_create(
        work->db, bz_bytes_text(plan_collections[PLAN_INDEXED]), "group", "by group", &error);
    must("make the index", rc == BLAZE_EEXIST ? 0 : rc, &error);
}

/* What is there; the next commits are those of a new life. */
static void begin_life(struct work *work, uint64_t life)
{
    blaze_error error = {0};
    struct bz_read *read = NULL;
    uint64_t n = 0;
    must("read", bz_read_begin(work->db, &read, &error), &error);
    must("read", plan_read_commit(read, &n, &error), &error);
    bz_read_end(read);
    plan_add_life(&work->plan, n, life);
    work->last = n + (work->plan.large ? COMMITS_LARGE : COMMITS);
    record_mark(TRACE_LIFE, n, life);
}

/* ---- committing ---- */

static bool commit_next(struct work *work, uint64_t *out)
{
    blaze_error error = {0};
    struct bz_db_txn *txn = NULL;
    uint64_t n = 0;
    must("begin", bz_db_begin(work->db, &txn, &error), &error);
    must("read", plan_read_commit(bz_db_txn_read(txn), &n, &error), &error);
    if (n >= work->last) {
        bz_db_abort(txn);
        return false;
    }
    n++;
    must("write", plan_write(&work->plan, n, txn, &error), &error);
    enum bz_durability durability = plan_durability(&work->plan, n);
    record_mark(TRACE_BEGUN, n, 0);
    must("commit", bz_db_commit(txn, durability, &error), &error);
    record_mark(durability == BZ_DURABLE_FULL ? TRACE_DURABLE : TRACE_SEEN, n, 0);
    *out = n;
    return true;
}

/* What comes between the commits. */
static void do_besides(struct work *work, uint64_t n)
{
    blaze_error error = {0};
    uint64_t choice = plan_mix(work->plan.seed, n) % 64;
    if (choice < 2)
        must("sync", bz_store_sync(bz_db_store(work->db), &error), &error);
    else if (choice < 4)
        must("checkpoint", bz_store_checkpoint(bz_db_store(work->db), &error), &error);
    else if (choice < 10)
        record_await_log_sync();
    else
        return;
    record_mark(TRACE_DURABLE, n, 0);
}

static void *run(void *context)
{
    struct work *work = context;
    uint64_t n;
    while (commit_next(work, &n))
        do_besides(work, n);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: powercut_workload ROOT TRACE KILL\n");
        return 2;
    }
    uint64_t life = 0, kill_after = strtoull(argv[3], NULL, 10);
    char path[4096];
    blaze_error error = {0};
    struct work work = {.plan = read_plan(argv[2], &life)};
    snprintf(path, sizeof path, "%s/db", argv[1]);
    record_start(argv[1], argv[2]);
    if (kill_after != 0)
        record_die_after(kill_after);
    open_db(&work, path);
    begin_life(&work, life);

    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], NULL, run, &work) != 0)
            abort();
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    must("close", bz_db_close(work.db, &error), &error);
    record_mark(TRACE_DURABLE, work.last, 0);
    record_mark(TRACE_CLOSED, 0, 0);
    return 0;
}

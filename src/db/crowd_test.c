/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Several processes in one database, each killed now and then and started again.
 *
 * A worker's transactions are numbered. Number n of worker w is known beforehand: it
 *
 *   - counts: "chain" w becomes n, and "total" grows by one (so it is the sum of all chains)
 *   - writes its field of the record "shared", which all workers update
 *   - replaces an event of its ring, w's event n taking the place of event n - RING
 *   - replaces that event's parts, 0 to PARTS of them; those of the former event that are too many
 *     are deleted
 *
 * So what a snapshot shows follows from the numbers of the chains in it, and these are judged by
 * what the workers note in memory that they share with the test: a transaction when it is begun,
 * and when it is acknowledged. All of them, full and relaxed, survive a kill.
 *
 * The children are made while this process has nothing open. BLAZEDB_SEED repeats the choices, not
 * the scheduler's.
 */

#include "db/test_util.h"

#include "query/query.h"
#include "store/testing.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORKERS 4
#define RING    8
#define PARTS   3

static struct bz_test_dir dir;
static char path[100];

/* What is known of the workers, in memory that all processes share. */
static struct board {
    _Atomic uint64_t begun[WORKERS];
    _Atomic uint64_t acknowledged[WORKERS];
    _Atomic uint64_t looks; /* snapshots that were compared */
    _Atomic bool stop;
} * board;

/* In a child a failed assertion cannot go through cmocka. */
static void insist(int line, bool ok, const char *what, const char *detail)
{
    if (ok)
        return;
    fprintf(stderr, "crowd: pid %ld, line %d: %s: %s\n", (long)getpid(), line, what, detail);
    _exit(1);
}

static void insist_equal(int line, const char *what, uint64_t have, uint64_t want)
{
    char detail[64];
    snprintf(detail, sizeof detail, "%llu, not %llu", (unsigned long long)have,
        (unsigned long long)want);
    insist(line, have == want, what, detail);
}

#define INSIST(condition) insist(__LINE__, condition, #condition, "")
#define CALL(call)                                                                                 \
    do {                                                                                           \
        blaze_error call_error_ = {0}, *error = &call_error_;                                      \
        (void)error;                                                                               \
        int call_rc_ = (call);                                                                     \
        insist(__LINE__, call_rc_ == 0, #call, call_error_.text);                                  \
    } while (0)

/* ---- what transaction n of worker w does ---- */

static uint64_t mix(unsigned w, uint64_t n)
{
    struct rng rng = {n * WORKERS + w};
    return rng_next(&rng);
}

static unsigned parts_of(unsigned w, uint64_t n)
{
    return n == 0 ? 0 : (unsigned)(mix(w, n) % (PARTS + 1));
}

static blaze_doc *document_of(unsigned w, uint64_t n, unsigned i)
{
    char json[2200], pad[2001];
    size_t size = (size_t)(mix(w, n + i) >> 32) % (i == 0 ? sizeof pad : 100);
    blaze_doc *doc = NULL;
    memset(pad, 'a' + (int)(n % 26), size);
    pad[size] = '\0';
    int length = snprintf(json, sizeof json, "{\"w\":%u,\"n\":%llu,\"i\":%u,\"pad\":\"%s\"}", w,
        (unsigned long long)n, i, pad);
    CALL(blaze_doc_from_json(&doc, json, (size_t)length, error));
    return doc;
}

static blaze_id event_id(unsigned w, uint64_t n)
{
    return id_of(w * RING + (uint32_t)(n % RING));
}

static blaze_id part_id(unsigned w, uint64_t n, unsigned i)
{
    return id_of((w * RING + (uint32_t)(n % RING)) * PARTS + i);
}

static blaze_doc *number(const char *field, uint64_t n)
{
    blaze_doc *doc = NULL;
    CALL(blaze_doc_new(&doc));
    CALL(blaze_doc_add_int(doc, field, (int64_t)n));
    return doc;
}

/* ---- writing ---- */

typedef int verb_call(struct bz_db_txn *txn, struct bz_bytes collection, const blaze_id *id,
    blaze_doc *document, blaze_error *error);

static void write_doc(
    struct bz_db_txn *txn, verb_call *verb, const char *collection, blaze_id id, blaze_doc *doc)
{
    CALL(verb(txn, bz_bytes_text(collection), &id, doc, error));
    blaze_doc_free(doc);
}

/* The verbs that fit a record that is there, or is not, take turns. */
static verb_call *any_verb(struct rng *rng, bool there)
{
    static verb_call *const verbs[2][3] = {
        {bz_db_insert, bz_db_put, bz_db_upsert}, {bz_db_update, bz_db_put, bz_db_upsert}};
    return verbs[there][rng_below(rng, 3)];
}

static uint64_t read_number(
    struct bz_read *read, const char *collection, blaze_id id, const char *field)
{
    blaze_value document, value;
    int rc = bz_read_get(read, bz_bytes_text(collection), &id, &document, NULL);
    if (rc == BLAZE_ENOTFOUND)
        return 0;
    INSIST(rc == 0);
    return blaze_value_field(&document, field, &value) == 0 ? (uint64_t)value.as.integer : 0;
}

static void write_parts(struct bz_db_txn *txn, struct rng *rng, unsigned w, uint64_t n)
{
    unsigned before = n > RING ? parts_of(w, n - RING) : 0, now = parts_of(w, n);
    for (unsigned i = 0; i < now; i++)
        write_doc(txn, any_verb(rng, i < before), "parts", part_id(w, n, i), document_of(w, n, i));
    for (unsigned i = now; i < before; i++) {
        blaze_id id = part_id(w, n, i);
        CALL(bz_db_delete(txn, bz_bytes_text("parts"), &id, error));
    }
}

static void write_all(struct bz_db_txn *txn, struct rng *rng, unsigned w, uint64_t n)
{
    char field[8];
    snprintf(field, sizeof field, "w%u", w);
    uint64_t total = read_number(bz_db_txn_read(txn), "chain", id_of(WORKERS), "n");
    write_doc(txn, any_verb(rng, n > 1), "chain", id_of(w), number("n", n));
    write_parts(txn, rng, w, n);
    write_doc(txn, any_verb(rng, n > RING), "events", event_id(w, n), document_of(w, n, 0));
    write_doc(txn, bz_db_upsert, "shared", id_of(0), number(field, n));
    write_doc(txn, bz_db_upsert, "chain", id_of(WORKERS), number("n", total + 1));
}

/* What is written and taken back must not be seen. */
static void write_and_regret(struct bz_db_txn *txn, struct rng *rng, unsigned w, uint64_t n)
{
    uint32_t mark = bz_db_savepoint(txn);
    write_all(txn, rng, w, n);
    CALL(bz_db_delete_all(txn, bz_bytes_text("events"), &(uint64_t){0}, error));
    CALL(bz_db_rollback_to(txn, mark, error));
}

static void commit_next(struct bz_db *db, struct rng *rng, unsigned w)
{
    struct bz_db_txn *txn = NULL;
    uint64_t acknowledged = atomic_load(&board->acknowledged[w]);
    CALL(bz_db_begin(db, &txn, error));
    uint64_t n = read_number(bz_db_txn_read(txn), "chain", id_of(w), "n") + 1;
    INSIST(n > acknowledged && n <= atomic_load(&board->begun[w]) + 1);
    if (rng_below(rng, 6) == 0)
        write_and_regret(txn, rng, w, n);
    write_all(txn, rng, w, n);
    if (rng_below(rng, 12) == 0) {
        bz_db_abort(txn);
        return;
    }
    atomic_store(&board->begun[w], n);
    CALL(bz_db_commit(txn, rng_below(rng, 4) == 0 ? BZ_DURABLE_FULL : BZ_DURABLE_RELAXED, error));
    atomic_store(&board->acknowledged[w], n);
}

/* ---- looking ---- */

struct chains {
    uint64_t n[WORKERS];
};

static void expect_document(
    struct bz_read *read, const char *collection, blaze_id id, blaze_doc *wanted)
{
    blaze_value have, want;
    CALL(bz_read_get(read, bz_bytes_text(collection), &id, &have, error));
    CALL(blaze_doc_value(wanted, &want));
    INSIST(blaze_value_compare(&have, &want) == 0);
    blaze_doc_free(wanted);
}

static void look_at_ring(struct bz_read *read, unsigned w, uint64_t last, uint64_t counts[2])
{
    for (uint64_t n = last > RING ? last - RING + 1 : 1; n <= last; n++) {
        expect_document(read, "events", event_id(w, n), document_of(w, n, 0));
        counts[0]++;
        for (unsigned i = 0; i < PARTS; i++) {
            blaze_id id = part_id(w, n, i);
            if (i < parts_of(w, n))
                expect_document(read, "parts", id, document_of(w, n, i));
            else
                INSIST(bz_read_exists(read, bz_bytes_text("parts"), &id, NULL) == BLAZE_ENOTFOUND);
        }
        counts[1] += parts_of(w, n);
    }
}

/* By the index on "w": a worker's events in the order of their numbers. */
static void look_through_index(struct bz_read *read, unsigned w, uint64_t last)
{
    char text[16];
    struct bz_filter *filter = NULL;
    struct bz_rows *rows = NULL;
    blaze_id id;
    blaze_value document, value;
    snprintf(text, sizeof text, "w = %u", w);
    CALL(bz_filter_parse(&filter, bz_bytes_text(text), error));
    struct bz_find find = {.collection = bz_bytes_text("events"), .filter = filter, .sort = "n"};
    CALL(bz_read_find(read, &find, &rows, error));
    uint64_t n = last > RING ? last - RING : 0;
    int rc;
    while ((rc = bz_rows_next(rows, &id, &document, NULL)) == 0) {
        INSIST(blaze_value_field(&document, "n", &value) == 0);
        INSIST((uint64_t)value.as.integer == ++n);
    }
    INSIST(rc == BLAZE_END && n == last);
    bz_rows_close(rows);
    bz_filter_free(filter);
}

/* Compares all of a snapshot with what its chains say. */
static struct chains look(struct bz_read *read)
{
    struct chains chains;
    uint64_t counts[2] = {0, 0}, count, sum = 0;
    for (unsigned w = 0; w < WORKERS; w++) {
        char field[8];
        snprintf(field, sizeof field, "w%u", w);
        uint64_t n = chains.n[w] = read_number(read, "chain", id_of(w), "n");
        sum += n;
        insist_equal(__LINE__, "shared", read_number(read, "shared", id_of(0), field), n);
        look_at_ring(read, w, n, counts);
        look_through_index(read, w, n);
    }
    INSIST(read_number(read, "chain", id_of(WORKERS), "n") == sum);
    CALL(bz_read_count(read, bz_bytes_text("events"), &count, error));
    INSIST(count == counts[0]);
    CALL(bz_read_count(read, bz_bytes_text("parts"), &count, error));
    INSIST(count == counts[1]);
    atomic_fetch_add(&board->looks, 1);
    return chains;
}

/* A snapshot has all that was acknowledged before it, and nothing that was not begun; and it shows
 * the same again after `meanwhile`. */
static void look_twice(struct bz_db *db, struct rng *rng,
    void (*meanwhile)(struct bz_db *, struct rng *, unsigned), unsigned w)
{
    struct bz_read *read = NULL;
    uint64_t acknowledged[WORKERS];
    for (unsigned i = 0; i < WORKERS; i++)
        acknowledged[i] = atomic_load(&board->acknowledged[i]);
    CALL(bz_read_begin(db, &read, error));
    struct chains first = look(read);
    for (unsigned i = 0; i < WORKERS; i++)
        INSIST(first.n[i] >= acknowledged[i] && first.n[i] <= atomic_load(&board->begun[i]));
    if (meanwhile != NULL) {
        for (unsigned turns = rng_below(rng, 10); turns > 0; turns--)
            meanwhile(db, rng, w);
        struct chains second = look(read);
        INSIST(memcmp(&first, &second, sizeof first) == 0);
    }
    bz_read_end(read);
}

static void tell_line(void *context, const char *problem)
{
    (void)context;
    fprintf(stderr, "crowd: check: %s\n", problem);
}

/* ---- the workers ---- */

static struct bz_db *open_db(bool create, bool read_only)
{
    struct bz_db *db = NULL;
    struct bz_db_options options = {
        .create = create,
        .read_only = read_only,
        .store = {.segment_bytes = 32u << 10,
            .checkpoint_bytes = 96u << 10,
            .checkpoint_ms = 50,
            .relaxed_window_ms = 5},
    };
    CALL(bz_db_open(&db, path, &options, error));
    return db;
}

static void write_some(struct bz_db *db, struct rng *rng, unsigned w)
{
    switch (rng_below(rng, 40)) {
    case 0:
        CALL(bz_store_checkpoint(bz_db_store(db), error));
        break;
    case 1:
        CALL(bz_store_sync(bz_db_store(db), error));
        break;
    case 2:
        CALL(bz_db_check(db, tell_line, NULL, error));
        break;
    case 3:
    case 4:
    case 5:
        look_twice(db, rng, commit_next, w);
        break;
    default:
        commit_next(db, rng, w);
    }
}

/* Until killed, or told to stop. Now and then it closes the database in between; some only read. */
static void work(unsigned w, uint64_t seed)
{
    struct rng rng = {seed};
    while (!atomic_load(&board->stop)) {
        bool read_only = rng_below(&rng, 8) == 0;
        struct bz_db *db = open_db(false, read_only);
        for (unsigned turns = 1 + rng_below(&rng, 300); turns > 0; turns--) {
            if (atomic_load(&board->stop))
                break;
            if (read_only)
                look_twice(db, &rng, NULL, w);
            else
                write_some(db, &rng, w);
        }
        CALL(bz_db_close(db, error));
    }
}

static pid_t start(unsigned w, uint64_t seed)
{
    pid_t pid = fork();
    if (pid == 0) {
        alarm(60);
        work(w, seed);
        _exit(0);
    }
    assert_true(pid > 0);
    return pid;
}

/* ---- the test ---- */

static uint64_t sum_of(const _Atomic uint64_t numbers[WORKERS])
{
    uint64_t sum = 0;
    for (unsigned w = 0; w < WORKERS; w++)
        sum += atomic_load(&numbers[w]);
    return sum;
}

/* A worker that ends by itself has found something. */
static void assert_all_run(const pid_t pids[WORKERS])
{
    for (unsigned w = 0; w < WORKERS; w++) {
        int status;
        if (waitpid(pids[w], &status, WNOHANG) != 0)
            fail_msg("worker %u ended with status %x", w, (unsigned)status);
    }
}

/* Until the next kill: sometimes a moment, sometimes some further commits of whomever. That these
 * come says that nobody who was killed holds up the others. */
static void pass_time(struct rng *rng, const pid_t pids[WORKERS])
{
    uint64_t until = sum_of(board->acknowledged) + rng_below(rng, 60);
    time_t latest = time(NULL) + 120;
    struct timespec moment = {0, (long)rng_below(rng, 8000) * 1000};
    nanosleep(&moment, NULL);
    if (rng_below(rng, 4) == 0)
        return;
    while (sum_of(board->acknowledged) < until) {
        struct timespec little = {0, 100000};
        nanosleep(&little, NULL);
        assert_all_run(pids);
        if (time(NULL) > latest)
            fail_msg("for two minutes nobody has committed");
    }
}

static void look_at_the_end(void)
{
    for (unsigned turn = 0; turn < 2; turn++) {
        struct bz_db *db = open_db(false, turn == 0);
        struct bz_read *read = NULL;
        must(bz_read_begin(db, &read, error));
        struct chains chains = look(read);
        for (unsigned w = 0; w < WORKERS; w++)
            assert_true(chains.n[w] >= atomic_load(&board->acknowledged[w]));
        bz_read_end(read);
        check_all(db);
        must(bz_db_close(db, error));
    }
}

static void whoever_is_killed_all_that_was_acknowledged_is_there_and_whole(void **state)
{
    (void)state;
    uint64_t seed = test_seed(), kills = test_rounds(100, 1500);
    struct rng rng = {seed};
    pid_t pids[WORKERS];
    for (unsigned w = 0; w < WORKERS; w++)
        pids[w] = start(w, rng_next(&rng));
    for (uint64_t i = 0; i < kills; i++) {
        unsigned w = rng_below(&rng, WORKERS);
        pass_time(&rng, pids);
        assert_all_run(pids);
        kill(pids[w], SIGKILL);
        waitpid(pids[w], NULL, 0);
        pids[w] = start(w, rng_next(&rng));
    }
    atomic_store(&board->stop, true);
    for (unsigned w = 0; w < WORKERS; w++) {
        int status;
        assert_int_equal(waitpid(pids[w], &status, 0), pids[w]);
        assert_int_equal(status, 0);
    }
    look_at_the_end();
    test_total(kills, "kills");
    test_total(sum_of(board->acknowledged), "commits verified");
    test_total(atomic_load(&board->looks), "snapshots compared");
}

static int setup(void **state)
{
    (void)state;
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bz_test_dir_make(&dir);
    snprintf(path, sizeof path, "%s/db", dir.path);
    struct bz_db *db = open_db(true, false);
    must(bz_db_index_create(db, bz_bytes_text("events"), "w", "by_w", error));
    must(bz_db_close(db, error));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    munmap(board, sizeof *board);
    bz_test_dir_remove(&dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            whoever_is_killed_all_that_was_acknowledged_is_there_and_whole, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

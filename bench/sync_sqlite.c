/* SPDX-License-Identifier: Apache-2.0 */

/*
 * SQLite's session extension. This process makes a changeset and writes it, while it is made, into
 * a pipe; a process of its own reads it there and applies it in one transaction, write-ahead log
 * and synchronous FULL. For a copy of everything the changeset is the difference to an empty table;
 * for an incremental one a session records the updates while they are written.
 *
 * The id is the primary key, since that is what changesets know rows by: with the position in its
 * place, as the engine in sqlite.c has it, each update would travel as a deletion and an insertion.
 * The change log is then an index on the position. The page cache is 256 MiB on both sides.
 */

#include "sync_sqlite.h"

#include "bench.h"
#include "child.h"

#ifdef BENCH_HAVE_SQLITE_SESSION

#define SQLITE_ENABLE_SESSION
#define SQLITE_ENABLE_PREUPDATE_HOOK
#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <unistd.h>

const char *const bench_session_missing = NULL;

#define COLUMNS                                                                                    \
    "(id BLOB NOT NULL PRIMARY KEY, position INTEGER NOT NULL,"                                    \
    " order_number TEXT, customer_id INTEGER, customer_name TEXT, customer_email TEXT,"            \
    " status TEXT, placed_at INTEGER, total_cents INTEGER, currency TEXT, item_count INTEGER,"     \
    " weight_kg REAL, paid INTEGER, delivery_address TEXT);"

#define CREATE                                                                                     \
    "CREATE TABLE IF NOT EXISTS orders" COLUMNS                                                    \
    "CREATE UNIQUE INDEX IF NOT EXISTS by_position ON orders(position);"

struct bench_source {
    sqlite3 *sqlite;
    uint64_t n;
    uint64_t position;
};

static void check(sqlite3 *sqlite, int code)
{
    if (code != SQLITE_OK && code != SQLITE_DONE && code != SQLITE_ROW)
        bench_die("sqlite: %s", sqlite != NULL ? sqlite3_errmsg(sqlite) : sqlite3_errstr(code));
}

static void run(sqlite3 *sqlite, const char *sql)
{
    check(sqlite, sqlite3_exec(sqlite, sql, NULL, NULL, NULL));
}

static sqlite3 *connect_db(const char *dir)
{
    sqlite3 *sqlite;
    char *path = bench_path(dir, "orders.db");
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    check(NULL, sqlite3_open_v2(path, &sqlite, flags, NULL));
    free(path);
    run(sqlite, "PRAGMA journal_mode=WAL");
    run(sqlite, "PRAGMA synchronous=FULL");
    run(sqlite, "PRAGMA cache_size=-262144");
    run(sqlite, "PRAGMA wal_autocheckpoint=100000");
    run(sqlite, CREATE);
    return sqlite;
}

static sqlite3_stmt *prepare(sqlite3 *sqlite, const char *sql)
{
    sqlite3_stmt *statement;
    check(sqlite, sqlite3_prepare_v2(sqlite, sql, -1, &statement, NULL));
    return statement;
}

static void step(sqlite3 *sqlite, sqlite3_stmt *statement)
{
    check(sqlite, sqlite3_step(statement));
    if (sqlite3_changes(sqlite) != 1)
        bench_die("sqlite: a write changed nothing");
    check(sqlite, sqlite3_reset(statement));
}

static void bind_order(sqlite3_stmt *statement, const struct bench_record *record)
{
    for (int f = 0; f < ORDER_FIELDS; f++) {
        const struct bench_value *v = &record->values[f];
        switch (bench_orders.fields[f].type) {
        case BENCH_TEXT:
            sqlite3_bind_text(
                statement, f + 3, v->as.text.data, (int)v->as.text.size, SQLITE_TRANSIENT);
            break;
        case BENCH_INT:
            sqlite3_bind_int64(statement, f + 3, v->as.integer);
            break;
        case BENCH_DOUBLE:
            sqlite3_bind_double(statement, f + 3, v->as.number);
            break;
        case BENCH_BOOL:
            sqlite3_bind_int(statement, f + 3, v->as.boolean);
            break;
        }
    }
}

struct bench_source *bench_source_open(const char *dir, uint64_t n)
{
    struct bench_source *source = calloc(1, sizeof *source);
    if (source == NULL)
        bench_die("out of memory");
    source->sqlite = connect_db(dir);
    source->n = n;
    sqlite3_stmt *insert = prepare(source->sqlite,
        "INSERT INTO orders VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)");
    run(source->sqlite, "BEGIN");
    for (uint64_t i = 0; i < n; i++) {
        struct bench_record record;
        char text[BENCH_TEXT_MAX];
        blaze_id id;
        bench_order(i, &record, text);
        bench_id(BENCH_RANDOM_IDS, i, &id);
        sqlite3_bind_blob(insert, 1, id.bytes, sizeof id.bytes, SQLITE_TRANSIENT);
        sqlite3_bind_int64(insert, 2, (int64_t)++source->position);
        bind_order(insert, &record);
        step(source->sqlite, insert);
    }
    run(source->sqlite, "COMMIT");
    sqlite3_finalize(insert);
    check(source->sqlite,
        sqlite3_wal_checkpoint_v2(source->sqlite, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL));
    run(source->sqlite, "ATTACH ':memory:' AS blank");
    run(source->sqlite, "CREATE TABLE blank.orders" COLUMNS);
    return source;
}

void bench_source_close(struct bench_source *source)
{
    if (source != NULL)
        sqlite3_close(source->sqlite);
    free(source);
}

struct totals {
    int64_t rows, total, position;
};

/* What the table holds, in three numbers that only the same rows give in practice. */
static struct totals sum_up(sqlite3 *sqlite)
{
    sqlite3_stmt *statement = prepare(sqlite,
        "SELECT count(*),coalesce(sum(total_cents),0),coalesce(sum(position*(item_count+1)),0)"
        " FROM main.orders");
    check(sqlite, sqlite3_step(statement));
    struct totals totals = {sqlite3_column_int64(statement, 0), sqlite3_column_int64(statement, 1),
        sqlite3_column_int64(statement, 2)};
    sqlite3_finalize(statement);
    return totals;
}

struct sending {
    int fd;
    uint64_t bytes;
};

static int send_part(void *context, const void *data, int size)
{
    struct sending *sending = context;
    const char *at = data;
    for (size_t left = (size_t)size; left > 0;) {
        ssize_t n = write(sending->fd, at, left);
        if (n < 0 && errno != EINTR)
            return SQLITE_IOERR;
        if (n < 0)
            continue;
        at += n;
        left -= (size_t)n;
        sending->bytes += (uint64_t)n;
    }
    return SQLITE_OK;
}

static sqlite3_session *record_changes(struct bench_source *source)
{
    sqlite3_session *session;
    check(source->sqlite, sqlite3session_create(source->sqlite, "main", &session));
    check(source->sqlite, sqlite3session_attach(session, "orders"));
    return session;
}

/* Sends what the session has, which begins with the difference to nothing if `all`, to a process
 * that applies it. A copy of all is made by that, so that this counts, too. */
static void transfer(struct bench_source *source, sqlite3_session *session, bool all,
    const char *to, struct bench_session_copy *out)
{
    const char *const arguments[] = {"apply", to, NULL};
    struct bench_child child;
    char line[256];
    bench_child_start(&child, arguments);
    bench_child_line(&child, line, sizeof line); /* it is open */
    double opened = bench_child_number(line, "seconds");

    double start = bench_now();
    struct sending sending = {child.in, 0};
    if (all)
        check(source->sqlite, sqlite3session_diff(session, "blank", "orders", NULL));
    check(NULL, sqlite3session_changeset_strm(session, send_part, &sending));
    bench_child_end_input(&child);
    bench_child_line(&child, line, sizeof line); /* it is applied */
    out->seconds = bench_now() - start + (all ? opened : 0);
    out->bytes = sending.bytes;
    out->peak = (uint64_t)bench_child_number(line, "peak");

    bench_child_line(&child, line, sizeof line);
    struct totals ours = sum_up(source->sqlite);
    if ((int64_t)bench_child_number(line, "rows") != ours.rows ||
        (int64_t)bench_child_number(line, "total") != ours.total ||
        (int64_t)bench_child_number(line, "position") != ours.position)
        bench_die("sqlite: the copy differs");
    bench_child_wait(&child, 0);
    sqlite3session_delete(session);
}

void bench_source_copy(struct bench_source *source, const char *to, struct bench_session_copy *out)
{
    transfer(source, record_changes(source), true, to, out);
}

void bench_source_change(struct bench_source *source, uint64_t step_size, uint64_t round,
    const char *to, struct bench_session_copy *out)
{
    sqlite3_session *session = record_changes(source);
    sqlite3_stmt *update = prepare(
        source->sqlite, "UPDATE main.orders SET position=?2,status=?3,total_cents=?4 WHERE id=?1");
    run(source->sqlite, "BEGIN");
    for (uint64_t i = 0; i < source->n; i += step_size) {
        const char *status;
        int64_t total;
        blaze_id id;
        bench_id(BENCH_RANDOM_IDS, i, &id);
        bench_order_change(i, round, &status, &total);
        sqlite3_bind_blob(update, 1, id.bytes, sizeof id.bytes, SQLITE_TRANSIENT);
        sqlite3_bind_int64(update, 2, (int64_t)++source->position);
        sqlite3_bind_text(update, 3, status, -1, SQLITE_STATIC);
        sqlite3_bind_int64(update, 4, total);
        step(source->sqlite, update);
    }
    run(source->sqlite, "COMMIT");
    sqlite3_finalize(update);
    transfer(source, session, false, to, out);
}

/* ---- the process that applies ---- */

static int take_part(void *context, void *data, int *size)
{
    (void)context;
    int got = 0;
    while (got < *size) {
        ssize_t n = read(0, (char *)data + got, (size_t)(*size - got));
        if (n < 0 && errno != EINTR)
            return SQLITE_IOERR;
        if (n == 0)
            break;
        got += n > 0 ? (int)n : 0;
    }
    *size = got;
    return SQLITE_OK;
}

static int on_conflict(void *context, int kind, sqlite3_changeset_iter *change)
{
    (void)context;
    (void)kind;
    (void)change;
    return SQLITE_CHANGESET_ABORT;
}

int bench_child_apply(char **arguments)
{
    double start = bench_now();
    sqlite3 *sqlite = connect_db(arguments[0]);
    bench_child_answer(bench_now() - start);
    start = bench_now();
    check(sqlite, sqlite3changeset_apply_v2_strm(
                      sqlite, take_part, NULL, NULL, on_conflict, NULL, NULL, NULL, 0));
    bench_child_answer(bench_now() - start);
    struct totals totals = sum_up(sqlite);
    printf("{\"rows\":%lld,\"total\":%lld,\"position\":%lld}\n", (long long)totals.rows,
        (long long)totals.total, (long long)totals.position);
    fflush(stdout);
    sqlite3_close(sqlite);
    return 0;
}

#else

const char *const bench_session_missing = "built without SQLite's session extension";

struct bench_source *bench_source_open(const char *dir, uint64_t n)
{
    (void)dir;
    (void)n;
    return NULL;
}

void bench_source_close(struct bench_source *source)
{
    (void)source;
}

void bench_source_copy(struct bench_source *source, const char *to, struct bench_session_copy *out)
{
    (void)source;
    (void)to;
    (void)out;
    bench_die("%s", bench_session_missing);
}

void bench_source_change(struct bench_source *source, uint64_t step, uint64_t round, const char *to,
    struct bench_session_copy *out)
{
    (void)step;
    (void)round;
    bench_source_copy(source, to, out);
}

int bench_child_apply(char **arguments)
{
    (void)arguments;
    bench_die("%s", bench_session_missing);
}

#endif

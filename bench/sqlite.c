/* SPDX-License-Identifier: Apache-2.0 */

/*
 * SQLite, twice: with a column for each field, and with one column of JSON text and an index on an
 * expression of it. Write-ahead log; synchronous FULL for durable commits, NORMAL for relaxed ones
 * and for loading; prepared statements throughout; one connection a thread. The page cache is
 * 16 MiB where single commits are written (a large one makes them slower) and 256 MiB for loading;
 * reading has 256 MiB and a memory map over the whole file. The log is checkpointed every 10,000
 * pages, when loading every 100,000, rather than the usual 1,000, which writes pages more often.
 *
 * The change log costs SQLite nothing: the position is the row's number, so that the table itself
 * is in the order of changes and an update moves its row to the end. (A table without row numbers,
 * with an index on the position, was measured too: it loads more slowly and is larger.) What is
 * deleted goes to the table `gone`.
 */

#include "bench.h"
#include "engine.h"

#ifdef BENCH_HAVE_SQLITE

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>

/* What differs between the two. */
struct flavour {
    const char *create;
    const char *insert;
    const char *update;
    const char *get;
    const char *range;
    const char *filter;
    const char *top;
    int total_column; /* of `get`; -1: the row is the JSON text */
    int (*bind)(struct bench_session *session, const struct bench_record *record);
};

struct bench_db {
    const struct flavour *flavour;
    char *path;
    enum bench_profile profile;
    sqlite3 *sqlite; /* keeps the database open between sessions */
    _Atomic uint64_t position;
};

enum { INSERT, UPDATE, DELETE, GONE, GET, RANGE, FILTER, TOP, COUNT, BEGIN, COMMIT, STATEMENTS };

struct bench_session {
    struct bench_db *db;
    sqlite3 *sqlite;
    sqlite3_stmt *statements[STATEMENTS];
    struct bz_buf json;
};

static void check(sqlite3 *sqlite, int code)
{
    if (code != SQLITE_OK && code != SQLITE_DONE && code != SQLITE_ROW)
        bench_die("sqlite: %s", sqlite3_errmsg(sqlite));
}

static void run(sqlite3 *sqlite, const char *sql)
{
    check(sqlite, sqlite3_exec(sqlite, sql, NULL, NULL, NULL));
}

static sqlite3 *connect_db(const struct bench_db *db)
{
    sqlite3 *sqlite;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    check(sqlite, sqlite3_open_v2(db->path, &sqlite, flags, NULL));
    sqlite3_busy_timeout(sqlite, 60000);
    run(sqlite, "PRAGMA journal_mode=WAL");
    run(sqlite,
        db->profile == BENCH_RELAXED ? "PRAGMA synchronous=NORMAL" : "PRAGMA synchronous=FULL");
    bool large = db->profile != BENCH_FULL && db->profile != BENCH_RELAXED;
    run(sqlite, large ? "PRAGMA wal_autocheckpoint=100000" : "PRAGMA wal_autocheckpoint=10000");
    run(sqlite, large ? "PRAGMA cache_size=-262144" : "PRAGMA cache_size=-16384");
    if (db->profile == BENCH_QUERY)
        run(sqlite, "PRAGMA mmap_size=17179869184");
    return sqlite;
}

static uint64_t last_position(sqlite3 *sqlite)
{
    sqlite3_stmt *statement;
    check(sqlite, sqlite3_prepare_v2(sqlite,
                      "SELECT max((SELECT coalesce(max(position),0) FROM orders),"
                      "(SELECT coalesce(max(position),0) FROM gone))",
                      -1, &statement, NULL));
    check(sqlite, sqlite3_step(statement));
    uint64_t position = (uint64_t)sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return position;
}

static struct bench_db *open_flavour(
    const char *dir, enum bench_profile profile, const struct flavour *flavour)
{
    struct bench_db *db = calloc(1, sizeof *db);
    if (db == NULL || asprintf(&db->path, "%s/orders.db", dir) < 0)
        bench_die("out of memory");
    db->flavour = flavour;
    db->profile = profile;
    db->sqlite = connect_db(db);
    run(db->sqlite, flavour->create);
    db->position = last_position(db->sqlite);
    return db;
}

static void close_db(struct bench_db *db)
{
    sqlite3_close(db->sqlite);
    free(db->path);
    free(db);
}

/* Nothing is left to do: where this is called, commits were durable. */
static void flush(struct bench_db *db)
{
    (void)db;
}

static void settle(struct bench_db *db)
{
    run(db->sqlite, "ANALYZE");
    check(db->sqlite,
        sqlite3_wal_checkpoint_v2(db->sqlite, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL));
}

static struct bench_session *session(struct bench_db *db)
{
    struct bench_session *s = calloc(1, sizeof *s);
    if (s == NULL)
        bench_die("out of memory");
    s->db = db;
    s->sqlite = connect_db(db);
    bz_buf_init(&s->json, 65536);
    const struct flavour *f = db->flavour;
    const char *const sql[STATEMENTS] = {[INSERT] = f->insert,
        [UPDATE] = f->update,
        [DELETE] = "DELETE FROM orders WHERE id=?1",
        [GONE] = "INSERT INTO gone(id,position) VALUES(?1,?2)",
        [GET] = f->get,
        [RANGE] = f->range,
        [FILTER] = f->filter,
        [TOP] = f->top,
        [COUNT] = "SELECT count(*) FROM orders",
        [BEGIN] = "BEGIN IMMEDIATE",
        [COMMIT] = "COMMIT"};
    for (int i = 0; i < STATEMENTS; i++)
        check(s->sqlite, sqlite3_prepare_v3(s->sqlite, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                             &s->statements[i], NULL));
    return s;
}

static void end(struct bench_session *s)
{
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(s->statements[i]);
    sqlite3_close(s->sqlite);
    bz_buf_release(&s->json);
    free(s);
}

static void step(struct bench_session *s, int statement)
{
    check(s->sqlite, sqlite3_step(s->statements[statement]));
    check(s->sqlite, sqlite3_reset(s->statements[statement]));
}

static void begin(struct bench_session *s)
{
    step(s, BEGIN);
}

static void commit(struct bench_session *s)
{
    step(s, COMMIT);
}

static void bind_id(struct bench_session *s, int statement, const blaze_id *id)
{
    check(s->sqlite, sqlite3_bind_blob(s->statements[statement], 1, id->bytes, 16, SQLITE_STATIC));
}

static void bind_position(struct bench_session *s, int statement)
{
    uint64_t position = atomic_fetch_add(&s->db->position, 1) + 1;
    check(s->sqlite, sqlite3_bind_int64(s->statements[statement], 2, (int64_t)position));
}

static void add(struct bench_session *s, const struct bench_write *w)
{
    static const int of_verb[] = {
        [BENCH_INSERT] = INSERT, [BENCH_UPDATE] = UPDATE, [BENCH_DELETE] = DELETE};
    int statement = of_verb[w->verb];
    bind_id(s, statement, &w->id);
    if (w->verb != BENCH_DELETE)
        bind_position(s, statement);
    if (w->verb == BENCH_INSERT)
        check(s->sqlite, s->db->flavour->bind(s, w->record));
    if (w->verb == BENCH_UPDATE) {
        sqlite3_bind_text(s->statements[UPDATE], 3, w->status, -1, SQLITE_STATIC);
        sqlite3_bind_int64(s->statements[UPDATE], 4, w->total);
    }
    step(s, statement);
    if (sqlite3_changes(s->sqlite) != 1)
        bench_die("sqlite: a write changed nothing");
    if (w->verb == BENCH_DELETE) {
        bind_id(s, GONE, &w->id);
        bind_position(s, GONE);
        step(s, GONE);
    }
}

/* One statement is a commit by itself; a deletion is two. */
static void write_one(struct bench_session *s, const struct bench_write *w)
{
    if (w->verb == BENCH_DELETE)
        begin(s);
    add(s, w);
    if (w->verb == BENCH_DELETE)
        commit(s);
}

static void hold(struct bench_session *s)
{
    run(s->sqlite, "BEGIN");
}

static void release(struct bench_session *s)
{
    run(s->sqlite, "COMMIT");
}

/* The JSON flavour gives the document as text; its total is then not looked up, which would cost a
 * parse: the text is searched. */
static uint64_t total_of_text(const char *text)
{
    const char *at = strstr(text, "\"total_cents\":");
    return at != NULL ? strtoull(at + 14, NULL, 10) : 0;
}

static void get(struct bench_session *s, const blaze_id *id, struct bench_answer *out)
{
    sqlite3_stmt *statement = s->statements[GET];
    bind_id(s, GET, id);
    if (sqlite3_step(statement) != SQLITE_ROW)
        bench_die("sqlite: a record is not there");
    int column = s->db->flavour->total_column;
    out->rows = 1;
    out->sum = column >= 0 ? (uint64_t)sqlite3_column_int64(statement, column)
                           : total_of_text((const char *)sqlite3_column_text(statement, 0));
    check(s->sqlite, sqlite3_reset(statement));
}

/* Adds up the first column of all rows. */
static void sum_rows(struct bench_session *s, int which, struct bench_answer *out)
{
    sqlite3_stmt *statement = s->statements[which];
    *out = (struct bench_answer){0, 0};
    int code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        out->rows++;
        out->sum += (uint64_t)sqlite3_column_int64(statement, 0);
    }
    check(s->sqlite, code);
    check(s->sqlite, sqlite3_reset(statement));
}

static void range(struct bench_session *s, int64_t low, uint64_t limit, struct bench_answer *out)
{
    sqlite3_bind_int64(s->statements[RANGE], 1, low);
    sqlite3_bind_int64(s->statements[RANGE], 2, (int64_t)limit);
    sum_rows(s, RANGE, out);
}

static void filter(struct bench_session *s, struct bench_answer *out)
{
    sum_rows(s, FILTER, out);
}

static void top(struct bench_session *s, struct bench_answer *out)
{
    sqlite3_stmt *statement = s->statements[TOP];
    *out = (struct bench_answer){0, 0};
    int code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        out->rows++;
        out->sum += bench_grams(sqlite3_column_double(statement, 0));
    }
    check(s->sqlite, code);
    check(s->sqlite, sqlite3_reset(statement));
}

static void count(struct bench_session *s, struct bench_answer *out)
{
    sum_rows(s, COUNT, out);
    *out = (struct bench_answer){out->sum, 0};
}

#define GONE_TABLE                                                                                 \
    "CREATE TABLE IF NOT EXISTS gone(position INTEGER PRIMARY KEY, id BLOB NOT NULL);"

/* ---- a column for each field ---- */

static int bind_columns(struct bench_session *s, const struct bench_record *record)
{
    sqlite3_stmt *statement = s->statements[INSERT];
    int code = SQLITE_OK;
    for (int f = 0; f < ORDER_FIELDS && code == SQLITE_OK; f++) {
        const struct bench_value *v = &record->values[f];
        switch (bench_orders.fields[f].type) {
        case BENCH_TEXT:
            code = sqlite3_bind_text(
                statement, f + 3, v->as.text.data, (int)v->as.text.size, SQLITE_STATIC);
            break;
        case BENCH_INT:
            code = sqlite3_bind_int64(statement, f + 3, v->as.integer);
            break;
        case BENCH_DOUBLE:
            code = sqlite3_bind_double(statement, f + 3, v->as.number);
            break;
        case BENCH_BOOL:
            code = sqlite3_bind_int(statement, f + 3, v->as.boolean);
            break;
        }
    }
    return code;
}

static const struct flavour columns = {
    .create =
        "CREATE TABLE IF NOT EXISTS orders(id BLOB NOT NULL UNIQUE, position INTEGER PRIMARY KEY,"
        " order_number TEXT, customer_id INTEGER, customer_name TEXT, customer_email TEXT,"
        " status TEXT, placed_at INTEGER, total_cents INTEGER, currency TEXT, item_count INTEGER,"
        " weight_kg REAL, paid INTEGER, delivery_address TEXT);"
        "CREATE INDEX IF NOT EXISTS by_total ON orders(total_cents);" GONE_TABLE,
    .insert = "INSERT INTO orders VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)",
    .update = "UPDATE orders SET position=?2,status=?3,total_cents=?4 WHERE id=?1",
    .get = "SELECT * FROM orders WHERE id=?1",
    .range = "SELECT total_cents,* FROM orders WHERE total_cents>=?1 ORDER BY total_cents LIMIT ?2",
    .filter = "SELECT total_cents FROM orders WHERE item_count>45 AND status='shipped'",
    .top = "SELECT weight_kg,id FROM orders ORDER BY weight_kg DESC LIMIT 10",
    .total_column = 2 + ORDER_TOTAL,
    .bind = bind_columns};

static struct bench_db *open_columns(
    const char *dir, enum bench_profile profile, const char *variant)
{
    (void)variant;
    return open_flavour(dir, profile, &columns);
}

/* ---- JSON text ---- */

static int bind_json(struct bench_session *s, const struct bench_record *record)
{
    bz_buf_clear(&s->json);
    bench_json_append(&s->json, record);
    return sqlite3_bind_text(
        s->statements[INSERT], 3, (const char *)s->json.data, (int)s->json.size, SQLITE_STATIC);
}

static const struct flavour json = {
    .create =
        "CREATE TABLE IF NOT EXISTS orders(id BLOB NOT NULL UNIQUE, position INTEGER PRIMARY KEY,"
        " document TEXT);"
        "CREATE INDEX IF NOT EXISTS by_total ON "
        "orders(json_extract(document,'$.total_cents'));" GONE_TABLE,
    .insert = "INSERT INTO orders VALUES(?1,?2,?3)",
    .update = "UPDATE orders SET position=?2,"
              "document=json_set(document,'$.status',?3,'$.total_cents',?4) WHERE id=?1",
    .get = "SELECT document FROM orders WHERE id=?1",
    .range = "SELECT json_extract(document,'$.total_cents'),document FROM orders"
             " WHERE json_extract(document,'$.total_cents')>=?1"
             " ORDER BY json_extract(document,'$.total_cents') LIMIT ?2",
    .filter = "SELECT json_extract(document,'$.total_cents') FROM orders"
              " WHERE json_extract(document,'$.item_count')>45"
              " AND json_extract(document,'$.status')='shipped'",
    .top = "SELECT json_extract(document,'$.weight_kg') AS weight,id FROM orders"
           " ORDER BY weight DESC LIMIT 10",
    .total_column = -1,
    .bind = bind_json};

static struct bench_db *open_json(const char *dir, enum bench_profile profile, const char *variant)
{
    (void)variant;
    return open_flavour(dir, profile, &json);
}

#define SHARED                                                                                     \
    .load_batch = 100000, .close = close_db, .flush = flush, .settle = settle, .session = session, \
    .end = end, .write = write_one, .begin = begin, .add = add, .commit = commit, .hold = hold,    \
    .release = release, .get = get, .range = range, .filter = filter, .top = top, .count = count

const struct bench_engine bench_engine_sqlite = {.name = "sqlite", .open = open_columns, SHARED};
const struct bench_engine bench_engine_sqlite_json = {
    .name = "sqlite-json", .open = open_json, SHARED};

#else

#define MISSING "built without SQLite (libsqlite3-dev)"
const struct bench_engine bench_engine_sqlite = {.name = "sqlite", .missing = MISSING};
const struct bench_engine bench_engine_sqlite_json = {.name = "sqlite-json", .missing = MISSING};

#endif

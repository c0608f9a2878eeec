/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Ours, through the public API alone, with an index on `total_cents` and nothing else set; and the
 * same sealed by a passphrase.
 */

#include "bench.h"
#include "engine.h"
#include "files.h"

#include <blazedb.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define COLLECTION "orders"
#define SEALED     "sealed" /* the variant */
#define PASSPHRASE "correct horse battery staple"

struct bench_db {
    blaze_db *blaze;
    blaze_durability durability;
};

struct bench_session {
    struct bench_db *db;
    blaze_doc *doc;
    blaze_txn *txn;
    blaze_snapshot *snapshot;
};

static void check(int code, const blaze_error *error)
{
    if (code < 0)
        bench_die("blazedb: %s: %s", blaze_error_name(code), error->text);
}

static struct bench_db *open_db(const char *dir, enum bench_profile profile, const char *variant)
{
    struct bench_db *db = calloc(1, sizeof *db);
    char *path = bench_path(dir, "orders.blz");
    blaze_open_options options;
    blaze_error error;
    if (db == NULL)
        bench_die("out of memory");
    bool full = profile == BENCH_FULL || profile == BENCH_LOAD;
    db->durability = full ? BLAZE_FULL : BLAZE_RELAXED;
    blaze_open_options_init(&options);
    options.durability = db->durability;
    if (strcmp(variant, SEALED) == 0)
        options.seal.passphrase = PASSPHRASE;
    int code = blaze_open(&db->blaze, path, &options, &error);
    if (code == BLAZE_ENOTFOUND) {
        options.create = 1;
        check(blaze_open(&db->blaze, path, &options, &error), &error);
        check(blaze_index_create(db->blaze, COLLECTION, "total_cents", NULL, &error), &error);
    } else {
        check(code, &error);
    }
    free(path);
    return db;
}

static void close_db(struct bench_db *db)
{
    blaze_error error;
    check(blaze_close(db->blaze, &error), &error);
    free(db);
}

static void flush(struct bench_db *db)
{
    blaze_error error;
    check(blaze_flush(db->blaze, &error), &error);
}

static uint64_t checkpoints(struct bench_db *db)
{
    char *status;
    blaze_error error;
    check(blaze_status(db->blaze, &status, &error), &error);
    json_t *root = json_loads(status, 0, NULL);
    json_t *made = json_object_get(json_object_get(root, "storage"), "checkpoints");
    uint64_t value = (uint64_t)json_integer_value(made);
    json_decref(root);
    blaze_free(status);
    return value;
}

static struct bench_session *session(struct bench_db *db)
{
    struct bench_session *s = calloc(1, sizeof *s);
    if (s == NULL || blaze_doc_new(&s->doc) != BLAZE_OK)
        bench_die("out of memory");
    s->db = db;
    return s;
}

static void end(struct bench_session *s)
{
    blaze_doc_free(s->doc);
    free(s);
}

static blaze_doc *whole(struct bench_session *s, const struct bench_record *record)
{
    bench_document(s->doc, &bench_orders, record);
    return s->doc;
}

static blaze_doc *changes(struct bench_session *s, const struct bench_write *w)
{
    blaze_doc_clear(s->doc);
    blaze_doc_add_string(s->doc, "status", w->status);
    blaze_doc_add_int(s->doc, "total_cents", w->total);
    return s->doc;
}

static void write_one(struct bench_session *s, const struct bench_write *w)
{
    blaze_db *db = s->db->blaze;
    blaze_id id = w->id;
    blaze_error error;
    int code = 0;
    switch (w->verb) {
    case BENCH_INSERT:
        code = blaze_insert(db, COLLECTION, &id, whole(s, w->record), &error);
        break;
    case BENCH_UPDATE:
        code = blaze_update(db, COLLECTION, &id, changes(s, w), &error);
        break;
    case BENCH_DELETE:
        code = blaze_delete(db, COLLECTION, &id, &error);
        break;
    }
    check(code, &error);
}

static void begin(struct bench_session *s)
{
    blaze_error error;
    check(blaze_begin(s->db->blaze, &s->txn, &error), &error);
}

static void add(struct bench_session *s, const struct bench_write *w)
{
    blaze_id id = w->id;
    blaze_error error;
    int code = 0;
    switch (w->verb) {
    case BENCH_INSERT:
        code = blaze_txn_insert(s->txn, COLLECTION, &id, whole(s, w->record), &error);
        break;
    case BENCH_UPDATE:
        code = blaze_txn_update(s->txn, COLLECTION, &id, changes(s, w), &error);
        break;
    case BENCH_DELETE:
        code = blaze_txn_delete(s->txn, COLLECTION, &id, &error);
        break;
    }
    check(code, &error);
}

static void commit(struct bench_session *s)
{
    blaze_error error;
    check(blaze_commit_with(s->txn, s->db->durability, &error), &error);
}

static void hold(struct bench_session *s)
{
    blaze_error error;
    check(blaze_snapshot_open(s->db->blaze, &s->snapshot, &error), &error);
}

static void release(struct bench_session *s)
{
    blaze_snapshot_close(s->snapshot);
    s->snapshot = NULL;
}

static const blaze_value *field(const blaze_value *document, const char *name, blaze_value *out)
{
    if (blaze_value_field(document, name, out) != BLAZE_OK)
        bench_die("blazedb: a record has no %s", name);
    return out;
}

static void get(struct bench_session *s, const blaze_id *id, struct bench_answer *out)
{
    blaze_error error;
    blaze_value document, total;
    blaze_doc *copy = NULL;
    if (s->snapshot != NULL) {
        check(blaze_snapshot_get(s->snapshot, COLLECTION, id, &document, &error), &error);
    } else {
        check(blaze_get(s->db->blaze, COLLECTION, id, &copy, &error), &error);
        check(blaze_doc_value(copy, &document), &error);
    }
    *out = (struct bench_answer){1, (uint64_t)field(&document, "total_cents", &total)->as.integer};
    blaze_doc_free(copy);
}

/* Runs a query and adds up a field of its rows. */
static void sum_rows(
    struct bench_session *s, const blaze_query *query, const char *name, struct bench_answer *out)
{
    blaze_cursor *cursor;
    blaze_error error;
    blaze_id id;
    blaze_value document, value;
    int code = s->snapshot != NULL
                   ? blaze_snapshot_find(s->snapshot, COLLECTION, query, &cursor, &error)
                   : blaze_find(s->db->blaze, COLLECTION, query, &cursor, &error);
    check(code, &error);
    *out = (struct bench_answer){0, 0};
    while ((code = blaze_cursor_next(cursor, &id, &document, &error)) == BLAZE_OK) {
        field(&document, name, &value);
        out->rows++;
        out->sum +=
            value.type == BLAZE_DOUBLE ? bench_grams(value.as.number) : (uint64_t)value.as.integer;
    }
    check(code, &error);
    blaze_cursor_close(cursor);
}

static void range(struct bench_session *s, int64_t low, uint64_t limit, struct bench_answer *out)
{
    char filter[64];
    snprintf(filter, sizeof filter, "total_cents >= %lld", (long long)low);
    blaze_query query;
    blaze_query_init(&query);
    query.filter = filter;
    query.sort = "total_cents";
    query.limit = limit;
    sum_rows(s, &query, "total_cents", out);
}

static void filter(struct bench_session *s, struct bench_answer *out)
{
    blaze_query query;
    blaze_query_init(&query);
    query.filter = "item_count > 45 and status = \"shipped\"";
    sum_rows(s, &query, "total_cents", out);
}

static void top(struct bench_session *s, struct bench_answer *out)
{
    blaze_query query;
    blaze_query_init(&query);
    query.sort = "weight_kg";
    query.descending = 1;
    query.limit = BENCH_TOP;
    sum_rows(s, &query, "weight_kg", out);
}

static void count(struct bench_session *s, struct bench_answer *out)
{
    blaze_error error;
    *out = (struct bench_answer){0, 0};
    if (s->snapshot != NULL)
        check(blaze_snapshot_count(s->snapshot, COLLECTION, &out->rows, &error), &error);
    else
        check(blaze_count(s->db->blaze, COLLECTION, &out->rows, &error), &error);
}

#define SHARED                                                                                     \
    .shares_syncs = true, .load_batch = 10000, .open = open_db, .close = close_db, .flush = flush, \
    .settle = flush, .checkpoints = checkpoints, .session = session, .end = end,                   \
    .write = write_one, .begin = begin, .add = add, .commit = commit, .hold = hold,                \
    .release = release, .get = get, .range = range, .filter = filter, .top = top, .count = count

const struct bench_engine bench_engine_blaze = {.name = "blazedb", .variant = "plain", SHARED};
const struct bench_engine bench_engine_sealed = {
    .name = "blazedb-sealed", .variant = SEALED, SHARED};

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * LMDB. Three maps: records (id -> position, packed record), index (total, id -> nothing), log
 * (position -> id). Settings: no WRITEMAP unless the variant says so: it trades away safety against
 * stray pointers; no NORDAHEAD, as the data fits in memory; NOTLS. What comes after all that is
 * there is written with MDB_APPEND, which fills pages: the log always, ascending ids. A batch is
 * applied in the order of its keys, the records by id and then the index entries, which is what
 * B-trees like best. `relaxed` and the empty start are MDB_NOSYNC, which may lose the whole
 * database in a power cut: LMDB has nothing between that and full durability, its figure there is
 * of interest, not of equal worth.
 */

#include "bench.h"
#include "engine.h"

#ifdef BENCH_HAVE_LMDB

#include <lmdb.h>
#include <stdlib.h>

#define MAP_SIZE ((size_t)64 << 30)

struct bench_db {
    MDB_env *env;
    MDB_dbi records, index, log;
    uint64_t position;
    blaze_id last; /* no record has a greater id */
};

/* A write of a batch, kept until the commit; an insert's packed record lies in the session. */
struct pending {
    enum bench_verb verb;
    blaze_id id;
    const char *status;
    int64_t total;
    size_t offset, size;
};

/* An index entry to be put or deleted. */
struct entry {
    uint8_t key[24];
    bool put;
};

struct bench_session {
    struct bench_db *db;
    MDB_txn *writer;
    MDB_txn *reader; /* kept for renewal */
    bool held;
    struct bz_buf packed; /* the records of the batch */
    struct pending *pending;
    size_t count, room;
    struct entry *entries; /* twice the room */
    size_t entry_count;
};

static void check(int code)
{
    if (code != 0)
        bench_die("lmdb: %s", mdb_strerror(code));
}

static MDB_val val(const void *data, size_t size)
{
    return (MDB_val){size, (void *)(uintptr_t)data};
}

static void index_key(uint8_t key[24], int64_t total, const blaze_id *id)
{
    bz_store64be(key, (uint64_t)total);
    memcpy(key + 8, id->bytes, 16);
}

static struct bench_db *open_db(const char *dir, enum bench_profile profile, const char *variant)
{
    struct bench_db *db = calloc(1, sizeof *db);
    if (db == NULL)
        bench_die("out of memory");
    unsigned flags = MDB_NOTLS;
    if (strcmp(variant, "writemap") == 0)
        flags |= MDB_WRITEMAP;
    if (profile == BENCH_RELAXED || profile == BENCH_LOAD_ONCE)
        flags |= MDB_NOSYNC;
    check(mdb_env_create(&db->env));
    check(mdb_env_set_mapsize(db->env, MAP_SIZE));
    check(mdb_env_set_maxdbs(db->env, 3));
    check(mdb_env_open(db->env, dir, flags, 0600));
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key, value;
    check(mdb_txn_begin(db->env, NULL, 0, &txn));
    check(mdb_dbi_open(txn, "records", MDB_CREATE, &db->records));
    check(mdb_dbi_open(txn, "index", MDB_CREATE, &db->index));
    check(mdb_dbi_open(txn, "log", MDB_CREATE, &db->log));
    check(mdb_cursor_open(txn, db->log, &cursor));
    if (mdb_cursor_get(cursor, &key, &value, MDB_LAST) == 0)
        db->position = bz_load64be(key.mv_data);
    mdb_cursor_close(cursor);
    check(mdb_cursor_open(txn, db->records, &cursor));
    if (mdb_cursor_get(cursor, &key, &value, MDB_LAST) == 0)
        memcpy(db->last.bytes, key.mv_data, 16);
    mdb_cursor_close(cursor);
    check(mdb_txn_commit(txn));
    return db;
}

static void close_db(struct bench_db *db)
{
    mdb_env_close(db->env);
    free(db);
}

static void flush(struct bench_db *db)
{
    check(mdb_env_sync(db->env, 1));
}

static struct bench_session *session(struct bench_db *db)
{
    struct bench_session *s = calloc(1, sizeof *s);
    if (s == NULL)
        bench_die("out of memory");
    s->db = db;
    bz_buf_init(&s->packed, (size_t)1 << 30);
    check(mdb_txn_begin(db->env, NULL, MDB_RDONLY, &s->reader));
    mdb_txn_reset(s->reader);
    return s;
}

static void end(struct bench_session *s)
{
    mdb_txn_abort(s->reader);
    bz_buf_release(&s->packed);
    free(s->pending);
    free(s->entries);
    free(s);
}

/* Gives the id the next position, and takes it from the one before (0: none). */
static uint64_t move_log(struct bench_session *s, const blaze_id *id, uint64_t before)
{
    uint8_t bytes[8];
    MDB_val key = val(bytes, 8);
    if (before != 0) {
        bz_store64be(bytes, before);
        check(mdb_del(s->writer, s->db->log, &key, NULL));
    }
    uint64_t position = ++s->db->position;
    bz_store64be(bytes, position);
    MDB_val value = val(id->bytes, 16);
    check(mdb_put(s->writer, s->db->log, &key, &value, MDB_APPEND));
    return position;
}

static void add_entry(struct bench_session *s, int64_t total, const blaze_id *id, bool put)
{
    struct entry *entry = &s->entries[s->entry_count++];
    index_key(entry->key, total, id);
    entry->put = put;
}

static void apply_entry(struct bench_session *s, const struct entry *entry)
{
    MDB_val key = val(entry->key, sizeof entry->key);
    MDB_val value = val("", 0);
    check(entry->put ? mdb_put(s->writer, s->db->index, &key, &value, 0)
                     : mdb_del(s->writer, s->db->index, &key, NULL));
}

/* The packed record gets its position, which only the order of the commit gives it. */
static void apply_insert(struct bench_session *s, const struct pending *p)
{
    uint8_t *packed = s->packed.data + p->offset;
    bz_store64le(packed, move_log(s, &p->id, 0));
    MDB_val key = val(p->id.bytes, 16);
    MDB_val value = val(packed, p->size);
    bool last = memcmp(p->id.bytes, s->db->last.bytes, 16) > 0;
    check(mdb_put(s->writer, s->db->records, &key, &value, last ? MDB_APPEND : MDB_NOOVERWRITE));
    if (last)
        s->db->last = p->id;
    add_entry(s, p->total, &p->id, true);
}

static void apply_change(struct bench_session *s, const struct pending *p)
{
    MDB_val key = val(p->id.bytes, 16);
    MDB_val value;
    check(mdb_get(s->writer, s->db->records, &key, &value));
    size_t offset = s->packed.size; /* the page may move under the writes that follow */
    bz_buf_append(&s->packed, value.mv_data, value.mv_size);
    const uint8_t *copy = s->packed.data + offset;
    struct bench_record record;
    if (!bench_unpack(bz_bytes(copy + 8, value.mv_size - 8), &bench_orders, &record))
        bench_die("lmdb: a damaged record");
    add_entry(s, record.values[ORDER_TOTAL].as.integer, &p->id, false);
    uint64_t position = move_log(s, &p->id, bz_load64le(copy));
    if (p->verb == BENCH_DELETE) {
        check(mdb_del(s->writer, s->db->records, &key, NULL));
        return;
    }
    record.values[ORDER_STATUS].as.text.data = p->status;
    record.values[ORDER_STATUS].as.text.size = strlen(p->status);
    record.values[ORDER_TOTAL].as.integer = p->total;
    add_entry(s, p->total, &p->id, true);
    struct bz_buf changed;
    bz_buf_init(&changed, 65536);
    bz_buf_append64le(&changed, position);
    bench_pack(&changed, &bench_orders, &record);
    value = val(changed.data, changed.size);
    check(mdb_put(s->writer, s->db->records, &key, &value, 0));
    bz_buf_release(&changed);
}

static int compare_pending(const void *a, const void *b)
{
    const struct pending *x = a, *y = b;
    return memcmp(x->id.bytes, y->id.bytes, 16);
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int order = memcmp(x->key, y->key, sizeof x->key);
    return order != 0 ? order : x->put - y->put; /* gone, then there again */
}

static void begin(struct bench_session *s)
{
    check(mdb_txn_begin(s->db->env, NULL, 0, &s->writer));
    bz_buf_clear(&s->packed);
    s->count = 0;
    s->entry_count = 0;
}

static void grow(struct bench_session *s)
{
    s->room = s->room > 0 ? s->room * 2 : 64;
    s->pending = realloc(s->pending, s->room * sizeof *s->pending);
    s->entries = realloc(s->entries, s->room * 2 * sizeof *s->entries);
    if (s->pending == NULL || s->entries == NULL)
        bench_die("out of memory");
}

/* No batch of the benchmarks writes a record twice, so that its writes may change places. */
static void add(struct bench_session *s, const struct bench_write *w)
{
    if (s->count == s->room)
        grow(s);
    struct pending *p = &s->pending[s->count++];
    *p = (struct pending){w->verb, w->id, w->status, w->total, s->packed.size, 0};
    if (w->verb != BENCH_INSERT)
        return;
    p->total = w->record->values[ORDER_TOTAL].as.integer;
    bz_buf_append64le(&s->packed, 0);
    bench_pack(&s->packed, &bench_orders, w->record);
    p->size = s->packed.size - p->offset;
}

static void commit(struct bench_session *s)
{
    qsort(s->pending, s->count, sizeof *s->pending, compare_pending);
    for (size_t i = 0; i < s->count; i++)
        if (s->pending[i].verb == BENCH_INSERT)
            apply_insert(s, &s->pending[i]);
        else
            apply_change(s, &s->pending[i]);
    qsort(s->entries, s->entry_count, sizeof *s->entries, compare_entries);
    for (size_t i = 0; i < s->entry_count; i++)
        apply_entry(s, &s->entries[i]);
    check(mdb_txn_commit(s->writer));
    s->writer = NULL;
}

static void write_one(struct bench_session *s, const struct bench_write *w)
{
    begin(s);
    add(s, w);
    commit(s);
}

static void hold(struct bench_session *s)
{
    check(mdb_txn_renew(s->reader));
    s->held = true;
}

static void release(struct bench_session *s)
{
    mdb_txn_reset(s->reader);
    s->held = false;
}

static MDB_txn *reader(struct bench_session *s)
{
    if (!s->held)
        check(mdb_txn_renew(s->reader));
    return s->reader;
}

static void done_reading(struct bench_session *s)
{
    if (!s->held)
        mdb_txn_reset(s->reader);
}

static struct bz_bytes packed(const MDB_val *value)
{
    return bz_bytes((const uint8_t *)value->mv_data + 8, value->mv_size - 8);
}

static int64_t field(const MDB_val *value, size_t index)
{
    struct bench_value v;
    if (!bench_unpack_field(packed(value), &bench_orders, index, &v))
        bench_die("lmdb: a damaged record");
    return v.as.integer;
}

static void get(struct bench_session *s, const blaze_id *id, struct bench_answer *out)
{
    MDB_val key = val(id->bytes, 16);
    MDB_val value;
    check(mdb_get(reader(s), s->db->records, &key, &value));
    *out = (struct bench_answer){1, (uint64_t)field(&value, ORDER_TOTAL)};
    done_reading(s);
}

static void range(struct bench_session *s, int64_t low, uint64_t limit, struct bench_answer *out)
{
    static const blaze_id least;
    uint8_t bytes[24];
    MDB_cursor *cursor;
    index_key(bytes, low, &least);
    MDB_val key = val(bytes, sizeof bytes);
    MDB_val value;
    MDB_txn *txn = reader(s);
    *out = (struct bench_answer){0, 0};
    check(mdb_cursor_open(txn, s->db->index, &cursor));
    for (int code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
         code == 0 && out->rows < limit; code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        MDB_val id = val((const uint8_t *)key.mv_data + 8, 16);
        check(mdb_get(txn, s->db->records, &id, &value));
        out->rows++;
        out->sum += (uint64_t)field(&value, ORDER_TOTAL);
    }
    mdb_cursor_close(cursor);
    done_reading(s);
}

/* Calls `each` for every record. */
static void scan(
    struct bench_session *s, void (*each)(const MDB_val *value, void *context), void *context)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    check(mdb_cursor_open(reader(s), s->db->records, &cursor));
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0)
        each(&value, context);
    mdb_cursor_close(cursor);
    done_reading(s);
}

static void filter_one(const MDB_val *value, void *context)
{
    struct bench_answer *out = context;
    struct bench_value v;
    if (field(value, ORDER_ITEMS) <= BENCH_FILTER_ITEMS)
        return;
    bench_unpack_field(packed(value), &bench_orders, ORDER_STATUS, &v);
    if (v.as.text.size != strlen(BENCH_FILTER_STATUS) ||
        memcmp(v.as.text.data, BENCH_FILTER_STATUS, v.as.text.size) != 0)
        return;
    out->rows++;
    out->sum += (uint64_t)field(value, ORDER_TOTAL);
}

static void filter(struct bench_session *s, struct bench_answer *out)
{
    *out = (struct bench_answer){0, 0};
    scan(s, filter_one, out);
}

static void top_one(const MDB_val *value, void *context)
{
    struct bench_value v;
    bench_unpack_field(packed(value), &bench_orders, ORDER_WEIGHT, &v);
    bench_heap_add(context, v.as.number);
}

static void top(struct bench_session *s, struct bench_answer *out)
{
    struct bench_heap heap = {0};
    scan(s, top_one, &heap);
    bench_heap_answer(&heap, out);
}

static void count(struct bench_session *s, struct bench_answer *out)
{
    MDB_stat stat;
    check(mdb_stat(reader(s), s->db->records, &stat));
    *out = (struct bench_answer){stat.ms_entries, 0};
    done_reading(s);
}

const struct bench_engine bench_engine_lmdb = {.name = "lmdb",
    .variant = "plain",
    .load_batch = 100000,
    .open = open_db,
    .close = close_db,
    .flush = flush,
    .settle = flush,
    .session = session,
    .end = end,
    .write = write_one,
    .begin = begin,
    .add = add,
    .commit = commit,
    .hold = hold,
    .release = release,
    .get = get,
    .range = range,
    .filter = filter,
    .top = top,
    .count = count};

#else

const struct bench_engine bench_engine_lmdb = {
    .name = "lmdb", .missing = "built without LMDB (liblmdb-dev)"};

#endif

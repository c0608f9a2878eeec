/* SPDX-License-Identifier: Apache-2.0 */

/*
 * RocksDB through its C API. Three column families, as in lmdb.c: records, index, log. Settings:
 * write buffers of 64 MiB, four of them, two background jobs, dynamic level sizes, tables written
 * back 1 MiB at a time (so that a flush does not end in a long write), bloom filters of 10 bits on
 * the records, block cache of 512 MiB, format version 5, no direct I/O. Log files are not recycled:
 * RocksDB 7.8 sets that aside unless recovery skips over what is corrupt. An empty start leaves the
 * write-ahead log out, keeps its memtables as vectors, which are sorted when they are flushed, and
 * compacts nothing. The compression of the tables is the variant: none, lz4 or zstd, which has
 * blocks of 16 KiB rather than 4 to do better.
 *
 * An insert does not look whether the id is there already: RocksDB is at its best without.
 */

#include "bench.h"
#include "engine.h"

#ifdef BENCH_HAVE_ROCKSDB

#include <rocksdb/c.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { DEFAULT, RECORDS, INDEX, LOG, FAMILIES };

struct bench_db {
    rocksdb_t *rocks;
    rocksdb_column_family_handle_t *families[FAMILIES];
    rocksdb_options_t *options[FAMILIES];
    rocksdb_cache_t *cache;
    rocksdb_writeoptions_t *write_options;
    _Atomic uint64_t position;
};

struct bench_session {
    struct bench_db *db;
    rocksdb_writebatch_t *batch;
    rocksdb_readoptions_t *read_options;
    const rocksdb_snapshot_t *snapshot;
    struct bz_buf packed;
};

static void check(const char *error)
{
    if (error != NULL)
        bench_die("rocksdb: %s", error);
}

static int compression(const char *variant)
{
    if (strcmp(variant, "none") == 0)
        return rocksdb_no_compression;
    return strcmp(variant, "zstd") == 0 ? rocksdb_zstd_compression : rocksdb_lz4_compression;
}

static rocksdb_options_t *family_options(
    struct bench_db *db, int family, enum bench_profile profile, const char *variant)
{
    rocksdb_options_t *o = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(o, 1);
    rocksdb_options_set_create_missing_column_families(o, 1);
    rocksdb_options_set_max_background_jobs(o, 2);
    rocksdb_options_set_write_buffer_size(o, (size_t)64 << 20);
    rocksdb_options_set_max_write_buffer_number(o, 4);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 1);
    rocksdb_options_set_bytes_per_sync(o, (uint64_t)1 << 20);
    rocksdb_options_set_compression(o, compression(variant));
    if (profile == BENCH_LOAD_ONCE) {
        rocksdb_options_set_memtable_vector_rep(o);
        rocksdb_options_set_allow_concurrent_memtable_write(o, 0);
        rocksdb_options_set_disable_auto_compactions(o, 1);
    }

    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_format_version(table, 5);
    rocksdb_block_based_options_set_block_cache(table, db->cache);
    if (strcmp(variant, "zstd") == 0)
        rocksdb_block_based_options_set_block_size(table, (size_t)16 << 10);
    if (family == RECORDS)
        rocksdb_block_based_options_set_filter_policy(
            table, rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_options_set_block_based_table_factory(o, table);
    rocksdb_block_based_options_destroy(table);
    return o;
}

static uint64_t last_position(struct bench_db *db)
{
    rocksdb_readoptions_t *options = rocksdb_readoptions_create();
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(db->rocks, options, db->families[LOG]);
    rocksdb_iter_seek_to_last(it);
    size_t size;
    uint64_t position =
        rocksdb_iter_valid(it) ? bz_load64be((const uint8_t *)rocksdb_iter_key(it, &size)) : 0;
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_destroy(options);
    return position;
}

static struct bench_db *open_db(const char *dir, enum bench_profile profile, const char *variant)
{
    static const char *const names[FAMILIES] = {"default", "records", "index", "log"};
    struct bench_db *db = calloc(1, sizeof *db);
    if (db == NULL)
        bench_die("out of memory");
    db->cache = rocksdb_cache_create_lru((size_t)512 << 20);
    for (int f = 0; f < FAMILIES; f++)
        db->options[f] = family_options(db, f, profile, variant);
    char *error = NULL;
    db->rocks = rocksdb_open_column_families(db->options[0], dir, FAMILIES, names,
        (const rocksdb_options_t *const *)(uintptr_t)db->options, db->families, &error);
    check(error);
    db->write_options = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(
        db->write_options, profile == BENCH_FULL || profile == BENCH_LOAD);
    rocksdb_writeoptions_disable_WAL(db->write_options, profile == BENCH_LOAD_ONCE);
    db->position = last_position(db);
    return db;
}

static void close_db(struct bench_db *db)
{
    for (int f = 0; f < FAMILIES; f++)
        rocksdb_column_family_handle_destroy(db->families[f]);
    rocksdb_close(db->rocks);
    for (int f = 0; f < FAMILIES; f++)
        rocksdb_options_destroy(db->options[f]);
    rocksdb_writeoptions_destroy(db->write_options);
    rocksdb_cache_destroy(db->cache);
    free(db);
}

static void flush(struct bench_db *db)
{
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(options, 1);
    for (int f = RECORDS; f < FAMILIES; f++) {
        char *error = NULL;
        rocksdb_flush_cf(db->rocks, options, db->families[f], &error);
        check(error);
    }
    rocksdb_flushoptions_destroy(options);
}

static void settle(struct bench_db *db)
{
    flush(db);
    for (int f = RECORDS; f < FAMILIES; f++)
        rocksdb_compact_range_cf(db->rocks, db->families[f], NULL, 0, NULL, 0);
}

static struct bench_session *session(struct bench_db *db)
{
    struct bench_session *s = calloc(1, sizeof *s);
    if (s == NULL)
        bench_die("out of memory");
    s->db = db;
    s->batch = rocksdb_writebatch_create();
    s->read_options = rocksdb_readoptions_create();
    bz_buf_init(&s->packed, 65536);
    return s;
}

static void end(struct bench_session *s)
{
    rocksdb_writebatch_destroy(s->batch);
    rocksdb_readoptions_destroy(s->read_options);
    bz_buf_release(&s->packed);
    free(s);
}

static void put(struct bench_session *s, int family, const void *key, size_t key_size,
    const void *value, size_t value_size)
{
    rocksdb_writebatch_put_cf(s->batch, s->db->families[family], key, key_size, value, value_size);
}

static void erase(struct bench_session *s, int family, const void *key, size_t key_size)
{
    rocksdb_writebatch_delete_cf(s->batch, s->db->families[family], key, key_size);
}

static void index_key(char key[24], int64_t total, const blaze_id *id)
{
    bz_store64be((uint8_t *)key, (uint64_t)total);
    memcpy(key + 8, id->bytes, 16);
}

/* Gives the id the next position, and takes it from the one before (0: none). */
static uint64_t move_log(struct bench_session *s, const blaze_id *id, uint64_t before)
{
    uint8_t key[8];
    if (before != 0) {
        bz_store64be(key, before);
        erase(s, LOG, key, sizeof key);
    }
    uint64_t position = atomic_fetch_add(&s->db->position, 1) + 1;
    bz_store64be(key, position);
    put(s, LOG, key, sizeof key, id->bytes, 16);
    return position;
}

static void put_record(struct bench_session *s, const blaze_id *id,
    const struct bench_record *record, uint64_t position)
{
    char key[24];
    index_key(key, record->values[ORDER_TOTAL].as.integer, id);
    put(s, INDEX, key, sizeof key, "", 0);
    bz_buf_clear(&s->packed);
    bz_buf_append64le(&s->packed, position);
    bench_pack(&s->packed, &bench_orders, record);
    put(s, RECORDS, id->bytes, 16, s->packed.data, s->packed.size);
}

static rocksdb_pinnableslice_t *find(
    struct bench_session *s, const void *id, struct bz_bytes *value)
{
    char *error = NULL;
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned_cf(
        s->db->rocks, s->read_options, s->db->families[RECORDS], id, 16, &error);
    check(error);
    if (slice == NULL)
        bench_die("rocksdb: a record is not there");
    value->data = (const uint8_t *)rocksdb_pinnableslice_value(slice, &value->size);
    return slice;
}

static struct bz_bytes packed(struct bz_bytes value)
{
    return bz_bytes(value.data + 8, value.size - 8);
}

static void change(struct bench_session *s, const struct bench_write *w)
{
    struct bz_bytes value;
    rocksdb_pinnableslice_t *slice = find(s, w->id.bytes, &value);
    struct bench_record record;
    char key[24];
    if (!bench_unpack(packed(value), &bench_orders, &record))
        bench_die("rocksdb: a damaged record");
    index_key(key, record.values[ORDER_TOTAL].as.integer, &w->id);
    erase(s, INDEX, key, sizeof key);
    uint64_t position = move_log(s, &w->id, bz_load64le(value.data));
    if (w->verb == BENCH_DELETE) {
        erase(s, RECORDS, w->id.bytes, 16);
    } else {
        record.values[ORDER_STATUS].as.text.data = w->status;
        record.values[ORDER_STATUS].as.text.size = strlen(w->status);
        record.values[ORDER_TOTAL].as.integer = w->total;
        put_record(s, &w->id, &record, position);
    }
    rocksdb_pinnableslice_destroy(slice);
}

static void begin(struct bench_session *s)
{
    rocksdb_writebatch_clear(s->batch);
}

static void add(struct bench_session *s, const struct bench_write *w)
{
    if (w->verb == BENCH_INSERT)
        put_record(s, &w->id, w->record, move_log(s, &w->id, 0));
    else
        change(s, w);
}

static void commit(struct bench_session *s)
{
    char *error = NULL;
    rocksdb_write(s->db->rocks, s->db->write_options, s->batch, &error);
    check(error);
}

static void write_one(struct bench_session *s, const struct bench_write *w)
{
    begin(s);
    add(s, w);
    commit(s);
}

static void hold(struct bench_session *s)
{
    s->snapshot = rocksdb_create_snapshot(s->db->rocks);
    rocksdb_readoptions_set_snapshot(s->read_options, s->snapshot);
}

static void release(struct bench_session *s)
{
    rocksdb_readoptions_set_snapshot(s->read_options, NULL);
    rocksdb_release_snapshot(s->db->rocks, s->snapshot);
    s->snapshot = NULL;
}

static int64_t field(struct bz_bytes value, size_t index)
{
    struct bench_value v;
    if (!bench_unpack_field(packed(value), &bench_orders, index, &v))
        bench_die("rocksdb: a damaged record");
    return v.as.integer;
}

static void get(struct bench_session *s, const blaze_id *id, struct bench_answer *out)
{
    struct bz_bytes value;
    rocksdb_pinnableslice_t *slice = find(s, id->bytes, &value);
    *out = (struct bench_answer){1, (uint64_t)field(value, ORDER_TOTAL)};
    rocksdb_pinnableslice_destroy(slice);
}

static void range(struct bench_session *s, int64_t low, uint64_t limit, struct bench_answer *out)
{
    static const blaze_id least;
    char key[24];
    index_key(key, low, &least);
    rocksdb_iterator_t *it =
        rocksdb_create_iterator_cf(s->db->rocks, s->read_options, s->db->families[INDEX]);
    *out = (struct bench_answer){0, 0};
    for (rocksdb_iter_seek(it, key, sizeof key); rocksdb_iter_valid(it) && out->rows < limit;
         rocksdb_iter_next(it)) {
        size_t size;
        struct bz_bytes value;
        rocksdb_pinnableslice_t *slice = find(s, rocksdb_iter_key(it, &size) + 8, &value);
        out->rows++;
        out->sum += (uint64_t)field(value, ORDER_TOTAL);
        rocksdb_pinnableslice_destroy(slice);
    }
    rocksdb_iter_destroy(it);
}

/* Calls `each` for every record. */
static void scan(
    struct bench_session *s, void (*each)(struct bz_bytes value, void *context), void *context)
{
    rocksdb_iterator_t *it =
        rocksdb_create_iterator_cf(s->db->rocks, s->read_options, s->db->families[RECORDS]);
    for (rocksdb_iter_seek_to_first(it); rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
        size_t size;
        const char *value = rocksdb_iter_value(it, &size);
        each(bz_bytes(value, size), context);
    }
    rocksdb_iter_destroy(it);
}

static void filter_one(struct bz_bytes value, void *context)
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

static void top_one(struct bz_bytes value, void *context)
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

static void count_one(struct bz_bytes value, void *context)
{
    (void)value;
    ((struct bench_answer *)context)->rows++;
}

static void count(struct bench_session *s, struct bench_answer *out)
{
    *out = (struct bench_answer){0, 0};
    scan(s, count_one, out);
}

const struct bench_engine bench_engine_rocksdb = {.name = "rocksdb",
    .variant = "lz4",
    .shares_syncs = true,
    .load_batch = 10000,
    .open = open_db,
    .close = close_db,
    .flush = flush,
    .settle = settle,
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

const struct bench_engine bench_engine_rocksdb = {
    .name = "rocksdb", .missing = "built without RocksDB (librocksdb-dev)"};

#endif

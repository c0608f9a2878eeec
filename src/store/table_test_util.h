/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_TABLE_TEST_UTIL_H
#define BZ_STORE_TABLE_TEST_UTIL_H

/* A list of entries in order, and tables of it. The tests run for tables that are sealed and for
 * such that are not: test_key says which. */

#include "base/arena.h"
#include "store/table.h"
#include "store/testing.h"

#include "cmocka_all.h"

#define MODEL_MAX 4000u

struct model_entry {
    uint32_t map;
    bool deleted;
    size_t key_size;
    uint8_t key[511];
    struct bz_bytes value;
};

static struct model {
    size_t count;
    struct model_entry entries[MODEL_MAX];
    struct bz_arena arena;
} model;

static const uint8_t sealing_key[32] = "the key of these tests, 32 bytes";
static const uint8_t *test_key;
static struct bz_block_cache *test_cache;
static struct bz_test_dir dir;
static char table_path[128];

static int set_up(const uint8_t *key)
{
    bz_test_dir_make(&dir);
    snprintf(table_path, sizeof table_path, "%s/table", dir.path);
    test_key = key;
    test_cache = bz_block_cache_new(64u << 10);
    bz_arena_init(&model.arena);
    model.count = 0;
    return test_cache == NULL;
}

static int set_up_unsealed(void **state)
{
    (void)state;
    return set_up(NULL);
}

static int set_up_sealed(void **state)
{
    (void)state;
    return set_up(sealing_key);
}

static int tear_down(void **state)
{
    (void)state;
    bz_block_cache_free(test_cache);
    bz_arena_release(&model.arena);
    bz_test_dir_remove(&dir);
    return 0;
}

#define BOTH(test)                                                                                 \
    {#test " unsealed", test, set_up_unsealed, tear_down, NULL},                                   \
    {                                                                                              \
#test " sealed", test, set_up_sealed, tear_down, NULL                                      \
    }

/* ---- the model ---- */

static inline struct bz_bytes model_key(const struct model_entry *entry)
{
    return bz_bytes(entry->key, entry->key_size);
}

static inline struct bz_write model_write(const struct model_entry *entry)
{
    return (struct bz_write){entry->map, entry->deleted, model_key(entry), entry->value};
}

static inline int compare_keys(uint32_t a_map, struct bz_bytes a, uint32_t b_map, struct bz_bytes b)
{
    return bz_table_key_compare((struct bz_table_key){a_map, a}, (struct bz_table_key){b_map, b});
}

static inline int compare_entries(const void *a, const void *b)
{
    const struct model_entry *x = a, *y = b;
    return compare_keys(x->map, model_key(x), y->map, model_key(y));
}

static inline struct model_entry *model_add(
    uint32_t map, struct bz_bytes key, struct bz_bytes value)
{
    assert_true(model.count < MODEL_MAX && key.size <= 511);
    struct model_entry *entry = &model.entries[model.count++];
    *entry = (struct model_entry){.map = map, .key_size = key.size};
    memcpy(entry->key, key.data, key.size);
    entry->value = bz_arena_copy(&model.arena, value);
    return entry;
}

/* Puts the entries in order and leaves out those whose key is there already. */
static inline void model_sort(void)
{
    size_t kept = 0;
    qsort(model.entries, model.count, sizeof model.entries[0], compare_entries);
    for (size_t i = 0; i < model.count; i++) {
        if (i == 0 || compare_entries(&model.entries[kept - 1], &model.entries[i]) != 0)
            model.entries[kept++] = model.entries[i];
    }
    model.count = kept;
}

/* How many entries are before (map, key). */
static inline size_t model_before(uint32_t map, struct bz_bytes key)
{
    size_t i = 0;
    while (i < model.count &&
           compare_keys(model.entries[i].map, model_key(&model.entries[i]), map, key) < 0)
        i++;
    return i;
}

/* ---- chance ---- */

enum shape { RANDOM_KEYS, LONG_PREFIXES, NUMBERS, EXTREMES, SHAPES };

static inline struct bz_bytes random_key(struct rng *rng, enum shape shape, uint8_t out[511])
{
    size_t size;
    switch (shape) {
    case LONG_PREFIXES: /* which few differ in, and not early */
        size = 90 + 10 * rng_below(rng, 3) + rng_below(rng, 4);
        memset(out, 'p', size);
        out[20 + rng_below(rng, 70)] = (uint8_t)rng_below(rng, 256);
        out[size - 1] = (uint8_t)rng_below(rng, 256);
        return bz_bytes(out, size);
    case NUMBERS:
        memcpy(out, "number ", 7);
        bz_store64be(out + 7, rng_below(rng, 5000));
        return bz_bytes(out, 15);
    case EXTREMES:
        size = rng_below(rng, 2) == 0 ? 1 : 511 - rng_below(rng, 2);
        memset(out, rng_below(rng, 2) == 0 ? 0xff : 0, size);
        out[size - 1] = (uint8_t)rng_next(rng);
        return bz_bytes(out, size);
    default:
        size = 1 + rng_below(rng, 20);
        rng_fill(rng, out, size);
        return bz_bytes(out, size);
    }
}

static inline void model_random(struct rng *rng, enum shape shape, size_t count)
{
    static const uint32_t maps[] = {0, 1, 7, 255};
    static uint8_t value[6000];
    uint8_t key[511];
    uint32_t map_count = 1 + rng_below(rng, 4);
    uint32_t sizes = rng_below(rng, 3);
    rng_fill(rng, value, sizeof value);
    for (size_t i = 0; i < count; i++) {
        size_t size = rng_below(rng, sizes == 0 ? 1 : sizes == 1 ? 200 : 1000);
        if (rng_below(rng, 100) == 0)
            size = 3900 + rng_below(rng, 2000); /* around and past what a block holds */
        size_t at = rng_below(rng, (uint32_t)(sizeof value - size) + 1);
        uint32_t map = maps[rng_below(rng, map_count)];
        bool deleted = rng_below(rng, 8) == 0;
        struct model_entry *entry = model_add(map, random_key(rng, shape, key),
            deleted ? bz_bytes(NULL, 0) : bz_bytes(value + at, size));
        entry->deleted = deleted;
    }
    model_sort();
}

/* ---- tables of it ---- */

static inline int try_write(struct bz_table_summary *summary, blaze_error *error)
{
    struct bz_table_writer *writer;
    int rc = bz_table_writer_open(&writer, table_path, test_key, error);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < model.count; i++) {
        struct bz_write entry = model_write(&model.entries[i]);
        rc = bz_table_writer_add(writer, &entry, error);
        if (rc != 0) {
            bz_table_writer_abort(writer);
            return rc;
        }
    }
    return bz_table_writer_finish(writer, summary, error);
}

static inline struct bz_table_summary write_table(void)
{
    struct bz_table_summary summary = {0};
    blaze_error error = {0};
    if (try_write(&summary, &error) != 0)
        fail_msg("write: %s", error.text);
    return summary;
}

static inline struct bz_table *open_table(uint64_t size)
{
    struct bz_table *table = NULL;
    blaze_error error = {0};
    if (bz_table_open(&table, table_path, size, test_key, test_cache, &error) != 0)
        fail_msg("open: %s", error.text);
    return table;
}

static inline bool same_entry(const struct bz_write *got, const struct model_entry *want)
{
    return got->map == want->map && got->deleted == want->deleted &&
           bz_bytes_equal(got->key, model_key(want)) && bz_bytes_equal(got->value, want->value);
}

/* The code of a get, which must not give anything but what the model has. */
static inline int get_entry(struct bz_table *table, const struct model_entry *entry)
{
    struct bz_write got = {entry->map, .key = model_key(entry)};
    struct bz_block *pin = NULL;
    blaze_error error = {0};
    int rc = bz_table_get(table, got.map, got.key, &got.deleted, &got.value, &pin, &error);
    if (rc == 0) {
        assert_true(same_entry(&got, entry));
        bz_block_unpin(pin);
    } else if (rc != BLAZE_ENOTFOUND) {
        assert_int_equal(error.code, rc);
    }
    return rc;
}

/* A file's bytes, and a file of such. */
static inline struct bz_bytes read_table(struct bz_arena *arena)
{
    struct bz_file file;
    uint64_t size;
    size_t got;
    assert_int_equal(bz_file_open(&file, table_path, BZ_OPEN_READ, NULL), 0);
    assert_int_equal(bz_file_size(&file, &size, NULL), 0);
    uint8_t *data = bz_arena_alloc(arena, (size_t)size);
    assert_non_null(data);
    assert_int_equal(bz_file_read(&file, 0, data, (size_t)size, &got, NULL), 0);
    bz_file_close(&file);
    return bz_bytes(data, got);
}

static inline void put_table(struct bz_bytes bytes)
{
    struct bz_file file;
    int how = BZ_OPEN_WRITE | BZ_OPEN_CREATE;
    assert_int_equal(bz_file_open(&file, table_path, how, NULL), 0);
    assert_int_equal(bz_file_truncate(&file, bytes.size, NULL), 0);
    assert_int_equal(bz_file_write(&file, 0, bytes.data, bytes.size, NULL), 0);
    bz_file_close(&file);
}

#endif

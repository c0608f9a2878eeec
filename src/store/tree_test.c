/* SPDX-License-Identifier: Apache-2.0 */

/* The tree, its iterator and compactions, against a plain table of what each key should have. */

#include "base/alloc.h"
#include "store/compact.h"
#include "store/testing.h"
#include "store/tree_iter.h"

#include "cmocka_all.h"

#define KEYS 400u
#define MAPS 2u

static struct bz_test_dir dir;
static const atomic_bool never;

/* What each key has: 0 nothing, else the number of the flush that wrote it. */
struct model {
    uint32_t value[MAPS][KEYS];
};

struct fixture {
    struct bz_base base;
    struct bz_tree *tree;
    struct bz_memtable *table;
    struct bz_log_position end;
    struct model model;
    struct rng random;
};

static const uint8_t sealing_key[32] = {1, 2, 3};

static void open_base(struct fixture *f, const uint8_t *key)
{
    struct bz_store_options options = {.maps = bz_test_maps,
        .map_count = MAPS,
        .table_bytes = 12u << 10,
        .level_bytes = 64u << 10,
        .cache_bytes = 32u << 10};
    struct bz_log_position start = {1, 64, 0, 0};
    *f = (struct fixture){.random = {test_seed()}};
    bz_test_dir_make(&dir);
    assert_int_equal(bz_base_init(&f->base, dir.path, &options, NULL), 0);
    if (key != NULL)
        assert_int_equal(bz_base_seal(&f->base, key, NULL), 0);
    assert_int_equal(bz_base_prepare(&f->base, &start, NULL), 0);
    assert_int_equal(bz_base_create(&f->base, NULL), 0);
    assert_int_equal(bz_base_load(&f->base, NULL, false, &f->tree, NULL), 0);
    f->end = start;
}

static void close_base(struct fixture *f)
{
    bz_tree_release(f->tree);
    bz_base_release(&f->base);
    bz_test_dir_remove(&dir);
}

static void take(struct fixture *f, struct bz_tree *tree)
{
    bz_tree_release(f->tree);
    f->tree = tree;
}

static struct bz_bytes key_of(uint32_t i, uint8_t storage[4])
{
    bz_store32be(storage, i);
    return bz_bytes(storage, 4);
}

static struct bz_bytes value_of(uint32_t map, uint32_t i, uint32_t n, uint8_t storage[300])
{
    size_t size = 4 + (i * 31 + n * 7 + map) % 280;
    memset(storage, (int)(i + n), size);
    bz_store32le(storage, n);
    return bz_bytes(storage, size);
}

/* Writes a random part of the keys, or deletes them, and moves that to the base. */
static void flush(struct fixture *f, uint32_t n, uint32_t from, uint32_t to)
{
    struct bz_memtable *table = bz_memtable_new(1u << 16);
    for (uint32_t map = 0; map < MAPS; map++) {
        for (uint32_t i = from; i < to; i++) {
            uint8_t key[4], value[300];
            uint32_t dice = rng_below(&f->random, 5);
            if (dice < 2)
                continue;
            bool deleted = dice == 2;
            struct bz_mem_node *node = bz_memtable_node(table, map, key_of(i, key),
                deleted ? bz_bytes(NULL, 0) : value_of(map, i, n, value), deleted);
            bz_memtable_link(table, node, n);
            f->model.value[map][i] = deleted ? 0 : n;
        }
    }
    f->end.lsn = n;
    struct bz_tree *tree;
    assert_int_equal(bz_base_flush(&f->base, f->tree, table, &f->end, &tree, NULL), 0);
    assert_int_equal(tree->log.lsn, n);
    bz_memtable_release(table);
    take(f, tree);
}

/* Compacts until nothing is due. */
static uint32_t compact(struct fixture *f, enum bz_compaction_need need)
{
    struct bz_compaction c;
    uint32_t count = 0;
    while (bz_compaction_pick(&c, &f->base, f->tree, need) == 0) {
        struct bz_tree *tree;
        assert_int_equal(bz_compaction_run(&c, &f->base, &never, NULL), 0);
        assert_int_equal(bz_compaction_commit(&c, &f->base, f->tree, &tree, NULL), 0);
        bz_compaction_release(&c);
        take(f, tree);
        assert_true(++count < 1000);
    }
    return count;
}

static void check_gets(const struct fixture *f)
{
    for (uint32_t map = 0; map < MAPS; map++) {
        for (uint32_t i = 0; i < KEYS; i++) {
            uint8_t key[4], value[300];
            struct bz_bytes got;
            struct bz_block *pin = NULL;
            uint32_t n = f->model.value[map][i];
            int rc = bz_tree_get(f->tree, map, key_of(i, key), &got, &pin, NULL);
            assert_int_equal(rc, n == 0 ? BLAZE_ENOTFOUND : 0);
            if (n != 0)
                assert_true(bz_bytes_equal(got, value_of(map, i, n, value)));
            bz_block_unpin(pin);
        }
    }
}

/* The next key of the model from `i` on, or KEYS. */
static uint32_t next_in(const struct fixture *f, uint32_t map, uint32_t i)
{
    while (i < KEYS && f->model.value[map][i] == 0)
        i++;
    return i;
}

static void check_entry(const struct fixture *f, const struct bz_tree_iter *iter, uint32_t i)
{
    uint8_t key[4], value[300];
    const struct bz_write *entry = bz_tree_iter_entry(iter);
    assert_true(bz_bytes_equal(entry->key, key_of(i, key)));
    assert_true(
        bz_bytes_equal(entry->value, value_of(iter->map, i, f->model.value[iter->map][i], value)));
}

static void check_walks(struct fixture *f, uint32_t map)
{
    struct bz_tree_iter iter;
    assert_int_equal(bz_tree_iter_init_map(&iter, f->tree, map), 0);
    for (uint32_t round = 0; round < 20; round++) {
        uint8_t key[4];
        uint32_t at = rng_below(&f->random, KEYS);
        struct bz_table_key from = {map, key_of(at, key)};
        int rc = bz_tree_iter_seek(&iter, from, NULL);
        for (uint32_t i = next_in(f, map, at); i < KEYS; i = next_in(f, map, i + 1)) {
            assert_int_equal(rc, 0);
            check_entry(f, &iter, i);
            rc = bz_tree_iter_move(&iter, NULL);
        }
        assert_int_equal(rc, BLAZE_END);
        rc = bz_tree_iter_seek_back(&iter, from, NULL);
        for (uint32_t i = at + 1; i-- > 0;) {
            if (f->model.value[map][i] == 0)
                continue;
            assert_int_equal(rc, 0);
            check_entry(f, &iter, i);
            rc = bz_tree_iter_move(&iter, NULL);
        }
        assert_int_equal(rc, BLAZE_END);
    }
    bz_tree_iter_release(&iter);
}

static void check_all(struct fixture *f)
{
    check_gets(f);
    for (uint32_t map = 0; map < MAPS; map++)
        check_walks(f, map);
}

static void reload(struct fixture *f)
{
    struct bz_tree *tree;
    assert_int_equal(bz_base_load(&f->base, NULL, false, &tree, NULL), 0);
    assert_int_equal(tree->sequence, f->tree->sequence);
    take(f, tree);
}

static void run_history(const uint8_t *key)
{
    struct fixture f;
    open_base(&f, key);
    uint32_t compactions = 0;
    for (uint32_t n = 1; n <= 40; n++) {
        uint32_t a = rng_below(&f.random, KEYS), b = rng_below(&f.random, KEYS);
        flush(&f, n, a < b ? a : b, (a < b ? b : a) + 1);
        check_all(&f);
        if (rng_below(&f.random, 3) == 0)
            compactions += compact(&f, n % 2 == 0 ? BZ_COMPACT_NEEDED : BZ_COMPACT_WORTH_IT);
        if (rng_below(&f.random, 4) == 0)
            reload(&f);
        check_all(&f);
    }
    compact(&f, BZ_COMPACT_WORTH_IT);
    assert_true(compactions > 3 && f.tree->levels[2].count > 0);
    check_all(&f);
    close_base(&f);
}

static void the_tree_has_what_was_last_written_of_every_key(void **state)
{
    (void)state;
    run_history(NULL);
}

static void so_has_a_sealed_one(void **state)
{
    (void)state;
    run_history(sealing_key);
}

static void a_tree_that_was_all_deleted_is_empty_after_its_compaction(void **state)
{
    (void)state;
    struct fixture f;
    open_base(&f, NULL);
    for (uint32_t n = 1; n <= 3; n++)
        flush(&f, n, 0, KEYS);
    struct bz_memtable *table = bz_memtable_new(1u << 16);
    for (uint32_t map = 0; map < MAPS; map++) {
        for (uint32_t i = 0; i < KEYS; i++) {
            uint8_t key[4];
            bz_memtable_link(
                table, bz_memtable_node(table, map, key_of(i, key), bz_bytes(NULL, 0), true), 4);
            f.model.value[map][i] = 0;
        }
    }
    f.end.lsn = 4;
    struct bz_tree *tree;
    assert_int_equal(bz_base_flush(&f.base, f.tree, table, &f.end, &tree, NULL), 0);
    bz_memtable_release(table);
    take(&f, tree);
    check_all(&f);
    compact(&f, BZ_COMPACT_WORTH_IT);
    check_all(&f);
    assert_int_equal(bz_tree_bytes(f.tree), 0);
    close_base(&f);
}

/* Who reads keeps what he had, though its files are gone. */
static void an_older_tree_stays_readable(void **state)
{
    (void)state;
    struct fixture f;
    open_base(&f, NULL);
    for (uint32_t n = 1; n <= 4; n++)
        flush(&f, n, 0, KEYS);
    struct fixture older = f;
    bz_tree_retain(older.tree);
    assert_true(compact(&f, BZ_COMPACT_NEEDED) > 0);
    flush(&f, 5, 0, KEYS);
    check_all(&older);
    check_all(&f);
    bz_tree_release(older.tree);
    close_base(&f);
}

/* A checkpoint puts a table where a compaction is about to put its own. */
static void a_compaction_gives_way_to_a_checkpoint(void **state)
{
    (void)state;
    struct fixture f;
    open_base(&f, NULL);
    for (uint32_t n = 1; n <= 4; n++)
        flush(&f, n, 0, KEYS);
    struct bz_compaction c;
    struct bz_tree *tree;
    assert_int_equal(bz_compaction_pick(&c, &f.base, f.tree, BZ_COMPACT_NEEDED), 0);
    assert_int_equal(bz_compaction_run(&c, &f.base, &never, NULL), 0);
    compact(&f, BZ_COMPACT_NEEDED);
    assert_int_equal(bz_compaction_commit(&c, &f.base, f.tree, &tree, NULL), BLAZE_EBUSY);
    bz_compaction_release(&c);
    check_all(&f);
    reload(&f);
    check_all(&f);
    close_base(&f);
}

static void a_compaction_that_is_told_to_stop_leaves_nothing(void **state)
{
    (void)state;
    const atomic_bool stop = true;
    struct fixture f;
    struct bz_test_image image;
    open_base(&f, NULL);
    for (uint32_t n = 1; n <= 8; n++)
        flush(&f, n, 0, KEYS);
    bz_test_image_take(&image, dir.path);
    size_t files = image.count;
    bz_test_image_free(&image);
    struct bz_compaction c;
    assert_int_equal(bz_compaction_pick(&c, &f.base, f.tree, BZ_COMPACT_NEEDED), 0);
    int rc = bz_compaction_run(&c, &f.base, &stop, NULL);
    bz_compaction_release(&c);
    bz_test_image_take(&image, dir.path);
    if (rc == BLAZE_ECANCELED)
        assert_int_equal(image.count, files);
    else
        assert_int_equal(rc, 0); /* it was done before it looked */
    bz_test_image_free(&image);
    check_all(&f);
    close_base(&f);
}

static void a_flipped_byte_of_the_manifest_is_found(void **state)
{
    (void)state;
    for (int sealed = 0; sealed < 2; sealed++) {
        const uint8_t *key = sealed ? sealing_key : NULL;
        struct bz_manifest manifest, read;
        struct bz_buf bytes;
        bz_buf_init(&bytes, 1u << 16);
        bz_manifest_init(&manifest);
        manifest.sequence = 7;
        manifest.log = (struct bz_log_position){3, 64, 12, 99};
        bz_buf_append(&manifest.maps, "one", 4);
        assert_int_equal(bz_manifest_add(&manifest, &(struct bz_manifest_file){5, 300, 0}), 0);
        assert_int_equal(bz_manifest_add(&manifest, &(struct bz_manifest_file){6, 70000, 2}), 0);
        assert_int_equal(bz_manifest_encode(&manifest, key, &bytes), 0);
        bz_manifest_init(&read);
        assert_int_equal(bz_manifest_decode(&read, bz_buf_bytes(&bytes), "m", key, NULL), 0);
        assert_true(read.count == 2 && read.sequence == 7 && read.files[1].size == 70000);
        assert_true(bz_bytes_equal(bz_buf_bytes(&read.maps), bz_buf_bytes(&manifest.maps)));
        bz_manifest_release(&read);
        for (size_t at = 0; at < bytes.size; at++) {
            bytes.data[at] ^= 0x41;
            bz_manifest_init(&read);
            int rc = bz_manifest_decode(&read, bz_buf_bytes(&bytes), "m", key, NULL);
            assert_true(rc == BLAZE_ECORRUPT || rc == BLAZE_EVERSION);
            bz_manifest_release(&read);
            bytes.data[at] ^= 0x41;
        }
        for (size_t size = 0; size < bytes.size; size++) {
            bz_manifest_init(&read);
            int rc = bz_manifest_decode(&read, bz_bytes(bytes.data, size), "m", key, NULL);
            assert_int_equal(rc, BLAZE_ECORRUPT);
            bz_manifest_release(&read);
        }
        bz_manifest_release(&manifest);
        bz_buf_release(&bytes);
    }
}

static void what_a_crash_left_is_swept(void **state)
{
    (void)state;
    struct fixture f;
    struct bz_test_image image;
    open_base(&f, NULL);
    flush(&f, 1, 0, KEYS);
    char *path = bz_tree_table_path(f.base.tables_path, 0x1234);
    struct bz_file file;
    assert_int_equal(bz_file_open(&file, path, BZ_OPEN_WRITE | BZ_OPEN_CREATE, NULL), 0);
    bz_file_close(&file);
    bz_base_sweep(&f.base, f.tree);
    assert_false(bz_path_exists(path));
    bz_free(path);
    reload(&f);
    check_all(&f);
    bz_test_image_take(&image, dir.path);
    bz_test_image_free(&image);
    close_base(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tree_has_what_was_last_written_of_every_key),
        cmocka_unit_test(so_has_a_sealed_one),
        cmocka_unit_test(a_tree_that_was_all_deleted_is_empty_after_its_compaction),
        cmocka_unit_test(an_older_tree_stays_readable),
        cmocka_unit_test(a_compaction_gives_way_to_a_checkpoint),
        cmocka_unit_test(a_compaction_that_is_told_to_stop_leaves_nothing),
        cmocka_unit_test(a_flipped_byte_of_the_manifest_is_found),
        cmocka_unit_test(what_a_crash_left_is_swept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

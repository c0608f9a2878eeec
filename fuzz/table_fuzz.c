/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sorted table whose file is the input behind the first byte. With a first byte of 0 that is all;
 * otherwise its checksums are made right first, as far as the pieces can be told, so that what is
 * behind them is reached too.
 */
#include "require.h"
#include "store/table.h"
#include "store/table_guard.h"
#include "store/testing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define GUARD 8u /* a checksum */

static struct bz_test_dir dir;

static void remove_dir(void)
{
    bz_test_dir_remove(&dir);
}

static const char *table_path(void)
{
    static char path[128];
    if (dir.path[0] == '\0') {
        bz_test_dir_make(&dir);
        atexit(remove_dir);
    }
    snprintf(path, sizeof path, "%s/table", dir.path);
    return path;
}

static void write_file(const char *path, struct bz_bytes bytes)
{
    struct bz_file file;
    REQUIRE(bz_file_open(&file, path, BZ_OPEN_WRITE | BZ_OPEN_CREATE, NULL) == 0);
    REQUIRE(bz_file_truncate(&file, 0, NULL) == 0);
    REQUIRE(bz_file_write(&file, 0, bytes.data, bytes.size, NULL) == 0);
    bz_file_close(&file);
}

/* ---- making checksums right ---- */

static void repair_piece(
    struct bz_table_guard *guard, uint8_t *data, size_t size, uint64_t at, uint64_t piece)
{
    if (at + piece + GUARD <= size)
        REQUIRE(bz_table_guard_close(guard, at, data + at, (size_t)piece) == 0);
}

static void repair_blocks(
    struct bz_table_guard *guard, uint8_t *data, size_t size, const struct bz_table_index *index)
{
    for (uint32_t i = 0; i < index->count; i++) {
        uint32_t at = bz_table_index_block(index, i);
        uint32_t end = bz_table_index_block(index, i + 1);
        if (end - at >= GUARD)
            repair_piece(guard, data, size, at, end - at - GUARD);
    }
}

static void repair(uint8_t *data, size_t size)
{
    struct bz_table_header header = {.sealed = false};
    struct bz_table_guard guard;
    struct bz_table_footer footer;
    struct bz_table_index index;
    uint8_t bytes[BZ_TABLE_FOOTER + BZ_TABLE_GUARD_MAX];
    if (size < BZ_TABLE_HEADER + BZ_TABLE_FOOTER + GUARD)
        return;
    memcpy(header.salt, data + 16, sizeof header.salt);
    REQUIRE(bz_table_guard_init(&guard, &header, NULL) == 0);
    memcpy(data, guard.header, BZ_TABLE_HEADER);
    size_t at = size - BZ_TABLE_FOOTER - GUARD;
    memcpy(bytes, data + at, BZ_TABLE_FOOTER);
    REQUIRE(bz_table_guard_close_footer(&guard, at, bytes) == 0);
    memcpy(data + at, bytes, BZ_TABLE_FOOTER + GUARD);
    if (!bz_table_footer_decode(bytes, size, GUARD, &footer))
        return;
    repair_piece(&guard, data, size, footer.filter_at, footer.filter_size);
    repair_piece(&guard, data, size, footer.index_at, footer.index_size);
    if (bz_table_index_decode(
            bz_bytes(data + footer.index_at, footer.index_size), GUARD + 1, &index))
        repair_blocks(&guard, data, size, &index);
}

/* ---- reading ---- */

/* A key that was met. */
struct met {
    uint32_t map;
    size_t size;
    uint8_t key[BZ_TABLE_KEY_MAX];
};

static struct bz_table_key met_key(const struct met *met)
{
    return (struct bz_table_key){met->map, bz_bytes(met->key, met->size)};
}

/* What is walked over is in order, and got only as it is. */
static void meet(struct bz_table *table, const struct bz_write *entry, struct met *last, int order)
{
    struct bz_table_key key = {entry->map, entry->key};
    struct bz_bytes value;
    struct bz_block *pin;
    bool deleted;
    REQUIRE(last->size == 0 || bz_table_key_compare(key, met_key(last)) * order > 0);
    REQUIRE(entry->key.size >= 1 && entry->key.size < BZ_TABLE_KEY_MAX && entry->map <= 255);
    int rc = bz_table_get(table, entry->map, entry->key, &deleted, &value, &pin, NULL);
    if (rc == 0) {
        REQUIRE(deleted == entry->deleted && bz_bytes_equal(value, entry->value));
        bz_block_unpin(pin);
    } else {
        REQUIRE(rc == BLAZE_ENOTFOUND); /* as the filter may say */
    }
    last->map = entry->map;
    last->size = entry->key.size;
    memcpy(last->key, entry->key.data, entry->key.size);
}

static uint64_t walk(struct bz_table *table, bool forward)
{
    struct bz_table_iter iter;
    struct met last = {0};
    uint64_t entries = 0;
    bz_table_iter_init(&iter, table);
    int rc = forward ? bz_table_iter_first(&iter, NULL) : bz_table_iter_last(&iter, NULL);
    while (rc != BLAZE_END) {
        REQUIRE(rc == 0 || rc == BLAZE_ECORRUPT);
        if (rc == 0) {
            meet(table, &iter.entry, &last, forward ? 1 : -1);
            entries++;
        }
        rc = forward ? bz_table_iter_next(&iter, NULL) : bz_table_iter_prev(&iter, NULL);
    }
    bz_table_iter_release(&iter);
    return entries;
}

static void seek(struct bz_table *table, uint32_t map, struct bz_bytes key)
{
    struct bz_table_iter iter;
    struct bz_table_key wanted = {map, key};
    bz_table_iter_init(&iter, table);
    int rc = bz_table_iter_seek(&iter, map, key, NULL);
    if (rc == 0)
        REQUIRE(bz_table_key_compare(
                    (struct bz_table_key){iter.entry.map, iter.entry.key}, wanted) >= 0);
    rc = bz_table_iter_seek_back(&iter, map, key, NULL);
    if (rc == 0)
        REQUIRE(bz_table_key_compare(
                    (struct bz_table_key){iter.entry.map, iter.entry.key}, wanted) <= 0);
    bz_table_iter_release(&iter);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bz_table *table;
    if (size == 0)
        return 0;
    uint8_t *copy = malloc(size);
    REQUIRE(copy != NULL);
    memcpy(copy, data, size);
    if (data[0] != 0)
        repair(copy + 1, size - 1);
    write_file(table_path(), bz_bytes(copy + 1, size - 1));
    free(copy);
    int rc = bz_table_open(&table, table_path(), 0, NULL, NULL, NULL);
    REQUIRE(rc == 0 || rc == BLAZE_ECORRUPT || rc == BLAZE_EVERSION);
    if (rc != 0)
        return 0;
    uint64_t entries = walk(table, true);
    REQUIRE(walk(table, false) == entries);
    for (size_t at = 0; at + 8 < size && at < 400; at += 8)
        seek(table, data[at], bz_bytes(data + at + 1, 1 + data[at] % 7u));
    if (bz_table_verify(table, NULL, NULL, NULL) == 0) {
        struct bz_table_summary summary;
        bz_table_summary(table, &summary);
        REQUIRE(summary.entries == entries);
    }
    bz_table_release(table);
    return 0;
}

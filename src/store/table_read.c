/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Opening a table and looking up keys. What every read needs is at hand from the beginning: the
 * footer, the index and the filter, checked; of a table that is not sealed they are used where the
 * file is mapped. Blocks are checked when they are first read.
 */

#include "store/table_priv.h"

#include "base/alloc.h"

#include <inttypes.h>

/* ---- errors ---- */

static int damaged(const struct bz_table *table, const char *what, uint64_t at, blaze_error *error)
{
    if (table->guard.aead != NULL)
        return bz_error_set(error, BLAZE_ECORRUPT,
            "%s: the %s at offset %" PRIu64 " does not authenticate: damaged or tampered with",
            table->file.path, what, at);
    return bz_error_set(error, BLAZE_ECORRUPT, "%s: the %s at offset %" PRIu64 " is damaged",
        table->file.path, what, at);
}

int bz_table_damaged(const struct bz_table *table, uint32_t i, blaze_error *error)
{
    return damaged(table, "block", bz_table_index_block(&table->index, i), error);
}

/* ---- reading pieces of the file ---- */

/* `size` bytes at `at`, all of them. */
static int read_at(struct bz_table *table, uint64_t at, void *out, size_t size, const char *what,
    blaze_error *error)
{
    size_t got;
    int rc = bz_file_read(&table->file, at, out, size, &got, error);
    if (rc == 0 && got < size)
        rc = damaged(table, what, at, error);
    return rc;
}

/* A piece with its guard, checked, and opened in place. */
static int read_piece(struct bz_table *table, uint64_t at, uint8_t *out, size_t size,
    const char *what, blaze_error *error)
{
    int rc = read_at(table, at, out, size, what, error);
    if (rc != 0)
        return rc;
    if (bz_table_sealed(table))
        pthread_mutex_lock(&table->guard_lock);
    rc = bz_table_guard_open(&table->guard, at, out, size);
    if (bz_table_sealed(table))
        pthread_mutex_unlock(&table->guard_lock);
    if (rc == BLAZE_ECORRUPT)
        return damaged(table, what, at, error);
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

/* ---- blocks ---- */

static uint32_t block_size(const struct bz_table *table, uint32_t i)
{
    return bz_table_index_block(&table->index, i + 1) - bz_table_index_block(&table->index, i);
}

/* The block's bytes from the file, in `out`, which has room for it and its guard. */
static int read_block(struct bz_table *table, uint32_t i, uint8_t *out,
    struct bz_table_block_counts *counts, blaze_error *error)
{
    uint32_t size = block_size(table, i);
    uint32_t guard = bz_table_guard_size(bz_table_sealed(table));
    struct bz_bytes next = bz_bytes("", 0);
    int rc = read_piece(table, bz_table_index_block(&table->index, i), out, size, "block", error);
    if (rc != 0)
        return rc;
    if (i + 1 < table->index.count)
        next = bz_table_index_key(&table->index, i + 1);
    bool sound = bz_table_block_check(
        bz_bytes(out, size - guard), bz_table_index_key(&table->index, i), next, counts);
    return sound ? 0 : bz_table_damaged(table, i, error);
}

static bool is_verified(const struct bz_table *table, uint32_t i)
{
    return (atomic_load_explicit(&table->verified[i / 64], memory_order_acquire) >> (i % 64) & 1) !=
           0;
}

/* Reads the block through the file once: a medium that cannot deliver gives an error so, and not a
 * signal. */
static int verify(struct bz_table *table, uint32_t i, blaze_error *error)
{
    uint8_t small[2 * BZ_TABLE_BLOCK];
    uint32_t size = block_size(table, i);
    uint8_t *bytes = size <= sizeof small ? small : bz_malloc(size);
    if (bytes == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = read_block(table, i, bytes, NULL, error);
    if (bytes != small)
        bz_free(bytes);
    if (rc == 0)
        atomic_fetch_or_explicit(
            &table->verified[i / 64], (uint64_t)1 << (i % 64), memory_order_release);
    return rc;
}

static int load_sealed(struct bz_table *table, uint32_t i, struct bz_bytes *out,
    struct bz_block **pin, blaze_error *error)
{
    uint32_t size = block_size(table, i);
    struct bz_block *block = bz_block_cache_find(table->cache, &table->slots[i]);
    if (block == NULL) {
        block = bz_block_new(size);
        if (block == NULL)
            return bz_error_code(error, BLAZE_ENOMEM);
        int rc = read_block(table, i, bz_block_data(block), NULL, error);
        if (rc != 0) {
            bz_block_unpin(block);
            return rc;
        }
        block = bz_block_cache_add(table->cache, &table->slots[i], block);
    }
    *pin = block;
    *out = bz_bytes(bz_block_data(block), size - bz_table_guard_size(true));
    return 0;
}

int bz_table_load(struct bz_table *table, uint32_t i, struct bz_bytes *out, struct bz_block **pin,
    blaze_error *error)
{
    *pin = NULL;
    if (bz_table_sealed(table))
        return load_sealed(table, i, out, pin, error);
    int rc = is_verified(table, i) ? 0 : verify(table, i, error);
    if (rc == 0)
        *out = bz_bytes(table->mapped + bz_table_index_block(&table->index, i),
            block_size(table, i) - bz_table_guard_size(false));
    return rc;
}

/* ---- opening ---- */

static int check_sealing(
    const struct bz_table *table, bool sealed, const uint8_t *key, blaze_error *error)
{
    if (sealed == (key != NULL))
        return 0;
    return bz_error_set(error, BLAZE_ECORRUPT, "%s: %s", table->file.path,
        sealed ? "is sealed, but the database is not" : "is not sealed, but the database is");
}

static int read_header(struct bz_table *table, const uint8_t *key, blaze_error *error)
{
    uint8_t bytes[BZ_TABLE_HEADER];
    struct bz_table_header header;
    int rc = read_at(table, 0, bytes, sizeof bytes, "header", error);
    if (rc != 0)
        return rc;
    rc = bz_table_header_decode(bytes, &header);
    if (rc == BLAZE_EVERSION)
        return bz_error_set(error, rc, "%s: written by a newer version", table->file.path);
    if (rc != 0)
        return damaged(table, "header", 0, error);
    rc = check_sealing(table, header.sealed, key, error);
    if (rc == 0 && (rc = bz_table_guard_init(&table->guard, &header, key)) != 0)
        bz_error_code(error, rc);
    return rc;
}

static int read_footer(struct bz_table *table, blaze_error *error)
{
    uint8_t bytes[BZ_TABLE_FOOTER + BZ_TABLE_GUARD_MAX];
    uint32_t guard = bz_table_guard_size(bz_table_sealed(table));
    uint64_t size = BZ_TABLE_FOOTER + guard;
    if (table->summary.size < BZ_TABLE_HEADER + size)
        return damaged(table, "footer", BZ_TABLE_HEADER, error);
    uint64_t at = table->summary.size - size;
    int rc = read_at(table, at, bytes, (size_t)size, "footer", error);
    if (rc != 0)
        return rc;
    rc = bz_table_guard_open_footer(&table->guard, at, bytes);
    if (rc != 0 && rc != BLAZE_ECORRUPT)
        return bz_error_code(error, rc);
    if (rc != 0 || !bz_table_footer_decode(bytes, table->summary.size, guard, &table->footer))
        return damaged(table, "footer", at, error);
    table->summary.entries = table->footer.entries;
    table->summary.deletes = table->footer.deletes;
    return 0;
}

/* Reads filter and index, into memory of their own: checked there, and used there if sealed. */
static int read_tail(struct bz_table *table, uint8_t **filter, uint8_t **index, blaze_error *error)
{
    const struct bz_table_footer *footer = &table->footer;
    uint32_t guard = bz_table_guard_size(bz_table_sealed(table));
    size_t filter_size = (size_t)footer->filter_size + guard;
    size_t index_size = (size_t)footer->index_size + guard;
    /* The filter first, its lines where the processor has its own. */
    size_t room = (filter_size + BZ_TABLE_LINE) & ~(size_t)(BZ_TABLE_LINE - 1);
    table->tail = bz_malloc(room + index_size + BZ_TABLE_LINE);
    if (table->tail == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    uint8_t *aligned = table->tail + (-(uintptr_t)table->tail & (BZ_TABLE_LINE - 1));
    *filter = aligned;
    *index = aligned + room;
    int rc = read_piece(table, footer->filter_at, *filter, filter_size, "filter", error);
    return rc != 0 ? rc : read_piece(table, footer->index_at, *index, index_size, "index", error);
}

static int open_tail(struct bz_table *table, blaze_error *error)
{
    const struct bz_table_footer *footer = &table->footer;
    uint32_t least = bz_table_guard_size(bz_table_sealed(table)) + 1;
    uint8_t *filter, *index;
    int rc = read_tail(table, &filter, &index, error);
    if (rc != 0)
        return rc;
    if (!bz_table_sealed(table)) {
        filter = (uint8_t *)(uintptr_t)table->mapped + footer->filter_at;
        index = (uint8_t *)(uintptr_t)table->mapped + footer->index_at;
        bz_free(table->tail);
        table->tail = NULL;
    }
    if (!bz_table_filter_decode(bz_bytes(filter, footer->filter_size), &table->filter))
        return damaged(table, "filter", footer->filter_at, error);
    if (!bz_table_index_decode(bz_bytes(index, footer->index_size), least, &table->index) ||
        bz_table_index_block(&table->index, 0) != BZ_TABLE_HEADER ||
        bz_table_index_block(&table->index, table->index.count) > footer->filter_at)
        return damaged(table, "index", footer->index_at, error);
    return 0;
}

static int prepare_blocks(struct bz_table *table, blaze_error *error)
{
    size_t count = table->index.count;
    if (bz_table_sealed(table))
        table->slots = bz_zalloc(count * sizeof *table->slots);
    else
        table->verified = bz_zalloc((count + 63) / 64 * sizeof *table->verified);
    return table->slots != NULL || table->verified != NULL ? 0 : bz_error_code(error, BLAZE_ENOMEM);
}

static int open_file(struct bz_table *table, uint64_t size, blaze_error *error)
{
    int rc = bz_file_size(&table->file, &table->summary.size, error);
    if (rc == 0 && size != 0 && table->summary.size != size)
        return bz_error_set(error, BLAZE_ECORRUPT, "%s: has %" PRIu64 " bytes instead of %" PRIu64,
            table->file.path, table->summary.size, size);
    return rc;
}

static int map_file(struct bz_table *table, blaze_error *error)
{
    void *mapped;
    int rc = bz_file_map(&table->file, (size_t)table->summary.size, false, &mapped, error);
    if (rc == 0)
        table->mapped = mapped;
    return rc;
}

int bz_table_open(struct bz_table **out, const char *path, uint64_t size, const uint8_t *key,
    struct bz_block_cache *cache, blaze_error *error)
{
    struct bz_table *table = bz_zalloc(sizeof *table);
    if (table == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    atomic_init(&table->refs, 1);
    pthread_mutex_init(&table->guard_lock, NULL);
    table->file.fd = -1;
    table->cache = cache;
    int rc = bz_file_open(&table->file, path, BZ_OPEN_READ, error);
    if (rc == 0)
        rc = open_file(table, size, error);
    if (rc == 0)
        rc = read_header(table, key, error);
    if (rc == 0)
        rc = read_footer(table, error);
    if (rc == 0 && !bz_table_sealed(table))
        rc = map_file(table, error);
    if (rc == 0)
        rc = open_tail(table, error);
    if (rc == 0)
        rc = prepare_blocks(table, error);
    if (rc != 0) {
        bz_table_release(table);
        return rc;
    }
    *out = table;
    return 0;
}

struct bz_table *bz_table_retain(struct bz_table *table)
{
    atomic_fetch_add_explicit(&table->refs, 1, memory_order_relaxed);
    return table;
}

void bz_table_release(struct bz_table *table)
{
    if (table == NULL || atomic_fetch_sub_explicit(&table->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; table->slots != NULL && i < table->index.count; i++)
        bz_block_cache_drop(table->cache, &table->slots[i]);
    if (table->mapped != NULL)
        bz_file_unmap((void *)(uintptr_t)table->mapped, (size_t)table->summary.size);
    bz_free(table->slots);
    bz_free(table->verified);
    bz_free(table->tail);
    bz_table_guard_release(&table->guard);
    bz_file_close(&table->file);
    pthread_mutex_destroy(&table->guard_lock);
    bz_free(table);
}

/* ---- what it is ---- */

const char *bz_table_path(const struct bz_table *table)
{
    return table->file.path;
}

void bz_table_summary(const struct bz_table *table, struct bz_table_summary *out)
{
    *out = table->summary;
}

static struct bz_table_key split(struct bz_bytes whole)
{
    return (struct bz_table_key){whole.data[0], bz_bytes(whole.data + 1, whole.size - 1)};
}

struct bz_table_key bz_table_first(const struct bz_table *table)
{
    return split(bz_table_index_key(&table->index, 0));
}

struct bz_table_key bz_table_last(const struct bz_table *table)
{
    return split(bz_table_index_key(&table->index, table->index.count));
}

int bz_table_key_compare(struct bz_table_key a, struct bz_table_key b)
{
    if (a.map != b.map)
        return a.map < b.map ? -1 : 1;
    return bz_bytes_compare(a.key, b.key);
}

/* ---- looking up ---- */

int bz_table_get(struct bz_table *table, uint32_t map, struct bz_bytes key, bool *deleted,
    struct bz_bytes *value, struct bz_block **pin, blaze_error *error)
{
    struct bz_table_target target;
    struct bz_bytes block;
    bz_table_target_set(&target, map, key);
    *pin = NULL;
    if (!bz_table_filter_has(&table->filter, bz_table_filter_hash(target.bytes, target.size)))
        return BLAZE_ENOTFOUND;
    uint32_t at = bz_table_index_find(&table->index, &target);
    if (at == 0)
        return BLAZE_ENOTFOUND;
    int rc = bz_table_load(table, at - 1, &block, pin, error);
    if (rc != 0)
        return rc;
    rc = bz_table_block_get(block, &target, deleted, value);
    if (rc == 0)
        return 0;
    bz_block_unpin(*pin);
    *pin = NULL;
    return rc == BLAZE_ECORRUPT ? bz_table_damaged(table, at - 1, error) : rc;
}

/* ---- checking all ---- */

static int verify_block(struct bz_table *table, uint32_t i, struct bz_buf *room,
    struct bz_table_block_counts *counts, blaze_error *error)
{
    bz_buf_clear(room);
    uint8_t *bytes = bz_buf_reserve(room, block_size(table, i));
    return bytes == NULL ? bz_error_code(error, room->error)
                         : read_block(table, i, bytes, counts, error);
}

/* What is held of the file besides: header, footer, filter and index as they are on the disk now.
 */
static int verify_frame(struct bz_table *table, blaze_error *error)
{
    struct bz_table again = {.file = table->file,
        .summary = table->summary,
        .guard = table->guard,
        .footer = table->footer};
    uint8_t header[BZ_TABLE_HEADER], *filter, *index;
    pthread_mutex_init(&again.guard_lock, NULL);
    int rc = read_at(table, 0, header, sizeof header, "header", error);
    if (rc == 0 && memcmp(header, table->guard.header, sizeof header) != 0)
        rc = damaged(table, "header", 0, error);
    if (rc == 0)
        rc = read_footer(&again, error);
    if (rc == 0)
        rc = read_tail(&again, &filter, &index, error);
    bz_free(again.tail);
    pthread_mutex_destroy(&again.guard_lock);
    return rc;
}

int bz_table_verify(struct bz_table *table, void (*each)(void *context, const char *problem),
    void *context, blaze_error *error)
{
    struct bz_table_block_counts counts = {0};
    struct bz_buf room;
    int first = 0;
    bz_buf_init(&room, UINT32_MAX);
    for (uint32_t i = 0; i <= table->index.count; i++) {
        blaze_error detail;
        int rc = i == 0 ? verify_frame(table, &detail)
                        : verify_block(table, i - 1, &room, &counts, &detail);
        if (rc != 0 && each != NULL)
            each(context, detail.text);
        if (rc != 0 && first == 0)
            first = bz_error_set(error, rc, "%s", detail.text);
    }
    if (first == 0 &&
        (counts.entries != table->footer.entries || counts.deletes != table->footer.deletes)) {
        first = bz_error_set(
            error, BLAZE_ECORRUPT, "%s: has not the entries that it says", table->file.path);
        if (each != NULL)
            each(context, "a table has not the entries that it says");
    }
    bz_buf_release(&room);
    return first;
}

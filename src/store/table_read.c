/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Opening a table, and finding in it: the filter says nearly always when a key is not there, the
 * index names the one block where it can be.
 *
 * A block is checked, by its guard and entry by entry, before anything of it is used: in a table
 * that is not sealed once, when it is first needed, through read() and in memory of its own; then
 * its bit in `verified` says that the map may be used. A sealed block whenever it comes from the
 * file to the cache.
 */

#include "store/table_priv.h"

#include "base/alloc.h"

#include <assert.h>
#include <inttypes.h>

/* ---- words for what is wrong ---- */

static int damaged(
    const struct bz_table *table, const char *what, uint64_t offset, blaze_error *error)
{
    return bz_error_set(error, BLAZE_ECORRUPT, "%s: the %s at offset %" PRIu64 " %s",
        table->file.path, what, offset,
        bz_table_sealed(table) ? "does not authenticate: damaged or tampered with" : "is damaged");
}

/* What has the right guard and still makes no sense. */
static int malformed(
    const struct bz_table *table, const char *what, uint64_t offset, blaze_error *error)
{
    return bz_error_set(error, BLAZE_ECORRUPT, "%s: the %s at offset %" PRIu64 " is malformed",
        table->file.path, what, offset);
}

int bz_table_malformed(const struct bz_table *table, uint32_t i, blaze_error *error)
{
    return malformed(table, "block", bz_table_index_block(&table->index, i), error);
}

/* ---- pieces of the file ---- */

/* Reads just `size` bytes; where the file ends before, the piece is damaged. */
static int read_exactly(struct bz_table *table, const char *what, uint64_t offset, uint8_t *out,
    size_t size, blaze_error *error)
{
    size_t got;
    int rc = bz_file_read(&table->file, offset, out, size, &got, error);
    if (rc != 0)
        return rc;
    return got == size ? 0 : damaged(table, what, offset, error);
}

/* Checks piece and guard, which were read to `data`, and opens the piece there if it is sealed. */
static int open_piece(struct bz_table *table, const char *what, uint64_t offset, uint8_t *data,
    size_t size, blaze_error *error)
{
    bool sealed = bz_table_sealed(table);
    if (sealed)
        pthread_mutex_lock(&table->guard_lock);
    int rc = bz_table_guard_open(&table->guard, offset, data, size);
    if (sealed)
        pthread_mutex_unlock(&table->guard_lock);
    if (rc == BLAZE_ECORRUPT)
        return damaged(table, what, offset, error);
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

static int read_header(struct bz_table *table, const uint8_t *key, blaze_error *error)
{
    uint8_t bytes[BZ_TABLE_HEADER];
    struct bz_table_header header;
    int rc = read_exactly(table, "header", 0, bytes, sizeof bytes, error);
    if (rc != 0)
        return rc;
    rc = bz_table_header_decode(bytes, &header);
    if (rc == BLAZE_EVERSION)
        return bz_error_set(error, rc, "%s: written by a newer version", table->file.path);
    if (rc != 0)
        return damaged(table, "header", 0, error);
    if (header.sealed != (key != NULL))
        return bz_error_set(error, BLAZE_ECORRUPT,
            header.sealed ? "%s: is sealed, but the database is not"
                          : "%s: is not sealed, but the database is",
            table->file.path);
    rc = bz_table_guard_init(&table->guard, &header, key);
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

static int read_footer(
    struct bz_table *table, uint64_t size, struct bz_table_footer *out, blaze_error *error)
{
    uint8_t bytes[BZ_TABLE_FOOTER + BZ_TABLE_GUARD_MAX];
    uint32_t guard = bz_table_guard_size(bz_table_sealed(table));
    if (size > UINT32_MAX || size < BZ_TABLE_HEADER + BZ_TABLE_FOOTER + guard)
        return bz_error_set(error, BLAZE_ECORRUPT, "%s: has %" PRIu64 " bytes, which no table has",
            table->file.path, size);
    uint64_t offset = size - BZ_TABLE_FOOTER - guard;
    int rc = read_exactly(table, "footer", offset, bytes, BZ_TABLE_FOOTER + guard, error);
    if (rc != 0)
        return rc;
    rc = bz_table_guard_open_footer(&table->guard, offset, bytes);
    if (rc == BLAZE_ECORRUPT)
        return damaged(table, "footer", offset, error);
    if (rc != 0)
        return bz_error_code(error, rc);
    if (!bz_table_footer_decode(bytes, size, guard, out))
        return malformed(table, "footer", offset, error);
    return 0;
}

/* Reads filter and index, with their guards, to new memory in *out, and checks these. Two lines
 * stand before the filter, which begins at a line. */
#define TAIL_LEAD (2 * (size_t)BZ_TABLE_LINE)

static uint8_t *filter_of(uint8_t *tail)
{
    uintptr_t at = (uintptr_t)tail + TAIL_LEAD;
    return tail + (TAIL_LEAD - at % BZ_TABLE_LINE);
}

static int read_tail(
    struct bz_table *table, const struct bz_table_footer *footer, uint8_t **out, blaze_error *error)
{
    uint32_t guard = bz_table_guard_size(bz_table_sealed(table));
    size_t filter_size = (size_t)footer->filter_size + guard;
    size_t index_size = (size_t)footer->index_size + guard;
    uint8_t *tail = bz_malloc(TAIL_LEAD + filter_size + index_size);
    if (tail == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    uint8_t *filter = filter_of(tail);
    /* The line before holds the end of the blocks and the zeroes between. */
    int rc = read_exactly(table, "filter", footer->filter_at - BZ_TABLE_LINE,
        filter - BZ_TABLE_LINE, BZ_TABLE_LINE + filter_size + index_size, error);
    if (rc == 0)
        rc = open_piece(table, "filter", footer->filter_at, filter, filter_size, error);
    if (rc == 0)
        rc = open_piece(table, "index", footer->index_at, filter + filter_size, index_size, error);
    if (rc != 0) {
        bz_free(tail);
        return rc;
    }
    *out = tail;
    return 0;
}

/* Whether zeroes lie between the last block and the filter, whose place in memory is given. */
static bool check_gap(
    const struct bz_table *table, const struct bz_table_footer *footer, const uint8_t *filter)
{
    uint64_t end = bz_table_index_block(&table->index, table->index.count);
    if (end > footer->filter_at || footer->filter_at - end >= BZ_TABLE_LINE)
        return false;
    unsigned set = 0;
    for (size_t i = 1; i <= footer->filter_at - end; i++)
        set |= filter[-(ptrdiff_t)i];
    return set == 0;
}

/* ---- opening ---- */

/* Takes filter and index from where they stay, with the line before the filter. */
static int use_tail(struct bz_table *table, const uint8_t *filter, blaze_error *error)
{
    const struct bz_table_footer *footer = &table->footer;
    uint32_t guard = bz_table_guard_size(bz_table_sealed(table));
    const uint8_t *index = filter + (footer->index_at - footer->filter_at);
    if (!bz_table_filter_decode(bz_bytes(filter, footer->filter_size), &table->filter))
        return malformed(table, "filter", footer->filter_at, error);
    if (!bz_table_index_decode(bz_bytes(index, footer->index_size), guard + 1, &table->index) ||
        footer->entries < table->index.count)
        return malformed(table, "index", footer->index_at, error);
    if (!check_gap(table, footer, filter))
        return malformed(table, "gap before the filter", footer->filter_at, error);
    return 0;
}

static int open_mapped(struct bz_table *table, blaze_error *error)
{
    void *mapped;
    int rc = bz_file_map(&table->file, (size_t)table->summary.size, false, &mapped, error);
    if (rc != 0)
        return rc;
    table->mapped = mapped;
    rc = use_tail(table, table->mapped + table->footer.filter_at, error);
    if (rc != 0)
        return rc;
    table->verified = bz_zalloc((table->index.count / 64 + 1) * sizeof *table->verified);
    return table->verified != NULL ? 0 : bz_error_code(error, BLAZE_ENOMEM);
}

static int open_sealed(struct bz_table *table, uint8_t *tail, blaze_error *error)
{
    table->tail = tail;
    int rc = use_tail(table, filter_of(tail), error);
    if (rc != 0)
        return rc;
    table->slots = bz_zalloc(table->index.count * sizeof *table->slots);
    return table->slots != NULL ? 0 : bz_error_code(error, BLAZE_ENOMEM);
}

static int open_table(struct bz_table *table, uint64_t size, const uint8_t *key, blaze_error *error)
{
    uint8_t *tail;
    uint64_t got;
    int rc = bz_file_size(&table->file, &got, error);
    if (rc != 0)
        return rc;
    if (size != 0 && got != size)
        return bz_error_set(error, BLAZE_ECORRUPT, "%s: has %" PRIu64 " bytes instead of %" PRIu64,
            table->file.path, got, size);
    rc = read_header(table, key, error);
    if (rc == 0)
        rc = read_footer(table, got, &table->footer, error);
    if (rc == 0)
        rc = read_tail(table, &table->footer, &tail, error);
    if (rc != 0)
        return rc;
    table->summary = (struct bz_table_summary){got, table->footer.entries, table->footer.deletes};
    if (bz_table_sealed(table))
        return open_sealed(table, tail, error);
    bz_free(tail); /* checked; what the map has is used */
    return open_mapped(table, error);
}

int bz_table_open(struct bz_table **out, const char *path, uint64_t size, const uint8_t *key,
    struct bz_block_cache *cache, blaze_error *error)
{
    assert(key == NULL || cache != NULL);
    struct bz_table *table = bz_zalloc(sizeof *table);
    if (table == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    atomic_init(&table->refs, 1);
    pthread_mutex_init(&table->guard_lock, NULL);
    table->file.fd = -1;
    table->cache = cache;
    int rc = bz_file_open(&table->file, path, BZ_OPEN_READ, error);
    if (rc == 0)
        rc = open_table(table, size, key, error);
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
    bz_free(table->tail);
    bz_free(table->verified);
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

static struct bz_table_key split(struct bz_bytes key)
{
    return (struct bz_table_key){key.data[0], bz_bytes(key.data + 1, key.size - 1)};
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
    return a.map != b.map ? (a.map > b.map) - (a.map < b.map) : bz_bytes_compare(a.key, b.key);
}

/* ---- blocks ---- */

static uint32_t block_size(const struct bz_table *table, uint32_t i)
{
    return bz_table_index_block(&table->index, i + 1) - bz_table_index_block(&table->index, i);
}

static uint32_t content_size(const struct bz_table *table, uint32_t i)
{
    return block_size(table, i) - bz_table_guard_size(bz_table_sealed(table));
}

/* Reads block `i`, which has `size` bytes with its guard, to `memory`, opens and checks it. */
static int read_block(struct bz_table *table, uint32_t i, uint8_t *memory,
    struct bz_table_block_counts *counts, blaze_error *error)
{
    uint32_t offset = bz_table_index_block(&table->index, i);
    uint32_t size = block_size(table, i);
    int rc = read_exactly(table, "block", offset, memory, size, error);
    if (rc == 0)
        rc = open_piece(table, "block", offset, memory, size, error);
    if (rc != 0)
        return rc;
    struct bz_bytes content = bz_bytes(memory, content_size(table, i));
    if (!bz_table_block_check(&table->index, i, content, counts))
        return malformed(table, "block", offset, error);
    return 0;
}

/* The same in memory that is then given up. */
static int check_block(
    struct bz_table *table, uint32_t i, struct bz_table_block_counts *counts, blaze_error *error)
{
    uint8_t usual[BZ_TABLE_BLOCK + BZ_TABLE_GUARD_MAX];
    uint32_t size = block_size(table, i);
    uint8_t *memory = size <= sizeof usual ? usual : bz_malloc(size);
    if (memory == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = read_block(table, i, memory, counts, error);
    if (memory != usual)
        bz_free(memory);
    return rc;
}

/* Checks a block of the map for the first time. Another thread may do the same. */
static int verify_mapped(struct bz_table *table, uint32_t i, blaze_error *error)
{
    int rc = check_block(table, i, NULL, error);
    if (rc == 0)
        atomic_fetch_or_explicit(
            &table->verified[i / 64], (uint64_t)1 << (i % 64), memory_order_relaxed);
    return rc;
}

static int load_sealed(struct bz_table *table, uint32_t i, struct bz_bytes *out,
    struct bz_block **pin, blaze_error *error)
{
    struct bz_block *block = bz_block_cache_find(table->cache, &table->slots[i]);
    if (block == NULL) {
        block = bz_block_new(block_size(table, i));
        if (block == NULL)
            return bz_error_code(error, BLAZE_ENOMEM);
        int rc = read_block(table, i, bz_block_data(block), NULL, error);
        if (rc != 0) {
            bz_block_unpin(block);
            return rc;
        }
        block = bz_block_cache_add(table->cache, &table->slots[i], block);
    }
    *out = bz_bytes(bz_block_data(block), content_size(table, i));
    *pin = block;
    return 0;
}

int bz_table_load(struct bz_table *table, uint32_t i, struct bz_bytes *out, struct bz_block **pin,
    blaze_error *error)
{
    if (bz_table_sealed(table))
        return load_sealed(table, i, out, pin, error);
    const uint8_t *content = table->mapped + bz_table_index_block(&table->index, i);
    for (size_t line = 0; line < 8; line++) /* most of the keys, while the bit comes */
        __builtin_prefetch(content + BZ_TABLE_LINE * line);
    uint64_t bits = atomic_load_explicit(&table->verified[i / 64], memory_order_relaxed);
    if ((bits >> (i % 64) & 1) == 0) {
        int rc = verify_mapped(table, i, error);
        if (rc != 0)
            return rc;
    }
    *out = bz_bytes(content, content_size(table, i));
    *pin = NULL;
    return 0;
}

/* ---- finding ---- */

int bz_table_get(struct bz_table *table, uint32_t map, struct bz_bytes key, bool *deleted,
    struct bz_bytes *value, struct bz_block **pin, blaze_error *error)
{
    struct bz_table_target target;
    struct bz_bytes content;
    struct bz_block *block;
    if (map > UINT8_MAX)
        return BLAZE_ENOTFOUND;
    bz_table_target_set(&target, map, key);
    uint64_t hash = bz_table_filter_hash(target.bytes, target.size);
    bz_table_filter_expect(&table->filter, hash); /* the index is searched meanwhile */
    uint32_t before = bz_table_index_find(&table->index, &target);
    if (before == 0 || !bz_table_filter_has(&table->filter, hash))
        return BLAZE_ENOTFOUND;
    int rc = bz_table_load(table, before - 1, &content, &block, error);
    if (rc != 0)
        return rc;
    rc = bz_table_block_get(content, &target, deleted, value);
    if (rc != 0) {
        bz_block_unpin(block);
        return rc == BLAZE_ECORRUPT ? bz_table_malformed(table, before - 1, error) : rc;
    }
    *pin = block;
    return 0;
}

/* ---- verifying ---- */

/* What is found to be wrong, and who is told. */
struct findings {
    void (*each)(void *context, const char *problem);
    void *context;
    int rc;
};

/* Notes what a check gave: a file that cannot be read is damaged too. Others end the search. */
static int note(struct findings *findings, int rc, const blaze_error *problem, blaze_error *error)
{
    if (rc == 0)
        return 0;
    if (rc != BLAZE_ECORRUPT && rc != BLAZE_EIO)
        return bz_error_set(error, rc, "%s", problem->text);
    if (findings->each != NULL)
        findings->each(findings->context, problem->text);
    if (findings->rc == 0)
        findings->rc = bz_error_set(error, BLAZE_ECORRUPT, "%s", problem->text);
    return 0;
}

/* All but the blocks, once more. */
static int check_frame(struct bz_table *table, blaze_error *error)
{
    uint8_t header[BZ_TABLE_HEADER];
    struct bz_table_footer footer;
    uint8_t *tail;
    int rc = read_exactly(table, "header", 0, header, sizeof header, error);
    if (rc == 0 && memcmp(header, table->guard.header, sizeof header) != 0)
        rc = damaged(table, "header", 0, error);
    if (rc == 0)
        rc = read_footer(table, table->summary.size, &footer, error);
    if (rc == 0)
        rc = read_tail(table, &footer, &tail, error);
    if (rc != 0)
        return rc;
    if (!check_gap(table, &footer, filter_of(tail)))
        rc = malformed(table, "gap before the filter", footer.filter_at, error);
    bz_free(tail);
    return rc;
}

int bz_table_verify(struct bz_table *table, void (*each)(void *context, const char *problem),
    void *context, blaze_error *error)
{
    struct findings findings = {each, context, 0};
    struct bz_table_block_counts counts = {0};
    blaze_error problem;
    int rc = note(&findings, check_frame(table, &problem), &problem, error);
    for (uint32_t i = 0; rc == 0 && i < table->index.count; i++)
        rc = note(&findings, check_block(table, i, &counts, &problem), &problem, error);
    if (rc == 0 && findings.rc == 0 &&
        (counts.entries != table->summary.entries || counts.deletes != table->summary.deletes)) {
        bz_error_set(&problem, BLAZE_ECORRUPT, "%s: has not the number of entries that it should",
            table->file.path);
        rc = note(&findings, BLAZE_ECORRUPT, &problem, error);
    }
    return rc != 0 ? rc : findings.rc;
}

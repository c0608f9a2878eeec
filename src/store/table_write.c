/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Writing a table: from front to back, each byte once, a mebibyte at a time. Kept until the end are
 * 8 bytes for each entry, from which the filter is made, and the index.
 *
 * The system is told to write what it has every few mebibytes: a sync of the whole file at once
 * would hold up the syncs of the log beside it.
 */

#include "store/table.h"

#include "base/alloc.h"
#include "os/os.h"
#include "store/table_guard.h"

#include <assert.h>

#define WRITE_BYTES  (1u << 20)
#define BEHIND_BYTES (4u << 20)

struct bz_table_writer {
    struct bz_file file;
    struct bz_table_guard guard;
    struct bz_buf out; /* what is not written out yet */
    uint64_t written;  /* where it belongs */
    uint64_t behind;   /* up to here the system was told to write */
    struct bz_table_builder builder;
    struct bz_table_index_parts index;
    struct bz_buf hashes; /* of all keys, for the filter */
    struct bz_table_summary summary;
    int failed;
};

static uint64_t position(const struct bz_table_writer *writer)
{
    return writer->written + writer->out.size;
}

/* ---- opening, giving up ---- */

static void writer_free(struct bz_table_writer *writer)
{
    bz_file_close(&writer->file);
    bz_table_guard_release(&writer->guard);
    bz_table_builder_release(&writer->builder);
    bz_buf_release(&writer->out);
    bz_buf_release(&writer->index.blocks);
    bz_buf_release(&writer->index.ends);
    bz_buf_release(&writer->index.keys);
    bz_buf_release(&writer->hashes);
    bz_free(writer);
}

static struct bz_table_writer *writer_new(void)
{
    struct bz_table_writer *writer = bz_zalloc(sizeof *writer);
    if (writer == NULL)
        return NULL;
    writer->file.fd = -1;
    bz_table_builder_init(&writer->builder);
    bz_buf_init(&writer->out, UINT32_MAX);
    bz_buf_init(&writer->index.blocks, UINT32_MAX);
    bz_buf_init(&writer->index.ends, UINT32_MAX);
    bz_buf_init(&writer->index.keys, UINT32_MAX);
    bz_buf_init(&writer->hashes, SIZE_MAX / 2);
    return writer;
}

void bz_table_writer_abort(struct bz_table_writer *writer)
{
    if (writer == NULL)
        return;
    if (writer->file.path != NULL)
        bz_path_remove(writer->file.path, NULL);
    writer_free(writer);
}

static int begin(struct bz_table_writer *writer, const uint8_t *key, blaze_error *error)
{
    struct bz_table_header header = {.sealed = key != NULL};
    int rc = bz_file_truncate(&writer->file, 0, error);
    if (rc != 0)
        return rc;
    rc = bz_os_entropy(header.salt, sizeof header.salt);
    if (rc != 0)
        return bz_error_set(error, rc, "the system's random generator failed");
    rc = bz_table_guard_init(&writer->guard, &header, key);
    bz_buf_append(&writer->out, writer->guard.header, BZ_TABLE_HEADER);
    if (rc == 0)
        rc = writer->out.error;
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

int bz_table_writer_open(
    struct bz_table_writer **out, const char *path, const uint8_t *key, blaze_error *error)
{
    struct bz_table_writer *writer = writer_new();
    if (writer == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = bz_file_open(&writer->file, path, BZ_OPEN_WRITE | BZ_OPEN_CREATE, error);
    if (rc == 0)
        rc = begin(writer, key, error);
    if (rc != 0) {
        bz_table_writer_abort(writer);
        return rc;
    }
    *out = writer;
    return 0;
}

/* ---- pieces ---- */

static int flush(struct bz_table_writer *writer, blaze_error *error)
{
    struct bz_buf *out = &writer->out;
    int rc = bz_file_write(&writer->file, writer->written, out->data, out->size, error);
    if (rc != 0)
        return rc;
    writer->written += out->size;
    bz_buf_clear(out);
    if (out->capacity > 2 * WRITE_BYTES)
        bz_buf_release(out);
    if (writer->written - writer->behind >= BEHIND_BYTES) {
        bz_file_write_behind(&writer->file, writer->behind, writer->written - writer->behind);
        writer->behind = writer->written;
    }
    return 0;
}

static int check_size(const struct bz_table_writer *writer, uint64_t more, blaze_error *error)
{
    if (position(writer) + more <= UINT32_MAX)
        return 0;
    return bz_error_set(error, BLAZE_ELIMIT, "%s: a table has less than 4 GiB", writer->file.path);
}

/* Ends the piece that began at `start`, and for which `out` may have failed. */
static int end_piece(struct bz_table_writer *writer, uint64_t start, blaze_error *error)
{
    struct bz_buf *out = &writer->out;
    bz_buf_reserve(out, BZ_TABLE_GUARD_MAX);
    if (out->error != 0)
        return bz_error_code(error, out->error);
    uint8_t *data = out->data + (start - writer->written);
    int rc = bz_table_guard_close(&writer->guard, start, data, (size_t)(position(writer) - start));
    if (rc != 0)
        return bz_error_code(error, rc);
    bz_buf_advance(out, bz_table_guard_size(writer->guard.aead != NULL));
    return out->size >= WRITE_BYTES ? flush(writer, error) : 0;
}

/* ---- entries ---- */

/* Notes the block that begins with this key. */
static int begin_block(struct bz_table_writer *writer, struct bz_bytes key)
{
    struct bz_table_index_parts *index = &writer->index;
    struct bz_bytes last = bz_bytes(writer->builder.last, writer->builder.last_size);
    size_t separator = index->count == 0 ? key.size : bz_table_shared(last, key) + 1;
    bz_buf_append32le(&index->blocks, (uint32_t)position(writer));
    bz_buf_append(&index->keys, key.data, separator);
    bz_buf_append32le(&index->ends, (uint32_t)index->keys.size);
    index->count++;
    if (index->blocks.error != 0 || index->ends.error != 0 || index->keys.error != 0)
        return BLAZE_ENOMEM;
    return 0;
}

static int end_block(struct bz_table_writer *writer, struct bz_bytes values, blaze_error *error)
{
    uint64_t start = position(writer);
    int rc = check_size(writer, 2 * BZ_TABLE_BLOCK + (uint64_t)values.size, error);
    if (rc != 0)
        return rc;
    bz_table_builder_end(&writer->builder, values, &writer->out);
    return end_piece(writer, start, error);
}

/* Adds the entry to a block that has room, or makes one of its own for it, for which a large value
 * need not be copied twice. */
static int add_to_block(struct bz_table_writer *writer, struct bz_bytes key, struct bz_bytes value,
    bool deleted, blaze_error *error)
{
    struct bz_table_builder *builder = &writer->builder;
    bool fits = bz_table_builder_size(builder, key.size, value.size) <= BZ_TABLE_BLOCK;
    int rc = 0;
    if (!fits && builder->count > 0) {
        rc = end_block(writer, bz_buf_bytes(&builder->values), error);
        fits = bz_table_builder_size(builder, key.size, value.size) <= BZ_TABLE_BLOCK;
    }
    if (rc != 0)
        return rc;
    if (builder->count == 0)
        rc = begin_block(writer, key);
    if (rc == 0)
        rc = bz_table_builder_add(builder, key, value.size, deleted);
    if (rc == 0 && !fits)
        return end_block(writer, value, error);
    bz_buf_append(&builder->values, value.data, value.size);
    if (rc == 0)
        rc = builder->values.error;
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

static int add(struct bz_table_writer *writer, const struct bz_write *entry, blaze_error *error)
{
    uint8_t bytes[BZ_TABLE_KEY_MAX];
    struct bz_bytes key = bz_bytes(bytes, 1 + entry->key.size);
    struct bz_bytes value = entry->deleted ? bz_bytes(NULL, 0) : entry->value;
    assert(entry->map <= UINT8_MAX && value.size <= BZ_TABLE_VALUE_MAX);
    assert(entry->key.size > 0 && key.size <= BZ_TABLE_KEY_MAX);
    bytes[0] = (uint8_t)entry->map;
    memcpy(bytes + 1, entry->key.data, entry->key.size);
    assert(writer->summary.entries == 0 ||
           bz_bytes_compare(bz_bytes(writer->builder.last, writer->builder.last_size), key) < 0);

    uint64_t hash = bz_table_filter_hash(key.data, key.size);
    bz_buf_append(&writer->hashes, &hash, sizeof hash);
    if (writer->hashes.error != 0)
        return bz_error_code(error, writer->hashes.error);
    int rc = add_to_block(writer, key, value, entry->deleted, error);
    if (rc != 0)
        return rc;
    writer->summary.entries++;
    writer->summary.deletes += entry->deleted;
    return 0;
}

int bz_table_writer_add(
    struct bz_table_writer *writer, const struct bz_write *entry, blaze_error *error)
{
    if (writer->failed == 0)
        writer->failed = add(writer, entry, error);
    return writer->failed;
}

uint64_t bz_table_writer_bytes(const struct bz_table_writer *writer)
{
    return position(writer) + bz_table_builder_size(&writer->builder, 0, 0);
}

/* ---- the end ---- */

static int write_filter(
    struct bz_table_writer *writer, struct bz_table_footer *footer, blaze_error *error)
{
    static const uint8_t zeroes[BZ_TABLE_LINE];
    struct bz_buf *out = &writer->out;
    bz_buf_append(out, zeroes, (size_t)(-position(writer) & (BZ_TABLE_LINE - 1)));
    uint64_t start = position(writer);
    size_t size = bz_table_filter_size(writer->summary.entries);
    int rc = check_size(writer, size, error);
    if (rc != 0)
        return rc;
    uint8_t *lines = bz_buf_reserve(out, size);
    if (lines != NULL) {
        memset(lines, 0, size);
        for (size_t i = 0; i < writer->hashes.size; i += sizeof(uint64_t)) {
            uint64_t hash;
            memcpy(&hash, writer->hashes.data + i, sizeof hash);
            bz_table_filter_add(lines, size, hash);
        }
        bz_buf_advance(out, size);
    }
    footer->filter_at = (uint32_t)start;
    footer->filter_size = (uint32_t)size;
    return end_piece(writer, start, error);
}

static int write_index(struct bz_table_writer *writer, uint64_t blocks_end,
    struct bz_table_footer *footer, blaze_error *error)
{
    uint64_t start = position(writer);
    struct bz_bytes last = bz_bytes(writer->builder.last, writer->builder.last_size);
    bz_table_index_encode(&writer->out, &writer->index, (uint32_t)blocks_end, last);
    footer->index_at = (uint32_t)start;
    footer->index_size = (uint32_t)(position(writer) - start);
    int rc = check_size(writer, 2 * BZ_TABLE_HEADER, error);
    return rc == 0 ? end_piece(writer, start, error) : rc;
}

static int write_footer(
    struct bz_table_writer *writer, const struct bz_table_footer *footer, blaze_error *error)
{
    uint8_t bytes[BZ_TABLE_FOOTER + BZ_TABLE_GUARD_MAX];
    bz_table_footer_encode(footer, bytes);
    int rc = bz_table_guard_close_footer(&writer->guard, position(writer), bytes);
    size_t guard = bz_table_guard_size(writer->guard.aead != NULL);
    bz_buf_append(&writer->out, bytes, BZ_TABLE_FOOTER + guard);
    if (rc == 0)
        rc = writer->out.error;
    if (rc != 0)
        return bz_error_code(error, rc);
    rc = flush(writer, error);
    return rc == 0 ? bz_file_sync(&writer->file, error) : rc;
}

static int finish(struct bz_table_writer *writer, blaze_error *error)
{
    struct bz_table_footer footer = {
        .entries = writer->summary.entries, .deletes = writer->summary.deletes};
    int rc = 0;
    assert(footer.entries > 0);
    if (writer->builder.count > 0)
        rc = end_block(writer, bz_buf_bytes(&writer->builder.values), error);
    uint64_t blocks_end = position(writer);
    if (rc == 0)
        rc = write_filter(writer, &footer, error);
    if (rc == 0)
        rc = write_index(writer, blocks_end, &footer, error);
    if (rc == 0)
        rc = write_footer(writer, &footer, error);
    writer->summary.size = position(writer);
    return rc;
}

int bz_table_writer_finish(
    struct bz_table_writer *writer, struct bz_table_summary *out, blaze_error *error)
{
    int rc = writer->failed;
    if (rc != 0)
        bz_error_code(error, rc);
    else
        rc = finish(writer, error);
    if (rc != 0) {
        bz_table_writer_abort(writer);
        return rc;
    }
    *out = writer->summary;
    writer_free(writer);
    return 0;
}

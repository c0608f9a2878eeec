/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_TABLE_H
#define BZ_STORE_TABLE_H

/*
 * A sorted table: a file of entries in the order of (map, key), written once and never changed
 * (docs/format/table.md). An entry is a put or a delete, as in the log.
 *
 * Everything in the file is checked before it is used: a block by its checksum, or, in a sealed
 * table, by AES-256-GCM. Damage gives BLAZE_ECORRUPT, naming file, offset and what is there; the
 * other blocks stay readable.
 *
 * An unsealed table is read where the system maps it: a block is checked through read(), so that a
 * medium that cannot deliver gives an error and not a signal, once, and its bytes are then borrowed
 * from the map as long as the table is held. A block of a sealed table is opened into memory of the
 * cache; what is borrowed from it lives as long as its `pin`.
 *
 * Threads: a writer and an iterator belong to one thread at a time; a table is for any thread.
 */

#include "store/block_cache.h"
#include "store/frame.h"
#include "store/table_format.h"

/* ---- writing ---- */

struct bz_table_writer;

struct bz_table_summary {
    uint64_t size; /* of the file */
    uint64_t entries;
    uint64_t deletes; /* of these */
};

/* Begins the file `path`, which is made, or written over. `key`: to seal it, 32 bytes, or NULL. */
int bz_table_writer_open(
    struct bz_table_writer **out, const char *path, const uint8_t *key, blaze_error *error);

/* The next entry; each must be behind the one before (asserted). */
int bz_table_writer_add(
    struct bz_table_writer *writer, const struct bz_write *entry, blaze_error *error);

/* What the file has so far, with what is not written out yet. */
uint64_t bz_table_writer_bytes(const struct bz_table_writer *writer);

/* Ends the file, which has at least one entry, and syncs it. Frees the writer whatever is returned;
 * on failure the file is removed. The file's name is not synced. */
int bz_table_writer_finish(
    struct bz_table_writer *writer, struct bz_table_summary *out, blaze_error *error);

/* Gives up: frees the writer and removes the file. NULL does nothing. */
void bz_table_writer_abort(struct bz_table_writer *writer);

/* ---- reading ---- */

struct bz_table;

/* Opens a table and checks all but its blocks of entries. `size` is what the file must have (or 0:
 * any). `cache` keeps the opened blocks of sealed tables, and lives longer than the table; NULL
 * will do for an unsealed one. BLAZE_ENOTFOUND; BLAZE_ECORRUPT; BLAZE_EVERSION. */
int bz_table_open(struct bz_table **out, const char *path, uint64_t size, const uint8_t *key,
    struct bz_block_cache *cache, blaze_error *error);
struct bz_table *bz_table_retain(struct bz_table *table);
void bz_table_release(struct bz_table *table); /* NULL does nothing */

/* The file may be removed when the last reference goes. Nothing else does. */
const char *bz_table_path(const struct bz_table *table);
void bz_table_summary(const struct bz_table *table, struct bz_table_summary *out);

/* First and last key; borrowed from the table. */
struct bz_table_key {
    uint32_t map;
    struct bz_bytes key;
};
struct bz_table_key bz_table_first(const struct bz_table *table);
struct bz_table_key bz_table_last(const struct bz_table *table);

/* Order of (map, key): < 0, 0, > 0. */
int bz_table_key_compare(struct bz_table_key a, struct bz_table_key b);

/*
 * The entry of a key; BLAZE_ENOTFOUND without error text if there is none. *deleted says that it is
 * a delete; *value is borrowed from the table, or from *pin if that is not NULL, which is then to
 * be given back by bz_block_unpin().
 */
int bz_table_get(struct bz_table *table, uint32_t map, struct bz_bytes key, bool *deleted,
    struct bz_bytes *value, struct bz_block **pin, blaze_error *error);

/* Reads every block from the file anew and checks it, telling each damage to `each` (may be NULL).
 * BLAZE_ECORRUPT if there was one. */
int bz_table_verify(struct bz_table *table, void (*each)(void *context, const char *problem),
    void *context, blaze_error *error);

/* ---- walking ---- */

/*
 * Walks the entries, either way. All movements give 0, or BLAZE_END where there is none (the
 * iterator is then unpositioned), or a code. `entry` is valid until the iterator moves; its key is
 * in the iterator's own memory, its value borrowed from the table or the iterator's pin.
 *
 * After BLAZE_ECORRUPT it stands at the damaged block: next() (prev()) goes on with the block
 * behind (before) it.
 */
struct bz_table_iter {
    struct bz_table *table;
    struct bz_write entry;
    bool positioned;
    /* what follows is table_iter.c's own */
    bool stopped;   /* at a block that failed */
    uint32_t block; /* that it stands in */
    uint32_t next;  /* number in the block of the entry behind the one it stands at */
    const uint8_t *next_key;
    const uint8_t *next_value;
    struct bz_table_block content;
    struct bz_block *pin;
    size_t key_size;
    uint8_t key[BZ_TABLE_KEY_MAX + 16]; /* map, then key */
};

void bz_table_iter_init(struct bz_table_iter *iter, struct bz_table *table); /* retains it */
void bz_table_iter_release(struct bz_table_iter *iter);

/* To the first entry at or behind (map, key); `key` may be empty. */
int bz_table_iter_seek(
    struct bz_table_iter *iter, uint32_t map, struct bz_bytes key, blaze_error *error);
/* To the last entry at or before (map, key). */
int bz_table_iter_seek_back(
    struct bz_table_iter *iter, uint32_t map, struct bz_bytes key, blaze_error *error);
int bz_table_iter_first(struct bz_table_iter *iter, blaze_error *error);
int bz_table_iter_last(struct bz_table_iter *iter, blaze_error *error);
/* From where it stands; positioned, or behind BLAZE_ECORRUPT. */
int bz_table_iter_next(struct bz_table_iter *iter, blaze_error *error);
int bz_table_iter_prev(struct bz_table_iter *iter, blaze_error *error);

#endif

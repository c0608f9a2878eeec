/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Walking a table. An iterator puts the key that it stands at together in its own memory, from the
 * key before in the block; so going back begins at the restart before.
 *
 * Unpositioned, it is either `stopped` at a block that failed, or nowhere.
 */

#include "store/table_priv.h"

#include <assert.h>

void bz_table_iter_init(struct bz_table_iter *iter, struct bz_table *table)
{
    *iter = (struct bz_table_iter){.table = bz_table_retain(table)};
}

void bz_table_iter_release(struct bz_table_iter *iter)
{
    bz_block_unpin(iter->pin);
    bz_table_release(iter->table);
    iter->pin = NULL;
    iter->table = NULL;
}

/* ---- within a block ---- */

static struct bz_bytes whole_key(const struct bz_table_iter *iter)
{
    return bz_bytes(iter->key, iter->key_size);
}

/* Short keys are copied with one move of 16 bytes, which the key's memory has room for. */
static inline void append_key(
    struct bz_table_iter *iter, uint32_t shared, const uint8_t *rest, uint32_t size)
{
    if (size <= 16 && iter->content.end - rest >= 16)
        memcpy(iter->key + shared, rest, 16);
    else
        memcpy(iter->key + shared, rest, size);
    iter->key_size = shared + size;
}

/* Goes to the entry behind, which must be in the block: false where it is malformed. */
static inline bool step(struct bz_table_iter *iter)
{
    const struct bz_table_block *content = &iter->content;
    struct bz_table_block_entry entry;
    const uint8_t *rest = bz_table_block_read(iter->next_key, content->values, &entry);
    if (rest == NULL || entry.shared > iter->key_size ||
        entry.rest > BZ_TABLE_KEY_MAX - entry.shared || entry.shared + entry.rest == 0 ||
        entry.value_size > (size_t)(content->end - iter->next_value))
        return false;
    append_key(iter, entry.shared, rest, entry.rest);
    iter->entry = (struct bz_write){
        .map = iter->key[0],
        .deleted = entry.deleted,
        .key = bz_bytes(iter->key + 1, iter->key_size - 1),
        .value = bz_bytes(iter->next_value, entry.value_size),
    };
    iter->next_key = rest + entry.rest;
    iter->next_value += entry.value_size;
    iter->next++;
    return true;
}

/* So that the next step is to a restart. */
static bool to_restart(struct bz_table_iter *iter, uint32_t restart)
{
    iter->next = restart * BZ_TABLE_RESTART;
    iter->key_size = 0;
    return bz_table_block_restart(&iter->content, restart, &iter->next_key, &iter->next_value);
}

/* To entry `number` of the block. */
static bool to_number(struct bz_table_iter *iter, uint32_t number)
{
    if (!to_restart(iter, number / BZ_TABLE_RESTART))
        return false;
    while (iter->next <= number) {
        if (!step(iter))
            return false;
    }
    return true;
}

/* ---- from block to block ---- */

static int nowhere(struct bz_table_iter *iter)
{
    bz_block_unpin(iter->pin);
    iter->pin = NULL;
    iter->positioned = false;
    iter->stopped = false;
    return BLAZE_END;
}

/* At block `i`, which failed. */
static int stop(struct bz_table_iter *iter, uint32_t i, int rc)
{
    nowhere(iter);
    iter->block = i;
    iter->stopped = true;
    return rc;
}

static int malformed(struct bz_table_iter *iter, blaze_error *error)
{
    uint32_t i = iter->block;
    return stop(iter, i, bz_table_malformed(iter->table, i, error));
}

static int enter(struct bz_table_iter *iter, uint32_t i, blaze_error *error)
{
    struct bz_bytes content;
    struct bz_block *pin;
    int rc = bz_table_load(iter->table, i, &content, &pin, error);
    if (rc != 0)
        return stop(iter, i, rc);
    bz_block_unpin(iter->pin);
    iter->pin = pin;
    iter->block = i;
    iter->positioned = true;
    iter->stopped = false;
    return bz_table_block_decode(content, &iter->content) ? 0 : malformed(iter, error);
}

static int enter_first(struct bz_table_iter *iter, uint32_t i, blaze_error *error)
{
    int rc = enter(iter, i, error);
    if (rc != 0)
        return rc;
    return to_number(iter, 0) ? 0 : malformed(iter, error);
}

static int enter_last(struct bz_table_iter *iter, uint32_t i, blaze_error *error)
{
    int rc = enter(iter, i, error);
    if (rc != 0)
        return rc;
    return to_number(iter, iter->content.count - 1) ? 0 : malformed(iter, error);
}

static int next_block(struct bz_table_iter *iter, blaze_error *error)
{
    assert(iter->positioned || iter->stopped);
    if (iter->block + 1 == iter->table->index.count)
        return nowhere(iter);
    return enter_first(iter, iter->block + 1, error);
}

static int prev_block(struct bz_table_iter *iter, blaze_error *error)
{
    assert(iter->positioned || iter->stopped);
    return iter->block == 0 ? nowhere(iter) : enter_last(iter, iter->block - 1, error);
}

/* ---- moving ---- */

int bz_table_iter_first(struct bz_table_iter *iter, blaze_error *error)
{
    return enter_first(iter, 0, error);
}

int bz_table_iter_last(struct bz_table_iter *iter, blaze_error *error)
{
    return enter_last(iter, iter->table->index.count - 1, error);
}

int bz_table_iter_next(struct bz_table_iter *iter, blaze_error *error)
{
    if (!iter->positioned || iter->next == iter->content.count)
        return next_block(iter, error);
    return step(iter) ? 0 : malformed(iter, error);
}

int bz_table_iter_prev(struct bz_table_iter *iter, blaze_error *error)
{
    if (!iter->positioned || iter->next == 1)
        return prev_block(iter, error);
    return to_number(iter, iter->next - 2) ? 0 : malformed(iter, error);
}

/* Enters block `i` and goes to the first entry at or behind the target, or to the last if there is
 * none: *order is that of the entry and the target. */
static int seek_in(struct bz_table_iter *iter, uint32_t i, const struct bz_table_target *target,
    int *order, blaze_error *error)
{
    uint32_t restart;
    int rc = enter(iter, i, error);
    if (rc != 0)
        return rc;
    if (bz_table_block_search(&iter->content, target, &restart) != 0 || !to_restart(iter, restart))
        return malformed(iter, error);
    do {
        if (!step(iter))
            return malformed(iter, error);
        *order = -bz_table_target_compare(target, whole_key(iter));
    } while (*order < 0 && iter->next < iter->content.count);
    return 0;
}

int bz_table_iter_seek(
    struct bz_table_iter *iter, uint32_t map, struct bz_bytes key, blaze_error *error)
{
    struct bz_table_target target;
    int order;
    if (map > UINT8_MAX)
        return nowhere(iter);
    bz_table_target_set(&target, map, key);
    uint32_t before = bz_table_index_find(&iter->table->index, &target);
    if (before == 0)
        return bz_table_iter_first(iter, error);
    int rc = seek_in(iter, before - 1, &target, &order, error);
    return rc == 0 && order < 0 ? next_block(iter, error) : rc;
}

int bz_table_iter_seek_back(
    struct bz_table_iter *iter, uint32_t map, struct bz_bytes key, blaze_error *error)
{
    struct bz_table_target target;
    int order;
    if (map > UINT8_MAX)
        return bz_table_iter_last(iter, error);
    bz_table_target_set(&target, map, key);
    uint32_t before = bz_table_index_find(&iter->table->index, &target);
    if (before == 0)
        return nowhere(iter);
    int rc = seek_in(iter, before - 1, &target, &order, error);
    return rc == 0 && order > 0 ? bz_table_iter_prev(iter, error) : rc;
}

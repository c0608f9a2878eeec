/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Walking a table. A key is put together in the iterator: each entry of a block has what it does
 * not share with the one before. Going back begins at the restart before and walks up to the entry.
 */

#include "store/table_priv.h"

/* ---- blocks ---- */

static void leave_block(struct bz_table_iter *iter)
{
    bz_block_unpin(iter->pin);
    iter->pin = NULL;
    iter->positioned = false;
}

void bz_table_iter_init(struct bz_table_iter *iter, struct bz_table *table)
{
    iter->table = bz_table_retain(table);
    iter->positioned = false;
    iter->pin = NULL;
    iter->block = 0;
    iter->number = 0;
    iter->damaged = false;
}

void bz_table_iter_release(struct bz_table_iter *iter)
{
    leave_block(iter);
    bz_table_release(iter->table);
    iter->table = NULL;
}

static int damaged(struct bz_table_iter *iter, blaze_error *error)
{
    leave_block(iter);
    iter->damaged = true;
    return bz_table_damaged(iter->table, iter->block, error);
}

/* Goes into block `i`; the iterator stands before its first entry. */
static int enter_block(struct bz_table_iter *iter, uint32_t i, blaze_error *error)
{
    struct bz_bytes content;
    leave_block(iter);
    iter->block = i;
    iter->damaged = false;
    int rc = bz_table_load(iter->table, i, &content, &iter->pin, error);
    if (rc != 0) {
        iter->damaged = rc == BLAZE_ECORRUPT;
        return rc;
    }
    if (!bz_table_block_decode(content, &iter->content))
        return damaged(iter, error);
    iter->number = 0;
    iter->next_key = iter->content.keys;
    iter->next_value = iter->content.values;
    return 0;
}

/* Stands before the first entry of restart `i` of the block. */
static int go_to_restart(struct bz_table_iter *iter, uint32_t i, blaze_error *error)
{
    iter->number = i * BZ_TABLE_RESTART;
    if (iter->number >= iter->content.count ||
        !bz_table_block_restart(&iter->content, i, &iter->next_key, &iter->next_value))
        return damaged(iter, error);
    return 0;
}

/* Takes the entry that the iterator stands before; there is one. */
static int take(struct bz_table_iter *iter, blaze_error *error)
{
    struct bz_table_block_entry entry;
    const uint8_t *rest = bz_table_block_read(iter->next_key, iter->content.values, &entry);
    if (rest == NULL || entry.shared + entry.rest > BZ_TABLE_KEY_MAX ||
        entry.shared + entry.rest < 2 ||
        entry.value_size > (size_t)(iter->content.end - iter->next_value))
        return damaged(iter, error);
    memcpy(iter->key + entry.shared, rest, entry.rest);
    iter->entry = (struct bz_write){
        .map = iter->key[0],
        .deleted = entry.deleted,
        .key = {iter->key + 1, entry.shared + entry.rest - 1},
        .value = {iter->next_value, entry.value_size},
    };
    iter->next_key = rest + entry.rest;
    iter->next_value += entry.value_size;
    iter->number++;
    iter->positioned = true;
    return 0;
}

static bool at_end(const struct bz_table_iter *iter)
{
    return iter->number >= iter->content.count;
}

/* ---- forwards ---- */

static int first_of(struct bz_table_iter *iter, uint32_t block, blaze_error *error)
{
    int rc = enter_block(iter, block, error);
    return rc != 0 ? rc : take(iter, error);
}

static int next_block(struct bz_table_iter *iter, blaze_error *error)
{
    iter->positioned = false;
    iter->damaged = false;
    if (iter->block + 1 >= iter->table->index.count)
        return BLAZE_END;
    return first_of(iter, iter->block + 1, error);
}

int bz_table_iter_next(struct bz_table_iter *iter, blaze_error *error)
{
    return iter->damaged || at_end(iter) ? next_block(iter, error) : take(iter, error);
}

int bz_table_iter_first(struct bz_table_iter *iter, blaze_error *error)
{
    return first_of(iter, 0, error);
}

static bool is_before(const struct bz_table_iter *iter, const struct bz_table_target *target)
{
    return bz_table_target_compare(target, bz_bytes(iter->key, iter->entry.key.size + 1)) > 0;
}

int bz_table_iter_seek(
    struct bz_table_iter *iter, uint32_t map, struct bz_bytes key, blaze_error *error)
{
    struct bz_table_target target;
    uint32_t restart;
    bz_table_target_set(&target, map, key);
    uint32_t at = bz_table_index_find(&iter->table->index, &target);
    if (at == 0)
        return first_of(iter, 0, error);
    int rc = enter_block(iter, at - 1, error);
    if (rc != 0)
        return rc;
    if (bz_table_block_search(&iter->content, &target, &restart) != 0)
        return damaged(iter, error);
    rc = go_to_restart(iter, restart, error);
    if (rc == 0)
        rc = take(iter, error);
    while (rc == 0 && is_before(iter, &target))
        rc = bz_table_iter_next(iter, error);
    return rc;
}

/* ---- backwards ---- */

/* To entry `number` of the block that it is in. */
static int go_to(struct bz_table_iter *iter, uint32_t number, blaze_error *error)
{
    int rc = go_to_restart(iter, number / BZ_TABLE_RESTART, error);
    while (rc == 0 && iter->number <= number)
        rc = take(iter, error);
    return rc;
}

static int last_of(struct bz_table_iter *iter, uint32_t block, blaze_error *error)
{
    int rc = enter_block(iter, block, error);
    return rc != 0 ? rc : go_to(iter, iter->content.count - 1, error);
}

int bz_table_iter_prev(struct bz_table_iter *iter, blaze_error *error)
{
    if (!iter->damaged && iter->number > 1)
        return go_to(iter, iter->number - 2, error);
    iter->positioned = false;
    iter->damaged = false;
    return iter->block == 0 ? BLAZE_END : last_of(iter, iter->block - 1, error);
}

int bz_table_iter_last(struct bz_table_iter *iter, blaze_error *error)
{
    return last_of(iter, iter->table->index.count - 1, error);
}

int bz_table_iter_seek_back(
    struct bz_table_iter *iter, uint32_t map, struct bz_bytes key, blaze_error *error)
{
    struct bz_table_target target;
    bz_table_target_set(&target, map, key);
    int rc = bz_table_iter_seek(iter, map, key, error);
    if (rc == BLAZE_END)
        return bz_table_iter_last(iter, error);
    if (rc == 0 &&
        bz_table_target_compare(&target, bz_bytes(iter->key, iter->entry.key.size + 1)) < 0)
        rc = bz_table_iter_prev(iter, error);
    return rc;
}

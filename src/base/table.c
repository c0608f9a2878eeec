/* SPDX-License-Identifier: Apache-2.0 */
#include "base/table.h"

#include "base/alloc.h"
#include "base/hash.h"

#include <blazedb/error.h>

struct bz_table_slot {
    struct bz_bytes key;
    uint64_t hash;
    uint64_t value;
    bool used;
};

void bz_table_init(struct bz_table *table)
{
    *table = (struct bz_table){0};
}

void bz_table_release(struct bz_table *table)
{
    bz_free(table->slots);
    bz_table_init(table);
}

/* The key's slot, or the empty one where it belongs. The table is never full. */
static struct bz_table_slot *find(
    struct bz_table_slot *slots, size_t capacity, struct bz_bytes key, uint64_t hash)
{
    size_t i = hash & (capacity - 1);
    while (slots[i].used && (slots[i].hash != hash || !bz_bytes_equal(slots[i].key, key)))
        i = (i + 1) & (capacity - 1);
    return &slots[i];
}

bool bz_table_get(const struct bz_table *table, struct bz_bytes key, uint64_t *out)
{
    if (table->count == 0)
        return false;
    uint64_t hash = bz_hash64(key.data, key.size, 0);
    struct bz_table_slot *slot = find(table->slots, table->capacity, key, hash);
    if (slot->used && out != NULL)
        *out = slot->value;
    return slot->used;
}

static int grow(struct bz_table *table)
{
    size_t capacity = table->capacity == 0 ? 16 : table->capacity * 2;
    struct bz_table_slot *slots = bz_zalloc(capacity * sizeof *slots);
    if (slots == NULL)
        return BLAZE_ENOMEM;
    for (size_t i = 0; i < table->capacity; i++) {
        struct bz_table_slot *old = &table->slots[i];
        if (old->used)
            *find(slots, capacity, old->key, old->hash) = *old;
    }
    bz_free(table->slots);
    table->slots = slots;
    table->capacity = capacity;
    return 0;
}

int bz_table_put(struct bz_table *table, struct bz_bytes key, uint64_t value)
{
    if (table->count * 4 >= table->capacity * 3) {
        int rc = grow(table);
        if (rc != 0)
            return rc;
    }
    uint64_t hash = bz_hash64(key.data, key.size, 0);
    struct bz_table_slot *slot = find(table->slots, table->capacity, key, hash);
    if (!slot->used) {
        *slot = (struct bz_table_slot){.key = key, .hash = hash, .used = true};
        table->count++;
    }
    slot->value = value;
    return 0;
}

bool bz_table_remove(struct bz_table *table, struct bz_bytes key)
{
    if (table->count == 0)
        return false;
    size_t mask = table->capacity - 1;
    uint64_t hash = bz_hash64(key.data, key.size, 0);
    struct bz_table_slot *slot = find(table->slots, table->capacity, key, hash);
    if (!slot->used)
        return false;
    /* Close the gap: move back each follower whose probe path runs through it. */
    size_t gap = (size_t)(slot - table->slots);
    for (size_t i = (gap + 1) & mask; table->slots[i].used; i = (i + 1) & mask) {
        size_t home = table->slots[i].hash & mask;
        if (((i - home) & mask) >= ((i - gap) & mask)) {
            table->slots[gap] = table->slots[i];
            gap = i;
        }
    }
    table->slots[gap].used = false;
    table->count--;
    return true;
}

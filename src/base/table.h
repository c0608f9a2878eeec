/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_BASE_TABLE_H
#define BZ_BASE_TABLE_H

/*
 * A hash table from byte strings to uint64_t, open addressing, for dictionaries. Keys are borrowed:
 * whoever inserts keeps them alive. One thread at a time.
 */

#include "base/bytes.h"

struct bz_table_slot;

struct bz_table {
    struct bz_table_slot *slots;
    size_t capacity; /* 0 or a power of two */
    size_t count;
};

void bz_table_init(struct bz_table *table);
void bz_table_release(struct bz_table *table);

/* Whether `key` is there; its value in *out (may be NULL). */
bool bz_table_get(const struct bz_table *table, struct bz_bytes key, uint64_t *out);

/* Sets or replaces. BLAZE_ENOMEM leaves the table as it was. */
int bz_table_put(struct bz_table *table, struct bz_bytes key, uint64_t value);

/* Whether `key` was there and is now gone. */
bool bz_table_remove(struct bz_table *table, struct bz_bytes key);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_BASE_DICT_H
#define BZ_BASE_DICT_H

/*
 * A dictionary from byte strings to uint64_t: a hash table with open addressing. Keys are borrowed:
 * whoever inserts keeps them alive. One thread at a time.
 */

#include "base/bytes.h"

struct bz_dict_slot;

struct bz_dict {
    struct bz_dict_slot *slots;
    size_t capacity; /* 0 or a power of two */
    size_t count;
};

void bz_dict_init(struct bz_dict *dict);
void bz_dict_release(struct bz_dict *dict);

/* Whether `key` is there; its value in *out (may be NULL). */
bool bz_dict_get(const struct bz_dict *dict, struct bz_bytes key, uint64_t *out);

/* Sets or replaces. BLAZE_ENOMEM leaves the table as it was. */
int bz_dict_put(struct bz_dict *dict, struct bz_bytes key, uint64_t value);

/* Whether `key` was there and is now gone. */
bool bz_dict_remove(struct bz_dict *dict, struct bz_bytes key);

#endif

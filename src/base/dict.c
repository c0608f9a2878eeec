/* SPDX-License-Identifier: Apache-2.0 */
#include "base/dict.h"

#include "base/alloc.h"
#include "base/hash.h"

#include <blazedb/error.h>

struct bz_dict_slot {
    struct bz_bytes key;
    uint64_t hash;
    uint64_t value;
    bool used;
};

void bz_dict_init(struct bz_dict *dict)
{
    *dict = (struct bz_dict){0};
}

void bz_dict_release(struct bz_dict *dict)
{
    bz_free(dict->slots);
    bz_dict_init(dict);
}

/* The key's slot, or the empty one where it belongs. The dictionary is never full. */
static struct bz_dict_slot *find(
    struct bz_dict_slot *slots, size_t capacity, struct bz_bytes key, uint64_t hash)
{
    size_t i = hash & (capacity - 1);
    while (slots[i].used && (slots[i].hash != hash || !bz_bytes_equal(slots[i].key, key)))
        i = (i + 1) & (capacity - 1);
    return &slots[i];
}

bool bz_dict_get(const struct bz_dict *dict, struct bz_bytes key, uint64_t *out)
{
    if (dict->count == 0)
        return false;
    uint64_t hash = bz_hash64(key.data, key.size, 0);
    struct bz_dict_slot *slot = find(dict->slots, dict->capacity, key, hash);
    if (slot->used && out != NULL)
        *out = slot->value;
    return slot->used;
}

static int grow(struct bz_dict *dict)
{
    size_t capacity = dict->capacity == 0 ? 16 : dict->capacity * 2;
    struct bz_dict_slot *slots = bz_zalloc(capacity * sizeof *slots);
    if (slots == NULL)
        return BLAZE_ENOMEM;
    for (size_t i = 0; i < dict->capacity; i++) {
        struct bz_dict_slot *old = &dict->slots[i];
        if (old->used)
            *find(slots, capacity, old->key, old->hash) = *old;
    }
    bz_free(dict->slots);
    dict->slots = slots;
    dict->capacity = capacity;
    return 0;
}

int bz_dict_put(struct bz_dict *dict, struct bz_bytes key, uint64_t value)
{
    if (dict->count * 4 >= dict->capacity * 3) {
        int rc = grow(dict);
        if (rc != 0)
            return rc;
    }
    uint64_t hash = bz_hash64(key.data, key.size, 0);
    struct bz_dict_slot *slot = find(dict->slots, dict->capacity, key, hash);
    if (!slot->used) {
        *slot = (struct bz_dict_slot){.key = key, .hash = hash, .used = true};
        dict->count++;
    }
    slot->value = value;
    return 0;
}

bool bz_dict_remove(struct bz_dict *dict, struct bz_bytes key)
{
    if (dict->count == 0)
        return false;
    size_t mask = dict->capacity - 1;
    uint64_t hash = bz_hash64(key.data, key.size, 0);
    struct bz_dict_slot *slot = find(dict->slots, dict->capacity, key, hash);
    if (!slot->used)
        return false;
    /* Close the gap: move back each follower whose probe path runs through it. */
    size_t gap = (size_t)(slot - dict->slots);
    for (size_t i = (gap + 1) & mask; dict->slots[i].used; i = (i + 1) & mask) {
        size_t home = dict->slots[i].hash & mask;
        if (((i - home) & mask) >= ((i - gap) & mask)) {
            dict->slots[gap] = dict->slots[i];
            gap = i;
        }
    }
    dict->slots[gap].used = false;
    dict->count--;
    return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values are compared through their whole keys, so that an item is its key and id, however long the
 * value. With a limit the items are a heap whose root is the worst of those kept: most newcomers
 * are turned away by one comparison, without memory; a number that is plainly worse than the root,
 * without a key.
 */
#include "query/query.h"

#include "base/alloc.h"
#include "codec/key.h"

#include <stdlib.h>

#define SMALL_KEY 24

struct item {
    blaze_id id;
    uint32_t size;
    uint32_t capacity; /* of `large`; 0: the key is in `small` */
    union {
        uint8_t small[SMALL_KEY];
        uint8_t *large;
    } key;
};

struct bz_sorter {
    struct item *items;
    size_t count;
    size_t capacity;
    size_t next; /* to give out */
    uint64_t keep;
    bool descending;
    bool sorted;
    bool worst_is_number; /* the root, once there are `keep` */
    double worst;         /* nearest to it */
    struct bz_buf scratch;
};

static struct bz_bytes key_of(const struct item *item)
{
    return bz_bytes(item->capacity > 0 ? item->key.large : item->key.small, item->size);
}

static int compare_to(const struct item *item, struct bz_bytes key, const blaze_id *id)
{
    int order = bz_bytes_compare(key_of(item), key);
    return order != 0 ? order : memcmp(item->id.bytes, id->bytes, sizeof id->bytes);
}

static int compare_items(const void *a, const void *b)
{
    const struct item *other = b;
    return compare_to(a, key_of(other), &other->id);
}

int bz_sorter_new(struct bz_sorter **out, bool descending, uint64_t keep)
{
    struct bz_sorter *s = bz_zalloc(sizeof *s);
    if (s == NULL)
        return BLAZE_ENOMEM;
    s->descending = descending;
    s->keep = keep;
    bz_buf_init(&s->scratch, SIZE_MAX);
    *out = s;
    return 0;
}

void bz_sorter_clear(struct bz_sorter *s)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->items[i].capacity > 0)
            bz_free(s->items[i].key.large);
    }
    s->count = 0;
    s->next = 0;
    s->sorted = false;
    s->worst_is_number = false;
}

void bz_sorter_free(struct bz_sorter *s)
{
    if (s == NULL)
        return;
    bz_sorter_clear(s);
    bz_free(s->items);
    bz_buf_release(&s->scratch);
    bz_free(s);
}

/* ---- the heap ---- */

/* Whether item a comes after item b in the order asked for. */
static bool is_worse(const struct bz_sorter *s, size_t a, size_t b)
{
    int order = compare_items(&s->items[a], &s->items[b]);
    return s->descending ? order < 0 : order > 0;
}

static void swap(struct bz_sorter *s, size_t a, size_t b)
{
    struct item item = s->items[a];
    s->items[a] = s->items[b];
    s->items[b] = item;
}

static void sift_up(struct bz_sorter *s, size_t i)
{
    while (i > 0 && is_worse(s, i, (i - 1) / 2)) {
        swap(s, i, (i - 1) / 2);
        i = (i - 1) / 2;
    }
}

static void sift_down(struct bz_sorter *s)
{
    for (size_t i = 0;;) {
        size_t worst = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < s->count; child++) {
            if (is_worse(s, child, worst))
                worst = child;
        }
        if (worst == i)
            return;
        swap(s, i, worst);
        i = worst;
    }
}

/* ---- adding ---- */

/* Fills an item, new or to be used again, which stays as it is if there is no memory. */
static int item_set(struct item *item, struct bz_bytes key, const blaze_id *id)
{
    if (key.size > SMALL_KEY && key.size > item->capacity) {
        uint8_t *large = bz_realloc(item->capacity > 0 ? item->key.large : NULL, key.size);
        if (large == NULL)
            return BLAZE_ENOMEM;
        item->key.large = large;
        item->capacity = (uint32_t)key.size;
    }
    memcpy(item->capacity > 0 ? item->key.large : item->key.small, key.data, key.size);
    item->size = (uint32_t)key.size;
    item->id = *id;
    return 0;
}

static int append(struct bz_sorter *s, struct bz_bytes key, const blaze_id *id)
{
    if (s->count == s->capacity) {
        size_t wanted = s->capacity == 0 ? 16 : s->capacity * 2;
        struct item *items = bz_realloc(s->items, wanted * sizeof *items);
        if (items == NULL)
            return BLAZE_ENOMEM;
        s->items = items;
        s->capacity = wanted;
    }
    struct item *item = &s->items[s->count];
    item->capacity = 0;
    int rc = item_set(item, key, id);
    if (rc != 0)
        return rc;
    s->count++;
    if (s->keep > 0)
        sift_up(s, s->count - 1);
    return 0;
}

/* Whether a value comes after all that are kept, as far as can be told without its key. Rounding to
 * the nearest double keeps the order of numbers, so those that round apart are in that order. */
static bool is_hopeless(const struct bz_sorter *s, const blaze_value *value)
{
    if (!s->worst_is_number || value == NULL ||
        (value->type != BLAZE_INT && value->type != BLAZE_DOUBLE))
        return false;
    double nearest = value->type == BLAZE_INT ? (double)value->as.integer : value->as.number;
    return s->descending ? nearest < s->worst : nearest > s->worst;
}

int bz_sorter_add(struct bz_sorter *s, const blaze_value *value, const blaze_id *id)
{
    bool cut = false;
    if (is_hopeless(s, value))
        return 0;
    bz_buf_clear(&s->scratch);
    if (value == NULL)
        bz_index_key_append(&s->scratch, NULL, &cut);
    else
        bz_key_append(&s->scratch, value, SIZE_MAX, &cut);
    if (s->scratch.error != 0)
        return s->scratch.error;
    struct bz_bytes key = bz_buf_bytes(&s->scratch);
    int rc = 0;
    if (s->keep == 0 || s->count < s->keep) {
        rc = append(s, key, id);
    } else {
        int order = compare_to(&s->items[0], key, id);
        if (s->descending ? order >= 0 : order <= 0)
            return 0;
        rc = item_set(&s->items[0], key, id);
        if (rc == 0)
            sift_down(s);
    }
    if (rc == 0 && s->count == s->keep)
        s->worst_is_number = bz_key_number(key_of(&s->items[0]), &s->worst);
    return rc;
}

int bz_sorter_next(struct bz_sorter *s, blaze_id *id)
{
    if (!s->sorted && s->count > 0)
        qsort(s->items, s->count, sizeof *s->items, compare_items);
    s->sorted = true;
    if (s->next == s->count)
        return BLAZE_END;
    size_t i = s->descending ? s->count - 1 - s->next : s->next;
    s->next++;
    *id = s->items[i].id;
    return 0;
}

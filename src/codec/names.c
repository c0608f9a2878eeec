/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names lie in an arena and never move. Two structures lead to them, both made so that a reader
 * needs no lock while the one writer works:
 *
 *   by id     chunks of 64, 128, 256 ... pointers; a chunk, once made, stays.
 *   by name   an open-addressing table of id + 1, published through one pointer. When it is too
 *             full a larger one takes its place; the old one is kept until the end, since readers
 *             may still be in it (all the old ones together are no larger than the current one).
 *
 * Names enter the table in the order of their ids and a truncate takes them out in the reverse
 * order, so that emptying a slot undoes exactly what filling it did: no probe for a name that stays
 * runs through it, and no tombstones are needed.
 *
 * The bytes of a forgotten name stay in the arena, as a reader may still be looking at them; if the
 * same name comes again at the same id, as it does when a failed transaction is tried anew, they
 * are used again.
 *
 * Documents of one kind have the same names in the same order. So the writer notes which name came
 * after which, and looks there first: a guess that is right costs one comparison and no hash.
 */
#include "codec/names.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/hash.h"
#include "codec/doc.h"

#include <assert.h>
#include <stdatomic.h>

#define FIRST_CHUNK 64u
#define CHUNKS      26u /* 2^31 names and more */
#define FIRST_SLOTS 64u

#define EMPTY 0u

struct name {
    uint32_t size;
    uint32_t hash;
    /* The writer's alone. */
    uint32_t id;       /* NO_ID: forgotten */
    struct name *next; /* which was asked for after this one when that last happened; or NULL */
    uint8_t bytes[];
};

#define NO_ID UINT32_MAX

typedef _Atomic(struct name *) name_slot;

struct index {
    struct index *retired; /* the one before, kept for its readers */
    uint32_t mask;
    _Atomic(uint32_t) slots[];
};

struct blaze_names {
    atomic_uint references;
    _Atomic(uint32_t) count;
    _Atomic(struct index *) index;
    _Atomic(name_slot *) chunks[CHUNKS];
    struct bz_arena arena;
    struct name *last; /* that the writer asked for; or NULL */
};

static uint32_t hash_of(struct bz_bytes name)
{
    return (uint32_t)bz_hash64(name.data, name.size, 0);
}

/* Chunk c holds the ids from FIRST_CHUNK * (2^c - 1) on. */
static unsigned chunk_of(uint32_t id, uint32_t *offset)
{
    uint64_t at = (uint64_t)id + FIRST_CHUNK;
    unsigned c = (unsigned)(63 - __builtin_clzll(at / FIRST_CHUNK));
    *offset = (uint32_t)(at - ((uint64_t)FIRST_CHUNK << c));
    return c;
}

static struct name *name_at(const struct blaze_names *names, uint32_t id)
{
    uint32_t offset;
    unsigned c = chunk_of(id, &offset);
    name_slot *chunk = atomic_load_explicit(&names->chunks[c], memory_order_acquire);
    return atomic_load_explicit(&chunk[offset], memory_order_acquire);
}

static struct index *index_new(uint32_t slots)
{
    struct index *index = bz_zalloc(sizeof *index + slots * sizeof index->slots[0]);
    if (index != NULL)
        index->mask = slots - 1;
    return index;
}

int bz_names_new(struct blaze_names **out)
{
    struct blaze_names *names = bz_zalloc(sizeof *names);
    struct index *index = index_new(FIRST_SLOTS);
    if (names == NULL || index == NULL) {
        bz_free(names);
        bz_free(index);
        return BLAZE_ENOMEM;
    }
    atomic_init(&names->references, 1);
    atomic_init(&names->index, index);
    bz_arena_init(&names->arena);
    *out = names;
    return 0;
}

struct blaze_names *bz_names_ref(const struct blaze_names *names)
{
    /* The count is not part of what const protects. */
    struct blaze_names *mutable = (struct blaze_names *)(uintptr_t)names;
    atomic_fetch_add_explicit(&mutable->references, 1, memory_order_relaxed);
    return mutable;
}

void bz_names_unref(const struct blaze_names *names)
{
    struct blaze_names *mutable = (struct blaze_names *)(uintptr_t)names;
    if (names == NULL ||
        atomic_fetch_sub_explicit(&mutable->references, 1, memory_order_acq_rel) != 1)
        return;
    struct index *index = atomic_load_explicit(&mutable->index, memory_order_relaxed);
    while (index != NULL) {
        struct index *older = index->retired;
        bz_free(index);
        index = older;
    }
    for (unsigned c = 0; c < CHUNKS; c++)
        bz_free(atomic_load_explicit(&mutable->chunks[c], memory_order_relaxed));
    bz_arena_release(&mutable->arena);
    bz_free(mutable);
}

uint32_t bz_names_count(const struct blaze_names *names)
{
    return atomic_load_explicit(&names->count, memory_order_acquire);
}

struct bz_bytes bz_names_get(const struct blaze_names *names, uint32_t id)
{
    if (id >= bz_names_count(names))
        return bz_bytes(NULL, 0);
    const struct name *name = name_at(names, id);
    return bz_bytes(name->bytes, name->size);
}

static bool same(const struct name *name, struct bz_bytes text, uint32_t hash)
{
    return name->hash == hash && bz_bytes_equal(bz_bytes(name->bytes, name->size), text);
}

static bool find(const struct blaze_names *names, struct bz_bytes text, uint32_t hash, uint32_t *id)
{
    struct index *index = atomic_load_explicit(&names->index, memory_order_acquire);
    for (uint32_t i = hash & index->mask;; i = (i + 1) & index->mask) {
        uint32_t slot = atomic_load_explicit(&index->slots[i], memory_order_acquire);
        if (slot == EMPTY)
            return false;
        if (same(name_at(names, slot - 1), text, hash)) {
            *id = slot - 1;
            return true;
        }
    }
}

int bz_names_find(const struct blaze_names *names, struct bz_bytes name, uint32_t *id)
{
    return find(names, name, hash_of(name), id) ? 0 : BLAZE_ENOTFOUND;
}

static void enter(struct index *index, uint32_t hash, uint32_t id)
{
    uint32_t i = hash & index->mask;
    while (atomic_load_explicit(&index->slots[i], memory_order_relaxed) != EMPTY)
        i = (i + 1) & index->mask;
    atomic_store_explicit(&index->slots[i], id + 1, memory_order_release);
}

/* Room for one more entry with at most three quarters of the slots in use. */
static int make_room(struct blaze_names *names)
{
    struct index *old = atomic_load_explicit(&names->index, memory_order_relaxed);
    uint32_t count = bz_names_count(names);
    if (((uint64_t)count + 1) * 4 <= ((uint64_t)old->mask + 1) * 3)
        return 0;
    struct index *index = index_new((old->mask + 1) * 2);
    if (index == NULL)
        return BLAZE_ENOMEM;
    for (uint32_t id = 0; id < count; id++)
        enter(index, name_at(names, id)->hash, id);
    index->retired = old;
    atomic_store_explicit(&names->index, index, memory_order_release);
    return 0;
}

/* The place of the pointer to name `id`, making its chunk. */
static name_slot *place_of(struct blaze_names *names, uint32_t id)
{
    uint32_t offset;
    unsigned c = chunk_of(id, &offset);
    if (c >= CHUNKS)
        return NULL;
    name_slot *chunk = atomic_load_explicit(&names->chunks[c], memory_order_relaxed);
    if (chunk == NULL) {
        chunk = bz_zalloc(((size_t)FIRST_CHUNK << c) * sizeof *chunk);
        if (chunk == NULL)
            return NULL;
        atomic_store_explicit(&names->chunks[c], chunk, memory_order_release);
    }
    return &chunk[offset];
}

/* The name that is most likely to be asked for, if it is this one. */
static struct name *guess(const struct blaze_names *names, struct bz_bytes text)
{
    struct name *next = names->last == NULL ? NULL : names->last->next;
    bool right = next != NULL && next->id != NO_ID && next->size == text.size &&
                 memcmp(next->bytes, text.data, text.size) == 0;
    return right ? next : NULL;
}

/* The name at the next id, whose place is `place`: made, or the forgotten one there. */
static struct name *name_make(
    struct blaze_names *names, name_slot *place, struct bz_bytes text, uint32_t hash)
{
    struct name *name = atomic_load_explicit(place, memory_order_relaxed);
    if (name != NULL && same(name, text, hash))
        return name;
    name = bz_arena_alloc(&names->arena, sizeof *name + text.size);
    if (name == NULL)
        return NULL;
    *name = (struct name){.size = (uint32_t)text.size, .hash = hash};
    memcpy(name->bytes, text.data, text.size);
    atomic_store_explicit(place, name, memory_order_release);
    return name;
}

static int append(struct blaze_names *names, struct bz_bytes text, uint32_t hash, struct name **out)
{
    uint32_t id = bz_names_count(names);
    name_slot *place = make_room(names) == 0 ? place_of(names, id) : NULL;
    struct name *name = place == NULL ? NULL : name_make(names, place, text, hash);
    if (name == NULL)
        return BLAZE_ENOMEM;
    name->id = id;
    enter(atomic_load_explicit(&names->index, memory_order_relaxed), hash, id);
    atomic_store_explicit(&names->count, id + 1, memory_order_release);
    *out = name;
    return 0;
}

int bz_names_add(struct blaze_names *names, struct bz_bytes text, uint32_t *id)
{
    assert(text.size > 0 && text.size <= BZ_NAMES_BYTES_MAX);
    struct name *name = guess(names, text);
    if (name == NULL) {
        uint32_t hash = hash_of(text), found;
        int rc = find(names, text, hash, &found) ? 0 : append(names, text, hash, &name);
        if (rc != 0)
            return rc;
        if (name == NULL)
            name = name_at(names, found);
        if (names->last != NULL)
            names->last->next = name;
    }
    names->last = name;
    *id = name->id;
    return 0;
}

void bz_names_truncate(struct blaze_names *names, uint32_t count)
{
    struct index *index = atomic_load_explicit(&names->index, memory_order_relaxed);
    for (uint32_t id = bz_names_count(names); id > count; id--) {
        struct name *name = name_at(names, id - 1);
        uint32_t i = name->hash & index->mask;
        name->id = NO_ID;
        while (atomic_load_explicit(&index->slots[i], memory_order_relaxed) != id)
            i = (i + 1) & index->mask;
        atomic_store_explicit(&index->slots[i], EMPTY, memory_order_release);
    }
    if (count < bz_names_count(names))
        atomic_store_explicit(&names->count, count, memory_order_release);
}

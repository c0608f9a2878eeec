/* SPDX-License-Identifier: Apache-2.0 */
#include "store/tree.h"

#include "base/alloc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ---- */

char *bz_tree_table_path(const char *dir, uint64_t id)
{
    char name[32];
    snprintf(name, sizeof name, "%016" PRIx64 ".tbl", id);
    return bz_path_join(dir, name);
}

bool bz_tree_is_table_name(const char *name, uint64_t *id)
{
    if (strlen(name) != 20 || strspn(name, "0123456789abcdef") != 16)
        return false;
    *id = strtoull(name, NULL, 16);
    return strcmp(name + 16, ".tbl") == 0;
}

/* ---- opening ---- */

struct bz_tree *bz_tree_retain(struct bz_tree *tree)
{
    atomic_fetch_add_explicit(&tree->refs, 1, memory_order_relaxed);
    return tree;
}

void bz_tree_release(struct bz_tree *tree)
{
    if (tree == NULL || atomic_fetch_sub_explicit(&tree->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < BZ_LEVELS; i++) {
        for (uint32_t k = 0; k < tree->levels[i].count; k++)
            bz_table_release(tree->levels[i].files[k].table);
        bz_free(tree->levels[i].files);
    }
    bz_free(tree);
}

struct bz_table *bz_tree_find(const struct bz_tree *tree, uint64_t id)
{
    for (uint32_t i = 0; tree != NULL && i < BZ_LEVELS; i++)
        for (uint32_t k = 0; k < tree->levels[i].count; k++)
            if (tree->levels[i].files[k].id == id)
                return tree->levels[i].files[k].table;
    return NULL;
}

struct opening {
    const struct bz_manifest *manifest;
    const char *dir;
    const uint8_t *key;
    struct bz_block_cache *cache;
    const struct bz_tree *known;
    struct bz_tree *tree;
};

static int open_table(const struct opening *o, const struct bz_manifest_file *file,
    struct bz_table **out, blaze_error *error)
{
    struct bz_table *known = bz_tree_find(o->known, file->id);
    if (known != NULL) {
        *out = bz_table_retain(known);
        return 0;
    }
    char *path = bz_tree_table_path(o->dir, file->id);
    if (path == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = bz_table_open(out, path, file->size, o->key, o->cache, error);
    if (rc == BLAZE_ENOTFOUND)
        rc = bz_error_set(error, BLAZE_ECORRUPT, "%s is missing", path);
    bz_free(path);
    return rc;
}

/* The files of a level are in their order, and do not overlap. */
static int check_order(const struct opening *o, uint32_t number, blaze_error *error)
{
    const struct bz_level *level = &o->tree->levels[number];
    for (uint32_t k = 1; number > 0 && k < level->count; k++) {
        if (bz_table_key_compare(level->files[k - 1].last, level->files[k].first) >= 0)
            return bz_error_set(error, BLAZE_ECORRUPT, "%s: overlaps another of its level",
                bz_table_path(level->files[k].table));
    }
    return 0;
}

static int open_level(const struct opening *o, uint32_t number, uint32_t first, uint32_t count,
    bool tolerant, blaze_error *error)
{
    struct bz_level *level = &o->tree->levels[number];
    level->files = bz_zalloc((count + 1) * sizeof *level->files);
    if (level->files == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    for (uint32_t i = first; i < first + count; i++) {
        const struct bz_manifest_file *known = &o->manifest->files[i];
        struct bz_tree_file file = {.id = known->id, .size = known->size};
        blaze_error detail = {0};
        int rc = open_table(o, known, &file.table, &detail);
        if (rc == BLAZE_ECORRUPT && tolerant) {
            o->tree->damage = detail;
            continue;
        }
        if (rc != 0)
            return bz_error_set(error, rc, "%s", detail.text);
        file.first = bz_table_first(file.table);
        file.last = bz_table_last(file.table);
        level->files[level->count++] = file;
        level->bytes += file.size;
    }
    return check_order(o, number, error);
}

int bz_tree_open(struct bz_tree **out, const struct bz_manifest *manifest, const char *dir,
    const uint8_t *key, struct bz_block_cache *cache, const struct bz_tree *known, bool tolerant,
    blaze_error *error)
{
    struct bz_tree *tree = bz_zalloc(sizeof *tree);
    if (tree == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    atomic_init(&tree->refs, 1);
    tree->sequence = manifest->sequence;
    tree->log = manifest->log;
    struct opening o = {manifest, dir, key, cache, known, tree};
    uint32_t first = 0;
    int rc = 0;
    for (uint32_t level = 0; level < BZ_LEVELS && rc == 0; level++) {
        uint32_t count = 0;
        while (first + count < manifest->count && manifest->files[first + count].level == level)
            count++;
        rc = open_level(&o, level, first, count, tolerant, error);
        first += count;
    }
    if (rc != 0) {
        bz_tree_release(tree);
        return rc;
    }
    *out = tree;
    return 0;
}

/* ---- changing ---- */

struct change {
    const struct bz_tree_file *const *gone;
    uint32_t gone_count;
    uint32_t gone_found;
    const struct bz_tree_addition *added;
    uint32_t added_count;
};

static bool is_gone(const struct change *change, uint64_t id)
{
    for (uint32_t i = 0; i < change->gone_count; i++)
        if (change->gone[i]->id == id)
            return true;
    return false;
}

static void insert(struct bz_level *level, uint32_t at, const struct bz_tree_file *file)
{
    memmove(level->files + at + 1, level->files + at, (level->count - at) * sizeof *level->files);
    level->files[at] = *file;
    bz_table_retain(file->table);
    level->count++;
    level->bytes += file->size;
}

/* Level `number` of the new tree. False if an addition overlaps. */
static bool change_level(
    struct bz_level *level, const struct bz_level *old, uint32_t number, struct change *change)
{
    bool fits = true;
    for (uint32_t k = 0; k < old->count; k++) {
        if (is_gone(change, old->files[k].id))
            change->gone_found++;
        else
            insert(level, level->count, &old->files[k]);
    }
    for (uint32_t k = 0; k < change->added_count; k++) {
        const struct bz_tree_file *file = &change->added[k].file;
        if (change->added[k].level != number)
            continue;
        uint32_t at = number == 0 ? 0 : bz_level_find(level, file->first);
        struct bz_key_range range = {file->first, file->last};
        fits = fits && (number == 0 || at == level->count ||
                           !bz_tree_file_meets(&level->files[at], &range));
        insert(level, at, file);
    }
    return fits;
}

int bz_tree_change(struct bz_tree **out, const struct bz_tree *tree,
    const struct bz_tree_file *const *gone, uint32_t gone_count,
    const struct bz_tree_addition *added, uint32_t added_count, blaze_error *error)
{
    struct change change = {
        .gone = gone, .gone_count = gone_count, .added = added, .added_count = added_count};
    struct bz_tree *made = bz_zalloc(sizeof *made);
    if (made == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    atomic_init(&made->refs, 1);
    made->sequence = tree->sequence + 1;
    made->log = tree->log;
    bool fits = true;
    for (uint32_t i = 0; i < BZ_LEVELS; i++) {
        size_t most = (size_t)tree->levels[i].count + added_count + 1;
        made->levels[i].files = bz_zalloc(most * sizeof *made->levels[i].files);
        if (made->levels[i].files == NULL) {
            bz_tree_release(made);
            return bz_error_code(error, BLAZE_ENOMEM);
        }
        fits = change_level(&made->levels[i], &tree->levels[i], i, &change) && fits;
    }
    if (!fits || change.gone_found != gone_count) {
        bz_tree_release(made);
        return bz_error_set(error, BLAZE_EBUSY, "the tables have changed meanwhile");
    }
    *out = made;
    return 0;
}

int bz_tree_manifest(const struct bz_tree *tree, struct bz_manifest *out)
{
    int rc = 0;
    out->sequence = tree->sequence;
    out->log = tree->log;
    for (uint32_t i = 0; i < BZ_LEVELS; i++) {
        for (uint32_t k = 0; k < tree->levels[i].count && rc == 0; k++) {
            const struct bz_tree_file *file = &tree->levels[i].files[k];
            rc = bz_manifest_add(out, &(struct bz_manifest_file){file->id, file->size, i});
        }
    }
    return rc;
}

uint64_t bz_tree_bytes(const struct bz_tree *tree)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < BZ_LEVELS; i++)
        bytes += tree->levels[i].bytes;
    return bytes;
}

/* ---- reading ---- */

uint32_t bz_level_find(const struct bz_level *level, struct bz_table_key key)
{
    uint32_t low = 0, high = level->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (bz_table_key_compare(level->files[middle].last, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* In one table; the code of bz_table_get(). */
static int get_in(const struct bz_tree_file *file, struct bz_table_key key, bool *deleted,
    struct bz_bytes *value, struct bz_block **pin, blaze_error *error)
{
    return bz_table_get(file->table, key.map, key.key, deleted, value, pin, error);
}

int bz_tree_get(const struct bz_tree *tree, uint32_t map, struct bz_bytes key,
    struct bz_bytes *value, struct bz_block **pin, blaze_error *error)
{
    const struct bz_table_key target = {map, key};
    const struct bz_key_range range = {target, target};
    int rc = BLAZE_ENOTFOUND;
    bool deleted = false;
    const struct bz_level *newest = &tree->levels[0];
    for (uint32_t i = 0; i < newest->count && rc == BLAZE_ENOTFOUND; i++) {
        if (bz_tree_file_meets(&newest->files[i], &range))
            rc = get_in(&newest->files[i], target, &deleted, value, pin, error);
    }
    for (uint32_t i = 1; i < BZ_LEVELS && rc == BLAZE_ENOTFOUND; i++) {
        const struct bz_level *level = &tree->levels[i];
        uint32_t at = level->count == 0 ? 0 : bz_level_find(level, target);
        if (at < level->count && bz_table_key_compare(level->files[at].first, target) <= 0)
            rc = get_in(&level->files[at], target, &deleted, value, pin, error);
    }
    if (rc == 0 && deleted) {
        bz_block_unpin(*pin);
        *pin = NULL;
        return BLAZE_ENOTFOUND;
    }
    return rc;
}

bool bz_level_meets(const struct bz_level *level, const struct bz_key_range *range)
{
    for (uint32_t i = 0; i < level->count; i++)
        if (bz_tree_file_meets(&level->files[i], range))
            return true;
    return false;
}

bool bz_tree_has(const struct bz_tree *tree, uint32_t level, const struct bz_key_range *range)
{
    if (level == 0 && bz_level_meets(&tree->levels[0], range))
        return true;
    for (uint32_t i = level == 0 ? 1 : level; i < BZ_LEVELS; i++) {
        const struct bz_level *at = &tree->levels[i];
        uint32_t k = at->count == 0 ? 0 : bz_level_find(at, range->first);
        if (k < at->count && bz_tree_file_meets(&at->files[k], range))
            return true;
    }
    return false;
}

int bz_tree_verify(const struct bz_tree *tree, void (*each)(void *context, const char *problem),
    void *context, blaze_error *error)
{
    int first = 0;
    for (uint32_t i = 0; i < BZ_LEVELS; i++) {
        for (uint32_t k = 0; k < tree->levels[i].count; k++) {
            blaze_error detail;
            int rc = bz_table_verify(tree->levels[i].files[k].table, each, context, &detail);
            if (rc != 0 && first == 0)
                first = bz_error_set(error, rc, "%s", detail.text);
        }
    }
    return first;
}

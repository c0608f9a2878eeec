/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A checkpoint writes the memtable out as tables, a new one where the map changes, so that what
 * belongs together lies together and what does not overlap anything need not be merged: a table
 * whose range neither level 0 nor level 1 has goes straight to level 1 (records with ascending ids,
 * the change log), the others become the newest of level 0.
 */

#include "store/base.h"

#include "base/alloc.h"
#include "store/output.h"

#include <string.h>

#define TABLE_BYTES ((uint64_t)32 << 20)
#define TABLE_LEAST ((uint64_t)256 << 10)
#define LEVEL_BYTES ((uint64_t)256 << 20)
#define CACHE_LEAST ((uint64_t)64 << 20)
#define CACHE_SHARE 16u /* of the machine's memory */

/* ---- setting up ---- */

static int map_names(const struct bz_store_options *options, struct bz_buf *out)
{
    bz_buf_init(out, UINT16_MAX);
    for (uint32_t i = 0; i < options->map_count; i++)
        bz_buf_append(out, options->maps[i], strlen(options->maps[i]) + 1);
    return out->error;
}

static uint64_t usual_cache(void)
{
    uint64_t bytes = bz_os_memory() / CACHE_SHARE;
    return bytes > CACHE_LEAST ? bytes : CACHE_LEAST;
}

int bz_base_init(struct bz_base *base, const char *dir, const struct bz_store_options *options,
    blaze_error *error)
{
    *base = (struct bz_base){
        .cache_bytes = options->cache_bytes != 0 ? options->cache_bytes : usual_cache(),
        .table_bytes = options->table_bytes != 0 ? options->table_bytes : TABLE_BYTES,
        .level_bytes = options->level_bytes != 0 ? options->level_bytes : LEVEL_BYTES,
    };
    int rc = map_names(options, &base->maps);
    base->dir = bz_path_join(dir, ".");
    base->manifest_path = bz_path_join(dir, "manifest");
    base->tables_path = bz_path_join(dir, "tables");
    if (rc == 0 && (base->dir == NULL || base->manifest_path == NULL || base->tables_path == NULL))
        rc = BLAZE_ENOMEM;
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

int bz_base_seal(struct bz_base *base, const uint8_t *key, blaze_error *error)
{
    base->key = key;
    if (base->cache == NULL)
        base->cache = bz_block_cache_new(base->cache_bytes);
    return base->cache != NULL ? 0 : bz_error_code(error, BLAZE_ENOMEM);
}

void bz_base_release(struct bz_base *base)
{
    bz_block_cache_free(base->cache);
    bz_buf_release(&base->maps);
    bz_free(base->dir);
    bz_free(base->manifest_path);
    bz_free(base->tables_path);
    *base = (struct bz_base){0};
}

bool bz_base_exists(const struct bz_base *base)
{
    return bz_path_exists(base->manifest_path);
}

/* ---- the manifest ---- */

/* What the manifest says of `tree`. */
static int describe(const struct bz_base *base, const struct bz_tree *tree, struct bz_manifest *out,
    blaze_error *error)
{
    bz_manifest_init(out);
    int rc = bz_tree_manifest(tree, out);
    bz_buf_append(&out->maps, base->maps.data, base->maps.size);
    if (rc == 0)
        rc = out->maps.error;
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

int bz_base_commit(struct bz_base *base, const struct bz_tree *tree, blaze_error *error)
{
    struct bz_manifest manifest;
    int rc = describe(base, tree, &manifest, error);
    if (rc == 0)
        rc = bz_manifest_write(&manifest, base->manifest_path, base->dir, base->key, error);
    bz_manifest_release(&manifest);
    return rc;
}

int bz_base_prepare(struct bz_base *base, const struct bz_log_position *start, blaze_error *error)
{
    struct bz_tree empty = {.sequence = 1, .log = *start};
    struct bz_manifest manifest;
    int rc = bz_dir_create(base->tables_path, error);
    if (rc != 0 && rc != BLAZE_EEXIST)
        return rc;
    rc = describe(base, &empty, &manifest, error);
    if (rc == 0)
        rc = bz_manifest_prepare(&manifest, base->manifest_path, base->key, error);
    bz_manifest_release(&manifest);
    return rc;
}

int bz_base_create(struct bz_base *base, blaze_error *error)
{
    int rc = bz_dir_sync(base->dir, error); /* the manifest's name says that all else is there */
    return rc != 0 ? rc : bz_manifest_replace(base->manifest_path, error);
}

/* The file must know the same maps in the same order, or fewer: then the rest is new. */
static int check_maps(
    const struct bz_base *base, const struct bz_manifest *manifest, blaze_error *error)
{
    const struct bz_buf *ours = &base->maps, *theirs = &manifest->maps;
    if (theirs->size <= ours->size &&
        (theirs->size == 0 || memcmp(theirs->data, ours->data, theirs->size) == 0))
        return 0;
    return bz_error_set(
        error, BLAZE_EVERSION, "%s: has other maps than this program knows", base->manifest_path);
}

/* One attempt, at the manifest of sequence *sequence. */
static int load(struct bz_base *base, struct bz_tree *known, bool tolerant, struct bz_tree **out,
    uint64_t *sequence, blaze_error *error)
{
    struct bz_manifest manifest;
    bz_manifest_init(&manifest);
    int rc = bz_manifest_read(&manifest, base->manifest_path, base->key, error);
    *sequence = manifest.sequence;
    if (rc == 0)
        rc = check_maps(base, &manifest, error);
    if (rc == 0 && known != NULL && known->sequence == manifest.sequence)
        *out = bz_tree_retain(known);
    else if (rc == 0)
        rc = bz_tree_open(
            out, &manifest, base->tables_path, base->key, base->cache, known, tolerant, error);
    bz_manifest_release(&manifest);
    return rc;
}

int bz_base_load(struct bz_base *base, struct bz_tree *known, bool tolerant, struct bz_tree **out,
    blaze_error *error)
{
    uint64_t tried = 0, sequence;
    for (;;) {
        int rc = load(base, known, false, out, &sequence, error);
        if (rc != BLAZE_ECORRUPT || sequence == 0)
            return rc;
        if (sequence == tried)
            return tolerant ? load(base, known, true, out, &sequence, error) : rc;
        tried = sequence;
    }
}

static int look(const struct bz_base *base, uint64_t *sequence, bool *has_maps, blaze_error *error)
{
    struct bz_manifest manifest;
    bz_manifest_init(&manifest);
    int rc = bz_manifest_read(&manifest, base->manifest_path, base->key, error);
    if (rc == 0) {
        *sequence = manifest.sequence;
        *has_maps = manifest.maps.size >= base->maps.size;
    }
    bz_manifest_release(&manifest);
    return rc;
}

int bz_base_sequence(const struct bz_base *base, uint64_t *out, blaze_error *error)
{
    bool has_maps;
    return look(base, out, &has_maps, error);
}

int bz_base_has_maps(const struct bz_base *base, bool *out, blaze_error *error)
{
    uint64_t sequence;
    return look(base, &sequence, out, error);
}

int bz_base_add_maps(
    struct bz_base *base, struct bz_tree *known, struct bz_tree **out, blaze_error *error)
{
    struct bz_tree *tree, *next = NULL;
    int rc = bz_base_load(base, known, false, &tree, error);
    if (rc != 0)
        return rc;
    rc = bz_tree_change(&next, tree, NULL, 0, NULL, 0, error);
    bz_tree_release(tree);
    if (rc == 0)
        rc = bz_base_commit(base, next, error);
    if (rc == 0)
        *out = next;
    else
        bz_tree_release(next);
    return rc;
}

/* ---- a checkpoint ---- */

static bool is_needless(const struct bz_tree *tree, const struct bz_mem_node *node)
{
    struct bz_table_key key = {node->map, bz_mem_key(node)};
    return node->deleted && !bz_tree_has(tree, 0, &(struct bz_key_range){key, key});
}

/* The newest version of each key; deletes only of what may be there. */
static int write_out(struct bz_output *output, const struct bz_memtable *table,
    const struct bz_tree *tree, blaze_error *error)
{
    int rc = 0;
    const struct bz_mem_node *node = bz_mem_first(&table->list);
    while (node != NULL && rc == 0) {
        struct bz_write entry = {node->map, node->deleted, bz_mem_key(node), bz_mem_value(node)};
        if (!is_needless(tree, node))
            rc = bz_output_add(output, &entry, error);
        node = bz_mem_next_key(node);
    }
    return rc;
}

/* The tree with the new tables `made` (NULL: none), and the log going on at `end`. */
static int add_tables(struct bz_tree **out, const struct bz_tree *tree, const struct bz_tree *made,
    const struct bz_log_position *end, blaze_error *error)
{
    uint32_t count = made == NULL ? 0 : made->levels[0].count;
    struct bz_tree_addition *added = bz_zalloc((count + 1) * sizeof *added);
    if (added == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    for (uint32_t i = 0; i < count; i++) {
        const struct bz_tree_file *file = &made->levels[0].files[i];
        struct bz_key_range range = {file->first, file->last};
        added[i].file = *file;
        bool apart =
            !bz_level_meets(&tree->levels[0], &range) && !bz_level_meets(&tree->levels[1], &range);
        added[i].level = apart ? 1 : 0;
    }
    int rc = bz_tree_change(out, tree, NULL, 0, added, count, error);
    if (rc == 0)
        (*out)->log = *end;
    bz_free(added);
    return rc;
}

static int flush(struct bz_base *base, const struct bz_tree *tree, const struct bz_memtable *table,
    const struct bz_log_position *end, struct bz_tree **out, blaze_error *error)
{
    struct bz_output output;
    struct bz_tree *made = NULL, *next = NULL;
    bz_output_init(
        &output, base->tables_path, base->key, base->cache, base->table_bytes, TABLE_LEAST);
    int rc = write_out(&output, table, tree, error);
    if (rc == 0)
        rc = bz_output_finish(&output, &made, error);
    if (rc == 0)
        rc = add_tables(&next, tree, made, end, error);
    if (rc == 0)
        rc = bz_base_commit(base, next, error);
    bz_output_release(&output, rc == 0 || rc == BLAZE_EFAILED);
    bz_tree_release(made);
    if (rc != 0)
        bz_tree_release(next);
    else
        *out = next;
    return rc;
}

int bz_base_flush(struct bz_base *base, struct bz_tree *known, const struct bz_memtable *table,
    const struct bz_log_position *end, struct bz_tree **out, blaze_error *error)
{
    struct bz_tree *tree;
    int rc = bz_base_load(base, known, false, &tree, error);
    if (rc != 0)
        return rc;
    if (tree->log.lsn > end->lsn ||
        (tree->log.lsn == end->lsn && tree->log.segment >= end->segment)) {
        /* The log behind it may be let go of: whoever wrote it may have died before its name was
         * durable. */
        rc = bz_dir_sync(base->dir, error);
        if (rc == 0)
            *out = tree;
        else
            bz_tree_release(tree);
        return rc;
    }
    rc = flush(base, tree, table, end, out, error);
    bz_tree_release(tree);
    return rc;
}

/* ---- what a crash left ---- */

struct sweep {
    const struct bz_base *base;
    const struct bz_tree *tree;
    bool synced; /* a power cut does not bring the older manifest back */
};

static int sweep_one(void *context, const char *name)
{
    struct sweep *sweep = context;
    uint64_t id;
    if (!bz_tree_is_table_name(name, &id) || bz_tree_find(sweep->tree, id) != NULL)
        return 0;
    sweep->synced = sweep->synced || bz_dir_sync(sweep->base->dir, NULL) == 0;
    if (!sweep->synced)
        return 1; /* then it stays: it does no harm */
    char *path = bz_path_join(sweep->base->tables_path, name);
    if (path != NULL)
        bz_path_remove(path, NULL);
    bz_free(path);
    return 0;
}

void bz_base_sweep(struct bz_base *base, const struct bz_tree *tree)
{
    struct sweep sweep = {base, tree, false};
    bz_dir_list(base->tables_path, sweep_one, &sweep, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What is due:
 *
 *   level 0   its tables fall into clusters: those that overlap, one through another. A cluster of
 *             DEPTH tables or more is merged into level 1; one that overlaps nothing there is
 * moved. level i   one that has more bytes than it may have gives the table that overlaps least of
 * the next level, for its size; one that overlaps nothing is moved, as it is.
 *
 * And where it is worth it, because there is time: a cluster that has at least a quarter of the
 * bytes that would have to be written, in a tree that is small.
 *
 * The upper and the lower tables cover one range without gaps between them, so that what is made of
 * them overlaps nothing else in the next level, unless a checkpoint has put it there meanwhile.
 */

#include "store/compact.h"

#include "base/alloc.h"
#include "store/output.h"
#include "store/tree_iter.h"

#define DEPTH         4u
#define LEVEL_FACTOR  10u
#define SMALL_TREE    ((uint64_t)64 << 20)
#define OUTPUT_LEAST  ((uint64_t)256 << 10)
#define STOP_INTERVAL 1024u

/* ---- ranges ---- */

static struct bz_key_range range_of(const struct bz_tree_file *file)
{
    return (struct bz_key_range){file->first, file->last};
}

static void widen(struct bz_key_range *range, const struct bz_tree_file *file)
{
    if (bz_table_key_compare(file->first, range->first) < 0)
        range->first = file->first;
    if (bz_table_key_compare(file->last, range->last) > 0)
        range->last = file->last;
}

static uint64_t bytes_within(const struct bz_level *level, const struct bz_key_range *range)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < level->count; i++)
        if (bz_tree_file_meets(&level->files[i], range))
            bytes += level->files[i].size;
    return bytes;
}

/* ---- clusters of level 0 ---- */

struct cluster {
    struct bz_key_range range;
    uint32_t count;
    uint64_t bytes;
};

/* All that table `seed` overlaps, through others too. */
static struct cluster cluster_of(const struct bz_level *level, uint32_t seed)
{
    struct cluster cluster = {.range = range_of(&level->files[seed])};
    uint32_t before;
    do {
        before = cluster.count;
        cluster.count = 0;
        cluster.bytes = 0;
        for (uint32_t i = 0; i < level->count; i++) {
            if (!bz_tree_file_meets(&level->files[i], &cluster.range))
                continue;
            widen(&cluster.range, &level->files[i]);
            cluster.count++;
            cluster.bytes += level->files[i].size;
        }
    } while (cluster.count != before);
    return cluster;
}

uint32_t bz_compaction_depth(const struct bz_tree *tree)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < tree->levels[0].count; i++) {
        uint32_t count = cluster_of(&tree->levels[0], i).count;
        most = count > most ? count : most;
    }
    return most;
}

static bool is_due(
    const struct bz_tree *tree, const struct cluster *cluster, enum bz_compaction_need need)
{
    uint64_t below = bytes_within(&tree->levels[1], &cluster->range);
    if (cluster->count >= DEPTH || (cluster->count == 1 && below == 0))
        return true;
    return need == BZ_COMPACT_WORTH_IT && bz_tree_bytes(tree) <= SMALL_TREE &&
           cluster->bytes * 4 >= below;
}

static bool pick_cluster(
    const struct bz_tree *tree, enum bz_compaction_need need, struct bz_key_range *out)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < tree->levels[0].count; i++) {
        struct cluster cluster = cluster_of(&tree->levels[0], i);
        if (cluster.count <= most || !is_due(tree, &cluster, need))
            continue;
        most = cluster.count;
        *out = cluster.range;
    }
    return most > 0;
}

/* ---- the levels below ---- */

static uint64_t allowed(const struct bz_base *base, uint32_t level)
{
    uint64_t bytes = base->level_bytes;
    for (uint32_t i = 1; i < level; i++)
        bytes *= LEVEL_FACTOR;
    return bytes;
}

/* Of a level that is too large, the table whose merge costs least for what it frees. */
static bool pick_table(const struct bz_base *base, const struct bz_tree *tree, uint32_t number,
    struct bz_key_range *out)
{
    const struct bz_level *level = &tree->levels[number];
    double least = 0;
    if (level->bytes <= allowed(base, number))
        return false;
    for (uint32_t i = 0; i < level->count; i++) {
        struct bz_key_range range = range_of(&level->files[i]);
        double cost =
            (double)bytes_within(&tree->levels[number + 1], &range) / (double)level->files[i].size;
        if (i > 0 && cost >= least)
            continue;
        least = cost;
        *out = range;
    }
    return level->count > 0;
}

/* ---- choosing ---- */

static uint32_t add_files(
    struct bz_compaction *c, const struct bz_level *level, const struct bz_key_range *range)
{
    uint32_t before = c->upper + c->lower, count = 0;
    for (uint32_t i = 0; i < level->count; i++) {
        if (!bz_tree_file_meets(&level->files[i], range))
            continue;
        c->files[before + count++] = &level->files[i];
        c->bytes += level->files[i].size;
    }
    return count;
}

int bz_compaction_pick(struct bz_compaction *out, const struct bz_base *base, struct bz_tree *tree,
    enum bz_compaction_need need)
{
    struct bz_key_range range;
    uint32_t level = 0;
    bool found = pick_cluster(tree, need, &range);
    while (!found && level + 2 < BZ_LEVELS)
        found = pick_table(base, tree, ++level, &range);
    if (!found)
        return BLAZE_END;
    *out = (struct bz_compaction){.level = level};
    size_t most = (size_t)tree->levels[level].count + tree->levels[level + 1].count;
    out->files = bz_malloc(most * sizeof(struct bz_tree_file *));
    if (out->files == NULL)
        return BLAZE_ENOMEM;
    out->tree = bz_tree_retain(tree);
    out->upper = add_files(out, &tree->levels[level], &range);
    out->lower = add_files(out, &tree->levels[level + 1], &range);
    return 0;
}

void bz_compaction_release(struct bz_compaction *compaction)
{
    bz_tree_release(compaction->made);
    bz_tree_release(compaction->tree);
    bz_free(compaction->files);
    *compaction = (struct bz_compaction){0};
}

/* ---- running ---- */

static bool is_move(const struct bz_compaction *c)
{
    return c->upper == 1 && c->lower == 0;
}

/* Whether nothing is left that a delete hides. */
static bool is_needless(const struct bz_compaction *c, const struct bz_write *entry)
{
    struct bz_table_key key = {entry->map, entry->key};
    return entry->deleted && !bz_tree_has(c->tree, c->level + 2, &(struct bz_key_range){key, key});
}

static int copy(struct bz_compaction *c, struct bz_tree_iter *iter, struct bz_output *output,
    const atomic_bool *stop, blaze_error *error)
{
    uint64_t entries = 0;
    int rc = bz_tree_iter_seek(iter, (struct bz_table_key){0}, error);
    while (rc == 0) {
        const struct bz_write *entry = bz_tree_iter_entry(iter);
        if (++entries % STOP_INTERVAL == 0 && atomic_load_explicit(stop, memory_order_relaxed))
            return bz_error_code(error, BLAZE_ECANCELED);
        if (!is_needless(c, entry))
            rc = bz_output_add(output, entry, error);
        if (rc == 0)
            rc = bz_tree_iter_move(iter, error);
    }
    return rc == BLAZE_END ? 0 : rc;
}

/* The runs of the files: each upper table of level 0 for itself, else all together. */
static int open_iter(const struct bz_compaction *c, struct bz_tree_iter *iter, blaze_error *error)
{
    struct bz_run *runs = bz_malloc((c->upper + 1) * sizeof *runs);
    uint32_t count = 0;
    if (runs == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    for (uint32_t i = 0; i < c->upper; i++)
        runs[count++] = (struct bz_run){c->files[i], 1};
    if (c->lower > 0)
        runs[count++] = (struct bz_run){c->files[c->upper], c->lower};
    int rc = bz_tree_iter_init(iter, runs, count);
    bz_free(runs);
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

int bz_compaction_run(struct bz_compaction *compaction, struct bz_base *base,
    const atomic_bool *stop, blaze_error *error)
{
    struct bz_tree_iter iter;
    struct bz_output output;
    if (is_move(compaction))
        return 0;
    int rc = open_iter(compaction, &iter, error);
    if (rc != 0)
        return rc;
    bz_output_init(
        &output, base->tables_path, base->key, base->cache, base->table_bytes, OUTPUT_LEAST);
    rc = copy(compaction, &iter, &output, stop, error);
    if (rc == 0)
        rc = bz_output_finish(&output, &compaction->made, error);
    bz_output_release(&output, rc == 0);
    bz_tree_iter_release(&iter);
    return rc;
}

/* ---- committing ---- */

static void remove_tables(const struct bz_tree_file *const *files, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        bz_path_remove(bz_table_path(files[i]->table), NULL);
}

static void remove_made(const struct bz_tree *made)
{
    for (uint32_t i = 0; made != NULL && i < made->levels[0].count; i++)
        bz_path_remove(bz_table_path(made->levels[0].files[i].table), NULL);
}

static int replace(struct bz_compaction *c, const struct bz_tree *current, struct bz_tree **out,
    blaze_error *error)
{
    uint32_t count = is_move(c) ? 1 : c->made == NULL ? 0 : c->made->levels[0].count;
    struct bz_tree_addition *added = bz_zalloc((count + 1) * sizeof *added);
    if (added == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    for (uint32_t i = 0; i < count; i++)
        added[i] = (struct bz_tree_addition){
            is_move(c) ? *c->files[0] : c->made->levels[0].files[i], c->level + 1};
    int rc = bz_tree_change(out, current, c->files, c->upper + c->lower, added, count, error);
    bz_free(added);
    return rc;
}

int bz_compaction_commit(struct bz_compaction *compaction, struct bz_base *base,
    struct bz_tree *known, struct bz_tree **out, blaze_error *error)
{
    struct bz_tree *current, *next = NULL;
    int rc = bz_base_load(base, known, false, &current, error);
    if (rc == 0) {
        rc = replace(compaction, current, &next, error);
        bz_tree_release(current);
    }
    if (rc == 0)
        rc = bz_base_commit(base, next, error);
    if (rc == 0 && !is_move(compaction))
        remove_tables(compaction->files, compaction->upper + compaction->lower);
    if (rc != 0) {
        if (rc != BLAZE_EFAILED)
            remove_made(compaction->made);
        bz_tree_release(next);
        return rc;
    }
    *out = next;
    return 0;
}

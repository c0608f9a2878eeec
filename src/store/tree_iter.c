/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The runs that stand at an entry are kept in order. Moving on moves the nearest one and puts it
 * back where it now belongs, mostly the front again: one comparison a step, and none where there is
 * one run. Of runs that stand at the same key the newest comes first; the others step over it.
 */

#include "store/tree_iter.h"

#include "base/alloc.h"

#include <string.h>

enum state { ENDED, LIVE, DAMAGED };

struct bz_tree_iter_run {
    struct bz_run tables;
    uint32_t at; /* the table that `iter` is over */
    bool opened; /* there is such a one */
    enum state state;
    struct bz_table_iter iter;
};

/* ---- one run ---- */

static void enter(struct bz_tree_iter_run *run, uint32_t at)
{
    if (run->opened && run->at == at)
        return;
    if (run->opened)
        bz_table_iter_release(&run->iter);
    bz_table_iter_init(&run->iter, run->tables.files[at].table);
    run->at = at;
    run->opened = true;
}

static int run_seek(struct bz_tree_iter_run *run, struct bz_table_key key, blaze_error *error)
{
    const struct bz_level tables = {
        .files = (struct bz_tree_file *)(uintptr_t)run->tables.files, .count = run->tables.count};
    uint32_t at = bz_level_find(&tables, key);
    if (at == tables.count)
        return BLAZE_END;
    enter(run, at);
    return bz_table_iter_seek(&run->iter, key.map, key.key, error);
}

static int run_seek_back(struct bz_tree_iter_run *run, struct bz_table_key key, blaze_error *error)
{
    const struct bz_level tables = {
        .files = (struct bz_tree_file *)(uintptr_t)run->tables.files, .count = run->tables.count};
    uint32_t at = bz_level_find(&tables, key);
    if (at < tables.count && bz_table_key_compare(tables.files[at].first, key) <= 0) {
        enter(run, at);
        return bz_table_iter_seek_back(&run->iter, key.map, key.key, error);
    }
    if (at == 0)
        return BLAZE_END;
    enter(run, at - 1);
    return bz_table_iter_last(&run->iter, error);
}

static int run_move(struct bz_tree_iter_run *run, bool backward, blaze_error *error)
{
    int rc =
        backward ? bz_table_iter_prev(&run->iter, error) : bz_table_iter_next(&run->iter, error);
    if (rc != BLAZE_END || run->at == (backward ? 0 : run->tables.count - 1))
        return rc;
    enter(run, backward ? run->at - 1 : run->at + 1);
    return backward ? bz_table_iter_last(&run->iter, error)
                    : bz_table_iter_first(&run->iter, error);
}

/* ---- the order of runs ---- */

/* Says what a movement of the run came to; the code, unless it is an end. */
static int note(struct bz_tree_iter *iter, struct bz_tree_iter_run *run, int rc)
{
    bool within = rc == 0 && (!iter->one_map || run->iter.entry.map == iter->map);
    run->state = within ? LIVE : ENDED;
    if (rc == 0 || rc == BLAZE_END)
        return 0;
    run->state = DAMAGED;
    iter->damaged = true;
    return rc;
}

static int compare_entries(const struct bz_write *a, const struct bz_write *b)
{
    if (a->map != b->map)
        return a->map < b->map ? -1 : 1;
    return bz_bytes_compare(a->key, b->key);
}

/* Whether run a comes before run b. */
static bool nearer(const struct bz_tree_iter *iter, uint32_t a, uint32_t b)
{
    int order = compare_entries(&iter->runs[a].iter.entry, &iter->runs[b].iter.entry);
    if (order == 0)
        return a < b;
    return iter->backward ? order > 0 : order < 0;
}

/* Puts order[i], which has moved away from here, where it belongs behind; or takes it out. */
static void put_back(struct bz_tree_iter *iter, uint32_t i)
{
    uint32_t moved = iter->order[i];
    bool live = iter->runs[moved].state == LIVE;
    while (i + 1 < iter->live && (!live || nearer(iter, iter->order[i + 1], moved))) {
        iter->order[i] = iter->order[i + 1];
        i++;
    }
    iter->order[i] = moved;
    if (!live)
        iter->live--;
}

static void arrange(struct bz_tree_iter *iter)
{
    iter->live = 0;
    for (uint32_t run = 0; run < iter->count; run++) {
        if (iter->runs[run].state != LIVE)
            continue;
        uint32_t i = iter->live++;
        for (; i > 0 && nearer(iter, run, iter->order[i - 1]); i--)
            iter->order[i] = iter->order[i - 1];
        iter->order[i] = run;
    }
}

static int step(struct bz_tree_iter *iter, uint32_t i, blaze_error *error)
{
    struct bz_tree_iter_run *run = &iter->runs[iter->order[i]];
    int rc = note(iter, run, run_move(run, iter->backward, error));
    put_back(iter, i);
    return rc;
}

/* Steps over what is older than the entry at the front, and over deletes. */
static int settle(struct bz_tree_iter *iter, blaze_error *error)
{
    int rc = 0;
    while (rc == 0 && iter->live > 0) {
        const struct bz_write *front = bz_tree_iter_entry(iter);
        while (rc == 0 && iter->live > 1 &&
               compare_entries(&iter->runs[iter->order[1]].iter.entry, front) == 0)
            rc = step(iter, 1, error);
        if (rc != 0 || !iter->one_map || !front->deleted)
            return rc;
        rc = step(iter, 0, error);
    }
    return rc != 0 ? rc : BLAZE_END;
}

/* ---- the iterator ---- */

static int init(struct bz_tree_iter *iter, uint32_t most)
{
    *iter = (struct bz_tree_iter){0};
    if (most == 0)
        return 0;
    iter->runs = bz_zalloc(most * (sizeof *iter->runs + sizeof *iter->order));
    if (iter->runs == NULL)
        return BLAZE_ENOMEM;
    iter->order = (uint32_t *)(iter->runs + most);
    return 0;
}

static void add_run(struct bz_tree_iter *iter, struct bz_run run)
{
    iter->runs[iter->count++].tables = run;
}

int bz_tree_iter_init(struct bz_tree_iter *iter, const struct bz_run *runs, uint32_t count)
{
    int rc = init(iter, count);
    for (uint32_t i = 0; i < count && rc == 0; i++)
        add_run(iter, runs[i]);
    return rc;
}

static bool has_map(const struct bz_tree_file *file, uint32_t map)
{
    return file->first.map <= map && map <= file->last.map;
}

/* The tables of a level that may have entries of the map. */
static struct bz_run run_of_map(const struct bz_level *level, uint32_t map)
{
    uint32_t from = 0, to = level->count;
    while (from < to && !has_map(&level->files[from], map))
        from++;
    while (to > from && !has_map(&level->files[to - 1], map))
        to--;
    return (struct bz_run){level->files + from, to - from};
}

int bz_tree_iter_init_map(struct bz_tree_iter *iter, const struct bz_tree *tree, uint32_t map)
{
    const struct bz_level *newest = &tree->levels[0];
    struct bz_run runs[BZ_LEVELS];
    uint32_t most = newest->count;
    for (uint32_t i = 1; i < BZ_LEVELS; i++) {
        runs[i] = run_of_map(&tree->levels[i], map);
        most += runs[i].count > 0;
    }
    int rc = init(iter, most);
    iter->one_map = true;
    iter->map = map;
    for (uint32_t i = 0; i < newest->count && rc == 0; i++)
        if (has_map(&newest->files[i], map))
            add_run(iter, (struct bz_run){&newest->files[i], 1});
    for (uint32_t i = 1; i < BZ_LEVELS && rc == 0; i++)
        if (runs[i].count > 0)
            add_run(iter, runs[i]);
    return rc;
}

void bz_tree_iter_release(struct bz_tree_iter *iter)
{
    for (uint32_t i = 0; i < iter->count; i++)
        if (iter->runs[i].opened)
            bz_table_iter_release(&iter->runs[i].iter);
    bz_free(iter->runs);
    *iter = (struct bz_tree_iter){0};
}

/* All runs to `key`; those that meet damage stay there. The code of the first of them. */
static int seek(
    struct bz_tree_iter *iter, struct bz_table_key key, bool backward, blaze_error *error)
{
    int first = 0;
    iter->backward = backward;
    iter->damaged = false;
    for (uint32_t i = 0; i < iter->count; i++) {
        struct bz_tree_iter_run *run = &iter->runs[i];
        int rc =
            note(iter, run, backward ? run_seek_back(run, key, error) : run_seek(run, key, error));
        first = first != 0 ? first : rc;
    }
    arrange(iter);
    return first != 0 ? first : settle(iter, error);
}

int bz_tree_iter_seek(struct bz_tree_iter *iter, struct bz_table_key key, blaze_error *error)
{
    return seek(iter, key, false, error);
}

int bz_tree_iter_seek_back(struct bz_tree_iter *iter, struct bz_table_key key, blaze_error *error)
{
    return seek(iter, key, true, error);
}

/* Moves the runs that stand at damage past it. */
static int pass_damage(struct bz_tree_iter *iter, blaze_error *error)
{
    int first = 0;
    iter->damaged = false;
    for (uint32_t i = 0; i < iter->count; i++) {
        struct bz_tree_iter_run *run = &iter->runs[i];
        if (run->state != DAMAGED)
            continue;
        int rc = note(iter, run, run_move(run, iter->backward, error));
        first = first != 0 ? first : rc;
    }
    arrange(iter);
    return first != 0 ? first : settle(iter, error);
}

int bz_tree_iter_move(struct bz_tree_iter *iter, blaze_error *error)
{
    if (iter->damaged)
        return pass_damage(iter, error);
    int rc = iter->live == 0 ? BLAZE_END : step(iter, 0, error);
    return rc != 0 ? rc : settle(iter, error);
}

const struct bz_write *bz_tree_iter_entry(const struct bz_tree_iter *iter)
{
    return &iter->runs[iter->order[0]].iter.entry;
}

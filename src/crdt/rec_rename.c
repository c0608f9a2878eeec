/* SPDX-License-Identifier: Apache-2.0 */
#include "crdt/rec_priv.h"

#include <blazedb/error.h>
#include <stdlib.h>

static int map_number(
    int64_t (*map)(void *context, uint32_t number), void *context, uint32_t number, uint32_t *out)
{
    int64_t mapped = map(context, number);
    if (mapped < 0)
        return (int)mapped;
    *out = (uint32_t)mapped;
    return 0;
}

static int compare_dots(const void *a, const void *b)
{
    return bz_dot_compare(*(const struct bz_dot *)a, *(const struct bz_dot *)b);
}

/* Maps and sorts rvv, which holds all nodes; *same: nothing has moved and nothing is renamed. */
static int rename_nodes(struct bz_arena *arena, const struct bz_vv *vv,
    const struct bz_renaming *to, uint32_t **numbers, struct bz_vv *out)
{
    struct bz_dot *entries = bz_arena_alloc(arena, vv->count * sizeof *entries);
    uint32_t *mapped = bz_arena_alloc(arena, vv->count * sizeof *mapped);
    if (entries == NULL || mapped == NULL)
        return BLAZE_ENOMEM;
    bool sorted = true;
    for (uint32_t i = 0; i < vv->count; i++) {
        int rc = map_number(to->node, to->context, vv->entries[i].node, &mapped[i]);
        if (rc != 0)
            return rc;
        entries[i] = (struct bz_dot){mapped[i], vv->entries[i].seq};
        sorted &= i == 0 || mapped[i - 1] < mapped[i];
    }
    if (!sorted)
        qsort(entries, vv->count, sizeof *entries, compare_dots);
    for (uint32_t i = 1; i < vv->count; i++) {
        if (entries[i - 1].node == entries[i].node)
            return BLAZE_EPROTO;
    }
    *numbers = mapped;
    *out = (struct bz_vv){entries, vv->count};
    return 0;
}

struct placed {
    struct bz_dot dot;
    uint32_t from;
};

static int compare_placed(const void *a, const void *b)
{
    return bz_dot_compare(((const struct placed *)a)->dot, ((const struct placed *)b)->dot);
}

/* Renames and sorts the writes; place[i] becomes where the i-th went. */
static int rename_writes(struct bz_arena *arena, const struct bz_rec *rec, const uint32_t *numbers,
    struct bz_write **out, uint16_t *place)
{
    uint32_t count = rec->write_count;
    struct placed *order = bz_arena_alloc(arena, count * sizeof *order);
    struct bz_write *writes = bz_arena_alloc(arena, count * sizeof *writes);
    if (order == NULL || writes == NULL)
        return BLAZE_ENOMEM;
    uint32_t at = 0;
    bool sorted = true;
    for (uint32_t i = 0; i < count; i++) {
        while (rec->rvv.entries[at].node < rec->writes[i].dot.node)
            at++;
        order[i] = (struct placed){{numbers[at], rec->writes[i].dot.seq}, i};
        sorted &= i == 0 || bz_dot_compare(order[i - 1].dot, order[i].dot) < 0;
    }
    if (!sorted)
        qsort(order, count, sizeof *order, compare_placed);
    for (uint32_t i = 0; i < count; i++) {
        writes[i] = rec->writes[order[i].from];
        writes[i].dot = order[i].dot;
        place[order[i].from] = (uint16_t)i;
    }
    *out = writes;
    return 0;
}

static int compare_members(const void *a, const void *b)
{
    return *(const uint16_t *)a - *(const uint16_t *)b;
}

static int rename_cell(struct bz_arena *arena, struct bz_cell *cell, const uint16_t *place)
{
    uint16_t *members = bz_arena_alloc(arena, cell->count * sizeof *members);
    if (members == NULL)
        return BLAZE_ENOMEM;
    bool sorted = true;
    for (uint32_t i = 0; i < cell->count; i++) {
        members[i] = place[cell->members[i]];
        sorted &= i == 0 || members[i - 1] < members[i];
    }
    if (!sorted)
        qsort(members, cell->count, sizeof *members, compare_members);
    cell->members = members;
    return 0;
}

static int compare_cells(const void *a, const void *b)
{
    uint32_t x = ((const struct bz_cell *)a)->field, y = ((const struct bz_cell *)b)->field;
    return (x > y) - (x < y);
}

static int rename_cells(
    struct bz_arena *arena, struct bz_rec *rec, const struct bz_renaming *to, const uint16_t *place)
{
    struct bz_cell *cells = bz_arena_alloc(arena, rec->cell_count * sizeof *cells);
    if (cells == NULL)
        return BLAZE_ENOMEM;
    int rc = 0;
    if (rec->has_life)
        rc = rename_cell(arena, &rec->life, place);
    if (rc == 0 && rec->has_rest)
        rc = rename_cell(arena, &rec->rest, place);
    bool sorted = true;
    for (uint32_t i = 0; rc == 0 && i < rec->cell_count; i++) {
        cells[i] = rec->cells[i];
        rc = map_number(to->field, to->context, cells[i].field, &cells[i].field);
        if (rc == 0)
            rc = rename_cell(arena, &cells[i], place);
        sorted &= i == 0 || cells[i - 1].field < cells[i].field;
    }
    if (rc != 0)
        return rc;
    if (!sorted)
        qsort(cells, rec->cell_count, sizeof *cells, compare_cells);
    for (uint32_t i = 1; i < rec->cell_count; i++) {
        if (cells[i - 1].field == cells[i].field)
            return BLAZE_EPROTO;
    }
    rec->cells = cells;
    return 0;
}

int bz_rec_rename(struct bz_arena *arena, const struct bz_rec *rec, const struct bz_renaming *to,
    struct bz_rec *out)
{
    struct bz_rec renamed = *rec;
    uint32_t *numbers;
    uint16_t *place = bz_arena_alloc(arena, rec->write_count * sizeof *place);
    if (place == NULL)
        return BLAZE_ENOMEM;
    int rc = rename_nodes(arena, &rec->rvv, to, &numbers, &renamed.rvv);
    if (rc == 0)
        rc = rename_writes(arena, rec, numbers, &renamed.writes, place);
    if (rc == 0 && !bz_rec_is_whole(rec))
        rc = rename_cells(arena, &renamed, to, place);
    if (rc == 0)
        *out = renamed;
    return rc;
}

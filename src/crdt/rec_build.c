/* SPDX-License-Identifier: Apache-2.0 */
#include "crdt/rec_priv.h"

#include <blazedb/error.h>

static const uint16_t only[1] = {0};

int bz_rec_whole(struct bz_arena *arena, const struct bz_write *write, const struct bz_vv *rvv,
    struct bz_rec *out)
{
    struct bz_write *writes = bz_arena_alloc(arena, sizeof *writes);
    if (writes == NULL)
        return BLAZE_ENOMEM;
    *writes = *write;
    *out = (struct bz_rec){
        .rvv = *rvv,
        .writes = writes,
        .write_count = 1,
        .life = {.count = 1, .members = only},
        .rest = {.count = 1, .members = only},
        .has_life = true,
        .has_rest = true,
    };
    return 0;
}

int bz_rec_builder_init(
    struct bz_rec_builder *b, struct bz_arena *arena, size_t writes, size_t members, size_t cells)
{
    if (members > BZ_REC_MAX_MEMBERS || cells > BZ_REC_MAX_CELLS)
        return BLAZE_ELIMIT;
    *b = (struct bz_rec_builder){.arena = arena};
    b->rec.writes = bz_arena_alloc(arena, writes * sizeof *b->rec.writes);
    b->rec.cells = bz_arena_alloc(arena, cells * sizeof *b->rec.cells);
    b->pool = bz_arena_alloc(arena, members * sizeof *b->pool);
    return b->rec.writes == NULL || b->rec.cells == NULL || b->pool == NULL ? BLAZE_ENOMEM : 0;
}

struct bz_cell bz_rec_builder_cell(struct bz_rec_builder *b)
{
    struct bz_cell cell = {.count = (uint32_t)(b->used - b->start), .members = b->pool + b->start};
    b->start = b->used;
    return cell;
}

void bz_rec_builder_field(struct bz_rec_builder *b, uint32_t field)
{
    size_t start = b->start;
    struct bz_cell cell = bz_rec_builder_cell(b);
    cell.field = field;
    if (b->rec.has_rest && bz_cell_equal(&cell, &b->rec.rest))
        b->start = b->used = start;
    else
        b->rec.cells[b->rec.cell_count++] = cell;
}

int bz_rec_builder_finish(struct bz_rec_builder *b, struct bz_rec *out)
{
    struct bz_rec *rec = &b->rec;
    uint16_t *place = bz_arena_zalloc(b->arena, rec->write_count * sizeof *place);
    if (place == NULL)
        return BLAZE_ENOMEM;
    for (size_t i = 0; i < b->used; i++)
        place[b->pool[i]] = 1;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < rec->write_count; i++) {
        if (place[i] == 0)
            continue;
        rec->writes[kept] = rec->writes[i];
        place[i] = (uint16_t)kept++;
    }
    if (kept < rec->write_count) {
        for (size_t i = 0; i < b->used; i++)
            b->pool[i] = place[b->pool[i]];
    }
    rec->write_count = kept;
    *out = *rec;
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "crdt/rec_priv.h"

#include <blazedb/error.h>

static bool is_new(const struct bz_rec *rec, const struct bz_cell *cell, uint64_t has)
{
    for (uint32_t i = 0; i < cell->count; i++) {
        if (rec->writes[cell->members[i]].arrived > has)
            return true;
    }
    return false;
}

static void push(struct bz_rec_builder *b, const struct bz_cell *cell)
{
    for (uint32_t i = 0; i < cell->count; i++)
        bz_rec_builder_push(b, cell->members[i]);
}

int bz_rec_since(struct bz_arena *arena, const struct bz_rec *rec, uint64_t has, struct bz_rec *out)
{
    has += BZ_MUTANT(SINCE_OFF_BY_ONE) && has > 0;
    if (has == 0 || is_new(rec, &rec->rest, has)) {
        *out = *rec;
        return 0;
    }
    size_t members = rec->life.count;
    for (uint32_t i = 0; i < rec->cell_count; i++)
        members += rec->cells[i].count;
    struct bz_rec_builder b;
    int rc = bz_rec_builder_init(&b, arena, rec->write_count, members, rec->cell_count);
    if (rc != 0)
        return rc;
    b.rec.rvv = rec->rvv;
    b.rec.write_count = rec->write_count;
    if (rec->write_count > 0)
        memcpy(b.rec.writes, rec->writes, rec->write_count * sizeof *rec->writes);
    b.rec.has_life = is_new(rec, &rec->life, has);
    if (b.rec.has_life) {
        push(&b, &rec->life);
        b.rec.life = bz_rec_builder_cell(&b);
    }
    for (uint32_t i = 0; i < rec->cell_count; i++) {
        if (is_new(rec, &rec->cells[i], has)) {
            push(&b, &rec->cells[i]);
            bz_rec_builder_field(&b, rec->cells[i].field);
        }
    }
    return bz_rec_builder_finish(&b, out);
}

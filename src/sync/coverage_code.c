/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame COVERED to bytes and back (docs/format/wire.md).
 *
 * Replicas that are in step have the same version vector, and there may be many of both. So the
 * nodes are named once, in a table, each with the seq that the sender itself has, and a row says
 * only where it differs from that.
 */
#include "sync/frame.h"

#include <stdlib.h>

#define ROWS_MAX  65u
#define NODES_MAX 16384u

/* Rows times nodes, the collected dots being a row: what a receiver has to lay out. */
#define CELLS_MAX 262144u

enum { COVERED_BLIND = 1 };
enum { ROW_FORGOTTEN = 1, ROW_FLOOR = 2 };

static int compare_nodes(const void *a, const void *b)
{
    const struct bz_told *x = a, *y = b;
    return memcmp(&x->node, &y->node, sizeof x->node);
}

static const struct bz_told *find(const struct bz_told_vv *table, const struct bz_told *entry)
{
    return bsearch(entry, table->entries, table->count, sizeof *entry, compare_nodes);
}

/* ---- to bytes ---- */

static uint32_t add(struct bz_told *to, const struct bz_told_vv *vv)
{
    if (vv->count > 0)
        memcpy(to, vv->entries, vv->count * sizeof *to);
    return vv->count;
}

/* Every node that is named anywhere, ascending, with its seq in the first row. */
static int make_table(
    struct bz_arena *arena, const struct bz_coverage *coverage, struct bz_told_vv *out)
{
    const struct bz_told_vv *own = &coverage->rows[0].vv;
    size_t room = coverage->purged.count + 1;
    for (uint32_t i = 0; i < coverage->count; i++)
        room += coverage->rows[i].vv.count;
    struct bz_told *all = bz_arena_alloc(arena, room * sizeof *all);
    struct bz_told_vv sorted = {bz_arena_alloc(arena, (own->count + 1) * sizeof *all), 0};
    if (all == NULL || sorted.entries == NULL)
        return BLAZE_ENOMEM;
    sorted.count = add(sorted.entries, own);
    qsort(sorted.entries, sorted.count, sizeof *all, compare_nodes);
    uint32_t count = add(all, &coverage->purged);
    for (uint32_t i = 0; i < coverage->count; i++)
        count += add(all + count, &coverage->rows[i].vv);
    qsort(all, count, sizeof *all, compare_nodes);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (kept > 0 && compare_nodes(&all[kept - 1], &all[i]) == 0)
            continue;
        const struct bz_told *ours = find(&sorted, &all[i]);
        all[kept] = all[i];
        all[kept++].seq = ours == NULL ? 0 : ours->seq;
    }
    *out = (struct bz_told_vv){all, kept};
    return 0;
}

/* What of `vv` differs from the table, or, with `all`, from nothing. */
static int append_differences(struct bz_buf *out, struct bz_arena *arena,
    const struct bz_told_vv *table, const struct bz_told_vv *vv, bool all)
{
    uint64_t *seqs = bz_arena_alloc(arena, (table->count + 1) * sizeof *seqs);
    if (seqs == NULL)
        return BLAZE_ENOMEM;
    memset(seqs, 0, (table->count + 1) * sizeof *seqs);
    for (uint32_t i = 0; i < vv->count; i++)
        seqs[find(table, &vv->entries[i]) - table->entries] = vv->entries[i].seq;
    uint32_t count = 0, next = 0;
    for (uint32_t i = 0; i < table->count; i++)
        count += seqs[i] != (all ? 0 : table->entries[i].seq);
    bz_buf_append_varint(out, count);
    for (uint32_t i = 0; i < table->count; i++) {
        if (seqs[i] == (all ? 0 : table->entries[i].seq))
            continue;
        bz_buf_append_varint(out, i - next);
        bz_buf_append_varint(out, seqs[i]);
        next = i + 1;
    }
    return 0;
}

int bz_covered_encode(
    struct bz_buf *out, struct bz_arena *arena, const struct bz_coverage *coverage, bool ages)
{
    struct bz_told_vv table;
    int rc = make_table(arena, coverage, &table);
    if (rc != 0)
        return rc;
    if (table.count > NODES_MAX || (uint64_t)(coverage->count + 1) * table.count > CELLS_MAX)
        return BLAZE_ELIMIT;
    bz_buf_append8(out, coverage->blind ? COVERED_BLIND : 0);
    bz_buf_append_varint(out, table.count);
    for (uint32_t i = 0; i < table.count; i++)
        bz_summary_append(out, &table.entries[i].node, table.entries[i].seq);
    rc = append_differences(out, arena, &table, &coverage->purged, true);
    bz_buf_append64le(out, coverage->purged_stamp);
    bz_buf_append_varint(out, coverage->count);
    for (uint32_t i = 0; rc == 0 && i < coverage->count; i++) {
        const struct bz_coverage_row *row = &coverage->rows[i];
        bz_buf_append(out, &row->node, sizeof row->node);
        bz_buf_append8(
            out, (uint8_t)((row->forgotten ? ROW_FORGOTTEN : 0) | (row->floor ? ROW_FLOOR : 0)));
        bz_buf_append_varint(out, ages ? row->age_ms : 0);
        rc = append_differences(out, arena, &table, &row->vv, false);
    }
    return rc != 0 ? rc : out->error;
}

/* ---- and back ---- */

static int read_table(struct bz_reader *r, struct bz_arena *arena, struct bz_told_vv *out)
{
    uint64_t count = bz_read_varint(r);
    if (!r->ok || count > bz_reader_left(r) / (sizeof(blaze_id) + 1) || count > NODES_MAX)
        return BLAZE_EPROTO;
    struct bz_told_vv table = {
        bz_arena_alloc(arena, (count + 1) * sizeof *table.entries), (uint32_t)count};
    if (table.entries == NULL)
        return BLAZE_ENOMEM;
    for (uint32_t i = 0; i < table.count; i++) {
        struct bz_told *entry = &table.entries[i];
        struct bz_bytes id = bz_read_bytes(r, sizeof entry->node);
        entry->seq = bz_read_varint(r);
        if (!r->ok)
            return BLAZE_EPROTO;
        memcpy(&entry->node, id.data, sizeof entry->node);
        if (i > 0 && compare_nodes(entry - 1, entry) >= 0)
            return BLAZE_EPROTO;
    }
    *out = table;
    return 0;
}

/* The table's seqs, or zeros, with what differs put in. `budget` is what all rows may come to. */
static int read_differences(struct bz_reader *r, struct bz_arena *arena,
    const struct bz_told_vv *table, bool all, uint32_t *budget, struct bz_told_vv *out)
{
    uint64_t count = bz_read_varint(r), next = 0;
    if (!r->ok || count > table->count || table->count > *budget)
        return BLAZE_EPROTO;
    *budget -= table->count;
    struct bz_told_vv vv = {bz_arena_alloc(arena, (table->count + 1) * sizeof *vv.entries), 0};
    if (vv.entries == NULL)
        return BLAZE_ENOMEM;
    for (uint32_t i = 0; i < table->count; i++) {
        vv.entries[i].node = table->entries[i].node;
        vv.entries[i].seq = all ? 0 : table->entries[i].seq;
    }
    for (; count > 0; count--) {
        uint64_t distance = bz_read_varint(r), seq = bz_read_varint(r);
        if (!r->ok || distance >= table->count - next)
            return BLAZE_EPROTO;
        next += distance;
        vv.entries[next++].seq = seq;
    }
    for (uint32_t i = 0; i < table->count; i++) {
        if (vv.entries[i].seq > 0)
            vv.entries[vv.count++] = vv.entries[i];
    }
    *out = vv;
    return 0;
}

int bz_covered_decode(struct bz_bytes payload, struct bz_arena *arena, struct bz_coverage *out)
{
    struct bz_reader r = bz_reader(payload);
    struct bz_told_vv table;
    uint32_t budget = CELLS_MAX;
    out->blind = (bz_read8(&r) & COVERED_BLIND) != 0;
    int rc = read_table(&r, arena, &table);
    if (rc == 0)
        rc = read_differences(&r, arena, &table, true, &budget, &out->purged);
    if (rc != 0)
        return rc;
    out->purged_stamp = bz_read64le(&r);
    uint64_t count = bz_read_varint(&r);
    if (!r.ok || count > ROWS_MAX)
        return BLAZE_EPROTO;
    out->count = (uint32_t)count;
    out->rows = bz_arena_alloc(arena, (count + 1) * sizeof *out->rows);
    if (out->rows == NULL)
        return BLAZE_ENOMEM;
    for (uint32_t i = 0; rc == 0 && i < out->count; i++) {
        struct bz_coverage_row *row = &out->rows[i];
        struct bz_bytes id = bz_read_bytes(&r, sizeof row->node);
        uint8_t flags = bz_read8(&r);
        *row = (struct bz_coverage_row){.forgotten = (flags & ROW_FORGOTTEN) != 0,
            .floor = (flags & ROW_FLOOR) != 0,
            .age_ms = bz_read_varint(&r)};
        if (!r.ok)
            return BLAZE_EPROTO;
        memcpy(&row->node, id.data, sizeof row->node);
        rc = read_differences(&r, arena, &table, false, &budget, &row->vv);
    }
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in conflict at a copy, by the writes that it has seen, and whether it tells just that.
 */
#include "settle.h"

void sim_siblings_at(
    const struct sim_node *node, uint32_t record, uint32_t cell, struct sim_siblings *out)
{
    struct sim_seen seen = sim_seen_now(sim_identity_of(node), record);
    sim_siblings(node->world, record, &seen, cell, out);
}

static bool differ(
    struct sim_world *w, const struct sim_write *a, const struct sim_write *b, uint32_t cell)
{
    blaze_value x, y;
    if (cell == (uint32_t)SIM_LIFE)
        return a->alive != b->alive;
    uint32_t field = 0;
    while (cell >> field != 1)
        field++;
    bool p = sim_value_get(w, a, field, &x), q = sim_value_get(w, b, field, &y);
    return p != q || (p && sim_value_order(&x, &y) != 0);
}

bool sim_in_conflict(struct sim_node *node, uint32_t record, uint32_t cell)
{
    struct sim_siblings life, siblings;
    if (node->world->records[record].count < 2)
        return false;
    sim_siblings_at(node, record, SIM_LIFE, &life);
    if (life.count == 0 || (cell != (uint32_t)SIM_LIFE && !sim_winner(node->world, &life)->alive))
        return false;
    sim_siblings_at(node, record, cell, &siblings);
    for (uint32_t i = 1; i < siblings.count; i++) {
        if (differ(node->world, siblings.all[0], siblings.all[i], cell))
            return true;
    }
    return false;
}

/* Whether it is known what stands in a cell: of a record that was collected anywhere, some of what
 * stood may have gone with that, or not. */
static bool is_known(struct sim_node *node, uint32_t record, uint32_t cell)
{
    const struct sim_world *w = node->world;
    const struct sim_record *r = &w->records[record];
    struct sim_seen seen = sim_seen_now(sim_identity_of(node), record);
    bool is = true;
    for (uint32_t i = 0; is && i < r->count; i++)
        is = !sim_bit(&seen, i) || !w->writes[r->writes[i]].based;
    for (uint32_t bit = cell; is && bit != 0; bit = bit == (uint32_t)SIM_LIFE ? 0 : SIM_LIFE) {
        struct sim_seen may = sim_perhaps_standing(w, record, &seen, bit);
        struct sim_seen must = sim_surely_standing(w, record, &seen, bit);
        is = memcmp(&may, &must, sizeof may) == 0;
    }
    return is;
}

/* ---- what is told of it ---- */

static const char *wrong_about(struct sim_world *w, const struct bz_conflict_sibling *told,
    const struct sim_write *write, uint32_t field)
{
    if (told->stamp != write->stamp || told->role != write->role ||
        told->resolved != write->settles)
        return "stamp, role or kind";
    if (field == SIM_FIELDS)
        return told->present == write->alive ? NULL : "life";
    return sim_value_is(w, told->present ? &told->value : NULL, write, field) ? NULL : "a value";
}

void sim_check_told(struct sim_node *node, const struct bz_conflict *told)
{
    struct sim_world *w = node->world;
    uint32_t record = sim_record_of(&told->id),
             field = told->life ? SIM_FIELDS : sim_field_of(told->field);
    uint32_t cell = told->life ? (uint32_t)SIM_LIFE : 1u << field;
    struct sim_siblings siblings;
    struct sim_seen met = {{0}}, seen = sim_seen_now(sim_identity_of(node), record);
    if (!is_known(node, record, cell))
        return;
    if (!bz_bytes_equal(told->collection, sim_collection(record)) ||
        (field == SIM_FIELDS) != told->life || !sim_in_conflict(node, record, cell)) {
        sim_fail(w, "node %u tells of a conflict in record %u that is none", node->number, record);
        return;
    }
    sim_siblings_at(node, record, cell, &siblings);
    const char *wrong = told->count == siblings.count ? NULL : "the number of siblings";
    for (uint32_t i = 0; wrong == NULL && i < told->count; i++) {
        const struct sim_write *write = sim_write_find(w,
            sim_identity_number(w, &told->siblings[i].node), told->siblings[i].seq, record, &seen);
        uint32_t at = 0;
        while (at < siblings.count && siblings.all[at] != write)
            at++;
        if (at == siblings.count || sim_bit(&met, write->number))
            wrong = "a sibling that is none";
        else if (i == 0 && write != sim_winner(w, &siblings))
            wrong = "the winner";
        else
            wrong = wrong_about(w, &told->siblings[i], write, field);
        if (wrong == NULL)
            met.bits[write->number / 64] |= (uint64_t)1 << write->number % 64;
    }
    if (wrong != NULL)
        sim_fail(
            w, "node %u lists record %u with something wrong: %s", node->number, record, wrong);
}

struct listed {
    struct sim_node *node;
    uint32_t cells[SIM_RECORDS];
};

static int note_listed(void *context, const struct bz_conflict *told)
{
    struct listed *listed = context;
    uint32_t record = sim_record_of(&told->id);
    sim_check_told(listed->node, told);
    if (told->life && listed->cells[record] != 0)
        sim_fail(listed->node->world, "node %u lists life after a field", listed->node->number);
    listed->cells[record] |= told->life ? (uint32_t)SIM_LIFE : 1u << sim_field_of(told->field);
    return listed->node->world->result.failed;
}

static void check_count(
    struct sim_node *node, struct bz_read *read, struct bz_bytes collection, uint64_t expected)
{
    uint64_t count = UINT64_MAX;
    int rc = bz_read_conflict_count(read, collection, &count, NULL);
    if (rc != 0 || count != expected)
        sim_fail(node->world, "node %u counts %llu records in conflict, not %llu (%d)",
            node->number, (unsigned long long)count, (unsigned long long)expected, rc);
}

void sim_check_conflicts(struct sim_node *node, struct bz_read *read)
{
    static struct listed listed;
    uint64_t counts[SIM_COLLECTIONS] = {0}, all = 0;
    listed = (struct listed){.node = node};
    if (bz_read_conflicts(read, bz_bytes(NULL, 0), NULL, note_listed, &listed, NULL) != 0)
        sim_fail(node->world, "node %u cannot list its conflicts", node->number);
    for (uint32_t record = 0; record < SIM_RECORDS && !node->world->result.failed; record++) {
        for (uint32_t cell = 1; cell <= (uint32_t)SIM_LIFE; cell <<= 1) {
            if (cell != (uint32_t)SIM_REST && (listed.cells[record] & cell) == 0 &&
                sim_in_conflict(node, record, cell) && is_known(node, record, cell))
                sim_fail(node->world, "node %u does not list a conflict in record %u", node->number,
                    record);
        }
        counts[sim_collection_number(record)] += listed.cells[record] != 0;
        all += listed.cells[record] != 0;
    }
    check_count(node, read, bz_bytes(NULL, 0), all);
    for (uint32_t i = 0; i < SIM_COLLECTIONS; i++)
        check_count(node, read, bz_bytes_text(sim_collections[i]), counts[i]);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deleted records that are collected, as the oracle sees them. Neither collecting nor comparing
 * tells what it does; so what a node has is looked at before and after, and what has happened must
 * have been right:
 *
 *   collected    it was deleted; each replica that is waited for had all that was in it, and has
 *                made no write of it that had not seen that
 *   given up     a peer has no trace of it, and all writes by which it lives were in it when it was
 *                collected somewhere
 *   written anew the same, but it lives by writes that the peer has not had: those stay, and in
 *                place of the others there is one new write, with what they have shown
 *
 * A write that was in a record when that was collected is *gone*: it may be missing everywhere, or
 * be seen by whoever makes the record anew.
 */
#include "settle.h"

/* What a node holds of one record. */
struct look {
    struct sim_world *w;
    struct sim_node *node;
    struct sim_identity *identity;
    struct sim_numbers numbers;
    bool there[SIM_RECORDS];
};

static bool is_subset(
    const struct sim_seen *a, const struct sim_seen *b, const struct sim_seen *or_b)
{
    for (uint32_t i = 0; i < SIM_RECORD_WRITES / 64; i++) {
        if ((a->bits[i] & ~(b->bits[i] | or_b->bits[i])) != 0)
            return false;
    }
    return true;
}

/* The writes of a record that its vector covers. */
static struct sim_seen covered_by(
    const struct look *l, uint32_t record, const struct bz_vv *vv, uint64_t own)
{
    uint64_t seq[SIM_IDENTITIES] = {0};
    struct sim_seen covered = {{0}};
    const struct sim_record *r = &l->w->records[record];
    for (uint32_t i = 0; i < vv->count; i++)
        seq[l->numbers.identities[vv->entries[i].node]] = vv->entries[i].seq;
    if (seq[l->node->identity] > own)
        seq[l->node->identity] = own;
    for (uint32_t i = 0; i < r->count; i++) {
        const struct sim_write *write = &l->w->writes[r->writes[i]];
        if (!write->replaced && !write->apart && write->seq <= seq[write->identity] &&
            (!write->cut || write->identity != l->node->identity))
            sim_bit_set(&covered, i);
    }
    return covered;
}

struct sim_sum sim_sum_of(const struct sim_node *node)
{
    struct bz_read *read;
    struct bz_db_state state;
    if (bz_read_begin(node->db, &read, NULL) != 0 || bz_read_state(read, &state, NULL) != 0)
        abort();
    bz_read_end(read);
    return (struct sim_sum){state.position, state.seq, state.records, state.dead, state.purged};
}

/* Calls back for each record after a position of the node's log. */
static void look_at(struct look *l, struct sim_node *node, uint64_t after,
    void (*each)(struct look *l, void *context, uint32_t record, const struct bz_rec *rec),
    void *context)
{
    struct bz_replica replica;
    struct bz_receiver nobody = {0};
    struct bz_changes *changes;
    struct bz_change change;
    *l = (struct look){
        .w = node->world, .node = node, .identity = &node->world->identities[node->identity]};
    if (bz_db_replica_open(node->db, &replica, NULL) != 0 ||
        replica.ops->changes_open(replica.context, &nobody, after, &changes, NULL) != 0)
        abort();
    l->numbers = sim_numbers_of(l->w, &replica);
    while (!l->w->result.failed && replica.ops->changes_next(changes, &change, NULL) == 0) {
        uint32_t record = (uint32_t)bz_load64be(change.id.bytes + 8);
        l->there[record] = true;
        each(l, context, record, &change.rec);
    }
    sim_numbers_release(&l->numbers);
    replica.ops->changes_close(changes);
    bz_db_replica_close(&replica);
}

/* ---- collecting ---- */

struct waiting {
    struct sim_world *w;
    bool awaited[SIM_IDENTITIES];
};

static int await(void *context, const struct bz_replica_known *known)
{
    struct waiting *a = context;
    if (!known->stale)
        a->awaited[sim_identity_number(a->w, &known->node)] = true;
    return 0;
}

/* Those that the node must wait for before it collects: whom it has not been silent for too long,
 * and whoever has written that it has not heard of. */
static void await_all(struct sim_node *node, struct waiting *a)
{
    struct bz_read *read;
    if (bz_read_begin(node->db, &read, NULL) != 0 || bz_read_replicas(read, await, a, NULL) != 0)
        abort();
    bz_read_end(read);
    a->awaited[node->identity] = false;
}

static const struct sim_node *node_under(const struct sim_world *w, uint32_t identity)
{
    for (uint32_t i = 0; i < w->node_count; i++) {
        const struct sim_node *node = &w->nodes[i];
        uint32_t is = node->db != NULL ? node->identity : node->disk.identity;
        if (node->member && is == identity && !node->put_back)
            return node;
    }
    return NULL;
}

/* That a full replica had all of a deleted record, and every write that it has made since has seen
 * it. A base is none: it stands for what was there. A part is not told of all, or may have let go
 * of it since; and what one that collects has been passed over for was nothing that it holds. */
static void check_awaited(struct sim_node *node, uint32_t other, uint32_t record,
    const struct sim_seen *deleted, const struct sim_versions *shown)
{
    struct sim_world *w = node->world;
    uint64_t passed = sim_is_part(node) ? shown->seq[other] : 0;
    const struct sim_record *r = &w->records[record];
    struct sim_seen seen = sim_seen_now(&w->identities[other], record);
    if (!sim_is_full(&w->nodes[w->identities[other].node]))
        return;
    if (!is_subset(deleted, &seen, &r->gone))
        sim_fail(w, "node %u collects record %u, of which identity %u has not all", node->number,
            record, other);
    for (uint32_t i = 0; i < r->count; i++) {
        const struct sim_write *write = &w->writes[r->writes[i]];
        if (write->identity == other && write->seq > passed && !write->replaced && !write->cut &&
            !write->based && !sim_bit(deleted, i) && !sim_bit(&r->gone, i) &&
            !is_subset(deleted, &write->seen, &r->gone))
            sim_fail(w, "node %u collects record %u, to which identity %u has written meanwhile",
                node->number, record, other);
    }
}

/* That a part has collected nothing of its own that nobody else has had: no comparison with it
 * could tell the others of that. */
static void check_claimed(struct sim_node *node, uint32_t record, const struct sim_seen *deleted)
{
    struct sim_world *w = node->world;
    const struct sim_record *r = &w->records[record];
    for (uint32_t i = 0; i < r->count; i++) {
        const struct sim_write *write = &w->writes[r->writes[i]];
        if (sim_bit(deleted, i) && write->identity == node->identity && !write->elsewhere)
            sim_fail(w, "node %u, a part, collects record %u, and nobody else has its write %llu",
                node->number, record, (unsigned long long)write->seq);
    }
}

static void collected(struct sim_node *node, const struct waiting *a, uint32_t record)
{
    struct sim_world *w = node->world;
    struct sim_identity *identity = &w->identities[node->identity];
    struct sim_seen seen = sim_seen_now(identity, record);
    struct sim_seen life = sim_standing(w, record, &seen, SIM_LIFE);
    struct sim_versions shown = sim_versions_of(node);
    bool dead = false;
    for (uint32_t i = 0; i < w->records[record].count; i++)
        dead |= sim_bit(&life, i) && !w->writes[w->records[record].writes[i]].alive;
    if (!dead)
        sim_fail(w, "node %u collects record %u, which nobody has deleted", node->number, record);
    for (uint32_t i = 0; i < w->identity_count; i++) {
        if (a->awaited[i] && node_under(w, i) != NULL)
            check_awaited(node, i, record, &seen, &shown);
    }
    if (sim_is_part(node))
        check_claimed(node, record, &seen);
    sim_seen_join(&w->records[record].gone, &seen);
    sim_moment_erase(identity, record);
    w->counts.collected++;
    sim_note(w, "node %u collects record %u", node->number, record);
}

/* ---- what is gone ---- */

static bool is_held(const struct look *l, const struct bz_rec *rec, const struct sim_write *write)
{
    for (uint32_t i = 0; i < rec->write_count; i++) {
        const struct bz_dot *dot = &rec->writes[i].dot;
        if (l->numbers.identities[dot->node] == write->identity && dot->seq == write->seq)
            return true;
    }
    return false;
}

/* Takes out of what a record has seen what is gone and does not stand there, though nothing in it
 * has replaced it. */
static void look_applied(struct look *l, void *context, uint32_t record, const struct bz_rec *rec)
{
    struct sim_record *r = &l->w->records[record];
    (void)context;
    if (!sim_is_present(l->identity, record)) {
        sim_fail(l->w, "record %u has come to node %u unseen", record, l->node->number);
        return;
    }
    struct sim_seen *seen = &l->identity->moments[l->identity->last[record]].seen;
    for (bool again = true; again;) {
        struct sim_seen standing = {{0}};
        again = false;
        for (uint32_t cell = 0; cell < SIM_FIELDS + 2; cell++) {
            struct sim_seen one = sim_standing(l->w, record, seen, 1u << cell);
            sim_seen_join(&standing, &one);
        }
        for (uint32_t i = 0; i < r->count; i++) {
            if (!sim_bit(&standing, i) || !sim_bit(&r->gone, i) ||
                is_held(l, rec, &l->w->writes[r->writes[i]]))
                continue;
            seen->bits[i / 64] &= ~((uint64_t)1 << i % 64);
            again = true;
        }
    }
}

/* ---- comparing ---- */

static bool all_covered(const struct sim_world *w, uint32_t record, const struct sim_seen *seen,
    const struct sim_versions *covered)
{
    const struct sim_record *r = &w->records[record];
    for (uint32_t i = 0; i < r->count; i++) {
        const struct sim_write *write = &w->writes[r->writes[i]];
        if (sim_bit(seen, i) && write->seq > covered->seq[write->identity])
            return false;
    }
    return true;
}

/* Gone from here since the peer has no trace of it, and had all writes by which it would live. */
static void given_up(struct sim_node *node, uint32_t record, const struct sim_versions *had)
{
    struct sim_world *w = node->world;
    struct sim_identity *identity = &w->identities[node->identity];
    struct sim_seen seen = sim_seen_now(identity, record);
    struct sim_seen life = sim_standing(w, record, &seen, SIM_LIFE);
    if (!sim_includes(&w->records[record].gone, &life))
        sim_fail(w, "node %u gives record %u up, and it lives by what nobody has deleted",
            node->number, record);
    if (!all_covered(w, record, &life, had))
        sim_fail(w, "node %u gives record %u up, and the peer has not had all of it", node->number,
            record);
    sim_seen_join(&w->records[record].gone, &seen);
    sim_moment_erase(identity, record);
    w->counts.given_up++;
    sim_note(w, "node %u gives record %u up", node->number, record);
}

static const struct bz_cell *cell_of(const struct look *l, const struct bz_rec *rec, uint32_t cell)
{
    if (cell > SIM_FIELDS)
        return &rec->life;
    if (cell == SIM_FIELDS || l->numbers.fields[cell] < 0)
        return &rec->rest;
    return bz_rec_cell(rec, (uint32_t)l->numbers.fields[cell]);
}

static bool is_member(const struct look *l, const struct bz_rec *rec, const struct bz_cell *cell,
    const struct sim_write *write)
{
    for (uint32_t i = 0; i < cell->count; i++) {
        const struct bz_dot *dot = &rec->writes[cell->members[i]].dot;
        if (l->numbers.identities[dot->node] == write->identity && dot->seq == write->seq)
            return true;
    }
    return false;
}

struct compared {
    const struct sim_versions *had; /* the peer's */
    uint64_t seq;                   /* of this node, before */
};

/* The write that a comparison has made, alone, of what the peer has had. */
struct base {
    struct bz_write *held;
    uint32_t cells;
    blaze_doc *values;
    uint8_t sets;
};

/* Of one cell: what the peer has not had stays as it stood, and if that is nothing, the base is in
 * its place, with the value that was shown. */
static void look_cell(struct look *l, const struct compared *c, const struct bz_rec *rec,
    uint32_t record, uint32_t cell, struct base *base)
{
    struct sim_world *w = l->w;
    const struct bz_cell *now = cell_of(l, rec, cell);
    struct sim_seen before = sim_seen_now(l->identity, record);
    struct sim_seen surely = sim_surely_standing(w, record, &before, 1u << cell);
    struct sim_siblings stood;
    uint32_t new = 0, perhaps = 0;
    blaze_value value;
    sim_siblings(w, record, &before, 1u << cell, &stood);
    for (uint32_t i = 0; i < stood.count; i++) {
        if (stood.all[i]->seq <= c->had->seq[stood.all[i]->identity])
            continue;
        if (!sim_bit(&surely, stood.all[i]->number)) {
            perhaps++;
            continue;
        }
        new ++;
        if (!is_member(l, rec, now, stood.all[i]))
            sim_fail(w, "node %u gives up a write of record %u that the peer has not had",
                l->node->number, record);
    }
    if (new == 0 && (perhaps > 0 || (base->held == NULL && cell < SIM_FIELDS)))
        return; /* as all of it that no write speaks for alone */
    if (new > 0 ? now->count < new || now->count > new + perhaps : now->count != 1)
        sim_fail(w, "node %u has kept too much of record %u", l->node->number, record);
    if (new > 0)
        return;
    base->cells |= 1u << cell;
    if (base->held == NULL || &rec->writes[now->members[0]] != base->held)
        sim_fail(w, "a part of record %u is gone at node %u", record, l->node->number);
    if (cell < SIM_FIELDS && sim_value_get(w, sim_winner(w, &stood), cell, &value)) {
        blaze_doc_add_value(base->values, sim_fields[cell], &value);
        base->sets |= (uint8_t)(1u << cell);
    }
}

static void add_base(struct look *l, uint32_t record, const struct bz_rec *rec,
    const struct base *base, const struct sim_seen *old)
{
    struct sim_world *w = l->w;
    struct sim_seen before = sim_seen_now(l->identity, record);
    struct sim_seen all = covered_by(l, record, &rec->rvv, base->held->dot.seq - 1);
    if (!sim_includes(&all, &before) || !is_subset(&all, &before, &w->records[record].gone))
        sim_fail(w, "record %u, written anew at node %u, has not seen what it should", record,
            l->node->number);
    sim_write_add(w, l->node->identity, record,
        &(struct sim_write){.cells = (uint8_t)base->cells,
            .sets = base->sets,
            .alive = base->held->alive,
            .stamp = base->held->stamp,
            .values = base->values});
    struct sim_write *write = &w->writes[w->write_count - 1];
    if (write->seq != base->held->dot.seq)
        sim_fail(w, "node %u counts its writes wrongly", l->node->number);
    write->role = base->held->role;
    write->based = true;
    write->seen = *old;
    sim_seen_join(&write->seen, &w->records[record].gone);
    for (uint32_t k = 0; k < SIM_RECORD_WRITES / 64; k++)
        write->seen.bits[k] &= all.bits[k];
    sim_seen_join(&l->identity->moments[l->identity->last[record]].seen, &all);
    w->counts.anew++;
    sim_note(w, "node %u writes record %u anew", l->node->number, record);
}

/* New writes that stand on one of their own: old ones beside them are gone. */
static void add_shed(struct look *l, uint32_t record, const struct bz_rec *rec, blaze_doc *values)
{
    struct sim_seen seen = sim_seen_now(l->identity, record);
    struct sim_seen all = covered_by(l, record, &rec->rvv, UINT64_MAX);
    if (!is_subset(&all, &seen, &l->w->records[record].gone))
        sim_fail(l->w, "record %u has seen by comparing what nobody has deleted", record);
    sim_seen_join(&seen, &all);
    sim_moment_add(l->w, l->identity, record, &seen);
    blaze_doc_free(values);
}

static void look_anew(struct look *l, void *context, uint32_t record, const struct bz_rec *rec)
{
    const struct compared *c = context;
    struct base base = {0};
    for (uint32_t i = 0; i < rec->write_count; i++) {
        struct bz_write *held = &rec->writes[i];
        if (l->numbers.identities[held->dot.node] != l->node->identity || held->dot.seq <= c->seq)
            continue;
        if (base.held != NULL)
            sim_fail(
                l->w, "node %u makes several writes of one record by comparing", l->node->number);
        base.held = held;
    }
    if (blaze_doc_new(&base.values) != 0)
        abort();
    for (uint32_t cell = 0; cell < SIM_FIELDS + 2; cell++)
        look_cell(l, c, rec, record, cell, &base);
    struct sim_seen old = sim_seen_now(l->identity, record);
    for (uint32_t i = 0; i < l->w->records[record].count; i++) {
        const struct sim_write *write = &l->w->writes[l->w->records[record].writes[i]];
        if (write->seq > c->had->seq[write->identity])
            old.bits[i / 64] &= ~((uint64_t)1 << i % 64);
    }
    if (base.held != NULL)
        add_base(l, record, rec, &base, &old);
    else
        add_shed(l, record, rec, base.values);
    look_applied(l, NULL, record, rec);
}

static void look_there(struct look *l, void *context, uint32_t record, const struct bz_rec *rec)
{
    (void)rec;
    (void)context;
    if (!sim_is_present(l->identity, record))
        sim_fail(l->w, "record %u is there again at node %u", record, l->node->number);
}

void sim_collect_look(
    struct sim_node *node, const struct sim_sum *before, const struct sim_versions *had)
{
    struct sim_sum now = sim_sum_of(node);
    struct waiting waiting = {.w = node->world};
    struct look l;
    if (node->world->muted || memcmp(&now, before, sizeof now) == 0)
        return;
    if (had != NULL && now.position != before->position)
        look_at(&l, node, before->position, look_anew,
            &(struct compared){.had = had, .seq = before->seq});
    look_at(&l, node, 0, look_there, NULL);
    if (had == NULL)
        await_all(node, &waiting);
    for (uint32_t i = 0; i < SIM_RECORDS && !node->world->result.failed; i++) {
        if (l.there[i] || !sim_is_present(l.identity, i))
            continue;
        if (had == NULL)
            collected(node, &waiting, i);
        else
            given_up(node, i, had);
    }
}

static void look_retold(struct look *l, void *context, uint32_t record, const struct bz_rec *rec)
{
    struct sim_seen seen = sim_seen_now(l->identity, record);
    (void)context;
    (void)rec;
    sim_moment_add(l->w, l->identity, record, &seen);
}

void sim_collect_retold(struct sim_node *node)
{
    struct look l;
    if (node->world->identities[node->identity].position != bz_db_position(node->db))
        look_at(&l, node, node->world->identities[node->identity].position, look_retold, NULL);
}

/* ---- writing where nothing is ---- */

/* Whether a node's version vector covers none of what a write that was made anew has not seen. */
static bool claims_none(const struct look *l, uint32_t record, const struct sim_seen *past,
    const struct sim_seen *covered)
{
    const struct sim_record *r = &l->w->records[record];
    struct sim_versions v = sim_versions_of(l->node);
    bool none = true;
    for (uint32_t i = 0; i < r->count; i++) {
        const struct sim_write *write = &l->w->writes[r->writes[i]];
        none &= !sim_bit(past, i) || sim_bit(covered, i) || write->seq > v.seq[write->identity];
    }
    return none;
}

/* What the first write of a record that was not there has seen: what was here once, at least what
 * was collected. A part may know nothing of what it has let go of any more, and who was put back
 * and is another node now nothing of what it claimed before. */
static void look_written(struct look *l, void *context, uint32_t record, const struct bz_rec *rec)
{
    uint32_t first = *(const uint32_t *)context;
    struct sim_record *r = &l->w->records[record];
    struct sim_seen seen = sim_seen_now(l->identity, record), past = {{0}}, covered;
    int32_t at = l->identity->last[record];
    while (at >= 0 && !l->identity->moments[at].absent &&
           l->identity->moments[at].position >= l->w->writes[first].position)
        at = l->identity->moments[at].previous;
    if (at >= 0)
        past = l->identity->moments[at].seen;
    bool collected = at < 0 || l->identity->moments[at].absent;
    if (!collected && is_subset(&past, &seen, &seen))
        return; /* it was there */
    covered = covered_by(l, record, &rec->rvv, UINT64_MAX);
    bool knows = is_subset(&past, &covered, &covered) || l->node->portable ||
                 claims_none(l, record, &past, &covered);
    if (!collected)
        sim_seen_join(&past, &r->gone);
    if (!knows || !is_subset(&covered, &seen, collected ? &r->gone : &past))
        sim_fail(l->w, "record %u, made anew at node %u, has not seen what was here", record,
            l->node->number);
    for (int32_t i = l->identity->last[record]; i > at; i = l->identity->moments[i].previous)
        sim_seen_join(&l->identity->moments[i].seen, &covered);
    for (uint32_t i = first; i < l->w->write_count; i++) {
        struct sim_write *write = &l->w->writes[i];
        for (uint32_t k = 0; write->record == record && k < SIM_RECORD_WRITES / 64; k++)
            write->seen.bits[k] |= covered.bits[k] & ~seen.bits[k];
    }
}

void sim_collect_written(struct sim_node *node, uint32_t first)
{
    struct look l;
    if (first < node->world->write_count)
        look_at(&l, node, node->world->writes[first].position - 1, look_written, &first);
}

/* ---- what comes ---- */

static void note_there(struct look *l, void *context, uint32_t record, const struct bz_rec *rec)
{
    (void)l;
    (void)context;
    (void)record;
    (void)rec;
}

void sim_records_after(struct sim_node *node, uint64_t position, bool out[SIM_RECORDS])
{
    struct look l;
    look_at(&l, node, position, note_there, NULL);
    memcpy(out, l.there, sizeof l.there);
}

void sim_collect_applied(struct sim_node *node, uint64_t position)
{
    struct look l;
    look_at(&l, node, position, look_applied, NULL);
}

/* ---- what a disk had ---- */

/* Whether the record was collected as it was last there. */
static bool was_collected(const struct sim_identity *identity, uint32_t record)
{
    struct sim_seen seen = sim_seen_last(identity, record);
    for (int32_t at = identity->last[record]; at >= 0; at = identity->moments[at].previous) {
        if (identity->moments[at].absent && sim_includes(&identity->moments[at].seen, &seen))
            return true;
    }
    return false;
}

void sim_collect_opened(struct sim_node *node)
{
    struct sim_world *w = node->world;
    struct look l;
    if (!w->collects)
        return;
    look_at(&l, node, 0, note_there, NULL);
    for (uint32_t i = 0; i < SIM_RECORDS; i++) {
        if (l.there[i] == sim_is_present(l.identity, i))
            continue;
        if (l.there[i] && l.identity->last[i] >= 0)
            sim_moment_revive(l.identity, i);
        else if (!l.there[i] && was_collected(l.identity, i))
            sim_moment_erase(l.identity, i);
        else
            sim_fail(w, "record %u is%s at node %u, which has come up", i, l.there[i] ? "" : " not",
                node->number);
    }
}

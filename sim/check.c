/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must be so. At any moment each copy is what the writes say that it has seen: of each cell of
 * each record the writes that none of the others had seen, with their values, and of them the
 * winner is shown. And its version vector covers nothing that it has not seen. After healing, all
 * have seen all; of those that hold a part, see part.c.
 */
#include "settle.h"

#include "codec/doc.h"

struct sim_numbers sim_numbers_of(struct sim_world *w, const struct bz_replica *replica)
{
    struct sim_numbers n = {.fields = {-1, -1, -1, -1, -1, -1}};
    struct bz_bytes meaning;
    uint32_t number;
    if (bz_names_new(&n.names) != 0)
        abort();
    while (n.count < SIM_IDENTITIES &&
           replica->ops->meaning(replica->context, BZ_TERM_NODE, n.count, &meaning) == 0) {
        memcpy(&n.ids[n.count], meaning.data, sizeof(blaze_id));
        n.identities[n.count] = sim_identity_number(w, &n.ids[n.count]);
        n.count++;
    }
    for (uint32_t i = 0; replica->ops->meaning(replica->context, BZ_TERM_FIELD, i, &meaning) == 0;
         i++) {
        if (bz_names_add(n.names, meaning, &number) != 0 || number != i)
            abort();
        for (uint32_t f = 0; f < SIM_FIELDS; f++) {
            if (bz_bytes_equal(meaning, bz_bytes_text(sim_fields[f])))
                n.fields[f] = i;
        }
    }
    return n;
}

void sim_numbers_release(struct sim_numbers *numbers)
{
    bz_names_unref(numbers->names);
}

struct checked {
    struct sim_world *w;
    const struct sim_node *node;
    struct sim_numbers numbers;
    uint32_t record;
    struct sim_seen seen;
    const struct bz_rec *rec;
};

static const struct sim_write *write_of(const struct checked *c, const struct bz_write *write)
{
    if (write->dot.node >= c->numbers.count)
        return NULL;
    return sim_write_find(
        c->w, c->numbers.identities[write->dot.node], write->dot.seq, c->record, &c->seen);
}

static void fail_at(const struct checked *c, const char *what, const char *where)
{
    sim_fail(c->w, "node %u, record %u: %s %s", c->node->number, c->record, what, where);
}

bool sim_gives(struct sim_world *w, const struct sim_write *write, struct bz_bytes body,
    const struct sim_numbers *numbers, uint32_t field)
{
    blaze_value value;
    int rc = numbers->fields[field] < 0 || body.size == 0
                 ? BLAZE_ENOTFOUND
                 : bz_doc_field(body, numbers->names, (uint32_t)numbers->fields[field], &value);
    return sim_value_is(w, rc == 0 ? &value : NULL, write, field);
}

/* Which may stand in a cell. A base speaks also for a field that had newer writes when it was
 * written, once these are collected. */
static struct sim_seen may_stand(const struct checked *c, uint32_t bit)
{
    const struct sim_record *r = &c->w->records[c->record];
    struct sim_seen may = sim_perhaps_standing(c->w, c->record, &c->seen, bit);
    struct sim_seen rest = sim_standing(c->w, c->record, &c->seen, SIM_REST);
    for (uint32_t i = 0; i < r->count && bit < SIM_REST; i++) {
        if (sim_bit(&rest, i) && c->w->writes[r->writes[i]].based)
            sim_bit_set(&may, i);
    }
    return may;
}

static void check_cell(
    const struct checked *c, const struct bz_cell *cell, uint32_t bit, const char *name)
{
    struct sim_seen allowed = may_stand(c, bit), found = {{0}};
    struct sim_seen expected = sim_surely_standing(c->w, c->record, &c->seen, bit);
    for (uint32_t i = 0; i < cell->count; i++) {
        const struct sim_write *write = write_of(c, &c->rec->writes[cell->members[i]]);
        if (write == NULL) {
            fail_at(c, "a write that nobody made, in", name);
            return;
        }
        sim_bit_set(&found, write->number);
    }
    if (!sim_includes(&found, &expected))
        fail_at(c, "a write that nothing replaced is missing in", name);
    if (!sim_includes(&allowed, &found))
        fail_at(c, "a write that was replaced is still in", name);
}

/* Role, then stamp, then id: worked out here once more. */
static const struct bz_write *winner(const struct checked *c, const struct bz_cell *cell)
{
    const struct bz_write *best = NULL;
    for (uint32_t i = 0; i < cell->count; i++) {
        const struct bz_write *write = &c->rec->writes[cell->members[i]];
        int order = best == NULL ? 1 : (int)write->role - (int)best->role;
        if (order == 0)
            order = write->stamp > best->stamp ? 1 : write->stamp < best->stamp ? -1 : 0;
        if (order == 0)
            order = memcmp(&c->numbers.ids[write->dot.node], &c->numbers.ids[best->dot.node],
                sizeof(blaze_id));
        if (order > 0)
            best = write;
    }
    return best;
}

/* Each held write is by whom the oracle says, and later than what it had seen. */
static void check_writes(const struct checked *c)
{
    for (uint32_t i = 0; i < c->rec->write_count; i++) {
        const struct bz_write *held = &c->rec->writes[i];
        const struct sim_write *write = write_of(c, held);
        if (write == NULL)
            return; /* check_cell has told */
        if (held->role != write->role || held->alive != write->alive ||
            held->stamp != write->stamp || held->resolved != write->settles)
            fail_at(c, "a write is not as it was made:", "role, life, stamp or kind");
        if (write->settles || write->based)
            continue; /* it has the stamp of what it stands for */
        for (uint32_t k = 0; k < c->rec->write_count; k++) {
            const struct sim_write *other = write_of(c, &c->rec->writes[k]);
            if (other != NULL && sim_bit(&write->seen, other->number) &&
                held->stamp <= c->rec->writes[k].stamp)
                fail_at(c, "a write is stamped before one that it had seen:", "the clock");
        }
    }
}

/* Whether it covers none of an identity's writes but those that were seen, or collected. Where
 * writes were reissued, or records collected, it may name one that is not of this record. */
static bool covers_seen(const struct checked *c, uint32_t identity, uint64_t highest, uint64_t seq)
{
    const struct sim_record *r = &c->w->records[c->record];
    for (uint32_t i = 0; seq > highest && i < r->count; i++) {
        const struct sim_write *write = &c->w->writes[r->writes[i]];
        if (write->identity == identity && write->seq > highest && write->seq <= seq &&
            !write->replaced && !sim_bit(&r->gone, i))
            return false;
    }
    return seq >= highest;
}

static void check_vector(const struct checked *c)
{
    uint64_t highest[SIM_IDENTITIES] = {0}, found[SIM_IDENTITIES] = {0};
    const struct sim_record *r = &c->w->records[c->record];
    for (uint32_t i = 0; i < r->count; i++) {
        const struct sim_write *write = &c->w->writes[r->writes[i]];
        if (sim_bit(&c->seen, i) && highest[write->identity] < write->seq)
            highest[write->identity] = write->seq;
    }
    for (uint32_t i = 0; i < c->rec->rvv.count; i++)
        found[c->numbers.identities[c->rec->rvv.entries[i].node]] = c->rec->rvv.entries[i].seq;
    for (uint32_t i = 0; i < c->w->identity_count; i++) {
        if (!covers_seen(c, i, highest[i], found[i]))
            fail_at(c, "what it says that it has seen is not what it has seen:", "rvv");
    }
}

/* What a reader is shown. */
static void check_shown(const struct checked *c, struct bz_read *read)
{
    blaze_id id = fake_id(c->record);
    blaze_value document, value;
    const struct bz_write *life = winner(c, &c->rec->life);
    int rc = bz_read_get(read, sim_collection(c->record), &id, &document, NULL);
    if (rc != (life->alive ? 0 : BLAZE_ENOTFOUND)) {
        fail_at(c, life->alive ? "it is not shown, and alive" : "it is shown, and deleted", "");
        return;
    }
    for (uint32_t f = 0; rc == 0 && f < SIM_FIELDS; f++) {
        uint32_t number = c->numbers.fields[f] < 0 ? UINT32_MAX : (uint32_t)c->numbers.fields[f];
        const struct bz_write *shown = winner(c, bz_rec_cell(c->rec, number));
        const struct sim_write *write = write_of(c, shown);
        bool there = blaze_value_field(&document, sim_fields[f], &value) == 0;
        if (write == NULL || !sim_value_is(c->w, there ? &value : NULL, write, f))
            fail_at(c, "what is shown is not the winner's:", sim_fields[f]);
    }
}

static void check_record(struct checked *c, struct bz_read *read)
{
    check_vector(c);
    check_cell(c, &c->rec->life, SIM_LIFE, "life");
    check_cell(c, &c->rec->rest, SIM_REST, "rest");
    if (!c->w->result.failed)
        check_writes(c);
    if (c->node->blind)
        return; /* it knows no field, no value, and shows nothing */
    for (uint32_t f = 0; f < SIM_FIELDS; f++) {
        uint32_t number = c->numbers.fields[f] < 0 ? UINT32_MAX : (uint32_t)c->numbers.fields[f];
        const struct bz_cell *cell = bz_rec_cell(c->rec, number);
        check_cell(c, cell, 1u << f, sim_fields[f]);
        for (uint32_t i = 0; !c->w->result.failed && i < cell->count; i++) {
            const struct bz_write *held = &c->rec->writes[cell->members[i]];
            if (!sim_gives(c->w, write_of(c, held), held->body, &c->numbers, f))
                fail_at(c, "a write has lost or changed its value of", sim_fields[f]);
        }
    }
    if (!c->w->result.failed)
        check_shown(c, read);
}

/* ---- a node ---- */

static int add_version(void *context, const blaze_id *node, uint64_t seq)
{
    struct sim_versions *v = context;
    v->seq[sim_identity_number(v->w, node)] = seq;
    return 0;
}

void sim_versions_load(struct bz_read *read, struct sim_versions *v)
{
    if (bz_read_version(read, add_version, v, NULL) != 0 ||
        bz_read_beyond(read, &v->beyond, NULL) != 0)
        sim_fail(v->w, "a version vector cannot be read");
}

struct sim_versions sim_versions_of(const struct sim_node *node)
{
    struct sim_versions v = {.w = node->world};
    struct bz_read *read;
    if (bz_read_begin(node->db, &read, NULL) != 0)
        abort();
    sim_versions_load(read, &v);
    bz_read_end(read);
    return v;
}

/* Whether a copy has a write, or has what replaced it, or may have had it and collected it. */
static bool has_write(
    const struct sim_world *w, const struct sim_identity *identity, const struct sim_write *write)
{
    struct sim_seen seen = sim_seen_now(identity, write->record);
    return sim_bit(&seen, write->number) || sim_bit(&w->records[write->record].gone, write->number);
}

/* Whether a copy has another write under the same dot. There is one where a node was put back and
 * those who knew of the first have lost it too. */
static bool has_other(
    const struct sim_world *w, const struct sim_identity *identity, const struct sim_write *write)
{
    const struct sim_write *other;
    for (uint32_t at = w->identities[write->identity].writes[write->seq]; at != SIM_NONE;
         at = other->before) {
        other = &w->writes[at];
        if (other != write && has_write(w, identity, other))
            return true;
    }
    return false;
}

/* Whether what a write has replaced stands at a copy that does not have the write. If the write was
 * collected, it may: as that on which writes stand that have outlived the record's deletion. */
static bool stands_replaced(
    const struct sim_world *w, const struct sim_identity *identity, const struct sim_write *write)
{
    struct sim_seen seen = sim_seen_now(identity, write->record);
    bool stands = false, gone = sim_bit(&w->records[write->record].gone, write->number);
    for (uint32_t cell = 1; cell <= (uint32_t)SIM_LIFE && !gone && !sim_bit(&seen, write->number);
         cell <<= 1) {
        struct sim_seen standing = sim_standing(w, write->record, &seen, cell & write->cells);
        for (uint32_t i = 0; i < SIM_RECORD_WRITES / 64; i++)
            stands |= (standing.bits[i] & write->seen.bits[i]) != 0;
    }
    return stands;
}

/* All writes that the version vector covers are here. */
static void check_versions(struct sim_world *w, const struct sim_node *node, struct bz_read *read)
{
    const struct sim_identity *identity = &w->identities[node->identity];
    struct sim_versions v = {.w = w};
    sim_versions_load(read, &v);
    for (uint32_t i = 0; i < w->write_count; i++) {
        const struct sim_write *write = &w->writes[i];
        bool covered = write->seq <= v.seq[write->identity] && !write->replaced && !write->apart &&
                       (!write->cut || write->identity != node->identity) &&
                       sim_part_must_have(w, node, i);
        bool has = covered && has_write(w, identity, write);
        if (!covered || (!has && has_other(w, identity, write)))
            continue;
        if (!has)
            sim_fail(w,
                "node %u says that it has write %llu of identity %u, record %u, and has not",
                node->number, (unsigned long long)write->seq, write->identity, write->record);
        if (!w->blind && stands_replaced(w, identity, write))
            sim_fail(w,
                "node %u says that it has write %llu of identity %u, and shows of record %u what "
                "that has replaced",
                node->number, (unsigned long long)write->seq, write->identity, write->record);
    }
}

void sim_check_node(struct sim_world *w, struct sim_node *node)
{
    struct bz_replica replica;
    struct bz_receiver nobody = {0};
    struct bz_changes *changes;
    struct bz_change change;
    struct bz_read *read;
    uint32_t found = 0, expected = 0;
    w->counts.checks++;
    if (bz_db_replica_open(node->db, &replica, NULL) != 0 ||
        bz_read_begin(node->db, &read, NULL) != 0 ||
        replica.ops->changes_open(replica.context, &nobody, 0, &changes, NULL) != 0)
        abort();
    struct checked c = {.w = w, .node = node, .numbers = sim_numbers_of(w, &replica)};
    while (!w->result.failed && replica.ops->changes_next(changes, &change, NULL) == 0) {
        c.record = (uint32_t)bz_load64be(change.id.bytes + 8);
        c.seen = sim_seen_now(&w->identities[node->identity], c.record);
        c.rec = &change.rec;
        check_record(&c, read);
        found++;
    }
    for (uint32_t i = 0; i < SIM_RECORDS; i++)
        expected += sim_is_present(&w->identities[node->identity], i);
    if (!w->result.failed && found != expected)
        sim_fail(w, "node %u has %u records of %u", node->number, found, expected);
    check_versions(w, node, read);
    if (!w->result.failed && !node->blind)
        sim_check_conflicts(node, read);
    sim_part_check_scope(node);
    sim_numbers_release(&c.numbers);
    replica.ops->changes_close(changes);
    bz_read_end(read);
    bz_db_replica_close(&replica);
}

/* ---- the group ---- */

struct summary {
    struct sim_versions versions;
    struct bz_db_state state;
};

static bool summary_load(struct sim_world *w, const struct sim_node *node, struct summary *out)
{
    struct bz_read *read;
    memset(out, 0, sizeof *out);
    out->versions.w = w;
    if (node->db == NULL || bz_read_begin(node->db, &read, NULL) != 0)
        return false;
    sim_versions_load(read, &out->versions);
    if (bz_read_state(read, &out->state, NULL) != 0)
        sim_fail(w, "the state of node %u cannot be read", node->number);
    bz_read_end(read);
    return true;
}

static bool equal_versions(const struct summary *a, const struct summary *b)
{
    return memcmp(a->versions.seq, b->versions.seq, sizeof a->versions.seq) == 0;
}

static bool equal_digests(const struct summary *a, const struct summary *b)
{
    return a->state.digest.low == b->state.digest.low &&
           a->state.digest.high == b->state.digest.high && a->state.records == b->state.records;
}

/* Whether two nodes show something else of a cell of a record. */
static bool differs_in(const struct sim_world *w, const struct sim_node *a,
    const struct sim_node *b, uint32_t record, uint32_t cell)
{
    struct sim_seen stands[2];
    for (int i = 0; i < 2; i++) {
        struct sim_seen seen = sim_seen_now(&w->identities[(i == 0 ? a : b)->identity], record);
        struct sim_siblings life;
        sim_siblings(w, record, &seen, SIM_LIFE, &life);
        const struct sim_write *winner = sim_winner(w, &life);
        stands[i] = winner != NULL && winner->alive ? sim_standing(w, record, &seen, cell)
                                                    : (struct sim_seen){{0}};
    }
    return memcmp(&stands[0], &stands[1], sizeof stands[0]) != 0;
}

static bool differs(
    const struct sim_world *w, const struct sim_node *a, const struct sim_node *b, uint32_t record)
{
    bool does = false;
    for (uint32_t cell = 1; !does && cell <= (uint32_t)SIM_LIFE; cell <<= 1)
        does = differs_in(w, a, b, record, cell);
    return does;
}

/* Whether a delete of a record was collected while somebody had a write that is concurrent with it:
 * that outlives the delete where it comes late, and has lost to it where both were known. */
static bool is_torn_by_collecting(const struct sim_world *w, uint32_t record)
{
    const struct sim_record *r = &w->records[record];
    for (uint32_t i = 0; i < r->count; i++) {
        const struct sim_write *delete = &w->writes[r->writes[i]];
        for (uint32_t k = 0; k < r->count && !delete->alive && sim_bit(&r->gone, i); k++) {
            if (k != i && !sim_bit(&delete->seen, k) && !sim_bit(&w->writes[r->writes[k]].seen, i))
                return true;
        }
    }
    return false;
}

/* Whether a record is deleted for good by a delete that was collected and has not got about: a copy
 * that compares lets go of what it has of it before its version vector tells of the delete. */
static bool is_let_go(const struct sim_world *w, const struct sim_node *a, const struct sim_node *b,
    uint32_t record, const struct sim_versions *told)
{
    const struct sim_record *r = &w->records[record];
    struct sim_seen life = {{0}};
    for (int i = 0; i < 2; i++) {
        struct sim_seen seen = sim_seen_now(&w->identities[(i == 0 ? a : b)->identity], record);
        struct sim_seen stands = sim_standing(w, record, &seen, SIM_LIFE);
        sim_seen_join(&life, &stands);
    }
    for (uint32_t i = 0; i < r->count; i++) {
        const struct sim_write *write = &w->writes[r->writes[i]];
        if (!write->alive && sim_bit(&r->gone, i) && write->seq > told->seq[write->identity] &&
            sim_includes(&write->seen, &life))
            return true;
    }
    return false;
}

static bool is_back(
    const struct sim_world *w, const struct sim_node *a, const struct sim_node *b, uint32_t record)
{
    struct sim_seen one = sim_seen_now(&w->identities[a->identity], record);
    struct sim_seen other = sim_seen_now(&w->identities[b->identity], record);
    return sim_part_is_back(w, record, &one) && sim_part_is_back(w, record, &other);
}

bool sim_may_differ(struct sim_world *w, const struct sim_node *a, const struct sim_node *b)
{
    static struct summary told;
    bool may = w->collects && summary_load(w, a, &told);
    for (uint32_t record = 0; may && record < SIM_RECORDS; record++)
        may = !differs(w, a, b, record) || (w->late && is_torn_by_collecting(w, record)) ||
              is_let_go(w, a, b, record, &told.versions) || is_back(w, a, b, record);
    return may;
}

/* Whether a node has, of what it wrote under another name, what its version vector does not say:
 * since it had let go of some as a part, and that may be lost. It keeps that in mind for a day. */
static bool has_unclaimed(
    const struct sim_world *w, const struct sim_node *node, const struct sim_versions *versions)
{
    for (uint32_t i = 0; i < w->write_count; i++) {
        const struct sim_write *write = &w->writes[i];
        if (write->identity == node->identity ||
            w->identities[write->identity].node != node->number)
            continue;
        struct sim_seen seen = sim_seen_now(&w->identities[node->identity], write->record);
        if (sim_bit(&seen, write->number) && write->seq > versions->seq[write->identity])
            return true;
    }
    return false;
}

void sim_check_digests(struct sim_world *w)
{
    if (w->collects && w->blind)
        return; /* until what was collected, and is not everywhere, has come back */
    static struct summary all[SIM_NODES];
    bool there[SIM_NODES];
    for (uint32_t i = 0; i < w->node_count; i++) {
        there[i] = summary_load(w, &w->nodes[i], &all[i]) && !all[i].versions.beyond &&
                   !sim_is_apart(&w->nodes[i]) && !sim_is_part(&w->nodes[i]);
        for (uint32_t k = 0; there[i] && k < i; k++) {
            if (there[k] && equal_versions(&all[i], &all[k]) && !equal_digests(&all[i], &all[k]) &&
                !has_unclaimed(w, &w->nodes[i], &all[i].versions) &&
                !has_unclaimed(w, &w->nodes[k], &all[k].versions) &&
                !sim_may_differ(w, &w->nodes[i], &w->nodes[k]))
                sim_fail(w, "nodes %u and %u have the same writes and differ", k, i);
        }
    }
}

/* For whoever looks for the cause. */
static uint32_t different(
    const struct sim_world *w, const struct sim_node *a, const struct sim_node *b)
{
    uint32_t record = 0;
    while (record < SIM_RECORDS && !differs(w, a, b, record))
        record++;
    return record;
}

static void check_equal(struct sim_world *w)
{
    static struct summary first, other;
    const struct sim_node *one = NULL;
    for (uint32_t i = 0; i < w->node_count; i++) {
        struct sim_node *node = &w->nodes[i];
        if (!node->member || sim_is_part(node))
            continue;
        if (!summary_load(w, node, one == NULL ? &first : &other)) {
            sim_fail(w, "node %u is not there", i);
            return;
        }
        if (one == NULL) {
            one = node;
            continue;
        }
        if (!equal_versions(&first, &other))
            sim_fail(w, "nodes %u and %u differ in their version vectors", one->number, i);
        /* A deleted record may be in conflict, and not yet be collected everywhere. */
        bool countable = !w->collects && !node->blind && !one->blind;
        if (!equal_digests(&first, &other) ||
            (countable && first.state.conflicts != other.state.conflicts))
            sim_fail(w, "nodes %u and %u differ in what they show: record %u", one->number, i,
                different(w, one, node));
    }
}

/* A record goes over a link once for each time that it changed, and once more at most for each
 * session that broke off. */
void sim_check_traffic(struct sim_world *w)
{
    for (uint32_t i = 0; i < SIM_LINKS; i++) {
        const struct sim_link *l = &w->links[i];
        for (int k = 0; l->used && k < 2; k++) {
            uint64_t changes = 0;
            for (uint32_t n = 0; n < w->identity_count; n++) {
                if (w->identities[n].node == l->nodes[k])
                    changes += w->identities[n].made;
            }
            if (l->sent_records[k] > changes + l->sessions * SIM_RECORDS)
                sim_fail(w, "node %u has sent %llu records to node %u, of %llu changes",
                    l->nodes[k], (unsigned long long)l->sent_records[k], l->nodes[!k],
                    (unsigned long long)changes);
        }
    }
}

/* Every write is everywhere, or was lost with its node before anybody else had it. */
static void check_nothing_lost(struct sim_world *w)
{
    bool part[SIM_NODES];
    for (uint32_t k = 0; k < w->node_count; k++)
        part[k] = sim_is_part(&w->nodes[k]);
    for (uint32_t i = 0; i < w->write_count; i++) {
        const struct sim_write *write = &w->writes[i];
        uint32_t have = 0, members = 0, parts = 0;
        for (uint32_t k = 0; k < w->node_count; k++) {
            if (!w->nodes[k].member)
                continue;
            *(part[k] ? &parts : &have) +=
                has_write(w, &w->identities[w->nodes[k].identity], write);
            members += !part[k];
        }
        bool taken_back = write->replaced && sim_is_doubled(w, write);
        if (have != members && !taken_back && (have + parts != 0 || !write->lost))
            sim_fail(w, "write %llu of identity %u, record %u, is at %u of %u nodes",
                (unsigned long long)write->seq, write->identity, write->record, have, members);
    }
}

void sim_check_healed(struct sim_world *w)
{
    check_nothing_lost(w);
    check_equal(w);
    for (uint32_t i = 0; !w->result.failed && i < w->node_count; i++) {
        struct sim_node *node = &w->nodes[i];
        blaze_error error;
        if (!node->member)
            continue;
        sim_check_node(w, node);
        if (bz_db_check(node->db, NULL, NULL, &error) != 0)
            sim_fail(w, "node %u: %s", node->number, error.text);
    }
    for (uint32_t i = 0; !w->result.failed && i < w->node_count; i++) {
        if (w->nodes[i].member)
            sim_part_check_healed(w, &w->nodes[i]);
    }
}

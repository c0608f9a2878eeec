/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settling. A copy must write just what its rules say of the siblings that it has seen, with the
 * time and role of what that stands for, and nothing else. What a resolver answers is its own
 * affair, and noted; but it must be asked, and told what is so.
 */
#include "settle.h"

#include "codec/doc.h"

/* The pass that is under way, in all the world. */
static struct {
    struct sim_node *node;
    const struct sim_ask *ask;
    bool in_vain;              /* it will not have been */
    bool touched[SIM_RECORDS]; /* written to since it began */
    struct sim_answer answers[SIM_RECORDS];
} pass;

static const struct sim_answer *answer_of(uint32_t record)
{
    return &pass.answers[record];
}

/* ---- what was written ---- */

/* A write of this node that the oracle has not heard of. */
struct found {
    uint32_t record;
    uint64_t seq;
    struct sim_write made;
};

struct finding {
    struct sim_node *node;
    struct sim_numbers numbers;
    uint32_t self;
    uint64_t after; /* seq */
    uint32_t count;
};

static struct found found_writes[SIM_RECORDS * SIM_FIELDS];

static bool is_member(const struct bz_cell *cell, uint32_t write)
{
    for (uint32_t i = 0; i < cell->count; i++) {
        if (cell->members[i] == write)
            return true;
    }
    return false;
}

static void find_field(const struct finding *finding, const struct bz_rec *rec, uint32_t at,
    uint32_t field, struct sim_write *made)
{
    blaze_value value;
    if (finding->numbers.fields[field] < 0)
        return;
    uint32_t number = (uint32_t)finding->numbers.fields[field];
    const struct bz_cell *cell = bz_rec_cell(rec, number);
    if (cell == &rec->rest || !is_member(cell, at))
        return;
    made->cells |= (uint8_t)(1u << field);
    if (bz_doc_field(rec->writes[at].body, finding->numbers.names, number, &value) != 0)
        return;
    made->sets |= (uint8_t)(1u << field);
    blaze_doc_add_value(made->values, sim_fields[field], &value);
}

static void find_writes(struct finding *finding, uint32_t record, const struct bz_rec *rec)
{
    struct sim_world *w = finding->node->world;
    for (uint32_t i = 0; i < rec->write_count && !w->result.failed; i++) {
        const struct bz_write *held = &rec->writes[i];
        if (held->dot.node != finding->self || held->dot.seq <= finding->after)
            continue;
        struct found *found = &found_writes[finding->count++];
        *found = (struct found){.record = record, .seq = held->dot.seq};
        found->made = (struct sim_write){.alive = held->alive,
            .settles = held->resolved,
            .expressly = pass.ask != NULL,
            .role = held->role,
            .stamp = held->stamp};
        if (blaze_doc_new(&found->made.values) != 0)
            abort();
        if (is_member(&rec->life, i) || is_member(&rec->rest, i) || !held->resolved)
            sim_fail(w, "node %u, record %u: a settling takes more than the fields in conflict",
                finding->node->number, record);
        for (uint32_t f = 0; f < SIM_FIELDS; f++)
            find_field(finding, rec, i, f, &found->made);
    }
}

/* What a walk over what changed after a position finds of this node's writes. */
static void each_change(struct sim_node *node, uint64_t position,
    void (*each)(struct finding *finding, uint32_t record, const struct bz_rec *rec),
    struct finding *finding)
{
    struct bz_replica replica;
    struct bz_receiver nobody = {0};
    struct bz_changes *changes;
    struct bz_change change;
    if (bz_db_replica_open(node->db, &replica, NULL) != 0 ||
        replica.ops->changes_open(replica.context, &nobody, position, &changes, NULL) != 0)
        abort();
    finding->node = node;
    finding->numbers = sim_numbers_of(node->world, &replica);
    while (finding->self < finding->numbers.count &&
           finding->numbers.identities[finding->self] != node->identity)
        finding->self++;
    while (replica.ops->changes_next(changes, &change, NULL) == 0)
        each(finding, sim_record_of(&change.id), &change.rec);
    sim_numbers_release(&finding->numbers);
    replica.ops->changes_close(changes);
    bz_db_replica_close(&replica);
}

static void note_stamp(struct finding *finding, uint32_t record, const struct bz_rec *rec)
{
    struct sim_world *w = finding->node->world;
    struct sim_seen seen = sim_seen_now(sim_identity_of(finding->node), record);
    for (uint32_t i = 0; i < rec->write_count; i++) {
        const struct bz_write *held = &rec->writes[i];
        const struct sim_write *write =
            held->dot.node == finding->self
                ? sim_write_find(w, finding->node->identity, held->dot.seq, record, &seen)
                : NULL;
        if (write != NULL && write->stamp == 0)
            w->writes[write - w->writes].stamp = held->stamp;
    }
}

void sim_stamps_note(struct sim_node *node, uint64_t position)
{
    struct finding finding = {.count = 0};
    each_change(node, position, note_stamp, &finding);
}

static int by_seq(const void *a, const void *b)
{
    uint64_t x = ((const struct found *)a)->seq, y = ((const struct found *)b)->seq;
    return (x > y) - (x < y);
}

/* It is what the rules say of what it has replaced. */
static void check_settled(struct sim_node *node, const struct found *found)
{
    struct sim_world *w = node->world;
    blaze_value map, value;
    if (found->made.cells == 0 || blaze_doc_value(found->made.values, &map) != 0)
        sim_fail(w, "node %u, record %u: a settling settles nothing", node->number, found->record);
    for (uint32_t f = 0; f < SIM_FIELDS && !w->result.failed; f++) {
        if ((found->made.cells >> f & 1) == 0)
            continue;
        struct sim_decision d =
            sim_decide(node, pass.ask, answer_of(found->record), found->record, f);
        bool set = blaze_value_field(&map, sim_fields[f], &value) == 0;
        const char *wrong =
            !d.made ? "which is for nobody or for another to settle"
            : !sim_is_decided(w, &d, answer_of(found->record), f, set ? &value : NULL)
                ? "not to what its rule says"
            : d.stamp != found->made.stamp || d.role != found->made.role
                ? "with a time or role that is not its own"
                : NULL;
        if (wrong != NULL)
            sim_fail(w, "node %u settles %s of record %u, %s", node->number, sim_fields[f],
                found->record, wrong);
    }
}

/* Tells the oracle what has been settled up to now. */
static void catch_up(struct sim_node *node)
{
    struct sim_world *w = node->world;
    const struct sim_identity *identity = sim_identity_of(node);
    if (pass.in_vain || bz_db_position(node->db) == identity->position)
        return;
    struct finding finding = {.after = identity->seq};
    each_change(node, identity->position, find_writes, &finding);
    qsort(found_writes, finding.count, sizeof found_writes[0], by_seq);
    for (uint32_t i = 0; i < finding.count; i++) {
        const struct found *found = &found_writes[i];
        if (!w->result.failed)
            check_settled(node, found);
        if (!w->result.failed && w->records[found->record].count == SIM_RECORD_WRITES)
            sim_fail(w, "record %u is settled again and again", found->record);
        if (w->result.failed) {
            blaze_doc_free(found->made.values);
            continue;
        }
        sim_write_add(w, node->identity, found->record, &found->made);
        w->counts.settled++;
        sim_note(
            w, "node %u settles %02x of record %u", node->number, found->made.cells, found->record);
    }
    if (!w->result.failed && bz_db_position(node->db) != identity->position)
        sim_fail(w, "node %u has settled up to position %llu, not %llu", node->number,
            (unsigned long long)bz_db_position(node->db), (unsigned long long)identity->position);
}

/* ---- resolvers ---- */

static void check_asked(
    struct sim_node *node, uint32_t record, const struct bz_conflict *fields, uint32_t count)
{
    uint32_t asked = 0;
    if (pass.touched[record])
        return; /* it is asked of what was there before */
    for (uint32_t i = 0; i < count; i++) {
        sim_check_told(node, &fields[i]);
        asked |= 1u << sim_field_of(fields[i].field);
    }
    for (uint32_t f = 0; f < SIM_FIELDS; f++) {
        if (sim_is_due(node, pass.ask, record, f) != (asked >> f & 1))
            sim_fail(node->world, "the resolver of node %u is asked of the wrong fields of %u",
                node->number, record);
    }
}

static void note_answer(
    uint32_t record, const struct bz_conflict *fields, uint32_t count, blaze_doc *values)
{
    struct sim_answer *answer = &pass.answers[record];
    blaze_value map, value;
    if (blaze_doc_value(values, &map) != 0)
        abort();
    answer->values = values;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t f = sim_field_of(fields[i].field);
        if (blaze_value_field(&map, sim_fields[f], &value) != 0)
            continue;
        answer->named |= (uint8_t)(1u << f);
        if (value.type != BZ_TYPE_UNSET)
            answer->sets |= (uint8_t)(1u << f);
    }
}

/* A resolver is a program, and may write. */
static void meddle(struct sim_node *node, uint32_t record)
{
    struct sim_world *w = node->world;
    if (pass.in_vain || sim_chance(w, 3) != 0)
        return;
    catch_up(node);
    if (sim_chance(w, 4) == 0)
        record = sim_chance(w, w->small);
    pass.touched[record] = true;
    sim_meddle(node, record);
}

static int resolve(
    void *context, const struct bz_conflict *fields, uint32_t count, blaze_doc *values)
{
    struct sim_node *node = context;
    struct sim_world *w = node->world;
    uint32_t record = sim_record_of(&fields[0].id);
    enum sim_resolver how = node->resolvers[sim_collection_number(record)];
    struct sim_answer *answer = &pass.answers[record];
    bool refuses = how == SIM_LEAVES && record % 4 == 1,
         spoils = how == SIM_LEAVES && record % 4 == 2;
    if (pass.node != node || pass.ask != NULL || answer->asked) {
        sim_fail(w, "the resolver of node %u is called when it should not be", node->number);
        return 1;
    }
    if (!pass.in_vain) {
        catch_up(node);
        check_asked(node, record, fields, count);
    }
    answer->asked = true;
    blaze_doc *mine = NULL;
    if (blaze_doc_new(&mine) != 0)
        abort();
    uint64_t inventions = w->inventions;
    for (uint32_t i = 0; i < count; i++)
        sim_answer_one(w, how, &fields[i], sim_fields[sim_field_of(fields[i].field)], values);
    w->inventions = inventions;
    for (uint32_t i = 0; i < count; i++)
        sim_answer_one(w, how, &fields[i], sim_fields[sim_field_of(fields[i].field)], mine);
    if (spoils)
        blaze_doc_begin_map(values, "never ended");
    if (refuses || spoils)
        blaze_doc_free(mine);
    else
        note_answer(record, fields, count, mine);
    if (how == SIM_WRITES)
        meddle(node, record);
    return refuses;
}

/* ---- passes ---- */

static void check_left_one(struct sim_node *node, uint32_t record, uint32_t field)
{
    struct sim_world *w = node->world;
    uint32_t collection = sim_collection_number(record);
    if (node->resolvers[collection] != SIM_NO_RESOLVER && pass.ask == NULL) {
        if (sim_is_due(node, pass.ask, record, field) && !pass.answers[record].asked)
            sim_fail(w, "the resolver of node %u is not asked of record %u", node->number, record);
    }
    if (sim_decide(node, pass.ask, answer_of(record), record, field).made)
        sim_fail(w, "node %u leaves %s of record %u, which is for it to settle", node->number,
            sim_fields[field], record);
}

/* A pass has left nothing but what changed meanwhile. */
static void check_left(struct sim_node *node)
{
    for (uint32_t record = 0; record < SIM_RECORDS && !node->world->result.failed; record++) {
        for (uint32_t f = 0; f < SIM_FIELDS && !pass.touched[record]; f++)
            check_left_one(node, record, f);
    }
}

static int run(struct sim_node *node, const struct sim_ask *ask, uint64_t *settled)
{
    blaze_error error = {0};
    int rc;
    if (ask == NULL) {
        rc = bz_db_settle_pass(node->db, settled, &error);
    } else {
        blaze_id id = fake_id(ask->record < 0 ? 0 : (uint32_t)ask->record);
        struct bz_settle what = {.policy = ask->policy};
        if (ask->collection >= 0)
            what.collection = bz_bytes_text(sim_collections[ask->collection]);
        if (ask->record >= 0)
            what.id = &id;
        if (ask->field >= 0)
            what.field = bz_bytes_text(sim_fields[ask->field]);
        rc = bz_db_settle(node->db, &what, settled, &error);
    }
    if (rc != 0 && !node->world->muted)
        sim_fail(node->world, "node %u cannot settle: %s", node->number, error.text);
    return rc;
}

static void pass_begin(struct sim_node *node, const struct sim_ask *ask, bool in_vain)
{
    memset(&pass, 0, sizeof pass);
    pass.node = node;
    pass.ask = ask;
    pass.in_vain = in_vain;
}

static void pass_end(void)
{
    for (uint32_t i = 0; i < SIM_RECORDS; i++)
        blaze_doc_free(pass.answers[i].values);
    memset(&pass, 0, sizeof pass);
}

void sim_settle(struct sim_node *node, const struct sim_ask *ask)
{
    struct sim_world *w = node->world;
    uint64_t settled = 0, before = sim_identity_of(node)->position, counted = w->counts.settled;
    pass_begin(node, ask, false);
    int rc = run(node, ask, &settled);
    if (rc == 0) {
        catch_up(node);
        check_left(node);
    }
    if (rc == 0 && (settled > 0) != (w->counts.settled > counted))
        sim_fail(w, "node %u says that it has settled %llu records, and wrote %llu times",
            node->number, (unsigned long long)settled,
            (unsigned long long)(w->counts.settled - counted));
    if (before != sim_identity_of(node)->position && node->durability == BZ_DURABLE_FULL)
        node->durable = sim_identity_of(node)->position;
    pass_end();
}

/* It goes down before its commit. */
static void settle_in_vain(struct sim_node *node)
{
    struct sim_world *w = node->world;
    uint64_t settled;
    sim_note(w, "node %u crashes before it has settled", node->number);
    struct sim_image before = sim_image_take(node, false);
    w->muted = true;
    pass_begin(node, NULL, true);
    run(node, NULL, &settled);
    pass_end();
    sim_node_undo(node, &before);
    w->muted = false;
}

static bool has_rules(const struct sim_node *node)
{
    bool some = false;
    for (uint32_t i = 0; i < SIM_COLLECTIONS; i++) {
        some |= node->resolvers[i] != SIM_NO_RESOLVER;
        for (uint32_t f = 0; f <= SIM_FIELDS; f++)
            some |= node->rules.policies[i][f] != BZ_POLICY_UNSET;
    }
    return some;
}

static bool settles(const struct sim_node *node)
{
    return node->db != NULL && !node->blind && !node->waits && has_rules(node);
}

bool sim_settle_step(struct sim_world *w)
{
    if (!w->settles)
        return false;
    uint32_t first = sim_chance(w, w->node_count);
    for (uint32_t i = 0; i < w->node_count; i++) {
        struct sim_node *node = &w->nodes[(first + i) % w->node_count];
        if (!settles(node) || !node->settle_due)
            continue;
        if (node->dying) {
            settle_in_vain(node);
            return true;
        }
        node->settle_due = false; /* what comes meanwhile is looked at again */
        sim_settle(node, NULL);
        return true;
    }
    return false;
}

/* ---- rules ---- */

static bool may_have_rules(const struct sim_node *node)
{
    uint32_t others = 0;
    for (uint32_t i = 0; i < node->world->node_count; i++)
        others += i != node->number && has_rules(&node->world->nodes[i]);
    return !node->blind && others < node->world->settlers;
}

void sim_policy_set(
    struct sim_node *node, uint32_t collection, uint32_t field, enum bz_policy policy)
{
    blaze_error error;
    if (!may_have_rules(node))
        return;
    int rc = bz_db_policy_put(node->db, bz_bytes_text(sim_collections[collection]),
        field < SIM_FIELDS ? bz_bytes_text(sim_fields[field]) : bz_bytes(NULL, 0), policy, &error);
    if (rc != 0)
        sim_fail(node->world, "node %u cannot set a policy: %s", node->number, error.text);
    node->rules.policies[collection][field] = (uint8_t)policy;
    node->durable = sim_identity_of(node)->position;
    node->settle_due = true;
    sim_note(node->world, "node %u has policy %s for %s of %s", node->number,
        bz_policy_name(policy), field < SIM_FIELDS ? sim_fields[field] : "all",
        sim_collections[collection]);
}

static void resolver_put(struct sim_node *node, uint32_t collection)
{
    blaze_error error;
    bool none = node->resolvers[collection] == SIM_NO_RESOLVER;
    if (bz_db_set_resolver(node->db, bz_bytes_text(sim_collections[collection]),
            none ? NULL : resolve, node, NULL, &error) != 0)
        sim_fail(node->world, "node %u cannot set a resolver: %s", node->number, error.text);
    node->settle_due = true;
}

void sim_resolver_set(struct sim_node *node, uint32_t collection, enum sim_resolver resolver)
{
    if (!may_have_rules(node))
        return;
    node->resolvers[collection] = resolver;
    resolver_put(node, collection);
    sim_note(node->world, "node %u has resolver %d for %s", node->number, (int)resolver,
        sim_collections[collection]);
}

static int note_policy(
    void *context, struct bz_bytes collection, struct bz_bytes field, enum bz_policy policy)
{
    struct sim_rules *rules = context;
    for (uint32_t i = 0; i < SIM_COLLECTIONS; i++) {
        if (bz_bytes_equal(collection, bz_bytes_text(sim_collections[i])))
            rules->policies[i][field.size == 0 ? SIM_FIELDS : sim_field_of(field)] =
                (uint8_t)policy;
    }
    return 0;
}

void sim_rules_opened(struct sim_node *node)
{
    struct sim_rules rules = {{{0}}};
    struct bz_read *read;
    if (bz_read_begin(node->db, &read, NULL) != 0 ||
        bz_read_policies(read, note_policy, &rules, NULL) != 0)
        abort();
    bz_read_end(read);
    if (memcmp(&rules, &node->rules, sizeof rules) != 0)
        sim_fail(node->world, "node %u comes back with other policies", node->number);
    for (uint32_t i = 0; i < SIM_COLLECTIONS; i++) {
        if (node->resolvers[i] != SIM_NO_RESOLVER)
            resolver_put(node, i);
    }
    node->settle_due = true;
}

/* ---- at rest ---- */

/* Of one cell of a record: a node settles what others wrote at most once, and of what is settled at
 * most once each that a node with a greater id has. */
static void check_number(struct sim_world *w, uint32_t record, uint32_t cell)
{
    uint32_t settled[SIM_IDENTITIES] = {0}, kept[SIM_IDENTITIES] = {0}, written = 0;
    const struct sim_record *r = &w->records[record];
    for (uint32_t i = 0; i < r->count; i++) {
        const struct sim_write *write = &w->writes[r->writes[i]];
        if ((write->cells & cell) == 0)
            continue;
        written += !write->settles || write->expressly;
        settled[write->identity] += write->settles && !write->expressly;
        kept[write->identity] +=
            write->settles && !write->expressly && !write->lost && write->of == 0;
    }
    for (uint32_t i = 0; i < w->identity_count; i++) {
        uint32_t most = written;
        for (uint32_t k = 0; k < w->identity_count; k++) {
            if (memcmp(&w->identities[k].id, &w->identities[i].id, sizeof(blaze_id)) > 0)
                most += settled[k];
        }
        if (kept[i] > most)
            sim_fail(w, "identity %u has settled record %u %u times, of %u writes", i, record,
                kept[i], most);
    }
}

void sim_check_settled(struct sim_world *w)
{
    if (!w->settles)
        return;
    for (uint32_t record = 0; record < SIM_RECORDS; record++) {
        for (uint32_t f = 0; f < SIM_FIELDS; f++)
            check_number(w, record, 1u << f);
    }
    for (uint32_t i = 0; i < w->node_count && !w->result.failed; i++) {
        if (!settles(&w->nodes[i]))
            continue;
        uint64_t before = sim_identity_of(&w->nodes[i])->position;
        sim_settle(&w->nodes[i], NULL);
        if (before != sim_identity_of(&w->nodes[i])->position)
            sim_fail(w, "at rest, node %u has still something to settle", i);
    }
}

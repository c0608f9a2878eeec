/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may be done to a world: the work that its nodes do, and what goes wrong. One table; each run
 * has a random part of it switched on, so that each kind also meets each other without the rest.
 */
#include "settle.h"

/* ---- choosing ---- */

static struct sim_node *some_node(struct sim_world *w)
{
    uint32_t first = sim_chance(w, w->node_count);
    for (uint32_t i = 0; i < w->node_count; i++) {
        struct sim_node *node = &w->nodes[(first + i) % w->node_count];
        if (node->db != NULL)
            return node;
    }
    return NULL;
}

static struct sim_node *some_writer(struct sim_world *w)
{
    struct sim_node *node = some_node(w);
    return node == NULL || node->blind || node->waits ? NULL : node;
}

static struct sim_connection *some_connection(struct sim_world *w)
{
    uint32_t first = sim_chance(w, SIM_CONNECTIONS);
    for (uint32_t i = 0; i < SIM_CONNECTIONS; i++) {
        struct sim_connection *c = &w->connections[(first + i) % SIM_CONNECTIONS];
        if (c->used)
            return c;
    }
    return NULL;
}

static struct sim_link *some_link(struct sim_world *w)
{
    uint32_t first = sim_chance(w, SIM_LINKS);
    for (uint32_t i = 0; i < SIM_LINKS; i++) {
        struct sim_link *l = &w->links[(first + i) % SIM_LINKS];
        if (l->used)
            return l;
    }
    return NULL;
}

/* ---- work ---- */

#define REISSUED 96u /* writes of a record that are left for what is reissued, or based on */

enum verb { PUT, INSERT, UPDATE, UPSERT, UNSET, DELETE };

/* Fills the document with values of the next write; which fields it has, and which it names. */
static uint8_t fill(struct sim_world *w, bool whole, bool unset, uint8_t *sets)
{
    uint8_t named = 0;
    *sets = 0;
    blaze_doc_clear(w->doc);
    uint32_t count = 1 + sim_chance(w, whole ? SIM_FIELDS : 2);
    for (uint32_t first = sim_chance(w, SIM_FIELDS), i = 0; i < count; i++) {
        uint32_t field = (first + i) % SIM_FIELDS;
        named |= (uint8_t)(1u << field);
        if (unset && sim_chance(w, 2)) {
            blaze_doc_add_unset(w->doc, sim_fields[field]);
            continue;
        }
        *sets |= (uint8_t)(1u << field);
        sim_value_add(w->doc, w->write_count, field);
    }
    return named;
}

static int call(struct bz_db_txn *txn, enum verb verb, uint32_t record, blaze_doc *doc)
{
    struct bz_bytes collection = sim_collection(record);
    blaze_id id = fake_id(record);
    switch (verb) {
    case PUT:
        return bz_db_put(txn, collection, &id, doc, NULL);
    case INSERT:
        return bz_db_insert(txn, collection, &id, doc, NULL);
    case UPDATE:
    case UNSET:
        return bz_db_update(txn, collection, &id, doc, NULL);
    case UPSERT:
        return bz_db_upsert(txn, collection, &id, doc, NULL);
    default:
        return bz_db_delete(txn, collection, &id, NULL);
    }
}

/* One write in a transaction, and the oracle is told. */
static void write_one(struct sim_world *w, struct sim_node *node, struct bz_db_txn *txn,
    enum verb verb, uint32_t record)
{
    blaze_id id = fake_id(record);
    uint8_t sets = 0, cells = SIM_LIFE;
    if (w->records[record].count >= (SIM_RECORD_WRITES - REISSUED) / (w->settles ? 4 : 1))
        return; /* rules write, too */
    bool there = bz_read_exists(bz_db_txn_read(txn), sim_collection(record), &id, NULL) == 0;
    bool whole = verb == PUT || verb == INSERT || (verb == UPSERT && !there);
    if (verb != DELETE)
        cells |= fill(w, whole, verb == UNSET, &sets);
    int expected = verb == INSERT && there ? BLAZE_EEXIST : !whole && !there ? BLAZE_ENOTFOUND : 0;
    int rc = call(txn, verb, record, w->doc);
    if (rc != expected)
        sim_fail(w, "a write at node %u gives %d, not %d", node->number, rc, expected);
    if (rc == 0 && w->collects)
        sim_note(
            w, "node %u %s record %u", node->number, verb == DELETE ? "deletes" : "writes", record);
    if (rc == 0)
        sim_write_add(w, node->identity, record,
            &(struct sim_write){
                .cells = whole ? SIM_WHOLE : cells, .sets = sets, .alive = verb != DELETE});
}

/* `first` is that of the writes. */
static void commit(
    struct sim_world *w, struct sim_node *node, struct bz_db_txn *txn, uint32_t first)
{
    uint64_t position = w->identities[node->identity].position, before = bz_db_position(node->db);
    int rc = bz_db_commit(txn, node->durability, NULL);
    if (rc != 0 || bz_db_position(node->db) != position)
        sim_fail(w, "a commit at node %u gives %d and position %llu, not %llu", node->number, rc,
            (unsigned long long)bz_db_position(node->db), (unsigned long long)position);
    if (position != before && node->durability == BZ_DURABLE_FULL)
        node->durable = position;
    sim_stamps_note(node, before);
    if (w->collects)
        sim_collect_written(node, first);
    w->counts.commits++;
    sim_note(w, "node %u writes up to %llu", node->number, (unsigned long long)position);
}

static void work(
    struct sim_world *w, enum verb verb, uint32_t first, uint32_t count, uint32_t below)
{
    struct sim_node *node = some_writer(w);
    struct bz_db_txn *txn;
    uint32_t written = w->write_count;
    if (node == NULL || bz_db_begin(node->db, &txn, NULL) != 0)
        return;
    for (uint32_t i = 0; i < count; i++)
        write_one(w, node, txn, verb, first + sim_chance(w, below));
    commit(w, node, txn, written);
}

static void do_put(struct sim_world *w)
{
    work(w, PUT, 0, 1 + sim_chance(w, 2), w->small);
}

static void do_insert(struct sim_world *w)
{
    work(w, INSERT, 0, 1, w->small);
}

static void do_upsert(struct sim_world *w)
{
    work(w, UPSERT, 0, 1 + sim_chance(w, 4), w->small);
}

static void do_update(struct sim_world *w)
{
    work(w, UPDATE, 0, 1 + sim_chance(w, 2), w->small);
}

static void do_unset(struct sim_world *w)
{
    work(w, UNSET, 0, 1, w->small);
}

static void do_delete(struct sim_world *w)
{
    work(w, DELETE, 0, 1 + sim_chance(w, 2), w->small);
}

static void do_hot(struct sim_world *w)
{
    work(w, UPSERT, 0, 1, 1);
}

static void do_bulk(struct sim_world *w)
{
    struct sim_node *node = some_writer(w);
    struct bz_db_txn *txn;
    uint32_t written = w->write_count;
    uint32_t room = SIM_RECORDS - SIM_SMALL, count = 20 + sim_chance(w, 60);
    if (node == NULL || bz_db_begin(node->db, &txn, NULL) != 0)
        return;
    for (uint32_t first = sim_chance(w, room), i = 0; i < count; i++)
        write_one(w, node, txn, PUT, SIM_SMALL + (first + i) % room);
    commit(w, node, txn, written);
}

/* Most of what there is. */
static void do_clear(struct sim_world *w)
{
    struct sim_node *node = some_writer(w);
    struct bz_db_txn *txn;
    uint32_t written = w->write_count, one_in = 1 + sim_chance(w, 3);
    if (node == NULL || bz_db_begin(node->db, &txn, NULL) != 0)
        return;
    for (uint32_t i = 0; i < SIM_RECORDS; i++) {
        if (sim_is_present(&w->identities[node->identity], i) && sim_chance(w, one_in) == 0)
            write_one(w, node, txn, DELETE, i);
    }
    commit(w, node, txn, written);
}

/* A transaction of which nothing remains. */
static void do_abort(struct sim_world *w)
{
    struct sim_node *node = some_writer(w);
    struct bz_db_txn *txn;
    uint8_t sets;
    if (node == NULL || bz_db_begin(node->db, &txn, NULL) != 0)
        return;
    for (uint32_t i = 1 + sim_chance(w, 4); i > 0; i--) {
        fill(w, true, false, &sets);
        call(txn, sim_chance(w, 2) ? PUT : DELETE, sim_chance(w, w->small), w->doc);
    }
    bz_db_abort(txn);
}

/* ---- conflicts ---- */

void sim_meddle(struct sim_node *node, uint32_t record)
{
    struct sim_world *w = node->world;
    struct bz_db_txn *txn;
    uint32_t written = w->write_count;
    if (bz_db_begin(node->db, &txn, NULL) != 0)
        abort();
    write_one(w, node, txn, sim_chance(w, 4) == 0 ? DELETE : UPSERT, record);
    commit(w, node, txn, written);
}

static void do_policy(struct sim_world *w)
{
    struct sim_node *node = some_writer(w);
    enum bz_policy policy =
        sim_chance(w, 2) ? w->policy : (enum bz_policy)sim_chance(w, BZ_POLICY_LEAST + 1);
    if (node != NULL)
        sim_policy_set(node, sim_chance(w, SIM_COLLECTIONS),
            sim_chance(w, 2) ? SIM_FIELDS : sim_chance(w, SIM_FIELDS), policy);
}

static void do_resolver(struct sim_world *w)
{
    struct sim_node *node = some_writer(w);
    if (node != NULL)
        sim_resolver_set(
            node, sim_chance(w, SIM_COLLECTIONS), (enum sim_resolver)sim_chance(w, SIM_RESOLVERS));
}

static void do_resolve(struct sim_world *w)
{
    struct sim_node *node = some_writer(w);
    struct sim_ask ask = {-1, -1, -1, (enum bz_policy)sim_chance(w, BZ_POLICY_LEAST + 1)};
    if (sim_chance(w, 2))
        ask.record = (int)sim_chance(w, w->small);
    if (ask.record >= 0)
        ask.collection = (int)sim_collection_number((uint32_t)ask.record);
    else if (sim_chance(w, 2))
        ask.collection = (int)sim_chance(w, SIM_COLLECTIONS);
    if (sim_chance(w, 2))
        ask.field = (int)sim_chance(w, SIM_FIELDS);
    if (node != NULL)
        sim_settle(node, &ask);
}

/* A record that is in conflict at a node, in a field or in its life. */
static bool some_conflict(struct sim_node *node, bool life, uint32_t *record, uint32_t *cell)
{
    struct sim_world *w = node->world;
    uint32_t first = sim_chance(w, w->small), field = sim_chance(w, SIM_FIELDS);
    for (uint32_t i = 0; i < w->small * SIM_FIELDS; i++) {
        *record = (first + i / SIM_FIELDS) % w->small;
        *cell = life ? (uint32_t)SIM_LIFE : 1u << (field + i) % SIM_FIELDS;
        if (sim_in_conflict(node, *record, *cell))
            return true;
    }
    return false;
}

static void take_value(
    struct sim_world *w, const struct sim_write *write, uint32_t field, blaze_doc *out)
{
    blaze_value value;
    if (sim_value_get(w, write, field, &value))
        blaze_doc_add_value(out, sim_fields[field], &value);
    else
        blaze_doc_add_unset(out, sim_fields[field]);
}

/* Somebody takes one of the values. */
static void do_resolve_by_writing(struct sim_world *w)
{
    struct sim_node *node = some_writer(w);
    struct sim_siblings siblings;
    struct bz_db_txn *txn;
    uint32_t written = w->write_count;
    uint32_t record, cell, field = 0;
    blaze_doc *values = NULL;
    if (node == NULL || !some_conflict(node, false, &record, &cell) ||
        bz_db_begin(node->db, &txn, NULL) != 0)
        return;
    while (cell >> field != 1)
        field++;
    struct sim_seen seen = sim_seen_now(&w->identities[node->identity], record);
    sim_siblings(w, record, &seen, cell, &siblings);
    const struct sim_write *taken = siblings.all[sim_chance(w, siblings.count)];
    blaze_doc_clear(w->doc);
    take_value(w, taken, field, w->doc);
    if (blaze_doc_new(&values) != 0)
        abort();
    take_value(w, taken, field, values);
    struct sim_write made = {.cells = (uint8_t)(SIM_LIFE | cell),
        .sets = taken->sets & (uint8_t)cell,
        .alive = true,
        .values = values};
    if (call(txn, UPDATE, record, w->doc) != 0)
        sim_fail(w, "node %u cannot resolve record %u by writing", node->number, record);
    sim_write_add(w, node->identity, record, &made);
    commit(w, node, txn, written);
    if (sim_in_conflict(node, record, cell))
        sim_fail(w, "record %u is resolved at node %u, and in conflict", record, node->number);
}

static void do_settle_life(struct sim_world *w)
{
    struct sim_node *node = some_writer(w);
    struct bz_db_txn *txn;
    uint32_t written = w->write_count;
    uint32_t record, cell;
    if (node == NULL)
        return;
    bool there = some_conflict(node, true, &record, &cell), keep = sim_chance(w, 2);
    if (bz_db_begin(node->db, &txn, NULL) != 0)
        return;
    blaze_id id = fake_id(record);
    int rc = bz_db_settle_life(txn, sim_collection(record), &id, keep, NULL);
    if (rc != (there ? 0 : BLAZE_ENOTFOUND))
        sim_fail(w, "settling the life of record %u at node %u gives %d", record, node->number, rc);
    if (rc == 0)
        sim_write_add(
            w, node->identity, record, &(struct sim_write){.cells = SIM_LIFE, .alive = keep});
    commit(w, node, txn, written);
}

/* ---- the network ---- */

static void do_cut(struct sim_world *w)
{
    struct sim_connection *c = some_connection(w);
    if (c != NULL)
        sim_cut(w, c, false);
}

static void do_half_open(struct sim_world *w)
{
    struct sim_connection *c = some_connection(w);
    if (c != NULL && !c->silent)
        sim_cut(w, c, true);
}

static void do_cut_inside(struct sim_world *w)
{
    struct sim_connection *c = some_connection(w);
    if (c != NULL && c->cut_in == UINT64_MAX)
        c->cut_in = 1 + sim_chance(w, sim_chance(w, 2) ? 600 : 20000);
}

static void block(struct sim_world *w, struct sim_link *l, int side, uint32_t below_ms)
{
    l->blocked_ms[side] = w->now_ms + sim_chance(w, below_ms);
    sim_note(w, "nothing passes from node %u to %u until %llu", l->nodes[side], l->nodes[!side],
        (unsigned long long)l->blocked_ms[side]);
}

static void do_one_way(struct sim_world *w)
{
    struct sim_link *l = some_link(w);
    if (l != NULL)
        block(w, l, (int)sim_chance(w, 2), 40000);
}

static void do_partition(struct sim_world *w)
{
    struct sim_node *node = some_node(w);
    for (uint32_t i = 0; node != NULL && i < SIM_LINKS; i++) {
        struct sim_link *l = &w->links[i];
        if (!l->used || (l->nodes[0] != node->number && l->nodes[1] != node->number))
            continue;
        block(w, l, 0, 100000);
        block(w, l, 1, 100000);
    }
}

static void do_slow(struct sim_world *w)
{
    struct sim_link *l = some_link(w);
    if (l == NULL)
        return;
    l->bytes_per_ms = 1 + sim_chance(w, 30);
    l->latency_ms = sim_chance(w, 2000);
}

static void do_corrupt(struct sim_world *w)
{
    struct sim_connection *c = some_connection(w);
    if (c != NULL)
        sim_corrupt(w, c);
}

/* ---- nodes ---- */

static bool has_identities(const struct sim_world *w)
{
    return w->identity_count + SIM_NODES < SIM_IDENTITIES;
}

static bool is_backed_up(const struct sim_node *node)
{
    return node->backup.memory != NULL || node->backup.directory != NULL;
}

/* Until a node that is apart has found out by others, nothing else may make it another one, nor a
 * copy of it: see "A copied directory is better not made" in docs/replication.md. Nor may those
 * forget it by whom it is to find out, as one does that wants another part. */
bool sim_may_change(const struct sim_world *w, const struct sim_node *node)
{
    for (uint32_t i = 0; i < w->node_count; i++) {
        if (sim_is_apart(&w->nodes[i]) && (w->nodes[i].meets >> node->number & 1) != 0)
            return false;
    }
    return !sim_is_apart(node);
}

static void do_kill(struct sim_world *w)
{
    struct sim_node *node = some_node(w);
    if (node != NULL)
        sim_node_crash(node, SIM_KILL);
}

static void do_power_cut(struct sim_world *w)
{
    struct sim_node *node = some_node(w);
    if (node != NULL && !w->options.disk && sim_may_change(w, node) && has_identities(w))
        sim_node_crash(node, SIM_POWER_CUT);
}

static void do_crash_before_commit(struct sim_world *w)
{
    struct sim_node *node = some_node(w);
    if (node != NULL)
        node->dying = true;
}

static void do_clock(struct sim_world *w)
{
    static const int64_t far[] = {1000, 3600000, 86400000, 20000000000};
    struct sim_node *node = some_node(w);
    if (node == NULL)
        return;
    int64_t ms = far[sim_chance(w, 4)];
    node->skew_ms = (int64_t)(rng_next(&w->rng) % (uint64_t)(2 * ms)) - ms;
    w->forgot |= ms >= 86400000;
    w->ahead_ms = node->skew_ms > w->ahead_ms ? node->skew_ms : w->ahead_ms;
    sim_note(w, "the clock of node %u is off by %lld ms", node->number, (long long)node->skew_ms);
}

static void do_backup(struct sim_world *w)
{
    struct sim_node *node = some_node(w);
    if (node == NULL || is_backed_up(node) || sim_is_apart(node))
        return;
    node->backup = sim_image_take(node, false);
    sim_note(w, "node %u is backed up", node->number);
}

static void do_restore(struct sim_world *w)
{
    struct sim_node *node = some_node(w);
    if (node == NULL || !is_backed_up(node) || !sim_may_change(w, node) || !has_identities(w))
        return;
    sim_node_crash(node, SIM_KILL);
    sim_node_restore(node, &node->backup);
    sim_image_free(&node->backup);
}

/* What the node at the other end of a link knows of the log of an image's node; false: there is no
 * such link, or nothing to be learnt of it. */
static bool load_known(const struct sim_world *w, const struct sim_link *l,
    const struct sim_node *node, const struct sim_image *image, struct bz_peer_state *out)
{
    struct bz_replica replica;
    *out = (struct bz_peer_state){0};
    if (!l->used || (l->nodes[0] != node->number && l->nodes[1] != node->number))
        return false;
    const struct sim_node *other = &w->nodes[l->nodes[l->nodes[0] == node->number]];
    if (other->db == NULL)
        return false;
    if (bz_db_replica_open(other->db, &replica, NULL) != 0 ||
        replica.ops->peer_load(replica.context, &w->identities[image->identity].id, out) != 0)
        abort();
    bz_db_replica_close(&replica);
    return memcmp(&out->epoch, &image->epoch, sizeof out->epoch) == 0;
}

/* Those linked with a node that will show to it that it was put back to an image. */
static uint32_t who_knows(
    const struct sim_world *w, const struct sim_node *node, const struct sim_image *image)
{
    struct bz_peer_state known;
    uint32_t knowing = 0;
    for (uint32_t i = 0; i < SIM_LINKS; i++) {
        const struct sim_link *l = &w->links[i];
        bool loaded = load_known(w, l, node, image, &known);
        uint32_t other = l->nodes[l->nodes[0] == node->number];
        bool meets = !node->portable || !sim_is_part(&w->nodes[other]);
        if (loaded && meets && !w->nodes[other].put_back && known.as_of > image->position)
            knowing |= 1u << other;
    }
    return knowing;
}

/* A copy of a directory that was not opened yet still has what is about to be lost. */
static bool is_copied(const struct sim_world *w, const struct sim_node *node, uint32_t identity)
{
    for (uint32_t i = 0; i < w->node_count; i++) {
        const struct sim_node *other = &w->nodes[i];
        if (other != node && other->member && other->db == NULL && other->disk.identity == identity)
            return true;
    }
    return false;
}

/* It goes on from an older state of its whole file system. Where others have writes that it loses,
 * it writes only if somebody will tell it of them, and first meets those who will: also by
 * comparing itself with others, which it does of its own accord. */
static void do_put_back(struct sim_world *w)
{
    struct sim_node *node = some_node(w);
    if (node == NULL || !is_backed_up(node) || w->options.disk || !has_identities(w) ||
        is_copied(w, node, node->backup.identity))
        return;
    const struct sim_image *image = &node->backup;
    bool known = sim_is_known(w, image->identity, image->seq);
    uint32_t meets = known ? who_knows(w, node, image) : UINT32_MAX;
    /* That the same dot is two writes is enough without that either was collected. */
    bool waits = meets == 0 || w->collects || sim_chance(w, 4) == 0;
    if ((w->collects && meets == 0) ||
        (!sim_may_change(w, node) && !(sim_is_apart(node) && !waits)))
        return;
    sim_node_crash(node, SIM_KILL);
    sim_node_put_back(node, image, waits, waits && !w->collects ? UINT32_MAX : meets);
    if (sim_chance(w, 2))
        sim_image_free(&node->backup);
}

static bool has_room(const struct sim_world *w)
{
    uint32_t links = 0;
    for (uint32_t i = 0; i < SIM_LINKS; i++)
        links += w->links[i].used;
    return w->node_count < SIM_NODES && links + 2 < SIM_LINKS && has_identities(w);
}

static void do_copy(struct sim_world *w)
{
    struct sim_node *node = some_node(w);
    if (node == NULL || !has_room(w) || sim_is_apart(node))
        return;
    struct sim_image image = sim_image_take(node, false);
    struct sim_node *copy = sim_node_copy(w, &image);
    sim_image_free(&image);
    sim_link_add(w, node->number, copy->number);
}

static void do_join(struct sim_world *w)
{
    struct sim_node *node = some_node(w);
    if (node != NULL && has_room(w))
        sim_link_add(w, node->number, sim_node_add(w)->number);
}

static void do_leave(struct sim_world *w)
{
    struct sim_node *node = some_node(w);
    uint32_t members = 0;
    for (uint32_t i = 0; i < w->node_count; i++)
        members += w->nodes[i].member;
    if (node == NULL || members < 3 || !sim_may_change(w, node) ||
        !sim_connected(w, node->number) || (w->parts && !sim_full_without(w, node)))
        return;
    sim_node_remove(node);
    for (uint32_t i = 0; i < SIM_LINKS; i++) {
        struct sim_link *l = &w->links[i];
        if (l->nodes[0] == node->number || l->nodes[1] == node->number)
            l->used = false;
    }
}

/* ---- deleted records that go ---- */

static void do_collect(struct sim_world *w)
{
    struct sim_node *node = some_node(w);
    uint64_t collected = 0;
    for (bool more = node != NULL; more && !w->result.failed;) {
        struct sim_sum before = sim_sum_of(node);
        if (bz_db_collect(node->db, &collected, &more, NULL) != 0)
            sim_fail(w, "node %u cannot collect", node->number);
        sim_collect_look(node, &before, NULL);
    }
}

static void do_retention(struct sim_world *w)
{
    static const uint64_t far[] = {1000, 60000, 600000, 7200000, 86400000, 2592000000};
    uint64_t ms = far[sim_chance(w, 6)];
    bool all = sim_chance(w, 2) != 0;
    uint32_t one = sim_chance(w, w->node_count);
    for (uint32_t i = 0; i < w->node_count; i++) {
        struct sim_node *node = &w->nodes[i];
        if (node->db == NULL || (!all && i != one))
            continue;
        if (bz_db_set_retention(node->db, ms, NULL) != 0)
            sim_fail(w, "node %u cannot set its retention", i);
        sim_note(w, "node %u waits for others %llu ms", i, (unsigned long long)ms);
    }
}

struct choice {
    struct sim_world *w;
    uint32_t met;
    blaze_id node;
};

static int choose_replica(void *context, const struct bz_replica_known *known)
{
    struct choice *c = context;
    if (sim_chance(c->w, ++c->met) == 0)
        c->node = known->node;
    return 0;
}

static void do_forget(struct sim_world *w)
{
    struct sim_node *node = some_node(w);
    struct bz_read *read;
    struct choice c = {.w = w};
    if (node == NULL || bz_read_begin(node->db, &read, NULL) != 0)
        return;
    if (bz_read_replicas(read, choose_replica, &c, NULL) != 0)
        abort();
    bz_read_end(read);
    if (c.met == 0)
        return;
    uint32_t identity = sim_identity_number(w, &c.node);
    if (bz_db_forget(node->db, &c.node, NULL) != 0)
        sim_fail(w, "node %u cannot forget identity %u", node->number, identity);
    sim_note(w, "node %u has identity %u forgotten", node->number, identity);
}

/* A node is alone for long, up or down. */
static void do_stay_away(struct sim_world *w)
{
    static const uint32_t far[] = {4000, 120000, 1200000, 14400000, 172800000};
    struct sim_node *node = some_node(w);
    if (node == NULL)
        return;
    uint32_t ms = far[sim_chance(w, 5)];
    for (uint32_t i = 0; i < SIM_LINKS; i++) {
        struct sim_link *l = &w->links[i];
        if (l->used && (l->nodes[0] == node->number || l->nodes[1] == node->number))
            l->blocked_ms[0] = l->blocked_ms[1] = w->now_ms + ms;
    }
    sim_note(w, "node %u stays away for %u ms", node->number, ms);
    if (sim_chance(w, 2))
        return;
    sim_node_crash(node, SIM_KILL);
    node->up_ms = w->now_ms + ms;
}

/* What a node once was is there beside it. */
static void do_old_copy(struct sim_world *w)
{
    struct sim_node *node = some_node(w);
    if (node == NULL || (node->backup.memory == NULL && node->backup.directory == NULL) ||
        !has_room(w))
        return;
    sim_link_add(w, node->number, sim_node_copy(w, &node->backup)->number);
}

/* A node that may be a part, and is up. */
static struct sim_node *some_portable(struct sim_world *w)
{
    struct sim_node *node = some_node(w);
    bool may = node != NULL && node->portable && !node->put_back && sim_may_change(w, node);
    return may ? node : NULL;
}

static void do_scope(struct sim_world *w)
{
    struct sim_node *node = some_portable(w);
    if (node != NULL)
        sim_part_choose(node);
}

static void do_all(struct sim_world *w)
{
    struct sim_node *node = some_portable(w);
    if (node != NULL)
        sim_part_clear(node);
}

static void do_evict(struct sim_world *w)
{
    struct sim_node *node = some_portable(w);
    if (node != NULL)
        sim_part_evict(node);
}

static void do_wait(struct sim_world *w)
{
    static const uint32_t far[] = {100, 2000, 70000, 86400000};
    uint32_t ms = sim_chance(w, far[sim_chance(w, 4)]);
    w->forgot |= ms > 3600000;
    w->now_ms += ms;
}

/* ---- the table ---- */

enum kind { WORK, RULE, COLLECTING, PART, FAULT };

/* What comes later has its place here: a function that does it to the world, and a line. */
static const struct action {
    const char *name;
    void (*act)(struct sim_world *w);
    uint32_t weight;
    enum kind kind;
} actions[] = {
    {"put", do_put, 20, WORK},
    {"insert", do_insert, 10, WORK},
    {"upsert", do_upsert, 20, WORK},
    {"update", do_update, 30, WORK},
    {"unset", do_unset, 8, WORK},
    {"delete", do_delete, 12, WORK},
    {"hot record", do_hot, 20, WORK},
    {"bulk", do_bulk, 2, WORK},
    {"abort", do_abort, 4, WORK},
    {"most is deleted", do_clear, 4, WORK},
    {"policy", do_policy, 10, RULE},
    {"resolver", do_resolver, 6, RULE},
    {"resolve", do_resolve, 4, RULE},
    {"resolve by writing", do_resolve_by_writing, 6, RULE},
    {"settle life", do_settle_life, 4, RULE},
    {"deleted records are collected", do_collect, 10, COLLECTING},
    {"retention", do_retention, 6, COLLECTING},
    {"a replica is forgotten", do_forget, 2, COLLECTING},
    {"a node stays away", do_stay_away, 4, COLLECTING},
    {"an old copy comes up", do_old_copy, 2, COLLECTING},
    {"cut", do_cut, 10, FAULT},
    {"cut inside a frame", do_cut_inside, 10, FAULT},
    {"half-open connection", do_half_open, 5, FAULT},
    {"one-way partition", do_one_way, 5, FAULT},
    {"partition", do_partition, 4, FAULT},
    {"slow link", do_slow, 4, FAULT},
    {"changed bytes", do_corrupt, 3, FAULT},
    {"kill", do_kill, 5, FAULT},
    {"crash before a commit", do_crash_before_commit, 5, FAULT},
    {"power cut", do_power_cut, 4, FAULT},
    {"clock jump", do_clock, 5, FAULT},
    {"backup", do_backup, 4, FAULT},
    {"backup put back", do_restore, 3, FAULT},
    {"file system put back", do_put_back, 6, FAULT},
    {"copied directory", do_copy, 2, FAULT},
    {"join", do_join, 2, FAULT},
    {"leave", do_leave, 1, FAULT},
    {"a part of it", do_scope, 5, PART},
    {"all of it again", do_all, 2, PART},
    {"evict", do_evict, 8, PART},
    {"time passes", do_wait, 10, FAULT},
};
#define ACTIONS (sizeof actions / sizeof actions[0])
_Static_assert(ACTIONS <= SIM_ACTIONS_MAX, "more actions than are counted");

const char *sim_action_name(uint32_t action)
{
    return action < ACTIONS ? actions[action].name : NULL;
}

static bool is_favoured(const struct sim_world *w, const struct action *action)
{
    for (uint32_t i = 0; i < SIM_FAVOURED_MAX && w->options.favoured[i] != NULL; i++) {
        if (strcmp(w->options.favoured[i], action->name) == 0)
            return true;
    }
    return false;
}

static bool is_chosen(struct sim_world *w, const struct action *action, uint32_t calm)
{
    switch (action->kind) {
    case WORK:
        return action->act == do_upsert || sim_chance(w, 2) == 0;
    case RULE:
        return w->settles && (action->act == do_policy || sim_chance(w, 2) == 0);
    case COLLECTING:
        return w->collects && sim_chance(w, 2) == 0;
    case PART:
        return w->parts && sim_chance(w, 2) == 0;
    default:
        return sim_chance(w, 1 + calm) == 0;
    }
}

void sim_actions_choose(struct sim_world *w)
{
    uint32_t calm = 1 + sim_chance(w, 4); /* the more, the fewer kinds of faults */
    w->settles = sim_chance(w, 3) == 0;
    w->collects = sim_chance(w, 2) == 0;
    w->parts = !w->settles && sim_chance(w, 2) == 0;
    bool parts = false;
    for (uint32_t i = 0; i < ACTIONS; i++) {
        w->settles |= actions[i].kind == RULE && is_favoured(w, &actions[i]);
        w->collects |= actions[i].kind == COLLECTING && is_favoured(w, &actions[i]);
        parts |= actions[i].kind == PART && is_favoured(w, &actions[i]);
    }
    w->parts = parts || (w->parts && !w->settles);
    w->settles &= !w->parts;
    for (uint32_t i = 0, backup = 0; i < ACTIONS; i++) {
        bool chosen = is_chosen(w, &actions[i], calm);
        w->weights[i] = is_favoured(w, &actions[i]) ? 4 * actions[i].weight
                        : chosen                    ? actions[i].weight
                                                    : 0;
        w->weight += w->weights[i];
        if (actions[i].act == do_backup)
            backup = i;
        if (actions[i].act == do_put_back && w->weights[i] > 0 && w->weights[backup] == 0)
            w->weight += w->weights[backup] = actions[backup].weight;
    }
    w->blind = sim_chance(w, 4) == 0;
    w->small = (uint32_t[]){1, 4, 12, SIM_SMALL}[sim_chance(w, 4)];
    w->calm = (uint32_t[]){1, 8, 60}[sim_chance(w, 3)];
    w->settlers = 1 + sim_chance(w, 3);
    w->policy = (uint8_t)sim_chance(w, BZ_POLICY_LEAST + 1);
}

void sim_act(struct sim_world *w)
{
    uint64_t at = sim_chance(w, (uint32_t)w->weight);
    for (uint32_t i = 0; i < ACTIONS; i++) {
        if (at < w->weights[i]) {
            w->counts.actions[i]++;
            actions[i].act(w);
            return;
        }
        at -= w->weights[i];
    }
}

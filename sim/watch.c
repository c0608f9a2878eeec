/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The replica that sessions get: the database's own, and the oracle is told what each commit of
 * changes brings. One is under way at a time, in all the world.
 */
#include "world.h"

static const struct bz_replica_ops *real;
static struct bz_replica_ops watched;
static struct sim_world *world;

static struct {
    struct sim_node *node;
    blaze_id peer;
    uint32_t count;
    struct {
        uint32_t record;
        bool changed;
    } changes[SIM_RECORDS];
} under_way;

static struct sim_node *node_of(const void *db)
{
    for (uint32_t i = 0; i < world->node_count; i++) {
        if (world->nodes[i].db == db)
            return &world->nodes[i];
    }
    abort();
}

static int apply_begin(
    void *context, const blaze_id *peer, struct bz_apply **out, blaze_error *error)
{
    under_way.node = node_of(context);
    under_way.peer = *peer;
    under_way.count = 0;
    return real->apply_begin(context, peer, out, error);
}

static int apply_change(
    struct bz_apply *apply, const struct bz_change *change, bool *changed, blaze_error *error)
{
    int rc = real->apply_change(apply, change, changed, error);
    uint64_t record = bz_load64be(change->id.bytes + 8);
    if (rc != 0 || world->muted)
        return rc;
    if (record >= SIM_RECORDS || under_way.count == SIM_RECORDS) {
        sim_fail(world, "a chunk has a record that nobody wrote, or one twice");
        return rc;
    }
    under_way.changes[under_way.count].record = (uint32_t)record;
    under_way.changes[under_way.count++].changed = *changed;
    return rc;
}

static void tell(struct sim_identity *to, const struct sim_identity *from, uint32_t record,
    bool changed, uint64_t position)
{
    struct sim_seen have = sim_seen_now(to, record), got = sim_seen_at(from, record, position);
    bool news = !sim_includes(&have, &got);
    if (news != changed)
        sim_fail(world,
            changed ? "record %u was changed by a copy that had nothing new"
                    : "record %u was not changed by what is new",
            record);
    if (!changed)
        return;
    for (uint32_t i = 0; i < SIM_RECORD_WRITES / 64; i++)
        have.bits[i] |= got.bits[i];
    sim_moment_add(world, to, record, &have);
}

static int apply_commit(struct bz_apply *apply, const struct bz_peer_state *peer,
    const struct bz_head *head, bool *diverged, blaze_error *error)
{
    int rc = real->apply_commit(apply, peer, head, diverged, error);
    if (rc != 0 || world->muted)
        return rc;
    struct sim_node *node = under_way.node;
    uint32_t from = sim_identity_number(world, &under_way.peer);
    while (world->identities[from].renewed != 0 && peer->cursor > world->identities[from].position)
        from = world->identities[from].renewed;
    struct sim_identity *to = &world->identities[node->identity];
    uint64_t before = to->position;
    for (uint32_t i = 0; i < under_way.count; i++)
        tell(to, &world->identities[from], under_way.changes[i].record,
            under_way.changes[i].changed, peer->cursor);
    world->counts.records += under_way.count;
    world->counts.commits++;
    if (before != to->position && node->durability == BZ_DURABLE_FULL)
        node->durable = to->position;
    if (to->position != bz_db_position(node->db))
        sim_fail(world, "node %u is at position %llu, and should be at %llu", node->number,
            (unsigned long long)bz_db_position(node->db), (unsigned long long)to->position);
    sim_note(world, "node %u applies %u from identity %u up to %llu%s", node->number,
        under_way.count, from, (unsigned long long)peer->cursor, head != NULL ? ", the head" : "");
    if (diverged != NULL && *diverged)
        sim_fail(world, "node %u finds that it has diverged", node->number);
    if (head != NULL)
        sim_check_digests(world);
    return rc;
}

void sim_replica_open(struct sim_node *node, struct bz_replica *out)
{
    if (bz_db_replica_open(node->db, out, NULL) != 0)
        abort();
    real = out->ops;
    world = node->world;
    watched = *real;
    watched.apply_begin = apply_begin;
    watched.apply_change = apply_change;
    watched.apply_commit = apply_commit;
    out->ops = &watched;
}

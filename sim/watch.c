/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The replica that sessions get: the database's own, and the oracle is told what each commit of
 * changes brings, and what collecting and comparing did. One is under way at a time, in all the
 * world.
 */
#include "world.h"

#define COMMIT_MAX (4 * SIM_RECORDS) /* changes in a commit, which may be of several chunks */

static const struct bz_replica_ops *real;
static struct bz_replica_ops watched;
static struct sim_world *world;

static struct {
    struct sim_node *node;
    blaze_id peer;
    uint32_t count;
    bool part; /* the node was one when it began */
    uint32_t markers;
    struct {
        uint32_t record;
        uint64_t position; /* in the sender's log it is not beyond that */
        bool changed;
    } changes[COMMIT_MAX];
} under_way;

static struct sim_node *node_of(const void *db)
{
    for (uint32_t i = 0; i < world->node_count; i++) {
        if (world->nodes[i].db == db)
            return &world->nodes[i];
    }
    abort();
}

static void begin(void *context, const blaze_id *peer)
{
    under_way.node = node_of(context);
    under_way.peer = *peer;
    under_way.count = under_way.markers = 0;
    under_way.part = sim_is_part(under_way.node);
}

static int apply_begin_now(
    void *context, const blaze_id *peer, struct bz_apply **out, blaze_error *error)
{
    begin(context, peer);
    return real->apply_begin_now(context, peer, out, error);
}

static int apply_begin(
    void *context, const blaze_id *peer, struct bz_apply **out, blaze_error *error)
{
    begin(context, peer);
    return real->apply_begin(context, peer, out, error);
}

static int apply_change(
    struct bz_apply *apply, const struct bz_change *change, bool *changed, blaze_error *error)
{
    int rc = real->apply_change(apply, change, changed, error);
    uint64_t record = bz_load64be(change->id.bytes + 8);
    if (rc != 0 || world->muted)
        return rc;
    if (record >= SIM_RECORDS || under_way.count == COMMIT_MAX) {
        sim_fail(world, "a chunk has a record that nobody wrote, or some twice");
        return rc;
    }
    under_way.changes[under_way.count].record = (uint32_t)record;
    under_way.changes[under_way.count].position = change->position;
    under_way.changes[under_way.count++].changed = *changed;
    return rc;
}

/* Whether what comes must make a difference; *may: it may. Once something was collected anywhere, a
 * vector may cover what is not of its record, and of a record that was, the writes that were in it
 * then may be known here to be gone, which is news to whom it comes from. What is under a dot that
 * is used twice may be taken for the other write. */
static bool brings_news(
    uint32_t record, const struct sim_seen *have, const struct sim_seen *got, bool *may)
{
    const struct sim_record *r = &world->records[record];
    bool must = false;
    for (uint32_t i = 0; i < r->count; i++)
        must |= sim_bit(got, i) && !sim_bit(have, i) && !sim_bit(&r->gone, i) &&
                !sim_is_doubled(world, &world->writes[r->writes[i]]);
    *may = !sim_includes(have, got) || world->counts.collected > 0;
    return must;
}

/* A marker: a part is told that it does not want a record. */
static int apply_marker(
    struct bz_apply *apply, const struct bz_change *change, bool *changed, blaze_error *error)
{
    int rc = real->apply_marker(apply, change, changed, error);
    under_way.markers++;
    if (rc == 0 && !world->muted && !under_way.node->portable)
        sim_fail(
            world, "node %u, a full one, is told what it does not want", under_way.node->number);
    return rc;
}

static int acknowledged(void *context, struct bz_acknowledged known, bool *more, blaze_error *error)
{
    int rc = real->acknowledged(context, known, more, error);
    struct sim_node *node = node_of(context);
    bool held[SIM_RECORDS];
    if (!world->muted && node->portable)
        sim_part_look(node, held);
    return rc;
}

/* A record that moves up the sender's log may be in two chunks of one commit, the last of which
 * says all that was new. */
struct told {
    bool first;   /* no chunk before has it */
    bool changed; /* by any */
    uint64_t position;
};

static struct told told_at(uint32_t at)
{
    struct told told = {.first = true};
    for (uint32_t i = 0; i < under_way.count; i++) {
        if (under_way.changes[i].record != under_way.changes[at].record)
            continue;
        told.first &= i >= at;
        told.changed |= under_way.changes[i].changed;
        told.position = under_way.changes[i].position;
    }
    return told;
}

static void tell(struct sim_identity *to, const struct sim_identity *from, uint32_t at)
{
    uint32_t record = under_way.changes[at].record;
    struct told told = told_at(at);
    struct sim_seen have = sim_seen_now(to, record), got = sim_seen_at(from, record, told.position);
    bool may, must = brings_news(record, &have, &got, &may);
    if (told.first && (told.changed ? !may : must))
        sim_fail(world,
            told.changed ? "record %u was changed by a copy that had nothing new"
                         : "record %u was not changed by what is new",
            record);
    if (!under_way.changes[at].changed)
        return;
    if (world->collects)
        sim_note(world, "node %u changes record %u", under_way.node->number, record);
    got = sim_seen_at(from, record, under_way.changes[at].position);
    sim_seen_join(&have, &got);
    under_way.node->part.left[record] = (struct sim_seen){{0}};
    sim_moment_add(world, to, record, &have);
}

static bool holds_beyond(const struct sim_node *node)
{
    return node->db == NULL || sim_versions_of(node).beyond;
}

/* Where there are blind copies, what was collected comes back by that. And what a peer was in the
 * middle of that has not been heard of for a day does not count any more, so that it may seem so.
 */
static bool may_diverge(const struct sim_node *node, uint32_t from)
{
    const struct sim_node *peer = &world->nodes[world->identities[from].node];
    return (world->collects && world->blind) || holds_beyond(node) || holds_beyond(peer) ||
           (world->collects && sim_may_differ(world, node, peer));
}

/* Those that moved to the end of the log count as changed. Of one that is in two chunks of a commit
 * the log shows that it did, and its position how often. */
static void mark_moved(const bool moved[SIM_RECORDS], uint64_t moves)
{
    uint64_t count = 0;
    for (uint32_t i = under_way.count; i-- > 0;) {
        under_way.changes[i].changed |= moved[under_way.changes[i].record] && !told_at(i).changed;
        count += under_way.changes[i].changed;
    }
    for (uint32_t i = 0; i < under_way.count && count < moves; i++) {
        bool again = !under_way.changes[i].changed && moved[under_way.changes[i].record];
        under_way.changes[i].changed |= again;
        count += again;
    }
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
    bool held[SIM_RECORDS], moved[SIM_RECORDS] = {false};
    if (node->portable)
        sim_part_look(node, held);
    if (world->collects)
        sim_records_after(node, before, moved);
    bool full = under_way.part && !sim_is_part(node); /* it has become so, by a commit of its log */
    mark_moved(moved, bz_db_position(node->db) - before - full);
    for (uint32_t i = 0; i < under_way.count; i++) {
        if (!node->portable || held[under_way.changes[i].record])
            tell(to, &world->identities[from], i);
    }
    if (full) {
        to->position++;
        sim_part_forget(node);
        sim_note(world, "node %u is a full one", node->number);
    }
    /* What is out of scope and cannot go yet moves to the end of the log. */
    uint64_t beyond = bz_db_position(node->db) - to->position;
    if (beyond <= under_way.markers)
        to->position += beyond;
    if (world->collects)
        sim_collect_applied(node, before);
    world->counts.records += under_way.count;
    world->counts.commits++;
    if (before != to->position && node->durability == BZ_DURABLE_FULL)
        node->durable = to->position;
    if (to->position != bz_db_position(node->db))
        sim_fail(world, "node %u is at position %llu, and should be at %llu", node->number,
            (unsigned long long)bz_db_position(node->db), (unsigned long long)to->position);
    sim_note(world, "node %u applies %u from identity %u up to %llu%s", node->number,
        under_way.count, from, (unsigned long long)peer->cursor, head != NULL ? ", the head" : "");
    if (diverged != NULL && *diverged && !may_diverge(node, from))
        sim_fail(world, "node %u finds that it has diverged", node->number);
    if (head != NULL)
        sim_check_digests(world);
    return rc;
}

/* ---- deleted records ---- */

static int collect(void *context, bool *more, blaze_error *error)
{
    struct sim_node *node = node_of(context);
    struct sim_sum before = sim_sum_of(node);
    *more = false;
    if (!world->collects)
        return 0;
    int rc = real->collect(context, more, error);
    sim_collect_look(node, &before, NULL);
    return rc;
}

static int range_compare(void *context, const struct bz_range *range, const blaze_id *there,
    uint32_t count, const struct bz_standing *standing, uint64_t *removed, blaze_error *error)
{
    struct sim_node *node = node_of(context);
    struct sim_sum before = sim_sum_of(node);
    struct sim_versions had = {.w = world};
    for (uint32_t i = 0; i < standing->has.count; i++) {
        struct bz_bytes id;
        blaze_id peer;
        if (real->meaning(context, BZ_TERM_NODE, standing->has.entries[i].node, &id) != 0)
            abort();
        memcpy(&peer, id.data, sizeof peer);
        had.seq[sim_identity_number(world, &peer)] = standing->has.entries[i].seq;
    }
    int rc = real->range_compare(context, range, there, count, standing, removed, error);
    sim_collect_look(node, &before, &had);
    return rc;
}

static int range_compared(
    void *context, uint64_t began, const struct bz_standing *standing, blaze_error *error)
{
    int rc = real->range_compared(context, began, standing, error);
    if (!world->muted)
        sim_collect_retold(node_of(context));
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
    watched.apply_begin_now = apply_begin_now;
    watched.apply_change = apply_change;
    watched.apply_commit = apply_commit;
    watched.collect = collect;
    watched.range_compare = range_compare;
    watched.range_compared = range_compared;
    watched.apply_marker = apply_marker;
    watched.acknowledged = acknowledged;
    out->ops = &watched;
}

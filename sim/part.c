/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes that hold a part of the database. The oracle does not follow why a record goes from such a
 * node, it looks what is there, and asks of it: what goes is somewhere else; what the version
 * vector covers of a collection that is wanted whole is here; and once all has healed, a part is
 * what its scope takes of what the full ones hold, no more and no less.
 *
 * A scope is worked out here once more, from the oracle's own idea of each document.
 */
#include "world.h"

#include "crdt/scope.h"

enum { NOTHING, WHOLE, FILTERED }; /* FILTERED and more: by filters[takes - FILTERED] */

/* ---- scopes ---- */

/* What filters ask of a document. */
struct document {
    uint8_t sets; /* the fields that it has */
    bool great_count;
};

enum { TITLE, TEXT, COUNT, TAGS, AUTHOR, PLACE };

static bool has(const struct document *d, unsigned field)
{
    return d->sets >> field & 1;
}

static bool with_title(const struct document *d)
{
    return has(d, TITLE);
}

/* Two writes that were made apart may take a record into it of which neither does so alone. */
static bool with_text_and_place(const struct document *d)
{
    return has(d, TEXT) && has(d, PLACE);
}

static bool without_author_with_tags(const struct document *d)
{
    return !has(d, AUTHOR) && has(d, TAGS);
}

static bool with_great_count_or_title(const struct document *d)
{
    return d->great_count || has(d, TITLE);
}

static const struct {
    const char *text;
    bool (*takes)(const struct document *d);
} filters[] = {
    {"exists title", with_title},
    {"exists text and exists place", with_text_and_place},
    {"not exists author and exists tags", without_author_with_tags},
    {"count >= 600 or exists title", with_great_count_or_title},
};
#define FILTERS ((uint32_t)(sizeof filters / sizeof filters[0]))

static uint8_t taken(const struct sim_part *part, uint32_t record)
{
    return part->takes[sim_collection_number(record)];
}

/* Whether a part takes a record of which these writes are known. */
static bool takes(
    struct sim_world *w, const struct sim_part *part, uint32_t record, const struct sim_seen *seen)
{
    uint8_t how = taken(part, record);
    struct document d = {0};
    for (uint32_t f = 0; how >= FILTERED && f < SIM_FIELDS; f++) {
        struct sim_siblings siblings;
        blaze_value value;
        sim_siblings(w, record, seen, 1u << f, &siblings);
        const struct sim_write *winner = sim_winner(w, &siblings);
        if (winner == NULL || !sim_value_get(w, winner, f, &value))
            continue;
        d.sets |= (uint8_t)(1u << f);
        d.great_count |= f == COUNT && value.type == BLAZE_INT && value.as.integer >= 600;
    }
    return how >= FILTERED ? filters[how - FILTERED].takes(&d) : how == WHOLE;
}

/* Collections by name, which is backwards. */
static void scope_of(const struct sim_part *part, struct bz_buf *out)
{
    bz_buf_init(out, BZ_SCOPE_BYTES_MAX);
    for (uint32_t i = SIM_COLLECTIONS; part->is && i-- > 0;) {
        const char *filter =
            part->takes[i] >= FILTERED ? filters[part->takes[i] - FILTERED].text : "";
        struct bz_scope_item item = {bz_bytes_text(sim_collections[i]), bz_bytes_text(filter)};
        if (part->takes[i] != NOTHING)
            bz_scope_append(out, &item);
    }
}

/* ---- what is there ---- */

static bool is_partial(const struct sim_node *node)
{
    bool partial = false;
    if (bz_db_is_partial(node->db, &partial, NULL) != 0)
        abort();
    return partial;
}

static bool is_elsewhere(const struct sim_world *w, const struct sim_node *node, uint32_t write)
{
    for (uint32_t i = 0; i < w->node_count; i++) {
        const struct sim_node *other = &w->nodes[i];
        if (!other->member || other == node)
            continue;
        struct sim_seen seen =
            sim_seen_now(&w->identities[other->identity], w->writes[write].record);
        if (sim_bit(&seen, w->writes[write].number))
            return true;
    }
    return false;
}

/* A record has gone from a node; that is no loss if others have what it held, or have collected
 * it. */
static void gone(struct sim_world *w, struct sim_node *node, uint32_t record)
{
    struct sim_identity *identity = &w->identities[node->identity];
    struct sim_seen seen = sim_seen_now(identity, record);
    const struct sim_record *r = &w->records[record];
    identity->absent[record] = true;
    node->part.left[record] = (struct sim_seen){{0}};
    if (!node->portable)
        sim_fail(w, "node %u, which is a full one, has let go of record %u", node->number, record);
    for (uint32_t i = 0; i < r->count; i++) {
        struct sim_write *write = &w->writes[r->writes[i]];
        if (sim_bit(&seen, i) && write->identity == node->identity)
            node->part.left[record] = seen;
        if (!sim_bit(&seen, i) || sim_bit(&r->gone, i) || write->lost ||
            is_elsewhere(w, node, r->writes[i]))
            continue;
        if (!write->fragile)
            sim_fail(w, "node %u lets go of record %u, and nobody has write %llu of identity %u",
                node->number, record, (unsigned long long)write->seq, write->identity);
        write->lost = true;
    }
    sim_note(w, "node %u lets go of record %u", node->number, record);
}

void sim_part_look(struct sim_node *node, bool held[SIM_RECORDS])
{
    struct sim_world *w = node->world;
    const struct sim_identity *identity = &w->identities[node->identity];
    sim_records_after(node, 0, held);
    for (uint32_t i = 0; i < SIM_RECORDS; i++) {
        if (!held[i] && sim_is_present(identity, i))
            gone(w, node, i);
    }
}

void sim_part_came_back(struct sim_node *node)
{
    struct sim_identity *identity = &node->world->identities[node->identity];
    bool held[SIM_RECORDS];
    if (!node->portable)
        return;
    sim_records_after(node, 0, held);
    for (uint32_t i = 0; i < SIM_RECORDS; i++) {
        identity->absent[i] = !held[i];
        if (held[i])
            node->part.left[i] = (struct sim_seen){{0}};
        if (held[i] && identity->last[i] < 0)
            sim_fail(node->world, "node %u has a record that it never had", node->number);
    }
}

void sim_part_forget(struct sim_node *node)
{
    memset(node->part.left, 0, sizeof node->part.left);
}

/* ---- what a node has lost ---- */

bool *sim_holdings(const struct sim_node *node)
{
    const struct sim_world *w = node->world;
    bool *held = calloc(w->write_count + 1, sizeof *held);
    if (held == NULL)
        abort();
    for (uint32_t i = 0; i < w->write_count; i++) {
        struct sim_seen seen = sim_seen_now(&w->identities[node->identity], w->writes[i].record);
        held[i] = sim_bit(&seen, w->writes[i].number);
    }
    return held;
}

void sim_holdings_lost(struct sim_node *node, bool *before)
{
    struct sim_world *w = node->world;
    bool *now = node->member ? sim_holdings(node) : NULL;
    for (uint32_t i = 0; i < w->write_count; i++) {
        if (!before[i] || (now != NULL && now[i]))
            continue;
        w->writes[i].fragile = w->forgot = true;
        w->writes[i].lost |= !is_elsewhere(w, node, i);
    }
    free(now);
    free(before);
}

/* ---- actions ---- */

/* The log may have moved by one position that tells of no record. */
static void moved(struct sim_node *node)
{
    struct sim_world *w = node->world;
    struct sim_identity *identity = &w->identities[node->identity];
    uint64_t position = bz_db_position(node->db);
    if (position == identity->position)
        return;
    if (position != identity->position + 1)
        sim_fail(w, "node %u is at position %llu, and should be at %llu", node->number,
            (unsigned long long)position, (unsigned long long)identity->position + 1);
    identity->position = node->durable = position; /* it is, however durable writes are */
}

static void set_scope(struct sim_node *node, const struct sim_part *part)
{
    struct sim_world *w = node->world;
    bool held[SIM_RECORDS];
    struct bz_buf scope;
    blaze_error error;
    scope_of(part, &scope);
    sim_note(node->world, "node %u wants %u, %u, %u%s", node->number, part->takes[0],
        part->takes[1], part->takes[2], part->is ? "" : ": all");
    if (bz_db_scope_set(node->db, bz_buf_bytes(&scope), &error) != 0)
        sim_fail(node->world, "node %u does not take a scope: %s", node->number, error.text);
    bz_buf_release(&scope);
    struct sim_part before = node->part;
    w->forgot |= part->is && !node->part.is && w->write_count > 0;
    node->part = *part;
    memcpy(node->part.left, before.left, sizeof before.left);
    moved(node);
    sim_part_look(node, held);
}

void sim_part_choose(struct sim_node *node)
{
    struct sim_world *w = node->world;
    struct sim_part part = {.is = true};
    for (uint32_t i = 0; i < SIM_COLLECTIONS; i++)
        part.takes[i] = (uint8_t)(sim_chance(w, 2) ? FILTERED + 1 + sim_chance(w, 2)
                                                   : sim_chance(w, FILTERED + FILTERS));
    part.takes[sim_chance(w, SIM_COLLECTIONS)] = (uint8_t)(WHOLE + sim_chance(w, 1 + FILTERS));
    set_scope(node, &part);
}

void sim_part_clear(struct sim_node *node)
{
    set_scope(node, &(struct sim_part){.is = false});
}

void sim_part_evict(struct sim_node *node)
{
    struct sim_world *w = node->world;
    struct sim_identity *identity = &w->identities[node->identity];
    uint32_t record = sim_chance(w, w->small);
    blaze_id id = fake_id(record);
    bool held[SIM_RECORDS];
    struct sim_seen seen = sim_seen_now(identity, record);
    int rc = bz_db_evict(node->db, sim_collection(record), &id, 1, NULL);
    bool there = sim_is_present(identity, record);
    if (rc != 0 && rc != (!node->part.is ? BLAZE_EPERM : there ? BLAZE_EBUSY : BLAZE_ENOTFOUND))
        sim_fail(w, "node %u says %d when record %u is evicted", node->number, rc, record);
    if (rc != 0)
        return;
    node->part.evicted[record] = true;
    node->part.had[record] = seen;
    moved(node);
    node->durable = bz_db_position(node->db);
    sim_part_look(node, held);
}

/* ---- what must be so ---- */

/* Whether it has let go of a record with writes of its own: until these come with it, the record is
 * not taken in. */
static bool has_left(const struct sim_world *w, const struct sim_node *node, uint32_t record)
{
    static const struct sim_seen nothing;
    return !sim_is_present(&w->identities[node->identity], record) &&
           !sim_includes(&nothing, &node->part.left[record]);
}

bool sim_part_must_have(struct sim_world *w, const struct sim_node *node, uint32_t write)
{
    const struct sim_write *it = &w->writes[write];
    if (!node->portable)
        return true;
    return w->identities[it->identity].node != node->number &&
           (!node->part.is || taken(&node->part, it->record) == WHOLE) &&
           !node->part.evicted[it->record] && !has_left(w, node, it->record);
}

bool sim_is_full(const struct sim_node *node)
{
    return !node->portable || (node->db != NULL && !node->part.is && !is_partial(node));
}

bool sim_is_part(const struct sim_node *node)
{
    return node->db != NULL && node->portable && is_partial(node);
}

bool sim_part_is_back(const struct sim_world *w, uint32_t record, const struct sim_seen *seen)
{
    struct sim_seen life = sim_standing(w, record, seen, SIM_LIFE);
    return w->parts && sim_includes(&w->records[record].gone, &life);
}

void sim_part_check_scope(struct sim_node *node)
{
    struct bz_buf wanted, found;
    if (!node->part.is)
        return;
    scope_of(&node->part, &wanted);
    bz_buf_init(&found, BZ_SCOPE_BYTES_MAX);
    if (bz_db_scope(node->db, &found, NULL) != 0 ||
        !bz_bytes_equal(bz_buf_bytes(&wanted), bz_buf_bytes(&found)))
        sim_fail(node->world, "node %u has another scope than it was given", node->number);
    bz_buf_release(&wanted);
    bz_buf_release(&found);
}

/* Whether nobody has a write of a record any more. What the part was shown of it is out of scope,
 * say, and what is left is not: it does not learn of that. See "What is not promised" in
 * docs/replication.md. */
static bool has_lost(const struct sim_world *w, uint32_t record, const struct sim_seen *full)
{
    const struct sim_record *r = &w->records[record];
    bool lost = false;
    for (uint32_t i = 0; i < r->count; i++)
        lost |= w->writes[r->writes[i]].lost && !sim_bit(full, i);
    return lost;
}

/* Whether a record is deleted, and has been collected by some: the others keep what they have of it
 * for a while, a part for the retention. */
static bool is_going(const struct sim_world *w, uint32_t record, const struct sim_seen *seen)
{
    struct sim_siblings life;
    sim_siblings(w, record, seen, SIM_LIFE, &life);
    const struct sim_write *winner = sim_winner(w, &life);
    return winner != NULL && !winner->alive && sim_bit(&w->records[record].gone, winner->number);
}

/* Whether the others have collected all that a part still has, and it does not hear of that: where
 * there are blind copies, nobody is believed what was collected. */
static bool is_left_behind(const struct sim_world *w, uint32_t record, const struct sim_seen *seen)
{
    return w->blind && sim_includes(&w->records[record].gone, seen);
}

/* Whether all that a part has of a record that it wrote to was collected by the others, since it
 * was deleted together with what they had under that id: see "An id made anew where something was"
 * in docs/replication.md. */
static bool is_alone(const struct sim_world *w, const struct sim_node *node, uint32_t record,
    const struct sim_seen *seen)
{
    const struct sim_record *r = &w->records[record];
    bool own = false, shares = false;
    for (uint32_t i = 0; i < r->count; i++) {
        const struct sim_write *write = &w->writes[r->writes[i]];
        bool its = write->identity == node->identity;
        own |= its && sim_bit(seen, i);
        shares |= !its && !sim_bit(seen, i) && sim_bit(&r->gone, i);
    }
    return own && shares && sim_includes(&r->gone, seen);
}

/* Whether a part has of a record what full ones have seen of it; where some of that was collected,
 * which no copy need have, what stands. */
static bool has_the_same(const struct sim_world *w, uint32_t record, const struct sim_seen *seen,
    const struct sim_seen *full)
{
    bool same = true;
    if (sim_includes(&(struct sim_seen){{0}}, &w->records[record].gone))
        return sim_includes(seen, full) && sim_includes(full, seen);
    for (uint32_t cell = 1; same && cell <= (uint32_t)SIM_LIFE; cell <<= 1) {
        struct sim_seen here = sim_standing(w, record, seen, cell);
        struct sim_seen there = sim_standing(w, record, full, cell);
        same = memcmp(&here, &there, sizeof here) == 0;
    }
    return same;
}

static void check_record(struct sim_world *w, const struct sim_node *node, uint32_t record,
    const struct sim_seen *full, bool exists)
{
    const struct sim_part *part = &node->part;
    const struct sim_identity *identity = &w->identities[node->identity];
    struct sim_seen seen = sim_seen_now(identity, record);
    bool there = sim_is_present(identity, record);
    bool wanted = exists && takes(w, part, record, full);
    /* Where there are blind copies, what was collected may come back to the full ones. */
    if ((there != exists || !wanted || w->blind) && is_going(w, record, there ? &seen : full))
        return;
    if (!there && sim_part_is_back(w, record, full))
        return;
    if (there && !wanted && is_left_behind(w, record, &seen))
        return;
    if (there && !exists && is_alone(w, node, record, &seen))
        return;
    if (there && !wanted)
        sim_fail(w, "node %u holds record %u, which is out of its scope", node->number, record);
    if (there && !has_the_same(w, record, &seen, full))
        sim_fail(w, "node %u has not the same of record %u as the full ones", node->number, record);
    if (there || !wanted || has_lost(w, record, full))
        return;
    if (!part->evicted[record] || !sim_includes(&part->had[record], full))
        sim_fail(w, "node %u lacks record %u of its scope", node->number, record);
}

void sim_part_check_healed(struct sim_world *w, const struct sim_node *node)
{
    const struct sim_node *full = NULL;
    if (!node->part.is) {
        if (sim_is_part(node))
            sim_fail(w, "node %u wants all, and is still a part", node->number);
        return;
    }
    for (uint32_t i = 0; i < w->node_count && full == NULL; i++) {
        if (w->nodes[i].member && !w->nodes[i].blind && !w->nodes[i].part.is)
            full = &w->nodes[i];
    }
    if (full == NULL)
        abort();
    const struct sim_identity *identity = &w->identities[full->identity];
    for (uint32_t i = 0; i < SIM_RECORDS; i++) {
        struct sim_seen seen = sim_seen_now(identity, i);
        bool exists = sim_is_present(identity, i);
        check_record(w, node, i, &seen, exists);
    }
}

/* ---- which nodes may be parts, if all are to meet ---- */

static bool wants_all(const struct sim_node *node)
{
    return node->member && !node->part.is;
}

/* What keeps the members from meeting: a part that no full one is linked with, or one that stands
 * between full ones. NULL: nothing. */
static struct sim_node *in_the_way(struct sim_world *w)
{
    uint32_t full = 0, met = 0;
    for (uint32_t i = 0; i < w->node_count; i++)
        full |= wants_all(&w->nodes[i]) ? 1u << i : 0;
    uint32_t reached = sim_reached(w, full);
    for (uint32_t i = 0; i < SIM_LINKS; i++) {
        uint32_t both = sim_link_ends(&w->links[i]);
        met |= (both & reached) != 0 ? both : 0;
    }
    for (uint32_t i = 0; i < w->node_count; i++) {
        struct sim_node *node = &w->nodes[i];
        if (node->member && node->part.is && (met >> i & 1) == (reached != full))
            return node; /* it joins two, or is the next to become a full one */
    }
    for (uint32_t i = 0; i < w->node_count; i++) {
        if (w->nodes[i].member && w->nodes[i].part.is && reached != full)
            return &w->nodes[i];
    }
    return NULL;
}

void sim_parts_mend(struct sim_world *w)
{
    struct sim_node *node = in_the_way(w);
    if (node != NULL && node->db != NULL && sim_may_change(w, node))
        sim_part_clear(node);
}

bool sim_full_without(const struct sim_world *w, const struct sim_node *node)
{
    for (uint32_t i = 0; i < w->node_count; i++) {
        const struct sim_node *other = &w->nodes[i];
        if (other != node && other->member && !other->portable && !other->blind)
            return true;
    }
    return false;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which copy had seen which writes when. A copy's history is a list of moments: at this position of
 * its log a record got a new state, which had seen these writes. A chunk of changes up to a
 * position tells of each of its records the newest moment up to there; so what the receiver has
 * seen is known without looking at any record. Identities that are no more keep their histories:
 * what they sent may still be on its way.
 *
 * A record that was collected is *absent*, as of the position at which that was; the log does not
 * grow by it. What comes or is written in its place later has a history of its own.
 */
#include "world.h"

const char *const sim_fields[SIM_FIELDS] = {"title", "text", "count", "tags", "author", "place"};

uint32_t sim_identity_number(struct sim_world *w, const blaze_id *id)
{
    for (uint32_t i = 0; i < w->identity_count; i++) {
        if (memcmp(&w->identities[i].id, id, sizeof *id) == 0)
            return i;
    }
    assert(w->identity_count < SIM_IDENTITIES);
    struct sim_identity *identity = &w->identities[w->identity_count];
    identity->id = *id;
    for (uint32_t i = 0; i < SIM_RECORDS; i++)
        identity->last[i] = -1;
    return w->identity_count++;
}

static struct sim_seen seen_of(const struct sim_identity *identity, int32_t moment)
{
    return moment < 0 ? (struct sim_seen){{0}} : identity->moments[moment].seen;
}

bool sim_is_present(const struct sim_identity *identity, uint32_t record)
{
    int32_t last = identity->last[record];
    return last >= 0 && !identity->moments[last].absent && !identity->absent[record];
}

struct sim_seen sim_seen_last(const struct sim_identity *identity, uint32_t record)
{
    return seen_of(identity, identity->last[record]);
}

struct sim_seen sim_seen_now(const struct sim_identity *identity, uint32_t record)
{
    return seen_of(identity, sim_is_present(identity, record) ? identity->last[record] : -1);
}

struct sim_seen sim_seen_at(const struct sim_identity *identity, uint32_t record, uint64_t position)
{
    int32_t at = identity->last[record];
    while (at >= 0 && (identity->moments[at].position > position || identity->moments[at].absent))
        at = identity->moments[at].previous;
    return seen_of(identity, at);
}

static void *grow(void *memory, uint32_t *capacity, uint32_t count, size_t size)
{
    if (count < *capacity)
        return memory;
    *capacity = *capacity == 0 ? 64 : *capacity * 2;
    memory = realloc(memory, *capacity * size);
    if (memory == NULL)
        abort();
    return memory;
}

static void push(struct sim_identity *identity, struct sim_moment moment)
{
    identity->moments = grow(identity->moments, &identity->moment_capacity, identity->moment_count,
        sizeof *identity->moments);
    moment.previous = identity->last[moment.record];
    identity->last[moment.record] = (int32_t)identity->moment_count;
    identity->moments[identity->moment_count++] = moment;
    identity->absent[moment.record] = false;
}

/* Writes of one record are at another node than their own. */
static void note_elsewhere(
    struct sim_world *w, uint32_t node, uint32_t record, const struct sim_seen *seen)
{
    const struct sim_record *r = &w->records[record];
    for (uint32_t i = 0; i < r->count; i++) {
        struct sim_write *write = &w->writes[r->writes[i]];
        write->elsewhere |= sim_bit(seen, i) && w->identities[write->identity].node != node;
    }
}

void sim_moment_add(struct sim_world *w, struct sim_identity *identity, uint32_t record,
    const struct sim_seen *seen)
{
    identity->made++;
    push(identity,
        (struct sim_moment){.record = record, .position = ++identity->position, .seen = *seen});
    note_elsewhere(w, identity->node, record, seen);
}

static void push_again(struct sim_identity *identity, uint32_t record, bool absent)
{
    push(identity, (struct sim_moment){.record = record,
                       .position = identity->position,
                       .absent = absent,
                       .seen = sim_seen_last(identity, record)});
}

void sim_moment_erase(struct sim_identity *identity, uint32_t record)
{
    push_again(identity, record, true);
}

void sim_moment_revive(struct sim_identity *identity, uint32_t record)
{
    push_again(identity, record, false);
}

void sim_identity_cut(struct sim_world *w, uint32_t number, uint64_t position, uint64_t seq)
{
    struct sim_identity *identity = &w->identities[number];
    while (identity->moment_count > 0 &&
           identity->moments[identity->moment_count - 1].position > position) {
        const struct sim_moment *moment = &identity->moments[--identity->moment_count];
        identity->last[moment->record] = moment->previous;
    }
    identity->cut = true;
    identity->renewed = 0;
    identity->position = position;
    identity->seq = seq;
    for (uint32_t i = 0; i < w->write_count; i++) {
        struct sim_write *write = &w->writes[i];
        write->cut |= write->identity == number && write->seq > seq;
    }
}

void sim_identity_copy(struct sim_world *w, struct sim_identity *to,
    const struct sim_identity *from, uint64_t position)
{
    for (uint32_t i = 0; i < from->moment_count && from->moments[i].position <= position; i++) {
        push(to, from->moments[i]);
        note_elsewhere(w, to->node, from->moments[i].record, &from->moments[i].seen);
    }
    memcpy(to->absent, from->absent, sizeof to->absent);
    to->position = position;
}

void sim_forgive(struct sim_world *w, uint32_t identity, uint64_t position)
{
    for (uint32_t i = 0; i < w->write_count; i++) {
        struct sim_write *write = &w->writes[i];
        if (write->identity == identity && write->position > position)
            write->lost = true;
    }
}

/* The place of a dot of the identity. */
static uint32_t *dot_of(struct sim_identity *identity, uint64_t seq)
{
    for (uint64_t i = identity->newest + 1; i <= seq; i++) {
        identity->writes =
            grow(identity->writes, &identity->write_capacity, (uint32_t)i, sizeof(uint32_t));
        identity->writes[i] = SIM_NONE;
        identity->newest = i;
    }
    return &identity->writes[seq];
}

/* Gives a write its place in its record and under its dot. What nobody else had under that dot is
 * nowhere any more. */
static struct sim_write *add(struct sim_world *w, const struct sim_write *write)
{
    struct sim_record *r = &w->records[write->record];
    uint32_t *dot = dot_of(&w->identities[write->identity], write->seq);
    if (r->count == SIM_RECORD_WRITES)
        abort();
    w->writes = grow(w->writes, &w->write_capacity, w->write_count, sizeof *w->writes);
    struct sim_write *added = &w->writes[w->write_count];
    *added = *write;
    added->number = r->count;
    added->before = *dot;
    if (*dot != SIM_NONE && !w->writes[*dot].elsewhere)
        w->writes[*dot].replaced = true;
    *dot = w->write_count;
    r->writes[r->count++] = w->write_count++;
    return added;
}

/* Whether others may know the next dot of a node as another write's. It writes nothing then, but
 * where it waits to be told of that, it may compare, and so write a record anew. */
static bool is_doubtful(const struct sim_world *w, const struct sim_node *node)
{
    const struct sim_identity *identity = &w->identities[node->identity];
    return sim_is_apart(node) || (node->waits && sim_is_known(w, node->identity, identity->seq));
}

/* What a write of the record by the identity replaces as its next: what its node has seen, and what
 * it has written before, for version vectors say no less; though it may have let go of that since,
 * and have got the record from somebody who had not seen it. */
static struct sim_seen next_replaces(
    const struct sim_world *w, uint32_t number, uint32_t record, const struct sim_seen *seen)
{
    const struct sim_record *r = &w->records[record];
    const struct sim_identity *identity = &w->identities[number];
    struct sim_seen all = *seen;
    for (uint32_t i = 0; i < r->count; i++) {
        const struct sim_write *write = &w->writes[r->writes[i]];
        if (write->identity == number && write->seq <= identity->seq &&
            identity->writes[write->seq] == r->writes[i])
            sim_bit_set(&all, i);
    }
    return all;
}

void sim_write_add(
    struct sim_world *w, uint32_t number, uint32_t record, const struct sim_write *made)
{
    struct sim_identity *identity = &w->identities[number];
    struct sim_node *node = &w->nodes[identity->node];
    struct sim_seen seen =
        sim_is_present(identity, record) ? sim_seen_now(identity, record) : node->part.left[record];
    node->part.left[record] = (struct sim_seen){{0}};
    struct sim_write write = *made;
    write.seen = next_replaces(w, number, record, &seen);
    write.identity = number;
    write.record = record;
    write.seq = ++identity->seq;
    write.position = identity->position + 1;
    write.role = made->settles ? made->role : identity->role;
    write.apart = is_doubtful(w, node);
    uint32_t at = add(w, &write)->number;
    sim_bit_set(&seen, at);
    sim_moment_add(w, identity, record, &seen);
    w->counts.writes++;
}

const struct sim_write *sim_write_find(struct sim_world *w, uint32_t identity, uint64_t seq,
    uint32_t record, const struct sim_seen *seen)
{
    const struct sim_write *found = NULL;
    if (identity >= w->identity_count || seq == 0 || seq > w->identities[identity].newest)
        return NULL;
    for (uint32_t i = w->identities[identity].writes[seq]; i != SIM_NONE; i = w->writes[i].before) {
        const struct sim_write *write = &w->writes[i];
        if (write->record == record && sim_bit(seen, write->number))
            return write;
        if (write->record == record && found == NULL)
            found = write;
    }
    return found;
}

bool sim_is_doubled(const struct sim_world *w, const struct sim_write *write)
{
    uint32_t last = w->identities[write->identity].writes[write->seq];
    return &w->writes[last] != write || write->before != SIM_NONE;
}

/* The writes of a cell that a copy has seen and that no other of them had seen, those that replace
 * nothing excepted. */
static struct sim_seen standing_but(const struct sim_world *w, uint32_t record,
    const struct sim_seen *seen, uint32_t cell, const struct sim_seen *powerless)
{
    const struct sim_record *r = &w->records[record];
    struct sim_seen present = {{0}}, gone = {{0}};
    for (uint32_t i = 0; i < r->count; i++) {
        const struct sim_write *write = &w->writes[r->writes[i]];
        if (!sim_bit(seen, i) || (write->cells & cell) == 0)
            continue;
        sim_bit_set(&present, i);
        if (!sim_bit(powerless, i))
            sim_seen_join(&gone, &write->seen);
    }
    for (uint32_t k = 0; k < SIM_RECORD_WRITES / 64; k++)
        present.bits[k] &= ~gone.bits[k];
    return present;
}

struct sim_seen sim_standing(
    const struct sim_world *w, uint32_t record, const struct sim_seen *seen, uint32_t cell)
{
    return standing_but(w, record, seen, cell, &(struct sim_seen){{0}});
}

struct sim_seen sim_perhaps_standing(
    const struct sim_world *w, uint32_t record, const struct sim_seen *seen, uint32_t cell)
{
    return w->parts ? standing_but(w, record, seen, cell, &w->records[record].gone)
                    : sim_standing(w, record, seen, cell);
}

/* Whether a copy has seen a later write of the record by the same node, which had perhaps collected
 * this one when it wrote that: then it supersedes all that was there. */
static bool is_succeeded(const struct sim_world *w, uint32_t record, const struct sim_seen *seen,
    const struct sim_write *write)
{
    const struct sim_record *r = &w->records[record];
    bool succeeded = false;
    for (uint32_t i = 0; i < r->count && !succeeded; i++) {
        const struct sim_write *other = &w->writes[r->writes[i]];
        succeeded =
            sim_bit(seen, i) && other->identity == write->identity && other->seq > write->seq;
    }
    return succeeded;
}

struct sim_seen sim_surely_standing(
    const struct sim_world *w, uint32_t record, const struct sim_seen *seen, uint32_t cell)
{
    const struct sim_record *r = &w->records[record];
    struct sim_seen standing = sim_standing(w, record, seen, cell);
    for (uint32_t i = 0; i < r->count; i++) {
        const struct sim_write *write = &w->writes[r->writes[i]];
        bool gone = sim_bit(&r->gone, i) && sim_bit(&standing, i);
        if (write->replaced || (gone && is_succeeded(w, record, seen, write)))
            standing.bits[i / 64] &= ~((uint64_t)1 << i % 64);
        for (uint32_t k = 0;
             sim_bit(&r->gone, i) && (write->cells & cell) != 0 && k < SIM_RECORD_WRITES / 64; k++)
            standing.bits[k] &= ~(write->seen.bits[k] & r->gone.bits[k]);
    }
    return standing;
}

void sim_siblings(const struct sim_world *w, uint32_t record, const struct sim_seen *seen,
    uint32_t cell, struct sim_siblings *out)
{
    struct sim_seen standing = sim_standing(w, record, seen, cell);
    out->count = 0;
    for (uint32_t i = 0; i < w->records[record].count; i++) {
        if (sim_bit(&standing, i))
            out->all[out->count++] = &w->writes[w->records[record].writes[i]];
    }
}

const struct sim_write *sim_winner(const struct sim_world *w, const struct sim_siblings *siblings)
{
    const struct sim_write *best = NULL;
    for (uint32_t i = 0; i < siblings->count; i++) {
        const struct sim_write *write = siblings->all[i];
        int order = best == NULL ? 1 : (int)write->role - (int)best->role;
        if (order == 0)
            order = (write->stamp > best->stamp) - (write->stamp < best->stamp);
        if (order == 0)
            order = memcmp(&w->identities[write->identity].id, &w->identities[best->identity].id,
                sizeof(blaze_id));
        if (order > 0)
            best = write;
    }
    return best;
}

/* ---- writes of a node that was put back ---- */

bool sim_is_known(const struct sim_world *w, uint32_t identity, uint64_t seq)
{
    for (uint32_t i = 0; i < w->write_count; i++) {
        const struct sim_write *write = &w->writes[i];
        if (write->identity == identity && write->seq > seq && write->elsewhere)
            return true;
    }
    return false;
}

/* The cells in which a write of a record stands. */
static uint8_t cells_of(const struct sim_world *w, uint32_t write, const struct sim_seen *seen)
{
    uint8_t cells = 0;
    for (uint32_t bit = 1; bit <= SIM_LIFE; bit <<= 1) {
        struct sim_seen standing = sim_standing(w, w->writes[write].record, seen, bit);
        if (sim_bit(&standing, w->writes[write].number))
            cells |= (uint8_t)bit;
    }
    return cells;
}

/* The write of a record that was reissued, as it is now; null cells if nothing of it stands. */
static struct sim_write reissued(const struct sim_world *w, uint32_t to, uint32_t at,
    const struct sim_seen *before, const struct sim_seen *after)
{
    struct sim_write write = w->writes[at];
    write.identity = to;
    write.of = write.of != 0 ? write.of : at + 1;
    write.position = w->identities[to].position + 1;
    write.cells = cells_of(w, at, before);
    write.values = NULL;
    write.lost = write.replaced = write.elsewhere = write.cut = write.apart = false;
    for (uint32_t k = 0; k < SIM_RECORD_WRITES / 64; k++)
        write.seen.bits[k] &= after->bits[k];
    return write;
}

/* If nothing stands of what is reissued of a record, it stays as it is. Of what does not stand only
 * the last says something: how far the record has seen. */
static void reissue_record(
    struct sim_world *w, uint32_t to, uint32_t from, uint64_t seq, uint32_t record)
{
    struct sim_record *r = &w->records[record];
    struct sim_seen before = sim_seen_now(&w->identities[from], record), after = before;
    uint32_t count = r->count, last = SIM_NONE;
    bool stands = false;
    for (uint32_t i = 0; i < count; i++) {
        const struct sim_write *write = &w->writes[r->writes[i]];
        if (!sim_bit(&before, i) || write->identity != from || write->seq <= seq)
            continue;
        stands |= cells_of(w, r->writes[i], &before) != 0;
        after.bits[i / 64] &= ~((uint64_t)1 << i % 64);
        if (last == SIM_NONE || w->writes[r->writes[last]].seq < write->seq)
            last = i;
    }
    for (uint32_t i = 0; stands && i < count; i++) {
        if (!sim_bit(&before, i) || sim_bit(&after, i))
            continue;
        struct sim_write write = reissued(w, to, r->writes[i], &before, &after);
        if (write.cells == 0 && i != last)
            continue;
        uint32_t at = add(w, &write)->number;
        sim_bit_set(&after, at);
    }
    if (stands)
        sim_moment_add(w, &w->identities[to], record, &after);
}

void sim_reissue(struct sim_world *w, uint32_t to, uint32_t from, uint64_t seq)
{
    const struct sim_identity *former = &w->identities[from];
    for (uint32_t i = 0; i < former->moment_count; i++) {
        if (former->last[former->moments[i].record] == (int32_t)i)
            reissue_record(w, to, from, seq, former->moments[i].record);
    }
    for (uint32_t i = 0; i < w->write_count; i++) {
        struct sim_write *write = &w->writes[i];
        if (write->identity != from || write->seq <= seq)
            continue;
        write->lost = true; /* as itself */
        write->replaced |= write->apart;
    }
}

void sim_oracle_release(struct sim_world *w)
{
    for (uint32_t i = 0; i < w->write_count; i++)
        blaze_doc_free(w->writes[i].values);
    for (uint32_t i = 0; i < w->identity_count; i++) {
        free(w->identities[i].moments);
        free(w->identities[i].writes);
    }
    free(w->writes);
}

/* ---- values ---- */

const char *const sim_collections[SIM_COLLECTIONS] = {"people", "notes", "many"};

uint32_t sim_collection_number(uint32_t record)
{
    return record >= SIM_SMALL ? 2 : record % 3 == 0 ? 0 : 1;
}

struct bz_bytes sim_collection(uint32_t record)
{
    return bz_bytes_text(sim_collections[sim_collection_number(record)]);
}

enum { KINDS = 7, TEXT_MAX = 400 };

static unsigned kind_of(uint32_t write, uint32_t field)
{
    uint64_t which[2] = {write, field};
    uint64_t hash = bz_hash64(which, sizeof which, 1);
    return hash % 64 == 0 ? KINDS : (unsigned)(hash % KINDS);
}

static size_t text_of(uint32_t write, uint32_t field, char out[TEXT_MAX])
{
    size_t size = kind_of(write, field) == KINDS ? TEXT_MAX : 20 + write % 40;
    memset(out, 'a' + (int)(write % 26), size);
    int n = snprintf(out, size, "%u of %u ", field, write);
    out[n] = ' ';
    return size;
}

/* One that several writes have, some of them but for its type. */
static void common_value_add(blaze_doc *doc, const char *name, uint32_t write)
{
    switch (write % 8) {
    case 0:
        blaze_doc_add_null(doc, name);
        break;
    case 1:
        blaze_doc_add_bool(doc, name, true);
        break;
    case 2:
    case 3:
        blaze_doc_add_double(doc, name, write % 8);
        break;
    default:
        blaze_doc_add_int(doc, name, write % 4);
    }
}

void sim_value_add(blaze_doc *doc, uint32_t write, uint32_t field)
{
    char text[TEXT_MAX];
    size_t size = text_of(write, field, text);
    const char *name = sim_fields[field];
    switch (kind_of(write, field)) {
    case 0:
        blaze_doc_add_int(doc, name, (int64_t)write * SIM_FIELDS + field);
        break;
    case 1:
        blaze_doc_begin_map(doc, name);
        blaze_doc_add_int(doc, sim_fields[(field + 1) % SIM_FIELDS], write);
        blaze_doc_add_int(doc, "inside", field);
        blaze_doc_end(doc);
        break;
    case 2:
        blaze_doc_add_bytes(doc, name, text, size);
        break;
    case 3:
        common_value_add(doc, name, write);
        break;
    case 4:
        blaze_doc_begin_array(doc, name);
        for (uint32_t i = 0; i < write % 4; i++)
            common_value_add(doc, NULL, write / 4 + i * 5);
        blaze_doc_end(doc);
        break;
    default:
        blaze_doc_add_text(doc, name, text, size);
    }
}

bool sim_value_get(
    struct sim_world *w, const struct sim_write *write, uint32_t field, blaze_value *out)
{
    uint32_t number = write->of != 0 ? write->of - 1 : (uint32_t)(write - w->writes);
    blaze_value map;
    write = &w->writes[number];
    if ((write->sets >> field & 1) == 0)
        return false;
    if (write->values == NULL) {
        blaze_doc *values = NULL;
        if (blaze_doc_new(&values) != 0)
            abort();
        for (uint32_t f = 0; f < SIM_FIELDS; f++) {
            if (write->sets >> f & 1)
                sim_value_add(values, number, f);
        }
        w->writes[number].values = values;
    }
    if (blaze_doc_value(write->values, &map) != 0 ||
        blaze_value_field(&map, sim_fields[field], out) != 0)
        abort();
    return true;
}

int sim_value_order(const blaze_value *a, const blaze_value *b)
{
    int order = blaze_value_compare(a, b);
    if (order == 0)
        order = (a->type > b->type) - (a->type < b->type);
    if (order != 0 || a->type != BLAZE_ARRAY)
        return order;
    blaze_iter p, q;
    blaze_value x, y;
    blaze_iter_init(&p, a);
    blaze_iter_init(&q, b);
    while (order == 0 && blaze_iter_next(&p, NULL, &x) == 0 && blaze_iter_next(&q, NULL, &y) == 0)
        order = sim_value_order(&x, &y);
    return order;
}

bool sim_value_is(
    struct sim_world *w, const blaze_value *value, const struct sim_write *write, uint32_t field)
{
    blaze_value expected;
    bool set = sim_value_get(w, write, field, &expected);
    return set ? value != NULL && sim_value_order(value, &expected) == 0 : value == NULL;
}

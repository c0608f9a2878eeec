/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of nodes: they open, crash, come back with what their disk has, are copied and put back
 * to what they once were. A disk is an image of the store in memory, or a directory.
 */
#include "settle.h"

#include "disk.h"

#include <stdarg.h>

void sim_note(struct sim_world *w, const char *format, ...)
{
    char *line = w->tail[w->events++ % SIM_TAIL];
    int n = snprintf(line, 32, "%9llu ms  ", (unsigned long long)w->now_ms);
    va_list list;
    va_start(list, format);
    n += vsnprintf(line + n, sizeof w->tail[0] - (size_t)n, format, list);
    va_end(list);
    size_t size = (size_t)n < sizeof w->tail[0] ? (size_t)n : sizeof w->tail[0] - 1;
    w->result.trace = bz_hash64(line, size, w->result.trace);
    if (w->options.trace)
        puts(line);
}

void sim_fail(struct sim_world *w, const char *format, ...)
{
    if (w->result.failed)
        return;
    va_list list;
    va_start(list, format);
    vsnprintf(w->result.why, sizeof w->result.why, format, list);
    va_end(list);
    w->result.failed = true;
    sim_note(w, "FAILED: %s", w->result.why);
}

uint64_t sim_wall_ms(const struct sim_node *node)
{
    return (uint64_t)((int64_t)(1700000000000u + node->world->now_ms) + node->skew_ms);
}

/* ---- images ---- */

struct sim_image sim_image_take(struct sim_node *node, bool durable)
{
    const struct sim_identity *identity = &node->world->identities[node->identity];
    struct sim_image image = {.identity = node->identity,
        .position = identity->position,
        .seq = identity->seq,
        .rules = node->rules,
        .part = node->part};
    memcpy(image.absent, identity->absent, sizeof image.absent);
    struct bz_identity present;
    bz_db_identity(node->db, &present);
    image.epoch = present.epoch;
    if (node->world->options.disk)
        image.directory = sim_disk_copy(node->world, node->number);
    else
        image.memory = bz_memory_image_take(bz_db_store(node->db), durable);
    return image;
}

void sim_image_free(struct sim_image *image)
{
    bz_memory_image_free(image->memory);
    sim_disk_free(image->directory);
    *image = (struct sim_image){0};
}

static struct sim_image image_again(struct sim_world *w, const struct sim_image *image)
{
    struct sim_image again = *image;
    if (image->directory != NULL)
        again.directory = sim_disk_copy_of(w, image->directory);
    else
        again.memory = bz_memory_image_again(image->memory);
    return again;
}

/* ---- opening ---- */

static uint64_t node_wall(void *context)
{
    return sim_wall_ms(context);
}

static int node_entropy(void *context, void *data, size_t size)
{
    rng_fill(&((struct sim_node *)context)->world->rng, data, size);
    return 0;
}

static void on_commit(void *context)
{
    ((struct sim_node *)context)->settle_due = true;
    sim_wake(context);
}

static void node_open(struct sim_node *node, bool create)
{
    struct sim_world *w = node->world;
    char path[96];
    struct bz_db_options options = {.create = create,
        .memory = !w->options.disk,
        .role = node->role,
        .blind = create && node->blind,
        .database = fake_id(7),
        .apply_durability = node->durability,
        .settles_by_hand = true,
        .store = {.image = node->disk.memory, .keeps_durable = true},
        .wall_ms = node_wall,
        .entropy = node_entropy,
        .context = node,
        .boot = node->boot,
        .mark = node->mark};
    blaze_error error;
    snprintf(path, sizeof path, "%s/node-%u", w->directory, node->number);
    if (create)
        node->disk_mark = node->mark;
    if (!create && w->options.disk)
        sim_disk_put(w, node->number, node->disk.directory);
    if (bz_db_open(&node->db, path, &options, &error) != 0) {
        sim_fail(w, "node %u does not open: %s", node->number, error.text);
        node->db = NULL;
        return;
    }
    if (!create)
        node->rules = node->disk.rules;
    sim_image_free(&node->disk);
    sim_rules_opened(node);
    if (bz_db_listen(node->db, on_commit, node, &node->listener) != 0)
        abort();
}

static void take_identity(struct sim_node *node)
{
    struct bz_identity identity;
    bz_db_identity(node->db, &identity);
    node->identity = sim_identity_number(node->world, &identity.node);
    node->role = identity.role;
    node->blind = identity.blind;
    node->keys.member = identity.blind ? 0 : 22;
    node->world->identities[node->identity].role = identity.role;
    node->world->identities[node->identity].node = node->number;
}

static struct sim_node *node_new(struct sim_world *w)
{
    struct sim_node *node = &w->nodes[w->node_count];
    static const uint32_t chunks[] = {100, 600, 5000, 0};
    *node = (struct sim_node){.world = w, .member = true, .number = w->node_count++};
    node->role = sim_chance(w, 4) == 0 ? BZ_ROLE_SERVER : BZ_ROLE_CLIENT;
    node->durability = sim_chance(w, 2) ? BZ_DURABLE_RELAXED : BZ_DURABLE_FULL;
    node->chunk_bytes = chunks[sim_chance(w, 4)];
    node->lazy_ms = (uint32_t[]){0, 0, 20, 3000, UINT32_MAX}[sim_chance(w, 5)];
    node->blind = w->blind && node->number != 1 && sim_chance(w, 3) == 0;
    node->portable = w->parts && !node->blind && node->number != 1 && sim_chance(w, 2);
    node->window_bytes = sim_chance(w, 2) ? 0 : 2000;
    node->meets = UINT32_MAX;
    node->mark = ++w->marks;
    node->boot = ++w->marks;
    node->keys = (struct fake_keys){11, 22, rng_next(&w->rng)};
    return node;
}

struct sim_node *sim_node_add(struct sim_world *w)
{
    struct sim_node *node = node_new(w);
    node_open(node, true);
    if (node->db != NULL)
        take_identity(node);
    sim_note(w, "node %u is new%s%s", node->number,
        node->role == BZ_ROLE_SERVER ? ", a server" : "", node->blind ? ", blind" : "");
    return node;
}

static uint64_t seq_of(const struct sim_node *node)
{
    struct bz_read *read;
    struct bz_db_state state;
    if (bz_read_begin(node->db, &read, NULL) != 0 || bz_read_state(read, &state, NULL) != 0)
        abort();
    bz_read_end(read);
    return state.seq;
}

/* From which of its writes on a former identity was given up: of the records that came anew when
 * it was, each names it. All of its writes, if none came. */
static uint64_t kept_until(struct sim_node *node, uint32_t former, uint64_t position)
{
    struct bz_replica replica;
    struct bz_receiver nobody = {0};
    struct bz_changes *changes;
    struct bz_change change;
    uint32_t number;
    uint64_t seq = UINT64_MAX;
    if (bz_db_replica_open(node->db, &replica, NULL) != 0 ||
        replica.ops->node_number(replica.context, &node->world->identities[former].id, &number) !=
            0 ||
        replica.ops->changes_open(replica.context, &nobody, position, &changes, NULL) != 0)
        abort();
    if (replica.ops->changes_next(changes, &change, NULL) == 0)
        seq = bz_vv_get(&change.rec.rvv, number);
    replica.ops->changes_close(changes);
    bz_db_replica_close(&replica);
    return seq;
}

/* Nothing that was written apart may be left as it was: others may know its dots as other
 * writes'. */
static void check_apart(struct sim_world *w, const struct sim_identity *identity)
{
    for (uint32_t i = 0; i < w->write_count; i++) {
        const struct sim_write *write = &w->writes[i];
        struct sim_seen seen = sim_seen_now(identity, write->record);
        if (write->apart && sim_bit(&seen, write->number))
            sim_fail(w, "write %llu of identity %u, record %u, is not reissued",
                (unsigned long long)write->seq, write->identity, write->record);
    }
}

static void found_out(struct sim_node *node)
{
    node->put_back = node->waits = false;
    node->meets = UINT32_MAX;
}

bool sim_node_met_all(struct sim_node *node)
{
    struct sim_world *w = node->world;
    bool waited = node->waits;
    if (sim_is_apart(node))
        sim_fail(w, "node %u has not found out that it was put back", node->number);
    /* What is in backups only may still come and show it. */
    if (!sim_is_known(w, node->identity, w->identities[node->identity].seq))
        found_out(node);
    return waited && !node->waits;
}

void sim_node_look(struct sim_node *node)
{
    struct sim_world *w = node->world;
    uint32_t before = node->identity;
    struct sim_identity *was = &w->identities[before];
    struct bz_identity identity;
    bz_db_identity(node->db, &identity);
    if (memcmp(&identity.node, &was->id, sizeof identity.node) == 0)
        return;
    take_identity(node);
    struct sim_identity *is = &w->identities[node->identity];
    sim_identity_copy(w, is, was, was->position);
    sim_part_forget(node);
    was->renewed = node->identity;
    is->seq = seq_of(node);
    sim_note(
        w, "node %u finds that it is another: it is identity %u now", node->number, node->identity);
    if (!was->cut && sim_is_part(node) && (w->forgot || !node->part.is))
        return; /* nobody claims any more what it was: see db/scope.c */
    uint64_t kept = kept_until(node, before, was->position);
    sim_note(w, "of identity %u, which had written %llu, what it wrote after %llu is reissued",
        before, (unsigned long long)was->seq, (unsigned long long)kept);
    sim_reissue(w, node->identity, before, kept);
    if (is->position != bz_db_position(node->db))
        sim_fail(w, "node %u is at position %llu after reissuing, not at %llu", node->number,
            (unsigned long long)bz_db_position(node->db), (unsigned long long)is->position);
    check_apart(w, is);
    if (!was->cut)
        sim_fail(w, "node %u takes another identity for no reason", node->number);
    found_out(node);
}

/* What came back is what was there; whoever lost something that others may have seen is another
 * node from now on. */
static void came_back(struct sim_node *node, uint32_t before)
{
    struct sim_world *w = node->world;
    uint64_t position = bz_db_position(node->db);
    bool *held = sim_holdings(node);
    take_identity(node);
    struct sim_identity *was = &w->identities[before], *is = &w->identities[node->identity];
    sim_note(w, "node %u is back at position %llu as identity %u", node->number,
        (unsigned long long)position, node->identity);
    if (node->identity != before) {
        sim_identity_copy(w, is, was, position);
        sim_part_forget(node);
        sim_forgive(w, before, position);
        check_apart(w, is);
        found_out(node);
    } else if (position < was->position) {
        sim_fail(w, "node %u is back at position %llu of %llu and still the same node",
            node->number, (unsigned long long)position, (unsigned long long)was->position);
    }
    if (position < node->durable)
        sim_fail(w, "node %u has lost what was durable", node->number);
    node->durable = position;
    sim_part_came_back(node);
    sim_collect_opened(node);
    sim_holdings_lost(node, held);
}

void sim_node_up(struct sim_node *node)
{
    uint32_t before = node->disk.identity;
    node->part = node->disk.part;
    node_open(node, false);
    if (node->db != NULL)
        came_back(node, before);
}

/* ---- going down ---- */

static void node_close(struct sim_node *node)
{
    sim_node_disconnect(node);
    bz_db_unlisten(node->listener);
    if (bz_db_close(node->db, NULL) != 0)
        abort();
    node->db = NULL;
    node->dying = false;
    node->up_ms = node->world->now_ms + sim_chance(node->world, 20000);
}

void sim_node_crash(struct sim_node *node, enum sim_crash how)
{
    bool cut = how == SIM_POWER_CUT;
    sim_note(node->world, "node %u %s", node->number, cut ? "loses its power" : "is killed");
    node->disk = sim_image_take(node, cut);
    node->world->forgot |= cut;
    if (cut)
        node->boot = ++node->world->marks;
    node_close(node);
}

void sim_node_undo(struct sim_node *node, struct sim_image *image)
{
    node_close(node);
    node->disk = *image;
    *image = (struct sim_image){0};
}

/* What the node has written, under whatever identity, is nowhere if nobody else has it. */
static void forgive_all(const struct sim_node *node)
{
    for (uint32_t i = 0; i < node->world->identity_count; i++) {
        if (node->world->identities[i].node == node->number)
            sim_forgive(node->world, i, 0);
    }
}

void sim_node_remove(struct sim_node *node)
{
    sim_note(node->world, "node %u leaves", node->number);
    node->world->forgot = true;
    bool *held = sim_holdings(node);
    forgive_all(node);
    node_close(node);
    node->member = false;
    sim_holdings_lost(node, held);
    sim_image_free(&node->backup);
}

void sim_node_restore(struct sim_node *node, const struct sim_image *image)
{
    struct sim_image copy = image_again(node->world, image);
    /* What the node has been since is gone, whoever it was. */
    forgive_all(node);
    sim_image_free(&node->disk);
    node->disk = copy;
    node->mark = ++node->world->marks;
    node->durable = 0;
    found_out(node);
    node->world->forgot = true;
    sim_note(node->world, "node %u is put back to a backup", node->number);
}

/* What the node has written, under whatever identity, and no longer has. */
static void forgive_missing(const struct sim_node *node, const struct sim_identity *identity)
{
    struct sim_world *w = node->world;
    for (uint32_t i = 0; i < w->write_count; i++) {
        struct sim_write *write = &w->writes[i];
        struct sim_seen seen = sim_seen_now(identity, write->record);
        write->lost |=
            w->identities[write->identity].node == node->number && !sim_bit(&seen, write->number);
    }
}

void sim_node_put_back(
    struct sim_node *node, const struct sim_image *image, bool waits, uint32_t meets)
{
    struct sim_world *w = node->world;
    struct sim_image copy = image_again(w, image);
    sim_image_free(&node->disk);
    node->disk = copy;
    node->put_back = true;
    node->waits = waits;
    node->meets = meets;
    sim_node_hang_up(node);
    bool *held = sim_holdings(node);
    node->identity = image->identity;
    sim_identity_cut(w, image->identity, image->position, image->seq);
    memcpy(w->identities[node->identity].absent, image->absent, sizeof image->absent);
    sim_holdings_lost(node, held);
    forgive_missing(node, &w->identities[image->identity]);
    node->durable = image->position;
    sim_note(w, "the file system of node %u is put back to position %llu%s", node->number,
        (unsigned long long)image->position, waits ? ", and waits" : "");
    node->world->forgot = true;
}

struct sim_node *sim_node_copy(struct sim_world *w, const struct sim_image *image)
{
    struct sim_node *node = node_new(w);
    node->disk = image_again(w, image);
    node->identity = image->identity;
    node->portable = w->nodes[w->identities[image->identity].node].portable;
    sim_note(w, "node %u is a copied directory", node->number);
    return node;
}

void sim_world_release(struct sim_world *w)
{
    sim_net_release(w);
    for (uint32_t i = 0; i < w->node_count; i++) {
        struct sim_node *node = &w->nodes[i];
        if (node->db != NULL)
            node_close(node);
        sim_image_free(&node->disk);
        sim_image_free(&node->backup);
    }
    sim_disk_release(w);
    sim_oracle_release(w);
    blaze_doc_free(w->doc);
}

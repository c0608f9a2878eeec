/* SPDX-License-Identifier: Apache-2.0 */
/* One run: a shape, some rounds of work and faults, and what must be so after each. */
#include "settle.h"

#include "disk.h"

#define HEAL_STEPS 2000000u
#define HEAL_MS    (40ull * 60 * 1000) /* half-open connections are given up after a minute */

static const char *const shapes[] = {"star", "chain", "ring", "mesh", "two-hubs"};

const char *sim_shape_name(int shape)
{
    return shapes[shape];
}

int sim_shape_find(const char *name)
{
    for (int i = 0; i < SIM_SHAPES; i++) {
        if (strcmp(shapes[i], name) == 0)
            return i;
    }
    return -1;
}

static bool are_linked(enum sim_shape shape, uint32_t a, uint32_t b, uint32_t nodes)
{
    switch (shape) {
    case SIM_STAR:
        return a == 0;
    case SIM_CHAIN:
        return b == a + 1;
    case SIM_RING:
        return b == a + 1 || (a == 0 && b + 1 == nodes);
    case SIM_TWO_HUBS:
        return a < 2;
    default:
        return true;
    }
}

static void world_init(struct sim_world *w, const struct sim_options *options)
{
    memset(w, 0, sizeof *w);
    w->options = *options;
    w->rng.state = options->seed;
    w->result.trace = options->seed;
    w->faults = true;
    uint32_t nodes = 2 + sim_chance(w, 5), shape = sim_chance(w, SIM_SHAPES);
    if (options->nodes != 0)
        nodes = options->nodes;
    if (options->shape >= 0)
        shape = (uint32_t)options->shape;
    if (blaze_doc_new(&w->doc) != 0)
        abort();
    sim_disk_init(w);
    sim_actions_choose(w);
    for (uint32_t i = 0; i < nodes; i++) {
        struct sim_node *node = sim_node_add(w);
        if (node->portable && sim_chance(w, 2))
            sim_part_choose(node);
    }
    for (uint32_t i = 0; i < nodes; i++) {
        for (uint32_t k = i + 1; k < nodes; k++) {
            if (are_linked((enum sim_shape)shape, i, k, nodes))
                sim_link_add(w, i, k);
        }
    }
    sim_note(w, "seed %llu: %u nodes, %s", (unsigned long long)options->seed, nodes, shapes[shape]);
}

/* To when something can happen. False if that is never, or later than `until`. */
static bool pass_time(struct sim_world *w, uint64_t until)
{
    uint64_t next = sim_net_next(w);
    if (next > until)
        return false;
    if (next > w->now_ms)
        w->now_ms = next;
    return true;
}

/* One thing that happens by itself. */
static bool happen(struct sim_world *w)
{
    bool looks = w->settles && sim_chance(w, w->calm) == 0;
    return (looks && sim_settle_step(w)) || sim_net_step(w) || sim_settle_step(w);
}

static void trouble(struct sim_world *w, uint32_t steps)
{
    uint32_t calm = 2 + sim_chance(w, 30); /* steps of the network to one action */
    for (uint32_t i = 0; i < steps && !w->result.failed; i++) {
        w->counts.steps++;
        if (sim_chance(w, calm) == 0)
            sim_act(w);
        else if (!happen(w) && !pass_time(w, w->now_ms + 2000))
            w->now_ms += 1 + sim_chance(w, 500);
        if (sim_chance(w, 400) == 0) {
            struct sim_node *node = &w->nodes[sim_chance(w, w->node_count)];
            if (node->db != NULL)
                sim_check_node(w, node);
        }
    }
}

static uint64_t positions(const struct sim_world *w)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < w->node_count; i++)
        sum += w->nodes[i].db != NULL ? bz_db_position(w->nodes[i].db) : 0;
    return sum;
}

/* Who was put back has met them all, and may write, and settle. */
static bool forget_put_back(struct sim_world *w)
{
    bool some = false;
    for (uint32_t i = 0; i < w->node_count; i++)
        some |= sim_node_met_all(&w->nodes[i]);
    return some && w->settles;
}

/* Without faults, until all links are live and nothing more happens for two minutes. */
static void heal(struct sim_world *w)
{
    uint64_t began = w->now_ms, quiet = w->now_ms, before = UINT64_MAX;
    w->faults = false;
    sim_note(w, "everything heals");
    sim_net_heal(w);
    for (uint32_t i = 0; i < w->node_count; i++) {
        struct sim_node *node = &w->nodes[i];
        node->dying = false;
        node->up_ms = node->up_ms < began + 20000 ? node->up_ms : began + 20000;
    }
    for (uint32_t n = 0; !w->result.failed; n++) {
        w->counts.steps++;
        if (n % 64 == 0)
            sim_parts_mend(w);
        if (positions(w) != before || !sim_net_live(w)) {
            before = positions(w);
            quiet = w->now_ms;
        }
        if (w->now_ms - quiet > 120000) {
            if (!forget_put_back(w))
                break;
            quiet = w->now_ms;
        }
        if (n > HEAL_STEPS || w->now_ms - began > HEAL_MS)
            sim_fail(w, "after healing it does not come to rest in %u steps and %llu ms", n,
                (unsigned long long)(w->now_ms - began));
        if (!happen(w) && !pass_time(w, w->now_ms + 60000))
            w->now_ms += 60000;
    }
    w->faults = true;
}

/* Digests are not compared for a day where a peer that has left was in the middle of something, or
 * has lost that by which others let go of records. What differs when nothing moves any more is
 * found by the next session then, and goes on to the next copy by that; so, where there are blind
 * copies, what was collected comes back. And a part waits a day for whoever kept what it has let go
 * of. Whose clock has been put back is as far by now as any. */
static void heal_after_a_day(struct sim_world *w)
{
    if (w->result.failed || !(w->collects || (w->parts && w->forgot)))
        return;
    w->now_ms += 25ull * 3600000;
    for (uint32_t i = 0; i < w->node_count; i++)
        w->nodes[i].skew_ms = w->ahead_ms;
    w->late = true;
    for (uint32_t i = 0; i <= w->node_count && !w->result.failed; i++) {
        for (uint32_t k = 0; k < SIM_CONNECTIONS; k++) {
            if (w->connections[k].used)
                sim_cut(w, &w->connections[k], false);
        }
        heal(w);
    }
    w->late = false;
}

static void add_counts(struct sim_counts *to, const struct sim_world *w)
{
    to->seeds++;
    to->steps += w->counts.steps;
    to->writes += w->counts.writes;
    to->commits += w->counts.commits;
    to->sessions += w->counts.sessions;
    to->records += w->counts.records;
    to->bytes += w->counts.bytes;
    to->checks += w->counts.checks;
    to->virtual_ms += w->now_ms;
    to->settled += w->counts.settled;
    to->collected += w->counts.collected;
    to->given_up += w->counts.given_up;
    to->anew += w->counts.anew;
    for (uint32_t i = 0; i < SIM_ACTIONS_MAX; i++)
        to->actions[i] += w->counts.actions[i];
}

static void tell_failure(const struct sim_world *w)
{
    uint64_t first = w->events < SIM_TAIL ? 0 : w->events - SIM_TAIL;
    for (uint64_t i = first; i < w->events && !w->options.trace; i++)
        fprintf(stderr, "%s\n", w->tail[i % SIM_TAIL]);
}

void sim_run(
    const struct sim_options *options, struct sim_counts *counts, struct sim_result *result)
{
    static struct sim_world world;
    struct sim_world *w = &world;
    world_init(w, options);
    uint32_t rounds = 1 + sim_chance(w, 3);
    uint32_t steps = options->steps != 0 ? options->steps : 200 + sim_chance(w, 1200);
    for (uint32_t i = 0; i < rounds && !w->result.failed; i++) {
        trouble(w, steps / rounds);
        if (!w->result.failed)
            heal(w);
        heal_after_a_day(w);
        if (!w->result.failed)
            sim_check_healed(w);
        if (!w->result.failed)
            sim_check_traffic(w);
        if (!w->result.failed)
            sim_check_settled(w);
    }
    add_counts(counts, w);
    if (w->result.failed)
        tell_failure(w);
    sim_world_release(w);
    *result = w->result;
}

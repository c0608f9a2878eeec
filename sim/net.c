/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links between nodes, and the connections that they have one after the other. A connection is two
 * byte streams: what is sent arrives in order, late, in pieces, or not at all. It breaks at any
 * byte; an end may not be told, and then the old connection is still there, and still delivers,
 * while the link has made a new one.
 */
#include "world.h"

#include "sync/frame.h"

#define WIRE_MAX   (64u << 10) /* on the way in one direction */
#define OUTPUT_MAX (1u << 20)  /* a chunk of 256 KiB, what may follow, and room */
#define IDLE_RUNS  64u         /* of a session that has nothing to do and says that it has more */

static void end_close(struct sim_end *end)
{
    if (end->session == NULL)
        return;
    struct bz_session_status status;
    bz_session_status(end->session, &status);
    end->link->sent_records[end->node->number == end->link->nodes[1]] += status.sent_records;
    bz_session_free(end->session);
    bz_db_replica_close(&end->replica);
    end->session = NULL;
    end->again = false;
}

static void connection_free(struct sim_world *w, struct sim_connection *c)
{
    struct sim_link *l = &w->links[c->link];
    if (l->connection == (int)(c - w->connections)) {
        l->connection = -1;
        bool refused = sim_is_part(&w->nodes[l->nodes[0]]) && sim_is_part(&w->nodes[l->nodes[1]]);
        l->retry_ms = w->now_ms + 50 + sim_chance(w, w->faults ? 5000 : refused ? 60000 : 500);
    }
    for (int i = 0; i < 2; i++) {
        end_close(&c->ends[i]);
        bz_buf_release(&c->ends[i].wire);
    }
    c->used = false;
}

/* ---- connecting ---- */

static int host_open(void *context, const blaze_id *database, struct bz_replica *replica,
    struct bz_session_auth *auth, blaze_error *error)
{
    struct sim_connection *c = context;
    (void)database;
    (void)error;
    *replica = c->ends[1].replica;
    *auth = c->ends[1].auth;
    return 0;
}

static void end_open(struct sim_world *w, struct sim_connection *c, int i)
{
    struct sim_end *end = &c->ends[i];
    sim_replica_open(end->node, &end->replica);
    end->link = &w->links[c->link];
    end->auth = (struct bz_session_auth){
        fake_mac, fake_random, &end->node->keys, end->node->blind ? NULL : &test_seal_ops};
    struct bz_session_options options = {.connecting = i == 0,
        .replica = &end->replica,
        .auth = &end->auth,
        .host = &c->host,
        .chunk_bytes = end->node->chunk_bytes,
        .window_bytes = end->node->window_bytes,
        .lazy_ms = end->node->lazy_ms,
        .without = w->collects ? 0 : BZ_FEATURE_RECONCILE};
    if (bz_session_new(&end->session, &options, w->now_ms, NULL) != 0)
        abort();
    bz_buf_init(&end->wire, (size_t)1 << 30);
    end->again = true;
}

static void connect_link(struct sim_world *w, struct sim_link *l, struct sim_connection *c)
{
    int first = (int)sim_chance(w, 2);
    *c = (struct sim_connection){
        .used = true, .link = (uint32_t)(l - w->links), .cut_in = UINT64_MAX};
    c->host = (struct bz_session_host){host_open, NULL, c};
    c->ends[0].node = &w->nodes[l->nodes[first]];
    c->ends[1].node = &w->nodes[l->nodes[!first]];
    end_open(w, c, 0);
    end_open(w, c, 1);
    l->connection = (int)(c - w->connections);
    l->sessions++;
    w->counts.sessions++;
    sim_note(w, "node %u connects to node %u (%d)", c->ends[0].node->number,
        c->ends[1].node->number, l->connection);
}

static bool may_connect(const struct sim_world *w, const struct sim_link *l)
{
    const struct sim_node *a = &w->nodes[l->nodes[0]], *b = &w->nodes[l->nodes[1]];
    return l->used && l->connection < 0 && a->db != NULL && b->db != NULL &&
           (a->meets >> b->number & 1) != 0 && (b->meets >> a->number & 1) != 0;
}

static bool connect_one(struct sim_world *w)
{
    for (uint32_t i = 0; i < SIM_LINKS; i++) {
        struct sim_link *l = &w->links[i];
        if (!may_connect(w, l) || l->retry_ms > w->now_ms || l->blocked_ms[0] > w->now_ms ||
            l->blocked_ms[1] > w->now_ms)
            continue;
        for (uint32_t k = 0; k < SIM_CONNECTIONS; k++) {
            if (!w->connections[k].used) {
                connect_link(w, l, &w->connections[k]);
                return true;
            }
        }
    }
    return false;
}

struct sim_link *sim_link_add(struct sim_world *w, uint32_t a, uint32_t b)
{
    static const uint32_t rates[] = {1, 20, 1000, 100000}, pieces[] = {1, 40, 1000, 100000};
    for (uint32_t i = 0; i < SIM_LINKS; i++) {
        struct sim_link *l = &w->links[i];
        if (l->used)
            continue;
        *l = (struct sim_link){.used = true, .nodes = {a, b}, .connection = -1};
        l->latency_ms = sim_chance(w, 2) ? 0 : sim_chance(w, 300);
        l->bytes_per_ms = rates[1 + sim_chance(w, 3)];
        l->piece_max = pieces[sim_chance(w, 8) == 0 ? 0 : 1 + sim_chance(w, 3)];
        return l;
    }
    return NULL;
}

uint32_t sim_reached(const struct sim_world *w, uint32_t among)
{
    uint32_t reached = among & (0u - among);
    for (uint32_t before = 0; before != reached;) {
        before = reached;
        for (uint32_t i = 0; i < SIM_LINKS; i++) {
            uint32_t both = sim_link_ends(&w->links[i]);
            if ((both & reached) != 0 && (both & ~among) == 0)
                reached |= both;
        }
    }
    return reached;
}

bool sim_connected(const struct sim_world *w, uint32_t without)
{
    uint32_t members = 0;
    for (uint32_t i = 0; i < w->node_count; i++) {
        if (w->nodes[i].member && i != without)
            members |= 1u << i;
    }
    return sim_reached(w, members) == members;
}

/* ---- the ends of sessions ---- */

/* What a session may end for, when nobody misbehaves. */
static void check_end(struct sim_world *w, const struct sim_end *end)
{
    struct bz_session_status status;
    bz_session_status(end->session, &status);
    if (w->muted || status.phase != BZ_SESSION_CLOSED || status.code == 0 ||
        status.code == BLAZE_ECLOSED || status.code == BLAZE_ETIMEOUT)
        return;
    const uint32_t *nodes = end->link->nodes; /* who may have moved on to another node */
    if (status.code == BLAZE_EBUSY &&
        (end->node->portable || w->nodes[nodes[0]].portable || w->nodes[nodes[1]].portable))
        return; /* a scope has changed meanwhile, or both are parts */
    sim_fail(w, "a session at node %u ended: %s: %s", end->node->number,
        blaze_error_name(status.code), status.reason);
}

/* The stream ends here, with what has arrived. */
static void end_disconnect(struct sim_world *w, struct sim_end *end)
{
    if (end->session == NULL)
        return;
    bz_session_disconnected(end->session);
    check_end(w, end);
    end_close(end);
}

void sim_cut(struct sim_world *w, struct sim_connection *c, bool half_open)
{
    sim_note(w, "connection %d is cut%s", (int)(c - w->connections), half_open ? ", half" : "");
    int told = (int)sim_chance(w, 2);
    end_disconnect(w, &c->ends[told]);
    bz_buf_clear(&c->ends[!told].wire);
    if (half_open) {
        c->silent = true;
        /* The link makes a new one meanwhile. */
        struct sim_link *l = &w->links[c->link];
        if (l->connection == (int)(c - w->connections)) {
            l->connection = -1;
            l->retry_ms = w->now_ms + sim_chance(w, 2000);
        }
        return;
    }
    end_disconnect(w, &c->ends[!told]);
    connection_free(w, c);
}

void sim_node_disconnect(struct sim_node *node)
{
    struct sim_world *w = node->world;
    for (uint32_t i = 0; i < SIM_CONNECTIONS; i++) {
        struct sim_connection *c = &w->connections[i];
        for (int k = 0; c->used && k < 2; k++) {
            if (c->ends[k].node != node || c->ends[k].session == NULL)
                continue;
            end_disconnect(w, &c->ends[k]);
            if (sim_chance(w, 2))
                bz_buf_clear(&c->ends[k].wire);
            if (c->ends[!k].session == NULL)
                connection_free(w, c);
            else if (sim_chance(w, 4) == 0)
                c->silent = true; /* the machine is gone, and says nothing */
        }
    }
}

void sim_node_hang_up(struct sim_node *node)
{
    struct sim_world *w = node->world;
    for (uint32_t i = 0; i < SIM_CONNECTIONS; i++) {
        struct sim_connection *c = &w->connections[i];
        if (!c->used || (c->ends[0].node != node && c->ends[1].node != node))
            continue;
        for (int k = 0; k < 2; k++)
            end_disconnect(w, &c->ends[k]);
        connection_free(w, c);
    }
}

/* ---- what happens ---- */

void sim_wake(struct sim_node *node)
{
    for (uint32_t i = 0; i < SIM_CONNECTIONS; i++) {
        struct sim_connection *c = &node->world->connections[i];
        for (int k = 0; c->used && k < 2; k++) {
            if (c->ends[k].node == node && c->ends[k].session != NULL)
                c->ends[k].again = true;
        }
    }
}

static uint64_t work_of(const struct sim_end *end)
{
    struct bz_session_status s;
    bz_session_status(end->session, &s);
    return s.sent_records + s.sent_bytes + s.received_bytes + s.received_records + s.position_head +
           bz_session_output(end->session).size + (uint64_t)s.phase;
}

/* Nobody has seen what a session did that ran here in vain. */
static void run_in_vain(struct sim_world *w, struct sim_end *end)
{
    struct sim_node *node = end->node;
    sim_note(w, "node %u crashes before its commit", node->number);
    struct sim_image before = sim_image_take(node, false);
    w->muted = true;
    bz_session_run(end->session, w->now_ms, sim_wall_ms(node));
    sim_node_undo(node, &before);
    w->muted = false;
}

static void run_end(struct sim_world *w, struct sim_connection *c, struct sim_end *end)
{
    if (end->node->dying) {
        run_in_vain(w, end);
        return;
    }
    uint64_t before = work_of(end);
    uint64_t position = bz_db_position(end->node->db);
    end->again = (sim_chance(w, 2) ? bz_session_run : bz_session_push)(
        end->session, w->now_ms, sim_wall_ms(end->node));
    check_end(w, end);
    sim_node_look(end->node);
    if (bz_session_output(end->session).size > OUTPUT_MAX)
        sim_fail(w, "a session at node %u keeps %zu bytes to be sent", end->node->number,
            bz_session_output(end->session).size);
    bool worked = work_of(end) != before || bz_db_position(end->node->db) != position;
    end->idle_runs = end->again && !worked ? end->idle_runs + 1 : 0;
    if (end->idle_runs > IDLE_RUNS)
        sim_fail(w, "a session at node %u runs hot", end->node->number);
    if (end->again && c->ends[0].wire.size + c->ends[1].wire.size > WIRE_MAX)
        end->again = false; /* woken again when there is room */
}

static bool take_output(struct sim_world *w, struct sim_connection *c, int i)
{
    struct sim_end *end = &c->ends[i];
    struct bz_bytes out = bz_session_output(end->session);
    size_t room = end->wire.size < WIRE_MAX ? WIRE_MAX - end->wire.size : 0;
    size_t size = out.size < room ? out.size : room;
    if (size == 0)
        return false;
    if (end->wire.size == 0)
        end->next_ms = w->now_ms + w->links[c->link].latency_ms;
    if (c->ends[!i].session != NULL && !c->silent)
        bz_buf_append(&end->wire, out.data, size);
    bz_session_sent(end->session, size);
    w->counts.bytes += size;
    end->again = true;
    return true;
}

/* Delivers a piece of what end `i` sent. */
static void deliver(struct sim_world *w, struct sim_connection *c, int i)
{
    struct sim_end *end = &c->ends[i], *to = &c->ends[!i];
    struct sim_link *l = &w->links[c->link];
    size_t size = 1 + sim_chance(w, l->piece_max);
    size = size < end->wire.size ? size : end->wire.size;
    size = size < c->cut_in ? size : (size_t)c->cut_in;
    /* On the heap and no longer than it is, so that reading past the end is seen. */
    uint8_t *copy = malloc(size + (size == 0));
    if (copy == NULL)
        abort();
    memcpy(copy, end->wire.data, size);
    bz_buf_consume(&end->wire, size);
    bz_session_receive(to->session, bz_bytes(copy, size), w->now_ms);
    free(copy);
    check_end(w, to);
    sim_node_look(to->node);
    to->again = end->session != NULL ? end->again = true : true;
    end->next_ms = w->now_ms + size / l->bytes_per_ms;
    if (c->cut_in != UINT64_MAX)
        c->cut_in -= size;
    w->result.trace = w->result.trace * 31 + size;
    if (c->cut_in == 0)
        sim_cut(w, c, sim_chance(w, 4) == 0);
}

static bool is_blocked(const struct sim_world *w, const struct sim_connection *c, int i)
{
    const struct sim_link *l = &w->links[c->link];
    return l->blocked_ms[&w->nodes[l->nodes[1]] == c->ends[i].node] > w->now_ms;
}

/* Something that end `i` of a connection can do or get now. */
static bool end_step(struct sim_world *w, struct sim_connection *c, int i)
{
    struct sim_end *end = &c->ends[i], *other = &c->ends[!i];
    if (end->session == NULL)
        return false;
    if (other->wire.size > 0 && other->next_ms <= w->now_ms && !is_blocked(w, c, !i)) {
        deliver(w, c, !i);
        return true;
    }
    if (other->session == NULL && other->wire.size == 0 && !c->silent) {
        end_disconnect(w, end);
        connection_free(w, c);
        return true;
    }
    struct bz_session_status status;
    bz_session_status(end->session, &status);
    if (status.phase == BZ_SESSION_CLOSED) {
        take_output(w, c, i);
        sim_note(w, "node %u ends connection %d: %s", end->node->number, (int)(c - w->connections),
            status.reason);
        end_close(end);
        if (other->session == NULL)
            connection_free(w, c);
        return true;
    }
    if (take_output(w, c, i))
        return true;
    if (!end->again && bz_session_deadline(end->session) > w->now_ms)
        return false;
    run_end(w, c, end);
    return true;
}

bool sim_net_step(struct sim_world *w)
{
    uint32_t first = sim_chance(w, SIM_CONNECTIONS), side = sim_chance(w, 2);
    for (uint32_t i = 0; i < SIM_CONNECTIONS; i++) {
        struct sim_connection *c = &w->connections[(first + i) % SIM_CONNECTIONS];
        for (uint32_t k = 0; c->used && k < 2; k++) {
            if (end_step(w, c, (int)(k ^ side)))
                return true;
        }
    }
    for (uint32_t i = 0; i < w->node_count; i++) {
        struct sim_node *node = &w->nodes[i];
        if (node->member && node->db == NULL && node->up_ms <= w->now_ms) {
            sim_node_up(node);
            return true;
        }
    }
    return connect_one(w);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t sim_net_next(const struct sim_world *w)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < SIM_CONNECTIONS; i++) {
        const struct sim_connection *c = &w->connections[i];
        const struct sim_link *l = &w->links[c->link];
        for (int k = 0; c->used && k < 2; k++) {
            if (c->ends[k].session != NULL)
                next = earlier(next, bz_session_deadline(c->ends[k].session));
            if (c->ends[k].wire.size == 0 || c->ends[!k].session == NULL)
                continue;
            uint64_t open = l->blocked_ms[&w->nodes[l->nodes[1]] == c->ends[k].node];
            next = earlier(next, open > c->ends[k].next_ms ? open : c->ends[k].next_ms);
        }
    }
    for (uint32_t i = 0; i < SIM_LINKS; i++) {
        const struct sim_link *l = &w->links[i];
        if (!may_connect(w, l))
            continue;
        uint64_t at = l->retry_ms;
        for (int k = 0; k < 2; k++)
            at = l->blocked_ms[k] > at ? l->blocked_ms[k] : at;
        next = earlier(next, at);
    }
    for (uint32_t i = 0; i < w->node_count; i++) {
        if (w->nodes[i].member && w->nodes[i].db == NULL)
            next = earlier(next, w->nodes[i].up_ms);
    }
    return next;
}

/* ---- bytes that are changed on the way ---- */

void sim_corrupt(struct sim_world *w, struct sim_connection *c)
{
    int i = c->ends[0].wire.size > 0 ? 0 : 1;
    struct sim_end *from = &c->ends[i], *to = &c->ends[!i];
    if (from->wire.size == 0 || to->session == NULL || from->session == NULL)
        return;
    for (uint32_t n = 1 + sim_chance(w, 4); n > 0; n--)
        from->wire.data[sim_chance(w, (uint32_t)from->wire.size)] ^=
            (uint8_t)(1 + sim_chance(w, 255));
    struct sim_node *node = to->node;
    sim_note(w, "node %u gets bytes that were changed", node->number);
    struct sim_image before = sim_image_take(node, false);
    w->muted = true;
    bz_session_receive(to->session, bz_buf_bytes(&from->wire), w->now_ms);
    for (int n = 0; n < 1000; n++) {
        if (!bz_session_run(to->session, w->now_ms, sim_wall_ms(node)))
            break;
    }
    blaze_error error;
    if (bz_db_check(node->db, NULL, NULL, &error) != 0)
        sim_fail(w, "changed bytes have damaged node %u: %s", node->number, error.text);
    bz_buf_clear(&from->wire);
    sim_node_undo(node, &before);
    w->muted = false;
}

/* ---- healing, the end ---- */

bool sim_net_live(const struct sim_world *w)
{
    for (uint32_t i = 0; i < SIM_LINKS; i++) {
        const struct sim_link *l = &w->links[i];
        if (!l->used ||
            (sim_is_part(&w->nodes[l->nodes[0]]) && sim_is_part(&w->nodes[l->nodes[1]])))
            continue;
        if (l->connection < 0)
            return false;
        const struct sim_connection *c = &w->connections[l->connection];
        for (int k = 0; k < 2; k++) {
            struct bz_session_status status;
            if (c->ends[k].session == NULL)
                return false;
            bz_session_status(c->ends[k].session, &status);
            if (status.phase != BZ_SESSION_LIVE)
                return false;
        }
    }
    return true;
}

void sim_net_heal(struct sim_world *w)
{
    for (uint32_t i = 0; i < SIM_LINKS; i++) {
        struct sim_link *l = &w->links[i];
        l->blocked_ms[0] = l->blocked_ms[1] = 0;
        l->bytes_per_ms = 100000;
        l->piece_max = l->piece_max < 40 ? 40 : l->piece_max;
    }
    for (uint32_t i = 0; i < SIM_CONNECTIONS; i++)
        w->connections[i].cut_in = UINT64_MAX;
}

void sim_net_release(struct sim_world *w)
{
    for (uint32_t i = 0; i < SIM_CONNECTIONS; i++) {
        if (w->connections[i].used)
            connection_free(w, &w->connections[i]);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sixteen databases in a star, a ring, a ring with chords and a full mesh, in virtual time: what a
 * turn sends arrives a hop later. The same writes cost about the same bytes in each, what is
 * written is everywhere after a few hops, and links that are lost are replaced.
 */
#include "sync_world.h"

#define SITES  16
#define HOP_MS 10u
#define HEALED (500 / HOP_MS) /* hops: what is new waits so long on a lazy link, and its way */

struct mesh {
    struct world w;
    uint64_t ticks;
    uint64_t bytes; /* of links that are down by now */
    uint32_t slow;  /* this link takes so many hops, if not 0: link 0 */
    struct bz_buf late[2];
    bool touched[SITES];
};

static uint32_t number_of(const struct mesh *m, const struct site *s)
{
    return (uint32_t)(s - m->w.site);
}

static void write_at(struct mesh *m, uint32_t site)
{
    edit(&m->w, &m->w.site[site]);
    m->touched[site] = true;
}

/* What both ends have to do by now, and what the databases that change call for. */
static void run_links(struct mesh *m)
{
    for (bool any = true; any;) {
        bool woken[SITES];
        memcpy(woken, m->touched, sizeof woken);
        memset(m->touched, 0, sizeof m->touched);
        any = false;
        for (uint32_t i = 0; i < m->w.links; i++) {
            struct link *l = &m->w.link[i];
            for (int k = 0; l->up && k < 2; k++) {
                struct session_end *end = &l->pipe.ends[k];
                uint32_t site = number_of(m, l->ends[k]);
                if (!end->again && !woken[site] &&
                    bz_session_deadline(end->session) > l->pipe.now_ms)
                    continue;
                uint64_t before = bz_db_position(l->ends[k]->db);
                pipe_run(&l->pipe, k);
                end->again |= pipe_take(&l->pipe, k);
                any |= end->again;
                if (bz_db_position(l->ends[k]->db) != before)
                    any = m->touched[site] = true;
            }
        }
    }
}

static void tick(struct mesh *m)
{
    m->ticks++;
    m->w.wall_ms += HOP_MS;
    run_links(m);
    for (uint32_t i = 0; i < m->w.links; i++) {
        struct link *l = &m->w.link[i];
        if (!l->up)
            continue;
        l->pipe.now_ms += HOP_MS;
        l->pipe.wall_ms += HOP_MS;
        if (i == 0 && m->slow > 0 && m->ticks % m->slow != 0)
            continue;
        for (int k = 0; k < 2; k++)
            pipe_deliver(&l->pipe, k);
    }
    run_links(m);
}

static void pass(struct mesh *m, uint64_t ms)
{
    for (uint64_t t = 0; t < ms; t += HOP_MS)
        tick(m);
}

static bool all_equal(const struct mesh *m)
{
    struct bz_db_state first, other;
    struct version version, other_version;
    load((struct site *)&m->w.site[0], &first, &version);
    for (uint32_t i = 1; i < m->w.sites; i++) {
        load((struct site *)&m->w.site[i], &other, &other_version);
        if (first.digest.low != other.digest.low || first.digest.high != other.digest.high ||
            memcmp(&version, &other_version, sizeof version) != 0)
            return false;
    }
    return true;
}

/* Hops until all are equal. */
static uint64_t hops(struct mesh *m, uint64_t most)
{
    for (uint64_t n = 0; n < most; n++) {
        if (all_equal(m))
            return n;
        tick(m);
    }
    fail_msg("not equal after %llu hops", (unsigned long long)most);
    return most;
}

static uint64_t bytes_of(const struct link *l)
{
    return pipe_status(&l->pipe, 0).sent_bytes + pipe_status(&l->pipe, 1).sent_bytes;
}

static uint64_t bytes_so_far(const struct mesh *m)
{
    uint64_t bytes = m->bytes;
    for (uint32_t i = 0; i < m->w.links; i++) {
        if (m->w.link[i].up)
            bytes += bytes_of(&m->w.link[i]);
    }
    return bytes;
}

static void cut(struct mesh *m, uint32_t link)
{
    struct link *l = &m->w.link[link];
    if (l->up)
        m->bytes += bytes_of(l);
    link_down(l);
}

static void cut_site(struct mesh *m, uint32_t site)
{
    for (uint32_t i = 0; i < m->w.links; i++) {
        struct link *l = &m->w.link[i];
        if (l->ends[0] == &m->w.site[site] || l->ends[1] == &m->w.site[site])
            cut(m, i);
    }
}

enum { CHORDS = MESH + 1 };
static const char *const shape_names[] = {"chain", "ring", "star", "mesh", "ring with chords"};

/* Connected, each site has written once, and the tree has formed. */
static void mesh_open(struct mesh *m, uint64_t seed, int shape)
{
    *m = (struct mesh){0};
    world_open(&m->w, seed, shape == CHORDS ? RING : (enum shape)shape, SITES);
    for (uint32_t i = 0; shape == CHORDS && i < SITES; i += 2)
        add_link(&m->w, i, (i + 5) % SITES);
    all_links(&m->w);
    m->w.rng.state = seed; /* the same writes, whatever the links */
    for (uint32_t i = 0; i < SITES; i++) {
        write_at(m, i);
        pass(m, 1000);
    }
    hops(m, 200);
    pass(m, 2000);
}

static void mesh_close(struct mesh *m)
{
    assert_no_end(&m->w);
    assert_equal(&m->w);
    world_close(&m->w);
}

struct figures {
    uint64_t bytes, writes;
    uint64_t most_hops; /* of a write on its own */
};

/* Bursts from everywhere, writes on their own, and long times of nothing. */
static struct figures live(struct mesh *m, int rounds)
{
    struct figures f = {0};
    uint64_t before = bytes_so_far(m);
    for (int round = 0; round < rounds; round++) {
        uint64_t burst = chance(&m->w, 3) == 0 ? 10 + chance(&m->w, 40) : 0;
        for (uint64_t n = 0; n < burst; n++) {
            write_at(m, (uint32_t)chance(&m->w, SITES));
            f.writes++;
            pass(m, HOP_MS * chance(&m->w, 4));
        }
        pass(m, burst > 0 ? 1500 : 200 + chance(&m->w, 800));
        for (uint64_t n = chance(&m->w, 6); n > 0; n--) {
            write_at(m, (uint32_t)chance(&m->w, SITES));
            f.writes++;
            uint64_t took = hops(m, 200);
            f.most_hops = took > f.most_hops ? took : f.most_hops;
            pass(m, chance(&m->w, 1500));
        }
    }
    pass(m, 2000);
    hops(m, 1);
    f.bytes = bytes_so_far(m) - before;
    return f;
}

static struct figures measure(uint64_t seed, int shape)
{
    struct mesh *m = malloc(sizeof *m);
    mesh_open(m, seed, shape);
    struct figures f = live(m, 20);
    print_message("             %-17s %llu writes, %llu bytes, at most %llu hops\n",
        shape_names[shape], (unsigned long long)f.writes, (unsigned long long)f.bytes,
        (unsigned long long)f.most_hops);
    mesh_close(m);
    free(m);
    return f;
}

static void no_shape_costs_half_as_much_again_as_a_star(void **state)
{
    (void)state;
    static const int shapes[] = {RING, MESH, CHORDS};
    uint64_t seed = test_seed(), histories = test_rounds(3, 25);
    for (uint64_t i = 0; i < histories; i++) {
        struct figures star = measure(seed + i, STAR);
        for (int k = 0; k < 3; k++) {
            struct figures f = measure(seed + i, shapes[k]);
            print_message(
                "             that is %.2f times the star\n", (double)f.bytes / (double)star.bytes);
            assert_int_equal(f.writes, star.writes);
            assert_true(f.bytes * 2 <= star.bytes * 3);
            assert_true(f.most_hops <= HEALED + SITES);
        }
    }
}

static bool is_lazy(const struct link *l)
{
    return pipe_status(&l->pipe, 0).lazy && pipe_status(&l->pipe, 1).lazy;
}

/* The site with the most links that carry changes. */
static uint32_t middle_of_the_tree(const struct mesh *m)
{
    uint32_t links[SITES] = {0}, best = 0;
    for (uint32_t i = 0; i < m->w.links; i++) {
        for (int k = 0; k < 2 && m->w.link[i].up && !is_lazy(&m->w.link[i]); k++)
            links[number_of(m, m->w.link[i].ends[k])]++;
    }
    for (uint32_t i = 1; i < SITES; i++)
        best = links[i] > links[best] ? i : best;
    return best;
}

static void a_lost_link_of_the_tree_is_replaced_by_another(void **state)
{
    (void)state;
    static const int shapes[] = {RING, MESH, CHORDS};
    uint64_t seed = test_seed();
    for (int k = 0; k < 3; k++) {
        struct mesh *m = malloc(sizeof *m);
        mesh_open(m, seed + (uint64_t)k, shapes[k]);
        live(m, 3);
        uint32_t first = (uint32_t)chance(&m->w, m->w.links);
        for (uint32_t i = 0; i < m->w.links; i++) {
            uint32_t link = (first + i) % m->w.links;
            if (is_lazy(&m->w.link[link]))
                continue;
            cut(m, link);
            break;
        }
        for (uint32_t i = 0; i < SITES; i++) {
            write_at(m, i);
            hops(m, 2 * HEALED + SITES);
            pass(m, 1000);
        }
        /* What replaced it is as good: little is held up any more. */
        unsigned at_once = 0;
        for (int i = 0; i < 10; i++) {
            write_at(m, (uint32_t)chance(&m->w, SITES));
            at_once += hops(m, 2 * HEALED + SITES) <= SITES + 1;
            pass(m, 1000);
        }
        assert_true(at_once >= 7);
        all_links(&m->w);
        pass(m, 3000);
        mesh_close(m);
        free(m);
    }
}

static void a_node_in_the_middle_of_the_tree_may_go(void **state)
{
    (void)state;
    struct mesh *m = malloc(sizeof *m);
    mesh_open(m, test_seed(), MESH);
    live(m, 3);
    uint32_t middle = middle_of_the_tree(m);
    cut_site(m, middle);
    uint64_t before = bytes_so_far(m);
    for (uint32_t i = 0; i < SITES; i++) {
        if (i != middle)
            write_at(m, i);
    }
    pass(m, 2 * HEALED * HOP_MS + 200);
    struct version version, first;
    struct bz_db_state db_state;
    load(&m->w.site[middle == 0], &db_state, &first);
    for (uint32_t i = 0; i < SITES; i++) {
        load(&m->w.site[i], &db_state, &version);
        assert_int_equal(memcmp(&version, &first, sizeof version) == 0, i != middle);
    }
    print_message("             %llu bytes until all had fifteen writes, and a tree again\n",
        (unsigned long long)(bytes_so_far(m) - before));
    all_links(&m->w);
    hops(m, 200);
    pass(m, 3000);
    mesh_close(m);
    free(m);
}

static void two_halves_that_meet_again_catch_up(void **state)
{
    (void)state;
    struct mesh *m = malloc(sizeof *m);
    mesh_open(m, test_seed(), MESH);
    for (uint32_t i = 0; i < m->w.links; i++) {
        if ((number_of(m, m->w.link[i].ends[0]) < SITES / 2) !=
            (number_of(m, m->w.link[i].ends[1]) < SITES / 2))
            cut(m, i);
    }
    for (int i = 0; i < 40; i++) {
        write_at(m, (uint32_t)chance(&m->w, SITES));
        pass(m, chance(&m->w, 300));
    }
    pass(m, 2000);
    assert_false(all_equal(m));
    all_links(&m->w);
    hops(m, 50);
    pass(m, 3000);
    struct figures f = live(m, 5);
    print_message("             after that %llu bytes for %llu writes\n",
        (unsigned long long)f.bytes, (unsigned long long)f.writes);
    mesh_close(m);
    free(m);
}

static void a_slow_link_becomes_lazy_and_holds_nothing_up(void **state)
{
    (void)state;
    struct mesh *m = malloc(sizeof *m);
    mesh_open(m, test_seed(), CHORDS);
    m->slow = 150;
    for (int i = 0; i < 20; i++) {
        write_at(m, (uint32_t)chance(&m->w, SITES));
        pass(m, 3000);
    }
    assert_true(is_lazy(&m->w.link[0]));
    unsigned at_once = 0;
    for (int i = 0; i < 20; i++) {
        write_at(m, (uint32_t)chance(&m->w, SITES));
        at_once += hops(m, 2 * HEALED + SITES) <= SITES;
        pass(m, 3000);
    }
    assert_true(at_once >= 15);
    pass(m, 5000);
    mesh_close(m);
    free(m);
}

static void nothing_is_said_when_nothing_happens(void **state)
{
    (void)state;
    struct mesh *m = malloc(sizeof *m);
    mesh_open(m, test_seed(), MESH);
    uint64_t before = bytes_so_far(m), runs = 0;
    for (uint32_t i = 0; i < m->w.links; i++)
        runs += m->w.link[i].pipe.ends[0].runs + m->w.link[i].pipe.ends[1].runs;
    pass(m, 20000); /* a PING comes after 30 s */
    for (uint32_t i = 0; i < m->w.links; i++)
        runs -= m->w.link[i].pipe.ends[0].runs + m->w.link[i].pipe.ends[1].runs;
    assert_int_equal(bytes_so_far(m), before);
    assert_int_equal(runs, 0);
    mesh_close(m);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_link_of_the_tree_is_replaced_by_another),
        cmocka_unit_test(a_node_in_the_middle_of_the_tree_may_go),
        cmocka_unit_test(two_halves_that_meet_again_catch_up),
        cmocka_unit_test(a_slow_link_becomes_lazy_and_holds_nothing_up),
        cmocka_unit_test(nothing_is_said_when_nothing_happens),
        cmocka_unit_test(no_shape_costs_half_as_much_again_as_a_star),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Peers without a hub, each in a process of its own. */
#include "world.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct peer {
    const char *db;
    struct process *process;
    const char *url;
};

/* A new database that listens at `url`. */
static struct peer first_peer(struct world *w, const char *db, const char *url)
{
    struct peer peer = {.db = db};
    must(w, "create", db, NULL);
    peer.process = start(w, "peer", db, "--listen", url, NULL);
    peer.url = json_at(w, next_line(peer.process), "listening");
    return peer;
}

/* A copy of what `of` has, which listens at `url` and connects to `of`. */
static struct peer next_peer(
    struct world *w, const char *db, const char *url, const struct peer *of)
{
    struct peer peer = {.db = db};
    const char *code = json_at(w, must(w, "share", of->db, of->url, NULL), "code");
    must(w, "join", db, code, NULL);
    peer.process = start(w, "peer", db, "--listen", url, "--connect", of->url, NULL);
    peer.url = json_at(w, await_line(peer.process, "listening"), "listening");
    return peer;
}

static void insert(struct world *w, const char *db, unsigned n)
{
    must(w, "insert", db, "c", text(w, "{\"n\":%u}", n), NULL);
}

static uint64_t records_of(struct world *w, const char *db)
{
    return json_number(w, must(w, "status", db, NULL), "records");
}

/* Waits until a database has so many records, looking again at each line of its peer. */
static void await_records(struct world *w, const struct peer *peer, uint64_t records)
{
    while (records_of(w, peer->db) != records)
        next_line(peer->process);
}

static void stop_peer(struct peer *peer, int number)
{
    send_signal(peer->process, number);
    assert_int_equal(await_end(peer->process), 0);
}

static void a_chain_of_three_over_unix_sockets_and_one_that_is_killed(void **state)
{
    struct world *w = *state;
    const char *urls[3];
    for (int i = 0; i < 3; i++)
        urls[i] = text(w, "unix:%s/%d.sock", w->dir, i);
    struct peer a = first_peer(w, "a.blz", urls[0]);
    insert(w, "a.blz", 1);
    struct peer b = next_peer(w, "b.blz", urls[1], &a);
    struct peer c = next_peer(w, "c.blz", urls[2], &b);
    insert(w, "c.blz", 2);
    insert(w, "b.blz", 3);
    await_records(w, &a, 3);
    await_records(w, &b, 3);
    await_records(w, &c, 3);

    /* The middle one dies; both ends write on; it comes back. */
    send_signal(b.process, SIGKILL);
    assert_int_equal(await_end(b.process), 128 + SIGKILL);
    insert(w, "a.blz", 4);
    insert(w, "c.blz", 5);
    await_line(c.process, "\"state\":\"waiting\"");
    b.process = start(w, "peer", "b.blz", "--listen", b.url, "--connect", a.url, NULL);
    await_records(w, &b, 5);
    await_records(w, &a, 5);
    await_records(w, &c, 5);
    assert_same(w, "a.blz", "b.blz");
    assert_same(w, "b.blz", "c.blz");
    stop_peer(&a, SIGINT);
    await_line(b.process, "\"state\":\"waiting\"");
    stop_peer(&b, SIGINT);
    stop_peer(&c, SIGTERM);
    must(w, "check", "b.blz", NULL);
}

static void a_ring_over_tcp_comes_to_rest(void **state)
{
    struct world *w = *state;
    struct peer a = first_peer(w, "a.blz", "tcp://127.0.0.1:0");
    struct peer b = next_peer(w, "b.blz", "tcp://127.0.0.1:0", &a);
    struct peer c = next_peer(w, "c.blz", "tcp://127.0.0.1:0", &b);
    const char *url = a.url;
    stop_peer(&a, SIGINT);
    a.process = start(w, "peer", "a.blz", "--listen", url, "--connect", c.url, NULL);
    insert(w, "a.blz", 1);
    insert(w, "b.blz", 2);
    insert(w, "c.blz", 3);
    await_records(w, &a, 3);
    await_records(w, &b, 3);
    await_records(w, &c, 3);

    /* One of them goes: the other two still have a way. */
    stop_peer(&b, SIGTERM);
    insert(w, "c.blz", 4);
    await_records(w, &a, 4);
    b.process = start(w, "peer", "b.blz", "--listen", b.url, "--connect", a.url, NULL);
    await_records(w, &b, 4);
    stop_peer(&a, SIGINT);
    stop_peer(&b, SIGINT);
    stop_peer(&c, SIGINT);
    assert_same(w, "a.blz", "b.blz");
    assert_same(w, "b.blz", "c.blz");
}

static void halves_that_were_apart_meet_again(void **state)
{
    struct world *w = *state;
    struct peer a = first_peer(w, "a.blz", text(w, "unix:%s/a.sock", w->dir));
    struct peer b = next_peer(w, "b.blz", text(w, "unix:%s/b.sock", w->dir), &a);
    struct peer c = next_peer(w, "c.blz", text(w, "unix:%s/c.sock", w->dir), &a);
    struct peer d = next_peer(w, "d.blz", text(w, "unix:%s/d.sock", w->dir), &c);
    insert(w, "d.blz", 0);
    await_records(w, &b, 1);

    /* {a, b} and {c, d}. */
    stop_peer(&c, SIGINT);
    c.process = start(w, "peer", "c.blz", "--listen", c.url, NULL);
    for (unsigned i = 1; i <= 5; i++) {
        insert(w, "b.blz", i);
        insert(w, "d.blz", 10 + i);
    }
    await_records(w, &a, 6);
    await_records(w, &c, 6);

    stop_peer(&c, SIGINT);
    c.process = start(w, "peer", "c.blz", "--listen", c.url, "--connect", a.url, NULL);
    await_records(w, &b, 11);
    await_records(w, &d, 11);
    stop_peer(&a, SIGINT);
    stop_peer(&b, SIGINT);
    stop_peer(&c, SIGINT);
    stop_peer(&d, SIGINT);
    assert_same(w, "a.blz", "b.blz");
    assert_same(w, "a.blz", "c.blz");
    assert_same(w, "a.blz", "d.blz");
}

static void two_that_connect_to_each_other_keep_one_connection(void **state)
{
    struct world *w = *state;
    struct peer a = first_peer(w, "a.blz", text(w, "unix:%s/a.sock", w->dir));
    const char *url = text(w, "unix:%s/b.sock", w->dir);
    struct peer b = next_peer(w, "b.blz", url, &a);
    stop_peer(&a, SIGINT);
    const char *node_a = json_at(w, must(w, "status", "a.blz", NULL), "node");
    const char *node_b = json_at(w, must(w, "status", "b.blz", NULL), "node");
    a.process = start(w, "peer", "a.blz", "--listen", a.url, "--connect", url, NULL);
    struct peer *aside = strcmp(node_a, node_b) > 0 ? &a : &b;
    struct peer *other = aside == &a ? &b : &a;
    await_line(aside->process, "live, by the peer's connection");
    insert(w, aside->db, 1);
    await_records(w, other, 1);
    insert(w, other->db, 2);
    await_records(w, aside, 2);
    stop_peer(&a, SIGINT);
    stop_peer(&b, SIGINT);
}

static void a_peer_that_nobody_wants_says_so_and_ends(void **state)
{
    struct world *w = *state;
    struct peer a = first_peer(w, "a.blz", text(w, "unix:%s/a.sock", w->dir));
    must(w, "create", "other.blz", NULL);
    refuse(w, 4, "does not have this database", "peer", "other.blz", "--connect", a.url, NULL);
    refuse(w, 6, "", "share", "other.blz", a.url, NULL);
    refuse(w, 6, "another process listens", "peer", "other.blz", "--listen", a.url, NULL);
    refuse(w, 2, "where to listen", "peer", "other.blz", NULL);
    refuse(w, 3, "expected", "peer", "other.blz", "--connect", "pigeon:7", NULL);
    assert_true(running(a.process));
    stop_peer(&a, SIGINT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_chain_of_three_over_unix_sockets_and_one_that_is_killed),
        TEST(a_ring_over_tcp_comes_to_rest),
        TEST(halves_that_were_apart_meet_again),
        TEST(two_that_connect_to_each_other_keep_one_connection),
        TEST(a_peer_that_nobody_wants_says_so_and_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

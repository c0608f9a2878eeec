/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Two nodes that listen, connect and sync, once for each allocation of the database, the sessions,
 * the network and the links, which then fails: whoever asked for something is told, a connection
 * may end, and with no more than trying again everything comes to be in step.
 */

#include "node_test_util.h"

#include "alloc_plan.h"
#include "random.h"

#include <unistd.h>

static void listen_at_last(struct node *node, const char *url)
{
    blaze_error error;
    int rc = node_try_listen(node, url, &error);
    if (rc != 0) {
        assert_int_equal(rc, BLAZE_ENOMEM);
        assert_null(bz_peer_server(node->peer));
        rc = node_try_listen(node, url, &error);
    }
    assert_int_equal(rc, 0);
}

static struct bz_link *connect_at_last(struct node *node, const char *url)
{
    blaze_error error;
    struct bz_link *link = NULL;
    struct bz_link_options options = {
        .url = url, .pause_ms = 5, .on_status = node_on_status, .context = node};
    int rc = bz_link_open(&link, node->peer, &options, &error);
    if (rc != 0) {
        assert_int_equal(rc, BLAZE_ENOMEM);
        assert_null(link);
        rc = bz_link_open(&link, node->peer, &options, &error);
    }
    assert_int_equal(rc, 0);
    return link;
}

static bool are_in_step(struct node *a, struct node *b, struct bz_link *link)
{
    alloc_plan_spared = true; /* looking must not fail */
    bool equal = node_records(a) == 2 && node_records(b) == 2;
    alloc_plan_spared = false;
    return equal && node_status(link).state == BZ_LINK_LIVE;
}

static struct alloc_plan plan;

static void nodes_open(struct node *a, struct node *b, uint64_t at)
{
    plan = (struct alloc_plan){.at = at};
    alloc_plan_begin(&plan);
    plan.armed = false;
    node_open(a, NULL);
    node_open(b, a);
    node_insert(a, "{\"from\":\"a\"}");
    node_insert(b, "{\"from\":\"b\"}");
    plan.armed = true;
}

static void nodes_close(struct node *a, struct node *b)
{
    plan.armed = false;
    node_close(a);
    node_close(b);
    alloc_plan_end();
}

static void one_connects(const char *url, uint64_t at)
{
    struct node a, b;
    nodes_open(&a, &b, at);
    listen_at_last(&a, url);
    struct bz_link *link = connect_at_last(&b, bz_server_url(bz_peer_server(a.peer), 0));
    WAIT_UNTIL(are_in_step(&a, &b, link));
    bz_link_close(link);
    WAIT_UNTIL(node_visitors(&a) == 0);
    nodes_close(&a, &b);
}

/* The socket comes when the link has failed to find it. */
static void one_waits_for_a_socket(const char *url, uint64_t at)
{
    struct node a, b;
    nodes_open(&a, &b, at);
    struct bz_link *link = connect_at_last(&b, url);
    WAIT_UNTIL(node_status(link).state == BZ_LINK_WAITING);
    listen_at_last(&a, url);
    WAIT_UNTIL(are_in_step(&a, &b, link));
    bz_link_close(link);
    nodes_close(&a, &b);
}

static void both_connect(const char *url, uint64_t at)
{
    struct node a, b;
    char other[64];
    nodes_open(&a, &b, at);
    snprintf(other, sizeof other, "%s-other", url);
    listen_at_last(&a, url);
    listen_at_last(&b, other);
    struct bz_link *to_a = connect_at_last(&b, url), *to_b = connect_at_last(&a, other);
    WAIT_UNTIL(are_in_step(&a, &b, to_a) && are_in_step(&a, &b, to_b));
    WAIT_UNTIL(node_visitors(&a) + node_visitors(&b) == 1);
    bz_link_close(to_a);
    bz_link_close(to_b);
    nodes_close(&a, &b);
}

/* How many allocations there are varies with the threads: until some runs have made fewer. */
static void each_may_fail(void (*scenario)(const char *url, uint64_t at), const char *url)
{
    uint64_t at = 1;
    for (unsigned missed = 0; missed < 3; at += test_step(1, 1)) {
        scenario(url, at);
        missed = plan.hit ? 0 : missed + 1;
    }
    test_total(at, "allocations that failed");
    assert_true(at > 50);
}

static void each_allocation_of_a_connection_may_fail(void **state)
{
    (void)state;
    each_may_fail(one_connects, "mem:fault");
}

static void each_allocation_of_a_connection_by_tcp_may_fail(void **state)
{
    (void)state;
    each_may_fail(one_connects, "tcp://127.0.0.1:0");
}

static void each_allocation_may_fail_while_a_socket_is_awaited(void **state)
{
    (void)state;
    char url[64];
    snprintf(url, sizeof url, "unix:/tmp/blazedb-fault-%d", (int)getpid());
    each_may_fail(one_waits_for_a_socket, url);
}

static void each_allocation_of_two_that_connect_to_each_other_may_fail(void **state)
{
    (void)state;
    each_may_fail(both_connect, "mem:fault-twin");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_of_a_connection_may_fail),
        cmocka_unit_test(each_allocation_of_a_connection_by_tcp_may_fail),
        cmocka_unit_test(each_allocation_may_fail_while_a_socket_is_awaited),
        cmocka_unit_test(each_allocation_of_two_that_connect_to_each_other_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

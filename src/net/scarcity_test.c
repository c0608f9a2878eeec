/* SPDX-License-Identifier: Apache-2.0 */
/* Out of memory, out of descriptors. */

#include "net/net_priv.h"
#include "net/test_pair.h"
#include "net/test_sockets.h"

#include <stdatomic.h>
#include <sys/resource.h>

/* ---- Out of memory ---- */

static atomic_long allocations_left;

/* One allocation fails: the one for which the counter comes to zero. */
static int fail_at_zero(void *context)
{
    (void)context;
    return atomic_fetch_sub(&allocations_left, 1) == 0;
}

/* An echo with the n-th allocation failing. Whatever comes of it, it ends, and nothing is left. */
static void echo_without_memory(const char *kind)
{
    struct end server = {.echo = true};
    struct end client = {.rng = {7}, .goal = 200000};
    struct host host;
    struct connecting connecting = {.end = &client, .rc = 1};
    host_init(&host, &server, 1, kind);
    if (bz_loop_open(&host.loop, NULL) != 0)
        return;
    server.loop = client.loop = host.loop;
    bz_loop_call(host.loop, listen_now, &host);
    connecting.url = host.url;
    if (host.rc == 0)
        bz_loop_call(host.loop, connect_now, &connecting);
    if (connecting.rc == 0)
        WAIT_UNTIL(client.closed || client.received == client.goal || server.closed);
    bz_loop_close(host.loop);
    assert_true(client.wrong == 0 && client.after_close == 0);
    assert_int_equal(client.closed, connecting.rc == 0);
    assert_int_equal(server.closed, server.opened);
}

static void running_out_of_memory_anywhere_ends_in_good_order(void **state)
{
    (void)state;
    static const char *const kinds[] = {"mem", "unix", "tcp"};
    for (unsigned i = 0; i < 3; i++) {
        long n = 0;
        do {
            atomic_store(&allocations_left, n++);
            bz_alloc_set_fault(fail_at_zero, NULL);
            echo_without_memory(kinds[i]);
            bz_alloc_set_fault(NULL, NULL);
        } while (atomic_load(&allocations_left) < 0 && n < 150);
        assert_true(n > 10);
    }
}

static int fail_always(void *context)
{
    (void)context;
    return 1;
}

static void callers_for_whom_there_is_no_memory_are_hung_up_on_and_later_ones_served(void **state)
{
    (void)state;
    struct end servers[1] = {0};
    struct host host;
    host_init(&host, servers, 1, "tcp");
    host_open(&host);
    int fds[8];
    bz_alloc_set_fault(fail_always, NULL);
    for (unsigned i = 0; i < 8; i++)
        fds[i] = plain_connect(host.url);
    for (unsigned i = 0; i < 8; i++)
        read_to_the_end(fds[i]); /* returns only because the listener hung up */
    bz_alloc_set_fault(NULL, NULL);
    assert_int_equal(host.accepted, 0);
    assert_serves(&host);
    bz_loop_close(host.loop);
}

/* ---- Out of descriptors ---- */

enum { DESCRIPTORS = 256 };

struct starving {
    struct host *host;
    bool spare; /* the listener keeps its own */
    struct rlimit before;
    int taken[DESCRIPTORS];
    unsigned count;
};

static void give_up(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* As if other threads had taken all descriptors, libuv's in reserve too. */
static void starve_now(void *context)
{
    struct starving *starving = context;
    struct host *host = starving->host;
    give_up(&host->loop->uv.emfile_fd);
    if (!starving->spare)
        give_up(&host->listener->spare);
    for (int fd; (fd = dup(0)) >= 0;)
        starving->taken[starving->count++] = fd;
}

static void starve(struct starving *starving)
{
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &starving->before), 0);
    struct rlimit few = {.rlim_cur = DESCRIPTORS, .rlim_max = starving->before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    bz_loop_call(starving->host->loop, starve_now, starving);
    assert_true(starving->count > 0);
}

static void feed(struct starving *starving)
{
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &starving->before), 0);
    while (starving->count > 0)
        close(starving->taken[--starving->count]);
}

static void send_more(void *context)
{
    struct end *end = context;
    end->goal += 1000;
    keep_sending(end);
}

static void assert_goes_on(struct end *from, struct end *to)
{
    uint64_t goal = to->received + 1000;
    bz_loop_call(from->loop, send_more, from);
    WAIT_UNTIL(to->received == goal);
}

/* Until it is hung up on. */
static void call(int fd, const char *url)
{
    char byte;
    struct sockaddr_in address = loopback(port_of(url));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_true(read(fd, &byte, 1) <= 0);
}

static void callers_beyond_the_last_descriptor_are_hung_up_on_and_streams_go_on(void **state)
{
    (void)state;
    struct end servers[2] = {0};
    struct end client = {0};
    struct host host;
    int fds[3];
    host_init(&host, servers, 2, "tcp");
    host_open(&host);
    end_connect(&client, host.loop, host.url, NULL);
    WAIT_UNTIL(servers[0].opened && client.opened);
    for (unsigned i = 0; i < 3; i++)
        fds[i] = plain_socket();
    struct starving starving = {.host = &host, .spare = true};
    starve(&starving);
    for (unsigned i = 0; i < 3; i++) {
        call(fds[i], host.url);
        assert_goes_on(&client, &servers[0]);
    }
    feed(&starving);
    for (unsigned i = 0; i < 3; i++)
        close(fds[i]);
    assert_int_equal(host.accepted, 1);
    assert_serves(&host);
    bz_loop_close(host.loop);
}

static void count_handshakes(void *context)
{
    struct host *host = context;
    host->rc = (int)host->listener->handshake_count;
}

static void without_a_spare_descriptor_a_stream_is_ended_first_one_that_shakes_hands(void **state)
{
    (void)state;
    struct end servers[2] = {0};
    struct end client = {0};
    struct host host;
    char byte;
    host_init(&host, servers, 2, "tcp");
    host.options.stream.open_ms = 3600000;
    host_open(&host);
    int silent = plain_connect(host.url);
    do
        bz_loop_call(host.loop, count_handshakes, &host);
    while (host.rc == 0);
    end_connect(&client, host.loop, host.url, NULL);
    WAIT_UNTIL(servers[0].opened && client.opened);
    int first = plain_socket();
    int second = plain_socket();
    struct starving starving = {.host = &host};
    starve(&starving);
    call(first, host.url);
    assert_true(read(silent, &byte, 1) <= 0);
    assert_goes_on(&client, &servers[0]);

    bz_loop_call(host.loop, starve_now, &starving);
    call(second, host.url);
    WAIT_UNTIL(servers[0].closed && client.closed);
    assert_int_equal(servers[0].reason.code, BLAZE_ELIMIT);
    feed(&starving);
    close(silent);
    close(first);
    close(second);
    assert_serves(&host);
    bz_loop_close(host.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(running_out_of_memory_anywhere_ends_in_good_order),
        cmocka_unit_test(callers_for_whom_there_is_no_memory_are_hung_up_on_and_later_ones_served),
        cmocka_unit_test(callers_beyond_the_last_descriptor_are_hung_up_on_and_streams_go_on),
        cmocka_unit_test(without_a_spare_descriptor_a_stream_is_ended_first_one_that_shakes_hands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

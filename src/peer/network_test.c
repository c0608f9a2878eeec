/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A network that comes is noticed at once: in a network namespace of the test's own, whose only
 * interface is down at first. Where namespaces are not permitted there is nothing to test.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* unshare() */
#endif

#include "node_test_util.h"

#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOUR_MS 3600000u

static void set_loopback(bool up)
{
    struct ifreq request = {.ifr_flags = 0};
    strcpy(request.ifr_name, "lo");
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &request), 0);
    request.ifr_flags = (short)(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
    close(fd);
}

static void a_network_that_comes_back_is_noticed_at_once(void **state)
{
    (void)state;
    if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
        print_message("no network namespace here (%s): skipped\n", strerror(errno));
        skip();
    }
    struct node a;
    struct node b;
    char url[BZ_URL_SIZE];
    node_open(&a, NULL);
    node_open(&b, &a);
    node_listen(&b, "tcp://0.0.0.0:0");
    unsigned port = 0;
    assert_int_equal(
        sscanf(bz_server_url(bz_peer_server(b.peer), 0), "tcp://0.0.0.0:%u", &port), 1);
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", port);
    struct bz_link *link = node_connect(&a, url, HOUR_MS);
    for (unsigned turn = 0; turn < 2; turn++) {
        WAIT_UNTIL(node_status(link).state == BZ_LINK_WAITING);
        set_loopback(true);
        WAIT_UNTIL(node_status(link).state == BZ_LINK_LIVE);
        set_loopback(false);
        bz_peer_unlisten(b.peer); /* says goodbye in vain */
        snprintf(url, sizeof url, "tcp://0.0.0.0:%u", port);
        node_listen(&b, url);
        bz_link_close(link);
        snprintf(url, sizeof url, "tcp://127.0.0.1:%u", port);
        link = node_connect(&a, url, HOUR_MS);
    }
    node_close(&a);
    node_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_network_that_comes_back_is_noticed_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

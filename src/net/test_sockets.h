/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_NET_TEST_SOCKETS_H
#define BZ_NET_TEST_SOCKETS_H

/* For tests: plain sockets that call a host and that hosts are called by. */

#include "net/test_pair.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

static inline uint16_t port_of(const char *url)
{
    struct bz_url parsed;
    assert_int_equal(bz_url_parse(&parsed, url, NULL), 0);
    return parsed.port;
}

static inline int plain_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    return fd;
}

static inline struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
}

static inline int plain_connect(const char *url)
{
    int fd = plain_socket();
    struct sockaddr_in address = loopback(port_of(url));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* A listening plain socket and the URL of its port. */
static inline int plain_listen(char url[BZ_URL_SIZE])
{
    int fd = plain_socket();
    struct sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    snprintf(url, BZ_URL_SIZE, "tcp://127.0.0.1:%u", ntohs(address.sin_port));
    return fd;
}

/* Reads until the other side is done with us. */
static inline void read_to_the_end(int fd)
{
    char data[4096];
    while (read(fd, data, sizeof data) > 0) {
    }
    close(fd);
}

static inline void assert_serves(struct host *host)
{
    struct end client = {.rng = {1}, .goal = 10000};
    struct end *server = &host->ends[host->accepted];
    struct bz_loop *loop;
    assert_int_equal(bz_loop_open(&loop, NULL), 0);
    end_connect(&client, loop, host->url, NULL);
    WAIT_UNTIL(server->received == 10000);
    bz_loop_close(loop);
    WAIT_UNTIL(server->closed);
    assert_true(server->wrong == 0);
}

#endif

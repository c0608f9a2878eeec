/* SPDX-License-Identifier: Apache-2.0 */
/* What TLS and Unix sockets do of their own. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* RTLD_NEXT */
#endif

#include "net/net_priv.h"
#include "net/test_pair.h"
#include "net/test_sockets.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/ssl.h>
#include <sys/stat.h>
#include <sys/un.h>

static void garbage_instead_of_a_tls_handshake_harms_only_its_sender(void **state)
{
    (void)state;
    static const char *const garbage[] = {"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01",
        "\x80\x2e\x01\x03\x01", "SSH-2.0-x\r\n"};
    struct end servers[2] = {0};
    struct host host;
    host_init(&host, servers, 2, "tcp");
    host_open(&host);
    struct rng rng = {test_seed()};
    for (unsigned i = 0; i < 40; i++) {
        int fd = plain_connect(host.url);
        uint8_t bytes[2000];
        size_t size = rng_next(&rng) % sizeof bytes;
        fill(bytes, rng_next(&rng), size);
        const char *text = garbage[i % 4];
        if (i < 20)
            memcpy(bytes, text, strlen(text));
        /* The listener may hang up before it has all. */
        ssize_t n = send(fd, bytes, i < 4 ? strlen(text) : size, MSG_NOSIGNAL);
        (void)n;
        shutdown(fd, i < 20 ? SHUT_WR : SHUT_RDWR); /* what looks like a hello is waited for */
        read_to_the_end(fd);
    }
    assert_int_equal(host.accepted, 0);
    assert_serves(&host);
    bz_loop_close(host.loop);
}

static void a_caller_that_says_nothing_is_hung_up_on_in_time(void **state)
{
    (void)state;
    struct end servers[2] = {0};
    struct host host;
    host_init(&host, servers, 2, "tcp");
    host.options.stream.open_ms = 30;
    host.options.max_handshakes = 2;
    host_open(&host);
    for (unsigned i = 0; i < 3; i++) {
        int fds[3] = {plain_connect(host.url), plain_connect(host.url), plain_connect(host.url)};
        for (unsigned j = 0; j < 3; j++)
            read_to_the_end(fds[j]); /* returns only because the listener hung up */
    }
    assert_int_equal(host.accepted, 0);
    bz_loop_close(host.loop);
}

static void a_server_that_says_nothing_times_the_client_out(void **state)
{
    (void)state;
    char url[BZ_URL_SIZE];
    int fd = plain_listen(url);
    struct end client = {0};
    struct bz_loop *loop;
    struct bz_stream_options options;
    bz_stream_options_init(&options);
    options.open_ms = 30;
    assert_int_equal(bz_loop_open(&loop, NULL), 0);
    end_connect(&client, loop, url, &options);
    WAIT_UNTIL(client.closed);
    assert_int_equal(client.reason.code, BLAZE_ETIMEOUT);
    assert_non_null(strstr(client.reason.text, url));
    assert_int_equal(client.opened, 0);
    bz_loop_close(loop);
    close(fd);
}

static void a_server_that_speaks_no_tls_is_a_protocol_error(void **state)
{
    (void)state;
    char url[BZ_URL_SIZE];
    int fd = plain_listen(url);
    struct end client = {0};
    struct bz_loop *loop;
    assert_int_equal(bz_loop_open(&loop, NULL), 0);
    end_connect(&client, loop, url, NULL);
    int peer = accept(fd, NULL, NULL);
    assert_true(peer >= 0);
    assert_int_equal(send(peer, "SSH-2.0-OpenSSH_9.2p1\r\n", 23, MSG_NOSIGNAL), 23);
    WAIT_UNTIL(client.closed);
    assert_int_equal(client.reason.code, BLAZE_EPROTO);
    assert_non_null(strstr(client.reason.text, "TLS 1.3 handshake"));
    bz_loop_close(loop);
    close(peer);
    close(fd);
}

static void a_server_that_hangs_up_at_once_is_told_as_such(void **state)
{
    (void)state;
    char url[BZ_URL_SIZE];
    int fd = plain_listen(url);
    struct end client = {0};
    struct bz_loop *loop;
    assert_int_equal(bz_loop_open(&loop, NULL), 0);
    end_connect(&client, loop, url, NULL);
    close(accept(fd, NULL, NULL));
    WAIT_UNTIL(client.closed);
    assert_int_equal(client.reason.code, BLAZE_ECLOSED);
    bz_loop_close(loop);
    close(fd);
}

static void tls_1_2_is_refused(void **state)
{
    (void)state;
    struct end servers[1] = {0};
    struct host host;
    host_init(&host, servers, 1, "tcp");
    host_open(&host);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
    SSL *ssl = SSL_new(context);
    int fd = plain_connect(host.url);
    SSL_set_fd(ssl, fd);
    assert_int_not_equal(SSL_connect(ssl), 1);
    SSL_free(ssl);
    SSL_CTX_free(context);
    close(fd);
    assert_int_equal(host.accepted, 0);
    bz_loop_close(host.loop);
}

static void a_name_that_does_not_resolve_cannot_be_connected_to(void **state)
{
    (void)state;
    struct end client = {0};
    struct bz_loop *loop;
    assert_int_equal(bz_loop_open(&loop, NULL), 0);
    end_connect(&client, loop, "tcp://no-such-host.invalid:1", NULL);
    WAIT_UNTIL(client.closed);
    assert_int_equal(client.reason.code, BLAZE_ECONNECT);
    assert_non_null(strstr(client.reason.text, "no-such-host.invalid"));
    bz_loop_close(loop);
}

static void a_name_is_tried_at_each_of_its_addresses(void **state)
{
    (void)state;
    struct end servers[1] = {0};
    struct host host;
    host_init(&host, servers, 1, "tcp");
    host_open(&host); /* at 127.0.0.1; localhost may be ::1 as well */
    struct end client = {.rng = {1}, .goal = 1000};
    char url[BZ_URL_SIZE];
    snprintf(url, sizeof url, "tcp://localhost:%u", port_of(host.url));
    end_connect(&client, host.loop, url, NULL);
    WAIT_UNTIL(servers[0].received == 1000);
    bz_loop_close(host.loop);
}

#define TWO_ADDRESSES "two-addresses.invalid"

/* In place of the system's, for libuv: a name with two addresses, 127.0.0.2 before 127.0.0.1. */
__attribute__((visibility("default"))) int getaddrinfo(const char *restrict node,
    const char *restrict service, const struct addrinfo *restrict hints,
    struct addrinfo **restrict out)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (node == NULL || strcmp(node, TWO_ADDRESSES) != 0)
        return real(node, service, hints, out);
    int rc = real("127.0.0.2", service, hints, out);
    return rc != 0 ? rc : real("127.0.0.1", service, hints, &(*out)->ai_next);
}

/* A socket at 127.0.0.2 that answers nobody any more, for its queue is full; and the caller in it.
 */
static void open_black_hole(uint16_t port, int fds[2])
{
    struct sockaddr_in address = loopback(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
    fds[0] = plain_socket();
    fds[1] = plain_socket();
    assert_int_equal(bind(fds[0], (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fds[0], 0), 0);
    assert_int_equal(connect(fds[1], (struct sockaddr *)&address, sizeof address), 0);
}

/* However busy the machine is, one of these times is enough for an address that answers. */
static void an_address_that_does_not_answer_leaves_time_for_the_next(void **state)
{
    (void)state;
    struct end servers[1] = {0};
    struct host host;
    int hole[2];
    char url[BZ_URL_SIZE];
    host_init(&host, servers, 1, "tcp");
    host_open(&host);
    open_black_hole(port_of(host.url), hole);
    snprintf(url, sizeof url, "tcp://" TWO_ADDRESSES ":%u", port_of(host.url));
    struct end client = {0};
    for (uint32_t ms = 400; client.opened == 0 && ms < 60000; ms *= 4) {
        client = (struct end){.rng = {1}, .goal = 1000};
        host.client_options.open_ms = ms;
        end_connect(&client, host.loop, url, &host.client_options);
        WAIT_UNTIL(client.opened || client.closed);
    }
    assert_int_equal(client.opened, 1);
    WAIT_UNTIL(servers[0].received == 1000);
    bz_loop_close(host.loop);
    close(hole[0]);
    close(hole[1]);
}

static void without_an_answer_from_any_address_the_client_times_out(void **state)
{
    (void)state;
    char url[BZ_URL_SIZE];
    int hole[2];
    int fd = plain_listen(url);
    assert_int_equal(listen(fd, 0), 0);
    int caller = plain_connect(url);
    open_black_hole(port_of(url), hole);
    snprintf(url, sizeof url, "tcp://" TWO_ADDRESSES ":%u", port_of(url));
    struct end client = {0};
    struct bz_loop *loop;
    struct bz_stream_options options;
    bz_stream_options_init(&options);
    options.open_ms = 30;
    assert_int_equal(bz_loop_open(&loop, NULL), 0);
    end_connect(&client, loop, url, &options);
    WAIT_UNTIL(client.closed);
    assert_int_equal(client.reason.code, BLAZE_ETIMEOUT);
    assert_non_null(strstr(client.reason.text, "no answer within 30 ms"));
    bz_loop_close(loop);
    close(hole[0]);
    close(hole[1]);
    close(caller);
    close(fd);
}

static void each_tls_connection_has_a_binding_of_its_own(void **state)
{
    (void)state;
    struct bz_queue to_server = {0};
    struct bz_queue to_client = {0};
    struct bz_tls_context *server_context;
    struct bz_tls_context *client_context;
    assert_int_equal(bz_tls_server(&server_context, NULL, NULL, NULL), 0);
    assert_int_equal(bz_tls_client(&client_context, NULL), 0);
    uint8_t bindings[2][BZ_STREAM_BINDING_SIZE];
    for (unsigned i = 0; i < 2; i++) {
        struct bz_tls *client;
        struct bz_tls *server;
        assert_int_equal(bz_tls_new(&client, client_context, &to_server), 0);
        assert_int_equal(bz_tls_new(&server, server_context, &to_client), 0);
        int left = BLAZE_END;
        int right = BLAZE_END;
        for (unsigned turn = 0; turn < 8 && (left != 0 || right != 0); turn++) {
            struct bz_tls *tls = turn % 2 ? server : client;
            struct bz_queue *in = turn % 2 ? &to_server : &to_client;
            uint8_t bytes[16384];
            size_t size = 0;
            while (in->first != NULL) {
                size_t n = in->first->size - in->first->start;
                memcpy(bytes + size, in->first->data + in->first->start, n);
                size += n;
                bz_queue_consume(in, n);
            }
            bz_tls_feed(tls, bz_bytes(bytes, size));
            *(turn % 2 ? &right : &left) = bz_tls_handshake(tls, NULL);
        }
        assert_true(left == 0 && right == 0);
        uint8_t other[BZ_STREAM_BINDING_SIZE];
        assert_int_equal(bz_tls_binding(client, bindings[i]), 0);
        assert_int_equal(bz_tls_binding(server, other), 0);
        assert_memory_equal(bindings[i], other, sizeof other);
        bz_tls_free(client);
        bz_tls_free(server);
        bz_queue_clear(&to_server);
        bz_queue_clear(&to_client);
    }
    assert_memory_not_equal(bindings[0], bindings[1], sizeof bindings[0]);
    bz_tls_context_free(server_context);
    bz_tls_context_free(client_context);
}

/* ---- A connection cut in the middle ---- */

/* Carries bytes between a client and a host, and cuts both ways after so many of them. */
struct cutter {
    int listener;
    const char *target;
    size_t after;
    bool reset;
};

static bool carry(int from, int to, size_t *left)
{
    char data[4096];
    size_t want = *left < sizeof data ? *left : sizeof data;
    ssize_t n = want == 0 ? 0 : recv(from, data, want, MSG_DONTWAIT);
    if (n > 0 && send(to, data, (size_t)n, MSG_NOSIGNAL) == n)
        *left -= (size_t)n;
    return n != 0 && *left > 0;
}

static void *run_cutter(void *context)
{
    struct cutter *cutter = context;
    int near = accept(cutter->listener, NULL, NULL);
    int far = plain_connect(cutter->target);
    size_t left = cutter->after;
    fd_set set;
    do {
        FD_ZERO(&set);
        FD_SET(near, &set);
        FD_SET(far, &set);
        select((near > far ? near : far) + 1, &set, NULL, NULL, NULL);
    } while ((!FD_ISSET(near, &set) || carry(near, far, &left)) &&
             (!FD_ISSET(far, &set) || carry(far, near, &left)));
    if (cutter->reset) {
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        setsockopt(near, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
        setsockopt(far, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    }
    close(near);
    close(far);
    return NULL;
}

static void a_connection_cut_inside_a_record_is_noticed_by_both_ends(void **state)
{
    (void)state;
    struct rng rng = {test_seed()};
    for (unsigned i = 0; i < 30; i++) {
        struct end server = {.rng = {3}, .goal = 1u << 20};
        struct end client = {.rng = {5}, .goal = 1u << 20};
        struct host host;
        host_init(&host, &server, 1, "tcp");
        host_open(&host);
        char url[BZ_URL_SIZE];
        struct cutter cutter = {.listener = plain_listen(url),
            .target = host.url,
            .after = rng_next(&rng) % (i < 15 ? 2000 : 400000) + 1,
            .reset = i % 3 == 0};
        pthread_t thread;
        pthread_create(&thread, NULL, run_cutter, &cutter);
        end_connect(&client, host.loop, url, NULL);
        WAIT_UNTIL(client.closed && server.closed == server.opened);
        pthread_join(thread, NULL);
        close(cutter.listener);
        bz_loop_close(host.loop);
        assert_int_equal(client.reason.code, BLAZE_ECLOSED);
        assert_true(!server.opened || server.reason.code == BLAZE_ECLOSED);
        assert_true(client.wrong == 0 && server.wrong == 0);
        assert_true(client.received < server.goal || server.received < client.goal);
    }
}

/* ---- Unix sockets ---- */

static void a_unix_socket_is_its_owners_alone_and_goes_with_its_listener(void **state)
{
    (void)state;
    struct end servers[1] = {0};
    struct host host;
    struct stat st;
    host_init(&host, servers, 1, "unix");
    host_open(&host);
    const char *path = host.url + strlen("unix:");
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0600);
    bz_loop_close(host.loop);
    assert_int_not_equal(stat(path, &st), 0);
}

static void a_stale_unix_socket_is_replaced(void **state)
{
    (void)state;
    struct end servers[1] = {0};
    struct host host;
    host_init(&host, servers, 1, "unix");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%.100s", host.wanted + strlen("unix:"));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    host_open(&host);
    assert_serves(&host);
    bz_loop_close(host.loop);
}

static void a_file_that_is_no_socket_stays_where_it_is(void **state)
{
    (void)state;
    struct host host;
    struct stat st;
    host_init(&host, NULL, 0, "unix");
    const char *path = host.wanted + strlen("unix:");
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(bz_loop_open(&host.loop, NULL), 0);
    bz_loop_call(host.loop, listen_now, &host);
    assert_int_equal(host.rc, BLAZE_EADDRINUSE);
    assert_non_null(strstr(host.error.text, "no socket"));
    assert_int_equal(stat(path, &st), 0);
    unlink(path);
    bz_loop_close(host.loop);
}

static void listening_where_one_cannot_names_the_address(void **state)
{
    (void)state;
    static const char *const urls[] = {"unix:/nowhere/at/all.sock", "tcp://192.0.2.1:0"};
    for (unsigned i = 0; i < 2; i++) {
        struct host host;
        host_init(&host, NULL, 0, "mem");
        snprintf(host.wanted, sizeof host.wanted, "%s", urls[i]);
        assert_int_equal(bz_loop_open(&host.loop, NULL), 0);
        bz_loop_call(host.loop, listen_now, &host);
        assert_int_not_equal(host.rc, 0);
        assert_non_null(strstr(host.error.text, urls[i]));
        bz_loop_close(host.loop);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(garbage_instead_of_a_tls_handshake_harms_only_its_sender),
        cmocka_unit_test(a_caller_that_says_nothing_is_hung_up_on_in_time),
        cmocka_unit_test(a_server_that_says_nothing_times_the_client_out),
        cmocka_unit_test(a_server_that_speaks_no_tls_is_a_protocol_error),
        cmocka_unit_test(a_server_that_hangs_up_at_once_is_told_as_such),
        cmocka_unit_test(tls_1_2_is_refused),
        cmocka_unit_test(a_name_that_does_not_resolve_cannot_be_connected_to),
        cmocka_unit_test(a_name_is_tried_at_each_of_its_addresses),
        cmocka_unit_test(an_address_that_does_not_answer_leaves_time_for_the_next),
        cmocka_unit_test(without_an_answer_from_any_address_the_client_times_out),
        cmocka_unit_test(each_tls_connection_has_a_binding_of_its_own),
        cmocka_unit_test(a_connection_cut_inside_a_record_is_noticed_by_both_ends),
        cmocka_unit_test(a_unix_socket_is_its_owners_alone_and_goes_with_its_listener),
        cmocka_unit_test(a_stale_unix_socket_is_replaced),
        cmocka_unit_test(a_file_that_is_no_socket_stays_where_it_is),
        cmocka_unit_test(listening_where_one_cannot_names_the_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

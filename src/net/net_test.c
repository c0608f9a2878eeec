/* SPDX-License-Identifier: Apache-2.0 */

/* The loop, timers, watches and URLs, and what TLS and Unix sockets do of their own. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* RTLD_NEXT */
#endif

#include "net/net_priv.h"
#include "net/test_pair.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#ifdef __linux__
#include <linux/netlink.h>
#endif

/* ---- The loop ---- */

struct counted {
    struct bz_task task;
    struct bz_loop *loop;
    unsigned runs;
    unsigned again;
};

static void count_run(struct bz_task *task)
{
    struct counted *counted = (struct counted *)task;
    NOTE(counted->runs++);
    if (counted->again > 0) {
        counted->again--;
        bz_loop_post(counted->loop, task);
    }
}

struct block {
    struct bz_loop *loop;
    bool here; /* the loop is blocked */
    bool go;
};

static void block_until_set(void *context)
{
    struct block *block = context;
    NOTE(block->here = true);
    WAIT_UNTIL(block->go);
}

static void *block_loop(void *context)
{
    struct block *block = context;
    bz_loop_call(block->loop, block_until_set, block);
    return NULL;
}

static void a_task_posted_many_times_before_it_runs_runs_once(void **state)
{
    (void)state;
    struct block block = {0};
    assert_int_equal(bz_loop_open(&block.loop, NULL), 0);
    struct counted first = {.task.run = count_run};
    struct counted second = {.task.run = count_run};
    struct counted cancelled = {.task.run = count_run};
    pthread_t thread;
    pthread_create(&thread, NULL, block_loop, &block);
    WAIT_UNTIL(block.here);
    bz_loop_post(block.loop, &cancelled.task);
    bz_loop_cancel(block.loop, &cancelled.task);
    for (unsigned i = 0; i < 100; i++) {
        bz_loop_post(block.loop, &first.task);
        bz_loop_post(block.loop, &second.task);
    }
    NOTE(block.go = true);
    WAIT_UNTIL(first.runs > 0 && second.runs > 0);
    pthread_join(thread, NULL);
    bz_loop_close(block.loop);
    assert_true(first.runs == 1 && second.runs == 1);
    assert_int_equal(cancelled.runs, 0);
}

static void a_task_may_post_itself_again(void **state)
{
    (void)state;
    struct bz_loop *loop;
    assert_int_equal(bz_loop_open(&loop, NULL), 0);
    struct counted counted = {.task.run = count_run, .loop = loop, .again = 1000};
    bz_loop_post(loop, &counted.task);
    WAIT_UNTIL(counted.runs == 1001);
    bz_loop_close(loop);
}

struct poster {
    struct bz_loop *loop;
    pthread_t thread;
    struct counted tasks[500];
};

static void *post_all(void *context)
{
    struct poster *poster = context;
    for (unsigned i = 0; i < 500; i++)
        bz_loop_post(poster->loop, &poster->tasks[i].task);
    return NULL;
}

static void tasks_from_many_threads_all_run(void **state)
{
    (void)state;
    static struct poster posters[4];
    struct bz_loop *loop;
    assert_int_equal(bz_loop_open(&loop, NULL), 0);
    for (unsigned i = 0; i < 4; i++) {
        memset(&posters[i], 0, sizeof posters[i]);
        posters[i].loop = loop;
        for (unsigned j = 0; j < 500; j++)
            posters[i].tasks[j].task.run = count_run;
        pthread_create(&posters[i].thread, NULL, post_all, &posters[i]);
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(posters[i].thread, NULL);
    bz_loop_close(loop); /* what was posted still runs */
    for (unsigned i = 0; i < 4; i++)
        for (unsigned j = 0; j < 500; j++)
            assert_int_equal(posters[i].tasks[j].runs, 1);
}

struct clocked {
    struct bz_loop *loop;
    struct bz_timer *timer;
    struct bz_timer *never;
    unsigned fired;
    unsigned wrong;
};

static void on_never(void *context)
{
    struct clocked *clocked = context;
    NOTE(clocked->wrong++);
}

static void on_fire(void *context)
{
    struct clocked *clocked = context;
    NOTE(clocked->fired++);
    if (clocked->fired < 3) {
        bz_timer_set(clocked->timer, 1);
    } else {
        bz_timer_close(clocked->timer);
        bz_timer_close(clocked->never);
    }
}

static void start_timers(void *context)
{
    struct clocked *clocked = context;
    int rc = bz_timer_open(&clocked->timer, clocked->loop, on_fire, clocked);
    rc |= bz_timer_open(&clocked->never, clocked->loop, on_never, clocked);
    if (rc != 0)
        abort();
    bz_timer_set(clocked->never, 1);
    bz_timer_stop(clocked->never);
    bz_timer_set(clocked->timer, 3600000);
    bz_timer_set(clocked->timer, 1);
}

static void timers_fire_once_for_each_setting_until_closed(void **state)
{
    (void)state;
    struct clocked clocked = {0};
    assert_int_equal(bz_loop_open(&clocked.loop, NULL), 0);
    bz_loop_call(clocked.loop, start_timers, &clocked);
    WAIT_UNTIL(clocked.fired == 3);
    bz_loop_close(clocked.loop);
    assert_int_equal(clocked.fired, 3);
    assert_int_equal(clocked.wrong, 0);
}

struct watched {
    struct bz_loop *loop;
    struct bz_watch *watch;
    const char *path;
    unsigned changes;
    int rc;
    blaze_error error;
};

static void on_change(void *context)
{
    struct watched *watched = context;
    NOTE(watched->changes++);
}

static void start_watch(void *context)
{
    struct watched *watched = context;
    watched->rc = bz_watch_open(
        &watched->watch, watched->loop, watched->path, on_change, watched, &watched->error);
}

static void stop_watch(void *context)
{
    struct watched *watched = context;
    bz_watch_close(watched->watch);
}

static void a_watch_tells_of_writes_to_its_file_until_closed(void **state)
{
    (void)state;
    char path[] = "/tmp/bz-watch-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    struct watched watched = {.path = path};
    assert_int_equal(bz_loop_open(&watched.loop, NULL), 0);
    bz_loop_call(watched.loop, start_watch, &watched);
    assert_int_equal(watched.rc, 0);
    for (unsigned i = 0; i < 3; i++) {
        unsigned before;
        NOTE(before = watched.changes);
        assert_int_equal(write(fd, "x", 1), 1);
        WAIT_UNTIL(watched.changes > before);
    }
    bz_loop_call(watched.loop, stop_watch, &watched);
    unsigned last = watched.changes;
    assert_int_equal(write(fd, "x", 1), 1);
    close(fd);
    unlink(path);
    bz_loop_close(watched.loop);
    assert_int_equal(watched.changes, last);
}

static void rest_watch(void *context)
{
    struct watched *watched = context;
    bz_watch_rest(watched->watch);
}

static void resume_watch(void *context)
{
    struct watched *watched = context;
    watched->rc = bz_watch_again(watched->watch, &watched->error);
}

static void a_watch_that_rests_tells_of_nothing_and_then_goes_on(void **state)
{
    (void)state;
    char path[] = "/tmp/bz-watch-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    struct watched watched = {.path = path};
    assert_int_equal(bz_loop_open(&watched.loop, NULL), 0);
    bz_loop_call(watched.loop, start_watch, &watched);
    for (unsigned i = 0; i < 3; i++) {
        bz_loop_call(watched.loop, rest_watch, &watched);
        unsigned before;
        NOTE(before = watched.changes);
        assert_int_equal(write(fd, "x", 1), 1);
        bz_loop_call(watched.loop, resume_watch, &watched);
        assert_int_equal(watched.rc, 0);
        unsigned after;
        NOTE(after = watched.changes);
        assert_int_equal(after, before);
        assert_int_equal(write(fd, "x", 1), 1);
        WAIT_UNTIL(watched.changes > before);
    }
    bz_loop_call(watched.loop, rest_watch, &watched);
    unlink(path);
    bz_loop_call(watched.loop, resume_watch, &watched);
    assert_int_equal(watched.rc, BLAZE_ENOTFOUND);
    close(fd);
    bz_loop_close(watched.loop);
}

static void a_watch_on_nothing_says_what_is_missing(void **state)
{
    (void)state;
    struct watched watched = {.path = "/nowhere/at/all"};
    assert_int_equal(bz_loop_open(&watched.loop, NULL), 0);
    bz_loop_call(watched.loop, start_watch, &watched);
    assert_int_equal(watched.rc, BLAZE_ENOTFOUND);
    assert_non_null(strstr(watched.error.text, "/nowhere/at/all"));
    bz_loop_close(watched.loop);
}

#ifdef __linux__

struct networked {
    struct bz_loop *loop;
    struct bz_network_watch *watch;
    unsigned changes;
    int rc;
};

static void on_network(void *context)
{
    struct networked *networked = context;
    NOTE(networked->changes++);
}

static void start_network(void *context)
{
    struct networked *networked = context;
    networked->rc =
        bz_network_watch_open(&networked->watch, networked->loop, on_network, networked, NULL);
}

/* The only socket of this process that the kernel tells of its networks. */
static int network_socket(void)
{
    struct sockaddr_storage address;
    for (int fd = 0; fd < 1024; fd++) {
        socklen_t size = sizeof address;
        if (getsockname(fd, (struct sockaddr *)&address, &size) == 0 &&
            address.ss_family == AF_NETLINK)
            return fd;
    }
    return -1;
}

/* Asks the kernel, whose answers nobody reads, until there is no room for them. */
static void overflow(void *context)
{
    struct networked *networked = context;
    struct nlmsghdr question = {.nlmsg_len = sizeof question,
        .nlmsg_type = NLMSG_NOOP,
        .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK};
    int size = 1;
    int fd = network_socket();
    networked->rc = setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    struct pollfd poll_for = {.fd = fd};
    while (networked->rc == 0 && poll(&poll_for, 1, 0) == 0)
        networked->rc = send(fd, &question, sizeof question, 0) == sizeof question ? 0 : errno;
}

static void a_network_watch_goes_on_after_more_changes_than_its_socket_holds(void **state)
{
    (void)state;
    struct networked networked = {0};
    assert_int_equal(bz_loop_open(&networked.loop, NULL), 0);
    bz_loop_call(networked.loop, start_network, &networked);
    assert_int_equal(networked.rc, 0);
    for (unsigned i = 1; i <= 3; i++) {
        bz_loop_call(networked.loop, overflow, &networked);
        assert_int_equal(networked.rc, 0);
        WAIT_UNTIL(networked.changes >= i);
    }
    bz_loop_close(networked.loop);
}

#endif

/* ---- URLs ---- */

static void urls_are_read_and_written(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum bz_url_kind kind;
        const char *host;
        uint16_t port;
    } good[] = {
        {"tcp://127.0.0.1:7667", BZ_URL_TCP, "127.0.0.1", 7667},
        {"tcp://hub.example:0", BZ_URL_TCP, "hub.example", 0},
        {"tcp://[::1]:65535", BZ_URL_TCP, "::1", 65535},
        {"unix:/run/hub.sock", BZ_URL_UNIX, "/run/hub.sock", 0},
        {"unix:hub.sock", BZ_URL_UNIX, "hub.sock", 0},
        {"mem:hub", BZ_URL_MEM, "hub", 0},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct bz_url url;
        char text[BZ_URL_SIZE];
        assert_int_equal(bz_url_parse(&url, good[i].text, NULL), 0);
        assert_int_equal(url.kind, good[i].kind);
        assert_string_equal(url.host, good[i].host);
        assert_int_equal(url.port, good[i].port);
        bz_url_format(&url, text);
        assert_string_equal(text, good[i].text);
    }
}

static void a_malformed_url_is_told_what_is_expected(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"", "expected tcp://HOST:PORT, unix:PATH or mem:NAME"},
        {"http://example:80", "http://example:80: expected tcp://"},
        {"127.0.0.1:7667", "expected tcp://"},
        {"tcp://", "expected tcp://HOST:PORT"},
        {"tcp://host", "expected tcp://HOST:PORT"},
        {"tcp://:1", "expected tcp://HOST:PORT"},
        {"tcp://host:", "expected tcp://HOST:PORT"},
        {"tcp://host:65536", "expected tcp://HOST:PORT"},
        {"tcp://host:99999999999", "expected tcp://HOST:PORT"},
        {"tcp://host:1/path", "expected tcp://HOST:PORT"},
        {"tcp://host:-1", "expected tcp://HOST:PORT"},
        {"tcp://::1:7667", "expected tcp://HOST:PORT"},
        {"tcp://[::1:7667", "expected tcp://HOST:PORT"},
        {"tcp://[::1]7667", "expected tcp://HOST:PORT"},
        {"tcp://[[1]:7667", "expected tcp://HOST:PORT"},
        {"tcp://[name]:7667", "expected tcp://HOST:PORT"},
        {"tcp://user@host:7667", "expected tcp://HOST:PORT"},
        {"tcp://a b:7667", "expected tcp://HOST:PORT"},
        {"unix:", "no path"},
        {"mem:", "no name"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct bz_url url;
        blaze_error error;
        assert_int_equal(bz_url_parse(&url, bad[i][0], &error), BLAZE_EINVAL);
        if (strstr(error.text, bad[i][1]) == NULL)
            fail_msg("%s: %s", bad[i][0], error.text);
    }
    char longer[400] = "unix:/";
    memset(longer + 6, 'a', 300);
    struct bz_url url;
    blaze_error error;
    assert_int_equal(bz_url_parse(&url, longer, &error), BLAZE_EINVAL);
    assert_non_null(strstr(error.text, "at most 107"));
    memcpy(longer, "tcp://", 6);
    memcpy(longer + 290, ":1", 3);
    assert_int_equal(bz_url_parse(&url, longer, &error), BLAZE_EINVAL);
}

/* ---- One host and plain sockets ---- */

static uint16_t port_of(const char *url)
{
    struct bz_url parsed;
    assert_int_equal(bz_url_parse(&parsed, url, NULL), 0);
    return parsed.port;
}

static int plain_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    return fd;
}

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
}

static int plain_connect(const char *url)
{
    int fd = plain_socket();
    struct sockaddr_in address = loopback(port_of(url));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* A listening plain socket and the URL of its port. */
static int plain_listen(char url[BZ_URL_SIZE])
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
static void read_to_the_end(int fd)
{
    char data[4096];
    while (read(fd, data, sizeof data) > 0) {
    }
    close(fd);
}

static void assert_serves(struct host *host)
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
        cmocka_unit_test(a_task_posted_many_times_before_it_runs_runs_once),
        cmocka_unit_test(a_task_may_post_itself_again),
        cmocka_unit_test(tasks_from_many_threads_all_run),
        cmocka_unit_test(timers_fire_once_for_each_setting_until_closed),
        cmocka_unit_test(a_watch_tells_of_writes_to_its_file_until_closed),
        cmocka_unit_test(a_watch_that_rests_tells_of_nothing_and_then_goes_on),
        cmocka_unit_test(a_watch_on_nothing_says_what_is_missing),
#ifdef __linux__
        cmocka_unit_test(a_network_watch_goes_on_after_more_changes_than_its_socket_holds),
#endif
        cmocka_unit_test(urls_are_read_and_written),
        cmocka_unit_test(a_malformed_url_is_told_what_is_expected),
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
        cmocka_unit_test(running_out_of_memory_anywhere_ends_in_good_order),
        cmocka_unit_test(callers_for_whom_there_is_no_memory_are_hung_up_on_and_later_ones_served),
        cmocka_unit_test(callers_beyond_the_last_descriptor_are_hung_up_on_and_streams_go_on),
        cmocka_unit_test(without_a_spare_descriptor_a_stream_is_ended_first_one_that_shakes_hands),
        cmocka_unit_test(a_connection_cut_inside_a_record_is_noticed_by_both_ends),
        cmocka_unit_test(a_unix_socket_is_its_owners_alone_and_goes_with_its_listener),
        cmocka_unit_test(a_stale_unix_socket_is_replaced),
        cmocka_unit_test(a_file_that_is_no_socket_stays_where_it_is),
        cmocka_unit_test(listening_where_one_cannot_names_the_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

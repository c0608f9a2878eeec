/* SPDX-License-Identifier: Apache-2.0 */

/* Callers that send rubbish for ever, say nothing for ever, or never read, over real sockets: each
 * is turned away with its reason, and those who keep each other in step do not notice. */

#include "node_test_util.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CALLERS = 12 };

struct caller {
    const char *path;
    unsigned kind; /* 0 rubbish, 1 nothing, 2 a HELLO over and over and no reading */
    bool over;
};

struct reasons {
    struct node *node;
    unsigned malformed;
    unsigned silent;
    unsigned turned_away;
};

static int call(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        abort();
    return fd;
}

/* Returns when it is hung up on. */
static void *be_bad(void *context)
{
    struct caller *caller = context;
    uint8_t bytes[4096];
    int fd = call(caller->path);
    bz_os_entropy(bytes, sizeof bytes);
    if (caller->kind == 2)
        memcpy(bytes,
            "\x20\x01"
            "BLZS",
            6);
    if (caller->kind == 1) {
        while (recv(fd, bytes, sizeof bytes, 0) > 0)
            ;
    } else {
        while (send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) > 0)
            ;
    }
    close(fd);
    NOTE(caller->over = true);
    return NULL;
}

static void on_log(void *context, const char *line)
{
    struct reasons *reasons = context;
    bool away = strstr(line, "turned away") != NULL;
    NOTE(reasons->turned_away += away;
         reasons->silent += away && strstr(line, "took too long") != NULL;
         reasons->malformed += away && strstr(line, "took too long") == NULL);
}

static void bad_callers_are_turned_away_and_nobody_else_notices(void **state)
{
    (void)state;
    char dir[] = "/tmp/bz-bad-XXXXXX";
    char path[64];
    char url[72];
    const char *listen = url;
    struct node a;
    struct node b;
    blaze_error error;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/socket", dir);
    snprintf(url, sizeof url, "unix:%s", path);
    node_open(&a, NULL);
    node_open(&b, &a);
    struct reasons reasons = {.node = &a};
    struct bz_server_options options;
    bz_server_options_init(&options);
    options.listen = &listen;
    options.listen_count = 1;
    options.handshake_ms = 5000; /* honest ones manage in that */
    options.on_log = on_log;
    options.context = &reasons;
    assert_int_equal(bz_peer_listen(a.peer, &options, &error), 0);
    struct bz_link *link = node_connect(&b, url, 0);
    assert_int_equal(bz_link_wait_for(link, BZ_LINK_CAUGHT_UP, 0, 60000, &error), 0);

    pthread_t threads[CALLERS];
    struct caller callers[CALLERS];
    for (unsigned i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.path = path, .kind = i % 3};
        assert_int_equal(pthread_create(&threads[i], NULL, be_bad, &callers[i]), 0);
    }
    for (uint64_t i = 0; i < 50; i++) {
        node_insert(&b, "{\"n\":1}");
        assert_int_equal(
            bz_link_wait_for(link, BZ_LINK_WRITTEN, bz_db_position(b.db), 60000, &error), 0);
        assert_int_equal(node_records(&a), i + 1);
    }
    for (unsigned i = 0; i < CALLERS; i++) {
        WAIT_UNTIL(callers[i].over);
        pthread_join(threads[i], NULL);
    }
    WAIT_UNTIL(reasons.turned_away == CALLERS);
    assert_int_equal(reasons.silent, CALLERS / 3);
    assert_int_equal(reasons.malformed, CALLERS - CALLERS / 3);
    struct bz_link_status status = node_status(link);
    assert_int_equal(status.state, BZ_LINK_LIVE);
    assert_int_equal(status.code, 0);
    node_close(&b);
    node_close(&a);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_callers_are_turned_away_and_nobody_else_notices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

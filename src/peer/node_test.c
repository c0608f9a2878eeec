/* SPDX-License-Identifier: Apache-2.0 */

/* Nodes that listen and connect: one connection for two, waiting for a write, trying again. */

#include "node_test_util.h"

#include <sys/resource.h>
#include <unistd.h>

#define HOUR_MS 3600000u

static bool is_live(struct bz_link *link)
{
    return node_status(link).state == BZ_LINK_LIVE;
}

static bool is_waiting(struct bz_link *link)
{
    return node_status(link).state == BZ_LINK_WAITING;
}

/* ---- One connection for two ---- */

static void two_that_connect_to_each_other_keep_one_connection(void **state)
{
    (void)state;
    struct node a;
    struct node b;
    node_open(&a, NULL);
    node_open(&b, &a);
    node_listen(&a, "mem:twin-a");
    node_listen(&b, "mem:twin-b");
    node_insert(&a, "{\"from\":\"a\"}");
    node_insert(&b, "{\"from\":\"b\"}");
    struct bz_link *to_b = node_connect(&a, "mem:twin-b", 0);
    struct bz_link *to_a = node_connect(&b, "mem:twin-a", 0);
    /* Which one it is follows from the ids. */
    struct bz_identity ia;
    struct bz_identity ib;
    bz_db_identity(a.db, &ia);
    bz_db_identity(b.db, &ib);
    bool a_opens = memcmp(&ia.node, &ib.node, sizeof ia.node) < 0;
    struct node *aside = a_opens ? &b : &a;
    struct node *other = a_opens ? &a : &b;
    struct bz_link *link = a_opens ? to_a : to_b;
    WAIT_UNTIL(strstr(node_status(link).text, "by the peer's connection") != NULL);
    WAIT_UNTIL(is_live(to_a) && is_live(to_b));
    WAIT_UNTIL(node_visitors(aside) == 1 && node_visitors(other) == 0);
    WAIT_UNTIL(node_records(&a) == 2 && node_records(&b) == 2);

    /* The link that stands aside can be waited for as any other. */
    blaze_error error;
    for (uint64_t i = 0; i < 20; i++) {
        node_insert(aside, "{\"n\":1}");
        assert_int_equal(
            bz_link_wait_for(link, BZ_LINK_WRITTEN, bz_db_position(aside->db), 60000, &error), 0);
        assert_int_equal(node_records(other), 3 + i);
    }

    /* When the connection that was kept is closed, the other link takes over. */
    bz_link_close(a_opens ? to_b : to_a);
    WAIT_UNTIL(node_visitors(other) == 1 && is_live(link));
    node_insert(other, "{\"n\":2}");
    WAIT_UNTIL(node_records(aside) == 23);
    node_close(&a);
    node_close(&b);
}

static void a_peer_has_one_database_and_takes_in_no_other(void **state)
{
    (void)state;
    struct node a;
    struct node stranger;
    blaze_error error;
    node_open(&a, NULL);
    node_open(&stranger, NULL);
    node_listen(&a, "mem:one-database");
    struct bz_link *link;
    struct bz_link_options options = {.url = "mem:one-database"};
    assert_int_equal(bz_link_open(&link, stranger.peer, &options, &error), 0);
    assert_int_equal(bz_link_wait(link, 60000, &error), BLAZE_ENOTFOUND);
    bz_link_close(link);
    options.enrol = true;
    assert_int_equal(bz_link_open(&link, stranger.peer, &options, &error), 0);
    assert_int_equal(bz_link_wait(link, 60000, &error), BLAZE_EPERM);
    bz_link_close(link);

    /* Another copy may offer its key: it is the same. */
    struct node b;
    node_open(&b, &a);
    assert_int_equal(bz_link_open(&link, b.peer, &options, &error), 0);
    assert_int_equal(bz_link_wait(link, 60000, &error), 0);
    bz_link_close(link);
    options.trust = true;
    assert_int_equal(bz_link_open(&link, b.peer, &options, &error), 0);
    assert_int_equal(bz_link_wait(link, 60000, &error), 0);
    bz_link_close(link);

    /* Itself, it does not want. */
    assert_int_equal(bz_link_open(&link, a.peer, &options, &error), 0);
    assert_int_equal(bz_link_wait(link, 60000, &error), BLAZE_EEXIST);
    node_close(&b);
    node_close(&stranger);
    node_close(&a);
}

/* Listens at a TCP port, where an address may fail three times. */
static void listen_strictly_logging(struct node *node, uint32_t forgive_ms,
    void (*on_log)(void *context, const char *line), void *context, char out[BZ_URL_SIZE])
{
    blaze_error error;
    static const char *const url = "tcp://127.0.0.1:0";
    struct bz_server_options options;
    bz_server_options_init(&options);
    options.listen = &url;
    options.listen_count = 1;
    options.address_failures_max = 3;
    options.address_forgive_ms = forgive_ms;
    options.on_log = on_log;
    options.context = context;
    if (bz_peer_listen(node->peer, &options, &error) != 0)
        fail_msg("%s", error.text);
    snprintf(out, BZ_URL_SIZE, "%s", bz_server_url(bz_peer_server(node->peer), 0));
}

static void listen_strictly(struct node *node, uint32_t forgive_ms, char out[BZ_URL_SIZE])
{
    listen_strictly_logging(node, forgive_ms, node_on_log, node, out);
}

static int sync_once(struct node *node, const char *url)
{
    blaze_error error;
    struct bz_link *link;
    struct bz_link_options options = {.url = url, .mode = BZ_LINK_ONCE};
    assert_int_equal(bz_link_open(&link, node->peer, &options, &error), 0);
    int rc = bz_link_wait(link, 60000, &error);
    bz_link_close(link);
    return rc;
}

static struct bz_server_status server_status(struct node *node)
{
    struct bz_server_status status;
    bz_server_get_status(bz_peer_server(node->peer), &status);
    return status;
}

/* Who is turned away hears of it before that is counted. */
static void fail_three_times(struct node *stranger, struct node *server, const char *url)
{
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(sync_once(stranger, url), BLAZE_ENOTFOUND);
        WAIT_UNTIL(server_status(server).refused == i);
    }
}

static void an_address_that_fails_too_often_is_shut_out_for_a_while(void **state)
{
    (void)state;
    struct node a;
    struct node b;
    struct node stranger;
    char url[BZ_URL_SIZE];
    node_open(&a, NULL);
    node_open(&b, &a);
    node_open(&stranger, NULL);
    listen_strictly(&a, HOUR_MS, url);
    fail_three_times(&stranger, &a, url);
    assert_int_equal(sync_once(&stranger, url), BLAZE_ECLOSED);
    assert_int_equal(sync_once(&b, url), BLAZE_ECLOSED); /* its address is the same */
    struct bz_server_status status = server_status(&a);
    assert_true(status.refused == 3 && status.accepted == 3 && status.shut_out == 2);
    bz_peer_unlisten(a.peer);

    /* How time opens the gate is tested with the gate; this is whether the server's does. */
    listen_strictly(&a, 1, url);
    fail_three_times(&stranger, &a, url);
    struct bz_link *link = node_connect(&b, url, 10);
    WAIT_UNTIL(is_live(link));
    node_close(&b);
    node_close(&stranger);
    node_close(&a);
}

/* A member that proves itself and goes on with what is no frame. */
struct babbler {
    const char *url;
    struct bz_loop *loop;
    struct bz_stream *stream;
    struct bz_keys keys;
    struct bz_replica replica;
    struct bz_session_auth auth;
    struct bz_session *session;
    bool over;
};

/* The first that it has to say is its HELLO, the second its proof. */
static void babble(struct babbler *b, bool proof)
{
    uint8_t said[8192];
    struct bz_bytes output = bz_session_output(b->session);
    assert_in_range(output.size, 1, sizeof said - 16);
    memcpy(said, output.data, output.size);
    memset(said + output.size, 0xff, 16);
    size_t size = output.size + (proof ? 16 : 0);
    bz_session_sent(b->session, output.size);
    assert_int_equal(bz_stream_write(b->stream, bz_bytes(said, size)), 0);
}

static void babbler_on_open(void *context, struct bz_stream *stream)
{
    struct babbler *b = context;
    struct bz_session_options options = {
        .connecting = true, .replica = &b->replica, .auth = &b->auth};
    assert_int_equal(bz_stream_binding(stream, options.binding), 0);
    assert_int_equal(bz_session_new(&b->session, &options, 0, NULL), 0);
    babble(b, false);
}

static void babbler_on_data(void *context, struct bz_stream *stream, struct bz_bytes data)
{
    struct babbler *b = context;
    (void)stream;
    if (b->session == NULL)
        return;
    bz_session_receive(b->session, data, 0);
    if (bz_session_output(b->session).size == 0)
        return; /* not all of the answer has come */
    babble(b, true);
    bz_session_free(b->session);
    b->session = NULL;
}

static void babbler_on_close(void *context, struct bz_stream *stream, const blaze_error *reason)
{
    struct babbler *b = context;
    (void)stream;
    (void)reason;
    bz_session_free(b->session);
    NOTE(b->over = true);
}

static void babbler_connect(void *context)
{
    static const struct bz_stream_callbacks callbacks = {
        .on_open = babbler_on_open, .on_data = babbler_on_data, .on_close = babbler_on_close};
    struct babbler *b = context;
    assert_int_equal(bz_stream_connect(&b->stream, b->loop, b->url, NULL, &callbacks, b, NULL), 0);
}

static void prove_and_babble(struct node *member, const char *url)
{
    struct babbler b = {.url = url};
    assert_int_equal(bz_keys_load(member->db, &b.keys, NULL), 0);
    assert_int_equal(bz_db_replica_open(member->db, &b.replica, NULL), 0);
    assert_int_equal(bz_loop_open(&b.loop, NULL), 0);
    b.auth = bz_keys_auth(&b.keys);
    bz_loop_call(b.loop, babbler_connect, &b);
    WAIT_UNTIL(b.over);
    bz_loop_close(b.loop);
    bz_db_replica_close(&b.replica);
}

struct seen {
    unsigned left, turned_away;
};

static void see(void *context, const char *line)
{
    struct seen *seen = context;
    NOTE(seen->left += strstr(line, " left: ") != NULL;
         seen->turned_away += strstr(line, "turned away") != NULL);
}

static void who_has_proven_himself_is_no_stranger_whatever_comes_next(void **state)
{
    (void)state;
    struct node a;
    struct node b;
    struct seen seen = {0};
    char url[BZ_URL_SIZE];
    node_open(&a, NULL);
    node_open(&b, &a);
    listen_strictly_logging(&a, HOUR_MS, see, &seen, url);
    for (unsigned i = 1; i <= 4; i++) {
        prove_and_babble(&b, url);
        WAIT_UNTIL(seen.left + seen.turned_away == i);
    }
    assert_int_equal(seen.turned_away, 0);
    assert_int_equal(sync_once(&b, url), 0); /* as often as it was, the address is not shut out */
    struct bz_server_status status = server_status(&a);
    assert_true(status.refused == 0 && status.accepted == 5 && status.shut_out == 0);
    node_close(&b);
    node_close(&a);
}

static void what_one_learns_it_hands_on_along_a_chain(void **state)
{
    (void)state;
    enum { NODES = 5 };
    struct node nodes[NODES];
    char url[NODES][32];
    for (unsigned i = 0; i < NODES; i++) {
        node_open(&nodes[i], i == 0 ? NULL : &nodes[0]);
        snprintf(url[i], sizeof url[i], "mem:chain-%u", i);
        node_listen(&nodes[i], url[i]);
        node_insert(&nodes[i], "{\"a\":1}");
        if (i > 0)
            node_connect(&nodes[i], url[i - 1], 0);
    }
    for (unsigned i = 0; i < NODES; i++)
        WAIT_UNTIL(node_records(&nodes[i]) == NODES);
    for (unsigned i = 0; i < NODES; i++)
        node_close(&nodes[i]);
}

/* ---- Waiting ---- */

static void a_wait_for_a_write_is_over_when_the_peer_has_it(void **state)
{
    (void)state;
    struct node a;
    struct node b;
    blaze_error error;
    node_open(&a, NULL);
    node_open(&b, &a);
    struct bz_link *link = node_connect(&a, "mem:write", 1);
    node_insert(&a, "{\"a\":1}");
    assert_int_equal(
        bz_link_wait_for(link, BZ_LINK_WRITTEN, bz_db_position(a.db), 1, &error), BLAZE_ETIMEOUT);
    assert_int_equal(bz_link_wait_for(link, BZ_LINK_CAUGHT_UP, 0, 0, &error), BLAZE_ETIMEOUT);
    node_listen(&b, "mem:write");
    for (uint64_t i = 1; i <= 50; i++) {
        assert_int_equal(
            bz_link_wait_for(link, BZ_LINK_WRITTEN, bz_db_position(a.db), 60000, &error), 0);
        assert_int_equal(node_records(&b), i);
        node_insert(&a, "{\"a\":1}");
    }
    assert_int_equal(bz_link_wait_for(link, BZ_LINK_CAUGHT_UP, 0, 60000, &error), 0);

    /* What came from there is there: nobody will acknowledge it. */
    node_insert(&b, "{\"b\":1}");
    WAIT_UNTIL(node_records(&a) == 52);
    assert_int_equal(
        bz_link_wait_for(link, BZ_LINK_WRITTEN, bz_db_position(a.db), 60000, &error), 0);
    node_close(&a);
    node_close(&b);
}

struct waiting {
    struct bz_link *link;
    bool begun;
    int rc;
};

static void *wait_long(void *context)
{
    struct waiting *waiting = context;
    NOTE(waiting->begun = true);
    waiting->rc = bz_link_wait_for(waiting->link, BZ_LINK_CAUGHT_UP, 0, HOUR_MS, NULL);
    return NULL;
}

static void in_a_mesh_a_wait_for_a_write_is_over_when_that_peer_has_it(void **state)
{
    (void)state;
    enum { NODES = 4 };
    struct node nodes[NODES];
    struct bz_link *links[NODES][NODES] = {{NULL}};
    char url[NODES][32];
    blaze_error error;
    for (unsigned i = 0; i < NODES; i++) {
        node_open(&nodes[i], i == 0 ? NULL : &nodes[0]);
        snprintf(url[i], sizeof url[i], "mem:mesh-%u", i);
        node_listen(&nodes[i], url[i]);
    }
    for (unsigned i = 0; i < NODES; i++)
        for (unsigned j = 0; j < NODES; j++)
            if (i != j)
                links[i][j] = node_connect(&nodes[i], url[j], 0);
    for (uint64_t n = 0; n < 24; n++) {
        unsigned i = (unsigned)(n % NODES);
        node_insert(&nodes[i], "{\"a\":1}");
        for (unsigned j = 0; j < NODES; j++) {
            if (i == j)
                continue;
            if (bz_link_wait_for(
                    links[i][j], BZ_LINK_WRITTEN, bz_db_position(nodes[i].db), 60000, &error) != 0)
                fail_msg("%s", error.text);
            assert_int_equal(node_records(&nodes[j]), n + 1);
        }
    }
    for (unsigned i = 0; i < NODES; i++)
        node_close(&nodes[i]);
}

static void closing_a_link_ends_the_waits_for_it(void **state)
{
    (void)state;
    struct node a;
    node_open(&a, NULL);
    for (unsigned turn = 0; turn < 50; turn++) {
        struct waiting waiting = {.link = node_connect(&a, "mem:nobody", 1)};
        pthread_t thread;
        /* Whoever waits must have begun: a wait for a closed link would be a mistake. */
        assert_int_equal(pthread_create(&thread, NULL, wait_long, &waiting), 0);
        WAIT_UNTIL(waiting.begun);
        WAIT_UNTIL(bz_link_waiters(waiting.link) == 1);
        bz_link_close(waiting.link);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(waiting.rc, BLAZE_ECANCELED);
    }
    node_close(&a);
}

/* ---- Trying again. The pauses are up to an hour: whoever is there within a minute was told. ----
 */

static void one_that_waits_tries_at_once_when_told_to(void **state)
{
    (void)state;
    struct node a;
    struct node b;
    node_open(&a, NULL);
    node_open(&b, &a);
    struct bz_link *link = node_connect(&a, "mem:told", HOUR_MS);
    WAIT_UNTIL(is_waiting(link));
    node_listen(&b, "mem:told");
    bz_link_retry(link);
    WAIT_UNTIL(is_live(link));
    bz_link_retry(link); /* means nothing now */
    blaze_error error;
    assert_int_equal(bz_link_wait_for(link, BZ_LINK_CAUGHT_UP, 0, 60000, &error), 0);
    node_close(&a);
    node_close(&b);
}

static void a_unix_socket_that_comes_is_noticed_at_once(void **state)
{
    (void)state;
    char dir[] = "/tmp/bz-node-XXXXXX";
    char url[64];
    struct node a;
    struct node b;
    assert_non_null(mkdtemp(dir));
    snprintf(url, sizeof url, "unix:%s/socket", dir);
    node_open(&a, NULL);
    node_open(&b, &a);
    struct bz_link *link = node_connect(&a, url, HOUR_MS);
    for (unsigned turn = 0; turn < 3; turn++) {
        WAIT_UNTIL(is_waiting(link));
        node_listen(&b, url);
        WAIT_UNTIL(is_live(link));
        bz_peer_unlisten(b.peer);
    }
    node_close(&a);
    node_close(&b);
    assert_int_equal(rmdir(dir), 0);
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void waiting_costs_no_time_of_the_processor(void **state)
{
    (void)state;
    struct node a;
    blaze_error error;
    node_open(&a, NULL);
    struct bz_link *link = node_connect(&a, "mem:nobody", HOUR_MS);
    WAIT_UNTIL(is_waiting(link));
    double before = cpu_seconds();
    /* Something that spins takes a good part of this half second. */
    assert_int_equal(bz_link_wait_for(link, BZ_LINK_CAUGHT_UP, 0, 500, &error), BLAZE_ETIMEOUT);
    assert_true(cpu_seconds() - before < 0.05);
    assert_int_equal(error.code, BLAZE_ETIMEOUT);
    assert_non_null(strstr(error.text, "waiting"));
    node_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_that_connect_to_each_other_keep_one_connection),
        cmocka_unit_test(a_peer_has_one_database_and_takes_in_no_other),
        cmocka_unit_test(an_address_that_fails_too_often_is_shut_out_for_a_while),
        cmocka_unit_test(who_has_proven_himself_is_no_stranger_whatever_comes_next),
        cmocka_unit_test(what_one_learns_it_hands_on_along_a_chain),
        cmocka_unit_test(a_wait_for_a_write_is_over_when_the_peer_has_it),
        cmocka_unit_test(in_a_mesh_a_wait_for_a_write_is_over_when_that_peer_has_it),
        cmocka_unit_test(closing_a_link_ends_the_waits_for_it),
        cmocka_unit_test(one_that_waits_tries_at_once_when_told_to),
        cmocka_unit_test(a_unix_socket_that_comes_is_noticed_at_once),
        cmocka_unit_test(waiting_costs_no_time_of_the_processor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

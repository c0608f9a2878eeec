/* SPDX-License-Identifier: Apache-2.0 */
/* Two databases and a hub, each in a process of its own. */
#include "world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ID_1 "0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a01"
#define ID_2 "0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a02"
#define ID_3 "0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a03"

/* Creates a.blz with two records, shares it at a hub, and joins as b.blz. */
static struct hub two_and_a_hub(struct world *w, const char *url)
{
    struct hub hub = start_hub(w, "hub", url);
    must(w, "create", "a.blz", NULL);
    must(w, "insert", "a.blz", "c", "{\"name\":\"one\",\"n\":1}", "--id", ID_1, NULL);
    must(w, "insert", "a.blz", "c", "{\"name\":\"two\",\"n\":2}", "--id", ID_2, NULL);
    const char *code = json_at(w, must(w, "share", "a.blz", hub.url, NULL), "code");
    const char *joined = must(w, "join", "b.blz", code, NULL);
    assert_int_equal(json_number(w, joined, "records"), 2);
    assert_same(w, "a.blz", "b.blz");
    return hub;
}

static void sync_all(struct world *w)
{
    must(w, "sync", "a.blz", NULL);
    must(w, "sync", "b.blz", NULL);
    must(w, "sync", "a.blz", NULL);
    assert_same(w, "a.blz", "b.blz");
}

static const char *field(struct world *w, const char *db, const char *id, const char *name)
{
    return json_at(w, must(w, "get", db, "c", id, NULL), name);
}

static void write_lines(const char *name, unsigned from, unsigned to)
{
    FILE *file = fopen(name, "wb");
    assert_non_null(file);
    for (unsigned i = from; i < to; i++)
        fprintf(file, "{\"n\":%u,\"name\":\"number %u\",\"even\":%s}\n", i, i,
            i % 2 == 0 ? "true" : "false");
    assert_int_equal(fclose(file), 0);
}

static void changes_travel(struct world *w, const char *url)
{
    struct hub hub = two_and_a_hub(w, url);

    /* Insert, bulk insert, update, delete and field removal, from A to B... */
    must(w, "insert", "a.blz", "c", "{\"name\":\"three\"}", "--id", ID_3, NULL);
    write_lines("in.jsonl", 0, 3000);
    must(w, "import", "a.blz", "bulk", "in.jsonl", NULL);
    must(w, "update", "a.blz", "c", ID_1, "{\"n\":11,\"name\":{\"$unset\":true}}", NULL);
    must(w, "delete", "a.blz", "c", ID_2, NULL);
    const char *sent = must(w, "sync", "a.blz", NULL);
    assert_int_equal(json_number(w, sent, "sent"), 3003);
    const char *received = must(w, "sync", "b.blz", NULL);
    assert_int_equal(json_number(w, received, "received"), 3003);
    assert_int_equal(json_number(w, received, "sent"), 0);
    assert_same(w, "a.blz", "b.blz");
    assert_string_equal(field(w, "b.blz", ID_3, "name"), "three");
    assert_null(strstr(must(w, "get", "b.blz", "c", ID_1, NULL), "name"));
    assert_string_equal(field(w, "b.blz", ID_1, "n"), "11");
    refuse(w, 1, "no record", "get", "b.blz", "c", ID_2, NULL);

    /* ... and from B to A. */
    must(w, "insert", "b.blz", "c", "{\"name\":\"two again\"}", "--id", ID_2, NULL);
    write_lines("in.jsonl", 3000, 6000);
    must(w, "import", "b.blz", "bulk", "in.jsonl", NULL);
    must(w, "update", "b.blz", "c", ID_3, "{\"name\":{\"$unset\":true},\"n\":33}", NULL);
    must(w, "delete", "b.blz", "c", ID_1, NULL);
    must(w, "sync", "b.blz", NULL);
    must(w, "sync", "a.blz", NULL);
    assert_same(w, "a.blz", "b.blz");
    assert_string_equal(field(w, "a.blz", ID_2, "name"), "two again");
    assert_string_equal(field(w, "a.blz", ID_3, "n"), "33");
    refuse(w, 1, "no record", "get", "a.blz", "c", ID_1, NULL);
    assert_int_equal(
        json_number(w, must(w, "find", "a.blz", "bulk", "even = true", "--count", NULL), "count"),
        3000);
    must(w, "check", "a.blz", NULL);
    must(w, "check", "b.blz", NULL);
    stop_hub(&hub);
}

static void changes_travel_both_ways_over_tcp(void **state)
{
    changes_travel(*state, "tcp://127.0.0.1:0");
}

static void changes_travel_both_ways_over_a_unix_socket(void **state)
{
    struct world *w = *state;
    changes_travel(w, text(w, "unix:%s/hub.sock", w->dir));
}

static void what_was_written_apart_is_merged_and_nothing_is_lost(void **state)
{
    struct world *w = *state;
    struct hub hub = two_and_a_hub(w, "tcp://127.0.0.1:0");
    const char *url = hub.url;
    stop_hub(&hub);
    refuse(w, 8, "connect", "sync", "a.blz", "--timeout", "1", NULL);

    must(w, "update", "a.blz", "c", ID_1, "{\"a\":1}", NULL);
    must(w, "update", "b.blz", "c", ID_1, "{\"b\":1}", NULL);
    must(w, "update", "a.blz", "c", ID_1, "{\"name\":\"by A\"}", NULL);
    must(w, "update", "b.blz", "c", ID_1, "{\"name\":\"by B\"}", NULL);
    must(w, "delete", "a.blz", "c", ID_2, NULL);
    must(w, "update", "b.blz", "c", ID_2, "{\"n\":22}", NULL);

    hub = start_hub(w, "hub", url);
    sync_all(w);
    const char *record = must(w, "get", "a.blz", "c", ID_1, NULL);
    assert_string_equal(json_at(w, record, "a"), "1");
    assert_string_equal(json_at(w, record, "b"), "1");
    assert_string_equal(json_at(w, record, "name"), "by B");
    assert_string_equal(json_at(w, record, "n"), "1");
    const char *conflicts = must(w, "conflicts", "a.blz", "c", ID_1, NULL);
    assert_string_equal(conflicts, must(w, "conflicts", "b.blz", "c", ID_1, NULL));
    assert_string_equal(json_at(w, conflicts, "field"), "name");
    assert_string_equal(json_at(w, conflicts, "winner.value"), "by B");
    assert_non_null(strstr(conflicts, "\"losers\":[{\"value\":\"by A\""));
    assert_int_equal(json_number(w, must(w, "status", "a.blz", NULL), "conflicts"), 2);

    /* The later update brought the deleted record back, whole; its life is in conflict. */
    record = must(w, "get", "a.blz", "c", ID_2, NULL);
    assert_string_equal(json_at(w, record, "name"), "two");
    assert_string_equal(json_at(w, record, "n"), "22");
    conflicts = must(w, "conflicts", "a.blz", "c", ID_2, NULL);
    assert_non_null(strstr(conflicts, "\"life\":true,\"winner\":{\"value\":{"));
    assert_non_null(strstr(conflicts, "\"losers\":[{\"present\":false,"));
    refuse(w, 2, "--keep", "resolve", "a.blz", "c", "--keep", NULL);
    refuse(w, 2, "--keep", "resolve", "a.blz", "c", ID_2, "--keep", "--delete", NULL);
    refuse(w, 1, "deleted", "resolve", "a.blz", "c", ID_1, "--delete", NULL);
    must(w, "resolve", "a.blz", "c", ID_2, "--delete", NULL);
    refuse(w, 1, ID_2, "get", "a.blz", "c", ID_2, NULL);

    must(w, "update", "b.blz", "c", ID_1, "{\"name\":\"settled\"}", NULL);
    sync_all(w);
    assert_string_equal(must(w, "conflicts", "a.blz", NULL), "");
    assert_string_equal(field(w, "a.blz", ID_1, "name"), "settled");
    stop_hub(&hub);
}

/* Writes the field on both copies, and brings them together. */
static void write_apart(struct world *w, const char *json_a, const char *json_b)
{
    must(w, "update", "a.blz", "c", ID_1, json_a, NULL);
    must(w, "update", "b.blz", "c", ID_1, json_b, NULL);
    sync_all(w);
}

static void conflicts_are_resolved_by_choice_by_value_and_by_policy(void **state)
{
    struct world *w = *state;
    struct hub hub = two_and_a_hub(w, "tcp://127.0.0.1:0");
    write_apart(w, "{\"name\":\"by A\"}", "{\"name\":\"by B\"}");
    assert_int_equal(json_number(w, must(w, "conflicts", "a.blz", "--count", NULL), "count"), 1);
    refuse(w, 2, "--take", "resolve", "a.blz", "c", ID_1, "name", "--take", "2", NULL);
    refuse(w, 1, "not in conflict", "resolve", "a.blz", "c", ID_1, "n", "--take", "0", NULL);
    refuse(w, 2, "resolve", "resolve", "a.blz", "c", "--take", "0", NULL);
    must(w, "resolve", "a.blz", "c", ID_1, "name", "--take", "1", NULL);
    sync_all(w);
    assert_string_equal(field(w, "b.blz", ID_1, "name"), "by A");
    assert_int_equal(json_number(w, must(w, "conflicts", "b.blz", "--count", NULL), "count"), 0);

    write_apart(w, "{\"name\":\"a\"}", "{\"name\":\"b\"}");
    refuse(w, 3, "--value", "resolve", "a.blz", "c", ID_1, "name", "--value", "1,\"x\":2", NULL);
    must(w, "resolve", "b.blz", "c", ID_1, "name", "--value", "\"neither\"", NULL);
    sync_all(w);
    assert_string_equal(field(w, "a.blz", ID_1, "name"), "neither");

    write_apart(w, "{\"name\":\"a\",\"n\":5}", "{\"name\":\"b\",\"n\":4}");
    refuse(w, 2, "--policy", "resolve", "a.blz", "--policy", "newest", NULL);
    must(w, "resolve", "a.blz", "c", ID_1, "n", "--policy", "least", NULL);
    assert_string_equal(field(w, "a.blz", ID_1, "n"), "4");
    refuse(w, 2, "a policy is", "policy", "a.blz", "c", "newest", NULL);
    const char *set = must(w, "policy", "a.blz", "c", "greatest", "--field", "n", NULL);
    assert_int_equal(json_number(w, set, "resolved"), 0);
    assert_int_equal(json_number(w, must(w, "policy", "a.blz", "c", "least", NULL), "resolved"), 1);
    assert_string_equal(must(w, "policy", "a.blz", NULL),
        "{\"collection\":\"c\",\"policy\":\"least\"}\n"
        "{\"collection\":\"c\",\"field\":\"n\",\"policy\":\"greatest\"}\n");
    sync_all(w);
    assert_string_equal(field(w, "b.blz", ID_1, "name"), "a");
    assert_string_equal(must(w, "policy", "b.blz", NULL), ""); /* it is a's own */

    must(w, "update", "a.blz", "c", ID_1, "{\"n\":8}", NULL);
    must(w, "update", "b.blz", "c", ID_1, "{\"n\":9}", NULL);
    must(w, "sync", "b.blz", NULL);
    must(w, "sync", "a.blz", NULL); /* settles what comes, and sends that too */
    must(w, "sync", "b.blz", NULL);
    assert_int_equal(json_number(w, must(w, "resolve", "b.blz", NULL), "resolved"), 0);
    assert_string_equal(field(w, "b.blz", ID_1, "n"), "9");
    assert_string_equal(must(w, "conflicts", "b.blz", NULL), "");
    stop_hub(&hub);
}

/* What the log of a copy has grown to, and what links have carried: still when all is quiet. */
static void a_remote_change_does_not_echo(void **state)
{
    struct world *w = *state;
    struct hub hub = two_and_a_hub(w, "tcp://127.0.0.1:0");
    write_lines("in.jsonl", 0, 500);
    must(w, "import", "a.blz", "bulk", "in.jsonl", NULL);
    sync_all(w);
    const char *position_a = json_at(w, must(w, "status", "a.blz", NULL), "position");
    const char *position_b = json_at(w, must(w, "status", "b.blz", NULL), "position");
    uint64_t quiet = 0;
    for (int i = 0; i < 3; i++) {
        const char *a = must(w, "sync", "a.blz", NULL), *b = must(w, "sync", "b.blz", NULL);
        assert_int_equal(json_number(w, a, "sent") + json_number(w, a, "received"), 0);
        assert_int_equal(json_number(w, b, "sent") + json_number(w, b, "received"), 0);
        uint64_t bytes = json_number(w, a, "sent_bytes") + json_number(w, a, "received_bytes");
        if (i > 0)
            assert_in_range(bytes, 1, quiet + 64); /* greetings only, and never more of them */
        quiet = bytes;
    }
    assert_in_range(quiet, 1, 4096);
    assert_string_equal(json_at(w, must(w, "status", "a.blz", NULL), "position"), position_a);
    assert_string_equal(json_at(w, must(w, "status", "b.blz", NULL), "position"), position_b);
    stop_hub(&hub);
}

/* Waits until a line of a live sync says that it has sent, or received, `n` records in all. */
static void await_count(struct world *w, struct process *live, const char *what, uint64_t n)
{
    while (json_number(w, next_line(live), what) < n)
        ;
}

static void a_live_sync_carries_writes_of_other_processes_without_a_restart(void **state)
{
    struct world *w = *state;
    struct hub hub = two_and_a_hub(w, "tcp://127.0.0.1:0");
    struct process *a = start(w, "sync", "a.blz", "--live", NULL);
    struct process *b = start(w, "sync", "b.blz", "--live", NULL);
    await_line(a, "\"state\":\"live\"");
    await_line(b, "\"state\":\"live\"");

    must(w, "insert", "a.blz", "c", "{\"n\":3}", "--id", ID_3, NULL);
    await_count(w, b, "received", 1);
    assert_string_equal(field(w, "b.blz", ID_3, "n"), "3");
    must(w, "update", "b.blz", "c", ID_3, "{\"n\":4}", NULL);
    await_count(w, a, "received", 1);
    assert_string_equal(field(w, "a.blz", ID_3, "n"), "4");

    /* A hub that goes and comes back is found again. */
    const char *url = hub.url;
    stop_hub(&hub);
    await_line(a, "\"state\":\"waiting\"");
    await_line(b, "\"state\":\"waiting\"");
    must(w, "update", "a.blz", "c", ID_3, "{\"n\":5}", NULL);
    hub = start_hub(w, "hub", url);
    await_line(a, "\"state\":\"live\"");
    await_line(b, "\"state\":\"live\"");
    while (strcmp(field(w, "b.blz", ID_3, "n"), "5") != 0)
        next_line(b);
    assert_same(w, "a.blz", "b.blz");

    send_signal(a, SIGINT);
    send_signal(b, SIGTERM);
    assert_int_equal(await_end(a), 0);
    assert_int_equal(await_end(b), 0);
    stop_hub(&hub);
}

static void one_hub_carries_many_databases(void **state)
{
    struct world *w = *state;
    struct hub hub = two_and_a_hub(w, "tcp://127.0.0.1:0");
    must(w, "create", "c.blz", NULL);
    must(w, "insert", "c.blz", "other", "{\"n\":9}", NULL);
    const char *code = json_at(w, must(w, "share", "c.blz", hub.url, NULL), "code");
    must(w, "join", "d.blz", code, NULL);
    assert_same(w, "c.blz", "d.blz");
    sync_all(w);
    assert_string_equal(json_at(w, must(w, "share", "c.blz", hub.url, NULL), "code"), code);
    stop_hub(&hub);
}

/* The code with one character of its secret changed. */
static const char *damaged(struct world *w, const char *code)
{
    char *copy = text(w, "%s", code);
    char *secret = strchr(copy, '#') + 10;
    *secret = *secret == 'A' ? 'B' : 'A';
    return copy;
}

static void a_code_that_does_not_fit_is_refused(void **state)
{
    struct world *w = *state;
    struct hub hub = two_and_a_hub(w, "tcp://127.0.0.1:0");
    const char *code_a = json_at(w, must(w, "share", "a.blz", hub.url, NULL), "code");
    must(w, "create", "c.blz", NULL);
    must(w, "insert", "c.blz", "other", "{\"n\":9}", NULL);
    const char *code_c = json_at(w, must(w, "share", "c.blz", hub.url, NULL), "code");

    refuse(w, 3, "", "join", "e.blz", "blaze://nonsense", NULL);
    refuse(w, 3, "", "join", "e.blz", damaged(w, code_a), NULL);
    refuse(w, 9, "", "join", "b.blz", code_c, NULL);
    refuse(w, 4, "", "sync", "none.blz", NULL);
    must(w, "create", "alone.blz", NULL);
    refuse(w, 4, "share", "sync", "alone.blz", NULL);
    assert_same(w, "a.blz", "b.blz");

    /* A hub that has never heard of the database, behind the same kind of URL. */
    stop_hub(&hub);
    struct hub empty = start_hub(w, "empty", hub.url);
    refuse(w, 4, "", "join", "e.blz", code_a, NULL);
    stop_hub(&empty);
    refuse(w, 8, "", "join", "e.blz", code_a, "--timeout", "1", NULL);
    refuse(w, 8, "", "share", "alone.blz", hub.url, "--timeout", "1", NULL);
    must(w, "insert", "alone.blz", "c", "{}", NULL);
}

/* A socket at which nobody ever answers. */
static int open_silence(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static void a_stopped_sync_ends_in_good_order(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);
    int silence = open_silence("silence");
    refuse(w, 8, "nothing moved", "share", "a.blz", "unix:silence", "--timeout", "1", NULL);

    /* Whoever has connected waits for an answer: then it is told to stop. */
    struct process *share = start(w, "share", "a.blz", "unix:silence", "--timeout", "1000", NULL);
    int stream = accept(silence, NULL, NULL); /* the first, which has given up */
    close(stream);
    stream = accept(silence, NULL, NULL);
    assert_true(stream >= 0);
    send_signal(share, SIGINT);
    assert_int_equal(await_end(share), 130);
    close(stream);
    close(silence);
    must(w, "check", "a.blz", NULL);
}

static void a_port_in_use_is_named(void **state)
{
    struct world *w = *state;
    struct hub hub = start_hub(w, "hub", "tcp://127.0.0.1:0");
    refuse(w, 6, "in use", "serve", "other", "--listen", hub.url, "--trusted", NULL);
    refuse(w, 6, "", "serve", "hub", "--listen", "tcp://127.0.0.1:0", "--trusted", NULL);
    refuse(w, 3, "", "serve", "other", "--listen", "carrier-pigeon:7", "--trusted", NULL);
    stop_hub(&hub);
}

static void a_hub_listens_in_several_places_and_says_what_it_can_read(void **state)
{
    struct world *w = *state;
    const char *socket = text(w, "unix:%s/hub.sock", w->dir);
    struct process *hub =
        start(w, "serve", "hub", "--listen", "tcp://127.0.0.1:0", "--listen", socket, NULL);
    const char *tcp = json_at(w, next_line(hub), "listening");
    assert_string_equal(json_at(w, next_line(hub), "listening"), socket);
    must(w, "create", "a.blz", NULL);
    must(w, "insert", "a.blz", "c", "{}", NULL);
    const char *code = json_at(w, must(w, "share", "a.blz", socket, NULL), "code");
    must(w, "join", "b.blz", code, NULL);
    assert_non_null(strstr(must(w, "share", "a.blz", tcp, NULL), "blaze://127.0.0.1"));
    assert_same(w, "a.blz", "b.blz");
    send_signal(hub, SIGTERM);
    assert_int_equal(await_end(hub), 0);
}

/* How many records wait for others to hear that they are deleted; those that nobody waits for any
 * more go. */
static uint64_t waiting(struct world *w, const char *db)
{
    must(w, "collect", db, NULL);
    return json_number(w, must(w, "status", db, NULL), "deleted.waiting");
}

static void a_hub_that_has_as_many_databases_as_it_may_says_so(void **state)
{
    struct world *w = *state;
    struct process *hub = start(
        w, "serve", "hub", "--listen", "unix:hub.sock", "--max-databases", "1", "--log", NULL);
    await_line(hub, "listening");
    must(w, "create", "a.blz", NULL);
    must(w, "create", "b.blz", NULL);
    must(w, "share", "a.blz", "unix:hub.sock", NULL);
    refuse(w, 3, "takes in no more", "share", "b.blz", "unix:hub.sock", NULL);
    must(w, "sync", "a.blz", NULL);
    send_signal(hub, SIGTERM);
    struct outcome end = finish(w, hub);
    assert_int_equal(end.code, 0);
    assert_non_null(strstr(end.err, "keeps 1 already"));
}

static void what_is_left_of_deleted_records_waits_for_all_copies(void **state)
{
    struct world *w = *state;
    struct hub hub = two_and_a_hub(w, "tcp://127.0.0.1:0");
    must(w, "delete", "a.blz", "c", ID_1, NULL);
    must(w, "sync", "a.blz", NULL);
    assert_int_equal(waiting(w, "a.blz"), 1); /* b does not know */
    for (int i = 0; i < 2; i++)
        sync_all(w);
    assert_int_equal(waiting(w, "a.blz"), 0);
    assert_int_equal(waiting(w, "b.blz"), 0);

    /* One that will not come back is not waited for once it is named. */
    must(w, "delete", "a.blz", "c", ID_2, NULL);
    must(w, "sync", "a.blz", NULL);
    must(w, "retention", "a.blz", "0", NULL);
    assert_int_equal(waiting(w, "a.blz"), 1); /* with a blind hub, for ever */
    const char *b = json_at(w, must(w, "status", "b.blz", NULL), "node");
    const char *forgotten = must(w, "forget", "a.blz", b, NULL);
    assert_string_equal(json_at(w, forgotten, "forgotten"), b);
    must(w, "sync", "a.blz", NULL);
    assert_int_equal(waiting(w, "a.blz"), 0);
    const char *status = must(w, "status", "a.blz", NULL);
    assert_int_equal(json_number(w, status, "deleted.collected"), 2);
    assert_null(strstr(json_at(w, status, "replicas"), b));
    must(w, "check", "a.blz", NULL);
    stop_hub(&hub);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(changes_travel_both_ways_over_tcp),
        TEST(changes_travel_both_ways_over_a_unix_socket),
        TEST(what_was_written_apart_is_merged_and_nothing_is_lost),
        TEST(conflicts_are_resolved_by_choice_by_value_and_by_policy),
        TEST(what_is_left_of_deleted_records_waits_for_all_copies),
        TEST(a_remote_change_does_not_echo),
        TEST(a_live_sync_carries_writes_of_other_processes_without_a_restart),
        TEST(one_hub_carries_many_databases),
        TEST(a_code_that_does_not_fit_is_refused),
        TEST(a_stopped_sync_ends_in_good_order),
        TEST(a_port_in_use_is_named),
        TEST(a_hub_listens_in_several_places_and_says_what_it_can_read),
        TEST(a_hub_that_has_as_many_databases_as_it_may_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

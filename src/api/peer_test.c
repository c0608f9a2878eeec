/* SPDX-License-Identifier: Apache-2.0 */
/* Peers, waiting for links, and what status tells of catching up, through the public functions. */
#include "api/api_test_util.h"
#include "api_priv.h"

#include "wait.h"

#include <blazedb.h>
#include <stdio.h>
#include <string.h>

static void insert(blaze_db *db, int n)
{
    blaze_doc *doc;
    blaze_id id;
    OK(blaze_doc_new(&doc));
    OK(blaze_doc_add_int(doc, "n", n));
    OK(blaze_id_new(&id));
    OK(blaze_insert(db, "c", &id, doc, &error));
    blaze_doc_free(doc);
}

static uint64_t count(blaze_db *db)
{
    uint64_t records;
    OK(blaze_count(db, "c", &records, &error));
    return records;
}

/* What callbacks have told, counted. */
struct told {
    unsigned calls;
    unsigned inside;
    unsigned overlaps;
    unsigned incoming_live;
    unsigned incoming_gone;
    unsigned lines;
    pthread_t writer;
    unsigned by_writer; /* calls on its thread, which may hold locks while it commits */
};

static void on_status(void *context, const blaze_peer_link *link)
{
    struct told *told = context;
    NOTE(told->overlaps += told->inside++ > 0);
    NOTE(told->by_writer += pthread_equal(pthread_self(), told->writer) != 0);
    NOTE(told->calls++; told->inside--;
         told->incoming_live += link->incoming && link->status.state == BLAZE_LINK_LIVE;
         told->incoming_gone += link->incoming && link->status.state == BLAZE_LINK_STOPPED);
}

static void on_log(void *context, const char *line)
{
    struct told *told = context;
    (void)line;
    NOTE(told->lines++);
}

static blaze_peer *open_peer(
    blaze_db *db, const char *listen, const char *connect, struct told *told)
{
    blaze_peer *peer;
    blaze_peer_options options;
    blaze_peer_options_init(&options);
    options.listen = &listen;
    options.listen_count = listen != NULL;
    options.connect = &connect;
    options.connect_count = connect != NULL;
    options.on_status = told != NULL ? on_status : NULL;
    options.on_log = told != NULL ? on_log : NULL;
    options.context = told;
    OK(blaze_peer_open(&peer, db, &options, &error));
    return peer;
}

static int count_link(void *context, const blaze_peer_link *link)
{
    unsigned *counts = context;
    assert_int_equal(link->size, sizeof *link);
    assert_true(link->known);
    counts[link->incoming ? 1 : 0]++;
    return 0;
}

static void peers_keep_each_other_in_step(void **state)
{
    (void)state;
    struct told told = {.writer = pthread_self()};
    blaze_db *a = memory_db("a");
    insert(a, 1);
    blaze_peer *listening = open_peer(a, "mem:peer-a", NULL, &told);
    assert_string_equal(blaze_peer_url(listening, 0), "mem:peer-a");
    assert_null(blaze_peer_url(listening, 1));
    assert_null(blaze_peer_connection(listening, 0));

    char *code;
    char *again;
    blaze_db *b;
    blaze_open_options options;
    blaze_open_options_init(&options);
    options.memory = 1;
    OK(blaze_peer_code(listening, "mem:peer-a", &code, &error));
    OK(blaze_share(a, "mem:peer-a", NULL, &again, &error)); /* the peer is this very database */
    assert_string_equal(code, again);
    OK(blaze_join(&b, "b", code, &options, NULL, &error));
    assert_int_equal(count(b), 1);

    blaze_peer *connecting = open_peer(b, NULL, "mem:peer-a", NULL);
    blaze_link *link = blaze_peer_connection(connecting, 0);
    for (int i = 0; i < 10; i++) {
        insert(b, i);
        OK(blaze_link_wait_write(link, blaze_position(b), 60000, &error));
        assert_int_equal(count(a), 2 + (uint64_t)i);
    }
    for (int i = 0; i < 10; i++) {
        OK(blaze_link_wait(link, 60000, &error));
        insert(a, i);
        WAIT_UNTIL(count(b) == count(a));
    }
    OK(blaze_link_wait(link, 60000, &error));
    unsigned counts[2] = {0};
    OK(blaze_peer_links(connecting, count_link, counts, &error));
    assert_true(counts[0] == 1 && counts[1] == 0);
    OK(blaze_peer_links(listening, count_link, counts, &error));
    assert_true(counts[0] == 1 && counts[1] == 1);
    blaze_peer_close(connecting);
    WAIT_UNTIL(told.incoming_gone == 2); /* the join, and the peer */
    blaze_peer_close(listening);
    assert_true(told.incoming_live >= 1);
    assert_true(told.lines >= 4);
    assert_int_equal(told.overlaps, 0);
    assert_int_equal(told.by_writer, 0);
    blaze_free(code);
    blaze_free(again);
    OK(blaze_close(a, &error));
    OK(blaze_close(b, &error));
}

static void what_a_peer_cannot_be_is_told(void **state)
{
    (void)state;
    blaze_db *db = memory_db("a");
    blaze_peer *peer;
    blaze_peer_options options;
    const char *urls[] = {"mem:somewhere", "pigeon:7"};
    blaze_peer_options_init(&options);
    assert_int_equal(blaze_peer_open(&peer, db, &options, &error), BLAZE_EINVAL);
    assert_int_equal(blaze_peer_open(NULL, db, &options, &error), BLAZE_EINVAL);
    options.connect = urls;
    options.connect_count = 2;
    assert_int_equal(blaze_peer_open(&peer, db, &options, &error), BLAZE_EINVAL);
    options.connect_count = 0;
    options.listen = urls;
    options.listen_count = 2;
    assert_int_equal(blaze_peer_open(&peer, db, &options, &error), BLAZE_EINVAL);
    options.listen_count = 17;
    assert_int_equal(blaze_peer_open(&peer, db, &options, &error), BLAZE_EINVAL);

    /* After all that it can be one, but not two at a time. */
    options.listen_count = 1;
    blaze_peer *second;
    OK(blaze_peer_open(&peer, db, &options, &error));
    assert_int_equal(blaze_peer_open(&second, db, &options, &error), BLAZE_EBUSY);
    blaze_peer_close(peer);
    OK(blaze_peer_open(&peer, db, &options, &error));

    /* One that outlives its database is only there to be closed. */
    char *code;
    OK(blaze_close(db, &error));
    assert_null(blaze_peer_url(peer, 0));
    assert_int_equal(blaze_peer_code(peer, "mem:a", &code, &error), BLAZE_EFAILED);
    blaze_peer_close(peer);
    blaze_peer_close(NULL);
}

static void a_wait_ends_at_its_deadline_and_when_the_database_is_closed(void **state)
{
    (void)state;
    blaze_db *db = memory_db("a");
    blaze_peer *peer = open_peer(db, NULL, "mem:nobody-there", NULL);
    blaze_link *link = blaze_peer_connection(peer, 0);
    insert(db, 1);
    assert_int_equal(blaze_link_wait(link, 0, &error), BLAZE_ETIMEOUT);
    assert_int_equal(blaze_link_wait_write(link, blaze_position(db), 10, &error), BLAZE_ETIMEOUT);
    blaze_link_retry(link);
    assert_int_equal(blaze_link_wait(NULL, 0, &error), BLAZE_EINVAL);
    blaze_peer_close(peer);

    blaze_sync_options options;
    blaze_sync_options_init(&options);
    options.url = "mem:nobody-there";
    OK(blaze_link_open(db, &options, &link, &error));
    OK(blaze_close(db, &error));
    assert_int_equal(blaze_link_wait(link, 60000, &error), BLAZE_ECANCELED);
    blaze_link_retry(link);
    blaze_link_close(link);
}

static bool status_has(blaze_db *db, const char *words)
{
    char *status;
    OK(blaze_status(db, &status, &error));
    bool has = strstr(status, words) != NULL;
    blaze_free(status);
    return has;
}

/* As a session leaves it that was cut after `cursor`, with or without a head there. */
static void be_left_at(blaze_db *db, uint64_t cursor, bool head)
{
    struct bz_replica replica;
    struct bz_apply *apply;
    bool diverged;
    const blaze_id node = {{7}};
    struct bz_peer_state peer = {.epoch = {{1}},
        .cursor = cursor,
        .as_of = cursor,
        .reached = head ? cursor : 0,
        .seen_ms = 1};
    struct bz_head at = {.position = cursor, .partial = true};
    OK(bz_db_replica_open(db->db, &replica, &error));
    OK(replica.ops->apply_begin(replica.context, &node, &apply, &error));
    OK(replica.ops->apply_commit(apply, &peer, head ? &at : NULL, &diverged, &error));
    bz_db_replica_close(&replica);
}

static void status_tells_that_a_copy_is_still_catching_up(void **state)
{
    (void)state;
    blaze_db *db = memory_db("a");
    assert_true(status_has(db, "\"caught_up\":true"));
    be_left_at(db, 5, false);
    assert_true(status_has(db, "\"cursor\":5,\"reached\":0,\"state\":\"catching up\""));
    assert_true(status_has(db, "\"caught_up\":false"));
    be_left_at(db, 9, true);
    assert_true(status_has(db, "\"cursor\":9,\"reached\":9,\"state\":\"caught up\""));
    assert_true(status_has(db, "\"caught_up\":true"));
    OK(blaze_close(db, &error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(peers_keep_each_other_in_step),
        cmocka_unit_test(what_a_peer_cannot_be_is_told),
        cmocka_unit_test(a_wait_ends_at_its_deadline_and_when_the_database_is_closed),
        cmocka_unit_test(status_tells_that_a_copy_is_still_catching_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

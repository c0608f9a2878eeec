/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Conflicts and peers through the public functions, once for each allocation that fails: whoever
 * asked is told BLAZE_ENOMEM and nothing else, nothing is half, and asked again it is done.
 */
#include "alloc_plan.h"
#include "api/api_test_util.h"
#include "random.h"
#include "wait.h"

#include <blazedb.h>
#include <stdio.h>
#include <string.h>

#define FIELDS 20 /* in conflict: more than an event has room for without memory */

static struct alloc_plan plan;

/* Whether a call that may fail for want of memory has succeeded. */
static bool works(int rc)
{
    if (rc != BLAZE_OK && rc != BLAZE_ENOMEM)
        fail_msg("%s: %s", blaze_error_name(rc), error.text);
    return rc == BLAZE_OK;
}

#define MUST_AT_LAST(call)                                                                         \
    do {                                                                                           \
        if (!works(call))                                                                          \
            OK(call);                                                                              \
    } while (0)

static void on_hit(void)
{
    NOTE((void)0);
}

/* Until three runs in a row have made fewer allocations: how many there are varies with the
 * threads. */
static void each_may_fail(void (*scenario)(void), uint64_t least)
{
    uint64_t at = 1;
    for (unsigned missed = 0; missed < 3; at += test_step(1, 1)) {
        plan = (struct alloc_plan){.at = at, .on_hit = on_hit};
        scenario();
        missed = plan.hit ? 0 : missed + 1;
    }
    test_total(at, "allocations that failed");
    assert_true(at > least);
}

/* ---- two copies ---- */

static void put(blaze_db *db, const char *collection, const blaze_id *id, int value)
{
    blaze_doc *doc;
    char name[16];
    OK(blaze_doc_new(&doc));
    for (int i = 0; i < FIELDS; i++) {
        snprintf(name, sizeof name, "field_%d", i);
        OK(blaze_doc_add_int(doc, name, value));
    }
    OK(blaze_upsert(db, collection, id, doc, &error));
    blaze_doc_free(doc);
}

struct pair {
    blaze_db *a, *b;
    blaze_peer *listening; /* of a */
};

static void pair_open(struct pair *pair)
{
    const char *url = "mem:api-fault";
    blaze_peer_options options;
    blaze_open_options how;
    char *code;
    pair->a = memory_db("fault-a");
    blaze_peer_options_init(&options);
    options.listen = &url;
    options.listen_count = 1;
    OK(blaze_peer_open(&pair->listening, pair->a, &options, &error));
    OK(blaze_peer_code(pair->listening, url, &code, &error));
    blaze_open_options_init(&how);
    how.memory = 1;
    OK(blaze_join(&pair->b, "fault-b", code, &how, NULL, &error));
    blaze_free(code);
}

static void pair_close(struct pair *pair)
{
    blaze_peer_close(pair->listening);
    OK(blaze_close(pair->a, &error));
    OK(blaze_close(pair->b, &error));
}

static void sync_pair(struct pair *pair)
{
    OK(blaze_sync(pair->b, NULL, NULL, &error));
}

/* ---- conflicts ---- */

static const blaze_id many = {{1}}, life = {{2}}, other = {{3}};

/* All fields of `many` and of one in another collection, and the life of `life`. */
static void part(struct pair *pair)
{
    put(pair->a, "c", &life, 0);
    sync_pair(pair);
    OK(blaze_delete(pair->a, "c", &life, &error));
    put(pair->b, "c", &life, 1);
    put(pair->a, "c", &many, 1);
    put(pair->b, "c", &many, 2);
    put(pair->a, "d", &other, 1);
    put(pair->b, "d", &other, 2);
    sync_pair(pair);
}

struct heard {
    unsigned calls;
    size_t most; /* fields in one call */
};

static void on_conflict(void *context, const blaze_conflict_event *event)
{
    struct heard *heard = context;
    for (size_t i = 0; i < event->count; i++)
        assert_true(event->fields[i].size > 6 && memcmp(event->fields[i].data, "field_", 6) == 0);
    NOTE(heard->calls++; heard->most = event->count > heard->most ? event->count : heard->most);
}

static void on_change(void *context, const blaze_event *events, size_t count)
{
    (void)events;
    (void)count;
    NOTE(++*(unsigned *)context);
}

static uint64_t left_in(blaze_db *db, const char *collection)
{
    uint64_t left = 77;
    OK(blaze_conflict_count(db, collection, &left, &error));
    return left;
}

static int take_first(void *context, const blaze_conflict *fields, size_t count, blaze_doc *values)
{
    NOTE(++*(unsigned *)context);
    for (size_t i = 0; i < count; i++) {
        char name[16];
        snprintf(name, sizeof name, "%.*s", (int)fields[i].field.size, fields[i].field.data);
        blaze_doc_add_value(values, name, &fields[i].siblings[0].value);
    }
    return 0;
}

static int count_one(void *context, const blaze_conflict *conflict)
{
    assert_int_equal(conflict->count, 2);
    ++*(unsigned *)context;
    return 0;
}

static int count_policy(void *context, blaze_text collection, blaze_text field, blaze_policy policy)
{
    (void)field;
    assert_int_equal(collection.size, 1);
    assert_int_equal(policy, BLAZE_POLICY_NONE);
    ++*(unsigned *)context;
    return 0;
}

static void list_everything(blaze_db *db)
{
    unsigned listed = 0, policies = 0;
    uint64_t records = 77;
    blaze_policy policy = BLAZE_POLICY_LAST;
    if (works(blaze_conflicts(db, "c", NULL, count_one, &listed, &error)))
        assert_int_equal(listed, FIELDS + 1);
    if (works(blaze_conflict_count(db, "c", &records, &error)))
        assert_int_equal(records, 2);
    bool set = works(blaze_set_policy(db, "c", "field_1", BLAZE_POLICY_NONE, &error));
    if (works(blaze_get_policy(db, "c", "field_1", &policy, &error)))
        assert_int_equal(policy, set ? BLAZE_POLICY_NONE : BLAZE_POLICY_UNSET);
    if (works(blaze_policies(db, count_policy, &policies, &error)))
        assert_int_equal(policies, set ? 1 : 0);
}

static void settle_everything(blaze_db *db)
{
    uint64_t settled = 0, left = 77;
    if (!works(blaze_settle(db, "c", &many, NULL, BLAZE_POLICY_GREATEST, &settled, &error))) {
        assert_int_equal(settled, 0);
        OK(blaze_settle(db, "c", &many, NULL, BLAZE_POLICY_GREATEST, &settled, &error));
    }
    assert_int_equal(settled, 1);
    MUST_AT_LAST(blaze_settle_life(db, "c", &life, 0, &error));
    MUST_AT_LAST(blaze_conflict_count(db, "c", &left, &error));
    assert_int_equal(left, 0);
}

static void use_conflicts(void)
{
    struct pair pair;
    struct heard heard = {0};
    unsigned changes = 0, asked = 0;
    blaze_observer *changed;
    blaze_conflict_observer *observer = NULL;
    alloc_plan_begin(&plan);
    plan.armed = false;
    pair_open(&pair);
    part(&pair);
    OK(blaze_observe(pair.b, NULL, on_change, &changes, &changed, &error));
    plan.armed = true;
    MUST_AT_LAST(blaze_observe_conflicts(pair.b, NULL, on_conflict, &heard, &observer, &error));
    list_everything(pair.b); /* and sets a policy, after which everything is looked at again */
    MUST_AT_LAST(blaze_set_resolver(pair.b, "d", take_first, &asked, &error));
    WAIT_UNTIL(asked > 0 || plan.hit);
    settle_everything(pair.b);
    plan.armed = false;
    put(pair.b, "c", &many, 3); /* what has failed on a thread is done with the next commit */
    WAIT_UNTIL(left_in(pair.b, "d") == 0);
    assert_int_equal(left_in(pair.b, NULL), 0);
    sync_pair(&pair);
    assert_int_equal(left_in(pair.a, NULL), 0);
    put(pair.a, "c", &other, 4);
    put(pair.b, "c", &other, 5);
    sync_pair(&pair);
    WAIT_UNTIL(heard.most == FIELDS);
    blaze_unobserve(changed);
    blaze_unobserve_conflicts(observer);
    OK(blaze_set_resolver(pair.b, "d", NULL, NULL, &error));
    pair_close(&pair);
    alloc_plan_end();
}

static void each_allocation_may_fail_while_conflicts_are_listed_and_settled(void **state)
{
    (void)state;
    each_may_fail(use_conflicts, 60);
}

/* ---- peers ---- */

static int count_link(void *context, const blaze_peer_link *link)
{
    assert_int_equal(link->size, sizeof *link);
    ++*(unsigned *)context;
    return 0;
}

static blaze_peer *open_peer(blaze_db *db, const char *listen, const char *connect)
{
    blaze_peer *peer = NULL;
    blaze_peer_options options;
    blaze_peer_options_init(&options);
    options.listen = &listen;
    options.listen_count = 1;
    options.connect = &connect;
    options.connect_count = 1;
    if (!works(blaze_peer_open(&peer, db, &options, &error))) {
        assert_null(peer);
        OK(blaze_peer_open(&peer, db, &options, &error)); /* it is not taken for open */
    }
    return peer;
}

static void use_peers(void)
{
    struct pair pair;
    unsigned links = 0;
    char *code = NULL;
    uint64_t records = 0;
    alloc_plan_begin(&plan);
    plan.armed = false;
    pair_open(&pair);
    put(pair.a, "c", &many, 1);
    plan.armed = true;
    blaze_peer *peer = open_peer(pair.b, "mem:api-fault-b", "mem:api-fault");
    blaze_link *link = blaze_peer_connection(peer, 0);
    assert_non_null(link);
    assert_string_equal(blaze_peer_url(peer, 0), "mem:api-fault-b");
    MUST_AT_LAST(blaze_peer_code(peer, "mem:api-fault-b", &code, &error));
    OK(blaze_link_wait(link, 60000, &error));
    if (works(blaze_peer_links(peer, count_link, &links, &error)))
        assert_int_equal(links, 1);
    else
        assert_int_equal(links, 0);
    plan.armed = false;
    OK(blaze_count(pair.b, "c", &records, &error));
    assert_int_equal(records, 1);
    plan.armed = true;
    blaze_peer_close(peer);
    plan.armed = false;
    blaze_free(code);
    pair_close(&pair);
    alloc_plan_end();
}

static void each_allocation_of_a_peer_may_fail(void **state)
{
    (void)state;
    each_may_fail(use_peers, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_may_fail_while_conflicts_are_listed_and_settled),
        cmocka_unit_test(each_allocation_of_a_peer_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

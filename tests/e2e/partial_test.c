/* SPDX-License-Identifier: Apache-2.0 */
/* Copies that hold a part of a database, and a hub, each in a process of its own. */
#include "world.h"

#include <stdio.h>
#include <string.h>

#define BERLIN "0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a01"
#define LYON   "0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a02"
#define GRAZ   "0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a03"
#define ANNA   "0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a04"

static const char german[] = "cities: country = \"DE\"";

/* Shares a.blz at the hub: three cities and somebody. Gives the join code. */
static const char *share_cities(struct world *w, const struct hub *hub, bool trusted)
{
    must(w, "create", "a.blz", NULL);
    must(w, "insert", "a.blz", "cities", "{\"name\":\"Berlin\",\"country\":\"DE\"}", "--id", BERLIN,
        NULL);
    must(w, "insert", "a.blz", "cities", "{\"name\":\"Lyon\",\"country\":\"FR\"}", "--id", LYON,
        NULL);
    must(w, "insert", "a.blz", "cities", "{\"name\":\"Graz\",\"country\":\"AT\"}", "--id", GRAZ,
        NULL);
    must(w, "insert", "a.blz", "people", "{\"name\":\"Anna\"}", "--id", ANNA, NULL);
    const char *shared = trusted ? must(w, "share", "a.blz", hub->url, "--trusted", NULL)
                                 : must(w, "share", "a.blz", hub->url, NULL);
    return json_at(w, shared, "code");
}

static uint64_t records(struct world *w, const char *db)
{
    return json_number(w, must(w, "status", db, NULL), "records");
}

static void sync_both(struct world *w)
{
    must(w, "sync", "a.blz", NULL);
    must(w, "sync", "p.blz", NULL);
    must(w, "sync", "a.blz", NULL);
    must(w, "check", "a.blz", NULL);
    must(w, "check", "p.blz", NULL);
}

static void assert_has(struct world *w, const char *db, const char *id)
{
    must(w, "get", db, "cities", id, NULL);
}

static void assert_lacks(struct world *w, const char *db, const char *id)
{
    refuse(w, 1, "no record", "get", db, "cities", id, NULL);
}

static void a_part_is_kept_in_step(struct world *w, bool trusted)
{
    struct hub hub = trusted ? start_trusted_hub(w, "hub", "tcp://127.0.0.1:0")
                             : start_hub(w, "hub", "tcp://127.0.0.1:0");
    const char *code = share_cities(w, &hub, trusted);
    const char *joined = must(w, "join", "p.blz", code, "--where", german, NULL);
    assert_int_equal(json_number(w, joined, "records"), 1);
    const char *status = must(w, "status", "p.blz", NULL);
    assert_string_equal(json_at(w, status, "partial"), "true");
    assert_string_equal(json_at(w, status, "caught_up"), "true");
    assert_string_equal(json_at(w, status, "scope.cities"), "country = \"DE\"");
    assert_has(w, "p.blz", BERLIN);

    /* A record comes into the scope, another leaves it; both sides write, also one record. */
    must(w, "update", "a.blz", "cities", LYON, "{\"country\":\"DE\"}", NULL);
    must(w, "update", "a.blz", "cities", BERLIN, "{\"mayor\":\"A\"}", NULL);
    must(w, "update", "p.blz", "cities", BERLIN, "{\"river\":\"Spree\"}", NULL);
    sync_both(w);
    assert_has(w, "p.blz", LYON);
    for (int i = 0; i < 2; i++) {
        const char *berlin = must(w, "get", i == 0 ? "a.blz" : "p.blz", "cities", BERLIN, NULL);
        assert_string_equal(json_at(w, berlin, "mayor"), "A");
        assert_string_equal(json_at(w, berlin, "river"), "Spree");
    }
    must(w, "update", "a.blz", "cities", LYON, "{\"country\":\"FR\"}", NULL);
    sync_both(w);
    assert_lacks(w, "p.blz", LYON);
    assert_has(w, "a.blz", LYON);

    /* What is written here outside of the scope stays until the hub has it, and is nowhere lost. */
    must(w, "update", "p.blz", "cities", BERLIN, "{\"country\":\"East\"}", NULL);
    must(w, "insert", "p.blz", "people", "{\"name\":\"Ben\"}", NULL);
    assert_int_equal(records(w, "p.blz"), 2);
    sync_both(w);
    assert_int_equal(records(w, "p.blz"), 0);
    assert_int_equal(records(w, "a.blz"), 5);
    assert_string_equal(
        json_at(w, must(w, "get", "a.blz", "cities", BERLIN, NULL), "country"), "East");

    /* Wider, narrower, and the whole. */
    must(w, "scope", "p.blz", "--only", "people", "--where", "cities: name starts \"L\"", NULL);
    assert_string_equal(json_at(w, must(w, "status", "p.blz", NULL), "caught_up"), "false");
    sync_both(w);
    assert_int_equal(records(w, "p.blz"), 3);
    assert_has(w, "p.blz", LYON);
    must(w, "scope", "p.blz", "--only", "people", NULL);
    assert_int_equal(records(w, "p.blz"), 2); /* at once: it is elsewhere */
    must(w, "scope", "p.blz", "--all", NULL);
    sync_both(w);
    assert_string_equal(json_at(w, must(w, "status", "p.blz", NULL), "partial"), "false");
    assert_same(w, "a.blz", "p.blz");
    stop_hub(&hub);
}

static void a_part_of_a_blind_hubs_database_is_kept_in_step(void **state)
{
    a_part_is_kept_in_step(*state, false);
}

static void a_part_of_a_trusted_hubs_database_is_kept_in_step(void **state)
{
    a_part_is_kept_in_step(*state, true);
}

static void a_trusted_hub_sends_only_what_the_scope_takes(void **state)
{
    struct world *w = *state;
    struct hub hub = start_trusted_hub(w, "hub", "tcp://127.0.0.1:0");
    const char *code = share_cities(w, &hub, true);
    FILE *file = fopen("in.jsonl", "wb");
    assert_non_null(file);
    for (int i = 0; i < 5000; i++)
        fprintf(file, "{\"country\":\"%s\",\"n\":%d}\n", i % 1000 == 0 ? "DE" : "CH", i);
    assert_int_equal(fclose(file), 0);
    must(w, "import", "a.blz", "cities", "in.jsonl", NULL);
    must(w, "sync", "a.blz", NULL);
    must(w, "join", "p.blz", code, "--where", german, NULL);
    assert_int_equal(records(w, "p.blz"), 6);
    const char *sync = must(w, "sync", "p.blz", NULL);
    assert_int_equal(json_number(w, sync, "received"), 0);
    /* A write elsewhere that the scope does not take is no business of the copy's but a marker. */
    must(w, "update", "a.blz", "cities", LYON, "{\"n\":1}", NULL);
    must(w, "sync", "a.blz", NULL);
    assert_true(json_number(w, must(w, "sync", "p.blz", NULL), "received_bytes") < 2000);
    assert_int_equal(records(w, "p.blz"), 6);
    stop_hub(&hub);
}

static void evicting_makes_room_here_and_deletes_nothing(void **state)
{
    struct world *w = *state;
    struct hub hub = start_hub(w, "hub", "tcp://127.0.0.1:0");
    const char *code = share_cities(w, &hub, false);
    must(w, "join", "p.blz", code, "--only", "cities", NULL);
    assert_int_equal(records(w, "p.blz"), 3);
    refuse(w, 6, "scope", "evict", "a.blz", "cities", LYON, NULL);
    refuse(w, 1, "no record", "evict", "p.blz", "cities", ANNA, NULL);
    must(w, "update", "p.blz", "cities", LYON, "{\"n\":1}", NULL);
    refuse(w, 6, "sync first", "evict", "p.blz", "cities", LYON, NULL);
    must(w, "sync", "p.blz", NULL);
    must(w, "evict", "p.blz", "cities", LYON, NULL);
    must(w, "evict", "p.blz", "cities", GRAZ, NULL);
    sync_both(w);
    assert_int_equal(records(w, "p.blz"), 1);
    assert_int_equal(records(w, "a.blz"), 4);
    must(w, "update", "a.blz", "cities", LYON, "{\"n\":2}", NULL);
    sync_both(w);
    assert_string_equal(json_at(w, must(w, "get", "p.blz", "cities", LYON, NULL), "name"), "Lyon");
    must(w, "scope", "p.blz", "--only", "cities", NULL);
    sync_both(w);
    assert_int_equal(records(w, "p.blz"), 3);
    stop_hub(&hub);
}

static void evicting_by_a_filter_leaves_what_is_nowhere_else(void **state)
{
    struct world *w = *state;
    struct hub hub = start_hub(w, "hub", "tcp://127.0.0.1:0");
    const char *code = share_cities(w, &hub, false);
    must(w, "join", "p.blz", code, "--only", "cities", NULL);
    must(w, "update", "p.blz", "cities", LYON, "{\"n\":1}", NULL);
    must(w, "delete", "p.blz", "cities", GRAZ, NULL);
    refuse(w, 2, "either", "evict", "p.blz", "cities", NULL);
    refuse(w, 2, "either", "evict", "p.blz", "cities", LYON, "--where", "n = 1", NULL);
    refuse(w, 3, "filter on 'cities'", "evict", "p.blz", "cities", "--where", "n = ", NULL);
    refuse(w, 4, "no collection", "evict", "p.blz", "towns", "--where", "n = 1", NULL);
    refuse(w, 6, "scope", "evict", "a.blz", "cities", "--where", "n = 1", NULL);
    const char *none = must(w, "evict", "p.blz", "cities", "--where", "country = \"AT\"", NULL);
    assert_int_equal(json_number(w, none, "evicted"), 0); /* it is deleted here */
    const char *some = must(w, "evict", "p.blz", "cities", "--where", "exists name", NULL);
    assert_int_equal(json_number(w, some, "evicted"), 1);
    assert_int_equal(json_number(w, some, "kept"), 1);
    assert_lacks(w, "p.blz", BERLIN);
    assert_has(w, "p.blz", LYON);
    sync_both(w);
    assert_int_equal(records(w, "a.blz"), 3); /* Graz is deleted, Berlin is not */
    assert_has(w, "a.blz", BERLIN);
    some = must(w, "evict", "p.blz", "cities", "--where", "exists name", NULL);
    assert_int_equal(json_number(w, some, "evicted"), 1);
    assert_int_equal(json_number(w, some, "kept"), 0);
    assert_int_equal(records(w, "p.blz"), 0);
    must(w, "check", "p.blz", NULL);
    stop_hub(&hub);
}

static void a_part_can_be_read_without_writing(void **state)
{
    struct world *w = *state;
    struct hub hub = start_hub(w, "hub", "tcp://127.0.0.1:0");
    const char *code = share_cities(w, &hub, false);
    must(w, "join", "p.blz", code, "--where", german, NULL);
    must(w, "insert", "p.blz", "people", "{\"name\":\"Ben\"}", NULL);
    assert_int_equal(system("chmod -R a-w p.blz"), 0);
    const char *status = must(w, "status", "p.blz", NULL);
    assert_string_equal(json_at(w, status, "partial"), "true");
    assert_string_equal(json_at(w, status, "scope.cities"), "country = \"DE\"");
    assert_has(w, "p.blz", BERLIN);
    assert_lacks(w, "p.blz", LYON);
    assert_non_null(strstr(must(w, "scope", "p.blz", NULL), "country"));
    must(w, "check", "p.blz", NULL);
    assert_int_equal(system("chmod -R u+w p.blz"), 0);
    must(w, "sync", "p.blz", NULL);
    assert_int_equal(records(w, "p.blz"), 1);
    stop_hub(&hub);
}

static void a_scope_that_cannot_be_is_refused_with_the_reason(void **state)
{
    struct world *w = *state;
    struct hub hub = start_hub(w, "hub", "tcp://127.0.0.1:0");
    const char *code = share_cities(w, &hub, false);
    refuse(
        w, 3, "filter on 'cities'", "join", "p.blz", code, "--where", "cities: country = ", NULL);
    refuse(w, 4, "no database", "status", "p.blz", NULL); /* nothing is left of it */
    refuse(w, 2, "COLLECTION: FILTER", "join", "p.blz", code, "--where", "country = \"DE\"", NULL);
    refuse(
        w, 2, "two filters", "scope", "a.blz", "--where", "c: n = 1", "--where", "c: n = 2", NULL);
    refuse(w, 2, "--all", "scope", "a.blz", "--all", "--only", "cities", NULL);
    refuse(w, 3, "cannot be a collection", "scope", "a.blz", "--only", "a\nb", NULL);
    assert_string_equal(json_at(w, must(w, "scope", "a.blz", NULL), "partial"), "false");
    must(w, "join", "p.blz", code, "--only", "people", "--where", german, NULL);
    assert_non_null(strstr(must(w, "scope", "p.blz", NULL), "\"filter\":\"country = \\\"DE\\\"\""));
    assert_non_null(strstr(on_terminal(w, "status", "p.blz", NULL), "partial copy"));
    stop_hub(&hub);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_begin, world_end)
    const struct CMUnitTest tests[] = {
        TEST(a_part_of_a_blind_hubs_database_is_kept_in_step),
        TEST(a_part_of_a_trusted_hubs_database_is_kept_in_step),
        TEST(a_trusted_hub_sends_only_what_the_scope_takes),
        TEST(evicting_makes_room_here_and_deletes_nothing),
        TEST(evicting_by_a_filter_leaves_what_is_nowhere_else),
        TEST(a_part_can_be_read_without_writing),
        TEST(a_scope_that_cannot_be_is_refused_with_the_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

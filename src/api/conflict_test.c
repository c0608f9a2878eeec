/* SPDX-License-Identifier: Apache-2.0 */
/* Conflicts through the public functions: two copies and a hub, all in this process. */
#include "api/api_test_util.h"

#include <blazedb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct place {
    char dir[32];
    blaze_hub *hub;
    blaze_db *a, *b;
    char *code;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned calls, ended;
    size_t fields;
};

static int begin_place(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    strcpy(p->dir, "/tmp/blazedb-conf-XXXXXX");
    if (mkdtemp(p->dir) == NULL || chdir(p->dir) != 0)
        return -1;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    const char *url = "mem:conflicts";
    blaze_hub_options hub;
    blaze_hub_options_init(&hub);
    hub.listen = &url;
    hub.listen_count = 1;
    OK(blaze_hub_open(&p->hub, "hub", &hub, &error));
    blaze_open_options options;
    blaze_open_options_init(&options);
    options.memory = 1;
    options.create = 1;
    OK(blaze_open(&p->a, "a", &options, &error));
    OK(blaze_share(p->a, url, NULL, &p->code, &error));
    options.create = 0;
    OK(blaze_join(&p->b, "b", p->code, &options, NULL, &error));
    *state = p;
    return 0;
}

static int end_place(void **state)
{
    struct place *p = *state;
    char command[64];
    blaze_close(p->a, NULL);
    blaze_close(p->b, NULL);
    blaze_hub_close(p->hub, NULL);
    blaze_free(p->code);
    snprintf(command, sizeof command, "rm -r %s", p->dir);
    int rc = chdir("/") != 0 || system(command) != 0;
    free(p);
    return rc;
}

static void put(blaze_db *db, const blaze_id *id, const char *json)
{
    blaze_doc *doc;
    OK(blaze_doc_from_json(&doc, json, strlen(json), &error));
    OK(blaze_upsert(db, "c", id, doc, &error));
    blaze_doc_free(doc);
}

static void sync_both(struct place *p)
{
    OK(blaze_sync(p->a, NULL, NULL, &error));
    OK(blaze_sync(p->b, NULL, NULL, &error));
    OK(blaze_sync(p->a, NULL, NULL, &error));
}

static void expect(blaze_db *db, const blaze_id *id, const char *json)
{
    blaze_doc *doc;
    blaze_value value;
    char *text;
    OK(blaze_get(db, "c", id, &doc, &error));
    OK(blaze_doc_value(doc, &value));
    OK(blaze_value_to_json(&text, &value, false));
    assert_string_equal(text, json);
    blaze_free(text);
    blaze_doc_free(doc);
}

static blaze_id in_conflict(struct place *p, const char *on_a, const char *on_b)
{
    blaze_id id;
    assert_int_equal(blaze_id_new(&id), BLAZE_OK);
    put(p->a, &id, on_a);
    put(p->b, &id, on_b);
    sync_both(p);
    return id;
}

static uint64_t count_of(blaze_db *db, const char *collection)
{
    uint64_t count = 99;
    OK(blaze_conflict_count(db, collection, &count, &error));
    return count;
}

static int count_settled(void *context, const blaze_conflict *conflict)
{
    for (size_t i = 0; i < conflict->count; i++)
        *(unsigned *)context += conflict->siblings[i].settled != 0;
    return 0;
}

static void conflicts_are_counted_and_settled_by_a_policy(void **state)
{
    struct place *p = *state;
    uint64_t settled = 9;
    unsigned by_rule = 0;
    blaze_policy policy = BLAZE_POLICY_UNSET;
    blaze_id one = in_conflict(p, "{\"n\":1}", "{\"n\":2}");
    blaze_id two = in_conflict(p, "{\"m\":[1],\"n\":1}", "{\"m\":2,\"n\":7}");
    assert_int_equal(count_of(p->a, NULL), 2);
    assert_int_equal(count_of(p->b, "c"), 2);
    assert_int_equal(count_of(p->b, "d"), 0);
    OK(blaze_settle(p->a, NULL, NULL, NULL, BLAZE_POLICY_UNSET, &settled, &error));
    assert_int_equal(settled, 0);
    OK(blaze_settle(p->a, "c", &one, "n", BLAZE_POLICY_LEAST, &settled, &error));
    assert_int_equal(settled, 1);
    /* The field's first: a policy is applied from the moment that it is set, by a thread of its
     * own. */
    OK(blaze_set_policy(p->a, "c", "m", BLAZE_POLICY_LIST, &error));
    OK(blaze_set_policy(p->a, "c", NULL, BLAZE_POLICY_GREATEST, &error));
    OK(blaze_get_policy(p->a, "c", "n", &policy, &error));
    assert_int_equal(policy, BLAZE_POLICY_GREATEST);
    OK(blaze_get_policy(p->a, "c", "m", &policy, &error));
    assert_int_equal(policy, BLAZE_POLICY_LIST);
    OK(blaze_settle(p->a, "c", NULL, NULL, BLAZE_POLICY_UNSET, &settled, &error));
    sync_both(p);
    expect(p->b, &one, "{\"n\":1}");
    expect(p->b, &two, "{\"m\":[1,2],\"n\":7}");
    assert_int_equal(count_of(p->b, NULL), 0);
    OK(blaze_conflicts(p->b, NULL, NULL, count_settled, &by_rule, &error));
    assert_int_equal(by_rule, 0);
}

static void on_events(void *context, const blaze_event *events, size_t count)
{
    struct place *p = context;
    (void)events;
    (void)count;
    pthread_mutex_lock(&p->lock);
    p->calls++;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static void a_copy_with_a_policy_settles_what_a_sync_brings(void **state)
{
    struct place *p = *state;
    OK(blaze_set_policy(p->b, "c", NULL, BLAZE_POLICY_GREATEST, &error));
    blaze_observer *observer;
    OK(blaze_observe(p->b, NULL, on_events, p, &observer, &error));
    blaze_id id = in_conflict(p, "{\"n\":5}", "{\"n\":4}");
    pthread_mutex_lock(&p->lock);
    for (unsigned calls = p->calls; count_of(p->b, "c") != 0; calls = p->calls) {
        while (p->calls == calls)
            pthread_cond_wait(&p->changed, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    blaze_unobserve(observer);
    sync_both(p);
    expect(p->a, &id, "{\"n\":5}");
    assert_int_equal(count_of(p->a, "c"), 0);
}

static int sum(void *context, const blaze_conflict *fields, size_t count, blaze_doc *values)
{
    struct place *p = context;
    int64_t total = 0;
    assert_int_equal(count, 1);
    for (size_t i = 0; i < fields[0].count; i++)
        total += fields[0].siblings[i].value.as.integer;
    pthread_mutex_lock(&p->lock);
    p->calls++;
    pthread_mutex_unlock(&p->lock);
    return blaze_doc_add_int(values, "n", total);
}

static void on_conflict(void *context, const blaze_conflict_event *event)
{
    struct place *p = context;
    pthread_mutex_lock(&p->lock);
    p->fields += event->count;
    p->ended += event->count == 0;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static void a_resolver_is_called_and_an_observer_told(void **state)
{
    struct place *p = *state;
    blaze_conflict_observer *observer;
    blaze_id id = in_conflict(p, "{\"n\":5}", "{\"n\":4}");
    OK(blaze_observe_conflicts(p->b, "c", on_conflict, p, &observer, &error));
    pthread_mutex_lock(&p->lock);
    while (p->fields == 0)
        pthread_cond_wait(&p->changed, &p->lock);
    pthread_mutex_unlock(&p->lock);
    OK(blaze_set_resolver(p->b, "c", sum, p, &error));
    pthread_mutex_lock(&p->lock);
    while (p->ended == 0)
        pthread_cond_wait(&p->changed, &p->lock);
    assert_int_equal(p->calls, 1);
    pthread_mutex_unlock(&p->lock);
    blaze_unobserve_conflicts(observer);
    OK(blaze_set_resolver(p->b, "c", NULL, NULL, &error));
    sync_both(p);
    expect(p->a, &id, "{\"n\":9}");
}

static int find_life(void *context, const blaze_conflict *conflict)
{
    if (!conflict->life)
        return 0;
    assert_int_equal(conflict->field.size, 0);
    for (size_t i = 0; i < conflict->count; i++)
        *(unsigned *)context += conflict->siblings[i].present ? 1 : 10;
    return 0;
}

static void a_record_that_is_deleted_here_and_written_to_there_is_kept(void **state)
{
    struct place *p = *state;
    blaze_id id;
    unsigned found = 0;
    assert_int_equal(blaze_id_new(&id), BLAZE_OK);
    put(p->a, &id, "{\"n\":1}");
    sync_both(p);
    put(p->b, &id, "{\"n\":2}");
    OK(blaze_delete(p->a, "c", &id, &error));
    sync_both(p);
    OK(blaze_conflicts(p->b, NULL, NULL, find_life, &found, &error));
    assert_int_equal(found, 11);
    assert_int_equal(count_of(p->a, "c"), 1);
    OK(blaze_settle_life(p->a, "c", &id, 1, &error));
    assert_int_equal(blaze_settle_life(p->a, "c", &id, 0, &error), BLAZE_ENOTFOUND);
    assert_int_equal(count_of(p->a, "c"), 0);
    sync_both(p);
    expect(p->b, &id, "{\"n\":2}");
}

static void wrong_arguments_are_refused(void **state)
{
    struct place *p = *state;
    blaze_policy policy;
    blaze_id id = {{1}};
    assert_int_equal(blaze_set_policy(p->a, "c", NULL, (blaze_policy)77, &error), BLAZE_EINVAL);
    assert_int_equal(blaze_set_policy(p->a, "c", "", BLAZE_POLICY_LAST, &error), BLAZE_EINVAL);
    assert_int_equal(blaze_set_policy(p->a, "", NULL, BLAZE_POLICY_LAST, &error), BLAZE_EINVAL);
    assert_int_equal(
        blaze_settle(p->a, NULL, &id, NULL, BLAZE_POLICY_LAST, NULL, &error), BLAZE_EINVAL);
    assert_int_equal(blaze_set_resolver(p->a, NULL, sum, p, &error), BLAZE_EINVAL);
    assert_int_equal(blaze_set_resolver(p->a, "", sum, p, &error), BLAZE_EINVAL);
    assert_int_equal(blaze_policy_from_name("newest", &policy), BLAZE_EINVAL);
    assert_int_equal(blaze_policy_from_name("last", &policy), BLAZE_OK);
    assert_string_equal(blaze_policy_name(policy), "last");
    assert_null(blaze_policy_name(BLAZE_POLICY_UNSET));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_place, end_place)
        TEST(conflicts_are_counted_and_settled_by_a_policy),
        TEST(a_copy_with_a_policy_settles_what_a_sync_brings),
        TEST(a_resolver_is_called_and_an_observer_told),
        TEST(a_record_that_is_deleted_here_and_written_to_there_is_kept),
        TEST(wrong_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

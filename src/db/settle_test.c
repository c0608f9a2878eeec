/* SPDX-License-Identifier: Apache-2.0 */
#include "db/test_util.h"

#include "db/db_priv.h"

#include <pthread.h>

#define NODES_MAX 4

struct net {
    unsigned count;
    struct world world[NODES_MAX];
    struct bz_db *db[NODES_MAX];
};

static void net_open(struct net *net, unsigned count, uint64_t seed)
{
    net->count = count;
    for (unsigned i = 0; i < count; i++) {
        net->world[i] = (struct world){{seed * 31 + i}, 1700000000000u + i * 1000};
        net->db[i] = open_memory(&net->world[i], i == 0 ? BZ_ROLE_SERVER : BZ_ROLE_CLIENT);
    }
}

static void net_close(struct net *net)
{
    for (unsigned i = 0; i < net->count; i++) {
        check_all(net->db[i]);
        must(bz_db_close(net->db[i], error));
    }
}

/* Everybody to everybody until nothing moves. */
static void settle_net(struct net *net)
{
    for (uint64_t changed = 1; changed > 0;) {
        changed = 0;
        for (unsigned from = 0; from < net->count; from++) {
            for (unsigned to = 0; to < net->count; to++) {
                if (from != to)
                    changed += send_changes(net->db[from], net->db[to], 100, 0).changed;
            }
        }
    }
    for (unsigned i = 1; i < net->count; i++)
        expect_equal(net->db[0], net->db[i]);
}

static void set_policy(struct bz_db *db, const char *field, enum bz_policy policy)
{
    must(bz_db_policy_put(db, bz_bytes_text("c"), bz_bytes_text(field), policy, error));
}

static uint64_t settle(struct bz_db *db)
{
    uint64_t settled = 0;
    must(bz_db_settle(db, &(struct bz_settle){0}, &settled, error));
    return settled;
}

/* Record 1 with what each node wrote to it apart, in the order of nodes, on all of them. */
static void write_apart(struct net *net, const char *const json[])
{
    write_json(net->db[0], INSERT, "c", 1, "{\"m\":0,\"n\":[0],\"o\":true}");
    settle_net(net);
    for (unsigned i = 0; i < net->count; i++)
        write_json(net->db[i], UPDATE, "c", 1, json[i]);
    settle_net(net);
    assert_int_equal(state_of(net->db[0]).conflicts, 1);
}

static void each_policy_chooses_as_it_says(void **state)
{
    (void)state;
    static const char *const apart[] = {"{\"m\":2}", "{\"m\":\"x\"}", "{\"m\":{\"$unset\":true}}"};
    static const struct {
        enum bz_policy policy;
        const char *json;
    } cases[] = {
        {BZ_POLICY_LAST, "{\"n\":[0],\"o\":true}"},
        {BZ_POLICY_SERVER, "{\"m\":2,\"n\":[0],\"o\":true}"},
        {BZ_POLICY_LIST, "{\"m\":[2,\"x\"],\"n\":[0],\"o\":true}"},
        {BZ_POLICY_GREATEST, "{\"m\":\"x\",\"n\":[0],\"o\":true}"},
        {BZ_POLICY_LEAST, "{\"n\":[0],\"o\":true}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct net net;
        net_open(&net, 3, i);
        write_apart(&net, apart);
        assert_int_equal(settle(net.db[1]), 0); /* no policy */
        set_policy(net.db[1], "", cases[i].policy);
        assert_int_equal(settle(net.db[1]), 1);
        assert_int_equal(settle(net.db[1]), 0);
        settle_net(&net);
        for (unsigned n = 0; n < 3; n++) {
            expect_json(net.db[n], "c", 1, cases[i].json);
            assert_int_equal(state_of(net.db[n]).conflicts, 0);
        }
        net_close(&net);
    }
}

static void a_field_may_have_a_policy_of_its_own(void **state)
{
    (void)state;
    static const char *const apart[] = {
        "{\"m\":1,\"n\":1,\"o\":1}", "{\"m\":2,\"n\":2,\"o\":2}", "{\"m\":3,\"n\":3,\"o\":3}"};
    struct net net;
    net_open(&net, 3, 1);
    write_apart(&net, apart);
    set_policy(net.db[2], "", BZ_POLICY_GREATEST);
    set_policy(net.db[2], "n", BZ_POLICY_LIST);
    set_policy(net.db[2], "o", BZ_POLICY_NONE);
    set_policy(net.db[2], "m", BZ_POLICY_LAST);
    set_policy(net.db[2], "m", BZ_POLICY_UNSET);
    settle(net.db[2]);
    settle_net(&net);
    expect_json(net.db[0], "c", 1, "{\"m\":3,\"n\":[1,2,3],\"o\":1}"); /* o: the server's is seen */
    assert_int_equal(state_of(net.db[0]).conflicts, 1);
    set_policy(net.db[2], "o", BZ_POLICY_UNSET);
    settle(net.db[2]);
    settle_net(&net);
    expect_json(net.db[0], "c", 1, "{\"m\":3,\"n\":[1,2,3],\"o\":3}");
    net_close(&net);
}

static int note_policy(
    void *context, struct bz_bytes collection, struct bz_bytes field, enum bz_policy policy)
{
    struct bz_buf *out = context;
    bz_buf_printf(out, "%.*s.%.*s=%s ", (int)collection.size, (const char *)collection.data,
        (int)field.size, (const char *)field.data, bz_policy_name(policy));
    return 0;
}

static void policies_are_listed_and_go_when_they_are_unset(void **state)
{
    (void)state;
    struct net net;
    struct bz_read *read = NULL;
    struct bz_buf text;
    blaze_error failure = {0};
    net_open(&net, 1, 1);
    bz_buf_init(&text, 1000);
    set_policy(net.db[0], "b", BZ_POLICY_LEAST);
    set_policy(net.db[0], "", BZ_POLICY_LAST);
    set_policy(net.db[0], "a", BZ_POLICY_NONE);
    must(bz_db_policy_put(net.db[0], bz_bytes_text("d"), bz_bytes(NULL, 0), BZ_POLICY_LIST, error));
    must(bz_read_begin(net.db[0], &read, error));
    must(bz_read_policies(read, note_policy, &text, error));
    bz_read_end(read);
    assert_true(
        bz_bytes_equal(bz_buf_bytes(&text), bz_bytes_text("c.=last c.b=least c.a=none d.=list ")));
    bz_buf_clear(&text);
    set_policy(net.db[0], "", BZ_POLICY_UNSET);
    set_policy(net.db[0], "a", BZ_POLICY_UNSET);
    set_policy(net.db[0], "b", BZ_POLICY_UNSET);
    must(bz_read_begin(net.db[0], &read, error));
    must(bz_read_policies(read, note_policy, &text, error));
    bz_read_end(read);
    assert_true(bz_bytes_equal(bz_buf_bytes(&text), bz_bytes_text("d.=list ")));
    assert_int_equal(bz_db_policy_put(net.db[0], bz_bytes_text("a\nb"), bz_bytes(NULL, 0),
                         BZ_POLICY_LAST, &failure),
        BLAZE_EINVAL);
    bz_buf_release(&text);
    net_close(&net);
}

/* Settled by two at once, each with another part of the siblings. */
static void a_list_that_is_settled_twice_does_not_nest(void **state)
{
    (void)state;
    struct net net;
    net_open(&net, 4, 3);
    write_json(net.db[0], INSERT, "c", 1, "{\"m\":0}");
    settle_net(&net);
    static const char *const apart[] = {
        "{\"m\":\"d\"}", "{\"m\":\"b\"}", "{\"m\":\"a\"}", "{\"m\":[\"c\",\"a\"]}"};
    for (unsigned i = 0; i < 4; i++) {
        write_json(net.db[i], UPDATE, "c", 1, apart[i]);
        set_policy(net.db[i], "", BZ_POLICY_LIST);
    }
    send_changes(net.db[0], net.db[1], 10, 0);
    send_changes(net.db[2], net.db[3], 10, 0);
    settle(net.db[1]);
    settle(net.db[3]);
    expect_json(net.db[1], "c", 1, "{\"m\":[\"b\",\"d\"]}");
    expect_json(net.db[3], "c", 1, "{\"m\":[\"a\",\"c\"]}");
    settle_net(&net);
    settle(net.db[2]);
    settle_net(&net);
    expect_json(net.db[0], "c", 1, "{\"m\":[\"a\",\"b\",\"c\",\"d\"]}");
    assert_int_equal(state_of(net.db[0]).conflicts, 0);
    net_close(&net);
}

/* What was settled is no newer than what it stands for: a user's later write wins over it. */
static void a_later_write_that_had_not_seen_the_settling_wins_over_it(void **state)
{
    (void)state;
    struct net net;
    net_open(&net, 3, 4);
    write_json(net.db[1], INSERT, "c", 1, "{\"m\":0}");
    settle_net(&net);
    net.world[1].ms = net.world[2].ms = 1700000100000u;
    write_json(net.db[1], UPDATE, "c", 1, "{\"m\":1}");
    write_json(net.db[2], UPDATE, "c", 1, "{\"m\":2}");
    sync_both(net.db[1], net.db[2]);
    net.world[1].ms = 1700000200000u;
    write_json(net.db[1], UPDATE, "c", 1, "{\"m\":3}");
    net.world[2].ms = 1700000900000u;
    set_policy(net.db[2], "", BZ_POLICY_GREATEST);
    settle(net.db[2]);
    settle_net(&net);
    expect_json(net.db[0], "c", 1, "{\"m\":3}");
    net_close(&net);
}

/* ---- many who settle ---- */

static int64_t number_of_sibling(const struct bz_conflict_sibling *sibling)
{
    return sibling->present && sibling->value.type == BLAZE_INT ? sibling->value.as.integer : 0;
}

/* Never twice the same. */
static int invent(
    void *context, const struct bz_conflict *fields, uint32_t count, blaze_doc *values)
{
    atomic_int *calls = context;
    for (uint32_t i = 0; i < count; i++) {
        char name[256];
        snprintf(name, sizeof name, "%.*s", (int)fields[i].field.size,
            (const char *)fields[i].field.data);
        blaze_doc_add_int(values, name, 1000 + atomic_fetch_add(calls, 1));
    }
    return 0;
}

static void await_quiet(struct bz_db *db);

static void random_update(struct net *net, struct rng *rng)
{
    char json[64];
    unsigned node = rng_below(rng, net->count);
    await_quiet(net->db[node]); /* its settler reads the clock too */
    net->world[node].ms += rng_below(rng, 50);
    snprintf(json, sizeof json, "{\"f%u\":%u}", rng_below(rng, 2), rng_below(rng, 5));
    write_json(net->db[node], UPSERT, "c", rng_below(rng, 3), json);
}

/* One hop of a ring, a star or any graph. */
static void random_hop(struct net *net, struct rng *rng, unsigned shape)
{
    unsigned from = rng_below(rng, net->count);
    unsigned to = shape == 0   ? (from + 1) % net->count
                  : shape == 1 ? (from == 0 ? 1 + rng_below(rng, net->count - 1) : 0)
                               : rng_below(rng, net->count);
    if (from != to)
        send_changes(net->db[from], net->db[to], 1 + rng_below(rng, 5), rng_below(rng, 3));
}

/*
 * A history in which some nodes settle as they go. Policies may differ, and a resolver may invent:
 * it ends all the same, with all equal and, where one and the same rule is in force, nothing left
 * in conflict.
 */
static void one_history(uint64_t seed, bool same)
{
    struct rng rng = {seed};
    struct net net;
    atomic_int calls = 0;
    net_open(&net, 2 + rng_below(&rng, 3), seed);
    unsigned shape = rng_below(&rng, 3);
    enum bz_policy policy = BZ_POLICY_LAST + rng_below(&rng, 5);
    for (unsigned i = 0; i < net.count; i++) {
        if (!same)
            policy = BZ_POLICY_UNSET + rng_below(&rng, 7);
        set_policy(net.db[i], "", policy);
        if (!same && rng_below(&rng, 4) == 0)
            must(bz_db_set_resolver(net.db[i], bz_bytes_text("c"), invent, &calls, NULL, error));
        must(bz_db_keep_policies(net.db[i], error));
    }
    for (unsigned step = 0; step < 40; step++) {
        if (rng_below(&rng, 2) == 0)
            random_update(&net, &rng);
        else
            random_hop(&net, &rng, shape);
    }
    uint64_t before = 0, after = 0;
    for (unsigned i = 0; i < net.count; i++) {
        await_quiet(net.db[i]);
        before += state_of(net.db[i]).seq;
    }
    for (uint64_t quiet = 0, rounds = 0; quiet < net.count * 12u; rounds++) {
        assert_true(rounds < 3000); /* it ends */
        /* Round the ring; if it is not only a ring, each hop there and back. */
        uint64_t hop = shape == 0 ? rounds : rounds / 2;
        bool back = shape != 0 && rounds % 2 == 1;
        unsigned from = (unsigned)((hop + back) % net.count);
        unsigned to = (unsigned)((hop + !back) % net.count);
        struct exchange e = send_changes(net.db[from], net.db[to], 100, 0);
        await_quiet(net.db[to]);
        quiet = e.changed > 0 ? 0 : quiet + 1;
    }
    for (unsigned i = 0; i < net.count; i++) {
        expect_equal(net.db[0], net.db[i]);
        after += state_of(net.db[i]).seq;
        if (same)
            assert_int_equal(state_of(net.db[i]).conflicts, 0);
        must(bz_db_set_resolver(net.db[i], bz_bytes_text("c"), NULL, NULL, NULL, error));
    }
    /* Few: each record has two fields, each written by a few nodes. */
    assert_true(after - before <= 3u * 2u * net.count * net.count * 4u);
    net_close(&net);
}

/* Waits until the observers' thread has looked at all there is: its settler answers a wake. */
struct quiet {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t position;
    unsigned calls;
};

static void on_quiet(void *context, const struct bz_event *events, size_t count)
{
    struct quiet *quiet = context;
    pthread_mutex_lock(&quiet->lock);
    quiet->calls++;
    if (count > 0)
        quiet->position = events[count - 1].position;
    pthread_cond_broadcast(&quiet->changed);
    pthread_mutex_unlock(&quiet->lock);
}

/* A wake of an observer that is as far as the settler comes after the settler's own turn: the one
 * that is furthest behind goes first. */
static void await_quiet(struct bz_db *db)
{
    struct quiet quiet = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct bz_observer *observer = NULL;
    uint64_t before, after = bz_db_position(db);
    do {
        before = after;
        must(bz_db_observe(db, bz_bytes(NULL, 0), on_quiet, &quiet, &observer, error));
        pthread_mutex_lock(&quiet.lock);
        unsigned calls = quiet.calls;
        pthread_mutex_unlock(&quiet.lock);
        bz_watch_wake(observer);
        pthread_mutex_lock(&quiet.lock);
        while (quiet.calls == calls)
            pthread_cond_wait(&quiet.changed, &quiet.lock);
        pthread_mutex_unlock(&quiet.lock);
        bz_db_unobserve(observer);
        after = bz_db_position(db);
    } while (after != before);
}

static void copies_with_one_policy_converge_without_conflicts(void **state)
{
    (void)state;
    uint64_t first = test_seed(), rounds = test_rounds(40, 3000);
    for (uint64_t i = 0; i < rounds; i++)
        one_history(first + i, true);
}

static void copies_that_settle_by_whatever_rules_come_to_an_end(void **state)
{
    (void)state;
    uint64_t first = test_seed(), rounds = test_rounds(40, 3000);
    for (uint64_t i = 0; i < rounds; i++)
        one_history(first + 100000 + i, false);
}

/* ---- resolvers ---- */

struct summer {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned calls;
    struct bz_db *write_to; /* from within the first call */
    bool leave;
};

static int sum(void *context, const struct bz_conflict *fields, uint32_t count, blaze_doc *values)
{
    struct summer *summer = context;
    assert_int_equal(count, 1);
    int64_t total = 0;
    for (uint32_t i = 0; i < fields[0].count; i++)
        total += number_of_sibling(&fields[0].siblings[i]);
    blaze_doc_add_int(values, "m", total);
    blaze_doc_add_int(values, "not in conflict", 1);
    pthread_mutex_lock(&summer->lock);
    struct bz_db *db = summer->calls++ == 0 ? summer->write_to : NULL;
    bool leave = summer->leave;
    pthread_cond_broadcast(&summer->changed);
    pthread_mutex_unlock(&summer->lock);
    if (db != NULL)
        write_json(db, UPDATE, "c", 1, "{\"o\":false}");
    return leave;
}

static void summer_init(struct summer *summer)
{
    *summer =
        (struct summer){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
}

static void await_calls(struct summer *summer, unsigned calls)
{
    pthread_mutex_lock(&summer->lock);
    while (summer->calls < calls)
        pthread_cond_wait(&summer->changed, &summer->lock);
    pthread_mutex_unlock(&summer->lock);
}

static void a_resolver_settles_what_is_there_and_what_comes(void **state)
{
    (void)state;
    static const char *const apart[] = {"{\"m\":1}", "{\"m\":20}"};
    struct net net;
    struct summer summer;
    summer_init(&summer);
    net_open(&net, 2, 5);
    write_apart(&net, apart);
    set_policy(net.db[1], "", BZ_POLICY_GREATEST); /* the resolver goes before it */
    must(bz_db_keep_policies(net.db[0], error));
    must(bz_db_set_resolver(net.db[1], bz_bytes_text("c"), sum, &summer, NULL, error));
    await_calls(&summer, 1);
    await_quiet(net.db[1]);
    expect_json(net.db[1], "c", 1, "{\"m\":21,\"n\":[0],\"o\":true}");
    settle_net(&net);
    write_json(net.db[0], UPDATE, "c", 1, "{\"m\":2}");
    write_json(net.db[1], UPDATE, "c", 1, "{\"m\":3}");
    send_changes(net.db[0], net.db[1], 10, 0);
    await_calls(&summer, 2);
    await_quiet(net.db[1]);
    settle_net(&net);
    expect_json(net.db[0], "c", 1, "{\"m\":5,\"n\":[0],\"o\":true}");
    must(bz_db_set_resolver(net.db[1], bz_bytes_text("c"), NULL, NULL, NULL, error));
    net_close(&net);
}

static void a_record_that_changes_while_its_resolver_thinks_is_resolved_again(void **state)
{
    (void)state;
    static const char *const apart[] = {"{\"m\":1}", "{\"m\":20}"};
    struct net net;
    struct summer summer;
    summer_init(&summer);
    net_open(&net, 2, 6);
    write_apart(&net, apart);
    summer.write_to = net.db[1];
    must(bz_db_set_resolver(net.db[1], bz_bytes_text("c"), sum, &summer, NULL, error));
    await_calls(&summer, 2);
    await_quiet(net.db[1]);
    assert_int_equal(summer.calls, 2);
    expect_json(net.db[1], "c", 1, "{\"m\":21,\"n\":[0],\"o\":false}");
    must(bz_db_set_resolver(net.db[1], bz_bytes_text("c"), NULL, NULL, NULL, error));
    settle_net(&net);
    net_close(&net);
}

static void what_a_resolver_leaves_stays_in_conflict(void **state)
{
    (void)state;
    static const char *const apart[] = {"{\"m\":1}", "{\"m\":20}"};
    struct net net;
    struct summer summer;
    summer_init(&summer);
    summer.leave = true;
    net_open(&net, 2, 7);
    write_apart(&net, apart);
    uint64_t position = bz_db_position(net.db[1]);
    must(bz_db_set_resolver(net.db[1], bz_bytes_text("c"), sum, &summer, NULL, error));
    await_calls(&summer, 1);
    await_quiet(net.db[1]);
    assert_int_equal(bz_db_position(net.db[1]), position);
    assert_int_equal(state_of(net.db[1]).conflicts, 1);
    must(bz_db_set_resolver(net.db[1], bz_bytes_text("c"), NULL, NULL, NULL, error));
    net_close(&net);
}

static void removing_a_resolver_waits_for_its_call(void **state)
{
    (void)state;
    static const char *const apart[] = {"{\"m\":1}", "{\"m\":20}"};
    for (unsigned round = 0; round < 30; round++) {
        struct net net;
        struct summer summer; /* gone after the round: a late call would be found out */
        summer_init(&summer);
        net_open(&net, 2, 8);
        write_apart(&net, apart);
        must(bz_db_set_resolver(net.db[1], bz_bytes_text("c"), sum, &summer, NULL, error));
        if (round % 2 == 0)
            await_calls(&summer, 1);
        must(bz_db_set_resolver(net.db[1], bz_bytes_text("c"), NULL, NULL, NULL, error));
        pthread_mutex_destroy(&summer.lock);
        pthread_cond_destroy(&summer.changed);
        memset(&summer, 0xaa, sizeof summer);
        net_close(&net);
    }
}

/* A resolver that is being called until it may go, and two threads that each put another in its
 * place meanwhile. */
struct rivals {
    struct bz_db *db;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool called, may_go;
    unsigned set, released;
};

static void rivals_note(struct rivals *rivals, unsigned *count)
{
    pthread_mutex_lock(&rivals->lock);
    (*count)++;
    pthread_cond_broadcast(&rivals->changed);
    pthread_mutex_unlock(&rivals->lock);
}

static int linger(
    void *context, const struct bz_conflict *fields, uint32_t count, blaze_doc *values)
{
    struct rivals *rivals = context;
    (void)fields;
    (void)count;
    (void)values;
    pthread_mutex_lock(&rivals->lock);
    rivals->called = true;
    pthread_cond_broadcast(&rivals->changed);
    while (!rivals->may_go)
        pthread_cond_wait(&rivals->changed, &rivals->lock);
    pthread_mutex_unlock(&rivals->lock);
    return 1;
}

static void on_release(void *context)
{
    struct rivals *rivals = context;
    rivals_note(rivals, &rivals->released);
}

static void *set_another(void *context)
{
    struct rivals *rivals = context;
    must(bz_db_set_resolver(rivals->db, bz_bytes_text("c"), linger, rivals, on_release, error));
    rivals_note(rivals, &rivals->set);
    return NULL;
}

static void of_two_resolvers_that_are_set_at_once_one_is_left(void **state)
{
    (void)state;
    static const char *const apart[] = {"{\"m\":1}", "{\"m\":20}"};
    struct net net;
    struct rivals rivals = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    pthread_t threads[2];
    net_open(&net, 2, 12);
    write_apart(&net, apart);
    rivals.db = net.db[1];
    set_another(&rivals);
    pthread_mutex_lock(&rivals.lock);
    while (!rivals.called)
        pthread_cond_wait(&rivals.changed, &rivals.lock);
    pthread_mutex_unlock(&rivals.lock);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, set_another, &rivals), 0);
    pthread_mutex_lock(&rivals.lock);
    while (rivals.set < 2) /* one of them waits for the call */
        pthread_cond_wait(&rivals.changed, &rivals.lock);
    rivals.may_go = true;
    pthread_cond_broadcast(&rivals.changed);
    pthread_mutex_unlock(&rivals.lock);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    must(bz_db_set_resolver(net.db[1], bz_bytes_text("c"), NULL, NULL, NULL, error));
    assert_int_equal(rivals.released, 3);
    net_close(&net);
}

static void one_field_of_one_record_is_settled_by_a_policy_that_is_not_set(void **state)
{
    (void)state;
    static const char *const apart[] = {"{\"m\":1,\"n\":1}", "{\"m\":20,\"n\":2}"};
    struct net net;
    net_open(&net, 2, 11);
    write_apart(&net, apart);
    blaze_id id = id_of(1), other = id_of(2);
    uint64_t settled = 7;
    struct bz_settle what = {bz_bytes_text("c"), &other, bz_bytes_text("m"), BZ_POLICY_GREATEST};
    must(bz_db_settle(net.db[0], &what, &settled, error));
    assert_int_equal(settled, 0);
    what.id = &id;
    must(bz_db_settle(net.db[0], &what, &settled, error));
    assert_int_equal(settled, 1);
    expect_json(net.db[0], "c", 1, "{\"m\":20,\"n\":1,\"o\":true}");
    assert_int_equal(state_of(net.db[0]).conflicts, 1);
    net_close(&net);
}

/* More than a batch, of which some cannot be written. */
static void many_conflicts_are_settled_in_batches(void **state)
{
    (void)state;
    struct net net;
    char json[64];
    net_open(&net, 2, 9);
    for (uint32_t n = 0; n < 300; n++) {
        for (unsigned i = 0; i < 2; i++) {
            snprintf(json, sizeof json, "{\"m\":%u}", n + i);
            write_json(net.db[i], PUT, n % 2 == 0 ? "c" : "d", n, json);
        }
    }
    settle_net(&net);
    assert_int_equal(state_of(net.db[0]).conflicts, 300);
    set_policy(net.db[0], "", BZ_POLICY_GREATEST);
    must(
        bz_db_policy_put(net.db[0], bz_bytes_text("d"), bz_bytes(NULL, 0), BZ_POLICY_LEAST, error));
    uint64_t settled = 0;
    struct bz_settle only = {.collection = bz_bytes_text("d")};
    must(bz_db_settle(net.db[0], &only, &settled, error));
    assert_int_equal(settled, 150);
    assert_int_equal(settle(net.db[0]), 150);
    settle_net(&net);
    expect_json(net.db[1], "c", 100, "{\"m\":101}");
    expect_json(net.db[1], "d", 101, "{\"m\":101}");
    assert_int_equal(state_of(net.db[1]).conflicts, 0);
    net_close(&net);
}

static void a_copy_that_cannot_read_settles_nothing(void **state)
{
    (void)state;
    struct world world = {{1}, 1700000000000u};
    struct bz_db_options options = world_options(&world);
    struct bz_db *db = NULL;
    blaze_error failure = {0};
    uint64_t settled = 0;
    options.blind = true;
    options.database = (blaze_id){{1}};
    must(bz_db_open(&db, "blind", &options, error));
    must(bz_db_keep_policies(db, error));
    assert_int_equal(
        bz_db_policy_put(db, bz_bytes_text("c"), bz_bytes(NULL, 0), BZ_POLICY_LAST, &failure),
        BLAZE_EPERM);
    assert_int_equal(
        bz_db_set_resolver(db, bz_bytes_text("c"), sum, NULL, NULL, &failure), BLAZE_EPERM);
    assert_int_equal(bz_db_settle(db, &(struct bz_settle){0}, &settled, &failure), BLAZE_EPERM);
    must(bz_db_close(db, error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_policy_chooses_as_it_says),
        cmocka_unit_test(a_field_may_have_a_policy_of_its_own),
        cmocka_unit_test(policies_are_listed_and_go_when_they_are_unset),
        cmocka_unit_test(a_list_that_is_settled_twice_does_not_nest),
        cmocka_unit_test(a_later_write_that_had_not_seen_the_settling_wins_over_it),
        cmocka_unit_test(copies_with_one_policy_converge_without_conflicts),
        cmocka_unit_test(copies_that_settle_by_whatever_rules_come_to_an_end),
        cmocka_unit_test(a_resolver_settles_what_is_there_and_what_comes),
        cmocka_unit_test(a_record_that_changes_while_its_resolver_thinks_is_resolved_again),
        cmocka_unit_test(what_a_resolver_leaves_stays_in_conflict),
        cmocka_unit_test(removing_a_resolver_waits_for_its_call),
        cmocka_unit_test(of_two_resolvers_that_are_set_at_once_one_is_left),
        cmocka_unit_test(one_field_of_one_record_is_settled_by_a_policy_that_is_not_set),
        cmocka_unit_test(many_conflicts_are_settled_in_batches),
        cmocka_unit_test(a_copy_that_cannot_read_settles_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

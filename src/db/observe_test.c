/* SPDX-License-Identifier: Apache-2.0 */
#include "db/test_util.h"

#include <pthread.h>

#define SEEN_MAX 4096

/* What an observer was told. The gate, while closed, holds its callback. */
struct seen {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned calls;
    size_t count;
    struct {
        uint64_t position;
        char collection[16];
        blaze_id id, node;
        bool deleted, remote;
    } events[SEEN_MAX];
    bool closed, waiting;
    struct bz_db *db;
    struct bz_observer *observer; /* to be removed from within the call */
};

static void seen_init(struct seen *seen)
{
    memset(seen, 0, sizeof *seen);
    pthread_mutex_init(&seen->lock, NULL);
    pthread_cond_init(&seen->changed, NULL);
}

static void seen_release(struct seen *seen)
{
    pthread_mutex_destroy(&seen->lock);
    pthread_cond_destroy(&seen->changed);
}

static void on_events(void *context, const struct bz_event *events, size_t count)
{
    struct seen *seen = context;
    pthread_mutex_lock(&seen->lock);
    seen->calls++;
    for (size_t i = 0; i < count && seen->count < SEEN_MAX; i++, seen->count++) {
        seen->events[seen->count].position = events[i].position;
        seen->events[seen->count].id = events[i].id;
        seen->events[seen->count].node = events[i].node;
        seen->events[seen->count].deleted = events[i].deleted;
        seen->events[seen->count].remote = events[i].remote;
        snprintf(seen->events[seen->count].collection, 16, "%.*s", (int)events[i].collection.size,
            (const char *)events[i].collection.data);
    }
    seen->waiting = true;
    pthread_cond_broadcast(&seen->changed);
    while (seen->closed)
        pthread_cond_wait(&seen->changed, &seen->lock);
    seen->waiting = false;
    pthread_mutex_unlock(&seen->lock);
}

static void wait_for(struct seen *seen, size_t count)
{
    pthread_mutex_lock(&seen->lock);
    while (seen->count < count)
        pthread_cond_wait(&seen->changed, &seen->lock);
    pthread_mutex_unlock(&seen->lock);
}

static void set_gate(struct seen *seen, bool closed)
{
    pthread_mutex_lock(&seen->lock);
    seen->closed = closed;
    pthread_cond_broadcast(&seen->changed);
    pthread_mutex_unlock(&seen->lock);
}

/* Waits until the callback stands at the closed gate. */
static void wait_at_gate(struct seen *seen)
{
    pthread_mutex_lock(&seen->lock);
    while (!seen->waiting)
        pthread_cond_wait(&seen->changed, &seen->lock);
    pthread_mutex_unlock(&seen->lock);
}

static void observers_are_told_of_local_and_remote_changes(void **state)
{
    (void)state;
    struct world world[2] = {{{1}, 1700000000000u}, {{2}, 1700000000000u}};
    struct bz_db *a = open_memory(&world[0], BZ_ROLE_CLIENT);
    struct bz_db *b = open_memory(&world[1], BZ_ROLE_CLIENT);
    struct bz_identity id_a, id_b;
    struct seen seen;
    struct bz_observer *observer = NULL;
    bz_db_identity(a, &id_a);
    bz_db_identity(b, &id_b);
    seen_init(&seen);
    write_json(a, INSERT, "c", 1, "{\"before\":1}");
    must(bz_db_observe(a, bz_bytes(NULL, 0), on_events, &seen, &observer, error));
    write_json(a, INSERT, "c", 2, "{}");
    wait_for(&seen, 1);
    write_json(b, INSERT, "d", 3, "{}");
    write_json(b, INSERT, "d", 4, "{}");
    delete_one_of(b, "d", 4);
    send_changes(b, a, 10, 0);
    wait_for(&seen, 3);
    delete_one_of(a, "d", 3);
    wait_for(&seen, 4);
    bz_db_unobserve(observer);

    const struct {
        const char *collection;
        uint32_t id;
        bool deleted, remote;
    } wanted[] = {
        {"c", 2, false, false}, {"d", 3, false, true}, {"d", 4, true, true}, {"d", 3, true, false}};
    assert_int_equal(seen.count, 4);
    for (size_t i = 0; i < 4; i++) {
        blaze_id id = id_of(wanted[i].id);
        assert_string_equal(seen.events[i].collection, wanted[i].collection);
        assert_memory_equal(&seen.events[i].id, &id, sizeof id);
        assert_int_equal(seen.events[i].deleted, wanted[i].deleted);
        assert_int_equal(seen.events[i].remote, wanted[i].remote);
        assert_memory_equal(
            &seen.events[i].node, wanted[i].remote ? &id_b.node : &id_a.node, sizeof id);
        assert_true(i == 0 || seen.events[i].position > seen.events[i - 1].position);
    }
    seen_release(&seen);
    must(bz_db_close(a, error));
    must(bz_db_close(b, error));
}

static void changes_made_meanwhile_are_told_together_and_once(void **state)
{
    (void)state;
    struct world world = {{1}, 1700000000000u};
    struct bz_db *db = open_memory(&world, BZ_ROLE_CLIENT);
    struct seen seen;
    struct bz_observer *observer = NULL;
    seen_init(&seen);
    must(bz_db_observe(db, bz_bytes_text("c"), on_events, &seen, &observer, error));
    set_gate(&seen, true);
    write_json(db, INSERT, "c", 0, "{}");
    wait_at_gate(&seen);
    for (uint32_t i = 0; i < 100; i++) {
        write_json(db, UPSERT, "c", 1 + i % 10, "{\"n\":1}");
        write_json(db, UPSERT, "other", i, "{\"n\":1}");
    }
    set_gate(&seen, false);
    wait_for(&seen, 11);
    bz_db_unobserve(observer);
    assert_int_equal(seen.count, 11);
    assert_int_equal(seen.calls, 2);
    for (size_t i = 1; i < 11; i++)
        assert_int_equal(bz_load32be(seen.events[i].id.bytes + 12), i);
    seen_release(&seen);
    must(bz_db_close(db, error));
}

static void a_large_transaction_reaches_every_observer_in_full(void **state)
{
    (void)state;
    struct world world = {{1}, 1700000000000u};
    struct bz_db *db = open_memory(&world, BZ_ROLE_CLIENT);
    struct seen seen[2];
    struct bz_observer *observers[2];
    struct bz_db_txn *txn = NULL;
    for (unsigned i = 0; i < 2; i++) {
        seen_init(&seen[i]);
        must(bz_db_observe(db, bz_bytes(NULL, 0), on_events, &seen[i], &observers[i], error));
    }
    must(bz_db_begin(db, &txn, error));
    for (uint32_t i = 0; i < 3000; i++)
        must(try_write(txn, INSERT, "c", i, "{}", error));
    must(bz_db_commit(txn, BZ_DURABLE_FULL, error));
    for (unsigned i = 0; i < 2; i++) {
        wait_for(&seen[i], 3000);
        bz_db_unobserve(observers[i]);
        assert_int_equal(seen[i].count, 3000);
        for (uint32_t k = 0; k < 3000; k++)
            assert_int_equal(bz_load32be(seen[i].events[k].id.bytes + 12), k);
        seen_release(&seen[i]);
    }
    must(bz_db_close(db, error));
}

/* Writes once more, reads, and removes itself. */
static void on_events_and_leave(void *context, const struct bz_event *events, size_t count)
{
    struct seen *seen = context;
    (void)events;
    pthread_mutex_lock(&seen->lock);
    struct bz_observer *observer = seen->observer;
    pthread_mutex_unlock(&seen->lock);
    write_json(seen->db, UPSERT, "c", 99, "{}");
    expect_json(seen->db, "c", 99, "{}");
    bz_db_unobserve(observer);
    pthread_mutex_lock(&seen->lock);
    seen->count += count;
    pthread_cond_broadcast(&seen->changed);
    pthread_mutex_unlock(&seen->lock);
}

static void an_observer_may_write_and_leave_from_within_its_call(void **state)
{
    (void)state;
    struct world world = {{1}, 1700000000000u};
    struct seen seen, other;
    struct bz_observer *stays = NULL;
    seen_init(&seen);
    seen_init(&other);
    seen.db = open_memory(&world, BZ_ROLE_CLIENT);
    must(bz_db_observe(seen.db, bz_bytes(NULL, 0), on_events, &other, &stays, error));
    pthread_mutex_lock(&seen.lock);
    must(bz_db_observe(
        seen.db, bz_bytes(NULL, 0), on_events_and_leave, &seen, &seen.observer, error));
    pthread_mutex_unlock(&seen.lock);
    write_json(seen.db, INSERT, "c", 1, "{}");
    wait_for(&seen, 1);
    wait_for(&other, 2);
    write_json(seen.db, INSERT, "c", 2, "{}");
    wait_for(&other, 3);
    assert_int_equal(seen.count, 1);
    bz_db_unobserve(stays);
    must(bz_db_close(seen.db, error));
    seen_release(&seen);
    seen_release(&other);
}

static void removing_an_observer_waits_for_its_call(void **state)
{
    (void)state;
    struct world world = {{1}, 1700000000000u};
    struct bz_db *db = open_memory(&world, BZ_ROLE_CLIENT);
    for (unsigned round = 0; round < 50; round++) {
        struct seen seen; /* gone after the round: a late call would be found out */
        struct bz_observer *observer = NULL;
        seen_init(&seen);
        must(bz_db_observe(db, bz_bytes(NULL, 0), on_events, &seen, &observer, error));
        write_json(db, UPSERT, "c", round, "{}");
        if (round % 2 == 0)
            wait_for(&seen, 1);
        bz_db_unobserve(observer);
        seen_release(&seen);
    }
    must(bz_db_close(db, error));
}

struct heard {
    struct bz_db *db;
    unsigned calls;
    uint64_t position;
};

static void on_grown(void *context)
{
    struct heard *heard = context;
    heard->calls++;
    heard->position = bz_db_position(heard->db);
}

static void listeners_are_called_by_the_commit(void **state)
{
    (void)state;
    struct world world = {{1}, 1700000000000u};
    struct heard heard[2] = {{open_memory(&world, BZ_ROLE_CLIENT)}};
    struct bz_db *db = heard[1].db = heard[0].db;
    struct bz_listener_handle *handles[2];
    struct bz_db_txn *txn = NULL;
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(bz_db_listen(db, on_grown, &heard[i], &handles[i]), 0);
    write_json(db, INSERT, "c", 1, "{}");
    bz_db_unlisten(handles[0]);
    write_json(db, INSERT, "c", 2, "{}");
    must(bz_db_setting_put(db, "s", bz_bytes_text("x"), error));
    must(bz_db_begin(db, &txn, error));
    must(bz_db_commit(txn, BZ_DURABLE_FULL, error));
    bz_db_unlisten(handles[1]);
    assert_int_equal(heard[0].calls, 1);
    assert_int_equal(heard[0].position, 1);
    assert_int_equal(heard[1].calls, 2);
    assert_int_equal(heard[1].position, 2);
    must(bz_db_close(db, error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(observers_are_told_of_local_and_remote_changes),
        cmocka_unit_test(changes_made_meanwhile_are_told_together_and_once),
        cmocka_unit_test(a_large_transaction_reaches_every_observer_in_full),
        cmocka_unit_test(an_observer_may_write_and_leave_from_within_its_call),
        cmocka_unit_test(removing_an_observer_waits_for_its_call),
        cmocka_unit_test(listeners_are_called_by_the_commit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What another process does to the conflicts of a database. It is a child that is told by a byte on
 * a pipe to take the next step, and answers with one when it has.
 */

#include "db/test_util.h"

#include "store/testing.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static struct bz_test_dir dir;
static char path[100];

/* ---- the other process ---- */

static void insist(int rc, const blaze_error *error)
{
    if (rc == 0)
        return;
    fprintf(stderr, "the other process: %s\n", error->text);
    _exit(1);
}

static void insist_moved(ssize_t moved)
{
    if (moved != 1)
        _exit(2);
}

static struct bz_db *open_disk(bool create, blaze_error *error)
{
    struct bz_db *db = NULL;
    struct bz_db_options options = {.create = create, .database = {{1}}};
    insist(bz_db_open(&db, path, &options, error), error);
    return db;
}

/* Brings records 0 to 4 of "c" in conflict. */
static void bring_conflicts(struct bz_db *db)
{
    struct world world = {{9}, 1700000000000u};
    struct bz_db *peer = open_memory(&world, BZ_ROLE_CLIENT);
    for (uint32_t i = 0; i < 5; i++) {
        write_json(db, UPSERT, "c", i, "{\"n\":1}");
        write_json(peer, UPSERT, "c", i, "{\"n\":2}");
    }
    send_changes(peer, db, 100, 0);
    must(bz_db_close(peer, error));
}

static void other_process(int in, int out)
{
    blaze_error failure = {0};
    char byte;
    for (int step = 0; read(in, &byte, 1) == 1; step++) {
        struct bz_db *db = open_disk(false, &failure);
        if (step == 0)
            bring_conflicts(db);
        else
            insist(bz_db_policy_put(db, bz_bytes_text("c"), bz_bytes(NULL, 0),
                       step == 1 ? BZ_POLICY_GREATEST : BZ_POLICY_UNSET, &failure),
                &failure);
        insist(bz_db_close(db, &failure), &failure);
        insist_moved(write(out, &byte, 1));
    }
    _exit(0);
}

struct other {
    pid_t child;
    int to, from;
};

/* While this process has nothing open. */
static struct other begin_other(void)
{
    int to[2], from[2];
    assert_int_equal(pipe(to), 0);
    assert_int_equal(pipe(from), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(to[1]);
        close(from[0]);
        other_process(to[0], from[1]);
    }
    close(to[0]);
    close(from[1]);
    return (struct other){child, to[1], from[0]};
}

static void step(struct other *other)
{
    char byte = 1;
    assert_int_equal(write(other->to, &byte, 1), 1);
    assert_int_equal(read(other->from, &byte, 1), 1);
}

static void end_other(struct other *other)
{
    int status = 0;
    close(other->to);
    close(other->from);
    assert_int_equal(waitpid(other->child, &status, 0), other->child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- this one ---- */

struct heard {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned came, ended;
};

static void on_conflict(void *context, const struct bz_conflict_event *event)
{
    struct heard *heard = context;
    pthread_mutex_lock(&heard->lock);
    heard->came += event->count > 0;
    heard->ended += event->count == 0;
    pthread_cond_broadcast(&heard->changed);
    pthread_mutex_unlock(&heard->lock);
}

static void await(struct heard *heard, unsigned came, unsigned ended)
{
    pthread_mutex_lock(&heard->lock);
    while (heard->came < came || heard->ended < ended)
        pthread_cond_wait(&heard->changed, &heard->lock);
    assert_int_equal(heard->came, came);
    assert_int_equal(heard->ended, ended);
    pthread_mutex_unlock(&heard->lock);
}

static void conflicts_of_another_process_are_told_and_its_policy_is_followed(void **state)
{
    (void)state;
    struct heard heard = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};
    struct bz_conflict_watch *watch = NULL;
    struct other other = begin_other();
    blaze_error failure = {0};
    struct bz_db *db = open_disk(true, &failure);
    /* A policy of something else: the settler runs, and has had its first look. */
    must(bz_db_policy_put(db, bz_bytes_text("d"), bz_bytes(NULL, 0), BZ_POLICY_LAST, error));
    must(bz_db_keep_policies(db, error));
    must(bz_db_watch_conflicts(db, bz_bytes(NULL, 0), on_conflict, &heard, &watch, error));
    step(&other);
    bz_db_poll(db);
    await(&heard, 5, 0);
    assert_int_equal(state_of(db).conflicts, 5);
    step(&other); /* nothing but the policy */
    bz_db_poll(db);
    await(&heard, 5, 5);
    expect_json(db, "c", 3, "{\"n\":2}");
    assert_int_equal(state_of(db).conflicts, 0);
    step(&other); /* it is unset again */
    bz_db_poll(db);
    end_other(&other);
    bz_db_unwatch_conflicts(watch);
    check_all(db);
    must(bz_db_close(db, error));
}

static int make_dir(void **state)
{
    (void)state;
    bz_test_dir_make(&dir);
    snprintf(path, sizeof path, "%s/db", dir.path);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    bz_test_dir_remove(&dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            conflicts_of_another_process_are_told_and_its_policy_is_followed, make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

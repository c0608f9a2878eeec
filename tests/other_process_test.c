/* SPDX-License-Identifier: Apache-2.0 */

/*
 * An observer is told of what another process commits, of each commit by itself: the next one comes
 * only after it. The other process is a child that is there before anything is opened; it commits
 * when it is told to.
 */

#include "cmocka_all.h"
#include "wait.h"

#include <blazedb.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LARGE (300u << 10) /* a few of these, and the log goes on in another segment */

static char scratch[100], path[128];
static int to_child, from_child;
static pid_t child;

static void check(int code, const blaze_error *error)
{
    if (code != BLAZE_OK) {
        fprintf(stderr, "%s\n", error->text);
        abort();
    }
}

static blaze_db *open_db(int create, int read_only)
{
    blaze_db *db;
    blaze_error error;
    blaze_open_options options;
    blaze_open_options_init(&options);
    options.create = create;
    options.read_only = read_only;
    options.durability = BLAZE_RELAXED;
    check(blaze_open(&db, path, &options, &error), &error);
    return db;
}

static void close_db(blaze_db *db)
{
    blaze_error error;
    check(blaze_close(db, &error), &error);
}

/* ---- the other process ---- */

static void commit(blaze_db *db, size_t size, blaze_durability durability)
{
    static char text[LARGE + 1];
    blaze_txn *txn;
    blaze_doc *doc;
    blaze_error error;
    blaze_id id = {{0}};
    memset(text, 'x', size);
    text[size] = '\0';
    check(blaze_doc_new(&doc), NULL);
    blaze_doc_add_string(doc, "text", text);
    check(blaze_begin(db, &txn, &error), &error);
    check(blaze_txn_insert(txn, "c", &id, doc, &error), &error);
    check(blaze_commit_with(txn, durability, &error), &error);
    blaze_doc_free(doc);
}

static void obey(blaze_db *db, char order)
{
    switch (order) {
    case 'f':
        commit(db, 10, BLAZE_FULL);
        break;
    case 'r':
        commit(db, 10, BLAZE_RELAXED);
        break;
    default:
        commit(db, LARGE, BLAZE_RELAXED);
        break;
    }
}

static void be_the_other(int orders, int answers)
{
    char order;
    blaze_db *db = NULL;
    alarm(120);
    while (read(orders, &order, 1) == 1) {
        if (db == NULL)
            db = open_db(0, 0);
        obey(db, order);
        if (write(answers, &order, 1) != 1)
            break;
    }
    if (db != NULL)
        close_db(db);
    _exit(0);
}

/* Has the other process commit, and waits until it says that it has. */
static void order_commit(char order)
{
    char answer;
    assert_int_equal(write(to_child, &order, 1), 1);
    assert_int_equal(read(from_child, &answer, 1), 1);
}

/* ---- setting up ---- */

static int setup(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    int down[2], up[2];
    snprintf(scratch, sizeof scratch, "%s/other-XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(scratch) == NULL || pipe(down) != 0 || pipe(up) != 0)
        return 1;
    snprintf(path, sizeof path, "%s/a.blz", scratch);
    child = fork();
    if (child == 0) {
        close(down[1]);
        close(up[0]);
        be_the_other(down[0], up[1]);
    }
    close(down[0]);
    close(up[1]);
    to_child = down[1];
    from_child = up[0];
    close_db(open_db(1, 0));
    return child < 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    int status;
    close(to_child);
    waitpid(child, &status, 0);
    close(from_child);
    snprintf(command, sizeof command, "rm -rf %s", scratch);
    return system(command) != 0 || status != 0;
}

/* ---- observing ---- */

static size_t events_seen;

static void on_events(void *context, const blaze_event *events, size_t count)
{
    (void)context;
    (void)events;
    NOTE(events_seen += count);
}

static blaze_observer *observe(blaze_db *db)
{
    blaze_observer *observer;
    blaze_error error;
    events_seen = 0;
    check(blaze_observe(db, "c", on_events, NULL, &observer, &error), &error);
    return observer;
}

static void each_commit_is_told(char order, size_t count)
{
    size_t before;
    pthread_mutex_lock(&test_lock);
    before = events_seen;
    pthread_mutex_unlock(&test_lock);
    for (size_t i = 1; i <= count; i++) {
        order_commit(order);
        WAIT_UNTIL(events_seen >= before + i);
    }
    pthread_mutex_lock(&test_lock);
    assert_int_equal(events_seen, before + count);
    pthread_mutex_unlock(&test_lock);
}

static void an_observer_is_told_of_full_and_relaxed_commits(void **state)
{
    (void)state;
    blaze_db *db = open_db(0, 0);
    blaze_observer *observer = observe(db);
    each_commit_is_told('f', 20);
    each_commit_is_told('r', 20);
    blaze_unobserve(observer);
    close_db(db);
}

static void it_is_told_as_the_log_goes_on_in_other_segments(void **state)
{
    (void)state;
    blaze_db *db = open_db(0, 0);
    blaze_observer *observer = observe(db);
    for (unsigned i = 0; i < 10; i++) {
        each_commit_is_told('l', 2);
        each_commit_is_told('r', 1);
    }
    blaze_unobserve(observer);
    close_db(db);
}

static void it_is_told_between_commits_of_its_own(void **state)
{
    (void)state;
    blaze_db *db = open_db(0, 0);
    blaze_observer *observer = observe(db);
    for (size_t i = 1; i <= 20; i++) {
        commit(db, 10, i % 2 == 0 ? BLAZE_FULL : BLAZE_RELAXED);
        WAIT_UNTIL(events_seen == 2 * i - 1);
        order_commit(i % 3 == 0 ? 'f' : 'r');
        WAIT_UNTIL(events_seen == 2 * i);
    }
    blaze_unobserve(observer);
    close_db(db);
}

static void it_is_told_when_opened_read_only(void **state)
{
    (void)state;
    blaze_db *db = open_db(0, 1);
    blaze_observer *observer = observe(db);
    each_commit_is_told('f', 10);
    each_commit_is_told('r', 10);
    each_commit_is_told('l', 5);
    blaze_unobserve(observer);
    close_db(db);
}

static void it_is_told_while_a_link_is_open(void **state)
{
    (void)state;
    char dir[128], *code;
    const char *const listen[] = {"mem:other-process"};
    blaze_hub *hub;
    blaze_link *link;
    blaze_error error;
    blaze_hub_options options;
    snprintf(dir, sizeof dir, "%s/hub", scratch);
    blaze_hub_options_init(&options);
    options.listen = listen;
    options.listen_count = 1;
    check(blaze_hub_open(&hub, dir, &options, &error), &error);
    blaze_db *db = open_db(0, 0);
    check(blaze_share(db, listen[0], NULL, &code, &error), &error);
    blaze_free(code);
    check(blaze_link_open(db, NULL, &link, &error), &error);
    blaze_observer *observer = observe(db);
    each_commit_is_told('f', 10);
    each_commit_is_told('r', 10);
    blaze_unobserve(observer);
    blaze_link_close(link);
    close_db(db);
    check(blaze_hub_close(hub, &error), &error);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(an_observer_is_told_of_full_and_relaxed_commits),
        TEST(it_is_told_as_the_log_goes_on_in_other_segments),
        TEST(it_is_told_between_commits_of_its_own),
        TEST(it_is_told_when_opened_read_only),
        TEST(it_is_told_while_a_link_is_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

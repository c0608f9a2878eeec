/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kill -9 at random moments, of everyone in turn: what was acknowledged is there, every database is
 * whole, and in the end all copies are equal. BLAZEDB_SEED repeats a run's choices (not the
 * scheduler's); BLAZEDB_LONG makes it many rounds.
 */
#include "world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LINES 12000 /* of an import: some transactions */

/* The moment of the next kill: the randomness is the test's subject. */
static void pass_time(struct world *w, unsigned most_ms)
{
    long us = (long)world_random(w, most_ms * 1000u);
    struct timespec time = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&time, NULL);
}

static void write_lines(const char *name, unsigned round)
{
    FILE *file = fopen(name, "wb");
    assert_non_null(file);
    for (unsigned i = 0; i < LINES; i++)
        fprintf(file, "{\"n\":%u,\"round\":%u,\"name\":\"number %u of round %u\"}\n", i, round, i,
            round);
    assert_int_equal(fclose(file), 0);
}

static uint64_t records(struct world *w, const char *db)
{
    return json_number(w, must(w, "status", db, NULL), "records");
}

static uint64_t of_round(struct world *w, const char *db, unsigned round)
{
    const char *count = must(w, "find", db, "c", text(w, "round = %u", round), "--count", NULL);
    return json_number(w, count, "count");
}

static void a_killed_import_leaves_whole_transactions(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);
    must(w, "insert", "a.blz", "c", "{}", NULL);
    for (unsigned round = 0; round < test_rounds(5, 15); round++) {
        write_lines("in.jsonl", round);
        struct process *import = start(w, "import", "a.blz", "c", "in.jsonl", NULL);
        pass_time(w, 250);
        send_signal(import, SIGKILL);
        int code = await_end(import);
        uint64_t there = of_round(w, "a.blz", round);
        must(w, "check", "a.blz", NULL);
        if (code == 0)
            assert_int_equal(there, LINES);
        else
            assert_true(there == LINES || there % 5000 == 0);
    }
}

static void a_writer_that_is_killed_does_not_hold_up_another(void **state)
{
    struct world *w = *state;
    must(w, "create", "a.blz", NULL);
    must(w, "insert", "a.blz", "c", "{}", NULL);
    write_lines("one.jsonl", 1);
    write_lines("two.jsonl", 2);
    for (unsigned round = 0; round < test_rounds(3, 8); round++) {
        uint64_t before = of_round(w, "a.blz", 1);
        struct process *lives = start(w, "import", "a.blz", "c", "one.jsonl", NULL);
        struct process *dies = start(w, "import", "a.blz", "c", "two.jsonl", NULL);
        pass_time(w, 250);
        send_signal(dies, SIGKILL);
        await_end(dies);
        assert_int_equal(await_end(lives), 0);
        assert_int_equal(of_round(w, "a.blz", 1), before + LINES);
        must(w, "check", "a.blz", NULL);
    }
}

/* ---- two databases, a joining third, and a hub ---- */

#define COPIES_MAX 128

struct stage {
    struct world *w;
    struct hub hub;
    const char *code;
    uint64_t acknowledged; /* records whose writing was told to be done */
    const char *copies[COPIES_MAX];
    unsigned copy_count;
    const char *inserted[COPIES_MAX]; /* ids of single inserts into b.blz */
    unsigned insert_count;
};

static void restart_hub(struct stage *s)
{
    await_end(s->hub.process);
    s->hub = start_hub(s->w, s->hub.directory, s->hub.url);
}

/* A connection may be cut by a kill on the other side: that is no failure here. */
static void assert_done_or_cut(struct world *w, struct process *process)
{
    int code = await_end(process);
    if (code != 0 && code != 8 && code != 128 + SIGKILL)
        fail_msg("a process ended with %d: %s", code, errors_of(w, process));
}

static void one_round(struct stage *s, unsigned round)
{
    struct world *w = s->w;
    const char *copy = text(w, "copy%u.blz", round);
    const char *id = json_at(
        w, must(w, "insert", "b.blz", "c", text(w, "{\"by\":\"b\",\"n\":%u}", round), NULL), "_id");
    s->inserted[s->insert_count++] = id;
    s->acknowledged++;
    write_lines("in.jsonl", round);

    struct process *import = start(w, "import", "a.blz", "c", "in.jsonl", NULL);
    struct process *all[] = {
        import,
        start(w, "sync", "a.blz", NULL),
        start(w, "sync", "b.blz", NULL),
        start(w, "join", copy, s->code, NULL),
        s->hub.process,
    };
    struct process *victim = all[world_random(w, 5)];
    pass_time(w, 400);
    send_signal(victim, SIGKILL);
    if (await_end(import) == 0)
        s->acknowledged += LINES;
    for (int i = 1; i < 4; i++)
        assert_done_or_cut(w, all[i]);
    if (victim == s->hub.process)
        restart_hub(s);
    s->copies[s->copy_count++] = copy;
}

static void whoever_is_killed_all_copies_become_equal(void **state)
{
    struct world *w = *state;
    struct stage s = {.w = w, .hub = start_hub(w, "hub", "tcp://127.0.0.1:0")};
    must(w, "create", "a.blz", NULL);
    must(w, "insert", "a.blz", "c", "{\"by\":\"a\"}", NULL);
    s.acknowledged = 1;
    s.code = json_at(w, must(w, "share", "a.blz", s.hub.url, NULL), "code");
    must(w, "join", "b.blz", s.code, NULL);

    for (unsigned round = 0; round < test_rounds(6, 12); round++)
        one_round(&s, round);

    /* All is quiet: a sync of each, twice around, and everything is everywhere. */
    for (unsigned i = 0; i < s.copy_count; i++)
        must(w, "join", s.copies[i], s.code, NULL);
    must(w, "sync", "b.blz", NULL);
    must(w, "sync", "a.blz", NULL);
    must(w, "sync", "b.blz", NULL);
    assert_same(w, "a.blz", "b.blz");
    must(w, "check", "a.blz", NULL);
    must(w, "check", "b.blz", NULL);
    for (unsigned i = 0; i < s.copy_count; i++) {
        must(w, "sync", s.copies[i], NULL);
        assert_same(w, "a.blz", s.copies[i]);
        must(w, "check", s.copies[i], NULL);
    }
    assert_true(records(w, "a.blz") >= s.acknowledged);
    for (unsigned i = 0; i < s.insert_count; i++)
        must(w, "get", "a.blz", "c", s.inserted[i], NULL);
    stop_hub(&s.hub);
}

/* Joins one copy again and again, of whom the joiner or the hub is killed at some moment. */
static void a_join_that_is_killed_is_finished_by_the_same_join(void **state)
{
    struct world *w = *state;
    struct stage s = {.w = w, .hub = start_hub(w, "hub", text(w, "unix:%s/hub.sock", w->dir))};
    must(w, "create", "a.blz", NULL);
    for (unsigned round = 0; round < 3; round++) {
        write_lines("in.jsonl", round);
        must(w, "import", "a.blz", "c", "in.jsonl", NULL);
    }
    s.code = json_at(w, must(w, "share", "a.blz", s.hub.url, NULL), "code");
    for (unsigned copy = 0; copy < test_rounds(2, 10); copy++) {
        const char *path = text(w, "copy%u.blz", copy);
        unsigned killed = 0;
        for (unsigned turn = 0; turn < 5; turn++) {
            struct process *join = start(w, "join", path, s.code, NULL);
            struct process *victim = world_random(w, 3) == 0 ? s.hub.process : join;
            pass_time(w, 120);
            killed += running(join);
            send_signal(victim, SIGKILL);
            assert_done_or_cut(w, join);
            if (victim == s.hub.process)
                restart_hub(&s);
        }
        assert_true(killed > 0);
        must(w, "join", path, s.code, NULL);
        assert_same(w, "a.blz", path);
        assert_int_equal(json_number(w, must(w, "sync", path, NULL), "received"), 0);
        must(w, "check", path, NULL);
    }
    stop_hub(&s.hub);
}

/* Joins until some of the records are there and others not, and kills it then. Its own pauses make
 * no difference to it: it is stopped while it is looked at. On a slow machine the hub may give it
 * up meanwhile: then another one goes on. */
static void join_half_way(struct world *w, const char *path, const char *code, uint64_t all)
{
    struct process *join = start(w, "join", path, code, NULL);
    uint64_t there = 0;
    while (there == 0) {
        if (!running(join)) {
            assert_done_or_cut(w, join);
            join = start(w, "join", path, code, NULL);
        }
        pass_time(w, 4);
        send_signal(join, SIGSTOP);
        struct outcome status = run(w, "status", path, NULL);
        there = status.code == 0 ? json_number(w, status.out, "records") : 0;
        if (there == 0)
            send_signal(join, SIGCONT);
    }
    send_signal(join, SIGKILL);
    assert_int_equal(await_end(join), 128 + SIGKILL);
    assert_true(there < all);
}

static void a_join_that_was_cut_says_so_until_the_same_join_has_finished_it(void **state)
{
    struct world *w = *state;
    struct hub hub = start_hub(w, "hub", text(w, "unix:%s/hub.sock", w->dir));
    must(w, "create", "a.blz", NULL);
    for (unsigned round = 0; round < 5; round++) {
        write_lines("in.jsonl", round);
        must(w, "import", "a.blz", "c", "in.jsonl", NULL);
    }
    const char *code = json_at(w, must(w, "share", "a.blz", hub.url, NULL), "code");
    join_half_way(w, "b.blz", code, records(w, "a.blz"));
    for (int look = 0; look < 2; look++) { /* the second time after it was opened once */
        const char *status = must(w, "status", "b.blz", NULL);
        assert_string_equal(json_at(w, status, "caught_up"), "false");
        assert_true(json_number(w, status, "records") < records(w, "a.blz"));
        must(w, "check", "b.blz", NULL);
    }
    must(w, "join", "b.blz", code, NULL);
    assert_string_equal(json_at(w, must(w, "status", "b.blz", NULL), "caught_up"), "true");
    assert_same(w, "a.blz", "b.blz");
    must(w, "check", "b.blz", NULL);
    stop_hub(&hub);
}

static void a_killed_live_sync_goes_on_where_it_was(void **state)
{
    struct world *w = *state;
    struct hub hub = start_hub(w, "hub", text(w, "unix:%s/hub.sock", w->dir));
    must(w, "create", "a.blz", NULL);
    const char *code = json_at(w, must(w, "share", "a.blz", hub.url, NULL), "code");
    must(w, "join", "b.blz", code, NULL);
    for (unsigned round = 0; round < test_rounds(3, 8); round++) {
        write_lines("in.jsonl", round);
        struct process *a = start(w, "sync", "a.blz", "--live", NULL);
        struct process *b = start(w, "sync", "b.blz", "--live", NULL);
        struct process *import = start(w, "import", "a.blz", "c", "in.jsonl", NULL);
        pass_time(w, 300);
        send_signal(world_random(w, 2) == 0 ? a : b, SIGKILL);
        assert_int_equal(await_end(import), 0);
        send_signal(a, SIGTERM);
        send_signal(b, SIGTERM);
        await_end(a);
        await_end(b);
    }
    must(w, "sync", "a.blz", NULL);
    must(w, "sync", "b.blz", NULL);
    assert_same(w, "a.blz", "b.blz");
    must(w, "check", "b.blz", NULL);
    stop_hub(&hub);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_killed_import_leaves_whole_transactions),
        TEST(a_writer_that_is_killed_does_not_hold_up_another),
        TEST(whoever_is_killed_all_copies_become_equal),
        TEST(a_join_that_is_killed_is_finished_by_the_same_join),
        TEST(a_join_that_was_cut_says_so_until_the_same_join_has_finished_it),
        TEST(a_killed_live_sync_goes_on_where_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A whole file system that is put back to an older state, between two syncs through a hub. */
#include "world.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID_1 "0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a01"
#define ID_2 "0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a02"
#define ID_3 "0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a03"
#define ID_4 "0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a04"

/* ---- trees ---- */

static const char *tree_from, *tree_to;

static void copy_file(const char *from, const char *to)
{
    char bytes[16384];
    ssize_t n;
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(in >= 0 && out >= 0);
    while ((n = read(in, bytes, sizeof bytes)) > 0)
        assert_int_equal(write(out, bytes, (size_t)n), n);
    assert_int_equal(n, 0);
    assert_int_equal(close(in), 0);
    assert_int_equal(close(out), 0);
}

static int copy_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    char to[1024];
    (void)st;
    (void)at;
    snprintf(to, sizeof to, "%s%s", tree_to, path + strlen(tree_from));
    if (type == FTW_D)
        mkdir(to, 0700);
    else if (type == FTW_F)
        copy_file(path, to);
    return 0;
}

/* What is there already is written to, and stays the same file. */
static void copy_tree(const char *from, const char *to)
{
    tree_from = from;
    tree_to = to;
    assert_int_equal(nftw(from, copy_one, 16, FTW_PHYS), 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    if (type == FTW_F && strcmp(path + at->base, "identity") != 0)
        assert_int_equal(unlink(path), 0);
    return 0;
}

/* As a volume is put back to a snapshot: files are what they were, the inodes of the marks, too. */
static void put_back(const char *aside, const char *directory)
{
    assert_int_equal(nftw(directory, remove_one, 16, FTW_PHYS), 0);
    copy_tree(aside, directory);
}

/* ---- a member ---- */

static const char *of_record(struct world *w, const char *db, const char *id, const char *name)
{
    return json_at(w, must(w, "get", db, "c", id, NULL), name);
}

static void sync_all(struct world *w)
{
    must(w, "sync", "a.blz", NULL);
    must(w, "sync", "b.blz", NULL);
    must(w, "sync", "a.blz", NULL);
    assert_same(w, "a.blz", "b.blz");
    must(w, "check", "a.blz", NULL);
    must(w, "check", "b.blz", NULL);
}

static struct hub two_and_a_hub(struct world *w)
{
    struct hub hub = start_hub(w, "hub", "tcp://127.0.0.1:0");
    must(w, "create", "a.blz", NULL);
    must(w, "insert", "a.blz", "c", "{\"text\":\"before\"}", "--id", ID_1, NULL);
    const char *code = json_at(w, must(w, "share", "a.blz", hub.url, NULL), "code");
    must(w, "join", "b.blz", code, NULL);
    sync_all(w);
    return hub;
}

static void a_member_gets_back_what_it_lost_and_keeps_what_it_wrote_at_once(void **state)
{
    struct world *w = *state;
    struct hub hub = two_and_a_hub(w);
    const char *node = json_at(w, must(w, "status", "a.blz", NULL), "node");
    copy_tree("a.blz", "aside");
    must(w, "update", "a.blz", "c", ID_1, "{\"text\":\"lost\"}", NULL);
    must(w, "insert", "a.blz", "c", "{\"text\":\"lost\"}", "--id", ID_2, NULL);
    must(w, "sync", "a.blz", NULL);

    put_back("aside", "a.blz");
    assert_string_equal(of_record(w, "a.blz", ID_1, "text"), "before");
    refuse(w, 1, "no record", "get", "a.blz", "c", ID_2, NULL);
    /* Under the same numbers as what was lost, and some more. */
    must(w, "update", "a.blz", "c", ID_1, "{\"text\":\"after\"}", NULL);
    must(w, "insert", "a.blz", "c", "{\"text\":\"after\"}", "--id", ID_3, NULL);
    must(w, "insert", "a.blz", "c", "{\"text\":\"after\"}", "--id", ID_4, NULL);
    assert_string_equal(json_at(w, must(w, "status", "a.blz", NULL), "node"), node);

    sync_all(w);
    assert_string_not_equal(json_at(w, must(w, "status", "a.blz", NULL), "node"), node);
    assert_string_equal(of_record(w, "a.blz", ID_2, "text"), "lost");
    assert_string_equal(of_record(w, "b.blz", ID_3, "text"), "after");
    assert_string_equal(of_record(w, "b.blz", ID_4, "text"), "after");
    assert_string_equal(of_record(w, "b.blz", ID_1, "text"), "after");
    assert_int_equal(json_number(w, must(w, "status", "b.blz", NULL), "conflicts"), 1);
    const char *conflict = must(w, "conflicts", "b.blz", "c", ID_1, NULL);
    assert_string_equal(conflict, must(w, "conflicts", "a.blz", "c", ID_1, NULL));
    assert_non_null(strstr(conflict, "\"losers\":[{\"value\":\"lost\""));
    stop_hub(&hub);
}

static void put_back_twice_to_the_same_state_it_loses_nothing_either(void **state)
{
    struct world *w = *state;
    struct hub hub = two_and_a_hub(w);
    copy_tree("a.blz", "aside");
    must(w, "insert", "a.blz", "c", "{\"text\":\"first\"}", "--id", ID_2, NULL);
    must(w, "sync", "a.blz", NULL);
    put_back("aside", "a.blz");
    must(w, "insert", "a.blz", "c", "{\"text\":\"second\"}", "--id", ID_3, NULL);
    must(w, "sync", "a.blz", NULL);
    put_back("aside", "a.blz");
    must(w, "insert", "a.blz", "c", "{\"text\":\"third\"}", "--id", ID_4, NULL);
    sync_all(w);
    assert_string_equal(of_record(w, "a.blz", ID_2, "text"), "first");
    assert_string_equal(of_record(w, "a.blz", ID_3, "text"), "second");
    assert_string_equal(of_record(w, "b.blz", ID_4, "text"), "third");
    assert_int_equal(json_number(w, must(w, "status", "b.blz", NULL), "conflicts"), 0);
    stop_hub(&hub);
}

/* ---- a hub ---- */

static void a_hub_gets_back_what_it_lost(void **state)
{
    struct world *w = *state;
    struct hub hub = two_and_a_hub(w);
    const char *url = hub.url;
    stop_hub(&hub);
    copy_tree("hub", "aside");
    hub = start_hub(w, "hub", url);
    must(w, "update", "a.blz", "c", ID_1, "{\"text\":\"lost\"}", NULL);
    must(w, "insert", "a.blz", "c", "{\"text\":\"lost\"}", "--id", ID_2, NULL);
    must(w, "sync", "a.blz", NULL);
    stop_hub(&hub);

    put_back("aside", "hub");
    hub = start_hub(w, "hub", url);
    /* Its log becomes as long again as it was. */
    must(w, "update", "b.blz", "c", ID_1, "{\"text\":\"after\"}", NULL);
    must(w, "insert", "b.blz", "c", "{\"text\":\"after\"}", "--id", ID_3, NULL);
    must(w, "sync", "b.blz", NULL);
    sync_all(w);
    assert_string_equal(of_record(w, "b.blz", ID_2, "text"), "lost");
    assert_string_equal(of_record(w, "a.blz", ID_3, "text"), "after");
    assert_int_equal(json_number(w, must(w, "status", "a.blz", NULL), "conflicts"), 1);
    stop_hub(&hub);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_member_gets_back_what_it_lost_and_keeps_what_it_wrote_at_once),
        TEST(put_back_twice_to_the_same_state_it_loses_nothing_either),
        TEST(a_hub_gets_back_what_it_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

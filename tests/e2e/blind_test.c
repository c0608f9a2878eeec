/* SPDX-License-Identifier: Apache-2.0 */
/* A hub that cannot read what it carries: what lies in its files and in its memory, and what it
 * says to whoever asks. */
#include "world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID_1 "0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a01"
#define ID_2 "0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a02"

/* ---- searching ---- */

static const char *const planted[] = {"plantedcollection", "plantedfield", "plantednested",
    "plantedvalue", "plantedconflict", "planteddeleted", "plantedbulk", "plantedshort"};
#define PLANTED (sizeof planted / sizeof *planted)

/* Which of `words` lie in the bytes: a bit each. */
static unsigned search(const char *data, size_t size, const char *const *words, size_t count)
{
    unsigned found = 0;
    for (size_t i = 0; i < count; i++)
        if (memmem(data, size, words[i], strlen(words[i])) != NULL)
            found |= 1u << i;
    return found;
}

static unsigned search_file(const char *path, const char *const *words, size_t count)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL && errno == ENOENT)
        return 0; /* the hub has done with it since it was listed */
    assert_non_null(file);
    struct stat st;
    assert_int_equal(fstat(fileno(file), &st), 0);
    char *data = malloc((size_t)st.st_size + 1);
    assert_non_null(data);
    size_t size = fread(data, 1, (size_t)st.st_size, file);
    unsigned found = search(data, size, words, count);
    free(data);
    fclose(file);
    return found;
}

/* All files below a directory, their names too. */
static unsigned search_files(const char *path, const char *const *words, size_t count)
{
    unsigned found = search(path, strlen(path), words, count);
    DIR *dir = opendir(path);
    if (dir == NULL)
        return found | search_file(path, words, count);
    struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        char inner[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        found |= search_files(inner, words, count);
    }
    closedir(dir);
    return found;
}

/* A mapping larger than this is the shadow of a sanitizer, which has terabytes of it and none of
 * what the process has. */
#define MAPPING_MAX (1ul << 30)

/* All that a process has in memory. */
static unsigned search_memory(pid_t pid, const char *const *words, size_t count)
{
    enum { PIECE = 1 << 20, OVERLAP = 64 };
    static char data[OVERLAP + PIECE];
    char path[64], line[512];
    unsigned found = 0;
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "r");
    snprintf(path, sizeof path, "/proc/%d/mem", (int)pid);
    int mem = open(path, O_RDONLY);
    if (maps == NULL || mem < 0)
        fail_msg("%s: not to be read", path);
    while (fgets(line, sizeof line, maps) != NULL) {
        unsigned long from, to;
        assert_int_equal(sscanf(line, "%lx-%lx", &from, &to), 2);
        size_t kept = 0;
        if (to - from > MAPPING_MAX)
            continue;
        for (unsigned long at = from; at < to;) {
            size_t wanted = to - at < PIECE ? to - at : PIECE;
            ssize_t got = pread(mem, data + kept, wanted, (off_t)at);
            if (got <= 0)
                break; /* not readable by anyone */
            size_t have = kept + (size_t)got;
            found |= search(data, have, words, count);
            kept = have < OVERLAP ? have : OVERLAP;
            memmove(data, data + have - kept, kept);
            at += (unsigned long)got;
        }
    }
    close(mem);
    fclose(maps);
    return found;
}

/* ---- what members write ---- */

static void write_bulk(const char *name)
{
    FILE *file = fopen(name, "wb");
    assert_non_null(file);
    for (unsigned i = 0; i < 3000; i++)
        fprintf(file, "{\"n\":%u,\"plantedfield\":\"plantedbulk %u\"}\n", i, i * 7919);
    assert_int_equal(fclose(file), 0);
}

static void write_apart(struct world *w)
{
    must(w, "update", "a.blz", "plantedcollection", ID_1,
        "{\"plantedfield\":\"plantedconflict a\"}", NULL);
    must(w, "update", "b.blz", "plantedcollection", ID_1,
        "{\"plantedfield\":\"plantedconflict b\"}", NULL);
    must(w, "delete", "a.blz", "plantedcollection", ID_2, NULL);
    must(w, "sync", "a.blz", NULL);
    must(w, "sync", "b.blz", NULL);
    must(w, "sync", "a.blz", NULL);
    assert_same(w, "a.blz", "b.blz");
    const char *conflicts = must(w, "conflicts", "b.blz", NULL);
    assert_non_null(strstr(conflicts, "plantedconflict a"));
    assert_non_null(strstr(conflicts, "plantedconflict b"));
}

static void a_hub_has_nothing_of_what_it_carries_on_its_disk_or_in_its_memory(void **state)
{
    struct world *w = *state;
    struct hub hub = start_hub(w, "hub", text(w, "unix:%s/hub.sock", w->dir));
    must(w, "create", "a.blz", NULL);
    must(w, "insert", "a.blz", "plantedcollection",
        "{\"plantedfield\":\"plantedvalue\",\"map\":{\"plantednested\":[1,\"plantedshort\"]}}",
        "--id", ID_1, NULL);
    must(w, "insert", "a.blz", "plantedcollection", "{\"plantedfield\":\"planteddeleted\"}", "--id",
        ID_2, NULL);
    write_bulk("bulk.jsonl");
    must(w, "import", "a.blz", "plantedcollection", "bulk.jsonl", NULL);
    const char *code = json_at(w, must(w, "share", "a.blz", hub.url, NULL), "code");
    must(w, "join", "b.blz", code, NULL);
    assert_same(w, "a.blz", "b.blz");
    write_apart(w);

    /* That the search finds what is there: in a member's files, and the hub's own in its memory. */
    assert_int_equal(search_files("a.blz", planted, PLANTED), (1u << PLANTED) - 1);
    const char *database = json_at(w, must(w, "status", "a.blz", NULL), "database");
    const char *own[] = {database, hub.directory};
    assert_int_equal(search_memory(pid_of(hub.process), own, 2), 3);

    assert_int_equal(search_memory(pid_of(hub.process), planted, PLANTED), 0);
    assert_int_equal(search_files("hub", planted, PLANTED), 0);
    stop_hub(&hub);
    assert_int_equal(search_files("hub", planted, PLANTED), 0);
    const char *hosted = text(w, "hub/%s.blz", database);
    must(w, "check", hosted, NULL);
    const char *here = must(w, "status", "a.blz", NULL), *there = must(w, "status", hosted, NULL);
    assert_string_equal(json_at(w, there, "blind"), "true");
    assert_string_equal(json_at(w, there, "digest"), json_at(w, here, "digest"));
    assert_string_equal(json_at(w, there, "records"), json_at(w, here, "records"));
}

static void a_blind_copy_says_that_it_cannot_be_read(void **state)
{
    struct world *w = *state;
    struct hub hub = start_hub(w, "hub", "tcp://127.0.0.1:0");
    must(w, "create", "a.blz", NULL);
    must(w, "insert", "a.blz", "c", "{\"n\":1}", "--id", ID_1, NULL);
    must(w, "share", "a.blz", hub.url, NULL);
    const char *url = hub.url;
    stop_hub(&hub);
    const char *hosted =
        text(w, "hub/%s.blz", json_at(w, must(w, "status", "a.blz", NULL), "database"));
    static const char words[] = "blind copy";
    refuse(w, 6, words, "get", hosted, "c", ID_1, NULL);
    refuse(w, 6, words, "find", hosted, "c", NULL);
    refuse(w, 6, words, "find", hosted, "c", "n = 1", "--count", NULL);
    refuse(w, 6, words, "export", hosted, "c", NULL);
    refuse(w, 6, words, "conflicts", hosted, NULL);
    refuse(w, 6, words, "insert", hosted, "c", "{\"n\":2}", NULL);
    refuse(w, 6, words, "delete", hosted, "c", ID_1, NULL);
    refuse(w, 6, words, "index", hosted, "c", "n", NULL);
    refuse(w, 6, words, "watch", hosted, NULL);
    refuse(w, 6, words, "share", hosted, url, NULL);
}

static void a_hub_reads_only_what_it_was_trusted_with(void **state)
{
    struct world *w = *state;
    struct hub hub = start_hub(w, "hub", "tcp://127.0.0.1:0");
    assert_non_null(strstr(errors_of(w, hub.process), "blind hub"));
    must(w, "create", "a.blz", NULL);
    must(w, "insert", "a.blz", "c", "{\"n\":1}", "--id", ID_1, NULL);
    refuse(w, 6, "--trusted", "share", "a.blz", hub.url, "--trusted", NULL);
    stop_hub(&hub);

    hub = start_trusted_hub(w, "hub", "tcp://127.0.0.1:0");
    const char *url = hub.url;
    assert_non_null(strstr(errors_of(w, hub.process), "trusted hub"));
    const char *code = json_at(w, must(w, "share", "a.blz", url, "--trusted", NULL), "code");
    must(w, "create", "blind.blz", NULL);
    must(w, "insert", "blind.blz", "c", "{\"n\":1}", "--id", ID_1, NULL);
    must(w, "share", "blind.blz", url, NULL);
    must(w, "share", "blind.blz", url, "--trusted", NULL); /* it stays what it was at first */
    must(w, "join", "b.blz", code, NULL);
    assert_same(w, "a.blz", "b.blz");
    stop_hub(&hub);
    const char *read =
        text(w, "hub/%s.blz", json_at(w, must(w, "status", "a.blz", NULL), "database"));
    const char *carried =
        text(w, "hub/%s.blz", json_at(w, must(w, "status", "blind.blz", NULL), "database"));
    assert_string_equal(json_at(w, must(w, "get", read, "c", ID_1, NULL), "n"), "1");
    refuse(w, 6, "blind copy", "get", carried, "c", ID_1, NULL);

    /* A blind hub serves its own, and refuses what it could read. */
    hub = start_hub(w, "hub", url);
    must(w, "sync", "blind.blz", NULL);
    refuse(w, 6, "does not serve", "sync", "a.blz", NULL);
    stop_hub(&hub);

    /* And says so when it starts. */
    struct process *blind = start_on_terminal(w, "serve", "hub", "--listen", url, NULL);
    await_text(blind, "1 of the databases here were given to this hub with their secret");
    send_signal(blind, SIGTERM);
    assert_int_equal(await_end(blind), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_hub_has_nothing_of_what_it_carries_on_its_disk_or_in_its_memory),
        TEST(a_blind_copy_says_that_it_cannot_be_read),
        TEST(a_hub_reads_only_what_it_was_trusted_with),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Power cuts: a workload runs on a layer that records what it asks of the disk; from the record the
 * states are built that a power cut may leave at each sync and between; each is opened by the real
 * database, and must hold what was promised. Then one of them becomes the disk on which the
 * workload goes on, so that the next power cut may come in the middle of a recovery.
 *
 *   powercut_crash_test                       the test; BLAZEDB_SEED, BLAZEDB_LONG
 *   powercut_crash_test TRACE POINT CHOICE    one image again; leaves it in ./powercut-image
 */

#include "disk.h"
#include "judge.h"

#include "cmocka_all.h"
#include "random.h"
#include "store/testing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#define KEPT_IMAGE "powercut-image"
#define WHY_SIZE   512

/* ---- traces ---- */

struct trace {
    const uint8_t *bytes;
    size_t size;
    uint64_t *at; /* where each record is */
    uint64_t count;
    uint64_t settled; /* the first after the beginning */
};

static struct trace_record record_at(const struct trace *trace, uint64_t i)
{
    struct trace_record record;
    memcpy(&record, trace->bytes + trace->at[i], sizeof record);
    return record;
}

static const uint8_t *payload_at(const struct trace *trace, uint64_t i)
{
    return trace->bytes + trace->at[i] + sizeof(struct trace_record);
}

static void load_trace(struct trace *trace, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        fail_msg("%s: %s", path, strerror(errno));
    void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    assert_true(bytes != MAP_FAILED);
    close(fd);
    *trace = (struct trace){.bytes = bytes, .size = (size_t)st.st_size};
    trace->at = malloc(trace->size / sizeof(struct trace_record) * sizeof *trace->at + 8);
    assert_non_null(trace->at);
    for (uint64_t at = 0; at < trace->size;) {
        struct trace_record record;
        assert_true(trace->size - at >= sizeof record);
        memcpy(&record, trace->bytes + at, sizeof record);
        trace->at[trace->count++] = at;
        if (record.kind == TRACE_SETTLED)
            trace->settled = trace->count;
        at += sizeof record + record.size;
        assert_true(at <= trace->size);
    }
}

static void unload_trace(struct trace *trace)
{
    munmap((void *)(uintptr_t)trace->bytes, trace->size);
    free(trace->at);
}

static void put_record(FILE *trace, enum trace_kind kind, uint64_t inode, uint64_t a, uint64_t b,
    const void *payload, size_t size)
{
    struct trace_record record = {(uint32_t)kind, (uint32_t)size, inode, a, b};
    assert_int_equal(fwrite(&record, sizeof record, 1, trace), 1);
    if (size > 0)
        assert_int_equal(fwrite(payload, size, 1, trace), 1);
}

/* ---- the beginning of a trace ---- */

struct place {
    struct bz_test_dir dir;
    char root[128];  /* the disk of the workload: the database is ROOT/db */
    char image[128]; /* where images are built */
    char trace[128];
};

struct scan {
    FILE *trace;
    const char *path;
    uint64_t inode;
};

static void put_dir(FILE *trace, const char *path, uint64_t inode);

static void put_file(FILE *trace, const char *path, uint64_t inode, uint64_t size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(size + 1);
    assert_non_null(file);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, size, file), size);
    fclose(file);
    put_record(trace, TRACE_WRITE, inode, 0, 0, data, size);
    free(data);
}

static int put_entry(void *context, const char *name)
{
    const struct scan *scan = context;
    char path[512];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", scan->path, name);
    assert_int_equal(stat(path, &st), 0);
    bool folder = S_ISDIR(st.st_mode);
    put_record(scan->trace, folder ? TRACE_MKDIR : TRACE_CREATE, scan->inode, st.st_ino, 0, name,
        strlen(name) + 1);
    if (folder)
        put_dir(scan->trace, path, st.st_ino);
    else
        put_file(scan->trace, path, st.st_ino, (uint64_t)st.st_size);
    return 0;
}

static void put_dir(FILE *trace, const char *path, uint64_t inode)
{
    struct scan scan = {trace, path, inode};
    assert_int_equal(bz_dir_list(path, put_entry, &scan, NULL), 0);
}

/* What is in ROOT, and what is known of it. */
static void begin_trace(const struct place *place, const struct history *known)
{
    struct stat st;
    FILE *trace = fopen(place->trace, "wb");
    assert_non_null(trace);
    assert_int_equal(stat(place->root, &st), 0);
    put_record(trace, TRACE_SEED, 0, known->plan.seed, known->plan.large, NULL, 0);
    for (size_t i = 0; i < known->plan.life_count; i++)
        put_record(
            trace, TRACE_LIFE, 0, known->plan.lives[i].after, known->plan.lives[i].life, NULL, 0);
    if (known->created)
        put_record(trace, TRACE_CREATED, 0, 0, 0, NULL, 0);
    put_record(trace, TRACE_DURABLE, 0, known->least, 0, NULL, 0);
    put_record(trace, TRACE_BEGUN, 0, known->most, 0, NULL, 0);
    put_record(trace, TRACE_ROOT, st.st_ino, 0, 0, NULL, 0);
    put_dir(trace, place->root, st.st_ino);
    put_record(trace, TRACE_SETTLED, 0, 0, 0, NULL, 0);
    assert_int_equal(fclose(trace), 0);
}

/* ---- the workload ---- */

/* Runs it once; true if it was killed. */
static bool run_workload(const struct place *place, uint64_t kill_after)
{
    char number[32];
    snprintf(number, sizeof number, "%" PRIu64, kill_after);
    char *arguments[] = {(char *)(uintptr_t)POWERCUT_WORKLOAD, (char *)(uintptr_t)place->root,
        (char *)(uintptr_t)place->trace, number, NULL};
    pid_t pid;
    int status = 0;
    assert_int_equal(posix_spawn(&pid, POWERCUT_WORKLOAD, NULL, NULL, arguments, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) != 0)
        assert_int_equal(WEXITSTATUS(status), TRACE_KILLED);
    return WEXITSTATUS(status) != 0;
}

/* A few processes, one after the other: some are killed, then one that ends well, or not. */
static void live(const struct place *place, uint64_t seed)
{
    uint64_t kills = plan_mix(seed, 1) % 3;
    for (uint64_t i = 0; i < kills; i++)
        run_workload(place, 1 + plan_mix(seed, 10 + i) % 900);
    run_workload(place, 0);
}

/* ---- images ---- */

/* A walk through a trace. */
struct walk {
    const struct trace *trace;
    struct disk *disk;
    struct history history;
    uint64_t at;
};

static struct walk begin_walk(const struct trace *trace, enum disk_lie lie)
{
    return (struct walk){.trace = trace, .disk = disk_new(lie)};
}

static void walk_to(struct walk *walk, uint64_t point)
{
    for (; walk->at < point; walk->at++) {
        struct trace_record record = record_at(walk->trace, walk->at);
        disk_apply(walk->disk, &record, payload_at(walk->trace, walk->at));
        if (!history_apply(&walk->history, &record))
            fail_msg("record %" PRIu64 ": a process found %" PRIu64 " commits; %" PRIu64
                     " were acknowledged, %" PRIu64 " begun",
                walk->at, record.a, walk->history.least, walk->history.most);
    }
}

static void make_place(const char *path)
{
    bz_test_remove_all(path);
    assert_int_equal(mkdir(path, 0700), 0);
}

static bool judge_image(const struct walk *walk, uint64_t choice, const char *path, char *why)
{
    make_place(path);
    disk_cut(walk->disk, choice, path);
    return judge(&walk->history, path, why);
}

static bool is_boundary(const struct trace *trace, uint64_t i)
{
    uint32_t kind = record_at(trace, i).kind;
    return kind == TRACE_SYNC_BEGIN || kind == TRACE_SYNC_END || kind == TRACE_WRITTEN;
}

static int compare_points(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* `count` points in order, half of them before and behind syncs, all over the trace. */
static uint64_t *choose_points(const struct trace *trace, uint64_t count, uint64_t seed)
{
    uint64_t *points = malloc((count + 1) * sizeof *points);
    uint64_t *bounds = malloc((2 * trace->count + 1) * sizeof *bounds);
    uint64_t bound_count = 0, span = trace->count - trace->settled + 1;
    assert_non_null(points);
    assert_non_null(bounds);
    for (uint64_t i = trace->settled; i < trace->count; i++) {
        if (is_boundary(trace, i)) {
            bounds[bound_count++] = i;
            bounds[bound_count++] = i + 1;
        }
    }
    assert_true(bound_count > 0);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t mix = plan_mix(seed, i);
        points[i] = i % 2 == 0 ? trace->settled + mix % span
                               : bounds[(mix % 64 + i * bound_count / count) % bound_count];
    }
    qsort(points, count, sizeof *points, compare_points);
    free(bounds);
    return points;
}

/* Leaves what is needed to see it again. */
static void tell(const struct place *place, uint64_t point, uint64_t choice, const char *why)
{
    char kept[64], command[512];
    snprintf(kept, sizeof kept, "powercut-%" PRIx64 ".trace", choice);
    snprintf(command, sizeof command, "cp %s %s", place->trace, kept);
    if (system(command) != 0)
        print_error("the trace could not be kept\n");
    struct bz_test_dir dir = place->dir;
    bz_test_dir_remove(&dir);
    fail_msg(
        "%s\nto repeat: ./powercut_crash_test %s %" PRIu64 " %" PRIu64, why, kept, point, choice);
}

/* Judges `count` images. With a disk that lies: how many were found bad. */
static uint64_t judge_images(const struct place *place, const struct trace *trace,
    enum disk_lie lie, uint64_t count, uint64_t seed)
{
    struct walk walk = begin_walk(trace, lie);
    uint64_t *points = choose_points(trace, count, seed);
    uint64_t bad = 0;
    for (uint64_t i = 0; i < count; i++) {
        char why[WHY_SIZE];
        uint64_t choice = plan_mix(seed ^ 3, i);
        walk_to(&walk, points[i]);
        if (judge_image(&walk, choice, place->image, why))
            continue;
        bad++;
        if (lie == DISK_HONEST)
            tell(place, points[i], choice, why);
    }
    free(points);
    disk_free(walk.disk);
    return bad;
}

/* ---- the record is whole ---- */

static void compare_dirs(const char *path, const char *with);

struct pair {
    const char *path, *with;
};

static int compare_entry(void *context, const char *name)
{
    const struct pair *pair = context;
    char path[512], with[512];
    struct stat a, b;
    snprintf(path, sizeof path, "%s/%s", pair->path, name);
    snprintf(with, sizeof with, "%s/%s", pair->with, name);
    if (stat(path, &a) != 0 || stat(with, &b) != 0)
        fail_msg("%s or %s is not there", path, with);
    if (S_ISDIR(a.st_mode)) {
        compare_dirs(path, with);
        return 0;
    }
    if (strcmp(name, "lock") == 0)
        return 0; /* mapped, see disk.c */
    if (a.st_size != b.st_size)
        fail_msg(
            "%s has %lld bytes, %s %lld", path, (long long)a.st_size, with, (long long)b.st_size);
    FILE *one = fopen(path, "rb"), *two = fopen(with, "rb");
    assert_non_null(one);
    assert_non_null(two);
    for (int64_t at = 0; at < a.st_size; at++) {
        if (getc_unlocked(one) != getc_unlocked(two))
            fail_msg("%s and %s differ at %lld", path, with, (long long)at);
    }
    fclose(one);
    fclose(two);
    return 0;
}

static void compare_dirs(const char *path, const char *with)
{
    struct pair there = {path, with}, back = {with, path};
    assert_int_equal(bz_dir_list(path, compare_entry, &there, NULL), 0);
    assert_int_equal(bz_dir_list(with, compare_entry, &back, NULL), 0);
}

/* What the trace adds up to is what the file system holds: so nothing was written past it. */
static void assert_complete(const struct place *place, const struct trace *trace)
{
    struct walk walk = begin_walk(trace, DISK_HONEST);
    walk_to(&walk, trace->count);
    make_place(place->image);
    disk_keep(walk.disk, place->image);
    compare_dirs(place->root, place->image);
    disk_free(walk.disk);
}

/* Whether the record gives a file `name`, or takes one away whose name ends so. */
static bool names(const struct trace *trace, uint64_t i, enum trace_kind kind, const char *name)
{
    const char *text = (const char *)payload_at(trace, i);
    if (record_at(trace, i).kind != (uint32_t)kind)
        return false;
    if (kind == TRACE_RENAME)
        return strcmp(text + strlen(text) + 1, name) == 0;
    return strlen(text) >= strlen(name) && strcmp(text + strlen(text) - strlen(name), name) == 0;
}

/* Something of everything has happened, or the test is not worth its name. */
static void assert_eventful(const struct trace *trace)
{
    uint64_t renames = 0, manifests = 0, merged = 0;
    for (uint64_t i = trace->settled; i < trace->count; i++) {
        renames += record_at(trace, i).kind == TRACE_RENAME;
        manifests += names(trace, i, TRACE_RENAME, "manifest");
        merged += names(trace, i, TRACE_UNLINK, ".tbl");
    }
    assert_true(renames - manifests >= 4); /* segments */
    assert_true(manifests >= 3);           /* checkpoints */
    assert_true(merged >= 1);              /* compactions */
}

/* ---- tests ---- */

static void make_places(struct place *place)
{
    bz_test_dir_make(&place->dir);
    snprintf(place->root, sizeof place->root, "%s/root", place->dir.path);
    snprintf(place->image, sizeof place->image, "%s/image", place->dir.path);
    snprintf(place->trace, sizeof place->trace, "%s/trace", place->dir.path);
    make_place(place->root);
}

/* The disk after a power cut becomes the one to go on with. */
static struct history go_on(const struct place *place, const struct trace *trace, uint64_t seed)
{
    struct walk walk = begin_walk(trace, DISK_HONEST);
    walk_to(&walk, trace->settled + plan_mix(seed, 21) % (trace->count - trace->settled));
    make_place(place->root);
    disk_cut(walk.disk, plan_mix(seed, 22), place->root);
    struct history history = {
        .plan = walk.history.plan,
        .created = walk.history.created,
        .least = walk.history.least,
        .most = walk.history.most,
    };
    disk_free(walk.disk);
    return history;
}

/* Lives, each ended by a power cut, with `images` images of each. */
static void cut_again_and_again(uint64_t seed, bool large, uint64_t cuts, uint64_t images)
{
    struct place place;
    struct history known = {.plan = {.seed = seed, .large = large}};
    make_places(&place);
    for (uint64_t i = 0; i < cuts; i++) {
        struct trace trace;
        uint64_t mix = plan_mix(seed, i);
        begin_trace(&place, &known);
        live(&place, mix);
        load_trace(&trace, place.trace);
        assert_complete(&place, &trace);
        assert_eventful(&trace);
        judge_images(&place, &trace, DISK_HONEST, images, mix);
        known = go_on(&place, &trace, mix);
        unload_trace(&trace);
    }
    bz_test_dir_remove(&place.dir);
}

static bool thorough(void)
{
    return getenv("BLAZEDB_LONG") != NULL;
}

static void a_power_cut_takes_nothing_that_was_promised(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (uint64_t i = 0; i < (thorough() ? 20 : 2); i++) /* every other one sealed */
        cut_again_and_again(
            plan_mix(seed, i / 2) * 2 + i % 2, false, thorough() ? 4 : 2, thorough() ? 130 : 60);
}

static void nor_one_among_large_checkpoints(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (uint64_t i = 0; i < (thorough() ? 4 : 1); i++)
        cut_again_and_again(plan_mix(seed, i), true, thorough() ? 4 : 1, thorough() ? 60 : 20);
}

static void a_disk_that_lies_about_syncs_is_found_out(void **state)
{
    (void)state;
    static const enum disk_lie lies[] = {
        DISK_LOG_UNSYNCED, DISK_BASE_UNSYNCED, DISK_NAMES_UNSYNCED};
    uint64_t seed = test_seed();
    struct place place;
    struct trace trace;
    struct history known = {.plan = {.seed = seed}};
    make_places(&place);
    begin_trace(&place, &known);
    run_workload(&place, 0);
    load_trace(&trace, place.trace);
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        uint64_t bad = judge_images(&place, &trace, lies[i], 40, seed);
        print_message("           lie %d: %d of 40 images bad\n", (int)lies[i], (int)bad);
        assert_true(bad > 0);
    }
    unload_trace(&trace);
    bz_test_dir_remove(&place.dir);
}

/* ---- one image again ---- */

static int again(char **arguments)
{
    struct trace trace;
    char why[WHY_SIZE];
    load_trace(&trace, arguments[1]);
    struct walk walk = begin_walk(&trace, DISK_HONEST);
    walk_to(&walk, strtoull(arguments[2], NULL, 10));
    uint64_t choice = strtoull(arguments[3], NULL, 10);
    bool good = judge_image(&walk, choice, KEPT_IMAGE, why);
    make_place(KEPT_IMAGE); /* as it was before it was opened */
    disk_cut(walk.disk, choice, KEPT_IMAGE);
    printf("%s; the image is in ./%s\n", good ? "all is well" : why, KEPT_IMAGE);
    disk_free(walk.disk);
    unload_trace(&trace);
    return good ? 0 : 1;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_power_cut_takes_nothing_that_was_promised),
        cmocka_unit_test(nor_one_among_large_checkpoints),
        cmocka_unit_test(a_disk_that_lies_about_syncs_is_found_out),
    };
    if (argc == 4)
        return again(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

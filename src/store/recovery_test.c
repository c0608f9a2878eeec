/* SPDX-License-Identifier: Apache-2.0 */

/* What the durable store makes of damaged files and of a full disk. */

#include "base/hash.h"
#include "store/frame.h"
#include "store/testing.h"

#include "cmocka_all.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

#define SEGMENT "log/0000000000000001.wal"

static struct bz_test_dir dir;

static int make_dir(void **state)
{
    (void)state;
    bz_test_dir_make(&dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    bz_test_dir_remove(&dir);
    return 0;
}

static struct bz_store_options small_options(void)
{
    return (struct bz_store_options){
        .maps = bz_test_maps,
        .map_count = 2,
        .create = true,
        .segment_bytes = 16u << 10,
    };
}

static struct bz_store *open_store(const char *path)
{
    struct bz_store_options options = small_options();
    struct bz_store *store = NULL;
    blaze_error error = {0};
    if (bz_store_open(&store, path, &options, &error) != 0)
        fail_msg("open: %s", error.text);
    return store;
}

static void commit_up_to(
    struct bz_store *store, uint64_t from, uint64_t to, enum bz_durability durability)
{
    for (uint64_t i = from; i <= to; i++)
        assert_int_equal(bz_test_commit(store, i, durability, NULL), 0);
}

/* The image of a store with `count` commits in its one segment. */
static void make_image(struct bz_test_image *image, uint64_t count, enum bz_durability durability)
{
    struct bz_store_options options = small_options();
    options.relaxed_window_ms = 1000000;
    struct bz_store *store = NULL;
    assert_int_equal(bz_store_open(&store, dir.path, &options, NULL), 0);
    commit_up_to(store, 1, count, durability);
    bz_test_image_take(image, dir.path);
    assert_int_equal(bz_store_close(store, NULL), 0);
}

static struct bz_test_file *file_of(struct bz_test_image *image, const char *name)
{
    for (size_t i = 0; i < image->count; i++) {
        if (strcmp(image->files[i].name, name) == 0)
            return &image->files[i];
    }
    fail_msg("no file %s", name);
    return NULL;
}

/* Opens what the image says: the number of commits there, or the (negative) code. */
static int64_t open_image(const struct bz_test_image *image, bool read_only)
{
    struct bz_store_options options = small_options();
    options.read_only = read_only;
    struct bz_store *store;
    blaze_error error = {0};
    bz_test_image_put(image, dir.path);
    int rc = bz_store_open(&store, dir.path, &options, &error);
    if (rc != 0) {
        assert_int_equal(error.code, rc);
        assert_non_null(strstr(error.text, "log/"));
        return rc;
    }
    int64_t n = bz_test_history_now(store);
    assert_true(n >= 0);
    if (!read_only) {
        /* It must be possible to go on from there, and to find it all again. */
        assert_int_equal(bz_test_commit(store, (uint64_t)n + 1, BZ_DURABLE_FULL, NULL), 0);
        assert_int_equal(bz_store_close(store, NULL), 0);
        assert_int_equal(bz_store_open(&store, dir.path, &options, NULL), 0);
        assert_int_equal(bz_test_history_now(store), n + 1);
    }
    assert_int_equal(bz_store_close(store, NULL), 0);
    return n;
}

/* Opened read-only, what the image says has `n` commits, and tells of damage or not. For writing,
 * damage is refused. */
static void expect_image(const struct bz_test_image *image, int64_t n, bool damaged, const char *at)
{
    struct bz_store_options options = small_options();
    options.read_only = true;
    struct bz_store *store;
    struct bz_store_stats stats;
    blaze_error error = {0};
    bz_test_image_put(image, dir.path);
    if (bz_store_open(&store, dir.path, &options, &error) != 0)
        fail_msg("%s: %s", at, error.text);
    int64_t got = bz_test_history_now(store);
    bz_store_stats(store, &stats);
    if (got != n || (stats.damaged != NULL) != damaged || (int64_t)stats.lsn != n)
        fail_msg("%s: %d, not %d, %s", at, (int)got, (int)n, damaged ? "damaged" : "sound");
    if (damaged)
        assert_non_null(strstr(stats.damaged, "log/"));
    assert_int_equal(bz_store_close(store, NULL), 0);
    if (!damaged) {
        assert_int_equal(open_image(image, false), n);
        return;
    }
    options.read_only = false;
    assert_int_equal(bz_store_open(&store, dir.path, &options, &error), BLAZE_ECORRUPT);
    if (strstr(error.text, "log/") == NULL || strstr(error.text, "read-only") == NULL)
        fail_msg("%s: %s", at, error.text);
}

static const char *place(const char *what, uint64_t at)
{
    static char text[64];
    snprintf(text, sizeof text, "%s %d", what, (int)at);
    return text;
}

/* ---- damage ---- */

/* Where the frames of a segment end, as offsets. */
static size_t frame_ends(const struct bz_test_file *segment, uint64_t *ends)
{
    size_t count = 0;
    uint64_t at = BZ_SEGMENT_HEADER;
    for (;;) {
        struct bz_frame frame = bz_frame_read(segment->data + at);
        if (frame.lsn != count + 1)
            return count;
        ends[count++] = at + BZ_FRAME_HEADER + frame.size;
        at += bz_frame_space(frame.size);
    }
}

static void a_flipped_byte_anywhere_is_found_or_does_no_harm(void **state)
{
    (void)state;
    struct bz_test_image image;
    uint64_t ends[16];
    make_image(&image, 7, BZ_DURABLE_FULL);
    struct bz_test_file *segment = file_of(&image, SEGMENT);
    size_t count = frame_ends(segment, ends);
    assert_int_equal(count, 7);
    for (uint64_t at = 0; at < ends[count - 1] + 64; at++) {
        uint8_t *byte = &segment->data[at];
        size_t frame = 0;
        while (frame < count && at >= ends[frame])
            frame++;
        bool padding = frame > 0 && at >= ends[frame - 1] && at < ((ends[frame - 1] + 7) & ~7ull);
        bool harmless = frame == count || padding;
        *byte ^= 0xff;
        expect_image(
            &image, harmless ? (int64_t)count : (int64_t)frame, !harmless, place("byte", at));
        *byte ^= 0xff;
    }
    bz_test_image_free(&image);
}

/* Each commit knows that those before it are on the disk, whoever has brought them there. */
static void damage_among_commits_of_stores_that_came_and_went_is_found(void **state)
{
    (void)state;
    struct bz_store_options options = small_options();
    struct bz_test_image image;
    uint64_t ends[16];
    for (uint64_t n = 1; n <= 5; n++) {
        struct bz_store *store = NULL;
        assert_int_equal(bz_store_open(&store, dir.path, &options, NULL), 0);
        commit_up_to(store, n, n, BZ_DURABLE_FULL);
        assert_int_equal(bz_store_close(store, NULL), 0);
    }
    bz_test_image_take(&image, dir.path);
    struct bz_test_file *segment = file_of(&image, SEGMENT);
    assert_int_equal(frame_ends(segment, ends), 5);
    for (size_t frame = 0; frame < 5; frame++) {
        segment->data[ends[frame] - 1] ^= 0xff;
        expect_image(&image, (int64_t)frame, true, place("frame", frame));
        segment->data[ends[frame] - 1] ^= 0xff;
    }
    bz_test_image_free(&image);
}

/* With a lock file that says what was on the disk, or says nothing, or is garbage. */
static void cut_log(struct bz_test_image *image, bool known)
{
    uint64_t ends[16];
    struct bz_test_file *segment = file_of(image, SEGMENT);
    size_t count = frame_ends(segment, ends);
    for (uint64_t size = 0; size < ends[count - 1] + 16; size++) {
        size_t whole = 0;
        while (whole < count && ends[whole] <= size)
            whole++;
        bool damaged = size < BZ_SEGMENT_HEADER || (known && whole < count);
        size_t kept = segment->size;
        segment->size = (size_t)size;
        expect_image(image, (int64_t)whole, damaged, place("cut at", size));
        segment->size = kept;
    }
}

static void a_log_cut_anywhere_holds_the_commits_before(void **state)
{
    (void)state;
    struct bz_test_image image;
    make_image(&image, 7, BZ_DURABLE_FULL);
    cut_log(&image, true);
    struct bz_test_file *lock = file_of(&image, "lock");
    memset(lock->data + 8, 0x5a, 64); /* garbage is not taken for knowledge */
    cut_log(&image, false);
    lock->size = 0;
    cut_log(&image, false);
    bz_test_image_free(&image);
}

/* What an earlier moment knew is true of every later one; and who goes on after a loss that nobody
 * could know of does not stumble over it later. */
static void an_older_lock_file_accuses_nobody(void **state)
{
    (void)state;
    struct bz_test_image image, older;
    make_image(&older, 3, BZ_DURABLE_FULL);
    struct bz_store *store = open_store(dir.path);
    commit_up_to(store, 4, 9, BZ_DURABLE_FULL);
    assert_int_equal(bz_store_close(store, NULL), 0);
    bz_test_image_take(&image, dir.path);
    struct bz_test_file *lock = file_of(&image, "lock"), *old = file_of(&older, "lock");
    assert_int_equal(lock->size, old->size);
    memcpy(lock->data, old->data, old->size);
    expect_image(&image, 9, false, "older");
    uint64_t ends[16];
    struct bz_test_file *segment = file_of(&image, SEGMENT);
    frame_ends(segment, ends);
    segment->size = (size_t)ends[5];
    expect_image(&image, 6, false, "older, cut");
    segment->size = (size_t)ends[1];
    expect_image(&image, 2, true, "older, cut more");
    bz_test_image_free(&image);
    bz_test_image_free(&older);
}

/* What is in the base needs no log: without any, it is the state of the last checkpoint. */
static void the_base_is_read_without_a_log(void **state)
{
    (void)state;
    struct bz_test_image image;
    struct bz_store *store = open_store(dir.path);
    commit_up_to(store, 1, 6, BZ_DURABLE_FULL);
    assert_int_equal(bz_store_checkpoint(store, NULL), 0);
    commit_up_to(store, 7, 9, BZ_DURABLE_FULL);
    bz_test_image_take(&image, dir.path);
    assert_int_equal(bz_store_close(store, NULL), 0);
    struct bz_test_file *segment = file_of(&image, SEGMENT);
    expect_image(&image, 9, false, "whole");
    segment->data[3] ^= 0xff;
    expect_image(&image, 6, true, "no header");
    strcpy(segment->name, "log/elsewhere");
    expect_image(&image, 6, true, "no segment");
    bz_test_image_free(&image);
}

/* A power cut may lose an earlier write and keep a later one, if neither was synced. */
static void a_hole_among_commits_that_were_never_synced_is_an_end(void **state)
{
    (void)state;
    struct bz_test_image image;
    uint64_t ends[16];
    make_image(&image, 7, BZ_DURABLE_RELAXED);
    struct bz_test_file *segment = file_of(&image, SEGMENT);
    assert_int_equal(frame_ends(segment, ends), 7);
    for (size_t frame = 1; frame < 7; frame++) {
        struct bz_test_image cut = image;
        segment->data[ends[frame] - 1] ^= 0xff;
        assert_int_equal(open_image(&cut, true), frame);
        assert_int_equal(open_image(&cut, false), frame);
        segment->data[ends[frame] - 1] ^= 0xff;
    }
    bz_test_image_free(&image);
}

/* After such an end, the commits behind the hole must not come back when the hole is filled, not
 * even by the same commit. */
static void what_lay_behind_a_torn_end_stays_lost(void **state)
{
    (void)state;
    struct bz_test_image image;
    uint64_t ends[16];
    make_image(&image, 7, BZ_DURABLE_RELAXED);
    struct bz_test_file *segment = file_of(&image, SEGMENT);
    frame_ends(segment, ends);
    segment->data[ends[3] - 1] ^= 0xff;
    bz_test_image_put(&image, dir.path);
    struct bz_store *store = open_store(dir.path);
    assert_int_equal(bz_test_history_now(store), 3);
    commit_up_to(store, 4, 4, BZ_DURABLE_FULL);
    assert_int_equal(bz_store_close(store, NULL), 0);
    store = open_store(dir.path);
    assert_int_equal(bz_test_history_now(store), 4);
    assert_int_equal(bz_store_close(store, NULL), 0);
    bz_test_image_free(&image);
}

static void a_missing_segment_is_named(void **state)
{
    (void)state;
    char path[256];
    struct bz_test_image image;
    struct bz_store *store = open_store(dir.path);
    commit_up_to(store, 1, 300, BZ_DURABLE_RELAXED);
    bz_test_image_take(&image, dir.path); /* closing would move all of it to the base */
    assert_int_equal(bz_store_close(store, NULL), 0);
    bz_test_image_put(&image, dir.path);
    bz_test_image_free(&image);
    snprintf(path, sizeof path, "%s/log/0000000000000002.wal", dir.path);
    assert_int_equal(bz_path_remove(path, NULL), 0);
    struct bz_store_options options = small_options();
    blaze_error error = {0};
    assert_int_equal(bz_store_open(&store, dir.path, &options, &error), BLAZE_ECORRUPT);
    if (strstr(error.text, "segment 2") == NULL)
        fail_msg("%s", error.text);
    snprintf(path, sizeof path, "%s/%s", dir.path, SEGMENT);
    assert_int_equal(bz_path_remove(path, NULL), 0);
    assert_int_equal(bz_store_open(&store, dir.path, &options, &error), BLAZE_ECORRUPT);
    assert_non_null(strstr(error.text, "0000000000000001.wal"));
    options.read_only = true;
    assert_int_equal(bz_store_open(&store, dir.path, &options, &error), 0);
    assert_int_equal(bz_test_history_now(store), 0);
    assert_int_equal(bz_store_close(store, NULL), 0);
}

static void damage_in_an_earlier_segment_is_found(void **state)
{
    (void)state;
    struct bz_test_image image;
    struct bz_store *store = open_store(dir.path);
    commit_up_to(store, 1, 300, BZ_DURABLE_RELAXED);
    bz_test_image_take(&image, dir.path);
    assert_int_equal(bz_store_close(store, NULL), 0);
    struct bz_test_file *first = file_of(&image, SEGMENT);
    assert_int_equal(open_image(&image, true), 300);
    static uint64_t ends[300];
    frame_ends(first, ends);
    for (size_t at = BZ_SEGMENT_HEADER; at < first->size - 400; at += 1009) {
        for (size_t i = 0; i < 8; i++) /* so that padding is not all that is hit */
            first->data[at + i] ^= 0xff;
        int64_t frame = 0;
        while (ends[frame] <= at)
            frame++;
        expect_image(&image, frame, true, place("first segment at", at));
        for (size_t i = 0; i < 8; i++)
            first->data[at + i] ^= 0xff;
    }
    bz_test_image_free(&image);
}

static void a_newer_version_is_told_from_damage(void **state)
{
    (void)state;
    struct bz_test_image image;
    make_image(&image, 2, BZ_DURABLE_FULL);
    uint8_t *header = file_of(&image, SEGMENT)->data;
    bz_store32le(header + 8, 99);
    bz_store64le(header + 56, bz_hash64(header, 56, 0));
    assert_int_equal(open_image(&image, true), BLAZE_EVERSION);
    bz_test_image_free(&image);
}

/* Segments are used again: what they held before must not be replayed. */
static void images_of_a_store_at_work_hold_all_that_was_committed(void **state)
{
    (void)state;
    struct bz_test_dir other;
    bz_test_dir_make(&other);
    struct bz_store *store = open_store(dir.path);
    for (uint64_t i = 1; i <= 900; i++) {
        assert_int_equal(bz_test_commit(store, i, BZ_DURABLE_RELAXED, NULL), 0);
        if (i % 200 == 0) /* so few that nothing is compacted, while it is copied */
            assert_int_equal(bz_store_checkpoint(store, NULL), 0);
        if (i % 53 != 0)
            continue;
        struct bz_test_image image;
        bz_test_image_take(&image, dir.path);
        bz_test_image_put(&image, other.path);
        bz_test_image_free(&image);
        struct bz_store *copy = open_store(other.path);
        assert_int_equal(bz_test_history_now(copy), i);
        assert_int_equal(bz_store_close(copy, NULL), 0);
    }
    struct bz_store_stats stats;
    bz_store_stats(store, &stats);
    assert_int_equal(stats.compactions, 0);
    assert_int_equal(bz_store_close(store, NULL), 0);
    bz_test_dir_remove(&other);
}

/* ---- a full disk ---- */

static int disk_full(void *context, enum bz_os_op op, const char *path)
{
    (void)context;
    return op == BZ_OS_WRITE && strstr(path, ".wal") != NULL ? ENOSPC : 0;
}

static void a_full_disk_refuses_commits_until_there_is_room(void **state)
{
    (void)state;
    struct bz_store *store = open_store(dir.path);
    blaze_error error = {0};
    uint64_t done = 5;
    commit_up_to(store, 1, 5, BZ_DURABLE_FULL);
    for (int round = 0; round < 100; round++) {
        bz_os_set_fault(disk_full, NULL);
        int rc = bz_test_commit(store, done + 1, BZ_DURABLE_FULL, &error);
        bz_os_set_fault(NULL, NULL);
        /* Blocks may be there already: then it is the write itself, and its undoing, that fails. */
        if (rc == BLAZE_EFAILED) {
            assert_int_equal(bz_test_history_now(store), done);
            assert_int_equal(bz_store_close(store, NULL), 0);
            store = open_store(dir.path);
        } else {
            assert_int_equal(rc, BLAZE_ENOSPC);
        }
        assert_int_equal(bz_test_history_now(store), done);
        rc = bz_test_commit(store, ++done, BZ_DURABLE_FULL, &error);
        if (rc)
            fail_msg("round %d: %s", round, error.text);
        assert_int_equal(bz_test_history_now(store), done);
    }
    assert_int_equal(bz_store_close(store, NULL), 0);
    store = open_store(dir.path);
    assert_int_equal(bz_test_history_now(store), done);
    assert_int_equal(bz_store_close(store, NULL), 0);
}

static void limit_files(rlim_t size)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = size;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_base_that_cannot_grow_leaves_the_log_in_charge(void **state)
{
    (void)state;
    struct bz_store *store = open_store(dir.path);
    static uint8_t value[60000];
    signal(SIGXFSZ, SIG_IGN);
    limit_files(512u << 10);
    struct bz_txn *txn;
    blaze_error error = {0};
    for (uint64_t i = 0; i < 30; i++) {
        assert_int_equal(bz_txn_begin(store, &txn, &error), 0);
        uint8_t key[8];
        bz_store64be(key, i);
        assert_int_equal(
            bz_txn_put(txn, 0, bz_bytes(key, 8), bz_bytes(value, sizeof value), &error), 0);
        assert_int_equal(bz_txn_commit(txn, BZ_DURABLE_RELAXED, &error), 0);
    }
    assert_int_equal(bz_store_checkpoint(store, &error), BLAZE_ENOSPC);
    struct bz_store_stats stats;
    bz_store_stats(store, &stats);
    assert_true(stats.lsn == 30 && stats.checkpoint_lsn < 30);
    limit_files(RLIM_INFINITY);
    assert_int_equal(bz_store_checkpoint(store, &error), 0);
    bz_store_stats(store, &stats);
    assert_true(stats.checkpoint_lsn == 30);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(bz_store_close(store, NULL), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)
    const struct CMUnitTest tests[] = {
        TEST(a_flipped_byte_anywhere_is_found_or_does_no_harm),
        TEST(damage_among_commits_of_stores_that_came_and_went_is_found),
        TEST(a_log_cut_anywhere_holds_the_commits_before),
        TEST(an_older_lock_file_accuses_nobody),
        TEST(the_base_is_read_without_a_log),
        TEST(a_hole_among_commits_that_were_never_synced_is_an_end),
        TEST(what_lay_behind_a_torn_end_stays_lost),
        TEST(a_missing_segment_is_named),
        TEST(damage_in_an_earlier_segment_is_found),
        TEST(a_newer_version_is_told_from_damage),
        TEST(images_of_a_store_at_work_hold_all_that_was_committed),
        TEST(a_full_disk_refuses_commits_until_there_is_room),
        TEST(a_base_that_cannot_grow_leaves_the_log_in_charge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

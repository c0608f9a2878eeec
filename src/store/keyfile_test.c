/* SPDX-License-Identifier: Apache-2.0 */

/* Sealed stores and their key: who gets in, and what a crash leaves of making and changing it. */

#include "store/keyfile.h"
#include "store/presence.h"

#include "store/testing.h"

#include "cmocka_all.h"

#include <errno.h>

static struct bz_test_dir dir;

static int setup(void **state)
{
    (void)state;
    bz_test_dir_make(&dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bz_os_set_fault(NULL, NULL);
    bz_test_dir_remove(&dir);
    return 0;
}

/* As cheap as can be. */
static struct bz_vault_secret passphrase(const char *text)
{
    return (struct bz_vault_secret){
        BZ_VAULT_PASSPHRASE, bz_bytes_text(text), BZ_ARGON2_MEMORY_KIB_MIN, 1};
}

/* With `secret` NULL as what is not sealed. */
static int open_in(const char *path, const struct bz_vault_secret *secret, bool create,
    struct bz_store **out, blaze_error *error)
{
    struct bz_store_options options = {
        .maps = bz_test_maps, .map_count = 2, .create = create, .secret = secret};
    return bz_store_open(out, path, &options, error);
}

static void make(const struct bz_vault_secret *secret)
{
    struct bz_store *store;
    assert_int_equal(open_in(dir.path, secret, true, &store, NULL), 0);
    assert_int_equal(bz_test_commit(store, 1, BZ_DURABLE_FULL, NULL), 0);
    assert_int_equal(bz_store_close(store, NULL), 0);
}

static bool opens(const char *path, const struct bz_vault_secret *secret)
{
    struct bz_store *store;
    if (open_in(path, secret, false, &store, NULL) != 0)
        return false;
    struct bz_store_stats stats;
    bz_store_stats(store, &stats);
    assert_int_equal(stats.sealed, secret != NULL);
    assert_int_equal(bz_test_history_now(store), 1);
    assert_int_equal(bz_store_close(store, NULL), 0);
    return true;
}

static void assert_refused(
    const struct bz_vault_secret *secret, bool create, int code, const char *words)
{
    struct bz_store *store;
    blaze_error error;
    int rc = open_in(dir.path, secret, create, &store, &error);
    if (rc != code || strstr(error.text, words) == NULL || strstr(error.text, dir.path) == NULL)
        fail_msg("expected %d and \"%s\": %d, %s", code, words, rc, rc == 0 ? "" : error.text);
}

static const char *in(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", dir.path, name);
    return path;
}

/* ---- who gets in ---- */

static void a_sealed_store_opens_with_its_passphrase_only(void **state)
{
    (void)state;
    struct bz_vault_secret secret = passphrase("open sesame"), wrong = passphrase("open wheat");
    make(&secret);
    assert_true(bz_path_exists(in("key")));
    assert_true(opens(dir.path, &secret));
    assert_refused(&wrong, false, BLAZE_EAUTH, "the passphrase is wrong");
    assert_refused(NULL, false, BLAZE_EAUTH, "is sealed: give its passphrase or key file");
    assert_refused(NULL, true, BLAZE_EEXIST, "it is sealed");
    assert_refused(&wrong, true, BLAZE_EEXIST, "it is sealed");
}

static void a_key_file_will_do_instead(void **state)
{
    (void)state;
    uint8_t bytes[32] = {7};
    struct bz_vault_secret secret = {BZ_VAULT_KEY_FILE, bz_bytes(bytes, sizeof bytes), 0, 0};
    struct bz_vault_secret wrong = passphrase("open sesame");
    make(&secret);
    assert_true(opens(dir.path, &secret));
    assert_refused(&wrong, false, BLAZE_EAUTH, "with a key file");
    bytes[0] = 8;
    assert_refused(&secret, false, BLAZE_EAUTH, "key file is not the one");
}

static void what_is_not_sealed_wants_no_passphrase(void **state)
{
    (void)state;
    struct bz_vault_secret secret = passphrase("open sesame");
    make(NULL);
    assert_false(bz_path_exists(in("key")));
    assert_true(opens(dir.path, NULL));
    assert_refused(&secret, false, BLAZE_EINVAL, "is not sealed");
    assert_refused(&secret, true, BLAZE_EEXIST, "it is not sealed");
}

static void a_bad_secret_makes_nothing(void **state)
{
    (void)state;
    struct bz_vault_secret secret = passphrase("");
    assert_refused(&secret, true, BLAZE_EINVAL, "1 to 1024 bytes");
    assert_false(bz_path_exists(in("key")));
    assert_false(bz_path_exists(in("manifest")));
}

static void damage_to_the_key_is_told_from_a_wrong_passphrase(void **state)
{
    (void)state;
    struct bz_vault_secret secret = passphrase("open sesame");
    struct bz_file file;
    make(&secret);
    assert_int_equal(bz_file_open(&file, in("key"), BZ_OPEN_WRITE, NULL), 0);
    assert_int_equal(bz_file_write(&file, 60, "damage", 6, NULL), 0);
    assert_refused(&secret, false, BLAZE_ECORRUPT, "/key: damaged");
    assert_int_equal(bz_file_truncate(&file, 0, NULL), 0);
    assert_refused(&secret, false, BLAZE_ECORRUPT, "/key: damaged");
    assert_int_equal(bz_file_truncate(&file, 100000, NULL), 0);
    assert_refused(&secret, false, BLAZE_ECORRUPT, "/key: damaged");
    bz_file_close(&file);
}

static void removing_a_store_removes_its_key(void **state)
{
    (void)state;
    struct bz_vault_secret secret = passphrase("open sesame");
    struct bz_file left;
    make(&secret);
    assert_int_equal(
        bz_file_open(&left, in("key.new-0123"), BZ_OPEN_WRITE | BZ_OPEN_CREATE, NULL), 0);
    bz_file_close(&left);
    bz_store_remove(dir.path);
    assert_int_equal(bz_path_remove(dir.path, NULL), 0); /* it was empty */
}

/* ---- changing ---- */

static void another_passphrase_opens_the_same_data(void **state)
{
    (void)state;
    uint8_t bytes[32] = {7};
    struct bz_vault_secret old = passphrase("old"), new = passphrase("new");
    struct bz_vault_secret file = {BZ_VAULT_KEY_FILE, bz_bytes(bytes, sizeof bytes), 0, 0};
    make(&old);
    assert_int_equal(bz_store_change_secret(dir.path, &old, &new, NULL), 0);
    assert_false(opens(dir.path, &old));
    assert_true(opens(dir.path, &new));
    assert_int_equal(bz_store_change_secret(dir.path, &new, &file, NULL), 0);
    assert_true(opens(dir.path, &file));

    blaze_error error;
    assert_int_equal(bz_store_change_secret(dir.path, &old, &new, &error), BLAZE_EAUTH);
    assert_int_equal(bz_store_change_secret(dir.path, &new, &old, &error), BLAZE_EAUTH);
    assert_true(opens(dir.path, &file));
}

static void the_passphrase_changes_under_an_open_store(void **state)
{
    (void)state;
    struct bz_vault_secret old = passphrase("old"), new = passphrase("new");
    struct bz_store *store;
    make(&old);
    assert_int_equal(open_in(dir.path, &old, false, &store, NULL), 0);
    assert_int_equal(bz_store_change_secret(dir.path, &old, &new, NULL), 0);
    assert_int_equal(bz_test_commit(store, 1, BZ_DURABLE_FULL, NULL), 0);
    assert_int_equal(bz_store_close(store, NULL), 0);
    assert_true(opens(dir.path, &new));
}

static void there_must_be_something_to_change(void **state)
{
    (void)state;
    struct bz_vault_secret old = passphrase("old"), new = passphrase("new"), bad = passphrase("");
    blaze_error error;
    assert_int_equal(bz_store_change_secret(in("none"), &old, &new, &error), BLAZE_ENOTFOUND);
    make(NULL);
    assert_int_equal(bz_store_change_secret(dir.path, &old, &new, &error), BLAZE_EINVAL);
    assert_non_null(strstr(error.text, "is not sealed"));
    bz_store_remove(dir.path);
    make(&old);
    assert_int_equal(bz_store_change_secret(dir.path, &old, &bad, &error), BLAZE_EINVAL);
    assert_true(opens(dir.path, &old));
}

/* ---- crashes ---- */

static int count_entry(void *context, const char *name)
{
    if (strncmp(name, "key", 3) == 0)
        ++*(int *)context;
    return 0;
}

static int keys(void)
{
    int count = 0;
    assert_int_equal(bz_dir_list(dir.path, count_entry, &count, NULL), 0);
    return count;
}

/* Fails the call of that number, and takes an image before each. */
struct crash {
    int calls, fail_at;
    bool busy, renamed;
    struct bz_test_image image;
    bool taken;
};

static int on_call(void *context, enum bz_os_op op, const char *path)
{
    struct crash *crash = context;
    if (crash->busy || strstr(path, "store") == NULL)
        return 0;
    if (op == BZ_OS_LIST || op == BZ_OS_REMOVE)
        return 0; /* only tidying up: the change goes on without */
    if (crash->calls++ != crash->fail_at) {
        crash->renamed = crash->renamed || op == BZ_OS_RENAME;
        return 0;
    }
    crash->busy = true;
    bz_test_image_take(&crash->image, dir.path);
    crash->taken = true;
    return EIO;
}

static void a_change_that_is_cut_off_leaves_the_old_or_the_new(void **state)
{
    (void)state;
    struct bz_vault_secret old = passphrase("old"), new = passphrase("new");
    char copy[96];
    snprintf(copy, sizeof copy, "%s-copy", dir.path);
    make(&old);
    int failed = 0;
    for (int at = 0;; at++) {
        struct crash crash = {.fail_at = at};
        bz_os_set_fault(on_call, &crash);
        int rc = bz_store_change_secret(dir.path, &old, &new, NULL);
        bz_os_set_fault(NULL, NULL);
        if (rc == 0)
            break;
        failed++;
        assert_int_equal(rc, BLAZE_EIO);
        assert_int_equal(keys(), 1); /* nothing is left behind by a failure */
        assert_int_equal(opens(dir.path, &new), crash.renamed);
        assert_int_equal(opens(dir.path, &old), !crash.renamed);
        assert_true(crash.taken); /* and a crash leaves this */
        bz_test_image_put(&crash.image, copy);
        assert_int_equal(opens(copy, &new), crash.renamed);
        assert_int_equal(opens(copy, &old), !crash.renamed);
        bz_test_image_free(&crash.image);
        bz_test_remove_all(copy);
        if (crash.renamed)
            assert_int_equal(bz_store_change_secret(dir.path, &new, &old, NULL), 0);
    }
    assert_true(failed >= 5); /* open, open, write, sync, rename, sync of the directory */
    assert_true(opens(dir.path, &new));
}

static void the_next_change_takes_away_what_a_crash_left(void **state)
{
    (void)state;
    struct bz_vault_secret old = passphrase("old"), new = passphrase("new");
    struct bz_file left;
    make(&old);
    assert_int_equal(
        bz_file_open(&left, in("key.new-0123"), BZ_OPEN_WRITE | BZ_OPEN_CREATE, NULL), 0);
    bz_file_close(&left);
    assert_int_equal(keys(), 2);
    assert_true(opens(dir.path, &old));
    assert_int_equal(bz_store_change_secret(dir.path, &old, &new, NULL), 0);
    assert_int_equal(keys(), 1);
}

static void only_one_changes_the_secret_at_a_time(void **state)
{
    (void)state;
    struct bz_vault_secret old = passphrase("old"), new = passphrase("new");
    struct bz_file key;
    make(&old);
    assert_int_equal(bz_file_open(&key, in("key"), BZ_OPEN_WRITE, NULL), 0);
    assert_int_equal(bz_file_lock(&key, true, false, NULL, NULL), 0);
    assert_int_equal(bz_store_change_secret(dir.path, &old, &new, NULL), BLAZE_EBUSY);
    bz_file_close(&key);
    assert_true(opens(dir.path, &old));
    assert_int_equal(bz_store_change_secret(dir.path, &old, &new, NULL), 0);
    assert_true(opens(dir.path, &new));
}

/* Else the key that it leaves might be that of the data which is about to go. */
static void the_secret_does_not_change_while_the_store_is_rewritten(void **state)
{
    (void)state;
    struct bz_vault_secret old = passphrase("old"), new = passphrase("new");
    struct bz_file presence;
    struct bz_file_mark mark;
    make(&old);
    assert_int_equal(bz_path_mark(dir.path, &mark, NULL), 0);
    assert_int_equal(bz_presence_take(&presence, dir.path, &mark, true, true, NULL), 0);
    assert_int_equal(bz_store_change_secret(dir.path, &old, &new, NULL), BLAZE_EBUSY);
    bz_file_close(&presence);
    assert_true(opens(dir.path, &old));
}

static int no_manifest(void *context, enum bz_os_op op, const char *path)
{
    (void)context;
    return op == BZ_OS_RENAME && strstr(path, "/manifest") != NULL ? EIO : 0;
}

static void a_store_that_was_not_made_to_the_end_can_be_made_otherwise(void **state)
{
    (void)state;
    struct bz_vault_secret one = passphrase("one"), two = passphrase("two");
    struct bz_store *store;
    bz_os_set_fault(no_manifest, NULL);
    assert_int_equal(open_in(dir.path, &one, true, &store, NULL), BLAZE_EIO);
    assert_true(bz_path_exists(in("key"))); /* before what says that the store is there */
    assert_int_equal(open_in(dir.path, &two, true, &store, NULL), BLAZE_EIO);
    bz_os_set_fault(NULL, NULL);
    make(&two);
    assert_true(opens(dir.path, &two));

    bz_store_remove(dir.path);
    bz_os_set_fault(no_manifest, NULL);
    assert_int_equal(open_in(dir.path, &one, true, &store, NULL), BLAZE_EIO);
    bz_os_set_fault(NULL, NULL);
    make(NULL);
    assert_true(opens(dir.path, NULL));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_sealed_store_opens_with_its_passphrase_only),
        TEST(a_key_file_will_do_instead),
        TEST(what_is_not_sealed_wants_no_passphrase),
        TEST(a_bad_secret_makes_nothing),
        TEST(damage_to_the_key_is_told_from_a_wrong_passphrase),
        TEST(removing_a_store_removes_its_key),
        TEST(another_passphrase_opens_the_same_data),
        TEST(the_passphrase_changes_under_an_open_store),
        TEST(there_must_be_something_to_change),
        TEST(a_change_that_is_cut_off_leaves_the_old_or_the_new),
        TEST(the_next_change_takes_away_what_a_crash_left),
        TEST(only_one_changes_the_secret_at_a_time),
        TEST(the_secret_does_not_change_while_the_store_is_rewritten),
        TEST(a_store_that_was_not_made_to_the_end_can_be_made_otherwise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

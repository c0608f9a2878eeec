/* SPDX-License-Identifier: Apache-2.0 */
/* Sealed databases through the public functions. */
#include "api/api_test_util.h"

#include <blazedb.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char scratch[64];

#define REFUSED(code, words, call)                                                                 \
    do {                                                                                           \
        int rc_ = call;                                                                            \
        if (rc_ != (code) || strstr(error.text, words) == NULL)                                    \
            fail_msg(#call ": %s: %s", blaze_error_name(rc_), rc_ < 0 ? error.text : "");          \
    } while (0)

static int setup(void **state)
{
    (void)state;
    strcpy(scratch, "/tmp/blazedb-seal-XXXXXX");
    return mkdtemp(scratch) == NULL || chdir(scratch) != 0;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    return chdir("/") != 0 || nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0;
}

/* ---- shorthand ---- */

static blaze_seal none(void)
{
    blaze_seal seal;
    blaze_seal_init(&seal);
    return seal;
}

/* As cheap as can be. */
static blaze_seal passphrase(const char *text)
{
    blaze_seal seal = none();
    seal.passphrase = text;
    seal.kdf_memory_kib = 8;
    seal.kdf_passes = 1;
    return seal;
}

static blaze_seal key_file(const char *path)
{
    blaze_seal seal = none();
    seal.key_file = path;
    return seal;
}

static void write_key(const char *path, size_t size, char fill)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (size_t i = 0; i < size; i++)
        fputc(fill, file);
    assert_int_equal(fclose(file), 0);
}

static int open_how(blaze_db **out, const char *path, blaze_seal seal, bool create)
{
    blaze_open_options options;
    blaze_open_options_init(&options);
    options.create = create;
    options.seal = seal;
    return blaze_open(out, path, &options, &error);
}

static const blaze_id known = {{1}};

static void make(const char *path, blaze_seal seal)
{
    blaze_db *db;
    blaze_doc *doc;
    blaze_id id = known;
    OK(open_how(&db, path, seal, true));
    OK(blaze_doc_from_json(&doc, "{\"n\":1}", 7, &error));
    OK(blaze_insert(db, "c", &id, doc, &error));
    blaze_doc_free(doc);
    OK(blaze_close(db, &error));
}

static void assert_holds(const char *path, blaze_seal seal)
{
    blaze_db *db;
    blaze_doc *doc;
    char *status;
    bool sealed = seal.passphrase != NULL || seal.key_file != NULL;
    OK(open_how(&db, path, seal, false));
    OK(blaze_get(db, "c", &known, &doc, &error));
    blaze_doc_free(doc);
    OK(blaze_status(db, &status, &error));
    assert_non_null(strstr(status, sealed ? "\"sealed\":true" : "\"sealed\":false"));
    blaze_free(status);
    OK(blaze_check(db, NULL, NULL, &error));
    OK(blaze_close(db, &error));
}

static void assert_shut(const char *path, blaze_seal seal, int code, const char *words)
{
    blaze_db *db;
    REFUSED(code, words, open_how(&db, path, seal, false));
}

/* ---- opening ---- */

static void a_passphrase_seals_and_opens(void **state)
{
    (void)state;
    make("a.blz", passphrase("open sesame"));
    assert_holds("a.blz", passphrase("open sesame"));
    assert_shut("a.blz", passphrase("open wheat"), BLAZE_EAUTH, "a.blz: the passphrase is wrong");
    assert_shut("a.blz", none(), BLAZE_EAUTH, "a.blz: is sealed: give its passphrase");
    make("b.blz", none());
    assert_holds("b.blz", none());
    assert_shut("b.blz", passphrase("open sesame"), BLAZE_EINVAL, "b.blz: is not sealed");
    assert_shut("c.blz", passphrase("open sesame"), BLAZE_ENOTFOUND, "no database");

    blaze_db *db;
    REFUSED(BLAZE_EEXIST, "there is a database already", open_how(&db, "a.blz", none(), true));
    REFUSED(BLAZE_EEXIST, "there is a database already",
        open_how(&db, "a.blz", passphrase("open sesame"), true));
}

static void a_key_file_seals_and_opens(void **state)
{
    (void)state;
    write_key("right", 64, 'r');
    write_key("wrong", 64, 'w');
    write_key("short", 31, 's');
    write_key("long", 65537, 'l');
    make("a.blz", key_file("right"));
    assert_holds("a.blz", key_file("right"));
    assert_shut("a.blz", key_file("wrong"), BLAZE_EAUTH, "the key file is not the one");
    assert_shut("a.blz", passphrase("right"), BLAZE_EAUTH, "opens with a key file");
    assert_shut("a.blz", key_file("absent"), BLAZE_EINVAL, "absent: there is no such key file");
    assert_shut("a.blz", key_file("short"), BLAZE_EINVAL, "32 to 65536 bytes");
    assert_shut("a.blz", key_file("long"), BLAZE_EINVAL, "32 to 65536 bytes");
    assert_shut("a.blz", key_file("."), BLAZE_EIO, "");
}

static void options_that_contradict_each_other_are_refused(void **state)
{
    (void)state;
    blaze_db *db;
    blaze_seal both = passphrase("x");
    both.key_file = "x";
    REFUSED(BLAZE_EINVAL, "not both", open_how(&db, "a.blz", both, true));
    blaze_seal unset = {0};
    REFUSED(BLAZE_EINVAL, "blaze_seal_init()", open_how(&db, "a.blz", unset, true));
    blaze_seal dear = passphrase("x");
    dear.kdf_passes = 65;
    REFUSED(BLAZE_ERANGE, "passes", open_how(&db, "a.blz", dear, true));

    blaze_open_options options;
    blaze_open_options_init(&options);
    options.create = options.memory = 1;
    options.seal = passphrase("x");
    REFUSED(BLAZE_EINVAL, "in memory", blaze_open(&db, "memory", &options, &error));
}

/* ---- changing ---- */

static void a_passphrase_is_changed_and_the_data_stays(void **state)
{
    (void)state;
    blaze_seal old = passphrase("old"), new = passphrase("new"), nothing = none();
    write_key("key", 32, 'k');
    blaze_seal file = key_file("key");
    make("a.blz", old);
    OK(blaze_change_passphrase("a.blz", &old, &new, &error));
    assert_holds("a.blz", new);
    assert_shut("a.blz", old, BLAZE_EAUTH, "wrong");
    OK(blaze_change_passphrase("a.blz", &new, &file, &error));
    assert_holds("a.blz", file);

    REFUSED(BLAZE_EAUTH, "", blaze_change_passphrase("a.blz", &new, &old, &error));
    REFUSED(BLAZE_EINVAL, "a new one", blaze_change_passphrase("a.blz", &file, &nothing, &error));
    REFUSED(
        BLAZE_EINVAL, "old passphrase", blaze_change_passphrase("a.blz", &nothing, &file, &error));
    REFUSED(BLAZE_ENOTFOUND, "b.blz", blaze_change_passphrase("b.blz", &old, &new, &error));
    make("b.blz", none());
    REFUSED(BLAZE_EINVAL, "is not sealed", blaze_change_passphrase("b.blz", &old, &new, &error));
}

/* ---- rewriting ---- */

struct who {
    blaze_id database, node;
    char digest[BLAZE_DIGEST_TEXT_SIZE];
};

static struct who who_is(const char *path, blaze_seal seal)
{
    struct who who;
    blaze_db *db;
    memset(&who, 0, sizeof who);
    OK(open_how(&db, path, seal, false));
    blaze_database_id(db, &who.database);
    blaze_node_id(db, &who.node);
    OK(blaze_digest(db, who.digest, &error));
    OK(blaze_close(db, &error));
    return who;
}

static void read_whole(const char *path, char out[256])
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    memset(out, 0, 256);
    assert_int_not_equal(fread(out, 1, 256, file), 0);
    fclose(file);
}

static void a_rekey_makes_a_new_key_and_keeps_the_rest(void **state)
{
    (void)state;
    char key_before[256], key_after[256];
    blaze_seal one = passphrase("one"), two = passphrase("two");
    make("a.blz", one);
    struct who before = who_is("a.blz", one);
    read_whole("a.blz/key", key_before);

    OK(blaze_rekey("a.blz", &one, &one, &error));
    read_whole("a.blz/key", key_after);
    assert_memory_not_equal(key_before, key_after, sizeof key_after);
    assert_holds("a.blz", one);
    OK(blaze_rekey("a.blz/", &one, &two, &error)); /* however it is written */
    assert_shut("a.blz", one, BLAZE_EAUTH, "wrong");
    struct who after = who_is("a.blz", two);
    assert_memory_equal(&before, &after, sizeof after);
    assert_holds("a.blz", two);
    assert_int_not_equal(access("a.blz.rekey", F_OK), 0);
}

static void a_rekey_seals_and_unseals(void **state)
{
    (void)state;
    blaze_seal one = passphrase("one");
    make("a.blz", none());
    struct who before = who_is("a.blz", none());
    OK(blaze_rekey("a.blz", NULL, &one, &error));
    assert_holds("a.blz", one);
    OK(blaze_rekey("a.blz", &one, NULL, &error));
    assert_holds("a.blz", none());
    struct who after = who_is("a.blz", none());
    assert_memory_equal(&before, &after, sizeof after);
}

static void a_rekey_follows_a_link_and_leaves_it(void **state)
{
    (void)state;
    struct stat info;
    blaze_seal one = passphrase("one");
    make("a.blz", none());
    assert_int_equal(symlink("a.blz", "link"), 0);
    OK(blaze_rekey("link", NULL, &one, &error));
    assert_holds("a.blz", one);
    assert_int_equal(lstat("link", &info), 0);
    assert_true(S_ISLNK(info.st_mode));
}

static void a_rekey_wants_the_database_for_itself(void **state)
{
    (void)state;
    blaze_db *db;
    blaze_seal one = passphrase("one"), two = passphrase("two");
    make("a.blz", one);
    OK(open_how(&db, "a.blz", one, false));
    REFUSED(BLAZE_EBUSY, "a.blz", blaze_rekey("a.blz", &one, &two, &error));
    OK(blaze_close(db, &error));
    REFUSED(BLAZE_EAUTH, "wrong", blaze_rekey("a.blz", &two, &two, &error));
    REFUSED(BLAZE_EAUTH, "is sealed", blaze_rekey("a.blz", NULL, &two, &error));
    REFUSED(BLAZE_ENOTFOUND, "b.blz", blaze_rekey("b.blz", NULL, &two, &error));
    blaze_seal empty = passphrase("");
    REFUSED(BLAZE_EINVAL, "1 to 1024", blaze_rekey("a.blz", &one, &empty, &error));
    assert_holds("a.blz", one);
    assert_int_not_equal(access("a.blz.rekey", F_OK), 0);
}

static void a_rekey_takes_away_what_another_left(void **state)
{
    (void)state;
    blaze_seal one = passphrase("one"), two = passphrase("two");
    make("a.blz", one);
    make("a.blz.rekey", two);
    OK(blaze_rekey("a.blz", &one, &two, &error));
    assert_holds("a.blz", two);
    assert_int_not_equal(access("a.blz.rekey", F_OK), 0);

    assert_int_equal(mkdir("a.blz.rekey", 0700), 0); /* but nothing that is not its own */
    write_key("a.blz.rekey/letter", 10, 'x');
    REFUSED(BLAZE_EEXIST, "other files", blaze_rekey("a.blz", &two, &one, &error));
    assert_int_equal(access("a.blz.rekey/letter", F_OK), 0);
    assert_holds("a.blz", two);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_passphrase_seals_and_opens),
        TEST(a_key_file_seals_and_opens),
        TEST(options_that_contradict_each_other_are_refused),
        TEST(a_passphrase_is_changed_and_the_data_stays),
        TEST(a_rekey_makes_a_new_key_and_keeps_the_rest),
        TEST(a_rekey_seals_and_unseals),
        TEST(a_rekey_follows_a_link_and_leaves_it),
        TEST(a_rekey_wants_the_database_for_itself),
        TEST(a_rekey_takes_away_what_another_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

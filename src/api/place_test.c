/* SPDX-License-Identifier: Apache-2.0 */

/* Where a database may lie: file systems that other machines share are refused unless forced. What
 * the system tells of a file system is changed on its way to the library. */

#include "os/os.h"

#include "cmocka_all.h"

#include <blazedb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char scratch[100];

static int setup(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(scratch, sizeof scratch, "%s/place-XXXXXX", base != NULL ? base : "/tmp");
    return mkdtemp(scratch) == NULL;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    bz_os_set_file_system(NULL, NULL);
    snprintf(command, sizeof command, "rm -rf %s", scratch);
    return system(command);
}

static void in_scratch(char path[128], const char *name)
{
    snprintf(path, 128, "%s/%s", scratch, name);
}

/* The file system of a test takes the place of the real one. */
static void replace(void *context, struct bz_file_system *found)
{
    const struct bz_file_system *wanted = context;
    found->type = wanted->type;
    strcpy(found->name, wanted->name);
}

static int open_at(blaze_db **db, const char *path, int how, int allow, blaze_error *error)
{
    blaze_open_options options;
    blaze_open_options_init(&options);
    options.create = how == 'c';
    options.read_only = how == 'r';
    options.allow_network_fs = allow;
    return blaze_open(db, path, &options, error);
}

static const struct {
    struct bz_file_system fs;
    const char *said; /* NULL: it may lie there */
} kinds[] = {
    {{.type = 0xef53}, NULL},     /* ext4 */
    {{.type = 0x01021994}, NULL}, /* tmpfs: one bit away from 9p */
    {{.type = 0x9123683e}, NULL}, /* btrfs, a type of 32 bits */
    {{.type = 0x65735546, .name = "fuseblk"}, NULL},
    {{.type = 0x65735546, .name = "fuse.gocryptfs"}, NULL},
    {{.type = 0x6969}, "NFS"},
    {{.type = 0xff534d42}, "CIFS"},
    {{.type = 0xfe534d42}, "SMB2"},
    {{.type = 0x01021997}, "9p"},
    {{.type = 0x5346414f}, "AFS"},
    {{.type = 0x00c36400}, "Ceph"},
    {{.type = 0x0bd00bd0}, "Lustre"},
    {{.type = 0x01161970}, "GFS2"},
    {{.type = 0x7461636f}, "OCFS2"},
    {{.type = 0x65735546, .name = "fuse.sshfs"}, "fuse.sshfs"},
    {{.type = 0x65735546, .name = "fuse.glusterfs"}, "fuse.glusterfs"},
    {{.type = 0x65735546, .name = "virtiofs"}, "virtiofs"},
};

static void network_file_systems_are_told_from_local_ones(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct bz_file_system fs = kinds[i].fs, found;
        blaze_error error;
        bz_os_set_file_system(replace, &fs);
        assert_int_equal(bz_path_file_system(scratch, &found, &error), 0);
        if (kinds[i].said == NULL) {
            assert_null(found.network);
            assert_int_equal(bz_path_check_local(scratch, &error), 0);
            continue;
        }
        assert_string_equal(found.network, kinds[i].said);
        assert_int_equal(bz_path_check_local(scratch, &error), BLAZE_EPERM);
        assert_non_null(strstr(error.text, kinds[i].said));
        assert_non_null(strstr(error.text, "--allow-network-fs)"));
    }
}

static void what_is_not_there_yet_lies_where_its_directory_does(void **state)
{
    (void)state;
    char path[128];
    struct bz_file_system there, missing;
    blaze_error error;
    assert_int_equal(bz_path_file_system(scratch, &there, &error), 0);
    assert_true(there.size_bytes > 0 && there.free_bytes <= there.size_bytes);
    in_scratch(path, "not-there");
    assert_int_equal(bz_path_file_system(path, &missing, &error), 0);
    assert_int_equal(missing.type, there.type);
    strcat(path, "//");
    assert_int_equal(bz_path_file_system(path, &missing, &error), 0);
    assert_int_equal(bz_path_file_system("not-there", &missing, &error), 0);
    in_scratch(path, "not/there");
    assert_int_equal(bz_path_file_system(path, &missing, &error), BLAZE_ENOTFOUND);
}

static void a_database_on_a_network_file_system_is_refused_unless_forced(void **state)
{
    (void)state;
    char path[128];
    blaze_db *db;
    blaze_error error;
    struct bz_file_system nfs = {.type = 0x6969};
    in_scratch(path, "a.blz");
    bz_os_set_file_system(replace, &nfs);
    assert_int_equal(open_at(&db, path, 'c', 0, &error), BLAZE_EPERM);
    assert_non_null(strstr(error.text, "NFS"));
    assert_false(bz_path_exists(path)); /* nothing was made */
    assert_int_equal(open_at(&db, path, 'c', 1, &error), BLAZE_OK);
    assert_int_equal(blaze_close(db, &error), BLAZE_OK);
    assert_int_equal(open_at(&db, path, 'w', 0, &error), BLAZE_EPERM);
    assert_int_equal(open_at(&db, path, 'r', 0, &error), BLAZE_EPERM);
    assert_int_equal(open_at(&db, path, 'r', 1, &error), BLAZE_OK);
    assert_int_equal(blaze_close(db, &error), BLAZE_OK);
    bz_os_set_file_system(NULL, NULL);
    assert_int_equal(open_at(&db, path, 'w', 0, &error), BLAZE_OK);
    assert_int_equal(blaze_close(db, &error), BLAZE_OK);
}

static void a_database_in_memory_lies_nowhere(void **state)
{
    (void)state;
    blaze_db *db;
    blaze_error error;
    blaze_open_options options;
    struct bz_file_system nfs = {.type = 0x6969};
    bz_os_set_file_system(replace, &nfs);
    blaze_open_options_init(&options);
    options.create = options.memory = 1;
    assert_int_equal(blaze_open(&db, "name", &options, &error), BLAZE_OK);
    assert_int_equal(blaze_close(db, &error), BLAZE_OK);
}

static void so_is_the_directory_of_a_hub(void **state)
{
    (void)state;
    char path[128];
    const char *listen[] = {"mem:place"};
    blaze_hub *hub;
    blaze_error error;
    blaze_hub_options options;
    struct bz_file_system smb = {.type = 0xfe534d42};
    in_scratch(path, "hub");
    blaze_hub_options_init(&options);
    options.listen = listen;
    options.listen_count = 1;
    bz_os_set_file_system(replace, &smb);
    assert_int_equal(blaze_hub_open(&hub, path, &options, &error), BLAZE_EPERM);
    assert_non_null(strstr(error.text, "SMB2"));
    options.allow_network_fs = 1;
    assert_int_equal(blaze_hub_open(&hub, path, &options, &error), BLAZE_OK);
    assert_int_equal(blaze_hub_close(hub, &error), BLAZE_OK);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(network_file_systems_are_told_from_local_ones),
        TEST(what_is_not_there_yet_lies_where_its_directory_does),
        TEST(a_database_on_a_network_file_system_is_refused_unless_forced),
        TEST(a_database_in_memory_lies_nowhere),
        TEST(so_is_the_directory_of_a_hub),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

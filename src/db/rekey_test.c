/* SPDX-License-Identifier: Apache-2.0 */

/* Rewriting a database under another key: nothing is lost, whenever it ends. */

#include "db/test_util.h"

#include "os/os.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char scratch[64], path[96], beside[96];

static int setup(void **state)
{
    (void)state;
    strcpy(scratch, "/dev/shm/blazedb-rekey-XXXXXX");
    if (mkdtemp(scratch) == NULL)
        strcpy(scratch, "rekey-XXXXXX");
    if (!bz_path_is_dir(scratch) && mkdtemp(scratch) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/a.blz", scratch);
    snprintf(beside, sizeof beside, "%s.rekey", path);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bz_os_set_fault(NULL, NULL);
    bz_db_remove(path);
    bz_db_remove(beside);
    return bz_path_remove(scratch, NULL);
}

/* As cheap as can be. */
static struct bz_vault_secret passphrase(const char *text)
{
    return (struct bz_vault_secret){
        BZ_VAULT_PASSPHRASE, bz_bytes_text(text), BZ_ARGON2_MEMORY_KIB_MIN, 1};
}

static int open_db(
    struct bz_db **out, const char *at, const struct bz_vault_secret *secret, bool create)
{
    struct bz_db_options options = {.create = create, .store.secret = secret};
    return bz_db_open(out, at, &options, NULL);
}

/* What a rewriting must keep. */
struct state {
    struct bz_identity identity;
    struct bz_db_state state;
};

static struct state whole_state(struct bz_db *db)
{
    struct state out;
    struct bz_read *read;
    memset(&out, 0, sizeof out);
    bz_db_identity(db, &out.identity);
    must(bz_read_begin(db, &read, error));
    must(bz_read_state(read, &out.state, error));
    bz_read_end(read);
    return out;
}

static struct state make(const struct bz_vault_secret *secret, unsigned records)
{
    struct bz_db *db;
    assert_int_equal(open_db(&db, path, secret, true), 0);
    for (unsigned i = 0; i < records; i++) {
        char json[64];
        snprintf(json, sizeof json, "{\"n\":%u,\"name\":\"name %u\"}", i, i);
        write_json(db, INSERT, "c", i, json);
    }
    must(bz_db_index_create(db, bz_bytes_text("c"), "n", "n", error));
    must(bz_db_setting_put(db, "setting", bz_bytes_text("value"), error));
    struct state state = whole_state(db);
    must(bz_db_close(db, error));
    return state;
}

/* Whether `at` is there, whole, the same, and opens with that. */
static bool holds(const char *at, const struct bz_vault_secret *secret, const struct state *state)
{
    struct bz_db *db;
    if (open_db(&db, at, secret, false) != 0)
        return false;
    struct state now = whole_state(db);
    assert_memory_equal(&now, state, sizeof now);
    check_all(db);
    must(bz_db_close(db, error));
    return true;
}

/* ---- what is kept ---- */

static void many_and_large_records_come_along(void **state)
{
    (void)state;
    struct bz_vault_secret secret = passphrase("one");
    size_t size = 3u << 20;
    char *json = malloc(size + 64);
    assert_non_null(json);
    make(NULL, 500);
    struct bz_db *db;
    assert_int_equal(open_db(&db, path, NULL, false), 0);
    for (unsigned i = 0; i < 8; i++) { /* several batches */
        int head = sprintf(json, "{\"large\":\"");
        memset(json + head, 'a' + (int)i, size);
        strcpy(json + head + size, "\"}");
        write_json(db, INSERT, "large", 1000 + i, json);
    }
    free(json);
    struct state before = whole_state(db);
    must(bz_db_close(db, error));

    must(bz_db_rekey(path, NULL, &secret, error));
    assert_true(holds(path, &secret, &before));
    assert_false(bz_path_exists(beside));
    struct bz_buf value;
    bz_buf_init(&value, 100);
    assert_int_equal(open_db(&db, path, &secret, false), 0);
    must(bz_db_setting_get(db, "setting", &value, error));
    assert_true(bz_bytes_equal(bz_buf_bytes(&value), bz_bytes_text("value")));
    bz_buf_release(&value);
    write_json(db, PUT, "c", 1, "{\"n\":\"goes on\"}");
    check_all(db);
    must(bz_db_close(db, error));
}

/* The copy is the same node; a copy of files that was made before is not, and says so first. */
static void a_copied_directory_becomes_another_node_before(void **state)
{
    (void)state;
    struct bz_vault_secret secret = passphrase("one");
    char identity[128], moved[128];
    struct state before = make(NULL, 3);
    snprintf(identity, sizeof identity, "%s/identity", path);
    snprintf(moved, sizeof moved, "%s/moved", scratch);
    must(bz_path_rename(identity, moved, error)); /* as a copy of the directory has another */
    must(bz_db_rekey(path, NULL, &secret, error));
    must(bz_path_remove(moved, error));

    struct bz_db *db;
    assert_int_equal(open_db(&db, path, &secret, false), 0);
    struct state after = whole_state(db);
    must(bz_db_close(db, error));
    assert_memory_equal(
        &before.identity.database, &after.identity.database, sizeof before.identity.database);
    assert_memory_not_equal(
        &before.identity.node, &after.identity.node, sizeof before.identity.node);
}

/* ---- who is in the way ---- */

static void another_process_is_not_written_under(void **state)
{
    (void)state;
    struct bz_vault_secret secret = passphrase("one");
    struct state before = make(NULL, 3);
    int ready[2], go[2];
    char byte = 0;
    assert_int_equal(pipe(ready) | pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        struct bz_db *db;
        struct bz_db_options options = {.read_only = true};
        close(go[1]);
        int rc = bz_db_open(&db, path, &options, NULL);
        if (write(ready[1], &byte, 1) != 1 || read(go[0], &byte, 1) < 0 || rc != 0)
            _exit(1);
        _exit(bz_db_close(db, NULL) != 0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    blaze_error busy;
    assert_int_equal(bz_db_rekey(path, NULL, &secret, &busy), BLAZE_EBUSY);
    assert_non_null(strstr(busy.text, "in use by another"));
    close(go[1]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(go[0]);
    close(ready[0]);
    close(ready[1]);
    assert_true(holds(path, NULL, &before));
    must(bz_db_rekey(path, NULL, &secret, error));
    assert_true(holds(path, &secret, &before));
}

/* Opens the database at every moment of a rewriting. */
struct visitor {
    bool busy;
    unsigned refused, opened;
    const struct bz_vault_secret *old, *new;
};

static int visit(void *context, enum bz_os_op op, const char *at)
{
    struct visitor *visitor = context;
    struct bz_db *db;
    if (visitor->busy || op == BZ_OS_READ || strncmp(at, scratch, strlen(scratch)) != 0)
        return 0;
    visitor->busy = true;
    if (open_db(&db, path, visitor->old, false) == 0 ||
        open_db(&db, path, visitor->new, false) == 0) {
        visitor->opened++;
        bz_db_close(db, NULL);
    } else {
        visitor->refused++;
    }
    visitor->busy = false;
    return 0;
}

static void nobody_opens_it_meanwhile(void **state)
{
    (void)state;
    struct bz_vault_secret one = passphrase("one"), two = passphrase("two");
    struct state before = make(&one, 3);
    struct visitor visitor = {.old = &one, .new = &two};
    bz_os_set_fault(visit, &visitor);
    int rc = bz_db_rekey(path, &one, &two, NULL);
    bz_os_set_fault(NULL, NULL);
    /* Between the moments at which it is held, another may have been there: then it is busy. */
    assert_true(rc == 0 || rc == BLAZE_EBUSY);
    assert_true(visitor.refused > 0);
    assert_true(holds(path, rc == 0 ? &two : &one, &before));
}

/* ---- failures and crashes ---- */

struct fault {
    int calls, at;
    bool die;
};

static int strike(void *context, enum bz_os_op op, const char *at)
{
    struct fault *fault = context;
    (void)op;
    if (strncmp(at, scratch, strlen(scratch)) != 0 || fault->calls++ != fault->at)
        return 0;
    if (fault->die)
        _exit(9);
    return EIO;
}

/* The old one or the new one, never both, never none. */
static bool is_new(
    const struct bz_vault_secret *old, const struct bz_vault_secret *new, const struct state *state)
{
    bool as_new = holds(path, new, state), as_old = holds(path, old, state);
    assert_true(as_new != as_old);
    return as_new;
}

static void a_failure_at_any_moment_leaves_the_old_or_the_new(void **state)
{
    (void)state;
    struct bz_vault_secret one = passphrase("one"), two = passphrase("two");
    struct state before = make(&one, 20);
    int failures = 0;
    for (int at = 0;; at++) {
        struct fault fault = {.at = at};
        bz_os_set_fault(strike, &fault);
        int rc = bz_db_rekey(path, &one, &two, NULL);
        bz_os_set_fault(NULL, NULL);
        if (is_new(&one, &two, &before))
            must(bz_db_rekey(path, &two, &one, error));
        else
            assert_int_not_equal(rc, 0);
        failures += rc != 0;
        if (fault.calls <= at)
            break;
    }
    assert_true(failures > 20);
}

static void a_crash_at_any_moment_leaves_the_old_or_the_new(void **state)
{
    (void)state;
    struct bz_vault_secret one = passphrase("one"), two = passphrase("two");
    struct state before = make(&one, 20);
    int crashes = 0, news = 0;
    for (int at = 0;; at++) {
        pid_t child = fork();
        if (child == 0) {
            struct fault fault = {.at = at, .die = true};
            bz_os_set_fault(strike, &fault);
            _exit(bz_db_rekey(path, &one, &two, NULL) != 0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        bool done = WEXITSTATUS(status) == 0;
        assert_true(done || WEXITSTATUS(status) == 9);
        crashes += !done;
        if (is_new(&one, &two, &before)) {
            news += !done;
            must(bz_db_rekey(path, &two, &one, error)); /* which takes away what was left */
            assert_false(bz_path_exists(beside));
        } else {
            assert_false(done);
        }
        if (done)
            break;
    }
    assert_true(crashes > 20 && news >= 1);
    assert_true(holds(path, &one, &before));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(many_and_large_records_come_along),
        TEST(a_copied_directory_becomes_another_node_before),
        TEST(another_process_is_not_written_under),
        TEST(nobody_opens_it_meanwhile),
        TEST(a_failure_at_any_moment_leaves_the_old_or_the_new),
        TEST(a_crash_at_any_moment_leaves_the_old_or_the_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

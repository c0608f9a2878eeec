/* SPDX-License-Identifier: Apache-2.0 */

/* The database on disk: opening and reopening, other processes, copies, threads. */

#include "catalog/catalog.h"
#include "db/test_util.h"
#include "store/testing.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEXT(s) bz_bytes_text(s)

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
    bz_test_dir_remove(&dir);
    return 0;
}

static const char *path_of(const char *name)
{
    static char path[2][128];
    static unsigned turn;
    turn ^= 1;
    snprintf(path[turn], sizeof path[turn], "%s/%s", dir.path, name);
    return path[turn];
}

static int try_open(struct bz_db **db, const char *name, bool create, blaze_error *error)
{
    struct bz_db_options options = {.create = create, .store = {.segment_bytes = 256u << 10}};
    return bz_db_open(db, path_of(name), &options, error);
}

static struct bz_db *open_disk(const char *name, bool create)
{
    struct bz_db *db = NULL;
    must(try_open(&db, name, create, error));
    return db;
}

static void a_database_is_made_once_and_found_only_where_it_is(void **state)
{
    (void)state;
    struct bz_db *db = NULL;
    blaze_error why;
    struct bz_db_options options = {.create = true, .read_only = true};
    assert_int_equal(try_open(&db, "a", false, &why), BLAZE_ENOTFOUND);
    assert_int_equal(bz_db_open(&db, path_of("a"), &options, &why), BLAZE_EINVAL);
    options = (struct bz_db_options){.create = true, .role = 7};
    assert_int_equal(bz_db_open(&db, path_of("a"), &options, &why), BLAZE_EINVAL);
    db = open_disk("a", true);
    struct bz_db *second = NULL;
    assert_int_equal(try_open(&second, "a", false, &why), BLAZE_EBUSY);
    must(bz_db_close(db, error));
    assert_int_equal(try_open(&db, "a", true, &why), BLAZE_EEXIST);
    db = open_disk("a", false);
    must(bz_db_close(db, error));
}

static int collect_index(void *context, const char *name, const char *field)
{
    strcat(context, name);
    strcat(context, "=");
    strcat(context, field);
    strcat(context, ";");
    return 0;
}

static void everything_is_there_after_reopening(void **state)
{
    (void)state;
    struct bz_db *db = open_disk("a", true);
    struct bz_identity before, after;
    struct bz_buf value;
    bz_db_identity(db, &before);
    for (uint32_t i = 0; i < 200; i++)
        write_json(db, INSERT, "c", i, "{\"n\":1,\"t\":\"x\",\"deep\":{\"er\":3}}");
    must(bz_db_index_create(db, TEXT("c"), "deep.er", "by deep", error));
    delete_one_of(db, "c", 7);
    write_json(db, UPDATE, "c", 8, "{\"n\":{\"$unset\":true},\"u\":[true,null]}");
    must(bz_db_setting_put(db, "secret", bz_bytes("\0\1\2", 3), error));
    must(bz_db_setting_put(db, "gone", TEXT("x"), error));
    must(bz_db_setting_put(db, "gone", bz_bytes(NULL, 0), error));
    struct bz_db_state written = state_of(db);
    must(bz_db_close(db, error));

    db = open_disk("a", false);
    bz_db_identity(db, &after);
    assert_memory_equal(&before, &after, sizeof before);
    struct bz_db_state read = state_of(db);
    assert_memory_equal(&written, &read, sizeof read);
    assert_int_equal(bz_db_position(db), written.position);
    expect_json(db, "c", 7, NULL);
    expect_json(db, "c", 8, "{\"t\":\"x\",\"deep\":{\"er\":3},\"u\":[true,null]}");
    bz_buf_init(&value, 100);
    must(bz_db_setting_get(db, "secret", &value, error));
    assert_true(bz_bytes_equal(bz_buf_bytes(&value), bz_bytes("\0\1\2", 3)));
    assert_int_equal(bz_db_setting_get(db, "gone", &value, NULL), BLAZE_ENOTFOUND);
    bz_buf_release(&value);
    char indexes[100] = "";
    must(bz_db_index_list(db, TEXT("c"), collect_index, indexes, error));
    assert_string_equal(indexes, "by deep=deep.er;");
    write_json(db, INSERT, "c", 7, "{}");
    expect_json(db, "c", 7, "{}");
    check_all(db);
    must(bz_db_close(db, error));
}

static void a_read_only_database_is_read_and_not_written(void **state)
{
    (void)state;
    struct bz_db *db = open_disk("a", true);
    write_json(db, INSERT, "c", 1, "{\"n\":1}");
    must(bz_db_close(db, error));
    struct bz_db_options options = {.read_only = true};
    struct bz_db_txn *txn = NULL;
    must(bz_db_open(&db, path_of("a"), &options, error));
    expect_json(db, "c", 1, "{\"n\":1}");
    assert_int_equal(bz_db_begin(db, &txn, NULL), BLAZE_EREADONLY);
    assert_int_equal(bz_db_setting_put(db, "s", TEXT("x"), NULL), BLAZE_EREADONLY);
    check_all(db);
    must(bz_db_close(db, error));
}

static void wrong_writes_change_nothing(void **state)
{
    (void)state;
    struct bz_db *db = open_disk("a", true);
    struct bz_db_txn *txn = NULL;
    blaze_error why;
    blaze_id id = id_of(2);
    must(bz_db_begin(db, &txn, error));
    must(try_write(txn, INSERT, "c", 1, "{\"n\":1}", error));
    assert_int_equal(try_write(txn, INSERT, "c", 1, "{\"n\":2}", &why), BLAZE_EEXIST);
    assert_int_equal(try_write(txn, UPDATE, "c", 2, "{\"n\":2}", &why), BLAZE_ENOTFOUND);
    assert_int_equal(try_write(txn, UPDATE, "d", 1, "{\"n\":2}", &why), BLAZE_ENOTFOUND);
    assert_int_equal(try_write(txn, PUT, "c", 1, "{\"n\":{\"$unset\":true}}", &why), BLAZE_EINVAL);
    assert_int_equal(try_write(txn, PUT, "", 1, "{}", &why), BLAZE_EINVAL);
    assert_int_equal(try_write(txn, PUT, "a\x01", 1, "{}", &why), BLAZE_EINVAL);
    assert_int_equal(try_write(txn, PUT, "a\xc2\x85", 1, "{}", &why), BLAZE_EINVAL);
    assert_int_equal(bz_db_delete(txn, TEXT("c"), &id, &why), BLAZE_ENOTFOUND);
    assert_int_equal(bz_db_rollback_to(txn, 3, &why), BLAZE_EINVAL);
    must(try_write(txn, UPDATE, "c", 1, "{}", error)); /* of nothing */
    must(try_write(txn, UPDATE, "c", 1, "{\"a.b\":1}", error));
    must(try_write(txn, UPSERT, "c", 3, "{\"x\":1,\"y\":{\"$unset\":true}}", error));
    must(bz_db_commit(txn, BZ_DURABLE_FULL, error));
    expect_json(db, "c", 1, "{\"n\":1,\"a.b\":1}");
    expect_json(db, "c", 3, "{\"x\":1}");
    assert_int_equal(state_of(db).seq, 3);
    check_all(db);
    must(bz_db_close(db, error));
}

/* Writes a text of `size` characters. */
static int write_large(
    struct bz_db_txn *txn, enum verb verb, const char *name, size_t size, blaze_error *error)
{
    blaze_doc *doc = NULL;
    blaze_id id = id_of(1);
    char *text = malloc(size);
    assert_non_null(text);
    memset(text, 'x', size);
    assert_int_equal(blaze_doc_new(&doc), 0);
    assert_int_equal(blaze_doc_add_text(doc, name, text, size), 0);
    int rc = verb == INSERT ? bz_db_insert(txn, TEXT("c"), &id, doc, error)
                            : bz_db_update(txn, TEXT("c"), &id, doc, error);
    blaze_doc_free(doc);
    free(text);
    return rc;
}

static void a_document_grows_to_its_limit_and_not_past_it(void **state)
{
    (void)state;
    struct bz_db *db = open_disk("a", true);
    struct bz_db_txn *txn = NULL;
    blaze_error why;
    must(bz_db_begin(db, &txn, error));
    must(write_large(txn, INSERT, "a", 15u << 20, error));
    assert_int_equal(write_large(txn, UPDATE, "b", 2u << 20, &why), BLAZE_ELIMIT);
    must(write_large(txn, UPDATE, "b", 1000000, error));
    must(bz_db_commit(txn, BZ_DURABLE_FULL, error));
    struct bz_read *read = NULL;
    blaze_id id = id_of(1);
    blaze_value value, b;
    must(bz_read_begin(db, &read, error));
    must(bz_read_get(read, TEXT("c"), &id, &value, error));
    must(blaze_value_field(&value, "b", &b));
    assert_int_equal(b.as.text.size, 1000000);
    bz_read_end(read);
    check_all(db);
    must(bz_db_close(db, error));
}

static void wrong_indexes_are_refused(void **state)
{
    (void)state;
    struct bz_db *db = open_disk("a", true);
    char long_name[400];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    assert_int_equal(bz_db_index_create(db, TEXT("c"), "", "i", NULL), BLAZE_ESYNTAX);
    assert_int_equal(bz_db_index_create(db, TEXT("c"), "a..b", "i", NULL), BLAZE_ESYNTAX);
    assert_int_equal(bz_db_index_create(db, TEXT("c"), "_id", "i", NULL), BLAZE_EINVAL);
    assert_int_equal(bz_db_index_create(db, TEXT("c"), "a", "", NULL), BLAZE_EINVAL);
    assert_int_equal(bz_db_index_create(db, TEXT("c"), "a", long_name, NULL), BLAZE_EINVAL);
    assert_int_equal(bz_db_index_create(db, TEXT("c"), long_name, "i", NULL), BLAZE_EINVAL);
    assert_int_equal(bz_db_index_drop(db, TEXT("c"), "i", NULL), BLAZE_ENOTFOUND);
    for (unsigned i = 0; i < 64; i++) {
        char name[8];
        snprintf(name, sizeof name, "i%u", i);
        must(bz_db_index_create(db, TEXT("c"), "a", name, error));
    }
    assert_int_equal(bz_db_index_create(db, TEXT("c"), "a", "i64", NULL), BLAZE_ELIMIT);
    must(bz_db_index_drop(db, TEXT("c"), "i3", error));
    must(bz_db_index_create(db, TEXT("c"), "a", "i64", error));
    write_json(db, INSERT, "c", 1, "{\"a\":1}");
    check_all(db);
    must(bz_db_close(db, error));
}

static void a_read_older_than_an_index_does_without_it(void **state)
{
    (void)state;
    struct bz_db *db = open_disk("a", true);
    struct bz_read *read = NULL;
    struct bz_rows *rows = NULL;
    struct bz_find find = {.collection = TEXT("c"), .sort = "n"};
    blaze_id id;
    blaze_value value;
    write_json(db, INSERT, "c", 1, "{\"n\":2}");
    write_json(db, INSERT, "c", 2, "{\"n\":1}");
    must(bz_read_begin(db, &read, error));
    must(bz_db_index_create(db, TEXT("c"), "n", "by_n", error));
    delete_one_of(db, "c", 1);
    must(bz_read_find(read, &find, &rows, error));
    for (uint32_t wanted = 2; wanted > 0; wanted--) {
        must(bz_rows_next(rows, &id, &value, error));
        assert_int_equal(bz_load32be(id.bytes + 12), wanted);
    }
    assert_int_equal(bz_rows_next(rows, &id, &value, NULL), BLAZE_END);
    bz_rows_close(rows);
    bz_read_end(read);
    must(bz_db_close(db, error));
}

/* A row's document stays as it is while others are read, and written, until the next row. */
static void check_row_stays(struct bz_read *read, struct bz_db_txn *txn, const char *sort)
{
    struct bz_find find = {.collection = TEXT("c"), .sort = sort};
    struct bz_rows *rows = NULL, *others = NULL;
    blaze_value value, other, n;
    blaze_id id;
    must(bz_read_find(read, &find, &rows, error));
    must(bz_read_find(read, &find, &others, error));
    for (int i = 0; i < 8; i++) {
        must(bz_rows_next(rows, &id, &value, error));
        uint32_t number = bz_load32be(id.bytes + 12);
        blaze_id next = id_of(number % 8 + 1);
        must(bz_rows_next(others, &id, &other, error));
        must(bz_read_get(read, TEXT("c"), &next, &other, error));
        if (txn != NULL)
            must(try_write(txn, UPDATE, "c", number % 8 + 1, "{\"m\":1}", error));
        must(blaze_value_field(&value, "n", &n));
        assert_int_equal(n.as.integer, 100 - number);
    }
    assert_int_equal(bz_rows_next(rows, &id, &value, NULL), BLAZE_END);
    bz_rows_close(rows);
    bz_rows_close(others);
}

static void a_row_stays_until_the_next_one(void **state)
{
    (void)state;
    struct bz_db *db = open_disk("a", true);
    static const char *const orders[] = {NULL, "n", "k"}; /* by the records, an index, a sorter */
    for (uint32_t i = 1; i <= 8; i++) {
        char json[40];
        snprintf(json, sizeof json, "{\"n\":%u,\"k\":%u}", 100 - i, i % 3);
        write_json(db, INSERT, "c", i, json);
    }
    must(bz_db_index_create(db, TEXT("c"), "n", "by_n", error));
    must(bz_store_checkpoint(bz_db_store(db), error));
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        struct bz_read *read = NULL;
        struct bz_db_txn *txn = NULL;
        must(bz_read_begin(db, &read, error));
        check_row_stays(read, NULL, orders[i]);
        bz_read_end(read);
        must(bz_db_begin(db, &txn, error));
        check_row_stays(bz_db_txn_read(txn), txn, orders[i]);
        must(bz_db_commit(txn, BZ_DURABLE_FULL, error));
    }
    must(bz_db_close(db, error));
}

/* ---- killed ---- */

/* Writes records in commits of their own and tells the number of each when it is durable. */
static void write_until_killed(int out)
{
    struct bz_db *db = open_disk("a", false);
    for (uint32_t i = 0;; i++) {
        char json[40];
        snprintf(json, sizeof json, "{\"n\":%u,\"f%u\":1}", i, i % 50);
        struct bz_db_txn *txn = NULL;
        if (bz_db_begin(db, &txn, NULL) != 0 ||
            try_write(txn, PUT, "c", i % 500, json, NULL) != 0 ||
            bz_db_commit(txn, BZ_DURABLE_FULL, NULL) != 0 || write(out, &i, sizeof i) != sizeof i)
            _exit(1);
    }
}

static void what_was_committed_survives_a_kill(void **state)
{
    (void)state;
    struct rng rng = {test_seed()};
    uint64_t rounds = test_rounds(3, 400);
    must(bz_db_close(open_disk("a", true), error));
    for (uint64_t round = 0; round < rounds; round++) {
        int ends[2];
        uint32_t last = 0, kill_at = 1 + rng_below(&rng, 150);
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(ends[0]);
            write_until_killed(ends[1]);
        }
        close(ends[1]);
        while (last < kill_at && read(ends[0], &last, sizeof last) == sizeof last)
            ;
        kill(child, SIGKILL);
        while (read(ends[0], &last, sizeof last) == sizeof last)
            ;
        close(ends[0]);
        int status = 0;
        waitpid(child, &status, 0);
        assert_true(WIFSIGNALED(status));

        struct bz_db *db = open_disk("a", false);
        char json[40];
        snprintf(json, sizeof json, "{\"n\":%u,\"f%u\":1}", last, last % 50);
        expect_json(db, "c", last % 500, json);
        check_all(db);
        must(bz_db_close(db, error));
    }
}

/* ---- copies ---- */

static void copy_file(const char *from, const char *to)
{
    char data[65536];
    size_t got = 0;
    uint64_t offset = 0;
    struct bz_file in = {.fd = -1}, out = {.fd = -1};
    must(bz_file_open(&in, from, BZ_OPEN_READ, error));
    must(bz_file_open(&out, to, BZ_OPEN_WRITE | BZ_OPEN_CREATE, error));
    do {
        must(bz_file_read(&in, offset, data, sizeof data, &got, error));
        must(bz_file_write(&out, offset, data, got, error));
        offset += got;
    } while (got == sizeof data);
    bz_file_close(&in);
    bz_file_close(&out);
}

/* Copies an entry of a directory over what is in the other, as it is. */
static int copy_entry(void *context, const char *name)
{
    const char *const *paths = context;
    char from[256], to[256];
    struct stat st;
    snprintf(from, sizeof from, "%s/%s", paths[0], name);
    snprintf(to, sizeof to, "%s/%s", paths[1], name);
    assert_int_equal(stat(from, &st), 0);
    if (!S_ISDIR(st.st_mode)) {
        copy_file(from, to);
        return 0;
    }
    const char *below[] = {from, to};
    if (!bz_path_exists(to))
        must(bz_dir_create(to, error));
    must(bz_dir_list(from, copy_entry, below, error));
    return 0;
}

static void copy_directory(const char *from, const char *to)
{
    const char *paths[] = {from, to};
    must(bz_dir_create(to, error));
    must(bz_dir_list(from, copy_entry, paths, error));
}

/* Puts the content of one directory's files into those of another, which stay the files they are:
 * what a snapshot of a file system, or a power cut, does. */
static void put_back(const char *from, const char *to)
{
    const char *paths[] = {path_of(from), path_of(to)};
    must(bz_dir_list(paths[0], copy_entry, paths, error));
}

static void a_copied_directory_becomes_a_node_of_its_own(void **state)
{
    (void)state;
    struct bz_identity first, second, again;
    struct bz_db *a = open_disk("a", true);
    write_json(a, INSERT, "c", 1, "{\"n\":1}");
    bz_db_identity(a, &first);
    must(bz_db_close(a, error));
    copy_directory(path_of("a"), path_of("b"));
    a = open_disk("a", false);
    struct bz_db *b = open_disk("b", false);
    bz_db_identity(a, &again);
    assert_memory_equal(&first, &again, sizeof first);
    bz_db_identity(b, &second);
    assert_memory_equal(&first.database, &second.database, sizeof(blaze_id));
    assert_memory_not_equal(&first.node, &second.node, sizeof(blaze_id));
    assert_memory_not_equal(&first.epoch, &second.epoch, sizeof(blaze_id));
    expect_equal(a, b);

    write_json(a, UPDATE, "c", 1, "{\"a\":1}");
    write_json(b, UPDATE, "c", 1, "{\"b\":1}");
    sync_both(a, b);
    expect_json(a, "c", 1, "{\"n\":1,\"a\":1,\"b\":1}");
    expect_equal(a, b);
    check_all(a);
    check_all(b);
    must(bz_db_close(a, error));
    must(bz_db_close(b, error));

    /* Once is enough; and a directory that was only renamed stays what it is. */
    must(bz_path_rename(path_of("b"), path_of("d"), error));
    b = open_disk("d", false);
    bz_db_identity(b, &again);
    assert_memory_equal(&second, &again, sizeof second);
    check_all(b);
    must(bz_db_close(b, error));
}

static void a_restored_directory_becomes_another_node_and_gets_back_what_it_lost(void **state)
{
    (void)state;
    struct world world = {{1}, 1700000000000u};
    struct bz_identity identity, renewed;
    struct bz_db *a = open_disk("a", true);
    write_json(a, INSERT, "c", 1, "{\"n\":1}");
    bz_db_identity(a, &identity);
    struct bz_db_options options = world_options(&world);
    struct bz_db *peer = NULL;
    options.database = identity.database;
    must(bz_db_open(&peer, "peer", &options, error));
    world.ms = bz_os_wall_ms();
    /* The state is put back as a file system's snapshot would: same files, older content. */
    must(bz_db_close(a, error));
    copy_directory(path_of("a"), path_of("old"));
    a = open_disk("a", false);
    write_json(a, INSERT, "c", 2, "{\"n\":2}");
    send_changes(a, peer, 10, 0);
    must(bz_db_close(a, error));
    put_back("old", "a");
    a = open_disk("a", false);

    struct exchange e = {.chunk = 10};
    blaze_error why = {0};
    must(bz_db_replica_open(peer, &e.from, error));
    must(bz_db_replica_open(a, &e.to, error));
    assert_int_equal(exchange_run(&e, &why), BLAZE_ECLOSED);
    assert_non_null(strstr(why.text, "older state"));
    bz_db_replica_close(&e.from);
    bz_db_replica_close(&e.to);
    expect_json(a, "c", 1, "{\"n\":1}");
    check_all(a);

    /* It is another node now, and what it has lost comes back. */
    bz_db_identity(a, &renewed);
    assert_memory_not_equal(&identity.node, &renewed.node, sizeof(blaze_id));
    assert_memory_not_equal(&identity.epoch, &renewed.epoch, sizeof(blaze_id));
    assert_memory_equal(&identity.database, &renewed.database, sizeof(blaze_id));
    write_json(a, UPDATE, "c", 1, "{\"after\":true}");
    sync_both(peer, a);
    expect_json(a, "c", 2, "{\"n\":2}");
    expect_json(peer, "c", 1, "{\"n\":1,\"after\":true}");
    expect_equal(a, peer);
    check_all(a);
    check_all(peer);
    must(bz_db_close(a, error));
    a = open_disk("a", false);
    struct bz_identity again;
    bz_db_identity(a, &again);
    assert_memory_equal(&renewed, &again, sizeof again);
    must(bz_db_close(a, error));
    must(bz_db_close(peer, error));
}

/* Has the note of relaxed commits say that it was made before the system last started. */
static void age_boot(const char *path)
{
    struct bz_store_options options = {.maps = bz_map_names, .map_count = BZ_MAP_COUNT};
    struct bz_store *store = NULL;
    struct bz_txn *txn = NULL;
    struct bz_bytes boot;
    uint8_t other[8];
    must(bz_store_open(&store, path, &options, error));
    must(bz_txn_begin(store, &txn, error));
    must(bz_view_get(bz_txn_view(txn), BZ_MAP_META, TEXT("boot"), &boot, error));
    bz_store64le(other, bz_load64le(boot.data) + 1);
    must(bz_txn_put(txn, BZ_MAP_META, TEXT("boot"), bz_bytes(other, sizeof other), error));
    must(bz_txn_commit(txn, BZ_DURABLE_FULL, error));
    must(bz_store_close(store, error));
}

static void relaxed_commits_that_a_power_cut_took_come_back_from_the_peer(void **state)
{
    (void)state;
    struct world world = {{1}, 1700000000000u};
    struct bz_identity before, after;
    struct bz_db *a = open_disk("a", true), *peer = NULL;
    bz_db_identity(a, &before);
    write_json(a, INSERT, "c", 1, "{\"n\":1}");
    struct bz_db_options options = world_options(&world);
    options.database = before.database;
    must(bz_db_open(&peer, "peer", &options, error));
    world.ms = bz_os_wall_ms();
    copy_directory(path_of("a"), path_of("old"));
    write_json(a, INSERT, "c", 2, "{\"n\":2}");
    send_changes(a, peer, 10, 0);
    must(bz_db_close(a, error));

    /* A process that was killed loses nothing and stays who it is. */
    put_back("old", "a");
    a = open_disk("a", false);
    bz_db_identity(a, &after);
    assert_memory_equal(&before, &after, sizeof before);
    must(bz_db_close(a, error));

    put_back("old", "a");
    age_boot(path_of("a"));
    a = open_disk("a", false);
    bz_db_identity(a, &after);
    assert_memory_not_equal(&before.node, &after.node, sizeof(blaze_id));
    assert_memory_not_equal(&before.epoch, &after.epoch, sizeof(blaze_id));
    expect_json(a, "c", 2, NULL);
    write_json(a, INSERT, "c", 3, "{\"n\":3}");
    sync_both(a, peer);
    expect_json(a, "c", 2, "{\"n\":2}");
    expect_json(peer, "c", 3, "{\"n\":3}");
    expect_equal(a, peer);
    check_all(a);
    must(bz_db_close(a, error));
    before = after;
    a = open_disk("a", false);
    bz_db_identity(a, &after);
    assert_memory_equal(&before, &after, sizeof before);
    must(bz_db_close(a, error));
    must(bz_db_close(peer, error));
}

/* ---- several processes ---- */

static void token_send(int fd)
{
    if (write(fd, "x", 1) != 1)
        _exit(9);
}

static void token_wait(int fd)
{
    char c;
    if (read(fd, &c, 1) != 1)
        _exit(9);
}

/* The other process: in turns with the first, writes what is new to it. */
static void be_the_other(int in, int out)
{
    token_wait(in);
    struct bz_db *db = open_disk("a", false);
    write_json(db, INSERT, "other", 1, "{\"new_name\":1,\"nested\":{\"another\":2}}");
    must(bz_db_index_create(db, TEXT("c"), "n", "by_n", error));
    token_send(out);
    token_wait(in);
    expect_json(db, "c", 2, "{\"n\":2,\"third\":3}");
    write_json(db, UPDATE, "c", 2, "{\"fourth\":4}");
    check_all(db);
    must(bz_db_close(db, error));
    token_send(out);
    _exit(0);
}

static void count_events(void *context, const struct bz_event *events, size_t count)
{
    (void)events;
    atomic_fetch_add((atomic_uint *)context, (unsigned)count);
}

static void processes_see_and_follow_each_others_commits(void **state)
{
    (void)state;
    int there[2], back[2];
    assert_int_equal(pipe(there), 0);
    assert_int_equal(pipe(back), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        be_the_other(there[0], back[1]);
    struct bz_db *db = open_disk("a", true);
    struct bz_observer *observer = NULL;
    atomic_uint events = 0;
    write_json(db, INSERT, "c", 1, "{\"n\":1}");
    must(bz_db_observe(db, bz_bytes(NULL, 0), count_events, &events, &observer, error));
    token_send(there[1]);
    token_wait(back[0]);
    expect_json(db, "other", 1, "{\"new_name\":1,\"nested\":{\"another\":2}}");
    bz_db_poll(db);
    assert_int_equal(bz_db_position(db), 2);
    write_json(db, INSERT, "c", 2, "{\"n\":2,\"third\":3}");
    check_all(db);
    char indexes[100] = "";
    must(bz_db_index_list(db, TEXT("c"), collect_index, indexes, error));
    assert_string_equal(indexes, "by_n=n;");
    token_send(there[1]);
    token_wait(back[0]);
    expect_json(db, "c", 2, "{\"n\":2,\"third\":3,\"fourth\":4}");
    bz_db_poll(db);
    assert_int_equal(bz_db_position(db), 4);
    int status = 0;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    bz_db_unobserve(observer);
    check_all(db);
    must(bz_db_close(db, error));
    for (unsigned i = 0; i < 2; i++) {
        close(there[i]);
        close(back[i]);
    }
}

/* The other process finds out that the copy was put back to an older state. */
static void find_out(int in, int out)
{
    token_wait(in);
    struct bz_identity identity;
    struct bz_replica replica;
    struct bz_db *db = open_disk("a", false);
    bz_db_identity(db, &identity);
    must(bz_db_replica_open(db, &replica, error));
    must(replica.ops->outlived(replica.context, &identity.node, NULL, error));
    must(replica.ops->outlived(replica.context, &identity.node, NULL, error)); /* once is enough */
    bz_db_replica_close(&replica);
    write_json(db, INSERT, "c", 2, "{\"n\":2}");
    must(bz_db_close(db, error));
    token_send(out);
    _exit(0);
}

static int see_version(void *context, const blaze_id *node, uint64_t seq)
{
    struct bz_identity *identities = context;
    for (unsigned i = 0; i < 2; i++) {
        if (memcmp(node, &identities[i].node, sizeof *node) == 0)
            identities[i].role = (uint8_t)seq;
    }
    return 0;
}

static void a_new_identity_is_everybodys_who_has_the_database_open(void **state)
{
    (void)state;
    int there[2], back[2], status = 0;
    struct bz_identity identities[2];
    struct bz_read *read = NULL;
    assert_int_equal(pipe(there), 0);
    assert_int_equal(pipe(back), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        find_out(there[0], back[1]);
    struct bz_db *db = open_disk("a", true);
    write_json(db, INSERT, "c", 1, "{\"n\":1}");
    bz_db_identity(db, &identities[0]);
    token_send(there[1]);
    token_wait(back[0]);
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    write_json(db, UPDATE, "c", 1, "{\"m\":1}");
    bz_db_identity(db, &identities[1]);
    assert_memory_not_equal(&identities[0].node, &identities[1].node, sizeof(blaze_id));
    assert_memory_not_equal(&identities[0].epoch, &identities[1].epoch, sizeof(blaze_id));
    must(bz_read_begin(db, &read, error));
    must(bz_read_version(read, see_version, identities, error));
    bz_read_end(read);
    /* Of the former node's writes nothing is claimed until somebody does who knows. */
    assert_int_equal(identities[0].role, 0);
    assert_int_equal(identities[1].role, 2);
    check_all(db);
    must(bz_db_close(db, error));
    for (unsigned i = 0; i < 2; i++) {
        close(there[i]);
        close(back[i]);
    }
}

/* ---- several threads ---- */

#define THREADS 4
#define ROUNDS  80

struct worker {
    struct bz_db *db;
    unsigned number;
    pthread_t thread;
};

/* Every commit brings new names, so that the catalog changes under everybody's eyes. */
static void *work_write(void *context)
{
    struct worker *w = context;
    for (unsigned i = 0; i < ROUNDS; i++) {
        char json[80], collection[16];
        struct bz_db_txn *txn = NULL;
        snprintf(
            json, sizeof json, "{\"n\":%u,\"w%u_%u\":1,\"w%u\":%u}", i, w->number, i, w->number, i);
        snprintf(collection, sizeof collection, "c%u", i % 7);
        if (bz_db_begin(w->db, &txn, NULL) != 0)
            return w;
        int rc = try_write(txn, PUT, collection, i % 11, json, NULL);
        if (i % 5 == 4)
            bz_db_abort(txn);
        else if (rc == 0)
            rc = bz_db_commit(txn, i % 2 == 0 ? BZ_DURABLE_FULL : BZ_DURABLE_RELAXED, NULL);
        if (rc != 0)
            return w;
    }
    return NULL;
}

static void *work_read(void *context)
{
    struct worker *w = context;
    for (unsigned i = 0; i < ROUNDS * 2; i++) {
        struct bz_read *read = NULL;
        struct bz_rows *rows = NULL;
        char collection[16];
        blaze_id id = id_of(i % 11);
        blaze_value value, n;
        snprintf(collection, sizeof collection, "c%u", i % 7);
        struct bz_find find = {.collection = TEXT(collection), .sort = "n"};
        if (bz_read_begin(w->db, &read, NULL) != 0)
            return w;
        int rc = bz_read_get(read, TEXT(collection), &id, &value, NULL);
        if (rc == 0 && blaze_value_field(&value, "n", &n) != 0)
            return w;
        if ((rc != 0 && rc != BLAZE_ENOTFOUND) || bz_read_find(read, &find, &rows, NULL) != 0)
            return w;
        while ((rc = bz_rows_next(rows, &id, &value, NULL)) == 0)
            ;
        bz_rows_close(rows);
        bz_read_end(read);
        if (rc != BLAZE_END)
            return w;
    }
    return NULL;
}

static void threads_read_and_write_at_once(void **state)
{
    (void)state;
    struct bz_db *db = open_disk("a", true);
    struct worker workers[THREADS];
    must(bz_db_index_create(db, TEXT("c1"), "n", "by_n", error));
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.db = db, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL,
                             i % 2 == 0 ? work_write : work_read, &workers[i]),
            0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        void *failed = NULL;
        pthread_join(workers[i].thread, &failed);
        assert_null(failed);
    }
    check_all(db);
    must(bz_db_close(db, error));
    db = open_disk("a", false);
    check_all(db);
    must(bz_db_close(db, error));
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(a_database_is_made_once_and_found_only_where_it_is),
        test(everything_is_there_after_reopening),
        test(a_read_only_database_is_read_and_not_written),
        test(wrong_writes_change_nothing),
        test(a_document_grows_to_its_limit_and_not_past_it),
        test(wrong_indexes_are_refused),
        test(a_read_older_than_an_index_does_without_it),
        test(a_row_stays_until_the_next_one),
        test(what_was_committed_survives_a_kill),
        test(a_copied_directory_becomes_a_node_of_its_own),
        test(relaxed_commits_that_a_power_cut_took_come_back_from_the_peer),
        test(a_restored_directory_becomes_another_node_and_gets_back_what_it_lost),
        test(processes_see_and_follow_each_others_commits),
        test(a_new_identity_is_everybodys_who_has_the_database_open),
        test(threads_read_and_write_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog/catalog.h"

#include "cmocka_all.h"

#include <stdio.h>
#include <string.h>

/* A catalog over a store in memory, and the transaction that changes both. */
struct fixture {
    struct bz_store *store;
    struct bz_catalog *catalog;
    struct bz_txn *txn;
};

static void begin(struct fixture *f)
{
    assert_int_equal(bz_txn_begin(f->store, &f->txn, NULL), 0);
}

static void commit(struct fixture *f)
{
    uint64_t generation = 0;
    assert_int_equal(bz_catalog_flush(f->catalog, f->txn, &generation, NULL), 0);
    assert_int_equal(bz_txn_commit(f->txn, BZ_DURABLE_FULL, NULL), 0);
    bz_catalog_committed(f->catalog);
    assert_int_equal(bz_catalog_generation(f->catalog), generation);
}

static void abandon(struct fixture *f)
{
    bz_txn_abort(f->txn);
    bz_catalog_rollback(f->catalog);
}

/* Another catalog of what is stored: that of another process, or after reopening. */
static struct bz_catalog *load(struct fixture *f)
{
    struct bz_snapshot *snapshot = NULL;
    struct bz_catalog *catalog = NULL;
    uint64_t generation = f->catalog == NULL ? 0 : bz_catalog_generation(f->catalog);
    assert_int_equal(bz_snapshot_open(f->store, &snapshot, NULL), 0);
    assert_int_equal(
        bz_catalog_load(&catalog, bz_snapshot_view(snapshot), generation, false, NULL), 0);
    bz_snapshot_close(snapshot);
    return catalog;
}

static void refresh(struct fixture *f, struct bz_catalog *catalog)
{
    struct bz_snapshot *snapshot = NULL;
    assert_int_equal(bz_snapshot_open(f->store, &snapshot, NULL), 0);
    assert_int_equal(bz_catalog_refresh(catalog, bz_snapshot_view(snapshot),
                         bz_catalog_generation(f->catalog), NULL),
        0);
    bz_snapshot_close(snapshot);
}

static int setup(void **state)
{
    static struct fixture f;
    struct bz_store_options options = {.maps = bz_map_names, .map_count = BZ_MAP_COUNT};
    options.create = true;
    memset(&f, 0, sizeof f);
    assert_int_equal(bz_store_open_memory(&f.store, &options, NULL), 0);
    f.catalog = load(&f);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    bz_catalog_free(f->catalog);
    return bz_store_close(f->store, NULL);
}

static blaze_id node_of(uint32_t n)
{
    blaze_id id = {{7}};
    bz_store32be(id.bytes + 12, n);
    return id;
}

static uint32_t add_collection(struct fixture *f, const char *name)
{
    uint32_t number = UINT32_MAX;
    assert_int_equal(bz_catalog_add_collection(f->catalog, bz_bytes_text(name), &number, NULL), 0);
    return number;
}

static int add_index(struct fixture *f, uint32_t collection, const char *path, const char *name,
    struct bz_index *out)
{
    struct bz_index index = {.collection = collection};
    int rc = bz_catalog_add_field(f->catalog, bz_bytes_text(path), &index.field, NULL);
    snprintf(index.path, sizeof index.path, "%s", path);
    snprintf(index.name, sizeof index.name, "%s", name);
    if (rc == 0)
        rc = bz_catalog_add_index(f->catalog, &index, NULL);
    if (rc == 0 && out != NULL)
        *out = index;
    return rc;
}

static void what_is_committed_is_there_after_loading(void **state)
{
    struct fixture *f = *state;
    uint32_t number;
    struct bz_bytes name;
    begin(f);
    assert_int_equal(add_collection(f, "a"), 0);
    assert_int_equal(add_collection(f, "b"), 1);
    assert_int_equal(add_collection(f, "a"), 0);
    for (uint32_t i = 0; i < 100; i++) {
        blaze_id id = node_of(i);
        assert_int_equal(bz_catalog_add_node(f->catalog, &id, &number, NULL), 0);
        assert_int_equal(number, i);
    }
    assert_int_equal(bz_catalog_add_field(f->catalog, bz_bytes_text("x"), &number, NULL), 0);
    assert_int_equal(add_index(f, 1, "y", "by_y", NULL), 0);
    commit(f);
    struct bz_catalog *other = load(f);
    assert_int_equal(bz_catalog_collections(other), 2);
    assert_int_equal(bz_catalog_collection(other, bz_bytes_text("b"), &number), 0);
    assert_int_equal(number, 1);
    assert_int_equal(bz_catalog_collection_name(other, 0, &name), 0);
    assert_true(bz_bytes_equal(name, bz_bytes_text("a")));
    assert_int_equal(bz_catalog_collection_name(other, 2, &name), BLAZE_ENOTFOUND);
    assert_int_equal(bz_names_count(bz_catalog_names(other)), 2);
    assert_int_equal(bz_catalog_nodes(other).count, 100);
    for (uint32_t i = 0; i < 100; i++) {
        blaze_id id = node_of(i), back;
        assert_int_equal(bz_catalog_node(other, &id, &number), 0);
        assert_int_equal(number, i);
        assert_int_equal(bz_catalog_node_id(other, i, &back), 0);
        assert_memory_equal(&id, &back, sizeof id);
    }
    assert_int_equal(bz_catalog_node_id(other, 100, &(blaze_id){{0}}), BLAZE_ENOTFOUND);
    const struct bz_index_list *list = bz_catalog_indexes(other, 1);
    assert_int_equal(list->count, 1);
    assert_string_equal(list->indexes[0].name, "by_y");
    assert_string_equal(list->indexes[0].path, "y");
    assert_int_equal(list->indexes[0].since, 1);
    bz_catalog_indexes_release(other, list);
    bz_catalog_free(other);
}

static void what_is_rolled_back_is_forgotten_and_its_numbers_given_again(void **state)
{
    struct fixture *f = *state;
    blaze_id id = node_of(1), second = node_of(2);
    uint32_t number;
    begin(f);
    add_collection(f, "kept");
    commit(f);
    begin(f);
    assert_int_equal(add_collection(f, "gone"), 1);
    assert_int_equal(bz_catalog_add_node(f->catalog, &id, &number, NULL), 0);
    assert_int_equal(add_index(f, 0, "x", "i", NULL), 0);
    abandon(f);
    assert_int_equal(
        bz_catalog_collection(f->catalog, bz_bytes_text("gone"), &number), BLAZE_ENOTFOUND);
    assert_int_equal(bz_catalog_node(f->catalog, &id, &number), BLAZE_ENOTFOUND);
    assert_int_equal(bz_names_count(bz_catalog_names(f->catalog)), 0);
    begin(f);
    assert_int_equal(add_collection(f, "other"), 1);
    assert_int_equal(bz_catalog_add_node(f->catalog, &second, &number, NULL), 0);
    assert_int_equal(number, 0);
    commit(f);
    assert_int_equal(bz_catalog_node(f->catalog, &second, &number), 0);
    const struct bz_index_list *list = bz_catalog_indexes(f->catalog, 0);
    assert_int_equal(list->count, 0);
    bz_catalog_indexes_release(f->catalog, list);
}

static void a_commit_without_news_keeps_the_generation(void **state)
{
    struct fixture *f = *state;
    begin(f);
    add_collection(f, "a");
    commit(f);
    begin(f);
    add_collection(f, "a");
    commit(f);
    assert_int_equal(bz_catalog_generation(f->catalog), 1);
}

static void a_refresh_takes_over_what_others_added_and_dropped(void **state)
{
    struct fixture *f = *state;
    uint32_t number;
    begin(f);
    add_collection(f, "a");
    assert_int_equal(add_index(f, 0, "x", "first", NULL), 0);
    commit(f);
    struct bz_catalog *other = load(f);
    const struct bz_index_list *old = bz_catalog_indexes(other, 0);
    begin(f);
    add_collection(f, "b");
    assert_int_equal(add_index(f, 1, "y", "second", NULL), 0);
    commit(f);
    begin(f);
    struct bz_index dropped;
    assert_int_equal(bz_catalog_drop_index(f->catalog, 0, "first", &dropped, NULL), 0);
    commit(f);
    refresh(f, other);
    assert_int_equal(bz_catalog_generation(other), 3);
    assert_int_equal(bz_catalog_collection(other, bz_bytes_text("b"), &number), 0);
    for (uint32_t c = 0; c < 2; c++) {
        const struct bz_index_list *list = bz_catalog_indexes(other, c);
        assert_int_equal(list->count, c);
        bz_catalog_indexes_release(other, list);
    }
    /* A list in use stays as it was. */
    assert_int_equal(old->count, 1);
    assert_string_equal(old->indexes[0].name, "first");
    bz_catalog_indexes_release(other, old);
    bz_catalog_free(other);
}

static void wrong_names_and_too_many_indexes_are_refused(void **state)
{
    struct fixture *f = *state;
    char name[BLAZE_MAX_NAME + 2];
    uint32_t number;
    memset(name, 'x', sizeof name);
    begin(f);
    const struct bz_bytes bad[] = {bz_bytes("", 0), bz_bytes(name, sizeof name),
        bz_bytes("\xc3", 1), bz_bytes("a\0b", 3), bz_bytes("\x7f", 1), bz_bytes("\xc2\x9f", 2)};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(
            bz_catalog_add_collection(f->catalog, bad[i], &number, NULL), BLAZE_EINVAL);
    assert_int_equal(
        bz_catalog_add_collection(f->catalog, bz_bytes(name, BLAZE_MAX_NAME), &number, NULL), 0);
    commit(f);
    for (unsigned i = 0; i < BZ_CATALOG_INDEXES_MAX; i++) {
        char index[16];
        snprintf(index, sizeof index, "i%u", i);
        begin(f);
        assert_int_equal(add_index(f, 0, "x", index, NULL), 0);
        commit(f);
    }
    begin(f);
    assert_int_equal(add_index(f, 0, "x", "one more", NULL), BLAZE_ELIMIT);
    assert_int_equal(add_index(f, 0, "x", "i5", NULL), BLAZE_EEXIST);
    struct bz_index index;
    assert_int_equal(bz_catalog_drop_index(f->catalog, 0, "none", &index, NULL), BLAZE_ENOTFOUND);
    abandon(f);
}

static void spoil(struct fixture *f, const char *key, size_t key_size, const char *value)
{
    begin(f);
    assert_int_equal(
        bz_txn_put(f->txn, BZ_MAP_CATALOG, bz_bytes(key, key_size), bz_bytes_text(value), NULL), 0);
    assert_int_equal(bz_txn_commit(f->txn, BZ_DURABLE_FULL, NULL), 0);
}

static void corrupt_definitions_are_told(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *key, *value;
        const char *what;
    } cases[] = {
        {"c\0\0\0\5", "a", "collection 5"},   /* a gap */
        {"c\0\0\0\0", "", "collection 0"},    /* no name */
        {"f\0\0\0\0", "\xff", "field 0"},     /* no UTF-8 */
        {"n\0\0\0\0", "short", "node 0"},     /* no id */
        {"i\0\0\0\0", "\1\1\1\1", "index 0"}, /* of nothing */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bz_catalog *catalog = NULL;
        struct bz_snapshot *snapshot = NULL;
        blaze_error error = {0};
        spoil(f, cases[i].key, 5, cases[i].value);
        assert_int_equal(bz_snapshot_open(f->store, &snapshot, NULL), 0);
        assert_int_equal(bz_catalog_load(&catalog, bz_snapshot_view(snapshot), 1, false, &error),
            BLAZE_ECORRUPT);
        assert_non_null(strstr(error.text, cases[i].what));
        bz_snapshot_close(snapshot);
        begin(f);
        bz_txn_delete(f->txn, BZ_MAP_CATALOG, bz_bytes(cases[i].key, 5), NULL);
        assert_int_equal(bz_txn_commit(f->txn, BZ_DURABLE_FULL, NULL), 0);
    }
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(what_is_committed_is_there_after_loading),
        test(what_is_rolled_back_is_forgotten_and_its_numbers_given_again),
        test(a_commit_without_news_keeps_the_generation),
        test(a_refresh_takes_over_what_others_added_and_dropped),
        test(wrong_names_and_too_many_indexes_are_refused),
        test(corrupt_definitions_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

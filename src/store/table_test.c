/* SPDX-License-Identifier: Apache-2.0 */

/* What is written to a table is found in it, and nothing else; one suite for both kinds. */

#include "store/table_test_util.h"

#include "base/hash.h"

#include <pthread.h>

/* ---- getting ---- */

/* A key near one that is there, and not there itself. */
static bool absent_key(struct rng *rng, struct model_entry *out)
{
    *out = model.entries[rng_below(rng, (uint32_t)model.count)];
    switch (rng_below(rng, 4)) {
    case 0:
        out->key[rng_below(rng, (uint32_t)out->key_size)] ^= (uint8_t)(1 + rng_below(rng, 255));
        break;
    case 1:
        out->map = rng_below(rng, 256);
        break;
    case 2:
        if (out->key_size > 1)
            out->key_size--;
        break;
    default:
        if (out->key_size < 511)
            out->key[out->key_size++] = (uint8_t)rng_next(rng);
    }
    size_t at = model_before(out->map, model_key(out));
    return at == model.count || compare_entries(&model.entries[at], out) != 0;
}

static void what_was_written_is_found_and_nothing_else(void **state)
{
    (void)state;
    uint64_t seed = test_seed(), rounds = test_rounds(12, 200);
    for (uint64_t round = 0; round < rounds; round++) {
        struct rng rng = {seed + round};
        struct model_entry absent;
        model.count = 0;
        model_random(&rng, (enum shape)(round % SHAPES), 1 + rng_below(&rng, 2000));
        struct bz_table_summary summary = write_table();
        struct bz_table *table = open_table(summary.size);
        for (size_t i = 0; i < model.count; i++)
            assert_int_equal(get_entry(table, &model.entries[i]), 0);
        for (size_t i = 0; i < 500; i++) {
            if (absent_key(&rng, &absent))
                assert_int_equal(get_entry(table, &absent), BLAZE_ENOTFOUND);
        }
        assert_int_equal(bz_table_verify(table, NULL, NULL, NULL), 0);
        bz_table_release(table);
    }
}

static void a_table_knows_its_size_its_entries_and_its_ends(void **state)
{
    (void)state;
    struct rng rng = {test_seed()};
    model_random(&rng, RANDOM_KEYS, 1000);
    struct bz_table_summary written = write_table(), read;
    uint64_t deletes = 0;
    for (size_t i = 0; i < model.count; i++)
        deletes += model.entries[i].deleted;
    struct bz_table *table = open_table(0);
    bz_table_summary(table, &read);
    assert_memory_equal(&read, &written, sizeof read);
    assert_int_equal(read.entries, model.count);
    assert_int_equal(read.deletes, deletes);
    assert_int_equal(read.size, read_table(&model.arena).size);
    assert_string_equal(bz_table_path(table), table_path);
    struct bz_table_key first = bz_table_first(table), last = bz_table_last(table);
    const struct model_entry *end = &model.entries[model.count - 1];
    assert_int_equal(
        compare_keys(first.map, first.key, model.entries[0].map, model_key(model.entries)), 0);
    assert_int_equal(compare_keys(last.map, last.key, end->map, model_key(end)), 0);
    bz_table_release(table);
}

static void values_of_no_bytes_and_of_mebibytes_come_back(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 5u << 20, 1, 4050, 4096, (1u << 20) - 7, 0, 3u << 20, 65535};
    struct rng rng = {test_seed()};
    uint8_t *value = malloc(5u << 20);
    assert_non_null(value);
    rng_fill(&rng, value, 5u << 20);
    for (uint8_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        model_add(3, bz_bytes(&i, 1), bz_bytes(value, sizes[i]));
    free(value);
    struct bz_table *table = open_table(write_table().size);
    for (size_t i = 0; i < model.count; i++)
        assert_int_equal(get_entry(table, &model.entries[i]), 0);
    struct bz_table_iter iter;
    bz_table_iter_init(&iter, table);
    size_t i = 0;
    for (int rc = bz_table_iter_first(&iter, NULL); rc == 0; rc = bz_table_iter_next(&iter, NULL))
        assert_true(same_entry(&iter.entry, &model.entries[i++]));
    assert_int_equal(i, model.count);
    bz_table_iter_release(&iter);
    bz_table_release(table);
}

static void a_table_may_have_one_entry(void **state)
{
    (void)state;
    model_add(255, bz_bytes("\xff", 1), bz_bytes(NULL, 0))->deleted = true;
    struct bz_table *table = open_table(write_table().size);
    struct model_entry other = {.map = 255, .key_size = 1};
    assert_int_equal(get_entry(table, &model.entries[0]), 0);
    assert_int_equal(get_entry(table, &other), BLAZE_ENOTFOUND);
    bz_table_release(table);
}

static void a_written_table_tells_its_bytes_as_it_grows(void **state)
{
    (void)state;
    struct rng rng = {test_seed()};
    struct bz_table_writer *writer;
    struct bz_table_summary summary;
    uint64_t before = 0;
    model_random(&rng, RANDOM_KEYS, 3000);
    assert_int_equal(bz_table_writer_open(&writer, table_path, test_key, NULL), 0);
    for (size_t i = 0; i < model.count; i++) {
        struct bz_write entry = model_write(&model.entries[i]);
        assert_int_equal(bz_table_writer_add(writer, &entry, NULL), 0);
        assert_true(bz_table_writer_bytes(writer) > before);
        before = bz_table_writer_bytes(writer);
    }
    assert_int_equal(bz_table_writer_finish(writer, &summary, NULL), 0);
    assert_in_range(before, summary.size * 9 / 10, summary.size + 4096);
}

static void an_aborted_table_is_gone(void **state)
{
    (void)state;
    struct bz_table_writer *writer;
    assert_int_equal(bz_table_writer_open(&writer, table_path, test_key, NULL), 0);
    assert_true(bz_path_exists(table_path));
    bz_table_writer_abort(writer);
    assert_false(bz_path_exists(table_path));
    bz_table_writer_abort(NULL);
}

static void a_table_that_is_there_is_written_over(void **state)
{
    (void)state;
    struct rng rng = {test_seed()};
    model_random(&rng, RANDOM_KEYS, 1000);
    write_table();
    model.count = 3;
    struct bz_table *table = open_table(write_table().size);
    for (size_t i = 0; i < model.count; i++)
        assert_int_equal(get_entry(table, &model.entries[i]), 0);
    bz_table_release(table);
}

/* ---- walking ---- */

struct walk {
    struct bz_table_iter iter;
    size_t at; /* in the model; model.count for nowhere */
};

static void expect_at(struct walk *walk, int rc, size_t at)
{
    walk->at = at;
    assert_int_equal(rc, at < model.count ? 0 : BLAZE_END);
    assert_int_equal(walk->iter.positioned, at < model.count);
    if (at < model.count)
        assert_true(same_entry(&walk->iter.entry, &model.entries[at]));
}

static void seek_somewhere(struct walk *walk, struct rng *rng, enum shape shape, bool back)
{
    uint8_t bytes[600];
    uint32_t map = rng_below(rng, 2) == 0 ? rng_below(rng, 3) : rng_below(rng, 258);
    struct bz_bytes key = random_key(rng, shape, bytes);
    if (rng_below(rng, 2) == 0) {
        struct model_entry *entry = &model.entries[rng_below(rng, (uint32_t)model.count)];
        map = entry->map;
        key = model_key(entry);
    }
    if (rng_below(rng, 20) == 0)
        key.size = 0;
    if (rng_below(rng, 20) == 0) { /* longer than any key may be */
        memmove(bytes, key.data, key.size);
        memset(bytes + key.size, 0, sizeof bytes - key.size);
        key = bz_bytes(bytes, 512 + rng_below(rng, 88));
    }
    size_t at = model_before(map, key);
    if (!back) {
        expect_at(walk, bz_table_iter_seek(&walk->iter, map, key, NULL), at);
        return;
    }
    bool there = at < model.count &&
                 compare_keys(model.entries[at].map, model_key(&model.entries[at]), map, key) == 0;
    at = there ? at : at > 0 ? at - 1 : model.count;
    expect_at(walk, bz_table_iter_seek_back(&walk->iter, map, key, NULL), at);
}

static void move(struct walk *walk, struct rng *rng, enum shape shape)
{
    struct bz_table_iter *iter = &walk->iter;
    uint32_t what = rng_below(rng, 20);
    if (what == 0)
        expect_at(walk, bz_table_iter_first(iter, NULL), 0);
    else if (what == 1)
        expect_at(walk, bz_table_iter_last(iter, NULL), model.count - 1);
    else if (what <= 3 || walk->at == model.count)
        seek_somewhere(walk, rng, shape, what % 2 == 0);
    else if (what <= 12)
        expect_at(walk, bz_table_iter_next(iter, NULL), walk->at + 1);
    else
        expect_at(walk, bz_table_iter_prev(iter, NULL), walk->at > 0 ? walk->at - 1 : model.count);
}

static void walks_agree_with_a_sorted_list(void **state)
{
    (void)state;
    uint64_t seed = test_seed(), rounds = test_rounds(12, 200);
    for (uint64_t round = 0; round < rounds; round++) {
        struct rng rng = {seed + round};
        enum shape shape = (enum shape)(round % SHAPES);
        model.count = 0;
        model_random(&rng, shape, 1 + rng_below(&rng, 1500));
        struct bz_table *table = open_table(write_table().size);
        struct walk walk = {.at = model.count};
        bz_table_iter_init(&walk.iter, table);
        bz_table_release(table); /* the iterator holds it too */
        for (int i = 0; i < 3000; i++)
            move(&walk, &rng, shape);
        int rc = bz_table_iter_first(&walk.iter, NULL);
        for (size_t i = 0; i < model.count; i++, rc = bz_table_iter_next(&walk.iter, NULL))
            expect_at(&walk, rc, i);
        expect_at(&walk, rc, model.count);
        rc = bz_table_iter_last(&walk.iter, NULL);
        for (size_t i = model.count; i-- > 0; rc = bz_table_iter_prev(&walk.iter, NULL))
            expect_at(&walk, rc, i);
        expect_at(&walk, rc, model.count);
        bz_table_iter_release(&walk.iter);
    }
}

/* ---- who may read it ---- */

static void expect_refused(const uint8_t *key, int code, const char *why)
{
    struct bz_table *table;
    blaze_error error = {0};
    assert_int_equal(bz_table_open(&table, table_path, 0, key, test_cache, &error), code);
    assert_int_equal(error.code, code);
    assert_non_null(strstr(error.text, table_path));
    if (strstr(error.text, why) == NULL)
        fail_msg("%s", error.text);
}

static void a_table_opens_with_the_key_that_it_was_sealed_with(void **state)
{
    (void)state;
    static const uint8_t other[32] = "another key, as long as it is...";
    model_add(0, bz_bytes_text("k"), bz_bytes_text("v"));
    write_table();
    if (test_key != NULL) {
        expect_refused(other, BLAZE_ECORRUPT, "does not authenticate: damaged or tampered with");
        expect_refused(NULL, BLAZE_ECORRUPT, "is sealed, but the database is not");
    } else {
        expect_refused(other, BLAZE_ECORRUPT, "is not sealed, but the database is");
    }
    assert_int_equal(bz_path_remove(table_path, NULL), 0);
    expect_refused(test_key, BLAZE_ENOTFOUND, "open");
}

static void a_later_version_is_not_taken_for_damage(void **state)
{
    (void)state;
    model_add(0, bz_bytes_text("k"), bz_bytes_text("v"));
    write_table();
    struct bz_bytes bytes = read_table(&model.arena);
    uint8_t *header = (uint8_t *)(uintptr_t)bytes.data;
    header[8] = 2;
    bz_store64le(header + 56, bz_hash64(header, 56, 0));
    put_table(bytes);
    expect_refused(test_key, BLAZE_EVERSION, "newer version");
}

static bool holds(struct bz_bytes bytes, struct bz_bytes what)
{
    return memmem(bytes.data, bytes.size, what.data, what.size) != NULL;
}

static void a_sealed_table_shows_no_key_and_no_value(void **state)
{
    (void)state;
    char key[40], value[40];
    for (unsigned i = 0; i < 500; i++) {
        snprintf(key, sizeof key, "planted key %05u", i);
        snprintf(value, sizeof value, "planted value %u", i);
        model_add(1, bz_bytes_text(key), bz_bytes_text(value));
    }
    write_table();
    struct bz_bytes bytes = read_table(&model.arena);
    bool clear = test_key == NULL; /* what is looked for would be found */
    assert_int_equal(holds(bytes, bz_bytes_text("planted key 00000")), clear);
    assert_int_equal(holds(bytes, bz_bytes_text("planted key 00499")), clear);
    assert_int_equal(holds(bytes, bz_bytes_text("planted value 3")), clear);
    assert_int_equal(holds(bytes, bz_bytes_text("planted")), clear);
    assert_int_equal(holds(bytes, bz_bytes_text("lanted ")), clear);
}

static void no_two_tables_are_sealed_alike(void **state)
{
    (void)state;
    model_add(1, bz_bytes_text("k"), bz_bytes_text("a value that is long enough to compare"));
    write_table();
    struct bz_bytes one = read_table(&model.arena);
    write_table();
    struct bz_bytes two = read_table(&model.arena);
    assert_int_equal(one.size, two.size);
    assert_memory_not_equal(one.data + 16, two.data + 16, 16);
    if (test_key != NULL)
        assert_memory_not_equal(one.data + BZ_TABLE_HEADER, two.data + BZ_TABLE_HEADER, 32);
}

/* ---- threads ---- */

static void *get_all(void *context)
{
    struct bz_table *table = context;
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < model.count; i++) {
            size_t at = (i * 7919 + (uintptr_t)&round / 64) % model.count;
            struct bz_write got = {model.entries[at].map, .key = model_key(&model.entries[at])};
            struct bz_block *pin;
            if (bz_table_get(table, got.map, got.key, &got.deleted, &got.value, &pin, NULL) != 0 ||
                !same_entry(&got, &model.entries[at]))
                return table;
            bz_block_unpin(pin);
        }
    }
    struct bz_table_iter iter;
    size_t i = 0;
    bz_table_iter_init(&iter, table);
    for (int rc = bz_table_iter_first(&iter, NULL); rc == 0; rc = bz_table_iter_next(&iter, NULL)) {
        if (!same_entry(&iter.entry, &model.entries[i++]))
            break;
    }
    bz_table_iter_release(&iter);
    return i == model.count ? NULL : table;
}

static void threads_share_a_table_and_a_cache_that_is_too_small(void **state)
{
    (void)state;
    struct rng rng = {test_seed()};
    pthread_t threads[4];
    model_random(&rng, RANDOM_KEYS, 3000);
    bz_block_cache_free(test_cache);
    test_cache = bz_block_cache_new(20u << 10);
    struct bz_table *table = open_table(write_table().size);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, get_all, table), 0);
    for (size_t i = 0; i < 4; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    bz_table_release(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(what_was_written_is_found_and_nothing_else),
        BOTH(a_table_knows_its_size_its_entries_and_its_ends),
        BOTH(values_of_no_bytes_and_of_mebibytes_come_back),
        BOTH(a_table_may_have_one_entry),
        BOTH(a_written_table_tells_its_bytes_as_it_grows),
        BOTH(an_aborted_table_is_gone),
        BOTH(a_table_that_is_there_is_written_over),
        BOTH(walks_agree_with_a_sorted_list),
        BOTH(a_table_opens_with_the_key_that_it_was_sealed_with),
        BOTH(a_later_version_is_not_taken_for_damage),
        BOTH(a_sealed_table_shows_no_key_and_no_value),
        BOTH(no_two_tables_are_sealed_alike),
        BOTH(threads_share_a_table_and_a_cache_that_is_too_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a table makes of damage and of failing calls: never wrong entries, and as many right ones as
 * the damage leaves. One suite for both kinds.
 */

#include "store/table_test_util.h"

#include "base/alloc.h"
#include "os/os.h"

#include <errno.h>

/* A few blocks, of one entry and of more. */
static void small_model(void)
{
    static uint8_t value[2300];
    char key[24];
    struct rng rng = {7};
    rng_fill(&rng, value, sizeof value);
    for (uint32_t i = 0; i < 40; i++) {
        snprintf(key, sizeof key, "entry %03u", i);
        struct bz_bytes bytes = bz_bytes(value + i, i % 10 == 9 ? 2200 : i % 4 * 3);
        model_add(i / 30, bz_bytes_text(key), bytes)->deleted = bytes.size == 0;
    }
}

/* Walks one way, going on behind damage: what comes is in the model and in order. How many came;
 * *damaged says whether there was damage. */
static size_t walk_over(struct bz_table *table, bool forward, bool *damaged)
{
    struct bz_table_iter iter;
    size_t found = 0, at = forward ? 0 : model.count;
    bz_table_iter_init(&iter, table);
    int rc = forward ? bz_table_iter_first(&iter, NULL) : bz_table_iter_last(&iter, NULL);
    while (rc != BLAZE_END) {
        if (rc == 0) {
            while (forward && at < model.count && !same_entry(&iter.entry, &model.entries[at]))
                at++;
            while (!forward && at > 0 && !same_entry(&iter.entry, &model.entries[at - 1]))
                at--;
            assert_true(forward ? at++ < model.count : at-- > 0);
            found++;
        } else {
            assert_int_equal(rc, BLAZE_ECORRUPT);
            assert_false(iter.positioned);
            *damaged = true;
        }
        rc = forward ? bz_table_iter_next(&iter, NULL) : bz_table_iter_prev(&iter, NULL);
    }
    bz_table_iter_release(&iter);
    return found;
}

static void count_problem(void *context, const char *problem)
{
    assert_non_null(strstr(problem, table_path));
    ++*(size_t *)context;
}

/* Reads all that the file gives, every way: how many entries are lost. */
static size_t read_all(struct bz_table *table)
{
    size_t lost = 0, problems = 0;
    bool damaged = false;
    for (size_t i = 0; i < model.count; i++) {
        int rc = get_entry(table, &model.entries[i]);
        assert_true(rc == 0 || rc == BLAZE_ECORRUPT);
        lost += rc != 0;
    }
    assert_int_equal(walk_over(table, true, &damaged), model.count - lost);
    assert_int_equal(damaged, lost > 0);
    assert_int_equal(walk_over(table, false, &damaged), model.count - lost);
    int rc = bz_table_verify(table, count_problem, &problems, NULL);
    assert_int_equal(rc, problems > 0 ? BLAZE_ECORRUPT : 0);
    assert_int_equal(problems > 0, lost > 0);
    return lost;
}

/* Opens the damaged file: whether that, or what was found then, told of the damage. */
static bool damage_shows(uint64_t size)
{
    struct bz_table *table;
    blaze_error error = {0};
    int rc = bz_table_open(&table, table_path, size, test_key, test_cache, &error);
    if (rc != 0) {
        assert_true(rc == BLAZE_ECORRUPT);
        assert_int_equal(error.code, rc);
        assert_non_null(strstr(error.text, table_path));
        return true;
    }
    size_t lost = read_all(table);
    bz_table_release(table);
    return lost > 0;
}

static void every_changed_byte_is_noticed_and_gives_nothing_wrong(void **state)
{
    (void)state;
    struct rng rng = {test_seed()};
    small_model();
    struct bz_table_summary summary = write_table();
    struct bz_bytes bytes = read_table(&model.arena);
    uint8_t *data = (uint8_t *)(uintptr_t)bytes.data;
    assert_false(damage_shows(summary.size));
    for (size_t i = 0; i < bytes.size; i++) {
        uint8_t change = (uint8_t)(1 + rng_below(&rng, 255));
        data[i] ^= change;
        put_table(bytes);
        assert_true(damage_shows(summary.size));
        data[i] ^= change;
    }
    put_table(bytes);
    assert_false(damage_shows(summary.size));
}

static void a_table_that_was_cut_short_anywhere_does_not_open(void **state)
{
    (void)state;
    struct bz_table *table;
    blaze_error error = {0};
    small_model();
    struct bz_table_summary summary = write_table();
    struct bz_bytes bytes = read_table(&model.arena);
    for (size_t size = 0; size < bytes.size; size++) {
        put_table(bz_bytes(bytes.data, size));
        assert_int_equal(
            bz_table_open(&table, table_path, 0, test_key, test_cache, &error), BLAZE_ECORRUPT);
        assert_int_equal(
            bz_table_open(&table, table_path, summary.size, test_key, test_cache, &error),
            BLAZE_ECORRUPT);
        assert_non_null(strstr(error.text, "bytes instead of"));
    }
    put_table(bytes);
    assert_int_equal(
        bz_table_open(&table, table_path, summary.size + 1, test_key, test_cache, &error),
        BLAZE_ECORRUPT);
}

static void one_damaged_block_costs_its_own_entries_only(void **state)
{
    (void)state;
    struct rng rng = {test_seed()};
    model_random(&rng, RANDOM_KEYS, 3000);
    struct bz_table_summary summary = write_table();
    struct bz_bytes bytes = read_table(&model.arena);
    for (int round = 0; round < 20; round++) {
        size_t at = BZ_TABLE_HEADER + rng_below(&rng, (uint32_t)summary.size * 8 / 10);
        ((uint8_t *)(uintptr_t)bytes.data)[at] ^= 0x10;
        put_table(bytes);
        struct bz_table *table = open_table(summary.size);
        assert_in_range(read_all(table), 1, 2000);
        bz_table_release(table);
        ((uint8_t *)(uintptr_t)bytes.data)[at] ^= 0x10;
    }
}

static void damage_says_where_it_is(void **state)
{
    (void)state;
    blaze_error error = {0};
    char want[256];
    small_model();
    struct bz_table_summary summary = write_table();
    struct bz_bytes bytes = read_table(&model.arena);
    ((uint8_t *)(uintptr_t)bytes.data)[BZ_TABLE_HEADER + 10] ^= 1;
    put_table(bytes);
    snprintf(want, sizeof want, "%s: the block at offset 64 %s", table_path,
        test_key == NULL ? "is damaged" : "does not authenticate: damaged or tampered with");
    struct bz_table *table = open_table(summary.size);
    struct bz_block *pin;
    struct bz_bytes value;
    bool deleted;
    assert_int_equal(
        bz_table_get(table, 0, model_key(&model.entries[0]), &deleted, &value, &pin, &error),
        BLAZE_ECORRUPT);
    assert_string_equal(error.text, want);
    error.text[0] = '\0';
    assert_int_equal(bz_table_verify(table, NULL, NULL, &error), BLAZE_ECORRUPT);
    assert_string_equal(error.text, want);
    bz_table_release(table);
}

static void verify_sees_what_was_damaged_after_it_was_opened_and_read(void **state)
{
    (void)state;
    small_model();
    struct bz_table_summary summary = write_table();
    struct bz_bytes bytes = read_table(&model.arena);
    struct bz_table *table = open_table(summary.size);
    assert_int_equal(read_all(table), 0);
    for (size_t i = 0; i < bytes.size; i += 1 + i / 50) {
        ((uint8_t *)(uintptr_t)bytes.data)[i] ^= 1;
        put_table(bytes);
        assert_int_equal(bz_table_verify(table, NULL, NULL, NULL), BLAZE_ECORRUPT);
        ((uint8_t *)(uintptr_t)bytes.data)[i] ^= 1;
    }
    put_table(bytes);
    assert_int_equal(bz_table_verify(table, NULL, NULL, NULL), 0);
    bz_table_release(table);
}

/* ---- failing calls ---- */

struct plan {
    enum bz_os_op op;
    uint64_t at; /* the call that fails, from 1 */
    uint64_t count;
};

static int fail_allocation(void *context)
{
    struct plan *plan = context;
    return ++plan->count == plan->at;
}

static int fail_call(void *context, enum bz_os_op op, const char *path)
{
    struct plan *plan = context;
    (void)path;
    return op == plan->op && ++plan->count == plan->at ? EIO : 0;
}

static void switch_faults(struct plan *plan, bool allocations)
{
    if (allocations)
        bz_alloc_set_fault(plan == NULL ? NULL : fail_allocation, plan);
    else
        bz_os_set_fault(plan == NULL ? NULL : fail_call, plan);
}

/* Writes with one failure; whether it was reached. */
static bool write_with_failure(struct plan *plan, bool allocations, int code)
{
    struct bz_table_summary summary;
    blaze_error error = {0};
    plan->count = 0;
    switch_faults(plan, allocations);
    int rc = try_write(&summary, &error);
    switch_faults(NULL, allocations);
    if (plan->count < plan->at) {
        assert_int_equal(rc, 0);
        return false;
    }
    assert_int_equal(rc, code);
    assert_int_equal(error.code, code);
    assert_false(bz_path_exists(table_path));
    return true;
}

/* The same for reading all of it: 0 or the code, and nothing wrong. */
static bool read_with_failure(struct plan *plan, bool allocations, int code)
{
    struct bz_table *table = NULL;
    struct bz_table_iter iter;
    blaze_error error = {0};
    plan->count = 0;
    switch_faults(plan, allocations);
    int rc = bz_table_open(&table, table_path, 0, test_key, test_cache, &error);
    for (size_t i = 0; rc == 0 && i < model.count; i += 7)
        rc = get_entry(table, &model.entries[i]);
    if (rc == 0) {
        bz_table_iter_init(&iter, table);
        rc = bz_table_iter_first(&iter, &error);
        for (size_t i = 0; rc == 0; rc = bz_table_iter_next(&iter, &error))
            assert_true(same_entry(&iter.entry, &model.entries[i++]));
        bz_table_iter_release(&iter);
        rc = rc == BLAZE_END ? 0 : rc;
    }
    if (rc == 0)
        rc = bz_table_verify(table, NULL, NULL, &error);
    switch_faults(NULL, allocations);
    bz_table_release(table);
    bool reached = plan->count >= plan->at;
    /* Verifying takes what cannot be read for damage. */
    assert_true(
        rc == (reached ? code : 0) || (reached && code == BLAZE_EIO && rc == BLAZE_ECORRUPT));
    return reached;
}

static void a_failing_allocation_leaves_no_table_and_no_wrong_entry(void **state)
{
    (void)state;
    static uint8_t large[20000];
    struct plan plan = {.at = 1};
    struct rng rng = {test_seed()};
    model_random(&rng, RANDOM_KEYS, 1000);
    model_add(255, bz_bytes("\xff\xff\xff\xff\xff\xff\xff", 7), bz_bytes(large, sizeof large));
    model_sort();
    while (write_with_failure(&plan, true, BLAZE_ENOMEM))
        plan.at++;
    assert_true(plan.at > 10);
    for (plan.at = 1; read_with_failure(&plan, true, BLAZE_ENOMEM);)
        plan.at++;
    assert_true(plan.at > 4);
}

static void a_failing_call_leaves_no_table_and_no_wrong_entry(void **state)
{
    (void)state;
    static const enum bz_os_op writing[] = {BZ_OS_OPEN, BZ_OS_TRUNCATE, BZ_OS_WRITE, BZ_OS_SYNC};
    static const enum bz_os_op reading[] = {BZ_OS_OPEN, BZ_OS_READ};
    static uint8_t large[3u << 20];
    struct rng rng = {test_seed()};
    model_random(&rng, RANDOM_KEYS, 1000);
    for (uint8_t i = 1; i < 4; i++)
        model_add(i, bz_bytes("\xff\xff\xff\xff\xff\xff\xff", 7), bz_bytes(large, sizeof large));
    model_sort();
    for (size_t i = 0; i < sizeof writing / sizeof writing[0]; i++) {
        struct plan plan = {.op = writing[i], .at = 1};
        while (write_with_failure(&plan, false, BLAZE_EIO))
            plan.at++;
        assert_true(plan.at > (plan.op == BZ_OS_WRITE ? 3 : 1));
    }
    for (size_t i = 0; i < sizeof reading / sizeof reading[0]; i++) {
        struct plan plan = {.op = reading[i], .at = 1};
        while (read_with_failure(&plan, false, BLAZE_EIO))
            plan.at++;
        assert_true(plan.at > (plan.op == BZ_OS_READ ? 10 : 1));
    }
}

static void a_writer_that_failed_stays_failed(void **state)
{
    (void)state;
    struct plan plan = {.op = BZ_OS_WRITE, .at = 1};
    struct bz_table_writer *writer;
    struct bz_table_summary summary;
    static uint8_t large[2u << 20];
    struct bz_write entry = {0, false, bz_bytes("a", 1), bz_bytes(large, sizeof large)};
    assert_int_equal(bz_table_writer_open(&writer, table_path, test_key, NULL), 0);
    bz_os_set_fault(fail_call, &plan);
    assert_int_equal(bz_table_writer_add(writer, &entry, NULL), BLAZE_EIO);
    bz_os_set_fault(NULL, NULL);
    entry.key = bz_bytes("b", 1);
    assert_int_equal(bz_table_writer_add(writer, &entry, NULL), BLAZE_EIO);
    assert_int_equal(bz_table_writer_finish(writer, &summary, NULL), BLAZE_EIO);
    assert_false(bz_path_exists(table_path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(every_changed_byte_is_noticed_and_gives_nothing_wrong),
        BOTH(a_table_that_was_cut_short_anywhere_does_not_open),
        BOTH(one_damaged_block_costs_its_own_entries_only),
        BOTH(damage_says_where_it_is),
        BOTH(verify_sees_what_was_damaged_after_it_was_opened_and_read),
        BOTH(a_failing_allocation_leaves_no_table_and_no_wrong_entry),
        BOTH(a_failing_call_leaves_no_table_and_no_wrong_entry),
        BOTH(a_writer_that_failed_stays_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/names.h"

#include "base/alloc.h"
#include "cmocka_all.h"
#include "random.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static struct rng rng;

static struct bz_bytes name_of(char out[32], uint32_t id)
{
    int size = snprintf(out, 32, "n%x.%u", id * 2654435761u, id);
    return bz_bytes(out, (size_t)size);
}

static void names_are_found_by_id_and_by_name(void **state)
{
    (void)state;
    struct blaze_names *names;
    char text[32];
    uint32_t id;
    assert_int_equal(bz_names_new(&names), 0);
    assert_int_equal(bz_names_find(names, bz_bytes_text("x"), &id), BLAZE_ENOTFOUND);
    assert_null(bz_names_get(names, 0).data);
    for (uint32_t i = 0; i < 20000; i++) {
        assert_int_equal(bz_names_add(names, name_of(text, i), &id), 0);
        assert_int_equal(id, i);
        assert_int_equal(bz_names_add(names, name_of(text, i / 2), &id), 0);
        assert_int_equal(id, i / 2);
        assert_int_equal(bz_names_count(names), i + 1);
    }
    for (uint32_t i = 0; i < 20000; i++) {
        assert_true(bz_bytes_equal(bz_names_get(names, i), name_of(text, i)));
        assert_int_equal(bz_names_find(names, name_of(text, i), &id), 0);
        assert_int_equal(id, i);
    }
    assert_null(bz_names_get(names, 20000).data);
    assert_null(bz_names_get(names, UINT32_MAX).data);
    assert_int_equal(bz_names_find(names, name_of(text, 20000), &id), BLAZE_ENOTFOUND);
    bz_names_unref(names);
}

static void a_name_stays_where_it_is(void **state)
{
    (void)state;
    struct blaze_names *names;
    char text[32];
    uint32_t id;
    assert_int_equal(bz_names_new(&names), 0);
    assert_int_equal(bz_names_add(names, bz_bytes_text("first"), &id), 0);
    struct bz_bytes first = bz_names_get(names, 0);
    for (uint32_t i = 0; i < 5000; i++)
        assert_int_equal(bz_names_add(names, name_of(text, i), &id), 0);
    bz_names_truncate(names, 1);
    assert_ptr_equal(bz_names_get(names, 0).data, first.data);
    assert_memory_equal(first.data, "first", 5);
    bz_names_unref(names);
}

static void the_last_reference_frees(void **state)
{
    (void)state;
    struct blaze_names *names;
    uint32_t id;
    assert_int_equal(bz_names_new(&names), 0);
    assert_int_equal(bz_names_add(names, bz_bytes_text("kept"), &id), 0);
    struct blaze_names *other = bz_names_ref(names);
    bz_names_unref(names);
    assert_int_equal(bz_names_find(other, bz_bytes_text("kept"), &id), 0);
    bz_names_unref(other);
    bz_names_unref(NULL);
}

/* Against a plain array of what each id should be: which name, by number. */
static void truncated_names_are_forgotten_and_may_come_again(void **state)
{
    (void)state;
    enum { POOL = 700, STEPS = 20000 };
    uint32_t model[POOL], count = 0, id;
    struct blaze_names *names;
    char text[32];
    assert_int_equal(bz_names_new(&names), 0);
    rng.state = test_seed();
    for (int step = 0; step < STEPS; step++) {
        if (rng_below(&rng, 200) == 0) {
            count = rng_below(&rng, count + 1);
            bz_names_truncate(names, count);
        }
        uint32_t name = rng_below(&rng, POOL), at = 0;
        while (at < count && model[at] != name)
            at++;
        int known = bz_names_find(names, name_of(text, name), &id);
        assert_int_equal(known, at < count ? 0 : BLAZE_ENOTFOUND);
        assert_true(known != 0 || id == at);
        assert_int_equal(bz_names_add(names, name_of(text, name), &id), 0);
        assert_int_equal(id, at);
        if (at == count)
            model[count++] = name;
        assert_int_equal(bz_names_count(names), count);
    }
    for (uint32_t i = 0; i < count; i++)
        assert_true(bz_bytes_equal(bz_names_get(names, i), name_of(text, model[i])));
    bz_names_unref(names);
}

static int countdown(void *context)
{
    int *left = context;
    return (*left)-- == 0;
}

static void a_failed_allocation_leaves_the_table_as_it_was(void **state)
{
    (void)state;
    char text[32];
    uint32_t id;
    struct blaze_names *names = NULL;
    for (int n = 0; names == NULL; n++) {
        int left = n;
        bz_alloc_set_fault(countdown, &left);
        int rc = bz_names_new(&names);
        bz_alloc_set_fault(NULL, NULL);
        assert_int_equal(rc, left < 0 ? BLAZE_ENOMEM : 0);
    }
    for (uint32_t i = 0; i < 1000; i++) {
        int rc = BLAZE_ENOMEM;
        for (int n = 0; rc != 0; n++) {
            int left = n;
            bz_alloc_set_fault(countdown, &left);
            rc = bz_names_add(names, name_of(text, i), &id);
            bz_alloc_set_fault(NULL, NULL);
            assert_int_equal(bz_names_count(names), rc == 0 ? i + 1 : i);
            assert_true(n < 10);
        }
        assert_int_equal(id, i);
    }
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(bz_names_find(names, name_of(text, i), &id), 0);
    bz_names_unref(names);
}

/* ---- readers beside a writer ---- */

struct readers {
    struct blaze_names *names;
    atomic_bool done;
    atomic_uint committed; /* names that stay */
    atomic_uint faults;
    atomic_uint rounds; /* done by readers */
};

static void *read_names(void *context)
{
    struct readers *r = context;
    char text[32];
    uint32_t id, at = 0;
    while (!atomic_load(&r->done)) {
        uint32_t count = atomic_load(&r->committed);
        if (count > 0) {
            at = (at * 31 + 7) % count;
            bool found = bz_names_find(r->names, name_of(text, at), &id) == 0 && id == at;
            bool named = bz_bytes_equal(bz_names_get(r->names, at), name_of(text, at));
            if (!found || !named)
                atomic_fetch_add(&r->faults, 1);
        }
        /* One that may be coming, going or absent: whatever it gives must be readable. */
        if (bz_names_find(r->names, name_of(text, count + at % 64), &id) == 0) {
            struct bz_bytes name = bz_names_get(r->names, id);
            if (name.data != NULL && name.data[0] != 'n' && name.data[0] != 'x')
                atomic_fetch_add(&r->faults, 1);
        }
        atomic_fetch_add(&r->rounds, 1);
    }
    return NULL;
}

static void readers_need_no_lock_while_names_come_and_go(void **state)
{
    (void)state;
    enum { READERS = 3, NAMES = 4000 };
    struct readers r = {.names = NULL};
    pthread_t threads[READERS];
    char text[32];
    uint32_t id;
    assert_int_equal(bz_names_new(&r.names), 0);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_names, &r), 0);
    for (uint32_t i = 0; i < NAMES;) {
        /* A transaction that fails: other names at the ids to come. */
        for (uint32_t n = 0; n < i % 5; n++) {
            int size = snprintf(text, sizeof text, "x%u.%u", i, n);
            assert_int_equal(bz_names_add(r.names, bz_bytes(text, (size_t)size), &id), 0);
        }
        bz_names_truncate(r.names, i);
        for (uint32_t n = i % 7 + 1; n > 0 && i < NAMES; n--, i++)
            assert_int_equal(bz_names_add(r.names, name_of(text, i), &id), 0);
        atomic_store(&r.committed, i);
    }
    while (atomic_load(&r.rounds) < 1000)
        sched_yield();
    atomic_store(&r.done, true);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(atomic_load(&r.faults), 0);
    bz_names_unref(r.names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_found_by_id_and_by_name),
        cmocka_unit_test(a_name_stays_where_it_is),
        cmocka_unit_test(the_last_reference_frees),
        cmocka_unit_test(truncated_names_are_forgotten_and_may_come_again),
        cmocka_unit_test(a_failed_allocation_leaves_the_table_as_it_was),
        cmocka_unit_test(readers_need_no_lock_while_names_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

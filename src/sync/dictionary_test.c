/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Training a dictionary from bodies, once for each allocation that it makes, which then fails: it
 * is told, nothing is left half made, and after a rest it is trained all the same.
 */
#include "sync/dictionary.h"

#include "cmocka_all.h"

#include "alloc_plan.h"
#include "random.h"

#include <stdio.h>
#include <zstd.h>

#define BODY_MAX 200u

/* Bodies that have much in common, and a number each. */
static size_t body_of(struct rng *rng, char out[BODY_MAX])
{
    return (size_t)snprintf(out, BODY_MAX,
        "{\"customer\":\"c%u\",\"street\":\"Carrer Major %u\",\"city\":\"Andorra la Vella\","
        "\"articles\":[{\"name\":\"bread\",\"count\":%u}],\"paid\":%s}",
        rng_below(rng, 10000), rng_below(rng, 200), rng_below(rng, 9),
        rng_below(rng, 2) ? "true" : "false");
}

/* Samples until one is made, something fails, or there have been more than it takes. */
static int sample_all(struct bz_dictionaries *d, struct bz_dictionary **made)
{
    struct rng rng = {1};
    char body[BODY_MAX];
    int rc = 0;
    *made = NULL;
    for (unsigned i = 0; rc == 0 && *made == NULL && i < 2000; i++) {
        size_t size = body_of(&rng, body);
        rc = bz_dictionaries_sample(d, bz_bytes(body, size), made);
    }
    return rc;
}

/* What is compressed with it is smaller, and comes back. */
static void expect_use(struct bz_dictionaries *d, const struct bz_dictionary *made)
{
    struct rng rng = {99};
    char body[BODY_MAX], packed[2 * BODY_MAX], again[BODY_MAX];
    size_t size = body_of(&rng, body);
    const struct ZSTD_CDict_s *compress = bz_dictionaries_compress(d);
    const struct ZSTD_DDict_s *decompress = NULL;
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_DCtx *x = ZSTD_createDCtx();
    assert_non_null(compress);
    size_t less = ZSTD_compress_usingCDict(c, packed, sizeof packed, body, size, compress);
    assert_true(!ZSTD_isError(less) && less < size / 2);
    assert_int_equal(bz_dictionaries_decompress(d, made->id + 1, &decompress), BLAZE_EPROTO);
    assert_int_equal(bz_dictionaries_decompress(d, made->id, &decompress), 0);
    assert_int_equal(
        ZSTD_decompress_usingDDict(x, again, sizeof again, packed, less, decompress), size);
    assert_memory_equal(again, body, size);
    ZSTD_freeCCtx(c);
    ZSTD_freeDCtx(x);
}

static void each_allocation_of_training_may_fail(void **state)
{
    (void)state;
    uint64_t failures = 0;
    for (uint64_t at = 1;; at++) {
        struct alloc_plan plan = {.at = at};
        struct bz_dictionaries d;
        struct bz_dictionary *made;
        bz_dictionaries_init(&d);
        alloc_plan_begin(&plan);
        int rc = sample_all(&d, &made);
        alloc_plan_end();
        if (rc != 0) {
            assert_int_equal(rc, BLAZE_ENOMEM);
            assert_null(made);
            assert_int_equal(d.count, 0);
            assert_null(bz_dictionaries_compress(&d));
            failures++;
            bz_dictionaries_release(&d); /* as at the end of its session */
            bz_dictionaries_init(&d);
            assert_int_equal(sample_all(&d, &made), 0);
        }
        assert_non_null(made);
        assert_ptr_equal(made, &d.list[0]);
        assert_null(d.sizes); /* the samples are gone */
        expect_use(&d, made);
        bz_dictionaries_release(&d);
        if (!plan.hit)
            break;
    }
    assert_true(failures >= 4); /* sizes, samples, what is trained, its copy */
}

static void a_copy_of_a_dictionary_that_finds_no_memory_is_not_there(void **state)
{
    (void)state;
    static const uint8_t name[BZ_DICTIONARY_NAME] = {1, 2, 3, 4};
    struct alloc_plan plan = {.at = 1};
    struct bz_dictionaries d, other;
    struct bz_dictionary *made;
    bz_dictionaries_init(&d);
    bz_dictionaries_init(&other);
    assert_int_equal(sample_all(&d, &made), 0);
    alloc_plan_begin(&plan);
    assert_int_equal(bz_dictionaries_add(&other, made->bytes, name), BLAZE_ENOMEM);
    alloc_plan_end();
    assert_int_equal(other.count, 0);
    assert_int_equal(bz_dictionaries_add(&other, made->bytes, name), 0);
    assert_int_equal(bz_dictionaries_add(&other, made->bytes, name), 0); /* it is known */
    assert_int_equal(other.count, 1);
    assert_memory_equal(other.list[0].name, name, sizeof name);
    expect_use(&other, &other.list[0]);
    bz_dictionaries_release(&d);
    bz_dictionaries_release(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_of_training_may_fail),
        cmocka_unit_test(a_copy_of_a_dictionary_that_finds_no_memory_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

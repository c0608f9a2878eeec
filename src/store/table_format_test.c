/* SPDX-License-Identifier: Apache-2.0 */

/* Blocks, index and filter by themselves: what a table's filter hides from its searches. */

#include "store/table_format.h"

#include "cmocka_all.h"
#include "random.h"

#include <stdlib.h>

#define KEYS_MAX 400u

static struct key {
    size_t size;
    uint8_t bytes[24];
} keys[KEYS_MAX];
static uint32_t key_count;

static struct bz_bytes key_of(const struct key *key)
{
    return bz_bytes(key->bytes, key->size);
}

static int compare(const void *a, const void *b)
{
    return bz_bytes_compare(key_of(a), key_of(b));
}

/* Few letters, so that keys have much in common. */
static struct key random_key(struct rng *rng, size_t common)
{
    struct key key = {.size = common + 2 + rng_below(rng, 6)};
    memset(key.bytes, 'm', key.size);
    for (size_t i = common; i < key.size; i++)
        key.bytes[i] = (uint8_t)('a' + rng_below(rng, 3));
    return key;
}

static void make_keys(struct rng *rng, uint32_t count, size_t common)
{
    key_count = 0;
    for (uint32_t i = 0; i < count; i++)
        keys[i] = random_key(rng, common);
    qsort(keys, count, sizeof keys[0], compare);
    for (uint32_t i = 0; i < count; i++) {
        if (i == 0 || compare(&keys[key_count - 1], &keys[i]) != 0)
            keys[key_count++] = keys[i];
    }
}

static uint32_t keys_before(struct bz_bytes key)
{
    uint32_t i = 0;
    while (i < key_count && bz_bytes_compare(key_of(&keys[i]), key) < 0)
        i++;
    return i;
}

static struct bz_table_target target_of(const struct key *key)
{
    struct bz_table_target target;
    bz_table_target_set(&target, key->bytes[0], bz_bytes(key->bytes + 1, key->size - 1));
    return target;
}

/* ---- blocks ---- */

/* All keys in one block; the value of each is its number, every fifth is deleted. */
static void make_block(struct bz_buf *out)
{
    struct bz_table_builder builder;
    bz_table_builder_init(&builder);
    bz_buf_init(out, 1u << 20);
    for (uint32_t i = 0; i < key_count; i++) {
        uint8_t value = (uint8_t)i;
        bool deleted = i % 5 == 4;
        assert_int_equal(bz_table_builder_add(&builder, key_of(&keys[i]), !deleted, deleted), 0);
        bz_buf_append(&builder.values, &value, !deleted);
    }
    bz_table_builder_end(&builder, bz_buf_bytes(&builder.values), out);
    assert_int_equal(out->error, 0);
    bz_table_builder_release(&builder);
}

static void a_block_gives_what_is_in_it_and_nothing_else(void **state)
{
    (void)state;
    uint64_t seed = test_seed(), rounds = test_rounds(60, 2000);
    for (uint64_t round = 0; round < rounds; round++) {
        struct rng rng = {seed + round};
        struct bz_buf block;
        size_t common = round % 3 * 7;
        make_keys(&rng, 1 + rng_below(&rng, 200), common);
        make_block(&block);
        for (int i = 0; i < 2000; i++) {
            struct key key = random_key(&rng, i % 10 == 0 ? 0 : common);
            struct bz_table_target target = target_of(&key);
            struct bz_bytes value;
            bool deleted;
            uint32_t at = keys_before(key_of(&key));
            bool there = at < key_count && compare(&keys[at], &key) == 0;
            int rc = bz_table_block_get(bz_buf_bytes(&block), &target, &deleted, &value);
            assert_int_equal(rc, there ? 0 : BLAZE_ENOTFOUND);
            if (there) {
                assert_int_equal(deleted, at % 5 == 4);
                assert_true(
                    deleted ? value.size == 0 : value.size == 1 && value.data[0] == (uint8_t)at);
            }
        }
        bz_buf_release(&block);
    }
}

/* ---- the index ---- */

/* An index of the keys as if each had a block; `blocks` of them do. */
static void make_index(struct bz_buf *out, uint32_t blocks)
{
    struct bz_table_index_parts parts = {.count = blocks};
    bz_buf_init(out, 1u << 20);
    bz_buf_init(&parts.blocks, 1u << 20);
    bz_buf_init(&parts.ends, 1u << 20);
    bz_buf_init(&parts.keys, 1u << 20);
    for (uint32_t i = 0; i < blocks; i++) {
        bz_buf_append32le(&parts.blocks, BZ_TABLE_HEADER + 100 * i);
        bz_buf_append(&parts.keys, keys[i].bytes, keys[i].size);
        bz_buf_append32le(&parts.ends, (uint32_t)parts.keys.size);
    }
    bz_table_index_encode(
        out, &parts, BZ_TABLE_HEADER + 100 * blocks, key_of(&keys[key_count - 1]));
    assert_int_equal(out->error, 0);
    bz_buf_release(&parts.blocks);
    bz_buf_release(&parts.ends);
    bz_buf_release(&parts.keys);
}

static void the_index_finds_the_last_separator_that_is_not_behind(void **state)
{
    (void)state;
    uint64_t seed = test_seed(), rounds = test_rounds(60, 2000);
    for (uint64_t round = 0; round < rounds; round++) {
        struct rng rng = {seed + round};
        struct bz_buf bytes;
        struct bz_table_index index;
        size_t common = round % 3 * 7;
        make_keys(&rng, 1 + rng_below(&rng, KEYS_MAX), common);
        uint32_t blocks = key_count > 1 ? key_count - rng_below(&rng, 2) : 1;
        make_index(&bytes, blocks);
        assert_true(bz_table_index_decode(bz_buf_bytes(&bytes), 100, &index));
        assert_false(bz_table_index_decode(bz_buf_bytes(&bytes), 101, &index) && blocks > 1);
        assert_int_equal(index.count, blocks);
        for (int i = 0; i < 2000; i++) {
            struct key key = random_key(&rng, i % 10 == 0 ? 0 : common);
            struct bz_table_target target = target_of(&key);
            uint32_t before = keys_before(key_of(&key));
            if (before < key_count && compare(&keys[before], &key) == 0)
                before++;
            assert_int_equal(
                bz_table_index_find(&index, &target), before < blocks ? before : blocks);
        }
        bz_buf_release(&bytes);
    }
}

/* ---- hostile bytes ---- */

/* Whether the block passes as the only one of a table with these keys. */
static bool passes(const struct bz_buf *block)
{
    struct bz_buf bytes;
    struct bz_table_index index;
    make_index(&bytes, 1);
    assert_true(bz_table_index_decode(bz_buf_bytes(&bytes), 9, &index));
    bool ok = bz_table_block_check(&index, 0, bz_buf_bytes(block), NULL);
    bz_buf_release(&bytes);
    return ok;
}

/* Whether the block's keys are in order, put together the plain way. */
static bool in_order(const struct bz_buf *bytes)
{
    struct bz_table_block block;
    struct bz_table_block_entry entry;
    struct key last = {0}, key = {0};
    if (!bz_table_block_decode(bz_buf_bytes(bytes), &block))
        return false;
    const uint8_t *p = block.keys;
    for (uint32_t i = 0; i < block.count; i++, last = key) {
        p = bz_table_block_read(p, block.values, &entry);
        if (p == NULL || entry.shared + entry.rest > sizeof key.bytes || entry.shared > last.size)
            return false;
        memcpy(key.bytes + entry.shared, p, entry.rest);
        key.size = entry.shared + entry.rest;
        p += entry.rest;
        if (i > 0 && compare(&last, &key) >= 0)
            return false;
    }
    return p == block.values;
}

static void a_block_passes_only_whole_and_in_order(void **state)
{
    (void)state;
    struct rng rng = {test_seed()};
    struct bz_buf block;
    size_t passed = 0;
    make_keys(&rng, 40, 3);
    make_block(&block);
    assert_true(passes(&block));
    for (size_t i = 0; i < block.size * 8; i++) {
        block.data[i / 8] ^= (uint8_t)(1u << (i % 8));
        if (passes(&block)) {
            assert_true(in_order(&block));
            passed++;
        }
        block.data[i / 8] ^= (uint8_t)(1u << (i % 8));
    }
    assert_in_range(passed, 1, block.size * 4); /* values may be any, and some letters of keys */
    for (size_t i = 0; i < 12 + 8 * ((key_count - 1) / 8); i++) { /* header and restarts may not */
        block.data[i] ^= 1;
        assert_false(passes(&block));
        block.data[i] ^= 1;
    }
    size_t whole = block.size;
    for (block.size = 0; block.size < whole; block.size++)
        assert_false(passes(&block));
    bz_buf_append8(&block, 0);
    assert_false(passes(&block));
    bz_buf_release(&block);
}

static void an_index_that_was_changed_anywhere_is_refused_or_in_order(void **state)
{
    (void)state;
    struct rng rng = {test_seed()};
    struct bz_buf bytes;
    struct bz_table_index index;
    make_keys(&rng, 40, 3);
    make_index(&bytes, key_count);
    for (size_t i = 0; i < bytes.size * 8; i++) {
        bytes.data[i / 8] ^= (uint8_t)(1u << (i % 8));
        if (bz_table_index_decode(bz_buf_bytes(&bytes), 9, &index)) {
            for (uint32_t k = 1; k < index.count; k++) {
                assert_true(bz_bytes_compare(bz_table_index_key(&index, k - 1),
                                bz_table_index_key(&index, k)) < 0);
                assert_true(
                    bz_table_index_block(&index, k - 1) + 9 <= bz_table_index_block(&index, k));
            }
        }
        bytes.data[i / 8] ^= (uint8_t)(1u << (i % 8));
    }
    for (size_t size = 0; size < bytes.size; size++)
        assert_false(bz_table_index_decode(bz_bytes(bytes.data, size), 9, &index));
    bz_buf_release(&bytes);
}

/* ---- the filter ---- */

static void the_filter_knows_every_key_and_few_others(void **state)
{
    (void)state;
    static uint8_t lines[200000];
    struct bz_table_filter filter;
    const uint32_t count = 100000;
    uint32_t wrong = 0;
    size_t size = bz_table_filter_size(count);
    assert_in_range(size, count * 10 / 8, count * 10 / 8 + 64);
    for (uint32_t i = 0; i < count; i++)
        bz_table_filter_add(lines, size, bz_table_filter_hash((const uint8_t *)&i, sizeof i));
    assert_true(bz_table_filter_decode(bz_bytes(lines, size), &filter));
    for (uint32_t i = 0; i < 2 * count; i++) {
        bool has =
            bz_table_filter_has(&filter, bz_table_filter_hash((const uint8_t *)&i, sizeof i));
        assert_true(has || i >= count);
        wrong += has && i >= count;
    }
    print_message("             %.2f %% of other keys\n", 100.0 * wrong / count);
    assert_in_range(wrong, 1, count / 50);
    assert_false(bz_table_filter_decode(bz_bytes(lines, 63), &filter));
    assert_false(bz_table_filter_decode(bz_bytes(lines, 0), &filter));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_gives_what_is_in_it_and_nothing_else),
        cmocka_unit_test(the_index_finds_the_last_separator_that_is_not_behind),
        cmocka_unit_test(a_block_passes_only_whole_and_in_order),
        cmocka_unit_test(an_index_that_was_changed_anywhere_is_refused_or_in_order),
        cmocka_unit_test(the_filter_knows_every_key_and_few_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

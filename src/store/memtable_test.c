/* SPDX-License-Identifier: Apache-2.0 */
#include "store/memtable.h"

#include "store/testing.h"

#include "cmocka_all.h"

/* A version that the table should hold. */
struct version {
    uint32_t map;
    char key[16];
    size_t key_size;
    uint64_t lsn;
    bool deleted;
};

enum { VERSIONS = 3000 };

static struct version versions[VERSIONS];

static struct bz_bytes key_of(const struct version *version)
{
    return bz_bytes(version->key, version->key_size);
}

static int compare_keys(const struct version *a, uint32_t map, struct bz_bytes key)
{
    if (a->map != map)
        return a->map < map ? -1 : 1;
    return bz_bytes_compare(key_of(a), key);
}

/* Keys of every length around the part that nodes keep, few enough to repeat; now and then in
 * ascending order, as a batch or the change log would bring them. */
static struct version random_version(struct rng *random, uint64_t lsn)
{
    static uint64_t ascending;
    struct version version = {
        .map = rng_below(random, 3),
        .lsn = lsn,
        .deleted = rng_below(random, 4) == 0,
    };
    if (version.map == 2) {
        version.key_size = 9;
        bz_store64be((uint8_t *)version.key + 1, ascending += rng_below(random, 3));
    } else {
        version.key_size = 1 + rng_below(random, 12);
        memset(version.key, rng_below(random, 2) ? 'a' : '\0', version.key_size);
        version.key[rng_below(random, (uint32_t)version.key_size)] = (char)rng_below(random, 3);
    }
    return version;
}

/* What a reader at `lsn` should find nearest to the key: at or behind it, or before it. */
static const struct version *model_find(
    size_t count, uint32_t map, struct bz_bytes key, uint64_t lsn, bool forward)
{
    const struct version *best = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct version *v = &versions[i];
        int side = compare_keys(v, map, key);
        if (v->map != map || v->lsn > lsn || (forward ? side < 0 : side >= 0))
            continue;
        int order = best == NULL ? 0 : compare_keys(v, best->map, key_of(best));
        if (best == NULL || (forward ? order < 0 : order > 0) || (order == 0 && v->lsn > best->lsn))
            best = v;
    }
    return best;
}

static void assert_same(const struct bz_mem_node *node, const struct version *version)
{
    if (version == NULL) {
        assert_null(node);
        return;
    }
    assert_non_null(node);
    assert_true(node->lsn == version->lsn && node->deleted == version->deleted);
    assert_true(bz_bytes_equal(bz_mem_key(node), key_of(version)));
    assert_true(
        bz_bytes_equal(bz_mem_value(node), version->deleted ? bz_bytes(NULL, 0) : key_of(version)));
}

static void check(const struct bz_memtable *table, uint32_t count, struct rng *random)
{
    struct version probe = random_version(random, 0);
    if (rng_below(random, 2) == 0)
        probe = versions[rng_below(random, count)];
    uint64_t lsn = rng_below(random, count + 2);
    struct bz_bytes key = key_of(&probe);
    const struct version *at = model_find(count, probe.map, key, lsn, true);
    const struct bz_mem_node *node = bz_mem_seek(&table->list, probe.map, key, lsn);
    assert_same(node, at);
    bool equal = at != NULL && bz_bytes_equal(key_of(at), key);
    assert_same(bz_memtable_get(table, probe.map, key, lsn), equal ? at : NULL);
    const struct version *before = model_find(count, probe.map, key, lsn, false);
    assert_same(bz_mem_before(&table->list, probe.map, key, lsn), before);
    if (node != NULL) {
        char behind[17];
        memcpy(behind, at->key, at->key_size);
        behind[at->key_size] = '\0'; /* the least key behind it */
        struct bz_bytes next = bz_bytes(behind, at->key_size + 1);
        assert_same(bz_mem_after(node, lsn), model_find(count, probe.map, next, lsn, true));
    }
}

/* Whether `a` comes before `b` in a list. */
static bool is_before(const struct bz_mem_node *a, const struct bz_mem_node *b)
{
    if (a->map != b->map)
        return a->map < b->map;
    int order = bz_bytes_compare(bz_mem_key(a), bz_mem_key(b));
    return order != 0 ? order < 0 : a->lsn > b->lsn;
}

static void assert_ordered_on_every_level(const struct bz_mem_list *list)
{
    for (unsigned level = 0; level < BZ_MEM_HEIGHT_MAX; level++) {
        const struct bz_mem_node *node = atomic_load(&list->head[level]);
        while (node != NULL) {
            const struct bz_mem_node *next = atomic_load(&node->next[level]);
            assert_true(next == NULL || is_before(node, next));
            node = next;
        }
    }
}

static void versions_are_found_as_in_a_plain_array(void **state)
{
    (void)state;
    struct rng random = {test_seed()};
    struct bz_memtable *table = bz_memtable_new(1u << 16);
    for (uint32_t i = 0; i < VERSIONS; i++) {
        struct version *v = &versions[i];
        *v = random_version(&random, i + 1);
        struct bz_bytes value = v->deleted ? bz_bytes(NULL, 0) : key_of(v);
        struct bz_mem_node *node = bz_memtable_node(table, v->map, key_of(v), value, v->deleted);
        assert_non_null(node);
        bz_memtable_link(table, node, v->lsn);
        if (i % 8 == 0)
            check(table, i + 1, &random);
    }
    for (int i = 0; i < 1000; i++)
        check(table, VERSIONS, &random);
    assert_ordered_on_every_level(&table->list);
    bz_memtable_release(table);
}

/* As a database writes: in each commit one hot key, a record and a log entry that ascend, and a
 * record in between now and then; so the fingers of the maps stand side by side. */
static void what_maps_write_in_turn_is_in_order_on_every_level(void **state)
{
    (void)state;
    struct rng random = {test_seed()};
    struct bz_memtable *table = bz_memtable_new(1u << 16);
    for (uint32_t lsn = 1; lsn <= 3000; lsn++) {
        for (uint32_t map = 0; map < 3; map++) {
            uint8_t key[8] = {0};
            if (map > 0)
                bz_store64be(key, rng_below(&random, 8) == 0 ? rng_below(&random, lsn) : lsn);
            struct bz_mem_node *node =
                bz_memtable_node(table, map, bz_bytes(key, sizeof key), bz_bytes(key, 1), false);
            assert_non_null(node);
            bz_memtable_link(table, node, lsn);
        }
    }
    assert_ordered_on_every_level(&table->list);
    bz_memtable_release(table);
}

static void a_node_taken_out_leaves_the_others(void **state)
{
    (void)state;
    struct bz_memtable *table = bz_memtable_new(1u << 16);
    struct bz_mem_list list;
    struct bz_mem_node *nodes[200];
    bz_mem_list_init(&list);
    for (uint32_t i = 0; i < 200; i++) {
        uint8_t key[4];
        bz_store32be(key, i / 2); /* two versions of each */
        nodes[i] = bz_memtable_node(table, 0, bz_bytes(key, 4), bz_bytes(key, 4), false);
        bz_mem_link_node(&list, nodes[i], i + 1);
    }
    for (uint32_t i = 1; i < 200; i += 2)
        bz_mem_unlink(&list, nodes[i]);
    assert_int_equal(atomic_load(&list.count), 100);
    for (uint32_t i = 0; i < 100; i++) {
        uint8_t key[4];
        bz_store32be(key, i);
        const struct bz_mem_node *node = bz_mem_get(&list, 0, bz_bytes(key, 4), UINT64_MAX);
        assert_ptr_equal(node, nodes[2 * i]);
        assert_ptr_equal(bz_mem_after(node, UINT64_MAX), i < 99 ? nodes[2 * i + 2] : NULL);
    }
    bz_memtable_release(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_are_found_as_in_a_plain_array),
        cmocka_unit_test(what_maps_write_in_turn_is_in_order_on_every_level),
        cmocka_unit_test(a_node_taken_out_leaves_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

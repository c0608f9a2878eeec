/* SPDX-License-Identifier: Apache-2.0 */
/* Random filters over a toy collection: executing the plan gives what brute force gives. */
#include "query/query.h"

#include "base/alloc.h"
#include "cmocka_all.h"
#include "random.h"

#include <stdio.h>
#include <stdlib.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define RECORDS      300

struct toy_record {
    blaze_id id;
    blaze_doc *doc;
    blaze_value value;
};

struct toy_entry {
    uint8_t key[600];
    size_t size; /* of the key with the id at its end */
    size_t record;
    bool cut;
};

static const char *const index_paths[] = {"a", "s", "m.x"};
static const struct bz_plan_index indexes[] = {
    {"a", "by_a"}, {"broken path", "broken"}, {"s", "by_s"}, {"m.x", "by_x"}};
static const size_t index_of_plan[] = {0, 0, 1, 2};

static struct toy_record records[RECORDS]; /* by id */
static struct toy_entry entries[COUNT(index_paths)][RECORDS];
static char long_text[400];

/* ---- making it ---- */

static struct rng rng;

static unsigned dice(unsigned sides)
{
    return rng_below(&rng, sides);
}

/* JSON of a value out of a small pool, so that filters meet it. */
static void random_value(char *out, size_t size, bool any)
{
    switch (any ? dice(9) : dice(6)) {
    case 0:
    case 1:
        snprintf(out, size, "%d", (int)dice(9) - 4);
        break;
    case 2:
        snprintf(out, size, "%d.5", (int)dice(9) - 4);
        break;
    case 3:
    case 4:
        snprintf(out, size, "\"%.*s\"", (int)dice(4), &"aaab"[dice(3)]);
        break;
    case 5: /* around the cut of keys: some share one */
        snprintf(out, size, "\"%.*s%s\"", (int)BZ_INDEX_KEY_MAX + (dice(3) ? 0 : (int)dice(3) - 1),
            long_text, dice(3) ? "" : "yy");
        break;
    case 6:
        snprintf(out, size, "%s", dice(2) ? "true" : "null");
        break;
    case 7:
        snprintf(out, size, "[%u,\"a\"]", dice(3));
        break;
    default:
        snprintf(out, size, "{\"$date\":%u}", dice(5));
        break;
    }
}

static int by_key(const void *a, const void *b)
{
    const struct toy_entry *ea = a, *eb = b;
    return bz_bytes_compare(bz_bytes(ea->key, ea->size), bz_bytes(eb->key, eb->size));
}

static void make_index(size_t index)
{
    struct bz_arena arena;
    struct bz_path path;
    bz_arena_init(&arena);
    assert_int_equal(bz_path_parse(&arena, bz_bytes_text(index_paths[index]), &path, NULL), 0);
    for (size_t i = 0; i < RECORDS; i++) {
        struct toy_entry *entry = &entries[index][i];
        blaze_value value;
        struct bz_buf key;
        bz_buf_init(&key, sizeof entry->key);
        bool there = bz_path_value(&path, &records[i].id, &records[i].value, &value) == 0;
        entry->cut = false;
        bz_index_key_append(&key, there ? &value : NULL, &entry->cut);
        bz_buf_append(&key, records[i].id.bytes, sizeof records[i].id.bytes);
        assert_int_equal(key.error, 0);
        memcpy(entry->key, key.data, key.size);
        entry->size = key.size;
        entry->record = i;
        bz_buf_release(&key);
    }
    qsort(entries[index], RECORDS, sizeof entries[index][0], by_key);
    bz_arena_release(&arena);
}

static int make(void **state)
{
    (void)state;
    rng.state = 2024; /* the toy is always the same */
    memset(long_text, 'x', sizeof long_text);
    for (size_t i = 0; i < RECORDS; i++) {
        char json[2048] = "{\"k\":1", value[512];
        static const char *const fields[] = {",\"a\":", ",\"s\":", ",\"m\":{\"x\":"};
        for (size_t f = 0; f < COUNT(fields); f++) {
            if (dice(5) == 0)
                continue;
            random_value(value, sizeof value, true);
            strcat(json, fields[f]);
            strcat(json, value);
            strcat(json, f == 2 ? "}" : "");
        }
        strcat(json, "}");
        records[i].id.bytes[0] = (uint8_t)(i * 255 / (RECORDS - 1));
        records[i].id.bytes[15] = (uint8_t)(i == RECORDS - 1 ? 255 : i);
        if (i == RECORDS - 1)
            memset(&records[i].id, 0xff, sizeof records[i].id);
        assert_int_equal(blaze_doc_from_json(&records[i].doc, json, strlen(json), NULL), 0);
        assert_int_equal(blaze_doc_value(records[i].doc, &records[i].value), 0);
        assert_true(i == 0 || memcmp(&records[i - 1].id, &records[i].id, 16) < 0);
    }
    for (size_t i = 0; i < COUNT(index_paths); i++)
        make_index(i);
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    for (size_t i = 0; i < RECORDS; i++)
        blaze_doc_free(records[i].doc);
    return 0;
}

/* ---- asking it ---- */

static void random_filter(struct bz_buf *out, unsigned depth)
{
    static const char *const fields[] = {"a", "s", "m.x", "k"};
    static const char *const operators[] = {"=", "!=", "<", "<=", ">", ">="};
    char value[512], text[BLAZE_ID_TEXT_SIZE];
    const char *field = fields[dice(dice(8) == 0 ? 4 : 3)];
    if (depth > 0 && dice(2) == 0) {
        const char *glue = dice(2) ? " and " : " or ";
        unsigned count = 2 + dice(2);
        bz_buf_printf(out, dice(8) == 0 ? "not (" : "(");
        for (unsigned i = 0; i < count; i++) {
            bz_buf_printf(out, "%s", i > 0 ? glue : "");
            random_filter(out, depth - 1);
        }
        bz_buf_printf(out, ")");
        return;
    }
    do
        random_value(value, sizeof value, false);
    while (value[0] == '{' || value[0] == '[');
    switch (dice(9)) {
    case 0:
        bz_buf_printf(out, "exists %s", field);
        break;
    case 1:
        bz_buf_printf(out, "%s in [%s", field, value);
        for (unsigned i = dice(4); i > 0; i--) {
            random_value(value, sizeof value, false);
            bz_buf_printf(out, ", %s", value);
        }
        bz_buf_printf(out, "]");
        break;
    case 2:
        bz_buf_printf(out, "%s starts \"%.*s\"", field,
            (int)(dice(2) ? dice(3) : BZ_INDEX_KEY_MAX - 4 + dice(8)), dice(2) ? "ab" : long_text);
        break;
    case 3:
        bz_buf_printf(out, "%s contains %s", field, value);
        break;
    case 4:
        bz_buf_printf(out, "_id %s \"%s\"", operators[dice(6)],
            blaze_id_format(&records[dice(4) ? dice(RECORDS) : RECORDS - 1].id, text));
        break;
    default:
        bz_buf_printf(out, "%s %s %s", field, operators[dice(6)], value);
        break;
    }
}

struct question {
    const struct bz_filter *filter;
    const struct bz_path *sort;
    bool descending;
    uint64_t limit;
    struct bz_plan plan;
};

static bool value_of(const struct question *q, size_t record, blaze_value *value)
{
    return bz_path_value(q->sort, &records[record].id, &records[record].value, value) == 0;
}

static const struct question *asked; /* for qsort() */

static int by_order(const void *a, const void *b)
{
    size_t ra = *(const size_t *)a, rb = *(const size_t *)b;
    blaze_value va, vb;
    bool there_a = value_of(asked, ra, &va), there_b = value_of(asked, rb, &vb);
    int order = there_a - there_b;
    if (there_a && there_b)
        order = blaze_value_compare(&va, &vb);
    if (order == 0)
        order = (ra > rb) - (ra < rb);
    return asked->descending ? -order : order;
}

static size_t brute_force(const struct question *q, size_t *out)
{
    size_t count = 0;
    for (size_t i = 0; i < RECORDS; i++) {
        if (q->filter == NULL || bz_filter_match(q->filter, &records[i].id, &records[i].value))
            out[count++] = i;
    }
    asked = q;
    qsort(out, count, sizeof *out, by_order);
    return q->limit > 0 && count > q->limit ? q->limit : count;
}

static bool in_range(struct bz_bytes key, const struct bz_key_range *range)
{
    return bz_bytes_compare(key, range->low) >= 0 &&
           (range->high.size == 0 || bz_bytes_compare(key, range->high) < 0);
}

/* The records of the plan's ranges, ascending by key; *run numbers the runs of equal cut keys. */
static size_t walk(const struct question *q, size_t *out, size_t *run)
{
    size_t count = 0, runs = 0;
    size_t index = index_of_plan[q->plan.index];
    for (uint32_t r = 0; r < q->plan.range_count; r++) {
        const struct bz_key_range *range = &q->plan.ranges[r];
        assert_true(r == 0 || bz_bytes_compare(range[-1].high, range->low) < 0);
        struct bz_bytes last = {NULL, 0};
        for (size_t i = 0; i < RECORDS; i++) {
            const struct toy_entry *entry = &entries[index][i];
            struct bz_bytes key = q->plan.source == BZ_PLAN_INDEX
                                      ? bz_bytes(entry->key, entry->size)
                                      : bz_bytes(records[i].id.bytes, 16);
            if (!in_range(key, range))
                continue;
            bool indexed = q->plan.source == BZ_PLAN_INDEX;
            key.size -= indexed ? 16 : 0;
            assert_true(
                !range->point || last.data == NULL || !indexed || bz_bytes_equal(key, last));
            if (!indexed || !entry->cut || last.data == NULL || !bz_bytes_equal(key, last))
                runs++;
            last = key;
            run[count] = runs;
            out[count++] = indexed ? entry->record : i;
        }
    }
    return count;
}

/* Puts out[0 .. count) through a sorter. */
static size_t sort_through(const struct question *q, size_t *out, size_t count, uint64_t keep)
{
    struct bz_sorter *sorter;
    blaze_id id;
    size_t sorted = 0;
    assert_int_equal(bz_sorter_new(&sorter, q->descending, keep), 0);
    for (size_t i = 0; i < count; i++) {
        blaze_value value;
        bool there = value_of(q, out[i], &value);
        assert_int_equal(bz_sorter_add(sorter, there ? &value : NULL, &records[out[i]].id), 0);
    }
    while (bz_sorter_next(sorter, &id) == 0) {
        size_t r = 0;
        while (memcmp(&records[r].id, &id, 16) != 0)
            r++;
        out[sorted++] = r;
    }
    bz_sorter_free(sorter);
    return sorted;
}

static size_t execute(const struct question *q, size_t *out)
{
    static size_t walked[RECORDS], run[RECORDS];
    size_t count = 0, all = walk(q, walked, run);
    for (size_t i = 0; i < all; i++) {
        bool matches = q->filter == NULL || bz_filter_match(q->filter, &records[walked[i]].id,
                                                &records[walked[i]].value);
        assert_true(matches || !q->plan.exact);
        if (matches) {
            run[count] = run[i];
            out[count++] = walked[i];
        }
    }
    if (!q->plan.ordered)
        return sort_through(q, out, count, q->limit);
    if (q->descending) {
        for (size_t i = 0; i < count / 2; i++) {
            size_t r = out[i], n = run[i];
            out[i] = out[count - 1 - i];
            out[count - 1 - i] = r;
            run[i] = run[count - 1 - i];
            run[count - 1 - i] = n;
        }
    }
    for (size_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && run[end] == run[i];)
            end++;
        if (end > i + 1)
            assert_int_equal(sort_through(q, out + i, end - i, 0), end - i);
    }
    return q->limit > 0 && count > q->limit ? q->limit : count;
}

static void a_plan_finds_what_brute_force_finds(void **state)
{
    (void)state;
    static size_t expected[RECORDS], found[RECORDS];
    size_t indexed = 0, exact = 0, ordered = 0, rows = 0;
    struct bz_buf text;
    struct bz_arena arena;
    bz_buf_init(&text, BZ_FILTER_TEXT_MAX);
    bz_arena_init(&arena);
    uint64_t filters = test_rounds(3000, 60000);
    rng.state = test_seed();
    for (uint64_t i = 0; i < filters; i++) {
        static const char *const sorts[] = {"_id", "a", "s", "m.x", "k", "none"};
        struct bz_filter *filter = NULL;
        blaze_error error;
        struct bz_path sort;
        bz_buf_clear(&text);
        random_filter(&text, 3);
        if (dice(50) != 0 && bz_filter_parse(&filter, bz_buf_bytes(&text), &error) != 0)
            fail_msg("%.*s: %s", (int)text.size, (char *)text.data, error.text);
        assert_int_equal(
            bz_path_parse(&arena, bz_bytes_text(sorts[dice(COUNT(sorts))]), &sort, NULL), 0);
        struct question q = {.filter = filter,
            .sort = &sort,
            .descending = dice(2),
            .limit = dice(2) ? dice(10) : 0};
        assert_int_equal(bz_plan_make(&arena, filter, sort.count == 0 && dice(2) ? NULL : &sort,
                             q.descending, indexes, COUNT(indexes), &q.plan),
            0);
        size_t count = brute_force(&q, expected);
        size_t got = execute(&q, found);
        if (got != count || memcmp(found, expected, count * sizeof *found) != 0) {
            bz_buf_printf(&text, " => ");
            bz_plan_explain(&q.plan, filter, &sort, indexes, q.limit, &text);
            fail_msg("%zu of %zu: %.*s", got, count, (int)text.size, (char *)text.data);
        }
        indexed += q.plan.source == BZ_PLAN_INDEX;
        exact += q.plan.exact;
        ordered += q.plan.ordered;
        rows += count;
        bz_filter_free(filter);
        bz_arena_reset(&arena);
    }
    /* The test is worth something only if all kinds of plans came up. */
    assert_true(indexed > filters / 4 && indexed < filters * 3 / 4);
    assert_true(exact > filters / 20 && ordered > filters / 4 && ordered < filters * 3 / 4);
    assert_true(rows > filters);
    bz_buf_release(&text);
    bz_arena_release(&arena);
}

static void explain_tells_how_a_find_would_run(void **state)
{
    (void)state;
    static const struct {
        const char *filter; /* NULL: none */
        const char *sort;
        bool descending;
        uint64_t limit;
        const char *plan;
    } cases[] = {
        {NULL, NULL, false, 0, "records, all"},
        {NULL, NULL, true, 5, "records, all, backwards; first 5"},
        {NULL, "a", false, 10, "index by_a on a, all; first 10"},
        {NULL, "z", true, 10, "records, all; sort by z descending; first 10"},
        {"a = 1", NULL, false, 0, "index by_a on a, 1 key"},
        {"a = 1 and s > \"b\"", NULL, false, 0,
            "index by_a on a, 1 key; check a = 1 and s > \"b\""},
        {"a in [1,2]", NULL, false, 0, "index by_a on a, 2 keys; sort by _id"},
        {"a > 1 and a <= 5", "a", true, 3, "index by_a on a, 1 range, backwards; first 3"},
        {"a > 1 and s = \"x\"", "a", false, 0,
            "index by_s on s, 1 key; check a > 1 and s = \"x\"; sort by a"},
        {"a = 1 or a = 3 or a > 7", "a", false, 0, "index by_a on a, 3 ranges"},
        {"a = 1 or s = \"x\"", NULL, false, 0, "records, all; check a = 1 or s = \"x\""},
        {"a < 1 and a > 2", NULL, false, 0, "index by_a on a, 0 ranges"},
        {"z = 1", NULL, false, 0, "records, all; check z = 1"},
        {"z = 1", "m.x", false, 2, "index by_x on m.x, all; check z = 1; first 2"},
        {"_id = \"00000000-0000-0000-0000-000000000001\" and a = 2", NULL, false, 0,
            "records, 1 key; check _id = uuid(\"00000000-0000-0000-0000-000000000001\")"
            " and a = 2"},
        {"s starts \"ab\"", "s", false, 0, "index by_s on s, 1 range"},
        {"exists a", "a", false, 0, "index by_a on a, 1 range"},
    };
    struct bz_arena arena;
    struct bz_buf text;
    bz_arena_init(&arena);
    bz_buf_init(&text, 4096);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct bz_filter *filter = NULL;
        struct bz_path sort;
        struct bz_plan plan;
        if (cases[i].filter != NULL)
            assert_int_equal(bz_filter_parse(&filter, bz_bytes_text(cases[i].filter), NULL), 0);
        if (cases[i].sort != NULL)
            assert_int_equal(bz_path_parse(&arena, bz_bytes_text(cases[i].sort), &sort, NULL), 0);
        const struct bz_path *by = cases[i].sort != NULL ? &sort : NULL;
        assert_int_equal(
            bz_plan_make(&arena, filter, by, cases[i].descending, indexes, COUNT(indexes), &plan),
            0);
        bz_buf_clear(&text);
        bz_plan_explain(&plan, filter, by, indexes, cases[i].limit, &text);
        bz_buf_append8(&text, 0);
        assert_string_equal((char *)text.data, cases[i].plan);
        bz_filter_free(filter);
    }
    bz_buf_release(&text);
    bz_arena_release(&arena);
}

static int countdown(void *context)
{
    int *left = context;
    return (*left)-- == 0;
}

static void planning_and_sorting_survive_every_failing_allocation(void **state)
{
    (void)state;
    struct bz_filter *filter;
    const char *text = "(a = 1 or a in [2, 3] or a > 7) and s starts \"x\" and exists m.x";
    assert_int_equal(bz_filter_parse(&filter, bz_bytes_text(text), NULL), 0);
    int rc = BLAZE_ENOMEM;
    for (int n = 0; rc != 0; n++) {
        int left = n;
        struct bz_arena arena;
        struct bz_plan plan;
        struct bz_sorter *sorter = NULL;
        bz_arena_init(&arena);
        bz_alloc_set_fault(countdown, &left);
        rc = bz_plan_make(&arena, filter, NULL, false, indexes, COUNT(indexes), &plan);
        if (rc == 0)
            rc = bz_sorter_new(&sorter, false, n % 2 ? 4 : 0);
        for (size_t i = 0; rc == 0 && i < 40; i++)
            rc = bz_sorter_add(sorter, &records[i].value, &records[40 - i].id);
        bz_alloc_set_fault(NULL, NULL);
        assert_true(rc == 0 || rc == BLAZE_ENOMEM);
        bz_sorter_free(sorter);
        bz_arena_release(&arena);
        assert_true(n < 1000);
    }
    bz_filter_free(filter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_finds_what_brute_force_finds),
        cmocka_unit_test(explain_tells_how_a_find_would_run),
        cmocka_unit_test(planning_and_sorting_survive_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}

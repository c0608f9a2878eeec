/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Filters from anyone. What parses has a normal form that parses to itself, matches as its normal
 * form does, and can be planned; a record that matches lies in the ranges of every plan.
 */

#include "query/query.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

static const char *const records[] = {
    "{}",
    "{\"a\":1,\"b\":\"text\",\"c\":{\"d\":[1,\"x\"]}}",
    "{\"a\":-0.5,\"b\":null,\"c\":{\"d\":\"x\"}}",
    "{\"a\":\"1\",\"b\":{\"$bytes\":\"AAE=\"},\"c\":{\"d\":{\"$date\":0}}}",
};

static bool holds(const struct bz_plan *plan, const blaze_value *value)
{
    struct bz_buf key;
    bool cut = false, held = false;
    bz_buf_init(&key, 4096);
    bz_index_key_append(&key, value, &cut);
    for (uint32_t i = 0; i < plan->range_count; i++) {
        const struct bz_key_range *range = &plan->ranges[i];
        held =
            held ||
            (bz_bytes_compare(bz_buf_bytes(&key), range->low) >= 0 &&
                (range->high.size == 0 || bz_bytes_compare(bz_buf_bytes(&key), range->high) < 0));
    }
    bz_buf_release(&key);
    return held;
}

static void check_plan(const struct bz_filter *filter, const char *field,
    const blaze_value *document, const blaze_id *id, bool matches)
{
    struct bz_arena arena;
    struct bz_plan plan;
    struct bz_path path;
    struct bz_plan_index index = {field, field};
    blaze_value value;
    bz_arena_init(&arena);
    CHECK(bz_path_parse(&arena, bz_bytes_text(field), &path, NULL) == 0);
    CHECK(bz_plan_make(&arena, filter, &path, false, &index, 1, &plan) == 0);
    bool there = bz_path_value(&path, id, document, &value) == 0;
    if (plan.source == BZ_PLAN_INDEX && matches)
        CHECK(holds(&plan, there ? &value : NULL));
    if (plan.source == BZ_PLAN_INDEX && plan.exact && !matches)
        CHECK(!holds(&plan, there ? &value : NULL));
    bz_arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bz_filter *filter, *again;
    struct bz_buf text, text_again;
    blaze_id id = {{7}};
    if (bz_filter_parse(&filter, bz_bytes(data, size), NULL) != 0)
        return 0;
    bz_buf_init(&text, SIZE_MAX);
    bz_buf_init(&text_again, SIZE_MAX);
    bz_filter_to_text(filter, &text);
    if (text.size <= BZ_FILTER_TEXT_MAX) {
        CHECK(bz_filter_parse(&again, bz_buf_bytes(&text), NULL) == 0);
        bz_filter_to_text(again, &text_again);
        CHECK(bz_bytes_equal(bz_buf_bytes(&text), bz_buf_bytes(&text_again)));
        for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
            blaze_doc *doc;
            blaze_value map;
            CHECK(blaze_doc_from_json(&doc, records[i], strlen(records[i]), NULL) == 0);
            CHECK(blaze_doc_value(doc, &map) == 0);
            bool matches = bz_filter_match(filter, &id, &map);
            CHECK(bz_filter_match(again, &id, &map) == matches);
            check_plan(filter, "a", &map, &id, matches);
            check_plan(filter, "b", &map, &id, matches);
            check_plan(filter, "c.d", &map, &id, matches);
            blaze_doc_free(doc);
        }
        bz_filter_free(again);
    }
    bz_buf_release(&text);
    bz_buf_release(&text_again);
    bz_filter_free(filter);
    return 0;
}

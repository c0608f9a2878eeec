/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Documents from a hostile peer or disk. The input is a document, with ids below 12. Every reader
 * must stay within its bytes whether it passes the check or not; what passes must be the one
 * encoding of what it says.
 */

#include "codec/doc.h"
#include "codec/key.h"

#include <stdlib.h>

#define NAMES 12

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

static int64_t itself(void *context, uint32_t id)
{
    (void)context;
    return id;
}

static int count_id(void *context, uint32_t id)
{
    size_t *ids = context;
    (void)id;
    (*ids)++;
    return 0;
}

static size_t walk(const blaze_value *value, int depth)
{
    blaze_iter iter;
    blaze_text name;
    blaze_value item;
    size_t count = 0;
    if (depth > BLAZE_MAX_NESTING || blaze_iter_init(&iter, value) != 0)
        return 0;
    while (blaze_iter_next(&iter, &name, &item) == 0)
        count += (value->type == BLAZE_MAP) + walk(&item, depth + 1);
    return count;
}

static void read_all(struct bz_bytes doc, const struct blaze_names *names, size_t *fields)
{
    blaze_value map, item;
    struct bz_doc_iter it;
    struct bz_buf out;
    bool cut = false;
    char *json;
    uint32_t id;
    bz_buf_init(&out, SIZE_MAX);
    bz_doc_value(doc, names, &map);
    *fields = walk(&map, 0);
    (void)bz_doc_field(doc, names, 3, &item);
    (void)blaze_value_field(&map, "a", &item);
    bz_key_append(&out, &map, 100, &cut);
    CHECK(out.error == 0 && out.size <= BZ_KEY_SIZE_MAX(100));
    bz_doc_iter_init(&it, doc, names);
    while (bz_doc_iter_next(&it, &id, &item) == 0)
        ;
    if (blaze_value_to_json(&json, &map, true) == 0)
        blaze_free(json);
    bz_buf_clear(&out);
    (void)bz_doc_rename(&out, doc, itself, NULL);
    bz_buf_release(&out);
}

/* Reading and writing gives the same bytes. Where a name is text, interning would make it an id:
 * then only the keys are written anew. */
static void check_canonical(struct bz_bytes doc, struct blaze_names *names, size_t fields)
{
    blaze_value map;
    blaze_doc *text;
    struct bz_buf again;
    size_t ids = 0;
    bz_buf_init(&again, SIZE_MAX);
    CHECK(bz_doc_rename(&again, doc, itself, NULL) == 0);
    CHECK(bz_bytes_equal(bz_buf_bytes(&again), doc));
    CHECK(bz_doc_each_name(doc, count_id, &ids) == 0);
    bz_doc_value(doc, names, &map);
    CHECK(blaze_value_compare(&map, &map) == 0);
    CHECK(blaze_doc_new(&text) == 0);
    if (ids == fields && blaze_doc_add_value(text, "doc", &map) == 0) {
        bz_buf_clear(&again);
        CHECK(blaze_doc_value(text, &map) == 0);
        CHECK(blaze_value_field(&map, "doc", &map) == 0);
        CHECK(bz_doc_intern(&again, &map, names) == 0);
        CHECK(bz_bytes_equal(bz_buf_bytes(&again), doc));
    }
    blaze_doc_free(text);
    bz_buf_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bz_bytes doc = bz_bytes(data, size);
    struct blaze_names *names;
    size_t fields;
    uint32_t id;
    CHECK(bz_names_new(&names) == 0);
    for (uint8_t i = 0; i < NAMES; i++) {
        uint8_t name = (uint8_t)('l' - i);
        CHECK(bz_names_add(names, bz_bytes(&name, 1), &id) == 0);
    }
    read_all(doc, names, &fields);
    if (bz_doc_check(doc, NAMES) == 0)
        check_canonical(doc, names, fields);
    bz_names_unref(names);
    return 0;
}

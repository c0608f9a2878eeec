/* SPDX-License-Identifier: Apache-2.0 */
/* The golden vectors, which other implementations share. */
#include "base/text.h"
#include "codec/doc.h"
#include "codec/key.h"

#include "cmocka_all.h"

#include <jansson.h>
#include <stdlib.h>

static json_t *vectors;
static struct blaze_names *names;

static const char *text_of(json_t *vector, const char *key)
{
    const char *text = json_string_value(json_object_get(vector, key));
    assert_non_null(text);
    return text;
}

static int load(void **state)
{
    (void)state;
    json_error_t error;
    size_t i;
    json_t *name;
    uint32_t id;
    vectors = json_load_file(BZ_SOURCE_DIR "/tests/vectors/blazebinary.json", 0, &error);
    if (vectors == NULL)
        fail_msg("line %d: %s", error.line, error.text);
    assert_int_equal(bz_names_new(&names), 0);
    json_array_foreach(json_object_get(vectors, "names"), i, name)
    {
        assert_int_equal(bz_names_add(names, bz_bytes_text(json_string_value(name)), &id), 0);
        assert_int_equal(id, i);
    }
    return 0;
}

static int unload(void **state)
{
    (void)state;
    json_decref(vectors);
    bz_names_unref(names);
    return 0;
}

static void assert_hex(const char *note, const char *expected, struct bz_bytes bytes)
{
    struct bz_buf hex;
    bz_buf_init(&hex, BZ_DOC_MAX * 2);
    bz_hex_append(&hex, bytes);
    bz_buf_append8(&hex, 0);
    assert_int_equal(hex.error, 0);
    if (strcmp((char *)hex.data, expected) != 0)
        fail_msg("%s: %s instead of %s", note, (char *)hex.data, expected);
    bz_buf_release(&hex);
}

static void from_hex(struct bz_buf *out, const char *hex)
{
    for (; hex[0] != '\0'; hex += 2) {
        char byte[3] = {hex[0], hex[1], '\0'};
        bz_buf_append8(out, (uint8_t)strtoul(byte, NULL, 16));
    }
}

/* Interns only names that the table has: no more are added. */
static void intern(struct bz_buf *out, const blaze_value *map)
{
    struct blaze_names *own;
    uint32_t id;
    assert_int_equal(bz_names_new(&own), 0);
    for (uint32_t i = 0; i < bz_names_count(names); i++)
        assert_int_equal(bz_names_add(own, bz_names_get(names, i), &id), 0);
    assert_int_equal(bz_doc_intern(out, map, own), 0);
    bz_names_unref(own);
}

/* The document that the hex encodes is this one, to the last byte of its text form. */
static void assert_reads_as(const char *note, const char *hex, struct bz_bytes text_form)
{
    struct bz_buf bytes;
    blaze_value map;
    blaze_doc *doc;
    char *json;
    bz_buf_init(&bytes, BZ_DOC_MAX);
    from_hex(&bytes, hex);
    if (bz_doc_check(bz_buf_bytes(&bytes), bz_names_count(names)) != 0)
        fail_msg("%s: %s is refused", note, hex);
    bz_doc_value(bz_buf_bytes(&bytes), names, &map);
    assert_int_equal(blaze_value_to_json(&json, &map, false), 0);
    assert_int_equal(blaze_doc_from_json(&doc, json, strlen(json), NULL), 0);
    assert_int_equal(blaze_doc_value(doc, &map), 0);
    assert_true(bz_bytes_equal(bz_bytes(map.as.nested.data, map.as.nested.size), text_form));
    blaze_free(json);
    blaze_doc_free(doc);
    bz_buf_release(&bytes);
}

static bool all_names_are_known(const blaze_value *value)
{
    blaze_iter iter;
    blaze_text name;
    blaze_value item;
    uint32_t id;
    if (blaze_iter_init(&iter, value) != 0)
        return true;
    while (blaze_iter_next(&iter, &name, &item) == 0) {
        bool known = value->type == BLAZE_ARRAY ||
                     bz_names_find(names, bz_bytes(name.data, name.size), &id) == 0;
        if (!known || !all_names_are_known(&item))
            return false;
    }
    return true;
}

static void documents_encode_and_decode_as_the_vectors_say(void **state)
{
    (void)state;
    size_t i, interned = 0;
    json_t *vector;
    json_array_foreach(json_object_get(vectors, "documents"), i, vector)
    {
        const char *note = text_of(vector, "note"), *json = text_of(vector, "json");
        blaze_doc *doc;
        blaze_value map;
        blaze_error error;
        if (blaze_doc_from_json(&doc, json, strlen(json), &error) != 0)
            fail_msg("%s: %s", note, error.text);
        assert_int_equal(blaze_doc_value(doc, &map), 0);
        struct bz_bytes text = bz_bytes(map.as.nested.data, map.as.nested.size);
        assert_hex(note, text_of(vector, "text"), text);
        assert_reads_as(note, text_of(vector, "text"), text);
        assert_reads_as(note, text_of(vector, "interned"), text);
        /* Interning adds the names that are missing; the vectors do not have those. */
        if (all_names_are_known(&map)) {
            struct bz_buf stored;
            bz_buf_init(&stored, BZ_DOC_MAX);
            intern(&stored, &map);
            assert_hex(note, text_of(vector, "interned"), bz_buf_bytes(&stored));
            bz_buf_release(&stored);
            interned++;
        }
        blaze_doc_free(doc);
    }
    assert_true(i > 15 && interned > 3);
}

static void what_the_vectors_refuse_is_refused(void **state)
{
    (void)state;
    size_t i;
    json_t *vector;
    json_array_foreach(json_object_get(vectors, "refused"), i, vector)
    {
        struct bz_buf bytes;
        bz_buf_init(&bytes, BZ_DOC_MAX);
        from_hex(&bytes, text_of(vector, "hex"));
        if (bz_doc_check(bz_buf_bytes(&bytes), bz_names_count(names)) != BLAZE_ECORRUPT)
            fail_msg("%s: %s passes", text_of(vector, "note"), text_of(vector, "hex"));
        bz_buf_release(&bytes);
    }
    assert_true(i > 40);
}

static void keys_are_as_the_vectors_say(void **state)
{
    (void)state;
    size_t i;
    json_t *vector;
    json_array_foreach(json_object_get(vectors, "keys"), i, vector)
    {
        const char *json = text_of(vector, "json");
        json_t *max = json_object_get(vector, "max");
        blaze_doc *doc;
        blaze_value value;
        struct bz_buf key;
        bool cut = false;
        bz_buf_init(&key, 4096);
        assert_int_equal(blaze_doc_from_json(&doc, json, strlen(json), NULL), 0);
        assert_int_equal(blaze_doc_value(doc, &value), 0);
        assert_int_equal(blaze_value_field(&value, "v", &value), 0);
        bz_key_append(&key, &value, max != NULL ? (size_t)json_integer_value(max) : SIZE_MAX, &cut);
        assert_hex(json, text_of(vector, "key"), bz_buf_bytes(&key));
        assert_int_equal(cut, json_is_true(json_object_get(vector, "cut")));
        bz_buf_release(&key);
        blaze_doc_free(doc);
    }
    assert_true(i > 30);
}

static void the_worked_example_of_the_format_page_is_right(void **state)
{
    (void)state;
    static const char json[] =
        "{\"name\":\"Vila\",\"lat\":42.53176,\"tags\":[\"a\",true],\"address\":{\"city\":\"AD\"}}";
    static const char *const table[] = {"name", "lat", "tags", "address", "city"};
    struct blaze_names *own;
    struct bz_buf stored;
    blaze_doc *doc;
    blaze_value map;
    uint32_t id;
    bz_buf_init(&stored, BZ_DOC_MAX);
    assert_int_equal(bz_names_new(&own), 0);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        assert_int_equal(bz_names_add(own, bz_bytes_text(table[i]), &id), 0);
    assert_int_equal(blaze_doc_from_json(&doc, json, strlen(json), NULL), 0);
    assert_int_equal(blaze_doc_value(doc, &map), 0);
    assert_hex("text",
        "1a0f6164647265737399076c6174a4096e616d65440974616773840609636974794241"
        "44855f0e0456696c6102411161",
        bz_bytes(map.as.nested.data, map.as.nested.size));
    assert_int_equal(bz_doc_intern(&stored, &map, own), 0);
    assert_hex("interned", "050644a4849556696c61855f0e04024111610240424144", bz_buf_bytes(&stored));
    blaze_doc_free(doc);
    bz_buf_release(&stored);
    bz_names_unref(own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_encode_and_decode_as_the_vectors_say),
        cmocka_unit_test(what_the_vectors_refuse_is_refused),
        cmocka_unit_test(keys_are_as_the_vectors_say),
        cmocka_unit_test(the_worked_example_of_the_format_page_is_right),
    };
    return cmocka_run_group_tests(tests, load, unload);
}

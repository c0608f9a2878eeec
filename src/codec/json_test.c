/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/doc.h"

#include "cmocka_all.h"
#include "codec/date.h"
#include "random.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct rng rng;

static blaze_doc *read_json(const char *json)
{
    blaze_doc *doc;
    blaze_error error;
    if (blaze_doc_from_json(&doc, json, strlen(json), &error) != 0)
        fail_msg("%s: %s", json, error.text);
    return doc;
}

static char *write_json(blaze_doc *doc, bool pretty)
{
    blaze_value value;
    char *text;
    assert_int_equal(blaze_doc_value(doc, &value), 0);
    assert_int_equal(blaze_value_to_json(&text, &value, pretty), 0);
    return text;
}

static void what_is_read_is_written_again(void **state)
{
    (void)state;
    /* The expected form, NULL where it is the same. Fields come out by name. */
    static const char *cases[][2] = {
        {"{}", NULL},
        {"{\"a\":null,\"b\":true,\"c\":false,\"d\":{},\"e\":[]}", NULL},
        {"{\"b\":1,\"a\":2}", "{\"a\":2,\"b\":1}"},
        {"{\"a\":9223372036854775807,\"b\":-9223372036854775808,\"c\":0,\"d\":-1}", NULL},
        {"{\"a\":-0}", "{\"a\":0}"},
        {"{\"a\":[1.0,-0.0,0.1,42.53176,-0.5,1e5,123456789012.5]}",
            "{\"a\":[1.0,-0.0,0.1,42.53176,-0.5,100000.0,123456789012.5]}"},
        {"{\"a\":[1e20,1e-20,1.7976931348623157e308,5e-324]}",
            "{\"a\":[1e+20,1e-20,1.7976931348623157e+308,5e-324]}"},
        {"{\"a\":[0.30000000000000004,0.3333333333333333,9007199254740994.0]}", NULL},
        {"{\"a\":\"q\\\"b\\\\s/\\b\\f\\n\\r\\t\\u0000\\u000b\\u001f\"}", NULL},
        {"{\"a\":\"\\u00e4\\ud83d\\ude00\"}", "{\"a\":\"\xc3\xa4\xf0\x9f\x98\x80\"}"},
        {"{\"\xc3\xa4\":[[1,[2]],{\"x\":[{}]}]}", NULL},
        {"{\"a\":{\"$bytes\":\"\"},\"b\":{\"$bytes\":\"AAEC/w==\"}}", NULL},
        {"{\"a\":{\"$uuid\":\"017F22E2-79B0-7CC3-98C4-DC0C0C07398F\"}}",
            "{\"a\":{\"$uuid\":\"017f22e2-79b0-7cc3-98c4-dc0c0c07398f\"}}"},
        {"{\"a\":{\"$date\":\"2024-05-06T07:08:09Z\"}}",
            "{\"a\":{\"$date\":\"2024-05-06T07:08:09.000Z\"}}"},
        {"{\"a\":{\"$date\":-62167219200001},\"b\":{\"$date\":253402300800000}}", NULL},
        {"{\"a\":{\"$date\":5}}", "{\"a\":{\"$date\":\"1970-01-01T00:00:00.005Z\"}}"},
        {"{\"a\":{\"$unset\":true},\"b\":1}", NULL},
        /* What looks like a form and is none. */
        {"{\"a\":{\"$$date\":5},\"b\":{\"$$$bytes\":[]},\"c\":{\"$other\":1},\"d\":{\"$\":1}}",
            NULL},
        {"{\"a\":{\"$date\":5,\"$uuid\":6}}", NULL},
        {"{\"$$date\":5}", NULL},
        {"{\"$date\":5,\"x\":6}", NULL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        blaze_doc *doc = read_json(cases[i][0]);
        char *text = write_json(doc, false);
        assert_string_equal(text, cases[i][1] != NULL ? cases[i][1] : cases[i][0]);
        blaze_doc *again = read_json(text);
        blaze_value a, b;
        assert_int_equal(blaze_doc_value(doc, &a), 0);
        assert_int_equal(blaze_doc_value(again, &b), 0);
        assert_int_equal(a.as.nested.size, b.as.nested.size);
        assert_memory_equal(a.as.nested.data, b.as.nested.data, a.as.nested.size);
        blaze_free(text);
        blaze_doc_free(again);
        blaze_doc_free(doc);
    }
}

static void a_map_that_only_looks_like_a_form_keeps_its_type(void **state)
{
    (void)state;
    blaze_doc *doc;
    blaze_value map, inner;
    assert_int_equal(blaze_doc_new(&doc), 0);
    blaze_doc_begin_map(doc, "a");
    blaze_doc_add_string(doc, "$date", "2024-05-06T07:08:09Z");
    blaze_doc_end(doc);
    char *text = write_json(doc, false);
    assert_string_equal(text, "{\"a\":{\"$$date\":\"2024-05-06T07:08:09Z\"}}");
    blaze_doc *again = read_json(text);
    assert_int_equal(blaze_doc_value(again, &map), 0);
    assert_int_equal(blaze_value_field(&map, "a", &map), 0);
    assert_int_equal(blaze_value_field(&map, "$date", &inner), 0);
    assert_int_equal(inner.type, BLAZE_STRING);
    blaze_free(text);
    blaze_doc_free(doc);
    blaze_doc_free(again);
}

static void pretty_json_is_indented_by_two(void **state)
{
    (void)state;
    blaze_doc *doc = read_json("{\"a\":[1,{\"b\":{\"$bytes\":\"AA==\"}}],\"c\":{},\"d\":[]}");
    char *text = write_json(doc, true);
    assert_string_equal(text, "{\n  \"a\": [\n    1,\n    {\n      \"b\": {\"$bytes\": \"AA==\"}\n"
                              "    }\n  ],\n  \"c\": {},\n  \"d\": []\n}");
    blaze_free(text);
    blaze_doc_free(doc);
}

static void bad_json_is_refused_and_says_where(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        int code;
        const char *where;
    } cases[] = {
        {"", BLAZE_ESYNTAX, "line 1, column 0"},
        {"{\"a\":1", BLAZE_ESYNTAX, "line 1, column 6"},
        {"{\"a\":1} x", BLAZE_ESYNTAX, "line 1, column 9"},
        {"{\n\"a\": 9223372036854775808}", BLAZE_ERANGE, "line 2, column 24"},
        {"{\n\n\"a\": -9223372036854775809}", BLAZE_ERANGE, "line 3, column 25"},
        {"{\"a\":1e400}", BLAZE_ERANGE, "line 1, column 10"},
        {"{\"a\":NaN}", BLAZE_ESYNTAX, "line 1, column 8"},
        {"{\"a\":Infinity}", BLAZE_ESYNTAX, "line 1"},
        {"{\"a\":1,\n\"a\":2}", BLAZE_ESYNTAX, "line 2"},
        {"{\"a\":\"\xff\"}", BLAZE_ESYNTAX, "line 1"},
        {"{\"a\":\"\\ud800\"}", BLAZE_ESYNTAX, "line 1"},
        {"{\"a\":01}", BLAZE_ESYNTAX, "line 1"},
        {"[1]", BLAZE_ESYNTAX, "object"},
        {"{\"\":1}", BLAZE_ELIMIT, "empty"},
        {"{\"x\":{\"$date\":\"2024-02-30T00:00:00Z\"}}", BLAZE_ESYNTAX, "field x: $date"},
        {"{\"x\":{\"$date\":true}}", BLAZE_ESYNTAX, "field x: $date"},
        {"{\"x\":[{\"y\":{\"$bytes\":\"A\"}}]}", BLAZE_ESYNTAX, "field x.[].y: $bytes"},
        {"{\"x\":{\"$bytes\":1}}", BLAZE_ESYNTAX, "field x: $bytes"},
        {"{\"x\":{\"$uuid\":\"017f22e2\"}}", BLAZE_ESYNTAX, "field x: $uuid"},
        {"{\"x\":{\"$uuid\":\"017f22e2-79b0-7cc3-98c4-dc0c0c07398f\\u0000\"}}", BLAZE_ESYNTAX,
            "field x: $uuid"},
        {"{\"x\":{\"$unset\":false}}", BLAZE_ESYNTAX, "field x: $unset"},
        {"{\"x\":[{\"$unset\":true}]}", BLAZE_ESYNTAX, "field x.[]: $unset"},
        {"{\"$date\":\"2024-02-03T00:00:00Z\"}", BLAZE_ESYNTAX, "fields of its own"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        blaze_doc *doc = NULL;
        blaze_error error = {0};
        int rc = blaze_doc_from_json(&doc, cases[i].json, strlen(cases[i].json), &error);
        if (rc != cases[i].code || error.code != rc || strstr(error.text, cases[i].where) == NULL)
            fail_msg("%s: %s (%d)", cases[i].json, error.text, rc);
        assert_null(doc);
        assert_int_equal(blaze_doc_from_json(&doc, cases[i].json, strlen(cases[i].json), NULL), rc);
    }
}

static void json_is_limited_as_documents_are(void **state)
{
    (void)state;
    enum { DEEP = BLAZE_MAX_NESTING };
    char json[DEEP * 12 + 4096 * 12];
    for (size_t levels = DEEP; levels <= DEEP + 1; levels++) { /* the document is one level */
        size_t n = (size_t)sprintf(json, "{\"a\":");
        memset(json + n, '[', levels - 1);
        n += levels - 1;
        memset(json + n, ']', levels - 1);
        n += levels - 1;
        json[n++] = '}';
        blaze_doc *doc = NULL;
        blaze_error error;
        int rc = blaze_doc_from_json(&doc, json, n, &error);
        assert_int_equal(rc, levels == DEEP ? 0 : BLAZE_ELIMIT);
        assert_true(rc == 0 || strstr(error.text, "64 levels") != NULL);
        blaze_doc_free(doc);
    }
    for (int fields = BLAZE_MAX_FIELDS; fields <= BLAZE_MAX_FIELDS + 1; fields++) {
        size_t n = (size_t)sprintf(json, "{");
        for (int i = 0; i < fields; i++)
            n += (size_t)sprintf(json + n, "%s\"f%d\":1", i > 0 ? "," : "", i);
        json[n++] = '}';
        blaze_doc *doc = NULL;
        int rc = blaze_doc_from_json(&doc, json, n, NULL);
        assert_int_equal(rc, fields == BLAZE_MAX_FIELDS ? 0 : BLAZE_ELIMIT);
        blaze_doc_free(doc);
    }
    for (int size = BLAZE_MAX_NAME; size <= BLAZE_MAX_NAME + 1; size++) {
        size_t n = (size_t)sprintf(json, "{\"%0*d\":1}", size, 7);
        blaze_doc *doc = NULL;
        int rc = blaze_doc_from_json(&doc, json, n, NULL);
        assert_int_equal(rc, size == BLAZE_MAX_NAME ? 0 : BLAZE_ELIMIT);
        blaze_doc_free(doc);
    }
}

static void random_doubles_come_back_to_the_bit(void **state)
{
    (void)state;
    rng.state = test_seed();
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = rng_next(&rng);
        double number;
        memcpy(&number, &bits, sizeof number);
        if (i % 2 == 0)
            number = (double)(int32_t)rng_next(&rng) / pow(10, rng_below(&rng, 12));
        if (!isfinite(number))
            continue;
        blaze_value value = {.type = BLAZE_DOUBLE, .as.number = number}, back;
        char *text;
        char json[64];
        assert_int_equal(blaze_value_to_json(&text, &value, false), 0);
        snprintf(json, sizeof json, "{\"a\":%s}", text);
        blaze_doc *doc = read_json(json);
        assert_int_equal(blaze_doc_value(doc, &value), 0);
        assert_int_equal(blaze_value_field(&value, "a", &back), 0);
        assert_int_equal(back.type, BLAZE_DOUBLE);
        assert_memory_equal(&back.as.number, &number, sizeof number);
        blaze_doc_free(doc);
        blaze_free(text);
    }
}

static void dates_are_read_with_fractions_and_offsets(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1969-12-31T23:59:59.999Z", -1},
        {"2000-02-29t12:00:00z", 951825600000},
        {"2024-05-06 07:08:09.1Z", 1714979289100},
        {"2024-05-06T07:08:09.123456789Z", 1714979289123},
        {"2024-05-06T09:08:09+02:00", 1714979289000},
        {"2024-05-05T23:38:09-07:30", 1714979289000},
        {"2016-12-31T23:59:60Z", 1483228800000},
        {"0000-01-01T00:00:00Z", -62167219200000},
        {"9999-12-31T23:59:59.999Z", 253402300799999},
    };
    for (size_t i = 0; i < COUNT(good); i++) {
        int64_t ms = 42;
        assert_int_equal(bz_date_parse(&ms, bz_bytes_text(good[i].text)), 0);
        assert_true(ms == good[i].ms);
    }
    static const char *bad[] = {"", "2024-05-06", "2024-05-06T07:08Z", "2024-05-06T07:08:09",
        "2024-13-06T07:08:09Z", "2023-02-29T07:08:09Z", "1900-02-29T07:08:09Z",
        "2024-05-06T24:00:00Z", "2024-05-06T07:60:09Z", "2024-05-06T07:08:61Z",
        "2024-05-06T07:08:09.Z", "2024-05-06T07:08:09+2:00", "2024-05-06T07:08:09Z ",
        "-024-05-06T07:08:09Z", "2024-00-06T07:08:09Z", "2024-05-00T07:08:09Z"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        int64_t ms;
        assert_int_equal(bz_date_parse(&ms, bz_bytes_text(bad[i])), BLAZE_ESYNTAX);
    }
}

static void days_of_ten_thousand_years_print_and_parse_in_order(void **state)
{
    (void)state;
    const int64_t day = 86400000;
    char text[BZ_DATE_SIZE];
    char last[BZ_DATE_SIZE] = "";
    for (int64_t d = -719528; d <= 2932896; d += 5) {
        int64_t ms = d * day + (d & 0xffff) * 1317, back;
        assert_true(bz_date_format(ms, text));
        assert_true(strcmp(last, text) < 0);
        assert_int_equal(bz_date_parse(&back, bz_bytes_text(text)), 0);
        assert_true(back == ms);
        memcpy(last, text, sizeof last);
    }
    assert_false(bz_date_format(-719528 * day - 1, text));
    assert_false(bz_date_format(2932897 * day, text));
    assert_false(bz_date_format(INT64_MIN, text));
    assert_false(bz_date_format(INT64_MAX, text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_read_is_written_again),
        cmocka_unit_test(a_map_that_only_looks_like_a_form_keeps_its_type),
        cmocka_unit_test(pretty_json_is_indented_by_two),
        cmocka_unit_test(bad_json_is_refused_and_says_where),
        cmocka_unit_test(json_is_limited_as_documents_are),
        cmocka_unit_test(random_doubles_come_back_to_the_bit),
        cmocka_unit_test(dates_are_read_with_fractions_and_offsets),
        cmocka_unit_test(days_of_ten_thousand_years_print_and_parse_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "query/query.h"

#include "base/alloc.h"
#include "cmocka_all.h"
#include "codec/doc.h"

#include <stdlib.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const char record[] =
    "{\"name\":\"Sant Juli\xc3\xa0\",\"lat\":42.5,\"n\":7,\"big\":9007199254740993,\"yes\":true,"
    "\"no\":false,\"nil\":null,\"tags\":[\"a\",\"b\",3],\"raw\":{\"$bytes\":\"AAEC\"},"
    "\"at\":{\"$date\":\"2024-05-06T07:08:09Z\"},"
    "\"ref\":{\"$uuid\":\"017f22e2-79b0-7cc3-98c4-dc0c0c07398f\"},"
    "\"address\":{\"city\":\"Vila\",\"geo\":{\"x\":1}},\"a.b\":1,\"not\":2,\"tick`s\":3,\"e\":[]}";

static const blaze_id record_id = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};

static const struct {
    const char *filter;
    bool matches;
} semantics[] = {
    {"name = \"Sant Juli\xc3\xa0\"", true},
    {"name = \"Sant Juli\\u00e0\"", true},
    {"name = \"Sant\"", false},
    {"name != \"Sant\"", true},
    {"lat = 42.5", true},
    {"lat > 42 and lat < 43", true},
    {"lat >= 42.5 and lat <= 42.5", true},
    {"lat > 42.5 or lat < 42.5", false},
    {"n = 7.0", true},
    {"n < 7.5", true},
    {"n > -0 and n > -7 and n < 999999999999999999", true},
    {"n > -9223372036854775808 and n < 9223372036854775807", true},
    {"n > 1000000000000000000", false},
    {"name >= \"\" and name != \"\"", true},
    {"big = 9007199254740992.0", false},
    {"big > 9007199254740992.0", true},
    {"n = \"7\"", false},
    {"n < \"8\"", false},
    {"n >= \"0\"", false},
    {"n != \"7\"", true},
    {"yes = true", true},
    {"yes = 1", false},
    {"no < true", true},
    {"nil = null", true},
    {"nil != null", false},
    {"nil < 1", false},
    /* absent fields */
    {"gone = null", false},
    {"gone != 1", true},
    {"gone < 1", false},
    {"gone >= 1", false},
    {"not gone >= 1", true},
    {"gone in [null, 1]", false},
    {"gone contains \"a\"", false},
    {"gone starts \"\"", false},
    {"exists gone", false},
    {"exists nil", true},
    {"not exists gone", true},
    /* in */
    {"n in [1, 7, \"x\"]", true},
    {"n in [1, 8]", false},
    {"n in [7.0]", true},
    {"n in []", false},
    {"name in [\"b\", \"a\", \"Sant Juli\xc3\xa0\", \"a\"]", true},
    /* contains, starts */
    {"name contains \"Juli\"", true},
    {"name contains \"\"", true},
    {"name contains \"juli\"", false},
    {"name contains 7", false},
    {"tags contains \"b\"", true},
    {"tags contains 3", true},
    {"tags contains 3.0", true},
    {"tags contains \"c\"", false},
    {"e contains \"c\"", false},
    {"raw contains bytes(\"AQI=\")", true},
    {"raw contains \"a\"", false},
    {"n contains 7", false},
    {"name starts \"Sant\"", true},
    {"name starts \"Sant Juli\xc3\xa0!\"", false},
    {"name starts \"\"", true},
    {"raw starts bytes(\"AAE=\")", true},
    {"raw starts \"a\"", false},
    /* types */
    {"at = date(\"2024-05-06T09:08:09+02:00\")", true},
    {"at > date(\"2024-05-06T07:08:08.999Z\")", true},
    {"at > date(0)", true},
    {"at > 0", false},
    {"ref = uuid(\"017F22E2-79B0-7CC3-98C4-DC0C0C07398F\")", true},
    {"ref = \"017f22e2-79b0-7cc3-98c4-dc0c0c07398f\"", false},
    {"raw = bytes(\"AAEC\")", true},
    /* paths */
    {"address.city = \"Vila\"", true},
    {"address.geo.x = 1", true},
    {"address.geo.y = 1", false},
    {"name.city = 1", false},
    {"exists address.geo", true},
    {"`a.b` = 1", true},
    {"a.b = 1", false},
    {"`not` = 2", true},
    {"`tick``s` = 3", true},
    {"address.`city` = \"Vila\"", true},
    /* the id */
    {"_id = uuid(\"01020304-0506-0708-090a-0b0c0d0e0f10\")", true},
    {"_id = \"01020304-0506-0708-090a-0b0c0d0e0f10\"", true},
    {"_id > \"01020304-0506-0708-090a-0b0c0d0e0f0f\"", true},
    {"_id in [\"01020304-0506-0708-090a-0b0c0d0e0f10\"]", true},
    {"exists _id", true},
    {"exists `_id`", false},
    /* precedence */
    {"n = 7 or n = 8 and n = 9", true},
    {"(n = 7 or n = 8) and n = 9", false},
    {"not n = 7 or n = 7", true},
    {"not (n = 7 or n = 7)", false},
    {"not not n = 7", true},
    {"not n = 8 and n = 7", true},
    {"NOT n = 8 AND n IN [7]", true},
    {" \t\r\n n=7 ", true},
};

static struct bz_filter *parse(const char *text)
{
    struct bz_filter *filter;
    blaze_error error;
    if (bz_filter_parse(&filter, bz_bytes_text(text), &error) != 0)
        fail_msg("%s: %s", text, error.text);
    return filter;
}

static void filters_mean_what_the_language_says(void **state)
{
    (void)state;
    blaze_doc *doc;
    blaze_value text, stored;
    struct blaze_names *names;
    struct bz_buf bytes;
    bz_buf_init(&bytes, BZ_DOC_MAX);
    assert_int_equal(bz_names_new(&names), 0);
    assert_int_equal(blaze_doc_from_json(&doc, record, strlen(record), NULL), 0);
    assert_int_equal(blaze_doc_value(doc, &text), 0);
    struct bz_matcher *early;
    struct bz_filter *late_name = parse("address.geo.x = 1");
    assert_int_equal(bz_matcher_new(&early, late_name, names), 0);
    assert_int_equal(bz_doc_intern(&bytes, &text, names), 0);
    bz_doc_value(bz_buf_bytes(&bytes), names, &stored);
    /* A matcher that was bound before the names came finds them all the same. */
    assert_true(bz_matcher_match(early, &record_id, &stored));
    bz_matcher_free(early);
    bz_filter_free(late_name);
    for (size_t i = 0; i < COUNT(semantics); i++) {
        struct bz_filter *filter = parse(semantics[i].filter);
        struct bz_matcher *matcher;
        assert_int_equal(bz_matcher_new(&matcher, filter, names), 0);
        bool by_name = bz_filter_match(filter, &record_id, &text);
        bool by_name_stored = bz_filter_match(filter, &record_id, &stored);
        bool bound = bz_matcher_match(matcher, &record_id, &stored);
        bool bound_text = bz_matcher_match(matcher, &record_id, &text);
        if (by_name != semantics[i].matches || by_name_stored != by_name || bound != by_name ||
            bound_text != by_name)
            fail_msg("%s gives %d", semantics[i].filter, by_name);
        bz_matcher_free(matcher);
        bz_filter_free(filter);
    }
    bz_buf_release(&bytes);
    bz_names_unref(names);
    blaze_doc_free(doc);
}

static void the_normal_form_reads_as_the_same_filter(void **state)
{
    (void)state;
    static const char *cases[][2] = {
        {"n=7", "n = 7"},
        {"((n=7))AND(m!=8.0)", "n = 7 and m != 8.0"},
        {"a=1 or b=2 and not c=3", "a = 1 or b = 2 and not c = 3"},
        {"(a=1 or b=2) and not (c=3 and d=4)", "(a = 1 or b = 2) and not (c = 3 and d = 4)"},
        {"(a=1 and b=2) and (c=3 and d=4)", "a = 1 and b = 2 and c = 3 and d = 4"},
        {"a=1 or (b=2 or c=3)", "a = 1 or b = 2 or c = 3"},
        {"not(not(a=1))", "not not a = 1"},
        {"x in [3,1,2,1.0,\"b\",null]", "x in [null, 1, 2, 3, \"b\"]"},
        {"x in []", "x in []"},
        {"exists `a.b`.c", "exists `a.b`.c"},
        {"`plain` = true", "plain = true"},
        {"`and` = 1 or `_id` = 2 or `1a` = 3 or `a b` = 4 or `x``y` = 5",
            "`and` = 1 or `_id` = 2 or `1a` = 3 or `a b` = 4 or `x``y` = 5"},
        {"at > date(\"2024-05-06T09:08:09+02:00\")", "at > date(\"2024-05-06T07:08:09.000Z\")"},
        {"at > date(-99999999999999)", "at > date(-99999999999999)"},
        {"r = bytes(\"AAEC\")", "r = bytes(\"AAEC\")"},
        {"_id = \"01020304-0506-0708-090A-0b0c0d0e0f10\"",
            "_id = uuid(\"01020304-0506-0708-090a-0b0c0d0e0f10\")"},
        {"s contains \"q\\\"\\u0041\\n\"", "s contains \"q\\\"A\\n\""},
        {"\xc3\xa4 = 1", "\xc3\xa4 = 1"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (int again = 0; again < 2; again++) {
            struct bz_filter *filter = parse(cases[i][again]);
            struct bz_buf text;
            bz_buf_init(&text, 4096);
            bz_filter_to_text(filter, &text);
            bz_buf_append8(&text, 0);
            assert_string_equal((char *)text.data, cases[i][1]);
            bz_buf_release(&text);
            bz_filter_free(filter);
        }
    }
}

static void a_fault_is_told_with_its_column_and_what_was_expected(void **state)
{
    (void)state;
    static const struct {
        const char *filter;
        int code;
        const char *text;
    } cases[] = {
        {"", BLAZE_ESYNTAX, "filter: column 1: expected a field, exists, not, or ("},
        {"  ", BLAZE_ESYNTAX, "column 3: expected a field"},
        {"n", BLAZE_ESYNTAX, "column 2: expected one of = != < <= > >= in contains starts"},
        {"n =", BLAZE_ESYNTAX, "column 4: expected a value"},
        {"n = 1 m = 2", BLAZE_ESYNTAX, "column 7: expected and, or, or the end, found m"},
        {"n == 1", BLAZE_ESYNTAX, "column 3: values are compared with a single ="},
        {"n <> 1", BLAZE_ESYNTAX, "column 3: write !="},
        {"n = 'x'", BLAZE_ESYNTAX, "column 5: strings stand in double quotes"},
        {"n = x", BLAZE_ESYNTAX, "column 5: expected a value (strings stand in double quotes)"},
        {"n = \"x", BLAZE_ESYNTAX, "column 5: the string does not end"},
        {"n = \"\\x\"", BLAZE_ESYNTAX, "column 5: expected a string"},
        {"\xc3\xa4\xc3\xa4 = \"\xff\"", BLAZE_ESYNTAX, "column 6: expected a string"},
        {"n = 1.", BLAZE_ESYNTAX, "column 5: expected a number"},
        {"n = 01", BLAZE_ESYNTAX, "column 5: expected a number"},
        {"n = -", BLAZE_ESYNTAX, "column 5: "},
        {"n = \"a\x01\"", BLAZE_ESYNTAX, "column 5: expected a string"},
        {"n = 9223372036854775808", BLAZE_ERANGE, "column 5: the number is out of range"},
        {"n = 1e999", BLAZE_ERANGE, "column 5: the number is out of range"},
        {"n in 1", BLAZE_ESYNTAX, "column 6: expected [, found 1"},
        {"n in [1", BLAZE_ESYNTAX, "column 8: expected , or ]"},
        {"n in [1,]", BLAZE_ESYNTAX, "column 9: expected a value, found ]"},
        {"n in [,]", BLAZE_ESYNTAX, "column 7: expected a value, found ,"},
        {"(n = 1", BLAZE_ESYNTAX, "column 7: expected and, or, or )"},
        {"n = 1)", BLAZE_ESYNTAX, "column 6: expected and, or, or the end, found )"},
        {"n starts 1", BLAZE_ESYNTAX, "column 10: expected a string, found 1"},
        {"_id = 1", BLAZE_ESYNTAX, "column 7: expected a UUID, found 1"},
        {"_id starts \"x\"", BLAZE_ESYNTAX, "column 5: expected one of = != < <= > >= in, found"},
        {"a. = 1", BLAZE_ESYNTAX, "column 4: expected a field's name, found ="},
        {"`a = 1", BLAZE_ESYNTAX, "column 1: the quoted name does not end"},
        {"`` = 1", BLAZE_ELIMIT, "column 1: a field's name has 1 to 255 bytes"},
        {"d = date(\"yesterday\")", BLAZE_ESYNTAX, "column 10: expected text of this form"},
        {"d = date 5", BLAZE_ESYNTAX, "column 10: expected (, found 5"},
        {"d = date(5", BLAZE_ESYNTAX, "column 11: expected )"},
        {"n = 1 && m = 2", BLAZE_ESYNTAX, "column 7: write and, or"},
        {"and = 1", BLAZE_ESYNTAX, "column 1: expected a field, exists, not, or (, found and"},
        {"n = \x01", BLAZE_ESYNTAX, "column 5: a character that no filter has"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct bz_filter *filter = NULL;
        blaze_error error = {0};
        int rc = bz_filter_parse(&filter, bz_bytes_text(cases[i].filter), &error);
        if (rc != cases[i].code || error.code != rc || strstr(error.text, cases[i].text) == NULL)
            fail_msg("%s: %d %s", cases[i].filter, rc, error.text);
        assert_null(filter);
    }
}

static void filters_are_limited_in_depth_and_length(void **state)
{
    (void)state;
    struct bz_filter *filter;
    struct bz_buf text;
    bz_buf_init(&text, 1 << 20);
    for (unsigned depth = BZ_FILTER_DEPTH_MAX - 1; depth <= BZ_FILTER_DEPTH_MAX; depth++) {
        bz_buf_clear(&text);
        for (unsigned i = 0; i < depth; i++)
            bz_buf_append(&text, i % 2 ? "not " : "(", i % 2 ? 4 : 1);
        bz_buf_append(&text, "a=1", 3);
        for (unsigned i = 0; i < depth; i += 2)
            bz_buf_append8(&text, ')');
        int rc = bz_filter_parse(&filter, bz_buf_bytes(&text), NULL);
        assert_int_equal(rc, depth < BZ_FILTER_DEPTH_MAX ? 0 : BLAZE_ELIMIT);
        if (rc == 0)
            bz_filter_free(filter);
    }
    for (unsigned count = BZ_FILTER_IN_MAX; count <= BZ_FILTER_IN_MAX + 1; count++) {
        bz_buf_clear(&text);
        bz_buf_printf(&text, "a in [");
        for (unsigned i = 0; i < count; i++)
            bz_buf_printf(&text, "%s%u", i > 0 ? "," : "", i);
        bz_buf_append8(&text, ']');
        int rc = bz_filter_parse(&filter, bz_buf_bytes(&text), NULL);
        assert_int_equal(rc, count == BZ_FILTER_IN_MAX ? 0 : BLAZE_ELIMIT);
        if (rc == 0)
            bz_filter_free(filter);
    }
    for (size_t size = BZ_FILTER_TEXT_MAX; size <= BZ_FILTER_TEXT_MAX + 1; size++) {
        bz_buf_clear(&text);
        bz_buf_append(&text, "a = 1", 5);
        while (text.size < size)
            bz_buf_append8(&text, ' ');
        int rc = bz_filter_parse(&filter, bz_buf_bytes(&text), NULL);
        assert_int_equal(rc, size == BZ_FILTER_TEXT_MAX ? 0 : BLAZE_ELIMIT);
        if (rc == 0)
            bz_filter_free(filter);
    }
    bz_buf_release(&text);
}

static int countdown(void *context)
{
    int *left = context;
    return (*left)-- == 0;
}

static void parsing_survives_every_failing_allocation(void **state)
{
    (void)state;
    const char *text = "(a = \"x\" or b.c in [1, 2, 3]) and not `d e` starts \"f\" and g > 1.5";
    int rc = BLAZE_ENOMEM;
    for (int n = 0; rc != 0; n++) {
        int left = n;
        struct bz_filter *filter = NULL;
        struct bz_matcher *matcher = NULL;
        blaze_error error = {0};
        struct blaze_names *names;
        assert_int_equal(bz_names_new(&names), 0);
        bz_alloc_set_fault(countdown, &left);
        rc = bz_filter_parse(&filter, bz_bytes_text(text), &error);
        if (rc == 0)
            rc = bz_matcher_new(&matcher, filter, names);
        bz_alloc_set_fault(NULL, NULL);
        assert_true(rc == 0 || rc == BLAZE_ENOMEM);
        bz_matcher_free(matcher);
        bz_filter_free(filter);
        bz_names_unref(names);
        assert_true(n < 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters_mean_what_the_language_says),
        cmocka_unit_test(the_normal_form_reads_as_the_same_filter),
        cmocka_unit_test(a_fault_is_told_with_its_column_and_what_was_expected),
        cmocka_unit_test(filters_are_limited_in_depth_and_length),
        cmocka_unit_test(parsing_survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

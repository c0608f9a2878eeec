/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From text to a tree, by recursive descent:
 *
 *   either      both ("or" both)*
 *   both        one ("and" one)*
 *   one         "not" one | "(" either ")" | "exists" path | path test
 *   test        ("=" | "!=" | "<" | "<=" | ">" | ">=" | "contains" | "starts") value
 *             | "in" "[" [value ("," value)*] "]"
 *   value       string | number | "true" | "false" | "null"
 *             | ("date" | "uuid" | "bytes") "(" string | number ")"
 *
 * Values are read by the JSON reader, so that numbers and escapes mean what they mean there.
 */
#include "query/filter_priv.h"
#include "query/lex_priv.h"

#include "base/alloc.h"
#include "base/utf8.h"

#include <stdlib.h>

struct parser {
    struct bz_lexer lex;
    struct bz_filter *filter;
    uint32_t depth;
    uint32_t field_room;
};

static int parse_either(struct parser *p, struct bz_node **out);

static void *allocate(struct parser *p, size_t size)
{
    void *memory = bz_arena_zalloc(&p->filter->arena, size);
    if (memory == NULL)
        bz_error_code(p->lex.error, BLAZE_ENOMEM);
    return memory;
}

static int node_new(struct parser *p, enum bz_condition condition, struct bz_node **out)
{
    struct bz_node *node = allocate(p, sizeof *node);
    if (node == NULL)
        return BLAZE_ENOMEM;
    node->condition = condition;
    *out = node;
    return 0;
}

/* ---- fields ---- */

static int add_field(struct parser *p, const struct bz_path *path, uint32_t *field)
{
    struct bz_filter *f = p->filter;
    for (uint32_t i = 0; i < f->field_count; i++) {
        if (bz_path_equal(&f->fields[i], path)) {
            *field = i;
            return 0;
        }
    }
    if (f->field_count == p->field_room) {
        uint32_t room = p->field_room == 0 ? 8 : p->field_room * 2;
        struct bz_path *fields = allocate(p, room * sizeof *fields);
        if (fields == NULL)
            return BLAZE_ENOMEM;
        if (f->field_count > 0)
            memcpy(fields, f->fields, f->field_count * sizeof *fields);
        f->fields = fields;
        p->field_room = room;
    }
    *field = f->field_count;
    f->fields[f->field_count++] = *path;
    return 0;
}

static int parse_field(struct parser *p, uint32_t *field)
{
    struct bz_path path;
    int rc = bz_lexer_path(&p->lex, &p->filter->arena, &path);
    return rc == 0 ? add_field(p, &path, field) : rc;
}

/* ---- values ---- */

/* Takes over a value that borrows from what is about to go. */
static int keep_value(struct parser *p, blaze_value *value)
{
    if ((value->type != BLAZE_STRING && value->type != BLAZE_BYTES) || value->as.text.size == 0)
        return 0;
    char *text = allocate(p, value->as.text.size);
    if (text == NULL)
        return BLAZE_ENOMEM;
    memcpy(text, value->as.text.data, value->as.text.size);
    value->as.text.data = text;
    return 0;
}

/* An integer of 64 bits for sure: most numbers are short. */
static bool read_integer(struct bz_bytes word, blaze_value *out)
{
    bool negative = word.size > 0 && word.data[0] == '-';
    size_t digits = word.size - negative;
    int64_t v = 0;
    if (digits == 0 || digits > 18 || (digits > 1 && word.data[negative] == '0'))
        return false;
    for (size_t i = negative; i < word.size; i++) {
        if (word.data[i] < '0' || word.data[i] > '9')
            return false;
        v = v * 10 + (word.data[i] - '0');
    }
    *out = (blaze_value){.type = BLAZE_INT, .as.integer = negative ? -v : v};
    return true;
}

/* A string that means what stands between its quotes. */
static bool read_text(struct bz_bytes word, blaze_value *out)
{
    struct bz_bytes text = bz_bytes(word.data + 1, word.size - 2);
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < 0x20 || text.data[i] == '\\')
            return false;
    }
    *out = (blaze_value){.type = BLAZE_STRING, .as.text = {(const char *)text.data, text.size}};
    return bz_utf8_valid(text);
}

/* Reads JSON of one value: `before`, the token at hand, `after`. */
static int read_literal(struct parser *p, const char *before, const char *after, blaze_value *out)
{
    struct bz_buf json;
    blaze_doc *doc = NULL;
    blaze_value map, value;
    bz_buf_init(&json, BZ_FILTER_TEXT_MAX + 64);
    bz_buf_printf(&json, "{\"v\":%s", before);
    bz_buf_append(&json, p->lex.word.data, p->lex.word.size);
    bz_buf_printf(&json, "%s}", after);
    int rc = json.error;
    if (rc == 0)
        rc = blaze_doc_from_json(&doc, (const char *)json.data, json.size, NULL);
    if (rc == 0)
        rc = blaze_doc_value(doc, &map);
    if (rc == 0)
        rc = blaze_value_field(&map, "v", &value);
    if (rc == BLAZE_ERANGE)
        bz_lexer_fault(&p->lex, rc, "the number is out of range");
    else if (rc == BLAZE_ENOMEM)
        bz_error_code(p->lex.error, rc);
    else if (rc != 0)
        rc = bz_lexer_expected(&p->lex, *before != '\0'                   ? "text of this form"
                                        : p->lex.token == BZ_TOKEN_NUMBER ? "a number"
                                                                          : "a string");
    if (rc == 0 && (rc = keep_value(p, &value)) == 0)
        *out = value;
    blaze_doc_free(doc);
    bz_buf_release(&json);
    return rc;
}

/* A number or string: by itself if it is of the plain kind, since that takes a hundredth of what
 * JSON's reader takes, which for a query of few rows is most of its time. */
static int parse_literal(struct parser *p, blaze_value *out)
{
    blaze_value value;
    bool plain = p->lex.token == BZ_TOKEN_NUMBER ? read_integer(p->lex.word, &value)
                                                 : read_text(p->lex.word, &value);
    if (!plain)
        return read_literal(p, "", "", out);
    int rc = keep_value(p, &value);
    if (rc == 0)
        *out = value;
    return rc;
}

/* date("..."), uuid("..."), bytes("..."); a date may be milliseconds, too. */
static int parse_typed(struct parser *p, blaze_value *out)
{
    static const char *const forms[][2] = {
        {"date", "{\"$date\":"}, {"uuid", "{\"$uuid\":"}, {"bytes", "{\"$bytes\":"}};
    const char *before = NULL;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (bz_bytes_equal(p->lex.word, bz_bytes_text(forms[i][0])))
            before = forms[i][1];
    }
    if (before == NULL)
        return bz_lexer_expected(&p->lex, "a value (strings stand in double quotes)");
    bz_lexer_next(&p->lex);
    if (p->lex.token != BZ_TOKEN_OPEN)
        return bz_lexer_expected(&p->lex, "(");
    bz_lexer_next(&p->lex);
    if (p->lex.token != BZ_TOKEN_STRING && p->lex.token != BZ_TOKEN_NUMBER)
        return bz_lexer_expected(&p->lex, "text in double quotes");
    int rc = read_literal(p, before, "}", out);
    if (rc != 0)
        return rc;
    bz_lexer_next(&p->lex);
    return p->lex.token == BZ_TOKEN_CLOSE ? 0 : bz_lexer_expected(&p->lex, ")");
}

/* Reads the value at hand and goes past it. */
static int parse_value(struct parser *p, blaze_value *out)
{
    int rc = 0;
    switch (p->lex.token) {
    case BZ_TOKEN_NULL:
        *out = (blaze_value){.type = BLAZE_NULL};
        break;
    case BZ_TOKEN_TRUE:
    case BZ_TOKEN_FALSE:
        *out = (blaze_value){.type = BLAZE_BOOL, .as.boolean = p->lex.token == BZ_TOKEN_TRUE};
        break;
    case BZ_TOKEN_STRING:
    case BZ_TOKEN_NUMBER:
        rc = parse_literal(p, out);
        break;
    case BZ_TOKEN_WORD:
        rc = parse_typed(p, out);
        break;
    default:
        rc = bz_lexer_expected(&p->lex, "a value");
        break;
    }
    if (rc == 0)
        bz_lexer_next(&p->lex);
    return rc;
}

/* A value for the record's id: text is as good as a UUID there. */
static int parse_id(struct parser *p, blaze_value *out)
{
    struct bz_lexer before = p->lex;
    blaze_value value;
    char text[BLAZE_ID_TEXT_SIZE];
    int rc = parse_value(p, &value);
    if (rc != 0)
        return rc;
    if (value.type == BLAZE_STRING && value.as.text.size == sizeof text - 1) {
        memcpy(text, value.as.text.data, sizeof text - 1);
        text[sizeof text - 1] = '\0';
        if (blaze_id_parse(&value.as.uuid, text) == 0)
            value.type = BLAZE_UUID;
    }
    if (value.type != BLAZE_UUID)
        return bz_lexer_expected(&before, "a UUID");
    *out = value;
    return 0;
}

static int compare_values(const void *a, const void *b)
{
    return blaze_value_compare(a, b);
}

/* "[" value, ... "]"; sorted, and equal ones dropped. */
static int parse_list(struct parser *p, struct bz_node *node)
{
    bool ids = p->filter->fields[node->field].count == 0;
    uint32_t room = 0;
    if (p->lex.token != BZ_TOKEN_OPEN_LIST)
        return bz_lexer_expected(&p->lex, "[");
    do {
        bz_lexer_next(&p->lex);
        if (p->lex.token == BZ_TOKEN_CLOSE_LIST && node->value_count == 0)
            break;
        if (node->value_count == BZ_FILTER_IN_MAX)
            return bz_lexer_fault(&p->lex, BLAZE_ELIMIT, "a list has at most 4096 values");
        if (node->value_count == room) {
            room = room == 0 ? 8 : room * 2;
            blaze_value *values = allocate(p, room * sizeof *values);
            if (values == NULL)
                return BLAZE_ENOMEM;
            if (node->value_count > 0)
                memcpy(values, node->values, node->value_count * sizeof *values);
            node->values = values;
        }
        blaze_value *value = &node->values[node->value_count];
        int rc = ids ? parse_id(p, value) : parse_value(p, value);
        if (rc != 0)
            return rc;
        node->value_count++;
    } while (p->lex.token == BZ_TOKEN_COMMA);
    if (p->lex.token != BZ_TOKEN_CLOSE_LIST)
        return bz_lexer_expected(&p->lex, node->value_count == 0 ? "a value" : ", or ]");
    bz_lexer_next(&p->lex);
    if (node->value_count < 2)
        return 0;
    qsort(node->values, node->value_count, sizeof *node->values, compare_values);
    uint32_t kept = 1;
    for (uint32_t i = 1; i < node->value_count; i++) {
        if (blaze_value_compare(&node->values[kept - 1], &node->values[i]) != 0)
            node->values[kept++] = node->values[i];
    }
    node->value_count = kept;
    return 0;
}

/* ---- conditions ---- */

static int condition_of(enum bz_token token)
{
    switch (token) {
    case BZ_TOKEN_EQ:
        return BZ_COND_EQ;
    case BZ_TOKEN_NE:
        return BZ_COND_NE;
    case BZ_TOKEN_LT:
        return BZ_COND_LT;
    case BZ_TOKEN_LE:
        return BZ_COND_LE;
    case BZ_TOKEN_GT:
        return BZ_COND_GT;
    case BZ_TOKEN_GE:
        return BZ_COND_GE;
    case BZ_TOKEN_IN:
        return BZ_COND_IN;
    case BZ_TOKEN_CONTAINS:
        return BZ_COND_CONTAINS;
    case BZ_TOKEN_STARTS:
        return BZ_COND_STARTS;
    default:
        return -1;
    }
}

static int parse_one_value(struct parser *p, struct bz_node *node)
{
    bool is_id = p->filter->fields[node->field].count == 0;
    struct bz_lexer before = p->lex;
    node->values = allocate(p, sizeof *node->values);
    if (node->values == NULL)
        return BLAZE_ENOMEM;
    node->value_count = 1;
    int rc = is_id ? parse_id(p, node->values) : parse_value(p, node->values);
    bool text = node->values->type == BLAZE_STRING || node->values->type == BLAZE_BYTES;
    if (rc == 0 && node->condition == BZ_COND_STARTS && !text)
        return bz_lexer_expected(&before, "a string");
    return rc;
}

/* path test */
static int parse_test(struct parser *p, struct bz_node **out)
{
    struct bz_node *node;
    uint32_t field;
    int rc = parse_field(p, &field);
    if (rc != 0)
        return rc;
    bool is_id = p->filter->fields[field].count == 0;
    int condition = condition_of(p->lex.token);
    if (is_id && (condition == BZ_COND_CONTAINS || condition == BZ_COND_STARTS))
        condition = -1;
    if (condition < 0)
        return bz_lexer_expected(&p->lex,
            is_id ? "one of = != < <= > >= in" : "one of = != < <= > >= in contains starts");
    bz_lexer_next(&p->lex);
    rc = node_new(p, (enum bz_condition)condition, &node);
    if (rc != 0)
        return rc;
    node->field = field;
    rc = condition == BZ_COND_IN ? parse_list(p, node) : parse_one_value(p, node);
    if (rc == 0)
        *out = node;
    return rc;
}

static int parse_exists(struct parser *p, struct bz_node **out)
{
    int rc = node_new(p, BZ_COND_EXISTS, out);
    bz_lexer_next(&p->lex);
    return rc == 0 ? parse_field(p, &(*out)->field) : rc;
}

static int parse_group(struct parser *p, struct bz_node **out)
{
    bz_lexer_next(&p->lex);
    int rc = parse_either(p, out);
    if (rc == 0 && p->lex.token != BZ_TOKEN_CLOSE)
        rc = bz_lexer_expected(&p->lex, "and, or, or )");
    if (rc == 0)
        bz_lexer_next(&p->lex);
    return rc;
}

static int parse_one(struct parser *p, struct bz_node **out)
{
    int rc;
    if (p->depth == BZ_FILTER_DEPTH_MAX)
        return bz_lexer_fault(&p->lex, BLAZE_ELIMIT, "nested deeper than 64 levels");
    p->depth++;
    switch (p->lex.token) {
    case BZ_TOKEN_NOT:
        bz_lexer_next(&p->lex);
        rc = node_new(p, BZ_COND_NOT, out);
        if (rc == 0)
            rc = parse_one(p, &(*out)->child);
        break;
    case BZ_TOKEN_OPEN:
        rc = parse_group(p, out);
        break;
    case BZ_TOKEN_EXISTS:
        rc = parse_exists(p, out);
        break;
    case BZ_TOKEN_WORD:
    case BZ_TOKEN_QUOTED:
        rc = parse_test(p, out);
        break;
    default:
        rc = bz_lexer_expected(&p->lex, "a field, exists, not, or (");
        break;
    }
    p->depth--;
    return rc;
}

/* One or more operands with `token` between them; those of an operand that is such a chain itself
 * become the chain's own, so that the tree has one shape for one meaning. */
static int parse_chain(struct parser *p, enum bz_token token, enum bz_condition condition,
    int (*operand)(struct parser *p, struct bz_node **out), struct bz_node **out)
{
    struct bz_node *chain = NULL;
    struct bz_node *first;
    int rc = operand(p, &first);
    if (rc != 0 || p->lex.token != token) {
        if (rc == 0)
            *out = first;
        return rc;
    }
    rc = node_new(p, condition, &chain);
    struct bz_node **tail = rc == 0 ? &chain->child : NULL;
    for (struct bz_node *node = first; rc == 0;) {
        *tail = node->condition == condition ? node->child : node;
        while (*tail != NULL)
            tail = &(*tail)->next;
        if (p->lex.token != token)
            break;
        bz_lexer_next(&p->lex);
        rc = operand(p, &node);
    }
    if (rc == 0)
        *out = chain;
    return rc;
}

static int parse_both(struct parser *p, struct bz_node **out)
{
    return parse_chain(p, BZ_TOKEN_AND, BZ_COND_AND, parse_one, out);
}

static int parse_either(struct parser *p, struct bz_node **out)
{
    return parse_chain(p, BZ_TOKEN_OR, BZ_COND_OR, parse_both, out);
}

int bz_filter_parse(struct bz_filter **out, struct bz_bytes text, blaze_error *error)
{
    if (text.size > BZ_FILTER_TEXT_MAX)
        return bz_error_set(error, BLAZE_ELIMIT, "the filter is longer than 64 KiB");
    struct bz_filter *filter = bz_zalloc(sizeof *filter);
    if (filter == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    struct parser p = {.filter = filter};
    bz_arena_init(&filter->arena);
    bz_lexer_init(&p.lex, text, "filter", error);
    int rc = parse_either(&p, &filter->root);
    if (rc == 0 && p.lex.token != BZ_TOKEN_END)
        rc = bz_lexer_expected(&p.lex, "and, or, or the end");
    if (rc != 0) {
        bz_filter_free(filter);
        return rc;
    }
    *out = filter;
    return 0;
}

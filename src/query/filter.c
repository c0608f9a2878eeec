/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matching, and the normal form. Logic has two values: a comparison with a field that is absent or
 * of another class than the value is false, and `!=` is true just where `=` is false.
 */
#include "query/filter_priv.h"

#include "base/alloc.h"
#include "codec/doc.h"

void bz_filter_free(struct bz_filter *filter)
{
    if (filter == NULL)
        return;
    bz_arena_release(&filter->arena);
    bz_free(filter);
}

/* ---- matching ---- */

struct bz_matcher {
    const struct bz_filter *filter;
    const struct blaze_names *names;
    struct bz_path_binding bindings[]; /* of the filter's fields */
};

/* One record under a filter; `matcher` may be NULL if there is a document. */
struct record {
    const struct bz_filter *filter;
    struct bz_matcher *matcher;
    const blaze_id *id;
    const blaze_value *document;    /* NULL: */
    const struct bz_fields *fields; /* these */
};

static int field_value(const struct record *r, uint32_t field, blaze_value *out)
{
    const struct bz_path *path = &r->filter->fields[field];
    struct bz_matcher *m = r->matcher;
    if (m == NULL)
        return bz_path_value(path, r->id, r->document, out);
    if (r->document == NULL)
        return bz_path_field_value(path, m->names, &m->bindings[field], r->id, r->fields, out);
    return bz_path_bound_value(path, m->names, &m->bindings[field], r->id, r->document, out);
}

/* Whether two values are of one class, so that their order means something. */
static bool comparable(const blaze_value *a, const blaze_value *b)
{
    bool numbers = (a->type == BLAZE_INT || a->type == BLAZE_DOUBLE) &&
                   (b->type == BLAZE_INT || b->type == BLAZE_DOUBLE);
    return a->type == b->type || numbers;
}

static bool compares(enum bz_condition condition, const blaze_value *a, const blaze_value *b)
{
    if (!comparable(a, b))
        return condition == BZ_COND_NE;
    int order = blaze_value_compare(a, b);
    switch (condition) {
    case BZ_COND_EQ:
        return order == 0;
    case BZ_COND_NE:
        return order != 0;
    case BZ_COND_LT:
        return order < 0;
    case BZ_COND_LE:
        return order <= 0;
    case BZ_COND_GT:
        return order > 0;
    default:
        return order >= 0;
    }
}

static bool is_listed(const struct bz_node *node, const blaze_value *value)
{
    uint32_t low = 0, high = node->value_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = blaze_value_compare(value, &node->values[middle]);
        if (order == 0)
            return true;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return false;
}

/* Of text, a part; of an array, an element. */
static bool contains(const blaze_value *value, const blaze_value *wanted)
{
    if (value->type == BLAZE_ARRAY) {
        blaze_iter iter;
        blaze_value element;
        int rc = blaze_iter_init(&iter, value);
        while (rc == 0 && (rc = blaze_iter_next(&iter, NULL, &element)) == 0) {
            if (compares(BZ_COND_EQ, &element, wanted))
                return true;
        }
        return false;
    }
    if (value->type != wanted->type || (value->type != BLAZE_STRING && value->type != BLAZE_BYTES))
        return false;
    return wanted->as.text.size == 0 ||
           (value->as.text.size > 0 && memmem(value->as.text.data, value->as.text.size,
                                           wanted->as.text.data, wanted->as.text.size) != NULL);
}

static bool starts(const blaze_value *value, const blaze_value *prefix)
{
    size_t size = prefix->as.text.size;
    return value->type == prefix->type && value->as.text.size >= size &&
           (size == 0 || memcmp(value->as.text.data, prefix->as.text.data, size) == 0);
}

static bool tests(const struct bz_node *node, const blaze_value *value)
{
    switch (node->condition) {
    case BZ_COND_IN:
        return is_listed(node, value);
    case BZ_COND_CONTAINS:
        return contains(value, node->values);
    case BZ_COND_STARTS:
        return starts(value, node->values);
    case BZ_COND_EXISTS:
        return true;
    default:
        return compares(node->condition, value, node->values);
    }
}

static bool matches(const struct bz_node *node, const struct record *r)
{
    blaze_value value;
    const struct bz_node *child = node->child;
    switch (node->condition) {
    case BZ_COND_AND:
        while (child != NULL && matches(child, r))
            child = child->next;
        return child == NULL;
    case BZ_COND_OR:
        while (child != NULL && !matches(child, r))
            child = child->next;
        return child != NULL;
    case BZ_COND_NOT:
        return !matches(child, r);
    default:
        if (field_value(r, node->field, &value) != 0)
            return node->condition == BZ_COND_NE;
        return tests(node, &value);
    }
}

bool bz_filter_match(
    const struct bz_filter *filter, const blaze_id *id, const blaze_value *document)
{
    struct record r = {.filter = filter, .id = id, .document = document};
    return matches(filter->root, &r);
}

int bz_matcher_new(
    struct bz_matcher **out, const struct bz_filter *filter, const struct blaze_names *names)
{
    struct bz_matcher *m = bz_zalloc(sizeof *m + filter->field_count * sizeof m->bindings[0]);
    if (m == NULL)
        return BLAZE_ENOMEM;
    m->filter = filter;
    m->names = names;
    *out = m;
    return 0;
}

void bz_matcher_free(struct bz_matcher *matcher)
{
    bz_free(matcher);
}

bool bz_matcher_match(struct bz_matcher *matcher, const blaze_id *id, const blaze_value *document)
{
    struct record r = {
        .filter = matcher->filter, .matcher = matcher, .id = id, .document = document};
    return matches(matcher->filter->root, &r);
}

bool bz_matcher_match_fields(
    struct bz_matcher *matcher, const blaze_id *id, const struct bz_fields *fields)
{
    struct record r = {.filter = matcher->filter, .matcher = matcher, .id = id, .fields = fields};
    return matches(matcher->filter->root, &r);
}

/* ---- the normal form ---- */

static const char *const condition_texts[] = {
    [BZ_COND_AND] = " and ",
    [BZ_COND_OR] = " or ",
    [BZ_COND_NOT] = "not ",
    [BZ_COND_EQ] = " = ",
    [BZ_COND_NE] = " != ",
    [BZ_COND_LT] = " < ",
    [BZ_COND_LE] = " <= ",
    [BZ_COND_GT] = " > ",
    [BZ_COND_GE] = " >= ",
    [BZ_COND_IN] = " in ",
    [BZ_COND_CONTAINS] = " contains ",
    [BZ_COND_STARTS] = " starts ",
    [BZ_COND_EXISTS] = "exists ",
};

static void put(struct bz_buf *out, const char *text)
{
    bz_buf_append(out, text, strlen(text));
}

/* JSON's text; of a form such as {"$date":TEXT}, date(TEXT). */
static void value_to_text(const blaze_value *value, struct bz_buf *out)
{
    char *json;
    int rc = blaze_value_to_json(&json, value, false);
    if (rc != 0) {
        out->error = out->error != 0 ? out->error : rc;
        return;
    }
    const char *text = strchr(json, ':');
    if (json[0] == '{' && text != NULL) {
        size_t name = (size_t)(text - json) - 4; /* between {"$ and ": */
        bz_buf_append(out, json + 3, name);
        put(out, "(");
        bz_buf_append(out, text + 1, strlen(text) - 2);
        put(out, ")");
    } else {
        put(out, json);
    }
    blaze_free(json);
}

static void list_to_text(const struct bz_node *node, struct bz_buf *out)
{
    put(out, "[");
    for (uint32_t i = 0; i < node->value_count; i++) {
        if (i > 0)
            put(out, ", ");
        value_to_text(&node->values[i], out);
    }
    put(out, "]");
}

static void node_to_text(
    const struct bz_filter *filter, const struct bz_node *node, struct bz_buf *out);

/* In parentheses where it binds less tightly than what is around it. */
static void children_to_text(
    const struct bz_filter *filter, const struct bz_node *node, struct bz_buf *out)
{
    for (const struct bz_node *child = node->child; child != NULL; child = child->next) {
        bool loose = child->condition == BZ_COND_OR ||
                     (child->condition == BZ_COND_AND && node->condition == BZ_COND_NOT);
        if (child != node->child)
            put(out, condition_texts[node->condition]);
        if (loose)
            put(out, "(");
        node_to_text(filter, child, out);
        if (loose)
            put(out, ")");
    }
}

static void node_to_text(
    const struct bz_filter *filter, const struct bz_node *node, struct bz_buf *out)
{
    const char *text = condition_texts[node->condition];
    switch (node->condition) {
    case BZ_COND_AND:
    case BZ_COND_OR:
        children_to_text(filter, node, out);
        break;
    case BZ_COND_NOT:
        put(out, text);
        children_to_text(filter, node, out);
        break;
    case BZ_COND_EXISTS:
        put(out, text);
        bz_path_to_text(&filter->fields[node->field], out);
        break;
    default:
        bz_path_to_text(&filter->fields[node->field], out);
        put(out, text);
        if (node->condition == BZ_COND_IN)
            list_to_text(node, out);
        else
            value_to_text(node->values, out);
        break;
    }
}

void bz_filter_to_text(const struct bz_filter *filter, struct bz_buf *out)
{
    node_to_text(filter, filter->root, out);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON in: jansson parses, then its tree is added to a document. Faults of JSON itself are told by
 * line and column; what jansson cannot know (a bad date, a name that is too long) by the field's
 * path, since the tree no longer has positions.
 */
#include "base/error.h"
#include "base/text.h"
#include "codec/date.h"
#include "codec/doc.h"
#include "codec/json_priv.h"

#include <jansson.h>

/* A document of the largest size may need this much JSON: six characters for each of its bytes. */
#define JSON_MAX ((size_t)BLAZE_MAX_DOCUMENT * 6)

struct reading {
    blaze_doc *doc;
    blaze_error *error;
    const char *path[BLAZE_MAX_NESTING + 1]; /* the names around, NULL for an element */
    size_t depth;
};

static int add(struct reading *r, const char *name, json_t *json);

enum bz_json_form bz_json_form(struct bz_bytes name)
{
    static const struct {
        const char *name;
        enum bz_json_form form;
    } forms[] = {{"bytes", BZ_JSON_BYTES}, {"date", BZ_JSON_DATE}, {"uuid", BZ_JSON_UUID},
        {"unset", BZ_JSON_UNSET}};
    size_t dollars = 0;
    while (dollars < name.size && name.data[dollars] == '$')
        dollars++;
    if (dollars == 0)
        return BZ_JSON_PLAIN;
    struct bz_bytes rest = bz_bytes(name.data + dollars, name.size - dollars);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (bz_bytes_equal(rest, bz_bytes_text(forms[i].name)))
            return dollars == 1 ? forms[i].form : BZ_JSON_ESCAPED;
    }
    return BZ_JSON_PLAIN;
}

/* Reports a fault of the field at hand. */
static int fault(struct reading *r, int code, const char *what)
{
    char path[120] = "";
    size_t used = 0;
    for (size_t i = 0; i < r->depth && used < sizeof path - 1; i++) {
        int n = snprintf(path + used, sizeof path - used, "%s%s", used > 0 ? "." : "",
            r->path[i] != NULL ? r->path[i] : "[]");
        used += n > 0 ? (size_t)n : 0;
    }
    return r->depth == 0 ? bz_error_set(r->error, code, "%s", what)
                         : bz_error_set(r->error, code, "field %s: %s", path, what);
}

/* What a builder's refusal means for JSON; other limits are looked at before. */
static int built(struct reading *r, int rc)
{
    if (rc == BLAZE_ELIMIT)
        return fault(r, rc, "the document is larger than 16 MiB");
    return rc == 0 ? 0 : fault(r, rc, blaze_error_string(rc));
}

static int add_bytes(struct reading *r, const char *name, json_t *json)
{
    if (!json_is_string(json))
        return fault(r, BLAZE_ESYNTAX, "$bytes wants a string of base64");
    struct bz_buf bytes;
    bz_buf_init(&bytes, JSON_MAX);
    struct bz_bytes text = bz_bytes(json_string_value(json), json_string_length(json));
    int rc = bz_base64_decode(&bytes, text, false);
    if (rc == BLAZE_ESYNTAX)
        fault(r, rc, "$bytes is not base64");
    else
        rc = built(r, rc != 0 ? rc : blaze_doc_add_bytes(r->doc, name, bytes.data, bytes.size));
    bz_buf_release(&bytes);
    return rc;
}

static int add_date(struct reading *r, const char *name, json_t *json)
{
    int64_t ms = json_integer_value(json);
    if (json_is_string(json)) {
        struct bz_bytes text = bz_bytes(json_string_value(json), json_string_length(json));
        if (bz_date_parse(&ms, text) != 0)
            return fault(r, BLAZE_ESYNTAX, "$date is not an RFC 3339 date and time");
    } else if (!json_is_integer(json)) {
        return fault(r, BLAZE_ESYNTAX, "$date wants RFC 3339 text or milliseconds");
    }
    return built(r, blaze_doc_add_timestamp(r->doc, name, ms));
}

static int add_uuid(struct reading *r, const char *name, json_t *json)
{
    blaze_id id;
    const char *text = json_string_value(json);
    if (text == NULL || strlen(text) != json_string_length(json) || blaze_id_parse(&id, text) != 0)
        return fault(r, BLAZE_ESYNTAX, "$uuid is not a UUID of 36 characters");
    return built(r, blaze_doc_add_uuid(r->doc, name, &id));
}

static int add_unset(struct reading *r, const char *name, json_t *json)
{
    if (!json_is_true(json))
        return fault(r, BLAZE_ESYNTAX, "$unset wants true");
    if (r->depth != 1)
        return fault(r, BLAZE_ESYNTAX, "$unset can only stand for a whole field");
    return built(r, blaze_doc_add_unset(r->doc, name));
}

static int check_name(struct reading *r, const char *name)
{
    if (name[0] == '\0')
        return fault(r, BLAZE_ELIMIT, "a field's name is empty");
    if (strlen(name) > BLAZE_MAX_NAME)
        return fault(r, BLAZE_ELIMIT, "a field's name has more than 255 bytes");
    return 0;
}

/* Adds the members of an object to the map that is open. An escaped form's name is its only one. */
static int add_members(struct reading *r, json_t *object)
{
    const char *key;
    json_t *member;
    if (json_object_size(object) > BLAZE_MAX_FIELDS)
        return fault(r, BLAZE_ELIMIT, "a map has more than 4096 fields");
    bool single = json_object_size(object) == 1;
    json_object_foreach(object, key, member)
    {
        bool escaped = single && bz_json_form(bz_bytes_text(key)) == BZ_JSON_ESCAPED;
        const char *name = key + escaped;
        int rc = check_name(r, name);
        r->path[r->depth++] = name;
        if (rc == 0)
            rc = add(r, name, member);
        r->depth--;
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int add_elements(struct reading *r, json_t *array)
{
    size_t index;
    json_t *element;
    json_array_foreach(array, index, element)
    {
        r->path[r->depth++] = NULL;
        int rc = add(r, NULL, element);
        r->depth--;
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int add_container(struct reading *r, const char *name, json_t *json)
{
    if (r->depth >= BLAZE_MAX_NESTING)
        return fault(r, BLAZE_ELIMIT, "nested deeper than 64 levels");
    bool map = json_is_object(json);
    int rc =
        built(r, map ? blaze_doc_begin_map(r->doc, name) : blaze_doc_begin_array(r->doc, name));
    if (rc == 0)
        rc = map ? add_members(r, json) : add_elements(r, json);
    return rc == 0 ? built(r, blaze_doc_end(r->doc)) : rc;
}

static enum bz_json_form form_of(json_t *object, json_t **member)
{
    void *only = json_object_iter(object);
    if (json_object_size(object) != 1)
        return BZ_JSON_PLAIN;
    *member = json_object_iter_value(only);
    return bz_json_form(bz_bytes_text(json_object_iter_key(only)));
}

static int add_object(struct reading *r, const char *name, json_t *json)
{
    json_t *member = NULL;
    switch (form_of(json, &member)) {
    case BZ_JSON_BYTES:
        return add_bytes(r, name, member);
    case BZ_JSON_DATE:
        return add_date(r, name, member);
    case BZ_JSON_UUID:
        return add_uuid(r, name, member);
    case BZ_JSON_UNSET:
        return add_unset(r, name, member);
    case BZ_JSON_PLAIN:
    case BZ_JSON_ESCAPED:
        break;
    }
    return add_container(r, name, json);
}

static int add(struct reading *r, const char *name, json_t *json)
{
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        return add_object(r, name, json);
    case JSON_ARRAY:
        return add_container(r, name, json);
    case JSON_STRING:
        return built(
            r, blaze_doc_add_text(r->doc, name, json_string_value(json), json_string_length(json)));
    case JSON_INTEGER:
        return built(r, blaze_doc_add_int(r->doc, name, json_integer_value(json)));
    case JSON_REAL:
        return built(r, blaze_doc_add_double(r->doc, name, json_real_value(json)));
    case JSON_TRUE:
    case JSON_FALSE:
        return built(r, blaze_doc_add_bool(r->doc, name, json_is_true(json)));
    case JSON_NULL:
        break;
    }
    return built(r, blaze_doc_add_null(r->doc, name));
}

static int parse(json_t **out, const char *json, size_t size, blaze_error *error)
{
    json_error_t e;
    *out = json_loadb(json, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (*out != NULL)
        return 0;
    switch (json_error_code(&e)) {
    case json_error_out_of_memory:
        return bz_error_code(error, BLAZE_ENOMEM);
    case json_error_stack_overflow:
        return bz_error_set(error, BLAZE_ELIMIT, "line %d, column %d: nested deeper than 64 levels",
            e.line, e.column);
    case json_error_numeric_overflow:
        return bz_error_set(
            error, BLAZE_ERANGE, "line %d, column %d: %s", e.line, e.column, e.text);
    default:
        return bz_error_set(
            error, BLAZE_ESYNTAX, "line %d, column %d: %s", e.line, e.column, e.text);
    }
}

static int read_document(struct reading *r, json_t *json)
{
    json_t *member = NULL;
    if (!json_is_object(json))
        return fault(r, BLAZE_ESYNTAX, "a document is a JSON object");
    enum bz_json_form form = form_of(json, &member);
    if (form != BZ_JSON_PLAIN && form != BZ_JSON_ESCAPED)
        return fault(r, BLAZE_ESYNTAX, "a document is a JSON object with fields of its own");
    int rc = add_members(r, json);
    return rc == 0 ? built(r, blaze_doc_check(r->doc)) : rc;
}

int blaze_doc_from_json(blaze_doc **out, const char *json, size_t size, blaze_error *error)
{
    struct reading r = {.error = error};
    json_t *root;
    if (size > JSON_MAX)
        return bz_error_set(error, BLAZE_ELIMIT, "the document is larger than 16 MiB");
    int rc = parse(&root, json, size, error);
    if (rc != 0)
        return rc;
    rc = blaze_doc_new(&r.doc);
    rc = rc == 0 ? read_document(&r, root) : bz_error_code(error, rc);
    json_decref(root);
    if (rc != 0) {
        blaze_doc_free(r.doc);
        return rc;
    }
    *out = r.doc;
    return 0;
}

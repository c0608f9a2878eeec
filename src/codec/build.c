/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building a document. The parts of all open containers lie in one stack, those of the innermost on
 * top; the end of a container replaces its parts by one, encoded in the arena. The document itself
 * is encoded when it is asked for, and its parts stay, so that more may be added after.
 */
#include "base/alloc.h"
#include "base/utf8.h"
#include "codec/doc.h"
#include "codec/encode_priv.h"

#include <assert.h>
#include <math.h>

struct level {
    struct level *around; /* NULL: the document itself */
    struct level *within; /* for the next container in it, once one was needed */
    size_t first;         /* its first part in the stack */
    bool map;
    struct bz_bytes name; /* under which it goes into the one around it */
};

struct blaze_doc {
    struct bz_arena arena; /* names, payloads, levels */
    struct bz_part *parts;
    size_t count;
    size_t capacity;
    size_t bytes; /* at least so many will the encoding have */
    struct level top;
    struct level *innermost;
    size_t depth; /* open containers, the document included */
    int error;
    bool encoded_is_current;
    bool is_copy; /* `encoded` is all there is: the parts are not taken from it yet */
    const struct blaze_names *names; /* of a copy; may be NULL */
    struct bz_buf encoded;
};

int blaze_doc_new(blaze_doc **out)
{
    blaze_doc *doc = bz_malloc(sizeof *doc);
    if (doc == NULL)
        return BLAZE_ENOMEM;
    doc->parts = NULL;
    doc->capacity = 0;
    doc->names = NULL;
    bz_arena_init(&doc->arena);
    bz_buf_init(&doc->encoded, BZ_DOC_MERGED_MAX);
    blaze_doc_clear(doc);
    *out = doc;
    return 0;
}

void blaze_doc_free(blaze_doc *doc)
{
    if (doc == NULL)
        return;
    bz_arena_release(&doc->arena);
    bz_buf_release(&doc->encoded);
    bz_names_unref(doc->names);
    bz_free(doc->parts);
    bz_free(doc);
}

void blaze_doc_clear(blaze_doc *doc)
{
    bz_arena_reset(&doc->arena);
    doc->count = 0;
    doc->bytes = 0;
    doc->depth = 1;
    doc->top = (struct level){.map = true};
    doc->innermost = &doc->top;
    doc->error = 0;
    doc->encoded_is_current = false;
    doc->is_copy = false;
    bz_names_unref(doc->names);
    doc->names = NULL;
}

int bz_doc_copy(blaze_doc **out, const blaze_value *value)
{
    if (value->type != BLAZE_MAP)
        return BLAZE_ETYPE;
    blaze_doc *doc;
    int rc = blaze_doc_new(&doc);
    if (rc != 0)
        return rc;
    bz_buf_append(&doc->encoded, value->as.nested.data, value->as.nested.size);
    rc = doc->encoded.error;
    if (rc != 0) {
        blaze_doc_free(doc);
        return rc;
    }
    doc->is_copy = true;
    doc->encoded_is_current = true;
    if (value->as.nested.names != NULL)
        doc->names = bz_names_ref(value->as.nested.names);
    *out = doc;
    return 0;
}

static int add_fields(blaze_doc *doc, const blaze_value *container);

static int fail(blaze_doc *doc, int code)
{
    if (doc->error == 0)
        doc->error = code;
    return doc->error;
}

static int check_name(const struct level *level, const char *name, struct bz_bytes *out)
{
    *out = bz_bytes(NULL, 0);
    if ((name != NULL) != level->map)
        return BLAZE_EINVAL;
    if (!level->map)
        return 0;
    *out = bz_bytes_text(name);
    if (out->size == 0 || out->size > BLAZE_MAX_NAME)
        return BLAZE_ELIMIT;
    return bz_utf8_valid(*out) ? 0 : BLAZE_ESYNTAX;
}

/* Room for one more part in the innermost container, of a name and at least `size` bytes. */
static int make_room(blaze_doc *doc, const struct level *level, size_t size)
{
    if (level->map && doc->count - level->first >= BLAZE_MAX_FIELDS)
        return BLAZE_ELIMIT;
    if (size > BLAZE_MAX_DOCUMENT - doc->bytes)
        return BLAZE_ELIMIT;
    if (doc->count < doc->capacity)
        return 0;
    size_t wanted = doc->capacity == 0 ? 16 : doc->capacity * 2;
    struct bz_part *parts = bz_realloc(doc->parts, wanted * sizeof *parts);
    if (parts == NULL)
        return BLAZE_ENOMEM;
    doc->parts = parts;
    doc->capacity = wanted;
    return 0;
}

/* Copies a part's name, and the payload if it is borrowed and does not fit within the part. */
static int own(blaze_doc *doc, struct bz_part *part, struct bz_bytes name)
{
    const uint8_t *payload = part->data;
    bool fits = payload == NULL || part->size <= sizeof part->small;
    uint8_t *copy = bz_arena_alloc(&doc->arena, name.size + (fits ? 0 : part->size));
    if (copy == NULL)
        return BLAZE_ENOMEM;
    if (payload != NULL && part->size > 0)
        memcpy(fits ? part->small : copy + name.size, payload, part->size);
    part->data = fits ? NULL : copy + name.size;
    if (name.size > 0)
        memcpy(copy, name.data, name.size);
    part->name = name.size > 0 ? copy : NULL;
    part->key = (uint32_t)name.size;
    return 0;
}

/* Before a change: takes a copy's fields as parts. */
static int open_copy(blaze_doc *doc)
{
    if (!doc->is_copy)
        return doc->error;
    blaze_value map;
    bz_doc_value(bz_buf_bytes(&doc->encoded), doc->names, &map);
    doc->is_copy = false;
    return add_fields(doc, &map);
}

/* Adds the value, which is checked; not a container. */
static int add(blaze_doc *doc, const char *name, const blaze_value *value)
{
    struct bz_bytes text;
    int rc = open_copy(doc);
    const struct level *level = doc->innermost;
    if (rc == 0)
        rc = check_name(level, name, &text);
    if (rc != 0)
        return fail(doc, rc);
    bool sized = value->type == BLAZE_STRING || value->type == BLAZE_BYTES;
    size_t size = text.size + (sized ? value->as.text.size : 0) + (level->map ? 2 : 1);
    rc = make_room(doc, level, size);
    if (rc != 0)
        return fail(doc, rc);
    struct bz_part *part = &doc->parts[doc->count];
    bz_part_value(part, value);
    if (own(doc, part, text) != 0)
        return fail(doc, BLAZE_ENOMEM);
    doc->bytes += size;
    doc->count++;
    doc->encoded_is_current = false;
    return 0;
}

int blaze_doc_add_null(blaze_doc *doc, const char *name)
{
    return add(doc, name, &(blaze_value){.type = BLAZE_NULL});
}

int blaze_doc_add_bool(blaze_doc *doc, const char *name, bool value)
{
    return add(doc, name, &(blaze_value){.type = BLAZE_BOOL, .as.boolean = value});
}

int blaze_doc_add_int(blaze_doc *doc, const char *name, int64_t value)
{
    return add(doc, name, &(blaze_value){.type = BLAZE_INT, .as.integer = value});
}

int blaze_doc_add_double(blaze_doc *doc, const char *name, double value)
{
    if (!isfinite(value))
        return fail(doc, BLAZE_ERANGE);
    return add(doc, name, &(blaze_value){.type = BLAZE_DOUBLE, .as.number = value});
}

int blaze_doc_add_string(blaze_doc *doc, const char *name, const char *text)
{
    return blaze_doc_add_text(doc, name, text, strlen(text));
}

int blaze_doc_add_text(blaze_doc *doc, const char *name, const char *data, size_t size)
{
    if (size > BLAZE_MAX_DOCUMENT)
        return fail(doc, BLAZE_ELIMIT);
    if (!bz_utf8_valid(bz_bytes(data, size)))
        return fail(doc, BLAZE_ESYNTAX);
    return add(doc, name, &(blaze_value){.type = BLAZE_STRING, .as.text = {data, size}});
}

int blaze_doc_add_bytes(blaze_doc *doc, const char *name, const void *data, size_t size)
{
    if (size > BLAZE_MAX_DOCUMENT)
        return fail(doc, BLAZE_ELIMIT);
    return add(doc, name, &(blaze_value){.type = BLAZE_BYTES, .as.text = {data, size}});
}

int blaze_doc_add_timestamp(blaze_doc *doc, const char *name, int64_t ms)
{
    return add(doc, name, &(blaze_value){.type = BLAZE_TIMESTAMP, .as.timestamp = ms});
}

int blaze_doc_add_uuid(blaze_doc *doc, const char *name, const blaze_id *id)
{
    return add(doc, name, &(blaze_value){.type = BLAZE_UUID, .as.uuid = *id});
}

int blaze_doc_add_unset(blaze_doc *doc, const char *name)
{
    if (doc->depth != 1)
        return fail(doc, BLAZE_EINVAL);
    return add(doc, name, &(blaze_value){.type = BZ_TYPE_UNSET});
}

/* The level within the innermost one; NULL when out of memory. */
static struct level *level_within(blaze_doc *doc)
{
    struct level *around = doc->innermost;
    if (around->within == NULL) {
        around->within = bz_arena_zalloc(&doc->arena, sizeof *around);
        if (around->within != NULL)
            around->within->around = around;
    }
    return around->within;
}

static int begin(blaze_doc *doc, const char *name, bool map)
{
    struct bz_bytes text;
    int rc = open_copy(doc);
    if (rc == 0)
        rc = check_name(doc->innermost, name, &text);
    if (rc != 0)
        return fail(doc, rc);
    if (doc->depth == BLAZE_MAX_NESTING)
        return fail(doc, BLAZE_ELIMIT);
    struct level *level = level_within(doc);
    struct bz_bytes copy = bz_arena_copy(&doc->arena, text);
    if (level == NULL || (text.size > 0 && copy.data == NULL))
        return fail(doc, BLAZE_ENOMEM);
    level->first = doc->count;
    level->map = map;
    level->name = copy;
    doc->innermost = level;
    doc->depth++;
    return 0;
}

int blaze_doc_begin_map(blaze_doc *doc, const char *name)
{
    return begin(doc, name, true);
}

int blaze_doc_begin_array(blaze_doc *doc, const char *name)
{
    return begin(doc, name, false);
}

int blaze_doc_end(blaze_doc *doc)
{
    if (doc->error != 0)
        return doc->error;
    if (doc->depth == 1)
        return fail(doc, BLAZE_EINVAL);
    const struct level *ended = doc->innermost;
    struct level *around = ended->around;
    size_t count = doc->count - ended->first;
    struct bz_part *parts = count > 0 ? doc->parts + ended->first : NULL;
    struct bz_part part = {.name = ended->name.data, .key = (uint32_t)ended->name.size};
    int rc = ended->map ? bz_parts_sort(parts, count) : 0;
    if (rc == 0)
        rc = bz_parts_nest(&doc->arena, &part, parts, count, ended->map);
    if (rc != 0)
        return fail(doc, rc);
    doc->count = ended->first;
    doc->innermost = around;
    doc->depth--;
    size_t size = part.key + (around->map ? 3u : 2u);
    rc = make_room(doc, around, size);
    if (rc != 0)
        return fail(doc, rc);
    doc->bytes += size;
    doc->parts[doc->count++] = part;
    doc->encoded_is_current = false;
    return 0;
}

/* Adds all fields or elements of a container to the innermost open one. */
static int add_fields(blaze_doc *doc, const blaze_value *container)
{
    blaze_iter iter;
    blaze_value item;
    blaze_text text;
    bool map = container->type == BLAZE_MAP;
    int rc = blaze_iter_init(&iter, container);
    while (rc == 0 && (rc = blaze_iter_next(&iter, &text, &item)) == 0) {
        char name[BLAZE_MAX_NAME + 1];
        if (text.size > BLAZE_MAX_NAME)
            return fail(doc, BLAZE_ELIMIT);
        if (text.size > 0)
            memcpy(name, text.data, text.size);
        name[text.size] = '\0';
        rc = blaze_doc_add_value(doc, map ? name : NULL, &item);
    }
    return rc == BLAZE_END ? 0 : fail(doc, rc);
}

static int add_container(blaze_doc *doc, const char *name, const blaze_value *value)
{
    int rc = begin(doc, name, value->type == BLAZE_MAP);
    if (rc == 0)
        rc = add_fields(doc, value);
    return rc == 0 ? blaze_doc_end(doc) : rc;
}

int blaze_doc_add_value(blaze_doc *doc, const char *name, const blaze_value *value)
{
    switch (value->type) {
    case BLAZE_NULL:
    case BLAZE_BOOL:
    case BLAZE_INT:
    case BLAZE_TIMESTAMP:
    case BLAZE_UUID:
        return add(doc, name, value);
    case BLAZE_DOUBLE:
        return blaze_doc_add_double(doc, name, value->as.number);
    case BLAZE_STRING:
        return blaze_doc_add_text(doc, name, value->as.text.data, value->as.text.size);
    case BLAZE_BYTES:
        return blaze_doc_add_bytes(doc, name, value->as.text.data, value->as.text.size);
    case BLAZE_ARRAY:
    case BLAZE_MAP:
        return add_container(doc, name, value);
    default:
        return value->type == BZ_TYPE_UNSET ? blaze_doc_add_unset(doc, name)
                                            : fail(doc, BLAZE_EINVAL);
    }
}

/* Nothing sticks of what follows but what adding can no longer mend. */

int bz_doc_error(const blaze_doc *doc)
{
    return doc->error != 0 ? doc->error : doc->depth != 1 ? BLAZE_EINVAL : 0;
}

/* Encodes the document, if it has changed since. */
static int encode(blaze_doc *doc)
{
    int rc = bz_doc_error(doc);
    if (rc != 0 || doc->encoded_is_current)
        return rc;
    bz_buf_clear(&doc->encoded);
    bz_names_unref(doc->names); /* a copy that was changed: from now on its names are text */
    doc->names = NULL;
    rc = bz_parts_append(&doc->encoded, doc->parts, doc->count, BZ_DOC_MAX);
    if (rc == 0 && doc->encoded.size > BLAZE_MAX_DOCUMENT)
        rc = BLAZE_ELIMIT;
    if (rc != 0)
        return fail(doc, rc);
    doc->encoded_is_current = true;
    return 0;
}

int blaze_doc_check(blaze_doc *doc)
{
    return encode(doc);
}

int blaze_doc_value(blaze_doc *doc, blaze_value *out)
{
    int rc = encode(doc);
    if (rc == 0)
        bz_doc_value(bz_buf_bytes(&doc->encoded), doc->names, out);
    return rc;
}

bool bz_doc_has(const blaze_doc *doc, struct bz_bytes name)
{
    if (doc->is_copy) {
        blaze_value map, field;
        bz_doc_value(bz_buf_bytes(&doc->encoded), doc->names, &map);
        return bz_value_field(&map, name, &field) == 0;
    }
    for (size_t i = 0; i < doc->count; i++) {
        if (bz_bytes_equal(bz_bytes(doc->parts[i].name, doc->parts[i].key), name))
            return true;
    }
    return false;
}

/* Whether its encoding is within the limit. What is counted of a part is at least a seventeenth of
 * what it takes (a UUID in an array), so that there is mostly no need to look. */
static bool is_within(const blaze_doc *doc)
{
    size_t directory;
    return doc->bytes <= BLAZE_MAX_DOCUMENT / 32 ||
           bz_parts_size(doc->parts, doc->count, true, &directory) <= BLAZE_MAX_DOCUMENT;
}

int bz_doc_intern_built(struct bz_buf *out, blaze_doc *doc, struct blaze_names *names, bool *unset)
{
    int rc = bz_doc_error(doc);
    if (rc != 0)
        return rc;
    *unset = false;
    if (doc->is_copy) {
        blaze_value map;
        bz_doc_value(bz_buf_bytes(&doc->encoded), doc->names, &map);
        return bz_doc_intern(out, &map, names);
    }
    if (!is_within(doc))
        return fail(doc, BLAZE_ELIMIT);
    for (size_t i = 0; i < doc->count; i++)
        *unset = *unset || doc->parts[i].tag == BZ_TAG_UNSET;
    rc = bz_parts_intern(out, doc->parts, doc->count, names);
    return rc == BLAZE_EEXIST ? fail(doc, rc) : rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLAZEDB_VALUE_H
#define BLAZEDB_VALUE_H

/*
 * Values and documents.
 *
 * A blaze_value is a small struct, passed by value or pointer, that either holds a scalar or
 * borrows the bytes of a string, array or map from whatever it was read from: a document, a
 * transaction or a query row. It needs no release and lives as long as that source, which each
 * function states.
 *
 * A blaze_doc is an owned document: a map from field name to value. It is built once, in order,
 * through the blaze_doc_add_ and begin/end calls, or read from JSON, and is then read through
 * blaze_doc_value(). A document belongs to one thread at a time.
 *
 * Text is UTF-8, checked on the way in (BLAZE_ESYNTAX). Doubles are finite (BLAZE_ERANGE).
 * Limits (BLAZE_ELIMIT): an encoded document 16 MiB, nesting 64 levels, 4,096 fields in a map,
 * names 255 bytes and not empty.
 */

#include <blazedb/error.h>
#include <blazedb/id.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BLAZE_MAX_DOCUMENT (16u << 20)
#define BLAZE_MAX_NESTING  64
#define BLAZE_MAX_FIELDS   4096
#define BLAZE_MAX_NAME     255

/* The numbers are part of the record format. */
typedef enum blaze_type {
    BLAZE_NULL = 0,
    BLAZE_BOOL = 1,
    BLAZE_INT = 2,       /* int64_t */
    BLAZE_DOUBLE = 3,    /* finite IEEE 754 binary64 */
    BLAZE_STRING = 4,    /* UTF-8, may hold NUL characters */
    BLAZE_BYTES = 5,     /* any bytes */
    BLAZE_TIMESTAMP = 6, /* milliseconds since 1970-01-01T00:00:00Z, int64_t */
    BLAZE_UUID = 7,
    BLAZE_ARRAY = 8,
    BLAZE_MAP = 9
} blaze_type;

struct blaze_names; /* how a nested value's interned field names resolve; opaque */

typedef struct blaze_text {
    const char *data; /* not NUL-terminated */
    size_t size;      /* bytes */
} blaze_text;

typedef struct blaze_value {
    blaze_type type;
    union {
        bool boolean;
        int64_t integer;
        double number;
        int64_t timestamp;
        blaze_id uuid;
        blaze_text text; /* string and bytes */
        struct {
            const uint8_t *data;
            size_t size;
            const struct blaze_names *names;
        } nested; /* array and map: read through the functions below */
    } as;
} blaze_value;

/* Reads the field called `name` of a map, without decoding the others. BLAZE_ENOTFOUND if the map
 * has none; BLAZE_ETYPE if `map` is not a map. *out borrows from the source of `map`. */
BLAZE_API int blaze_value_field(const blaze_value *map, const char *name, blaze_value *out);

/* Reads the element at `index` of an array. BLAZE_ENOTFOUND past its end; BLAZE_ETYPE. */
BLAZE_API int blaze_value_element(const blaze_value *array, size_t index, blaze_value *out);

/* The number of fields of a map or elements of an array; 0 for anything else. */
BLAZE_API size_t blaze_value_count(const blaze_value *container);

/* Walks a map (in no promised order) or an array (in order). The iterator is the caller's storage,
 * needs no release, and borrows from the source of the container. */
typedef struct blaze_iter {
    blaze_value container;
    size_t left;
    const uint8_t *entry;
    const uint8_t *data;
    uint64_t key;
} blaze_iter;

/* BLAZE_ETYPE if `container` is neither a map nor an array. */
BLAZE_API int blaze_iter_init(blaze_iter *iter, const blaze_value *container);

/* Gives the next value, and its field name in *name (empty for an array; may be NULL). BLAZE_END
 * after the last; BLAZE_ECORRUPT, in this and the two above, only for bytes that no check has seen.
 */
BLAZE_API int blaze_iter_next(blaze_iter *iter, blaze_text *name, blaze_value *out);

/* Orders any two values: null < bool < numbers (int and double together, exactly) < timestamp <
 * string < bytes < uuid < array < map. Returns < 0, 0 or > 0. Strings order as their UTF-8 bytes.
 */
BLAZE_API int blaze_value_compare(const blaze_value *a, const blaze_value *b);

typedef struct blaze_doc blaze_doc;

/* A new empty document; release with blaze_doc_free(). BLAZE_ENOMEM. */
BLAZE_API int blaze_doc_new(blaze_doc **out);
BLAZE_API void blaze_doc_free(blaze_doc *doc); /* NULL is allowed */

/* Empties the document, keeping its memory for the next. */
BLAZE_API void blaze_doc_clear(blaze_doc *doc);

/*
 * Adding: into the innermost open container. `name` is the field's name in a map and must be NULL
 * in an array. The first error sticks: later calls return it too, and so does blaze_doc_check(),
 * so that a caller may add everything and check once. A name given twice in one map is
 * BLAZE_EEXIST.
 */
BLAZE_API int blaze_doc_add_null(blaze_doc *doc, const char *name);
BLAZE_API int blaze_doc_add_bool(blaze_doc *doc, const char *name, bool value);
BLAZE_API int blaze_doc_add_int(blaze_doc *doc, const char *name, int64_t value);
BLAZE_API int blaze_doc_add_double(blaze_doc *doc, const char *name, double value);
BLAZE_API int blaze_doc_add_string(blaze_doc *doc, const char *name, const char *text);
BLAZE_API int blaze_doc_add_text(blaze_doc *doc, const char *name, const char *data, size_t size);
BLAZE_API int blaze_doc_add_bytes(blaze_doc *doc, const char *name, const void *data, size_t size);
BLAZE_API int blaze_doc_add_timestamp(blaze_doc *doc, const char *name, int64_t ms);
BLAZE_API int blaze_doc_add_uuid(blaze_doc *doc, const char *name, const blaze_id *id);
BLAZE_API int blaze_doc_add_value(blaze_doc *doc, const char *name, const blaze_value *value);
BLAZE_API int blaze_doc_begin_map(blaze_doc *doc, const char *name);
BLAZE_API int blaze_doc_begin_array(blaze_doc *doc, const char *name);
BLAZE_API int blaze_doc_end(blaze_doc *doc); /* closes the innermost begin */

/* Marks a field for removal; meaningful only in the document given to blaze_update(). */
BLAZE_API int blaze_doc_add_unset(blaze_doc *doc, const char *name);

/* The first error of the adds so far, or BLAZE_EINVAL if a container is still open, else 0. */
BLAZE_API int blaze_doc_check(blaze_doc *doc);

/* The document as a map value, borrowed until the next change of `doc`. Fails as
 * blaze_doc_check() does. */
BLAZE_API int blaze_doc_value(blaze_doc *doc, blaze_value *out);

/*
 * JSON (RFC 8259). What JSON lacks is written as an object of one member: {"$bytes":"base64"},
 * {"$date":"RFC 3339"}, {"$uuid":"..."}; in an update {"$unset":true} removes the field. Dates are
 * written in UTC with milliseconds, those before the year 0 or past 9999 as {"$date":MILLISECONDS}.
 * A map that only looks like such a form is written with one more `$` before its name, which
 * reading takes away again. Numbers without fraction and exponent are int64 and refused beyond it
 * (BLAZE_ERANGE), never rounded; all others are doubles, written with the fewest digits that give
 * the same double back, and always with a fraction or exponent. A name given twice in one object is
 * refused.
 */

/* Reads one JSON object into a new document. BLAZE_ESYNTAX, BLAZE_ERANGE, BLAZE_ELIMIT, with line
 * and column in `error`, or the field where the JSON itself is well-formed; BLAZE_ENOMEM. */
BLAZE_API int blaze_doc_from_json(
    blaze_doc **out, const char *json, size_t size, blaze_error *error);

/* Writes `value` as minified JSON, or indented by two spaces if `pretty`, the members of objects in
 * the order of their names. *out is NUL-terminated and owned by the caller: release with
 * blaze_free(). BLAZE_ENOMEM; BLAZE_ERANGE for a double made by hand that is not finite. */
BLAZE_API int blaze_value_to_json(char **out, const blaze_value *value, bool pretty);

/* Releases memory that a function of this library said to release so. NULL is allowed. */
BLAZE_API void blaze_free(void *memory);

#ifdef __cplusplus
}
#endif

#endif

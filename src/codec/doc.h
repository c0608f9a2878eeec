/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_CODEC_DOC_H
#define BZ_CODEC_DOC_H

/*
 * Documents in BlazeBinary (docs/format/blazebinary.md). A document is the encoding of one map. Its
 * field names are ids of a `struct blaze_names`, or stand in it as text: inside a database
 * top-level names are always ids, nested ones are ids while the table has room for them, and a
 * document built outside of any database has all names as text. One encoding serves all three.
 */

#include "base/arena.h"
#include "base/buf.h"
#include "codec/names.h"

/* What blaze_doc_add_unset() leaves: valid only at the top level of an update, never stored. */
#define BZ_TYPE_UNSET ((blaze_type)15)

/* Nested names are interned only while the table is smaller than this, so that maps keyed by data
 * cannot swell it. */
#define BZ_NAMES_NESTED_MAX 4096u

/*
 * The most bytes of a document, by where it stands. What a user writes is within
 * BLAZE_MAX_DOCUMENT as text, and within BZ_DOC_WRITTEN_MAX when its names of one letter have
 * become ids of two or three bytes. Elsewhere the ids are others: no body of any replica comes to
 * more than BZ_DOC_MAX. What is put together of several bodies may be larger than each of them and
 * have more fields than BLAZE_MAX_FIELDS: copies that are within the limits are not always so when
 * merged, and must merge none the less.
 */
#define BZ_DOC_WRITTEN_MAX (BLAZE_MAX_DOCUMENT / 4 * 5)
#define BZ_DOC_MAX         (BLAZE_MAX_DOCUMENT * 2)
#define BZ_DOC_MERGED_MAX  (256u << 20)

/* Whether these bytes may name a field: 1 to BLAZE_MAX_NAME bytes of UTF-8 without NUL. */
bool bz_name_valid(struct bz_bytes name);

/* Checks every byte of a document from outside: structure, canonical form, limits, UTF-8, and that
 * ids are below `names`. 0, BLAZE_ECORRUPT or BLAZE_ELIMIT. All other functions here may assume a
 * checked document, yet must stay within its bytes whatever they hold. */
int bz_doc_check(struct bz_bytes doc, uint32_t names);

/* The document as a map value that borrows `doc` and `names` (which may be NULL if all names are
 * text). */
void bz_doc_value(struct bz_bytes doc, const struct blaze_names *names, blaze_value *out);

/* A new document that holds a copy of the bytes of the map `value` and a reference to its names:
 * what a reader hands out. It takes no walk over the fields. BLAZE_ETYPE, BLAZE_ENOMEM. */
int bz_doc_copy(blaze_doc **out, const blaze_value *value);

/* As blaze_value_field(), for a name that is not NUL-terminated. */
int bz_value_field(const blaze_value *map, struct bz_bytes name, blaze_value *out);

/* The top-level field with this id. BLAZE_ENOTFOUND. */
int bz_doc_field(
    struct bz_bytes doc, const struct blaze_names *names, uint32_t id, blaze_value *out);

/* Appends the map `value` as a document of `names`, adding names as needed; unset fields stay.
 * BLAZE_ENOMEM, BLAZE_ELIMIT, BLAZE_ETYPE if it is not a map. `value` must not borrow from `out`.
 */
int bz_doc_intern(struct bz_buf *out, const blaze_value *value, struct blaze_names *names);

/* What keeps a document that is being built from being a whole one: an error that sticks, or
 * BLAZE_EINVAL while a container is open. Unlike blaze_doc_check() this does not encode it: that a
 * name comes twice may still show. */
int bz_doc_error(const blaze_doc *doc);

/* Whether the document has a field of this name at its top. */
bool bz_doc_has(const blaze_doc *doc, struct bz_bytes name);

/* Appends a document as it was built, as bz_doc_intern() does its value, which it need not first be
 * encoded for. *unset: whether it has fields to be removed. Fails as blaze_doc_check() does, too.
 */
int bz_doc_intern_built(struct bz_buf *out, blaze_doc *doc, struct blaze_names *names, bool *unset);

/* Appends `doc` with every interned id replaced by map(context, id) and everything sorted anew. A
 * negative return of `map` is an error code and ends the work. BLAZE_ECORRUPT if two fields of one
 * map get the same id, BLAZE_ENOMEM, BLAZE_ELIMIT. */
int bz_doc_rename(struct bz_buf *out, struct bz_bytes doc,
    int64_t (*map)(void *context, uint32_t id), void *context);

/* Calls each(context, id) for every interned id in the document, nested ones included, with
 * repeats, until it returns non-zero, which is returned. */
int bz_doc_each_name(struct bz_bytes doc, int (*each)(void *context, uint32_t id), void *context);

/* A top-level field as it lies encoded: what goes from one document into another of the same names
 * without a look at its value. */
struct bz_raw_field {
    uint32_t id;
    uint8_t tag;
    struct bz_bytes payload;
};

static inline bool bz_raw_is_unset(const struct bz_raw_field *field)
{
    return field->tag >> 4 == BZ_TYPE_UNSET;
}

void bz_raw_value(
    const struct bz_raw_field *field, const struct blaze_names *names, blaze_value *out);

/* Walks the top-level fields that have ids, ascending; gives them as they lie or as values. */
struct bz_doc_iter {
    const struct blaze_names *names;
    struct bz_reader directory;
    const uint8_t *data;
    const uint8_t *end;
    uint64_t next_id;
    unsigned run;
};
void bz_doc_iter_init(struct bz_doc_iter *it, struct bz_bytes doc, const struct blaze_names *names);
int bz_doc_iter_raw(struct bz_doc_iter *it, struct bz_raw_field *out);        /* or BLAZE_END */
int bz_doc_iter_next(struct bz_doc_iter *it, uint32_t *id, blaze_value *out); /* or BLAZE_END */

/* *out := the document of those fields of `doc` that have ids and that keep() takes, `doc` itself
 * if that is all of them, otherwise in the arena; *kept is their number (may be NULL).
 * BLAZE_ENOMEM, BLAZE_ECORRUPT. */
int bz_doc_select(struct bz_arena *arena, struct bz_bytes doc,
    bool (*keep)(void *context, const struct bz_raw_field *field), void *context,
    struct bz_bytes *out, size_t *kept);

/* Builds a document from top-level fields given in any order. Texts, bytes and nested values are
 * borrowed until the document is finished; the nested ones must be of the same names. A repeated id
 * replaces. It takes as many fields as are added; BLAZE_ELIMIT past BZ_DOC_MERGED_MAX. */
struct bz_doc_writer;
int bz_doc_writer_new(struct bz_doc_writer **out);
void bz_doc_writer_free(struct bz_doc_writer *w);
void bz_doc_writer_clear(struct bz_doc_writer *w);
int bz_doc_writer_add(struct bz_doc_writer *w, uint32_t id, const blaze_value *value);
int bz_doc_writer_add_raw(struct bz_doc_writer *w, const struct bz_raw_field *field);
int bz_doc_writer_finish(struct bz_doc_writer *w, struct bz_buf *out); /* appends; clears w */

#endif

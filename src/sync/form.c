/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/form.h"

#include "base/alloc.h"
#include "codec/doc.h"
#include "sync/frame.h"

#include <stdlib.h>
#include <zstd.h>

enum { FORM = 0x80, FORM_COMPRESSED = 1 };

/* Smaller ones do not shrink: without a dictionary their names and values are all different. */
#define COMPRESS_MIN   512u
#define DICTIONARY_MIN 32u
#define LEVEL          1
#define MAGIC_SIZE     4u
#define CONTENT_MAX    (BZ_DOC_MAX + ((size_t)BLAZE_MAX_NAME + 8) * 65536u)

static void names_init(struct bz_form_names *names)
{
    *names = (struct bz_form_names){0};
    bz_buf_init(&names->table, CONTENT_MAX);
}

static void names_release(struct bz_form_names *names)
{
    bz_free(names->numbers);
    bz_free(names->theirs);
    bz_free(names->ours);
    bz_buf_release(&names->table);
}

void bz_form_init(struct bz_form *form)
{
    *form = (struct bz_form){0};
    names_init(&form->written);
    names_init(&form->read);
    bz_buf_init(&form->content, CONTENT_MAX + MAGIC_SIZE);
    bz_buf_init(&form->packed, CONTENT_MAX + MAGIC_SIZE);
    bz_buf_init(&form->renamed, CONTENT_MAX);
}

void bz_form_release(struct bz_form *form)
{
    ZSTD_freeCCtx(form->compressor);
    ZSTD_freeDCtx(form->decompressor);
    names_release(&form->written);
    names_release(&form->read);
    bz_buf_release(&form->content);
    bz_buf_release(&form->packed);
    bz_buf_release(&form->renamed);
    *form = (struct bz_form){0};
}

size_t bz_form_padded(size_t size)
{
    if (size < 2)
        return size;
    unsigned exponent = 63u - (unsigned)__builtin_clzll(size);
    unsigned kept = exponent == 0 ? 1 : 32u - (unsigned)__builtin_clz(exponent);
    size_t mask = exponent > kept ? ((size_t)1 << (exponent - kept)) - 1 : 0;
    return (size + mask) & ~mask;
}

/* ---- writing ---- */

static int grow(uint32_t **array, uint32_t *capacity, uint32_t count)
{
    if (count < *capacity)
        return 0;
    uint32_t wanted = *capacity < 32 ? 32 : *capacity * 2;
    uint32_t *larger = bz_realloc(*array, wanted * sizeof *larger);
    if (larger == NULL)
        return BLAZE_ENOMEM;
    *array = larger;
    *capacity = wanted;
    return 0;
}

/* A walk over a body's names, which are those of the body before as far as `same` says. */
struct meeting {
    struct bz_form_names *names;
    uint32_t count;
    bool same;
};

static int meet(void *context, uint32_t number)
{
    struct meeting *m = context;
    struct bz_form_names *names = m->names;
    if (m->same && m->count < names->count && names->numbers[m->count] == number) {
        m->count++;
        return 0;
    }
    m->same = false;
    int rc = grow(&names->numbers, &names->capacity, m->count);
    if (rc == 0)
        names->numbers[m->count++] = number;
    return rc;
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t sort_unique(uint32_t *numbers, uint32_t count)
{
    uint32_t kept = 0;
    qsort(numbers, count, sizeof *numbers, compare_numbers);
    for (uint32_t i = 0; i < count; i++) {
        if (kept == 0 || numbers[kept - 1] != numbers[i])
            numbers[kept++] = numbers[i];
    }
    return kept;
}

static int write_table(struct bz_form_names *names,
    int (*name)(void *context, uint32_t number, struct bz_bytes *out), void *context)
{
    struct bz_buf *table = &names->table;
    bz_buf_clear(table);
    uint32_t *sorted = bz_malloc((names->count + 1) * sizeof *sorted);
    if (sorted == NULL)
        return BLAZE_ENOMEM;
    if (names->count > 0)
        memcpy(sorted, names->numbers, names->count * sizeof *sorted);
    uint32_t count = sort_unique(sorted, names->count);
    int rc = 0;
    bz_buf_append_varint(table, count);
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        struct bz_bytes text;
        rc = name(context, sorted[i], &text);
        if (rc != 0)
            break;
        bz_buf_append_varint(table, i == 0 ? sorted[0] : sorted[i] - sorted[i - 1] - 1);
        bz_buf_append_sized(table, text);
    }
    bz_free(sorted);
    return rc != 0 ? rc : table->error;
}

/* Sees to it that written.table is that of the body. */
static int find_table(struct bz_form *form, struct bz_bytes body,
    int (*name)(void *context, uint32_t number, struct bz_bytes *out), void *context)
{
    struct bz_form_names *names = &form->written;
    struct meeting m = {names, 0, names->known};
    int rc = bz_doc_each_name(body, meet, &m);
    if (rc == 0 && m.same && m.count == names->count)
        return 0;
    names->known = false;
    names->count = m.count;
    if (rc == 0)
        rc = write_table(names, name, context);
    names->known = rc == 0;
    return rc;
}

static size_t compress_into(struct bz_form *form, const struct ZSTD_CDict_s *dictionary, uint8_t *p,
    struct bz_bytes content)
{
    if (dictionary != NULL)
        return ZSTD_compress_usingCDict(
            form->compressor, p, content.size, content.data, content.size, dictionary);
    return ZSTD_compressCCtx(form->compressor, p, content.size, content.data, content.size, LEVEL);
}

/* Appends the content compressed, if that is smaller. */
static bool compress(struct bz_form *form, struct bz_bytes content, struct bz_buf *out)
{
    const struct ZSTD_CDict_s *dictionary =
        form->dictionaries != NULL ? bz_dictionaries_compress(form->dictionaries) : NULL;
    if (content.size < (dictionary != NULL ? DICTIONARY_MIN : COMPRESS_MIN))
        return false;
    if (form->compressor == NULL)
        form->compressor = ZSTD_createCCtx();
    bz_buf_clear(&form->packed);
    uint8_t *p = form->compressor == NULL ? NULL : bz_buf_reserve(&form->packed, content.size);
    if (p == NULL)
        return false;
    size_t size = compress_into(form, dictionary, p, content);
    if (ZSTD_isError(size) || size <= MAGIC_SIZE ||
        bz_form_padded(size - MAGIC_SIZE + 1) >= bz_form_padded(content.size + 1))
        return false;
    bz_buf_append(out, p + MAGIC_SIZE, size - MAGIC_SIZE);
    return true;
}

static void finish(struct bz_buf *out, uint8_t form)
{
    bz_buf_append8(out, form);
    size_t padding = bz_form_padded(out->size) - out->size;
    uint8_t *p = padding > 0 ? bz_buf_reserve(out, padding) : NULL;
    if (p == NULL)
        return;
    memset(p, 0, padding);
    bz_buf_advance(out, padding);
}

int bz_form_write(struct bz_form *form, struct bz_bytes body,
    int (*name)(void *context, uint32_t number, struct bz_bytes *out), void *context,
    struct bz_buf *out)
{
    bz_buf_clear(out);
    bz_buf_clear(&form->content);
    if (body.size == 0) {
        finish(out, FORM);
        return out->error;
    }
    int rc = find_table(form, body, name, context);
    if (rc != 0)
        return rc;
    struct bz_bytes table = bz_buf_bytes(&form->written.table);
    bz_buf_append(&form->content, table.data, table.size);
    bz_buf_append(&form->content, body.data, body.size);
    if (form->content.error != 0)
        return form->content.error;
    bool compressed = compress(form, bz_buf_bytes(&form->content), out);
    if (!compressed)
        bz_buf_append(out, form->content.data, form->content.size);
    finish(out, compressed ? FORM | FORM_COMPRESSED : FORM);
    return out->error;
}

struct bz_bytes bz_form_content(const struct bz_form *form)
{
    return bz_buf_bytes(&form->content);
}

/* ---- reading ---- */

static size_t decompress(
    struct bz_form *form, const struct ZSTD_DDict_s *dictionary, uint8_t *p, size_t size)
{
    const struct bz_buf *packed = &form->packed;
    if (dictionary != NULL)
        return ZSTD_decompress_usingDDict(
            form->decompressor, p, size, packed->data, packed->size, dictionary);
    return ZSTD_decompressDCtx(form->decompressor, p, size, packed->data, packed->size);
}

static int unpack(struct bz_form *form, struct bz_bytes bytes, struct bz_bytes *content)
{
    static const uint8_t magic[MAGIC_SIZE] = {0x28, 0xb5, 0x2f, 0xfd};
    struct bz_buf *packed = &form->packed;
    bz_buf_clear(packed);
    bz_buf_append(packed, magic, sizeof magic);
    bz_buf_append(packed, bytes.data, bytes.size);
    if (packed->error != 0)
        return packed->error;
    unsigned long long size = ZSTD_getFrameContentSize(packed->data, packed->size);
    unsigned id = ZSTD_getDictID_fromFrame(packed->data, packed->size);
    if (size == 0 || size > CONTENT_MAX) /* or not told */
        return BLAZE_EPROTO;
    const struct ZSTD_DDict_s *dictionary = NULL;
    int rc = 0;
    if (id != 0)
        rc = form->dictionaries == NULL
                 ? BLAZE_EPROTO
                 : bz_dictionaries_decompress(form->dictionaries, id, &dictionary);
    if (rc != 0)
        return rc;
    if (form->decompressor == NULL)
        form->decompressor = ZSTD_createDCtx();
    bz_buf_clear(&form->content);
    uint8_t *p = form->decompressor == NULL ? NULL : bz_buf_reserve(&form->content, (size_t)size);
    if (p == NULL)
        return BLAZE_ENOMEM;
    size_t got = decompress(form, dictionary, p, (size_t)size);
    if (ZSTD_isError(got) || got != size)
        return BLAZE_EPROTO;
    *content = bz_bytes(p, (size_t)size);
    return 0;
}

static int add_name(struct bz_form_names *names, uint32_t theirs, uint32_t ours)
{
    if (names->count == names->capacity) {
        uint32_t wanted = names->capacity < 32 ? 32 : names->capacity * 2;
        uint32_t *a = bz_realloc(names->theirs, wanted * sizeof *a);
        if (a != NULL)
            names->theirs = a;
        uint32_t *b = a == NULL ? NULL : bz_realloc(names->ours, wanted * sizeof *b);
        if (b == NULL)
            return BLAZE_ENOMEM;
        names->ours = b;
        names->capacity = wanted;
    }
    names->theirs[names->count] = theirs;
    names->ours[names->count++] = ours;
    names->renamed |= theirs != ours;
    return 0;
}

/* Reads the table at the start of the content, whose size becomes *size. */
static int read_table(struct bz_form_names *names, struct bz_bytes content,
    int (*number)(void *context, struct bz_bytes name, uint32_t *out), void *context, size_t *size)
{
    struct bz_reader r = bz_reader(content);
    uint64_t next = 0, left = bz_read_varint(&r);
    names->count = 0;
    names->renamed = names->known = false;
    for (; r.ok && left > 0; left--) {
        uint64_t theirs = next + bz_read_varint(&r);
        struct bz_bytes name = bz_read_sized(&r);
        uint32_t ours = 0;
        if (!r.ok || theirs < next || theirs >= BZ_TERMS_DEFINED_MAX || !bz_name_valid(name))
            return BLAZE_EPROTO;
        int rc = number(context, name, &ours);
        if (rc == 0)
            rc = add_name(names, (uint32_t)theirs, ours);
        if (rc != 0)
            return rc;
        next = theirs + 1;
    }
    if (!r.ok)
        return BLAZE_EPROTO;
    *size = content.size - bz_reader_left(&r);
    bz_buf_clear(&names->table);
    bz_buf_append(&names->table, content.data, *size);
    names->known = names->table.error == 0;
    return 0;
}

static bool starts_with(struct bz_bytes bytes, struct bz_bytes start)
{
    return bytes.size >= start.size && memcmp(bytes.data, start.data, start.size) == 0;
}

/* Where a number of theirs is in the table, or would be. */
static uint32_t place_of(const struct bz_form_names *names, uint32_t theirs)
{
    uint32_t low = 0, high = names->count;
    if (names->next < high && names->theirs[names->next] == theirs)
        return names->next;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (names->theirs[mid] < theirs)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static int64_t our_number(void *context, uint32_t theirs)
{
    struct bz_form_names *names = context;
    uint32_t at = place_of(names, theirs);
    if (at == names->count || names->theirs[at] != theirs)
        return BLAZE_EPROTO;
    names->next = at + 1;
    return names->ours[at];
}

static int check_number(void *context, uint32_t theirs)
{
    int64_t ours = our_number(context, theirs);
    return ours < 0 ? (int)ours : 0;
}

static int read_document(struct bz_form *form, struct bz_bytes document, struct bz_bytes *body)
{
    struct bz_form_names *names = &form->read;
    int rc = bz_doc_check(document, BZ_TERMS_DEFINED_MAX);
    names->next = 0;
    if (rc == 0 && names->renamed) {
        bz_buf_clear(&form->renamed);
        rc = bz_doc_rename(&form->renamed, document, our_number, names);
        document = bz_buf_bytes(&form->renamed);
    } else if (rc == 0) {
        rc = bz_doc_each_name(document, check_number, names);
    }
    if (rc == 0)
        *body = document;
    return rc == 0 || rc == BLAZE_ENOMEM ? rc : BLAZE_EPROTO;
}

int bz_form_read(struct bz_form *form, struct bz_bytes bytes,
    int (*number)(void *context, struct bz_bytes name, uint32_t *out), void *context,
    struct bz_bytes *body)
{
    size_t size = bytes.size;
    while (size > 0 && bytes.data[size - 1] == 0)
        size--;
    uint8_t kind = size > 0 ? bytes.data[--size] : 0;
    if ((kind & ~FORM_COMPRESSED) != FORM || bz_form_padded(size + 1) != bytes.size)
        return BLAZE_EPROTO;
    struct bz_bytes content = bz_bytes(bytes.data, size);
    if (size == 0) {
        *body = bz_bytes(NULL, 0);
        return kind == FORM ? 0 : BLAZE_EPROTO;
    }
    int rc = kind & FORM_COMPRESSED ? unpack(form, content, &content) : 0;
    struct bz_form_names *names = &form->read;
    size_t table = names->table.size;
    if (rc == 0 && !(names->known && starts_with(content, bz_buf_bytes(&names->table))))
        rc = read_table(names, content, number, context, &table);
    if (rc != 0)
        return rc;
    return read_document(form, bz_bytes(content.data + table, content.size - table), body);
}

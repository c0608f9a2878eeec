/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A manifest is small (about 20 bytes a table), so it is written anew each time: first under the
 * name `manifest.new`, whole and synced, then renamed. A reader sees the old one or the new one.
 */

#include "store/manifest.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "crypto/aead.h"

#include <string.h>

#define VERSION      1u
#define SEALED       1u
#define HEAD_SIZE    32u /* magic, version, flags, salt */
#define SALT_AT      16u
#define SALT_SIZE    16u
#define SUM_SIZE     8u
#define FILES_MAX    (1u << 24)
#define MANIFEST_MAX (1u << 30)

static const char magic[8] = {'B', 'l', 'a', 'z', 'e', 'M', 'a', 'n'};
static const char purpose[] = "blazedb v1 manifest";
static const uint8_t nonce[BZ_AEAD_NONCE]; /* the key is used once: it has the salt in it */

void bz_manifest_init(struct bz_manifest *manifest)
{
    *manifest = (struct bz_manifest){0};
    bz_buf_init(&manifest->maps, 1u << 16);
}

void bz_manifest_release(struct bz_manifest *manifest)
{
    bz_buf_release(&manifest->maps);
    bz_free(manifest->files);
    *manifest = (struct bz_manifest){0};
}

int bz_manifest_add(struct bz_manifest *manifest, const struct bz_manifest_file *file)
{
    if (manifest->count == manifest->capacity) {
        uint32_t capacity = manifest->capacity == 0 ? 16 : manifest->capacity * 2;
        void *files = bz_realloc(manifest->files, capacity * sizeof *file);
        if (files == NULL)
            return BLAZE_ENOMEM;
        manifest->files = files;
        manifest->capacity = capacity;
    }
    manifest->files[manifest->count++] = *file;
    return 0;
}

/* ---- bytes ---- */

static void append_body(struct bz_buf *out, const struct bz_manifest *manifest)
{
    bz_buf_append64le(out, manifest->sequence);
    bz_buf_append64le(out, manifest->log.lsn);
    bz_buf_append64le(out, manifest->log.segment);
    bz_buf_append64le(out, manifest->log.offset);
    bz_buf_append64le(out, manifest->log.chain);
    bz_buf_append_sized(out, bz_buf_bytes(&manifest->maps));
    bz_buf_append_varint(out, manifest->count);
    for (uint32_t i = 0; i < manifest->count; i++) {
        const struct bz_manifest_file *file = &manifest->files[i];
        bz_buf_append8(out, (uint8_t)file->level);
        bz_buf_append64le(out, file->id);
        bz_buf_append_varint(out, file->size);
    }
}

static int aead_for(const uint8_t *key, const uint8_t *salt, struct bz_aead **out)
{
    return bz_aead_new_for(out, key, bz_bytes(salt, SALT_SIZE), purpose);
}

/* Seals what follows the head, in place. */
static int seal(struct bz_buf *out, const uint8_t *key)
{
    struct bz_aead *aead;
    if (bz_buf_reserve(out, BZ_AEAD_TAG) == NULL)
        return out->error;
    int rc = aead_for(key, out->data + SALT_AT, &aead);
    if (rc != 0)
        return rc;
    struct bz_bytes body = bz_bytes(out->data + HEAD_SIZE, out->size - HEAD_SIZE);
    rc = bz_aead_seal(aead, nonce, bz_bytes(out->data, HEAD_SIZE), body, out->data + HEAD_SIZE);
    bz_aead_free(aead);
    if (rc == 0)
        bz_buf_advance(out, BZ_AEAD_TAG);
    return rc;
}

int bz_manifest_encode(const struct bz_manifest *manifest, const uint8_t *key, struct bz_buf *out)
{
    uint8_t salt[SALT_SIZE];
    int rc = bz_os_entropy(salt, sizeof salt);
    if (rc != 0)
        return rc;
    bz_buf_append(out, magic, sizeof magic);
    bz_buf_append32le(out, VERSION);
    bz_buf_append32le(out, key != NULL ? SEALED : 0);
    bz_buf_append(out, salt, sizeof salt);
    append_body(out, manifest);
    if (out->error != 0)
        return out->error;
    if (key != NULL)
        return seal(out, key);
    bz_buf_append64le(out, bz_hash64(out->data, out->size, 0));
    return out->error;
}

static int damaged(const char *path, const char *how, blaze_error *error)
{
    return bz_error_set(error, BLAZE_ECORRUPT, "%s: %s", path, how);
}

static int read_body(
    struct bz_manifest *manifest, struct bz_bytes body, const char *path, blaze_error *error)
{
    struct bz_reader reader = bz_reader(body);
    manifest->sequence = bz_read64le(&reader);
    manifest->log.lsn = bz_read64le(&reader);
    manifest->log.segment = bz_read64le(&reader);
    manifest->log.offset = bz_read64le(&reader);
    manifest->log.chain = bz_read64le(&reader);
    struct bz_bytes maps = bz_read_sized(&reader);
    uint64_t count = bz_read_varint(&reader);
    if (!reader.ok || maps.size > UINT16_MAX || count > FILES_MAX)
        return damaged(path, "malformed", error);
    bz_buf_append(&manifest->maps, maps.data, maps.size);
    int rc = manifest->maps.error;
    for (uint64_t i = 0; i < count && rc == 0; i++) {
        struct bz_manifest_file file = {.level = bz_read8(&reader)};
        file.id = bz_read64le(&reader);
        file.size = bz_read_varint(&reader);
        bool in_order =
            manifest->count == 0 || manifest->files[manifest->count - 1].level <= file.level;
        if (!reader.ok || file.level >= BZ_LEVELS || !in_order)
            return damaged(path, "malformed", error);
        rc = bz_manifest_add(manifest, &file);
    }
    if (rc != 0)
        return bz_error_code(error, rc);
    return bz_reader_left(&reader) == 0 ? 0 : damaged(path, "malformed", error);
}

static int open_sealed(struct bz_manifest *manifest, struct bz_bytes bytes, const char *path,
    const uint8_t *key, blaze_error *error)
{
    struct bz_aead *aead;
    size_t size = bytes.size - HEAD_SIZE;
    uint8_t *body = size < BZ_AEAD_TAG ? NULL : bz_malloc(size);
    if (body == NULL)
        return size < BZ_AEAD_TAG ? damaged(path, "cut short", error)
                                  : bz_error_code(error, BLAZE_ENOMEM);
    int rc = aead_for(key, bytes.data + SALT_AT, &aead);
    if (rc == 0) {
        rc = bz_aead_open(aead, nonce, bz_bytes(bytes.data, HEAD_SIZE),
            bz_bytes(bytes.data + HEAD_SIZE, size), body);
        bz_aead_free(aead);
    }
    if (rc == 0)
        rc = read_body(manifest, bz_bytes(body, size - BZ_AEAD_TAG), path, error);
    else if (rc == BLAZE_ECORRUPT)
        damaged(path, "does not authenticate: damaged or tampered with", error);
    else
        bz_error_code(error, rc);
    bz_free(body);
    return rc;
}

int bz_manifest_decode(struct bz_manifest *manifest, struct bz_bytes bytes, const char *path,
    const uint8_t *key, blaze_error *error)
{
    if (bytes.size < HEAD_SIZE + SUM_SIZE || memcmp(bytes.data, magic, sizeof magic) != 0)
        return damaged(path, "not a manifest, or a damaged one", error);
    uint32_t version = bz_load32le(bytes.data + 8), flags = bz_load32le(bytes.data + 12);
    if (version > VERSION || flags > SEALED)
        return bz_error_set(error, BLAZE_EVERSION,
            "%s: format version %u, of a newer program; this one knows %u", path, version, VERSION);
    if ((flags == SEALED) != (key != NULL))
        return damaged(path,
            key != NULL ? "is not sealed, but the database is"
                        : "is sealed, but its file `key` is missing",
            error);
    if (key != NULL)
        return open_sealed(manifest, bytes, path, key, error);
    size_t size = bytes.size - SUM_SIZE;
    if (version != VERSION || bz_load64le(bytes.data + size) != bz_hash64(bytes.data, size, 0))
        return damaged(path, "damaged: its checksum is wrong", error);
    return read_body(manifest, bz_bytes(bytes.data + HEAD_SIZE, size - HEAD_SIZE), path, error);
}

/* ---- the file ---- */

int bz_manifest_read(
    struct bz_manifest *manifest, const char *path, const uint8_t *key, blaze_error *error)
{
    struct bz_file file;
    struct bz_buf bytes;
    uint64_t size;
    size_t got = 0;
    int rc = bz_file_open(&file, path, BZ_OPEN_READ, error);
    if (rc != 0)
        return rc;
    bz_buf_init(&bytes, MANIFEST_MAX);
    rc = bz_file_size(&file, &size, error);
    if (rc == 0 && size > MANIFEST_MAX)
        rc = damaged(path, "not a manifest, or a damaged one", error);
    if (rc == 0 && bz_buf_reserve(&bytes, (size_t)size + 1) == NULL)
        rc = bz_error_code(error, bytes.error);
    if (rc == 0)
        rc = bz_file_read(&file, 0, bytes.data, (size_t)size, &got, error);
    if (rc == 0)
        rc = bz_manifest_decode(manifest, bz_bytes(bytes.data, got), path, key, error);
    bz_buf_release(&bytes);
    bz_file_close(&file);
    return rc;
}

/* PATH.new; NULL: out of memory. */
static char *name_of_new(const char *path)
{
    struct bz_buf name;
    bz_buf_init(&name, 1u << 16);
    bz_buf_printf(&name, "%s.new%c", path, 0);
    if (name.error == 0)
        return (char *)name.data;
    bz_buf_release(&name);
    return NULL;
}

static int write_new(const char *path, struct bz_bytes bytes, blaze_error *error)
{
    struct bz_file file;
    int rc = bz_file_open(&file, path, BZ_OPEN_WRITE | BZ_OPEN_CREATE, error);
    if (rc != 0)
        return rc;
    rc = bz_file_truncate(&file, 0, error);
    if (rc == 0)
        rc = bz_file_write(&file, 0, bytes.data, bytes.size, error);
    bz_file_close(&file);
    if (rc != 0)
        bz_path_remove(path, NULL);
    return rc;
}

int bz_manifest_prepare(
    const struct bz_manifest *manifest, const char *path, const uint8_t *key, blaze_error *error)
{
    struct bz_buf bytes;
    char *new_path = name_of_new(path);
    bz_buf_init(&bytes, MANIFEST_MAX);
    int rc = new_path == NULL ? BLAZE_ENOMEM : bz_manifest_encode(manifest, key, &bytes);
    rc = rc != 0 ? bz_error_code(error, rc) : write_new(new_path, bz_buf_bytes(&bytes), error);
    bz_buf_release(&bytes);
    bz_free(new_path);
    return rc;
}

static int sync_new(const char *path, blaze_error *error)
{
    struct bz_file file;
    int rc = bz_file_open(&file, path, BZ_OPEN_WRITE, error);
    if (rc != 0)
        return rc;
    rc = bz_file_sync(&file, error);
    bz_file_close(&file);
    return rc;
}

int bz_manifest_replace(const char *path, blaze_error *error)
{
    char *new_path = name_of_new(path);
    if (new_path == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = sync_new(new_path, error);
    if (rc == 0)
        rc = bz_path_rename(new_path, path, error);
    if (rc != 0)
        bz_path_remove(new_path, NULL);
    bz_free(new_path);
    return rc;
}

int bz_manifest_write(const struct bz_manifest *manifest, const char *path, const char *dir,
    const uint8_t *key, blaze_error *error)
{
    int rc = bz_manifest_prepare(manifest, path, key, error);
    if (rc == 0)
        rc = bz_manifest_replace(path, error);
    if (rc == 0 && bz_dir_sync(dir, error) != 0)
        rc = bz_error_set(error, BLAZE_EFAILED, "%s: the sync of its directory failed", path);
    return rc;
}

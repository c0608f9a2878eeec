/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_TESTING_H
#define BZ_STORE_TESTING_H

/* What the tests of this folder share: a directory of their own and images of it, seeded
 * randomness, and a history that can be checked. */

#include "os/os.h"
#include "store/store.h"

#include "random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bz_test_dir {
    char path[64];
};

static inline void bz_test_dir_make(struct bz_test_dir *dir)
{
    /* In memory where there is such a place: what is tested is not the disk. */
    strcpy(dir->path, "/dev/shm/blazedb-store-XXXXXX");
    if (mkdtemp(dir->path) != NULL)
        return;
    strcpy(dir->path, "store-test-XXXXXX");
    if (mkdtemp(dir->path) == NULL)
        abort();
}

static inline int bz_test_remove_entry(void *context, const char *name);

static inline void bz_test_remove_all(const char *path)
{
    if (bz_path_remove(path, NULL) != 0) {
        bz_dir_list(path, bz_test_remove_entry, (void *)(uintptr_t)path, NULL);
        bz_path_remove(path, NULL);
    }
}

static inline int bz_test_remove_entry(void *context, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", (const char *)context, name);
    bz_test_remove_all(path);
    return 0;
}

static inline void bz_test_dir_remove(struct bz_test_dir *dir)
{
    if (dir->path[0] != '\0')
        bz_test_remove_all(dir->path);
    dir->path[0] = '\0';
}

/* All files of a directory and of those in it: what a crash might leave, taken while it is in use.
 */
struct bz_test_file {
    char name[128];
    uint8_t *data;
    size_t size;
};

struct bz_test_image {
    struct bz_test_file files[64];
    size_t count;
};

struct bz_test_walk {
    struct bz_test_image *image;
    const char *dir;
    const char *below; /* "", "log/" or "tables/" */
};

static inline int bz_test_image_add(void *context, const char *name)
{
    struct bz_test_walk *walk = (struct bz_test_walk *)context;
    struct bz_test_image *image = walk->image;
    char path[512];
    snprintf(path, sizeof path, "%s/%s%s", walk->dir, walk->below, name);
    if (strcmp(name, "log") == 0 || strcmp(name, "tables") == 0) {
        struct bz_test_walk inner = {
            image, walk->dir, strcmp(name, "log") == 0 ? "log/" : "tables/"};
        return bz_dir_list(path, bz_test_image_add, &inner, NULL);
    }
    struct bz_test_file *file = &image->files[image->count++];
    snprintf(file->name, sizeof file->name, "%s%s", walk->below, name);
    struct bz_file from;
    uint64_t size;
    if (image->count == 64 || bz_file_open(&from, path, BZ_OPEN_READ, NULL) != 0 ||
        bz_file_size(&from, &size, NULL) != 0)
        abort();
    file->data = (uint8_t *)malloc((size_t)size + 1);
    if (file->data == NULL ||
        bz_file_read(&from, 0, file->data, (size_t)size, &file->size, NULL) != 0)
        abort();
    bz_file_close(&from);
    return 0;
}

static inline void bz_test_image_take(struct bz_test_image *image, const char *dir)
{
    struct bz_test_walk walk = {image, dir, ""};
    image->count = 0;
    if (bz_dir_list(dir, bz_test_image_add, &walk, NULL) != 0)
        abort();
}

/* Makes `dir` hold exactly the image. */
static inline void bz_test_image_put(const struct bz_test_image *image, const char *dir)
{
    char path[512];
    bz_test_remove_all(dir);
    snprintf(path, sizeof path, "%s/log", dir);
    if (bz_dir_create(dir, NULL) != 0 || bz_dir_create(path, NULL) != 0)
        abort();
    snprintf(path, sizeof path, "%s/tables", dir);
    if (bz_dir_create(path, NULL) != 0)
        abort();
    for (size_t i = 0; i < image->count; i++) {
        const struct bz_test_file *file = &image->files[i];
        struct bz_file to;
        snprintf(path, sizeof path, "%s/%s", dir, file->name);
        if (bz_file_open(&to, path, BZ_OPEN_WRITE | BZ_OPEN_CREATE, NULL) != 0 ||
            bz_file_write(&to, 0, file->data, file->size, NULL) != 0)
            abort();
        bz_file_close(&to);
    }
}

static inline void bz_test_image_free(struct bz_test_image *image)
{
    for (size_t i = 0; i < image->count; i++)
        free(image->files[i].data);
    image->count = 0;
}

/*
 * A history whose state after n commits is known: commit i sets "count" to i and "key i" to a value
 * of i bytes and more, and deletes "key i-3".
 */
static const char *const bz_test_maps[] = {"one", "two"};

static inline struct bz_bytes bz_test_key(uint64_t i, char storage[32])
{
    return bz_bytes(storage, (size_t)snprintf(storage, 32, "key %llu", (unsigned long long)i));
}

static inline struct bz_bytes bz_test_value(uint64_t i, uint8_t storage[300])
{
    memset(storage, (int)(i & 0xff), 300);
    return bz_bytes(storage, (size_t)(i % 300));
}

static inline int bz_test_commit(
    struct bz_store *store, uint64_t i, enum bz_durability durability, blaze_error *error)
{
    struct bz_txn *txn;
    char key[32];
    uint8_t value[300], count[8];
    int rc = bz_txn_begin(store, &txn, error);
    if (rc != 0)
        return rc;
    bz_store64le(count, i);
    rc = bz_txn_put(txn, 0, bz_bytes_text("count"), bz_bytes(count, 8), error);
    if (rc == 0)
        rc = bz_txn_put(txn, 1, bz_test_key(i, key), bz_test_value(i, value), error);
    if (rc == 0 && i > 3)
        rc = bz_txn_delete(txn, 1, bz_test_key(i - 3, key), error);
    if (rc == 0)
        return bz_txn_commit(txn, durability, error);
    bz_txn_abort(txn);
    return rc;
}

/* The n whose state `view` shows, or -1 if it shows none. */
static inline int64_t bz_test_history(struct bz_view *view)
{
    struct bz_bytes value;
    struct bz_cursor *cursor;
    uint64_t n = 0, found = 0;
    int rc = bz_view_get(view, 0, bz_bytes_text("count"), &value, NULL);
    if (rc == 0 && value.size == 8)
        n = bz_load64le(value.data);
    else if (rc != BLAZE_ENOTFOUND)
        return -1;
    if (bz_cursor_open(view, 1, &cursor, NULL) != 0)
        return -1;
    while ((rc = bz_cursor_next(cursor, NULL)) == 0)
        found++;
    bz_cursor_close(cursor);
    if (rc != BLAZE_END || found != (n < 3 ? n : 3))
        return -1;
    for (uint64_t i = n < 3 ? 1 : n - 2; i <= n; i++) {
        char key[32];
        uint8_t want[300];
        if (bz_view_get(view, 1, bz_test_key(i, key), &value, NULL) != 0 ||
            !bz_bytes_equal(value, bz_test_value(i, want)))
            return -1;
    }
    return (int64_t)n;
}

static inline int64_t bz_test_history_now(struct bz_store *store)
{
    struct bz_snapshot *snapshot;
    if (bz_snapshot_open(store, &snapshot, NULL) != 0)
        return -1;
    int64_t n = bz_test_history(bz_snapshot_view(snapshot));
    bz_snapshot_close(snapshot);
    return n;
}

#endif

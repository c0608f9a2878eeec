/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_MANIFEST_H
#define BZ_STORE_MANIFEST_H

/*
 * The manifest: which tables the base consists of, and where the log goes on behind them
 * (docs/format/store.md). It is replaced as a whole, by a rename: that is the commit of a
 * checkpoint or a compaction.
 */

#include "store/log.h"

#define BZ_LEVELS 7u

struct bz_manifest_file {
    uint64_t id;   /* random; its name */
    uint64_t size; /* in bytes */
    uint32_t level;
};

struct bz_manifest {
    uint64_t sequence;              /* grows by one with every replacement */
    struct bz_log_position log;     /* the tables have all commits up to log.lsn, and none after */
    struct bz_buf maps;             /* their names in order, each with its NUL */
    struct bz_manifest_file *files; /* by level; level 0 newest first, the others by key */
    uint32_t count;
    uint32_t capacity;
};

void bz_manifest_init(struct bz_manifest *manifest);
void bz_manifest_release(struct bz_manifest *manifest);

/* Adds a file at the end. BLAZE_ENOMEM. */
int bz_manifest_add(struct bz_manifest *manifest, const struct bz_manifest_file *file);

/* Reads the file `path` into an empty manifest. `key`: of a sealed store, 32 bytes, or NULL.
 * BLAZE_ENOTFOUND, BLAZE_ECORRUPT, BLAZE_EVERSION. */
int bz_manifest_read(
    struct bz_manifest *manifest, const char *path, const uint8_t *key, blaze_error *error);

/* Writes what the file `path` is to be under another name; then makes that durable and the file.
 * The change is durable when the directory is synced. On failure the old file is still there. */
int bz_manifest_prepare(
    const struct bz_manifest *manifest, const char *path, const uint8_t *key, blaze_error *error);
int bz_manifest_replace(const char *path, blaze_error *error);

/* Both, and the sync of the directory `dir`. BLAZE_EFAILED if it may be the old file or the new. */
int bz_manifest_write(const struct bz_manifest *manifest, const char *path, const char *dir,
    const uint8_t *key, blaze_error *error);

/* The bytes of a manifest, and back: for the above, and for tests. `path` names it in errors. */
int bz_manifest_encode(const struct bz_manifest *manifest, const uint8_t *key, struct bz_buf *out);
int bz_manifest_decode(struct bz_manifest *manifest, struct bz_bytes bytes, const char *path,
    const uint8_t *key, blaze_error *error);

#endif

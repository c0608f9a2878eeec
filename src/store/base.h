/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_BASE_H
#define BZ_STORE_BASE_H

/*
 * The base: what checkpoints have moved out of the log, in an LMDB file, one named database a map,
 * and beside them, in the same transactions, where the log goes on.
 *
 * LMDB forbids to open a file twice in a process; whoever opens the base sees to that.
 */

#include "store/log.h"
#include "store/memtable.h"
#include "store/store.h"

#include <lmdb.h>

struct bz_base {
    MDB_env *env;
    char *path;
    MDB_dbi meta;
    uint32_t map_count;
    MDB_dbi maps[BZ_STORE_MAPS_MAX];
    bool present[BZ_STORE_MAPS_MAX]; /* read-only: a map that nobody made yet */
};

/* Makes the file `path` with empty maps and `start`; it has its name when it is whole. */
int bz_base_create(const char *path, const struct bz_store_options *options,
    const struct bz_log_position *start, blaze_error *error);

/* Opens it, and adds maps that it does not have. BLAZE_EVERSION, BLAZE_ECORRUPT. */
int bz_base_open(struct bz_base *base, const char *path, const struct bz_store_options *options,
    blaze_error *error);
void bz_base_close(struct bz_base *base);

/* The code and text for LMDB's. */
int bz_base_error(const struct bz_base *base, int rc, const char *what, blaze_error *error);

/* A read transaction: begins one, or renews the one in *txn. */
int bz_base_read(struct bz_base *base, MDB_txn **txn, blaze_error *error);

/* Where the log goes on behind what `txn` sees. */
int bz_base_position(
    struct bz_base *base, MDB_txn *txn, struct bz_log_position *out, blaze_error *error);

/*
 * Moves the newest versions of `list`, all of whose commits end at `position`, into the base,
 * durably and in one transaction, unless the base is there already. Gives what it then holds, and
 * the id of the transaction that wrote it. One thread at a time.
 */
int bz_base_merge(struct bz_base *base, const struct bz_mem_list *list,
    const struct bz_log_position *position, struct bz_log_position *reached, size_t *txn_id,
    blaze_error *error);

uint64_t bz_base_bytes(const struct bz_base *base);

#endif

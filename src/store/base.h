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

/* Whether who reads the file can say so in LMDB's table beside it, so that writers leave him the
 * pages that he reads. Not while it is open in this process. */
bool bz_base_can_register(const char *path);

/* Opens it, and adds maps that it does not have. `unregistered`, only to read: nothing may be
 * merged into it meanwhile. BLAZE_EVERSION, BLAZE_ECORRUPT. */
int bz_base_open(struct bz_base *base, const char *path, const struct bz_store_options *options,
    bool unregistered, blaze_error *error);
void bz_base_close(struct bz_base *base);

/* The code and text for LMDB's. */
int bz_base_error(const struct bz_base *base, int rc, const char *what, blaze_error *error);

/* A read transaction: begins one, or renews the one in *txn. */
int bz_base_read(struct bz_base *base, MDB_txn **txn, blaze_error *error);

/*
 * How far the base is. It has all commits up to log.lsn, and the log goes on at `log`. While a
 * checkpoint is under way (or was cut off) it also has some of those up to `ahead`, which is then
 * greater: what reads it must have all commits up to `ahead` from the log.
 */
struct bz_base_state {
    struct bz_log_position log;
    uint64_t ahead;
};
int bz_base_state(
    struct bz_base *base, MDB_txn *txn, struct bz_base_state *out, blaze_error *error);

/*
 * Moves the newest versions of `table`, which has all commits after those of the base up to `end`,
 * into the base, durably, unless the base is there already. Gives what it then has, and the id of
 * the last transaction. BLAZE_EBUSY if a checkpoint that was cut off went further than `end`: then
 * the caller needs a later one. One thread of all processes at a time.
 */
int bz_base_merge(struct bz_base *base, const struct bz_memtable *table,
    const struct bz_log_position *end, struct bz_log_position *reached, size_t *txn_id,
    blaze_error *error);

uint64_t bz_base_bytes(const struct bz_base *base);

#endif

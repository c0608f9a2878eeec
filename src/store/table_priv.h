/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_TABLE_PRIV_H
#define BZ_STORE_TABLE_PRIV_H

/* An open table, for table_read.c and table_iter.c. */

#include "os/os.h"
#include "store/table.h"
#include "store/table_guard.h"

#include <stdatomic.h>

struct bz_table {
    atomic_size_t refs;
    struct bz_file file;
    struct bz_table_summary summary;
    struct bz_table_footer footer;
    struct bz_table_filter filter;
    struct bz_table_index index;
    struct bz_table_guard guard;

    /* Not sealed: */
    const uint8_t *mapped;      /* the whole file */
    _Atomic uint64_t *verified; /* a bit for each block */

    /* Sealed: */
    uint8_t *tail; /* filter and index, opened */
    struct bz_block_cache *cache;
    struct bz_block_slot *slots; /* one for each block */
    pthread_mutex_t guard_lock;
};

static inline bool bz_table_sealed(const struct bz_table *table)
{
    return table->guard.aead != NULL;
}

/* The entries of block `i`, read and checked if need be. *pin as for bz_table_get(). */
int bz_table_load(struct bz_table *table, uint32_t i, struct bz_bytes *out, struct bz_block **pin,
    blaze_error *error);

/* BLAZE_ECORRUPT, and what is wrong: block `i` makes no sense. */
int bz_table_malformed(const struct bz_table *table, uint32_t i, blaze_error *error);

#endif

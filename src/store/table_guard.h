/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_TABLE_GUARD_H
#define BZ_STORE_TABLE_GUARD_H

/*
 * What tells a table's bytes from damaged ones. Each piece of the file (a block, the filter, the
 * index) has a guard behind it: a checksum or, in a sealed file, which has the piece encrypted, the
 * tag of AES-256-GCM. The footer stays readable in both.
 *
 * A nonce is the piece's offset in the file, under a key that the file's random salt makes its own;
 * a writer writes each offset once. So none is ever used twice under one key.
 *
 * One thread at a time for a sealed file's; any thread otherwise.
 */

#include "crypto/aead.h"
#include "store/table_format.h"

struct bz_table_guard {
    uint64_t seed;        /* of the checksums */
    struct bz_aead *aead; /* NULL: not sealed */
    uint8_t header[BZ_TABLE_HEADER];
};

/* For the file with this header; `key` is used if it is sealed. BLAZE_ENOMEM. */
int bz_table_guard_init(
    struct bz_table_guard *guard, const struct bz_table_header *header, const uint8_t *key);
void bz_table_guard_release(struct bz_table_guard *guard); /* also of one that is all zero */

#define BZ_TABLE_GUARD_MAX BZ_AEAD_TAG

/* What a guard takes behind a piece. */
static inline uint32_t bz_table_guard_size(bool sealed)
{
    return sealed ? BZ_AEAD_TAG : 8;
}

/* Guards the piece of `size` bytes at `data`, with room for the guard behind it, as what is at
 * `offset` in the file. BLAZE_ENOMEM. */
int bz_table_guard_close(struct bz_table_guard *guard, uint64_t offset, uint8_t *data, size_t size);

/* Whether piece and guard, together `size` bytes, are what was written at `offset`; a sealed piece
 * is opened in place. 0, BLAZE_ECORRUPT, BLAZE_ENOMEM. */
int bz_table_guard_open(struct bz_table_guard *guard, uint64_t offset, uint8_t *data, size_t size);

/* The same for the footer, which is not encrypted, together with the header. */
int bz_table_guard_close_footer(struct bz_table_guard *guard, uint64_t offset,
    uint8_t footer[BZ_TABLE_FOOTER + BZ_TABLE_GUARD_MAX]);
int bz_table_guard_open_footer(struct bz_table_guard *guard, uint64_t offset,
    uint8_t footer[BZ_TABLE_FOOTER + BZ_TABLE_GUARD_MAX]);

#endif

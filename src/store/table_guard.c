/* SPDX-License-Identifier: Apache-2.0 */
#include "store/table_guard.h"

#include "base/hash.h"

#include <string.h>

int bz_table_guard_init(
    struct bz_table_guard *guard, const struct bz_table_header *header, const uint8_t *key)
{
    *guard = (struct bz_table_guard){.seed = bz_load64le(header->salt)};
    bz_table_header_encode(header, guard->header);
    if (!header->sealed)
        return 0;
    return bz_aead_new_for(
        &guard->aead, key, bz_bytes(header->salt, BZ_TABLE_SALT), "blazedb v1 table");
}

void bz_table_guard_release(struct bz_table_guard *guard)
{
    bz_aead_free(guard->aead);
    guard->aead = NULL;
}

static void make_nonce(uint64_t offset, uint8_t out[BZ_AEAD_NONCE])
{
    memset(out, 0, BZ_AEAD_NONCE);
    bz_store64le(out, offset);
}

int bz_table_guard_close(struct bz_table_guard *guard, uint64_t offset, uint8_t *data, size_t size)
{
    uint8_t nonce[BZ_AEAD_NONCE];
    if (guard->aead == NULL) {
        bz_store64le(data + size, bz_hash64(data, size, guard->seed ^ offset));
        return 0;
    }
    make_nonce(offset, nonce);
    return bz_aead_seal(guard->aead, nonce, bz_bytes(NULL, 0), bz_bytes(data, size), data);
}

int bz_table_guard_open(struct bz_table_guard *guard, uint64_t offset, uint8_t *data, size_t size)
{
    uint8_t nonce[BZ_AEAD_NONCE];
    if (size < bz_table_guard_size(guard->aead != NULL))
        return BLAZE_ECORRUPT;
    if (guard->aead == NULL) {
        uint64_t sum = bz_hash64(data, size - 8, guard->seed ^ offset);
        return bz_load64le(data + size - 8) == sum ? 0 : BLAZE_ECORRUPT;
    }
    make_nonce(offset, nonce);
    return bz_aead_open(guard->aead, nonce, bz_bytes(NULL, 0), bz_bytes(data, size), data);
}

/* What the footer's guard says: that header and footer are those of the file. */
static struct bz_bytes both(const struct bz_table_guard *guard, const uint8_t *footer,
    uint8_t out[BZ_TABLE_HEADER + BZ_TABLE_FOOTER])
{
    memcpy(out, guard->header, BZ_TABLE_HEADER);
    memcpy(out + BZ_TABLE_HEADER, footer, BZ_TABLE_FOOTER);
    return bz_bytes(out, BZ_TABLE_HEADER + BZ_TABLE_FOOTER);
}

int bz_table_guard_close_footer(struct bz_table_guard *guard, uint64_t offset,
    uint8_t footer[BZ_TABLE_FOOTER + BZ_TABLE_GUARD_MAX])
{
    uint8_t bytes[BZ_TABLE_HEADER + BZ_TABLE_FOOTER], nonce[BZ_AEAD_NONCE];
    struct bz_bytes more = both(guard, footer, bytes);
    if (guard->aead == NULL) {
        bz_store64le(
            footer + BZ_TABLE_FOOTER, bz_hash64(more.data, more.size, guard->seed ^ offset));
        return 0;
    }
    make_nonce(offset, nonce);
    return bz_aead_seal(guard->aead, nonce, more, bz_bytes(NULL, 0), footer + BZ_TABLE_FOOTER);
}

int bz_table_guard_open_footer(struct bz_table_guard *guard, uint64_t offset,
    uint8_t footer[BZ_TABLE_FOOTER + BZ_TABLE_GUARD_MAX])
{
    uint8_t bytes[BZ_TABLE_HEADER + BZ_TABLE_FOOTER], nonce[BZ_AEAD_NONCE];
    struct bz_bytes more = both(guard, footer, bytes);
    if (guard->aead == NULL) {
        uint64_t sum = bz_hash64(more.data, more.size, guard->seed ^ offset);
        return bz_load64le(footer + BZ_TABLE_FOOTER) == sum ? 0 : BLAZE_ECORRUPT;
    }
    make_nonce(offset, nonce);
    struct bz_bytes tag = bz_bytes(footer + BZ_TABLE_FOOTER, BZ_AEAD_TAG);
    return bz_aead_open(guard->aead, nonce, more, tag, footer + BZ_TABLE_FOOTER);
}

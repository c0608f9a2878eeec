/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_SYNC_PACK_H
#define BZ_SYNC_PACK_H

/*
 * Compression of chunks with zstd, each on its own: a chunk that is skipped, or an exchange that is
 * cut, leaves no state behind. Contexts are made on first use and may be released at any time.
 */

#include "base/buf.h"
#include "base/error.h"

#define BZ_PACK_MIN 256u /* below this it is not tried */

struct bz_packer {
    void *compressor;
    void *decompressor;
};

void bz_packer_release(struct bz_packer *packer);
void bz_packer_rest_compressor(struct bz_packer *packer);
void bz_packer_rest_decompressor(struct bz_packer *packer);

/* Appends `raw` compressed and gives true if that is smaller; else leaves `out` as it was. */
bool bz_pack(struct bz_packer *packer, struct bz_bytes raw, struct bz_buf *out);

/* Appends what `packed` decompresses to, which must be `raw_size` bytes. BLAZE_EPROTO if it is
 * not; BLAZE_ELIMIT if `out` has no room for it, before anything is allocated; BLAZE_ENOMEM. */
int bz_unpack(
    struct bz_packer *packer, struct bz_bytes packed, size_t raw_size, struct bz_buf *out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/pack.h"

#include <zstd.h>

/* Level 1 takes in twice what level 3 does and gives up a tenth of the ratio; the next step up in
 * latency is not worth it for a link that is also written to disk at the other end. */
#define LEVEL 1

void bz_packer_rest_compressor(struct bz_packer *packer)
{
    ZSTD_freeCCtx(packer->compressor);
    packer->compressor = NULL;
}

void bz_packer_rest_decompressor(struct bz_packer *packer)
{
    ZSTD_freeDCtx(packer->decompressor);
    packer->decompressor = NULL;
}

void bz_packer_release(struct bz_packer *packer)
{
    bz_packer_rest_compressor(packer);
    bz_packer_rest_decompressor(packer);
}

bool bz_pack(struct bz_packer *packer, struct bz_bytes raw, struct bz_buf *out)
{
    if (raw.size < BZ_PACK_MIN)
        return false;
    if (packer->compressor == NULL)
        packer->compressor = ZSTD_createCCtx();
    /* Only as much room as makes it worth while: what does not shrink into it is sent raw. */
    size_t room = raw.size - raw.size / 16;
    uint8_t *p = packer->compressor == NULL ? NULL : bz_buf_reserve(out, room);
    if (p == NULL)
        return false;
    size_t size = ZSTD_compressCCtx(packer->compressor, p, room, raw.data, raw.size, LEVEL);
    if (ZSTD_isError(size))
        return false;
    bz_buf_advance(out, size);
    return true;
}

int bz_unpack(struct bz_packer *packer, struct bz_bytes packed, size_t raw_size, struct bz_buf *out)
{
    if (raw_size == 0)
        return BLAZE_EPROTO;
    if (packer->decompressor == NULL)
        packer->decompressor = ZSTD_createDCtx();
    uint8_t *p = packer->decompressor == NULL ? NULL : bz_buf_reserve(out, raw_size);
    if (p == NULL)
        return out->error != 0 ? out->error : BLAZE_ENOMEM;
    size_t size = ZSTD_decompressDCtx(packer->decompressor, p, raw_size, packed.data, packed.size);
    if (ZSTD_isError(size) || size != raw_size)
        return BLAZE_EPROTO;
    bz_buf_advance(out, size);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/pack.h"

#include <lz4.h>
#include <zstd.h>
#include <zstd_errors.h>

/* Level 1 takes in twice what level 3 does and gives up a tenth of the ratio; the next step up in
 * latency is not worth it for a link that is also written to disk at the other end. */
#define LEVEL 1

/* 128 KiB of what came before: less memory than zstd would take, for hardly more bytes. A reader
 * takes windows up to 1 MiB. */
#define WINDOW_LOG     17
#define WINDOW_LOG_MAX 20

/* Where a chunk is large, slices of it tell whether it can be shrunk. */
#define SAMPLED_FROM (32u << 10)
#define SLICE        4096u
#define SLICES       3u

/* After n failures in a row, 2^n - 1 chunks are sent as they are, at most so many. */
#define SKIP_MAX 15u

void bz_packer_rest_compressor(struct bz_packer *packer)
{
    ZSTD_freeCCtx(packer->compressor);
    packer->compressor = NULL;
    packer->writing = false;
}

void bz_packer_rest_decompressor(struct bz_packer *packer)
{
    ZSTD_freeDCtx(packer->decompressor);
    packer->decompressor = NULL;
    packer->reading = false;
}

void bz_packer_release(struct bz_packer *packer)
{
    bz_packer_rest_compressor(packer);
    bz_packer_rest_decompressor(packer);
}

/* ---- what is worth a try ---- */

/* Only as much room as makes it worth while: what does not shrink into it is sent raw. */
static size_t room_for(size_t size)
{
    return size - size / 16;
}

/* Looks at slices from within, since what stands first is often unlike the rest. */
static bool shrinks(struct bz_bytes raw)
{
    char packed[SLICE];
    size_t size = 0;
    if (raw.size < SAMPLED_FROM)
        return true;
    for (size_t i = 1; i <= SLICES; i++) {
        const uint8_t *slice = raw.data + raw.size / (SLICES + 1) * i;
        int n = LZ4_compress_default((const char *)slice, packed, (int)SLICE, (int)room_for(SLICE));
        size += n > 0 ? (size_t)n : SLICE;
    }
    return size <= room_for(SLICE * SLICES);
}

static bool worth_a_try(struct bz_packer *packer, bool streams, struct bz_bytes raw)
{
    if (raw.size < (streams ? BZ_PACK_MIN_ON : BZ_PACK_MIN))
        return false;
    if (packer->skip > 0) {
        packer->skip--;
        return false;
    }
    return true;
}

static void note(struct bz_packer *packer, bool shrunk)
{
    uint32_t skip = (2u << packer->failures) - 1;
    if (shrunk) {
        packer->failures = 0;
    } else {
        packer->skip = skip < SKIP_MAX ? skip : SKIP_MAX;
        packer->failures += skip < SKIP_MAX;
    }
}

/* ---- packing ---- */

static bool open_stream(struct bz_packer *packer)
{
    if (packer->compressor == NULL)
        packer->compressor = ZSTD_createCCtx();
    ZSTD_CCtx *c = packer->compressor;
    return c != NULL && !ZSTD_isError(ZSTD_CCtx_reset(c, ZSTD_reset_session_only)) &&
           !ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, LEVEL)) &&
           !ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, WINDOW_LOG)) &&
           !ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 0));
}

/* The bytes that it took, or 0. */
static size_t pack_zstd(
    struct bz_packer *packer, bool last, struct bz_bytes raw, uint8_t *p, size_t room)
{
    ZSTD_inBuffer in = {raw.data, raw.size, 0};
    ZSTD_outBuffer out = {p, room, 0};
    if (!packer->writing && !open_stream(packer))
        return 0;
    size_t left =
        ZSTD_compressStream2(packer->compressor, &out, &in, last ? ZSTD_e_end : ZSTD_e_flush);
    return left == 0 && in.pos == in.size ? out.pos : 0;
}

static size_t pack_lz4(struct bz_bytes raw, uint8_t *p, size_t room)
{
    int size = LZ4_compress_default((const char *)raw.data, (char *)p, (int)raw.size, (int)room);
    return size > 0 ? (size_t)size : 0;
}

enum bz_packing bz_pack(struct bz_packer *packer, enum bz_packing method, bool last,
    struct bz_bytes raw, struct bz_buf *out)
{
    bool zstd = method == BZ_PACKING_ZSTD;
    bool streams = zstd && (packer->writing || !last);
    if (method == BZ_PACKING_NONE || raw.size > LZ4_MAX_INPUT_SIZE ||
        !worth_a_try(packer, streams, raw))
        return BZ_PACKING_NONE;
    size_t room = room_for(raw.size);
    size_t size = 0;
    uint8_t *p = shrinks(raw) ? bz_buf_reserve(out, room) : NULL;
    if (p != NULL)
        size = zstd ? pack_zstd(packer, last, raw, p, room) : pack_lz4(raw, p, room);
    note(packer, size > 0);
    if (size == 0) {
        if (zstd && p != NULL) /* the stream has taken what the peer will not see in it */
            bz_packer_rest_compressor(packer);
        return BZ_PACKING_NONE;
    }
    bz_buf_advance(out, size);
    if (!zstd)
        return BZ_PACKING_LZ4;
    bool on = packer->writing;
    packer->writing = !last;
    return on ? BZ_PACKING_ZSTD_ON : BZ_PACKING_ZSTD;
}

/* ---- unpacking ---- */

static int read_stream(struct bz_packer *packer, enum bz_packing packing)
{
    if (packing == BZ_PACKING_ZSTD_ON)
        return packer->reading ? 0 : BLAZE_EPROTO;
    if (packer->decompressor == NULL)
        packer->decompressor = ZSTD_createDCtx();
    ZSTD_DCtx *d = packer->decompressor;
    if (d == NULL)
        return BLAZE_ENOMEM;
    ZSTD_DCtx_reset(d, ZSTD_reset_session_only);
    if (ZSTD_isError(ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, WINDOW_LOG_MAX)))
        return BLAZE_ENOMEM;
    packer->reading = true;
    return 0;
}

/* All of `packed` must make all of the `size` bytes at `p`, and a frame may end at their end. */
static int unpack_zstd(struct bz_packer *packer, struct bz_bytes packed, uint8_t *p, size_t size)
{
    ZSTD_inBuffer in = {packed.data, packed.size, 0};
    ZSTD_outBuffer out = {p, size, 0};
    size_t left = 1;
    while (in.pos < in.size) {
        size_t before = in.pos + out.pos;
        left = ZSTD_decompressStream(packer->decompressor, &out, &in);
        if (ZSTD_isError(left) && ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation)
            return BLAZE_ENOMEM;
        if (ZSTD_isError(left) || left == 0 || in.pos + out.pos == before)
            break;
    }
    if (ZSTD_isError(left) || in.pos < in.size || out.pos < out.size)
        return BLAZE_EPROTO;
    packer->reading = left != 0;
    return 0;
}

static int unpack_lz4(struct bz_bytes packed, uint8_t *p, size_t size)
{
    if (packed.size > LZ4_MAX_INPUT_SIZE || size > LZ4_MAX_INPUT_SIZE)
        return BLAZE_EPROTO;
    int n = LZ4_decompress_safe((const char *)packed.data, (char *)p, (int)packed.size, (int)size);
    return n >= 0 && (size_t)n == size ? 0 : BLAZE_EPROTO;
}

int bz_unpack(struct bz_packer *packer, enum bz_packing packing, struct bz_bytes packed,
    size_t raw_size, struct bz_buf *out)
{
    if (raw_size == 0 || packed.size == 0)
        return BLAZE_EPROTO;
    uint8_t *p = bz_buf_reserve(out, raw_size);
    if (p == NULL)
        return out->error != 0 ? out->error : BLAZE_ENOMEM;
    int rc;
    if (packing == BZ_PACKING_LZ4) {
        rc = unpack_lz4(packed, p, raw_size);
    } else {
        rc = read_stream(packer, packing);
        rc = rc != 0 ? rc : unpack_zstd(packer, packed, p, raw_size);
        if (rc != 0)
            bz_packer_rest_decompressor(packer);
    }
    if (rc == 0)
        bz_buf_advance(out, raw_size);
    return rc;
}

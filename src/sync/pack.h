/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_SYNC_PACK_H
#define BZ_SYNC_PACK_H

/*
 * Compression of chunks.
 *
 * zstd is used as a stream: what earlier chunks held is a dictionary for the next, so that small
 * ones shrink too. A stream begins with a chunk packed as BZ_PACKING_ZSTD and goes on with chunks
 * packed as BZ_PACKING_ZSTD_ON; each is flushed, so that it can be read when it has come. Chunks
 * that are not packed so may lie between them. Its end can be written into its last chunk; else
 * either side just gives it up, the reader only when it is told to. LZ4 takes each chunk on its
 * own.
 *
 * A stream costs about 600 KiB on the writing side and 350 KiB on the reading side.
 */

#include "base/buf.h"
#include "base/error.h"

enum bz_packing {
    BZ_PACKING_NONE,
    BZ_PACKING_LZ4,
    BZ_PACKING_ZSTD,    /* begins a stream */
    BZ_PACKING_ZSTD_ON, /* goes on with it */
};

#define BZ_PACK_MIN    256u /* below this it is not tried */
#define BZ_PACK_MIN_ON 64u  /* the same in a stream that is open, or is to go on */

struct bz_packer {
    void *compressor;
    void *decompressor;
    bool writing; /* a stream is open that the next chunk may go on with */
    bool reading;
    uint32_t failures; /* chunks in a row that did not shrink */
    uint32_t skip;     /* of the next ones, so many are not tried */
};

void bz_packer_release(struct bz_packer *packer);

/* Gives up the stream that is written or read, and its memory. */
void bz_packer_rest_compressor(struct bz_packer *packer);
void bz_packer_rest_decompressor(struct bz_packer *packer);

/* Appends `raw`, packed by LZ4 or as part of the stream (`method` BZ_PACKING_LZ4 or
 * BZ_PACKING_ZSTD), and says how; `last` ends the stream. BZ_PACKING_NONE, and `out` as it was, if
 * that is not smaller by a sixteenth, or is not expected to be, or memory is short. */
enum bz_packing bz_pack(struct bz_packer *packer, enum bz_packing method, bool last,
    struct bz_bytes raw, struct bz_buf *out);

/* Appends what `packed` is when unpacked, which must be `raw_size` bytes. BLAZE_EPROTO if it is
 * not, or goes on with a stream that is not open; BLAZE_ELIMIT if `out` has no room for it, before
 * anything is allocated; BLAZE_ENOMEM. */
int bz_unpack(struct bz_packer *packer, enum bz_packing packing, struct bz_bytes packed,
    size_t raw_size, struct bz_buf *out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "store/frame.h"

#include "base/hash.h"

#include <string.h>

#define SEGMENT_VERSION 1u

static const char magic[8] = {'B', 'l', 'a', 'z', 'e', 'W', 'A', 'L'};

void bz_segment_encode(const struct bz_segment_header *header, uint8_t out[BZ_SEGMENT_HEADER])
{
    memset(out, 0, BZ_SEGMENT_HEADER);
    memcpy(out, magic, sizeof magic);
    bz_store32le(out + 8, SEGMENT_VERSION);
    bz_store64le(out + 16, header->number);
    bz_store64le(out + 24, header->size);
    bz_store64le(out + 32, header->first_lsn);
    bz_store64le(out + 40, header->chain);
    bz_store64le(out + 48, header->salt);
    bz_store64le(out + 56, bz_hash64(out, 56, 0));
}

int bz_segment_decode(const uint8_t in[BZ_SEGMENT_HEADER], struct bz_segment_header *out)
{
    if (memcmp(in, magic, sizeof magic) != 0 || bz_load64le(in + 56) != bz_hash64(in, 56, 0))
        return BLAZE_ECORRUPT;
    if (bz_load32le(in + 8) != SEGMENT_VERSION)
        return BLAZE_EVERSION;
    *out = (struct bz_segment_header){
        .number = bz_load64le(in + 16),
        .size = bz_load64le(in + 24),
        .first_lsn = bz_load64le(in + 32),
        .chain = bz_load64le(in + 40),
        .salt = bz_load64le(in + 48),
    };
    return 0;
}

void bz_frame_write(uint8_t *frame, const struct bz_frame *header)
{
    bz_store64le(frame + 8, header->lsn);
    bz_store64le(frame + 16, header->chain);
    bz_store32le(frame + 24, header->size);
    bz_store32le(frame + 28, header->unsynced);
    bz_store32le(frame + 32, header->nonce);
    bz_store32le(frame + 36, header->kind);
}

void bz_frame_seal(uint8_t *frame, struct bz_frame *header, uint64_t salt)
{
    bz_frame_write(frame, header);
    header->checksum = bz_hash64(frame + 8, BZ_FRAME_HEADER - 8 + (size_t)header->size, salt);
    bz_store64le(frame, header->checksum);
}

struct bz_frame bz_frame_read(const uint8_t *in)
{
    return (struct bz_frame){
        .checksum = bz_load64le(in),
        .lsn = bz_load64le(in + 8),
        .chain = bz_load64le(in + 16),
        .size = bz_load32le(in + 24),
        .unsynced = bz_load32le(in + 28),
        .nonce = bz_load32le(in + 32),
        .kind = bz_load32le(in + 36),
    };
}

bool bz_frame_verify(const uint8_t *frame, const struct bz_frame *header, uint64_t salt)
{
    return header->checksum ==
           bz_hash64(frame + 8, BZ_FRAME_HEADER - 8 + (size_t)header->size, salt);
}

void bz_write_append(struct bz_buf *out, const struct bz_write *write)
{
    bz_buf_append_varint(out, (uint64_t)write->map << 1 | (write->deleted ? 1u : 0u));
    bz_buf_append_sized(out, write->key);
    if (!write->deleted)
        bz_buf_append_sized(out, write->value);
}

bool bz_write_read(struct bz_reader *reader, struct bz_write *out)
{
    if (!reader->ok || bz_reader_left(reader) == 0)
        return false;
    uint64_t tag = bz_read_varint(reader);
    struct bz_bytes key = bz_read_sized(reader);
    bool deleted = (tag & 1) != 0;
    struct bz_bytes value = deleted ? bz_bytes(NULL, 0) : bz_read_sized(reader);
    if (tag >> 1 > UINT8_MAX)
        reader->ok = false;
    if (!reader->ok)
        return false;
    *out = (struct bz_write){(uint32_t)(tag >> 1), deleted, key, value};
    return true;
}

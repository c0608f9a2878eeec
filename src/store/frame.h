/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_FRAME_H
#define BZ_STORE_FRAME_H

/*
 * The bytes of the log: segment headers, frames and the writes in them. docs/format/store.md has
 * the tables. No I/O; what is decoded may be garbage.
 */

#include "base/buf.h"
#include "base/error.h"

#define BZ_SEGMENT_HEADER 64u
#define BZ_FRAME_HEADER   40u
#define BZ_FRAME_ALIGN    8u

struct bz_segment_header {
    uint64_t number;
    uint64_t size; /* of the file */
    uint64_t first_lsn;
    uint64_t chain; /* checksum of the last commit before */
    uint64_t salt;  /* seeds the checksums of the frames */
};

enum bz_frame_kind {
    BZ_FRAME_COMMIT = 1,
    BZ_FRAME_END = 2, /* the log goes on in the next segment */
};

struct bz_frame {
    uint64_t checksum; /* of all that follows */
    uint64_t lsn;
    uint64_t chain;    /* checksum of the commit before */
    uint32_t size;     /* of the payload */
    uint32_t unsynced; /* how many of the commits just before were not yet known to be on disk */
    uint32_t nonce;    /* of the writer's handle */
    uint32_t kind;
};

void bz_segment_encode(const struct bz_segment_header *header, uint8_t out[BZ_SEGMENT_HEADER]);

/* 0; BLAZE_ECORRUPT, or BLAZE_EVERSION for a version that is not ours, without error text. */
int bz_segment_decode(const uint8_t in[BZ_SEGMENT_HEADER], struct bz_segment_header *out);

/* Fills in the header, but for the checksum. */
void bz_frame_write(uint8_t *frame, const struct bz_frame *header);

/* Fills in the header in front of the payload: `frame` has room for it, then `header->size` bytes.
 * Sets header->checksum. */
void bz_frame_seal(uint8_t *frame, struct bz_frame *header, uint64_t salt);

/* Reads a header; `in` has BZ_FRAME_HEADER bytes. */
struct bz_frame bz_frame_read(const uint8_t *in);

/* Whether header and payload are what was sealed. */
bool bz_frame_verify(const uint8_t *frame, const struct bz_frame *header, uint64_t salt);

/* What a frame takes in the log. */
static inline uint64_t bz_frame_space(uint64_t payload)
{
    return (BZ_FRAME_HEADER + payload + BZ_FRAME_ALIGN - 1) & ~(uint64_t)(BZ_FRAME_ALIGN - 1);
}

/* One write of a commit. */
struct bz_write {
    uint32_t map;
    bool deleted;
    struct bz_bytes key;
    struct bz_bytes value;
};

void bz_write_append(struct bz_buf *out, const struct bz_write *write);

/* The next write of a payload; false at its end, or (reader->ok false) where it is malformed. */
bool bz_write_read(struct bz_reader *reader, struct bz_write *out);

#endif

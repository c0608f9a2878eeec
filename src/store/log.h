/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_LOG_H
#define BZ_STORE_LOG_H

/*
 * The write-ahead log: a folder of segments, read and appended to at one moving tail.
 *
 * In a sealed store the payload of a frame is sealed under a key of its segment: AES-256-GCM with a
 * nonce in front and a tag behind, the frame's header authenticated with it.
 *
 * The caller serialises all calls on a log, and lets only the holder of the writer's place append.
 * Segments alone are shared: whoever syncs one holds a reference, so that the tail may move on.
 */

#include "os/os.h"
#include "store/frame.h"

#include <stdatomic.h>

/* Between two frames: behind the commit `lsn`, whose checksum is `chain`. */
struct bz_log_position {
    uint64_t segment;
    uint64_t offset;
    uint64_t lsn;
    uint64_t chain;
};

struct bz_segment {
    atomic_size_t refs;
    struct bz_file file;
    struct bz_segment_header header;
    uint64_t allocated; /* up to here the file has blocks on the disk: writing there is cheap */
};

struct bz_log {
    char *dir;
    uint64_t segment_bytes;
    uint32_t spares_max; /* so many emptied segments are kept for reuse */
    uint32_t nonce;      /* tells the frames of this handle from those of others */
    bool read_only;
    struct bz_segment *segment; /* that the tail is in; NULL before move() and after detach() */
    struct bz_log_position tail;
    bool stuck;           /* follow() found an end of segment, but no next segment */
    struct bz_buf window; /* what follow() reads */

    const uint8_t *key;    /* of a sealed store, or NULL; borrowed */
    struct bz_aead *aead;  /* of the segment that the tail is in, once it is needed */
    struct bz_buf opened;  /* a payload that follow() has opened */
    uint64_t nonce_random; /* with the count: a nonce that no other frame has */
    uint32_t nonce_count;
};

/* What sealing adds in front of the payload, and behind it. */
#define BZ_LOG_SEAL_LEAD  12u
#define BZ_LOG_SEAL_TRAIL 16u

/* Makes the folder `dir` with the first segment, durable after bz_log_sync_created() only; its
 * start in *start. What an earlier attempt left there is written over. */
int bz_log_create(
    const char *dir, uint64_t segment_bytes, struct bz_log_position *start, blaze_error *error);
int bz_log_sync_created(const char *dir, blaze_error *error);

/* A log without a tail yet; bz_log_move() comes next. `key` of 32 bytes, or NULL, is borrowed. */
int bz_log_open(struct bz_log *log, const char *dir, uint64_t segment_bytes, bool read_only,
    const uint8_t *key, blaze_error *error);
void bz_log_close(struct bz_log *log);

/* Puts the tail at `position`. On failure it stays where it was; BLAZE_ECORRUPT if the segment is
 * not there. */
int bz_log_move(struct bz_log *log, const struct bz_log_position *position, blaze_error *error);

/* Puts the tail at `position`, where there is no segment: nothing can be read or written. */
void bz_log_detach(struct bz_log *log, const struct bz_log_position *position);

/*
 * Reads on from the tail, giving each whole commit to `apply`, and moves the tail behind it. Stops
 * at the first frame that does not verify, which is no error, or with the code that `apply`
 * returns, before that commit.
 */
int bz_log_follow(struct bz_log *log,
    int (*apply)(void *context, uint64_t lsn, struct bz_bytes payload, blaze_error *error),
    void *context, blaze_error *error);

/*
 * Tells a torn end of the log from damage in its middle: BLAZE_ECORRUPT, naming file and offset, if
 * what lies behind the tail proves that the next commit was on the disk once. While others append,
 * follow() has to be called once more before such a verdict counts.
 */
int bz_log_check_end(struct bz_log *log, blaze_error *error);

/* What can be appended before a new segment must begin. */
uint64_t bz_log_room(const struct bz_log *log);
bool bz_log_fits(const struct bz_log *log, uint64_t payload);

/* Makes room for a frame with `payload` bytes, in a new segment if need be. *synced says that all
 * commits so far have been synced on the way. `unsynced` as in struct bz_frame. */
int bz_log_make_room(
    struct bz_log *log, uint64_t payload, uint32_t unsynced, bool *synced, blaze_error *error);

/* Goes on in a new segment, a small one, whatever room there is; all commits so far have been
 * synced then. */
int bz_log_start_over(struct bz_log *log, uint32_t unsynced, blaze_error *error);

/*
 * Appends a commit, after make_room(). `frame` has BZ_FRAME_HEADER bytes to be filled in, then
 * `payload` bytes: of a sealed log, these have room for what sealing adds. On failure the tail
 * stays, and nothing of the commit can be read; BLAZE_EFAILED if that is uncertain.
 */
int bz_log_append(
    struct bz_log *log, uint8_t *frame, uint32_t payload, uint32_t unsynced, blaze_error *error);

/* Removes the segments before `number`, or keeps them as spares. */
void bz_log_recycle(struct bz_log *log, uint64_t number);

/* Removes all spares. */
void bz_log_drop_spares(struct bz_log *log);

/* Bytes of all files in the folder, as they count on the disk. */
uint64_t bz_log_bytes(const struct bz_log *log);

struct bz_segment *bz_segment_retain(struct bz_segment *segment);
void bz_segment_release(struct bz_segment *segment);

#endif

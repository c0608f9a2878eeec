/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Opening, following and appending. What happens to whole segments is in log_files.c.
 *
 * Why overwriting: a sync of bytes in blocks that the file already has is a third cheaper than one
 * of bytes that make it grow. So a segment has its full length from the start, and real zeroes are
 * written ahead of the tail in steps (recycled segments have their blocks already). It also means
 * that a full disk shows before a frame is written, not in its middle.
 *
 * The first segment is small, and each is twice as large as the one before, up to the full size: so
 * the log of a small database is small. Only those of the full size are used again.
 *
 * Nothing marks the end of the log. It is where the next frame does not verify: it would have to
 * carry the next LSN, the checksum of the commit before, and its own checksum under the segment's
 * salt. Leftovers cannot: those of an earlier life of the file have another salt, and commits that
 * a power cut left behind a torn one name a predecessor that will never be written again, since
 * every handle seals its frames with a nonce of its own.
 */

#include "store/log_priv.h"

#include "base/alloc.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#define ZERO_STEP_MIN (64u << 10)
#define ZERO_STEP_MAX (1u << 20)
#define WINDOW_MIN    (4u << 10)
#define WINDOW_MAX    (4u << 20)

static const uint8_t zeroes[ZERO_STEP_MAX];

/* ---- opening ---- */

int bz_log_move(struct bz_log *log, const struct bz_log_position *position, blaze_error *error)
{
    struct bz_segment *segment;
    int rc = bz_segment_open(log, position->segment, &segment, error);
    if (rc != 0)
        return rc;
    if (log->segment != NULL)
        bz_segment_release(log->segment);
    bz_log_forget_key(log);
    log->segment = segment;
    log->tail = *position;
    return 0;
}

void bz_log_detach(struct bz_log *log, const struct bz_log_position *position)
{
    bz_log_forget_key(log);
    if (log->segment != NULL)
        bz_segment_release(log->segment);
    log->segment = NULL;
    log->tail = *position;
}

int bz_log_open(struct bz_log *log, const char *dir, uint64_t segment_bytes, bool read_only,
    const uint8_t *key, blaze_error *error)
{
    *log = (struct bz_log){.segment_bytes = segment_bytes, .read_only = read_only, .key = key};
    bz_buf_init(&log->window, (size_t)BZ_FRAME_HEADER + UINT32_MAX);
    bz_buf_init(&log->opened, UINT32_MAX);
    int rc = bz_os_entropy(&log->nonce, sizeof log->nonce);
    if (rc != 0)
        return bz_error_set(error, rc, "the system's random generator failed");
    log->dir = bz_path_join(dir, ".");
    if (log->dir == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    log->dir[strlen(dir)] = '\0';
    return 0;
}

void bz_log_close(struct bz_log *log)
{
    if (log->segment != NULL)
        bz_segment_release(log->segment);
    bz_log_forget_key(log);
    bz_buf_release(&log->opened);
    bz_buf_release(&log->window);
    bz_free(log->dir);
    *log = (struct bz_log){0};
}

/* ---- following ---- */

/* Brings `size` bytes at the tail into the window; false where the file ends before. Reads more
 * than it must while there is more, the window growing with what is found. */
static int look(struct bz_log *log, uint64_t *start, uint64_t size, bool *have, blaze_error *error)
{
    struct bz_buf *window = &log->window;
    if (log->tail.offset >= *start && log->tail.offset + size <= *start + window->size) {
        *have = true;
        return 0;
    }
    uint64_t want = window->size * 2 < WINDOW_MIN ? WINDOW_MIN : window->size * 2;
    if (want > WINDOW_MAX)
        want = WINDOW_MAX;
    if (want < size)
        want = size;
    bz_buf_clear(window);
    uint8_t *data = bz_buf_reserve(window, (size_t)want);
    if (data == NULL)
        return bz_error_code(error, window->error);
    size_t got;
    int rc = bz_file_read(&log->segment->file, log->tail.offset, data, (size_t)want, &got, error);
    if (rc != 0)
        return rc;
    bz_buf_advance(window, got);
    *start = log->tail.offset;
    *have = got >= size;
    return 0;
}

/* Whether what the header says may stand at the tail. */
static bool plausible(const struct bz_log *log, const struct bz_frame *frame)
{
    uint64_t room = log->segment->header.size - log->tail.offset;
    return frame->lsn == log->tail.lsn + 1 && frame->chain == log->tail.chain &&
           bz_frame_space(frame->size) <= room &&
           (frame->kind == BZ_FRAME_COMMIT ? frame->size > 0
                                           : frame->kind == BZ_FRAME_END && frame->size == 0);
}

/* The frame at the tail, if there is a whole one. */
static int next_frame(struct bz_log *log, uint64_t *start, struct bz_frame *frame,
    const uint8_t **bytes, bool *have, blaze_error *error)
{
    *have = false;
    if (log->tail.offset + BZ_FRAME_HEADER > log->segment->header.size)
        return 0;
    int rc = look(log, start, BZ_FRAME_HEADER, have, error);
    if (rc != 0 || !*have)
        return rc;
    *frame = bz_frame_read(log->window.data + (log->tail.offset - *start));
    *have = plausible(log, frame);
    if (!*have)
        return 0;
    rc = look(log, start, BZ_FRAME_HEADER + (uint64_t)frame->size, have, error);
    if (rc != 0 || !*have)
        return rc;
    *bytes = log->window.data + (log->tail.offset - *start);
    *have = bz_frame_verify(*bytes, frame, log->segment->header.salt);
    return 0;
}

bool bz_log_peek(struct bz_log *log)
{
    struct bz_frame frame;
    const uint8_t *bytes;
    uint64_t start = 0;
    bool have;
    bz_buf_clear(&log->window);
    return next_frame(log, &start, &frame, &bytes, &have, NULL) == 0 && have;
}

/* Who wrote the end may have been killed before he synced it. As long as no commit follows, nobody
 * else may have done so; but who writes the next one must be able to rely on it. */
static int sync_ended(struct bz_segment *ended, blaze_error *error)
{
    if (bz_file_sync(&ended->file, error) == 0)
        return 0;
    return bz_error_set(error, BLAZE_EFAILED, "%s: its sync failed", ended->file.path);
}

/* Goes on to the next segment. If it is not there any more, stays: whoever asks finds that the base
 * has moved on. */
static int enter_next_segment(struct bz_log *log, bool *moved, blaze_error *error)
{
    struct bz_segment *next;
    blaze_error detail;
    int rc = bz_segment_open(log, log->tail.segment + 1, &next, &detail);
    *moved = false;
    if (rc == BLAZE_ECORRUPT)
        return 0;
    if (rc != 0)
        return bz_error_set(error, rc, "%s", detail.text);
    if (next->header.first_lsn != log->tail.lsn + 1 || next->header.chain != log->tail.chain) {
        bz_segment_release(next);
        return 0;
    }
    struct bz_segment *ended = log->segment;
    bz_log_forget_key(log);
    log->segment = next;
    log->tail.segment++;
    log->tail.offset = BZ_SEGMENT_HEADER;
    *moved = true;
    rc = log->read_only || bz_log_peek(log) ? 0 : sync_ended(ended, error);
    bz_segment_release(ended);
    return rc;
}

int bz_log_follow(struct bz_log *log,
    int (*apply)(void *context, uint64_t lsn, struct bz_bytes payload, blaze_error *error),
    void *context, blaze_error *error)
{
    uint64_t start = 0;
    log->stuck = false;
    bz_buf_clear(&log->window);
    for (;;) {
        struct bz_frame frame;
        const uint8_t *bytes;
        bool have;
        int rc = next_frame(log, &start, &frame, &bytes, &have, error);
        if (rc != 0 || !have)
            return rc;
        if (frame.kind == BZ_FRAME_END) {
            rc = enter_next_segment(log, &have, error);
            log->stuck = rc == 0 && !have;
            if (rc != 0 || !have)
                return rc;
            bz_buf_clear(&log->window);
            continue;
        }
        struct bz_bytes payload = bz_bytes(bytes + BZ_FRAME_HEADER, frame.size);
        if (log->key != NULL)
            rc = bz_log_unseal(log, bytes, frame.size, &payload, error);
        if (rc == 0)
            rc = apply(context, frame.lsn, payload, error);
        if (rc != 0)
            return rc;
        log->tail.lsn = frame.lsn;
        log->tail.chain = frame.checksum;
        log->tail.offset += bz_frame_space(frame.size);
    }
}

/* ---- appending ---- */

/* Gives the segment blocks from the tail up to `end` and somewhat further. Another process may have
 * written since we last looked: what it wrote is before the tail, and must not be zeroed. */
static int allocate(struct bz_log *log, uint64_t end, blaze_error *error)
{
    struct bz_segment *segment = log->segment;
    if (segment->allocated < log->tail.offset) {
        int rc = bz_file_allocated(&segment->file, log->tail.offset, &segment->allocated, error);
        if (rc != 0)
            return rc;
    }
    while (segment->allocated < end) {
        uint64_t at = segment->allocated;
        uint64_t step = at < ZERO_STEP_MIN ? ZERO_STEP_MIN : at;
        if (step > ZERO_STEP_MAX)
            step = ZERO_STEP_MAX;
        if (step > segment->header.size - at)
            step = segment->header.size - at;
        int rc = bz_file_write(&segment->file, at, zeroes, (size_t)step, error);
        if (rc != 0)
            return rc;
        segment->allocated = at + step;
    }
    return 0;
}

/* Ends the segment, syncs it, and goes on in the next, which is durable with its name before the
 * end says that it is there. */
static int rotate(
    struct bz_log *log, uint64_t payload, bool small, uint32_t unsynced, blaze_error *error)
{
    struct bz_segment *next;
    int rc = bz_segment_prepare(log, payload, small, &next, error);
    if (rc != 0)
        return rc;
    uint8_t bytes[BZ_FRAME_HEADER];
    struct bz_frame end = {
        .lsn = log->tail.lsn + 1,
        .chain = log->tail.chain,
        .unsynced = unsynced,
        .nonce = log->nonce,
        .kind = BZ_FRAME_END,
    };
    bz_frame_seal(bytes, &end, log->segment->header.salt);
    rc = bz_file_write(&log->segment->file, log->tail.offset, bytes, sizeof bytes, error);
    if (rc == 0) {
        rc = bz_file_sync(&log->segment->file, error);
        if (rc != 0)
            rc = bz_error_set(error, BLAZE_EFAILED, "%s: its sync failed", log->segment->file.path);
    }
    if (rc != 0) {
        bz_segment_release(next);
        return rc;
    }
    bz_segment_release(log->segment);
    bz_log_forget_key(log);
    log->segment = next;
    log->tail.segment++;
    log->tail.offset = BZ_SEGMENT_HEADER;
    return 0;
}

uint64_t bz_log_room(const struct bz_log *log)
{
    uint64_t used = log->tail.offset + BZ_FRAME_HEADER;
    return log->segment == NULL || used >= log->segment->header.size
               ? 0
               : log->segment->header.size - used;
}

bool bz_log_fits(const struct bz_log *log, uint64_t payload)
{
    return bz_frame_space(payload) <= bz_log_room(log);
}

int bz_log_make_room(
    struct bz_log *log, uint64_t payload, uint32_t unsynced, bool *synced, blaze_error *error)
{
    *synced = false;
    if (!bz_log_fits(log, payload)) {
        int rc = rotate(log, payload, false, unsynced, error);
        if (rc != 0)
            return rc;
        *synced = true;
    }
    return allocate(log, log->tail.offset + bz_frame_space(payload) + BZ_FRAME_HEADER, error);
}

int bz_log_start_over(struct bz_log *log, uint32_t unsynced, blaze_error *error)
{
    int rc = allocate(log, log->tail.offset + BZ_FRAME_HEADER, error);
    return rc != 0 ? rc : rotate(log, 0, true, unsynced, error);
}

int bz_log_append(
    struct bz_log *log, uint8_t *bytes, uint32_t payload, uint32_t unsynced, blaze_error *error)
{
    struct bz_frame frame = {
        .lsn = log->tail.lsn + 1,
        .chain = log->tail.chain,
        .size = payload,
        .unsynced = unsynced,
        .nonce = log->nonce,
        .kind = BZ_FRAME_COMMIT,
    };
    struct bz_file *file = &log->segment->file;
    if (log->key != NULL) {
        bz_frame_write(bytes, &frame);
        int sealed = bz_log_seal(log, bytes, payload);
        if (sealed != 0)
            return bz_error_code(error, sealed);
    }
    bz_frame_seal(bytes, &frame, log->segment->header.salt);
    size_t size = BZ_FRAME_HEADER + (size_t)payload;
    int rc = bz_file_write(file, log->tail.offset, bytes, size, error);
    if (rc != 0) {
        /* Some of it may be there, and its end may equal what was there before. */
        if (bz_file_write(file, log->tail.offset, zeroes, BZ_FRAME_HEADER, NULL) == 0)
            return rc;
        return bz_error_set(
            error, BLAZE_EFAILED, "%s: a write failed and could not be undone", file->path);
    }
    log->tail.lsn = frame.lsn;
    log->tail.chain = frame.checksum;
    log->tail.offset += bz_frame_space(payload);
    return 0;
}

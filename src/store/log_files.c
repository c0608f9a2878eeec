/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The folder of the log: NNNNNNNNNNNNNNNN.wal are segments, by number in hexadecimal; spare-*.wal
 * are emptied ones that wait for reuse, new-*.wal are being made. A segment gets its name when its
 * header is durable.
 */

#include "store/log_priv.h"

#include "base/alloc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_SIZE     40
#define SEGMENT_FIRST (256u << 10)

/* ---- names ---- */

static void segment_name(char out[NAME_SIZE], uint64_t number)
{
    snprintf(out, NAME_SIZE, "%016" PRIx64 ".wal", number);
}

static bool is_segment_name(const char *name, uint64_t *number)
{
    char *end;
    if (strlen(name) != 20 || strspn(name, "0123456789abcdef") != 16)
        return false;
    *number = strtoull(name, &end, 16);
    return strcmp(end, ".wal") == 0;
}

static bool is_spare_name(const char *name)
{
    return strncmp(name, "spare-", 6) == 0;
}

/* Opens DIR/NAME. */
static int open_in(
    const char *dir, const char *name, int how, struct bz_file *out, blaze_error *error)
{
    char *path = bz_path_join(dir, name);
    if (path == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = bz_file_open(out, path, how, error);
    bz_free(path);
    return rc;
}

static int remove_in(const char *dir, const char *name)
{
    char *path = bz_path_join(dir, name);
    int rc = path == NULL ? BLAZE_ENOMEM : bz_path_remove(path, NULL);
    bz_free(path);
    return rc;
}

static int rename_in(const char *dir, const char *from, const char *to, blaze_error *error)
{
    char *a = bz_path_join(dir, from);
    char *b = bz_path_join(dir, to);
    int rc =
        a == NULL || b == NULL ? bz_error_code(error, BLAZE_ENOMEM) : bz_path_rename(a, b, error);
    bz_free(a);
    bz_free(b);
    return rc;
}

/* ---- segments ---- */

struct bz_segment *bz_segment_retain(struct bz_segment *segment)
{
    atomic_fetch_add_explicit(&segment->refs, 1, memory_order_relaxed);
    return segment;
}

void bz_segment_release(struct bz_segment *segment)
{
    if (atomic_fetch_sub_explicit(&segment->refs, 1, memory_order_acq_rel) != 1)
        return;
    bz_file_close(&segment->file);
    bz_free(segment);
}

static struct bz_segment *segment_new(void)
{
    struct bz_segment *segment = bz_zalloc(sizeof *segment);
    if (segment != NULL) {
        atomic_init(&segment->refs, 1);
        segment->file.fd = -1;
    }
    return segment;
}

static int read_header(struct bz_segment *segment, uint64_t number, blaze_error *error)
{
    uint8_t bytes[BZ_SEGMENT_HEADER];
    size_t got;
    int rc = bz_file_read(&segment->file, 0, bytes, sizeof bytes, &got, error);
    if (rc != 0)
        return rc;
    rc = got < sizeof bytes ? BLAZE_ECORRUPT : bz_segment_decode(bytes, &segment->header);
    if (rc == BLAZE_EVERSION)
        return bz_error_set(error, rc, "%s: written by a newer version", segment->file.path);
    if (rc != 0 || segment->header.number != number)
        return bz_error_set(
            error, BLAZE_ECORRUPT, "%s: the header at offset 0 is damaged", segment->file.path);
    return 0;
}

int bz_segment_open(
    struct bz_log *log, uint64_t number, struct bz_segment **out, blaze_error *error)
{
    char name[NAME_SIZE];
    segment_name(name, number);
    struct bz_segment *segment = segment_new();
    if (segment == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int how = log->read_only ? BZ_OPEN_READ : BZ_OPEN_WRITE;
    int rc = open_in(log->dir, name, how, &segment->file, error);
    if (rc == BLAZE_ENOTFOUND)
        rc = bz_error_set(error, BLAZE_ECORRUPT, "%s/%s is missing", log->dir, name);
    if (rc == 0)
        rc = read_header(segment, number, error);
    if (rc == 0 && !log->read_only)
        rc = bz_file_allocated(&segment->file, 0, &segment->allocated, error);
    if (rc != 0) {
        bz_segment_release(segment);
        return rc;
    }
    *out = segment;
    return 0;
}

/* Writes the header into a file that is to become a segment. */
static int begin_segment(struct bz_segment *segment, blaze_error *error)
{
    uint8_t bytes[BZ_SEGMENT_HEADER];
    int rc = bz_os_entropy(&segment->header.salt, sizeof segment->header.salt);
    if (rc != 0)
        return bz_error_set(error, rc, "the system's random generator failed");
    bz_segment_encode(&segment->header, bytes);
    rc = bz_file_truncate(&segment->file, segment->header.size, error);
    if (rc == 0)
        rc = bz_file_write(&segment->file, 0, bytes, sizeof bytes, error);
    if (rc == 0)
        rc = bz_file_allocated(&segment->file, 0, &segment->allocated, error);
    return rc;
}

static int find_spare(void *context, const char *name)
{
    if (!is_spare_name(name) || strlen(name) >= NAME_SIZE)
        return 0;
    strcpy(context, name);
    return 1;
}

/* Makes a segment of the file DIR/FROM, which is made if it is not there; `durable` or not. */
static int make_segment(const char *dir, const char *from, const struct bz_segment_header *header,
    bool durable, struct bz_segment **out, blaze_error *error)
{
    char name[NAME_SIZE];
    segment_name(name, header->number);
    struct bz_segment *segment = segment_new();
    if (segment == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    segment->header = *header;
    int rc = open_in(dir, from, BZ_OPEN_WRITE | BZ_OPEN_CREATE, &segment->file, error);
    if (rc == 0)
        rc = begin_segment(segment, error);
    if (rc == 0 && durable)
        rc = bz_file_sync(&segment->file, error);
    if (rc == 0)
        rc = rename_in(dir, from, name, error);
    if (rc == 0 && durable)
        rc = bz_dir_sync(dir, error);
    if (rc != 0) {
        bz_segment_release(segment);
        remove_in(dir, from); /* a full disk gets its room back */
        return rc;
    }
    char *path = bz_path_join(dir, name); /* errors name the file as it is called now */
    if (path != NULL) {
        bz_free(segment->file.path);
        segment->file.path = path;
    }
    *out = segment;
    return 0;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

int bz_segment_prepare(
    struct bz_log *log, uint64_t payload, bool small, struct bz_segment **out, blaze_error *error)
{
    uint64_t least = BZ_SEGMENT_HEADER + bz_frame_space(payload) + BZ_FRAME_HEADER;
    uint64_t usual = small ? SEGMENT_FIRST : 2 * log->segment->header.size;
    usual = smaller(usual, log->segment_bytes);
    struct bz_segment_header header = {
        .number = log->tail.segment + 1,
        .size = least > usual ? least : usual,
        .first_lsn = log->tail.lsn + 1,
        .chain = log->tail.chain,
    };
    char from[NAME_SIZE];
    if (header.size == log->segment_bytes && bz_dir_list(log->dir, find_spare, from, NULL) > 0) {
        int rc = make_segment(log->dir, from, &header, true, out, error);
        if (rc != BLAZE_ENOTFOUND)
            return rc; /* else: another process has just removed it */
    }
    snprintf(from, sizeof from, "new-%016" PRIx64 ".wal", header.number);
    return make_segment(log->dir, from, &header, true, out, error);
}

int bz_log_create(
    const char *dir, uint64_t segment_bytes, struct bz_log_position *start, blaze_error *error)
{
    int rc = bz_dir_create(dir, error);
    if (rc != 0 && rc != BLAZE_EEXIST)
        return rc;
    struct bz_segment_header header = {
        .number = 1, .size = smaller(SEGMENT_FIRST, segment_bytes), .first_lsn = 1};
    struct bz_segment *segment;
    rc = make_segment(dir, "new-0000000000000001.wal", &header, false, &segment, error);
    if (rc != 0)
        return rc;
    bz_segment_release(segment);
    *start = (struct bz_log_position){.segment = 1, .offset = BZ_SEGMENT_HEADER};
    return 0;
}

int bz_log_sync_created(const char *dir, blaze_error *error)
{
    char name[NAME_SIZE];
    struct bz_file file;
    segment_name(name, 1);
    int rc = open_in(dir, name, BZ_OPEN_WRITE, &file, error);
    if (rc != 0)
        return rc;
    rc = bz_file_sync(&file, error);
    bz_file_close(&file);
    return rc != 0 ? rc : bz_dir_sync(dir, error);
}

/* ---- the folder ---- */

struct sweep {
    struct bz_log *log;
    uint64_t number; /* segments before it go */
    uint32_t spares;
    uint64_t bytes;
};

static int count_spare(void *context, const char *name)
{
    struct sweep *sweep = context;
    sweep->spares += is_spare_name(name);
    return 0;
}

/* Keeps an emptied segment of the full size for reuse. */
static bool make_spare(struct sweep *sweep, const char *name)
{
    struct bz_file file;
    uint64_t size = 0;
    if (sweep->spares >= sweep->log->spares_max ||
        open_in(sweep->log->dir, name, BZ_OPEN_READ, &file, NULL) != 0)
        return false;
    int rc = bz_file_size(&file, &size, NULL);
    bz_file_close(&file);
    char spare[NAME_SIZE];
    snprintf(spare, sizeof spare, "spare-%s", name);
    if (rc != 0 || size != sweep->log->segment_bytes ||
        rename_in(sweep->log->dir, name, spare, NULL) != 0)
        return false;
    sweep->spares++;
    return true;
}

static int recycle_one(void *context, const char *name)
{
    struct sweep *sweep = context;
    uint64_t number;
    if (is_segment_name(name, &number) && number < sweep->number && !make_spare(sweep, name))
        remove_in(sweep->log->dir, name);
    return 0;
}

void bz_log_recycle(struct bz_log *log, uint64_t number)
{
    struct sweep sweep = {.log = log, .number = number};
    bz_dir_list(log->dir, count_spare, &sweep, NULL);
    bz_dir_list(log->dir, recycle_one, &sweep, NULL);
}

static int drop_spare(void *context, const char *name)
{
    struct sweep *sweep = context;
    if (is_spare_name(name))
        remove_in(sweep->log->dir, name);
    return 0;
}

void bz_log_drop_spares(struct bz_log *log)
{
    struct sweep sweep = {.log = log};
    bz_dir_list(log->dir, drop_spare, &sweep, NULL);
}

static int add_bytes(void *context, const char *name)
{
    struct sweep *sweep = context;
    struct bz_file file;
    uint64_t size;
    if (open_in(sweep->log->dir, name, BZ_OPEN_READ, &file, NULL) == 0) {
        if (bz_file_disk_size(&file, &size, NULL) == 0)
            sweep->bytes += size;
        bz_file_close(&file);
    }
    return 0;
}

uint64_t bz_log_bytes(const struct bz_log *log)
{
    struct sweep sweep = {.log = (struct bz_log *)(uintptr_t)log};
    bz_dir_list(log->dir, add_bytes, &sweep, NULL);
    return sweep.bytes;
}

/* ---- the end of the log ---- */

/* Whether segment `number` holds a commit. Then it was begun after all before it was synced. */
static bool has_commit(struct bz_log *log, uint64_t number)
{
    struct bz_segment *segment;
    if (bz_segment_open(log, number, &segment, NULL) != 0)
        return false;
    struct bz_log probe = {
        .dir = log->dir,
        .read_only = log->read_only,
        .segment = segment,
        .tail = {number, BZ_SEGMENT_HEADER, segment->header.first_lsn - 1, segment->header.chain},
    };
    bz_buf_init(&probe.window, log->window.max);
    bool found = bz_log_peek(&probe);
    bz_buf_release(&probe.window);
    bz_segment_release(segment);
    return found;
}

static int later_commit(void *context, const char *name)
{
    struct sweep *sweep = context;
    uint64_t number;
    return is_segment_name(name, &number) && number > sweep->number &&
           has_commit(sweep->log, number);
}

/* Whether the bytes at `at` are a whole frame that was written when the commit `lsn` was known to
 * be on the disk. */
static bool proves(const struct bz_segment *segment, struct bz_bytes rest, uint64_t lsn)
{
    if (rest.size < BZ_FRAME_HEADER)
        return false;
    struct bz_frame frame = bz_frame_read(rest.data);
    return frame.lsn > lsn && frame.lsn - lsn < segment->header.size &&
           frame.lsn - lsn > frame.unsynced && frame.size <= rest.size - BZ_FRAME_HEADER &&
           bz_frame_verify(rest.data, &frame, segment->header.salt);
}

int bz_log_check_end(struct bz_log *log, blaze_error *error)
{
    struct sweep sweep = {.log = log, .number = log->tail.segment};
    uint64_t from = log->tail.offset;
    if (log->stuck)
        return bz_error_set(error, BLAZE_ECORRUPT,
            "%s: the log goes on behind offset %" PRIu64 " in segment %" PRIx64
            ", which is missing or damaged",
            log->segment->file.path, from, log->tail.segment + 1);
    bool damaged = bz_dir_list(log->dir, later_commit, &sweep, NULL) > 0;
    if (!damaged && from < log->segment->header.size) {
        struct bz_buf *window = &log->window;
        size_t got;
        bz_buf_clear(window);
        uint64_t size = log->segment->header.size - from;
        uint8_t *data = bz_buf_reserve(window, (size_t)size);
        if (data == NULL)
            return bz_error_code(error, window->error);
        int rc = bz_file_read(&log->segment->file, from, data, (size_t)size, &got, error);
        if (rc != 0)
            return rc;
        for (size_t at = BZ_FRAME_ALIGN; at < got && !damaged; at += BZ_FRAME_ALIGN)
            damaged = proves(log->segment, bz_bytes(data + at, got - at), log->tail.lsn + 1);
    }
    if (!damaged)
        return 0;
    return bz_error_set(error, BLAZE_ECORRUPT,
        "%s: damaged at offset %" PRIu64 ": commit %" PRIu64 " was there and others follow it",
        log->segment->file.path, from, log->tail.lsn + 1);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store whose log is the input, opened for reading. With a first byte of 0 the rest is a segment
 * as it stands. Otherwise it is a list of frames, which get right checksums, so that what is behind
 * them is reached too:
 *
 *   0  what is wrong with it, if anything: enum flaw
 *   1  size of the payload (2 bytes)
 *   3  payload
 */
#include "require.h"
#include "store/frame.h"
#include "store/testing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SEGMENT "log/0000000000000001.wal"

enum flaw {
    END = 1,    /* ends the segment; there is no other */
    UNVERIFIED, /* its checksum is wrong */
    SKIPS,      /* leaves an LSN out */
    UNSYNCED,   /* does not know that the one before is on the disk */
    UNCHAINED,  /* does not follow the one before */
    UNKNOWN,    /* is of no known kind */
};

static struct bz_test_dir dir;

static void write_file(const char *name, struct bz_bytes bytes)
{
    char path[128];
    struct bz_file file;
    snprintf(path, sizeof path, "%s/%s", dir.path, name);
    REQUIRE(bz_file_open(&file, path, BZ_OPEN_WRITE | BZ_OPEN_CREATE, NULL) == 0);
    REQUIRE(bz_file_truncate(&file, 0, NULL) == 0);
    REQUIRE(bz_file_write(&file, 0, bytes.data, bytes.size, NULL) == 0);
    bz_file_close(&file);
}

static int open_store(struct bz_store **out, bool read_only)
{
    struct bz_store_options options = {
        .maps = bz_test_maps, .map_count = 2, .create = !read_only, .read_only = read_only};
    return bz_store_open(out, dir.path, &options, NULL);
}

static void remove_dir(void)
{
    bz_test_dir_remove(&dir);
}

/* An empty store, whose lock file does not say how far the log goes. */
static void make_store(void)
{
    static const uint8_t nothing[4096];
    struct bz_store *store;
    if (dir.path[0] != '\0')
        return;
    bz_test_dir_make(&dir);
    atexit(remove_dir);
    REQUIRE(open_store(&store, false) == 0);
    REQUIRE(bz_store_close(store, NULL) == 0);
    write_file("lock", bz_bytes(nothing, sizeof nothing));
}

static void append_frame(
    struct bz_buf *out, uint8_t flaw, struct bz_bytes payload, uint64_t *lsn, uint64_t *chain)
{
    struct bz_frame frame = {.lsn = *lsn + 1 + (flaw == SKIPS),
        .chain = *chain + (flaw == UNCHAINED),
        .size = (uint32_t)payload.size,
        .unsynced = flaw == UNSYNCED,
        .kind = flaw == END       ? BZ_FRAME_END
                : flaw == UNKNOWN ? 7
                                  : BZ_FRAME_COMMIT};
    size_t start = out->size;
    REQUIRE(bz_buf_reserve(out, bz_frame_space(payload.size)) != NULL);
    memset(out->data + start, 0, bz_frame_space(payload.size));
    memcpy(out->data + start + BZ_FRAME_HEADER, payload.data, payload.size);
    bz_frame_seal(out->data + start, &frame, 0);
    bz_buf_advance(out, bz_frame_space(payload.size));
    if (flaw == UNVERIFIED)
        out->data[start] ^= 1;
    *lsn = frame.lsn;
    *chain = frame.checksum;
}

static void make_segment(struct bz_buf *out, const uint8_t *data, size_t size)
{
    struct bz_segment_header header = {.number = 1, .size = 1u << 20, .first_lsn = 1};
    uint8_t bytes[BZ_SEGMENT_HEADER];
    uint64_t lsn = 0, chain = 0;
    bz_segment_encode(&header, bytes);
    bz_buf_append(out, bytes, sizeof bytes);
    while (size >= 3) {
        size_t payload = bz_load16le(data + 1);
        if (payload > size - 3)
            payload = size - 3;
        append_frame(out, data[0], bz_bytes(data + 3, payload), &lsn, &chain);
        data += 3 + payload;
        size -= 3 + payload;
    }
    REQUIRE(out->error == 0);
}

/* Both ways over a map give the same keys in order. */
static void walk(struct bz_view *view, uint32_t map)
{
    struct bz_cursor *cursor;
    struct bz_bytes value;
    uint8_t last[BZ_STORE_KEY_MAX];
    size_t last_size = 0;
    int64_t entries = 0;
    REQUIRE(bz_cursor_open(view, map, &cursor, NULL) == 0);
    for (; bz_cursor_next(cursor, NULL) == 0; entries++) {
        struct bz_bytes key = bz_cursor_key(cursor);
        REQUIRE(key.size >= 1 && key.size <= BZ_STORE_KEY_MAX);
        REQUIRE(bz_bytes_compare(bz_bytes(last, last_size), key) < 0);
        REQUIRE(bz_view_get(view, map, key, &value, NULL) == 0);
        REQUIRE(bz_bytes_equal(value, bz_cursor_value(cursor)));
        memcpy(last, key.data, key.size);
        last_size = key.size;
    }
    while (bz_cursor_prev(cursor, NULL) == 0)
        entries--;
    REQUIRE(entries == 0);
    bz_cursor_close(cursor);
}

static void read_store(void)
{
    struct bz_store *store;
    struct bz_snapshot *snapshot;
    int rc = open_store(&store, true);
    REQUIRE(rc == 0 || rc == BLAZE_ECORRUPT || rc == BLAZE_EVERSION);
    if (rc != 0)
        return;
    REQUIRE(bz_snapshot_open(store, &snapshot, NULL) == 0);
    REQUIRE(bz_snapshot_lsn(snapshot) == bz_store_lsn(store));
    walk(bz_snapshot_view(snapshot), 0);
    walk(bz_snapshot_view(snapshot), 1);
    bz_snapshot_close(snapshot);
    REQUIRE(bz_store_close(store, NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bz_buf segment;
    if (size == 0)
        return 0;
    make_store();
    bz_buf_init(&segment, 1u << 26);
    if (data[0] == 0)
        bz_buf_append(&segment, data + 1, size - 1);
    else
        make_segment(&segment, data + 1, size - 1);
    write_file(SEGMENT, bz_buf_bytes(&segment));
    bz_buf_release(&segment);
    read_store();
    return 0;
}

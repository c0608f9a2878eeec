/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Records from a hostile peer or disk. The input is the log position of the first record in one
 * byte (0: the wire), its size in two, the record, and a second one, from the wire. What decodes
 * must encode to the same bytes; whatever is done with the two must stay within bounds and give
 * records that decode.
 */

#include "codec/doc.h"
#include "crdt/rec.h"

#include <blazedb/error.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

static void check_encoding(const struct bz_rec *rec, struct bz_bytes bytes, uint64_t position)
{
    struct bz_buf buf;
    bz_buf_init(&buf, SIZE_MAX);
    bz_rec_encode(&buf, rec, position);
    CHECK(bz_bytes_equal(bz_buf_bytes(&buf), bytes));
    bz_buf_release(&buf);
}

/* A result of merging and writing is a record too: it must decode. */
static void check_result(struct bz_arena *arena, const struct bz_rec *rec)
{
    struct bz_buf buf;
    struct bz_rec back;
    bz_buf_init(&buf, SIZE_MAX);
    bz_rec_encode(&buf, rec, 0);
    CHECK(buf.error == 0 && bz_rec_decode(arena, bz_buf_bytes(&buf), 0, &back) == 0);
    bz_buf_release(&buf);
}

static int64_t turn_around(void *context, uint32_t number)
{
    (void)context;
    return UINT32_MAX - number;
}

static void use(struct bz_arena *arena, const struct bz_rec *rec)
{
    const struct bz_renaming to = {turn_around, turn_around, NULL};
    struct bz_rec renamed, since, merged;
    bool changed, subsumed;
    CHECK(bz_rec_rename(arena, rec, &to, &renamed) == 0);
    if (!rec->has_rest)
        return;
    CHECK(bz_rec_since(arena, rec, 1, &since) == 0);
    if (bz_rec_merge(arena, rec, &renamed, 300, &merged, &changed, &subsumed) == 0)
        check_result(arena, &merged);
    struct bz_write write = {.dot = {1, UINT64_MAX}, .arrived = 300};
    if (bz_rec_delete(arena, rec, &write, &merged) == 0)
        check_result(arena, &merged);
    uint32_t field = 1;
    write.alive = write.resolved = true;
    if (bz_rec_resolve(arena, rec, &write, &field, 1, &merged) == 0)
        check_result(arena, &merged);
    bz_rec_alive(rec, &(struct bz_nodes){NULL, 0});
    bz_rec_life_differs(rec);
    bz_rec_check_kinds(rec);
}

/* What looks into bodies, once they are checked. */
static void read_bodies(struct bz_arena *arena, struct bz_rec rec)
{
    const struct bz_nodes nodes = {NULL, 0};
    struct bz_buf buf;
    uint32_t conflicts;
    bz_buf_init(&buf, SIZE_MAX);
    int rc = bz_rec_document(&buf, &rec, &nodes);
    CHECK(rc == 0 || rc == BLAZE_ELIMIT);
    CHECK(rc != 0 || bz_doc_check(bz_buf_bytes(&buf), UINT32_MAX) == 0);
    CHECK(bz_rec_conflicts(arena, &rec, NULL, &conflicts) == 0);
    CHECK(bz_rec_trim(arena, &rec) == 0);
    CHECK(bz_rec_check_bodies(&rec, UINT32_MAX) == 0);
    bz_buf_release(&buf);
}

static void use_both(struct bz_arena *arena, const struct bz_rec *a, struct bz_bytes bytes)
{
    struct bz_rec b, merged;
    bool changed, subsumed;
    if (bz_rec_decode(arena, bytes, 0, &b) != 0 ||
        bz_rec_merge(arena, a, &b, 300, &merged, &changed, &subsumed) != 0)
        return;
    check_result(arena, &merged);
    if (bz_rec_check_bodies(&merged, UINT32_MAX) == 0)
        read_bodies(arena, merged);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    struct bz_arena arena;
    struct bz_rec rec;
    size_t left = size - 3, first = bz_load16le(data + 1);
    if (first > left)
        first = left;
    struct bz_bytes bytes = bz_bytes(data + 3, first), body;
    bz_arena_init(&arena);
    bz_rec_simple_body(bytes, &body);
    if (bz_rec_decode(&arena, bytes, data[0], &rec) == 0) {
        check_encoding(&rec, bytes, data[0]);
        use(&arena, &rec);
        if (rec.has_rest)
            use_both(&arena, &rec, bz_bytes(data + 3 + first, left - first));
    }
    bz_arena_release(&arena);
    return 0;
}

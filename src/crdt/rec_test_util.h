/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_CRDT_REC_TEST_UTIL_H
#define BZ_CRDT_REC_TEST_UTIL_H

/* Records of three nodes, made by hand, in one arena that a test begins and ends with. */

#include "codec/doc.h"
#include "crdt/rec.h"

#include "cmocka_all.h"

enum { A, B, C, NODES };

static const blaze_id ids[NODES] = {{{1}}, {{2}}, {{3}}};
static const struct bz_nodes nodes = {ids, NODES};
static struct bz_arena arena;

static inline int setup(void **state)
{
    (void)state;
    bz_arena_init(&arena);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    bz_arena_release(&arena);
    return 0;
}

/* ---- making records ---- */

/* A document of int fields, given as pairs of id and value up to -1. */
static inline struct bz_bytes doc(const int *pairs)
{
    struct bz_doc_writer *w;
    struct bz_buf buf;
    bz_buf_init(&buf, 1 << 20);
    assert_int_equal(bz_doc_writer_new(&w), 0);
    for (; *pairs >= 0; pairs += 2) {
        blaze_value value = {.type = BLAZE_INT, .as.integer = pairs[1]};
        assert_int_equal(bz_doc_writer_add(w, (uint32_t)pairs[0], &value), 0);
    }
    assert_int_equal(bz_doc_writer_finish(w, &buf), 0);
    struct bz_bytes copy = bz_arena_copy(&arena, bz_buf_bytes(&buf));
    bz_doc_writer_free(w);
    bz_buf_release(&buf);
    return copy;
}

#define DOC(...) doc((const int[]){__VA_ARGS__, -1})

static inline struct bz_write write_of(uint32_t node, uint64_t seq, struct bz_bytes body)
{
    return (struct bz_write){
        .dot = {node, seq}, .stamp = 100, .arrived = seq, .alive = true, .body = body};
}

static inline struct bz_write write_at(
    uint64_t stamp, uint32_t node, uint64_t seq, struct bz_bytes body)
{
    struct bz_write write = write_of(node, seq, body);
    write.stamp = stamp;
    return write;
}

static inline struct bz_rec put(const struct bz_rec *old, struct bz_write w)
{
    struct bz_rec rec;
    assert_int_equal(bz_rec_put(&arena, old, &w, &rec), 0);
    return rec;
}

/* Of the fields that the body has. */
static inline struct bz_rec update(const struct bz_rec *old, struct bz_write w)
{
    struct bz_rec rec;
    uint32_t fields[64], count = 0;
    struct bz_doc_iter it;
    blaze_value value;
    bz_doc_iter_init(&it, w.body, NULL);
    while (bz_doc_iter_next(&it, &fields[count], &value) == 0)
        count++;
    assert_int_equal(bz_rec_update(&arena, old, &w, fields, count, &rec), 0);
    return rec;
}

static inline struct bz_rec removed(const struct bz_rec *old, uint32_t node, uint64_t seq)
{
    struct bz_rec rec;
    struct bz_write w = write_of(node, seq, bz_bytes(NULL, 0));
    w.alive = false;
    assert_int_equal(bz_rec_delete(&arena, old, &w, &rec), 0);
    return rec;
}

static inline struct bz_rec merge(const struct bz_rec *local, const struct bz_rec *remote)
{
    struct bz_rec rec;
    bool changed, subsumed;
    assert_int_equal(bz_rec_merge(&arena, local, remote, 50, &rec, &changed, &subsumed), 0);
    return rec;
}

static inline void assert_reads(const struct bz_rec *rec, struct bz_bytes expected)
{
    struct bz_buf buf;
    bz_buf_init(&buf, 1 << 20);
    assert_int_equal(bz_rec_document(&buf, rec, &nodes), 0);
    assert_true(bz_bytes_equal(bz_buf_bytes(&buf), expected));
    bz_buf_release(&buf);
}

static inline uint32_t conflicts(const struct bz_rec *rec)
{
    uint32_t count;
    assert_int_equal(bz_rec_conflicts(&arena, rec, NULL, &count), 0);
    return count;
}

#endif

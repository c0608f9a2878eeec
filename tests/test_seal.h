/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_TESTS_TEST_SEAL_H
#define BZ_TESTS_TEST_SEAL_H

/*
 * What a member's session with a blind peer seals with (sync/session.h), for tests that want it
 * fast and the same each time: no cipher, but what a cipher promises is noticed. A sealed thing is
 * a hash of all that it depends on, and the bytes turned over, so that a test finds no planted name
 * or value in what a blind node has; what is changed, or stands elsewhere, does not open.
 *
 *   struct bz_session_auth auth = {fake_mac, fake_random, &keys, &test_seal_ops};   a member
 *   struct bz_session_auth auth = {fake_mac, fake_random, &keys};   a blind node, keys.member = 0
 *
 * The blind node's database: bz_db_open() with {.create, .memory, .blind, .database}; see db/db.h.
 */

#include "base/hash.h"
#include "sync/session.h"

static inline int test_seal_begin(void *context, const blaze_id *database, void **sealer)
{
    static char none;
    (void)context;
    (void)database;
    *sealer = &none;
    return 0;
}

static inline void test_seal_end(void *sealer)
{
    (void)sealer;
}

static inline int test_seal_put(
    struct bz_buf *out, const char *kind, struct bz_bytes more, struct bz_bytes plain)
{
    struct bz_hash128 a = bz_hash128(more.data, more.size, (uint64_t)kind[0]);
    struct bz_hash128 b = bz_hash128(plain.data, plain.size, a.low);
    bz_buf_append64le(out, b.low);
    bz_buf_append64le(out, b.high);
    for (size_t i = 0; i < plain.size; i++)
        bz_buf_append8(out, plain.data[i] ^ 0xa5);
    return out->error;
}

static inline int test_seal_take(
    struct bz_buf *out, const char *kind, struct bz_bytes more, struct bz_bytes sealed)
{
    if (sealed.size < 16)
        return BLAZE_ECORRUPT;
    size_t start = out->size;
    for (size_t i = 16; i < sealed.size; i++)
        bz_buf_append8(out, sealed.data[i] ^ 0xa5);
    if (out->error != 0)
        return out->error;
    struct bz_hash128 a = bz_hash128(more.data, more.size, (uint64_t)kind[0]);
    struct bz_hash128 b = bz_hash128(out->data + start, out->size - start, a.low);
    bool same = b.low == bz_load64le(sealed.data) && b.high == bz_load64le(sealed.data + 8);
    return same ? 0 : BLAZE_ECORRUPT;
}

static inline int test_seal_name(
    void *sealer, enum bz_term term, struct bz_bytes name, struct bz_buf *out)
{
    (void)sealer;
    return test_seal_put(out, term == BZ_TERM_FIELD ? "f" : "c", bz_bytes(NULL, 0), name);
}

static inline int test_open_name(
    void *sealer, enum bz_term term, struct bz_bytes sealed, struct bz_buf *out)
{
    (void)sealer;
    return test_seal_take(out, term == BZ_TERM_FIELD ? "f" : "c", bz_bytes(NULL, 0), sealed);
}

static inline int test_seal_body(void *sealer, const blaze_id *node, struct bz_bytes more,
    struct bz_bytes body, struct bz_buf *out)
{
    (void)sealer;
    (void)node; /* `more` has it */
    return test_seal_put(out, "b", more, body);
}

static inline int test_open_body(void *sealer, const blaze_id *node, struct bz_bytes more,
    struct bz_bytes sealed, struct bz_buf *out)
{
    (void)sealer;
    (void)node;
    return test_seal_take(out, "b", more, sealed);
}

static const struct bz_seal_ops test_seal_ops __attribute__((unused)) = {.begin = test_seal_begin,
    .end = test_seal_end,
    .seal_name = test_seal_name,
    .open_name = test_open_name,
    .seal_body = test_seal_body,
    .open_body = test_open_body};

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_TESTS_BLIND_WORLD_H
#define BZ_TESTS_BLIND_WORLD_H

/*
 * Members of a database and blind copies of it, on the store in memory, sealed by what members
 * really seal with; meetings of two of them, and records for them to exchange.
 */

#include "cmocka_all.h"

#include "db/db.h"
#include "peer/member.h"
#include "random.h"
#include "session_pipe.h"

#include <stdio.h>

struct node {
    struct bz_db *db;
    struct bz_keys keys;
};

struct meeting {
    struct node *ends[2];
    struct bz_replica replicas[2];
    struct bz_session_auth auths[2];
    struct bz_session_host host;
    struct session_pipe pipe;
    const struct bz_seal_ops *seal;     /* what the first end seals with; NULL: as members do */
    const struct bz_replica_ops *forge; /* what the second end does; NULL: as databases do */
    uint64_t bytes;                     /* that the last session took, both ways */
    char reason[160];                   /* why the first end ended it */
};

static const blaze_id database = {{7}};

/* The wall clock of all. */
static uint64_t wall_ms = 1800000000000u;

static inline uint64_t tell_wall_ms(void *context)
{
    (void)context;
    return wall_ms;
}

static inline void open_node(struct node *node, const char *name, bool blind, uint8_t secret_byte)
{
    struct bz_db_options options = {.create = true,
        .memory = true,
        .blind = blind,
        .role = blind ? BZ_ROLE_SERVER : BZ_ROLE_CLIENT,
        .database = database,
        .wall_ms = tell_wall_ms};
    struct bz_secret secret = {{secret_byte}};
    struct bz_key access;
    blaze_error error;
    assert_int_equal(bz_db_open(&node->db, name, &options, &error), 0);
    if (blind) {
        assert_int_equal(bz_key_derive(&access, &secret, &database, BZ_KEY_ACCESS), 0);
        assert_int_equal(bz_member_adopt_access(node->db, &access, &error), 0);
        access.bytes[0] ^= 1;
        assert_int_equal(bz_member_adopt_access(node->db, &access, &error), BLAZE_EAUTH);
    } else {
        assert_int_equal(bz_member_adopt_secret(node->db, &secret, &error), 0);
    }
    assert_int_equal(bz_keys_load(node->db, &node->keys, &error), 0);
}

static inline void close_node(struct node *node)
{
    assert_int_equal(bz_db_check(node->db, NULL, NULL, NULL), 0);
    assert_int_equal(bz_db_close(node->db, NULL), 0);
}

static inline int host_open(void *context, const blaze_id *id, struct bz_replica *replica,
    struct bz_session_auth *auth, blaze_error *error)
{
    struct meeting *m = context;
    (void)id;
    (void)error;
    *replica = m->replicas[1];
    *auth = m->auths[1];
    return 0;
}

static inline void meeting_open(struct meeting *m, struct node *a, struct node *b)
{
    m->ends[0] = a;
    m->ends[1] = b;
    m->pipe.rng.state = test_seed();
    m->pipe.now_ms = 1000;
    m->pipe.wall_ms = wall_ms;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(bz_db_replica_open(m->ends[i]->db, &m->replicas[i], NULL), 0);
        m->auths[i] = bz_keys_auth(&m->ends[i]->keys);
    }
    if (m->seal != NULL)
        m->auths[0].seal = m->seal;
    if (m->forge != NULL)
        m->replicas[1].ops = m->forge;
    m->host = (struct bz_session_host){host_open, NULL, m};
    struct bz_session_options connecting = {
        .connecting = true, .replica = &m->replicas[0], .auth = &m->auths[0]};
    struct bz_session_options accepting = {.host = &m->host};
    assert_int_equal(pipe_open(&m->pipe, &connecting, &accepting), 0);
}

/* Until nothing moves; the codes of both ends, 0 if they came to be live. */
static inline void meeting_settle(struct meeting *m, int codes[2])
{
    pipe_wake(&m->pipe);
    pipe_settle(&m->pipe, 1000000);
    for (int i = 0; i < 2; i++) {
        struct bz_session_status status = pipe_status(&m->pipe, i);
        codes[i] = status.phase == BZ_SESSION_CLOSED ? status.code : 0;
        if (i == 0)
            memcpy(m->reason, status.reason, sizeof m->reason);
        assert_false(status.diverged);
    }
    assert_true(codes[0] != 0 || pipe_live(&m->pipe));
    m->bytes = m->pipe.ends[0].delivered + m->pipe.ends[1].delivered;
}

static inline void meeting_must_settle(struct meeting *m)
{
    int codes[2];
    meeting_settle(m, codes);
    if (codes[0] != 0)
        fail_msg("%s", m->reason);
    assert_int_equal(codes[1], 0);
}

static inline void meeting_close(struct meeting *m)
{
    pipe_close(&m->pipe);
    for (int i = 0; i < 2; i++)
        bz_db_replica_close(&m->replicas[i]);
}

/* One session to the end. */
static inline void meet(struct meeting *m, struct node *a, struct node *b, int codes[2])
{
    meeting_open(m, a, b);
    meeting_settle(m, codes);
    meeting_close(m);
}

/* One session until nothing moves; the bytes that it took, both ways. */
static inline uint64_t must_hold(struct meeting *m, struct node *a, struct node *b)
{
    meeting_open(m, a, b);
    meeting_must_settle(m);
    meeting_close(m);
    return m->bytes;
}

static inline uint64_t must_meet(struct node *a, struct node *b)
{
    struct meeting m = {0};
    return must_hold(&m, a, b);
}

/* The first of them seals like that. */
static inline void meet_sealing(
    struct node *node, struct node *blind, const struct bz_seal_ops *seal)
{
    struct meeting m = {.seal = seal};
    must_hold(&m, node, blind);
}

/* Members that meet by way of a blind copy. */
struct trio {
    struct node a, b, c, blind;
};

static inline void open_trio(struct trio *t)
{
    open_node(&t->a, "a", false, 1);
    open_node(&t->b, "b", false, 1);
    open_node(&t->c, "c", false, 1);
    open_node(&t->blind, "blind", true, 1);
}

static inline void close_trio(struct trio *t)
{
    close_node(&t->a);
    close_node(&t->b);
    close_node(&t->c);
    close_node(&t->blind);
}

/* ---- records ---- */

static const char collection[] = "orders";

static inline blaze_id id_of(uint64_t i)
{
    blaze_id id = {{0}};
    bz_store64le(id.bytes, i + 1);
    return id;
}

static inline void fill(blaze_doc *doc, uint64_t i)
{
    static const char *const states[] = {"open", "paid", "sent", "returned"};
    char text[64];
    blaze_doc_clear(doc);
    snprintf(text, sizeof text, "customer %llu", (unsigned long long)(i * 7919 % 1000));
    blaze_doc_add_string(doc, "customer_name", text);
    blaze_doc_add_string(doc, "order_status", states[i % 4]);
    blaze_doc_add_int(doc, "total_cents", (int64_t)(i * 31337 % 100000));
    blaze_doc_add_string(doc, "currency", "EUR");
    blaze_doc_begin_map(doc, "address");
    blaze_doc_add_string(doc, "city", "Andorra la Vella");
    blaze_doc_end(doc);
}

static inline void write_many(struct node *node, const char *where, uint64_t first, uint64_t count)
{
    struct bz_db_txn *txn;
    blaze_doc *doc;
    assert_int_equal(blaze_doc_new(&doc), 0);
    assert_int_equal(bz_db_begin(node->db, &txn, NULL), 0);
    for (uint64_t i = first; i < first + count; i++) {
        blaze_id id = id_of(i);
        fill(doc, i);
        assert_int_equal(bz_db_put(txn, bz_bytes_text(where), &id, doc, NULL), 0);
    }
    assert_int_equal(bz_db_commit(txn, BZ_DURABLE_RELAXED, NULL), 0);
    blaze_doc_free(doc);
}

static inline void write_orders(struct node *node, uint64_t first, uint64_t count)
{
    write_many(node, collection, first, count);
}

static inline void assert_orders(struct node *node, uint64_t count)
{
    struct bz_read *read;
    blaze_doc *doc;
    uint64_t have;
    assert_int_equal(blaze_doc_new(&doc), 0);
    assert_int_equal(bz_read_begin(node->db, &read, NULL), 0);
    assert_int_equal(bz_read_count(read, bz_bytes_text(collection), &have, NULL), 0);
    assert_int_equal(have, count);
    for (uint64_t i = 0; i < count; i++) {
        blaze_id id = id_of(i);
        blaze_value value, expected;
        fill(doc, i);
        assert_int_equal(blaze_doc_value(doc, &expected), 0);
        assert_int_equal(bz_read_get(read, bz_bytes_text(collection), &id, &value, NULL), 0);
        assert_int_equal(blaze_value_compare(&value, &expected), 0);
    }
    bz_read_end(read);
    blaze_doc_free(doc);
}

/* ---- a member that is broken, or of ill will: it has the keys ---- */

static const struct bz_seal_ops *honest_seal;
static blaze_id badly_sealed; /* the record that is */

static inline bool is_badly_sealed(struct bz_bytes more)
{
    return memcmp(more.data + 32, &badly_sealed, sizeof badly_sealed) == 0;
}

/* Authentic, and no form of a body. */
static inline int seal_rubbish(void *sealer, const blaze_id *node, struct bz_bytes more,
    struct bz_bytes body, struct bz_buf *out)
{
    return honest_seal->seal_body(sealer, node, more,
        is_badly_sealed(more) ? bz_bytes_text("\xff no form of a body") : body, out);
}

/* With a seal that is none. */
static inline int seal_falsely(void *sealer, const blaze_id *node, struct bz_bytes more,
    struct bz_bytes body, struct bz_buf *out)
{
    int rc = honest_seal->seal_body(sealer, node, more, body, out);
    if (rc == 0 && is_badly_sealed(more))
        out->data[out->size - 1] ^= 1;
    return rc;
}

/* How `node` seals, but for the bodies of one record. */
static inline struct bz_seal_ops bad_seal(const struct node *node, const blaze_id *record,
    int (*seal_body)(void *sealer, const blaze_id *of, struct bz_bytes more, struct bz_bytes body,
        struct bz_buf *out))
{
    honest_seal = bz_keys_auth((struct bz_keys *)(uintptr_t)&node->keys).seal;
    badly_sealed = *record;
    struct bz_seal_ops ops = *honest_seal;
    ops.seal_body = seal_body;
    return ops;
}

static inline uint64_t count_left_out(struct node *node)
{
    struct bz_read *read;
    uint64_t count;
    assert_int_equal(bz_read_begin(node->db, &read, NULL), 0);
    assert_int_equal(bz_read_illegible_count(read, &count, NULL), 0);
    bz_read_end(read);
    return count;
}

#endif

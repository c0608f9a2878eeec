/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_DB_TEST_UTIL_H
#define BZ_DB_TEST_UTIL_H

/*
 * What the tests of db share: databases in a world of their own (clock, entropy), a plain model to
 * compare with, and an exchange of changes between two databases as a session makes it, without the
 * session.
 */

#include "db/db.h"

#include "base/alloc.h"
#include "cmocka_all.h"
#include "codec/names.h"
#include "crdt/clock.h"
#include "random.h"

#include <stdatomic.h>

#include <stdio.h>
#include <string.h>

/* ---- the world ---- */

/* A clock that a test moves, and entropy from a seed. */
struct world {
    struct rng rng;
    uint64_t ms;
};

static inline uint64_t world_wall_ms(void *context)
{
    return ((struct world *)context)->ms;
}

static inline int world_entropy(void *context, void *data, size_t size)
{
    rng_fill(&((struct world *)context)->rng, data, size);
    return 0;
}

#define must(call)                                                                                 \
    do {                                                                                           \
        blaze_error must_error_ = {0};                                                             \
        blaze_error *error = &must_error_;                                                         \
        (void)error;                                                                               \
        int must_rc_ = (call);                                                                     \
        if (must_rc_ != 0)                                                                         \
            fail_msg("%s: %d %s", #call, must_rc_, must_error_.text);                              \
    } while (0)

static inline struct bz_db_options world_options(struct world *world)
{
    return (struct bz_db_options){
        .create = true,
        .memory = true,
        .wall_ms = world_wall_ms,
        .entropy = world_entropy,
        .context = world,
    };
}

static inline struct bz_db *open_memory(struct world *world, uint8_t role)
{
    struct bz_db *db = NULL;
    struct bz_db_options options = world_options(world);
    options.role = role;
    options.database = (blaze_id){{1}};
    must(bz_db_open(&db, "test", &options, error));
    return db;
}

static inline blaze_id id_of(uint32_t n)
{
    blaze_id id = {{0}};
    bz_store32be(id.bytes + 12, n);
    return id;
}

static inline void tell_problem(void *context, const char *problem)
{
    (void)context;
    print_error("check: %s\n", problem);
}

static inline void check_all(struct bz_db *db)
{
    must(bz_db_check(db, tell_problem, NULL, error));
}

/* ---- a document as JSON, for tests with few words ---- */

static inline blaze_doc *doc_of(const char *json)
{
    blaze_doc *doc = NULL;
    must(blaze_doc_from_json(&doc, json, strlen(json), error));
    return doc;
}

enum verb { INSERT, PUT, UPDATE, UPSERT };

static inline int try_write(struct bz_db_txn *txn, enum verb verb, const char *collection,
    uint32_t n, const char *json, blaze_error *error)
{
    static int (*const verbs[])(struct bz_db_txn *, struct bz_bytes, const blaze_id *, blaze_doc *,
        blaze_error *) = {bz_db_insert, bz_db_put, bz_db_update, bz_db_upsert};
    blaze_doc *doc = doc_of(json);
    blaze_id id = id_of(n);
    int rc = verbs[verb](txn, bz_bytes_text(collection), &id, doc, error);
    blaze_doc_free(doc);
    return rc;
}

/* One write in a commit of its own. */
static inline void write_json(
    struct bz_db *db, enum verb verb, const char *collection, uint32_t n, const char *json)
{
    struct bz_db_txn *txn = NULL;
    must(bz_db_begin(db, &txn, error));
    must(try_write(txn, verb, collection, n, json, error));
    must(bz_db_commit(txn, BZ_DURABLE_RELAXED, error));
}

static inline void delete_one_of(struct bz_db *db, const char *collection, uint32_t n)
{
    struct bz_db_txn *txn = NULL;
    blaze_id id = id_of(n);
    must(bz_db_begin(db, &txn, error));
    must(bz_db_delete(txn, bz_bytes_text(collection), &id, error));
    must(bz_db_commit(txn, BZ_DURABLE_RELAXED, error));
}

/* Compares with a document's JSON; NULL: there must be none. */
static inline void expect_json(
    struct bz_db *db, const char *collection, uint32_t n, const char *json)
{
    struct bz_read *read = NULL;
    blaze_id id = id_of(n);
    blaze_value value, wanted;
    must(bz_read_begin(db, &read, error));
    int rc = bz_read_get(read, bz_bytes_text(collection), &id, &value, NULL);
    if (json == NULL) {
        assert_int_equal(rc, BLAZE_ENOTFOUND);
    } else {
        assert_int_equal(rc, 0);
        blaze_doc *doc = doc_of(json);
        assert_int_equal(blaze_doc_value(doc, &wanted), 0);
        if (blaze_value_compare(&value, &wanted) != 0) {
            char *text = NULL;
            blaze_value_to_json(&text, &value, false);
            print_error("have %s, want %s\n", text, json);
            blaze_free(text);
            fail();
        }
        blaze_doc_free(doc);
    }
    bz_read_end(read);
}

static inline struct bz_db_state state_of(struct bz_db *db)
{
    struct bz_db_state state;
    struct bz_read *read = NULL;
    must(bz_read_begin(db, &read, error));
    must(bz_read_state(read, &state, error));
    bz_read_end(read);
    return state;
}

static inline void expect_equal(struct bz_db *a, struct bz_db *b)
{
    struct bz_db_state x = state_of(a), y = state_of(b);
    assert_int_equal(x.records, y.records);
    assert_int_equal(x.conflicts, y.conflicts);
    assert_int_equal(x.digest.low, y.digest.low);
    assert_int_equal(x.digest.high, y.digest.high);
}

/* ---- an exchange ---- */

/* One direction of a session that may be cut after any chunk. */
struct exchange {
    struct bz_replica from, to;
    uint32_t chunk;      /* records a chunk */
    uint32_t chunks_max; /* 0: until the head */
    bool anew;           /* all, as where peers with the same writes show something else */
    bool reached;        /* the head */
    bool diverged;
    uint64_t records, changed, bytes; /* carried */
    /* What the sender has told was collected, in the receiver's numbers; NULL: nothing. */
    const struct bz_vv *collected;
};

struct renaming {
    struct exchange *exchange;
    struct bz_apply *apply;
    blaze_error error;
};

static inline int64_t rename_term(struct renaming *r, enum bz_term term, uint32_t number)
{
    struct bz_bytes meaning;
    uint32_t ours = 0;
    int rc = r->exchange->from.ops->meaning(r->exchange->from.context, term, number, &meaning);
    if (rc == 0)
        rc = r->exchange->to.ops->resolve(r->apply, term, meaning, &ours, &r->error);
    return rc == 0 ? (int64_t)ours : rc;
}

static inline int64_t rename_node(void *context, uint32_t number)
{
    return rename_term(context, BZ_TERM_NODE, number);
}

static inline int64_t rename_field(void *context, uint32_t number)
{
    return rename_term(context, BZ_TERM_FIELD, number);
}

/* The change in the receiver's numbers, by way of its encoding, as on a wire. */
static inline int carry(struct renaming *r, struct bz_arena *arena, const struct bz_change *change,
    struct bz_change *out)
{
    struct bz_buf wire, body;
    struct bz_rec rec;
    bz_buf_init(&wire, 64u << 20);
    bz_buf_init(&body, 64u << 20);
    bz_rec_encode(&wire, &change->rec, 0);
    r->exchange->bytes += wire.size;
    r->exchange->records++;
    struct bz_bytes bytes = bz_arena_copy(arena, bz_buf_bytes(&wire));
    int rc = wire.error != 0 ? wire.error : bytes.data == NULL ? BLAZE_ENOMEM : 0;
    if (rc == 0)
        rc = bz_rec_decode(arena, bytes, 0, &rec);
    for (uint32_t i = 0; rc == 0 && i < rec.write_count; i++) {
        if (rec.writes[i].body.size == 0)
            continue;
        bz_buf_clear(&body);
        rc = bz_doc_rename(&body, rec.writes[i].body, rename_field, r);
        rec.writes[i].body = bz_arena_copy(arena, bz_buf_bytes(&body));
        if (rc == 0 && rec.writes[i].body.data == NULL)
            rc = BLAZE_ENOMEM;
    }
    *out = *change;
    int64_t collection = rename_term(r, BZ_TERM_COLLECTION, change->collection);
    out->collection = (uint32_t)collection;
    const struct bz_renaming renaming = {rename_node, rename_field, r};
    if (rc == 0)
        rc = collection < 0 ? (int)collection : bz_rec_rename(arena, &rec, &renaming, &out->rec);
    bz_buf_release(&wire);
    bz_buf_release(&body);
    return rc;
}

static inline int carry_head(
    struct renaming *r, struct bz_arena *arena, const struct bz_head *head, struct bz_head *out)
{
    *out = *head;
    out->vv.entries = bz_arena_alloc(arena, (head->vv.count + 1) * sizeof(struct bz_dot));
    if (out->vv.entries == NULL)
        return BLAZE_ENOMEM;
    for (uint32_t i = 0; i < head->vv.count; i++) {
        int64_t node = rename_node(r, head->vv.entries[i].node);
        if (node < 0)
            return (int)node;
        struct bz_dot entry = {(uint32_t)node, head->vv.entries[i].seq};
        uint32_t at = i;
        for (; at > 0 && out->vv.entries[at - 1].node > entry.node; at--)
            out->vv.entries[at] = out->vv.entries[at - 1];
        out->vv.entries[at] = entry;
    }
    return 0;
}

/* What the receiver has, in the sender's numbers; nodes that the sender does not know are left out.
 */
static inline void receiver_of(struct exchange *e, struct bz_arena *arena,
    const struct bz_peer_state *known, struct bz_receiver *out)
{
    struct bz_identity to;
    struct bz_vv vv;
    e->to.ops->identity(e->to.context, &to);
    *out = (struct bz_receiver){.node = to.node, .reached = known->reached};
    if (e->anew) {
        *out = (struct bz_receiver){0};
        return;
    }
    assert_int_equal(e->to.ops->version(e->to.context, arena, &vv), 0);
    out->vv.entries = bz_arena_alloc(arena, (vv.count + 1) * sizeof(struct bz_dot));
    for (uint32_t i = 0; i < vv.count; i++) {
        struct bz_bytes meaning;
        blaze_id node;
        struct bz_dot entry = {0, vv.entries[i].seq};
        assert_int_equal(
            e->to.ops->meaning(e->to.context, BZ_TERM_NODE, vv.entries[i].node, &meaning), 0);
        memcpy(&node, meaning.data, sizeof node);
        if (e->from.ops->node_number(e->from.context, &node, &entry.node) != 0)
            continue;
        uint32_t at = out->vv.count++;
        for (; at > 0 && out->vv.entries[at - 1].node > entry.node; at--)
            out->vv.entries[at] = out->vv.entries[at - 1];
        out->vv.entries[at] = entry;
    }
}

/* One chunk, in one commit; sets e->reached with the last. */
static inline int exchange_chunk(
    struct exchange *e, struct bz_changes *changes, struct bz_peer_state *known, blaze_error *error)
{
    struct bz_identity from;
    struct renaming r = {.exchange = e};
    struct bz_arena arena;
    struct bz_head head, carried;
    bool at_head = false;
    bz_arena_init(&arena);
    e->from.ops->identity(e->from.context, &from);
    int rc = e->to.ops->apply_begin(e->to.context, &from.node, &r.apply, error);
    if (rc != 0)
        return rc;
    if (e->collected != NULL)
        e->to.ops->apply_from(r.apply, &(struct bz_sender){.collected = e->collected});
    for (uint32_t n = 0; rc == 0 && n < e->chunk; n++) {
        struct bz_change change, ours;
        bool changed = false;
        rc = e->from.ops->changes_next(changes, &change, error);
        at_head = rc == BLAZE_END;
        if (rc == 0)
            rc = carry(&r, &arena, &change, &ours);
        ours.anew = e->anew;
        if (rc == 0)
            rc = e->to.ops->apply_change(r.apply, &ours, &changed, error);
        e->changed += changed;
    }
    if (rc == BLAZE_END)
        rc = 0;
    known->cursor = e->from.ops->changes_position(changes);
    known->as_of = e->from.ops->changes_end(changes);
    if (rc == 0 && at_head) {
        rc = e->from.ops->changes_head(changes, &head);
        known->cursor = known->reached = head.position;
        if (rc == 0)
            rc = carry_head(&r, &arena, &head, &carried);
    }
    if (rc == 0)
        rc =
            e->to.ops->apply_commit(r.apply, known, at_head ? &carried : NULL, &e->diverged, error);
    else
        e->to.ops->apply_abort(r.apply);
    bz_arena_release(&arena);
    e->reached = rc == 0 && at_head;
    return rc;
}

static inline int exchange_run(struct exchange *e, blaze_error *error)
{
    struct bz_identity from, to;
    struct bz_peer_state known;
    struct bz_receiver receiver;
    struct bz_changes *changes = NULL;
    struct bz_arena arena;
    bz_arena_init(&arena);
    e->from.ops->identity(e->from.context, &from);
    e->to.ops->identity(e->to.context, &to);
    int rc = e->to.ops->peer_load(e->to.context, &from.node, &known);
    if (rc == 0)
        rc = e->to.ops->node_number(e->to.context, &to.node, &known.self);
    known.epoch = from.epoch;
    struct bz_scope_state scope = {0};
    if (rc == 0)
        rc = e->to.ops->scope(e->to.context, &arena, &scope);
    known.scope = scope.generation;
    receiver_of(e, &arena, &known, &receiver);
    if (rc == 0)
        rc = e->from.ops->changes_open(e->from.context, &receiver, known.cursor, &changes, error);
    for (uint32_t n = 0; rc == 0 && !e->reached && (e->chunks_max == 0 || n < e->chunks_max); n++)
        rc = exchange_chunk(e, changes, &known, error);
    if (changes != NULL)
        e->from.ops->changes_close(changes);
    bz_arena_release(&arena);
    return rc;
}

/* Sends from one to the other as `e` has it; what was carried is in the result. */
static inline struct exchange send_as(struct bz_db *from, struct bz_db *to, struct exchange e)
{
    must(bz_db_replica_open(from, &e.from, error));
    must(bz_db_replica_open(to, &e.to, error));
    must(exchange_run(&e, error));
    bz_db_replica_close(&e.from);
    bz_db_replica_close(&e.to);
    return e;
}

static inline struct exchange send_changes(
    struct bz_db *from, struct bz_db *to, uint32_t chunk, uint32_t chunks_max)
{
    return send_as(from, to, (struct exchange){.chunk = chunk, .chunks_max = chunks_max});
}

/* Both ways to the heads. */
static inline void sync_both(struct bz_db *a, struct bz_db *b)
{
    send_changes(a, b, 100, 0);
    send_changes(b, a, 100, 0);
    send_changes(a, b, 100, 0);
}

#endif

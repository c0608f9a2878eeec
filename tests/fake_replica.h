/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_TESTS_FAKE_REPLICA_H
#define BZ_TESTS_FAKE_REPLICA_H

/*
 * A replica of a few records in plain arrays, on the real merge: what a session needs to be tested
 * without a database. Numbers of collections, fields and nodes are given out in the order of first
 * use, so two fakes seldom agree on them.
 */

#include "base/alloc.h"
#include "base/arena.h"
#include "codec/doc.h"
#include "crdt/replica.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define FAKE_TERMS   256
#define FAKE_RECORDS 8192

struct fake_record {
    uint32_t collection;
    blaze_id id;
    struct bz_bytes rec; /* bz_rec_encode() at `position` */
    uint64_t position;
    blaze_id origin; /* who need not be sent it; all zero: nobody */
};

struct bz_apply {
    struct fake *fake;
    blaze_id peer;
    uint32_t count;
    struct fake_record *staged;
};

struct bz_changes {
    struct fake *fake;
    struct bz_receiver receiver;
    uint64_t walked, end;
    struct bz_arena arena;
    struct bz_head head;
    struct fake_record **order; /* by position */
    uint32_t count, next;
};

struct fake_term {
    uint8_t data[BLAZE_MAX_NAME];
    size_t size;
};

struct fake {
    struct bz_identity identity;
    struct fake_term terms[BZ_TERM_DICTIONARY + 1][FAKE_TERMS];
    uint32_t term_count[BZ_TERM_DICTIONARY + 1];
    struct fake_record *records;
    uint32_t count;
    uint64_t position, seq, clock;
    struct bz_dot vv[FAKE_TERMS];
    uint32_t vv_count;
    struct {
        blaze_id node;
        struct bz_peer_state state;
    } peers[16];
    uint32_t peer_count;
    uint64_t commits, applied;
    int open_applies, open_walks;
    bool busy;       /* somebody else writes: who must not wait is turned away */
    int fail_commit; /* an error for the next apply_commit */
    uint64_t torn; /* of a change of this record it says once that what it builds on is not here */
    bool lie_digest;         /* as if something had gone wrong once */
    uint64_t largest_commit; /* records */
};

static inline blaze_id fake_id(uint64_t n)
{
    blaze_id id = {{0}};
    for (int i = 0; i < 8; i++)
        id.bytes[15 - i] = (uint8_t)(n >> 8 * i);
    id.bytes[0] = 1;
    return id;
}

static inline int fake_term(
    struct fake *f, enum bz_term term, struct bz_bytes meaning, uint32_t *number)
{
    for (uint32_t i = 0; i < f->term_count[term]; i++) {
        if (bz_bytes_equal(bz_bytes(f->terms[term][i].data, f->terms[term][i].size), meaning)) {
            *number = i;
            return 0;
        }
    }
    if (f->term_count[term] == FAKE_TERMS)
        return BLAZE_ELIMIT;
    struct fake_term *t = &f->terms[term][f->term_count[term]];
    memcpy(t->data, meaning.data, meaning.size);
    t->size = meaning.size;
    *number = f->term_count[term]++;
    return 0;
}

static inline struct fake *fake_new(uint64_t database, uint64_t node)
{
    struct fake *f = bz_zalloc(sizeof *f);
    f->records = bz_zalloc(FAKE_RECORDS * sizeof *f->records);
    f->identity.database = fake_id(database);
    f->identity.node = fake_id(node);
    f->identity.epoch = fake_id(node + 1000);
    uint32_t number;
    fake_term(f, BZ_TERM_NODE, bz_bytes(&f->identity.node, 16), &number);
    return f;
}

static inline void fake_free(struct fake *f)
{
    assert(f->open_applies == 0 && f->open_walks == 0);
    for (uint32_t i = 0; i < f->count; i++)
        bz_free((void *)f->records[i].rec.data);
    bz_free(f->records);
    bz_free(f);
}

static inline struct fake_record *fake_find(struct fake *f, uint32_t collection, const blaze_id *id)
{
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->records[i].collection == collection && memcmp(&f->records[i].id, id, 16) == 0)
            return &f->records[i];
    }
    return NULL;
}

static inline struct bz_bytes fake_encode(const struct bz_rec *rec, uint64_t position)
{
    struct bz_buf buf;
    bz_buf_init(&buf, 64u << 20);
    bz_rec_encode(&buf, rec, position);
    assert(buf.error == 0);
    return bz_buf_bytes(&buf); /* the caller's to free */
}

static inline void fake_raise(struct fake *f, struct bz_dot dot)
{
    uint32_t i = 0;
    while (i < f->vv_count && f->vv[i].node < dot.node)
        i++;
    if (i < f->vv_count && f->vv[i].node == dot.node) {
        if (f->vv[i].seq < dot.seq)
            f->vv[i].seq = dot.seq;
        return;
    }
    memmove(&f->vv[i + 1], &f->vv[i], (f->vv_count - i) * sizeof *f->vv);
    f->vv[i] = dot;
    f->vv_count++;
}

/* Stores a record at the next position. */
static inline void fake_store(struct fake *f, uint32_t collection, const blaze_id *id,
    const struct bz_rec *rec, const blaze_id *origin)
{
    struct fake_record *r = fake_find(f, collection, id);
    f->position++;
    struct bz_bytes bytes = fake_encode(rec, f->position); /* borrows from the old one */
    if (r == NULL) {
        assert(f->count < FAKE_RECORDS);
        r = &f->records[f->count++];
    } else {
        bz_free((void *)r->rec.data);
    }
    *r = (struct fake_record){collection, *id, bytes, f->position, *origin};
}

/* Writes `text` into a field of a record, as an update; `field` NULL deletes it. */
static inline void fake_write(
    struct fake *f, const char *collection, uint64_t id, const char *field, struct bz_bytes text)
{
    struct bz_arena arena;
    struct bz_buf body;
    struct bz_rec old, rec;
    uint32_t c, n = 0;
    blaze_id key = fake_id(id);
    bz_arena_init(&arena);
    bz_buf_init(&body, 32u << 20);
    int rc = fake_term(f, BZ_TERM_COLLECTION, bz_bytes_text(collection), &c);
    struct fake_record *r = fake_find(f, c, &key);
    if (rc == 0 && r != NULL)
        rc = bz_rec_decode(&arena, r->rec, r->position, &old);
    struct bz_write write = {.dot = {0, ++f->seq},
        .stamp = ++f->clock,
        .arrived = f->position + 1,
        .role = f->identity.role,
        .alive = field != NULL};
    if (rc == 0 && field != NULL) {
        rc = fake_term(f, BZ_TERM_FIELD, bz_bytes_text(field), &n);
        struct bz_doc_writer *w;
        blaze_value value = {.type = BLAZE_STRING, .as.text = {(const char *)text.data, text.size}};
        rc = rc != 0 ? rc : bz_doc_writer_new(&w);
        if (rc == 0) {
            rc = bz_doc_writer_add(w, n, &value);
            rc = rc != 0 ? rc : bz_doc_writer_finish(w, &body);
            bz_doc_writer_free(w);
        }
        write.body = bz_buf_bytes(&body);
        rc = rc != 0 ? rc : bz_rec_update(&arena, r == NULL ? NULL : &old, &write, &n, 1, &rec);
    } else if (rc == 0) {
        rc = bz_rec_delete(&arena, r == NULL ? NULL : &old, &write, &rec);
    }
    assert(rc == 0);
    (void)rc;
    fake_store(f, c, &key, &rec, &(blaze_id){{0}});
    bz_buf_release(&body);
    bz_arena_release(&arena);
}

static inline void fake_nodes(const struct fake *f, blaze_id ids[FAKE_TERMS], struct bz_nodes *out)
{
    for (uint32_t i = 0; i < f->term_count[BZ_TERM_NODE]; i++)
        memcpy(&ids[i], f->terms[BZ_TERM_NODE][i].data, 16);
    *out = (struct bz_nodes){ids, f->term_count[BZ_TERM_NODE]};
}

static inline struct bz_hash128 fake_digest(const struct fake *f, uint64_t *alive)
{
    blaze_id ids[FAKE_TERMS];
    struct bz_nodes nodes;
    struct bz_hash128 sum = {0, f->lie_digest};
    struct bz_arena arena;
    fake_nodes(f, ids, &nodes);
    bz_arena_init(&arena);
    *alive = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        const struct fake_record *r = &f->records[i];
        struct bz_rec rec;
        bz_arena_reset(&arena);
        int rc = bz_rec_decode(&arena, r->rec, r->position, &rec);
        assert(rc == 0);
        (void)rc;
        bz_hash128_add(&sum, bz_rec_digest(&rec, &r->id, &nodes));
        *alive += bz_rec_alive(&rec, &nodes);
    }
    bz_arena_release(&arena);
    return sum;
}

/* ---- the replica ---- */

static inline int fake_identity(void *context, struct bz_identity *out)
{
    *out = ((struct fake *)context)->identity;
    return 0;
}

static inline int fake_meaning(
    void *context, enum bz_term term, uint32_t number, struct bz_bytes *out)
{
    struct fake *f = context;
    if (number >= f->term_count[term])
        return BLAZE_ENOTFOUND;
    *out = bz_bytes(f->terms[term][number].data, f->terms[term][number].size);
    return 0;
}

static inline int fake_peer_load(void *context, const blaze_id *node, struct bz_peer_state *out)
{
    struct fake *f = context;
    *out = (struct bz_peer_state){0};
    for (uint32_t i = 0; i < f->peer_count; i++) {
        if (memcmp(&f->peers[i].node, node, sizeof *node) == 0)
            *out = f->peers[i].state;
    }
    return 0;
}

static inline uint64_t fake_position(void *context)
{
    return ((struct fake *)context)->position;
}

static inline int fake_version(void *context, struct bz_arena *arena, struct bz_vv *out)
{
    struct fake *f = context;
    uint32_t own = f->seq > 0;
    struct bz_dot *entries = bz_arena_alloc(arena, (f->vv_count + 1) * sizeof *entries);
    if (entries == NULL)
        return BLAZE_ENOMEM;
    entries[0] = (struct bz_dot){0, f->seq};
    uint32_t from = f->vv_count > 0 && f->vv[0].node == 0;
    memcpy(entries + own, f->vv + from, (f->vv_count - from) * sizeof *entries);
    *out = (struct bz_vv){entries, own + f->vv_count - from};
    return 0;
}

static inline int fake_node_number(void *context, const blaze_id *node, uint32_t *out)
{
    struct fake *f = context;
    for (uint32_t i = 0; i < f->term_count[BZ_TERM_NODE]; i++) {
        if (memcmp(f->terms[BZ_TERM_NODE][i].data, node, sizeof *node) == 0) {
            *out = i;
            return 0;
        }
    }
    return BLAZE_ENOTFOUND;
}

static inline int fake_by_position(const void *a, const void *b)
{
    uint64_t x = (*(struct fake_record *const *)a)->position;
    uint64_t y = (*(struct fake_record *const *)b)->position;
    return (x > y) - (x < y);
}

/* The walk keeps copies, as a snapshot would. */
static inline int fake_changes_open(void *context, const struct bz_receiver *receiver,
    uint64_t from, struct bz_changes **out, blaze_error *error)
{
    (void)error;
    struct fake *f = context;
    struct bz_changes *w = bz_zalloc(sizeof *w);
    if (w == NULL)
        return BLAZE_ENOMEM;
    w->fake = f;
    w->receiver = *receiver;
    w->receiver.vv.entries = bz_malloc((receiver->vv.count + 1) * sizeof *receiver->vv.entries);
    if (receiver->vv.count > 0)
        memcpy(w->receiver.vv.entries, receiver->vv.entries,
            receiver->vv.count * sizeof *receiver->vv.entries);
    w->walked = from;
    w->end = f->position;
    w->order = bz_malloc((f->count + 1) * sizeof(void *));
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->records[i].position <= from)
            continue;
        struct fake_record *copy = bz_malloc(sizeof *copy);
        *copy = f->records[i];
        uint8_t *bytes = bz_malloc(copy->rec.size);
        memcpy(bytes, copy->rec.data, copy->rec.size);
        copy->rec.data = bytes;
        w->order[w->count++] = copy;
    }
    qsort(w->order, w->count, sizeof *w->order, fake_by_position);
    fake_version(f, &w->arena, &w->head.vv);
    struct bz_dot *entries = bz_malloc((w->head.vv.count + 1) * sizeof *entries);
    memcpy(entries, w->head.vv.entries, w->head.vv.count * sizeof *entries);
    w->head.vv.entries = entries;
    w->head.position = w->end;
    w->head.digest = fake_digest(f, &w->head.records);
    f->open_walks++;
    *out = w;
    return 0;
}

static inline int fake_changes_next(struct bz_changes *w, struct bz_change *out, blaze_error *error)
{
    (void)error;
    static const blaze_id nobody;
    while (w->next < w->count) {
        const struct fake_record *r = w->order[w->next++];
        struct bz_rec rec;
        w->walked = r->position;
        bz_arena_reset(&w->arena);
        int rc = bz_rec_decode(&w->arena, r->rec, r->position, &rec);
        if (rc != 0)
            return rc;
        if ((memcmp(&r->origin, &nobody, sizeof nobody) != 0 &&
                memcmp(&r->origin, &w->receiver.node, sizeof nobody) == 0) ||
            (w->receiver.vv.count > 0 && bz_vv_includes(&w->receiver.vv, &rec.rvv)))
            continue;
        *out =
            (struct bz_change){.position = r->position, .collection = r->collection, .id = r->id};
        return bz_rec_since(&w->arena, &rec, w->receiver.reached, &out->rec);
    }
    w->walked = w->end;
    return BLAZE_END;
}

static inline uint64_t fake_changes_position(struct bz_changes *w)
{
    return w->walked;
}

static inline uint64_t fake_changes_end(struct bz_changes *w)
{
    return w->end;
}

static inline int fake_changes_head(struct bz_changes *w, struct bz_head *out)
{
    *out = w->head;
    return 0;
}

static inline void fake_changes_close(struct bz_changes *w)
{
    for (uint32_t i = 0; i < w->count; i++) {
        bz_free((void *)w->order[i]->rec.data);
        bz_free(w->order[i]);
    }
    w->fake->open_walks--;
    bz_free(w->head.vv.entries);
    bz_free(w->receiver.vv.entries);
    bz_free(w->order);
    bz_arena_release(&w->arena);
    bz_free(w);
}

static inline int fake_apply_begin(
    void *context, const blaze_id *peer, struct bz_apply **out, blaze_error *error)
{
    (void)error;
    struct bz_apply *a = bz_zalloc(sizeof *a);
    if (a == NULL)
        return BLAZE_ENOMEM;
    a->fake = context;
    a->peer = *peer;
    a->fake->open_applies++;
    *out = a;
    return 0;
}

static inline int fake_apply_begin_now(
    void *context, const blaze_id *peer, struct bz_apply **out, blaze_error *error)
{
    const struct fake *fake = context;
    return fake->busy ? BLAZE_EBUSY : fake_apply_begin(context, peer, out, error);
}

static inline void fake_apply_abort(struct bz_apply *a)
{
    for (uint32_t i = 0; i < a->count; i++)
        bz_free((void *)a->staged[i].rec.data);
    a->fake->open_applies--;
    bz_free(a->staged);
    bz_free(a);
}

static inline int fake_resolve(struct bz_apply *apply, enum bz_term term, struct bz_bytes meaning,
    uint32_t *number, blaze_error *error)
{
    (void)error;
    return fake_term(apply->fake, term, meaning, number);
}

static inline int fake_apply_change(
    struct bz_apply *a, const struct bz_change *change, bool *changed, blaze_error *error)
{
    uint32_t fields = a->fake->term_count[BZ_TERM_FIELD];
    blaze_id torn = fake_id(a->fake->torn);
    if (a->fake->torn != 0 && memcmp(&change->id, &torn, sizeof torn) == 0) {
        a->fake->torn = 0;
        return bz_error_code(error, BLAZE_ENOTFOUND);
    }
    for (uint32_t i = 0; i < change->rec.write_count; i++) {
        struct bz_bytes body = change->rec.writes[i].body;
        if (body.size > 0 && bz_doc_check(body, fields) != 0)
            return bz_error_code(error, BLAZE_EPROTO);
    }
    struct fake_record *grown = bz_realloc(a->staged, (a->count + 1) * sizeof *grown);
    if (grown == NULL)
        return BLAZE_ENOMEM;
    a->staged = grown;
    grown[a->count++] = (struct fake_record){
        .collection = change->collection, .id = change->id, .rec = fake_encode(&change->rec, 0)};
    *changed = true;
    return 0;
}

static inline int fake_merge(struct fake *f, const struct fake_record *in, const blaze_id *peer)
{
    struct bz_arena arena;
    struct bz_rec remote, local, merged;
    bool changed, subsumed;
    bz_arena_init(&arena);
    struct fake_record *r = fake_find(f, in->collection, &in->id);
    int rc = bz_rec_decode(&arena, in->rec, 0, &remote);
    if (rc == 0 && r != NULL)
        rc = bz_rec_decode(&arena, r->rec, r->position, &local);
    if (rc == 0 && r == NULL && !(remote.has_life && remote.has_rest))
        rc = BLAZE_EPROTO;
    if (rc == 0 && r == NULL && f->count == FAKE_RECORDS)
        rc = BLAZE_ELIMIT;
    if (rc == 0)
        rc = bz_rec_merge(&arena, r != NULL ? &local : NULL, &remote, f->position + 1, &merged,
            &changed, &subsumed);
    if (rc == 0 && changed) {
        fake_store(f, in->collection, &in->id, &merged, subsumed ? peer : &(blaze_id){{0}});
        f->applied++;
    }
    bz_arena_release(&arena);
    return rc;
}

static inline int fake_apply_commit(struct bz_apply *a, const struct bz_peer_state *peer,
    const struct bz_head *head, bool *diverged, blaze_error *error)
{
    struct fake *f = a->fake;
    int rc = f->fail_commit;
    f->fail_commit = 0;
    for (uint32_t i = 0; rc == 0 && i < a->count; i++)
        rc = fake_merge(f, &a->staged[i], &a->peer);
    if (rc == 0) {
        uint32_t i = 0;
        while (i < f->peer_count && memcmp(&f->peers[i].node, &a->peer, sizeof a->peer) != 0)
            i++;
        assert(i < 16);
        f->peers[i].node = a->peer;
        f->peers[i].state = *peer;
        f->peer_count += i == f->peer_count;
        f->commits++;
        if (a->count > f->largest_commit)
            f->largest_commit = a->count;
    }
    if (rc == 0 && head != NULL) {
        struct bz_arena arena;
        struct bz_vv own;
        uint64_t alive;
        bz_arena_init(&arena);
        for (uint32_t i = 0; i < head->vv.count; i++)
            fake_raise(f, head->vv.entries[i]);
        fake_version(f, &arena, &own);
        struct bz_hash128 digest = fake_digest(f, &alive);
        *diverged = bz_vv_includes(&own, &head->vv) && bz_vv_includes(&head->vv, &own) &&
                    (digest.low != head->digest.low || digest.high != head->digest.high);
        bz_arena_release(&arena);
    }
    fake_apply_abort(a);
    return rc != 0 ? bz_error_code(error, rc) : 0;
}

static const struct bz_replica_ops fake_ops = {
    .identity = fake_identity,
    .meaning = fake_meaning,
    .peer_load = fake_peer_load,
    .position = fake_position,
    .changes_open = fake_changes_open,
    .changes_next = fake_changes_next,
    .changes_position = fake_changes_position,
    .changes_head = fake_changes_head,
    .changes_end = fake_changes_end,
    .changes_close = fake_changes_close,
    .apply_begin = fake_apply_begin,
    .apply_begin_now = fake_apply_begin_now,
    .resolve = fake_resolve,
    .apply_change = fake_apply_change,
    .apply_commit = fake_apply_commit,
    .apply_abort = fake_apply_abort,
    .version = fake_version,
    .node_number = fake_node_number,
};

/* ---- keys: no cryptography, only what depends on the key and on every byte ---- */

struct fake_keys {
    uint64_t access, member; /* 0: not held */
    uint64_t random;
};

static inline int fake_mac(void *context, bool member, struct bz_bytes transcript, uint8_t out[32])
{
    const struct fake_keys *keys = context;
    uint64_t key = member ? keys->member : keys->access;
    if (key == 0)
        return BLAZE_ENOTFOUND;
    for (int i = 0; i < 4; i++)
        bz_store64le(out + 8 * i, bz_hash64(transcript.data, transcript.size, key + (uint64_t)i));
    return 0;
}

/* The same whatever the transcript: for sessions whose bytes are changed on the way. */
static inline int fake_constant_mac(
    void *context, bool member, struct bz_bytes transcript, uint8_t out[32])
{
    (void)context;
    (void)transcript;
    memset(out, member ? 'm' : 'a', 32);
    return 0;
}

static inline int fake_random(void *context, void *data, size_t size)
{
    struct fake_keys *keys = context;
    for (size_t i = 0; i < size; i++) {
        keys->random = keys->random * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)data)[i] = (uint8_t)(keys->random >> 56);
    }
    return 0;
}

#endif

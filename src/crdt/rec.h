/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_CRDT_REC_H
#define BZ_CRDT_REC_H

/*
 * A record as a causal CRDT: what it holds, how it is written, how two states of it merge.
 *
 *   writes  what wrote something that is still there, each with its dot (node, seq), stamp, role,
 *           whether it says alive or dead, and a body: a document of the fields that it wrote. A
 *           write's fields stay together so that they can be sealed as one.
 *   cells   sets of writes that nothing has superseded: *life*; *rest*, which stands for every
 *           field without a cell of its own; and one for each field that was written on its own
 *           since the last whole write.
 *   rvv     node -> the highest seq of that node's writes seen in this record.
 *
 * Nodes and fields are local numbers (see replica.h); `struct bz_nodes` gives the nodes' ids where
 * their order matters. A field's value in a write is what the body says, absent if it is silent.
 *
 * Invariants:
 *   R1  every dot in a cell is covered by rvv;
 *   R2  every write is in at least one cell, and no dot appears twice in `writes`;
 *   R3  writes are sorted by (node, seq); cells by field; the members of a cell ascend;
 *   R4  no cell of a field equals rest;
 *   R5  life and rest are never empty in a complete record, nor is a field's cell;
 *   R6  no cell has two writes of one node (the later one has seen the earlier).
 *
 * All functions are pure; results are allocated in the arena given and borrow from it and from
 * their inputs.
 */

#include "base/arena.h"
#include "base/buf.h"
#include "base/hash.h"
#include "codec/names.h"

#include <blazedb/id.h>

enum { BZ_ROLE_CLIENT = 0, BZ_ROLE_SERVER = 1 };

/* Limits of one record. Past them: BLAZE_ELIMIT. */
#define BZ_REC_MAX_NODES   65535u     /* entries of rvv */
#define BZ_REC_MAX_WRITES  65535u     /* a merge: of both sides together */
#define BZ_REC_MAX_CELLS   65535u     /* what a merge may come to */
#define BZ_REC_MAX_FIELDS  4096u      /* cells that bz_rec_update() may come to */
#define BZ_REC_MAX_MEMBERS (1u << 20) /* of all cells, as a merge looks at them */

struct bz_dot {
    uint32_t node;
    uint64_t seq; /* from 1 */
};

/* A version vector: sorted by node, one entry a node, no zero. */
struct bz_vv {
    struct bz_dot *entries;
    uint32_t count;
};

/* The seq that `vv` has seen of a node, 0 if none. */
uint64_t bz_vv_get(const struct bz_vv *vv, uint32_t node);
bool bz_vv_covers(const struct bz_vv *vv, struct bz_dot dot);
/* Whether a covers all of b. */
bool bz_vv_includes(const struct bz_vv *a, const struct bz_vv *b);
/* *out := max of both, in the arena. BLAZE_ENOMEM. */
int bz_vv_max(
    struct bz_arena *arena, const struct bz_vv *a, const struct bz_vv *b, struct bz_vv *out);
int bz_vv_copy(struct bz_arena *arena, const struct bz_vv *vv, struct bz_vv *out);

/* The lesser of both, in place. */
void bz_vv_lower(struct bz_vv *vv, const struct bz_vv *other);

/* A version vector that grows. */
struct bz_vector {
    struct bz_vv vv; /* to read; its entries belong to the vector */
    uint32_t capacity;
};

void bz_vector_release(struct bz_vector *vector);
/* The entry of dot.node becomes at least dot.seq. BLAZE_ENOMEM. */
int bz_vector_raise(struct bz_vector *vector, struct bz_dot dot);
/* The same for each dot; after BLAZE_ENOMEM for some of them. */
int bz_vector_raise_all(struct bz_vector *vector, const struct bz_vv *vv);

struct bz_write {
    struct bz_dot dot;
    uint64_t stamp;
    uint64_t arrived; /* local log position at which it came; 0 on the wire */
    uint8_t role;
    bool alive;
    bool resolved; /* by bz_rec_resolve(): it settles siblings, and nobody wrote it on his own */
    uint32_t kind; /* of its values: 0, or a type that merges, which this version only carries */
    struct bz_bytes body; /* may be empty: no fields */
};

/* A set of indexes into `writes`, ascending. */
struct bz_cell {
    uint32_t field; /* only in bz_rec.cells */
    uint32_t count;
    const uint16_t *members;
};

struct bz_rec {
    struct bz_vv rvv;
    struct bz_write *writes;
    uint32_t write_count;
    uint32_t cell_count;
    struct bz_cell life;
    struct bz_cell rest;
    struct bz_cell *cells;
    /* False only in a partial record from a sender: life is as the receiver has it. */
    bool has_life;
    /* Likewise: rest and the cells not listed are as the receiver has them. */
    bool has_rest;
};

/* Whether it is no partial one from a sender. */
static inline bool bz_rec_complete(const struct bz_rec *rec)
{
    return rec->has_life && rec->has_rest;
}

/* The ids behind node numbers, to break ties by: the greater id wins. */
struct bz_nodes {
    const blaze_id *ids;
    uint32_t count;
};

/* ---- encoding (docs/format/record.md); a record of one live whole write is the whole form ---- */

/* Appends the record; `arrived` too, relative to `position`, unless position is 0 (the wire). */
void bz_rec_encode(struct bz_buf *out, const struct bz_rec *rec, uint64_t position);

/* Decodes hostile bytes: all invariants are checked, bodies are not (bz_doc_check). Bodies borrow
 * from `bytes`. BLAZE_ECORRUPT, BLAZE_ELIMIT, BLAZE_ENOMEM. */
int bz_rec_decode(
    struct bz_arena *arena, struct bz_bytes bytes, uint64_t position, struct bz_rec *out);

/* The fast path of reading a stored record: if `bytes` is the whole form of a live record and its
 * body is not empty, gives that and true. Checks no more than it needs to stay within `bytes`. */
bool bz_rec_simple_body(struct bz_bytes bytes, struct bz_bytes *body);

/* From one replica's numbers to another's: new numbers, or a negative error code. */
struct bz_renaming {
    int64_t (*node)(void *context, uint32_t node);
    int64_t (*field)(void *context, uint32_t field);
    void *context;
};

/* The same record in other numbers, sorted by them; bodies are left as they are. BLAZE_EPROTO if
 * two numbers become one; what the renaming returns; BLAZE_ENOMEM. `out` may be `rec`. */
int bz_rec_rename(struct bz_arena *arena, const struct bz_rec *rec, const struct bz_renaming *to,
    struct bz_rec *out);

/*
 * ---- writing ----
 *
 * `old` may be NULL. The dot of `write` is a new one of its node: BLAZE_EINVAL if `old` has seen
 * it.
 */

/* A whole write. BLAZE_ENOMEM. */
int bz_rec_put(struct bz_arena *arena, const struct bz_rec *old, const struct bz_write *write,
    struct bz_rec *out);
/* `fields` ascending; those not in the write's body are unset. Without an old record, as a put.
 * BLAZE_ELIMIT, BLAZE_ENOMEM. */
int bz_rec_update(struct bz_arena *arena, const struct bz_rec *old, const struct bz_write *write,
    const uint32_t *fields, uint32_t field_count, struct bz_rec *out);
/* The write says dead and has no body. BLAZE_ENOMEM. */
int bz_rec_delete(struct bz_arena *arena, const struct bz_rec *old, const struct bz_write *write,
    struct bz_rec *out);

/* Settles siblings: the cells of `fields` become the write's, life stays as it is, so that what
 * nobody wrote can neither hide the record nor bring it back. The write is `resolved`; its stamp
 * and role are those of what it stands for, which may be older than what is here. `old` is
 * complete. BLAZE_ELIMIT, BLAZE_ENOMEM. */
int bz_rec_resolve(struct bz_arena *arena, const struct bz_rec *old, const struct bz_write *write,
    const uint32_t *fields, uint32_t field_count, struct bz_rec *out);

/* ---- merging ---- */

/*
 * Merges what came into what is here (`local` may be NULL only if `remote` is complete). `remote`
 * may be partial. New writes get `arrived`. *changed says whether the state differs from local's;
 * *subsumed whether the sender had already seen all that the result has (rvv equal), so that it
 * need not be sent back. Where both have a write, local's stays; where each says that all of the
 * other's in a cell were superseded, the last of them. BLAZE_EPROTO if a partial record comes where
 * nothing is, BLAZE_ELIMIT, BLAZE_ENOMEM.
 */
int bz_rec_merge(struct bz_arena *arena, const struct bz_rec *local, const struct bz_rec *remote,
    uint64_t arrived, struct bz_rec *out, bool *changed, bool *subsumed);
/*
 * The same where all writes up to `gone` (NULL: none) that are not in local were superseded, though
 * its rvv may not say so: it was made anew after it had been deleted and collected. Where the two
 * cannot both be, the rvv alone counts.
 */
struct bz_rec_merged {
    bool changed, subsumed; /* as above */
    bool shrunk;            /* a cell lost a write of local's and gained none (rec_merge.c, M2): no
                             * version vector tells others of that */
    bool raised;            /* its rvv rose, and no write came with that: what it now includes was
                             * let go of elsewhere, and others may still show it */
};
int bz_rec_merge_past(struct bz_arena *arena, const struct bz_rec *local,
    const struct bz_rec *remote, const struct bz_vv *gone, uint64_t arrived, struct bz_rec *out,
    struct bz_rec_merged *merged);
/* Whether what was merged into a record had a write that the result has not, where version vectors
 * may not tell the sender so: not later than `gone`, or it claims to have seen as much. */
bool bz_rec_contradicts(const struct bz_rec *rec, const struct bz_vv *before,
    const struct bz_rec *remote, const struct bz_vv *gone);
/* Whether some cell has siblings of which one is not later than `gone`: where that was collected,
 * it may have been superseded. */
bool bz_rec_doubtful(const struct bz_rec *rec, const struct bz_vv *gone);

/* The partial form for a receiver that has everything up to log position `has`: without the cells
 * whose writes all arrived by then. Gives the whole record if rest must go, or if has is 0. */
int bz_rec_since(
    struct bz_arena *arena, const struct bz_rec *rec, uint64_t has, struct bz_rec *out);

/* Checks the bodies of a decoded record: each is empty, or passes bz_doc_check() with ids for all
 * its top-level names. BLAZE_ECORRUPT, BLAZE_ELIMIT. */
int bz_rec_check_bodies(const struct bz_rec *rec, uint32_t names);

/* Whether this version can read all that is in the record: BLAZE_EVERSION if a write's kind is not
 * 0. Whoever carries records without reading them need not ask. */
int bz_rec_check_kinds(const struct bz_rec *rec);

/* Drops from the bodies of a complete record the values that no reader can reach any more. Not on
 * blind nodes. BLAZE_ENOMEM. */
int bz_rec_trim(struct bz_arena *arena, struct bz_rec *rec);

/* The writes of `node` after `seq` become writes of `to`, a node that the record does not know and
 * whose number is greater than all of its: same seqs, arrived now, and as if they had seen no write
 * of `node` after `seq`. *changed: the record, which is complete, holds such a write; `out` is set
 * then. BLAZE_ENOMEM. */
int bz_rec_reissue(struct bz_arena *arena, const struct bz_rec *rec, uint32_t node, uint64_t seq,
    uint32_t to, uint64_t arrived, struct bz_rec *out, bool *changed);

/*
 * What becomes of a record, which is complete, that others have deleted and collected, having had
 * all writes up to `gone` (rec_outlive.c).
 */
enum bz_rec_outliving {
    BZ_REC_GONE,          /* no write that is new to them says whether it lives */
    BZ_REC_STAYS,         /* it holds new ones only */
    BZ_REC_WANTS_PRUNING, /* a new write speaks for the whole record: what is old can go */
    BZ_REC_WANTS_BASE,    /* new writes stand on old ones */
};
enum bz_rec_outliving bz_rec_outlives(const struct bz_rec *rec, const struct bz_vv *gone);
/* The body and the stamp of the base: appends the document of the old writes that no new one has
 * replaced. BLAZE_ENOMEM, what bz_rec_document() gives. */
int bz_rec_base(struct bz_arena *arena, const struct bz_rec *rec, const struct bz_vv *gone,
    const struct bz_nodes *nodes, struct bz_buf *body, uint64_t *stamp);
/* The record of the new writes alone, on that base if it wants one (else NULL), which has seen all
 * up to `seen` besides. All of its writes count as arrived at `arrived`. BLAZE_EINVAL,
 * BLAZE_ELIMIT, BLAZE_ENOMEM. */
int bz_rec_outlive(struct bz_arena *arena, const struct bz_rec *rec, const struct bz_vv *gone,
    const struct bz_vv *seen, const struct bz_write *base, uint64_t arrived, struct bz_rec *out);

/* ---- reading; the record is complete ---- */

/* The member of a cell that wins: by role, then stamp, then node id, then seq. */
const struct bz_write *bz_rec_winner(
    const struct bz_rec *rec, const struct bz_cell *cell, const struct bz_nodes *nodes);
bool bz_rec_alive(const struct bz_rec *rec, const struct bz_nodes *nodes);
/* Whether life has siblings of which one says alive and one dead. */
bool bz_rec_life_differs(const struct bz_rec *rec);

/* Whether a delete in it is concurrent with other writes. */
bool bz_rec_torn(const struct bz_rec *rec);

/* The cell that speaks for a field: its own or rest. */
const struct bz_cell *bz_rec_cell(const struct bz_rec *rec, uint32_t field);

/* Appends the document that a reader sees (also of a dead record: what is hidden). */
int bz_rec_document(struct bz_buf *out, const struct bz_rec *rec, const struct bz_nodes *nodes);

/* The value of a field in that document, which borrows `names` and the record. BLAZE_ENOTFOUND. */
int bz_rec_field(const struct bz_rec *rec, const struct bz_nodes *nodes, uint32_t field,
    const struct blaze_names *names, blaze_value *out);

/* How many fields have siblings with differing values, absent being one, and (unless NULL) which,
 * ascending. Life does not count. BLAZE_ENOMEM. */
int bz_rec_conflicts(
    struct bz_arena *arena, const struct bz_rec *rec, const uint32_t **fields, uint32_t *count);

/* The record's share of the database digest: of its id and the dots it holds, by node id. Zero when
 * it is not alive. It does not look at names, which a blind node has none of; dots tell records of
 * one id in different collections apart. */
struct bz_hash128 bz_rec_digest(
    const struct bz_rec *rec, const blaze_id *id, const struct bz_nodes *nodes);

#endif

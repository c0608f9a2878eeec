/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_CRDT_REPLICA_H
#define BZ_CRDT_REPLICA_H

/*
 * What a sync session asks of a database, and nothing more: the border between `sync`, which knows
 * the protocol, and `db`, which knows storage. The simulator and a blind hub stand on it too.
 *
 * Nodes, collections and field names are numbers local to each replica; the session tells its peer
 * what a number of ours means before its first use, and asks `resolve` what the peer's mean here.
 *
 * Threads: one thread at a time per replica object; different replica objects of one database are
 * independent.
 */

#include "base/error.h"
#include "crdt/rec.h"

struct bz_identity {
    blaze_id database;
    blaze_id node;
    blaze_id epoch; /* of the change log: positions mean something only within it */
    uint8_t role;
    bool blind; /* it carries what it cannot read: names and bodies are sealed bytes to it */
};

/* An opening of a database for writing, as a stretch of its change log: the positions after `start`
 * up to the next one's. Two logs that have the same opening at a position are the same up to it, so
 * a copy that was put back to an older state is told from what it was. */
struct bz_opening_mark {
    uint64_t start;
    uint64_t id; /* random; 0: none */
};

/* What is remembered of the openings of a log up to a position: the newest first, which is that of
 * the position, and of older ones the fewer the further back. */
#define BZ_TRAIL_MAX 8u
struct bz_trail {
    uint32_t count;
    struct bz_opening_mark marks[BZ_TRAIL_MAX];
};
/* Adds newer ones. False, and nothing is added, if they do not begin after those that are there. */
bool bz_trail_add(struct bz_trail *trail, const struct bz_trail *newer);
/* A count of one byte, then for each a varint start and its id in 8 bytes, little-endian; each
 * starts before the one before it, the first before `position`. False for what is not so. */
bool bz_trail_read(struct bz_reader *r, uint64_t position, struct bz_trail *trail);

/* What a peer must have had for that to be taken in which it sent of records that a partial replica
 * has let go of: once it has had it, its log is read again. */
struct bz_awaited {
    uint64_t own; /* our writes up to here, which were in one of them; 0: nothing */
    bool all;     /* all that we have been shown, of which one was, since the record is untold */
};

/* What is known of a peer's log, kept durably under its node id. */
struct bz_peer_state {
    blaze_id epoch;        /* which log the positions below are of; all zero: none yet */
    uint64_t cursor;       /* applied here up to this position */
    uint64_t as_of;        /* the newest head of a log from which that was read: what had left a
                              position by then was not given; at least the cursor */
    uint64_t reached;      /* the last head of theirs that was fully reached here, 0: none */
    uint64_t seen_ms;      /* wall clock of the last contact */
    blaze_id database;     /* reserved: all zero */
    struct bz_trail trail; /* of `as_of` */
    bool scoped;   /* it is a partial replica: it is not to be counted on for anything but its
                      own writes */
    uint64_t held; /* applied here up to this position under the scope before the present one */
    struct bz_awaited awaits; /* for want of this something before `cursor` was not taken in */
    uint64_t scope;           /* not kept: the generation of our scope that the positions are of */
    uint32_t self; /* not kept: the number of the node that we were to it; see outlived */
};

/* Our scope (scope.h), as a session asks by it. */
struct bz_scope_state {
    uint64_t generation;           /* changes with the scope; 0: a full replica */
    struct bz_bytes scope, before; /* in the arena; `before`: what was held up to `held` */
    bool whole; /* records may be missing here that were sent once: send complete ones only */
    bool empty; /* nothing is here yet, so that nothing need be taken back */
};

/* Who sends changes, as far as it matters for them. The vectors stay until the commit. */
struct bz_sender {
    bool scoped;                   /* it is a partial replica */
    uint64_t acked;                /* it has acknowledged our log up to here */
    const struct bz_vv *had;       /* it had all of this before it read what it sends */
    const struct bz_vv *collected; /* what it has told was collected, as far as it has it */
};

/* A peer's state when a position of its log is fully applied, or ours when it is sent. */
struct bz_head {
    uint64_t position;
    struct bz_vv vv;
    struct bz_hash128 digest;
    uint64_t records;       /* alive */
    uint64_t purged;        /* ours: another number whenever more is known to have been collected */
    struct bz_vv collected; /* a peer's: of all that it has told was collected, the greatest dots */
    uint64_t collected_stamp;
    bool opaque;   /* a peer's: it is blind, and of what it told some may have been left out */
    bool partial;  /* the log holds writes beyond vv: parts of what others are still sending */
    bool scoped;   /* of a partial replica: vv says what it has been shown within its scope */
    uint32_t self; /* ours: our own number; else 0 */
    bool claims;   /* scoped: all of its own writes up to vv are in the log or were sent before */
};

enum bz_change_kind {
    BZ_CHANGE_RECORD,
    BZ_CHANGE_MARKER, /* the record, as of rec.rvv, is outside of the receiver's scope: no more of
                         it is given */
    BZ_CHANGE_NONE,   /* nothing yet: many positions were looked at in vain */
};

struct bz_change {
    uint64_t position; /* in the sender's log; incoming: not beyond that, where its chunk ends */
    uint32_t collection;
    blaze_id id;
    struct bz_rec rec;
    enum bz_change_kind kind;
    bool untold; /* it changed where version vectors do not say so: told to everybody */
    bool anew;   /* of a peer that tells everything anew, since we show something else than it */
    /* Incoming, through a blind peer: the greatest dots of those of its writes that nobody can read
     * as they were sealed. Their bodies are empty here. Where that is all of it, rec has nothing
     * but its rvv. */
    struct bz_vv illegible;
    bool forged; /* no member has sealed them, as far as can be told */
};

/* In a change: its collection has a name that nobody can read. */
#define BZ_COLLECTION_NONE UINT32_MAX

/* Of a peer's cursor in our log. */
enum bz_recognition {
    BZ_CURSOR_GOOD,
    BZ_CURSOR_VOID,     /* what it was read from is forgotten */
    BZ_CURSOR_OUTLIVED, /* this copy was put back to an older state */
};

enum bz_term { BZ_TERM_NODE, BZ_TERM_COLLECTION, BZ_TERM_FIELD, BZ_TERM_DICTIONARY };

/* What the receiver of our changes is known to have. */
struct bz_receiver {
    blaze_id node;    /* all zero: whoever it is, what it sent itself it may have lost */
    uint64_t reached; /* it has all that our log held at this position (0: nothing) */
    uint64_t lost;    /* up to here, what it sent itself it may have lost */
    struct bz_vv vv;  /* it has all writes up to these (node numbers are ours); may be empty */
    bool lazy;        /* what is new it gets from others */
    struct bz_vv collected; /* what it has told was collected */
    /* A partial replica: what it wants; what it wanted when it was sent all up to `held`; up to
     * which position it cannot have anything that must be taken back. The bytes stay until the walk
     * is closed, are checked (scope.h), and are a stranger's. Empty: everything. */
    struct bz_bytes scope, before;
    uint64_t held;
    uint64_t fresh;
    /* Where we are a partial replica: who it is, and up to where it has acknowledged our log. */
    blaze_id peer;
    uint64_t acked;
};

/* What replicas are known to have, as one tells it to another. Node ids, since it may name any. */
struct bz_told_vv {
    struct bz_told {
        blaze_id node;
        uint64_t seq;
    } * entries;
    uint32_t count;
};

struct bz_coverage_row {
    blaze_id node;
    bool forgotten;  /* somebody had it forgotten when it was last heard of */
    bool floor;      /* of all that this node knows of, of which there is too much to tell */
    uint64_t age_ms; /* since it was heard of */
    struct bz_told_vv vv;
};

struct bz_coverage {
    struct bz_told_vv purged; /* the greatest dots of all deleted records ever collected, */
    uint64_t purged_stamp;    /* and their greatest stamp */
    struct bz_coverage_row *rows;
    uint32_t count;
    bool blind; /* there are blind copies of the database */
};

/* How we stand to a peer that has told this. */
struct bz_standing {
    struct bz_vv has;         /* what its own row says */
    struct bz_vv purged;      /* of all deleted records ever collected, the greatest dots; */
    struct bz_vv collected;   /* those that it has itself, */
    uint64_t collected_stamp; /* and their greatest stamp */
    bool behind; /* we may hold records whose deletes we never had and it has collected */
    bool fresh;  /* that would be so if we held anything */
};

/* The records of a collection, deleted ones too, with ids in (after, last]. */
struct bz_range {
    struct bz_bytes collection; /* its name; one that is not here has no records */
    bool whole;                 /* from the first id on: `after` does not count */
    blaze_id after, last;
};

struct bz_range_sum {
    uint64_t max;             /* in: records, at most */
    blaze_id *ids;            /* in: room for the ids of that many, or NULL */
    uint64_t count;           /* out, and what follows */
    struct bz_hash128 digest; /* the sum of hashes of the ids */
    blaze_id last;            /* of the last record, if there are more than max */
    bool more;
};

struct bz_changes; /* a walk over our log in one snapshot */
struct bz_apply;   /* one commit of changes from a peer */

/* What a full peer has of a partial replica: its log up to `safe`, and with it all of its own
 * writes, as node `self`, up to `claimed`; the peer claims those to others from then on. */
struct bz_acknowledged {
    blaze_id peer;
    uint64_t safe, claimed;
    uint32_t self;
};

struct bz_replica_ops {
    int (*identity)(void *context, struct bz_identity *out);

    /* The meaning of a number of ours: 16 bytes of node id, or the UTF-8 name (of a blind replica:
     * its bytes), or a dictionary in its sealed form. Borrowed until the replica is closed.
     * BLAZE_ENOTFOUND. */
    int (*meaning)(void *context, enum bz_term term, uint32_t number, struct bz_bytes *out);

    /* All zero for a node never met. */
    int (*peer_load)(void *context, const blaze_id *node, struct bz_peer_state *out);

    /* The newest position of our log; grows with every change. */
    uint64_t (*position)(void *context);

    /* Sending: the changed records after `from` in log order, each once, without those that the
     * receiver has already (by vv or because it sent them), cells that it has left out. `receiver`
     * is copied, its vv too. */
    int (*changes_open)(void *context, const struct bz_receiver *receiver, uint64_t from,
        struct bz_changes **out, blaze_error *error);
    /* The next change, borrowed until the next call; BLAZE_END at the head. */
    int (*changes_next)(struct bz_changes *changes, struct bz_change *out, blaze_error *error);
    /* The position up to which the walk has passed, skipped ones included. */
    uint64_t (*changes_position)(struct bz_changes *changes);
    /* The head of the walk's snapshot, borrowed until close. */
    int (*changes_head)(struct bz_changes *changes, struct bz_head *out);
    /* The position of that head alone. */
    uint64_t (*changes_end)(struct bz_changes *changes);
    /* The openings after that of `told`, up to that of a position that the snapshot has; where
     * there are many, the last. NULL, as recognize, if the replica keeps none. */
    int (*changes_openings)(struct bz_changes *changes, const struct bz_opening_mark *told,
        uint64_t position, struct bz_trail *out);
    void (*changes_close)(struct bz_changes *changes);

    /* Receiving: a chunk in one durable commit. Numbers in the change are ours, from resolve(),
     * which adds what is new. Bodies are checked here. */
    int (*apply_begin)(
        void *context, const blaze_id *peer, struct bz_apply **out, blaze_error *error);
    /* The same, for a small chunk, by a thread that must not wait: BLAZE_EBUSY if it would have to,
     * until the commit has returned. NULL: it always would. */
    int (*apply_begin_now)(
        void *context, const blaze_id *peer, struct bz_apply **out, blaze_error *error);
    int (*resolve)(struct bz_apply *apply, enum bz_term term, struct bz_bytes meaning,
        uint32_t *number, blaze_error *error);
    /* *changed: whether anything is different here now, or has been noted: a record that holds more
     * than is here, and is illegible, is noted and left out. */
    int (*apply_change)(
        struct bz_apply *apply, const struct bz_change *change, bool *changed, blaze_error *error);
    /* Whether records that were left out so far are still missing. NULL: there are none. */
    int (*apply_lacks)(struct bz_apply *apply, bool *out, blaze_error *error);
    /* Commits together with the peer's cursor; with a head, also takes over its version vector, of
     * an opaque one without the entries of nodes of which it may hold what was left out.
     * *diverged (only with a head): version vectors are equal, neither side holds anything beyond
     * its own, and the digests differ. Consumes `apply`, as abort does, whatever it returns. */
    int (*apply_commit)(struct bz_apply *apply, const struct bz_peer_state *peer,
        const struct bz_head *head, bool *diverged, blaze_error *error);
    void (*apply_abort)(struct bz_apply *apply);

    /* A peer knows a position of our log that we have not come to, or a write of ours that we never
     * made: this copy was put back to an older state. It goes on as another node with another log;
     * `former` is whom the peer knows, and if we are another by now nothing is done. What this copy
     * has written since it was put back, as far as `trail` shows when that was (NULL: as the
     * present opening does), it has then written as that other node, and all peers' logs are read
     * anew. Sessions that began before it end: apply_commit() gives BLAZE_ECLOSED for another
     * peer->self, and heads of ours have another one. NULL if the replica cannot. */
    int (*outlived)(
        void *context, const blaze_id *former, const struct bz_trail *trail, blaze_error *error);

    /* Whether the log had a head at `as_of`, with that trail, on its way to what it is. */
    int (*recognize)(
        void *context, uint64_t as_of, const struct bz_trail *trail, enum bz_recognition *out);

    /* What we know of what replicas have, our own row first, for a peer that is told; in the arena.
     * NULL, as learn and the ranges, if the replica does not collect. */
    int (*coverage_tell)(
        void *context, const blaze_id *receiver, struct bz_arena *arena, struct bz_coverage *out);
    /* Moves whenever there may be something new to tell. */
    uint64_t (*coverage_mark)(void *context);
    /* What a peer knows; commits. The standing is in the arena. */
    int (*coverage_learn)(void *context, const struct bz_coverage *told, struct bz_arena *arena,
        struct bz_standing *out, blaze_error *error);
    /* A step of collecting what all replicas know to be deleted; *more: there is more to do. */
    int (*collect)(void *context, bool *more, blaze_error *error);

    /* Sums up records of ours. */
    int (*range_list)(void *context, const struct bz_range *range, struct bz_range_sum *out);
    /* A peer has told the `count` ids, ascending, of all records in a range of which it has any
     * trace; so it has deleted and collected all others that it ever had. Those of them that are
     * here go, unless they hold what it never had (rec.h); commits. */
    int (*range_compare)(void *context, const struct bz_range *range, const blaze_id *there,
        uint32_t count, const struct bz_standing *standing, uint64_t *removed, blaze_error *error);
    /* All ranges have been compared, beginning when our log stood at `began`. */
    int (*range_compared)(
        void *context, uint64_t began, const struct bz_standing *standing, blaze_error *error);
    /* Whether nothing has come from any other peer than this. */
    int (*only_from)(void *context, const blaze_id *peer, bool *out, blaze_error *error);
    /* Whether, after a position of our log, a record has come from any other peer than this all of
     * whose writes may have been collected. */
    int (*came_since)(void *context, uint64_t position, const blaze_id *peer,
        const struct bz_vv *collected, bool *out, blaze_error *error);

    /* Our version vector now, in the arena. */
    int (*version)(void *context, struct bz_arena *arena, struct bz_vv *out);
    /* The greatest dots of the records that were left out: where the version vector does not cover
     * one, it stands still. NULL: there are none. */
    int (*left_out)(void *context, struct bz_arena *arena, struct bz_vv *out);
    /* Whether a blind peer's log is to be read from its start once more, since what was left out
     * may be there as it should be by now; then this counts as done for a day. NULL: never. */
    int (*left_out_again)(void *context, bool *out, blaze_error *error);
    /* The number of ours for a node id, adding nothing: BLAZE_ENOTFOUND. */
    int (*node_number)(void *context, const blaze_id *node, uint32_t *out);

    /*
     * Partial replicas; all NULL where there are none. The session ends when the scope's generation
     * is no longer the one that it began with: apply_commit() gives BLAZE_EBUSY for such a
     * peer->scope.
     */
    int (*scope)(void *context, struct bz_arena *arena, struct bz_scope_state *out);
    /* A full peer resumes our log at a position. If it is the one that we count on for what we have
     * let go of, and had read further by then, it has lost that: we go on as another node, unless
     * we are not `former` any more, and this gives BLAZE_ECLOSED. */
    int (*resumed)(void *context, const blaze_id *former, const blaze_id *peer, uint64_t position,
        blaze_error *error);
    /* Says of whom the changes come; right after apply_begin(). */
    void (*apply_from)(struct bz_apply *apply, const struct bz_sender *sender);
    /* What was not taken in, of what has been applied, since the peer may not have had enough. */
    struct bz_awaited (*apply_awaits)(const struct bz_apply *apply);
    /* Whether something has come where nothing was that may have been collected, and a peer that
     * tells of so much would know: a partial replica then compares, though it is not behind. */
    int (*doubts)(void *context, const struct bz_vv *collected, bool *out, blaze_error *error);
    /* A record is outside of our scope as of change->rec.rvv: it goes from here, unless it holds
     * more than that. */
    int (*apply_marker)(
        struct bz_apply *apply, const struct bz_change *change, bool *changed, blaze_error *error);
    /* What is outside of our scope, and was kept for a full peer to have it, can go. *more: call
     * again. */
    int (*acknowledged)(
        void *context, struct bz_acknowledged known, bool *more, blaze_error *error);
};

struct bz_replica {
    const struct bz_replica_ops *ops;
    void *context;
};

#endif

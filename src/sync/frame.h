/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_SYNC_FRAME_H
#define BZ_SYNC_FRAME_H

/*
 * The frames of the wire, byte by byte in docs/format/wire.md: a varint length, which counts the
 * type byte and the payload, the type byte, the payload. Encoders append a payload; decoders take
 * hostile ones, allocate nothing and return BLAZE_EPROTO for what is not well-formed.
 *
 * Every payload but those of CHANGES and HAVE may be longer than its decoder knows: a later version
 * adds fields at the end, an earlier one skips them. An unknown frame is skipped if its type has
 * the optional bit, else it ends the session.
 */

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"
#include "crdt/replica.h"
#include "crdt/scope.h"
#include "sync/pack.h"

enum bz_frame_type {
    BZ_FRAME_HELLO = 1,
    BZ_FRAME_ENROL = 2,
    BZ_FRAME_PROOF = 3,
    BZ_FRAME_WELCOME = 4,
    BZ_FRAME_REFUSE = 5,
    BZ_FRAME_RESUME = 6,
    BZ_FRAME_CHANGES = 7,
    BZ_FRAME_ACK = 8,
    BZ_FRAME_PING = 9,
    BZ_FRAME_PONG = 10,
    BZ_FRAME_BYE = 11,
    BZ_FRAME_RANGES = 12,
    BZ_FRAME_ITEMS = 13,
    BZ_FRAME_HAVE = 16,
    BZ_FRAME_PACE = 17,
    BZ_FRAME_COVERED = 18,
    BZ_FRAME_REST = 22,
    BZ_FRAME_OPTIONAL = 0x80, /* a bit of the type */
};

/* Limits of a frame's length: before the peer is proven, of a frame without records, of any. */
#define BZ_FRAME_EARLY_MAX   4096u
#define BZ_FRAME_CONTROL_MAX (256u << 10)
#define BZ_FRAME_MAX         (160u << 20) /* a record as large as a store holds, and its names */

/* Looks at the frame that `input` starts with. 0 and its payload and *size, the bytes that it
 * takes, length included; BLAZE_END if more must come first, with *size if it is known by then,
 * else 0, and *type if known, else 0; BLAZE_EPROTO for a malformed or empty length. A limit is the
 * caller's to check, on *size, before it waits for more. */
int bz_frame_peek(struct bz_bytes input, uint8_t *type, struct bz_bytes *payload, size_t *size);

/* Appends a whole frame. */
void bz_frame_append(struct bz_buf *out, uint8_t type, struct bz_bytes payload);
/* The same of a payload in two parts. */
void bz_frame_append_parts(
    struct bz_buf *out, uint8_t type, struct bz_bytes first, struct bz_bytes second);

/* Features: what both sides have a bit of may be used. */
#define BZ_FEATURE_LZ4       0x01u
#define BZ_FEATURE_ZSTD      0x02u /* as a stream */
#define BZ_FEATURE_LAZY      0x04u /* HAVE and PACE */
#define BZ_FEATURE_RECONCILE 0x08u /* COVERED, RANGES, ITEMS */
#define BZ_FEATURE_FILTERS   0x10u /* scopes in RESUME, markers in CHANGES */

struct bz_hello {
    uint64_t version_min, version_max;
    uint64_t features;  /* BZ_FEATURE_ bits; unknown ones are ignored */
    uint64_t challenge; /* ms within which the nonce must be answered, by its sender's clock */
    blaze_id database;
    blaze_id node;
    blaze_id epoch; /* of the sender's log: what cursors belong to */
    uint8_t role;
    bool enrols; /* ENROL follows */
    bool blind;  /* the sender has no key to what it carries */
    uint8_t nonce[32];
};
void bz_hello_encode(struct bz_buf *out, const struct bz_hello *hello);
int bz_hello_decode(struct bz_bytes payload, struct bz_hello *out);

struct bz_enrol {
    blaze_id database;
    bool secret; /* the key is the database's secret, else its access key */
    uint8_t key[32];
};
void bz_enrol_encode(struct bz_buf *out, const struct bz_enrol *enrol);
int bz_enrol_decode(struct bz_bytes payload, struct bz_enrol *out);

struct bz_proof {
    bool member; /* whether the second one is there */
    uint8_t access_mac[32];
    uint8_t member_mac[32];
};
void bz_proof_encode(struct bz_buf *out, const struct bz_proof *proof);
int bz_proof_decode(struct bz_bytes payload, struct bz_proof *out);

struct bz_welcome {
    uint64_t position;            /* of the head of the sender's log */
    uint64_t chunk;               /* the largest chunk that it likes to get, decompressed */
    uint64_t window;              /* bytes of CHANGES that may be on their way to it */
    struct bz_bytes dictionaries; /* names of those it has; none unless one side is blind */
};
/* What is decoded points into the payload. */
void bz_welcome_encode(struct bz_buf *out, const struct bz_welcome *welcome);
int bz_welcome_decode(struct bz_bytes payload, struct bz_welcome *out);

/* What REFUSE and BYE say. */
#define BZ_GOODBYE_TEXT_MAX 159u
struct bz_goodbye {
    int code;   /* 0 or a BLAZE_E code; foreign ones become BLAZE_EPROTO */
    bool final; /* trying again does not help */
    char reason[BZ_GOODBYE_TEXT_MAX + 1]; /* printable, on one line */
};
void bz_goodbye_encode(struct bz_buf *out, const struct bz_goodbye *goodbye);
int bz_goodbye_decode(struct bz_bytes payload, struct bz_goodbye *out);

/* RESUME, and in it the summary, which the caller reads with bz_summary_next(). A sender puts no
 * more than so many entries in; which ones is its own choice. */
#define BZ_SUMMARY_MAX 4096u
struct bz_resume {
    uint64_t round;          /* 0 at first, then one more each time */
    blaze_id epoch;          /* of the log that the positions are of */
    uint64_t position;       /* go on after this one */
    uint64_t as_of;          /* see bz_peer_state; at least `position` */
    uint64_t reached;        /* the last head reached in full, at most `position` */
    struct bz_bytes summary; /* empty unless a cursor cannot be used */
    struct bz_trail trail;   /* of `as_of` */
    /* Of a partial replica; there only if scope is not empty (crdt/scope.h; checked). */
    bool whole;                    /* complete records only */
    bool empty;                    /* it has nothing yet */
    uint64_t held;                 /* it was sent all up to here under `before` */
    struct bz_bytes scope, before; /* `before` empty: everything, if held is not 0 */
};
void bz_resume_encode(struct bz_buf *out, const struct bz_resume *resume);
int bz_resume_decode(struct bz_bytes payload, struct bz_resume *out);
/* The scope's part of it, frame_scope.c. */
void bz_resume_scope_encode(struct bz_buf *out, const struct bz_resume *resume);
int bz_resume_scope_decode(struct bz_reader *r, struct bz_resume *out);
void bz_summary_append(struct bz_buf *out, const blaze_id *node, uint64_t seq);
/* BLAZE_END after the last. */
int bz_summary_next(struct bz_bytes *summary, blaze_id *node, uint64_t *seq);

struct bz_ack {
    uint64_t chunks;   /* CHANGES frames dealt with in this session, in all */
    uint64_t position; /* of the sender's log, durably applied */
    uint64_t window;   /* as in WELCOME, from now on */
    uint64_t waiting;  /* bytes of CHANGES that have come and are not dealt with */
    bool lacks;        /* something of what was sent is missing: no head counts as reached */
};
void bz_ack_encode(struct bz_buf *out, const struct bz_ack *ack);
int bz_ack_decode(struct bz_bytes payload, struct bz_ack *out);

/* PING, and the PONG that gives the number back. */
void bz_ping_encode(struct bz_buf *out, uint64_t number);
int bz_ping_decode(struct bz_bytes payload, uint64_t *number);

/* HAVE, an entry at a time: how far the sender's version vector has come. Nodes are numbered in the
 * order in which its HAVEs name them. */
#define BZ_HAVE_MAX 4096u /* nodes */
struct bz_have {
    uint32_t index;
    bool named;       /* for the first time: `index` is the number of nodes named before */
    blaze_id node;    /* if named */
    uint64_t advance; /* of its seq since HAVE told it last, not 0 */
};
void bz_have_append(struct bz_buf *out, const struct bz_have *have);
/* Takes the next entry off `payload`; `known` nodes are named so far. BLAZE_END after the last. */
int bz_have_next(struct bz_bytes *payload, uint32_t known, struct bz_have *out);

void bz_pace_encode(struct bz_buf *out, bool lazy);
int bz_pace_decode(struct bz_bytes payload, bool *lazy);

/* The fixed part of CHANGES; what follows is the body, packed or not. */
struct bz_chunk {
    enum bz_packing packing;
    bool more;                /* the head is not reached, and the body has none */
    bool markers;             /* the body has a section of them */
    uint64_t round;           /* of the RESUME that it answers */
    uint64_t from, to;        /* positions (from, to] */
    uint64_t as_of;           /* head of the log that was read; `to`, if there is no more */
    uint64_t raw_size;        /* of the body, unpacked */
    struct bz_trail openings; /* up to that which `as_of` belongs to, where there are new ones */
    struct bz_bytes body;
};
void bz_chunk_encode(struct bz_buf *out, const struct bz_chunk *chunk);
int bz_chunk_decode(struct bz_bytes payload, struct bz_chunk *out);

/*
 * The body: definitions, records, markers if there are any, and where `more` is false the head. A
 * reader walks it in that
 * order; each next() gives BLAZE_END after the last of its kind, and bz_body_end() checks that
 * nothing is left.
 */
#define BZ_TERMS_DEFINED_MAX (1u << 20) /* numbers on the wire are below this */
#define BZ_NAME_OPAQUE_MAX   320u       /* bytes of a sealed name */

struct bz_definition {
    enum bz_term term;
    uint32_t number;
    struct bz_bytes meaning; /* 16 bytes, or UTF-8 of 1 to 255; opaque: 1 to 320 bytes */
};
struct bz_record {
    uint32_t collection;
    bool untold; /* on the wire, 2^20 are added to the collection */
    blaze_id id;
    struct bz_bytes rec; /* bz_rec_encode() for position 0 */
};
struct bz_body_reader {
    struct bz_reader reader;
    uint64_t left; /* of the kind being read */
    bool opaque;   /* names are sealed */
};
/* A marker: a record of which the receiver's scope does not take the state that `rvv` says. */
struct bz_marker {
    uint32_t collection;
    blaze_id id;
    struct bz_vv rvv; /* in the sender's numbers */
};
void bz_definition_append(struct bz_buf *out, const struct bz_definition *definition);
void bz_record_append(struct bz_buf *out, const struct bz_record *record);
/* The counts come before what they count. */
void bz_body_encode(struct bz_buf *out, uint64_t definitions, struct bz_bytes defined,
    uint64_t records, struct bz_bytes recorded);

/* `opaque`: one of the two sides is blind. */
int bz_body_definitions(struct bz_body_reader *body, struct bz_bytes bytes, bool opaque);
int bz_body_next_definition(struct bz_body_reader *body, struct bz_definition *out);
int bz_body_records(struct bz_body_reader *body);
int bz_body_next_record(struct bz_body_reader *body, struct bz_record *out);

void bz_marker_append(struct bz_buf *out, const struct bz_marker *marker);
int bz_body_markers(struct bz_body_reader *body);
/* rvv in the arena, ascending. BLAZE_EPROTO, BLAZE_ENOMEM. */
int bz_body_next_marker(struct bz_body_reader *body, struct bz_arena *arena, struct bz_marker *out);

/* The head: counts and digest, then version vector entries in the sender's numbers, ascending:
 * those that are new since the head before. */
struct bz_body_head {
    uint64_t records;
    struct bz_hash128 digest;
    bool partial; /* the sender holds writes beyond its version vector */
    bool scoped;  /* of a partial replica, see bz_head */
    bool claims;
};
void bz_head_append(struct bz_buf *out, const struct bz_body_head *head, uint64_t entries);
void bz_head_append_entry(struct bz_buf *out, struct bz_dot entry);
int bz_body_head(struct bz_body_reader *body, struct bz_body_head *out);
int bz_body_next_entry(struct bz_body_reader *body, struct bz_dot *out);
int bz_body_end(struct bz_body_reader *body);

/* COVERED, in coverage_code.c; both work in the arena. The first row is the sender's own; without
 * `ages` they are 0. BLAZE_ELIMIT: too much to tell; BLAZE_ENOMEM. */
int bz_covered_encode(
    struct bz_buf *out, struct bz_arena *arena, const struct bz_coverage *coverage, bool ages);
/* BLAZE_EPROTO, BLAZE_ENOMEM. */
int bz_covered_decode(struct bz_bytes payload, struct bz_arena *arena, struct bz_coverage *out);

/* RANGES, and ITEMS, which answers it; frame_compare.c. Ids ascend throughout: a span tells what
 * comes before the next range, and moves on with each. */
#define BZ_RANGES_MAX        64u
#define BZ_RANGE_RECORDS_MAX 1024u
#define BZ_ITEM_IDS_MAX      8192u /* in one list */
struct bz_span {
    bool whole; /* from the first id there can be, else */
    blaze_id after;
};

/* What is appended after the fixed part, bz_range_append() for each, is the caller's. */
struct bz_asked_ranges {
    struct bz_bytes collection; /* its name */
    struct bz_span span;
    uint64_t count; /* of those to come */
    struct bz_reader rest;
};
struct bz_asked_range {
    blaze_id last;
    uint64_t records;
    struct bz_hash128 digest;
};
void bz_asked_ranges_encode(struct bz_buf *out, const struct bz_asked_ranges *ranges);
void bz_range_append(struct bz_buf *out, const struct bz_asked_range *range);
int bz_asked_ranges_decode(struct bz_bytes payload, struct bz_asked_ranges *out);
/* BLAZE_END after the last. */
int bz_asked_ranges_next(struct bz_asked_ranges *ranges, struct bz_asked_range *out);

/* The count comes first, as a varint; then bz_item_append() for each. */
enum bz_item_kind { BZ_ITEM_EQUAL = 0, BZ_ITEM_LIST = 1, BZ_ITEM_PART = 2 };
struct bz_item {
    enum bz_item_kind kind;
    blaze_id last;       /* up to where it goes: as asked, but for a part, which is the last item */
    const blaze_id *ids; /* these two unless equal; decoded, they point into the payload */
    uint32_t count;
};
struct bz_items {
    uint64_t count; /* of those to come */
    struct bz_reader rest;
};
void bz_item_append(struct bz_buf *out, const struct bz_item *item);
int bz_items_decode(struct bz_bytes payload, struct bz_items *out);
/* The answer to the range that begins at `span` and was asked for up to `asked`. BLAZE_END after
 * the last. */
int bz_items_next(
    struct bz_items *items, struct bz_span *span, const blaze_id *asked, struct bz_item *out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_SYNC_SESSION_PRIV_H
#define BZ_SYNC_SESSION_PRIV_H

/*
 * The parts of a session:
 *
 *   session.c    life, time, input and output, which frame goes where, status
 *   handshake.c  HELLO to RESUME
 *   outgoing.c   our changes: walk, chunks, credit
 *   incoming.c   the peer's changes: checks, renaming, commits, acknowledgement
 *   lazy.c       links that wait, because the peer learns from others
 *   scope.c      partial replicas: our scope and the peer's, markers
 *   frame.c      frames to bytes and back, with frame_scope.c, frame_compare.c, coverage_code.c
 *   opaque.c     what is told to a blind peer, and what comes from one
 *   form.c       the form in which a body is sealed
 *   dictionary.c what such forms are compressed with
 *   coverage.c   what replicas are known to have
 *   reconcile.c  comparing records by ranges
 *   terms.c      dictionaries, version vectors
 *   pack.c       compression
 *   adapt.c      which one
 *
 * Steps of the connecting (C) and of the accepting (A) side; a step is named after what must come
 * next:
 *
 *   C   HELLO          -> PROOF -> WELCOME -> RESUME -> OPEN
 *   A   HELLO (-> ENROL) -> PROOF -> WELCOME -> RESUME -> OPEN
 *
 * Frames before OPEN are dealt with as they come; from then on they wait in the input for run().
 */

#include "base/mutant.h"
#include "sync/adapt.h"
#include "sync/form.h"
#include "sync/frame.h"
#include "sync/pack.h"
#include "sync/session.h"
#include "sync/terms.h"

enum bz_step {
    BZ_STEP_HELLO,
    BZ_STEP_ENROL,
    BZ_STEP_PROOF,
    BZ_STEP_WELCOME,
    BZ_STEP_RESUME,
    BZ_STEP_OPEN,
    BZ_STEP_CLOSED,
};

/* Chunks that may be unacknowledged at a time, so that what changes meanwhile gathers into larger
 * ones. */
#define BZ_CHUNKS_IN_FLIGHT 8

/* Chunks that are applied in one commit. While they are, no other writer can commit. */
#define BZ_GATHER_CHUNKS 4u

/* How much of a buffer is kept while there is nothing to do. */
#define BZ_KEEP_BYTES ((size_t)16 << 10)

/* The peer's cursor may lag by so many positions that hold nothing for it. */
#define BZ_QUIET_POSITIONS 1024u
#define BZ_FAR_POSITIONS   8192u

/* A peer may ask for everything again this often in a session. */
#define BZ_ROUNDS_MAX 4

struct bz_sent_chunk {
    uint64_t round;
    uint64_t to;
    size_t size; /* of the frame */
    bool head;
    bool claims;      /* it does so for our own writes, of which we may have let some go */
    uint64_t claimed; /* of a partial replica's: up to here */
};

/* The dictionaries that the peer has, if one side is blind. */
struct bz_dictionaries_there {
    uint8_t names[BZ_DICTIONARIES_MAX][BZ_DICTIONARY_NAME];
    uint32_t count;
    bool full; /* it takes no more of them */
};

/* Our changes, on their way to the peer. */
struct bz_outgoing {
    bool asked;                     /* the peer's RESUME has come */
    uint64_t round;                 /* of that RESUME */
    uint64_t told;                  /* the peer has, or is on its way to have, all up to here */
    struct bz_opening_mark opening; /* the newest that the peer knows */
    uint64_t walked;      /* looked at up to here: told, and beyond it nothing for this peer */
    uint64_t reached;     /* the last head that the peer is known to have reached */
    struct bz_vector has; /* what its summary, heads and HAVEs and our heads said, in our numbers */
    struct bz_vector heads; /* what our heads have told, in our numbers */
    uint64_t limit;         /* of this walk: beyond it nothing is begun */
    bool head_due;          /* records have gone since the last head, or there was none yet */
    bool unclaimed;         /* the last head could not claim our own writes; see bz_head */
    uint64_t claimable;     /* of them the peer was known to have when that walk began */

    bool scoped; /* the peer is a partial replica, and this is what it wants; see bz_receiver */
    bool whole;
    uint64_t held, fresh;
    struct bz_buf scope, before;
    bool sweeping;                /* there is more to let go of, up to `swept` */
    struct bz_acknowledged known; /* by our heads that claimed our own writes */
    uint64_t resumed;             /* told or acknowledged by the peer's last RESUME */
    uint64_t asked_at;            /* our position when its last RESUME came */
    uint64_t swept;               /* of that, what our partial replica was told of */

    struct bz_changes *walk; /* NULL: none */
    uint64_t walk_since_ms;
    struct bz_terms_told terms;
    uint32_t dictionaries; /* of a blind replica: numbers below this are told */
    struct bz_dictionaries_there there;

    struct bz_buf defined; /* the chunk being built */
    struct bz_buf recorded;
    struct bz_buf marked;
    uint64_t definitions;
    uint64_t records;
    uint64_t markers;
    struct bz_buf carry; /* the record that the last chunk had no room for */
    uint64_t carry_to;
    struct bz_buf body;
    struct bz_buf packed;

    struct bz_buf ready; /* a whole frame that waits for credit */
    struct bz_sent_chunk ready_chunk;
    uint64_t ready_records;

    struct bz_sent_chunk flight[BZ_CHUNKS_IN_FLIGHT]; /* oldest first */
    uint32_t in_flight;
    uint64_t bytes_in_flight;
    uint64_t chunks_sent, chunks_acked;
    uint64_t position_acked;
    struct bz_adapt adapt;
    uint64_t window; /* what the peer takes */
    uint64_t chunk_bytes;
};

/* Where our commits stood before what is gathered. */
struct bz_gathered_from {
    uint64_t cursor, as_of;
    struct bz_trail trail;
};

/* The peer's changes, on their way here. */
struct bz_incoming {
    uint64_t round; /* of our last RESUME */
    bool begun;     /* a chunk of this round has come */
    bool at_head;   /* the last one carried the head, and it is ours */
    bool withheld;  /* it carried `withheld_head`, which waits for a comparison; its vv is `vv` */
    struct bz_head withheld_head;
    bool anew;       /* this round is because of a difference that should not be */
    bool lacks;      /* something is missing that was illegible when it came */
    uint64_t cursor; /* of the peer's log, applied here */
    uint64_t reached;
    uint32_t self;            /* number of the node that we are to the peer */
    uint64_t as_of;           /* see bz_peer_state */
    struct bz_trail trail;    /* of that */
    uint64_t scope;           /* generation of our scope; 0: we are a full replica */
    uint64_t held;            /* the cursor that there was under the scope before */
    struct bz_vector had;     /* what the peer had all of, as its last head told us as a part */
    struct bz_awaited awaits; /* see apply_awaits(); of what is before the cursor */
    uint64_t looked;          /* position of our log at which the scope was last looked at */
    struct bz_dot claim;      /* the only entry of a partial replica's head that counts here */
    uint64_t head;            /* of the peer's log, as far as known */
    struct bz_hash128 digest; /* of the last head */
    struct bz_vector vv;      /* what the peer's heads have told, in our numbers */
    struct bz_terms_learnt terms;
    struct bz_buf raw;
    struct bz_buf renamed;
    struct bz_arena arena; /* of one record, or of one head */
    uint64_t waiting;      /* bytes of CHANGES in the input, not dealt with */
    uint64_t chunks;       /* dealt with */
    bool ack_due;
    struct bz_apply *ahead; /* begun for the chunk that is next, or has `gathered`; else NULL */
    uint32_t gathered;      /* chunks that are applied and not committed */
    struct bz_gathered_from before;
    uint32_t window;
};

/* Telling what replicas have. */
struct bz_covering {
    bool begun;
    bool heard;    /* the peer has told */
    bool hearsay;  /* it knows of blind copies, or is one */
    bool was_live; /* when it last looked, or before */
    bool collect;  /* a pass of collecting is under way */
    uint64_t mark; /* of what there was to tell */
    uint64_t looked_ms, sent_ms;
    struct bz_hash128 digest; /* of what was told */
    size_t size;              /* in so many bytes */
    uint64_t purged;          /* what the last head said of it */
};

/* Comparing records with the peer. */
struct bz_reconcile {
    struct bz_vector has;       /* what the peer has, as it has told, in our numbers, */
    struct bz_vector collected; /* and what it knows to have been collected, as far as it has it */
    struct bz_vector purged;    /* all of that, if that is more */
    uint64_t collected_stamp;
    uint64_t mark;       /* of that */
    uint64_t compared;   /* the mark for which that was done */
    uint64_t began;      /* where our log was then */
    bool fresh;          /* nothing was here at first */
    uint64_t fresh_mark; /* what had been collected then */

    bool busy;           /* what is here may be behind */
    bool again;          /* more was collected meanwhile */
    bool late;           /* the same, since the peer's changes began to come */
    bool waiting;        /* for ITEMS */
    uint32_t collection; /* where it stands */
    bool whole;
    blaze_id after;
    blaze_id asked[BZ_RANGES_MAX]; /* the last id of each range */
    uint32_t asked_count;
    uint64_t removed;
};

#define BZ_OPAQUE_TAG  16u
#define BZ_OPAQUE_TAGS 16u

/* Sealing for a blind peer. */
struct bz_opaque {
    bool active; /* the peer is blind, and this side is not */
    void *sealer;
    struct bz_form form;
    struct bz_dictionaries dictionaries;
    bool told; /* the dictionary that is used, in this round */
    struct bz_buf name;
    struct bz_buf plain;
    struct bz_buf sealed;
    struct bz_opaque_tag { /* of collections, in our numbers; each has one place */
        bool known;
        uint32_t collection;
        uint8_t bytes[BZ_OPAQUE_TAG];
    } tags[BZ_OPAQUE_TAGS];
};

/* A link that waits: see lazy.c. */
struct bz_lazy_name;
struct bz_lazy {
    bool settled;          /* this session has been live */
    bool asked;            /* our direction: the peer wants it lazy */
    uint64_t take_ms;      /* when the news are taken that the next HAVE tells; UINT64_MAX: never */
    uint64_t have_ms;      /* when it goes, once they are */
    struct bz_vector news; /* these, in our numbers, */
    uint64_t news_position; /* as of this position of our log */
    uint64_t told_ms;       /* when the last one went */
    uint64_t told_position; /* of our log, as of which it told */
    uint64_t walk_ms;       /* when the log is walked; UINT64_MAX: never */
    uint64_t mark;          /* up to here, if nothing is found */

    struct bz_vector told;          /* what our HAVEs said, in our numbers */
    struct bz_terms_learnt indexes; /* from our numbers to those of our HAVEs */
    uint32_t index_count;

    struct bz_vector has;       /* what the peer's HAVEs said, in our numbers */
    struct bz_lazy_name *names; /* by its numbers */
    uint32_t name_count, name_room;

    uint64_t ask_ms; /* when what they said is to be here; UINT64_MAX: it is */

    bool mending; /* we have asked for it, and send at once too as soon as it comes */
    bool wished;  /* the peer's direction: we want it lazy */
    uint64_t wished_ms;
    uint32_t echoes; /* how much more came that was not new here than that was */
};

struct bz_session {
    struct bz_session_options options;
    struct bz_replica replica;
    struct bz_session_auth auth;
    struct bz_identity self;
    blaze_id peer_epoch;
    uint64_t features; /* that both have */
    enum bz_step step;
    uint8_t key[32]; /* to enrol with */

    uint64_t now_ms, wall_ms;
    uint64_t started_ms;
    uint64_t heard_ms;
    size_t unheard; /* bytes received since, of a frame that is not complete */
    bool pinged;    /* since something was heard */
    bool waited;    /* output could not be given away: when it can, the peer reads */
    uint64_t pings;

    struct bz_buf input;
    size_t input_done;      /* bytes at its start that are dealt with */
    size_t input_scanned;   /* bytes whose frames' headers are checked: >= done; OPEN only */
    size_t control_waiting; /* bytes between the two of frames other than CHANGES */
    struct bz_buf output;
    size_t output_done;
    struct bz_buf hellos[2]; /* payloads: the connecting side's, the accepting side's */
    struct bz_buf scratch;   /* the payload of the control frame being built */
    struct bz_packer packer;
    struct bz_opaque opaque;
    uint64_t peer_features;
    bool reconciles; /* both sides do */
    struct bz_covering covering;
    struct bz_reconcile reconcile;

    struct bz_outgoing out;
    struct bz_incoming in;
    struct bz_lazy lazy;
    struct bz_session_status status;
};

/* Ends the session: REFUSE or BYE goes out with what is in `error`. */
void bz_session_fail(struct bz_session *s, const blaze_error *error);

/* Sends a control frame whose payload is in s->scratch, which it empties. */
void bz_session_send(struct bz_session *s, enum bz_frame_type type);

/* ---- handshake.c: 0, or a code with *error set, which ends the session ---- */
int bz_handshake_start(struct bz_session *s, blaze_error *error);
int bz_handshake_frame(
    struct bz_session *s, uint8_t type, struct bz_bytes payload, blaze_error *error);
/* RESUME from `cursor` of the peer's log on. */
int bz_handshake_ask(struct bz_session *s, blaze_error *error);

/* ---- outgoing.c ---- */
void bz_outgoing_init(struct bz_session *s);
int bz_outgoing_resume(struct bz_session *s, const struct bz_resume *resume, blaze_error *error);
/* Once the handshake has told what the peer knows. */
void bz_outgoing_adapt(struct bz_session *s);
int bz_outgoing_ack(struct bz_session *s, const struct bz_ack *ack, blaze_error *error);
/* Sends what credit allows and builds at most one chunk. *more: there is more to do at once. */
int bz_outgoing_run(struct bz_session *s, bool *more, blaze_error *error);
/* Nothing can be sent now: closes a walk that has been open for too long. When to call this again;
 * UINT64_MAX: there is none. */
uint64_t bz_outgoing_wait(struct bz_session *s);
/* All that we had when last asked has been sent and acknowledged, head included. */
bool bz_outgoing_done(const struct bz_session *s);
/* When a walk, or a stream of compression, must be looked at again; UINT64_MAX if never. */
uint64_t bz_outgoing_deadline(const struct bz_session *s);
void bz_outgoing_release(struct bz_session *s);

/* ---- opaque.c ---- */
void bz_opaque_init(struct bz_session *s);
void bz_opaque_release(struct bz_session *s);
void bz_opaque_rest(struct bz_session *s);
/* From here on what is told is sealed, and what comes is opened. */
int bz_opaque_begin(struct bz_session *s);
/* The sealed form of a name, borrowed until the next call of these; of a node's id, itself. */
int bz_opaque_meaning(
    struct bz_session *s, enum bz_term term, struct bz_bytes name, struct bz_bytes *out);
/* The name in it. BLAZE_EPROTO if no member has sealed it. */
int bz_opaque_name(
    struct bz_session *s, enum bz_term term, struct bz_bytes meaning, struct bz_bytes *out);
/* Appends the names of the dictionaries that this side has; nothing unless one side is blind. */
int bz_opaque_names(struct bz_session *s, struct bz_buf *out);
/* The names of those that the peer has. */
void bz_opaque_there(struct bz_session *s, struct bz_bytes names);
bool bz_opaque_is_there(const struct bz_session *s, const uint8_t *name);
/* A dictionary that the peer tells, which is kept, unless it is none. */
int bz_opaque_learn(
    struct bz_session *s, struct bz_apply *apply, struct bz_bytes meaning, blaze_error *error);
/* Whether the peer may have a dictionary to tell where there is none yet, as it does in its first
 * chunk. */
bool bz_opaque_waits(const struct bz_session *s);
/* The dictionary that is used, in clear, if the peer is to be told; else empty. */
struct bz_bytes bz_opaque_to_tell(struct bz_session *s);
/* The record with sealed bodies, in the arena. */
int bz_opaque_seal(struct bz_session *s, struct bz_arena *arena, const struct bz_change *change,
    struct bz_rec *out);
/* Opens the bodies of a record in our numbers, in the arena, and notes those that are illegible. */
int bz_opaque_open(struct bz_session *s, struct bz_arena *arena, struct bz_apply *apply,
    struct bz_change *change, blaze_error *error);
/* Whether a code says that something that came is illegible, and not that something failed here. */
bool bz_opaque_illegible(int code);

/* ---- lazy.c ---- */
void bz_lazy_init(struct bz_session *s);
void bz_lazy_release(struct bz_session *s);
/* Everything is asked for anew: nothing is lazy until it shows again. */
void bz_lazy_reset(struct bz_session *s);
/* There is something to say (*due): makes it false while that waits. Sends HAVE when it is time. */
int bz_lazy_hold(struct bz_session *s, bool *due);
/* How far the walk that is to begin goes if it finds nothing. */
uint64_t bz_lazy_limit(const struct bz_session *s);
/* Whether our HAVEs told something that the peer has not confirmed, nor a head of ours told. */
bool bz_lazy_news(const struct bz_session *s);
void bz_lazy_walked(struct bz_session *s);
uint64_t bz_lazy_deadline(const struct bz_session *s);
/* Whether the peer has said, by a head or by HAVE, that it has this. */
bool bz_lazy_peer_has(const struct bz_session *s, struct bz_dot entry);
int bz_lazy_have(struct bz_session *s, struct bz_bytes payload, blaze_error *error);
/* Asks for what the peer has told and is still not here. */
int bz_lazy_run(struct bz_session *s, blaze_error *error);
int bz_lazy_pace(struct bz_session *s, struct bz_bytes payload, blaze_error *error);
/* A chunk of so many records has come, of which so many changed something here. */
void bz_lazy_judge(struct bz_session *s, uint64_t records, uint64_t changed);
/* ---- coverage.c ---- */
/* Before anything of a blind peer is believed: see db/coverage.c. */
int bz_coverage_warn(struct bz_session *s, blaze_error *error);
int bz_coverage_run(struct bz_session *s, bool *more, blaze_error *error);
bool bz_coverage_has_work(const struct bz_session *s); /* whether that would do anything */
int bz_coverage_heard(struct bz_session *s, struct bz_bytes payload, blaze_error *error);
/* Before anything else, with the request. */
int bz_coverage_begin(struct bz_session *s, blaze_error *error);
/* Whether the peer has told what it may tell before any changes. */
bool bz_coverage_waits(const struct bz_session *s);
/* Before a head is told. */
int bz_coverage_before_head(struct bz_session *s, const struct bz_head *head, blaze_error *error);
/* A link has become eager, and may be lazy again soon: nothing is told for as long as between two.
 */
void bz_coverage_rests(struct bz_session *s);
/* Tells what has changed since it was last told, if anything has: *told. */
int bz_coverage_update(struct bz_session *s, bool *told, blaze_error *error);
uint64_t bz_coverage_deadline(const struct bz_session *s);

/* ---- reconcile.c ---- */
void bz_reconcile_release(struct bz_session *s);
/* The peer has told what it has, and what was collected. */
int bz_reconcile_heard(struct bz_session *s, const struct bz_standing *standing);
/* Whether what is here may be behind what the peer has: nothing is sent, and no head taken over,
 * until it was compared. */
bool bz_reconcile_busy(const struct bz_session *s);
/* A head has come. Gives it what the peer has told was collected; *wait: it must wait. */
int bz_reconcile_head(struct bz_session *s, struct bz_head *head, bool *wait, blaze_error *error);
int bz_reconcile_run(struct bz_session *s, bool *more, blaze_error *error);
int bz_reconcile_ranges(struct bz_session *s, struct bz_bytes payload, blaze_error *error);
int bz_reconcile_items(struct bz_session *s, struct bz_bytes payload, blaze_error *error);

/* ---- incoming.c ---- */
void bz_incoming_init(struct bz_session *s);
/* After it, another must follow on the same thread, or bz_incoming_commit(). */
int bz_incoming_chunk(struct bz_session *s, struct bz_bytes payload, blaze_error *error);
int bz_incoming_commit(struct bz_session *s, blaze_error *error);
/* Whether a chunk can be applied without waiting for anything; then that has begun, and
 * bz_incoming_chunk() must follow with it. */
bool bz_incoming_prompt(struct bz_session *s, struct bz_bytes payload);
/* Takes over the head that has waited for a comparison, if there is one. */
int bz_incoming_release_head(struct bz_session *s, blaze_error *error);
void bz_incoming_ack(struct bz_session *s); /* sends ACK if one is due */
/* What is known of the peer now, as commits keep it. */
struct bz_peer_state bz_incoming_peer(const struct bz_session *s);
/* The peer will not go on with its stream of compression. */
int bz_incoming_rest(struct bz_session *s, blaze_error *error);
bool bz_incoming_done(const struct bz_session *s);
void bz_incoming_release(struct bz_session *s);

/* ---- scope.c ---- */

/* Adds our scope to a request; the bytes are in `arena`. */
int bz_scope_ask(
    struct bz_session *s, struct bz_arena *arena, struct bz_resume *resume, blaze_error *error);
/* Takes the peer's from its request. `usable`: its positions are of our log. */
int bz_scope_asked(
    struct bz_session *s, const struct bz_resume *resume, bool usable, blaze_error *error);
/* What the peer's scope means for a walk. */
void bz_scope_receive(const struct bz_session *s, struct bz_receiver *receiver);
/* Applies the markers of a chunk. */
int bz_scope_markers(
    struct bz_session *s, struct bz_apply *apply, struct bz_body_reader *body, blaze_error *error);
/* Up to where the peer has our log. */
uint64_t bz_scope_acked(const struct bz_session *s);
/* Where our last head could not claim our own writes, the next may once the peer is known to have
 * more of them than when its walk began. */
void bz_scope_claim_again(struct bz_session *s);
/* Leaves of a partial replica's head what counts here: its own writes, if it claims them. */
int bz_scope_head(struct bz_session *s, const struct bz_body_head *fixed, struct bz_head *head);
/* Whether the scope is still what the session began with; tells what the peer has acknowledged. */
int bz_scope_run(struct bz_session *s, bool *more, blaze_error *error);
void bz_scope_release(struct bz_session *s);
bool bz_scope_whole(const struct bz_session *s); /* both hold the whole database */

#endif

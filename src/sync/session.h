/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_SYNC_SESSION_H
#define BZ_SYNC_SESSION_H

/*
 * One sync session: two nodes, one database, one byte stream (docs/format/wire.md). The session
 * does no I/O and knows no clock: whoever drives it gives it bytes and the time, takes bytes from
 * it, and calls it again when something came, when output was taken, when its deadline is reached,
 * or when the database has new changes. It may be dropped at any moment; the database then goes on
 * from the last chunk applied.
 *
 *   connecting side            accepting side
 *   HELLO [ENROL]       ->
 *                       <-     HELLO, or REFUSE
 *   PROOF               ->
 *                       <-     PROOF WELCOME RESUME, or REFUSE
 *   WELCOME RESUME      ->
 *   CHANGES ... with the head in the last one, ACK: both ways at once; live from then on
 *   BYE
 *
 * Memory. What has come in and is not dealt with: at most window_bytes, or one frame if that is
 * larger, and 512 KiB. What is to go out: one chunk and some control frames, if the caller takes it
 * as it comes. Besides, three chunks being built, compressed and kept back for credit, one
 * decompressed, and one record decoded. A chunk is chunk_bytes, or a single record where that is
 * larger; no frame is larger than 160 MiB. At the head all of it is given back but a few KiB.
 *
 * Threads: one at a time. The session calls its replica and keys only from within the calls below.
 */

#include "base/buf.h"
#include "base/error.h"
#include "crdt/replica.h"

#define BZ_SYNC_VERSION 1

struct bz_session;

/*
 * What a member does to what it tells a blind peer, and undoes (crypto/record_seal.h). `name` and
 * `body` append to `out`. Opening gives BLAZE_ECORRUPT for what no member has sealed.
 */
struct bz_seal_ops {
    /* One object for each session. */
    int (*begin)(void *context, const blaze_id *database, void **sealer);
    void (*end)(void *sealer);
    /* The first 16 bytes of a sealed name are its tag. */
    int (*seal_name)(void *sealer, enum bz_term term, struct bz_bytes name, struct bz_buf *out);
    int (*open_name)(void *sealer, enum bz_term term, struct bz_bytes sealed, struct bz_buf *out);
    /* `more` is authenticated with the body. */
    int (*seal_body)(void *sealer, const blaze_id *node, struct bz_bytes more, struct bz_bytes body,
        struct bz_buf *out);
    int (*open_body)(void *sealer, const blaze_id *node, struct bz_bytes more,
        struct bz_bytes sealed, struct bz_buf *out);
};

/* The keyed functions that a session needs, so that it stays free of any cryptography library. */
struct bz_session_auth {
    /* The MAC of a transcript under the database's access key or member key (of those this node
     * has: a blind hub has no member key and returns BLAZE_ENOTFOUND). */
    int (*mac)(void *context, bool member, struct bz_bytes transcript, uint8_t out[32]);
    int (*random)(void *context, void *data, size_t size);
    void *context;
    const struct bz_seal_ops *seal; /* NULL: a blind node, or one that serves none */
};

/* What the accepting side is asked once it knows what the connecting side wants, which has proven
 * nothing yet. What they give stays theirs and must live until the session is freed. A stranger is
 * told the code of a failure and its general sentence, never the text in `error`. */
struct bz_session_host {
    /* Gives the replica and keys for a database: BLAZE_ENOTFOUND if it is not here. */
    int (*open)(void *context, const blaze_id *database, struct bz_replica *replica,
        struct bz_session_auth *auth, blaze_error *error);
    /* Takes in a new database with its access key, or with its secret (an enrolment), then as
     * `open`. Idempotent with the same key; BLAZE_EAUTH with another, BLAZE_EPERM for a secret that
     * is not wanted. NULL: refused. */
    int (*enrol)(void *context, const blaze_id *database, bool secret, const uint8_t key[32],
        struct bz_replica *replica, struct bz_session_auth *auth, blaze_error *error);
    void *context;
};

struct bz_session_options {
    bool connecting;
    const struct bz_replica *replica;   /* connecting side; copied */
    const struct bz_session_auth *auth; /* connecting side; copied */
    const uint8_t *enrol_key; /* connecting side: 32 bytes to enrol with, or NULL; copied */
    bool enrol_secret;        /* these are the database's secret, else its access key */
    const struct bz_session_host *host; /* accepting side; must live as long as the session */
    uint8_t binding[32];                /* the stream's channel binding */
    bool near;        /* there is no network between the two: processor time counts, not bytes */
    uint64_t without; /* BZ_FEATURE bits (sync/frame.h) to do without, for comparisons */
    uint32_t chunk_bytes;  /* 0: 256 KiB */
    uint32_t window_bytes; /* credit given to the peer; 0: 4 chunks */
    uint32_t handshake_ms; /* 0: 10,000 */
    /* What is new waits half as long on a link that has said that it learns from others, or as long
     * if there is more, then a word of it is sent; who lacks it asks within as long again. Who
     * does not ask is sent it after four to five times as long. 0: 250. UINT32_MAX: no link is ever
     * lazy. */
    uint32_t lazy_ms;
    uint32_t gossip_ms; /* between two COVERED, at least; 0: 60,000 */
    uint32_t idle_ms;   /* a PING after this much silence, BYE after twice; 0: 30,000 */
    /* Called within the calls below whenever progress was made. May be NULL. */
    void (*on_progress)(void *context, const struct bz_session *session);
    void *context;
};

/* BLAZE_ENOMEM, or what the replica or `random` fail with. */
int bz_session_new(struct bz_session **out, const struct bz_session_options *options,
    uint64_t now_ms, blaze_error *error);
void bz_session_free(struct bz_session *session);

/* Takes all of `bytes`; run() must follow. Frames of the handshake are dealt with here, later ones
 * wait for run(). A violation ends the session: its last words are in the output. */
void bz_session_receive(struct bz_session *session, struct bz_bytes bytes, uint64_t now_ms);

/* Goes on with what there is to do: the chunks of one commit to apply, one to build, deadlines.
 * Call it after receive, after sent, at the deadline, and when the database has changed, by a
 * commit or by another session. True if there is more to do at once; the caller then takes what
 * output it can before the next call, and waits with that call while it can take none. `now_ms` is
 * monotonic; `wall_ms` is the wall clock. */
bool bz_session_run(struct bz_session *session, uint64_t now_ms, uint64_t wall_ms);

/* In place of run() while no output can be taken: lets go of what must not be held for a peer that
 * does not read, and gives it up once it has fallen silent. When to call this again at the latest;
 * UINT64_MAX: never. */
uint64_t bz_session_wait(struct bz_session *session, uint64_t now_ms);

/* Goes on as far as that takes no waiting, for whoever has just committed, or has received: sends
 * what is new, if that is a few records, and deals with what came, if that is a small chunk which
 * the replica can apply at once. True if run() must follow. */
bool bz_session_push(struct bz_session *session, uint64_t now_ms, uint64_t wall_ms);

/* When run() must be called at the latest; UINT64_MAX: never. */
uint64_t bz_session_deadline(const struct bz_session *session);

/* What is to be sent, borrowed until the next call; then how much of it was taken. Also once
 * closed: the last words. */
struct bz_bytes bz_session_output(struct bz_session *session);
void bz_session_sent(struct bz_session *session, size_t size);

/* Ends the session in good order (BYE with `code`, or BLAZE_OK for done). */
void bz_session_close(struct bz_session *session, int code, const char *reason);

/* The stream is gone: nothing more can be sent or received. */
void bz_session_disconnected(struct bz_session *session);

enum bz_session_phase {
    BZ_SESSION_HANDSHAKE,
    BZ_SESSION_CATCHING_UP, /* in either direction */
    BZ_SESSION_LIVE,        /* both have reached the other's head and acknowledged it */
    BZ_SESSION_CLOSED,
};

struct bz_session_status {
    enum bz_session_phase phase;
    blaze_id peer; /* node id, once known */
    uint8_t peer_role;
    bool peer_is_proven; /* it holds the access key, and what more it must have to be let in */
    bool peer_is_member; /* it has proven so; a blind node cannot tell, and says no */
    bool peer_is_blind;
    int code;                          /* once closed: 0 for a BYE in good order */
    bool refused;                      /* closed for a reason that does not heal by trying again */
    char reason[160];                  /* once closed */
    uint64_t sent_records, sent_bytes; /* bytes on the wire, all frames */
    uint64_t received_records, received_bytes;
    uint64_t applied_records;                     /* that changed something here */
    uint64_t to_send_records, to_receive_records; /* estimate of what is left (positions) */
    uint64_t position_acked;                      /* of our log, durably applied by the peer */
    uint64_t position_head;                       /* of our log, known to the session */
    bool lazy;     /* the peer learns from others: what is new here waits a little */
    bool diverged; /* digests differed at equal version vectors; a full exchange follows */
};
void bz_session_status(const struct bz_session *session, struct bz_session_status *out);

#endif

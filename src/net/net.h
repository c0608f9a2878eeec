/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_NET_NET_H
#define BZ_NET_NET_H

/*
 * Byte streams between two ends, of three kinds that behave alike, named by URL:
 *
 *   mem:NAME          two ends in one process, on one loop or on two
 *   unix:PATH         a Unix socket; both ends must belong to one user, or to root
 *   tcp://HOST:PORT   TLS 1.3 over TCP; IPv6 addresses in brackets; a listener's port 0 picks one
 *
 * One law of life for every handle (stream, listener, timer, watch):
 *
 *   1. A handle belongs to one loop. Its functions are called on that loop's thread and its
 *      callbacks run there, except where a comment says "any thread". bz_loop_call() takes other
 *      threads there.
 *   2. An open function either fails, and then nothing is called, or gives a handle. It calls no
 *      callback itself: what becomes of the handle is told later.
 *   3. Close is asynchronous, always allowed, also twice and from within callbacks. From then on
 *      the handle's callbacks are silent but for on_close, which comes exactly once, later, as the
 *      last call. The handle lives until on_close returns, and no longer.
 *   4. A handle that fails closes itself and says why in on_close.
 *   5. Closing a loop closes whatever it still holds, by the same law.
 */

#include "base/buf.h"
#include "base/error.h"

/* ---- The loop: one thread that moves bytes and never waits for anything else ---- */

struct bz_loop;

/* Starts a loop and its thread, in which all signals are blocked. Any thread. BLAZE_ENOMEM,
 * BLAZE_EIO. */
int bz_loop_open(struct bz_loop **out, blaze_error *error);

/* Closes what is left, waits for the thread to end and frees the loop. Posted tasks that have not
 * run by then still run. Any thread but the loop's own; nobody may post any more. NULL is allowed.
 */
void bz_loop_close(struct bz_loop *loop);

/* Work for the loop thread. The storage is the poster's, zeroed but for `run`; it must stay until
 * the task has run or has been cancelled. */
struct bz_task {
    void (*run)(struct bz_task *task);
    struct bz_task *next; /* these three are the loop's */
    struct bz_task *previous;
    bool queued;
};

/* Has `task` run soon on the loop thread. A task that waits already is not queued again: it runs
 * once, after the newest post. A task may post itself again or be freed from within its run().
 * Never fails, never blocks for long. Any thread. */
void bz_loop_post(struct bz_loop *loop, struct bz_task *task);

/* Takes a waiting task back. On the loop thread nothing is running then; from another thread it
 * may be running at this moment. Any thread. */
void bz_loop_cancel(struct bz_loop *loop, struct bz_task *task);

/* Runs call(context) on the loop thread and returns when it has returned; at once if this is that
 * thread. Any thread, holding no lock that the loop's callbacks take. */
void bz_loop_call(struct bz_loop *loop, void (*call)(void *context), void *context);

/* Whether this is the loop's thread. Any thread. */
bool bz_loop_here(const struct bz_loop *loop);

/* ---- Timers and file watches ---- */

struct bz_timer;

/* A stopped timer. It has no on_close: on_time is never called once it is closed. BLAZE_ENOMEM. */
int bz_timer_open(
    struct bz_timer **out, struct bz_loop *loop, void (*on_time)(void *context), void *context);
void bz_timer_set(struct bz_timer *timer, uint64_t ms); /* once, from now; replaces the former */
void bz_timer_stop(struct bz_timer *timer);
void bz_timer_close(struct bz_timer *timer); /* NULL is allowed */

struct bz_watch;

/* Calls on_change, coalesced, when the file at `path`, or a name in the directory at `path`, has
 * changed; also now and then when nothing has. It has no on_close: on_change is never called once
 * it is closed. BLAZE_ENOTFOUND, BLAZE_ELIMIT (the system's watches), BLAZE_EIO, BLAZE_ENOMEM. */
int bz_watch_open(struct bz_watch **out, struct bz_loop *loop, const char *path,
    void (*on_change)(void *context), void *context, blaze_error *error);
void bz_watch_close(struct bz_watch *watch); /* NULL is allowed */

/* From then on the watch looks away, which is cheap where changes are many and known; it is told of
 * nothing that happens meanwhile. Looking again fails as opening does, and may then be tried once
 * more. */
void bz_watch_rest(struct bz_watch *watch);
int bz_watch_again(struct bz_watch *watch, blaze_error *error);

struct bz_network_watch;

/* Calls on_change when the machine has got a link, an address or a route. By the law of bz_watch.
 * BLAZE_ENOTFOUND where the system tells of nothing, BLAZE_EIO, BLAZE_ENOMEM. */
int bz_network_watch_open(struct bz_network_watch **out, struct bz_loop *loop,
    void (*on_change)(void *context), void *context, blaze_error *error);
void bz_network_watch_close(struct bz_network_watch *watch); /* NULL is allowed */

/* ---- Streams ---- */

struct bz_stream;

/* Each may be NULL but on_close. `stream` may be closed from within any of them. */
struct bz_stream_callbacks {
    /* The stream is open: connected, and its TLS handshake done. Not called for accepted streams,
     * which are open from the start. */
    void (*on_open)(void *context, struct bz_stream *stream);

    /* Bytes have come, borrowed for the call; never none. Where they are cut says nothing. */
    void (*on_data)(void *context, struct bz_stream *stream, struct bz_bytes data);

    /* A stream that was full (bz_stream_full) has drained to half its high-water mark. */
    void (*on_writable)(void *context, struct bz_stream *stream);

    /* The last call. `reason` is borrowed and tells how it ended:
     *   0               closed at this end, in order, everything flushed
     *   BLAZE_ECLOSED   the other end closed it, or was lost
     *   BLAZE_ECONNECT  nobody there, no such name
     *   BLAZE_ETIMEOUT  the connection, its handshake, or flushing at close took too long
     *   BLAZE_EPROTO    what came is no TLS 1.3 of this protocol
     *   BLAZE_EPERM     the other end is another user's
     *   BLAZE_ELIMIT    the process is out of descriptors, and needed an accepted stream's
     *   BLAZE_ECANCELED the loop was closed, or the stream aborted
     *   BLAZE_ENOMEM, BLAZE_EIO */
    void (*on_close)(void *context, struct bz_stream *stream, const blaze_error *reason);
};

/* Limits of a stream; bz_stream_options_init() sets the defaults in brackets. A stream holds at
 * most write_max bytes to be written and about 80 KiB of what came. */
struct bz_stream_options {
    uint32_t open_ms;  /* for connecting, name lookup and handshake included [10,000] */
    uint32_t close_ms; /* for flushing at close [2,000] */
    size_t write_high; /* where a stream counts as full [256 KiB] */
    size_t write_max;  /* beyond which writes are refused [256 MiB] */
};

void bz_stream_options_init(struct bz_stream_options *options);

/* Begins to connect to `url`; on_open or on_close follows. `options` may be NULL. BLAZE_EINVAL for
 * a malformed URL, saying what is expected; BLAZE_ENOMEM. */
int bz_stream_connect(struct bz_stream **out, struct bz_loop *loop, const char *url,
    const struct bz_stream_options *options, const struct bz_stream_callbacks *callbacks,
    void *context, blaze_error *error);

/* Has the stream's callbacks go elsewhere from now on. `callbacks` stays borrowed. */
void bz_stream_set_callbacks(
    struct bz_stream *stream, const struct bz_stream_callbacks *callbacks, void *context);

/* Sends a copy of `data`. All or nothing: BLAZE_EINVAL before it is open; BLAZE_ECLOSED once it is
 * closing; BLAZE_ELIMIT past write_max, which does not hurt the stream; BLAZE_ENOMEM. Success means
 * taken over, not arrived. */
int bz_stream_write(struct bz_stream *stream, struct bz_bytes data);

/* The same, taking over the memory of `buf` instead of copying it, and leaving it empty, if it
 * succeeds. */
int bz_stream_write_buf(struct bz_stream *stream, struct bz_buf *buf);

/* Sends what can be sent at once, without waking the loop, and returns how much that was: 0 too
 * while something is pending, or if the stream is not open. Any thread, but only one at a time, and
 * until on_close returns. Errors are for the loop to find. Who writes on the loop as well sees to
 * the order. */
size_t bz_stream_send_now(struct bz_stream *stream, struct bz_bytes data);

/* Whether write_high or more is waiting to be sent: a writer that respects it stops until
 * on_writable. */
bool bz_stream_full(const struct bz_stream *stream);

/* Bytes taken over and not yet handed to the system (or, for mem:, to the other end). */
size_t bz_stream_pending(struct bz_stream *stream);

/* Stops and restarts on_data; what the other end writes meanwhile waits, and then holds it up. Does
 * not nest. While paused, the other end's close may go unnoticed. A pause takes effect at once,
 * also within on_data; resuming does not call on_data itself. */
void bz_stream_pause(struct bz_stream *stream);
void bz_stream_resume(struct bz_stream *stream);

/* Sends what was written, for close_ms at most, then closes in order. What comes in is dropped. */
void bz_stream_close(struct bz_stream *stream);

/* Closes without sending what is pending; the other end sees the connection lost. May follow
 * bz_stream_close() to hurry it. */
void bz_stream_abort(struct bz_stream *stream);

/* 32 bytes that are equal at both ends of this connection and, under TLS, nowhere else: what a
 * proof of a key must be bound to. A fixed value for mem: and unix:, whose ends the system vouches
 * for. BLAZE_EINVAL before it is open. */
#define BZ_STREAM_BINDING_SIZE 32
int bz_stream_binding(struct bz_stream *stream, uint8_t out[BZ_STREAM_BINDING_SIZE]);

/* Who is at the other end, for messages: a URL. Borrowed while the stream lives. */
const char *bz_stream_peer(const struct bz_stream *stream);

/* Bytes delivered and taken over so far, TLS and lower layers not counted. */
uint64_t bz_stream_received(const struct bz_stream *stream);
uint64_t bz_stream_sent(struct bz_stream *stream);

/* ---- Listeners ---- */

struct bz_listener;

struct bz_listener_callbacks {
    /* An open stream, handshake done. Its callbacks must be set within this call, else it is
     * closed after it. */
    void (*on_accept)(void *context, struct bz_listener *listener, struct bz_stream *stream);

    /* The last call; may be NULL. Streams that it accepted live on. */
    void (*on_close)(void *context, struct bz_listener *listener);
};

/* bz_listener_options_init() sets the defaults in brackets. */
struct bz_listener_options {
    struct bz_stream_options stream; /* of the accepted streams; open_ms is the handshake's limit */
    uint32_t max_streams;            /* open ones and those shaking hands; beyond it a caller is
                                        hung up on [20,000] */
    uint32_t max_handshakes;         /* of these, those still shaking hands [1,000] */
    const char *certificate;         /* PEM files for TLS; both NULL: an ephemeral self-signed */
    const char *private_key;         /* certificate, good for this listener's life */
};

void bz_listener_options_init(struct bz_listener_options *options);

/* Listens at `url`. When it returns, callers can connect. BLAZE_EINVAL (URL), BLAZE_EADDRINUSE,
 * BLAZE_EPERM, BLAZE_EIO, BLAZE_ENOMEM; each names the address. A Unix socket gets mode 0600; a
 * stale file in its place is removed, a live one is BLAZE_EADDRINUSE. */
int bz_listener_open(struct bz_listener **out, struct bz_loop *loop, const char *url,
    const struct bz_listener_options *options, const struct bz_listener_callbacks *callbacks,
    void *context, blaze_error *error);

void bz_listener_close(struct bz_listener *listener);

/* Where it really listens: the URL with the port that was picked. Borrowed while it lives. */
const char *bz_listener_url(const struct bz_listener *listener);

/* ---- URLs ---- */

enum bz_url_kind { BZ_URL_MEM, BZ_URL_UNIX, BZ_URL_TCP };

#define BZ_URL_SIZE 288 /* of the longest URL and its NUL */

struct bz_url {
    enum bz_url_kind kind;
    char host[256]; /* of tcp, without brackets; else the name or path */
    uint16_t port;
};

/* BLAZE_EINVAL with what is expected. Any thread. */
int bz_url_parse(struct bz_url *out, const char *text, blaze_error *error);

/* Any thread. */
void bz_url_format(const struct bz_url *url, char out[BZ_URL_SIZE]);

#endif

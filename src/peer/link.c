/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A link's life is on the loop thread: it connects, hands the open stream to an exchange, hears of
 * its end, and waits or stops. What others see and ask for (status, stopping) is under the lock.
 *
 *   start() -> attempt() -> on_open() -> exchange ... on_done() -> after() -> wait or stop
 *                 |  ^          |                                     ^
 *                 |  +- timer --|-------------------------------------+
 *                 +-- on_close() (no connection) --------------------->
 *
 * User callbacks run on a strand of their own, so that a slow one delays neither bytes nor
 * sessions.
 */

#include "base/alloc.h"
#include "os/os.h"
#include "peer/link_priv.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

enum { BACKOFF_FIRST_MS = 100, BACKOFF_LAST_MS = 60000 };

#define REPORT_MS 50u
#define REPORT_NS (REPORT_MS * 1000000u)

/* ---- Status ---- */

static void fill_seconds(const struct bz_link *link, struct bz_link_status *status)
{
    status->seconds = (double)(bz_os_mono_ns() - link->attempt_ns) / 1e9;
}

static void run_report(struct bz_strand *strand)
{
    struct bz_link *link = (struct bz_link *)((char *)strand - offsetof(struct bz_link, report));
    struct bz_link_status status;
    bz_link_get_status(link, &status);
    uint64_t now = bz_os_mono_ns();
    if (link->ever_reported && status.state == link->reported &&
        now - link->reported_ns < REPORT_NS) {
        if (status.state != BZ_LINK_STOPPED)
            bz_loop_post(link->peer->loop, &link->later);
        return;
    }
    link->ever_reported = true;
    link->reported = status.state;
    link->reported_ns = now;
    link->on_status(link->context, &status);
}

static void run_later(struct bz_task *task)
{
    struct bz_link *link = (struct bz_link *)((char *)task - offsetof(struct bz_link, later));
    bz_timer_set(link->late, REPORT_MS);
}

static void on_late(void *context)
{
    struct bz_link *link = context;
    bz_strand_post(link->peer->pool, &link->report);
}

static void tell(struct bz_link *link)
{
    pthread_cond_broadcast(&link->changed);
    if (link->on_status != NULL)
        bz_strand_post(link->peer->pool, &link->report);
}

void bz_link_set_state(struct bz_link *link, enum bz_link_state state, const char *format, ...)
{
    va_list args;
    link->status.state = state;
    va_start(args, format);
    vsnprintf(link->status.text, sizeof link->status.text, format, args);
    va_end(args);
    tell(link);
}

/* Under the lock: the present session's counters, on top of those of earlier ones. */
static void take_counters(struct bz_link *link, const struct bz_session_status *session)
{
    const struct bz_session_status *sums = &link->sums;
    link->status.session = *session;
    link->status.session.sent_records += sums->sent_records;
    link->status.session.sent_bytes += sums->sent_bytes;
    link->status.session.received_records += sums->received_records;
    link->status.session.received_bytes += sums->received_bytes;
    link->status.session.applied_records += sums->applied_records;
}

void bz_link_get_status(struct bz_link *link, struct bz_link_status *out)
{
    pthread_mutex_lock(&link->lock);
    *out = link->status;
    fill_seconds(link, out);
    pthread_mutex_unlock(&link->lock);
}

const char *bz_link_url(const struct bz_link *link)
{
    return link->url;
}

/* ---- The session: on the exchange's strand ---- */

static void on_commit(void *context)
{
    struct bz_link *link = context;
    bz_exchange_push(link->exchange);
}

static int on_begin(void *context, struct bz_session_options *options, blaze_error *error)
{
    struct bz_link *link = context;
    static const struct bz_replica none;
    link->replica = none;
    link->listener = NULL;
    int rc = bz_db_replica_open(link->peer->db, &link->replica, error);
    if (rc != 0)
        return rc;
    rc = bz_db_listen(link->peer->db, on_commit, link, &link->listener);
    if (rc != 0)
        return bz_error_code(error, rc);
    link->auth = bz_keys_auth(&link->keys);
    options->connecting = true;
    options->replica = &link->replica;
    options->auth = &link->auth;
    options->enrol_secret = link->enrol && link->trust;
    if (link->enrol)
        options->enrol_key = link->trust ? link->secret.bytes : link->keys.access.bytes;
    return 0;
}

static void on_session(void *context, const struct bz_session_status *session)
{
    struct bz_link *link = context;
    bool done = false;
    pthread_mutex_lock(&link->lock);
    enum bz_link_state before = link->status.state;
    bool met = link->met;
    take_counters(link, session);
    link->met |= session->phase == BZ_SESSION_CATCHING_UP || session->phase == BZ_SESSION_LIVE;
    link->live |= session->phase == BZ_SESSION_LIVE;
    if (session->phase == BZ_SESSION_CATCHING_UP && before != BZ_LINK_CATCHING_UP) {
        bz_link_set_state(link, BZ_LINK_CATCHING_UP, "catching up");
    } else if (session->phase == BZ_SESSION_LIVE && before != BZ_LINK_LIVE) {
        link->status.reached = true;
        link->status.code = 0;
        bz_link_set_state(link, BZ_LINK_LIVE, "live");
        done = link->mode == BZ_LINK_ONCE;
    } else {
        tell(link);
    }
    met = link->met != met;
    pthread_mutex_unlock(&link->lock);
    if (done)
        bz_exchange_stop(link->exchange, 0, "done");
    else if (met)
        bz_loop_post(link->peer->loop, &link->review);
}

static void on_end(void *context, const struct bz_session_status *session)
{
    struct bz_link *link = context;
    (void)session;
    bz_db_unlisten(link->listener);
    if (link->replica.ops != NULL)
        bz_db_replica_close(&link->replica);
}

/* ---- The loop's side ---- */

static void stop(struct bz_link *link, int code, const char *text)
{
    pthread_mutex_lock(&link->lock);
    link->finished = true;
    link->status.code = code;
    link->status.wait_ms = 0;
    bz_link_set_state(
        link, BZ_LINK_STOPPED, code == 0 ? "%.140s" : BZ_LINK_STOPPED_TEXT "%.140s", text);
    pthread_mutex_unlock(&link->lock);
}

static uint64_t random_up_to(uint64_t most)
{
    uint64_t r = 0;
    if (bz_os_entropy(&r, sizeof r) != 0)
        return most;
    return r % (most + 1);
}

static void wait_and_retry(struct bz_link *link, int code, const char *text)
{
    uint64_t last = link->pause_ms > BACKOFF_LAST_MS ? link->pause_ms : BACKOFF_LAST_MS;
    uint64_t most = link->pause_ms;
    for (unsigned i = 0; i < link->failures && most < last; i++)
        most *= 2;
    if (most > last)
        most = last;
    link->failures++;
    uint64_t ms = random_up_to(most);
    pthread_mutex_lock(&link->lock);
    link->status.code = code;
    link->status.wait_ms = ms;
    bz_link_set_state(link, BZ_LINK_WAITING, "waiting %" PRIu64 ".%" PRIu64 " s: %.120s", ms / 1000,
        ms % 1000 / 100, text);
    pthread_mutex_unlock(&link->lock);
    link->pausing = true;
    bz_wakeup_rest(link->wakeup);
    bz_timer_set(link->timer, ms);
}

/* What was in the way may be gone: the pauses begin anew. */
static void retry_now(struct bz_link *link)
{
    link->failures = 0;
    if (!link->pausing)
        return;
    bz_timer_stop(link->timer);
    bz_link_attempt(link);
}

static void run_retry(struct bz_task *task)
{
    retry_now((struct bz_link *)((char *)task - offsetof(struct bz_link, retry)));
}

static void on_wakeup(void *context)
{
    retry_now(context);
}

void bz_link_retry(struct bz_link *link)
{
    bz_loop_post(link->peer->loop, &link->retry);
}

static void run_review(struct bz_task *task)
{
    bz_link_review((struct bz_link *)((char *)task - offsetof(struct bz_link, review)));
}

/* The peer's own connection is as good. */
static void stand_aside(struct bz_link *link)
{
    link->failures = 0;
    link->aside = true;
    bz_link_review(link);
}

/* An attempt has ended: what now? */
static void after(struct bz_link *link, int code, const char *text, bool final)
{
    pthread_mutex_lock(&link->lock);
    bool stopping = link->stopping;
    bool reached = link->status.reached;
    pthread_mutex_unlock(&link->lock);
    if (stopping)
        stop(link, 0, "closed");
    else if (link->mode == BZ_LINK_ONCE && reached)
        stop(link, 0, "done");
    else if (final)
        stop(link, code, text);
    else if (link->yielded)
        stand_aside(link);
    else
        wait_and_retry(link, code, text);
}

static void on_done(void *context, const struct bz_session_status *session)
{
    struct bz_link *link = context;
    link->exchange = NULL;
    pthread_mutex_lock(&link->lock);
    take_counters(link, session);
    link->sums = link->status.session;
    if (link->live)
        link->failures = 0;
    bool final = session->refused || (link->mode == BZ_LINK_ONCE && !link->met);
    pthread_mutex_unlock(&link->lock);
    const char *text = session->reason[0] != '\0' ? session->reason : "the session was ended";
    after(link, session->code != 0 ? session->code : BLAZE_ECLOSED, text, final);
}

/* A program has few links, and is not called from within a session. */
static bool is_prompt(void *context)
{
    (void)context;
    return true;
}

static const struct bz_exchange_callbacks exchange_callbacks = {.begin = on_begin,
    .is_prompt = is_prompt,
    .on_status = on_session,
    .end = on_end,
    .on_done = on_done};

static void on_open(void *context, struct bz_stream *stream)
{
    struct bz_link *link = context;
    int rc = bz_exchange_open(
        &link->exchange, link->peer->loop, link->peer->pool, stream, &exchange_callbacks, link);
    if (rc == 0)
        link->stream = NULL;
    else
        bz_stream_abort(stream); /* on_close() goes on */
}

static void on_close(void *context, struct bz_stream *stream, const blaze_error *reason)
{
    struct bz_link *link = context;
    (void)stream;
    link->stream = NULL;
    bool final = link->mode == BZ_LINK_ONCE || reason->code == BLAZE_EPERM;
    after(link, reason->code, reason->text, final);
}

static const struct bz_stream_callbacks connect_callbacks = {
    .on_open = on_open, .on_close = on_close};

void bz_link_attempt(struct bz_link *link)
{
    blaze_error error;
    pthread_mutex_lock(&link->lock);
    link->attempt_ns = bz_os_mono_ns();
    link->met = link->live = false;
    link->status.wait_ms = 0;
    bz_link_set_state(link, BZ_LINK_CONNECTING, "connecting to %.120s", link->url);
    pthread_mutex_unlock(&link->lock);
    link->pausing = link->yielded = link->aside = false;
    bz_wakeup_begin(link->wakeup);
    int rc = bz_stream_connect(
        &link->stream, link->peer->loop, link->url, NULL, &connect_callbacks, link, &error);
    if (rc != 0)
        after(link, rc, error.text, rc == BLAZE_EINVAL);
}

static void on_time(void *context)
{
    bz_link_attempt(context);
}

static void start(void *context)
{
    struct bz_link *link = context;
    link->rc = bz_timer_open(&link->timer, link->peer->loop, on_time, link);
    if (link->rc != 0)
        return;
    link->rc = bz_timer_open(&link->late, link->peer->loop, on_late, link);
    if (link->rc == 0 && link->mode == BZ_LINK_LIVE_MODE)
        link->rc = bz_wakeup_open(&link->wakeup, link->peer->loop, link->url, on_wakeup, link);
    if (link->rc != 0)
        bz_timer_close(link->late);
    if (link->rc == 0)
        bz_link_attempt(link);
    else
        bz_timer_close(link->timer);
}

/* ---- Opening and closing: the caller's side ---- */

static void free_link(struct bz_link *link)
{
    bz_wipe(&link->keys, sizeof link->keys);
    bz_wipe(&link->secret, sizeof link->secret);
    pthread_cond_destroy(&link->changed);
    pthread_mutex_destroy(&link->lock);
    bz_free(link->url);
    bz_free(link);
}

static struct bz_link *new_link(struct bz_peer *peer, const struct bz_link_options *options)
{
    struct bz_link *link = bz_zalloc(sizeof *link);
    size_t size = strlen(options->url) + 1;
    char *url = bz_malloc(size);
    if (link == NULL || url == NULL) {
        bz_free(link);
        bz_free(url);
        return NULL;
    }
    link->peer = peer;
    link->url = memcpy(url, options->url, size);
    link->mode = options->mode;
    link->enrol = options->enrol;
    link->pause_ms = options->pause_ms != 0 ? options->pause_ms : BACKOFF_FIRST_MS;
    link->trust = options->trust;
    link->on_status = options->on_status;
    link->context = options->context;
    link->report.run = run_report;
    link->later.run = run_later;
    link->retry.run = run_retry;
    link->review.run = run_review;
    pthread_mutex_init(&link->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&link->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return link;
}

static void list_link(struct bz_link *link)
{
    struct bz_peer *peer = link->peer;
    pthread_mutex_lock(&peer->lock);
    link->next = peer->links;
    if (link->next != NULL)
        link->next->previous = link;
    peer->links = link;
    pthread_mutex_unlock(&peer->lock);
}

static void unlist_link(struct bz_link *link)
{
    struct bz_peer *peer = link->peer;
    pthread_mutex_lock(&peer->lock);
    if (link->previous != NULL)
        link->previous->next = link->next;
    else
        peer->links = link->next;
    if (link->next != NULL)
        link->next->previous = link->previous;
    pthread_mutex_unlock(&peer->lock);
}

int bz_link_open(struct bz_link **out, struct bz_peer *peer, const struct bz_link_options *options,
    blaze_error *error)
{
    struct bz_url url;
    int rc = bz_url_parse(&url, options->url, error);
    if (rc != 0)
        return rc;
    struct bz_link *link = new_link(peer, options);
    if (link == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    rc = bz_keys_load(peer->db, &link->keys, error);
    if (rc == 0 && link->enrol && link->trust)
        rc = bz_member_secret(peer->db, &link->secret, error);
    if (rc == 0) {
        bz_loop_call(peer->loop, start, link);
        rc = link->rc;
        if (rc != 0)
            bz_error_code(error, rc);
    }
    if (rc != 0) {
        free_link(link);
        return rc;
    }
    list_link(link);
    bz_loop_post(peer->loop, &link->review); /* of visitors that have come before that */
    *out = link;
    return 0;
}

static void begin_stop(void *context)
{
    struct bz_link *link = context;
    pthread_mutex_lock(&link->lock);
    bool running = !link->finished;
    link->stopping = true;
    pthread_mutex_unlock(&link->lock);
    if (!running)
        return;
    if (link->stream != NULL) {
        bz_stream_abort(link->stream);
    } else if (link->exchange != NULL) {
        bz_exchange_stop(link->exchange, 0, "closed");
    } else {
        bz_timer_stop(link->timer);
        link->pausing = false;
        stop(link, 0, "closed");
    }
}

static void close_timers(void *context)
{
    struct bz_link *link = context;
    bz_loop_cancel(link->peer->loop, &link->later);
    bz_loop_cancel(link->peer->loop, &link->retry);
    bz_loop_cancel(link->peer->loop, &link->review);
    bz_wakeup_close(link->wakeup);
    bz_timer_close(link->timer);
    bz_timer_close(link->late);
}

void bz_link_close(struct bz_link *link)
{
    if (link == NULL)
        return;
    bz_loop_call(link->peer->loop, begin_stop, link);
    pthread_mutex_lock(&link->lock);
    while (!link->finished || link->waiters > 0)
        pthread_cond_wait(&link->changed, &link->lock);
    pthread_mutex_unlock(&link->lock);
    unlist_link(link); /* so that nobody posts its tasks */
    /* The report may have asked for a later one, and that timer may post the report once more; but
     * a stopped link asks for no other. */
    bz_strand_cancel(link->peer->pool, &link->report);
    bz_loop_call(link->peer->loop, close_timers, link);
    bz_strand_cancel(link->peer->pool, &link->report);
    free_link(link);
}

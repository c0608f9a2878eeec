/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Between the loop thread, which must never wait for a lock or a disk, and a session, which does.
 *
 *   loop thread                                    strand, on a thread of the pool
 *   on_data ------------> inbox ---------------->  bz_session_receive()
 *   bz_stream_write_buf() <--- outbox <----------  bz_session_run(), _output() --->
 * bz_stream_send_now() timer <------------------- deadline <-------- on_close ----------->
 * disconnected --------->  bz_session_disconnected(), freed on_done, freed <----------- ended
 * <----------
 *
 * What is shared lies under the lock; nothing that waits is done under it. Each side posts the
 * other after it has changed something there.
 *
 * What the strand has to say it sends by itself, which spares waking the loop thread, as far as the
 * system takes it at once. The rest goes by the outbox, and all that follows until the loop has
 * sent that: then it says so again in `through`. So bytes never overtake each other.
 *
 * Two others may be on the strand, in place of a thread of the pool, for what waits for nothing,
 * since the application's locks may be held: whoever commits (bz_exchange_push()), to send that;
 * and the loop thread, when something has come. Either deals with a small chunk that has come,
 * where the writer's place is free and nothing must be synced. Waking a thread for that would take
 * longer than that.
 *
 * Bounds: the stream is paused when the inbox holds INBOX_HIGH, and goes on when the strand has
 * taken it; the strand takes no output from the session while the outbox holds OUTBOX_HIGH or the
 * stream is full, and builds no more then. Both add one read, or one chunk of the session.
 *
 * The last run of the strand sets `ended`, after which the exchange belongs to the loop alone.
 */

#include "peer/exchange.h"

#include "base/alloc.h"
#include "os/os.h"

#include <pthread.h>
#include <stdio.h>

#define INBOX_HIGH  (512u << 10)
#define OUTBOX_HIGH (512u << 10)
#define BUF_MAX     (192u << 20) /* a frame of the largest kind, and what comes with it */

/* Runs that a session may have before others have their turn. */
#define RUNS_A_TURN 4

/* How long a session that closes has to say its last words. */
#define GOODBYE_MS 3000

/* What the loop thread may deal with by itself. */
#define PROMPT_SIZE (8u << 10)

/* Memory that an idle exchange keeps for its next bytes. */
#define KEEP_SIZE 4096u

/* Whose session this thread is running: what is committed within that, it sees by itself. */
static _Thread_local const struct bz_exchange *running;

struct bz_exchange {
    struct bz_loop *loop;
    struct bz_pool *pool;
    const struct bz_exchange_callbacks *callbacks;
    void *context;
    bool near; /* the stream stays within this machine */
    uint8_t binding[BZ_STREAM_BINDING_SIZE];

    pthread_mutex_t lock; /* over these */
    struct bz_buf inbox;
    struct bz_buf outbox;
    struct bz_stream *through; /* that the strand may send by, or NULL: by the outbox */
    bool held;                 /* the stream is paused because of the inbox */
    bool release;              /* and may go on */
    bool full;                 /* the stream has enough to send */
    bool starved;              /* the strand waits for room */
    bool finish;               /* the session has closed: close the stream after the outbox */
    bool disconnected;         /* the stream is gone */
    bool stop;                 /* bz_exchange_stop() was called */
    bool ending;               /* the session is closing, or is to: GOODBYE_MS are left */
    bool ended;                /* the strand is done */
    int stop_code;
    char stop_reason[160];
    blaze_error lost;  /* why the stream is gone */
    uint64_t deadline; /* of the session, UINT64_MAX: none */
    uint64_t armed;    /* what the timer is set to */

    struct bz_task task; /* runs the loop's side */
    struct bz_stream *stream;
    struct bz_timer *timer;
    struct bz_timer *goodbye;
    bool leaving; /* `goodbye` is running */

    struct bz_strand strand; /* runs the session's side */
    struct bz_session *session;
    struct bz_buf work; /* the inbox that is being read */
    bool begun;
    bool told_stop;
    bool failed;  /* here, and the status says how */
    uint64_t due; /* when the session must be called again, UINT64_MAX: when something happens */
    struct bz_session_status status;
};

static uint64_t now_ms(void)
{
    return bz_os_mono_ns() / 1000000u;
}

static void trim(struct bz_buf *buf)
{
    if (buf->capacity > KEEP_SIZE)
        bz_buf_release(buf);
    else
        bz_buf_clear(buf);
}

/* ---- The strand's side ---- */

/* Ends what cannot go on because of something here. */
static void fail(struct bz_exchange *x, int code, const char *text)
{
    x->failed = true;
    x->status.phase = BZ_SESSION_CLOSED;
    x->status.code = code;
    snprintf(x->status.reason, sizeof x->status.reason, "%.159s", text);
}

static void begin(struct bz_exchange *x)
{
    struct bz_session_options options = {0};
    blaze_error error = {0};
    memcpy(options.binding, x->binding, sizeof options.binding);
    options.near = x->near;
    x->begun = true;
    int rc = x->callbacks->begin(x->context, &options, &error);
    if (rc == 0)
        rc = bz_session_new(&x->session, &options, now_ms(), &error);
    if (rc != 0)
        fail(x, rc, error.text);
}

/* What the loop has left for the strand. */
struct news {
    bool disconnected;
    bool stop;
    blaze_error lost;
};

static struct news take_news(struct bz_exchange *x)
{
    pthread_mutex_lock(&x->lock);
    struct bz_buf taken = x->inbox;
    x->inbox = x->work;
    x->work = taken;
    if (x->held) {
        x->held = false;
        x->release = true;
    }
    struct news news = {.disconnected = x->disconnected, .stop = x->stop, .lost = x->lost};
    pthread_mutex_unlock(&x->lock);
    return news;
}

/* Moves output to the outbox while there is room; whether there still is. */
static bool give_output(struct bz_exchange *x, bool *given)
{
    struct bz_bytes output = {0};
    pthread_mutex_lock(&x->lock);
    bool room = !x->full && x->outbox.size < OUTBOX_HIGH;
    if (room)
        output = bz_session_output(x->session);
    size_t sent = x->through == NULL ? 0 : bz_stream_send_now(x->through, output);
    if (sent < output.size) {
        x->through = NULL;
        bz_buf_append(&x->outbox, output.data + sent, output.size - sent);
        room = x->outbox.size < OUTBOX_HIGH;
    }
    int rc = x->outbox.error;
    x->starved = !room;
    pthread_mutex_unlock(&x->lock);
    if (rc != 0)
        fail(x, rc, "out of memory for what is to be sent");
    else if (output.size > 0)
        bz_session_sent(x->session, output.size);
    *given = output.size > 0;
    return room && rc == 0;
}

/* What has come, to the session. */
static void hear(struct bz_exchange *x, uint64_t now)
{
    if (x->work.size > 0)
        bz_session_receive(x->session, bz_buf_bytes(&x->work), now);
    trim(&x->work);
}

/* What the session has come to, and when it must be called again. */
static void rest(struct bz_exchange *x, bool room, uint64_t now)
{
    x->due = room ? bz_session_deadline(x->session) : bz_session_wait(x->session, now);
    if (!x->failed)
        bz_session_status(x->session, &x->status);
    x->callbacks->on_status(x->context, &x->status);
}

/* One turn of the session; whether another should follow at once. */
static bool turn(struct bz_exchange *x, const struct news *news)
{
    uint64_t now = now_ms();
    hear(x, now);
    if (news->stop && !x->told_stop) {
        x->told_stop = true;
        bz_session_close(x->session, x->stop_code, x->stop_reason);
    }
    /* What was given makes room for more in the session: it is asked again. */
    bool given;
    bool more = true;
    bool room = give_output(x, &given);
    for (unsigned i = 0; i < RUNS_A_TURN && room && more; i++) {
        if (i > 0)
            bz_pool_share(x->pool);
        running = x;
        more = bz_session_run(x->session, now, bz_os_wall_ms());
        running = NULL;
        room = give_output(x, &given);
        more = more || given;
    }
    rest(x, room, now);
    return room && more;
}

/* The session's end: after this the strand does nothing any more. */
static void finish(struct bz_exchange *x, const struct news *news)
{
    bool lost = x->status.phase != BZ_SESSION_CLOSED;
    if (x->session != NULL) {
        bz_session_disconnected(x->session);
        if (!x->failed)
            bz_session_status(x->session, &x->status);
        bz_session_free(x->session);
        x->session = NULL;
    }
    x->status.phase = BZ_SESSION_CLOSED;
    if (lost && news->lost.code != 0) {
        /* The session knows only that the stream is gone; the stream knows why. */
        x->status.code = news->lost.code;
        snprintf(x->status.reason, sizeof x->status.reason, "%.159s", news->lost.text);
    }
    if (x->begun)
        x->callbacks->end(x->context, &x->status);
}

/* Leaves word for the loop, and wakes it if there is something for it to do. */
static void tell_loop(struct bz_exchange *x, bool closed, bool said, uint64_t deadline, bool ended)
{
    pthread_mutex_lock(&x->lock);
    x->finish = said;
    x->deadline = deadline;
    x->ended = ended;
    x->ending = x->ending || closed;
    bool wake = closed || ended || x->release || x->outbox.size > 0 || deadline < x->armed;
    pthread_mutex_unlock(&x->lock);
    if (wake)
        bz_loop_post(x->loop, &x->task);
}

/* What a run came to, for those who watch and for the loop. */
static void tell(struct bz_exchange *x, bool disconnected)
{
    bool closed = x->status.phase == BZ_SESSION_CLOSED;
    bool said = closed && (x->session == NULL || bz_session_output(x->session).size == 0);
    tell_loop(x, closed, said, closed ? UINT64_MAX : x->due, disconnected);
}

static void run_session(struct bz_strand *strand)
{
    struct bz_exchange *x =
        (struct bz_exchange *)((char *)strand - offsetof(struct bz_exchange, strand));
    pthread_mutex_lock(&x->lock);
    bool ended = x->ended;
    pthread_mutex_unlock(&x->lock);
    if (ended)
        return;

    struct news news = take_news(x);
    bool more = false;
    if (!x->begun && !news.disconnected)
        begin(x);
    if (x->session != NULL && x->status.phase != BZ_SESSION_CLOSED) {
        more = turn(x, &news);
    } else if (x->session != NULL) {
        bool given;
        give_output(x, &given); /* what is left of the goodbye */
    }
    trim(&x->work);
    if (news.disconnected)
        finish(x, &news);
    tell(x, news.disconnected);
    if (more && !news.disconnected)
        bz_strand_post(x->pool, &x->strand);
}

/* On the strand, though not on a thread of the pool; whether it has to run there. A handshake may
 * have to open a database. */
static bool push(struct bz_exchange *x)
{
    bool open = x->status.phase == BZ_SESSION_CATCHING_UP || x->status.phase == BZ_SESSION_LIVE;
    if (x->session == NULL || !open)
        return true;
    struct news news = take_news(x);
    uint64_t now = now_ms();
    hear(x, now);
    const struct bz_exchange *outer = running;
    running = x;
    bool more = bz_session_push(x->session, now, bz_os_wall_ms());
    running = outer;
    bool given, room = give_output(x, &given);
    rest(x, room, now);
    tell(x, false);
    return (room && more) || news.disconnected || news.stop;
}

/* Goes on without waiting, on this thread; false if it runs elsewhere now. */
static bool pushed(struct bz_exchange *x)
{
    if (!bz_strand_enter(x->pool, &x->strand))
        return false;
    bz_strand_leave(x->pool, &x->strand, push(x));
    return true;
}

/* ---- The loop's side ---- */

static void free_exchange(struct bz_exchange *x)
{
    bz_buf_release(&x->inbox);
    bz_buf_release(&x->outbox);
    bz_buf_release(&x->work);
    pthread_mutex_destroy(&x->lock);
    bz_free(x);
}

static void on_deadline(void *context)
{
    struct bz_exchange *x = context;
    pthread_mutex_lock(&x->lock);
    x->armed = UINT64_MAX;
    pthread_mutex_unlock(&x->lock);
    bz_strand_post(x->pool, &x->strand);
}

static void on_goodbye(void *context)
{
    struct bz_exchange *x = context;
    if (x->stream != NULL)
        bz_stream_abort(x->stream);
}

static void be_done(struct bz_exchange *x)
{
    bz_strand_cancel(x->pool, &x->strand); /* waits for the end of its last run at most */
    bz_loop_cancel(x->loop, &x->task);
    bz_timer_close(x->timer);
    bz_timer_close(x->goodbye);
    x->callbacks->on_done(x->context, &x->status);
    free_exchange(x);
}

/* What the strand has left for the loop. */
struct orders {
    struct bz_buf out;
    bool release;
    bool finish;
    bool ending;
    bool ended;
    bool arm;
    uint64_t deadline;
};

static struct orders take_orders(struct bz_exchange *x)
{
    pthread_mutex_lock(&x->lock);
    struct orders orders = {.out = x->outbox,
        .release = x->release,
        .finish = x->finish,
        .ending = x->ending,
        .ended = x->ended,
        /* A later deadline is left to the timer that is set: its end has the session say the next.
         */
        .arm = x->deadline < x->armed,
        .deadline = x->deadline};
    bz_buf_init(&x->outbox, BUF_MAX);
    x->release = false;
    if (orders.arm)
        x->armed = x->deadline;
    pthread_mutex_unlock(&x->lock);
    return orders;
}

static void follow(struct bz_exchange *x, struct orders *orders)
{
    if (orders->out.size > 0 && bz_stream_write_buf(x->stream, &orders->out) != 0)
        bz_stream_abort(x->stream);
    if (orders->release)
        bz_stream_resume(x->stream);
    if (orders->arm) {
        uint64_t now = now_ms();
        bz_timer_set(x->timer, orders->deadline > now ? orders->deadline - now : 0);
    }
    bool full = bz_stream_full(x->stream);
    bool idle = bz_stream_pending(x->stream) == 0 && !orders->finish;
    pthread_mutex_lock(&x->lock);
    x->full = full;
    x->through = idle && x->outbox.size == 0 && !x->disconnected ? x->stream : NULL;
    bool hungry = x->starved && !full;
    pthread_mutex_unlock(&x->lock);
    if (hungry)
        bz_strand_post(x->pool, &x->strand);
    if (orders->finish)
        bz_stream_close(x->stream);
    if (orders->ending && !x->leaving) {
        x->leaving = true;
        bz_timer_set(x->goodbye, GOODBYE_MS);
    }
}

static void run_loop_side(struct bz_task *task)
{
    struct bz_exchange *x =
        (struct bz_exchange *)((char *)task - offsetof(struct bz_exchange, task));
    struct orders orders = take_orders(x);
    if (orders.ended)
        be_done(x);
    else if (x->stream != NULL)
        follow(x, &orders);
    bz_buf_release(&orders.out);
}

static void on_data(void *context, struct bz_stream *stream, struct bz_bytes data)
{
    struct bz_exchange *x = context;
    pthread_mutex_lock(&x->lock);
    bz_buf_append(&x->inbox, data.data, data.size);
    int rc = x->inbox.error;
    x->held = x->held || x->inbox.size >= INBOX_HIGH;
    bool hold = x->held;
    size_t size = x->inbox.size;
    pthread_mutex_unlock(&x->lock);
    if (rc != 0)
        bz_stream_abort(stream); /* out of memory: bytes are missing now */
    else if (hold)
        bz_stream_pause(stream);
    if (rc != 0 || size > PROMPT_SIZE || !x->callbacks->is_prompt(x->context) || !pushed(x))
        bz_strand_post(x->pool, &x->strand);
}

static void on_writable(void *context, struct bz_stream *stream)
{
    struct bz_exchange *x = context;
    (void)stream;
    pthread_mutex_lock(&x->lock);
    x->full = false;
    pthread_mutex_unlock(&x->lock);
    bz_strand_post(x->pool, &x->strand);
}

static void on_close(void *context, struct bz_stream *stream, const blaze_error *reason)
{
    struct bz_exchange *x = context;
    (void)stream;
    x->stream = NULL;
    bz_timer_stop(x->timer);
    bz_timer_stop(x->goodbye);
    pthread_mutex_lock(&x->lock);
    x->disconnected = true;
    x->through = NULL;
    x->lost = *reason;
    pthread_mutex_unlock(&x->lock);
    bz_strand_post(x->pool, &x->strand);
}

static const struct bz_stream_callbacks stream_callbacks = {
    .on_data = on_data, .on_writable = on_writable, .on_close = on_close};

int bz_exchange_open(struct bz_exchange **out, struct bz_loop *loop, struct bz_pool *pool,
    struct bz_stream *stream, const struct bz_exchange_callbacks *callbacks, void *context)
{
    struct bz_exchange *x = bz_zalloc(sizeof *x);
    if (x == NULL)
        return BLAZE_ENOMEM;
    pthread_mutex_init(&x->lock, NULL);
    x->loop = loop;
    x->pool = pool;
    x->callbacks = callbacks;
    x->context = context;
    x->stream = stream;
    x->near = strncmp(bz_stream_peer(stream), "tcp:", 4) != 0;
    x->deadline = x->armed = x->due = UINT64_MAX;
    x->task.run = run_loop_side;
    x->strand.run = run_session;
    bz_buf_init(&x->inbox, BUF_MAX);
    bz_buf_init(&x->outbox, BUF_MAX);
    bz_buf_init(&x->work, BUF_MAX);
    int rc = bz_stream_binding(stream, x->binding);
    if (rc == 0)
        rc = bz_timer_open(&x->timer, loop, on_deadline, x);
    if (rc == 0)
        rc = bz_timer_open(&x->goodbye, loop, on_goodbye, x);
    if (rc != 0) {
        bz_timer_close(x->timer);
        free_exchange(x);
        return rc;
    }
    bz_stream_set_callbacks(stream, &stream_callbacks, x);
    *out = x; /* before the strand may run */
    bz_strand_post(pool, &x->strand);
    return 0;
}

void bz_exchange_wake(struct bz_exchange *exchange)
{
    if (running == exchange)
        return; /* it comes to that in this run */
    if (running != NULL && running->pool == exchange->pool)
        bz_strand_post_next(exchange->pool, &exchange->strand);
    else
        bz_strand_post(exchange->pool, &exchange->strand);
}

void bz_exchange_push(struct bz_exchange *exchange)
{
    if (running != exchange && !pushed(exchange)) /* else it comes to that in this run */
        bz_exchange_wake(exchange);
}

void bz_exchange_stop(struct bz_exchange *exchange, int code, const char *reason)
{
    pthread_mutex_lock(&exchange->lock);
    if (!exchange->stop) {
        exchange->stop = exchange->ending = true;
        exchange->stop_code = code;
        snprintf(exchange->stop_reason, sizeof exchange->stop_reason, "%s", reason);
    }
    pthread_mutex_unlock(&exchange->lock);
    bz_strand_post(exchange->pool, &exchange->strand);
    bz_loop_post(exchange->loop, &exchange->task);
}

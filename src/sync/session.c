/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a session: what comes in is cut into frames, the deadlines, what goes out, and the
 * end.
 *
 * Input is one buffer. Frames before `input_done` are dealt with, those before `input_scanned` are
 * complete and have had their headers checked; what follows is the start of a frame. Checking
 * headers as they come is what keeps a peer to its credit and its frames to their limits before
 * memory is spent on them.
 */
#include "sync/session_priv.h"

#include "base/alloc.h"
#include "base/utf8.h"

#include <stdio.h>

#define CHUNK_BYTES   (256u << 10)
#define WINDOW_CHUNKS 4u
#define HANDSHAKE_MS  10000u
#define IDLE_MS       30000u
#define LAZY_MS       250u

#define PUSH_POSITIONS 16u

#define CONTROL_ROOM  (2 * BZ_FRAME_CONTROL_MAX) /* for frames other than CHANGES */
#define FRAMES_A_RUN  64
#define TRICKLE_BYTES 1024u /* of a frame that is not complete, to count as a sign of life */
#define OUTPUT_MAX    ((size_t)1 << 31) /* never reached: credit bounds it far below */

static bool is_early(const struct bz_session *s)
{
    return s->step < BZ_STEP_OPEN;
}

/* ---- the end ---- */

static void close_with(struct bz_session *s, int code, bool final, const char *reason)
{
    if (s->step == BZ_STEP_CLOSED)
        return;
    s->step = BZ_STEP_CLOSED;
    s->status.phase = BZ_SESSION_CLOSED;
    s->status.code = code;
    s->status.refused = final;
    snprintf(s->status.reason, sizeof s->status.reason, "%.*s", (int)sizeof s->status.reason - 1,
        reason);
    explicit_bzero(s->key, sizeof s->key);
    bz_outgoing_release(s);
    bz_opaque_release(s);
    bz_incoming_release(s);
    bz_reconcile_release(s);
    bz_lazy_release(s);
    bz_packer_release(&s->packer);
    bz_buf_release(&s->input);
    bz_buf_release(&s->hellos[0]);
    bz_buf_release(&s->hellos[1]);
    s->input_done = s->input_scanned = 0;
}

/* Whether another try will meet the same answer. Once the peer is let in, only what is wrong with
 * a copy itself is so. */
static bool is_final(int code, bool early)
{
    if (!early)
        return code == BLAZE_EFAILED;
    switch (code) {
    case BLAZE_EAUTH:
    case BLAZE_ENOTFOUND:
    case BLAZE_EDATABASE:
    case BLAZE_EVERSION:
    case BLAZE_EEXIST:
    case BLAZE_EPERM:
    case BLAZE_ELIMIT:
        return true;
    default:
        return false;
    }
}

static void say_goodbye(
    struct bz_session *s, enum bz_frame_type type, int code, bool final, const char *reason)
{
    struct bz_goodbye goodbye = {.code = code, .final = final};
    snprintf(goodbye.reason, sizeof goodbye.reason, "%.*s", (int)sizeof goodbye.reason - 1, reason);
    for (size_t size = strlen(goodbye.reason);
         size > 0 && !bz_utf8_valid(bz_bytes(goodbye.reason, size)); size--)
        goodbye.reason[size - 1] = '\0'; /* a character was cut in two */
    bz_buf_clear(&s->scratch);
    bz_goodbye_encode(&s->scratch, &goodbye);
    bz_session_send(s, type);
}

void bz_session_fail(struct bz_session *s, const blaze_error *error)
{
    if (s->step == BZ_STEP_CLOSED)
        return;
    bool early = is_early(s);
    bool final = is_final(error->code, early);
    /* A stranger gets the general sentence: what went wrong inside is not its business. */
    const char *said = s->status.peer_is_member ? error->text : blaze_error_string(error->code);
    say_goodbye(s, early ? BZ_FRAME_REFUSE : BZ_FRAME_BYE, error->code, final, said);
    close_with(s, error->code, final, error->text);
}

static void fail(struct bz_session *s, int code, const char *reason)
{
    blaze_error error;
    bz_error_set(&error, code, "%s", reason);
    bz_session_fail(s, &error);
}

void bz_session_close(struct bz_session *s, int code, const char *reason)
{
    if (s->step == BZ_STEP_CLOSED)
        return;
    say_goodbye(s, BZ_FRAME_BYE, code, false, reason != NULL ? reason : "");
    close_with(s, code, false, reason != NULL ? reason : "");
}

void bz_session_disconnected(struct bz_session *s)
{
    close_with(s, BLAZE_ECLOSED, false, "the connection was lost");
    bz_buf_release(&s->output);
    s->output_done = 0;
}

/* What a refusal says to whoever looks at this end. */
static const char *refusal_text(const struct bz_session *s, const struct bz_goodbye *goodbye)
{
    switch (goodbye->code) {
    case BLAZE_EAUTH:
        return "the other end holds another key for this database";
    case BLAZE_ENOTFOUND:
        return "the other end does not have this database";
    case BLAZE_EVERSION:
        return "the other end does not support this version of the protocol or kind of peer";
    case BLAZE_EPERM:
        if (s->options.connecting && s->options.enrol_secret)
            return "the hub takes no secrets: start it with --trusted, or share without --trusted";
        return "the other end takes in no databases, or does not serve this one now; its log says "
               "why";
    case BLAZE_ELIMIT:
        if (s->options.connecting && s->options.enrol_key != NULL)
            return "the hub keeps as many databases as it may, and takes in no more";
        return "a limit of the other end is reached; its log says which";
    default:
        return goodbye->reason[0] != '\0' ? goodbye->reason : blaze_error_string(goodbye->code);
    }
}

static int on_goodbye(
    struct bz_session *s, uint8_t type, struct bz_bytes payload, blaze_error *error)
{
    struct bz_goodbye goodbye;
    if (bz_goodbye_decode(payload, &goodbye) != 0)
        return bz_error_set(error, BLAZE_EPROTO, "the peer's farewell is malformed");
    bool refuse = type == BZ_FRAME_REFUSE;
    /* One side is open first, either of them if frames come in parts: the other may still give the
     * handshake up. It has sent nothing of one that is open until then. */
    bool in_place = is_early(s) || (s->in.chunks == 0 && s->out.chunks_acked == 0);
    if (refuse && (goodbye.code == 0 || !in_place))
        return bz_error_set(error, BLAZE_EPROTO, "the peer sent a refusal out of place");
    close_with(s, goodbye.code, goodbye.final && goodbye.code != 0,
        refuse ? refusal_text(s, &goodbye) : goodbye.reason);
    bz_buf_release(&s->output);
    s->output_done = 0;
    return 0;
}

/* ---- life ---- */

static void set_defaults(struct bz_session_options *options)
{
    if (options->chunk_bytes == 0)
        options->chunk_bytes = CHUNK_BYTES;
    if (options->chunk_bytes > BZ_FRAME_MAX / 2)
        options->chunk_bytes = BZ_FRAME_MAX / 2;
    if (options->window_bytes == 0)
        options->window_bytes = options->chunk_bytes * WINDOW_CHUNKS;
    if (options->handshake_ms == 0)
        options->handshake_ms = HANDSHAKE_MS;
    if (options->idle_ms == 0)
        options->idle_ms = IDLE_MS;
    if (options->lazy_ms == 0)
        options->lazy_ms = LAZY_MS;
}

int bz_session_new(struct bz_session **out, const struct bz_session_options *options,
    uint64_t now_ms, blaze_error *error)
{
    struct bz_session *s = bz_zalloc(sizeof *s);
    if (s == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    s->options = *options;
    set_defaults(&s->options);
    s->now_ms = s->started_ms = s->heard_ms = now_ms;
    s->in.window = s->options.window_bytes;
    bz_buf_init(&s->input, OUTPUT_MAX);
    bz_buf_init(&s->output, OUTPUT_MAX);
    bz_buf_init(&s->hellos[0], BZ_FRAME_EARLY_MAX);
    bz_buf_init(&s->hellos[1], BZ_FRAME_EARLY_MAX);
    bz_buf_init(&s->scratch, BZ_FRAME_CONTROL_MAX);
    bz_outgoing_init(s);
    bz_incoming_init(s);
    bz_lazy_init(s);
    bz_opaque_init(s);
    if (options->connecting) {
        s->replica = *options->replica;
        s->auth = *options->auth;
    }
    if (options->enrol_key != NULL)
        memcpy(s->key, options->enrol_key, sizeof s->key);
    blaze_error local;
    int rc = bz_handshake_start(s, &local);
    if (rc == 0 && s->output.error != 0)
        rc = bz_error_code(&local, s->output.error);
    if (rc != 0) {
        bz_session_free(s);
        return bz_error_set(error, rc, "%s", local.text);
    }
    *out = s;
    return 0;
}

void bz_session_free(struct bz_session *s)
{
    if (s == NULL)
        return;
    close_with(s, BLAZE_ECANCELED, false, "");
    bz_buf_release(&s->output);
    bz_buf_release(&s->scratch);
    bz_free(s);
}

/* ---- output ---- */

void bz_session_send(struct bz_session *s, enum bz_frame_type type)
{
    if (s->scratch.error != 0)
        s->output.error = s->scratch.error;
    bz_frame_append(&s->output, (uint8_t)type, bz_buf_bytes(&s->scratch));
    bz_buf_clear(&s->scratch);
}

/* Empties a buffer, whose error stays; one that has grown large is given back, for most sessions
 * idle most of the time. */
static void empty(struct bz_buf *buf)
{
    int error = buf->error;
    if (buf->capacity > BZ_KEEP_BYTES)
        bz_buf_release(buf);
    else
        bz_buf_clear(buf);
    buf->error = error;
}

static struct bz_bytes rest_of(const struct bz_buf *buf, size_t from)
{
    return from == buf->size ? bz_bytes(NULL, 0) : bz_bytes(buf->data + from, buf->size - from);
}

struct bz_bytes bz_session_output(struct bz_session *s)
{
    return rest_of(&s->output, s->output_done);
}

/* The peer is alive: it has sent a whole frame, or a good part of one (mere drops do not count, so
 * that a peer whose frame never ends is given up in time), or has taken what waited for it. */
static void heard(struct bz_session *s)
{
    s->heard_ms = s->now_ms;
    s->unheard = 0;
    s->pinged = false;
}

void bz_session_sent(struct bz_session *s, size_t size)
{
    s->output_done += size;
    s->status.sent_bytes += size;
    if (s->waited && size > 0)
        heard(s);
    s->waited = false;
    if (s->output_done < s->output.size)
        return;
    if (is_early(s) && s->output.size > 0) /* an enrolment's secret may have been in it */
        explicit_bzero(s->output.data, s->output.size);
    empty(&s->output);
    s->output_done = 0;
}

/* ---- input ---- */

static struct bz_bytes input_left(const struct bz_session *s)
{
    return rest_of(&s->input, s->input_done);
}

static void input_drop(struct bz_session *s, size_t size)
{
    s->input_done += size;
    if (s->input_done == s->input.size) {
        empty(&s->input);
        s->input_done = s->input_scanned = 0;
    }
}

static size_t frame_limit(const struct bz_session *s, uint8_t type)
{
    if (!s->status.peer_is_proven)
        return BZ_FRAME_EARLY_MAX;
    return type == BZ_FRAME_CHANGES && s->step == BZ_STEP_OPEN ? BZ_FRAME_MAX
                                                               : BZ_FRAME_CONTROL_MAX;
}

/* What the header at the start of `input` promises: 0 if the frame is there in full. */
static int check_header(struct bz_session *s, struct bz_bytes input, uint8_t *type,
    struct bz_bytes *payload, size_t *size, blaze_error *error)
{
    int rc = bz_frame_peek(input, type, payload, size);
    if (rc < 0)
        return bz_error_set(error, rc, "the peer sent a malformed frame");
    if (*type != 0 && *size > frame_limit(s, *type))
        return bz_error_set(
            error, BLAZE_EPROTO, "the peer sent a frame of %zu bytes, type %u", *size, *type);
    return rc;
}

static bool skippable(uint8_t type)
{
    return (type & BZ_FRAME_OPTIONAL) != 0;
}

/* Deals with the frames of the handshake; leaves those that come once it is open. */
static int take_early(struct bz_session *s, blaze_error *error)
{
    int rc = 0;
    while (rc == 0 && is_early(s)) {
        uint8_t type;
        struct bz_bytes payload;
        size_t size;
        rc = check_header(s, input_left(s), &type, &payload, &size, error);
        if (rc != 0)
            break;
        if (type == BZ_FRAME_REFUSE || type == BZ_FRAME_BYE)
            rc = on_goodbye(s, type, payload, error);
        else if (!skippable(type))
            rc = bz_handshake_frame(s, type, payload, error);
        if (s->step == BZ_STEP_CLOSED)
            break; /* the input is gone */
        if (type == BZ_FRAME_ENROL)
            explicit_bzero(s->input.data + s->input_done, size);
        heard(s);
        input_drop(s, size);
    }
    return rc < 0 ? rc : 0;
}

/* Looks at the headers of what has come since, so that credit is kept to the byte. */
static int scan_open(struct bz_session *s, blaze_error *error)
{
    if (s->input_scanned < s->input_done)
        s->input_scanned = s->input_done;
    for (;;) {
        struct bz_bytes fresh = rest_of(&s->input, s->input_scanned);
        uint8_t type;
        struct bz_bytes payload;
        size_t size;
        int rc = check_header(s, fresh, &type, &payload, &size, error);
        if (rc != 0)
            return rc < 0 ? rc : 0;
        if (type == BZ_FRAME_CHANGES) {
            s->in.waiting += size;
            if (s->in.waiting > s->in.window && s->in.waiting != size)
                return bz_error_set(
                    error, BLAZE_EPROTO, "the peer sent more than it had credit for");
        } else if ((s->control_waiting += size) > CONTROL_ROOM) {
            return bz_error_set(error, BLAZE_EPROTO, "the peer sent more than is dealt with");
        }
        heard(s);
        s->input_scanned += size;
    }
}

static int take_input(struct bz_session *s, struct bz_bytes bytes, blaze_error *error)
{
    size_t held = s->in.window > BZ_FRAME_MAX ? s->in.window : BZ_FRAME_MAX;
    if (is_early(s) && !s->status.peer_is_proven)
        held = BZ_FRAME_EARLY_MAX;
    if (s->input_done > 0 && s->input_done >= s->input.size / 2) {
        bz_buf_consume(&s->input, s->input_done);
        s->input_scanned -= s->input_scanned < s->input_done ? s->input_scanned : s->input_done;
        s->input_done = 0;
    }
    if (s->input.size - s->input_done + bytes.size > held + CONTROL_ROOM)
        return bz_error_set(error, BLAZE_EPROTO, "the peer sent more than fits");
    bz_buf_append(&s->input, bytes.data, bytes.size);
    if (s->input.error != 0)
        return bz_error_code(error, s->input.error);
    int rc = take_early(s, error);
    if (rc == 0 && s->output.error != 0)
        rc = bz_error_code(error, s->output.error);
    return rc == 0 && s->step == BZ_STEP_OPEN ? scan_open(s, error) : rc;
}

static void check_handshake(struct bz_session *s)
{
    if (is_early(s) && s->now_ms >= s->started_ms + s->options.handshake_ms)
        fail(s, BLAZE_ETIMEOUT, "the peer took too long to introduce itself");
}

void bz_session_receive(struct bz_session *s, struct bz_bytes bytes, uint64_t now_ms)
{
    if (s->step == BZ_STEP_CLOSED || bytes.size == 0)
        return;
    blaze_error error;
    s->now_ms = now_ms;
    s->unheard += bytes.size;
    if (s->unheard >= TRICKLE_BYTES)
        heard(s);
    s->status.received_bytes += bytes.size;
    check_handshake(s);
    if (s->step != BZ_STEP_CLOSED && take_input(s, bytes, &error) != 0)
        bz_session_fail(s, &error);
}

static int on_ping(struct bz_session *s, uint8_t type, struct bz_bytes payload, blaze_error *error)
{
    uint64_t number;
    if (bz_ping_decode(payload, &number) != 0)
        return bz_error_set(error, BLAZE_EPROTO, "the peer's ping is malformed");
    if (type == BZ_FRAME_PING) {
        bz_ping_encode(&s->scratch, number);
        bz_session_send(s, BZ_FRAME_PONG);
    } else if (number > s->pings) {
        return bz_error_set(error, BLAZE_EPROTO, "the peer answers what was not asked");
    }
    return 0;
}

static int on_compare(
    struct bz_session *s, uint8_t type, struct bz_bytes payload, blaze_error *error)
{
    if (!s->reconciles)
        return bz_error_set(
            error, BLAZE_EPROTO, "the peer sent a frame of type %u, which was not agreed on", type);
    if (type == BZ_FRAME_COVERED)
        return bz_coverage_heard(s, payload, error);
    return type == BZ_FRAME_RANGES ? bz_reconcile_ranges(s, payload, error)
                                   : bz_reconcile_items(s, payload, error);
}

static int on_open_frame(
    struct bz_session *s, uint8_t type, struct bz_bytes payload, size_t size, blaze_error *error)
{
    struct bz_ack ack;
    struct bz_resume resume;
    switch (type) {
    case BZ_FRAME_CHANGES:
        s->in.waiting -= size;
        return bz_incoming_chunk(s, payload, error);
    case BZ_FRAME_ACK:
        if (bz_ack_decode(payload, &ack) != 0)
            return bz_error_set(error, BLAZE_EPROTO, "the peer's acknowledgement is malformed");
        return bz_outgoing_ack(s, &ack, error);
    case BZ_FRAME_RESUME:
        if (bz_resume_decode(payload, &resume) != 0)
            return bz_error_set(error, BLAZE_EPROTO, "the peer's request is malformed");
        return bz_outgoing_resume(s, &resume, error);
    case BZ_FRAME_HAVE:
        return bz_lazy_have(s, payload, error);
    case BZ_FRAME_PACE:
        return bz_lazy_pace(s, payload, error);
    case BZ_FRAME_PING:
    case BZ_FRAME_PONG:
        return on_ping(s, type, payload, error);
    case BZ_FRAME_REST:
        return bz_incoming_rest(s, error);
    case BZ_FRAME_RANGES:
    case BZ_FRAME_ITEMS:
    case BZ_FRAME_COVERED:
        return on_compare(s, type, payload, error);
    case BZ_FRAME_BYE:
    case BZ_FRAME_REFUSE:
        return on_goodbye(s, type, payload, error);
    default:
        if (skippable(type))
            return 0;
        return bz_error_set(error, BLAZE_EPROTO,
            "the peer sent a frame of type %u, which means nothing here", type);
    }
}

static void frame_done(struct bz_session *s, uint8_t type, size_t size)
{
    input_drop(s, size);
    if (type != BZ_FRAME_CHANGES)
        s->control_waiting -= size;
}

/* Whether what comes next is a chunk that goes into the same commit as those before it. */
static bool gathers(const struct bz_session *s)
{
    uint8_t type = 0;
    struct bz_bytes payload;
    size_t size;
    return s->in.gathered > 0 && s->in.gathered < BZ_GATHER_CHUNKS &&
           s->input_done < s->input_scanned &&
           bz_frame_peek(input_left(s), &type, &payload, &size) == 0 && type == BZ_FRAME_CHANGES;
}

/* Deals with waiting frames, up to the chunks of one commit, or one question whose answer is large.
 */
static int take_open(struct bz_session *s, bool *more, blaze_error *error)
{
    for (int i = 0; i < FRAMES_A_RUN && s->input_done < s->input_scanned; i++) {
        uint8_t type;
        struct bz_bytes payload;
        size_t size;
        int rc = bz_frame_peek(input_left(s), &type, &payload, &size);
        if (rc == 0)
            rc = on_open_frame(s, type, payload, size, error);
        if (rc != 0 || s->step == BZ_STEP_CLOSED)
            return rc;
        frame_done(s, type, size);
        if ((type == BZ_FRAME_CHANGES && !gathers(s)) || type == BZ_FRAME_RANGES)
            break;
    }
    *more |= s->input_done < s->input_scanned;
    return bz_incoming_commit(s, error);
}

/* ---- time ---- */

/* Nothing has been heard for a while: ask. */
static void check_silence(struct bz_session *s)
{
    uint64_t silence = s->now_ms - s->heard_ms;
    if (silence >= 2ull * s->options.idle_ms) {
        fail(s, BLAZE_ETIMEOUT, "the peer has fallen silent");
    } else if (silence >= s->options.idle_ms && !s->pinged) {
        s->pinged = true;
        bz_ping_encode(&s->scratch, ++s->pings);
        bz_session_send(s, BZ_FRAME_PING);
    }
}

static uint64_t silence_deadline(const struct bz_session *s)
{
    return s->heard_ms + (s->pinged ? 2ull : 1ull) * s->options.idle_ms;
}

uint64_t bz_session_deadline(const struct bz_session *s)
{
    if (s->step == BZ_STEP_CLOSED)
        return UINT64_MAX;
    if (is_early(s))
        return s->started_ms + s->options.handshake_ms;
    uint64_t silent = silence_deadline(s);
    uint64_t walk = bz_outgoing_deadline(s), lazy = bz_lazy_deadline(s);
    uint64_t tell = bz_coverage_deadline(s), work = walk < lazy ? walk : lazy;
    work = work < tell ? work : tell;
    return work < silent ? work : silent;
}

static void update_status(struct bz_session *s)
{
    struct bz_session_status *st = &s->status;
    if (s->step == BZ_STEP_OPEN)
        st->phase =
            bz_outgoing_done(s) && bz_incoming_done(s) ? BZ_SESSION_LIVE : BZ_SESSION_CATCHING_UP;
    s->lazy.settled |= st->phase == BZ_SESSION_LIVE;
    st->lazy = s->lazy.asked && s->lazy.settled;
    st->position_acked = s->out.position_acked;
    st->to_send_records = st->position_head > s->out.told ? st->position_head - s->out.told : 0;
    st->to_receive_records = s->in.head > s->in.cursor ? s->in.head - s->in.cursor : 0;
}

static uint64_t progress_mark(const struct bz_session *s)
{
    return s->status.sent_records + s->status.received_records + s->out.chunks_sent +
           s->out.chunks_acked + s->in.chunks + (uint64_t)s->status.phase;
}

/* What a run came to; whether another should follow. */
static bool end_run(
    struct bz_session *s, uint64_t mark, bool more, int rc, const blaze_error *error)
{
    if (rc != 0)
        bz_session_fail(s, error);
    if (s->step == BZ_STEP_CLOSED)
        return false;
    update_status(s);
    if (s->options.on_progress != NULL && progress_mark(s) != mark)
        s->options.on_progress(s->options.context, s);
    return more;
}

bool bz_session_run(struct bz_session *s, uint64_t now_ms, uint64_t wall_ms)
{
    if (s->step == BZ_STEP_CLOSED)
        return false;
    s->now_ms = now_ms;
    s->wall_ms = wall_ms;
    if (is_early(s)) {
        check_handshake(s);
        return false;
    }
    blaze_error error;
    bool more = false;
    uint64_t mark = progress_mark(s);
    int rc = take_open(s, &more, &error);
    if (rc == 0 && s->step == BZ_STEP_OPEN)
        rc = bz_reconcile_run(s, &more, &error);
    if (rc == 0 && s->step == BZ_STEP_OPEN)
        rc = bz_lazy_run(s, &error);
    if (rc == 0 && s->step == BZ_STEP_OPEN)
        rc = bz_outgoing_run(s, &more, &error);
    if (rc == 0 && s->step == BZ_STEP_OPEN)
        rc = bz_scope_run(s, &more, &error);
    if (rc == 0 && s->step == BZ_STEP_OPEN) {
        bz_incoming_ack(s); /* after our own changes: see docs/format/wire.md */
        rc = bz_coverage_run(s, &more, &error);
        check_silence(s);
        if (rc == 0 && s->output.error != 0)
            rc = bz_error_code(&error, s->output.error);
    }
    return end_run(s, mark, more, rc, &error);
}

uint64_t bz_session_wait(struct bz_session *s, uint64_t now_ms)
{
    if (s->step == BZ_STEP_CLOSED)
        return UINT64_MAX;
    s->now_ms = now_ms;
    s->waited = true;
    if (is_early(s)) {
        check_handshake(s);
        return bz_session_deadline(s);
    }
    uint64_t walk = bz_outgoing_wait(s);
    check_silence(s);
    if (s->step == BZ_STEP_CLOSED)
        return UINT64_MAX;
    uint64_t silent = silence_deadline(s);
    return walk < silent ? walk : silent;
}

/* ---- without waiting ---- */

/* Live, but for what is new, and no output waits. Whoever commits and commits has what is new
 * gathered while acknowledgements are awaited. A blind peer's records are sealed, for which a
 * dictionary may have to be kept. */
static bool may_push(const struct bz_session *s)
{
    bool came = s->input_done < s->input_scanned;
    return s->step == BZ_STEP_OPEN && s->lazy.settled && !s->opaque.active &&
           s->output.size == s->output_done && (came || s->out.in_flight <= 1);
}

/* Whether a run would do something that may wait. */
static bool has_slow_work(const struct bz_session *s)
{
    return bz_reconcile_busy(s) || bz_coverage_has_work(s) || s->now_ms >= s->lazy.ask_ms;
}

/* Deals with a frame of every day; false for what is not, or may have to wait. */
static bool take_promptly(struct bz_session *s, int *rc, blaze_error *error)
{
    uint8_t type;
    struct bz_bytes payload;
    size_t size;
    *rc = bz_frame_peek(input_left(s), &type, &payload, &size);
    if (*rc != 0 || (type != BZ_FRAME_ACK && type != BZ_FRAME_CHANGES))
        return false;
    if (type == BZ_FRAME_CHANGES && !bz_incoming_prompt(s, payload))
        return false;
    *rc = on_open_frame(s, type, payload, size, error);
    if (*rc == 0 && type == BZ_FRAME_CHANGES)
        *rc = bz_incoming_commit(s, error);
    if (*rc == 0)
        frame_done(s, type, size);
    return true;
}

/* All that came, if it is one chunk at most. What a partial replica is told has consequences. */
static int take_prompt_input(struct bz_session *s, bool *more, blaze_error *error)
{
    uint64_t chunks = s->in.chunks;
    bool prompt = bz_scope_whole(s);
    int rc = 0;
    while (rc == 0 && prompt && s->in.chunks == chunks && s->input_done < s->input_scanned)
        prompt = take_promptly(s, &rc, error);
    *more |= s->input_done < s->input_scanned;
    return rc;
}

/* What is behind us, if it is no more than goes at once, and what came is not to be answered first.
 */
static int send_promptly(struct bz_session *s, bool *more, blaze_error *error)
{
    uint64_t position = s->replica.ops->position(s->replica.context);
    if (position <= s->out.walked + PUSH_POSITIONS && bz_session_output(s).size == 0)
        return bz_outgoing_run(s, more, error);
    *more = true;
    return 0;
}

bool bz_session_push(struct bz_session *s, uint64_t now_ms, uint64_t wall_ms)
{
    if (!may_push(s))
        return s->step != BZ_STEP_CLOSED;
    blaze_error error;
    bool more = false;
    uint64_t mark = progress_mark(s);
    s->now_ms = now_ms;
    s->wall_ms = wall_ms;
    int rc = take_prompt_input(s, &more, &error);
    if (rc == 0 && !more)
        rc = send_promptly(s, &more, &error);
    if (rc == 0 && bz_scope_whole(s))
        rc = bz_scope_run(s, &more, &error);
    if (rc == 0)
        bz_incoming_ack(s);
    if (rc == 0 && s->output.error != 0)
        rc = bz_error_code(&error, s->output.error);
    return end_run(s, mark, more || has_slow_work(s), rc, &error);
}

void bz_session_status(const struct bz_session *s, struct bz_session_status *out)
{
    *out = s->status;
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What every kind of stream must do, in both roles: each test runs for mem:, unix: and tcp:, with
 * the client and with the accepted end as the one that acts ("left").
 */

#include "net/test_pair.h"

struct config {
    const char *kind;
    bool server_acts;
    bool one_loop;
};

struct pair {
    struct host host;
    struct bz_loop *client_loop;
    struct end client;
    struct end server;
    struct end *left; /* the one that acts */
    struct end *right;
};

static void pair_init(struct pair *pair, void **state)
{
    const struct config *config = *state;
    memset(pair, 0, sizeof *pair);
    host_init(&pair->host, &pair->server, 1, config->kind);
    /* Time enough for an orderly close on a slow machine. */
    pair->host.client_options.close_ms = pair->host.options.stream.close_ms = 60000;
    pair->left = config->server_acts ? &pair->server : &pair->client;
    pair->right = config->server_acts ? &pair->client : &pair->server;
    pair->left->rng.state = 1;
    pair->right->rng.state = 2;
}

static void pair_connect(struct pair *pair, void **state)
{
    const struct config *config = *state;
    host_open(&pair->host);
    pair->client_loop = pair->host.loop;
    if (!config->one_loop)
        assert_int_equal(bz_loop_open(&pair->client_loop, NULL), 0);
    end_connect(&pair->client, pair->client_loop, pair->host.url, &pair->host.client_options);
}

static void pair_open(struct pair *pair, void **state)
{
    pair_connect(pair, state);
    WAIT_UNTIL((pair->client.opened && pair->server.opened) || pair->client.closed);
    assert_int_equal(pair->client.closed, 0);
}

static void pair_wait_closed(struct pair *pair)
{
    WAIT_UNTIL(pair->client.closed && (pair->server.closed || !pair->server.opened));
}

/* Closes the loops and checks what must hold in every test. */
static void pair_finish(struct pair *pair)
{
    if (pair->client_loop != pair->host.loop)
        bz_loop_close(pair->client_loop);
    bz_loop_close(pair->host.loop);
    assert_int_equal(pair->client.closed, 1);
    assert_int_equal(pair->server.closed, pair->server.opened);
    assert_true(pair->client.opened <= 1 && pair->server.opened <= 1);
    assert_int_equal(pair->client.after_close + pair->server.after_close, 0);
    assert_true(pair->client.wrong == 0 && pair->server.wrong == 0);
    assert_int_equal(pair->host.closed, 1);
}

static void bytes_of_all_sizes_come_back_from_an_echo(void **state)
{
    struct pair pair;
    pair_init(&pair, state);
    pair.left->goal = 6u << 20;
    pair.right->echo = true;
    pair_open(&pair, state);
    WAIT_UNTIL(pair.left->received == pair.left->goal || pair.left->closed);
    assert_int_equal(pair.left->closed, 0);
    bz_loop_call(pair.left->loop, close_now, pair.left);
    pair_wait_closed(&pair);
    assert_int_equal(pair.left->reason.code, 0);
    assert_int_equal(pair.right->reason.code, BLAZE_ECLOSED);
    assert_true(pair.right->received == pair.left->goal);
    pair_finish(&pair);
}

static void both_ends_send_at_once_without_harm(void **state)
{
    struct pair pair;
    pair_init(&pair, state);
    pair.left->goal = pair.right->goal = 4u << 20;
    pair_open(&pair, state);
    WAIT_UNTIL(pair.left->received == pair.right->goal && pair.right->received == pair.left->goal);
    pair_finish(&pair);
    assert_int_equal(
        pair.left->reason.code == BLAZE_ECANCELED || pair.left->reason.code == BLAZE_ECLOSED, 1);
}

static void a_slow_reader_holds_up_the_writer_and_bounds_its_memory(void **state)
{
    struct pair pair;
    pair_init(&pair, state);
    pair.left->goal = 20u << 20;
    pair.right->pause_at = 1;
    pair_open(&pair, state);
    /* Full now, and no byte more until the reader goes on. */
    WAIT_UNTIL(pair.right->pause_at == 0);
    uint64_t received = look_at(pair.right).received;
    assert_true(look_at(pair.right).received == received);
    bz_loop_call(pair.left->loop, send_now, pair.left);
    assert_true(look_at(pair.left).sent < pair.left->goal);
    bz_loop_call(pair.right->loop, resume_now, pair.right);
    WAIT_UNTIL(pair.right->received == pair.left->goal);
    assert_true(received < pair.left->goal);
    pair_finish(&pair);
    assert_true(pair.left->writable > 0);
    assert_true(pair.left->most >= pair.host.client_options.write_high);
    /* The mark, one write of at most 3 MiB, and what TLS adds. */
    assert_true(pair.left->most <= (256u << 10) + (3u << 20) + (64u << 10));
}

static void resume_and_pause_later(void *context)
{
    struct end *end = context;
    NOTE(end->pause_at = end->received + 100000);
    bz_stream_resume(end->stream);
}

static void a_paused_stream_delivers_nothing_until_resumed(void **state)
{
    struct pair pair;
    pair_init(&pair, state);
    pair.left->goal = 1u << 20;
    pair.right->pause_at = 100000;
    pair_open(&pair, state);
    for (unsigned pauses = 0; pauses < 5; pauses++) {
        WAIT_UNTIL(pair.right->pause_at == 0 || pair.right->received == pair.left->goal);
        uint64_t received = look_at(pair.right).received;
        assert_true(look_at(pair.right).received == received);
        bz_loop_call(pair.right->loop, resume_and_pause_later, pair.right);
    }
    WAIT_UNTIL(pair.right->pause_at == 0 || pair.right->received == pair.left->goal);
    bz_loop_call(pair.right->loop, resume_now, pair.right);
    WAIT_UNTIL(pair.right->received == pair.left->goal);
    pair_finish(&pair);
}

static void close_sends_what_was_written_before(void **state)
{
    struct pair pair;
    pair_init(&pair, state);
    pair.left->goal = 5u << 20;
    pair.left->close_when_sent = true;
    pair_connect(&pair, state);
    pair_wait_closed(&pair);
    assert_true(pair.right->received == pair.left->goal);
    assert_int_equal(pair.left->reason.code, 0);
    assert_int_equal(pair.right->reason.code, BLAZE_ECLOSED);
    assert_non_null(strstr(pair.right->reason.text, "closed by the other end"));
    pair_finish(&pair);
}

static void close_gives_up_on_a_peer_that_does_not_read(void **state)
{
    struct pair pair;
    pair_init(&pair, state);
    pair.left->goal = 20u << 20;
    pair.right->pause_at = 1;
    pair.host.client_options.close_ms = pair.host.options.stream.close_ms = 50;
    pair_open(&pair, state);
    WAIT_UNTIL(pair.right->pause_at == 0);
    bz_loop_call(pair.left->loop, send_now, pair.left);
    bz_loop_call(pair.left->loop, close_now, pair.left);
    WAIT_UNTIL(pair.left->closed);
    assert_int_equal(pair.left->reason.code, BLAZE_ETIMEOUT);
    bz_loop_call(pair.right->loop, resume_now, pair.right);
    WAIT_UNTIL(pair.right->closed);
    assert_int_equal(pair.right->reason.code, BLAZE_ECLOSED);
    assert_true(pair.right->received < pair.left->goal);
    pair_finish(&pair);
}

static void abort_loses_what_was_not_sent_and_the_other_end_notices(void **state)
{
    struct pair pair;
    pair_init(&pair, state);
    pair.left->goal = 20u << 20;
    pair.right->pause_at = 1;
    pair_open(&pair, state);
    WAIT_UNTIL(pair.right->pause_at == 0);
    bz_loop_call(pair.left->loop, abort_now, pair.left);
    WAIT_UNTIL(pair.left->closed);
    assert_int_equal(pair.left->reason.code, BLAZE_ECANCELED);
    bz_loop_call(pair.right->loop, resume_now, pair.right);
    WAIT_UNTIL(pair.right->closed);
    assert_int_equal(pair.right->reason.code, BLAZE_ECLOSED);
    pair_finish(&pair);
}

static void both_ends_may_close_at_once(void **state)
{
    struct pair pair;
    pair_init(&pair, state);
    pair.left->goal = pair.right->goal = 300000;
    pair_open(&pair, state);
    bz_loop_call(pair.left->loop, close_now, pair.left);
    bz_loop_call(pair.right->loop, close_now, pair.right);
    pair_wait_closed(&pair);
    pair_finish(&pair);
}

static void close_at(struct end *end, char event)
{
    (void)event;
    bz_stream_close(end->stream);
    bz_stream_close(end->stream);
}

static void abort_at(struct end *end, char event)
{
    (void)event;
    bz_stream_abort(end->stream);
    bz_stream_close(end->stream);
}

/* Or at the end, if the stream was never full. */
static void close_at_writable(struct end *end, char event)
{
    if (event == 'w' || end->received == 4u << 20)
        bz_stream_close(end->stream);
}

static void a_stream_may_be_closed_within_its_callbacks(void **state)
{
    static void (*const hooks[])(struct end *, char) = {close_at, abort_at, close_at_writable};
    for (unsigned i = 0; i < 6; i++) {
        struct pair pair;
        pair_init(&pair, state);
        pair.left->goal = pair.right->goal = 4u << 20;
        *(i % 2 ? &pair.left->hook : &pair.right->hook) = hooks[i / 2];
        pair_connect(&pair, state);
        pair_wait_closed(&pair);
        pair_finish(&pair);
    }
}

struct brief {
    struct end *end;
    struct connecting connecting;
    bool abort;
};

static void connect_and_close(void *context)
{
    struct brief *brief = context;
    connect_now(&brief->connecting);
    if (brief->abort)
        bz_stream_abort(brief->end->stream);
    else
        bz_stream_close(brief->end->stream);
}

static void a_stream_closed_before_it_is_open_only_says_so(void **state)
{
    for (unsigned i = 0; i < 2; i++) {
        struct pair pair;
        pair_init(&pair, state);
        host_open(&pair.host);
        assert_int_equal(bz_loop_open(&pair.client_loop, NULL), 0);
        pair.client.loop = pair.client_loop;
        struct brief brief = {
            .end = &pair.client,
            .connecting = {.end = &pair.client, .url = pair.host.url},
            .abort = i == 1,
        };
        bz_loop_call(pair.client_loop, connect_and_close, &brief);
        WAIT_UNTIL(pair.client.closed);
        assert_int_equal(pair.client.opened, 0);
        assert_int_equal(pair.client.reason.code, i == 1 ? BLAZE_ECANCELED : 0);
        pair_finish(&pair);
    }
}

static void closing_a_loop_closes_its_streams(void **state)
{
    struct pair pair;
    pair_init(&pair, state);
    pair.left->goal = pair.right->goal = 1u << 20;
    pair_open(&pair, state);
    pair_finish(&pair);
    assert_int_equal(pair.client.reason.code, BLAZE_ECANCELED);
}

static void try_early_and_late(struct end *end, char event)
{
    uint8_t binding[BZ_STREAM_BINDING_SIZE];
    if (event != 'o')
        return;
    bz_stream_close(end->stream);
    if (bz_stream_write(end->stream, bz_bytes_text("late")) != BLAZE_ECLOSED ||
        bz_stream_binding(end->stream, binding) != BLAZE_EINVAL)
        NOTE(end->wrong++);
}

static void connect_and_write(void *context)
{
    struct connecting *c = context;
    uint8_t binding[BZ_STREAM_BINDING_SIZE];
    connect_now(c);
    if (bz_stream_write(c->end->stream, bz_bytes_text("early")) != BLAZE_EINVAL ||
        bz_stream_binding(c->end->stream, binding) != BLAZE_EINVAL)
        NOTE(c->end->wrong++);
}

static void writing_too_early_or_too_late_is_refused(void **state)
{
    struct pair pair;
    pair_init(&pair, state);
    pair.left->hook = try_early_and_late;
    host_open(&pair.host);
    pair.client.loop = pair.client_loop = pair.host.loop;
    struct connecting c = {.end = &pair.client, .url = pair.host.url};
    bz_loop_call(pair.client_loop, connect_and_write, &c);
    pair_wait_closed(&pair);
    pair_finish(&pair);
}

static void write_too_much(struct end *end, char event)
{
    if (event != 'o')
        return;
    size_t size = 2u << 20;
    uint8_t *data = bz_malloc(size);
    fill(data, 0, size);
    if (bz_stream_write(end->stream, bz_bytes(data, size)) != BLAZE_ELIMIT)
        NOTE(end->wrong++);
    bz_free(data);
}

static void a_write_past_the_limit_is_refused_and_hurts_nothing(void **state)
{
    struct pair pair;
    pair_init(&pair, state);
    pair.left->hook = write_too_much;
    pair.left->goal = 100000;
    pair.host.client_options.write_max = pair.host.options.stream.write_max = 1u << 20;
    pair_open(&pair, state);
    WAIT_UNTIL(pair.right->received > 0);
    pair_finish(&pair);
}

struct binding {
    struct end *end;
    int rc;
    uint8_t value[BZ_STREAM_BINDING_SIZE];
};

static void bind_now(void *context)
{
    struct binding *binding = context;
    binding->rc = bz_stream_binding(binding->end->stream, binding->value);
}

static void both_ends_see_the_same_binding(void **state)
{
    struct pair pair;
    pair_init(&pair, state);
    pair_open(&pair, state);
    struct binding left = {.end = pair.left, .rc = 1};
    struct binding right = {.end = pair.right, .rc = 1};
    bz_loop_call(pair.left->loop, bind_now, &left);
    bz_loop_call(pair.right->loop, bind_now, &right);
    assert_true(left.rc == 0 && right.rc == 0);
    assert_memory_equal(left.value, right.value, sizeof left.value);
    pair_finish(&pair);
}

static void nobody_at_the_address_is_a_clear_error(void **state)
{
    const struct config *config = *state;
    struct pair pair;
    pair_init(&pair, state);
    host_open(&pair.host);
    bz_loop_call(pair.host.loop, unlisten_now, &pair.host);
    WAIT_UNTIL(pair.host.closed);
    pair.client_loop = pair.host.loop;
    end_connect(&pair.client, pair.client_loop, pair.host.url, NULL);
    WAIT_UNTIL(pair.client.closed);
    assert_int_equal(pair.client.reason.code, BLAZE_ECONNECT);
    assert_int_equal(pair.client.opened, 0);
    char start[BZ_URL_SIZE + 16];
    snprintf(start, sizeof start, "connect %s: ", pair.host.url);
    assert_memory_equal(pair.client.reason.text, start, strlen(start));
    if (strcmp(config->kind, "tcp") == 0)
        assert_non_null(strstr(pair.client.reason.text, "connection refused"));
    pair_finish(&pair);
}

static void a_second_listener_at_an_address_is_told_that_it_is_in_use(void **state)
{
    struct pair pair;
    pair_init(&pair, state);
    pair_open(&pair, state);
    struct host second;
    host_init(&second, NULL, 0, "mem");
    snprintf(second.wanted, sizeof second.wanted, "%s", pair.host.url);
    second.loop = pair.client_loop;
    bz_loop_call(second.loop, listen_now, &second);
    assert_int_equal(second.rc, BLAZE_EADDRINUSE);
    assert_non_null(strstr(second.error.text, pair.host.url));
    pair_finish(&pair);
}

static void a_caller_whom_nobody_wants_is_hung_up_on(void **state)
{
    struct pair pair;
    pair_init(&pair, state);
    pair.host.refuse = true;
    pair_connect(&pair, state);
    WAIT_UNTIL(pair.client.closed);
    assert_true(
        pair.client.reason.code == BLAZE_ECLOSED || pair.client.reason.code == BLAZE_ECONNECT);
    pair_finish(&pair);
}

static void send_100000(void *context)
{
    struct end *end = context;
    NOTE(end->goal = 100000);
    keep_sending(end);
}

static void streams_outlive_their_listener(void **state)
{
    struct pair pair;
    pair_init(&pair, state);
    pair.right->echo = true;
    pair_open(&pair, state);
    bz_loop_call(pair.host.loop, unlisten_now, &pair.host);
    WAIT_UNTIL(pair.host.closed);
    bz_loop_call(pair.left->loop, send_100000, pair.left);
    WAIT_UNTIL(pair.left->received == 100000);
    pair_finish(&pair);
}

enum { MANY = 60 };

static void many_streams_live_side_by_side(void **state)
{
    const struct config *config = *state;
    static struct end clients[MANY];
    static struct end servers[MANY];
    memset(clients, 0, sizeof clients);
    memset(servers, 0, sizeof servers);
    for (unsigned i = 0; i < MANY; i++) {
        struct end *left = config->server_acts ? &servers[i] : &clients[i];
        struct end *right = config->server_acts ? &clients[i] : &servers[i];
        left->goal = 1000 + 997 * i;
        left->rng.state = i + 1;
        right->echo = true;
    }
    struct host host;
    host_init(&host, servers, MANY, config->kind);
    host_open(&host);
    struct bz_loop *loop;
    assert_int_equal(bz_loop_open(&loop, NULL), 0);
    for (unsigned i = 0; i < MANY; i++)
        end_connect(&clients[i], loop, host.url, NULL);
    struct end *lefts = config->server_acts ? servers : clients;
    for (unsigned i = 0; i < MANY; i++)
        WAIT_UNTIL(lefts[i].goal > 0 && lefts[i].received == lefts[i].goal);
    bz_loop_close(loop);
    bz_loop_close(host.loop);
    for (unsigned i = 0; i < MANY; i++) {
        assert_true(clients[i].closed == 1 && servers[i].closed == 1);
        assert_true(clients[i].wrong == 0 && servers[i].wrong == 0);
    }
}

static void callers_beyond_the_limit_are_hung_up_on(void **state)
{
    const struct config *config = *state;
    struct end clients[6] = {0};
    struct end servers[6] = {0};
    struct host host;
    host_init(&host, servers, 6, config->kind);
    host.options.max_streams = 3;
    host_open(&host);
    for (unsigned i = 0; i < 3; i++) {
        end_connect(&clients[i], host.loop, host.url, NULL);
        WAIT_UNTIL(clients[i].opened && host.accepted == i + 1);
    }
    end_connect(&clients[3], host.loop, host.url, NULL);
    WAIT_UNTIL(clients[3].closed);
    assert_int_equal(host.accepted, 3);
    bz_loop_call(host.loop, close_now, &clients[0]);
    WAIT_UNTIL(clients[0].closed && servers[0].closed);
    end_connect(&clients[4], host.loop, host.url, NULL);
    WAIT_UNTIL(clients[4].opened && host.accepted == 4);
    bz_loop_close(host.loop);
}

struct piece {
    struct end *end;
    struct bz_bytes data;
    int rc;
};

static void write_piece(void *context)
{
    struct piece *piece = context;
    piece->rc = bz_stream_write(piece->end->stream, piece->data);
}

/* The test's thread sends; what it cannot send at once the loop does, before anything that follows.
 * Both directions are busy, and the reader stops for a while. */
static void what_another_thread_sends_past_the_loop_stays_in_order(void **state)
{
    enum { GOAL = 6 << 20, MOST = 100000 };
    static uint8_t data[MOST];
    struct pair pair;
    struct rng rng = {7};
    pair_init(&pair, state);
    pair.right->goal = 3u << 20;
    pair.right->pause_at = 1;
    pair_open(&pair, state);
    struct bz_stream *stream = look_at(pair.left).stream;
    uint64_t sent = 0, passed = 0;
    bool resumed = false;
    while (sent < GOAL) {
        uint64_t r = rng_next(&rng);
        size_t size = (size_t)(r >> 8) % (r & 1 ? MOST : 100) + 1;
        if (size > GOAL - sent)
            size = (size_t)(GOAL - sent);
        fill(data, sent, size);
        size_t now = bz_stream_send_now(stream, bz_bytes(data, size));
        assert_true(now <= size);
        struct piece rest = {.end = pair.left, .data = bz_bytes(data + now, size - now)};
        if (now < size)
            bz_loop_call(pair.left->loop, write_piece, &rest);
        assert_int_equal(rest.rc, 0);
        sent += size;
        passed += now;
        if (!resumed && sent > GOAL / 2) {
            resumed = true;
            WAIT_UNTIL(pair.right->pause_at == 0);
            bz_loop_call(pair.right->loop, resume_now, pair.right);
        }
    }
    WAIT_UNTIL(pair.right->received == GOAL && pair.left->received == pair.right->goal);
    assert_true(passed > 0 && passed < GOAL);
    assert_true(bz_stream_sent(stream) == GOAL);
    bz_loop_call(pair.left->loop, close_now, pair.left);
    pair_wait_closed(&pair);
    assert_int_equal(pair.left->reason.code, 0);
    pair_finish(&pair);
}

static void send_after_close(void *context)
{
    struct end *end = context;
    uint8_t byte = 0;
    bz_stream_close(end->stream);
    size_t sent = bz_stream_send_now(end->stream, bz_bytes(&byte, 1));
    NOTE(end->wrong += sent);
}

static void nothing_is_sent_past_the_loop_once_a_stream_closes(void **state)
{
    struct pair pair;
    pair_init(&pair, state);
    pair.right->pause_at = 1; /* so that the stream stays until the loops are closed */
    pair_open(&pair, state);
    struct bz_stream *stream = look_at(pair.left).stream;
    uint8_t byte;
    fill(&byte, 0, 1);
    assert_int_equal(bz_stream_send_now(stream, bz_bytes(&byte, 1)), 1);
    assert_int_equal(bz_stream_send_now(stream, bz_bytes(&byte, 0)), 0);
    bz_loop_call(pair.left->loop, send_after_close, pair.left);
    pair_finish(&pair);
}

/* Whatever either end does, and whenever, each end gets exactly one on_close, as its last call. */
static void chaos_ends_well(void **state)
{
    struct rng rng = {test_seed()};
    for (uint64_t round = test_rounds(15, 200); round > 0; round--) {
        struct pair pair;
        pair_init(&pair, state);
        pair.left->rng.state = rng_next(&rng);
        pair.right->rng.state = rng_next(&rng);
        pair.left->goal = rng_next(&rng) % (2u << 20);
        pair.right->goal = rng_next(&rng) % (2u << 20);
        pair.left->pause_at = rng_next(&rng) % 400000;
        pair.left->close_when_sent = rng_next(&rng) % 2;
        pair.host.client_options.close_ms = pair.host.options.stream.close_ms = 20;
        pair_connect(&pair, state);
        uint64_t act = rng_next(&rng);
        uint64_t after = rng_next(&rng) % 300000;
        struct end *actor = act & 1 ? pair.left : pair.right;
        struct end *watched = act & 2 ? pair.left : pair.right;
        WAIT_UNTIL(watched->received >= after || pair.client.closed ||
                   watched->received >= (watched == pair.left ? pair.right : pair.left)->goal ||
                   (watched == pair.left && after >= pair.left->pause_at));
        bz_loop_call(actor->loop, act & 4 ? abort_now : close_now, actor);
        pair_finish(&pair);
    }
}

#define EACH(test)                                                                                 \
    {#test " (mem)", test, NULL, NULL, (void *)&configs[0]},                                       \
        {#test " (mem, accepted end)", test, NULL, NULL, (void *)&configs[1]},                     \
        {#test " (mem, one loop)", test, NULL, NULL, (void *)&configs[2]},                         \
        {#test " (unix)", test, NULL, NULL, (void *)&configs[3]},                                  \
        {#test " (unix, accepted end)", test, NULL, NULL, (void *)&configs[4]},                    \
        {#test " (tcp)", test, NULL, NULL, (void *)&configs[5]},                                   \
    {                                                                                              \
#test " (tcp, accepted end)", test, NULL, NULL, (void *)&configs[6]                        \
    }

int main(void)
{
    static const struct config configs[] = {
        {"mem", false, false},
        {"mem", true, false},
        {"mem", false, true},
        {"unix", false, false},
        {"unix", true, false},
        {"tcp", false, false},
        {"tcp", true, false},
    };
    const struct CMUnitTest tests[] = {
        EACH(bytes_of_all_sizes_come_back_from_an_echo),
        EACH(both_ends_send_at_once_without_harm),
        EACH(a_slow_reader_holds_up_the_writer_and_bounds_its_memory),
        EACH(a_paused_stream_delivers_nothing_until_resumed),
        EACH(close_sends_what_was_written_before),
        EACH(close_gives_up_on_a_peer_that_does_not_read),
        EACH(abort_loses_what_was_not_sent_and_the_other_end_notices),
        EACH(both_ends_may_close_at_once),
        EACH(a_stream_may_be_closed_within_its_callbacks),
        EACH(a_stream_closed_before_it_is_open_only_says_so),
        EACH(closing_a_loop_closes_its_streams),
        EACH(writing_too_early_or_too_late_is_refused),
        EACH(a_write_past_the_limit_is_refused_and_hurts_nothing),
        EACH(both_ends_see_the_same_binding),
        EACH(nobody_at_the_address_is_a_clear_error),
        EACH(a_second_listener_at_an_address_is_told_that_it_is_in_use),
        EACH(a_caller_whom_nobody_wants_is_hung_up_on),
        EACH(streams_outlive_their_listener),
        EACH(many_streams_live_side_by_side),
        EACH(callers_beyond_the_limit_are_hung_up_on),
        EACH(what_another_thread_sends_past_the_loop_stays_in_order),
        EACH(nothing_is_sent_past_the_loop_once_a_stream_closes),
        EACH(chaos_ends_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "trip.h"

#include "bench.h"
#include "net/net.h"

#include <pthread.h>
#include <string.h>

#define TRIP_BYTES 100 /* about those of a change of one record */

struct trips {
    const char *url;
    struct bz_loop *loop;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned done, count;
    bool ended;
    double *seconds;
    double sent;    /* the time of the sending that is under way */
    size_t arrived; /* bytes of it that are back */
};

static const uint8_t message[TRIP_BYTES];

static void must(int code, const char *what)
{
    if (code != 0)
        bench_die("a bare stream: %s: %s", what, blaze_error_name(code));
}

/* ---- the end that sends back ---- */

static void send_back(void *context, struct bz_stream *stream, struct bz_bytes data)
{
    (void)context;
    must(bz_stream_write(stream, data), "writing");
}

static void ignore_close(void *context, struct bz_stream *stream, const blaze_error *reason)
{
    (void)context;
    (void)stream;
    (void)reason;
}

static void accept_caller(void *context, struct bz_listener *listener, struct bz_stream *stream)
{
    static const struct bz_stream_callbacks echo = {.on_data = send_back, .on_close = ignore_close};
    (void)context;
    (void)listener;
    bz_stream_set_callbacks(stream, &echo, NULL);
}

struct echo {
    struct bz_loop *loop;
    const char *url;
    struct bz_listener *listener;
};

static void listen_there(void *context)
{
    static const struct bz_listener_callbacks callbacks = {.on_accept = accept_caller};
    struct echo *echo = context;
    blaze_error error;
    must(bz_listener_open(&echo->listener, echo->loop, echo->url, NULL, &callbacks, NULL, &error),
        "listening");
}

/* ---- the end that measures ---- */

static void begin_trip(struct trips *trips, struct bz_stream *stream)
{
    trips->arrived = 0;
    trips->sent = bench_now();
    must(bz_stream_write(stream, bz_bytes(message, sizeof message)), "writing");
}

static void on_open(void *context, struct bz_stream *stream)
{
    begin_trip(context, stream);
}

static void on_data(void *context, struct bz_stream *stream, struct bz_bytes data)
{
    struct trips *trips = context;
    trips->arrived += data.size;
    if (trips->arrived < TRIP_BYTES)
        return;
    trips->seconds[trips->done++] = bench_now() - trips->sent;
    if (trips->done < trips->count)
        begin_trip(trips, stream);
    else
        bz_stream_close(stream);
}

static void on_close(void *context, struct bz_stream *stream, const blaze_error *reason)
{
    struct trips *trips = context;
    (void)stream;
    if (trips->done < trips->count)
        bench_die("a bare stream: %s", reason->text);
    pthread_mutex_lock(&trips->lock);
    trips->ended = true;
    pthread_cond_signal(&trips->changed);
    pthread_mutex_unlock(&trips->lock);
}

static void connect_there(void *context)
{
    static const struct bz_stream_callbacks callbacks = {
        .on_open = on_open, .on_data = on_data, .on_close = on_close};
    struct trips *trips = context;
    struct bz_stream *stream;
    blaze_error error;
    must(bz_stream_connect(&stream, trips->loop, trips->url, NULL, &callbacks, trips, &error),
        "connecting");
}

void bench_trips(const char *url, double *seconds, unsigned count)
{
    struct echo echo = {.url = url};
    struct trips trips = {.count = count,
        .seconds = seconds,
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .changed = PTHREAD_COND_INITIALIZER};
    blaze_error error;
    must(bz_loop_open(&echo.loop, &error), "a loop");
    must(bz_loop_open(&trips.loop, &error), "a loop");
    bz_loop_call(echo.loop, listen_there, &echo);
    trips.url = bz_listener_url(echo.listener);
    bz_loop_call(trips.loop, connect_there, &trips);
    pthread_mutex_lock(&trips.lock);
    while (!trips.ended)
        pthread_cond_wait(&trips.changed, &trips.lock);
    pthread_mutex_unlock(&trips.lock);
    bz_loop_close(trips.loop);
    bz_loop_close(echo.loop);
}

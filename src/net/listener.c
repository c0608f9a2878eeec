/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What all listeners share: their limits, and the list of the streams that came through them.
 *
 * A stream counts against max_streams from its acceptance until it is gone, and against
 * max_handshakes until it is open. A listener that closes hangs up on those shaking hands and lets
 * go of the others.
 */

#include "base/alloc.h"
#include "net/net_priv.h"

#include <assert.h>
#include <unistd.h>

void bz_listener_options_init(struct bz_listener_options *options)
{
    *options = (struct bz_listener_options){.max_streams = 20000, .max_handshakes = 1000};
    bz_stream_options_init(&options->stream);
}

int bz_listener_stream(struct bz_stream **out, struct bz_listener *listener,
    const struct bz_transport *transport, const char *peer)
{
    if (listener->stream_count >= listener->options.max_streams ||
        listener->handshake_count >= listener->options.max_handshakes)
        return BLAZE_ELIMIT;
    struct bz_stream *stream;
    int rc =
        bz_stream_new(&stream, listener->handle.loop, transport, &listener->options.stream, peer);
    if (rc != 0)
        return rc;
    stream->listener = listener;
    stream->next = listener->streams;
    if (stream->next != NULL)
        stream->next->previous = stream;
    listener->streams = stream;
    listener->stream_count++;
    listener->handshake_count++;
    *out = stream;
    return 0;
}

void bz_listener_opened(struct bz_listener *listener, struct bz_stream *stream)
{
    stream->accepted = true;
    listener->handshake_count--;
    listener->callbacks->on_accept(listener->context, listener, stream);
    if (stream->callbacks == NULL)
        bz_stream_abort(stream);
}

void bz_listener_forget(struct bz_listener *listener, struct bz_stream *stream)
{
    if (stream->previous != NULL)
        stream->previous->next = stream->next;
    else
        listener->streams = stream->next;
    if (stream->next != NULL)
        stream->next->previous = stream->previous;
    stream->listener = NULL;
    stream->next = stream->previous = NULL;
    listener->stream_count--;
    if (!stream->accepted)
        listener->handshake_count--;
}

/* The one that has been shaking hands for longest, or the newest. */
static struct bz_stream *least_needed(struct bz_listener *listener)
{
    struct bz_stream *found = NULL;
    for (struct bz_stream *stream = listener->streams; stream != NULL; stream = stream->next)
        if (stream->state != BZ_STREAM_CLOSED && (found == NULL || !stream->accepted))
            found = stream;
    return found;
}

bool bz_listener_shed(struct bz_listener *listener)
{
    struct bz_stream *stream = least_needed(listener);
    if (stream != NULL)
        bz_stream_fail(stream, BLAZE_ELIMIT,
            "%s: hung up on: this process may open no more files (ulimit -n)", stream->peer);
    return stream != NULL;
}

void bz_listener_close(struct bz_listener *listener)
{
    if (listener->closed)
        return;
    listener->closed = true;
    while (listener->streams != NULL) {
        struct bz_stream *stream = listener->streams;
        bz_listener_forget(listener, stream);
        if (!stream->accepted)
            bz_stream_abort(stream);
    }
    listener->kind->release(listener);
}

static void free_listener(struct bz_listener *listener)
{
    bz_handle_remove(&listener->handle);
    bz_tls_context_free(listener->tls);
    if (listener->spare >= 0)
        close(listener->spare);
    bz_free(listener);
}

void bz_listener_released(struct bz_listener *listener)
{
    assert(listener->closed);
    if (listener->callbacks->on_close != NULL)
        listener->callbacks->on_close(listener->context, listener);
    free_listener(listener);
}

static void shut_listener(struct bz_handle *handle)
{
    bz_listener_close((struct bz_listener *)handle);
}

int bz_listener_open(struct bz_listener **out, struct bz_loop *loop, const char *url,
    const struct bz_listener_options *options, const struct bz_listener_callbacks *callbacks,
    void *context, blaze_error *error)
{
    static const struct bz_listener_kind *const kinds[] = {
        [BZ_URL_MEM] = &bz_mem_listener,
        [BZ_URL_UNIX] = &bz_unix_listener,
        [BZ_URL_TCP] = &bz_tcp_listener,
    };
    struct bz_url parsed;
    int rc = bz_url_parse(&parsed, url, error);
    if (rc != 0)
        return rc;
    const struct bz_listener_kind *kind = kinds[parsed.kind];
    struct bz_listener *listener = bz_zalloc(kind->size);
    if (listener == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    rc = bz_handle_add(&listener->handle, loop, shut_listener);
    if (rc != 0) {
        bz_free(listener);
        return bz_error_code(error, rc);
    }
    listener->kind = kind;
    listener->spare = -1;
    listener->callbacks = callbacks;
    listener->context = context;
    if (options != NULL)
        listener->options = *options;
    else
        bz_listener_options_init(&listener->options);
    bz_url_format(&parsed, listener->url);
    rc = kind->open(listener, &parsed, error);
    if (rc != 0)
        free_listener(listener);
    else
        *out = listener;
    return rc;
}

const char *bz_listener_url(const struct bz_listener *listener)
{
    return listener->url;
}

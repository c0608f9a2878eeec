/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/hub.h"

#include "api_priv.h"

/* The public handle is the hub itself. */
static struct bz_hub *inner(blaze_hub *hub)
{
    return (struct bz_hub *)hub;
}

void blaze_hub_options_init(blaze_hub_options *options)
{
    *options = (blaze_hub_options){.size = sizeof *options};
    blaze_seal_init(&options->seal);
}

int blaze_hub_open(
    blaze_hub **out, const char *directory, const blaze_hub_options *options, blaze_error *error)
{
    if (out == NULL || directory == NULL || options == NULL)
        return bz_api_null(error, out == NULL         ? "out"
                                  : directory == NULL ? "the directory"
                                                      : "the options");
    if (options->size != sizeof *options)
        return bz_error_set(
            error, BLAZE_EINVAL, "set up blaze_hub_options with blaze_hub_options_init() first");
    if (options->listen_count == 0)
        return bz_error_set(error, BLAZE_EINVAL, "a hub needs at least one URL to listen at");

    struct bz_api_secret secret;
    int rc = bz_api_secret_init(&secret, &options->seal, error);
    if (rc != BLAZE_OK)
        return rc;
    struct bz_hub_options how;
    bz_hub_options_init(&how);
    how.listen = options->listen;
    how.listen_count = options->listen_count;
    if (options->connections_max != 0)
        how.connections_max = options->connections_max;
    if (options->handshake_ms != 0)
        how.handshake_ms = options->handshake_ms;
    how.databases_max = options->databases_max;
    how.closed = options->closed != 0;
    how.trusted = options->trusted != 0;
    how.secret = secret.given ? &secret.secret : NULL;
    how.allow_network_fs = options->allow_network_fs != 0;
    how.durability = bz_api_durability(options->durability);
    how.on_log = options->on_log;
    how.on_warning = options->on_warning;
    how.context = options->context;
    struct bz_hub *hub;
    rc = bz_hub_open(&hub, directory, &how, error);
    bz_api_secret_release(&secret);
    if (rc == BLAZE_OK)
        *out = (blaze_hub *)hub;
    return rc;
}

const char *blaze_hub_url(blaze_hub *hub, size_t index)
{
    return bz_hub_url(inner(hub), index);
}

void blaze_hub_get_status(blaze_hub *hub, blaze_hub_status *out)
{
    struct bz_hub_status status;
    bz_hub_get_status(inner(hub), &status);
    *out = (blaze_hub_status){
        .size = sizeof *out,
        .connections = status.connections,
        .databases = status.databases,
        .refused = status.refused,
        .received_bytes = status.received_bytes,
        .sent_bytes = status.sent_bytes,
    };
}

int blaze_hub_close(blaze_hub *hub, blaze_error *error)
{
    return hub == NULL ? BLAZE_OK : bz_hub_close(inner(hub), error);
}

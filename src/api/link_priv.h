/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_API_LINK_PRIV_H
#define BZ_API_LINK_PRIV_H

/* What the standing links and the blocking calls share. */

#include "peer/member.h"
#include "peer/peer.h"

#include <blazedb/sync.h>

/* Where a link's status goes; stays until the link is closed. `call` may be NULL. */
struct bz_api_progress {
    void (*call)(void *context, const blaze_link_status *status);
    void *context;
};

void bz_api_link_status(blaze_link_status *out, const struct bz_link_status *in);

/* Puts the defaults in place of NULL, and checks. */
int bz_api_sync_options(
    const blaze_sync_options **options, const blaze_sync_options *defaults, blaze_error *error);

/* Who is at the other end, as far as that was ever known. */
void bz_api_link_peer(blaze_link *link, blaze_id *node, bool *known);

/* The join code for `url` as text of its own (blaze_free). (sync.c) */
int bz_api_code(blaze_db *db, const char *url, char **out, blaze_error *error);

/* Opens a link by `options`, whose url may be NULL for the remembered hub. */
int bz_api_link_begin(blaze_db *db, struct bz_link_options *options,
    struct bz_api_progress *progress, struct bz_link **out, blaze_error *error);

#endif

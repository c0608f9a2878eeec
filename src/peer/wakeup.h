/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_PEER_WAKEUP_H
#define BZ_PEER_WAKEUP_H

/*
 * Notices that somebody has come to listen at a Unix socket: watches the directory, and calls back
 * when another file is at the path than the one at the last try. For other URLs, and where the
 * directory cannot be watched, it notices nothing.
 *
 * On the loop's thread.
 */

#include "net/net.h"

struct bz_wakeup;

/* BLAZE_ENOMEM. `url` is borrowed. */
int bz_wakeup_open(struct bz_wakeup **out, struct bz_loop *loop, const char *url,
    void (*on_wakeup)(void *context), void *context);

/* A try begins: what is there now is not worth another. NULL is allowed, here and below. */
void bz_wakeup_begin(struct bz_wakeup *wakeup);

/* It has failed: is something else there by now? */
void bz_wakeup_rest(struct bz_wakeup *wakeup);

void bz_wakeup_close(struct bz_wakeup *wakeup);

#endif

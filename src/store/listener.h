/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_LISTENER_H
#define BZ_STORE_LISTENER_H

/* The one listener of a store: called without locks, and never after it was removed. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct bz_listener {
    pthread_mutex_t lock;
    pthread_cond_t idle;
    atomic_bool set; /* spares the lock where there is none */
    unsigned running;
    void (*notify)(void *context);
    void *context;
};

void bz_listener_init(struct bz_listener *listener);
void bz_listener_release(struct bz_listener *listener);
void bz_listener_set(struct bz_listener *listener, void (*notify)(void *context), void *context);
void bz_listener_call(struct bz_listener *listener);

#endif

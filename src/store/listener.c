/* SPDX-License-Identifier: Apache-2.0 */
#include "store/listener.h"

#include <stddef.h>

void bz_listener_init(struct bz_listener *listener)
{
    pthread_mutex_init(&listener->lock, NULL);
    pthread_cond_init(&listener->idle, NULL);
    atomic_init(&listener->set, false);
    listener->running = 0;
    listener->notify = NULL;
    listener->context = NULL;
}

void bz_listener_release(struct bz_listener *listener)
{
    pthread_cond_destroy(&listener->idle);
    pthread_mutex_destroy(&listener->lock);
}

void bz_listener_set(struct bz_listener *listener, void (*notify)(void *context), void *context)
{
    pthread_mutex_lock(&listener->lock);
    listener->notify = notify;
    listener->context = context;
    atomic_store(&listener->set, notify != NULL);
    while (listener->running > 0)
        pthread_cond_wait(&listener->idle, &listener->lock);
    pthread_mutex_unlock(&listener->lock);
}

void bz_listener_call(struct bz_listener *listener)
{
    if (!atomic_load(&listener->set))
        return;
    pthread_mutex_lock(&listener->lock);
    void (*notify)(void *context) = listener->notify;
    void *context = listener->context;
    listener->running++;
    pthread_mutex_unlock(&listener->lock);
    if (notify != NULL)
        notify(context);
    pthread_mutex_lock(&listener->lock);
    if (--listener->running == 0)
        pthread_cond_broadcast(&listener->idle);
    pthread_mutex_unlock(&listener->lock);
}

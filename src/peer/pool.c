/* SPDX-License-Identifier: Apache-2.0 */
#include "peer/pool.h"

#include "base/alloc.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>

enum { MAX_THREADS = 16 };

struct bz_pool {
    pthread_mutex_t lock;
    pthread_cond_t work;  /* something is queued, or the pool closes */
    pthread_cond_t ended; /* a run has ended */
    struct bz_strand *first;
    struct bz_strand *last;
    bool closing;
    unsigned count;
    pthread_t threads[MAX_THREADS];
};

/* ---- The queue, under the lock ---- */

static void push(struct bz_pool *pool, struct bz_strand *strand)
{
    strand->queued = true;
    strand->next = NULL;
    if (pool->last == NULL)
        pool->first = strand;
    else
        pool->last->next = strand;
    pool->last = strand;
    pthread_cond_signal(&pool->work);
}

static struct bz_strand *pop(struct bz_pool *pool)
{
    struct bz_strand *strand = pool->first;
    pool->first = strand->next;
    if (pool->first == NULL)
        pool->last = NULL;
    strand->queued = false;
    return strand;
}

static void take_out(struct bz_pool *pool, struct bz_strand *strand)
{
    struct bz_strand *before = NULL;
    struct bz_strand *s = pool->first;
    while (s != strand) {
        before = s;
        s = s->next;
    }
    if (before == NULL)
        pool->first = strand->next;
    else
        before->next = strand->next;
    if (pool->last == strand)
        pool->last = before;
    strand->queued = false;
}

/* ---- Running ---- */

static void run_one(struct bz_pool *pool)
{
    struct bz_strand *strand = pop(pool);
    strand->running = true;
    pthread_mutex_unlock(&pool->lock);
    strand->run(strand);
    pthread_mutex_lock(&pool->lock);
    strand->running = false;
    if (strand->again) {
        strand->again = false;
        push(pool, strand);
    }
    pthread_cond_broadcast(&pool->ended);
}

static void *run_pool(void *context)
{
    struct bz_pool *pool = context;
    pthread_mutex_lock(&pool->lock);
    while (!pool->closing) {
        if (pool->first != NULL)
            run_one(pool);
        else
            pthread_cond_wait(&pool->work, &pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

void bz_strand_post(struct bz_pool *pool, struct bz_strand *strand)
{
    pthread_mutex_lock(&pool->lock);
    if (strand->running)
        strand->again = true;
    else if (!strand->queued)
        push(pool, strand);
    pthread_mutex_unlock(&pool->lock);
}

void bz_strand_cancel(struct bz_pool *pool, struct bz_strand *strand)
{
    pthread_mutex_lock(&pool->lock);
    strand->again = false;
    while (strand->running) {
        pthread_cond_wait(&pool->ended, &pool->lock);
        strand->again = false;
    }
    if (strand->queued)
        take_out(pool, strand);
    pthread_mutex_unlock(&pool->lock);
}

/* ---- The pool ---- */

static int start_threads(struct bz_pool *pool, unsigned threads)
{
    sigset_t all;
    sigset_t before;
    int number = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (number == 0 && pool->count < threads) {
        number = pthread_create(&pool->threads[pool->count], NULL, run_pool, pool);
        if (number == 0)
            pool->count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return number;
}

int bz_pool_open(struct bz_pool **out, unsigned threads, blaze_error *error)
{
    struct bz_pool *pool = bz_zalloc(sizeof *pool);
    if (pool == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->ended, NULL);
    int number = start_threads(pool, threads < MAX_THREADS ? threads : MAX_THREADS);
    if (number != 0) {
        bz_pool_close(pool);
        return bz_error_errno(error, number, "start a thread");
    }
    *out = pool;
    return 0;
}

void bz_pool_close(struct bz_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->count; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->ended);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    bz_free(pool);
}

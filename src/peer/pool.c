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
    unsigned queued; /* strands */
    unsigned asleep; /* threads, those that are being woken included */
    unsigned woken;  /* of them */
    bool closing;
    unsigned count;
    pthread_t threads[MAX_THREADS];
};

/* ---- The queue, under the lock ---- */

/* Whether a thread is to be woken, beyond those on their way here, when `coming` of those that are
 * awake come by themselves. */
static bool wants_thread(struct bz_pool *pool, unsigned coming)
{
    if (pool->queued <= pool->woken + coming || pool->asleep == pool->woken)
        return false;
    pool->woken++;
    return true;
}

static void push(struct bz_pool *pool, struct bz_strand *strand)
{
    strand->queued = true;
    strand->next = NULL;
    if (pool->last == NULL)
        pool->first = strand;
    else
        pool->last->next = strand;
    pool->last = strand;
    pool->queued++;
}

static struct bz_strand *pop(struct bz_pool *pool)
{
    struct bz_strand *strand = pool->first;
    pool->first = strand->next;
    if (pool->first == NULL)
        pool->last = NULL;
    pool->queued--;
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
    pool->queued--;
    strand->queued = false;
}

/* ---- Running ---- */

/* A run has ended; under the lock. */
static void end_run(struct bz_pool *pool, struct bz_strand *strand)
{
    strand->running = false;
    if (strand->again) {
        strand->again = false;
        push(pool, strand);
    }
    pthread_cond_broadcast(&pool->ended);
}

static void run_one(struct bz_pool *pool)
{
    struct bz_strand *strand = pop(pool);
    bool wake = wants_thread(pool, 0);
    strand->running = true;
    pthread_mutex_unlock(&pool->lock);
    if (wake)
        pthread_cond_signal(&pool->work);
    strand->run(strand);
    pthread_mutex_lock(&pool->lock);
    end_run(pool, strand);
}

static void sleep_until_woken(struct bz_pool *pool)
{
    pool->asleep++;
    pthread_cond_wait(&pool->work, &pool->lock);
    pool->asleep--;
    if (pool->woken > 0)
        pool->woken--;
}

static void *run_pool(void *context)
{
    struct bz_pool *pool = context;
    pthread_mutex_lock(&pool->lock);
    while (!pool->closing) {
        if (pool->first != NULL)
            run_one(pool);
        else
            sleep_until_woken(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static void post(struct bz_pool *pool, struct bz_strand *strand, unsigned coming)
{
    pthread_mutex_lock(&pool->lock);
    if (strand->running)
        strand->again = true;
    else if (!strand->queued)
        push(pool, strand);
    bool wake = wants_thread(pool, coming);
    pthread_mutex_unlock(&pool->lock);
    if (wake) /* without the lock, for which the woken thread would have to wait */
        pthread_cond_signal(&pool->work);
}

void bz_strand_post(struct bz_pool *pool, struct bz_strand *strand)
{
    post(pool, strand, 0);
}

void bz_strand_post_next(struct bz_pool *pool, struct bz_strand *strand)
{
    post(pool, strand, 1);
}

void bz_pool_share(struct bz_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    bool wake = wants_thread(pool, 0);
    pthread_mutex_unlock(&pool->lock);
    if (wake)
        pthread_cond_signal(&pool->work);
}

bool bz_strand_enter(struct bz_pool *pool, struct bz_strand *strand)
{
    pthread_mutex_lock(&pool->lock);
    bool enters = !strand->running && !strand->queued;
    strand->running = strand->running || enters;
    pthread_mutex_unlock(&pool->lock);
    return enters;
}

void bz_strand_leave(struct bz_pool *pool, struct bz_strand *strand, bool again)
{
    pthread_mutex_lock(&pool->lock);
    strand->again = strand->again || again;
    end_run(pool, strand);
    bool wake = wants_thread(pool, 0);
    pthread_mutex_unlock(&pool->lock);
    if (wake)
        pthread_cond_signal(&pool->work);
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

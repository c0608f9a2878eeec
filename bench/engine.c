/* SPDX-License-Identifier: Apache-2.0 */
#include "engine.h"

#include "bench.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

struct bench_contestant bench_contestant(const struct bench_engine *engine, void *context)
{
    enum bench_kind kind = engine == &bench_engine_blaze    ? BENCH_OURS
                           : engine == &bench_engine_sealed ? BENCH_VARIANT
                           : engine == &bench_engine_append ? BENCH_LIMIT
                                                            : BENCH_PEER;
    return (struct bench_contestant){
        .name = engine->name, .kind = kind, .missing = engine->missing, .context = context};
}

void bench_load(const struct bench_engine *engine, struct bench_db *db,
    const struct bench_records *records, enum bench_id_order order, size_t batch)
{
    struct bench_session *session = engine->session(db);
    for (size_t i = 0; i < records->count;) {
        size_t end = records->count - i < batch ? records->count : i + batch;
        engine->begin(session);
        for (; i < end; i++) {
            struct bench_write w = {.verb = BENCH_INSERT, .record = &records->items[i]};
            bench_id(order, i, &w.id);
            engine->add(session, &w);
        }
        engine->commit(session);
    }
    engine->end(session);
    engine->flush(db);
}

/* One who waits in the queue, on the stack of its thread. */
struct waiter {
    struct waiter *next;
    const struct bench_write *write;
    bool done;
};

struct bench_queue {
    const struct bench_engine *engine;
    struct bench_session *session; /* of whoever writes at the moment */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct waiter *first;
    struct waiter **last;
    bool busy;
};

struct bench_queue *bench_queue_new(const struct bench_engine *engine, struct bench_db *db)
{
    struct bench_queue *q = calloc(1, sizeof *q);
    if (q == NULL)
        bench_die("out of memory");
    q->engine = engine;
    q->session = engine->session(db);
    q->last = &q->first;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->changed, NULL);
    return q;
}

void bench_queue_free(struct bench_queue *queue)
{
    queue->engine->end(queue->session);
    pthread_mutex_destroy(&queue->lock);
    pthread_cond_destroy(&queue->changed);
    free(queue);
}

static void write_all(struct bench_queue *q, const struct waiter *first)
{
    q->engine->begin(q->session);
    for (const struct waiter *w = first; w != NULL; w = w->next)
        q->engine->add(q->session, w->write);
    q->engine->commit(q->session);
}

void bench_queue_write(struct bench_queue *q, const struct bench_write *write)
{
    struct waiter self = {NULL, write, false};
    pthread_mutex_lock(&q->lock);
    *q->last = &self;
    q->last = &self.next;
    while (!self.done && q->busy)
        pthread_cond_wait(&q->changed, &q->lock);
    if (!self.done) {
        struct waiter *first = q->first;
        q->first = NULL;
        q->last = &q->first;
        q->busy = true;
        pthread_mutex_unlock(&q->lock);
        write_all(q, first);
        pthread_mutex_lock(&q->lock);
        for (struct waiter *w = first; w != NULL; w = w->next)
            w->done = true;
        q->busy = false;
        pthread_cond_broadcast(&q->changed);
    }
    pthread_mutex_unlock(&q->lock);
}

static void sink(struct bench_heap *heap)
{
    double *w = heap->weights;
    for (size_t at = 0;;) {
        size_t least = 2 * at + 1;
        if (least >= heap->count)
            return;
        if (least + 1 < heap->count && w[least + 1] < w[least])
            least++;
        if (w[at] <= w[least])
            return;
        double moved = w[at];
        w[at] = w[least];
        w[least] = moved;
        at = least;
    }
}

void bench_heap_add(struct bench_heap *heap, double weight)
{
    double *w = heap->weights;
    if (heap->count == BENCH_TOP) {
        if (weight > w[0]) {
            w[0] = weight;
            sink(heap);
        }
        return;
    }
    size_t at = heap->count++;
    for (; at > 0 && w[(at - 1) / 2] > weight; at = (at - 1) / 2)
        w[at] = w[(at - 1) / 2];
    w[at] = weight;
}

void bench_heap_answer(const struct bench_heap *heap, struct bench_answer *out)
{
    *out = (struct bench_answer){heap->count, 0};
    for (size_t i = 0; i < heap->count; i++)
        out->sum += bench_grams(heap->weights[i]);
}

uint64_t bench_grams(double weight)
{
    return (uint64_t)llround(weight * 1000);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"
#include "net/net_priv.h"

/* Small writes behind others share chunks of this size. */
#define SHARED_SIZE (16u << 10)

static void push(struct bz_queue *queue, struct bz_chunk *chunk)
{
    chunk->next = NULL;
    if (queue->last == NULL)
        queue->first = chunk;
    else
        queue->last->next = chunk;
    queue->last = chunk;
    queue->size += chunk->size - chunk->start;
}

static struct bz_chunk *pop(struct bz_queue *queue)
{
    struct bz_chunk *chunk = queue->first;
    queue->first = chunk->next;
    if (queue->first == NULL)
        queue->last = NULL;
    queue->size -= chunk->size - chunk->start;
    return chunk;
}

static void chunk_free(struct bz_chunk *chunk)
{
    if (chunk->taken_over)
        bz_free(chunk->data);
    bz_free(chunk);
}

int bz_queue_append(struct bz_queue *queue, struct bz_bytes data)
{
    /* A chunk never moves its bytes: the system may be reading them. */
    struct bz_chunk *last = queue->last;
    size_t room = last == NULL ? 0 : last->capacity - last->size;
    size_t here = data.size < room ? data.size : room;
    size_t rest = data.size - here;
    struct bz_chunk *chunk = NULL;
    if (rest > 0) {
        size_t capacity = last != NULL && rest < SHARED_SIZE ? SHARED_SIZE : rest;
        chunk = bz_malloc(sizeof *chunk + capacity);
        if (chunk == NULL)
            return BLAZE_ENOMEM;
        *chunk = (struct bz_chunk){.data = (uint8_t *)(chunk + 1), .capacity = capacity};
        chunk->size = rest;
        memcpy(chunk->data, data.data + here, rest);
    }
    if (here > 0) {
        memcpy(last->data + last->size, data.data, here);
        last->size += here;
        queue->size += here;
    }
    if (chunk != NULL)
        push(queue, chunk);
    return 0;
}

int bz_queue_take(struct bz_queue *queue, struct bz_buf *buf)
{
    struct bz_chunk *chunk = bz_malloc(sizeof *chunk);
    if (chunk == NULL)
        return BLAZE_ENOMEM;
    *chunk = (struct bz_chunk){
        .data = buf->data, .size = buf->size, .capacity = buf->size, .taken_over = true};
    push(queue, chunk);
    bz_buf_init(buf, buf->max);
    return 0;
}

struct bz_bytes bz_queue_front(const struct bz_queue *queue)
{
    const struct bz_chunk *chunk = queue->first;
    return bz_bytes(chunk->data + chunk->start, chunk->size - chunk->start);
}

void bz_queue_consume(struct bz_queue *queue, size_t size)
{
    while (size > 0) {
        struct bz_chunk *chunk = queue->first;
        size_t left = chunk->size - chunk->start;
        if (size < left) {
            chunk->start += size;
            queue->size -= size;
            return;
        }
        chunk_free(pop(queue));
        size -= left;
    }
}

void bz_queue_clear(struct bz_queue *queue)
{
    while (queue->first != NULL)
        chunk_free(pop(queue));
}

size_t bz_queue_move(struct bz_queue *to, struct bz_queue *from)
{
    struct bz_chunk *chunk = pop(from);
    size_t size = chunk->size - chunk->start;
    push(to, chunk);
    return size;
}

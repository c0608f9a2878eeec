/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The loop and its thread, tasks posted to it, timers and file watches.
 *
 * Tasks are a list under the loop's lock; a post links the task in and wakes the thread, which runs
 * what is there, one at a time and without the lock. Wake-ups merge, so each drains the list; a
 * task posted during a drain waits for the next one, lest sockets starve. The wake-up is a bell of
 * our own and not a uv_async_t, whose receiver spins until the sender has come back from the very
 * system call that woke it, which is long where both are on one processor.
 *
 * Closing: the loop shuts each handle, and when the last is gone it closes its wake-up, after
 * which libuv's loop has nothing left and the thread ends.
 */

#include "base/alloc.h"
#include "net/net_priv.h"
#include "os/os.h"

#include <assert.h>
#include <sched.h>
#include <signal.h>

int bz_net_code(int uv_error)
{
    switch (uv_error) {
    case 0:
        return 0;
    case UV_ENOMEM:
    case UV_ENOBUFS:
        return BLAZE_ENOMEM;
    case UV_EADDRINUSE:
        return BLAZE_EADDRINUSE;
    case UV_EACCES:
    case UV_EPERM:
        return BLAZE_EPERM;
    case UV_ECANCELED:
        return BLAZE_ECANCELED;
    case UV_ENOENT:
        return BLAZE_ENOTFOUND;
    case UV_EMFILE:
    case UV_ENFILE:
    case UV_ENOSPC:
        return BLAZE_ELIMIT;
    default:
        return BLAZE_EIO;
    }
}

/* ---- Tasks ---- */

static void unlink_task(struct bz_loop *loop, struct bz_task *task)
{
    if (task->previous != NULL)
        task->previous->next = task->next;
    else
        loop->first = task->next;
    if (task->next != NULL)
        task->next->previous = task->previous;
    else
        loop->last = task->previous;
    task->next = task->previous = NULL;
    task->queued = false;
    loop->waiting--;
}

static void link_task(struct bz_loop *loop, struct bz_task *task)
{
    task->queued = true;
    task->next = NULL;
    task->previous = loop->last;
    if (loop->last != NULL)
        loop->last->next = task;
    else
        loop->first = task;
    loop->last = task;
    loop->waiting++;
}

/* Under the lock; who must ring does so without it, lest the thread that wakes has to wait for it.
 */
static bool must_ring(struct bz_loop *loop)
{
    if (loop->rung)
        return false;
    loop->rung = true;
    atomic_fetch_add(&loop->ringing, 1);
    return true;
}

void bz_loop_ring(struct bz_loop *loop)
{
    bz_bell_ring(loop->bell);
    atomic_fetch_sub(&loop->ringing, 1);
}

bool bz_loop_queue(struct bz_loop *loop, struct bz_task *task)
{
    pthread_mutex_lock(&loop->lock);
    bool ring = !task->queued && must_ring(loop);
    if (!task->queued)
        link_task(loop, task);
    pthread_mutex_unlock(&loop->lock);
    return ring;
}

void bz_loop_post(struct bz_loop *loop, struct bz_task *task)
{
    if (bz_loop_queue(loop, task))
        bz_loop_ring(loop);
}

void bz_loop_cancel(struct bz_loop *loop, struct bz_task *task)
{
    pthread_mutex_lock(&loop->lock);
    if (task->queued)
        unlink_task(loop, task);
    pthread_mutex_unlock(&loop->lock);
}

static void run_tasks(struct bz_loop *loop)
{
    bz_bell_hush(loop->bell);
    pthread_mutex_lock(&loop->lock);
    loop->rung = false;
    for (size_t left = loop->waiting; left > 0 && loop->first != NULL; left--) {
        struct bz_task *task = loop->first;
        unlink_task(loop, task);
        pthread_mutex_unlock(&loop->lock);
        task->run(task); /* may free it */
        pthread_mutex_lock(&loop->lock);
    }
    bool ring = loop->first != NULL && must_ring(loop);
    pthread_mutex_unlock(&loop->lock);
    if (ring)
        bz_loop_ring(loop);
}

static void on_wake(uv_poll_t *wake, int status, int events)
{
    (void)status;
    (void)events;
    run_tasks(wake->data);
}

bool bz_loop_here(const struct bz_loop *loop)
{
    return pthread_equal(pthread_self(), loop->thread) != 0;
}

struct call {
    struct bz_task task;
    void (*call)(void *context);
    void *context;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
};

static void run_call(struct bz_task *task)
{
    struct call *call = (struct call *)task;
    call->call(call->context);
    pthread_mutex_lock(&call->lock);
    call->done = true;
    pthread_cond_signal(&call->changed);
    pthread_mutex_unlock(&call->lock);
}

void bz_loop_call(struct bz_loop *loop, void (*call)(void *context), void *context)
{
    if (bz_loop_here(loop)) {
        call(context);
        return;
    }
    struct call c = {.task.run = run_call, .call = call, .context = context};
    pthread_mutex_init(&c.lock, NULL);
    pthread_cond_init(&c.changed, NULL);
    bz_loop_post(loop, &c.task);
    pthread_mutex_lock(&c.lock);
    while (!c.done)
        pthread_cond_wait(&c.changed, &c.lock);
    pthread_mutex_unlock(&c.lock);
    pthread_cond_destroy(&c.changed);
    pthread_mutex_destroy(&c.lock);
}

/* ---- Handles ---- */

static void close_wake_if_done(struct bz_loop *loop)
{
    if (loop->closing && loop->handles == NULL && !uv_is_closing((uv_handle_t *)&loop->wake))
        uv_close((uv_handle_t *)&loop->wake, NULL);
}

int bz_handle_add(struct bz_handle *handle, struct bz_loop *loop, void (*shut)(struct bz_handle *))
{
    assert(bz_loop_here(loop));
    if (loop->closing)
        return BLAZE_ECANCELED;
    *handle = (struct bz_handle){.loop = loop, .next = loop->handles, .shut = shut};
    if (loop->handles != NULL)
        loop->handles->previous = handle;
    loop->handles = handle;
    return 0;
}

void bz_handle_remove(struct bz_handle *handle)
{
    struct bz_loop *loop = handle->loop;
    if (handle->previous != NULL)
        handle->previous->next = handle->next;
    else
        loop->handles = handle->next;
    if (handle->next != NULL)
        handle->next->previous = handle->previous;
    close_wake_if_done(loop);
}

/* ---- The loop ---- */

static void *run_loop(void *context)
{
    struct bz_loop *loop = context;
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    return NULL;
}

/* Signals are for the application's threads; SIGPIPE, from a lost connection, is for nobody. */
static int start_thread(struct bz_loop *loop)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int number = pthread_create(&loop->thread, NULL, run_loop, loop);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return number;
}

/* The wake-up, which is all that the loop has at first. */
static int open_wake(struct bz_loop *loop, blaze_error *error)
{
    int rc = bz_bell_open(&loop->bell, error);
    if (rc != 0)
        return rc;
    rc = uv_poll_init(&loop->uv, &loop->wake, loop->bell);
    if (rc == 0) {
        loop->wake.data = loop;
        uv_poll_start(&loop->wake, UV_READABLE, on_wake);
        rc = -start_thread(loop);
        if (rc != 0) {
            uv_close((uv_handle_t *)&loop->wake, NULL);
            uv_run(&loop->uv, UV_RUN_DEFAULT);
        }
    }
    if (rc != 0) {
        bz_bell_close(loop->bell);
        return bz_error_set(error, bz_net_code(rc), "start an event loop: %s", uv_strerror(rc));
    }
    return 0;
}

int bz_loop_open(struct bz_loop **out, blaze_error *error)
{
    struct bz_loop *loop = bz_zalloc(sizeof *loop);
    if (loop == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = uv_loop_init(&loop->uv);
    if (rc != 0) {
        bz_free(loop);
        return bz_error_set(error, bz_net_code(rc), "start an event loop: %s", uv_strerror(rc));
    }
    pthread_mutex_init(&loop->lock, NULL);
    rc = open_wake(loop, error);
    if (rc != 0) {
        uv_loop_close(&loop->uv);
        pthread_mutex_destroy(&loop->lock);
        bz_free(loop);
        return rc;
    }
    *out = loop;
    return 0;
}

static void close_handles(void *context)
{
    struct bz_loop *loop = context;
    loop->closing = true;
    for (;;) {
        /* Shutting one may take it out of the list, but calls nobody. */
        struct bz_handle *handle = loop->handles;
        while (handle != NULL && handle->shutting)
            handle = handle->next;
        if (handle == NULL)
            break;
        handle->shutting = true;
        handle->shut(handle);
    }
    close_wake_if_done(loop);
}

void bz_loop_close(struct bz_loop *loop)
{
    if (loop == NULL)
        return;
    assert(!bz_loop_here(loop));
    bz_loop_call(loop, close_handles, loop);
    pthread_join(loop->thread, NULL);
    while (loop->first != NULL) {
        struct bz_task *task = loop->first;
        unlink_task(loop, task);
        task->run(task);
    }
    while (atomic_load(&loop->ringing) > 0)
        sched_yield(); /* a thread whose task has run is not back from ringing yet */
    int rc = uv_loop_close(&loop->uv);
    assert(rc == 0);
    (void)rc;
    bz_bell_close(loop->bell);
    bz_tls_context_free(loop->client);
    pthread_mutex_destroy(&loop->lock);
    bz_free(loop);
}

/* ---- Timers ---- */

struct bz_timer {
    struct bz_handle handle;
    uv_timer_t uv;
    void (*on_time)(void *context);
    void *context;
};

static void free_data(uv_handle_t *uv)
{
    bz_free(uv->data);
}

static void shut_timer(struct bz_handle *handle)
{
    bz_timer_close((struct bz_timer *)handle);
}

int bz_timer_open(
    struct bz_timer **out, struct bz_loop *loop, void (*on_time)(void *context), void *context)
{
    struct bz_timer *timer = bz_zalloc(sizeof *timer);
    if (timer == NULL)
        return BLAZE_ENOMEM;
    timer->on_time = on_time;
    timer->context = context;
    int rc = bz_handle_add(&timer->handle, loop, shut_timer);
    if (rc != 0) {
        bz_free(timer);
        return rc;
    }
    uv_timer_init(&loop->uv, &timer->uv);
    timer->uv.data = timer;
    *out = timer;
    return 0;
}

static void on_timer(uv_timer_t *uv)
{
    struct bz_timer *timer = uv->data;
    timer->on_time(timer->context);
}

void bz_timer_set(struct bz_timer *timer, uint64_t ms)
{
    /* libuv counts from when this turn of the loop began. */
    uv_update_time(&timer->handle.loop->uv);
    uv_timer_start(&timer->uv, on_timer, ms, 0);
}

void bz_timer_stop(struct bz_timer *timer)
{
    uv_timer_stop(&timer->uv);
}

void bz_timer_close(struct bz_timer *timer)
{
    if (timer == NULL)
        return;
    uv_close((uv_handle_t *)&timer->uv, free_data);
    bz_handle_remove(&timer->handle);
}

/* ---- File watches ---- */

struct bz_watch {
    struct bz_handle handle;
    uv_fs_event_t uv;
    struct bz_task changed; /* merges the events of one turn into one call */
    void (*on_change)(void *context);
    void *context;
    char path[];
};

static void shut_watch(struct bz_handle *handle)
{
    bz_watch_close((struct bz_watch *)handle);
}

static void on_event(uv_fs_event_t *uv, const char *name, int events, int status)
{
    (void)name;
    (void)events;
    (void)status;
    struct bz_watch *watch = uv->data;
    bz_loop_post(watch->handle.loop, &watch->changed);
}

static void run_changed(struct bz_task *task)
{
    struct bz_watch *watch = (struct bz_watch *)((char *)task - offsetof(struct bz_watch, changed));
    watch->on_change(watch->context);
}

int bz_watch_open(struct bz_watch **out, struct bz_loop *loop, const char *path,
    void (*on_change)(void *context), void *context, blaze_error *error)
{
    size_t size = strlen(path) + 1;
    struct bz_watch *watch = bz_zalloc(sizeof *watch + size);
    if (watch == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    memcpy(watch->path, path, size);
    watch->on_change = on_change;
    watch->context = context;
    watch->changed.run = run_changed;
    int rc = bz_handle_add(&watch->handle, loop, shut_watch);
    if (rc != 0) {
        bz_free(watch);
        return bz_error_code(error, rc);
    }
    uv_fs_event_init(&loop->uv, &watch->uv);
    watch->uv.data = watch;
    rc = bz_watch_again(watch, error);
    if (rc != 0)
        bz_watch_close(watch);
    else
        *out = watch;
    return rc;
}

int bz_watch_again(struct bz_watch *watch, blaze_error *error)
{
    int rc = uv_fs_event_start(&watch->uv, on_event, watch->path, 0);
    if (rc == 0)
        return 0;
    return bz_error_set(error, bz_net_code(rc), "watch %s: %s", watch->path,
        rc == UV_ENOSPC ? "the system's limit of file watches is reached" : uv_strerror(rc));
}

void bz_watch_rest(struct bz_watch *watch)
{
    uv_fs_event_stop(&watch->uv);
    bz_loop_cancel(watch->handle.loop, &watch->changed);
}

void bz_watch_close(struct bz_watch *watch)
{
    if (watch == NULL)
        return;
    bz_loop_cancel(watch->handle.loop, &watch->changed);
    uv_close((uv_handle_t *)&watch->uv, free_data);
    bz_handle_remove(&watch->handle);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "peer/wakeup.h"

#include "base/alloc.h"
#include "os/os.h"

/* A socket can be seen before it is listened at: when it has come, it is worth a few tries, after
 * 5, 50 and 500 ms. */
enum { FIRST_MS = 5, GROWTH = 10, TRIES = 3 };

struct bz_wakeup {
    struct bz_loop *loop;
    struct bz_watch *watch; /* NULL: none to be had */
    struct bz_timer *timer;
    void (*on_wakeup)(void *context);
    void *context;
    struct bz_url url;
    struct bz_file_mark mark; /* of the file before the last try, zero if there was none */
    unsigned tries;           /* left */
    uint64_t pause_ms;        /* before the next */
};

static struct bz_file_mark mark_of(const struct bz_wakeup *wakeup)
{
    struct bz_file_mark mark = {0};
    if (bz_path_mark(wakeup->url.host, &mark, NULL) != 0)
        mark = (struct bz_file_mark){0};
    return mark;
}

static bool same(const struct bz_file_mark *a, const struct bz_file_mark *b)
{
    return a->device == b->device && a->inode == b->inode && a->birth_ns == b->birth_ns;
}

/* Whether what is there now is worth a try. */
static void look(struct bz_wakeup *wakeup)
{
    struct bz_file_mark mark = mark_of(wakeup);
    if (mark.inode == 0 || same(&mark, &wakeup->mark))
        return;
    wakeup->tries = TRIES;
    wakeup->pause_ms = FIRST_MS;
    bz_timer_set(wakeup->timer, wakeup->pause_ms);
}

static void on_change(void *context)
{
    look(context);
}

static void on_time(void *context)
{
    struct bz_wakeup *wakeup = context;
    wakeup->tries--;
    wakeup->pause_ms *= GROWTH;
    if (wakeup->tries > 0)
        bz_timer_set(wakeup->timer, wakeup->pause_ms);
    wakeup->on_wakeup(wakeup->context);
}

static void watch_directory(struct bz_wakeup *wakeup)
{
    struct bz_url directory = wakeup->url;
    char *slash = strrchr(directory.host, '/');
    if (slash == NULL)
        strcpy(directory.host, ".");
    else if (slash == directory.host)
        slash[1] = '\0';
    else
        *slash = '\0';
    /* Without a watch it is the next try, after its pause, that finds out. */
    bz_watch_open(&wakeup->watch, wakeup->loop, directory.host, on_change, wakeup, NULL);
}

int bz_wakeup_open(struct bz_wakeup **out, struct bz_loop *loop, const char *url,
    void (*on_wakeup)(void *context), void *context)
{
    struct bz_wakeup *wakeup = bz_zalloc(sizeof *wakeup);
    if (wakeup == NULL)
        return BLAZE_ENOMEM;
    wakeup->loop = loop;
    wakeup->on_wakeup = on_wakeup;
    wakeup->context = context;
    int rc = bz_url_parse(&wakeup->url, url, NULL);
    if (rc == 0)
        rc = bz_timer_open(&wakeup->timer, loop, on_time, wakeup);
    if (rc == 0)
        *out = wakeup;
    else
        bz_free(wakeup);
    return rc;
}

void bz_wakeup_begin(struct bz_wakeup *wakeup)
{
    if (wakeup == NULL || wakeup->url.kind != BZ_URL_UNIX)
        return;
    if (wakeup->watch == NULL)
        watch_directory(wakeup);
    wakeup->mark = mark_of(wakeup);
}

void bz_wakeup_rest(struct bz_wakeup *wakeup)
{
    if (wakeup != NULL && wakeup->url.kind == BZ_URL_UNIX)
        look(wakeup);
}

void bz_wakeup_close(struct bz_wakeup *wakeup)
{
    if (wakeup == NULL)
        return;
    bz_watch_close(wakeup->watch);
    bz_timer_close(wakeup->timer);
    bz_free(wakeup);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "peer/wakeup.h"

#include "base/alloc.h"
#include "os/os.h"

/* A socket can be seen before it is listened at. */
#define SETTLE_MS 5

struct bz_wakeup {
    struct bz_loop *loop;
    struct bz_watch *watch; /* opened by the first rest */
    struct bz_timer *timer;
    void (*on_wakeup)(void *context);
    void *context;
    struct bz_url url;
    struct bz_file_mark mark; /* of the file at the last rest, zero if there was none */
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

static void on_change(void *context)
{
    struct bz_wakeup *wakeup = context;
    struct bz_file_mark mark = mark_of(wakeup);
    if (mark.inode != 0 && !same(&mark, &wakeup->mark))
        bz_timer_set(wakeup->timer, SETTLE_MS);
}

static void on_time(void *context)
{
    struct bz_wakeup *wakeup = context;
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

void bz_wakeup_rest(struct bz_wakeup *wakeup)
{
    if (wakeup == NULL || wakeup->url.kind != BZ_URL_UNIX)
        return;
    if (wakeup->watch == NULL)
        watch_directory(wakeup);
    wakeup->mark = mark_of(wakeup);
}

void bz_wakeup_close(struct bz_wakeup *wakeup)
{
    if (wakeup == NULL)
        return;
    bz_watch_close(wakeup->watch);
    bz_timer_close(wakeup->timer);
    bz_free(wakeup);
}

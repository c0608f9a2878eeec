/* SPDX-License-Identifier: Apache-2.0 */
/* A watch on the machine's networks. */
#include "net/net_priv.h"

#include "base/alloc.h"
#include "os/os.h"

struct bz_network_watch {
    struct bz_handle handle;
    uv_poll_t uv;
    int fd;
    void (*on_change)(void *context);
    void *context;
};

static void free_watch(uv_handle_t *uv)
{
    struct bz_network_watch *watch = uv->data;
    bz_network_close(watch->fd);
    bz_free(watch);
}

static void shut_watch(struct bz_handle *handle)
{
    bz_network_watch_close((struct bz_network_watch *)handle);
}

/* When more happened than the socket holds, it has an error, for which libuv stops the handle.
 * Reading takes the error away and is told a change; any other would come again and again. */
static void on_readable(uv_poll_t *uv, int status, int events)
{
    struct bz_network_watch *watch = uv->data;
    (void)events;
    if (!bz_network_changed(watch->fd))
        return;
    if (status < 0)
        uv_poll_start(uv, UV_READABLE, on_readable);
    watch->on_change(watch->context);
}

int bz_network_watch_open(struct bz_network_watch **out, struct bz_loop *loop,
    void (*on_change)(void *context), void *context, blaze_error *error)
{
    int fd;
    int rc = bz_network_open(&fd, error);
    if (rc != 0)
        return rc;
    struct bz_network_watch *watch = bz_zalloc(sizeof *watch);
    rc = watch == NULL ? BLAZE_ENOMEM : bz_handle_add(&watch->handle, loop, shut_watch);
    if (rc == 0) {
        watch->fd = fd;
        watch->on_change = on_change;
        watch->context = context;
        int uv = uv_poll_init(&loop->uv, &watch->uv, fd);
        if (uv != 0) {
            bz_handle_remove(&watch->handle);
            rc = bz_net_code(uv);
        }
    }
    if (rc != 0) {
        bz_network_close(fd);
        bz_free(watch);
        return bz_error_code(error, rc);
    }
    watch->uv.data = watch;
    uv_poll_start(&watch->uv, UV_READABLE, on_readable);
    *out = watch;
    return 0;
}

void bz_network_watch_close(struct bz_network_watch *watch)
{
    if (watch == NULL)
        return;
    uv_close((uv_handle_t *)&watch->uv, free_watch);
    bz_handle_remove(&watch->handle);
}

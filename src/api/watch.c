/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Observers see what other processes commit: the files of such a database are watched by a loop of
 * its own, which is opened with the first observer and closed with the handle.
 */
#include "api_priv.h"
#include "base/alloc.h"
#include "net/net.h"

struct bz_api_watch {
    struct bz_loop *loop;
    struct bz_watch *watch;
};

struct opening {
    blaze_db *db;
    struct bz_api_watch *watch;
    blaze_error *error;
    int rc;
};

static void on_change(void *context)
{
    blaze_db *db = context;
    bz_db_poll(db->db);
}

static void open_on_loop(void *context)
{
    struct opening *opening = context;
    opening->rc = bz_watch_open(&opening->watch->watch, opening->watch->loop,
        bz_store_watch_path(bz_db_store(opening->db->db)), on_change, opening->db, opening->error);
}

static void close_on_loop(void *context)
{
    struct bz_api_watch *watch = context;
    bz_watch_close(watch->watch);
}

int bz_api_watch_open(blaze_db *db, blaze_error *error)
{
    int rc = BLAZE_OK;
    pthread_mutex_lock(&db->lock);
    if (db->watch != NULL || bz_store_watch_path(bz_db_store(db->db)) == NULL)
        goto done;
    struct bz_api_watch *watch = bz_zalloc(sizeof *watch);
    if (watch == NULL) {
        rc = bz_error_code(error, BLAZE_ENOMEM);
        goto done;
    }
    rc = bz_loop_open(&watch->loop, error);
    if (rc == BLAZE_OK) {
        struct opening opening = {.db = db, .watch = watch, .error = error};
        bz_loop_call(watch->loop, open_on_loop, &opening);
        rc = opening.rc;
    }
    if (rc == BLAZE_OK) {
        db->watch = watch;
    } else {
        bz_loop_close(watch->loop);
        bz_free(watch);
    }
done:
    pthread_mutex_unlock(&db->lock);
    return rc;
}

void bz_api_watch_close(blaze_db *db)
{
    if (db->watch == NULL)
        return;
    bz_loop_call(db->watch->loop, close_on_loop, db->watch);
    bz_loop_close(db->watch->loop);
    bz_free(db->watch);
    db->watch = NULL;
}

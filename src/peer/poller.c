/* SPDX-License-Identifier: Apache-2.0 */
#include "peer/poller.h"

#include "base/alloc.h"

#include <stdatomic.h>

/* The first sign of a change is followed at once, unless this process has committed since it looked
 * last: then it is likely to be of that. A commit may be several writes: what else is seen within
 * this time is looked at once, in the end.
 *
 * Our own commits would ring for each. So after one of them the watch rests, and while there are
 * more, for so many turns: what others commit meanwhile comes with them, since whoever commits has
 * all that was committed before. */
#define SETTLE_MS  1
#define REST_TURNS 16u

#define BLIND_MS 500

struct bz_poller {
    struct bz_loop *loop;
    struct bz_pool *pool;
    struct bz_db *db;
    struct bz_watch *watch; /* NULL: none to be had */
    struct bz_timer *timer;
    bool armed;
    bool resting;
    unsigned turns;             /* that it has rested */
    uint64_t seen;              /* position of the database at the last of them */
    _Atomic(uint64_t) position; /* of the database after the last look */
    struct bz_strand strand;
    int rc;
};

static void run_poll(struct bz_strand *strand)
{
    struct bz_poller *poller =
        (struct bz_poller *)((char *)strand - offsetof(struct bz_poller, strand));
    bz_db_poll(poller->db);
    atomic_store(&poller->position, bz_db_position(poller->db));
}

/* Whether this process has gone on committing. */
static bool rests_on(struct bz_poller *poller)
{
    uint64_t before = poller->seen;
    poller->seen = bz_db_position(poller->db);
    return poller->seen != before && ++poller->turns < REST_TURNS;
}

static void on_time(void *context)
{
    struct bz_poller *poller = context;
    if (poller->resting && rests_on(poller)) {
        bz_timer_set(poller->timer, SETTLE_MS);
        return;
    }
    /* First the watch, then the look: so nothing comes between. */
    bool blind = poller->watch == NULL;
    if (poller->resting)
        blind = bz_watch_again(poller->watch, NULL) != 0;
    poller->resting = poller->resting && blind;
    poller->armed = poller->resting;
    bz_strand_post(poller->pool, &poller->strand);
    if (blind)
        bz_timer_set(poller->timer, BLIND_MS);
}

static void on_change(void *context)
{
    struct bz_poller *poller = context;
    if (poller->armed)
        return;
    poller->armed = true;
    poller->seen = bz_db_position(poller->db);
    poller->turns = 0;
    poller->resting = poller->seen != atomic_load(&poller->position);
    if (poller->resting)
        bz_watch_rest(poller->watch);
    else
        bz_strand_post(poller->pool, &poller->strand);
    bz_timer_set(poller->timer, SETTLE_MS);
}

static void open_now(void *context)
{
    struct bz_poller *poller = context;
    const char *path = bz_store_watch_path(bz_db_store(poller->db));
    poller->rc = bz_timer_open(&poller->timer, poller->loop, on_time, poller);
    if (poller->rc != 0 || path == NULL)
        return;
    if (bz_watch_open(&poller->watch, poller->loop, path, on_change, poller, NULL) != 0)
        bz_timer_set(poller->timer, BLIND_MS);
}

int bz_poller_open(
    struct bz_poller **out, struct bz_loop *loop, struct bz_pool *pool, struct bz_db *db)
{
    struct bz_poller *poller = bz_zalloc(sizeof *poller);
    if (poller == NULL)
        return BLAZE_ENOMEM;
    poller->loop = loop;
    poller->pool = pool;
    poller->db = db;
    poller->strand.run = run_poll;
    bz_loop_call(loop, open_now, poller);
    int rc = poller->rc;
    if (rc == 0)
        *out = poller;
    else
        bz_free(poller);
    return rc;
}

static void close_now(void *context)
{
    struct bz_poller *poller = context;
    bz_watch_close(poller->watch);
    bz_timer_close(poller->timer);
}

void bz_poller_close(struct bz_poller *poller)
{
    if (poller == NULL)
        return;
    bz_loop_call(poller->loop, close_now, poller);
    bz_strand_cancel(poller->pool, &poller->strand);
    bz_free(poller);
}

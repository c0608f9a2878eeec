/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for a link: until it is in step, until a write has arrived, until it is done. */
#include "peer/link_priv.h"

#include <time.h>

static struct timespec after_ms(uint64_t ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    uint64_t ns = (uint64_t)t.tv_nsec + ms % 1000 * 1000000u;
    t.tv_sec += (time_t)(ms / 1000 + ns / 1000000000u);
    t.tv_nsec = (long)(ns % 1000000000u);
    return t;
}

static bool is_reached(const struct bz_link *link, enum bz_link_goal goal, uint64_t position)
{
    const struct bz_session_status *session = &link->status.session;
    /* What was committed before this was asked, and is still on its way to the session, counts. */
    bool live = link->status.state == BZ_LINK_LIVE && session->position_head >= position;
    if (goal == BZ_LINK_CAUGHT_UP)
        return live;
    if (link->status.state != BZ_LINK_LIVE && link->status.state != BZ_LINK_CATCHING_UP)
        return false; /* what was told of an earlier session may be of another peer */
    /* What the peer has already is never sent, and so not acknowledged either. */
    return session->position_acked >= position || live;
}

int bz_link_wait_for(struct bz_link *link, enum bz_link_goal goal, uint64_t position,
    uint64_t timeout_ms, blaze_error *error)
{
    struct timespec until = after_ms(timeout_ms);
    const struct bz_link_status *status = &link->status;
    bool in_time = true;
    int rc = 0;
    if (goal == BZ_LINK_CAUGHT_UP)
        position = bz_db_position(link->peer->db);
    pthread_mutex_lock(&link->lock);
    link->waiters++;
    while (in_time && !link->finished && !link->stopping && !is_reached(link, goal, position))
        in_time = pthread_cond_timedwait(&link->changed, &link->lock, &until) == 0;
    if (link->stopping)
        rc = bz_error_set(error, BLAZE_ECANCELED, "the link to %s was closed", link->url);
    else if (link->finished && status->code != 0)
        rc =
            bz_error_set(error, status->code, "%s", status->text + sizeof BZ_LINK_STOPPED_TEXT - 1);
    else if (!link->finished && !is_reached(link, goal, position))
        rc = bz_error_set(
            error, BLAZE_ETIMEOUT, "not in step with %s in time: %s", link->url, status->text);
    link->waiters--;
    pthread_cond_broadcast(&link->changed);
    pthread_mutex_unlock(&link->lock);
    return rc;
}

int bz_link_wait(struct bz_link *link, uint64_t timeout_ms, blaze_error *error)
{
    if (link->mode == BZ_LINK_LIVE_MODE)
        return bz_link_wait_for(link, BZ_LINK_CAUGHT_UP, 0, timeout_ms, error);
    struct timespec until = after_ms(timeout_ms);
    const struct bz_link_status *status = &link->status;
    bool in_time = true;
    int rc = 0;
    pthread_mutex_lock(&link->lock);
    while (in_time && !link->finished)
        in_time = pthread_cond_timedwait(&link->changed, &link->lock, &until) == 0;
    if (link->finished && status->code != 0)
        rc =
            bz_error_set(error, status->code, "%s", status->text + sizeof BZ_LINK_STOPPED_TEXT - 1);
    else if (!link->finished && status->state != BZ_LINK_LIVE)
        rc = bz_error_set(
            error, BLAZE_ETIMEOUT, "not in step with %s in time: %s", link->url, status->text);
    pthread_mutex_unlock(&link->lock);
    return rc;
}

unsigned bz_link_waiters(struct bz_link *link)
{
    pthread_mutex_lock(&link->lock);
    unsigned waiters = link->waiters;
    pthread_mutex_unlock(&link->lock);
    return waiters;
}

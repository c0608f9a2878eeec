/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Two nodes that connect to each other need one connection only: the one that the smaller node id
 * has opened. Only the node with the larger id acts, on its own link: when the peer it has reached
 * is here as a visitor too, the link's session is ended in good order, and the link stands aside.
 * It then tells of the visitor's session as if it were its own, and connects again as soon as that
 * is gone. So never do both ends close theirs.
 */

#include "peer/link_priv.h"

/* The loop's. */
static bool should_yield(
    const struct bz_link *link, const blaze_id *node, enum bz_session_phase phase)
{
    struct bz_identity identity;
    bz_db_identity(link->peer->db, &identity);
    return link->exchange != NULL && link->mode == BZ_LINK_LIVE_MODE && !link->yielded &&
           phase != BZ_SESSION_CLOSED && memcmp(&identity.node, node, sizeof identity.node) > 0;
}

/* Tells what the visitor's session has come to. */
static void follow(struct bz_link *link, const struct bz_session_status *visitor)
{
    bool live = visitor->phase == BZ_SESSION_LIVE;
    pthread_mutex_lock(&link->lock);
    link->status.session.position_acked = visitor->position_acked;
    link->status.session.position_head = visitor->position_head;
    link->status.session.to_send_records = visitor->to_send_records;
    link->status.session.to_receive_records = visitor->to_receive_records;
    link->status.reached = link->status.reached || live;
    link->status.code = 0;
    bz_link_set_state(link, live ? BZ_LINK_LIVE : BZ_LINK_CATCHING_UP,
        "%s, by the peer's connection", live ? "live" : "catching up");
    pthread_mutex_unlock(&link->lock);
}

void bz_link_review(struct bz_link *link)
{
    struct bz_peer *peer = link->peer;
    struct bz_session_status visitor = {.phase = BZ_SESSION_CLOSED};
    pthread_mutex_lock(&link->lock);
    blaze_id node = link->status.session.peer;
    bool met = link->met;
    bool stopping = link->stopping;
    pthread_mutex_unlock(&link->lock);
    if (!met || stopping)
        return;
    pthread_mutex_lock(&peer->lock);
    if (peer->server != NULL)
        bz_server_find(peer->server, &node, &visitor);
    pthread_mutex_unlock(&peer->lock);
    if (!link->aside && should_yield(link, &node, visitor.phase)) {
        link->yielded = true;
        bz_exchange_stop(link->exchange, 0, "the peer's own connection is kept");
    } else if (link->aside && visitor.phase == BZ_SESSION_CLOSED) {
        bz_link_attempt(link);
    } else if (link->aside) {
        follow(link, &visitor);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links: a database's standing connections. The connections themselves live in src/peer; here they
 * are listed by handle, so that status can tell of them and closing the handle ends them.
 */
#include "api_priv.h"
#include "base/alloc.h"
#include "link_priv.h"

#include <inttypes.h>

/* A link that outlives its database handle has no `inner` any more. */
struct blaze_link {
    blaze_db *db;
    struct bz_link *inner;
    struct bz_api_progress progress;
    blaze_link *next;
};

void blaze_sync_options_init(blaze_sync_options *options)
{
    *options = (blaze_sync_options){.size = sizeof *options, .timeout_ms = 10000};
}

void bz_api_link_status(blaze_link_status *out, const struct bz_link_status *in)
{
    *out = (blaze_link_status){
        .size = sizeof *out,
        .state = (blaze_link_state)in->state,
        .code = in->code,
        .wait_ms = in->wait_ms,
        .sent_records = in->session.sent_records,
        .sent_bytes = in->session.sent_bytes,
        .received_records = in->session.received_records,
        .received_bytes = in->session.received_bytes,
        .to_send = in->session.to_send_records,
        .to_receive = in->session.to_receive_records,
        .seconds = in->seconds,
    };
    _Static_assert(sizeof out->text == sizeof in->text, "the text is copied whole");
    memcpy(out->text, in->text, sizeof out->text);
}

static void on_status(void *context, const struct bz_link_status *in)
{
    struct bz_api_progress *progress = context;
    blaze_link_status status;
    bz_api_link_status(&status, in);
    progress->call(progress->context, &status);
}

int bz_api_peer(blaze_db *db, struct bz_peer **out, blaze_error *error)
{
    int rc = BLAZE_OK;
    pthread_mutex_lock(&db->lock);
    if (db->peer == NULL)
        rc = bz_peer_open(&db->peer, db->db, error);
    if (rc == BLAZE_OK)
        *out = db->peer;
    pthread_mutex_unlock(&db->lock);
    return rc;
}

int bz_api_link_begin(blaze_db *db, struct bz_link_options *options,
    struct bz_api_progress *progress, struct bz_link **out, blaze_error *error)
{
    struct bz_buf url;
    bz_buf_init(&url, BZ_JOIN_URL_SIZE);
    int rc = BLAZE_OK;
    if (db->read_only)
        rc = bz_error_set(error, BLAZE_EREADONLY,
            "the database is opened read-only: open it for writing to sync");
    if (rc == BLAZE_OK && options->url == NULL) {
        rc = bz_member_hub(db->db, &url, error);
        if (rc == BLAZE_ENOTFOUND)
            bz_error_set(error, rc, "the database is not shared yet: share it at a hub first");
        bz_buf_append8(&url, '\0');
        if (rc == BLAZE_OK && url.error != BLAZE_OK)
            rc = bz_error_code(error, url.error);
        options->url = (const char *)url.data;
    }
    struct bz_peer *peer;
    if (rc == BLAZE_OK)
        rc = bz_api_peer(db, &peer, error);
    if (rc == BLAZE_OK) {
        options->on_status = progress->call != NULL ? on_status : NULL;
        options->context = progress;
        rc = bz_link_open(out, peer, options, error);
    }
    bz_buf_release(&url);
    return rc;
}

int bz_api_sync_options(
    const blaze_sync_options **options, const blaze_sync_options *defaults, blaze_error *error)
{
    if (*options == NULL)
        *options = defaults;
    if ((*options)->size != sizeof **options)
        return bz_error_set(
            error, BLAZE_EINVAL, "set up blaze_sync_options with blaze_sync_options_init() first");
    return BLAZE_OK;
}

int blaze_link_open(
    blaze_db *db, const blaze_sync_options *options, blaze_link **out, blaze_error *error)
{
    if (db == NULL || out == NULL)
        return bz_api_null(error, db == NULL ? "the database" : "out");
    blaze_sync_options defaults;
    blaze_sync_options_init(&defaults);
    int rc = bz_api_sync_options(&options, &defaults, error);
    if (rc != BLAZE_OK)
        return rc;
    blaze_link *link = bz_zalloc(sizeof *link);
    if (link == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    link->db = db;
    link->progress = (struct bz_api_progress){options->on_progress, options->context};
    struct bz_link_options how = {.url = options->url, .mode = BZ_LINK_LIVE_MODE};
    rc = bz_api_link_begin(db, &how, &link->progress, &link->inner, error);
    if (rc != BLAZE_OK) {
        bz_free(link);
        return rc;
    }
    pthread_mutex_lock(&db->lock);
    link->next = db->links;
    db->links = link;
    pthread_mutex_unlock(&db->lock);
    *out = link;
    return BLAZE_OK;
}

void blaze_link_get_status(blaze_link *link, blaze_link_status *out)
{
    if (link->inner == NULL) {
        *out = (blaze_link_status){
            .size = sizeof *out, .state = BLAZE_LINK_STOPPED, .text = "stopped: database closed"};
        return;
    }
    struct bz_link_status status;
    bz_link_get_status(link->inner, &status);
    bz_api_link_status(out, &status);
}

void blaze_link_retry(blaze_link *link)
{
    if (link->inner != NULL)
        bz_link_retry(link->inner);
}

static int wait_for(blaze_link *link, enum bz_link_goal goal, uint64_t position,
    unsigned timeout_ms, blaze_error *error)
{
    if (link == NULL)
        return bz_api_null(error, "the link");
    if (link->inner == NULL)
        return bz_error_set(error, BLAZE_ECANCELED, "the database was closed");
    return bz_link_wait_for(link->inner, goal, position, timeout_ms, error);
}

int blaze_link_wait(blaze_link *link, unsigned timeout_ms, blaze_error *error)
{
    return wait_for(link, BZ_LINK_CAUGHT_UP, 0, timeout_ms, error);
}

int blaze_link_wait_write(
    blaze_link *link, uint64_t position, unsigned timeout_ms, blaze_error *error)
{
    return wait_for(link, BZ_LINK_WRITTEN, position, timeout_ms, error);
}

uint64_t blaze_position(blaze_db *db)
{
    return bz_db_position(db->db);
}

void bz_api_link_peer(blaze_link *link, blaze_id *node, bool *known)
{
    struct bz_link_status status = {0};
    if (link->inner != NULL)
        bz_link_get_status(link->inner, &status);
    static const blaze_id none;
    *node = status.session.peer;
    *known = memcmp(node, &none, sizeof none) != 0;
}

void blaze_link_close(blaze_link *link)
{
    if (link == NULL)
        return;
    blaze_db *db = link->db;
    if (db != NULL) {
        pthread_mutex_lock(&db->lock);
        blaze_link **at = &db->links;
        while (*at != link)
            at = &(*at)->next;
        *at = link->next;
        pthread_mutex_unlock(&db->lock);
        bz_link_close(link->inner);
    }
    bz_free(link);
}

void bz_api_links_close(blaze_db *db)
{
    bz_api_node_close(db);
    while (db->links != NULL) {
        blaze_link *link = db->links;
        db->links = link->next;
        bz_link_close(link->inner);
        link->inner = NULL;
        link->db = NULL;
    }
    bz_peer_close(db->peer);
    db->peer = NULL;
}

static const char *state_name(enum bz_link_state state)
{
    static const char *const names[] = {"connecting", "catching up", "live", "waiting", "stopped"};
    return names[state];
}

void bz_api_links_json(blaze_db *db, struct bz_buf *out)
{
    pthread_mutex_lock(&db->lock);
    for (blaze_link *link = db->links; link != NULL; link = link->next) {
        struct bz_link_status status;
        bz_link_get_status(link->inner, &status);
        if (link != db->links)
            bz_buf_append8(out, ',');
        bz_buf_printf(out, "{\"url\":");
        bz_api_json_text(out, bz_bytes_text(bz_link_url(link->inner)));
        bz_buf_printf(out, ",\"state\":\"%s\",\"text\":", state_name(status.state));
        bz_api_json_text(out, bz_bytes_text(status.text));
        bz_buf_printf(out,
            ",\"sent\":%" PRIu64 ",\"received\":%" PRIu64 ",\"sent_bytes\":%" PRIu64
            ",\"received_bytes\":%" PRIu64 ",\"to_send\":%" PRIu64 ",\"to_receive\":%" PRIu64 "}",
            status.session.sent_records, status.session.received_records, status.session.sent_bytes,
            status.session.received_bytes, status.session.to_send_records,
            status.session.to_receive_records);
    }
    pthread_mutex_unlock(&db->lock);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls that wait: share, join, sync. Each opens a link that ends when both sides have reached
 * the other's head, and waits for that, for the caller's wish to give up, or for a time in which
 * nothing moves.
 */
#include "api_priv.h"
#include "base/alloc.h"
#include "link_priv.h"
#include "os/os.h"

#include <stdio.h>

#define CANCEL_MS 50   /* between two questions whether to go on */
#define WAIT_MS   1000 /* between two looks at whether anything moves */

enum purpose {
    TO_SYNC,
    TO_SHARE,
    TO_JOIN, /* what was made for it may not be durable yet */
};

/* How far a link has come: any change means that it moves. */
struct progress_mark {
    uint64_t bytes;
    enum bz_link_state state;
};

static struct progress_mark mark_of(const struct bz_link_status *status)
{
    return (struct progress_mark){
        status->session.sent_bytes + status->session.received_bytes, status->state};
}

/* Waits for the end of a link that ends by itself. */
static int wait_for_end(struct bz_link *link, const blaze_sync_options *options, blaze_error *error)
{
    uint64_t moved_ns = bz_os_mono_ns();
    struct progress_mark mark = {0};
    for (;;) {
        uint64_t still_ms = (bz_os_mono_ns() - moved_ns) / 1000000;
        uint64_t slice = options->canceled != NULL ? CANCEL_MS : WAIT_MS;
        uint64_t left = options->timeout_ms > still_ms ? options->timeout_ms - still_ms : 0;
        struct bz_link_status status;
        bz_link_get_status(link, &status);
        int rc = bz_link_wait(link, left < slice ? left : slice, error);
        if (rc != BLAZE_ETIMEOUT || status.state == BZ_LINK_STOPPED)
            return rc; /* a link may also have stopped for a timeout of its own */
        if (options->canceled != NULL && options->canceled(options->context) != 0)
            return bz_error_set(error, BLAZE_ECANCELED, "canceled; what was exchanged stays");
        struct progress_mark now = mark_of(&status);
        if (now.bytes != mark.bytes || now.state != mark.state) {
            mark = now;
            moved_ns = bz_os_mono_ns();
        } else if (left == 0) {
            /* Where one side could not go on, that says more than that nothing moves. */
            return bz_error_set(error, status.code != 0 ? status.code : BLAZE_ETIMEOUT,
                "nothing moved for %u ms: %.150s", options->timeout_ms, status.text);
        }
    }
}

static int exchange_once(blaze_db *db, const char *url, enum purpose purpose,
    const blaze_sync_options *options, blaze_link_status *out, blaze_error *error)
{
    bool enrol = purpose == TO_SHARE;
    struct bz_api_progress progress = {options->on_progress, options->context};
    struct bz_link_options how = {.url = url,
        .mode = BZ_LINK_ONCE,
        .enrol = enrol,
        .trust = enrol && options->trust_hub != 0};
    struct bz_link *link;
    int rc = bz_api_link_begin(db, &how, &progress, &link, error);
    if (rc != BLAZE_OK)
        return rc;
    if (purpose == TO_JOIN)
        rc = bz_store_sync(bz_db_store(db->db), error); /* while the other end is being called */
    if (rc == BLAZE_OK)
        rc = wait_for_end(link, options, error);
    if (out != NULL) {
        struct bz_link_status status;
        bz_link_get_status(link, &status);
        bz_api_link_status(out, &status);
    }
    bz_link_close(link);
    return rc;
}

/* Brings both sides to the same state once. If the other end shows that this copy was put back to
 * an older state, it goes on as another node, with a second connection. */
static int exchange(blaze_db *db, const char *url, enum purpose purpose,
    const blaze_sync_options *options, blaze_link_status *out, blaze_error *error)
{
    struct bz_identity before, after;
    bz_db_identity(db->db, &before);
    int rc = exchange_once(db, url, purpose, options, out, error);
    bz_db_identity(db->db, &after);
    if (rc != BLAZE_ECLOSED || memcmp(&before.node, &after.node, sizeof before.node) == 0)
        return rc;
    return exchange_once(db, url, purpose, options, out, error);
}

/* The number of writes that this copy has made; 0 if it cannot be read. */
static uint64_t writes_of(blaze_db *db)
{
    struct bz_db_state state = {0};
    struct bz_read *read;
    if (bz_read_begin(db->db, &read, NULL) != 0)
        return 0;
    if (bz_read_state(read, &state, NULL) != 0)
        state.seq = 0;
    bz_read_end(read);
    return state.seq;
}

/* Settles by the policies what an exchange has brought; whether there is something to send now,
 * here or by the standing settler. What cannot be settled now stays for another time. */
static bool settled_some(blaze_db *db, uint64_t writes_before)
{
    static const struct bz_settle by_policies;
    uint64_t settled;
    bz_db_settle(db->db, &by_policies, &settled, NULL);
    bz_store_sync(bz_db_store(db->db), NULL); /* to see what the settler has just written */
    return writes_of(db) != writes_before;
}

int blaze_sync(
    blaze_db *db, const blaze_sync_options *options, blaze_link_status *status, blaze_error *error)
{
    if (db == NULL)
        return bz_api_null(error, "the database");
    blaze_sync_options defaults;
    blaze_sync_options_init(&defaults);
    int rc = bz_api_sync_options(&options, &defaults, error);
    if (rc != BLAZE_OK)
        return rc;
    uint64_t writes = writes_of(db);
    rc = exchange(db, options->url, TO_SYNC, options, status, error);
    if (rc == BLAZE_OK && bz_db_has_policies(db->db) && settled_some(db, writes))
        rc = exchange(db, options->url, TO_SYNC, options, status, error);
    return rc;
}

int bz_api_code(blaze_db *db, const char *url, char **out, blaze_error *error)
{
    struct bz_buf code;
    bz_buf_init(&code, 1024);
    int rc = bz_member_code(db->db, url, &code, error);
    bz_buf_append8(&code, '\0');
    if (rc == BLAZE_OK && code.error != BLAZE_OK)
        rc = bz_error_code(error, code.error);
    if (rc != BLAZE_OK) {
        bz_buf_release(&code);
        return rc;
    }
    *out = (char *)code.data;
    return BLAZE_OK;
}

int blaze_share(blaze_db *db, const char *url, const blaze_sync_options *options, char **code,
    blaze_error *error)
{
    if (db == NULL || url == NULL || code == NULL)
        return bz_api_null(error, db == NULL ? "the database" : url == NULL ? "the URL" : "code");
    blaze_sync_options defaults;
    blaze_sync_options_init(&defaults);
    struct bz_secret secret;
    int rc = bz_api_sync_options(&options, &defaults, error);
    if (rc == BLAZE_OK)
        rc = bz_member_ensure_secret(db->db, &secret, error);
    bz_wipe(&secret, sizeof secret);
    if (rc == BLAZE_OK)
        rc = exchange(db, url, TO_SHARE, options, NULL, error);
    if (rc == BLAZE_OK)
        rc = bz_member_set_hub(db->db, url, error);
    else if (rc == BLAZE_EEXIST)
        rc = BLAZE_OK; /* a peer that serves this very database: nothing to bring there */
    return rc == BLAZE_OK ? bz_api_code(db, url, code, error) : rc;
}

/* ---- join ---- */

/* Opens the copy at `path`, or makes it; *made says which. */
static int open_copy(blaze_db **out, const char *path, const blaze_open_options *options,
    const struct bz_join *join, bool *made, blaze_error *error)
{
    int rc = bz_api_open(out, path, options, NULL, error);
    *made = rc == BLAZE_ENOTFOUND;
    if (!*made)
        return rc;
    blaze_open_options making = *options;
    making.create = 1;
    return bz_api_open(out, path, &making, &join->database, error);
}

/* Whether anything has been written into the copy, but for its scope. */
static bool is_empty(blaze_db *db, const blaze_sync_options *options)
{
    return bz_db_position(db->db) <= (options->scope_count > 0);
}

static int fill_copy(
    blaze_db *db, const struct bz_join *join, const blaze_sync_options *options, blaze_error *error)
{
    int rc = bz_member_join(db->db, join, error);
    if (rc == BLAZE_OK && options->scope_count > 0)
        rc = blaze_set_scope(db, options->scope, options->scope_count, error);
    return rc == BLAZE_OK ? exchange(db, join->url, TO_JOIN, options, NULL, error) : rc;
}

int blaze_join(blaze_db **out, const char *path, const char *code, const blaze_open_options *open,
    const blaze_sync_options *options, blaze_error *error)
{
    if (out == NULL || path == NULL || code == NULL)
        return bz_api_null(error, out == NULL ? "out" : path == NULL ? "the path" : "the code");
    blaze_open_options open_defaults;
    blaze_sync_options defaults;
    blaze_open_options_init(&open_defaults);
    blaze_sync_options_init(&defaults);
    if (open == NULL)
        open = &open_defaults;
    if (open->size == sizeof *open && (open->create || open->read_only))
        return bz_error_set(
            error, BLAZE_EINVAL, "join makes the database itself, and writes to it");
    int rc = bz_api_sync_options(&options, &defaults, error);
    if (rc != BLAZE_OK)
        return rc;

    struct bz_join join;
    blaze_db *db = NULL;
    bool made = false;
    rc = bz_join_parse(&join, code, error);
    if (rc == BLAZE_OK)
        rc = open_copy(&db, path, open, &join, &made, error);
    if (rc == BLAZE_OK && (rc = fill_copy(db, &join, options, error)) != BLAZE_OK) {
        bool nothing = made && is_empty(db, options);
        blaze_close(db, NULL);
        if (nothing && !open->memory)
            bz_db_remove(path); /* another code can be tried */
    }
    bz_wipe(&join, sizeof join);
    if (rc == BLAZE_OK)
        *out = db;
    return rc;
}

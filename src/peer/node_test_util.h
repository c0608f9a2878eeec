/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_PEER_NODE_TEST_UTIL_H
#define BZ_PEER_NODE_TEST_UTIL_H

/* Nodes of one database in memory, which listen and connect. */

#include "db/db.h"
#include "os/os.h"
#include "peer/member.h"
#include "peer/peer.h"

#include "cmocka_all.h"
#include "wait.h"

#include <stdio.h>
#include <stdlib.h>

struct node {
    struct bz_db *db;
    struct bz_peer *peer;
    struct bz_listener_handle *listener;
    unsigned changes; /* of status or of the database */
};

static inline void node_note(void *context)
{
    struct node *node = context;
    NOTE(node->changes++);
}

static inline void node_on_status(void *context, const struct bz_link_status *status)
{
    (void)status;
    node_note(context);
}

static inline void node_on_log(void *context, const char *line)
{
    (void)line;
    node_note(context);
}

/* A new database, or (of != NULL) another copy of one. */
static inline void node_open(struct node *node, const struct node *of)
{
    blaze_error error;
    struct bz_identity identity = {0};
    struct bz_secret secret;
    static unsigned number;
    char path[32];
    snprintf(path, sizeof path, "node-%u", number++);
    if (of != NULL)
        bz_db_identity(of->db, &identity);
    struct bz_db_options options = {.create = true, .memory = true, .database = identity.database};
    *node = (struct node){0};
    if (bz_db_open(&node->db, path, &options, &error) != 0 ||
        bz_peer_open(&node->peer, node->db, &error) != 0 ||
        bz_member_ensure_secret(of != NULL ? of->db : node->db, &secret, &error) != 0 ||
        bz_member_adopt_secret(node->db, &secret, &error) != 0)
        fail_msg("%s", error.text);
    assert_int_equal(bz_db_listen(node->db, node_note, node, &node->listener), 0);
}

static inline void node_close(struct node *node)
{
    bz_peer_close(node->peer);
    bz_db_unlisten(node->listener);
    assert_int_equal(bz_db_close(node->db, NULL), 0);
}

/* Whether it could, or why not. */
static inline int node_try_listen(struct node *node, const char *url, blaze_error *error)
{
    struct bz_server_options options;
    bz_server_options_init(&options);
    options.listen = &url;
    options.listen_count = 1;
    options.on_log = node_on_log;
    options.context = node;
    return bz_peer_listen(node->peer, &options, error);
}

static inline void node_listen(struct node *node, const char *url)
{
    blaze_error error;
    if (node_try_listen(node, url, &error) != 0)
        fail_msg("%s", error.text);
}

static inline struct bz_link *node_connect(struct node *node, const char *url, uint32_t pause_ms)
{
    blaze_error error;
    struct bz_link *link;
    struct bz_link_options options = {
        .url = url, .pause_ms = pause_ms, .on_status = node_on_status, .context = node};
    if (bz_link_open(&link, node->peer, &options, &error) != 0)
        fail_msg("%s", error.text);
    return link;
}

static inline struct bz_link_status node_status(struct bz_link *link)
{
    struct bz_link_status status;
    bz_link_get_status(link, &status);
    return status;
}

static inline void node_insert(struct node *node, const char *text)
{
    blaze_error error;
    blaze_doc *doc;
    blaze_id id;
    struct bz_db_txn *txn;
    assert_int_equal(blaze_doc_from_json(&doc, text, strlen(text), &error), 0);
    assert_int_equal(bz_os_entropy(&id, sizeof id), 0);
    if (bz_db_begin(node->db, &txn, &error) != 0 ||
        bz_db_insert(txn, bz_bytes_text("c"), &id, doc, &error) != 0 ||
        bz_db_commit(txn, BZ_DURABLE_FULL, &error) != 0)
        fail_msg("%s", error.text);
    blaze_doc_free(doc);
}

static inline uint64_t node_records(struct node *node)
{
    struct bz_read *read;
    struct bz_db_state state;
    assert_int_equal(bz_read_begin(node->db, &read, NULL), 0);
    assert_int_equal(bz_read_state(read, &state, NULL), 0);
    bz_read_end(read);
    return state.records;
}

/* Those who have proven themselves and are here. */
static inline int node_count_one(
    void *context, const char *url, const struct bz_session_status *session, double seconds)
{
    (void)url;
    (void)session;
    (void)seconds;
    ++*(unsigned *)context;
    return 0;
}

static inline unsigned node_visitors(struct node *node)
{
    unsigned count = 0;
    struct bz_server *server = bz_peer_server(node->peer);
    if (server != NULL)
        bz_server_each(server, node_count_one, &count);
    return count;
}

#endif

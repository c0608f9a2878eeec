/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_API_API_PRIV_H
#define BZ_API_API_PRIV_H

/*
 * What the public handles hold, and the checks that all nouns share.
 *
 * A handle knows the thread that it belongs to where the header says that it belongs to one; a
 * build with assertions stops at the first call from another.
 */

#include "base/buf.h"
#include "db/db.h"

#include <assert.h>
#include <blazedb.h>
#include <pthread.h>

struct bz_peer;

struct blaze_db {
    struct bz_db *db;
    enum bz_durability durability;
    bool read_only;
    pthread_mutex_t lock; /* of what follows */
    struct bz_peer *peer; /* link.c's, as the list of links */
    blaze_link *links;
    blaze_peer *node; /* peer.c's; NULL: none is open */
    struct bz_api_warner {
        void (*call)(void *context, const blaze_warning *warning);
        void *context;
    } warner;
};

struct bz_owner {
#ifndef NDEBUG
    pthread_t thread;
#else
    char unused;
#endif
};

static inline void bz_owner_init(struct bz_owner *owner)
{
#ifndef NDEBUG
    owner->thread = pthread_self();
#else
    owner->unused = 0;
#endif
}

static inline void bz_owner_check(const struct bz_owner *owner)
{
#ifndef NDEBUG
    assert(pthread_equal(owner->thread, pthread_self()));
#else
    (void)owner;
#endif
}

struct blaze_txn {
    blaze_db *db;
    struct bz_db_txn *txn;
    struct bz_owner owner;
};

struct blaze_snapshot {
    struct bz_read *read;
    struct bz_owner owner;
};

enum bz_durability bz_api_durability(blaze_durability durability);

/* "WHAT must not be NULL". */
int bz_api_null(blaze_error *error, const char *what);

/* Whether the document is whole, as far as can be told before it is written, and does not claim the
 * reserved field. */
int bz_api_document(const blaze_doc *document, blaze_error *error);

/* Says which record is missing or there already, instead of the general sentence. Any other code
 * is returned as it is. */
int bz_api_record_error(int code, const char *collection, const blaze_id *id, blaze_error *error);

/* Opens rows over `read`; with `owned`, the cursor ends the read when it is closed. */
int bz_api_cursor_open(struct bz_read *read, bool owned, const char *collection,
    const blaze_query *query, blaze_cursor **out, blaze_error *error);

/* database.c: as blaze_open(). For a join: a new database gets the id `database`, and is durable
 * with the first commit that is, or bz_store_sync(); else that is NULL. */
int bz_api_open(blaze_db **out, const char *path, const blaze_open_options *options,
    const blaze_id *database, blaze_error *error);

/* seal.c: what a blaze_seal says, a key file being read. */
struct bz_api_secret {
    bool given; /* there is a passphrase or a key file */
    struct bz_vault_secret secret;
    struct bz_buf file;
};
/* BLAZE_EINVAL, or what keeps the key file from being read. The passphrase is borrowed. */
int bz_api_secret_init(struct bz_api_secret *out, const blaze_seal *seal, blaze_error *error);
void bz_api_secret_release(struct bz_api_secret *secret); /* wipes */

/* link.c: the database's connections, opened with the first use. They also notice what other
 * processes commit. */
int bz_api_peer(blaze_db *db, struct bz_peer **out, blaze_error *error);

/* peer.c: ends a handle's peer, whose handle stays to be closed. */
void bz_api_node_close(blaze_db *db);

/* link.c: stops the links of a handle, and closes its connections. */
void bz_api_links_close(blaze_db *db);
/* Appends the JSON array of the open links. */
void bz_api_links_json(blaze_db *db, struct bz_buf *out);

/* warning.c: appends the JSON array of the thresholds that are crossed. */
void bz_api_warnings_json(blaze_db *db, struct bz_buf *out);

/* scope.c: appends whether the copy is a partial one, and its scope. */
int bz_api_scope_json(struct bz_buf *out, struct bz_read *read, bool *partial, blaze_error *error);

/* database.c */
void bz_api_digest_text(struct bz_hash128 digest, char out[BLAZE_DIGEST_TEXT_SIZE]);

/* status.c: appends `text` as a JSON string. */
void bz_api_json_text(struct bz_buf *out, struct bz_bytes text);

#endif

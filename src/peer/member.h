/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_PEER_MEMBER_H
#define BZ_PEER_MEMBER_H

/*
 * What makes a database shared: its secret and the hub where it is shared, kept in the database's
 * own settings; and the keyed functions that a session needs, made from the secret.
 *
 * All functions: any thread.
 */

#include "crypto/keys.h"
#include "db/db.h"
#include "sync/session.h"

/* The database's secret. BLAZE_ENOTFOUND if it was never shared. */
int bz_member_secret(struct bz_db *db, struct bz_secret *out, blaze_error *error);

/* The same, made and stored first if there is none. */
int bz_member_ensure_secret(struct bz_db *db, struct bz_secret *out, blaze_error *error);

/* Stores a secret that came by an enrolment or a join code. The same again does nothing;
 * BLAZE_EAUTH if the database has another. */
int bz_member_adopt_secret(struct bz_db *db, const struct bz_secret *secret, blaze_error *error);

/* The stream URL of the hub, appended without a NUL; BLAZE_ENOTFOUND. */
int bz_member_hub(struct bz_db *db, struct bz_buf *out, blaze_error *error);
int bz_member_set_hub(struct bz_db *db, const char *url, blaze_error *error);

/* Appends the join code for the database at the hub `url`. BLAZE_ENOTFOUND if it has no secret. */
int bz_member_code(struct bz_db *db, const char *url, struct bz_buf *out, blaze_error *error);

/* Makes `db`, new or half-filled from an earlier try, the copy that the code tells of: takes its
 * secret and hub, durable with the next commit that is, or bz_store_sync(). BLAZE_EDATABASE if it
 * is a copy of another; BLAZE_EAUTH. */
int bz_member_join(struct bz_db *db, const struct bz_join *join, blaze_error *error);

/* Stores the access key that came by an enrolment, at a blind copy. The same again does nothing;
 * BLAZE_EAUTH if the database has another. */
int bz_member_adopt_access(struct bz_db *db, const struct bz_key *access, blaze_error *error);

/* The keys for sessions: of a blind copy its access key, of another all, made from the secret.
 * bz_keys_auth() borrows `keys`. */
struct bz_keys {
    bool blind;
    struct bz_key access;
    struct bz_key member; /* these three all zero when blind */
    struct bz_key content;
    struct bz_key name;
};
int bz_keys_load(struct bz_db *db, struct bz_keys *out, blaze_error *error);
struct bz_session_auth bz_keys_auth(struct bz_keys *keys);

#endif

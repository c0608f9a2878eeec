/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_CRYPTO_KEYS_H
#define BZ_CRYPTO_KEYS_H

/*
 * The secret of a shared database, the keys derived from it, and what is done with them.
 *
 *   database secret   32 random bytes, made when a database is first shared; members only
 *     access key      lets a node in; the one key that a hub is given
 *     member key      proves that a peer holds the secret itself and not only the access key
 *     content key     seals field values
 *     name key        keyed hashes in place of collection and field names
 *
 * Each key is HKDF-SHA256 (RFC 5869) of the secret, with the database id (16 bytes) as salt and a
 * label of its own as info: "blazedb v1 access", "blazedb v1 member", "blazedb v1 content",
 * "blazedb v1 name". Nothing leads from one key back to the secret or on to another key.
 *
 * All functions: any thread.
 */

#include "base/buf.h"
#include "base/error.h"

#include <blazedb/id.h>

struct bz_secret {
    uint8_t bytes[32];
};

struct bz_key {
    uint8_t bytes[32];
};

enum bz_key_kind { BZ_KEY_ACCESS, BZ_KEY_MEMBER, BZ_KEY_CONTENT, BZ_KEY_NAME };

/* A new random secret. BLAZE_EIO if the system gives no entropy. */
int bz_secret_new(struct bz_secret *out);

/* BLAZE_ENOMEM. */
int bz_key_derive(struct bz_key *out, const struct bz_secret *secret, const blaze_id *database,
    enum bz_key_kind kind);

/* HMAC-SHA256 of `transcript` under `key`. The transcript must say everything that the proof is
 * good for: whose it is, for which connection, which challenge. BLAZE_ENOMEM. */
#define BZ_PROOF_SIZE 32
int bz_key_prove(uint8_t out[BZ_PROOF_SIZE], const struct bz_key *key, struct bz_bytes transcript);

/* Whether `proof` is that HMAC, in a time that does not depend on where it differs. A failure to
 * compute counts as no. */
bool bz_key_verify(
    const uint8_t proof[BZ_PROOF_SIZE], const struct bz_key *key, struct bz_bytes transcript);

/* Whether two byte strings of one size are equal, in constant time. */
bool bz_secret_equal(const void *a, const void *b, size_t size);

/* Overwrites secrets in memory; not optimised away. */
void bz_wipe(void *memory, size_t size);

/*
 * The join code: a URL that tells a new member where the hub is, which database, and its secret.
 *
 *   blaze://HOST:PORT/DATABASE#CODE         for the stream URL tcp://HOST:PORT
 *   blaze+unix://PATH/DATABASE#CODE         for unix:PATH (percent-encoded where it must be)
 *   blaze+mem://NAME/DATABASE#CODE          for mem:NAME
 *
 * DATABASE is the 36-character id. CODE is base64url, without padding, of 37 bytes:
 *
 *   0   1  version, 1
 *   1  32  the secret
 *   33  4  checksum: the first bytes of SHA-256("blazedb join code", database id, bytes 0 to 33)
 *
 * So a damaged id, secret or version is noticed; the address may be edited when a hub moves.
 */
#define BZ_JOIN_URL_SIZE 288

struct bz_join {
    char url[BZ_JOIN_URL_SIZE]; /* of the stream: tcp://..., unix:... or mem:... */
    blaze_id database;
    struct bz_secret secret;
};

/* Appends the code for `join` to `out`. BLAZE_EINVAL if join->url is none of the three;
 * BLAZE_ELIMIT and BLAZE_ENOMEM from the buffer. The caller wipes what it no longer needs. */
int bz_join_format(struct bz_buf *out, const struct bz_join *join, blaze_error *error);

/* Reads a code. BLAZE_ESYNTAX: not a join code, or a damaged one; BLAZE_EVERSION: of a version that
 * this library does not know. The text never repeats the secret. */
int bz_join_parse(struct bz_join *out, const char *code, blaze_error *error);

#endif

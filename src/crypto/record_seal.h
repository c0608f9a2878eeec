/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_CRYPTO_RECORD_SEAL_H
#define BZ_CRYPTO_RECORD_SEAL_H

/*
 * What members give a node that must not read it: names as keyed tags with the name sealed, and the
 * bodies of writes sealed (docs/format/sealed.md has the bytes).
 *
 *   name    tag (16), AES-256-GCM of the padded name under the name key, the tag giving the nonce:
 *           equal names give equal bytes, so that a blind node can tell which they are, and no more
 *   body    epoch (1), random nonce (12), AES-256-GCM of the padded body, GCM tag (16); the key is
 *           one for each node that writes; what the write is, where and when, is authenticated
 *
 * Keys are never near the 2^32 random nonces that GCM allows: each is used for the writes of one
 * node only.
 *
 * Threads: one at a time for each sealer.
 */

#include "base/buf.h"
#include "base/error.h"
#include "crypto/keys.h"

struct bz_record_sealer;

/* Copies and derives what it needs of the two keys. BLAZE_ENOMEM. */
int bz_record_sealer_new(struct bz_record_sealer **out, const struct bz_key *content,
    const struct bz_key *name, const blaze_id *database);
void bz_record_sealer_free(struct bz_record_sealer *sealer); /* wipes; NULL does nothing */

#define BZ_NAME_TAG         16u
#define BZ_SEALED_NAME_STEP 16u
#define BZ_SEALED_NAME_MAX  320u /* bytes; what a blind node takes as a name */

/* The tag of a name of a kind ('c' collection, 'f' field). BLAZE_ENOMEM. */
int bz_name_tag(
    struct bz_record_sealer *sealer, char kind, struct bz_bytes name, uint8_t tag[BZ_NAME_TAG]);
/* Appends the sealed form of a name of 1 to 255 bytes. BLAZE_ENOMEM, BLAZE_ELIMIT (of `out`). */
int bz_name_seal(
    struct bz_record_sealer *sealer, char kind, struct bz_bytes name, struct bz_buf *out);
/* Appends the name. BLAZE_ECORRUPT if no member made it, BLAZE_ENOMEM. */
int bz_name_open(
    struct bz_record_sealer *sealer, char kind, struct bz_bytes sealed, struct bz_buf *out);

/* The same for a dictionary, of any size: neither padded nor with its size. */
#define BZ_DICTIONARY_SEAL 32u /* bytes that it adds */
int bz_dictionary_seal(
    struct bz_record_sealer *sealer, struct bz_bytes dictionary, struct bz_buf *out);
int bz_dictionary_open(struct bz_record_sealer *sealer, struct bz_bytes sealed, struct bz_buf *out);

/* How many bytes sealing adds to a padded body. */
#define BZ_BODY_SEAL 29u

/* Appends the sealed form of what `node` wrote. `more` says all that is told of the write in clear:
 * it cannot be changed without the body failing to open. BLAZE_ENOMEM, BLAZE_EIO without entropy,
 * BLAZE_ELIMIT. */
int bz_body_seal(struct bz_record_sealer *sealer, const blaze_id *node, struct bz_bytes more,
    struct bz_bytes plain, struct bz_buf *out);
/* Appends what was sealed. BLAZE_ECORRUPT if no member sealed it for this node and `more`,
 * BLAZE_EVERSION for a key epoch that is not known here, BLAZE_ENOMEM. */
int bz_body_open(struct bz_record_sealer *sealer, const blaze_id *node, struct bz_bytes more,
    struct bz_bytes sealed, struct bz_buf *out);

#endif

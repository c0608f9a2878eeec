/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_CRYPTO_VAULT_H
#define BZ_CRYPTO_VAULT_H

/*
 * The vault of a sealed store: its data key, wrapped by a secret that its user holds.
 *
 *   passphrase --Argon2id--+
 *                          +--> wrapping key --AES-256-GCM--> data key --> what seals the data
 *   key file -----HKDF-----+
 *
 * The data key is random and never changes, so another secret takes a new vault and not new data.
 * Here are only the bytes of it (docs/format/key.md), which are hostile; they lie in a file of the
 * store (store/keyfile.h).
 *
 * Any thread. Deriving from a passphrase takes the memory and the time that its parameters say.
 */

#include "base/bytes.h"
#include "base/error.h"

#define BZ_VAULT_SIZE     108u
#define BZ_VAULT_SIZE_MAX 4096u /* of any later version */

#define BZ_PASSPHRASE_MAX 1024u
#define BZ_KEY_FILE_MIN   32u
#define BZ_KEY_FILE_MAX   (64u << 10)

/* Of Argon2id, in one lane. */
#define BZ_ARGON2_MEMORY_KIB     65536u
#define BZ_ARGON2_MEMORY_KIB_MIN 8u
#define BZ_ARGON2_MEMORY_KIB_MAX (4u << 20)
#define BZ_ARGON2_PASSES         3u
#define BZ_ARGON2_PASSES_MAX     64u

enum bz_vault_kind { BZ_VAULT_PASSPHRASE = 1, BZ_VAULT_KEY_FILE = 2 };

/* What a user holds. The bytes are borrowed, never kept. */
struct bz_vault_secret {
    enum bz_vault_kind kind;
    struct bz_bytes bytes; /* of a key file: what is in it */
    uint32_t memory_kib;   /* of a passphrase, for a vault that is made with it; 0: 64 MiB */
    uint32_t passes;       /* the same; 0: 3 */
};

#define BZ_DATA_KEY_SIZE 32u
struct bz_data_key {
    uint8_t bytes[BZ_DATA_KEY_SIZE];
};

/* Makes a vault with a new data key. BLAZE_EINVAL and BLAZE_ERANGE for a secret or for parameters
 * that are none, BLAZE_ENOMEM (the memory for Argon2id is meant too), BLAZE_EIO without entropy. */
int bz_vault_create(uint8_t out[BZ_VAULT_SIZE], struct bz_data_key *key,
    const struct bz_vault_secret *secret, blaze_error *error);

/* Takes the data key out. BLAZE_EAUTH if the secret is not the right one, BLAZE_ECORRUPT for
 * damaged bytes, BLAZE_EVERSION, BLAZE_ENOMEM, BLAZE_EINVAL. The caller wipes the key. */
int bz_vault_open(struct bz_data_key *key, struct bz_bytes vault,
    const struct bz_vault_secret *secret, blaze_error *error);

/* Makes a vault for the same data key and another secret, or the same one with other parameters.
 * `out` may be where `vault` is. */
int bz_vault_change(uint8_t out[BZ_VAULT_SIZE], struct bz_bytes vault,
    const struct bz_vault_secret *from, const struct bz_vault_secret *to, blaze_error *error);

/* What can be told without the secret, once the bytes are found to be whole. */
struct bz_vault_info {
    enum bz_vault_kind kind;
    uint32_t memory_kib; /* 0 for a key file */
    uint32_t passes;
};
int bz_vault_check(struct bz_bytes vault, struct bz_vault_info *out, blaze_error *error);

#endif

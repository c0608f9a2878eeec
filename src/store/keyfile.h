/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_KEYFILE_H
#define BZ_STORE_KEYFILE_H

/*
 * The file `key` in the directory of a sealed store: a vault (crypto/vault.h) with the data key.
 * Where it is not, the store is not sealed. It is always written as a whole, beside the old one and
 * then in its place, so that a crash leaves one or the other.
 *
 * What a path in an error is: the directory, or the file where that is damaged.
 */

#include "crypto/vault.h"
#include "store/store.h"

/* Makes the file for a store that is about to be made; with `secret` NULL, sees to it that there is
 * none. Durable when it returns. */
int bz_keyfile_create(const char *directory, const struct bz_vault_secret *secret,
    struct bz_data_key *out, blaze_error *error);

/* The data key of a store that is there; *sealed says whether it has one. BLAZE_EAUTH without the
 * right secret, BLAZE_EINVAL with one where nothing is sealed; if the store was to be created, both
 * are BLAZE_EEXIST. BLAZE_ECORRUPT, BLAZE_EVERSION, BLAZE_ENOMEM. */
int bz_keyfile_open(const char *directory, const struct bz_store_options *options,
    struct bz_data_key *out, bool *sealed, blaze_error *error);

/* Whether an entry of a store's directory is this file, or what was left of making it. */
bool bz_keyfile_is(const char *name);

#endif

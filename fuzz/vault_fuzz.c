/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The key of a sealed database: any bytes, as they are and with their checksum put right. What is
 * found to be whole is opened too, where that costs little.
 */

#include "crypto/vault.h"

#include "base/hash.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHEAP_KIB    64u
#define CHEAP_PASSES 2u

static void try_vault(struct bz_bytes vault)
{
    struct bz_vault_info info;
    struct bz_data_key key;
    blaze_error error;
    if (bz_vault_check(vault, &info, &error) != 0)
        return;
    if (vault.size != BZ_VAULT_SIZE)
        abort();
    struct bz_vault_secret secret = {BZ_VAULT_PASSPHRASE, bz_bytes_text("a passphrase"), 8, 1};
    if (info.memory_kib <= CHEAP_KIB && info.passes <= CHEAP_PASSES)
        bz_vault_open(&key, vault, &secret, &error);
    secret = (struct bz_vault_secret){.kind = BZ_VAULT_KEY_FILE, .bytes = vault};
    bz_vault_open(&key, vault, &secret, &error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t copy[BZ_VAULT_SIZE];
    try_vault(bz_bytes(data, size));
    if (size < sizeof copy)
        return 0;
    memcpy(copy, data, sizeof copy);
    bz_store64le(copy + sizeof copy - 8, bz_hash64(copy, sizeof copy - 8, 0));
    try_vault(bz_bytes(copy, sizeof copy));
    return 0;
}

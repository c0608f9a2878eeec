/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The bytes of a vault. docs/format/key.md says what each means:
 *
 *     0   8  "BlazeKey"            24  16  salt
 *     8   1  version               40  12  nonce
 *     9   1  kind                  52  48  the data key, sealed, with bytes 0 to 51 authenticated
 *    10   2  0                    100   8  checksum of bytes 0 to 99
 *    12   4  memory in KiB
 *    16   4  passes
 *    20   4  lanes
 *
 * The checksum tells damage from a secret that is not the right one: it protects from accidents,
 * the seal from everything else. Parameters are looked at before memory or time is spent on them.
 */

#include "crypto/vault.h"

#include "base/hash.h"
#include "crypto/aead.h"
#include "crypto/keys.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sodium.h>

#define VERSION       1u
#define LANES         1u /* all that libsodium does */
#define CHECKSUM_SIZE 8u
#define KEY_FILE_INFO "blazedb v1 key file"

enum {
    AT_VERSION = 8,
    AT_KIND = 9,
    AT_ZERO = 10,
    AT_MEMORY = 12,
    AT_PASSES = 16,
    AT_LANES = 20,
    AT_SALT = 24,
    AT_NONCE = 40,
    AT_SEALED = 52,
    AT_CHECKSUM = 100,
};

static const char magic[8] = {'B', 'l', 'a', 'z', 'e', 'K', 'e', 'y'};

_Static_assert(AT_NONCE - AT_SALT == crypto_pwhash_SALTBYTES, "the salt of Argon2id");
_Static_assert(AT_SEALED - AT_NONCE == BZ_AEAD_NONCE, "the nonce");
_Static_assert(AT_CHECKSUM - AT_SEALED == BZ_DATA_KEY_SIZE + BZ_AEAD_TAG, "the sealed key");
_Static_assert(AT_CHECKSUM + CHECKSUM_SIZE == BZ_VAULT_SIZE, "the whole");

/* ---- secrets ---- */

static int check_secret(const struct bz_vault_secret *secret, blaze_error *error)
{
    size_t size = secret->bytes.size;
    if (secret->kind == BZ_VAULT_KEY_FILE && (size < BZ_KEY_FILE_MIN || size > BZ_KEY_FILE_MAX))
        return bz_error_set(error, BLAZE_EINVAL,
            "a key file has %u to %u bytes, random ones, and not %zu", BZ_KEY_FILE_MIN,
            BZ_KEY_FILE_MAX, size);
    if (secret->kind == BZ_VAULT_PASSPHRASE && (size == 0 || size > BZ_PASSPHRASE_MAX))
        return bz_error_set(error, BLAZE_EINVAL, "a passphrase has 1 to %u bytes, and not %zu",
            BZ_PASSPHRASE_MAX, size);
    return 0;
}

static bool costs_in_bounds(uint32_t memory_kib, uint32_t passes)
{
    return memory_kib >= BZ_ARGON2_MEMORY_KIB_MIN && memory_kib <= BZ_ARGON2_MEMORY_KIB_MAX &&
           passes >= 1 && passes <= BZ_ARGON2_PASSES_MAX;
}

/* The costs of a vault to be made. */
static int choose_costs(
    const struct bz_vault_secret *secret, struct bz_vault_info *out, blaze_error *error)
{
    *out = (struct bz_vault_info){.kind = secret->kind};
    if (secret->kind == BZ_VAULT_KEY_FILE)
        return 0;
    out->memory_kib = secret->memory_kib != 0 ? secret->memory_kib : BZ_ARGON2_MEMORY_KIB;
    out->passes = secret->passes != 0 ? secret->passes : BZ_ARGON2_PASSES;
    if (!costs_in_bounds(out->memory_kib, out->passes))
        return bz_error_set(error, BLAZE_ERANGE,
            "a passphrase is derived with %u to %u KiB of memory and 1 to %u passes",
            BZ_ARGON2_MEMORY_KIB_MIN, BZ_ARGON2_MEMORY_KIB_MAX, BZ_ARGON2_PASSES_MAX);
    return 0;
}

static int wrapping_key_of_passphrase(uint8_t out[BZ_AEAD_KEY], struct bz_bytes passphrase,
    const struct bz_vault_info *info, const uint8_t *salt, blaze_error *error)
{
    if (sodium_init() < 0 ||
        crypto_pwhash(out, BZ_AEAD_KEY, (const char *)passphrase.data, passphrase.size, salt,
            info->passes, (size_t)info->memory_kib << 10, crypto_pwhash_ALG_ARGON2ID13) != 0)
        return bz_error_set(error, BLAZE_ENOMEM,
            "the passphrase is to be derived with %u KiB of memory, which are not there",
            info->memory_kib);
    return 0;
}

static int wrapping_key_of_file(
    uint8_t out[BZ_AEAD_KEY], struct bz_bytes file, const uint8_t *salt, blaze_error *error)
{
    uint8_t digest[32];
    int rc = BLAZE_ENOMEM;
    if (EVP_Q_digest(NULL, "SHA256", NULL, file.data, file.size, digest, NULL) == 1)
        rc = bz_kdf(out, digest, bz_bytes(salt, AT_NONCE - AT_SALT), KEY_FILE_INFO);
    bz_wipe(digest, sizeof digest);
    return rc != 0 ? bz_error_code(error, rc) : 0;
}

/* What seals with the wrapping key of `secret`, as salt and costs of the vault want it. */
static int wrapper_new(struct bz_aead **out, const uint8_t *vault, const struct bz_vault_info *info,
    const struct bz_vault_secret *secret, blaze_error *error)
{
    uint8_t key[BZ_AEAD_KEY];
    const uint8_t *salt = vault + AT_SALT;
    int rc = info->kind == BZ_VAULT_PASSPHRASE
                 ? wrapping_key_of_passphrase(key, secret->bytes, info, salt, error)
                 : wrapping_key_of_file(key, secret->bytes, salt, error);
    if (rc == 0 && (rc = bz_aead_new(out, key)) != 0)
        bz_error_code(error, rc);
    bz_wipe(key, sizeof key);
    return rc;
}

/* ---- making ---- */

static int wrap(uint8_t out[BZ_VAULT_SIZE], const struct bz_data_key *key,
    const struct bz_vault_secret *secret, blaze_error *error)
{
    uint8_t vault[BZ_VAULT_SIZE] = {0};
    struct bz_vault_info info;
    struct bz_aead *wrapper = NULL;
    int rc = check_secret(secret, error);
    if (rc == 0)
        rc = choose_costs(secret, &info, error);
    if (rc != 0)
        return rc;
    memcpy(vault, magic, sizeof magic);
    vault[AT_VERSION] = VERSION;
    vault[AT_KIND] = (uint8_t)info.kind;
    bz_store32le(vault + AT_MEMORY, info.memory_kib);
    bz_store32le(vault + AT_PASSES, info.passes);
    bz_store32le(vault + AT_LANES, info.kind == BZ_VAULT_PASSPHRASE ? LANES : 0);
    if (RAND_bytes(vault + AT_SALT, AT_SEALED - AT_SALT) != 1)
        return bz_error_set(error, BLAZE_EIO, "no random bytes for a new key");

    rc = wrapper_new(&wrapper, vault, &info, secret, error);
    if (rc != 0)
        return rc;
    rc = bz_aead_seal(wrapper, vault + AT_NONCE, bz_bytes(vault, AT_SEALED),
        bz_bytes(key->bytes, sizeof key->bytes), vault + AT_SEALED);
    bz_aead_free(wrapper);
    if (rc != 0)
        return bz_error_code(error, rc);
    bz_store64le(vault + AT_CHECKSUM, bz_hash64(vault, AT_CHECKSUM, 0));
    memcpy(out, vault, sizeof vault);
    return 0;
}

int bz_vault_create(uint8_t out[BZ_VAULT_SIZE], struct bz_data_key *key,
    const struct bz_vault_secret *secret, blaze_error *error)
{
    struct bz_data_key made;
    if (RAND_priv_bytes(made.bytes, sizeof made.bytes) != 1)
        return bz_error_set(error, BLAZE_EIO, "no random bytes for a new key");
    int rc = wrap(out, &made, secret, error);
    if (rc == 0)
        *key = made;
    bz_wipe(&made, sizeof made);
    return rc;
}

/* ---- opening ---- */

static int damaged(blaze_error *error, const char *how)
{
    return bz_error_set(error, BLAZE_ECORRUPT, "damaged: %s", how);
}

int bz_vault_check(struct bz_bytes vault, struct bz_vault_info *out, blaze_error *error)
{
    const uint8_t *p = vault.data;
    if (vault.size <= AT_VERSION + CHECKSUM_SIZE || vault.size > BZ_VAULT_SIZE_MAX ||
        memcmp(p, magic, sizeof magic) != 0)
        return damaged(error, "it is no key of a database");
    size_t covered = vault.size - CHECKSUM_SIZE;
    if (bz_load64le(p + covered) != bz_hash64(p, covered, 0))
        return damaged(error, "its checksum does not match");
    if (p[AT_VERSION] != VERSION)
        return bz_error_set(error, BLAZE_EVERSION,
            "a key of version %u, and this library reads version %u", p[AT_VERSION], VERSION);
    if (vault.size != BZ_VAULT_SIZE)
        return damaged(error, "its size is not that of a key");
    struct bz_vault_info info = {
        .kind = (enum bz_vault_kind)p[AT_KIND],
        .memory_kib = bz_load32le(p + AT_MEMORY),
        .passes = bz_load32le(p + AT_PASSES),
    };
    uint32_t lanes = bz_load32le(p + AT_LANES);
    bool passphrase = info.kind == BZ_VAULT_PASSPHRASE && lanes == LANES &&
                      costs_in_bounds(info.memory_kib, info.passes);
    bool key_file =
        info.kind == BZ_VAULT_KEY_FILE && lanes == 0 && info.memory_kib == 0 && info.passes == 0;
    if ((!passphrase && !key_file) || p[AT_ZERO] != 0 || p[AT_ZERO + 1] != 0)
        return damaged(error, "its parameters are none that a key can have");
    *out = info;
    return 0;
}

static int check_kind(
    const struct bz_vault_info *info, const struct bz_vault_secret *secret, blaze_error *error)
{
    if (info->kind == secret->kind)
        return 0;
    return bz_error_set(error, BLAZE_EAUTH, "%s",
        info->kind == BZ_VAULT_PASSPHRASE ? "opens with a passphrase, not with a key file"
                                          : "opens with a key file, not with a passphrase");
}

int bz_vault_open(struct bz_data_key *key, struct bz_bytes vault,
    const struct bz_vault_secret *secret, blaze_error *error)
{
    struct bz_vault_info info;
    struct bz_aead *wrapper = NULL;
    struct bz_data_key opened;
    int rc = bz_vault_check(vault, &info, error);
    if (rc == 0)
        rc = check_kind(&info, secret, error);
    if (rc == 0)
        rc = check_secret(secret, error);
    if (rc == 0)
        rc = wrapper_new(&wrapper, vault.data, &info, secret, error);
    if (rc != 0)
        return rc;
    rc = bz_aead_open(wrapper, vault.data + AT_NONCE, bz_bytes(vault.data, AT_SEALED),
        bz_bytes(vault.data + AT_SEALED, AT_CHECKSUM - AT_SEALED), opened.bytes);
    bz_aead_free(wrapper);
    if (rc == 0)
        *key = opened;
    else if (rc == BLAZE_ECORRUPT)
        rc = bz_error_set(error, BLAZE_EAUTH, "%s",
            info.kind == BZ_VAULT_PASSPHRASE ? "the passphrase is wrong"
                                             : "the key file is not the one it was sealed with");
    else
        bz_error_code(error, rc);
    bz_wipe(&opened, sizeof opened);
    return rc;
}

int bz_vault_change(uint8_t out[BZ_VAULT_SIZE], struct bz_bytes vault,
    const struct bz_vault_secret *from, const struct bz_vault_secret *to, blaze_error *error)
{
    struct bz_data_key key;
    int rc = bz_vault_open(&key, vault, from, error);
    if (rc == 0)
        rc = wrap(out, &key, to, error);
    bz_wipe(&key, sizeof key);
    return rc;
}

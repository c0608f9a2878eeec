/* SPDX-License-Identifier: Apache-2.0 */
/* Passphrases and key files, from what a user says to what the store takes. */
#include "api_priv.h"
#include "crypto/keys.h"
#include "os/os.h"

void blaze_seal_init(blaze_seal *seal)
{
    *seal = (blaze_seal){.size = sizeof *seal};
}

/* Reads up to one byte more than a key file can have. */
static int read_key_file(struct bz_buf *out, const char *path, blaze_error *error)
{
    struct bz_file file = {.fd = -1};
    size_t size = 0;
    uint8_t *room = bz_buf_reserve(out, BZ_KEY_FILE_MAX + 1);
    if (room == NULL)
        return bz_error_code(error, out->error);
    int rc = bz_file_open(&file, path, BZ_OPEN_READ, error);
    if (rc == 0)
        rc = bz_file_read(&file, 0, room, BZ_KEY_FILE_MAX + 1, &size, error);
    bz_file_close(&file);
    if (rc == 0)
        bz_buf_advance(out, size);
    if (rc == BLAZE_ENOTFOUND) /* which is said of databases */
        return bz_error_set(error, BLAZE_EINVAL, "%s: there is no such key file", path);
    return rc;
}

int bz_api_secret_init(struct bz_api_secret *out, const blaze_seal *seal, blaze_error *error)
{
    if (seal->size != sizeof *seal)
        return bz_error_set(error, BLAZE_EINVAL, "set up blaze_seal with blaze_seal_init() first");
    if (seal->passphrase != NULL && seal->key_file != NULL)
        return bz_error_set(error, BLAZE_EINVAL, "give a passphrase or a key file, not both");
    struct bz_api_secret secret = {.given = true};
    int rc = 0;
    bz_buf_init(&secret.file, BZ_KEY_FILE_MAX + 1);
    if (seal->passphrase != NULL) {
        secret.secret = (struct bz_vault_secret){BZ_VAULT_PASSPHRASE,
            bz_bytes_text(seal->passphrase), seal->kdf_memory_kib, seal->kdf_passes};
    } else if (seal->key_file != NULL) {
        rc = read_key_file(&secret.file, seal->key_file, error);
        secret.secret = (struct bz_vault_secret){
            .kind = BZ_VAULT_KEY_FILE, .bytes = bz_buf_bytes(&secret.file)};
    } else {
        secret.given = false;
    }
    if (rc == 0)
        *out = secret;
    else
        bz_api_secret_release(&secret);
    return rc;
}

void bz_api_secret_release(struct bz_api_secret *secret)
{
    if (secret->file.data != NULL)
        bz_wipe(secret->file.data, secret->file.capacity);
    bz_buf_release(&secret->file);
}

/* Both secrets of a change. */
static int init_both(struct bz_api_secret *old, struct bz_api_secret *new, const blaze_seal *from,
    const blaze_seal *to, blaze_error *error)
{
    blaze_seal none;
    blaze_seal_init(&none);
    int rc = bz_api_secret_init(old, from != NULL ? from : &none, error);
    if (rc != BLAZE_OK)
        return rc;
    rc = bz_api_secret_init(new, to != NULL ? to : &none, error);
    if (rc != BLAZE_OK)
        bz_api_secret_release(old);
    return rc;
}

int blaze_change_passphrase(
    const char *path, const blaze_seal *from, const blaze_seal *to, blaze_error *error)
{
    if (path == NULL)
        return bz_api_null(error, "the path");
    struct bz_api_secret old, new;
    int rc = init_both(&old, &new, from, to, error);
    if (rc != BLAZE_OK)
        return rc;
    rc = old.given && new.given
             ? bz_store_change_secret(path, &old.secret, &new.secret, error)
             : bz_error_set(error, BLAZE_EINVAL,
                   "a change wants the old passphrase or key file, and a new one");
    bz_api_secret_release(&old);
    bz_api_secret_release(&new);
    return rc;
}

int blaze_rekey(const char *path, const blaze_seal *from, const blaze_seal *to, blaze_error *error)
{
    if (path == NULL)
        return bz_api_null(error, "the path");
    struct bz_api_secret old, new;
    int rc = init_both(&old, &new, from, to, error);
    if (rc != BLAZE_OK)
        return rc;
    rc = bz_db_rekey(path, old.given ? &old.secret : NULL, new.given ? &new.secret : NULL, error);
    bz_api_secret_release(&old);
    bz_api_secret_release(&new);
    return rc;
}

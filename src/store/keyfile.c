/* SPDX-License-Identifier: Apache-2.0 */
#include "store/keyfile.h"

#include "base/alloc.h"
#include "crypto/keys.h"
#include "os/os.h"
#include "store/presence.h"

#include <inttypes.h>
#include <stdio.h>

#define NAME     "key"
#define NEW_NAME "key.new-" /* and a random number: a crash may have left one */

bool bz_keyfile_is(const char *name)
{
    return strcmp(name, NAME) == 0 || strncmp(name, NEW_NAME, strlen(NEW_NAME)) == 0;
}

/* ---- the file ---- */

static int write_whole(const char *path, const uint8_t vault[BZ_VAULT_SIZE], blaze_error *error)
{
    struct bz_file file = {.fd = -1};
    int rc = bz_file_open(&file, path, BZ_OPEN_WRITE | BZ_OPEN_CREATE | BZ_OPEN_EXCLUSIVE, error);
    if (rc == 0)
        rc = bz_file_write(&file, 0, vault, BZ_VAULT_SIZE, error);
    if (rc == 0)
        rc = bz_file_sync(&file, error);
    bz_file_close(&file);
    return rc;
}

/* Puts the vault in the place of the one that is there, if any. */
static int replace(const char *directory, const uint8_t vault[BZ_VAULT_SIZE], blaze_error *error)
{
    uint64_t number = 0;
    char name[sizeof NEW_NAME + 16];
    int rc = bz_os_entropy(&number, sizeof number);
    if (rc != 0)
        return bz_error_code(error, rc);
    snprintf(name, sizeof name, NEW_NAME "%016" PRIx64, number);
    char *fresh = bz_path_join(directory, name), *path = bz_path_join(directory, NAME);
    rc = fresh == NULL || path == NULL ? bz_error_code(error, BLAZE_ENOMEM)
                                       : write_whole(fresh, vault, error);
    if (rc == 0)
        rc = bz_path_rename(fresh, path, error);
    if (rc == 0)
        rc = bz_dir_sync(directory, error);
    else if (fresh != NULL)
        bz_path_remove(fresh, NULL);
    bz_free(fresh);
    bz_free(path);
    return rc;
}

static int remove_it(const char *directory, blaze_error *error)
{
    char *path = bz_path_join(directory, NAME);
    if (path == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = bz_path_exists(path) ? bz_path_remove(path, error) : 0;
    bz_free(path);
    return rc;
}

/* Reads what there is, up to one byte more than a vault can have. BLAZE_ENOTFOUND. */
static int read_whole(
    const char *directory, uint8_t out[BZ_VAULT_SIZE_MAX + 1], size_t *size, blaze_error *error)
{
    struct bz_file file = {.fd = -1};
    char *path = bz_path_join(directory, NAME);
    if (path == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = bz_file_open(&file, path, BZ_OPEN_READ, error);
    if (rc == 0)
        rc = bz_file_read(&file, 0, out, BZ_VAULT_SIZE_MAX + 1, size, error);
    bz_file_close(&file);
    bz_free(path);
    return rc;
}

/* Says where, for an error of the vault. */
static int at(const char *directory, int rc, const blaze_error *detail, blaze_error *error)
{
    bool of_file = rc == BLAZE_ECORRUPT || rc == BLAZE_EVERSION;
    return bz_error_set(error, rc, "%s%s: %s", directory, of_file ? "/" NAME : "", detail->text);
}

/* ---- making and opening ---- */

int bz_keyfile_create(const char *directory, const struct bz_vault_secret *secret,
    struct bz_data_key *out, blaze_error *error)
{
    uint8_t vault[BZ_VAULT_SIZE];
    struct bz_data_key key;
    blaze_error detail;
    if (secret == NULL) /* that of one that was not made to the end; the base's making syncs */
        return remove_it(directory, error);
    int rc = bz_vault_create(vault, &key, secret, &detail);
    if (rc != 0)
        return at(directory, rc, &detail, error);
    rc = replace(directory, vault, error);
    if (rc == 0)
        *out = key;
    bz_wipe(&key, sizeof key);
    return rc;
}

static int refused(
    const char *directory, const struct bz_store_options *options, bool sealed, blaze_error *error)
{
    if (options->create)
        return bz_error_set(error, BLAZE_EEXIST, "%s: there is a database already, and %s",
            directory, sealed ? "it is sealed" : "it is not sealed");
    if (sealed)
        return bz_error_set(
            error, BLAZE_EAUTH, "%s: is sealed: give its passphrase or key file", directory);
    return bz_error_set(
        error, BLAZE_EINVAL, "%s: is not sealed: open it without a passphrase", directory);
}

int bz_keyfile_open(const char *directory, const struct bz_store_options *options,
    struct bz_data_key *out, bool *sealed, blaze_error *error)
{
    uint8_t vault[BZ_VAULT_SIZE_MAX + 1];
    blaze_error detail;
    size_t size = 0;
    int rc = read_whole(directory, vault, &size, &detail);
    if (rc == BLAZE_ENOTFOUND) {
        *sealed = false;
        return options->secret == NULL ? 0 : refused(directory, options, false, error);
    }
    if (rc != 0)
        return bz_error_set(error, rc, "%s", detail.text);
    if (options->secret == NULL)
        return refused(directory, options, true, error);
    rc = bz_vault_open(out, bz_bytes(vault, size), options->secret, &detail);
    if (rc == BLAZE_EAUTH && options->create)
        return refused(directory, options, true, error);
    if (rc != 0)
        return at(directory, rc, &detail, error);
    *sealed = true;
    return 0;
}

/* ---- changing ---- */

static int remove_leftover(void *directory, const char *name)
{
    char *path = bz_path_join(directory, name);
    if (path != NULL && strncmp(name, NEW_NAME, strlen(NEW_NAME)) == 0)
        bz_path_remove(path, NULL);
    bz_free(path);
    return 0;
}

/* What whoever changes the secret holds: nobody rewrites the store meanwhile, which would put a key
 * of the old data beside the new; and nobody else changes the secret, for the last of them would
 * undo what the first was told is done. */
struct hold {
    struct bz_file presence, key;
};

static int lock_key(struct hold *hold, blaze_error *error)
{
    int rc = bz_file_lock(&hold->key, true, false, NULL, NULL);
    if (rc == 0 && !bz_file_is_at(&hold->key, hold->key.path))
        rc = BLAZE_EBUSY; /* it was changed just now */
    return rc == 0
               ? 0
               : bz_error_set(error, rc, "%s: another changes it at this moment", hold->key.path);
}

static int hold_it(struct hold *hold, const char *directory, blaze_error *error)
{
    struct bz_file_mark mark;
    blaze_error detail;
    char *path = bz_path_join(directory, NAME);
    if (path == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = bz_path_mark(directory, &mark, error);
    if (rc == 0) {
        rc = bz_file_open(&hold->key, path, BZ_OPEN_WRITE, &detail);
        if (rc == BLAZE_ENOTFOUND)
            rc = bz_error_set(error, BLAZE_EINVAL,
                "%s: is not sealed: to seal it means to rewrite it", directory);
        else if (rc != 0)
            bz_error_set(error, rc, "%s", detail.text);
    }
    if (rc == 0)
        rc = bz_presence_take(&hold->presence, directory, &mark, false, false, error);
    bz_free(path);
    return rc == 0 ? lock_key(hold, error) : rc;
}

static int change(const char *directory, const struct bz_vault_secret *from,
    const struct bz_vault_secret *to, blaze_error *error)
{
    uint8_t vault[BZ_VAULT_SIZE_MAX + 1], changed[BZ_VAULT_SIZE];
    blaze_error detail;
    size_t size = 0;
    int rc = read_whole(directory, vault, &size, error);
    if (rc != 0)
        return rc;
    rc = bz_vault_change(changed, bz_bytes(vault, size), from, to, &detail);
    if (rc != 0)
        return at(directory, rc, &detail, error);
    rc = replace(directory, changed, error);
    if (rc == 0)
        bz_dir_list(directory, remove_leftover, (void *)(uintptr_t)directory, NULL);
    return rc;
}

int bz_store_change_secret(const char *path, const struct bz_vault_secret *from,
    const struct bz_vault_secret *to, blaze_error *error)
{
    struct hold hold = {{.fd = -1}, {.fd = -1}};
    if (!bz_path_is_dir(path))
        return bz_error_set(error, BLAZE_ENOTFOUND, "%s: no database there", path);
    int rc = hold_it(&hold, path, error);
    if (rc == 0)
        rc = change(path, from, to, error);
    bz_file_close(&hold.key);
    bz_file_close(&hold.presence);
    return rc;
}

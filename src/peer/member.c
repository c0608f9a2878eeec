/* SPDX-License-Identifier: Apache-2.0 */
#include "peer/member.h"

#include "peer/seal.h"

#include "os/os.h"

#include <stdio.h>

/* The names of the settings. */
static const char secret_setting[] = "sync.secret";
static const char access_setting[] = "sync.access";
static const char hub_setting[] = "sync.hub";

/* Reads a setting of 32 bytes. */
static int load_key(struct bz_db *db, const char *name, uint8_t out[32], blaze_error *error)
{
    struct bz_buf value;
    bz_buf_init(&value, 1024);
    int rc = bz_db_setting_get(db, name, &value, error);
    if (rc == 0 && value.size != 32)
        rc = bz_error_set(error, BLAZE_ECORRUPT, "the stored key has %zu bytes", value.size);
    else if (rc == 0)
        memcpy(out, value.data, 32);
    if (value.data != NULL)
        bz_wipe(value.data, value.size);
    bz_buf_release(&value);
    return rc;
}

int bz_member_secret(struct bz_db *db, struct bz_secret *out, blaze_error *error)
{
    int rc = load_key(db, secret_setting, out->bytes, error);
    return rc == BLAZE_ENOTFOUND ? bz_error_set(error, rc, "the database is not shared yet") : rc;
}

static int store_secret(struct bz_db *db, const struct bz_secret *secret, blaze_error *error)
{
    return bz_db_setting_put(
        db, secret_setting, bz_bytes(secret->bytes, sizeof secret->bytes), error);
}

int bz_member_ensure_secret(struct bz_db *db, struct bz_secret *out, blaze_error *error)
{
    struct bz_identity identity;
    bz_db_identity(db, &identity);
    if (identity.blind)
        return bz_error_set(error, BLAZE_EPERM,
            "this is a blind copy, without the secret: share the database from a member's copy");
    int rc = bz_member_secret(db, out, error);
    if (rc != BLAZE_ENOTFOUND)
        return rc;
    struct bz_secret secret;
    rc = bz_secret_new(&secret);
    if (rc != 0)
        return bz_error_set(error, rc, "the system gives no entropy for a secret");
    rc = store_secret(db, &secret, error);
    if (rc == 0)
        *out = secret;
    bz_wipe(&secret, sizeof secret);
    return rc;
}

/* BLAZE_ENOTFOUND if the database has none; BLAZE_EAUTH if it has another. */
static int compare_secret(struct bz_db *db, const struct bz_secret *secret, blaze_error *error)
{
    struct bz_secret present;
    int rc = bz_member_secret(db, &present, error);
    if (rc == 0 && !bz_secret_equal(&present, secret, sizeof present))
        rc = bz_error_set(error, BLAZE_EAUTH, "the database has another secret");
    bz_wipe(&present, sizeof present);
    return rc;
}

int bz_member_adopt_secret(struct bz_db *db, const struct bz_secret *secret, blaze_error *error)
{
    int rc = compare_secret(db, secret, error);
    return rc == BLAZE_ENOTFOUND ? store_secret(db, secret, error) : rc;
}

int bz_member_adopt_access(struct bz_db *db, const struct bz_key *access, blaze_error *error)
{
    struct bz_key present;
    int rc = load_key(db, access_setting, present.bytes, error);
    if (rc == BLAZE_ENOTFOUND)
        return bz_db_setting_put(
            db, access_setting, bz_bytes(access->bytes, sizeof access->bytes), error);
    if (rc == 0 && !bz_secret_equal(&present, access, sizeof present))
        rc = bz_error_set(error, BLAZE_EAUTH, "the database has another access key");
    bz_wipe(&present, sizeof present);
    return rc;
}

int bz_member_hub(struct bz_db *db, struct bz_buf *out, blaze_error *error)
{
    int rc = bz_db_setting_get(db, hub_setting, out, error);
    if (rc == BLAZE_ENOTFOUND)
        bz_error_set(error, rc, "the database knows no hub: share it first, or name one");
    return rc;
}

int bz_member_set_hub(struct bz_db *db, const char *url, blaze_error *error)
{
    return bz_db_setting_put(db, hub_setting, bz_bytes_text(url), error);
}

int bz_member_code(struct bz_db *db, const char *url, struct bz_buf *out, blaze_error *error)
{
    struct bz_join join;
    struct bz_identity identity;
    int size = snprintf(join.url, sizeof join.url, "%s", url);
    if (size < 0 || (size_t)size >= sizeof join.url)
        return bz_error_set(error, BLAZE_EINVAL, "%.60s...: the URL is too long", url);
    bz_db_identity(db, &identity);
    join.database = identity.database;
    int rc = bz_member_secret(db, &join.secret, error);
    if (rc == 0)
        rc = bz_join_format(out, &join, error);
    bz_wipe(&join, sizeof join);
    return rc;
}

int bz_member_join(struct bz_db *db, const struct bz_join *join, blaze_error *error)
{
    struct bz_identity identity;
    bz_db_identity(db, &identity);
    if (memcmp(&identity.database, &join->database, sizeof join->database) != 0) {
        char ours[BLAZE_ID_TEXT_SIZE];
        char theirs[BLAZE_ID_TEXT_SIZE];
        return bz_error_set(error, BLAZE_EDATABASE,
            "the join code is for database %s; this one is a copy of %s",
            blaze_id_format(&join->database, theirs), blaze_id_format(&identity.database, ours));
    }
    int rc = compare_secret(db, &join->secret, error);
    if (rc != 0 && rc != BLAZE_ENOTFOUND)
        return rc;
    struct bz_setting settings[] = {{hub_setting, bz_bytes_text(join->url)},
        {secret_setting, bz_bytes(join->secret.bytes, sizeof join->secret.bytes)}};
    return bz_db_settings_put(db, settings, rc == 0 ? 1 : 2, BZ_DURABLE_RELAXED, error);
}

/* ---- Keys ---- */

static int derive_all(
    struct bz_keys *keys, const struct bz_secret *secret, const blaze_id *database)
{
    int rc = bz_key_derive(&keys->access, secret, database, BZ_KEY_ACCESS);
    if (rc == 0)
        rc = bz_key_derive(&keys->member, secret, database, BZ_KEY_MEMBER);
    if (rc == 0)
        rc = bz_key_derive(&keys->content, secret, database, BZ_KEY_CONTENT);
    if (rc == 0)
        rc = bz_key_derive(&keys->name, secret, database, BZ_KEY_NAME);
    return rc;
}

int bz_keys_load(struct bz_db *db, struct bz_keys *out, blaze_error *error)
{
    struct bz_identity identity;
    struct bz_secret secret;
    struct bz_keys keys = {0};
    bz_db_identity(db, &identity);
    keys.blind = identity.blind;
    if (identity.blind) {
        int found = load_key(db, access_setting, keys.access.bytes, error);
        if (found == 0)
            *out = keys;
        bz_wipe(&keys, sizeof keys);
        return found;
    }
    int rc = bz_member_secret(db, &secret, error);
    if (rc != 0)
        return rc;
    rc = derive_all(&keys, &secret, &identity.database);
    if (rc == 0)
        *out = keys;
    else
        bz_error_code(error, rc);
    bz_wipe(&secret, sizeof secret);
    bz_wipe(&keys, sizeof keys);
    return rc;
}

static int auth_mac(void *context, bool member, struct bz_bytes transcript, uint8_t out[32])
{
    const struct bz_keys *keys = context;
    if (member && keys->blind)
        return BLAZE_ENOTFOUND;
    return bz_key_prove(out, member ? &keys->member : &keys->access, transcript);
}

static int auth_random(void *context, void *data, size_t size)
{
    (void)context;
    return bz_os_entropy(data, size);
}

struct bz_session_auth bz_keys_auth(struct bz_keys *keys)
{
    return (struct bz_session_auth){.mac = auth_mac,
        .random = auth_random,
        .seal = keys->blind ? NULL : &bz_seal_ops,
        .context = keys};
}

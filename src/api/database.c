/* SPDX-License-Identifier: Apache-2.0 */
#include "api_priv.h"
#include "base/alloc.h"

#include <inttypes.h>
#include <stdio.h>

void blaze_open_options_init(blaze_open_options *options)
{
    *options = (blaze_open_options){
        .size = sizeof *options,
        .warn_database_bytes = (uint64_t)40 << 30,
        .warn_log_bytes = (uint64_t)512 << 20,
        .warn_free_bytes = (uint64_t)256 << 20,
        .warn_free_percent = 5,
    };
    blaze_seal_init(&options->seal);
}

static int check_options(const blaze_open_options *options, blaze_error *error)
{
    if (options->size != sizeof *options)
        return bz_error_set(
            error, BLAZE_EINVAL, "set up blaze_open_options with blaze_open_options_init() first");
    if (options->create && options->read_only)
        return bz_error_set(error, BLAZE_EINVAL, "a database cannot be created read-only");
    if (options->role != BLAZE_CLIENT && options->role != BLAZE_SERVER)
        return bz_error_set(error, BLAZE_EINVAL, "a role is BLAZE_CLIENT or BLAZE_SERVER");
    if (options->warn_free_percent > 100)
        return bz_error_set(error, BLAZE_EINVAL, "warn_free_percent is at most 100");
    return BLAZE_OK;
}

/* What the layers below say of a file, said of the database. */
static int open_error(int code, bool create, const char *path, blaze_error *error)
{
    if (code == BLAZE_ENOTFOUND && !create)
        return bz_error_set(
            error, code, "no database at %.180s: create it with blaze_open_options.create", path);
    return code;
}

int bz_api_open(blaze_db **out, const char *path, const blaze_open_options *options,
    const blaze_id *database, blaze_error *error)
{
    int rc = check_options(options, error);
    if (rc != BLAZE_OK)
        return rc;
    if (path[0] == '\0')
        return bz_error_set(error, BLAZE_EINVAL, "the path of a database must not be empty");

    struct bz_api_secret secret;
    rc = bz_api_secret_init(&secret, &options->seal, error);
    if (rc != BLAZE_OK)
        return rc;
    if (secret.given && options->memory) {
        bz_api_secret_release(&secret);
        return bz_error_set(error, BLAZE_EINVAL, "a database in memory is not sealed");
    }
    blaze_db *db = bz_zalloc(sizeof *db);
    if (db == NULL) {
        bz_api_secret_release(&secret);
        return bz_error_code(error, BLAZE_ENOMEM);
    }
    db->durability = bz_api_durability(options->durability);
    db->read_only = options->read_only != 0;
    pthread_mutex_init(&db->lock, NULL);
    struct bz_db_options how = {
        .create = options->create != 0,
        .read_only = options->read_only != 0,
        .memory = options->memory != 0,
        .role = (uint8_t)options->role,
        .apply_durability = bz_api_durability(options->durability),
        .store.secret = secret.given ? &secret.secret : NULL,
        .store.allow_network = options->allow_network_fs != 0,
        .warn = {.database_bytes = options->warn_database_bytes,
            .log_bytes = options->warn_log_bytes,
            .free_bytes = options->warn_free_bytes,
            .free_percent = options->warn_free_percent},
    };
    if (database != NULL) {
        how.database = *database;
        how.unsynced = true;
    }
    rc = bz_db_open(&db->db, path, &how, error);
    bz_api_secret_release(&secret);
    if (rc != BLAZE_OK) {
        pthread_mutex_destroy(&db->lock);
        bz_free(db);
        return open_error(rc, how.create, path, error);
    }
    *out = db;
    return BLAZE_OK;
}

int blaze_open(
    blaze_db **out, const char *path, const blaze_open_options *options, blaze_error *error)
{
    blaze_open_options defaults;
    blaze_open_options_init(&defaults);
    if (out == NULL || path == NULL)
        return bz_api_null(error, out == NULL ? "out" : "the path");
    return bz_api_open(out, path, options != NULL ? options : &defaults, NULL, error);
}

int blaze_close(blaze_db *db, blaze_error *error)
{
    if (db == NULL)
        return BLAZE_OK;
    bz_api_links_close(db);
    int rc = bz_db_close(db->db, error);
    pthread_mutex_destroy(&db->lock);
    bz_free(db);
    return rc;
}

const char *blaze_damage(blaze_db *db)
{
    struct bz_store_stats stats;
    bz_store_stats(bz_db_store(db->db), &stats);
    return stats.damaged;
}

void blaze_database_id(blaze_db *db, blaze_id *out)
{
    struct bz_identity identity;
    bz_db_identity(db->db, &identity);
    *out = identity.database;
}

void blaze_node_id(blaze_db *db, blaze_id *out)
{
    struct bz_identity identity;
    bz_db_identity(db->db, &identity);
    *out = identity.node;
}

blaze_role blaze_database_role(blaze_db *db)
{
    struct bz_identity identity;
    bz_db_identity(db->db, &identity);
    return (blaze_role)identity.role;
}

int blaze_flush(blaze_db *db, blaze_error *error)
{
    if (db == NULL)
        return bz_api_null(error, "the database");
    return bz_store_sync(bz_db_store(db->db), error);
}

void bz_api_digest_text(struct bz_hash128 digest, char out[BLAZE_DIGEST_TEXT_SIZE])
{
    snprintf(out, BLAZE_DIGEST_TEXT_SIZE, "%016" PRIx64 "%016" PRIx64, digest.high, digest.low);
}

int blaze_digest(blaze_db *db, char out[BLAZE_DIGEST_TEXT_SIZE], blaze_error *error)
{
    if (db == NULL)
        return bz_api_null(error, "the database");
    struct bz_read *read;
    int rc = bz_read_begin(db->db, &read, error);
    if (rc != BLAZE_OK)
        return rc;
    struct bz_db_state state;
    rc = bz_read_state(read, &state, error);
    bz_read_end(read);
    if (rc != BLAZE_OK)
        return rc;
    bz_api_digest_text(state.digest, out);
    return BLAZE_OK;
}

int blaze_check(blaze_db *db, void (*each)(void *context, const char *problem), void *context,
    blaze_error *error)
{
    if (db == NULL)
        return bz_api_null(error, "the database");
    const char *damage = blaze_damage(db);
    if (damage != NULL && each != NULL)
        each(context, damage);
    int rc = bz_store_verify(bz_db_store(db->db), each, context, error);
    if (rc == BLAZE_OK)
        rc = bz_db_check(db->db, each, context, error);
    return rc == BLAZE_OK && damage != NULL ? bz_error_set(error, BLAZE_ECORRUPT, "%s", damage)
                                            : rc;
}

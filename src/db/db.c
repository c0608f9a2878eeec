/* SPDX-License-Identifier: Apache-2.0 */

/* Opening and closing a database, and the settings beside its data. */

#include "db/db_priv.h"

#include "base/alloc.h"

#include <assert.h>

#define SETTING_NAME_MAX 300u /* "policy/" and the name of a collection */

static uint64_t system_wall_ms(void *context)
{
    (void)context;
    return bz_os_wall_ms();
}

static int system_entropy(void *context, void *data, size_t size)
{
    (void)context;
    return bz_os_entropy(data, size);
}

/* ---- opening ---- */

static void db_free(struct bz_db *db)
{
    if (db == NULL)
        return;
    bz_watch_release(&db->watch);
    bz_settler_release(&db->settler);
    bz_reads_free(db);
    bz_txns_free(db->idle_txns);
    bz_catalog_free(db->catalog);
    pthread_cond_destroy(&db->settled);
    pthread_mutex_destroy(&db->lock);
    bz_free(db->path);
    bz_free(db);
}

static int db_new(struct bz_db **out, const char *path, const struct bz_db_options *options)
{
    struct bz_db *db = bz_zalloc(sizeof *db);
    if (db == NULL)
        return BLAZE_ENOMEM;
    db->read_only = options->read_only;
    db->apply_durability = options->apply_durability;
    db->wall_ms = options->wall_ms != NULL ? options->wall_ms : system_wall_ms;
    db->entropy = options->entropy != NULL ? options->entropy : system_entropy;
    db->context = options->context;
    db->boot = options->boot != 0 ? options->boot : bz_os_boot_id();
    db->mark = options->mark;
    db->health.thresholds = options->warn;
    pthread_mutex_init(&db->lock, NULL);
    pthread_cond_init(&db->settled, NULL);
    bz_watch_init(&db->watch);
    bz_settler_init(&db->settler);
    db->settler.by_hand = options->settles_by_hand;
    if (!options->memory) {
        size_t size = strlen(path) + 1;
        db->path = bz_malloc(size);
        if (db->path == NULL) {
            db_free(db);
            return BLAZE_ENOMEM;
        }
        memcpy(db->path, path, size);
    }
    *out = db;
    return 0;
}

static int open_store(
    struct bz_db *db, const char *path, const struct bz_db_options *options, blaze_error *error)
{
    struct bz_store_options store = options->store;
    store.maps = bz_map_names;
    store.map_count = BZ_MAP_COUNT;
    store.create = options->create;
    store.read_only = options->read_only;
    int rc = options->memory ? bz_store_open_memory(&db->store, &store, error)
                             : bz_store_open(&db->store, path, &store, error);
    if (rc == 0)
        bz_store_set_size_listener(db->store, bz_health_ask, db);
    return rc;
}

/* Ends the calls of the store first: they come to `db`. */
static int close_store(struct bz_db *db, blaze_error *error)
{
    struct bz_store *store = db->store;
    bz_store_set_size_listener(store, NULL, NULL);
    db_free(db);
    return bz_store_close(store, error);
}

/* Fills an empty store. */
static int create(
    struct bz_db *db, struct bz_txn *txn, const struct bz_db_options *options, blaze_error *error)
{
    struct bz_state state = {0};
    int rc = bz_catalog_load(&db->catalog, bz_txn_view(txn), 0, options->blind, error);
    if (rc == 0)
        rc = bz_identity_create(db, txn, options, error);
    if (rc == 0)
        rc = bz_catalog_add_node(db->catalog, &db->identity.node, &state.self, error);
    if (rc == 0)
        rc = bz_catalog_flush(db->catalog, txn, &state.generation, error);
    return rc != 0 ? rc : bz_state_store(txn, &state, error);
}

static int open_new(
    struct bz_db *db, const char *path, const struct bz_db_options *options, blaze_error *error)
{
    struct bz_txn *txn = NULL;
    bool copied = false;
    if (options->role > BZ_ROLE_SERVER)
        return bz_error_set(error, BLAZE_EINVAL, "%u is not a role", options->role);
    int rc = bz_txn_begin(db->store, &txn, error);
    if (rc != 0)
        return rc;
    rc = bz_identity_load(db, bz_txn_view(txn), &copied, error);
    if (rc == 0)
        rc = bz_error_set(error, BLAZE_EEXIST,
            "%s: there is a database already: open it without creating it", path);
    else if (rc == BLAZE_ENOTFOUND)
        rc = create(db, txn, options, error);
    if (rc != 0) {
        bz_txn_abort(txn);
        return rc;
    }
    rc = bz_txn_commit(txn, options->unsynced ? BZ_DURABLE_RELAXED : BZ_DURABLE_FULL, error);
    if (rc == 0)
        bz_catalog_committed(db->catalog);
    return rc;
}

/* Loads the catalog and finds this node in it. */
static int load(struct bz_db *db, struct bz_view *view, blaze_error *error)
{
    struct bz_state state;
    int rc = bz_state_load(view, &state, error);
    if (rc == 0)
        rc = bz_catalog_load(&db->catalog, view, state.generation, db->identity.blind, error);
    uint32_t self;
    if (rc == 0 &&
        (bz_catalog_node(db->catalog, &db->identity.node, &self) != 0 || self != state.self))
        rc = bz_error_set(error, BLAZE_ECORRUPT, "this node is not among the known ones");
    if (rc == 0)
        atomic_store(&db->position, state.position);
    return rc;
}

/* Gives a copied directory, or one that may have lost commits which others have seen, an identity
 * of its own, unless another process was faster. */
static int renew(struct bz_db *db, blaze_error *error)
{
    struct bz_txn *txn = NULL;
    struct bz_identity renewed;
    struct bz_state state;
    bool copied = false, lost = false;
    int rc = bz_txn_begin(db->store, &txn, error);
    if (rc != 0)
        return rc;
    rc = bz_identity_load(db, bz_txn_view(txn), &copied, error);
    if (rc == 0)
        rc = load(db, bz_txn_view(txn), error);
    if (rc == 0)
        rc = bz_loose_lost(db, bz_txn_view(txn), &lost, error);
    if (rc == 0 && (copied || lost)) {
        rc = bz_state_load(bz_txn_view(txn), &state, error);
        if (rc == 0)
            rc = bz_identity_renew(db, txn, copied, &state, &renewed, error);
        if (rc == 0)
            rc = bz_catalog_flush(db->catalog, txn, &state.generation, error);
        if (rc == 0)
            rc = bz_state_store(txn, &state, error);
    }
    if (rc != 0 || !(copied || lost)) {
        bz_txn_abort(txn);
        return rc;
    }
    rc = bz_txn_commit(txn, BZ_DURABLE_FULL, error);
    if (rc != 0)
        return rc;
    bz_catalog_committed(db->catalog);
    bz_identity_adopt(db, &renewed);
    return 0;
}

static int open_existing(struct bz_db *db, const char *path, blaze_error *error)
{
    struct bz_snapshot *snapshot = NULL;
    bool copied = false, lost = false;
    int rc = bz_snapshot_open(db->store, &snapshot, error);
    if (rc != 0)
        return rc;
    rc = bz_identity_load(db, bz_snapshot_view(snapshot), &copied, error);
    if (rc == BLAZE_ENOTFOUND)
        rc = bz_error_set(error, rc, "there is no database in %s", path);
    if (rc == 0)
        rc = bz_loose_lost(db, bz_snapshot_view(snapshot), &lost, error);
    bool other = (copied || lost) && !db->read_only;
    if (rc == 0 && !other)
        rc = load(db, bz_snapshot_view(snapshot), error);
    bz_snapshot_close(snapshot);
    return rc == 0 && other ? renew(db, error) : rc;
}

/* Where the store has lost what a database must have, that is why. */
static int open_error(struct bz_db *db, int rc, blaze_error *error)
{
    struct bz_store_stats stats;
    bz_store_stats(db->store, &stats);
    if (rc != BLAZE_ENOTFOUND || stats.damaged == NULL)
        return rc;
    return bz_error_set(error, BLAZE_ECORRUPT, "%s", stats.damaged);
}

int bz_db_open(
    struct bz_db **out, const char *path, const struct bz_db_options *options, blaze_error *error)
{
    struct bz_db *db = NULL;
    if (options->create && options->read_only)
        return bz_error_set(error, BLAZE_EINVAL, "a new database cannot be opened read-only");
    int rc = db_new(&db, path, options);
    if (rc != 0)
        return bz_error_code(error, rc);
    rc = open_store(db, path, options, error);
    if (rc == 0) {
        rc = options->create ? open_new(db, path, options, error) : open_existing(db, path, error);
        if (rc != 0) {
            rc = open_error(db, rc, error);
            close_store(db, NULL);
        }
    } else {
        db_free(db);
    }
    if (rc == 0)
        *out = db;
    return rc;
}

int bz_db_close(struct bz_db *db, blaze_error *error)
{
    bz_settler_stop(db);
    pthread_mutex_lock(&db->lock);
    assert(db->open == 0);
    pthread_mutex_unlock(&db->lock);
    bz_scope_close(db);
    bz_loose_end(db);
    return close_store(db, error);
}

int bz_db_readable(const struct bz_db *db, blaze_error *error)
{
    if (!db->identity.blind)
        return 0;
    return bz_error_set(error, BLAZE_EPERM,
        "this is a blind copy: it carries sealed records and cannot read them; use a member's copy "
        "(blazedb join makes one)");
}

void bz_db_identity(struct bz_db *db, struct bz_identity *out)
{
    pthread_mutex_lock(&db->lock);
    *out = db->identity;
    pthread_mutex_unlock(&db->lock);
}

struct bz_store *bz_db_store(struct bz_db *db)
{
    return db->store;
}

enum bz_durability bz_db_apply_durability(const struct bz_db *db)
{
    return db->apply_durability;
}

/* ---- settings ---- */

static int setting_key(struct bz_buf *out, const char *name, blaze_error *error)
{
    size_t size = strlen(name);
    if (size == 0 || size > SETTING_NAME_MAX)
        return bz_error_set(
            error, BLAZE_EINVAL, "a setting's name is 1 to %u bytes", SETTING_NAME_MAX);
    bz_buf_append(out, "setting/", 8);
    bz_buf_append(out, name, size);
    return out->error == 0 ? 0 : bz_error_code(error, out->error);
}

static int setting_store(
    struct bz_txn *txn, const char *name, struct bz_bytes value, blaze_error *error)
{
    struct bz_buf key;
    bz_buf_init(&key, BZ_STORE_KEY_MAX);
    int rc = setting_key(&key, name, error);
    if (rc == 0)
        rc = value.size == 0 ? bz_txn_delete(txn, BZ_MAP_META, bz_buf_bytes(&key), error)
                             : bz_txn_put(txn, BZ_MAP_META, bz_buf_bytes(&key), value, error);
    bz_buf_release(&key);
    return rc;
}

int bz_db_settings_put(struct bz_db *db, const struct bz_setting *settings, size_t count,
    enum bz_durability durability, blaze_error *error)
{
    struct bz_txn *txn = NULL;
    int rc = bz_txn_begin(db->store, &txn, error);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = setting_store(txn, settings[i].name, settings[i].value, error);
    if (rc == 0)
        return bz_txn_commit(txn, durability, error);
    bz_txn_abort(txn);
    return rc;
}

int bz_db_setting_put(struct bz_db *db, const char *name, struct bz_bytes value, blaze_error *error)
{
    struct bz_setting setting = {name, value};
    return bz_db_settings_put(db, &setting, 1, BZ_DURABLE_FULL, error);
}

int bz_db_setting_get(struct bz_db *db, const char *name, struct bz_buf *out, blaze_error *error)
{
    struct bz_snapshot *snapshot = NULL;
    struct bz_bytes value;
    struct bz_buf key;
    bz_buf_init(&key, BZ_STORE_KEY_MAX);
    int rc = setting_key(&key, name, error);
    if (rc == 0)
        rc = bz_snapshot_open(db->store, &snapshot, error);
    if (rc == 0) {
        rc =
            bz_view_get(bz_snapshot_view(snapshot), BZ_MAP_META, bz_buf_bytes(&key), &value, error);
        if (rc == 0) {
            bz_buf_append(out, value.data, value.size);
            rc = out->error == 0 ? 0 : bz_error_code(error, out->error);
        }
        bz_snapshot_close(snapshot);
    }
    bz_buf_release(&key);
    return rc;
}

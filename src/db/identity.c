/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Who this copy of the database is: the id that all copies share, the node id of this one, the
 * epoch of its change log, its role.
 *
 * Two copies must never write under one node id: their dots would be equal and their writes not. So
 * the directory holds a file `identity` whose inode and time of birth are noted in the database. A
 * copied directory has another file, is noticed at open, and becomes a node of its own: a new node
 * id, and a new epoch, since positions of its log no longer mean what peers know of the other's. It
 * keeps all that it has, the writes of the node that it was included. A directory that was only
 * renamed keeps its identity. What this cannot see, a whole file system put back to an older state,
 * shows when a peer has seen a write of this node that this copy never made (apply.c), or a
 * position of its log that this copy has not come to: then, too, it goes on as a node of its own,
 * and what it has lost comes back as any node's writes do.
 */

#include "db/db_priv.h"

#include "base/alloc.h"

#define FORMAT        1u
#define IDENTITY_FILE "identity"
#define VALUE_MAX     128u
#define BLIND         2u /* a bit beside the role */

static struct bz_bytes identity_key(void)
{
    return bz_bytes("database", 8);
}

int bz_db_random_id(struct bz_db *db, blaze_id *out, blaze_error *error)
{
    blaze_id id;
    int rc = db->entropy(db->context, id.bytes, sizeof id.bytes);
    if (rc != 0)
        return bz_error_set(error, rc, "no random bytes for a new id");
    id.bytes[6] = (uint8_t)((id.bytes[6] & 0x0f) | 0x40);
    id.bytes[8] = (uint8_t)((id.bytes[8] & 0x3f) | 0x80);
    *out = id;
    return 0;
}

static bool id_is_zero(const blaze_id *id)
{
    static const blaze_id zero;
    return memcmp(id, &zero, sizeof zero) == 0;
}

/* ---- the file ---- */

/* Finds the mark of the directory's identity file; all zero where there is none to have. */
static int mark_find(const struct bz_db *db, struct bz_file_mark *out, blaze_error *error)
{
    *out = (struct bz_file_mark){.inode = db->mark};
    if (db->path == NULL)
        return 0;
    *out = (struct bz_file_mark){0};
    char *path = bz_path_join(db->path, IDENTITY_FILE);
    if (path == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = bz_path_exists(path) ? bz_path_mark(path, out, error) : 0;
    bz_free(path);
    return rc;
}

void bz_db_remove(const char *path)
{
    char *identity = bz_path_join(path, IDENTITY_FILE);
    if (identity != NULL)
        bz_path_remove(identity, NULL);
    bz_free(identity);
    bz_store_remove(path);
    bz_path_remove(path, NULL);
}

/* What the file says; its last line is read again (bz_db_peek_blind). */
static const char *const mark_texts[] = {
    "This file tells the database from a copy of it. Keep it.\nkind: readable\n",
    "This file tells the database from a copy of it. Keep it.\nkind: blind\n",
};
#define MARK_TEXT_MAX 128u

/* Makes the file anew, so that its mark is one that no other copy has. The names in a directory
 * that is new itself are made durable by the first commit (store/sync.c). */
static int mark_make(
    const char *directory, bool blind, bool fresh, struct bz_file_mark *out, blaze_error *error)
{
    const char *text = mark_texts[blind];
    struct bz_file file = {.fd = -1};
    char *path = bz_path_join(directory, IDENTITY_FILE);
    if (path == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = bz_path_exists(path) ? bz_path_remove(path, error) : 0;
    if (rc == 0)
        rc = bz_file_open(&file, path, BZ_OPEN_WRITE | BZ_OPEN_CREATE, error);
    if (rc == 0)
        rc = bz_file_write(&file, 0, text, strlen(text), error);
    if (rc == 0)
        rc = bz_file_sync(&file, error);
    if (rc == 0 && !fresh)
        rc = bz_dir_sync(directory, error);
    if (rc == 0)
        rc = bz_path_mark(path, out, error);
    bz_file_close(&file);
    bz_free(path);
    return rc;
}

int bz_db_peek_blind(const char *path, bool *blind, blaze_error *error)
{
    struct bz_file file = {.fd = -1};
    char text[MARK_TEXT_MAX];
    size_t size = 0;
    char *name = bz_path_join(path, IDENTITY_FILE);
    if (name == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = bz_file_open(&file, name, 0, error);
    if (rc == 0)
        rc = bz_file_read(&file, 0, text, sizeof text, &size, error);
    bz_file_close(&file);
    bz_free(name);
    if (rc != 0)
        return rc;
    for (int kind = 0; kind < 2; kind++) {
        if (size == strlen(mark_texts[kind]) && memcmp(text, mark_texts[kind], size) == 0) {
            *blind = kind == 1;
            return 0;
        }
    }
    return bz_error_set(error, BLAZE_ENOTFOUND, "%s does not say what kind of copy it is", path);
}

/* The same for this database. Without a directory it is told its mark. */
static int mark_renew(
    const struct bz_db *db, bool fresh, struct bz_file_mark *out, blaze_error *error)
{
    *out = (struct bz_file_mark){.inode = db->mark};
    return db->path == NULL ? 0 : mark_make(db->path, db->identity.blind, fresh, out, error);
}

/* The directory is the same, only the node is another: its file stays. A new one, if the commit
 * that notes it then failed, would make the directory look like a copied one. */
static int mark_keep(const struct bz_db *db, struct bz_file_mark *out, blaze_error *error)
{
    int rc = mark_find(db, out, error);
    return rc != 0 || out->inode != 0 ? rc : mark_renew(db, false, out, error);
}

/* Device numbers change between boots on some file systems, so the time of birth decides together
 * with the inode, and the device only where no such time is kept. */
static bool mark_equal(const struct bz_file_mark *a, const struct bz_file_mark *b)
{
    if (a->inode != b->inode || a->birth_ns != b->birth_ns)
        return false;
    return a->birth_ns != 0 || a->device == b->device;
}

/* ---- the value ---- */

static int identity_store(struct bz_txn *txn, const struct bz_identity *identity,
    const struct bz_file_mark *mark, blaze_error *error)
{
    uint8_t value[VALUE_MAX];
    uint8_t *p = value;
    *p++ = FORMAT;
    *p++ = (uint8_t)(identity->role | (identity->blind ? BLIND : 0));
    const blaze_id *ids[] = {&identity->database, &identity->node, &identity->epoch};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++, p += sizeof(blaze_id))
        memcpy(p, ids[i], sizeof(blaze_id));
    bz_store64le(p, mark->device);
    bz_store64le(p + 8, mark->inode);
    bz_store64le(p + 16, mark->birth_ns);
    p += 24;
    return bz_txn_put(
        txn, BZ_MAP_META, identity_key(), bz_bytes(value, (size_t)(p - value)), error);
}

static int identity_decode(
    struct bz_bytes value, struct bz_identity *out, struct bz_file_mark *mark, blaze_error *error)
{
    struct bz_reader r = bz_reader(value);
    struct bz_identity identity = {0};
    uint8_t format = bz_read8(&r);
    if (r.ok && format != FORMAT)
        return bz_error_set(error, BLAZE_EVERSION,
            "the database is of format %u, and this version reads format %u", format, FORMAT);
    uint8_t role = bz_read8(&r);
    identity.blind = (role & BLIND) != 0;
    identity.role = role & (uint8_t)~BLIND;
    blaze_id *ids[] = {&identity.database, &identity.node, &identity.epoch};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        bz_read_into(&r, ids[i], sizeof *ids[i]);
    mark->device = bz_read64le(&r);
    mark->inode = bz_read64le(&r);
    mark->birth_ns = bz_read64le(&r);
    if (!r.ok || bz_reader_left(&r) != 0 || identity.role > BZ_ROLE_SERVER)
        return bz_error_set(error, BLAZE_ECORRUPT, "the identity of the database is corrupt");
    *out = identity;
    return 0;
}

int bz_identity_create(
    struct bz_db *db, struct bz_txn *txn, const struct bz_db_options *options, blaze_error *error)
{
    struct bz_file_mark mark;
    db->identity = (struct bz_identity){
        .database = options->database, .role = options->role, .blind = options->blind};
    int rc = 0;
    if (id_is_zero(&options->database))
        rc = bz_db_random_id(db, &db->identity.database, error);
    if (rc == 0)
        rc = bz_db_random_id(db, &db->identity.node, error);
    if (rc == 0)
        rc = bz_db_random_id(db, &db->identity.epoch, error);
    if (rc == 0)
        rc = mark_renew(db, true, &mark, error);
    return rc != 0 ? rc : identity_store(txn, &db->identity, &mark, error);
}

int bz_identity_load(struct bz_db *db, struct bz_view *view, bool *copied, blaze_error *error)
{
    struct bz_bytes value;
    struct bz_file_mark noted, found;
    struct bz_identity identity;
    int rc = bz_view_get(view, BZ_MAP_META, identity_key(), &value, error);
    if (rc == 0)
        rc = identity_decode(value, &identity, &noted, error);
    if (rc == 0)
        rc = mark_find(db, &found, error);
    if (rc != 0)
        return rc;
    db->identity = identity;
    *copied = !mark_equal(&noted, &found) && !BZ_MUTANT(COPY_UNNOTICED);
    return 0;
}

int bz_identity_move(const char *directory, struct bz_txn *txn, blaze_error *error)
{
    struct bz_bytes value;
    struct bz_file_mark mark;
    struct bz_identity identity;
    int rc = bz_view_get(bz_txn_view(txn), BZ_MAP_META, identity_key(), &value, error);
    if (rc == 0)
        rc = identity_decode(value, &identity, &mark, error);
    if (rc == 0)
        rc = mark_make(directory, identity.blind, false, &mark, error);
    return rc != 0 ? rc : identity_store(txn, &identity, &mark, error);
}

int bz_identity_renew(struct bz_db *db, struct bz_txn *txn, bool copied, struct bz_state *state,
    struct bz_identity *renewed, blaze_error *error)
{
    struct bz_identity identity = db->identity;
    struct bz_file_mark mark;
    bool gave = false;
    int rc = bz_scope_renew(db, txn, state->position, &gave, error);
    /* The writes of the node that this was are all here, unless some were let go of. */
    if (rc == 0 && state->seq > 0)
        rc = gave ? bz_untold_note(db, txn, error)
                  : bz_version_store(txn, state->self, state->seq, error);
    if (rc == 0)
        rc = bz_coverage_note(db, txn, &identity.node, !copied, error);
    if (rc == 0)
        rc = bz_db_random_id(db, &identity.node, error);
    if (rc == 0)
        rc = bz_db_random_id(db, &identity.epoch, error);
    if (rc == 0)
        rc = bz_openings_renew(db, txn, state->position, error);
    if (rc == 0)
        rc = bz_catalog_add_node(db->catalog, &identity.node, &state->self, error);
    if (rc == 0)
        rc = copied ? mark_renew(db, false, &mark, error) : mark_keep(db, &mark, error);
    if (rc == 0)
        rc = identity_store(txn, &identity, &mark, error);
    state->seq = 0;
    state->loose = false;
    *renewed = identity;
    return rc;
}

void bz_identity_adopt(struct bz_db *db, const struct bz_identity *identity)
{
    pthread_mutex_lock(&db->lock);
    db->identity.node = identity->node;
    db->identity.epoch = identity->epoch;
    pthread_mutex_unlock(&db->lock);
}

int bz_identity_refresh(struct bz_db *db, struct bz_view *view, blaze_error *error)
{
    struct bz_bytes value;
    struct bz_file_mark mark;
    struct bz_identity identity;
    int rc = bz_view_get(view, BZ_MAP_META, identity_key(), &value, error);
    if (rc == 0)
        rc = identity_decode(value, &identity, &mark, error);
    if (rc != 0)
        return rc;
    db->identity.node = identity.node;
    db->identity.epoch = identity.epoch;
    return 0;
}

/* What is claimed to be here of the writes of the node that this was. Without a trail it may be too
 * much, and a partial copy may have let go of them: then nothing, until somebody says it, and what
 * is here lies beyond the version vector. */
static int claim_former(struct bz_db_txn *txn, const struct bz_fork *fork,
    const struct bz_trail *trail, blaze_error *error)
{
    bool part = false;
    int rc = bz_scope_is_set(txn->view, &part, error);
    if (rc != 0)
        return rc;
    if (!part && trail != NULL && trail->count > 0 && fork->seq > 0)
        return bz_version_store(txn->txn, fork->node, fork->seq, error);
    struct bz_dot last = {fork->node, fork->last_seq};
    struct bz_vv written = {&last, fork->last_seq > 0};
    rc = bz_beyond_raise(txn->db, txn->txn, &txn->arena, &written, error);
    return rc == 0 ? bz_version_erase(txn->txn, fork->node, error) : rc;
}

/* `reissues`: what it has written beside the one that the peer knows. */
static int become_another(struct bz_db_txn *txn, const struct bz_trail *trail, bool reissues,
    struct bz_identity *renewed, blaze_error *error)
{
    struct bz_db *db = txn->db;
    struct bz_fork fork;
    int rc = reissues ? bz_opening_fork(txn, trail, &fork, error) : 0;
    if (rc == 0)
        rc = bz_identity_renew(db, txn->txn, false, &txn->state, renewed, error);
    if (rc != 0 || !reissues)
        return rc;
    rc = claim_former(txn, &fork, trail, error);
    /* Peers did not give us what the former node had given them, before it was put back or after
     * it; they do now, as what another wrote. */
    if (rc == 0 && !BZ_MUTANT(LOGS_NOT_REREAD))
        rc = bz_peers_void(txn->txn, false, error);
    return rc != 0 ? rc : bz_opening_reissue(txn, &fork, error);
}

static int renew_if(struct bz_db *db, const blaze_id *former, const struct bz_trail *trail,
    bool reissues, blaze_error *error)
{
    struct bz_db_txn *txn = NULL;
    struct bz_identity renewed;
    int rc = bz_db_begin(db, &txn, error);
    if (rc != 0)
        return rc;
    blaze_id present;
    rc = bz_catalog_node_id(db->catalog, txn->state.self, &present);
    if (rc != 0 || memcmp(&present, former, sizeof present) != 0) {
        bz_db_abort(txn);
        return rc;
    }
    rc = become_another(txn, trail, reissues, &renewed, error);
    if (rc != 0) {
        bz_db_abort(txn);
        return rc;
    }
    txn->changed = true;
    rc = bz_db_commit(txn, BZ_DURABLE_FULL, error);
    if (rc == 0)
        bz_identity_adopt(db, &renewed);
    return rc;
}

int bz_identity_outlived(
    struct bz_db *db, const blaze_id *former, const struct bz_trail *trail, blaze_error *error)
{
    return renew_if(db, former, trail, true, error);
}

int bz_identity_outgrown(struct bz_db *db, const blaze_id *former, blaze_error *error)
{
    return renew_if(db, former, NULL, false, error);
}

int bz_txn_check_seen(struct bz_db_txn *txn, struct bz_dot seen, blaze_error *error)
{
    if (seen.node != txn->state.self || seen.seq <= txn->state.seq)
        return 0;
    txn->outlived = true;
    return bz_error_set(error, BLAZE_ECLOSED,
        "a peer has seen writes of this node that this copy does not have, since it was put back "
        "to an older state: it goes on as another node, and fetches them with the next connection");
}

void bz_txn_abort_outlived(struct bz_db_txn *txn)
{
    struct bz_db *db = txn->db;
    blaze_id former;
    bool outlived = txn->outlived && !BZ_MUTANT(OUTLIVED_UNNOTICED) &&
                    bz_catalog_node_id(db->catalog, txn->state.self, &former) == 0;
    bz_db_abort(txn);
    if (outlived)
        bz_identity_outlived(db, &former, NULL, NULL);
}

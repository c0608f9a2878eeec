/* SPDX-License-Identifier: Apache-2.0 */

/*
 * When this copy may show something else than another with the same version vector, though nothing
 * is wrong, so that their digests are not to be compared:
 *
 *   beyond     it holds writes that its version vector does not cover: what a peer has sent of a
 *              walk whose head has not come yet, or whose own vector did not cover it either.
 *              Noted are their greatest dots, until the version vector includes them; or, since
 *              that peer may never come back, for a day from when there were more of them
 *   compared   it has let go of records that a peer has no trace of (reconcile.c): until the
 *              version vector includes what that peer had
 *   untold     a record changed here though no version vector says so (collect.c), or a copy of
 *              a part became another node, some of whose former writes may be claimed by nobody:
 *              for a day, in which that should have got about
 *   illegible  records were left out (illegible.c): until they are here
 */

#include "db/db_priv.h"

#define RECENT_MS (24ull * 3600000)
#define VALUE_MAX (1u << 20)

static struct bz_bytes beyond_key(void)
{
    return bz_bytes("beyond", 6);
}

static struct bz_bytes compared_key(void)
{
    return bz_bytes("compared", 8);
}

static struct bz_bytes untold_key(void)
{
    return bz_bytes("untold", 6);
}

/* Within a day, either way: a clock that has been put back further tells nothing of when. */
static bool is_recent(uint64_t now, uint64_t ms)
{
    return (now < ms ? ms - now : now - ms) < RECENT_MS;
}

/* ---- greatest dots, and when they became so ---- */

struct dots {
    uint64_t ms;
    struct bz_vv vv;
};

static int load(struct bz_view *view, struct bz_bytes key, struct bz_arena *arena, struct dots *out,
    blaze_error *error)
{
    struct bz_bytes value;
    *out = (struct dots){0};
    int rc = bz_view_get(view, BZ_MAP_META, key, &value, error);
    if (rc != 0)
        return rc == BLAZE_ENOTFOUND ? 0 : rc;
    struct bz_reader r = bz_reader(value);
    out->ms = bz_read64le(&r);
    rc = bz_vv_read(&r, arena, &out->vv);
    if (rc == BLAZE_ENOMEM)
        return bz_error_code(error, rc);
    return rc == 0 && r.ok && bz_reader_left(&r) == 0
               ? 0
               : bz_error_set(error, BLAZE_ECORRUPT, "greatest dots are corrupt");
}

static int store(struct bz_db *db, struct bz_txn *txn, struct bz_bytes key, const struct bz_vv *vv,
    blaze_error *error)
{
    struct bz_buf value;
    bz_buf_init(&value, VALUE_MAX);
    bz_buf_append64le(&value, db->wall_ms(db->context));
    bz_vv_append(&value, vv);
    int rc = value.error != 0 ? bz_error_code(error, value.error)
                              : bz_txn_put(txn, BZ_MAP_META, key, bz_buf_bytes(&value), error);
    bz_buf_release(&value);
    return rc;
}

static int raise_to(struct bz_db *db, struct bz_txn *txn, struct bz_arena *arena,
    struct bz_bytes key, const struct bz_vv *vv, blaze_error *error)
{
    struct dots dots;
    int rc = load(bz_txn_view(txn), key, arena, &dots, error);
    if (rc != 0 || bz_vv_includes(&dots.vv, vv))
        return rc;
    rc = bz_vv_max(arena, &dots.vv, vv, &dots.vv);
    return rc != 0 ? bz_error_code(error, rc) : store(db, txn, key, &dots.vv, error);
}

static int drop_covered(struct bz_db_txn *txn, struct bz_bytes key, const struct bz_vv *own,
    bool *dropped, blaze_error *error)
{
    struct dots dots;
    int rc = load(txn->view, key, &txn->arena, &dots, error);
    if (rc != 0 || dots.vv.count == 0 || !bz_vv_includes(own, &dots.vv))
        return rc;
    *dropped = txn->changed = true;
    return bz_txn_delete(txn->txn, BZ_MAP_META, key, error);
}

/* ---- noting ---- */

int bz_beyond_raise(struct bz_db *db, struct bz_txn *txn, struct bz_arena *arena,
    const struct bz_vv *vv, blaze_error *error)
{
    return raise_to(db, txn, arena, beyond_key(), vv, error);
}

int bz_compared_raise(struct bz_db_txn *txn, const struct bz_vv *vv, blaze_error *error)
{
    txn->changed = true;
    return raise_to(txn->db, txn->txn, &txn->arena, compared_key(), vv, error);
}

int bz_untold_note(struct bz_db *db, struct bz_txn *txn, blaze_error *error)
{
    return bz_meta_note_now(db, txn, untold_key(), error);
}

int bz_beyond_covered(
    struct bz_db_txn *txn, const struct bz_vv *own, bool *compared, blaze_error *error)
{
    bool beyond = false;
    int rc = drop_covered(txn, beyond_key(), own, &beyond, error);
    return rc != 0 ? rc : drop_covered(txn, compared_key(), own, compared, error);
}

/* ---- asking ---- */

int bz_compared_is(struct bz_view *view, bool *out, blaze_error *error)
{
    return bz_meta_is_there(view, compared_key(), out, error);
}

static int is_untold(struct bz_view *view, uint64_t now, bool *out, blaze_error *error)
{
    struct bz_bytes value;
    int rc = bz_view_get(view, BZ_MAP_META, untold_key(), &value, error);
    *out = rc == 0 && (value.size != 8 || is_recent(now, bz_load64le(value.data)));
    return rc == BLAZE_ENOTFOUND ? 0 : rc;
}

static int load_whether(struct bz_view *view, struct bz_bytes key, struct bz_arena *arena,
    uint64_t now, bool patient, bool *out, blaze_error *error)
{
    struct dots dots;
    int rc = load(view, key, arena, &dots, error);
    *out = rc == 0 && dots.vv.count > 0 && (patient || is_recent(now, dots.ms));
    return rc;
}

int bz_beyond_is(struct bz_db *db, struct bz_view *view, struct bz_arena *arena, bool patient,
    bool *out, blaze_error *error)
{
    uint64_t now = db->wall_ms(db->context);
    bool beyond = false, compared = false, untold = false, illegible = false;
    int rc = load_whether(view, beyond_key(), arena, now, patient, &beyond, error);
    if (rc == 0)
        rc = load_whether(view, compared_key(), arena, now, patient, &compared, error);
    if (rc == 0)
        rc = is_untold(view, now, &untold, error);
    if (rc == 0)
        rc = bz_illegible_any(view, &illegible, error);
    if (rc == 0)
        *out = beyond || compared || untold || illegible;
    return rc;
}

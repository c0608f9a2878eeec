/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What is noted of records that are here no more, though not collected: what they had seen.
 *
 *   in meta, by key; KEY is that of a record:
 *   gone/KEY  the states in which a partial replica found it out of scope, none of them covered by
 *             another (G3 in scoped.c)
 *   left/KEY  one state: in which it went with writes of ours (G5 in scoped.c), or in which a
 *             comparison took it away (reconcile.c)
 */

#include "db/db_priv.h"

#define PREFIX_SIZE   5u
#define KEY_SIZE      (PREFIX_SIZE + BZ_RECORD_KEY_SIZE)
#define GONE_A_COMMIT 4096u /* notes that one commit looks at */

static const char gone_prefix[PREFIX_SIZE] = {'g', 'o', 'n', 'e', '/'};
static const char left_prefix[PREFIX_SIZE] = {'l', 'e', 'f', 't', '/'};

static struct bz_bytes note_key(
    uint8_t out[KEY_SIZE], const char prefix[PREFIX_SIZE], uint32_t collection, const blaze_id *id)
{
    memcpy(out, prefix, PREFIX_SIZE);
    bz_record_key(out + PREFIX_SIZE, collection, id);
    return bz_bytes(out, KEY_SIZE);
}

/* Takes the next state off a note; BLAZE_END after the last. */
static int note_next(
    struct bz_reader *r, struct bz_arena *arena, struct bz_vv *out, blaze_error *error)
{
    if (r->ok && bz_reader_left(r) == 0)
        return BLAZE_END;
    int rc = bz_vv_read(r, arena, out);
    if (rc == BLAZE_ECORRUPT)
        return bz_error_set(error, rc, "a note of what has gone is corrupt");
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

/* What is noted of a record, to be read by note_next(). */
static int note_load(struct bz_view *view, const char prefix[PREFIX_SIZE], uint32_t collection,
    const blaze_id *id, struct bz_reader *out, blaze_error *error)
{
    uint8_t key[KEY_SIZE];
    struct bz_bytes value;
    int rc = bz_view_get(view, BZ_MAP_META, note_key(key, prefix, collection, id), &value, error);
    *out = bz_reader(rc == 0 ? value : bz_bytes(NULL, 0));
    return rc == BLAZE_ENOTFOUND ? 0 : rc;
}

static int note_store(struct bz_txn *txn, const char prefix[PREFIX_SIZE], uint32_t collection,
    const blaze_id *id, const struct bz_buf *value, blaze_error *error)
{
    uint8_t key[KEY_SIZE];
    return value->error != 0 ? bz_error_code(error, value->error)
                             : bz_txn_put(txn, BZ_MAP_META, note_key(key, prefix, collection, id),
                                   bz_buf_bytes(value), error);
}

/* ---- walks ---- */

/* A walk over notes that takes them away. */
struct taking {
    struct bz_txn *store;
    struct bz_db_txn *covers; /* NULL, or only those go that its version vector covers */
    struct bz_vector *sum;    /* NULL, or of each that goes the first state is added to it */
    uint32_t left;            /* so many are looked at yet */
    struct bz_arena arena;
    blaze_error *error;
};

/* Whether our version vector covers all states of a note. */
static int note_covered(struct taking *t, struct bz_bytes value, bool *out)
{
    struct bz_reader noted = bz_reader(value);
    struct bz_vv state;
    int rc = 0;
    *out = true;
    while (*out && rc == 0 && (rc = note_next(&noted, &t->arena, &state, t->error)) == 0)
        rc = bz_shown_covers(t->covers, &state, out, t->error);
    return rc == BLAZE_END ? 0 : rc;
}

static int note_add(struct taking *t, struct bz_bytes value)
{
    struct bz_reader noted = bz_reader(value);
    struct bz_vv state = {0};
    int rc = note_next(&noted, &t->arena, &state, t->error);
    if (rc != 0)
        return rc == BLAZE_END ? 0 : rc;
    rc = bz_vector_raise_all(t->sum, &state);
    return rc == 0 ? 0 : bz_error_code(t->error, rc);
}

static int take(void *context, struct bz_bytes key, struct bz_bytes value)
{
    struct taking *t = context;
    uint8_t bytes[KEY_SIZE];
    bool go = true;
    int rc = 0;
    if (key.size != sizeof bytes || t->left == 0)
        return BLAZE_END;
    t->left--;
    memcpy(bytes, key.data, sizeof bytes);
    bz_arena_reset(&t->arena);
    if (t->covers != NULL)
        rc = note_covered(t, value, &go);
    if (rc == 0 && go && t->sum != NULL)
        rc = note_add(t, value);
    return rc == 0 && go
               ? bz_txn_delete(t->store, BZ_MAP_META, bz_bytes(bytes, sizeof bytes), t->error)
               : rc;
}

static int notes_take(const char prefix[PREFIX_SIZE], struct taking *t)
{
    bz_arena_init(&t->arena);
    int rc = bz_meta_each(bz_txn_view(t->store), bz_bytes(prefix, PREFIX_SIZE), take, t, t->error);
    bz_arena_release(&t->arena);
    return rc;
}

/* ---- what has gone ---- */

int bz_shown_covers(struct bz_db_txn *txn, const struct bz_vv *rvv, bool *out, blaze_error *error)
{
    *out = true;
    for (uint32_t i = 0; *out && i < rvv->count; i++) {
        struct bz_dot entry = rvv->entries[i];
        uint64_t seq = 0;
        int rc =
            entry.node == txn->state.self ? 0 : bz_version_load(txn->view, entry.node, &seq, error);
        if (rc != 0)
            return rc;
        *out = seq >= entry.seq;
    }
    return 0;
}

int bz_gone_note(struct bz_db_txn *txn, uint32_t collection, const blaze_id *id,
    const struct bz_vv *rvv, blaze_error *error)
{
    struct bz_reader noted;
    struct bz_vv state;
    struct bz_arena arena;
    struct bz_buf value;
    bool known = false;
    int rc = bz_shown_covers(txn, rvv, &known, error);
    if (rc != 0 || known)
        return rc;
    bz_arena_init(&arena);
    bz_buf_init(&value, BZ_STORE_VALUE_MAX);
    bz_vv_append(&value, rvv);
    rc = note_load(txn->view, gone_prefix, collection, id, &noted, error);
    while (rc == 0 && (rc = note_next(&noted, &arena, &state, error)) == 0) {
        known |= bz_vv_includes(&state, rvv);
        if (!bz_vv_includes(rvv, &state))
            bz_vv_append(&value, &state);
    }
    rc = rc == BLAZE_END ? 0 : rc;
    if (rc == 0 && !known)
        rc = note_store(txn->txn, gone_prefix, collection, id, &value, error);
    txn->changed |= rc == 0 && !known;
    bz_buf_release(&value);
    bz_arena_release(&arena);
    return rc;
}

int bz_gone_since(struct bz_view *view, struct bz_arena *arena, uint32_t collection,
    const blaze_id *id, const struct bz_vv *rvv, bool untold, bool *out, blaze_error *error)
{
    struct bz_reader noted;
    struct bz_vv state;
    int rc = note_load(view, gone_prefix, collection, id, &noted, error);
    *out = false;
    while (rc == 0 && !*out && (rc = note_next(&noted, arena, &state, error)) == 0)
        *out = bz_vv_includes(&state, rvv) && !(untold && bz_vv_includes(rvv, &state));
    return rc == BLAZE_END ? 0 : rc;
}

int bz_gone_prune(struct bz_db_txn *txn, blaze_error *error)
{
    struct taking t = {.store = txn->txn, .covers = txn, .left = GONE_A_COMMIT, .error = error};
    return notes_take(gone_prefix, &t);
}

int bz_gone_clear(struct bz_txn *txn, blaze_error *error)
{
    struct taking t = {.store = txn, .left = UINT32_MAX, .error = error};
    return notes_take(gone_prefix, &t);
}

/* ---- what has gone with writes of ours, or was taken away ---- */

struct bz_bytes bz_left_prefix(void)
{
    return bz_bytes(left_prefix, sizeof left_prefix);
}

int bz_left_load(struct bz_view *view, struct bz_arena *arena, uint32_t collection,
    const blaze_id *id, struct bz_vv *out, blaze_error *error)
{
    struct bz_reader noted;
    *out = (struct bz_vv){0};
    int rc = note_load(view, left_prefix, collection, id, &noted, error);
    if (rc == 0)
        rc = note_next(&noted, arena, out, error);
    return rc == BLAZE_END ? 0 : rc;
}

int bz_left_note(struct bz_db_txn *txn, uint32_t collection, const blaze_id *id,
    const struct bz_vv *rvv, blaze_error *error)
{
    struct bz_buf value;
    bz_buf_init(&value, BZ_STORE_VALUE_MAX);
    bz_vv_append(&value, rvv);
    int rc = note_store(txn->txn, left_prefix, collection, id, &value, error);
    bz_buf_release(&value);
    return rc;
}

int bz_left_erase(
    struct bz_db_txn *txn, uint32_t collection, const blaze_id *id, blaze_error *error)
{
    uint8_t key[KEY_SIZE];
    return bz_txn_delete(txn->txn, BZ_MAP_META, note_key(key, left_prefix, collection, id), error);
}

int bz_left_clear(struct bz_txn *txn, blaze_error *error)
{
    struct taking t = {.store = txn, .left = UINT32_MAX, .error = error};
    return notes_take(left_prefix, &t);
}

int bz_left_collect(struct bz_db_txn *txn, blaze_error *error)
{
    struct bz_vector seen = {0};
    struct taking t = {.store = txn->txn, .sum = &seen, .left = UINT32_MAX, .error = error};
    int rc = notes_take(left_prefix, &t);
    if (rc == 0 && seen.vv.count > 0)
        rc = bz_purged_raise(txn, &seen.vv, txn->state.stamp, 0, error);
    bz_vector_release(&seen);
    return rc;
}

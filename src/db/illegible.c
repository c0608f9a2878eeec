/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Records that came through a blind peer and that nobody can read as a member has sealed them.
 *
 * Such a record is left out, so that it holds up nobody, and noted: where it stands, all that it
 * had seen, and the greatest dots of its illegible writes. From then on
 *
 *   - by the head of a blind peer our version vector does not go further at the nodes of which the
 *     record had seen more than we have (apply.c), so that nothing is claimed that is not here, and
 *     whoever has it sends it. What one claims who can read is all here with his head;
 *   - no head of a blind peer counts as reached: it would leave out what it believes to be here;
 *   - digests are not compared (beyond.c).
 *
 * The cursor moves on. In case that the peer is mended, its log is read from the start once more a
 * day after the first note, and then daily, whenever it is met.
 *
 * A note goes when the record is here with all that had been seen, wherever that came from: when
 * someone has written it anew, or a peer has it in clear. All go when our version vector covers
 * what they had seen. Whoever writes the record whole here replaces what could not be read as if he
 * had read it; nobody else ever could.
 *
 *   in meta, by key:
 *   illegible/KEY  KEY is that of a record; a byte of flags; what the record had seen; its
 *                  illegible dots
 *   illegible      how many there are; when they were last asked for; of what they all had seen the
 *                  greatest dots, which stay until the last one goes
 */

#include "db/db_priv.h"

#define AGAIN_MS    (24ull * 3600000)
#define VALUE_MAX   (4u << 20)
#define PREFIX      "illegible/"
#define PREFIX_SIZE (sizeof PREFIX - 1)
#define KEY_SIZE    (PREFIX_SIZE + BZ_RECORD_KEY_SIZE)

enum { NOTE_FORGED = 1 };

struct note {
    bool forged;
    struct bz_vv seen, dots;
};

static struct bz_bytes note_key(uint8_t out[KEY_SIZE], uint32_t collection, const blaze_id *id)
{
    memcpy(out, PREFIX, PREFIX_SIZE);
    bz_record_key(out + PREFIX_SIZE, collection, id);
    return bz_bytes(out, KEY_SIZE);
}

static struct bz_bytes notes_prefix(void)
{
    return bz_bytes(PREFIX, PREFIX_SIZE);
}

static struct bz_bytes sum_key(void)
{
    return bz_bytes(PREFIX, PREFIX_SIZE - 1);
}

/* ---- values ---- */

static int verdict(int rc, const struct bz_reader *r, blaze_error *error)
{
    if (rc == BLAZE_ENOMEM)
        return bz_error_code(error, rc);
    return rc == 0 && r->ok && bz_reader_left(r) == 0
               ? 0
               : bz_error_set(error, BLAZE_ECORRUPT, "a note of an illegible record is corrupt");
}

static int note_decode(
    struct bz_bytes value, struct bz_arena *arena, struct note *out, blaze_error *error)
{
    struct bz_reader r = bz_reader(value);
    out->forged = (bz_read8(&r) & NOTE_FORGED) != 0;
    int rc = bz_vv_read(&r, arena, &out->seen);
    if (rc == 0)
        rc = bz_vv_read(&r, arena, &out->dots);
    return verdict(rc, &r, error);
}

static int note_load(struct bz_view *view, struct bz_arena *arena, struct bz_bytes key,
    struct note *out, bool *found, blaze_error *error)
{
    struct bz_bytes value;
    *out = (struct note){0};
    int rc = bz_view_get(view, BZ_MAP_META, key, &value, error);
    *found = rc == 0;
    if (rc != 0)
        return rc == BLAZE_ENOTFOUND ? 0 : rc;
    return note_decode(value, arena, out, error);
}

static int put(struct bz_txn *txn, struct bz_bytes key, struct bz_buf *value, blaze_error *error)
{
    int rc = value->error != 0 ? bz_error_code(error, value->error)
                               : bz_txn_put(txn, BZ_MAP_META, key, bz_buf_bytes(value), error);
    bz_buf_release(value);
    return rc;
}

static int note_store(
    struct bz_txn *txn, struct bz_bytes key, const struct note *note, blaze_error *error)
{
    struct bz_buf value;
    bz_buf_init(&value, VALUE_MAX);
    bz_buf_append8(&value, note->forged ? NOTE_FORGED : 0);
    bz_vv_append(&value, &note->seen);
    bz_vv_append(&value, &note->dots);
    return put(txn, key, &value, error);
}

int bz_illegible_load(
    struct bz_view *view, struct bz_arena *arena, struct bz_illegible *out, blaze_error *error)
{
    struct bz_bytes value;
    *out = (struct bz_illegible){0};
    int rc = bz_view_get(view, BZ_MAP_META, sum_key(), &value, error);
    if (rc != 0)
        return rc == BLAZE_ENOTFOUND ? 0 : rc;
    struct bz_reader r = bz_reader(value);
    out->count = bz_read_varint(&r);
    out->asked_ms = bz_read64le(&r);
    rc = bz_vv_read(&r, arena, &out->seen);
    return verdict(rc, &r, error);
}

int bz_illegible_any(struct bz_view *view, bool *out, blaze_error *error)
{
    return bz_meta_is_there(view, sum_key(), out, error);
}

static int sum_store(struct bz_txn *txn, const struct bz_illegible *sum, blaze_error *error)
{
    struct bz_buf value;
    if (sum->count == 0)
        return bz_txn_delete(txn, BZ_MAP_META, sum_key(), error);
    bz_buf_init(&value, VALUE_MAX);
    bz_buf_append_varint(&value, sum->count);
    bz_buf_append64le(&value, sum->asked_ms);
    bz_vv_append(&value, &sum->seen);
    return put(txn, sum_key(), &value, error);
}

/* ---- noting ---- */

int bz_illegible_note(
    struct bz_db_txn *txn, const struct bz_change *change, bool *news, blaze_error *error)
{
    uint8_t bytes[KEY_SIZE];
    struct bz_bytes key = note_key(bytes, change->collection, &change->id);
    struct bz_arena *arena = &txn->arena;
    struct bz_illegible sum;
    struct note note;
    bool found = false;
    int rc = note_load(txn->view, arena, key, &note, &found, error);
    if (rc != 0 || (found && bz_vv_includes(&note.seen, &change->rec.rvv) &&
                       bz_vv_includes(&note.dots, &change->illegible)))
        return rc;
    note.forged |= change->forged;
    rc = bz_illegible_load(txn->view, arena, &sum, error);
    if (rc != 0)
        return rc;
    rc = bz_vv_max(arena, &note.seen, &change->rec.rvv, &note.seen);
    if (rc == 0)
        rc = bz_vv_max(arena, &note.dots, &change->illegible, &note.dots);
    if (rc == 0)
        rc = bz_vv_max(arena, &sum.seen, &note.seen, &sum.seen);
    if (rc != 0)
        return bz_error_code(error, rc);
    if (sum.count == 0)
        sum.asked_ms = txn->db->wall_ms(txn->db->context);
    sum.count += !found;
    rc = note_store(txn->txn, key, &note, error);
    if (rc == 0)
        rc = sum_store(txn->txn, &sum, error);
    txn->looked_illegible = txn->illegible = true;
    *news = txn->changed = true;
    return rc;
}

/* ---- the end of a note ---- */

/* Whether there are any, which is looked up once in a transaction. */
static int look(struct bz_db_txn *txn, blaze_error *error)
{
    int rc = txn->looked_illegible ? 0 : bz_illegible_any(txn->view, &txn->illegible, error);
    txn->looked_illegible = rc == 0;
    return rc;
}

static int settle(struct bz_db_txn *txn, uint32_t collection, const blaze_id *id,
    const struct bz_vv *rvv, blaze_error *error)
{
    uint8_t bytes[KEY_SIZE];
    struct bz_bytes key = note_key(bytes, collection, id);
    struct bz_illegible sum;
    struct note note;
    bool found = false;
    int rc = note_load(txn->view, &txn->arena, key, &note, &found, error);
    if (rc != 0 || !found || !bz_vv_includes(rvv, &note.seen))
        return rc;
    rc = bz_illegible_load(txn->view, &txn->arena, &sum, error);
    if (rc == 0)
        rc = bz_txn_delete(txn->txn, BZ_MAP_META, key, error);
    sum.count -= sum.count > 0;
    return rc == 0 ? sum_store(txn->txn, &sum, error) : rc;
}

int bz_illegible_settle(struct bz_db_txn *txn, uint32_t collection, const blaze_id *id,
    const struct bz_vv *rvv, blaze_error *error)
{
    int rc = look(txn, error);
    if (rc != 0 || !txn->illegible)
        return rc;
    rc = settle(txn, collection, id, rvv, error);
    /* Dots say which record it is, also where its collection could not be told. */
    return rc == 0 ? settle(txn, BZ_COLLECTION_NONE, id, rvv, error) : rc;
}

struct dropping {
    struct bz_txn *txn;
    blaze_error *error;
};

static int drop(void *context, struct bz_bytes key, struct bz_bytes value)
{
    struct dropping *dropping = context;
    uint8_t bytes[KEY_SIZE];
    (void)value;
    if (key.size != sizeof bytes)
        return BLAZE_END;
    memcpy(bytes, key.data, sizeof bytes);
    return bz_txn_delete(
        dropping->txn, BZ_MAP_META, bz_bytes(bytes, sizeof bytes), dropping->error);
}

int bz_illegible_covered(struct bz_db_txn *txn, const struct bz_vv *own, blaze_error *error)
{
    struct dropping dropping = {txn->txn, error};
    struct bz_illegible sum;
    int rc = bz_illegible_load(txn->view, &txn->arena, &sum, error);
    if (rc != 0 || sum.count == 0 || !bz_vv_includes(own, &sum.seen))
        return rc;
    rc = bz_meta_each(txn->view, notes_prefix(), drop, &dropping, error);
    sum.count = 0;
    return rc == 0 ? sum_store(txn->txn, &sum, error) : rc;
}

int bz_illegible_dots(struct bz_db_txn *txn, uint32_t collection, const blaze_id *id,
    struct bz_vv *out, blaze_error *error)
{
    uint8_t bytes[KEY_SIZE];
    struct note note;
    bool found;
    *out = (struct bz_vv){0};
    int rc = look(txn, error);
    if (rc != 0 || !txn->illegible)
        return rc;
    rc = note_load(txn->view, &txn->arena, note_key(bytes, collection, id), &note, &found, error);
    *out = note.dots;
    return rc;
}

/* ---- asking again ---- */

static bool is_due(const struct bz_db *db, const struct bz_illegible *sum)
{
    uint64_t now = db->wall_ms(db->context);
    return sum->count > 0 && (now < sum->asked_ms || now - sum->asked_ms >= AGAIN_MS);
}

/* Notes that they are asked for now. */
static int note_asked(struct bz_db *db, blaze_error *error)
{
    struct bz_db_txn *txn = NULL;
    struct bz_illegible sum;
    int rc = bz_db_begin(db, &txn, error);
    if (rc != 0)
        return rc;
    bz_arena_reset(&txn->arena);
    rc = bz_illegible_load(txn->view, &txn->arena, &sum, error);
    sum.asked_ms = db->wall_ms(db->context);
    txn->changed = true;
    if (rc == 0)
        rc = sum_store(txn->txn, &sum, error);
    if (rc == 0)
        return bz_db_commit(txn, BZ_DURABLE_RELAXED, error);
    bz_db_abort(txn);
    return rc;
}

int bz_illegible_again(void *context, bool *out, blaze_error *error)
{
    struct bz_db *db = context;
    struct bz_read *read = NULL;
    struct bz_illegible sum;
    int rc = bz_read_begin(db, &read, error);
    if (rc != 0)
        return rc;
    rc = bz_illegible_load(read->view, &read->arena, &sum, error);
    *out = rc == 0 && is_due(db, &sum);
    bz_read_end(read);
    return *out ? note_asked(db, error) : rc;
}

/* ---- telling ---- */

int bz_read_illegible_count(struct bz_read *read, uint64_t *out, blaze_error *error)
{
    struct bz_illegible sum;
    bz_arena_reset(&read->arena);
    int rc = bz_illegible_load(read->view, &read->arena, &sum, error);
    *out = sum.count;
    return rc;
}

struct describing {
    struct bz_read *read;
    int (*each)(void *context, const struct bz_illegible_record *record);
    void *context;
    blaze_error *error;
};

static int describe(void *context, struct bz_bytes key, struct bz_bytes value)
{
    const struct describing *d = context;
    const struct bz_catalog *catalog = d->read->db->catalog;
    struct bz_illegible_record record = {0};
    struct note note;
    if (key.size != KEY_SIZE)
        return BLAZE_END;
    bz_arena_reset(&d->read->arena);
    int rc = note_decode(value, &d->read->arena, &note, d->error);
    if (rc != 0)
        return rc;
    record.forged = note.forged;
    memcpy(&record.id, key.data + PREFIX_SIZE + 4, sizeof record.id);
    uint32_t collection = bz_load32be(key.data + PREFIX_SIZE);
    if (collection != BZ_COLLECTION_NONE &&
        bz_catalog_collection_name(catalog, collection, &record.collection) != 0)
        return verdict(BLAZE_ECORRUPT, &(struct bz_reader){0}, d->error);
    if (note.dots.count == 0 ||
        bz_catalog_node_id(catalog, note.dots.entries[0].node, &record.writer) != 0)
        return verdict(BLAZE_ECORRUPT, &(struct bz_reader){0}, d->error);
    return d->each(d->context, &record);
}

int bz_read_illegible(struct bz_read *read,
    int (*each)(void *context, const struct bz_illegible_record *record), void *context,
    blaze_error *error)
{
    struct describing d = {read, each, context, error};
    return bz_meta_each(read->view, notes_prefix(), describe, &d, error);
}

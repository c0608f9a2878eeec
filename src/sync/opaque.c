/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a member tells a blind peer, and what it makes of what that tells (docs/format/sealed.md).
 *
 * A blind peer gets everything as it is but two things: names of collections and fields, in whose
 * place it has bytes that are the same for the same name; and bodies, which are sealed together
 * with all that is told of their write in clear: in which collection and record it stands, which
 * dot it has, when, by whom and whether alive. So it can leave out what it has and bring up what it
 * had before, and can make nothing. Nor can it look into what it hands on: a member that is broken
 * or of ill will, which has the keys, may have sealed what nobody can read. That must hold up
 * nobody else, so such a write is handed to the replica without a body, and as illegible.
 *
 * Bodies are sealed anew by each member that sends them, for a member keeps them in clear: one
 * write may have several sealed forms, and a blind node keeps the one that it has.
 */
#include "sync/session_priv.h"

#define NAME_MAX (2 * (size_t)BZ_DICTIONARY_SEALED)
#define MORE     (16u + BZ_OPAQUE_TAG + 16u + 16u + 8u + 8u + 1u)

void bz_opaque_init(struct bz_session *s)
{
    struct bz_opaque *q = &s->opaque;
    bz_form_init(&q->form);
    bz_buf_init(&q->name, NAME_MAX);
    bz_buf_init(&q->plain, BZ_FRAME_MAX);
    bz_buf_init(&q->sealed, BZ_FRAME_MAX);
}

static void wipe(struct bz_buf *buf)
{
    if (buf->data != NULL)
        explicit_bzero(buf->data, buf->capacity);
    bz_buf_release(buf);
}

void bz_opaque_rest(struct bz_session *s)
{
    struct bz_opaque *q = &s->opaque;
    if (!q->active)
        return;
    bz_form_release(&q->form);
    bz_dictionaries_rest(&q->dictionaries);
    wipe(&q->name);
    wipe(&q->plain);
    wipe(&q->sealed);
    bz_opaque_init(s);
    q->form.dictionaries = &q->dictionaries;
}

void bz_opaque_release(struct bz_session *s)
{
    bz_opaque_rest(s);
    bz_dictionaries_release(&s->opaque.dictionaries);
    if (s->opaque.sealer != NULL)
        s->auth.seal->end(s->opaque.sealer);
    s->opaque = (struct bz_opaque){0};
}

/* ---- names ---- */

int bz_opaque_meaning(
    struct bz_session *s, enum bz_term term, struct bz_bytes name, struct bz_bytes *out)
{
    struct bz_buf *buf = &s->opaque.name;
    if (term == BZ_TERM_NODE) {
        *out = name;
        return 0;
    }
    bz_buf_clear(buf);
    int rc = s->auth.seal->seal_name(s->opaque.sealer, term, name, buf);
    if (rc == 0)
        *out = bz_buf_bytes(buf);
    return rc;
}

int bz_opaque_name(
    struct bz_session *s, enum bz_term term, struct bz_bytes meaning, struct bz_bytes *out)
{
    struct bz_buf *buf = &s->opaque.name;
    if (term == BZ_TERM_NODE) {
        *out = meaning;
        return 0;
    }
    bz_buf_clear(buf);
    int rc = s->auth.seal->open_name(s->opaque.sealer, term, meaning, buf);
    if (rc == 0)
        *out = bz_buf_bytes(buf);
    return rc == BLAZE_ECORRUPT ? BLAZE_EPROTO : rc;
}

/* ---- dictionaries ---- */

/* Those that were kept. */
static int load_dictionaries(struct bz_session *s)
{
    struct bz_bytes sealed, dictionary;
    for (uint32_t i = 0; i < BZ_DICTIONARIES_MAX; i++) {
        int rc = s->replica.ops->meaning(s->replica.context, BZ_TERM_DICTIONARY, i, &sealed);
        if (rc == BLAZE_ENOTFOUND)
            return 0;
        if (rc == 0)
            rc = bz_opaque_name(s, BZ_TERM_DICTIONARY, sealed, &dictionary);
        if (rc == 0)
            rc = bz_dictionaries_add(&s->opaque.dictionaries, dictionary, sealed.data);
        if (rc != 0)
            return rc == BLAZE_EPROTO ? BLAZE_ECORRUPT : rc;
    }
    return 0;
}

int bz_opaque_begin(struct bz_session *s)
{
    bz_dictionaries_init(&s->opaque.dictionaries);
    s->opaque.form.dictionaries = &s->opaque.dictionaries;
    int rc = s->auth.seal->begin(s->auth.context, &s->self.database, &s->opaque.sealer);
    s->opaque.active = rc == 0;
    return rc == 0 ? load_dictionaries(s) : rc;
}

int bz_opaque_names(struct bz_session *s, struct bz_buf *out)
{
    struct bz_bytes sealed;
    int rc = s->self.blind || s->opaque.active ? 0 : BLAZE_ENOTFOUND;
    for (uint32_t i = 0; rc == 0 && i < BZ_DICTIONARIES_MAX; i++) {
        rc = s->replica.ops->meaning(s->replica.context, BZ_TERM_DICTIONARY, i, &sealed);
        if (rc == 0 && sealed.size >= BZ_DICTIONARY_NAME)
            bz_buf_append(out, sealed.data, BZ_DICTIONARY_NAME);
    }
    return rc == 0 || rc == BLAZE_ENOTFOUND ? out->error : rc;
}

bool bz_opaque_is_there(const struct bz_session *s, const uint8_t *name)
{
    const struct bz_dictionaries_there *there = &s->out.there;
    for (uint32_t i = 0; i < there->count; i++) {
        if (memcmp(there->names[i], name, BZ_DICTIONARY_NAME) == 0)
            return true;
    }
    return false;
}

/* Of what this side has, it uses what the peer has too. */
static void choose(struct bz_session *s)
{
    struct bz_dictionaries *d = &s->opaque.dictionaries;
    d->mute = s->out.there.full;
    for (uint32_t i = d->count; i-- > 0;) {
        if (!bz_opaque_is_there(s, d->list[i].name))
            continue;
        d->used = i;
        d->mute = false;
    }
}

void bz_opaque_there(struct bz_session *s, struct bz_bytes names)
{
    struct bz_dictionaries_there *there = &s->out.there;
    there->full |= names.size / BZ_DICTIONARY_NAME >= BZ_DICTIONARIES_MAX;
    for (size_t at = 0; at + BZ_DICTIONARY_NAME <= names.size; at += BZ_DICTIONARY_NAME) {
        if (there->count < BZ_DICTIONARIES_MAX && !bz_opaque_is_there(s, names.data + at))
            memcpy(there->names[there->count++], names.data + at, BZ_DICTIONARY_NAME);
    }
    choose(s);
}

int bz_opaque_learn(
    struct bz_session *s, struct bz_apply *apply, struct bz_bytes meaning, blaze_error *error)
{
    struct bz_bytes dictionary;
    uint32_t number;
    int rc = bz_opaque_name(s, BZ_TERM_DICTIONARY, meaning, &dictionary);
    if (rc == 0)
        rc = bz_dictionaries_add(&s->opaque.dictionaries, dictionary, meaning.data);
    if (rc == 0) {
        bz_opaque_there(s, bz_bytes(meaning.data, BZ_DICTIONARY_NAME));
        rc = s->replica.ops->resolve(apply, BZ_TERM_DICTIONARY, meaning, &number, error);
        return bz_opaque_illegible(rc) ? 0 : rc; /* there is no room for it */
    }
    return bz_opaque_illegible(rc) ? 0 : bz_error_code(error, rc);
}

struct bz_bytes bz_opaque_to_tell(struct bz_session *s)
{
    struct bz_opaque *q = &s->opaque;
    const struct bz_dictionary *used = &q->dictionaries.list[q->dictionaries.used];
    if (q->told || q->dictionaries.count == 0 || q->dictionaries.mute ||
        bz_opaque_is_there(s, used->name))
        return bz_bytes(NULL, 0);
    return used->bytes;
}

bool bz_opaque_waits(const struct bz_session *s)
{
    return s->opaque.active && s->in.head > 0 && !s->in.begun && s->opaque.dictionaries.count == 0;
}

/* In a commit of its own, which leaves what is known of the peer as it is. */
static int keep(struct bz_session *s, struct bz_bytes sealed)
{
    struct bz_apply *apply;
    uint32_t number;
    struct bz_peer_state state = bz_incoming_peer(s);
    int rc = s->replica.ops->apply_begin(s->replica.context, &s->status.peer, &apply, NULL);
    if (rc != 0)
        return rc;
    rc = s->replica.ops->resolve(apply, BZ_TERM_DICTIONARY, sealed, &number, NULL);
    if (rc == 0)
        return s->replica.ops->apply_commit(apply, &state, NULL, NULL, NULL);
    s->replica.ops->apply_abort(apply);
    return rc;
}

/* Learns from a body, unless there is a dictionary. */
static int learn_from(struct bz_session *s)
{
    struct bz_opaque *q = &s->opaque;
    struct bz_dictionary *made;
    struct bz_bytes sealed, content = bz_form_content(&q->form);
    if (content.size == 0)
        return 0;
    int rc = bz_dictionaries_sample(&q->dictionaries, content, &made);
    if (rc != 0 || made == NULL)
        return rc;
    rc = bz_opaque_meaning(s, BZ_TERM_DICTIONARY, made->bytes, &sealed);
    if (rc != 0)
        return rc;
    memcpy(made->name, sealed.data, sizeof made->name);
    return keep(s, sealed);
}

/* ---- collections ---- */

/* The tag of a collection of ours. */
static int find_tag(struct bz_session *s, uint32_t collection, const uint8_t **out)
{
    struct bz_opaque_tag *tag = &s->opaque.tags[collection % BZ_OPAQUE_TAGS];
    struct bz_bytes name, sealed;
    int rc = 0;
    if (!tag->known || tag->collection != collection) {
        tag->known = false;
        rc = s->replica.ops->meaning(s->replica.context, BZ_TERM_COLLECTION, collection, &name);
        if (rc == 0)
            rc = bz_opaque_meaning(s, BZ_TERM_COLLECTION, name, &sealed);
        if (rc == 0) {
            memcpy(tag->bytes, sealed.data, sizeof tag->bytes);
            tag->collection = collection;
            tag->known = true;
        }
    }
    *out = tag->bytes;
    return rc;
}

/* ---- bodies ---- */

/* Where a write stands and what is told of it in clear, and its node's id. */
static int describe(struct bz_session *s, const struct bz_change *change,
    const struct bz_write *write, const uint8_t *tag, blaze_id *node, uint8_t out[MORE])
{
    struct bz_bytes id;
    int rc = s->replica.ops->meaning(s->replica.context, BZ_TERM_NODE, write->dot.node, &id);
    if (rc != 0)
        return rc;
    memcpy(node, id.data, sizeof *node);
    memcpy(out, &s->self.database, 16);
    memcpy(out + 16, tag, BZ_OPAQUE_TAG);
    memcpy(out + 32, &change->id, 16);
    memcpy(out + 48, node, 16);
    bz_store64le(out + 64, write->dot.seq);
    bz_store64le(out + 72, write->stamp);
    out[80] = (uint8_t)(write->role | (write->alive ? 2 : 0));
    return 0;
}

static int name_of_field(void *context, uint32_t number, struct bz_bytes *out)
{
    struct bz_session *s = context;
    return s->replica.ops->meaning(s->replica.context, BZ_TERM_FIELD, number, out);
}

static int copy_writes(struct bz_arena *arena, struct bz_rec *rec)
{
    struct bz_bytes copy =
        bz_arena_copy(arena, bz_bytes(rec->writes, rec->write_count * sizeof *rec->writes));
    if (copy.data == NULL && copy.size > 0)
        return BLAZE_ENOMEM;
    rec->writes = (struct bz_write *)(void *)(uintptr_t)copy.data;
    return 0;
}

static int seal_write(struct bz_session *s, struct bz_arena *arena, const struct bz_change *change,
    const uint8_t *tag, struct bz_write *write)
{
    struct bz_opaque *q = &s->opaque;
    uint8_t more[MORE];
    blaze_id node;
    int rc = describe(s, change, write, tag, &node, more);
    if (rc == 0)
        rc = bz_form_write(&q->form, write->body, name_of_field, s, &q->plain);
    if (rc == 0)
        rc = learn_from(s);
    if (rc != 0)
        return rc;
    bz_buf_clear(&q->sealed);
    rc = s->auth.seal->seal_body(
        q->sealer, &node, bz_bytes(more, sizeof more), bz_buf_bytes(&q->plain), &q->sealed);
    if (rc != 0)
        return rc;
    write->body = bz_arena_copy(arena, bz_buf_bytes(&q->sealed));
    return write->body.data == NULL ? BLAZE_ENOMEM : 0;
}

int bz_opaque_seal(struct bz_session *s, struct bz_arena *arena, const struct bz_change *change,
    struct bz_rec *out)
{
    struct bz_rec rec = change->rec;
    const uint8_t *tag;
    int rc = find_tag(s, change->collection, &tag);
    if (rc == 0)
        rc = copy_writes(arena, &rec);
    for (uint32_t i = 0; rc == 0 && i < rec.write_count; i++)
        rc = seal_write(s, arena, change, tag, &rec.writes[i]);
    if (rc == 0)
        *out = rec;
    return rc;
}

struct resolving {
    struct bz_session *s;
    struct bz_apply *apply;
    blaze_error *error;
    int failed; /* what resolve() said, which has written *error */
};

static int number_of_field(void *context, struct bz_bytes name, uint32_t *out)
{
    struct resolving *r = context;
    r->failed = r->s->replica.ops->resolve(r->apply, BZ_TERM_FIELD, name, out, r->error);
    return r->failed;
}

static int open_write(struct bz_session *s, struct bz_arena *arena, struct resolving *resolving,
    const struct bz_change *change, const uint8_t *tag, struct bz_write *write)
{
    struct bz_opaque *q = &s->opaque;
    uint8_t more[MORE];
    blaze_id node;
    struct bz_bytes body;
    int rc = describe(s, change, write, tag, &node, more);
    if (rc != 0)
        return rc;
    bz_buf_clear(&q->plain);
    rc = s->auth.seal->open_body(
        q->sealer, &node, bz_bytes(more, sizeof more), write->body, &q->plain);
    if (rc != 0)
        return rc == BLAZE_ECORRUPT ? BLAZE_EAUTH : rc;
    rc = bz_form_read(&q->form, bz_buf_bytes(&q->plain), number_of_field, resolving, &body);
    if (rc == 0 && write->kind != 0)
        rc = BLAZE_EPROTO; /* of a later version */
    if (rc != 0)
        return rc;
    write->body = body.size == 0 ? body : bz_arena_copy(arena, body);
    return body.size > 0 && write->body.data == NULL ? BLAZE_ENOMEM : 0;
}

bool bz_opaque_illegible(int code)
{
    return code == BLAZE_EAUTH || code == BLAZE_EPROTO || code == BLAZE_EINVAL ||
           code == BLAZE_ELIMIT;
}

/* Adds a write to those that are illegible; they come in the order of their dots. */
static void note_illegible(struct bz_change *change, struct bz_write *write, int why)
{
    struct bz_vv *noted = &change->illegible;
    if (noted->count == 0 || noted->entries[noted->count - 1].node != write->dot.node)
        noted->count++;
    noted->entries[noted->count - 1] = write->dot;
    change->forged |= why == BLAZE_EAUTH;
    write->body = bz_bytes(NULL, 0);
    write->kind = 0;
}

int bz_opaque_open(struct bz_session *s, struct bz_arena *arena, struct bz_apply *apply,
    struct bz_change *change, blaze_error *error)
{
    struct resolving resolving = {.s = s, .apply = apply, .error = error};
    struct bz_rec *rec = &change->rec;
    const uint8_t *tag;
    int rc = find_tag(s, change->collection, &tag);
    if (rc == 0)
        rc = copy_writes(arena, rec);
    change->illegible = (struct bz_vv){
        bz_arena_alloc(arena, (rec->write_count + 1) * sizeof *change->illegible.entries), 0};
    if (rc == 0 && change->illegible.entries == NULL)
        rc = BLAZE_ENOMEM;
    for (uint32_t i = 0; rc == 0 && i < rec->write_count; i++) {
        rc = open_write(s, arena, &resolving, change, tag, &rec->writes[i]);
        if (bz_opaque_illegible(rc)) {
            note_illegible(change, &rec->writes[i], rc);
            rc = 0;
        }
    }
    return rc == 0 || rc == resolving.failed ? rc : bz_error_code(error, rc);
}

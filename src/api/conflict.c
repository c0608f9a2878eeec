/* SPDX-License-Identifier: Apache-2.0 */
/* Conflicts: listing, observing, and settling them by policies and by functions of the program. */
#include "api_priv.h"
#include "base/alloc.h"
#include "crdt/clock.h"

static blaze_text text_of(struct bz_bytes bytes)
{
    return (blaze_text){(const char *)bytes.data, bytes.size};
}

static struct bz_bytes bytes_of(const char *text)
{
    return text == NULL ? bz_bytes(NULL, 0) : bz_bytes_text(text);
}

/* The siblings are allocated, and then the conflict's. */
static int translate(blaze_conflict *out, const struct bz_conflict *in)
{
    blaze_sibling *siblings = bz_malloc(in->count * sizeof *siblings);
    if (siblings == NULL)
        return BLAZE_ENOMEM;
    for (uint32_t i = 0; i < in->count; i++)
        siblings[i] = (blaze_sibling){
            .present = in->siblings[i].present,
            .value = in->siblings[i].value,
            .node = in->siblings[i].node,
            .time_ms = (int64_t)BZ_STAMP_MS(in->siblings[i].stamp),
            .role = (blaze_role)in->siblings[i].role,
            .settled = in->siblings[i].resolved,
        };
    *out = (blaze_conflict){
        .collection = text_of(in->collection),
        .id = in->id,
        .field = text_of(in->field),
        .count = in->count,
        .siblings = siblings,
        .life = in->life,
    };
    return 0;
}

/* ---- listing ---- */

struct walk {
    int (*each)(void *context, const blaze_conflict *conflict);
    void *context;
    bool no_memory;
};

static int on_conflict(void *context, const struct bz_conflict *in)
{
    struct walk *walk = context;
    blaze_conflict conflict;
    if (translate(&conflict, in) != 0) {
        walk->no_memory = true;
        return BLAZE_ENOMEM;
    }
    int rc = walk->each(walk->context, &conflict);
    bz_free((void *)conflict.siblings);
    return rc;
}

int blaze_conflicts(blaze_db *db, const char *collection, const blaze_id *id,
    int (*each)(void *context, const blaze_conflict *conflict), void *context, blaze_error *error)
{
    if (db == NULL || each == NULL)
        return bz_api_null(error, db == NULL ? "the database" : "each");
    if (id != NULL && collection == NULL)
        return bz_error_set(error, BLAZE_EINVAL, "an id means a record only in a collection");
    struct bz_read *read;
    int rc = bz_read_begin(db->db, &read, error);
    if (rc != BLAZE_OK)
        return rc;
    struct walk walk = {.each = each, .context = context};
    rc = bz_read_conflicts(read, bytes_of(collection), id, on_conflict, &walk, error);
    bz_read_end(read);
    if (walk.no_memory)
        bz_error_code(error, BLAZE_ENOMEM);
    return id != NULL && rc == BLAZE_ENOTFOUND ? bz_api_record_error(rc, collection, id, error)
                                               : rc;
}

int blaze_conflict_count(blaze_db *db, const char *collection, uint64_t *out, blaze_error *error)
{
    if (db == NULL || out == NULL)
        return bz_api_null(error, db == NULL ? "the database" : "out");
    struct bz_read *read;
    int rc = bz_read_begin(db->db, &read, error);
    if (rc != BLAZE_OK)
        return rc;
    rc = bz_read_conflict_count(read, bytes_of(collection), out, error);
    bz_read_end(read);
    return rc;
}

int blaze_settle_life(
    blaze_db *db, const char *collection, const blaze_id *id, int keep, blaze_error *error)
{
    if (db == NULL || collection == NULL || id == NULL)
        return bz_api_null(error, db == NULL           ? "the database"
                                  : collection == NULL ? "the collection"
                                                       : "the id");
    struct bz_db_txn *txn;
    int rc = bz_db_begin(db->db, &txn, error);
    if (rc != BLAZE_OK)
        return rc;
    rc = bz_db_settle_life(txn, bz_bytes_text(collection), id, keep != 0, error);
    if (rc == BLAZE_OK)
        return bz_db_commit(txn, db->durability, error);
    bz_db_abort(txn);
    return rc;
}

/* ---- observing ---- */

struct blaze_conflict_observer {
    struct bz_conflict_watch *inner;
    void (*on_conflict)(void *context, const blaze_conflict_event *event);
    void *context;
    bool calling; /* only the database's observer thread writes it, as in observe.c */
    bool ended;   /* from within a call */
};

static void on_conflict_event(void *context, const struct bz_conflict_event *in)
{
    blaze_conflict_observer *observer = context;
    blaze_text few[16], *fields = few;
    uint32_t count = in->count;
    if (count > sizeof few / sizeof few[0] &&
        (fields = bz_malloc(count * sizeof *fields)) == NULL) {
        fields = few;
        count = sizeof few / sizeof few[0]; /* rather some of the names than no call */
    }
    for (uint32_t i = 0; i < count; i++)
        fields[i] = text_of(in->fields[i]);
    const blaze_conflict_event event = {.collection = text_of(in->collection),
        .id = in->id,
        .count = count,
        .fields = fields,
        .life = in->life};
    observer->calling = true;
    observer->on_conflict(observer->context, &event);
    observer->calling = false;
    if (fields != few)
        bz_free(fields);
    if (observer->ended)
        bz_free(observer);
}

/* What other processes commit is noticed by the peer. */
static int notice_others(blaze_db *db, blaze_error *error)
{
    struct bz_peer *peer;
    return bz_store_watch_path(bz_db_store(db->db)) != NULL ? bz_api_peer(db, &peer, error)
                                                            : BLAZE_OK;
}

int blaze_observe_conflicts(blaze_db *db, const char *collection,
    void (*callback)(void *context, const blaze_conflict_event *event), void *context,
    blaze_conflict_observer **out, blaze_error *error)
{
    if (db == NULL || callback == NULL || out == NULL)
        return bz_api_null(error, db == NULL         ? "the database"
                                  : callback == NULL ? "on_conflict"
                                                     : "out");
    int rc = notice_others(db, error);
    if (rc != BLAZE_OK)
        return rc;
    blaze_conflict_observer *observer = bz_zalloc(sizeof *observer);
    if (observer == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    observer->on_conflict = callback;
    observer->context = context;
    *out = observer; /* before the first call, which may end it */
    rc = bz_db_watch_conflicts(
        db->db, bytes_of(collection), on_conflict_event, observer, &observer->inner, error);
    if (rc != BLAZE_OK) {
        *out = NULL;
        bz_free(observer);
    }
    return rc;
}

void blaze_unobserve_conflicts(blaze_conflict_observer *observer)
{
    if (observer == NULL)
        return;
    bz_db_unwatch_conflicts(observer->inner);
    if (observer->calling)
        observer->ended = true;
    else
        bz_free(observer);
}

/* ---- policies ---- */

static bool is_policy(blaze_policy policy)
{
    return policy >= BLAZE_POLICY_UNSET && policy <= BLAZE_POLICY_LEAST;
}

_Static_assert((int)BLAZE_POLICY_LEAST == (int)BZ_POLICY_LEAST &&
                   (int)BLAZE_POLICY_LAST == (int)BZ_POLICY_LAST,
    "the policies have one numbering");

const char *blaze_policy_name(blaze_policy policy)
{
    if (policy == BLAZE_POLICY_UNSET || !is_policy(policy))
        return NULL;
    return bz_policy_name((enum bz_policy)policy);
}

int blaze_policy_from_name(const char *name, blaze_policy *out)
{
    enum bz_policy policy;
    if (name == NULL || out == NULL || name[0] == '\0' ||
        !bz_policy_of_name(bz_bytes_text(name), &policy))
        return BLAZE_EINVAL;
    *out = (blaze_policy)policy;
    return BLAZE_OK;
}

int blaze_set_policy(blaze_db *db, const char *collection, const char *field, blaze_policy policy,
    blaze_error *error)
{
    if (db == NULL || collection == NULL)
        return bz_api_null(error, db == NULL ? "the database" : "the collection");
    if (!is_policy(policy))
        return bz_error_set(error, BLAZE_EINVAL, "there is no policy %d", (int)policy);
    if (field != NULL && field[0] == '\0')
        return bz_error_set(error, BLAZE_EINVAL, "a field's name is not empty");
    return bz_db_policy_put(
        db->db, bz_bytes_text(collection), bytes_of(field), (enum bz_policy)policy, error);
}

int blaze_get_policy(
    blaze_db *db, const char *collection, const char *field, blaze_policy *out, blaze_error *error)
{
    if (db == NULL || collection == NULL || out == NULL)
        return bz_api_null(error, db == NULL           ? "the database"
                                  : collection == NULL ? "the collection"
                                                       : "out");
    struct bz_read *read;
    enum bz_policy policy = BZ_POLICY_UNSET;
    int rc = bz_read_begin(db->db, &read, error);
    if (rc != BLAZE_OK)
        return rc;
    rc = bz_read_policy(read, bz_bytes_text(collection), bytes_of(field), &policy, error);
    bz_read_end(read);
    if (rc == BLAZE_OK)
        *out = (blaze_policy)policy;
    return rc;
}

struct policy_walk {
    int (*each)(void *context, blaze_text collection, blaze_text field, blaze_policy policy);
    void *context;
};

static int on_policy(
    void *context, struct bz_bytes collection, struct bz_bytes field, enum bz_policy policy)
{
    struct policy_walk *walk = context;
    return walk->each(walk->context, text_of(collection), text_of(field), (blaze_policy)policy);
}

int blaze_policies(blaze_db *db,
    int (*each)(void *context, blaze_text collection, blaze_text field, blaze_policy policy),
    void *context, blaze_error *error)
{
    if (db == NULL || each == NULL)
        return bz_api_null(error, db == NULL ? "the database" : "each");
    struct bz_read *read;
    int rc = bz_read_begin(db->db, &read, error);
    if (rc != BLAZE_OK)
        return rc;
    struct policy_walk walk = {each, context};
    rc = bz_read_policies(read, on_policy, &walk, error);
    bz_read_end(read);
    return rc;
}

int blaze_settle(blaze_db *db, const char *collection, const blaze_id *id, const char *field,
    blaze_policy policy, uint64_t *settled, blaze_error *error)
{
    if (db == NULL)
        return bz_api_null(error, "the database");
    if (!is_policy(policy))
        return bz_error_set(error, BLAZE_EINVAL, "there is no policy %d", (int)policy);
    if (id != NULL && collection == NULL)
        return bz_error_set(error, BLAZE_EINVAL, "an id means a record only in a collection");
    const struct bz_settle what = {
        bytes_of(collection), id, bytes_of(field), (enum bz_policy)policy};
    uint64_t count = 0;
    int rc = bz_db_settle(db->db, &what, &count, error);
    if (settled != NULL)
        *settled = count;
    return rc;
}

/* ---- resolvers ---- */

struct resolver {
    blaze_resolver *call;
    void *context;
};

static int on_resolve(
    void *context, const struct bz_conflict *fields, uint32_t count, blaze_doc *values)
{
    struct resolver *resolver = context;
    blaze_conflict *list = bz_malloc(count * sizeof *list);
    uint32_t made = 0;
    int rc = list == NULL ? BLAZE_ENOMEM : 0;
    while (rc == 0 && made < count) {
        rc = translate(&list[made], &fields[made]);
        made += rc == 0;
    }
    if (rc == 0)
        rc = resolver->call(resolver->context, list, count, values);
    for (uint32_t i = 0; i < made; i++)
        bz_free((void *)list[i].siblings);
    bz_free(list);
    return rc;
}

int blaze_set_resolver(
    blaze_db *db, const char *collection, blaze_resolver *call, void *context, blaze_error *error)
{
    if (db == NULL || collection == NULL)
        return bz_api_null(error, db == NULL ? "the database" : "the collection");
    if (call == NULL)
        return bz_db_set_resolver(db->db, bz_bytes_text(collection), NULL, NULL, NULL, error);
    int rc = db->read_only ? BLAZE_OK : notice_others(db, error);
    if (rc != BLAZE_OK)
        return rc;
    struct resolver *resolver = bz_malloc(sizeof *resolver);
    if (resolver == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    *resolver = (struct resolver){call, context};
    return bz_db_set_resolver(
        db->db, bz_bytes_text(collection), on_resolve, resolver, bz_free, error);
}

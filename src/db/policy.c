/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Policies: by which rule conflicts of a collection, or of a field of it, are settled. They are a
 * setting of this copy, `setting/policy/COLLECTION` in the map meta: texts that each end with a
 * NUL, first the collection's policy (empty: none is set), then field and policy of each field that
 * has one of its own.
 *
 * What a policy chooses depends on nothing but the siblings, and each is a join: applied to its own
 * results and to siblings that it had not seen it gives what it would have given for all of them at
 * once. So copies that settle the same conflict at the same time, each with what it knows, come to
 * the same value.
 */

#include "db/db_priv.h"

#include "base/alloc.h"

#include <stdlib.h>

#define PREFIX      "setting/policy/"
#define PREFIX_SIZE (sizeof PREFIX - 1)

static const char *const names[] = {"", "none", "last", "server", "list", "greatest", "least"};

const char *bz_policy_name(enum bz_policy policy)
{
    return names[policy];
}

bool bz_policy_of_name(struct bz_bytes name, enum bz_policy *out)
{
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (bz_bytes_equal(name, bz_bytes_text(names[i]))) {
            *out = (enum bz_policy)i;
            return true;
        }
    }
    return false;
}

/* ---- the setting ---- */

static bool next_text(struct bz_bytes *left, struct bz_bytes *out)
{
    const uint8_t *end = left->size == 0 ? NULL : memchr(left->data, 0, left->size);
    if (end == NULL)
        return false;
    *out = bz_bytes(left->data, (size_t)(end - left->data));
    *left = bz_bytes(end + 1, left->size - out->size - 1);
    return true;
}

/* The next policy of a setting, and its field; empty: the collection's, which comes first. What a
 * newer version may have written and this one does not know counts as none. */
static bool next_policy(
    struct bz_bytes *left, bool first, struct bz_bytes *field, enum bz_policy *policy)
{
    struct bz_bytes name;
    *field = bz_bytes(NULL, 0);
    if ((!first && !next_text(left, field)) || !next_text(left, &name))
        return false;
    if (!bz_policy_of_name(name, policy))
        *policy = BZ_POLICY_NONE;
    return true;
}

static int setting_key(struct bz_buf *key, struct bz_bytes collection, blaze_error *error)
{
    bz_buf_append(key, PREFIX, PREFIX_SIZE);
    bz_buf_append(key, collection.data, collection.size);
    return key->error == 0 ? 0 : bz_error_code(error, key->error);
}

/* Empty if there is none. Borrowed from the view. */
static int load(
    struct bz_view *view, struct bz_bytes collection, struct bz_bytes *out, blaze_error *error)
{
    struct bz_buf key;
    bz_buf_init(&key, BZ_STORE_KEY_MAX);
    int rc = setting_key(&key, collection, error);
    if (rc == 0)
        rc = bz_view_get(view, BZ_MAP_META, bz_buf_bytes(&key), out, error);
    if (rc == BLAZE_ENOTFOUND) {
        *out = bz_bytes(NULL, 0);
        rc = 0;
    }
    bz_buf_release(&key);
    return rc;
}

static enum bz_policy find(struct bz_bytes setting, struct bz_bytes wanted)
{
    struct bz_bytes field;
    enum bz_policy policy;
    for (bool first = true; next_policy(&setting, first, &field, &policy); first = false) {
        if (bz_bytes_equal(field, wanted))
            return policy;
    }
    return BZ_POLICY_UNSET;
}

int bz_policy_load(struct bz_view *view, struct bz_bytes collection, struct bz_bytes field,
    enum bz_policy *out, blaze_error *error)
{
    struct bz_bytes setting;
    int rc = load(view, collection, &setting, error);
    if (rc != 0)
        return rc;
    enum bz_policy own = field.size == 0 ? BZ_POLICY_UNSET : find(setting, field);
    *out = own != BZ_POLICY_UNSET ? own : find(setting, bz_bytes(NULL, 0));
    return 0;
}

int bz_read_policy(struct bz_read *read, struct bz_bytes collection, struct bz_bytes field,
    enum bz_policy *out, blaze_error *error)
{
    return bz_policy_load(read->view, collection, field, out, error);
}

static struct bz_bytes all_policies(void)
{
    return bz_bytes(PREFIX, PREFIX_SIZE);
}

static int any(void *context, struct bz_bytes key, struct bz_bytes value)
{
    (void)key;
    (void)value;
    *(bool *)context = true;
    return BLAZE_END;
}

int bz_policy_any(struct bz_view *view, bool *out, blaze_error *error)
{
    *out = false;
    return bz_meta_each(view, all_policies(), any, out, error);
}

static int add(void *context, struct bz_bytes key, struct bz_bytes value)
{
    uint64_t *sum = context;
    *sum = bz_hash64(key.data, key.size, *sum);
    *sum = bz_hash64(value.data, value.size, *sum);
    return 0;
}

int bz_policy_sum(struct bz_view *view, uint64_t *out, blaze_error *error)
{
    uint64_t sum = 0;
    int rc = bz_meta_each(view, all_policies(), add, &sum, error);
    if (rc == 0)
        *out = sum;
    return rc;
}

bool bz_db_has_policies(struct bz_db *db)
{
    struct bz_read *read = NULL;
    bool some = false;
    if (bz_read_begin(db, &read, NULL) != 0)
        return false;
    if (bz_policy_any(read->view, &some, NULL) != 0)
        some = false;
    bz_read_end(read);
    return some;
}

static void append_text(struct bz_buf *out, struct bz_bytes text)
{
    bz_buf_append(out, text.data, text.size);
    bz_buf_append8(out, 0);
}

/* The setting with one policy changed; empty if none is left. */
static void change(
    struct bz_buf *out, struct bz_bytes old, struct bz_bytes changed, enum bz_policy to)
{
    struct bz_bytes field;
    enum bz_policy policy = changed.size == 0 ? to : find(old, bz_bytes(NULL, 0));
    bool any = policy != BZ_POLICY_UNSET;
    append_text(out, bz_bytes_text(names[policy]));
    for (bool first = true; next_policy(&old, first, &field, &policy); first = false) {
        if (first || bz_bytes_equal(field, changed))
            continue;
        append_text(out, field);
        append_text(out, bz_bytes_text(names[policy]));
        any = true;
    }
    if (changed.size > 0 && to != BZ_POLICY_UNSET) {
        append_text(out, changed);
        append_text(out, bz_bytes_text(names[to]));
        any = true;
    }
    if (!any)
        bz_buf_clear(out);
}

static int put_in(struct bz_txn *txn, struct bz_bytes collection, struct bz_bytes field,
    enum bz_policy policy, blaze_error *error)
{
    struct bz_buf key, value;
    struct bz_bytes old;
    bz_buf_init(&key, BZ_STORE_KEY_MAX);
    bz_buf_init(&value, BZ_STORE_VALUE_MAX);
    int rc = setting_key(&key, collection, error);
    if (rc == 0)
        rc = load(bz_txn_view(txn), collection, &old, error);
    if (rc == 0) {
        change(&value, old, field, policy);
        if (value.error != 0)
            rc = bz_error_code(error, value.error);
        else if (value.size == 0)
            rc = bz_txn_delete(txn, BZ_MAP_META, bz_buf_bytes(&key), error);
        else
            rc = bz_txn_put(txn, BZ_MAP_META, bz_buf_bytes(&key), bz_buf_bytes(&value), error);
    }
    bz_buf_release(&key);
    bz_buf_release(&value);
    return rc;
}

int bz_db_policy_put(struct bz_db *db, struct bz_bytes collection, struct bz_bytes field,
    enum bz_policy policy, blaze_error *error)
{
    struct bz_txn *txn = NULL;
    int rc = bz_db_may_settle(db, error);
    if (rc == 0 && !bz_catalog_name_valid(collection))
        rc = bz_error_set(error, BLAZE_EINVAL, "not a collection's name");
    if (rc == 0 && field.size > 0 && !bz_name_valid(field))
        rc = bz_error_set(error, BLAZE_EINVAL, "not a field's name: 1 to 255 bytes of UTF-8");
    if (rc == 0)
        rc = bz_txn_begin(db->store, &txn, error);
    if (rc != 0)
        return rc;
    rc = put_in(txn, collection, field, policy, error);
    if (rc != 0) {
        bz_txn_abort(txn);
        return rc;
    }
    rc = bz_txn_commit(txn, BZ_DURABLE_FULL, error);
    if (rc == 0)
        bz_settler_look(db);
    return rc;
}

struct listing {
    int (*each)(
        void *context, struct bz_bytes collection, struct bz_bytes field, enum bz_policy policy);
    void *context;
};

/* Those of one collection. */
static int list(void *context, struct bz_bytes key, struct bz_bytes setting)
{
    const struct listing *l = context;
    struct bz_bytes collection = bz_bytes(key.data + PREFIX_SIZE, key.size - PREFIX_SIZE), field;
    enum bz_policy policy;
    int rc = 0;
    for (bool first = true; rc == 0 && next_policy(&setting, first, &field, &policy);
         first = false) {
        if (policy != BZ_POLICY_UNSET)
            rc = l->each(l->context, collection, field, policy);
    }
    return rc;
}

int bz_read_policies(struct bz_read *read,
    int (*each)(
        void *context, struct bz_bytes collection, struct bz_bytes field, enum bz_policy policy),
    void *context, blaze_error *error)
{
    struct listing listing = {each, context};
    return bz_meta_each(read->view, all_policies(), list, &listing, error);
}

/* ---- an order of values in which none are equal but those that are the same ---- */

static int exact(const blaze_value *a, const blaze_value *b);

static int exact_elements(const blaze_value *a, const blaze_value *b)
{
    blaze_iter x, y;
    blaze_value p, q;
    int order = 0;
    blaze_iter_init(&x, a);
    blaze_iter_init(&y, b);
    while (order == 0 && blaze_iter_next(&x, NULL, &p) == 0 && blaze_iter_next(&y, NULL, &q) == 0)
        order = exact(&p, &q);
    return order;
}

/* By the least name under which they differ; an iterator gives names in no promised order. */
static int exact_fields(const blaze_value *a, const blaze_value *b)
{
    blaze_iter it;
    blaze_text name;
    blaze_value p, q;
    struct bz_bytes least = bz_bytes(NULL, 0);
    int order = 0;
    blaze_iter_init(&it, a);
    while (blaze_iter_next(&it, &name, &p) == 0) {
        struct bz_bytes now = bz_bytes(name.data, name.size);
        if (bz_value_field(b, now, &q) != 0 || (order != 0 && bz_bytes_compare(now, least) > 0))
            continue;
        int here = exact(&p, &q);
        if (here == 0)
            continue;
        least = now;
        order = here;
    }
    return order;
}

/* As blaze_value_compare(), and where that finds no difference (1 and 1.0) by type. */
static int exact(const blaze_value *a, const blaze_value *b)
{
    int order = blaze_value_compare(a, b);
    if (order != 0 || a->type != b->type)
        return order != 0 ? order : (a->type > b->type) - (a->type < b->type);
    return a->type == BLAZE_ARRAY ? exact_elements(a, b)
           : a->type == BLAZE_MAP ? exact_fields(a, b)
                                  : 0;
}

/* Absent comes before all values, as in indexes. */
static int by_value(const struct bz_conflict_sibling *a, const struct bz_conflict_sibling *b)
{
    if (!a->present || !b->present)
        return (int)a->present - (int)b->present;
    return exact(&a->value, &b->value);
}

/* ---- choosing ---- */

static int by_rank(
    enum bz_policy policy, const struct bz_conflict_sibling *a, const struct bz_conflict_sibling *b)
{
    if (policy == BZ_POLICY_GREATEST)
        return by_value(a, b);
    if (policy == BZ_POLICY_LEAST)
        return by_value(b, a);
    if ((policy == BZ_POLICY_SERVER || BZ_MUTANT(LAST_BY_ROLE)) && a->role != b->role)
        return a->role > b->role ? 1 : -1;
    if (a->stamp != b->stamp)
        return a->stamp > b->stamp ? 1 : -1;
    int order = by_value(a, b); /* not by node: a settled value has another one */
    return order != 0 ? order : (int)a->role - (int)b->role; /* so that all claim the same */
}

static const struct bz_conflict_sibling *best_of(
    enum bz_policy policy, const struct bz_conflict *conflict)
{
    const struct bz_conflict_sibling *best = &conflict->siblings[0];
    for (uint32_t i = 1; i < conflict->count; i++) {
        if (by_rank(policy, &conflict->siblings[i], best) > 0)
            best = &conflict->siblings[i];
    }
    return best;
}

static int compare_values(const void *a, const void *b)
{
    return exact(a, b);
}

/* The values of the siblings, an array's being its elements; *array: there is an array. */
static size_t gather(const struct bz_conflict *conflict, blaze_value *out, bool *array)
{
    size_t n = 0;
    *array = false;
    for (uint32_t i = 0; i < conflict->count; i++) {
        const struct bz_conflict_sibling *sibling = &conflict->siblings[i];
        blaze_iter it;
        blaze_value element;
        if (!sibling->present)
            continue;
        if (sibling->value.type != BLAZE_ARRAY || BZ_MUTANT(LIST_NESTS)) {
            if (out != NULL)
                out[n] = sibling->value;
            n++;
            continue;
        }
        *array = true;
        blaze_iter_init(&it, &sibling->value);
        while (blaze_iter_next(&it, NULL, &element) == 0) {
            if (out != NULL)
                out[n] = element;
            n++;
        }
    }
    return n;
}

static int add_list(const struct bz_conflict *conflict, const char *name, blaze_doc *out)
{
    bool array;
    size_t n = gather(conflict, NULL, &array), kept = 0;
    blaze_value *values = bz_malloc((n + 1) * sizeof *values);
    if (values == NULL)
        return BLAZE_ENOMEM;
    gather(conflict, values, &array);
    qsort(values, n, sizeof *values, compare_values);
    for (size_t i = 0; i < n; i++) {
        if (kept == 0 || exact(&values[kept - 1], &values[i]) != 0)
            values[kept++] = values[i];
    }
    if (kept == 1 && !array) {
        blaze_doc_add_value(out, name, &values[0]);
    } else {
        blaze_doc_begin_array(out, name);
        for (size_t i = 0; i < kept; i++)
            blaze_doc_add_value(out, NULL, &values[i]);
        blaze_doc_end(out);
    }
    bz_free(values);
    return bz_doc_error(out);
}

struct bz_claim bz_claim_of(const struct bz_conflict *conflict)
{
    struct bz_claim claim = {0};
    for (uint32_t i = 0; i < conflict->count; i++) {
        const struct bz_conflict_sibling *s = &conflict->siblings[i];
        if (s->role > claim.role || (s->role == claim.role && s->stamp > claim.stamp))
            claim = (struct bz_claim){s->stamp, s->role};
    }
    return claim;
}

int bz_policy_choose(enum bz_policy policy, const struct bz_conflict *conflict, const char *name,
    blaze_doc *values, struct bz_claim *claim)
{
    *claim = bz_claim_of(conflict);
    if (policy == BZ_POLICY_LIST)
        return add_list(conflict, name, values);
    const struct bz_conflict_sibling *best = best_of(policy, conflict);
    if (policy == BZ_POLICY_LAST || policy == BZ_POLICY_SERVER)
        *claim = (struct bz_claim){best->stamp, best->role};
    return best->present ? blaze_doc_add_value(values, name, &best->value)
                         : blaze_doc_add_unset(values, name);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "plan.h"

#include "base/alloc.h"
#include "query/query.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const plan_collections[PLAN_COLLECTIONS] = {"people", "places", "things"};
static const char counter_collection[] = "counter";

uint64_t plan_mix(uint64_t a, uint64_t b)
{
    uint64_t z = (a ^ (b * 0xd6e8feb86659fd93u)) + 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

const struct bz_vault_secret *plan_secret(const struct plan *plan)
{
    static const struct bz_vault_secret secret = {
        .kind = BZ_VAULT_KEY_FILE,
        .bytes = {(const uint8_t *)"32 bytes, which are not random..", 32},
    };
    return (plan->seed & 1) != 0 ? &secret : NULL;
}

void plan_add_life(struct plan *plan, uint64_t after, uint64_t life)
{
    /* Of a life that ended without a commit nothing is left. */
    while (plan->life_count > 0 && plan->lives[plan->life_count - 1].after >= after)
        plan->life_count--;
    if (plan->life_count == PLAN_LIVES)
        abort();
    plan->lives[plan->life_count++] = (struct plan_life){after, life};
}

static uint64_t life_of(const struct plan *plan, uint64_t n)
{
    size_t i = plan->life_count;
    while (i > 1 && plan->lives[i - 1].after >= n)
        i--;
    return i == 0 ? 0 : plan->lives[i - 1].life;
}

/* ---- the operations of a commit ---- */

enum verb { INSERT, PUT, UPDATE, DELETE };

struct operation {
    enum verb verb;
    uint32_t collection;
    uint32_t key;
    struct plan_document after;
};

static uint64_t commit_mix(const struct plan *plan, uint64_t n)
{
    return plan_mix(plan_mix(plan->seed, life_of(plan, n)), n);
}

static uint32_t operation_count(const struct plan *plan, uint64_t n)
{
    return 1 + (uint32_t)(commit_mix(plan, n) % (plan->large ? 3 : 6));
}

enum bz_durability plan_durability(const struct plan *plan, uint64_t n)
{
    /* In runs, so that some commits go unsynced for a while. */
    return plan_mix(plan->seed ^ 77, n / 6) % 3 == 0 ? BZ_DURABLE_RELAXED : BZ_DURABLE_FULL;
}

static uint32_t text_size(const struct plan *plan, uint64_t mix)
{
    if (plan->large)
        return 40000u + (uint32_t)(mix % 160000);
    if (mix % 97 == 0)
        return 20000u + (uint32_t)(mix / 97 % 30000); /* more than a segment holds */
    return mix % 11 == 0 ? (uint32_t)(mix / 11 % 4000) : (uint32_t)(mix / 11 % 300);
}

/* Operation `i` of commit n on the documents before it. */
static struct operation operation(
    const struct plan *plan, uint64_t n, uint32_t i, const struct plan_state *state)
{
    uint64_t mix = plan_mix(commit_mix(plan, n), i);
    struct operation op = {
        .collection = (uint32_t)(mix % PLAN_COLLECTIONS),
        .key = (uint32_t)(mix / 8 % PLAN_KEYS),
    };
    const struct plan_document *before = &state->documents[op.collection][op.key];
    static const enum verb verbs[] = {PUT, UPDATE, UPDATE, DELETE};
    op.verb = before->exists ? verbs[mix / 1024 % 4] : INSERT;
    op.after = *before;
    op.after.group = (uint32_t)(mix / 4096 % PLAN_GROUPS);
    switch (op.verb) {
    case INSERT:
    case PUT:
        op.after.exists = true;
        op.after.commit = n;
        op.after.life = life_of(plan, n);
        op.after.touched = 0;
        op.after.size = text_size(plan, plan_mix(mix, 5));
        break;
    case UPDATE:
        op.after.touched = n;
        break;
    case DELETE:
        op.after = (struct plan_document){0};
        break;
    }
    return op;
}

static void apply(struct plan_state *state, const struct operation *op)
{
    state->documents[op->collection][op->key] = op->after;
}

void plan_replay(const struct plan *plan, uint64_t n, struct plan_state *out)
{
    memset(out, 0, sizeof *out);
    for (uint64_t commit = 1; commit <= n; commit++) {
        for (uint32_t i = 0; i < operation_count(plan, commit); i++) {
            struct operation op = operation(plan, commit, i, out);
            apply(out, &op);
        }
    }
    out->commit = n;
}

/* ---- documents ---- */

static blaze_id id_of(uint32_t collection, uint32_t key)
{
    /* Scattered, so that the keys of one commit lie on many pages. */
    blaze_id id = {{0}};
    bz_store64le(id.bytes, plan_mix(collection, key));
    id.bytes[15] = (uint8_t)key;
    return id;
}

/* The text is known from who wrote it. */
static void fill_text(const struct plan_document *document, char *out)
{
    uint64_t mix = plan_mix(document->commit, document->life);
    for (uint32_t i = 0; i < document->size; i++) {
        if (i % 8 == 0)
            mix = plan_mix(mix, i);
        out[i] = (char)('a' + (mix >> (i % 8 * 8) & 15));
    }
}

static int to_doc(const struct operation *op, blaze_doc *doc, blaze_error *error)
{
    const struct plan_document *after = &op->after;
    blaze_doc_clear(doc);
    blaze_doc_add_int(doc, "group", after->group);
    if (op->verb == UPDATE) {
        blaze_doc_add_int(doc, "touched", (int64_t)after->touched);
    } else {
        char *text = malloc(after->size + 1);
        if (text == NULL)
            return bz_error_code(error, BLAZE_ENOMEM);
        fill_text(after, text);
        blaze_doc_add_int(doc, "commit", (int64_t)after->commit);
        blaze_doc_add_text(doc, "text", text, after->size);
        free(text);
    }
    int rc = blaze_doc_check(doc);
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

static int write_one(
    struct bz_db_txn *txn, const struct operation *op, blaze_doc *doc, blaze_error *error)
{
    struct bz_bytes collection = bz_bytes_text(plan_collections[op->collection]);
    blaze_id id = id_of(op->collection, op->key);
    if (op->verb == DELETE)
        return bz_db_delete(txn, collection, &id, error);
    int rc = to_doc(op, doc, error);
    if (rc != 0)
        return rc;
    switch (op->verb) {
    case INSERT:
        return bz_db_insert(txn, collection, &id, doc, error);
    case PUT:
        return bz_db_put(txn, collection, &id, doc, error);
    default:
        return bz_db_update(txn, collection, &id, doc, error);
    }
}

static int write_counter(struct bz_db_txn *txn, uint64_t n, blaze_doc *doc, blaze_error *error)
{
    blaze_id id = id_of(PLAN_COLLECTIONS, 0);
    blaze_doc_clear(doc);
    blaze_doc_add_int(doc, "commit", (int64_t)n);
    return bz_db_put(txn, bz_bytes_text(counter_collection), &id, doc, error);
}

int plan_write(const struct plan *plan, uint64_t n, struct bz_db_txn *txn, blaze_error *error)
{
    struct plan_state *state = malloc(sizeof *state);
    blaze_doc *doc = NULL;
    int rc = state == NULL ? BLAZE_ENOMEM : blaze_doc_new(&doc);
    if (rc != 0) {
        bz_error_code(error, rc);
        goto done;
    }
    plan_replay(plan, n - 1, state);
    for (uint32_t i = 0; rc == 0 && i < operation_count(plan, n); i++) {
        struct operation op = operation(plan, n, i, state);
        rc = write_one(txn, &op, doc, error);
        apply(state, &op);
    }
    if (rc == 0)
        rc = write_counter(txn, n, doc, error);
done:
    blaze_doc_free(doc);
    free(state);
    return rc;
}

/* ---- comparing ---- */

static int64_t number_of(const blaze_value *document, const char *name)
{
    blaze_value value;
    if (blaze_value_field(document, name, &value) != 0 || value.type != BLAZE_INT)
        return 0;
    return value.as.integer;
}

int plan_read_commit(struct bz_read *read, uint64_t *out, blaze_error *error)
{
    blaze_id id = id_of(PLAN_COLLECTIONS, 0);
    blaze_value document;
    int rc = bz_read_get(read, bz_bytes_text(counter_collection), &id, &document, error);
    if (rc != 0 && rc != BLAZE_ENOTFOUND)
        return rc;
    *out = rc == 0 ? (uint64_t)number_of(&document, "commit") : 0;
    return 0;
}

static bool same_text(const blaze_value *document, const struct plan_document *want)
{
    blaze_value value;
    if (blaze_value_field(document, "text", &value) != 0 || value.type != BLAZE_STRING ||
        value.as.text.size != want->size)
        return false;
    char *expected = malloc(want->size + 1);
    if (expected == NULL)
        abort();
    fill_text(want, expected);
    bool same = memcmp(expected, value.as.text.data, want->size) == 0;
    free(expected);
    return same;
}

static int compare_one(const struct plan_document *want, struct bz_read *read, uint32_t collection,
    uint32_t key, blaze_error *error)
{
    const char *name = plan_collections[collection];
    blaze_id id = id_of(collection, key);
    blaze_value document;
    int rc = bz_read_get(read, bz_bytes_text(name), &id, &document, error);
    if (rc != 0 && rc != BLAZE_ENOTFOUND)
        return rc;
    if ((rc == 0) != want->exists)
        return bz_error_set(error, BLAZE_EINVAL, "%s/%u: %s", name, key,
            rc == 0 ? "is there, and should not be" : "is missing");
    if (rc != 0)
        return 0;
    if (number_of(&document, "commit") != (int64_t)want->commit ||
        number_of(&document, "touched") != (int64_t)want->touched ||
        number_of(&document, "group") != (int64_t)want->group)
        return bz_error_set(error, BLAZE_EINVAL,
            "%s/%u: of commits %" PRId64 " and %" PRId64 ", not %" PRIu64 " and %" PRIu64, name,
            key, number_of(&document, "commit"), number_of(&document, "touched"), want->commit,
            want->touched);
    if (!same_text(&document, want))
        return bz_error_set(error, BLAZE_EINVAL, "%s/%u: another text", name, key);
    return 0;
}

static int compare_count(
    const struct plan_state *state, struct bz_read *read, uint32_t collection, blaze_error *error)
{
    uint64_t want = 0, got;
    for (uint32_t key = 0; key < PLAN_KEYS; key++)
        want += state->documents[collection][key].exists;
    int rc = bz_read_count(read, bz_bytes_text(plan_collections[collection]), &got, error);
    if (rc == 0 && got != want)
        rc = bz_error_set(error, BLAZE_EINVAL, "%s: %" PRIu64 " records, not %" PRIu64,
            plan_collections[collection], got, want);
    return rc;
}

/* By the index, where there is one already. */
static int compare_group(
    const struct plan_state *state, struct bz_read *read, uint32_t group, blaze_error *error)
{
    uint64_t want = 0, got = 0;
    for (uint32_t key = 0; key < PLAN_KEYS; key++) {
        const struct plan_document *document = &state->documents[PLAN_INDEXED][key];
        want += document->exists && document->group == group;
    }
    char text[32];
    snprintf(text, sizeof text, "group = %u", group);
    struct bz_filter *filter = NULL;
    int rc = bz_filter_parse(&filter, bz_bytes_text(text), error);
    if (rc != 0)
        return rc;
    struct bz_find find = {
        .collection = bz_bytes_text(plan_collections[PLAN_INDEXED]), .filter = filter};
    rc = bz_read_find_count(read, &find, &got, error);
    bz_filter_free(filter);
    if (rc == 0 && got != want)
        rc = bz_error_set(
            error, BLAZE_EINVAL, "group %u: %" PRIu64 " found, not %" PRIu64, group, got, want);
    return rc;
}

int plan_compare(const struct plan_state *state, struct bz_read *read, blaze_error *error)
{
    int rc = 0;
    for (uint32_t c = 0; rc == 0 && c < PLAN_COLLECTIONS; c++) {
        for (uint32_t key = 0; rc == 0 && key < PLAN_KEYS; key++)
            rc = compare_one(&state->documents[c][key], read, c, key, error);
        if (rc == 0)
            rc = compare_count(state, read, c, error);
    }
    for (uint32_t group = 0; rc == 0 && group < PLAN_GROUPS; group++)
        rc = compare_group(state, read, group, error);
    return rc;
}

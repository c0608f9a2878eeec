/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a policy makes of siblings, worked out here once more; and what the resolvers of this world
 * answer.
 */
#include "settle.h"

#define LIST_MAX 2048u

static blaze_value joined[LIST_MAX];

/* Absent comes first. */
static int by_value(
    struct sim_world *w, const struct sim_write *a, const struct sim_write *b, uint32_t field)
{
    blaze_value x, y;
    bool p = sim_value_get(w, a, field, &x), q = sim_value_get(w, b, field, &y);
    return p && q ? sim_value_order(&x, &y) : (int)p - (int)q;
}

static int by_policy(struct sim_world *w, enum bz_policy policy, const struct sim_write *a,
    const struct sim_write *b, uint32_t field)
{
    int order = by_value(w, a, b, field);
    if (policy == BZ_POLICY_GREATEST)
        return order;
    if (policy == BZ_POLICY_LEAST)
        return -order;
    int time = (a->stamp > b->stamp) - (a->stamp < b->stamp);
    int role = (int)a->role - (int)b->role;
    if (policy == BZ_POLICY_SERVER && role != 0)
        return role;
    return time != 0 ? time : order != 0 ? order : role;
}

static int compare_values(const void *a, const void *b)
{
    return sim_value_order(a, b);
}

static void join(struct sim_world *w, const struct sim_siblings *siblings, uint32_t field,
    struct sim_decision *out)
{
    bool array = false;
    uint32_t n = 0;
    for (uint32_t i = 0; i < siblings->count; i++) {
        blaze_value value;
        blaze_iter it;
        if (!sim_value_get(w, siblings->all[i], field, &value))
            continue;
        assert(n + blaze_value_count(&value) < LIST_MAX);
        if (value.type != BLAZE_ARRAY) {
            joined[n++] = value;
            continue;
        }
        array = true;
        blaze_iter_init(&it, &value);
        while (blaze_iter_next(&it, NULL, &joined[n]) == 0)
            n++;
    }
    qsort(joined, n, sizeof *joined, compare_values);
    for (uint32_t i = 0; i < n; i++) {
        if (i == 0 || sim_value_order(&joined[i], &joined[out->count - 1]) != 0)
            joined[out->count++] = joined[i];
    }
    out->present = true;
    for (uint32_t i = 0; out->count == 1 && !array && i < siblings->count; i++) {
        if (siblings->all[i]->sets >> field & 1)
            out->of = siblings->all[i];
    }
}

static enum bz_policy policy_of(const struct sim_node *node, uint32_t record, uint32_t field)
{
    const uint8_t *policies = node->rules.policies[sim_collection_number(record)];
    return policies[field] != BZ_POLICY_UNSET ? policies[field] : policies[SIM_FIELDS];
}

/* A conflict among settled writes alone is for the one of their writers with the least id. */
static bool is_ours(
    const struct sim_node *node, const struct sim_ask *ask, const struct sim_siblings *siblings)
{
    const struct sim_world *w = node->world;
    const blaze_id *least = &w->identities[siblings->all[0]->identity].id;
    for (uint32_t i = 0; i < siblings->count; i++) {
        const blaze_id *id = &w->identities[siblings->all[i]->identity].id;
        if (!siblings->all[i]->settles || ask != NULL)
            return true;
        least = memcmp(id, least, sizeof *id) < 0 ? id : least;
    }
    return memcmp(least, &sim_identity_of(node)->id, sizeof *least) == 0;
}

static bool is_asked_for(const struct sim_ask *ask, uint32_t record, uint32_t field)
{
    return ask == NULL ||
           ((ask->collection < 0 || ask->collection == (int)sim_collection_number(record)) &&
               (ask->record < 0 || ask->record == (int)record) &&
               (ask->field < 0 || ask->field == (int)field));
}

bool sim_is_due(struct sim_node *node, const struct sim_ask *ask, uint32_t record, uint32_t field)
{
    struct sim_siblings siblings;
    if (!is_asked_for(ask, record, field) || !sim_in_conflict(node, record, 1u << field))
        return false;
    sim_siblings_at(node, record, 1u << field, &siblings);
    return is_ours(node, ask, &siblings);
}

static void claim_greatest(const struct sim_siblings *siblings, struct sim_decision *out)
{
    for (uint32_t i = 0; i < siblings->count; i++) {
        const struct sim_write *s = siblings->all[i];
        if (s->role > out->role || (s->role == out->role && s->stamp > out->stamp)) {
            out->role = s->role;
            out->stamp = s->stamp;
        }
    }
}

static void choose(struct sim_world *w, enum bz_policy policy, const struct sim_siblings *siblings,
    uint32_t field, struct sim_decision *out)
{
    const struct sim_write *best = siblings->all[0];
    for (uint32_t i = 1; i < siblings->count; i++) {
        if (by_policy(w, policy, siblings->all[i], best, field) > 0)
            best = siblings->all[i];
    }
    out->of = best;
    out->present = best->sets >> field & 1;
    if (policy == BZ_POLICY_LAST || policy == BZ_POLICY_SERVER) {
        out->stamp = best->stamp;
        out->role = best->role;
    }
}

struct sim_decision sim_decide(struct sim_node *node, const struct sim_ask *ask,
    const struct sim_answer *answer, uint32_t record, uint32_t field)
{
    struct sim_decision d = {.made = false};
    struct sim_siblings siblings;
    enum bz_policy given = ask != NULL ? ask->policy : BZ_POLICY_UNSET;
    bool resolves = node->resolvers[sim_collection_number(record)] != SIM_NO_RESOLVER;
    if (!sim_is_due(node, ask, record, field))
        return d;
    sim_siblings_at(node, record, 1u << field, &siblings);
    claim_greatest(&siblings, &d);
    if (resolves && given == BZ_POLICY_UNSET) {
        d.answered = d.made = ask == NULL && (answer->named >> field & 1);
        d.present = answer->sets >> field & 1;
        return d;
    }
    enum bz_policy policy = given != BZ_POLICY_UNSET ? given : policy_of(node, record, field);
    if (policy == BZ_POLICY_UNSET || policy == BZ_POLICY_NONE)
        return d;
    d.made = true;
    if (policy == BZ_POLICY_LIST)
        join(node->world, &siblings, field, &d);
    else
        choose(node->world, policy, &siblings, field, &d);
    return d;
}

bool sim_is_decided(struct sim_world *w, const struct sim_decision *d,
    const struct sim_answer *answer, uint32_t field, const blaze_value *value)
{
    blaze_value other;
    blaze_iter it;
    if (d->of != NULL)
        return sim_value_is(w, value, d->of, field);
    if (!d->present || value == NULL)
        return !d->present && value == NULL;
    if (d->answered)
        return blaze_doc_value(answer->values, &other) == 0 &&
               blaze_value_field(&other, sim_fields[field], &other) == 0 &&
               sim_value_order(value, &other) == 0;
    if (value->type != BLAZE_ARRAY || blaze_value_count(value) != d->count)
        return false;
    blaze_iter_init(&it, value);
    for (uint32_t i = 0; blaze_iter_next(&it, NULL, &other) == 0; i++) {
        if (sim_value_order(&other, &joined[i]) != 0)
            return false;
    }
    return true;
}

/* ---- resolvers ---- */

static uint64_t hash_of(const struct bz_conflict_sibling *sibling)
{
    char *json = NULL;
    if (!sibling->present)
        return 0;
    if (blaze_value_to_json(&json, &sibling->value, false) != 0)
        abort();
    uint64_t hash = bz_hash64(json, strlen(json), sibling->value.type);
    blaze_free(json);
    return hash;
}

static void answer_choice(const struct bz_conflict *field, const char *name, blaze_doc *out)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < field->count; i++)
        best = hash_of(&field->siblings[i]) > hash_of(&field->siblings[best]) ? i : best;
    if (field->siblings[best].present)
        blaze_doc_add_value(out, name, &field->siblings[best].value);
    else
        blaze_doc_add_unset(out, name);
}

void sim_answer_one(struct sim_world *w, enum sim_resolver how, const struct bz_conflict *field,
    const char *name, blaze_doc *out)
{
    uint64_t sum = 0;
    switch (how) {
    case SIM_JOINS:
        for (uint32_t i = 0; i < field->count; i++)
            sum += hash_of(&field->siblings[i]);
        blaze_doc_add_int(out, name, (int64_t)(sum >> 1));
        break;
    case SIM_INVENTS:
        blaze_doc_add_int(out, name, (int64_t)++w->inventions);
        break;
    case SIM_LEAVES:
        if (sim_field_of(field->field) % 3 == 0)
            answer_choice(field, name, out);
        else if (sim_field_of(field->field) % 3 == 1)
            blaze_doc_add_unset(out, name);
        break;
    default:
        answer_choice(field, name, out);
    }
}

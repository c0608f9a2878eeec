/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_SIM_SETTLE_H
#define BZ_SIM_SETTLE_H

/* Conflicts and how they are settled; see sim.h. */

#include "world.h"

static inline const struct sim_identity *sim_identity_of(const struct sim_node *node)
{
    return &node->world->identities[node->identity];
}

static inline uint32_t sim_record_of(const blaze_id *id)
{
    uint64_t record = bz_load64be(id->bytes + 8);
    return record < SIM_RECORDS ? (uint32_t)record : 0;
}

/* SIM_FIELDS: it is none. */
static inline uint32_t sim_field_of(struct bz_bytes name)
{
    uint32_t f = 0;
    while (f < SIM_FIELDS && !bz_bytes_equal(name, bz_bytes_text(sim_fields[f])))
        f++;
    return f;
}

/* ---- conflicts.c ---- */

/* Those of a cell at a node, as it is now. */
void sim_siblings_at(
    const struct sim_node *node, uint32_t record, uint32_t cell, struct sim_siblings *out);
/* Whether the field of a record is in conflict at a node; or its life. */
bool sim_in_conflict(struct sim_node *node, uint32_t record, uint32_t cell);
/* That what a node says of a field, or of life, is what the writes say. */
void sim_check_told(struct sim_node *node, const struct bz_conflict *told);
/* That what a node lists as being in conflict is so, and nothing else is. */
void sim_check_conflicts(struct sim_node *node, struct bz_read *read);

/* ---- rules.c ---- */

/* What somebody asks to be settled, and by which policy. */
struct sim_ask {
    int collection, record, field; /* -1: all */
    enum bz_policy policy;
};
/* What a resolver has said of a record. */
struct sim_answer {
    bool asked;
    uint8_t named, sets;
    blaze_doc *values; /* owned */
};
/* What is to become of a field. */
struct sim_decision {
    bool made, present;
    const struct sim_write *of; /* whose value it is; NULL: the list's, or the answer's */
    bool answered;
    uint32_t count; /* of the list, which stays until the next is decided on */
    uint64_t stamp;
    uint8_t role;
};
/* Whether a field is for this node to settle now; `ask` NULL: by itself. */
bool sim_is_due(struct sim_node *node, const struct sim_ask *ask, uint32_t record, uint32_t field);
struct sim_decision sim_decide(struct sim_node *node, const struct sim_ask *ask,
    const struct sim_answer *answer, uint32_t record, uint32_t field);
bool sim_is_decided(struct sim_world *w, const struct sim_decision *d,
    const struct sim_answer *answer, uint32_t field, const blaze_value *value);
/* What a resolver makes of a field. */
void sim_answer_one(struct sim_world *w, enum sim_resolver how, const struct bz_conflict *field,
    const char *name, blaze_doc *out);

/* ---- settle.c ---- */

/* A node settles by its rules, or what it is asked to; and that is what the rules say. */
void sim_settle(struct sim_node *node, const struct sim_ask *ask);
/* Some node settles, if there is one that has something to look at. */
bool sim_settle_step(struct sim_world *w);
void sim_policy_set(
    struct sim_node *node, uint32_t collection, uint32_t field, enum bz_policy policy);
void sim_resolver_set(struct sim_node *node, uint32_t collection, enum sim_resolver resolver);
/* After opening: its policies are those that it had, its resolvers are set again. */
void sim_rules_opened(struct sim_node *node);
/* After a commit: with which stamps it wrote. */
void sim_stamps_note(struct sim_node *node, uint64_t position);
/* That nothing is left that rules should have settled, and that rules have settled no more than
 * they may. */
void sim_check_settled(struct sim_world *w);

#endif

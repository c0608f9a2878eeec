/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/terms.h"

#include "base/alloc.h"

#define UNKNOWN   UINT32_MAX
#define ILLEGIBLE (UINT32_MAX - 1)

/* The next table size that holds `number`: doubling, in whole bytes of bits. */
static uint32_t grown(uint32_t count, uint32_t number)
{
    uint32_t wanted = count == 0 ? 64 : count;
    while (wanted <= number)
        wanted *= 2;
    return wanted;
}

void bz_terms_told_release(struct bz_terms_told *told)
{
    for (int i = 0; i < BZ_TERM_KINDS; i++)
        bz_free(told->bits[i]);
    *told = (struct bz_terms_told){0};
}

int bz_terms_tell(struct bz_terms_told *told, enum bz_term term, uint32_t number, bool *first)
{
    if (number >= BZ_TERMS_DEFINED_MAX)
        return BLAZE_ELIMIT;
    uint32_t count = told->count[term];
    if (number >= count) {
        uint32_t wanted = grown(count, number);
        uint8_t *bits = bz_realloc(told->bits[term], wanted / 8);
        if (bits == NULL)
            return BLAZE_ENOMEM;
        memset(bits + count / 8, 0, (wanted - count) / 8);
        told->bits[term] = bits;
        told->count[term] = wanted;
    }
    uint8_t *byte = &told->bits[term][number / 8];
    uint8_t bit = (uint8_t)(1u << number % 8);
    *first = (*byte & bit) == 0;
    *byte |= bit;
    return 0;
}

void bz_terms_learnt_release(struct bz_terms_learnt *learnt)
{
    for (int i = 0; i < BZ_TERM_KINDS; i++)
        bz_free(learnt->ours[i]);
    *learnt = (struct bz_terms_learnt){0};
}

int bz_terms_learn(
    struct bz_terms_learnt *learnt, enum bz_term term, uint32_t theirs, uint32_t ours)
{
    if (theirs >= BZ_TERMS_DEFINED_MAX)
        return BLAZE_EPROTO;
    uint32_t count = learnt->count[term];
    if (theirs >= count) {
        uint32_t wanted = grown(count, theirs);
        uint32_t *table = bz_realloc(learnt->ours[term], wanted * sizeof *table);
        if (table == NULL)
            return BLAZE_ENOMEM;
        for (uint32_t i = count; i < wanted; i++)
            table[i] = UNKNOWN;
        learnt->ours[term] = table;
        learnt->count[term] = wanted;
    }
    if (learnt->ours[term][theirs] != UNKNOWN)
        return BLAZE_EPROTO;
    learnt->ours[term][theirs] = ours;
    return 0;
}

int bz_terms_learn_illegible(struct bz_terms_learnt *learnt, enum bz_term term, uint32_t theirs)
{
    return bz_terms_learn(learnt, term, theirs, ILLEGIBLE);
}

int64_t bz_terms_ours(const struct bz_terms_learnt *learnt, enum bz_term term, uint32_t theirs)
{
    if (theirs >= learnt->count[term] || learnt->ours[term][theirs] == UNKNOWN)
        return BLAZE_EPROTO;
    int64_t ours = learnt->ours[term][theirs];
    return ours == ILLEGIBLE ? BLAZE_EAUTH : ours;
}

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_SYNC_TERMS_H
#define BZ_SYNC_TERMS_H

/*
 * The dictionaries of a session: numbers of ours that the peer has been told of, numbers of the
 * peer's and what they are here. Both are tables over the number itself and bounded by
 * BZ_TERMS_DEFINED_MAX, so that nothing a peer says makes one larger than 4 MiB a kind.
 */

#include "sync/frame.h"

#define BZ_TERM_KINDS 4

/* Ours, told to the peer: a bit each. */
struct bz_terms_told {
    uint8_t *bits[BZ_TERM_KINDS];
    uint32_t count[BZ_TERM_KINDS]; /* numbers that the bits have room for */
};

void bz_terms_told_release(struct bz_terms_told *told);
/* True in *first if the number was not told before; it then counts as told. BLAZE_ELIMIT for a
 * number that the wire has no room for; BLAZE_ENOMEM. */
int bz_terms_tell(struct bz_terms_told *told, enum bz_term term, uint32_t number, bool *first);

/* The peer's, learnt from it: our number each. */
struct bz_terms_learnt {
    uint32_t *ours[BZ_TERM_KINDS];
    uint32_t count[BZ_TERM_KINDS];
};

void bz_terms_learnt_release(struct bz_terms_learnt *learnt);
/* BLAZE_EPROTO if the peer has defined this number before; BLAZE_ENOMEM. */
int bz_terms_learn(
    struct bz_terms_learnt *learnt, enum bz_term term, uint32_t theirs, uint32_t ours);
/* The same for a number whose meaning nobody can read. */
int bz_terms_learn_illegible(struct bz_terms_learnt *learnt, enum bz_term term, uint32_t theirs);
/* Our number; BLAZE_EPROTO if it was never defined, BLAZE_EAUTH if it is illegible. */
int64_t bz_terms_ours(const struct bz_terms_learnt *learnt, enum bz_term term, uint32_t theirs);

#endif

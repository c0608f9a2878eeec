/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_BASE_MUTANT_H
#define BZ_BASE_MUTANT_H

/*
 * Deliberate faults, by which the simulator shows that its checks bite (sim/mutants.c). They exist
 * only in code that is compiled with BZ_MUTANTS, which no library is: there BZ_MUTANT(NAME) is
 * whether that fault is switched on, everywhere else it is the constant false.
 */

#include <stdbool.h>

#define BZ_MUTANTS_EACH(X)                                                                         \
    X(KEEPS_SUPERSEDED, "merge keeps a write that the other side has replaced")                    \
    X(DROPS_CONCURRENT, "merge keeps one of two concurrent writes")                                \
    X(RVV_NOT_RAISED, "merge does not raise what a record has seen")                               \
    X(REPLACES_CONCURRENT, "a whole write replaces what it had not seen")                          \
    X(SUBSUMED_WRONGLY, "what is merged from both sides is taken for known to the sender")         \
    X(DELETE_DROPS_HIDDEN, "a delete drops the fields behind it")                                  \
    X(UPDATE_WITHOUT_LIFE, "an update does not say that the record lives")                         \
    X(ROLE_OVER_SEEN, "a server's write stays before a client's that had seen it")                 \
    X(DIGEST_FORGETS_SIBLING, "the digest forgets a sibling")                                      \
    X(SINCE_OFF_BY_ONE, "a changed field is left out, one position too far")                       \
    X(STAMP_NOT_OBSERVED, "the clock does not follow stamps that come")                            \
    X(VECTOR_EARLY, "the version vector is taken before the head is reached")                      \
    X(FIELDS_BY_CURSOR, "what a peer has of a record is judged by its cursor")                     \
    X(CURSOR_WITHOUT_DATA, "a cursor is stored without some of its data")                          \
    X(CURSOR_OFF_BY_ONE, "a session resumes one position too far")                                 \
    X(DELETE_NOT_SENT, "a delete is not handed on")                                                \
    X(ROLLBACK_UNNOTICED, "no new identity after relaxed commits were lost")                       \
    X(OUTLIVED_UNNOTICED, "no new identity when a peer has seen more of this node's writes")       \
    X(COPY_UNNOTICED, "no new identity for a copied directory")                                    \
    X(VECTOR_SKIPS_ONE, "a peer's version vector is thought to cover one write more")              \
    X(SETTLING_TAKES_LIFE, "a settling write says that the record lives")                          \
    X(SETTLES_UNSEEN, "what is settled is written though the record has changed")                  \
    X(SETTLES_OTHERS, "settled values are settled by whoever sees them differ")                    \
    X(SETTLED_NOW, "a settled value has the time and role of who settles")                         \
    X(SETTLED_UNMARKED, "a settled value is sent as one that somebody wrote")                      \
    X(LIST_NESTS, "a list of siblings has lists as its elements")                                  \
    X(LAST_BY_ROLE, "the last of the siblings is a server's if there is one")                      \
    X(LIFE_UNLISTED, "a conflict of life is not listed")                                           \
    X(OPENING_NOT_NOTED, "a copy that was put back notes no opening of its own")                   \
    X(FORK_UNNOTICED, "no new identity when a peer's cursor is of a log that is no more")          \
    X(AS_OF_CURSOR, "of a cursor it is not kept as of which state of the log it was given")        \
    X(NOT_REISSUED, "what was written since the copy was put back keeps its dots")                 \
    X(LOGS_NOT_REREAD, "who was put back does not ask again for what it had given others")         \
    X(FORMER_NODE_GOES_ON, "sessions go on under the name of a node that is no more")              \
    X(COLLECTS_EARLY, "a delete is collected though some replica does not have it")                \
    X(COLLECTS_UNSTABLE, "a delete is collected though what had not seen it may be on its way")    \
    X(COLLECTS_UNCLAIMED, "a part collects its own delete before a full copy has it")              \
    X(NOT_COMPARED, "who was away does not compare what it has")                                   \
    X(COMPARES_AWAY, "comparing takes away what the peer never had")                               \
    X(TORN_BY_VECTOR, "a version vector is thought to say whether a torn record is known")         \
    X(PART_TAKEN_FOR_FULL, "a full copy takes over the version vector of a part")                  \
    X(WIDER_NOT_REREAD, "a wider scope does not read the logs again")                              \
    X(LET_GO_UNCLAIMED, "a part lets go of what no full copy is known to have")                    \
    X(LET_GO_DELETES, "what leaves a scope is deleted by a write")                                 \
    X(STATES_SUMMED, "a part takes the sum of what its peers told for what it was shown")          \
    X(CLAIMS_WHAT_WENT, "a part claims what it let go of to whoever")                              \
    X(MARKER_IGNORED, "a part ignores that a record has left its scope")                           \
    X(LEFT_UNSEEN, "who writes anew what it has let go of has not seen that")

enum bz_mutant {
    BZ_MUTANT_NONE,
#define X(name, text) BZ_MUTANT_##name,
    BZ_MUTANTS_EACH(X)
#undef X
        BZ_MUTANTS_COUNT
};

#ifdef BZ_MUTANTS
extern enum bz_mutant bz_mutant; /* the one that is on */
#define BZ_MUTANT(name) (bz_mutant == BZ_MUTANT_##name)
#else
#define BZ_MUTANT(name) false
#endif

#endif

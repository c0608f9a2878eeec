/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_FAULT_TEST_UTIL_H
#define BZ_STORE_FAULT_TEST_UTIL_H

/*
 * Faults as a dimension of a test: what can be refused, one call of it or all from one on, the
 * first, the second, and so on until a run has no such call any more. bz_fault_each() goes through
 * all of them; how much of it is done at a time, see below.
 */

#include "base/alloc.h"
#include "os/os.h"

#include "random.h"

#include <errno.h>
#include <stdatomic.h>

enum { BZ_FAULT_ANY = BZ_OS_OPS, BZ_FAULT_ALLOCATION, BZ_FAULT_FULL_DISK };

struct bz_fault_kind {
    const char *name;
    int what;   /* enum bz_os_op, or one of those above */
    int number; /* errno */
};

static const struct bz_fault_kind bz_fault_kinds[] = {
    {"allocations", BZ_FAULT_ALLOCATION, ENOMEM}, {"opening", BZ_OS_OPEN, EMFILE},
    {"reading", BZ_OS_READ, EIO}, {"writing", BZ_OS_WRITE, EIO}, {"syncing", BZ_OS_SYNC, EIO},
    {"truncating", BZ_OS_TRUNCATE, ENOSPC}, {"renaming", BZ_OS_RENAME, EIO},
    {"mapping", BZ_OS_MAP, ENOMEM}, {"removing", BZ_OS_REMOVE, EIO}, {"listing", BZ_OS_LIST, EIO},
    {"anything", BZ_FAULT_ANY, ENOSPC},
    {"the disk's room", BZ_FAULT_FULL_DISK, ENOSPC}, /* counted in bytes */
};

struct bz_fault {
    const struct bz_fault_kind *kind;
    bool lasting; /* from the one on; else that one alone */
    uint64_t at;  /* which one, from 1 */
    atomic_uint_fast64_t count;
    atomic_bool hit;
};

static inline bool bz_fault_next(struct bz_fault *fault)
{
    uint64_t n = atomic_fetch_add(&fault->count, 1) + 1;
    bool fails = fault->lasting ? n >= fault->at : n == fault->at;
    if (fails)
        atomic_store(&fault->hit, true);
    return fails;
}

static inline int bz_fault_call(void *context, enum bz_os_op op, const char *path)
{
    struct bz_fault *fault = (struct bz_fault *)context;
    (void)path;
    if (fault->kind->what != (int)op && fault->kind->what != BZ_FAULT_ANY)
        return 0;
    return bz_fault_next(fault) ? fault->kind->number : 0;
}

static inline int bz_fault_allocation(void *context)
{
    return bz_fault_next((struct bz_fault *)context);
}

/* The disk has room for fault->at - 1 bytes; after that for none, or, if it is not lasting, for as
 * many as one likes once a single write has been cut off. */
static inline size_t bz_fault_room(void *context, size_t wanted)
{
    struct bz_fault *fault = (struct bz_fault *)context;
    uint64_t before = atomic_fetch_add(&fault->count, wanted), room = fault->at - 1;
    if (before + wanted <= room || (!fault->lasting && before > room))
        return wanted;
    atomic_store(&fault->hit, true);
    return before >= room ? 0 : (size_t)(room - before);
}

static inline void bz_fault_begin(struct bz_fault *fault)
{
    if (fault->kind->what == BZ_FAULT_ALLOCATION)
        bz_alloc_set_fault(bz_fault_allocation, fault);
    else if (fault->kind->what == BZ_FAULT_FULL_DISK)
        bz_os_set_room(bz_fault_room, fault);
    else
        bz_os_set_fault(bz_fault_call, fault);
}

static inline void bz_fault_end(void)
{
    bz_alloc_set_fault(NULL, NULL);
    bz_os_set_fault(NULL, NULL);
    bz_os_set_room(NULL, NULL);
}

/* After the first of a kind not every one is tried, but, with a seed of its own each time, one of
 * about `thin`; bytes of the disk's room are thinned out more. BLAZEDB_LONG: about all. */
static inline uint64_t bz_fault_step(struct rng *rng, const struct bz_fault *fault, uint64_t thin)
{
    uint64_t most = fault->at < 40 ? test_step(1, 1) : thin;
    if (fault->kind->what == BZ_FAULT_ALLOCATION)
        most *= test_is_long() ? 1 : 8;
    if (fault->kind->what == BZ_FAULT_FULL_DISK)
        most = test_step(8000, 250);
    return most <= 1 ? 1 : 1 + rng_below(rng, (uint32_t)(2 * most - 1));
}

/* run(fault) does the work between bz_fault_begin() and bz_fault_end(), and judges it. */
static inline void bz_fault_each(uint64_t thin, void (*run)(struct bz_fault *fault))
{
    struct rng rng = {test_seed()};
    uint64_t runs = 0;
    for (size_t i = 0; i < sizeof bz_fault_kinds / sizeof *bz_fault_kinds; i++) {
        for (unsigned lasting = 0; lasting < 2; lasting++) {
            struct bz_fault fault = {.kind = &bz_fault_kinds[i], .lasting = lasting != 0, .at = 1};
            for (;; fault.at += bz_fault_step(&rng, &fault, thin)) {
                atomic_store(&fault.count, 0);
                atomic_store(&fault.hit, false);
                run(&fault);
                runs++;
                if (!atomic_load(&fault.hit))
                    break;
            }
        }
    }
    test_total(runs, "faults");
}

/* Says which fault it was, for the message of a test that fails. */
static inline const char *bz_fault_name(const struct bz_fault *fault)
{
    static char text[96];
    snprintf(text, sizeof text, "%s: number %llu%s", fault->kind->name,
        (unsigned long long)fault->at, fault->lasting ? " and all after it" : "");
    return text;
}

#endif

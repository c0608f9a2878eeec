/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_TESTING_H
#define BZ_STORE_TESTING_H

/* What the tests of this folder share: a directory of their own, and seeded randomness. */

#include "os/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bz_test_dir {
    char path[64];
};

static inline void bz_test_dir_make(struct bz_test_dir *dir)
{
    strcpy(dir->path, "store-test-XXXXXX");
    if (mkdtemp(dir->path) == NULL)
        abort();
}

static inline int bz_test_remove_entry(void *context, const char *name);

static inline void bz_test_remove_all(const char *path)
{
    if (bz_path_remove(path, NULL) != 0) {
        bz_dir_list(path, bz_test_remove_entry, (void *)(uintptr_t)path, NULL);
        bz_path_remove(path, NULL);
    }
}

static inline int bz_test_remove_entry(void *context, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", (const char *)context, name);
    bz_test_remove_all(path);
    return 0;
}

static inline void bz_test_dir_remove(struct bz_test_dir *dir)
{
    if (dir->path[0] != '\0')
        bz_test_remove_all(dir->path);
    dir->path[0] = '\0';
}

/* splitmix64 */
struct bz_test_random {
    uint64_t state;
};

static inline uint64_t bz_test_next(struct bz_test_random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint64_t bz_test_below(struct bz_test_random *random, uint64_t limit)
{
    return bz_test_next(random) % limit;
}

/* BLAZEDB_SEED, or a new one; printed, so that a failure can be replayed. */
static inline uint64_t bz_test_seed(void)
{
    const char *given = getenv("BLAZEDB_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : bz_os_wall_ms();
    printf("           seed %llu\n", (unsigned long long)seed);
    return seed;
}

#endif

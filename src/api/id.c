/* SPDX-License-Identifier: Apache-2.0 */
/*
 * New ids: UUIDv7 (RFC 9562, section 5.7), ascending within a process.
 *
 *   0   6  milliseconds since 1970, big-endian
 *   6  10  version, variant and 74 bits: random at the first id of a millisecond, then raised by a
 *          random step of 1 to 2^32 for each further one (section 6.2, method 2)
 *
 * The clock may go back: then the newest time given goes on being used. Entropy is drawn in blocks;
 * a forked child begins with a block of its own, so that it does not repeat its parent's ids.
 */
#include "api_priv.h"
#include "crypto/digest.h"
#include "os/os.h"

#include <string.h>

/* The 74 bits: 12 in `high`, 62 in `low`. */
static struct {
    pthread_mutex_t lock;
    uint64_t ms;
    uint64_t high, low;
    uint8_t pool[512];
    size_t left; /* unused bytes at the end of the pool */
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void before_fork(void)
{
    pthread_mutex_lock(&state.lock);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&state.lock);
}

static void after_fork_in_child(void)
{
    state.left = 0;
    state.ms = 0;
    pthread_mutex_unlock(&state.lock);
}

static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* Takes `size` (1 to 16) random bytes from the pool. */
static int draw(void *out, size_t size)
{
    if (state.left < size) {
        int rc = bz_os_entropy(state.pool, sizeof state.pool);
        if (rc != BLAZE_OK)
            return rc;
        state.left = sizeof state.pool;
    }
    memcpy(out, state.pool + sizeof state.pool - state.left, size);
    state.left -= size;
    return BLAZE_OK;
}

static int next(uint64_t now)
{
    const uint64_t low_bits = (1ull << 62) - 1;
    uint64_t fresh[2];
    if (now > state.ms) {
        int rc = draw(fresh, sizeof fresh);
        if (rc != BLAZE_OK)
            return rc;
        state.ms = now;
        state.high = fresh[0] & 0x7ff; /* the top bit is room to count in */
        state.low = fresh[1] & low_bits;
        return BLAZE_OK;
    }
    uint32_t step;
    int rc = draw(&step, sizeof step);
    if (rc != BLAZE_OK)
        return rc;
    state.low += (uint64_t)step + 1;
    if (state.low > low_bits) {
        state.low &= low_bits;
        if (++state.high > 0xfff) {
            state.high = 0;
            state.ms++;
        }
    }
    return BLAZE_OK;
}

int blaze_id_new(blaze_id *out)
{
    pthread_once(&once, watch_forks);
    uint64_t now = bz_os_wall_ms();
    pthread_mutex_lock(&state.lock);
    int rc = next(now);
    if (rc == BLAZE_OK) {
        bz_store64be(out->bytes, state.ms << 16 | 0x7000 | state.high);
        bz_store64be(out->bytes + 8, 2ull << 62 | state.low);
    }
    pthread_mutex_unlock(&state.lock);
    return rc;
}

int blaze_id_derive(blaze_id *out, const blaze_id *space, const void *key, size_t size)
{
    uint8_t hash[BZ_SHA1_SIZE];
    int rc = bz_sha1(hash, bz_bytes(space->bytes, sizeof space->bytes), bz_bytes(key, size));
    if (rc != BLAZE_OK)
        return rc;
    hash[6] = (uint8_t)((hash[6] & 0x0f) | 0x50);
    hash[8] = (uint8_t)((hash[8] & 0x3f) | 0x80);
    memcpy(out->bytes, hash, sizeof out->bytes);
    return BLAZE_OK;
}

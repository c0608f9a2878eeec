/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_PEER_GATE_H
#define BZ_PEER_GATE_H

/*
 * How much one address may ask of a server: so many connections at a time, and so many strangers'
 * failures, which are forgiven one by one as time goes on. Addresses of one IPv6 network of 64 bits
 * count as one; Unix sockets and the own process are not counted.
 *
 * Memory is fixed: addresses are hashed, with a secret seed, to a few thousand places; two that
 * share one share its limits.
 *
 * Threads: one at a time.
 */

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bz_gate;

/* BLAZE_ENOMEM, BLAZE_EIO. 0 for a number means no limit. */
int bz_gate_new(
    struct bz_gate **out, uint32_t connections_max, uint32_t failures_max, uint32_t forgive_ms);
void bz_gate_free(struct bz_gate *gate); /* NULL is allowed */

#define BZ_GATE_OPEN SIZE_MAX /* the place of those who are not counted */

/* Where the caller at `url` is counted. */
size_t bz_gate_place(const struct bz_gate *gate, const char *url);

/* Lets one more in, who must be counted out by leave(); false: not now. */
bool bz_gate_enter(struct bz_gate *gate, size_t place, uint64_t now_ms);
void bz_gate_leave(struct bz_gate *gate, size_t place);

/* One from there has failed to prove itself. */
void bz_gate_fail(struct bz_gate *gate, size_t place, uint64_t now_ms);

#endif

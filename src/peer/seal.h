/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_PEER_SEAL_H
#define BZ_PEER_SEAL_H

/* What a session with a blind peer seals and opens with: crypto/record_seal.h under the keys of a
 * member, a `struct bz_keys` (member.h) being the context. */

#include "sync/session.h"

extern const struct bz_seal_ops bz_seal_ops;

#endif

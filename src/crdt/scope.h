/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_CRDT_SCOPE_H
#define BZ_CRDT_SCOPE_H

/*
 * What a partial replica holds of its database: some collections, each with a filter (query.h) or
 * without. Everything else is not wanted, is not sent to it, and it claims to know nothing of it.
 *
 * A scope travels and is kept as bytes: for each collection, by name ascending, the name and the
 * filter's text, each with its size as a varint before it; an empty filter takes every record. One
 * item with an empty name stands for every collection. No bytes at all: no scope, a full replica.
 *
 * Here is what can be said without understanding filters; db/scope.c understands them.
 */

#include "base/buf.h"
#include "base/error.h"

/* Limits: of one scope, and of one filter in it, so that a peer cannot make evaluating costly. */
#define BZ_SCOPE_COLLECTIONS_MAX 64u
#define BZ_SCOPE_FILTER_MAX      4096u
#define BZ_SCOPE_BYTES_MAX       (32u << 10) /* two of them fit a frame with a summary */

struct bz_scope_item {
    struct bz_bytes collection; /* empty: every one */
    struct bz_bytes filter;     /* empty: every record */
};

void bz_scope_append(struct bz_buf *out, const struct bz_scope_item *item);
/* Takes the next item off `rest`. BLAZE_END after the last, BLAZE_EPROTO. */
int bz_scope_next(struct bz_bytes *rest, struct bz_scope_item *out);
/* Hostile bytes: well-formed, within the limits, in order. BLAZE_EPROTO. */
int bz_scope_check(struct bz_bytes scope);

/* The rest is of scopes that have been checked. */

/* The item that speaks of a collection, false if none does: it is not wanted. */
bool bz_scope_find(struct bz_bytes scope, struct bz_bytes collection, struct bz_scope_item *out);
bool bz_scope_filtered(struct bz_bytes scope); /* some item has a filter */
bool bz_scope_takes_all(struct bz_bytes scope);
/* Whether all that `narrow` takes is certainly taken by `wide`: filters are compared as text. No
 * scope takes everything. */
bool bz_scope_includes(struct bz_bytes wide, struct bz_bytes narrow);

#endif

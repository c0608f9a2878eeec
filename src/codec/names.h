/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_CODEC_NAMES_H
#define BZ_CODEC_NAMES_H

/*
 * A table of interned field names: name <-> small id, ids counting from 0, append-only.
 *
 * Threads: one writer at a time (whoever holds the database's writer lock) adds and truncates; any
 * thread looks up meanwhile, without a lock. A name's bytes stay where they are until the table
 * goes, or until the truncate that removes them.
 */

#include "base/bytes.h"

#include <blazedb/value.h>

int bz_names_new(struct blaze_names **out);
struct blaze_names *bz_names_ref(const struct blaze_names *names);
void bz_names_unref(const struct blaze_names *names); /* NULL is allowed */

uint32_t bz_names_count(const struct blaze_names *names);

/* The name of an id, borrowed; data is NULL if there is none. */
struct bz_bytes bz_names_get(const struct blaze_names *names, uint32_t id);

/* BLAZE_ENOTFOUND. */
int bz_names_find(const struct blaze_names *names, struct bz_bytes name, uint32_t *id);

/* Finds or appends. The name has 1 to BZ_NAMES_BYTES_MAX bytes (asserted); what they may be is the
 * caller's to say. BLAZE_ENOMEM. */
#define BZ_NAMES_BYTES_MAX (64u << 10) /* of a name in clear: BLAZE_MAX_NAME */
int bz_names_add(struct blaze_names *names, struct bz_bytes name, uint32_t *id);

/* Forgets the ids from `count` on: the names of a transaction that came to nothing. */
void bz_names_truncate(struct blaze_names *names, uint32_t count);

#endif

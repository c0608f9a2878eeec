/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_CODEC_KEY_H
#define BZ_CODEC_KEY_H

/*
 * Order-preserving keys: memcmp() of two keys orders as blaze_value_compare() of their values does,
 * no key is the prefix of another, so keys may be followed by anything and may be strung together.
 */

#include "base/buf.h"

#include <blazedb/value.h>

/* The most bytes of a key that is cut off after `max`: escapes double the payload, the last number
 * may pass the cut, and every open container is closed. */
#define BZ_KEY_SIZE_MAX(max) (2 * (max) + 16 + BLAZE_MAX_NESTING)

/* Appends the key of a scalar, array or map. Text and bytes are cut off after `max` payload bytes,
 * containers where their elements' payloads and classes have used that up; *cut then becomes true
 * (and is else left as it is): such keys order only up to the cut, where values that differ may
 * have equal keys; a key that is not cut is equal to those of equal values only. */
void bz_key_append(struct bz_buf *out, const blaze_value *value, size_t max, bool *cut);

/* Appends what the keys of all texts begin with that begin with the string or bytes `value`, and no
 * others, unless it is cut. */
void bz_key_append_prefix(struct bz_buf *out, const blaze_value *value, size_t max, bool *cut);

/* Appends the bytes that all keys of values comparable with `value` are >= to, or, if `end`, are
 * < than. */
void bz_key_append_class(struct bz_buf *out, const blaze_value *value, bool end);

/* Whether a key is that of a number, whose nearest double is then *nearest. */
bool bz_key_number(struct bz_bytes key, double *nearest);

/* Turns the key from offset `from` on into the least one that is greater than all that begin with
 * it. False if there is none, which no key of a value meets. */
bool bz_key_successor(struct bz_buf *key, size_t from);

#endif

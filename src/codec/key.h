/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_CODEC_KEY_H
#define BZ_CODEC_KEY_H

/*
 * Order-preserving keys: memcmp() of two keys orders as blaze_value_compare() of their values does,
 * no key is the prefix of another, so keys may be followed by anything and may be strung together.
 */

#include "base/buf.h"

#include <blazedb/value.h>

/* Appends the key of a scalar, array or map. Text, bytes and containers are cut off after `max`
 * payload bytes; *cut then becomes true: such keys order only up to the cut. */
void bz_key_append(struct bz_buf *out, const blaze_value *value, size_t max, bool *cut);

#endif

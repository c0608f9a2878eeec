/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_BASE_TEXT_H
#define BZ_BASE_TEXT_H

/* Bytes as text: hexadecimal and base64. */

#include "base/buf.h"

/* Appends two lower-case digits a byte. */
void bz_hex_append(struct bz_buf *out, struct bz_bytes b);

/* Appends base64 (RFC 4648 section 4, padded), or the URL alphabet of section 5 without padding. */
void bz_base64_append(struct bz_buf *out, struct bz_bytes b, bool url);

/* Appends what `text` encodes. BLAZE_ESYNTAX for a foreign character, a wrong length, wrong padding
 * or stray bits; BLAZE_ENOMEM. */
int bz_base64_decode(struct bz_buf *out, struct bz_bytes text, bool url);

#endif

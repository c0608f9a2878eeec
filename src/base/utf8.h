/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_BASE_UTF8_H
#define BZ_BASE_UTF8_H

#include "base/bytes.h"

/* Whether the bytes are well-formed UTF-8 (Unicode 15, table 3-7: no surrogates, no overlong forms,
 * nothing past U+10FFFF). NUL characters are allowed. */
bool bz_utf8_valid(struct bz_bytes text);

#endif

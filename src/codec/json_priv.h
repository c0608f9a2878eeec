/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_CODEC_JSON_PRIV_H
#define BZ_CODEC_JSON_PRIV_H

/*
 * The forms of what JSON lacks: an object of one member whose name is one of these. A map that only
 * looks so, which the API can build, has one more `$` before its name in JSON; so a name of two or
 * more `$` loses one on the way in.
 */

#include "base/bytes.h"

enum bz_json_form {
    BZ_JSON_PLAIN,
    BZ_JSON_BYTES,
    BZ_JSON_DATE,
    BZ_JSON_UUID,
    BZ_JSON_UNSET,
    BZ_JSON_ESCAPED /* a form's name behind more than one `$` */
};

enum bz_json_form bz_json_form(struct bz_bytes name);

#endif

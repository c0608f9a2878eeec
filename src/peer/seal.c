/* SPDX-License-Identifier: Apache-2.0 */
#include "peer/seal.h"

#include "crypto/record_seal.h"
#include "peer/member.h"

static int begin(void *context, const blaze_id *database, void **sealer)
{
    const struct bz_keys *keys = context;
    struct bz_record_sealer *made;
    int rc = bz_record_sealer_new(&made, &keys->content, &keys->name, database);
    if (rc == 0)
        *sealer = made;
    return rc;
}

static void end(void *sealer)
{
    bz_record_sealer_free(sealer);
}

static char kind_of(enum bz_term term)
{
    return term == BZ_TERM_COLLECTION ? 'c' : 'f';
}

static int seal_name(void *sealer, enum bz_term term, struct bz_bytes name, struct bz_buf *out)
{
    if (term == BZ_TERM_DICTIONARY)
        return bz_dictionary_seal(sealer, name, out);
    return bz_name_seal(sealer, kind_of(term), name, out);
}

static int open_name(void *sealer, enum bz_term term, struct bz_bytes sealed, struct bz_buf *out)
{
    if (term == BZ_TERM_DICTIONARY)
        return bz_dictionary_open(sealer, sealed, out);
    return bz_name_open(sealer, kind_of(term), sealed, out);
}

static int seal_body(void *sealer, const blaze_id *node, struct bz_bytes more, struct bz_bytes body,
    struct bz_buf *out)
{
    return bz_body_seal(sealer, node, more, body, out);
}

static int open_body(void *sealer, const blaze_id *node, struct bz_bytes more,
    struct bz_bytes sealed, struct bz_buf *out)
{
    return bz_body_open(sealer, node, more, sealed, out);
}

const struct bz_seal_ops bz_seal_ops = {.begin = begin,
    .end = end,
    .seal_name = seal_name,
    .open_name = open_name,
    .seal_body = seal_body,
    .open_body = open_body};

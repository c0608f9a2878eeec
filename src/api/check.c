/* SPDX-License-Identifier: Apache-2.0 */
#include "api_priv.h"

enum bz_durability bz_api_durability(blaze_durability durability)
{
    return durability == BLAZE_RELAXED ? BZ_DURABLE_RELAXED : BZ_DURABLE_FULL;
}

int bz_api_null(blaze_error *error, const char *what)
{
    return bz_error_set(error, BLAZE_EINVAL, "%s must not be NULL", what);
}

int bz_api_document(const blaze_doc *document, blaze_error *error)
{
    if (document == NULL)
        return bz_api_null(error, "the document");
    int rc = bz_doc_error(document);
    if (rc != BLAZE_OK)
        return bz_error_set(error, rc, "the document is not whole: %s", blaze_error_string(rc));
    if (bz_doc_has(document, bz_bytes("_id", 3)))
        return bz_error_set(error, BLAZE_EINVAL,
            "the field \"_id\" is reserved: give the id as an argument of its own");
    return BLAZE_OK;
}

int bz_api_record_error(int code, const char *collection, const blaze_id *id, blaze_error *error)
{
    char text[BLAZE_ID_TEXT_SIZE];
    if (error == NULL)
        return code;
    if (code == BLAZE_ENOTFOUND)
        return bz_error_set(
            error, code, "no record %s in %.150s", blaze_id_format(id, text), collection);
    if (code == BLAZE_EEXIST)
        return bz_error_set(error, code, "%s is in %.150s already: use put or update to change it",
            blaze_id_format(id, text), collection);
    return code;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/digest.h"

#include <blazedb/error.h>
#include <openssl/evp.h>

int bz_sha1(uint8_t out[BZ_SHA1_SIZE], struct bz_bytes a, struct bz_bytes b)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool ok = context != NULL && EVP_DigestInit_ex(context, EVP_sha1(), NULL) == 1 &&
              EVP_DigestUpdate(context, a.data, a.size) == 1 &&
              EVP_DigestUpdate(context, b.data, b.size) == 1 &&
              EVP_DigestFinal_ex(context, out, NULL) == 1;
    EVP_MD_CTX_free(context);
    return ok ? BLAZE_OK : BLAZE_ENOMEM;
}

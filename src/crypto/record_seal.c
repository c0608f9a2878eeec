/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The keys of writers are derived when their first write comes and kept, with the cipher's state,
 * in a small table in which each node has one place.
 *
 * Random nonces are drawn many at a time: a call into the generator costs as much as sealing does.
 */

#include "crypto/record_seal.h"

#include "base/alloc.h"
#include "crypto/aead.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#define WRITERS     64u /* places */
#define NONCES      64u
#define EPOCH_FIRST 0u

struct writer {
    blaze_id node;
    struct bz_aead *aead; /* NULL: the place is free */
};

struct bz_record_sealer {
    struct bz_key content;
    struct bz_aead *names;
    EVP_MAC_CTX *tags; /* with its key */
    struct writer writers[WRITERS];
    uint8_t nonces[NONCES * BZ_AEAD_NONCE];
    unsigned nonces_left;
};

/* ---- making ---- */

static EVP_MAC_CTX *mac_new(const uint8_t key[32])
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA256"}, 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *context = mac == NULL ? NULL : EVP_MAC_CTX_new(mac);
    EVP_MAC_free(mac);
    if (context != NULL && EVP_MAC_init(context, key, 32, params) == 1)
        return context;
    EVP_MAC_CTX_free(context);
    return NULL;
}

int bz_record_sealer_new(struct bz_record_sealer **out, const struct bz_key *content,
    const struct bz_key *name, const blaze_id *database)
{
    struct bz_bytes salt = bz_bytes(database->bytes, sizeof database->bytes);
    uint8_t key[32];
    struct bz_record_sealer *sealer = bz_zalloc(sizeof *sealer);
    if (sealer == NULL)
        return BLAZE_ENOMEM;
    sealer->content = *content;
    int rc = bz_aead_new_for(&sealer->names, name->bytes, salt, "blazedb v1 name seal");
    if (rc == 0)
        rc = bz_kdf(key, name->bytes, salt, "blazedb v1 name tag");
    if (rc == 0) {
        sealer->tags = mac_new(key);
        rc = sealer->tags == NULL ? BLAZE_ENOMEM : 0;
    }
    bz_wipe(key, sizeof key);
    if (rc != 0)
        bz_record_sealer_free(sealer);
    else
        *out = sealer;
    return rc;
}

void bz_record_sealer_free(struct bz_record_sealer *sealer)
{
    if (sealer == NULL)
        return;
    for (size_t i = 0; i < WRITERS; i++)
        bz_aead_free(sealer->writers[i].aead);
    bz_aead_free(sealer->names);
    EVP_MAC_CTX_free(sealer->tags);
    bz_wipe(sealer, sizeof *sealer);
    bz_free(sealer);
}

/* ---- names ---- */

int bz_name_tag(
    struct bz_record_sealer *sealer, char kind, struct bz_bytes name, uint8_t tag[BZ_NAME_TAG])
{
    uint8_t mac[32];
    size_t size = 0;
    /* Begins anew under the key that it has. */
    bool ok = EVP_MAC_init(sealer->tags, NULL, 0, NULL) == 1 &&
              EVP_MAC_update(sealer->tags, (const unsigned char *)&kind, 1) == 1 &&
              EVP_MAC_update(sealer->tags, name.data, name.size) == 1 &&
              EVP_MAC_final(sealer->tags, mac, &size, sizeof mac) == 1 && size == sizeof mac;
    if (!ok)
        return BLAZE_ENOMEM;
    memcpy(tag, mac, BZ_NAME_TAG);
    return 0;
}

/* Length (1), name, zeros to a multiple of the step. */
static size_t padded_name(size_t size)
{
    return (1 + size + BZ_SEALED_NAME_STEP - 1) / BZ_SEALED_NAME_STEP * BZ_SEALED_NAME_STEP;
}

int bz_name_seal(
    struct bz_record_sealer *sealer, char kind, struct bz_bytes name, struct bz_buf *out)
{
    uint8_t plain[1 + 255 + BZ_SEALED_NAME_STEP] = {0};
    uint8_t tag[BZ_NAME_TAG];
    if (name.size == 0 || name.size > 255)
        return BLAZE_EINVAL;
    size_t size = padded_name(name.size);
    int rc = bz_name_tag(sealer, kind, name, tag);
    if (rc != 0)
        return rc;
    plain[0] = (uint8_t)name.size;
    memcpy(plain + 1, name.data, name.size);
    uint8_t *p = bz_buf_reserve(out, sizeof tag + size + BZ_AEAD_TAG);
    if (p == NULL)
        return out->error;
    memcpy(p, tag, sizeof tag);
    rc =
        bz_aead_seal(sealer->names, tag, bz_bytes(&kind, 1), bz_bytes(plain, size), p + sizeof tag);
    if (rc == 0)
        bz_buf_advance(out, sizeof tag + size + BZ_AEAD_TAG);
    return rc;
}

int bz_name_open(
    struct bz_record_sealer *sealer, char kind, struct bz_bytes sealed, struct bz_buf *out)
{
    uint8_t plain[BZ_SEALED_NAME_MAX];
    uint8_t tag[BZ_NAME_TAG];
    if (sealed.size > BZ_SEALED_NAME_MAX ||
        sealed.size < BZ_NAME_TAG + BZ_SEALED_NAME_STEP + BZ_AEAD_TAG)
        return BLAZE_ECORRUPT;
    size_t size = sealed.size - BZ_NAME_TAG - BZ_AEAD_TAG;
    int rc = bz_aead_open(sealer->names, sealed.data, bz_bytes(&kind, 1),
        bz_bytes(sealed.data + BZ_NAME_TAG, sealed.size - BZ_NAME_TAG), plain);
    if (rc != 0)
        return rc;
    struct bz_bytes name = bz_bytes(plain + 1, plain[0]);
    if (name.size == 0 || padded_name(name.size) != size)
        return BLAZE_ECORRUPT;
    /* The tag beyond the nonce's bytes is not authenticated by the cipher. */
    rc = bz_name_tag(sealer, kind, name, tag);
    if (rc == 0 && !bz_secret_equal(tag, sealed.data, sizeof tag))
        rc = BLAZE_ECORRUPT;
    if (rc == 0) {
        bz_buf_append(out, name.data, name.size);
        rc = out->error;
    }
    return rc;
}

/* ---- dictionaries ---- */

int bz_dictionary_seal(
    struct bz_record_sealer *sealer, struct bz_bytes dictionary, struct bz_buf *out)
{
    uint8_t tag[BZ_NAME_TAG];
    int rc = bz_name_tag(sealer, 'd', dictionary, tag);
    if (rc != 0)
        return rc;
    uint8_t *p = bz_buf_reserve(out, dictionary.size + BZ_DICTIONARY_SEAL);
    if (p == NULL)
        return out->error;
    memcpy(p, tag, sizeof tag);
    rc = bz_aead_seal(sealer->names, tag, bz_bytes("d", 1), dictionary, p + sizeof tag);
    if (rc == 0)
        bz_buf_advance(out, dictionary.size + BZ_DICTIONARY_SEAL);
    return rc;
}

int bz_dictionary_open(struct bz_record_sealer *sealer, struct bz_bytes sealed, struct bz_buf *out)
{
    uint8_t tag[BZ_NAME_TAG];
    if (sealed.size < BZ_DICTIONARY_SEAL)
        return BLAZE_ECORRUPT;
    size_t size = sealed.size - BZ_DICTIONARY_SEAL;
    uint8_t *p = bz_buf_reserve(out, size + 1);
    if (p == NULL)
        return out->error;
    int rc = bz_aead_open(sealer->names, sealed.data, bz_bytes("d", 1),
        bz_bytes(sealed.data + BZ_NAME_TAG, sealed.size - BZ_NAME_TAG), p);
    if (rc == 0)
        rc = bz_name_tag(sealer, 'd', bz_bytes(p, size), tag);
    if (rc == 0 && !bz_secret_equal(tag, sealed.data, sizeof tag))
        rc = BLAZE_ECORRUPT;
    if (rc == 0)
        bz_buf_advance(out, size);
    return rc;
}

/* ---- bodies ---- */

static int writer_key(struct bz_record_sealer *sealer, const blaze_id *node, struct bz_aead **out)
{
    uint64_t low;
    memcpy(&low, node->bytes + 8, sizeof low);
    struct writer *writer = &sealer->writers[low * 0x9e3779b97f4a7c15u >> 58];
    if (writer->aead == NULL || memcmp(&writer->node, node, sizeof *node) != 0) {
        struct bz_aead *aead;
        int rc = bz_aead_new_for(&aead, sealer->content.bytes,
            bz_bytes(node->bytes, sizeof node->bytes), "blazedb v1 content of a writer, epoch 0");
        if (rc != 0)
            return rc;
        bz_aead_free(writer->aead);
        *writer = (struct writer){*node, aead};
    }
    *out = writer->aead;
    return 0;
}

static const uint8_t *next_nonce(struct bz_record_sealer *sealer)
{
    if (sealer->nonces_left == 0) {
        if (RAND_bytes(sealer->nonces, sizeof sealer->nonces) != 1)
            return NULL;
        sealer->nonces_left = NONCES;
    }
    return sealer->nonces + --sealer->nonces_left * BZ_AEAD_NONCE;
}

int bz_body_seal(struct bz_record_sealer *sealer, const blaze_id *node, struct bz_bytes more,
    struct bz_bytes plain, struct bz_buf *out)
{
    struct bz_aead *aead;
    int rc = writer_key(sealer, node, &aead);
    if (rc != 0)
        return rc;
    const uint8_t *nonce = next_nonce(sealer);
    if (nonce == NULL)
        return BLAZE_EIO;
    uint8_t *p = bz_buf_reserve(out, plain.size + BZ_BODY_SEAL);
    if (p == NULL)
        return out->error;
    p[0] = EPOCH_FIRST;
    memcpy(p + 1, nonce, BZ_AEAD_NONCE);
    rc = bz_aead_seal(aead, nonce, more, plain, p + 1 + BZ_AEAD_NONCE);
    if (rc == 0)
        bz_buf_advance(out, plain.size + BZ_BODY_SEAL);
    return rc;
}

int bz_body_open(struct bz_record_sealer *sealer, const blaze_id *node, struct bz_bytes more,
    struct bz_bytes sealed, struct bz_buf *out)
{
    struct bz_aead *aead;
    if (sealed.size < BZ_BODY_SEAL)
        return BLAZE_ECORRUPT;
    if (sealed.data[0] != EPOCH_FIRST)
        return BLAZE_EVERSION;
    int rc = writer_key(sealer, node, &aead);
    if (rc != 0)
        return rc;
    uint8_t *p = bz_buf_reserve(out, sealed.size - BZ_BODY_SEAL + 1);
    if (p == NULL)
        return out->error;
    struct bz_bytes text =
        bz_bytes(sealed.data + 1 + BZ_AEAD_NONCE, sealed.size - 1 - BZ_AEAD_NONCE);
    rc = bz_aead_open(aead, sealed.data + 1, more, text, p);
    if (rc == 0)
        bz_buf_advance(out, sealed.size - BZ_BODY_SEAL);
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Sealed frames. Each segment has a key of its own, derived from the data key and the segment's
 * salt. A nonce is 8 random bytes, drawn when the log is opened, and a count of 4 bytes: a frame
 * that failed to be written is sealed anew when it is tried again, and under another nonce.
 */

#include "store/log_priv.h"

#include "crypto/aead.h"

#include <inttypes.h>
#include <string.h>

static const char purpose[] = "blazedb v1 segment";

static int need_key(struct bz_log *log)
{
    uint8_t salt[8];
    if (log->aead != NULL)
        return 0;
    bz_store64le(salt, log->segment->header.salt);
    return bz_aead_new_for(&log->aead, log->key, bz_bytes(salt, sizeof salt), purpose);
}

void bz_log_forget_key(struct bz_log *log)
{
    bz_aead_free(log->aead);
    log->aead = NULL;
}

static int next_nonce(struct bz_log *log, uint8_t out[BZ_AEAD_NONCE])
{
    if (log->nonce_count == 0 && bz_os_entropy(&log->nonce_random, sizeof log->nonce_random) != 0)
        return BLAZE_EIO;
    log->nonce_count++; /* at 0 again, new randomness is due */
    bz_store64le(out, log->nonce_random);
    bz_store32le(out + 8, log->nonce_count);
    return 0;
}

/* What of the header is authenticated: all but the checksum. */
static struct bz_bytes header_of(const uint8_t *frame)
{
    return bz_bytes(frame + 8, BZ_FRAME_HEADER - 8);
}

int bz_log_seal(struct bz_log *log, uint8_t *frame, uint32_t payload)
{
    uint8_t *nonce = frame + BZ_FRAME_HEADER, *plain = nonce + BZ_LOG_SEAL_LEAD;
    size_t size = (size_t)payload - BZ_LOG_SEAL_LEAD - BZ_LOG_SEAL_TRAIL;
    int rc = need_key(log);
    if (rc == 0)
        rc = next_nonce(log, nonce);
    return rc != 0 ? rc
                   : bz_aead_seal(log->aead, nonce, header_of(frame), bz_bytes(plain, size), plain);
}

int bz_log_unseal(struct bz_log *log, const uint8_t *frame, uint32_t payload, struct bz_bytes *out,
    blaze_error *error)
{
    const uint8_t *nonce = frame + BZ_FRAME_HEADER;
    int rc = payload < BZ_LOG_SEAL_LEAD + BZ_LOG_SEAL_TRAIL ? BLAZE_ECORRUPT : need_key(log);
    if (rc == 0) {
        struct bz_bytes sealed = bz_bytes(nonce + BZ_LOG_SEAL_LEAD, payload - BZ_LOG_SEAL_LEAD);
        bz_buf_clear(&log->opened);
        uint8_t *plain = bz_buf_reserve(&log->opened, sealed.size);
        rc = plain == NULL ? log->opened.error
                           : bz_aead_open(log->aead, nonce, header_of(frame), sealed, plain);
        *out = bz_bytes(plain, sealed.size - BZ_AEAD_TAG);
    }
    if (rc == BLAZE_ECORRUPT)
        return bz_error_set(error, rc,
            "%s: the commit at offset %" PRIu64 " does not authenticate: damaged or tampered with",
            log->segment->file.path, log->tail.offset);
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

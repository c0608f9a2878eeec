/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_LOG_PRIV_H
#define BZ_STORE_LOG_PRIV_H

/* Between log.c, log_files.c and log_seal.c. */

#include "store/log.h"

/* Opens segment `number`. BLAZE_ECORRUPT if it is missing or its header is damaged. */
int bz_segment_open(
    struct bz_log *log, uint64_t number, struct bz_segment **out, blaze_error *error);

/* Makes the segment after the tail's, for a frame of `payload` bytes at least: twice as large as
 * that one up to the full size, or a small one; from a spare where that will do. Durable, with its
 * name. */
int bz_segment_prepare(
    struct bz_log *log, uint64_t payload, bool small, struct bz_segment **out, blaze_error *error);

/* Seals the payload of a frame whose header is filled in but for its checksum. BLAZE_ENOMEM. */
int bz_log_seal(struct bz_log *log, uint8_t *frame, uint32_t payload);

/* Opens the payload of the frame into log->opened. BLAZE_ECORRUPT if it does not authenticate. */
int bz_log_unseal(struct bz_log *log, const uint8_t *frame, uint32_t payload, struct bz_bytes *out,
    blaze_error *error);

/* The tail has left its segment, whose key is not needed any more. */
void bz_log_forget_key(struct bz_log *log);

/* Whether a whole frame, of any kind, stands at the tail. */
bool bz_log_peek(struct bz_log *log);

#endif

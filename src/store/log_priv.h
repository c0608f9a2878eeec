/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_LOG_PRIV_H
#define BZ_STORE_LOG_PRIV_H

/* Between log.c and log_files.c. */

#include "store/log.h"

/* Opens segment `number`. BLAZE_ECORRUPT if it is missing or its header is damaged. */
int bz_segment_open(
    struct bz_log *log, uint64_t number, struct bz_segment **out, blaze_error *error);

/* Makes the segment after the tail's, for a frame of `payload` bytes at least: twice as large as
 * that one up to the full size, or a small one; from a spare where that will do. Durable, with its
 * name. */
int bz_segment_prepare(
    struct bz_log *log, uint64_t payload, bool small, struct bz_segment **out, blaze_error *error);

/* Whether a whole frame, of any kind, stands at the tail. */
bool bz_log_peek(struct bz_log *log);

#endif

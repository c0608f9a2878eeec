/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_CODEC_DATE_H
#define BZ_CODEC_DATE_H

/* Timestamps as RFC 3339 text, of the years 0000 to 9999. */

#include "base/bytes.h"

#define BZ_DATE_SIZE 25 /* 2024-05-06T07:08:09.123Z and a NUL */

/* Reads a date with time and offset; digits past the millisecond are dropped, second 60 is the next
 * minute's 0. BLAZE_ESYNTAX, also for a day that does not exist. */
int bz_date_parse(int64_t *ms, struct bz_bytes text);

/* Writes it in UTC with milliseconds. False if the year has no four digits. */
bool bz_date_format(int64_t ms, char out[BZ_DATE_SIZE]);

#endif

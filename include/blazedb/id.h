/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLAZEDB_ID_H
#define BLAZEDB_ID_H

/*
 * 16-byte identifiers (RFC 9562 UUIDs) of records, databases and nodes. Ids sort as their bytes.
 */

#include <blazedb/error.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct blaze_id {
    uint8_t bytes[16];
} blaze_id;

#define BLAZE_ID_TEXT_SIZE 37 /* 36 characters and a NUL */

/* A new UUIDv7: later ids of one process sort after earlier ones. Fails only when the system gives
 * no entropy (BLAZE_EIO). Any thread. */
BLAZE_API int blaze_id_new(blaze_id *out);

/* The UUIDv5 of `key` within `space`: the same key gives the same id everywhere. BLAZE_ENOMEM. Any
 * thread. */
BLAZE_API int blaze_id_derive(blaze_id *out, const blaze_id *space, const void *key, size_t size);

/* Reads the 36-character form, upper or lower case. BLAZE_ESYNTAX if `text` is anything else. */
BLAZE_API int blaze_id_parse(blaze_id *out, const char *text);

/* Writes the lower-case 36-character form and a NUL. Returns `out`. */
BLAZE_API char *blaze_id_format(const blaze_id *id, char out[BLAZE_ID_TEXT_SIZE]);

#ifdef __cplusplus
}
#endif

#endif

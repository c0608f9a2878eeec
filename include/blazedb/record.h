/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLAZEDB_RECORD_H
#define BLAZEDB_RECORD_H

/*
 * Single records. Each writing call is a commit of its own with the database's durability; several
 * together are a transaction (transaction.h). Any thread.
 *
 * The field "_id" is reserved: documents must not have it (BLAZE_EINVAL).
 */

#include <blazedb/database.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Adds a record. *id is its id; if all zero it is set to a new UUIDv7. BLAZE_EEXIST. */
BLAZE_API int blaze_insert(
    blaze_db *db, const char *collection, blaze_id *id, blaze_doc *document, blaze_error *error);

/* Writes the whole document, whether or not there is one. */
BLAZE_API int blaze_put(blaze_db *db, const char *collection, const blaze_id *id,
    blaze_doc *document, blaze_error *error);

/* Writes only the fields given; those added with blaze_doc_add_unset() are removed. Fields written
 * elsewhere at the same time stay. BLAZE_ENOTFOUND. */
BLAZE_API int blaze_update(blaze_db *db, const char *collection, const blaze_id *id,
    blaze_doc *fields, blaze_error *error);

/* blaze_update(), or blaze_insert() if there is no such record. */
BLAZE_API int blaze_upsert(blaze_db *db, const char *collection, const blaze_id *id,
    blaze_doc *fields, blaze_error *error);

/* BLAZE_ENOTFOUND. */
BLAZE_API int blaze_delete(
    blaze_db *db, const char *collection, const blaze_id *id, blaze_error *error);

/* Deletes every record of the collection; how many in *deleted (may be NULL). */
BLAZE_API int blaze_delete_all(
    blaze_db *db, const char *collection, uint64_t *deleted, blaze_error *error);

/* A copy of the document, to be released with blaze_doc_free(), before blaze_close().
 * BLAZE_ENOTFOUND. */
BLAZE_API int blaze_get(
    blaze_db *db, const char *collection, const blaze_id *id, blaze_doc **out, blaze_error *error);

/* 0, or BLAZE_ENOTFOUND. */
BLAZE_API int blaze_exists(
    blaze_db *db, const char *collection, const blaze_id *id, blaze_error *error);

/* The number of records; 0 for a collection that is not there. */
BLAZE_API int blaze_count(blaze_db *db, const char *collection, uint64_t *out, blaze_error *error);

#ifdef __cplusplus
}
#endif

#endif

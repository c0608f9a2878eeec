/* SPDX-License-Identifier: Apache-2.0 */
/* Warnings of sizes: as JSON for the status, and by callback. */
#include "api_priv.h"

#include <inttypes.h>

static const char *kind_name(enum bz_warning_kind kind)
{
    static const char *const names[] = {"database_size", "log_size", "free_disk", "unreadable"};
    return names[kind];
}

void bz_api_warnings_json(blaze_db *db, struct bz_buf *out)
{
    struct bz_warning warnings[BZ_WARNING_KINDS];
    unsigned count = bz_db_warnings(db->db, warnings);
    bz_buf_append8(out, '[');
    for (unsigned i = 0; i < count; i++) {
        bz_buf_printf(out,
            "%s{\"kind\":\"%s\",\"value\":%" PRIu64 ",\"threshold\":%" PRIu64 ",\"text\":",
            i > 0 ? "," : "", kind_name(warnings[i].kind), warnings[i].value,
            warnings[i].threshold);
        bz_api_json_text(out, bz_bytes_text(warnings[i].text));
        bz_buf_append8(out, '}');
    }
    bz_buf_append8(out, ']');
}

static void on_warning(void *context, const struct bz_warning *in)
{
    blaze_db *db = context;
    blaze_warning out = {(blaze_warning_kind)in->kind, in->value, in->threshold, in->text};
    pthread_mutex_lock(&db->lock);
    struct bz_api_warner warner = db->warner;
    pthread_mutex_unlock(&db->lock);
    if (warner.call != NULL)
        warner.call(warner.context, &out);
}

int blaze_set_warning_callback(blaze_db *db,
    void (*callback)(void *context, const blaze_warning *warning), void *context,
    blaze_error *error)
{
    if (db == NULL)
        return bz_api_null(error, "the database");
    bz_db_set_warning(db->db, NULL, NULL, NULL); /* so that no call takes one for the other */
    pthread_mutex_lock(&db->lock);
    db->warner = (struct bz_api_warner){callback, context};
    pthread_mutex_unlock(&db->lock);
    return callback == NULL ? BLAZE_OK : bz_db_set_warning(db->db, on_warning, db, error);
}

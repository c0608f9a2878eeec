/* SPDX-License-Identifier: Apache-2.0 */
#include "store/output.h"

#include "base/alloc.h"

void bz_output_init(struct bz_output *output, const char *dir, const uint8_t *key,
    struct bz_block_cache *cache, uint64_t most, uint64_t least)
{
    *output =
        (struct bz_output){.dir = dir, .key = key, .cache = cache, .most = most, .least = least};
    bz_manifest_init(&output->made);
}

static int begin_table(struct bz_output *output, blaze_error *error)
{
    struct bz_manifest_file file = {0};
    int rc = bz_os_entropy(&file.id, sizeof file.id);
    if (rc != 0)
        return bz_error_set(error, rc, "the system's random generator failed");
    char *path = bz_tree_table_path(output->dir, file.id);
    rc = path == NULL ? BLAZE_ENOMEM : bz_manifest_add(&output->made, &file);
    if (rc != 0)
        bz_error_code(error, rc);
    else
        rc = bz_table_writer_open(&output->writer, path, output->key, error);
    bz_free(path);
    return rc;
}

static int end_table(struct bz_output *output, blaze_error *error)
{
    struct bz_table_summary summary;
    int rc = bz_table_writer_finish(output->writer, &summary, error);
    output->writer = NULL;
    if (rc != 0)
        return rc;
    output->made.files[output->made.count - 1].size = summary.size;
    output->written += summary.size;
    return 0;
}

int bz_output_add(struct bz_output *output, const struct bz_write *entry, blaze_error *error)
{
    int rc = 0;
    if (output->writer != NULL) {
        uint64_t bytes = bz_table_writer_bytes(output->writer);
        uint64_t limit = entry->map != output->map ? output->least : output->most;
        if (bytes >= limit || bytes + entry->value.size > UINT32_MAX / 2)
            rc = end_table(output, error);
    }
    if (rc == 0 && output->writer == NULL)
        rc = begin_table(output, error);
    output->map = entry->map;
    return rc != 0 ? rc : bz_table_writer_add(output->writer, entry, error);
}

int bz_output_finish(struct bz_output *output, struct bz_tree **out, blaze_error *error)
{
    *out = NULL;
    int rc = output->writer == NULL ? 0 : end_table(output, error);
    if (rc != 0 || output->made.count == 0)
        return rc;
    rc = bz_dir_sync(output->dir, error);
    return rc != 0 ? rc
                   : bz_tree_open(out, &output->made, output->dir, output->key, output->cache, NULL,
                         false, error);
}

void bz_output_release(struct bz_output *output, bool keep)
{
    bz_table_writer_abort(output->writer);
    for (uint32_t i = 0; !keep && i < output->made.count; i++) {
        char *path = bz_tree_table_path(output->dir, output->made.files[i].id);
        if (path != NULL)
            bz_path_remove(path, NULL);
        bz_free(path);
    }
    bz_manifest_release(&output->made);
}

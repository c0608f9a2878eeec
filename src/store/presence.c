/* SPDX-License-Identifier: Apache-2.0 */
#include "store/presence.h"

#include "base/alloc.h"

/* As bz_file_open(); 0 and a closed file for who goes without. */
static int open_it(
    struct bz_file *out, const char *path, bool alone, bool read_only, blaze_error *error)
{
    const int how = BZ_OPEN_WRITE | BZ_OPEN_CREATE;
    if (alone || !read_only)
        return bz_file_open(out, path, how, error);
    int rc = bz_file_open(out, path, BZ_OPEN_READ, error);
    if (rc == BLAZE_ENOTFOUND)
        rc = bz_file_open(out, path, how, error);
    return rc == BLAZE_EPERM || rc == BLAZE_EREADONLY ? 0 : rc;
}

static int busy(const char *directory, bool alone, blaze_error *error)
{
    return bz_error_set(error, BLAZE_EBUSY, "%s: %s", directory,
        alone ? "in use by another, and to be rewritten it must not be"
              : "being rewritten by another process");
}

static int lock_at(struct bz_file *out, const char *path, const char *directory, bool alone,
    bool read_only, blaze_error *error)
{
    for (;;) {
        struct bz_file file = {.fd = -1};
        int rc = open_it(&file, path, alone, read_only, error);
        if (rc == 0 && file.fd >= 0)
            rc = bz_file_lock(&file, alone, false, NULL, error);
        if (rc == BLAZE_EBUSY)
            busy(directory, alone, error);
        if (rc == 0 && file.fd >= 0 && !bz_file_is_at(&file, path)) {
            bz_file_close(&file); /* the directory was replaced just now */
            continue;
        }
        if (rc == 0)
            *out = file;
        else
            bz_file_close(&file);
        return rc;
    }
}

int bz_presence_take(struct bz_file *out, const char *directory, const struct bz_file_mark *mark,
    bool alone, bool read_only, blaze_error *error)
{
    struct bz_file_mark now;
    char *path = bz_path_join(directory, "open");
    if (path == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    int rc = lock_at(out, path, directory, alone, read_only, error);
    bz_free(path);
    if (rc == 0)
        rc = bz_path_mark(directory, &now, error);
    if (rc == 0 && (now.inode != mark->inode || now.device != mark->device))
        rc = bz_error_set(
            error, BLAZE_EBUSY, "%s: was rewritten at this moment: open it again", directory);
    return rc;
}

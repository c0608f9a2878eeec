/* SPDX-License-Identifier: Apache-2.0 */
#include "disk.h"

#include "store/testing.h"

#include <unistd.h>

void sim_disk_init(struct sim_world *w)
{
    if (!w->options.disk)
        return;
    struct bz_test_dir dir;
    bz_test_dir_make(&dir);
    memcpy(w->directory, dir.path, sizeof dir.path);
}

void sim_disk_release(struct sim_world *w)
{
    if (w->options.disk)
        bz_test_remove_all(w->directory);
}

char *sim_disk_copy_of(struct sim_world *w, const char *directory)
{
    struct bz_test_image image;
    char *path = malloc(96);
    if (path == NULL)
        abort();
    snprintf(path, 96, "%s/copy-%u", w->directory, ++w->marks);
    bz_test_image_take(&image, directory);
    bz_test_image_put(&image, path);
    bz_test_image_free(&image);
    return path;
}

static void node_path(const struct sim_world *w, uint32_t node, char path[96])
{
    snprintf(path, 96, "%s/node-%u", w->directory, node);
}

char *sim_disk_copy(struct sim_world *w, uint32_t node)
{
    char path[96];
    node_path(w, node, path);
    return sim_disk_copy_of(w, path);
}

/* Its inode goes with it. */
static void move_identity(const char *from, const char *to)
{
    char a[128], b[128];
    snprintf(a, sizeof a, "%s/identity", from);
    snprintf(b, sizeof b, "%s/identity", to);
    if (access(a, F_OK) == 0 && rename(a, b) != 0)
        abort();
}

void sim_disk_put(struct sim_world *w, uint32_t node, const char *copy)
{
    char path[96];
    struct bz_test_image image;
    bool same = true;
    node_path(w, node, path);
    same = access(path, F_OK) == 0 && w->nodes[node].mark == w->nodes[node].disk_mark;
    bz_test_image_take(&image, copy);
    if (same)
        move_identity(path, w->directory);
    bz_test_image_put(&image, path);
    if (same)
        move_identity(w->directory, path);
    bz_test_image_free(&image);
    w->nodes[node].disk_mark = w->nodes[node].mark;
}

void sim_disk_free(char *directory)
{
    if (directory == NULL)
        return;
    bz_test_remove_all(directory);
    free(directory);
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a file system is, and how full.
 *
 * Those of the kernel are told apart by the number of their type. Whatever runs in user space has
 * the one number of FUSE; there the name of the mount tells ("fuse.sshfs"), which is taken from
 * /proc/self/mountinfo. Of the names under FUSE only those listed count as shared with other
 * machines: most of the others (encryption, overlays, foreign formats) are as local as what they
 * lie on.
 */

#include "os/os.h"

#include "base/alloc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#define FUSE 0x65735546u

static void (*pretend)(void *context, struct bz_file_system *found);
static void *pretend_context;

void bz_os_set_file_system(
    void (*change)(void *context, struct bz_file_system *found), void *context)
{
    pretend = change;
    pretend_context = context;
}

/* ---- which are shared between machines ---- */

static const struct {
    uint32_t type;
    const char *name;
} network_types[] = {
    {0x00006969, "NFS"},
    {0x0000517b, "SMB"},
    {0xff534d42, "CIFS"},
    {0xfe534d42, "SMB2"},
    {0x01021997, "9p"},
    {0x5346414f, "AFS"},
    {0x6b414653, "AFS"},
    {0x73757245, "Coda"},
    {0x0000564c, "NCP"},
    {0x00c36400, "Ceph"},
    {0x0bd00bd0, "Lustre"},
    {0x01161970, "GFS2"},
    {0x7461636f, "OCFS2"},
    {0x47504653, "GPFS"},
    {0x19830326, "BeeGFS"},
    {0x20030528, "OrangeFS"},
    {0xaad7aaea, "PanFS"},
    /* Folders that a virtual machine shares with its host. */
    {0x786f4256, "vboxsf"},
    {0xbacbacbc, "vmhgfs"},
    {0x7c7c6673, "prl_fs"},
};

static const char *const network_names[] = {
    "virtiofs",
    "fuse.sshfs",
    "fuse.glusterfs",
    "fuse.ceph",
    "fuse.ceph-fuse",
    "fuse.davfs",
    "fuse.curlftpfs",
    "fuse.smbnetfs",
    "fuse.s3fs",
    "fuse.goofys",
    "fuse.gcsfuse",
    "fuse.blobfuse",
    "fuse.blobfuse2",
    "fuse.mountpoint-s3",
    "fuse.rclone",
    "fuse.juicefs",
    "fuse.mfs",
    "fuse.seaweedfs",
    "fuse.lizardfs",
    "fuse.beegfs",
    "fuse.vmhgfs-fuse",
};

static const char *network_of(const struct bz_file_system *fs)
{
    for (size_t i = 0; i < sizeof network_types / sizeof *network_types; i++)
        if (network_types[i].type == fs->type)
            return network_types[i].name;
    for (size_t i = 0; i < sizeof network_names / sizeof *network_names; i++)
        if (strcmp(network_names[i], fs->name) == 0)
            return network_names[i];
    return NULL;
}

/* ---- asking the system ---- */

/* A line of mountinfo: "36 35 98:0 /root /point options [tag...] - TYPE source options". */
static bool parse_mount(const char *line, unsigned major, unsigned minor, char *name, size_t size)
{
    unsigned at_major, at_minor;
    if (sscanf(line, "%*u %*u %u:%u", &at_major, &at_minor) != 2 || at_major != major ||
        at_minor != minor)
        return false;
    const char *type = strstr(line, " - ");
    if (type == NULL)
        return false;
    type += 3;
    snprintf(name, size, "%.*s", (int)strcspn(type, " \n"), type);
    return true;
}

/* The name of the mount that the path's device belongs to. */
static void find_mount(const char *path, char *name, size_t size)
{
    struct stat st;
    FILE *mounts = stat(path, &st) != 0 ? NULL : fopen("/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t capacity = 0;
    bool found = false;
    while (!found && mounts != NULL && getline(&line, &capacity, mounts) > 0)
        found = parse_mount(line, major(st.st_dev), minor(st.st_dev), name, size);
    free(line);
    if (mounts != NULL)
        fclose(mounts);
}

/* Where `path` is, or is to be: itself, or the directory that its name would be in. */
static char *existing(const char *path)
{
    size_t size = strlen(path);
    char *place = bz_malloc(size + 2);
    if (place == NULL)
        return NULL;
    memcpy(place, path, size + 1);
    if (bz_path_exists(place))
        return place;
    while (size > 0 && place[size - 1] == '/')
        size--;
    while (size > 0 && place[size - 1] != '/')
        size--;
    strcpy(place + size, size == 0 ? "." : "");
    return place;
}

static int ask(const char *path, struct bz_file_system *out)
{
    struct statfs st;
    while (statfs(path, &st) != 0)
        if (errno != EINTR)
            return errno;
    *out = (struct bz_file_system){
        .type = (uint32_t)st.f_type,
        .size_bytes = (uint64_t)st.f_blocks * (uint64_t)st.f_frsize,
        .free_bytes = (uint64_t)st.f_bavail * (uint64_t)st.f_frsize,
    };
    if (out->type == FUSE)
        find_mount(path, out->name, sizeof out->name);
    return 0;
}

int bz_path_file_system(const char *path, struct bz_file_system *out, blaze_error *error)
{
    char *place = existing(path);
    if (place == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    struct bz_file_system found;
    int number = ask(place, &found);
    bz_free(place);
    if (number != 0)
        return bz_error_errno(error, number, "stat file system of %s", path);
    if (pretend != NULL)
        pretend(pretend_context, &found);
    found.network = network_of(&found);
    *out = found;
    return 0;
}

int bz_path_check_local(const char *path, blaze_error *error)
{
    struct bz_file_system fs;
    int rc = bz_path_file_system(path, &fs, error);
    if (rc == BLAZE_ENOTFOUND) /* whoever opens it says that better */
        return 0;
    if (rc != 0 || fs.network == NULL)
        return rc;
    return bz_error_set(error, BLAZE_EPERM,
        "%.110s: on a network file system (%s), where locks do not hold: keep it on a disk of this "
        "machine and sync it, or allow it (allow_network_fs, --allow-network-fs)",
        path, fs.network);
}

int bz_path_free_bytes(const char *path, uint64_t *out, blaze_error *error)
{
    struct bz_file_system fs;
    int rc = bz_path_file_system(path, &fs, error);
    if (rc == 0)
        *out = fs.free_bytes;
    return rc;
}

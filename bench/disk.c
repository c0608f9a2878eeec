/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The functions below have the names of the C library's. The program exports them, so that the
 * dynamic linker binds the calls of SQLite, LMDB and RocksDB to them as well; they ask the kernel
 * directly. LMDB writes its meta pages through a descriptor that was opened O_DSYNC: each such
 * write is a sync, which is why writes are looked at.
 */

#include "disk.h"

#include "bench.h"
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static atomic_bool counting;
static atomic_uint_fast64_t syncs;

void bench_disk_count_syncs(void)
{
    counting = true;
}

/* The seventh number of a block device's `stat` is the sectors of 512 bytes that were written. */
static bool read_sectors(const char *dir, uint64_t *out)
{
    struct stat info;
    char path[64];
    if (stat(dir, &info) != 0)
        return false;
    snprintf(
        path, sizeof path, "/sys/dev/block/%u:%u/stat", major(info.st_dev), minor(info.st_dev));
    FILE *in = fopen(path, "r");
    if (in == NULL)
        return false;
    unsigned long long sectors = 0;
    bool read = fscanf(in, "%*u %*u %*u %*u %*u %*u %llu", &sectors) == 1;
    fclose(in);
    *out = sectors;
    return read;
}

bool bench_disk_counts(const char *dir)
{
    uint64_t sectors;
    return read_sectors(dir, &sectors);
}

void bench_disk_now(const char *dir, struct bench_disk *out)
{
    uint64_t sectors = 0;
    read_sectors(dir, &sectors);
    *out = (struct bench_disk){sectors * 512, bench_io_number("wchar:"), syncs};
}

void bench_disk_write_back(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || syncfs(fd) != 0)
        bench_die("%s: %s", dir, strerror(errno));
    close(fd);
}

void bench_disk_quiet(void)
{
    uint64_t before, now = bench_io_number("wchar:");
    do {
        before = now;
        nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
        now = bench_io_number("wchar:");
    } while (now != before);
}

static void count_sync(void)
{
    if (counting)
        syncs++;
}

static void count_write(int fd)
{
    if (!counting)
        return;
    int error = errno;
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && (flags & O_DSYNC) != 0)
        syncs++;
    errno = error;
}

EXPORT int fsync(int fd)
{
    count_sync();
    return (int)syscall(SYS_fsync, fd);
}

EXPORT int fdatasync(int fd)
{
    count_sync();
    return (int)syscall(SYS_fdatasync, fd);
}

EXPORT int msync(void *address, size_t size, int flags)
{
    if ((flags & MS_SYNC) != 0)
        count_sync();
    return (int)syscall(SYS_msync, address, size, flags);
}

/* A hint that begins writing is none; waiting for the writes is what takes the time. */
EXPORT int sync_file_range(int fd, off64_t offset, off64_t size, unsigned flags)
{
    if ((flags & (SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WAIT_AFTER)) != 0)
        count_sync();
    return (int)syscall(SYS_sync_file_range, fd, offset, size, flags);
}

EXPORT ssize_t write(int fd, const void *data, size_t size)
{
    count_write(fd);
    return syscall(SYS_write, fd, data, size);
}

EXPORT ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    count_write(fd);
    return syscall(SYS_pwrite64, fd, data, size, offset);
}

EXPORT ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    return pwrite(fd, data, size, offset);
}

EXPORT ssize_t writev(int fd, const struct iovec *parts, int count)
{
    count_write(fd);
    return syscall(SYS_writev, fd, parts, count);
}

/* The kernel takes an offset in two halves, of which a 64-bit machine needs the first alone. */
EXPORT ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    count_write(fd);
    return syscall(SYS_pwritev, fd, parts, count, offset, 0);
}

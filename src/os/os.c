/* SPDX-License-Identifier: Apache-2.0 */
#include "os/os.h"

#include "base/alloc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int (*fault)(void *context, enum bz_os_op op, const char *path);
static void *fault_context;

void bz_os_set_fault(int (*fail)(void *context, enum bz_os_op op, const char *path), void *context)
{
    fault = fail;
    fault_context = context;
}

static size_t (*room)(void *context, size_t wanted);
static void *room_context;

void bz_os_set_room(size_t (*ask)(void *context, size_t wanted), void *context)
{
    room = ask;
    room_context = context;
}

/* The errno that a test wants this call to fail with, or 0. */
static int injected(enum bz_os_op op, const char *path)
{
    return fault == NULL ? 0 : fault(fault_context, op, path);
}

uint64_t bz_os_wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

uint64_t bz_os_mono_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int bz_os_entropy(void *data, size_t size)
{
    uint8_t *p = data;
    while (size > 0) {
        ssize_t n = getrandom(p, size, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return BLAZE_EIO;
        p += n;
        size -= (size_t)n;
    }
    return 0;
}

uint64_t bz_os_boot_id(void)
{
    char text[40] = {0};
    uint64_t id = 0;
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    if (read(fd, text, sizeof text - 1) > 0)
        for (const char *p = text; *p != '\0'; p++)
            id = id * 31 + (uint8_t)*p;
    close(fd);
    return id;
}

uint64_t bz_os_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGE_SIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
}

int bz_file_open(struct bz_file *out, const char *path, int how, blaze_error *error)
{
    int flags = O_CLOEXEC | ((how & BZ_OPEN_WRITE) ? O_RDWR : O_RDONLY);
    if (how & BZ_OPEN_CREATE)
        flags |= O_CREAT;
    if (how & BZ_OPEN_EXCLUSIVE)
        flags |= O_EXCL;
    int number = injected(BZ_OS_OPEN, path);
    if (number != 0)
        return bz_error_errno(error, number, "open %s", path);
    char *name = bz_malloc(strlen(path) + 1);
    if (name == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    strcpy(name, path);
    int fd = open(path, flags, 0600);
    if (fd < 0) {
        number = errno;
        bz_free(name);
        return bz_error_errno(error, number, "open %s", path);
    }
    *out = (struct bz_file){fd, name};
    return 0;
}

void bz_file_close(struct bz_file *file)
{
    if (file->fd >= 0 && file->path != NULL) {
        close(file->fd);
        bz_free(file->path);
    }
    *file = (struct bz_file){-1, NULL};
}

int bz_file_read(
    struct bz_file *file, uint64_t offset, void *data, size_t size, size_t *got, blaze_error *error)
{
    int number = injected(BZ_OS_READ, file->path);
    uint8_t *p = data;
    size_t done = 0;
    while (number == 0 && done < size) {
        ssize_t n = pread(file->fd, p + done, size - done, (off_t)(offset + done));
        if (n == 0)
            break;
        if (n > 0)
            done += (size_t)n;
        else if (errno != EINTR)
            number = errno;
    }
    if (number != 0)
        return bz_error_errno(error, number, "read %s", file->path);
    *got = done;
    return 0;
}

int bz_file_write(
    struct bz_file *file, uint64_t offset, const void *data, size_t size, blaze_error *error)
{
    int number = injected(BZ_OS_WRITE, file->path);
    size_t fits = number == 0 && room != NULL ? room(room_context, size) : size;
    const uint8_t *p = data;
    size_t done = 0;
    while (number == 0 && done < size) {
        ssize_t n = pwrite(file->fd, p + done, fits - done, (off_t)(offset + done));
        if (n > 0)
            done += (size_t)n;
        else if (n == 0)
            number = ENOSPC;
        else if (errno != EINTR)
            number = errno;
    }
    if (number != 0)
        return bz_error_errno(error, number, "write %s", file->path);
    return 0;
}

int bz_file_size(struct bz_file *file, uint64_t *out, blaze_error *error)
{
    struct stat st;
    if (fstat(file->fd, &st) != 0)
        return bz_error_errno(error, errno, "stat %s", file->path);
    *out = (uint64_t)st.st_size;
    return 0;
}

int bz_file_truncate(struct bz_file *file, uint64_t size, blaze_error *error)
{
    int number = injected(BZ_OS_TRUNCATE, file->path);
    if (number == 0 && ftruncate(file->fd, (off_t)size) != 0)
        number = errno;
    if (number != 0)
        return bz_error_errno(error, number, "truncate %s", file->path);
    return 0;
}

int bz_file_sync(struct bz_file *file, blaze_error *error)
{
    int number = injected(BZ_OS_SYNC, file->path);
    if (number == 0 && fdatasync(file->fd) != 0)
        number = errno;
    if (number != 0)
        return bz_error_errno(error, number, "sync %s", file->path);
    return 0;
}

void bz_file_write_behind(struct bz_file *file, uint64_t offset, uint64_t size)
{
#ifdef SYNC_FILE_RANGE_WRITE
    sync_file_range(file->fd, (off_t)offset, (off_t)size, SYNC_FILE_RANGE_WRITE);
#else
    (void)file, (void)offset, (void)size;
#endif
}

int bz_file_allocated(struct bz_file *file, uint64_t offset, uint64_t *end, blaze_error *error)
{
    off_t hole = lseek(file->fd, (off_t)offset, SEEK_HOLE);
    if (hole < 0 && (errno == ENXIO || errno == EINVAL))
        return bz_file_size(file, end, error); /* past the end, or not told by the file system */
    if (hole < 0)
        return bz_error_errno(error, errno, "seek in %s", file->path);
    *end = (uint64_t)hole;
    return 0;
}

int bz_file_disk_size(struct bz_file *file, uint64_t *out, blaze_error *error)
{
    struct stat st;
    if (fstat(file->fd, &st) != 0)
        return bz_error_errno(error, errno, "stat %s", file->path);
    *out = (uint64_t)st.st_blocks * 512u;
    return 0;
}

int bz_file_map(struct bz_file *file, size_t size, bool writable, void **out, blaze_error *error)
{
    int number = injected(BZ_OS_MAP, file->path);
    void *memory = MAP_FAILED;
    if (number == 0) {
        memory = mmap(
            NULL, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, file->fd, 0);
        number = memory == MAP_FAILED ? errno : 0;
    }
    if (number != 0)
        return bz_error_errno(error, number, "map %s", file->path);
    *out = memory;
    return 0;
}

void bz_file_unmap(void *memory, size_t size)
{
    munmap(memory, size);
}

int bz_file_lock(struct bz_file *file, bool exclusive, bool wait, pid_t *holder, blaze_error *error)
{
    struct flock lock = {.l_type = exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};
    while (fcntl(file->fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock) != 0) {
        int number = errno;
        if (number == EINTR)
            continue;
        if (number != EAGAIN && number != EACCES)
            return bz_error_errno(error, number, "lock %s", file->path);
        if (holder != NULL)
            *holder = 0; /* the kernel names no process for such locks */
        return bz_error_set(error, BLAZE_EBUSY, "%s is locked by another", file->path);
    }
    return 0;
}

int bz_file_unlock(struct bz_file *file, blaze_error *error)
{
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    if (fcntl(file->fd, F_OFD_SETLK, &lock) != 0)
        return bz_error_errno(error, errno, "unlock %s", file->path);
    return 0;
}

bool bz_file_is_at(const struct bz_file *file, const char *path)
{
    struct stat open_one, named;
    return fstat(file->fd, &open_one) == 0 && stat(path, &named) == 0 &&
           open_one.st_dev == named.st_dev && open_one.st_ino == named.st_ino;
}

int bz_dir_create(const char *path, blaze_error *error)
{
    int number = injected(BZ_OS_OPEN, path);
    if (number == 0 && mkdir(path, 0700) != 0)
        number = errno;
    if (number != 0)
        return bz_error_errno(error, number, "create directory %s", path);
    return 0;
}

int bz_dir_sync(const char *path, blaze_error *error)
{
    int number = injected(BZ_OS_SYNC, path);
    int fd = number != 0 ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (number == 0 && (fd < 0 || fsync(fd) != 0))
        number = errno;
    if (fd >= 0)
        close(fd);
    if (number != 0)
        return bz_error_errno(error, number, "sync directory %s", path);
    return 0;
}

int bz_path_rename(const char *from, const char *to, blaze_error *error)
{
    int number = injected(BZ_OS_RENAME, to);
    if (number == 0 && rename(from, to) != 0)
        number = errno;
    if (number != 0)
        return bz_error_errno(error, number, "rename %s to %s", from, to);
    return 0;
}

int bz_path_exchange(const char *a, const char *b, blaze_error *error)
{
    int number = injected(BZ_OS_RENAME, a);
    if (number == 0 && renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) != 0)
        number = errno;
    if (number == EINVAL || number == ENOSYS)
        return bz_error_set(
            error, BLAZE_EIO, "exchange %s and %s: the file system cannot do that", a, b);
    if (number != 0)
        return bz_error_errno(error, number, "exchange %s and %s", a, b);
    return 0;
}

int bz_path_remove(const char *path, blaze_error *error)
{
    int number = injected(BZ_OS_REMOVE, path);
    if (number == 0 && remove(path) != 0)
        number = errno;
    if (number != 0)
        return bz_error_errno(error, number, "remove %s", path);
    return 0;
}

bool bz_path_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

bool bz_path_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int bz_path_mark(const char *path, struct bz_file_mark *out, blaze_error *error)
{
    struct statx st;
    if (statx(AT_FDCWD, path, 0, STATX_INO | STATX_BTIME, &st) != 0)
        return bz_error_errno(error, errno, "stat %s", path);
    *out = (struct bz_file_mark){
        .device = (uint64_t)st.stx_dev_major << 32 | st.stx_dev_minor,
        .inode = st.stx_ino,
    };
    if ((st.stx_mask & STATX_BTIME) != 0)
        out->birth_ns = (uint64_t)st.stx_btime.tv_sec * 1000000000u + st.stx_btime.tv_nsec;
    return 0;
}

int bz_dir_list(const char *path, int (*each)(void *context, const char *name), void *context,
    blaze_error *error)
{
    int number = injected(BZ_OS_LIST, path);
    DIR *dir = number == 0 ? opendir(path) : NULL;
    if (dir == NULL)
        return bz_error_errno(error, number != 0 ? number : errno, "read directory %s", path);
    int rc = 0;
    struct dirent *entry;
    while (rc == 0 && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            rc = each(context, entry->d_name);
    }
    closedir(dir);
    return rc;
}

int bz_path_real(const char *path, char **out, blaze_error *error)
{
    char *found = realpath(path, NULL);
    if (found == NULL)
        return bz_error_errno(error, errno, "find %s", path);
    size_t size = strlen(found) + 1;
    char *copy = bz_malloc(size);
    if (copy != NULL)
        memcpy(copy, found, size);
    free(found);
    if (copy == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    *out = copy;
    return 0;
}

char *bz_path_join(const char *dir, const char *name)
{
    size_t size = strlen(dir) + strlen(name) + 2;
    char *path = bz_malloc(size);
    if (path != NULL)
        snprintf(path, size, "%s/%s", dir, name);
    return path;
}

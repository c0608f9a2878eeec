/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The functions below have the names of the C library's. The program that they are linked into
 * exports them, so that the dynamic linker binds all calls to them; they ask the kernel directly.
 *
 * A change is made and recorded under one lock, so the trace has them in the order in which they
 * happened. A sync is not under the lock: it is recorded when it begins and when it has ended, and
 * takes as long as a disk may, so that others write, commit and wait meanwhile. What was recorded
 * before a sync began is on the disk when its end is; nothing else is known.
 *
 * What is written through a mapping cannot be seen here. The store maps one file writable, `lock`:
 * it tells running processes of each other and carries nothing that has to last. The test compares
 * what the trace adds up to with the real files, and so would find whatever else escapes this
 * layer.
 */

#include "record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPORT    __attribute__((visibility("default")))
#define FILES_MAX 1024
#define DIRS_MAX  16
#define LOG_MAX   256
#define SYNC_NS   150000 /* of a fast disk */

/* A descriptor of a file, or of a directory, that is recorded. */
struct traced {
    bool used;
    bool synchronous;
    bool log;
    uint64_t inode;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t synced;
    int out; /* 0: not recording */
    uint64_t dirs[DIRS_MAX];
    size_t dir_count;
    struct traced files[FILES_MAX]; /* by descriptor */
    uint64_t records;
    uint64_t syncs;
    uint64_t die_at;
    struct log_file {
        uint64_t inode;
        uint64_t written;  /* when the last write came */
        uint64_t unsynced; /* writes from then on are not known to be synced; 0: all are */
    } log[LOG_MAX];
    size_t log_count;
} rec = {.lock = PTHREAD_MUTEX_INITIALIZER, .synced = PTHREAD_COND_INITIALIZER};

static void give_up(const char *why)
{
    fprintf(stderr, "powercut: %s: %s\n", why, strerror(errno));
    abort();
}

/* ---- the trace; with the lock held ---- */

static void put(enum trace_kind kind, uint64_t inode, uint64_t a, uint64_t b,
    const struct iovec *parts, int count)
{
    struct iovec all[2 + 64];
    struct trace_record head = {(uint32_t)kind, 0, inode, a, b};
    ssize_t size = sizeof head;
    if (count > 64) {
        errno = E2BIG;
        give_up("too many parts");
    }
    all[0] = (struct iovec){&head, sizeof head};
    for (int i = 0; i < count; i++) {
        all[i + 1] = parts[i];
        head.size += (uint32_t)parts[i].iov_len;
    }
    size += head.size;
    if (syscall(SYS_writev, rec.out, all, count + 1) != size)
        give_up("the trace cannot be written");
    rec.records++;
    if (rec.die_at != 0 && rec.records >= rec.die_at)
        _exit(TRACE_KILLED);
}

static void put_names(
    enum trace_kind kind, uint64_t inode, uint64_t a, const char *one, const char *two)
{
    struct iovec parts[] = {
        {(void *)(uintptr_t)one, strlen(one) + 1},
        {(void *)(uintptr_t)two, two == NULL ? 0 : strlen(two) + 1},
    };
    put(kind, inode, a, 0, parts, two == NULL ? 1 : 2);
}

void record_mark(enum trace_kind kind, uint64_t a, uint64_t b)
{
    pthread_mutex_lock(&rec.lock);
    put(kind, 0, a, b, NULL, 0);
    pthread_mutex_unlock(&rec.lock);
}

void record_die_after(uint64_t calls)
{
    pthread_mutex_lock(&rec.lock);
    rec.die_at = rec.records + calls;
    pthread_mutex_unlock(&rec.lock);
}

/* ---- what is recorded ---- */

static void add_dir(uint64_t inode)
{
    if (rec.dir_count == DIRS_MAX) {
        errno = EMLINK;
        give_up("too many directories");
    }
    rec.dirs[rec.dir_count++] = inode;
}

static bool is_dir(uint64_t inode)
{
    for (size_t i = 0; i < rec.dir_count; i++) {
        if (rec.dirs[i] == inode)
            return true;
    }
    return false;
}

static const char *last_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* Whether the path is in a recorded directory, and in which. */
static bool find_dir(const char *path, uint64_t *inode)
{
    char dir[4096];
    struct stat st;
    if (rec.out == 0 || strlen(path) >= sizeof dir)
        return false;
    strcpy(dir, path);
    dir[last_name(path) - path] = '\0';
    if (stat(dir[0] == '\0' ? "." : dir, &st) != 0 || !is_dir(st.st_ino))
        return false;
    *inode = st.st_ino;
    return true;
}

static struct traced *traced(int fd)
{
    return rec.out != 0 && fd >= 0 && fd < FILES_MAX && rec.files[fd].used ? &rec.files[fd] : NULL;
}

/* The directories that an earlier process made. */
static void find_dirs(const char *path)
{
    struct stat st;
    DIR *dir = opendir(path);
    struct dirent *entry;
    if (dir == NULL || stat(path, &st) != 0)
        give_up(path);
    add_dir(st.st_ino);
    while ((entry = readdir(dir)) != NULL) {
        char inner[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        if (stat(inner, &st) == 0 && S_ISDIR(st.st_mode))
            find_dirs(inner);
    }
    closedir(dir);
}

void record_start(const char *root, const char *trace)
{
    find_dirs(root);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, trace, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0)
        give_up(trace);
    rec.out = fd;
}

/* ---- the log's syncs ---- */

static struct log_file *log_file(uint64_t inode)
{
    for (size_t i = 0; i < rec.log_count; i++) {
        if (rec.log[i].inode == inode)
            return &rec.log[i];
    }
    if (rec.log_count == LOG_MAX) {
        errno = EMFILE;
        give_up("too many segments");
    }
    rec.log[rec.log_count] = (struct log_file){.inode = inode};
    return &rec.log[rec.log_count++];
}

static void log_written(const struct traced *file)
{
    if (!file->log)
        return;
    struct log_file *log = log_file(file->inode);
    log->written = rec.records;
    if (log->unsynced == 0)
        log->unsynced = rec.records;
}

static void log_synced(const struct traced *file, uint64_t begun)
{
    if (!file->log)
        return;
    struct log_file *log = log_file(file->inode);
    if (log->written <= begun)
        log->unsynced = 0;
    else if (log->unsynced != 0 && log->unsynced <= begun)
        log->unsynced = begun + 1;
    pthread_cond_broadcast(&rec.synced);
}

static bool log_is_synced(uint64_t up_to)
{
    for (size_t i = 0; i < rec.log_count; i++) {
        if (rec.log[i].unsynced != 0 && rec.log[i].unsynced <= up_to)
            return false;
    }
    return true;
}

void record_await_log_sync(void)
{
    pthread_mutex_lock(&rec.lock);
    uint64_t now = rec.records;
    while (!log_is_synced(now))
        pthread_cond_wait(&rec.synced, &rec.lock);
    pthread_mutex_unlock(&rec.lock);
}

/* ---- opening and closing ---- */

static int open_recorded(int at, const char *path, int flags, mode_t mode)
{
    uint64_t dir;
    struct stat st;
    pthread_mutex_lock(&rec.lock);
    bool ours = find_dir(path, &dir);
    bool there = ours && stat(path, &st) == 0;
    int fd = (int)syscall(SYS_openat, at, path, flags, mode);
    int number = errno;
    if (fd >= 0 && rec.out != 0 && fstat(fd, &st) == 0 && fd < FILES_MAX) {
        bool folder = S_ISDIR(st.st_mode) && is_dir(st.st_ino);
        const char *name = last_name(path);
        size_t size = strlen(name);
        rec.files[fd] = (struct traced){
            .used = ours || folder,
            .synchronous = (flags & (O_SYNC | O_DSYNC)) != 0,
            .log = size > 4 && strcmp(name + size - 4, ".wal") == 0,
            .inode = st.st_ino,
        };
        if (ours && !there)
            put_names(TRACE_CREATE, dir, st.st_ino, name, NULL);
        if (ours && there && (flags & O_TRUNC) != 0)
            put(TRACE_TRUNCATE, st.st_ino, 0, 0, NULL, 0);
    } else if (fd >= FILES_MAX) {
        errno = EMFILE;
        give_up("too many files");
    }
    pthread_mutex_unlock(&rec.lock);
    errno = number;
    return fd;
}

static mode_t mode_of(int flags, va_list rest)
{
    return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name)                                                                                 \
    EXPORT int name(const char *path, int flags, ...)                                              \
    {                                                                                              \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        mode_t mode = mode_of(flags, rest);                                                        \
        va_end(rest);                                                                              \
        return open_recorded(AT_FDCWD, path, flags, mode);                                         \
    }
OPEN(open)
OPEN(open64)

EXPORT int close(int fd)
{
    pthread_mutex_lock(&rec.lock);
    if (fd >= 0 && fd < FILES_MAX)
        rec.files[fd].used = false;
    int rc = (int)syscall(SYS_close, fd);
    pthread_mutex_unlock(&rec.lock);
    return rc;
}

/* ---- writing ---- */

/* With the lock held: what was written of `parts` at `offset`. */
static void wrote(
    const struct traced *file, uint64_t offset, const struct iovec *parts, int count, ssize_t done)
{
    struct iovec some[64];
    int n = 0;
    size_t left = done < 0 ? 0 : (size_t)done;
    for (; n < count && n < 64 && left > 0; n++) {
        some[n] = parts[n];
        if (some[n].iov_len > left)
            some[n].iov_len = left;
        left -= some[n].iov_len;
    }
    if (n == 0)
        return;
    put(TRACE_WRITE, file->inode, offset, 0, some, n);
    log_written(file);
    if (file->synchronous)
        put(TRACE_WRITTEN, file->inode, 0, 0, NULL, 0);
}

static ssize_t write_at(int fd, const struct iovec *parts, int count, int64_t offset, bool moves)
{
    pthread_mutex_lock(&rec.lock);
    const struct traced *file = traced(fd);
    if (moves && file != NULL)
        offset = lseek(fd, 0, SEEK_CUR);
    ssize_t done = moves ? (ssize_t)syscall(SYS_writev, fd, parts, count)
                         : (ssize_t)syscall(SYS_pwritev, fd, parts, count, offset, 0);
    int number = errno;
    if (file != NULL)
        wrote(file, (uint64_t)offset, parts, count, done);
    pthread_mutex_unlock(&rec.lock);
    errno = number;
    return done;
}

EXPORT ssize_t write(int fd, const void *data, size_t size)
{
    struct iovec part = {(void *)(uintptr_t)data, size};
    return write_at(fd, &part, 1, 0, true);
}

EXPORT ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return write_at(fd, parts, count, 0, true);
}

#define PWRITE(name)                                                                               \
    EXPORT ssize_t name(int fd, const void *data, size_t size, off_t offset)                       \
    {                                                                                              \
        struct iovec part = {(void *)(uintptr_t)data, size};                                       \
        return write_at(fd, &part, 1, offset, false);                                              \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define PWRITEV(name)                                                                              \
    EXPORT ssize_t name(int fd, const struct iovec *parts, int count, off_t offset)                \
    {                                                                                              \
        return write_at(fd, parts, count, offset, false);                                          \
    }
PWRITEV(pwritev)
PWRITEV(pwritev64)

#define FTRUNCATE(name)                                                                            \
    EXPORT int name(int fd, off_t size)                                                            \
    {                                                                                              \
        pthread_mutex_lock(&rec.lock);                                                             \
        int rc = (int)syscall(SYS_ftruncate, fd, size);                                            \
        if (rc == 0 && traced(fd) != NULL)                                                         \
            put(TRACE_TRUNCATE, traced(fd)->inode, (uint64_t)size, 0, NULL, 0);                    \
        pthread_mutex_unlock(&rec.lock);                                                           \
        return rc;                                                                                 \
    }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

/* ---- names ---- */

EXPORT int mkdir(const char *path, mode_t mode)
{
    uint64_t dir;
    struct stat st;
    pthread_mutex_lock(&rec.lock);
    bool ours = find_dir(path, &dir);
    int rc = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    int number = errno;
    if (ours && rc == 0 && stat(path, &st) == 0) {
        add_dir(st.st_ino);
        put_names(TRACE_MKDIR, dir, st.st_ino, last_name(path), NULL);
    }
    pthread_mutex_unlock(&rec.lock);
    errno = number;
    return rc;
}

EXPORT int rename(const char *from, const char *to)
{
    uint64_t a, b;
    pthread_mutex_lock(&rec.lock);
    bool ours = find_dir(from, &a) && find_dir(to, &b);
    int rc = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    int number = errno;
    if (ours && rc == 0)
        put_names(TRACE_RENAME, a, b, last_name(from), last_name(to));
    pthread_mutex_unlock(&rec.lock);
    errno = number;
    return rc;
}

static int unlink_recorded(const char *path, int flags)
{
    uint64_t dir;
    pthread_mutex_lock(&rec.lock);
    bool ours = find_dir(path, &dir);
    int rc = (int)syscall(SYS_unlinkat, AT_FDCWD, path, flags);
    int number = errno;
    if (ours && rc == 0)
        put_names(TRACE_UNLINK, dir, 0, last_name(path), NULL);
    pthread_mutex_unlock(&rec.lock);
    errno = number;
    return rc;
}

EXPORT int unlink(const char *path)
{
    return unlink_recorded(path, 0);
}

EXPORT int rmdir(const char *path)
{
    return unlink_recorded(path, AT_REMOVEDIR);
}

EXPORT int remove(const char *path)
{
    int rc = unlink_recorded(path, 0);
    return rc != 0 && errno == EISDIR ? unlink_recorded(path, AT_REMOVEDIR) : rc;
}

/* ---- syncing ---- */

static int sync_recorded(int fd, long call)
{
    pthread_mutex_lock(&rec.lock);
    struct traced file = {0};
    if (traced(fd) != NULL)
        file = *traced(fd);
    uint64_t number = ++rec.syncs;
    if (file.used)
        put(TRACE_SYNC_BEGIN, file.inode, number, 0, NULL, 0);
    uint64_t begun = rec.records;
    pthread_mutex_unlock(&rec.lock);

    int rc = (int)syscall(call, fd);
    if (!file.used)
        return rc;
    nanosleep(&(struct timespec){0, SYNC_NS}, NULL);
    pthread_mutex_lock(&rec.lock);
    if (rc == 0) {
        put(TRACE_SYNC_END, file.inode, number, 0, NULL, 0);
        log_synced(&file, begun);
    }
    pthread_mutex_unlock(&rec.lock);
    return rc;
}

EXPORT int fsync(int fd)
{
    return sync_recorded(fd, SYS_fsync);
}

EXPORT int fdatasync(int fd)
{
    return sync_recorded(fd, SYS_fdatasync);
}

/* ---- what the store does not use ---- */

/* A way of writing that this layer has no record for: the test must learn of it. */
static int not_recorded(int fd, const char *name)
{
    if (traced(fd) != NULL) {
        errno = ENOSYS;
        give_up(name);
    }
    return 0;
}

EXPORT int fallocate(int fd, int mode, off_t offset, off_t size)
{
    not_recorded(fd, "fallocate");
    return (int)syscall(SYS_fallocate, fd, mode, offset, size);
}

EXPORT int posix_fallocate(int fd, off_t offset, off_t size)
{
    not_recorded(fd, "posix_fallocate");
    return syscall(SYS_fallocate, fd, 0, offset, size) == 0 ? 0 : errno;
}

EXPORT int msync(void *memory, size_t size, int flags)
{
    (void)memory;
    (void)size;
    (void)flags;
    errno = ENOSYS;
    give_up("msync");
    return -1;
}

/* Promises nothing that would outlast a power cut. */
EXPORT int sync_file_range(int fd, off_t offset, off_t size, unsigned flags)
{
    return (int)syscall(SYS_sync_file_range, fd, offset, size, flags);
}

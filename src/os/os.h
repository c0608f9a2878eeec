/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_OS_OS_H
#define BZ_OS_OS_H

/*
 * What the library asks of the operating system, all in one place: clock, entropy, files, locks.
 * Linux is what is tested. Threads are POSIX threads, used directly.
 *
 * Every function returns 0 or a code, and puts "WHAT PATH: REASON" into `error`. Interrupted and
 * partial reads and writes are carried on here.
 */

#include "base/buf.h"
#include "base/error.h"

#include <blazedb/id.h>
#include <pthread.h>
#include <sys/types.h>

/* Milliseconds since 1970 (UTC), may jump. */
uint64_t bz_os_wall_ms(void);

/* Nanoseconds that only go forward, from an arbitrary start. */
uint64_t bz_os_mono_ns(void);

/* Fills `data` from the system's generator. BLAZE_EIO. */
int bz_os_entropy(void *data, size_t size);

/* A number that changes whenever the machine starts; 0 if it cannot be told. */
uint64_t bz_os_boot_id(void);

/* The memory of the machine, in bytes; 0 if it cannot be told. */
uint64_t bz_os_memory(void);

/* A file and the path to name in errors; `fd` is -1 when closed. */
struct bz_file {
    int fd;
    char *path;
};

/* How to open. */
enum {
    BZ_OPEN_READ = 0,
    BZ_OPEN_WRITE = 1,     /* and read */
    BZ_OPEN_CREATE = 2,    /* if it is not there; mode 0600 */
    BZ_OPEN_EXCLUSIVE = 4, /* with CREATE: BLAZE_EEXIST if it is there */
};

int bz_file_open(struct bz_file *out, const char *path, int how, blaze_error *error);
void bz_file_close(struct bz_file *file); /* closing a closed file does nothing */

/* Reads up to `size` bytes at `offset`, fewer only at the end of the file: *got says how many. */
int bz_file_read(struct bz_file *file, uint64_t offset, void *data, size_t size, size_t *got,
    blaze_error *error);
int bz_file_write(
    struct bz_file *file, uint64_t offset, const void *data, size_t size, blaze_error *error);
int bz_file_size(struct bz_file *file, uint64_t *out, blaze_error *error);
int bz_file_truncate(struct bz_file *file, uint64_t size, blaze_error *error);

/* fdatasync(): the data, and what of the metadata is needed to read it back. */
int bz_file_sync(struct bz_file *file, blaze_error *error);

/* Asks the system to begin writing this part of the file to the disk, so that a later sync has less
 * to do at once. Promises nothing. */
void bz_file_write_behind(struct bz_file *file, uint64_t offset, uint64_t size);

/* Where, from `offset` on, the file first has no blocks on the disk: its size if nowhere. */
int bz_file_allocated(struct bz_file *file, uint64_t offset, uint64_t *end, blaze_error *error);

/* What the file takes on the disk, holes left out. */
int bz_file_disk_size(struct bz_file *file, uint64_t *out, blaze_error *error);

/* Maps the first `size` bytes, shared with all who map the file, until bz_file_unmap(). */
int bz_file_map(struct bz_file *file, size_t size, bool writable, void **out, blaze_error *error);
void bz_file_unmap(void *memory, size_t size);

/* An open-file-description lock over the whole file: held by this `struct bz_file`, released by
 * unlock, close or death. `wait` blocks; otherwise BLAZE_EBUSY, and the holder's pid where the
 * system tells (else 0) in *holder (may be NULL). */
int bz_file_lock(
    struct bz_file *file, bool exclusive, bool wait, pid_t *holder, blaze_error *error);
int bz_file_unlock(struct bz_file *file, blaze_error *error);

/* Whether `path` still names the file. */
bool bz_file_is_at(const struct bz_file *file, const char *path);

/* Directories and names. */
int bz_dir_create(const char *path, blaze_error *error); /* mode 0700; BLAZE_EEXIST */
int bz_dir_sync(const char *path, blaze_error *error);   /* makes names in it durable */
int bz_path_rename(const char *from, const char *to, blaze_error *error);
int bz_path_exchange(const char *a, const char *b, blaze_error *error); /* at once, both ways */
int bz_path_remove(const char *path, blaze_error *error); /* a file or an empty directory */
bool bz_path_exists(const char *path);
bool bz_path_is_dir(const char *path);

/* What tells a file from a copy of it: where it lies and when it was made (0 where the file system
 * does not keep that). BLAZE_ENOTFOUND. */
struct bz_file_mark {
    uint64_t device;
    uint64_t inode;
    uint64_t birth_ns;
};
int bz_path_mark(const char *path, struct bz_file_mark *out, blaze_error *error);

/* The file system that a path lies on. */
struct bz_file_system {
    uint64_t type;       /* as statfs() numbers it */
    char name[32];       /* of what runs in user space, as it is mounted: "fuse.sshfs"; else "" */
    const char *network; /* what it is called if other machines share it: "NFS"; NULL: none do */
    uint64_t size_bytes;
    uint64_t free_bytes; /* that may still be written by who is not root */
};

/* Of what is not there yet, the file system of the directory it is to be in. (filesystem.c) */
int bz_path_file_system(const char *path, struct bz_file_system *out, blaze_error *error);

/* BLAZE_EPERM, saying what to do, on a file system that other machines share. What processes have
 * in common, locks and mapped pages, does not hold between machines. Readers are refused as well:
 * they cannot know that nobody writes on another one. */
int bz_path_check_local(const char *path, blaze_error *error);

/* What may still be written to the file system of `path`. */
int bz_path_free_bytes(const char *path, uint64_t *out, blaze_error *error);

/* Calls `each(context, name)` for the entries of a directory except . and .., in no order, until it
 * returns non-zero, which is then returned. */
int bz_dir_list(const char *path, int (*each)(void *context, const char *name), void *context,
    blaze_error *error);

/* The absolute path without symbolic links, in new memory (bz_free). BLAZE_ENOTFOUND. */
int bz_path_real(const char *path, char **out, blaze_error *error);

/* "DIR/NAME" in new memory (bz_free), or NULL when out of memory. */
char *bz_path_join(const char *dir, const char *name);

/* A descriptor that becomes readable when the machine's networks change: links, addresses, routes.
 * BLAZE_ENOTFOUND where the system tells of nothing, BLAZE_EIO. (network.c) */
int bz_network_open(int *out, blaze_error *error);

/* Reads what has come, without waiting: whether a link, an address or a route is there that may not
 * have been before. */
bool bz_network_changed(int fd);
void bz_network_close(int fd); /* negative: none */

/* A descriptor that is readable from when any thread rings until it is hushed. BLAZE_EIO.
 * (bell.c) */
int bz_bell_open(int *out, blaze_error *error);
void bz_bell_ring(int bell);
void bz_bell_hush(int bell);
void bz_bell_close(int bell); /* negative: none */

/*
 * Tests only: before each of these asks `fail(context, op, path)` and fails with the errno that it
 * returns, unless that is 0. NULL switches it off.
 */
enum bz_os_op {
    BZ_OS_OPEN, /* and create, a directory too */
    BZ_OS_READ,
    BZ_OS_WRITE,
    BZ_OS_SYNC,
    BZ_OS_TRUNCATE,
    BZ_OS_RENAME,
    BZ_OS_MAP,
    BZ_OS_REMOVE,
    BZ_OS_LIST,
    BZ_OS_OPS
};
void bz_os_set_fault(int (*fail)(void *context, enum bz_os_op op, const char *path), void *context);

/* Tests only: asks before each write how many of its bytes the disk has room for; if not for all,
 * these are written, and then it fails with ENOSPC. NULL switches it off. */
void bz_os_set_room(size_t (*room)(void *context, size_t wanted), void *context);

/* Tests only: bz_path_file_system() lets `change(context, found)` alter what the system told, all
 * but `network`, which follows from it. NULL switches it off. */
void bz_os_set_file_system(
    void (*change)(void *context, struct bz_file_system *found), void *context);

#endif

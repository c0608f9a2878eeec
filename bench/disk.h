/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_DISK_H
#define BENCH_DISK_H

/*
 * What a process asks of the disk, counted in the same way whichever engine asks: bytes by the
 * kernel, syncs by functions of this program that stand before the C library's, for shared
 * libraries too. For a process of its own, since all threads of one are counted together.
 *
 * The kernel's count of a process's bytes to the disk (write_bytes in /proc/self/io) is of no use:
 * it counts the whole folio that a write makes dirty, which can be 2 MiB for 512 bytes of which the
 * disk gets 4 KiB. So the disk itself is asked, and whoever else writes to it is counted as well.
 */

#include <stdbool.h>
#include <stdint.h>

struct bench_disk {
    uint64_t written; /* bytes to the disk by all processes, the file system's journal with them */
    uint64_t given;   /* bytes passed to write() and its like: never rounded up to blocks */
    uint64_t syncs;   /* fsync, fdatasync, msync, sync_file_range; writes to files opened O_DSYNC */
};

/* Starts counting syncs; until then it costs nothing. */
void bench_disk_count_syncs(void);

/* So far; `dir` is on the disk. */
void bench_disk_now(const char *dir, struct bench_disk *out);

/* Whether the disk of `dir` counts; if not, `written` is always 0. */
bool bench_disk_counts(const char *dir);

/* Lets the file system write what it still holds back. */
void bench_disk_write_back(const char *dir);

/* Waits until this process has written nothing for a second: background work is done. */
void bench_disk_quiet(void);

#endif

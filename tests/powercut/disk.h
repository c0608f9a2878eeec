/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_TESTS_POWERCUT_DISK_H
#define BZ_TESTS_POWERCUT_DISK_H

/*
 * A disk that has lived through a trace up to some point, and the directories that a power cut may
 * leave there at that point: see the essay in disk.c for what may be lost.
 */

#include "trace.h"

#include <stdbool.h>
#include <stddef.h>

/* Disks that break their word, to see that it is found. */
enum disk_lie {
    DISK_HONEST,
    DISK_LOG_UNSYNCED,  /* syncs of segments do nothing */
    DISK_BASE_UNSYNCED, /* syncs, and synchronous writes, of the base do nothing */
    DISK_NAMES_UNSYNCED /* syncs of directories do nothing */
};

struct disk;

struct disk *disk_new(enum disk_lie lie);
void disk_free(struct disk *disk);

/* The next record of the trace and its payload, which stays where it is. */
void disk_apply(struct disk *disk, const struct trace_record *record, const uint8_t *payload);

/* Makes the directory `path` what is left after a power cut now. `choice` decides among what may
 * be. */
void disk_cut(const struct disk *disk, uint64_t choice, const char *path);

/* Makes the directory `path` what the running machine sees: nothing is lost. */
void disk_keep(const struct disk *disk, const char *path);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_TESTS_POWERCUT_TRACE_H
#define BZ_TESTS_POWERCUT_TRACE_H

/*
 * The trace of a workload: what it asked of the file system, in the order in which it happened, and
 * what it was told. A file of records, each a header and `size` bytes. Files and directories are
 * known by their inode; an inode that is made again is another one.
 */

#include <stdint.h>

enum trace_kind {
    /* What was there in the beginning, all of it on the disk, is told like any other change. */
    TRACE_ROOT,       /* inode: the directory that all is in */
    TRACE_CREATE,     /* inode: of the directory, a: of the file; the name */
    TRACE_MKDIR,      /* inode: of the directory, a: of the new one; the name */
    TRACE_RENAME,     /* inode, a: of the directories; both names, each with its NUL */
    TRACE_UNLINK,     /* inode: of the directory; the name */
    TRACE_WRITE,      /* inode, a: offset; the bytes */
    TRACE_TRUNCATE,   /* inode, a: the new size */
    TRACE_SYNC_BEGIN, /* inode, a: a number for this sync */
    TRACE_SYNC_END,   /* inode, a: that number */
    TRACE_WRITTEN,    /* inode: its last write was a synchronous one, and has returned */

    TRACE_SETTLED, /* the beginning is over */
    TRACE_SEED,    /* a: of the plan, b: its scale */
    TRACE_LIFE,    /* a process found commit a to be the newest, and goes on with life b */
    TRACE_CREATED, /* the database was made */
    TRACE_BEGUN,   /* commit a may be there from now on */
    TRACE_SEEN,    /* commit a was acknowledged: relaxed */
    TRACE_DURABLE, /* all commits up to a were acknowledged as being on the disk */
    TRACE_CLOSED,
};

struct trace_record {
    uint32_t kind;
    uint32_t size;
    uint64_t inode;
    uint64_t a;
    uint64_t b;
};

#define TRACE_KILLED 7 /* exit status of a workload that was to die in the middle */

#endif

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The limit of writing: a file to which each commit appends 512 bytes, followed by one fdatasync
 * for the durable profile. It keeps no records.
 */

#include "bench.h"
#include "engine.h"
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define COMMIT_BYTES 512

struct bench_db {
    int fd;
    bool durable;
};

struct bench_session {
    struct bench_db *db;
    size_t added;
};

static struct bench_db *open_db(const char *dir, enum bench_profile profile, const char *variant)
{
    (void)variant;
    struct bench_db *db = calloc(1, sizeof *db);
    char *path = bench_path(dir, "log");
    if (db == NULL)
        bench_die("out of memory");
    db->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    db->durable = profile == BENCH_FULL;
    if (db->fd < 0)
        bench_die("%s: %s", path, strerror(errno));
    free(path);
    return db;
}

static void close_db(struct bench_db *db)
{
    close(db->fd);
    free(db);
}

static void flush(struct bench_db *db)
{
    if (fdatasync(db->fd) != 0)
        bench_die("append: %s", strerror(errno));
}

static struct bench_session *session(struct bench_db *db)
{
    struct bench_session *s = calloc(1, sizeof *s);
    if (s == NULL)
        bench_die("out of memory");
    s->db = db;
    return s;
}

static void end(struct bench_session *s)
{
    free(s);
}

static void begin(struct bench_session *s)
{
    s->added = 0;
}

static void add(struct bench_session *s, const struct bench_write *w)
{
    (void)w;
    s->added++;
}

static void commit(struct bench_session *s)
{
    static const uint8_t commit_bytes[COMMIT_BYTES * 64] = {1};
    size_t size = COMMIT_BYTES * (s->added < 64 ? s->added : 64);
    if (write(s->db->fd, commit_bytes, size) != (ssize_t)size)
        bench_die("append: %s", strerror(errno));
    if (s->db->durable)
        flush(s->db);
}

static void write_one(struct bench_session *s, const struct bench_write *w)
{
    begin(s);
    add(s, w);
    commit(s);
}

const struct bench_engine bench_engine_append = {.name = "append + fdatasync",
    .load_batch = 64,
    .open = open_db,
    .close = close_db,
    .flush = flush,
    .settle = flush,
    .session = session,
    .end = end,
    .write = write_one,
    .begin = begin,
    .add = add,
    .commit = commit};

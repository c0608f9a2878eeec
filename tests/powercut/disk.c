/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a power cut may leave.
 *
 * A file is the content that it had at the last sync that has ended, and the writes and truncations
 * since. (A sync covers what came before it began; a synchronous write covers its own bytes.) Each
 * sector of 512 bytes is written to the disk at some moments that nobody knows, at least when it is
 * synced: so in the image it is as it was at any one moment since. How these moments hang together
 * is chosen: all sectors may be of one moment (so the writes are lost from some point on, and the
 * write at that point is torn), or those of a file, or of a page of 4,096 bytes, or each may have
 * its own, which is every order in which writes can reach the disk. The size of a file is of its
 * own moment; what was never written of it is zeroes.
 *
 * A directory is the names that it had when it was last synced, and the changes since: they are
 * lost from some point on, or, harder than the journal of a file system would have it, each alone.
 * A rename is there or not, never half. A new directory is empty until it is synced.
 *
 * One file is written through a mapping, which the trace does not know: `lock`. It has any content.
 *
 * Left out: sectors that become unreadable or change by themselves, sectors torn inside, and files
 * that hold what was deleted elsewhere.
 */

#include "disk.h"

#include "plan.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR    512u
#define PAGE      4096u
#define NAME_SIZE 64
#define SYNCS     4096 /* under way at most, where the machine is busy */

/* A change of a file that is not known to be on the disk. */
struct change {
    uint64_t offset;
    uint64_t size;
    const uint8_t *data; /* NULL: zeroes, which a truncation leaves */
    uint64_t file_size;  /* after it */
    uint64_t number;     /* among the changes of all files */
    bool fixed;          /* it was a synchronous write */
};

/* A change of a directory: from and to are "" where there is no such name. */
struct naming {
    char from[NAME_SIZE];
    char to[NAME_SIZE];
    struct node *node; /* for a new name */
};

struct entry {
    char name[NAME_SIZE];
    struct node *node;
};

struct node {
    struct node *next;
    uint64_t inode;
    bool directory;
    bool log, base; /* by its name */
    /* On the disk. */
    uint8_t *data;
    uint64_t size, capacity;
    struct entry *entries;
    size_t entry_count;
    /* Since then; `dropped` have gone before. */
    struct change *changes;
    struct naming *namings;
    size_t pending, pending_capacity;
    uint64_t dropped;
    uint64_t now_size;
};

struct disk {
    enum disk_lie lie;
    struct node *nodes; /* the newest first: an inode may come again */
    struct node *root;
    uint64_t changes; /* of all files, so far */
    struct sync {
        uint64_t number;
        struct node *node;
        uint64_t up_to; /* of its changes */
    } syncs[SYNCS];
};

static void *must_have(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

/* ---- nodes ---- */

static struct node *find(const struct disk *disk, uint64_t inode)
{
    struct node *node = disk->nodes;
    while (node != NULL && node->inode != inode)
        node = node->next;
    return must_have(node);
}

static struct node *add_node(struct disk *disk, uint64_t inode, bool directory)
{
    struct node *node = must_have(calloc(1, sizeof *node));
    node->next = disk->nodes;
    node->inode = inode;
    node->directory = directory;
    disk->nodes = node;
    return node;
}

static void free_pending(struct node *node)
{
    free(node->changes);
    free(node->namings);
}

struct disk *disk_new(enum disk_lie lie)
{
    struct disk *disk = must_have(calloc(1, sizeof *disk));
    disk->lie = lie;
    return disk;
}

void disk_free(struct disk *disk)
{
    while (disk->nodes != NULL) {
        struct node *node = disk->nodes;
        disk->nodes = node->next;
        free_pending(node);
        free(node->data);
        free(node->entries);
        free(node);
    }
    free(disk);
}

/* ---- content ---- */

struct content {
    uint8_t *data;
    uint64_t size, capacity;
};

static void set_size(struct content *content, uint64_t size)
{
    if (size > content->capacity) {
        uint64_t capacity = size > 2 * content->capacity ? size : 2 * content->capacity;
        content->data = must_have(realloc(content->data, capacity));
        content->capacity = capacity;
    }
    if (size > content->size)
        memset(content->data + content->size, 0, size - content->size);
    content->size = size;
}

static void put_bytes(
    struct content *content, const struct change *change, uint64_t from, uint64_t to)
{
    if (from == to)
        return;
    if (content->size < to)
        set_size(content, to);
    if (change->data == NULL)
        memset(content->data + from, 0, to - from);
    else
        memcpy(content->data + from, change->data + (from - change->offset), to - from);
}

static void put_change(struct content *content, const struct change *change)
{
    put_bytes(content, change, change->offset, change->offset + change->size);
    set_size(content, change->file_size);
}

/* ---- the trace ---- */

static struct change *add_change(struct disk *disk, struct node *node)
{
    if (node->pending == node->pending_capacity) {
        node->pending_capacity = 2 * node->pending_capacity + 16;
        node->changes =
            must_have(realloc(node->changes, node->pending_capacity * sizeof *node->changes));
    }
    struct change *change = &node->changes[node->pending++];
    *change = (struct change){.number = disk->changes++};
    return change;
}

static void write_file(
    struct disk *disk, struct node *node, uint64_t offset, const uint8_t *data, uint64_t size)
{
    struct change *change = add_change(disk, node);
    change->offset = offset;
    change->size = size;
    change->data = data;
    if (node->now_size < offset + size)
        node->now_size = offset + size;
    change->file_size = node->now_size;
}

static void truncate_file(struct disk *disk, struct node *node, uint64_t size)
{
    struct change *change = add_change(disk, node);
    if (size < node->now_size) {
        change->offset = size;
        change->size = node->now_size - size;
    }
    node->now_size = size;
    change->file_size = size;
}

static void copy_name(char out[NAME_SIZE], const char *name)
{
    if (strlen(name) >= NAME_SIZE)
        abort();
    strcpy(out, name);
}

static void note_name(struct node *node, const char *name)
{
    size_t size = strlen(name);
    node->log = size > 4 && strcmp(name + size - 4, ".wal") == 0;
    node->base =
        strncmp(name, "manifest", 8) == 0 || (size > 4 && strcmp(name + size - 4, ".tbl") == 0);
}

static void change_name(struct node *dir, const char *from, const char *to, struct node *node)
{
    if (dir->pending == dir->pending_capacity) {
        dir->pending_capacity = 2 * dir->pending_capacity + 16;
        dir->namings =
            must_have(realloc(dir->namings, dir->pending_capacity * sizeof *dir->namings));
    }
    struct naming *naming = &dir->namings[dir->pending++];
    copy_name(naming->from, from);
    copy_name(naming->to, to);
    naming->node = node;
}

static struct entry *find_entry(struct entry *entries, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(entries[i].name, name) == 0)
            return &entries[i];
    }
    return NULL;
}

/* The names of a directory, `count` entries with room for more. */
struct names {
    struct entry *entries;
    size_t count;
};

static void remove_name(struct names *names, const char *name)
{
    struct entry *entry = find_entry(names->entries, names->count, name);
    if (entry != NULL)
        *entry = names->entries[--names->count];
}

/* Where it cannot be, since what it builds on was lost, nothing changes. */
static void put_naming(struct names *names, const struct naming *naming)
{
    struct node *node = naming->node;
    if (naming->from[0] != '\0') {
        struct entry *from = find_entry(names->entries, names->count, naming->from);
        if (from == NULL || (node != NULL && from->node != node))
            return;
        remove_name(names, naming->from);
    }
    if (naming->to[0] == '\0')
        return;
    remove_name(names, naming->to);
    copy_name(names->entries[names->count].name, naming->to);
    names->entries[names->count++].node = node;
}

static struct names names_of(const struct node *dir)
{
    struct names names = {
        must_have(malloc((dir->entry_count + dir->pending + 1) * sizeof *names.entries)),
        dir->entry_count,
    };
    if (dir->entry_count > 0)
        memcpy(names.entries, dir->entries, dir->entry_count * sizeof *names.entries);
    return names;
}

/* What the running machine sees. */
static struct node *look_up(const struct node *dir, const char *name)
{
    struct names names = names_of(dir);
    for (size_t i = 0; i < dir->pending; i++)
        put_naming(&names, &dir->namings[i]);
    struct entry *entry = find_entry(names.entries, names.count, name);
    struct node *node = entry == NULL ? NULL : entry->node;
    free(names.entries);
    return must_have(node);
}

/* The first `count` pending changes are on the disk from now on. */
static void settle(struct node *node, size_t count)
{
    if (count == 0)
        return;
    if (node->directory) {
        struct names names = names_of(node);
        for (size_t i = 0; i < count; i++)
            put_naming(&names, &node->namings[i]);
        free(node->entries);
        node->entries = names.entries;
        node->entry_count = names.count;
        memmove(
            node->namings, node->namings + count, (node->pending - count) * sizeof *node->namings);
    } else {
        struct content content = {node->data, node->size, node->capacity};
        for (size_t i = 0; i < count; i++)
            put_change(&content, &node->changes[i]);
        node->data = content.data;
        node->size = content.size;
        node->capacity = content.capacity;
        memmove(
            node->changes, node->changes + count, (node->pending - count) * sizeof *node->changes);
    }
    node->pending -= count;
    node->dropped += count;
}

static bool lies_about(const struct disk *disk, const struct node *node)
{
    switch (disk->lie) {
    case DISK_LOG_UNSYNCED:
        return node->log;
    case DISK_BASE_UNSYNCED:
        return node->base;
    case DISK_NAMES_UNSYNCED:
        return node->directory;
    default:
        return false;
    }
}

static void begin_sync(struct disk *disk, struct node *node, uint64_t number)
{
    struct sync *sync = &disk->syncs[number % SYNCS];
    *sync = (struct sync){number, node, node->dropped + node->pending};
}

static void end_sync(struct disk *disk, uint64_t number)
{
    struct sync *sync = &disk->syncs[number % SYNCS];
    if (sync->number != number || sync->node == NULL)
        abort();
    if (sync->up_to > sync->node->dropped && !lies_about(disk, sync->node))
        settle(sync->node, (size_t)(sync->up_to - sync->node->dropped));
    sync->node = NULL;
}

static void settle_all(struct disk *disk)
{
    for (struct node *node = disk->nodes; node != NULL; node = node->next)
        settle(node, node->pending);
}

static void add_entry(struct disk *disk, const struct trace_record *record, const char *name)
{
    struct node *dir = find(disk, record->inode);
    struct node *node = add_node(disk, record->a, record->kind == TRACE_MKDIR);
    note_name(node, name);
    change_name(dir, "", name, node);
}

static void rename_entry(struct disk *disk, const struct trace_record *record, const char *from)
{
    struct node *dir = find(disk, record->inode);
    const char *to = from + strlen(from) + 1;
    if (record->a != record->inode)
        abort(); /* the store does not rename from one directory to another */
    struct node *node = look_up(dir, from);
    note_name(node, to);
    change_name(dir, from, to, node);
}

void disk_apply(struct disk *disk, const struct trace_record *record, const uint8_t *payload)
{
    const char *name = (const char *)payload;
    switch ((enum trace_kind)record->kind) {
    case TRACE_ROOT:
        disk->root = add_node(disk, record->inode, true);
        break;
    case TRACE_CREATE:
    case TRACE_MKDIR:
        add_entry(disk, record, name);
        break;
    case TRACE_RENAME:
        rename_entry(disk, record, name);
        break;
    case TRACE_UNLINK:
        change_name(find(disk, record->inode), name, "", NULL);
        break;
    case TRACE_WRITE:
        write_file(disk, find(disk, record->inode), record->a, payload, record->size);
        break;
    case TRACE_TRUNCATE:
        truncate_file(disk, find(disk, record->inode), record->a);
        break;
    case TRACE_SYNC_BEGIN:
        begin_sync(disk, find(disk, record->inode), record->a);
        break;
    case TRACE_SYNC_END:
        end_sync(disk, record->a);
        break;
    case TRACE_WRITTEN: {
        struct node *node = find(disk, record->inode);
        if (!lies_about(disk, node))
            node->changes[node->pending - 1].fixed = true;
        break;
    }
    case TRACE_SETTLED:
        settle_all(disk);
        break;
    default:
        break;
    }
}

/* ---- images ---- */

/* What has the same moment. */
enum grain { OF_ALL, OF_FILE, OF_PAGE, OF_SECTOR };

struct cut {
    uint64_t choice;
    enum grain grain;
    unsigned old, new; /* per cent of the moments that are the first, or the last */
    bool names_alone;  /* each change of a directory by itself */
    uint64_t when;     /* OF_ALL: the number of changes, of all files, before it */
};

static void set_shares(struct cut *cut, uint64_t mix)
{
    static const unsigned shares[][2] = {
        {100, 0}, {0, 100}, {0, 0}, {30, 30}, {96, 3}, {3, 96}, {45, 45}, {10, 80}};
    cut->old = shares[mix % 8][0];
    cut->new = shares[mix % 8][1];
}

static struct cut cut_of(const struct disk *disk, uint64_t choice)
{
    uint64_t mix = plan_mix(choice, 1);
    uint64_t back = mix / 256 % (2u << (mix / 64 % 12));
    struct cut cut = {
        .choice = choice,
        .grain = (enum grain)(mix % 4),
        .names_alone = mix / 32 % 2 != 0,
        .when = disk->changes - (back < disk->changes ? back : disk->changes),
    };
    set_shares(&cut, mix / 4);
    return cut;
}

/* A moment between the sync and now: how many of the `count` changes came before it. */
static size_t moment(const struct cut *cut, uint64_t what, uint64_t which, size_t count)
{
    uint64_t mix = plan_mix(plan_mix(cut->choice, what), which);
    unsigned percent = (unsigned)(mix % 100);
    if (percent < cut->old)
        return 0;
    if (percent >= 100 - cut->new)
        return count;
    return (size_t)(mix / 128 % (count + 1));
}

/* How many changes of the file came before the one moment of all; `torn` if it falls into one. */
static size_t common_moment(const struct cut *cut, const struct node *node, bool *torn)
{
    size_t i = node->pending;
    while (i > 0 && node->changes[i - 1].number >= cut->when)
        i--;
    *torn = i < node->pending && node->changes[i].number == cut->when;
    return i;
}

/* The moment of the sector at `at`. */
static size_t sector_moment(const struct cut *cut, const struct node *node, uint64_t at)
{
    bool torn;
    switch (cut->grain) {
    case OF_FILE:
        return moment(cut, node->inode, 0, node->pending);
    case OF_PAGE:
        return moment(cut, node->inode, 1 + at / PAGE, node->pending);
    case OF_SECTOR:
        return moment(cut, node->inode, 1 + at / SECTOR, node->pending);
    default: {
        size_t i = common_moment(cut, node, &torn);
        return torn && plan_mix(cut->choice, at / SECTOR) % 2 == 0 ? i + 1 : i;
    }
    }
}

/* Whether a synchronous write, not before change `i`, covers the sector: then it is there. */
static bool is_fixed(const struct node *node, size_t i, uint64_t from, uint64_t to)
{
    for (; i < node->pending; i++) {
        const struct change *change = &node->changes[i];
        if (change->fixed && change->offset < to && from < change->offset + change->size)
            return true;
    }
    return false;
}

static void cut_change(
    struct content *content, const struct cut *cut, const struct node *node, size_t i)
{
    const struct change *change = &node->changes[i];
    uint64_t end = change->offset + change->size;
    for (uint64_t at = change->offset; at < end;) {
        uint64_t next = (at / SECTOR + 1) * SECTOR;
        if (next > end)
            next = end;
        if (i < sector_moment(cut, node, at) || is_fixed(node, i, at, next))
            put_bytes(content, change, at, next);
        at = next;
    }
}

static uint64_t cut_size(const struct cut *cut, const struct node *node)
{
    size_t i = cut->grain == OF_ALL ? sector_moment(cut, node, 0)
                                    : moment(cut, node->inode, 0, node->pending);
    for (size_t k = i; k < node->pending; k++) {
        if (node->changes[k].fixed)
            i = k + 1;
    }
    return i == 0 ? node->size : node->changes[i - 1].file_size;
}

/* `cut` NULL: nothing is lost. */
static struct content content_of(const struct cut *cut, const struct node *node)
{
    struct content content = {0};
    set_size(&content, node->size);
    if (node->size > 0)
        memcpy(content.data, node->data, node->size);
    for (size_t i = 0; i < node->pending; i++) {
        if (cut == NULL)
            put_change(&content, &node->changes[i]);
        else
            cut_change(&content, cut, node, i);
    }
    if (cut != NULL)
        set_size(&content, cut_size(cut, node));
    return content;
}

static struct names cut_names(const struct cut *cut, const struct node *dir)
{
    struct names names = names_of(dir);
    struct cut own = {0};
    size_t up_to = dir->pending;
    if (cut != NULL) {
        own = *cut;
        set_shares(&own, plan_mix(cut->choice, 2)); /* whatever becomes of the files */
        up_to = moment(&own, dir->inode, 0, dir->pending);
    }
    for (size_t i = 0; i < dir->pending; i++) {
        bool there =
            own.names_alone ? moment(&own, dir->inode, 1 + dir->dropped + i, 1) == 1 : i < up_to;
        if (there)
            put_naming(&names, &dir->namings[i]);
    }
    return names;
}

/* What tells running processes of each other is written through a mapping: anything may be there.
 */
static bool any_content(const struct cut *cut, const char *name, struct content *content)
{
    if (strcmp(name, "lock") != 0)
        return false;
    uint64_t mix = plan_mix(cut->choice, (uint64_t)name[0]);
    set_size(content, 0);
    set_size(content, mix % 3 == 0 ? 0 : 8192);
    for (uint64_t i = 0; mix % 3 == 1 && i + 8 <= content->size; i += 8) {
        uint64_t word = plan_mix(mix, i);
        memcpy(content->data + i, &word, 8);
    }
    return true;
}

static void write_out(const char *path, const struct content *content)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)content->size) != 0)
        abort();
    for (uint64_t at = 0; at < content->size; at += 1u << 16) {
        static const uint8_t zeroes[1u << 16];
        uint64_t size = content->size - at < sizeof zeroes ? content->size - at : sizeof zeroes;
        if (memcmp(content->data + at, zeroes, size) != 0 &&
            pwrite(fd, content->data + at, size, (off_t)at) != (ssize_t)size)
            abort();
    }
    close(fd);
}

static void make_dir(const struct cut *cut, const struct node *dir, const char *path)
{
    struct names names = cut_names(cut, dir);
    for (size_t i = 0; i < names.count; i++) {
        const struct entry *entry = &names.entries[i];
        char inner[4096];
        snprintf(inner, sizeof inner, "%s/%s", path, entry->name);
        if (entry->node->directory) {
            if (mkdir(inner, 0700) != 0)
                abort();
            make_dir(cut, entry->node, inner);
            continue;
        }
        struct content content = content_of(cut, entry->node);
        if (cut != NULL)
            any_content(cut, entry->name, &content);
        write_out(inner, &content);
        free(content.data);
    }
    free(names.entries);
}

void disk_cut(const struct disk *disk, uint64_t choice, const char *path)
{
    struct cut cut = cut_of(disk, choice);
    make_dir(&cut, disk->root, path);
}

void disk_keep(const struct disk *disk, const char *path)
{
    make_dir(NULL, disk->root, path);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGUMENTS_MAX 20

char *bench_path(const char *dir, const char *name)
{
    char *path;
    if (asprintf(&path, "%s/%s", dir, name) < 0)
        bench_die("out of memory");
    return path;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info;
    (void)type;
    (void)ftw;
    return remove(path);
}

void bench_dir_remove(const char *path)
{
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
        bench_die("%s: cannot remove: %s", path, strerror(errno));
}

void bench_dir_fresh(const char *path)
{
    bench_dir_remove(path);
    if (mkdir(path, 0700) != 0)
        bench_die("%s: cannot make: %s", path, strerror(errno));
}

static uint64_t walked_bytes;

static int add_bytes(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)path;
    (void)ftw;
    if (type != FTW_NS) /* gone since its name was read */
        walked_bytes += (uint64_t)info->st_blocks * 512;
    return 0;
}

uint64_t bench_dir_blocks(const char *path)
{
    walked_bytes = 0;
    if (nftw(path, add_bytes, 16, FTW_PHYS) != 0)
        bench_die("%s: cannot walk: %s", path, strerror(errno));
    return walked_bytes;
}

uint64_t bench_dir_bytes(const char *path)
{
    sync();
    return bench_dir_blocks(path);
}

/* The number after `key` in a file of /proc. */
static uint64_t proc_number(const char *path, const char *key)
{
    FILE *in = fopen(path, "r");
    char line[256];
    uint64_t value = 0;
    while (in != NULL && fgets(line, sizeof line, in) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            value = strtoull(line + strlen(key), NULL, 10);
    if (in != NULL)
        fclose(in);
    return value;
}

uint64_t bench_io_number(const char *key)
{
    return proc_number("/proc/self/io", key);
}

uint64_t bench_memory_peak(void)
{
    return proc_number("/proc/self/status", "VmHWM:") * 1024;
}

uint64_t bench_memory_own(void)
{
    return proc_number("/proc/self/status", "RssAnon:") * 1024;
}

void bench_child_start(struct bench_child *child, const char *const *arguments)
{
    const char *argv[ARGUMENTS_MAX] = {"bench", "--child"};
    size_t count = 2;
    for (size_t i = 0; arguments[i] != NULL && count < ARGUMENTS_MAX - 1; i++)
        argv[count++] = arguments[i];
    int out[2], in[2];
    if (pipe2(out, O_CLOEXEC) != 0 || pipe2(in, O_CLOEXEC) != 0)
        bench_die("pipe: %s", strerror(errno));
    fflush(stdout);
    pid_t pid = vfork();
    if (pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    if (pid < 0)
        bench_die("fork: %s", strerror(errno));
    close(out[1]);
    close(in[0]);
    *child = (struct bench_child){pid, out[0], in[1]};
}

void bench_child_end_input(struct bench_child *child)
{
    if (child->in >= 0)
        close(child->in);
    child->in = -1;
}

void bench_child_wait(struct bench_child *child, int killed)
{
    int status;
    bench_child_end_input(child);
    if (waitpid(child->pid, &status, 0) != child->pid)
        bench_die("wait: %s", strerror(errno));
    close(child->out);
    if (!killed && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
        bench_die("a child process failed");
}

void bench_child_line(struct bench_child *child, char *line, size_t room)
{
    size_t size = 0;
    for (;;) {
        char c;
        if (read(child->out, &c, 1) != 1)
            bench_die("a child process ended before it answered");
        if (c == '\n' || size == room - 1)
            break;
        line[size++] = c;
    }
    line[size] = '\0';
}

void bench_child_run(const char *const *arguments, char *line, size_t room)
{
    struct bench_child child;
    bench_child_start(&child, arguments);
    bench_child_line(&child, line, room);
    bench_child_wait(&child, 0);
}

double bench_child_number(const char *line, const char *name)
{
    json_error_t error;
    json_t *object = json_loads(line, 0, &error);
    json_t *value = json_object_get(object, name);
    if (!json_is_number(value))
        bench_die("a child process answered without %s: %s", name, line);
    double number = json_number_value(value);
    json_decref(object);
    return number;
}

char *bench_child_text(const char *line, const char *name)
{
    json_error_t error;
    json_t *object = json_loads(line, 0, &error);
    const char *value = json_string_value(json_object_get(object, name));
    char *text = value != NULL ? strdup(value) : NULL;
    if (text == NULL)
        bench_die("a child process answered without %s: %s", name, line);
    json_decref(object);
    return text;
}

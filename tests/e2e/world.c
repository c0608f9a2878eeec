/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <blazedb.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARGUMENTS_MAX 32

struct text {
    struct text *next;
    char data[];
};

struct process {
    struct process *next;
    pid_t pid;
    bool ended;
    int code;
    int out;          /* the pipe's end, -1 once it is closed */
    char *data;       /* what came, from `at` on not yet handed out */
    size_t size, at;  /* of it */
    char errors[32];  /* the file of its standard error */
    char command[64]; /* for messages */
};

/* ---- time and memory ---- */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static char *keep(struct world *world, const char *data, size_t size)
{
    struct text *text = malloc(sizeof *text + size + 1);
    assert_non_null(text);
    memcpy(text->data, data, size);
    text->data[size] = '\0';
    text->next = world->texts;
    world->texts = text;
    return text->data;
}

char *text(struct world *world, const char *format, ...)
{
    char *made;
    va_list args;
    va_start(args, format);
    int size = vasprintf(&made, format, args);
    va_end(args);
    assert_true(size >= 0);
    char *kept = keep(world, made, (size_t)size);
    free(made);
    return kept;
}

uint64_t world_random(struct world *world, uint64_t bound)
{
    return rng_next(&world->rng) % bound;
}

/* ---- the world ---- */

int world_begin(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    world->rng.state = test_seed();
    strcpy(world->dir, "/tmp/blazedb-e2e-XXXXXX");
    assert_non_null(mkdtemp(world->dir));
    assert_int_equal(chdir(world->dir), 0);
    *state = world;
    return 0;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

int world_end(void **state)
{
    struct world *world = *state;
    for (struct process *p = world->processes, *next; p != NULL; p = next) {
        next = p->next;
        if (!p->ended) {
            kill(p->pid, SIGKILL);
            waitpid(p->pid, NULL, 0);
        }
        if (p->out >= 0)
            close(p->out);
        free(p->data);
        free(p);
    }
    for (struct text *t = world->texts, *next; t != NULL; t = next) {
        next = t->next;
        free(t);
    }
    int rc = chdir("/");
    if (getenv("BLAZEDB_KEEP") == NULL)
        nftw(world->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(world);
    return rc;
}

void write_file(const char *name, const char *content, size_t size)
{
    FILE *file = fopen(name, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(content, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static const char *read_file(struct world *world, const char *name)
{
    FILE *file = fopen(name, "rb");
    struct stat info;
    assert_non_null(file);
    assert_int_equal(fstat(fileno(file), &info), 0);
    char *content = malloc((size_t)info.st_size + 1);
    assert_non_null(content);
    size_t size = fread(content, 1, (size_t)info.st_size, file);
    fclose(file);
    const char *kept = keep(world, content, size);
    free(content);
    return kept;
}

/* ---- processes ---- */

/* What a command's input and outputs are. */
enum ends { PIPES, SCREEN, TERMINAL }; /* a screen is a terminal for output only */

static void in_child(const struct world *world, const struct process *process, enum ends kind,
    int output, char **arguments)
{
    struct rlimit limit = {world->file_limit, world->file_limit};
    if (world->file_limit != 0) {
        signal(SIGXFSZ, SIG_IGN); /* writes then fail instead */
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    int errors = open(process->errors, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int input = kind == TERMINAL
                    ? output
                    : open(world->input != NULL ? world->input : "/dev/null", O_RDONLY);
    if (errors < 0 || input < 0 || dup2(input, 0) < 0 || dup2(output, 1) < 0 ||
        dup2(kind == PIPES ? errors : output, 2) < 0)
        _exit(126);
    execv(arguments[0], arguments);
    _exit(127);
}

/* The two ends of a new pipe, or of a terminal. */
static void open_ends(enum ends kind, int ends[2])
{
    if (kind == PIPES) {
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        return;
    }
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    assert_int_equal(openpty(&ends[0], &ends[1], NULL, NULL, &size), 0);
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
}

static struct process *launch(struct world *world, enum ends kind, va_list args)
{
    static int count;
    const char *command = getenv("BLAZEDB");
    char *arguments[ARGUMENTS_MAX + 1];
    int n = 0;
    arguments[n++] = (char *)(command != NULL ? command : BLAZEDB_COMMAND);
    while ((arguments[n] = va_arg(args, char *)) != NULL)
        assert_true(++n < ARGUMENTS_MAX);

    struct process *process = calloc(1, sizeof *process);
    assert_non_null(process);
    snprintf(process->errors, sizeof process->errors, "stderr.%d", ++count);
    snprintf(process->command, sizeof process->command, "blazedb %s %s", n > 1 ? arguments[1] : "",
        n > 2 ? arguments[2] : "");
    int ends[2];
    open_ends(kind, ends);
    process->pid = fork();
    assert_true(process->pid >= 0);
    if (process->pid == 0)
        in_child(world, process, kind, ends[1], arguments);
    close(ends[1]);
    process->out = ends[0];
    process->next = world->processes;
    world->processes = process;
    return process;
}

struct process *start(struct world *world, ...)
{
    va_list args;
    va_start(args, world);
    struct process *process = launch(world, PIPES, args);
    va_end(args);
    return process;
}

struct process *start_on_terminal(struct world *world, ...)
{
    va_list args;
    va_start(args, world);
    struct process *process = launch(world, TERMINAL, args);
    va_end(args);
    return process;
}

/* Reads more of its output; false at its end. */
static bool read_more(struct process *process, int64_t deadline, const char *what)
{
    if (process->out < 0)
        return false;
    struct pollfd waiting = {.fd = process->out, .events = POLLIN};
    int64_t left = deadline - now_ms();
    if (left <= 0 || poll(&waiting, 1, (int)left) == 0)
        fail_msg("%s: waited too long for %s", process->command, what);
    char buffer[16384];
    ssize_t got = read(process->out, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR)
        return true;
    if (got <= 0) {
        close(process->out);
        process->out = -1;
        return false;
    }
    process->data = realloc(process->data, process->size + (size_t)got + 1);
    assert_non_null(process->data);
    memcpy(process->data + process->size, buffer, (size_t)got);
    process->size += (size_t)got;
    return true;
}

static int exit_code(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int await_end(struct process *process)
{
    int64_t deadline = now_ms() + DEADLINE_MS;
    while (read_more(process, deadline, "its end"))
        ;
    if (!process->ended) {
        int status;
        assert_int_equal(waitpid(process->pid, &status, 0), process->pid);
        process->ended = true;
        process->code = exit_code(status);
    }
    return process->code;
}

const char *errors_of(struct world *world, struct process *process)
{
    return read_file(world, process->errors);
}

pid_t pid_of(const struct process *process)
{
    return process->pid;
}

bool running(struct process *process)
{
    int status;
    if (!process->ended && waitpid(process->pid, &status, WNOHANG) == process->pid) {
        process->ended = true;
        process->code = exit_code(status);
    }
    return !process->ended;
}

void send_signal(struct process *process, int number)
{
    if (running(process))
        kill(process->pid, number);
}

const char *next_line(struct process *process)
{
    int64_t deadline = now_ms() + DEADLINE_MS;
    for (;;) {
        char *from = process->data + process->at;
        char *end =
            process->size > process->at ? memchr(from, '\n', process->size - process->at) : NULL;
        if (end != NULL) {
            *end = '\0';
            process->at = (size_t)(end - process->data) + 1;
            return from;
        }
        if (!read_more(process, deadline, "a line"))
            fail_msg("%s: it ended with %d where a line was expected (see its standard error)",
                process->command, await_end(process));
    }
}

const char *await_line(struct process *process, const char *words)
{
    const char *line;
    do
        line = next_line(process);
    while (strstr(line, words) == NULL);
    return line;
}

void await_text(struct process *process, const char *words)
{
    int64_t deadline = now_ms() + DEADLINE_MS;
    size_t size = strlen(words);
    for (;;) {
        char *from = process->data + process->at;
        char *found = process->size > process->at
                          ? memmem(from, process->size - process->at, words, size)
                          : NULL;
        if (found != NULL) {
            process->at = (size_t)(found - process->data) + size;
            return;
        }
        if (!read_more(process, deadline, words))
            fail_msg("%s: it ended with %d where \"%s\" was expected: %.*s", process->command,
                await_end(process), words, (int)process->size,
                process->data != NULL ? process->data : "");
    }
}

void type_line(struct process *process, const char *line)
{
    size_t size = strlen(line);
    assert_int_equal(write(process->out, line, size), size);
    assert_int_equal(write(process->out, "\n", 1), 1);
}

struct outcome finish(struct world *world, struct process *process)
{
    struct outcome outcome = {.code = await_end(process)};
    outcome.out = keep(world, process->size > 0 ? process->data : "", process->size);
    outcome.err = read_file(world, process->errors);
    return outcome;
}

struct outcome run(struct world *world, ...)
{
    va_list args;
    va_start(args, world);
    struct process *process = launch(world, PIPES, args);
    va_end(args);
    return finish(world, process);
}

const char *must(struct world *world, ...)
{
    va_list args;
    va_start(args, world);
    struct process *process = launch(world, PIPES, args);
    va_end(args);
    struct outcome outcome = finish(world, process);
    if (outcome.code != 0)
        fail_msg("%s: ended with %d: %s", process->command, outcome.code, outcome.err);
    return outcome.out;
}

const char *on_terminal(struct world *world, ...)
{
    va_list args;
    va_start(args, world);
    struct process *process = launch(world, SCREEN, args);
    va_end(args);
    struct outcome outcome = finish(world, process);
    if (outcome.code != 0)
        fail_msg("%s: ended with %d: %s", process->command, outcome.code, outcome.out);
    return outcome.out;
}

void refuse(struct world *world, int code, const char *words, ...)
{
    va_list args;
    va_start(args, words);
    struct process *process = launch(world, PIPES, args);
    va_end(args);
    struct outcome outcome = finish(world, process);
    const char *newline = strchr(outcome.err, '\n');
    if (outcome.code != code || strncmp(outcome.err, "blazedb: ", 9) != 0 ||
        strstr(outcome.err, words) == NULL || newline == NULL || newline[1] != '\0')
        fail_msg("%s: expected %d and one line with \"%s\"; it ended with %d and: %s",
            process->command, code, words, outcome.code, outcome.err);
}

/* ---- results ---- */

const char *json_at(struct world *world, const char *json, const char *path)
{
    blaze_doc *doc;
    blaze_value value;
    blaze_error error;
    if (blaze_doc_from_json(&doc, json, strcspn(json, "\n"), &error) != BLAZE_OK)
        fail_msg("no JSON object (%s): %s", error.text, json);
    assert_int_equal(blaze_doc_value(doc, &value), BLAZE_OK);
    char *names = strdup(path), *rest = names, *name;
    while ((name = strsep(&rest, ".")) != NULL)
        if (blaze_value_field(&value, name, &value) != BLAZE_OK)
            fail_msg("no %s in %s", path, json);
    free(names);
    const char *found;
    if (value.type == BLAZE_STRING) {
        found = keep(world, value.as.text.data, value.as.text.size);
    } else {
        char *written;
        assert_int_equal(blaze_value_to_json(&written, &value, false), BLAZE_OK);
        found = keep(world, written, strlen(written));
        blaze_free(written);
    }
    blaze_doc_free(doc);
    return found;
}

uint64_t json_number(struct world *world, const char *json, const char *path)
{
    return strtoull(json_at(world, json, path), NULL, 10);
}

void assert_same(struct world *world, const char *a, const char *b)
{
    const char *of_a = must(world, "status", a, NULL), *of_b = must(world, "status", b, NULL);
    static const char *const equal[] = {
        "database", "digest", "records", "collections", "conflicts"};
    for (size_t i = 0; i < sizeof equal / sizeof *equal; i++)
        if (strcmp(json_at(world, of_a, equal[i]), json_at(world, of_b, equal[i])) != 0)
            fail_msg("%s and %s differ in their %s:\n%s%s", a, b, equal[i], of_a, of_b);
}

/* ---- hubs ---- */

static struct hub announced(struct world *world, const char *directory, struct process *process)
{
    struct hub hub = {.directory = directory, .process = process};
    hub.url = json_at(world, next_line(process), "listening");
    return hub;
}

struct hub start_hub(struct world *world, const char *directory, const char *url)
{
    return announced(world, directory, start(world, "serve", directory, "--listen", url, NULL));
}

struct hub start_trusted_hub(struct world *world, const char *directory, const char *url)
{
    return announced(
        world, directory, start(world, "serve", directory, "--listen", url, "--trusted", NULL));
}

struct hub start_logging_hub(
    struct world *world, const char *directory, const char *url, const char *trusted)
{
    return announced(world, directory,
        start(world, "serve", directory, "--listen", url, "--log", trusted, NULL));
}

void stop_hub(struct hub *hub)
{
    send_signal(hub->process, SIGTERM);
    assert_int_equal(await_end(hub->process), 0);
}

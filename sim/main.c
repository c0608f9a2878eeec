/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim [--seed N] [--seeds N | --minutes M] [--nodes N] [--shape S] [--steps N] [--trace] [--disk]
 *     [--more ACTION]...
 *
 * Without --seeds or --minutes: the one seed. A failure prints the command that repeats it. With
 * --more the named action (those that are counted in the end) is in every run, and done more often.
 */
#include "sim.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
    struct sim_options sim;
    uint64_t seeds, stride;
    double minutes;
    const char *program;
    bool shaped;
} given;

static volatile sig_atomic_t stop;
static volatile uint64_t running; /* the seed */

static void on_interrupt(int number)
{
    (void)number;
    stop = 1;
}

static void print_replay(void)
{
    char line[512];
    int n = snprintf(
        line, sizeof line, "to repeat: %s --seed %llu", given.program, (unsigned long long)running);
    if (given.sim.nodes != 0)
        n += snprintf(line + n, sizeof line - (size_t)n, " --nodes %u", given.sim.nodes);
    if (given.sim.shape >= 0)
        n += snprintf(
            line + n, sizeof line - (size_t)n, " --shape %s", sim_shape_name(given.sim.shape));
    if (given.sim.steps != 0)
        n += snprintf(line + n, sizeof line - (size_t)n, " --steps %u", given.sim.steps);
    for (uint32_t i = 0; i < SIM_FAVOURED_MAX && given.sim.favoured[i] != NULL; i++)
        n += snprintf(line + n, sizeof line - (size_t)n, " --more \"%s\"", given.sim.favoured[i]);
    n += snprintf(
        line + n, sizeof line - (size_t)n, "%s --trace\n", given.sim.disk ? " --disk" : "");
    if (write(STDERR_FILENO, line, (size_t)n) < 0)
        _exit(3);
}

static void on_crash(int number)
{
    print_replay();
    signal(number, SIG_DFL);
    raise(number);
}

static int usage(void)
{
    fputs("usage: sim [--seed N] [--seeds N | --minutes M] [--stride N] [--nodes N]\n"
          "           [--shape star|chain|ring|mesh|two-hubs] [--steps N] [--trace] [--disk]\n"
          "           [--more ACTION]...\n",
        stderr);
    return 2;
}

static bool favour(const char *name)
{
    uint32_t at = 0, action = 0;
    while (at < SIM_FAVOURED_MAX && given.sim.favoured[at] != NULL)
        at++;
    while (sim_action_name(action) != NULL && strcmp(sim_action_name(action), name) != 0)
        action++;
    if (at == SIM_FAVOURED_MAX || sim_action_name(action) == NULL)
        return false;
    given.sim.favoured[at] = name;
    return true;
}

static bool take(int argc, char **argv)
{
    given.sim = (struct sim_options){.seed = 1, .shape = -1};
    given.stride = 1;
    given.program = argv[0];
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--trace") == 0) {
            given.sim.trace = true;
            continue;
        }
        if (strcmp(name, "--disk") == 0) {
            given.sim.disk = true;
            continue;
        }
        if (i + 1 == argc)
            return false;
        const char *value = argv[++i];
        char *end;
        double number = strtod(value, &end);
        if (strcmp(name, "--shape") == 0) {
            given.sim.shape = sim_shape_find(value);
            if (given.sim.shape < 0)
                return false;
            continue;
        }
        if (strcmp(name, "--more") == 0) {
            if (!favour(value))
                return false;
            continue;
        }
        if (*end != '\0' || number < 0)
            return false;
        if (strcmp(name, "--seed") == 0)
            given.sim.seed = strtoull(value, NULL, 10);
        else if (strcmp(name, "--seeds") == 0)
            given.seeds = (uint64_t)number;
        else if (strcmp(name, "--stride") == 0)
            given.stride = (uint64_t)number;
        else if (strcmp(name, "--minutes") == 0)
            given.minutes = number;
        else if (strcmp(name, "--nodes") == 0 && number >= 2 && number <= 8)
            given.sim.nodes = (uint32_t)number;
        else if (strcmp(name, "--steps") == 0)
            given.sim.steps = (uint32_t)number;
        else
            return false;
    }
    return true;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Lines that tests/long.sh adds up. */
static void print_counts(const struct sim_counts *c, double took)
{
    printf("total: %llu seeds\n", (unsigned long long)c->seeds);
    printf("total: %llu steps\n", (unsigned long long)c->steps);
    printf("total: %llu writes\n", (unsigned long long)c->writes);
    printf("total: %llu writes of rules\n", (unsigned long long)c->settled);
    printf("total: %llu commits\n", (unsigned long long)c->commits);
    printf("total: %llu sessions\n", (unsigned long long)c->sessions);
    printf("total: %llu records received\n", (unsigned long long)c->records);
    printf("total: %llu bytes sent\n", (unsigned long long)c->bytes);
    printf("total: %llu checks of a whole copy\n", (unsigned long long)c->checks);
    printf("total: %llu virtual seconds\n", (unsigned long long)(c->virtual_ms / 1000));
    printf("total: %llu deleted records collected\n", (unsigned long long)c->collected);
    printf("total: %llu records given up, since others had collected them\n",
        (unsigned long long)c->given_up);
    printf("total: %llu records written anew, since others had not seen all of them\n",
        (unsigned long long)c->anew);
    for (uint32_t i = 0; sim_action_name(i) != NULL; i++)
        printf("total: %llu x %s\n", (unsigned long long)c->actions[i], sim_action_name(i));
    printf("%.0f steps a minute, %.1f s\n", (double)c->steps / took * 60, took);
}

int main(int argc, char **argv)
{
    static struct sim_counts counts;
    struct sim_result result = {0};
    if (!take(argc, argv))
        return usage();
    if (given.seeds == 0)
        given.seeds = given.minutes > 0 ? UINT64_MAX : 1;
    signal(SIGINT, on_interrupt);
    signal(SIGTERM, on_interrupt);
    signal(SIGABRT, on_crash);
    signal(SIGSEGV, on_crash);
    double began = seconds(), told = began;
    for (uint64_t i = 0; i < given.seeds && !stop; i++) {
        struct sim_options options = given.sim;
        running = options.seed = given.sim.seed + i * given.stride;
        sim_run(&options, &counts, &result);
        if (result.failed)
            break;
        double now = seconds();
        if (given.minutes > 0 && now - began >= given.minutes * 60)
            break;
        if (now - told > 1 && isatty(STDERR_FILENO)) {
            told = now;
            fprintf(stderr, "\r%llu seeds, %llu steps, %.0f s ", (unsigned long long)counts.seeds,
                (unsigned long long)counts.steps, now - began);
        }
    }
    fflush(stdout);
    if (result.failed) {
        fprintf(stderr, "seed %llu FAILED: %s\n", (unsigned long long)running, result.why);
        print_replay();
        return 1;
    }
    printf("trace %016llx\n", (unsigned long long)result.trace);
    print_counts(&counts, seconds() - began);
    return 0;
}

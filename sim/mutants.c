/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_mutants [--seconds S]
 *
 * Shows that the simulator's checks bite: runs it on code with one deliberate fault after the other
 * (base/mutant.h), each in a process of its own, until it is found, and on the code without any.
 * Fails if a fault is not found within S seconds of runs (120), or if there is something to find
 * without one.
 */
#include "base/mutant.h"
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SOUND_SEEDS 100u

enum bz_mutant bz_mutant;

static const struct {
    const char *name, *text;
} mutants[] = {{"none", "the code as it is"},
#define X(name, text) {#name, text},
    BZ_MUTANTS_EACH(X)
#undef X
};

struct finding {
    bool found;
    uint64_t seeds;
    char why[400];
};

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* In the child: seeds until one fails. What it has found so far is told before each, so that a
 * crash, too, is known by its seed. */
static void search(int out, double until)
{
    static struct sim_counts counts;
    struct finding finding = {.why = "it crashes"};
    struct sim_result result = {0};
    for (uint64_t seed = 1; !result.failed && seconds() < until; seed++) {
        finding.seeds = seed;
        if (bz_mutant == BZ_MUTANT_NONE && seed > SOUND_SEEDS)
            break;
        if (write(out, &finding, sizeof finding) != sizeof finding)
            _exit(2);
        sim_run(&(struct sim_options){.seed = seed, .shape = -1}, &counts, &result);
    }
    finding.found = result.failed;
    snprintf(finding.why, sizeof finding.why, "%s", result.failed ? result.why : "nothing");
    if (write(out, &finding, sizeof finding) != sizeof finding)
        _exit(2);
    _exit(0);
}

static struct finding hunt(double limit)
{
    int ends[2], status;
    struct finding finding = {0}, next;
    if (pipe(ends) != 0)
        abort();
    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        abort();
    if (child == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(2);
        search(ends[1], seconds() + limit);
    }
    close(ends[1]);
    while (read(ends[0], &next, sizeof next) == sizeof next)
        finding = next;
    close(ends[0]);
    if (waitpid(child, &status, 0) != child)
        abort();
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        finding.found = true; /* an assertion, or worse */
    return finding;
}

int main(int argc, char **argv)
{
    double limit = 120;
    if (argc == 3 && strcmp(argv[1], "--seconds") == 0)
        limit = strtod(argv[2], NULL);
    else if (argc != 1)
        return fputs("usage: sim_mutants [--seconds S]\n", stderr), 2;
    unsigned missed = 0;
    printf("%-68s %6s %7s  %s\n", "deliberate fault", "seeds", "seconds", "found by");
    for (unsigned i = 0; i < BZ_MUTANTS_COUNT; i++) {
        bz_mutant = (enum bz_mutant)i;
        double began = seconds();
        struct finding finding = hunt(limit);
        bool right = finding.found == (i != BZ_MUTANT_NONE);
        missed += !right;
        printf("%-68s %6llu %7.2f  %s%s\n", mutants[i].text, (unsigned long long)finding.seeds,
            seconds() - began, finding.why, right ? "" : "  <-- WRONG");
    }
    printf("%u faults, %u missed\n", BZ_MUTANTS_COUNT - 1, missed);
    return missed != 0;
}

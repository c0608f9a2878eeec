/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_mutants [--seconds S] [--only NAME]
 *
 * Shows that the simulator's checks bite: runs it on code with one deliberate fault after the other
 * (base/mutant.h), each in a process of its own, until it is found, and on the code without any.
 * Fails if a fault is not found within S seconds of a core (120), or if there is something to find
 * without one. A fault that shows only after something rare has that done more often, some among
 * few nodes; the runs that look for it are otherwise as all are.
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

/* What has to happen for a fault to show, where that is rare, and among whom. */
enum { PLAIN, PUT_BACK, COPIES, UPDATES, POLICIES, RULES, COLLECTING, PARTS, GOING, BETWEEN, SETS };
static const struct {
    const char *actions[SIM_FAVOURED_MAX];
    uint32_t nodes; /* 0: any number */
    bool mesh;      /* else any shape */
} sets[SETS] = {
    [PUT_BACK] = {{"backup", "file system put back"}, .nodes = 3}, /* who soon meet again */
    [COPIES] = {{"copied directory"}},
    [UPDATES] = {{"update"}},
    [POLICIES] = {{"policy"}},
    [RULES] = {{"policy", "resolver"}},
    [COLLECTING] = {{"deleted records are collected", "retention"}},
    [PARTS] = {{"a part of it"}},
    [GOING] = {{"a part of it", "deleted records are collected", "retention"}},
    /* Two full ones and a part that hears of both. */
    [BETWEEN] = {{"a part of it", "update", "unset", "one-way partition"}, .nodes = 3,
        .mesh = true},
};

static const uint8_t favoured[BZ_MUTANTS_COUNT] = {[BZ_MUTANT_OUTLIVED_UNNOTICED] = PUT_BACK,
    [BZ_MUTANT_OPENING_NOT_NOTED] = PUT_BACK,
    [BZ_MUTANT_FORK_UNNOTICED] = PUT_BACK,
    [BZ_MUTANT_AS_OF_CURSOR] = PUT_BACK,
    [BZ_MUTANT_NOT_REISSUED] = PUT_BACK,
    [BZ_MUTANT_LOGS_NOT_REREAD] = PUT_BACK,
    [BZ_MUTANT_FORMER_NODE_GOES_ON] = PUT_BACK,
    [BZ_MUTANT_COPY_UNNOTICED] = COPIES,
    [BZ_MUTANT_FIELDS_BY_CURSOR] = UPDATES,
    [BZ_MUTANT_SETTLING_TAKES_LIFE] = POLICIES,
    [BZ_MUTANT_SETTLED_NOW] = POLICIES,
    [BZ_MUTANT_SETTLED_UNMARKED] = POLICIES,
    [BZ_MUTANT_LIST_NESTS] = POLICIES,
    [BZ_MUTANT_LAST_BY_ROLE] = POLICIES,
    [BZ_MUTANT_SETTLES_UNSEEN] = RULES,
    [BZ_MUTANT_SETTLES_OTHERS] = RULES,
    [BZ_MUTANT_COLLECTS_EARLY] = COLLECTING,
    [BZ_MUTANT_COLLECTS_UNSTABLE] = COLLECTING,
    [BZ_MUTANT_COLLECTS_UNCLAIMED] = GOING,
    [BZ_MUTANT_NOT_COMPARED] = COLLECTING,
    [BZ_MUTANT_COMPARES_AWAY] = COLLECTING,
    [BZ_MUTANT_TORN_BY_VECTOR] = COLLECTING,
    [BZ_MUTANT_PART_TAKEN_FOR_FULL] = PARTS,
    [BZ_MUTANT_WIDER_NOT_REREAD] = PARTS,
    [BZ_MUTANT_LET_GO_UNCLAIMED] = PARTS,
    [BZ_MUTANT_LET_GO_DELETES] = PARTS,
    [BZ_MUTANT_STATES_SUMMED] = BETWEEN,
    [BZ_MUTANT_CLAIMS_WHAT_WENT] = PARTS,
    [BZ_MUTANT_MARKER_IGNORED] = PARTS,
    [BZ_MUTANT_LEFT_UNSEEN] = PARTS};

struct finding {
    bool found;
    uint64_t seeds;
    char why[400];
};

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* In the child: seeds until one fails. What it has found so far is told before each, so that a
 * crash, too, is known by its seed. */
static void search(int out, struct finding *finding, unsigned set, uint64_t seeds, double until)
{
    static struct sim_counts counts;
    struct sim_result result = {0};
    snprintf(finding->why, sizeof finding->why, "it crashes");
    for (uint64_t seed = 1;
         !result.failed && seed <= seeds && seconds(CLOCK_PROCESS_CPUTIME_ID) < until; seed++) {
        struct sim_options options = {
            .seed = seed, .nodes = sets[set].nodes, .shape = sets[set].mesh ? SIM_MESH : -1};
        memcpy(options.favoured, sets[set].actions, sizeof options.favoured);
        finding->seeds++;
        if (write(out, finding, sizeof *finding) != sizeof *finding)
            _exit(2);
        sim_run(&options, &counts, &result);
    }
    finding->found = result.failed;
    snprintf(finding->why, sizeof finding->why, "%s", result.failed ? result.why : "nothing");
}

/* The code as it is has nothing to be found, whatever is done more often. */
static void search_all(int out, double until)
{
    struct finding finding = {.found = false};
    if (bz_mutant != BZ_MUTANT_NONE)
        search(out, &finding, favoured[bz_mutant], UINT64_MAX, until);
    for (unsigned set = 0; bz_mutant == BZ_MUTANT_NONE && set < SETS && !finding.found; set++)
        search(out, &finding, set, SOUND_SEEDS, until);
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
        search_all(ends[1], seconds(CLOCK_PROCESS_CPUTIME_ID) + limit);
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
    const char *only = NULL;
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 < argc && strcmp(argv[i], "--seconds") == 0)
            limit = strtod(argv[i + 1], NULL);
        else if (i + 1 < argc && strcmp(argv[i], "--only") == 0)
            only = argv[i + 1];
        else
            return fputs("usage: sim_mutants [--seconds S] [--only NAME]\n", stderr), 2;
    }
    unsigned missed = 0, hunts = 0;
    printf("%-68s %6s %7s  %s\n", "deliberate fault", "seeds", "seconds", "found by");
    for (unsigned i = 0; i < BZ_MUTANTS_COUNT; i++) {
        if (only != NULL && strcmp(only, mutants[i].name) != 0)
            continue;
        bz_mutant = (enum bz_mutant)i;
        double began = seconds(CLOCK_MONOTONIC);
        struct finding finding = hunt(limit);
        bool right = finding.found == (i != BZ_MUTANT_NONE);
        missed += !right;
        hunts++;
        printf("%-68s %6llu %7.2f  %s%s\n", mutants[i].text, (unsigned long long)finding.seeds,
            seconds(CLOCK_MONOTONIC) - began, finding.why, right ? "" : "  <-- WRONG");
    }
    if (hunts == 0)
        return fprintf(stderr, "sim_mutants: there is no fault %s in src/base/mutant.h\n", only), 2;
    printf("%u faults, %u missed\n", BZ_MUTANTS_COUNT - 1, missed);
    return missed != 0;
}

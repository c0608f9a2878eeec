/* SPDX-License-Identifier: Apache-2.0 */
#include "judge.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define WHY_SIZE   512
#define LIFE_AFTER 1000000 /* of the commits made by who opens an image */
#define SECONDS    120     /* a database that takes longer to answer never will */

/* ---- what is known ---- */

static bool found(struct history *history, uint64_t n, uint64_t life)
{
    plan_add_life(&history->plan, n, life);
    if (!history->settled)
        return true;
    /* What a process finds after a power cut is on the disk; after a kill, it need not be. */
    uint64_t least = history->found ? history->seen : history->least;
    bool kept = n >= least && n <= history->most;
    if (!history->found)
        history->least = n;
    history->found = true;
    history->seen = history->most = n;
    return kept;
}

bool history_apply(struct history *history, const struct trace_record *record)
{
    switch ((enum trace_kind)record->kind) {
    case TRACE_SEED:
        history->plan.seed = record->a;
        history->plan.large = record->b != 0;
        return true;
    case TRACE_SETTLED:
        history->settled = true;
        return true;
    case TRACE_CREATED:
        history->created = true;
        return true;
    case TRACE_LIFE:
        return found(history, record->a, record->b);
    case TRACE_BEGUN:
        history->most = record->a;
        return true;
    case TRACE_DURABLE:
        if (record->a > history->least)
            history->least = record->a;
        if (record->a > history->seen)
            history->seen = record->a;
        return true;
    case TRACE_SEEN:
        if (record->a > history->seen)
            history->seen = record->a;
        return true;
    default:
        return true;
    }
}

/* ---- looking ---- */

struct judging {
    struct history history;
    struct bz_db *db;
    char path[512];
    char *why;
    blaze_error error;
};

static bool well(struct judging *j, const char *what, int rc)
{
    if (rc != 0)
        snprintf(j->why, WHY_SIZE, "%s: %s", what, j->error.text);
    return rc == 0;
}

static bool open_db(struct judging *j, bool create)
{
    struct bz_db_options options = {
        .create = create,
        .store = {.segment_bytes = 16u << 10,
            .checkpoint_bytes = 96u << 10,
            .secret = plan_secret(&j->history.plan)},
    };
    int rc = bz_db_open(&j->db, j->path, &options, &j->error);
    if (rc == BLAZE_ENOTFOUND && !create && !j->history.created)
        return open_db(j, true);
    return well(j, create ? "create" : "open", rc);
}

static bool close_db(struct judging *j)
{
    struct bz_db *db = j->db;
    j->db = NULL;
    return well(j, "close", bz_db_close(db, &j->error));
}

/* The number of commits there, of which each must be whole. */
static bool look(struct judging *j, uint64_t *n)
{
    struct bz_read *read = NULL;
    struct plan_state *state = malloc(sizeof *state);
    if (state == NULL || !well(j, "read", bz_read_begin(j->db, &read, &j->error))) {
        free(state);
        return false;
    }
    bool good = well(j, "read", plan_read_commit(read, n, &j->error));
    if (good && (*n < j->history.least || *n > j->history.most)) {
        good = false;
        snprintf(j->why, WHY_SIZE,
            "%" PRIu64 " commits there; %" PRIu64 " to %" PRIu64 " should be", *n, j->history.least,
            j->history.most);
    }
    if (good) {
        plan_replay(&j->history.plan, *n, state);
        good = well(j, "compare", plan_compare(state, read, &j->error));
        if (!good)
            snprintf(j->why, WHY_SIZE, "of %" PRIu64 " commits, %" PRIu64 " to %" PRIu64 ": %s", *n,
                j->history.least, j->history.most, j->error.text);
    }
    bz_read_end(read);
    free(state);
    return good && well(j, "check", bz_db_check(j->db, NULL, NULL, &j->error));
}

static bool write_some(struct judging *j, uint64_t n, uint64_t count)
{
    plan_add_life(&j->history.plan, n, LIFE_AFTER);
    for (uint64_t i = n + 1; i <= n + count; i++) {
        struct bz_db_txn *txn = NULL;
        if (!well(j, "begin", bz_db_begin(j->db, &txn, &j->error)))
            return false;
        if (!well(j, "write", plan_write(&j->history.plan, i, txn, &j->error))) {
            bz_db_abort(txn);
            return false;
        }
        if (!well(j, "commit", bz_db_commit(txn, BZ_DURABLE_FULL, &j->error)))
            return false;
    }
    j->history.least = j->history.most = n + count;
    return true;
}

static bool judge_here(const struct history *history, const char *root, char *why)
{
    struct judging *j = calloc(1, sizeof *j);
    uint64_t n = 0;
    if (j == NULL)
        return false;
    j->history = *history;
    j->why = why;
    snprintf(j->path, sizeof j->path, "%s/db", root);
    bool good = open_db(j, false) && look(j, &n) && write_some(j, n, 3) && close_db(j);
    j->history.created = true;
    if (good && !(open_db(j, false) && look(j, &n) && close_db(j))) {
        good = false;
        size_t size = strlen(why);
        snprintf(why + size, WHY_SIZE - size, " (when it was opened again)");
    }
    if (j->db != NULL)
        bz_db_close(j->db, NULL);
    free(j);
    return good;
}

bool judge(const struct history *history, const char *root, char *why)
{
    char *shared = mmap(NULL, WHY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        abort();
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        abort();
    if (pid == 0) {
        static const int deadly[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
        for (size_t i = 0; i < sizeof deadly / sizeof deadly[0]; i++)
            signal(deadly[i], SIG_DFL); /* cmocka's would go on with the tests */
        alarm(SECONDS);
        _exit(judge_here(history, root, shared) ? 0 : 1);
    }
    int status = 0;
    if (waitpid(pid, &status, 0) != pid)
        abort();
    memcpy(why, shared, WHY_SIZE);
    munmap(shared, WHY_SIZE);
    if (WIFSIGNALED(status))
        snprintf(why, WHY_SIZE, "killed by signal %d", WTERMSIG(status));
    else if (WEXITSTATUS(status) > 1)
        snprintf(why, WHY_SIZE, "ended with %d", WEXITSTATUS(status));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

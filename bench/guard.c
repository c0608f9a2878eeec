/* SPDX-License-Identifier: Apache-2.0 */
#include "guard.h"

#include "bench.h"
#include "files.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static const int ending[] = {SIGINT, SIGTERM, SIGHUP};

static volatile sig_atomic_t worker; /* the group of those that work */
static volatile sig_atomic_t caught; /* the signal that ended them; 0: none */

static void end_work(int number)
{
    caught = number;
    kill(-worker, SIGKILL);
}

static int wait_for_worker(void)
{
    int status = 0;
    while (waitpid(worker, &status, 0) < 0)
        if (errno != EINTR)
            bench_die("wait: %s", strerror(errno));
    kill(-worker, SIGKILL); /* what it has left running comes to us, the reaper of the group */
    while (waitpid(-worker, NULL, 0) > 0 || errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void bench_guard(const char *dir)
{
    sigset_t set, before;
    bench_dir_fresh(dir);
    fflush(NULL);
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof ending / sizeof ending[0]; i++)
        sigaddset(&set, ending[i]);
    sigprocmask(SIG_BLOCK, &set, &before); /* until it is known whom to end */
    pid_t guard = getpid();
    pid_t pid = fork();
    if (pid < 0)
        bench_die("fork: %s", strerror(errno));
    if (pid == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != guard)
            _exit(1);
        sigprocmask(SIG_SETMASK, &before, NULL);
        return;
    }
    setpgid(pid, pid);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    worker = pid;
    struct sigaction action = {.sa_handler = end_work};
    for (size_t i = 0; i < sizeof ending / sizeof ending[0]; i++)
        sigaction(ending[i], &action, NULL);
    sigprocmask(SIG_SETMASK, &before, NULL);

    int code = wait_for_worker();
    bench_dir_remove(dir);
    if (caught != 0)
        fprintf(stderr, "\nbench: stopped; %s is removed\n", dir);
    exit(caught != 0 ? 128 + caught : code);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A signal writes into a pipe, so that a command that waits is woken whichever thread the
 * signal comes to.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static volatile sig_atomic_t stopped;
static int ends[2] = {-1, -1};

static void on_signal(int number)
{
    int saved = errno;
    stopped = number;
    ssize_t written = write(ends[1], "", 1);
    (void)written; /* a full pipe wakes as well */
    errno = saved;
}

void cli_stop_watch(void)
{
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        perror("blazedb: pipe");
        _exit(EXIT_SYSTEM);
    }
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

int cli_stopped(void)
{
    return stopped;
}

void cli_stop_wait(void)
{
    char byte;
    struct pollfd waiting = {.fd = ends[0], .events = POLLIN};
    while (!stopped && read(ends[0], &byte, 1) != 1)
        poll(&waiting, 1, -1);
}

bool cli_stop_or_readable(int fd)
{
    struct pollfd waiting[] = {{.fd = fd, .events = POLLIN}, {.fd = ends[0], .events = POLLIN}};
    while (!stopped && poll(waiting, 2, -1) <= 0)
        ;
    return !stopped;
}

void cli_stop_wake(void)
{
    ssize_t written = write(ends[1], "", 1);
    (void)written;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A bell that a thread waits for together with its sockets. */
#include "os/os.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

int bz_bell_open(int *out, blaze_error *error)
{
    int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (bell < 0)
        return bz_error_errno(error, errno, "make a bell");
    *out = bell;
    return 0;
}

void bz_bell_ring(int bell)
{
    const uint64_t one = 1;
    while (write(bell, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void bz_bell_hush(int bell)
{
    uint64_t rung;
    while (read(bell, &rung, sizeof rung) < 0 && errno == EINTR)
        ;
}

void bz_bell_close(int bell)
{
    if (bell >= 0)
        close(bell);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of the machine's networks: links, addresses and routes that have come. */
#include "os/os.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#define GROUPS                                                                                     \
    (RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE)

int bz_network_open(int *out, blaze_error *error)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = GROUPS};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        int reason = errno;
        bz_network_close(fd);
        return bz_error_set(error, BLAZE_EIO, "watch the network: %s", strerror(reason));
    }
    *out = fd;
    return 0;
}

/* What goes away makes nobody reachable. */
static bool tells_of_something_new(const void *data, size_t size)
{
    const struct nlmsghdr *message = data;
    for (; NLMSG_OK(message, size); message = NLMSG_NEXT(message, size))
        if (message->nlmsg_type == RTM_NEWLINK || message->nlmsg_type == RTM_NEWADDR ||
            message->nlmsg_type == RTM_NEWROUTE)
            return true;
    return false;
}

bool bz_network_changed(int fd)
{
    union {
        struct nlmsghdr aligned;
        char bytes[8192];
    } buffer;
    bool changed = false;
    for (;;) {
        ssize_t size = recv(fd, &buffer, sizeof buffer, 0);
        if (size > 0)
            changed |= tells_of_something_new(&buffer, (size_t)size);
        else if (size < 0 && errno == ENOBUFS)
            changed = true; /* more happened than the socket holds */
        else if (size == 0 || errno != EINTR)
            return changed;
    }
}

#else

int bz_network_open(int *out, blaze_error *error)
{
    (void)out;
    return bz_error_set(error, BLAZE_ENOTFOUND, "this system does not tell of its networks");
}

bool bz_network_changed(int fd)
{
    (void)fd;
    return false;
}

#endif

void bz_network_close(int fd)
{
    if (fd >= 0)
        close(fd);
}

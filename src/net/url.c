/* SPDX-License-Identifier: Apache-2.0 */
#include "net/net.h"

#include <stdio.h>
#include <sys/un.h>

/* A socket's path and its NUL must fit there. */
#define PATH_SIZE sizeof((struct sockaddr_un *)NULL)->sun_path

static int parse_rest(struct bz_url *url, const char *rest, size_t room, const char *what,
    const char *text, blaze_error *error)
{
    size_t size = strlen(rest);
    if (size == 0)
        return bz_error_set(error, BLAZE_EINVAL, "%s: there is no %s after the colon", text, what);
    if (size >= room)
        return bz_error_set(error, BLAZE_EINVAL, "%.*s...: a %s of %zu bytes; at most %zu can be",
            60, text, what, size, room - 1);
    memcpy(url->host, rest, size + 1);
    return 0;
}

static int parse_port(const char *text, uint16_t *out)
{
    unsigned long port = 0;
    size_t digits = 0;
    for (; *text >= '0' && *text <= '9' && digits < 6; text++, digits++)
        port = port * 10 + (unsigned long)(*text - '0');
    if (digits == 0 || *text != '\0' || port > 65535)
        return BLAZE_EINVAL;
    *out = (uint16_t)port;
    return 0;
}

/* A name, or an IPv4 address; in brackets an IPv6 address, perhaps with a zone. */
static bool host_is_plausible(const char *host, size_t size, bool bracketed)
{
    for (size_t i = 0; i < size; i++) {
        char c = host[i];
        bool alphanumeric =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alphanumeric && (c == '\0' || strchr(bracketed ? ":.%-_" : ".-_", c) == NULL))
            return false;
    }
    return size > 0 && (!bracketed || memchr(host, ':', size) != NULL);
}

static int parse_tcp(struct bz_url *url, const char *rest, const char *text, blaze_error *error)
{
    const char *host = rest;
    const char *end;
    const char *colon;
    if (*rest == '[') {
        host = rest + 1;
        end = strchr(host, ']');
        colon = end == NULL ? NULL : end + 1;
    } else {
        end = colon = strchr(host, ':');
    }
    if (colon == NULL || *colon != ':' ||
        !host_is_plausible(host, (size_t)(end - host), *rest == '[') ||
        parse_port(colon + 1, &url->port) != 0)
        return bz_error_set(error, BLAZE_EINVAL,
            "%.*s: expected tcp://HOST:PORT, with an IPv6 address as [ADDRESS]", 100, text);
    size_t size = (size_t)(end - host);
    if (size >= sizeof url->host)
        return bz_error_set(error, BLAZE_EINVAL, "%.*s...: the host name is too long", 60, text);
    memcpy(url->host, host, size);
    url->host[size] = '\0';
    return 0;
}

int bz_url_parse(struct bz_url *out, const char *text, blaze_error *error)
{
    struct bz_url url = {0};
    int rc;
    if (strncmp(text, "tcp://", 6) == 0) {
        url.kind = BZ_URL_TCP;
        rc = parse_tcp(&url, text + 6, text, error);
    } else if (strncmp(text, "unix:", 5) == 0) {
        url.kind = BZ_URL_UNIX;
        rc = parse_rest(&url, text + 5, PATH_SIZE, "path", text, error);
    } else if (strncmp(text, "mem:", 4) == 0) {
        url.kind = BZ_URL_MEM;
        rc = parse_rest(&url, text + 4, 65, "name", text, error);
    } else {
        rc = bz_error_set(error, BLAZE_EINVAL,
            "%.*s: expected tcp://HOST:PORT, unix:PATH or mem:NAME", 100, text);
    }
    if (rc == 0)
        *out = url;
    return rc;
}

void bz_url_format(const struct bz_url *url, char out[BZ_URL_SIZE])
{
    switch (url->kind) {
    case BZ_URL_MEM:
        snprintf(out, BZ_URL_SIZE, "mem:%s", url->host);
        break;
    case BZ_URL_UNIX:
        snprintf(out, BZ_URL_SIZE, "unix:%s", url->host);
        break;
    case BZ_URL_TCP:
        snprintf(out, BZ_URL_SIZE, strchr(url->host, ':') != NULL ? "tcp://[%s]:%u" : "tcp://%s:%u",
            url->host, url->port);
        break;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "peer/gate.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "net/net.h"
#include "os/os.h"

#include <arpa/inet.h>

#define PLACES 4096u

struct place {
    uint32_t connections;
    uint32_t failures; /* not forgiven yet */
    uint64_t since_ms; /* up to when forgiving is reckoned */
};

struct bz_gate {
    uint32_t connections_max;
    uint32_t failures_max;
    uint32_t forgive_ms;
    uint64_t seed;
    struct place places[PLACES];
};

int bz_gate_new(
    struct bz_gate **out, uint32_t connections_max, uint32_t failures_max, uint32_t forgive_ms)
{
    struct bz_gate *gate = bz_zalloc(sizeof *gate);
    if (gate == NULL)
        return BLAZE_ENOMEM;
    gate->connections_max = connections_max;
    gate->failures_max = failures_max;
    gate->forgive_ms = forgive_ms;
    int rc = bz_os_entropy(&gate->seed, sizeof gate->seed);
    if (rc == 0)
        *out = gate;
    else
        bz_free(gate);
    return rc;
}

void bz_gate_free(struct bz_gate *gate)
{
    bz_free(gate);
}

size_t bz_gate_place(const struct bz_gate *gate, const char *text)
{
    struct bz_url url;
    if (bz_url_parse(&url, text, NULL) != 0 || url.kind != BZ_URL_TCP)
        return BZ_GATE_OPEN;
    uint8_t address[16];
    size_t size = strlen(url.host);
    const void *counted = url.host;
    char *zone = strchr(url.host, '%');
    if (zone != NULL)
        *zone = '\0';
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (inet_pton(AF_INET6, url.host, address) == 1) {
        bool is_v4 = memcmp(address, mapped, sizeof mapped) == 0;
        counted = address;
        size = is_v4 ? 16 : 8;
    }
    return (size_t)(bz_hash64(counted, size, gate->seed) % PLACES);
}

/* Forgives what time has forgiven. */
static void forgive(const struct bz_gate *gate, struct place *place, uint64_t now_ms)
{
    if (place->failures == 0 || gate->forgive_ms == 0) {
        place->since_ms = now_ms;
        return;
    }
    uint64_t count = (now_ms - place->since_ms) / gate->forgive_ms;
    if (count >= place->failures) {
        place->failures = 0;
        place->since_ms = now_ms;
    } else {
        place->failures -= (uint32_t)count;
        place->since_ms += count * gate->forgive_ms;
    }
}

bool bz_gate_enter(struct bz_gate *gate, size_t at, uint64_t now_ms)
{
    if (at == BZ_GATE_OPEN)
        return true;
    struct place *place = &gate->places[at];
    forgive(gate, place, now_ms);
    if (gate->connections_max != 0 && place->connections >= gate->connections_max)
        return false;
    if (gate->failures_max != 0 && place->failures >= gate->failures_max)
        return false;
    place->connections++;
    return true;
}

void bz_gate_leave(struct bz_gate *gate, size_t at)
{
    if (at != BZ_GATE_OPEN)
        gate->places[at].connections--;
}

void bz_gate_fail(struct bz_gate *gate, size_t at, uint64_t now_ms)
{
    if (at == BZ_GATE_OPEN)
        return;
    struct place *place = &gate->places[at];
    forgive(gate, place, now_ms);
    if (place->failures < UINT32_MAX)
        place->failures++;
}

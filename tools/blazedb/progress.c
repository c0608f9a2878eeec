/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define BAR 24

double cli_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

const char *cli_grouped(uint64_t value, char out[32])
{
    char digits[24];
    int size = snprintf(digits, sizeof digits, "%" PRIu64, value);
    char *p = out;
    for (int i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0)
            *p++ = ',';
        *p++ = digits[i];
    }
    *p = '\0';
    return out;
}

void cli_progress_begin(struct cli_progress *progress, const struct cli *cli, const char *label)
{
    *progress = (struct cli_progress){
        .label = cli->progress ? label : NULL,
        .started = cli_seconds(),
    };
}

void cli_progress_show(
    struct cli_progress *progress, double part, uint64_t count, const char *things)
{
    double now = cli_seconds();
    if (progress->label == NULL || now - progress->shown < 0.1)
        return;
    progress->shown = now;
    progress->visible = true;

    double seconds = now - progress->started;
    double rate = seconds > 0 ? (double)count / seconds : 0;
    char counted[32], rated[32];
    cli_grouped(count, counted);
    cli_grouped((uint64_t)rate, rated);
    if (part < 0 || part > 1) {
        fprintf(stderr, "\r\033[K%s  %s %s  %s/s  %.1f s", progress->label, counted, things, rated,
            seconds);
    } else {
        char bar[BAR + 1];
        for (int i = 0; i < BAR; i++)
            bar[i] = i < part * BAR ? '#' : '.';
        bar[BAR] = '\0';
        double left = part > 0 ? seconds / part - seconds : 0;
        fprintf(stderr, "\r\033[K%s  [%s] %3.0f %%  %s %s  %s/s  %.1f s left", progress->label, bar,
            part * 100, counted, things, rated, left);
    }
    fflush(stderr);
}

void cli_progress_end(struct cli_progress *progress)
{
    if (progress->visible)
        fprintf(stderr, "\r\033[K");
    progress->visible = false;
}

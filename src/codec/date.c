/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/date.h"

#include <blazedb/error.h>
#include <stdio.h>

#define DAY_MS ((int64_t)86400000)

static bool is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && is_leap(year));
}

/* Days from 0000-01-01 to the first day of the year; the year 0 is a leap year. */
static int64_t days_before_year(int year)
{
    return (int64_t)year * 365 + (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
}

static int64_t epoch_day(int year, int month, int day)
{
    int64_t days = days_before_year(year) - days_before_year(1970);
    for (int m = 1; m < month; m++)
        days += days_in_month(year, m);
    return days + day - 1;
}

/* ---- reading ---- */

struct scan {
    const uint8_t *p;
    const uint8_t *end;
    bool ok;
};

static int number(struct scan *s, int digits, int low, int high)
{
    int v = 0;
    for (int i = 0; i < digits; i++, s->p++) {
        if (s->p == s->end || *s->p < '0' || *s->p > '9') {
            s->ok = false;
            return low;
        }
        v = v * 10 + (*s->p - '0');
    }
    if (v < low || v > high)
        s->ok = false;
    return v;
}

/* Takes the next character if it is one of these; returns it, or 0. */
static char one_of(struct scan *s, const char *set)
{
    if (s->p == s->end || *s->p == '\0' || strchr(set, *s->p) == NULL)
        return 0;
    return (char)*s->p++;
}

static void want(struct scan *s, const char *set)
{
    if (one_of(s, set) == 0)
        s->ok = false;
}

static int fraction_ms(struct scan *s)
{
    int ms = 0;
    if (one_of(s, ".") == 0)
        return 0;
    ms = 100 * number(s, 1, 0, 9);
    for (int unit = 10; s->p < s->end && *s->p >= '0' && *s->p <= '9'; unit /= 10)
        ms += unit * (*s->p++ - '0');
    return ms;
}

static int64_t offset_ms(struct scan *s)
{
    if (one_of(s, "Zz") != 0)
        return 0;
    char sign = one_of(s, "+-");
    if (sign == 0)
        s->ok = false;
    int minutes = 60 * number(s, 2, 0, 23);
    want(s, ":");
    minutes += number(s, 2, 0, 59);
    return (int64_t)(sign == '-' ? -minutes : minutes) * 60000;
}

int bz_date_parse(int64_t *ms, struct bz_bytes text)
{
    struct scan s = {text.data, text.data + text.size, true};
    int year = number(&s, 4, 0, 9999);
    want(&s, "-");
    int month = number(&s, 2, 1, 12);
    want(&s, "-");
    int day = number(&s, 2, 1, 31);
    want(&s, "Tt ");
    int64_t time = number(&s, 2, 0, 23);
    want(&s, ":");
    time = time * 60 + number(&s, 2, 0, 59);
    want(&s, ":");
    time = (time * 60 + number(&s, 2, 0, 60)) * 1000 + fraction_ms(&s);
    time -= offset_ms(&s);
    if (!s.ok || s.p != s.end || day > days_in_month(year, month))
        return BLAZE_ESYNTAX;
    *ms = epoch_day(year, month, day) * DAY_MS + time;
    return 0;
}

/* ---- writing ---- */

bool bz_date_format(int64_t ms, char out[BZ_DATE_SIZE])
{
    int64_t since = ms / DAY_MS - (ms % DAY_MS < 0);
    int time = (int)((ms % DAY_MS + DAY_MS) % DAY_MS);
    int64_t days = since + days_before_year(1970);
    if (days < 0 || days >= days_before_year(10000))
        return false;
    int year = (int)(days * 400 / 146097); /* 400 years have 146,097 days; at most one off */
    while (days_before_year(year) > days)
        year--;
    while (days_before_year(year + 1) <= days)
        year++;
    int day = (int)(days - days_before_year(year));
    int month = 1;
    while (day >= days_in_month(year, month))
        day -= days_in_month(year, month++);
    snprintf(out, BZ_DATE_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", (unsigned)year % 10000,
        (unsigned)month % 100, (unsigned)(day + 1) % 100, (unsigned)(time / 3600000) % 24,
        (unsigned)(time / 60000 % 60), (unsigned)(time / 1000 % 60), (unsigned)(time % 1000));
    return true;
}

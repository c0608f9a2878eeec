/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table for a terminal. The first ROWS_KNOWN rows are kept to learn the columns and their widths;
 * then they are printed, and later rows follow as they come: in the same columns, so that a find
 * over a million records needs no more memory than one over a hundred. What does not fit is cut
 * off with an ellipsis.
 */
#include "cli.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#define ROWS_KNOWN 200
#define COLUMNS    64
#define WIDTH_MIN  6
#define WIDTH_MAX  48
#define GAP        2

struct row {
    char *cells[COLUMNS];
};

struct cli_table {
    char *names[COLUMNS];
    int widths[COLUMNS];
    int columns;
    struct row *rows; /* ROWS_KNOWN of them; the one at hand is rows[count] */
    int count;
    bool begun; /* the head is printed, the columns are fixed */
};

static void *checked(void *memory)
{
    if (memory == NULL) {
        fprintf(stderr, "blazedb: output: out of memory\n");
        exit(EXIT_SYSTEM);
    }
    return memory;
}

struct cli_table *cli_table_new(void)
{
    setlocale(LC_CTYPE, "");
    struct cli_table *table = checked(calloc(1, sizeof *table));
    table->rows = checked(calloc(ROWS_KNOWN, sizeof *table->rows));
    return table;
}

/* The bytes of the next character and the columns that it takes. Bytes that are none count one. */
static size_t character(const char *text, size_t size, int *width)
{
    wchar_t wide;
    mbstate_t state = {0};
    size_t used = mbrtowc(&wide, text, size, &state);
    if (used == 0 || used == (size_t)-1 || used == (size_t)-2) {
        *width = 1;
        return 1;
    }
    *width = wcwidth(wide);
    if (*width < 0)
        *width = 0;
    return used;
}

static int text_width(const char *text)
{
    size_t size = strlen(text);
    int total = 0, width;
    for (size_t at = 0; at < size; total += width)
        at += character(text + at, size - at, &width);
    return total;
}

/* Prints `text` cut or filled up to `width` columns; the last cell of a line is not filled. */
static void print_cell(const char *text, int width, bool last)
{
    size_t size = strlen(text), at = 0;
    int used = 0, step;
    bool cut = text_width(text) > width;
    int room = cut ? width - 1 : width;
    while (at < size) {
        size_t bytes = character(text + at, size - at, &step);
        if (used + step > room)
            break;
        fwrite(text + at, 1, bytes, stdout);
        at += bytes;
        used += step;
    }
    if (cut) {
        fputs("…", stdout);
        used++;
    }
    if (!last)
        printf("%*s", width - used + GAP, "");
}

static int column_of(struct cli_table *table, const char *name)
{
    for (int i = 0; i < table->columns; i++)
        if (strcmp(table->names[i], name) == 0)
            return i;
    if (table->begun || table->columns == COLUMNS)
        return -1;
    table->names[table->columns] = checked(strdup(name));
    return table->columns++;
}

void cli_table_cell(struct cli_table *table, const char *column, const char *text, size_t size)
{
    int at = column_of(table, column);
    if (at < 0)
        return;
    char *copy = checked(malloc(size + 1));
    for (size_t i = 0; i < size; i++)
        copy[i] = (unsigned char)text[i] < 0x20 ? ' ' : text[i];
    copy[size] = '\0';
    free(table->rows[table->count].cells[at]);
    table->rows[table->count].cells[at] = copy;
}

void cli_table_value(struct cli_table *table, const char *column, const blaze_value *value)
{
    if (value->type == BLAZE_STRING) {
        cli_table_cell(table, column, value->as.text.data, value->as.text.size);
        return;
    }
    char *json;
    if (blaze_value_to_json(&json, value, false) != BLAZE_OK)
        return;
    cli_table_cell(table, column, json, strlen(json));
    blaze_free(json);
}

void cli_table_number(struct cli_table *table, const char *column, uint64_t value)
{
    char text[32];
    cli_grouped(value, text);
    cli_table_cell(table, column, text, strlen(text));
}

static int terminal_width(void)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40)
        return size.ws_col;
    return isatty(STDOUT_FILENO) ? 80 : 4096;
}

static void choose_widths(struct cli_table *table)
{
    int total = 0;
    for (int i = 0; i < table->columns; i++) {
        int width = text_width(table->names[i]);
        for (int r = 0; r < table->count; r++) {
            const char *cell = table->rows[r].cells[i];
            int size = cell != NULL ? text_width(cell) : 0;
            width = size > width ? size : width;
        }
        table->widths[i] = width > WIDTH_MAX ? WIDTH_MAX : width;
        total += table->widths[i] + GAP;
    }
    for (int room = terminal_width() + GAP; total > room; total--) {
        int widest = 0;
        for (int i = 1; i < table->columns; i++)
            if (table->widths[i] > table->widths[widest])
                widest = i;
        if (table->widths[widest] <= WIDTH_MIN)
            break;
        table->widths[widest]--;
    }
}

static void print_row(const struct cli_table *table, char *const *cells)
{
    for (int i = 0; i < table->columns; i++)
        print_cell(cells[i] != NULL ? cells[i] : "", table->widths[i], i + 1 == table->columns);
    putchar('\n');
}

/* Prints the rows that are kept, the head first if it has not been. */
static void print_known(struct cli_table *table)
{
    if (!table->begun) {
        table->begun = true;
        choose_widths(table);
        print_row(table, table->names);
        for (int i = 0; i < table->columns; i++) {
            for (int w = 0; w < table->widths[i]; w++)
                putchar('-');
            printf("%*s", i + 1 == table->columns ? 0 : GAP, "");
        }
        putchar('\n');
    }
    for (int r = 0; r < table->count; r++) {
        print_row(table, table->rows[r].cells);
        for (int i = 0; i < table->columns; i++)
            free(table->rows[r].cells[i]);
        memset(&table->rows[r], 0, sizeof table->rows[r]);
    }
    table->count = 0;
}

void cli_table_end_row(struct cli_table *table)
{
    table->count++;
    if (table->begun || table->count == ROWS_KNOWN)
        print_known(table);
}

void cli_table_finish(struct cli_table *table)
{
    if (table->count > 0)
        print_known(table);
    for (int i = 0; i < table->columns; i++)
        free(table->names[i]);
    free(table->rows);
    free(table);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELDS_MAX 16

struct cli_result {
    struct {
        const char *name;
        char *value;
        bool quoted;
    } fields[FIELDS_MAX];
    int count;
};

static void *checked(void *memory)
{
    if (memory == NULL) {
        fprintf(stderr, "blazedb: output: out of memory\n");
        exit(EXIT_SYSTEM);
    }
    return memory;
}

struct cli_result *cli_result_new(void)
{
    return checked(calloc(1, sizeof(struct cli_result)));
}

static void add(struct cli_result *result, const char *name, const char *value, bool quoted)
{
    if (result->count == FIELDS_MAX)
        abort(); /* a result is written out in one place: this is a mistake there */
    result->fields[result->count].name = name;
    result->fields[result->count].value = checked(strdup(value));
    result->fields[result->count++].quoted = quoted;
}

void cli_result_text(struct cli_result *result, const char *name, const char *value)
{
    add(result, name, value, true);
}

void cli_result_id(struct cli_result *result, const char *name, const blaze_id *value)
{
    char text[BLAZE_ID_TEXT_SIZE];
    add(result, name, blaze_id_format(value, text), true);
}

void cli_result_number(struct cli_result *result, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    add(result, name, text, false);
}

void cli_result_seconds(struct cli_result *result, const char *name, double value)
{
    char text[32];
    snprintf(text, sizeof text, "%.3f", value);
    add(result, name, text, false);
}

void cli_result_days(struct cli_result *result, const char *name, double value)
{
    char text[32];
    snprintf(text, sizeof text, "%g", value); /* as in status */
    add(result, name, text, false);
}

void cli_result_bool(struct cli_result *result, const char *name, bool value)
{
    add(result, name, value ? "true" : "false", false);
}

static void print_json(const struct cli_result *result)
{
    for (int i = 0; i < result->count; i++) {
        printf("%c\"%s\":", i == 0 ? '{' : ',', result->fields[i].name);
        if (result->fields[i].quoted)
            cli_json_text(result->fields[i].value, strlen(result->fields[i].value));
        else
            fputs(result->fields[i].value, stdout);
    }
    puts("}");
}

static void print_lines(const struct cli_result *result)
{
    int width = 0;
    for (int i = 0; i < result->count; i++) {
        int size = (int)strlen(result->fields[i].name);
        width = size > width ? size : width;
    }
    for (int i = 0; i < result->count; i++)
        printf("%-*s  %s\n", width, result->fields[i].name, result->fields[i].value);
}

int cli_result_print(const struct cli *cli, struct cli_result *result)
{
    if (cli->json)
        print_json(result);
    else
        print_lines(result);
    for (int i = 0; i < result->count; i++)
        free(result->fields[i].value);
    free(result);
    return cli_flush();
}

int cli_flush(void)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return EXIT_DONE;
    return cli_fail(EXIT_SYSTEM, "standard output", "%s", strerror(errno != 0 ? errno : EIO));
}

void cli_json_text(const char *text, size_t size)
{
    putchar('"');
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            putchar('\\');
        if (c < 0x20)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

int cli_json_document(const blaze_id *id, const blaze_value *document, bool pretty)
{
    char text[BLAZE_ID_TEXT_SIZE];
    char *json;
    int rc = blaze_value_to_json(&json, document, pretty);
    if (rc != BLAZE_OK)
        return rc;
    const char *rest = json + 1; /* past the brace */
    bool empty = rest[strspn(rest, " \n")] == '}';
    printf("{%s\"_id\":%s\"%s\"%s%s\n", pretty ? "\n  " : "", pretty ? " " : "",
        blaze_id_format(id, text), empty ? (pretty ? "\n" : "") : ",", empty ? "}" : rest);
    blaze_free(json);
    return BLAZE_OK;
}

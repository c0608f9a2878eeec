/* SPDX-License-Identifier: Apache-2.0 */
#include "query/lex_priv.h"

#include <strings.h>

static const struct {
    const char *word;
    enum bz_token token;
} keywords[] = {
    {"and", BZ_TOKEN_AND},
    {"or", BZ_TOKEN_OR},
    {"not", BZ_TOKEN_NOT},
    {"in", BZ_TOKEN_IN},
    {"contains", BZ_TOKEN_CONTAINS},
    {"starts", BZ_TOKEN_STARTS},
    {"exists", BZ_TOKEN_EXISTS},
    {"true", BZ_TOKEN_TRUE},
    {"false", BZ_TOKEN_FALSE},
    {"null", BZ_TOKEN_NULL},
};

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool begins_word(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80;
}

static bool in_word(uint8_t c)
{
    return begins_word(c) || is_digit(c) || c == '-';
}

static enum bz_token word_token(struct bz_bytes word)
{
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
        if (strlen(keywords[i].word) == word.size &&
            strncasecmp(keywords[i].word, (const char *)word.data, word.size) == 0)
            return keywords[i].token;
    }
    return BZ_TOKEN_WORD;
}

bool bz_word_is_plain(struct bz_bytes name)
{
    if (name.size == 0 || !begins_word(name.data[0]))
        return false;
    for (size_t i = 1; i < name.size; i++) {
        if (!in_word(name.data[i]))
            return false;
    }
    return word_token(name) == BZ_TOKEN_WORD && !bz_bytes_equal(name, bz_bytes_text("_id"));
}

void bz_lexer_init(struct bz_lexer *lex, struct bz_bytes text, const char *what, blaze_error *error)
{
    *lex = (struct bz_lexer){.text = text, .what = what, .error = error};
    bz_lexer_next(lex);
}

/* The byte `ahead` of the token's first, or 0 past the end. */
static uint8_t peek(const struct bz_lexer *lex, size_t ahead)
{
    return lex->next + ahead < lex->text.size ? lex->text.data[lex->next + ahead] : 0;
}

static void take(struct bz_lexer *lex, enum bz_token token, size_t size)
{
    lex->token = token;
    lex->word = bz_bytes(lex->text.data + lex->next, size);
    lex->next += size;
}

static void take_bad(struct bz_lexer *lex, const char *fault)
{
    lex->fault = fault;
    take(lex, BZ_TOKEN_BAD, 1);
}

static void take_while(struct bz_lexer *lex, enum bz_token token, bool (*belongs)(uint8_t))
{
    size_t size = 1;
    while (lex->next + size < lex->text.size && belongs(peek(lex, size)))
        size++;
    take(lex, token, size);
}

static bool in_number(uint8_t c)
{
    return is_digit(c) || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-';
}

/* Takes what stands in quotes; `escape` makes the byte after it part of the text. */
static void take_quoted(struct bz_lexer *lex, enum bz_token token, uint8_t quote, uint8_t escape)
{
    size_t left = lex->text.size - lex->next;
    for (size_t size = 1; size < left; size++) {
        uint8_t c = peek(lex, size);
        if (c == quote && escape == quote && peek(lex, size + 1) == quote)
            size++;
        else if (c == quote) {
            take(lex, token, size + 1);
            return;
        } else if (c == escape) {
            size++;
        }
    }
    take_bad(
        lex, token == BZ_TOKEN_STRING ? "the string does not end" : "the quoted name does not end");
}

static void take_operator(struct bz_lexer *lex)
{
    uint8_t second = peek(lex, 1);
    switch (peek(lex, 0)) {
    case '=':
        if (second == '=')
            take_bad(lex, "values are compared with a single =");
        else
            take(lex, BZ_TOKEN_EQ, 1);
        return;
    case '!':
        if (second == '=')
            take(lex, BZ_TOKEN_NE, 2);
        else
            take_bad(lex, "write not or != ");
        return;
    case '<':
        if (second == '>')
            take_bad(lex, "write != for unequal");
        else
            take(lex, second == '=' ? BZ_TOKEN_LE : BZ_TOKEN_LT, second == '=' ? 2 : 1);
        return;
    case '>':
        take(lex, second == '=' ? BZ_TOKEN_GE : BZ_TOKEN_GT, second == '=' ? 2 : 1);
        return;
    case '\'':
        take_bad(lex, "strings stand in double quotes");
        return;
    case '&':
    case '|':
        take_bad(lex, "write and, or");
        return;
    default:
        take_bad(lex, "a character that no filter has");
        return;
    }
}

void bz_lexer_next(struct bz_lexer *lex)
{
    static const char marks[] = ".,()[]";
    static const enum bz_token mark_tokens[] = {BZ_TOKEN_DOT, BZ_TOKEN_COMMA, BZ_TOKEN_OPEN,
        BZ_TOKEN_CLOSE, BZ_TOKEN_OPEN_LIST, BZ_TOKEN_CLOSE_LIST};
    while (lex->next < lex->text.size && is_space(lex->text.data[lex->next]))
        lex->next++;
    uint8_t c = peek(lex, 0);
    const char *mark = c == 0 ? NULL : strchr(marks, c);
    if (lex->next == lex->text.size) {
        take(lex, BZ_TOKEN_END, 0);
    } else if (begins_word(c)) {
        take_while(lex, BZ_TOKEN_WORD, in_word);
        lex->token = word_token(lex->word);
    } else if (is_digit(c) || c == '-') {
        take_while(lex, BZ_TOKEN_NUMBER, in_number);
    } else if (c == '"') {
        take_quoted(lex, BZ_TOKEN_STRING, '"', '\\');
    } else if (c == '`') {
        take_quoted(lex, BZ_TOKEN_QUOTED, '`', '`');
    } else if (mark != NULL) {
        take(lex, mark_tokens[mark - marks], 1);
    } else {
        take_operator(lex);
    }
}

/* Counted in characters, from 1. */
static size_t column(const struct bz_lexer *lex)
{
    size_t column = 1;
    for (const uint8_t *p = lex->text.data; p < lex->word.data; p++)
        column += (*p & 0xc0) != 0x80;
    return column;
}

int bz_lexer_expected(struct bz_lexer *lex, const char *expected)
{
    if (lex->token == BZ_TOKEN_BAD)
        return bz_lexer_fault(lex, BLAZE_ESYNTAX, lex->fault);
    if (lex->token == BZ_TOKEN_END)
        return bz_error_set(lex->error, BLAZE_ESYNTAX, "%s: column %zu: expected %s", lex->what,
            column(lex), expected);
    int shown = lex->word.size < 40 ? (int)lex->word.size : 40;
    while (shown > 0 && shown < (int)lex->word.size && (lex->word.data[shown] & 0xc0) == 0x80)
        shown--;
    return bz_error_set(lex->error, BLAZE_ESYNTAX, "%s: column %zu: expected %s, found %.*s",
        lex->what, column(lex), expected, shown, (const char *)lex->word.data);
}

int bz_lexer_fault(struct bz_lexer *lex, int code, const char *fault)
{
    return bz_error_set(lex->error, code, "%s: column %zu: %s", lex->what, column(lex), fault);
}

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_QUERY_LEX_PRIV_H
#define BZ_QUERY_LEX_PRIV_H

/* The words of a filter. */

#include "query/query.h"

enum bz_token {
    BZ_TOKEN_END,
    BZ_TOKEN_WORD,   /* a plain word that is no keyword */
    BZ_TOKEN_QUOTED, /* `...`, with `` for a backquote inside */
    BZ_TOKEN_STRING, /* "...", with JSON's escapes */
    BZ_TOKEN_NUMBER,
    BZ_TOKEN_EQ,
    BZ_TOKEN_NE,
    BZ_TOKEN_LT,
    BZ_TOKEN_LE,
    BZ_TOKEN_GT,
    BZ_TOKEN_GE,
    BZ_TOKEN_DOT,
    BZ_TOKEN_COMMA,
    BZ_TOKEN_OPEN,
    BZ_TOKEN_CLOSE,
    BZ_TOKEN_OPEN_LIST,
    BZ_TOKEN_CLOSE_LIST,
    BZ_TOKEN_AND,
    BZ_TOKEN_OR,
    BZ_TOKEN_NOT,
    BZ_TOKEN_IN,
    BZ_TOKEN_CONTAINS,
    BZ_TOKEN_STARTS,
    BZ_TOKEN_EXISTS,
    BZ_TOKEN_TRUE,
    BZ_TOKEN_FALSE,
    BZ_TOKEN_NULL,
    BZ_TOKEN_BAD /* nothing that a filter has; `fault` says what it looks like */
};

struct bz_lexer {
    struct bz_bytes text;
    size_t next;          /* where the token after this one is looked for */
    enum bz_token token;  /* the token at hand */
    struct bz_bytes word; /* its bytes, quotes included */
    const char *fault;
    blaze_error *error;
    const char *what; /* "filter" or "path", for errors */
};

void bz_lexer_init(
    struct bz_lexer *lex, struct bz_bytes text, const char *what, blaze_error *error);
void bz_lexer_next(struct bz_lexer *lex);

/* Reports that something else was expected at the token at hand. Returns BLAZE_ESYNTAX. */
int bz_lexer_expected(struct bz_lexer *lex, const char *expected);
/* Reports a fault of the token at hand. Returns `code`. */
int bz_lexer_fault(struct bz_lexer *lex, int code, const char *fault);

/* Whether a name may stand without backquotes. */
bool bz_word_is_plain(struct bz_bytes name);

/* Reads a path from the token at hand on. */
int bz_lexer_path(struct bz_lexer *lex, struct bz_arena *arena, struct bz_path *out);

#endif

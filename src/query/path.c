/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/doc.h"
#include "query/lex_priv.h"

/* Copies what stands between backquotes. */
static struct bz_bytes unquote(struct bz_arena *arena, struct bz_bytes quoted)
{
    uint8_t *name = bz_arena_alloc(arena, quoted.size);
    size_t size = 0;
    for (size_t i = 1; name != NULL && i + 1 < quoted.size; i++) {
        name[size++] = quoted.data[i];
        if (quoted.data[i] == '`')
            i++;
    }
    return bz_bytes(name, size);
}

static int read_name(struct bz_lexer *lex, struct bz_arena *arena, struct bz_bytes *out)
{
    struct bz_bytes name;
    if (lex->token == BZ_TOKEN_WORD)
        name = bz_arena_copy(arena, lex->word);
    else if (lex->token == BZ_TOKEN_QUOTED)
        name = unquote(arena, lex->word);
    else
        return bz_lexer_expected(lex, "a field's name");
    if (name.data == NULL)
        return bz_error_code(lex->error, BLAZE_ENOMEM);
    if (name.size == 0 || name.size > BLAZE_MAX_NAME)
        return bz_lexer_fault(lex, BLAZE_ELIMIT, "a field's name has 1 to 255 bytes");
    if (!bz_name_valid(name))
        return bz_lexer_fault(lex, BLAZE_ESYNTAX, "the name is not valid UTF-8");
    *out = name;
    return 0;
}

int bz_lexer_path(struct bz_lexer *lex, struct bz_arena *arena, struct bz_path *out)
{
    struct bz_bytes names[BLAZE_MAX_NESTING];
    size_t count = 0;
    bool is_id = lex->token == BZ_TOKEN_WORD && bz_bytes_equal(lex->word, bz_bytes_text("_id"));
    for (;;) {
        if (count == BLAZE_MAX_NESTING)
            return bz_lexer_fault(lex, BLAZE_ELIMIT, "a path has at most 64 names");
        int rc = read_name(lex, arena, &names[count++]);
        if (rc != 0)
            return rc;
        bz_lexer_next(lex);
        if (lex->token != BZ_TOKEN_DOT)
            break;
        bz_lexer_next(lex);
    }
    if (is_id && count == 1) {
        *out = (struct bz_path){.count = 0};
        return 0;
    }
    struct bz_bytes copy = bz_arena_copy(arena, bz_bytes(names, count * sizeof *names));
    if (copy.data == NULL)
        return bz_error_code(lex->error, BLAZE_ENOMEM);
    *out = (struct bz_path){(const struct bz_bytes *)(const void *)copy.data, count};
    return 0;
}

int bz_path_parse(
    struct bz_arena *arena, struct bz_bytes text, struct bz_path *out, blaze_error *error)
{
    struct bz_lexer lex;
    struct bz_path path;
    if (text.size > BZ_FILTER_TEXT_MAX)
        return bz_error_set(error, BLAZE_ELIMIT, "the path is too long");
    bz_lexer_init(&lex, text, "path", error);
    int rc = bz_lexer_path(&lex, arena, &path);
    if (rc == 0 && lex.token != BZ_TOKEN_END)
        rc = bz_lexer_expected(&lex, "a dot or the end");
    if (rc == 0)
        *out = path;
    return rc;
}

bool bz_path_equal(const struct bz_path *a, const struct bz_path *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        if (!bz_bytes_equal(a->names[i], b->names[i]))
            return false;
    }
    return true;
}

static void name_to_text(struct bz_bytes name, struct bz_buf *out)
{
    if (bz_word_is_plain(name)) {
        bz_buf_append(out, name.data, name.size);
        return;
    }
    bz_buf_append8(out, '`');
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] == '`')
            bz_buf_append8(out, '`');
        bz_buf_append8(out, name.data[i]);
    }
    bz_buf_append8(out, '`');
}

void bz_path_to_text(const struct bz_path *path, struct bz_buf *out)
{
    if (path->count == 0)
        bz_buf_append(out, "_id", 3);
    for (size_t i = 0; i < path->count; i++) {
        if (i > 0)
            bz_buf_append8(out, '.');
        name_to_text(path->names[i], out);
    }
}

int bz_path_value(
    const struct bz_path *path, const blaze_id *id, const blaze_value *document, blaze_value *out)
{
    if (path->count == 0) {
        *out = (blaze_value){.type = BLAZE_UUID, .as.uuid = *id};
        return 0;
    }
    blaze_value value = *document;
    for (size_t i = 0; i < path->count; i++) {
        if (value.type != BLAZE_MAP || bz_value_field(&value, path->names[i], &value) != 0)
            return BLAZE_ENOTFOUND;
    }
    *out = value;
    return 0;
}

/* Looks for the first name if it was not in the table when that was last searched. */
static bool is_bound(
    const struct bz_path *path, const struct blaze_names *names, struct bz_path_binding *binding)
{
    if (binding->bound)
        return true;
    uint32_t count = bz_names_count(names);
    if (count != binding->seen) {
        binding->bound = bz_names_find(names, path->names[0], &binding->id) == 0;
        binding->seen = count;
    }
    return binding->bound;
}

/* From the value at a path's first name to that at its end. */
static int follow(const struct bz_path *path, blaze_value *value)
{
    struct bz_path rest = {path->names + 1, path->count - 1};
    return rest.count == 0 ? 0 : bz_path_value(&rest, NULL, value, value);
}

int bz_path_bound_value(const struct bz_path *path, const struct blaze_names *names,
    struct bz_path_binding *binding, const blaze_id *id, const blaze_value *document,
    blaze_value *out)
{
    if (path->count == 0 || document->as.nested.names != names)
        return bz_path_value(path, id, document, out);
    struct bz_bytes bytes = bz_bytes(document->as.nested.data, document->as.nested.size);
    if (!is_bound(path, names, binding) || bz_doc_field(bytes, names, binding->id, out) != 0)
        return BLAZE_ENOTFOUND;
    return follow(path, out);
}

int bz_path_field_value(const struct bz_path *path, const struct blaze_names *names,
    struct bz_path_binding *binding, const blaze_id *id, const struct bz_fields *fields,
    blaze_value *out)
{
    if (path->count == 0)
        return bz_path_value(path, id, NULL, out);
    if (!is_bound(path, names, binding) || fields->get(fields->context, binding->id, out) != 0)
        return BLAZE_ENOTFOUND;
    return follow(path, out);
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rows. The planner of query says where to walk; here the walk is done, each record is fetched and
 * matched, and what does not come in order is sorted: ids are kept, and documents fetched again
 * when they are given.
 *
 *   walking    each step of the walk gives the next row
 *   drawing    ids come from the sorter: all of them (`sorted`), or just a run of entries whose
 * keys are cut off and which the index therefore gives in no certain order listed     ids come from
 * a list made at the start: within a transaction, where writes between the rows could move records
 * about in the index that is walked
 */

#include "db/db_priv.h"

#include "base/alloc.h"

#include <assert.h>

#define LIST_MAX (1u << 30)

struct bz_rows {
    struct bz_read *read;
    bool alone; /* of those who read through it */
    uint32_t collection;
    struct bz_arena plan_arena;
    struct bz_plan plan;
    const struct bz_index_list *indexes;
    struct bz_path sort;
    bool has_sort;
    struct bz_path_binding sort_binding;
    struct bz_matcher *matcher; /* NULL: everything that the walk gives matches */
    bool walks;
    struct bz_walk walk;
    struct bz_sorter *sorter;
    bool sorted;  /* the sorter has all rows */
    bool drawing; /* the sorter has the next ones */
    bool listed;
    struct bz_buf list; /* ids */
    size_t list_used;
    struct bz_buf document;
    uint64_t skip; /* rows still to pass over */
    uint64_t left; /* rows still to give */
};

/* A row as it is found. What is seen of it lies under the walk or, where it was fetched by id, in
 * what the next fetch of whoever reads here may take away. */
struct row {
    blaze_id id;
    bool fetched;
    struct bz_visible visible;
};

/* ---- planning ---- */

/* The indexes that the view has entries of, for the planner; *map gives their places in the list.
 */
static int usable_indexes(struct bz_rows *rows, struct bz_plan_index **out, uint32_t **map,
    uint32_t *count, blaze_error *error)
{
    const struct bz_state *state = NULL;
    uint32_t n = rows->indexes->count;
    *count = 0;
    int rc = bz_read_load_state(rows->read, &state, error);
    if (rc != 0)
        return rc;
    *out = bz_arena_alloc(&rows->plan_arena, (n + 1) * sizeof **out);
    *map = bz_arena_alloc(&rows->plan_arena, (n + 1) * sizeof **map);
    if (*out == NULL || *map == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    for (uint32_t i = 0; i < n; i++) {
        const struct bz_index *index = &rows->indexes->indexes[i];
        if (index->since > state->generation)
            continue;
        (*out)[*count] = (struct bz_plan_index){index->path, index->name};
        (*map)[(*count)++] = i;
    }
    return 0;
}

/* Makes the plan, and appends the explanation of it unless `text` is NULL. */
static int make_plan(
    struct bz_rows *rows, const struct bz_find *find, struct bz_buf *text, blaze_error *error)
{
    struct bz_plan_index *indexes = NULL;
    uint32_t *map = NULL, count = 0;
    int rc = 0;
    rows->has_sort = find->sort != NULL;
    if (rows->has_sort)
        rc = bz_path_parse(&rows->plan_arena, bz_bytes_text(find->sort), &rows->sort, error);
    if (rc == 0)
        rc = usable_indexes(rows, &indexes, &map, &count, error);
    if (rc != 0)
        return rc;
    const struct bz_path *sort = rows->has_sort ? &rows->sort : NULL;
    rc = bz_plan_make(
        &rows->plan_arena, find->filter, sort, find->descending, indexes, count, &rows->plan);
    if (rc != 0)
        return bz_error_code(error, rc);
    if (text != NULL)
        bz_plan_explain(&rows->plan, find->filter, sort, indexes, find->limit, text);
    if (rows->plan.source == BZ_PLAN_INDEX)
        rows->plan.index = map[rows->plan.index];
    return 0;
}

/* ---- walking ---- */

static int start_walk(struct bz_rows *rows, blaze_error *error)
{
    const struct bz_plan *plan = &rows->plan;
    bool by_index = plan->source == BZ_PLAN_INDEX;
    enum bz_map map = by_index ? BZ_MAP_INDEX : BZ_MAP_RECORDS;
    uint32_t prefix = by_index ? rows->indexes->indexes[plan->index].number : rows->collection;
    rows->walks = true;
    return bz_walk_init(&rows->walk, rows->read->view, map, prefix, plan, error);
}

/* BLAZE_ENOTFOUND if it is not visible. */
static int fetch_row(struct bz_rows *rows, struct row *row, blaze_error *error)
{
    struct bz_stored stored;
    int rc = bz_stored_load(rows->read->view, rows->collection, &row->id, &stored, error);
    row->fetched = true;
    return rc != 0 ? rc : bz_read_visible(rows->read, &stored, &row->id, &row->visible, error);
}

/* The document of a row that is given: it stays until the next one, whatever else is read or
 * written meanwhile. */
static int take_document(
    struct bz_rows *rows, struct row *row, blaze_value *out, blaze_error *error)
{
    struct bz_bytes *document = &row->visible.document;
    bool kept = document->data == NULL || !row->fetched || rows->alone;
    int rc = bz_visible_document(rows->read, &row->visible, &rows->document, error);
    if (rc != 0)
        return rc;
    if (!kept) {
        bz_buf_clear(&rows->document);
        bz_buf_append(&rows->document, document->data, document->size);
        if (rows->document.error != 0)
            return bz_error_code(error, rows->document.error);
        *document = bz_buf_bytes(&rows->document);
    }
    bz_doc_value(*document, bz_catalog_names(rows->read->db->catalog), out);
    return 0;
}

/* ---- the fields of a row ---- */

/* A record of several writes, of which no document is put together to look at a field. */
struct merged {
    const struct bz_rec *rec;
    struct bz_nodes nodes;
    const struct blaze_names *names;
};

static int merged_field(const void *context, uint32_t id, blaze_value *out)
{
    const struct merged *merged = context;
    return bz_rec_field(merged->rec, &merged->nodes, id, merged->names, out);
}

static bool row_matches(struct bz_rows *rows, const struct row *row)
{
    struct bz_catalog *catalog = rows->read->db->catalog;
    if (rows->matcher == NULL)
        return true;
    if (row->visible.document.data != NULL) {
        blaze_value document;
        bz_doc_value(row->visible.document, bz_catalog_names(catalog), &document);
        return bz_matcher_match(rows->matcher, &row->id, &document);
    }
    const struct merged merged = {
        &row->visible.rec, bz_catalog_nodes(catalog), bz_catalog_names(catalog)};
    return bz_matcher_match_fields(
        rows->matcher, &row->id, &(struct bz_fields){merged_field, &merged});
}

/* The value that the row is sorted by. BLAZE_ENOTFOUND. */
static int sort_value(struct bz_rows *rows, const struct row *row, blaze_value *out)
{
    struct bz_catalog *catalog = rows->read->db->catalog;
    const struct blaze_names *names = bz_catalog_names(catalog);
    if (!rows->has_sort)
        return BLAZE_ENOTFOUND;
    if (row->visible.document.data != NULL) {
        blaze_value document;
        bz_doc_value(row->visible.document, names, &document);
        return bz_path_bound_value(
            &rows->sort, names, &rows->sort_binding, &row->id, &document, out);
    }
    const struct merged merged = {&row->visible.rec, bz_catalog_nodes(catalog), names};
    return bz_path_field_value(&rows->sort, names, &rows->sort_binding, &row->id,
        &(struct bz_fields){merged_field, &merged}, out);
}

/* Reads the record of the entry under the walk. BLAZE_ENOTFOUND if it is not visible or does not
 * match. */
static int row_here(struct bz_rows *rows, struct row *row, blaze_error *error)
{
    struct bz_stored stored;
    int rc = bz_walk_id(&rows->walk, &row->id, error);
    if (rc != 0)
        return rc;
    if (rows->plan.source == BZ_PLAN_INDEX) {
        rc = fetch_row(rows, row, error);
    } else {
        row->fetched = false;
        rc = bz_stored_split(bz_cursor_value(rows->walk.cursor), &stored, error);
        if (rc == 0)
            rc = bz_read_visible(rows->read, &stored, &row->id, &row->visible, error);
    }
    return rc == 0 && !row_matches(rows, row) ? BLAZE_ENOTFOUND : rc;
}

/* ---- sorting ---- */

static int add_row(struct bz_rows *rows, const struct row *row, blaze_error *error)
{
    blaze_value value;
    bool present = sort_value(rows, row, &value) == 0;
    int rc = bz_sorter_add(rows->sorter, present ? &value : NULL, &row->id);
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

static int ensure_sorter(struct bz_rows *rows, uint64_t keep, blaze_error *error)
{
    if (rows->sorter != NULL) {
        bz_sorter_clear(rows->sorter);
        return 0;
    }
    int rc = bz_sorter_new(&rows->sorter, rows->plan.descending, keep);
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

/* Puts all that the walk gives through the sorter. */
static int sort_all(struct bz_rows *rows, blaze_error *error)
{
    struct row row;
    uint64_t keep = rows->left > UINT64_MAX - rows->skip ? 0 : rows->skip + rows->left;
    int rc = ensure_sorter(rows, keep, error);
    while (rc == 0 && (rc = bz_walk_next(&rows->walk, error)) == 0) {
        rc = row_here(rows, &row, error);
        if (rc == 0)
            rc = add_row(rows, &row, error);
        else if (rc == BLAZE_ENOTFOUND)
            rc = 0;
    }
    rows->sorted = true;
    rows->drawing = true;
    return rc == BLAZE_END ? 0 : rc;
}

/* Whether the entry under the walk has a key that is cut off. */
static bool is_cut(const struct bz_rows *rows)
{
    return rows->plan.source == BZ_PLAN_INDEX && rows->has_sort &&
           bz_cursor_value(rows->walk.cursor).size > 0;
}

/* Puts the run of entries with the same cut key, of which the walk stands on the first, through the
 * sorter. */
static int sort_run(struct bz_rows *rows, blaze_error *error)
{
    struct bz_buf run;
    struct row row;
    struct bz_bytes key = bz_cursor_key(rows->walk.cursor);
    bz_buf_init(&run, BZ_STORE_KEY_MAX);
    bz_buf_append(&run, key.data, key.size - sizeof(blaze_id));
    int rc = run.error != 0 ? bz_error_code(error, run.error) : ensure_sorter(rows, 0, error);
    while (rc == 0) {
        rc = row_here(rows, &row, error);
        if (rc == 0)
            rc = add_row(rows, &row, error);
        if (rc == 0 || rc == BLAZE_ENOTFOUND)
            rc = bz_walk_next(&rows->walk, error);
        if (rc != 0)
            break;
        key = bz_cursor_key(rows->walk.cursor);
        if (key.size != run.size + sizeof(blaze_id) || memcmp(key.data, run.data, run.size) != 0) {
            bz_walk_hold(&rows->walk);
            break;
        }
    }
    bz_buf_release(&run);
    rows->drawing = true;
    return rc == BLAZE_END ? 0 : rc;
}

/* ---- rows ---- */

/* The next row from the sorter. */
static int draw(struct bz_rows *rows, struct row *row, blaze_error *error)
{
    int rc;
    do {
        rc = bz_sorter_next(rows->sorter, &row->id);
        if (rc == 0)
            rc = fetch_row(rows, row, error);
        else if (rc != BLAZE_END)
            bz_error_code(error, rc);
    } while (rc == BLAZE_ENOTFOUND); /* deleted since, in this transaction */
    return rc;
}

/* The next row in order, before any limit. */
static int produce(struct bz_rows *rows, struct row *row, blaze_error *error)
{
    for (;;) {
        int rc;
        if (rows->drawing) {
            rc = draw(rows, row, error);
            if (rc != BLAZE_END || rows->sorted)
                return rc;
            rows->drawing = false;
        }
        rc = bz_walk_next(&rows->walk, error);
        if (rc == 0 && is_cut(rows)) {
            rc = sort_run(rows, error);
            if (rc == 0)
                continue;
        }
        if (rc == 0)
            rc = row_here(rows, row, error);
        if (rc != BLAZE_ENOTFOUND)
            return rc;
    }
}

/* The next row within offset and limit, while not listed. */
static int next_row(struct bz_rows *rows, struct row *row, blaze_error *error)
{
    int rc = 0;
    if (rows->left == 0)
        return BLAZE_END;
    for (; rc == 0 && rows->skip > 0; rows->skip--)
        rc = produce(rows, row, error);
    if (rc == 0)
        rc = produce(rows, row, error);
    if (rc == 0)
        rows->left--;
    return rc;
}

static int list_all(struct bz_rows *rows, blaze_error *error)
{
    struct row row;
    int rc;
    while ((rc = next_row(rows, &row, error)) == 0)
        bz_buf_append(&rows->list, &row.id, sizeof row.id);
    if (rc == BLAZE_END)
        rc = rows->list.error == 0 ? 0 : bz_error_code(error, rows->list.error);
    rows->listed = true;
    return rc;
}

static int next_listed(struct bz_rows *rows, struct row *row, blaze_error *error)
{
    int rc = BLAZE_ENOTFOUND;
    while (rc == BLAZE_ENOTFOUND && rows->list_used < rows->list.size) {
        memcpy(&row->id, rows->list.data + rows->list_used, sizeof row->id);
        rows->list_used += sizeof row->id;
        rc = fetch_row(rows, row, error);
    }
    return rc == BLAZE_ENOTFOUND ? BLAZE_END : rc;
}

int bz_rows_next(struct bz_rows *rows, blaze_id *id, blaze_value *document, blaze_error *error)
{
    struct row row;
    int rc = BLAZE_END;
    if (rows->listed)
        rc = next_listed(rows, &row, error);
    else if (rows->walks)
        rc = next_row(rows, &row, error);
    if (rc == 0)
        rc = take_document(rows, &row, document, error);
    if (rc == 0)
        *id = row.id;
    return rc;
}

/* ---- opening ---- */

void bz_rows_close(struct bz_rows *rows)
{
    if (rows == NULL)
        return;
    if (rows->walks)
        bz_walk_release(&rows->walk);
    bz_sorter_free(rows->sorter);
    bz_matcher_free(rows->matcher);
    if (rows->indexes != NULL)
        bz_catalog_indexes_release(rows->read->db->catalog, rows->indexes);
    bz_arena_release(&rows->plan_arena);
    bz_buf_release(&rows->list);
    bz_buf_release(&rows->document);
    rows->read->rows--;
    bz_free(rows);
}

/* Rows with a plan, not yet walking. With `indexes` NULL (an unknown collection) there are none. */
static int rows_new(struct bz_rows **out, struct bz_read *read, const struct bz_find *find,
    struct bz_buf *text, blaze_error *error)
{
    struct bz_catalog *catalog = read->db->catalog;
    struct bz_rows *rows = bz_zalloc(sizeof *rows);
    if (rows == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    rows->read = read;
    rows->alone = find->alone;
    rows->skip = find->offset;
    rows->left = find->limit == 0 ? UINT64_MAX : find->limit;
    read->rows++;
    bz_arena_init(&rows->plan_arena);
    bz_buf_init(&rows->list, LIST_MAX);
    bz_buf_init(&rows->document, BZ_DOCUMENT_MAX);
    uint32_t number = UINT32_MAX; /* of no collection: no index either */
    bool known = bz_catalog_collection(catalog, find->collection, &number) == 0;
    rows->collection = number;
    rows->indexes = bz_catalog_indexes(catalog, number);
    int rc = make_plan(rows, find, text, error);
    if (rc == 0 && find->filter != NULL && !rows->plan.exact) {
        rc = bz_matcher_new(&rows->matcher, find->filter, bz_catalog_names(catalog));
        if (rc != 0)
            bz_error_code(error, rc);
    }
    if (rc == 0 && known && text == NULL)
        rc = start_walk(rows, error);
    if (rc != 0)
        bz_rows_close(rows);
    else
        *out = rows;
    return rc;
}

int bz_read_find(
    struct bz_read *read, const struct bz_find *find, struct bz_rows **out, blaze_error *error)
{
    struct bz_rows *rows = NULL;
    int rc = bz_db_readable(read->db, error);
    if (rc == 0)
        rc = rows_new(&rows, read, find, NULL, error);
    if (rc != 0)
        return rc;
    if (rows->walks && !rows->plan.ordered)
        rc = sort_all(rows, error);
    else if (rows->walks && read->txn != NULL && rows->plan.source == BZ_PLAN_INDEX)
        rc = list_all(rows, error);
    if (rc != 0)
        bz_rows_close(rows);
    else
        *out = rows;
    return rc;
}

/* Counts what the walk gives, in whatever order. */
static int count_walk(struct bz_rows *rows, uint64_t enough, uint64_t *count, blaze_error *error)
{
    /* Without a matcher an entry of an index is a row; a record may still be a dead one. */
    bool unseen = rows->matcher == NULL && rows->plan.source == BZ_PLAN_INDEX;
    int rc = 0;
    uint64_t n = 0;
    while (n < enough && (rc = bz_walk_next(&rows->walk, error)) == 0) {
        struct row row;
        rc = unseen ? 0 : row_here(rows, &row, error);
        if (rc == 0)
            n++;
        else if (rc != BLAZE_ENOTFOUND)
            return rc;
    }
    if (rc != 0 && rc != BLAZE_END && rc != BLAZE_ENOTFOUND)
        return rc;
    *count = n;
    return 0;
}

int bz_read_find_count(
    struct bz_read *read, const struct bz_find *find, uint64_t *out, blaze_error *error)
{
    struct bz_rows *rows = NULL;
    struct bz_find unsorted = *find;
    uint64_t count = 0;
    unsorted.sort = NULL;
    int rc = bz_db_readable(read->db, error);
    if (rc == 0)
        rc = rows_new(&rows, read, &unsorted, NULL, error);
    if (rc != 0)
        return rc;
    struct bz_path unused;
    if (find->sort != NULL) /* the order does not matter, but must be one */
        rc = bz_path_parse(&rows->plan_arena, bz_bytes_text(find->sort), &unused, error);
    uint64_t skip = rows->skip, left = rows->left;
    uint64_t enough = left > UINT64_MAX - skip ? UINT64_MAX : skip + left;
    if (rc == 0 && find->filter == NULL)
        rc = bz_read_count(read, find->collection, &count, error);
    else if (rc == 0 && rows->walks)
        rc = count_walk(rows, enough, &count, error);
    bz_rows_close(rows);
    if (rc != 0)
        return rc;
    count = count > skip ? count - skip : 0;
    *out = count < left ? count : left;
    return 0;
}

int bz_read_explain(
    struct bz_read *read, const struct bz_find *find, struct bz_buf *out, blaze_error *error)
{
    struct bz_rows *rows = NULL;
    int rc = bz_db_readable(read->db, error);
    if (rc == 0)
        rc = rows_new(&rows, read, find, out, error);
    if (rc != 0)
        return rc;
    bz_rows_close(rows);
    return out->error == 0 ? 0 : bz_error_code(error, out->error);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two copies of one database write the same fields without knowing of each other. What came of it
 * is listed, and settled: a number by a policy, a text by a function of this program.
 *
 *     conflict DIRECTORY
 */
#include <blazedb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Prints a field in conflict with all of its values, the one that readers see first. */
static int print_conflict(void *context, const blaze_conflict *conflict)
{
    (void)context;
    printf("%.*s.%.*s:", (int)conflict->collection.size, conflict->collection.data,
        (int)conflict->field.size, conflict->field.data);
    for (size_t i = 0; i < conflict->count; i++) {
        char *json;
        if (!conflict->siblings[i].present)
            printf(" (none)");
        else if (blaze_value_to_json(&json, &conflict->siblings[i].value, false) == BLAZE_OK) {
            printf(" %s", json);
            blaze_free(json);
        }
    }
    printf("\n");
    return 0; /* go on */
}

/* Takes the longest text of each field; what it adds nothing for stays in conflict. */
static int take_longest(
    void *context, const blaze_conflict *fields, size_t count, blaze_doc *values)
{
    (void)context;
    for (size_t i = 0; i < count; i++) {
        const blaze_value *longest = NULL;
        for (size_t k = 0; k < fields[i].count; k++) {
            const blaze_value *value = &fields[i].siblings[k].value;
            if (fields[i].siblings[k].present && value->type == BLAZE_STRING &&
                (longest == NULL || value->as.text.size > longest->as.text.size))
                longest = value;
        }
        char name[BLAZE_MAX_NAME + 1];
        snprintf(name, sizeof name, "%.*s", (int)fields[i].field.size, fields[i].field.data);
        if (longest != NULL)
            blaze_doc_add_value(values, name, longest);
    }
    return 0;
}

/* Lists all conflicts, and has them settled from now on. */
static int settle_by_rules(blaze_db *db, blaze_error *error)
{
    int rc = blaze_conflicts(db, NULL, NULL, print_conflict, NULL, error);
    if (rc == BLAZE_OK)
        rc = blaze_set_policy(db, "cities", "people", BLAZE_POLICY_GREATEST, error);
    if (rc == BLAZE_OK)
        rc = blaze_set_resolver(db, "notes", take_longest, NULL, error);
    return rc;
}

/* Ends the program when something fails: enough for an example. */
static void must(int rc, const blaze_error *error)
{
    if (rc == BLAZE_OK)
        return;
    fprintf(stderr, "conflict: %s\n", error->text);
    exit(1);
}

/* Called on a thread of the library: tells main() through a pipe how many fields are in conflict.
 */
static void on_conflict(void *context, const blaze_conflict_event *event)
{
    const int *told = context;
    char fields = (char)event->count;
    if (write(told[1], &fields, 1) != 1)
        exit(1);
}

static void await_fields(const int *told, char fields)
{
    char now;
    do {
        if (read(told[0], &now, 1) != 1)
            exit(1);
    } while (now != fields);
}

static void put(blaze_db *db, const char *collection, const blaze_id *id, const char *json)
{
    blaze_error error = {0};
    blaze_doc *doc;
    must(blaze_doc_from_json(&doc, json, strlen(json), &error), &error);
    must(blaze_upsert(db, collection, id, doc, &error), &error);
    blaze_doc_free(doc);
}

static void print_record(blaze_db *db, const char *collection, const blaze_id *id)
{
    blaze_error error = {0};
    blaze_snapshot *snapshot;
    blaze_value record;
    char *json;
    must(blaze_snapshot_open(db, &snapshot, &error), &error);
    must(blaze_snapshot_get(snapshot, collection, id, &record, &error), &error);
    must(blaze_value_to_json(&json, &record, false), &error);
    printf("%s %s\n", collection, json);
    blaze_free(json);
    blaze_snapshot_close(snapshot);
}

int main(int argc, char **argv)
{
    if (argc != 2 || chdir(argv[1]) != 0) {
        fprintf(stderr, "usage: conflict DIRECTORY\n");
        return 2;
    }
    blaze_error error = {0};
    static const char *const urls[] = {"mem:hub"};
    blaze_hub_options hub_options;
    blaze_hub_options_init(&hub_options);
    hub_options.listen = urls;
    hub_options.listen_count = 1;
    blaze_hub *hub;
    must(blaze_hub_open(&hub, "hub", &hub_options, &error), &error);

    blaze_open_options options;
    blaze_open_options_init(&options);
    options.create = 1;
    blaze_db *a, *b;
    char *code;
    must(blaze_open(&a, "a.blz", &options, &error), &error);
    must(blaze_share(a, "mem:hub", NULL, &code, &error), &error);
    must(blaze_join(&b, "b.blz", code, NULL, NULL, &error), &error);
    blaze_free(code);

    /* Both write the same records, neither having seen the other's writes. */
    const blaze_id city = {{1}}, note = {{2}};
    put(a, "cities", &city, "{\"name\":\"Canillo\",\"people\":4422}");
    put(b, "cities", &city, "{\"name\":\"Canillo\",\"people\":4560}");
    put(a, "notes", &note, "{\"text\":\"snow\"}");
    put(b, "notes", &note, "{\"text\":\"snow from the north\"}");
    must(blaze_sync(a, NULL, NULL, &error), &error);
    must(blaze_sync(b, NULL, NULL, &error), &error);

    int told[2];
    if (pipe(told) != 0)
        return 1;
    blaze_conflict_observer *observer;
    must(blaze_observe_conflicts(b, "notes", on_conflict, told, &observer, &error), &error);
    await_fields(told, 1);
    must(settle_by_rules(b, &error), &error);
    await_fields(told, 0); /* the resolver has settled it */
    blaze_unobserve_conflicts(observer);

    /* Whoever syncs settles by the policies; so does this, at once. */
    must(blaze_settle(b, NULL, NULL, NULL, BLAZE_POLICY_UNSET, NULL, &error), &error);
    must(blaze_sync(b, NULL, NULL, &error), &error);
    must(blaze_sync(a, NULL, NULL, &error), &error);
    uint64_t left;
    must(blaze_conflict_count(a, NULL, &left, &error), &error);
    printf("%d left\n", (int)left);
    print_record(a, "cities", &city);
    print_record(a, "notes", &note);

    must(blaze_close(a, &error), &error);
    must(blaze_close(b, &error), &error);
    must(blaze_hub_close(hub, &error), &error);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two copies of one database and a hub, all in this process: what is written into one is told to
 * an observer of the other.
 *
 *     observe DIRECTORY
 */
#include <blazedb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Ends the program when something fails: enough for an example. */
static void must(int rc, const blaze_error *error)
{
    if (rc == BLAZE_OK)
        return;
    fprintf(stderr, "observe: %s\n", error->text);
    exit(1);
}

/* Called on a thread of the library: prints the events, and tells main() through a pipe. */
static void on_events(void *context, const blaze_event *events, size_t count)
{
    const int *told = context;
    for (size_t i = 0; i < count; i++) {
        char id[BLAZE_ID_TEXT_SIZE];
        printf("%s %.*s %s\n", events[i].remote ? "remote" : "local",
            (int)events[i].collection.size, events[i].collection.data,
            blaze_id_format(&events[i].id, id));
    }
    if (write(told[1], "", 1) != 1)
        exit(1);
}

int main(int argc, char **argv)
{
    if (argc != 2 || chdir(argv[1]) != 0) {
        fprintf(stderr, "usage: observe DIRECTORY\n");
        return 2;
    }
    blaze_error error = {0};

    /* A hub that only this process can reach; tcp:// and unix: work just the same. */
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

    /* From here on both stay in step with the hub. */
    blaze_link *link_a, *link_b;
    must(blaze_link_open(a, NULL, &link_a, &error), &error);
    must(blaze_link_open(b, NULL, &link_b, &error), &error);

    int told[2];
    if (pipe(told) != 0)
        return 1;
    blaze_observer *observer;
    must(blaze_observe(b, "notes", on_events, told, &observer, &error), &error);

    blaze_doc *note;
    blaze_id id = {{0}};
    must(blaze_doc_from_json(&note, "{\"text\":\"hello\"}", 16, &error), &error);
    must(blaze_insert(a, "notes", &id, note, &error), &error);
    blaze_doc_free(note);

    char byte; /* the note has come to b */
    if (read(told[0], &byte, 1) != 1)
        return 1;

    blaze_unobserve(observer);
    blaze_link_close(link_a);
    blaze_link_close(link_b);
    must(blaze_close(a, &error), &error);
    must(blaze_close(b, &error), &error);
    must(blaze_hub_close(hub, &error), &error);
    return 0;
}

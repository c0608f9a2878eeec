/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_CHILD_H
#define BENCH_CHILD_H

/*
 * Work that is done in a process of its own, by `bench --child VERB ARGUMENTS...`: so that its
 * memory can be told from that of the others, and so that it can be killed. What it measured it
 * prints as one JSON object on one line.
 */

#include "engine.h"

/* On an engine: ENGINE VARIANT DIR N ORDER, records made one by one as they are needed. */
int bench_child_load(char **arguments);   /* loads N orders */
int bench_child_update(char **arguments); /* updates each once, in a random order */
int bench_child_open(char **arguments);   /* opens, and gets one record */
int bench_child_gets(char **arguments);   /* opens, and gets 10,000 records */
int bench_child_die(char **arguments);    /* updates N/10 of them and waits to be killed */

/*
 * What writing costs, cost_child.c. `written`, `given` and `syncs` are those of struct bench_disk
 * for the work itself; `all_written` and `all_given` go on until all is where it stays and the
 * engine is closed; `user` are the bytes of the records that were written, with their ids.
 */
int bench_child_cost_commits(
    char **arguments);                         /* ENGINE VARIANT DIR FIRST COUNT: durable inserts */
int bench_child_cost_load(char **arguments);   /* ENGINE VARIANT DIR N ORDER */
int bench_child_cost_update(char **arguments); /* ENGINE VARIANT DIR N ORDER: in batches of 100 */

/* ENGINE VARIANT DIR COUNT full|relaxed: single inserts of large records into a new database; the
 * time each took. */
int bench_child_latency(char **arguments);

/* The large run, large_child.c. */
int bench_child_large_load(char **arguments); /* PATH N: a line a step, and one for the close */
int bench_child_large_open(char **arguments); /* PATH N: opens, and gets one record */
int bench_child_large_work(char **arguments); /* PATH N gets|ranges|updates SECONDS */

/*
 * The group `sync`, sync_child.c. Where an answer has `digest` and `records`, they are of the
 * database as the work left it.
 */
int bench_child_hub(char **arguments); /* DIR URL: listens there and at tcp, answers each line */
int bench_child_share(
    char **arguments); /* PATH N ROUNDS URL URL trusted|blind: loads, updates, shares twice */
int bench_child_bulk(char **arguments);   /* PATH N: loads in durable batches */
int bench_child_join(char **arguments);   /* PATH CODE */
int bench_child_change(char **arguments); /* PATH N STEP ROUND URL: updates, syncs unless "-" */
int bench_child_sync(char **arguments);   /* PATH URL */
int bench_child_scan(char **arguments);   /* PATH: reads every record */
int bench_child_replay(char **arguments); /* PATH N ROUNDS SECONDS full|relaxed: one by one */

/* PATH N full|relaxed: changes a record for each line, says when it began. For the group `live`. */
int bench_child_write_on(char **arguments);

/* SQLite's side of it, sync_sqlite.c. */
int bench_child_apply(char **arguments); /* DIR: applies the changeset on standard input */

/* The engine called so; dies if there is none. */
const struct bench_engine *bench_engine_named(const char *name);

/* An engine's database in a folder, with N records. */
struct bench_job {
    const struct bench_engine *engine;
    const char *variant;
    const char *dir;
    uint64_t n;
    enum bench_id_order order;
};
struct bench_job bench_job_parse(char **arguments); /* ENGINE VARIANT DIR N ORDER */
struct bench_db *bench_job_open(const struct bench_job *job, enum bench_profile profile);

/* Inserts all N orders, made one by one; updates `count` of them, spread over all. `batch` records
 * a commit. */
void bench_job_load(const struct bench_job *job, struct bench_db *db, unsigned batch);
void bench_job_update(
    const struct bench_job *job, struct bench_db *db, uint64_t count, unsigned batch);

/* Prints the answer: the seconds, and the memory of this process. */
void bench_child_answer(double seconds);

#endif

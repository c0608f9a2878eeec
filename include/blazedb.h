/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLAZEDB_H
#define BLAZEDB_H

/*
 * BlazeDB: an embedded document database that keeps its copies in step.
 *
 *     blaze_db *db;
 *     blaze_error error;
 *     if (blaze_open(&db, "notes.blz", NULL, &error) != BLAZE_OK)
 *         fprintf(stderr, "%s\n", error.text);
 *
 * One header a noun; what is not in these headers is not API.
 */

#include <blazedb/conflict.h>
#include <blazedb/database.h>
#include <blazedb/error.h>
#include <blazedb/hub.h>
#include <blazedb/id.h>
#include <blazedb/observe.h>
#include <blazedb/partial.h>
#include <blazedb/peer.h>
#include <blazedb/query.h>
#include <blazedb/record.h>
#include <blazedb/sync.h>
#include <blazedb/transaction.h>
#include <blazedb/value.h>
#include <blazedb/version.h>

#endif

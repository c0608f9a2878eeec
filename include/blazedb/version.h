/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLAZEDB_VERSION_H
#define BLAZEDB_VERSION_H

#include <blazedb/export.h>

#define BLAZEDB_VERSION_MAJOR 0
#define BLAZEDB_VERSION_MINOR 1
#define BLAZEDB_VERSION_PATCH 0
#define BLAZEDB_VERSION       "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library that is running, as BLAZEDB_VERSION says of the headers. */
BLAZE_API const char *blaze_version(void);

#ifdef __cplusplus
}
#endif

#endif

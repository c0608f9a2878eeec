/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLAZEDB_EXPORT_H
#define BLAZEDB_EXPORT_H

#if defined(__GNUC__)
#define BLAZE_API __attribute__((visibility("default")))
#else
#define BLAZE_API
#endif

#endif

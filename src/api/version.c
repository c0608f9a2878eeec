/* SPDX-License-Identifier: Apache-2.0 */
#include <blazedb/version.h>

const char *blaze_version(void)
{
    return BLAZEDB_VERSION;
}

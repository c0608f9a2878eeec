/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_LARGE_H
#define BENCH_LARGE_H

/* What `bench large` and its child processes agree on. */

#define LARGE_STEPS 20 /* lines that the load prints before that of its close */
#define LARGE_DISK_BYTES                                                                           \
    400 /* of the disk that a record may need at most, while it is moved too                       \
         */

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_PACKING_H
#define BENCH_PACKING_H

struct bench;

/* Rows of group `sync`: zstd, LZ4 and none over real sessions, on orders and on cities. */
void bench_packing(struct bench *bench);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_GUARD_H
#define BENCH_GUARD_H

/*
 * Benchmarks make large databases and can take hours. So the process that was started only keeps
 * watch: its child does the work, in a process group of its own together with all processes that it
 * starts. However that ends, by Ctrl-C too, the group is ended and its folder removed.
 */

/* Makes `dir` and returns in the child that is to do the work. The process that called never comes
 * back from here: it removes `dir` when the child has ended, and exits as the child did. */
void bench_guard(const char *dir);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_MEMORY_IMAGE_H
#define BZ_STORE_MEMORY_IMAGE_H

/*
 * For tests: the state of a store in memory at one commit, as the files of the durable one are its
 * state after a crash. A store opened with it (bz_store_options.image) goes on from there, any
 * number of times: a restart, a copied directory, a backup put back. It shares what it holds with
 * the store, so taking one costs nothing.
 */

#include "store/store.h"

struct bz_memory_image;

/* What is committed now; or, `durable`, what a power cut now would leave: the last full commit, and
 * nothing after it. That one is there only if the store keeps it (bz_store_options.keeps_durable).
 */
struct bz_memory_image *bz_memory_image_take(struct bz_store *store, bool durable);
/* The same image once more: each is freed. */
struct bz_memory_image *bz_memory_image_again(struct bz_memory_image *image);
void bz_memory_image_free(struct bz_memory_image *image); /* NULL is allowed */

#endif

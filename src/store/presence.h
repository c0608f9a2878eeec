/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_STORE_PRESENCE_H
#define BZ_STORE_PRESENCE_H

/*
 * The file `open` in a store's directory. Whoever has the store open holds a lock on it, a shared
 * one; who must have the store alone holds the exclusive one. It is the first lock to be taken, so
 * that whoever replaces the whole directory, alone, has nobody open one half of either.
 */

#include "os/os.h"

/* Takes the lock in `directory`, which is the one with that mark, until *out is closed. BLAZE_EBUSY
 * if others are in the way. Who only reads and may not make the file goes without: what he has open
 * stays whole, and becomes old. */
int bz_presence_take(struct bz_file *out, const char *directory, const struct bz_file_mark *mark,
    bool alone, bool read_only, blaze_error *error);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_SIM_DISK_H
#define BZ_SIM_DISK_H

/* Directories of nodes (`--disk`), as copies of all their files. */

#include "world.h"

/* Makes the folder in which all are. */
void sim_disk_init(struct sim_world *w);
void sim_disk_release(struct sim_world *w);
/* A copy of a node's directory as it is now, or of such a copy; to be freed. */
char *sim_disk_copy(struct sim_world *w, uint32_t node);
char *sim_disk_copy_of(struct sim_world *w, const char *directory);
/* Makes a node's directory be like a copy. The file that tells who it is stays the one that the
 * node has, unless it has none: that is what a copied directory lacks. */
void sim_disk_put(struct sim_world *w, uint32_t node, const char *copy);
void sim_disk_free(char *directory); /* NULL is allowed */

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"

#include <stdlib.h>

static int (*fault)(void *context);
static void *fault_context;

static int refused(void)
{
    return fault != NULL && fault(fault_context) != 0;
}

void *bz_malloc(size_t size)
{
    return refused() ? NULL : malloc(size);
}

void *bz_zalloc(size_t size)
{
    return refused() ? NULL : calloc(1, size);
}

void *bz_realloc(void *memory, size_t size)
{
    return refused() ? NULL : realloc(memory, size);
}

void bz_free(void *memory)
{
    free(memory);
}

void bz_alloc_set_fault(int (*fail)(void *context), void *context)
{
    fault = fail;
    fault_context = context;
}

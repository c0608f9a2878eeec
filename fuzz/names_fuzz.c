/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A name table against a plain array. Each input byte is a step: below 192 it adds the name of that
 * number, otherwise it truncates to a share of the names.
 */

#include "codec/names.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct blaze_names *names;
    uint8_t model[192];
    uint32_t count = 0, id;
    CHECK(bz_names_new(&names) == 0);
    for (size_t step = 0; step < size; step++) {
        if (data[step] >= 192) {
            count = count * (data[step] - 192u) / 64;
            bz_names_truncate(names, count);
        } else {
            char text[8];
            int length = snprintf(text, sizeof text, "%u", data[step] * 7919u % 1009);
            struct bz_bytes name = bz_bytes(text, (size_t)length);
            uint32_t at = 0;
            while (at < count && model[at] != data[step])
                at++;
            CHECK((bz_names_find(names, name, &id) == 0) == (at < count));
            CHECK(bz_names_add(names, name, &id) == 0 && id == at);
            CHECK(bz_bytes_equal(bz_names_get(names, id), name));
            if (at == count)
                model[count++] = data[step];
        }
        CHECK(bz_names_count(names) == count && bz_names_get(names, count).data == NULL);
    }
    bz_names_unref(names);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * JSON from anyone. What is read must check, must be written, and must be the same when it is read
 * again.
 */

#include "codec/doc.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    blaze_doc *doc, *again;
    blaze_value map, other;
    blaze_error error;
    char *json;
    int rc = blaze_doc_from_json(&doc, (const char *)data, size, &error);
    if (rc != 0) {
        CHECK(error.code == rc && memchr(error.text, 0, sizeof error.text) != NULL);
        return 0;
    }
    CHECK(blaze_doc_value(doc, &map) == 0);
    struct bz_bytes bytes = bz_bytes(map.as.nested.data, map.as.nested.size);
    bool update = false; /* an unset field is for updates only, and no document has one */
    blaze_iter iter;
    CHECK(blaze_iter_init(&iter, &map) == 0);
    while (blaze_iter_next(&iter, NULL, &other) == 0)
        update = update || other.type == BZ_TYPE_UNSET;
    CHECK((bz_doc_check(bytes, 0) == 0) == !update);
    CHECK(blaze_value_to_json(&json, &map, size % 2) == 0);
    CHECK(blaze_doc_from_json(&again, json, strlen(json), NULL) == 0);
    CHECK(blaze_doc_value(again, &other) == 0);
    CHECK(bz_bytes_equal(bytes, bz_bytes(other.as.nested.data, other.as.nested.size)));
    blaze_free(json);
    blaze_doc_free(again);
    blaze_doc_free(doc);
    return 0;
}

/* Content-Type and Content-Encoding of a write. */
#include "wire/media_type.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char *text = malloc(bytes + 1);
    if (bytes > 0) {
        memcpy(text, data, bytes);
    }
    text[bytes] = '\0';
    enum media_type type = media_type_of(text);
    if (type != MEDIA_TYPE_OTHER && strcasestr(text, "application/x-protobuf") == NULL) {
        abort();
    }
    if (type == MEDIA_TYPE_WRITE_2 && strcasestr(text, "io.prometheus.write.v2.Request") == NULL) {
        abort();
    }
    if (media_type_is_snappy(text) && strcasestr(text, "snappy") == NULL) {
        abort();
    }
    free(text);
    return 0;
}

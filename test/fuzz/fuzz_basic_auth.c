/* The Authorization header of a client. */
#include "wire/basic_auth.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct basic_auth auth;
    char *text = malloc(bytes + 1);
    if (bytes > 0) {
        memcpy(text, data, bytes);
    }
    text[bytes] = '\0';
    if (basic_auth_parse(text, &auth) == 0) {
        size_t parts = strlen(auth.user) + 1 + strlen(auth.password);
        if (auth.user != auth.text || auth.password != auth.text + strlen(auth.user) + 1 ||
            parts > BASIC_AUTH_BYTES_MAX || strchr(auth.user, ':') != NULL ||
            parts * 4 / 3 > bytes) {
            abort();
        }
    }
    free(text);
    return 0;
}

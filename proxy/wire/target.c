/* The request target of a relayed read. Pure; the buffer is its caller's. */
#include "wire/target.h"

#include <string.h>

bool target_query_valid(const char *query, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (query[i] <= ' ' || query[i] >= 0x7f || query[i] == '#') {
            return false;
        }
    }
    return true;
}

int target_print(struct buf *out, const char *prefix, const char *target, const char *form,
                 size_t form_bytes)
{
    int status = buf_append(out, prefix, strlen(prefix));
    if (status == 0) {
        status = buf_append(out, target, strlen(target));
    }
    if (status == 0 && form_bytes > 0) {
        const char *query = strchr(target, '?');
        /* "path?" and "path?a=b&" need nothing in between. */
        const char *glue = query == NULL ? "?" : "&";
        const char last = target[strlen(target) - 1];
        bool glued = query != NULL && (query[1] == '\0' || last == '&');
        status = glued ? 0 : buf_append(out, glue, 1);
        if (status == 0) {
            status = buf_append(out, form, form_bytes);
        }
    }
    return status == 0 ? buf_append(out, "", 1) : status;
}

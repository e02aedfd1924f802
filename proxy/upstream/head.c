/* The head of a write by plain HTTP. Owns its text. */
#include "upstream/head.h"

#include "upstream/private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_BYTES_MAX (64U * 1024U)

void write_head_release(struct write_head *head)
{
    if (head == NULL || --head->references > 0) {
        return;
    }
    if (head->authorization != NULL) {
        explicit_bzero(head->authorization, strlen(head->authorization));
    }
    if (head->text.data != NULL) {
        explicit_bzero(head->text.data, head->text.capacity);
    }
    free(head->authorization);
    buf_deinit(&head->text);
    free(head);
}

/* A header without a value is how libcurl is told to leave one of its own out. */
static bool is_empty_header(const char *line)
{
    return line[0] == '\0' || line[strlen(line) - 1] == ':';
}

static bool render(const struct upstream *upstream, struct write_head *head)
{
    struct buf *text = &head->text;
    const char *authority = upstream->write_url + sizeof(PLAIN_SCHEME) - 1;
    size_t authority_bytes = strcspn(authority, "/");
    const char *path = authority[authority_bytes] == '\0' ? "/" : authority + authority_bytes;
    size_t host_bytes = authority_bytes;
    if (host_bytes >= 3 && memcmp(authority + host_bytes - 3, ":80", 3) == 0) {
        host_bytes -= 3; /* the default says itself, as with libcurl */
    }
    bool ok = buf_printf(text, "POST %s HTTP/1.1\r\nHost: %.*s\r\n", path, (int)host_bytes,
                         authority) == 0;
    for (const struct curl_slist *line = upstream->write_headers; ok && line != NULL;
         line = line->next) {
        ok = is_empty_header(line->data) || buf_printf(text, "%s\r\n", line->data) == 0;
    }
    if (ok && head->authorization != NULL) {
        ok = buf_printf(text, "%s\r\n", head->authorization) == 0;
    }
    return ok && buf_printf(text, "Content-Length: ") == 0;
}

struct write_head *write_head_make(const struct upstream *upstream)
{
    const char *value = upstream->identity.authorization;
    struct write_head *head = calloc(1, sizeof(*head));
    if (head == NULL) {
        return NULL;
    }
    head->references = 1;
    buf_init(&head->text, HEAD_BYTES_MAX);
    if (value != NULL && asprintf(&head->authorization, "Authorization: %s", value) < 0) {
        head->authorization = NULL;
        write_head_release(head);
        return NULL;
    }
    if (!render(upstream, head)) {
        write_head_release(head);
        return NULL;
    }
    return head;
}

/* Request heads: first line "METHOD VERSION", then headers. What is accepted has one framing and
 * one host, by a count of its own. */
#include "lines.h"
#include "wire/head.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#define CHECK(condition)    \
    do {                    \
        if (!(condition)) { \
            abort();        \
        }                   \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static bool is(const struct line *line, const char *name)
{
    return line->name_bytes == strlen(name) && strncasecmp(line->name, name, line->name_bytes) == 0;
}

static bool has_control(const struct line *line)
{
    for (size_t i = 0; i < line->value_bytes; i++) {
        unsigned char c = (unsigned char)line->value[i];
        if (c == 0x7f || (c < 0x20 && c != '\t')) {
            return true;
        }
    }
    return memchr(line->name, ' ', line->name_bytes) != NULL ||
           memchr(line->name, '\0', line->name_bytes) != NULL || line->name_bytes == 0;
}

static void check_accepted(const struct head *head, struct lines lines)
{
    unsigned hosts = 0;
    unsigned lengths = 0;
    unsigned codings = 0;
    struct line line;
    while (lines_next(&lines, &line)) {
        CHECK(!has_control(&line));
        hosts += is(&line, "host");
        lengths += is(&line, "content-length");
        codings += is(&line, "transfer-encoding");
    }
    CHECK(hosts == 1 || (hosts == 0 && head->http_1_0));
    CHECK(lengths + codings <= 1);
    CHECK((head->body == HEAD_BODY_LENGTH) == (lengths == 1));
    CHECK((head->body == HEAD_BODY_CHUNKED) == (codings == 1));
    CHECK(head->body == HEAD_BODY_LENGTH || head->content_length == 0);
    CHECK(!head->expects_continue || head->body != HEAD_BODY_NONE);
    CHECK(codings == 0 || !head->http_1_0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct lines lines = lines_of(data, bytes);
    struct line line;
    if (!lines_next(&lines, &line)) {
        return 0;
    }
    size_t first_bytes = (size_t)(line.name_bytes < 31 ? line.name_bytes : 31);
    char method[32] = {0};
    memcpy(method, line.name, first_bytes);
    char *blank = strchr(method, ' ');
    const char *version = blank == NULL ? "HTTP/1.1" : blank + 1;
    if (blank != NULL) {
        *blank = '\0';
    }

    struct head head;
    head_init(&head, method, version);
    struct lines rest = lines;
    bool refused = head.reason != NULL;
    while (lines_next(&lines, &line)) {
        int ret = head_add(&head, line.name, line.name_bytes, line.value, line.value_bytes);
        CHECK(ret == 0 || ret == -EBADMSG);
        CHECK(!refused || ret < 0);
        refused = ret < 0;
        CHECK(refused == (head.reason != NULL));
    }
    if (head_finish(&head) == 0) {
        CHECK(!refused);
        check_accepted(&head, rest);
    } else {
        CHECK(head.reason != NULL);
    }
    return 0;
}

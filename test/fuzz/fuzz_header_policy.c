/* Header rules of relayed reads: first byte chooses whether Authorization may pass. What passes is
 * judged once more by plain lists. */
#include "lines.h"
#include "wire/header_policy.h"

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

static bool is_any(const struct line *line, const char *const *names)
{
    for (; *names != NULL; names++) {
        if (is(line, *names)) {
            return true;
        }
    }
    return false;
}

static void check_bytes(const struct line *line)
{
    CHECK(line->name_bytes > 0);
    CHECK(memchr(line->name, ' ', line->name_bytes) == NULL);
    CHECK(memchr(line->name, '\r', line->name_bytes) == NULL);
    CHECK(memchr(line->name, '\0', line->name_bytes) == NULL);
    if (line->value_bytes > 0) {
        CHECK(memchr(line->value, '\r', line->value_bytes) == NULL);
        CHECK(memchr(line->value, '\0', line->value_bytes) == NULL);
    }
}

static void check_line(const struct header_policy *policy, const struct line *line)
{
    static const char *const up[] = {
        "accept",     "accept-encoding", "content-type",  "content-encoding",
        "user-agent", "traceparent",     "authorization", NULL};
    static const char *const never_down[] = {"connection", "keep-alive",        "te",
                                             "trailer",    "transfer-encoding", "upgrade",
                                             "date",       "content-length",    NULL};
    if (header_policy_up(policy, line->name, line->name_bytes, line->value, line->value_bytes)) {
        check_bytes(line);
        CHECK(is_any(line, up));
        CHECK(policy->forward_authorization || !is(line, "authorization"));
    }
    if (header_policy_down(policy, line->name, line->name_bytes, line->value, line->value_bytes)) {
        check_bytes(line);
        CHECK(!is_any(line, never_down));
        CHECK(line->name_bytes < 6 || strncasecmp(line->name, "proxy-", 6) != 0);
    }
}

/* A header that a Connection header of one word names does not pass. */
static void check_listed(const struct header_policy *policy, const struct line *connection)
{
    if (is(connection, "connection") && connection->value_bytes > 0) {
        CHECK(!header_policy_up(policy, connection->value, connection->value_bytes, "x", 1));
        CHECK(!header_policy_down(policy, connection->value, connection->value_bytes, "x", 1));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0) {
        return 0;
    }
    struct header_policy policy;
    header_policy_init(&policy, (data[0] & 1) != 0);
    const struct lines lines = lines_of(data + 1, bytes - 1);
    struct lines first = lines;
    struct lines second = lines;
    struct line line;
    while (lines_next(&first, &line)) {
        if (header_policy_note(&policy, line.name, line.name_bytes, line.value, line.value_bytes) <
            0) {
            CHECK(policy.connections == HEADER_POLICY_CONNECTIONS_MAX ||
                  policy.connection_bytes + line.value_bytes > HEADER_POLICY_CONNECTION_BYTES_MAX);
            return 0;
        }
    }
    while (lines_next(&second, &line)) {
        check_line(&policy, &line);
        check_listed(&policy, &line);
    }
    return 0;
}

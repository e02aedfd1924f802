/* A read: its answer streams back to callbacks, with pauses. */
#include "upstream/private.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define READ_BUFFER_BYTES (64L * 1024L)
#define HEAD_BYTES_MAX    (128U * 1024U) /* of heads and trailers of one answer, which curl keeps */

/* "HTTP/1.1 200 OK": the head of one answer begins, maybe of an interim one. */
static unsigned status_of(const char *line, size_t bytes)
{
    const char *blank = memchr(line, ' ', bytes);
    if (blank == NULL || bytes - (size_t)(blank - line) < 4) {
        return 0;
    }
    unsigned status = 0;
    for (size_t i = 1; i <= 3; i++) {
        if (blank[i] < '0' || blank[i] > '9') {
            return 0;
        }
        status = status * 10 + (unsigned)(blank[i] - '0');
    }
    return status;
}

static size_t on_read_header(char *line, size_t size, size_t count, void *arg)
{
    struct upstream_call *call = arg;
    const struct upstream_read *read = &call->read;
    size_t bytes = size * count;
    struct text name;
    struct text value;
    call->answer_bytes += bytes;
    if (call->answer_bytes > HEAD_BYTES_MAX) {
        return 0;
    }
    if (bytes >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        call->status = status_of(line, bytes);
        call->body_bytes = UPSTREAM_BODY_UNKNOWN;
    } else if (call->status < 200) {
        return bytes; /* of an interim answer, or a trailer behind the body */
    } else if (call_split_line(line, bytes, &name, &value)) {
        if (text_is(name, "content-length") && !field_number(value, &call->body_bytes)) {
            return 0;
        }
        read->on_header(read->arg, name.start, name.bytes, value.start, value.bytes);
    } else if (line[0] == '\r' || line[0] == '\n') {
        read->on_head(read->arg, call->status, call->body_bytes);
        call->status = 0;
    }
    return bytes;
}

static size_t on_read_answer(char *data, size_t size, size_t count, void *arg)
{
    struct upstream_call *call = arg;
    call->upstream->sockets.bulk_bytes += size * count;
    bool taken = call->read.on_data(call->read.arg, (const uint8_t *)data, size * count);
    return taken ? size * count : CURL_WRITEFUNC_PAUSE;
}

bool call_set_up_read(struct upstream_call *call)
{
    CURL *easy = call->easy;
    bool ok = call_set_up_identity(call, call->upstream->read_url);
    UPSTREAM_SET(CURLOPT_HEADERFUNCTION, on_read_header);
    UPSTREAM_SET(CURLOPT_WRITEFUNCTION, on_read_answer);
    UPSTREAM_SET(CURLOPT_BUFFERSIZE, READ_BUFFER_BYTES);
    UPSTREAM_SET(CURLOPT_HTTP_CONTENT_DECODING, 0L);
    return ok;
}

/* Where the header lines of a read are put: nodes and text in one allocation. */
struct line_room {
    struct curl_slist *node; /* the next; NULL: only the sizes are wanted */
    char *text;
    size_t count; /* of nodes */
    size_t bytes; /* of text */
};

static void put_line(struct line_room *room, const char *name, const char *rest)
{
    size_t name_bytes = strlen(name);
    size_t rest_bytes = strlen(rest);
    if (room->node != NULL) {
        char *line = room->text + room->bytes;
        memcpy(line, name, name_bytes);
        memcpy(line + name_bytes, rest, rest_bytes);
        line[name_bytes + rest_bytes] = '\0';
        *room->node = (struct curl_slist){.data = line, .next = room->node + 1};
        room->node++;
    }
    room->count++;
    room->bytes += name_bytes + rest_bytes + 1;
}

static void put_lines(const struct upstream_call *call, struct line_room *room)
{
    bool authorized = false;
    for (const char *const *line = call->read.headers; *line != NULL; line++) {
        authorized = authorized || strncasecmp(*line, "Authorization:", 14) == 0;
        put_line(room, "", *line);
    }
    const char *authorization = call->upstream->identity.authorization;
    if (!authorized && authorization != NULL) {
        put_line(room, "Authorization: ", authorization);
    }
    if (call->host_line != NULL) {
        put_line(room, "", call->host_line);
    }
}

static bool set_lines(struct upstream_call *call)
{
    struct line_room room = {.node = NULL};
    put_lines(call, &room);
    if (room.count > 0) {
        size_t nodes_bytes = room.count * sizeof(*call->headers);
        call->header_block = malloc(nodes_bytes + room.bytes);
        if (call->header_block == NULL) {
            return false;
        }
        call->headers = call->header_block;
        room = (struct line_room){.node = call->headers,
                                  .text = (char *)call->header_block + nodes_bytes};
        put_lines(call, &room);
        room.node[-1].next = NULL;
    }
    return curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, call->headers) == CURLE_OK;
}

/* What differs from read to read. The address is fixed and the target goes out as it is, so no
 * parser of ours or of curl's can read one for another. */
static bool set_up_this_read(struct upstream_call *call)
{
    const struct upstream_read *read = &call->read;
    CURL *easy = call->easy;
    bool ok = true;
    if (read->method == ROUTE_METHOD_POST) {
        UPSTREAM_SET(CURLOPT_POST, 1L);
        UPSTREAM_SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)read->body_bytes);
        UPSTREAM_SET(CURLOPT_POSTFIELDS, read->body_bytes > 0 ? (const char *)read->body : "");
    } else {
        UPSTREAM_SET(CURLOPT_HTTPGET, 1L);
        UPSTREAM_SET(CURLOPT_NOBODY, read->method == ROUTE_METHOD_HEAD ? 1L : 0L);
    }
    UPSTREAM_SET(CURLOPT_REQUEST_TARGET, read->target);
    return ok && set_lines(call);
}

struct upstream_call *upstream_read(struct upstream *upstream, const struct upstream_read *read)
{
    struct upstream_call *call = call_take(upstream, CALL_READ);
    if (call == NULL) {
        return NULL;
    }
    call->read = *read;
    call->status = 0;
    if (!set_up_this_read(call) || call_start(call, read->on_done, read->arg) != 0) {
        call_put(call);
        return NULL;
    }
    return call;
}

void upstream_resume(struct upstream_call *call)
{
    call->resume = true;
    call->upstream->resumes = true;
}
